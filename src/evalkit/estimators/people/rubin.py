"""Rubin's rules: one estimate out of those of several imputed data sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import level_faults, refuse
from evalkit.core.result import Check, Estimate

IMPUTATIONS_PER_FMI = 100  # White, Royston and Wood 2011: at least 100 times the fraction of missing information


@dataclass(frozen=True)
class PooledEstimate:
    """Values pooled over m imputations; arrays have the shape of one imputation's values, () or (k,).

    Attributes
    ----------
    value, se, lower, upper : the pooled estimate and its interval from t with `df` degrees of freedom
    within, between, total : variances; total = within + (1 + 1/m) between
    riv : relative increase of the variance, (1 + 1/m) between / within
    share_missing : lambda, the share of the total variance that missing values cause
    fmi : fraction of missing information, with the correction for finite m
    df, df_rubin : degrees of freedom of Barnard and Rubin 1999, and of Rubin 1987; infinite where nothing varies
    covariance : (k, k) total covariance where covariances were given, else None
    """

    value: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    imputations: int
    within: np.ndarray
    between: np.ndarray
    total: np.ndarray
    riv: np.ndarray
    share_missing: np.ndarray
    fmi: np.ndarray
    df: np.ndarray
    df_rubin: np.ndarray
    covariance: np.ndarray | None = None


def compute_pooled(
    values: np.ndarray, variances: np.ndarray, *, complete_df: float | None = None, level: float = 0.95
) -> PooledEstimate:
    """Pool the values of m imputed data sets, as `mice::pool` does.

    Parameters
    ----------
    values : float array, shape (m,) or (m, k)
    variances : float array, shape of `values`, or (m, k, k) covariances
    complete_df : degrees of freedom that the analysis would have without missing values (n - p of a regression);
        None for large samples, where Rubin's of 1987 are used

    Raises
    ------
    ParameterError
        Fewer than 2 imputations, shapes that do not fit, values that are not finite, variances that are not
        positive, `complete_df` below 1, a level outside 0 to 1.

    References
    ----------
    Rubin 1987, Multiple Imputation for Nonresponse in Surveys, eqs 3.1.2 to 3.1.10; Barnard and Rubin 1999,
    Biometrika 86:948, eq. 3; van Buuren 2018, Flexible Imputation of Missing Data, section 2.3.
    """
    values, spread = np.asarray(values), np.asarray(variances)
    if not all(np.issubdtype(a.dtype, np.number) for a in (values, spread)):
        raise ParameterError(Fault("imputations", "values and variances must be numbers"))
    values, spread = values.astype(np.float64), spread.astype(np.float64)
    refuse([*level_faults(level), *_faults(values, spread, complete_df)])
    m = len(values)
    covariances = spread.ndim == values.ndim + 1
    own = np.diagonal(spread, axis1=1, axis2=2) if covariances else spread
    within, between = own.mean(axis=0), values.var(axis=0, ddof=1)
    missing = (1 + 1 / m) * between
    total = within + missing
    share = missing / total
    df_rubin, df = _degrees_of_freedom(share, m, complete_df)
    riv = missing / within
    fmi = (riv + 2 / (df + 3)) / (riv + 1)
    value, se = values.mean(axis=0), np.sqrt(total)
    half = stats.t.ppf(0.5 + level / 2, df) * se
    joint = None
    if covariances:
        centred = values - value
        joint = spread.mean(axis=0) + (1 + 1 / m) * centred.T @ centred / (m - 1)
    return PooledEstimate(
        value, se, value - half, value + half, level, m, within, between, total, riv, share, fmi, df, df_rubin, joint
    )


def _degrees_of_freedom(share: np.ndarray, m: int, complete_df: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Rubin's (1987) and Barnard and Rubin's (1999), in that order."""
    tiny = share < 1e-12
    rubin = np.where(tiny, np.inf, (m - 1) / np.where(tiny, 1.0, share) ** 2)
    if complete_df is None or not math.isfinite(complete_df):
        return rubin, rubin
    observed = (complete_df + 1) / (complete_df + 3) * complete_df * (1 - share)
    return rubin, 1 / (1 / rubin + 1 / observed)


def compute_pooled_r2(r2: np.ndarray, n: int, *, level: float = 0.95) -> PooledEstimate:
    """Pool shares of explained variance (m,) of regressions on n rows, as `mice::pool.r.squared`.

    Fisher's z of the correlation is pooled with variance 1 / (n - 3), then squared back; `within`, `between`, `se` and
    the like stay on the scale of z. Source: Harel 2009, J Applied Statistics 36:1109.
    """
    r2 = np.asarray(r2, dtype=np.float64)
    refuse(
        [Fault("r2", "must be shares, of regressions on 4 rows or more", allowed="0 <= r2 < 1")]
        if n < 4 or not ((r2 >= 0) & (r2 < 1)).all()
        else []
    )
    pooled = compute_pooled(np.arctanh(np.sqrt(r2)), np.full(r2.shape, 1 / (n - 3)), level=level)
    low = np.tanh(np.maximum(pooled.lower, 0.0)) ** 2
    return replace(pooled, value=np.tanh(pooled.value) ** 2, lower=low, upper=np.tanh(pooled.upper) ** 2)


def pool_imputations(
    estimates: Sequence[Estimate], *, complete_df: float | None = None, level: float | None = None
) -> Estimate:
    """One Estimate out of those of m imputed data sets, by Rubin's rules.

    Ratios are pooled as logs: there, `se` of each estimate and of the answer is the error of the log. Checks of the
    single estimates are joined (failed where one failed), and one on the number of imputations is added. People and
    events are the fewest of any imputation.

    Parameters
    ----------
    complete_df : as in `compute_pooled`
    level : of the interval; by default that of the estimates

    Raises
    ------
    ParameterError
        Fewer than 2 estimates, or of different estimands or estimators; ratios that are not positive; a level outside
        0 to 1.
    NotEstimable
        Any of the imputations gave no number, or one without an error.
    """
    _refuse_unlike(estimates)
    first = estimates[0]
    lost = [e for e in estimates if e.status != "shown" or not math.isfinite(e.value)]
    if lost:
        got = f"{len(lost)} of {len(estimates)} imputations"
        raise NotEstimable(Fault("imputations", "some gave no number", got, next_step=lost[0].reason))
    without = [e for e in estimates if not (math.isfinite(e.se) and e.se > 0)]
    if without:
        got = f"{len(without)} of {len(estimates)} imputations"
        next_step = "Their checks say why an interval was withheld."
        raise NotEstimable(Fault("imputations", "some gave a number without an error", got, next_step=next_step))
    ratio = first.estimand.null_value == 1.0
    if ratio and min(e.value for e in estimates) <= 0:
        raise ParameterError(Fault("imputations", "a ratio must be positive"))
    values = np.array([math.log(e.value) if ratio else e.value for e in estimates])
    pooled = compute_pooled(
        values,
        np.array([e.se for e in estimates]) ** 2,
        complete_df=complete_df,
        level=first.level if level is None else level,
    )
    value, lower, upper = (
        math.exp(v) if ratio else float(v) for v in (float(pooled.value), float(pooled.lower), float(pooled.upper))
    )
    return replace(
        first,
        value=value,
        lower=lower,
        upper=upper,
        level=pooled.level,
        se=float(pooled.se),
        p_value=float(2 * stats.t.sf(abs(pooled.value) / pooled.se, pooled.df)),
        n_people=min(e.n_people for e in estimates),
        n_events=min(e.n_events for e in estimates),
        checks=(*_join_checks(estimates), _imputation_check(pooled)),
    )


def estimate_with_imputation(
    frames: Sequence[pd.DataFrame],
    estimate: Callable[[pd.DataFrame], Estimate],
    *,
    complete_df: float | None = None,
    level: float | None = None,
) -> Estimate:
    """Run any estimator on each imputed frame (from `impute_missing`) and pool by `pool_imputations`.

    An estimator that draws at random should hold its own generator; what it raises is passed on.
    """
    return pool_imputations([estimate(frame) for frame in frames], complete_df=complete_df, level=level)


def _refuse_unlike(estimates: Sequence[Estimate]) -> None:
    faults = []
    if len(estimates) < 2:
        faults.append(Fault("imputations", "too few to pool", f"{len(estimates)}", "2 or more"))
    for what, kinds in (
        ("estimand", {e.estimand for e in estimates}),
        ("estimator", {e.estimator for e in estimates}),
        ("level", {e.level for e in estimates if e.status == "shown"}),
    ):
        if len(kinds) > 1:
            faults.append(Fault("imputations", f"they differ in their {what}", f"{len(kinds)} of them", "one"))
    refuse(faults)


def _join_checks(estimates: Sequence[Estimate]) -> tuple[Check, ...]:
    """One check for each name: failed where it failed in any imputation, its value the mean."""
    joined = []
    for name in dict.fromkeys(c.name for e in estimates for c in e.checks):
        found = [c for e in estimates for c in e.checks if c.name == name]
        failed = [c for c in found if c.passed is False]
        passed = False if failed else (True if all(c.passed for c in found) else None)
        text = (failed or found)[0].text
        if failed:
            text = f"Failed in {len(failed)} of {len(estimates)} imputations. In one: {text}"
        joined.append(Check(name, passed, float(np.mean([c.value for c in found])), text))
    return tuple(joined)


def _imputation_check(pooled: PooledEstimate) -> Check:
    share = float(pooled.fmi)
    needed = math.ceil(IMPUTATIONS_PER_FMI * share)
    return Check(
        "imputations",
        pooled.imputations >= needed,
        share,
        f"Missing values take {share:.0%} of the information; {pooled.imputations} imputations were made, "
        f"{max(needed, 2)} or more are wanted.",
    )


def _faults(values: np.ndarray, variances: np.ndarray, complete_df: float | None) -> list[Fault]:
    if values.ndim not in (1, 2) or len(values) < 2:
        return [Fault("values", "one row an imputation is wanted", f"{values.shape}", "(m,) or (m, k), m >= 2")]
    square = (*values.shape, values.shape[-1]) if values.ndim == 2 else None
    if variances.shape not in (values.shape, square):
        allowed = f"{values.shape}" + (f" or {square}" if square else "")
        return [Fault("variances", "the shape does not fit the values", f"{variances.shape}", allowed)]
    faults = []
    own = variances if variances.shape == values.shape else np.diagonal(variances, axis1=1, axis2=2)
    if not (np.isfinite(values).all() and np.isfinite(variances).all()):
        faults.append(Fault("imputations", "a value or variance is missing or infinite"))
    elif (own <= 0).any():
        faults.append(Fault("variances", "must be above 0"))
    if complete_df is not None and not complete_df >= 1:
        faults.append(Fault("complete_df", "too few degrees of freedom", f"{complete_df:g}", "1 or more, or None"))
    return faults
