"""Performance and calibration as cells of the results tables, with the counts that the gate needs."""

from __future__ import annotations

import math
from collections.abc import Iterable

from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell
from evalkit.risk.data import RiskData
from evalkit.risk.optimism import Optimism
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


def optimism_cells(row: str, label: str, found: Optimism, data: RiskData) -> list[Cell]:
    """Columns "{measure}|apparent", "|optimism" and "|corrected" of one row."""
    counts = {"n_people": data.n_people, "n_events": data.n_events, "label": label}
    cells = []
    for k, name in enumerate(found.names):
        for part, values in (("apparent", found.apparent), ("optimism", found.optimism)):
            undefined = math.isnan(values[k])
            cells.append(
                Cell(f"{row}", f"{name}|{part}", float(values[k]), "statistic", **counts,
                     status="not_estimable" if undefined else "shown", reason=found.reasons[k] if undefined else "")
            )  # fmt: skip
        undefined = math.isnan(found.corrected[k])
        cells.append(
            Cell(row, f"{name}|corrected", float(found.corrected[k]), "statistic", lower=float(found.lower[k]),
                 upper=float(found.upper[k]), level=found.level, **counts,
                 status="not_estimable" if undefined else "shown", reason=found.reasons[k] if undefined else "")
        )  # fmt: skip
    return cells


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
