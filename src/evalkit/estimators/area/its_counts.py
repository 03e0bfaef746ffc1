"""Counts by generalised linear model with a log link: Poisson, quasi-Poisson, negative binomial; AR(1) errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from evalkit.core.errors import Fault, NotEstimable
from evalkit.estimators.area.its_design import Errors, Family
from evalkit.estimators.area.its_errors import ErrorFit, newey_west, no_residual, single
from evalkit.estimators.area.its_reml import fit_reml_ar

_ITERATIONS = 100
_TOLERANCE = 1e-12
_FARTHEST = 30.0  # log of expected events: beyond it a term runs off, as where a season had no event
_MAX_ALPHA = 50.0
_MIN_ALPHA = 1e-8


@dataclass(frozen=True)
class CountFit:
    """An `ErrorFit` of the log rate with the deviance, its residuals (n,) and the negative binomial's alpha."""

    errors: ErrorFit
    deviance: float
    deviance_residuals: np.ndarray
    alpha: float


def fit_counts(
    y: np.ndarray,
    x: np.ndarray,
    offset: np.ndarray,
    *,
    family: Family,
    errors: Errors,
    series: np.ndarray,
    time: np.ndarray,
    gap: np.ndarray,
    lags: int,
) -> CountFit:
    """Log-linear model of counts `y` (n,) on `x` (n, k) with `offset` (n,).

    `model`: maximum likelihood with the family's covariance (quasi-Poisson: times the Pearson
    dispersion), as R's glm. `newey_west`: the same coefficients, that covariance of the scores.
    `reml_ar`: one step of generalised least squares from these coefficients, by the working response and
    the errors of `its_reml` for Pearson residuals (Zeger 1988, Biometrika 75:621; the likelihood as in
    penalised quasi-likelihood, Breslow and Clayton 1993, JASA 88:9).
    Raises NotEstimable where the iterations do not settle.
    """
    alpha = _find_alpha(y, x, offset) if family == "negative_binomial" else 0.0
    beta = _iterate(y, x, offset, alpha)
    fit = _errors_of(y, x, offset, beta, alpha, family=family, errors=errors, series=series, time=time, lags=lags)
    if errors == "reml_ar":
        fit = _correlated(y, x, offset, beta, alpha, gap)
    mu = np.exp(offset + x @ fit.beta)
    parts = _deviance_parts(y, mu, alpha)
    return CountFit(fit, float(parts.sum()), np.sign(y - mu) * np.sqrt(np.maximum(parts, 0.0)), alpha)


def _iterate(y: np.ndarray, x: np.ndarray, offset: np.ndarray, alpha: float) -> np.ndarray:
    """Coefficients by iteratively weighted least squares, shape (k,)."""
    mu = (y + y.mean()) / 2
    beta = np.zeros(x.shape[1])
    for step in range(_ITERATIONS):
        root = np.sqrt(mu / (1 + alpha * mu))
        working = np.log(mu) - offset + (y - mu) / mu
        new = np.linalg.lstsq(root[:, None] * x, root * working, rcond=None)[0]
        change = np.abs(x @ (new - beta)).max()
        beta = new
        linear = offset + x @ beta
        if not np.isfinite(linear).all() or np.abs(linear).max() > _FARTHEST:
            break
        mu = np.exp(linear)
        if step and change < _TOLERANCE * (1 + np.abs(x @ beta).max()):
            return beta
    raise NotEstimable(_unsettled())


def _correlated(
    y: np.ndarray, x: np.ndarray, offset: np.ndarray, beta: np.ndarray, alpha: float, gap: np.ndarray
) -> ErrorFit:
    # One step only: repeated, with few events and rho near 1, the steps run away from the data.
    mu = np.exp(offset + x @ beta)
    root = np.sqrt(mu / (1 + alpha * mu))
    return fit_reml_ar(root * (x @ beta + (y - mu) / mu), root[:, None] * x, gap)


def _errors_of(
    y: np.ndarray,
    x: np.ndarray,
    offset: np.ndarray,
    beta: np.ndarray,
    alpha: float,
    *,
    family: Family,
    errors: Errors,
    series: np.ndarray,
    time: np.ndarray,
    lags: int,
) -> ErrorFit:
    n, k = x.shape
    mu = np.exp(offset + x @ beta)
    weight = mu / (1 + alpha * mu)
    bread = np.linalg.inv((x * weight[:, None]).T @ x)
    pearson = (y - mu) * np.sqrt(weight) / mu
    dispersion = float(pearson @ pearson) / (n - k)
    if (errors == "newey_west" or family == "quasipoisson") and pearson @ pearson <= 1e-18 * mu.sum():
        raise no_residual()
    if errors == "newey_west":
        scores = x * ((y - mu) / (1 + alpha * mu))[:, None]
        covariance = newey_west(scores, bread, series=series, time=time, lags=lags)
    else:
        covariance = bread * (dispersion if family == "quasipoisson" else 1.0)
    return single(beta, covariance, df=math.inf, innovations=pearson, dispersion=dispersion)


def _find_alpha(y: np.ndarray, x: np.ndarray, offset: np.ndarray) -> float:
    """Negative binomial (NB2) dispersion by maximum likelihood, var = mu + alpha mu^2; 0 where it tends there."""

    def loss(log_alpha: float) -> float:
        alpha = math.exp(log_alpha)
        mu = np.exp(offset + x @ _iterate(y, x, offset, alpha))
        size = 1 / alpha
        parts = special.gammaln(y + size) - special.gammaln(size) - special.gammaln(y + 1)
        parts += size * np.log(size / (size + mu)) + y * np.log(mu / (size + mu))
        return -float(parts.sum())

    bounds = (math.log(_MIN_ALPHA), math.log(_MAX_ALPHA))
    starts = np.linspace(*bounds, 24)
    best = int(np.argmin([loss(start) for start in starts]))
    around = (starts[max(best - 1, 0)], starts[min(best + 1, len(starts) - 1)])
    found = optimize.minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-10})
    alpha = math.exp(found.x)
    return 0.0 if alpha < 10 * _MIN_ALPHA else alpha


def _deviance_parts(y: np.ndarray, mu: np.ndarray, alpha: float) -> np.ndarray:
    """What each row adds to the deviance, shape (n,)."""
    log_ratio = special.xlogy(y, np.where(y > 0, y, 1.0) / mu)
    if alpha == 0:
        return 2 * (log_ratio - (y - mu))
    return 2 * (log_ratio - (y + 1 / alpha) * np.log((1 + alpha * y) / (1 + alpha * mu)))


def _unsettled() -> Fault:
    return Fault(
        "its",
        "the log-linear model does not settle: some terms are not determined by the counts",
        next_step="Use fewer harmonics, or a change of level only, or longer periods.",
    )
