"""Mean outcome of a target population on each side: g-computation, weighting, and both together (AIPW).

With h(x) the tilt of the target population (1 for ATE, e for ATT, 1 - e for ATC, e (1 - e) for ATO), e the propensity
and m_a(x) the outcome model of side a, everything here solves one of
  weighting       sum w_a (Y - mu P) = 0,                         w_a = h / P(side a | x) on side a, else 0
  g-computation   sum g (m_a - mu P) = 0,                         g = h, or its observed counterpart (T for ATT)
  AIPW            sum g (m_a - mu P) + sum w_a (Y - m_a) = 0
P is person-time, or 1. Influence values add what the estimated coefficients of e and m_a contribute.

Source: Lunceford and Davidian 2004, Statistics in Medicine 23:2937 (weighting, AIPW, stacked equations); Li, Morgan and
Zaslavsky 2018, JASA 113:390 (tilts); Mao, Li and Greene 2019, SMMR 28:2439.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.core.estimand import Contrast
from evalkit.estimators.outcome_models import ArmModel, GlmFit

Way = Literal["gcomp", "ipw", "aipw", "aipw_ratio"]


@dataclass(frozen=True)
class Balance:
    """Weights of both sides under B weightings, and what is needed to carry their error.

    Attributes
    ----------
    score : float array, shape (B, n), the propensity; NaN where the weights do not come from one
    weights : float array, shape (2, B, n), w_0 and w_1, nought on the other side
    slopes : float array, shape (2, B, n), derivatives of the weights by the linear predictor of the propensity
    fit : GlmFit | None
        The propensity model; None where weights are taken as given.
    design : float array, shape (n, p), of everybody, where there is a `fit`
    """

    score: np.ndarray
    weights: np.ndarray
    slopes: np.ndarray
    fit: GlmFit | None = None
    design: np.ndarray | None = None


@dataclass(frozen=True)
class Means:
    """Means of the comparison and the treated side, `value` (B, 2), and influence values (n, 2) of the first row."""

    value: np.ndarray
    influence: np.ndarray | None


def compute_balance_weights(
    contrast: Contrast, treated: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights w_0, w_1 and their slopes by the logit of the propensity, both (2, B, n), from scores (B, n)."""
    e, f = score, 1 - score
    ones, none = np.ones_like(e), np.zeros_like(e)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # not used on the other side
        pairs = {
            "ATT": ((e / f, e / f), (ones, none)),
            "ATC": ((ones, none), (f / e, -f / e)),
            "ATE": ((1 / f, e / f), (1 / e, -f / e)),
            "ATO": ((e, e * f), (f, -e * f)),
        }[contrast]
    sides = (~treated, treated)
    weights = np.stack([np.where(side, pair[0], 0.0) for side, pair in zip(sides, pairs, strict=True)])
    slopes = np.stack([np.where(side, pair[1], 0.0) for side, pair in zip(sides, pairs, strict=True)])
    return weights, slopes


def compute_target(
    contrast: Contrast, treated: np.ndarray, balance: Balance | None, way: Way, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """g and its slope by the logit of the propensity, both (B, n).

    For the ATO, g-computation takes e (1 - e) itself; AIPW takes (T - e)^2, whose mean given x is the same and with
    which first-order errors of e cancel, as is needed for cross-fitting.
    """
    plain = {"ATT": treated.astype(float), "ATC": (~treated).astype(float), "ATE": np.ones(len(treated))}
    if contrast in plain:
        return np.broadcast_to(plain[contrast], shape), np.zeros(shape)
    e = balance.score
    if way == "gcomp":
        return e * (1 - e), e * (1 - e) * (1 - 2 * e)
    return (treated - e) ** 2, -2 * (treated - e) * e * (1 - e)


def compute_means(
    contrast: Contrast,
    way: Way,
    *,
    treated: np.ndarray,
    outcome: np.ndarray,
    exposure: np.ndarray | None,
    sampling: np.ndarray,
    balance: Balance | None,
    models: dict[int, ArmModel],
    errors: Literal["stacked", "efficient", "none"],
) -> Means:
    """Means of both sides, and influence values.

    A side that is the target population itself (the treated for ATT) has its own observed mean. `errors="efficient"`
    leaves out what estimated coefficients contribute, as is right for orthogonal scores (cross-fitting, TMLE).

    Parameters
    ----------
    outcome : float array, shape (n,)
    exposure : float array, shape (n,), or None
        Person-time; means are then rates.
    sampling : float array, shape (B, n)
    """
    time = np.ones(len(outcome)) if exposure is None else exposure
    target = compute_target(contrast, treated, balance, way, sampling.shape)
    values, columns = [], []
    for arm in (0, 1):
        if (contrast, arm) in (("ATT", 1), ("ATC", 0)):
            own = target[0] * sampling
            mean = _ratio(own * outcome, own * time)
            values.append(mean)
            columns.append(own[0] * (outcome - mean[0] * time) / (own[0] @ time))
            continue
        pair = (balance.weights[arm], balance.slopes[arm]) if way != "gcomp" else None
        model = models.get(arm) if way != "ipw" else None
        value, direct, by_score, by_outcome = _solve_arm(way, outcome, time, sampling, target, pair, model)
        values.append(value)
        if errors == "stacked":
            if balance is not None and balance.fit is not None:
                direct = direct + balance.fit.project(balance.design.T @ by_score)
            if model is not None and model.fit is not None:
                direct = direct + model.fit.project(model.design.T @ by_outcome)
        columns.append(direct)
    return Means(np.stack(values, axis=-1), None if errors == "none" else np.column_stack(columns))


def compute_calibrated_influence(
    contrast: Contrast,
    arm: int,
    *,
    treated: np.ndarray,
    x: np.ndarray,
    residual: np.ndarray,
    exposure: np.ndarray,
    weights: np.ndarray,
    sampling: np.ndarray,
) -> np.ndarray:
    """Influence values, shape (n,), of a weighted mean whose weights balance x exactly (entropy balancing).

    With b the weighted regression of the residual r = Y - mu P on x (n, p, with an intercept) within the arm, they
    are w (r - x'b) / sum w there, plus x'b over the target population (as Deville and Sarndal 1992, JASA 87:376).
    `weights` (n,) have the sampling weights in them.
    """
    own = np.where(treated == bool(arm), weights, 0.0)
    root = np.sqrt(own)
    fitted = x @ np.linalg.lstsq(x * root[:, None], residual * root, rcond=None)[0]
    goal = {"ATT": treated.astype(float), "ATC": (~treated).astype(float), "ATE": np.ones(len(treated))}[contrast]
    goal = goal * sampling
    mass = (own @ exposure) / own.sum()  # 1 without person-time
    return (own * (residual - fitted) / own.sum() + goal * fitted / goal.sum()) / mass


def _solve_arm(
    way: Way,
    y: np.ndarray,
    time: np.ndarray,
    sampling: np.ndarray,
    target: tuple[np.ndarray, np.ndarray],
    pair: tuple[np.ndarray, np.ndarray] | None,
    model: ArmModel | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The mean (B,), its direct influence values and derivatives by both linear predictors (n,) of the first row."""
    n = len(y)
    value, direct, by_score, by_outcome = np.zeros(len(sampling)), np.zeros(n), np.zeros(n), np.zeros(n)
    s = sampling[0]
    if way != "ipw":
        g = sampling * target[0]
        total = (g @ time)[0]
        value = _ratio(g * model.expected, g * time)
        rest = model.expected[0] - value[0] * time
        direct, by_score = g[0] * rest / total, s * target[1][0] * rest / total
        by_outcome = g[0] * model.slope[0] / total
    if way == "gcomp":
        return value, direct, by_score, by_outcome
    w, slope = sampling * pair[0], s * pair[1][0]
    expected = 0.0 if model is None else model.expected
    if way == "aipw":
        augmentation = (w * (y - expected)).sum(axis=1) / (g @ time)
        # The mean is one equation in mu: its residual in g takes the whole value.
        direct = direct + (w[0] * (y - expected[0]) - g[0] * augmentation[0] * time) / total
        by_score = by_score + (slope * (y - expected[0]) - s * target[1][0] * augmentation[0] * time) / total
        return value + augmentation, direct, by_score, by_outcome - w[0] * model.slope[0] / total
    weight = (w @ time)[0]
    level = _ratio(w * (y - expected), w * time)
    rest = y - (0.0 if model is None else expected[0]) - level[0] * time
    direct, by_score = direct + w[0] * rest / weight, by_score + slope * rest / weight
    if model is not None:
        by_outcome = by_outcome - w[0] * model.slope[0] / weight
    return value + level, direct, by_score, by_outcome


def _ratio(top: np.ndarray, below: np.ndarray) -> np.ndarray:
    total = below.sum(axis=1)
    return top.sum(axis=1) / np.where(total > 0, total, np.nan)
