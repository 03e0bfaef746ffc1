"""Rank tests of whether groups differ in how soon an event comes: log-rank, Peto-Peto, Fleming-Harrington."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import cause_faults, how_many
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, is_finite, refuse
from evalkit.estimators.survival.fine_gray_sums import RiskSets, build_risk_sets
from evalkit.estimators.survival.fine_gray_weights import merge_close_times


@dataclass(frozen=True)
class LogRankOptions:
    """Weights over time and errors of a rank test.

    An event at t weighs S(t-)^rho (1 - S(t-))^gamma, S being the Kaplan-Meier curve of a stratum's people together:
    (0, 0) is the log-rank test, (1, 0) Peto and Peto's, (0, 1) looks at late differences.

    errors : "hypergeometric" (as R's `survdiff`) or "robust": sums of squared score residuals by cluster, for case
        weights and for rows that are not independent (Lin and Wei 1989; Xie and Liu 2005).
    """

    rho: float = 0.0
    gamma: float = 0.0
    errors: Literal["hypergeometric", "robust"] = "hypergeometric"
    cause: int = 1


@dataclass(frozen=True)
class RankTest:
    """A test of K groups: `observed` and `expected` events (K,), their difference's `variance` (K, K).

    `statistic` is chi-square with `df` degrees of freedom where the groups do not differ.
    """

    groups: tuple[object, ...]
    observed: np.ndarray
    expected: np.ndarray
    variance: np.ndarray
    statistic: float
    df: int
    p_value: float


def compute_log_rank(follow_up: FollowUp, group: np.ndarray, *, options: LogRankOptions | None = None) -> RankTest:
    """k-sample test, within strata, with delayed entry; several rows of a person may stand in one group or in many.

    Parameters
    ----------
    group : array, shape (n,)
        The group of each row.

    Raises
    ------
    ParameterError
        `group` of another length or with missing values; unknown options; case weights that differ, with
        hypergeometric errors.
    NotEstimable
        No event; no event at which two groups have anybody at risk; robust errors of one cluster.

    References
    ----------
    Harrington and Fleming 1982, Biometrika 69:553; Xie and Liu 2005, Statistics in Medicine 24:3089.
    """
    options = options or LogRankOptions()
    labels, codes = check_groups(follow_up, group)
    _check_options(follow_up, options)
    if options.errors == "robust" and (follow_up.cluster == follow_up.cluster[0]).all():
        raise NotEstimable(Fault("clusters", "there is one alone, which has no error", allowed="2 or more"))
    if not follow_up.n_events(options.cause):
        raise NotEstimable(Fault(follow_up.causes[options.cause - 1], "nobody had it, so there is nothing to compare"))
    own = replace(merge_close_times(follow_up), event=(follow_up.event == options.cause).astype(np.int64))
    layer = np.unique(own.stratum, return_inverse=True)[1]
    sets = build_risk_sets(own, cause=1, layer=layer, group=layer, weights={}, ties="breslow")
    member = (codes[:, None] == np.arange(len(labels))) * own.weights[:, None]
    at_risk, events = sets.sum_at_risk(member), sets.sum_events(member)
    n, d = at_risk.sum(axis=1), events.sum(axis=1)
    share = at_risk / n[:, None]
    importance = _importance(sets, d / n, options)
    observed, expected = importance @ events, (importance * d) @ share
    if options.errors == "robust":
        variance = _robust_variance(sets, own, codes, share, importance, d / n)
    else:
        spread = importance**2 * d * (n - d) / np.where(n > 1, n - 1, np.inf)
        variance = np.diag(spread @ share) - (share * spread[:, None]).T @ share
    together = (sets.sum_at_risk((member > 0).astype(np.float64)) > 0.5).astype(np.int64)
    seen = together[together.sum(axis=1) > 1].any(axis=0)
    return make_rank_test(labels, observed, expected, variance, seen=seen)


def check_groups(follow_up: FollowUp, group: np.ndarray) -> tuple[tuple[object, ...], np.ndarray]:
    """Labels of the groups in sorted order and the code of each row; refuses missing ones and fewer than two."""
    values = np.asarray(group)
    if values.shape != follow_up.exit.shape:
        refuse([Fault("group", "one value a row is wanted", got=f"{values.shape}", allowed=f"({len(follow_up)},)")])
    codes, labels = pd.factorize(values, sort=True)
    if (codes < 0).any():
        refuse([Fault("group", f"{how_many(int((codes < 0).sum()))} have no group")])
    if len(labels) < 2:
        raise NotEstimable(Fault("group", "there is only one group"))
    return tuple(labels.tolist()), codes


def make_rank_test(
    labels: tuple[object, ...], observed: np.ndarray, expected: np.ndarray, variance: np.ndarray, *, seen: np.ndarray
) -> RankTest:
    """The chi-square of observed less expected over the groups that were `seen` (K,) at risk, but for one."""
    inside = np.flatnonzero(seen)
    if len(inside) < 2:
        raise NotEstimable(Fault("group", "at every event only one group was at risk, so there is nothing to compare"))
    free = inside[1:]
    block = variance[np.ix_(free, free)]
    if np.linalg.matrix_rank(block, hermitian=True) < len(free):
        raise NotEstimable(Fault("group", "the differences between groups have no spread", next_step="Join groups."))
    gap = (observed - expected)[free]
    statistic = float(gap @ np.linalg.solve(block, gap))
    df = len(free)
    return RankTest(labels, observed, expected, variance, statistic, df, float(stats.chi2.sf(statistic, df)))


def _importance(sets: RiskSets, hazard: np.ndarray, options: LogRankOptions) -> np.ndarray:
    """What an event at each time weighs, shape (E,); survival is that just before the time."""
    before = np.ones(len(hazard))
    for a, b in pairwise(sets.bounds):
        before[a + 1 : b] = np.cumprod(1 - hazard[a:b])[:-1]
    before = np.clip(before, 0.0, 1.0)
    return before**options.rho * (1 - before) ** options.gamma


def _robust_variance(
    sets: RiskSets, f: FollowUp, codes: np.ndarray, share: np.ndarray, importance: np.ndarray, hazard: np.ndarray
) -> np.ndarray:
    rises = (importance * hazard)[:, None]
    gathered = sets.integrate(np.column_stack([rises, rises * share]))
    member = (codes[:, None] == np.arange(share.shape[1])).astype(np.float64)
    residuals = gathered[:, 1:] - member * gathered[:, :1]
    at = sets.last[sets.event] - 1
    residuals[sets.event] += importance[at, None] * (member[sets.event] - share[at])
    residuals *= f.weights[:, None]
    places = np.unique(f.cluster, return_inverse=True)[1]
    sums = np.column_stack([np.bincount(places, weights=column) for column in residuals.T])
    return sums.T @ sums


def _check_options(f: FollowUp, options: LogRankOptions) -> None:
    faults = []
    faults += cause_faults(options.cause, f.causes)
    faults += choice_faults("errors", options.errors, ("hypergeometric", "robust"))
    if not (is_finite(options.rho) and is_finite(options.gamma) and min(options.rho, options.gamma) >= 0):
        faults.append(Fault("rho, gamma", "they must be 0 or more", got=f"{options.rho}, {options.gamma}"))
    if options.errors == "hypergeometric" and np.ptp(f.weights) > 1e-12 * f.weights.max():
        step = 'Take errors="robust".'
        faults.append(Fault("weights", "hypergeometric errors know no case weights", next_step=step))
    if options.errors == "hypergeometric" and not faults and abs(f.weights[0] - 1) > 1e-12:
        step = 'Give each row the weight 1, or take errors="robust".'
        faults.append(
            Fault("weights", "hypergeometric errors count people", got="equal weights other than 1", next_step=step)
        )
    refuse(faults)
