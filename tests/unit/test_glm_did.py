"""Difference-in-differences of cost by log-link and two-part models: numbers, errors, refusals."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.estimators.costs.did_rows import compute_degrees
from evalkit.estimators.costs.glm_did import (
    GlmDidOptions,
    TwoPartDidOptions,
    compute_glm_did_bootstrap,
    compute_glm_did_draws,
    estimate_glm_did,
    estimate_two_part_did,
    fit_glm_did,
    fit_two_part_did,
)
from evalkit.estimators.costs.log_link_did import CostData

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))
ESTIMAND = Estimand("public_cost", "ATT", "people", WINDOW, "gbp_per_person_quarter")
SANDWICH = GlmDidOptions(errors="cluster")
TWO_SANDWICH = TwoPartDidOptions(errors="cluster")


def draw(
    n: int, *, seed: int = 0, saving: float = 0.2, kind: str = "gamma", shock: np.ndarray | None = None
) -> CostData:
    """A fifth of costs nought, the others skewed, a person's two alike; mean costs fall by 30% in both groups.

    The treated are 40%, dearer by exp(0.2), and save `saving` of the mean. `shock` (n,) multiplies the later cost.
    """
    rng = np.random.default_rng(seed)
    treated, x = rng.random(n) < 0.4, rng.normal(size=n)
    level = 8000 * np.exp(0.2 * treated + 0.3 * x + 0.3 * rng.normal(size=n) - 0.045)

    def spend(mean: np.ndarray) -> np.ndarray:
        skew = rng.gamma(0.8, 1 / 0.8, n) if kind == "gamma" else np.exp(rng.normal(size=n) - 0.5)
        return mean * skew * (rng.random(n) < 0.8)

    before = spend(level)
    after = spend(level * 0.7 * np.where(treated, 1 - saving, 1.0) * (1.0 if shock is None else shock))
    return CostData(before, after, treated, pd.DataFrame({"x": x}))


def bare(data: CostData) -> CostData:
    return CostData(data.before, data.after, data.treated, pd.DataFrame(index=range(len(data.treated))))


def long(data: CostData) -> tuple[np.ndarray, np.ndarray]:
    n = len(data.treated)
    side, period = np.tile(data.treated.astype(float), 2), np.repeat([0.0, 1.0], n)
    x = np.tile(data.covariates["x"].to_numpy(), 2)
    return np.column_stack([np.ones(2 * n), side, period, side * period, x]), np.concatenate([data.before, data.after])


@pytest.mark.parametrize("family", ["gamma", "poisson", "gaussian"])
def test_without_covariates_it_is_a_product_of_cell_means(family: str) -> None:
    data = bare(draw(300))
    t = data.treated
    expected = data.before[t].mean() * data.after[~t].mean() / data.before[~t].mean()
    found = fit_glm_did(data, options=GlmDidOptions(family, "cluster"))
    assert (found.actual, found.counterfactual) == pytest.approx((data.after[t].mean(), expected), rel=1e-7)
    log = np.where(t, data.after / data.after[t].mean() - data.before / data.before[t].mean(), 0) / t.sum()
    log -= np.where(~t, data.after / data.after[~t].mean() - data.before / data.before[~t].mean(), 0) / (~t).sum()
    assert found.se_log == pytest.approx(np.sqrt(300 / 299 * (log**2).sum()), rel=1e-7)


@pytest.mark.parametrize("first", ["logit", "probit"])
def test_without_covariates_two_parts_are_products_of_shares_and_means(first: str) -> None:
    data = bare(draw(400))
    t = data.treated
    link, inverse = (stats.logistic.ppf, stats.logistic.cdf) if first == "logit" else (stats.norm.ppf, stats.norm.cdf)
    shares = [link((y[s] > 0).mean()) for y, s in ((data.before, t), (data.after, ~t), (data.before, ~t))]
    logs = [np.log(y[s & (y > 0)].mean()) for y, s in ((data.before, t), (data.after, ~t), (data.before, ~t))]
    found = fit_two_part_did(data, options=TwoPartDidOptions(first, errors="cluster"))
    expected = inverse(shares[0] + shares[1] - shares[2]) * np.exp(logs[0] + logs[1] - logs[2])
    assert (found.actual, found.counterfactual) == pytest.approx((data.after[t].mean(), expected), rel=1e-7)


@pytest.mark.parametrize("family", ["gamma", "poisson"])
def test_equals_statsmodels_and_its_delta_error(family: str) -> None:
    data = draw(300)
    x, y = long(data)
    sm_family = {"gamma": sm.families.Gamma(sm.families.links.Log()), "poisson": sm.families.Poisson()}[family]
    fit = sm.GLM(y + 1e-300, x, family=sm_family).fit(tol=1e-14, maxiter=200)
    rows = np.concatenate([np.zeros(300, dtype=bool), data.treated])
    without = x[rows].copy()
    without[:, 3] = 0
    one, nought = np.exp(x[rows] @ fit.params), np.exp(without @ fit.params)
    found = fit_glm_did(data, options=GlmDidOptions(family, "cluster"))
    assert (found.actual, found.counterfactual) == pytest.approx((one.mean(), nought.mean()), rel=1e-6)
    variance = fit.fittedvalues if family == "gamma" else np.ones(600)
    work = fit.fittedvalues / variance
    bread = np.linalg.inv((x * work[:, None]).T @ x)
    influence = (x * ((y - fit.fittedvalues) / variance)[:, None]) @ bread
    influence = influence[:300] + influence[300:]
    gradient = (x[rows] * one[:, None] - without * nought[:, None]).mean(axis=0)
    spread = np.zeros(300)
    spread[data.treated] = (one - nought - (one - nought).mean()) / data.treated.sum()
    total = influence @ gradient + spread
    assert found.se == pytest.approx(np.sqrt(300 / 299 * (total**2).sum()), rel=1e-5)


@pytest.mark.parametrize(
    "fit",
    [
        lambda d, e, c=None: fit_glm_did(d, options=GlmDidOptions("gamma", e), cluster=c),
        lambda d, e, c=None: fit_two_part_did(d, options=TwoPartDidOptions("probit", errors=e), cluster=c),
        lambda d, e, c=None: fit_two_part_did(d, options=TwoPartDidOptions("logit", "log_ols", errors=e), cluster=c),
    ],
)
@pytest.mark.parametrize("size", [1, 4])
def test_jackknife_equals_a_loop_that_leaves_out_each_person_or_cluster(fit, size: int) -> None:
    data = draw(120)
    cluster = np.arange(120) // size
    found = fit(data, "jackknife", cluster)
    groups = cluster.max() + 1
    away = []
    for g in range(groups):
        kept = cluster != g
        one = fit(CostData(data.before[kept], data.after[kept], data.treated[kept], data.covariates[kept]), "cluster")
        away.append([one.difference - found.difference, np.log(one.actual / one.counterfactual)])
    away = np.array(away)
    away[:, 1] -= np.log(found.actual / found.counterfactual)
    expected = np.sqrt((groups - 1) / groups * (away**2).sum(axis=0))
    assert (found.se, found.se_log) == pytest.approx(tuple(expected), rel=1e-6)


def test_jackknife_is_a_little_larger_than_the_sandwich_and_alike_with_many_people() -> None:
    for n, near in ((120, 0.12), (2000, 0.01)):
        a, b = fit_glm_did(draw(n)), fit_glm_did(draw(n), options=SANDWICH)
        assert 1 < a.se / b.se < 1 + near


def test_draws_equal_fits_to_people_drawn_and_their_spread_the_error() -> None:
    data = draw(300)
    rng = np.random.default_rng(11)  # not the seed of the data, whose numbers would be drawn again
    counts = rng.multinomial(300, np.full(300, 1 / 300), size=3)
    drawn = compute_glm_did_draws(data, counts)
    for count, means in zip(counts, drawn, strict=True):
        rows = np.repeat(np.arange(300), count)
        one = CostData(data.before[rows], data.after[rows], data.treated[rows], data.covariates.iloc[rows])
        found = fit_glm_did(one, options=SANDWICH)
        assert tuple(means) == pytest.approx((found.actual, found.counterfactual), rel=1e-7)
    effect = compute_glm_did_bootstrap(data, replicates=1000, rng=rng)
    found = fit_glm_did(data)
    assert effect.difference == pytest.approx(found.difference, rel=1e-9)
    assert effect.se == pytest.approx(found.se, rel=0.1)
    assert effect.relative(0.95)[0] == pytest.approx(found.relative(0.95)[0], rel=1e-9)


def test_clusters_that_share_a_shock_widen_the_error() -> None:
    cluster = np.arange(600) // 20
    shock = np.exp(0.8 * np.random.default_rng(5).normal(size=30))[cluster]
    data = draw(600, shock=shock)
    data = CostData(data.before, data.after, cluster % 3 == 0, data.covariates)
    for fit, options in ((fit_glm_did, SANDWICH), (fit_two_part_did, TWO_SANDWICH)):
        alone, together = fit(data, options=options), fit(data, options=options, cluster=cluster)
        assert together.difference == pytest.approx(alone.difference, rel=1e-9)
        assert together.se > 1.5 * alone.se
        assert together.n_clusters == 30
        assert together.degrees <= 29
        assert [c.name for c in together.checks][-1] == "clusters"
        assert together.checks[-1].passed
    few = fit_glm_did(data, options=SANDWICH, cluster=cluster // 2)
    assert few.checks[-1].passed is False
    whole = np.where(data.treated, 0, 1 + cluster)
    with pytest.raises(NotEstimable, match="cannot be told from the effect"):
        fit_glm_did(data, options=SANDWICH, cluster=whole)


def test_degrees_are_all_people_where_costs_are_normal_and_few_where_one_person_has_them() -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=5000)
    assert compute_degrees(normal - normal.mean()) == pytest.approx(4999, rel=0.1)
    one = np.zeros(100)
    one[0] = 1.0
    assert compute_degrees(one - one.mean()) < 3


def test_estimates_carry_what_a_referee_asks_for() -> None:
    data = draw(300)
    found = estimate_glm_did(data, ESTIMAND, level=0.9, role="primary")
    fitted = fit_glm_did(data)
    assert found.estimator == "glm_did_gamma"
    assert found.role == "primary"
    assert found.n_people == data.treated.sum()
    assert (found.lower, found.upper) == fitted.interval(0.9)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.value) / found.se, fitted.degrees))
    assert [c.name for c in found.checks] == [
        "park_test", "link_test", "pearson_correlation", "hosmer_lemeshow", "skew_behind_the_error", "area_shocks",
    ]  # fmt: skip
    two = estimate_two_part_did(data, ESTIMAND)
    assert two.estimator == "two_part_did"
    assert {"link_test_first", "link_test_second", "park_test"} <= {c.name for c in two.checks}
    share, low, high = fitted.relative(0.95)
    assert low < share < high
    assert (1 + low) * (1 + high) == pytest.approx((1 + share) ** 2)


def test_texts_are_covariates_and_constants_change_nothing() -> None:
    data = draw(200)
    kind = np.where(data.covariates["x"] > 0, "young", "old")
    both = pd.DataFrame({"kind": kind, "same": 1.0, "twin": (kind == "young").astype(float)})
    a = fit_glm_did(CostData(data.before, data.after, data.treated, both), options=SANDWICH)
    b = fit_glm_did(CostData(data.before, data.after, data.treated, both[["twin"]]), options=SANDWICH)
    assert (a.difference, a.se) == pytest.approx((b.difference, b.se), rel=1e-9)


def test_too_few_people_or_no_cost_in_a_cell_are_refused() -> None:
    data = draw(200)
    few = CostData(data.before, data.after, np.arange(200) < 5, data.covariates)
    nothing = CostData(data.before, np.where(data.treated, 0.0, data.after), data.treated, data.covariates)
    for estimate in (estimate_glm_did, estimate_two_part_did):
        with pytest.raises(NotEstimable, match="too few people on one side"):
            estimate(few, ESTIMAND)
        with pytest.raises(NotEstimable):
            estimate(nothing, ESTIMAND)
        with pytest.raises(NotEstimable, match="in one cluster only"):
            estimate(data, ESTIMAND, cluster=np.zeros(200))


def test_a_cell_in_which_everybody_has_a_cost_has_no_two_part_model() -> None:
    data = draw(200)
    full = CostData(np.where(data.treated, data.before + 1, data.before), data.after, data.treated, data.covariates)
    with pytest.raises(NotEstimable, match="separated"):
        estimate_two_part_did(full, ESTIMAND)
    assert np.isfinite(estimate_glm_did(full, ESTIMAND).value)


def test_costs_that_do_not_vary_have_no_error() -> None:
    treated = np.arange(100) < 40
    flat = CostData(np.full(100, 50.0), np.where(treated, 30.0, 40.0), treated, pd.DataFrame(index=range(100)))
    with pytest.raises(NotEstimable, match="do not vary"):
        estimate_glm_did(flat, ESTIMAND)


def test_zeros_and_ones_are_sides_too() -> None:
    data = draw(200)
    other = CostData(data.before, data.after, data.treated.astype(int), data.covariates)
    assert fit_glm_did(other).se == pytest.approx(fit_glm_did(data).se, rel=1e-12)
    a, b = (compute_glm_did_bootstrap(d, replicates=20, rng=np.random.default_rng(7)) for d in (data, other))
    np.testing.assert_array_equal(a.draws, b.draws)


def test_a_model_that_hangs_on_one_person_has_no_jackknife() -> None:
    data = draw(200)
    rare = pd.DataFrame({"rare": (np.arange(200) == np.flatnonzero(data.after > 0)[0]).astype(float)})
    data = CostData(data.before, data.after, data.treated, rare)
    assert np.isfinite(estimate_glm_did(data, ESTIMAND, options=SANDWICH).se)
    with pytest.raises(NotEstimable, match="hangs on one person"):
        estimate_glm_did(data, ESTIMAND)


def test_bad_input_is_named() -> None:
    data = draw(200)
    negative = CostData(-data.before - 1, data.after, data.treated, data.covariates)
    missing = CostData(data.before, np.full(200, np.nan), data.treated, data.covariates)
    short = CostData(data.before[:5], data.after, data.treated, data.covariates)
    holes = CostData(data.before, data.after, data.treated, data.covariates.where(data.covariates["x"] > 0))
    for wrong, said in ((negative, "below nought"), (missing, "missing"), (short, "shapes"), (holes, "x: ")):
        for estimate in (estimate_glm_did, estimate_two_part_did):
            with pytest.raises(ParameterError, match=said):
                estimate(wrong, ESTIMAND)
    twins = CostData(data.before, data.after, data.treated, pd.concat([data.covariates, data.covariates], axis=1))
    with pytest.raises(ParameterError, match="twice"):
        estimate_glm_did(twins, ESTIMAND)
    with pytest.raises(ParameterError, match="treated: it holds other values"):
        estimate_glm_did(CostData(data.before, data.after, 2 * data.treated, data.covariates), ESTIMAND)
    with pytest.raises(ParameterError, match="contrast"):
        estimate_glm_did(data, Estimand("public_cost", "ATE", "people", WINDOW, "rate_ratio"))
    with pytest.raises(ParameterError, match="level"):
        estimate_glm_did(data, ESTIMAND, level=95)
    with pytest.raises(ParameterError, match="errors"):
        estimate_glm_did(data, ESTIMAND, options=GlmDidOptions(errors="HC1"))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="family"):
        estimate_two_part_did(data, ESTIMAND, options=TwoPartDidOptions(family="tweedie"))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="cluster"):
        estimate_glm_did(data, ESTIMAND, cluster=np.full(200, np.nan))
    with pytest.raises(ParameterError, match="draws x people"):
        compute_glm_did_draws(data, np.ones((2, 7)))
    with pytest.raises(ParameterError, match="rng"):
        compute_glm_did_bootstrap(data, replicates=10, rng=None)  # type: ignore[arg-type]
