"""Weighted regressions with errors that hold whatever the outcome's variance: marginal structural models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import stats

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault
from evalkit.core.faults import refuse
from evalkit.estimators.people.influence import sum_clusters
from evalkit.estimators.people.outcome_models import Family, fit_outcome_glm

StructuralErrors = Literal["HC0", "HC1", "HC3", "model"]


@dataclass(frozen=True)
class StructuralOptions:
    """`errors`: HC0 (with clusters CR0, as R's geeglm with an independence correlation); HC1, times n / (n - q), or
    with clusters G / (G - 1) times (n - 1) / (n - q); HC3 (linear, without clusters); "model" trusts the family."""

    family: Family = "linear"
    errors: StructuralErrors = "HC0"


@dataclass(frozen=True)
class StructuralFit:
    """`coefficients` (q,), by `names`, and their `variance` (q, q), from `n` rows in `n_clusters` clusters."""

    names: tuple[str, ...]
    coefficients: np.ndarray
    variance: np.ndarray
    n: int
    n_clusters: int

    @property
    def se(self) -> np.ndarray:
        return np.sqrt(np.diag(self.variance))


def fit_marginal_structural(
    design: np.ndarray,
    outcome: np.ndarray,
    weights: np.ndarray,
    *,
    names: Sequence[str],
    cluster: np.ndarray | None = None,
    options: StructuralOptions = StructuralOptions(),
) -> StructuralFit:
    """Weighted generalised linear model with its canonical link, and a sandwich that takes the weights as given.

    With weights of inverse probability its coefficients are those of a marginal structural model; taking the weights
    as given makes the errors of ATE weights a little too large. `estimate_effect` counts the weights' own error.

    Parameters
    ----------
    design : float array, shape (n, q), the intercept among its columns, first
    outcome : float array, shape (n,)
    weights : float array, shape (n,), not negative
    names : q names
    cluster : int array, shape (n,); by default each row is its own

    Raises
    ------
    ParameterError
        Shapes that do not fit, values that are not finite, weights negative or not finite, outcomes that the family
        cannot have, HC3 with clusters or another family.
    NotEstimable
        A column is a combination of others, or its coefficient runs to infinity.

    References
    ----------
    Robins, Hernan and Brumback 2000, Epidemiology 11:550; Liang and Zeger 1986, Biometrika 73:13; MacKinnon and White
    1985, J Econometrics 29:305.
    """
    _check(design, outcome, weights, tuple(names), cluster, options)
    fit = fit_outcome_glm(design, outcome, weights[None], family=options.family, names=tuple(names))
    n, q = design.shape
    group = np.arange(n) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    groups = int(group.max()) + 1
    bread = np.linalg.inv((design * fit.curvature[:, None]).T @ design)
    if options.errors == "model":
        scale = 1.0
        if options.family == "linear":
            residual = outcome - design @ fit.coefficients[0]
            scale = float(weights @ residual**2) / (int((weights > 0).sum()) - q)
        return StructuralFit(tuple(names), fit.coefficients[0], bread * scale, n, groups)
    score = fit.score
    if options.errors == "HC3":
        leverage = weights * np.einsum("ij,jk,ik->i", design, bread, design)
        score = score / (1 - leverage)
    totals = sum_clusters(design * score[:, None], group)
    factor = 1.0
    if options.errors == "HC1":
        factor = n / (n - q) if cluster is None else groups / (groups - 1) * (n - 1) / (n - q)
    return StructuralFit(tuple(names), fit.coefficients[0], factor * bread @ (totals.T @ totals) @ bread, n, groups)


def compute_intervals(
    fit: StructuralFit, *, level: float = 0.95, distribution: Literal["normal", "t"] = "normal"
) -> np.ndarray:
    """Lower and upper ends, shape (q, 2); "t" has n - q degrees of freedom, as R's `confint` of a linear model."""
    tail = 0.5 + level / 2
    reach = stats.norm.ppf(tail) if distribution == "normal" else stats.t.ppf(tail, fit.n - len(fit.coefficients))
    return fit.coefficients[:, None] + np.array([-reach, reach]) * fit.se[:, None]


def _check(
    design: np.ndarray,
    outcome: np.ndarray,
    weights: np.ndarray,
    names: tuple[str, ...],
    cluster: np.ndarray | None,
    options: StructuralOptions,
) -> None:
    if not (len(design) == len(outcome) == len(weights)) or len(names) != design.shape[1]:
        got = f"design {design.shape}, outcome {outcome.shape}, weights {weights.shape}, {len(names)} names"
        refuse([Fault("marginal structural model", "the shapes do not fit each other", got)])
    faults = [
        Fault(name, "this choice is not known", str(value), ", ".join(get_args(allowed)))
        for name, value, allowed in (("family", options.family, Family), ("errors", options.errors, StructuralErrors))
        if value not in get_args(allowed)
    ]
    for name, values in (("design", design.sum(axis=1)), ("outcome", outcome), ("weights", weights)):
        bad = int((~np.isfinite(values)).sum())
        if bad:
            faults.append(Fault(name, f"{how_many(bad)} are missing or infinite",
                                next_step=f"`np.flatnonzero(~np.isfinite({name}))` finds them."))  # fmt: skip
    if (weights < 0).any():
        faults.append(Fault("weights", f"{how_many(int((weights < 0).sum()))} are negative",
                            next_step="`np.flatnonzero(weights < 0)` finds them."))  # fmt: skip
    if options.family == "logistic" and ((outcome < 0) | (outcome > 1)).any():
        faults.append(Fault("outcome", "a logistic model needs an outcome from 0 to 1"))
    if options.family == "poisson" and (outcome < 0).any():
        faults.append(Fault("outcome", "a count cannot be negative"))
    if cluster is not None and len(cluster) != len(design):
        faults.append(Fault("cluster", "there is not one for each row"))
    if options.errors == "HC3" and (cluster is not None or options.family != "linear"):
        faults.append(Fault("errors", "HC3 is for linear models without clusters", "HC3", "HC0, HC1"))
    refuse(faults)
