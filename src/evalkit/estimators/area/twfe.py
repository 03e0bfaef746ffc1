"""Two-way fixed effects regression of a panel: coefficients and covariance, without any judgement of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable, ParameterError

Family = Literal["gaussian", "poisson"]
Analytic = Literal["cluster", "iid", "heteroskedastic", "newey_west", "driscoll_kraay"]
ClusterBy = Literal["unit", "period", "unit_and_period"]
SmallSample = Literal["fixest", "stata_areg", "none"]

_COLLINEAR = 2e-6  # share of its spread that a regressor must keep; pyfixest drops one from about 1e-6
_DEMEAN_TOLERANCE = 1e-12
_POISSON_STEPS = 100
_POISSON_TOLERANCE = 1e-14
_POISSON_LARGEST = 20.0  # log ratio; exp(20) is 485 million


@dataclass(frozen=True)
class Cells:
    """Unit-periods that enter a regression, one row each.

    Attributes
    ----------
    unit, period, cluster : int arrays, shape (n,)
        Codes from 0; `period` in order of time.
    outcome, weights, offset : float arrays, shape (n,)
    effects : float array, shape (n, K)
        Regressors of interest: exposure to treatment, or one indicator a step from adoption.
    covariates : float array, shape (n, P)
    covariate_names : P names, for messages
    """

    unit: np.ndarray
    period: np.ndarray
    cluster: np.ndarray
    outcome: np.ndarray
    weights: np.ndarray
    offset: np.ndarray
    effects: np.ndarray
    covariates: np.ndarray
    covariate_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fit:
    """Coefficients of `Cells.effects`, shape (K,), their covariance (K, K), residuals (n,), and what t to use.

    `df` are the degrees of freedom of t; `n_clusters` the (smaller) number of clusters, 0 where none was used.
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    residuals: np.ndarray
    df: float
    n_clusters: int


def default_lags(n_periods: int) -> int:
    """Lags of a Bartlett kernel where none are asked for, floor(T^(1/4)), as R's fixest takes them."""
    return int(np.floor(n_periods**0.25))


def partial_out(columns: np.ndarray, cells: Cells) -> np.ndarray:
    """`columns` (n, K) less what unit and period effects explain of them, by weighted least squares.

    Exact for incomplete panels: units are demeaned, then the demeaned period dummies projected out.
    """
    dummies = (cells.period[:, None] == np.unique(cells.period)[None, 1:]).astype(np.float64)
    both = demean(np.column_stack([columns, dummies]), cells.unit, cells.weights)
    wanted, z = both[:, : columns.shape[1]], both[:, columns.shape[1] :]
    root = np.sqrt(cells.weights)[:, None]
    return wanted - z @ np.linalg.lstsq(root * z, root * wanted, rcond=None)[0]


def demean(columns: np.ndarray, group: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """`columns` (n, K) less their weighted means within each group, codes from 0."""
    n = int(group.max()) + 1
    total = np.maximum(np.bincount(group, weights, minlength=n), 1e-300)
    means = np.stack([np.bincount(group, weights * c, minlength=n) / total for c in columns.T], axis=1)
    return columns - means[group]


def refuse_collinear(cells: Cells) -> None:
    """Raise where unit and period effects, or the covariates before it, explain a regressor wholly.

    Raises
    ------
    ParameterError
        A covariate follows from the effects or from other covariates; each is named.
    NotEstimable
        Exposure to treatment follows from them, so that its coefficient is not identified.
    """
    raw = np.column_stack([cells.covariates, cells.effects])
    left = partial_out(raw, cells)
    size = np.maximum(np.linalg.norm(raw - raw.mean(axis=0), axis=0), np.linalg.norm(raw, axis=0) * 1e-6)
    left = left / np.maximum(size, 1e-300)
    explained = []
    for k in range(left.shape[1]):
        before = left[:, [j for j in range(k) if j not in explained]]
        remainder = left[:, k] - before @ np.linalg.lstsq(before, left[:, k], rcond=None)[0]
        if np.linalg.norm(remainder) < _COLLINEAR:
            explained.append(k)
    n_covariates = cells.covariates.shape[1]
    faults = [
        Fault(
            "covariates",
            f'"{cells.covariate_names[k]}" follows from unit and period effects, or from the covariates before it',
            next_step="Leave it out: it cannot change the estimate.",
        )
        for k in explained
        if k < n_covariates
    ]
    if faults:
        raise ParameterError(faults)
    if explained:
        raise NotEstimable(
            Fault(
                "treatment",
                "unit effects, period effects and covariates explain it wholly",
                next_step="Leave out covariates that mirror treatment; an event study needs never-treated units.",
            )
        )


def compute_twfe(
    cells: Cells,
    *,
    family: Family = "gaussian",
    errors: Analytic = "cluster",
    cluster_by: ClusterBy = "unit",
    lags: int | None = None,
    small_sample: SmallSample = "fixest",
) -> Fit:
    """Least squares, or Poisson quasi-likelihood with a log link, with unit and period effects (pyfixest).

    No judgement is passed on the covariance: with few treated clusters it is far too small, and what is
    shown to a reader must come through `estimate_did`, which refuses it.

    Small samples: "fixest" counts no unit effects when clusters hold whole units, (N-1)/(N-K) G/(G-1), as
    R's fixest, Stata's xtreg and reghdfe do; "stata_areg" counts every dummy; "none" is CR0. t has G-1
    degrees of freedom with clusters (the smaller G of two), T-1 with Newey-West and Driscoll-Kraay, and
    N-K else.

    Raises
    ------
    NotEstimable
        Poisson iterations did not settle, or only at a ratio beyond any that data can show.

    References
    ----------
    Liang and Zeger 1986; Cameron, Gelbach and Miller 2011, JBES 29:238 (two ways); Newey and West 1987;
    Driscoll and Kraay 1998, REStat 80:549; Correia, Guimaraes and Zylkin 2020, Stata J 20:95 (Poisson).
    """
    import pyfixest as pf  # a second or more; only those who regress should wait for it

    names = [f"d{k}" for k in range(cells.effects.shape[1])]
    centre, size = _standard(cells.outcome) if family == "gaussian" else (0.0, 1.0)
    frame = _frame(cells, names, (cells.outcome - centre) / size)
    right = [*names, *(f"x{k}" for k in range(cells.covariates.shape[1]))]
    n_periods = frame["period"].nunique()
    how, settings = _vcov(errors, cluster_by, lags if lags is not None else default_lags(n_periods))
    shared = {
        "fml": f"y ~ {' + '.join(right)} | unit + period",
        "data": frame,
        "vcov": how,
        "vcov_kwargs": settings,
        "ssc": _small_sample(pf, small_sample),
        "fixef_rm": "none",
        "demeaner": pf.MapDemeaner(fixef_tol=_DEMEAN_TOLERANCE, fixef_maxiter=100_000),
        "weights": None if np.all(cells.weights == cells.weights[0]) else "weights",
    }
    fit = _regress(pf, family, shared)
    keep = [fit._coefnames.index(name) for name in names]
    clusters = [frame[c].nunique() for c in ("cluster", "period") if errors == "cluster" and c in str(how)]
    return Fit(
        coefficients=np.asarray(fit._beta_hat)[keep] * size,
        covariance=np.asarray(fit._vcov)[np.ix_(keep, keep)] * size**2,
        residuals=np.asarray(fit.resid()).ravel() * size,
        df=float(fit._df_t),
        n_clusters=min(clusters, default=0),
    )


def _regress(pf: object, family: Family, shared: dict[str, object]) -> object:
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        # pyfixest 0.60 calls pandas with `inplace`, which pandas 3.1 announces to be going; it is not ours to mend.
        warnings.filterwarnings("ignore", message="The inplace keyword", category=pd.errors.Pandas4Warning)
        # Where a fit is perfect it divides by an error of 0 for a t that nobody here reads.
        fit = _fit_poisson(pf, shared) if family == "poisson" else pf.feols(**shared)
    if fit._collin_vars:
        where = "a regressor is so nearly explained by the others that it cannot be told from them"
        raise ParameterError(Fault("covariates", where, next_step="Leave covariates out one by one."))
    return fit


def _fit_poisson(pf: object, shared: dict[str, object]) -> object:
    unsettled = Fault(
        "poisson regression",
        "it does not settle: some ratio has no bound",
        next_step="See whether some units or periods have no events; take longer periods or fewer covariates.",
    )
    try:
        fit = pf.fepois(
            **shared, offset="offset", iwls_tol=_POISSON_TOLERANCE, iwls_maxiter=_POISSON_STEPS, separation_check=[]
        )
    except np.linalg.LinAlgError:
        raise NotEstimable(unsettled) from None
    found = np.asarray(fit._beta_hat)
    if not fit.convergence or not np.isfinite(found).all():
        raise NotEstimable(unsettled)
    effects = [k for k, name in enumerate(fit._coefnames) if name.startswith("d")]
    # Where events part treated from untreated, coefficients grow until steps are lost in rounding.
    if np.abs(found[effects]).max(initial=0.0) > _POISSON_LARGEST:
        raise NotEstimable(unsettled)
    return fit


def _standard(column: np.ndarray) -> tuple[float, float]:
    """Mean and spread to bring a column to order 1, since pyfixest's tolerance is in units of the data."""
    return float(column.mean()), float(column.std()) or 1.0


def _frame(cells: Cells, names: list[str], outcome: np.ndarray) -> pd.DataFrame:
    shared = {
        "y": outcome,
        "unit": cells.unit,
        "period": cells.period,
        "cluster": cells.cluster,
        "weights": cells.weights,
        "offset": cells.offset,
    }
    effects = {name: cells.effects[:, k] for k, name in enumerate(names)}
    covariates = {}
    for k, column in enumerate(cells.covariates.T):
        centre, size = _standard(column)
        covariates[f"x{k}"] = (column - centre) / size
    return pd.DataFrame(shared | effects | covariates)


def _vcov(errors: Analytic, cluster_by: ClusterBy, lags: int) -> tuple[object, dict[str, object] | None]:
    """What pyfixest calls this kind of error."""
    if errors == "cluster":
        named = {"unit": "cluster", "period": "period", "unit_and_period": "cluster + period"}[cluster_by]
        return {"CRV1": named}, None
    if errors in ("newey_west", "driscoll_kraay"):
        kind = "NW" if errors == "newey_west" else "DK"
        return kind, {"lag": lags, "time_id": "period", "panel_id": "unit"}
    return ("iid" if errors == "iid" else "hetero"), None


def _small_sample(pf: object, convention: SmallSample) -> dict[str, object]:
    if convention == "none":
        return pf.ssc(k_adj=False, G_adj=False)
    return pf.ssc(k_adj=True, k_fixef="nonnested" if convention == "fixest" else "full", G_adj=True, G_df="min")
