"""Messy extracts and misspelt options set on people over time: the right number or a named refusal, never another."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.after_discharge import AfterDischarge, derive_admission_follow_up
from evalkit.cohort.comparison import Comparison
from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import design_columns
from evalkit.cohort.pathway import build_day_history
from evalkit.core.errors import ParameterError
from evalkit.estimators.survival.cox import CoxOptions, estimate_hazard_ratio, fit_cox
from evalkit.estimators.survival.cumulative_incidence import (
    IncidenceOptions,
    compute_cumulative_incidence,
)
from evalkit.estimators.survival.curve_contrasts import ContrastOptions
from evalkit.estimators.survival.curves import compute_curve_at, compute_risk_at
from evalkit.estimators.survival.fine_gray import (
    FineGrayOptions,
    estimate_subdistribution_ratio,
    fit_fine_gray,
)
from evalkit.estimators.survival.gray import compute_gray_test
from evalkit.estimators.survival.kaplan_meier import SurvivalOptions, compute_survival
from evalkit.estimators.survival.log_rank import LogRankOptions, compute_log_rank
from evalkit.estimators.survival.mean_count import (
    MeanCountOptions,
    compute_mean_count,
)
from evalkit.estimators.survival.multistate import compute_expected_time, estimate_state_probabilities
from evalkit.estimators.survival.multistate_fit import StateOptions
from evalkit.estimators.survival.multistate_rows import (
    TransitionOptions,
    build_transition_rows,
)
from evalkit.estimators.survival.occupancy import (
    compute_days_table,
    compute_occupancy_effect,
    estimate_occupancy_difference,
)
from evalkit.estimators.survival.parametric import ParametricOptions, fit_parametric
from evalkit.estimators.survival.recurrent import RecurrentOptions, derive_event_numbers, estimate_recurrent
from evalkit.estimators.survival.restricted_mean import RestrictedMeanOptions, estimate_restricted_means
from evalkit.estimators.survival.transition_hazards import (
    compute_transition_probabilities,
    estimate_transition_hazards,
)
from tests.attack_people import STATES, asked, grouped, history, moves, people, risk_difference
from tests.curve_people import draw_recurrent, follow

ORIGIN = pd.Timestamp("2020-01-01")


# ---- what a column holds --------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["entry", "exit", "weight", "x"])
@pytest.mark.parametrize(
    "dated",
    [
        lambda days: ORIGIN + pd.to_timedelta(days, unit="D"),
        lambda days: (ORIGIN + pd.to_timedelta(days, unit="D")).dt.tz_localize("UTC"),
        lambda days: pd.to_timedelta(days, unit="D"),
        lambda days: (ORIGIN + pd.to_timedelta(days, unit="D")).dt.to_period("D"),
        lambda days: (ORIGIN + pd.to_timedelta(days, unit="D")).dt.date,
    ],
)
def test_dates_are_not_turned_into_nanoseconds(column: str, dated: Callable[[pd.Series], pd.Series]):
    df = people()
    df[column] = dated(df["exit"].round())
    with pytest.raises(ParameterError, match=f"{column}: it holds dates.*Count days from a date"):
        grouped(df, weights="weight")


def test_dates_are_refused_in_histories_and_comparisons():
    df = moves()
    with pytest.raises(ParameterError, match="2 faults"):
        history(df.assign(begin=ORIGIN + pd.to_timedelta(df["begin"], unit="D"), end=ORIGIN))
    with pytest.raises(ParameterError, match="exit: it holds dates"):
        Comparison.from_frame(people().assign(exit=dt.date(2020, 1, 1)), treatment="z", covariates=("x",),
                              outcome="exit")  # fmt: skip


@pytest.mark.parametrize(
    ("held", "codes"),
    [
        ([True, False, None, True], [1, 0, 0, 1]),
        (pd.array([True, False, None, True], dtype="boolean"), [1, 0, 0, 1]),
        (pd.array([1, 0, None, 2], dtype="Int64"), [1, 0, 0, 2]),
        (np.array([1, 0, None, 2], dtype=object), [1, 0, 0, 2]),
        (pd.Categorical([1, 0, 0, 2], categories=[2, 1, 0, 9]), [1, 0, 0, 2]),
        (pd.Categorical(["death", None, "censored", "readmission"]), [2, 0, 0, 1]),
        ([None, None, None, None], [0, 0, 0, 0]),
    ],
)
def test_events_are_read_alike_from_every_kind_of_column(held: object, codes: list[int]):
    df = pd.DataFrame({"person": range(4), "entry": 0, "exit": 5, "event": held})
    assert follow(df).event.tolist() == codes


def test_events_that_are_dates_are_no_events():
    with pytest.raises(ParameterError, match="another code"):
        follow(people().assign(event=pd.Series([pd.NaT] * 200)))


@pytest.mark.parametrize("causes", ["death", (), ("a", "a"), ("censored", "a"), ("", "a"), (1, 2)])
def test_causes_are_different_names(causes: object):
    with pytest.raises(ParameterError, match="causes: a list of different names"):
        follow(people(), causes=causes)


def test_a_name_never_stands_for_two_covariates():
    df = people().assign(**{"kind=q": 1.0})
    for covariates in (("kind=q", "kind"), ("x", "x")):
        with pytest.raises(ParameterError, match="two covariates have this name"):
            follow(df, covariates=covariates)


@pytest.mark.parametrize("name", ["exit", "event", "person"])
def test_the_outcome_is_no_covariate(name: str):
    with pytest.raises(ParameterError, match=f"{name}: this column cannot be a covariate"):
        follow(people(), covariates=(name,))


def test_names_of_people_do_not_become_names_of_covariates():
    secret = [f"943 476 {k}" for k in range(200)]
    with pytest.raises(ParameterError, match="it names people") as refusal:
        follow(people().assign(number=secret), covariates=("number",))
    assert "943" not in str(refusal.value)
    with pytest.raises(ParameterError, match="not listed") as refusal:
        history(moves().assign(**{"from": "943 476 5919"}))
    assert "943" not in str(refusal.value)


def test_numbers_in_a_column_of_objects_are_numbers():
    df = pd.DataFrame({"a": np.array([1, 2.5, 3], dtype=object), "b": np.array([True, False, True], dtype=object)})
    matrix, names, faults = design_columns(df, ("a", "b"))
    assert (names, faults) == (("a", "b"), [])
    assert matrix.tolist() == [[1, 1], [2.5, 0], [3, 1]]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"x": 1e200}, "too large to be squared"),
        ({"x": 1 + 1j}, "complex"),
        ({"x": [[1]] * 200}, "several kinds"),
        ({"group": [1, "a", (2, 3), dt.date(2020, 1, 1)] * 50}, "cannot be told apart or put in order"),
        ({"person": [[1]] * 200}, "cannot be told apart or put in order"),
    ],
)
def test_what_cannot_be_used_is_named(changed: dict, words: str):
    with pytest.raises(ParameterError, match=words):
        grouped(people().assign(**changed))


def test_what_is_no_frame_or_column_is_named():
    with pytest.raises(ParameterError, match="DataFrame is wanted"):
        follow({"exit": [1]})
    with pytest.raises(ParameterError, match="there is no column"):
        FollowUp.from_frame(people(), exit=7, event="event")
    with pytest.raises(ParameterError, match="a list of numbers"):
        follow(people()).with_weights(np.array(["a"] * 200))


# ---- histories ------------------------------------------------------------------------------------


def test_nobody_comes_back_from_an_absorbing_state_after_a_gap():
    df = pd.DataFrame({"who": [0, 0], "begin": [0, 9], "end": [5, 12], "from": ["ward", "home"], "to": ["dead", ""]})
    with pytest.raises(ParameterError, match="after the same person's move into an absorbing state"):
        history(df)


def test_a_person_is_in_one_stratum():
    with pytest.raises(ParameterError, match="another stratum than the same person's row"):
        history(moves().assign(cell=lambda df: np.arange(len(df)) % 4), stratum="cell")


@pytest.mark.parametrize("states", ["ward", (0, 1, 2), ("ward", "home", "dead", "")])
def test_states_are_names(states: object):
    with pytest.raises(ParameterError, match="lists of names"):
        history(states=states)


def test_histories_may_be_shuffled_and_people_of_mixed_kinds():
    df = moves()
    mixed = df.assign(who=[int(k) if k % 2 else str(k) for k in df["who"]]).sample(frac=1, random_state=1)
    first = estimate_state_probabilities(history(df), at=[20.0])[0]
    second = estimate_state_probabilities(history(mixed.set_index(np.zeros(len(df), dtype=int))), at=[20.0])[0]
    np.testing.assert_allclose(second.probability, first.probability, rtol=1e-12)
    np.testing.assert_allclose(second.se, first.se, rtol=1e-10)


def test_text_times_are_sorted_as_numbers():
    df = moves()
    found = history(df.assign(begin=df["begin"].astype(str)))
    assert found.start.tolist() == history(df).start.tolist()


@pytest.mark.parametrize(
    ("days", "states", "words"),
    [
        (np.array([[0, 7]]), STATES, "no place in the states"),
        (np.array([[0.0, 1.0]]), STATES, "whole numbers"),
        (np.array([[0, 1]]), ("in", "out"), "wanted for death"),
        (np.array([[0, 1], [0, 1]]), STATES, "one row a row of days"),
    ],
)
def test_days_that_are_no_states_are_refused(days: np.ndarray, states: tuple[str, ...], words: str):
    with pytest.raises(ParameterError, match=words):
        build_day_history(days, states, pd.DataFrame({"person_id": ["a"], "cell": [0]}))


def test_a_death_the_day_after_an_admission_is_not_swallowed_by_it():
    rows = pd.DataFrame({
        "person_id": ["a", "b", "c"], "cell": 0, "treated": True, "period": "after", "exit_days": [10, 10, 10],
        "died": [True, False, True],
    })  # fmt: skip
    admissions = pd.DataFrame({"row": [0, 1], "day": [9, 9]})
    after = AfterDischarge(rows, admissions, pd.DataFrame({"row": [], "start": [], "end": []}), 30)
    found = derive_admission_follow_up(after)
    assert list(zip(found.person, found.entry, found.exit, found.event, strict=True)) == [
        (0, 0, 10, 1), (0, 10, 10.5, 2), (1, 0, 10, 1), (2, 0, 10, 2),
    ]  # fmt: skip
    for weights in (np.array([1.0, -1.0, 1.0]), np.array([1.0, math.nan, 1.0]), np.ones(2)):
        with pytest.raises(ParameterError, match="weights"):
            derive_admission_follow_up(after, weights=weights)


# ---- options --------------------------------------------------------------------------------------

MISSPELT: dict[str, Callable[[], object]] = {
    "interval": lambda: compute_survival(grouped(), options=SurvivalOptions(interval="loglog")),
    "errors": lambda: compute_survival(grouped(), options=SurvivalOptions(errors="Greenwood")),
    "incidence errors": lambda: compute_cumulative_incidence(grouped(), options=IncidenceOptions(errors="delt")),
    "incidence interval": lambda: compute_cumulative_incidence(grouped(), options=IncidenceOptions(interval="cll")),
    "terminal": lambda: compute_mean_count(grouped(), options=MeanCountOptions(terminal="death")),
    "count errors": lambda: compute_mean_count(grouped(), options=MeanCountOptions(errors="gl")),
    "count interval": lambda: compute_mean_count(grouped(), options=MeanCountOptions(interval="loglog")),
    "side": lambda: risk_difference(options=ContrastOptions(side="until")),
    "contrast terminal": lambda: risk_difference(options=ContrastOptions(terminal="death")),
    "reading side": lambda: compute_curve_at(compute_survival(grouped())[0], [9.0], side="thru"),
    "state errors": lambda: estimate_state_probabilities(history(), options=StateOptions(errors="Greenwood")),
    "dependence": lambda: estimate_state_probabilities(
        history(), initial="ward", options=StateOptions(dependence="land")
    ),
    "clock": lambda: build_transition_rows(history(), options=TransitionOptions(clock="Reset")),
    "baseline": lambda: build_transition_rows(history(), options=TransitionOptions(baseline="moves")),
    "hazard errors": lambda: estimate_transition_hazards(history(), errors="alen"),
    "probability errors": lambda: compute_transition_probabilities(
        estimate_transition_hazards(history()), at=[9.0], errors="Greenwood"
    ),
    "ties": lambda: fit_cox(grouped(), options=CoxOptions(ties="Efron")),
    "fine gray": lambda: fit_fine_gray(grouped(), options=FineGrayOptions(errors="sandwich")),
    "distribution": lambda: fit_parametric(follow(people()), options=ParametricOptions("weibul")),
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_option_counts_as_no_other(name: str):
    with pytest.raises(ParameterError, match="unknown"):
        MISSPELT[name]()


@pytest.mark.parametrize("cause", ["death", 1.5, 0, 3, True])
def test_a_cause_is_a_number_from_one(cause: object):
    f, group = grouped(), people()["group"].to_numpy()
    calls = [
        lambda: fit_cox(f, options=CoxOptions(cause=cause)),
        lambda: fit_fine_gray(f, cause=cause),
        lambda: compute_survival(f, options=SurvivalOptions(cause=cause)),
        lambda: compute_mean_count(f, options=MeanCountOptions(recurrent=cause)),
        lambda: compute_log_rank(follow(people()), group, options=LogRankOptions(cause=cause)),
        lambda: compute_gray_test(f, group, cause=cause),
        lambda: fit_parametric(follow(people()), options=ParametricOptions(cause=cause)),
        lambda: risk_difference(options=ContrastOptions(cause=cause)),
        lambda: estimate_recurrent(
            f, asked("rate_ratio"), covariate="z", options=RecurrentOptions(cause=cause)
        ),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ParameterError, match="no such cause"):
            call()


@pytest.mark.parametrize("level", [0, 1, 95, math.nan, "95", None])
def test_a_level_is_a_share(level: object):
    for call in (
        lambda: estimate_hazard_ratio(grouped(), asked("hazard_ratio"), covariate="x", level=level),
        lambda: estimate_subdistribution_ratio(grouped(), asked("hazard_ratio"), covariate="x", level=level),
        lambda: compute_survival(grouped(), options=SurvivalOptions(level=level)),
        lambda: risk_difference(options=ContrastOptions(level=level)),
    ):
        with pytest.raises(ParameterError, match="level"):
            call()


@pytest.mark.parametrize("at", [0, -1, math.nan, math.inf, "60", None])
def test_a_horizon_is_a_time_after_the_start(at: object):
    with pytest.raises(ParameterError, match="after 0"):
        risk_difference(at=at)
    with pytest.raises(ParameterError, match="horizon"):
        estimate_restricted_means(grouped(), options=RestrictedMeanOptions(at))
    if at not in (0, 60):
        with pytest.raises(ParameterError):
            compute_expected_time(history(), horizon=at)


def test_restricted_time_starts_at_a_finite_time():
    with pytest.raises(ParameterError, match="finite"):
        estimate_restricted_means(grouped(), options=RestrictedMeanOptions(50, start=-math.inf))


@pytest.mark.parametrize("times", [[math.nan], [math.inf], ["a"], 9])
def test_curves_are_read_at_finite_times(times: object):
    curve = compute_survival(follow(people().assign(event=1)))[0]  # comes to 0, so that it is known for ever
    for read in (compute_curve_at, compute_risk_at):
        with pytest.raises(ParameterError):
            read(curve, times)
    assert compute_curve_at(curve, [1e9, 0.0])["value"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "change",
    [
        {"horizon": math.nan}, {"horizon": math.inf}, {"at": [math.nan]}, {"at": ["a"]}, {"replicates": 2.5},
        {"rng": 1}, {"reweight": [[1.0]]},
    ],
)  # fmt: skip
def test_a_bootstrap_is_asked_for_in_numbers(change: dict):
    asked_for = {"horizon": 30, "replicates": 5, "rng": np.random.default_rng(1), "cell": (0, 1, 2, 3)} | change
    with pytest.raises(ParameterError):
        compute_occupancy_effect(history(stratum="cell"), **asked_for)


def test_intervals_of_a_bootstrap_are_of_a_known_kind():
    effect = compute_occupancy_effect(
        history(stratum="cell"), horizon=30, replicates=5, rng=np.random.default_rng(1), cell=(0, 1, 2, 3)
    )
    with pytest.raises(ParameterError, match="interval: unknown"):
        compute_days_table(effect, interval="bca")
    with pytest.raises(ParameterError, match="horizon"):
        estimate_occupancy_difference(history(stratum="cell"), first=0, second=1, at=[9.0], horizon=math.nan)


def test_moves_are_pairs_that_somebody_could_make():
    with pytest.raises(ParameterError, match="pairs"):
        build_transition_rows(history(), moves=[("ward", "home", "dead")])
    with pytest.raises(ParameterError, match="nobody is at risk"):
        build_transition_rows(history(states=(*STATES, "moon")), moves=[("moon", "ward")])


def test_counts_of_unseen_events_are_numbers():
    f = follow(draw_recurrent())
    with pytest.raises(ParameterError, match="unseen_events"):
        derive_event_numbers(f, unseen_events=np.array(["a"] * len(f)))
    with pytest.raises(ParameterError, match="max_events"):
        estimate_recurrent(
            follow(draw_recurrent().assign(z=lambda df: df["person"] % 2), covariates=("z",)), asked("hazard_ratio"),
            covariate="z", options=RecurrentOptions(model="wlw", max_events=2.5),
        )  # fmt: skip
