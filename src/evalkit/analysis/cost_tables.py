"""Cost in cells: against the counterfactual, over time, by part, by use and price, and the prices themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.analysis.cost_few import WHY_FEW, find_withheld, groups_of, hides_own_prices, is_thin
from evalkit.analysis.cost_study import CostStudy
from evalkit.analysis.cost_variants import PART_LABELS, Variant, compute_price_change
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
    shared = {"n_people": people, "unit": UNIT}
    return [
        Cell(key, "actual", effect.actual, "mean", label="Spent", **shared),
        Cell(key, "counterfactual", effect.counterfactual, "mean", label="Would have been spent", **shared),
        _relative_cell(key, effect, level, people, "Change against the counterfactual"),
    ]


def _relative_cell(row: str, effect: MeanEffect, level: float, people: int, label: str) -> Cell:
    """The difference as a share of the counterfactual, or why it has none."""
    shared = {"unit": SHARE, "n_people": people, "label": label}
    try:
        value, low, high = effect.relative(level)
    except NotEstimable as refusal:
        return Cell(row, "relative_change", np.nan, "statistic", status="not_estimable", reason=refusal.reason,
                    **shared)  # fmt: skip
    return Cell(row, "relative_change", value, "statistic", lower=low, upper=high, level=level, **shared)


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
            cells.append(_relative_cell(variant.key, effect, level, people, variant.label))
    return cells


def trend_cells(study: Study, found: CostStudy, effect: MeanEffect) -> list[Cell]:
    """Mean cost by group and period; the counterfactual follows the comparison's path in proportion.

    A group's periods before, or after, adoption are withheld where in one of them few people cost anything.
    """
    treated, total, name = found.treated, found.costs.total, study.protocol.areas.treated_label
    means = {name: total[treated].mean(axis=0), COMPARATORS: total[~treated].mean(axis=0)}
    sizes = {name: int(treated.sum()), COMPARATORS: int((~treated).sum())}
    path = means[COMPARATORS] / means[COMPARATORS][found.after].mean() * effect.counterfactual
    hidden = {group: _thin_periods(found, rows) for group, rows in groups_of(found, name).items()}
    cells = []
    for place, start in enumerate(found.costs.starts):
        label = period_label(start, study.protocol.dates.period)
        for group, mean in means.items():
            why = WHY_FEW if hidden[group][place] else ""
            cells.append(_mean_cell(label, group, float(mean[place]), sizes[group], label, why))
        if found.after[place]:
            why = WHY_FEW if hidden[COMPARATORS][place] else ""
            cells.append(_mean_cell(label, f"{name} counterfactual", float(path[place]), sizes[name], label, why))
    return cells


def _thin_periods(found: CostStudy, rows: np.ndarray) -> np.ndarray:
    """Which periods are withheld: all of the same side of adoption as one in which few people cost anything."""
    total = found.costs.total[rows]
    thin = np.array([is_thin(total[:, place]) for place in range(total.shape[1])])
    later = found.after
    return np.where(later, thin[later].any(), thin[~later].any())


def _mean_cell(row: str, column: str, value: float, people: int, label: str, why: str) -> Cell:
    """A mean in pounds per person-quarter, or why it is withheld."""
    shared = {"unit": UNIT, "n_people": people, "label": label}
    if why:
        return Cell(row, column, np.nan, "mean", status="refused", reason=why, **shared)
    return Cell(row, column, value, "mean", **shared)


def part_cells(study: Study, found: CostStudy) -> list[Cell]:
    """Mean cost of each part by group, before and after."""
    groups = groups_of(found, study.protocol.areas.treated_label)
    withheld = {name: find_withheld(found, rows) for name, rows in groups.items()}
    return [
        _mean_cell(part, f"{name}|{period}", float(cost[rows][:, columns].mean()), int(rows.sum()), PART_LABELS[part],
                   withheld[name].get(part, ""))
        for part, cost in found.costs.parts.items()
        for name, rows in groups.items()
        for period, columns in (("before", found.before), ("after", found.after))
    ]  # fmt: skip


def change_cells(study: Study, found: CostStudy) -> list[Cell]:
    """How each part changed from before to after, and how much of it was use and how much price.

    As in `cost_variants`: with cost at unit prices S and r = paid / S, use is (S1 - S0)(r1 + r0) / 2 and price
    (r1 - r0)(S1 + S0) / 2. Where one price holds throughout, all change is use.
    """
    cells = []
    for name, rows in groups_of(found, study.protocol.areas.treated_label).items():
        totals, withheld = np.zeros(4), find_withheld(found, rows)
        alone = WHY_FEW if hides_own_prices(found, rows) else ""
        for part, cost in found.costs.parts.items():
            standard = found.costs.standard_placements if part == "placements" else cost
            paid = [float(cost[rows][:, when].mean()) for when in (found.before, found.after)]
            unit = [float(standard[rows][:, when].mean()) for when in (found.before, found.after)]
            later_first = np.array([paid, unit])[:, ::-1]
            price = float(compute_price_change(*later_first)) if min(unit) > 0 else 0.0
            values = np.array([*paid, paid[1] - paid[0] - price, price])
            why, split = withheld.get(part, ""), alone if part == "placements" else ""
            cells += _change_row(part, PART_LABELS[part], name, values, int(rows.sum()), why=why, split=split)
            totals += values
        cells += _change_row("total", "All together", name, totals, int(rows.sum()), why="", split=alone)
    return cells


def _change_row(
    row: str, label: str, group: str, values: np.ndarray, people: int, *, why: str, split: str
) -> list[Cell]:
    """Four cells; `why` all are withheld, or `split` those that tell use and price apart."""
    return [
        _mean_cell(row, f"{group}|{column}", float(value), people, label,
                   why or (split if column in ("volume", "price") else ""))
        for column, value in zip(("before", "after", "volume", "price"), values, strict=True)
    ]  # fmt: skip


def price_cells(study: Study) -> list[Cell]:
    """Every unit price in money of the price year, with its source and whether it was seen there."""
    rows = build_price_list(study.tables, study.protocol).rows.sort_values("resource")
    return [
        Cell(str(r.resource), "price", float(r.real_gbp), "statistic", unit=f"GBP per {r.unit}",
             label=f"{r.source}; price of {r.price_year}; {'verified' if bool(r.verified) else 'not verified'}")
        for r in rows.itertuples(index=False)
    ]  # fmt: skip
