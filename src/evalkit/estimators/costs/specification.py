"""Whether a model of cost has the right variance, link and shape: tests that a referee asks for, as data and as checks.

Residuals y - mu are on the scale of money throughout. That coefficients were estimated from the same data is left out
of account in the Pearson and Hosmer-Lemeshow tests, as is usual, which makes them pass a little too often.

Source: Manning and Mullahy 2001, J Health Economics 20:461 (modified Park test, choice of family); Pregibon 1980,
Applied Statistics 29:15 (link test); Buntin and Zaslavsky 2004, J Health Economics 23:525 (choice among models).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import refuse, whole_faults
from evalkit.core.result import Check
from evalkit.estimators.costs.glm import GlmOptions, fit_glm
from evalkit.estimators.people.influence import sum_clusters

Family = Literal["gaussian", "poisson", "gamma", "inverse_gaussian"]
FAMILIES: tuple[Family, ...] = ("gaussian", "poisson", "gamma", "inverse_gaussian")  # by power of their variance
SIZE = 0.05  # of a test below which a check fails
_MIN_ROWS = 20
_SAME = 1e-9  # fitted means that differ by less than this share are one


@dataclass(frozen=True)
class ParkTest:
    """Power of the mean that the variance rises with, and the family that this points to.

    `power` from a gamma regression with log link of squared residuals on the log of fitted means, `se` its robust
    standard error; `p_values` (4,) of the powers 0, 1, 2 and 3 of `FAMILIES`; `family` has the nearest of these;
    `power_ols` and `se_ols` from least squares of the log of squared residuals, which needs their errors to be alike.
    """

    power: float
    se: float
    p_values: tuple[float, float, float, float]
    family: Family
    power_ols: float
    se_ols: float


@dataclass(frozen=True)
class LinkTest:
    """Coefficient of the squared linear predictor when the model is fitted to it and its square; 0 for a right link."""

    square: float
    se: float
    p_value: float


@dataclass(frozen=True)
class PearsonTest:
    """Correlation of residuals and fitted means; `p_value` from the jackknife error of the slope."""

    correlation: float
    p_value: float


@dataclass(frozen=True)
class HosmerLemeshow:
    """Mean residual of groups by fitted mean, arrays of shape (K,), and the F test that all are nought."""

    fitted: np.ndarray
    residual: np.ndarray
    n_rows: np.ndarray
    statistic: float
    degrees: tuple[int, int]
    p_value: float


def compute_park_test(y: np.ndarray, mu: np.ndarray, *, cluster: np.ndarray | None = None) -> ParkTest:
    """Modified Park test: which power of the mean the variance follows.

    Parameters
    ----------
    y, mu : float arrays, shape (n,)
        Outcome and fitted mean of the model under test, both in units of money.
    cluster : int array, shape (n,)
        Rows that are not independent share one; errors are then robust to it.

    Raises
    ------
    ParameterError
        Values that are not finite, fitted means that are not positive, shapes that do not fit.
    NotEstimable
        Too few rows, one fitted mean for all, or the gamma regression does not converge.
    """
    _check(y, mu, cluster, positive=True)
    _require_spread(mu)
    squares = (y - mu) ** 2
    top = float(squares.max())
    if top <= (_SAME * float(np.abs(y).max())) ** 2:
        raise NotEstimable(Fault("Park test", "the model fits without error, so there is no variance to describe"))
    log_mean = np.log(mu)
    x = np.column_stack([np.ones(len(y)), log_mean - log_mean.mean()])
    options = GlmOptions(family="gamma", link="log", errors="HC0" if cluster is None else "cluster")
    fit = fit_glm(x, squares / squares.mean(), options=options, cluster=cluster, names=("constant", "log fitted"))
    power, se = float(fit.coefficients[1]), math.sqrt(float(fit.covariance[1, 1]))
    p_values = tuple(float(2 * stats.norm.sf(abs(power - k) / se)) for k in range(4))
    power_ols, se_ols = _fit_log_squares(x, squares, cluster)
    nearest = FAMILIES[int(np.argmin([abs(power - k) for k in range(4)]))]
    return ParkTest(power, se, p_values, nearest, power_ols, se_ols)


def compute_link_test(
    y: np.ndarray, eta: np.ndarray, *, options: GlmOptions, cluster: np.ndarray | None = None
) -> LinkTest:
    """Pregibon's link test: the model refitted to its own linear predictor `eta` (n,) and the square of it.

    `options` carry the family and link under test; errors are robust, or clustered where `cluster` is given.

    Raises
    ------
    ParameterError
        Values that are not finite, shapes that do not fit.
    NotEstimable
        The linear predictor has two values or fewer, so that its square adds nothing; no convergence.
    """
    _check(y, eta, cluster, positive=False)
    centred = eta - eta.mean()
    spread = float(centred.std())
    if len(np.unique(np.round(centred / (spread or 1.0), 9))) < 3:
        raise NotEstimable(Fault("link test", "the linear predictor has two values or fewer: its square adds nothing"))
    x = np.column_stack([np.ones(len(y)), centred, centred**2])
    chosen = GlmOptions(
        family=options.family, link=options.link, errors="HC0" if cluster is None else "cluster",
        max_iterations=options.max_iterations, tolerance=options.tolerance,
    )  # fmt: skip
    fit = fit_glm(x, y, options=chosen, cluster=cluster, names=("constant", "predictor", "predictor squared"))
    square, se = float(fit.coefficients[2]), math.sqrt(float(fit.covariance[2, 2]))
    return LinkTest(square, se, float(2 * stats.norm.sf(abs(square) / se)))


def compute_pearson_test(y: np.ndarray, mu: np.ndarray, *, cluster: np.ndarray | None = None) -> PearsonTest:
    """Correlation of the residual with the fitted mean, nought where the shape of the mean is right.

    The p-value is of the slope of residual on fitted mean with an error that leaves out one row (or cluster) after
    another (HC3, CR3): the variance of cost rises with its mean, and a few large fitted means have most of the say.

    Raises ParameterError as `compute_park_test`; NotEstimable with too few rows or one fitted mean for all.
    """
    _check(y, mu, cluster, positive=False)
    _require_spread(mu)
    residual = y - mu
    spread = float(residual.std())
    if spread <= _SAME * float(np.abs(y).max()):
        raise NotEstimable(Fault("Pearson test", "the model fits without error, so there is nothing to correlate"))
    z, r = (mu - mu.mean()) / mu.std(), residual / spread
    parts = np.column_stack([np.ones(len(y)), z, r, z * z, z * r])
    totals = sum_clusters(parts, np.arange(len(y)) if cluster is None else cluster)
    slope, left_out = _slope_of(totals.sum(axis=0)), _slope_of(totals.sum(axis=0) - totals)
    groups = len(totals)
    se = math.sqrt((groups - 1) / groups * float(((left_out - slope) ** 2).sum()))
    if not (math.isfinite(se) and se > 0):
        raise NotEstimable(Fault("Pearson test", "without one row or cluster all fitted means are the same"))
    return PearsonTest(float(slope), float(2 * stats.t.sf(abs(slope) / se, _degrees(len(y), 2, cluster))))


def compute_hosmer_lemeshow(
    y: np.ndarray, mu: np.ndarray, *, groups: int = 10, cluster: np.ndarray | None = None
) -> HosmerLemeshow:
    """Modified Hosmer-Lemeshow test: F test that the mean residual is nought in every group by fitted mean.

    Groups are cut at quantiles of the fitted mean; equal fitted means stay together, so that there may be fewer than
    asked for. F = b' V^-1 b / K with b the K mean residuals and V their robust (HC1) or clustered covariance.

    Raises
    ------
    ParameterError
        As `compute_park_test`, or fewer than two groups asked for.
    NotEstimable
        One group only, a group without spread of residuals, or fewer clusters than groups.
    """
    refuse(whole_faults("groups", groups, least=2))
    _check(y, mu, cluster, positive=False)
    _require_spread(mu)
    rounded = np.round(mu / np.abs(mu).max(), 9)  # sums in another order must not part people of one kind
    inner = np.quantile(rounded, np.arange(1, groups) / groups, method="inverted_cdf")
    _, place = np.unique(np.searchsorted(np.unique(inner), rounded, side="left"), return_inverse=True)
    size = np.bincount(place).astype(np.float64)
    count, residual = len(size), y - mu
    means = np.bincount(place, weights=residual) / size
    scores = np.zeros((len(y), count))
    scores[np.arange(len(y)), place] = (residual - means[place]) / size[place]
    covariance, degrees = _sum_squares(scores, cluster), _degrees(len(y), count, cluster)
    if count < 2 or degrees < count or np.linalg.matrix_rank(covariance, hermitian=True) < count:
        raise NotEstimable(
            Fault("Hosmer-Lemeshow test", "too few clusters, or no spread of residuals, for the groups by fitted mean",
                  next_step="Ask for fewer groups.")
        )  # fmt: skip
    statistic = max(float(means @ np.linalg.solve(covariance, means)) / count, 0.0)
    p_value = float(stats.f.sf(statistic, count, degrees))
    fitted = np.bincount(place, weights=mu) / size
    return HosmerLemeshow(fitted, means, size.astype(int), statistic, (count, degrees), p_value)


def check_park(test: ParkTest, family: str) -> Check:
    """Whether the power that the family has is within what the test allows."""
    power = FAMILIES.index(family) if family in FAMILIES else None
    if power is None:
        raise ParameterError(Fault("family", "has no power of the mean for variance", family, ", ".join(FAMILIES)))
    p_value = test.p_values[power]
    said = (
        f"The variance of cost rises with the mean to the power {test.power:.2f} (standard error {test.se:.2f}), which "
        f"is nearest to {test.family.replace('_', ' ')}."
    )
    used = f"The {family.replace('_', ' ')} family used (power {power}) is"
    verdict = (
        f"{used} not contradicted (p = {p_value:.2g})."
        if p_value >= SIZE
        else f"{used} contradicted (p = {p_value:.2g}): means and robust errors stay right, but another family would "
        "be more precise."
    )
    return Check("park_test", p_value >= SIZE, test.power, f"{said} {verdict}")


def check_link(test: LinkTest, link: str) -> Check:
    """Whether the square of the linear predictor adds nothing."""
    passed = test.p_value >= SIZE
    text = (
        f"The squared linear predictor adds nothing that chance would not (p = {test.p_value:.2g}): no sign against "
        f"the {link} link."
        if passed
        else f"The squared linear predictor still explains cost (p = {test.p_value:.2g}): the {link} link, or the "
        "covariates as entered, do not fit."
    )
    return Check("link_test", passed, test.square, text)


def check_pearson(test: PearsonTest) -> Check:
    """Whether residuals are free of the fitted mean."""
    passed = test.p_value >= SIZE
    what = "do not move with" if passed else "move with"
    text = f"Residuals {what} the fitted mean (correlation {test.correlation:.3f}, robust p = {test.p_value:.2g})."
    return Check("pearson_correlation", passed, test.correlation, text)


def check_hosmer_lemeshow(test: HosmerLemeshow) -> Check:
    """Whether no group by fitted mean is predicted too high or too low."""
    passed = test.p_value >= SIZE
    text = f"Mean residuals of {len(test.residual)} groups by fitted mean " + (
        f"are nought within chance (F test, p = {test.p_value:.2g})."
        if passed
        else f"are not all nought (F test, p = {test.p_value:.2g}): it is too high for some and too low for others."
    )
    return Check("hosmer_lemeshow", passed, test.statistic, text)


def build_specification_checks(
    y: np.ndarray, mu: np.ndarray, eta: np.ndarray, *, options: GlmOptions, cluster: np.ndarray | None = None
) -> tuple[Check, ...]:
    """All four tests of one generalised linear model; one that cannot be computed informs and says why."""
    tests = (
        ("park_test", lambda: check_park(compute_park_test(y, mu, cluster=cluster), options.family)),
        ("link_test", lambda: check_link(compute_link_test(y, eta, options=options, cluster=cluster), options.link)),
        ("pearson_correlation", lambda: check_pearson(compute_pearson_test(y, mu, cluster=cluster))),
        ("hosmer_lemeshow", lambda: check_hosmer_lemeshow(compute_hosmer_lemeshow(y, mu, cluster=cluster))),
    )
    return collect_checks(tests)


def collect_checks(tests: Sequence[tuple[str, Callable[[], Check]]]) -> tuple[Check, ...]:
    """Checks by name in turn; one that cannot be computed informs and says why."""
    found = []
    for name, test in tests:
        try:
            check = test()
        except NotEstimable as error:
            check = Check(name, None, math.nan, f"Not computed. {error.reason}")
        found.append(replace(check, name=name))
    return tuple(found)


def _check(y: np.ndarray, fitted: np.ndarray, cluster: np.ndarray | None, *, positive: bool) -> None:
    if y.shape != fitted.shape or y.ndim != 1 or (cluster is not None and len(cluster) != len(y)):
        got = f"outcome {y.shape}, fitted {fitted.shape}"
        raise ParameterError(Fault("specification test", "the shapes do not fit each other", got))
    faults = []
    if not (np.isfinite(y).all() and np.isfinite(fitted).all()):
        faults.append(Fault("specification test", "values are missing or infinite"))
    elif positive and not (fitted > 0).all():
        faults.append(Fault("specification test", "fitted means are not all positive, so they have no logarithm"))
    refuse(faults)
    if len(y) < _MIN_ROWS:
        raise NotEstimable(Fault("specification test", "too few rows", allowed=f"{_MIN_ROWS} or more"))


def _require_spread(mu: np.ndarray) -> None:
    if np.ptp(mu) <= _SAME * np.abs(mu).max():
        raise NotEstimable(Fault("specification test", "the model gives everybody the same mean"))


def _degrees(n: int, p: int, cluster: np.ndarray | None) -> int:
    return n - p if cluster is None else len(np.unique(cluster)) - 1


def _sum_squares(scores: np.ndarray, cluster: np.ndarray | None) -> np.ndarray:
    """Covariance (K, K) from influence values (n, K) of the sum: HC1, or by cluster with the same kind of factor."""
    n, k = scores.shape
    if cluster is None:
        return scores.T @ scores * (n / (n - k))
    totals = sum_clusters(scores, cluster)
    groups = len(totals)
    return totals.T @ totals * (groups / max(groups - 1, 1)) * ((n - 1) / (n - k))


def _slope_of(sums: np.ndarray) -> np.ndarray:
    """Slope of r on z from sums (..., 5) of 1, z, r, z^2 and z r; NaN where z does not vary."""
    n, z, r, zz, zr = np.moveaxis(sums, -1, 0)
    spread = zz - z * z / n
    varies = spread > _SAME * np.maximum(zz, _SAME)
    return np.where(varies, (zr - z * r / n) / np.where(varies, spread, 1.0), np.nan)


def fit_least_squares(x: np.ndarray, y: np.ndarray, cluster: np.ndarray | None) -> tuple[float, float]:
    """Slope of the second column and its robust error."""
    inverse = np.linalg.inv(x.T @ x)
    coefficients = inverse @ (x.T @ y)
    scores = (x * (y - x @ coefficients)[:, None]) @ inverse
    return float(coefficients[1]), math.sqrt(float(_sum_squares(scores, cluster)[1, 1]))


def _fit_log_squares(x: np.ndarray, squares: np.ndarray, cluster: np.ndarray | None) -> tuple[float, float]:
    """The Park test by least squares; NaN where a residual is nought and has no logarithm."""
    if (squares <= 0).any():
        return math.nan, math.nan
    return fit_least_squares(x, np.log(squares), cluster)
