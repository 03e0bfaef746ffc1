"""Linear regression of log cost, and the way back to the mean in pounds.

E(y | x) = exp(x'b) E(exp(e) | x). The factor E(exp(e)) is 1 (naive: the mean is then a geometric one, too low),
exp(s^2 / 2) for normal errors, or the mean of exp(residual) (Duan's smearing), of everybody or of each group where the
spread of log cost differs between groups.

Errors are of the whole: with psi_i the influence of person i on b, M_g the sum over people meant of exp(x'b) that bear
the factor of group g, an estimate T(b, f) has influence psi_i' dT/db + sum_g M_g df_g, so that the spread of the factor
and that it rests on the same b are both in it.

Source: Duan 1983, J Am Stat Assoc 78:605; Manning 1998, J Health Economics 17:283 (groups of differing variance).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults, refuse
from evalkit.estimators.costs.glm import Errors, GlmModel, GlmOptions, fit_glm
from evalkit.estimators.people.influence import sum_clusters

Smearing = Literal["naive", "normal", "duan"]
_METHODS = ("naive", "normal", "duan")
_WHERE = "log-linear model"
_LARGEST_LOG = 700.0


@dataclass(frozen=True)
class LogOls:
    """Linear regression of log cost: `model` has coefficients and covariance, `residuals` (n,) are of log cost.

    `sigma` is the residual standard deviation with n - p below, `r_squared` the share of the variance of log cost.
    """

    model: GlmModel
    x: np.ndarray = field(repr=False)
    residuals: np.ndarray = field(repr=False)
    sigma: float
    r_squared: float
    cluster: np.ndarray | None = field(repr=False)


@dataclass(frozen=True)
class Retransformed:
    """A mean cost, or a difference of two, in the unit of the cost, with its standard error, people meant held fixed.

    `factors` (G,) are what exp(x'b) is multiplied by, one a group of the fit (one in all without groups).
    """

    value: float
    se: float
    factors: np.ndarray
    method: Smearing


def fit_log_ols(
    x: np.ndarray,
    y: np.ndarray,
    *,
    errors: Errors = "HC1",
    cluster: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> LogOls:
    """Least squares of log y (n,) on the whole design x (n, p), intercept included.

    Raises
    ------
    ParameterError
        As `fit_glm`, and for costs that are not positive: they have no logarithm.
    NotEstimable
        As `fit_glm`; log cost that does not vary.
    """
    y = np.asarray(y, dtype=np.float64)
    low = int((y <= 0).sum())
    if low:
        step = "Take a two-part model, or a generalised linear model with a log link."
        raise ParameterError(Fault("outcome", f"{how_many(low)} have no cost, so no logarithm", next_step=step))
    if not np.isfinite(y).all():
        bad = how_many(int((~np.isfinite(y)).sum()))
        raise ParameterError(Fault("outcome", f"{bad} are missing or infinite"))
    log_y = np.log(y)
    if len(y) and not np.ptp(log_y) > 0:
        raise NotEstimable(Fault("outcome", "log cost does not vary"))
    options = GlmOptions(family="gaussian", link="identity", errors=errors)
    model = fit_glm(x, log_y, options=options, cluster=cluster, names=names)
    total = float(((log_y - log_y.mean()) ** 2).sum())
    design = np.asarray(x, dtype=np.float64)
    return LogOls(
        model, design, log_y - model.mu, math.sqrt(model.dispersion), 1 - model.deviance / total, cluster
    )  # fmt: skip


def compute_retransformed_mean(
    fit: LogOls,
    x: np.ndarray,
    *,
    method: Smearing = "duan",
    groups: np.ndarray | None = None,
    target_groups: np.ndarray | None = None,
) -> Retransformed:
    """Mean cost of people with design x (m, p): the mean of exp(x'b) times the factor of their group.

    Parameters
    ----------
    groups : array, shape (n,), group of each person of the fit, for smearing by group; by default all in one
    target_groups : array, shape (m,), group of each row of x, of those in `groups`

    Raises
    ------
    ParameterError
        An unknown method, shapes that do not fit, a group without a factor, one kind of groups without the other.
    NotEstimable
        Means too large to be written.
    """
    return _retransform(fit, [(x, 1.0, target_groups)], method, groups)


def compute_retransformed_difference(
    fit: LogOls,
    x_one: np.ndarray,
    x_nought: np.ndarray,
    *,
    method: Smearing = "duan",
    groups: np.ndarray | None = None,
    target_groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> Retransformed:
    """Mean cost under the design x_one (m, p) less that under x_nought; see `compute_retransformed_mean`.

    `target_groups` are of the rows of the one and of the other design: with smearing by treatment a person takes the
    factor of the treated in the first and of the untreated in the second.
    """
    one, nought = (None, None) if target_groups is None else target_groups
    return _retransform(fit, [(x_one, 1.0, one), (x_nought, -1.0, nought)], method, groups)


def _retransform(
    fit: LogOls,
    designs: list[tuple[np.ndarray, float, np.ndarray | None]],
    method: Smearing,
    groups: np.ndarray | None,
) -> Retransformed:
    """Signed sum of means, with the influence of the coefficients and of the factors."""
    refuse(choice_faults("method", method, _METHODS))
    labels, own = _groups(fit, groups)
    factors, spread, slopes = _factors(fit, own, len(labels), method)
    value, by_b = 0.0, np.zeros(fit.x.shape[1])
    mass = np.zeros(len(labels))
    for x, sign, target in designs:
        place = _places(labels, target, x, fit, groups)
        means = sign * _exponential(x @ fit.model.coefficients) / len(x)
        value += float(means @ factors[place])
        by_b += (means * factors[place]) @ x
        mass += np.bincount(place, weights=means, minlength=len(labels))
    influence = fit.model.influence @ (by_b + mass @ slopes) + spread @ mass
    parts = influence if fit.cluster is None else sum_clusters(influence, fit.cluster)
    return Retransformed(value, float(np.sqrt(parts @ parts)), factors, method)


def _factors(fit: LogOls, own: np.ndarray, count: int, method: Smearing) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Factors (G,), each person's influence on them with b held (n, G), and their derivative by b (G, p)."""
    member = (own[:, None] == np.arange(count)).astype(np.float64)
    size = member.sum(axis=0)
    if method == "naive":
        return np.ones(count), np.zeros_like(member), np.zeros((count, fit.x.shape[1]))
    if method == "duan":
        raised = _exponential(fit.residuals)
        factors = raised @ member / size
        slopes = -(member * raised[:, None]).T @ fit.x / size[:, None]
        return factors, member * (raised[:, None] - factors) / size, slopes
    squares = fit.residuals**2
    variance = squares @ member / size
    if count == 1:
        variance = np.array([fit.sigma**2])
    factors = _exponential(variance / 2)
    spread = member * (squares[:, None] - variance) / size * factors / 2
    slopes = -(member * fit.residuals[:, None]).T @ fit.x / size[:, None] * factors[:, None]
    return factors, spread, slopes


def _groups(fit: LogOls, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Labels of groups (G,) and the code of each person of the fit (n,)."""
    if groups is None:
        return np.zeros(1), np.zeros(len(fit.residuals), dtype=np.int64)
    if np.shape(groups) != fit.residuals.shape:
        got = f"{len(groups)} groups for {len(fit.residuals)} people"
        raise ParameterError(Fault("groups", "the shapes do not fit each other", got))
    return np.unique(groups, return_inverse=True)


def _places(
    labels: np.ndarray, target: np.ndarray | None, x: np.ndarray, fit: LogOls, groups: np.ndarray | None
) -> np.ndarray:  # fmt: skip
    """Code of the group of each row of a design (m,)."""
    if np.ndim(x) != 2 or not len(x) or x.shape[1] != fit.x.shape[1] or not np.isfinite(x).all():
        raise ParameterError(Fault(_WHERE, "the design does not fit the model, or values are missing"))
    if (groups is None) != (target is None):
        raise ParameterError(Fault("target_groups", "smearing by group needs groups and target_groups, or neither"))
    if target is None:
        return np.zeros(len(x), dtype=np.int64)
    unknown = ~np.isin(target, labels)
    if len(target) != len(x) or unknown.any():
        raise ParameterError(Fault("target_groups", "rows are in a group that nobody in the fit is in"))
    return np.searchsorted(labels, target)


def _exponential(values: np.ndarray) -> np.ndarray:
    if np.abs(values).max() > _LARGEST_LOG:
        raise NotEstimable(Fault(_WHERE, "means are too large to be written", next_step="Look for outlying values."))
    return np.exp(values)
