"""Ridge logistic regression of many weightings of the same discharges at once: bootstrap draws, folds, shares.

Columns are standardised inside each weighting and the intercept is not penalised, so that each row of coefficients is
that of scikit-learn's `make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty))` refitted on the repeated
rows. In columns standardised once, over everybody, that is a penalty of `penalty` x (SD in the weighting)^2 on each
coefficient, so that nothing is standardised again. Every weighting begins at the fit to everybody with everybody's
curvature and takes chord steps; those that do not shrink fast get their own curvature, a full Newton step. No penalty
is the maximum likelihood of `evalkit.estimators.people.logistic`.

Source: le Cessie and van Houwelingen 1992, Appl Stat 41:191 (ridge logistic regression).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import is_finite, refuse
from evalkit.estimators.people.logistic import add_intercept, fit_logistic, fit_logistic_draws

ONE_CLASS = "one outcome class only"
SEPARATED = "the two outcomes are separated: coefficients run to infinity without a penalty"
UNSETTLED = "the fit did not converge"
_TILE = 1_600_000  # numbers held at a time
_FEW = 6  # weightings up to which one product each is quicker than forming the pairs of columns
_SLOW = 0.25  # a step that is more than this share of the one before asks for curvature of its own
_LONG = 0.5  # steps longer than this, in SD of the predictor, are checked against the likelihood
_FLAT = 1e-6  # variance, against everybody's, below which it is taken again in two passes


@dataclass(frozen=True)
class RidgeOptions:
    """`tolerance` is of the gradient of the mean penalised log-likelihood, and of the step, in SD of the predictor."""

    tolerance: float = 1e-10
    max_iterations: int = 100


@dataclass(frozen=True, eq=False)
class RidgeDraws:
    """Coefficients (B, p + 1), intercept first, in the units of x; NaN with a reason, else ""."""

    coefficients: np.ndarray
    reasons: tuple[str, ...]


class _Frame(NamedTuple):
    """Intercept and columns standardised over everybody, a (n, k), outcome (n,), and how to go back to units of x."""

    a: np.ndarray
    y: np.ndarray
    center: np.ndarray
    scale: np.ndarray


class _State(NamedTuple):
    """Of B weightings: counts (B, n), totals (B,), SD in the weighting (B, k), penalty of the mean (B, k)."""

    counts: np.ndarray
    totals: np.ndarray
    spread: np.ndarray
    ridge: np.ndarray


def fit_ridge(
    x: np.ndarray,
    y: np.ndarray,
    *,
    penalty: float | np.ndarray,
    counts: np.ndarray | None = None,
    options: RidgeOptions = RidgeOptions(),
) -> np.ndarray:
    """Coefficients (B, p + 1), intercept first, of `fit_ridge_draws`, which see; NaN where there is no fit."""
    return fit_ridge_draws(x, y, penalty=penalty, counts=counts, options=options).coefficients


def fit_ridge_draws(
    x: np.ndarray,
    y: np.ndarray,
    *,
    penalty: float | np.ndarray,
    counts: np.ndarray | None = None,
    options: RidgeOptions = RidgeOptions(),
) -> RidgeDraws:
    """Minimise, for each row w of `counts`, -sum(w log-likelihood) + penalty / 2 sum(standardised coefficients^2).

    Parameters
    ----------
    x : float array (n, p), predictors in any units, without intercept
    y : (n,) 0 or 1
    penalty : 0 or more, one for all weightings or (B,); 1 / C of scikit-learn. 0 is maximum likelihood.
    counts : (B, n) not negative, how often each row is in each weighting; without it one weighting of ones

    A column that is constant in a weighting gets coefficient 0 there, as from scikit-learn (without a penalty: what
    `fit_logistic_draws` gives). Without a penalty a separated weighting is NaN with `SEPARATED`, or with the reason of
    the fit to everybody where that has none. One outcome class only is NaN with `ONE_CLASS`.

    Fails with `ParameterError` for shapes that do not fit, values that are missing or infinite, negative penalties or
    counts, and weightings without anybody.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    given = np.ones((1, len(y)), dtype=np.uint8) if counts is None else np.asarray(counts)
    _check(x, y, given, penalty)
    penalties = np.broadcast_to(np.asarray(penalty, dtype=np.float64), (len(given),))
    events = given @ y
    mixed = (events > 0) & (events < given.sum(axis=1))
    coefficients = np.full((len(given), x.shape[1] + 1), np.nan)
    reasons = np.where(mixed, UNSETTLED, ONE_CLASS).astype(object)
    frame, start = _standardise(x, y, given), None
    for one in np.unique(penalties):
        rows = np.flatnonzero(mixed & (penalties == one))
        if not len(rows):
            continue
        held = given if len(rows) == len(given) else given[rows]
        if one == 0:
            coefficients[rows], reasons[rows] = _fit_unpenalised(x, y, held)
            continue
        gamma, fitted, start = _fit_penalised(frame, held, float(one), start, options)
        coefficients[rows] = _to_units(frame, gamma)
        for b in rows[~fitted]:
            coefficients[b], fitted[rows == b] = _fit_alone(x, y, given[b], float(one), options)
        coefficients[rows[~fitted]] = np.nan
        reasons[rows[fitted]] = ""
    return RidgeDraws(coefficients, tuple(reasons))


def predict_ridge(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Risks (B, n) for rows x (n, p) from coefficients (B, p + 1), intercept first."""
    return expit(coefficients[:, 1:] @ x.T + coefficients[:, :1])


# ---- parts ---------------------------------------------------------------------------------------


def _check(x: np.ndarray, y: np.ndarray, counts: np.ndarray, penalty: float | np.ndarray) -> None:
    where = "ridge regression"
    if x.ndim != 2 or y.shape != (len(x),) or counts.ndim != 2 or counts.shape[1] != len(y) or 0 in counts.shape:
        got = f"x {x.shape}, y {y.shape}, counts {counts.shape}"
        refuse([Fault(where, "the shapes do not fit each other", got, "x (n, p), y (n,), counts (B, n)")])
    faults = []
    if not np.isfinite(x).all():
        faults.append(Fault(f"{where} x", "values are missing or infinite"))
    if not np.isin(y, (0, 1)).all():
        faults.append(Fault(f"{where} y", "is missing or holds other values", allowed="0 and 1"))
    values = np.atleast_1d(penalty)
    if values.shape not in ((1,), (len(counts),)) or not all(is_finite(value) and value >= 0 for value in values):
        faults.append(Fault(f"{where} penalty", "must be 0 or more", allowed="one number, or one a weighting"))
    if not (counts >= 0).all() or not np.isfinite(counts).all() or not counts.any(axis=1).all():
        faults.append(Fault(f"{where} counts", "are negative, not finite, or all nought in a weighting"))
    refuse(faults)


def _standardise(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> _Frame:
    used = counts.any(axis=0)
    center = x[used].mean(axis=0)
    scale = np.sqrt(((x[used] - center) ** 2).mean(axis=0))
    constant = scale <= 1e-14 * np.abs(center)
    scale = np.where(constant | (scale == 0), 1.0, scale)
    a = np.empty((len(x), x.shape[1] + 1))
    a[:, 0] = 1.0
    np.subtract(x, center, out=a[:, 1:])
    a[:, 1:] /= scale
    a[:, 1:][:, constant] = 0.0
    return _Frame(a, y, center, scale)


def _fit_unpenalised(x: np.ndarray, y: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, Sequence[str]]:
    design, used = add_intercept(x), counts.any(axis=0).astype(np.float64)
    weights = counts.astype(np.float64)
    try:
        if len(counts) == 1:
            return fit_logistic(design, y, weights=weights), ("",)
        found = fit_logistic_draws(design, y, weights, base=used)
    except NotEstimable as refusal:
        return np.full((len(counts), design.shape[1]), np.nan), (refusal.reason,) * len(counts)
    return found.coefficients, np.where(found.fitted, "", SEPARATED)


def _fit_penalised(
    frame: _Frame, counts: np.ndarray, penalty: float, start: np.ndarray | None, options: RidgeOptions
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (B, k) in standardised columns, which are fitted (B,), and those of everybody (k,)."""
    used = counts.any(axis=0).astype(np.float64)[None, :]
    share = counts.sum() / used.sum() / len(counts)  # so that everybody's penalty weighs as in a weighting
    everybody = _weigh(frame, used, penalty / max(share, 1e-300))
    first = np.zeros(frame.a.shape[1]) if start is None else start
    at, _ = _descend(frame, everybody, first, None, options)
    curvature = _information(frame, everybody, at)[0]
    gamma, fitted = _descend(frame, _weigh(frame, counts, penalty), at[0], curvature, options)
    return gamma, fitted, at[0]


def _fit_alone(
    x: np.ndarray, y: np.ndarray, count: np.ndarray, penalty: float, options: RidgeOptions
) -> tuple[np.ndarray, bool]:
    """One weighting, its columns standardised over those it holds: where those of everybody are of another order."""
    drawn = count > 0
    frame = _standardise(x[drawn], y[drawn], count[None, drawn])
    gamma, fitted, _ = _fit_penalised(frame, count[None, drawn], penalty, None, options)
    return _to_units(frame, gamma)[0], bool(fitted[0])


def _to_units(frame: _Frame, gamma: np.ndarray) -> np.ndarray:
    """Coefficients (B, p + 1) in the units of x."""
    slopes = gamma[:, 1:] / frame.scale
    return np.column_stack([gamma[:, 0] - slopes @ frame.center, slopes])


def _weigh(frame: _Frame, counts: np.ndarray, penalty: float) -> _State:
    """Totals and penalties of weightings; the SD of a column that is constant in one is taken as 1."""
    n, k = frame.a.shape
    totals, sums, squares = counts.sum(axis=1, dtype=np.float64), np.zeros((len(counts), k)), np.zeros((len(counts), k))
    for rows in _tiles(n, len(counts)):
        w, a = counts[:, rows].astype(np.float64), frame.a[rows]
        sums += w @ a
        squares += w @ (a * a)
    mean = sums / totals[:, None]
    variance = squares / totals[:, None] - mean**2
    for b, j in zip(*np.nonzero(variance[:, 1:] < _FLAT), strict=True):
        drawn = counts[b] > 0
        weights, values = counts[b, drawn].astype(np.float64), frame.a[drawn, j + 1]
        constant = np.ptp(values) == 0
        center = (weights @ values) / totals[b]
        variance[b, j + 1] = 1.0 if constant else weights @ (values - center) ** 2 / totals[b]
    variance[:, 0] = 1.0
    ridge = penalty * variance / totals[:, None]
    ridge[:, 0] = 0.0
    return _State(counts, totals, np.sqrt(variance), ridge)


def _descend(
    frame: _Frame, state: _State, first: np.ndarray, curvature: np.ndarray | None, options: RidgeOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (B, k) from `first` (k,), and whether they settled (B,); `curvature` (k, k) is of the mean."""
    count, k = state.ridge.shape
    gamma, inverse = np.tile(first, (count, 1)), np.empty((count, k, k))
    own = np.zeros(count, dtype=bool) if curvature is not None else np.ones(count, dtype=bool)
    if curvature is not None:
        inverse[:] = _invert(curvature[None], state.ridge)
    before, settled, active = np.full(count, np.inf), np.zeros(count, dtype=bool), np.arange(count)
    for _ in range(options.max_iterations):
        if own[active].any():
            stale = active[own[active]]
            some = _take(state, stale)
            inverse[stale] = _invert(_information(frame, some, gamma[stale]), some.ridge)
        here = _take(state, active)
        gradient = _gradient(frame, here, gamma[active])
        step = np.einsum("bij,bj->bi", inverse[active], gradient)
        reach = np.abs(step * here.spread).max(axis=1)
        long = np.flatnonzero(reach > _LONG)
        if len(long):
            _shorten(frame, _take(here, long), gamma[active[long]], step, long)
        gamma[active] += step
        slope = np.abs(gradient / here.spread).max(axis=1)
        settled[active] = (slope <= options.tolerance) & (reach <= options.tolerance * _size(gamma[active], here))
        own[active] = reach > _SLOW * before[active]
        before[active] = reach
        active = active[~settled[active]]
        if not len(active):
            break
    if len(active):  # steps may stall at rounding where columns are almost combinations of each other
        left = _take(state, active)
        slope = np.abs(_gradient(frame, left, gamma[active]) / left.spread).max(axis=1)
        settled[active] = slope <= options.tolerance
    return gamma, settled


def _size(gamma: np.ndarray, state: _State) -> np.ndarray:
    return np.maximum(1.0, np.abs(gamma * state.spread).max(axis=1))


def _take(state: _State, rows: np.ndarray) -> _State:
    return state if len(rows) == len(state.totals) else _State(*(part[rows] for part in state))


def _tiles(n: int, replicates: int) -> list[slice]:
    size = max(256, _TILE // replicates)
    return [slice(at, min(at + size, n)) for at in range(0, n, size)]


def _gradient(frame: _Frame, state: _State, gamma: np.ndarray) -> np.ndarray:
    """Of the mean penalised log-likelihood by the coefficients, (b, k)."""
    total = np.zeros_like(gamma)
    for rows in _tiles(len(frame.y), len(gamma)):
        a = frame.a[rows]
        score = gamma @ a.T
        score *= 0.5
        np.tanh(score, out=score)
        score *= -0.5
        score += frame.y[rows] - 0.5
        score *= state.counts[:, rows]
        total += score @ a
    return total / state.totals[:, None] - state.ridge * gamma


def _objective(frame: _Frame, state: _State, gamma: np.ndarray) -> np.ndarray:
    """Mean penalised log-likelihood, (b,)."""
    total = np.zeros(len(gamma))
    for rows in _tiles(len(frame.y), len(gamma)):
        eta = gamma @ frame.a[rows].T
        total += (state.counts[:, rows] * (frame.y[rows] * eta - np.logaddexp(0.0, eta))).sum(axis=1)
    return total / state.totals - 0.5 * (state.ridge * gamma**2).sum(axis=1)


def _information(frame: _Frame, state: _State, gamma: np.ndarray) -> np.ndarray:
    """a' diag(w p (1 - p)) a / total, (b, k, k): for many, all pairs of columns in one product."""
    n, k = frame.a.shape
    left, right = np.triu_indices(k)
    many = len(gamma) > _FEW
    pairs, found = np.zeros((len(gamma), len(left))), np.zeros((len(gamma), k, k))
    size = max(64, min(_TILE // (len(left) if many else k), _TILE // len(gamma)))
    for at in range(0, n, size):
        rows = slice(at, at + size)
        a = frame.a[rows]
        half = np.tanh(0.5 * (gamma @ a.T))
        weights = state.counts[:, rows] * (0.25 * (1 - half * half))
        if many:
            pairs += weights @ (a[:, left] * a[:, right])
        else:
            found += np.stack([(a * one[:, None]).T @ a for one in weights])
    if many:
        found[:, left, right] = found[:, right, left] = pairs
    return found / state.totals[:, None, None]


def _invert(information: np.ndarray, ridge: np.ndarray) -> np.ndarray:
    """Inverses (b, k, k) of information plus ridge; a pseudo-inverse where rounding leaves a direction flat."""
    k = ridge.shape[1]
    full = np.broadcast_to(information, (len(ridge), k, k)).copy()
    full[:, range(k), range(k)] += ridge
    try:
        return np.linalg.inv(full)
    except np.linalg.LinAlgError:
        return np.linalg.pinv(full, hermitian=True)


def _shorten(frame: _Frame, state: _State, gamma: np.ndarray, step: np.ndarray, rows: np.ndarray) -> None:
    """Halve, in place, those `rows` of step that would lower the penalised likelihood."""
    before, index = _objective(frame, state, gamma), np.arange(len(rows))
    for _ in range(40):
        after = _objective(frame, _take(state, index), gamma[index] + step[rows[index]])
        index = index[~(after >= before[index] - 1e-13 * np.abs(before[index]))]
        if not len(index):
            return
        step[rows[index]] *= 0.5
