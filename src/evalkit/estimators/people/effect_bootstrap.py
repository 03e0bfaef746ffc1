"""Bootstrap of clusters for effects of balanced comparisons: every model is fitted anew to every draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Scale
from evalkit.estimators.people.effect_means import Plan, compute_effect_means
from evalkit.estimators.people.effect_nuisances import drop_redundant
from evalkit.estimators.people.influence import compute_contrast
from evalkit.estimators.people.logistic import add_intercept
from evalkit.estimators.people.weight_draws import compute_weighted_draws

_BLOCK = 4_000_000  # numbers held at a time
MAX_SHARE_LOST = 0.05


@dataclass(frozen=True)
class EffectDraws:
    """Contrasts of the draws, shape (R,), on the log scale for ratios; NaN for those that could not be estimated."""

    values: np.ndarray

    @property
    def lost(self) -> int:
        return int(np.isnan(self.values).sum())


def compute_effect_draws(
    comparison: Comparison, plan: Plan, *, scale: Scale, replicates: int, rng: np.random.Generator
) -> EffectDraws:
    """Contrasts in samples of clusters drawn with replacement (Efron and Tibshirani 1993, chapter 8).

    Raises
    ------
    NotEstimable
        More than `MAX_SHARE_LOST` of the draws cannot be estimated: what is left would be a choice of draws.
    """
    _, cluster = np.unique(comparison.cluster, return_inverse=True)
    groups = int(cluster.max()) + 1
    size = max(1, min(256, _BLOCK // len(comparison)))
    parts = []
    for at in range(0, replicates, size):
        counts = rng.multinomial(groups, np.full(groups, 1 / groups), size=min(size, replicates - at))
        draws = counts[:, cluster] * comparison.sampling
        parts.append(_contrast_where_it_can_be(_compute_means(comparison, plan, draws), scale))
    found = EffectDraws(np.concatenate(parts))
    if found.lost > MAX_SHARE_LOST * replicates:
        raise NotEstimable(
            Fault("bootstrap", "too many draws cannot be estimated: a side is empty or separated in them",
                  f"{found.lost / replicates:.0%}", f"at most {MAX_SHARE_LOST:.0%}",
                  'Use errors="influence", fewer covariates, or join rare categories.')
        )  # fmt: skip
    return found


def _compute_means(comparison: Comparison, plan: Plan, draws: np.ndarray) -> np.ndarray:
    """Means of both sides, and before, under each row of weights `draws` (B, n), shape (B, 2) or (B, 4)."""
    if plan.way == "ipw" and plan.periods == 1 and not plan.exposed and plan.weights.trim is None:
        people = drop_redundant(comparison)
        x = add_intercept(people.covariates)
        found = compute_weighted_draws(
            x, people.treated, people.outcome, draws, base=people.sampling, contrast=plan.contrast
        )  # fmt: skip
        return np.column_stack([found.comparison, found.treated])
    sampling = np.concatenate([comparison.sampling[None], draws])
    return compute_effect_means(comparison, plan, sampling=sampling, rng=None, errors="none").value[1:]


def _contrast_where_it_can_be(means: np.ndarray, scale: Scale) -> np.ndarray:
    usable = np.isfinite(means).all(axis=1)
    if scale in ("risk_ratio", "odds_ratio", "rate_ratio"):
        usable &= (means > 0).all(axis=1)
    if scale == "odds_ratio":
        usable &= (means < 1).all(axis=1)
    values = np.full(len(means), np.nan)
    values[usable] = compute_contrast(means[usable], scale)
    return values
