"""Histories as follow-up for a Cox model of every move: one row a stay and each move that could end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.history import EventHistory
from evalkit.core.errors import Fault, suggest_name
from evalkit.core.faults import choice_faults, is_finite, refuse
from evalkit.estimators.survival.multistate_moves import in_order


@dataclass(frozen=True)
class TransitionOptions:
    """How the moves share baselines and covariates.

    clock : "forward" time since the start of the history; "reset" time since arrival in the state.
    baseline : "transition" a hazard of its own for each move; "target" one for all moves into a state, with an
        indicator `move.m` for each but the first of them (proportional baselines).
    specific : covariates with an effect of their own on each move, named `covariate.m` for the m-th move from 1;
        None for all that are not `common`.
    common : covariates with one effect on all moves.
    arrival : states whose time of arrival is a covariate `arrival.m` of each move out of them (state-arrival
        extended Markov model).
    """

    clock: Literal["forward", "reset"] = "forward"
    baseline: Literal["transition", "target"] = "transition"
    specific: tuple[str, ...] | None = None
    common: tuple[str, ...] = ()
    arrival: tuple[str, ...] = ()


@dataclass(frozen=True)
class TransitionRows:
    """`follow_up` for `fit_cox`, whose strata are the baselines, and which move each row could make.

    `move` (n,) place in `moves` (M, 2), pairs of places in `states` in order; `layer` (M,) the stratum of each move;
    `source` the covariates of the history. Rows of one stay at risk of several moves overlap in different strata.
    """

    follow_up: FollowUp
    move: np.ndarray
    moves: np.ndarray
    layer: np.ndarray
    states: tuple[str, ...]
    source: tuple[str, ...]
    options: TransitionOptions

    @property
    def move_names(self) -> tuple[str, ...]:
        return tuple(f"{self.states[a]} to {self.states[b]}" for a, b in self.moves)


_DEFAULT = TransitionOptions()


def build_transition_rows(
    history: EventHistory,
    *,
    moves: Sequence[tuple[str, str]] | None = None,
    options: TransitionOptions = _DEFAULT,
) -> TransitionRows:
    """One row an interval and move that can end it, event where it did (mstate's msprep and expand.covs).

    Parameters
    ----------
    moves : pairs of states to model; by default those that were made, in the order of the states. Moves that are
        left out count as censoring.

    Raises
    ------
    ParameterError
        Covariates or states that are not there, a covariate that is both specific and common, no moves.

    References
    ----------
    Putter, Fiocco and Geskus 2007, Stat Med 26:2389, section 4; de Wreede, Fiocco and Putter 2011, JSS 38(7).
    """
    refuse(_faults(history, moves, options))
    history = in_order(history)
    if moves is None:
        went = history.to_state >= 0
        pairs = np.unique(np.column_stack([history.from_state[went], history.to_state[went]]), axis=0)
    else:
        pairs = np.array(sorted((history.states.index(a), history.states.index(b)) for a, b in moves))
    layer = (
        np.arange(len(pairs)) if options.baseline == "transition" else np.unique(pairs[:, 1], return_inverse=True)[1]
    )
    still = [f"{history.states[a]} to {history.states[b]}" for a, b in pairs if not (history.from_state == a).any()]
    refuse([Fault("moves", "nobody is at risk of it", got=name, next_step="Leave it out.") for name in still])
    row = np.concatenate([np.flatnonzero(history.from_state == a) for a, _ in pairs])
    move = np.concatenate([np.full((history.from_state == a).sum(), m) for m, (a, _) in enumerate(pairs)])
    order = np.lexsort((move, row))
    row, move = row[order], move[order]
    arrived = _arrival(history)
    shift = arrived[row] if options.clock == "reset" else 0.0
    names, x = _expand(
        history.covariates[row], arrived[row], move, pairs, layer, history.states, history.names, options
    )
    labels = (
        tuple(f"{history.states[a]} to {history.states[b]}" for a, b in pairs)
        if options.baseline == "transition"
        else tuple(f"to {history.states[b]}" for b in np.unique(pairs[:, 1]))
    )
    follow_up = FollowUp(
        history.start[row] - shift, history.stop[row] - shift,
        (history.to_state[row] == pairs[move, 1]).astype(np.int64), history.person[row], history.cluster[row],
        layer[move], history.weights[row], np.zeros(len(row)), x, names, ("move",), labels,
    )  # fmt: skip
    return TransitionRows(follow_up, move, pairs, layer, history.states, history.names, options)


def build_transition_design(rows: TransitionRows, values: Mapping[str, float], *, arrived: float = 0.0) -> np.ndarray:
    """Covariates of one person on every move, shape (M, p), in the order of `rows.moves` and the fit's names.

    `values` holds each of the history's covariates (`rows.source`, indicators as numbers); `arrived` is the time of
    arrival where it is a covariate.

    Raises ParameterError for covariates that are missing, unknown or not finite.
    """
    faults = [Fault("values", f'"{name}" has no value') for name in rows.source if name not in values]
    faults += [Fault("values", f'there is no covariate "{name}"', next_step=suggest_name(name, rows.source))
               for name in values if name not in rows.source]  # fmt: skip
    faults += [Fault("values", f'"{name}" is not finite') for name, value in values.items() if not is_finite(value)]
    refuse(faults)
    count = len(rows.moves)
    x = np.tile(np.array([values[name] for name in rows.source], dtype=np.float64), (count, 1))
    return _expand(
        x, np.full(count, arrived), np.arange(count), rows.moves, rows.layer, rows.states, rows.source, rows.options
    )[1]


def _arrival(history: EventHistory) -> np.ndarray:
    """When each row's stay began, shape (n,): rows of one person that follow each other in one state are one stay."""
    same = (
        (history.person[1:] == history.person[:-1])
        & (history.start[1:] == history.stop[:-1])
        & (history.to_state[:-1] < 0)
    )
    begins = np.concatenate([[True], ~same])
    return history.start[np.flatnonzero(begins)[np.cumsum(begins) - 1]]


def _expand(
    x: np.ndarray,
    arrived: np.ndarray,
    move: np.ndarray,
    pairs: np.ndarray,
    layer: np.ndarray,
    states: tuple[str, ...],
    source: tuple[str, ...],
    options: TransitionOptions,
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and columns: specific covariates by move, common ones, `move.m`, `arrival.m`."""
    specific = options.specific
    if specific is None:
        specific = tuple(name for name in source if name not in options.common)
    names: list[str] = []
    columns: list[np.ndarray] = []
    for m in range(len(pairs)):
        here = move == m
        for name in specific:
            names.append(f"{name}.{m + 1}")
            columns.append(np.where(here, x[:, source.index(name)], 0.0))
    for name in options.common:
        names.append(name)
        columns.append(x[:, source.index(name)])
    for m in range(len(pairs)):
        if m > np.flatnonzero(layer == layer[m])[0]:
            names.append(f"move.{m + 1}")
            columns.append((move == m).astype(np.float64))
    for m, (origin, _) in enumerate(pairs):
        if states[origin] in options.arrival:
            names.append(f"arrival.{m + 1}")
            columns.append(np.where(move == m, arrived, 0.0))
    return tuple(names), np.column_stack(columns) if columns else np.empty((len(move), 0))


def _faults(history: EventHistory, moves: Sequence[tuple[str, str]] | None, options: TransitionOptions) -> list[Fault]:
    faults = choice_faults("clock", options.clock, ("forward", "reset"))
    faults += choice_faults("baseline", options.baseline, ("transition", "target"))
    for where, wanted in (("specific", options.specific or ()), ("common", options.common)):
        faults += [
            Fault(where, f'there is no covariate "{name}"', next_step=suggest_name(name, history.names))
            for name in wanted
            if name not in history.names
        ]
    both = sorted(set(options.specific or ()) & set(options.common))
    if both:
        faults.append(Fault("covariates", "an effect is specific or common, not both", got=", ".join(both)))
    named = [("arrival", name) for name in options.arrival]
    named += [("moves", name) for pair in moves or () for name in pair]
    faults += [
        Fault(where, f'there is no state "{name}"', next_step=suggest_name(name, history.states))
        for where, name in named
        if name not in history.states
    ]
    pairs = moves is None or (len(moves) > 0 and all(len(pair) == 2 and pair[0] != pair[1] for pair in moves))
    if not pairs or (moves is not None and len(set(moves)) < len(moves)):
        faults.append(Fault("moves", "one or more pairs of different states, each once"))
    if moves is None and not (history.to_state >= 0).any():
        faults.append(Fault("moves", "nobody moves"))
    return faults
