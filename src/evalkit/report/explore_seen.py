"""Answers of the interactive page about what was seen: places side by side, year by year, and deaths."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.outcomes import Outcome
from evalkit.report import facts
from evalkit.report.explore_data import (
    Answer,
    Array,
    Choice,
    Line,
    Names,
    Pair,
    Row,
    Trend,
    answer_without,
    by_cell,
    cells_of,
    key_of,
    plain_withheld,
    shown,
)  # fmt: skip
from evalkit.report.explore_effects import money_pair
from evalkit.report.figures_style import period_date, start_place
from evalkit.report.phrases import count_unit, listed, number, starts_with_capital

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_SEEN = ("What caused it. It shows only what happened.", "If the places would have been alike without any service.",
         "If luck made the difference. These numbers have no range of doubt.")  # fmt: skip
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip
_MOST_DAYS = 40  # more dots than this are not counted by anybody


def place_words(group: str) -> str:
    """The name of a group of areas in words."""
    return {"Comparators": "the comparison areas", "Other areas": "all other areas"}.get(group, group)


def answer_shares(release: Release, table: str, column: str, rows: list[tuple[str, str]], *, said: str,
                  happened: str, not_happened: str) -> Answer:  # fmt: skip
    """Shares of people in per cent, side by side; `rows` are row and name, `said` goes with "Out of 100 …"."""
    cells = cells_of(release, table)
    found = [(cells.get((row, column)), name) for row, name in rows]
    return answer_percents([(cell, name, math.nan if cell is None else float(cell["value"]))
                                     for cell, name in found], said=said, happened=happened,
                           not_happened=not_happened)  # fmt: skip


def answer_percents(found: list[tuple[pd.Series | None, str, float]], *, said: str, happened: str,
                    not_happened: str, limits: tuple[str, ...] = _SEEN) -> Answer:  # fmt: skip
    """The same from cells with their percentages; a group that is not released says so beside the other."""
    told = [(cell, name, percent) for cell, name, percent in found if shown(cell) and math.isfinite(percent)]
    if not told:
        cells = [cell for cell, _, _ in found if cell is not None]
        return answer_without(cells[0] if cells else None)
    base = base_of([percent for *_, percent in told])
    sentences, arrays, rows = [], [], []
    for cell, name, percent in found:
        if not shown(cell) or not math.isfinite(percent):
            sentences.append(_held_back(cell, starts_with_capital(name)))
            rows.append(Row(starts_with_capital(name), "not released"))
            continue
        count = round(base * percent / 100)
        sentences.append(f"{starts_with_capital(name)}: out of {base:,} {said}, {_about(count)} {happened}.")
        arrays.append(Array(starts_with_capital(name), f"{_about(count)} out of {base:,}", count, none=base - count))
        rows.append(Row(starts_with_capital(name), _exact(cell, percent), "", str(cell["id"]), float(cell["value"])))
    return Answer("", "", "seen", tuple(sentences), Pair(tuple(arrays), happened, not_happened), limits=limits,
                  rows=tuple(rows))  # fmt: skip


def base_of(percents: list[float]) -> int:
    """100, or 1,000 for all where rounding to hundredths would make one of them none."""
    return 1000 if any(p > 0 and round(p) == 0 for p in percents) else 100


def _about(count: int) -> str:
    return f"about {count:,}" if count else "fewer than 1"


def _exact(cell: pd.Series, percent: float) -> str:
    if cell["kind"] == "count":
        return f"{cell['value']:,.0f} people"
    return f"{percent:.1f} out of 100"


def answers_readmission(release: Release, outcome: Outcome, names: Names) -> list[tuple[str, Answer]]:
    """Going back within a horizon, after and before the start: `after` and `before` with their answers."""
    table = release.table("readmission_counts")
    groups = list(dict.fromkeys(str(row).split("|")[0] for row in table["row"]))
    groups = facts.treated_first(groups, names.treated)
    return [
        (period, answer_shares(
            release, "readmission_counts", f"readmitted_{outcome.horizon_days}d_percent",
            [(f"{group}|{period}", place_words(group)) for group in groups], said="people leaving hospital",
            happened="went back", not_happened="did not go back"))
        for period in ("after", "before")
    ] if groups else []  # fmt: skip


# ---- over time ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scale:
    """How numbers over time are told: events for every `base` people, for each person (base 1), or pounds (base 0)."""

    unit: str = ""
    who: str = ""
    per: int = 100
    base: int = 0


def answers_over_time(release: Release, outcome: Outcome, names: Names) -> list[tuple[Choice, Answer]]:
    """Rates of the areas side by side: over all periods, and in each of them."""
    rows, per = facts.trend(release, outcome)
    rows = rows[rows["kind"] == "rate"]
    if rows.empty:
        return []
    who = "people living in one" if getattr(outcome, "denominator", "") == "residents" else "people"
    most, least = rows["value"].max(), rows["value"].min()
    base = 1 if most >= per else 10 * per if least < 1 else per
    return _over_time(release, rows, names, _Scale(count_unit(outcome), who, per, base))


def answers_money_over_time(release: Release, names: Names) -> list[tuple[Choice, Answer]]:
    """Money of the areas side by side: over all periods, and in each of them."""
    rows = release.table("cost_trend")
    rows = rows[~rows["column"].str.endswith(" counterfactual")]
    return _over_time(release, rows, names, _Scale()) if len(rows) else []


def _over_time(release: Release, rows: pd.DataFrame, names: Names, scale: _Scale) -> list[tuple[Choice, Answer]]:
    groups = facts.treated_first(list(dict.fromkeys(rows["column"])), names.treated)
    month = release.protocol.dates.study_start.month
    periods, cells = list(dict.fromkeys(rows["row"])), by_cell(rows)
    found = [(Choice("all", "From the first year to the last"), _whole(release, cells, groups, periods, names, scale))]
    for period in periods:
        told = [(cells.get((period, group)), starts_with_capital(place_words(group))) for group in groups]
        found.append((Choice(key_of(period), _when(release, period, month, names)), _one_period(told, scale)))
    return found


def _when(release: Release, period: str, month: int, names: Names) -> str:
    start, day = release.protocol.dates.adoption, period_date(period, start_month=month)
    side = ""
    if start is not None and day is not None:
        side = f", before {names.service}" if day.item() < start else f", with {names.service}"
    return f"{period_words(period, release.protocol.dates.period)}{side}"


def period_words(period: str, length: str) -> str:
    """`April to June 2015` for the quarter `2015-04`; other labels as they are."""
    found = re.fullmatch(r"(\d{4})-(\d{2})", period)
    if not found:
        return period
    first = int(found.group(2))
    last = first + (2 if length == "quarter" else 0)
    return f"{_MONTHS[first - 1]}{f' to {_MONTHS[last - 1]}' if last > first else ''} {found.group(1)}"


def _one_period(told: list[tuple[pd.Series | None, str]], scale: _Scale) -> Answer:
    known = [(cell, place) for cell, place in told if shown(cell)]
    if not known:
        return answer_without(next((cell for cell, _ in told if cell is not None), None))
    sentences = [f"{place}: {_told(cell, scale)}." if shown(cell) else _held_back(cell, place) for cell, place in told]
    rows = tuple(_row(place, cell, scale) for cell, place in told)
    pair = _rate_pair(known, scale) if len(known) == len(told) else None
    return Answer("", "", "seen", tuple(sentences), pair, limits=_SEEN, rows=rows)


def _held_back(cell: pd.Series | None, place: str) -> str:
    why = "It was not counted." if cell is None else plain_withheld(str(cell["reason"]))
    return f"{place}: not released. {why}"


def _row(what: str, cell: pd.Series | None, scale: _Scale) -> Row:
    """A line of the table with the value as it was released: `facts.trend` may have made a rate per 100,000 of it."""
    if not shown(cell):
        return Row(what, "not released")
    value = float(cell["value"])
    return Row(what, _told(cell, scale), "", str(cell["id"]), value * 100 / scale.per if scale.base else value)


def _count(cell: pd.Series, scale: _Scale) -> int:
    return round(float(cell["value"]) * scale.base / scale.per)


def _told(cell: pd.Series, scale: _Scale) -> str:
    if not scale.base:
        return f"about {number(float(cell['value']), 'GBP')} was spent on each person in 3 months"
    every = "each person" if scale.base == 1 else f"every {scale.base:,} {scale.who}"
    return f"{_events(_count(cell, scale), scale)} a year for {every}"


def _events(count: int, scale: _Scale) -> str:
    unit = scale.unit
    if count == 1:
        unit = re.sub(r"ies$", "y", unit) if unit.endswith("ies") else unit.removesuffix("s")
    return f"{_about(count)} {unit}"


def _rate_pair(told: list[tuple[pd.Series, str]], scale: _Scale) -> Pair | None:
    if not scale.base:
        return money_pair([(place, float(cell["value"])) for cell, place in told])
    counts = [_count(cell, scale) for cell, _ in told]
    if scale.base == 1:
        if max(counts) > _MOST_DAYS:
            return None
        return Pair(tuple(Array(place, _events(n, scale), n) for n, (_, place) in zip(counts, told, strict=True)),
                    f"1 of the {scale.unit} in a year for each person")  # fmt: skip
    if scale.base > 1000:
        return None
    every = f"for every {scale.base:,} {scale.who}"
    return Pair(tuple(Array(place, f"{_events(n, scale)} {every}", n, none=max(scale.base - n, 0))
                      for n, (_, place) in zip(counts, told, strict=True)),
                f"{scale.unit} in a year", f"the rest of the {scale.base:,} {scale.who}")  # fmt: skip


def _whole(release: Release, cells: Mapping[tuple[str, str], pd.Series], groups: list[str], periods: list[str],
           names: Names, scale: _Scale) -> Answer:  # fmt: skip
    """All periods as lines, told from the first that is released to the last."""
    length, month = release.protocol.dates.period, release.protocol.dates.study_start.month
    words = {period: period_words(period, length) for period in periods}
    sentences, lines, rows = [], [], []
    for group in groups:
        place = starts_with_capital(place_words(group))
        kept = {period: cells[period, group] for period in periods if (period, group) in cells}
        told = [period for period, cell in kept.items() if shown(cell)]
        values = (float(kept[p]["value"]) * _drawn(scale) if p in told else math.nan for p in periods)
        lines.append(Line(place, tuple(values)))
        ends = dict.fromkeys([told[0], told[-1]]) if told else ()
        sentences += [f"{place}, {words[p]}: {_told(kept[p], scale)}." for p in ends] or [f"{place}: not released."]
        rows += [_row(f"{place}, {words[p]}", cell, scale) for p, cell in kept.items()]
    every = "each person" if scale.base == 1 else f"every {scale.base:,} {scale.who}"
    title = "Pounds for each person in 3 months"
    if scale.base:
        title = f"{starts_with_capital(scale.unit)} a year for {every}"
    start = start_place(periods, release.protocol.dates.adoption, start_month=month)
    trend = Trend(title, tuple(words.values()), tuple(lines), None if start is None else math.ceil(start),
                  f"{names.service} starts")  # fmt: skip
    return Answer("", "", "seen", tuple(sentences), trend=trend, limits=_SEEN, rows=tuple(rows))


def _drawn(scale: _Scale) -> float:
    return scale.base / scale.per if scale.base else 1.0


# ---- people who left hospital: deaths, and going back at any time -------------------------------


def recurrence_whos(release: Release, names: Names) -> list[tuple[Choice, list[tuple[str, str]]]]:
    """Groups of people in `description.recurrence`: areas side by side, sexes side by side, everybody."""
    table = release.table("description.recurrence")
    label = dict(zip(table["row"], table["label"], strict=True))
    kinds: dict[str, list[tuple[str, str]]] = {}
    plain = {"Female": "Women", "Male": "Men"}
    for row, name in label.items():
        kind, _, level = str(row).partition(".")
        kinds.setdefault(kind, []).append(
            (str(row), place_words(level) if kind == "group" else plain.get(str(name), str(name)))
        )
    found = []
    for kind in sorted(kinds, key=lambda k: ({"group": 0, "all": 2}.get(k, 1), k)):
        rows = sorted(kinds[kind], key=lambda pair: pair[1] != names.treated) if kind == "group" else kinds[kind]
        words = {"group": names.side_by_side, "all": "Everybody"}.get(
            kind, f"{starts_with_capital(listed([name.lower() for _, name in rows]))}, side by side"
        )
        found.append((Choice({"group": "side-by-side", "all": "everybody"}.get(kind, key_of(kind)), words), rows))
    return found


def answer_recurrence(release: Release, rows: list[tuple[str, str]], column: str, *, happened: str,
                      not_happened: str) -> Answer:  # fmt: skip
    """How many of the people who left hospital had it happen at any time in the study."""
    cells, found = cells_of(release, "description.recurrence"), []
    for row, name in rows:
        cell, people = cells.get((row, column)), cells.get((row, "people"))
        known = shown(cell) and shown(people) and people["value"] > 0
        found.append((cell, name, 100 * float(cell["value"]) / float(people["value"]) if known else math.nan))
    limits = ("What caused it. It shows only what happened.",
              "Who was more ill to begin with. The groups may differ in many ways.",
              "If luck made the difference. These numbers have no range of doubt.")  # fmt: skip
    return answer_percents(found, said="people who left hospital", happened=happened,
                           not_happened=not_happened, limits=limits)  # fmt: skip
