"""Logistic regression of many replicates, weights and entropy balancing: what they equal, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.people.entropy_balancing import EntropyOptions, fit_entropy_weights
from evalkit.estimators.people.logistic import (
    LogisticOptions,
    add_intercept,
    find_redundant,
    fit_logistic,
    fit_logistic_draws,
    predict_logistic,
)
from evalkit.estimators.people.weight_draws import compute_weighted_att_draws, compute_weighted_draws
from evalkit.estimators.people.weighting import (
    WeightOptions,
    assign_folds,
    build_weights,
    compute_effective_size,
    estimate_propensity,
)


def people(n: int = 400, p: int = 3, *, seed: int = 1, pull: float = 0.6) -> Comparison:
    """A comparison whose treated have larger covariates, with an outcome that follows them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    x[:, -1] = (x[:, -1] > 0).astype(float)
    treated = rng.random(n) < 1 / (1 + np.exp(0.5 - pull * x.sum(axis=1)))
    outcome = x.sum(axis=1) + treated + rng.normal(size=n)
    names = tuple(f"x{j}" for j in range(p))
    return Comparison(treated, x, names, outcome, None, np.arange(n), np.ones(n))


def weighted_mean(comparison: Comparison, weights: np.ndarray, *, treated: bool) -> np.ndarray:
    side = comparison.treated == treated
    return np.average(comparison.covariates[side], axis=0, weights=(weights * comparison.sampling)[side])


# Logistic regression


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_coefficients_equal_statsmodels_with_weights_and_offset(link: str) -> None:
    comparison, rng = people(), np.random.default_rng(5)
    x, y = add_intercept(comparison.covariates), comparison.treated.astype(float)
    weights, offset = rng.gamma(2.0, size=len(y)), rng.normal(size=len(y))
    family = sm.families.Binomial(sm.families.links.Logit() if link == "logit" else sm.families.links.Probit())
    theirs = sm.GLM(y, x, family=family, freq_weights=weights, offset=offset).fit(tol=1e-14, maxiter=200).params
    ours = fit_logistic(x, y, weights=weights, offset=offset, options=LogisticOptions(link=link))
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_shares_are_allowed_as_outcomes_and_meet_the_score_equations() -> None:
    comparison, rng = people(), np.random.default_rng(2)
    x, y = add_intercept(comparison.covariates), rng.random(400)
    fitted = predict_logistic(x, fit_logistic(x, y))
    assert np.abs(x.T @ (y - fitted)).max() < 1e-10


def test_every_replicate_is_the_fit_to_its_own_draw() -> None:
    comparison, rng = people(), np.random.default_rng(3)
    x, y = add_intercept(comparison.covariates), comparison.treated.astype(float)
    counts = rng.multinomial(400, np.full(400, 1 / 400), size=150).astype(float)
    draws = fit_logistic_draws(x, y, counts)
    assert draws.fitted.all()
    for b in (0, 70, 149):
        rows = np.repeat(np.arange(400), counts[b].astype(int))
        theirs = sm.GLM(y[rows], x[rows], family=sm.families.Binomial()).fit(tol=1e-14).params
        assert draws.coefficients[b] == pytest.approx(theirs, abs=1e-9)
    assert fit_logistic(x, y, weights=counts) == pytest.approx(draws.coefficients, abs=1e-9)


def test_rows_are_taken_in_blocks_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison, rng = people(), np.random.default_rng(3)
    x, y = add_intercept(comparison.covariates), comparison.treated.astype(float)
    counts = rng.multinomial(400, np.full(400, 1 / 400), size=5).astype(float)
    whole = fit_logistic_draws(x, y, counts).coefficients
    monkeypatch.setattr("evalkit.estimators.people.logistic._BLOCK", 1_700)
    assert fit_logistic_draws(x, y, counts).coefficients == pytest.approx(whole, abs=1e-12)


def test_far_apart_units_and_long_steps_are_no_trouble() -> None:
    rng = np.random.default_rng(8)
    z = rng.normal(size=(3000, 2))
    y = (rng.random(3000) < 1 / (1 + np.exp(-(-6 + 5 * z[:, 0])))).astype(float)
    x = np.column_stack([np.ones(3000), 1e6 + 1e-3 * z[:, 0], 1e9 * z[:, 1]])
    plain = fit_logistic(add_intercept(z), y)
    far = fit_logistic(x, y)
    assert far[1:] * np.array([1e-3, 1e9]) == pytest.approx(plain[1:], rel=1e-6)


def test_a_draw_without_one_category_is_fitted_as_r_does_and_a_separated_one_is_marked() -> None:
    comparison = people()
    rare = np.zeros(400)
    rare[[*np.flatnonzero(comparison.treated)[:2], *np.flatnonzero(~comparison.treated)[:2]]] = 1
    x, y = add_intercept(np.column_stack([comparison.covariates, rare])), comparison.treated.astype(float)
    counts = np.ones((3, 400))
    counts[1, rare == 1] = 0
    counts[2, (rare == 1) & ~comparison.treated] = 0
    draws = fit_logistic_draws(x, y, counts)
    assert draws.fitted.tolist() == [True, True, False]
    assert np.isnan(draws.coefficients[2]).all()
    kept = rare == 0
    without = predict_logistic(x[kept][:, :4], fit_logistic(x[kept][:, :4], y[kept]))
    assert predict_logistic(x[kept], draws.coefficients[1]) == pytest.approx(without, abs=1e-10)


def test_a_column_that_rests_on_seven_people_is_fitted_in_every_draw_that_has_both_sides() -> None:
    comparison, rng = people(3000), np.random.default_rng(4)
    t = comparison.treated
    few = np.r_[np.flatnonzero(t)[:3], np.flatnonzero(~t)[:4]]
    x = add_intercept(np.column_stack([comparison.covariates, np.isin(np.arange(3000), few)]))
    counts = rng.multinomial(3000, np.full(3000, 1 / 3000), size=120).astype(float)
    draws = fit_logistic_draws(x, t.astype(float), counts)
    one, nought = counts[:, few[:3]].sum(axis=1), counts[:, few[3:]].sum(axis=1)
    assert np.array_equal(draws.fitted, (one > 0) == (nought > 0))
    assert 0 < (~draws.fitted).sum() < 30
    for b in np.flatnonzero(draws.fitted & (one > 0))[:10]:
        fitted = predict_logistic(x, draws.coefficients[b])
        assert np.abs(x.T @ (counts[b] * (t - fitted))).max() < 1e-7


@pytest.mark.parametrize("kind", ["complete", "quasi", "joint"])
@pytest.mark.parametrize("link", ["logit", "probit"])
def test_separation_is_refused_and_named(kind: str, link: str) -> None:
    comparison = people()
    t, x = comparison.treated, comparison.covariates.copy()
    if kind == "complete":
        x[:, 1] = np.where(t, x[:, 1] + 50, x[:, 1] - 50)
    elif kind == "quasi":
        x[:, 1] = np.where(t, 0.0, x[:, 1] > 1)
    else:
        x[:, 1] = np.where(t, 3.0, -3.0) + x[:, 0] * 100
    with pytest.raises(NotEstimable, match="separated") as caught:
        fit_logistic(
            add_intercept(x), t.astype(float), names=("one", "a", "b", "c"), options=LogisticOptions(link=link)
        )
    named = caught.value.faults[0].where
    assert named == ("a, b" if kind == "joint" else "b")


def test_nearly_separated_people_are_fitted() -> None:
    y = np.repeat([0.0, 1.0, 0.0, 1.0], [200, 1, 1, 200])
    x = add_intercept(np.repeat([0.0, 1.0], [201, 201])[:, None])
    assert fit_logistic(x, y) == pytest.approx([-np.log(200), 2 * np.log(200)], abs=1e-9)


def test_redundant_columns_are_found_in_order_and_refused_by_name() -> None:
    x = people().covariates
    wide = np.column_stack([np.ones(400), x, x @ [1, 2, 3], np.full(400, 7.0), np.zeros(400), x[:, 0] ** 2])
    assert np.flatnonzero(find_redundant(wide)).tolist() == [4, 5, 6]
    with pytest.raises(NotEstimable) as caught:
        fit_logistic(wide, people().treated.astype(float), names=tuple("oabcdefg"))
    assert [fault.where for fault in caught.value.faults] == ["d", "e", "f"]


def test_bad_input_of_the_logistic_regression_is_told_at_once() -> None:
    x, y = add_intercept(people().covariates), people().treated.astype(float)
    with pytest.raises(ParameterError) as caught:
        fit_logistic(x, y * 2, weights=np.full(400, -1.0))
    assert [fault.where for fault in caught.value.faults] == ["outcome", "weights"]
    with pytest.raises(ParameterError, match="shapes do not fit"):
        fit_logistic(x, y[1:])
    with pytest.raises(ParameterError, match="missing or infinite"):
        fit_logistic(np.where(x == x[3, 1], np.nan, x), y)


# Weights


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE", "ATO"])
def test_weights_are_those_of_the_estimand(estimand: str) -> None:
    comparison = people()
    built = build_weights(comparison, options=WeightOptions(estimand=estimand))
    e, t = built.propensity, comparison.treated
    formula = {
        "ATT": np.where(t, 1, e / (1 - e)), "ATC": np.where(t, (1 - e) / e, 1),
        "ATE": np.where(t, 1 / e, 1 / (1 - e)), "ATO": np.where(t, 1 - e, e),
    }[estimand]  # fmt: skip
    assert built.weights == pytest.approx(formula, rel=1e-12)
    assert built.kept.all()


def test_overlap_weights_balance_exactly() -> None:
    comparison = people()
    w = build_weights(comparison, options=WeightOptions(estimand="ATO")).weights
    assert weighted_mean(comparison, w, treated=True) == pytest.approx(
        weighted_mean(comparison, w, treated=False), abs=1e-9
    )


def test_stabilised_weights_have_mean_one_a_side_in_expectation_and_the_same_effect() -> None:
    comparison = people(4000)
    plain = build_weights(comparison, options=WeightOptions(estimand="ATE"))
    stable = build_weights(comparison, options=WeightOptions(estimand="ATE", stabilise="marginal"))
    share = np.where(comparison.treated, comparison.treated.mean(), 1 - comparison.treated.mean())
    assert stable.weights == pytest.approx(plain.weights * share, rel=1e-12)
    assert stable.weights.mean() == pytest.approx(1, abs=0.05)


def test_trimmed_people_are_dropped_and_said() -> None:
    comparison = people(pull=1.2)
    built = build_weights(comparison, options=WeightOptions(trim=0.1))
    outside = (built.propensity < 0.1) | (built.propensity > 0.9)
    assert np.array_equal(built.kept, ~outside)
    assert (built.weights[outside] == 0).all()
    (check,) = (c for c in built.checks if c.name == "trimmed")
    assert check.passed is False
    assert check.value == outside.sum()
    assert "the effect is of those who are left" in check.text


def test_a_small_number_of_people_is_not_written() -> None:
    comparison = people()
    cut = float(np.sort(estimate_propensity(comparison))[2]) + 1e-9
    built = build_weights(comparison, options=WeightOptions(trim=cut))
    (check,) = (c for c in built.checks if c.name == "trimmed")
    assert 0 < (~built.kept).sum() < 10
    assert math.isnan(check.value)
    assert np.isnan(check.value)


@pytest.mark.parametrize("estimand", ["ATT", "ATC", "ATE"])
def test_truncation_caps_the_weighted_side_and_says_so(estimand: str) -> None:
    comparison = people(1000)
    plain = build_weights(comparison, options=WeightOptions(estimand=estimand)).weights
    built = build_weights(comparison, options=WeightOptions(estimand=estimand, truncate=0.95))
    side = {"ATT": ~comparison.treated, "ATC": comparison.treated, "ATE": np.ones(1000, bool)}[estimand]
    limit = np.quantile(plain[side], 0.95)
    assert built.weights == pytest.approx(np.where(side, np.minimum(plain, limit), plain))
    (check,) = (c for c in built.checks if c.name == "truncated")
    assert check.value == (side & (plain > limit)).sum()
    assert check.passed is False


def test_cross_fitted_propensities_come_from_the_other_folds() -> None:
    comparison = people()
    fold = assign_folds(comparison, 4, np.random.default_rng(9))
    ours = estimate_propensity(comparison, folds=4, rng=np.random.default_rng(9))
    x, y = add_intercept(comparison.covariates), comparison.treated.astype(float)
    for k in range(4):
        fitted = fit_logistic(x[fold != k], y[fold != k])
        assert ours[fold == k] == pytest.approx(predict_logistic(x[fold == k], fitted), abs=1e-12)


def test_folds_keep_clusters_whole_and_spread_the_treated() -> None:
    comparison = people()
    for cluster in (np.arange(400), np.arange(400) // 4 * 7):
        fold = assign_folds(replace(comparison, cluster=cluster), 5, np.random.default_rng(0))
        assert all(len(np.unique(fold[cluster == c])) == 1 for c in np.unique(cluster))
        treated = np.bincount(fold[comparison.treated])
        assert set(fold) == set(range(5))
        assert treated.max() - treated.min() <= (1 if cluster[1] == 1 else 25)


def test_boosting_is_cross_fitted_and_drawn_from_the_generator() -> None:
    comparison = people(300)
    options = WeightOptions(method="boosted", estimand="ATO")
    first, again, other = (build_weights(comparison, options=options, rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(first.propensity, again.propensity)
    assert not np.array_equal(first.propensity, other.propensity)
    linear = estimate_propensity(comparison)
    assert np.corrcoef(first.propensity, linear)[0, 1] > 0.6


def test_options_that_do_not_go_together_are_all_told() -> None:
    wrong = WeightOptions(method="entropy", estimand="ATT", folds=1, trim=0.7, truncate=0.2, stabilise="marginal")
    with pytest.raises(ParameterError) as caught:
        build_weights(people(), options=wrong)
    assert [f.where for f in caught.value.faults] == ["folds", "trim", "truncate", "stabilise", "method", "rng"]
    with pytest.raises(ParameterError, match="logistic, boosted, entropy"):
        build_weights(people(), options=WeightOptions(method="magic"))


def test_sides_that_do_not_meet_are_refused_whatever_the_method() -> None:
    comparison = people()
    x = comparison.covariates.copy()
    x[comparison.treated, 0] += 40
    apart = replace(comparison, covariates=x)
    for method, words in (("logistic", "x0: the two groups are separated"), ("entropy", "x0: no positive weights"),
                          ("boosted", "nobody on one side|hardly anybody")):  # fmt: skip
        with pytest.raises(NotEstimable, match=words):
            build_weights(apart, options=WeightOptions(method=method), rng=np.random.default_rng(0))


def test_weights_that_rest_on_a_handful_are_refused() -> None:
    with pytest.raises(NotEstimable, match="hardly anybody is left"):
        build_weights(people(120, pull=2.5), options=WeightOptions(estimand="ATT"))


def test_checks_fail_where_support_or_sample_is_thin() -> None:
    checks = {c.name: c for c in build_weights(people(1500, pull=1.6)).checks}
    assert checks["effective_sample_treated"].passed is True
    assert checks["effective_sample_comparison"].passed is False
    good = {c.name: c.passed for c in build_weights(people(1500, pull=0.3)).checks}
    assert set(good.values()) == {True}


def test_effective_size_is_kishs() -> None:
    assert compute_effective_size(np.array([1.0, 1.0, 2.0])) == pytest.approx(16 / 6)
    assert compute_effective_size(np.zeros(3)) == 0


# Entropy balancing


@pytest.mark.parametrize("moments", [1, 2])
@pytest.mark.parametrize("contrast", ["ATT", "ATC", "ATE"])
def test_entropy_weights_balance_exactly_and_are_of_the_exponential_family(contrast: str, moments: int) -> None:
    comparison = people()
    w = fit_entropy_weights(comparison, contrast=contrast, options=EntropyOptions(moments=moments))
    t, x = comparison.treated, comparison.covariates
    goal = {"ATT": x[t], "ATC": x[~t], "ATE": x}[contrast]
    columns = x if moments == 1 else np.column_stack([x, x[:, :2] ** 2])
    wanted = goal.mean(axis=0) if moments == 1 else np.r_[goal.mean(axis=0), (goal[:, :2] ** 2).mean(axis=0)]
    for side in (t, ~t):
        assert np.average(columns[side], axis=0, weights=w[side]) == pytest.approx(wanted, abs=1e-8)
        assert w[side].mean() == pytest.approx(1)
        # Least divergence from equal weights: log weights are linear in what is balanced (Hainmueller 2012, eq. 8).
        design = add_intercept(columns[side])
        left = np.log(w[side]) - design @ np.linalg.lstsq(design, np.log(w[side]), rcond=None)[0]
        assert np.abs(left).max() < 1e-8


def test_entropy_weights_that_cannot_be_are_refused_naming_the_covariate() -> None:
    comparison = people()
    x = comparison.covariates.copy()
    x[:, 2] = np.where(comparison.treated, x[:, 2], 0.0)
    with pytest.raises(NotEstimable, match="x2: no positive weights") as caught:
        fit_entropy_weights(replace(comparison, covariates=x))
    assert "x0" not in str(caught.value)
    with pytest.raises(ParameterError, match="ATT, ATC or ATE"):
        fit_entropy_weights(comparison, contrast="ATO")
    with pytest.raises(ParameterError, match="moments 3"):
        fit_entropy_weights(comparison, options=EntropyOptions(moments=3))


def test_entropy_weights_that_only_together_cannot_be_are_refused_too() -> None:
    rng = np.random.default_rng(4)
    a = rng.uniform(size=300)
    treated = np.arange(300) < 60
    b = np.where(treated, 1.6 - a, (1 - a) * rng.uniform(size=300))
    comparison = Comparison(treated, np.column_stack([a, b]), ("a", "b"), None, None, np.arange(300), np.ones(300))
    with pytest.raises(NotEstimable, match="no positive weights"):
        fit_entropy_weights(comparison)


# Draws


@pytest.mark.parametrize("contrast", ["ATT", "ATC", "ATE", "ATO"])
def test_a_draw_is_the_weighted_effect_in_it(contrast: str) -> None:
    comparison, rng = people(), np.random.default_rng(7)
    counts = rng.multinomial(400, np.full(400, 1 / 400), size=70)
    draws = compute_weighted_draws(
        add_intercept(comparison.covariates), comparison.treated, comparison.outcome, counts, contrast=contrast
    )
    for b in (0, 69):
        drawn = comparison.select(np.repeat(np.arange(400), counts[b]))
        w = build_weights(drawn, options=WeightOptions(estimand=contrast)).weights
        for means, side in ((draws.treated, drawn.treated), (draws.comparison, ~drawn.treated)):
            assert means[b] == pytest.approx(np.average(drawn.outcome[side], weights=w[side]), abs=1e-9)


def test_a_draw_that_cannot_be_fitted_is_marked() -> None:
    comparison = people()
    counts = np.ones((2, 400), dtype=int)
    counts[1, comparison.treated] = 0
    x = add_intercept(comparison.covariates)
    draws = compute_weighted_draws(x, comparison.treated, comparison.outcome, counts)
    assert draws.fitted.tolist() == [True, False]
    values = compute_weighted_att_draws(x, comparison.treated, comparison.outcome, counts)
    assert np.isnan(values).tolist() == [False, True]


def test_a_draw_that_separates_is_lost_even_where_single_precision_is_singular():
    """One covariate that is 1 on a side of a draw only: the draw has no propensity, and says so."""
    x = np.column_stack([np.ones(40), np.repeat([0.0, 1.0], 20)])
    y = np.tile([0.0, 1.0], 20)
    counts = np.ones((3, 40))
    counts[1, (x[:, 1] == 1) & (y == 0)] = 0
    counts[2, (x[:, 1] == 0) & (y == 1)] = 0
    found = fit_logistic_draws(x, y, counts)
    assert found.fitted.tolist() == [True, False, False]
