"""What refitting each model to draws of people tells: how much it flatters itself, and how far its risks would move."""

from __future__ import annotations

import math

from evalkit.analysis.risk_data import asked_model, refusing
from evalkit.analysis.risk_develop import HorizonStudy, Named
from evalkit.analysis.risk_refits import draw_development, refit_developed
from evalkit.analysis.study import Study
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell
from evalkit.core.sections import RiskKind
from evalkit.risk.cells import optimism_cells, refused_cells
from evalkit.risk.data import RiskData
from evalkit.risk.instability import Instability, InstabilityOptions, estimate_instability
from evalkit.risk.measures import MEASURES
from evalkit.risk.model import MODEL_LABELS
from evalkit.risk.optimism import estimate_optimism
from evalkit.risk.refit import RefittedModels

_CORRECTED = tuple(f"{name}|corrected" for name in MEASURES)


def bootstrap_cells(study: Study, horizon: HorizonStudy, primary: RiskKind) -> tuple[dict[str, list[Cell]], Named]:
    """Tables `risk_optimism` of every model and `risk_instability`, `risk_instability_curve` and
    `risk_instability_calibration` of the primary one, from one set of refits each."""
    data, tables = horizon.split.development, {"risk_optimism": []}
    checks: Named = []
    counts = draw_development(study, data)
    for kind, found in horizon.developed.items():
        row, label = f"{horizon.horizon_days}|{kind}", MODEL_LABELS[kind]
        try:
            with refusing():
                models = refit_developed(found, data, counts=counts)
                optimism = estimate_optimism(models, data.outcome, level=study.level)
        except NotEstimable as refusal:
            tables["risk_optimism"] += refused_cells(row, _CORRECTED, label, refusal)
            if kind == primary:
                tables["risk_instability"] = refused_cells(kind, ("mape",), label, refusal)
            continue
        tables["risk_optimism"] += optimism_cells(row, label, optimism, data)
        checks += [(row, check) for check in optimism.checks]
        if kind == primary:
            tables |= _instability_tables(study, data, kind, models)
    return tables, checks


# ---- parts ---------------------------------------------------------------------------------------


def _instability_tables(
    study: Study, data: RiskData, kind: RiskKind, models: RefittedModels
) -> dict[str, list[Cell]]:  # fmt: skip
    options = InstabilityOptions(thresholds=asked_model(study).thresholds, level=study.level)
    try:
        with refusing():
            found = estimate_instability(models, data.outcome, person=data.person, options=options)
    except NotEstimable as refusal:
        return {"risk_instability": refused_cells(kind, ("mape",), MODEL_LABELS[kind], refusal)}
    every = {"n_people": data.n_people, "n_events": data.n_events, "label": MODEL_LABELS[kind]}
    return {
        "risk_instability": _mean_cells(found, kind, every),
        "risk_instability_curve": [
            Cell(f"{at['share']:.3f}", name, float(at[name]), "statistic", unit="risk (0 to 1)",
                 n_people=float(at["n_people"]), label=MODEL_LABELS[kind])
            for at in found.curve.to_dict("records") for name in ("risk", "low", "high", "mape")
        ],
        "risk_instability_calibration": [
            Cell(str(place + 1), name, float(at[name]), "statistic", unit="risk (0 to 1)", **every)
            for place, at in enumerate(found.calibration.to_dict("records"))
            for name in ("predicted", "smooth", "low", "high") if not math.isnan(at[name])
        ],
    }  # fmt: skip


def _mean_cells(found: Instability, kind: RiskKind, every: dict[str, object]) -> list[Cell]:
    cells = [
        Cell(kind, "mape", found.mape, "statistic", unit="risk (0 to 1)", **every),
        Cell(kind, f"share_beyond_{found.beyond:g}", found.share_beyond, "statistic", unit="share", **every),
    ]
    return cells + [
        Cell(kind, f"changed_at_{at['threshold']:g}", float(at["changed"]), "statistic", unit="share", **every)
        for at in found.classification.to_dict("records")
    ]
