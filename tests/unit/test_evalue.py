"""E-values: what they mean, what they do not change with, and what is refused."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
from scipy import optimize, stats

from evalkit.core.dates import Window
from evalkit.core.errors import ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Estimate
from evalkit.estimators.people.evalue import (
    build_e_value_curve,
    check_e_value,
    compute_bias_factor,
    compute_e_value,
    compute_e_value_of_counts,
    compute_estimate_e_value,
)

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2014, 1, 1))


def test_a_confounder_of_that_strength_just_explains_the_estimate():
    """The meaning of it: the bias factor at the E-value is the ratio itself."""
    for ratio in (1.2, 2.0, 7.5):
        found = compute_e_value(ratio, ratio, ratio, scale="risk_ratio")
        assert compute_bias_factor(found.point, found.point) == pytest.approx(ratio, rel=1e-12)


def test_harm_and_benefit_are_mirrored():
    up = compute_e_value(2.0, 1.5, 3.0, scale="risk_ratio")
    down = compute_e_value(1 / 2.0, 1 / 3.0, 1 / 1.5, scale="risk_ratio")
    assert (up.point, up.limit) == pytest.approx((down.point, down.limit), rel=1e-12)


def test_units_of_a_mean_difference_do_not_matter():
    days = compute_e_value(-12.0, -20.0, -4.0, scale="mean_difference", sd=30.0)
    weeks = compute_e_value(-12.0 / 7, -20.0 / 7, -4.0 / 7, scale="mean_difference", sd=30.0 / 7)
    assert (days.point, days.limit) == pytest.approx((weeks.point, weeks.limit), rel=1e-12)


def test_common_outcomes_need_weaker_confounders():
    rare = compute_e_value(0.5, 0.4, 0.6, scale="hazard_ratio", rare="rare")
    common = compute_e_value(0.5, 0.4, 0.6, scale="hazard_ratio", rare="common")
    assert common.point < rare.point
    assert compute_e_value(0.5, 0.4, 0.6, scale="odds_ratio", rare="common").ratio == pytest.approx(0.5**0.5)


def test_a_difference_of_risks_becomes_its_ratio():
    found = compute_e_value(-0.05, -0.08, -0.02, scale="risk_difference", comparison_risk=0.2)
    assert (found.ratio, found.lower, found.upper) == pytest.approx((0.75, 0.6, 0.9))


def test_the_interval_of_counts_is_where_the_biased_difference_meets_its_error():
    """Found again by a root search on p1 - B p0 - z se(B) = 0."""
    found = compute_e_value_of_counts(40, 200, 20, 220)
    p1, p0 = 40 / 200, 20 / 220

    def margin(bias: float) -> float:
        se = np.sqrt(p1 * (1 - p1) / 200 + bias**2 * p0 * (1 - p0) / 220)
        return p1 - bias * p0 - stats.norm.ppf(0.975) * se

    assert found.lower == pytest.approx(optimize.brentq(margin, 0.5, 3.0), rel=1e-9)
    assert found.ratio == pytest.approx(p1 / p0)
    assert found.limit == pytest.approx(found.lower + np.sqrt(found.lower * (found.lower - 1)))


def test_a_curve_holds_the_bias_and_passes_through_the_e_value():
    found = compute_e_value(3.9, 1.8, 8.7, scale="risk_ratio")
    curve = build_e_value_curve(found)
    for of, ratio in (("estimate", 3.9), ("interval", 1.8)):
        line = curve[curve["of"] == of]
        bias = [compute_bias_factor(e, o) for e, o in zip(line["exposure_ratio"], line["outcome_ratio"], strict=True)]
        assert bias == pytest.approx([ratio] * len(line), rel=1e-9)
        assert line["exposure_ratio"].min() == pytest.approx(line["outcome_ratio"].min(), rel=1e-9)
    assert len(build_e_value_curve(compute_e_value(1.0, 0.8, 1.2, scale="risk_ratio"))) == 0


def test_an_estimate_is_read_by_its_own_scale():
    estimand = Estimand("readmission", "ATT", "all", WINDOW, "rate_ratio")
    estimate = Estimate(estimand, "x", "primary", 0.8, 0.71, 0.91, 0.95)
    assert compute_estimate_e_value(estimate).point == pytest.approx(1.809017, abs=1e-6)
    days = Estimate(Estimand("days", "ATT", "all", WINDOW, "days_per_person"), "x", "primary", 1.0, 0.5, 1.5, 0.95)
    with pytest.raises(ParameterError, match="days_per_person"):
        compute_estimate_e_value(days)


def test_the_check_compares_with_the_strongest_known():
    found = compute_e_value(2.0, 1.5, 3.0, scale="risk_ratio")
    assert check_e_value(found, strongest_known=1.4).passed is True
    assert check_e_value(found, strongest_known=2.5).passed is False
    assert check_e_value(found, strongest_known=1 / 2.5).passed is False


@pytest.mark.parametrize(
    ("args", "options", "said"),
    [
        ((2.0, 2.5, 3.0), {"scale": "risk_ratio"}, "lower <= value <= upper"),
        ((float("nan"), 1.0, 3.0), {"scale": "risk_ratio"}, "finite"),
        ((2.0, -1.0, 3.0), {"scale": "odds_ratio"}, "positive"),
        ((2.0, 1.0, 3.0), {"scale": "mean_difference"}, "standard deviation"),
        ((2.0, 1.0, 3.0), {"scale": "mean_difference", "sd": 0.0}, "standard deviation"),
        ((0.1, 0.0, 0.2), {"scale": "risk_difference"}, "comparison side's risk"),
        ((-0.1, -0.3, 0.2), {"scale": "risk_difference", "comparison_risk": 0.2}, "to 0 or below"),
        ((2.0, 1.0, 3.0), {"scale": "slope"}, "risk_ratio or"),
        ((2.0, 1.0, 3.0), {"scale": "risk_ratio", "rare": "scarce"}, "rare or common"),
        ((2.0, 1.0, 3.0), {"scale": "risk_ratio", "true": 0.0}, "above 0"),
    ],
)
def test_what_cannot_be_used_is_named(args, options, said):
    with pytest.raises(ParameterError, match=said):
        compute_e_value(*args, **options)


def test_counts_and_strengths_that_cannot_be():
    for counts in ((0, 10, 1, 10), (11, 10, 1, 10), (1.5, 10, 1, 10)):
        with pytest.raises(ParameterError, match="treated side"):
            compute_e_value_of_counts(*counts)
    with pytest.raises(ParameterError, match="too near to 0"):
        compute_e_value_of_counts(5, 10, 1, 1000)
    with pytest.raises(ParameterError, match="1 or more"):
        compute_bias_factor(0.5, 2.0)
