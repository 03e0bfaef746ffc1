"""Worlds of the person-level truth run in which people move between settings, or start a service late."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from person_truth_types import Entrant, Found, World, found_of_difference

from evalkit.cohort.history import EventHistory
from evalkit.estimators.occupancy import (
    compute_bootstrap_interval,
    compute_occupancy_effect,
    estimate_occupancy_difference,
)
from evalkit.simulate.person_pathways import ABSORBING, STATES, PathwaySettings, simulate_pathways

DRAWS = 200  # bootstrap draws
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


def build_pathway_worlds() -> tuple[World, ...]:
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
