"""Cost in cells: against the counterfactual, over time, by part, by use and price, and the prices themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.analysis.cost_study import CostStudy
from evalkit.analysis.cost_variants import PART_LABELS, Variant
from evalkit.analysis.study import Study
from evalkit.cohort.price_list import build_price_list
from evalkit.cohort.residence import COMPARATORS
from evalkit.core.dates import period_label
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell
from evalkit.estimators.costs.cells import MeanEffect

UNIT = "GBP per person-quarter"
SHARE = "share of the counterfactual"


def relative_cells(found: CostStudy, effect: MeanEffect, level: float) -> list[Cell]:
    """What was spent, what would have been, and the one as a share of the other."""
    key, people = found.outcome.key, int(found.treated.sum())
    value, low, high = effect.relative(level)
    shared = {"n_people": people, "unit": UNIT}
    return [
        Cell(key, "actual", effect.actual, "mean", label="Spent", **shared),
        Cell(key, "counterfactual", effect.counterfactual, "mean", label="Would have been spent", **shared),
        Cell(key, "relative_change", value, "statistic", unit=SHARE, lower=low, upper=high, level=level,
             n_people=people, label="Change against the counterfactual"),
    ]  # fmt: skip


def variant_cells(found: CostStudy, variants: Sequence[Variant], level: float) -> list[Cell]:
    """Actual, counterfactual, their difference and its share, each with its interval, a row a variant."""
    people, cells = int(found.treated.sum()), []
    for variant in variants:
        shared = {"n_people": people, "level": level, "label": variant.label}
        effect = variant.effect
        if effect is None:
            cells.append(Cell(variant.key, "difference", np.nan, "mean", unit=UNIT, status="not_estimable",
                              reason=variant.reason, n_people=people, label=variant.label))  # fmt: skip
            continue
        if not variant.split:
            for place, column in enumerate(("actual", "counterfactual")):
                low, high = effect.interval_of(place, level)
                value = (effect.actual, effect.counterfactual)[place]
                cells.append(Cell(variant.key, column, value, "mean", unit=UNIT, lower=low, upper=high, **shared))
        low, high = effect.interval(level)
        cells.append(Cell(variant.key, "difference", effect.difference, "mean", unit=UNIT, lower=low, upper=high,
                          **shared))  # fmt: skip
        if not variant.split:
            try:
                value, low, high = effect.relative(level)
                cells.append(Cell(variant.key, "relative_change", value, "statistic", unit=SHARE, lower=low,
                                  upper=high, **shared))  # fmt: skip
            except NotEstimable as refusal:
                cells.append(Cell(variant.key, "relative_change", np.nan, "statistic", unit=SHARE, n_people=people,
                                  status="not_estimable", reason=refusal.reason, label=variant.label))  # fmt: skip
    return cells


def trend_cells(study: Study, found: CostStudy, effect: MeanEffect) -> list[Cell]:
    """Mean cost by group and period; the counterfactual follows the comparison's path in proportion."""
    treated, total, name = found.treated, found.costs.total, study.protocol.areas.treated_label
    means = {name: total[treated].mean(axis=0), COMPARATORS: total[~treated].mean(axis=0)}
    sizes = {name: int(treated.sum()), COMPARATORS: int((~treated).sum())}
    path = means[COMPARATORS] / means[COMPARATORS][found.after].mean() * effect.counterfactual
    cells = []
    for place, start in enumerate(found.costs.starts):
        label = period_label(start, study.protocol.dates.period)
        for group, mean in means.items():
            cells.append(Cell(label, group, float(mean[place]), "mean", unit=UNIT, n_people=sizes[group], label=label))
        if found.after[place]:
            cells.append(Cell(label, f"{name} counterfactual", float(path[place]), "mean", unit=UNIT,
                              n_people=sizes[name], label=label))  # fmt: skip
    return cells


def part_cells(study: Study, found: CostStudy) -> list[Cell]:
    """Mean cost of each part by group, before and after."""
    return [
        Cell(part, f"{name}|{period}", float(cost[rows][:, columns].mean()), "mean", unit=UNIT,
             n_people=int(rows.sum()), label=PART_LABELS[part])
        for part, cost in found.costs.parts.items()
        for name, rows in _groups(study, found).items()
        for period, columns in (("before", found.before), ("after", found.after))
    ]  # fmt: skip


def change_cells(study: Study, found: CostStudy) -> list[Cell]:
    """How each part changed from before to after, and how much of it was use and how much price.

    As in `cost_variants`: with cost at unit prices S and r = paid / S, use is (S1 - S0)(r1 + r0) / 2 and price
    (r1 - r0)(S1 + S0) / 2. Where one price holds throughout, all change is use.
    """
    cells = []
    for name, rows in _groups(study, found).items():
        totals = np.zeros(4)
        for part, cost in found.costs.parts.items():
            standard = found.costs.standard_placements if part == "placements" else cost
            paid = [float(cost[rows][:, when].mean()) for when in (found.before, found.after)]
            unit = [float(standard[rows][:, when].mean()) for when in (found.before, found.after)]
            price = 0.0
            if min(unit) > 0:
                price = (paid[1] / unit[1] - paid[0] / unit[0]) * (unit[1] + unit[0]) / 2
            values = np.array([*paid, paid[1] - paid[0] - price, price])
            cells += _change_row(part, PART_LABELS[part], name, values, int(rows.sum()))
            totals += values
        cells += _change_row("total", "All together", name, totals, int(rows.sum()))
    return cells


def _change_row(row: str, label: str, group: str, values: np.ndarray, people: int) -> list[Cell]:
    return [
        Cell(row, f"{group}|{column}", float(value), "mean", unit=UNIT, n_people=people, label=label)
        for column, value in zip(("before", "after", "volume", "price"), values, strict=True)
    ]


def price_cells(study: Study) -> list[Cell]:
    """Every unit price in money of the price year, with its source and whether it was seen there."""
    rows = build_price_list(study.tables, study.protocol).rows.sort_values("resource")
    return [
        Cell(str(r.resource), "price", float(r.real_gbp), "statistic", unit=f"GBP per {r.unit}",
             label=f"{r.source}; price of {r.price_year}; {'verified' if bool(r.verified) else 'not verified'}")
        for r in rows.itertuples(index=False)
    ]  # fmt: skip


def _groups(study: Study, found: CostStudy) -> dict[str, np.ndarray]:
    return {study.protocol.areas.treated_label: found.treated, COMPARATORS: ~found.treated}
