"""A Cox model of Rotterdam patients validated on German ones, against R and against what was published.

* `pred_rotterdam_gbsg/reference.json`: R's survival 3.5-3, riskRegression and rms, as its reference.R has them (Royston
  and Altman 2013; Giardiello et al. 2023, Ann Intern Med). Tolerance 1e-6 relative.
* `documented.json`: the repository of Giardiello et al. and the survival package's own examples, to their digits.

Risks, times and follow-up truncated at 5 years are made as in reference.R. Its risks are a Cox model's, so that the
slope on their complementary log-log is the slope on its linear predictor.

ICI, E50, E90 and Emax of reference.json and documented.json are of rms's `cph`, which stops where the log-likelihood
moves by less than a share of 1e-4, after 3 steps (without PGR) and 4; ours are of the maximum. Both are tested: R's at
the step where it stops, and ours against R's `coxph` with `eps=1e-9` on the same risks (written below, made with
survival 3.5-3).
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cox import CoxFit, CoxOptions, fit_cox
from evalkit.estimators.survival.cox_concordance import compute_concordance
from evalkit.estimators.survival.cox_residuals import compute_baseline_hazard
from evalkit.estimators.survival.cox_sums import build_risk_sets, compute_information, compute_moments
from evalkit.risk.calibration import build_spline
from evalkit.risk.decision_time import compute_net_benefit_survival
from evalkit.risk.time_calibration import compute_time_calibration_errors, compute_time_calibration_slope, end_at
from evalkit.risk.time_measures import (
    compute_ipcw_brier,
    compute_observed_risk,
    compute_time_auroc,
    compute_time_concordance,
    compute_time_observed_expected,
)
from tests.shared_data import reference, shared

NAME = "pred_rotterdam_gbsg"
NUMBERS = reference(NAME)
SIZES = ("<=20", "20-50", ">50")
THRESHOLDS = (0.1, 0.2, 0.23, 0.3, 0.4, 0.5)
TERMS = {"noPGR": ("csize20_50", "csize_gt50", "nodes2", "nodes3", "grade3")}
TERMS["PGR"] = (*TERMS["noPGR"], "pgr2", "pgr3")
DISTANCES = {"ICI": "ici", "E50": "e50", "E90": "e90", "Emax": "emax"}
AT_THE_MAXIMUM = {
    "validation.noPGR.ICI": 0.0301288356220643, "validation.noPGR.E50": 0.0261996195030605,
    "validation.noPGR.E90": 0.0745937194372192, "validation.noPGR.Emax": 0.0752791484720241,
    "validation.PGR.ICI": 0.0247993266337101, "validation.PGR.E50": 0.0234984192393167,
    "validation.PGR.E90": 0.0529266099287528, "validation.PGR.Emax": 0.0689582649698872,
}  # fmt: skip
R_STOPS = 1e-4


def spline(x: pd.Series, knots: tuple[float, float, float]) -> pd.Series:
    """The one curved column of a restricted cubic spline of three knots, as rms scales it."""
    first, middle, last = knots
    cubes = [(x - knot).clip(lower=0) ** 3 for knot in knots]
    bent = cubes[0] - cubes[1] * (last - first) / (last - middle) + cubes[2] * (middle - first) / (last - middle)
    return bent / (last - first) ** 2


@cache
def read() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Rotterdam, GBSG, and where values were cut, as reference.R prepares them."""
    rotterdam = pd.read_csv(shared(NAME) / "rotterdam.csv")
    german = pd.read_csv(shared(NAME) / "gbsg.csv")
    rotterdam["years"] = rotterdam["rtime"] / 365.25
    rotterdam["rfs"] = rotterdam[["recur", "death"]].max(axis=1)
    late = (rotterdam["recur"] == 0) & (rotterdam["death"] == 1) & (rotterdam["rtime"] < rotterdam["dtime"])
    rotterdam.loc[late, "years"] = rotterdam.loc[late, "dtime"] / 365.25
    german["years"], german["rfs"] = german["rfstime"] / 365.25, german["status"]
    german["size"] = pd.cut(german["size"], [-1, 20, 50, 500], labels=SIZES).astype(str)
    cuts = {
        "winsor.pgr99": float(np.quantile(rotterdam["pgr"], 0.99, method="inverted_cdf")),
        "winsor.nodes99": float(np.quantile(rotterdam["nodes"], 0.99, method="inverted_cdf")),
    }
    for data in (rotterdam, german):
        data["csize20_50"], data["csize_gt50"] = (data["size"] == "20-50") * 1.0, (data["size"] == ">50") * 1.0
        data["nodes2"] = data["nodes"].clip(upper=cuts["winsor.nodes99"])
        data["pgr2"] = data["pgr"].clip(upper=cuts["winsor.pgr99"])
        data["nodes3"], data["pgr3"] = spline(data["nodes2"], (0, 1, 9)), spline(data["pgr2"], (0, 41, 486))
        data["grade3"] = (data["grade"] == 3) * 1.0
    return rotterdam, german, cuts


@cache
def develop(model: str) -> tuple[CoxFit, FollowUp]:
    rows = FollowUp.from_frame(read()[0], exit="years", event="rfs", covariates=TERMS[model])
    rows = end_at(rows, 5.0)
    return fit_cox(rows, options=CoxOptions(errors="model")), rows


@cache
def base_survival(model: str) -> float:
    """Of somebody whose covariates are all 0, at 5 years."""
    return float(np.exp(-compute_baseline_hazard(*develop(model))[0].cumulative[-1]))


@cache
def validate(model: str) -> tuple[np.ndarray, FollowUp]:
    """Risks of the German patients by 5 years, and their follow-up until then."""
    german = read()[1]
    rows = end_at(FollowUp.from_frame(german, exit="years", event="rfs"), 5.0)
    linear = german[list(TERMS[model])].to_numpy() @ develop(model)[0].coefficients
    return 1 - base_survival(model) ** np.exp(linear), rows


@cache
def example() -> tuple[CoxFit, FollowUp]:
    """The model of the documentation of survival::brier."""
    data = read()[0].assign(
        medium=lambda d: (d["size"] == "20-50") * 1.0, large=lambda d: (d["size"] == ">50") * 1.0,
        few_nodes=lambda d: d["nodes"].clip(upper=11),
    )  # fmt: skip
    rows = FollowUp.from_frame(
        data, exit="rtime", event="recur", covariates=("age", "meno", "medium", "large", "few_nodes")
    )
    return fit_cox(rows), rows


def example_brier(what: str) -> float:
    measure, years = what.rsplit("_", 1)
    fit, rows = example()
    days = int(years[0]) * 365.25
    centre = rows.covariates.mean(axis=0)
    base = compute_baseline_hazard(fit, rows, at=centre)[0]
    total = base.hazard[base.time <= days].sum()
    risk = -np.expm1(-total * np.exp((rows.covariates - centre) @ fit.coefficients))
    return compute_ipcw_brier(risk, rows, horizon=days)[{"brier": "brier", "rsquared": "ipa"}[measure]].value


@cache
def validation(model: str) -> dict[str, float]:
    risk, rows = validate(model)
    harrell, uno = (compute_time_concordance(risk, rows, horizon=5.0, weighting=w) for w in ("harrell", "uno"))
    slope = compute_time_calibration_slope(risk, rows, horizon=5.0)
    scores = compute_ipcw_brier(risk, rows, horizon=4.99)
    distances = compute_time_calibration_errors(risk, rows, horizon=5.0)
    return {
        "mean_pred_risk5": float(risk.mean()),
        "OE5": compute_time_observed_expected(risk, rows, horizon=5.0).value,
        "harrell_c": harrell.value, "harrell_c.se": harrell.se, "uno_c": uno.value, "uno_c.se": uno.se,
        "calibration_slope": slope.value, "calibration_slope.se": slope.model_se,
        "brier_4.99": scores["brier"].value, "ipa_4.99": scores["ipa"].value,
        "brier_null_4.99": scores["null_brier"].value,
        "uno_td_auc_4.99": compute_time_auroc(risk, rows, horizon=4.99).value,
        **{name: float(distances[own][0]) for name, own in DISTANCES.items()},
    }  # fmt: skip


def net_benefit(key: str) -> float:
    _, model, threshold = key.removesuffix(".net_benefit").split(".", 2)
    risk, rows = validate("noPGR" if model == "all" else model)
    found = compute_net_benefit_survival(risk, rows, horizon=5.0, thresholds=THRESHOLDS)
    place = THRESHOLDS.index(float(threshold[1:]))
    return float((found.treat_all[0] if model == "all" else found.net_benefit[0, 0])[place])


def sizes() -> dict[str, float]:
    rotterdam, german, cuts = read()
    return cuts | {
        "rotterdam.n": len(rotterdam), "gbsg.n": len(german),
        "rotterdam.rfs_events": rotterdam["rfs"].sum(), "gbsg.rfs_events": german["rfs"].sum(),
        "rotterdam5.events": develop("noPGR")[1].n_events(), "gbsg5.events": validate("noPGR")[1].n_events(),
        "cox.S0_5y_uncentred": base_survival("noPGR"),
        "cox.apparent_harrell_c": compute_concordance(*develop("noPGR")).value,
        "validation.km_risk5": compute_observed_risk(validate("noPGR")[1], horizon=5.0)[0],
        "survival_brier_example.concordance": compute_concordance(*example()).value,
    }  # fmt: skip


def found(key: str) -> float:
    """Our number for a key of reference.json."""
    if key in sizes():
        return sizes()[key]
    if key == "validation.brier_null_4.99":
        return validation("noPGR")["brier_null_4.99"]
    kind, rest = key.split(".", 1)
    if kind == "validation":
        model, what = rest.split(".", 1)
        return validation(model)[what]
    if kind == "dca":
        return net_benefit(key)
    if kind == "survival_brier_example":
        return example_brier(rest)
    fit = develop("PGR" if kind == "cox_pgr" else "noPGR")[0]
    place = fit.names.index(rest.removesuffix(".se"))
    return float((fit.standard_errors if rest.endswith(".se") else fit.coefficients)[place])


@cache
def distances_where_r_stops(model: str) -> dict[str, float]:
    """ICI and its kin from coefficients after as few of Newton's steps from 0 as R's `cph` takes."""
    risk, rows = validate(model)
    log_log = np.log(-np.log1p(-risk))
    design = build_spline(log_log, np.quantile(log_log, (0.1, 0.5, 0.9)))[:, 1:]
    rows = replace(rows, covariates=design, names=("line", "curve"))
    sets = build_risk_sets(rows, cause=1, ties="efron")
    beta, before = np.zeros(2), -np.inf
    while abs(1 - before / (moments := compute_moments(sets, beta)).log_likelihood) > R_STOPS:
        before = moments.log_likelihood
        beta = beta + np.linalg.solve(compute_information(sets, moments), moments.score)
    stopped, centre = replace(fit_cox(rows), coefficients=beta / sets.scale), design.mean(axis=0)
    hazard = compute_baseline_hazard(stopped, rows, at=centre)[0].cumulative[-1]
    away = np.abs(risk + np.expm1(-hazard * np.exp((design - centre) @ stopped.coefficients)))
    return dict(zip(DISTANCES, (away.mean(), *np.quantile(away, (0.5, 0.9)), away.max()), strict=True))


def as_r_has_it(key: str) -> float:
    """Our number, made as R makes it."""
    model, what = key.split(".", 2)[1:] if key in AT_THE_MAXIMUM else ("", "")
    return float(distances_where_r_stops(model)[what]) if model else found(key)


@pytest.mark.parametrize("key", NUMBERS)
def test_number_of_r(key):
    assert as_r_has_it(key) == pytest.approx(NUMBERS[key], rel=1e-6)


@pytest.mark.parametrize("key", AT_THE_MAXIMUM)
def test_distance_at_the_maximum(key):
    assert found(key) == pytest.approx(AT_THE_MAXIMUM[key], rel=1e-8)


def published() -> list[tuple[str, float, int]]:
    """Estimand, published value and its digits after the point; Giardiello et al. round their C to the nearest 0.01."""
    if not NUMBERS:
        return []
    rows = json.loads((shared(NAME) / "documented.json").read_text())
    return [(row["estimand"], row["published"], row["digits"]) for row in rows]


@pytest.mark.parametrize(("key", "value", "digits"), published())
def test_published_number(key, value, digits):
    assert as_r_has_it(key) == pytest.approx(value, abs=0.5000001 * 10**-digits)
