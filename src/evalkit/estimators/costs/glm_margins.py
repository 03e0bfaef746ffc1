"""Predicted means of a generalised linear model and how they differ, in the unit of the cost, with their errors.

With weights w_i that sum to 1 and V the covariance of the coefficients b:

* average marginal effect of column j, sum w_i h'(eta_i) b_j, gradient sum w_i (h''(eta_i) b_j x_i + h'(eta_i) e_j);
* average incremental effect, sum w_i (h(x_i1'b) - h(x_i0'b)), gradient sum w_i (h'(eta_i1) x_i1 - h'(eta_i0) x_i0);
* variance g'Vg, and for people who are a sample of those meant, besides, the variance of the average over them.

Source: Oehlert 1992, American Statistician 46:27 (delta method); Basu and Rathouz 2005, Biostatistics 6:93 (marginal
and incremental effects of cost models).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.faults import choice_faults, refuse
from evalkit.estimators.costs.glm import GlmModel
from evalkit.estimators.costs.glm_families import compute_bend, compute_slope, invert_link, is_inside
from evalkit.estimators.people.influence import sum_clusters

Kind = Literal["derivative", "difference"]
Population = Literal["fixed", "sampled"]
_WHERE = "margins"


@dataclass(frozen=True)
class Margins:
    """Means or effects `value` (m,) in the unit of the outcome, with `names` and `covariance` (m, m)."""

    names: tuple[str, ...]
    value: np.ndarray
    covariance: np.ndarray
    n_people: int

    @property
    def standard_errors(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))


def compute_margins(
    model: GlmModel,
    x: np.ndarray,
    *,
    columns: Sequence[str],
    kind: Kind,
    population: Population = "fixed",
    weights: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    cluster: np.ndarray | None = None,
) -> Margins:
    """Average marginal or incremental effects of `columns`, one after the other, all else as it is.

    A column that also enters as a square or a product needs designs of its own: see `compute_mean_differences`.

    Parameters
    ----------
    x : float array, shape (n, p), whom to average over, in the columns of the model
    kind : "derivative" for a number; "difference" for a column of 0 and 1, from 0 to 1 of it
    population : "fixed", effects on the people given; "sampled", on those whom they are a random sample of: the
        variance of the average over people is added, which assumes the mean of the model to be right
    weights : float array, shape (n,), not negative, of the average; by default all one
    cluster : array, shape (n,), who was sampled together; of account with population="sampled" only

    Raises
    ------
    ParameterError
        A column the model does not have, one that is not 0 and 1 for a difference, shapes that do not fit.
    NotEstimable
        Somebody's predicted mean is one that the family cannot have.
    """
    faults = choice_faults("kind", kind, ("derivative", "difference"))
    faults += [
        Fault(_WHERE, f'the model has no column "{name}"', next_step=suggest_name(name, model.names))
        for name in columns if name not in model.names
    ]  # fmt: skip
    refuse(faults + _shape_faults(model, [x], weights, offset))
    places = [model.names.index(name) for name in columns]
    if kind == "derivative":
        parts = [_slope_rows(model, x, j, offset) for j in places]
        return _average(model, parts, tuple(columns), weights, cluster, population)
    refuse([
        Fault(model.names[j], "a difference from 0 to 1 needs a column of 0 and 1", next_step='Take kind="derivative".')
        for j in places if not np.isin(x[:, j], (0.0, 1.0)).all()
    ])  # fmt: skip
    pairs = [(_set_column(x, j, 1.0), _set_column(x, j, 0.0)) for j in places]
    return compute_mean_differences(
        model, pairs, names=columns, population=population, weights=weights, offset=offset, cluster=cluster
    )


def compute_predicted_means(
    model: GlmModel,
    designs: Sequence[np.ndarray],
    *,
    names: Sequence[str],
    population: Population = "fixed",
    weights: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    cluster: np.ndarray | None = None,
) -> Margins:
    """Average predicted mean under each of m designs (n, p) of the same people, with their joint covariance (m, m).

    Arguments and errors as in `compute_margins`.
    """
    refuse(_shape_faults(model, designs, weights, offset))
    parts = [_mean_rows(model, x, offset) for x in designs]
    return _average(model, parts, tuple(names), weights, cluster, population)


def compute_mean_differences(
    model: GlmModel,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    names: Sequence[str],
    population: Population = "fixed",
    weights: np.ndarray | None = None,
    offset: np.ndarray | None = None,
    cluster: np.ndarray | None = None,
) -> Margins:
    """Average predicted mean under the first design (n, p) of each pair less that under the second.

    Arguments and errors as in `compute_margins`.
    """
    refuse(_shape_faults(model, [x for pair in pairs for x in pair], weights, offset))
    parts = []
    for one, nought in pairs:
        (upper, upper_slope), (lower, lower_slope) = _mean_rows(model, one, offset), _mean_rows(model, nought, offset)
        parts.append((upper - lower, upper_slope - lower_slope))
    return _average(model, parts, tuple(names), weights, cluster, population)


def _set_column(x: np.ndarray, column: int, value: float) -> np.ndarray:
    changed = np.array(x, dtype=np.float64)
    changed[:, column] = value
    return changed


def _predictor(model: GlmModel, x: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
    eta = x @ model.coefficients + (0.0 if offset is None else offset)
    outside = ~is_inside(eta, model.options.family, model.options.link)
    if outside.any():
        raise NotEstimable(
            Fault(_WHERE, f"{how_many(int(outside.sum()))} have a predicted mean that the family cannot have",
                  next_step='Take link="log", whose means are all above nought.')
        )  # fmt: skip
    return eta


def _mean_rows(model: GlmModel, x: np.ndarray, offset: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Means (n,) and their derivatives by the coefficients (n, p)."""
    eta = _predictor(model, x, offset)
    return invert_link(eta, model.options.link), compute_slope(eta, model.options.link)[:, None] * x


def _slope_rows(
    model: GlmModel, x: np.ndarray, column: int, offset: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of means by one column (n,), and theirs by the coefficients (n, p)."""
    eta, b = _predictor(model, x, offset), model.coefficients[column]
    slope = compute_slope(eta, model.options.link)
    gradient = (compute_bend(eta, model.options.link) * b)[:, None] * x
    gradient[:, column] += slope
    return slope * b, gradient


def _average(
    model: GlmModel,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    names: tuple[str, ...],
    weights: np.ndarray | None,
    cluster: np.ndarray | None,
    population: Population,
) -> Margins:
    """Weighted averages of rows, with errors from the coefficients and, for a sample, from the averaging."""
    refuse(choice_faults("population", population, ("fixed", "sampled")))
    rows = np.column_stack([part[0] for part in parts])
    w = np.full(len(rows), 1 / len(rows)) if weights is None else weights / weights.sum()
    value = w @ rows
    jacobian = np.stack([w @ part[1] for part in parts])
    covariance = jacobian @ model.covariance @ jacobian.T
    if population == "sampled":
        away = w[:, None] * (rows - value)
        away = away if cluster is None else sum_clusters(away, cluster)
        covariance = covariance + away.T @ away
    return Margins(names, value, covariance, int((w > 0).sum()))


def _shape_faults(
    model: GlmModel, designs: Sequence[np.ndarray], weights: np.ndarray | None, offset: np.ndarray | None
) -> list[Fault]:
    shape = (len(designs[0]), len(model.coefficients)) if len(designs) else (0, 0)
    if not shape[0] or any(np.shape(x) != shape for x in designs) or any(
        v is not None and np.shape(v) != shape[:1] for v in (weights, offset)
    ):  # fmt: skip
        raise ParameterError(Fault(_WHERE, "the shapes do not fit each other or the model", allowed=f"{shape}"))
    faults = []
    if not all(np.isfinite(x).all() for x in designs) or (offset is not None and not np.isfinite(offset).all()):
        faults.append(Fault(_WHERE, "values are missing or infinite"))
    if weights is not None and not (weights.min() >= 0 and 0 < weights.sum() < np.inf):
        faults.append(Fault("weights", "weights are negative or not finite, or are all nought"))
    return faults
