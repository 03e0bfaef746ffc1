"""Discharges as follow-up: what happens on the day itself counts, and people count once in an error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.discharges import derive_first_return
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.survival.cumulative_incidence import compute_cumulative_incidence
from evalkit.estimators.survival.curve_contrasts import compute_risk_combination
from evalkit.estimators.survival.curves import compute_risk_at
from evalkit.estimators.survival.kaplan_meier import compute_censoring_weights


def rows(time, event, person=None) -> pd.DataFrame:
    people = np.arange(len(time)) if person is None else person
    return pd.DataFrame({"person_id": people, "time_days": time, "event": event})


def draw(n: int = 400, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    times = np.stack([rng.geometric(p, n) for p in (0.01, 0.002, 0.004)]) - 1
    return rows(times.min(axis=0), np.choose(times.argmin(axis=0), [1, 2, 0]))


def test_risk_by_hand():
    # Day 0: one of 4 is back; day 2: of 3 one dies; day 3: of 2 one leaves; day 4: one is back.
    curve = compute_cumulative_incidence(derive_first_return(rows([0, 2, 3, 4], [1, 2, 0, 1])))[0]
    assert compute_risk_at(curve, [0, 1, 2, 4, 5])["risk"].tolist() == pytest.approx([0, 1 / 4, 1 / 4, 1 / 4, 3 / 4])


def test_weights_restore_the_risk():
    """The weighted mean of 'back by day h' is the Aalen-Johansen risk (Satten and Datta 2001)."""
    found, horizon = draw(2000), 90
    risk = compute_risk_at(compute_cumulative_incidence(derive_first_return(found))[0], [horizon])["risk"][0]
    seen = (found["event"] > 0) & (found["time_days"] < horizon)
    cut = rows(np.where(seen, found["time_days"], np.minimum(found["time_days"], horizon)),
               np.where(seen, found["event"], 0))  # fmt: skip
    weights = compute_censoring_weights(derive_first_return(cut), horizon=horizon)
    assert (weights * (cut["event"] == 1)).mean() == pytest.approx(risk, abs=1e-12)
    assert weights.mean() == pytest.approx(1.0, abs=1e-12)


def test_a_combination_is_the_sum_of_its_parts():
    found = draw(600)
    names = pd.Series(np.repeat(["a", "b", "c"], 200))
    follow_up = derive_first_return(found, stratum=names)
    parts = {name: compute_risk_combination(follow_up, {name: 1.0}, at=90) for name in "abc"}
    value, se = compute_risk_combination(follow_up, {"a": 1, "b": -1, "c": -0.5}, at=90)
    assert value == pytest.approx(parts["a"][0] - parts["b"][0] - 0.5 * parts["c"][0])
    assert se**2 == pytest.approx(parts["a"][1] ** 2 + parts["b"][1] ** 2 + 0.25 * parts["c"][1] ** 2)


def test_the_same_people_on_both_sides_are_counted_once():
    """Everybody twice, once in each stratum with the same fate: the difference is nought and so is its error."""
    found = draw(200)
    twice = pd.concat([found, found], ignore_index=True)
    follow_up = derive_first_return(twice, stratum=pd.Series(np.repeat(["after", "before"], 200)))
    assert compute_risk_combination(follow_up, {"after": 1, "before": -1}, at=60) == pytest.approx((0, 0), abs=1e-12)


def test_a_horizon_that_nobody_reaches_is_refused():
    follow_up = derive_first_return(rows([5, 9, 12, 3], [1, 0, 0, 0]), stratum=pd.Series(["a", "a", "b", "b"]))
    with pytest.raises(NotEstimable, match="nobody of a is followed so far"):
        compute_risk_combination(follow_up, {"a": 1, "b": -1}, at=30)
    with pytest.raises(ParameterError, match="no such stratum"):
        compute_risk_combination(follow_up, {"z": 1}, at=3)
