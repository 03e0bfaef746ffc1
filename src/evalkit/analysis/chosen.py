"""Outcomes that people chose: who had them before and after go-live, here and elsewhere, and what is not recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from evalkit.analysis.study import Study
from evalkit.cohort.chosen import ChosenRecords, build_chosen
from evalkit.cohort.residence import COMPARATORS
from evalkit.core.chosen import ChosenOutcome, chosen_windows
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Cell, Check, Results
from evalkit.estimators.people.overlap import AREA_SHOCKS
from evalkit.estimators.people.recorded_change import RecordedChange, compute_recorded_change

SHARES, COUNTS, CHANGE, BOUNDS = "chosen", "chosen_counts", "chosen_change", "chosen_bounds"
PERIODS = ("before", "after")
MIN_PEOPLE = 10  # who had it, and who had it not, in each group and period
ALIKE = 0.1  # how far recording may have changed more on one side than on the other
WHY_SEVERAL = (
    "Of outcomes that did not change, one in twenty is expected to look as if it had, so they are read together."
)
POINTS = "percentage points"
WHY_FEW = f"Fewer than {MIN_PEOPLE} people had it, or had it not, in one of the groups and years."


def estimate_chosen(study: Study) -> list[Results]:
    """What the protocol's `[[chosen]]` asks for; nothing where it names none.

    Tables: `chosen` (row `key|group`; `before`, `after`, `recorded_before`, `recorded_after`, per cent of people),
    `chosen_counts` (the counts behind them), `chosen_change` (row `key`; `change_service`, `change_comparators`,
    `difference`, percentage points, or one row with the reason), `chosen_bounds` (row `key`; the difference
    `if_all_did` and `if_none_did` of those not recorded, and the `least` and `most` that it could be), and
    `checks.chosen_change`.
    """
    if not study.protocol.chosen:
        return []
    before, after = study.protocol.chosen_windows
    earlier, _ = chosen_windows(adoption=before.start, anticipation_days=0)
    # The year before the year before, in which the service can have done nothing.
    windows = (earlier, before, after) if earlier.start >= study.protocol.dates.study_start else (before, after)
    try:
        records = build_chosen(study.tables, study.protocol, windows=windows)
    except NotEstimable as refusal:
        return [_table(CHANGE, [_no_result(item, refusal.reason) for item in study.protocol.chosen])]
    parts = [_one(study, item, records, windows) for item in study.protocol.chosen]
    return [
        _table(name, [cell for part in parts for cell in part.get(name, [])])
        for name in (SHARES, COUNTS, CHANGE, BOUNDS, f"checks.{CHANGE}")
    ]


def _one(
    study: Study, item: ChosenOutcome, records: ChosenRecords, windows: tuple[Window, ...]
) -> dict[str, list[Cell]]:
    """The cells of one outcome, by table."""
    if item.key in records.why_not:
        return {CHANGE: [_no_result(item, records.why_not[item.key])]}
    had, asked = records.had[item.key][:, -2:], records.asked[:, -2:]
    why = _why_not_recorded(study, item, had, asked, records.treated)
    counts = _numbers(had, asked, records.treated)
    if why:
        return {SHARES: _recorded_cells(study, item, counts), CHANGE: [_no_result(item, why)]}
    found = compute_recorded_change(had, asked, records.treated)
    shares = _recorded_cells(study, item, counts) + _share_cells(study, item)
    tables = {SHARES: _filled(study, item, shares, found), COUNTS: _count_cells(study, item, found)}
    if min(found.had.min(), (found.answered - found.had).min()) < MIN_PEOPLE:
        return tables | {CHANGE: [_no_result(item, WHY_FEW)]}
    checks = [
        Check("area_shocks", False, math.nan, AREA_SHOCKS), _recording(found), *_missing(study, found),
        _earlier_change(study, item, records, windows), Check("one_of_several", None, math.nan, WHY_SEVERAL),
    ]  # fmt: skip
    return tables | {
        CHANGE: _change_cells(study, item, found),
        BOUNDS: _bound_cells(study, item, found),
        f"checks.{CHANGE}": [_check_cell(item, check) for check in checks],
    }


def _groups(study: Study) -> tuple[str, str]:
    return study.protocol.areas.treated_label, COMPARATORS


def _numbers(had: np.ndarray, asked: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """People who could have been asked and who are recorded, by group (treated first) and period; shape (2, 2, 2)."""
    known = asked & np.isfinite(had)
    return np.array([[m[g].sum(axis=0) for g in (treated, ~treated)] for m in (asked, known)], dtype=np.float64)


def _why_not_recorded(
    study: Study, item: ChosenOutcome, had: np.ndarray, asked: np.ndarray, treated: np.ndarray
) -> str:
    people, known = _numbers(had, asked, treated)
    # A share of so few people as the gate withholds would be a result for nobody.
    short = (known < item.least_recorded * people) | (known < MIN_PEOPLE)
    if not short.any():
        return ""
    where = [
        f"{group} {'before' if p == 0 else 'after'} go-live"
        for g, group in enumerate(_groups(study)) for p in (0, 1) if short[g, p]
    ]  # fmt: skip
    return f"It is recorded of fewer than {item.least_recorded:.0%} of people, or of too few: {', '.join(where)}."


# ---- cells ---------------------------------------------------------------------------------------


def _recorded_cells(study: Study, item: ChosenOutcome, counts: np.ndarray) -> list[Cell]:
    people, known = counts
    return [
        Cell(f"{item.key}|{group}", f"recorded_{period}", 100 * known[g, p] / people[g, p] if people[g, p] else
             math.nan, "percent", unit="%", n_people=people[g, p], n_events=known[g, p], label=item.label)
        for g, group in enumerate(_groups(study)) for p, period in enumerate(PERIODS)
    ]  # fmt: skip


def _share_cells(study: Study, item: ChosenOutcome) -> list[Cell]:
    rows = [f"{item.key}|{group}" for group in _groups(study)]
    return [
        Cell(row, period, math.nan, "percent", unit="%", label=item.label, numerator=f"{row}/had_{period}",
             denominator=f"{row}/answered_{period}")
        for row in rows for period in PERIODS
    ]  # fmt: skip


def _filled(study: Study, item: ChosenOutcome, cells: list[Cell], found: RecordedChange) -> list[Cell]:
    shares = {
        (f"{item.key}|{group}", period): 100 * float(found.shares[g, p])
        for g, group in enumerate(_groups(study)) for p, period in enumerate(PERIODS)
    }  # fmt: skip
    order = {"before": 0, "after": 1, "recorded_before": 2, "recorded_after": 3}
    filled = [replace(c, value=shares.get((c.row, c.column), c.value)) for c in cells]
    return sorted(filled, key=lambda c: (c.row != filled[0].row, order[c.column]))


def _count_cells(study: Study, item: ChosenOutcome, found: RecordedChange) -> list[Cell]:
    cells = []
    for g, group in enumerate(_groups(study)):
        row = f"{item.key}|{group}"
        for p, period in enumerate(PERIODS):
            whole = f"answered_{period}"
            cells += [
                Cell(row, whole, float(found.answered[g, p]), "count", label=f"{item.label}: recorded"),
                Cell(row, f"had_{period}", float(found.had[g, p]), "count", label=item.label,
                     totals=(f"{row}/{whole}",)),
            ]  # fmt: skip
    return cells


def _change_cells(study: Study, item: ChosenOutcome, found: RecordedChange) -> list[Cell]:
    """Changes, each linked to the shares that it comes from, so that it is withheld with them."""
    cells = []
    people = dict(zip(_groups(study), found.people.min(axis=1), strict=True))
    for g, (group, column) in enumerate(zip(_groups(study), ("change_service", "change_comparators"), strict=True)):
        row = f"{SHARES}/{item.key}|{group}"
        cells.append(Cell(item.key, column, 100 * float(found.observed.changes[g]), "statistic", unit=POINTS,
                          n_people=people[group], numerator=f"{row}/after", denominator=f"{row}/before",
                          label=item.label))  # fmt: skip
    low, high = found.observed.interval(study.level)
    row = f"{CHANGE}/{item.key}"
    cells.append(Cell(item.key, "difference", 100 * found.observed.value, "statistic", unit=POINTS, lower=100 * low,
                      upper=100 * high, level=study.level, n_people=people[_groups(study)[0]], label=item.label,
                      numerator=f"{row}/change_service", denominator=f"{row}/change_comparators"))  # fmt: skip
    return cells


def _bound_cells(study: Study, item: ChosenOutcome, found: RecordedChange) -> list[Cell]:
    cells = []
    for name, filled in found.scenarios.items():
        low, high = filled.interval(study.level)
        cells.append(Cell(item.key, name, 100 * filled.value, "statistic", unit=POINTS, lower=100 * low,
                          upper=100 * high, level=study.level, n_people=float(found.people[0].min()),
                          numerator=f"{CHANGE}/{item.key}/difference", label=item.label))  # fmt: skip
    return cells


def _no_result(item: ChosenOutcome, reason: str) -> Cell:
    return Cell(item.key, "difference", math.nan, "statistic", unit=POINTS, label=item.label, status="not_estimable",
                reason=reason)  # fmt: skip


def _check_cell(item: ChosenOutcome, check: Check) -> Cell:
    unit = {True: "passed", False: "failed", None: "informs"}[check.passed]
    return Cell(item.key, check.name, check.value, "check", unit=unit, reason=check.text,
                numerator=f"{CHANGE}/{item.key}/difference", label=check.name.replace("_", " "))  # fmt: skip


def _table(name: str, cells: Iterable[Cell]) -> Results:
    """A table whose percentages and changes name cells of other tables, which `from_cells` would not allow."""
    cells = list(cells)
    frame = Results.from_cells(name, [replace(c, numerator="", denominator="") for c in cells]).frame
    for column in ("numerator", "denominator"):
        linked = [str(getattr(c, column)) for c in cells]
        frame[column] = [f"{COUNTS}/{link}" if name == SHARES and link else link for link in linked]
    return Results(pd.DataFrame(frame))


# ---- checks --------------------------------------------------------------------------------------


def _recording(found: RecordedChange) -> Check:
    changed = found.recorded[:, 1] - found.recorded[:, 0]
    apart = abs(changed[0] - changed[1]) <= ALIKE
    verb = "did not change" if apart else "changed"
    return Check(
        "recording_alike", bool(apart), math.nan,
        f"The share of people with a record {verb} by more than {100 * ALIKE:.0f} percentage points more on one side "
        "than on the other.",
    )  # fmt: skip


def _side(low: float, high: float) -> int:
    return int(low > 0) - int(high < 0)


def _missing(study: Study, found: RecordedChange) -> list[Check]:
    """Whether what the interval says outlasts any answers that the missing could have given."""
    side = _side(*found.observed.interval(study.level))
    same = all(_side(*found.scenarios[name].interval(study.level)) == side for name in ("if_all_did", "if_none_did"))
    ends = {_side(*found.scenarios[name].interval(study.level)) for name in ("least", "most")}
    worst = ends == {side} if side else None
    words = {
        True: "Whatever those without a record would have said, the difference would lie on this side of nought.",
        False: "Those without a record could have answered so that the difference is nought or has either sign.",
        None: "The interval holds nought, whatever those without a record would have said.",
    }
    would = "the same would be said." if same else "something else would be said."
    return [
        Check("missing_alike", same, math.nan, f"If all of those without a record had it, or none of them, {would}"),
        Check("missing_worst", worst, math.nan, words[worst]),
    ]


def _earlier_change(study: Study, item: ChosenOutcome, records: ChosenRecords, windows: tuple[Window, ...]) -> Check:
    """The same difference between the two years before go-live, where there can be no effect."""
    name = "change_before"
    if len(windows) < 3:
        return Check(name, None, math.nan, "The study holds no earlier year in which to look for a difference.")
    had, asked = records.had[item.key][:, :2], records.asked[:, :2]
    if _why_not_recorded(study, item, had, asked, records.treated):
        return Check(name, None, math.nan, "In the year before the year before go-live it is recorded of too few.")
    found = compute_recorded_change(had, asked, records.treated).observed
    fine = _side(*found.interval(study.level)) == 0
    text = "The two sides " + ("did not differ" if fine else "differed already") + " in their change between the two "
    return Check(name, fine, math.nan, text + "years before go-live by more than chance among people would have it.")
