"""Budgets in cells: claimed and estimated savings, who bore them, years to come and other places."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from evalkit.analysis.budgets import ask_what_if, compare_study_budgets, project_impact, split_study_payers
from evalkit.analysis.costs import CostFindings
from evalkit.analysis.study import Study
from evalkit.analysis.value_tables import check_cells, refused_cell
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell
from evalkit.economics.budget import BudgetRow
from evalkit.economics.effects import Ranged
from evalkit.economics.impact import BudgetImpact
from evalkit.economics.payers import PayerSplit
from evalkit.economics.what_if import WhatIfResult

GBP = "GBP"
T = TypeVar("T")


def budget_tables(study: Study, findings: CostFindings) -> dict[str, list[Cell]]:
    """Tables `budget`, `budget_payer`, `budget_impact`, `what_if` and their checks; refusals in their place."""
    people, level = int(findings.found.treated.sum()), study.level
    tables: dict[str, list[Cell]] = {"budget": [], "checks.budget": [], "budget_payer": []}
    try:
        budgets = compare_study_budgets(study, findings)
        for terms in (budgets.nominal, budgets.real):
            for row in (*terms.years, terms.overall):
                tables["budget"] += _budget_row(row, terms.terms, people, level)
        tables["budget"] += _later_rows(study, findings, people)
        tables["checks.budget"] += check_cells("budget", budgets.checks)
        tables["budget_payer"], found = _attempt(lambda: split_study_payers(study, findings, budgets),
                                                 lambda split: _payer_rows(split, people), "saving")  # fmt: skip
        tables["checks.budget"] += check_cells("payers", found.checks if found else ())
    except NotEstimable as refusal:
        tables["budget"] = [refused_cell("all", "estimated_saving", refusal.reason, label="All years")]
    cells, impact = _attempt(lambda: project_impact(study, findings), lambda i: _impact_rows(i, people), "net")
    tables["budget_impact"] = cells
    tables["checks.budget"] += check_cells("impact", impact.checks if impact else ())
    cells, places = _attempt(lambda: ask_what_if(study, findings), lambda w: _what_if_rows(study, w, people), "saving")
    tables["what_if"] = cells
    for place in places or ():
        # The table has the end of the range; here it would stand with other digits.
        checks = [replace(c, value=math.nan) if c.name == "saves_throughout" else c for c in place.checks]
        tables["checks.budget"] += check_cells(f"what_if.{place.key}", checks)
    return {name: cells for name, cells in tables.items() if cells}


def _later_rows(study: Study, findings: CostFindings, people: int) -> list[Cell]:
    """All years together from the one on that a claim on the budget is about, where that is not the first."""
    claims = [c for c in study.protocol.claims if c.outcome == findings.found.outcome.key and c.from_year > 1]
    cells = []
    for first in sorted({claim.from_year for claim in claims}):
        key, label = f"from_year_{first}", f"All years from year {first} on"
        try:
            later = compare_study_budgets(study, findings, from_year=first).nominal.overall
        except NotEstimable as refusal:
            cells.append(refused_cell(key, "estimated_saving", refusal.reason, n_people=people, label=label))
            continue
        cells += _budget_row(replace(later, key=key, label=label), "nominal", people, study.level)
    return cells


def _attempt(find: Callable[[], T], lay_out: Callable[[T], list[Cell]], column: str) -> tuple[list[Cell], T | None]:
    """The cells of what is found, and it; or the one cell that says why there is none."""
    try:
        found = find()
    except NotEstimable as refusal:
        return [refused_cell("all", column, refusal.reason)], None
    return lay_out(found), found


def _ranged(row: str, column: str, value: Ranged, unit: str, **shared: object) -> Cell:
    return Cell(row, column, float(value.value), "mean", unit=unit, lower=float(value.lower),
                upper=float(value.upper), **shared)  # fmt: skip


def _budget_row(row: BudgetRow, terms: str, people: int, level: float) -> list[Cell]:
    key = row.key if terms == "nominal" else f"{row.key}|real"
    label = row.label if terms == "nominal" else f"{row.label}, in real terms"
    shared = {"n_people": people, "label": label}
    if row.claimed_reason:
        cells = [refused_cell(key, "claimed_saving", row.claimed_reason, **shared)]
    else:
        cells = [
            Cell(key, "original", row.original_gbp, "statistic", unit=GBP, label=label),
            Cell(key, "actual", row.actual_gbp, "statistic", unit=GBP, label=label),
            Cell(key, "claimed_saving", row.claimed_saving_gbp, "statistic", unit=GBP, label=label),
            Cell(
                key, "claimed_share", row.claimed_share, "statistic", unit="share of the original budget", label=label
            ),
        ]
    if row.estimated_reason:
        return [*cells, refused_cell(key, "estimated_saving", row.estimated_reason, **shared)]
    if row.claimed_reason:
        gap = refused_cell(key, "gap", row.claimed_reason, **shared)
    else:
        gap = _ranged(key, "gap", row.gap_gbp, GBP, level=level, **shared)
    shared |= {"level": level}
    return [
        *cells,
        _ranged(key, "counterfactual", row.counterfactual_gbp, GBP, **shared),
        _ranged(key, "estimated_saving", row.estimated_saving_gbp, GBP, reason=row.text, **shared),
        _ranged(key, "estimated_share", row.estimated_share, "share of the counterfactual", **shared),
        gap,
    ]


def _payer_rows(split: PayerSplit, people: int) -> list[Cell]:
    labels = {"nhs": "The NHS", "local_authority": "The council"}
    cells = []
    for payer in split.payers:
        shared = {"n_people": people, "label": labels[payer.payer], "level": split.level}
        cells.append(_ranged(payer.payer, "saving", payer.saving_gbp, GBP, **shared))
        if payer.own_reason:
            cells.append(
                refused_cell(payer.payer, "share", payer.own_reason, n_people=people, label=labels[payer.payer])
            )
        else:
            cells.append(_ranged(payer.payer, "share", payer.own_share, "share of what it would have paid", **shared))
    shared = {"n_people": people, "label": "What the two do not add up to", "level": split.level}
    return [*cells, _ranged("remainder", "saving", split.remainder_gbp, GBP, **shared)]


def _impact_rows(impact: BudgetImpact, people: int) -> list[Cell]:
    cells = []
    for path in impact.paths:
        for place, number in enumerate(path.year_number):
            row, shared = f"{path.persistence}|{int(number)}", {"n_people": people, "label": f"Year {int(number)}"}
            plain = (("set_up", path.set_up_gbp), ("running", path.running_gbp))
            cells += [Cell(row, name, float(v[place]), "mean", unit=GBP, **shared) for name, v in plain]
            for name, value in (
                ("other_services", path.other_services_gbp), ("net", path.net_gbp),
                ("net_discounted", path.net_discounted_gbp), ("cumulative", path.cumulative_gbp),
            ):  # fmt: skip
                at = Ranged(value.value[place], value.lower[place], value.upper[place])
                cells.append(_ranged(row, name, at, GBP, level=impact.level, **shared))
            share = float(path.share_broken_even[place])
            cells.append(Cell(row, "share_broken_even", share, "statistic", unit="share of draws", **shared))
        even, label = f"{path.persistence}|break_even", "Year by which it has paid for itself"
        if path.break_even_year is None:
            cells.append(refused_cell(even, "year", path.reason, n_people=people, label=label))
        else:
            cells.append(
                Cell(even, "year", path.break_even_year, "statistic", unit="year", n_people=people, label=label)
            )
    return cells


def _what_if_rows(study: Study, places: Sequence[WhatIfResult], people: int) -> list[Cell]:
    labels = {place.key: place.label for place in study.protocol.economics.what_if}
    cells = []
    for found in places:
        key, shared = found.key, {"n_people": people, "label": labels[found.key]}
        ranged = {"level": found.level, **shared}
        cells += [
            Cell(key, "served", found.people, "statistic", unit="people", **shared),
            _ranged(key, "saving", found.saving_gbp_per_year, f"{GBP} per year", **ranged),
            Cell(key, "programme", found.programme_gbp_per_year, "mean", unit=f"{GBP} per year", **shared),
            _ranged(key, "net_saving", found.net_saving_gbp_per_year, f"{GBP} per year", **ranged),
            Cell(key, "set_up", found.set_up_gbp, "statistic", unit=GBP, **shared),
            _ranged(key, "net_year_one", found.net_year_one_gbp, GBP, **ranged),
            Cell(key, "probability_saves", found.probability_saves, "statistic", unit="share of draws", **shared),
        ]
        if math.isfinite(found.people_to_repay.value):
            cells.append(Cell(key, "to_repay", found.people_to_repay.value, "statistic", unit="people",
                              reason=found.people_reason, **shared))  # fmt: skip
        else:
            cells.append(refused_cell(key, "to_repay", found.people_reason, **shared))
        if math.isfinite(found.break_even_relative_change):
            unit = "share of other costs"
            cells.append(Cell(key, "break_even", found.break_even_relative_change, "statistic", unit=unit, **shared))
        else:
            cells.append(refused_cell(key, "break_even", found.break_even_reason, **shared))
    return cells
