"""Logistic and probit regression of many weighted replicates at once, by Newton's method.

Replicates (bootstrap draws, subgroups, imputations' weights) share the design and differ in their weights, so that
X' diag(w) X of all of them is one product (B, n) @ (n, p (p + 1) / 2). Columns are first made orthonormal, which
keeps the normal equations well conditioned whatever the units; there is no ridge, so the numbers are those of R's
glm. Steps, not gradients, decide convergence: under separation gradients vanish while steps stay at about one.

Source: McCullagh and Nelder 1989, Generalized Linear Models, section 2.5; Albert and Anderson 1984, Biometrika 71:1
(separation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from evalkit.core.errors import Fault, NotEstimable, ParameterError

Link = Literal["logit", "probit"]
_RANK = 1e-9  # a column whose part that others do not explain is smaller than this share of it is their combination
_REFRESH = 1e-2  # below this step the curvature of the step before is good enough, while steps still shrink fast
_BLOCK = 4_000_000  # numbers held at a time
_CHUNK = 64  # replicates at a time: few enough for the processor's cache
_ROUGH = 1e4  # condition number up to which single precision is enough for curvature (never for gradients)
_SEPARATED = 1e-11  # curvature, relative to the steepest direction, at which a direction is flat
_GONE = 1e-10  # curvature at which all of it is flat: everybody is predicted without error


@dataclass(frozen=True)
class LogisticOptions:
    """`link` as in R's `binomial(link)`; `tolerance` is of the step, in standard deviations of the predictor."""

    link: Link = "logit"
    max_iterations: int = 60
    tolerance: float = 1e-9


@dataclass(frozen=True)
class LogisticDraws:
    """Coefficients of B replicates, shape (B, p); rows that could not be fitted (separation) are NaN, `fitted` False.

    A column that is nought in a replicate, or a combination of others there, gets the coefficient of least norm, so
    that the propensities of everybody who was drawn are those of R, which leaves such a column out.
    """

    coefficients: np.ndarray
    fitted: np.ndarray


@dataclass(frozen=True)
class _Problem:
    """Orthonormal columns q (n, p) with x = q r, outcome (n,), offset (n,) and, where they fit, rough pair products."""

    q: np.ndarray
    r: np.ndarray
    y: np.ndarray
    offset: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    products: np.ndarray | None
    link: Link


def add_intercept(x: np.ndarray) -> np.ndarray:
    """A column of ones before the columns of x, shape (n, p + 1)."""
    return np.column_stack([np.ones(len(x)), x])


def find_redundant(x: np.ndarray) -> np.ndarray:
    """Columns that are combinations of those before them, bool (p,); they are what R's glm leaves out."""
    norms = np.sqrt((x * x).sum(axis=0))
    r = np.linalg.qr(x / np.where(norms > 0, norms, 1.0), mode="r")
    basis = np.zeros((len(r), 0))
    redundant = np.zeros(x.shape[1], dtype=bool)
    for j in range(x.shape[1]):
        rest = r[:, j]
        for _ in range(2):  # twice is enough against rounding
            rest = rest - basis @ (basis.T @ rest)
        size = np.sqrt(rest @ rest)
        redundant[j] = size <= _RANK
        if not redundant[j]:
            basis = np.column_stack([basis, rest / size])
    return redundant


def fit_logistic(
    x: np.ndarray,
    y: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    options: LogisticOptions = LogisticOptions(),
) -> np.ndarray:
    """Maximum-likelihood coefficients, as R's `glm(y ~ x - 1, quasibinomial(link), weights)`.

    Parameters
    ----------
    x : float array, shape (n, p)
        The whole design: add the intercept with `add_intercept`.
    y : float array, shape (n,), from 0 to 1 (shares are allowed)
    weights : float array, shape (n,) or (B, n), not negative; their scale is of no account
    offset : float array, shape (n,)
    names : p names of the columns, for messages

    Returns
    -------
    float array, shape (p,), or (B, p) where weights have B rows

    Raises
    ------
    ParameterError
        Shapes that do not fit, values that are not finite, outcomes outside 0 to 1, negative weights.
    NotEstimable
        A column is a combination of others, or coefficients run to infinity (separation); both name the columns.
    """
    given = np.ones((1, len(x))) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    names = tuple(names) if names is not None else tuple(f"column {j}" for j in range(x.shape[1]))
    _check(x, y, given, offset, names)
    used = (given > 0).any(axis=0)
    redundant = find_redundant(x if used.all() else x[used])
    if redundant.any():
        raise NotEstimable([
            Fault(names[j], "this column is constant, or a combination of the columns before it",
                  next_step="Leave it out.") for j in np.flatnonzero(redundant)
        ])  # fmt: skip
    coefficients, fitted, last = _newton(_build(x, y, offset, options, many=len(given) > 2), given, None, options)
    if not fitted.all():
        raise _separation(x, y, names, last[~fitted], given[~fitted][0] > 0, len(given))
    return coefficients[0] if weights is None or np.ndim(weights) == 1 else coefficients


def fit_logistic_draws(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    *,
    base: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    options: LogisticOptions = LogisticOptions(),
) -> LogisticDraws:
    """Coefficients of B replicates, shape (B, p), which begin at those of all people (`base` weights, or all one).

    Replicates that separate are NaN and marked, not refused: the caller counts them. Arguments are as in
    `fit_logistic`, with weights (B, n), for example how often each person was drawn.

    Raises
    ------
    ParameterError, NotEstimable
        As `fit_logistic`, of the fit to all people.
    """
    start = fit_logistic(x, y, weights=base, offset=offset, options=options)
    _check(x, y, weights, offset, ("",) * x.shape[1])
    coefficients, fitted, _ = _newton(_build(x, y, offset, options, many=True), weights, start, options)
    return LogisticDraws(coefficients, fitted)


def predict_logistic(
    x: np.ndarray, coefficients: np.ndarray, *, offset: np.ndarray | None = None, link: Link = "logit"
) -> np.ndarray:
    """Probabilities, shape (n,) for coefficients (p,), or (B, n) for (B, p)."""
    eta = coefficients @ x.T
    eta = eta if offset is None else eta + offset
    return special.expit(eta) if link == "logit" else special.ndtr(eta)


def _check(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, offset: np.ndarray | None, names: tuple[str, ...]
) -> None:
    faults = []
    n, p = x.shape
    if not (len(y) == n == weights.shape[1]) or len(names) != p or (offset is not None and len(offset) != n):
        got = f"x {x.shape}, y {np.shape(y)}, weights {weights.shape}, {len(names)} names"
        raise ParameterError(Fault("logistic regression", "the shapes do not fit each other", got))
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (offset is None or np.isfinite(offset).all())):
        faults.append(Fault("logistic regression", "values are missing or infinite"))
    elif y.min() < 0 or y.max() > 1:
        faults.append(Fault("outcome", "values outside 0 to 1"))
    totals = weights.sum(axis=1)
    if not weights.min(initial=0.0) >= 0 or not np.isfinite(totals).all() or not (totals > 0).all():
        faults.append(Fault("weights", "weights are negative or not finite, or are all nought"))
    if faults:
        raise ParameterError(faults)


def _build(
    x: np.ndarray, y: np.ndarray, offset: np.ndarray | None, options: LogisticOptions, *, many: bool
) -> _Problem:
    n, p = x.shape
    norms = np.sqrt((x * x).mean(axis=0))
    q, r = np.linalg.qr(x / norms)
    q *= np.sqrt(n)
    rows, columns = np.triu_indices(p)
    fits = many and n * len(rows) <= _BLOCK
    products = (q[:, rows] * q[:, columns]).astype(np.float32) if fits else None
    return _Problem(
        q, r * norms / np.sqrt(n), np.asarray(y, dtype=np.float64),
        np.zeros(n) if offset is None else np.asarray(offset, dtype=np.float64), rows, columns, products, options.link,
    )  # fmt: skip


def _newton(
    problem: _Problem, weights: np.ndarray, start: np.ndarray | None, options: LogisticOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (B, p) in terms of x, NaN where not fitted (B,), and where they stood at the end; chunk by chunk."""
    n, p = problem.q.shape
    first = np.zeros(p) if start is None else problem.r @ start
    size = max(1, min(_CHUNK, _BLOCK // n))
    parts = [_newton_chunk(problem, weights[at : at + size], first, options) for at in range(0, len(weights), size)]
    gamma, fitted = (np.concatenate(piece) for piece in zip(*parts, strict=True))
    last = np.linalg.solve(problem.r, gamma.T).T
    return np.where(fitted[:, None], last, np.nan), fitted, last


def _newton_chunk(
    problem: _Problem, weights: np.ndarray, first: np.ndarray, options: LogisticOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and whether fitted in terms of q, for replicates that are held at once."""
    w = weights / weights.sum(axis=1, keepdims=True)
    count, p = len(w), problem.q.shape[1]
    gamma, step = np.tile(first, (count, 1)), np.full((count, p), np.inf)
    inverse, patch = np.empty((count, p, p)), np.zeros((count, p, p))
    flat = np.zeros(count, dtype=bool)
    before, slow = np.full(count, np.inf), np.zeros(count, dtype=bool)
    active = np.arange(count)
    for iteration in range(options.max_iterations):
        eta = _eta(problem, gamma[active] if iteration else first[None, :])
        here = w if len(active) == count else w[active]
        score = _score(problem, eta)
        gradient = (here * score) @ problem.q
        stale = (before[active] > _REFRESH) | slow[active]
        if stale.any():
            chosen = active[stale]
            rows = slice(None) if stale.all() else stale
            v = _curvature(problem, eta[rows], score[rows]) * here[rows]
            inverse[chosen], flat[chosen] = _invert(problem, v, patch, chosen, first_time=iteration == 0)
        step[active] = np.einsum("bij,bj->bi", inverse[active], gradient)
        reach = np.abs(step[active]).max(axis=1)  # before it is shortened: a short way to go must be the likelihood's
        long = reach > 0.3
        if long.any():
            _shorten(problem, w, gamma, step, active[long])
        gamma[active] += step[active]
        # Steps that shrink by a rate leave about rate x step to go.
        rate = np.where(np.isfinite(before[active]), reach / before[active], 1.0)
        done = (reach <= options.tolerance) | ((rate < 0.1) & (rate * reach <= 0.1 * options.tolerance))
        before[active], slow[active] = reach, rate > 0.2
        active = active[~done & ~flat[active]]
        if not len(active):
            break
    fitted = ~flat
    fitted[active] = False
    return gamma, fitted


def _eta(problem: _Problem, gamma: np.ndarray) -> np.ndarray:
    eta = gamma @ problem.q.T
    eta += problem.offset
    return eta


def _score(problem: _Problem, eta: np.ndarray) -> np.ndarray:
    """Derivative of each row's log-likelihood by its linear predictor, in the shape of eta."""
    if problem.link == "logit":
        score = np.tanh(0.5 * eta)
        score *= -0.5
        score += problem.y - 0.5
        return score
    log_density = -0.5 * eta * eta - 0.5 * np.log(2 * np.pi)
    score = problem.y * np.exp(log_density - special.log_ndtr(eta))
    score -= (1 - problem.y) * np.exp(log_density - special.log_ndtr(-eta))
    return score


def _curvature(problem: _Problem, eta: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Expected information of each row's linear predictor, in the shape of eta."""
    if problem.link == "logit":
        probability = problem.y - score
        curvature = probability * probability
        return np.subtract(probability, curvature, out=curvature)
    return np.exp(-eta * eta - np.log(2 * np.pi) - special.log_ndtr(eta) - special.log_ndtr(-eta))


def _log_likelihood(problem: _Problem, eta: np.ndarray) -> np.ndarray:
    """Of each row, shape (b, n)."""
    if problem.link == "logit":
        return problem.y * eta - np.logaddexp(0.0, eta)
    return problem.y * special.log_ndtr(eta) + (1 - problem.y) * special.log_ndtr(-eta)


def _information(problem: _Problem, v: np.ndarray, *, rough: bool) -> np.ndarray:
    """q' diag(v_b) q for each row of v (b, n), shape (b, p, p), `rough` in single precision where that is at hand."""
    n, p = problem.q.shape
    if len(v) <= 2:
        return np.stack([(problem.q * one[:, None]).T @ problem.q for one in v])
    if rough and problem.products is not None:
        pairs = (v.astype(np.float32) @ problem.products).astype(np.float64)
    else:
        pairs = np.zeros((len(v), len(problem.rows)))
        size = max(1, _BLOCK // len(problem.rows))
        for at in range(0, n, size):
            q = problem.q[at : at + size]
            pairs += v[:, at : at + size] @ (q[:, problem.rows] * q[:, problem.columns])
    information = np.empty((len(v), p, p))
    information[:, problem.rows, problem.columns] = pairs
    information[:, problem.columns, problem.rows] = pairs
    return information


def _fill_null_space(information: np.ndarray) -> np.ndarray:
    """What to add so that directions in which a replicate has nobody are left where they are, shape (b, p, p)."""
    values, vectors = np.linalg.eigh(information)
    null = values <= _SEPARATED * values[:, -1:]
    return np.einsum("bik,bk,bjk->bij", vectors, null * values[:, -1:], vectors)


def _invert(
    problem: _Problem, v: np.ndarray, patch: np.ndarray, chosen: np.ndarray, *, first_time: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse information (b, p, p), and which are flat in a direction (b,): there the likelihood has no top.

    What single precision does not settle is done again in double. `patch` is filled the first time, for those
    replicates in which nobody stands for some direction.
    """
    inverse, condition, top = _try_inverse(_information(problem, v, rough=True) + patch[chosen])
    again = np.flatnonzero(~(condition < _ROUGH))
    if len(again):
        information = _information(problem, v[again], rough=False)
        if first_time:
            patch[chosen[again]] = _fill_null_space(information)
        inverse[again], condition[again], top[again] = _try_inverse(information + patch[chosen[again]])
    return inverse, ~(condition < 1 / _SEPARATED) | (top < _GONE)


def _try_inverse(information: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inverses (b, p, p), how badly conditioned they are (b,), and the largest entries (b,)."""
    top = np.abs(information).max(axis=(1, 2))
    try:
        inverse = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(information)
        flat = ~(values[:, 0] > 1e-15 * values[:, -1])
        inverse = np.linalg.inv(np.where(flat[:, None, None], np.eye(information.shape[1]), information))
        return inverse, np.where(flat, np.inf, np.abs(inverse).max(axis=(1, 2)) * top), top
    return inverse, np.abs(inverse).max(axis=(1, 2)) * top, top


def _shorten(problem: _Problem, w: np.ndarray, gamma: np.ndarray, step: np.ndarray, rows: np.ndarray) -> None:
    """Halve, in place, those long steps that would lower the likelihood."""
    before = (w[rows] * _log_likelihood(problem, _eta(problem, gamma[rows]))).sum(axis=1)
    for _ in range(30):
        after = (w[rows] * _log_likelihood(problem, _eta(problem, gamma[rows] + step[rows]))).sum(axis=1)
        worse = ~(after >= before - 1e-12 * np.abs(before) - 1e-15)
        rows, before = rows[worse], before[worse]
        if not len(rows):
            return
        step[rows] *= 0.5


def find_separating(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Columns, bool (p,), that by themselves put everybody with y > 0 on one side of everybody with y < 1."""
    one, nought = x[y > 0], x[y < 1]
    if not len(one) or not len(nought):
        return np.zeros(x.shape[1], dtype=bool)
    apart = (one.max(axis=0) <= nought.min(axis=0)) | (nought.max(axis=0) <= one.min(axis=0))
    return apart & (np.ptp(x, axis=0) > 0)


def _separation(
    x: np.ndarray, y: np.ndarray, names: tuple[str, ...], last: np.ndarray, used: np.ndarray, count: int
) -> NotEstimable:
    """The refusal, naming the columns that separate by themselves, or else those far off."""
    guilty = find_separating(x[used], y[used])
    if not guilty.any():
        spread = x.std(axis=0)
        reach = np.abs(last) * np.where(spread > 0, spread, 0.0)
        top = reach.max(axis=1, keepdims=True)
        guilty = (reach > 0.1 * np.where(top > 0, top, np.inf)).any(axis=0)
    named = ", ".join(name for name, yes in zip(names, guilty, strict=True) if yes) or ", ".join(names)
    lost = "" if count == 1 else f" in {len(last):,} of {count:,} replicates"
    return NotEstimable(
        Fault(
            named,
            f"the two groups are separated{lost}: coefficients run to infinity, some people could be on one side only",
            next_step="Leave out people for whom there is no choice, join rare categories, or leave the covariate out.",
        )
    )
