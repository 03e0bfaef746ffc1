"""Performance and calibration as cells of the results tables, with the counts that the gate needs."""

from __future__ import annotations

import math
from collections.abc import Iterable

from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell
from evalkit.risk.validate import CalibrationCurve, RiskPerformance


def measure_cells(row: str, found: RiskPerformance, label: str) -> list[Cell]:
    """One cell a measure, with its interval; an undefined one says so."""
    cells = []
    for name, value, low, high in zip(found.names, found.values, found.lower, found.upper, strict=True):
        undefined = math.isnan(value)
        cells.append(
            Cell(
                row, name, value, "statistic", lower=low, upper=high, level=found.level, label=label,
                n_people=found.n_people, n_events=found.n_events, status="not_estimable" if undefined else "shown",
                reason="The measure is undefined for these risks." if undefined else "",
            )
        )  # fmt: skip
    return cells


def refused_cells(row: str, columns: Iterable[str], label: str, refusal: NotEstimable) -> list[Cell]:
    """The reason in place of each number."""
    return [
        Cell(row, column, math.nan, "statistic", label=label, status="not_estimable", reason=refusal.reason)
        for column in columns
    ]


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
