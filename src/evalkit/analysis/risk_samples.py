"""Discharges, what they bear, and what is missing among them, as cells."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from evalkit.analysis.risk_develop import HorizonStudy
from evalkit.cohort.predictors import PREDICTOR_LABELS
from evalkit.core.result import Cell
from evalkit.risk.data import RiskData
from evalkit.risk.missingness import compute_missing
from evalkit.risk.model import MODEL_LABELS
from evalkit.risk.sample_size import JudgedCriterion, SampleVerdict

_PARTS = {
    "development": "Discharges the models were developed on",
    "validation": "Later discharges they were validated on",
}
_VERDICTS = {"develop": 1.0, "recalibrate": 0.5, "refuse": 0.0}


def sample_cells(horizon: HorizonStudy) -> list[Cell]:
    """Table `risk_sample`: row "{h}|{part}", columns discharges, readmitted and died (before any readmission)."""
    cells = []
    for part, data in (("development", horizon.split.development), ("validation", horizon.split.validation)):
        row = f"{horizon.horizon_days}|{part}"
        events = np.asarray(data.event)
        for column, rows in (
            ("discharges", np.ones(len(data), dtype=bool)), ("readmitted", events == 1), ("died", events == 2)
        ):  # fmt: skip
            cells.append(
                Cell(
                    row, column, float(rows.sum()), "count", n_people=len(np.unique(data.person[rows])),
                    n_events=int((rows & (events == 1)).sum()), label=_PARTS[part],
                    totals=() if column == "discharges" else (f"{row}/discharges",),
                )
            )  # fmt: skip
    return cells


def size_cells(horizon: HorizonStudy) -> list[Cell]:
    """Table `risk_size`: rows "{h}|{model}|{criterion}" and "{h}|validation|{criterion}", and the verdicts."""
    h, development, validation = horizon.horizon_days, horizon.split.development, horizon.split.validation
    cells = []
    for kind, verdict in horizon.verdicts.items():
        cells += _criterion_cells(f"{h}|{kind}", verdict.criteria, development)
        cells.append(verdict_cell(f"{h}|{kind}", MODEL_LABELS[kind], verdict, development))
    return cells + _criterion_cells(f"{h}|validation", horizon.validation_size, validation)


def verdict_cell(row: str, label: str, verdict: SampleVerdict, data: RiskData) -> Cell:
    """What a sample bears: 1 develop, 0.5 recalibrate, 0 neither; the word is the unit and the reason says why."""
    return Cell(
        f"{row}|verdict", "verdict", _VERDICTS[verdict.verdict], "check", unit=verdict.verdict, n_people=data.n_people,
        n_events=data.n_events, label=label, reason=verdict.reason,
    )  # fmt: skip


def missing_cells(development: RiskData, validation: RiskData) -> list[Cell]:
    """Table `risk_missing`: row the predictor, columns development and validation, the share not recorded."""
    cells = []
    shares = compute_missing(development, validation)
    for name, row in shares.iterrows():
        for part, data in (("development", development), ("validation", validation)):
            gap = data.features[name].isna().to_numpy()
            cells.append(
                Cell(
                    str(name), part, float(row[part]), "statistic", unit="share", label=PREDICTOR_LABELS[name],
                    n_people=data.n_people, n_events=len(np.unique(data.person[gap])) if gap.any() else math.nan,
                )
            )  # fmt: skip
    return cells


def _criterion_cells(row: str, criteria: Iterable[JudgedCriterion], data: RiskData) -> list[Cell]:
    counts = {"n_people": data.n_people, "n_events": data.n_events, "unit": "discharges"}
    cells = []
    for found in criteria:
        for column, value in (("needed", float(found.needed)), ("have", _roughly(found.have))):
            cells.append(Cell(f"{row}|{found.name}", column, value, "statistic", label=found.label, **counts))
    return cells


def _roughly(size: float) -> float:
    """Down to two digits: an effective number of discharges is near a count, and too few must not read as enough."""
    if size < 10:
        return math.nan
    step = 10.0 ** (math.floor(math.log10(size)) - 1)
    return math.floor(size / step + 1e-9) * step
