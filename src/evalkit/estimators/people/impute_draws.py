"""Draws of missing values from regressions whose parameters are drawn too: the numeric core of imputation."""

from __future__ import annotations

import numpy as np
from scipy import special

_RIDGE = 1e-5  # as in mice: keeps columns that are combinations of others from stopping the draw
_PRIOR_SD = 3.0  # of a coefficient per standard deviation: nearly flat, but no coefficient runs off
_INTERCEPT_SD = 10.0


def draw_number(
    x: np.ndarray, y: np.ndarray, x_missing: np.ndarray, *, donors: int | None, rng: np.random.Generator
) -> np.ndarray:
    """Numbers for the rows of `x_missing` (k, p), shape (k,), learned from `y` (n,) and `x` (n, p).

    Predictive mean matching of type 1: observed rows are predicted with the least-squares coefficients, missing rows
    with coefficients drawn from their posterior; one of the `donors` nearest predictions gives its value. With None the
    drawn prediction itself, with a normal residual. `x` is standardised, without intercept.
    """
    full, other = _with_intercept(x), _with_intercept(x_missing)
    gram = full.T @ full
    gram += np.diag(_RIDGE * np.diag(gram))
    factor = np.linalg.cholesky(np.linalg.inv(gram))
    estimate = factor @ (factor.T @ (full.T @ y))
    residual = y - full @ estimate
    df = max(len(y) - full.shape[1], 1)
    sigma = np.sqrt(residual @ residual / rng.chisquare(df))
    drawn = estimate + sigma * factor @ rng.standard_normal(len(estimate))
    if donors is None:
        return other @ drawn + sigma * rng.standard_normal(len(other))
    return _match(full @ estimate, y, other @ drawn, donors, rng)


def _match(
    predicted: np.ndarray, y: np.ndarray, wanted: np.ndarray, donors: int, rng: np.random.Generator
) -> np.ndarray:
    """For each of `wanted`, the `y` of one of the `donors` rows whose prediction is nearest."""
    # Ties in predictions are put in random order, else the same people would always give.
    order = np.lexsort((rng.random(len(y)), predicted))
    sorted_predictions, sorted_values = predicted[order], y[order]
    donors = min(donors, len(y))
    place = np.searchsorted(sorted_predictions, wanted)
    around = np.clip(place[:, None] + np.arange(-donors, donors), 0, len(y) - 1)
    distance = np.abs(sorted_predictions[around] - wanted[:, None])
    # Clipping repeats the rows at the ends: a repeat may not give twice.
    distance[:, 1:][around[:, 1:] == around[:, :-1]] = np.inf
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :donors]
    chosen = nearest[np.arange(len(wanted)), rng.integers(donors, size=len(wanted))]
    return sorted_values[around[np.arange(len(wanted)), chosen]]


def draw_category(
    x: np.ndarray, y: np.ndarray, x_missing: np.ndarray, *, kinds: int, rng: np.random.Generator
) -> np.ndarray:
    """Codes 0 to kinds - 1 for the rows of `x_missing` (k, p), shape (k,), from `y` (n,) of the rows of `x` (n, p).

    Multinomial logit with normal priors; its parameters are drawn from the normal approximation at the mode of the
    posterior.
    """
    if kinds == 1:
        return np.zeros(len(x_missing), dtype=np.int64)
    full, other = _with_intercept(x), _with_intercept(x_missing)
    mode, inverse_root = _fit_multinomial(full, y, kinds)
    drawn = mode + inverse_root @ rng.standard_normal(len(mode))
    cumulative = np.cumsum(_probabilities(other, drawn, kinds), axis=1)
    return (rng.random(len(other))[:, None] > cumulative[:, :-1]).sum(axis=1)


def _fit_multinomial(x: np.ndarray, y: np.ndarray, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """Mode of the posterior ((kinds - 1) p,), and a root of its covariance."""
    p = x.shape[1]
    size = (kinds - 1) * p
    precision = np.tile(np.r_[1 / _INTERCEPT_SD**2, np.full(p - 1, 1 / _PRIOR_SD**2)], kinds - 1)
    indicator = (y[:, None] == np.arange(1, kinds)).astype(np.float64)
    beta = np.zeros(size)
    height = _log_posterior(x, indicator, beta, precision, kinds)
    for _ in range(100):
        probability = _probabilities(x, beta, kinds)[:, 1:]
        gradient = ((indicator - probability).T @ x).ravel() - precision * beta
        hessian = np.diag(precision)
        for a in range(kinds - 1):
            for b in range(a, kinds - 1):
                curvature = probability[:, a] * ((a == b) - probability[:, b])
                block = (x * curvature[:, None]).T @ x
                hessian[a * p : (a + 1) * p, b * p : (b + 1) * p] += block
                if a != b:
                    hessian[b * p : (b + 1) * p, a * p : (a + 1) * p] += block.T
        step = np.linalg.solve(hessian, gradient)
        # The posterior is strictly concave: halving a step must in the end climb.
        for _ in range(30):
            higher = _log_posterior(x, indicator, beta + step, precision, kinds)
            if higher >= height - 1e-10 * abs(height):
                break
            step = step / 2
        beta, height = beta + step, higher
        if np.abs(step).max() < 1e-8:
            break
    return beta, np.linalg.cholesky(np.linalg.inv(hessian))


def _log_posterior(x: np.ndarray, indicator: np.ndarray, beta: np.ndarray, precision: np.ndarray, kinds: int) -> float:
    eta = x @ beta.reshape(kinds - 1, -1).T
    total = special.logsumexp(np.column_stack([np.zeros(len(x)), eta]), axis=1)
    return float((indicator * eta).sum() - total.sum() - 0.5 * (precision * beta * beta).sum())


def _probabilities(x: np.ndarray, beta: np.ndarray, kinds: int) -> np.ndarray:
    """Shape (rows, kinds)."""
    return special.softmax(np.column_stack([np.zeros(len(x)), x @ beta.reshape(kinds - 1, -1).T]), axis=1)


def _with_intercept(x: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(x)), x])
