"""What must not change an estimate does not, and what must change it does so exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Estimate
from evalkit.estimators.area.rates import RateOptions, estimate_placebos, estimate_rate_ratio_did
from tests.panels import ESTIMAND, make_panel


def estimate(panel: Panel, **options) -> Estimate:
    return estimate_rate_ratio_did(panel, ESTIMAND, options=RateOptions(**options), rng=np.random.default_rng(1))


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(np.random.default_rng(2), ratio=0.5, mean=8)[0]


@pytest.fixture(scope="module")
def base(panel) -> Estimate:
    return estimate(panel)


def close(a: Estimate, b: Estimate) -> bool:
    return (a.value, a.lower, a.upper) == pytest.approx((b.value, b.lower, b.upper), rel=1e-3)


def test_relabelling_and_reordering_units_changes_nothing(panel, base):
    order = np.random.default_rng(3).permutation(len(panel.units))
    shuffled = replace(
        panel, units=panel.units[order], outcome=panel.outcome[order], denominator=panel.denominator[order],
        adoption=panel.adoption[order], covariates=panel.covariates[order],
    )  # fmt: skip
    assert close(estimate(shuffled), base)


def test_a_unit_of_person_time_changes_nothing(panel, base):
    assert close(estimate(replace(panel, denominator=panel.denominator * 365.25)), base)


def test_a_period_effect_on_person_time_changes_nothing(panel, base):
    # Person-time scaled alike in all units is absorbed by the period effects.
    scale = np.linspace(1, 2, len(panel.periods))
    assert close(estimate(replace(panel, denominator=panel.denominator * scale)), base)


def test_a_known_multiple_of_the_treated_outcome_multiplies_the_ratio(panel, base):
    outcome = panel.outcome.copy()
    outcome[0, 4:] *= 3
    tripled = estimate(replace(panel, outcome=outcome))
    assert tripled.value == pytest.approx(3 * base.value, rel=1e-9)
    assert tripled.upper == pytest.approx(3 * base.upper, rel=0.02)


def test_the_interval_is_what_the_test_does_not_reject(base):
    assert base.lower < base.value < base.upper
    assert (base.p_value <= 0.05) == (not base.lower <= 1 <= base.upper)
    assert base.level == pytest.approx(1 - 1 / 33)


def test_the_smallest_p_value_is_one_over_the_areas(panel):
    found = estimate(make_panel(np.random.default_rng(2), ratio=0.02, mean=30)[0])
    assert found.p_value == pytest.approx(1 / 33)


def test_too_few_areas_are_refused_with_the_reason(panel):
    few = panel.only(tuple(panel.units[:4]))
    with pytest.raises(NotEstimable, match="too few for an honest interval"):
        estimate(few)


def test_between_10_and_19_areas_the_number_stands_without_an_interval(panel):
    found = estimate(panel.only(tuple(panel.units[:12])))
    assert np.isfinite(found.value)
    assert np.isnan(found.lower)
    assert any(c.name == "interval" and c.passed is False for c in found.checks)


def test_no_event_before_adoption_is_refused(panel):
    outcome = panel.outcome.copy()
    outcome[0, :4] = 0
    with pytest.raises(NotEstimable, match="no event before"):
        estimate(replace(panel, outcome=outcome))


def test_anticipation_periods_are_left_out(panel):
    outcome = panel.outcome.copy()
    outcome[0, 3] = 1000  # would wreck the baseline if it were used
    assert close(
        estimate(replace(panel, outcome=outcome), anticipation_start=3.0), estimate(panel, anticipation_start=3.0)
    )


@pytest.mark.parametrize("column", [3, 4])
def test_a_period_in_which_adoption_or_anticipation_begins_belongs_to_neither(panel, column):
    """Adoption in the middle of period 4, or anticipation in the middle of period 3: what is in it does not count."""
    midway = replace(panel, adoption=np.where(panel.treated, 4.5, np.nan))
    options = {"anticipation_start": 3.5} if column == 3 else {}
    outcome = panel.outcome.copy()
    outcome[0, column] = 1000
    assert close(estimate(replace(midway, outcome=outcome), **options), estimate(midway, **options))


def test_placebos_name_every_area_once(panel):
    found = estimate_placebos(panel, options=RateOptions(), rng=np.random.default_rng(0))
    assert sorted(found["unit"]) == sorted(panel.units)
    assert found["unit"].iloc[0] == panel.units[0]


def test_days_instead_of_events_keep_the_interval(panel, base):
    """A unit of the outcome is none of the interval's business: 500 days an event moves neither ratio nor ends far."""
    days = estimate(replace(panel, outcome=panel.outcome * 500))
    assert days.value == pytest.approx(base.value, rel=1e-6)
    assert 0 < days.lower < days.value < days.upper < np.inf
    assert (np.log(days.upper / days.lower)) == pytest.approx(np.log(base.upper / base.lower), rel=0.25)
