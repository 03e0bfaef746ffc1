"""Leaving out, dating back and looking next door call the estimator on the panels they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.result import Estimate, Results
from evalkit.estimators.area.rates import RateOptions, estimate_rate_ratio_did
from evalkit.estimators.area.robustness import (
    drop_each,
    estimate_anticipation,
    estimate_spillover,
    find_weighted_donors,
)
from evalkit.estimators.area.synthetic_control import difference_in_differences, synthetic_control
from tests.panels import ESTIMAND, make_panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(np.random.default_rng(5), units=22, periods=17, adopted=8, mean=30, ratio=0.6)[0]


def estimator(p: Panel) -> Estimate:
    return estimate_rate_ratio_did(p, ESTIMAND, rng=np.random.default_rng(0))


def test_each_comparator_is_left_out_once(panel):
    found = drop_each(panel, estimator)
    assert len(found) == 21
    assert found[2].estimator == f"poisson_did_permutation.without.{panel.units[3]}"
    by_hand = estimator(panel.only(tuple(u for u in panel.units if u != panel.units[3])))
    assert (found[2].value, found[2].lower) == (by_hand.value, by_hand.lower)
    assert {e.role for e in found} == {"sensitivity"}
    assert len(Results.from_estimates([estimator(panel), *found]).estimates) == 22  # every name is its own


def test_one_that_cannot_be_had_stands_with_its_reason(panel):
    ten = panel.only(tuple(panel.units[:10]))
    found = drop_each(ten, estimator, units=("area 03",))
    assert len(found) == 1
    assert found[0].status == "not_estimable"
    assert "too few" in found[0].reason


def test_units_that_are_not_there_are_named(panel):
    with pytest.raises(ParameterError, match='Did you mean "area 03"') as caught:
        drop_each(panel, estimator, units=("area 0 3", "area 00"))
    assert len(caught.value.faults) == 2
    with pytest.raises(ParameterError, match="none was named"):
        estimate_spillover(panel, estimator, neighbours=())
    with pytest.raises(ParameterError, match="named twice"):
        drop_each(panel, estimator, units=("area 01", "area 01"))


def test_weighted_donors_are_those_that_the_design_rests_on(panel):
    treated = panel.treated[None]
    weights = synthetic_control(panel.values, treated=treated, donors=~treated, first=8).unit_weights[0]
    names = find_weighted_donors(panel, synthetic_control)
    assert set(names) == {str(u) for u, w in zip(panel.units, weights, strict=True) if w > 1e-4}
    assert names[0] == panel.units[weights.argmax()]
    assert len(names) < 21

    def bare(values, **cells):
        return replace(difference_in_differences(values, **cells), unit_weights=None)

    with pytest.raises(NotEstimable, match="no weights"):
        find_weighted_donors(panel, bare)


def test_anticipation_dates_adoption_back_or_leaves_periods_out(panel):
    treated = estimate_anticipation(panel, estimator, periods=(1, 2))
    assert [e.estimator.split(".")[-1] for e in treated] == ["1", "2"]
    dated = replace(panel, adoption=np.where(panel.treated, 6.0, np.nan))
    assert treated[1].value == estimator(dated).value
    left = estimate_anticipation(panel, estimator, periods=(2,), handling="left_out")
    own = estimate_rate_ratio_did(
        panel, ESTIMAND, options=RateOptions(anticipation_start=6.0), rng=np.random.default_rng(0)
    )
    # The estimator's own way keeps those periods of the comparators; the ratio is almost the same.
    assert left[0].value == pytest.approx(own.value, rel=0.02)
    with pytest.raises(ParameterError, match="from 1 to 7"):
        estimate_anticipation(panel, estimator, periods=(8,))
    with pytest.raises(ParameterError, match="from 1 to 7"):
        estimate_anticipation(panel, estimator, periods=())


def test_spillover_leaves_neighbours_out_and_looks_at_them(panel):
    outcome = panel.outcome.copy()
    outcome[1:3, 8:] *= 2
    spilt = replace(panel, outcome=outcome)
    apart, on = estimate_spillover(spilt, estimator, neighbours=("area 01", "area 02"))
    assert apart.value == pytest.approx(estimator(panel.only(("area 00", *panel.units[3:]))).value)
    assert on.value == pytest.approx(2, rel=0.25)
    rest = spilt.only(tuple(panel.units[1:]))
    placed = replace(rest, adoption=np.where(np.arange(21) < 2, 8.0, np.nan))
    assert on.value == estimator(placed).value
    assert (apart.estimator, on.estimator) == (
        "poisson_did_permutation.without_neighbours", "poisson_did_permutation.on_neighbours",
    )  # fmt: skip
    with pytest.raises(NotEstimable, match="no other untreated"):
        estimate_spillover(panel, estimator, neighbours=tuple(panel.units[1:]))
