"""The uncontrolled comparison, by hand: it must be right at being wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.cohort.mirror import RateCount, count_before_after
from evalkit.core.errors import NotEstimable
from evalkit.estimators.people.naive import estimate_rate_before_after
from tests.panels import ESTIMAND, make_panel


def test_ratio_and_poisson_interval_by_hand():
    found = estimate_rate_before_after(
        RateCount(40, 100.0), RateCount(10, 50.0), ESTIMAND, level=0.95, interval="poisson"
    )
    half = 1.959963984540054 * math.sqrt(1 / 40 + 1 / 10)
    assert found.value == pytest.approx(0.5)
    assert (found.lower, found.upper) == pytest.approx((0.5 * math.exp(-half), 0.5 * math.exp(half)))
    assert found.role == "naive"
    assert found.label.endswith("not evidence of effect")
    assert found.n_events == 10


def test_days_of_one_stay_are_given_no_interval():
    found = estimate_rate_before_after(
        RateCount(4000, 100.0), RateCount(1000, 50.0), ESTIMAND, level=0.95, interval="none"
    )
    assert found.value == pytest.approx(0.5)
    assert math.isnan(found.lower)
    assert math.isnan(found.p_value)


def test_no_event_on_one_side_is_refused_not_infinite():
    with pytest.raises(NotEstimable, match="no event before"):
        estimate_rate_before_after(RateCount(0, 1.0), RateCount(3, 1.0), ESTIMAND, level=0.95, interval="poisson")


def test_a_panel_is_counted_before_and_from_adoption_on():
    panel, _ = make_panel(np.random.default_rng(1))
    before, after = count_before_after(panel)
    assert before.events == panel.outcome[0, :4].sum()
    assert after.events == panel.outcome[0, 4:].sum()
    assert before.years + after.years == pytest.approx(panel.denominator[0].sum())
