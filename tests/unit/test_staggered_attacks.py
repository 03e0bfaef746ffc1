"""Staggered designs: adoption within the last period, and outcomes in very small or very large units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable
from evalkit.estimators.area.group_time import StaggeredOptions
from evalkit.estimators.area.staggered import estimate_group_time, estimate_staggered
from tests.panels import DIFFERENCE
from tests.unit.test_staggered import METHODS, NOT_YET, USUAL, check_named, make

LATE = 7.5  # within the last of periods 0 to 7


def late_units(count: int = 2):
    return make({**USUAL, LATE: count}, effect=1.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_unit_adopting_within_the_last_period_moves_no_base_period(method):
    options = StaggeredOptions(method=method)
    late, without = late_units(), late_units().only(tuple(f"u{i:03d}" for i in range(27)))
    found, plain = estimate_group_time(late, options=options), estimate_group_time(without, options=options)
    assert found.ahead == plain.ahead == 0
    if method != "imputation":  # there they are untreated until adoption, and tell of the periods
        np.testing.assert_allclose(found.value, plain.value, rtol=1e-12, atol=1e-12)
    assert check_named(found.checks, "not_studied").value == 2
    assert {c.name for c in found.checks}.isdisjoint({"adoption_within_period"})


@pytest.mark.parametrize("options", [NOT_YET, StaggeredOptions(method="imputation"), replace(NOT_YET, anticipation=1)])
def test_a_period_that_adoption_cuts_is_no_comparison(options):
    panel = late_units()
    y = panel.outcome.copy()
    y[27:, 7] = 1e3
    spoilt = replace(panel, outcome=y)
    found, plain = estimate_group_time(spoilt, options=options), estimate_group_time(panel, options=options)
    np.testing.assert_array_equal(found.value, plain.value)


@pytest.mark.parametrize("options", [NOT_YET, StaggeredOptions(method="imputation")])
def test_until_the_last_period_its_unit_is_untreated_like_any_other(options):
    panel = late_units()
    never = replace(panel, adoption=np.where(panel.adoption == LATE, np.nan, panel.adoption))
    short = never.between(0, 7)
    found, plain = estimate_group_time(panel, options=options), estimate_group_time(short, options=options)
    early = found.period < 7
    np.testing.assert_allclose(found.value[early], plain.value, rtol=1e-9, atol=1e-12)


def test_units_that_are_not_studied_are_not_counted_as_treated():
    with pytest.raises(NotEstimable, match="Got 5 treated"):
        estimate_group_time(make({3.0: 5, LATE: 4, np.nan: 12}))


@pytest.mark.parametrize("errors", ["small_sample", "analytic"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e9])
def test_the_unit_of_the_outcome_changes_no_interval(method, unit, errors):
    panel = make(USUAL, effect=1.0)
    options = StaggeredOptions(method=method, errors=errors)
    plain = estimate_staggered(panel, DIFFERENCE, options=options)
    found = estimate_staggered(replace(panel, outcome=panel.outcome * unit), DIFFERENCE, options=options)
    assert np.isfinite(plain.lower)
    got = [found.value / unit, found.se / unit, found.lower / unit, found.upper / unit, found.p_value]
    assert got == pytest.approx([plain.value, plain.se, plain.lower, plain.upper, plain.p_value], rel=1e-6)


@pytest.mark.parametrize("errors", ["small_sample", "analytic"])
@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e9])
def test_outcomes_without_noise_have_no_error_in_any_unit(unit, errors):
    panel = make(USUAL, effect=1.0, noise=0.0)
    options = StaggeredOptions(errors=errors)
    found = estimate_staggered(replace(panel, outcome=panel.outcome * unit), DIFFERENCE, options=options)
    assert found.value == pytest.approx(unit)
    assert np.isnan([found.se, found.lower, found.upper, found.p_value]).all()
