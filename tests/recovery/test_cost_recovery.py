"""Cost differences against a known counterfactual, under skew and confounding."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.estimators.costs.log_link_did import (
    CostData,
    compute_cost_effect,
    estimate_cost_before_after,
    estimate_cost_did,
)

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))
ESTIMAND = Estimand("public_cost", "ATT", "people", WINDOW, "gbp_per_person_quarter")


def draw(seed: int, *, n: int = 600, saving: float = 0.2) -> tuple[CostData, float]:
    """Gamma costs that fall by 40% everywhere; the treated group differs in x, which drives the fall too."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    treated = rng.random(n) < 1 / (1 + np.exp(1 - 0.6 * x))
    level = 8000 * np.exp(0.2 * treated + 0.3 * x) * rng.gamma(2, 0.5, n)
    before = level * rng.gamma(2, 0.5, n)
    untreated = level * 0.6 * np.exp(0.1 * x) * rng.gamma(2, 0.5, n)
    after = np.where(treated, untreated * (1 - saving), untreated)
    truth = float((after - untreated)[treated].mean())
    return CostData(before, after, treated, pd.DataFrame({"x": x})), truth


@pytest.mark.slow
def test_bias_and_coverage():
    covered, errors = [], []
    _, truth = draw(10**6, n=500_000)  # the effect in the population that the draws are taken from
    for seed in range(120):
        data, _ = draw(seed)
        effect = compute_cost_effect(data, replicates=200, rng=np.random.default_rng(seed))
        found = estimate_cost_did(effect, ESTIMAND, level=0.95, n_people=int(data.treated.sum()))
        covered.append(found.lower <= truth <= found.upper)
        errors.append(found.value - truth)
    assert abs(np.mean(errors)) <= 3 * np.std(errors) / np.sqrt(len(errors))
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(covered))


def test_before_and_after_calls_a_general_fall_a_saving():
    data, truth = draw(1, saving=0.0)
    naive = estimate_cost_before_after(data, ESTIMAND, level=0.95)
    assert truth == 0
    assert naive.upper < -1000
    assert naive.role == "naive"


def test_scale_of_money_scales_the_answer():
    data, _ = draw(2)
    pence = CostData(data.before * 100, data.after * 100, data.treated, data.covariates)
    a = compute_cost_effect(data, replicates=100, rng=np.random.default_rng(0))
    b = compute_cost_effect(pence, replicates=100, rng=np.random.default_rng(0))
    assert b.difference == pytest.approx(100 * a.difference, rel=1e-9)
    assert b.relative(0.95) == pytest.approx(a.relative(0.95), rel=1e-9)


def test_equals_the_interaction_of_a_log_link_regression():
    """Unweighted, the counterfactual is exp of a Poisson quasi-likelihood's group and period effects."""
    import statsmodels.api as sm

    data, _ = draw(3)
    flat = CostData(data.before, data.after, data.treated, pd.DataFrame({"one": np.ones(len(data.before))}))
    effect = compute_cost_effect(flat, replicates=100, rng=np.random.default_rng(0))
    y = np.concatenate([data.before, data.after])
    t, p = np.tile(data.treated.astype(float), 2), np.repeat([0.0, 1.0], len(data.before))
    fit = sm.GLM(y, np.column_stack([np.ones(len(y)), t, p, t * p]), family=sm.families.Poisson()).fit()
    assert effect.relative(0.95)[0] == pytest.approx(np.exp(fit.params[3]) - 1, rel=1e-8)


def test_too_few_people_are_refused():
    data, _ = draw(4, n=40)
    few = CostData(data.before[:30], data.after[:30], np.arange(30) < 5, data.covariates[:30])
    with pytest.raises(NotEstimable, match="too few people"):
        compute_cost_effect(few, replicates=100, rng=np.random.default_rng(0))
