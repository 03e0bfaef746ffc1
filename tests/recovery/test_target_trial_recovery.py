"""Emulated trials and multiple imputation on worlds with known truth: the naive way is biased, these are not."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand
from evalkit.core.result import Estimate
from evalkit.estimators.inference import normal_estimate
from evalkit.estimators.people.clone_censor import CloneOptions, TrialPeople, estimate_clone_effect
from evalkit.estimators.people.clone_risks import compute_clone_risks
from evalkit.estimators.people.clone_weights import build_start_rows
from evalkit.estimators.people.impute import ImputeOptions, impute_missing
from evalkit.estimators.people.rubin import estimate_with_imputation
from tests.trial_people import GRACE, HORIZON, compute_truth, draw_people

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2014, 1, 1))
DIFFERENCE = Estimand("readmission", "ATE", "all", WINDOW, "risk_difference")
OPTIONS = CloneOptions(grace_days=GRACE, horizon_days=HORIZON, replicates=100)
pytestmark = pytest.mark.slow


def read(frame: pd.DataFrame, **options: object) -> TrialPeople:
    options = {"covariates": ("severity",)} | options
    return TrialPeople.from_frame(frame, person="person", start="start", exit="exit", event="event", **options)


def point(people: TrialPeople, options: CloneOptions = OPTIONS) -> np.ndarray:
    """Risks of both arms, without a bootstrap."""
    rows = build_start_rows(people, options)
    days = np.array([options.horizon_days])
    return compute_clone_risks(people, options, rows, np.ones((1, len(people))), days=days)[0, :, 0]


def naive(frame: pd.DataFrame) -> np.ndarray:
    """Grouped by what happened later: who ever started in time against the rest, Kaplan-Meier of each."""
    risks = []
    started = frame["start"] <= GRACE
    for rows in (started, ~started):
        found = sm.SurvfuncRight(frame.loc[rows, "exit"].to_numpy(), frame.loc[rows, "event"].to_numpy())
        last = np.searchsorted(found.surv_times, HORIZON, side="right") - 1
        risks.append(1 - found.surv_prob[last])
    return np.array(risks)


def test_without_effect_the_naive_groups_show_one_and_the_clones_do_not():
    """Immortal time: who starts has lived to start. No effect, no confounding, one cause of bias."""
    rng = np.random.default_rng(20)
    found, wrong = [], []
    for _ in range(12):
        frame = draw_people(4000, rng, effect=1.0)
        frame["severity"] = 0.0
        # Starts in random order among those who live to it, so that severity does not confound.
        start = np.ceil(rng.exponential(1 / 0.008, len(frame)))
        frame["start"] = np.where(start <= frame["exit"], start, np.nan)
        found.append(point(read(frame, covariates=())))
        wrong.append(naive(frame))
    difference, spread = np.diff(found, axis=1), np.std(np.diff(found, axis=1), ddof=1) / math.sqrt(12)
    assert abs(difference.mean()) < 4 * spread
    assert spread < 0.004
    assert np.diff(wrong, axis=1).mean() > 0.04  # the comparison looks worse by 4 points or more


@pytest.mark.parametrize("start_weights", ["initiation_time", "grace_end"])
def test_the_truth_is_found_under_confounding(start_weights):
    """Severe people start sooner and go back sooner; the programme lowers their hazard by 40%."""
    truth = np.array(compute_truth(np.random.default_rng(1)))
    rng = np.random.default_rng(21)
    options = CloneOptions(grace_days=GRACE, horizon_days=HORIZON, start_weights=start_weights)
    found, crude = [], []
    for _ in range(15):
        frame = draw_people(4000, rng)
        found.append(point(read(frame), options))
        crude.append(point(read(frame, covariates=()), options))
    error = np.std(found, axis=0, ddof=1) / math.sqrt(15)
    off = np.mean(found, axis=0) - truth
    # Weights by the end of the grace period let people start at its end at the latest: 0.7 points more risk.
    allowed = 0.0 if start_weights == "initiation_time" else 0.009
    assert abs(off[0]) < 3.5 * error[0] + allowed
    assert abs(off[1]) < 3.5 * error[1]
    assert (error < 0.005).all()
    assert abs(np.mean(crude, axis=0) - truth).max() > 0.02


def test_intervals_cover_at_the_real_size():
    truth = np.subtract(*compute_truth(np.random.default_rng(1)))
    rng = np.random.default_rng(22)
    found = [
        estimate_clone_effect(read(draw_people(600, rng)), DIFFERENCE, options=OPTIONS, rng=rng) for _ in range(40)
    ]
    covered = np.mean([e.lower <= truth <= e.upper for e in found])
    spread, told = np.std([e.value for e in found], ddof=1), np.mean([e.se for e in found])
    assert covered >= 0.85  # 0.95 less three Monte-Carlo errors
    assert told / spread == pytest.approx(1.0, abs=0.3)


def test_confounders_that_vary_are_adjusted_for():
    """A relapse raises both the chance of starting and of the event; at baseline nobody has relapsed. No effect."""
    rng = np.random.default_rng(23)
    fixed, varying = [], []
    for _ in range(10):
        n = 3000
        relapse = rng.exponential(150, n).round()
        parts = [np.ceil(rng.exponential(1 / rate, n)) for rate in (0.003, 0.02)]
        start = np.where(parts[0] <= relapse, parts[0], relapse + parts[1])
        parts = [np.ceil(rng.exponential(1 / rate, n)) for rate in (0.0008, 0.004)]
        event = np.where(parts[0] <= relapse, parts[0], relapse + parts[1])
        exit_ = np.minimum(event, HORIZON + 1)
        frame = pd.DataFrame({
            "person": np.arange(n), "start": np.where(start <= exit_, start, np.nan), "exit": exit_,
            "event": (event <= HORIZON).astype(int),
        })  # fmt: skip
        people = np.arange(n)
        later = relapse > 0
        long = pd.DataFrame({
            "person": np.r_[people, people[later]], "day": np.r_[np.zeros(n), relapse[later]],
            "relapsed": np.r_[(~later).astype(float), np.ones(later.sum())],
        })  # fmt: skip
        options = CloneOptions(grace_days=GRACE, horizon_days=HORIZON, interval_days=3.0)
        fixed.append(np.diff(point(read(frame, covariates=()), options)))
        varying.append(
            np.diff(point(read(frame, covariates=(), varying=long, varying_covariates=("relapsed",)), options))
        )
    error = np.std(varying, ddof=1) / math.sqrt(10)
    assert abs(np.mean(varying)) < 3.5 * error + 0.004
    assert np.mean(fixed) < -0.04


def slope(df: pd.DataFrame) -> Estimate:
    fit = sm.OLS(df["y"], sm.add_constant(df[["x", "old"]].astype(float))).fit()
    estimand = Estimand("y", "ATE", "all", WINDOW, "mean_difference")
    return normal_estimate(
        estimand, "ols", role="primary", value=fit.params["x"], se=fit.bse["x"], level=0.95, label="", n_people=len(df)
    )


@pytest.mark.parametrize(("numbers", "strength"), [("matching", 0.7), ("normal", 1.5)])
def test_imputation_covers_where_complete_cases_do_not(numbers, strength):
    """x is missing more often where y is high (at random given y): complete cases see a flattened slope."""
    rng = np.random.default_rng(24)
    options = ImputeOptions(imputations=10, iterations=5, numbers=numbers)
    imputed, complete = [], []
    for _ in range(40):
        n = 250
        old = rng.random(n) < 0.5
        x = 0.6 * old + rng.normal(0, 1, n)
        y = 1.0 * x + 0.5 * old + rng.normal(0, 1, n)
        frame = pd.DataFrame({"x": x, "y": y, "old": old.astype(object)})
        frame.loc[rng.random(n) < 1 / (1 + np.exp(-strength * (y - 1.0))), "x"] = np.nan
        frame.loc[rng.random(n) < 0.15, "old"] = None
        complete.append(slope(frame.dropna()))
        filled = impute_missing(frame, columns=("x", "y", "old"), options=options, rng=rng)
        imputed.append(estimate_with_imputation(filled, slope, complete_df=n - 3))
    covered = [np.mean([e.lower <= 1 <= e.upper for e in found]) for found in (imputed, complete)]
    bias = [abs(np.mean([e.value for e in found]) - 1) for found in (imputed, complete)]
    assert covered[0] >= 0.85
    assert covered[1] < covered[0] - 0.08
    assert bias[0] < 0.04 < 0.07 < bias[1]
