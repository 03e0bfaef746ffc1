"""Models of censoring by covariates: Cox's over days, or logistic from one period to the next."""

from __future__ import annotations

from typing import Literal

import numpy as np

from evalkit.cohort.cost_history import CostHistory
from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.people.logistic import fit_logistic, predict_logistic
from evalkit.estimators.survival.cox import fit_cox
from evalkit.estimators.survival.cox_residuals import compute_baseline_hazard


def compute_followed_table(
    history: CostHistory,
    *,
    known: np.ndarray,
    time: np.ndarray,
    layer: np.ndarray,
    place: np.ndarray,
    grid: np.ndarray,
    model: Literal["cox", "logistic"],
) -> np.ndarray:
    """Probability that each person is still followed after each place of the grid, shape (n, C + 1).

    `known`, `time`, `layer`, `place` (n,) and `grid` (C,) are those of `Observed`. Without any censoring all are 1.

    Raises NotEstimable for what the model cannot be fitted to, such as a covariate that separates the censored.
    """
    if known.all():
        return np.ones((len(known), len(grid) + 1))
    if model == "cox":
        return _follow_by_cox(history, known, time, layer, grid)
    return _follow_by_periods(history, known, layer, place, len(grid))


def _follow_by_cox(
    history: CostHistory, known: np.ndarray, time: np.ndarray, layer: np.ndarray, grid: np.ndarray
) -> np.ndarray:
    """exp(-hazard of censoring), baselines by layer; Cox's likelihood needs the order of times alone.

    Ranks with half places between put a death before a censoring of the same day.
    """
    n = len(time)
    rank = np.unique(time, return_inverse=True)[1]
    order = 2.0 * rank + np.where(known, 1.0, 2.0)
    people = np.arange(n)
    middle = history.covariates - history.covariates.mean(axis=0)
    follow_up = FollowUp(
        np.zeros(n), order, (~known).astype(np.int64), people, history.cluster, layer, history.weights, np.zeros(n),
        middle, history.names, ("censored",), tuple(range(int(layer.max()) + 1)),
    )  # fmt: skip
    fit = fit_cox(follow_up)
    at = 2.0 * np.searchsorted(np.unique(time), grid) + 2.0
    hazard = np.zeros((int(layer.max()) + 1, len(grid) + 1))
    for base in compute_baseline_hazard(fit, follow_up):
        total = np.concatenate([[0.0], base.cumulative])
        hazard[base.stratum, 1:] = total[np.searchsorted(base.time, at, side="right")]
    return np.exp(-np.exp(middle @ fit.coefficients)[:, None] * hazard[layer])


def _follow_by_periods(
    history: CostHistory, known: np.ndarray, layer: np.ndarray, place: np.ndarray, n_periods: int
) -> np.ndarray:
    """Product of 1 - h over periods, h a pooled logistic model of period, layer and covariates.

    Periods in which nobody is censored have h = 0 and are left out of the fit, as are layers.
    """
    person = np.repeat(np.arange(len(place)), place)
    period = np.arange(len(person)) - np.repeat(np.cumsum(place) - place, place)
    last = period == place[person] - 1
    lost = (last & ~known[person]).astype(np.float64)
    some = np.unique(period[lost > 0])
    quiet = np.setdiff1d(np.unique(layer), layer[~known])
    layers = np.setdiff1d(np.unique(layer), quiet)
    spread = history.covariates.std(axis=0)
    x = (history.covariates - history.covariates.mean(axis=0)) / np.where(spread > 0, spread, 1.0)

    def design(who: np.ndarray, when: np.ndarray) -> np.ndarray:
        return np.column_stack([
            (when[:, None] == some).astype(np.float64), (layer[who][:, None] == layers[1:]).astype(np.float64), x[who],
        ])  # fmt: skip

    used = np.isin(period, some) & np.isin(layer[person], layers)
    names = [f"period {k + 1}" for k in some] + [f"layer {k + 1}" for k in layers[1:]] + list(history.names)
    beta = fit_logistic(
        design(person[used], period[used]), lost[used], weights=history.weights[person[used]], names=names
    )
    followed = np.ones((len(place), n_periods + 1))
    open_ = np.isin(layer, layers)
    for k in range(n_periods):
        stay = np.ones(len(place))
        if k in some:
            who = np.flatnonzero(open_)
            stay[who] = 1 - predict_logistic(design(who, np.full(len(who), k)), beta)
        followed[:, k + 1] = followed[:, k] * stay
    return followed
