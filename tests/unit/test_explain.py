"""Explanation: odds ratios, importance and dependence against other libraries and by hand, and no word of cause."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from scipy.stats import spearmanr
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from evalkit.core.errors import NotEstimable, ParameterError
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
from evalkit.risk.explain_terms import RARE_LEVELS, OddsRatioOptions, choose_unit, estimate_odds_ratios
from evalkit.risk.explain_words import (
    TermWords,
    describe_dependence,
    describe_importance,
    describe_odds_ratio,
    find_causal_words,
)
from evalkit.risk.measures import compute_measures
from evalkit.risk.model import ModelOptions, fit_risk_model, predict_risk
from evalkit.risk.resample import draw_person_counts


def make_data(n: int = 2000, *, seed: int = 3, people: int | None = None) -> RiskData:
    rng = np.random.default_rng(seed)
    age, prior = rng.normal(45, 12, n).round(), rng.poisson(1.0, n)
    sex = rng.choice(["female", "male"], n, p=[0.55, 0.45])
    noise = rng.normal(size=n)
    risk = expit(-2.2 + 0.03 * (age - 45) + 0.5 * prior + 0.4 * (sex == "male"))
    return RiskData(
        features=pd.DataFrame({"age": age, "prior": prior, "sex": sex, "noise": noise}),
        outcome=(rng.random(n) < risk).astype(int),
        person=rng.integers(0, people or n, n),
        time=np.full(n, np.datetime64("2014-01-01")),
    )


def with_features(data: RiskData, **columns: object) -> RiskData:
    return data.with_features(data.features.assign(**columns))


def true_risk(features: pd.DataFrame) -> np.ndarray:
    """A model that leans on prior and sex alone."""
    return expit(-2.0 + 0.6 * features["prior"].to_numpy(float) + 0.5 * (features["sex"] == "male").to_numpy())


def counts_of(data: RiskData, replicates: int = 100) -> np.ndarray:
    return draw_person_counts(data.person, replicates=replicates, rng=np.random.default_rng(8))


# ---- odds ratios ---------------------------------------------------------------------------------


def test_odds_ratios_equal_clustered_glm():
    data = make_data(people=900)
    found = estimate_odds_ratios(data, words={"age": TermWords("Age", 10, "years"), "prior": TermWords("Prior", 1)})
    x = sm.add_constant(
        np.column_stack(
            [data.features["age"] / 10, data.features["prior"], data.features["sex"] == "male", data.features["noise"]]
        ).astype(float)
    )
    codes = pd.factorize(data.person)[0]
    fit = sm.GLM(data.outcome, x, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}, tol=1e-12
    )
    people = codes.max() + 1
    assert [t.name for t in found.terms] == ["age", "prior", "sex|male", "noise"]
    np.testing.assert_allclose(np.log(found.ratios), fit.params[1:], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.log_se, fit.bse[1:] * math.sqrt(people / (people - 1)), rtol=1e-6)
    assert found.terms[0].label == "Age, per 10 years"
    assert found.terms[2].label == "Sex: male, against female"


def test_odds_ratio_of_a_fourfold_table():
    # 30 of 100 with, 20 of 100 without: (30 / 70) / (20 / 80) = 12 / 7; Woolf's error of its log.
    sex = np.repeat(["male", "female"], [100, 101])
    outcome = np.r_[np.repeat([1, 0], [30, 70]), np.repeat([1, 0], [20, 81])]
    data = RiskData(pd.DataFrame({"sex": sex}), outcome, np.arange(201), np.full(201, np.datetime64("2014-01-01")))
    found = estimate_odds_ratios(data)
    assert found.terms[0].reference == "female"  # the most frequent
    assert found.ratios[0] == pytest.approx(30 * 81 / (70 * 20), rel=1e-9)
    woolf = math.sqrt(1 / 30 + 1 / 70 + 1 / 20 + 1 / 81)
    assert found.log_se[0] == pytest.approx(woolf * math.sqrt(201 / 200), rel=1e-9)
    other = estimate_odds_ratios(data, references={"sex": "male"})
    assert other.ratios[0] == pytest.approx(1 / found.ratios[0], rel=1e-9)
    assert other.terms[0].label == "Sex: female, against male"


def test_unit_scales_the_log():
    data = make_data()
    one, ten = (estimate_odds_ratios(data, words={"age": TermWords("Age", u)}) for u in (1, 10))
    assert ten.ratios[0] == pytest.approx(one.ratios[0] ** 10, rel=1e-9)
    assert ten.lower[0] == pytest.approx(one.lower[0] ** 10, rel=1e-9)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (np.arange(20, 80), 20.0),  # range of the middle half 29.5
        (np.array([0, 0, 0, 0, 1, 2] * 5), 1.0),
        (np.linspace(0, 1, 101), 0.5),
        (np.r_[np.zeros(90), np.ones(10)], 1.0),
        (np.linspace(0, 0.05, 101), 0.02),
    ],
)
def test_units_are_round(values, unit):
    assert choose_unit(np.asarray(values, dtype=float)) == pytest.approx(unit)


def test_missing_and_rare_levels_have_terms():
    rng = np.random.default_rng(5)
    data = make_data(3000)
    score = pd.Series(rng.normal(size=3000)).mask(rng.random(3000) < 0.2)
    place = rng.choice(["north", "south", "isle", "rock", None], 3000, p=[0.5, 0.4, 0.01, 0.01, 0.08])
    found = estimate_odds_ratios(with_features(data, score=score, place=pd.Series(place, dtype=object)))
    names = [t.name for t in found.terms]
    assert {"score", "score|not recorded", "place|south", f"place|{RARE_LEVELS}", "place|not recorded"} <= set(names)
    by_name = {t.name: t for t in found.terms}
    assert by_name["place|south"].reference == "north"
    assert by_name["score|not recorded"].n_people == len(np.unique(data.person[score.isna()]))


def test_term_of_a_few_is_refused_and_the_others_stand():
    data = make_data(2000)
    place = np.where(np.arange(2000) < 60, "isle", "land")
    outcome = data.outcome.copy()
    outcome[:60] = np.arange(60) < 7
    few = RiskData(data.features.assign(place=place), outcome, data.person, data.time)
    found = estimate_odds_ratios(few)
    at = [t.name for t in found.terms].index("place|isle")
    assert math.isnan(found.ratios[at])
    assert "fewer than 10" in found.terms[at].refusal
    assert np.isfinite(np.delete(found.ratios, at)).all()
    assert {c.name: c.passed for c in found.checks}["odds_ratio_terms"] is False
    cell = risk_term_cells(found)[at]
    assert (cell.status, cell.reason) == ("not_estimable", found.terms[at].refusal)


def test_ridge_is_that_of_the_model_and_pulled_to_one():
    data = make_data(1500, people=700)
    model = fit_risk_model(data, kind="logistic", seed=1, options=ModelOptions(penalty=40.0))
    words = {name: TermWords(name, 1.0) for name in ("age", "prior", "noise")}
    found = estimate_odds_ratios(data, words=words, options=OddsRatioOptions(penalty=40.0))
    base = data.features.head(1).assign(age=45.0, prior=1, sex="female", noise=0.0)
    at = logit(predict_risk(model, base))[0]
    for name, change in (("age", {"age": 46.0}), ("prior", {"prior": 2}), ("sex|male", {"sex": "male"})):
        expected = logit(predict_risk(model, base.assign(**change)))[0] - at
        term = [t.name for t in found.terms].index(name)
        assert math.log(found.ratios[term]) == pytest.approx(expected, rel=1e-5)
    free = estimate_odds_ratios(data, words=words)
    assert (np.abs(np.log(found.ratios)) < np.abs(np.log(free.ratios)))[:3].all()
    assert (found.log_se < free.log_se).all()
    check = next(c for c in found.checks if c.name == "odds_ratio_interval")
    assert "do not hold the unpenalised odds ratio" in check.text


@pytest.mark.parametrize("penalty", [0.0, 20.0])
def test_bootstrap_and_sandwich_agree(penalty):
    data = make_data(2500, people=1200)
    counts = counts_of(data, 300)
    drawn = estimate_odds_ratios(data, counts=counts, options=OddsRatioOptions(penalty, "bootstrap"))
    sandwich = estimate_odds_ratios(data, options=OddsRatioOptions(penalty))
    np.testing.assert_allclose(drawn.ratios, sandwich.ratios, rtol=1e-6)
    np.testing.assert_allclose(drawn.log_se, sandwich.log_se, rtol=0.15)  # Monte-Carlo error of 300 draws is 4%
    assert drawn.draws is not None
    assert drawn.draws.shape == (300, 4)


def test_separation_and_combinations_are_refused_by_name():
    data = make_data()
    double = with_features(data, twice=2.0 * data.features["age"])
    with pytest.raises(NotEstimable, match="twice"):
        estimate_odds_ratios(double)
    with pytest.raises(NotEstimable, match='"flat": is the same for all'):
        estimate_odds_ratios(with_features(data, flat=1.0))
    outcome = np.zeros(2000, int)
    outcome[:9] = 1
    with pytest.raises(NotEstimable, match="too few discharges"):
        estimate_odds_ratios(RiskData(data.features, outcome, data.person, data.time))
    rng = np.random.default_rng(1)
    sure = np.where(data.outcome == 1, 1.0, -1.0) + rng.uniform(-0.5, 0.5, 2000)
    with pytest.raises(NotEstimable):
        estimate_odds_ratios(with_features(data, sure=sure))


def test_bad_arguments_are_all_named():
    data = make_data()
    with pytest.raises(ParameterError) as caught:
        estimate_odds_ratios(
            data,
            words={"agee": TermWords("Age")},
            references={"sex": "other"},
            options=OddsRatioOptions(interval="bootstrap"),
        )
    assert len(caught.value.faults) == 3
    with pytest.raises(ParameterError) as caught:
        OddsRatioOptions(penalty=-1, interval="robust", level=2, rare_share=1)
    assert len(caught.value.faults) == 4


# ---- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label",
    ["Drinking causes readmission", "What leads to return", "Alcohol reduces health", "Due to alcohol",
     "Driver of return", "Effect of age", "Treatment that prevents return",
     "Stay that results in return", "CAUSE of admission"],
)  # fmt: skip
def test_labels_that_speak_of_cause_are_refused(label):
    with pytest.raises(ParameterError, match="speaks of cause"):
        TermWords(label)
    with pytest.raises(ParameterError, match="speaks of cause"):
        describe_odds_ratio(label, 1.2, 1.1, 1.3)


@pytest.mark.parametrize("label", ["Age", "Reason for admission", "Side effects recorded", "Street clinic"])
def test_plain_labels_pass(label):
    assert find_causal_words([label]) == []


def test_sentences_say_goes_with():
    sentences = [
        describe_odds_ratio("Age, per 10 years", 1.3, 1.1, 1.5),
        describe_odds_ratio("Sex: male, against female", 0.9, 0.7, 1.2),
        describe_odds_ratio("Age", 1.3, math.nan, math.nan),
        describe_importance("age", 0.02, 0.01, 0.03),
        describe_importance("noise", 0.0, -0.01, 0.01),
        describe_dependence("Age", "30", 0.1, "60", 0.2),
    ]
    assert sentences[0] == (
        "Age, per 10 years goes with odds of readmission 1.30 times as high (95% interval 1.10 to 1.50), "
        "the other predictors alike."
    )
    assert "do not tell" in sentences[1]
    assert "no use" in sentences[4]
    assert "from 10% to 20%" not in sentences[5]
    for sentence in sentences:
        assert "goes with" in sentence
        assert find_causal_words([sentence]) == []


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
