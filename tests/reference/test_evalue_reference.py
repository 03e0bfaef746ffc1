"""E-values against R (closed form; examples of the EValue package and its papers), and published roundings.

Source: VanderWeele and Ding 2017, and EValue 4.1.4. Tolerance 1e-6, relative; published values to their last digit.
"""

from __future__ import annotations

import json

import pytest

from evalkit.estimators.people.evalue import EValue, compute_bias_factor, compute_e_value, compute_e_value_of_counts
from tests.shared_data import reference, shared

R = reference("sens_evalue")
# R takes 0.91 * 1.96 as 1.78, so its interval of a standardised difference is narrower by 0.2%.
R_HALF_WIDTH = 1.78 / 0.91 * 0.14

PUBLISHED = {
    # EValue 4.1.4, vignette "unmeasured-confounding": value and digits after the point.
    "rr3.9.point": (7.263034, 6),
    "rr3.9.ci_1.8_8.7": (3.0, 6),
    "rr10.73.point": (20.94777, 5),
    "rr10.73.ci_8.02_14.36": (15.52336, 5),
    "rr0.80.point": (1.809017, 6),
    "rr0.80.ci_0.71_0.91": (1.428571, 6),
    "rr2.5_true1.5.point": (2.720759, 6),
}


def ratio(value: float, lower: float | None = None, upper: float | None = None, **options: object) -> EValue:
    options = {"scale": "risk_ratio"} | options
    return compute_e_value(
        value, value if lower is None else lower, value if upper is None else upper, **options
    )  # fmt: skip


def hazard(rare: str) -> EValue:
    return ratio(0.56, 0.46, 0.69, scale="hazard_ratio", rare=rare)


def odds() -> EValue:
    return ratio(0.86, 0.75, 0.99, scale="odds_ratio", rare="common")


def difference() -> EValue:
    return ratio(-0.42, -0.42 - R_HALF_WIDTH, -0.42 + R_HALF_WIDTH, scale="mean_difference", sd=1.0)


def smoking() -> EValue:
    return compute_e_value_of_counts(397, 397 + 78557, 51, 51 + 108778)


FOUND = {
    "rr3.9.point": lambda: ratio(3.9, 1.8, 8.7).point,
    "rr3.9.ci_1.8_8.7": lambda: ratio(3.9, 1.8, 8.7).limit,
    "rr10.73.point": lambda: ratio(10.73, 8.02, 14.36).point,
    "rr10.73.ci_8.02_14.36": lambda: ratio(10.73, 8.02, 14.36, scale="rate_ratio").limit,
    "rr0.80.point": lambda: ratio(0.80, 0.71, 0.91).point,
    "rr0.80.ci_0.71_0.91": lambda: ratio(0.80, 0.71, 0.91).limit,
    "rr2.5_true1.5.point": lambda: ratio(2.5, true=1.5).point,
    "rr1.point": lambda: ratio(1.0).point,
    "rr1.2.ci_0.9_1.6": lambda: ratio(1.2, 0.9, 1.6).limit,
    "or_common_0.86.rr_sqrt": lambda: odds().ratio,
    "or_common_0.86.point": lambda: odds().point,
    "or_common_0.86.ci_0.75_0.99": lambda: odds().limit,
    "hr_common_0.56.rr": lambda: hazard("common").ratio,
    "hr_common_0.56.point": lambda: hazard("common").point,
    "hr_common_0.56.ci_0.46_0.69": lambda: hazard("common").limit,
    "hr_rare_0.56.point": lambda: hazard("rare").point,
    "smd_-0.42.rr": lambda: difference().ratio,
    "smd_-0.42.point": lambda: difference().point,
    "smd_-0.42.ci": lambda: difference().limit,
    "ols_0.293_sd_1.se_0.029.point": lambda: ratio(0.293, scale="mean_difference", sd=1.0).point,
    "rd_hammond_horn.rr": lambda: smoking().ratio,
    "rd_hammond_horn.rr_evalue": lambda: smoking().point,
    "bias_factor.rr_eu2_rr_ud3": lambda: compute_bias_factor(2.0, 3.0),
    "bias_factor.rr_eu7.26_rr_ud7.26": lambda: compute_bias_factor(7.26, 7.26),
}


@pytest.mark.parametrize("key", sorted(R))
def test_equals_r(key: str):
    assert FOUND[key]() == pytest.approx(R[key], rel=1e-6)


@pytest.mark.parametrize("key", sorted(PUBLISHED))
def test_equals_the_published_value(key: str):
    value, digits = PUBLISHED[key]
    assert FOUND[key]() == pytest.approx(value, abs=0.5000001 * 10**-digits)


def test_no_published_value_is_left_out():
    documented = json.loads((shared("sens_evalue") / "documented.json").read_text())
    assert {row["estimand"]: (row["published"], row["digits"]) for row in documented} == PUBLISHED
    assert set(FOUND) == set(R)
