"""Targeting step of targeted maximum likelihood, for outcomes that are 0/1 or lie between two bounds.

Source: van der Laan and Rose 2011, Targeted Learning, chapters 4 (binary) and 7 (bounded continuous: Gruber and van der
Laan 2010, Int J Biostat 6:26); weighted fluctuation: R package tmle, `target.gwt = TRUE`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import special

from evalkit.core.errors import Fault, NotEstimable
from evalkit.estimators.people.arm_means import Balance
from evalkit.estimators.people.outcome_models import ArmModel

_EDGE = 5e-4  # first predictions are kept this far from 0 and 1, so that they have a logit (R's tmle: alpha = 0.9995)
_ITERATIONS = 100
_TOLERANCE = 1e-12


def compute_targeted(
    *,
    treated: np.ndarray,
    outcome: np.ndarray,
    sampling: np.ndarray,
    balance: Balance,
    models: dict[int, ArmModel],
    bounds: tuple[float, float],
) -> dict[int, ArmModel]:
    """Outcome models moved along logit Q* = logit Q + epsilon until sum of w_a (Y - Q*) is nought on each side.

    w_a is h(x) / P(side | x) (1 / e and 1 / (1 - e) for ATE, e / (1 - e) on the comparison for ATT), epsilon the
    intercept of a logistic regression weighted with w_a among those on the side, with offset logit Q. With the
    empirical distribution of the target population the means of Q* then solve the efficient influence equation.
    w_a as a covariate does so too, but throws Q* to 0 and 1 wherever it is large: with hardly any overlap and 200
    people the ATT's spread was 0.18 and its bias 0.03, where AIPW has 0.13 and none.

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
        plain = (model.expected - low) / (high - low)
        kept = np.clip(plain, _EDGE, 1 - _EDGE)
        first, side = special.logit(kept), treated == bool(arm)
        epsilon = _fluctuate(first[:, side], scaled[side], sampling[:, side] * balance.weights[arm][:, side])
        if not np.isfinite(epsilon[0]):
            raise NotEstimable(
                Fault("tmle", "the targeting step does not settle: weights are too uneven", next_step="Check overlap.")
            )
        mean = special.expit(first + epsilon[:, None])
        tilt = (high - low) * mean * (1 - mean)
        by_first = np.where(plain == kept, model.slope / ((high - low) * kept * (1 - kept)), 0.0)
        moved[arm] = replace(model, expected=low + (high - low) * mean, slope=tilt * by_first, tilt=tilt)
    return moved


def _fluctuate(first: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Intercepts (B,) of weighted logistic regressions of y with offsets `first` (B, m), NaN where none."""
    w = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    epsilon = np.zeros(len(first))
    step = np.full(len(first), np.inf)
    for _ in range(_ITERATIONS):
        mean = special.expit(first + epsilon[:, None])
        curvature = (w * mean * (1 - mean)).sum(axis=1)
        step = (w * (y - mean)).sum(axis=1) / np.maximum(curvature, np.finfo(float).tiny)
        step = np.clip(step, -1.0, 1.0)  # long Newton steps overshoot where means are near 0 or 1
        epsilon = epsilon + step
        if not (np.abs(step) > _TOLERANCE).any():  # draws that are NaN wait for nobody
            break
    return np.where(np.abs(step) <= 1e-8, epsilon, np.nan)
