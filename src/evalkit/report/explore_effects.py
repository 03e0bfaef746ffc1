"""Answers of the interactive page about effects: planned outcomes, over all the time and year by year."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.outcomes import Outcome
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
    people_behind,
    range_array,
    shown,
)  # fmt: skip
from evalkit.report.phrases import (
    confidence_sentences,
    count_unit,
    counterfactual_risk,
    effect_sentences,
    finding_base,
    number,
    range_ends,
    ratio_base,
    signed_money,
    starts_with_capital,
    with_interval,
    worst_case,
)  # fmt: skip
from evalkit.report.words import Finding, read_finding

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_PLANNED = {
    "primary": "A main result: the plan named it beforehand",
    "sensitivity": "Looked at beside the main results",
}
_COINS = (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000)
_MOST_COINS = 30
_KIND_LIMITS = {
    "readmission": "Why people went back, or if it was right for them.",
    "rate": "What it was like for people, or if they had a choice.",
    "cost": "If anybody lost help that they needed.",
}


def answer_effect(release: Release, outcome: Outcome, names: Names) -> Answer:
    """The planned estimate of an outcome as an answer."""
    row = facts.main_row(release, outcome)
    if row is None:
        return answer_without(None)
    finding = facts.finding(release, outcome)
    observed, source = _observed(release, outcome, names)
    answer = answer_finding(release, finding, row, names, observed=observed, more=source)
    return replace(answer, planned=_PLANNED.get(str(row["role"]), ""))


def answer_finding(release: Release, finding: Finding, row: pd.Series, names: Names, *, observed: float = math.nan,
                   more: tuple[Row, ...] = ()) -> Answer:  # fmt: skip
    """A finding in sentences, pictures, table, and what it cannot tell. `more` are the rows that go before it."""
    if not finding.has_number:
        return answer_without(row)
    service = names.service
    sentences = effect_sentences(finding, service=service, observed=observed)
    worked = _worked_out(finding, observed, names)
    found = finding.valence == "worse" and finding.certainty in ("suggests", "likely", "strong")
    harm = harm_words(
        worst_case(finding, service=service, observed=observed), standing="found" if found else "possible"
    )
    own = Row(_effect_name(finding, names), number(finding.value, str(row["unit"])),
              _interval_words(finding, str(row["unit"])), str(row["id"]), float(row["value"]))  # fmt: skip
    return Answer(
        "", "", "effect", tuple(sentences), _pair(release, finding, observed, names), _span(finding),
        certainty=finding.certainty, sure=tuple(confidence_sentences(finding, service=service)),
        weak=finding.weaknesses, worst=harm,
        limits=limits_of(release, finding, names), rows=(*more, *worked, own, *people_behind(row)),
    )  # fmt: skip


def answers_years(release: Release, outcome: Outcome, names: Names) -> list[tuple[Choice, Answer]]:
    """The effect in each year, and the years before the start, in which there should be none."""
    rows = release.table(f"event_study.{outcome.key}")
    found = []
    main = facts.finding(release, outcome) if len(rows) else None
    for _, row in rows.iterrows():
        year = int(row["row"])
        if year < 0:
            when = Choice(f"before-{-year}", f"{-year} year{'s' if year < -1 else ''} before {names.service} (a check)")
            found.append((when, _check_year(outcome, row, names)))
            continue
        weak = [*(main.weaknesses if main is not None else ()), "It is one year only, so fewer events stand behind it."]
        read = read_finding(row, outcome, weaknesses=list(dict.fromkeys(weak)),
                            asked_level=release.protocol.study.level)  # fmt: skip
        answer = answer_finding(release, read, row, names)
        found.append((Choice(f"year-{year + 1}", f"Year {year + 1} with {names.service}"), answer))
    return sorted(found, key=lambda pair: pair[0].key.startswith("before"))


def _check_year(outcome: Outcome, row: pd.Series, names: Names) -> Answer:
    """A year before the start: a clear difference there is a warning about the comparison."""
    if not shown(row):
        return answer_without(row)
    base = ratio_base(row["value"], row["lower"], row["upper"])
    unit, ranged = count_unit(outcome), bool(pd.notna(row["lower"]) and pd.notna(row["upper"]))
    seen = f"{round(base * row['value']):,}"
    sentences = [f"{names.service} had not begun. So there should be no difference in this year.",
                 f"For every {base} {unit} that other areas led us to expect, there were about {seen}."]  # fmt: skip
    span, warning = None, "There is no range of doubt. So we cannot say if that is a warning."
    if ranged:
        low, high = range_ends(row["lower"], row["upper"], base)
        sentences.append(f"It could be as few as {low} or as many as {high}.")
        warning = "The range includes no difference. So we see no warning here."
        if row["lower"] > 1 or row["upper"] < 1:
            warning = "That is a warning: even then, this area was not changing like the others."
        words = tuple(f"{x} for every {base}" for x in (low, seen, high))
        span = Span(row["lower"], row["value"], row["upper"], 1.0, words, log=True, level=float(row["level"]),
                    none="no difference")  # fmt: skip
    own = Row("Seen, compared with what other areas led us to expect (ratio)", number(row["value"], "ratio"),
              f"{number(row['lower'], 'ratio')} to {number(row['upper'], 'ratio')}" if ranged else "",
              str(row["id"]), float(row["value"]))  # fmt: skip
    pair = _ratio_pair((row["value"], row["lower"], row["upper"]), unit, base,
                       ("Expected from other areas", f"Seen in {names.treated}"))  # fmt: skip
    return Answer("", "", "seen", (*sentences, warning), pair, span,
                  limits=(f"What {names.service} did. It had not begun.",
                          "If the areas would have gone on in the same way later."), rows=(own,))  # fmt: skip


# ---- parts of an answer -------------------------------------------------------------------------


def _observed(release: Release, outcome: Outcome, names: Names) -> tuple[float, tuple[Row, ...]]:
    """The risk that was seen, NaN where none is released, and the released rows to set before the effect."""
    if outcome.kind == "cost":
        return math.nan, _spent(release, outcome, names)
    if outcome.kind != "readmission":
        return math.nan, ()
    column = f"readmitted_{outcome.horizon_days}d_percent"
    row = facts.cell(release, "readmission_counts", f"{names.treated}|after", column)
    if not shown(row):
        return math.nan, ()
    what = f"Went back, in {names.treated} with {names.service} (seen)"
    seen = Row(what, f"{row['value']:.1f} out of 100", "", str(row["id"]), float(row["value"]))
    return facts.observed_risk(release, outcome), (seen,)


def _spent(release: Release, outcome: Outcome, names: Names) -> tuple[Row, ...]:
    """What was spent and what would have been, as rows of the table."""
    cells = cells_of(release, "cost_relative")
    titles = {
        "counterfactual": f"Without {names.service} (worked out), for each person every 3 months",
        "actual": f"With {names.service} (seen), for each person every 3 months",
    }
    found = [(what, cells.get((outcome.key, column))) for column, what in titles.items()]
    return tuple(
        Row(what, number(float(cell["value"]), "GBP"), "", str(cell["id"]), float(cell["value"]))
        for what, cell in found if shown(cell)
    )  # fmt: skip


def _worked_out(finding: Finding, observed: float, names: Names) -> tuple[Row, ...]:
    if finding.outcome.scale != "risk_difference" or not math.isfinite(observed):
        return ()
    value, low, high = (100 * x for x in counterfactual_risk(finding, observed))
    spread = f"{low:.1f} to {high:.1f} out of 100" if finding.has_range else ""
    return (Row(f"Without {names.service} (worked out: seen less the change)", f"{value:.1f} out of 100", spread),)


def _effect_name(finding: Finding, names: Names) -> str:
    scale = finding.outcome.scale
    if scale == "risk_difference":
        return f"Change with {names.service} (1 stands for everybody)"
    if scale == "rate_ratio":
        return f"Seen with {names.service}, divided by what we would have expected"
    return f"Change in pounds for each person every 3 months with {names.service}"


def _interval_words(finding: Finding, unit: str) -> str:
    if not finding.has_range:
        return "no range of doubt"
    return with_interval(finding.value, finding.lower, finding.upper, unit).split("(", 1)[1].rstrip(")")


def _pair(release: Release, finding: Finding, observed: float, names: Names) -> Pair | None:
    outcome = finding.outcome
    if outcome.scale == "risk_difference":
        return _risk_pair(finding, observed, names) if math.isfinite(observed) else None
    if outcome.scale == "rate_ratio":
        base = ratio_base(finding.value, finding.lower, finding.upper)
        return _ratio_pair((finding.value, finding.lower, finding.upper), count_unit(outcome), base,
                           (f"Expected without {names.service}", f"Seen with {names.service}"))  # fmt: skip
    spent = facts.cell_value(release, "cost_relative", outcome.key, "actual")
    return money_pair([(f"Without {names.service} (our estimate)", facts.counterfactual_cost(release)),
                       (f"With {names.service} (seen)", spent)])  # fmt: skip


def _risk_pair(finding: Finding, observed: float, names: Names) -> Pair:
    base = finding_base(finding)
    value, low, high = (round(base * x) for x in counterfactual_risk(finding, observed))
    low, high = (low, high) if finding.has_range else (value, value)
    could = f", could be {low:,} to {high:,}" if finding.has_range else ""
    seen = round(base * observed)
    return Pair(
        (range_array(f"Without {names.service} (our estimate)", f"about {value:,} out of {base:,}{could}", low=low,
                     value=value, high=high, whole=base),
         Array(f"With {names.service} (seen)", f"about {seen:,} out of {base:,}", seen, none=base - seen)),
        "went back", "did not go back",
    )  # fmt: skip


def _ratio_pair(ratio: tuple[float, float, float], unit: str, base: int, titles: tuple[str, str]) -> Pair:
    value, low, high = (round(base * x) if math.isfinite(x) else -1 for x in ratio)
    ranged = low >= 0 and high >= 0
    could = " (could be {} to {})".format(*range_ends(ratio[1], ratio[2], base)) if ranged else ""
    low, high = (low, high) if ranged else (value, value)
    found = f"about {value:,}" if value else "fewer than 1"
    return Pair((Array(titles[0], f"{base} {unit}", base),
                 range_array(titles[1], f"{found} {unit}{could}", low=low, value=value, high=high)),
                f"{unit}: this many at the least")  # fmt: skip


def money_pair(sums: list[tuple[str, float]]) -> Pair | None:
    """Sums as coins of the same worth; None unless all of them are known."""
    if not sums or not all(math.isfinite(value) and value >= 0 for _, value in sums):
        return None
    most = max(value for _, value in sums)
    coin = next((c for c in _COINS if most / c <= _MOST_COINS), _COINS[-1])
    return Pair(tuple(Array(title, f"about {number(value, 'GBP')}", round(value / coin)) for title, value in sums),
                f"£{coin:,} for each person every 3 months")  # fmt: skip


def _span(finding: Finding) -> Span | None:
    if not finding.has_range:
        return None
    ratio = finding.outcome.scale == "rate_ratio"
    if ratio and min(finding.lower, finding.value) <= 0:
        return None
    return Span(
        finding.lower, finding.value, finding.upper, finding.null, _span_words(finding), log=ratio, level=finding.level
    )


def _span_words(finding: Finding) -> tuple[str, str, str]:
    scale, ends = finding.outcome.scale, (finding.lower, finding.value, finding.upper)
    if scale == "rate_ratio":
        base = ratio_base(finding.value, finding.lower, finding.upper)
        low, high = range_ends(finding.lower, finding.upper, base)
        return (
            f"{low} for every {base}",
            f"about {round(base * finding.value):,} for every {base}",
            f"{high} for every {base}",
        )
    if scale == "risk_difference":
        base = finding_base(finding)
        return tuple(change_words(x, base) for x in ends)
    return tuple(starts_with_capital(signed_money(x)) for x in ends)


def change_words(difference: float, base: int) -> str:
    """`4 fewer out of 100`; what only rounding makes none is `less than 1 fewer`."""
    count = round(base * difference)
    if difference == 0:
        return "no change"
    size = f"{abs(count):,}" if count else "less than 1"
    return f"{size} {'fewer' if difference < 0 else 'more'} out of {base:,}"


def limits_of(release: Release, finding: Finding, names: Names) -> tuple[str, ...]:
    """What this number leaves open: read after "This cannot tell you"."""
    protocol, lines = release.protocol, []
    if finding.certainty == "too_uncertain":
        lines.append(f"If {names.service} made this better, worse or no different.")
    elif finding.certainty in ("suggests", "likely", "strong"):
        lines.append("How big the change is. It may lie anywhere in the range.")
    if len(protocol.areas.treated) == 1 and protocol.exposure.by == "area":
        lines.append(f"If something else in {names.treated} made the change. Only {names.treated} had {names.service}.")
    if protocol.exposure.by == "area":
        lines.append(f"What happened to those who met {names.service}. People are counted if they met it or not.")
    lines.append(_KIND_LIMITS[finding.outcome.kind])
    return tuple(lines)
