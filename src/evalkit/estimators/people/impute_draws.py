"""Draws of missing values from regressions whose parameters are drawn too: the numeric core of imputation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

_RIDGE = 1e-5  # as in mice: keeps columns that are combinations of others from stopping the draw
_PRIOR_SD = 3.0  # of a coefficient per standard deviation: nearly flat, but no coefficient runs off
_INTERCEPT_SD = 10.0


@dataclass(frozen=True, eq=False, repr=False)
class NumberDraw:
    """A regression whose parameters were drawn: `coefficients` (p + 1,), intercept first, and `sigma`.

    Where it borrows, `predictions` (n,) in rising order and the observed `values` (n,) that go with them, else empty;
    `donors` 0 says that it does not.
    """

    coefficients: np.ndarray
    sigma: float
    predictions: np.ndarray
    values: np.ndarray
    donors: int


@dataclass(frozen=True, eq=False, repr=False)
class CategoryDraw:
    """A multinomial logit whose parameters were drawn: `coefficients` (kinds - 1, p + 1), intercept first."""

    coefficients: np.ndarray
    kinds: int


def draw_number(
    x: np.ndarray, y: np.ndarray, x_missing: np.ndarray, *, donors: int | None, rng: np.random.Generator
) -> np.ndarray:
    """Numbers for the rows of `x_missing` (k, p), shape (k,), learned from `y` (n,) and `x` (n, p).

    Predictive mean matching of type 1: observed rows are predicted with the least-squares coefficients, missing rows
    with coefficients drawn from their posterior; one of the `donors` nearest predictions gives its value. With None the
    drawn prediction itself, with a normal residual. `x` is standardised, without intercept.
    """
    drawn = fit_number(x, y, donors=donors, rng=rng)
    rows = len(x_missing)
    noise = rng.integers(drawn.donors, size=rows) if drawn.donors else rng.standard_normal(rows)
    return fill_number(drawn, x_missing, noise)


def fit_number(x: np.ndarray, y: np.ndarray, *, donors: int | None, rng: np.random.Generator) -> NumberDraw:
    """The drawn regression of `draw_number`, to be kept and used by `fill_number`."""
    full = _with_intercept(x)
    gram = full.T @ full
    gram += np.diag(_RIDGE * np.diag(gram))
    factor = np.linalg.cholesky(np.linalg.inv(gram))
    estimate = factor @ (factor.T @ (full.T @ y))
    residual = y - full @ estimate
    df = max(len(y) - full.shape[1], 1)
    sigma = float(np.sqrt(residual @ residual / rng.chisquare(df)))
    drawn = estimate + sigma * factor @ rng.standard_normal(len(estimate))
    if donors is None:
        return NumberDraw(drawn, sigma, np.empty(0), np.empty(0), 0)
    predicted = full @ estimate
    # Ties in predictions are put in random order, else the same people would always give.
    order = np.lexsort((rng.random(len(y)), predicted))
    return NumberDraw(drawn, sigma, predicted[order], y[order], min(donors, len(y)))


def fill_number(drawn: NumberDraw, x_missing: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Numbers (k,) for `x_missing` (k, p): `noise` (k,) says which of the nearest donors gives (from 0), or, without
    donors, is standard normal."""
    wanted = _row_products(_with_intercept(x_missing), drawn.coefficients)
    if not drawn.donors:
        return wanted + drawn.sigma * noise
    return _match(drawn, wanted, noise)


def _match(drawn: NumberDraw, wanted: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """For each of `wanted`, the value of the `chosen` one of the donors, those with the nearest predictions."""
    place = np.searchsorted(drawn.predictions, wanted)
    around = np.clip(place[:, None] + np.arange(-drawn.donors, drawn.donors), 0, len(drawn.values) - 1)
    distance = np.abs(drawn.predictions[around] - wanted[:, None])
    # Clipping repeats the rows at the ends: a repeat may not give twice.
    distance[:, 1:][around[:, 1:] == around[:, :-1]] = np.inf
    nearest = np.argsort(distance, axis=1, kind="stable")[:, : drawn.donors]
    rows = np.arange(len(wanted))
    return drawn.values[around[rows, nearest[rows, chosen]]]


def draw_category(
    x: np.ndarray, y: np.ndarray, x_missing: np.ndarray, *, kinds: int, rng: np.random.Generator
) -> np.ndarray:
    """Codes 0 to kinds - 1 for the rows of `x_missing` (k, p), shape (k,), from `y` (n,) of the rows of `x` (n, p).

    Multinomial logit with normal priors; its parameters are drawn from the normal approximation at the mode of the
    posterior.
    """
    if kinds == 1:
        return np.zeros(len(x_missing), dtype=np.int64)
    return fill_category(fit_category(x, y, kinds=kinds, rng=rng), x_missing, rng.random(len(x_missing)))


def fit_category(x: np.ndarray, y: np.ndarray, *, kinds: int, rng: np.random.Generator) -> CategoryDraw:
    """The drawn multinomial logit of `draw_category`, to be kept and used by `fill_category`."""
    full = _with_intercept(x)
    if kinds == 1:
        return CategoryDraw(np.empty((0, full.shape[1])), 1)
    mode, inverse_root = _fit_multinomial(full, y, kinds)
    drawn = mode + inverse_root @ rng.standard_normal(len(mode))
    return CategoryDraw(drawn.reshape(kinds - 1, -1), kinds)


def fill_category(drawn: CategoryDraw, x_missing: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Codes (k,) for `x_missing` (k, p) by inverting the distribution at `uniform` (k,), 0 to 1."""
    other = _with_intercept(x_missing)
    eta = [np.zeros(len(other)), *(_row_products(other, beta) for beta in drawn.coefficients)]
    cumulative = np.cumsum(special.softmax(np.column_stack(eta), axis=1), axis=1)
    return (uniform[:, None] > cumulative[:, :-1]).sum(axis=1)


def _row_products(x: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """x @ coefficients, each row summed by itself: a matrix product may round one row by what stands beside it."""
    return (np.ascontiguousarray(x) * coefficients).sum(axis=1)


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
