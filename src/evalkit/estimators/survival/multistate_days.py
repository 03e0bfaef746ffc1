"""Days in each state as estimates with their checks, or with the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evalkit.cohort.history import EventHistory
from evalkit.core.errors import Fault, suggest_name
from evalkit.core.estimand import Estimand
from evalkit.core.faults import refuse
from evalkit.core.result import Check, Estimate, Role, not_estimable
from evalkit.estimators.survival.occupancy import CELLS, Interval, OccupancyEffect, compute_bootstrap_interval

ESTIMATOR = "occupancy_did"
LABEL = "Difference-in-differences of days in the state"
MIN_EVENTS = 10
MIN_PEOPLE = 10
MIN_AREAS = 10
MAX_OUTSIDE = 0.01
_DUST = 1e-9


@dataclass(frozen=True)
class DaysOptions:
    """Level and kind of interval, the role of the estimates, and how many areas are compared (None: not areas)."""

    level: float = 0.95
    interval: Interval = "percentile"
    role: Role = "primary"
    n_areas: int | None = None


_DEFAULT = DaysOptions()


@dataclass(frozen=True)
class _Support:
    """What is behind each state's days up to the horizon, over the four cells: arrays (K,), `cell_people` (4, K).

    `lost` is the largest share of a cell's people at the start who are lost before the horizon, of the cells that
    lose `MIN_PEOPLE` or more; NaN where none does.
    """

    arrivals: np.ndarray
    people: np.ndarray
    cell_people: np.ndarray
    lost: float


def estimate_days_in_state(
    history: EventHistory,
    effect: OccupancyEffect,
    estimands: Mapping[str, Estimand],
    *,
    cell: tuple[object, object, object, object] = CELLS,
    options: DaysOptions = _DEFAULT,
) -> list[Estimate]:
    """Change in days spent in each state that goes with the service, one estimate a state, in the order given.

    The value is the treated's days after the service began less their counterfactual days (`compute_occupancy_effect`
    on the same history); the error and interval are of its bootstrap. `n_events` counts arrivals in the state up to
    the horizon, by a move or by being there at the start; `n_people` those who were ever in it, once if followed twice.

    Parameters
    ----------
    history, cell : as given to `compute_occupancy_effect`
    estimands : state to its estimand, on the scale `days_per_person`

    Returns
    -------
    Estimates; one that is `not_estimable`, with the reason and without a count, for a state with fewer than
    `MIN_EVENTS` arrivals or `MIN_PEOPLE` people, and for all states where a cell has fewer than `MIN_PEOPLE` people.

    Raises
    ------
    ParameterError
        A state that is not listed, another scale, a history of other states or cells than the effect's.
    """
    refuse(_faults(history, effect, estimands, cell))
    support = _count_support(history, effect, cell)
    thin = [name for name, count in zip(CELLS, effect.n_people, strict=True) if count < MIN_PEOPLE]
    se, lower, upper = compute_bootstrap_interval(
        effect.days_difference, effect.draws_days_difference, level=options.level, interval=options.interval
    )
    found = []
    for state, estimand in estimands.items():
        k = effect.states.index(state)
        reason = _reason(state, support, k, thin)
        if reason:
            found.append(not_estimable(estimand, ESTIMATOR, role=options.role, reason=reason, label=LABEL))
            continue
        found.append(Estimate(
            estimand, ESTIMATOR, options.role, float(effect.days_difference[k]), float(lower[k]), float(upper[k]),
            options.level, n_people=float(support.people[k]), n_events=float(support.arrivals[k]), se=float(se[k]),
            p_value=_p_value(effect, k, float(se[k]), options), checks=_checks(effect, support, k, options),
            label=LABEL,
        ))  # fmt: skip
    return found


def _p_value(effect: OccupancyEffect, k: int, se: float, options: DaysOptions) -> float:
    """Two-sided: normal, or of the percentiles, twice the smaller share of draws on one side of no effect."""
    value, draws = effect.days_difference[k], effect.draws_days_difference[:, k]
    if options.interval == "normal":
        return math.erfc(abs(value) / se / math.sqrt(2)) if se > 0 else math.nan
    smaller = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (1 + smaller) / (1 + len(draws)))


def _count_support(history: EventHistory, effect: OccupancyEffect, cell: tuple[object, ...]) -> _Support:
    size = len(history.states)
    code = np.array([history.strata.index(name) for name in cell])
    during = np.isin(history.stratum, code) & (history.stop > effect.start) & (history.start < effect.horizon)
    went = during & (history.to_state >= 0) & (history.stop <= effect.horizon)
    begun = during & (history.start <= effect.start)
    arrivals = np.bincount(history.to_state[went], minlength=size)
    arrivals = arrivals + np.bincount(history.from_state[begun], minlength=size)
    state = np.concatenate([history.from_state[during], history.to_state[went]])
    rows = np.concatenate([np.flatnonzero(during), np.flatnonzero(went)])
    there = np.unique(np.column_stack([state, history.stratum[rows], history.person[rows]]), axis=0)
    by_cell = np.stack([np.bincount(there[there[:, 1] == one, 0], minlength=size) for one in code])
    who = history.cluster if _clusters_are_people(history) else history.person
    people = np.bincount(np.unique(np.column_stack([state, who[rows]]), axis=0)[:, 0], minlength=size)
    shares = [_share_lost(history, effect, one) for one in code]
    return _Support(arrivals, people, by_cell, max((one for one in shares if one > 0), default=math.nan))


def _share_lost(history: EventHistory, effect: OccupancyEffect, code: int) -> float:
    """Share of people of a cell at the start who are lost before the horizon; 0 for fewer than `MIN_PEOPLE`."""
    mine = history.stratum == code
    present = np.unique(history.person[mine & (history.start <= effect.start) & (history.stop > effect.start)])
    # Under observation across the horizon or to an absorbing state: a move into it ends a history.
    stuck = np.array([state in history.absorbing for state in history.states])
    ended = (history.to_state >= 0) & stuck[np.maximum(history.to_state, 0)]
    followed = np.unique(history.person[mine & ((history.stop >= effect.horizon) | ended)])
    lost = len(present) - int(np.isin(present, followed).sum())
    return lost / len(present) if lost >= MIN_PEOPLE else 0.0


def _clusters_are_people(history: EventHistory) -> bool:
    """Whether no cluster holds two people of one cell: then it is one person, followed in several cells."""
    people = np.unique(np.column_stack([history.cluster, history.stratum, history.person]), axis=0)
    return len(np.unique(people[:, :2], axis=0)) == len(people)


def _reason(state: str, support: _Support, k: int, thin: list[str]) -> str:
    if thin:
        return f"Fewer than {MIN_PEOPLE} people: {', '.join(thin)}."
    if support.people[k] < MIN_PEOPLE:
        return f'Fewer than {MIN_PEOPLE} people were in "{state}" before the horizon.'
    if support.arrivals[k] < MIN_EVENTS:
        return f'Fewer than {MIN_EVENTS} arrivals in "{state}" before the horizon.'
    return ""


def _checks(effect: OccupancyEffect, support: _Support, k: int, options: DaysOptions) -> tuple[Check, ...]:
    counterfactual = effect.counterfactual[:, k]
    outside = float(((counterfactual < -_DUST) | (counterfactual > 1 + _DUST)).mean())
    few = int((support.cell_people[:, k] < MIN_PEOPLE).sum())
    checks = [
        Check(
            "cells_with_few", few == 0, few,
            f"In {few} of the four cells fewer than {MIN_PEOPLE} people were in the state; with few, the interval "
            "leans on who happened to be there.",
        ),
        Check(
            "additive_counterfactual", outside <= MAX_OUTSIDE, outside,
            f"At {outside:.1%} of times the counterfactual share of people in the state is below 0 or above 1; "
            f"{MAX_OUTSIDE:.0%} or less is wanted of parallel paths.",
        ),
    ]  # fmt: skip
    lost = (
        f"Of the cell with most, {support.lost:.0%} were lost before the horizon; others in their state stand for them."
        if support.lost > 0
        else f"Fewer than {MIN_PEOPLE} people of any cell were lost before the horizon."
    )
    checks.append(Check("lost_to_follow_up", None, support.lost, lost))
    if options.n_areas is not None:
        checks.append(Check(
            "area_shocks", options.n_areas >= MIN_AREAS, options.n_areas,
            "Few areas are compared: the interval counts people, and cannot see a shock that hit a whole area."
            if options.n_areas < MIN_AREAS else f"{options.n_areas} areas are compared.",
        ))  # fmt: skip
    return tuple(checks)


def _faults(
    history: EventHistory, effect: OccupancyEffect, estimands: Mapping[str, Estimand], cell: tuple[object, ...]
) -> list[Fault]:
    faults = [
        Fault("estimands", "not a state", state, ", ".join(history.states), suggest_name(state, list(history.states)))
        for state in estimands
        if state not in history.states
    ]
    faults += [
        Fault(state, "days are on the scale days_per_person", got=estimand.scale)
        for state, estimand in estimands.items()
        if estimand.scale != "days_per_person"
    ]
    if effect.states != history.states or any(name not in history.strata for name in cell):
        faults.append(Fault("effect", "its states and cells are not those of the history"))
    return faults
