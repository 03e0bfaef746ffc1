"""Occupancy of many bootstrap replicates at once, from one sorted event structure: the numeric core."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from evalkit.cohort.history import EventHistory


@dataclass(frozen=True)
class ReplicateStructure:
    """One stratum's moves, sorted once, as sparse sums over people that any weights of people can be put through.

    `times` (E,) distinct times of moves in (start, horizon]; `moves` (M, 3) place of the time, from, to, in the
    order of time; `moved` (M, n), `steps` ((E + 1) K, n) what enters less what leaves the risk sets, `begun` (K, n)
    who is where at the start: sparse, over the n people of all strata.
    """

    start: float
    horizon: float
    size: int
    times: np.ndarray
    moves: np.ndarray
    moved: sparse.csr_array
    steps: sparse.csr_array
    begun: sparse.csr_array


def build_replicate_structure(
    history: EventHistory, person: np.ndarray, weights: np.ndarray, n_people: int, *, start: float, horizon: float
) -> ReplicateStructure:
    """Sort one stratum's rows once; `person` (n,) places of people among `n_people`, `weights` (n,) of rows."""
    size = len(history.states)
    inside = (history.stop > start) & (history.start < horizon)
    begin, stop = np.maximum(history.start[inside], start), history.stop[inside]
    origin, target, who, w = history.from_state[inside], history.to_state[inside], person[inside], weights[inside]
    went = (target >= 0) & (stop <= horizon)
    times = np.unique(stop[went])
    count = len(times)
    first, last = np.searchsorted(times, begin, side="right"), np.searchsorted(times, stop, side="right")
    key = ((last[went] - 1) * size + origin[went]) * size + target[went]
    found, place = np.unique(key, return_inverse=True)
    moves = np.column_stack([found // (size * size), found // size % size, found % size])
    cells = np.concatenate([first * size + origin, last * size + origin])
    present = begin == start
    return ReplicateStructure(
        start, horizon, size, times, moves,
        _sparse(w[went], place, who[went], (len(found), n_people)),
        _sparse(np.concatenate([w, -w]), cells, np.concatenate([who, who]), ((count + 1) * size, n_people)),
        _sparse(w[present], origin[present], who[present], (size, n_people)),
    )  # fmt: skip


def _sparse(values: np.ndarray, row: np.ndarray, column: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    matrix = sparse.csr_array((values, (row, column)), shape=shape)
    matrix.sum_duplicates()
    return matrix


def compute_replicates(
    structure: ReplicateStructure, weights: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Aalen-Johansen occupancy at `times` and time in each state up to the horizon, for every column of weights.

    Parameters
    ----------
    weights : float array, shape (n, R), one column a replicate
    times : sorted float array, shape (T,), from the start to the horizon

    Returns
    -------
    Occupancy (T, K, R) and time in each state (K, R); NaN in replicates in which nobody is there at the start.
    """
    replicates = weights.shape[1]
    begun = structure.begun @ weights
    mass = begun.sum(axis=0)
    p = np.divide(begun, mass, out=np.full_like(begun, np.nan), where=mass > 0)
    hazard = _hazards(structure, weights)
    occupancy = np.empty((len(times), structure.size, replicates))
    area = np.zeros_like(p)
    stop_at = np.searchsorted(times, structure.times, side="left")  # times before the place see p before the event
    ends = np.searchsorted(structure.moves[:, 0], np.arange(len(structure.times) + 1))
    clock, shown = structure.start, 0
    for event, time in enumerate(structure.times):
        occupancy[shown : stop_at[event]] = p
        shown = max(shown, stop_at[event])
        area += p * (time - clock)
        clock = time
        rows = range(ends[event], ends[event + 1])
        flows = [p[structure.moves[row, 1]] * hazard[row] for row in rows]
        for row, flow in zip(rows, flows, strict=True):
            p[structure.moves[row, 1]] -= flow
            p[structure.moves[row, 2]] += flow
    occupancy[shown:] = p
    area += p * (structure.horizon - clock)
    return occupancy, area


def _hazards(structure: ReplicateStructure, weights: np.ndarray) -> np.ndarray:
    """Share of those at risk who make each move, shape (M, R); 0 where a replicate has nobody at risk."""
    shape = (len(structure.times) + 1, structure.size, weights.shape[1])
    at_risk = np.cumsum((structure.steps @ weights).reshape(shape), axis=0)
    moved = structure.moved @ weights
    below = at_risk[structure.moves[:, 0], structure.moves[:, 1]]
    # Sums of weights differ in the last digit from differences of sums: a share is never above one.
    return np.minimum(np.divide(moved, below, out=np.zeros_like(moved), where=moved > 0), 1.0)
