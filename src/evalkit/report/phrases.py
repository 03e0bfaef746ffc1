"""Findings as sentences: natural frequencies, ratios, money and the words of the ladder.

Every sentence is at most 20 words long and follows from the finding alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from evalkit.core.outcomes import Outcome
from evalkit.core.protocol import Study
from evalkit.report.plain import plain_reason
from evalkit.report.words import Finding, Valence


def service_short(study: Study) -> str:
    """`IPSA` from "the Integrated Personalised Support Alliance (IPSA)"; else the name as it stands."""
    found = re.search(r"\(([^)]+)\)\s*$", study.service)
    return found.group(1) if found else study.service


def starts_with_capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    items = list(items)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"


def full_stop(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "?", "!")) else f"{text}."


# ---- how much -----------------------------------------------------------------------------------


def money(pounds: float) -> str:
    """Whole pounds with no more figures than can be meant: to £1, £10 from £100, £100 from £10,000."""
    size = abs(pounds)
    step = 1 if size < 100 else 10 if size < 10_000 else 100
    return f"£{round(size / step) * step:,.0f}"


def signed_money(pounds: float) -> str:
    words = money(pounds)
    return "no different" if words == "£0" else f"{words} {'less' if pounds < 0 else 'more'}"


def as_count(share: float, base: int) -> int:
    return round(base * share)


def ratio_base(value: float, lower: float, upper: float) -> int:
    """10, or 100 where rounding to tenths would move an end of the range onto or across no change."""
    for x in (value, lower, upper):
        if math.isfinite(x) and (((round(10 * x) - 10) * (x - 1) <= 0 and abs(x - 1) > 0.005) or 10 * x < 0.5):
            return 100
    return 10


def risk_base(*differences: float) -> int:
    """100, or 1,000 where rounding to hundredths would turn a difference into none."""
    return 1000 if any(math.isfinite(d) and round(100 * d) == 0 and abs(d) > 0.0005 for d in differences) else 100


_RATIO_WORDS = (
    (0.22, 0.28, "about a quarter as many"), (0.30, 0.36, "about a third as many"),
    (0.46, 0.54, "about half as many"), (0.63, 0.70, "about two thirds as many"),
    (0.72, 0.78, "about three quarters as many"), (0.95, 1.05, "about as many"),
    (1.22, 1.28, "about a quarter more"), (1.30, 1.37, "about a third more"),
    (1.46, 1.54, "about half as many again"), (1.9, 2.1, "about twice as many"),
    (2.8, 3.2, "about three times as many"),
)  # fmt: skip


def ratio_words(ratio: float) -> str:
    """`about half as many`; where no plain fraction is near, the percentage."""
    for low, high, words in _RATIO_WORDS:
        if low <= ratio <= high:
            return words
    return f"about {abs(round(100 * (ratio - 1)))}% {'fewer' if ratio < 1 else 'more'}"


def percent_change(ratio: float) -> str:
    change = round(100 * (ratio - 1))
    if change == 0 and abs(ratio - 1) > 1e-6:
        return f"less than 1% {'lower' if ratio < 1 else 'higher'}"
    return "no change" if change == 0 else f"{abs(change)}% {'lower' if change < 0 else 'higher'}"


def about(count: float) -> str:
    """`about 15`; none is `none`."""
    return f"about {round(count):,}" if round(count) > 0 else "none"


def times_right(level: float) -> str:
    return f"A range made this way is right about {round(100 * level)} times out of 100."


# ---- sentences ----------------------------------------------------------------------------------


def effect_sentences(finding: Finding, *, service: str, observed: float = math.nan) -> list[str]:
    """The effect in two to four short sentences.

    Parameters
    ----------
    observed : risk (0 to 1) seen in the treated group after the start, for readmission; NaN if unknown.
    """
    if finding.certainty == "not_released":
        return ["This number is not released. Too few people are behind it."]
    if not finding.has_number:
        return ["We could not work this out.", plain_reason(finding.reason)]
    if finding.outcome.scale == "risk_difference":
        return _risk_sentences(finding, service, observed)
    if finding.outcome.scale == "rate_ratio":
        return _ratio_sentences(finding, service)
    return _cost_sentences(finding, service)


def finding_base(finding: Finding) -> int:
    """How many people a difference in risk is told for: 1,000 only where a clear one would round to none."""
    if finding.certainty == "too_uncertain":
        return 100
    return risk_base(finding.value, finding.lower, finding.upper)


def counterfactual_risk(finding: Finding, observed: float) -> tuple[float, float, float]:
    """The risk without the service, and its range: the risk seen less the effect, kept within 0 and 1."""
    value, low, high = (min(max(observed - d, 0.0), 1.0) for d in (finding.value, finding.upper, finding.lower))
    return value, low, high


def _risk_sentences(finding: Finding, service: str, observed: float) -> list[str]:
    base = finding_base(finding)
    if not math.isfinite(observed):
        return _risk_change_sentences(finding, service, base)
    value, low, high = counterfactual_risk(finding, observed)
    seen, without = base * observed, base * value
    sentences = [
        f"Out of {base:,} people leaving hospital, {about(seen)} went back with {service}.",
        f"Without {service}, we think it would have been {about(without)} out of {base:,}.",
    ]
    if finding.has_range:
        ends = (as_count(low, base), as_count(high, base))
        sentences.append(f"That could be as few as {ends[0]:,} or as many as {ends[1]:,} out of {base:,}.")
    return sentences


def _risk_change_sentences(finding: Finding, service: str, base: int) -> list[str]:
    sentences = [
        f"Out of {base:,} people leaving hospital, about {_more(finding.value, base)} went back with {service}."
    ]
    if finding.has_range:
        sentences.append(f"It could be {_more(finding.lower, base)}, or {_more(finding.upper, base)}.")
    return sentences


def _more(difference: float, base: int) -> str:
    count = round(base * difference)
    return "no more and no fewer" if count == 0 else f"{abs(count):,} {'fewer' if count < 0 else 'more'}"


_PLAIN_UNITS = {"entries": "moves in", "discharges": "moves out", "admissions": "stays", "events": "times"}


def count_unit(outcome: Outcome) -> str:
    """What an outcome counts, in words that need no explanation."""
    unit = getattr(outcome, "count_unit", "events")
    return _PLAIN_UNITS.get(unit, unit)


def _ratio_sentences(finding: Finding, service: str) -> list[str]:
    base = ratio_base(finding.value, finding.lower, finding.upper)
    found = as_count(finding.value, base)
    unit = count_unit(finding.outcome)
    sentences = [
        f"Without {service}, we would have expected {base} {unit}.",
        f"With {service}, there were {f'about {found:,}' if found else 'fewer than 1'} for every {base} expected.",
    ]
    if finding.has_range:
        low, high = range_ends(finding.lower, finding.upper, base)
        sentences.append(f"It could be as few as {low} or as many as {high} for every {base}.")
    return sentences


def range_ends(lower: float, upper: float, base: int) -> tuple[str, str]:
    """Both ends of a ratio's range as counts; an end that only rounding puts on no change says so."""
    low, high = as_count(lower, base), as_count(upper, base)
    return (
        f"just over {low:,}" if low == base and lower > 1 else f"{low:,}",
        f"just under {high:,}" if high == base and upper < 1 else f"{high:,}",
    )


def _cost_sentences(finding: Finding, service: str) -> list[str]:
    if signed_money(finding.value) == "no different":
        first = f"With {service}, about as much was spent on each person as we would have expected without it."
    else:
        first = (
            f"With {service}, about {signed_money(finding.value)} was spent on each person every 3 months "
            "than we would have expected."
        )
    sentences = [first]
    if finding.has_range:
        sentences.append(f"It could be {signed_money(finding.lower)}, or {signed_money(finding.upper)}.")
    return sentences


_VALENCE_WORDS: dict[Valence, str] = {
    "better": "That is a change for the better.",
    "worse": "That is a change for the worse.",
    "neither": "That is not good or bad by itself.",
}


def confidence_sentences(finding: Finding, *, service: str) -> list[str]:
    """How sure we can be, from the ladder, and why not surer."""
    verb = {"lower": "lowered", "higher": "raised", "same": "changed"}[finding.direction]
    certainty = finding.certainty
    if certainty in ("cannot_tell", "not_released"):
        return []
    if certainty == "not_evidence":
        return ["This compares before with after only. It is not evidence of effect."]
    if certainty == "too_uncertain" and not finding.has_range:
        return [f"We cannot tell if {service} changed this. There is no range of doubt to go by."]
    if certainty == "too_uncertain":
        return [f"We cannot tell if {service} changed this. The range of doubt includes no change."]
    lead = {
        "strong": f"There is strong evidence that {service} {verb} this.",
        "likely": f"It is likely that {service} {verb} this.",
        "suggests": f"The figures suggest that {service} {verb} this.",
    }[certainty]
    return [lead, _VALENCE_WORDS[finding.valence]]


_FOR_WHOM: dict[Valence, str] = {
    "better": " That is for the better.",
    "worse": " **That is for the worse.**",
    "neither": "",
}


def headline(finding: Finding, *, service: str) -> str:
    """One sentence of at most 20 words for the summary page, without the outcome's name."""
    if finding.certainty == "not_released":
        return "not released, because too few people are behind the number."
    if finding.certainty == "cannot_tell":
        return "we could not work this out from these records."
    if finding.certainty == "too_uncertain":
        return f"we cannot tell if {service} changed this."
    change = _change_words(finding)
    good = _FOR_WHOM[finding.valence]
    return {
        "strong": f"there is strong evidence of a change: {change}.{good}",
        "likely": f"it is likely that this changed: {change}.{good}",
        "suggests": f"the figures suggest a change, but there is a known weakness: {change}.{good}",
        "not_evidence": f"before and after only, not evidence of effect: {change}.",
    }[finding.certainty]


def _change_words(finding: Finding) -> str:
    if finding.outcome.scale == "risk_difference":
        base = risk_base(finding.value)
        return f"about {_more(finding.value, base)} out of {base:,} people"
    if finding.outcome.scale == "rate_ratio":
        words = ratio_words(finding.value)
        return f"{words} {'as' if words.endswith('as many') else 'than'} we would have expected"
    return f"about {signed_money(finding.value)} for each person every 3 months"


def counted_change(change: float, observed: float, base: int) -> int:
    """A difference in risk as people out of `base`, so that it is what the two rounded counts differ by.

    `observed` is the risk seen with the service; where it is not known the difference itself is rounded.
    """
    if not math.isfinite(observed):
        return as_count(change, base)
    return as_count(observed, base) - as_count(min(max(observed - change, 0.0), 1.0), base)


def worst_case(finding: Finding, *, service: str, observed: float = math.nan) -> str:
    """The harm that the range of doubt leaves possible, in one sentence; empty where it leaves none.

    `observed` is the risk seen with the service, as for `effect_sentences`.
    """
    if not finding.has_range or finding.outcome.better == "neither" or finding.certainty == "not_evidence":
        return ""
    end = finding.upper if finding.outcome.better == "lower" else finding.lower
    if (end > finding.null) != (finding.outcome.better == "lower") or end == finding.null:
        return ""
    if finding.outcome.scale == "risk_difference":
        base = risk_base(end)
        count = counted_change(end, observed, base)
        size = f"{_more((count or round(base * end)) / base, base)} out of {base:,} people"
    elif finding.outcome.scale == "rate_ratio":
        base = ratio_base(finding.value, finding.lower, finding.upper)
        least = "as few as" if end < 1 else "as many as"
        size = f"{least} {as_count(end, base):,} {count_unit(finding.outcome)} for every {base} expected"
    else:
        size = f"{signed_money(end)} for each person every 3 months"
    return f"With {service} it could have been {size}."


def sentences_of(text: str) -> list[str]:
    """Sentences of plain prose; Markdown marks, headings and table rows are left out."""
    plain = []
    for line in text.splitlines():
        line = line.strip()
        if line and not line.startswith(("#", "|", ":::", "<", "$$")):
            plain.append(re.sub(r"[*_`]|\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("-> ")))
    return [s for s in re.split(r"(?<=[.!?:])\s+", " \n".join(plain).replace("\n", " ")) if s.strip()]


# ---- numbers for tables -------------------------------------------------------------------------


_PER_PERSON_DECIMALS = {"days per person": 1, "events per person": 2, "admissions per person": 2}


def number(value: float, unit: str = "") -> str:
    """A number for a table cell: figures that its unit can bear."""
    if not math.isfinite(value):
        return "not available"
    if unit.startswith("GBP"):
        words = money(value)
        return f"−{words}" if value < 0 and words != "£0" else words
    if unit in _PER_PERSON_DECIMALS:  # as they leave the gate: further digits would be made up
        return f"{value:,.{_PER_PERSON_DECIMALS[unit]}f}".replace("-", "−")
    if unit in ("people", "count", "events") or (float(value).is_integer() and abs(value) >= 10):
        return f"{value:,.0f}".replace("-", "−")
    small = unit.startswith("risk") or (abs(value) < 0.1 and unit != "ratio")
    digits = 3 if small else 2 if abs(value) < 10 else 1
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # no minus before nought


def with_interval(value: float, lower: float, upper: float, unit: str = "") -> str:
    """`0.62 (0.41 to 0.93)`; without an interval the number alone."""
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return number(value, unit)
    return f"{number(value, unit)} ({number(lower, unit)} to {number(upper, unit)})"
