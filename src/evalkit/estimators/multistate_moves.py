"""Moves and people at risk at every time of a history, and what each person adds to what is estimated from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from evalkit.cohort.history import EventHistory


@dataclass(frozen=True)
class MoveCounts:
    """Weighted counts of one stratum after `start`, at the T distinct times at which somebody moves.

    `times` (T,), `at_risk` (T, K) weight in each state just before, `moved` (T, K, K) weight that moves from state
    to state, `people_at_risk` (T, K) the same without weights. `hazard` (T, K, K): rows are the shares of those at
    risk in a state that go to each, and the diagonal the share that stays; a state without anybody stays as it is.
    """

    start: float
    times: np.ndarray
    at_risk: np.ndarray
    moved: np.ndarray
    people_at_risk: np.ndarray
    hazard: np.ndarray


def in_order(history: EventHistory) -> EventHistory:
    """The same history sorted by person and start."""
    return history.select(np.lexsort((history.start, history.person)))


def count_moves(history: EventHistory, *, start: float) -> MoveCounts:
    """Count the moves and those at risk of one stratum after `start`, ties exact."""
    size = len(history.states)
    inside = history.stop > start
    begin, stop = np.maximum(history.start[inside], start), history.stop[inside]
    origin, target, weights = history.from_state[inside], history.to_state[inside], history.weights[inside]
    went = target >= 0
    times = np.unique(stop[went])
    count = len(times)
    first, last = np.searchsorted(times, begin, side="right"), np.searchsorted(times, stop, side="right")
    people = _accumulate(first, last, origin, np.ones(len(stop)), count, size)
    # Differences of weights leave dust where nobody is: the count of rows says where that is.
    at_risk = np.where(people > 0, _accumulate(first, last, origin, weights, count, size), 0.0)
    key = ((last[went] - 1) * size + origin[went]) * size + target[went]
    moved = np.bincount(key, weights=weights[went], minlength=count * size * size).reshape(count, size, size)
    return MoveCounts(start, times, at_risk, moved, people, compute_hazard(moved, at_risk))


def _accumulate(
    first: np.ndarray, last: np.ndarray, state: np.ndarray, weights: np.ndarray, count: int, size: int
) -> np.ndarray:
    """Sums over rows that are at risk at times `first` to `last - 1`, by state, shape (T, K)."""
    cells = (count + 1) * size
    steps = np.bincount(first * size + state, weights=weights, minlength=cells)
    steps -= np.bincount(last * size + state, weights=weights, minlength=cells)
    return np.cumsum(steps.reshape(count + 1, size), axis=0)[:count]


def compute_hazard(moved: np.ndarray, at_risk: np.ndarray) -> np.ndarray:
    """Matrices (T, K, K) of shares that go from state to state at a time; the diagonal is the share that stays."""
    known = at_risk > 0
    hazard = np.where(known[:, :, None], moved / np.where(known, at_risk, 1.0)[:, :, None], 0.0)
    place = np.arange(moved.shape[1])
    hazard[:, place, place] = 1.0 - hazard.sum(axis=2)
    return hazard


def compute_path(initial: np.ndarray, hazard: np.ndarray) -> np.ndarray:
    """Probability of each state at the start and after every time, shape (T + 1, K): p0 H_1 ... H_t."""
    path = np.empty((len(hazard) + 1, len(initial)))
    path[0] = initial
    for place, step in enumerate(hazard):
        path[place + 1] = path[place] @ step
    return path


def compute_value_at(counts: MoveCounts, at: float) -> np.ndarray:
    """What being in a state after each time is worth for the probabilities at `at`, shape (T + 1, K, K): P(s, at).

    Zero after `at`.
    """
    size = counts.hazard.shape[1]
    value = np.zeros((len(counts.times) + 1, size, size))
    last = int(np.searchsorted(counts.times, at, side="right"))
    value[last] = np.eye(size)
    for place in range(last, 0, -1):
        value[place - 1] = counts.hazard[place - 1] @ value[place]
    return value


def compute_value_until(counts: MoveCounts, horizon: float) -> np.ndarray:
    """What being in a state after each time is worth in time spent up to the horizon, shape (T + 1, K, K).

    Row j, column k: expected time in k between the time and `horizon` of who is in j.
    """
    size = counts.hazard.shape[1]
    value = np.zeros((len(counts.times) + 1, size, size))
    last = int(np.searchsorted(counts.times, horizon, side="right"))
    clock = np.concatenate([[counts.start], counts.times])
    value[last] = (horizon - clock[last]) * np.eye(size)
    for place in range(last, 0, -1):
        stay = (clock[place] - clock[place - 1]) * np.eye(size)
        value[place - 1] = stay + counts.hazard[place - 1] @ value[place]
    return value


def compute_influence(
    history: EventHistory, counts: MoveCounts, path: np.ndarray, value: np.ndarray, *, initial: np.ndarray | None
) -> np.ndarray:
    """Weighted influence of every row of one stratum on a target, shape (n, M).

    The derivative of `path[t] @ ...` in the weight of a row, times that weight (infinitesimal jackknife): a move
    j to k at s adds p_j(s-) / Y_j(s) (V_k(s) - V_j(s)), and each time at risk in j takes its expectation away.

    Parameters
    ----------
    value : array, shape (T + 1, K, M)
        What being in a state after each time is worth for the M targets (`compute_value_at`, `_until`).
    initial : array (K,) or None
        The initial distribution where it was estimated from those present at the start, None where it was given.
    """
    begin, stop = np.maximum(history.start, counts.start), history.stop
    first, last = np.searchsorted(counts.times, begin, side="right"), np.searchsorted(counts.times, stop, side="right")
    inside = stop > counts.start
    last = np.where(inside, last, first)
    known = counts.at_risk > 0
    share = np.where(known, path[:-1] / np.where(known, counts.at_risk, 1.0), 0.0)
    later = value[1:]
    drift = share[:, :, None] * (counts.hazard @ later - later)
    total = np.concatenate([np.zeros((1, *drift.shape[1:])), np.cumsum(drift, axis=0)])
    origin, target = history.from_state, history.to_state
    influence = total[first, origin] - total[last, origin]
    went = inside & (target >= 0)
    place, j, k = last[went] - 1, origin[went], target[went]
    influence[went] += share[place, j][:, None] * (later[place, k] - later[place, j])
    if initial is not None:
        present = (history.start <= counts.start) & inside
        mass = history.weights[present].sum()
        influence[present] += (value[0][origin[present]] - initial @ value[0]) / mass
    return influence * history.weights[:, None]


def sum_by_cluster(influence: np.ndarray, cluster: np.ndarray, n_clusters: int) -> np.ndarray:
    """Sums of rows by cluster code, shape (n_clusters, M)."""
    rows = len(cluster)
    pick = sparse.csr_array((np.ones(rows), (cluster, np.arange(rows))), shape=(n_clusters, rows))
    return pick @ influence
