"""Influence values of the doubly robust counterfactual cost: every fitted model's equations are stacked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.result import Check
from evalkit.estimators.costs.dr_did_draws import (
    DrCostOptions,
    ProportionFits,
    Sides,
    build_difference_plan,
    build_sides,
    compute_dr_cost_draws,
    fit_proportion,
    refuse_unfitted,
)
from evalkit.estimators.people.effect_means import compute_effect_means
from evalkit.estimators.people.logistic import add_intercept, predict_logistic

MAX_LEFT_OUT = 2_000  # clusters, above which leaving out each changes nothing that could be seen


@dataclass(frozen=True)
class DrCostMeans:
    """`actual` and `counterfactual` mean cost of the treated, GBP per person-quarter, with their errors.

    Attributes
    ----------
    influence : float array, shape (n, 2), influence values of both, whose sum is about the error of the estimate
    left_out : float array, shape (n, 2), or None; summed over a cluster, what the means lose when it is left out
    weights : float array, shape (n,), what each person of the comparison weighs, 0 for the treated
    largest_share : largest share of one person of these weights or, in proportion, of what the comparison spent
        before, weighted (on which its mean change rests) or not (on which the model of the trend rests)
    """

    actual: float
    counterfactual: float
    influence: np.ndarray
    left_out: np.ndarray | None
    weights: np.ndarray
    largest_share: float
    checks: tuple[Check, ...] = ()


def compute_dr_cost_means(comparison: Comparison, *, options: DrCostOptions) -> DrCostMeans:
    """Actual and counterfactual mean cost with influence values.

    Source: Stefanski and Boos 2002, American Statistician 56:29 (stacked equations); Sant'Anna and Zhao 2020, J
    Econometrics 219:101, section 3.1 (in pounds).

    Raises NotEstimable where a model has no solution (separation, nothing spent in a group), or one person's or
    cluster's leaving takes the solution away.
    """
    if options.scale_of_trend == "difference":
        return _compute_difference(comparison, options)
    sides = build_sides(comparison)
    fits = fit_proportion(sides, comparison.sampling[None])
    refuse_unfitted(fits)
    t = comparison.treated
    actual, counterfactual = fits.means[0]
    influence = np.zeros((len(comparison), 2))
    mass = comparison.sampling[t] / comparison.sampling[t].sum()
    influence[t, 0] = mass * (sides.after_t - actual)
    influence[:, 1] = _compute_influence(sides, fits)
    weights = np.zeros(len(comparison))
    spent = comparison.sampling[~t] * sides.before_c
    weights[~t] = comparison.sampling[~t] * fits.weights[0]
    largest = float(max((share / share.sum()).max() for share in (spent, spent * fits.weights[0])))
    left_out = _leave_out(comparison, fits.means[0], options)
    return DrCostMeans(float(actual), float(counterfactual), influence, left_out, weights, largest)


def _compute_difference(comparison: Comparison, options: DrCostOptions) -> DrCostMeans:
    means = compute_effect_means(
        comparison, build_difference_plan(options.method_in_pounds), sampling=comparison.sampling[None], rng=None,
        errors="stacked",
    )  # fmt: skip
    combine = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [0.0, 1.0]])  # from c after, t after, c before, t before
    actual, counterfactual = means.value[0] @ combine
    weights = np.where(comparison.treated, 0.0, means.weights)
    return DrCostMeans(
        float(actual), float(counterfactual), means.influence @ combine, means.left_out @ combine,
        weights, float(weights.max() / weights.sum()), means.checks,
    )  # fmt: skip


def _leave_out(comparison: Comparison, value: np.ndarray, options: DrCostOptions) -> np.ndarray | None:
    """What both means lose without each cluster, written to one of its people, shape (n, 2); None where not wanted."""
    _, first, cluster = np.unique(comparison.cluster, return_index=True, return_inverse=True)
    groups = len(first)
    if options.correction not in ("leverage", "jackknife") or groups > MAX_LEFT_OUT or options.errors == "bootstrap":
        return None
    counts = (cluster[None, :] != np.arange(groups)[:, None]).astype(np.float64)
    without = compute_dr_cost_draws(comparison, counts, options=options)
    if not np.isfinite(without).all():
        raise NotEstimable(
            Fault("costs", "without one person, or one cluster, nothing can be estimated: all rests on them",
                  next_step="Join rare categories, or leave a covariate out.")
        )  # fmt: skip
    lost = np.zeros((len(comparison), 2))
    lost[first] = value - without
    return lost


def _gram(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (x * v[:, None]).T @ x


def _compute_influence(sides: Sides, fits: ProportionFits) -> np.ndarray:
    """Influence values (n,) of psi with odds, m1, m0 and r by quasi-likelihood."""
    people = sides.people
    t, s = people.treated, people.sampling
    w, r, c = s[~t] * fits.weights[0], fits.trend_c[0], {k: v[0] for k, v in fits.coefficients.items()}
    per_person = 1 / s[t].sum()
    before = per_person * (s[t] @ sides.before_t)
    rest, mass = sides.after_c - r * sides.before_c, w @ sides.before_c
    shift = (w @ rest) / mass
    direct = before / mass * w * (rest - shift * sides.before_c)
    x = add_intercept(people.covariates)
    score = predict_logistic(x, c["odds"])
    m1, m0 = np.exp(sides.x_t @ c["before_t"]), np.exp(sides.x_c @ c["before_c"])
    by_weight = direct @ sides.x_c
    by_trend = per_person * (s[t] * sides.before_t * fits.trend_t[0]) @ sides.x_t
    by_trend -= before / mass * (w * r * sides.before_c) @ sides.x_c
    values = s * (t - score) * (x @ np.linalg.solve(_gram(x, s * score * (1 - score)), by_weight))
    first = per_person * (s[t] * fits.trend_t[0]) @ sides.before_t
    values[t] += per_person * s[t] * (sides.before_t * fits.trend_t[0] - first + (sides.before_t - before) * shift)
    values[t] += s[t] * (sides.before_t - m1) * (sides.x_t @ np.linalg.solve(_gram(sides.x_t, s[t] * m1), by_weight))
    values[~t] += direct
    lever = np.linalg.solve(_gram(sides.x_c, s[~t] * m0), by_weight)
    values[~t] -= s[~t] * (sides.before_c - m0) * (sides.x_c @ lever)
    lever = np.linalg.solve(_gram(sides.x_c, s[~t] * r * sides.before_c), by_trend)
    values[~t] += s[~t] * rest * (sides.x_c @ lever)
    return values
