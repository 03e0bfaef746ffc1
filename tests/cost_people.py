"""People with costs before and after whose trend and weights are known, for tests of the doubly robust difference."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import special

from evalkit.cohort.comparison import Comparison

Skew = Literal["gamma", "lognormal"]
SHARE_SPENT = 0.85


def make_costs(
    people: int, *, seed: int = 0, skew: Skew = "gamma", effect: float = 0.8, sampling: bool = False, clusters: int = 0
) -> Comparison:
    """Costs with 15% zeros whose trend in proportion, odds and means before are log-linear in two covariates.

    The third covariate is yes/no and decides on treatment alone. `clusters` people stand in a row in each cluster.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(people, 2))
    group = rng.binomial(1, 0.4, people)
    treated = rng.random(people) < special.expit(-0.7 + 0.5 * x[:, 0] + 0.3 * group)
    level = 2_000 * np.exp(0.3 * x[:, 0] + 0.2 * treated + 0.2 * x[:, 1]) * rng.gamma(2.0, 0.5, people)
    before = level * draw_noise(people, skew, rng)
    untreated = 0.8 * level * np.exp(0.15 * x[:, 0]) * draw_noise(people, skew, rng)
    after = np.where(treated, effect * untreated, untreated)
    cluster = np.arange(people) // clusters if clusters else np.arange(people)
    weights = rng.uniform(0.5, 2.0, people) if sampling else np.ones(people)
    return Comparison(treated, np.column_stack([x, group]), ("x0", "x1", "group"), after, before, cluster, weights)


def compute_counterfactual(*, seed: int = 1) -> float:
    """Mean cost of the treated after, had they not been treated, in a million people of `make_costs`."""
    rng = np.random.default_rng(seed)
    x, group = rng.normal(size=(1_000_000, 2)), rng.binomial(1, 0.4, 1_000_000)
    odds = special.expit(-0.7 + 0.5 * x[:, 0] + 0.3 * group)
    return float(np.average(1_600 * np.exp(0.45 * x[:, 0] + 0.2 + 0.2 * x[:, 1]), weights=odds))


def draw_noise(people: int, skew: Skew, rng: np.random.Generator) -> np.ndarray:
    """Positive noise of mean 1 and standard deviation over 1, nought for 15%, shape (n,)."""
    noise = rng.gamma(1.0, 1.0, people) if skew == "gamma" else np.exp(rng.normal(-0.5, 1.0, people))
    return noise * (rng.random(people) < SHARE_SPENT) / SHARE_SPENT
