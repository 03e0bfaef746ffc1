"""Negative controls: what they say of bias, and empirical calibration."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pytest

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate, not_estimable
from evalkit.estimators.people.negative_control import (
    ErrorModel,
    calibrate_estimate,
    estimate_negative_control,
    fit_systematic_error,
)

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2014, 1, 1))
HIP = Estimand("hip_fracture", "ATT", "all", WINDOW, "risk_ratio")
MAIN = Estimate(Estimand("readmission", "ATT", "all", WINDOW, "risk_ratio"), "x", "primary", 0.6, 0.5, 0.72, 0.95)


def found(value: float, se: float, estimand: Estimand = HIP) -> Estimate:
    ends = [math.exp(math.log(value) + z * se) for z in (-1.959964, 1.959964)]
    return Estimate(estimand, "ipw", "primary", value, *ends, 0.95, se=se, checks=(Check("balance", True, 0.0, ""),))


def by_name(estimate: Estimate) -> dict[str, bool | None]:
    return {check.name: check.passed for check in estimate.checks}


def test_a_null_control_passes_and_a_biased_one_fails():
    good = estimate_negative_control(lambda se: found(1.05, se), 0.1, kind="outcome", name="hip fracture", main=MAIN)
    assert by_name(good) == {"balance": True, "negative_control": True, "negative_control_power": True}
    assert good.role == "sensitivity"
    bad = estimate_negative_control(lambda se: found(0.7, se), 0.1, kind="outcome", name="hip fracture")
    assert by_name(bad) == {"balance": True, "negative_control": False}
    assert "which is bias" in bad.checks[-1].text


def test_a_control_too_vague_to_show_the_bias_says_so():
    vague = estimate_negative_control(lambda se: found(1.0, se), 0.6, kind="period", name="the year before", main=MAIN)
    assert by_name(vague)["negative_control"] is True
    assert by_name(vague)["negative_control_power"] is False


def test_what_cannot_be_used_is_named():
    with pytest.raises(ParameterError, match="outcome or period or exposure"):
        estimate_negative_control(lambda se: found(1.0, se), 0.1, kind="place", name="x")
    other = Estimand("days", "ATT", "all", WINDOW, "mean_difference")
    with pytest.raises(ParameterError, match="one scale"):
        estimate_negative_control(
            lambda se: Estimate(other, "x", "primary", 0.0, -1.0, 1.0, 0.95, se=se), 0.5, kind="outcome", name="x",
            main=MAIN,
        )  # fmt: skip
    with pytest.raises(NotEstimable, match="No overlap"):
        estimate_negative_control(
            lambda _: not_estimable(HIP, "x", role="primary", reason="No overlap."), 0, kind="outcome", name="x"
        )
    with pytest.raises(NotEstimable, match="5 or more"):
        fit_systematic_error([found(1.0, 0.1)] * 4)


def test_systematic_error_is_found_again():
    rng = np.random.default_rng(8)
    se = rng.uniform(0.05, 0.2, 400)
    theta = rng.normal(0.3, 0.25, 400) + se * rng.standard_normal(400)
    error = fit_systematic_error([found(math.exp(t), s) for t, s in zip(theta, se, strict=True)])
    assert (error.mean, error.sd) == pytest.approx((0.3, 0.25), abs=0.04)


def test_systematic_error_by_hand():
    """With equal errors the fit is the mean and max(0, variance - se^2)."""
    theta = np.array([-0.4, -0.1, 0.0, 0.2, 0.5, 0.4])
    error = fit_systematic_error([found(math.exp(t), 0.1) for t in theta])
    assert error.mean == pytest.approx(theta.mean())
    assert error.sd == pytest.approx(math.sqrt(theta.var() - 0.01), rel=1e-5)
    none = fit_systematic_error([found(math.exp(t / 100), 0.1) for t in theta])
    assert none.sd == 0.0


def test_calibration_shifts_and_widens():
    plain = found(0.6, 0.1)
    same = calibrate_estimate(plain, ErrorModel(0.0, 0.0, 9))
    assert (same.value, same.lower, same.upper) == pytest.approx((plain.value, plain.lower, plain.upper), rel=1e-6)
    moved = calibrate_estimate(plain, ErrorModel(math.log(0.8), 0.1, 9))
    assert moved.value == pytest.approx(0.75)
    assert moved.se == pytest.approx(0.1 * math.sqrt(2))
    assert moved.p_value > same.p_value
    assert moved.estimator == "ipw_calibrated"


def test_calibrated_intervals_cover_under_systematic_error():
    """Schuemie et al. 2018: with bias like that of 30 controls, plain intervals miss and calibrated ones do not."""
    rng = np.random.default_rng(1)
    plain = calibrated = 0
    for _ in range(300):
        bias = rng.normal(0.1, 0.2, 31)
        values = np.exp(bias + 0.1 * rng.standard_normal(31))
        error = fit_systematic_error([found(v, 0.1) for v in values[1:]])
        one = found(values[0], 0.1)
        fixed = calibrate_estimate(one, error)
        plain += one.lower <= 1 <= one.upper
        calibrated += fixed.lower <= 1 <= fixed.upper
    assert plain / 300 < 0.7
    assert 0.91 < calibrated / 300 < 0.985
