"""Follow-up, histories and comparisons: what they refuse, all at once, without showing a row."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.history import STAYED, EventHistory
from evalkit.core.errors import NotEstimable, ParameterError

STATES = ("ward", "home", "dead")


def intervals(**changed) -> pd.DataFrame:
    rows = {"who": ["a", "a", "b", "c"], "begin": [0, 5, 0, 2], "end": [5, 9, 7, 4], "event": [1, 0, 2, 0]}
    return pd.DataFrame(rows | changed)


def follow(df: pd.DataFrame, **options) -> FollowUp:
    given = {"entry": "begin", "exit": "end", "event": "event", "person": "who", "causes": ("back", "death")}
    return FollowUp.from_frame(df, **(given | options))


def moves(**changed) -> pd.DataFrame:
    rows = {
        "who": ["a", "a", "b"], "begin": [0, 5, 0], "end": [5, 9, 7], "from": ["ward", "home", "ward"],
        "to": ["home", "dead", ""],
    }  # fmt: skip
    return pd.DataFrame(rows | changed)


def history(df: pd.DataFrame, **options) -> EventHistory:
    given = {"person": "who", "start": "begin", "stop": "end", "from_state": "from", "to_state": "to",
             "states": STATES, "absorbing": ("dead",)}  # fmt: skip
    return EventHistory.from_frame(df, **(given | options))


def test_follow_up_holds_what_the_frame_says():
    found = follow(intervals())
    assert found.event.tolist() == [1, 0, 2, 0]
    assert (found.n_people, found.n_events(1), found.n_events(2)) == (3, 1, 1)
    assert found.cluster.tolist() == found.person.tolist() == [0, 0, 1, 2]
    assert len(found.select(found.event == 0)) == 2


def test_causes_may_be_named():
    assert follow(intervals(event=["back", None, "death", ""])).event.tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"end": [0, 9, 7, 4]}, "have no length"),
        ({"end": [5, 5, 7, 4]}, "have no length"),
        ({"end": [-3, 9, 7, 4]}, "before they begin"),
        ({"begin": [0, 3, 0, 2]}, "begin before the same person's row before them ends"),
        ({"begin": [0, 5, np.nan, 2]}, "missing, infinite"),
        ({"end": [5, 9, np.inf, 4]}, "missing, infinite"),
        ({"event": [1, 0, 3, 0]}, "hold another code"),
        ({"event": [1, 0, 0.5, 0]}, "hold another code"),
        ({"event": ["back", "", "fled", ""]}, "hold another code"),
        ({"who": ["a", "a", None, "c"]}, "are empty"),
    ],
)
def test_follow_up_refuses(changed, words):
    with pytest.raises(ParameterError, match=words) as refusal:
        follow(intervals(**changed))
    assert "fewer than 10 rows" in str(refusal.value)


@pytest.mark.parametrize("weight", [0.0, -1.0, np.inf, np.nan])
def test_weights_are_positive_and_finite(weight):
    df = intervals().assign(w=[1.0, 1.0, weight, 1.0])
    with pytest.raises(ParameterError, match="w:"):
        follow(df, weights="w")
    with pytest.raises(ParameterError, match="weights"):
        follow(intervals()).with_weights(df["w"].to_numpy())


def test_every_fault_is_told_at_once():
    with pytest.raises(ParameterError) as refusal:
        follow(intervals(begin=[0, 5, np.nan, 2], event=[1, 0, 9, 0], who=["a", "a", None, "c"]))
    assert len(refusal.value.faults) == 3


def test_a_missing_column_names_the_nearest():
    with pytest.raises(ParameterError, match='Did you mean "begin"'):
        follow(intervals(), entry="begins")


def test_no_row_is_shown():
    secret = "NHS 943 476 5919"
    with pytest.raises(ParameterError) as refusal:
        follow(intervals(who=[secret, secret, "b", "c"], begin=[0, 3, 0, 2]))
    assert secret not in str(refusal.value)
    assert "finds them" in str(refusal.value)


def test_rows_of_one_person_may_overlap_in_different_strata():
    df = intervals(begin=[0, 0, 0, 2]).assign(layer=[1, 2, 1, 1])
    assert len(follow(df, stratum="layer")) == 4
    with pytest.raises(ParameterError):
        follow(df)


def test_text_becomes_indicators_with_the_first_as_reference():
    found = follow(intervals().assign(kind=["b", "a", "c", "a"], age=[1, 2, 3, 4]), covariates=("kind", "age"))
    assert found.names == ("kind=b", "kind=c", "age")
    assert found.covariates[:, :2].tolist() == [[1, 0], [0, 0], [0, 1], [0, 0]]


def test_history_holds_what_the_frame_says():
    found = history(moves())
    assert found.from_state.tolist() == [0, 1, 0]
    assert found.to_state.tolist() == [1, 2, STAYED]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"from": ["ward", "hmoe", "ward"]}, 'not listed.*hmoe.*Did you mean "home"'),
        ({"from": ["ward", None, "ward"]}, "not listed"),
        ({"to": ["home", "ward", "moon"]}, "not listed"),
        ({"to": ["ward", "dead", ""]}, "a move that cannot happen.*ward to ward"),
        ({"to": ["dead", "ward", ""], "from": ["ward", "dead", "ward"]}, "begin in an absorbing state"),
        ({"from": ["ward", "ward", "ward"]}, "begin in another state"),
        ({"begin": [0, 4, 0]}, "begin before the same person's row"),
        ({"end": [0, 9, 7]}, "have no length"),
        ({"end": [5, 9, np.nan]}, "missing, infinite"),
    ],
)
def test_history_refuses(changed, words):
    with pytest.raises(ParameterError, match=words):
        history(moves(**changed))


def test_history_knows_which_moves_can_happen():
    allowed = {"ward": ("home", "dead"), "home": ("ward",)}
    with pytest.raises(ParameterError, match="home to dead"):
        history(moves(), allowed=allowed)
    with pytest.raises(ParameterError, match="not among the states"):
        history(moves(), allowed={"ward": ("moon",)})


def test_states_are_listed_once():
    with pytest.raises(ParameterError, match="each once"):
        history(moves(), states=("ward", "home", "home", "dead"))
    with pytest.raises(ParameterError, match="absorbing"):
        history(moves(), absorbing=("gone",))


def two_sides(**changed) -> pd.DataFrame:
    rows = {"t": [1, 1, 0, 0], "x": [1.0, 2.0, 3.0, 4.0], "y": [0, 1, 0, 1], "g": ["a", "b", "a", "b"]}
    return pd.DataFrame(rows | changed)


def test_a_comparison_holds_both_sides():
    found = Comparison.from_frame(two_sides(), treatment="t", covariates=("x", "g"), outcome="y")
    assert found.treated.tolist() == [True, True, False, False]
    assert found.names == ("x", "g=b")
    assert found.before is None
    assert found.select(found.covariates[:, 0] > 1).outcome.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("changed", "options", "words"),
    [
        ({"t": [1, 2, 0, 0]}, {}, "other values"),
        ({"x": [1.0, np.nan, 3.0, 4.0]}, {}, "x: fewer than 10 rows"),
        ({"g": ["a", None, "a", "b"]}, {}, "g: fewer than 10 rows are empty"),
        ({"y": [0, np.inf, 0, 1]}, {}, "y: "),
        ({}, {"covariates": ("x", "y")}, "cannot be a covariate"),
        ({}, {"covariates": ("x", "x")}, "cannot be a covariate"),
        ({"w": [1, 0, 1, 1]}, {"sampling": "w"}, "w: .* not positive"),
        ({"w": [1, -2, 1, 1]}, {"person_time": "w"}, "w: .* not positive"),
        ({}, {"outcome": "z"}, 'no column "z"'),
    ],
)
def test_a_comparison_refuses(changed, options, words):
    given = {"treatment": "t", "covariates": ("x", "g"), "outcome": "y"}
    with pytest.raises(ParameterError, match=words):
        Comparison.from_frame(two_sides(**changed), **(given | options))


def test_one_side_without_people_is_not_estimable():
    with pytest.raises(NotEstimable, match="one side"):
        Comparison.from_frame(two_sides(t=[0, 0, 0, 1]), treatment="t", covariates=("x",))
