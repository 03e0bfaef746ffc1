"""The competing-risk models where the risk is known: constant hazards of readmission and of death."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from evalkit.risk.data import RiskData
from evalkit.risk.model import ModelOptions, fit_risk_model, predict_risk
from evalkit.risk.recalibrate import fit_recalibration

HORIZON = 90


def draw(n: int, *, seed: int) -> tuple[RiskData, np.ndarray]:
    """Discharges, and the true risk of coming back before death within the horizon."""
    rng = np.random.default_rng(seed)
    x, frail = rng.normal(size=n), rng.random(n) < 0.3
    back = np.exp(-5.6 + 0.5 * x + 0.6 * frail)
    death = np.exp(-6.6 - 0.3 * x + 1.2 * frail)
    true = back / (back + death) * -np.expm1(-(back + death) * HORIZON)
    first, second = rng.exponential(1 / back), rng.exponential(1 / death)
    event = np.where(np.minimum(first, second) >= HORIZON, 0, np.where(first <= second, 1, 2))
    days = np.where(event == 0, HORIZON, np.floor(np.minimum(first, second)))
    features = pd.DataFrame({"x": x, "frail": np.where(frail, "yes", "no")})
    time = np.full(n, np.datetime64("2014-01-01"))
    return RiskData(features, (event == 1).astype(int), np.arange(n), time, event=event, event_days=days), true


@pytest.mark.parametrize("method", ["cause_specific", "fine_gray"])
def test_risks_of_other_people_are_those_of_the_world(method):
    development, _ = draw(8000, seed=1)
    later, true = draw(8000, seed=2)
    options = ModelOptions(competing=method)
    risk = predict_risk(fit_risk_model(development, kind="competing_risk", seed=1, options=options), later.features)
    # An intercept and a slope estimated twice, in development and in validation.
    update = fit_recalibration(risk, later.outcome, method="slope", person=later.person)
    assert abs(update.coefficients[1] - 1) < 3 * math.sqrt(2) * update.se[1]
    # Only the first is the right model here: hazards are proportional by cause, not those of the subdistribution.
    error = np.abs(logit(risk) - logit(true))
    assert error.mean() < (0.07 if method == "cause_specific" else 0.15)
    assert np.corrcoef(logit(risk), logit(true))[0, 1] > (0.998 if method == "cause_specific" else 0.99)


def test_censoring_the_dead_would_tell_too_much():
    """The test above can fail: with the dead taken as followed alive to the horizon, risks are further off."""
    development, _ = draw(8000, seed=1)
    later, true = draw(8000, seed=2)
    options = ModelOptions(competing="cause_specific")
    event = np.where(development.event == 2, 0, development.event)
    days = np.where(event == 0, HORIZON, development.event_days)
    blind = RiskData(
        development.features, development.outcome, development.person, development.time, event=event, event_days=days
    )
    found = [
        predict_risk(fit_risk_model(data, kind="competing_risk", seed=1, options=options), later.features)
        for data in (development, blind)
    ]
    errors = [np.abs(logit(risk) - logit(true)).mean() for risk in found]
    assert errors[0] < errors[1]
