"""Worlds of the person-level truth run in which people move between settings, or start a service late."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from person_truth_types import Entrant, Found, World, found_of, found_of_difference, name_estimand, or_refused

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.history import EventHistory
from evalkit.estimators.people.clone_censor import estimate_clone_effect
from evalkit.estimators.people.clone_people import CloneOptions, TrialPeople
from evalkit.estimators.survival.curve_contrasts import estimate_risk_difference
from evalkit.estimators.survival.occupancy import (
    compute_bootstrap_interval,
    compute_occupancy_effect,
    estimate_occupancy_difference,
)
from evalkit.simulate.person_pathways import ABSORBING, STATES, PathwaySettings, simulate_pathways
from evalkit.simulate.person_trials import TrialSettings, simulate_trial

DRAWS = 200  # bootstrap draws
GRACE, HORIZON = 90.0, 180.0  # days
TRIAL_SCALES = {"risk difference": "risk_difference", "risk ratio": "risk_ratio"}
TIMES = [180.0, 365.0]
HOUSES = {
    "days in own tenancy": "did.days.own tenancy.365",
    "days in hospital": "did.days.hospital.365",
    "share in own tenancy, day 365": "did.occupancy.own tenancy.365",
    "share on the ward, day 180": "did.occupancy.rehabilitation ward.180",
}
SOJOURNS = {"markov": "Markov", "semi_markov": "moves that depend on the time since arrival"}


def draw_pathways(sojourn: str) -> Callable:
    def draw(people: int, effect: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        settings = PathwaySettings(people_per_cell=people // 4, effect=1.8 if effect else 1.0, sojourn=sojourn)
        frame, truth = simulate_pathways(settings, rng=rng)
        history = EventHistory.from_frame(
            frame, person="person", start="start", stop="stop", from_state="from_state", to_state="to_state",
            states=STATES, absorbing=ABSORBING, stratum="cell",
        )  # fmt: skip
        return {"history": history}, truth

    return draw


def run_effect(data: dict, *, interval: str) -> dict[str, Found]:
    if "effect" not in data:
        data["effect"] = compute_occupancy_effect(
            data["history"], horizon=365.0, at=TIMES, replicates=DRAWS, rng=data["rng"]
        )
    effect, found = data["effect"], {}
    for name, key in HOUSES.items():
        place, time = _places(key, effect.states)
        value, draws = effect.days_difference[place], effect.draws_days_difference[:, place]
        if time is not None:
            value, draws = effect.difference[time, place], effect.draws_difference[:, time, place]
        _, lower, upper = compute_bootstrap_interval(value, draws, level=0.95, interval=interval)
        found[name] = Found(float(value), float(lower), float(upper))
    return found


def run_after_alone(data: dict) -> dict[str, Found]:
    """Treated after less comparison after, as if the groups had begun alike."""
    effect = estimate_occupancy_difference(
        data["history"], first="treated after", second="comparison after", at=TIMES, horizon=365.0
    )
    found = {}
    for name, key in HOUSES.items():
        place, time = _places(key, effect.states)
        value, se = effect.days[place], effect.days_se[place]
        if time is not None:
            value, se = effect.difference[time, place], effect.se[time, place]
        found[name] = found_of_difference(float(value), float(se))
    return found


def _places(key: str, states: tuple[str, ...]) -> tuple[int, int | None]:
    """Place of the state, and of the time or None for days."""
    _, kind, state, day = key.split(".")
    return states.index(state), TIMES.index(float(day)) if kind == "occupancy" else None


def draw_trial(selection: float) -> Callable:
    def draw(people: int, effect: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        settings = TrialSettings(
            people=people, hazard_ratio=0.6 if effect else 1.0, selection=selection, events_per_year=1.5,
            grace_days=GRACE, last_start=GRACE,
        )  # fmt: skip
        frame, truth = simulate_trial(settings, rng=rng)
        return {"frame": frame}, truth

    return draw


def run_clones(
    data: dict, *, start_weights: str, covariates: tuple[str, ...] = ("severity", "age")
) -> dict[str, Found]:
    people = TrialPeople.from_frame(
        data["frame"], person="person", start="start", exit="exit", event="event", covariates=covariates
    )
    options = CloneOptions(
        grace_days=GRACE, horizon_days=HORIZON, interval_days=10.0, start_weights=start_weights, replicates=DRAWS
    )
    return {
        name: or_refused(partial(estimate_clone_effect, people, name_estimand(scale), options=options, rng=data["rng"]))
        for name, scale in TRIAL_SCALES.items()
    }


def run_started(data: dict) -> dict[str, Found]:
    """Who started within the grace period against who did not, by what they did later: immortal time."""
    frame = data["frame"].assign(started=data["frame"]["start"].notna())
    follow_up = FollowUp.from_frame(frame, exit="exit", event="event", person="person", stratum="started")
    return {
        name: found_of(estimate_risk_difference(follow_up, name_estimand(scale), at=HORIZON, role="naive"))
        for name, scale in TRIAL_SCALES.items()
    }


def _trial_world(name: str, selection: float, words: str) -> World:
    planned, start = (
        {"risk difference": f"difference.{way}.{HORIZON:.0f}", "risk ratio": f"ratio.{way}.{HORIZON:.0f}"}
        for way in ("planned", "start")
    )
    by_time = partial(run_clones, start_weights="initiation_time")
    by_grace = partial(run_clones, start_weights="grace_end")
    wrong = (
        Entrant("clones, severity unknown", start, partial(by_grace, covariates=("age",)), share=0.2, fails=True)
        if selection > 0.5
        else Entrant("who started against who did not", start, run_started, fails=True)
    )
    return World(
        name, f"Starting a service within {GRACE:.0f} days, {words}; hazard ratio 0.6 once started or none",
        draw_trial(selection),
        (
            Entrant("clones, starting when starters do", planned, by_time, share=0.4),
            Entrant("clones, starting by the end of grace", start, by_grace, share=0.4),
            wrong,
        ),
    )  # fmt: skip


def build_pathway_worlds() -> tuple[World, ...]:
    return (
        *_occupancy_worlds(),
        _trial_world("trial", 1.0, "the worse sooner"),
        _trial_world("trial_immortal", 0.2, "the worse hardly sooner"),
    )


def _occupancy_worlds() -> tuple[World, ...]:
    return tuple(
        World(
            f"pathways_{sojourn}",
            f"Pathways through seven settings, {words}; a quarter of the people in each cell",
            draw_pathways(sojourn),
            (
                Entrant("occupancy, percentile", HOUSES, partial(run_effect, interval="percentile")),
                Entrant("occupancy, normal", HOUSES, partial(run_effect, interval="normal")),
                Entrant("after alone", HOUSES, run_after_alone, fails=True),
            ),
        )
        for sojourn, words in SOJOURNS.items()
    )
