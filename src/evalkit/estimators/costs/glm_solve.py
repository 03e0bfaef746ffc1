"""Iteratively reweighted least squares of many weighted replicates at once, the design made orthonormal first.

X' diag(v_b) X of all replicates is one product (B, n) @ (n, p (p + 1) / 2). Steps are Newton's where the deviance is
convex (canonical links, and the gamma's log link) and near the estimate, else Fisher's; short ones are taken with the
curvature of the step before. For the gamma with a log link Fisher's information never changes, but steps then shrink
by a constant factor and some twenty are needed where Newton's need five. Convergence is judged by steps: a step of s
standard deviations of the predictor changes the deviance by about s^2 of it only.

Source: McCullagh and Nelder 1989, Generalized Linear Models, 2nd ed., section 2.5 (Fisher scoring); R's glm.fit (step
halving where the deviance is infinite or grows).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.estimators.costs.glm_families import (
    Family,
    Link,
    apply_link,
    compute_curvature,
    compute_objective,
    compute_working,
    is_convex,
    is_inside,
)

_BLOCK = 4_000_000  # numbers held at a time
_CHUNK = 64  # replicates at a time: few enough for the processor's cache
_LONG = 0.3  # steps beyond this, in standard deviations of the predictor, are tried before they are taken
_SLOW = 0.5  # and so are those that shrink by less than this
_REFRESH = 1e-2  # curvature is taken anew after steps beyond this
_FAST = 0.2  # and after those that did not shrink to this share of the one before
_FLAT = 1e-11  # information, relative to the steepest direction, at which a direction is flat
_CANCELS = 1e-6  # what may be left of scores, of their sum without signs
_HALVINGS = 30


@dataclass(frozen=True)
class Problem:
    """Orthonormal columns q (n, p) with x = q r, outcome and offset (n,), and what is wanted of them.

    `products` (n, p (p + 1) / 2) are of pairs of columns, None where they would be too large to hold.
    """

    q: np.ndarray
    r: np.ndarray
    y: np.ndarray
    offset: np.ndarray
    family: Family
    link: Link
    products: np.ndarray | None
    max_iterations: int
    tolerance: float


@dataclass(frozen=True)
class Solution:
    """In terms of q, `gamma` (B, p), where it stood at the end; `fitted` (B,) and the number of steps."""

    gamma: np.ndarray
    fitted: np.ndarray
    iterations: int


def build_problem(
    x: np.ndarray,
    y: np.ndarray,
    offset: np.ndarray | None,
    *,
    family: Family,
    link: Link,
    max_iterations: int,
    tolerance: float,
) -> Problem:
    """A problem for `solve`; no column of x may be a combination of others. `tolerance` is of the deviance."""
    n, p = x.shape
    norms = np.sqrt((x * x).mean(axis=0))
    q, r = np.linalg.qr(x / norms)
    q *= np.sqrt(n)
    rows, columns = np.triu_indices(p)
    products = q[:, rows] * q[:, columns] if n * len(rows) <= _BLOCK else None
    away = np.zeros(n) if offset is None else np.asarray(offset, dtype=np.float64)
    return Problem(
        q, r * norms / np.sqrt(n), np.asarray(y, dtype=np.float64), away, family, link, products, max_iterations,
        1e-4 * np.sqrt(tolerance),
    )  # fmt: skip


def find_start(problem: Problem, weights: np.ndarray) -> np.ndarray | None:
    """Where to begin, in terms of q (p,): each row halfway to the mean, or the mean; None where neither can be."""
    y, family, link = problem.y, problem.family, problem.link
    mean = float(weights @ y) / float(weights.sum())
    if family == "gaussian" and link == "identity":
        return np.zeros(problem.q.shape[1])
    halfway = (y + mean) / 2
    if family == "gaussian":
        halfway = np.maximum(halfway, 0.1 * abs(mean))
    root = np.sqrt(weights)
    for target in (halfway, np.full(len(y), mean)):
        if family != "binomial" and not target.min() > 0:
            continue
        eta = apply_link(np.clip(target, 1e-3, 1 - 1e-3) if family == "binomial" else target, link) - problem.offset
        gamma = np.linalg.lstsq(problem.q * root[:, None], eta * root, rcond=None)[0]
        if is_inside(problem.q @ gamma + problem.offset, family, link)[weights > 0].all():
            return gamma
    return None


def solve(problem: Problem, weights: np.ndarray, start: np.ndarray) -> Solution:
    """Estimates of each row of weights (B, n), all begun at `start` (p,), a chunk of replicates at a time."""
    size = max(1, min(_CHUNK, _BLOCK // len(problem.y)))
    parts = [_solve_chunk(problem, weights[at : at + size], start) for at in range(0, len(weights), size)]
    return Solution(
        np.concatenate([part.gamma for part in parts]),
        np.concatenate([part.fitted for part in parts]),
        max(part.iterations for part in parts),
    )


def _solve_chunk(problem: Problem, weights: np.ndarray, start: np.ndarray) -> Solution:
    w = weights.astype(np.float64)
    w /= w.sum(axis=1, keepdims=True)
    count, p = len(w), problem.q.shape[1]
    gamma, inverse = np.tile(start, (count, 1)), np.empty((count, p, p))
    before, rate = np.full(count, np.inf), np.ones(count)
    flat, done = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    active, bounded, scale = np.arange(count), _is_bounded(problem), _predictor_scale(problem, start)
    for iteration in range(problem.max_iterations):
        eta = (gamma[active] if iteration else start[None, :]) @ problem.q.T
        eta += problem.offset
        if bounded:
            eta = np.where(eta > 0, eta, 1.0)  # of people who were not drawn: others are kept inside
        score, curvature = compute_curvature(problem.y, eta, problem.family, problem.link)
        here = w if len(active) == count else w[active]
        gradient = here @ (problem.q * score.T) if len(score) == 1 else (here * score) @ problem.q
        stale = (before[active] > _REFRESH) | (rate[active] > _FAST)
        if stale.any():
            rows = slice(None) if stale.all() else stale
            v = curvature if len(curvature) == 1 else curvature[rows]
            near = before[active[stale]] <= _LONG
            inverse[active[stale]], flat[active[stale]] = _invert_curvature(problem, eta, v, here, rows, near)
        step = np.einsum("bij,bj->bi", inverse[active], gradient)
        reach = np.abs(step).max(axis=1) / scale
        settled = reach <= problem.tolerance
        tried = ((reach > _LONG) | ~(reach <= _SLOW * before[active]) | bounded) & ~settled & ~flat[active]
        _shorten(problem, w, gamma, step, active, np.flatnonzero(tried))
        gamma[active] += np.where(flat[active, None], 0.0, step)
        rate[active] = np.where(np.isfinite(before[active]), reach / before[active], 1.0)
        before[active] = reach
        # Steps that shrink by a rate leave about rate x step to go.
        done[active] = settled | ((rate[active] < 0.1) & (rate[active] * reach <= 0.1 * problem.tolerance))
        active = active[~done[active] & ~flat[active]]
        if not len(active):
            break
    done &= ~flat
    if not is_convex(problem.family, problem.link):
        done[done] = _is_root(problem, w[done], gamma[done])
    return Solution(gamma, done, iteration + 1)


def _is_root(problem: Problem, w: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Whether everybody drawn has an allowed mean and scores cancel (b,): steps also settle at the edge of a domain."""
    eta = gamma @ problem.q.T + problem.offset
    inside = is_inside(eta, problem.family, problem.link) | (w == 0)
    score = w * compute_curvature(problem.y, np.where(inside & (w > 0), eta, 1.0), problem.family, problem.link)[0]
    left = np.abs(score @ problem.q)
    return inside.all(axis=1) & (left <= _CANCELS * (np.abs(score) @ np.abs(problem.q)) + 1e-300).all(axis=1)


def _invert_curvature(
    problem: Problem, eta: np.ndarray, v: np.ndarray, weights: np.ndarray, rows: slice | np.ndarray, near: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse curvature of the chosen replicates (b, p, p) and which are flat (b,).

    The expected information takes the place of the observed one, `v`, where that is flat, as with costs of nought, and
    where the deviance is not convex far from the estimate or at all.
    """
    chosen = weights[rows]
    observed = _information(problem, v, chosen)
    inverse, poor = _invert(observed)
    if not is_convex(problem.family, problem.link):
        poor |= ~near
        safe = np.where(poor[:, None, None], np.eye(observed.shape[1]), observed)
        poor |= ~(np.linalg.eigvalsh(safe)[:, 0] > 0)
    if poor.any():
        expected = compute_working(problem.y, eta, problem.family, problem.link).information
        v = expected if len(expected) == 1 else expected[rows][poor]
        inverse[poor], poor[poor] = _invert(_information(problem, v, chosen[poor]))
    return inverse, poor


def _is_bounded(problem: Problem) -> bool:
    """Whether some predictors have no mean, so that every step must be tried."""
    return problem.link == "sqrt" or (problem.link == "identity" and problem.family != "gaussian")


def _predictor_scale(problem: Problem, start: np.ndarray) -> float:
    """What a step is measured against: 1 on log and probability scales, else the size of the predictor."""
    if problem.link not in ("identity", "sqrt"):
        return 1.0
    eta = problem.q @ start + problem.offset
    size = float(np.sqrt((eta * eta).mean() + (problem.y**2).mean() * (problem.link == "identity")))
    return size if size > 0 else 1.0


def _information(problem: Problem, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """q' diag(w_b v_b) q for weights (b, n) and rows v (b, n) or (1, n), shape (b, p, p)."""
    n, p = problem.q.shape
    i, j = np.triu_indices(p)
    pairs = np.zeros((len(weights), len(i)))
    size = n if problem.products is not None else max(1, _BLOCK // len(i))
    for at in range(0, n, size):
        part = slice(at, at + size)
        q = problem.q[part]
        products = q[:, i] * q[:, j] if problem.products is None else problem.products
        if len(rows) == 1:
            pairs += weights[:, part] @ (products * rows[0, part, None])
        else:
            pairs += (weights[:, part] * rows[:, part]) @ products
    information = np.empty((len(weights), p, p))
    information[:, i, j] = pairs
    information[:, j, i] = pairs
    return information


def _invert(information: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses (b, p, p), and which are flat in a direction (b,): there is nobody to tell, or no maximum."""
    top = np.abs(information).max(axis=(1, 2))
    good = np.isfinite(top) & (top > 0)
    safe = np.where(good[:, None, None], information, np.eye(information.shape[1]))
    try:
        inverse = np.linalg.inv(safe)
    except np.linalg.LinAlgError:
        inverse = np.linalg.pinv(safe, rcond=1e-15, hermitian=True)
        good &= np.linalg.matrix_rank(safe, hermitian=True) == safe.shape[1]
    return inverse, ~good | ~(np.abs(inverse).max(axis=(1, 2)) * top < 1 / _FLAT)


def _shorten(
    problem: Problem, w: np.ndarray, gamma: np.ndarray, step: np.ndarray, active: np.ndarray, rows: np.ndarray
) -> None:
    """Halve, in place, those steps (`rows` of `step`, replicates `active[rows]`) that would raise the deviance."""
    if not len(rows):
        return
    before = _value(problem, w[active[rows]], gamma[active[rows]])
    for _ in range(_HALVINGS):
        after = _value(problem, w[active[rows]], gamma[active[rows]] + step[rows])
        worse = ~(after <= before + 1e-12 * np.abs(before) + 1e-300)
        rows, before = rows[worse], before[worse]
        if not len(rows):
            return
        step[rows] *= 0.5


def _value(problem: Problem, w: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Weighted half deviance of each replicate, up to a constant (b,); people who were not drawn do not count."""
    rows = compute_objective(problem.y, gamma @ problem.q.T + problem.offset, problem.family, problem.link)
    return np.where(w > 0, w * np.where(w > 0, rows, 0.0), 0.0).sum(axis=1)
