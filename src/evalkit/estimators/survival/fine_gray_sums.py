"""Sums over Fine-Gray risk sets without one row a weight: cumulative sums do for all event times at once.

Somebody with a competing event at T stays at risk at t > T with weight W(t)/W(T), a product of something of the
time and something of the person. The weighted sum over all of them is therefore W(t) times a running total, and
no person is written out once for every time at which the weight changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable
from evalkit.estimators.survival.fine_gray_weights import GroupWeights

Ties = Literal["efron", "breslow"]

_MAX_LOSS = 1e10  # of a risk set's weight to weight summed before it, whose rounding it carries


@dataclass(frozen=True)
class Lingering:
    """People of one baseline stratum and censoring group who stay at risk after a competing event.

    `rows` (k,) with `lift` (k,) = 1/W(T); `reach` holds W(t) at the stratum's event times `begin` to `end`.
    """

    rows: np.ndarray
    lift: np.ndarray
    begin: int
    end: int
    reach: np.ndarray
    group: int


@dataclass(frozen=True)
class RiskSets:
    """Where n rows stand among E event times, ordered by baseline stratum and time.

    A row is at risk at `times[first:last]`; one with the event has it at `last - 1`. Each event time has one term
    (Breslow) or one a death (Efron): at `place`, with the share `fraction` of those dying taken out of the risk
    set, and `mass` events. `bounds` (L + 1,) are where the strata begin.
    """

    times: np.ndarray
    layer: np.ndarray
    bounds: np.ndarray
    first: np.ndarray
    last: np.ndarray
    row_layer: np.ndarray
    event: np.ndarray
    place: np.ndarray
    fraction: np.ndarray
    mass: np.ndarray
    lingering: tuple[Lingering, ...]

    def sum_at_risk(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums of `values` (n, m) over the risk set of each event time, shape (E, m)."""
        n_slots = len(self.times) + len(self.bounds) - 1
        left = _total(self.last + self.row_layer, values, n_slots)
        late = self.first > self.bounds[self.row_layer]
        came = _total((self.first + self.row_layer)[late], values[late], n_slots) if late.any() else None
        sums = np.empty((len(self.times), values.shape[1]))
        for k, (a, b) in enumerate(pairwise(self.bounds)):
            inside = slice(a + k + 1, b + k + 1)
            sums[a:b] = np.cumsum(left[inside][::-1], axis=0)[::-1]
            if came is not None:
                sums[a:b] -= np.cumsum(came[inside][::-1], axis=0)[::-1]
        for part in self.lingering:
            lifted = values[part.rows] * part.lift[:, None]
            joined = _total(self.last[part.rows] - part.begin, lifted, part.end - part.begin + 1)[:-1]
            sums[part.begin : part.end] += part.reach[:, None] * np.cumsum(joined, axis=0)
        return sums

    def sum_events(self, values: np.ndarray) -> np.ndarray:
        """Sums of `values` (n, m) over the rows with the event at each event time, shape (E, m)."""
        return _total(self.last[self.event] - 1, values[self.event], len(self.times))

    def integrate(self, steps: np.ndarray) -> np.ndarray:
        """What each row gathers of `steps` (E, m) while at risk, its weight over time included, shape (n, m)."""
        running = np.concatenate([np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)])
        gathered = running[self.last] - running[self.first]
        for part in self.lingering:
            weighed = part.reach[:, None] * steps[part.begin : part.end]
            ahead = np.concatenate([np.cumsum(weighed[::-1], axis=0)[::-1], np.zeros((1, steps.shape[1]))])
            gathered[part.rows] += part.lift[:, None] * ahead[self.last[part.rows] - part.begin]
        return gathered

    def sum_terms(self, values: np.ndarray) -> np.ndarray:
        """Sums over the terms of each event time of `values` (M, m), shape (E, m)."""
        return _total(self.place, values, len(self.times))


def build_risk_sets(
    follow_up: FollowUp,
    *,
    cause: int,
    layer: np.ndarray,
    group: np.ndarray,
    weights: dict[int, GroupWeights],
    ties: Ties,
) -> RiskSets:
    """Arrange follow-up by baseline stratum `layer` and censoring `group`, int arrays (n,), codes from 0.

    Raises NotEstimable where somebody's competing event comes when nobody else is left uncensored, and where weights
    spread so widely that risk sets are lost in rounding.
    """
    f = follow_up
    event = f.event == cause
    keys = np.unique(np.column_stack([layer[event], f.exit[event]]), axis=0)
    times, time_layer = keys[:, 1], keys[:, 0].astype(np.int64)
    bounds = np.searchsorted(time_layer, np.arange(int(layer.max()) + 2))
    first, last = np.empty(len(f), dtype=np.int64), np.empty(len(f), dtype=np.int64)
    for k, (a, b) in enumerate(pairwise(bounds)):
        rows = layer == k
        first[rows] = a + np.searchsorted(times[a:b], f.entry[rows], "right")
        last[rows] = a + np.searchsorted(times[a:b], f.exit[rows], "right")
    died = np.bincount(last[event] - 1, minlength=len(times))
    mass = np.bincount(last[event] - 1, weights=f.weights[event], minlength=len(times))
    if ties == "breslow":
        place, fraction, mass_of = np.arange(len(times)), np.zeros(len(times)), mass
    else:
        place = np.repeat(np.arange(len(times)), died)
        nth = np.arange(len(place)) - np.repeat(np.cumsum(died) - died, died)
        fraction, mass_of = nth / died[place], (mass / died)[place]
    lingering = _lingering(f, (f.event != 0) & ~event, layer, group, weights, times, bounds)
    sets = RiskSets(times, time_layer, bounds, first, last, layer, event, place, fraction, mass_of, lingering)
    _refuse_lost_digits(sets, f.weights)
    return sets


def _refuse_lost_digits(sets: RiskSets, weights: np.ndarray) -> None:
    at_risk = sets.sum_at_risk(weights[:, None])[:, 0]
    for a, b in pairwise(sets.bounds):
        if (at_risk[a:b] < np.maximum.accumulate(at_risk[a:b][::-1])[::-1] / _MAX_LOSS).any():
            raise NotEstimable(Fault(
                "weights", "they spread so widely that sums over risk sets lose their digits",
                next_step="Look at the largest and the smallest weights.",
            ))  # fmt: skip


def _lingering(
    f: FollowUp,
    competing: np.ndarray,
    layer: np.ndarray,
    group: np.ndarray,
    weights: dict[int, GroupWeights],
    times: np.ndarray,
    bounds: np.ndarray,
) -> tuple[Lingering, ...]:
    parts = []
    for k, code in np.unique(np.column_stack([layer, group])[competing], axis=0):
        rows = np.flatnonzero(competing & (layer == k) & (group == code))
        begin, end = int(bounds[k]), int(bounds[k + 1])
        own = weights[int(code)].compute_at(f.exit[rows])
        if (own <= 0).any():
            raise NotEstimable(Fault(
                "follow-up", "after some competing events nobody who might be censored is left to learn from",
                next_step="End follow-up earlier, or take larger censoring groups.",
            ))  # fmt: skip
        reach = weights[int(code)].compute_at(times[begin:end])
        parts.append(Lingering(rows, 1.0 / own, begin, end, reach, int(code)))
    return tuple(parts)


def _total(slots: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """Sums of the rows of `values` (n, m) by slot, shape (size, m)."""
    out = np.empty((size, values.shape[1]))
    for column in range(values.shape[1]):
        out[:, column] = np.bincount(slots, weights=values[:, column], minlength=size)
    return out
