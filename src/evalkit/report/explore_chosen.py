"""Answers of the interactive page about outcomes that people chose: before and after, here and elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from evalkit.core.chosen import CHOSEN_BY_LABELS, ChosenOutcome
from evalkit.report import facts
from evalkit.report.explore_data import (
    Answer,
    Array,
    Choice,
    Names,
    Pair,
    Row,
    Span,
    answer_without,
    cells_of,
    harm_words,
    shown,
)
from evalkit.report.explore_effects import change_words
from evalkit.report.explore_seen import place_words
from evalkit.report.peer_chosen import ChosenFinding, read_chosen
from evalkit.report.phrases import number, starts_with_capital

if TYPE_CHECKING:
    import pandas as pd

    from evalkit.disclose.release import Release

_PERIODS = {"before": "in the year before", "after": "in the year after"}
_LIMITS = (
    "What people would have said of whom nothing is written down.",
    "If something else happened in one of the areas. Only a few are compared.",
    "Why it mattered to people, or how it felt.",
)


def answers_chosen(release: Release, item: ChosenOutcome, names: Names) -> list[tuple[Choice, Choice, Answer]]:
    """Both groups before and after, and how far their changes differ."""
    finding = read_chosen(release, item)
    when = Choice("before-after", "The year before the start and the year after it")
    who = Choice("side-by-side", names.side_by_side)
    row = facts.cell(release, "chosen_change", item.key, "difference")
    if not shown(row):
        answer = answer_without(row)
        if row is None or row["status"] != "suppressed":
            limits = ("If this changed. No answer is not the same as no change.",)
            answer = replace(answer, standing="cannot_tell", sentences=_why_none(finding), limits=limits)
        return [(who, when, answer)]
    return [(who, when, _answer(release, finding, names, str(row["id"])))]


def _why_none(finding: ChosenFinding) -> tuple[str, ...]:
    if finding.item.record == "none":
        return ("This is not recorded.", "Nothing in these records asks about it.")
    if not finding.reason:
        return ("We could not work this out.", "It is not among these results.")
    if "recorded of fewer" in finding.reason:
        return ("This is not recorded for enough people.", "It was written down for too few of them.")
    if "Fewer than" in finding.reason:
        return ("We could not work this out.", "Too few people had it, or had it not.")
    return ("This is not recorded.", "The records that it needs are not there.")


def _answer(release: Release, finding: ChosenFinding, names: Names, source: str) -> Answer:
    sentences, arrays, rows, asked = _groups(release, finding, names)
    ends = tuple(change_words(x / 100, 100) for x in (finding.lower, finding.value, finding.upper))
    sentences.append(
        f"Set beside the change elsewhere, the change in {names.treated} is {ends[1]}. These numbers are rounded."
    )
    spread = ""
    if finding.has_range:
        sentences.append(f"It could be from {ends[0]} to {ends[2]}.")
        spread = f"{number(finding.lower)} to {number(finding.upper)}"
    rows.append(Row("Difference between the two changes, out of 100 people", number(finding.value), spread, source,
                    finding.value))  # fmt: skip
    rows += _bound_rows(release, finding)
    found = finding.certainty != "too_uncertain" and _is_worse(finding)
    worst = harm_words(_worst(finding, names), standing="found" if found else "possible")
    return Answer(
        "", "", "effect", tuple(sentences),
        Pair(tuple(arrays), f"{finding.item.plain}", "did not") if len(arrays) in (2, 4) else None,
        Span(finding.lower, finding.value, finding.upper, 0.0, ends) if finding.has_range else None,
        certainty=finding.certainty, sure=_sure(finding, names), weak=_weak(release, finding), worst=worst,
        limits=(*_LIMITS, *asked), rows=tuple(rows), planned=_chosen_by(finding.item),
    )  # fmt: skip


def _chosen_by(item: ChosenOutcome) -> str:
    return f"Chosen by {CHOSEN_BY_LABELS[item.chosen_by]}"


def _groups(
    release: Release, finding: ChosenFinding, names: Names
) -> tuple[list[str], list[Array], list[Row], list[str]]:
    """Sentences, pictures and lines of the table for each group and year, and how much is written down."""
    cells = cells_of(release, "chosen")
    groups = dict.fromkeys(row.split("|", 1)[1] for row, _ in cells if row.startswith(f"{finding.item.key}|"))
    sentences, arrays, rows, asked = [], [], [], []
    for group in facts.treated_first(list(groups), names.treated):
        place, row = place_words(group), f"{finding.item.key}|{group}"
        told = {period: cells.get((row, period)) for period in _PERIODS}
        for period, words in _PERIODS.items():
            cell = told[period]
            title = f"{starts_with_capital(place)}, {words}"
            if not shown(cell):
                sentences.append(f"{title}: not released.")
                rows.append(Row(title, "not released"))
                continue
            count = round(float(cell["value"]))
            sentences.append(f"{title}: {count} out of 100 people.")
            arrays.append(Array(title, f"{count} out of 100", count, none=100 - count))
            rows.append(Row(title, f"{cell['value']:.1f} out of 100", "", str(cell["id"]), float(cell["value"])))
        known = [cells.get((row, f"recorded_{period}")) for period in _PERIODS]
        if all(shown(cell) for cell in known):
            first, last = (f"{float(cell['value']):.0f}" for cell in known)
            asked.append(
                f"What is not written down. In {place} it is known of {first}, then {last}, out of 100 people."
            )
    return sentences, arrays, rows, asked


def _sure(finding: ChosenFinding, names: Names) -> tuple[str, ...]:
    if finding.certainty == "too_uncertain":
        why = "The range of doubt includes no change." if finding.has_range else "There is no range of doubt."
        return (f"We cannot tell if {names.service} changed this.", why)
    lead = f"The figures suggest that {names.service} {'raised' if finding.value > 0 else 'lowered'} this."
    if finding.item.better == "neither":
        return (lead, "That is not good or bad by itself.")
    return (lead, f"That is a change for the {'worse' if _is_worse(finding) else 'better'}.")


def _is_worse(finding: ChosenFinding) -> bool:
    return finding.item.better != "neither" and (finding.value > 0) != (finding.item.better == "higher")


def _weak(release: Release, finding: ChosenFinding) -> tuple[str, ...]:
    """What those without a record could do to the answer."""
    bounds = _bounds(release, finding)
    if not bounds:
        return ("We do not know what the people who are missing would have said.",)
    first, last = (change_words((row[end] if math.isfinite(row[end]) else row["value"]) / 100, 100)
                   for row, end in zip(bounds, ("lower", "upper"), strict=True))  # fmt: skip
    first = first.removesuffix(" out of 100")
    return (f"With any answers of those who are missing, it could be {first} to {last}.",)


def _bounds(release: Release, finding: ChosenFinding) -> list[pd.Series]:
    """The least and the most that the difference could be with those who are missing; none where one is not shown."""
    rows = [facts.cell(release, "chosen_bounds", finding.item.key, side) for side in ("least", "most")]
    return rows if all(shown(row) for row in rows) else []


def _bound_rows(release: Release, finding: ChosenFinding) -> list[Row]:
    return [
        Row(f"The {row['column']} that it could be with those who are missing", number(row["value"]),
            f"{number(row['lower'])} to {number(row['upper'])}" if math.isfinite(row["lower"] + row["upper"]) else "",
            str(row["id"]), float(row["value"]))
        for row in _bounds(release, finding)
    ]  # fmt: skip


def _worst(finding: ChosenFinding, names: Names) -> str:
    end = {"higher": finding.lower, "lower": finding.upper}.get(finding.item.better, math.nan)
    harm = end < 0 if finding.item.better == "higher" else end > 0
    return f"With {names.service} it could have been {change_words(end / 100, 100)}." if harm else ""
