"""Exact least squares over the unit simplex, for many targets at once."""

from __future__ import annotations

import numpy as np
from scipy import optimize

from evalkit.core.errors import Fault, NotEstimable, ParameterError

# Both are relative to the largest diagonal entry of the Gram matrix.
KKT_TOLERANCE = 1e-11
TIE_TOLERANCE = 1e-10
# A penalty of this size or more (relative again) spreads weights widely, so the search starts from all donors.
_WIDE_PENALTY = 1e-4
_EMPTY = 1e-14


def solve_simplex(
    gram: np.ndarray,
    linear: np.ndarray,
    allowed: np.ndarray,
    *,
    penalty: np.ndarray | float = 0.0,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """Minimise w'Gw - 2c'w + penalty ||w||^2 over w >= 0, sum(w) = 1, for A problems at once.

    A primal active-set method (Nocedal and Wright 2006, Numerical Optimization, algorithm 16.3; with
    the entering rule of Lawson and Hanson 1974, Solving Least Squares Problems, ch. 23): every problem
    keeps a support on which its equality-constrained optimum is solved exactly, and all problems take
    their steps together. For ||b - Xw||^2 give G = X'X and c = X'b.

    Where the optimum is not unique the one returned depends on the path; `spread_ties` picks one by rule.

    Parameters
    ----------
    gram : (J, J) shared by all problems, or (A, J, J)
    linear : (A, J)
    allowed : bool (A, J), which weights may be positive; at least one in each row
    penalty : scalar or (A,)
    start : (A, J) feasible weights to begin from, such as the solution of a problem nearby

    Returns
    -------
    weights : (A, J); the Karush-Kuhn-Tucker conditions hold to `KKT_TOLERANCE` times the largest
        diagonal entry of the Gram matrix.

    Raises ParameterError where a number is missing or infinite, or a row allows no weight, and NotEstimable
    where a problem does not settle, which rounding alone can cause.
    """
    if not (np.isfinite(gram).all() and np.isfinite(linear).all() and allowed.any(axis=1).all()):
        raise ParameterError(Fault("weights", "a number is missing or infinite, or a target has no donor"))
    problems, size = linear.shape
    ridge = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (problems,))
    scale = compute_scale(gram, allowed, ridge)
    weights = _first_weights(gram, linear, allowed, ridge, scale) if start is None else start.copy()
    support = weights > 0
    banned = np.zeros_like(support)
    live = np.arange(problems)
    for _ in range(20 * size + 100):
        if not len(live):
            return weights
        own = gram if gram.ndim == 2 else gram[live]
        target = _solve_on_support(own, linear[live], support[live], ridge[live], scale[live])
        inside = (target >= 0).all(axis=1)
        _step_to_border(weights, support, banned, live[~inside], target[~inside])
        settled = live[inside]
        weights[settled] = target[inside]
        own = gram if gram.ndim == 2 else gram[settled]
        slope = compute_gradient(own, linear[settled], weights[settled], ridge[settled])
        closed = ~allowed[settled] | support[settled] | banned[settled]
        enter, descends = _steepest(slope, weights[settled], closed, scale[settled])
        support[settled[descends], enter[descends]] = True
        live = np.concatenate([live[~inside], settled[descends]])
    unsettled = f"{len(live)} of {problems} searches for weights did not settle"
    raise NotEstimable(Fault("weights", unsettled, next_step="Rescale the data."))


def compute_gradient(
    gram: np.ndarray, linear: np.ndarray, weights: np.ndarray, penalty: np.ndarray | float
) -> np.ndarray:
    """Half the gradient of w'Gw - 2c'w + penalty ||w||^2, shape (A, J)."""
    product = weights @ gram if gram.ndim == 2 else (gram @ weights[:, :, None])[:, :, 0]
    return product - linear + np.asarray(penalty)[..., None] * weights


def compute_kkt_gap(
    gram: np.ndarray,
    linear: np.ndarray,
    allowed: np.ndarray,
    weights: np.ndarray,
    *,
    penalty: np.ndarray | float = 0.0,
) -> np.ndarray:
    """How far weights are from optimal, shape (A,): 0 at an optimum, relative to the Gram matrix's diagonal.

    The largest of: a negative weight, a sum that is not 1, a weight that is not allowed, and the drop in
    gradient from the donors in use to the best one allowed.
    """
    ridge = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (len(linear),))
    slope = compute_gradient(gram, linear, weights, ridge) / compute_scale(gram, allowed, ridge)[:, None]
    used = np.where(weights > 0, slope, -np.inf).max(axis=1)
    best = np.where(allowed, slope, np.inf).min(axis=1)
    infeasible = np.maximum(-weights.min(axis=1), np.abs(weights.sum(axis=1) - 1))
    strays = np.abs(np.where(allowed, 0.0, weights)).max(axis=1)
    return np.max([used - best, infeasible, strays], axis=0)


def spread_ties(
    gram: np.ndarray,
    linear: np.ndarray,
    allowed: np.ndarray,
    weights: np.ndarray,
    *,
    penalty: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Of all optimal weights, the ones with the least sum of squares: the tie rule of this package.

    The optimum is not unique where donors are copies or mixtures of each other, or the target lies
    inside their hull. The rule is one of the problem alone: it does not depend on the order of units.
    Among the donors whose gradient is within `TIE_TOLERANCE` of the least, it keeps every fitted value
    and solves a least-distance programme (Lawson and Hanson 1974, ch. 23, algorithm LDP).

    Shapes as in `solve_simplex`; `weights` must be optimal. Returns weights (A, J).
    """
    ridge = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (len(linear),))
    scale = compute_scale(gram, allowed, ridge)
    slope = compute_gradient(gram, linear, weights, ridge)
    level = (slope * weights).sum(axis=1)
    tied = allowed & ((slope - level[:, None] <= TIE_TOLERANCE * scale[:, None]) | (weights > 0))
    weak = ridge <= TIE_TOLERANCE * scale
    spread = weights.copy()
    for a in np.flatnonzero(weak & (tied.sum(axis=1) > (weights > 0).sum(axis=1))):
        face = np.flatnonzero(tied[a])
        own = gram if gram.ndim == 2 else gram[a]
        spread[a, face] = _least_norm(own[np.ix_(face, face)] / scale[a], weights[a, face])
    return spread


def compute_scale(gram: np.ndarray, allowed: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Largest diagonal entry among allowed units, shape (A,); 1 where all are 0."""
    diagonal = np.where(allowed, np.diagonal(gram, axis1=-2, axis2=-1), 0.0).max(axis=1) + penalty
    return np.where(diagonal > 0, diagonal, 1.0)


def _first_weights(
    gram: np.ndarray, linear: np.ndarray, allowed: np.ndarray, ridge: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Feasible weights to begin from: the best single donor, or with a wide penalty the trimmed full solution."""
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)
    lone = np.where(allowed, diagonal - 2 * linear, np.inf).argmin(axis=1)
    weights = np.zeros_like(linear)
    weights[np.arange(len(weights)), lone] = 1.0
    wide = np.flatnonzero(ridge >= _WIDE_PENALTY * scale)
    support = allowed[wide].copy()
    while len(wide):
        own = gram if gram.ndim == 2 else gram[wide]
        target = _solve_on_support(own, linear[wide], support, ridge[wide], scale[wide])
        done = (target >= 0).all(axis=1)
        weights[wide[done]] = target[done]
        support = (support & (target > 0))[~done]
        wide = wide[~done]
    return weights


def _solve_on_support(
    gram: np.ndarray, linear: np.ndarray, support: np.ndarray, ridge: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Optimum with weights off the support at 0 and no sign held, shape (A, J); supports are padded to one size."""
    problems, wide = len(support), int(support.sum(axis=1).max())
    order = np.argsort(~support, axis=1, kind="stable")[:, :wide]
    real = np.take_along_axis(support, order, axis=1)
    if gram.ndim == 2:
        block = gram[order[:, :, None], order[:, None, :]]
    else:
        block = gram[np.arange(problems)[:, None, None], order[:, :, None], order[:, None, :]]
    system = np.zeros((problems, wide + 1, wide + 1))
    system[:, :wide, :wide] = np.where(real[:, :, None] & real[:, None, :], block / scale[:, None, None], 0.0)
    places = np.arange(wide)
    system[:, places, places] += np.where(real, (ridge / scale)[:, None], 1.0)
    system[:, :wide, wide] = system[:, wide, :wide] = real
    right = np.ones((problems, wide + 1, 1))
    right[:, :wide, 0] = np.where(real, np.take_along_axis(linear, order, axis=1) / scale[:, None], 0.0)
    solution = solve_batch(system, right)[:, :wide, 0]
    out = np.zeros_like(linear)
    np.put_along_axis(out, order, np.where(real, solution, 0.0), axis=1)
    return out


def solve_batch(system: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve symmetric systems (A, n, n) for right sides (A, n, m); of least norm where one is singular."""
    try:
        return np.linalg.solve(system, right)
    except np.linalg.LinAlgError:  # one of them is singular to rounding: least norm for all serves
        return np.linalg.pinv(system, hermitian=True) @ right


def _steepest(
    slope: np.ndarray, weights: np.ndarray, closed: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The donor off the support that lowers the loss fastest, shape (A,), and whether it lowers it at all."""
    level = (slope * weights).sum(axis=1)
    reduced = np.where(closed, np.inf, slope - level[:, None])
    enter = reduced.argmin(axis=1)
    return enter, reduced[np.arange(len(slope)), enter] < -KKT_TOLERANCE * scale


def _step_to_border(
    weights: np.ndarray, support: np.ndarray, banned: np.ndarray, rows: np.ndarray, target: np.ndarray
) -> None:
    """Move as far towards the target as no weight turns negative, and drop the weights that reach 0; in place."""
    if not len(rows):
        return
    now = weights[rows]
    falls = target < 0
    share = np.where(falls, now / np.where(falls, now - target, 1.0), np.inf)
    step = share.min(axis=1)
    moved = now + step[:, None] * (target - now)
    drop = support[rows] & ((falls & (share <= step[:, None])) | (moved <= _EMPTY) & falls)
    moved[drop] = 0.0
    # Dropped without having moved: rounding let it in. It stays out until there has been a real step.
    banned[rows] = (banned[rows] & (step <= 0)[:, None]) | (drop & (now <= 0))
    weights[rows] = np.maximum(moved, 0.0)
    support[rows] &= ~drop


def _least_norm(gram: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Least-norm w >= 0 with the fitted values and the sum of the given weights; gram (F, F) relative to its scale."""
    values, vectors = np.linalg.eigh(gram)
    kept = vectors[:, values > TIE_TOLERANCE**1.2]
    _, sizes, rows = np.linalg.svd(np.vstack([kept.T, np.ones(len(weights)) / np.sqrt(len(weights))]))
    rank = int((sizes > 1e-7).sum())
    if rank == len(weights):
        return weights
    fixed, free = rows[:rank], rows[rank:].T
    least = fixed.T @ (fixed @ weights)
    system = np.vstack([free.T, -least[None, :]])
    aim = np.append(np.zeros(free.shape[1]), 1.0)
    solution, _ = optimize.nnls(system, aim)
    rest = system @ solution - aim
    out = np.maximum(least - free @ (rest[:-1] / rest[-1]), 0.0)
    return out / out.sum()
