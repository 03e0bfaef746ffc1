"""Logistic fits of few columns to few weightings, for calibration: plain Newton from where a good model would lie.

What does not settle at once (separation, columns that are combinations of others) is left to the careful solver of
`evalkit.estimators.people.logistic`.
"""

from __future__ import annotations

import numpy as np

_ROWS = 8192  # at a time: they stay in the processor's cache
_MOST_STEPS = 12
_NEAR = 1e-7  # of a step, in the unit of the linear predictor: the one after it would be about its square
_FAR = 20.0
_CONDITION = 1e10


def fit_few(
    x: np.ndarray, y: np.ndarray, counts: np.ndarray, *, offset: np.ndarray | None, start: np.ndarray
) -> np.ndarray:
    """Coefficients (B, p) of y (n,) on x (n, p) with weights `counts` (B, n), from `start` (p,).

    A row is NaN where Newton's method did not settle in a few steps, whatever the reason.
    """
    beta, active = np.tile(start, (len(counts), 1)), np.arange(len(counts))
    found = np.full(beta.shape, np.nan)
    reach = np.abs(x).max(axis=0)
    for _ in range(_MOST_STEPS):
        gradient, information = _derivatives(x, y, counts, offset, beta, active)
        scale = np.sqrt(np.einsum("bpp->bp", information))
        if not (scale > 0).all():
            return found
        whole = information / (scale[:, :, None] * scale[:, None, :])
        if not (np.linalg.cond(whole) < _CONDITION).all():
            return found
        step = np.linalg.solve(whole, (gradient / scale)[:, :, None])[:, :, 0] / scale
        beta[active] += step
        size = (np.abs(step) * reach).sum(axis=1)
        if not (size < _FAR).all():
            return found
        near = size < _NEAR
        found[active[near]] = beta[active[near]]
        active = active[~near]
        if not len(active):
            break
    return found


def _derivatives(
    x: np.ndarray, y: np.ndarray, counts: np.ndarray, offset: np.ndarray | None, beta: np.ndarray, active: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (b, p) and information (b, p, p) of the weighted log-likelihood."""
    p = x.shape[1]
    gradient, information = np.zeros((len(active), p)), np.zeros((len(active), p, p))
    for at in range(0, len(y), _ROWS):
        rows = slice(at, at + _ROWS)
        here = x[rows]
        eta = beta[active] @ here.T
        if offset is not None:
            eta += offset[rows]
        half = np.tanh(0.5 * eta)
        for i, b in enumerate(active):
            weights = counts[b, rows]
            gradient[i] += (weights * (y[rows] - 0.5 - 0.5 * half[i])) @ here
            information[i] += (here * (weights * (0.25 - 0.25 * half[i] * half[i]))[:, None]).T @ here
    return gradient, information
