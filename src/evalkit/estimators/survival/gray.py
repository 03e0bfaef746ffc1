"""Gray's test of whether groups differ in the cumulative incidence of one outcome among several."""

from __future__ import annotations

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import cause_faults
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import is_finite, refuse
from evalkit.estimators.survival.fine_gray_weights import merge_close_times
from evalkit.estimators.survival.log_rank import RankTest, check_groups, make_rank_test


def compute_gray_test(follow_up: FollowUp, group: np.ndarray, *, cause: int = 1, rho: float = 0.0) -> RankTest:
    """k-sample test of subdistribution hazards of `causes[cause - 1]`, within strata.

    With n_k people of group k at risk, all-cause survival S_k and incidence F_k, all just before t, n_k / S_k would be
    at risk if nothing but censoring took people away. Events of group k are compared with a share R_k / sum R of all
    events, R_k = n_k (1 - F_k) / S_k, each time weighed by (1 - F)^rho of the pooled F.

    Parameters
    ----------
    group : array, shape (n,), the group of each row
    rho : weight of early over late differences; 0 is the usual test

    Raises
    ------
    ParameterError
        Delayed entry, several rows of a person or case weights, which the test's variance does not cover (take
        `fit_fine_gray`); a `group` of another length; no such cause.
    NotEstimable
        No event; one group only.

    References
    ----------
    Gray 1988, Annals of Statistics 16:1141.
    """
    _check_input(follow_up, cause, rho)
    labels, codes = check_groups(follow_up, group)
    if not follow_up.n_events(cause):
        raise NotEstimable(Fault(follow_up.causes[cause - 1], "nobody had it, so there is nothing to compare"))
    follow_up = merge_close_times(follow_up)
    kind = np.where(follow_up.event == 0, 0, np.where(follow_up.event == cause, 1, 2))
    size = len(labels)
    observed, expected, variance = np.zeros(size), np.zeros(size), np.zeros((size, size))
    seen = np.zeros(size, dtype=bool)
    for stratum in np.unique(follow_up.stratum):
        rows = follow_up.stratum == stratum
        if (kind[rows] == 1).any():
            o, e, v = _one_stratum(follow_up.exit[rows], kind[rows], codes[rows], size, rho)
            observed, expected, variance = observed + o, expected + e, variance + v
            seen |= np.bincount(codes[rows], minlength=size) > 0
    return make_rank_test(labels, observed, expected, variance, seen=seen)


def _one_stratum(
    time: np.ndarray, kind: np.ndarray, codes: np.ndarray, size: int, rho: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Observed and expected events (K,) and the variance of their difference (K, K) in one stratum.

    Arrays below are (E, K): event times of any cause by group.
    """
    times = np.unique(time[kind > 0])
    n = _at_risk(time, codes, times, size)
    d1, d2 = _events(time, codes, kind == 1, times, size), _events(time, codes, kind == 2, times, size)
    some = np.maximum(n, 1.0)
    after = np.cumprod(np.where(n > 0, 1 - (d1 + d2) / some, 1.0), axis=0)
    before = np.concatenate([np.ones((1, size)), after[:-1]])
    rises = np.where(n > 0, before * d1 / some, 0.0)
    incidence = np.cumsum(rises, axis=0) - rises
    present = np.where(n > 0, n / np.where(before > 0, before, 1.0), 0.0)
    total, nd1 = present.sum(axis=1), d1.sum(axis=1)
    pooled = np.cumsum(nd1 / total)
    pooled_before = np.concatenate([[0.0], pooled[:-1]])
    importance = np.clip(1 - pooled_before, 0.0, 1.0) ** rho
    standing = present * (1 - incidence)
    expected = (importance * nd1 / standing.sum(axis=1)) @ standing
    a = -present[:, :, None] * present[:, None, :] / total[:, None, None]
    a[:, np.arange(size), np.arange(size)] += present
    a *= importance[:, None, None]
    rate = np.where(nd1 > 0, nd1 / (total * np.where(nd1 > 0, 1 - pooled_before, 1.0)), 0.0)
    c = np.cumsum(a * rate[:, None, None], axis=0)
    ahead = c[-1] - c
    left = np.where(after > 0, (1 - pooled)[:, None] / np.where(after > 0, after, 1.0), 0.0)
    # Of the cause itself, whose events are spread over groups as if they did not differ.
    mine = a + (1 - left)[:, None, :] * ahead
    ties = np.where(nd1[:, None] > 1, 1 - (nd1[:, None] - 1) / _not_nought(total[:, None] * before - 1), 1.0)
    one = np.where(n > 0, ties * before * nd1[:, None] / (total[:, None] * some), 0.0)
    # Of the others, each group by itself.
    theirs = left[:, None, :] * ahead
    ties = np.where(d2 > 1, 1 - (d2 - 1) / _not_nought(n - 1), 1.0)
    two = np.where((after > 0) & (d2 > 0), ties * before**2 * d2 / some**2, 0.0)
    variance = np.einsum("tik,tjk,tk->ij", mine, mine, one) + np.einsum("tik,tjk,tk->ij", theirs, theirs, two)
    return importance @ d1, expected, variance


def _at_risk(time: np.ndarray, codes: np.ndarray, times: np.ndarray, size: int) -> np.ndarray:
    return np.column_stack(
        [(codes == k).sum() - np.searchsorted(np.sort(time[codes == k]), times) for k in range(size)]
    )


def _events(time: np.ndarray, codes: np.ndarray, chosen: np.ndarray, times: np.ndarray, size: int) -> np.ndarray:
    slots = np.searchsorted(times, time[chosen]) * size + codes[chosen]
    return np.bincount(slots, minlength=len(times) * size).reshape(len(times), size).astype(np.float64)


def _not_nought(values: np.ndarray) -> np.ndarray:
    return np.where(values == 0, 1.0, values)


def _check_input(f: FollowUp, cause: int, rho: float) -> None:
    faults = []
    other = "Take `fit_fine_gray` with the groups as covariates."
    faults += cause_faults(cause, f.causes)
    if not is_finite(rho):
        faults.append(Fault("rho", "it must be finite", got=f"{rho}"))
    if (f.entry >= f.exit.min()).any():
        faults.append(Fault("entry", "Gray's test knows no delayed entry", next_step=other))
    if f.n_people < len(f):
        faults.append(Fault("person", "Gray's test takes one row a person", next_step=other))
    if (f.weights != 1).any():
        faults.append(Fault("weights", "Gray's test knows no case weights", next_step=other))
    refuse(faults)
