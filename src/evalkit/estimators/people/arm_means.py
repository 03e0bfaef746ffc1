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
from evalkit.estimators.people.leave_out import compute_total_without, solve_without
from evalkit.estimators.people.logistic import find_redundant
from evalkit.estimators.people.outcome_models import ArmModel, GlmFit

Way = Literal["gcomp", "ipw", "aipw", "aipw_ratio"]
Errors = Literal["stacked", "efficient", "none"]


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
    """Means of the comparison and the treated side, `value` (B, 2), and influence values (n, 2) of the first row.

    `left_out` (n, 2), with stacked errors: summed over a cluster, what the means lose when the cluster is left out of
    them and of all models, in one step (`leave_out`).
    """

    value: np.ndarray
    influence: np.ndarray | None
    left_out: np.ndarray | None = None


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
    errors: Errors,
    cluster: np.ndarray,
) -> Means:
    """Means of both sides, and influence values.

    A side that is the target population itself (the treated for ATT) has its own observed mean. `errors="efficient"`
    leaves out what estimated coefficients contribute, as is right for orthogonal scores of large samples.

    Parameters
    ----------
    outcome : float array, shape (n,)
    exposure : float array, shape (n,), or None
        Person-time; means are then rates.
    sampling : float array, shape (B, n)
    cluster : int array, shape (n,)
    """
    time = np.ones(len(outcome)) if exposure is None else exposure
    target = compute_target(contrast, treated, balance, way, sampling.shape)
    values, columns, left_out = [], [], []
    for arm in (0, 1):
        if (contrast, arm) in (("ATT", 1), ("ATC", 0)):
            own = target[0] * sampling
            mean = _ratio(own * outcome, own * time)
            values.append(mean)
            direct = own[0] * (outcome - mean[0] * time)
            columns.append(direct / _below(own[0] * time, None))
            left_out.append(direct / _below(own[0] * time, cluster))
            continue
        pair = (balance.weights[arm], balance.slopes[arm]) if way != "gcomp" else None
        model = models.get(arm) if way != "ipw" else None
        value, parts = _solve_arm(way, outcome, time, sampling, target, pair, model, errors)
        values.append(value)
        if errors != "none":
            columns.append(_sum_parts(parts, balance, model, errors, None))
        if errors == "stacked":
            left_out.append(_sum_parts(parts, balance, model, errors, cluster))
    return Means(
        np.stack(values, axis=-1),
        None if errors == "none" else np.column_stack(columns),
        np.column_stack(left_out) if errors == "stacked" else None,
    )


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
    without: np.ndarray | None,
) -> np.ndarray:
    """Influence values, shape (n,), of a weighted mean whose weights balance x exactly (entropy balancing).

    With b the weighted regression of the residual r = Y - mu P on x (n, p, with an intercept) within the arm, they
    are w (r - x'b) / sum w there, plus x'b over the target population (as Deville and Sarndal 1992, JASA 87:376).
    `weights` (n,) have the sampling weights in them. With cluster codes `without` (n,) they are what is left out.
    """
    own = np.where(treated == bool(arm), weights, 0.0)
    root = np.sqrt(own)
    fitted = x @ np.linalg.lstsq(x * root[:, None], residual * root, rcond=None)[0]
    goal = {"ATT": treated.astype(float), "ATC": (~treated).astype(float), "ATE": np.ones(len(treated))}[contrast]
    goal = goal * sampling
    mass = (own @ exposure) / own.sum()  # 1 without person-time
    lever = np.full(len(x), 1 / own.sum())
    if without is not None:
        rows = own > 0
        kept = ~find_redundant(x[rows] * root[rows, None])
        right = np.tile((goal @ x)[kept] / goal.sum(), (int(rows.sum()), 1))
        lever[rows] = solve_without(x[rows][:, kept], own[rows], without[rows], right)
    return (own * (residual - fitted) * lever + goal * fitted / _below(goal, without)) / mass


@dataclass(frozen=True)
class _Part:
    """A part of a mean with its own denominator, `mass` (n,) summed: its direct influence values times that total,
    and the derivatives by both linear predictors, (n,) each."""

    mass: np.ndarray
    direct: np.ndarray
    by_score: np.ndarray
    by_outcome: np.ndarray


def _solve_arm(
    way: Way,
    y: np.ndarray,
    time: np.ndarray,
    sampling: np.ndarray,
    target: tuple[np.ndarray, np.ndarray],
    pair: tuple[np.ndarray, np.ndarray] | None,
    model: ArmModel | None,
    errors: Errors,
) -> tuple[np.ndarray, list[_Part]]:
    """The mean (B,) and its parts under the first row of `sampling`."""
    value, parts, s = np.zeros(len(sampling)), [], sampling[0]
    if way != "ipw":
        g = sampling * target[0]
        value = _ratio(g * model.expected, g * time)
        rest = model.expected[0] - value[0] * time
        parts.append(_Part(g[0] * time, g[0] * rest, s * target[1][0] * rest, g[0] * model.slope[0]))
    if way == "gcomp":
        return value, parts
    w, slope = sampling * pair[0], s * pair[1][0]
    residual = y - (0.0 if model is None else model.expected)
    if way == "aipw":
        augmentation = (w * residual).sum(axis=1) / (g @ time)
        gain = 1.0
        if model.tilt is not None and errors != "efficient":
            gain = (g[0] @ model.tilt[0]) / (w[0] @ model.tilt[0])  # how the mean moves with the targeting step
        # The mean is one equation in mu: its residual in g takes the whole value.
        part = parts[0]
        return value + augmentation, [_Part(
            part.mass,
            part.direct + gain * w[0] * residual[0] - augmentation[0] * part.mass,
            part.by_score + gain * slope * residual[0] - s * target[1][0] * augmentation[0] * time,
            part.by_outcome - gain * w[0] * model.slope[0],
        )]  # fmt: skip
    level = _ratio(w * residual, w * time)
    rest = (residual if residual.ndim == 1 else residual[0]) - level[0] * time
    by_outcome = np.zeros(len(y)) if model is None else -w[0] * model.slope[0]
    parts.append(_Part(w[0] * time, w[0] * rest, slope * rest, by_outcome))
    return value + level, parts


def _sum_parts(
    parts: list[_Part], balance: Balance | None, model: ArmModel | None, errors: Errors, without: np.ndarray | None
) -> np.ndarray:
    """Influence values (n,), with what the coefficients of both models contribute where `errors` wants that."""
    below = [_below(part.mass, without) for part in parts]
    values = sum(part.direct / total for part, total in zip(parts, below, strict=True))
    if errors != "stacked":
        return values
    for fit, design, name in (
        (None, None, "by_score") if balance is None else (balance.fit, balance.design, "by_score"),
        (None, None, "by_outcome") if model is None else (model.fit, model.design, "by_outcome"),
    ):
        if fit is None:
            continue
        if without is None:
            by = sum(getattr(part, name) / total for part, total in zip(parts, below, strict=True))
            values = values + fit.project(design.T @ by)
        else:
            pieces = [(getattr(part, name), 1 / total) for part, total in zip(parts, below, strict=True)]
            values = values + fit.project_without(design, pieces, without)
    return values


def _below(mass: np.ndarray, without: np.ndarray | None) -> np.ndarray | float:
    """What direct influence values are divided by: the total, or what is left of it without a person's cluster."""
    return mass.sum() if without is None else compute_total_without(mass, without)


def _ratio(top: np.ndarray, below: np.ndarray) -> np.ndarray:
    total = below.sum(axis=1)
    return top.sum(axis=1) / np.where(total > 0, total, np.nan)
