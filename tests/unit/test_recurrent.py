"""Arrangements of recurrent events by hand, what is refused, and what an estimate says of itself."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.result import Check, Estimate
from evalkit.estimators.survival.cox import CoxOptions, fit_cox
from evalkit.estimators.survival.recurrent import (
    RecurrentOptions,
    build_recurrent,
    compute_optimal_average,
    derive_event_numbers,
    estimate_recurrent,
)

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2016, 4, 1))


def estimand(scale: Scale = "rate_ratio") -> Estimand:
    return Estimand("admissions", "ATE", "people", WINDOW, scale)


def two_people() -> FollowUp:
    """The first has events at 5 and 9 and dies at 12, with a covariate that changes at 7; the second none until 8."""
    df = pd.DataFrame(
        {
            "who": [1, 1, 1, 1, 2],
            "entry": [1, 5, 7, 9, 0],
            "exit": [5, 7, 9, 12, 8],
            "event": ["in", "", "in", "death", ""],
            "x": [0.0, 0.0, 1.0, 1.0, 2.0],
        }
    )
    return FollowUp.from_frame(
        df, entry="entry", exit="exit", event="event", person="who", covariates=("x",), causes=("in", "death")
    )


def draw(n: int = 120, *, seed: int = 3, deaths: float = 0.0) -> FollowUp:
    """People with frailty and recurrent events at ratio 0.6, followed for up to 300 days."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(n):
        side, frailty, age = person % 2, rng.gamma(2, 0.5), rng.normal()
        end, dies = rng.uniform(100, 300), rng.random() < deaths
        start = 0.0
        while True:
            stop = start + rng.exponential(90 / (frailty * np.exp(-0.5 * side + 0.1 * age)))
            rows.append((person, start, min(stop, end), "in" if stop < end else "death" if dies else "", side, age))
            if stop >= end:
                break
            start = stop
    df = pd.DataFrame(rows, columns=["who", "entry", "exit", "event", "side", "age"])
    return FollowUp.from_frame(
        df, entry="entry", exit="exit", event="event", person="who", covariates=("side", "age"), causes=("in", "death")
    )


def check(estimate: Estimate, name: str) -> Check:
    return next(c for c in estimate.checks if c.name == name)


def test_event_numbers_count_events_before_a_row() -> None:
    assert derive_event_numbers(two_people()).tolist() == [1, 2, 2, 3, 1]


def test_unseen_events_are_added() -> None:
    unseen = np.array([1, 1, 1, 2, 0])
    assert derive_event_numbers(two_people(), unseen_events=unseen).tolist() == [2, 3, 3, 5, 1]


def test_total_time_has_a_stratum_a_number() -> None:
    arranged = build_recurrent(two_people(), model="pwp_total")
    assert arranged.strata == (1, 2, 3)
    assert arranged.stratum.tolist() == [0, 1, 1, 2, 0]
    assert arranged.entry.tolist() == [1, 5, 7, 9, 0]


def test_gap_time_begins_at_the_last_event() -> None:
    arranged = build_recurrent(two_people(), model="pwp_gap")
    assert arranged.entry.tolist() == [0, 0, 2, 0, 0]
    assert arranged.exit.tolist() == [4, 2, 4, 3, 8]


def test_marginal_rows_join_until_the_covariate_changes() -> None:
    arranged = build_recurrent(two_people(), model="wlw")
    rows = sorted(
        zip(arranged.stratum, arranged.person, arranged.entry, arranged.exit, arranged.event,
            arranged.covariates[:, 0], strict=True)
    )  # fmt: skip
    assert rows == [
        (0, 0, 1, 5, 1, 0), (0, 1, 0, 8, 0, 2),
        (1, 0, 1, 7, 0, 0), (1, 0, 7, 9, 1, 1), (1, 1, 0, 8, 0, 2),
    ]  # fmt: skip


def test_a_death_ends_the_wait_for_events_not_had() -> None:
    arranged = build_recurrent(two_people(), model="wlw", max_events=3)
    third = arranged.select((arranged.stratum == 2) & (arranged.person == 0))
    assert third.exit.tolist() == [7, 12]
    assert third.event.tolist() == [0, 2]


def test_later_events_are_dropped_or_pooled() -> None:
    assert len(build_recurrent(two_people(), model="andersen_gill", max_events=1)) == 2
    dropped = build_recurrent(two_people(), model="pwp_total", max_events=2)
    assert dropped.stratum.tolist() == [0, 1, 1, 0]
    pooled = build_recurrent(two_people(), model="pwp_gap", max_events=2, later_events="pool")
    assert pooled.stratum.tolist() == [0, 1, 1, 1, 0]
    assert pooled.exit.tolist() == [4, 2, 4, 3, 8]


def test_strata_of_the_follow_up_stay_apart() -> None:
    df = pd.DataFrame({"exit": [3, 4], "event": [1, 1], "area": ["north", "south"], "x": [0.0, 1.0]})
    people = FollowUp.from_frame(df, exit="exit", event="event", stratum="area", covariates=("x",))
    assert build_recurrent(people, model="pwp_total").strata == (("north", 1), ("south", 1))


def test_effects_by_number_have_a_column_each() -> None:
    arranged = build_recurrent(two_people(), model="pwp_total", effects="by_number")
    assert arranged.names == ("x, event 1", "x, event 2", "x, event 3")
    assert (arranged.covariates.sum(axis=1) == [0, 0, 1, 1, 2]).all()
    assert (np.count_nonzero(arranged.covariates, axis=1) <= 1).all()


def test_a_first_event_is_an_ordinary_cox_model() -> None:
    people = draw()
    first = people.select(derive_event_numbers(people) == 1)
    found = fit_cox(build_recurrent(people, model="wlw", max_events=1))
    assert found.coefficients == pytest.approx(fit_cox(first).coefficients, rel=1e-10)


def test_effects_by_number_of_wlw_are_those_of_each_number_alone() -> None:
    people = draw()
    joint = fit_cox(build_recurrent(people, model="wlw", max_events=3, effects="by_number"))
    common = build_recurrent(people, model="wlw", max_events=3)
    for k in range(3):
        alone = fit_cox(common.select(common.stratum == k))
        assert joint.coefficients[2 * k : 2 * k + 2] == pytest.approx(alone.coefficients, rel=1e-7)
        block = joint.robust_variance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2]
        assert block == pytest.approx(alone.robust_variance, rel=1e-6)


def test_optimal_average() -> None:
    value, se = compute_optimal_average(np.array([1.0, 3.0]), np.diag([1.0, 3.0]))
    assert (value, se) == (pytest.approx(1.5), pytest.approx(np.sqrt(0.75)))
    correlated = np.array([[1.0, 0.5], [0.5, 2.0]])
    value, se = compute_optimal_average(np.array([1.0, 3.0]), correlated)
    weights = np.linspace(-1, 2, 3001)
    variances = weights**2 + 2 * weights * (1 - weights) * 0.5 + 2 * (1 - weights) ** 2
    assert se**2 == pytest.approx(variances.min(), rel=1e-6)
    assert value == pytest.approx(weights[variances.argmin()] + 3 * (1 - weights[variances.argmin()]), abs=1e-3)


def test_lwyy_is_andersen_gill_with_clustered_errors() -> None:
    people = draw()
    fit = fit_cox(people, options=CoxOptions(errors="robust"))
    estimate = estimate_recurrent(people, estimand(), covariate="side")
    assert estimate.value == pytest.approx(np.exp(fit.coefficients[0]))
    assert estimate.se == pytest.approx(np.sqrt(fit.robust_variance[0, 0]))
    assert np.log(estimate.upper / estimate.lower) == pytest.approx(2 * 1.959963985 * estimate.se)
    assert (estimate.estimator, estimate.n_people, estimate.n_events) == ("lwyy", 120, people.n_events())
    assert 0.3 < estimate.value < 1.0


@pytest.mark.parametrize("model", ["pwp_total", "pwp_gap", "wlw"])
@pytest.mark.parametrize("effects", ["common", "by_number"])
def test_other_models_say_how_they_read(model: str, effects: str) -> None:
    options = RecurrentOptions(model=model, effects=effects, max_events=2)
    estimate = estimate_recurrent(draw(), estimand("hazard_ratio"), covariate="side", options=options)
    assert estimate.lower < estimate.value < estimate.upper
    assert check(estimate, "reading").passed is None
    assert check(estimate, "mean_events").passed is False  # the third event and later ones are left out


def test_pooling_is_said() -> None:
    options = RecurrentOptions(model="pwp_total", max_events=2, later_events="pool")
    estimate = estimate_recurrent(draw(), estimand("hazard_ratio"), covariate="side", options=options)
    assert check(estimate, "pooled_events").passed is False
    assert check(estimate, "mean_events").passed is None


def test_thin_numbers_are_told() -> None:
    options = RecurrentOptions(model="pwp_total")
    estimate = estimate_recurrent(draw(), estimand("hazard_ratio"), covariate="side", options=options)
    assert check(estimate, "events_by_number").passed is False


def test_deaths_are_told_but_not_small_numbers_of_them() -> None:
    many = check(estimate_recurrent(draw(deaths=0.4), estimand(), covariate="side"), "terminal_event")
    assert many.passed is False
    assert 0.2 < many.value < 0.6
    assert "Ghosh and Lin" in many.text
    few = check(estimate_recurrent(draw(deaths=0.04, seed=5), estimand(), covariate="side"), "terminal_event")
    assert "fewer than 10" in few.text
    assert np.isnan(few.value)
    none = check(estimate_recurrent(draw(), estimand(), covariate="side"), "terminal_event")
    assert none.passed is None


def test_fewer_than_ten_events_are_refused_without_their_number() -> None:
    people = draw(6, seed=1)
    keep = np.cumsum(people.event == 1) <= 7
    with pytest.raises(NotEstimable, match="fewer than 10") as caught:
        estimate_recurrent(people.select(keep), estimand(), covariate="side")
    assert "7" not in str(caught.value)


def test_one_person_on_a_side_is_refused() -> None:
    people = draw()
    keep = (people.covariates[:, 0] == 0) | (people.person == 1)
    with pytest.raises(NotEstimable, match="one side"):
        estimate_recurrent(people.select(keep), estimand(), covariate="side")
    with pytest.raises(NotEstimable, match="same value"):
        estimate_recurrent(people.select(people.covariates[:, 0] == 0), estimand(), covariate="side")


def test_a_side_without_events_is_named() -> None:
    people = draw()
    keep = (people.covariates[:, 0] == 0) | (people.event == 0)
    with pytest.raises(NotEstimable, match="side"):
        estimate_recurrent(people.select(keep), estimand(), covariate="side")


def test_requests_that_cannot_be_met_are_listed_together() -> None:
    with pytest.raises(ParameterError) as caught:
        estimate_recurrent(
            draw(), estimand("hazard_ratio"), covariate="sid", options=RecurrentOptions(level=1.2)
        )  # fmt: skip
    assert len(caught.value.faults) == 3
    assert 'Did you mean "side"?' in str(caught.value)
    with pytest.raises(ParameterError, match="model"):
        estimate_recurrent(draw(), estimand(), covariate="side", options=RecurrentOptions(model="frailty"))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"model": "prentice"}, "model"),
        ({"model": "wlw", "max_events": 2, "later_events": "pool"}, "WLW"),
        ({"model": "pwp_total", "later_events": "pool"}, "name the event number"),
        ({"model": "pwp_total", "max_events": 0}, "at least one"),
        ({"model": "andersen_gill", "effects": "by_number"}, "one effect"),
        ({"model": "pwp_total", "cause": 3}, "no such cause"),
        ({"model": "pwp_total", "effects": "by_age", "later_events": "forget"}, "2 faults"),
        ({"model": "pwp_total", "unseen_events": np.zeros(3)}, "one value a row"),
        ({"model": "pwp_total", "unseen_events": np.array([0.5, 1, 1, 1, 0])}, "whole numbers"),
        ({"model": "pwp_total", "unseen_events": np.array([1, 0, 0, 0, 0])}, "fewer than the same"),
    ],
)
def test_arrangements_that_cannot_be_are_refused(kwargs: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        build_recurrent(two_people(), **kwargs)


def test_rows_after_a_death_are_refused() -> None:
    df = pd.DataFrame({"who": [1, 1], "entry": [0, 4], "exit": [4, 6], "event": [2, 1]})
    people = FollowUp.from_frame(
        df, entry="entry", exit="exit", event="event", person="who", causes=("in", "death")
    )  # fmt: skip
    with pytest.raises(ParameterError, match="ends follow-up"):
        build_recurrent(people, model="pwp_total")


def test_a_person_in_two_strata_at_once_is_refused() -> None:
    df = pd.DataFrame({"who": [1, 1], "exit": [4, 6], "event": [1, 1], "area": [1, 2]})
    people = FollowUp.from_frame(df, exit="exit", event="event", person="who", stratum="area")
    with pytest.raises(ParameterError, match="also across strata"):
        build_recurrent(people, model="andersen_gill")
