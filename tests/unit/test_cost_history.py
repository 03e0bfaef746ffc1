"""What a cost history takes, what it refuses, and how it counts the days of a record."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.cost_history import CostHistory, compute_costs_until, compute_running_costs
from evalkit.core.errors import ParameterError
from tests.cost_histories import build

PEOPLE = pd.DataFrame({"id": ["a", "b", "c"], "end": [100.0, 50.0, 80.0], "complete": [1, 0, 1]})
RECORDS = pd.DataFrame({"id": ["a", "a", "b"], "start": [0, 40, 10], "stop": [10, 40, 50], "cost": [100.0, 7.0, 80.0]})
NAMES = {"person": "id", "follow_up": "end", "complete": "complete", "start": "start", "stop": "stop", "cost": "cost"}


def read(people: pd.DataFrame = PEOPLE, records: pd.DataFrame = RECORDS, **options: object) -> CostHistory:
    return CostHistory.from_frames(people, records, **(NAMES | options))


def test_a_person_without_records_costs_nothing():
    history = read()
    assert len(history) == 3
    assert compute_costs_until(history, history.follow_up_days).tolist() == [107.0, 80.0, 0.0]


@pytest.mark.parametrize(
    ("day", "half_open", "inclusive"), [(0, 0, 1 / 11), (5, 0.5, 6 / 11), (9, 0.9, 10 / 11), (10, 1, 1), (99, 1, 1)]
)
def test_a_record_is_spent_evenly_over_its_days(day, half_open, inclusive):
    for days, share in (("half_open", half_open), ("inclusive", inclusive)):
        history = read(records=RECORDS.head(1), days=days)
        assert compute_costs_until(history, np.full(3, float(day)))[0] == pytest.approx(100 * share)
        assert compute_running_costs(history, np.array([float(day)]))[0, 0] == pytest.approx(100 * share)


def test_a_record_that_stops_where_it_starts_is_spent_at_that_moment():
    history = read(records=RECORDS.iloc[[1]])
    assert compute_running_costs(history, np.array([39.0, 40.0, 41.0]))[0].tolist() == [0.0, 7.0, 7.0]


@pytest.mark.parametrize("days", ["half_open", "inclusive"])
def test_running_costs_are_those_until_each_day(days):
    rng = np.random.default_rng(1)
    start = rng.integers(0, 60, 200)
    records = pd.DataFrame({
        "id": rng.choice(["a", "b", "c"], 200), "start": start, "stop": start + rng.integers(0, 20, 200),
        "cost": rng.gamma(1, 100, 200),
    })  # fmt: skip
    history = read(PEOPLE.assign(end=100.0), records, days=days)
    at = np.array([0.0, 1, 13, 40, 59.5, 100])
    each = np.column_stack([compute_costs_until(history, np.full(3, day)) for day in at])
    assert compute_running_costs(history, at) == pytest.approx(each, rel=1e-11, abs=1e-9)


def test_periods_are_records_cut_at_the_end_of_follow_up():
    costs = np.array([[10.0, 20.0], [30.0, 0.0], [5.0, 6.0]])
    history = CostHistory.from_periods(
        PEOPLE, costs, bounds_days=[0, 50, 100], follow_up="end", complete="complete", person="id"
    )
    assert history.recorded_days == 100
    assert compute_costs_until(history, np.full(3, 65.0)).tolist() == [16.0, 30.0, 8.0]
    assert compute_costs_until(history, history.follow_up_days).tolist() == [30.0, 30.0, 11.0]


def test_a_period_after_the_follow_up_may_be_missing():
    costs = np.array([[10.0, 20.0], [30.0, np.nan], [5.0, 6.0]])
    history = CostHistory.from_periods(PEOPLE, costs, bounds_days=[0, 50, 100], follow_up="end", complete="complete")
    assert compute_costs_until(history, history.follow_up_days).tolist() == [30.0, 30.0, 11.0]


def faults(error: pytest.ExceptionInfo[ParameterError]) -> str:
    return "\n".join(fault.text for fault in error.value.faults)


def test_everything_wrong_is_told_at_once():
    people = pd.concat([PEOPLE, PEOPLE.head(1)]).assign(complete=[1, 2, 0, 1], end=[100.0, -1.0, 80.0, 100.0])
    records = RECORDS.assign(cost=[-1.0, np.nan, 3.0])
    with pytest.raises(ParameterError) as error:
        read(people, records)
    told = faults(error)
    for part in ("other values", "no follow-up", "stands in the frame twice", "missing, infinite or not a number"):
        assert part in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cost": [-1.0, 7.0, 80.0]}, "negative cost"),
        ({"cost": [np.inf, 7.0, 80.0]}, "missing, infinite"),
        ({"id": ["a", "a", "z"]}, "not in the frame of people"),
        ({"stop": [10, 39, 50]}, "stop before they start"),
        ({"start": [-1, 40, 10]}, "before day 0"),
        ({"stop": [10, 40, 51]}, "after the person's follow-up"),
    ],
)
def test_bad_records_are_refused(change, words):
    with pytest.raises(ParameterError) as error:
        read(records=RECORDS.assign(**change))
    assert words in faults(error)
    assert "fewer than 10" in faults(error)


def test_all_faults_of_records_stand_together():
    with pytest.raises(ParameterError) as error:
        read(records=RECORDS.assign(cost=[-1.0, 7.0, 80.0], id=["a", "a", "z"], stop=[10, 39, 50]))
    assert len(error.value.faults) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"end": [100.0, 0.0, 80.0]}, "no follow-up"),
        ({"end": [np.nan, 50.0, 80.0]}, "missing"),
        ({"complete": [1, 0, 3]}, "other values"),
        ({"id": ["a", "b", "b"]}, "twice"),
        ({"id": ["a", "b", None]}, "empty"),
    ],
)
def test_bad_people_are_refused(change, words):
    with pytest.raises(ParameterError) as error:
        read(PEOPLE.assign(**change))
    assert words in faults(error)


def test_dates_for_follow_up_are_refused_once():
    with pytest.raises(ParameterError) as error:
        read(PEOPLE.assign(end=pd.Timestamp("2015-04-01")))
    assert len(error.value.faults) == 1


def test_columns_missing_of_both_frames_are_told_together():
    with pytest.raises(ParameterError) as error:
        read(PEOPLE.drop(columns="end"), RECORDS.drop(columns="cost"))
    assert len(error.value.faults) == 2


def test_bad_weights_and_days_are_refused():
    with pytest.raises(ParameterError, match="positive"):
        read(PEOPLE.assign(w=[1.0, 0.0, 1.0]), weights="w")
    with pytest.raises(ParameterError, match="half_open"):
        read(days="halfopen")
    with pytest.raises(ParameterError, match="one value a person"):
        read().with_weights(np.ones(2))
    with pytest.raises(ParameterError, match="positive"):
        read().with_weights(np.array([1.0, np.nan, 1.0]))


@pytest.mark.parametrize(
    ("costs", "bounds", "words"),
    [
        ([[1, 2], [3, 4], [5, 6]], [0, 50, 100], "after the person's follow-up"),
        ([[1, 2], [-3, 0], [5, 6]], [0, 50, 100], "negative"),
        ([[1, 2], [np.nan, 0], [5, 6]], [0, 50, 100], "missing"),
        ([[1, 2], [3, 0]], [0, 50, 100], "one cost a person and period"),
        ([[1, 2], [3, 0], [5, 6]], [0, 100, 50], "rise"),
        ([[1, 2], [3, 0], [5, 6]], [10, 50, 100], "rise from 0"),
    ],
)
def test_bad_periods_are_refused(costs, bounds, words):
    with pytest.raises(ParameterError, match=words):
        CostHistory.from_periods(
            PEOPLE, np.array(costs, dtype=float), bounds_days=bounds, follow_up="end", complete="complete"
        )


def test_selected_people_keep_their_records():
    history = build([9, 9, 9], [1, 1, 1], [(0, 0, 1, 1.0), (2, 0, 1, 3.0), (1, 0, 1, 2.0)], group=["p", "q", "q"])
    some = history.select(np.array([False, True, True]))
    assert compute_costs_until(some, some.follow_up_days).tolist() == [2.0, 3.0]
    assert some.group.tolist() == [1, 1]
    turned = history.select(np.array([2, 0]))
    assert compute_costs_until(turned, turned.follow_up_days).tolist() == [3.0, 1.0]
    with pytest.raises(ParameterError, match="twice"):
        history.select(np.array([0, 0]))
