"""Means of both sides by each method, after and, for differences-in-differences, before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.comparison import Comparison
from evalkit.core.estimand import Contrast
from evalkit.core.result import Check
from evalkit.estimators.people.arm_means import (
    Balance,
    Errors,
    Means,
    Way,
    compute_calibrated_influence,
    compute_means,
)
from evalkit.estimators.people.effect_nuisances import (
    OutcomeSpec,
    build_balance,
    draw_folds,
    drop_redundant,
    fit_models,
    fit_models_across,
)
from evalkit.estimators.people.logistic import add_intercept
from evalkit.estimators.people.tmle import compute_targeted
from evalkit.estimators.people.weighting import WeightOptions


@dataclass(frozen=True)
class Plan:
    """A method taken apart: which equation, with which models, on one period or on two.

    `periods` 2 subtracts what was seen before; `targeted` is TMLE; `exposed` divides the outcome after by person-time.
    """

    contrast: Contrast
    way: Way
    targeted: bool
    periods: Literal[1, 2]
    exposed: bool
    outcome: OutcomeSpec
    weights: WeightOptions
    folds: int
    bounds: tuple[float, float] | None


@dataclass(frozen=True)
class EffectMeans:
    """`value` (B, 2), comparison and treated, or (B, 4) with both before; of its first row `influence` (n, 2 or 4)
    and, with stacked errors, `left_out` (n, 2 or 4), as of `Means`."""

    value: np.ndarray
    influence: np.ndarray | None
    left_out: np.ndarray | None
    checks: tuple[Check, ...]
    weights: np.ndarray | None


def compute_effect_means(
    comparison: Comparison, plan: Plan, *, sampling: np.ndarray, rng: np.random.Generator | None, errors: Errors
) -> EffectMeans:
    """Means under each row of `sampling` (B, n), the first of which is that of everybody.

    The target population's mean without treatment, in a difference-in-differences, is what the comparison's mean
    would be in it after, less the same before; both by one method and one set of weights, so that with linear models
    it is the method on each person's change.
    """
    people = drop_redundant(comparison)
    balance, checks, fold = None, (), None
    cross_rng = rng
    if plan.way != "gcomp" or plan.contrast == "ATO":
        weights_rng = rng
        if plan.folds:
            seed = int(rng.integers(2**62))
            weights_rng, fold = np.random.default_rng(seed), draw_folds(comparison, plan.folds, seed)
        balance, checks = build_balance(
            comparison, plan.contrast, options=plan.weights, sampling=sampling, rng=weights_rng
        )
    used = sampling
    if balance is not None and plan.weights.trim is not None:
        used = sampling * (balance.weights.sum(axis=0) > 0)  # those trimmed are in no mean and in no outcome model
    periods = [(people.outcome, people.person_time if plan.exposed else None)]
    if plan.periods == 2:
        periods.append((people.before, None))
    found = [
        _compute_period(people, y, exposure, plan, used, balance, fold, cross_rng, errors) for y, exposure in periods
    ]
    value = np.concatenate([means.value for means in found], axis=1)
    influence = None if errors == "none" else np.concatenate([means.influence for means in found], axis=1)
    left_out = np.concatenate([means.left_out for means in found], axis=1) if errors == "stacked" else None
    weights = None if balance is None else balance.weights[:, 0].sum(axis=0) * used[0]
    return EffectMeans(value, influence, left_out, checks, weights)


def _compute_period(
    people: Comparison,
    y: np.ndarray,
    exposure: np.ndarray | None,
    plan: Plan,
    sampling: np.ndarray,
    balance: Balance | None,
    fold: np.ndarray | None,
    rng: np.random.Generator | None,
    errors: Errors,
) -> Means:
    arms = {"ATT": (0,), "ATC": (1,)}.get(plan.contrast, (0, 1))
    models = {}
    shared = {"spec": plan.outcome, "exposure": exposure, "sampling": sampling, "arms": arms}
    if plan.way != "ipw":
        models = (
            fit_models(people, y, **shared)
            if fold is None
            else fit_models_across(people, y, fold=fold, rng=rng, **shared)
        )
    if plan.targeted:
        models = compute_targeted(
            treated=people.treated, outcome=y, sampling=sampling, balance=balance, models=models,
            bounds=plan.bounds,
        )  # fmt: skip
    means = compute_means(
        plan.contrast, plan.way, treated=people.treated, outcome=y, exposure=exposure, sampling=sampling,
        balance=balance, models=models, errors=errors, cluster=people.cluster,
    )  # fmt: skip
    if errors == "none" or plan.weights.method != "entropy" or plan.way not in ("ipw", "aipw_ratio"):
        return means
    return _calibrate(people, y, exposure, plan, sampling, balance, means, arms)


def _calibrate(
    people: Comparison,
    y: np.ndarray,
    exposure: np.ndarray | None,
    plan: Plan,
    sampling: np.ndarray,
    balance: Balance,
    means: Means,
    arms: tuple[int, ...],
) -> Means:
    """Influence values that know that entropy balancing chose the weights so that the covariates balance."""
    x = people.covariates
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    z = np.concatenate([z, z * z], axis=1) if plan.weights.moments == 2 else z
    time = np.ones(len(y)) if exposure is None else exposure
    changed = []
    for values, without in ((means.influence, None), (means.left_out, people.cluster)):
        values = None if values is None else values.copy()
        for arm in arms if values is not None else ():
            values[:, arm] = compute_calibrated_influence(
                plan.contrast, arm, treated=people.treated, x=add_intercept(z), exposure=time, sampling=sampling[0],
                residual=y - means.value[0, arm] * time, weights=balance.weights[arm, 0] * sampling[0],
                without=without,
            )  # fmt: skip
        changed.append(values)
    return Means(means.value, *changed)
