"""Answers of the interactive page about people over time: places, returns, kinds of people, what people chose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.outcomes import RateOutcome
from evalkit.core.pathway import DEAD, NOT_RECORDED
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
    key_of,
    people_behind,
    range_array,
    shown,
)  # fmt: skip
from evalkit.report.explore_effects import answer_finding, change_words
from evalkit.report.explore_seen import answer_percents
from evalkit.report.figures_pathway import day_words
from evalkit.report.peer_whom import WHO_PAIRS
from evalkit.report.people_effects import (
    AFTER,
    DAYS,
    DAYS_IN_HOSPITAL,
    RECURRENCE,
    SUBGROUPS,
    find_effect,
    read_people_effects,
)  # fmt: skip
from evalkit.report.people_effects import PeopleEffect as Effect
from evalkit.report.phrases import number, starts_with_capital
from evalkit.report.words import read_finding

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_YEAR_DAYS = 365
_FEW_AREAS = "If something else happened in one of the areas. Only a few are compared."
_VALENCES = {
    "better": "That is a change for the better.",
    "worse": "That is a change for the worse.",
    "neither": "That is not good or bad by itself.",
}
_NOT_WISHED = "If people were where they wanted to be."


# ---- places -------------------------------------------------------------------------------------


def place_topics(release: Release, effects: list[Effect]) -> list[tuple[str, str, bool]]:
    """Key, plain name and whether it is a harm, of every state of the pathway, as the protocol lists them."""
    spec = release.protocol.pathway
    if spec is None:
        return []
    asked = [e.key.removeprefix("pathway_") for e in effects]
    names = {s.key: (s.plain, not (s.ward_types or s.components) and s.better == "lower" and s.group == "elsewhere")
             for s in spec.states}  # fmt: skip
    names |= {NOT_RECORDED: ("at a place that nobody wrote down", False), DEAD: ("lost to death", True)}
    return [(key, *names[key]) for key in asked if key in names]


def answer_days(release: Release, effects: list[Effect], key: str, names: Names) -> Answer:
    """Days of the year that a person spent in a place, with the service and without it."""
    row = _effect_row(release, DAYS, f"pathway_{key}.days_per_person")
    effect = find_effect(effects, f"pathway_{key}", "days per person")
    if row is None or effect is None or not effect.has_number:
        return answer_without(row)
    means = [facts.cell(release, "pathway.means", key, side) for side in ("without", "with")]
    sentences, rows, pair = [], [], None
    if all(shown(cell) for cell in means):
        without, seen = (max(float(cell["value"]), 0.0) for cell in means)
        sentences = [
            f"Out of {_YEAR_DAYS} days, a person spent {_days(seen)} there with {names.service}, on average.",
            f"Without {names.service}, we think it would have been {_days(without)} out of {_YEAR_DAYS}.",
        ]
        ends = [min(max(seen - x, 0.0), _YEAR_DAYS) for x in (effect.upper, effect.lower)]
        pair = _day_pair(without, seen, ends if effect.has_range else [without, without], names)
        rows = [Row(f"{title}, days in the year for each person", f"{cell['value']:.1f}", "", str(cell["id"]),
                    float(cell["value"]))
                for title, cell in zip((f"Without {names.service} (worked out)", f"With {names.service} (seen)"), means,
                                       strict=True)]  # fmt: skip
    state = next((s for s in release.protocol.pathway.states if s.key == key), None)
    new = (f"If {names.service} changed where people lived. This place is a part of it.",) if (
        state is not None and state.components) else ()  # fmt: skip
    return _change_answer(effect, row, names, sentences, rows, pair, unit="days",
                          better="neither" if state is None else state.better,
                          limits=(*new, _FEW_AREAS, _NOT_WISHED))  # fmt: skip


def _days(days: float) -> str:
    return f"about {days:.0f} day{'' if round(days) == 1 else 's'}" if round(days) else "less than a day"


def _day_pair(without: float, seen: float, ends: list[float], names: Names) -> Pair:
    """Each dot is a day of the year."""
    low, high = (round(x) for x in ends)
    could = f", could be {low} to {high}" if low != high else ""
    return Pair(
        (range_array(f"Without {names.service} (our estimate)", f"{_days(without)}{could}", low=low,
                     value=round(without), high=high, whole=_YEAR_DAYS),
         Array(f"With {names.service} (seen)", _days(seen), round(seen), none=_YEAR_DAYS - round(seen))),
        "a day of the year there", "a day somewhere else",
    )  # fmt: skip


def place_times(release: Release) -> dict[str, str]:
    """Kinds of place that were looked at on single days: key and label; only those that hold a number."""
    rows = release.table("pathway.occupancy")
    rows = rows[rows["column"].str.endswith(" with")]
    names = {s.key: s.plain for s in release.protocol.pathway.states}
    keys = {str(c).removesuffix(" with"): str(label) for c, label in zip(rows["column"], rows["label"], strict=True)}
    return {key: names.get(key, f"{label[:1].lower()}{label[1:]}") for key, label in keys.items()}


def answers_place(release: Release, key: str, names: Names) -> list[tuple[Choice, Answer]]:
    """Out of 100 people how many were in a kind of place on each day, with the service and without it."""
    cells, found = cells_of(release, "pathway.occupancy"), []
    for day in dict.fromkeys(row for row, _ in cells):
        two = [cells.get((day, f"{key} {side}")) for side in ("without", "with")]
        told = [
            (cell, title, math.nan if cell is None else max(float(cell["value"]), 0.0))
            for cell, title in zip(
                two, (f"Without {names.service} (our estimate)", f"With {names.service} (seen)"), strict=True
            )
        ]
        answer = answer_percents(
            told, said="people", happened="were there", not_happened="were somewhere else",
            limits=(_FEW_AREAS, _NOT_WISHED),
        )  # fmt: skip
        if answer.rows:
            sure = (f"We cannot tell if {names.service} changed this.", "These numbers have no range of doubt.")
            answer = replace(answer, standing="effect", certainty="too_uncertain", sure=sure)
        found.append((Choice(key_of(day), day_words(int(day.removeprefix("day ")))), answer))
    return found


# ---- returns ------------------------------------------------------------------------------------


def answer_returns(release: Release, names: Names) -> Answer:
    """All returns to hospital in the time after leaving: with the ratio where it was worked out."""
    row = _effect_row(release, AFTER, f"{RECURRENCE}.rate_ratio")
    if row is None:
        return answer_without(None)
    outcome = RateOutcome(key=RECURRENCE, label="Returns", plain="going back again and again", definition="",
                          kind="rate", better="lower", event="reported", count_unit="returns")  # fmt: skip
    effect = next(e for e in read_people_effects(release, AFTER) if e.key == RECURRENCE and e.unit == row["unit"])
    weak = effect.weaknesses or ("Only a few areas are compared.",)
    finding = read_finding(row, outcome, weaknesses=weak, asked_level=release.protocol.study.level)
    return answer_finding(release, finding, row, names)


def answer_hospital_days(release: Release, names: Names) -> Answer:
    """All days in hospital in the time after leaving a ward."""
    row = _effect_row(release, AFTER, f"{DAYS_IN_HOSPITAL}.days_per_person")
    effect = find_effect(read_people_effects(release, AFTER), DAYS_IN_HOSPITAL, "days per person")
    if row is None or effect is None or not effect.has_number:
        return answer_without(row)
    return _change_answer(effect, row, names, [], [], None, unit="days in hospital for each person", better="lower",
                          limits=(_FEW_AREAS, "If the days in hospital were good or bad for people."))  # fmt: skip


def _effect_row(release: Release, table: str, row: str) -> pd.Series | None:
    rows = release.table(table)
    rows = rows[(rows["row"] == row) & (rows["kind"] == "estimate") & (rows["role"] != "naive")]
    return None if rows.empty else rows.iloc[0]


def _change_answer(effect: Effect, row: pd.Series, names: Names, sentences: list[str], rows: list[Row],
                   pair: Pair | None, *, unit: str, better: str, limits: tuple[str, ...]) -> Answer:  # fmt: skip
    """An answer about a difference: its range, how sure, why not surer, and the harm that is possible."""
    ends = tuple(_more(x) for x in (effect.lower, effect.value, effect.upper))
    counted = unit.replace("days", "day", 1) if abs(round(effect.value)) == 1 else unit
    said = [*sentences, f"The change is {ends[1]} {counted} with {names.service} than without it."]
    span = None
    if effect.has_range:
        said.append(f"It could be from {ends[0]} to {ends[2]}.")
        span = Span(effect.lower, effect.value, effect.upper, 0.0, ends)
    own = Row(f"Change with {names.service}: {unit}", number(effect.value, effect.unit),
              f"{number(effect.lower, effect.unit)} to {number(effect.upper, effect.unit)}" if effect.has_range
              else "no range of doubt", str(row["id"]), float(row["value"]))  # fmt: skip
    if effect.certainty == "too_uncertain":
        why = "The range of doubt includes no change." if effect.has_range else "There is no range of doubt."
        sure = (f"We cannot tell if {names.service} changed this.", why)
    else:
        sure = (f"The figures suggest that {names.service} {'lowered' if effect.value < 0 else 'raised'} this.",
                _valence(better, effect.value))  # fmt: skip
    end, worst = {"lower": (effect.upper, ends[2]), "higher": (effect.lower, ends[0])}.get(better, (0.0, ""))
    harm = effect.has_range and (end > 0 if better == "lower" else end < 0)
    found = effect.certainty != "too_uncertain" and sure[1] == _VALENCES["worse"]
    worst = harm_words(f"With {names.service} it could have been {worst} {unit}." if harm else "",
                       standing="found" if found else "possible")  # fmt: skip
    rows = [*rows, own, *people_behind(row)]
    return Answer("", "", "effect", tuple(said), pair, span, certainty=effect.certainty, sure=sure,
                  weak=effect.weaknesses, worst=worst, limits=limits, rows=tuple(rows))  # fmt: skip


def _valence(better: str, value: float) -> str:
    if better == "neither" or value == 0:
        return _VALENCES["neither"]
    return _VALENCES["better" if (value < 0) == (better == "lower") else "worse"]


def _more(amount: float) -> str:
    if amount == 0:
        return "no more and no fewer"
    size = f"about {abs(amount):,.0f}" if round(amount) else "less than 1"
    return f"{size} {'fewer' if amount < 0 else 'more'}"


# ---- kinds of people ----------------------------------------------------------------------------


def subgroup_choices(release: Release) -> list[tuple[str, Choice]]:
    """The groups that were named beforehand: their key, and both kinds of people side by side."""
    spec = release.protocol.after_discharge
    return [] if spec is None else [
        (key, Choice(key_of(key), f"{starts_with_capital(WHO_PAIRS[key][0])}, beside {WHO_PAIRS[key][1]}"))
        for key in spec.subgroups
    ]  # fmt: skip


def answer_subgroup(release: Release, key: str, names: Names) -> Answer:
    """The change among some people and among the others, and if the two differ."""
    spec = release.protocol.after_discharge
    outcome = release.protocol.outcome(spec.subgroups_of)
    row = _effect_row(release, SUBGROUPS, f"{key}.{outcome.key}.{outcome.scale}")
    effect = next((e for e in read_people_effects(release, SUBGROUPS) if e.key.split(".")[0] == key), None)
    if row is None or effect is None or not effect.has_number:
        return answer_without(row)
    cells = [facts.cell(release, "subgroup_effects", key, side) for side in ("with", "without")]
    sentences, rows, arrays = [], [], []
    for name, cell in zip(WHO_PAIRS[key], cells, strict=True):
        if not shown(cell):
            continue
        change = float(cell["value"])
        words = change_words(change, 100).replace(" out of 100", "")
        sentences.append(f"Out of 100 {name.removeprefix('all ')}, we think {words} went back with {names.service}.")
        count = abs(round(100 * change))
        arrays.append(Array(starts_with_capital(name), f"{words} out of 100", count, none=100 - count))
        rows.append(Row(f"Change among {name} (1 stands for everybody)", number(change, "risk"), "no range of its own",
                        str(cell["id"]), change))  # fmt: skip
    ends = tuple(change_words(x, 100) for x in (effect.lower, effect.value, effect.upper))
    sentences += [
        f"The difference between the two is {ends[1]}. These numbers are rounded.",
        f"It could be from {ends[0]} to {ends[2]}.",
    ]
    rows.append(Row("Difference between the two changes", number(effect.value, "risk"),
                    f"{number(effect.lower, 'risk')} to {number(effect.upper, 'risk')}", str(row["id"]),
                    float(row["value"])))  # fmt: skip
    signs = {float(cell["value"]) < 0 for cell in cells if shown(cell)}
    change = "changed" if len(signs) > 1 else "fewer who went back" if True in signs else "more who went back"
    pair = Pair(tuple(arrays), change, "no change for them") if len(arrays) == 2 else None
    sure = "The figures suggest that the two kinds of people differ."
    if effect.certainty == "too_uncertain":
        sure = "We cannot tell if the two kinds of people differ. The range includes no difference."
    limits = ("If the change in either group is real. Only the difference has a range of doubt.",
              "If luck made one group stand out. We named the groups beforehand and pulled them together.")  # fmt: skip
    return Answer("", "", "effect", tuple(sentences), pair,
                  Span(effect.lower, effect.value, effect.upper, 0.0, ends, none="no difference")
                  if effect.has_range else None,
                  certainty=effect.certainty, sure=(sure,), weak=effect.weaknesses, limits=limits,
                  rows=(*rows, *people_behind(row)))  # fmt: skip
