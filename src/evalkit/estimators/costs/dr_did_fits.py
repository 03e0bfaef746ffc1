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

_CHUNK = 64  # weightings at a time: few enough for the processor's cache
_BLOCK = 2_000_000  # numbers held at a time
_ITERATIONS = 80
_TOLERANCE = 1e-9  # of the step, in standard deviations of the linear predictor
_LONG = 0.5  # steps longer than this must lower what is minimised
_RUN_AWAY = 40.0  # coefficients, in standard deviations of the predictor, at which there is no minimum
_LARGE = 700.0  # beyond this the exponential overflows
_FLAT = 1e-11  # curvature, relative to the steepest direction, at which a direction is flat
_REFRESH = 3e-2  # below this step the curvature of the step before is good enough, while steps still shrink fast
_ROUGH = 1e4  # condition number up to which single precision is enough for curvature (never for gradients)


@dataclass(frozen=True)
class Basis:
    """Orthonormal columns q (n, p), times the root of n, with x = q r, and their products in pairs."""

    q: np.ndarray
    r: np.ndarray
    products: np.ndarray  # in single precision
    rows: np.ndarray
    columns: np.ndarray


@dataclass(frozen=True)
class ExponentialFit:
    """Coefficients (B, p) in terms of x; NaN where `fitted` (B,) is False: there is no minimum."""

    coefficients: np.ndarray
    fitted: np.ndarray


def build_basis(x: np.ndarray) -> Basis:
    """A design (n, p) of full rank, its intercept first, made well conditioned whatever the units."""
    norms = np.sqrt((x * x).mean(axis=0))
    q, r = np.linalg.qr(x / norms)
    q *= np.sqrt(len(x))
    rows, columns = np.triu_indices(x.shape[1])
    return Basis(q, r * norms / np.sqrt(len(x)), (q[:, rows] * q[:, columns]).astype(np.float32), rows, columns)


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
    gamma, fitted = (np.concatenate(piece) for piece in zip(*parts, strict=True))
    coefficients = np.linalg.solve(basis.r, gamma.T).T
    coefficients[~fitted] = np.nan
    return ExponentialFit(coefficients, fitted)


def predict_exponential(x: np.ndarray, fit: ExponentialFit) -> np.ndarray:
    """exp(x'g), shape (B, n), of any people's x (n, p); NaN where not fitted."""
    eta = fit.coefficients @ x.T
    return np.exp(np.minimum(eta, _LARGE, out=eta), out=eta)


def _fit_chunk(
    basis: Basis, a: np.ndarray, target: np.ndarray, start: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients in terms of q (b, p) and whether fitted (b,)."""
    unit = basis.r[:, 0]  # q @ unit is the intercept, so that target @ unit is the sum of the fitted values
    scale, goal = a.sum(axis=1), target @ unit
    possible = (scale > 0) & (goal > 0)
    scale = np.where(possible, scale, 1.0)
    a, target = a / scale[:, None], target / scale[:, None]
    level = np.log(np.where(possible, goal, 1.0) / scale)
    gamma = np.outer(level, unit) if start is None else np.tile(basis.r @ start, (len(a), 1))
    inverse, last = np.empty((len(a), len(unit), len(unit))), np.full(len(a), np.inf)
    fitted, active = np.zeros(len(a), dtype=bool), np.flatnonzero(possible)
    stale = np.ones(len(active), dtype=bool)
    for iteration in range(_ITERATIONS):
        here = slice(None) if len(active) == len(a) else active
        shared = start is not None and not iteration
        mass = (gamma[:1] if shared else gamma[here]) @ basis.q.T
        mass = np.exp(np.minimum(mass, _LARGE, out=mass), out=mass) * a[here]
        gone = np.abs(gamma[here] - level[here, None] * unit).max(axis=1, initial=0.0) > _RUN_AWAY
        if stale.any():
            rows = slice(None) if stale.all() else stale
            inverse[active[stale]], flat = _invert(basis, mass[rows])
            gone[stale] |= flat
        gradient = target[here] - mass @ basis.q
        step = np.matmul(inverse[here], gradient[:, :, None])[:, :, 0]
        reach = np.abs(step).max(axis=1, initial=0.0)
        long = np.flatnonzero((reach > _LONG) & ~gone)
        if len(long):
            chosen = active[long]
            step[long] = _shorten(basis, a[chosen], target[chosen], gamma[chosen], step[long])
        gamma[here] += step
        # With an old curvature steps shrink by a rate: about rate x step is left to go.
        rate = np.where(np.isfinite(last[here]), reach / np.maximum(last[here], 1e-300), 1.0)
        done = (reach <= _TOLERANCE) | ((rate < 0.1) & (rate * reach <= 0.1 * _TOLERANCE))
        last[here] = reach
        fitted[active[done & ~gone]] = True
        kept = ~(done | gone)
        active, stale = active[kept], ((reach > _REFRESH) | (rate > 0.2))[kept]
        if not len(active):
            break
    return gamma, fitted


def _invert(basis: Basis, mass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses of q' diag(mass_b) q (b, p, p), and which are flat in some direction (b,).

    What single precision does not settle is done again in double.
    """
    information = _fill(basis, (mass.astype(np.float32) @ basis.products).astype(np.float64))
    inverse, condition = _try_inverse(information)
    again = np.flatnonzero(~(condition < _ROUGH))
    if len(again):
        pairs = mass[again] @ (basis.q[:, basis.rows] * basis.q[:, basis.columns])
        inverse[again], condition[again] = _try_inverse(_fill(basis, pairs))
    return inverse, ~(condition < 1 / _FLAT)


def _fill(basis: Basis, pairs: np.ndarray) -> np.ndarray:
    """Symmetric matrices (b, p, p) from the products of pairs of columns (b, p (p + 1) / 2)."""
    p = basis.q.shape[1]
    full = np.empty((len(pairs), p, p))
    full[:, basis.rows, basis.columns] = pairs
    full[:, basis.columns, basis.rows] = pairs
    return full


def _try_inverse(information: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses (b, p, p) and about how badly conditioned they are (b,); infinite where there is none."""
    top = np.abs(information).max(axis=(1, 2))
    bad = ~((top > 0) & np.isfinite(top))
    unit = np.eye(information.shape[1])
    information = np.where(bad[:, None, None], unit, information)
    try:
        inverse = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(information)
        bad |= ~(values[:, 0] > 1e-15 * values[:, -1])
        inverse = np.linalg.inv(np.where(bad[:, None, None], unit, information))
    return inverse, np.where(bad, np.inf, np.abs(inverse).max(axis=(1, 2)) * top)


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
