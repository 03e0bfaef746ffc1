"""Weights of clones: how likely each person was to start, or not to have started, when they did.

The grid of intervals is: 0, the day of time zero itself, then k = 1, 2, ... for (edges[k-1], edges[k]]. Within an
interval the chance of starting is spread evenly over its days, so that the share u of it gone by counts as u of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from evalkit.cohort.frames import FEW
from evalkit.core.errors import Fault, NotEstimable
from evalkit.estimators.people.clone_people import CloneOptions, TrialPeople
from evalkit.estimators.people.logistic import add_intercept, find_redundant, fit_logistic, fit_logistic_draws

MIN_STARTERS = 10
_BLOCK = 6_000_000  # numbers held at a time


@dataclass(frozen=True)
class StartRows:
    """Rows of the pooled logistic model of starting: one for a person and interval in which they might start.

    Attributes
    ----------
    edges : float array, shape (K + 1,), from 0; the model has intervals 0 to K
    grace_intervals : number of intervals after day 0 that make up the grace period
    design : float array, shape (rows, d + p + q); time (d), baseline (p) and varying (q) covariates, with `names`
    started : float array, shape (rows,), 0 or 1
    exposure : float array, shape (rows,), share of the interval in which the person was followed
    person, interval : int arrays, shape (rows,)
    time_basis : float array, shape (K + 1, d)
    day_zero : whether anybody starts on day 0
    """

    edges: np.ndarray
    grace_intervals: int
    design: np.ndarray
    names: tuple[str, ...]
    started: np.ndarray
    exposure: np.ndarray
    person: np.ndarray
    interval: np.ndarray
    time_basis: np.ndarray
    day_zero: bool


@dataclass(frozen=True)
class CloneWeights:
    """Chances behind the weights of B draws of n people; `compute_clone_weights` reads them off at a day.

    Attributes
    ----------
    edges, grace_intervals : as in `StartRows`
    chance : float array, shape (B, n, K + 1), of starting in each interval if not started before
    waiting : float array, shape (B, n, K + 2), of not having started before each interval, and after all of them
    mean_chance, mean_waiting : the same without covariates, (B, K + 1) and (B, K + 2)
    planned, planned_waiting : of those who start within the grace period, when they do, (B, G + 1) and (B, G + 2)
    started : float array, shape (B, n), stabilised weight in the starting arm of those who have started
    in_time : float array, shape (B,), share of people who start within the grace period, deaths and losses aside
    fitted : bool array, shape (B,)
    coefficients : float array, shape (B, columns), of the model of starting, with `names`
    """

    edges: np.ndarray
    grace_intervals: int
    chance: np.ndarray
    waiting: np.ndarray
    mean_chance: np.ndarray
    mean_waiting: np.ndarray
    planned: np.ndarray
    planned_waiting: np.ndarray
    started: np.ndarray
    in_time: np.ndarray
    fitted: np.ndarray
    coefficients: np.ndarray
    names: tuple[str, ...]


def build_start_rows(people: TrialPeople, options: CloneOptions) -> StartRows:
    """Who might start in which interval, and who does; NotEstimable where fewer than `MIN_STARTERS` ever do in time."""
    edges, grace_intervals = _edges(options)
    grace = edges[grace_intervals]
    _refuse_few(people, float(grace), options)
    lower = np.r_[0.0, edges[:-1]]
    waiting = (people.start[:, None] > lower) & (people.exit[:, None] > lower)
    day_zero = bool((people.start == 0).any())
    waiting[:, 0] = day_zero
    person, interval = np.nonzero(waiting)
    started = (people.start[person] <= edges[interval]).astype(np.float64)
    width = np.where(edges > lower, edges - lower, 1.0)
    part = np.minimum((people.exit[person] - lower[interval]) / width[interval], 1.0)
    exposure = np.where((started == 1) | (interval == 0), 1.0, part)
    basis, time_names = _time_basis(edges, options.time_degree, day_zero=day_zero)
    varying = people.compute_varying_at(lower)
    design = np.concatenate([basis[interval], people.covariates[person], varying[person, interval]], axis=1)
    names = (*time_names, *people.names, *people.varying_names)
    return StartRows(
        edges, grace_intervals, design, names, started, exposure, person, interval, basis, day_zero
    )  # fmt: skip


def fit_clone_weights(people: TrialPeople, options: CloneOptions, rows: StartRows, counts: np.ndarray) -> CloneWeights:
    """Fit the model of starting to each draw and turn it into weights.

    Parameters
    ----------
    counts : array, shape (B, n), how often each person was drawn

    Raises
    ------
    NotEstimable
        A covariate separates those who start from those who do not, or is a combination of others.
    """
    # The first fit is for its refusals, which name the covariate.
    fit_logistic(rows.design, rows.started, weights=rows.exposure, names=rows.names)
    weights = counts[:, rows.person] * rows.exposure
    draws = fit_logistic_draws(rows.design, rows.started, weights, base=rows.exposure)
    fitted, beta = draws.fitted.copy(), np.where(draws.fitted[:, None], draws.coefficients, 0.0)
    chance = _chances(people, rows, beta)
    waiting = _survive(chance)
    count = len(rows.edges)
    mean = np.zeros((len(counts), count))
    for k in range(count):
        inside = rows.interval == k
        total = weights[:, inside].sum(axis=1)
        mean[:, k] = weights[:, inside] @ rows.started[inside] / np.where(total > 0, total, 1.0)
    planned = _plan(mean[:, : rows.grace_intervals + 1])
    if options.start_weights == "grace_end" and rows.grace_intervals:
        started, in_time, kept = _grace_end_weights(people, float(rows.edges[rows.grace_intervals]), counts)
        fitted &= kept
    else:
        place = np.minimum(np.searchsorted(rows.edges, people.start), rows.grace_intervals)
        everybody = np.arange(len(people))
        own = waiting[:, everybody, place] * chance[:, everybody, place]
        started = _over(_survive(mean)[:, place] * mean[:, place], own)
        in_time = 1 - _survive(mean)[:, rows.grace_intervals + 1]
    return CloneWeights(
        rows.edges, rows.grace_intervals, chance, waiting, mean, _survive(mean), planned, _survive(planned), started,
        in_time, fitted, beta, rows.names,
    )  # fmt: skip


def compute_clone_weights(
    people: TrialPeople, options: CloneOptions, found: CloneWeights, *, starts: bool, day: float
) -> np.ndarray:
    """Weights (B, n) on a day in one arm, of those who have not deviated by then.

    Each is a stabilised weight, near 1 and cut at `largest_weight` (how much less likely, given covariates, than on
    average a person was to be as they are: not to have started by then, or to have started when they did) times a
    factor that is the same for all who are alike in that. The factor makes those who start within the grace period
    stand, at the times at which starters start, for everybody.
    """
    last = found.grace_intervals if starts else len(found.edges) - 1
    by_grace_end = starts and options.start_weights == "grace_end"
    begun = _over(_cut(found.started, options), found.in_time[:, None])
    if starts and day > found.edges[last]:
        return begun
    if by_grace_end and last:
        return np.ones_like(begun)
    k = int(np.searchsorted(found.edges[: last + 1], day))
    if k > last:
        return _cut(_over(found.mean_waiting[:, None, -1], found.waiting[:, :, -1]), options)
    gone = 1.0 if k == 0 else (day - found.edges[k - 1]) / (found.edges[k] - found.edges[k - 1])
    average = found.mean_waiting[:, k] * (1 - gone * found.mean_chance[:, k])
    weights = _cut(_over(average[:, None], found.waiting[:, :, k] * (1 - gone * found.chance[:, :, k])), options)
    if not starts:
        return weights
    planned = found.planned_waiting[:, k] * (1 - gone * found.planned[:, k])
    return np.where(people.start <= day, begun, weights * _over(planned, average)[:, None])


def chunk_draws(people: TrialPeople, rows: StartRows) -> int:
    """How many draws may be held at a time."""
    return int(np.clip(_BLOCK // max(len(rows.person), len(people) * (len(rows.edges) + 1)), 1, 100))


def _over(top: np.ndarray, below: np.ndarray) -> np.ndarray:
    """A quotient, 0 where there is nothing below: chances of what was never done, which nobody at risk needs."""
    return top / np.where(below > 0, below, np.inf)


def _cut(weights: np.ndarray, options: CloneOptions) -> np.ndarray:
    return weights if options.largest_weight is None else np.minimum(weights, options.largest_weight)


def _edges(options: CloneOptions) -> tuple[np.ndarray, int]:
    """Ends of the intervals, the first of them day 0, and how many intervals the grace period has."""
    if options.contrast == "intention_to_treat":
        return np.zeros(1), 0
    grace = np.r_[np.arange(0.0, options.grace_days, options.interval_days), options.grace_days]
    if options.comparison == "not_within_grace":
        return grace, len(grace) - 1
    after = np.arange(options.grace_days + options.interval_days, options.horizon_days, options.interval_days)
    return np.r_[grace, after, options.horizon_days], len(grace) - 1


def _refuse_few(people: TrialPeople, grace: float, options: CloneOptions) -> None:
    started = int((people.start <= grace).sum())
    when = "on day 0" if grace == 0 else f"within the grace period of {grace:g} days"
    faults = []
    if started < MIN_STARTERS:
        got = "nobody" if not started else f"fewer than {MIN_STARTERS}"
        hint = "Lengthen the grace period."
        if options.contrast == "intention_to_treat":
            hint = "Without starts on day 0 both strategies are open to everybody: compare per protocol."
        faults.append(Fault("start", f"too few people adhere to starting {when}", got, f"{MIN_STARTERS}", hint))
    waiting = int(((people.start > grace) & (people.exit > grace)).sum())
    if waiting < MIN_STARTERS:
        got = "nobody" if not waiting else f"fewer than {FEW}"
        faults.append(Fault("start", f"too few people are followed without starting {when}", got, f"{MIN_STARTERS}"))
    if faults:
        raise NotEstimable(faults)


def _time_basis(edges: np.ndarray, degree: int, *, day_zero: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Constant, day 0 by itself, and powers of time; columns that add nothing are left out."""
    middle = np.r_[0.0, (edges[1:] + edges[:-1]) / 2] / max(edges[-1], 1.0)
    columns = {"intercept": np.ones(len(edges)), "day 0": np.r_[1.0, np.zeros(len(edges) - 1)]}
    columns |= {f"time^{power}": middle**power for power in range(1, degree + 1)}
    basis = np.column_stack(list(columns.values()))
    used = basis if day_zero else basis[1:]
    keep = ~find_redundant(used)
    return basis[:, keep], tuple(name for name, kept in zip(columns, keep, strict=True) if kept)


def _chances(people: TrialPeople, rows: StartRows, beta: np.ndarray) -> np.ndarray:
    d, p = rows.time_basis.shape[1], people.covariates.shape[1]
    eta = (beta[:, :d] @ rows.time_basis.T)[:, None, :] + (beta[:, d : d + p] @ people.covariates.T)[:, :, None]
    if people.varying_names:
        values = people.compute_varying_at(np.r_[0.0, rows.edges[:-1]])
        eta = eta + np.einsum("bq,nkq->bnk", beta[:, d + p :], values)
    chance = special.expit(eta)
    if not rows.day_zero:
        chance[:, :, 0] = 0.0
    return chance


def _survive(chance: np.ndarray) -> np.ndarray:
    """Product of 1 - chance before each interval, and after all of them, along the last axis."""
    ones = np.ones((*chance.shape[:-1], 1))
    return np.concatenate([ones, np.cumprod(1 - chance, axis=-1)], axis=-1)


def _plan(mean: np.ndarray) -> np.ndarray:
    """Chance (B, G + 1) of starting in each interval of the grace period for those who start within it."""
    after = np.cumprod((1 - mean)[:, ::-1], axis=1)[:, ::-1]
    some = 1 - after
    return np.where(some > 0, mean / np.where(some > 0, some, 1.0), 1.0)


def _grace_end_weights(
    people: TrialPeople, grace: float, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stabilised weights (B, n) of having started by the end of the grace period, the share who have (B,), and fits.

    Among those followed so far, given baseline covariates.
    """
    followed = people.exit > grace
    x = add_intercept(people.covariates)
    started = (people.start <= grace).astype(np.float64)
    fit_logistic(x[followed], started[followed], names=("intercept", *people.names))
    draws = fit_logistic_draws(x[followed], started[followed], counts[:, followed].astype(np.float64))
    beta = np.where(draws.fitted[:, None], draws.coefficients, 0.0)
    share = (counts[:, followed] @ started[followed]) / counts[:, followed].sum(axis=1)
    return share[:, None] / special.expit(beta @ x.T), share, draws.fitted
