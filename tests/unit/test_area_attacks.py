"""Panels and options built to break the area estimators: an honest refusal, or a check that says so, never a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check, Estimate
from evalkit.estimators.area.conformal import ConformalOptions, conformal_inference
from evalkit.estimators.area.honest import HonestOptions, compute_honest_bounds
from evalkit.estimators.area.placebo_size import measure_placebo_size
from evalkit.estimators.area.placebo_time import PlaceboEventStudyOptions, estimate_placebo_event_study
from evalkit.estimators.area.randomisation import PermutationOptions, attained_interval, permutation_inference
from evalkit.estimators.area.robustness import drop_each, estimate_anticipation, estimate_spillover
from evalkit.estimators.area.synthetic_control import (
    SyntheticControlOptions,
    compute_rmspe_ranks,
    difference_in_differences,
    estimate_synthetic_control,
    synthetic_control,
)
from evalkit.estimators.area.xmr import compute_xmr
from tests.factor_panels import make_panel, make_values
from tests.panels import DIFFERENCE, ESTIMAND

BY_EFFECT = PermutationOptions(statistic="effect")


def additive(*, step: float = 0.0) -> Panel:
    """Level and trend of each area without noise, in numbers that do not add up exactly; a step in the treated one."""
    values = (np.arange(25)[:, None] * 10 + np.arange(12)[None, :] + 7) / 3
    values[0, 6:] += step
    return make_panel(values, first=6)


def copies(units: int, periods: int = 20) -> Panel:
    """One area against copies of another, which differ by rounding at most."""
    rng = np.random.default_rng(3)
    values = np.tile(rng.normal(50, 3, periods), (units, 1))
    values[0] = rng.normal(50, 3, periods)
    values[units // 2 + 1 :] *= 1 + 3e-16
    return make_panel(values)


def numbered(panel: Panel) -> Panel:
    return replace(panel, units=np.arange(len(panel.units)))


def named(estimate: Estimate, name: str) -> list[Check]:
    return [c for c in estimate.checks if c.name == name]


def by_did(panel: Panel) -> Estimate:
    options = SyntheticControlOptions(method="did", inference="none")
    return estimate_synthetic_control(panel, DIFFERENCE, options=options)


# ---- nothing varies --------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["mean_difference", "rate_ratio"])
@pytest.mark.parametrize("step", [0.0, 5.0])
def test_placebo_effects_without_spread_are_refused(step: float, scale: str) -> None:
    with pytest.raises(NotEstimable, match="no spread"):
        permutation_inference(additive(step=step), difference_in_differences, scale=scale, level=0.9, options=BY_EFFECT)


@pytest.mark.parametrize("options", [PermutationOptions(), BY_EFFECT])
@pytest.mark.parametrize("scale", ["mean_difference", "rate_ratio"])
def test_copies_of_one_area_are_no_placebos(scale: str, options: PermutationOptions) -> None:
    with pytest.raises(NotEstimable, match="no spread"):
        permutation_inference(copies(21), difference_in_differences, scale=scale, level=0.9, options=options)


@pytest.mark.parametrize("method", ["did", "synthetic_did"])
@pytest.mark.parametrize("estimand", [DIFFERENCE, ESTIMAND])
def test_copies_of_one_area_have_no_standard_deviation(estimand, method: str) -> None:
    options = SyntheticControlOptions(method=method, inference="placebo_sd")
    found = estimate_synthetic_control(copies(21), estimand, options=options)
    assert math.isnan(found.lower)
    assert math.isnan(found.se)
    assert "no spread" in named(found, "interval")[0].text


@pytest.mark.parametrize("scale", ["mean_difference", "rate_ratio"])
@pytest.mark.parametrize("design", [difference_in_differences, synthetic_control])
@pytest.mark.parametrize("step", [0.0, 5.0])
def test_conformal_refuses_residuals_of_rounding(step: float, design: Callable, scale: str) -> None:
    with pytest.raises(NotEstimable, match="do not vary"):
        conformal_inference(additive(step=step), design, scale=scale, level=0.9)


def test_conformal_does_not_learn_correlation_from_copies() -> None:
    with pytest.raises(NotEstimable, match="no spread"):
        conformal_inference(copies(6), difference_in_differences, scale="mean_difference", level=0.9)


def test_effects_that_tie_but_for_rounding_are_as_extreme() -> None:
    """Area 1 moves as the treated one does: in whatever order sums are taken, they tie, however high the level."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = 1e7 + rng.normal(50, 1, (21, 12))
        values[1] = values[0][rng.permutation(6).tolist() + (6 + rng.permutation(6)).tolist()]
        values[:2, 6:] += 30
        found = permutation_inference(
            make_panel(values, first=6), difference_in_differences, scale="mean_difference", level=0.9,
            options=BY_EFFECT,
        )  # fmt: skip
        assert found.p_value == pytest.approx(2 / 21)


@pytest.mark.parametrize("spread", [0.0, math.nan, math.inf])
def test_a_search_without_a_step_ends_in_a_refusal(spread: float) -> None:
    calls = []

    def p_value(candidate: float) -> float:
        calls.append(candidate)
        if len(calls) > 1000:
            raise RecursionError("it would not end")
        return 1.0

    lower, upper, _, checks = attained_interval(p_value, 1.0, spread, 40, 0.95, multiplicative=False)
    assert math.isnan(lower)
    assert math.isnan(upper)
    assert [c.passed for c in checks] == [False]


@pytest.mark.parametrize("ridge", [None, 0.01])
@pytest.mark.parametrize("units", [2, 21])
def test_ridge_adds_nothing_where_donors_do_not_differ(units: int, ridge: float | None) -> None:
    plain = SyntheticControlOptions(inference="none")
    ridged = SyntheticControlOptions(method="ridge_augmented", inference="none", ridge=ridge)
    value = estimate_synthetic_control(copies(units), DIFFERENCE, options=ridged).value
    assert value == pytest.approx(estimate_synthetic_control(copies(units), DIFFERENCE, options=plain).value, rel=1e-9)


def test_ridge_with_one_donor_has_no_interval_of_rounding() -> None:
    """21 treated and one not: the placebo of that one mixes areas that differ, the treated ones have it alone."""
    values = np.random.default_rng(2).normal(50, 3, (22, 14))
    panel = make_panel(values, first=7, treated=tuple(range(21)))
    found = estimate_synthetic_control(panel, DIFFERENCE, options=SyntheticControlOptions(method="ridge_augmented"))
    size = float(np.abs(values).max())
    assert not max(abs(found.lower), abs(found.upper)) > size


def test_a_rounding_level_fit_before_is_perfect() -> None:
    """0.3 + 0.6 of two donors is not quite what it should be; the ratio is infinite nonetheless."""
    values = make_values()
    values[0, :12] = (0.3 * values[1, :12] + 0.7 * values[2, :12]) * (1 + 1e-15)
    ranks = compute_rmspe_ranks(make_panel(values))
    assert ranks["unit"].iloc[0] == "treated"
    assert 0 < ranks["pre_rmspe"].iloc[0] < 1e-10
    assert math.isinf(ranks["ratio"].iloc[0])


# ---- what a reader must be told --------------------------------------------------------------------


def test_an_estimate_outside_its_own_interval_says_so() -> None:
    """Of these four panels one is such: the test, on all periods, fits other weights than the estimate."""
    found = []
    for seed in range(8, 12):
        rng = np.random.default_rng(seed)
        values = 50 + np.cumsum(rng.normal(0, 1, (4, 40)), axis=1) + rng.normal(0, 10, (4, 40))
        options = SyntheticControlOptions(inference="conformal")
        found.append(estimate_synthetic_control(make_panel(values, first=20), DIFFERENCE, options=options))
    outside = [e.value < e.lower or e.value > e.upper for e in found]
    assert sum(outside) == 1
    for e, out in zip(found, outside, strict=True):
        assert math.isfinite(e.lower)
        assert [c.passed for c in named(e, "estimate_within_interval")] == [False] * out


@pytest.mark.parametrize("method", ["did", "synthetic_control", "ridge_augmented", "synthetic_did"])
def test_weights_that_are_not_used_are_named(method: str) -> None:
    options = SyntheticControlOptions(method=method, inference="none")
    values = make_values()
    even = estimate_synthetic_control(
        make_panel(values, weights=np.full(values.shape, 3.0)), DIFFERENCE, options=options
    )
    assert not named(even, "weights")
    uneven = np.tile(np.linspace(1, 2, 16)[:, None], 20)
    found = estimate_synthetic_control(make_panel(values, weights=uneven), DIFFERENCE, options=options)
    assert [c.passed for c in named(found, "weights")] == [False]


def test_the_placebo_event_study_names_weights_that_it_does_not_use() -> None:
    values = np.random.default_rng(1).normal(50, 3, (40, 8))
    uneven = np.tile(np.linspace(1, 2, 40)[:, None], 8)
    names = {
        weighted: [c.passed for c in estimate_placebo_event_study(panel, DIFFERENCE).checks if c.name == "weights"]
        for weighted, panel in (
            (False, make_panel(values, first=4)),
            (True, make_panel(values, first=4, weights=uneven)),
        )
    }
    assert names == {False: [], True: [False]}


# ---- a constant chart ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.1, 0.7, 1e6 / 3])
def test_a_constant_chart_has_no_signal(level: float) -> None:
    found = compute_xmr(np.full(14, level), baseline=12, better="lower", target=level)
    assert not found.special.any()
    assert set(found.point) == {"common cause"}
    assert found.lower[0] == found.upper[0] == level
    assert found.assurance == "hit or miss"
    assert any("all alike" in note for note in found.notes)


def test_a_change_after_a_constant_baseline_is_a_signal() -> None:
    found = compute_xmr(np.r_[np.full(12, 0.1), 0.1 * (1 + 1e-15), 0.3], baseline=12, better="lower")
    assert found.outside.tolist() == [False] * 13 + [True]
    assert found.point[-1] == "concern"


def test_rounding_makes_no_trend() -> None:
    found = compute_xmr(np.r_[STABLE, 1 + np.arange(7) * 2e-16], baseline=12, better="lower")
    assert not found.trend.any()


STABLE = np.array([1.5, 0.5] * 6)


@pytest.mark.parametrize(
    "chart",
    [
        {"values": np.arange(14.0), "baseline": 12.5},
        {"values": np.arange(14.0), "baseline": "12"},
        {"values": np.arange(14.0), "baseline": 5, "rebase_at": 8.5},
        {"values": ["a"] * 14, "baseline": 12},
        {"values": [[1.0, 2.0], [1.0]], "baseline": 12},
    ],
)
def test_what_is_no_chart_is_refused_by_name(chart: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match="chart"):
        compute_xmr(**chart, better="lower")


# ---- options and names -----------------------------------------------------------------------------


@pytest.mark.parametrize("inference", ["none", "placebo_sd", "permutation", "conformal"])
def test_a_ratio_of_negative_outcomes_is_refused_whatever_the_inference(inference: str) -> None:
    values = make_values() - 45
    assert (values < 0).any()
    options = SyntheticControlOptions(method="did", inference=inference)
    with pytest.raises(ParameterError, match="0 or more"):
        estimate_synthetic_control(make_panel(values), ESTIMAND, options=options)


def test_units_may_be_numbers() -> None:
    plain = make_panel(make_values())
    panel = numbered(plain)
    by_name = drop_each(plain, by_did, units=("area 03", "area 04"))
    for units in ((3, 4), ("3", "4"), (np.int64(3), 4)):
        assert [e.value for e in drop_each(panel, by_did, units=units)] == [e.value for e in by_name]
    near = estimate_spillover(plain, by_did, neighbours=("area 03", "area 04"))
    for units in ((3, 4), ("3", "4")):
        assert [e.value for e in estimate_spillover(panel, by_did, neighbours=units)] == [e.value for e in near]
    assert near[1].value != near[0].value


@pytest.mark.parametrize("units", [(3, 99), 3, "3", (3, "3")])
def test_units_that_cannot_be_matched_are_refused_by_name(units: object) -> None:
    panel = numbered(make_panel(make_values()))
    with pytest.raises(ParameterError, match="units"):
        drop_each(panel, by_did, units=units)
    with pytest.raises(ParameterError, match="neighbours"):
        estimate_spillover(panel, by_did, neighbours=units)


@pytest.mark.parametrize(
    "asked", [{"periods": (1.5,)}, {"periods": 2}, {"periods": ()}, {"periods": (1,), "handling": "lef"}]
)
def test_anticipation_that_does_not_exist_is_refused_by_name(asked: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=r"periods|handling"):
        estimate_anticipation(make_panel(make_values()), by_did, **asked)


def needs_all_periods(panel: Panel) -> Estimate:
    if not panel.consecutive:
        raise ParameterError(Fault("panel", "its periods leave gaps"))
    return by_did(panel)


def test_a_gap_that_was_made_here_is_a_stated_refusal() -> None:
    found = estimate_anticipation(make_panel(make_values()), needs_all_periods, periods=(1, 2), handling="left_out")
    assert [e.status for e in found] == ["not_estimable"] * 2
    assert "leave gaps" in found[0].reason


def test_other_faults_than_the_panels_come_through() -> None:
    def needs_rng(panel: Panel) -> Estimate:
        if len(panel.units) < 16:
            raise ParameterError(Fault("rng", "sets must be drawn"))
        return by_did(panel)

    with pytest.raises(ParameterError, match="rng"):
        drop_each(make_panel(make_values()), needs_rng, units=("area 03",))


@pytest.mark.parametrize("changed", [{"noise": "zzz"}, {"periods_per_step": 1.5}])
def test_the_placebo_event_study_refuses_options_by_name(changed: dict[str, object]) -> None:
    panel = make_panel(np.random.default_rng(1).normal(50, 3, (40, 8)), first=4)
    with pytest.raises(ParameterError, match=next(iter(changed))):
        estimate_placebo_event_study(panel, DIFFERENCE, options=PlaceboEventStudyOptions(**changed))


@pytest.mark.parametrize("changed", [{"statistic": "zzz"}, {"placebo_donors": "zzz"}])
def test_permutation_refuses_options_by_name(changed: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(changed))):
        permutation_inference(
            make_panel(make_values()), difference_in_differences, scale="mean_difference", level=0.9,
            options=PermutationOptions(**changed),
        )  # fmt: skip


@pytest.mark.parametrize("changed", [{"permutation": "zzz"}, {"whiten": "zzz"}])
def test_conformal_refuses_options_by_name(changed: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match=next(iter(changed))):
        conformal_inference(
            make_panel(make_values()), difference_in_differences, scale="mean_difference", level=0.9,
            options=ConformalOptions(**changed), rng=np.random.default_rng(0),
        )  # fmt: skip


@pytest.mark.parametrize("rng", [None, 5])
def test_placebo_size_needs_a_generator(rng: object) -> None:
    with pytest.raises(ParameterError, match="rng"):
        measure_placebo_size(make_panel(make_values()), by_did, rng=rng)


def test_one_bound_must_stand_in_a_tuple() -> None:
    with pytest.raises(ParameterError, match="tuple"):
        compute_honest_bounds(np.zeros(4), np.eye(4), n_before=2, options=HonestOptions(m=1.0))
