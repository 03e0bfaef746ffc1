"""Readmission risk models on trust-wide discharges: developed before a date, validated after it, laid out as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from evalkit.analysis.risk_bootstrap import bootstrap_cells
from evalkit.analysis.risk_data import asked_model, build_risk_rows, refusing
from evalkit.analysis.risk_develop import HorizonStudy, Named, develop_models
from evalkit.analysis.risk_groups import fairness_cells, importance_cells, term_cells
from evalkit.analysis.risk_performance import (
    cross_cells,
    curve_cells,
    imputed_cells,
    performance_cells,
    place_cells,
)
from evalkit.analysis.risk_samples import missing_cells, sample_cells, size_cells
from evalkit.analysis.risk_use import (
    competing_decision_cells,
    decision_cells,
    drift_cells,
    learning_cells,
    recalibration_cells,
    threshold_table_cells,
    time_cells,
)
from evalkit.analysis.study import Study
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell, Results
from evalkit.core.sections import RiskKind
from evalkit.risk.model import MODEL_LABELS
from evalkit.risk.model_file import remove_model, save_model

Tables = dict[str, list[Cell]]
# The column that holds the refusal of a whole table; elsewhere it is the AUROC.
_REFUSED_COLUMNS = {
    "risk_net_benefit": "net_benefit", "risk_net_benefit_competing": "net_benefit", "risk_threshold": "flagged_per_100",
    "risk_terms": "odds_ratio", "risk_importance": "auroc_drop",
}  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class RiskStudy:
    """What the risk notebook shows: tables of results, the horizons behind them, and why there is no model if none.

    `primary` is the model that is told in full at `main`, the protocol's horizon: the protocol's, or where the
    discharges cannot bear it the first of the protocol's models that they do.
    """

    results: list[Results]
    horizons: tuple[HorizonStudy, ...] = ()
    primary: RiskKind | None = None
    reason: str = ""

    @property
    def main(self) -> HorizonStudy:
        return self.horizons[0]


def analyse_risk(study: Study) -> RiskStudy:
    """Judge the sample, develop what it bears, and lay out everything asked of a prediction model.

    A model that the data cannot bear stands with the reason in place of its numbers. Models and their performance are
    given at every horizon; the rest is for the protocol's own horizon, and where only one model is told, the primary.
    """
    try:
        asked = asked_model(study)
        rows = build_risk_rows(study)
        main = develop_models(study, rows, horizon_days=asked.horizon_days)
    except NotEstimable as refusal:
        refused = Results.from_cells("risk_performance", [_refused_cell(refusal.reason)])
        return RiskStudy([refused], reason=refusal.reason)
    tables: Tables = {}
    checks: Named = [("sample", check) for check in main.checks]
    horizons = [main]
    for days in asked.other_horizons_days:
        try:
            horizons.append(develop_models(study, rows, horizon_days=days))
        except NotEstimable as refusal:
            _add(tables, "risk_performance", [_refused_cell(refusal.reason, row=f"{days}|all")])
    for horizon in horizons:
        _add(tables, "risk_sample", sample_cells(horizon))
        _add(tables, "risk_size", size_cells(horizon))
        cells, found = performance_cells(study, horizon)
        _add(tables, "risk_performance", cells)
        checks += found
    primary = _choose_primary(main, asked.primary)
    _add(tables, "risk_missing", missing_cells(main.split.development, main.split.validation))
    if primary is not None:
        checks += _describe_models(study, main, tables)
        checks += _describe_primary(study, main, primary, tables)
    reason = "" if primary else "; ".join(f"{r.reason}" for r in main.models.values() if isinstance(r, NotEstimable))
    results = [Results.from_cells(name, cells) for name, cells in tables.items() if cells]
    results.append(Results.from_cells("checks.risk", _check_cells(checks)))
    return RiskStudy(results, tuple(horizons), primary, reason)


def save_risk_models(study: Study, found: RiskStudy, workings: Path | str) -> dict[str, str]:
    """Save each model to `<workings>/risk_models/<horizon>_<kind>`, and give the digest of each contract by folder.

    Models of an earlier run are removed, so that none stays that the discharges no longer bear. They tell of few people
    and belong in the secure environment, until an output checker has passed them.
    """
    saved = {}
    for earlier in (Path(workings) / "risk_models").glob("*_*"):
        remove_model(earlier)
    for horizon in found.horizons:
        for kind, one in horizon.developed.items():
            folder = f"{horizon.horizon_days}_{kind}"
            place = Path(workings) / "risk_models" / folder
            saved[folder] = save_model(one.model, place, protocol_digest=study.protocol.digest)
    return saved


# ---- parts ---------------------------------------------------------------------------------------


def _describe_models(study: Study, main: HorizonStudy, tables: Tables) -> Named:
    """What is told of every model at the protocol's horizon."""
    checks: Named = []
    checks += _attempt(tables, "risk_cross", lambda: cross_cells(study, main, tuple(main.developed)))
    checks += _attempt(tables, "risk_time", lambda: time_cells(study, main))
    for kind in main.developed:
        checks += _attempt(tables, f"risk_curve.{kind}", lambda kind=kind: curve_cells(study, main, kind))
    for name, make in (("risk_net_benefit", decision_cells), ("risk_net_benefit_competing", competing_decision_cells)):
        checks += _attempt(tables, name, lambda make=make: make(study, main))
    return checks


def _describe_primary(study: Study, main: HorizonStudy, kind: RiskKind, tables: Tables) -> Named:
    checks: Named = []
    makers = {
        "risk_optimism": bootstrap_cells, "risk_recalibration": recalibration_cells,
        "risk_imputed": imputed_cells, "risk_places": place_cells, "risk_drift": drift_cells,
        "risk_threshold": threshold_table_cells, "risk_learning": learning_cells,
        "risk_groups": fairness_cells,
        "risk_terms": term_cells, "risk_importance": importance_cells,
    }  # fmt: skip
    for name, make in makers.items():
        checks += _attempt(tables, name, lambda make=make: make(study, main, kind))
    return checks


def _attempt(tables: Tables, name: str, make: Callable[[], tuple[list[Cell] | Tables, Named]]) -> Named:
    """Add the cells of table `name`, or of several, to `tables` and give their checks, or add the reason there is none.

    What one table cannot be made of, such as too few later events, is no reason to be without the others.
    """
    try:
        with refusing():
            cells, checks = make()
    except NotEstimable as refusal:
        cells, checks = [_refused_cell(refusal.reason, column=_REFUSED_COLUMNS.get(name, "auroc"))], []
    _merge(tables, cells if isinstance(cells, dict) else {name: cells})
    return checks


def _choose_primary(main: HorizonStudy, wanted: RiskKind) -> RiskKind | None:
    kinds = [wanted, *main.verdicts]
    return next((kind for kind in kinds if kind in main.developed), None)


def _add(tables: Tables, name: str, cells: Iterable[Cell]) -> None:
    tables.setdefault(name, []).extend(cells)


def _merge(tables: Tables, more: Tables) -> None:
    for name, cells in more.items():
        _add(tables, name, cells)


def _refused_cell(reason: str, *, row: str = "all", column: str = "auroc") -> Cell:
    label = "Readmission risk models"
    return Cell(row, column, math.nan, "statistic", status="not_estimable", reason=reason, label=label)


def _check_cells(checks: Named) -> list[Cell]:
    cells: dict[tuple[str, str], Cell] = {}
    for row, check in checks:
        passed = {True: "passed", False: "failed", None: "informs"}[check.passed]
        name = row.split("|")[-1] if row.split("|")[-1] not in MODEL_LABELS else row
        cells.setdefault(
            (row, check.name),
            Cell(row, check.name, check.value, "check", unit=passed, reason=check.text,
                 label=f"{name}: {check.name}".replace("_", " ")),
        )  # fmt: skip
    return list(cells.values())
