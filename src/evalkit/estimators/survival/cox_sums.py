"""Risk sets of a follow-up, and the sums over them that a Cox model is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable, ParameterError

Ties = Literal["efron", "breslow"]

_SAME_TIME = 1e-11  # two times this near, as a share of themselves, differ by rounding alone and are one time
_MAX_LOSS = 1e10  # of a risk set's sum to one summed before it, whose rounding it carries
_FEW_STRATA = 200
_MAX_LOG = 705.0  # of what can be written as a number
_MAX_SPREAD = 200.0  # of the linear predictor: beyond it a step is a step too far


@dataclass(frozen=True)
class RiskSets:
    """Who is at risk when, sorted once: only rows that are at risk at some event, in order of exit.

    Event times are `slots`, sorted by stratum and time, with an empty slot after the last of each stratum. A
    row is at risk in slots `first <= slot < end`, so any sum over a risk set is a running sum over slots of
    what enters less what leaves; since nothing is left after a stratum, rounding stays as small as one
    stratum's sums. Tied events are `terms`: Efron's j-th of d tied events has the fraction j/d of their risk
    taken off; Breslow has one term a slot, with all their weight.

    Attributes
    ----------
    rows : int array, shape (m,), places in the follow-up
    first, end, slot : int arrays, shape (m,); `slot` is that of the row's event, -1 without
    x : float array, shape (m, p), less `centre`, shape (strata, p), over `scale`, shape (p,)
    offset, weights : float arrays, shape (m,); the offset less `offset_centre`, shape (strata,)
    changes, deaths : sparse arrays, shape (slots, m)
        +1 in a row's last slot and -1 before its first; 1 in the slot of its event.
    time, stratum : arrays, shape (slots,); NaN and the stratum before in empty slots
    term_slot, fraction, term_weight : arrays, shape (terms,)
    starts : int array, shape (strata + 1,), the first slot of each stratum, and the number of slots
    """

    rows: np.ndarray
    first: np.ndarray
    end: np.ndarray
    slot: np.ndarray
    x: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    offset: np.ndarray
    offset_centre: np.ndarray
    weights: np.ndarray
    changes: sparse.csr_array
    deaths: sparse.csr_array
    time: np.ndarray
    stratum: np.ndarray
    term_slot: np.ndarray
    fraction: np.ndarray
    term_weight: np.ndarray
    starts: np.ndarray
    n_rows: int

    @property
    def dead(self) -> np.ndarray:
        """Places in `rows` of rows that end in an event."""
        return np.flatnonzero(self.slot >= 0)

    @property
    def is_tied(self) -> bool:
        return bool(self.fraction.any())

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows at risk laid out over all rows of the follow-up, 0 elsewhere."""
        found = np.zeros((self.n_rows, *values.shape[1:]))
        found[self.rows] = values
        return found


@dataclass(frozen=True)
class Moments:
    """Sums over risk sets at one value of the coefficients.

    `risk` (m,) weighted relative hazards; `denominator` (terms,) and `mean` (terms, p), the risk set's sum of
    them and its mean covariates; `log_likelihood`, `score` (p,), both of scaled covariates.
    """

    risk: np.ndarray
    denominator: np.ndarray
    mean: np.ndarray
    log_likelihood: float
    score: np.ndarray


def build_risk_sets(follow_up: FollowUp, *, cause: int, ties: Ties) -> RiskSets:
    """Sort a follow-up for the events of one cause, other causes being censoring. O(n log n).

    Raises NotEstimable without events, ParameterError for intervals so short that rounding alone gives them
    length.
    """
    entry, exit_, times = compute_time_codes(follow_up)
    event = follow_up.event == cause
    if not event.any():
        raise NotEstimable(Fault("events", "there are none", next_step="Check the cause and the window."))
    layer = follow_up.stratum.astype(np.int64) * (len(times) + 1)
    keys = np.unique((layer + exit_)[event])
    rank = np.unique(keys // (len(times) + 1), return_inverse=True)[1]
    first = np.searchsorted(keys, layer + entry, side="right")
    end = np.searchsorted(keys, layer + exit_, side="right")
    rows = np.flatnonzero(first < end)
    rows = rows[np.argsort(end[rows], kind="stable")]
    first, end = first[rows], end[rows]
    shift = rank[first]  # empty slots before this stratum
    slot = np.where(event[rows], end - 1 + shift, -1)
    first, end = first + shift, end + shift
    n_slots = len(keys) + rank[-1] + 1
    place = np.arange(len(keys)) + rank
    time, stratum = np.full(n_slots, np.nan), np.full(n_slots, -1, dtype=np.int64)
    time[place], stratum[place] = times[keys % (len(times) + 1)], keys // (len(times) + 1)
    empty = np.flatnonzero(stratum < 0)
    stratum[empty] = stratum[empty - 1]
    weights = follow_up.weights[rows]
    x, centre, scale, offset, middle = _standardise(follow_up, rows, weights, shift)
    terms = _terms(slot, weights, n_slots, ties)
    starts = np.concatenate([[0], empty + 1])
    changes, deaths = _matrices(first, end, slot, n_slots)
    return RiskSets(
        rows, first, end, slot, x, centre, scale, offset, middle, weights, changes, deaths, time, stratum,
        *terms, starts, len(follow_up),
    )  # fmt: skip


def compute_time_codes(follow_up: FollowUp) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entry and exit, shape (n,), as places in the sorted times, and the times; rounding makes no two of one."""
    both = np.concatenate([follow_up.entry, follow_up.exit])
    times, codes = np.unique(both, return_inverse=True)
    new = np.diff(times) > _SAME_TIME * np.abs(times[1:])
    if not new.all():
        merged = np.concatenate([[0], np.cumsum(new)])
        times, codes = times[np.concatenate([[True], new])], merged[codes]
    entry, exit_ = codes[: len(follow_up)], codes[len(follow_up) :]
    if (entry >= exit_).any():
        raise ParameterError(
            Fault("follow-up", "some intervals end before they begin or within rounding of it", allowed="entry < exit")
        )
    return entry, exit_, times


def _standardise(
    follow_up: FollowUp, rows: np.ndarray, weights: np.ndarray, layer: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Covariates and offset less their means by stratum, which change no risk set's, so that no digits are lost."""
    total = np.bincount(layer, weights)

    def mean(column: np.ndarray) -> np.ndarray:
        return np.bincount(layer, weights * column) / total

    x = follow_up.covariates[rows]
    size = np.abs(x).max(axis=0)
    centre = np.stack([mean(column) for column in x.T], axis=1)
    x -= centre[layer]
    scale = np.sqrt(weights @ (x * x) / weights.sum())
    # What is constant up to rounding is left as it is, for `require_full_rank` to name.
    scale = np.where(scale > 1e-10 * size, scale, 1.0)
    x /= scale
    offset = follow_up.offset[rows]
    middle = mean(offset)
    return x, centre, scale, offset - middle[layer], middle


def _terms(
    slot: np.ndarray, weights: np.ndarray, n_slots: int, ties: Ties
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dead = slot[slot >= 0]  # rows are in order of exit, so these are sorted
    count = np.bincount(dead, minlength=n_slots)
    total = np.bincount(dead, weights[slot >= 0], minlength=n_slots)
    if ties == "breslow":
        slots = np.flatnonzero(count)
        return slots, np.zeros(len(slots)), total[slots]
    before = np.concatenate([[0], np.cumsum(count)[:-1]])
    fraction = (np.arange(len(dead)) - before[dead]) / count[dead]
    return dead, fraction, (total[dead] / count[dead])


def _matrices(
    first: np.ndarray, end: np.ndarray, slot: np.ndarray, n_slots: int
) -> tuple[sparse.csr_array, sparse.csr_array]:
    m = len(first)
    late = np.flatnonzero(first > 0)
    where = np.concatenate([end - 1, first[late] - 1])
    sign = np.concatenate([np.ones(m), -np.ones(len(late))])
    changes = sparse.csr_array((sign, (where, np.concatenate([np.arange(m), late]))), shape=(n_slots, m))
    dead = np.flatnonzero(slot >= 0)
    deaths = sparse.csr_array((np.ones(len(dead)), (slot[dead], dead)), shape=(n_slots, m))
    return changes, deaths


def compute_moments(sets: RiskSets, beta: np.ndarray) -> Moments | None:
    """Log partial likelihood and score at scaled coefficients, shape (p,); None where they overflow
    or where sums lose their digits to others before them.

    With weights, Efron's terms each weigh the mean weight of the events tied (as R's coxph does).
    """
    eta = sets.x @ beta + sets.offset
    if not np.isfinite(eta).all() or np.ptp(eta) > _MAX_SPREAD:
        return None
    risk = sets.weights * np.exp(eta)
    columns = np.empty((len(risk), 1 + len(beta)))
    columns[:, 0] = risk
    np.multiply(sets.x, risk[:, None], out=columns[:, 1:])
    at_risk, highest = _sum_back(sets, sets.changes @ columns)
    sums = at_risk[sets.term_slot]
    if sets.is_tied:
        sums -= sets.fraction[:, None] * (sets.deaths @ columns)[sets.term_slot]
    denominator = sums[:, 0].copy()
    if not (denominator > highest[sets.term_slot] / _MAX_LOSS).all():
        return None
    mean = sums[:, 1:] / denominator[:, None]
    dead = sets.dead
    own = sets.weights[dead]
    log_likelihood = float(own @ eta[dead] - sets.term_weight @ np.log(denominator))
    score = own @ sets.x[dead] - sets.term_weight @ mean
    return Moments(risk, denominator, mean, log_likelihood, score)


def _sum_back(sets: RiskSets, changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over risk sets (slots, k) from the last slot back, and the highest of the first column on the way."""
    # A few strata are summed one by one, so that none carries another's rounding.
    few = len(sets.starts) <= _FEW_STRATA
    ends = [(0, len(changes))] if not few else list(zip(sets.starts[:-1], sets.starts[1:] - 1, strict=True))
    found, highest = np.zeros_like(changes), np.zeros(len(changes))
    for begin, end in ends:
        np.cumsum(changes[begin:end][::-1], axis=0, out=found[begin:end][::-1])
        highest[begin:end] = np.maximum.accumulate(found[begin:end, 0][::-1])[::-1]
    return found, highest


def compute_information(sets: RiskSets, moments: Moments, multiplier: np.ndarray | None = None) -> np.ndarray:
    """Minus the second derivative of the log-likelihood, shape (p, p), of scaled covariates.

    sum over terms of weight (E[xx'] - E[x]E[x]'); the first part is X' diag(q) X with q a row's relative hazard
    times the cumulative hazard while it was at risk, so that no matrix a row is ever made. `multiplier`,
    shape (slots,), weighs each event time (the proportional-hazards test needs g(t) and g(t)^2).
    """
    weight = sets.term_weight if multiplier is None else sets.term_weight * multiplier[sets.term_slot]
    increment = weight / moments.denominator
    expected = moments.risk * (sum_over_follow_up(sets, increment) - own_share(sets, increment))
    centred = moments.mean * weight[:, None]
    return (sets.x * expected[:, None]).T @ sets.x - centred.T @ moments.mean


def compute_ratio_at(log_ratio: np.ndarray) -> np.ndarray:
    """Hazards relative to the data's centre, from their logs.

    Raises ParameterError where they are too large or too small to be written: far from all data.
    """
    if (np.abs(log_ratio) > _MAX_LOG).any():
        raise ParameterError(Fault(
            "covariates", "the values asked for lie so far from the data that hazards there cannot be written",
            next_step="Give values near the data's, or count a covariate from its middle (a year from 2020).",
        ))  # fmt: skip
    return np.exp(log_ratio)


def sum_over_follow_up(sets: RiskSets, terms: np.ndarray) -> np.ndarray:
    """Sum of a quantity of the terms, shape (terms,) or (terms, k), over each row's time at risk."""
    by_slot = sum_by_slot(sets, terms)
    # Minus a stratum's sum in its empty last slot: the running sum begins again at 0 in the next.
    by_slot[sets.starts[1:] - 1] = -np.add.reduceat(by_slot, sets.starts[:-1], axis=0)
    running = np.concatenate([np.zeros_like(by_slot[:1]), np.cumsum(by_slot, axis=0)])
    # `end` may be the empty slot, whose running sum is the whole stratum's.
    return running[sets.end] - running[sets.first]


def sum_by_slot(sets: RiskSets, terms: np.ndarray) -> np.ndarray:
    """Sum of a quantity of the terms in each slot, shape (slots,) or (slots, k)."""
    n_slots = len(sets.time)
    if terms.ndim == 1:
        return np.bincount(sets.term_slot, terms, minlength=n_slots)
    return np.stack([np.bincount(sets.term_slot, column, minlength=n_slots) for column in terms.T], axis=1)


def own_share(sets: RiskSets, terms: np.ndarray) -> np.ndarray:
    """What Efron takes off a row that ends in a tied event: the sum over its own tie of fraction times terms."""
    found = np.zeros((len(sets.rows), *terms.shape[1:]))
    if sets.is_tied:
        fraction = sets.fraction if terms.ndim == 1 else sets.fraction[:, None]
        dead = sets.dead
        found[dead] = sum_by_slot(sets, terms * fraction)[sets.slot[dead]]
    return found
