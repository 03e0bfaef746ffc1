"""Effects where units adopt at different times: Callaway-Sant'Anna, Sun-Abraham and imputation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import stats

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Estimate, Role
from evalkit.estimators.area.aggregate import AggregatedEffects, aggregate_effects, build_event_study
from evalkit.estimators.area.callaway_santanna import compute_callaway_santanna, compute_sun_abraham
from evalkit.estimators.area.gate import count_sides, refuse_few_treated
from evalkit.estimators.area.group_time import GroupTimeEffects, Method, StaggeredOptions, derive_timing
from evalkit.estimators.area.imputation import compute_imputation
from evalkit.estimators.area.paths import EventStudy

DEFAULTS = StaggeredOptions()
LABELS: dict[Method, str] = {
    "callaway_santanna": "Callaway and Sant'Anna group-time effects",
    "sun_abraham": "Sun and Abraham interaction-weighted",
    "imputation": "Borusyak, Jaravel and Spiess imputation",
}
_COMPUTE = {
    "callaway_santanna": compute_callaway_santanna,
    "sun_abraham": compute_sun_abraham,
    "imputation": compute_imputation,
}


def estimate_group_time(panel: Panel, *, options: StaggeredOptions = DEFAULTS) -> GroupTimeEffects:
    """Effect on each cohort in each period, on `panel.values`, with the influence of each unit.

    Identified if untreated outcomes of cohorts and of those they are compared with would have changed
    alike (for Callaway-Sant'Anna given `options.covariates` at the base period). Where adoption falls
    within a period, that period counts as one of anticipation, for all cohorts. Effects of a cohort of
    few units are given with the error of the formula and a failed check, since that error means little.

    Raises
    ------
    ParameterError
        An unknown covariate; periods with gaps; an anticipation that leaves a cohort no base period;
        options that the method has not.
    NotEstimable
        Too few treated or untreated units for errors that count units as clusters; never-treated
        comparison asked for where every unit is treated; nobody to compare with; covariates that
        separate treated from untreated in every cell, or are collinear.

    References
    ----------
    Callaway and Sant'Anna 2021, J Econometrics 225:200, eq. 2.2 to 2.10 and theorem 2; Sun and Abraham
    2021, J Econometrics 225:175, section 4; Borusyak, Jaravel and Spiess 2024, REStud 91:3253, theorem 3.
    """
    timing = derive_timing(panel, options)
    starts = np.full(len(panel.units), np.nan)
    starts[panel.treated] = timing.first[panel.treated]
    # Who adopts within the last period is not studied; they only stand for never-treated units if there are none.
    counted = (timing.cohort >= 0) | ~panel.treated | panel.treated.all()
    treated, other = count_sides(starts[counted], panel.units[counted])
    gate = refuse_few_treated(treated, other, asked=f'method="{options.method}"')
    effects = _COMPUTE[options.method](panel, timing, options)
    return replace(effects, checks=(gate, *effects.checks))


def estimate_staggered(
    panel: Panel,
    estimand: Estimand,
    *,
    options: StaggeredOptions = DEFAULTS,
    rng: np.random.Generator | None = None,  # noqa: ARG001 - estimators share one signature; nothing here is random
    role: Role = "sensitivity",
) -> Estimate:
    """Average effect on the treated where adoption is staggered, on the mean-difference scale.

    Identified if untreated outcomes of cohorts and their comparison would have moved in parallel
    (given `options.covariates` at the base period for Callaway-Sant'Anna). `options.aggregation` says
    how effects by cohort and period are averaged; "simple", the default, is the mean over treated
    unit-periods and the same target for all three methods. Errors count units as clusters: analytic
    for Callaway-Sant'Anna (normal), CR1 with t(J-1) for Sun-Abraham, conservative for imputation (normal).

    Raises
    ------
    ParameterError
        Another scale; options that do not fit the method or the panel.
    NotEstimable
        Too few treated or untreated units for such an error; nobody to compare with; covariates that
        separate treated from untreated in every cell, or are collinear.

    References
    ----------
    Callaway and Sant'Anna 2021, J Econometrics 225:200; Sun and Abraham 2021, J Econometrics 225:175;
    Borusyak, Jaravel and Spiess 2024, REStud 91:3253.
    """
    if estimand.scale != "mean_difference":
        raise ParameterError(
            Fault(
                "estimand", "staggered designs give differences in means", got=estimand.scale, allowed="mean_difference"
            )
        )
    effects = estimate_group_time(panel, options=options)
    found = aggregate_effects(effects, estimand, kind=options.aggregation, errors=options.errors, level=options.level)
    return Estimate(
        estimand,
        options.method,
        role,
        found.overall,
        found.overall_lower,
        found.overall_upper,
        options.level,
        se=found.overall_se,
        p_value=_p_value(found),
        checks=found.checks,
        label=LABELS[options.method],
    )


def _p_value(found: AggregatedEffects) -> float:
    if math.isnan(found.overall_lower):
        return math.nan
    return float(2 * stats.t.sf(abs(found.overall) / found.overall_se, found.overall_freedom))


def estimate_staggered_event_study(
    panel: Panel,
    estimand: Estimand,
    *,
    options: StaggeredOptions = DEFAULTS,
    rng: np.random.Generator | None = None,
) -> EventStudy:
    """Effects by time from adoption, with pointwise intervals and, given `rng`, a uniform band.

    Effects before adoption are against the last period before it and anticipation; imputation has none.
    Raises ParameterError for base="varying", whose effects before adoption share no reference period
    (Roth 2024, "Interpreting event-studies"), and what `estimate_staggered` raises.
    """
    if options.method == "callaway_santanna" and options.base != "universal":
        raise ParameterError(
            Fault(
                "base",
                "a path needs one reference period for all its effects",
                got=options.base,
                allowed="universal",
                next_step='For a varying base use aggregate_effects(..., kind="dynamic").',
            )
        )
    effects = estimate_group_time(panel, options=options)
    found = aggregate_effects(
        effects,
        estimand,
        kind="dynamic",
        rng=rng,
        errors=options.errors,
        level=options.level,
        draws=options.draws,
    )
    return build_event_study(found, reference=-1 - effects.ahead)
