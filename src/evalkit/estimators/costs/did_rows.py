"""Rows, draws and errors that the difference-in-differences models of cost share: two rows a person.

Costs are skewed, and errors learned from them too small in small samples. So the standard error leaves out one person
(or cluster) after another, and the quantile is of t with 2 G / (k - 1) degrees of freedom, at most G - 1, where k is
the kurtosis of the G influences: a variance learned from them has a squared relative error of (k - 1) / G, and one with
d degrees of freedom has 2 / d.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 11 (jackknife); the degrees match moments
as Satterthwaite's do (1946, Biometrics Bulletin 2:110).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.cohort.frames import codes, design_columns, numbers, require_columns
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.faults import choice_faults, refuse
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.costs.cells import MIN_PEOPLE
from evalkit.estimators.costs.glm import GlmOptions, fit_glm_draws, predict_glm
from evalkit.estimators.costs.glm_families import invert_link
from evalkit.estimators.costs.log_link_did import CostData, check_costs
from evalkit.estimators.costs.stacking import Averages
from evalkit.estimators.costs.two_part import TwoPartOptions, build_first_options, build_second_options
from evalkit.estimators.people.influence import sum_clusters
from evalkit.estimators.people.logistic import find_redundant
from evalkit.estimators.people.overlap import AREA_SHOCKS

Errors = Literal["jackknife", "cluster"]
MIN_CLUSTERS = 20
MIN_SIDE_CLUSTERS = 5
MIN_DEGREES = 10.0
_BLOCK = 4_000_000  # numbers held at a time
_NOUGHT = 1e-9  # of the mean: influences below it are rounding
_LOG_OLS = GlmOptions("gaussian", "identity", "HC0")


@dataclass(frozen=True)
class CostDid:
    """Mean cost of the treated after, as modelled and as it would have been, in the money of the data.

    `se` and `degrees` of the difference, `se_log` and `degrees_log` of the logarithm of the ratio; `n_clusters` are
    people where no clusters were given.
    """

    actual: float
    counterfactual: float
    se: float
    degrees: float
    se_log: float
    degrees_log: float
    n_treated: int
    n_clusters: int
    checks: tuple[Check, ...]

    @property
    def difference(self) -> float:
        return self.actual - self.counterfactual

    def interval(self, level: float) -> tuple[float, float]:
        """Interval of the difference, t with `degrees`."""
        half = float(stats.t.ppf(0.5 + level / 2, self.degrees)) * self.se
        return self.difference - half, self.difference + half

    def relative(self, level: float) -> tuple[float, float, float]:
        """Difference as a share of the counterfactual, with an interval that is symmetric on the log scale."""
        ratio = math.log(self.actual / self.counterfactual)
        half = float(stats.t.ppf(0.5 + level / 2, self.degrees_log)) * self.se_log
        return math.expm1(ratio), math.expm1(ratio - half), math.expm1(ratio + half)


@dataclass(frozen=True)
class Rows:
    """Two rows a person, all before and then all after: design (2n, p), without the interaction too, and cost (2n,)."""

    x: np.ndarray
    x_without: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]
    treated_after: np.ndarray
    cluster: np.ndarray


def build_rows(data: CostData, cluster: np.ndarray | None, errors: Errors) -> Rows:
    """Check the people, and stack them before and after."""
    n = len(data.treated)
    refuse(choice_faults("errors", errors, ("jackknife", "cluster")))
    if not len(data.before) == len(data.after) == len(data.covariates) == n or (
        cluster is not None and len(cluster) != n
    ):
        got = f"{n} treated, {len(data.before)} before, {len(data.after)} after, {len(data.covariates)} covariates"
        raise ParameterError(Fault("costs", "the shapes do not fit each other", got))
    check_costs(data)
    given = pd.DataFrame({"treated": data.treated, "cluster": np.arange(n) if cluster is None else cluster})
    group, _, wrong_clusters = codes(given, "cluster")
    sides, wrong_sides = numbers(given, "treated")
    if not wrong_sides and not np.isin(sides, (0.0, 1.0)).all():
        wrong_sides = [Fault("treated", "it holds other values", allowed="0 and 1, or True and False")]
    columns = tuple(data.covariates.columns)
    if columns:
        require_columns(data.covariates, columns, where="covariates")
    covariates, names, faults = design_columns(data.covariates, columns)
    refuse([*faults, *wrong_clusters, *wrong_sides])
    treated = sides == 1
    if min(treated.sum(), (~treated).sum()) < MIN_PEOPLE:
        raise NotEstimable(Fault("costs", "too few people on one side to compare", allowed=f"{MIN_PEOPLE} or more"))
    if min(len(np.unique(group[side])) for side in (treated, ~treated)) < 2:
        what = "one side is in one cluster only, so what befell that cluster cannot be told from the effect"
        raise NotEstimable(
            Fault("cluster", what, next_step="Leave clusters out, and say that areas' shocks are not seen.")
        )
    one, side = np.ones(n), treated.astype(np.float64)
    base = np.column_stack([one, side, covariates])
    kept = ~find_redundant(base)[2:]  # what is constant or a combination of others changes no mean
    covariates = covariates[:, kept]
    before = np.column_stack([one, side, 0 * one, 0 * one, covariates])
    after = np.column_stack([one, side, one, side, covariates])
    without = after.copy()
    without[:, 3] = 0
    labels = ("constant", "group", "period", "group x period", *(m for m, k in zip(names, kept, strict=True) if k))
    return Rows(
        np.vstack([before, after]), np.vstack([before, without]), np.concatenate([data.before, data.after]), labels,
        np.concatenate([np.zeros(n, dtype=bool), treated]), np.tile(group, 2),
    )  # fmt: skip


def draw_glm(rows: Rows, counts: np.ndarray, options: GlmOptions) -> np.ndarray:
    """Actual and counterfactual means (B, 2) under counts (B, people), NaN where not fitted."""
    parts, size = [], max(1, _BLOCK // len(rows.y))
    for at in range(0, len(counts), size):
        block = np.tile(counts[at : at + size], 2)
        b = fit_glm_draws(rows.x, rows.y, block, options=options).coefficients
        w, after = block[:, rows.treated_after], rows.treated_after
        means = [_mean(w, predict_glm(x[after], b, options=options)) for x in (rows.x, rows.x_without)]
        parts.append(np.stack(means, axis=1))
    return np.concatenate(parts)


def draw_two_part(rows: Rows, counts: np.ndarray, options: TwoPartOptions) -> np.ndarray:
    """The same through both parts."""
    paid, parts, size = rows.y > 0, [], max(1, _BLOCK // len(rows.y))
    x, y, after = rows.x[paid], rows.y[paid], rows.treated_after
    for at in range(0, len(counts), size):
        block = np.tile(counts[at : at + size], 2)
        a = fit_glm_draws(rows.x, paid.astype(np.float64), block, options=build_first_options(options)).coefficients
        w, log_ols = block[:, paid], options.second == "log_ols"
        second = _LOG_OLS if log_ols else build_second_options(options)
        b = fit_glm_draws(x, np.log(y) if log_ols else y, w, options=second).coefficients
        lift = _mean(w, np.exp(np.log(y) - b @ x.T)) if log_ols else np.ones(len(b))
        means = [
            lift * _mean(block[:, after], invert_link(a @ z[after].T, options.first) * np.exp(b @ z[after].T))
            for z in (rows.x, rows.x_without)
        ]  # fmt: skip
        parts.append(np.stack(means, axis=1))
    return np.concatenate(parts)


def leave_out(rows: Rows, draw: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Actual and counterfactual means (G, 2) without each cluster in turn.

    Raises NotEstimable where the model cannot be fitted without one of them.
    """
    group = rows.cluster[: len(rows.cluster) // 2]
    labels = np.unique(group)
    parts, size = [], max(1, _BLOCK // len(rows.y))
    for at in range(0, len(labels), size):
        parts.append(draw((group[None, :] != labels[at : at + size, None]).astype(np.float64)))
    means = np.concatenate(parts)
    if not np.isfinite(means).all():
        raise NotEstimable(
            Fault("jackknife", "the model hangs on one person or cluster: without it there is no fit",
                  next_step='Leave out rare covariates, or take errors="cluster" and say so.')
        )  # fmt: skip
    return means


def summarise(
    rows: Rows, averages: Averages, left_out: np.ndarray | None, checks: tuple[Check, ...],
    *, clustered: bool,
) -> CostDid:  # fmt: skip
    """Difference and ratio with their errors; `left_out` (G, 2) from `leave_out`, or None for the sandwich."""
    actual, counterfactual = (float(v) for v in averages.value)
    totals = sum_clusters(averages.influence, rows.cluster)
    groups = len(totals)
    if not np.abs(totals).max() > _NOUGHT * counterfactual:
        raise NotEstimable(Fault("costs", "they do not vary within group and period, so there is no error to learn"))
    moved = (totals[:, 0] - totals[:, 1], totals[:, 0] / actual - totals[:, 1] / counterfactual)
    if left_out is None:
        errors = [math.sqrt(groups / (groups - 1) * float(m @ m)) for m in moved]
    else:
        ratio = math.log(actual / counterfactual)
        away = (
            left_out[:, 0] - left_out[:, 1] - (actual - counterfactual),
            np.log(left_out[:, 0] / left_out[:, 1]) - ratio,
        )
        errors = [math.sqrt((groups - 1) / groups * float(d @ d)) for d in away]
    degrees = [compute_degrees(m) for m in moved]
    carried = Check(
        "skew_behind_the_error", degrees[0] >= MIN_DEGREES, degrees[0] / (groups - 1),
        f"Skew leaves {degrees[0] / (groups - 1):.0%} of the degrees of freedom to learn the error of the effect from; "
        "the interval is that of t with so many.",
    )  # fmt: skip
    return CostDid(
        actual, counterfactual, errors[0], degrees[0], errors[1], degrees[1], int(rows.treated_after.sum()), groups,
        (*checks, carried, _check_clusters(rows, clustered=clustered)),
    )  # fmt: skip


def compute_degrees(influence: np.ndarray) -> float:
    """Degrees of freedom of a variance that is learned from influences (G,) that sum to nought; see above."""
    groups = len(influence)
    kurtosis = groups * float((influence**4).sum()) / float(influence @ influence) ** 2
    return groups - 1.0 if kurtosis <= 1 else min(groups - 1.0, 2 * groups / (kurtosis - 1))


def build_did_estimate(
    found: CostDid, estimand: Estimand, estimator: str, level: float, role: Role, label: str
) -> Estimate:
    """The difference in money as an estimate, with the p-value of no difference.

    Raises ParameterError for an estimand that is not the effect on the treated, in money.
    """
    faults = [] if estimand.contrast == "ATT" else [Fault("contrast", "not estimated here", estimand.contrast, "ATT")]
    refuse([*faults, *choice_faults("scale", estimand.scale, ("gbp_per_person_quarter", "mean_difference"))])
    low, high = found.interval(level)
    p_value = float(2 * stats.t.sf(abs(found.difference) / found.se, found.degrees)) if found.se > 0 else math.nan
    return Estimate(
        estimand, estimator, role, found.difference, low, high, level, n_people=float(found.n_treated), se=found.se,
        p_value=p_value, checks=found.checks, label=label,
    )  # fmt: skip


def _check_clusters(rows: Rows, *, clustered: bool) -> Check:
    if not clustered:
        return Check("area_shocks", False, math.nan, AREA_SHOCKS)
    side = rows.x[:, 1] == 1
    groups, sides = len(np.unique(rows.cluster)), [len(np.unique(rows.cluster[s])) for s in (side, ~side)]
    enough = groups >= MIN_CLUSTERS and min(sides) >= MIN_SIDE_CLUSTERS
    text = f"{groups} clusters, {sides[0]} with treated people and {sides[1]} with others"
    wanted = f": errors by cluster are unsure below {MIN_CLUSTERS}, or {MIN_SIDE_CLUSTERS} on a side."
    return Check("clusters", enough, float(groups), text + ("." if enough else wanted))


def _mean(w: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted mean of each row, NaN where nobody was drawn."""
    total = w.sum(axis=1)
    return np.where(total > 0, (w * values).sum(axis=1) / np.where(total > 0, total, 1.0), np.nan)
