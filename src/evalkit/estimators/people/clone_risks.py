"""Weighted risks of the two arms of clones, for many draws of people at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.estimators.people.clone_people import CloneOptions, TrialPeople
from evalkit.estimators.people.clone_weights import (
    CloneWeights,
    StartRows,
    chunk_draws,
    compute_clone_weights,
    fit_clone_weights,
)

ARMS = (True, False)  # starting, then comparison


@dataclass(frozen=True)
class Arm:
    """Clones of everybody in one arm: `member` (n,), their last day `exit` (n,) and `event` (n,), 0 if censored.

    `deviated` (n,) are those who were censored because they left the strategy.
    """

    member: np.ndarray
    exit: np.ndarray
    event: np.ndarray
    deviated: np.ndarray


def build_arm(people: TrialPeople, options: CloneOptions, *, starts: bool) -> Arm:
    """Clones of one arm, censored when they leave its strategy.

    Starting arm: who has not started by the end of the grace period leaves then. Comparison arm: who starts leaves
    when they start (within the grace period, or ever). On one day a start comes before the event and the event before
    the end of the grace period. Intention to treat: nobody leaves, and arms are as begun on day 0.
    """
    intended = options.contrast == "intention_to_treat"
    grace = 0.0 if intended else options.grace_days
    if starts:
        if intended:
            return _arm(people, people.start == 0, np.full(len(people), np.inf), late=np.zeros(len(people), dtype=bool))
        limit = np.where(people.start <= grace, np.inf, grace)
        return _arm(people, np.ones(len(people), dtype=bool), limit, late=people.exit > limit)
    limit = np.where(people.start <= (np.inf if options.comparison == "never_start" else grace), people.start, np.inf)
    if intended:
        limit = np.full(len(people), np.inf)
    return _arm(people, people.start > 0, limit, late=people.exit >= limit)


def _arm(people: TrialPeople, member: np.ndarray, limit: np.ndarray, *, late: np.ndarray) -> Arm:
    deviated = member & late
    return Arm(member, np.where(deviated, limit, people.exit), np.where(deviated, 0, people.event), deviated)


def compute_clone_risks(
    people: TrialPeople, options: CloneOptions, rows: StartRows, counts: np.ndarray, *, days: np.ndarray
) -> np.ndarray:
    """Weighted risk of the outcome by each day, shape (B, 2, len(days)), starting arm first; NaN where not fitted.

    Weighted Aalen-Johansen with other causes competing; the weights are fitted anew in each draw. Who is lost to
    follow-up is taken to be like those who stay, given arm and weight.

    Parameters
    ----------
    counts : int array, shape (B, n), how often each person was drawn, both of their clones together
    """
    arms = [build_arm(people, options, starts=starts) for starts in ARMS]
    size = chunk_draws(people, rows)
    parts = []
    for at in range(0, len(counts), size):
        chunk = counts[at : at + size].astype(np.float64)
        found = fit_clone_weights(people, options, rows, chunk)
        risks = np.stack(
            [
                _compute_arm(people, options, found, chunk, arm, starts=starts, days=days)
                for arm, starts in zip(arms, ARMS, strict=True)
            ],
            axis=1,
        )
        risks[~found.fitted] = np.nan
        parts.append(risks)
    return np.concatenate(parts)


def _compute_arm(
    people: TrialPeople,
    options: CloneOptions,
    found: CloneWeights,
    counts: np.ndarray,
    arm: Arm,
    *,
    starts: bool,
    days: np.ndarray,
) -> np.ndarray:
    """Risk by each day, shape (B, len(days))."""
    ends = arm.member & (arm.event > 0) & (arm.exit <= days.max())
    times = np.unique(arm.exit[ends])
    settled = found.edges[found.grace_intervals] if starts else found.edges[-1]  # weights change no more after it
    early = times[times <= settled]
    sums = [_sums_at(people, options, found, counts, arm, starts=starts, day=float(t)) for t in early]
    sums = np.stack(sums, axis=2) if sums else np.empty((3, len(counts), 0))
    weights = counts * compute_clone_weights(people, options, found, starts=starts, day=float(settled) + 1.0)
    late = _sums_after(weights, arm, times[times > settled], settled=float(settled))
    at_risk, outcome, any_cause = np.concatenate([sums, late], axis=2)
    safe = np.where(at_risk > 0, at_risk, 1.0)
    # Where nobody is left in a draw the risk is not known from there on.
    share = np.where(at_risk > 0, any_cause / safe, np.nan)
    free = np.concatenate([np.ones((len(counts), 1)), np.cumprod(1 - share, axis=1)], axis=1)
    risk = np.cumsum(free[:, :-1] * np.where(at_risk > 0, outcome / safe, np.nan), axis=1)
    risk = np.concatenate([np.zeros((len(counts), 1)), risk], axis=1)
    return risk[:, np.searchsorted(times, days, side="right")]


def _sums_at(
    people: TrialPeople,
    options: CloneOptions,
    found: CloneWeights,
    counts: np.ndarray,
    arm: Arm,
    *,
    starts: bool,
    day: float,
) -> np.ndarray:
    """Weights at risk, with the outcome, and with any event on a day; shape (3, B)."""
    weights = counts * compute_clone_weights(people, options, found, starts=starts, day=day)
    at_risk = arm.member & (arm.exit >= day)
    now = at_risk & (arm.exit == day)
    pieces = (at_risk, now & (arm.event == 1), now & (arm.event > 0))
    return np.stack([weights[:, rows].sum(axis=1) for rows in pieces])


def _sums_after(weights: np.ndarray, arm: Arm, times: np.ndarray, *, settled: float) -> np.ndarray:
    """The same for all days on which weights no longer change, shape (3, B, len(times))."""
    rows = np.flatnonzero(arm.member & (arm.exit > settled))
    rows = rows[np.argsort(arm.exit[rows], kind="stable")]
    last, event = arm.exit[rows], arm.event[rows]
    w = weights[:, rows]

    def before(values: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)

    left, right = np.searchsorted(last, times), np.searchsorted(last, times, side="right")
    everybody, outcome, any_cause = before(w), before(w * (event == 1)), before(w * (event > 0))
    at_risk = everybody[:, -1:] - everybody[:, left]
    return np.stack([at_risk, outcome[:, right] - outcome[:, left], any_cause[:, right] - any_cause[:, left]])
