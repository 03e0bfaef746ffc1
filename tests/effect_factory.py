"""Effects on cost by year whose draws have a spread known exactly."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from evalkit.economics.effects import PeriodEffect, YearEffect

Z = NormalDist().inv_cdf(0.975)


def swing(n_draws: int = 200, *, log_sd: float, phase: int = 0) -> np.ndarray:
    """Values +-d in turn whose standard deviation, with n - 1 below, is exactly `log_sd`."""
    d = log_sd * math.sqrt((n_draws - 1) / n_draws)
    return np.where((np.arange(n_draws) + phase) % 2 == 0, d, -d)


def year(
    first: int, actual: float, counterfactual: float, *, quarters: float = 4, log_sd: float = 0.1, n_draws: int = 200
) -> YearEffect:
    """A year whose log counterfactual / actual has exactly this standard deviation over the draws."""
    draws = np.column_stack([np.full(n_draws, actual), counterfactual * np.exp(swing(n_draws, log_sd=log_sd))])
    return YearEffect(first, quarters, actual, counterfactual, draws)


def random_year(
    rng: np.random.Generator, first: int, actual: float, counterfactual: float, *, quarters: float = 4,
    log_sd: float = 0.05, n_draws: int = 400,
) -> YearEffect:  # fmt: skip
    noise = rng.normal(0, log_sd, (n_draws, 2))
    return YearEffect(first, quarters, actual, counterfactual, np.array([actual, counterfactual]) * np.exp(noise))


def period(actual: float, counterfactual: float, *, log_sd: float = 0.1, n_draws: int = 200) -> PeriodEffect:
    found = year(2015, actual, counterfactual, log_sd=log_sd, n_draws=n_draws)
    return PeriodEffect(found.actual, found.counterfactual, found.draws)
