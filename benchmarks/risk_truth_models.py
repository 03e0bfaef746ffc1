"""Who tries on developed, recalibrated, imputed models and on risks by a horizon, for the risk truth run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from person_truth_types import Entrant, Found
from risk_truth_entrants import (
    BENEFITS,
    DRAWS,
    FEW,
    LARGE,
    SMOOTH,
    THRESHOLDS,
    as_data,
    read_benefits,
    same_at_thresholds,
    same_names,
    validate,
)

from evalkit.cohort.follow_up import FollowUp
from evalkit.risk.cross_validate import estimate_cross_validated
from evalkit.risk.decision_time import estimate_decision_curve_survival
from evalkit.risk.folds import count_training, draw_folds
from evalkit.risk.imputation import RiskImputationOptions, impute_development, impute_validation
from evalkit.risk.imputation_pool import pool_performance, pool_risks
from evalkit.risk.optimism import estimate_optimism
from evalkit.risk.penalised import PenaltyOptions, choose_penalty
from evalkit.risk.recalibrate import apply_recalibration, fit_recalibration
from evalkit.risk.refit import refit_ridge
from evalkit.risk.resample import draw_person_counts
from evalkit.risk.ridge import fit_ridge, predict_ridge
from evalkit.risk.time_performance import TimePerformanceOptions, estimate_time_performance
from evalkit.risk.validate import validate_risk_model
from evalkit.simulate.risk_worlds import (
    DIAGNOSES,
    HORIZON_DAYS,
    RiskSettings,
    RiskWorld,
    compute_truth_of_risks,
    draw_population,
    simulate_risk,
)

CORRECTED = ("auroc", "brier", "scaled_brier", "log_loss", "calibration_slope")


# ---- development ---------------------------------------------------------------------------------


def design_of(features: pd.DataFrame) -> np.ndarray:
    """Predictors as the truth has them: numbers as they are, categories as indicators."""
    numbers = features.select_dtypes("number").to_numpy(dtype=float)
    levels = [(features["diagnosis"] == level).to_numpy(dtype=float) for level in DIAGNOSES[1:]]
    return np.column_stack([numbers, (features["sex"] == "male").to_numpy(dtype=float), *levels])


def choose(data: dict, *, penalised: bool) -> float:
    if not penalised:
        return 0.0
    world = data["world"]
    options = PenaltyOptions(penalties=tuple(10.0 ** np.arange(0, 4.5, 0.5)), folds=5, repeats=1)
    x = design_of(world.features)
    return choose_penalty(x, world.outcome, person=world.person, rng=data["rng"], options=options).penalty


def develop(data: dict, *, penalised: bool = False) -> dict[str, Found]:
    """The slope, in the population, of a model just developed: 1 says that its risks are as extreme as they should."""
    world, truth = data["world"], data["truth"]
    penalty = choose(data, penalised=penalised)
    own = own_truth(data, fit_ridge(design_of(world.features), world.outcome, penalty=penalty))
    truth["slope in the population"] = 1.0
    return {"slope in the population": Found(own["calibration_slope"])}


def develop_penalised(data: dict) -> dict[str, Found]:
    return develop(data, penalised=True)


def correct(data: dict, *, penalised: bool = False) -> dict[str, Found]:
    """Optimism-corrected measures against those of the model itself in the population."""
    world, rng, truth = data["world"], data["rng"], data["truth"]
    x, y, penalty = design_of(world.features), world.outcome, choose(data, penalised=penalised)
    own = own_truth(data, fit_ridge(x, y, penalty=penalty))
    counts = draw_person_counts(world.person, replicates=DRAWS, rng=rng)
    models = refit_ridge(x, y, penalty=penalty, counts=counts)
    corrected = estimate_optimism(models, y, names=CORRECTED)
    found = {}
    for k, name in enumerate(CORRECTED):
        truth[f"corrected {name}"] = truth[f"apparent {name}"] = own[name]
        found[f"corrected {name}"] = Found(corrected.corrected[k], corrected.lower[k], corrected.upper[k])
        found[f"apparent {name}"] = Found(corrected.apparent[k])
    return found


def correct_penalised(data: dict) -> dict[str, Found]:
    return correct(data, penalised=True)


def cross_validate(data: dict) -> dict[str, Found]:
    """Mean of the folds' measures, against the model of everybody: folds develop on four fifths of the discharges."""
    world, rng = data["world"], data["rng"]
    x, y = design_of(world.features), world.outcome
    own = own_truth(data, fit_ridge(x, y, penalty=0.0))
    held = draw_folds(world.person, y, folds=5, repeats=3, rng=rng)
    models = refit_ridge(x, y, penalty=0.0, counts=count_training(held))
    found = estimate_cross_validated(models, y, held=held, names=CORRECTED)
    data["truth"] |= {f"held out {name}": own[name] for name in CORRECTED}
    return {f"held out {name}": Found(float(value)) for name, value in zip(CORRECTED, found.values, strict=True)}


def own_truth(data: dict, coefficients: np.ndarray) -> dict[str, float]:
    everybody = draw_population(data["settings"])
    x, true = _large_design(data["settings"]), everybody.risk[:LARGE]
    return compute_truth_of_risks(predict_ridge(x, coefficients)[0], true)


_DESIGNS: dict[int, np.ndarray] = {}


def _large_design(settings: RiskSettings) -> np.ndarray:
    if settings.noise not in _DESIGNS:
        _DESIGNS[settings.noise] = design_of(draw_population(settings).features.head(LARGE))
    return _DESIGNS[settings.noise]


_CORRECTED = same_names((*(f"corrected {name}" for name in CORRECTED), "apparent auroc"))
_HELD_OUT = same_names(tuple(f"held out {name}" for name in CORRECTED))
DEVELOPED = (
    Entrant("no penalty", same_names(("slope in the population",)), develop),
    Entrant("ridge", same_names(("slope in the population",)), develop_penalised, share=0.5),
    Entrant("optimism, no penalty", _CORRECTED, correct, share=0.25),
    Entrant(
        "cross-validation", same_names(tuple(f"held out {name}" for name in CORRECTED)), cross_validate, share=0.25
    ),
    Entrant("optimism, ridge", _CORRECTED, correct_penalised, share=0.125),
)


# ---- recalibration -------------------------------------------------------------------------------


def recalibrate(data: dict) -> dict[str, Found]:
    """Intercept and slope fitted to one sample, then measured on another, whose truth is that of the updated model."""
    world, settings, truth, rng = (data[key] for key in ("world", "settings", "truth", "rng"))
    a, b = settings.stated_intercept, settings.stated_slope
    truth |= {"fitted slope": 1 / b, "fitted intercept": -a / b, "slope afterwards": 1.0}
    update = fit_recalibration(world.stated, world.outcome, method="slope", person=world.person)
    found = {
        f"fitted {name}": Found(update.coefficients[k], update.lower[k], update.upper[k])
        for k, name in enumerate(update.terms)
    }
    everybody = draw_population(settings)
    own = compute_truth_of_risks(apply_recalibration(update, everybody.stated[:LARGE]), everybody.risk[:LARGE])
    found["slope afterwards"] = Found(own["calibration_slope"])
    later = simulate_risk(settings, rng=rng)
    risk = apply_recalibration(update, later.stated)
    for name, got in validate(risk, later.outcome, later.person, rng).items():
        if name in SMOOTH:
            truth[f"later {name}"], found[f"later {name}"] = own[name], got
    return found


_FITTED = ("fitted slope", "fitted intercept", "slope afterwards")
_LATER = tuple(f"later {name}" for name in ("calibration_slope", "calibration_intercept", "observed_expected", "brier"))
RECALIBRATED = (
    Entrant(
        "recalibration", same_names(("fitted slope", "fitted intercept", "slope afterwards", *_LATER)), recalibrate
    ),
)


# ---- missing values ------------------------------------------------------------------------------

MANY = 20_000
_IMPUTED = ("auroc", "brier", "observed_expected", "calibration_slope", "calibration_intercept")


def impute(data: dict) -> dict[str, Found]:
    """Develop with imputation, validate on later discharges; truth: the same steps on 20,000 of known risk."""
    world, settings, truth, rng = (data[key] for key in ("world", "settings", "truth", "rng"))
    # Few rounds: one predictor is missing, so that the chain has nothing to settle.
    options = RiskImputationOptions(imputations=5, iterations=2)
    sets, models = impute_development(as_data(world), options=options, rng=rng)
    fits = [fit_ridge(design_of(one.features), one.outcome, penalty=0.0) for one in sets]

    def risks_of(drawn: RiskWorld) -> list[np.ndarray]:
        filled = impute_validation(models, as_data(drawn))
        return [predict_ridge(design_of(one.features), fit)[0] for one, fit in zip(filled, fits, strict=True)]

    later, many = simulate_risk(settings, rng=rng), _many(settings)
    risks, far = risks_of(later), risks_of(many)
    found = {}
    own = compute_truth_of_risks(pool_risks(far).risk, many.risk)
    each = [compute_truth_of_risks(risk, many.risk) for risk in far]
    averaged = validate(pool_risks(risks).risk, later.outcome, later.person, rng)
    pooled = pool_performance([
        validate_risk_model(risk, later.outcome, person=later.person, rng=rng, replicates=FEW) for risk in risks
    ]).frame  # fmt: skip
    for name in _IMPUTED:
        truth[f"{name}, averaged risks"] = own[name]
        truth[f"{name}, Rubin"] = float(np.mean([one[name] for one in each]))
        found[f"{name}, averaged risks"] = averaged[name]
        found[f"{name}, Rubin"] = Found(*(pooled.loc[name, part] for part in ("value", "lower", "upper")))
    return found


_MANY: dict[RiskSettings, RiskWorld] = {}


def _many(settings: RiskSettings) -> RiskWorld:
    if settings not in _MANY:
        _MANY[settings] = simulate_risk(replace(settings, people=MANY), rng=np.random.default_rng(20_240_903))
    return _MANY[settings]


IMPUTED = (
    Entrant(
        "imputation",
        same_names(tuple(f"{name}, {how}" for how in ("averaged risks", "Rubin") for name in _IMPUTED)),
        impute,
        share=0.25,
    ),
)


# ---- by a horizon --------------------------------------------------------------------------------

TIME_NAMES = {"auroc": "auroc", "brier": "brier", "ipa": "scaled_brier", "observed_expected": "observed_expected"}


def follow(data: dict) -> FollowUp:
    """Readmission with death competing; a quarter leave before the horizon, at random."""
    world, rng = data["world"], data["rng"]
    leave = np.where(rng.random(len(world.person)) < 0.25, np.ceil(rng.random(len(world.person)) * HORIZON_DAYS), 1e9)
    days, event = world.event_days, world.event.copy()
    # Followed beyond the horizon unless they leave, so that at the horizon somebody is still there.
    days = np.where(event == 0, HORIZON_DAYS + 1.0, days)
    event[leave < days] = 0
    frame = pd.DataFrame({"days": np.minimum(days, leave), "event": event, "cluster": world.person})
    return FollowUp.from_frame(frame, exit="days", event="event", cluster="cluster", causes=("readmitted", "died"))


def decide_in_time(data: dict) -> dict[str, Found]:
    options = {"horizon": float(HORIZON_DAYS), "thresholds": THRESHOLDS, "rng": data["rng"]}
    curve = estimate_decision_curve_survival(data["world"].stated, follow(data), **options)
    return read_benefits(curve, data["truth"])


def measure_in_time(data: dict) -> dict[str, Found]:
    frame = estimate_time_performance(
        data["world"].stated, follow(data), horizon=float(HORIZON_DAYS), rng=data["rng"],
        options=TimePerformanceOptions(replicates=FEW),
    ).frame  # fmt: skip
    return {name: Found(*(frame.loc[name, part] for part in ("value", "lower", "upper"))) for name in TIME_NAMES}


TIMED = (
    Entrant("net benefit", same_at_thresholds(BENEFITS), decide_in_time, share=0.5),
    Entrant("measures", TIME_NAMES, measure_in_time, share=0.25),
)
