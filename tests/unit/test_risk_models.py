"""Kinds of models: what each is, what it refuses, that it learns from development alone, and refits elsewhere."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier, SGDClassifier

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.risk.competing import CompetingRiskClassifier, build_competing_target
from evalkit.risk.data import RiskData
from evalkit.risk.model import (
    ModelOptions,
    build_design,
    fit_own_model,
    fit_risk_model,
    list_terms,
    predict_risk,
)
from evalkit.risk.model_refit import build_refit
from evalkit.risk.penalised import fit_ridge, predict_ridge
from evalkit.risk.prepare import check_features, describe_columns, find_outside
from evalkit.risk.refit import refit_models

KINDS = ("prior_admissions", "logistic", "gradient_boosting", "competing_risk")


def make_discharges(n: int = 1500, *, seed: int = 4) -> RiskData:
    rng = np.random.default_rng(seed)
    prior, sex = rng.poisson(1.0, n), rng.choice(["female", "male"], n)
    score = pd.Series(rng.normal(size=n)).mask(rng.random(n) < 0.1)
    hazard = np.exp(-6.2 + 0.4 * prior + 0.4 * score.fillna(0) + 0.3 * (sex == "male"))
    first, second = rng.exponential(1 / hazard), rng.exponential(1500, n)
    event = np.where(np.minimum(first, second) >= 90, 0, np.where(first <= second, 1, 2))
    return RiskData(
        features=pd.DataFrame({"prior_admissions": prior, "sex": sex, "score": score}),
        outcome=(event == 1).astype(int),
        person=rng.integers(0, n // 2, n),
        time=np.datetime64("2013-01-01") + rng.integers(0, 700, n).astype("timedelta64[D]"),
        event=event,
        event_days=np.where(event == 0, 90, np.floor(np.minimum(first, second))),
    )


def develop(kind: str, data: RiskData, **options):
    return fit_risk_model(data, kind=kind, seed=1, options=ModelOptions(**options))


@pytest.fixture(scope="module")
def discharges() -> RiskData:
    return make_discharges()


# ---- kinds ---------------------------------------------------------------------------------------


def test_the_rule_is_a_logistic_regression_on_prior_admissions(discharges):
    model = develop("prior_admissions", discharges)
    prior = discharges.features["prior_admissions"].to_numpy(float)
    glm = sm.GLM(discharges.outcome, sm.add_constant(prior), family=sm.families.Binomial()).fit(tol=1e-12)
    np.testing.assert_allclose(predict_risk(model, discharges.features), glm.fittedvalues, rtol=1e-6)
    assert model.parameters == 1
    assert [c.name for c in model.columns] == ["prior_admissions"]
    other = develop("prior_admissions", discharges, rule_column="score")
    assert [c.name for c in other.columns] == ["score"]


def test_the_rule_needs_its_column(discharges):
    with pytest.raises(ParameterError, match='Did you mean "prior_admissions"'):
        develop("prior_admissions", discharges, rule_column="prior_admission")
    flat = discharges.with_features(discharges.features.assign(prior_admissions=1))
    with pytest.raises(NotEstimable, match="the same for everybody"):
        develop("prior_admissions", flat)


def test_logistic_is_the_ridge_of_its_design(discharges):
    model = develop("logistic", discharges, penalty=7.5)
    x = build_design(model, discharges.features)
    ridge = fit_ridge(x, discharges.outcome, penalty=7.5)
    expected = predict_ridge(x, ridge)[0]
    np.testing.assert_allclose(predict_risk(model, discharges.features), expected, atol=1e-7)
    assert list_terms(model.pipeline) == (
        "prior_admissions", "score", "score (missing)", "sex = female", "sex = male",
    )  # fmt: skip


def test_penalty_is_chosen_by_cross_validation_and_kept(discharges):
    model = develop("logistic", discharges, penalty="cross_validated")
    assert isinstance(model.options.penalty, float)
    assert pytest.approx(1 / model.options.penalty) == model.pipeline[-1].C
    assert "penalty_inside_grid" in [check.name for check in model.checks]
    again = develop("logistic", discharges, penalty=model.options.penalty)
    assert np.array_equal(predict_risk(model, discharges.features), predict_risk(again, discharges.features))


@pytest.mark.parametrize("kind", KINDS)
def test_risks_are_right_on_average(kind, discharges):
    risk = predict_risk(develop(kind, discharges), discharges.features)
    assert risk.mean() == pytest.approx(discharges.outcome.mean(), rel=0.02)
    assert ((risk > 0) & (risk < 1)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"penalty": 0}, "penalty: out of range. Got 0"),
        ({"penalty": "chosen"}, "penalty: out of range"),
        ({"competing": "cox"}, "competing: unknown"),
        ({"horizon_days": 0}, "horizon_days: out of range"),
        ({"min_events_per_predictor": -1}, "min_events_per_predictor: out of range"),
        ({"most_outside_share": 2}, "most_outside_share: out of range"),
    ],
)
def test_options_out_of_range(options, message, discharges):
    with pytest.raises(ParameterError, match=message):
        develop("logistic", discharges, **options)


# ---- competing risks -----------------------------------------------------------------------------


def competing_example() -> tuple[np.ndarray, np.ndarray]:
    """300 made-up discharges without random numbers, so that R can be given the same."""
    i = np.arange(300)
    x = np.column_stack([np.sin(i), (i * 7) % 5 / 4.0])
    u, v = ((i * 37) % 101 + 0.5) / 101, ((i * 53) % 89 + 0.5) / 89
    first = -np.log(u) * 120 / np.exp(0.7 * x[:, 0] - 0.4 * x[:, 1])
    second = -np.log(v) * 400 / np.exp(-0.3 * x[:, 0] + 0.6 * x[:, 1])
    event = np.where(np.minimum(first, second) >= 90, 0, np.where(first <= second, 1, 2))
    return x, np.column_stack([event, np.where(event == 0, 90, np.floor(np.minimum(first, second)))])


# R 4, survival 3.5-3 on (days + 1): finegray() and coxph() for the first; for the second the cumulative hazards of two
# coxph() (Efron), put together as the class's docstring says.
R_RISKS = {
    "fine_gray": (0.488164603108338, 0.64131741082231, 0.189577345135561, 0.563374237716973),
    "cause_specific": (0.485476892543402, 0.636873442988358, 0.188944939732892, 0.560295221352072),
}


@pytest.mark.parametrize("method", list(R_RISKS))
def test_competing_risks_equal_r(method):
    x, y = competing_example()
    new = np.array([[0.0, 0.0], [1.0, 0.5], [-1.0, 1.0], [0.5, 0.25]])
    found = CompetingRiskClassifier(horizon_days=90, method=method).fit(x, y).predict_proba(new)
    np.testing.assert_allclose(found[:, 1], R_RISKS[method], rtol=1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("method", list(R_RISKS))
def test_columns_that_others_make_up_change_no_risk(method):
    x, y = competing_example()
    fit = CompetingRiskClassifier(method=method).fit(x, y).predict_proba(x)
    wide = np.column_stack([x, x.sum(axis=1), np.ones(len(x))])
    np.testing.assert_allclose(CompetingRiskClassifier(method=method).fit(wide, y).predict_proba(wide), fit, rtol=1e-9)


def test_without_deaths_the_two_methods_are_nearly_one():
    x, y = competing_example()
    y[y[:, 0] == 2] = (0, 90)
    one, two = (CompetingRiskClassifier(method=m).fit(x, y).predict_proba(x)[:, 1] for m in R_RISKS)
    np.testing.assert_allclose(one, two, rtol=1e-9)


def test_few_deaths_are_no_model_of_death():
    x, y = competing_example()
    deaths = np.flatnonzero(y[:, 0] == 2)
    y[deaths[5:]] = (0, 90)
    with pytest.raises(NotEstimable, match="too few deaths"):
        CompetingRiskClassifier(method="cause_specific").fit(x, y)
    assert np.isfinite(CompetingRiskClassifier(method="fine_gray").fit(x, y).predict_proba(x)).all()


def test_competing_risk_reads_its_horizon(discharges):
    assert develop("competing_risk", discharges).options.horizon_days == 90
    with pytest.raises(ParameterError, match=r"is not that of event_days\. Got 30\. Allowed: 90"):
        develop("competing_risk", discharges, horizon_days=30)


def test_competing_risk_refuses_data_without_times(discharges):
    bare = dataclasses.replace(discharges, event=None, event_days=None)
    with pytest.raises(ParameterError) as caught:
        develop("competing_risk", bare)
    assert [f.where for f in caught.value.faults] == ["RiskData.event", "RiskData.event_days"]
    short = dataclasses.replace(
        discharges, event_days=np.where(discharges.event == 0, 60 + discharges.event_days % 7, discharges.event_days)
    )
    build_competing_target(discharges)
    with pytest.raises(ParameterError, match="one horizon"):
        build_competing_target(dataclasses.replace(short, event_days=short.event_days + np.arange(len(short)) % 2))


def test_a_separating_predictor_is_named(discharges):
    stayed = np.flatnonzero(discharges.event == 0)
    came = np.array(["a", "b"])[np.arange(len(discharges)) % 2].astype(object)
    came[stayed[: len(stayed) // 2]] = "nobody came back from here"
    data = discharges.with_features(discharges.features.assign(place=came))
    with pytest.raises(NotEstimable, match='predictor "place = '):
        develop("competing_risk", data)


# ---- the user's own ------------------------------------------------------------------------------


class Wild(ClassifierMixin, BaseEstimator):
    """A classifier whose risks are none."""

    def __init__(self, *, value=1.5):
        self.value = value

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)

    def predict_proba(self, X):
        return np.column_stack([1 - np.full(len(X), self.value), np.full(len(X), self.value)])


class Forgetful(Wild):
    """Cannot be cloned: it keeps something else than it was given."""

    def __init__(self, *, value=1.5):
        self.value = [value]


class Narrow(Wild):
    """Gives one column."""

    def predict_proba(self, X):
        return np.full((len(X), 1), 0.5)


def test_own_model_is_developed_and_deterministic(discharges):
    forest = RandomForestClassifier(n_estimators=20, min_samples_leaf=20)
    first, second = (fit_own_model(discharges, forest, seed=3) for _ in range(2))
    assert np.array_equal(predict_risk(first, discharges.features), predict_risk(second, discharges.features))
    assert not hasattr(forest, "estimators_")
    assert forest.random_state is None
    assert first.kind == "own"
    stacked = StackingClassifier([("a", LogisticRegression())], final_estimator=LogisticRegression(), cv=2)
    assert predict_risk(fit_own_model(discharges, stacked, seed=3), discharges.features).shape == (len(discharges),)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LinearRegression(), "is no classifier. Got LinearRegression"),
        (RidgeClassifier(), "has no predict_proba"),
        (RandomForestClassifier, "is a class"),
        ("forest", "is no scikit-learn estimator. Got str"),
        (Forgetful(), "cannot be cloned"),
        (Wild(), "gives risks that are missing, below 0 or above 1"),
        (Wild(value=math.nan), "gives risks that are missing"),
        (Narrow(), r"gives no two columns of risks. Got shape \(1500, 1\)"),
        (SGDClassifier(loss="hinge"), "SGDClassifier: has no predict_proba"),
    ],
)
def test_own_model_that_is_none(estimator, message, discharges):
    with pytest.raises(ParameterError, match=message):
        fit_own_model(discharges, estimator, seed=1)


def test_own_model_passes_the_gate_too(discharges):
    with pytest.raises(NotEstimable, match="1000 events per predictor"):
        fit_own_model(
            discharges, LogisticRegression(), seed=1, options=ModelOptions(min_events_per_predictor=1000)
        )  # fmt: skip


# ---- what is learnt, and from whom ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_learnt_from_validation_rows(kind, discharges):
    """With other validation rows after them, the development rows give the same model to the last bit."""
    develop_rows = np.arange(len(discharges)) < 1200
    development = discharges.where(develop_rows)
    strange = discharges.features.assign(
        score=np.where(develop_rows, discharges.features["score"], 50.0),
        sex=np.where(develop_rows, discharges.features["sex"], "unheard of"),
    )
    model = develop(kind, development)
    among = develop(kind, discharges.with_features(strange).where(develop_rows))
    assert model.columns == among.columns
    assert np.array_equal(predict_risk(model, development.features), predict_risk(among, development.features))
    everybody = develop(kind, discharges)
    assert not np.array_equal(predict_risk(model, development.features), predict_risk(everybody, development.features))


@pytest.mark.parametrize("kind", KINDS)
def test_refits_learn_from_the_rows_given_alone(kind, discharges):
    model = develop(kind, discharges)
    before = predict_risk(model, discharges.features)
    rows = np.sort(np.random.default_rng(5).integers(0, 1000, 1000))
    fit = build_refit(model, discharges)
    spoilt = discharges.features.copy()
    spoilt.loc[1000:, "score"] = 1e6
    same = build_refit(model, discharges.with_features(spoilt))(rows)
    drawn = fit(rows)
    assert np.array_equal(drawn(np.arange(1000)), same(np.arange(1000)))
    assert not np.array_equal(drawn(np.arange(1000)), before[:1000])
    assert np.array_equal(fit(np.arange(len(discharges)))(np.arange(len(discharges))), before)
    assert np.array_equal(predict_risk(model, discharges.features), before)  # the model itself is untouched


def test_refits_serve_the_bootstrap(discharges):
    model = develop("competing_risk", discharges)
    counts = np.ones((2, len(discharges)), dtype=np.int64)
    counts[1] = discharges.event != 1  # a draw without anybody who came back
    models = refit_models(build_refit(model, discharges), counts=counts)
    found = models.predict(slice(0, 2), slice(0, 5))
    np.testing.assert_allclose(found[0], predict_risk(model, discharges.features.head(5)), rtol=1e-12)
    assert np.isnan(found[1]).all()
    assert "nobody had it" in models.reasons[1]
    with pytest.raises(ParameterError, match='has no predictor "sex"'):
        build_refit(model, discharges, new=discharges.features[["score"]])


# ---- the contract of columns ---------------------------------------------------------------------


def test_columns_tell_levels_and_ranges_and_no_value():
    rng = np.random.default_rng(1)
    age = rng.normal(45, 15, 2000).clip(18, None)
    age[7] = 103.7
    frame = pd.DataFrame(
        {"age": age, "decile": rng.integers(1, 11, 2000), "sex": rng.choice(["f", "m"], 2000), "rare": 0.0}
    )
    frame.loc[:3, "rare"] = 12.0
    age_told, decile, sex, rare = describe_columns(frame)
    assert (age_told.low, age_told.high) == (0.0, 120.0)
    assert (decile.low, decile.high) == (1.0, 10.0)
    assert sex.levels == ("f", "m")
    assert rare.high not in (0.0, 12.0)
    assert rare.low == 0.0


def test_names_and_free_text_are_no_predictor():
    frame = pd.DataFrame({"note": [f"text {i}" for i in range(200)], "empty": [None] * 200})
    with pytest.raises(ParameterError) as caught:
        describe_columns(frame)
    assert "looks like names or free text. Got 200 levels" in caught.value.faults[0].text
    assert "is missing for everybody" in caught.value.faults[1].text
    assert "text 1" not in str(caught.value)


def test_all_faults_of_new_discharges_at_once(discharges):
    columns = describe_columns(discharges.features)
    bad = discharges.features.assign(sex="x", score=[np.inf, *discharges.features["score"][1:]])
    bad["prior_admissions"] = np.nan
    with pytest.raises(ParameterError) as caught:
        check_features(columns, bad)
    texts = [f.text for f in caught.value.faults]
    assert 'predictor "prior_admissions": is missing for some, as it never was in development.' in texts[0]
    assert 'predictor "sex": holds unseen categories. Got 1 level never seen in development' in texts[1]
    assert "infinite" in texts[2]
    assert '"x"' not in str(caught.value)
    with pytest.raises(ParameterError) as caught:
        check_features(columns, bad.drop(columns="prior_admissions").assign(sex=3))
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (lambda f: f.iloc[:0], "holds no discharge"),
        (lambda f: f.to_numpy(), "a pandas DataFrame is wanted"),
        (lambda f: pd.concat([f, f[["sex"]]], axis=1), "stands in the frame twice"),
        (lambda f: f.assign(score=f["score"] * 100), "lies outside the range of development. Got"),
        (lambda f: f.head(3).assign(score=1e4), "Got fewer than 10 rows, more than 10%. Allowed: -5 to 5"),
    ],
)
def test_other_frames_are_refused(frame, message, discharges):
    with pytest.raises(ParameterError, match=message):
        check_features(describe_columns(discharges.features), frame(discharges.features))


def test_a_few_outside_fail_a_check_and_are_marked(discharges):
    columns = describe_columns(discharges.features)
    new = discharges.features.copy()
    assert [c.passed for c in check_features(columns, new)] == [True, True]
    new.loc[:29, "score"] = 40.0
    checks = {c.name: c for c in check_features(columns, new)}
    assert checks["numbers_in_range"].passed is False
    assert "score" in checks["numbers_in_range"].text
    marked = find_outside(columns, new)
    assert marked[:30].all()
    assert np.array_equal(marked[30:], find_outside(columns, discharges.features)[30:])
    assert marked[30:].mean() < 0.01
    pooled = check_features(columns, discharges.features.assign(sex="x"), on_unseen="pool")
    assert [c.passed for c in pooled] == [True, False]
    with pytest.raises(ParameterError, match="on_unseen: unknown"):
        check_features(columns, new, on_unseen="ignore")
