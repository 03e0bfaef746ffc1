"""What matters to people beside hospital: before and after, here and elsewhere, and what nobody wrote down.

Every sentence follows from the release alone. None of these answers is called more than a suggestion: few areas are
compared, and those of whom nothing is written down may differ from the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.chosen import CHOSEN_BY_LABELS, ChosenOutcome
from evalkit.report import chosen_facts, facts, figures
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.phrases import full_stop, service_short, starts_with_capital
from evalkit.report.words import LADDER_SHORT, Certainty, Told, Valence

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_ELSEWHERE = "Comparators"
_CLEAR: tuple[Certainty, ...] = ("strong", "likely", "suggests")
_THINGS = "work and volunteering, friends and groups, physical health, choice and control, and staying well"


@dataclass(frozen=True)
class ChosenFinding(Told):
    """The difference between two changes, in people out of 100; NaN where there is none, with the reason.

    `weaknesses` are sentences for everybody on what else could explain it.
    """

    item: ChosenOutcome
    value: float
    lower: float
    upper: float
    certainty: Certainty
    reason: str
    weaknesses: tuple[str, ...] = ()


def show_chosen(release: Release) -> None:
    """Each outcome that people chose: the answer, how much of it is written down, and what is not recorded."""
    items = release.protocol.chosen
    if not items:
        text = ("The plan does not ask about what people who use services say they want. So these are **not "
                f"recorded** here: {_THINGS}. Which of them matter to you? You can say so.")  # fmt: skip
        show_text(text, id="text-no-chosen")
        return
    found = [read_chosen(release, item) for item in items]
    show_text(_intro(release, found), id="text-chosen")
    told = [f for f in found if f.has_number]
    if told:
        service = service_short(release.protocol.study)
        show_table(chosen_table(release, told), id="tab-chosen", caption="Out of 100 people: before and after",
                   note="Only people of whom it is written down are counted. The last two columns say how many that "
                        "is, out of 100.")  # fmt: skip
        _show_ranges(told, service)
        show_text("\n\n".join(_item_text(release, f, service) for f in told), id="text-chosen-each")
    show_text(_not_recorded(release, [f for f in found if not f.has_number]), id="text-chosen-none")


def read_chosen(release: Release, item: ChosenOutcome) -> ChosenFinding:
    """The answer for one outcome, as the academic report reads it; `cannot_tell` where there is none.

    A range that missing answers could undo is still called a suggestion: the sentences say that they could.
    """
    fact = next(f for f in chosen_facts.read_chosen(release) if f.outcome.key == item.key)
    reason = fact.reason if facts.release_has(release, chosen_facts.CHANGE) else ""
    return ChosenFinding(item, fact.value, fact.lower, fact.upper, fact.certainty, reason, fact.weaknesses)


def _intro(release: Release, found: list[ChosenFinding]) -> str:
    place = release.protocol.areas.treated_label
    by = dict.fromkeys(CHOSEN_BY_LABELS[f.item.chosen_by] for f in found)
    parts = [
        "Not going to hospital is not all that matters. This part looks at things that people in services like this "
        "say they want.",
        f"**Who chose what to ask:** {full_stop('; '.join(by))}",
    ]
    if any(f.has_number for f in found):
        parts.append(f"We looked at the year before the start and the year after it. We did so in {place} and in the "
                     "other places. A change that came in both need not be because of the service. So we set one "
                     "beside the other. Numbers are rounded. So a sum of them may be out by 1 or 2.")  # fmt: skip
        parts.append("**Read with care.** Staff asked people, and wrote it down for some only. People who are not well "
                     "may be asked less often. So those who are missing may be worse off.")  # fmt: skip
    return "\n\n".join(parts)


def chosen_table(release: Release, found: list[ChosenFinding]) -> pd.DataFrame:
    """Shares before and after in both groups, and how much is written down."""
    place = release.protocol.areas.treated_label
    rows = []
    for finding in found:
        line = {"Out of 100 people, how many": starts_with_capital(finding.item.plain)}
        for group, name in ((place, place), (_ELSEWHERE, "Other places")):
            line[f"{name}: before"] = _share(release, finding, group, "before")
            line[f"{name}: after"] = _share(release, finding, group, "after")
        for group, name in ((place, place), (_ELSEWHERE, "other places")):
            line[f"Written down, {name}"] = _recorded(release, finding, group)
        rows.append(line)
    return pd.DataFrame(rows)


def _cell(release: Release, finding: ChosenFinding, group: str, column: str) -> float:
    return facts.cell_value(release, "chosen", f"{finding.item.key}|{group}", column)


def _share(release: Release, finding: ChosenFinding, group: str, column: str) -> str:
    value = _cell(release, finding, group, column)
    return f"{value:.0f}" if math.isfinite(value) else "not released"


def _recorded(release: Release, finding: ChosenFinding, group: str) -> str:
    """`61 then 58`: before and after."""
    ends = [_known(release, finding, group, f"recorded_{period}") for period in ("before", "after")]
    return ends[0] if ends[0] == ends[1] else " then ".join(ends)


def _known(release: Release, finding: ChosenFinding, group: str, column: str) -> str:
    row = facts.cell(release, "chosen", f"{finding.item.key}|{group}", column)
    if row is not None and "outside it" in str(row["reason"]):
        return "nearly all"  # so few are without a record that their number is held back
    return _share(release, finding, group, column)


def _show_ranges(found: list[ChosenFinding], service: str) -> None:
    rows = pd.DataFrame([
        {"label": starts_with_capital(f.item.plain), "value": round(f.value) + 0.0, "lower": round(f.lower) + 0.0,
         "upper": round(f.upper) + 0.0, "unit": "people", "status": "shown", "kind": "estimate", "role": "descriptive"}
        for f in found if f.has_range
    ])  # fmt: skip
    if len(rows) == 0:
        return
    words = f"Out of 100 people: more (right) or fewer (left) than without {service}"
    show_figure(figures.plot_differences(rows, x=words), id="fig-chosen",
                caption=f"What matters to people: the change with {service}, beside the change elsewhere",
                alt=figures.describe_differences(rows, x=words))  # fmt: skip


# ---- one outcome -----------------------------------------------------------------------------------


def _item_text(release: Release, finding: ChosenFinding, service: str) -> str:
    """Two sentences with one denominator, the difference with its range, how sure, and what the missing could do."""
    item, place = finding.item, release.protocol.areas.treated_label
    sentences = [f"**People who {item.plain}.**"]
    for group, name in ((place, place), (_ELSEWHERE, "the other places")):
        ends = [_cell(release, finding, group, period) for period in ("before", "after")]
        if all(map(math.isfinite, ends)):
            sentences.append(f"Out of 100 people in {name}, {ends[0]:.0f} did before and {ends[1]:.0f} after.")
    found = _more(finding.value)
    if found[0].isdigit():
        sentences.append(f"So {place} had about {found} out of 100 than we would have expected.")
    else:
        sentences.append(f"So {place} had about as many as we would have expected.")
    if finding.has_range:
        sentences.append(f"It could be {_more(finding.lower)}, or {_more(finding.upper)}.")
    sentences += [*_sure(finding, service), *_missing(release, finding)]
    if finding.certainty in _CLEAR:
        sentences += [w for w in finding.weaknesses if "not asked" not in w]
    return " ".join(sentences)


def _more(points: float) -> str:
    count = round(points)
    if count == 0:
        return "no more and no fewer" if abs(points) < 1e-9 else f"less than 1 {'fewer' if points < 0 else 'more'}"
    return f"{abs(count)} {'fewer' if count < 0 else 'more'}"


def _sure(finding: ChosenFinding, service: str) -> list[str]:
    if finding.certainty not in _CLEAR:
        return [f"So we cannot tell if {service} changed this."]
    lead = f"The figures suggest that {service} {'raised' if finding.value > 0 else 'lowered'} this."
    return {"neither": [lead], "better": [lead, "That is for the better."],
            "worse": [lead, "**That is for the worse.**"]}[valence_word(finding)]  # fmt: skip


def valence_word(finding: ChosenFinding) -> Valence:
    """Whether the difference is for the better or the worse, by what the plan says people want."""
    if finding.item.better == "neither" or not finding.value:
        return "neither"
    return "better" if (finding.value > 0) == (finding.item.better == "higher") else "worse"


def _missing(release: Release, finding: ChosenFinding) -> list[str]:
    """How far the people of whom nothing is written down could move the answer, whatever they would have said."""
    low, high = (facts.cell(release, "chosen_bounds", finding.item.key, c) for c in ("least", "most"))
    if low is None or high is None or not (math.isfinite(low["value"]) and math.isfinite(high["value"])):
        return ["We do not know what the people who are missing would have said."]
    ends = [end if math.isfinite(end) else row["value"] for end, row in ((low["lower"], low), (high["upper"], high))]
    text = f"If we also allow for those who are missing, it could be from {_more(ends[0])} to {_more(ends[1])}."
    if finding.certainty in _CLEAR and ends[0] <= 0 <= ends[1]:
        return [text, "So they could turn the answer round."]
    return [text]


# ---- not recorded ----------------------------------------------------------------------------------


def _not_recorded(release: Release, silent: list[ChosenFinding]) -> str:
    """What has no answer, and why: nobody asked, too few answers, or too few people to show."""
    if not silent:
        return "There is an answer for each thing that the plan asks about here."
    lines = [f"- **People who {f.item.plain}:** {_why(release, f)}" for f in silent]
    return "\n".join(["**No answer.** The plan asks about these things, but there is no answer:", "", *lines])


def _why(release: Release, finding: ChosenFinding) -> str:
    if finding.item.record == "none":
        return "**not recorded.** Nothing in these records asks about it. That is a gap, not a sign that all is well."
    if finding.certainty == "not_released":
        return "not released. Too few people are behind it."
    if not finding.reason and not facts.release_has(release, "chosen_change"):
        return "**not recorded** in this release. It was not worked out."
    if "recorded of fewer" in finding.reason:
        return "**not recorded** for enough people. It was written down for too few of them."
    if "Fewer than" in finding.reason:
        return f"{LADDER_SHORT['cannot_tell']}. Too few people had it, or had it not."
    return "**not recorded.** The records that it needs are not there."
