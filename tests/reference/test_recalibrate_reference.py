"""Recalibration and its closed test against statsmodels' GLM, and R's calibration of two published data sets."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.special import expit, logit
from scipy.stats import chi2

from evalkit.risk.recalibrate import Recalibration, choose_recalibration, fit_recalibration
from tests.shared_data import reference, shared

DCA = reference("dca_dcurves")
# R's glm stops at a relative deviance of 1e-8, so that what should be 0 or 1 is so to about 1e-7.
DCA_NUMBERS = {
    "binary.calibration_slope": ("slope", 1),
    "binary.calibration_intercept_joint": ("slope", 0),
    "binary.calibration_in_the_large": ("intercept", 0),
    "binary.logistic.(Intercept)": ("reestimate", 0),
    "binary.logistic.age": ("reestimate", 1),
    "binary.logistic.famhistory": ("reestimate", 2),
    "binary.logistic.marker": ("reestimate", 3),
}


def dcurves() -> pd.DataFrame:
    return pd.read_csv(shared("dca_dcurves") / "df_binary.csv")


def dcurves_update(frame: pd.DataFrame, method: str) -> Recalibration:
    return fit_recalibration(
        frame["cancerpredmarker"].to_numpy(), frame["cancer"].to_numpy(dtype=int), method=method,
        person=np.arange(len(frame)), design=frame[["age", "famhistory", "marker"]].to_numpy(float),
    )  # fmt: skip


@pytest.fixture(scope="module")
def place():
    rng = np.random.default_rng(21)
    person = rng.integers(0, 500, 1500)
    x = rng.normal(size=(500, 3))[person] + 0.3 * rng.normal(size=(1500, 3))
    odds = -1.0 + x @ np.array([0.7, -0.4, 0.2])
    truth = -0.6 + 0.7 * odds + 0.2 * x[:, 2] + rng.normal(0, 0.6, 500)[person]
    return expit(odds), (rng.random(1500) < expit(truth)).astype(int), x, person


def glm(outcome, columns, offset=None):
    return sm.GLM(outcome, columns, family=sm.families.Binomial(), offset=offset)


def designs(risk, x):
    odds, ones = logit(risk), np.ones(len(risk))
    return {
        "intercept": (ones[:, None], odds),
        "slope": (np.column_stack([ones, odds]), None),
        "reestimate": (np.column_stack([ones, x]), None),
    }


@pytest.mark.parametrize("method", ["intercept", "slope", "reestimate"])
def test_updates_equal_clustered_glm(place, method):
    risk, outcome, x, person = place
    columns, offset = designs(risk, x)[method]
    cov = {"groups": pd.factorize(person)[0], "use_correction": False}
    fit = glm(outcome, columns, offset).fit(cov_type="cluster", cov_kwds=cov, tol=1e-13)
    found = fit_recalibration(risk, outcome, method=method, person=person, design=x)
    people = len(np.unique(person))
    np.testing.assert_allclose(found.coefficients, fit.params, rtol=1e-7)
    np.testing.assert_allclose(found.se, fit.bse * math.sqrt(people / (people - 1)), rtol=1e-6)


def test_closed_test_equals_likelihood_ratios(place):
    """Each discharge a person of its own: the tests of Vergouwe et al. 2017 from statsmodels' log-likelihoods."""
    risk, outcome, x, _ = place
    odds, parts = logit(risk), designs(risk, x)
    llf = {method: glm(outcome, *parts[method]).fit(tol=1e-13).llf for method in parts}
    llf["none"] = float(np.sum(outcome * odds - np.logaddexp(0, odds)))
    found = choose_recalibration(risk, outcome, person=np.arange(len(risk)), design=x)
    assert [(test.simpler, test.df) for test in found.tests] == [("none", 4), ("intercept", 3), ("slope", 2)]
    for test in found.tests:
        statistic = 2 * (llf["reestimate"] - llf[test.simpler])
        assert test.statistic == pytest.approx(statistic, rel=1e-7)
        assert test.p_value == pytest.approx(chi2.sf(statistic, test.df), rel=1e-6)


def test_design_effect_equals_that_of_glm(place):
    """With repeats of a person, each statistic over tr(V^-1 R) / df of the coefficients left out."""
    risk, outcome, x, person = place
    odds = logit(risk)
    full = np.column_stack([np.ones(len(odds)), odds, x[:, :2]])  # x2 is made up of the others
    cov = {"groups": pd.factorize(person)[0], "use_correction": False}
    plain = glm(outcome, full, odds).fit(tol=1e-13)
    tied = glm(outcome, full, odds).fit(cov_type="cluster", cov_kwds=cov, tol=1e-13)
    people = len(np.unique(person))
    alone = choose_recalibration(risk, outcome, person=np.arange(len(risk)), design=x)
    found = choose_recalibration(risk, outcome, person=person, design=x)
    for k, (one, test) in enumerate(zip(alone.tests, found.tests, strict=True)):
        v, r = plain.cov_params()[k:, k:], tied.cov_params()[k:, k:] * people / (people - 1)
        effect = np.trace(np.linalg.solve(v, r)) / test.df
        assert effect > 1.05  # the test can fail
        assert test.statistic == pytest.approx(one.statistic / effect, rel=1e-6)


@pytest.mark.parametrize("name", list(DCA_NUMBERS))
def test_dcurves_coefficients_equal_r(name):
    method, place = DCA_NUMBERS[name]
    found = dcurves_update(dcurves(), method)
    assert found.coefficients[place] == pytest.approx(DCA[name], rel=1e-6, abs=2e-7)


@pytest.mark.parametrize("name", [n for n in DCA_NUMBERS if f"{n}.se" in DCA])
def test_dcurves_errors_equal_r(name):
    """R's are the model's errors and ours by person: of discharges that are a person each, near but no more."""
    method, place = DCA_NUMBERS[name]
    found = dcurves_update(dcurves(), method)
    assert found.se[place] == pytest.approx(DCA[f"{name}.se"], rel=0.15)


def test_dcurves_needs_no_update():
    """The risks were fitted to these very people."""
    frame = dcurves()
    found = choose_recalibration(
        frame["cancerpredmarker"].to_numpy(), frame["cancer"].to_numpy(dtype=int), person=np.arange(len(frame)),
        design=frame[["age", "famhistory", "marker"]].to_numpy(float),
    )  # fmt: skip
    assert found.method == "none"
    assert [test.df for test in found.tests] == [4, 3, 2]
    assert all(test.statistic == pytest.approx(0, abs=1e-6) for test in found.tests)
