"""Effects of balanced comparisons: g-computation, weighting, AIPW, TMLE, and their differences-in-differences."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.people.effect_bootstrap import compute_effect_draws
from evalkit.estimators.people.effect_checks import (
    check_extrapolation,
    check_outcome,
    check_request,
    count_events,
)
from evalkit.estimators.people.effect_means import EffectMeans, Plan, compute_effect_means
from evalkit.estimators.people.effect_nuisances import OutcomeSpec
from evalkit.estimators.people.influence import (
    RATIOS,
    Correction,
    build_estimate,
    compute_clustered_error,
    compute_contrast,
    compute_gradient,
)
from evalkit.estimators.people.outcome_models import Interactions
from evalkit.estimators.people.weighting import WeightOptions, compute_effective_size, hide_few

Method = Literal["gcomp", "ipw", "aipw", "tmle", "did_gcomp", "did_ipw", "did_aipw"]
OutcomeModel = Literal["by_scale", "linear", "logistic", "poisson", "boosted"]
LABELS: dict[str, str] = {
    "gcomp": "G-computation",
    "ipw": "Weighting",
    "aipw": "Augmented weighting (doubly robust)",
    "tmle": "Targeted maximum likelihood",
    "did_gcomp": "Difference-in-differences, outcome regression",
    "did_ipw": "Difference-in-differences, weighting",
    "did_aipw": "Difference-in-differences, doubly robust",
}
FEW_FOR_TREES = 500  # people: with 200 intervals of boosted AIPW covered 79%, with 600 93% (docs/truth_people.md)
FEW_CLUSTERS = 20  # on a side
# Effective people on a weighted side: in 825 draws with fewer, 95% intervals of AIPW and TMLE held in 89% and 86%
# (efficient), 91% and 90% (leverage), 94% and 92% (jackknife); in 2545 with more, in 94% to 96% by any of them.
FEW_EFFECTIVE = 30


@dataclass(frozen=True)
class EffectOptions:
    """How an effect is estimated.

    Attributes
    ----------
    outcome_model : "by_scale" is logistic for risks and odds, Poisson for rates and linear else, and linear for
        differences-in-differences other than rates. "boosted" (trees with that family's loss) needs `folds`.
    interactions : "all" models each side apart, "none" gives the treatment one coefficient (with which
        g-computation of a linear model is not the ATT nor the ATE unless the effect is the same for all), or the
        names of the covariates that change the effect
    weights : its `estimand` is replaced by the contrast of the estimand
    folds : 0, or K >= 2 for cross-fitted nuisances (double machine learning) of aipw, tmle and did_aipw; weights of
        the residuals are then normalised on each side, as they are in did_aipw
    errors : "influence" stacks the estimating equations of all models (with folds the efficient influence function);
        "efficient" always takes the efficient influence function, which holds where both models are right and the
        sample is large; "bootstrap" draws clusters and fits everything anew
    correction : of influence errors, for small samples. "leverage" (HC2, CR2) and "jackknife" (HC3, CR3, wider) come
        from leaving out each of G clusters, in one step, from the means and all models; "clusters" multiplies the
        variance by G / (G - 1), as they do too with folds or "efficient"; all three take quantiles of t with G - 1
        degrees of freedom. "none" is CR0 (HC0), with normal quantiles, as R has it
    replicates : draws of the bootstrap
    bounds : lowest and highest possible value of the outcome, for TMLE of one that is not 0/1; by default those seen
    """

    method: Method = "aipw"
    outcome_model: OutcomeModel = "by_scale"
    interactions: Interactions = "all"
    weights: WeightOptions = field(default_factory=WeightOptions)
    folds: int = 0
    errors: Literal["influence", "efficient", "bootstrap"] = "influence"
    correction: Correction = "leverage"
    replicates: int = 999
    level: float = 0.95
    bounds: tuple[float, float] | None = None


def estimate_effect(
    comparison: Comparison,
    estimand: Estimand,
    *,
    options: EffectOptions = EffectOptions(),
    rng: np.random.Generator | None = None,
    role: Role = "sensitivity",
) -> Estimate:
    """Effect of the treatment on the contrast and scale of `estimand`, by one method.

    Identified if, given the covariates, who is treated does not depend on what would have become of them
    (for did_*: on how they would have changed), and everybody in the target population could have been on either
    side. Scales: risk_difference, risk_ratio, odds_ratio, rate_ratio (outcome over `person_time`, where given),
    mean_difference, events_per_person, days_per_person. did_*: ATT, differences and rate_ratio, which is (treated
    after / before) / (comparison after / before) and takes the time before to be as long for everybody.
    Ratios: interval on the log scale, `se` is that of the logarithm. `person_time` counts for rate_ratio only; in
    g-computation and AIPW it must not depend on the treatment given the covariates. Where weights leave a side fewer
    than 30 effective people the interval is the jackknife's, or none (NaN) if other errors were asked for; a failed
    check "interval" says so.

    Parameters
    ----------
    comparison : Comparison, n people; `before` is needed for did_*
    rng : needed for folds, boosting and the bootstrap

    Raises
    ------
    ParameterError
        A method that has not this contrast or scale, options that do not go together, no outcome or `before`,
        outcomes that the scale or the model cannot have.
    NotEstimable
        Fewer than 10 people with or without the event (the count is not shown), an outcome that does not vary on a
        side, a side in one cluster, a covariate that separates, no overlap, a mean outside what the scale allows.

    References
    ----------
    Lunceford and Davidian 2004, Stat Med 23:2937; van der Laan and Rose 2011; Chernozhukov and others 2018,
    Econometrics J 21:C1 (folds); Abadie 2005, REStud 72:1; Heckman, Ichimura and Todd 1997, REStud 64:605; Sant'Anna
    and Zhao 2020, J Econometrics 219:101.
    """
    check_request(comparison, estimand, options, rng)
    check_outcome(comparison, estimand, options)
    plan = build_plan(comparison, estimand, options)
    orthogonal = plan.folds > 0 or options.errors == "efficient"
    means = compute_effect_means(
        comparison, plan, sampling=comparison.sampling[None], rng=rng,
        errors="efficient" if orthogonal else "stacked",
    )  # fmt: skip
    _refuse_impossible(means.value[0], estimand)
    people = comparison
    if options.weights.trim is not None:
        people = comparison.select(means.weights > 0)
        check_outcome(people, estimand, options)
    value = float(compute_contrast(means.value[0], estimand.scale))
    se, degrees, drawn = _compute_error(comparison, estimand, plan, options, means, rng)
    checks = (*_check_means(comparison, plan, means), *_check_errors(comparison, plan, options), *drawn)
    return build_estimate(
        estimand, options.method, role=role, value=value, se=se, level=options.level, label=LABELS[options.method],
        n_people=len(people), n_events=count_events(people, estimand), checks=checks, degrees=degrees,
    )  # fmt: skip


def build_plan(comparison: Comparison, estimand: Estimand, options: EffectOptions) -> Plan:
    """The options taken apart for `compute_effect_means`."""
    did = options.method.startswith("did_")
    kind = options.method.removeprefix("did_")
    risk = estimand.scale in ("risk_difference", "risk_ratio", "odds_ratio")
    natural = "poisson" if estimand.scale == "rate_ratio" else "logistic" if risk and not did else "linear"
    boosted = options.outcome_model == "boosted"
    family = natural if options.outcome_model in ("by_scale", "boosted") else options.outcome_model
    bounds = None
    if kind == "tmle":
        y = comparison.outcome
        bounds = options.bounds or ((0.0, 1.0) if np.isin(y, (0, 1)).all() else (float(y.min()), float(y.max())))
    folds = options.folds or options.weights.folds
    # The residuals' weights sum to one where there is no one sum of weights to rely on: other folds', or two periods'.
    doubly = "aipw_ratio" if did or folds else "aipw"
    return Plan(
        contrast=estimand.contrast,
        way={"gcomp": "gcomp", "ipw": "ipw", "tmle": "aipw", "aipw": doubly}[kind],
        targeted=kind == "tmle",
        periods=2 if did else 1,
        exposed=estimand.scale == "rate_ratio" and comparison.person_time is not None,
        outcome=OutcomeSpec(family, boosted, options.interactions),
        weights=replace(options.weights, folds=folds),
        folds=folds if kind in ("aipw", "tmle") else 0,
        bounds=bounds,
    )


def _compute_error(
    comparison: Comparison,
    estimand: Estimand,
    plan: Plan,
    options: EffectOptions,
    means: EffectMeans,
    rng: np.random.Generator | None,
) -> tuple[float, float, tuple[Check, ...]]:
    """Standard error of the contrast, its degrees of freedom, and what the bootstrap lost."""
    if options.errors != "bootstrap":
        gradient, cluster = compute_gradient(means.value[0], estimand.scale), comparison.cluster
        degrees = math.inf if options.correction == "none" else len(np.unique(cluster)) - 1.0
        correction, checks = _check_interval(comparison, plan, options, means)
        if correction is None:
            return math.nan, degrees, checks
        left_out = None if means.left_out is None else means.left_out @ gradient
        return compute_clustered_error(means.influence @ gradient, cluster, correction, left_out), degrees, checks
    draws = compute_effect_draws(comparison, plan, scale=estimand.scale, replicates=options.replicates, rng=rng)
    lost = draws.lost / options.replicates
    check = Check("bootstrap", draws.lost == 0, lost, f"{lost:.1%} of the draws could not be estimated.")
    return float(np.nanstd(draws.values, ddof=1)), math.inf, (check,)


def _check_interval(
    comparison: Comparison, plan: Plan, options: EffectOptions, means: EffectMeans
) -> tuple[Correction | None, tuple[Check, ...]]:
    """The correction of the error, None where no error is to be trusted, and what few effective people do to it."""
    stacked, wanted = means.left_out is not None, options.correction
    correction = "clusters" if wanted in ("leverage", "jackknife") and not stacked else wanted
    if (options.outcome_model == "boosted" or plan.weights.method == "boosted") and len(comparison) < FEW_FOR_TREES:
        text = f"Trees learn too little from fewer than {FEW_FOR_TREES} people: their interval held too rarely."
        return None, (Check("interval", False, float("nan"), f"{text} Use the other models."),)
    if plan.way == "gcomp" or means.weights is None:
        return correction, ()
    sides = {"ATT": (~comparison.treated,), "ATC": (comparison.treated,)}.get(
        plan.contrast, (comparison.treated, ~comparison.treated)
    )
    fewest = min(compute_effective_size(means.weights[side]) for side in sides)
    if fewest >= FEW_EFFECTIVE or correction == "jackknife":
        return correction, ()
    rests = f"The estimate rests on fewer than {FEW_EFFECTIVE} effective people on a weighted side"
    if correction == "leverage":
        text = f"{rests}: the interval is the jackknife's, which is wider. The overlap (ATO) is better backed."
        return "jackknife", (Check("interval", False, fewest, text),)
    remedy = 'Estimate in the overlap population (ATO), or without folds and with errors="influence".'
    text = f"{rests}, where intervals by this error hold too rarely: none is given. {remedy}"
    return None, (Check("interval", False, fewest, text),)


def _refuse_impossible(means: np.ndarray, estimand: Estimand) -> None:
    """A mean that has no logarithm or odds: models without bounds can give one."""
    if estimand.scale in RATIOS and not (means > 0).all():
        what = "a mean that the method gives is not positive, so that there is no ratio"
    elif estimand.scale == "odds_ratio" and not (means < 1).all():
        what = "a risk that the method gives is 1 or more, so that there are no odds"
    elif not np.isfinite(means).all():
        what = "a mean that the method gives is not finite"
    else:
        return
    raise NotEstimable(
        Fault(estimand.scale, what, next_step="Use an outcome model that keeps within bounds, tmle, or a difference.")
    )


def _check_means(comparison: Comparison, plan: Plan, means: EffectMeans) -> tuple[Check, ...]:
    """Whether the sides are alike enough for the means: by weights, or by what a model was fitted to."""
    if plan.way == "gcomp" and plan.contrast != "ATO":
        return (check_extrapolation(comparison, plan.contrast), *means.checks)
    return (*means.checks, *_check_balance(comparison, means))


def _check_balance(comparison: Comparison, means: EffectMeans) -> tuple[Check, ...]:
    """The largest standardised difference that the weights leave."""
    if means.weights is None or not comparison.covariates.shape[1]:
        return ()
    t, x, w = comparison.treated, comparison.covariates, means.weights
    gap = np.average(x[t], axis=0, weights=w[t]) - np.average(x[~t], axis=0, weights=w[~t])
    spread = np.sqrt((x[t].var(axis=0) + x[~t].var(axis=0)) / 2)
    worst = float(np.max(np.divide(np.abs(gap), spread, out=np.zeros(len(gap)), where=spread > 0)))
    text = f"The largest standardised difference left after weighting is {worst:.3f}; 0.1 or less is wanted."
    return (Check("balance", worst <= 0.1, worst, text),)


def _check_errors(comparison: Comparison, plan: Plan, options: EffectOptions) -> tuple[Check, ...]:
    """What the standard error takes into account, and whether the clusters are enough for it."""
    t, cluster, checks = comparison.treated, comparison.cluster, []
    groups = min(len(np.unique(cluster[t])), len(np.unique(cluster[~t])))
    if len(np.unique(cluster)) < len(comparison):
        text = f"With fewer than {FEW_CLUSTERS} clusters on a side the error tends to be too small."
        checks.append(Check("clusters", groups >= FEW_CLUSTERS, hide_few(groups, groups), text))
    given = plan.way == "ipw" and (plan.weights.method == "boosted" or plan.weights.folds > 0)
    if given and options.errors != "bootstrap":
        text = "The error takes the weights as known, because they come from trees or from other folds."
        checks.append(Check("weights_taken_as_known", False, float("nan"), text))
    cut = plan.weights.trim is not None or plan.weights.truncate is not None
    if cut and options.errors != "bootstrap":
        text = "The error takes as known who was trimmed, or where weights were cut."
        checks.append(Check("cuts_taken_as_known", None, float("nan"), text))
    return tuple(checks)
