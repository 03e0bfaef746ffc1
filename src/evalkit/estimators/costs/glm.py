"""Generalised linear models of cost: coefficients, dispersion and errors as R's glm and sandwich have them.

Families and links are in `glm_families`. Costs of nought are allowed for the gamma with a log link, which R refuses:
only the mean and the variance as a function of it enter the estimating equation, which is defined there and has one
root; what is not defined is the deviance and the likelihood, and they are NaN with the reason.

Source: McCullagh and Nelder 1989, Generalized Linear Models, 2nd ed.; Zeileis 2006, J Stat Softw 16(9) (sandwich);
Cameron and Miller 2015, J Human Resources 50:317 (clusters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.cohort.frames import as_numbers, how_many
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults, is_finite, refuse, whole_faults
from evalkit.estimators.costs.glm_families import (
    Family,
    Link,
    compute_deviance,
    compute_log_likelihood,
    compute_variance,
    compute_working,
    invert_link,
    is_inside,
    outcome_faults,
    pair_faults,
)
from evalkit.estimators.costs.glm_solve import Problem, build_problem, find_start, solve
from evalkit.estimators.people.influence import sum_clusters
from evalkit.estimators.people.logistic import find_redundant, find_separating

Errors = Literal["model", "HC0", "HC1", "cluster"]
_ERRORS = ("model", "HC0", "HC1", "cluster")
_WHERE = "generalised linear model"


@dataclass(frozen=True)
class GlmOptions:
    """`errors`: "model" (dispersion x inverse information), "HC0", "HC1" or "cluster" (sandwich).

    `tolerance` is of the relative change of the deviance, as R's `epsilon`; steps are held to sqrt(tolerance) / 10,000
    standard deviations of the predictor, so that coefficients too have settled, and not only the deviance.
    """

    family: Family = "gamma"
    link: Link = "log"
    errors: Errors = "HC1"
    max_iterations: int = 100
    tolerance: float = 1e-12


@dataclass(frozen=True)
class GlmModel:
    """A fitted model of n people and p columns.

    Attributes
    ----------
    coefficients : (p,), with `names`
    covariance : (p, p), as `options.errors` says; `standard_errors` (p,) are the roots of its diagonal
    bread : (p, p), inverse of X' W X at the estimate (R's `cov.unscaled`)
    scores : (n, p), each person's weighted quasi-score; `scores @ bread` are influences on the coefficients
    linear_predictor, mu : (n,), with the offset
    dispersion : Pearson's chi-squared over n - p, or 1 for the binomial
    deviance, log_likelihood : NaN where not defined, with `deviance_reason`, `log_likelihood_reason`
    n_people : people with a weight above 0
    """

    coefficients: np.ndarray
    covariance: np.ndarray
    names: tuple[str, ...]
    options: GlmOptions
    bread: np.ndarray
    scores: np.ndarray = field(repr=False)
    linear_predictor: np.ndarray = field(repr=False)
    mu: np.ndarray = field(repr=False)
    dispersion: float
    deviance: float
    deviance_reason: str
    log_likelihood: float
    log_likelihood_reason: str
    n_people: int
    iterations: int

    @property
    def standard_errors(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))

    @property
    def influence(self) -> np.ndarray:
        """What each person adds to the coefficients, shape (n, p): their cross-product is the HC0 covariance."""
        return self.scores @ self.bread


@dataclass(frozen=True)
class GlmDraws:
    """Coefficients (B, p) of B replicates; rows that could not be fitted are NaN and `fitted` (B,) is False.

    Not fitted are replicates in which a column has lost its variation, a maximum does not exist (separation, a group
    without any cost) or steps do not settle.
    """

    coefficients: np.ndarray
    fitted: np.ndarray


def fit_glm(
    x: np.ndarray,
    y: np.ndarray,
    *,
    options: GlmOptions = GlmOptions(),
    weights: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    cluster: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> GlmModel:
    """Quasi-likelihood estimates of E(y) = h(x'b + offset), with their covariance.

    With A = sum w h'^2 / V x x' and u_i = w_i (y_i - mu_i) h' / V x_i: "model" phi A^-1, phi Pearson's dispersion;
    "HC0" A^-1 (sum u u') A^-1; "HC1" that times n / (n - p); "cluster" A^-1 (sum_g u_g u_g') A^-1 times G / (G - 1)
    times (n - 1) / (n - p), u_g the sum over a cluster. A is the expected information, as in R; Stata's robust error of
    a link that is not canonical takes the observed one.

    Parameters
    ----------
    x : float array, shape (n, p)
        The whole design: add the intercept with `logistic.add_intercept`.
    y : float array, shape (n,)
        Costs in any unit; 0 to 1 for the binomial.
    weights : float array, shape (n,), not negative, as R's prior weights; their scale is of account to the
        dispersion only. With sampling weights choose a sandwich.
    cluster : array, shape (n,), who belongs together; with errors="cluster" only
    names : p names of the columns, for messages

    Raises
    ------
    ParameterError
        Unknown or unfitting options, shapes, missing values, negative costs, negative weights.
    NotEstimable
        Too few people, redundant columns, separation or no cost at all in a group, no convergence, all by name.
    """
    refuse(option_faults(options))
    x, y = as_numbers(np.asarray(x), "design"), as_numbers(np.asarray(y), "outcome")
    labels = tuple(names) if names is not None else tuple(f"column {j}" for j in range(np.shape(x)[-1]))
    w = np.ones(len(y)) if weights is None else as_numbers(np.asarray(weights), "weights")
    _check(x, y, np.atleast_2d(w), offset, labels, options)
    _check_cluster(cluster, w, options)
    used = w > 0
    _require_rank(x[used], labels)
    problem = _build(x, y, offset, options)
    start = find_start(problem, w)
    if start is None:
        raise _no_start(y[used], options)
    solution = solve(problem, w[None, :], start)
    coefficients = np.linalg.solve(problem.r, solution.gamma[0])
    if not solution.fitted[0]:
        raise _not_converged(x[used], y[used], coefficients, labels, options)
    return _finish(problem, solution.gamma[0], x, w, cluster, labels, options, solution.iterations)


def fit_glm_draws(
    x: np.ndarray,
    y: np.ndarray,
    counts: np.ndarray,
    *,
    options: GlmOptions = GlmOptions(),
    offset: np.ndarray | None = None,
    base: np.ndarray | None = None,
) -> GlmDraws:
    """Coefficients of B replicates, begun at those of all people (`base` weights (n,), or all one).

    Parameters
    ----------
    counts : array, shape (B, n), how often each person was drawn (times the sampling weight, if there is one)

    Other arguments are as in `fit_glm`. Each row equals `fit_glm(x, y, weights=counts[b])` and depends on no other.

    Raises
    ------
    ParameterError, NotEstimable
        As `fit_glm`, of the fit to everybody; counts that are negative, missing or all nought in a replicate.
    """
    refuse(option_faults(options))
    x, y = as_numbers(np.asarray(x), "design"), as_numbers(np.asarray(y), "outcome")
    w = np.ones(len(y)) if base is None else as_numbers(np.asarray(base), "base")
    labels = tuple(f"column {j}" for j in range(np.shape(x)[-1]))
    _check(x, y, np.atleast_2d(w), offset, labels, options)
    _check(x, y, np.atleast_2d(counts), offset, labels, options)
    _require_rank(x[w > 0], labels)
    problem = _build(x, y, offset, options)
    start = find_start(problem, w)
    if start is None:
        raise _no_start(y[w > 0], options)
    first = solve(problem, w[None, :], start)
    if not first.fitted[0]:
        raise _not_converged(x[w > 0], y[w > 0], np.linalg.solve(problem.r, first.gamma[0]), labels, options)
    solution = solve(problem, np.atleast_2d(counts), first.gamma[0])
    coefficients = np.linalg.solve(problem.r, solution.gamma.T).T
    return GlmDraws(np.where(solution.fitted[:, None], coefficients, np.nan), solution.fitted)


def predict_glm(
    x: np.ndarray, coefficients: np.ndarray, *, options: GlmOptions, offset: np.ndarray | None = None
) -> np.ndarray:
    """Means, shape (n,) for coefficients (p,), or (B, n) for (B, p); NaN for one the family cannot have."""
    eta = coefficients @ x.T
    return _means(eta if offset is None else eta + offset, options)


def _means(eta: np.ndarray, options: GlmOptions) -> np.ndarray:
    return np.where(is_inside(eta, options.family, options.link), invert_link(eta, options.link), np.nan)


def option_faults(options: GlmOptions) -> list[Fault]:
    """What is wrong with the options, all at once."""
    faults = pair_faults(options.family, options.link) + choice_faults("errors", options.errors, _ERRORS)
    faults += whole_faults("max_iterations", options.max_iterations, least=1)
    if not (is_finite(options.tolerance) and 0 < options.tolerance <= 1e-4):
        faults.append(Fault("tolerance", "out of range", str(options.tolerance), "above 0, up to 1e-4"))
    return faults


def _build(x: np.ndarray, y: np.ndarray, offset: np.ndarray | None, options: GlmOptions) -> Problem:
    return build_problem(
        x, y, offset, family=options.family, link=options.link,
        max_iterations=options.max_iterations, tolerance=options.tolerance,
    )  # fmt: skip


def _finish(
    problem: Problem, gamma: np.ndarray, x: np.ndarray, w: np.ndarray, cluster: np.ndarray | None,
    names: tuple[str, ...], options: GlmOptions, iterations: int,
) -> GlmModel:  # fmt: skip
    """Dispersion, deviance and covariance at the estimate."""
    family = options.family
    eta = problem.q @ gamma + problem.offset
    used = w > 0  # others may have a mean that the family cannot have
    q, y, here, n, p = problem.q[used], problem.y[used], w[used], int(used.sum()), x.shape[1]
    working = compute_working(y, eta[used], family, options.link)
    mean, back = working.mean, np.linalg.inv(problem.r)
    bread = back @ np.linalg.inv((q * (here * working.information)[:, None]).T @ q) @ back.T
    scores = np.zeros(x.shape)
    scores[used] = (here * working.score)[:, None] * x[used]
    dispersion = 1.0
    if family != "binomial":
        dispersion = float(here @ ((y - mean) ** 2 / compute_variance(mean, family))) / (n - p)
    deviance, deviance_reason = compute_deviance(y, mean, here, family)
    log_likelihood, log_reason = compute_log_likelihood(y, mean, here, family, deviance)
    mu = _means(eta, options)
    covariance = _covariance(bread, scores, dispersion, n, cluster, options.errors)
    return GlmModel(
        np.linalg.solve(problem.r, gamma), covariance, names, options, bread, scores, eta, mu, dispersion, deviance,
        deviance_reason, log_likelihood, log_reason, n, iterations,
    )  # fmt: skip


def _covariance(
    bread: np.ndarray, scores: np.ndarray, dispersion: float, n: int, cluster: np.ndarray | None, errors: Errors
) -> np.ndarray:
    if errors == "model":
        return dispersion * bread
    factor, p = 1.0, len(bread)
    influence = scores @ bread
    if errors == "HC1":
        factor = n / (n - p)
    if errors == "cluster":
        influence = sum_clusters(influence, cluster)
        groups = len(influence)
        factor = groups / (groups - 1) * (n - 1) / (n - p)
    return factor * influence.T @ influence


def _check(
    x: np.ndarray, y: np.ndarray, weights: np.ndarray, offset: np.ndarray | None, names: tuple[str, ...],
    options: GlmOptions,
) -> None:  # fmt: skip
    """Raise ParameterError with all that is wrong with the numbers."""
    shapes = (np.ndim(x), np.ndim(y), np.ndim(weights)) == (2, 1, 2)
    if not shapes or not len(x) == len(y) == weights.shape[1] or len(names) != x.shape[1] or (
        offset is not None and np.shape(offset) != np.shape(y)
    ):  # fmt: skip
        got = f"x {np.shape(x)}, y {np.shape(y)}, weights {np.shape(weights)}, {len(names)} names"
        raise ParameterError(Fault(_WHERE, "the shapes do not fit each other", got))
    if not len(y):
        raise NotEstimable(Fault(_WHERE, "there is nobody"))
    faults = []
    for what, values in (("outcome", y), ("offset", np.zeros(1) if offset is None else offset)):
        if not np.isfinite(values).all():
            count = int((~np.isfinite(values)).sum())
            faults.append(Fault(what, f"{how_many(count)} are missing or infinite"))
    missing = np.flatnonzero(~np.isfinite(x).all(axis=0))
    faults += [Fault(names[j], f"{how_many(int((~np.isfinite(x[:, j])).sum()))} are missing or infinite")
               for j in missing]  # fmt: skip
    totals, used = weights.sum(axis=1), (weights > 0).any(axis=0)
    if np.isfinite(y).all() and used.any():
        faults += outcome_faults(y[used], options.family, options.link)
    if not weights.min() >= 0 or not np.isfinite(totals).all() or not (totals > 0).all():
        faults.append(Fault("weights", "weights are negative or not finite, or are all nought"))
    refuse(faults)


def _check_cluster(cluster: np.ndarray | None, w: np.ndarray, options: GlmOptions) -> None:
    if (cluster is None) == (options.errors == "cluster"):
        what = "errors are clustered, so clusters are needed" if cluster is None else "clusters are given but not used"
        raise ParameterError(Fault("cluster", what, next_step='Give both cluster and errors="cluster", or neither.'))
    if cluster is None:
        return
    if len(cluster) != len(w):
        raise ParameterError(
            Fault("cluster", "the shapes do not fit each other", f"{len(cluster)} for {len(w)} people")
        )
    if pd.isna(cluster).any():
        raise ParameterError(Fault("cluster", f"{how_many(int(pd.isna(cluster).sum()))} are empty"))
    if len(np.unique(np.asarray(cluster)[w > 0])) < 2:
        raise NotEstimable(Fault("cluster", "there is one cluster only, so no spread between clusters"))


def _require_rank(x: np.ndarray, names: tuple[str, ...]) -> None:
    """Raise NotEstimable for too few people, and for columns that others explain, by name."""
    n, p = x.shape
    if n <= p:
        raise NotEstimable(Fault(_WHERE, "there are no more people than columns", f"{p} columns", "more people"))
    redundant = find_redundant(x)
    if redundant.any():
        raise NotEstimable([
            Fault(names[j], "this column is constant, or a combination of the columns before it",
                  next_step="Leave it out.") for j in np.flatnonzero(redundant)
        ])  # fmt: skip


def _no_start(y: np.ndarray, options: GlmOptions) -> NotEstimable:
    if not (y > 0).any():
        return NotEstimable(Fault("outcome", "nobody has any cost, so there is no mean to model"))
    step = "Look at costs below nought." if options.link == "log" else 'Take link="log", or add an intercept.'
    return NotEstimable(Fault("link", f'no design gives everybody a mean above nought by the link "{options.link}"',
                              next_step=step))  # fmt: skip


def _not_converged(
    x: np.ndarray, y: np.ndarray, coefficients: np.ndarray, names: tuple[str, ...], options: GlmOptions
) -> NotEstimable:
    """The refusal where no estimate was reached, with the columns that are to blame."""
    spread = x.std(axis=0)
    reach = np.abs(coefficients) * spread
    far = reach > 0.1 * reach.max() if reach.max() > 0 else np.ones(len(names), dtype=bool)
    if options.family == "binomial":
        guilty = find_separating(x, y)
        what = "the outcome is separated: coefficients run to infinity"
        step = "Join rare categories, or leave the covariate out."
    elif options.link == "log" and (y == 0).any():
        some = x[y > 0] if (y > 0).any() else x[:0]
        guilty = (np.ptp(some, axis=0) == 0) & (spread > 0) if len(some) else np.zeros(len(names), dtype=bool)
        what = "a group has no cost at all, so its logarithm runs to minus infinity, or steps did not settle"
        step = "Join the group to another, or leave the covariate out."
    else:
        guilty = np.zeros(len(names), dtype=bool)
        what = f"no convergence in {options.max_iterations} steps"
        if options.link in ("identity", "sqrt") and options.family != "gaussian":
            what += ", or an estimate at which somebody's mean is nought"
        step = f'Look for outlying values, or take another link than "{options.link}".'
    chosen = guilty if guilty.any() else far
    named = ", ".join(name for name, yes in zip(names, chosen, strict=True) if yes)
    return NotEstimable(Fault(named or _WHERE, what, next_step=step))
