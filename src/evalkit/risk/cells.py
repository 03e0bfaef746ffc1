"""Performance and calibration as cells of the results tables, with the counts that the gate needs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell
from evalkit.risk.data import RiskData
from evalkit.risk.measures import MEASURE_LABELS
from evalkit.risk.model import MODEL_LABELS
from evalkit.risk.validate import CalibrationCurve, RiskPerformance

_SAMPLE_LABELS = {
    "development": "Discharges the models were developed on",
    "validation": "Later discharges they were validated on",
}


def risk_sample_cells(development: RiskData, validation: RiskData) -> tuple[Cell, ...]:
    """Table `risk_sample`: rows development and validation, columns discharges and readmitted."""
    cells = []
    for row, data in (("development", development), ("validation", validation)):
        came_back = data.outcome == 1
        for column, rows in (("discharges", np.ones(len(data), dtype=bool)), ("readmitted", came_back)):
            people, events = len(np.unique(data.person[rows])), int((rows & came_back).sum())
            label = _SAMPLE_LABELS[row]
            cells.append(Cell(row, column, float(rows.sum()), "count", n_people=people, n_events=events, label=label))
    return tuple(cells)


def risk_performance_cells(performance: Mapping[str, RiskPerformance | NotEstimable]) -> tuple[Cell, ...]:
    """Table `risk_performance`: one row a model, one column a measure.

    A model that was refused stands with its reason in place of each number.
    """
    cells = []
    for model, found in performance.items():
        label = MODEL_LABELS.get(model, model.replace("_", " "))
        if isinstance(found, NotEstimable):
            cells += [
                Cell(model, name, math.nan, "statistic", label=label, status="not_estimable", reason=found.reason)
                for name in MEASURE_LABELS
            ]
            continue
        for name, value, low, high in zip(found.names, found.values, found.lower, found.upper, strict=True):
            undefined = math.isnan(value)
            cells.append(
                Cell(
                    model, name, value, "statistic", lower=low, upper=high, level=found.level, label=label,
                    n_people=found.n_people, n_events=found.n_events,
                    status="not_estimable" if undefined else "shown",
                    reason="The measure is undefined for these risks." if undefined else "",
                )
            )  # fmt: skip
    return tuple(cells)


def calibration_cells(curve: CalibrationCurve) -> tuple[Cell, ...]:
    """Table `calibration.<model>`: one row a group of predicted risk from "1", columns predicted and observed."""
    cells = []
    for i, (predicted, observed) in enumerate(zip(curve.predicted, curve.observed, strict=True)):
        row, label = str(i + 1), f"Group {i + 1} of {len(curve.predicted)} by predicted risk"
        counts = {"n_people": curve.n_people[i], "n_events": curve.n_events[i]}
        cells += [
            Cell(row, "predicted", predicted, "statistic", unit="risk (0 to 1)", label=label, **counts),
            Cell(
                row, "observed", observed, "statistic", unit="risk (0 to 1)", lower=curve.lower[i],
                upper=curve.upper[i], level=curve.level, label=label, **counts,
            ),
        ]  # fmt: skip
    return tuple(cells)
