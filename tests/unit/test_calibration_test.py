"""The score test of calibration against closed forms, its size, and the intervals that begin at 0 because of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from evalkit.risk.calibration import build_spline, place_knots
from evalkit.risk.calibration_test import DISTANCES, compute_calibration_test
from evalkit.risk.validate import validate_risk_model


def draw(rng: np.random.Generator, people: int, each: int) -> tuple[np.ndarray, ...]:
    """True risks, outcomes that agree within a person, and people."""
    risk = expit(np.repeat(rng.normal(-1.5, 0.8, people), each) + rng.normal(0, 0.3, people * each))
    luck = 0.7 * np.repeat(rng.normal(size=people), each) + math.sqrt(0.51) * rng.normal(size=people * each)
    return risk, (norm.cdf(luck) < risk).astype(float), np.repeat(np.arange(people), each)


def test_of_one_risk_it_is_the_test_of_a_share():
    outcome = np.repeat([1.0, 0.0], [30, 70])
    found = compute_calibration_test(np.full(100, 0.2), outcome, cluster=np.arange(100))
    assert found.df == 1
    assert found.statistic == pytest.approx((30 - 20) ** 2 / (100 * 0.2 * 0.8))
    assert found.p_value == pytest.approx(chi2.sf(6.25, 1))


def test_of_two_risks_it_is_the_sum_of_two():
    risk, outcome = np.repeat([0.1, 0.4], [200, 100]), np.zeros(300)
    outcome[:30], outcome[200:235] = 1, 1
    found = compute_calibration_test(risk, outcome, cluster=np.arange(300))
    assert found.df == 2
    assert found.statistic == pytest.approx((30 - 20) ** 2 / 18 + (35 - 40) ** 2 / 24)


def test_repeats_divide_it_by_their_design_effect():
    """Everybody twice, alike in all, is half the evidence that it seems."""
    rng = np.random.default_rng(3)
    risk, outcome, person = draw(rng, 400, 1)
    alone = compute_calibration_test(risk, outcome, cluster=person)
    twice = (np.tile(a, 2) for a in (risk, outcome))
    doubled = compute_calibration_test(*twice, cluster=np.tile(person, 2), knots=place_knots(risk))
    x = build_spline(logit(risk), place_knots(risk))
    variance = np.linalg.inv(x.T @ (x * (risk * (1 - risk))[:, None]))
    scores = x * (outcome - risk)[:, None]
    effect = np.trace(variance @ scores.T @ scores) / x.shape[1]
    assert doubled.df == alone.df == x.shape[1]
    assert doubled.statistic == pytest.approx(2 * alone.statistic / (2 * effect))


@pytest.mark.parametrize(("people", "each"), [(600, 1), (200, 3)])
def test_right_risks_are_called_wrong_once_in_twenty_and_extreme_ones_nearly_always(people, each):
    rng = np.random.default_rng(5)
    right, wrong = [], []
    for _ in range(400):
        risk, outcome, person = draw(rng, people, each)
        right.append(compute_calibration_test(risk, outcome, cluster=person).p_value)
        extreme = expit(1.6 * logit(risk))
        wrong.append(compute_calibration_test(extreme, outcome, cluster=person).p_value)
    assert np.mean(np.array(right) < 0.05) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)
    assert np.mean(np.array(wrong) < 0.05) > 0.85


def test_intervals_of_distances_hold_nought_where_every_risk_is_right():
    rng = np.random.default_rng(7)
    held = []
    for _ in range(60):
        risk, outcome, person = draw(rng, 400, 1)
        frame = validate_risk_model(risk, outcome, person=person, rng=rng, replicates=40).frame
        held.append([frame.loc[name, "lower"] <= 0 for name in DISTANCES])
    assert np.mean(held) > 0.88
    frame = validate_risk_model(expit(1.8 * logit(risk)), outcome, person=person, rng=rng, replicates=40).frame
    assert frame.loc["ici", "lower"] > 0


def test_there_is_none_for_sure_risks_or_hardly_any_people():
    rng = np.random.default_rng(1)
    risk, outcome, person = draw(rng, 50, 2)
    sure = np.where(np.arange(100) == 3, 1.0, risk)
    assert math.isnan(compute_calibration_test(sure, outcome, cluster=person).p_value)
    assert math.isnan(compute_calibration_test(risk, outcome, cluster=person % 3).p_value)
