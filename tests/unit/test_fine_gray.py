"""The Fine-Gray model against a slow version written out row by row, its errors, and what it refuses."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand, Scale
from evalkit.estimators.survival.cox import CoxOptions, fit_cox
from evalkit.estimators.survival.fine_gray import (
    FineGrayOptions,
    compute_cumulative_incidence_at,
    estimate_subdistribution_ratio,
    fit_fine_gray,
)

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2016, 4, 1))


def estimand(scale: Scale = "hazard_ratio") -> Estimand:
    return Estimand("admission", "ATE", "people", WINDOW, scale)


def draw(n: int = 150, *, seed: int = 2, split: bool = False) -> FollowUp:
    """People with an event, a competing one or censoring, delayed entry, weights, clusters and two strata."""
    rng = np.random.default_rng(seed)
    x, side, area = rng.normal(size=n), rng.integers(0, 2, n), rng.integers(0, 2, n)
    first, other = rng.exponential(40 * np.exp(-0.4 * side)), rng.exponential(50 * np.exp(0.3 * x))
    censored = rng.uniform(5, 30 + 60 * area)
    time = np.ceil(np.minimum(np.minimum(first, other), censored))
    event = np.where(censored < np.minimum(first, other), 0, np.where(first < other, 1, 2))
    entry = np.where(rng.random(n) < 0.5, 0.0, np.floor(rng.uniform(0, 12, n)))
    df = pd.DataFrame({
        "who": np.arange(n), "entry": entry, "exit": time, "event": event, "x": x, "side": side, "area": area,
        "w": np.round(rng.uniform(0.5, 2, n), 2), "home": rng.integers(0, n // 3, n),
    })[time > entry]  # fmt: skip
    if split:
        late = np.ceil((df["entry"] + df["exit"]) / 2 + 0.5)
        cut = late < df["exit"]
        before = df.assign(exit=late.where(cut, df["exit"]), event=df["event"].where(~cut, 0))
        after = df[cut].assign(entry=late[cut], x=df["x"][cut] + 0.5)
        df = pd.concat([before, after])
    return FollowUp.from_frame(
        df, entry="entry", exit="exit", event="event", person="who", cluster="home", stratum="area", weights="w",
        covariates=("x", "side"), causes=("in", "death"),
    )  # fmt: skip


def write_out(f: FollowUp, *, strata: str) -> FollowUp:
    """Every row with a competing event once for every later event time, weighed by literal product-limit estimates."""
    ends = {(p, s, t) for p, s, t in zip(f.person, f.stratum, f.entry, strict=True)}
    begins = {(p, s, t) for p, s, t in zip(f.person, f.stratum, f.exit, strict=True)}
    censored = np.array([
        e == 0 and (p, s, t) not in ends for p, s, t, e in zip(f.person, f.stratum, f.exit, f.event, strict=True)
    ])  # fmt: skip
    starting = np.array([(p, s, t) not in begins for p, s, t in zip(f.person, f.stratum, f.entry, strict=True)])
    group = np.zeros(len(f), dtype=int) if strata == "baseline" else f.stratum
    layer = np.zeros(len(f), dtype=int) if strata == "censoring" else f.stratum

    def weight(code: int, t: float) -> float:
        own, value = group == code, 1.0
        if t > f.exit[own].max():
            return 0.0
        for c in np.unique(f.exit[own & censored]):
            if c < t:
                at_risk = own & (f.entry < c) & ((f.exit > c) | ((f.exit == c) & (f.event == 0)))
                value *= 1 - (own & censored & (f.exit == c)).sum() / at_risk.sum()
        for d in np.unique(f.entry[own & starting]):
            if d >= t:
                value *= 1 - (own & starting & (f.entry == d)).sum() / (own & (f.entry <= d) & (f.exit > d)).sum()
        return value

    places, entries, exits, weights = list(range(len(f))), list(f.entry), list(f.exit), list(f.weights)
    for i in np.flatnonzero(f.event == 2):
        previous = f.exit[i]
        for t in np.unique(f.exit[(f.event == 1) & (layer == layer[i])]):
            if t > f.exit[i]:
                factor = weight(group[i], t) / weight(group[i], f.exit[i])
                if factor > 0:
                    places.append(i)
                    entries.append(previous)
                    exits.append(t)
                    weights.append(f.weights[i] * factor)
                previous = t
    chosen = replace(f, stratum=layer).select(np.array(places))
    event = np.where(np.arange(len(places)) < len(f), chosen.event == 1, 0).astype(int)
    return replace(
        chosen, entry=np.array(entries), exit=np.array(exits), weights=np.array(weights), event=event,
        causes=("in",),
    )  # fmt: skip


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("strata", ["both", "baseline", "censoring"])
@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_equals_the_model_written_out_row_by_row(split: bool, strata: str, ties: str) -> None:
    people = draw(split=split)
    slow = fit_cox(write_out(people, strata=strata), options=CoxOptions(ties=ties))
    fit = fit_fine_gray(people, options=FineGrayOptions(ties=ties, strata=strata, errors="robust"))
    assert fit.coefficients == pytest.approx(slow.coefficients, rel=1e-9)
    assert fit.variance == pytest.approx(slow.variance, rel=1e-8)
    assert fit.robust_variance == pytest.approx(slow.robust_variance, rel=1e-8)
    assert fit.log_likelihood == pytest.approx(slow.log_likelihood, rel=1e-10)
    assert fit.log_likelihood_null == pytest.approx(slow.log_likelihood_null, rel=1e-10)


@pytest.mark.parametrize("last", [1, 2])
def test_nobody_stays_at_risk_beyond_what_their_censoring_group_saw(last: int) -> None:
    """A group whose longest row ends in an event: its censoring distribution says nothing of later times."""
    people = draw()
    event = people.event.copy()
    own = np.flatnonzero(people.stratum == 0)
    event[own[people.exit[own] >= np.sort(people.exit[own])[-2]]] = last
    people = replace(people, event=event)
    later = (people.stratum == 1) & (people.event == 1) & (people.exit > people.exit[own].max())
    assert later.any()
    slow = fit_cox(write_out(people, strata="censoring"))
    fit = fit_fine_gray(people, options=FineGrayOptions(strata="censoring", errors="robust"))
    assert fit.coefficients == pytest.approx(slow.coefficients, rel=1e-9)
    assert fit.robust_variance == pytest.approx(slow.robust_variance, rel=1e-8)


@pytest.mark.parametrize("errors", ["robust", "robust_censoring"])
def test_without_competing_events_it_is_a_cox_model(errors: str) -> None:
    people = draw()
    people = replace(people, event=np.minimum(people.event, 1))
    cox, fit = fit_cox(people), fit_fine_gray(people, options=FineGrayOptions(errors=errors))
    assert fit.coefficients == pytest.approx(cox.coefficients, rel=1e-9)
    assert fit.robust_variance == pytest.approx(cox.robust_variance, rel=1e-9)


@pytest.mark.parametrize("strata", ["both", "censoring"])
def test_errors_with_estimated_censoring_are_the_infinitesimal_jackknife(strata: str) -> None:
    """Moving one person's weight moves the fit, weights over time refitted, as the influence says."""
    people = draw(90)
    options = FineGrayOptions(censoring_weights="case", strata=strata, errors="robust_censoring")
    people = replace(people, cluster=people.person)
    step, moves = 1e-4, []
    for i in range(len(people)):
        up, down = people.weights.copy(), people.weights.copy()
        up[i] *= 1 + step
        down[i] *= 1 - step
        ends = [fit_fine_gray(people.with_weights(w), options=options).coefficients for w in (up, down)]
        moves.append((ends[0] - ends[1]) / (2 * step))
    jackknife = np.array(moves).T @ np.array(moves)
    with_it = fit_fine_gray(people, options=options).robust_variance
    without = fit_fine_gray(people, options=replace(options, errors="robust")).robust_variance
    # Exact but for terms of the order of 1 / people at risk, as cmprsk leaves them out too.
    size = np.sqrt(np.outer(np.diag(jackknife), np.diag(jackknife)))
    assert (np.abs(with_it - jackknife) < 5e-3 * size).all()
    assert np.abs(with_it - jackknife).max() < 0.3 * np.abs(without - jackknife).max()


def test_case_weights_count_people_where_asked() -> None:
    people = replace(draw(), weights=np.ones(len(draw())))
    chosen = np.arange(len(people)) % 3 == 0
    doubled = people.with_weights(np.where(chosen, 2.0, 1.0))
    more = people.select(np.concatenate([np.arange(len(people)), np.flatnonzero(chosen)]))
    more = replace(more, person=np.concatenate([people.person, people.person[chosen] + people.person.max() + 1]))
    options = FineGrayOptions(ties="breslow", censoring_weights="case", errors="model")
    one, other = fit_fine_gray(doubled, options=options), fit_fine_gray(more, options=options)
    assert one.coefficients == pytest.approx(other.coefficients, rel=1e-9)
    assert one.variance == pytest.approx(other.variance, rel=1e-8)
    unweighted = fit_fine_gray(doubled, options=replace(options, censoring_weights="unweighted"))
    assert np.abs(unweighted.coefficients - other.coefficients).max() > 1e-4


def test_an_offset_takes_the_place_of_a_coefficient() -> None:
    people = draw()
    fit = fit_fine_gray(people)
    moved = replace(people, offset=people.covariates @ fit.coefficients + 700)
    again = fit_fine_gray(moved)
    assert again.coefficients == pytest.approx(np.zeros(2), abs=1e-8)
    assert again.increments * np.exp(700) == pytest.approx(fit.increments, rel=1e-7)


def test_risk_rises_from_nothing_and_follows_the_covariate() -> None:
    people = replace(draw(), stratum=np.zeros(len(draw()), dtype=np.int64))
    fit = fit_fine_gray(people)
    risk = compute_cumulative_incidence_at(fit, np.array([[0.0, 0], [0.0, 1]]), np.arange(0, 48, 3))
    assert risk.shape == (2, 16)
    assert (risk[:, 0] == 0).all()
    assert (np.diff(risk, axis=1) >= 0).all()
    assert risk.max() < 1
    ratio = np.log1p(-risk[1, 4:]) / np.log1p(-risk[0, 4:])
    assert ratio == pytest.approx(np.full(12, np.exp(fit.coefficients[1])))


def test_risk_needs_the_stratum_and_the_covariates() -> None:
    fit = fit_fine_gray(draw())
    with pytest.raises(ParameterError, match="2 faults"):
        compute_cumulative_incidence_at(fit, np.zeros(3), np.array([5.0]))
    assert compute_cumulative_incidence_at(fit, np.zeros(2), np.array([5.0]), stratum=1).shape == (1, 1)


def test_estimate_is_the_ratio_with_its_clustered_interval() -> None:
    fit = fit_fine_gray(draw())
    estimate = estimate_subdistribution_ratio(draw(), estimand(), covariate="side", level=0.9)
    assert estimate.value == pytest.approx(np.exp(fit.coefficients[1]))
    assert np.log(estimate.upper / estimate.value) == pytest.approx(1.6448536 * fit.se[1], rel=1e-6)
    assert (estimate.n_people, estimate.n_events) == (fit.n_people, fit.n_events)
    assert {c.name for c in estimate.checks} == {"competing", "events_per_covariate", "events_by_side", "clusters"}


def test_requests_that_cannot_be_met_are_listed_together() -> None:
    with pytest.raises(ParameterError, match="3 faults"):
        estimate_subdistribution_ratio(draw(), estimand("risk_ratio"), covariate="sid", level=0)
    wrong = FineGrayOptions(ties="exact", errors="hc3", strata="none", tied_censoring="?", max_iterations=0)
    with pytest.raises(ParameterError, match="6 faults"):
        fit_fine_gray(draw(), cause=3, options=wrong)
    with pytest.raises(ParameterError, match="there are none"):
        fit_fine_gray(replace(draw(), covariates=np.empty((len(draw()), 0)), names=()))


def test_few_events_are_refused_without_their_number() -> None:
    people = draw()
    people = people.select((people.event != 1) | (np.cumsum(people.event == 1) <= 7))
    with pytest.raises(NotEstimable, match="fewer than 10") as caught:
        estimate_subdistribution_ratio(people, estimand(), covariate="side")
    assert "7" not in str(caught.value)
    with pytest.raises(NotEstimable, match="nobody had it"):
        fit_fine_gray(people.select(people.event != 1))


def test_one_person_on_a_side_is_refused() -> None:
    people = draw()
    sides = people.covariates[:, 1] == 1
    keep = ~sides | (np.cumsum(sides) == 1)
    with pytest.raises(NotEstimable, match="one side"):
        estimate_subdistribution_ratio(people.select(keep), estimand(), covariate="side")


def test_a_covariate_that_separates_is_named() -> None:
    people = draw()
    people = people.select((people.event != 1) | (people.covariates[:, 1] == 0))
    with pytest.raises(NotEstimable, match="side: its coefficient goes to infinity"):
        fit_fine_gray(people)


def test_a_rare_covariate_that_separates_is_named() -> None:
    people = draw(400)
    rare = (np.arange(len(people)) % 90 == 1) & (people.event != 1)
    people = replace(people, covariates=np.column_stack([people.covariates, rare]), names=("x", "side", "rare"))
    with pytest.raises(NotEstimable, match="rare: its coefficient goes to infinity"):
        fit_fine_gray(people)


def test_covariates_that_say_the_same_are_named() -> None:
    people = draw()
    twice = replace(
        people, covariates=np.column_stack([people.covariates, 2 - people.covariates[:, 1]]),
        names=("x", "side", "other"),
    )  # fmt: skip
    with pytest.raises(NotEstimable, match="side, other"):
        fit_fine_gray(twice)
    constant = replace(people, covariates=np.ones((len(people), 1)), names=("one",))
    with pytest.raises(NotEstimable, match="one: it does not vary"):
        fit_fine_gray(constant)


def test_rows_after_the_event_are_refused() -> None:
    df = pd.DataFrame({"who": [1, 1, 2], "entry": [0, 4, 0], "exit": [4, 6, 5], "event": [1, 0, 1], "x": [1, 2, 3]})
    people = FollowUp.from_frame(df, entry="entry", exit="exit", event="event", person="who", covariates=("x",))
    with pytest.raises(ParameterError, match="fewer than 10 rows come after an event"):
        fit_fine_gray(people)


def test_times_at_which_nobody_is_followed_are_refused() -> None:
    df = pd.DataFrame({"entry": [0, 0, 9, 9.5], "exit": [4, 5, 12, 13], "event": [1, 2, 1, 2], "x": [0, 1, 1, 0]})
    people = FollowUp.from_frame(
        df, entry="entry", exit="exit", event="event", covariates=("x",), causes=("in", "death")
    )  # fmt: skip
    with pytest.raises(NotEstimable, match="nobody is under observation"):
        fit_fine_gray(people)


def test_times_apart_by_rounding_are_one_time() -> None:
    people = draw()
    jitter = people.exit * (1 + 1e-15 * np.where(np.arange(len(people)) % 2, 1, -1))
    one, other = fit_fine_gray(people), fit_fine_gray(replace(people, exit=jitter))
    assert len(one.times) == len(other.times)
    assert other.coefficients == pytest.approx(one.coefficients, rel=1e-12)
