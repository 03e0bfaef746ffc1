"""Measures of risk against R on 69,564 real encounters, and against scikit-learn and statsmodels."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_auc_score

from evalkit.risk.validate import (
    calibration_curve,
    compute_auroc,
    fit_logistic,
    validate_risk_model,
    wilson_interval,
)

FOLDER = Path(__file__).parents[2].parent / "shared" / "reference" / "datasets" / "readm_diabetes130"
needs_diabetes = pytest.mark.skipif(not FOLDER.exists(), reason="the shared reference data sets are not here")
CAPPED = {"nout": "number_outpatient", "nem": "number_emergency", "ninp": "number_inpatient"}
LEVELS = {"race": "race", "insulin": "insulin", "diag1_group": "diag1_group"}


def predictor(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column of the design of reference.R: counts capped at 5, dummies named variable + level."""
    if name == "(Intercept)":
        return np.ones(len(frame))
    if name in CAPPED:
        return np.minimum(frame[CAPPED[name]].to_numpy(float), 5.0)
    if name == "home":
        return (frame["discharge_disposition_id"] == 1).to_numpy(float)
    if name == "emerg":
        return (frame["admission_type_id"] == 1).to_numpy(float)
    for variable in LEVELS:
        if name.startswith(variable):
            return (frame[variable].astype(str) == name.removeprefix(variable)).to_numpy(float)
    return frame[name].to_numpy(float)


@pytest.fixture(scope="module")
def diabetes():
    reference = json.loads((FOLDER / "reference.json").read_text(encoding="utf-8"))
    frame = pd.read_parquet(FOLDER / "model_frame.parquet")
    frame = frame[(frame["expired_or_hospice"] == 0) & (frame["patient_nbr"] % 10 <= 6)]
    names = [k.removeprefix("model.coef.") for k in reference if k.startswith("model.coef.") and ".se" not in k]
    design = np.column_stack([predictor(frame, name) for name in names])
    return reference, names, design, frame["readmit30"].to_numpy(), frame["patient_nbr"].to_numpy()


@needs_diabetes
def test_logistic_fit_equals_glm_in_r(diabetes):
    reference, names, design, outcome, patient = diabetes
    assert len(outcome) == reference["model.n_train"]
    fit = fit_logistic(design, outcome, cluster=pd.factorize(patient)[0])
    # R's glm stops at a relative deviance of 1e-8, so its coefficients carry about that error.
    np.testing.assert_allclose(fit.coefficients, [reference[f"model.coef.{n}"] for n in names], rtol=1e-6, atol=1e-8)
    se = np.sqrt(np.diag(fit.covariance))
    np.testing.assert_allclose(se, [reference[f"model.coef.{n}.se"] for n in names], rtol=1e-5)
    patients = len(np.unique(patient))
    for name in ("ninp", "home", "time_in_hospital"):
        robust = math.sqrt(fit.robust[names.index(name), names.index(name)] * (patients - 1) / patients)
        assert robust == pytest.approx(reference[f"model.coef.{name}.se_cluster_patient_CR0"], rel=1e-6)


@needs_diabetes
def test_performance_equals_r(diabetes):
    reference, names, design, outcome, _ = diabetes
    risk = expit(design @ np.array([reference[f"model.coef.{n}"] for n in names]))
    # R's DeLong takes each encounter on its own.
    found = validate_risk_model(
        risk, outcome, person=np.arange(len(risk)), replicates=2, rng=np.random.default_rng(0)
    ).frame
    assert found.loc["auroc", "value"] == pytest.approx(reference["train.auc"], abs=1e-10)
    assert found.loc["auroc", "se"] == pytest.approx(reference["train.auc.delong_se"], rel=1e-8)
    assert found.loc["auroc", "lower"] == pytest.approx(reference["train.auc.delong_lo"], abs=1e-9)
    assert found.loc["auroc", "upper"] == pytest.approx(reference["train.auc.delong_hi"], abs=1e-9)
    assert found.loc["brier", "value"] == pytest.approx(reference["train.brier"], abs=1e-10)
    assert found.loc["scaled_brier", "value"] == pytest.approx(reference["train.brier_scaled"], abs=1e-10)
    assert found.loc["calibration_slope", "value"] == pytest.approx(reference["train.calibration_slope"], abs=1e-7)
    intercept = reference["train.calibration_in_the_large"]
    assert found.loc["calibration_intercept", "value"] == pytest.approx(intercept, abs=1e-6)


@needs_diabetes
def test_calibration_slope_error_equals_r(diabetes):
    reference, names, design, outcome, _ = diabetes
    linear = design @ np.array([reference[f"model.coef.{n}"] for n in names])
    fit = fit_logistic(np.column_stack([np.ones_like(linear), linear]), outcome, cluster=np.arange(len(linear)))
    assert math.sqrt(fit.covariance[1, 1]) == pytest.approx(reference["train.calibration_slope.se"], rel=1e-6)


@needs_diabetes
def test_top_tenth_holds_what_r_found(diabetes):
    reference, names, design, outcome, patient = diabetes
    risk = expit(design @ np.array([reference[f"model.coef.{n}"] for n in names]))
    curve = calibration_curve(risk, outcome, person=patient)
    # R flags at the 90th percentile; the groups differ by a handful of the 69,564.
    assert curve.observed[-1] == pytest.approx(reference["train.top_decile_ppv"], abs=5e-4)
    assert curve.n_events[-1] / outcome.sum() == pytest.approx(reference["train.top_decile_sensitivity"], abs=5e-4)


@pytest.fixture(scope="module")
def clustered():
    rng = np.random.default_rng(11)
    person = rng.integers(0, 300, 900)
    odds = rng.normal(-1.2, 0.9, 900)
    outcome = (rng.random(900) < expit(odds + rng.normal(0, 1, 300)[person])).astype(int)
    risk = np.round(expit(0.3 + 0.8 * odds), 2).clip(0.01, 0.99)  # rounded, so that there are ties
    return risk, outcome, pd.factorize(person)[0]


def test_values_equal_scikit_learn(clustered):
    risk, outcome, person = clustered
    found = validate_risk_model(risk, outcome, person=person, replicates=2, rng=np.random.default_rng(0))
    assert found.value("auroc") == pytest.approx(roc_auc_score(outcome, risk), abs=1e-12)
    assert found.value("brier") == pytest.approx(brier_score_loss(outcome, risk), abs=1e-12)


def test_calibration_equals_clustered_glm(clustered):
    risk, outcome, person = clustered
    found = validate_risk_model(
        risk, outcome, person=person, level=0.9, replicates=2, rng=np.random.default_rng(0)
    ).frame
    odds = np.log(risk / (1 - risk))
    groups = {"groups": person, "use_correction": False}
    slope = sm.GLM(outcome, sm.add_constant(odds), family=sm.families.Binomial())
    large = sm.GLM(outcome, np.ones(len(odds)), family=sm.families.Binomial(), offset=odds)
    small = math.sqrt(person.max() + 1) / math.sqrt(person.max())  # G / (G - 1), under the root
    for name, model in (("calibration_slope", slope), ("calibration_intercept", large)):
        fit = model.fit(cov_type="cluster", cov_kwds=groups, tol=1e-12)
        assert found.loc[name, "value"] == pytest.approx(fit.params[-1], abs=1e-8)
        assert found.loc[name, "se"] == pytest.approx(fit.bse[-1] * small, rel=1e-6)
        reach = norm.ppf(0.95) * fit.bse[-1] * small
        assert found.loc[name, "upper"] == pytest.approx(fit.params[-1] + reach, rel=1e-6)


def test_auroc_error_equals_obuchowski_written_out(clustered):
    """Obuchowski 1997, equations for S10, S01 and S11, pair by pair and person by person."""
    risk, outcome, person = clustered
    cases, controls = risk[outcome == 1], risk[outcome == 0]
    wins = (cases[:, None] > controls[None, :]) + 0.5 * (cases[:, None] == controls[None, :])
    area, v10, v01 = wins.mean(), wins.mean(axis=1), wins.mean(axis=0)
    s10 = s01 = s11 = 0.0
    people_with_case = people_with_control = 0
    for i in range(person.max() + 1):
        here, there = person[outcome == 1] == i, person[outcome == 0] == i
        a, b = v10[here].sum() - here.sum() * area, v01[there].sum() - there.sum() * area
        s10, s01, s11 = s10 + a * a, s01 + b * b, s11 + a * b
        people_with_case, people_with_control = people_with_case + here.any(), people_with_control + there.any()
    m, n, people = len(cases), len(controls), person.max() + 1
    s10 *= people_with_case / ((people_with_case - 1) * m)
    s01 *= people_with_control / ((people_with_control - 1) * n)
    s11 *= people / (people - 1)
    expected = math.sqrt(s10 / m + s01 / n + 2 * s11 / (m * n))
    assert compute_auroc(risk, outcome, cluster=person) == pytest.approx((area, expected), rel=1e-12)


def test_wilson_equals_statsmodels():
    events, n = np.array([0, 3, 50, 99]), np.array([10, 20, 100, 99])
    low, high = sm.stats.proportion_confint(events, n, alpha=0.1, method="wilson")
    found = wilson_interval(events, n, level=0.9)
    np.testing.assert_allclose(found[0], low, atol=1e-12)
    np.testing.assert_allclose(found[1], high, atol=1e-12)
