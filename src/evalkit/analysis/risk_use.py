"""What acting on the risks would do, how they wear over time and elsewhere, and how much hangs on who was there."""

from __future__ import annotations

import math

import numpy as np

from evalkit.analysis.risk_data import asked_model, refusing
from evalkit.analysis.risk_develop import Developed, HorizonStudy, Named
from evalkit.analysis.risk_performance import validate
from evalkit.analysis.risk_refits import refit_developed
from evalkit.analysis.risk_samples import verdict_cell
from evalkit.analysis.study import Study
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.result import Cell, Check
from evalkit.core.sections import RiskKind
from evalkit.risk.cells import measure_cells, refused_cells
from evalkit.risk.cross_validate import draw_learning_counts, estimate_learning_curve
from evalkit.risk.data import RiskData
from evalkit.risk.decision import estimate_decision_curve
from evalkit.risk.decision_cells import net_benefit_cells, threshold_cells
from evalkit.risk.decision_time import SurvivalDecisionOptions, estimate_decision_curve_survival
from evalkit.risk.drift import DRIFT_MEASURES, DriftOptions, compute_drift
from evalkit.risk.model import MODEL_LABELS, build_design
from evalkit.risk.recalibrate import METHOD_LABELS, METHODS, choose_recalibration, predict_recalibrated
from evalkit.risk.sample_size import judge_sample
from evalkit.risk.threshold_table import compute_threshold_table
from evalkit.risk.time_performance import (
    TimePerformanceOptions,
    build_risk_follow_up,
    estimate_time_performance,
)

SHARES, REPEATS = (0.25, 0.5, 0.75, 1.0), 5
_KEPT = ("observed_expected", "calibration_intercept", "calibration_slope", "brier", "auroc")


def decision_cells(study: Study, horizon: HorizonStudy) -> tuple[list[Cell], Named]:
    """Table `risk_net_benefit`: row "{model}|{threshold}" and "all|{threshold}"."""
    asked, later = asked_model(study), horizon.split.validation
    risks = {kind: found.validation for kind, found in horizon.developed.items()}
    found = estimate_decision_curve(
        risks, later.outcome, person=later.person, thresholds=asked.thresholds, level=study.level
    )
    return list(net_benefit_cells(found)), []


def competing_decision_cells(study: Study, horizon: HorizonStudy) -> tuple[list[Cell], Named]:
    """Table `risk_net_benefit_competing`: as `risk_net_benefit`, death competing."""
    asked, later = asked_model(study), horizon.split.validation
    risks = {kind: found.validation for kind, found in horizon.developed.items()}
    found = estimate_decision_curve_survival(
        risks, build_risk_follow_up(later), horizon=horizon.horizon_days - 1, thresholds=asked.thresholds,
        rng=study.rng("risk net benefit competing"),
        options=SurvivalDecisionOptions(level=study.level, replicates=asked.replicates),
    )  # fmt: skip
    return list(net_benefit_cells(found)), []


def time_cells(study: Study, horizon: HorizonStudy) -> tuple[list[Cell], Named]:
    """Table `risk_time`: row "{h}|{model}", measures of time to event on later discharges, death competing."""
    later, cells, checks = horizon.split.validation, [], []
    options = TimePerformanceOptions(level=study.level, replicates=asked_model(study).replicates)
    for kind, found in horizon.developed.items():
        row, label = f"{horizon.horizon_days}|{kind}", MODEL_LABELS[kind]
        performance = estimate_time_performance(
            found.validation, build_risk_follow_up(later), horizon=horizon.horizon_days - 1,
            rng=study.rng(f"risk time {row}"), options=options,
        )  # fmt: skip
        counts = {"n_people": performance.n_people, "n_events": performance.n_events, "label": label}
        for name, told in performance.frame.iterrows():
            undefined = math.isnan(told["value"])
            reason = (told["reason"] or "The measure is undefined for these risks.") if undefined else ""
            cells.append(
                Cell(row, str(name), float(told["value"]), "statistic", lower=float(told["lower"]),
                     upper=float(told["upper"]), level=study.level, reason=reason, **counts,
                     status="not_estimable" if undefined else "shown")
            )  # fmt: skip
        checks += [(f"{row} in time", check) for check in performance.checks]
    return cells, checks


def threshold_table_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[list[Cell], Named]:
    """Table `risk_threshold`: row "risk|{threshold}" or "share|{share}", in people of 100."""
    asked, later = asked_model(study), horizon.split.validation
    found = compute_threshold_table(
        horizon.developed[kind].validation, later.outcome, person=later.person, thresholds=asked.thresholds,
        flagged_shares=asked.flagged_shares, level=study.level,
    )  # fmt: skip
    return list(threshold_cells(found)), []


def learning_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[list[Cell], Named]:
    """Table `risk_learning`: row "{model}|{share}", what models developed on a share of the people reach later."""
    data, later = horizon.split.development, horizon.split.validation
    draws = draw_learning_counts(
        data.person, data.outcome, shares=SHARES, repeats=REPEATS, rng=study.rng("risk learning")
    )
    models = refit_developed(horizon.developed[kind], data, counts=draws.counts, new=later)
    found = estimate_learning_curve(models, later.outcome, draws, names=("auroc", "calibration_slope"))
    cells = []
    for i, share in enumerate(found.shares):
        counts = {"n_people": round(share * data.n_people), "n_events": round(share * data.n_events)}
        shown = {"status": "not_estimable" if found.reasons[i] else "shown", "reason": found.reasons[i]}
        row, label = f"{kind}|{share:g}", f"{share:.0%} of the people"
        size = float(f"{found.discharges[i]:.1e}")
        cells.append(Cell(row, "discharges", size, "statistic", unit="discharges", label=label, **counts))
        for k, name in enumerate(found.names):
            cells.append(Cell(row, name, float(found.values[i, k]), "statistic", label=label, **counts, **shown))
    return cells, []


def recalibration_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[dict[str, list[Cell]], Named]:
    """Table `risk_recalibration`: row "{place}|{update}", each update measured on people it was not fitted to.

    Places are all later discharges ("later") and those of the service's own people. Which update these can bear is a
    check. The service's own people are also judged for development, in `risk_size`.
    """
    later, risk = horizon.split.validation, horizon.developed[kind].validation
    places: dict[str, np.ndarray] = {"later": np.ones(len(later), dtype=bool)}
    treated, adoption = study.protocol.areas.treated, study.protocol.dates.adoption
    if treated:
        first = np.datetime64(adoption or later.time.min(), "D")
        own = np.isin(later.groups["area"].to_numpy(), list(treated)) & (later.time >= first)
        places[study.protocol.areas.treated_label] = own
    cells: list[Cell] = []
    sizes: list[Cell] = []
    checks: Named = []
    for place, inside in places.items():
        since = "since the service began" if adoption else "after development"
        label = "All later discharges" if place == "later" else f"Discharges from {place} {since}"
        try:
            part = _part(later, inside, label)
        except NotEstimable as refusal:
            cells += [cell for m in METHODS for cell in refused_cells(f"{place}|{m}", _KEPT, label, refusal)]
            continue
        found, named = _update(study, place, label, horizon.developed[kind], risk[inside], part)
        cells += found
        checks += named
        if place != "later":
            verdict = judge_sample(
                part.outcome, part.person, parameters=horizon.verdicts[kind].parameters,
                expected_auroc=asked_model(study).expected_auroc,
            )  # fmt: skip
            sizes.append(verdict_cell(f"{horizon.horizon_days}|service", f"People of {place}", verdict, part))
    return {"risk_recalibration": cells, "risk_size": sizes}, checks


def drift_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[list[Cell], Named]:
    """Table `risk_drift`: row the year of discharge, after development."""
    later = horizon.split.validation
    try:
        found = compute_drift(
            horizon.developed[kind].validation, later.outcome, person=later.person, time=later.time,
            options=DriftOptions(level=study.level),
        )  # fmt: skip
    except NotEstimable as refusal:
        return refused_cells("all", DRIFT_MEASURES, MODEL_LABELS[kind], refusal), []
    cells = []
    for period in found.periods:
        counts = {"n_people": period.n_people, "n_events": period.n_events, "label": period.label}
        for name, value, low, high in zip(DRIFT_MEASURES, period.values, period.lower, period.upper, strict=True):
            undefined = math.isnan(value)
            cells.append(
                Cell(period.label, name, value, "statistic", lower=low, upper=high, level=found.level, **counts,
                     status="not_estimable" if undefined else "shown",
                     reason=(period.refusal or "The measure is undefined for these risks.") if undefined else "")
            )  # fmt: skip
    passed = {"keep": True, "watch": None, "recalibrate": False}[found.verdict]
    return cells, [(kind, Check("drift", passed=passed, value=math.nan, text=found.reason))]


# ---- parts ---------------------------------------------------------------------------------------


@refusing()
def _part(data: RiskData, inside: np.ndarray, label: str) -> RiskData:
    """The discharges at `inside`; a few of one place may be no sample where all of them are one."""
    if len(np.unique(data.outcome[inside])) < 2:
        raise NotEstimable(Fault(label, "nobody came back, or everybody did"))
    return data.where(inside)


def _update(
    study: Study, place: str, label: str, found: Developed, risk: np.ndarray, data: RiskData
) -> tuple[list[Cell], Named]:
    # Trees have no coefficients to estimate anew.
    design = None if found.model.kind == "gradient_boosting" else build_design(found.model, data.features)
    methods = METHODS if design is not None else METHODS[:-1]
    cells: list[Cell] = []
    checks: Named = []
    try:
        with refusing():
            chosen = choose_recalibration(risk, data.outcome, person=data.person, design=design)
        checks = [(f"recalibration {place}", check) for check in chosen.checks]
    except NotEstimable:
        chosen = None  # the rows below say why
    for method in methods:
        row, words = f"{place}|{method}", f"{label}: {METHOD_LABELS[method].lower()}"
        words += " (the least change that these discharges support)" if chosen and chosen.method == method else ""
        try:
            with refusing():
                updated = predict_recalibrated(
                    risk, data.outcome, method=method, person=data.person, design=design,
                    rng=study.rng(f"risk recalibration {place}"),
                )  # fmt: skip
                performance = validate(study, updated, data, name=f"recalibration {row}")
        except NotEstimable as refusal:
            cells += refused_cells(row, _KEPT, words, refusal)
            continue
        cells += [cell for cell in measure_cells(row, performance, words) if cell.column in _KEPT]
    return cells, checks
