"""Bounds under relative magnitudes: violations after adoption at most Mbar times the largest before it.

Rambachan and Roth (2023), Review of Economic Studies 90:2555, sections 2.4.1 and 3: Delta^RM(Mbar) is the union,
over the periods s before adoption and two signs, of the polyhedra

    |delta_{t+1} - delta_t| <= Mbar v'delta  for every t >= 0,   v'delta = +-(delta_{s+1} - delta_s),

and the confidence set is the union of the sets of the least-favourable hybrid test ("C-LF") on each.

For one polyhedron the nuisance parameters need no linear programme. Let D take first differences after
adoption and w = D^{-T} l. A dual vector (g+, g-) >= 0 is feasible iff D'(g+ - g-) is a multiple of l, that
is g+ - g- = k w, so the extreme rays of the dual cone are known:

    k = +1:  l'beta - theta - Mbar |w|_1 v'beta
    k = -1:  theta - l'beta - Mbar |w|_1 v'beta
    each t:  -2 Mbar v'beta

each divided by the standard deviations of the moments it uses. The last are multiples of one variable, so that
only the greatest and the least multiple matter: four vertices, linear in theta, made up of two normal variables,
l'beta and v'beta. As in HonestDiD only moments that hold a period after adoption are used; its older versions drop
this rule where there is one such period, its newer ones and this module do not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.estimators.area.moments import accept_hybrid, compute_least_favourable_values

_REFINED = 33
_ROUNDS = 5


@dataclass(frozen=True)
class RelativeMagnitudeTest:
    """What the test needs of the covariance alone: the same for every estimate that has it.

    P = 2 n_before polyhedra, ordered by s from the earliest and then + before -, with V = 4 vertices each.

    Attributes
    ----------
    on_value, on_theta : float arrays, shapes (P, V, K) and (P, V)
        Standardised moments are on_value @ beta + on_theta theta; the first two bound theta from below and above.
    covariance : float array, shape (P, V, V)
    critical : float array, shape (P,)
        Least-favourable values of size `first_size`.
    """

    on_value: np.ndarray
    on_theta: np.ndarray
    covariance: np.ndarray
    critical: np.ndarray
    level: float
    first_size: float


def build_relative_magnitude_test(
    covariance: np.ndarray, *, n_before: int, weights: np.ndarray, mbar: float, level: float
) -> RelativeMagnitudeTest:
    """Vertices and least-favourable values of every polyhedron of Delta^RM(`mbar`).

    Parameters
    ----------
    covariance : float array, shape (K, K)
        Of the event study without its reference period, `n_before` rows first; positive definite.
    weights : float array, shape (K - n_before,)
        l in l'tau, not all 0.
    mbar : float
        At least 0.
    level : float
        Confidence level; the first stage has size (1 - level)/10, as in the paper.
    """
    differences = derive_first_differences(n_before, len(weights))
    reference = np.repeat(differences[:n_before], 2, axis=0)
    reference[1::2] *= -1
    after = differences[n_before:]
    steps = np.cumsum(weights[::-1])[::-1]
    penalty = mbar * np.abs(steps).sum()

    lean = mbar * reference[:, None, :]
    sd_up, sd_down = _sd(after - lean, covariance), _sd(-after - lean, covariance)
    rising, falling = np.maximum(steps, 0), np.maximum(-steps, 0)
    below = 1.0 / (sd_up @ rising + sd_down @ falling)
    above = 1.0 / (sd_down @ rising + sd_up @ falling)
    multiple = 2 * mbar / (sd_up + sd_down)

    nought = np.zeros_like(below)
    on_target = np.stack([below, -above, nought, nought], axis=1)
    on_reference = -np.stack([penalty * below, penalty * above, multiple.max(axis=1), multiple.min(axis=1)], axis=1)
    target = np.concatenate([np.zeros(n_before), weights])
    on_value = on_target[:, :, None] * target + on_reference[:, :, None] * reference[:, None, :]

    first_size = (1.0 - level) / 10
    factors = np.stack([on_target, on_reference], axis=2) @ _pair_factor(target, reference, covariance)
    return RelativeMagnitudeTest(
        on_value=on_value,
        on_theta=-on_target,
        covariance=factors @ factors.transpose(0, 2, 1),
        critical=compute_least_favourable_values(factors, size=first_size),
        level=level,
        first_size=first_size,
    )


def derive_first_differences(n_before: int, n_after: int) -> np.ndarray:
    """Matrix, shape (K, K), from the coefficients without the reference to the K first differences with it."""
    total = n_before + n_after
    full = np.eye(total, total + 1, k=1) - np.eye(total, total + 1)
    return np.delete(full, n_before, axis=1)


def _sd(rows: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Standard deviations of `rows` (P, T, K) times the estimates; shape (P, T)."""
    return np.sqrt(((rows @ covariance) * rows).sum(axis=2))


def _pair_factor(target: np.ndarray, reference: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Lower triangle L of the covariance L L' of (l'beta, v'beta), shape (P, 2, 2)."""
    pairs = np.stack([np.broadcast_to(target, reference.shape), reference], axis=1)
    return np.linalg.cholesky(pairs @ covariance @ pairs.transpose(0, 2, 1))


def accept_values(test: RelativeMagnitudeTest, value: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Whether each null value `theta` (N,) of l'tau is in the confidence set of `value` (K,) or (K, N); bool (N,)."""
    columns = value if value.ndim == 2 else value[:, None]
    return _accept(test, test.on_value @ columns, np.broadcast_to(theta, (len(test.critical), len(theta)))).any(axis=0)


def _accept(test: RelativeMagnitudeTest, centre: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Acceptance on each polyhedron, (P, N), with moments `centre` (P, V, 1 or N) at theta = 0 and `theta` (P, N)."""
    moments = centre + test.on_theta[:, :, None] * theta[:, None, :]
    return accept_hybrid(moments, test.covariance, critical=test.critical, level=test.level, first_size=test.first_size)


def compute_relative_magnitude_set(
    test: RelativeMagnitudeTest, value: np.ndarray, *, grid_points: int
) -> tuple[float, float]:
    """Least and greatest value of l'tau in the confidence set of the estimates `value` (K,).

    On each polyhedron the first stage gives an interval outside which nothing is accepted, so that a grid of
    `grid_points` values over it can have no open end; each end is then refined to 1e-7 of a grid step. Where
    the accepted values have a hole, the hull is returned.
    """
    centre = (test.on_value @ value)[:, :, None]
    first_stage = (test.critical[:, None] - centre[:, :2, 0]) / test.on_theta[:, :2]
    start, stop = first_stage[:, :1], np.maximum(first_stage[:, 1:], first_stage[:, :1])
    grid = start + (stop - start) * np.linspace(0.0, 1.0, grid_points)
    accepted = _accept(test, centre, grid)
    some = accepted.any(axis=1)
    first = accepted.argmax(axis=1)
    last = grid_points - 1 - accepted[:, ::-1].argmax(axis=1)
    row = np.arange(len(grid))
    low = _refine(test, centre, outside=grid[row, np.maximum(first - 1, 0)], inside=grid[row, first])
    high = _refine(test, centre, outside=grid[row, np.minimum(last + 1, grid_points - 1)], inside=grid[row, last])
    return float(low[some].min(initial=np.inf)), float(high[some].max(initial=-np.inf))


def _refine(test: RelativeMagnitudeTest, centre: np.ndarray, *, outside: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The accepted value nearest to `outside` (P,), by repeated division of the step from it to `inside` (P,)."""
    row = np.arange(len(inside))
    for _ in range(_ROUNDS):
        points = outside[:, None] + (inside - outside)[:, None] * np.linspace(0.0, 1.0, _REFINED)
        accepted = _accept(test, centre, points)
        accepted[:, -1] = True
        first = accepted.argmax(axis=1)
        outside, inside = points[row, np.maximum(first - 1, 0)], points[row, first]
    return inside
