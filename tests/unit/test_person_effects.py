"""Effects of balanced comparisons: influence values by finite differences, each method against plain arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import special

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.people.effect_bootstrap import compute_effect_draws
from evalkit.estimators.people.effect_checks import SUPPORTED
from evalkit.estimators.people.effect_means import compute_effect_means
from evalkit.estimators.people.effect_nuisances import build_balance, fit_models
from evalkit.estimators.people.influence import compute_contrast, compute_gradient
from evalkit.estimators.people.marginal_structural import StructuralOptions, fit_marginal_structural
from evalkit.estimators.people.person_effects import EffectOptions, build_plan, estimate_effect
from evalkit.estimators.people.tmle import compute_targeted
from evalkit.estimators.people.weighting import WeightOptions
from tests.people_factory import KIND, make_comparison, make_estimand, make_frame

CASES = [
    (method, contrast, scale, interactions)
    for method, (contrasts, scales) in SUPPORTED.items()
    for contrast in contrasts
    for scale in scales
    for interactions in (("all",) if method in ("ipw", "did_ipw") else ("all", "none", ("x1",)))
    if scale in KIND
]


def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def contrast_with(comparison: Comparison, plan, scale, sampling: np.ndarray) -> float:
    people = replace(comparison, sampling=sampling)
    means = compute_effect_means(people, plan, sampling=sampling[None], rng=None, errors="none")
    return float(compute_contrast(means.value[0], scale))


def assert_influence_is_the_derivative(comparison, estimand, options) -> None:
    """The influence value of a person is what the estimate gains when the person's sampling weight grows."""
    plan = build_plan(comparison, estimand, options)
    means = compute_effect_means(comparison, plan, sampling=comparison.sampling[None], rng=None, errors="stacked")
    influence = means.influence @ compute_gradient(means.value[0], estimand.scale)
    assert abs(influence.sum()) < 1e-9 * np.abs(influence).sum()
    for place in (0, 17, 101):
        shifted = []
        for sign in (1, -1):
            sampling = comparison.sampling.copy()
            sampling[place] *= 1 + sign * 1e-4
            shifted.append(contrast_with(comparison, plan, estimand.scale, sampling))
        slope = (shifted[0] - shifted[1]) / 2e-4
        assert slope == pytest.approx(influence[place], abs=1e-7 * np.abs(influence).max())


@pytest.mark.parametrize(("method", "contrast", "scale", "interactions"), CASES)
def test_influence_values_are_derivatives_by_sampling_weights(method, contrast, scale, interactions):
    comparison = make_comparison(KIND[scale])
    options = EffectOptions(method=method, interactions=interactions)
    assert_influence_is_the_derivative(comparison, make_estimand(contrast, scale), options)


@pytest.mark.parametrize("moments", [1, 2])
@pytest.mark.parametrize(("method", "contrast", "scale"), [
    ("ipw", "ATT", "risk_ratio"), ("ipw", "ATC", "mean_difference"), ("ipw", "ATE", "rate_ratio"),
    ("did_ipw", "ATT", "rate_ratio"), ("did_ipw", "ATT", "risk_difference"),
])  # fmt: skip
def test_influence_values_of_entropy_balancing_are_derivatives(method, contrast, scale, moments):
    options = EffectOptions(method=method, weights=WeightOptions(method="entropy", moments=moments))
    assert_influence_is_the_derivative(make_comparison(KIND[scale]), make_estimand(contrast, scale), options)


def parts(comparison: Comparison):
    x = sm.add_constant(comparison.covariates)
    e = sm.Logit(comparison.treated.astype(float), x).fit(disp=0, tol=1e-12).predict(x)
    return x, comparison.treated.astype(float), comparison.outcome, e


def test_weighting_is_a_ratio_of_weighted_means():
    comparison = make_comparison("binary", sampling="", cluster="")
    _, t, y, e = parts(comparison)
    weights = {"ATT": (e / (1 - e), 1 + 0 * e), "ATC": (1 + 0 * e, (1 - e) / e),
               "ATE": (1 / (1 - e), 1 / e), "ATO": (e, 1 - e)}  # fmt: skip
    for contrast, (w0, w1) in weights.items():
        one, nought = np.average(y, weights=t * w1), np.average(y, weights=(1 - t) * w0)
        expected = {"risk_difference": one - nought, "risk_ratio": one / nought,
                    "odds_ratio": one / (1 - one) / (nought / (1 - nought))}  # fmt: skip
        for scale, value in expected.items():
            found = estimate_effect(comparison, make_estimand(contrast, scale), options=EffectOptions(method="ipw"))
            assert found.value == pytest.approx(value, rel=1e-9)
            assert found.lower < found.value < found.upper
            assert found.n_events == y.sum()


def test_rate_ratio_by_g_computation_is_a_poisson_regression():
    frame = make_frame("count")
    comparison = make_comparison("count", frame, sampling="", cluster="")
    x, t, y, _ = parts(comparison)
    fits = [
        sm.GLM(y[t == a], x[t == a], family=sm.families.Poisson(), offset=np.log(comparison.person_time[t == a])).fit(
            tol=1e-12
        )
        for a in (0, 1)
    ]
    expected = [fit.predict(x, offset=np.log(comparison.person_time)).sum() for fit in fits]
    found = estimate_effect(comparison, make_estimand("ATE", "rate_ratio"), options=EffectOptions(method="gcomp"))
    assert found.value == pytest.approx(expected[1] / expected[0], rel=1e-7)


@pytest.mark.parametrize("contrast", ["ATE", "ATT", "ATC"])
def test_tmle_is_the_weighted_logistic_fluctuation(contrast):
    """As R's tmle with target.gwt=TRUE: an intercept with the clever covariate as weight; statsmodels fits it here."""
    comparison = make_comparison("binary", cluster="")
    x, t, y = sm.add_constant(comparison.covariates), comparison.treated.astype(float), comparison.outcome
    s = comparison.sampling
    e = sm.GLM(t, x, family=sm.families.Binomial(), freq_weights=s).fit(tol=1e-12).predict(x)
    target = {"ATE": s, "ATT": s * t, "ATC": s * (1 - t)}[contrast]
    means = []
    for a in (0, 1):
        if {"ATT": 1, "ATC": 0}.get(contrast) == a:
            means.append(np.average(y, weights=target))
            continue
        side = t == a
        fit = sm.GLM(y[side], x[side], family=sm.families.Binomial(), freq_weights=s[side]).fit(tol=1e-12)
        first = special.logit(fit.predict(x))
        clever = {"ATE": (1 / (1 - e), 1 / e)[a], "ATT": e / (1 - e), "ATC": (1 - e) / e}[contrast]
        move = sm.GLM(y[side], np.ones(side.sum()), family=sm.families.Binomial(), offset=first[side],
                      freq_weights=(s * clever)[side])  # fmt: skip
        moved = special.expit(first + move.fit(tol=1e-12).params[0])
        means.append(np.average(moved, weights=target))
    found = estimate_effect(comparison, make_estimand(contrast, "risk_ratio"), options=EffectOptions(method="tmle"))
    assert found.value == pytest.approx(means[1] / means[0], rel=1e-7)


@pytest.mark.parametrize("kind", ["binary", "mean"])
@pytest.mark.parametrize("contrast", ["ATE", "ATT", "ATC"])
def test_tmle_solves_the_efficient_influence_equation(contrast, kind):
    """On both sides: the mean of the efficient influence function is nought, and so is the part with the residuals."""
    comparison, scale = make_comparison(kind), {"binary": "risk_difference", "mean": "mean_difference"}[kind]
    plan = build_plan(comparison, make_estimand(contrast, scale), EffectOptions(method="tmle"))
    sampling = comparison.sampling[None]
    efficient = compute_effect_means(comparison, plan, sampling=sampling, rng=None, errors="efficient")
    assert np.abs(efficient.influence.sum(axis=0)).max() < 1e-8
    goal = {"ATE": sampling[0], "ATT": sampling[0] * comparison.treated, "ATC": sampling[0] * ~comparison.treated}
    balance, _ = build_balance(comparison, contrast, options=plan.weights, sampling=sampling, rng=None)
    arms = {"ATT": (0,), "ATC": (1,)}.get(contrast, (0, 1))
    models = fit_models(
        comparison, comparison.outcome, spec=plan.outcome, exposure=None, sampling=sampling, arms=arms
    )  # fmt: skip
    moved = compute_targeted(
        treated=comparison.treated, outcome=comparison.outcome, sampling=sampling, balance=balance, models=models,
        bounds=plan.bounds,
    )  # fmt: skip
    for arm in arms:
        weights = balance.weights[arm, 0] * sampling[0]
        assert abs(weights @ (comparison.outcome - moved[arm].expected[0])) / weights.sum() < 1e-8
        plugged_in = np.average(moved[arm].expected[0], weights=goal[contrast])
        assert efficient.value[0, arm] == pytest.approx(plugged_in, rel=1e-8)
        assert np.ptp(moved[arm].expected[0]) > 0


def test_tmle_of_a_continuous_outcome_keeps_within_its_bounds_and_moves_with_them():
    comparison = make_comparison("mean")
    estimand = make_estimand("ATE", "mean_difference")
    found = estimate_effect(comparison, estimand, options=EffectOptions(method="tmle"))
    aipw = estimate_effect(comparison, estimand, options=EffectOptions(method="aipw"))
    assert found.value == pytest.approx(aipw.value, abs=0.2 * aipw.se)
    scaled = replace(comparison, outcome=3 * comparison.outcome + 7)
    assert estimate_effect(scaled, estimand, options=EffectOptions(method="tmle")).value == pytest.approx(
        3 * found.value, rel=1e-8
    )


def test_differences_of_a_person_are_the_outcome_of_a_linear_difference_in_differences():
    comparison = make_comparison("mean")
    change = replace(comparison, outcome=comparison.outcome - comparison.before)
    estimand = make_estimand("ATT", "mean_difference")
    for method in ("gcomp", "ipw"):
        did = estimate_effect(comparison, estimand, options=EffectOptions(method=f"did_{method}"))
        plain = estimate_effect(change, estimand, options=EffectOptions(method=method))
        assert (did.value, did.se) == pytest.approx((plain.value, plain.se), rel=1e-9)


def test_rate_ratio_of_differences_in_differences_by_hand():
    comparison = make_comparison("count", sampling="", cluster="")
    _, t, y, e = parts(comparison)
    w, b, time = (1 - t) * e / (1 - e), comparison.before, comparison.person_time
    treated = (t @ y) / (t @ time) / ((t @ b) / t.sum())
    others = (w @ y) / (w @ time) / ((w @ b) / w.sum())
    found = estimate_effect(comparison, make_estimand("ATT", "rate_ratio"), options=EffectOptions(method="did_ipw"))
    assert found.value == pytest.approx(treated / others, rel=1e-9)


def test_clusters_make_the_error_of_repeated_rows_that_of_single_ones():
    frame = make_frame("binary")
    single = make_comparison("binary", frame, sampling="", cluster="")
    twice = single.select(np.repeat(np.arange(len(single)), 2))
    options = EffectOptions(method="aipw", correction="none")
    estimand = make_estimand("ATT", "risk_difference")
    one, two = (estimate_effect(c, estimand, options=options) for c in (single, twice))
    assert (two.value, two.se) == pytest.approx((one.value, one.se), rel=1e-9)
    apart = replace(twice, cluster=np.arange(len(twice)))
    assert estimate_effect(apart, estimand, options=options).se == pytest.approx(one.se / np.sqrt(2), rel=1e-9)


def test_the_cluster_factor_is_g_over_g_minus_one():
    comparison = make_comparison("binary")
    estimand = make_estimand("ATE", "risk_ratio")
    plain, factor = (
        estimate_effect(comparison, estimand, options=EffectOptions(correction=c)).se for c in ("none", "clusters")
    )
    groups = len(np.unique(comparison.cluster))
    assert factor / plain == pytest.approx(np.sqrt(groups / (groups - 1)), rel=1e-12)


@pytest.mark.parametrize(("method", "scale"), [
    ("gcomp", "odds_ratio"), ("gcomp", "rate_ratio"), ("ipw", "risk_difference"), ("ipw", "rate_ratio"),
    ("aipw", "risk_ratio"), ("tmle", "risk_difference"), ("did_aipw", "mean_difference"), ("did_gcomp", "rate_ratio"),
])  # fmt: skip
def test_a_draw_is_what_the_estimator_gives_on_the_people_drawn(method, scale):
    comparison = make_comparison(KIND[scale], sampling="")
    estimand, options = make_estimand("ATT", scale), EffectOptions(method=method)
    plan = build_plan(comparison, estimand, options)
    draws = compute_effect_draws(comparison, plan, scale=scale, replicates=5, rng=rng())
    groups = len(np.unique(comparison.cluster))
    counts = rng().multinomial(groups, np.full(groups, 1 / groups), size=5)
    for value, count in zip(draws.values, counts, strict=True):
        drawn = comparison.select(np.repeat(np.arange(len(comparison)), count[comparison.cluster]))
        again = compute_effect_means(drawn, plan, sampling=drawn.sampling[None], rng=None, errors="none").value[0]
        assert value == pytest.approx(float(compute_contrast(again, scale)), rel=1e-7)


def test_cross_fitting_needs_and_obeys_its_generator():
    comparison = make_comparison("binary")
    estimand, options = make_estimand("ATT", "risk_difference"), EffectOptions(folds=4)
    first, again = (estimate_effect(comparison, estimand, options=options, rng=rng()) for _ in range(2))
    other = estimate_effect(comparison, estimand, options=options, rng=np.random.default_rng(3))
    whole = estimate_effect(comparison, estimand, options=EffectOptions())
    assert (first.value, first.se) == (again.value, again.se)
    assert first.value != other.value
    assert first.value == pytest.approx(whole.value, abs=1.0 * whole.se)
    with pytest.raises(ParameterError, match="rng"):
        estimate_effect(comparison, estimand, options=options)


@pytest.mark.parametrize("method", ["aipw", "tmle", "did_aipw"])
def test_trees_run_cross_fitted(method):
    options = EffectOptions(
        method=method, folds=2, outcome_model="boosted", weights=WeightOptions(method="boosted")
    )  # fmt: skip
    many = make_comparison("binary", make_frame("binary", people=600))
    found = estimate_effect(many, make_estimand("ATT", "risk_difference"), options=options, rng=rng())
    assert np.isfinite([found.value, found.se]).all()
    few = estimate_effect(
        make_comparison("binary"), make_estimand("ATT", "risk_difference"), options=options, rng=rng()
    )
    assert np.isfinite(few.value)
    assert np.isnan([few.se, few.lower, few.upper]).all()
    (check,) = (c for c in few.checks if c.name == "interval")
    assert check.passed is False
    assert "fewer than 500 people" in check.text


def test_trimming_changes_the_people_and_says_so():
    comparison = make_comparison("binary")
    options = EffectOptions(weights=WeightOptions(trim=0.3))
    found = estimate_effect(comparison, make_estimand("ATE", "risk_difference"), options=options)
    assert found.n_people < len(comparison)
    assert {check.name: check.passed for check in found.checks}["trimmed"] is False


def test_truncated_weights_are_those_of_the_weighted_mean():
    comparison = make_comparison("binary", sampling="", cluster="")
    _, t, y, e = parts(comparison)
    w = e / (1 - e)
    w = np.minimum(w, np.quantile(w[t == 0], 0.9))
    expected = y[t == 1].mean() - np.average(y, weights=(1 - t) * w)
    options = EffectOptions(method="ipw", weights=WeightOptions(truncate=0.9))
    found = estimate_effect(comparison, make_estimand("ATT", "risk_difference"), options=options)
    assert found.value == pytest.approx(expected, rel=1e-9)


def test_redundant_covariates_change_nothing():
    frame = make_frame("binary").assign(again=lambda f: 2 * f["x0"] - f["g"], one=3.0)
    plain, more = (
        make_comparison("binary", frame, covariates=names)
        for names in (("x0", "x1", "g"), ("x0", "x1", "g", "again", "one"))
    )
    estimand = make_estimand("ATE", "risk_ratio")
    for method in ("gcomp", "aipw"):
        options = EffectOptions(method=method)
        first, second = (estimate_effect(c, estimand, options=options) for c in (plain, more))
        assert (first.value, first.se) == pytest.approx((second.value, second.se), rel=1e-8)


@pytest.mark.parametrize(
    ("errors", "statsmodels"), [("HC0", "HC0"), ("HC1", "HC1"), ("HC3", "HC3"), ("model", "nonrobust")]
)
def test_marginal_structural_errors_equal_statsmodels(errors, statsmodels):
    comparison = make_comparison("mean", cluster="")
    x = np.column_stack([np.ones(len(comparison)), comparison.treated, comparison.covariates])
    expected = sm.WLS(comparison.outcome, x, weights=comparison.sampling).fit(cov_type=statsmodels)
    found = fit_marginal_structural(
        x, comparison.outcome, comparison.sampling, names=tuple("abcde"), options=StructuralOptions(errors=errors)
    )
    assert found.coefficients == pytest.approx(expected.params, rel=1e-9)
    assert found.se == pytest.approx(expected.bse, rel=1e-9)


@pytest.mark.parametrize(("kind", "family"), [("binary", "logistic"), ("count", "poisson")])
def test_marginal_structural_clusters_equal_statsmodels(kind, family):
    comparison = make_comparison(kind)
    x = np.column_stack([np.ones(len(comparison)), comparison.treated])
    families = {"logistic": sm.families.Binomial(), "poisson": sm.families.Poisson()}
    groups = {"groups": comparison.cluster, "use_correction": True, "df_correction": False}
    expected = sm.GLM(comparison.outcome, x, family=families[family]).fit(
        cov_type="cluster", cov_kwds=groups, tol=1e-12
    )
    found = fit_marginal_structural(
        x, comparison.outcome, np.ones(len(comparison)), names=("one", "treated"), cluster=comparison.cluster,
        options=StructuralOptions(family=family, errors="HC1"),
    )  # fmt: skip
    assert found.coefficients == pytest.approx(expected.params, rel=1e-8)
    assert found.se == pytest.approx(expected.bse, rel=1e-8)


@pytest.mark.parametrize("method", ["gcomp", "ipw", "aipw", "tmle"])
def test_without_covariates_it_is_the_plain_difference(method):
    comparison = make_comparison("binary", covariates=(), sampling="", cluster="")
    y, t = comparison.outcome, comparison.treated
    options = EffectOptions(method=method, correction="none")
    found = estimate_effect(comparison, make_estimand("ATE", "risk_difference"), options=options)
    assert found.value == pytest.approx(y[t].mean() - y[~t].mean(), rel=1e-9)
    assert found.se == pytest.approx(np.sqrt(y[t].var() / t.sum() + y[~t].var() / (~t).sum()), rel=1e-9)


@pytest.mark.parametrize(("few", "passed"), [(3, False), (30, True)])
def test_few_clusters_on_a_side_fail_a_check(few, passed):
    comparison = make_comparison("binary")
    comparison = replace(comparison, cluster=np.arange(len(comparison)) % few)
    found = estimate_effect(comparison, make_estimand("ATT", "risk_difference"))
    assert {check.name: check.passed for check in found.checks}["clusters"] is passed


def test_a_side_in_one_cluster_is_refused():
    comparison = make_comparison("binary")
    area = np.where(comparison.treated, 0, 1 + np.arange(len(comparison)) % 3)
    with pytest.raises(NotEstimable, match="treated side is in one cluster"):
        estimate_effect(replace(comparison, cluster=area), make_estimand("ATT", "risk_difference"))


def test_an_interaction_with_a_redundant_covariate_is_named():
    frame = make_frame("binary").assign(again=lambda f: 2 * f["x0"])
    comparison = make_comparison("binary", frame, covariates=("x0", "x1", "again"))
    with pytest.raises(NotEstimable, match="again"):
        estimate_effect(
            comparison, make_estimand("ATT", "risk_difference"), options=EffectOptions(interactions=("again",))
        )


def spoil(kind: str, **columns) -> Comparison:
    return make_comparison(kind, make_frame(kind).assign(**columns))


@pytest.mark.parametrize(("change", "options", "contrast", "scale", "words"), [
    ({}, EffectOptions(method="nothing"), "ATT", "risk_difference", "there is no such method"),
    ({}, EffectOptions(method="tmle"), "ATO", "risk_difference", "ATT, ATC, ATE"),
    ({}, EffectOptions(method="did_aipw"), "ATE", "risk_difference", "contrast: did_aipw does not estimate it"),
    ({}, EffectOptions(method="did_ipw"), "ATT", "odds_ratio", "scale: did_ipw does not have it"),
    ({}, EffectOptions(), "ATT", "hazard_ratio", "scale"),
    ({}, EffectOptions(method="ipw", folds=3), "ATT", "risk_difference", "only these methods are cross-fitted"),
    ({}, EffectOptions(outcome_model="boosted"), "ATT", "risk_difference", "trees need cross-fitting"),
    ({}, EffectOptions(weights=WeightOptions(method="boosted")), "ATT", "risk_difference", "cross-fitted outcome"),
    ({}, EffectOptions(weights=WeightOptions(method="entropy")), "ATT", "risk_difference", "entropy balancing goes"),
    ({}, EffectOptions(method="gcomp", weights=WeightOptions(trim=0.1)), "ATT", "risk_difference", "no weights to"),
    ({}, EffectOptions(interactions=("x9",)), "ATT", "risk_difference", 'no covariate "x9"'),
    ({}, EffectOptions(errors="bootstrap", replicates=10), "ATT", "risk_difference", "too few"),
    ({}, EffectOptions(errors="efficient", method="ipw"), "ATT", "risk_difference", "needs both models"),
    ({}, EffectOptions(errors="robust"), "ATT", "risk_difference", "errors: this choice is not known"),
    ({}, EffectOptions(interactions=["x0"]), "ATT", "risk_difference", "interactions: this choice is not known"),
    ({}, EffectOptions(level=1.0), "ATT", "risk_difference", "level"),
    ({"y": lambda f: f["y"] * 2}, EffectOptions(), "ATT", "risk_difference", "0 and 1"),
    ({"y": lambda f: -f["y"]}, EffectOptions(method="ipw"), "ATT", "rate_ratio", "negative"),
    ({}, EffectOptions(method="tmle", bounds=(0.2, 1.0)), "ATT", "mean_difference", "outside the bounds"),
])  # fmt: skip
def test_wrong_requests_are_named(change, options, contrast, scale, words):
    comparison = spoil("binary", **change)
    with pytest.raises(ParameterError, match=words):
        estimate_effect(comparison, make_estimand(contrast, scale), options=options, rng=rng())


def test_all_faults_of_a_request_come_at_once():
    options = EffectOptions(method="did_ipw", level=2.0, folds=1, correction="HC2")
    comparison = replace(make_comparison("binary"), before=None)
    with pytest.raises(ParameterError) as caught:
        estimate_effect(comparison, make_estimand("ATE", "odds_ratio"), options=options)
    assert {"contrast", "scale", "level", "folds", "correction", "before", "rng"} <= {
        f.where for f in caught.value.faults
    }


@pytest.mark.parametrize("rare", [0, 1])
def test_few_events_are_refused_without_their_number(rare):
    frame = make_frame("binary")
    y = np.full(len(frame), 1.0 - rare)
    y[np.flatnonzero(frame["treated"] == 1)[:4]] = y[np.flatnonzero(frame["treated"] == 0)[:3]] = rare
    with pytest.raises(NotEstimable, match="fewer than 10") as caught:
        estimate_effect(make_comparison("binary", frame.assign(y=y)), make_estimand("ATT", "risk_difference"))
    assert "7" not in str(caught.value)


def test_an_outcome_that_does_not_vary_on_a_side_is_refused():
    frame = make_frame("binary")
    comparison = make_comparison("binary", frame.assign(y=frame["y"] * frame["treated"]))
    with pytest.raises(NotEstimable, match="the same for everybody on the comparison side"):
        estimate_effect(comparison, make_estimand("ATT", "risk_difference"))


@pytest.mark.parametrize("method", ["ipw", "aipw", "tmle", "did_ipw"])
def test_a_covariate_that_separates_the_sides_is_named(method):
    frame = make_frame("binary")
    frame["ward"] = frame["treated"] * (frame["x0"] > 0)
    comparison = make_comparison("binary", frame, covariates=("x0", "x1", "ward"))
    with pytest.raises(NotEstimable, match="ward"):
        estimate_effect(comparison, make_estimand("ATT", "risk_difference"), options=EffectOptions(method=method))


@pytest.mark.parametrize(("kind", "scale"), [("binary", "risk_difference"), ("count", "rate_ratio")])
def test_a_group_without_events_is_named_by_the_outcome_model(kind, scale):
    frame = make_frame(kind)
    frame.loc[frame["g"] == 1, "y"] = 0.0
    with pytest.raises(NotEstimable, match="g"):
        estimate_effect(
            make_comparison(kind, frame), make_estimand("ATT", scale), options=EffectOptions(method="gcomp")
        )


def test_a_group_that_a_side_lacks_is_named():
    frame = make_frame("binary")
    frame["g"] = frame["g"] * frame["treated"]
    with pytest.raises(NotEstimable, match="g: this covariate is constant"):
        estimate_effect(
            make_comparison("binary", frame),
            make_estimand("ATT", "risk_difference"),
            options=EffectOptions(method="gcomp"),
        )


def test_sides_that_do_not_meet_are_refused():
    frame = make_frame("binary")
    few = frame.index[frame["treated"] == 0][:3]
    frame["x0"] = frame["x0"] + 8 * ((frame["treated"] == 1) | frame.index.isin(few))
    with pytest.raises(NotEstimable, match="hardly anybody is left to compare with"):
        estimate_effect(make_comparison("binary", frame), make_estimand("ATT", "risk_difference"))


def test_a_linear_model_that_leaves_the_scale_is_refused():
    frame = make_frame("count")
    frame["y"] = np.where(frame["x0"] > 1.2, frame["y"] + 30, 0.0) * (1 - frame["treated"]) + frame["treated"]
    frame.loc[frame.index[frame["treated"] == 1][:50], "y"] = 2.0
    frame.loc[frame["treated"] == 1, "x0"] -= 3
    comparison = replace(make_comparison("count", frame, sampling=""), person_time=None)
    with pytest.raises(NotEstimable, match="not positive"):
        estimate_effect(
            comparison, make_estimand("ATT", "rate_ratio"),
            options=EffectOptions(method="gcomp", outcome_model="linear"),
        )  # fmt: skip


def test_too_many_lost_draws_are_refused():
    frame = make_frame("binary", people=60, seed=4)
    frame["g"] = 0
    frame.loc[[3, 8], "g"] = 1
    frame.loc[[3, 8], "treated"] = [0, 1]
    comparison = make_comparison("binary", frame, cluster="", sampling="")
    options = EffectOptions(method="ipw", errors="bootstrap", replicates=200)
    with pytest.raises(NotEstimable, match="too many draws"):
        estimate_effect(comparison, make_estimand("ATT", "risk_difference"), options=options, rng=rng())


@pytest.mark.parametrize(("change", "words"), [
    ({"weights": np.array([1.0, -1.0, 1.0, 1.0])}, "negative"),
    ({"weights": np.array([1.0, np.inf, 1.0, 1.0])}, "infinite"),
    ({"outcome": np.array([1.0, 2.0, np.nan, 0.0])}, "missing"),
    ({"names": ("one",)}, "shapes"),
    ({"options": StructuralOptions(errors="HC2")}, "errors: this choice is not known"),
    ({"cluster": np.zeros(4, int), "options": StructuralOptions(errors="HC3")}, "HC3"),
    ({"options": StructuralOptions(family="logistic")}, "0 to 1"),
])  # fmt: skip
def test_marginal_structural_models_refuse_bad_input(change, words):
    given = {"outcome": np.array([1.0, 2.0, 3.0, 0.0]), "weights": np.ones(4), "names": ("one", "t")} | change
    design = np.column_stack([np.ones(4), [0, 0, 1, 1]])
    with pytest.raises(ParameterError, match=words):
        fit_marginal_structural(design, given.pop("outcome"), given.pop("weights"), **given)
