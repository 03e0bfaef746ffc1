"""Estimates by synthetic control: what they say, what they show of themselves and what they refuse."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate
from evalkit.estimators.area.synthetic_control import (
    SyntheticControlOptions,
    compute_paths,
    compute_placebo_paths,
    compute_rmspe_ranks,
    describe_weights,
    estimate_synthetic_control,
)
from tests.factor_panels import make_panel, make_predictors, make_values

WINDOW = Window(dt.date(2015, 1, 1), dt.date(2018, 1, 1))
DIFFERENCE = Estimand("y", "ATT", "areas", WINDOW, "mean_difference")
RATIO = Estimand("y", "ATT", "areas", WINDOW, "rate_ratio")
METHODS = ("did", "synthetic_control", "ridge_augmented", "synthetic_did")


def check_of(estimate: Estimate, name: str) -> Check:
    return next(c for c in estimate.checks if c.name == name)


# ---- estimates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_both_scales_come_from_the_same_paths(method: str) -> None:
    panel = make_panel(make_values(effect=8))
    options = SyntheticControlOptions(method=method, inference="none")
    paths = compute_paths(panel, options=options)
    difference = estimate_synthetic_control(panel, DIFFERENCE, options=options)
    ratio = estimate_synthetic_control(panel, RATIO, options=options)
    assert difference.value == pytest.approx((paths.observed - paths.expected)[0, 12:].mean(), abs=1e-12)
    assert ratio.value == pytest.approx(paths.observed[0, 12:].sum() / paths.expected[0, 12:].sum(), abs=1e-12)
    assert math.isnan(difference.lower)
    assert check_of(difference, "interval").passed is None


def test_rates_are_outcomes_over_denominators() -> None:
    values = make_values()
    size = np.tile(np.linspace(100, 900, 16)[:, None], 20)
    options = SyntheticControlOptions(inference="none")
    counts = make_panel(values * size, denominator=size)
    found = estimate_synthetic_control(counts, DIFFERENCE, options=options)
    assert found.value == pytest.approx(
        estimate_synthetic_control(make_panel(values), DIFFERENCE, options=options).value, abs=1e-9
    )


@pytest.mark.parametrize("method", METHODS)
def test_treated_units_with_one_start_are_averaged(method: str) -> None:
    values = make_values()
    values[1, 12:] += 5
    merged = np.vstack([values[:2].mean(axis=0), values[2:]])
    options = SyntheticControlOptions(method=method, inference="none")
    both = compute_paths(make_panel(values, treated=(0, 1)), options=options)
    np.testing.assert_allclose(both.observed[0], merged[0], atol=1e-12)
    if method != "synthetic_did":  # whose penalty grows with the number of treated units
        np.testing.assert_allclose(both.gap, compute_paths(make_panel(merged), options=options).gap, atol=1e-8)


def test_placebo_deviation_gives_the_interval() -> None:
    panel = make_panel(make_values())
    for estimand in (DIFFERENCE, RATIO):
        options = SyntheticControlOptions(inference="placebo_sd", level=0.9)
        placebos = compute_placebo_paths(panel, options=options)
        found = estimate_synthetic_control(panel, estimand, options=options)
        ratio = estimand is RATIO
        spread = np.std(np.log(placebos.ratio) if ratio else placebos.effect, ddof=1)
        half, centre = stats.t.ppf(0.95, 14) * spread, math.log(found.value) if ratio else found.value
        ends = np.array([centre - half, centre + half])
        np.testing.assert_allclose([found.lower, found.upper], np.exp(ends) if ratio else ends, rtol=1e-9)
        assert found.level == 0.9


@pytest.mark.parametrize("inference", ["permutation", "conformal", "placebo_sd"])
def test_an_effect_that_leaps_out_is_found(inference: str) -> None:
    panel = make_panel(make_values(units=24, effect=40))
    # Level 0.9: with 20 periods the smallest p-value of the conformal test is 1/19.
    options = SyntheticControlOptions(inference=inference, level=0.9)
    found = estimate_synthetic_control(panel, DIFFERENCE, options=options)
    assert found.lower <= 40 <= found.upper
    assert found.p_value <= 0.1


def test_placebos_leave_the_treated_out() -> None:
    values = make_values()
    other = values.copy()
    other[0] = 1e6
    first, second = (compute_placebo_paths(make_panel(v)) for v in (values, other))
    assert first.gap.shape == (15, 20)
    np.testing.assert_allclose(second.gap, first.gap, atol=1e-8)
    np.testing.assert_allclose(first.observed, values[1:])


def test_ranks_of_rmspe_ratios() -> None:
    panel = make_panel(make_values(effect=40))
    ranks = compute_rmspe_ranks(panel)
    assert ranks["unit"].tolist()[0] == "treated"
    assert ranks["p_value"].tolist() == pytest.approx([(i + 1) / 16 for i in range(16)])
    np.testing.assert_allclose(ranks["ratio"], ranks["post_rmspe"] / ranks["pre_rmspe"])


@pytest.mark.parametrize("method", METHODS)
def test_weights_are_described(method: str) -> None:
    table = describe_weights(make_panel(make_values()), options=SyntheticControlOptions(method=method))
    assert table.groupby("kind").size().to_dict() == {"period": 12, "unit": 15}
    sums = table.groupby("kind")["weight"].sum()
    assert sums["unit"] == pytest.approx(1)
    assert sums["period"] == pytest.approx(1 if "did" in method else 0, abs=1e-9)
    assert "area 00" not in set(table["name"])


# ---- what is shown ---------------------------------------------------------------------------------


def checked(values: np.ndarray, *, method: str = "synthetic_control", first: int = 12, **more: np.ndarray) -> Estimate:
    options = SyntheticControlOptions(method=method, inference="none")
    return estimate_synthetic_control(make_panel(values, first=first, **more), DIFFERENCE, options=options)


def test_a_poor_fit_is_seen() -> None:
    values = make_values()
    assert check_of(checked(values), "pre_period_fit").passed is True
    values[0, :12] += np.tile([4.0, -4.0], 6)
    for method in METHODS:
        found = check_of(checked(values, method=method), "pre_period_fit")
        assert found.value > (0.2 if method == "ridge_augmented" else 0.5)
    assert check_of(checked(values), "pre_period_fit").passed is False


def test_a_level_out_of_reach_is_seen_by_synthetic_control_alone() -> None:
    values = make_values()
    values[0] += 300
    found = checked(values)
    assert check_of(found, "pre_period_fit").passed is False
    assert check_of(found, "within_donors_range").passed is False
    assert check_of(found, "within_donors_range").value == 1.0
    assert check_of(checked(values, method="synthetic_did"), "pre_period_fit").passed is True
    assert check_of(checked(make_values()), "within_donors_range").passed is True


def test_few_periods_before_are_seen() -> None:
    assert check_of(checked(make_values(), first=5), "pre_periods").passed is False
    assert check_of(checked(make_values(), first=12), "pre_periods").passed is True


def test_one_donor_that_carries_all_is_seen() -> None:
    values = make_values()
    values[0] = values[3]
    found = checked(values)
    assert check_of(found, "effective_donors").passed is False
    assert check_of(found, "effective_donors").value == pytest.approx(1)
    assert check_of(found, "largest_weight").value == pytest.approx(1)
    assert "area 03" in check_of(found, "largest_weight").text


def test_predictors_out_of_range_are_seen() -> None:
    panel = make_panel(make_values())
    rows = make_predictors(panel.values)
    rows[0, 1] = 1e3
    predictors = pd.DataFrame(rows, index=panel.units)
    options = SyntheticControlOptions(predictors=predictors, importance="regression", inference="none")
    found = check_of(estimate_synthetic_control(panel, DIFFERENCE, options=options), "predictors_within_donors_range")
    assert found.passed is False
    assert found.value == pytest.approx(1 / 3)


def test_covariates_that_are_not_used_are_named() -> None:
    values = make_values()
    more = {"covariates": values[:, :, None] ** 2, "covariate_names": ("deprivation",)}
    assert "deprivation" in check_of(checked(values, **more), "covariates").text


@pytest.mark.parametrize("inference", ["permutation", "placebo_sd"])
def test_an_interval_with_few_areas_is_refused_and_the_value_stands(inference: str) -> None:
    panel = make_panel(make_values(units=4))
    found = estimate_synthetic_control(panel, DIFFERENCE, options=SyntheticControlOptions(inference=inference))
    assert math.isfinite(found.value)
    assert math.isnan(found.lower)
    assert math.isnan(found.upper)
    refusal = check_of(found, "interval")
    assert refusal.passed is False
    assert "conformal" in refusal.text


# ---- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_one_period_before_adoption(method: str) -> None:
    options = SyntheticControlOptions(method=method, inference="none")
    panel = make_panel(make_values(), first=1)
    if method == "did":
        assert math.isfinite(estimate_synthetic_control(panel, DIFFERENCE, options=options).value)
        return
    with pytest.raises(NotEstimable, match="too few periods before adoption"):
        estimate_synthetic_control(panel, DIFFERENCE, options=options)


def test_panels_that_no_weights_can_serve() -> None:
    values = make_values()
    staggered = make_panel(values, treated=(0, 1))
    staggered.adoption[1] = 15
    with pytest.raises(NotEstimable, match="one adoption period"):
        estimate_synthetic_control(staggered, DIFFERENCE)
    with pytest.raises(NotEstimable, match="every unit is treated"):
        estimate_synthetic_control(make_panel(values, treated=tuple(range(16))), DIFFERENCE)
    with pytest.raises(NotEstimable, match="two untreated units"):
        compute_placebo_paths(make_panel(values[:2]))
    nothing = values.copy()
    nothing[1:] = 0
    with pytest.raises(NotEstimable, match="expects nothing"):
        estimate_synthetic_control(make_panel(nothing), RATIO)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"method": "magic", "inference": "hope", "level": 1.5}, 3),
        ({"ridge": 1.0}, 1),
        ({"method": "ridge_augmented", "ridge": -1.0}, 1),
        ({"method": "synthetic_did", "inference": "conformal"}, 1),
        ({"importance": "regression"}, 1),
        ({"method": "did", "predictors": pd.DataFrame({"a": [1.0]}), "importance": "guess"}, 2),
    ],
)
def test_options_that_cannot_be_are_named_all_at_once(options: dict[str, object], count: int) -> None:
    with pytest.raises(ParameterError) as caught:
        estimate_synthetic_control(make_panel(make_values()), DIFFERENCE, options=SyntheticControlOptions(**options))
    assert len(caught.value.faults) == count


def test_another_scale_is_refused() -> None:
    with pytest.raises(ParameterError, match="mean_difference, rate_ratio"):
        estimate_synthetic_control(make_panel(make_values()), Estimand("y", "ATT", "areas", WINDOW, "slope_change"))


def test_sets_of_placebos_that_must_be_drawn_need_a_generator() -> None:
    panel = make_panel(make_values(units=30), treated=(0, 1, 2))
    options = SyntheticControlOptions(method="did", inference="placebo_sd")
    with pytest.raises(ParameterError, match="rng"):
        estimate_synthetic_control(panel, DIFFERENCE, options=options)
    found = estimate_synthetic_control(panel, DIFFERENCE, options=options, rng=np.random.default_rng(1))
    assert found.lower < found.value < found.upper
