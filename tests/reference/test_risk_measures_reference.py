"""Measures of risk against R: 113 numbers of 101,766 hospital encounters, and those of dcurves' binary data.

R's glm stops at a relative change of deviance of 1e-8, so that what it gives as the calibration slope and the
calibration in the large of its own fit is off by about 1e-7 where the truth is 1 and 0; its coefficients are within
1e-6. Its standard errors are of the step before the last: 3e-6 from those it gives with epsilon 1e-14, which are ours.
All else is compared at 1e-8.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from evalkit.risk.calibration import compute_hosmer_lemeshow
from evalkit.risk.decision import compute_net_benefit
from evalkit.risk.measures import compute_measures
from evalkit.risk.threshold_table import compute_threshold_table
from evalkit.risk.validate import fit_logistic, validate_risk_model
from tests.shared_data import reference, shared

DIABETES, CURVES = reference("readm_diabetes130"), reference("dca_dcurves")
CAPPED = {"nout": "number_outpatient", "nem": "number_emergency", "ninp": "number_inpatient"}
LEVELS = ("race", "insulin", "diag1_group")
LOOSE = {"train.calibration_in_the_large": 1e-7, "binary.calibration_in_the_large": 1e-7}
LOOSE |= {"binary.calibration_intercept_joint": 1e-7}
STOPPED_EARLY = 5e-6  # relative, for standard errors of glm
OWN_CURVES = ("auc", "calibration", "brier", "OE", "hosmer", "logistic")


def predictor(frame: pd.DataFrame, name: str) -> np.ndarray:
    """A column of the design: counts capped at 5, dummies named variable + level, as R names them."""
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


def tolerance(name: str) -> dict[str, float]:
    """How near to R: at 1e-8, but for what its glm leaves open."""
    if ".se" in name:
        return {"rel": STOPPED_EARLY}
    if ".coef." in name or ".logistic." in name:
        return {"rel": 1e-6}
    return {"rel": 1e-7 if "calibration_slope" in name else 1e-8, "abs": LOOSE.get(name, 0.0)}


def cohort_numbers(original: pd.DataFrame, frame: pd.DataFrame) -> dict[str, float]:
    again = original["readmitted"]
    first = frame[frame["first_encounter"] == 1]
    strack = first[~first["discharge_disposition_id"].isin([11, 13, 14])]
    alive = first[first["expired_or_hospice"] == 0]
    found = {
        "n_encounters": len(original),
        "n_patients": original["patient_nbr"].nunique(),
        "n_readmit30": (again == "<30").sum(),
        "n_readmit_any": again.isin(["<30", ">30"]).sum(),
        "rate30.all": (again == "<30").mean(),
        "strack.n_first_excl_death_hospice_11_13_14": len(strack),
        "strack.n_readmit30": strack["readmit30"].sum(),
        "strack.rate30": strack["readmit30"].mean(),
        "strack.n_a1c_measured": strack["a1c_measured"].sum(),
        "strack.share_a1c_measured": strack["a1c_measured"].mean(),
        "cohort.n_first_alive": len(alive),
        "cohort.n_readmit30": alive["readmit30"].sum(),
    }
    found |= {f"cohort.rate30.race.{k}": v for k, v in alive.groupby("race")["readmit30"].mean().items()}
    for stays, name in enumerate(("0", "1", "2", "3plus")):
        here = alive["number_inpatient"].clip(upper=3) == stays
        found[f"cohort.rate30.number_inpatient_{name}"] = alive.loc[here, "readmit30"].mean()
    return found


def performance_numbers(risk: np.ndarray, outcome: np.ndarray) -> dict[str, float]:
    """What R gives on the training encounters, each of which it takes on its own."""
    alone = np.arange(len(risk))
    found = validate_risk_model(risk, outcome, person=alone, replicates=2, rng=np.random.default_rng(0)).frame
    odds = logit(risk)
    slope = fit_logistic(np.column_stack([np.ones_like(odds), odds]), outcome, cluster=alone)
    # R takes the 6,956 highest risks of 69,564.
    top = compute_threshold_table(risk, outcome, person=alone, flagged_shares=[0.1 * len(risk) // 1 / len(risk)]).frame
    thresholds = (0.1, 0.15, 0.2)
    benefit = compute_net_benefit(risk, outcome, thresholds=thresholds).net_benefit
    named = {
        "auc": "auroc", "brier": "brier", "brier_scaled": "scaled_brier", "calibration_slope": "calibration_slope",
        "calibration_in_the_large": "calibration_intercept", "OE": "observed_expected", "logloss": "log_loss",
    }  # fmt: skip
    return {
        **{f"train.{theirs}": found.loc[ours, "value"] for theirs, ours in named.items()},
        "train.auc.delong_se": found.loc["auroc", "se"],
        "train.auc.delong_lo": found.loc["auroc", "lower"],
        "train.auc.delong_hi": found.loc["auroc", "upper"],
        "train.calibration_slope.se": math.sqrt(slope.covariance[1, 1]),
        "train.top_decile_sensitivity": top["found_of_100"].iloc[0] / 100,
        "train.top_decile_ppv": top["came_back_of_100_flagged"].iloc[0] / 100,
        "train.hosmer_lemeshow10.chisq": compute_hosmer_lemeshow(risk, outcome),
        **{f"train.net_benefit.t{t}": np.ravel(benefit)[i] for i, t in enumerate(thresholds)},
    }


@pytest.fixture(scope="module")
def diabetes() -> dict[str, float]:
    folder = shared("readm_diabetes130")
    frame = pd.read_parquet(folder / "model_frame.parquet")
    found = cohort_numbers(pd.read_parquet(folder / "data.parquet"), frame)
    home = frame[frame["expired_or_hospice"] == 0]
    train = home[home["patient_nbr"] % 10 <= 6]
    held = home[home["patient_nbr"] % 10 > 6]
    found |= {"model.n_train": len(train), "model.n_test": len(held)}
    found |= {"model.rate_train": train["readmit30"].mean(), "model.rate_test": held["readmit30"].mean()}
    names = [k.removeprefix("model.coef.") for k in DIABETES if k.startswith("model.coef.") and ".se" not in k]
    design = np.column_stack([predictor(train, name) for name in names])
    outcome, patient = train["readmit30"].to_numpy(), pd.factorize(train["patient_nbr"])[0]
    fit = fit_logistic(design, outcome, cluster=patient)
    crude = (patient.max() / (patient.max() + 1)) ** 0.5  # R's CR0 has no G / (G - 1)
    for j, name in enumerate(names):
        found[f"model.coef.{name}"] = fit.coefficients[j]
        found[f"model.coef.{name}.se"] = math.sqrt(fit.covariance[j, j])
        found[f"model.coef.{name}.se_cluster_patient_CR0"] = math.sqrt(fit.robust[j, j]) * crude
    linear = design @ fit.coefficients
    found["model.loglik"] = float(np.sum(outcome * linear - np.logaddexp(0, linear)))
    found |= performance_numbers(expit(linear), outcome)
    later = expit(np.column_stack([predictor(held, name) for name in names]) @ fit.coefficients)
    found["test.auc"] = compute_measures(later, held["readmit30"].to_numpy(), names=("auroc",))["auroc"][0]
    return found


@pytest.mark.parametrize("name", list(DIABETES))
def test_diabetes_equals_r(diabetes, name):
    assert diabetes[name] == pytest.approx(DIABETES[name], **tolerance(name))


def test_auroc_lies_where_it_was_published(diabetes):
    """0.64 to 0.69 for readmission within 30 days; 0.651 held out with this model (the data set's README)."""
    assert diabetes["test.auc"] == pytest.approx(0.651, abs=5e-4)
    assert 0.64 < diabetes["test.auc"] < diabetes["train.auc"] < 0.69


@pytest.fixture(scope="module")
def curves() -> dict[str, float]:
    frame = pd.read_csv(shared("dca_dcurves") / "df_binary.csv")
    outcome, risk = frame["cancer"].to_numpy(int), frame["cancerpredmarker"].to_numpy()
    alone, odds, ones = np.arange(len(risk)), logit(risk), np.ones(len(risk))
    found = validate_risk_model(risk, outcome, person=alone, replicates=2, rng=np.random.default_rng(0))
    slope = fit_logistic(np.column_stack([ones, odds]), outcome, cluster=alone)
    large = fit_logistic(ones[:, None], outcome, cluster=alone, offset=odds)
    predictors = ("(Intercept)", "age", "famhistory", "marker")
    design = np.column_stack([ones, *(frame[name] for name in predictors[1:])])
    fit = fit_logistic(design, outcome, cluster=alone)
    numbers = {
        "binary.auc.cancerpredmarker": found.value("auroc"),
        "binary.calibration_slope": found.value("calibration_slope"),
        "binary.calibration_slope.se": math.sqrt(slope.covariance[1, 1]),
        "binary.calibration_intercept_joint": slope.coefficients[0],
        "binary.calibration_in_the_large": found.value("calibration_intercept"),
        "binary.calibration_in_the_large.se": math.sqrt(large.covariance[0, 0]),
        "binary.brier": found.value("brier"),
        "binary.brier_scaled": found.value("scaled_brier"),
        "binary.OE": found.value("observed_expected"),
        "binary.hosmer_lemeshow10.chisq": compute_hosmer_lemeshow(risk, outcome),
    }
    for j, name in enumerate(predictors):
        numbers[f"binary.logistic.{name}"] = fit.coefficients[j]
        numbers[f"binary.logistic.{name}.se"] = math.sqrt(fit.covariance[j, j])
    return numbers


@pytest.mark.parametrize("name", [name for name in CURVES if name.split(".")[1].startswith(OWN_CURVES)])
def test_dcurves_equals_r(curves, name):
    assert curves[name] == pytest.approx(CURVES[name], **tolerance(name))
