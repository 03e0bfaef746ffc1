"""Serial correlation in regression as commonly met: least squares, Newey–West, Prais–Winsten, ML AR.

None of them holds its level in short series; what their intervals cover stands in `its_checks`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special
from statsmodels.tsa.statespace.sarimax import SARIMAX

from evalkit.core.errors import Fault, NotEstimable

RHO_LIMIT = 0.995
_ITERATIONS = 100
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class ErrorFit:
    """Coefficients with what is known of them: a mixture of M t-distributions, M = 1 where there is no averaging.

    Attributes
    ----------
    beta : float array, shape (k,)
    covariance : float array, shape (k, k)
        Of one part, as R's gls, Stata's newey and prais print it; else of the whole mixture.
    betas, covariances, weights : float arrays, shapes (M, k), (M, k, k), (M,)
    df : float
        Degrees of freedom of each part; infinite for a normal.
    rho : float array, shape (p,)
        Autoregressive coefficients; empty where none are estimated.
    innovations : float array, shape (n,)
        Residuals with the fitted correlation taken out, on the scale of the outcome's standard deviation.
    dispersion : float
        Residual variance, or for counts the Pearson dispersion.
    converged : bool
    """

    beta: np.ndarray
    covariance: np.ndarray
    betas: np.ndarray
    covariances: np.ndarray
    weights: np.ndarray
    df: float
    rho: np.ndarray
    innovations: np.ndarray
    dispersion: float
    converged: bool = True


def no_residual() -> NotEstimable:
    """What is raised where an error would have to be estimated from nothing."""
    return NotEstimable(Fault("its", "the terms fit the series without a residual, so no error can be estimated"))


def single(
    beta: np.ndarray,
    covariance: np.ndarray,
    *,
    df: float,
    innovations: np.ndarray,
    dispersion: float,
    rho: np.ndarray | None = None,
    converged: bool = True,
) -> ErrorFit:
    """A fit whose uncertainty is one t-distribution."""
    rho = np.empty(0) if rho is None else rho
    return ErrorFit(
        beta, covariance, beta[None], covariance[None], np.ones(1), df, rho, innovations, dispersion, converged
    )


def mixture_interval(
    location: np.ndarray, scale: np.ndarray, weights: np.ndarray, *, df: float, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of mixtures of t-distributions; `location`, `scale` (M, P), `weights` (M,); both ends (P,)."""
    spread = scale.max(axis=0)
    reach = 40.0 * spread
    ends = []
    for probability in ((1 - level) / 2, (1 + level) / 2):
        low, high = location.min(axis=0) - reach, location.max(axis=0) + reach
        at = weights @ location
        for _ in range(_ITERATIONS):
            over = mixture_cdf(at, location, scale, weights, df=df) - probability
            low, high = np.where(over < 0, at, low), np.where(over < 0, high, at)
            density = weights @ (_density((at - location) / scale, df) / scale)
            with np.errstate(divide="ignore"):
                step = at - over / density
            # Newton's step where it stays between what is known to be too low and too high, else the middle.
            new = np.where((step > low) & (step < high), step, (low + high) / 2)
            moved, at = np.abs(new - at), new
            if (moved <= _TOLERANCE * spread).all():
                break
        ends.append(at)
    return ends[0], ends[1]


def _density(standard: np.ndarray, df: float) -> np.ndarray:
    if math.isinf(df):
        return np.exp(-(standard**2) / 2) / math.sqrt(2 * math.pi)
    constant = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    return constant * (1 + standard**2 / df) ** (-(df + 1) / 2)


def mixture_cdf(
    at: np.ndarray, location: np.ndarray, scale: np.ndarray, weights: np.ndarray, *, df: float
) -> np.ndarray:
    """Distribution functions of mixtures of t-distributions at `at` (P,); shapes as in `mixture_interval`."""
    standard = (at - location) / scale
    part = special.ndtr(standard) if math.isinf(df) else special.stdtr(df, standard)
    return weights @ part


def mixture_sd(location: np.ndarray, scale: np.ndarray, weights: np.ndarray, *, df: float) -> np.ndarray:
    """Spread of mixtures of t-distributions, shape (P,); that of one part is its scale, as regressions print it."""
    if len(weights) == 1:
        return scale[0]
    centre = weights @ location
    inflate = df / (df - 2) if df > 2 else math.nan
    return np.sqrt(weights @ (scale**2 * inflate + (location - centre) ** 2))


def series_gaps(series: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Steps since the row before, shape (n,); 0 where a series begins."""
    gap = np.diff(time, prepend=time[0])
    return np.where(np.diff(series, prepend=-1) != 0, 0, gap)


def whiten(rows: np.ndarray, gap: np.ndarray, rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take AR(1) correlation out of rows, for M values of rho at once, with the log determinants.

    Row i less rho^gap times the row before, over its standard deviation; the first of a series stands as
    it is, as in Prais and Winsten. Shapes: `rows` (n, c), `gap` (n,), `rho` (M,) → (M, n, c) and (M,).
    """
    phi = np.where(gap > 0, np.power(rho[:, None], np.maximum(gap, 1)), 0.0)
    scale = 1 / np.sqrt(1 - phi**2)
    white = (rows[None] - phi[:, :, None] * np.roll(rows, 1, axis=0)[None]) * scale[:, :, None]
    return white, np.log(scale).sum(axis=1)


@dataclass(frozen=True)
class GlsProfile:
    """Generalised least squares at M values of rho.

    Attributes
    ----------
    betas : float array, shape (M, k)
    covariances : float array, shape (M, k, k)
    loglike : float array, shape (M,)
        Log restricted likelihood, but for a constant.
    variance : float array, shape (M,)
        Residual variance, by restricted likelihood.
    """

    betas: np.ndarray
    covariances: np.ndarray
    loglike: np.ndarray
    variance: np.ndarray


def compute_gls(y: np.ndarray, x: np.ndarray, gap: np.ndarray, rho: np.ndarray) -> GlsProfile:
    """Least squares of `y` (n,) on `x` (n, k) with AR(1) errors of given `rho` (M,), as R's `nlme::gls` fits it."""
    n, k = x.shape
    white, log_determinant = whiten(np.column_stack([x, y]), gap, rho)
    q, r = np.linalg.qr(white[:, :, :k])
    betas = np.linalg.solve(r, np.einsum("mnk,mn->mk", q, white[:, :, k])[:, :, None])[:, :, 0]
    residual = white[:, :, k] - np.einsum("mnk,mk->mn", white[:, :, :k], betas)
    rss = (residual**2).sum(axis=1)
    if (rss <= 1e-20 * (white[:, :, k] ** 2).sum(axis=1)).any():
        raise no_residual()
    inverse = np.linalg.inv(r)
    variance = rss / (n - k)
    covariances = np.einsum("mij,mlj->mil", inverse, inverse) * variance[:, None, None]
    half_log = np.log(np.abs(np.diagonal(r, axis1=1, axis2=2))).sum(axis=1)
    loglike = log_determinant - half_log - (n - k) / 2 * np.log(rss)
    return GlsProfile(betas, covariances, loglike, variance)


def fit_prais_winsten(y: np.ndarray, x: np.ndarray, gap: np.ndarray) -> ErrorFit:
    """Iterated Prais–Winsten; rho is the regression of residuals on those before (Stata's `rhotype(regress)`).

    Prais and Winsten 1954, Cowles Commission Discussion Paper 383. Pairs of rows with a gap between them do
    not inform rho.
    """
    pairs = np.flatnonzero(gap == 1)
    rho, converged = 0.0, False
    for _ in range(_ITERATIONS):
        fit = compute_gls(y, x, gap, np.array([rho]))
        residual = y - x @ fit.betas[0]
        new = float(residual[pairs] @ residual[pairs - 1] / (residual[pairs - 1] @ residual[pairs - 1]))
        converged = abs(new - rho) < _TOLERANCE
        rho = float(np.clip(new, -RHO_LIMIT, RHO_LIMIT))
        if converged:
            break
    fit = compute_gls(y, x, gap, np.array([rho]))
    white = whiten((y - x @ fit.betas[0])[:, None], gap, np.array([rho]))[0][0, :, 0]
    return single(
        fit.betas[0],
        fit.covariances[0],
        df=float(len(y) - x.shape[1]),
        innovations=white,
        dispersion=float(fit.variance[0]),
        rho=np.array([rho]),
        converged=converged,
    )


def fit_ml_ar(y: np.ndarray, x: np.ndarray, time: np.ndarray, order: int) -> ErrorFit:
    """AR(order) errors by exact maximum likelihood (statsmodels SARIMAX); gaps on the grid are missing values."""
    full = np.arange(time[0], time[-1] + 1)
    place = time - time[0]
    spread = float(np.std(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]))
    if spread <= 1e-10 * max(float(np.abs(y).max()), 1e-300):
        raise no_residual()
    width = np.abs(x).max(axis=0)
    endog, exog = np.full(len(full), np.nan), np.zeros((len(full), x.shape[1]))
    endog[place], exog[place] = y / spread, x / width
    model = SARIMAX(endog, exog=exog, order=(order, 0, 0))
    k = x.shape[1]
    start = np.concatenate([np.linalg.lstsq(exog[place], endog[place], rcond=None)[0], np.full(order, 0.1), [1.0]])

    def loss(free: np.ndarray) -> float:
        return -float(model.loglike(model.transform_params(free))) / len(y)

    found = optimize.minimize(loss, model.untransform_params(start), method="BFGS", options={"gtol": 1e-6})
    params = model.transform_params(found.x)
    result = model.smooth(params, cov_type="oim")
    covariance = result.cov_params()[:k, :k] * np.outer(spread / width, spread / width)
    innovations = np.asarray(result.filter_results.standardized_forecasts_error[0])[place]
    gradient_small = float(np.abs(found.jac).max()) < 1e-4
    return single(
        params[:k] * spread / width,
        covariance,
        df=math.inf,
        innovations=innovations,
        dispersion=float(params[-1] * spread**2),
        rho=params[k : k + order],
        converged=gradient_small and bool(np.isfinite(covariance).all()),
    )


def fit_least_squares(y: np.ndarray, x: np.ndarray) -> ErrorFit:
    """Ordinary least squares with errors taken as independent."""
    fit = compute_gls(y, x, np.zeros(len(y), int), np.zeros(1))
    n, k = x.shape
    innovations = y - x @ fit.betas[0]
    return single(
        fit.betas[0],
        fit.covariances[0],
        df=float(n - k),
        innovations=innovations,
        dispersion=float(fit.variance[0]),
    )


def newey_west(scores: np.ndarray, bread: np.ndarray, *, series: np.ndarray, time: np.ndarray, lags: int) -> np.ndarray:
    """Newey–West covariance with Bartlett weights within series and Stata's factor n/(n-k), shape (k, k).

    Newey and West 1987, Econometrica 55:703. `scores` (n, k) are rows times residuals, `bread` (k, k) the
    inverse information. Lags are steps of the grid, so that rows on both sides of a gap are not neighbours.
    """
    n, k = scores.shape
    apart = time[:, None] - time[None, :]
    weight = np.maximum(1 - np.abs(apart) / (lags + 1), 0.0) * (series[:, None] == series[None, :])
    return bread @ (scores.T @ weight @ scores) @ bread * n / (n - k)


def default_lags(points: int) -> int:
    """The rule of thumb floor(4 (n/100)^(2/9)) (Newey and West 1994, REStud 61:631)."""
    return math.floor(4 * (points / 100) ** (2 / 9))


def autocorrelations(residuals: np.ndarray, gap: np.ndarray, lags: int) -> np.ndarray:
    """Autocorrelations at lags 1..`lags` as R's `acf`, within series, shape (lags,); NaN without variation."""
    centred = residuals - residuals.mean()
    piece = np.cumsum(gap == 0)
    total = centred @ centred
    if total <= 1e-20 * (residuals @ residuals) or total == 0:
        return np.full(lags, math.nan)
    return np.array(
        [(centred[lag:] * centred[:-lag])[piece[lag:] == piece[:-lag]].sum() / total for lag in range(1, lags + 1)]
    )


def ljung_box(correlations: np.ndarray, points: int, estimated: int) -> float:
    """p-value of no autocorrelation up to the lags given, less `estimated` AR terms (Ljung and Box 1978)."""
    lags = np.arange(1, len(correlations) + 1)
    statistic = points * (points + 2) * (correlations**2 / (points - lags)).sum()
    return float(special.chdtrc(max(len(lags) - estimated, 1), statistic))
