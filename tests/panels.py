"""Panels of known truth for tests."""

from __future__ import annotations

import datetime as dt

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand

ESTIMAND = Estimand("entry", "ATT", "people", Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1)), "rate_ratio")


def make_panel(
    rng: np.random.Generator,
    *,
    units: int = 33,
    periods: int = 17,
    adopted: int = 4,
    mean: float = 6.0,
    ratio: float = 1.0,
    shock: float = 0.1,
    rho: float = 0.5,
) -> tuple[Panel, float]:
    """One treated unit (the first), Poisson counts with AR(1) unit shocks and unequal sizes; truth realised.

    The effect thins the counts that would have been, so that the true ratio is that of the two counts.
    """
    noise = np.zeros((units, periods))
    noise[:, 0] = rng.normal(0, shock, units)
    for t in range(1, periods):
        noise[:, t] = rho * noise[:, t - 1] + rng.normal(0, shock * np.sqrt(1 - rho**2), units)
    size = rng.uniform(0.5, 1.8, units)
    trend = np.exp(-0.03 * np.arange(periods))
    untreated = rng.poisson(mean * size[:, None] * trend * np.exp(noise)).astype(float)
    outcome = untreated.copy()
    outcome[0, adopted:] = rng.binomial(untreated[0, adopted:].astype(int), ratio)
    truth = outcome[0, adopted:].sum() / max(untreated[0, adopted:].sum(), 1)
    adoption = np.where(np.arange(units) == 0, float(adopted), np.nan)
    names = np.array([f"area {i:02d}" for i in range(units)])
    panel = Panel(
        names, np.arange(periods, dtype=float), outcome, np.tile(size[:, None] * 100, periods), adoption,
        np.empty((units, periods, 0)),
    )  # fmt: skip
    return panel, float(truth)
