"""The propensity and the outcome models that an effect needs, for the people as they are and for many weightings."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Contrast
from evalkit.core.result import Check
from evalkit.estimators.people.arm_means import Balance, compute_balance_weights
from evalkit.estimators.people.logistic import add_intercept, find_redundant, fit_logistic_draws, predict_logistic
from evalkit.estimators.people.outcome_models import (
    ArmModel,
    Family,
    GlmFit,
    Interactions,
    fit_arm_models,
    predict_from_others,
)
from evalkit.estimators.people.weighting import WeightOptions, assign_folds, build_weights


@dataclass(frozen=True)
class OutcomeSpec:
    """How the outcome is modelled: a family, or trees with its loss, with these products with the treatment."""

    family: Family
    boosted: bool
    interactions: Interactions


def drop_redundant(comparison: Comparison) -> Comparison:
    """The comparison without covariates that are constant or combinations of others: no prediction needs them."""
    kept = ~find_redundant(add_intercept(comparison.covariates))[1:]
    names = tuple(name for name, keep in zip(comparison.names, kept, strict=True) if keep)
    return replace(comparison, covariates=comparison.covariates[:, kept], names=names)


def build_balance(
    comparison: Comparison,
    contrast: Contrast,
    *,
    options: WeightOptions,
    sampling: np.ndarray,
    rng: np.random.Generator | None,
) -> tuple[Balance, tuple[Check, ...]]:
    """Balancing weights under each row of `sampling` (B, n), the first of which is `comparison.sampling`.

    Raises as `build_weights`. Replicates whose propensity cannot be fitted get NaN.
    """
    options = replace(options, estimand=contrast)
    treated = comparison.treated
    built = build_weights(comparison, options=options, rng=rng)
    sides = np.stack([~treated, treated])[:, None, :]
    if options.method == "entropy":
        weights = np.where(sides, built.weights, 0.0)
        return Balance(built.propensity[None], weights, np.zeros_like(weights)), built.checks
    plain, slopes = compute_balance_weights(contrast, treated, built.propensity[None])
    weights = np.where(sides, built.weights, 0.0)
    # Weights that were cut do not move with the propensity; stabilised ones do so in proportion.
    own = plain.sum(axis=0)
    cut = built.weights < own * _stabiliser(comparison, built.weights, options) * (1 - 1e-12)
    slopes = np.where(cut, 0.0, slopes * np.where(own > 0, built.weights / np.where(own > 0, own, 1.0), 0.0))
    if options.method != "logistic" or options.folds:
        return Balance(built.propensity[None], weights, slopes), built.checks
    x = add_intercept(comparison.covariates)
    x = x[:, ~find_redundant(x)]
    score = built.propensity[None]
    if len(sampling) > 1:
        draws = fit_logistic_draws(x, treated.astype(np.float64), sampling[1:], base=sampling[0])
        score = np.concatenate([score, predict_logistic(x, draws.coefficients)])
        more = compute_balance_weights(contrast, treated, score[1:])
        kept = np.ones_like(score[1:], dtype=bool)
        if options.trim is not None:
            kept = (score[1:] >= options.trim) & (score[1:] <= 1 - options.trim)
        weights = np.concatenate([weights, more[0] * kept], axis=1)
        slopes = np.concatenate([slopes, more[1]], axis=1)
    e, s = score[0], sampling[0]
    fit = GlmFit("logistic", x, np.arange(len(x)), len(x), np.empty((0, x.shape[1])), np.empty(0, dtype=bool),
                 s * (treated - e), s * e * (1 - e))  # fmt: skip
    return Balance(score, weights, slopes, fit, x), built.checks


def _stabiliser(comparison: Comparison, weights: np.ndarray, options: WeightOptions) -> np.ndarray:
    """What stabilised weights are multiplied with on each person's side, shape (n,)."""
    if options.stabilise == "none":
        return np.ones(len(weights))
    kept = weights > 0
    share = np.average(comparison.treated[kept], weights=comparison.sampling[kept])
    return np.where(comparison.treated, share, 1 - share)


def fit_models(
    comparison: Comparison,
    y: np.ndarray,
    *,
    spec: OutcomeSpec,
    exposure: np.ndarray | None,
    sampling: np.ndarray,
    arms: tuple[int, ...],
) -> dict[int, ArmModel]:
    """Outcome models of the sides in `arms`, fitted to everybody, under each row of `sampling` (B, n)."""
    return fit_arm_models(
        comparison.treated, comparison.covariates, comparison.names, y, sampling,
        family=spec.family, interactions=spec.interactions, exposure=exposure, arms=arms,
    )  # fmt: skip


def fit_models_across(
    comparison: Comparison,
    y: np.ndarray,
    *,
    spec: OutcomeSpec,
    exposure: np.ndarray | None,
    sampling: np.ndarray,
    arms: tuple[int, ...],
    fold: np.ndarray,
    rng: np.random.Generator,
) -> dict[int, ArmModel]:
    """Cross-fitted outcome models: each person's expected outcome comes from people in other folds.

    Raises
    ------
    NotEstimable
        As `fit_outcome_glm`, or nobody is left on a side outside a fold, or no event.
    """
    time = np.ones(len(y)) if exposure is None else exposure
    expected = {arm: np.empty((1, len(y))) for arm in arms}
    for k in np.unique(fold):
        held = fold == k
        for arm in arms:
            train = ~held & (comparison.treated == bool(arm)) & (sampling[0] > 0)
            if not train.any() or np.ptp(y[train]) == 0:
                raise NotEstimable(
                    Fault("folds", "outside one fold a side has nobody, or outcomes that are all the same",
                          next_step="Use fewer folds, or folds=0.")
                )  # fmt: skip
            x = comparison.covariates
            names, columns = comparison.names, np.ones(x.shape[1], dtype=bool)
            if not spec.boosted:
                columns = ~find_redundant(add_intercept(x[train]))[1:]
                names = tuple(name for name, keep in zip(names, columns, strict=True) if keep)
            expected[arm][0, held] = time[held] * predict_from_others(
                (x[train][:, columns], y[train], sampling[0, train], time[train]), x[held][:, columns],
                family=spec.family, names=names, seed=int(rng.integers(2**31)) if spec.boosted else None,
            )  # fmt: skip
    return {arm: ArmModel(value, np.zeros_like(value)) for arm, value in expected.items()}


def draw_folds(comparison: Comparison, folds: int, seed: int) -> np.ndarray:
    """The folds that `build_weights` draws first from a generator of the same seed."""
    return assign_folds(comparison, folds, np.random.default_rng(seed))
