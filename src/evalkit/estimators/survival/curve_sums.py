"""One recursion behind all curves of people over time: risk sets, the path, and what each row adds to it.

Counting things that happen (`counted`) while something ends it (`ends`) gives, with the product-limit
survival S of what ends it, F(t) = sum over u <= t of S(u-) counted(u) / at risk(u):

- counted = ends = any event: 1 - Kaplan-Meier
- counted = one cause, ends = any cause: Aalen-Johansen's cumulative incidence
- counted = a recurrent event, ends = death: Ghosh and Lin's mean number of events
- counted = an event, ends = nothing: Nelson-Aalen's mean number of events or cumulative hazard

F is smooth in the rows' weights, so the infinitesimal jackknife needs its derivative alone. With d and e the weights
of rows that are counted and ended at u, n of those at risk, and row i's own ended, counted and at risk,

    dM(u) = (ended - at risk e/n) / (n - e),    dQ(u) = S(u-) (counted - at risk d/n) / n,
    dF(t)/dw_i = sum over u <= t of  -dM(u) (F(t) - F(u)) + dQ(u).

While a row is at risk this is a function of time common to all rows less its value at entry, so sums of squares over
clusters follow from sums over rows' ends: O(n log n), and never an array of rows by times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.core.errors import Fault, NotEstimable

_MAX_LOSS = 1e10  # of a risk set's weight to weight summed before it, whose rounding it carries

Tied = Literal["exact", "ghosh_lin"]


@dataclass(frozen=True)
class RiskSets:
    """Rows of one stratum against its T distinct times of events.

    `enter`, `leave` (n,): how many of `time` are at or before the row's entry and exit, so that the row is at risk
    at `time[enter:leave]`. `number` and `at_risk` (T,): rows at risk, and their weights.
    """

    entry: np.ndarray
    exit: np.ndarray
    weights: np.ndarray
    cluster: np.ndarray
    time: np.ndarray
    enter: np.ndarray
    leave: np.ndarray
    number: np.ndarray
    at_risk: np.ndarray


@dataclass(frozen=True)
class RowEnds:
    """Places in time where m rows begin and end to be at risk, sorted by cluster and time.

    `rows` (m,) that are at risk at any time; `order` (2m,) sorts their begins and then their ends; `place` (2m,) in
    that order; `first`, `lengths`: where each cluster begins in it, and how long it is.
    """

    rows: np.ndarray
    place: np.ndarray
    order: np.ndarray
    first: np.ndarray
    lengths: np.ndarray


@dataclass(frozen=True)
class Path:
    """F of the module's text at `RiskSets.time`, arrays of shape (T,), and what its derivative is made of.

    `value` F(u), `before` S(u-), `survival` S(u); `counted`, `ends` bool (n,); `drift_end` h/(n - e) and
    `drift_count` S(u-) d/n^2, what a row at risk takes away; `gain_end` 1/(n - e), `gain_count` S(u-)/n, what an event
    of its own adds.
    """

    value: np.ndarray
    before: np.ndarray
    survival: np.ndarray
    counted: np.ndarray
    ends: np.ndarray
    drift_end: np.ndarray
    drift_count: np.ndarray
    gain_end: np.ndarray
    gain_count: np.ndarray


def build_risk_sets(
    entry: np.ndarray, exit_: np.ndarray, weights: np.ndarray, cluster: np.ndarray, is_event: np.ndarray
) -> RiskSets:
    """Risk sets at the distinct times where `is_event` (n,) rows end; a row is at risk on (entry, exit]."""
    time = np.sort(exit_[is_event])
    time = time[np.append(True, time[1:] > time[:-1])] if len(time) else time
    together = len(entry) and (entry == entry[0]).all()
    enter = np.full(len(entry), np.searchsorted(time, entry[0], side="right")) if together else (
        np.searchsorted(time, entry, side="right"))  # fmt: skip
    leave = np.searchsorted(time, exit_, side="right")
    number, at_risk = (_still_there(enter, leave, w, len(time)) for w in (np.ones(len(exit_)), weights))
    if (at_risk < np.maximum.accumulate(at_risk[::-1])[::-1] / _MAX_LOSS).any():
        raise NotEstimable(Fault(
            "weights", "they spread so widely that sums over risk sets lose their digits",
            next_step="Look at the largest and the smallest weights.",
        ))  # fmt: skip
    return RiskSets(
        entry,
        exit_,
        weights,
        cluster,
        time,
        enter,
        leave,
        number,
        at_risk,
    )


def _still_there(enter: np.ndarray, leave: np.ndarray, weights: np.ndarray, n_times: int) -> np.ndarray:
    """Weights at risk at each time; summed from the end, where risk sets are small and rounding would show."""
    out = np.bincount(leave, weights, minlength=n_times + 1) - np.bincount(enter, weights, minlength=n_times + 1)
    return np.cumsum(out[::-1])[::-1][1:]


def sum_events(sets: RiskSets, rows: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Sum of `weights` (n,), or else of the sets' own, over `rows` (n,) that end at each time, shape (T,)."""
    w = sets.weights if weights is None else weights
    return np.bincount(sets.leave[rows] - 1, w[rows], minlength=len(sets.time))


def compute_path(sets: RiskSets, counted: np.ndarray, ends: np.ndarray, *, tied: Tied = "exact") -> Path:
    """The path F and the parts of its derivative.

    `tied` "ghosh_lin" puts n for n - e into the derivative, as Ghosh and Lin write it for times without ties.
    """
    n = sets.at_risk
    d, e = sum_events(sets, counted), sum_events(sets, ends)
    # Where all at risk end, the difference of two sums must be 0 and not a rounding error.
    raw_left = sets.number - (e if (sets.weights == 1).all() else sum_events(sets, ends, weights=np.ones(len(ends))))
    left = np.where(raw_left > 0, n - e, 0.0)
    hazard = np.where(raw_left > 0, e / n, 1.0)
    survival = np.cumprod(1 - hazard)
    before = np.concatenate([[1.0], survival[:-1]]) if len(n) else survival
    value = np.cumsum(before * d / n)
    gain_end = np.divide(1.0, left, out=np.zeros(len(n)), where=left > 0) if tied == "exact" else 1 / n
    gain_count = before / n
    return Path(value, before, survival, counted, ends, hazard * gain_end, gain_count * d / n, gain_end, gain_count)


def order_ends(sets: RiskSets) -> RowEnds:
    """Where rows begin and end to be at risk, by cluster and time: once for all paths through the same risk sets."""
    rows = np.flatnonzero(sets.leave > sets.enter)
    place = np.concatenate([sets.enter[rows], sets.leave[rows] - 1])
    m = len(rows)
    if not m or np.bincount(sets.cluster[rows]).max() == 1:  # each row a cluster: its two ends, without sorting
        order = np.arange(2 * m).reshape(2, m).T.ravel()
        return RowEnds(rows, place[order], order, np.arange(0, 2 * m, 2), np.full(m, 2))
    cluster = np.tile(sets.cluster[rows], 2)
    order = np.lexsort((place, cluster))
    cluster = cluster[order]
    first = np.flatnonzero(np.append(True, cluster[1:] != cluster[:-1]))
    return RowEnds(rows, place[order], order, first, np.diff(np.append(first, 2 * m)))


def compute_variance(sets: RiskSets, ends: RowEnds, path: Path) -> np.ndarray:
    """Infinitesimal-jackknife variance of F at each time, clustered, shape (T,).

    Each cluster's derivative at time j is a - F(j) b + (B(j) - F(j) A(j)) c, with A and B the cumulated drifts and
    (a, b, c) constant between ends of its rows.
    """
    n_times = len(sets.time)
    a_path = np.cumsum(path.drift_end)
    b_path = np.cumsum(path.value * path.drift_end + path.drift_count)
    change = _change_at_ends(sets, ends.rows, path, _lead(a_path), _lead(b_path))[:, ends.order]
    after = np.cumsum(change, axis=1)
    after -= np.repeat(after[:, ends.first] - change[:, ends.first], ends.lengths, axis=1)
    before = after - change
    before[:, ends.first] = 0.0

    def crossed(i: int, j: int) -> np.ndarray:
        jumps = after[i] * after[j] - before[i] * before[j]
        return np.cumsum(np.bincount(ends.place, jumps, minlength=n_times))

    f, drift = path.value, b_path - path.value * a_path
    squares = crossed(0, 0) + f**2 * crossed(1, 1) + drift**2 * crossed(2, 2)
    total = squares + 2 * (drift * crossed(0, 2) - f * crossed(0, 1) - f * drift * crossed(1, 2))
    return np.where(total > 1e-13 * squares, total, 0.0)  # what is less is rounding


def _change_at_ends(sets: RiskSets, rows: np.ndarray, path: Path, a_path: np.ndarray, b_path: np.ndarray) -> np.ndarray:
    """Changes of (a, b, c), shape (3, 2m), where m rows begin to be at risk, then where they end to be."""
    w, enter, last = sets.weights[rows], sets.enter[rows], sets.leave[rows] - 1
    ended, counted = path.ends[rows], path.counted[rows]
    begin = np.stack([w * b_path[enter], w * a_path[enter], -w])
    gain = np.where(ended, path.gain_end[last], 0.0)
    stop_a = w * (gain * path.value[last] + np.where(counted, path.gain_count[last], 0.0) - b_path[last + 1])
    stop_b = w * (gain - a_path[last + 1])
    return np.concatenate([begin, np.stack([stop_a, stop_b, w])], axis=1)


def compute_value_influence(sets: RiskSets, path: Path, places: np.ndarray) -> np.ndarray:
    """Weight times derivative of F after the first `places` (m,) times, shape (n, m); columns sum to 0."""
    found = np.zeros((len(sets.exit), len(places)))
    for column, place in enumerate(places):
        if place:
            seen = np.arange(len(sets.time)) < place
            found[:, column] = _weigh_changes(
                sets, path, np.where(seen, path.value[place - 1] - path.value, 0.0), seen.astype(np.float64)
            )
    return found


def compute_area(sets: RiskSets, path: Path, start: float, horizon: float) -> tuple[float, np.ndarray]:
    """Area under F over (start, horizon] and its influence values, shape (n,)."""
    rest = np.clip(horizon - np.maximum(sets.time, start), 0.0, None)
    steps = np.diff(_lead(path.value))
    later = np.cumsum((rest * steps)[::-1])[::-1] - rest * steps  # area that later steps add
    # Area under F from u on, less its height at u: what would be lost if nothing counted after u.
    return float((rest * steps).sum()), _weigh_changes(sets, path, later, rest)


def compute_weighted_increments(sets: RiskSets, path: Path, kernel: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of kernel (T,) times the increments of F, and its influence values (n,) with the kernel held fixed."""
    steps = kernel * np.diff(_lead(path.value))
    later = np.cumsum(steps[::-1])[::-1] - steps
    return float(steps.sum()), _weigh_changes(sets, path, later, kernel)


def _weigh_changes(sets: RiskSets, path: Path, ended: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Weight times sum over a row's time of -dM(u) ended(u) + dQ(u) counted(u), shape (n,)."""
    drift = _lead(np.cumsum(path.drift_end * ended - path.drift_count * counted))
    found = drift[sets.leave] - drift[sets.enter]
    rows = np.flatnonzero(path.ends)
    last = sets.leave[rows] - 1
    found[rows] -= path.gain_end[last] * ended[last]
    rows = np.flatnonzero(path.counted)
    last = sets.leave[rows] - 1
    found[rows] += path.gain_count[last] * counted[last]
    return sets.weights * found


def count_distinct(codes: np.ndarray) -> int:
    """How many different codes, which are whole numbers from 0."""
    return int(np.count_nonzero(np.bincount(codes)))


def sum_clusters(influence: np.ndarray, cluster: np.ndarray, n_clusters: int) -> np.ndarray:
    """Influence values (n,) or (n, m) summed by cluster code, shape (n_clusters,) or (n_clusters, m)."""
    if influence.ndim == 1:
        return np.bincount(cluster, influence, minlength=n_clusters)
    return np.column_stack([np.bincount(cluster, column, minlength=n_clusters) for column in influence.T])


def _lead(values: np.ndarray) -> np.ndarray:
    """The same with a 0 before it, so that place k is the sum of the first k."""
    return np.concatenate([[0.0], values])
