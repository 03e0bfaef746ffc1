"""Recalibration: what each update does, which one is chosen, what is refused; and drift over calendar time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.risk.drift import DRIFT_MEASURES, DriftOptions, compute_drift
from evalkit.risk.recalibrate import (
    METHODS,
    RecalibrationOptions,
    apply_recalibration,
    choose_recalibration,
    fit_recalibration,
    predict_recalibrated,
)
from evalkit.risk.validate import compute_auroc

SLOPES = np.array([0.8, -0.5, 0.3, 0.0])


def draw(n: int, *, seed: int, intercept: float = 0.0, slope: float = 1.0, turned: bool = False):
    """Risks of a model and outcomes of a place where its intercept, slope or coefficients are others."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4))
    odds = -1.3 + x @ SLOPES
    truth = -1.3 + x @ SLOPES[::-1] if turned else intercept + slope * odds
    return expit(odds), (rng.random(n) < expit(truth)).astype(int), x, np.arange(n)


def chosen(n: int, *, seed: int = 1, **place) -> str:
    risk, outcome, x, person = draw(n, seed=seed, **place)
    return choose_recalibration(risk, outcome, person=person, design=x).method


# ---- updates -------------------------------------------------------------------------------------


def test_none_changes_nothing():
    risk, outcome, _, person = draw(500, seed=1)
    update = fit_recalibration(risk, outcome, method="none", person=person)
    assert update.terms == ()
    assert np.array_equal(apply_recalibration(update, risk), risk)


@pytest.mark.parametrize("method", METHODS[1:])
def test_updates_are_right_on_average_and_by_their_own_terms(method):
    risk, outcome, x, person = draw(3000, seed=2, intercept=0.7, slope=0.6)
    update = fit_recalibration(risk, outcome, method=method, person=person, design=x)
    after = apply_recalibration(update, risk, design=x)
    assert after.mean() == pytest.approx(outcome.mean(), abs=1e-9)
    if method != "intercept":
        assert (outcome - after) @ logit(risk) == pytest.approx(0, abs=1e-6)  # slope exactly 1 in its own data
    again = fit_recalibration(after, outcome, method="slope", person=person)
    expected = (0.0, 1.0) if method != "intercept" else (None, None)
    for found, wanted in zip(again.coefficients, expected, strict=True):
        assert wanted is None or found == pytest.approx(wanted, abs=1e-6)


def test_intervals_hold_the_truth_and_widen_with_level():
    risk, outcome, _, person = draw(4000, seed=3, intercept=0.7, slope=0.6)
    update = fit_recalibration(risk, outcome, method="slope", person=person)
    assert update.lower[1] < 0.6 < update.upper[1]
    wide = fit_recalibration(
        risk, outcome, method="slope", person=person, options=RecalibrationOptions(level=0.99)
    )  # fmt: skip
    assert wide.lower[1] < update.lower[1]


def test_copies_of_discharges_of_the_same_people_add_nothing():
    risk, outcome, x, person = draw(600, seed=4, intercept=0.4)
    once = fit_recalibration(risk, outcome, method="slope", person=person)
    risk3, outcome3, person3, x3 = (np.concatenate([part] * 3) for part in (risk, outcome, person, x))
    thrice = fit_recalibration(risk3, outcome3, method="slope", person=person3)
    np.testing.assert_allclose(once.se, thrice.se, rtol=1e-9)
    alone = choose_recalibration(risk, outcome, person=person, design=x)
    tied = choose_recalibration(risk3, outcome3, person=person3, design=x3)
    naive = choose_recalibration(risk3, outcome3, person=np.arange(1800), design=x3)
    for one, three, untied in zip(alone.tests, tied.tests, naive.tests, strict=True):
        assert three.df == one.df
        assert three.statistic == pytest.approx(one.statistic, rel=0.1)
        assert untied.statistic == pytest.approx(3 * one.statistic, rel=1e-6)


def test_a_model_that_is_no_sum_of_the_predictors_keeps_its_risks():
    risk, outcome, x, person = draw(2000, seed=5)
    bent = expit(logit(risk) + 0.3 * x[:, 0] ** 2)
    update = fit_recalibration(bent, outcome, method="reestimate", person=person, design=x)
    assert update.terms == ("intercept", "x0", "x1", "x2", "x3", "slope")
    doubled = np.column_stack([x, x.sum(axis=1)])
    same = fit_recalibration(risk, outcome, method="reestimate", person=person, design=doubled)
    assert same.terms == ("intercept", "x0", "x1", "x2", "x3")
    plain = fit_recalibration(risk, outcome, method="reestimate", person=person, design=x)
    np.testing.assert_allclose(
        apply_recalibration(same, risk, design=doubled), apply_recalibration(plain, risk, design=x), rtol=1e-9
    )


def test_honest_update_never_sees_the_person():
    risk, outcome, _, person = draw(800, seed=6, intercept=0.5)
    person = person // 2
    rng = np.random.default_rng(1)
    found = predict_recalibrated(risk, outcome, method="slope", person=person, rng=rng, folds=20)
    flipped = outcome.copy()
    flipped[:2] = 1 - flipped[:2]
    other = predict_recalibrated(risk, flipped, method="slope", person=person, rng=np.random.default_rng(1), folds=20)
    np.testing.assert_allclose(found[:2], other[:2], rtol=1e-12)  # their own outcomes do not reach them
    assert not np.allclose(found[2:], other[2:], rtol=1e-9)


# ---- choice --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "method"),
    [
        ({}, "none"),
        ({"intercept": 0.8}, "intercept"),
        ({"intercept": -0.5, "slope": 0.5}, "slope"),
        ({"turned": True}, "reestimate"),
    ],
)
def test_the_least_change_that_the_place_needs(place, method):
    assert chosen(4000, **place) == method


def test_a_model_that_fits_is_mostly_left_alone():
    kept = np.mean([chosen(400, seed=seed) == "none" for seed in range(100, 220)])
    assert abs(kept - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 120) + 0.01


def test_small_samples_are_held_against_a_line_only():
    risk, outcome, x, person = draw(150, seed=7)
    found = choose_recalibration(risk, outcome, person=person, design=x)
    assert found.largest == "slope"
    assert [test.df for test in found.tests] == [2, 1]
    assert [(check.name, check.passed) for check in found.checks] == [("events_to_reestimate", False)]
    assert found.checks == choose_recalibration(risk, outcome, person=person, design=x).checks
    assert choose_recalibration(risk, outcome, person=person).checks == ()


# ---- refusals ------------------------------------------------------------------------------------


def test_few_events_are_refused_without_their_count():
    risk, outcome = np.linspace(0.05, 0.3, 60), np.r_[np.ones(9), np.zeros(51)]
    for refused in (fit_recalibration, choose_recalibration):
        with pytest.raises(NotEstimable, match="fewer than 10"):
            refused(risk, outcome, person=np.arange(60), **({"method": "none"} if "fit" in refused.__name__ else {}))


def test_hungry_and_separated_updates_are_refused():
    risk, outcome, x, person = draw(150, seed=7)
    with pytest.raises(NotEstimable, match="too few events to re-estimate"):
        fit_recalibration(risk, outcome, method="reestimate", person=person, design=x)
    split = np.where(outcome == 1, 0.6, 0.2)
    with pytest.raises(NotEstimable, match="separate"):
        fit_recalibration(split, outcome, method="slope", person=person)
    with pytest.raises(NotEstimable, match="the same for everybody"):
        choose_recalibration(np.full(150, 0.2), outcome, person=person)
    with pytest.raises(NotEstimable, match="one person's"):
        choose_recalibration(risk, outcome, person=np.zeros(150))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"risk": np.r_[0.0, np.full(99, 0.2)]}, "no log-odds"),
        ({"risk": np.full(100, 1.2)}, "below 0 or above 1"),
        ({"risk": np.full(99, 0.2)}, "one shape"),
        ({"outcome": np.full(100, 2)}, "other values"),
        ({"person": np.array([None] * 100)}, "person: is missing"),
        ({"method": "slopes"}, 'Did you mean "slope"'),
        ({"method": "reestimate"}, "design: is needed"),
        ({"design": np.ones((3, 2))}, r"design: must be finite numbers of shape \(n, k\)"),
        ({"options": RecalibrationOptions(level=2)}, "level"),
        ({"options": RecalibrationOptions(min_events_per_parameter=0)}, "min_events_per_parameter"),
    ],
)
def test_faulty_arguments(change, message):
    given = {
        "risk": np.linspace(0.1, 0.4, 100), "outcome": np.arange(100) % 4 == 0, "method": "slope",
        "person": np.arange(100),
    } | change  # fmt: skip
    with pytest.raises(ParameterError, match=message):
        fit_recalibration(given.pop("risk"), given.pop("outcome"), **given)


def test_application_refuses_another_design():
    risk, outcome, x, person = draw(3000, seed=8)
    update = fit_recalibration(risk, outcome, method="reestimate", person=person, design=x)
    for design in (None, x[:, :2], x[:5], np.full_like(x, np.nan)):
        with pytest.raises(ParameterError, match="design"):
            apply_recalibration(update, risk, design=design)
    with pytest.raises(ParameterError, match="strictly between"):
        apply_recalibration(update, np.r_[1.0, risk[1:]], design=x)


# ---- drift ---------------------------------------------------------------------------------------


def years(shifts: list[float], *, n: int = 1500, slope: float = 1.0):
    parts = [draw(n, seed=10 + k, intercept=shift, slope=slope) for k, shift in enumerate(shifts)]
    time = np.concatenate([np.datetime64(f"{2012 + k}-06-01") + np.arange(n) % 180 for k in range(len(shifts))])
    risk, outcome = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return risk, outcome, np.arange(len(risk)), time


@pytest.mark.parametrize(
    ("shifts", "verdict"),
    [
        ([0, 0, 0, 0], "keep"),
        ([0, 0, 0, 0.6], "watch"),
        ([0, 0.6, 0, 0], "keep"),
        ([0, 0, 0.6, 0.6], "recalibrate"),
        ([0, 0, 0.6, -0.6], "watch"),
        ([0.6], "watch"),
    ],
)
def test_the_rule_asks_for_two_periods_in_a_row(shifts, verdict):
    risk, outcome, person, time = years(shifts)
    found = compute_drift(risk, outcome, person=person, time=time)
    assert found.verdict == verdict
    assert [period.label for period in found.periods] == [str(2012 + k) for k in range(len(shifts))]


def test_a_slope_that_drifts_is_told():
    risk, outcome, person, time = years([-0.6, -0.6], slope=0.5)
    found = compute_drift(risk, outcome, person=person, time=time)
    assert found.verdict == "recalibrate"
    assert "the calibration slope" in found.reason


def test_drift_measures_by_hand():
    risk, outcome, person, time = years([0.2, 0.0])
    person = person // 3
    first = compute_drift(risk, outcome, person=person, time=time).periods[0]
    y, p, who = outcome[:1500], risk[:1500], person[:1500]
    ratio = y.sum() / p.sum()
    sums = np.bincount(who, y - ratio * p)
    se = math.sqrt(500 / 499 * np.sum(sums**2)) / y.sum()
    assert first.values[0] == pytest.approx(ratio)
    assert first.upper[0] == pytest.approx(ratio * math.exp(1.959963984540054 * se))
    assert first.values[2] == pytest.approx(compute_auroc(p, y, cluster=who)[0])
    assert first.lower[2] < first.values[2] < first.upper[2]
    assert len(first.values) == len(DRIFT_MEASURES)
    assert (first.n_discharges, first.n_people, first.n_events) == (1500, 500, y.sum())


def test_periods_with_few_events_are_refused_by_name():
    risk, outcome, person, time = years([0, 0])
    outcome[1500:][np.flatnonzero(outcome[1500:])[9:]] = 0
    found = compute_drift(risk, outcome, person=person, time=time)
    assert found.periods[0].refusal == ""
    assert "period 2013: too few discharges" in found.periods[1].refusal
    assert np.isnan(found.periods[1].values).all()
    assert found.reason.startswith("In 2012")
    with pytest.raises(NotEstimable, match="period 2013"):
        compute_drift(risk[1500:], outcome[1500:], person=person[1500:], time=time[1500:])


def test_quarters_halves_and_faults():
    risk, outcome, person, time = years([0, 0])
    halves = compute_drift(risk, outcome, person=person, time=time, options=DriftOptions(period="half_year"))
    assert [p.label for p in halves.periods] == ["2012 H1", "2012 H2", "2013 H1", "2013 H2"]
    quarters = compute_drift(risk, outcome, person=person, time=time, options=DriftOptions(period="quarter"))
    assert [p.label for p in quarters.periods][:3] == ["2012 Q2", "2012 Q3", "2012 Q4"]
    with pytest.raises(ParameterError) as caught:
        options = DriftOptions(period="month", level=0, observed_expected=0.5, slope=-1)
        compute_drift(risk, outcome, person=person, time=person, options=options)
    assert [f.where for f in caught.value.faults] == ["period", "level", "time", "observed_expected", "slope"]
