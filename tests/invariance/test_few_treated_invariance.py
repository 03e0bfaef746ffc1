"""What must not change a permutation or conformal interval does not, and what must change it does so exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.estimand import Scale
from evalkit.estimators.area.conformal import ConformalOptions, conformal_inference
from evalkit.estimators.area.placebo_time import PlaceboEventStudyOptions, estimate_placebo_event_study
from evalkit.estimators.area.randomisation import Interval, permutation_inference
from evalkit.estimators.area.synthetic_control import difference_in_differences, synthetic_control
from evalkit.simulate.panels import RATE_PANEL, simulate_panel
from tests.panels import DIFFERENCE, ESTIMAND, build_panel

Infer = Callable[[Panel, Scale], Interval]


@pytest.fixture(scope="module")
def panel() -> Panel:
    settings = replace(RATE_PANEL, comparators=23, effect=2.0, mean=60.0, sizes=(1.0, 1.0))
    return build_panel(simulate_panel(settings, rng=np.random.default_rng(3))[0])


def permutation(panel: Panel, scale: Scale = "mean_difference") -> Interval:
    return permutation_inference(panel, difference_in_differences, scale=scale, level=0.95)


def conformal(panel: Panel, scale: Scale = "mean_difference") -> Interval:
    return conformal_inference(panel, difference_in_differences, scale=scale, level=0.95)


def random_orders(panel: Panel, scale: Scale = "mean_difference") -> Interval:
    options = ConformalOptions("iid", draws=199)
    return conformal_inference(
        panel, difference_in_differences, scale=scale, level=0.95, options=options, rng=np.random.default_rng(1)
    )


def ends(found: Interval) -> tuple[float, float, float]:
    return found.lower, found.upper, found.p_value


def with_values(panel: Panel, values: np.ndarray) -> Panel:
    return replace(panel, outcome=values * panel.denominator)


WAYS = pytest.mark.parametrize("infer", [permutation, conformal, random_orders])


@WAYS
def test_reordering_units_changes_nothing(panel, infer: Infer):
    order = np.random.default_rng(1).permutation(24)
    shuffled = replace(
        panel, units=panel.units[order], outcome=panel.outcome[order], denominator=panel.denominator[order],
        adoption=panel.adoption[order], covariates=panel.covariates[order], weights=panel.weights[order],
    )  # fmt: skip
    assert ends(infer(shuffled)) == pytest.approx(ends(infer(panel)), rel=1e-6)


@WAYS
def test_effects_of_units_and_of_periods_change_nothing(panel, infer: Infer):
    rng = np.random.default_rng(2)
    moved = panel.values + rng.normal(0, 50, (24, 1)) + rng.normal(0, 50, 25)
    assert ends(infer(with_values(panel, moved))) == pytest.approx(ends(infer(panel)), rel=1e-6)


@WAYS
@pytest.mark.parametrize("factor", [1e-3, 7.0])
def test_another_unit_of_the_outcome_multiplies_the_ends(panel, infer: Infer, factor):
    base, scaled = infer(panel), infer(with_values(panel, panel.values * factor))
    assert ends(scaled) == pytest.approx((base.lower * factor, base.upper * factor, base.p_value), rel=1e-6)


@WAYS
def test_a_known_effect_added_moves_the_interval_by_as_much(panel, infer: Infer):
    values = panel.values.copy()
    values[0, 12:] += 9.0
    base, moved = infer(panel), infer(with_values(panel, values))
    assert (moved.lower - 9, moved.upper - 9) == pytest.approx((base.lower, base.upper), abs=1e-4)


@pytest.mark.parametrize("infer", [permutation, conformal])
def test_a_known_ratio_multiplies_the_interval_of_the_ratio(panel, infer: Infer):
    values = panel.values.copy()
    values[0, 12:] *= 3.0
    base, moved = infer(panel, "rate_ratio"), infer(with_values(panel, values), "rate_ratio")
    assert (moved.lower / 3, moved.upper / 3) == pytest.approx((base.lower, base.upper), rel=1e-3)


@WAYS
def test_the_interval_leaves_out_no_effect_when_the_test_rejects_it(panel, infer: Infer):
    found = infer(panel)
    assert (found.p_value <= 0.05) == (not found.lower <= 0 <= found.upper)


@pytest.mark.parametrize("scale", ["mean_difference", "rate_ratio"])
def test_a_permuted_interval_holds_the_estimate(panel, scale):
    treated = panel.treated[None]
    for design in (difference_in_differences, synthetic_control):
        paths = design(panel.values, treated=treated, donors=~treated, first=12)
        found = permutation_inference(panel, design, scale=scale, level=0.95)
        value = paths.effect[0] if scale == "mean_difference" else paths.ratio[0]
        assert found.lower < value < found.upper


@pytest.mark.parametrize("estimand", [ESTIMAND, DIFFERENCE])
def test_a_placebo_path_moves_with_the_effect_and_not_with_what_all_share(panel, estimand):
    options = PlaceboEventStudyOptions(periods_per_step=4)
    base = estimate_placebo_event_study(panel, estimand, options=options)
    values = panel.values.copy()
    if estimand.scale == "rate_ratio":
        values = values * np.linspace(1, 3, 25)
        values[0, 12:] *= 2
        shift = np.log(2)
    else:
        values = values + np.linspace(0, 30, 25)
        values[0, 12:] += 5
        shift = 5.0
    moved = estimate_placebo_event_study(with_values(panel, values), estimand, options=options)
    # Log rates of sums over a step are not quite free of a trend within it, hence 0.01.
    near = 0.01 if estimand.scale == "rate_ratio" else 1e-9
    assert moved.value == pytest.approx(base.value + shift * (base.steps >= 0), abs=near)
    assert moved.se == pytest.approx(base.se, rel=0.05)
