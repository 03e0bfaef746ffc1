"""Tests of moment inequalities by the least-favourable hybrid of Andrews, Roth and Pakes (2023).

After the nuisance parameters are profiled out, the statistic is the greatest of V normal variables, one
for each vertex of the dual of min{eta : y - X delta <= eta sd(y)}. Everything here is in terms of those V
variables, for P sets of inequalities and N null values (or draws) in one pass.

Source: Andrews, Roth and Pakes (2023), Review of Economic Studies 90:2763, section 6; Rambachan and Roth
(2023), Review of Economic Studies 90:2555, section 3.
"""

from __future__ import annotations

import numpy as np
from scipy import special

_ANGLES = 4096
_SMALL = 1e-9


def compute_least_favourable_values(factors: np.ndarray, *, size: float) -> np.ndarray:
    """The 1 - `size` quantile of the greatest of V variables of mean nought that two normal variables make up.

    In polar form P(max_v h_v'e > c) is the mean over the angle of exp(-c^2 / (2 H^2)), where H is max_v h_v'w along
    the direction w and the term is 0 where H <= 0. The mean is a sum over equal angles, so no draw is needed.

    Parameters
    ----------
    factors : float array, shape (P, V, 2)
        The V variables as combinations of two independent standard normal variables.
    size : float
        Probability of exceeding the value, small.

    Returns
    -------
    float array, shape (P,)
    """
    angle = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    reach = (factors @ np.array([np.cos(angle), np.sin(angle)])).max(axis=1)
    top = reach.max(axis=1)
    # Relative to the greatest reach, so that the scale of the factors is of no account.
    rate = np.where(reach > 0, 0.5 * (top[:, None] / np.where(reach > 0, reach, 1.0)) ** 2, np.inf)
    finite = np.where(np.isfinite(rate), rate, 0.0)
    square = np.full(len(factors), -2 * np.log(size))
    # log E exp(-rate x) is convex in x: after the first step Newton's iterates rise to the root and cannot pass it.
    for _ in range(60):
        terms = np.exp(-rate * square[:, None])
        tail = terms.mean(axis=1)
        move = (np.log(tail) - np.log(size)) * tail / (terms * finite).mean(axis=1)
        square = np.maximum(square + move, 0.2 * square)
        if np.all(np.abs(move) <= 1e-13 * square):
            break
    return top * np.sqrt(square)


def accept_hybrid(
    values: np.ndarray, covariance: np.ndarray, *, critical: np.ndarray, level: float, first_size: float
) -> np.ndarray:
    """Whether the least-favourable hybrid test accepts; bool, shape (P, N).

    Rejects where the greatest moment exceeds `critical`, the least-favourable value of size `first_size`.
    Elsewhere it is compared with max(0, c), c being the upper quantile at (alpha - kappa)/(1 - kappa) of a
    normal truncated to [v_lo, min(v_up, critical)]: the values at which the same vertex would have been the
    greatest, given the part of the data that is independent of it.

    Parameters
    ----------
    values : float array, shape (P, V, N)
        Standardised moments at each vertex.
    covariance : float array, shape (P, V, V)
        Of the moments; the same for all N.
    critical : float array, shape (P,)
    level, first_size : float
        Confidence level 1 - alpha, and kappa.
    """
    best = values.argmax(axis=1)[:, None, :]
    top = np.take_along_axis(values, best, axis=1)
    across = np.take_along_axis(covariance, best, axis=2)
    variance = np.take_along_axis(across, best, axis=1)
    known = variance > _SMALL**2
    ratio = across / np.where(known, variance, 1.0)
    slack = 1.0 - ratio
    crossing = (values - ratio * top) / np.where(np.abs(slack) > _SMALL, slack, 1.0)
    low = np.where(slack > _SMALL, crossing, -np.inf).max(axis=1, keepdims=True)
    high = np.where(slack < -_SMALL, crossing, np.inf).min(axis=1, keepdims=True)
    limit = critical[:, None, None]

    sd = np.sqrt(np.where(known, variance, 1.0))
    size = (1.0 - level - first_size) / (1.0 - first_size)
    # P(Z > q | lo <= Z <= up) = size is sf(q) = size sf(lo) + (1 - size) sf(up); in logs it holds in the tails too.
    tail = np.logaddexp(
        np.log(size) + special.log_ndtr(-low / sd),
        np.log1p(-size) + special.log_ndtr(-np.minimum(high, limit) / sd),
    )
    above = known & (special.log_ndtr(-top / sd) < tail)
    return ~((top > limit) | ((top > 0) & above))[:, 0, :]
