"""Odds ratios against statsmodels, a fourfold table and the model itself, and no word of cause."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import logit

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.risk.data import RiskData
from evalkit.risk.explain_cells import risk_term_cells
from evalkit.risk.explain_terms import RARE_LEVELS, OddsRatioOptions, choose_unit, estimate_odds_ratios
from evalkit.risk.explain_words import (
    TermWords,
    describe_importance,
    describe_odds_ratio,
    find_causal_words,
)
from evalkit.risk.model import ModelOptions, fit_risk_model, predict_risk
from tests.explain_people import counts_of, make_data, with_features

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
    ]
    assert sentences[0] == (
        "Age, per 10 years goes with odds of readmission 1.30 times as high (95% interval 1.10 to 1.50), "
        "the other predictors alike."
    )
    assert "do not tell" in sentences[1]
    assert "no use" in sentences[4]
    for sentence in sentences:
        assert "goes with" in sentence
        assert find_causal_words([sentence]) == []
