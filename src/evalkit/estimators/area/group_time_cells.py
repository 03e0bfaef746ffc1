"""Effects of one cohort against one comparison group: doubly robust, weighting or regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Adjustment = Literal["doubly_robust", "weighting", "regression"]

LARGEST_PROPENSITY = 0.999
_CONDITION = 1e-12  # of a Gram matrix of standardised columns
_NEWTON_STEPS = 60
_NEWTON_DECREMENT = 1e-20  # twice the log-likelihood still to gain, a unit


@dataclass(frozen=True)
class CellFit:
    """Effects of C changes on m units, with each unit's share in the error.

    Attributes
    ----------
    value : float array, shape (C,)
    influence : float array, shape (C, m)
        Mean zero over the m units; the standard error is `sqrt((influence**2).sum(axis=1)) / m`.
    problem : str
        Why nothing could be estimated (`value` and `influence` are then NaN), or empty.
    """

    value: np.ndarray
    influence: np.ndarray
    problem: str = ""


def compute_cells(
    change: np.ndarray,
    *,
    treated: np.ndarray,
    covariates: np.ndarray,
    weights: np.ndarray,
    adjustment: Adjustment,
) -> CellFit:
    """Effect of treatment on changes in outcome, all changes of one comparison at once.

    Sant'Anna and Zhao (2020, J Econometrics 219:101): doubly robust eq. 2.6 with a logit propensity
    and least squares (the "traditional" estimator, influence function of their theorem 1); Abadie's
    weighting with weights that add to one; outcome regression. One logit and one regression serve all
    changes, since only the outcome differs between them.

    Parameters
    ----------
    change : float array, shape (C, m)
        Outcome less outcome at the base period.
    treated : bool array, shape (m,)
    covariates : float array, shape (m, K); K may be 0
    weights : float array, shape (m,), above 0

    No number is given, and `problem` says why, where covariates are collinear among the units compared,
    comparison units are too few for the regression, or a propensity reaches `LARGEST_PROPENSITY`
    (treated and comparison units separate perfectly, or nearly).
    """
    design, problem = _design(covariates, treated, adjustment)
    score = np.zeros(0)
    if not problem and adjustment != "regression":
        score, problem = fit_propensity(design, treated, weights)
    if problem:
        return CellFit(np.full(len(change), np.nan), np.full(change.shape, np.nan), problem)
    units = len(treated)
    weights = weights / weights.mean()
    on, off = weights * treated, weights * ~treated
    aim = design.T @ on / on.sum()  # mean design of the treated; later less that of their comparison
    if adjustment != "weighting":
        gram = (design * off[:, None]).T @ design
        slopes = np.linalg.solve(gram, (change @ (off[:, None] * design)).T).T
        change = change - slopes @ design.T
    value = change @ on / on.sum()
    per_unit, rows, factors = on / on.mean(), [on / on.mean()], [-value]
    if adjustment != "regression":
        odds = off * score / (1 - score)
        compared = change @ odds / odds.sum()
        value = value - compared
        lean = (change @ (odds[:, None] * design) - np.outer(compared, odds @ design)) / units
        spread = (design * (weights * score * (1 - score))[:, None]).T @ design / units
        pull = np.linalg.solve(spread, lean.T).T / odds.mean()
        per_unit = per_unit - odds / odds.mean()
        rows += [odds / odds.mean(), *(design * (weights * (treated - score))[:, None]).T]
        factors += [compared, *(-pull.T)]
        aim = aim - design.T @ odds / odds.sum()
    if adjustment != "weighting":
        per_unit = per_unit - off * (design @ np.linalg.solve(gram / units, aim))
    influence = change * per_unit
    influence += np.stack(factors, axis=1) @ np.stack(rows)
    return CellFit(value, influence)


def fit_propensity(design: np.ndarray, treated: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, str]:
    """Logit probability of treatment by Newton's method, shape (m,), and why it is of no use, if so.

    `design` (m, P) begins with a column of ones and is otherwise centred.
    """
    share = (weights * treated).sum() / weights.sum()
    slopes = np.zeros(design.shape[1])
    slopes[0] = np.log(share / (1 - share))
    for _ in range(_NEWTON_STEPS):
        fitted = 1 / (1 + np.exp(-np.clip(design @ slopes, -500, 500)))
        if fitted.max() >= 1 - 1e-9:
            break  # diverging: the covariates separate the groups
        slope = design.T @ (weights * (treated - fitted))
        spread = (design * (weights * fitted * (1 - fitted))[:, None]).T @ design
        step = np.linalg.solve(spread, slope)
        if step @ slope <= _NEWTON_DECREMENT * len(treated):
            break
        slopes = slopes + step
    else:
        return fitted, f"the propensity was not found in {_NEWTON_STEPS} steps"
    if fitted.max() >= LARGEST_PROPENSITY:
        return fitted, (
            f"the covariates separate treated from comparison units: a propensity reaches {fitted.max():.4f}, "
            f"{LARGEST_PROPENSITY} is the most allowed"
        )
    return fitted, ""


def _design(covariates: np.ndarray, treated: np.ndarray, adjustment: Adjustment) -> tuple[np.ndarray, str]:
    """Ones and standardised covariates, shape (m, 1 + K), and why they cannot be used, if so."""
    ones = np.ones((len(treated), 1))
    if covariates.shape[1] == 0:
        return ones, ""
    centred = covariates - covariates.mean(axis=0)
    scale = centred.std(axis=0)
    if (scale <= 1e-12 * np.maximum(np.abs(covariates).max(axis=0), 1e-300)).any():
        return ones, "a covariate is the same in every unit compared"
    design = np.hstack([ones, centred / scale])
    for rows, who in ((slice(None), "the units compared"), (~treated, "the comparison units")):
        if adjustment == "weighting" and who == "the comparison units":
            continue
        part = design[rows]
        if len(part) < part.shape[1]:
            return design, f"there are only {len(part)} comparison units for {covariates.shape[1]} covariates"
        sizes = np.linalg.eigvalsh(part.T @ part)
        if sizes[0] < _CONDITION * sizes[-1]:
            return design, f"the covariates are collinear among {who}"
    return design, ""
