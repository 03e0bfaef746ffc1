"""Batched log-link fits: minima of sum_i a_i exp(x_i'g) - t'g for many weightings at once, by Newton's method.

Every log-link model of the doubly robust difference-in-differences is this one convex problem. With t = sum_i b_i x_i
its minimum solves sum_i x_i (b_i - a_i exp(x_i'g)) = 0: a Poisson quasi-score with exposure a and total b, which wants
no more of the distribution than its mean (zeros and skew are allowed). With t the sum over another side it solves
sum_i a_i exp(x_i'g) x_i = t: weights that give one side the covariates of the other (inverse-probability tilting).

Source: Gourieroux, Monfort and Trognon 1984, Econometrica 52:701 (quasi-likelihood); Graham, Pinto and Egel 2012,
REStud 79:1053 (tilting); Sant'Anna and Zhao 2020, J Econometrics 219:101, section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_CHUNK = 256  # weightings at a time: few enough for the processor's cache
_BLOCK = 2_000_000  # numbers held at a time
_ITERATIONS = 80
_TOLERANCE = 1e-9  # of the step, in standard deviations of the linear predictor
_LONG = 0.5  # steps longer than this must lower what is minimised
_RUN_AWAY = 40.0  # linear predictors, from their level, at which there is no minimum
_FLAT = 1e-11  # curvature, relative to the steepest direction, at which a direction is flat
_REFRESH = 1e-2  # below this step the curvature of the step before is good enough


@dataclass(frozen=True)
class Basis:
    """Orthonormal columns q (n, p), times the root of n, with x = q r, and their products in pairs."""

    q: np.ndarray
    r: np.ndarray
    products: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True)
class ExponentialFit:
    """Coefficients (B, p) in terms of x and exp(x'g) (B, n); NaN where `fitted` (B,) is False: there is no minimum."""

    coefficients: np.ndarray
    mean: np.ndarray
    fitted: np.ndarray


def build_basis(x: np.ndarray) -> Basis:
    """A design (n, p) of full rank, its intercept first, made well conditioned whatever the units."""
    norms = np.sqrt((x * x).mean(axis=0))
    q, r = np.linalg.qr(x / norms)
    q *= np.sqrt(len(x))
    rows, columns = np.triu_indices(x.shape[1])
    return Basis(q, r * norms / np.sqrt(len(x)), q[:, rows] * q[:, columns], rows, columns)


def fit_exponential(
    basis: Basis, a: np.ndarray, target: np.ndarray, *, start: np.ndarray | None = None
) -> ExponentialFit:
    """Minima of sum_i a_i exp(x_i'g) - t'g, one for each row of `a` (B, n) and `target` (B, p).

    Parameters
    ----------
    basis : of the design x (n, p), whose first column is the intercept
    a : float array, shape (B, n), not negative
    target : float array, shape (B, p), in terms of x: sums over people of what the fitted values must add up to
    start : float array, shape (p,), where to begin, such as the coefficients of everybody
    """
    size = max(1, min(_CHUNK, _BLOCK // len(basis.q)))
    parts = []
    for at in range(0, len(a), size):
        here = slice(at, at + size)
        parts.append(_fit_chunk(basis, a[here], np.linalg.solve(basis.r.T, target[here].T).T, start))
    gamma, mean, fitted = (np.concatenate(piece) for piece in zip(*parts, strict=True))
    coefficients = np.linalg.solve(basis.r, gamma.T).T
    coefficients[~fitted] = np.nan
    mean[~fitted] = np.nan
    return ExponentialFit(coefficients, mean, fitted)


def _fit_chunk(
    basis: Basis, a: np.ndarray, target: np.ndarray, start: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients in terms of q (b, p), exp of the linear predictor (b, n), and whether fitted (b,)."""
    scale = a.sum(axis=1)
    goal = target @ (basis.r[:, 0])  # sum of the fitted values: the intercept is x's first column
    possible = (scale > 0) & (goal > 0)
    scale = np.where(possible, scale, 1.0)
    a, target = a / scale[:, None], target / scale[:, None]
    level = np.log(np.where(possible, goal, 1.0) / scale)
    unit = basis.r[:, 0]  # q @ unit is the intercept
    gamma = np.outer(level, unit) if start is None else np.tile(basis.r @ start, (len(a), 1))
    fitted, active = np.zeros(len(a), dtype=bool), np.flatnonzero(possible)
    mean = np.ones_like(a)
    inverse, last = np.zeros((len(a), len(unit), len(unit))), np.full(len(a), np.inf)
    for _ in range(_ITERATIONS):
        eta = gamma[active] @ basis.q.T
        gone = np.abs(eta - level[active, None]).max(axis=1) > _RUN_AWAY
        active, eta = active[~gone], eta[~gone]
        if not len(active):
            break
        mean[active] = np.exp(eta)
        mass = a[active] * mean[active]
        gradient = target[active] - mass @ basis.q
        stale = last[active] > _REFRESH
        if stale.any():
            chosen = active[stale]
            inverse[chosen], flat = _invert(basis, mass[stale])
            active, gradient = _drop(active, gradient, chosen[flat])
        step = np.einsum("bij,bj->bi", inverse[active], gradient)
        reach = np.abs(step).max(axis=1, initial=0.0)
        long = np.flatnonzero(reach > _LONG)
        if len(long):
            step[long] = _shorten(basis, a[active[long]], target[active[long]], gamma[active[long]], step[long])
        gamma[active] += step
        # An old curvature still shrinks steps by a rate: about rate x step is left to go.
        rate = np.where(np.isfinite(last[active]), reach / np.maximum(last[active], 1e-300), 1.0)
        done = (reach <= _TOLERANCE) | ((rate < 0.05) & (rate * reach <= 0.1 * _TOLERANCE))
        last[active] = np.where(rate > 0.3, np.inf, reach)  # slow: a new curvature next time
        fitted[active[done]] = True
        active = active[~done]
        if not len(active):
            break
    if fitted.any():
        mean[fitted] = np.exp(gamma[fitted] @ basis.q.T)
    return gamma, mean, fitted


def _drop(active: np.ndarray, gradient: np.ndarray, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = ~np.isin(active, gone)
    return active[kept], gradient[kept]


def _invert(basis: Basis, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses of q' diag(mass_b) q (b, p, p), and which are flat in some direction (b,)."""
    p = basis.q.shape[1]
    pairs = mass @ basis.products
    information = np.empty((len(mass), p, p))
    information[:, basis.rows, basis.columns] = pairs
    information[:, basis.columns, basis.rows] = pairs
    size = np.trace(information, axis1=1, axis2=2)[:, None, None] / p
    information = information / np.where(size > 0, size, 1.0)
    values = np.linalg.eigvalsh(information)
    flat = ~(values[:, 0] > _FLAT * values[:, -1])
    information[flat] = np.eye(p)
    return np.linalg.inv(information) / np.where(size > 0, size, 1.0), flat


def _shorten(basis: Basis, a: np.ndarray, target: np.ndarray, gamma: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Steps (b, p), halved until they lower sum a exp(q'gamma) - target'gamma."""

    def value(at: np.ndarray, rows: np.ndarray) -> np.ndarray:
        eta = np.minimum(at @ basis.q.T, 700.0)
        return (a[rows] * np.exp(eta)).sum(axis=1) - (target[rows] * at).sum(axis=1)

    step, rows = step.copy(), np.arange(len(step))
    before = value(gamma, rows)
    for _ in range(50):
        after = value(gamma[rows] + step[rows], rows)
        rows = rows[~(after <= before[rows] + 1e-12 * np.abs(before[rows]))]
        if not len(rows):
            break
        step[rows] *= 0.5
    return step
