"""Importance and dependence against scikit-learn and by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from evalkit.core.errors import ParameterError
from evalkit.core.result import Results
from evalkit.risk.data import RiskData
from evalkit.risk.explain import (
    ImportanceOptions,
    check_correlated,
    compute_placements,
    estimate_dependence,
    estimate_importance,
)
from evalkit.risk.explain_cells import risk_dependence_cells, risk_importance_cells, risk_term_cells
from evalkit.risk.explain_terms import estimate_odds_ratios
from evalkit.risk.explain_words import (
    TermWords,
)
from evalkit.risk.measures import compute_measures
from evalkit.risk.model import fit_risk_model, predict_risk
from tests.explain_people import counts_of, make_data, true_risk, with_features

# ---- importance ----------------------------------------------------------------------------------


def test_placements_equal_auroc_and_jackknife():
    data = make_data(200)
    risk = np.round(true_risk(data.features), 2)
    event = data.outcome == 1
    area, influence = compute_placements(risk, event)
    assert area == pytest.approx(roc_auc_score(data.outcome, risk), abs=1e-12)
    assert influence[event].sum() == pytest.approx(0, abs=1e-12)
    weights = np.ones(200)
    for i in (0, 50, 120):  # derivative of the weighted area by a weight
        weights[i] = 1 + 1e-5
        change = (roc_auc_score(data.outcome, risk, sample_weight=weights) - area) / 1e-5
        assert influence[i] == pytest.approx(change, abs=1e-6)
        weights[i] = 1.0


def test_importance_equals_scikit_learn():
    data = make_data(1500)
    x = data.features.assign(sex=(data.features["sex"] == "male").astype(float)).astype(float)
    fit = LogisticRegression(C=1e6, max_iter=500).fit(x.to_numpy(), data.outcome)
    numeric = data.with_features(x)
    found = estimate_importance(
        lambda f: fit.predict_proba(f.to_numpy())[:, 1], numeric, counts=counts_of(data),
        rng=np.random.default_rng(1), options=ImportanceOptions(repeats=40),
    )  # fmt: skip
    for scoring, mine in (("roc_auc", found.auroc_drop), ("neg_log_loss", found.log_loss_rise)):
        theirs = permutation_importance(fit, x.to_numpy(), data.outcome, scoring=scoring, n_repeats=40, random_state=2)
        noise = theirs.importances_std / math.sqrt(40)
        assert (np.abs(mine - theirs.importances_mean) < 4.5 * math.sqrt(2) * noise).all()
    assert found.auroc == pytest.approx(roc_auc_score(data.outcome, fit.predict_proba(x.to_numpy())[:, 1]), abs=1e-12)
    assert found.log_loss == pytest.approx(log_loss(data.outcome, fit.predict_proba(x.to_numpy())[:, 1]), abs=1e-12)


def test_what_the_model_does_not_use_has_no_importance():
    data = make_data()
    found = estimate_importance(true_risk, data, counts=counts_of(data), rng=np.random.default_rng(1))
    at = {name: i for i, name in enumerate(found.names)}
    for name in ("age", "noise"):
        assert found.auroc_drop[at[name]] == 0
        assert found.auroc_lower[at[name]] == found.auroc_upper[at[name]] == 0
    assert found.auroc_lower[at["prior"]] > 0
    assert found.auroc_drop[at["prior"]] > found.auroc_drop[at["sex"]]


def test_interval_is_that_of_the_full_bootstrap():
    data = make_data(800, people=400)
    counts = counts_of(data, 300)
    options = ImportanceOptions(repeats=3)
    found = estimate_importance(true_risk, data, counts=counts, rng=np.random.default_rng(6), options=options)
    # The same shuffles again, each draw of people measured anew.
    rng, risk = np.random.default_rng(6), true_risk(data.features)
    whole = compute_measures(risk, data.outcome, counts=counts, names=["auroc", "log_loss"])
    at = list(data.features).index("prior")
    for j, name in enumerate(data.features):
        drops, rises, apart = np.zeros(300), np.zeros(300), []
        for _ in range(3):
            order = rng.permutation(len(data))
            moved = true_risk(data.features.assign(**{name: data.features[name].to_numpy()[order]}))
            other = compute_measures(moved, data.outcome, counts=counts, names=["auroc", "log_loss"])
            drops += (whole["auroc"] - other["auroc"]) / 3
            rises += (other["log_loss"] - whole["log_loss"]) / 3
            apart.append(roc_auc_score(data.outcome, risk) - roc_auc_score(data.outcome, moved))
        if j == at:
            of_people = math.sqrt(found.auroc_se[j] ** 2 - np.var(apart, ddof=1) / 3)
            assert of_people == pytest.approx(drops.std(ddof=1), rel=0.03)
            assert found.auroc_drop[j] == pytest.approx(np.mean(apart), abs=1e-12)
            assert found.log_loss_se[j] == pytest.approx(rises.std(ddof=1), rel=0.25)


def test_blocks_are_shuffled_together():
    data = make_data()
    split = with_features(data, again=data.features["prior"])

    def leans_on_both(features: pd.DataFrame) -> np.ndarray:
        return expit(-2 + 0.3 * features["prior"].to_numpy(float) + 0.3 * features["again"].to_numpy(float))

    found = estimate_importance(
        leans_on_both, split, counts=counts_of(data), rng=np.random.default_rng(1),
        blocks={"earlier admissions": ["prior", "again"], "prior": ["prior"]},
    )  # fmt: skip
    assert found.names == ("earlier admissions", "prior")
    assert found.auroc_drop[0] > 1.5 * found.auroc_drop[1]
    check = next(c for c in found.checks if c.name == "importance_correlated_predictors")
    assert check.passed is False
    assert "prior and again" in check.text


def test_ties_between_predictors():
    rng = np.random.default_rng(1)
    x = rng.normal(size=2000)
    y = np.exp(x + rng.normal(0, 0.5, 2000))
    assert spearmanr(x, y).statistic > 0.7
    assert check_correlated(pd.DataFrame({"x": x, "y": y})).passed is False
    weak = np.exp(x + rng.normal(0, 1.5, 2000))
    assert spearmanr(x, weak).statistic < 0.7
    assert check_correlated(pd.DataFrame({"x": x, "y": weak, "flat": 1.0})).passed is True
    kinds = np.where(x > 0, "high", "low")
    assert "x and kind" in check_correlated(pd.DataFrame({"x": x, "kind": kinds})).text
    same = check_correlated(pd.DataFrame({"one": kinds, "two": np.char.add(kinds, "!")}))
    assert same.passed is False
    assert check_correlated(pd.DataFrame({"alone": x})).passed is True


def test_certain_risks_have_no_log_loss_but_an_auroc():
    data = make_data(600)
    found = estimate_importance(
        lambda f: np.where(f["prior"] > 1, 1.0, 0.1), data, counts=counts_of(data), rng=np.random.default_rng(1)
    )
    assert np.isnan(found.log_loss_rise).all()
    assert np.isfinite(found.auroc_drop).all()
    cells = risk_importance_cells(found, model="own")
    assert {c.status for c in cells if c.column == "log_loss_rise"} == {"not_estimable"}


def test_importance_refuses_what_it_cannot_use():
    data = make_data(300)
    counts, rng = counts_of(data), np.random.default_rng(1)
    with pytest.raises(ParameterError, match="gives no probabilities"):
        estimate_importance(lambda f: np.full(len(f), 1.5), data, counts=counts, rng=rng)
    with pytest.raises(ParameterError, match='Did you mean "prior"'):
        estimate_importance(true_risk, data, counts=counts, rng=rng, blocks={"x": ["priors"]})
    with pytest.raises(ParameterError, match="do not fit"):
        estimate_importance(true_risk, data, counts=counts[:, 1:], rng=rng)
    with pytest.raises(ParameterError, match="repeats"):
        ImportanceOptions(repeats=1)


# ---- dependence ----------------------------------------------------------------------------------


def test_dependence_equals_scikit_learn():
    data = make_data(1000)
    x = data.features.assign(sex=(data.features["sex"] == "male").astype(float)).astype(float)
    fit = LogisticRegression(C=1e6, max_iter=500).fit(x.to_numpy(), data.outcome)
    found = estimate_dependence(lambda f: fit.predict_proba(f.to_numpy())[:, 1], data.with_features(x), "age")
    grid = np.array([float(value) for value in found.values])
    theirs = partial_dependence(
        fit, x.to_numpy(), [0], custom_values={0: grid}, response_method="predict_proba", method="brute"
    )
    np.testing.assert_allclose(found.risk, theirs["average"][0], rtol=1e-12)
    assert len(grid) == 10
    assert np.quantile(x["age"], 0.04) <= grid[0] <= grid[-1] <= np.quantile(x["age"], 0.96)
    assert sum(found.share) == pytest.approx(1)


def test_dependence_on_levels_and_what_is_not_recorded():
    data = make_data(1000)
    sex = data.features["sex"].where(np.arange(1000) % 10 > 0, None)
    found = estimate_dependence(true_risk, with_features(data, sex=sex), "sex")
    assert found.values == ("female", "male", "not recorded")
    prior = data.features["prior"].to_numpy(float)
    assert found.risk == pytest.approx(
        (expit(-2 + 0.6 * prior).mean(), expit(-1.5 + 0.6 * prior).mean(), expit(-2 + 0.6 * prior).mean())
    )
    assert found.share[2] == pytest.approx(0.1)
    assert found.share[1] == pytest.approx((sex == "male").mean())


def test_points_of_few_people_are_withheld_and_not_named():
    data = make_data(1000)
    prior = np.where(np.arange(1000) < 9, 7, data.features["prior"].clip(upper=3))
    found = estimate_dependence(true_risk, with_features(data, prior=prior), "prior")
    assert found.values == ("0", "1", "2", "3", "7")
    assert math.isnan(found.risk[-1])
    assert found.near[-1] < 10
    assert np.isfinite(found.risk[:4]).all()
    assert found.checks[0].passed is False
    assert "7" not in found.checks[0].text
    cells = risk_dependence_cells([found], words={"prior": TermWords("Earlier admissions")})
    assert {c.row for c in cells} == {f"prior|{k}" for k in range(4)}
    assert {c.label for c in cells} == {"Earlier admissions"}
    # Ten discharges of one person are one person.
    person = np.where(prior == 3, 5, np.arange(1000))
    lone = RiskData(data.features.assign(prior=prior), data.outcome, person, data.time)
    assert math.isnan(estimate_dependence(true_risk, lone, "prior").risk[3])


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "category", "boolean", "string"])
def test_dependence_keeps_the_kind_of_a_column(dtype):
    data = make_data(400)
    raw = {"boolean": data.features["prior"] > 0, "string": data.features["sex"], "category": data.features["sex"]}
    column = raw.get(dtype, data.features["prior"]).astype(dtype).mask(np.arange(400) % 5 == 0)
    seen = []

    def predict(features: pd.DataFrame) -> np.ndarray:
        seen.append(features["given"].dtype)
        return true_risk(features)

    found = estimate_dependence(predict, with_features(data, given=column), "given")
    assert {str(kind) for kind in seen} == {str(column.dtype)}
    assert found.values[-1] == "not recorded"
    assert found.share[-1] == pytest.approx(0.2)


def test_dependence_refuses_what_is_not_there():
    with pytest.raises(ParameterError, match='Did you mean "prior"'):
        estimate_dependence(true_risk, make_data(100), "prio", points=1)


def test_developed_model_goes_through_all_three():
    data = make_data(1200, people=600)
    model = fit_risk_model(data, kind="gradient_boosting", seed=1)

    def predict(features: pd.DataFrame) -> np.ndarray:
        return predict_risk(model, features)

    options = ImportanceOptions(repeats=2)
    importance = estimate_importance(
        predict, data, counts=counts_of(data), rng=np.random.default_rng(1), options=options
    )
    dependence = [estimate_dependence(predict, data, name) for name in data.features]
    tables = {
        "risk_importance": risk_importance_cells(importance, model="gradient_boosting"),
        "risk_dependence": risk_dependence_cells(dependence),
        "risk_terms": risk_term_cells(estimate_odds_ratios(data)),
    }
    frames = {name: Results.from_cells(name, cells).frame for name, cells in tables.items()}
    assert frames["risk_importance"]["row"].iloc[0] == "gradient_boosting|prior"
    assert set(frames["risk_dependence"]["column"]) == {"risk", "share"}
    assert set(frames["risk_terms"]["column"]) == {"odds_ratio"}
    assert frames["risk_terms"]["label"].str.contains("per|against").all()
