"""Accelerated failure time models: Weibull, exponential, log-normal and log-logistic, by maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import linalg, special

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import cause_faults
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults, is_whole

Distribution = Literal["weibull", "exponential", "lognormal", "loglogistic"]
Parts = tuple[np.ndarray, np.ndarray, np.ndarray]  # a function of the scaled log time and its two derivatives

_STILL = 1e-9  # Newton step, in standard errors
_SINGULAR = 1e-10


@dataclass(frozen=True)
class ParametricOptions:
    """`distribution` of time; `cause`: events of other causes are censoring."""

    distribution: Distribution = "weibull"
    cause: int = 1
    max_iterations: int = 100


@dataclass(frozen=True)
class ParametricFit:
    """log T = intercept + x b + scale W, with W extreme-value, normal or logistic.

    `coefficients` (k,) with the intercept first; `scale` 1 for the exponential. `variance` and
    `robust_variance` (k, k), or (k + 1, k + 1) with log(scale) last where it is estimated; the robust one sums
    scores by cluster. `log_likelihood` is of times, not of their logs (as R's survreg).
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    scale: float
    variance: np.ndarray
    robust_variance: np.ndarray
    log_likelihood: float
    n: int
    n_events: int
    iterations: int
    options: ParametricOptions

    @property
    def akaike(self) -> float:
        """Minus twice the log-likelihood plus twice the number of parameters."""
        return -2 * self.log_likelihood + 2 * len(self.variance)


def fit_parametric(follow_up: FollowUp, *, options: ParametricOptions | None = None) -> ParametricFit:
    """Fit an accelerated failure time model: R's `survreg`, and delayed entry too.

    Newton's method on exact derivatives. Who enters late contributes the chance given survival so far. Weights
    multiply a row's log-likelihood; `exp` of a coefficient is a ratio of times.

    Raises
    ------
    ParameterError
        An unknown distribution or cause; entry before 0; several strata, in which times cannot share a scale.
    NotEstimable
        No events; a covariate made up of others; no convergence (as where all of a group is censored).

    References
    ----------
    Kalbfleisch and Prentice 2002, The Statistical Analysis of Failure Time Data, ch. 3.
    """
    options = options or ParametricOptions()
    _require_usable(follow_up, options)
    names = ("intercept", *follow_up.names)
    centre = np.average(follow_up.covariates, axis=0, weights=follow_up.weights)
    spread = np.sqrt(np.average((follow_up.covariates - centre) ** 2, axis=0, weights=follow_up.weights))
    flat = spread <= _SINGULAR * np.abs(follow_up.covariates).max(axis=0)
    if flat.any():
        raise NotEstimable([Fault(follow_up.names[j], "it does not vary") for j in np.flatnonzero(flat)])
    x = np.column_stack([np.ones(len(follow_up)), (follow_up.covariates - centre) / spread])
    _require_full_rank(x, names)
    theta, scores, information, log_likelihood, iterations = _maximise(follow_up, x, options, names)
    # Back from centred and scaled covariates.
    k = len(names)
    back = np.eye(len(theta))
    back[np.arange(1, k), np.arange(1, k)] = 1 / spread
    back[0, 1:k] = -centre / spread
    variance = back @ linalg.inv(information) @ back.T
    codes = np.unique(follow_up.cluster, return_inverse=True)[1]
    sums = np.stack([np.bincount(codes, column) for column in scores.T], axis=1)
    moved = sums @ linalg.inv(information) @ back.T
    free = len(theta) > k
    return ParametricFit(
        names, back[:k, :k] @ theta[:k], math.exp(theta[-1]) if free else 1.0, variance, moved.T @ moved,
        log_likelihood, len(follow_up), follow_up.n_events(options.cause), iterations, options,
    )  # fmt: skip


def _require_usable(follow_up: FollowUp, options: ParametricOptions) -> None:
    faults = []
    faults += choice_faults("distribution", options.distribution, tuple(_PARTS))
    faults += cause_faults(options.cause, follow_up.causes)
    if not (is_whole(options.max_iterations) and options.max_iterations >= 1):
        faults.append(Fault("max_iterations", "a whole number from 1 is wanted", str(options.max_iterations)))
    if (follow_up.entry < 0).any():
        faults.append(Fault("entry", "times before 0 have no logarithm", allowed="0 or more"))
    if len(np.unique(follow_up.stratum)) > 1:
        faults.append(Fault("stratum", "one scale cannot serve several strata", next_step="Fit them one by one."))
    if faults:
        raise ParameterError(faults)
    if not follow_up.n_events(options.cause):
        raise NotEstimable(Fault("events", "there are none", next_step="Check the cause and the window."))


def _require_full_rank(x: np.ndarray, names: tuple[str, ...]) -> None:
    gram = x.T @ x / len(x)
    for j in range(1, len(names)):
        cross = gram[:j, j]
        if gram[j, j] - cross @ linalg.solve(gram[:j, :j], cross, assume_a="pos") <= _SINGULAR:
            raise NotEstimable(Fault(names[j], f"it is made up of {', '.join(names[1:j])}", next_step="Leave one out."))


def _maximise(
    follow_up: FollowUp, x: np.ndarray, options: ParametricOptions, names: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, int]:
    event = follow_up.event == options.cause
    start = np.log(follow_up.exit) - follow_up.offset
    theta = linalg.lstsq(x, start)[0]
    if options.distribution != "exponential":
        theta = np.append(theta, math.log(max(float((start - x @ theta).std()), 1e-3)))
    value, scores, information = _derivatives(follow_up, x, event, theta, options.distribution)
    step = np.full_like(theta, np.nan)
    for iteration in range(1, options.max_iterations + 1):
        gradient = scores.sum(axis=0)
        size, axes = linalg.eigh(information)
        # Away from the maximum the curvature may have the wrong sign; its size still tells how far to go.
        curvature = np.maximum(np.abs(size), 1e-10 * np.abs(size).max())
        step = axes @ ((axes.T @ gradient) / curvature)
        for _ in range(50):
            then = _derivatives(follow_up, x, event, theta + step, options.distribution)
            if then[0] >= value - 1e-12 * abs(value):
                break
            step = step / 2
        theta = theta + step
        value, scores, information = then
        in_errors = np.sqrt(max(float(step @ information @ step), 0.0) / follow_up.weights.mean())
        if size.min() > 0 and in_errors < _STILL and np.abs(step).max() < 1e-4:
            return theta, scores, information, value, iteration
    moves = np.abs(step) > 0.1 * np.abs(step).max()
    moving = [name for name, still in zip([*names, "scale"], moves, strict=False) if still]
    said = moving[1:] if moving[0] == "intercept" and len(moving) > 1 else moving  # it moves with what it is less of
    raise NotEstimable([
        Fault(
            name, f"no convergence: it still moves after {options.max_iterations} steps",
            next_step="Look for a group without events, for times that are all alike, and for outlying values.",
        )
        for name in said
    ])  # fmt: skip


def _derivatives(
    follow_up: FollowUp, x: np.ndarray, event: np.ndarray, theta: np.ndarray, distribution: Distribution
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-likelihood, scores (n, parameters) and minus the second derivative; -inf where it overflows."""
    k = x.shape[1]
    free = len(theta) > k
    scale = math.exp(np.clip(theta[-1], -50, 50)) if free else 1.0
    eta = x @ theta[:k] + follow_up.offset
    w = follow_up.weights
    z = (np.log(follow_up.exit) - eta) / scale
    late = follow_up.entry > 0
    z_in = (np.log(np.where(late, follow_up.entry, 1.0)) - eta) / scale
    if np.abs(np.concatenate([z, z_in[late]])).max() > 500:
        return -math.inf, np.zeros((len(x), len(theta))), np.eye(len(theta))
    density, survival = _PARTS[distribution]
    of_event, of_censored, of_entry = density(z), survival(z), survival(np.where(late, z_in, 0.0))
    log_time = np.log(follow_up.exit) + math.log(scale)
    value = float(w @ (np.where(event, of_event[0] - log_time, of_censored[0]) - late * of_entry[0]))
    first, second = (np.where(event, of_event[j], of_censored[j]) for j in (1, 2))
    first_in, second_in = (late * of_entry[j] for j in (1, 2))
    scores = x * (-w * (first - first_in) / scale)[:, None]
    curvature = w * (second - second_in) / scale**2
    information = -(x * curvature[:, None]).T @ x
    if free:
        tail = -(first * z - first_in * z_in) - event
        scores = np.column_stack([scores, w * tail])
        mixed = w * (second * z + first - second_in * z_in - first_in) / scale
        last = w @ (second * z**2 + first * z - second_in * z_in**2 - first_in * z_in)
        side = -(mixed @ x)
        information = np.block([[information, side[:, None]], [side[None, :], np.array([[-last]])]])
    return value, scores, information


def _extreme_density(z: np.ndarray) -> Parts:
    e = np.exp(z)
    return z - e, 1 - e, -e


def _extreme_survival(z: np.ndarray) -> Parts:
    e = np.exp(z)
    return -e, -e, -e


def _normal_density(z: np.ndarray) -> Parts:
    return -0.5 * z**2 - 0.5 * math.log(2 * math.pi), -z, np.full_like(z, -1.0)


def _normal_survival(z: np.ndarray) -> Parts:
    log_survival = special.log_ndtr(-z)
    hazard = np.exp(-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - log_survival)
    return log_survival, -hazard, -hazard * (hazard - z)


def _logistic_density(z: np.ndarray) -> Parts:
    p = special.expit(z)
    return z - 2 * np.logaddexp(0, z), 1 - 2 * p, -2 * p * (1 - p)


def _logistic_survival(z: np.ndarray) -> Parts:
    p = special.expit(z)
    return -np.logaddexp(0, z), -p, -p * (1 - p)


_PARTS: dict[str, tuple[Callable[[np.ndarray], Parts], Callable[[np.ndarray], Parts]]] = {
    "weibull": (_extreme_density, _extreme_survival),
    "exponential": (_extreme_density, _extreme_survival),
    "lognormal": (_normal_density, _normal_survival),
    "loglogistic": (_logistic_density, _logistic_survival),
}
