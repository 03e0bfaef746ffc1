"""Periods joined until the treated areas' counts can be shown, and the cells that show them."""

from __future__ import annotations

import numpy as np

from evalkit.analysis.study import Study
from evalkit.cohort.panel import Panel
from evalkit.core.dates import period_label
from evalkit.core.outcomes import RateOutcome
from evalkit.core.result import Cell

PER_PERSON_YEARS = 100
MIN_SHOWN = 10  # periods are joined until the treated areas' counts reach this


def count_unit(outcome: RateOutcome) -> str:
    """What is counted, in words."""
    return "days" if outcome.event == "ward_days" else outcome.count_unit


def rate_cells(outcome: RateOutcome, label: str, name: str, *, count: float, person_years: float) -> list[Cell]:
    """A count and its rate per 100 person-years, linked so that the gate can judge both."""
    unit = count_unit(outcome)
    return [
        Cell(label, f"{name} count", round(count), "count", unit=unit, label=label),
        Cell(
            label,
            name,
            PER_PERSON_YEARS * count / person_years,
            "rate",
            unit=f"{unit} per {PER_PERSON_YEARS} person-years",
            numerator=f"{label}/{name} count",
            label=label,
        ),
    ]


def shown_blocks(study: Study, panel: Panel) -> list[tuple[str, np.ndarray]]:
    """Label and places of the finest whole blocks of periods whose treated counts can be shown."""
    width = _shown_width(panel, study.protocol.dates.period)
    months = {"quarter": 3, "year": 12}[study.protocol.dates.period]
    name = "year" if width * months == 12 else "quarter"
    usable = len(panel.periods) // width * width
    return [
        (period_label(panel.periods[begin].astype("datetime64[D]"), name), np.arange(begin, begin + width))
        for begin in range(0, usable, width)
    ]


def _shown_width(panel: Panel, period: str) -> int:
    """Periods to join: 1, 2 or 4 quarters, the first at which every treated count can be shown."""
    if period == "year":
        return 1
    counts = panel.outcome[panel.treated].sum(axis=0)
    for width in (1, 2, 4):
        usable = len(counts) // width * width
        if usable == 0:
            return 1
        if counts[:usable].reshape(-1, width).sum(axis=1).min() >= MIN_SHOWN:
            return width
    return 4
