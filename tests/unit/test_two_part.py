"""The two-part model: effects of the whole and their errors, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.costs.two_part import (
    TwoPartModel,
    TwoPartOptions,
    compute_contrast_cost,
    compute_mean_cost,
    compute_two_part_effects,
    fit_two_part,
    predict_two_part,
    predict_with_gradient,
)
from evalkit.estimators.costs.two_part_checks import check_two_part

NAMES = ("constant", "age", "carer")
EVERY = [
    TwoPartOptions("logit", "glm", "gamma", "log"),
    TwoPartOptions("probit", "glm", "gamma", "log"),
    TwoPartOptions("logit", "glm", "poisson", "sqrt"),
    TwoPartOptions("probit", "log_ols"),
]


def draw(n: int = 400, *, seed: int = 0, size: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Design, cost and clusters of `size` people, who share a shock to both parts."""
    rng = np.random.default_rng(seed)
    cluster = np.arange(n) // size
    shock = 0.6 * rng.normal(size=n)[cluster] if size > 1 else np.zeros(n)
    age, carer = rng.normal(size=n), (rng.random(n) < 0.4).astype(float)
    paid = rng.random(n) < 1 / (1 + np.exp(-(1 + 0.5 * age + 0.8 * carer + shock)))
    cost = np.exp(7 + 0.3 * age + 0.5 * carer + shock) * rng.gamma(2, 0.5, n)
    return np.column_stack([np.ones(n), age, carer]), np.where(paid, cost, 0.0), cluster


def stack(model: TwoPartModel) -> np.ndarray:
    parts = [model.first, model.second]
    return np.concatenate([*parts, [model.smearing]] if model.options.second == "log_ols" else parts)


def unstack(model: TwoPartModel, theta: np.ndarray) -> TwoPartModel:
    p = len(model.first)
    smearing = float(theta[2 * p]) if model.options.second == "log_ols" else 1.0
    return replace(model, first=theta[:p], second=theta[p : 2 * p], smearing=smearing)


def jacobian(model: TwoPartModel, function) -> np.ndarray:
    theta = stack(model)
    columns = []
    for j, value in enumerate(theta):
        step = np.zeros(len(theta))
        step[j] = 1e-5 * max(1.0, abs(value))
        columns.append(
            (function(unstack(model, theta + step)) - function(unstack(model, theta - step))) / (2 * step[j])
        )
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{o.first}-{o.second}-{o.family}-{o.link}")
def test_gradients_and_delta_errors_equal_a_numerical_jacobian(options: TwoPartOptions) -> None:
    x, y, _ = draw()
    model = fit_two_part(x, y, names=NAMES, options=options)
    numeric = jacobian(model, lambda m: predict_two_part(m, x))
    np.testing.assert_allclose(predict_with_gradient(model, x)[1], numeric, rtol=1e-6, atol=1e-6 * numeric.max())
    effects = compute_two_part_effects(model, x, marginal=("age",), incremental=("carer",))
    slopes = jacobian(
        model, lambda m: compute_two_part_effects(m, x, marginal=("age",), incremental=("carer",)).value
    )  # fmt: skip
    np.testing.assert_allclose(effects.covariance, slopes @ model.covariance @ slopes.T, rtol=1e-5)


@pytest.mark.parametrize("options", EVERY, ids=lambda o: f"{o.first}-{o.second}-{o.family}-{o.link}")
def test_marginal_effect_is_the_derivative_of_the_mean(options: TwoPartOptions) -> None:
    x, y, _ = draw()
    model = fit_two_part(x, y, names=NAMES, options=options)
    step = np.array([0, 1e-4, 0])
    numeric = (predict_two_part(model, x + step) - predict_two_part(model, x - step)).mean() / 2e-4
    assert compute_two_part_effects(model, x, marginal=("age",)).value[0] == pytest.approx(numeric, rel=1e-7)


def test_influence_of_the_smearing_factor_is_what_leaving_a_person_out_does() -> None:
    x, y, _ = draw(n=2000)
    options = TwoPartOptions("logit", "log_ols")
    model = fit_two_part(x, y, names=NAMES, options=options)
    np.testing.assert_allclose(model.influence.sum(axis=0), 0, atol=1e-8)
    for row in (3, 50, 777):
        without = fit_two_part(np.delete(x, row, 0), np.delete(y, row), names=NAMES, options=options)
        assert model.smearing - without.smearing == pytest.approx(model.influence[row, -1], rel=0.05, abs=1e-6)


@pytest.mark.parametrize("second", ["glm", "log_ols"])
@pytest.mark.parametrize("size", [1, 5])
def test_errors_equal_those_of_a_bootstrap_of_people_or_clusters(second: str, size: int) -> None:
    x, y, cluster = draw(n=600, seed=3, size=size)
    options = TwoPartOptions("logit", second, errors="cluster")
    model = fit_two_part(x, y, names=NAMES, options=options, cluster=cluster)
    found = compute_two_part_effects(model, x, marginal=("age",), incremental=("carer",), people="sampled")
    mean = compute_mean_cost(model, x, people="sampled")
    rng = np.random.default_rng(1)
    groups = cluster.max() + 1
    drawn = []
    for _ in range(200):
        rows = np.concatenate([np.flatnonzero(cluster == g) for g in rng.integers(groups, size=groups)])
        one = fit_two_part(x[rows], y[rows], names=NAMES, options=replace(options, errors="HC0"))
        effects = compute_two_part_effects(one, x[rows], marginal=("age",), incremental=("carer",))
        drawn.append([*effects.value, *compute_mean_cost(one, x[rows]).value])
    spread = np.std(drawn, axis=0, ddof=1)
    # 200 draws know a standard error to about 5%, and worse where costs are skewed.
    np.testing.assert_allclose([*found.se, *mean.se], spread, rtol=0.2)


def test_clusters_widen_errors_where_people_of_a_cluster_are_alike() -> None:
    x, y, cluster = draw(n=1000, seed=4, size=10)
    apart = compute_mean_cost(fit_two_part(x, y, names=NAMES), x)
    options = TwoPartOptions(errors="cluster")
    together = compute_mean_cost(fit_two_part(x, y, names=NAMES, options=options, cluster=cluster), x)
    assert together.value == pytest.approx(apart.value, rel=1e-12)
    assert together.se[0] > 1.5 * apart.se[0]


def test_clusters_of_one_are_the_plain_error_times_its_factor() -> None:
    x, y, _ = draw()
    plain = compute_mean_cost(fit_two_part(x, y, names=NAMES), x)
    options = TwoPartOptions(errors="cluster")
    alone = compute_mean_cost(fit_two_part(x, y, names=NAMES, options=options, cluster=np.arange(400)), x)
    assert alone.se[0] == pytest.approx(plain.se[0] * np.sqrt(400 / 399), rel=1e-9)


def test_a_contrast_of_designs_equals_the_incremental_effect() -> None:
    x, y, _ = draw()
    model = fit_two_part(x, y, names=NAMES)
    one, nought = x.copy(), x.copy()
    one[:, 2], nought[:, 2] = 1, 0
    both = compute_contrast_cost(model, one, nought)
    effect = compute_two_part_effects(model, x, incremental=("carer",))
    assert both.value[0] - both.value[1] == pytest.approx(effect.value[0], rel=1e-12)
    change = np.array([1, -1])
    assert change @ both.covariance @ change == pytest.approx(effect.covariance[0, 0], rel=1e-10)


def test_checks_say_what_they_found() -> None:
    x, y, cluster = draw(n=1000)
    checks = check_two_part(fit_two_part(x, y, names=NAMES), x, y)
    assert [c.name for c in checks] == [
        "link_test_first", "pearson_correlation", "hosmer_lemeshow", "link_test_second", "park_test",
    ]  # fmt: skip
    assert all(c.passed for c in checks)
    options = TwoPartOptions("probit", "log_ols", errors="cluster")
    among = check_two_part(fit_two_part(x, y, names=NAMES, options=options, cluster=cluster // 3), x, y)
    assert [c.name for c in among] == ["link_test_first", "pearson_correlation", "hosmer_lemeshow"]


@pytest.mark.parametrize(
    ("paid", "said"), [(0.02, "too few for a model of how much"), (0.98, "too few for a model of any")]
)
def test_too_few_with_or_without_a_cost_are_refused(paid: float, said: str) -> None:
    x, _, _ = draw(n=200)
    y = np.where(np.arange(200) < 200 * paid, 100.0, 0.0)
    with pytest.raises(NotEstimable, match=said) as refusal:
        fit_two_part(x, y, names=NAMES)
    assert "fewer than 10 rows" in str(refusal.value)


def test_separation_of_the_first_part_is_refused_by_name() -> None:
    x, y, _ = draw()
    y = np.where(x[:, 2] == 1, np.maximum(y, 50.0), y)
    with pytest.raises(NotEstimable, match=r"carer.*separated"):
        fit_two_part(x, y, names=NAMES)


@pytest.mark.parametrize("second", ["glm", "log_ols"])
def test_a_column_that_is_constant_among_those_with_a_cost_is_refused(second: str) -> None:
    x, y, _ = draw()
    x = np.column_stack([x, ((y == 0) & (np.arange(400) % 3 == 0)).astype(float)])
    with pytest.raises(NotEstimable):
        fit_two_part(x, y, names=(*NAMES, "odd"), options=TwoPartOptions(second=second))


def test_all_faults_come_at_once() -> None:
    x, y, _ = draw()
    y = y.copy()
    y[:3] = -5
    with pytest.raises(ParameterError) as refusal:
        fit_two_part(x, y, names=NAMES, options=TwoPartOptions(errors="cluster"), weights=np.zeros(400))
    assert [f.where for f in refusal.value.faults] == ["cost", "weights", "cluster"]
    assert "fewer than 10 rows are below nought" in str(refusal.value)
    wrong = TwoPartOptions(first="cloglog", second="ols", errors="model", link="identity")  # type: ignore[arg-type]
    with pytest.raises(ParameterError) as refusal:
        fit_two_part(x, np.abs(y), names=NAMES, options=wrong)
    assert [f.where for f in refusal.value.faults] == ["first", "second", "errors", "link"]
    for missing in (np.full(400, np.nan), y[:10]):
        with pytest.raises(ParameterError):
            fit_two_part(x, missing, names=NAMES)


def test_effects_refuse_what_they_do_not_know() -> None:
    x, y, cluster = draw()
    model = fit_two_part(x, y, names=NAMES)
    with pytest.raises(ParameterError, match="no such covariate"):
        compute_two_part_effects(model, x, marginal=("wage",))
    with pytest.raises(ParameterError, match="0 or 1"):
        compute_two_part_effects(model, x, incremental=("age",))
    with pytest.raises(ParameterError, match="no covariate was asked for"):
        compute_two_part_effects(model, x)
    with pytest.raises(ParameterError, match="rows that the model was fitted to"):
        compute_mean_cost(model, x[:50], people="sampled")
    with pytest.raises(ParameterError, match="columns are not the model's"):
        compute_mean_cost(model, x[:, :2])
    root = fit_two_part(x, y, names=NAMES, options=TwoPartOptions(family="poisson", link="sqrt"))
    with pytest.raises(NotEstimable, match="cannot be had"):
        compute_mean_cost(root, x - np.array([0, 100.0, 0]))
    with pytest.raises(NotEstimable, match="one cluster"):
        fit_two_part(x, y, names=NAMES, options=TwoPartOptions(errors="cluster"), cluster=0 * cluster)
