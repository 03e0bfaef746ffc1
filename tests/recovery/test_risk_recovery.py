"""Risk: where the truth is known, slope 1, intercept 0, and intervals that cover at their level."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from evalkit.risk.data import RiskData
from evalkit.risk.model import fit_risk_model, predict_risk
from evalkit.risk.validate import RiskPerformance, compute_auroc, validate_risk_model

LEVEL = 0.95


def draw(rng: np.random.Generator, people: int, *, shared: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predicted risk, outcome, person: 1 to 5 discharges each, `shared` what a person's discharges share."""
    person = np.repeat(np.arange(people), rng.integers(1, 6, people))
    odds = -1.0 + rng.normal(0, 0.8, people)[person] + rng.normal(0, 0.4, len(person))
    hidden = rng.normal(0, shared, people)[person]
    return expit(odds), (rng.random(len(person)) < expit(odds + hidden)).astype(int), person


def measured(risk: np.ndarray, outcome: np.ndarray, *, person: np.ndarray) -> RiskPerformance:
    """Few replicates: what is tested here has its error from theory."""
    return validate_risk_model(risk, outcome, person=person, level=LEVEL, replicates=2, rng=np.random.default_rng(0))


def within(covered: np.ndarray) -> None:
    """Coverage no further than 3 Monte-Carlo errors from its level."""
    error = math.sqrt(LEVEL * (1 - LEVEL) / len(covered))
    assert abs(covered.mean() - LEVEL) < 3 * error, f"coverage {covered.mean():.3f}, Monte-Carlo error {error:.3f}"


def test_true_risks_are_calibrated():
    rng = np.random.default_rng(1)
    frames = [measured(risk, y, person=p).frame for risk, y, p in (draw(rng, 400, shared=0) for _ in range(150))]
    for name, truth in (("calibration_slope", 1.0), ("calibration_intercept", 0.0)):
        values = np.array([f.loc[name, "value"] for f in frames])
        # A slope has a bias of order 1/n; 0.01 is a tenth of its standard error here.
        assert abs(values.mean() - truth) < 3 * values.std(ddof=1) / math.sqrt(len(values)) + 0.01
        within(np.array([f.loc[name, "lower"] <= truth <= f.loc[name, "upper"] for f in frames]))


@pytest.mark.slow
def test_auroc_and_brier_intervals_cover_with_repeats_of_a_person():
    big = draw(np.random.default_rng(2), 400_000, shared=1.0)
    truth = {"auroc": roc_auc_score(big[1], big[0]), "brier": np.mean((big[1] - big[0]) ** 2)}
    truth["scaled_brier"] = 1 - truth["brier"] / (big[1].mean() * (1 - big[1].mean()))
    rng = np.random.default_rng(3)
    clustered, alone = [], []
    for _ in range(500):
        risk, outcome, person = draw(rng, 300, shared=1.0)
        clustered.append(measured(risk, outcome, person=person).frame)
        alone.append(compute_auroc(risk, outcome, cluster=np.arange(len(risk)))[1])
    for name, value in truth.items():
        within(np.array([f.loc[name, "lower"] <= value <= f.loc[name, "upper"] for f in clustered]))
    # The test can fail: with discharges taken one by one the AUROC's error is too small.
    spread = np.std([f.loc["auroc", "value"] for f in clustered], ddof=1)
    assert np.mean(alone) < 0.9 * spread


@pytest.mark.parametrize("kind", ["logistic", "gradient_boosting"])
def test_developed_model_is_calibrated_on_later_discharges(kind):
    rng = np.random.default_rng(5)

    def discharges(n: int) -> tuple[RiskData, np.ndarray]:
        prior, sex = rng.poisson(1.0, n), rng.choice(["female", "male"], n)
        score = rng.normal(size=n)
        true = expit(-2.0 + 0.5 * prior + 0.4 * (sex == "male") + 0.5 * score)
        features = pd.DataFrame({"prior": prior, "sex": sex, "score": score, "noise": rng.normal(size=n)})
        outcome = (rng.random(n) < true).astype(int)
        return RiskData(features, outcome, np.arange(n), np.full(n, np.datetime64("2014-01-01"))), true

    development, _ = discharges(8000)
    validation, true = discharges(8000)
    risk = predict_risk(fit_risk_model(development, kind=kind, seed=1), validation.features)
    found = measured(risk, validation.outcome, person=validation.person).frame
    # Within 3 standard errors of validation, and as many again for having been estimated on as many discharges.
    assert abs(found.loc["calibration_slope", "value"] - 1) < 3 * math.sqrt(2) * found.loc["calibration_slope", "se"]
    assert (
        abs(found.loc["calibration_intercept", "value"]) < 3 * math.sqrt(2) * found.loc["calibration_intercept", "se"]
    )
    best = roc_auc_score(validation.outcome, true)
    assert best - 0.02 < found.loc["auroc", "value"] < best + 0.01
    if kind == "logistic":
        assert np.corrcoef(risk, true)[0, 1] > 0.995
