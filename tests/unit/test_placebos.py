"""Placebos in time and over units: dates, counts and covariances checked by hand, refusals with their reason."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check, Estimate
from evalkit.estimators.area.placebo_size import PlaceboSizeOptions, measure_placebo_size
from evalkit.estimators.area.placebo_time import (
    PlaceboEventStudyOptions,
    PlaceboTimeOptions,
    estimate_placebo_event_study,
    estimate_placebo_in_time,
)
from evalkit.estimators.area.rates import estimate_rate_ratio_did
from evalkit.estimators.area.synthetic_control import difference_in_differences
from tests.panels import DIFFERENCE, ESTIMAND, make_panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    return make_panel(np.random.default_rng(5), units=25, periods=24, adopted=12, mean=30, ratio=0.7)[0]


def test_placebos_in_time_see_nothing_from_adoption_on(panel):
    found = estimate_placebo_in_time(panel, difference_in_differences)
    assert found["adoption"].tolist() == list(range(2, 12))
    assert found["periods_before"].tolist() == list(range(2, 12))
    assert (found["periods_before"] + found["periods_after"] == 12).all()
    values = panel.values[:, :12]
    gap = values[0] - values[1:].mean(axis=0)
    assert found["effect"].iloc[3] == pytest.approx(gap[5:].mean() - gap[:5].mean())
    wrecked = panel.outcome.copy()
    wrecked[:, 12:] = 1e6
    again = estimate_placebo_in_time(replace(panel, outcome=wrecked), difference_in_differences)
    assert (found.to_numpy() == again.to_numpy()).all()
    assert found["smallest_p"].to_numpy() == pytest.approx(1 / 25)


def test_a_period_in_which_adoption_falls_is_no_placebo_period(panel):
    midway = replace(panel, adoption=np.where(panel.treated, 11.5, np.nan))
    found = estimate_placebo_in_time(midway, difference_in_differences)
    assert (found["periods_before"] + found["periods_after"] == 11).all()


def test_a_change_before_adoption_is_found_where_it_happened(panel):
    outcome = panel.outcome.copy()
    outcome[0, 6:12] *= 4
    found = estimate_placebo_in_time(replace(panel, outcome=outcome), difference_in_differences)
    assert found.loc[found["effect"].idxmax(), "adoption"] == 6
    assert found.set_index("adoption").loc[6, "p_value"] == pytest.approx(1 / 25)
    assert found.set_index("adoption").loc[6, "ratio"] == pytest.approx(4, rel=0.3)


def test_placebos_in_time_are_refused_or_lack_a_p_value_with_too_little(panel):
    with pytest.raises(NotEstimable, match="too few lie before adoption"):
        estimate_placebo_in_time(panel, difference_in_differences, options=PlaceboTimeOptions(min_before=12))
    with pytest.raises(ParameterError, match="1 or more"):
        estimate_placebo_in_time(panel, difference_in_differences, options=PlaceboTimeOptions(min_after=0))
    few = estimate_placebo_in_time(panel.only(tuple(panel.units[:4])), difference_in_differences)
    assert few["effect"].notna().all()
    assert few["p_value"].isna().all()


@pytest.mark.parametrize("estimand", [ESTIMAND, DIFFERENCE])
def test_the_path_by_years_is_that_of_its_definition(panel, estimand):
    options = PlaceboEventStudyOptions(periods_per_step=4)
    found = estimate_placebo_event_study(panel, estimand, options=options)
    assert found.steps.tolist() == [-3, -2, 0, 1, 2]
    years = np.arange(24) // 4
    if estimand.scale == "rate_ratio":
        path = np.stack(
            [
                np.log((panel.outcome[:, years == y].sum(1) + 0.5) / panel.denominator[:, years == y].sum(1))
                for y in range(6)
            ],
            1,
        )
    else:
        path = np.stack([panel.values[:, years == y].mean(1) for y in range(6)], 1)
    change = path - path[:, [2]]
    expected = (change[0] - change[1:].mean(0))[[0, 1, 3, 4, 5]]
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.se == pytest.approx(np.sqrt(np.diag(found.covariance)))
    half = stats.t.ppf(0.975, 23) * found.se
    assert found.upper - found.value == pytest.approx(half)
    assert np.linalg.eigvalsh(found.covariance).min() > 0


def test_units_of_one_size_give_the_covariance_of_their_own_paths():
    """Without differences of size it is the sample covariance of untreated paths times 1 + 1/J."""
    rng = np.random.default_rng(2)
    panel = make_panel(rng, units=31, periods=12, adopted=6, mean=40)[0]
    alike = replace(panel, outcome=rng.normal(50, 5, panel.outcome.shape), denominator=np.ones_like(panel.outcome))
    found = estimate_placebo_event_study(alike, DIFFERENCE, options=PlaceboEventStudyOptions(periods_per_step=2))
    path = alike.outcome.reshape(31, 6, 2).mean(axis=2)
    change = np.delete(path - path[:, [2]], 2, axis=1)
    expected = np.cov(change[1:], rowvar=False) * (1 + 1 / 30)
    assert found.covariance == pytest.approx(expected)


@pytest.mark.parametrize("noise", ["poisson", "size"])
def test_a_small_treated_unit_has_a_larger_error(noise):
    panel = make_panel(np.random.default_rng(3), units=31, periods=24, adopted=12, mean=8, shock=0.02)[0]
    options = PlaceboEventStudyOptions(periods_per_step=4, noise=noise)
    se = []
    for factor in (0.3, 4):
        outcome, time = panel.outcome.copy(), panel.denominator.copy()
        time[0] = 100 * factor
        outcome[0] = np.round(8 * factor)
        found = estimate_placebo_event_study(
            replace(panel, outcome=outcome, denominator=time), ESTIMAND, options=options
        )
        se.append(found.se.mean())
    assert se[0] > 1.5 * se[1]


def test_the_path_is_refused_with_too_few_units_and_names_what_it_leaves_out(panel):
    with pytest.raises(NotEstimable, match="20 or more, and three or more a step"):
        estimate_placebo_event_study(panel.only(tuple(panel.units[:15])), ESTIMAND)
    with pytest.raises(NotEstimable, match="24 for 23 steps"):
        estimate_placebo_event_study(panel, ESTIMAND)
    with pytest.raises(NotEstimable, match="no whole step"):
        estimate_placebo_event_study(panel, ESTIMAND, options=PlaceboEventStudyOptions(periods_per_step=13))
    with pytest.raises(ParameterError) as caught:
        options = PlaceboEventStudyOptions(periods_per_step=0, level=2)
        estimate_placebo_event_study(panel, replace(ESTIMAND, scale="level_change"), options=options)
    assert len(caught.value.faults) == 3
    found = estimate_placebo_event_study(panel, ESTIMAND, options=PlaceboEventStudyOptions(periods_per_step=5))
    whole = next(c for c in found.checks if c.name == "whole_steps")
    assert whole.passed is False
    assert "-3, 2" in whole.text


def fixed(estimand, *, p_value=math.nan, lower=math.nan, upper=math.nan, status="shown", checks=()) -> Estimate:
    return Estimate(
        estimand, "fixed", "sensitivity", 0.5, lower, upper, 0.95, p_value=p_value, status=status, checks=checks
    )


def test_placebo_size_counts_rejections_and_refusals_apart(panel):
    def estimator(p: Panel) -> Estimate:
        unit = int(str(p.units[p.treated][0]).split()[-1])
        if unit % 4 == 0:
            raise NotEstimable(Fault("units", "a fourth of them are refused"))
        if unit % 4 == 1:
            return fixed(ESTIMAND, p_value=0.01)
        if unit % 4 == 2:
            return fixed(ESTIMAND, lower=0.9, upper=1.1)
        return fixed(ESTIMAND, checks=(Check("interval", False, math.nan, "no interval here"),))

    found = measure_placebo_size(panel, estimator, rng=np.random.default_rng(1), options=PlaceboSizeOptions(dates=1))
    assert (found.placebos, found.rejections, found.refusals) == (12, 6, 12)
    assert found.rate == 0.5
    assert (found.lower, found.upper) == pytest.approx(stats.binomtest(6, 12).proportion_ci(0.95, "exact"), rel=1e-9)
    assert any("refused" in r for r in found.reasons)
    assert "no interval here" in found.reasons
    assert found.check.passed is False
    assert "6 of 12" in found.text


def test_every_untreated_unit_stands_in_at_every_date_and_the_treated_never(panel):
    seen = []

    def estimator(p: Panel) -> Estimate:
        assert panel.units[0] not in p.units
        assert p.treated.sum() == 1
        seen.append((str(p.units[p.treated][0]), float(p.adoption[p.treated][0])))
        return fixed(ESTIMAND, p_value=0.5)

    found = measure_placebo_size(panel, estimator, rng=np.random.default_rng(1), options=PlaceboSizeOptions(dates=4))
    assert len(set(seen)) == len(seen) == 24 * 4
    assert {d for _, d in seen} == {4.0, 12.0, 20.0, *found.by_date["adoption"]}
    assert found.by_date["real"].sum() == 1
    assert found.rejections == 0
    assert found.lower == 0
    assert found.check.passed is True
    fewer = PlaceboSizeOptions(dates=4, placebos=10)
    assert measure_placebo_size(panel, estimator, rng=np.random.default_rng(1), options=fewer).placebos == 10


def test_the_size_of_a_permutation_test_is_near_its_level(panel):
    def estimator(p: Panel) -> Estimate:
        return estimate_rate_ratio_did(p, ESTIMAND, rng=np.random.default_rng(0))

    found = measure_placebo_size(panel, estimator, rng=np.random.default_rng(1), options=PlaceboSizeOptions(dates=1))
    # A permutation test rejects one unit in as many as there are, whatever the panel.
    assert found.rejections <= 1
    assert found.refusals == 0


def test_sets_of_several_units_are_drawn(panel):
    two = replace(panel, adoption=np.where(np.arange(25) < 2, 12.0, np.nan))

    def estimator(p: Panel) -> Estimate:
        assert p.treated.sum() == 2
        return fixed(ESTIMAND, p_value=0.01)

    found = measure_placebo_size(
        two, estimator, rng=np.random.default_rng(1), options=PlaceboSizeOptions(dates=1, placebos=20)
    )
    assert found.rejections == found.placebos <= 20


def test_placebo_size_refuses_what_leaves_nothing_and_says_when_all_are_refused(panel):
    def refuse(p: Panel) -> Estimate:
        raise NotEstimable(Fault("areas", "never"))

    rng = np.random.default_rng(1)
    found = measure_placebo_size(panel, refuse, rng=rng, options=PlaceboSizeOptions(dates=1))
    assert (found.placebos, found.refusals) == (0, 24)
    assert math.isnan(found.rate)
    assert found.check.passed is None
    with pytest.raises(ParameterError) as caught:
        measure_placebo_size(panel, refuse, rng=rng, options=PlaceboSizeOptions(dates=0, level=1.0))
    assert len(caught.value.faults) == 2
    with pytest.raises(NotEstimable, match="too few for a placebo date"):
        measure_placebo_size(panel, refuse, rng=rng, options=PlaceboSizeOptions(min_before=20, min_after=20))
    with pytest.raises(NotEstimable, match="too few untreated"):
        measure_placebo_size(panel.only(tuple(panel.units[:2])), refuse, rng=rng)
