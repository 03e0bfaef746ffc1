"""Doubly robust difference-in-differences on risk, in the overlap population of four cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression

from evalkit.cohort.discharges import derive_first_return
from evalkit.cohort.frames import how_many, numbers, require_columns
from evalkit.cohort.pathway import CELLS
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.faults import level_faults, refuse
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.inference import normal_estimate
from evalkit.estimators.survival.kaplan_meier import compute_censoring_weights

CONTRAST = np.array([1.0, -1.0, -1.0, 1.0])
MIN_EVENTS_PER_CELL = 5
MIN_OVERLAP = 0.1
SMD_LIMIT = 0.1
AREA_SHOCKS = "Few areas are compared: the interval counts people, and cannot see a shock that hit a whole area."


@dataclass(frozen=True)
class OverlapFit:
    """Weights and standardised differences of the four cells.

    `propensity` (n, 4), `tilt` (n,), `cell` (n,) int; `balance` one row a covariate with the largest
    absolute standardised mean difference between cells, unweighted and weighted.
    """

    propensity: np.ndarray
    tilt: np.ndarray
    cell: np.ndarray
    balance: pd.DataFrame

    @property
    def weights(self) -> np.ndarray:
        """Balancing weight of each row in its own cell, shape (n,)."""
        return self.tilt / self.propensity[np.arange(len(self.cell)), self.cell]

    @property
    def effective_share(self) -> np.ndarray:
        """Kish's effective sample size of each cell over its size, shape (4,)."""
        w = self.weights
        return np.array(
            [
                w[self.cell == k].sum() ** 2 / (w[self.cell == k] ** 2).sum() / (self.cell == k).sum()
                for k in range(len(CELLS))
            ]
        )


def fit_overlap_weights(covariates: pd.DataFrame, cell: np.ndarray) -> OverlapFit:
    """Generalised overlap weights of four cells (Li and Li 2019, Annals of Applied Statistics 13:2389).

    With e_k(x) the multinomial-logit probability of cell k, the tilt is h(x) = 1 / sum_k 1/e_k(x) and
    a row of cell k weighs h/e_k: the population is those who might have been in any cell.

    Parameters
    ----------
    covariates : DataFrame, shape (n, p), finite
    cell : int array, shape (n,), 0 to 3 in the order of `CELLS`

    Raises NotEstimable where no covariate varies, or one tells cells apart without fail.
    """
    x = covariates.to_numpy(dtype=np.float64)
    _refuse_telling(covariates.columns, x, cell)
    spread = x.std(axis=0)
    z = (x[:, spread > 0] - x[:, spread > 0].mean(axis=0)) / spread[spread > 0]
    # All but unpenalised, so that the score equations balance the cells; a breath of ridge keeps a
    # characteristic that one cell lacks from running off to infinity.
    model = LogisticRegression(C=1e3, max_iter=5000, tol=1e-8).fit(z, cell)
    propensity = model.predict_proba(z)
    tilt = 1 / (1 / propensity).sum(axis=1)
    weights = tilt / propensity[np.arange(len(cell)), cell]
    balance = pd.DataFrame(
        {
            "covariate": covariates.columns,
            "unweighted": compute_largest_smd(x, cell, np.ones(len(cell))),
            "weighted": compute_largest_smd(x, cell, weights),
        }
    )
    return OverlapFit(propensity, tilt, cell, balance)


def compute_largest_smd(x: np.ndarray, cell: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Largest absolute standardised mean difference between any two cells, shape (p,).

    The scale is the unweighted pooled standard deviation, the same before and after weighting. Infinite where cells
    differ in what is the same for all within each.
    """
    cells = np.unique(cell)
    means = np.stack([np.average(x[cell == k], axis=0, weights=weights[cell == k]) for k in cells])
    pooled = np.sqrt(np.mean([x[cell == k].var(axis=0) for k in cells], axis=0))
    gap = means.max(axis=0) - means.min(axis=0)
    dust = 1e-12 * np.abs(x).max(axis=0, initial=0.0)
    return np.where(pooled > dust, gap / np.where(pooled > dust, pooled, 1), np.where(gap > dust, np.inf, 0.0))


def _refuse_telling(names: pd.Index, x: np.ndarray, cell: np.ndarray) -> None:
    if not (x.std(axis=0) > 0).any():
        raise NotEstimable(Fault("covariates", "none of them varies, so there is nothing to balance"))
    telling = np.flatnonzero(np.isinf(compute_largest_smd(x, cell, np.ones(len(cell)))))
    if len(telling):
        raise NotEstimable([
            Fault(str(names[j]), "it tells cells apart, so that they cannot be compared", next_step="Leave it out.")
            for j in telling
        ])  # fmt: skip


def estimate_overlap_aipw_did(
    rows: pd.DataFrame,
    estimand: Estimand,
    *,
    covariates: tuple[str, ...],
    horizon_days: int,
    level: float,
    role: Role = "primary",
) -> Estimate:
    """Effect on the risk of readmission: (treated after - before) - (comparison after - before).

    Identified if, given the covariates, the risk in both groups would have moved in parallel (on the
    risk scale) without the service, and censoring is independent within cells. Doubly robust: either
    the weights or the outcome model may be wrong. The standard error is from the influence function
    with a sum per person. It counts people, not areas: an area-level shock is outside the interval,
    and a check says so. The weights, the tilt and the censoring weights count as known: with both models right
    that costs nothing to the first order but for the tilt, whose own error is left out.

    Parameters
    ----------
    rows : DataFrame, shape (n, ...)
        From `derive_readmission_cells`: `person_id, treated, period, time_days, event` and covariates.

    Raises
    ------
    ParameterError
        Columns or values that are missing, a period other than before and after, a level outside 0 to 1.
    NotEstimable
        A cell is empty or has fewer than `MIN_EVENTS_PER_CELL` readmissions, no covariate varies, or one tells cells
        apart without fail.

    References
    ----------
    Sant'Anna and Zhao 2020, J Econometrics 219:101 (doubly robust DiD, repeated cross-sections);
    Li and Li 2019 (tilting function).
    """
    refuse(level_faults(level))
    effect = compute_overlap_effect(rows, covariates=covariates, horizon_days=horizon_days)
    fit, value, influence, readmitted = effect.fit, effect.value, effect.influence, effect.readmitted
    per_person = pd.Series(influence).groupby(rows["person_id"].to_numpy()).sum().to_numpy()
    n, people = len(rows), len(per_person)
    se = float(np.sqrt((per_person**2).sum() * people / (people - 1))) / n
    return normal_estimate(
        estimand,
        "overlap_aipw_did",
        role=role,
        value=value,
        se=se,
        level=level,
        label="Overlap-weighted doubly robust difference-in-differences",
        n_people=people,
        n_events=float(readmitted.sum()),
        checks=_checks(fit, rows),
    )


@dataclass(frozen=True)
class OverlapEffect:
    """The effect on risk with what it was made of, for inference on parts of the people.

    `readmitted, ipcw` (n,), `fit` the weights, `by_cell` (n, 4) the modelled risks, `value` the contrast and
    `influence` (n,) its influence values by row.
    """

    readmitted: np.ndarray
    ipcw: np.ndarray
    fit: OverlapFit
    by_cell: np.ndarray
    value: float
    influence: np.ndarray

    def within(self, inside: np.ndarray) -> tuple[float, np.ndarray]:
        """The contrast averaged over some of the people, and its influence values by row of all, shape (n,)."""
        fit = self.fit
        part = OverlapFit(fit.propensity[inside], fit.tilt[inside], fit.cell[inside], fit.balance)
        value, influence = _combine(self.readmitted[inside], self.ipcw[inside], part, self.by_cell[inside])
        everybody = np.zeros(len(inside))
        everybody[inside] = influence * len(inside) / inside.sum()
        return value, everybody


def compute_overlap_effect(rows: pd.DataFrame, *, covariates: tuple[str, ...], horizon_days: int) -> OverlapEffect:
    """The numbers behind `estimate_overlap_aipw_did`; raises as it does."""
    require_columns(rows, ["person_id", "treated", "period", "time_days", "event", *covariates], where="readmission")
    faults = [fault for name in covariates for fault in numbers(rows, name)[1]]
    unknown = ~rows["period"].isin(["before", "after"]).to_numpy()
    if rows["person_id"].isna().any():
        faults.append(Fault("person_id", f"{how_many(int(rows['person_id'].isna().sum()))} are of nobody"))
    if unknown.any():
        faults.append(Fault("period", f"{how_many(int(unknown.sum()))} hold another", allowed="before and after"))
    refuse(faults)
    cell = np.where(rows["treated"], 0, 2) + (rows["period"] == "before").to_numpy(dtype=int)
    time, event = rows["time_days"].to_numpy(), rows["event"].to_numpy()
    readmitted = (event == 1).astype(float)
    _refuse_thin_cells(cell, readmitted, time >= horizon_days)
    fit = fit_overlap_weights(rows[list(covariates)], cell)
    follow_up = derive_first_return(rows, stratum=pd.Series(cell))
    ipcw = compute_censoring_weights(follow_up, horizon=horizon_days)
    by_cell = _predict_cells(rows[list(covariates)], cell, readmitted, ipcw)
    value, influence = _combine(readmitted, ipcw, fit, by_cell)
    return OverlapEffect(readmitted, ipcw, fit, by_cell, value, influence)


def _predict_cells(covariates: pd.DataFrame, cell: np.ndarray, readmitted: np.ndarray, ipcw: np.ndarray) -> np.ndarray:
    """Risk of every row as if it were in each cell, shape (n, 4), by weighted ridge logistic regression.

    Slopes are common to the cells, which have too few events for their own, and lightly penalised:
    a characteristic without any event must not stop the fit. The augmentation undoes the shrinkage.
    """
    model = LogisticRegression(C=10.0, max_iter=5000, tol=1e-8)
    model.fit(_design(covariates, cell), readmitted.astype(int), sample_weight=ipcw)
    return np.column_stack(
        [model.predict_proba(_design(covariates, np.full(len(cell), k)))[:, 1] for k in range(len(CELLS))]
    )


def _design(covariates: pd.DataFrame, cell: np.ndarray) -> np.ndarray:
    """Indicators of all cells but the first, and standardised covariates, shape (n, 3 + p)."""
    x = covariates.to_numpy(dtype=np.float64)
    spread = x.std(axis=0)
    z = (x[:, spread > 0] - x[:, spread > 0].mean(axis=0)) / spread[spread > 0]
    return np.column_stack([(cell == k).astype(float) for k in range(1, len(CELLS))] + [z])


def _combine(
    readmitted: np.ndarray, ipcw: np.ndarray, fit: OverlapFit, by_cell: np.ndarray
) -> tuple[float, np.ndarray]:
    """The contrast of augmented cell means and its influence values, shape (n,)."""
    n, w = len(readmitted), fit.weights
    tilt_mean = fit.tilt.mean()
    value, influence = 0.0, np.zeros(n)
    for k, sign in enumerate(CONTRAST):
        inside = (fit.cell == k).astype(float)
        modelled = np.average(by_cell[:, k], weights=fit.tilt)
        mass = (inside * w).mean()
        residual = ipcw * (readmitted - by_cell[:, k])
        correction = (inside * w * residual).mean() / mass
        value += sign * (modelled + correction)
        influence += sign * (
            fit.tilt * (by_cell[:, k] - modelled) / tilt_mean + inside * w * (residual - correction) / mass
        )
    return float(value), influence


def _refuse_thin_cells(cell: np.ndarray, readmitted: np.ndarray, followed: np.ndarray) -> None:
    unfollowed = [name for k, name in enumerate(CELLS) if followed[cell == k].sum() < MIN_EVENTS_PER_CELL]
    if unfollowed:
        raise NotEstimable(
            Fault(
                "readmission",
                f"too few people can be followed to the horizon: {', '.join(unfollowed)}",
                allowed=f"{MIN_EVENTS_PER_CELL} or more in each cell",
                next_step="Open the baseline earlier or shorten the horizon.",
            )
        )
    thin = [name for k, name in enumerate(CELLS) if readmitted[cell == k].sum() < MIN_EVENTS_PER_CELL]
    if thin:
        raise NotEstimable(
            Fault(
                "readmission",
                f"too few readmissions to compare: {', '.join(thin)}",
                allowed=f"{MIN_EVENTS_PER_CELL} or more in each cell",
            )
        )


def _checks(fit: OverlapFit, rows: pd.DataFrame) -> tuple[Check, ...]:
    worst = float(fit.balance["weighted"].max())
    share = float(fit.effective_share.min())
    areas = int(rows.loc[~rows["treated"], "area"].nunique())
    return (
        Check(
            "balance",
            worst <= SMD_LIMIT,
            worst,
            f"The largest standardised difference left after weighting is {worst:.3f}; {SMD_LIMIT} or less is wanted.",
        ),
        Check(
            "overlap",
            share >= MIN_OVERLAP,
            share,
            f"Where weights vary most the effective sample is {share:.0%} of its size; "
            f"{MIN_OVERLAP:.0%} or more is wanted.",
        ),
        Check(
            "area_shocks",
            False,
            areas,
            AREA_SHOCKS,
        ),
    )
