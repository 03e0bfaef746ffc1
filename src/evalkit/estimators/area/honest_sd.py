"""Bounds under smoothness: the slope of the violation changes by at most M from one period to the next.

Rambachan and Roth (2023), Review of Economic Studies 90:2555, section 4.1: the fixed-length confidence interval (FLCI)
of Delta^SD(M) is a'beta +- half, where a has the weights l after adoption and weights before it that cancel any linear
trend, and half = sd(a) cv(M bias(a) / sd(a)) is least; cv(t) is the quantile of |N(t, 1)| (Armstrong and Kolesar 2018,
Econometrica 86:655).

With u the twice-cumulated weights before adoption, bias(a) = constant + |u|_1 and the variance is quadratic in u, so
every candidate lies on the path of a lasso. The path is piecewise linear, does not depend on M, and is found exactly
and once; the half-length is then least at one place on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

_PER_SEGMENT = np.linspace(0.0, 1.0, 17)
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Frontier:
    """Linear estimators that trade worst-case bias against variance.

    Attributes
    ----------
    cumulated : float array, shape (L, n_before - 1)
        Twice-cumulated weights at the knots of the path, from least bias (all nought) to least variance.
    quadratic, linear, constant
        variance = u'quadratic u + 2 linear'u + constant.
    unavoidable : float
        The bias at M = 1 that no choice of weights avoids.
    to_weights, offset : float arrays, shapes (n_before, n_before - 1) and (n_before,)
        Weights on the periods before adoption are to_weights @ u + offset.
    weights : float array, shape (n_after,)
        l.
    """

    cumulated: np.ndarray
    quadratic: np.ndarray
    linear: np.ndarray
    constant: float
    unavoidable: float
    to_weights: np.ndarray
    offset: np.ndarray
    weights: np.ndarray


def build_frontier(covariance: np.ndarray, *, n_before: int, weights: np.ndarray) -> Frontier:
    """The path of estimators of l'tau from least bias to least variance.

    Parameters
    ----------
    covariance : float array, shape (K, K)
        Positive definite; `n_before` rows first.
    weights : float array, shape (K - n_before,)
        l.
    """
    n_after = len(weights)
    single = np.eye(n_before) - np.eye(n_before, k=-1)
    double = single @ single
    times = np.arange(1, n_after + 1)
    to_weights, offset = double[:, :-1], double[:, -1] * (times @ weights)

    before, across = covariance[:n_before, :n_before], covariance[:n_before, n_before:] @ weights
    quadratic = to_weights.T @ before @ to_weights
    linear = to_weights.T @ (before @ offset + across)
    constant = offset @ before @ offset + 2 * offset @ across + weights @ covariance[n_before:, n_before:] @ weights
    bends = np.maximum(times[None, :] - np.arange(n_after)[:, None], 0)
    return Frontier(
        cumulated=_lasso_path(quadratic, linear),
        quadratic=quadratic,
        linear=linear,
        constant=float(constant),
        unavoidable=float(np.abs(bends @ weights).sum()),
        to_weights=to_weights,
        offset=offset,
        weights=weights,
    )


def _lasso_path(quadratic: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Knots of argmin u'Qu/2 + q'u + mu |u|_1 as mu falls from its greatest useful value to nought; shape (L, n)."""
    size = len(linear)
    u = np.zeros(size)
    knots = [u]
    if size == 0 or not np.any(linear):
        return np.array(knots)
    scale = float(np.abs(linear).max())
    mu, entering = scale, int(np.abs(linear).argmax())
    active, sign = [entering], np.zeros(size)
    sign[entering] = -np.sign(linear[entering])
    barred: tuple[int, float] = (-1, 0.0)
    newest = entering
    # A path cut short would only miss the shortest interval, never its coverage; no covariance tried comes near.
    while mu > _TOLERANCE * scale and len(knots) <= 100 * size:
        direction = np.zeros(size)
        direction[active] = np.linalg.solve(quadratic[np.ix_(active, active)], sign[active])
        gradient, change = quadratic @ u + linear, quadratic @ direction
        step, event = mu, None
        for i in range(size):
            if i in active:
                # A weight that has just left nought cannot go back in the same segment.
                if i != newest and direction[i] * sign[i] < 0:
                    reach = -u[i] / direction[i]
                    if reach < step:
                        step, event = max(reach, 0.0), (i, 0.0)
                continue
            for side in (1.0, -1.0):
                slope = 1.0 + side * change[i]
                if (i, side) == barred or slope <= 0:
                    continue
                reach = (mu - side * gradient[i]) / slope
                if reach < step:
                    step, event = max(reach, 0.0), (i, side)
        u = u + step * direction
        mu -= step
        barred, newest = (-1, 0.0), -1
        if event is not None:
            place, side = event
            if side == 0.0:
                u[place] = 0.0
                barred = (place, -sign[place])
                active.remove(place)
            else:
                active.append(place)
                sign[place], newest = -side, place
        knots.append(u)
    return np.array(knots)


def compute_folded_quantile(mean: np.ndarray | float, level: float) -> np.ndarray:
    """The `level` quantile of |N(mean, 1)|, for mean >= 0 and 0.5 < level < 1; the shape of `mean`."""
    mean = np.asarray(mean, dtype=float)
    quantile = mean + special.ndtri((1 + level) / 2)
    # The distribution function is concave from here to its root, so Newton's steps cannot run away.
    for _ in range(60):
        excess = special.ndtr(quantile - mean) - special.ndtr(-quantile - mean) - level
        density = np.exp(-0.5 * (quantile - mean) ** 2) + np.exp(-0.5 * (quantile + mean) ** 2)
        move = excess * np.sqrt(2 * np.pi) / density
        quantile = quantile - move
        if np.all(np.abs(move) <= 1e-14 * np.maximum(quantile, 1.0)):
            break
    return quantile


def compute_fixed_length_interval(
    frontier: Frontier, value: np.ndarray, *, bound: float, level: float
) -> tuple[float, float]:
    """Ends of the FLCI of l'tau under Delta^SD(`bound`); `value` (K,) holds the effects, those before first."""
    knots = frontier.cumulated
    last = len(knots) - 1

    def half_length(place: np.ndarray | float) -> np.ndarray:
        u = _at(knots, np.atleast_1d(place))
        variance = np.einsum("nk,kj,nj->n", u, frontier.quadratic, u) + 2 * u @ frontier.linear + frontier.constant
        sd = np.sqrt(variance)
        bias = bound * (frontier.unavoidable + np.abs(u).sum(axis=1))
        return sd * compute_folded_quantile(bias / sd, level)

    places = np.unique(np.add.outer(np.arange(max(last, 1)), _PER_SEGMENT).clip(0, last))
    best = int(half_length(places).argmin())
    low, high = places[max(best - 1, 0)], places[min(best + 1, len(places) - 1)]
    chosen = float(places[best])
    if bound > 0 and high > low:
        found = optimize.minimize_scalar(
            lambda place: float(half_length(place)[0]), bounds=(low, high), method="bounded", options={"xatol": 1e-9}
        )
        if found.fun < half_length(chosen)[0]:
            chosen = float(found.x)
    half = float(half_length(chosen)[0])
    before = frontier.to_weights @ _at(knots, np.array([chosen]))[0] + frontier.offset
    centre = float(before @ value[: len(before)] + frontier.weights @ value[len(before) :])
    return centre - half, centre + half


def _at(knots: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Points on the path, 2.5 being half-way from knot 2 to knot 3; shape (n, n_before - 1)."""
    if len(knots) == 1:
        return np.repeat(knots, len(place), axis=0)
    start = np.minimum(place.astype(int), len(knots) - 2)
    part = (place - start)[:, None]
    return (1 - part) * knots[start] + part * knots[start + 1]
