"""Difference-in-differences by two-way fixed effects: one effect, or a path of effects by time from adoption."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.area.conley_taber import compute_conley_taber
from evalkit.estimators.area.did_cells import (
    adoption_places,
    build_cells,
    cluster_codes,
    event_steps,
    refuse_bad_panel,
    refuse_no_variation,
    silent_rows,
    static_exposure,
)
from evalkit.estimators.area.did_checks import (
    WITHHELD,
    alike_check,
    assumption_checks,
    counts_check,
    design_checks,
    late_reference_check,
    serial_check,
    silent_check,
    wild_check,
)
from evalkit.estimators.area.did_options import DidOptions, refuse_bad_options
from evalkit.estimators.area.gate import MIN_CLUSTERS, count_sides, refuse_few_treated
from evalkit.estimators.area.paths import EventStudy
from evalkit.estimators.area.twfe import Cells, compute_twfe, refuse_collinear
from evalkit.estimators.area.wild_bootstrap import WildOptions, compute_wild_bootstrap

__all__ = ["DidOptions", "estimate_did", "estimate_did_event_study"]

_DEFAULT = DidOptions()


@dataclass(frozen=True)
class _Inferred:
    """Coefficients (K,), their errors, intervals and p-values (K,), covariance (K, K), and checks."""

    value: np.ndarray
    se: np.ndarray
    covariance: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    p_value: np.ndarray
    level: float
    checks: tuple[Check, ...]


def estimate_did(
    panel: Panel,
    estimand: Estimand,
    *,
    options: DidOptions = _DEFAULT,
    rng: np.random.Generator | None = None,
    role: Role = "sensitivity",
) -> Estimate:
    """One effect of treatment: outcome on exposure with unit and period effects.

    Identified if, without treatment, outcomes of treated and untreated would have moved in parallel (in
    proportion, with family="poisson"). Intervals with analytic errors use t with G-1 degrees of freedom
    (G clusters; T-1 with Newey-West and Driscoll-Kraay; N-K else). On the scale "mean_difference" the
    value is in units of `panel.values`; on "rate_ratio" it is exp(coefficient), the interval is that of
    the coefficient exponentiated, and `se` is value x se(coefficient).

    What is known not to hold is not given. A cluster-robust error with few clusters on either side is
    refused (`gate.refuse_few_treated`). Errors that ignore clusters leave `se`, `lower`, `upper` and
    `p_value` NaN, with failed checks, where residuals are correlated over time.

    Raises
    ------
    ParameterError
        Options at odds with each other, the panel or the estimand; covariates that unit and period effects explain.
    NotEstimable
        Too few clusters for what was asked; nothing before or after adoption; no variation; no event
        where a ratio needs one.

    References
    ----------
    Bertrand, Duflo and Mullainathan 2004, QJE 119:249; Goodman-Bacon 2021, J. Econometrics 225:254.
    """
    refuse_bad_options(panel, estimand, options)
    refuse_bad_panel(panel, options.family)
    exposed, kept = static_exposure(panel, anticipation_periods=options.anticipation_periods, exposure=options.exposure)
    cells, kept, left_out = _prepare(panel, exposed[:, :, None], kept, options)
    checks = design_checks(panel, exposed, kept, options)
    found = _infer(panel, cells, kept, estimand, options, rng)
    ratio = options.family == "poisson"
    scale = np.exp if ratio else np.asarray
    value, lower, upper = (float(scale(x[0])) for x in (found.value, found.lower, found.upper))
    return Estimate(
        estimand,
        f"did_{options.family}_{options.errors}",
        role,
        value,
        lower,
        upper,
        found.level,
        n_events=_events(panel, exposed),
        se=float(found.se[0] * (value if ratio else 1.0)),
        p_value=float(found.p_value[0]),
        checks=(*checks, *left_out, *found.checks),
        label=f"Two-way fixed effects, {options.errors.replace('_', ' ')}",
    )


def estimate_did_event_study(
    panel: Panel,
    estimand: Estimand,
    *,
    options: DidOptions = _DEFAULT,
    rng: np.random.Generator | None = None,
) -> EventStudy:
    """Effects by time from adoption, against the last period before it (and before anticipation).

    Coefficients stay on the scale of the regression: units of `panel.values`, or with family="poisson" log
    rate ratios, so that `covariance` is theirs. Step 0 is the period in which adoption falls. Steps known
    from fewer than `MIN_CLUSTERS` clusters keep their value and lose error and interval, which a failed
    check says. Where units adopt at different times, effects of one step are mixed with those of others
    (Sun and Abraham 2021, J. Econometrics 225:175): a failed check points to `estimate_staggered`.

    Raises as `estimate_did`; NotEstimable too where no unit is never treated, or with errors="permutation".
    """
    refuse_bad_options(panel, estimand, options)
    refuse_bad_panel(panel, options.family)
    faults = []
    if panel.treated.all():
        faults.append(Fault("event study", "no unit is never treated", next_step="Use estimate_staggered."))
    if options.errors == "permutation" or options.exposure is not None:
        step = 'Use errors="conley_taber" with few treated units, and no share of exposure.'
        faults.append(Fault("event study", "it takes neither permutation nor shares of exposure", next_step=step))
    if faults:
        raise NotEstimable(faults)
    reference = -1 - options.anticipation_periods
    steps, effects = event_steps(panel, reference=reference)
    cells, kept, left_out = _prepare(panel, effects, np.ones_like(panel.outcome, dtype=bool), options)
    checks = design_checks(panel, effects[:, :, steps >= 0].sum(axis=2), kept, options)
    checks += late_reference_check(panel, reference)
    found = _infer(panel, cells, kept, estimand, options, rng)
    found, thin = _drop_thin_steps(panel, found, steps, options)
    return EventStudy(
        estimand,
        f"did_event_study_{options.family}_{options.errors}",
        steps,
        found.value,
        found.se,
        found.lower,
        found.upper,
        found.covariance,
        reference,
        found.level,
        checks=(*checks, *left_out, *found.checks, *thin),
    )


def _prepare(
    panel: Panel, effects: np.ndarray, kept: np.ndarray, options: DidOptions
) -> tuple[Cells, np.ndarray, tuple[Check, ...]]:
    """Cells that can be regressed, which they are (J, T), and what was left out for want of events."""
    silent = np.zeros_like(kept)
    if options.family == "poisson":
        silent = silent_rows(panel, kept)
        kept = kept & ~silent
        if not kept[panel.treated].any():
            raise NotEstimable(Fault("treated units", "they had no event at all"))
    cells = build_cells(
        panel, effects, kept, family=options.family, covariates=options.covariates, clusters=options.clusters
    )
    refuse_collinear(cells)
    refuse_no_variation(cells, options.family)
    return cells, kept, silent_check(silent)


def _infer(
    panel: Panel,
    cells: Cells,
    kept: np.ndarray,
    estimand: Estimand,
    options: DidOptions,
    rng: np.random.Generator | None,
) -> _Inferred:
    if options.errors == "wild_bootstrap":
        return _by_wild_bootstrap(panel, cells, options, rng)
    if options.errors == "conley_taber":
        return _by_conley_taber(panel, cells, options, rng)
    if options.errors == "permutation":
        return _by_permutation(panel, cells, estimand, options, rng)
    return _by_analytic_error(panel, cells, kept, options)


def _sides(panel: Panel, options: DidOptions) -> tuple[int, int]:
    return count_sides(adoption_places(panel)[0], cluster_codes(panel, options.clusters))


def _by_analytic_error(panel: Panel, cells: Cells, kept: np.ndarray, options: DidOptions) -> _Inferred:
    by_units = options.errors == "cluster" and options.cluster_by != "period"
    checks: tuple[Check, ...] = ()
    if by_units:
        asked = f'errors="cluster", cluster_by="{options.cluster_by}"'
        checks = (refuse_few_treated(*_sides(panel, options), asked=asked),)
    fit = compute_twfe(
        cells,
        family=options.family,
        errors=options.errors,
        cluster_by=options.cluster_by,
        lags=options.lags,
        small_sample=options.small_sample,
    )
    checks += assumption_checks(options, fit, len(panel.periods))
    covariance, level = fit.covariance, options.level
    if not by_units:
        kind = "period" if options.errors == "cluster" else options.errors
        checks += (serial_check(panel, cells, kept, fit, family=options.family, errors=kind),)
        checks += counts_check(panel, family=options.family)
        if any(c.name in ("autocorrelation", "counts_hide_correlation") and not c.passed for c in checks):
            checks += (Check("interval", False, math.nan, WITHHELD),)
            covariance, level = np.full_like(covariance, np.nan), math.nan
    variance = np.diag(covariance)
    se = np.sqrt(np.where(variance > 0, variance, np.nan))
    if (variance <= 0).any():  # clustering two ways subtracts, and may come out below nought
        checks += (Check("interval", False, math.nan, "No interval is given: the variance came out below nought."),)
    half = stats.t.ppf(0.5 + options.level / 2, fit.df) * se
    value = fit.coefficients
    p_value = 2 * stats.t.sf(np.abs(value) / se, fit.df)
    return _Inferred(value, se, covariance, value - half, value + half, p_value, level, checks)


def _by_wild_bootstrap(panel: Panel, cells: Cells, options: DidOptions, rng: np.random.Generator | None) -> _Inferred:
    sides = _sides(panel, options)
    if options.wild_residuals == "unrestricted":
        checks = [refuse_few_treated(*sides, asked='errors="wild_bootstrap", wild_residuals="unrestricted"')]
    else:
        checks = [wild_check(*sides)]
    settings = WildOptions(options.level, options.replicates, options.wild_weights, options.wild_residuals)
    found = [compute_wild_bootstrap(cells, options=settings, rng=rng, which=k) for k in range(cells.effects.shape[1])]
    one = found[0]
    how = f"all {one.draws} sign patterns" if one.listed else f"{one.draws} draws of {options.wild_weights} weights"
    text = f"Wild cluster bootstrap, {options.wild_residuals}, {how}; the smallest p-value is {one.smallest_p:.4f}."
    checks.append(Check("smallest_p", None, one.smallest_p, text))
    if one.smallest_p > 1 - options.level:
        text = "No interval is given: the smallest p-value is too large for its level. Try wild_weights='webb'."
        checks.append(Check("interval", False, math.nan, text))
    elif any(math.isinf(f.lower) or math.isinf(f.upper) for f in found):
        checks.append(
            Check("interval", False, math.nan, "The interval has no end on a side: no value there is rejected.")
        )
    value, lower, upper, p = (np.array([getattr(f, n) for f in found]) for n in ("value", "lower", "upper", "p_value"))
    return _Inferred(value, *_no_error(value), lower, upper, p, options.level, tuple(checks))


def _by_conley_taber(panel: Panel, cells: Cells, options: DidOptions, rng: np.random.Generator | None) -> _Inferred:
    found = compute_conley_taber(cells, panel.treated, level=options.level, replicates=options.replicates, rng=rng)
    untreated = int((~panel.treated).sum())
    text = f"Spread learned from {untreated} untreated units; the smallest p-value that can come out is "
    checks = [Check("smallest_p", None, found.smallest_p, f"{text}{found.smallest_p:.4f}."), alike_check(panel)]
    if math.isnan(found.level):
        text = f"No interval is given: {untreated} untreated units cannot show one at {options.level:.0%}."
        checks.append(Check("interval", False, math.nan, text))
    return _Inferred(
        found.value, *_no_error(found.value), found.lower, found.upper, found.p_value, found.level, tuple(checks)
    )


def _by_permutation(
    panel: Panel, cells: Cells, estimand: Estimand, options: DidOptions, rng: np.random.Generator | None
) -> _Inferred:
    """The design `difference_in_differences` gives the same number as the regression: one adoption, no covariates."""
    from evalkit.estimators.area.randomisation import PermutationOptions, permutation_inference
    from evalkit.estimators.area.synthetic_control import difference_in_differences

    after, within = (np.unique(x[panel.treated]) for x in adoption_places(panel))
    if len(after) == 1:
        first_out, first_in = int(within[0]) - options.anticipation_periods, int(after[0])
        if first_out < first_in:
            panel = panel.without(panel.periods[first_out], panel.periods[first_in])
    found = permutation_inference(
        panel,
        difference_in_differences,
        scale=estimand.scale,
        level=options.level,
        options=PermutationOptions(draws=options.replicates),
        rng=rng,
    )
    value = compute_twfe(cells, errors="iid").coefficients
    ends = (np.array([x]) for x in (found.lower, found.upper, found.p_value))
    return _Inferred(value, *_no_error(value), *ends, found.level, found.checks)


def _no_error(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """No standard errors (K,) and no covariance (K, K), where a test was turned round instead."""
    return np.full(len(value), np.nan), np.full((len(value), len(value)), np.nan)


def _drop_thin_steps(
    panel: Panel, found: _Inferred, steps: np.ndarray, options: DidOptions
) -> tuple[_Inferred, tuple[Check, ...]]:
    """Take error and interval from steps that fewer than `MIN_CLUSTERS` treated clusters speak of."""
    if options.errors != "cluster" or options.cluster_by == "period":
        return found, ()
    _, within = adoption_places(panel)
    codes = cluster_codes(panel, options.clusters)
    places = within[:, None] + steps
    there = (places >= 0) & (places < len(panel.periods))
    thin = np.array([len(np.unique(codes[column])) < MIN_CLUSTERS for column in there.T])
    if not thin.any():
        return found, ()
    named = ", ".join(str(s) for s in steps[thin])
    text = f"No interval at steps {named}: fewer than {MIN_CLUSTERS} treated clusters are seen there."
    masked = {n: np.where(thin, np.nan, getattr(found, n)) for n in ("se", "lower", "upper", "p_value")}
    covariance = np.where(thin[:, None] | thin[None, :], np.nan, found.covariance)
    return replace(found, **masked, covariance=covariance), (Check("thin_steps", False, float(thin.sum()), text),)


def _events(panel: Panel, exposure: np.ndarray) -> float:
    """Events of treated units before or after adoption, whichever are fewer; NaN where outcomes are no counts."""
    if np.all(panel.denominator == 1.0) and not np.all(panel.outcome == np.round(panel.outcome)):
        return math.nan
    y, after = panel.outcome[panel.treated], exposure[panel.treated] > 0
    return float(min(y[after].sum(), y[~after].sum()))
