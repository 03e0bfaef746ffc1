"""What must not change two-part and difference-in-differences results, and what must change with them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.estimators.costs.glm_did import GlmDidOptions, TwoPartDidOptions, fit_glm_did, fit_two_part_did
from evalkit.estimators.costs.log_link_did import CostData
from evalkit.estimators.costs.specification import (
    compute_hosmer_lemeshow,
    compute_park_test,
    compute_pearson_test,
)
from evalkit.estimators.costs.two_part import TwoPartOptions, compute_two_part_effects, fit_two_part
from tests.unit.test_glm_did import draw as draw_costs
from tests.unit.test_two_part import NAMES, draw

SECONDS = ["glm", "log_ols"]
FITS = [
    lambda d, c=None: fit_glm_did(d, options=GlmDidOptions("gamma"), cluster=c),
    lambda d, c=None: fit_glm_did(d, options=GlmDidOptions("poisson", "cluster"), cluster=c),
    lambda d, c=None: fit_two_part_did(d, options=TwoPartDidOptions("probit"), cluster=c),
    lambda d, c=None: fit_two_part_did(d, options=TwoPartDidOptions("logit", "log_ols", errors="cluster"), cluster=c),
]


def effects(x: np.ndarray, y: np.ndarray, second: str, **given: object) -> tuple[np.ndarray, np.ndarray]:
    errors = "cluster" if "cluster" in given else "HC0"
    options = TwoPartOptions("logit", second, errors=errors)
    model = fit_two_part(x, y, names=NAMES, options=options, **given)
    found = compute_two_part_effects(model, x, marginal=("age",), incremental=("carer",), people="sampled")
    return found.value, found.se


@pytest.mark.parametrize("second", SECONDS)
def test_money_scales_effects_and_errors(second: str) -> None:
    x, y, _ = draw()
    value, se = effects(x, y, second)
    pence, pence_se = effects(x, 100 * y, second)
    np.testing.assert_allclose(pence, 100 * value, rtol=1e-8)
    np.testing.assert_allclose(pence_se, 100 * se, rtol=1e-8)


@pytest.mark.parametrize("second", SECONDS)
def test_units_and_origin_of_a_covariate(second: str) -> None:
    x, y, _ = draw()
    value, se = effects(x, y, second)
    moved = x.copy()
    moved[:, 1] = 50 + 10 * x[:, 1]
    other, other_se = effects(moved, y, second)
    np.testing.assert_allclose(other * [10, 1], value, rtol=1e-7)
    np.testing.assert_allclose(other_se * [10, 1], se, rtol=1e-7)


@pytest.mark.parametrize("second", SECONDS)
def test_order_of_people_and_names_of_clusters(second: str) -> None:
    x, y, cluster = draw(size=4)
    order = np.random.default_rng(0).permutation(len(y))
    value, se = effects(x, y, second, cluster=cluster)
    other, other_se = effects(x[order], y[order], second, cluster=900 - 7 * cluster[order])
    np.testing.assert_allclose(other, value, rtol=1e-8)
    np.testing.assert_allclose(other_se, se, rtol=1e-8)


@pytest.mark.parametrize("second", SECONDS)
def test_everybody_twice_at_half_weight_in_one_cluster(second: str) -> None:
    x, y, cluster = draw()
    value, se = effects(x, y, second, cluster=cluster)
    twice, twice_se = effects(
        np.vstack([x, x]), np.tile(y, 2), second, cluster=np.tile(cluster, 2), weights=np.full(2 * len(y), 0.5)
    )  # fmt: skip
    np.testing.assert_allclose(twice, value, rtol=1e-8)
    np.testing.assert_allclose(twice_se, se, rtol=1e-8)


@pytest.mark.parametrize("fit", FITS)
def test_did_scales_with_money_and_its_share_does_not(fit) -> None:
    data = draw_costs(200)
    pence = CostData(100 * data.before, 100 * data.after, data.treated, data.covariates)
    a, b = fit(data), fit(pence)
    assert (b.difference, b.se) == pytest.approx((100 * a.difference, 100 * a.se), rel=1e-6)
    assert b.relative(0.95) == pytest.approx(a.relative(0.95), rel=1e-6)


@pytest.mark.parametrize("fit", FITS)
def test_did_does_not_know_the_order_of_people_or_the_units_of_covariates(fit) -> None:
    data = draw_costs(200)
    order = np.random.default_rng(1).permutation(200)
    covariates = pd.DataFrame({"x": 3 + 100 * data.covariates["x"].to_numpy()[order], "constant": 1.0})
    other = CostData(data.before[order], data.after[order], data.treated[order], covariates)
    a, b = fit(data), fit(other)
    assert (b.actual, b.counterfactual, b.se, b.se_log) == pytest.approx(
        (a.actual, a.counterfactual, a.se, a.se_log), rel=1e-6
    )


@pytest.mark.parametrize("fit", FITS)
def test_did_with_each_person_a_cluster_is_the_default(fit) -> None:
    data = draw_costs(200)
    a, b = fit(data), fit(data, np.arange(200)[::-1].copy())
    assert (b.difference, b.se, b.degrees) == pytest.approx((a.difference, a.se, a.degrees), rel=1e-8)


def test_tests_of_specification_do_not_know_the_currency() -> None:
    rng = np.random.default_rng(0)
    mu = np.exp(rng.normal(size=400))
    y = mu * rng.gamma(1, 1, 400)
    a, b = compute_park_test(y, mu), compute_park_test(1000 * y, 1000 * mu)
    assert (b.power, b.se, b.power_ols) == pytest.approx((a.power, a.se, a.power_ols), rel=1e-6)
    assert compute_pearson_test(1000 * y, 1000 * mu).p_value == pytest.approx(compute_pearson_test(y, mu).p_value)
    assert compute_hosmer_lemeshow(1e3 * y, 1e3 * mu).statistic == pytest.approx(
        compute_hosmer_lemeshow(y, mu).statistic
    )
