"""Doubly robust cost differences against R, a Python peer, formulas of the paper and loops over statsmodels."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize

from evalkit.cohort.comparison import Comparison
from evalkit.estimators.costs.dr_did import (
    DrCostOptions,
    compute_dr_cost_draws,
    compute_dr_cost_means,
    draw_counts,
    estimate_dr_cost_did,
)
from evalkit.estimators.people.logistic import add_intercept
from evalkit.estimators.people.person_effects import EffectOptions, estimate_effect
from evalkit.estimators.people.weighting import WeightOptions
from tests.cost_people import make_costs
from tests.people_factory import make_estimand
from tests.shared_data import reference, shared

CHANGE = make_estimand("ATT", "mean_difference")
IMPROVED = DrCostOptions(scale_of_trend="difference", correction="none")
TRADITIONAL = DrCostOptions(scale_of_trend="difference", method_in_pounds="traditional", correction="none")


@functools.cache
def county_effect(key: str) -> tuple[float, float]:
    """One cohort of counties against those never treated; 10 is put to both years' log employment, which costs
    nothing and keeps them above nought."""
    _, _, _, _, cohort, year = key.split(".")
    frame = pd.read_csv(shared("did_mpdta") / "data.csv")
    wide = 10.0 + frame.pivot(index="countyreal", columns="year", values="lemp")
    first = frame.groupby("countyreal")[["lpop", "first.treat"]].first()
    adoption = int(cohort[1:])
    sides = pd.DataFrame({
        "treated": (first["first.treat"] == adoption).astype(int), "lpop": first["lpop"], "after": wide[int(year[1:])],
        "before": wide[adoption - 1],
    })[first["first.treat"].isin([0, adoption])]  # fmt: skip
    c = Comparison.from_frame(sides, treatment="treated", covariates=("lpop",), outcome="after", before="before")
    found = estimate_dr_cost_did(c, CHANGE, options=TRADITIONAL)
    return found.value, found.se


def is_after(key: str) -> bool:
    parts = key.split(".")
    return key.startswith("lpop.never.dr.att_gt") and int(parts[5][1:]) >= int(parts[4][1:])


@pytest.mark.parametrize("key", [key for key in reference("did_mpdta") if is_after(key)])
def test_traditional_in_pounds_equals_r(key):
    """R's did, which calls DRDID's drdid_panel; its glm stops at a deviance change of 1e-8 (errors to 5e-6)."""
    value, se = county_effect(key.removesuffix(".se"))
    of = se if key.endswith(".se") else value
    assert of == pytest.approx(reference("did_mpdta")[key], rel=5e-6 if key.endswith(".se") else 1e-6)


@pytest.mark.parametrize(("options", "value", "se"), [
    # equations of Sant'Anna and Zhao 2020, section 3.1, written out in R 4.2.2 (Newton for the tilting, lm, influence)
    (IMPROVED, 1153.749272773159, 805.062429319314),
    # Python's drdid 1.1.7, drdid_panel: root of the mean square of its influence function over the root of n
    (TRADITIONAL, 1118.5753056734473, 815.3736792112339),
])  # fmt: skip
def test_lalonde_from_1975_to_1978(options, value, se):
    frame = pd.read_csv(shared("ps_lalonde_matchit") / "data.csv")
    frame = frame.assign(black=frame["race"] == "black", hispan=frame["race"] == "hispan")
    c = Comparison.from_frame(
        frame, treatment="treat", outcome="re78", before="re75",
        covariates=("age", "educ", "black", "hispan", "married", "nodegree", "re74"),
    )  # fmt: skip
    found = estimate_dr_cost_did(c, CHANGE, options=options)
    assert found.value == pytest.approx(value, rel=1e-9)
    assert found.se == pytest.approx(se, rel=1e-9)


def improve_by_hand(c: Comparison) -> tuple[float, float]:
    """Sant'Anna and Zhao's improved estimator: tilting, weighted least squares, and its influence function."""
    x, d, s, change = add_intercept(c.covariates), c.treated.astype(float), c.sampling, c.outcome - c.before
    tilt = optimize.root(
        lambda g: (s * (d - (1 - d) * np.exp(x @ g))) @ x, np.zeros(x.shape[1]), tol=1e-14,
        jac=lambda g: -(x * (s * (1 - d) * np.exp(x @ g))[:, None]).T @ x,
    )  # fmt: skip
    w = (1 - d) * np.exp(x @ tilt.x)
    fitted = x @ sm.WLS(change, x, weights=s * w).fit().params
    summand = (d - w) * (change - fitted)
    att = (s * summand).sum() / (s * d).sum()
    influence = s * (summand - d * att) / (s * d).sum()
    return att, np.sqrt((influence**2).sum())


@pytest.mark.parametrize("seed", range(3))
def test_improved_in_pounds_is_the_formula_of_the_paper(seed):
    people = make_costs(300, seed=seed, sampling=True)
    found = estimate_dr_cost_did(people, CHANGE, options=IMPROVED)
    assert (found.value, found.se) == pytest.approx(improve_by_hand(people), rel=1e-8)


@pytest.mark.parametrize(("options", "effect"), [
    (TRADITIONAL, EffectOptions(method="did_aipw", correction="none")),
    (IMPROVED, EffectOptions(method="did_ipw", weights=WeightOptions(method="entropy"), correction="none")),
])  # fmt: skip
@pytest.mark.parametrize("correction", ["none", "clusters", "leverage", "jackknife"])
def test_in_pounds_it_is_the_difference_in_differences_of_people(options, effect, correction):
    people = make_costs(300, sampling=True, clusters=2)
    ours = estimate_dr_cost_did(people, CHANGE, options=DrCostOptions(**vars(options) | {"correction": correction}))
    theirs = estimate_effect(people, CHANGE, options=EffectOptions(**vars(effect) | {"correction": correction}))
    for name in ("value", "se", "lower", "upper", "p_value"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-12)


def proportion_by_hand(c: Comparison, count: np.ndarray) -> tuple[float, float]:
    """As people write it: a Logit and three Poisson models of statsmodels, on people with cost before."""
    x, t, poisson = add_intercept(c.covariates), c.treated, sm.families.Poisson()
    u, y, b = ~t, c.outcome, c.before
    fit = {"tol": 1e-14, "maxiter": 200}
    logit = sm.GLM(t.astype(float), x, family=sm.families.Binomial(), freq_weights=count).fit(**fit)
    m1 = sm.GLM(b[t], x[t], family=poisson, freq_weights=count[t]).fit(**fit)
    m0 = sm.GLM(b[u], x[u], family=poisson, freq_weights=count[u]).fit(**fit)
    r = sm.GLM(y[u], x[u], family=poisson, freq_weights=count[u], exposure=b[u]).fit(**fit)
    w = count[u] * np.exp(x[u] @ logit.params) * m1.predict(x[u]) / m0.predict(x[u])
    trend_t, trend_c = np.exp(x[t] @ r.params), np.exp(x[u] @ r.params)
    shift = (w * (y[u] - trend_c * b[u])).sum() / (w * b[u]).sum()
    psi = np.average(b[t] * trend_t, weights=count[t]) + np.average(b[t], weights=count[t]) * shift
    return np.average(y[t], weights=count[t]), psi


def test_draws_in_proportion_are_those_of_a_loop_over_statsmodels():
    people = make_costs(400, seed=7)
    people = people.select(people.before > 0)
    counts = draw_counts(people, replicates=8, rng=np.random.default_rng(2))
    draws = compute_dr_cost_draws(people, counts, options=DrCostOptions())
    assert draws == pytest.approx(np.array([proportion_by_hand(people, count) for count in counts]), rel=1e-8)


def test_zeros_before_count_in_the_trend():
    """The quasi-score solved by a general root finder, where a tenth of the comparison had no cost before."""
    people = make_costs(300, seed=8)
    x, t, u = add_intercept(people.covariates), people.treated, ~people.treated
    assert (people.before[u] == 0).mean() > 0.1
    root = optimize.root(
        lambda g: (people.outcome[u] - np.exp(x[u] @ g) * people.before[u]) @ x[u] / 1e6, np.zeros(x.shape[1]),
        tol=1e-13,
    )  # fmt: skip
    means = compute_dr_cost_means(people, options=DrCostOptions(correction="none"))
    trend_t, trend_c, w = np.exp(x[t] @ root.x), np.exp(x[u] @ root.x), means.weights[u]
    shift = w @ (people.outcome[u] - trend_c * people.before[u]) / (w @ people.before[u])
    expected = (people.before[t] * trend_t).mean() + people.before[t].mean() * shift
    assert means.counterfactual == pytest.approx(expected, rel=1e-8)
