"""Coverage of the default interval of an interrupted time series where the truth is known."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand
from evalkit.core.result import Estimate
from evalkit.estimators.area.its import estimate_its
from evalkit.estimators.area.its_design import ItsOptions

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))
BEFORE, AFTER = 12, 13
LEVEL, SLOPE = -2.0, 0.1


def draw(rng: np.random.Generator, rho: float, *, before: int = BEFORE, after: int = AFTER) -> np.ndarray:
    """Stationary AR(1) with unit variance, shape (T,)."""
    noise = rng.normal(size=before + after)
    for t in range(1, len(noise)):
        noise[t] = rho * noise[t - 1] + math.sqrt(1 - rho**2) * noise[t]
    return noise


def estimate(values: np.ndarray, before: int, scale: str, options: ItsOptions) -> Estimate:
    panel = Panel(
        np.array(["a"]), np.arange(float(len(values))), values[None], np.ones((1, len(values))),
        np.array([float(before)]), np.empty((1, len(values), 0)),
    )  # fmt: skip
    return estimate_its(panel, Estimand("entry", "ATT", "people", WINDOW, scale), options=options)


def coverage(rho: float, scale: str, truth: float, *, repeats: int, options: ItsOptions) -> tuple[float, float]:
    """Share of intervals that hold the truth, value ± 1.96 se where none is given; and the mean error."""
    rng = np.random.default_rng([int(rho * 10), repeats])
    time = np.arange(BEFORE + AFTER)
    effect = np.where(time >= BEFORE, LEVEL + SLOPE * (time - BEFORE), 0)
    held, errors = [], []
    for _ in range(repeats):
        found = estimate(30 + 0.2 * time + effect + draw(rng, rho), BEFORE, scale, options)
        refused = math.isnan(found.lower)
        lower = found.value - 1.96 * found.se if refused else found.lower
        upper = found.value + 1.96 * found.se if refused else found.upper
        held.append(lower <= truth <= upper)
        errors.append(found.value - truth)
    return float(np.mean(held)), float(np.mean(errors) / (np.std(errors) / math.sqrt(repeats)))


def test_the_default_holds_its_level_in_twenty_five_quarters() -> None:
    """200 series, rho 0.6: coverage no lower than 95% less 3 Monte-Carlo errors, no bias beyond 3.5 of its own."""
    held, bias = coverage(0.6, "mean_difference", LEVEL + 6 * SLOPE, repeats=200, options=ItsOptions())
    assert held >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 200)
    assert abs(bias) < 3.5


def test_what_is_refused_would_not_have_held() -> None:
    """As if independent, 200 series, rho 0.6: far below 90%, or the refusal would be for nothing."""
    held, _ = coverage(0.6, "mean_difference", LEVEL + 6 * SLOPE, repeats=200, options=ItsOptions(errors="model"))
    assert held < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
@pytest.mark.parametrize(("scale", "truth"), [("level_change", LEVEL), ("slope_change", SLOPE)])
def test_the_default_holds_for_every_correlation(rho: float, scale: str, truth: float) -> None:
    held, bias = coverage(rho, scale, truth, repeats=500, options=ItsOptions())
    assert held >= 0.90
    assert abs(bias) < 3.5


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
@pytest.mark.parametrize(("mean", "spread"), [(20, 0.2), (200, 0.1)])
def test_counts_hold_for_every_correlation(rho: float, mean: float, spread: float) -> None:
    """Poisson counts around log rates of AR(1): 90% less 2 Monte-Carlo errors of 200 series."""
    rng = np.random.default_rng([int(rho * 10), int(mean)])
    options = ItsOptions(family="quasipoisson")
    held = []
    for _ in range(200):
        counts = rng.poisson(mean * np.exp(spread * draw(rng, rho))).astype(float)
        found = estimate(counts, BEFORE, "rate_ratio", options)
        held.append(found.lower <= 1 <= found.upper)
    assert np.mean(held) >= 0.90 - 2 * math.sqrt(0.9 * 0.1 / 200)
