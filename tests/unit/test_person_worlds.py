"""Simulated people are what their settings say, and their stated truth is what a large draw shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.history import EventHistory
from evalkit.core.errors import ParameterError
from evalkit.simulate.person_events import (
    CompetingSettings,
    RecurrenceSettings,
    compute_recurrence_truth,
    simulate_competing,
    simulate_recurrence,
)
from evalkit.simulate.person_pathways import (
    ABSORBING,
    STATES,
    PathwaySettings,
    compute_pathway_truth,
    simulate_pathways,
)
from evalkit.simulate.person_trials import TrialSettings, simulate_trial
from evalkit.simulate.person_worlds import (
    PeopleSettings,
    compute_people_truth,
    covariate_names,
    simulate_people,
)

MANY = 100_000


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def share_error(share: float, n: int) -> float:
    """Four Monte-Carlo errors of a share of n, and half a thousandth for the truth's own error."""
    return 4 * math.sqrt(share * (1 - share) / n) + 5e-4


@pytest.mark.parametrize("outcome", ["binary", "continuous", "count"])
def test_people_fit_the_checked_type_and_worse_people_are_treated(outcome):
    settings = PeopleSettings(people=5000, outcome=outcome, covariates=8, clusters=40)
    frame, _ = simulate_people(settings, rng=rng())
    names = covariate_names(settings)
    comparison = Comparison.from_frame(
        frame, treatment="treated", covariates=names, outcome="outcome", before="before", cluster="cluster",
        person_time="person_time",
    )  # fmt: skip
    assert len(names) == 8
    assert len(np.unique(comparison.cluster)) == 40
    means = frame.groupby("treated")[["severity", "before"]].mean()
    assert (means.loc[1] > means.loc[0]).all()
    assert frame["treated"].mean() == pytest.approx(0.5, abs=0.1)


def test_truth_of_people_is_what_randomised_people_show():
    """Without selection a plain comparison is right: within four of its errors, for risks and for rates."""
    settings = PeopleSettings(people=MANY, effect=-0.8, selection=0.0)
    frame, truth = simulate_people(settings, rng=rng())
    one, none = (frame.loc[frame["treated"] == a, "outcome"] for a in (1, 0))
    assert one.mean() - none.mean() == pytest.approx(truth["ATE.risk_difference"], abs=2 * share_error(0.3, MANY // 2))
    assert one.mean() / none.mean() == pytest.approx(truth["ATE.risk_ratio"], rel=0.04)
    frame, truth = simulate_people(replace(settings, outcome="count"), rng=rng())
    rates = frame.groupby("treated")[["outcome", "person_time"]].sum()
    assert (rates["outcome"] / rates["person_time"]).pipe(lambda r: r[1] / r[0]) == pytest.approx(
        truth["ATE.rate_ratio"], rel=0.05
    )


def test_truth_differs_by_contrast_and_is_nothing_without_an_effect():
    truth = compute_people_truth(PeopleSettings(effect=-0.8, heterogeneity=0.5))
    assert truth["ATT.risk_difference"] < truth["ATE.risk_difference"] < truth["ATC.risk_difference"] < 0
    assert all(
        v == pytest.approx(0, abs=1e-12) for k, v in compute_people_truth(PeopleSettings()).items() if "diff" in k
    )
    continuous = compute_people_truth(PeopleSettings(outcome="continuous", effect=-0.4))
    assert continuous["ATE.mean_difference"] == pytest.approx(-0.4, abs=0.002)


def test_truth_does_not_depend_on_how_many_are_drawn():
    assert compute_people_truth(PeopleSettings(people=10, effect=1.0)) == compute_people_truth(
        PeopleSettings(effect=1.0)
    )


@pytest.mark.parametrize(("outcome", "effect"), [("binary", 0.0), ("continuous", -0.5)])
def test_a_hidden_trait_biases_the_comparison_but_not_its_difference_in_differences(outcome, effect):
    """Severity and all else switched off the selection by a tiny one: only the hidden trait selects."""
    settings = PeopleSettings(people=MANY, outcome=outcome, effect=effect, heterogeneity=0.0, selection=0.0, hidden=1.0)
    frame, truth = simulate_people(settings, rng=rng())
    scale = "risk_difference" if outcome == "binary" else "mean_difference"
    after = frame.groupby("treated")["outcome"].mean().diff().loc[1]
    change = (frame["outcome"] - frame["before"]).groupby(frame["treated"]).mean().diff().loc[1]
    assert after - truth[f"ATT.{scale}"] > 0.05
    assert change == pytest.approx(truth[f"ATT.{scale}"], abs=0.02)


def test_overlap_shrinks_with_selection_and_severities_go_missing_where_said():
    spread = [
        simulate_people(PeopleSettings(people=MANY, selection=s), rng=rng())[0].groupby("treated")["severity"].mean()
        for s in (0.0, 1.0, 3.0)
    ]
    gaps = [means[1] - means[0] for means in spread]
    assert gaps[0] == pytest.approx(0, abs=0.03)
    assert gaps[0] < gaps[1] < gaps[2]
    frame, _ = simulate_people(PeopleSettings(people=MANY, missing=0.3), rng=rng())
    empty = frame["severity"].isna()
    assert empty.mean() == pytest.approx(0.3, abs=0.01)
    assert empty[frame["age"] > 0].mean() > empty[frame["age"] < 0].mean() + 0.05


@pytest.mark.parametrize("death_ratio", [1.0, 0.6])
def test_recurrence_truth_is_what_a_large_draw_shows(death_ratio):
    """50,000 people an arm: counts, risks and days lost within four errors (day rounding adds half a day of death)."""
    settings = RecurrenceSettings(people=MANY, rate_ratio=0.7, death_ratio=death_ratio, severity_effect=0.3)
    frame, truth = simulate_recurrence(settings, rng=rng(4))
    for arm, code in (("treated", 1), ("comparison", 0)):
        inside = frame[frame["treated"] == code]
        n = inside["person"].nunique()
        counts = inside[(inside["event"] == 1) & (inside["exit"] < 366)].groupby("person").size()
        spread = math.sqrt((counts**2).sum() / n - (counts.sum() / n) ** 2)
        assert counts.sum() / n == pytest.approx(truth[f"mean_count.{arm}.365"], abs=4 * spread / math.sqrt(n) + 1e-3)
        first = inside[inside["episode"] == 1]
        for day in (30, 90, 365):
            share = truth[f"risk.{arm}.{day}"]
            seen = ((first["event"] == 1) & (first["exit"] <= day)).mean()
            assert seen == pytest.approx(share, abs=share_error(share, n))
        deaths = inside.loc[inside["event"] == 2, "exit"]
        lost = np.maximum(365 - deaths, 0)
        error = math.sqrt((lost**2).sum() / n) / math.sqrt(n)
        assert lost.sum() / n == pytest.approx(truth[f"rmtl.{arm}.365"], abs=4 * error + 0.1)


def test_the_marginal_rate_ratio_is_the_settings_unless_treated_people_die_otherwise():
    same = compute_recurrence_truth(RecurrenceSettings(rate_ratio=0.7))
    assert same["rate_ratio"] == 0.7
    # Close to it where death hardly depends on treatment, so that the integral agrees with the closed form.
    near = compute_recurrence_truth(RecurrenceSettings(rate_ratio=0.7, death_ratio=1 + 1e-9))
    assert near["rate_ratio"] == pytest.approx(0.7, rel=1e-6)
    # Fewer deaths leave frailer people at risk, so that the ratio of rates of the living rises.
    assert compute_recurrence_truth(RecurrenceSettings(rate_ratio=0.7, death_ratio=0.4))["rate_ratio"] > 0.71
    unrelated = compute_recurrence_truth(RecurrenceSettings(rate_ratio=0.7, death_ratio=0.4, death_frailty=0.0))
    assert unrelated["rate_ratio"] == pytest.approx(0.7, rel=1e-6)


def test_frail_people_die_and_recur():
    frame, _ = simulate_recurrence(RecurrenceSettings(people=20_000), rng=rng())
    people = frame.groupby("person").agg(events=("episode", "max"), last=("event", "last"), time=("exit", "max"))
    rate = people["events"].sub(1) / people["time"]
    assert rate[people["last"] == 2].mean() > 1.5 * rate[people["last"] == 0].mean()


@pytest.mark.parametrize("late", [0.0, 0.5])
def test_recurrences_fit_the_checked_type(late):
    frame, _ = simulate_recurrence(RecurrenceSettings(people=800, late_share=late), rng=rng())
    follow_up = FollowUp.from_frame(
        frame, entry="entry", exit="exit", event="event", person="person", covariates=("treated",),
        causes=("admission", "death"),
    )  # fmt: skip
    assert follow_up.n_people == 800
    first = frame[frame["episode"] == 1]
    assert (first["entry"] > 0).mean() == pytest.approx(late, abs=0.1)
    assert (frame.groupby("person")["event"].nth(-1) != 1).all()


@pytest.mark.parametrize("hazard", ["subdistribution", "cause_specific"])
def test_competing_truth_is_what_a_large_draw_shows(hazard):
    settings = CompetingSettings(people=MANY, hazard=hazard, ratio=0.6, death_ratio=1.3, follow_up=(400, 500))
    frame, truth = simulate_competing(settings, rng=rng(2))
    for arm, code in (("treated", 1), ("comparison", 0)):
        inside = frame[frame["treated"] == code]
        for name, cause in (("risk", 1), ("death_risk", 2)):
            for day in (30, 90, 365):
                share = truth[f"{name}.{arm}.{day}"]
                seen = ((inside["event"] == cause) & (inside["exit"] <= day)).mean()
                assert seen == pytest.approx(share, abs=share_error(share, len(inside)))


def test_the_subdistribution_ratio_is_exact():
    """log(1 - risk) is proportional between arms at every horizon where severity has no effect."""
    settings = CompetingSettings(hazard="subdistribution", ratio=0.6, severity_effect=0.0)
    truth = simulate_competing(settings, rng=rng())[1]
    for day in (30, 90, 365):
        ratio = math.log1p(-truth[f"risk.treated.{day}"]) / math.log1p(-truth[f"risk.comparison.{day}"])
        assert ratio == pytest.approx(0.6, rel=1e-9)


def test_late_entry_leaves_out_who_ended_before():
    settings = CompetingSettings(people=2000, late_share=1.0, readmission_days=30.0)
    frame, _ = simulate_competing(settings, rng=rng())
    assert len(frame) == 2000
    assert (frame["exit"] > frame["entry"]).all()
    assert frame["entry"].mean() < 40  # of those who would enter on day 45 on average, early ones remain


@pytest.mark.parametrize("sojourn", ["markov", "semi_markov"])
def test_pathway_truth_is_what_a_large_draw_shows(sojourn):
    """20,000 people a cell followed to day 365: occupancy and days within four errors."""
    n = 20_000
    settings = PathwaySettings(people_per_cell=n, effect=1.8, sojourn=sojourn, follow_up=(366, 367))
    frame, truth = simulate_pathways(settings, rng=rng(3))
    for cell, inside in frame.groupby("cell"):
        for state in STATES[:-1]:
            there = inside[inside["from_state"] == state]
            for day in (90, 365):
                share = truth[f"occupancy.{cell}.{state}.{day}"]
                seen = ((there["start"] < day) & (there["stop"] >= day)).sum() / n
                assert seen == pytest.approx(share, abs=share_error(share, n))
            days = (np.minimum(there["stop"], 365) - np.minimum(there["start"], 365)).groupby(there["person"]).sum()
            mean = days.sum() / n
            error = math.sqrt((days**2).sum() / n - mean**2) / math.sqrt(n)
            assert mean == pytest.approx(truth[f"days.{cell}.{state}.365"], abs=4 * error)


@pytest.mark.parametrize("sojourn", ["markov", "semi_markov"])
def test_pathways_move_in_parallel_without_the_service_and_add_up(sojourn):
    none = compute_pathway_truth(PathwaySettings(sojourn=sojourn))
    assert max(abs(v) for k, v in none.items() if k.startswith("did.")) < 1e-10
    assert none["occupancy.treated before.own tenancy.365"] != none["occupancy.treated after.own tenancy.365"]
    some = compute_pathway_truth(PathwaySettings(effect=1.8, sojourn=sojourn))
    assert sum(some[f"did.occupancy.{s}.365"] for s in STATES) == pytest.approx(0, abs=1e-12)
    assert sum(some[f"days.treated after.{s}.365"] for s in STATES) == pytest.approx(365)
    assert some["did.days.own tenancy.365"] > 5
    assert some["did.days.rehabilitation ward.365"] < -5


def test_pathways_fit_the_checked_type():
    frame, _ = simulate_pathways(PathwaySettings(people_per_cell=50, effect=1.5), rng=rng())
    history = EventHistory.from_frame(
        frame, person="person", start="start", stop="stop", from_state="from_state", to_state="to_state",
        states=STATES, absorbing=ABSORBING, stratum="cell",
    )  # fmt: skip
    assert history.n_people == 200


def test_trial_truth_is_what_people_made_to_start_show():
    """100,000 people drawn anew who start by the end of grace or never, with the settings' hazards: four errors."""
    settings = TrialSettings(hazard_ratio=0.6)
    truth = simulate_trial(settings, rng=rng())[1]
    draw = rng(5)
    severity = draw.normal(size=MANY)
    hazard = np.exp(0.5 * severity) / 365
    start = np.minimum(draw.exponential(size=MANY) * 60 / (math.log(2) * np.exp(0.6 * severity)), 60)
    clock = draw.exponential(size=MANY)
    never = clock / hazard
    begun = np.where(never <= start, never, start + (clock - hazard * start) / (0.6 * hazard))
    for day in (90, 365):
        for name, time in (("start", begun), ("never", never)):
            share = truth[f"risk.{name}.{day}"]
            assert (time <= day).mean() == pytest.approx(share, abs=share_error(share, MANY))


def test_planned_starts_are_those_of_people_who_wait():
    """Hazards of starting by day, whoever waits, from a large draw; then people of any severity start by them."""
    settings = TrialSettings(people=MANY, hazard_ratio=0.6)
    frame, truth = simulate_trial(settings, rng=rng(6))
    start = frame["start"].fillna(np.inf).to_numpy() - 0.5
    days = np.arange(60)
    waiting = (np.minimum(start, frame["exit"].to_numpy())[:, None] > days).sum(axis=0)
    chance = ((start[:, None] > days) & (start[:, None] < days + 1)).sum(axis=0) / waiting
    share = chance * np.cumprod(np.r_[1.0, 1 - chance[:-1]])
    draw = rng(7)
    planned = draw.choice(days, size=MANY, p=share / share.sum()) + draw.random(MANY)
    hazard = np.exp(0.5 * draw.normal(size=MANY)) / 365
    clock = draw.exponential(size=MANY)
    time = np.where(clock / hazard <= planned, clock / hazard, planned + (clock / hazard - planned) / 0.6)
    for day in (90, 365):
        risk = truth[f"risk.planned.{day}"]
        assert (time <= day).mean() == pytest.approx(risk, abs=share_error(risk, MANY))


def test_who_started_looks_better_than_it_is_in_a_trial_without_effect():
    frame, truth = simulate_trial(TrialSettings(people=20_000, selection=0.0), rng=rng())
    risk = ((frame["event"] == 1) & (frame["exit"] <= 90)).groupby(frame["start"].notna()).mean()
    # At no effect the truth is what nobody's start changes.
    assert truth["difference.start.90"] == pytest.approx(0, abs=1e-12)
    assert risk[True] - risk[False] < -0.03


def test_trial_people_start_before_they_end_and_the_worse_earlier():
    settings = TrialSettings(people=20_000, excluded=0.2, last_start=120.0)
    frame, _ = simulate_trial(settings, rng=rng())
    started = frame["start"].notna()
    assert (frame.loc[started, "start"] <= frame.loc[started, "exit"]).all()
    assert frame["start"].min() == 1
    assert frame["start"].max() == 120
    assert frame["eligible"].mean() == pytest.approx(0.8, abs=0.02)
    assert frame.loc[started, "severity"].mean() > frame.loc[~started, "severity"].mean() + 0.2
    share = expit(0.0)
    by_grace = frame["start"].le(60) & (frame["severity"].abs() < 0.1)
    still = frame["severity"].abs() < 0.1
    assert by_grace.sum() / still.sum() == pytest.approx(share, abs=0.08)


@pytest.mark.parametrize(
    ("simulate", "settings", "faults"),
    [
        (simulate_people, PeopleSettings(people=0, outcome="other", missing=2.0), 3),
        (simulate_recurrence, RecurrenceSettings(frailty=-1.0, follow_up=(5.0, 1.0), rate_ratio=0.0), 4),
        (simulate_competing, CompetingSettings(share=1.0, death_days=0.0), 2),
        (simulate_pathways, PathwaySettings(effect=0.0, sojourn="other"), 2),
        (simulate_trial, TrialSettings(grace_days=400.0), 3),
    ],
)
def test_every_setting_out_of_range_is_named_at_once(simulate, settings, faults):
    with pytest.raises(ParameterError) as refused:
        simulate(settings, rng=rng())
    assert len(refused.value.faults) == faults


@pytest.mark.parametrize(
    ("simulate", "settings"),
    [
        (simulate_people, PeopleSettings(people=50, clusters=5, missing=0.1)),
        (simulate_recurrence, RecurrenceSettings(people=50, late_share=0.3)),
        (simulate_competing, CompetingSettings(people=50, late_share=0.3)),
        (simulate_pathways, PathwaySettings(people_per_cell=20)),
        (simulate_trial, TrialSettings(people=50)),
    ],
)
def test_one_seed_gives_one_draw(simulate, settings):
    first, second, other = (simulate(settings, rng=rng(seed))[0] for seed in (1, 1, 2))
    assert first.equals(second)
    assert not first.equals(other)
