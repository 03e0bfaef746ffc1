"""Two-part model of cost: whether there is any, and how much where there is some.

E[y|x] = P(y > 0|x) E[y|y > 0, x]. Zeros are true zeros (nothing was spent), so a selection model, in which they hide
a latent positive cost, is not offered. The two parts are stacked as one M-estimator: people's influence on both, and
on the smearing factor, is summed within clusters before it is squared, so that errors of the whole need no
independence of the parts.

Source: Duan, Manning, Morris and Newhouse 1983, J Business and Economic Statistics 1:115 (two parts); Duan 1983,
JASA 78:605 (smearing); Belotti, Deb, Manning and Norton 2015, Stata Journal 15:3 (effects of the whole); Stefanski
and Boos 2002, American Statistician 56:29 (stacked M-estimation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults, refuse
from evalkit.estimators.costs.glm import GlmOptions, fit_glm
from evalkit.estimators.costs.glm_families import compute_bend, compute_slope, invert_link, is_inside
from evalkit.estimators.costs.stacking import (
    Averages,
    People,
    build_averages,
    compute_covariance,
)

MIN_SIDE = 10  # people with a cost, and without one, below which a first part describes a handful of people


@dataclass(frozen=True)
class TwoPartOptions:
    """How both parts are fitted.

    `first` is the link of the first part. `second` is "glm", a generalised linear model with `family` and `link`, or
    "log_ols", least squares of log cost taken back to money with Duan's smearing factor. `errors`: "HC0" takes rows
    as independent, "cluster" sums clusters first and multiplies by G / (G - 1).
    """

    first: Literal["logit", "probit"] = "logit"
    second: Literal["glm", "log_ols"] = "glm"
    family: Literal["gamma", "poisson", "gaussian", "inverse_gaussian"] = "gamma"
    link: Literal["log", "sqrt"] = "log"
    errors: Literal["HC0", "cluster"] = "HC0"
    max_iterations: int = 100
    tolerance: float = 1e-12


@dataclass(frozen=True)
class TwoPartModel:
    """Both parts, and every row's influence on their coefficients.

    Attributes
    ----------
    first, second : float arrays, shape (p,)
        Coefficients of any cost and of positive cost.
    smearing : float
        Factor that takes exp(x'b) to money; 1 where the second part is a GLM.
    influence : float array, shape (n, q), q = 2p, or 2p + 1 with the smearing factor
        By how much each row moves the estimates; sums to nought.
    covariance : float array, shape (q, q)
    weights : float array, shape (n,); cluster : int array, shape (n,)
    n_positive : int
    """

    first: np.ndarray
    second: np.ndarray
    smearing: float
    influence: np.ndarray
    covariance: np.ndarray
    weights: np.ndarray
    cluster: np.ndarray
    names: tuple[str, ...]
    n_positive: int
    options: TwoPartOptions


def fit_two_part(
    x: np.ndarray,
    y: np.ndarray,
    *,
    names: Sequence[str],
    options: TwoPartOptions = TwoPartOptions(),
    weights: np.ndarray | None = None,
    cluster: np.ndarray | None = None,
) -> TwoPartModel:
    """Fit both parts to the same covariates.

    Parameters
    ----------
    x : float array, shape (n, p), the whole design with its intercept
    y : float array, shape (n,), cost in money, nought or more
    names : p names of the columns, for messages
    weights : float array, shape (n,), positive sampling weights
    cluster : int array, shape (n,), needed where `options.errors` is "cluster"

    Raises
    ------
    ParameterError
        Shapes that do not fit, costs that are negative or not finite, weights that are not positive, clusters missing.
    NotEstimable
        Fewer than `MIN_SIDE` people with or without a cost; a column that is a combination of others, in all or among
        those with a cost; separation in the first part; no convergence.
    """
    w = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=np.float64)
    _check(x, y, w, cluster, tuple(names), options)
    paid = y > 0
    _check_sides(paid)
    part = fit_glm(x, paid.astype(np.float64), options=build_first_options(options), weights=w, names=names)
    first, influence_first = part.coefficients, part.influence
    second, smearing, influence_second = _fit_second(x[paid], y[paid], w[paid], tuple(names), options)
    influence = np.zeros((len(y), influence_first.shape[1] + influence_second.shape[1]))
    influence[:, : len(first)] = influence_first
    influence[paid, len(first) :] = influence_second
    group = np.arange(len(y)) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    covariance = compute_covariance(influence, group if options.errors == "cluster" else None)
    return TwoPartModel(
        first, second, smearing, influence, covariance, w, group, tuple(names), int(paid.sum()), options
    )  # fmt: skip


def compute_mean_cost(
    model: TwoPartModel, x: np.ndarray, *, people: People = "given", rows: np.ndarray | None = None
) -> Averages:
    """Mean of E[y|x] over people, weighted by the model's weights where these are its own rows.

    `people` "given" takes the covariates as fixed, so that only the coefficients are uncertain; "sampled" adds that
    other people might have been drawn, and needs the rows that the model was fitted to. `rows` (n,) bool picks some.

    Raises ParameterError for designs that are not the model's.
    """
    value, gradient = predict_with_gradient(model, x)
    return _average(model, ("mean",), value[:, None], gradient[:, :, None], people, rows)


def compute_contrast_cost(
    model: TwoPartModel,
    x_one: np.ndarray,
    x_nought: np.ndarray,
    *,
    people: People = "given",
    rows: np.ndarray | None = None,
    names: tuple[str, str] = ("one", "nought"),
) -> Averages:
    """Mean cost under each of two designs (n, p) for the same people: value (2,)."""
    parts = [predict_with_gradient(model, x) for x in (x_one, x_nought)]
    value = np.column_stack([part[0] for part in parts])
    gradient = np.stack([part[1] for part in parts], axis=2)
    return _average(model, names, value, gradient, people, rows)


def compute_two_part_effects(
    model: TwoPartModel,
    x: np.ndarray,
    *,
    marginal: Sequence[str] = (),
    incremental: Sequence[str] = (),
    people: People = "given",
) -> Averages:
    """Average marginal and incremental effects of covariates on E[y|x], through both parts.

    A marginal effect is the mean over people of dE[y|x]/dx_j; an incremental one the mean of E[y|x, x_j = 1] less
    E[y|x, x_j = 0]. Covariates that are functions of each other (squares, products) must be handled by
    `compute_contrast_cost` with both designs written out.

    Raises ParameterError for names that are not the model's and for an incremental effect of a column not 0 and 1.
    """
    _check_design(model, x)
    faults = [Fault(name, "the model has no such covariate", allowed=", ".join(model.names))
              for name in (*marginal, *incremental) if name not in model.names]  # fmt: skip
    refuse(faults)
    refuse(
        Fault(name, "an incremental effect is of a covariate that is 0 or 1", next_step="Ask for its marginal effect.")
        for name in incremental if not np.isin(x[:, model.names.index(name)], (0.0, 1.0)).all()
    )  # fmt: skip
    values, gradients = [], []
    for name in marginal:
        value, gradient = _slope_with_gradient(model, x, model.names.index(name))
        values.append(value)
        gradients.append(gradient)
    for name in incremental:
        (one, d_one), (nought, d_nought) = (
            predict_with_gradient(model, _set_column(x, model.names.index(name), level)) for level in (1.0, 0.0)
        )
        values.append(one - nought)
        gradients.append(d_one - d_nought)
    if not values:
        raise ParameterError(Fault("effects", "no covariate was asked for", next_step="Give marginal or incremental."))
    names = (*marginal, *incremental)
    return _average(model, names, np.column_stack(values), np.stack(gradients, axis=2), people, None)


def predict_two_part(model: TwoPartModel, x: np.ndarray) -> np.ndarray:
    """E[y|x] of each row, shape (m,), in the money of the model."""
    p, _, _ = _probability(model, x)
    mu, _, _ = _positive_mean(model, x)
    return p * mu


def predict_with_gradient(model: TwoPartModel, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[y|x] (m,) and its derivatives by the stacked coefficients (m, q)."""
    p, dp, _ = _probability(model, x)
    mu, dmu, _ = _positive_mean(model, x)
    parts = [x * (dp * mu)[:, None], x * (p * dmu)[:, None]]
    if model.options.second == "log_ols":
        parts.append((p * mu / model.smearing)[:, None])
    return p * mu, np.concatenate(parts, axis=1)


def _average(
    model: TwoPartModel,
    names: tuple[str, ...],
    value: np.ndarray,
    gradient: np.ndarray,
    people: People,
    rows: np.ndarray | None,
) -> Averages:
    """Averages of values (m, k) with gradients (m, q, k), weighted as the model where the rows are its own."""
    refuse(choice_faults("people", people, ("given", "sampled")))
    own = len(value) == len(model.weights)
    if people == "sampled" and not own:
        raise ParameterError(Fault("people", "those sampled must be the rows that the model was fitted to"))
    w = model.weights if own else np.ones(len(value))
    return build_averages(
        names, value, gradient, influence=model.influence, weights=w if rows is None else np.where(rows, w, 0.0),
        people=people, cluster=model.cluster if model.options.errors == "cluster" else None,
    )  # fmt: skip


def _set_column(x: np.ndarray, j: int, level: float) -> np.ndarray:
    changed = x.copy()
    changed[:, j] = level
    return changed


def _slope_with_gradient(model: TwoPartModel, x: np.ndarray, j: int) -> tuple[np.ndarray, np.ndarray]:
    """dE[y|x]/dx_j of each row (m,), and its derivatives by the stacked coefficients (m, q)."""
    p, dp, ddp = _probability(model, x)
    mu, dmu, ddmu = _positive_mean(model, x)
    a, b = model.first[j], model.second[j]
    value = dp * a * mu + p * dmu * b
    by_first = x * (ddp * a * mu + dp * dmu * b)[:, None]
    by_first[:, j] += dp * mu
    by_second = x * (dp * a * dmu + p * ddmu * b)[:, None]
    by_second[:, j] += p * dmu
    parts = [by_first, by_second]
    if model.options.second == "log_ols":
        parts.append((value / model.smearing)[:, None])
    return value, np.concatenate(parts, axis=1)


def _probability(model: TwoPartModel, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probability of any cost and its first two derivatives by the linear predictor."""
    _check_design(model, x)
    eta, link = x @ model.first, model.options.first
    return invert_link(eta, link), compute_slope(eta, link), compute_bend(eta, link)


def _check_design(model: TwoPartModel, x: np.ndarray) -> None:
    if x.ndim != 2 or x.shape[1] != len(model.names):
        raise ParameterError(Fault("design", "its columns are not the model's", str(x.shape), ", ".join(model.names)))


def _positive_mean(model: TwoPartModel, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of positive cost and its first two derivatives by the linear predictor."""
    eta, link = x @ model.second, model.options.link if model.options.second == "glm" else "log"
    if not is_inside(eta, model.options.family, link).all():
        step = 'Take link="log".'
        raise NotEstimable(Fault("second part", "its mean cannot be had for some people by this link", next_step=step))
    return tuple(model.smearing * part(eta, link) for part in (invert_link, compute_slope, compute_bend))


def _fit_second(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, names: tuple[str, ...], options: TwoPartOptions
) -> tuple[np.ndarray, float, np.ndarray]:
    """Coefficients, smearing factor and influence (n_positive, p or p + 1) of the part with a cost."""
    if options.second == "glm":
        fit = fit_glm(x, y, options=build_second_options(options), weights=w, names=names)
        return fit.coefficients, 1.0, fit.influence
    fit = fit_glm(x, np.log(y), options=GlmOptions("gaussian", "identity", "HC0"), weights=w, names=names)
    lift = np.exp(np.log(y) - fit.mu)
    smearing = float(np.average(lift, weights=w))
    by_smearing = (w * (lift - smearing) - fit.influence @ ((w * lift) @ x)) / w.sum()
    return fit.coefficients, smearing, np.column_stack([fit.influence, by_smearing])


def build_first_options(options: TwoPartOptions) -> GlmOptions:
    """How the part of any cost is fitted."""
    return GlmOptions("binomial", options.first, "HC0", options.max_iterations, options.tolerance)


def build_second_options(options: TwoPartOptions) -> GlmOptions:
    """How the part with a cost is fitted."""
    return GlmOptions(options.family, options.link, "HC0", options.max_iterations, options.tolerance)


def _check(
    x: np.ndarray, y: np.ndarray, w: np.ndarray, cluster: np.ndarray | None, names: tuple[str, ...],
    options: TwoPartOptions,
) -> None:  # fmt: skip
    refuse([
        *choice_faults("first", options.first, ("logit", "probit")),
        *choice_faults("second", options.second, ("glm", "log_ols")),
        *choice_faults("errors", options.errors, ("HC0", "cluster")),
        *choice_faults("family", options.family, ("gamma", "poisson", "gaussian", "inverse_gaussian")),
        *choice_faults("link", options.link, ("log", "sqrt")),
    ])  # fmt: skip
    if (
        x.ndim != 2
        or len(names) != x.shape[1]
        or any(len(part) != len(x) for part in (y, w, cluster) if part is not None)
    ):
        got = f"x {x.shape}, cost {np.shape(y)}, weights {np.shape(w)}, {len(names)} names"
        raise ParameterError(Fault("two-part model", "the shapes do not fit each other", got))
    faults = []
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        faults.append(Fault("two-part model", "values are missing or infinite", next_step="Impute or leave out first."))
    elif (y < 0).any():
        step = "Correct the table they come from."
        faults.append(
            Fault("cost", f"{how_many(int((y < 0).sum()))} are below nought", allowed="0 or more", next_step=step)
        )
    if not (np.isfinite(w).all() and (w > 0).all()):
        faults.append(Fault("weights", "some are missing or not positive"))
    if options.errors == "cluster" and cluster is None:
        faults.append(Fault("cluster", 'errors="cluster" needs to know which rows belong together'))
    refuse(faults)
    if cluster is not None and len(np.unique(cluster)) < 2:
        raise NotEstimable(Fault("cluster", "one cluster has no spread between clusters"))


def _check_sides(paid: np.ndarray) -> None:
    """Refuse a first part that would describe a handful of people."""
    faults = [
        Fault("two-part model", f"{how_many(int(side.sum()))} have {what}", "", f"{MIN_SIDE} or more", step)
        for side, what, step in (
            (~paid, "no cost, too few for a model of any", "Model everybody's cost with one GLM instead."),
            (paid, "a cost, too few for a model of how much", "Compare how many have any cost."),
        )
        if side.sum() < MIN_SIDE
    ]  # fmt: skip
    if faults:
        raise NotEstimable(faults)
