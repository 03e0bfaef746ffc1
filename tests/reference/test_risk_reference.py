"""Measures of risk and their errors with repeats of a person, against scikit-learn and statsmodels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, roc_auc_score

from evalkit.risk.validate import (
    compute_auroc,
    validate_risk_model,
    wilson_interval,
)


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
