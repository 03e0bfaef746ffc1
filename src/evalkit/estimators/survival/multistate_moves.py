"""Moves and people at risk at every time of a history, and what each person adds to what is estimated from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from evalkit.cohort.history import EventHistory
from evalkit.core.errors import Fault, NotEstimable

_MAX_LOSS = 1e12  # of weight at risk to weight summed before it, whose rounding it carries


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
    """Count the moves and those at risk of one stratum after `start`, ties exact.

    Raises NotEstimable where weights spread so widely that those at risk are lost in rounding.
    """
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
    lost = (moved.sum(axis=2) > 0) & (at_risk < np.maximum.accumulate(at_risk, axis=0) / _MAX_LOSS)
    if lost.any():
        raise NotEstimable(Fault(
            "weights", "they spread so widely that sums over those at risk lose their digits",
            next_step="Look at the largest and the smallest weights.",
        ))  # fmt: skip
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


def walk_influence(
    history: EventHistory,
    counts: MoveCounts,
    path: np.ndarray,
    *,
    times: np.ndarray,
    horizon: float | None,
    initial: np.ndarray | None,
) -> Iterator[np.ndarray]:
    """Each cluster's influence on the probabilities at every time in turn, then on the time in states; (C, K).

    The derivative of p(t) in a cluster's weight, times that weight (infinitesimal jackknife). With U before a time,
    U H + sum over its people at risk in j of w p_j / Y_j (who moved to k: e_k - e_j; all: less the expectation,
    H_j - e_j). Rows of the C clusters of this history are in the order of their codes; arrays are used again, so that
    what is to be kept must be copied.

    Parameters
    ----------
    times : sorted times, shape (m,), at or after the start
    horizon : None, or up to where the last array of all is the influence on the time in each state
    initial : the initial distribution (K,) where it was estimated from those present at the start, None where given
    """
    change = _sort_changes(history, counts)
    size = len(history.states)
    # Influence over weight at risk, so that one product moves both on.
    both = np.zeros((2 * size, change.n_clusters))
    influence, present = both[:size], both[size:]
    if initial is not None:
        _begin(history, counts.start, initial, change.cluster, influence)
    risk = counts.at_risk
    share = np.where(risk > 0, path[:-1] / np.where(risk > 0, risk, 1.0), 0.0)
    drift = share[:, :, None] * (np.eye(size) - counts.hazard)
    step = np.concatenate([counts.hazard, drift], axis=1).transpose(0, 2, 1).copy()
    shown = np.searchsorted(counts.times, times, side="right")
    inside = 0 if horizon is None else int(np.searchsorted(counts.times, horizon, side="right"))
    clock, area = counts.start, np.zeros_like(influence)
    yield from (influence.T for _ in range(int((shown == 0).sum())))
    for place in range(max(inside, int(shown.max(initial=0)))):
        if place < inside:
            area += (counts.times[place] - clock) * influence
            clock = counts.times[place]
        change.enter(place, present)
        influence[:] = step[place] @ both
        change.move(place, share[place], influence)
        yield from (influence.T for _ in range(int((shown == place + 1).sum())))
    if horizon is not None:
        yield (area + (horizon - clock) * influence).T


@dataclass(frozen=True)
class _Changes:
    """Rows of a history in the order in which they come under risk, leave it and move, by place of the time."""

    n_clusters: int
    cluster: np.ndarray
    state: np.ndarray
    target: np.ndarray
    weights: np.ndarray
    entering: tuple[np.ndarray, np.ndarray]
    leaving: tuple[np.ndarray, np.ndarray]

    def enter(self, place: int, at_risk: np.ndarray) -> None:
        """Add to the weight at risk (K, C) whose rows begin before the time; take off whose ended before it."""
        for (order, ends), sign in ((self.entering, 1.0), (self.leaving, -1.0)):
            rows = order[ends[place] : ends[place + 1]]
            np.add.at(at_risk, (self.state[rows], self.cluster[rows]), sign * self.weights[rows])

    def move(self, place: int, share: np.ndarray, influence: np.ndarray) -> None:
        """Add what those who move at the time take and give."""
        order, ends = self.leaving
        rows = order[ends[place + 1] : ends[place + 2]]
        rows = rows[self.target[rows] >= 0]
        amount = self.weights[rows] * share[self.state[rows]]
        np.add.at(influence, (self.target[rows], self.cluster[rows]), amount)
        np.subtract.at(influence, (self.state[rows], self.cluster[rows]), amount)


def _sort_changes(history: EventHistory, counts: MoveCounts) -> _Changes:
    codes, cluster = np.unique(history.cluster, return_inverse=True)
    inside = history.stop > counts.start
    first = np.searchsorted(counts.times, np.maximum(history.start, counts.start), side="right")
    last = np.searchsorted(counts.times, history.stop, side="right")
    # Rows that see no time come to nothing: never under risk.
    seen = np.flatnonzero(inside & (last > first))
    places = np.arange(len(counts.times) + 2)
    ordered = []
    for when in (first, last):
        order = seen[np.argsort(when[seen], kind="stable")]
        ordered.append((order, np.searchsorted(when[order], places)))
    return _Changes(len(codes), cluster, history.from_state, history.to_state, history.weights, ordered[0], ordered[1])


def _begin(
    history: EventHistory, start: float, initial: np.ndarray, cluster: np.ndarray, influence: np.ndarray
) -> None:
    """Influence of those present at the start on the initial distribution."""
    here = np.flatnonzero((history.start <= start) & (history.stop > start))
    own = history.weights[here] / history.weights[here].sum()
    np.add.at(influence, (history.from_state[here], cluster[here]), own)
    influence -= initial[:, None] * np.bincount(cluster[here], weights=own, minlength=influence.shape[1])
