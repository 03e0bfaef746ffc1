"""The first page of the peer report: what was asked, what changed, how sure, what is not known, who took part."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts
from evalkit.report.display import show_table, show_text
from evalkit.report.peer_chosen import read_chosen, valence_word
from evalkit.report.peer_harms import OTHER_PLACES, death_rates, uncounted_harms
from evalkit.report.peer_pathway import list_better, list_worse
from evalkit.report.phrases import (
    counted_change,
    finding_base,
    full_stop,
    listed,
    ratio_base,
    service_short,
    signed_money,
    starts_with_capital,
)  # fmt: skip
from evalkit.report.plain import plain_reason
from evalkit.report.words import LADDER_SHORT, Certainty, Finding, Valence
from evalkit.review.record import Review

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

SIMULATED = "Simulated records: no real person is in this report, and it says nothing about the real service."
NO_REVIEW = Review()
_CLEAR: tuple[Certainty, ...] = ("strong", "likely", "suggests")
_LEAD: dict[Certainty, str] = {
    "strong": "there is strong evidence", "likely": "it is likely", "suggests": "the figures suggest",
}  # fmt: skip
_GROUPS: tuple[tuple[Valence, str], ...] = (
    ("worse", "For the worse"), ("better", "For the better"), ("neither", "Changed, neither good nor bad"),
)  # fmt: skip
_ORDER = {"worse": 0, "better": 1, "neither": 2}
_HEAD = ("What we looked at", "Our best answer, and its range", "How sure we are")


def show_summary(release: Release, review: Review = NO_REVIEW) -> None:
    """The whole first page, in the order in which a reader asks."""
    study = release.protocol.study
    service = service_short(study)
    planned = planned_findings(release)
    parts = [f"**What was asked.** {study.plain_question}", "**What changed.**"]
    parts.append("\n".join(f"- {line}" for line in changes(release, planned, service)))
    if study.synthetic:
        parts.insert(0, "**Simulated records.** No real person is in this report.")
    show_text("\n\n".join(parts), id="text-summary")
    table = summary_table(release, planned)
    if len(table):
        show_table(table, id="tab-summary", caption=f"Each change with {service}, beside what we would have expected",
                   note=_note(planned))  # fmt: skip
    ending = [f"**How sure we are.** {' '.join(how_sure(planned))}",
              f"**What we do not know.** {' '.join(unknown(release, planned, service))}",
              f"**Who took part.** {' '.join(who_took_part(review))}"]  # fmt: skip
    show_text("\n\n".join(ending), id="text-summary-sure")


def planned_findings(release: Release) -> list[Finding]:
    """Every planned outcome's estimate that the release holds: clear ones first, the worse before the better."""
    found = [f for o in release.protocol.outcomes if (f := facts.finding(release, o)) is not None]
    return sorted(found, key=_place)


def _place(finding: Finding) -> tuple[int, int]:
    if finding.certainty in _CLEAR:
        return 0, _ORDER[finding.valence]
    return (1 if finding.certainty == "too_uncertain" else 2), 0


# ---- what changed ----------------------------------------------------------------------------------


def changes(release: Release, planned: list[Finding], service: str) -> list[str]:
    """One line for what got worse, what got better, what cannot be told, and the harms that were not asked about."""
    lines = [] if planned else ["Nothing was planned that these records can answer."]
    for valence, name in _GROUPS:
        group = [f for f in planned if f.valence == valence and f.certainty in _CLEAR]
        if group:
            lines.append(f"**{name}:** {_told(group)}")
        elif valence != "neither" and any(f.has_number for f in planned):
            hidden = " There may be harm that we cannot see." if valence == "worse" else ""
            lines.append(f"**{name}:** nothing that we can be sure of.{hidden}")
    lines += _untold(planned, service)
    return [*lines, *_chosen_line(release), *_harm_lines(release, service)]


def _chosen_line(release: Release) -> list[str]:
    """What people chose to ask about, in one line: what points one way, what cannot be told, what is not recorded."""
    found = [read_chosen(release, item) for item in release.protocol.chosen]
    if not found:
        return []
    said = []
    for word in ("worse", "better", "neither"):
        names = [f.item.plain for f in found if f.certainty in _CLEAR and valence_word(f) == word]
        if names:
            who = f"people who {listed(names)}" if len(names) < 3 else f"{len(names)} of {len(found)} things"
            what = "a change" if word == "neither" else f"a change for the {word}"
            said.append(f"the figures suggest {what} for {who}")
    unsure = sum(f.certainty == "too_uncertain" for f in found)
    silent = sum(f.certainty in ("cannot_tell", "not_released") for f in found)
    said += [f"we cannot tell for {unsure} of {len(found)}"] * bool(unsure)
    said += [f"{silent} of {len(found)} {'is' if silent == 1 else 'are'} not recorded or not shown"] * bool(silent)
    return [f"**[What matters to people](#what-matters-to-people):** {'; '.join(said)}."]


def _told(group: list[Finding]) -> str:
    """`the figures suggest that this fell: moving into a care home and days spent on a rehabilitation ward.`"""
    said = []
    for rung, lead in _LEAD.items():
        found = [f for f in group if f.certainty == rung]
        if len(found) > 3:
            said.append(f"{lead} {'it ' * (rung == 'suggests')}for {len(found)} things in the table.")
            continue
        for direction, way in (("lower", "fell"), ("higher", "rose")):
            named = [f.outcome.plain for f in found if f.direction == direction]
            if named:
                said.append(f"{lead} that this {way}: {listed(named)}.")
    return " ".join([*said[:1], *map(starts_with_capital, said[1:])])


def _untold(planned: list[Finding], service: str) -> list[str]:
    lines = []
    unsure = [f for f in planned if f.certainty == "too_uncertain"]
    if unsure:
        lines.append(f"**We cannot tell** if {service} changed {_share_of(unsure, planned)}.")
    none = [f for f in planned if f.certainty in ("cannot_tell", "not_released")]
    if none:
        lines.append(f"**There is no number** for {_share_of(none, planned)}. The table says why.")
    return lines


def _share_of(some: list[Finding], planned: list[Finding]) -> str:
    """`3 of the 11 things that we looked at`, `any of the 11 things`, `the one thing`."""
    if len(planned) == 1:
        return "the one thing that we looked at"
    return f"{'any' if len(some) == len(planned) else len(some)} of the {len(planned)} things that we looked at"


def _harm_lines(release: Release, service: str) -> list[str]:
    """Deaths, and harms that nobody planned to count: on the first page whatever else is there."""
    lines = []
    for word, found in (("worse", list_worse(release)), ("better", list_better(release))):
        if found:
            lines.append(f"**Also for the {word},** the figures suggest: {listed(found)}. "
                         "Of many things, one can stand out by chance.")  # fmt: skip
    if facts.release_has(release, "description.recurrence"):
        told = "They are counted under" if death_rates(release) else "Their number is not released. See"
        lines.append(f"**Deaths:** the plan did not ask if {service} changed them. {told} [Bad news](#bad-news).")
    missing = uncounted_harms(release)
    if missing:
        lines.append(f"**Nobody counted:** {'; '.join(missing)}.")
    return lines


# ---- the table -------------------------------------------------------------------------------------


def summary_table(release: Release, planned: list[Finding]) -> pd.DataFrame:
    """One row an outcome: the change with its range, and the rung; deaths last."""
    rows = [
        (
            starts_with_capital(f.outcome.plain),
            change_cell(f, observed=facts.observed_risk(release, f.outcome)),
            _sure_cell(f),
        )
        for f in planned
    ]
    rates = death_rates(release)
    if rates:
        others = [f"elsewhere {share} in 100" for name, share in rates if name == OTHER_PLACES]
        own = [f"{share} in 100" for name, share in rates if name != OTHER_PLACES]
        said = f"{'; '.join(own) or 'not released'}{f' ({others[0]})' if others else ''}"
        rows.append(("Deaths after a stay in hospital", said, "A count, not an effect"))
    return pd.DataFrame(rows, columns=list(_HEAD))


def change_cell(finding: Finding, *, observed: float = math.nan) -> str:
    """`4 fewer in 10 (5 to 2 fewer)`, `1 fewer in 100 people (…)`; why there is none.

    `observed` is the risk seen, as for `effect_sentences`.
    """
    if finding.certainty == "not_released":
        return "Not released"
    if not finding.has_number:
        return f"No number. {full_stop(plain_reason(finding.reason))}"
    if not finding.has_range:
        return "No number here, for it has no range of doubt"
    ends = [finding.value, finding.lower, finding.upper]
    if finding.outcome.scale == "gbp_per_person_quarter":
        told = [signed_money(x) if math.isfinite(x) else "" for x in ends]
        told = ["no change" if t == "no different" else t for t in told]
        lead = "about the same" if told[0] == "no change" else told[0]
    else:
        people = finding.outcome.scale == "risk_difference"
        base = finding_base(finding) if people else ratio_base(*ends)
        told = [_more(x - finding.null, base, observed) for x in ends]
        of = f" in {base:,}{' people' if people else ''}"
        if not told[0][0].isdigit():
            return f"About the same ({_shorter(told[1], told[2])}{of})"
        lead = f"{told[0]}{of}"
    return f"{lead} ({_shorter(told[1], told[2])})"


def _shorter(low: str, high: str) -> str:
    """`5 to 2 fewer` rather than `5 fewer to 2 fewer`; `£200 to £900 more`."""
    first, _, word = low.rpartition(" ")
    if first and not first.startswith("less than") and high.endswith(f" {word}"):
        return f"{first} to {high}"
    return f"{low} to {high}"


def _more(change: float, base: int, observed: float = math.nan) -> str:
    if not math.isfinite(change):
        return ""
    count = counted_change(change, observed, base)
    if count == 0:
        return "no change" if abs(change) < 1e-9 else f"less than 1 {'fewer' if change < 0 else 'more'}"
    return f"{abs(count):,} {'fewer' if count < 0 else 'more'}"


def _sure_cell(finding: Finding) -> str:
    words = starts_with_capital(LADDER_SHORT[finding.certainty])
    if finding.certainty not in _CLEAR:
        return words
    return words if finding.valence == "neither" else f"{words}: for the {finding.valence}"


def _note(planned: list[Finding]) -> str:
    scales = {f.outcome.scale for f in planned if f.has_number}
    first = next((f for f in planned if f.has_number and f.outcome.scale == "rate_ratio"
                  and change_cell(f)[0].isdigit()), None)  # fmt: skip
    said = []
    if first is not None:
        base = ratio_base(first.value, first.lower, first.upper)
        said.append(f'"{_more(first.value - 1, base)} in {base}" means {round(base * first.value):,} where we expected '
                    f"{base:,}.")  # fmt: skip
    if "risk_difference" in scales:
        said.append('"In 100 people" means of 100 people who left hospital.')
    if "gbp_per_person_quarter" in scales:
        said.append("Money is for each person every 3 months.")
    return " ".join([*said, "The truth may lie anywhere in the range."])


# ---- how sure, what is not known, who took part ------------------------------------------------------


def how_sure(planned: list[Finding]) -> list[str]:
    """How many of the things stand on each rung of the ladder."""
    if not planned:
        return ["We looked at nothing."]
    words: dict[Certainty, str] = {
        "strong": "{} with strong evidence", "likely": "{} likely",
        "suggests": "{} suggested (the comparison has a weak spot)", "too_uncertain": "{} where we cannot tell",
        "cannot_tell": "{} with no answer", "not_released": "{} not released",
    }  # fmt: skip
    count = {rung: sum(f.certainty == rung for f in planned) for rung in words}
    said = [text.format(count[rung]) for rung, text in words.items() if count[rung]]
    whole = f"{len(planned)} things that we looked at" if len(planned) > 1 else "1 thing that we looked at"
    return [f"Of {whole}: {listed(said)}. See [How sure is sure](#how-sure-is-sure)."]


def unknown(release: Release, planned: list[Finding], service: str) -> list[str]:
    """What nobody can read out of this report."""
    protocol = release.protocol
    lines = []
    if planned and not any(f.certainty in _CLEAR for f in planned):
        lines.append("We have no clear answer to the question.")
    if any(f.has_number for f in planned):
        place = protocol.areas.treated[0] if len(protocol.areas.treated) == 1 else ""
        if place:
            lines.append(f"Only {place} had {service}. Something else there may have made a change.")
        else:
            lines.append(f"Something else may have changed where {service} came in.")
    lines.append("Records do not say what it was like for people. "
                 "See [What this cannot tell us](#what-this-cannot-tell-us).")  # fmt: skip
    return lines


def who_took_part(review: Review) -> list[str]:
    """Who wrote the report and how many people with lived experience took part; said plainly where nobody wrote it."""
    involvement = review.involvement
    if involvement.people is None:
        lines = ["Nobody wrote down if people with lived experience took part."]
    elif involvement.people == 0:
        lines = ["Nobody with lived experience took part."]
    else:
        many = "1 person" if involvement.people == 1 else f"{involvement.people} people"
        lines = [f"{many} with lived experience took part."]
    return [*lines, f"{'Their names are' if involvement.credits else 'More is'} under [Who took part](#who-took-part)."]
