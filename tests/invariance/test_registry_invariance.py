"""What must not change an estimate does not, and what must change it does so exactly; over the whole registry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.estimand import Scale
from evalkit.core.result import Estimate
from evalkit.estimators.area.registry import REGISTRY, AreaEstimator, estimators_for
from tests.panels import DIFFERENCE, ESTIMAND, draw_panel

ESTIMANDS = {"rate_ratio": ESTIMAND, "mean_difference": DIFFERENCE}
EVERY = [pytest.param(e, s, id=f"{e.name}-{s}") for e in REGISTRY for s in e.scales if s in ESTIMANDS]
COMPARED_RATIOS = [e for e in estimators_for("rate_ratio") if "its" not in e.name.split("_")]
# Optimised weights and likelihoods stop within a tolerance; what is solved outright agrees to 1e-8.
ITERATED = 2e-4
# Their intervals rest on random draws that fall on other units once units change places.
DRAWN = ("twfe_wild_bootstrap",)


def draw(estimator: AreaEstimator, scale: Scale) -> Panel:
    return draw_panel(estimator.name, scale, seed=5)[0]


def run(estimator: AreaEstimator, panel: Panel, scale: Scale) -> Estimate:
    return estimator.run(panel, ESTIMANDS[scale], 0.95, np.random.default_rng(1), "exploratory")


def assert_same(found: Estimate, base: Estimate, *, times: float = 1.0, interval: float = 10 * ITERATED) -> None:
    spread = abs(base.upper - base.lower) if np.isfinite(base.upper - base.lower) else abs(base.value)
    assert found.value == pytest.approx(base.value * times, abs=ITERATED * spread * times)
    for end in ("lower", "upper"):
        assert getattr(found, end) == pytest.approx(
            getattr(base, end) * times, abs=interval * spread * times, nan_ok=True
        )
    assert found.level == pytest.approx(base.level, nan_ok=True)


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_names_and_order_of_areas_change_nothing(estimator, scale):
    panel = draw(estimator, scale)
    order = np.random.default_rng(3).permutation(len(panel.units))
    shuffled = replace(
        panel, units=np.array([f"x{i:02d}" for i in range(len(order))]), outcome=panel.outcome[order],
        denominator=panel.denominator[order], adoption=panel.adoption[order], covariates=panel.covariates[order],
    )  # fmt: skip
    interval = 0.25 if estimator.name in DRAWN else 10 * ITERATED
    assert_same(run(estimator, shuffled, scale), run(estimator, panel, scale), interval=interval)


@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_dates_and_numbers_of_quarters_are_the_same_to_it(estimator, scale):
    panel = draw(estimator, scale)
    starts = pd.date_range("2012-04-01", periods=25, freq="QS").to_numpy()
    adoption = np.where(panel.treated, starts[12], np.datetime64("NaT"))
    dated = replace(panel, periods=starts, adoption=adoption)
    assert_same(run(estimator, dated, scale), run(estimator, panel, scale))


@pytest.mark.parametrize("estimator", estimators_for("mean_difference"), ids=lambda e: e.name)
def test_the_unit_of_the_outcome_scales_a_difference(estimator):
    panel = draw(estimator, "mean_difference")
    base = run(estimator, panel, "mean_difference")
    for times in (1000.0, 0.001):
        scaled = run(estimator, replace(panel, outcome=panel.outcome * times), "mean_difference")
        assert_same(scaled, base, times=times)
        assert scaled.p_value == pytest.approx(base.p_value, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize("estimator", estimators_for("mean_difference"), ids=lambda e: e.name)
def test_a_constant_added_to_every_rate_leaves_a_difference_alone(estimator):
    panel = draw(estimator, "mean_difference")
    higher = replace(panel, outcome=panel.outcome + 7 * panel.denominator)
    assert_same(run(estimator, higher, "mean_difference"), run(estimator, panel, "mean_difference"))


@pytest.mark.parametrize(
    "estimator",
    # The penalty of synthetic DiD grows with changes from period to period (Arkhangelsky et al. 2021, eq. 5).
    [e for e in estimators_for("mean_difference") if not e.name.startswith(("its_", "synthetic_did"))],
    ids=lambda e: e.name,
)
def test_what_befalls_all_areas_alike_leaves_a_compared_difference_alone(estimator):
    panel = draw(estimator, "mean_difference")
    wave = 3 * np.sin(np.arange(25)) + np.where(np.arange(25) >= 12, 2.0, 0.0)
    waved = replace(panel, outcome=panel.outcome + wave * panel.denominator)
    assert_same(run(estimator, waved, "mean_difference"), run(estimator, panel, "mean_difference"))


@pytest.mark.parametrize("estimator", estimators_for("rate_ratio"), ids=lambda e: e.name)
def test_the_unit_of_person_time_leaves_a_ratio_alone(estimator):
    panel = draw(estimator, "rate_ratio")
    days = replace(panel, denominator=panel.denominator * 365.25)
    assert_same(run(estimator, days, "rate_ratio"), run(estimator, panel, "rate_ratio"))


@pytest.mark.parametrize("estimator", estimators_for("mean_difference"), ids=lambda e: e.name)
def test_a_difference_put_into_the_treated_area_is_found_in_the_estimate(estimator):
    panel = draw(estimator, "mean_difference")
    outcome = panel.outcome.copy()
    outcome[panel.treated, 12:] += 2 * panel.denominator[panel.treated, 12:]
    moved = run(estimator, replace(panel, outcome=outcome), "mean_difference")
    assert moved.value == pytest.approx(run(estimator, panel, "mean_difference").value + 2, rel=ITERATED)


@pytest.mark.parametrize("estimator", COMPARED_RATIOS, ids=lambda e: e.name)
def test_a_multiple_of_the_treated_events_multiplies_the_ratio(estimator):
    """Exact where the counterfactual does not look at treated events after adoption, as a model of the series does."""
    panel = draw(estimator, "rate_ratio")
    outcome = panel.outcome.copy()
    outcome[panel.treated, 12:] *= 2
    moved = run(estimator, replace(panel, outcome=outcome), "rate_ratio")
    assert moved.value == pytest.approx(2 * run(estimator, panel, "rate_ratio").value, rel=ITERATED)
