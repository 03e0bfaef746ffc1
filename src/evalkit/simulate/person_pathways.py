"""Pathways through settings whose truth is known, in four cells: two groups before and after the service began."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import linalg

from evalkit.simulate.person_worlds import refuse_settings

Sojourn = Literal["markov", "semi_markov"]

STATES = (
    "rehabilitation ward", "supported living", "floating support", "own tenancy", "hospital", "residential care",
    "dead",
)  # fmt: skip
ABSORBING = ("dead",)
HORIZONS = (90.0, 180.0, 365.0)
CELLS = (("treated", "before"), ("treated", "after"), ("comparison", "before"), ("comparison", "after"))
# Moves a year from state to state, in the order of STATES; nobody leaves death.
_YEARLY = np.array(
    [
        [0.0, 1.2, 0.3, 0.15, 0.5, 0.3, 0.05],
        [0.2, 0.0, 0.7, 0.2, 0.6, 0.15, 0.05],
        [0.1, 0.3, 0.0, 0.8, 0.5, 0.05, 0.04],
        [0.05, 0.1, 0.3, 0.0, 0.5, 0.03, 0.04],
        [2.0, 1.5, 0.8, 1.0, 0.0, 0.4, 0.15],
        [0.05, 0.2, 0.05, 0.05, 0.4, 0.0, 0.12],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
# Where people of a group are at time zero before the service, and how the share changes by the period after for both.
_START = {"treated": (0.6, 0.15, 0.05, 0.0, 0.2, 0.0, 0.0), "comparison": (0.4, 0.25, 0.15, 0.0, 0.15, 0.05, 0.0)}
_DRIFT = np.array([-0.1, 0.05, 0.05, 0.0, 0.0, 0.0, 0.0])


@dataclass(frozen=True)
class PathwaySettings:
    """What `simulate_pathways` draws from; the defaults are 150 people in each of the four cells.

    Everybody moves by the same rates; groups differ in where they start, and both groups' starts drift alike between
    the periods. Occupancy being linear in the start, untreated occupancy of every state moves in parallel at all times.
    The service multiplies the treated group's rates after it began: moves out of the ward and supported living towards
    more independent settings by `effect`, moves into hospital by 1/`effect` (1 for none).

    `sojourn` "semi_markov" makes stays Erlang with two phases of the same mean, so that leaving depends on the time
    since arrival (a Markov process for nobody who sees states alone). Follow-up ends between `follow_up` days.
    """

    people_per_cell: int = 150
    effect: float = 1.0
    sojourn: Sojourn = "markov"
    follow_up: tuple[float, float] = (250.0, 600.0)


def simulate_pathways(settings: PathwaySettings, *, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, float]]:
    """Draw histories: one row a stay, and the truth by name.

    Columns `person`, `start`, `stop` (days since time zero, `start < stop`), `from_state`, `to_state` ("" where
    follow-up ended), `group` (treated, comparison), `period` (before, after), `cell` (`group period`). Truth as in
    `compute_pathway_truth`.

    Raises ParameterError, all faults at once, for settings out of range.
    """
    _check_settings(settings)
    n = settings.people_per_cell
    frames = []
    for place, (group, period) in enumerate(CELLS):
        stays = _draw_stays(_rates(settings, group, period), _start(group, period), n, settings, rng)
        stays["person"] += place * n
        frames.append(stays.assign(group=group, period=period, cell=f"{group} {period}"))
    return pd.concat(frames, ignore_index=True), compute_pathway_truth(settings)


def compute_pathway_truth(settings: PathwaySettings) -> dict[str, float]:
    """Occupancy and expected days of every cell, and their difference-in-differences, by matrix exponential.

    `occupancy.<cell>.<state>.<day>` for days 90, 180 and 365, `days.<cell>.<state>.365`; and
    `did.occupancy.<state>.<day>`, `did.days.<state>.365`: treated after less before, less the same of the comparison.
    Semi-Markov stays are phases of a larger Markov chain (Neuts 1981), so that this is exact for them too.
    """
    return dict(_pathway_truth(settings.effect, settings.sojourn))


@lru_cache(maxsize=64)
def _pathway_truth(effect: float, sojourn: Sojourn) -> tuple[tuple[str, float], ...]:
    settings = PathwaySettings(effect=effect, sojourn=sojourn)
    truth: dict[str, float] = {}
    for group, period in CELLS:
        generator, start = _phased(_rates(settings, group, period), _start(group, period), sojourn)
        for day in HORIZONS:
            occupied = _of_states(start @ linalg.expm(generator * day), sojourn)
            truth |= _named(f"occupancy.{group} {period}", occupied, day)
        # The integral of exp(Qs) from 0 to t is a corner of one larger exponential (Van Loan 1978, IEEE TAC 23:395).
        size = len(generator)
        both = np.zeros((2 * size, 2 * size))
        both[:size, :size], both[:size, size:] = generator, np.eye(size)
        spent = _of_states(start @ linalg.expm(both * HORIZONS[-1])[:size, size:], sojourn)
        truth |= _named(f"days.{group} {period}", spent, HORIZONS[-1])
    names = [name for name in truth if ".treated after." in name]
    for name in names:
        cell = {key: truth[name.replace("treated after", " ".join(key))] for key in CELLS}
        after, before = (cell["treated", p] - cell["comparison", p] for p in ("after", "before"))
        truth["did." + name.replace(".treated after", "")] = after - before
    return tuple(truth.items())


def _named(prefix: str, values: np.ndarray, day: float) -> dict[str, float]:
    return {f"{prefix}.{state}.{day:.0f}": float(v) for state, v in zip(STATES, values, strict=True)}


def _rates(settings: PathwaySettings, group: str, period: str) -> np.ndarray:
    """Rates a day between states, shape (K, K), diagonal 0."""
    rates = _YEARLY / 365.0
    if (group, period) == ("treated", "after"):
        rates = rates.copy()
        hospital = STATES.index("hospital")
        for one in ("rehabilitation ward", "supported living"):
            place = STATES.index(one)
            rates[place, place + 1 : hospital] *= settings.effect
        rates[:hospital, hospital] /= settings.effect
    return rates


def _start(group: str, period: str) -> np.ndarray:
    return np.array(_START[group]) + (_DRIFT if period == "after" else 0.0)


def _phased(rates: np.ndarray, start: np.ndarray, sojourn: Sojourn) -> tuple[np.ndarray, np.ndarray]:
    """Generator and start of the Markov chain underneath: itself, or two phases a state at twice the rate."""
    leaving = rates.sum(axis=1)
    if sojourn == "markov":
        return rates - np.diag(leaving), start
    size = len(rates)
    generator = np.zeros((2 * size, 2 * size))
    generator[:size, size:] = np.diag(2 * leaving)
    generator[size:, :size] = 2 * rates
    np.fill_diagonal(generator, np.concatenate([-2 * leaving, -2 * leaving]))
    return generator, np.concatenate([start, np.zeros(size)])


def _of_states(values: np.ndarray, sojourn: Sojourn) -> np.ndarray:
    return values if sojourn == "markov" else values.reshape(2, -1).sum(axis=0)


def _draw_stays(
    rates: np.ndarray, start: np.ndarray, n: int, settings: PathwaySettings, rng: np.random.Generator
) -> pd.DataFrame:
    """Stays of n people until death or the end of follow-up, person by person in order of time."""
    leaving = rates.sum(axis=1)
    onward = np.cumsum(rates / np.where(leaving > 0, leaving, 1)[:, None], axis=1)
    shape = 1 if settings.sojourn == "markov" else 2
    last = rng.uniform(*settings.follow_up, n)
    who, state, now = np.arange(n), rng.choice(len(start), size=n, p=start), np.zeros(n)
    parts = []
    while len(who):
        stop = now + rng.gamma(shape, 1 / (shape * leaving[state]))
        target = np.minimum((rng.random(len(who))[:, None] > onward[state]).sum(axis=1), len(leaving) - 1)
        ended = stop >= last[who]
        parts.append(
            pd.DataFrame({
                "person": who, "start": now, "stop": np.minimum(stop, last[who]), "from_state": state,
                "to_state": np.where(ended, -1, target),
            })
        )  # fmt: skip
        going = ~ended & (leaving[target] > 0)
        who, state, now = who[going], target[going], stop[going]
    stays = pd.concat(parts, ignore_index=True).sort_values(["person", "start"], ignore_index=True)
    names = np.array([*STATES, ""], dtype=object)
    return stays.assign(from_state=names[stays["from_state"]], to_state=names[stays["to_state"]])


def _check_settings(settings: PathwaySettings) -> None:
    low, high = settings.follow_up
    refuse_settings("pathway settings", settings, [
        ("people_per_cell", settings.people_per_cell < 1, "1 or more"),
        ("effect", settings.effect <= 0, "above 0"),
        ("sojourn", settings.sojourn not in get_args(Sojourn), ", ".join(get_args(Sojourn))),
        ("follow_up", not 0 < low <= high, "two numbers of days above 0, the smaller first"),
    ])  # fmt: skip
