"""Models of the outcome given the covariates, for one weighting of the people or for many replicates at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from evalkit.core.errors import Fault, NotEstimable
from evalkit.estimators.people.leave_out import Parts, compute_gradient_without, solve_without
from evalkit.estimators.people.logistic import add_intercept, find_redundant, fit_logistic, fit_logistic_draws

Family = Literal["linear", "logistic", "poisson"]
Interactions = Literal["none", "all"] | tuple[str, ...]
_BLOCK = 4_000_000  # numbers held at a time
_ITERATIONS = 60
_TOLERANCE = 1e-10
_FLAT = 1e-10


@dataclass(frozen=True)
class GlmFit:
    """A generalised linear model with its canonical link, fitted under B weightings.

    Attributes
    ----------
    family : Family
    x : float array, shape (m, q), the design of the m people who were fitted, at `rows` of the n
    rows : int array, shape (m,)
    n : int
    coefficients : float array, shape (B, q); NaN where `fitted` (B,) is False
    score, curvature : float arrays, shape (m,), of the first weighting: w (y - mu), and w times the variance function
    """

    family: Family
    x: np.ndarray
    rows: np.ndarray
    n: int
    coefficients: np.ndarray
    fitted: np.ndarray
    score: np.ndarray
    curvature: np.ndarray

    def project(self, gradient: np.ndarray) -> np.ndarray:
        """Influence values, shape (n,), of a number whose derivative by the coefficients is `gradient`, shape (q,)."""
        information = (self.x * self.curvature[:, None]).T @ self.x
        scale = np.sqrt(np.diag(information))
        direction = np.linalg.solve(information / np.outer(scale, scale), gradient / scale) / scale
        values = np.zeros(self.n)
        values[self.rows] = self.score * (self.x @ direction)
        return values

    def project_without(self, design: np.ndarray, parts: Parts, cluster: np.ndarray) -> np.ndarray:
        """What a number loses, shape (n,), by the coefficients' move when a person's cluster is left out (`leave_out`).

        `design` (n, q) and `parts` give the number's derivatives by each person's linear predictor.
        """
        gradient = compute_gradient_without(design, parts, cluster)[self.rows]
        values = np.zeros(self.n)
        values[self.rows] = self.score * solve_without(self.x, self.curvature, cluster[self.rows], gradient)
        return values


@dataclass(frozen=True)
class ArmModel:
    """What is expected of everybody on one side: `expected` and its `slope` by the linear predictor, both (B, n).

    `design` (n, q) is of everybody as if on this side. `fit` and `design` are None where predictions come from other
    people's data (cross-fitting), which carry no first-order error. `tilt` (B, n) is the derivative of `expected` by
    the coefficient of the targeting step, where there was one.
    """

    expected: np.ndarray
    slope: np.ndarray
    design: np.ndarray | None = None
    fit: GlmFit | None = None
    tilt: np.ndarray | None = None


def fit_outcome_glm(
    x: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray,
    *,
    family: Family,
    exposure: np.ndarray | None = None,
    names: Sequence[str],
    rows: np.ndarray | None = None,
) -> GlmFit:
    """Fit under each row of `weights`; the first row must be estimable, later ones are marked where they are not.

    Parameters
    ----------
    x : float array, shape (n, q), with its intercept first
    y : float array, shape (n,)
    weights : float array, shape (B, n), not negative
    exposure : float array, shape (n,), positive: person-time, whose logarithm is the offset of a Poisson model
    rows : int or bool array: those to fit, all by default

    Raises
    ------
    NotEstimable
        A column is a combination of others among these people, or its coefficient runs to infinity; it is named.
    """
    chosen = np.arange(len(x)) if rows is None else np.arange(len(x))[rows]
    x, y, w, n = x[chosen], y[chosen], weights[:, chosen], len(x)
    offset = np.zeros(len(x)) if exposure is None else np.log(exposure[chosen])
    empty = w.sum(axis=1) <= 0  # draws without anybody here
    w = np.where(empty[:, None], w[0], w) if empty.any() else w
    redundant = find_redundant(x)
    if redundant.any():
        raise NotEstimable([
            Fault(names[j], "this covariate is constant, or a combination of others, among those whose outcomes are "
                  "modelled", next_step='Leave it out, join rare categories, or use interactions="none".')
            for j in np.flatnonzero(redundant)
        ])  # fmt: skip
    if family == "logistic":
        first = fit_logistic(x, y, weights=w[0], names=names)[None]
        draws = fit_logistic_draws(x, y, w[1:], base=w[0]) if len(w) > 1 else None
        coefficients = first if draws is None else np.concatenate([first, draws.coefficients])
    else:
        coefficients, fitted, step = _newton(x, y, w, offset, family)
        if not fitted[0]:
            raise _runaway(x, names, step[0])
    coefficients[empty] = np.nan
    fitted = np.isfinite(coefficients).all(axis=1)
    mean, slope = _predict(x @ coefficients[0] + offset, family)
    return GlmFit(family, x, chosen, n, coefficients, fitted, w[0] * (y - mean), w[0] * slope)


def fit_arm_models(
    treated: np.ndarray,
    covariates: np.ndarray,
    names: tuple[str, ...],
    y: np.ndarray,
    weights: np.ndarray,
    *,
    family: Family,
    interactions: Interactions,
    exposure: np.ndarray | None,
    arms: tuple[int, ...],
) -> dict[int, ArmModel]:
    """Models of the sides in `arms` (0, 1), from these people, as `ArmModel`s of the same people.

    With `interactions="all"` each side is a model of its own; else one model has the treatment, the covariates and
    the products of the treatment with the covariates named.
    """
    base = add_intercept(covariates)
    labels = ("the intercept", *names)
    if interactions == "all":
        fits = {
            a: fit_outcome_glm(
                base, y, weights, family=family, exposure=exposure, names=labels, rows=treated == bool(a)
            )
            for a in arms
        }
        return {a: _predict_arm(fit, base, exposure) for a, fit in fits.items()}
    gone = [name for name in interactions if name not in names] if interactions != "none" else []
    if gone:
        what = "this covariate is constant, or a combination of others, and cannot change the effect"
        raise NotEstimable([Fault(name, what, next_step="Leave it out of the interactions.") for name in gone])
    products = [names.index(name) for name in interactions] if interactions != "none" else []

    def design(side: np.ndarray) -> np.ndarray:
        return np.column_stack([base, side, covariates[:, products] * side[:, None]])

    both = (*labels, "the treatment", *(f"treatment x {names[j]}" for j in products))
    fit = fit_outcome_glm(
        design(treated.astype(float)), y, weights, family=family, exposure=exposure, names=both
    )  # fmt: skip
    return {a: _predict_arm(fit, design(np.full(len(y), float(a))), exposure) for a in arms}


def predict_from_others(
    train: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    covariates: np.ndarray,
    *,
    family: Family,
    names: tuple[str, ...],
    seed: int | None = None,
) -> np.ndarray:
    """Expected outcome per unit of person-time, shape (k,), of people with `covariates` (k, p).

    `train` holds covariates (m, p), outcome, weights and person-time (m,) of others on one side. With a `seed` the
    model is gradient-boosted trees with the family's loss, else the family's generalised linear model.
    """
    x, y, w, time = train
    if seed is None:
        labels = ("the intercept", *names)
        fit = fit_outcome_glm(add_intercept(x), y, w[None], family=family, exposure=time, names=labels)
        return _predict(add_intercept(covariates) @ fit.coefficients[0], family)[0]
    if family == "logistic":
        model = HistGradientBoostingClassifier(random_state=seed, early_stopping=False, max_depth=3, max_iter=60)
        return model.fit(x, y.astype(int), sample_weight=w).predict_proba(covariates)[:, 1]
    loss = "poisson" if family == "poisson" else "squared_error"
    model = HistGradientBoostingRegressor(
        loss=loss, random_state=seed, early_stopping=False, max_depth=3, max_iter=60
    )  # fmt: skip
    return model.fit(x, y / time, sample_weight=w * time).predict(covariates)


def _predict_arm(fit: GlmFit, design: np.ndarray, exposure: np.ndarray | None) -> ArmModel:
    offset = 0.0 if exposure is None else np.log(exposure)
    expected, slope = _predict(fit.coefficients @ design.T + offset, fit.family)
    return ArmModel(expected, slope, design, fit)


def _predict(eta: np.ndarray, family: Family) -> tuple[np.ndarray, np.ndarray]:
    """Mean and its derivative by the linear predictor; with canonical links this is the variance function too."""
    if family == "linear":
        return eta, np.ones_like(eta)
    if family == "logistic":
        mean = special.expit(eta)
        return mean, mean * (1 - mean)
    mean = np.exp(np.minimum(eta, 700.0))
    return mean, mean


def _newton(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, offset: np.ndarray, family: Family
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients (B, q), whether fitted (B,) and last steps (B, q) of linear or Poisson models."""
    norms = np.sqrt((x * x).mean(axis=0))
    q, r = np.linalg.qr(x / norms)
    q, r = q * np.sqrt(len(x)), r * norms / np.sqrt(len(x))
    size = max(1, min(256, _BLOCK // len(x)))
    start = np.zeros(x.shape[1])
    parts = []
    for at in range(0, len(weights), size):
        parts.append(_newton_chunk(q, y, weights[at : at + size], offset, family, start))
        if at == 0 and parts[0][1][0]:
            start = parts[0][0][0]
    gamma, fitted, step = (np.concatenate(piece) for piece in zip(*parts, strict=True))
    coefficients, step = (np.linalg.solve(r, part.T).T for part in (gamma, step))
    coefficients[~fitted] = np.nan
    return coefficients, fitted, step


def _newton_chunk(
    q: np.ndarray, y: np.ndarray, weights: np.ndarray, offset: np.ndarray, family: Family, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    w = weights / np.maximum(weights.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    gamma = np.tile(start, (len(w), 1))
    if family == "poisson" and not start.any():
        level = np.log(np.maximum((w * y).sum(axis=1), 1e-300) / (w * np.exp(offset)).sum(axis=1))
        gamma += level[:, None] * (q.sum(axis=0) / len(q))  # q is orthonormal times sqrt(n), and spans the intercept
    step = np.full(gamma.shape, np.inf)
    for _ in range(_ITERATIONS):
        mean, slope = _predict(gamma @ q.T + offset, family)
        information = _information(q, w * slope)
        step = _solve(information, (w * (y - mean)) @ q)
        if family == "poisson":
            _shorten(q, y, w, offset, gamma, step)
        gamma = gamma + step
        if family == "linear" or np.abs(step).max() <= _TOLERANCE:
            break
    if family == "linear":
        step = np.zeros_like(step)
    values = np.linalg.eigvalsh(_information(q, w * _predict(gamma @ q.T + offset, family)[1]))
    fitted = (
        (np.abs(step).max(axis=1) <= 1e-6) & (values[:, 0] > _FLAT * values[:, -1]) & np.isfinite(gamma).all(axis=1)
    )
    return gamma, fitted, step


def _information(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """q' diag(v_b) q for each row of v (B, n), shape (B, p, p)."""
    rows, columns = np.triu_indices(q.shape[1])
    if len(v) == 1:
        return ((q * v[0][:, None]).T @ q)[None]
    pairs = np.zeros((len(v), len(rows)))
    size = max(1, _BLOCK // len(rows))
    for at in range(0, len(q), size):
        part = q[at : at + size]
        pairs += v[:, at : at + size] @ (part[:, rows] * part[:, columns])
    information = np.empty((len(v), q.shape[1], q.shape[1]))
    information[:, rows, columns] = pairs
    information[:, columns, rows] = pairs
    return information


def _solve(information: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    # A breath of ridge in the step alone: it leaves the solution where it is and lets singular replicates be solved.
    size = np.trace(information, axis1=1, axis2=2) / information.shape[1]
    ridge = np.maximum(1e-13 * size, np.finfo(float).tiny)[:, None, None] * np.eye(information.shape[1])
    return np.linalg.solve(information + ridge, gradient[:, :, None])[:, :, 0]


def _shorten(
    q: np.ndarray, y: np.ndarray, w: np.ndarray, offset: np.ndarray, gamma: np.ndarray, step: np.ndarray
) -> None:
    """Halve, in place, steps that would lower the Poisson likelihood."""

    def likelihood(at: np.ndarray, rows: np.ndarray) -> np.ndarray:
        eta = at @ q.T + offset
        return (w[rows] * (y * eta - np.exp(np.minimum(eta, 700.0)))).sum(axis=1)

    rows = np.flatnonzero(np.abs(step).max(axis=1) > 0.3)
    before = likelihood(gamma[rows], rows)
    for _ in range(40):
        worse = ~(likelihood(gamma[rows] + step[rows], rows) >= before - 1e-12 * np.abs(before))
        rows, before = rows[worse], before[worse]
        if not len(rows):
            return
        step[rows] *= 0.5


def _runaway(x: np.ndarray, names: Sequence[str], step: np.ndarray) -> NotEstimable:
    reach = np.abs(step) * x.std(axis=0)
    moving = reach > 1e-2 * reach.max() if reach.max() > 0 else np.ones(len(reach), dtype=bool)
    named = ", ".join(name for name, yes in zip(names, moving, strict=True) if yes)
    return NotEstimable(
        Fault(
            named,
            "the outcome model's coefficient runs to infinity: there is nobody with the outcome in one of its groups",
            next_step='Join rare categories, leave the covariate out, or use interactions="none".',
        )
    )
