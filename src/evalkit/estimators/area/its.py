"""Interrupted time series: segmented regression with a counterfactual, alone or against a control."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.area.its_checks import check_fit, interval_check
from evalkit.estimators.area.its_counts import fit_counts
from evalkit.estimators.area.its_design import DEFAULTS, ItsDesign, ItsOptions, build_design
from evalkit.estimators.area.its_errors import (
    ErrorFit,
    default_lags,
    fit_least_squares,
    fit_ml_ar,
    fit_prais_winsten,
    mixture_cdf,
    mixture_interval,
    mixture_sd,
    newey_west,
    series_gaps,
    single,
)
from evalkit.estimators.area.its_reml import fit_reml_ar

LINEAR_SCALES: tuple[Scale, ...] = ("mean_difference", "rate_ratio", "level_change", "slope_change")
LOG_SCALES: tuple[Scale, ...] = ("mean_difference", "rate_ratio", "level_ratio", "slope_ratio")
_NOUGHT = 1e-12
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class ItsFit:
    """One fitted interrupted time series.

    Attributes
    ----------
    periods : array, shape (T,), without those left out
    after : bool array, shape (T,)
    observed, fitted, counterfactual, counterfactual_lower, counterfactual_upper : float arrays, shape (T,)
        Rates of the treated (the outcome itself where there is no denominator): seen, fitted, and
        expected had nothing changed, with its interval at `level` after adoption; the ends are NaN
        before it, and where the interval is refused.
    exposure : float array, shape (T,)
        Denominators, so that rate times exposure is events.
    coefficients : DataFrame of name, value, se, lower, upper
        On the scale of the linear predictor (log for counts); ends NaN where intervals are refused.
    covariance : float array, shape (k, k)
        Of the coefficients.
    rho : float array, shape (p,)
        Autoregressive coefficients; empty where none are estimated.
    residuals, innovations : float arrays, shape (n,)
        Residuals (deviance residuals for counts), and those with the fitted correlation taken out.
    dispersion, deviance, df_residual, alpha : float
        Residual variance or Pearson dispersion; residual sum of squares or deviance; rows less
        columns; overdispersion of the negative binomial.
    checks : tuple of Check
    """

    periods: np.ndarray
    after: np.ndarray
    observed: np.ndarray
    fitted: np.ndarray
    counterfactual: np.ndarray
    counterfactual_lower: np.ndarray
    counterfactual_upper: np.ndarray
    exposure: np.ndarray
    coefficients: pd.DataFrame
    covariance: np.ndarray
    rho: np.ndarray
    residuals: np.ndarray
    innovations: np.ndarray
    dispersion: float
    deviance: float
    df_residual: int
    alpha: float
    level: float
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class _Model:
    """A design with its fit; `log_link` says how rates follow from the linear predictor."""

    design: ItsDesign
    errors: ErrorFit
    residuals: np.ndarray
    deviance: float
    alpha: float
    log_link: bool


def fit_its(panel: Panel, *, options: ItsOptions = DEFAULTS) -> ItsFit:
    """Segmented regression of the treated units' pooled series, with the path expected without the change.

    y = intercept + time + level after adoption + slope after adoption (+ harmonics), on rates or, for
    counts, on log rates; with a control, each of these also as difference between treated and control.
    The interval of the counterfactual is the fitted path less that of the effect, not of a new observation.

    Raises
    ------
    ParameterError
        Options that do not go together; a control asked for where all are treated; negative counts.
    NotEstimable
        Several starts; fewer than 3 periods before or after adoption; no event on a side; too few
        periods for the terms.

    References
    ----------
    Wagner et al. 2002, J Clin Pharm Ther 27:299; Lopez Bernal, Cummins and Gasparrini 2017, Int J
    Epidemiol 46:348; Linden 2015, Stata Journal 15:480 (with a control).
    """
    model = _fit(panel, options)
    design, errors = model.design, model.errors
    refusal = interval_check(options, design)
    fitted, counterfactual = _paths(model)
    lower, upper = _band(model, options.level)
    blank = np.full(len(design.periods), np.nan)
    return ItsFit(
        periods=design.periods,
        after=design.after,
        observed=design.rate[design.treated],
        fitted=fitted,
        counterfactual=counterfactual,
        counterfactual_lower=blank if refusal else lower,
        counterfactual_upper=blank if refusal else upper,
        exposure=design.exposure[design.treated],
        coefficients=_coefficients(model, options.level, shown=refusal is None),
        covariance=errors.covariance,
        rho=errors.rho,
        residuals=model.residuals,
        innovations=errors.innovations,
        dispersion=errors.dispersion,
        deviance=model.deviance,
        df_residual=len(design.x) - design.x.shape[1],
        alpha=model.alpha,
        level=options.level,
        checks=check_fit(panel, options, design, errors),
    )


def estimate_its(
    panel: Panel,
    estimand: Estimand,
    *,
    options: ItsOptions = DEFAULTS,
    rng: np.random.Generator | None = None,  # noqa: ARG001 - estimators share one signature; nothing here is random
    role: Role = "sensitivity",
) -> Estimate:
    """One effect of an interrupted time series; the estimand's scale says which.

    `mean_difference`: fitted less counterfactual rate, averaged over the periods after adoption.
    `rate_ratio`: fitted over counterfactual events in all periods after adoption (with a count family's
    own likelihood, fitted events are the observed ones). `level_change`, `slope_change` (gaussian) and
    `level_ratio`, `slope_ratio` (counts): the coefficients, those of the slope per period. With a
    control the counterfactual is the treated series' own path, changed as the control's.

    `se` is on the scale of `value`, ratios by the delta method from the log. For `errors="reml_ar"` it
    holds the uncertainty of rho. The interval, and the p-value that goes with it, are refused (NaN,
    failed check `interval`) where its measured coverage is under 90%: see `its_errors`.

    Identified if, but for the change, the series would have gone on as its model says. Without a control,
    whatever else changed at the same time is counted as effect. Raises as `fit_its`, and ParameterError
    for another scale.
    """
    _check_scale(estimand.scale, options)
    model = _fit(panel, options)
    errors = model.errors
    on_log = estimand.scale.endswith("ratio")
    at = _effect(model, errors.beta[None], errors.covariance[None], estimand.scale)
    location, scale = _effect(model, errors.betas, errors.covariances, estimand.scale)
    ends = mixture_interval(location[:, None], scale[:, None], errors.weights, df=errors.df, level=options.level)
    below = float(mixture_cdf(np.zeros(1), location[:, None], scale[:, None], errors.weights, df=errors.df)[0])
    spread = float(mixture_sd(location[:, None], scale[:, None], errors.weights, df=errors.df)[0])
    value, lower, upper = float(at[0][0]), float(ends[0][0]), float(ends[1][0])
    if on_log:
        # An end too large for a number is infinite.
        value, lower, upper = (math.exp(x) if x < _LARGEST_LOG else math.inf for x in (value, lower, upper))
        spread *= value
    checks = check_fit(panel, options, model.design, errors)
    refused = any(check.name == "interval" and check.passed is False for check in checks)
    events = model.design.outcome[model.design.treated]
    after = model.design.after
    return Estimate(
        estimand,
        _name(options),
        role,
        value,
        math.nan if refused else lower,
        math.nan if refused else upper,
        math.nan if refused else options.level,
        n_events=float(min(events[after].sum(), events[~after].sum())) if model.log_link else math.nan,
        se=spread,
        p_value=math.nan if refused else 2 * min(below, 1 - below),
        checks=checks,
        label=_label(options),
    )


def _check_scale(scale: Scale, options: ItsOptions) -> None:
    scales = LINEAR_SCALES if options.family == "gaussian" else LOG_SCALES
    if scale not in scales:
        raise ParameterError(
            Fault(
                "its",
                f'a {options.family} series gives no "{scale}"',
                allowed=", ".join(scales),
                next_step="Use another scale or family.",
            )
        )
    if scale in ("slope_change", "slope_ratio") and options.slope == "level":
        raise ParameterError(Fault("its", f'a "{scale}" needs slope "level_and_slope"'))


def _fit(panel: Panel, options: ItsOptions) -> _Model:
    design = build_design(panel, options)
    gap = series_gaps(design.series, design.time)
    lags = default_lags(len(design.periods)) if options.lags is None else options.lags
    if options.family != "gaussian":
        counts = fit_counts(
            design.outcome,
            design.x,
            design.offset,
            family=options.family,
            errors=options.errors,
            series=design.series,
            time=design.time,
            gap=gap,
            lags=lags,
        )
        return _Model(design, counts.errors, counts.deviance_residuals, counts.deviance, counts.alpha, log_link=True)
    y = design.rate - design.offset
    fits = {
        "reml_ar": lambda: fit_reml_ar(y, design.x, gap),
        "prais_winsten": lambda: fit_prais_winsten(y, design.x, gap),
        "ml_ar": lambda: fit_ml_ar(y, design.x, design.time, options.ar_order),
        "model": lambda: fit_least_squares(y, design.x),
        "newey_west": lambda: _newey_west(y, design, lags),
    }
    errors = fits[options.errors]()
    residuals = y - design.x @ errors.beta
    return _Model(design, errors, residuals, float(residuals @ residuals), math.nan, log_link=False)


def _newey_west(y: np.ndarray, design: ItsDesign, lags: int) -> ErrorFit:
    fit = fit_least_squares(y, design.x)
    bread = np.linalg.inv(design.x.T @ design.x)
    scores = design.x * fit.innovations[:, None]
    covariance = newey_west(scores, bread, series=design.series, time=design.time, lags=lags)
    return single(fit.beta, covariance, df=fit.df, innovations=fit.innovations, dispersion=fit.dispersion)


def _band(model: _Model, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the counterfactual rate, shapes (T,): the fitted rate less the effect's interval; NaN before.

    Not of the counterfactual's own mean: where errors are nearly a random walk the level of a series is all
    but unknown, yet how far it moved at adoption is not, and that is what the picture is read for.
    """
    design, errors = model.design, model.errors
    rows = design.treated
    inner = np.flatnonzero(rows)[design.after]
    x = design.x[inner] - design.untreated[inner]
    spread = np.sqrt(np.einsum("tk,mkl,tl->mt", x, errors.covariances, x))
    low, high = mixture_interval(errors.betas @ x.T, spread, errors.weights, df=errors.df, level=level)
    fitted = design.offset[inner] + design.x[inner] @ errors.beta
    ends = np.full((2, len(design.periods)), np.nan)
    ends[:, design.after] = fitted - high, fitted - low
    if model.log_link:
        ends = np.exp(ends) / design.exposure[rows]
    return ends[0], ends[1]


def _coefficients(model: _Model, level: float, *, shown: bool) -> pd.DataFrame:
    errors = model.errors
    scales = np.sqrt(np.diagonal(errors.covariances, axis1=1, axis2=2))
    lower, upper = mixture_interval(errors.betas, scales, errors.weights, df=errors.df, level=level)
    return pd.DataFrame(
        {
            "name": model.design.names,
            "value": errors.beta,
            "se": mixture_sd(errors.betas, scales, errors.weights, df=errors.df),
            "lower": lower if shown else np.nan,
            "upper": upper if shown else np.nan,
        }
    )


def _paths(model: _Model) -> tuple[np.ndarray, np.ndarray]:
    """Fitted and counterfactual rates of the treated series, shapes (T,)."""
    rows = model.design.treated
    offset = model.design.offset[rows]
    paths = []
    for x in (model.design.x[rows], model.design.untreated[rows]):
        linear = offset + x @ model.errors.beta
        paths.append(np.exp(linear) / model.design.exposure[rows] if model.log_link else linear)
    return paths[0], paths[1]


def _effect(model: _Model, betas: np.ndarray, covariances: np.ndarray, scale: Scale) -> tuple[np.ndarray, np.ndarray]:
    """Value and standard error of the effect for M coefficient vectors, shapes (M,); ratios are on the log scale."""
    design = model.design
    prefix = "treated:" if any(n.startswith("treated") for n in design.names) else ""
    if scale in ("level_change", "level_ratio", "slope_change", "slope_ratio"):
        place = design.names.index(prefix + scale.split("_")[0])
        return betas[:, place], np.sqrt(covariances[:, place, place])
    inner = np.flatnonzero(design.treated)[design.after]
    both = design.x[inner], design.untreated[inner]
    if scale == "rate_ratio":
        value, gradient = _log_ratio(model, betas, both, inner)
    else:
        parts = []
        for x in both:
            linear = design.offset[inner] + betas @ x.T
            rate = np.exp(linear) / design.exposure[inner] if model.log_link else linear
            slope = rate if model.log_link else np.ones_like(rate)
            parts.append((rate.mean(axis=1), slope @ x / len(inner)))
        value, gradient = parts[0][0] - parts[1][0], parts[0][1] - parts[1][1]
    return value, np.sqrt(np.einsum("mk,mkl,ml->m", gradient, covariances, gradient))


def _log_ratio(
    model: _Model, betas: np.ndarray, both: tuple[np.ndarray, np.ndarray], inner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log of fitted over expected events after adoption (M,), and its gradient (M, k); `inner` are those rows."""
    design = model.design
    totals = []
    for x in both:
        linear = design.offset[inner] + betas @ x.T
        if model.log_link:
            log_total = special.logsumexp(linear, axis=1)
            totals.append((log_total, np.exp(linear - log_total[:, None]) @ x))
            continue
        total = linear @ design.exposure[inner]
        # A sum that is nought but for rounding is nought: with no event after adoption there is no ratio to give.
        if (total <= _NOUGHT * (np.abs(design.rate[design.treated]).max() * design.exposure[inner].sum())).any():
            raise NotEstimable(Fault("its", "the rates fitted or expected after adoption are not above 0; no ratio"))
        totals.append((np.log(total), (design.exposure[inner] @ x)[None] / total[:, None]))
    return totals[0][0] - totals[1][0], totals[0][1] - totals[1][1]


def _name(options: ItsOptions) -> str:
    return f"{'its' if options.control == 'none' else f'cits_{options.control}'}_{options.family}_{options.errors}"


def _label(options: ItsOptions) -> str:
    how = {
        "reml_ar": "AR(1) errors by restricted likelihood",
        "ml_ar": f"AR({options.ar_order}) errors by maximum likelihood",
        "prais_winsten": "Prais–Winsten",
        "newey_west": "Newey–West errors",
        "model": "errors as if independent",
    }[options.errors]
    control = {"none": "", "pooled": " with pooled control", "each": " with each control"}[options.control]
    return f"Interrupted time series{control}, {options.family.replace('_', ' ')}, {how}"
