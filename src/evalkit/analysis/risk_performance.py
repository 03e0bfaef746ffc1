"""How well the models do on later discharges, and on their own once optimism is taken off, as cells."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from evalkit.analysis.risk_data import asked_model, refusing
from evalkit.analysis.risk_develop import Developed, HorizonStudy, Named
from evalkit.analysis.risk_refits import draw_development, refit_developed
from evalkit.analysis.study import Study
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell
from evalkit.core.sections import RiskKind
from evalkit.risk.calibration import BandOptions, compute_calibration_band
from evalkit.risk.cells import calibration_cells, measure_cells, optimism_cells, refused_cells
from evalkit.risk.cross_validate import estimate_cross_validated
from evalkit.risk.data import RiskData
from evalkit.risk.folds import count_training, draw_folds
from evalkit.risk.imputation import RiskImputationOptions, impute_development, impute_validation
from evalkit.risk.imputation_pool import estimate_imputed_optimism, pool_risks
from evalkit.risk.measures import MEASURES
from evalkit.risk.missingness import check_missingness
from evalkit.risk.model import MODEL_LABELS, fit_risk_model, predict_risk
from evalkit.risk.places import PLACE_MEASURES, count_left_out, estimate_places
from evalkit.risk.validate import RiskPerformance, calibration_curve, validate_risk_model

FOLDS, REPEATS = 5, 4


def performance_cells(study: Study, horizon: HorizonStudy) -> tuple[list[Cell], Named]:
    """Table `risk_performance`: row "{h}|{model}", every measure on later discharges; and the checks."""
    cells, checks, later = [], [], horizon.split.validation
    for kind, found in horizon.models.items():
        row = f"{horizon.horizon_days}|{kind}"
        try:
            performance = validate(study, required(found).validation, later, name=f"performance {row}")
        except NotEstimable as refusal:
            cells += refused_cells(row, MEASURES, MODEL_LABELS[kind], refusal)
            continue
        cells += measure_cells(row, performance, MODEL_LABELS[kind])
        checks += [(row, check) for check in (*found.model.checks, *found.input_checks, *performance.checks)]
    return cells, checks


def cross_cells(study: Study, horizon: HorizonStudy, kinds: Iterable[RiskKind]) -> tuple[list[Cell], Named]:
    """Table `risk_cross`: row "{h}|{model}", every measure by repeated cross-validation in whole people."""
    cells, checks, data = [], [], horizon.split.development
    for kind in kinds:
        row, label = f"{horizon.horizon_days}|{kind}", MODEL_LABELS[kind]
        try:
            held = draw_folds(
                data.person, data.outcome, folds=FOLDS, repeats=REPEATS, rng=study.rng(f"risk folds {row}")
            )
            models = refit_developed(horizon.developed[kind], data, counts=count_training(held))
            found = estimate_cross_validated(models, data.outcome, held=held)
        except NotEstimable as refusal:
            cells += refused_cells(row, MEASURES, label, refusal)
            continue
        counts = {"n_people": data.n_people, "n_events": data.n_events, "label": label}
        for name, value, reason in zip(found.names, found.values, found.reasons, strict=True):
            status = "not_estimable" if reason else "shown"
            cells.append(Cell(row, name, float(value), "statistic", status=status, reason=reason, **counts))
        checks += [(row, check) for check in found.checks]
    return cells, checks


def place_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[list[Cell], Named]:
    """Table `risk_places`: row "{model}|{area}", "{model}|pooled" and "{model}|prediction", each area left out once."""
    data = horizon.split.development
    try:
        left_out = count_left_out(data.groups["area"].to_numpy())
        models = refit_developed(horizon.developed[kind], data, counts=left_out.counts)
        found = estimate_places(models, data.outcome, left_out, person=data.person, level=study.level)
    except NotEstimable as refusal:
        return refused_cells(f"{kind}|pooled", PLACE_MEASURES, MODEL_LABELS[kind], refusal), []
    cells = []
    for g, place in enumerate(found.places):
        counts = {"n_people": found.n_people[g], "n_events": found.n_events[g], "label": place, "level": found.level}
        for k, name in enumerate(found.names):
            reason = str(found.reasons[g, k])
            ends = {"lower": float(found.lower[g, k]), "upper": float(found.upper[g, k])}
            cells.append(
                Cell(f"{kind}|{place}", name, float(found.values[g, k]), "statistic", **ends, **counts,
                     status="not_estimable" if reason else "shown", reason=reason)
            )  # fmt: skip
    every = {"n_people": data.n_people, "n_events": data.n_events, "level": found.level}
    for k, name in enumerate(found.names):
        value, low, high, lowest, highest = (float(v) for v in found.pooled[k])
        few = {"status": "not_estimable", "reason": "Fewer places could be validated than pooling needs."}
        for row, ends, label in (
            ("pooled", (low, high), "All places pooled"), ("prediction", (lowest, highest), "Another place like these")
        ):  # fmt: skip
            undefined = few if math.isnan(value) or math.isnan(ends[0]) else {}
            cells.append(
                Cell(f"{kind}|{row}", name, value, "statistic", lower=ends[0], upper=ends[1], label=label, **every,
                     **undefined)
            )  # fmt: skip
    return cells, [(f"{kind} places", check) for check in found.checks]


def curve_cells(study: Study, horizon: HorizonStudy, kind: RiskKind) -> tuple[dict[str, list[Cell]], Named]:
    """Tables `calibration.{model}` (tenths of predicted risk) and `risk_curve.{model}` (smooth, with its band)."""
    later, risk = horizon.split.validation, horizon.developed[kind].validation
    tenths = calibration_cells(calibration_curve(risk, later.outcome, person=later.person, level=study.level))
    options = BandOptions(level=study.level, replicates=asked_model(study).replicates)
    band = compute_calibration_band(
        risk, later.outcome, person=later.person, rng=study.rng(f"risk band {kind}"), options=options
    )
    counts = {"n_people": later.n_people, "n_events": later.n_events, "label": MODEL_LABELS[kind]}
    cells = []
    for i, at in enumerate(band.predicted):
        cells.append(Cell(str(i + 1), "predicted", float(at), "statistic", **counts))
        cells.append(
            Cell(str(i + 1), "smooth", float(band.smooth[i]), "statistic", lower=float(band.lower[i]),
                 upper=float(band.upper[i]), level=study.level, **counts)
        )  # fmt: skip
    return {f"calibration.{kind}": list(tenths), f"risk_curve.{kind}": cells}, []


def imputed_cells(study: Study, horizon: HorizonStudy, primary: RiskKind) -> tuple[list[Cell], Named]:
    """Table `risk_imputed`: as `risk_performance`, with missing values imputed several times instead of prepared.

    Models are developed on each imputed set and a discharge's risks averaged over its imputations; no later discharge's
    imputation sees an outcome or another discharge. "{measure}|corrected", of the primary model, are corrected for
    optimism on development.
    """
    asked, split = asked_model(study), horizon.split
    options = RiskImputationOptions(imputations=asked.imputations)
    development = impute_development(split.development, options=options, rng=study.rng("risk imputation"))
    later = impute_validation(development.models, split.validation, on_unseen="pool")
    counts = draw_development(study, split.development)
    cells: list[Cell] = []
    checks: Named = [("sample", check_missingness(split.development))]
    for kind, found in horizon.developed.items():
        row, label = f"{horizon.horizon_days}|{kind}", MODEL_LABELS[kind]
        try:
            pooled = _pooled_risk(found, development.sets, later)
            performance = validate(study, pooled, split.validation, name=f"performance {row}")
        except NotEstimable as refusal:
            cells += refused_cells(row, MEASURES, label, refusal)
            continue
        cells += measure_cells(row, performance, label)
        if kind != primary:
            continue
        try:
            optimism = estimate_imputed_optimism(
                development, lambda data, found=found: refit_developed(found, data, counts=counts), level=study.level
            )
        except NotEstimable as refusal:
            cells += refused_cells(row, [f"{name}|corrected" for name in MEASURES], label, refusal)
            continue
        cells += [c for c in optimism_cells(row, label, optimism, split.development) if c.column.endswith("corrected")]
        checks += [(f"{row} imputed", check) for check in optimism.checks if check.name.startswith("imputed")]
    return cells, checks


@refusing()
def _pooled_risk(found: Developed, development: Iterable[RiskData], later: Iterable[RiskData]) -> np.ndarray:
    """Risks of later discharges, each from the model of one imputation, averaged."""
    kind, seed, options = found.model.kind, found.model.seed, found.model.options
    models = [fit_risk_model(data, kind=kind, seed=seed, options=options) for data in development]
    risks = [
        predict_risk(model, data.features, on_unseen="pool") for model, data in zip(models, later, strict=True)
    ]  # fmt: skip
    return pool_risks(risks).risk


# ---- shared --------------------------------------------------------------------------------------


def required(found: Developed | NotEstimable) -> Developed:
    """The model, or its refusal raised."""
    if isinstance(found, NotEstimable):
        raise found
    return found


def validate(study: Study, risk: np.ndarray, data: RiskData, *, name: str) -> RiskPerformance:
    """Every measure of risks (n,) of the discharges of `data`, with draws of people of its own."""
    return validate_risk_model(
        risk, data.outcome, person=data.person, rng=study.rng(f"risk {name}"), level=study.level,
        replicates=asked_model(study).replicates,
    )  # fmt: skip
