"""Specification tests of models of cost: against statsmodels and plain formulas, their size, and what they find."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.costs.glm import GlmOptions, fit_glm
from evalkit.estimators.costs.overfit import (
    build_glm_predictor,
    build_two_part_predictor,
    check_overfit,
    compute_overfit,
)
from evalkit.estimators.costs.specification import (
    build_specification_checks,
    check_hosmer_lemeshow,
    check_link,
    check_park,
    check_pearson,
    compute_hosmer_lemeshow,
    compute_link_test,
    compute_park_test,
    compute_pearson_test,
)
from evalkit.estimators.costs.two_part import TwoPartOptions, fit_two_part, predict_two_part

GAMMA = GlmOptions("gamma", "log")
POWERS = {0: "gaussian", 1: "poisson", 2: "gamma", 3: "inverse_gaussian"}


def draw(n: int = 500, *, seed: int = 0, power: float = 2.0, bend: float = 0.0) -> tuple[np.ndarray, ...]:
    """Design, cost and true mean: variance 0.25 mu^power, log mean with `bend` times a square that is not fitted."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    mu = np.exp(1.5 + 0.4 * x + bend * x**2)
    variance = 0.25 * mu**power
    return np.column_stack([np.ones(n), x]), rng.gamma(mu**2 / variance, variance / mu), mu


def test_park_equals_two_regressions_of_statsmodels() -> None:
    x, y, _ = draw()
    mu = fit_glm(x, y, options=GAMMA).mu
    found = compute_park_test(y, mu)
    design = sm.add_constant(np.log(mu))
    family = sm.families.Gamma(sm.families.links.Log())
    gamma = sm.GLM((y - mu) ** 2, design, family=family).fit(tol=1e-14, maxiter=300)
    ols = sm.OLS(np.log((y - mu) ** 2), design).fit(cov_type="HC1")
    assert found.power == pytest.approx(gamma.params[1], rel=1e-6)
    assert (found.power_ols, found.se_ols) == pytest.approx((ols.params[1], ols.bse[1]), rel=1e-8)
    score = ((y - mu) ** 2 / gamma.fittedvalues - 1)[:, None] * design
    bread = np.linalg.inv(design.T @ design)
    assert found.se == pytest.approx(np.sqrt((bread @ score.T @ score @ bread)[1, 1]), rel=1e-5)
    assert found.p_values[2] == pytest.approx(2 * stats.norm.sf(abs(found.power - 2) / found.se))


@pytest.mark.parametrize("power", POWERS)
def test_park_points_to_the_family_that_made_the_costs(power: int) -> None:
    _, y, mu = draw(4000, power=power)
    found = compute_park_test(y, mu)
    assert found.power == pytest.approx(power, abs=4 * found.se)
    assert found.family == POWERS[power]
    assert check_park(found, POWERS[power]).passed
    other = POWERS[(power + 2) % 4]
    failed = check_park(found, other)
    assert failed.passed is False
    assert "contradicted" in failed.text
    assert POWERS[power].replace("_", " ") in failed.text


def test_clustered_park_equals_the_plain_one_of_each_row_alone_but_for_its_factor() -> None:
    _, y, mu = draw()
    alone, plain = compute_park_test(y, mu, cluster=np.arange(500)), compute_park_test(y, mu)
    assert alone.power == pytest.approx(plain.power, rel=1e-12)
    assert alone.se == pytest.approx(plain.se * np.sqrt(500 / 498), rel=1e-9)
    twice = compute_park_test(np.tile(y, 2), np.tile(mu, 2), cluster=np.tile(np.arange(500), 2))
    assert twice.se == pytest.approx(plain.se, rel=0.01)


def test_link_test_equals_a_refit_with_the_square() -> None:
    x, y, _ = draw(bend=0.1)
    eta = fit_glm(x, y, options=GAMMA).linear_predictor
    found = compute_link_test(y, eta, options=GAMMA)
    refit = fit_glm(np.column_stack([np.ones(500), eta, eta**2]), y, options=GlmOptions("gamma", "log", "HC0"))
    assert found.square == pytest.approx(refit.coefficients[2], rel=1e-6)
    assert found.se == pytest.approx(refit.standard_errors[2], rel=1e-5)
    assert found.p_value < 0.01
    assert check_link(found, "log").passed is False


def test_pearson_equals_the_slope_of_residual_on_fitted() -> None:
    x, y, _ = draw(bend=0.2)
    mu = fit_glm(x, y, options=GAMMA).mu
    found = compute_pearson_test(y, mu)
    design = sm.add_constant(mu)
    ols = sm.OLS(y - mu, design).fit(cov_type="HC3")
    assert found.correlation == pytest.approx(np.corrcoef(y - mu, mu)[0, 1], rel=1e-9)
    error = ols.bse[1] * np.sqrt(499 / 500)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(ols.params[1]) / error, 498), rel=1e-6)
    cluster = np.arange(500) // 5
    kept = [cluster != g for g in range(100)]
    slopes = np.array([sm.OLS((y - mu)[k], design[k]).fit().params[1] for k in kept])
    error = np.sqrt(99 / 100 * ((slopes - ols.params[1]) ** 2).sum())
    grouped = compute_pearson_test(y, mu, cluster=cluster)
    assert grouped.p_value == pytest.approx(2 * stats.t.sf(abs(ols.params[1]) / error, 99), rel=1e-6)


@pytest.mark.parametrize("size", [1, 4])
def test_hosmer_lemeshow_equals_a_robust_f_test_of_dummies(size: int) -> None:
    x, y, _ = draw(bend=0.15)
    mu = fit_glm(x, y, options=GAMMA).mu
    cluster = np.arange(500) // size
    found = compute_hosmer_lemeshow(y, mu, cluster=None if size == 1 else cluster)
    dummies = np.eye(10)[(np.argsort(np.argsort(mu)) * 10) // 500]
    given = {"cov_type": "HC1"} if size == 1 else {"cov_type": "cluster", "cov_kwds": {"groups": cluster}}
    ols = sm.OLS(y - mu, dummies).fit(use_t=True, **given)
    wald = ols.f_test(np.eye(10))
    assert list(found.n_rows) == [50] * 10
    np.testing.assert_allclose(found.residual, ols.params, rtol=1e-9)
    assert found.statistic == pytest.approx(float(wald.fvalue), rel=1e-8)
    assert found.degrees[0] == 10
    assert found.degrees[1] == (490 if size == 1 else 124)
    assert found.p_value == pytest.approx(float(stats.f.sf(wald.fvalue, *found.degrees)), rel=1e-6)


def test_equal_fitted_means_stay_together() -> None:
    rng = np.random.default_rng(2)
    mu = np.repeat([1.0, 2.0, 3.0], [300, 50, 150])
    found = compute_hosmer_lemeshow(mu * rng.gamma(1, 1, 500), mu)
    assert list(found.n_rows) == [300, 50, 150]
    np.testing.assert_allclose(found.fitted, [1, 2, 3])


def test_size_of_all_tests_where_the_model_is_right() -> None:
    """200 data sets of a right gamma model: none rejects more often than 5% and four Monte-Carlo errors."""
    rejected = []
    for seed in range(200):
        x, y, _ = draw(400, seed=seed)
        fit = fit_glm(x, y, options=GAMMA)
        rejected.append([
            compute_park_test(y, fit.mu).p_values[2], compute_link_test(y, fit.linear_predictor, options=GAMMA).p_value,
            compute_pearson_test(y, fit.mu).p_value, compute_hosmer_lemeshow(y, fit.mu).p_value,
        ])  # fmt: skip
    share = (np.array(rejected) < 0.05).mean(axis=0)
    assert (share <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 200)).all(), share


def test_a_bend_that_is_left_out_is_found_by_all_tests_of_the_mean() -> None:
    x, y, _ = draw(1000, bend=0.15)
    fit = fit_glm(x, y, options=GAMMA)
    checks = {c.name: c for c in build_specification_checks(y, fit.mu, fit.linear_predictor, options=GAMMA)}
    assert list(checks) == ["park_test", "link_test", "pearson_correlation", "hosmer_lemeshow"]
    assert [checks[name].passed for name in ("link_test", "pearson_correlation", "hosmer_lemeshow")] == [False] * 3
    bent = np.column_stack([x, x[:, 1] ** 2])
    fit = fit_glm(bent, y, options=GAMMA)
    assert all(c.passed for c in build_specification_checks(y, fit.mu, fit.linear_predictor, options=GAMMA))


def test_what_cannot_be_computed_informs_and_says_why() -> None:
    rng = np.random.default_rng(0)
    y, mu = rng.gamma(1, 1, 100), np.ones(100)
    checks = build_specification_checks(y, mu, np.zeros(100), options=GAMMA)
    assert [c.passed for c in checks] == [None] * 4
    assert all(c.text.startswith("Not computed.") for c in checks)
    with pytest.raises(NotEstimable, match="two values or fewer"):
        compute_link_test(y, np.repeat([0.0, 1.0], 50), options=GAMMA)
    two = np.repeat([1.0, 2.0], 50)
    with pytest.raises(NotEstimable, match="without error"):
        compute_park_test(two, two)
    with pytest.raises(NotEstimable, match="without error"):
        compute_pearson_test(two, two)
    with pytest.raises(NotEstimable, match="Ask for fewer groups"):
        compute_hosmer_lemeshow(y, np.linspace(1, 2, 100), cluster=np.arange(100) // 20)
    with pytest.raises(NotEstimable, match="too few rows"):
        compute_pearson_test(y[:10], y[:10])


def test_a_residual_of_nought_leaves_the_least_squares_form_out() -> None:
    _, y, mu = draw()
    y = y.copy()
    y[0] = mu[0]
    found = compute_park_test(y, mu)
    assert np.isnan(found.power_ols)
    assert np.isfinite(found.power)


def test_bad_input() -> None:
    _, y, mu = draw()
    for outcome, fitted in ((y, mu[:5]), (np.full(500, np.nan), mu), (y, -mu)):
        with pytest.raises(ParameterError):
            compute_park_test(outcome, fitted)
    with pytest.raises(ParameterError, match="groups"):
        compute_hosmer_lemeshow(y, mu, groups=1)
    with pytest.raises(ParameterError, match="family"):
        check_park(compute_park_test(y, mu), "binomial")


def test_sentences_have_the_numbers() -> None:
    x, y, _ = draw()
    mu = fit_glm(x, y, options=GAMMA).mu
    pearson, groups = compute_pearson_test(y, mu), compute_hosmer_lemeshow(y, mu)
    assert f"{pearson.correlation:.3f}" in check_pearson(pearson).text
    assert f"{groups.p_value:.2g}" in check_hosmer_lemeshow(groups).text


def test_overfit_equals_a_loop_over_folds() -> None:
    x, y, _ = draw(100)
    found = compute_overfit(y, build_glm_predictor(x, y, options=GAMMA), folds=5, rng=np.random.default_rng(3))
    fold = np.random.default_rng(3).permutation(np.arange(100) % 5)
    outside = np.empty(100)
    for k in range(5):
        b = fit_glm(x[fold != k], y[fold != k], options=GAMMA).coefficients
        outside[fold == k] = np.exp(x[fold == k] @ b)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((outside - y) ** 2)), rel=1e-8)
    assert found.mean_absolute_error == pytest.approx(np.abs(outside - y).mean(), rel=1e-8)
    assert found.bias == pytest.approx((outside - y).mean(), rel=1e-6)
    ols = sm.OLS(y, sm.add_constant(outside)).fit(cov_type="HC1")
    assert (found.slope, found.slope_se) == pytest.approx((ols.params[1], ols.bse[1]), rel=1e-7)


@pytest.mark.parametrize("second", ["glm", "log_ols"])
def test_two_part_predictor_equals_the_fitted_model(second: str) -> None:
    rng = np.random.default_rng(0)
    x, y, _ = draw(300)
    y = y * (rng.random(300) < 0.7)
    options = TwoPartOptions("probit", second)
    some = np.arange(300) % 3 > 0
    predicted = build_two_part_predictor(x, y, options=options)(np.stack([np.ones(300), some.astype(float)]))
    for row, used in zip(predicted, (np.ones(300, dtype=bool), some), strict=True):
        model = fit_two_part(x[used], y[used], names=("constant", "x"), options=options)
        np.testing.assert_allclose(row, predict_two_part(model, x), rtol=1e-6)


def test_noise_overfits_and_a_right_model_does_not() -> None:
    x, y, _ = draw(150)
    noise = np.column_stack([x, np.random.default_rng(1).normal(size=(150, 60))])
    kept = compute_overfit(y, build_glm_predictor(x, y, options=GAMMA), rng=np.random.default_rng(0))
    lost = compute_overfit(y, build_glm_predictor(noise, y, options=GAMMA), rng=np.random.default_rng(0))
    assert check_overfit(kept).passed
    assert check_overfit(lost).passed is False
    assert "overfitted" in check_overfit(lost).text
    assert lost.rmse > kept.rmse
    assert lost.rmse_within < lost.rmse


def test_overfit_keeps_clusters_whole_and_refuses_too_few() -> None:
    x, y, _ = draw(100)
    cluster = np.arange(100) // 5
    seen = []

    def spy(counts: np.ndarray) -> np.ndarray:
        seen.append(counts)
        return build_glm_predictor(x, y, options=GAMMA)(counts)

    compute_overfit(y, spy, folds=4, cluster=cluster, rng=np.random.default_rng(0))
    by_cluster = seen[0].reshape(5, 20, 5)
    assert (by_cluster == by_cluster[:, :, :1]).all()
    with pytest.raises(NotEstimable, match="fewer people or clusters than folds"):
        compute_overfit(y, spy, folds=21, cluster=cluster, rng=np.random.default_rng(0))
    with pytest.raises(ParameterError, match="rng"):
        compute_overfit(y, spy, rng=None)  # type: ignore[arg-type]
