"""Risk: faults on construction, the split, refusals, preparation, prediction, measures, cells."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.result import Results
from evalkit.risk.cells import calibration_cells, measure_cells, refused_cells
from evalkit.risk.data import RiskData, split_by_date
from evalkit.risk.model import ModelOptions, fit_risk_model, predict_risk
from evalkit.risk.validate import (
    MEASURE_LABELS,
    RiskPerformance,
    calibration_curve,
    compute_auroc,
    fit_logistic,
    validate_risk_model,
    wilson_interval,
)

KINDS = ("logistic", "gradient_boosting")


def make_data(n: int = 1200, *, seed: int = 3) -> RiskData:
    rng = np.random.default_rng(seed)
    prior = rng.poisson(1.0, n)
    sex = rng.choice(["female", "male", "other"], n, p=[0.5, 0.495, 0.005])
    score = pd.Series(rng.normal(size=n)).mask(rng.random(n) < 0.2)
    risk = 1 / (1 + np.exp(-(-2.0 + 0.6 * prior + 0.5 * score.fillna(0.0) + 0.4 * (sex == "male"))))
    return RiskData(
        features=pd.DataFrame(
            {
                "prior_admissions": prior,
                "sex": sex,
                "score": score,
                "dual_diagnosis": pd.array(rng.choice([True, False, None], n, p=[0.3, 0.6, 0.1]), dtype="boolean"),
            }
        ),
        outcome=(rng.random(n) < risk).astype(int),
        person=np.array([f"p{i}" for i in rng.integers(0, n // 2, n)]),
        time=np.datetime64("2013-01-01") + rng.integers(0, 1500, n).astype("timedelta64[D]"),
    )


def changed(data: RiskData, **parts) -> RiskData:
    return dataclasses.replace(data, **parts)


# ---- RiskData ------------------------------------------------------------------------------------


def test_data_is_copied_and_typed():
    source = make_data()
    features = source.features.copy()
    data = changed(source, features=features, outcome=source.outcome.astype(bool))
    features["score"] = 0.0
    assert data.features["score"].isna().any()
    assert data.outcome.dtype == np.int64
    assert data.time.dtype == np.dtype("datetime64[D]")
    assert data.n_people == len(set(source.person))
    assert data.n_events == source.outcome.sum()


def test_repr_shows_no_row():
    assert repr(make_data()) == "RiskData(features=['prior_admissions', 'sex', 'score', 'dual_diagnosis'])"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"outcome": np.zeros(1200)}, "one class only"),
        ({"outcome": np.r_[np.nan, np.ones(1199)]}, "RiskData.outcome: is missing"),
        ({"outcome": np.arange(1200)}, "other values"),
        ({"outcome": np.ones(5)}, r"shape \(5,\)"),
        ({"person": np.array(["a", None] * 600, dtype=object)}, "RiskData.person: is missing"),
        ({"person": np.array(["a"])}, "RiskData.person: does not match"),
        ({"time": np.arange(1200)}, "is not a date"),
        ({"time": np.full(1200, np.datetime64("NaT"))}, "RiskData.time: is missing"),
        ({"features": pd.DataFrame(index=range(1200))}, "no predictor"),
        ({"features": np.zeros((1200, 2))}, "not a DataFrame"),
    ],
)
def test_faults_on_construction(parts, message):
    with pytest.raises(ParameterError, match=message):
        changed(make_data(), **parts)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (lambda d: d.outcome, "is the outcome under another name"),
        (lambda d: 1.0 - d.outcome, "is the outcome under another name"),
        (lambda d: np.where(d.outcome == 1, "back", "not"), "is the outcome under another name"),
        (lambda d: d.person, "is the person's identifier"),
        (lambda d: d.time.astype("datetime64[s]"), "is neither number nor category"),
        (lambda d: np.r_[np.inf, np.zeros(1199)], "holds an infinite"),
        (lambda d: pd.Series([1, "a"] * 600, dtype=object), "is neither number nor category"),
    ],
)
def test_faulty_predictors(column, message):
    data = make_data()
    with pytest.raises(ParameterError, match=f'predictor "bad": {message}'):
        changed(data, features=data.features.assign(bad=column(data)))


def test_all_faults_at_once_and_no_value_quoted():
    data = make_data()
    with pytest.raises(ParameterError) as caught:
        changed(
            data, outcome=np.zeros(1200), features=data.features.assign(who=data.person, when=data.time.astype("M8[s]"))
        )
    assert len(caught.value.faults) == 3
    assert data.person[0] not in str(caught.value)


# ---- split ---------------------------------------------------------------------------------------


def test_split_purges_follow_up_that_crosses():
    days = np.array(["2015-01-01", "2015-02-28", "2015-03-01", "2015-03-02", "2015-03-31", "2015-04-01"] * 2, "M8[D]")
    outcome = np.r_[np.zeros(6, int), np.ones(6, int)]
    data = RiskData(pd.DataFrame({"x": np.arange(12.0)}), outcome, np.arange(12) % 6, days)
    split = split_by_date(data, develop_until=dt.date(2015, 4, 1), horizon_days=31)
    # The 31 days from 1 March end with 31 March, the last day before the split; those from 2 March do not.
    assert sorted(set(split.development.time.astype(str))) == ["2015-01-01", "2015-02-28", "2015-03-01"]
    assert set(split.validation.time.astype(str)) == {"2015-04-01"}
    assert {c.name: c.value for c in split.checks} == {"people_in_both_parts": 0.0, "purged_discharges": 0.4}


def test_split_tells_the_share_of_people_in_both():
    days = np.array(["2015-01-01", "2015-06-01"] * 20, "M8[D]")
    person = np.repeat(np.arange(20), 2) * np.tile([1, 1], 20)
    person[1::2] = np.where(np.arange(20) < 7, person[1::2], person[1::2] + 100)
    data = RiskData(pd.DataFrame({"x": np.arange(40.0)}), np.repeat([0, 1], 20), person, days)
    check = split_by_date(data, develop_until=dt.date(2015, 4, 1), horizon_days=30).checks[0]
    assert (check.passed, check.value) == (None, pytest.approx(0.35))
    assert check.text.startswith("About 35% of the people")


def test_split_refuses_an_empty_or_one_class_part():
    data = make_data()
    with pytest.raises(NotEstimable, match="validation discharges: there are none"):
        split_by_date(data, develop_until=dt.date(2030, 1, 1), horizon_days=90)
    late = data.time >= np.datetime64("2015-01-01")
    one_class = changed(data, outcome=np.where(late, 0, data.outcome))
    with pytest.raises(NotEstimable, match="one outcome class"):
        split_by_date(one_class, develop_until=dt.date(2015, 1, 1), horizon_days=90)
    with pytest.raises(ParameterError, match="horizon_days"):
        split_by_date(data, develop_until=dt.date(2015, 1, 1), horizon_days=0)


# ---- development and prediction ------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_fit_is_deterministic_and_sensible(kind):
    data = make_data()
    first, second = (predict_risk(fit_risk_model(data, kind=kind, seed=1), data.features) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (len(data),)
    assert ((first > 0) & (first < 1)).all()
    assert first.mean() == pytest.approx(data.outcome.mean(), abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_column_order_and_extra_columns_change_nothing(kind):
    data = make_data()
    model = fit_risk_model(data, kind=kind, seed=1)
    shuffled = data.features[data.features.columns[::-1]].assign(extra=1)
    assert np.array_equal(predict_risk(model, data.features), predict_risk(model, shuffled))


def test_parameters_counted():
    # score and its indicator, prior, sex 2 levels once "other" is pooled (3 columns), dual 3 levels.
    assert fit_risk_model(make_data(), kind="logistic", seed=1).parameters == 3 + 2 + 2
    assert fit_risk_model(make_data(), kind="gradient_boosting", seed=1).parameters == 2 + 2 + 2


def test_too_few_events_refused_without_a_count():
    data = make_data(150)
    parameters = fit_risk_model(
        data, kind="logistic", seed=1, options=ModelOptions(min_events_per_predictor=2)
    ).parameters
    with pytest.raises(NotEstimable) as caught:
        fit_risk_model(data, kind="logistic", seed=1)
    shown = math.floor(data.n_events // 5 * 5 / parameters * 10) / 10
    assert f"Got {shown} events per predictor parameter. Allowed: 10 events" in caught.value.reason
    assert str(data.n_events) not in caught.value.reason


def test_hardly_any_events_says_no_ratio():
    data = make_data()
    rare = np.zeros(len(data), int)
    rare[:7] = 1
    with pytest.raises(NotEstimable, match="fewer than 10 events in all"):
        fit_risk_model(changed(data, outcome=rare), kind="logistic", seed=1)


def test_boosting_says_when_it_is_hungry():
    checks = {c.name: c for c in fit_risk_model(make_data(), kind="gradient_boosting", seed=1).checks}
    assert checks["events_per_predictor"].passed is True
    assert checks["events_for_boosting"].passed is False
    assert "100 advised" in checks["events_for_boosting"].text


def test_unknown_kind():
    with pytest.raises(ParameterError, match='Did you mean "logistic"'):
        fit_risk_model(make_data(), kind="logistc", seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_levels_never_seen_are_refused_or_pooled_on_request(kind):
    data = make_data()
    model = fit_risk_model(data, kind=kind, seed=1)
    new = data.features.head(5).assign(sex="unheard of", prior_admissions=[np.nan, 1, 2, 3, 4])
    with pytest.raises(ParameterError) as caught:
        predict_risk(model, new)
    assert [f.where for f in caught.value.faults] == ['predictor "prior_admissions"', 'predictor "sex"']
    rare = new.assign(sex="other")
    pooled = predict_risk(model, new, on_unseen="pool")
    assert np.array_equal(pooled, predict_risk(model, rare, on_unseen="pool"))
    known = data.features.head(5)
    assert np.isfinite(predict_risk(model, known.assign(score=np.nan, dual_diagnosis=None))).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="sex"), 'predictor "sex": is missing'),
        (lambda f: f.rename(columns={"score": "scores"}), 'Did you mean "scores"'),
        (lambda f: f.assign(score=f["score"].astype(str)), 'predictor "score": has changed its type. Got category'),
        (lambda f: f.assign(sex=1), 'predictor "sex": has changed its type. Got number'),
        (lambda f: f.assign(score=np.inf), "infinite"),
    ],
)
def test_prediction_refuses_other_columns(change, message):
    data = make_data()
    model = fit_risk_model(data, kind="logistic", seed=1)
    with pytest.raises(ParameterError, match=message):
        predict_risk(model, change(data.features))


def test_preparation_learns_from_development_alone():
    data = make_data()
    model = fit_risk_model(data, kind="logistic", seed=1)
    alone = predict_risk(model, data.features.head(3))
    among = predict_risk(model, pd.concat([data.features.head(3), data.features.assign(score=4.0)]))[:3]
    np.testing.assert_allclose(alone, among, rtol=1e-12)


# ---- measures ------------------------------------------------------------------------------------


def measured(risk, outcome, *, person, level=0.95) -> RiskPerformance:
    rng = np.random.default_rng(0)
    return validate_risk_model(risk, outcome, person=person, level=level, replicates=50, rng=rng)


def test_auroc_by_hand():
    # Events 3, 2, 2; others 1, 2: pairs won 1, 1, 1, 1, .5, .5 of 6.
    risk, outcome = np.array([0.3, 0.2, 0.2, 0.1, 0.2]), np.array([1, 1, 1, 0, 0])
    area, se = compute_auroc(risk, outcome, cluster=np.arange(5))
    assert area == pytest.approx(5 / 6)
    of_events, of_others = np.array([1, 0.75, 0.75]), np.array([1, 2 / 3])
    assert se == pytest.approx(math.sqrt(of_events.var(ddof=1) / 3 + of_others.var(ddof=1) / 2))


def test_auroc_turned_round_and_perfect():
    data = make_data()
    risk = np.random.default_rng(0).random(len(data))
    cluster = pd.factorize(data.person)[0]
    area, se = compute_auroc(risk, data.outcome, cluster=cluster)
    assert compute_auroc(1 - risk, data.outcome, cluster=cluster) == pytest.approx((1 - area, se))
    found = measured(np.where(data.outcome == 1, 0.9, 0.1), data.outcome, person=data.person)
    assert found.value("auroc") == 1
    assert math.isnan(found.frame.loc["auroc", "lower"])
    assert math.isnan(found.value("calibration_slope"))
    assert [c.passed for c in found.checks if c.name == "measures_defined"] == [False]


def test_copies_of_a_row_add_nothing_when_clustered():
    rng = np.random.default_rng(8)
    risk = rng.uniform(0.05, 0.6, 300)
    outcome = (rng.random(300) < risk).astype(int)
    once = measured(risk, outcome, person=np.arange(300))
    thrice = measured(np.tile(risk, 3), np.tile(outcome, 3), person=np.tile(np.arange(300), 3))
    np.testing.assert_allclose(once.values, thrice.values, rtol=1e-9)
    np.testing.assert_allclose(once.se, thrice.se, rtol=2e-2)
    naive = measured(np.tile(risk, 3), np.tile(outcome, 3), person=np.arange(900))
    by_theory = [name not in ("auprc", "ici", "e50", "e90", "emax") for name in once.names]
    expected = np.array(once.se)[by_theory] / math.sqrt(3)
    np.testing.assert_allclose(np.array(naive.se)[by_theory], expected, rtol=2e-2)


def test_right_risks_have_slope_one_and_shifted_ones_show():
    risk = np.repeat([0.1, 0.2, 0.5], 1000)
    outcome = np.concatenate([np.arange(1000) < 1000 * p for p in (0.1, 0.2, 0.5)]).astype(int)
    right = measured(risk, outcome, person=np.arange(3000))
    assert right.value("calibration_slope") == pytest.approx(1, abs=1e-9)
    assert right.value("calibration_intercept") == pytest.approx(0, abs=1e-9)
    odds = np.log(risk / (1 - risk))
    extreme = measured(1 / (1 + np.exp(-2 * odds)), outcome, person=np.arange(3000))
    assert extreme.value("calibration_slope") == pytest.approx(0.5, abs=1e-9)
    high = measured(1 / (1 + np.exp(-odds - 0.7)), outcome, person=np.arange(3000))
    assert high.value("calibration_intercept") == pytest.approx(-0.7, abs=1e-9)


def test_constant_and_certain_risks_are_undefined_not_zero():
    data = make_data()
    flat = measured(np.full(len(data), 0.3), data.outcome, person=data.person)
    assert flat.value("auroc") == 0.5
    assert math.isnan(flat.frame.loc["auroc", "lower"])
    assert math.isnan(flat.value("calibration_slope"))
    assert math.isfinite(flat.value("calibration_intercept"))
    sure = measured(np.r_[0.0, np.full(len(data) - 1, 0.3)], data.outcome, person=data.person)
    assert math.isnan(sure.value("calibration_intercept"))
    assert math.isfinite(sure.value("brier"))


def test_scaled_brier_of_the_mean_is_zero():
    data = make_data()
    flat = measured(np.full(len(data), data.outcome.mean()), data.outcome, person=data.person)
    assert flat.value("scaled_brier") == pytest.approx(0, abs=1e-12)


def test_validation_refuses_few_events_and_bad_arrays():
    with pytest.raises(NotEstimable, match="10 or more of each"):
        measured(np.full(50, 0.1), np.r_[np.ones(9), np.zeros(41)], person=np.arange(50))
    with pytest.raises(ParameterError) as caught:
        measured(np.array([1.2, np.nan]), np.array([0, 2]), person=np.array([1, 2]), level=95)
    assert [f.where for f in caught.value.faults] == ["risk", "outcome", "level"]
    with pytest.raises(ParameterError, match="one shape"):
        measured(np.full(3, 0.1), np.zeros(2), person=np.arange(3))
    with pytest.raises(ParameterError, match="person: is missing"):
        measured(np.full(2, 0.1), np.array([0, 1]), person=np.array(["a", None], dtype=object))


def test_order_of_rows_does_not_matter():
    data = make_data()
    rng = np.random.default_rng(2)
    risk, order = rng.uniform(0.05, 0.6, len(data)), rng.permutation(len(data))
    here = measured(risk, data.outcome, person=data.person)
    there = measured(risk[order], data.outcome[order], person=data.person[order])
    np.testing.assert_allclose(here.frame.to_numpy(), there.frame.to_numpy(), rtol=1e-8)


def test_separated_logistic_has_no_fit():
    x = np.r_[np.zeros(20), np.ones(20)]
    design = np.column_stack([np.ones(40), x])
    assert fit_logistic(design, x, cluster=np.arange(40)) is None
    assert fit_logistic(np.ones((40, 2)), x, cluster=np.arange(40)) is None


# ---- calibration curve ---------------------------------------------------------------------------


def test_wilson_by_hand():
    # 10 of 100, z = 1.96: (0.0552, 0.1744), Newcombe 1998 (Stat Med 17:857) gives the formula.
    low, high = wilson_interval(np.array([10, 0]), np.array([100, 20]), level=0.95)
    assert low == pytest.approx([0.05522914, 0.0], abs=1e-7)
    assert high == pytest.approx([0.17436566, 0.16112516], abs=1e-7)


def test_curve_in_tenths():
    risk = np.linspace(0.01, 0.8, 1000)
    outcome = np.arange(1000) % 4 == 0
    curve = calibration_curve(risk, outcome, person=np.arange(1000) // 2)
    assert curve.n_discharges == (100,) * 10
    assert curve.n_people == (50,) * 10
    assert curve.observed == (0.25,) * 10
    assert curve.predicted[0] == pytest.approx(risk[:100].mean())
    assert all(low < 0.25 < high for low, high in zip(curve.lower, curve.upper, strict=True))


def test_equal_risks_share_a_group():
    risk = np.repeat([0.1, 0.2, 0.3], [700, 200, 100])
    curve = calibration_curve(risk, np.arange(1000) % 5 == 0, person=np.arange(1000))
    assert curve.n_discharges == (700, 200, 100)
    assert curve.predicted == pytest.approx((0.1, 0.2, 0.3))
    with pytest.raises(ParameterError, match="bins"):
        calibration_curve(risk, np.arange(1000) % 5 == 0, person=np.arange(1000), bins=1)


# ---- cells ---------------------------------------------------------------------------------------


def test_cells_hold_the_counts_that_the_gate_needs():
    split = split_by_date(make_data(3000), develop_until=dt.date(2015, 6, 1), horizon_days=90)
    late = split.validation
    risk = predict_risk(fit_risk_model(split.development, kind="logistic", seed=1), late.features)
    with pytest.raises(NotEstimable) as refused:
        fit_risk_model(
            split.development, kind="gradient_boosting", seed=1, options=ModelOptions(min_events_per_predictor=1000)
        )
    cells = measure_cells("90|logistic", measured(risk, late.outcome, person=late.person), "Logistic regression")
    cells += refused_cells("90|gradient_boosting", MEASURE_LABELS, "Gradient boosting", refused.value)
    table = Results.from_cells("risk_performance", cells).table("risk_performance").set_index(["row", "column"])
    assert list(table.loc["90|logistic"].index) == list(MEASURE_LABELS)
    assert table.loc[("90|logistic", "auroc"), "lower"] < table.loc[("90|logistic", "auroc"), "value"]
    assert set(table.loc["90|gradient_boosting", "status"]) == {"not_estimable"}
    assert table.loc["90|gradient_boosting", "value"].isna().all()
    assert table.loc["90|gradient_boosting", "reason"].str.contains("1000 events per predictor").all()

    curve = calibration_curve(risk, late.outcome, person=late.person)
    drawn = Results.from_cells("calibration.logistic", calibration_cells(curve)).table("calibration.logistic")
    assert list(drawn["row"].unique()) == [str(i) for i in range(1, 11)]
    assert drawn.loc[drawn["column"] == "observed", "n_events"].sum() == late.n_events
    assert drawn.loc[drawn["column"] == "predicted", "lower"].isna().all()
