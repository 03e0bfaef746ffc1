"""Readmission risk models on trust-wide discharges: developed before a date, validated after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.analysis.study import Study
from evalkit.cohort.discharges import build_discharges
from evalkit.cohort.features import HISTORY_FEATURES, PERSON_FEATURES
from evalkit.cohort.spells import derive_follow_up
from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.result import Cell, Check, Results
from evalkit.risk.cells import calibration_cells, risk_performance_cells, risk_sample_cells
from evalkit.risk.data import RiskData, split_by_date
from evalkit.risk.model import ModelOptions, fit_risk_model, predict_risk
from evalkit.risk.validate import RiskPerformance, calibration_curve, validate_risk_model

FEATURES = (*PERSON_FEATURES, *HISTORY_FEATURES)


def build_risk_data(study: Study) -> RiskData:
    """Every eligible discharge followed to the horizon, or to death, with what was known that day.

    A death within the horizon without readmission counts as not readmitted: death competes.
    Raises NotEstimable where the protocol asks for no risk model or the tables hold no discharges.
    """
    asked = study.protocol.risk_model
    outcomes = study.protocol.outcomes_of("readmission")
    if asked is None or not outcomes:
        raise NotEstimable(Fault("protocol", "it asks for no readmission risk model"))
    rows = build_discharges(study.tables, study.protocol, index_ward_types=outcomes[0].index_ward_types)
    last = np.datetime64(study.protocol.dates.end, "D") - asked.horizon_days
    rows = rows[as_days(rows["discharge"]) <= last].reset_index(drop=True)
    follow_up = derive_follow_up(
        rows, death=as_days(rows["death"]), censor=as_days(rows["followed_until"]), horizon_days=asked.horizon_days
    )
    # Whether follow-up reaches the horizon must not depend on what was seen on the way.
    horizon = pd.Timedelta(days=asked.horizon_days)
    complete = rows["death"].notna() | (rows["followed_until"] >= rows["discharge"] + horizon)
    kept: pd.DataFrame = rows[complete]
    if kept.empty:
        raise NotEstimable(Fault("discharges", "none was followed to the horizon"))
    return RiskData(
        features=kept[list(FEATURES)].reset_index(drop=True),
        outcome=(follow_up["event"][complete] == 1).to_numpy(dtype=np.int64),
        person=kept["person_id"].to_numpy(),
        time=as_days(kept["discharge"]),
    )


@dataclass(frozen=True)
class RiskStudy:
    """What the risk notebook shows: tables of results, and why there is no model if there is none."""

    results: list[Results]
    reason: str = ""


def analyse_risk(study: Study) -> RiskStudy:
    """Develop each model before the protocol's date, validate it after, and lay the numbers out.

    A model that the data cannot bear stands with the reason in place of its numbers.
    """
    asked = study.protocol.risk_model
    try:
        data = build_risk_data(study)
        split = split_by_date(data, develop_until=asked.develop_until, horizon_days=asked.horizon_days)
    except NotEstimable as refusal:
        cells = [
            Cell(
                "all",
                "auroc",
                float("nan"),
                "statistic",
                status="not_estimable",
                reason=refusal.reason,
                label="Readmission risk models",
            )
        ]
        return RiskStudy([Results.from_cells("risk_performance", cells)], refusal.reason)
    found: dict[str, RiskPerformance | NotEstimable] = {}
    tables, checks = [], [("sample", check) for check in split.checks]
    for kind in asked.models:
        try:
            model = fit_risk_model(
                split.development,
                kind=kind,
                seed=study.protocol.study.seed,
                options=ModelOptions(min_events_per_predictor=asked.min_events_per_predictor),
            )
            risk = predict_risk(model, split.validation.features)
            later = split.validation
            found[kind] = validate_risk_model(
                risk,
                later.outcome,
                person=later.person,
                level=study.level,
                rng=np.random.default_rng(study.protocol.study.seed),
            )
        except NotEstimable as refusal:
            found[kind] = refusal
            continue
        checks += [(kind, check) for check in (*model.checks, *found[kind].checks)]
        curve = calibration_curve(risk, later.outcome, person=later.person, level=study.level)
        tables.append(Results.from_cells(f"calibration.{kind}", calibration_cells(curve), estimator=kind))
    return RiskStudy(
        [
            Results.from_cells("risk_sample", risk_sample_cells(split.development, split.validation)),
            Results.from_cells("risk_performance", risk_performance_cells(found)),
            *tables,
            Results.from_cells("checks.risk", [_check_cell(row, check) for row, check in checks]),
        ]
    )


def _check_cell(row: str, check: Check) -> Cell:
    passed = {True: "passed", False: "failed", None: "informs"}[check.passed]
    return Cell(
        row, check.name, check.value, "check", unit=passed, reason=check.text, label=check.name.replace("_", " ")
    )
