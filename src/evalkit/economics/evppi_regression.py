"""Smooth regression of net benefit on parameters: splines or a Gaussian process as random effects, by REML."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.preprocessing import SplineTransformer

_MIN_KNOTS = 4  # below this many distinct values a parameter enters as a line alone
_PAIRED = 3  # curves of a parameter that enter its interactions, the smoothest ones
_NIL = 1e-4  # degrees of freedom below which a block is dropped
_SETTLED = 1e-3  # change in degrees of freedom, as a share of them all (or of 1), at which iterations stop
_MAX_ITERATIONS = 500
_SPAN = 1e12  # penalties stay within this factor of the size of their columns


@dataclass(frozen=True, eq=False)
class Design:
    """Centred columns (S, q) and the block of each (q,), from 0; a block shares one variance."""

    columns: np.ndarray
    block: np.ndarray


@dataclass(frozen=True, eq=False)
class SmoothFit:
    """A response regressed on a design: `fitted` (S,), and what its error is made of.

    `coefficients` and `root` are of the columns in `used`; coefficients vary as coefficients + root z, z standard
    normal, and the mean of the response as `intercept_se` z.
    """

    fitted: np.ndarray
    coefficients: np.ndarray
    used: np.ndarray
    root: np.ndarray
    intercept_se: float
    residuals: np.ndarray
    degrees: float
    gcv: float
    converged: bool


def build_spline_design(x: np.ndarray, *, knots: int, interactions: int) -> Design:
    """Lines and cubic splines of standardised parameters (S, p), and products of pairs of them.

    Each line is a block, each spline's curves (penalised by their squared second derivative, so that a block of equal
    variances is the cubic smoothing spline) another, and each pair of the first `interactions` parameters one more.
    """
    parts: list[np.ndarray] = []
    bases = []
    for column in x.T:
        curves = _curves(column, knots)
        parts += [column[:, None]] + ([curves] if curves.shape[1] else [])
        bases.append(np.column_stack([column, curves[:, :_PAIRED]]))
    for one, other in combinations(range(min(interactions, len(bases))), 2):
        products = bases[one][:, :, None] * bases[other][:, None, :]
        parts.append(products.reshape(len(x), -1))
    return _join(parts)


def build_gaussian_process_design(x: np.ndarray, *, knots: int, landmarks: int, length: float) -> Design:
    """Lines and splines of each parameter, and a Gaussian process of all for what is left.

    Its kernel is exp(-d^2 / (2 p length^2)), d the distance of standardised parameters, by way of `landmarks` evenly
    spaced draws (Nystroem).
    """
    main = build_spline_design(x, knots=knots, interactions=0)
    chosen = x[np.unique(np.linspace(0, len(x) - 1, landmarks).astype(int))]
    within, across = _kernel(chosen, chosen, length), _kernel(x, chosen, length)
    value, vector = np.linalg.eigh(within)
    kept = value > 1e-8 * value[-1]
    process = across @ (vector[:, kept] / np.sqrt(value[kept]))
    return Design(
        np.column_stack([main.columns, process - process.mean(axis=0)]),
        np.append(main.block, np.full(int(kept.sum()), main.block[-1] + 1)),
    )


def fit_smooth(design: Design, response: np.ndarray) -> SmoothFit:
    """Regress a response (S,) on the design, each block's coefficients a normal with a variance of its own.

    The penalty of block j is updated by lambda_j = sigma^2 edf_j / |b_j|^2 (generalised Fellner-Schall, which climbs
    the restricted likelihood; Wood and Fasiolo 2017, Biometrics 73:1071), edf_j the trace of its part of
    (X'X + Lambda)^-1 X'X. Blocks that come to less than 0.0001 degrees of freedom are dropped.
    """
    x, block, n = design.columns, design.block, len(response)
    y = response - response.mean()
    total = float(y @ y)
    gram, moment = x.T @ x, x.T @ y
    size = np.maximum(np.bincount(block, np.diag(gram)) / np.bincount(block), 1e-12 * np.diag(gram).max())
    penalty, degrees = size.copy(), np.bincount(block).astype(float)
    used = np.arange(len(block))
    converged = total == 0
    for _ in range(_MAX_ITERATIONS):
        part = block[used]
        factor = cho_factor(gram[np.ix_(used, used)] + np.diag(penalty[part]))
        beta = cho_solve(factor, moment[used])
        inverse = cho_solve(factor, np.eye(len(used)))
        each = np.einsum("ij,ji->i", inverse, gram[np.ix_(used, used)])
        new = np.bincount(part, each, minlength=len(size))
        residuals = y - x[:, used] @ beta
        variance = max(float(residuals @ residuals), 1e-14 * total) / max(n - 1 - new.sum(), 1.0)
        moved, degrees = float(np.abs(new - degrees).sum()), new
        if converged or moved < _SETTLED * max(1.0, float(new.sum())):
            converged = True
            break
        squares = np.bincount(part, beta**2, minlength=len(size))
        wanted = variance * new / np.maximum(squares, np.finfo(float).tiny)
        penalty = np.clip(wanted, size / _SPAN, size * _SPAN)
        used = used[new[part] > _NIL]
        if not len(used):
            return _flat(response, n)
    value, vector = np.linalg.eigh(inverse)
    root = vector * np.sqrt(np.maximum(value, 0.0) * variance) @ vector.T
    gcv = n * float(residuals @ residuals) / max(n - 1 - degrees.sum(), 1.0) ** 2
    return SmoothFit(
        response.mean() + y - residuals, beta, used, root, float(np.sqrt(variance / n)), residuals,
        float(degrees.sum()), gcv, bool(converged),
    )  # fmt: skip


def _flat(response: np.ndarray, n: int) -> SmoothFit:
    """The mean alone: nothing in the design bears on the response."""
    mean, none = float(response.mean()), np.empty(0)
    residuals = response - mean
    variance = float(residuals @ residuals) / (n - 1)
    return SmoothFit(
        np.full(n, mean), none, none.astype(int), np.empty((0, 0)), float(np.sqrt(variance / n)), residuals, 0.0,
        n * float(residuals @ residuals) / (n - 1) ** 2, True,
    )  # fmt: skip


def _join(parts: list[np.ndarray]) -> Design:
    columns = np.concatenate(parts, axis=1)
    block = np.repeat(np.arange(len(parts)), [part.shape[1] for part in parts])
    return Design(columns - columns.mean(axis=0), block)


def _curves(x: np.ndarray, knots: int) -> np.ndarray:
    """What a cubic spline adds to a line, smoothest first, each of variance as its penalty has it; (S, m)."""
    places = np.unique(np.quantile(x, np.linspace(0, 1, knots)))
    if len(places) < _MIN_KNOTS:
        return np.empty((len(x), 0))
    transformer = SplineTransformer(degree=3, knots=places[:, None]).fit(x[:, None])
    second = transformer.bsplines_[0].derivative(2)
    nodes, weights = np.polynomial.legendre.leggauss(2)  # exact for the square of a line
    half = np.diff(places) / 2
    at = (places[:-1] + half)[:, None] + half[:, None] * nodes
    bent = second(at.ravel())
    value, vector = np.linalg.eigh(bent.T @ (bent * (half[:, None] * weights).ravel()[:, None]))
    bends = value > 1e-9 * value[-1]
    curves = transformer.transform(x[:, None]) @ (vector[:, bends] / np.sqrt(value[bends]))
    line = np.column_stack([np.ones_like(x), x])
    curves = curves - line @ np.linalg.lstsq(line, curves, rcond=None)[0]
    return curves / curves[:, 0].std()


def _kernel(one: np.ndarray, other: np.ndarray, length: float) -> np.ndarray:
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.exp(-np.maximum(squares, 0.0) / (2 * one.shape[1] * length**2))
