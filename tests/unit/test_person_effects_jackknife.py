"""Errors of effects from leaving out clusters: against models fitted anew, HC3, and where one cluster alone tells."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import special

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import NotEstimable
from evalkit.estimators.people.effect_means import Plan, compute_effect_means
from evalkit.estimators.people.influence import compute_contrast
from evalkit.estimators.people.leave_out import solve_without
from evalkit.estimators.people.person_effects import EffectOptions, build_plan, estimate_effect
from evalkit.estimators.people.weighting import WeightOptions, build_weights
from tests.people_factory import make_comparison, make_estimand, make_frame


def compute_alone(people: Comparison, plan: Plan, scale: str) -> float:
    means = compute_effect_means(people, plan, sampling=people.sampling[None], rng=None, errors="none")
    return float(compute_contrast(means.value[0], scale))


def leave_clusters_out(comparison: Comparison, plan: Plan, scale: str) -> np.ndarray:
    """What the estimate loses when each cluster is left out and everything is fitted anew, shape (G,)."""
    whole = compute_alone(comparison, plan, scale)
    kept = [comparison.select(comparison.cluster != g) for g in np.unique(comparison.cluster)]
    return np.array([whole - compute_alone(people, plan, scale) for people in kept])


@pytest.mark.parametrize("cluster", ["", "cluster"])
@pytest.mark.parametrize(("method", "contrast", "kind", "tolerance"), [
    ("gcomp", "ATE", "mean", 1e-9), ("gcomp", "ATT", "mean", 1e-9), ("did_gcomp", "ATT", "mean", 1e-9),
    ("gcomp", "ATE", "binary", 0.02), ("ipw", "ATT", "binary", 0.03), ("aipw", "ATT", "binary", 0.05),
    ("tmle", "ATE", "binary", 0.05), ("did_ipw", "ATT", "count", 0.04), ("did_aipw", "ATT", "count", 0.05),
    ("aipw", "ATO", "count", 0.03),
])  # fmt: skip
def test_the_jackknife_is_that_of_models_fitted_anew(method, contrast, kind, tolerance, cluster):
    """Exactly for linear models; else one step of it, while plain errors of 120 people are 6% to 18% smaller."""
    comparison = make_comparison(kind, make_frame(kind, people=120, seed=1), cluster=cluster)
    scale = {"mean": "mean_difference", "binary": "risk_difference", "count": "rate_ratio"}[kind]
    estimand, options = make_estimand(contrast, scale), EffectOptions(method=method, correction="jackknife")
    lost = leave_clusters_out(comparison, build_plan(comparison, estimand, options), scale)
    exact = np.sqrt((len(lost) - 1) / len(lost) * (lost**2).sum())
    found = estimate_effect(comparison, estimand, options=options)
    plain = estimate_effect(comparison, estimand, options=replace(options, correction="none"))
    assert found.se == pytest.approx(exact, rel=tolerance)
    assert found.value == plain.value
    between = estimate_effect(comparison, estimand, options=replace(options, correction="leverage"))
    assert plain.se < 0.985 * between.se < 0.985**2 * found.se


@pytest.mark.parametrize(("method", "tolerance"), [("gcomp", 1e-8), ("ipw", 0.003), ("aipw", 0.006), ("tmle", 0.006)])
def test_a_plain_difference_has_the_errors_of_hc2_and_hc3(method, tolerance):
    """Without covariates: residuals over (the root of) 1 - 1 / n of their side, as statsmodels has it."""
    comparison = make_comparison("mean", covariates=(), sampling="", cluster="")
    n, design = len(comparison), sm.add_constant(comparison.treated.astype(float))
    model, estimand = sm.OLS(comparison.outcome, design), make_estimand("ATE", "mean_difference")
    hc2, hc3 = (model.fit(cov_type=name).bse[1] for name in ("HC2", "HC3"))
    for correction, expected in (("leverage", hc2), ("jackknife", hc3 * np.sqrt((n - 1) / n))):
        options = EffectOptions(method=method, correction=correction)
        found = estimate_effect(comparison, estimand, options=options)
        assert found.se == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("clustered", [False, True])
def test_leverage_errors_are_unbiased_in_linear_models_of_one_variance(clustered):
    """Of residuals (I - H) e the sum of a_g b_g is a quadratic form in e: its expectation is the true variance."""
    rng = np.random.default_rng(4)
    x, cluster = np.column_stack([np.ones(30), rng.normal(size=(30, 3)) ** 3]), np.arange(30) // (3 if clustered else 1)
    gradient = np.array([0.0, 1.0, -2.0, 0.5])
    inverse, ones = np.linalg.inv(x.T @ x), np.ones(30)
    maker = np.eye(30) - x @ inverse @ x.T
    a = (x @ inverse @ gradient)[:, None] * maker
    b = solve_without(x, ones, cluster, np.tile(gradient, (30, 1)))[:, None] * maker
    same = cluster == np.arange(cluster.max() + 1)[:, None]
    expected = np.einsum("gi,gi->", same @ a, same @ b)
    assert expected == pytest.approx(gradient @ inverse @ gradient, rel=1e-10)


@pytest.mark.parametrize("moments", [1, 2])
@pytest.mark.parametrize(("contrast", "cluster"), [("ATT", ""), ("ATE", ""), ("ATT", "cluster")])
def test_the_jackknife_of_entropy_balancing_is_that_of_weights_found_anew(contrast, cluster, moments):
    comparison = make_comparison("mean", make_frame("mean", people=200, seed=1), cluster=cluster)
    options = EffectOptions(
        method="ipw", weights=WeightOptions(method="entropy", moments=moments), correction="jackknife"
    )
    estimand = make_estimand(contrast, "mean_difference")
    lost = leave_clusters_out(comparison, build_plan(comparison, estimand, options), "mean_difference")
    exact = np.sqrt((len(lost) - 1) / len(lost) * (lost**2).sum())
    assert estimate_effect(comparison, estimand, options=options).se == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("last", [6, 7])
def test_a_direction_of_which_one_cluster_alone_tells_is_left_out_without_it(last):
    """Column 2 is nought but in rows 6 to `last`, of cluster 3: for all others the leverage is as ever."""
    x = np.column_stack([np.ones(40), np.random.default_rng(20).normal(size=40), np.zeros(40)])
    x[6 : last + 1, 2] = [1.0, 2.0][: last - 5]
    cluster, right = np.arange(40) // 2, np.array([1.0, -2.0, 0.5])
    found = solve_without(x, np.ones(40), cluster, np.tile(right, (40, 1)))
    kept = x[cluster != 0]
    assert found[:2] == pytest.approx(x[:2] @ np.linalg.solve(kept.T @ kept, right), rel=1e-9)
    whole = x @ np.linalg.solve(x.T @ x, right)
    assert np.abs(found - whole).max() < 2 * np.abs(whole).max()


def thin(method: str, **options):
    """Of 300 people, weighted to the treated, the comparison side has an effective 10 to 30."""
    frame = make_frame("binary", people=300, seed=2)
    lean = np.random.default_rng(3).random(300) < special.expit(-0.4 + 2.2 * frame["x0"] - 1.5 * frame["x1"])
    comparison = make_comparison("binary", frame.assign(treated=lean.astype(int)), sampling="", cluster="")
    found = estimate_effect(
        comparison, make_estimand("ATT", "risk_difference"), options=EffectOptions(method=method, **options),
        rng=np.random.default_rng(1),
    )  # fmt: skip
    return found, {check.name: check for check in found.checks}


@pytest.mark.parametrize("method", ["ipw", "aipw", "tmle", "did_ipw", "did_aipw"])
def test_few_effective_people_get_the_interval_of_the_jackknife(method):
    found, checks = thin(method)
    asked, asked_checks = thin(method, correction="jackknife")
    assert checks["interval"].passed is False
    assert 10 < checks["interval"].value < 30
    assert (found.value, found.se, found.lower) == (asked.value, asked.se, asked.lower)
    assert "interval" not in asked_checks


@pytest.mark.parametrize("options", [
    {"errors": "efficient"}, {"folds": 3}, {"correction": "clusters"}, {"correction": "none"}
])  # fmt: skip
@pytest.mark.parametrize("method", ["aipw", "tmle"])
def test_few_effective_people_get_no_interval_of_errors_that_are_too_small(method, options):
    found, checks = thin(method, **options)
    assert np.isfinite(found.value)
    assert np.isnan([found.se, found.lower, found.upper, found.p_value]).all()
    assert checks["interval"].passed is False
    assert "ATO" in checks["interval"].text


def test_enough_effective_people_and_g_computation_need_no_check_of_the_interval():
    comparison = make_comparison("binary")
    for method in ("aipw", "tmle", "gcomp"):
        found = estimate_effect(
            comparison, make_estimand("ATT", "risk_difference"), options=EffectOptions(method=method)
        )
        assert "interval" not in {check.name for check in found.checks}
    assert np.isfinite(thin("gcomp")[0].lower)


def test_a_side_that_trimming_leaves_to_one_cluster_is_refused():
    comparison = make_comparison("binary", sampling="")
    found = build_weights(comparison, options=WeightOptions(estimand="ATT", trim=0.3))
    kept = found.kept & comparison.treated
    cluster = np.where(kept, 0, 1 + np.arange(len(comparison)))
    with pytest.raises(NotEstimable, match="treated side is in one cluster"):
        estimate_effect(
            replace(comparison, cluster=cluster), make_estimand("ATT", "risk_difference"),
            options=EffectOptions(method="ipw", weights=WeightOptions(trim=0.3)),
        )  # fmt: skip
