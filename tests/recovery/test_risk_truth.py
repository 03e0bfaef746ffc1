"""Measures of risk models hold the truth of discharges whose risk is known; the short version of `make risk-truth`.

Bounds are three Monte-Carlo errors of a coverage of 95%, and three and a half of a mean error. Intervals are those of
a 20th of the replicates of the long run, so that only gross faults are sure to be seen here.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from evalkit.core.errors import ParameterError
from evalkit.risk.data import RiskData
from evalkit.risk.decision import estimate_decision_curve
from evalkit.risk.fairness import build_group_sample, estimate_group_performance
from evalkit.risk.measures import compute_measures
from evalkit.risk.optimism import estimate_optimism
from evalkit.risk.recalibrate import apply_recalibration, fit_recalibration
from evalkit.risk.refit import refit_ridge
from evalkit.risk.resample import draw_person_counts
from evalkit.risk.ridge import fit_ridge, predict_ridge
from evalkit.risk.sample_size import judge_sample
from evalkit.risk.threshold_table import compute_threshold_table
from evalkit.risk.validate import validate_risk_model
from evalkit.simulate.risk_worlds import (
    DIAGNOSES,
    GROUPS,
    HORIZON_DAYS,
    RiskSettings,
    compute_risk_truth,
    compute_truth_of_risks,
    draw_population,
    simulate_risk,
)

LEVEL = 0.95
BASE = RiskSettings()
WRONG = replace(BASE, stated_slope=1.5, stated_intercept=0.3)
SEVERAL = {"most_discharges": 5, "shared": 0.5}


def design_of(features: pd.DataFrame) -> np.ndarray:
    numbers = features.select_dtypes("number").to_numpy(dtype=float)
    levels = [(features["diagnosis"] == level).to_numpy(dtype=float) for level in DIAGNOSES[1:]]
    return np.column_stack([numbers, (features["sex"] == "male").to_numpy(dtype=float), *levels])


def holds(found: np.ndarray, truth: float, name: str, *, errors: float = 3.5) -> None:
    """Values and ends (R, 3): mean error nil, coverage at its level."""
    values = found[:, 0]
    bias = (values.mean() - truth) / (values.std(ddof=1) / math.sqrt(len(values)))
    assert abs(bias) < errors, f"{name}: mean error {bias:.1f} Monte-Carlo errors"
    covers(found, truth, name)


def covers(found: np.ndarray, truth: float, name: str) -> None:
    coverage = np.mean((found[:, 1] <= truth) & (truth <= found[:, 2]))
    least = LEVEL - 3 * math.sqrt(LEVEL * (1 - LEVEL) / len(found))
    assert coverage >= least, f"{name}: coverage {coverage:.2f}"


# ---- the worlds themselves -------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [BASE, replace(WRONG, group_shift=0.6, group_slope=0.5, area_sd=0.4, drift=0.1)])
def test_the_truth_is_that_of_many_outcomes(settings):
    """Expected measures over known risks, against scikit-learn on drawn outcomes and the measures' own limit."""
    truth = compute_risk_truth(settings, thresholds=(0.3,))
    many = simulate_risk(replace(settings, people=100_000), rng=np.random.default_rng(1))
    drawn = {
        "auroc": roc_auc_score(many.outcome, many.stated),
        "auprc": average_precision_score(many.outcome, many.stated),
        "brier": brier_score_loss(many.outcome, many.stated),
        "log_loss": log_loss(many.outcome, many.stated),
        "observed_expected": many.outcome.sum() / many.stated.sum(),
        "flagged_per_100|0.3": 100 * np.mean(many.stated >= 0.3),
        "came_back_of_100_flagged|0.3": 100 * many.outcome[many.stated >= 0.3].mean(),
    }
    for name, value in drawn.items():
        assert truth[name] == pytest.approx(value, rel=0.02), name
    # Each discharge as 0 and as 1, weighed by its true risk: what compute_measures tends to.
    twice = np.concatenate([many.stated, many.stated])
    outcome = np.repeat([1.0, 0.0], len(many.risk))
    names = ("auroc", "brier", "scaled_brier", "log_loss", "calibration_intercept", "calibration_slope")
    limit = compute_measures(twice, outcome, counts=np.concatenate([many.risk, 1 - many.risk])[None, :], names=names)
    own = compute_truth_of_risks(many.stated, many.risk)
    for name in names:
        assert own[name] == pytest.approx(float(limit[name][0]), rel=1e-5, abs=1e-7), name


def test_a_right_model_is_right_and_groups_are_not():
    truth = compute_risk_truth(BASE)
    assert (truth["calibration_slope"], truth["calibration_intercept"]) == pytest.approx((1, 0), abs=1e-9)
    assert compute_risk_truth(WRONG)["calibration_slope"] == pytest.approx(1 / 1.5, rel=1e-9)
    unfair = replace(BASE, group_shift=0.6, group_slope=0.5)
    first, second, third = (compute_risk_truth(unfair, group=name) for name in GROUPS)
    assert first["calibration_slope"] == pytest.approx(1, abs=1e-9)
    assert second["calibration_intercept"] == pytest.approx(0.6, abs=1e-9)
    assert third["calibration_slope"] == pytest.approx(0.5, rel=1e-9)


def test_discharges_of_a_person_agree_and_keep_their_risk():
    world = simulate_risk(replace(BASE, people=60_000, **SEVERAL), rng=np.random.default_rng(2))
    edges = np.quantile(world.risk, np.linspace(0, 1, 11))[1:-1]
    for tenth in range(10):
        inside = np.searchsorted(edges, world.risk) == tenth
        assert world.outcome[inside].mean() == pytest.approx(world.risk[inside].mean(), abs=0.012)
    rest = world.outcome - world.risk
    after = np.flatnonzero(np.diff(world.person) == 0)
    apart = np.flatnonzero(np.diff(world.person) != 0)
    assert np.corrcoef(rest[after], rest[after + 1])[0, 1] > 0.15
    assert abs(np.corrcoef(rest[apart], rest[apart + 1])[0, 1]) < 0.02


def test_deaths_gaps_drift_and_areas_are_as_set():
    settings = replace(BASE, people=40_000, deaths=0.2, missing=0.3, drift=0.3, area_sd=0.5)
    world = simulate_risk(settings, rng=np.random.default_rng(3))
    assert np.mean(world.event[world.outcome == 0] == 2) == pytest.approx(0.2, abs=0.01)
    assert np.array_equal(world.event == 1, world.outcome == 1)
    assert world.event_days.min() >= 1
    assert (world.event_days[world.event == 0] == HORIZON_DAYS).all()
    gone = world.features["score"].isna()
    assert gone.mean() == pytest.approx(0.3, abs=0.01)
    assert world.features.loc[gone, "prior_admissions"].mean() > world.features["prior_admissions"].mean() + 0.1
    years = (world.time - world.time.min()).astype(float) / 365.25
    extra = logit(world.risk) - logit(world.stated)
    slope = np.polyfit(years, extra, 1)[0]
    assert slope == pytest.approx(0.3, abs=0.02)
    assert len(pd.unique(np.round(extra - 0.3 * years, 1))) >= 5
    RiskData(world.features, world.outcome, world.person, world.time, event=world.event, event_days=world.event_days,
             groups=world.groups)  # fmt: skip


def test_settings_out_of_range_are_all_named():
    with pytest.raises(ParameterError) as caught:
        simulate_risk(RiskSettings(people=0, prevalence=1.0, shared=1.0, years=0), rng=np.random.default_rng(1))
    assert len(caught.value.faults) == 4


# ---- measures, net benefit, thresholds ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("settings", [replace(WRONG, people=400), replace(WRONG, people=130, **SEVERAL)])
def test_intervals_hold_the_truth(settings):
    truth = compute_risk_truth(settings, thresholds=(0.3,))
    truth["ici"] = _distance(settings)
    found: dict[str, list] = {}
    for replicate in range(40):
        rng = np.random.default_rng([10, replicate])
        world = simulate_risk(settings, rng=rng)
        stated, outcome, person = world.stated, world.outcome, world.person
        frame = validate_risk_model(stated, outcome, person=person, rng=rng, replicates=50).frame
        for name in (*(n for n in frame.index if n in truth),):
            found.setdefault(name, []).append(frame.loc[name, ["value", "lower", "upper"]])
        curve = estimate_decision_curve(stated, outcome, person=person, thresholds=(0.3,)).frame.iloc[0]
        table = compute_threshold_table(stated, outcome, person=person, thresholds=(0.3,)).frame.iloc[0]
        found.setdefault("net_benefit|0.3", []).append([curve[f"net_benefit{e}"] for e in ("", "_lower", "_upper")])
        for name in ("flagged_per_100", "came_back_of_100_flagged", "found_of_100", "alarms_per_found"):
            found.setdefault(f"{name}|0.3", []).append([table[f"{name}{e}"] for e in ("", "_lower", "_upper")])
    assert len(found) == 14
    for name, rows in found.items():
        covers(np.array(rows, dtype=float), truth[name], name)


def _distance(settings: RiskSettings) -> float:
    stated = draw_population(settings).stated
    true = expit((logit(stated) - settings.stated_intercept) / settings.stated_slope)
    return float(np.abs(true - stated).mean())


def test_repeats_taken_for_other_people_make_intervals_too_narrow():
    """The worlds can tell: the same estimator without the person covers far less."""
    settings = replace(BASE, people=100, most_discharges=9, shared=0.8)
    truth = compute_risk_truth(settings)["observed_expected"]
    kept, lost = [], []
    for replicate in range(60):
        rng = np.random.default_rng([11, replicate])
        world = simulate_risk(settings, rng=rng)
        for out, person in ((kept, world.person), (lost, np.arange(len(world.person)))):
            frame = validate_risk_model(world.stated, world.outcome, person=person, rng=rng, replicates=2).frame
            out.append(frame.loc["observed_expected", ["value", "lower", "upper"]])
    holds(np.array(kept, dtype=float), truth, "by person")
    narrow = np.array(lost, dtype=float)
    assert np.mean((narrow[:, 1] <= truth) & (truth <= narrow[:, 2])) < 0.85


def test_group_intervals_hold_the_truth_of_each_group():
    settings = replace(BASE, people=600, group_shift=0.6, group_slope=0.5)
    names = ("auroc", "observed_expected", "calibration_slope")
    found: dict[tuple[str, str], list] = {}
    for replicate in range(30):
        rng = np.random.default_rng([12, replicate])
        world = simulate_risk(settings, rng=rng)
        data = RiskData(world.features, world.outcome, world.person, world.time, groups=world.groups[["group"]])
        estimates = estimate_group_performance(build_group_sample(world.stated, data, replicates=50, rng=rng))
        for at, level in enumerate(estimates.levels):
            for name in names:
                k = estimates.names.index(name)
                row = [part[at, k] for part in (estimates.values, estimates.lower, estimates.upper)]
                found.setdefault((level.name, name), []).append(row)
    assert len(found) == 9
    for (group, name), rows in found.items():
        covers(np.array(rows), compute_risk_truth(settings, group=group)[name], f"{name}, {group}")


# ---- development -------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def many_of(noise: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictors and known risks of 8,000 discharges."""
    many = simulate_risk(replace(BASE, people=8_000, noise=noise), rng=np.random.default_rng(16))
    return design_of(many.features), many.risk


def developed(settings: RiskSettings, replicate: int, *, draws: int) -> tuple[dict[str, float], float, float]:
    """A model's own truth, its optimism-corrected AUROC and its apparent one."""
    rng = np.random.default_rng([13, settings.people, replicate])
    world = simulate_risk(settings, rng=rng)
    x = design_of(world.features)
    coefficients = fit_ridge(x, world.outcome, penalty=0.0)
    large, risk = many_of(settings.noise)
    own = compute_truth_of_risks(predict_ridge(large, coefficients)[0], risk)
    if not draws:
        return own, math.nan, math.nan
    counts = draw_person_counts(world.person, replicates=draws, rng=rng)
    found = estimate_optimism(
        refit_ridge(x, world.outcome, penalty=0.0, counts=counts), world.outcome, names=("auroc",)
    )
    return own, found.value("auroc"), float(found.apparent[0])


def test_the_slope_is_one_with_enough_readmissions_and_far_below_with_too_few():
    """And the verdict on the sample said so beforehand."""
    few, many = (replace(BASE, people=n, noise=8) for n in (300, 4000))
    slopes = [[developed(s, r, draws=0)[0]["calibration_slope"] for r in range(k)] for s, k in ((few, 30), (many, 10))]
    error = np.std(slopes[0], ddof=1) / math.sqrt(len(slopes[0]))
    assert np.mean(slopes[0]) < 0.85 - 3 * error
    # With 15 coefficients and 800 readmissions the expected shrinkage is about 0.95.
    assert np.mean(slopes[1]) == pytest.approx(0.95, abs=0.04)
    for settings, verdict in ((few, "recalibrate"), (many, "develop")):
        world = simulate_risk(settings, rng=np.random.default_rng(14))
        assert judge_sample(world.outcome, world.person, parameters=15, expected_auroc=0.69).verdict == verdict


def test_corrected_auroc_is_unbiased_where_the_apparent_one_is_not():
    """At 100 readmissions; 300 and 1,000 are in the long run."""
    settings = replace(BASE, people=500, noise=8)
    found = [developed(settings, replicate, draws=25) for replicate in range(30)]
    error = np.array([corrected - own["auroc"] for own, corrected, _ in found])
    apparent = np.array([seen - own["auroc"] for own, _, seen in found])
    assert abs(error.mean()) < 3 * error.std(ddof=1) / math.sqrt(len(error))
    assert apparent.mean() > 6 * apparent.std(ddof=1) / math.sqrt(len(apparent))


def test_recalibration_brings_the_slope_back():
    settings = replace(WRONG, people=1000)
    everybody = simulate_risk(replace(settings, people=10_000), rng=np.random.default_rng(17))
    rows, slopes = [], []
    for replicate in range(40):
        world = simulate_risk(settings, rng=np.random.default_rng([15, replicate]))
        update = fit_recalibration(world.stated, world.outcome, method="slope", person=world.person)
        rows.append([update.coefficients[1], update.lower[1], update.upper[1]])
        risk = apply_recalibration(update, everybody.stated)
        slopes.append(compute_truth_of_risks(risk, everybody.risk)["calibration_slope"])
    holds(np.array(rows), 1 / settings.stated_slope, "slope")
    assert np.mean(slopes) == pytest.approx(1, abs=3 * np.std(slopes, ddof=1) / math.sqrt(len(slopes)) + 0.02)
    assert compute_risk_truth(settings)["calibration_slope"] < 0.7
