"""Coverage with one treated area among 3 or 30, 12 quarters before and 13 after, serially correlated shocks.

Quick versions of the simulations that docs/methods.md tabulates. Coverage must not fall more than three Monte-Carlo
errors below the level that the interval says it attains, nor, in any case, below 90%.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.estimators.area.conformal import ConformalOptions, conformal_inference
from evalkit.estimators.area.placebo_time import PlaceboEventStudyOptions, estimate_placebo_event_study
from evalkit.estimators.area.randomisation import permutation_inference
from evalkit.estimators.area.synthetic_control import difference_in_differences
from evalkit.simulate.panels import RATE_PANEL, PanelSettings, simulate_panel
from tests.panels import DIFFERENCE, ESTIMAND, build_panel


def coverage(infer, settings: PanelSettings, *, panels: int, seed: int) -> tuple[float, float]:
    """Share of intervals given that hold the truth, and share given."""
    scale = "rate_ratio" if settings.kind == "counts" else "mean_difference"
    held = []
    for number in range(panels):
        frame, truth = simulate_panel(settings, rng=np.random.default_rng([number, seed]))
        found = infer(build_panel(frame), scale, np.random.default_rng(number))
        if not np.isnan(found.lower):
            held.append(found.lower <= truth[scale] <= found.upper)
    return sum(held) / max(len(held), 1), len(held) / panels


def enough(share: float, level: float, panels: int) -> bool:
    return share >= max(level - 3 * np.sqrt(level * (1 - level) / panels), 0.9)


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_permutation_covers_with_30_comparators(rho):
    def infer(panel, scale, rng):
        return permutation_inference(panel, difference_in_differences, scale=scale, level=0.95)

    share, given = coverage(infer, replace(RATE_PANEL, rho=rho, effect=1.0), panels=150, seed=1)
    assert given == 1
    assert enough(share, 1 - 1 / 31, 150)


@pytest.mark.slow
@pytest.mark.parametrize("comparators", [3, 30])
@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("kind", ["rates", "counts"])
def test_moving_blocks_of_whitened_residuals_cover(comparators, rho, kind):
    def infer(panel, scale, rng):
        return conformal_inference(panel, difference_in_differences, scale=scale, level=0.95)

    base = replace(RATE_PANEL, effect=1.0) if kind == "rates" else PanelSettings(effect=0.7)
    share, given = coverage(infer, replace(base, comparators=comparators, rho=rho), panels=150, seed=2)
    assert given > 0.95
    assert enough(share, 1 - 1 / 24, 150)


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_random_orders_of_whitened_residuals_cover(rho):
    def infer(panel, scale, rng):
        options = ConformalOptions("iid", draws=199)
        return conformal_inference(panel, difference_in_differences, scale=scale, level=0.95, options=options, rng=rng)

    share, given = coverage(infer, replace(RATE_PANEL, comparators=3, rho=rho, effect=1.0), panels=200, seed=3)
    assert given == 1
    assert share >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 200)


def test_without_whitening_strong_correlation_is_refused_more_often_than_not():
    def infer(panel, scale, rng):
        options = ConformalOptions(whiten="none")
        return conformal_inference(panel, difference_in_differences, scale=scale, level=0.95, options=options)

    settings = replace(RATE_PANEL, comparators=3, rho=0.9, before=20, after=20)
    assert coverage(infer, replace(settings, rho=0.0), panels=30, seed=4)[1] == 1
    assert coverage(infer, settings, panels=30, seed=4)[1] < 0.2


def counts_of_one_size(size: float, rng: np.random.Generator) -> Panel:
    """31 areas by 24 quarters of counts without effect; the first is of `size`, the others of 0.5 to 1.8."""
    shock = rng.normal(0, 0.2, (31, 24))
    for t in range(1, 24):
        shock[:, t] = 0.6 * shock[:, t - 1] + 0.8 * shock[:, t]
    sizes = np.append(size, rng.uniform(0.5, 1.8, 30))
    outcome = rng.poisson(6 * sizes[:, None] * np.exp(shock - 0.03 * np.arange(24))).astype(float)
    adoption = np.append(12.0, np.full(30, np.nan))
    time = np.tile(100 * sizes[:, None], 24)
    names = np.array([f"area {j:02d}" for j in range(31)])
    return Panel(names, np.arange(24.0), outcome, time, adoption, np.empty((31, 24, 0)))


@pytest.mark.parametrize("estimand", [ESTIMAND, DIFFERENCE])
@pytest.mark.parametrize("size", [0.4, 4.0])
def test_the_placebo_path_covers_for_a_small_and_a_large_area(estimand, size):
    options = PlaceboEventStudyOptions(periods_per_step=4, noise="poisson")
    held, average = [], []
    for number in range(200):
        panel = counts_of_one_size(size, np.random.default_rng([number, 5]))
        found = estimate_placebo_event_study(panel, estimand, options=options)
        held.append((found.lower <= 0) & (found.upper >= 0))
        after = (found.steps >= 0) / (found.steps >= 0).sum()
        average.append(abs(after @ found.value) <= 1.96 * np.sqrt(after @ found.covariance @ after))
    error = np.sqrt(0.95 * 0.05 / 200)
    assert np.mean(held, axis=0).min() >= 0.95 - 3 * error
    assert np.mean(average) >= 0.95 - 3 * error  # the average, and the normal quantile, that honest bounds use


@pytest.mark.parametrize("size", [0.4, 4.0])
def test_over_its_fit_before_a_small_or_large_area_is_rejected_no_more_than_others(size):
    """The raw effect rejects 11% for the small area (docs/methods.md); scaled by the fit before, no more than 5%."""
    rejected = []
    for number in range(300):
        panel = counts_of_one_size(size, np.random.default_rng([number, 9]))
        found = permutation_inference(panel, difference_in_differences, scale="mean_difference", level=0.95)
        rejected.append(found.p_value <= 0.05)
    assert np.mean(rejected) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
