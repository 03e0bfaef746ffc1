"""Targeting step of targeted maximum likelihood, for outcomes that are 0/1 or lie between two bounds.

Source: van der Laan and Rose 2011, Targeted Learning, chapters 4 (binary) and 7 (bounded continuous: Gruber and van der
Laan 2010, Int J Biostat 6:26).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import special

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Contrast
from evalkit.estimators.arm_means import Balance, compute_balance_weights
from evalkit.estimators.outcome_models import ArmModel

_EDGE = 5e-4  # first predictions are kept this far from 0 and 1, so that they have a logit (R's tmle: alpha = 0.9995)
_ITERATIONS = 100
_TOLERANCE = 1e-12


def compute_targeted(
    contrast: Contrast,
    *,
    treated: np.ndarray,
    outcome: np.ndarray,
    sampling: np.ndarray,
    balance: Balance,
    models: dict[int, ArmModel],
    bounds: tuple[float, float],
) -> dict[int, ArmModel]:
    """Outcome models moved along logit Q* = logit Q + epsilon H until sum of w_a (Y - Q*) is nought on each side.

    H is h(x) / P(side | x) (the clever covariate: 1 / e and 1 / (1 - e) for ATE, e / (1 - e) on the comparison for
    ATT), epsilon its maximum-likelihood coefficient among those on the side. With the empirical distribution of the
    target population the means of Q* then solve the efficient influence equation.

    Parameters
    ----------
    outcome : float array, shape (n,), within `bounds`
    sampling : float array, shape (B, n)
    bounds : lowest and highest value that the outcome can have; it is scaled to 0 to 1 and back

    Raises
    ------
    NotEstimable
        The targeting step of the first weighting does not settle.
    """
    low, high = bounds
    scaled = (outcome - low) / (high - low)
    moved = {}
    for arm, model in models.items():
        first = special.logit(np.clip((model.expected - low) / (high - low), _EDGE, 1 - _EDGE))
        clever = _clever(contrast, arm, balance.score)
        side = treated == bool(arm)
        epsilon = _fluctuate(first[:, side], clever[:, side], scaled[side], sampling[:, side])
        if not np.isfinite(epsilon[0]):
            raise NotEstimable(
                Fault("tmle", "the targeting step does not settle: weights are too uneven", next_step="Check overlap.")
            )
        mean = special.expit(first + epsilon[:, None] * clever)
        moved[arm] = replace(model, expected=low + (high - low) * mean, slope=(high - low) * mean * (1 - mean))
    return moved


def _clever(contrast: Contrast, arm: int, score: np.ndarray) -> np.ndarray:
    """h(x) / P(side | x) of everybody, shape (B, n): the weights as if everybody were on this side."""
    everybody = np.full(score.shape[1], bool(arm))
    return compute_balance_weights(contrast, everybody, score)[0][arm]


def _fluctuate(first: np.ndarray, clever: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Logistic regression of y on `clever` with offset `first`: coefficients (B,), NaN where none."""
    scale = np.maximum((weights * clever).sum(axis=1) / weights.sum(axis=1), np.finfo(float).tiny)[:, None]
    h = clever / scale
    epsilon = np.zeros(len(first))
    step = np.full(len(first), np.inf)
    for _ in range(_ITERATIONS):
        mean = special.expit(first + epsilon[:, None] * h)
        curvature = (weights * h * h * mean * (1 - mean)).sum(axis=1)
        step = (weights * h * (y - mean)).sum(axis=1) / np.maximum(curvature, np.finfo(float).tiny)
        step = np.clip(step, -1.0, 1.0)  # long Newton steps overshoot where weights are very uneven
        epsilon = epsilon + step
        if np.abs(step).max() <= _TOLERANCE:
            break
    return np.where(np.abs(step) <= 1e-8, epsilon / scale[:, 0], np.nan)
