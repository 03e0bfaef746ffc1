"""Doubly robust counterfactual cost under many weightings at once: the numeric core of `dr_did`, without a loop.

T and C are the treated and the comparison, Y_b and Y_a a person's cost before and after, x the covariates with an
intercept. Sums below carry each person's weight (how often drawn, times sampling weight).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse
from evalkit.estimators.costs.dr_did_fits import (
    Basis,
    ExponentialFit,
    build_basis,
    fit_exponential,
    predict_exponential,
)
from evalkit.estimators.people.effect_means import Plan, compute_effect_means
from evalkit.estimators.people.effect_nuisances import OutcomeSpec, drop_redundant
from evalkit.estimators.people.influence import Correction
from evalkit.estimators.people.logistic import add_intercept, find_redundant, fit_logistic_draws
from evalkit.estimators.people.weighting import WeightOptions

_BLOCK = 4_000_000  # numbers held at a time


@dataclass(frozen=True)
class DrCostOptions:
    """How a doubly robust difference-in-differences of cost is estimated.

    Attributes
    ----------
    scale_of_trend : without the service, mean cost of like people would have moved by the same pounds ("difference")
        or by the same proportion ("proportion")
    method_in_pounds : counts for "difference" alone. "improved" (Sant'Anna and Zhao's DRDID) takes weights that give
        the comparison exactly the treated's covariates and least squares with these weights; "traditional" maximum
        likelihood and least squares. In proportion there is one method: weights per pound spent that balance exactly
        were tried and left out, since with skewed costs they rest on few people and bootstrap draws ran away
    errors : "influence" stacks the estimating equations of all fits; "bootstrap" draws people, or whole clusters, and
        fits everything anew
    correction : of influence errors, for small samples; see `influence.compute_clustered_error`. "leverage" and
        "jackknife" leave out each cluster in turn, in proportion with everything fitted anew, in pounds in one step;
        with them and "clusters" quantiles are of t with clusters less one degrees of freedom
    replicates : draws of the bootstrap
    """

    scale_of_trend: Literal["difference", "proportion"] = "proportion"
    method_in_pounds: Literal["improved", "traditional"] = "improved"
    errors: Literal["influence", "bootstrap"] = "influence"
    correction: Correction = "leverage"
    replicates: int = 999


@dataclass(frozen=True)
class Sides:
    """Design and money of both sides: `x_*` (n_*, q) with an intercept, `before_*`, `after_*` (n_*,)."""

    people: Comparison
    basis_t: Basis
    basis_c: Basis
    x_t: np.ndarray
    x_c: np.ndarray
    before_t: np.ndarray
    before_c: np.ndarray
    after_t: np.ndarray
    after_c: np.ndarray


@dataclass(frozen=True)
class ProportionFits:
    """Under B weightings: trend r(x) = E[Y_a]/E[Y_b] of the comparison for both sides (B, n_*), weights w of the
    comparison (B, n_c), coefficients by name (B, q), and actual and counterfactual means (B, 2)."""

    trend_t: np.ndarray
    trend_c: np.ndarray
    weights: np.ndarray
    coefficients: dict[str, np.ndarray]
    means: np.ndarray


def build_sides(comparison: Comparison) -> Sides:
    """Both sides' designs, without covariates that are combinations of others.

    Raises NotEstimable, naming them, for covariates that are constant or combinations of others on one side only.
    """
    people = drop_redundant(comparison)
    x, t = add_intercept(people.covariates), people.treated
    faults = [
        Fault(people.names[j - 1], f"it is constant, or a combination of other covariates, on the {word} side only",
              next_step="Leave it out, or join rare categories.")
        for word, side in (("treated", t), ("comparison", ~t)) for j in np.flatnonzero(find_redundant(x[side]))
    ]  # fmt: skip
    if faults:
        raise NotEstimable(faults)
    return Sides(
        people, build_basis(x[t]), build_basis(x[~t]), x[t], x[~t],
        people.before[t], people.before[~t], people.outcome[t], people.outcome[~t],
    )  # fmt: skip


def compute_dr_cost_draws(comparison: Comparison, counts: np.ndarray, *, options: DrCostOptions) -> np.ndarray:
    """Actual and counterfactual mean cost of the treated under each weighting, everything fitted anew in each.

    Parameters
    ----------
    comparison : n people with `outcome` and `before`, GBP per person-quarter
    counts : array, shape (B, n), how often each person is drawn (see `draw_counts`); sampling weights are put to them

    Returns
    -------
    float array, shape (B, 2), GBP per person-quarter; NaN in draws that separate or have nothing to compare

    Raises
    ------
    ParameterError
        Counts that are negative or of another shape, or a comparison without `outcome` or `before`.
    NotEstimable
        The fit to everybody cannot be had: separation, a side without spending, a covariate constant on one side.
    """
    _check_draws(comparison, counts)
    sides = build_sides(comparison)
    weights = comparison.sampling[None]
    if options.scale_of_trend == "proportion":
        base = fit_proportion(sides, weights)
        refuse_unfitted(base)
        start = {name: values[0] for name, values in base.coefficients.items()}
    elif options.method_in_pounds == "improved":
        tilt = _fit_tilt(sides, weights, start=None)
        _refuse_tilt(tilt)
        start = tilt.coefficients[0]
    size = max(1, _BLOCK // len(comparison))
    parts = [np.empty((0, 2))]
    for at in range(0, len(counts), size):
        drawn = counts[at : at + size] * comparison.sampling
        if options.scale_of_trend == "proportion":
            parts.append(fit_proportion(sides, drawn, start=start).means)
        elif options.method_in_pounds == "improved":
            parts.append(_compute_difference(sides, drawn, start))
        else:
            parts.append(_compute_traditional_difference(comparison, drawn))
    means = np.concatenate(parts)
    means[~np.isfinite(means).all(axis=1)] = np.nan
    return means


def _check_draws(comparison: Comparison, counts: np.ndarray) -> None:
    faults = [
        Fault(name, "the comparison has none", next_step=f"Build it with {name}=...")
        for name in ("outcome", "before") if getattr(comparison, name) is None
    ]  # fmt: skip
    if np.ndim(counts) != 2 or np.shape(counts)[1] != len(comparison):
        faults.append(Fault("counts", "wrong shape", str(np.shape(counts)), f"(draws, {len(comparison):,} people)"))
    elif np.size(counts) and not np.min(counts) >= 0:
        faults.append(Fault("counts", "some are negative or missing", allowed="nought or more"))
    refuse(faults)


def draw_counts(comparison: Comparison, *, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each person is in each bootstrap sample, int (B, n): clusters whole, with replacement.

    They are drawn within the treated and within the comparison where every cluster is on one side (people are
    clusters of their own by default), and all together where a cluster has people of both.
    """
    _, cluster = np.unique(comparison.cluster, return_inverse=True)
    groups = int(cluster.max()) + 1
    treated = np.bincount(cluster, weights=comparison.treated, minlength=groups)
    size = np.bincount(cluster, minlength=groups)
    nested = bool(((treated == 0) | (treated == size)).all())
    strata = (np.flatnonzero(treated > 0), np.flatnonzero(treated == 0)) if nested else (np.arange(groups),)
    drawn = np.zeros((replicates, groups), dtype=np.int64)
    for members in strata:
        drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=replicates)
    return drawn[:, cluster]


def fit_proportion(sides: Sides, weights: np.ndarray, *, start: dict[str, np.ndarray] | None = None) -> ProportionFits:
    """Trend in proportion, weights, and means under each row of `weights` (B, n).

    psi = mean_T(Y_b r) + mean_T(Y_b) sum_C w (Y_a - r Y_b) / sum_C w Y_b, with w = odds(x) m1(x) / m0(x), the odds
    that a pound spent before on people like x was spent on the treated; m1, m0 mean cost before of T and of C. If r
    is right the second term has mean nought whatever w is; if w is right sum_C w r Y_b stands for sum_T r Y_b
    whatever r is, so that r cancels. Dividing by sum_C w Y_b, for which sum_T Y_b stands, is Hajek's normalisation.
    """
    t = sides.people.treated
    of_t, of_c = weights[:, t], weights[:, ~t]
    coefficients, trend = _fit_models(sides, of_t, of_c, weights, start or {})
    log_w = (coefficients["odds"] + coefficients["before_t"] - coefficients["before_c"]) @ sides.x_c.T
    w = np.exp(log_w - log_w.max(axis=1, keepdims=True))  # their level is of no account
    trend_t, trend_c = predict_exponential(sides.x_t, trend), predict_exponential(sides.x_c, trend)
    people = of_t.sum(axis=1)
    people = np.where(people > 0, people, np.nan)
    actual, before = (of_t @ sides.after_t) / people, (of_t @ sides.before_t) / people
    own = of_c * w
    spent = own @ sides.before_c
    shift = (own * (sides.after_c - trend_c * sides.before_c)).sum(axis=1) / np.where(spent > 0, spent, np.nan)
    counterfactual = ((of_t * trend_t) @ sides.before_t) / people + before * shift
    return ProportionFits(trend_t, trend_c, w, coefficients, np.column_stack([actual, counterfactual]))


def _fit_models(
    sides: Sides, of_t: np.ndarray, of_c: np.ndarray, weights: np.ndarray, start: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], ExponentialFit]:
    """Coefficients (B, q) of the log odds of being treated, of both sides' log mean cost before and of the
    comparison's log trend, which comes as a fit too."""
    people = sides.people
    odds = fit_logistic_draws(
        add_intercept(people.covariates), people.treated.astype(np.float64), weights, base=people.sampling
    )  # fmt: skip
    spent_t, spent_c = of_t * sides.before_t, of_c * sides.before_c
    before_t = fit_exponential(sides.basis_t, of_t, spent_t @ sides.x_t, start=start.get("before_t"))
    before_c = fit_exponential(sides.basis_c, of_c, spent_c @ sides.x_c, start=start.get("before_c"))
    after_c = (of_c * sides.after_c) @ sides.x_c
    trend = fit_exponential(sides.basis_c, spent_c, after_c, start=start.get("trend"))
    return {
        "odds": odds.coefficients,
        "before_t": before_t.coefficients,
        "before_c": before_c.coefficients,
        "trend": trend.coefficients,
    }, trend


def refuse_unfitted(fits: ProportionFits) -> None:
    """NotEstimable, naming the model, where one has no solution for everybody."""
    models = {
        "before_t": "the treated's cost before",
        "before_c": "the comparison's cost before",
        "trend": "the comparison's trend",
    }
    for name, whose in models.items():
        if not np.isfinite(fits.coefficients[name][0]).all():
            raise NotEstimable(
                Fault("costs", f"the model of {whose} runs to infinity: in one of its groups nothing was spent",
                      next_step="Join rare categories, leave a covariate out, or compare like people.")
            )  # fmt: skip


def _fit_tilt(sides: Sides, weights: np.ndarray, *, start: np.ndarray | None) -> ExponentialFit:
    """Weights of the comparison with log odds linear in x that give it the treated's covariates."""
    t = sides.people.treated
    return fit_exponential(sides.basis_c, weights[:, ~t], weights[:, t] @ sides.x_t, start=start)


def _refuse_tilt(tilt: ExponentialFit) -> None:
    if not tilt.fitted[0]:
        raise NotEstimable(
            Fault("costs", "no weights give the comparison the covariates of the treated",
                  next_step="Join rare categories, leave a covariate out, or compare like people.")
        )  # fmt: skip


def _compute_difference(sides: Sides, weights: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Means (B, 2) in pounds: the weights balance x, so that the weighted regression adds nothing to the mean."""
    t = sides.people.treated
    of_t, tilt = weights[:, t], _fit_tilt(sides, weights, start=start)
    own = weights[:, ~t] * predict_exponential(sides.x_c, tilt)
    people = of_t.sum(axis=1)
    people = np.where(people > 0, people, np.nan)
    trend = (own @ (sides.after_c - sides.before_c)) / own.sum(axis=1)
    return np.column_stack([(of_t @ sides.after_t) / people, (of_t @ sides.before_t) / people + trend])


def build_difference_plan(method: str) -> Plan:
    """The plan of `compute_effect_means` whose means are those of the method in pounds.

    Traditional: AIPW of two periods with linear models. Improved: entropy balancing of two periods, which is the same
    as inverse-probability tilting with weighted least squares (Zhao and Percival 2017, J Causal Inference 5:1).
    """
    improved = method == "improved"
    return Plan(
        contrast="ATT", way="ipw" if improved else "aipw_ratio", targeted=False, periods=2, exposed=False,
        outcome=OutcomeSpec("linear", boosted=False, interactions="all"),
        weights=WeightOptions(method="entropy" if improved else "logistic"), folds=0, bounds=None,
    )  # fmt: skip


def _compute_traditional_difference(comparison: Comparison, weights: np.ndarray) -> np.ndarray:
    stacked = np.concatenate([comparison.sampling[None], weights])
    value = compute_effect_means(
        comparison, build_difference_plan("traditional"), sampling=stacked, rng=None, errors="none"
    ).value[1:]  # fmt: skip
    return np.column_stack([value[:, 1], value[:, 3] + value[:, 0] - value[:, 2]])
