"""Score residuals of the Fine-Gray model, with what the estimation of its weights over time adds."""

from __future__ import annotations

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.fine_gray_sums import RiskSets
from evalkit.estimators.survival.fine_gray_weights import Ends, GroupWeights, TiedCensoring

Censoring = tuple[dict[int, GroupWeights], Ends, np.ndarray, TiedCensoring]


def compute_score_residuals(
    sets: RiskSets,
    follow_up: FollowUp,
    z: np.ndarray,
    relative: np.ndarray,
    denominator: np.ndarray,
    mean: np.ndarray,
    *,
    censoring: Censoring | None,
) -> np.ndarray:
    """Weighted score residuals, shape (n, p).

    Fine and Gray's (1999) eta_i, and with `censoring` eta_i + psi_i of their section 3, generalised to delayed
    entry (psi of the entry distribution has the opposite sign), case weights and censoring groups, each of which
    answers for its own people only.

    Parameters
    ----------
    z : float array, shape (n, p), covariates
    relative : float array, shape (n,), hazards relative to the baseline
    denominator, mean : float arrays, shape (M,) and (M, p)
        Sum and mean over the risk set at each term of `sets`.
    censoring : distributions, ends, mass of rows and tie rule they were fitted with
    """
    p = z.shape[1]
    hazard = sets.mass / denominator
    steps = sets.sum_terms(np.column_stack([hazard, hazard[:, None] * mean]))
    tied = sets.sum_terms(np.column_stack([sets.mass, sets.mass[:, None] * mean]))
    shared = sets.sum_terms((hazard * sets.fraction)[:, None] * np.column_stack([np.ones(len(mean)), mean]))
    gathered = sets.integrate(steps)
    e, at = sets.event, sets.last[sets.event] - 1
    gathered[e] -= shared[at]
    residuals = -relative[:, None] * (z * gathered[:, :1] - gathered[:, 1:])
    residuals[e] += z[e] - tied[at, 1:] / tied[at, :1]
    residuals *= follow_up.weights[:, None]
    if censoring is not None and p:
        residuals += _influence_of_weights(sets, follow_up, z, relative, steps, censoring)
    return residuals


def compute_clustered_variance(influence: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Sum over clusters of the outer products of their summed influence (n, p), shape (p, p)."""
    places = np.unique(cluster, return_inverse=True)[1]
    sums = np.column_stack([np.bincount(places, weights=column) for column in influence.T])
    return sums.T @ sums


def _influence_of_weights(
    sets: RiskSets,
    follow_up: FollowUp,
    z: np.ndarray,
    relative: np.ndarray,
    steps: np.ndarray,
    censoring: Censoring,
) -> np.ndarray:
    """psi: what each row adds to the score through the distributions of censoring and of entry, shape (n, p)."""
    weights, ends, mass, tied = censoring
    out = np.zeros_like(z)
    for code, own in weights.items():
        rows = own.rows
        entry, leave = follow_up.entry[rows], follow_up.exit[rows]
        # With events counted as at risk of censoring on their day, sums run as in cmprsk: T < u <= t.
        early = tied == "with_events"
        q = _lost(sets, follow_up, z, relative, steps, code, own.censoring.times, early=early)
        gone_first = (follow_up.event[rows] > 0) & (tied == "after_events")
        seen = np.where(
            gone_first,
            np.searchsorted(own.censoring.times, leave, "left"),
            np.searchsorted(own.censoring.times, leave, "right"),
        )
        begun = np.searchsorted(own.censoring.times, entry, "right")
        c = own.censoring
        jump = np.zeros_like(z[rows])
        jump[ends.censored[rows]] = (q / c.at_risk[:, None])[np.searchsorted(c.times, leave[ends.censored[rows]])]
        out[rows] += mass[rows, None] * (jump - _between(q * (c.leaving / c.at_risk**2)[:, None], begun, seen))
        h = own.entering
        q = _lost(sets, follow_up, z, relative, steps, code, h.times, early=False)
        jump = np.zeros_like(z[rows])
        jump[ends.starting[rows]] = (q / h.at_risk[:, None])[np.searchsorted(h.times, entry[ends.starting[rows]])]
        begun, seen = np.searchsorted(h.times, entry, "left"), np.searchsorted(h.times, leave, "left")
        out[rows] -= mass[rows, None] * (jump - _between(q * (h.leaving / h.at_risk**2)[:, None], begun, seen))
    return out


def _between(values: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    running = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    return running[end] - running[np.minimum(begin, end)]


def _lost(
    sets: RiskSets,
    follow_up: FollowUp,
    z: np.ndarray,
    relative: np.ndarray,
    steps: np.ndarray,
    code: int,
    at: np.ndarray,
    *,
    early: bool,
) -> np.ndarray:
    """q(u): score that people with a competing event by u bring after u, shape (len(at), p).

    Exactly, T <= u < t, since weights are G(t-)/G(T-); `early` takes T < u <= t.
    """
    total = np.zeros((len(at), z.shape[1]))
    for part in sets.lingering:
        if part.group != code:
            continue
        order = part.rows[np.argsort(follow_up.exit[part.rows], kind="stable")]
        lift = part.lift[np.argsort(follow_up.exit[part.rows], kind="stable")]
        bulk = (follow_up.weights * relative)[order] * lift
        sums = np.cumsum(np.column_stack([bulk, bulk[:, None] * z[order]]), axis=0)
        sums = np.concatenate([np.zeros((1, sums.shape[1])), sums])
        so_far = sums[np.searchsorted(follow_up.exit[order], at, "left" if early else "right")]
        weighed = part.reach[:, None] * steps[part.begin : part.end]
        ahead = np.concatenate([np.cumsum(weighed[::-1], axis=0)[::-1], np.zeros((1, steps.shape[1]))])
        to_come = ahead[np.searchsorted(sets.times[part.begin : part.end], at, "left" if early else "right")]
        total += so_far[:, 1:] * to_come[:, :1] - so_far[:, :1] * to_come[:, 1:]
    return total
