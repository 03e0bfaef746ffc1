"""Bad news in the peer report: what got worse, what may have, deaths, and harms that nobody planned to count."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evalkit.report import facts
from evalkit.report.display import show_text
from evalkit.report.peer_chosen import read_chosen, valence_word
from evalkit.report.peer_pathway import list_possible_harms, list_possible_returns, list_worse
from evalkit.report.phrases import (
    confidence_sentences,
    effect_sentences,
    service_short,
    starts_with_capital,
    worst_case,
)
from evalkit.report.words import Finding

if TYPE_CHECKING:
    from evalkit.core.protocol import Protocol
    from evalkit.disclose.release import Release

# Harms of mental health care that people name first and no outcome can count yet, and the table that records them.
_HARMS: tuple[tuple[str, str], ...] = (
    ("being held under the Mental Health Act", "ward_stays"),
    ("being held down or shut in alone", ""),
    ("harming oneself", ""),
)
_HOME = "losing a home"
OTHER_PLACES = "the other places"


def show_bad_news(release: Release) -> None:
    """Harms seen, harms that the range of doubt leaves possible, deaths, and harms that were not counted."""
    service = service_short(release.protocol.study)
    found = [f for o in release.protocol.outcomes if (f := facts.finding(release, o)) is not None]
    parts = [*_seen(release, found, service), *_possible(release, found, service)]
    parts += ["### Deaths", " ".join(_deaths(release, service))]
    parts += _uncounted(release)
    show_text("\n\n".join(parts), id="text-bad-news")


def _seen(release: Release, found: list[Finding], service: str) -> list[str]:
    worse = [f for f in found if f.valence == "worse" and f.certainty in ("strong", "likely", "suggests")]
    parts = []
    if worse:
        parts += ["**These got worse:**", "\n".join(f"- {_worse_line(release, f, service)}" for f in worse)]
    more = other_harms(release)
    if more:
        parts += [f"{'The figures also' if worse else '**The figures**'} suggest a change for the worse here:",
                  "\n".join(f"- {starts_with_capital(m)}." for m in more)]  # fmt: skip
    silent = sum(not f.has_number for f in found)
    if not parts:
        known = sum(f.has_range for f in found)
        parts.append("We found no clear harm. That does not mean there was none." if 2 * known > len(found) else
                     "We know too little to say if there was harm." if known else
                     "We could not work out whether there was harm.")  # fmt: skip
    if silent:
        parts.append(f"For {silent} of {len(found)} things there is no number. There may be harm that we cannot see.")
    return parts


def other_harms(release: Release) -> list[str]:
    """What seems to have got worse beside the planned outcomes: where people live, returns, what matters to people."""
    chosen = [read_chosen(release, item) for item in release.protocol.chosen]
    clear = [f for f in chosen if f.certainty in ("strong", "likely", "suggests") and valence_word(f) == "worse"]
    return [*list_worse(release),
            *(f"{'more' if f.value > 0 else 'fewer'} people who {f.item.plain}" for f in clear)]  # fmt: skip


def _worse_line(release: Release, finding: Finding, service: str) -> str:
    """A harm is told as fully as a benefit: the numbers, the range, and how sure."""
    observed = facts.observed_risk(release, finding.outcome)
    told = effect_sentences(finding, service=service, observed=observed)
    sure = confidence_sentences(finding, service=service)[:1]
    return f"**{starts_with_capital(finding.outcome.plain)}.** {' '.join([*told, *sure])}"


def _possible(release: Release, found: list[Finding], service: str) -> list[str]:
    parts = []
    possible = [(f, text) for f in found if (text := worst_case(
        f, service=service, observed=facts.observed_risk(release, f.outcome)))]  # fmt: skip
    if possible:
        parts += ["**We cannot rule out these harms.** Each is the worst end of the range of doubt.",
                  "\n".join(f"- {starts_with_capital(f.outcome.plain)}: {text[:1].lower() + text[1:]}"
                            for f, text in possible)]  # fmt: skip
    after = list_possible_returns(release)
    if after:
        parts += ["The same goes for the time after leaving a ward:", "\n".join(after)]
    places = list_possible_harms(release)
    if places:
        parts += ["The same goes for days in a year that a person spent in these places:", "\n".join(places)]
    chosen = list_possible_losses(release)
    if chosen:
        parts += ["And for what matters to people. Out of 100 people, it could have been:", "\n".join(chosen)]
    return parts


def list_possible_losses(release: Release) -> list[str]:
    """`- 10 fewer who took part in paid work.` for each outcome that people chose whose range holds a harm."""
    lines = []
    for item in release.protocol.chosen:
        found = read_chosen(release, item)
        end = {"higher": found.lower, "lower": found.upper}.get(item.better, math.nan)
        if math.isfinite(end) and (end < 0 if item.better == "higher" else end > 0):
            count = abs(round(end))
            lines.append(f"- {count or 'less than 1'} {'fewer' if end < 0 else 'more'} who {item.plain}.")
    return lines


def death_rates(release: Release) -> list[tuple[str, str]]:
    """Out of 100 people who left hospital, how many died during the study: (group, `5`), where released."""
    found = []
    for row, name in _death_groups(release):
        people = facts.cell_value(release, "description.recurrence", row, "people")
        deaths = facts.cell_value(release, "description.recurrence", row, "deaths")
        if math.isfinite(people) and math.isfinite(deaths) and people > 0:
            found.append((name, f"{100 * deaths / people:.0f}"))
    return found


def _death_groups(release: Release) -> list[tuple[str, str]]:
    """Rows of `description.recurrence` and what to call them; the treated group first."""
    rows = release.table("description.recurrence")
    groups = [str(r) for r in dict.fromkeys(rows["row"]) if str(r).startswith("group.")] or ["all"] * bool(len(rows))
    groups = facts.treated_first(groups, f"group.{facts.treated_group(release.protocol)}")
    names = {str(r.row): str(r.label) for r in rows.itertuples()}
    return [(g, OTHER_PLACES if names[g] == "Comparators" else names[g]) for g in groups]


def _deaths(release: Release, service: str) -> list[str]:
    groups = _death_groups(release)
    if not groups:
        return ["Deaths are only counted after a stay in hospital. This study holds no records of such stays."]
    sentences = [
        f"The plan did not ask if {service} changed deaths. So this is a count and not an effect.",
        "It takes in the time before the start. The people in the places may differ in age and health.",
    ]
    days = facts.table_row(release, "pathway.days", "pathway_dead.days_per_person")
    if len(days) and not (days["status"] == "shown").any():
        sentences.insert(1, "Where people live looks at days lost to death. It cannot tell us either.")
    for row, name in groups:
        people = facts.cell_value(release, "description.recurrence", row, "people")
        deaths = facts.cell_value(release, "description.recurrence", row, "deaths")
        where = "In all" if name == "Everybody" else f"In {name}"
        if math.isfinite(people) and math.isfinite(deaths):
            share = f"about {100 * deaths / people:.0f} out of 100" if people > 0 else "nobody was counted: none of the"
            sentences.append(
                f"{where}, {share} people who left hospital died during the study ({deaths:,.0f} of {people:,.0f})."
            )
        else:
            row_of = facts.cell(release, "description.recurrence", row, "deaths")
            few = row_of is not None and "fewer than" in str(row_of["reason"])
            held = f"fewer than {facts.threshold(release)} people who left hospital died during the study" if few else (
                "the number of deaths is not released")  # fmt: skip
            sentences.append(f"{where}, {held}.")
    return sentences


def uncounted_harms(release: Release) -> list[str]:
    """Harms that the plan does not count, in words; none where it names no ward that mental-health care alone has."""
    protocol = release.protocol
    states = protocol.pathway.states if protocol.pathway else ()
    wards = {ward for named in (*states, *protocol.outcomes) for ward in getattr(named, "ward_types", ())}
    if not wards & {"picu", "rehab", "secure"}:
        return []
    missing = [name for name, _ in _HARMS]
    return missing if _asks_for_homes(protocol) else [*missing, _HOME]


def _asks_for_homes(protocol: Protocol) -> bool:
    states = protocol.pathway.states if protocol.pathway else ()
    asked = [*states, *protocol.outcomes]
    return any("homeless" in getattr(a, "settings", ()) for a in asked)


def _uncounted(release: Release) -> list[str]:
    """Empty where there is nothing to say of this study."""
    missing = uncounted_harms(release)
    if not missing:
        return []
    held = [name for name, table in _HARMS if name in missing and _is_held(release, table)]
    parts = ["### Harms that nobody counted",
             "The plan did not ask about these. So nothing here says if they became more or less common:",
             "\n".join(f"- {starts_with_capital(name)}." for name in missing)]  # fmt: skip
    if held:
        parts.append(f"One of them is written down: {' and '.join(held)}. So a later plan could count it.")
    parts.append("If one of these matters to you, say so. It can be put into the next plan.")
    return parts


def _is_held(release: Release, table: str) -> bool:
    return bool(table) and len(facts.table_row(release, "data_tables", table)) > 0
