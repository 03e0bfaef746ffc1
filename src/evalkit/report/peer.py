"""The peer report: what its notebook calls, in the order of its pages. The findings are in `peer_outcomes`,
the people and the limits in `peer_limits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report import facts
from evalkit.report.display import show_document, show_table, show_text
from evalkit.report.peer_limits import (
    show_glossary,
    show_limits,
    show_method,
    show_missing,
    show_questions,
)  # fmt: skip
from evalkit.report.peer_outcomes import show_bad_news, show_displacement, show_money, show_outcomes
from evalkit.report.phrases import headline, listed, service_short, starts_with_capital
from evalkit.report.tables import plain_claims_table
from evalkit.report.words import LADDER, Certainty, Finding

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

__all__ = [
    "show_bad_news", "show_claims", "show_content_note", "show_displacement", "show_glossary", "show_ladder",
    "show_limits", "show_method",
    "show_missing", "show_money", "show_outcomes", "show_questions", "show_summary", "show_title",
]  # fmt: skip

SIMULATED = "Simulated records: no real person is in this report, and it says nothing about the real service."


def show_title(release: Release) -> None:
    """The title block, with a warning over the whole report where the records are simulated."""
    study = release.protocol.study
    lines = {
        "For": release.protocol.study.readers,
        "Place": study.place,
        **({"Start": facts.adoption_text(release.protocol)} if release.protocol.exposure.by == "area" else {}),
        "Plan": f"fixed before the results were seen; its number is {release.protocol.digest[:12]}",
    }
    show_document(kind="peer", title=study.title, subtitle=study.plain_question,
                  banner=SIMULATED if study.synthetic else "", facts=lines)  # fmt: skip


def show_summary(release: Release) -> None:
    """The first page: the question, what changed, how sure, what is not known."""
    study = release.protocol.study
    service = service_short(study)
    planned = [f for o in release.protocol.outcomes if (f := facts.finding(release, o)) is not None]
    changes = [
        f"- **{starts_with_capital(f.outcome.plain)}**: {headline(f, service=service)}" for f in planned
    ] or ["- Nothing was planned that these records can answer."]  # fmt: skip
    parts = [f"**The question.** {study.plain_question}", "**What changed.**", "\n".join(changes),
             f"**How sure we are.** {_how_sure(planned)}", "**What we do not know.**",
             "\n".join(f"- {line}" for line in _unknown(release, planned, service))]  # fmt: skip
    if study.synthetic:
        parts.insert(0, f"**{SIMULATED}**")
    show_text("\n\n".join(parts), id="text-summary")


def show_content_note(release: Release) -> None:
    """What may be hard to read, and where to go on instead."""
    if facts.release_has(release, "description.recurrence"):
        text = ("This report speaks of stays in hospital and of deaths. Deaths are in one part only, [Bad "
                "news](#bad-news). "
                "You can pass over it and go on at [What was said of the "
                "service](#what-was-said-of-the-service).")  # fmt: skip
    else:
        told = [o.plain for o in release.protocol.outcomes]
        what = listed(told) if len(told) <= 2 else "illness, care and leaving home"
        text = f"This report speaks of {what}. Some of it may be hard to read."
    show_text(text, id="text-content-note")


def _how_sure(planned: list[Finding]) -> str:
    count: dict[Certainty, int] = {}
    for finding in planned:
        count[finding.certainty] = count.get(finding.certainty, 0) + 1
    words: dict[Certainty, str] = {
        "strong": "there is strong evidence for {}", "likely": "a change is likely for {}",
        "suggests": "the figures suggest a change for {}", "too_uncertain": "we cannot tell for {}",
        "cannot_tell": "{} could not be worked out", "not_released": "{} cannot be shown",
    }  # fmt: skip
    said = [text.format(count[rung]) for rung, text in words.items() if rung in count]
    whole = len(planned)
    if not said:
        return "We looked at nothing."
    if whole == 1:
        return f"We looked at one thing. {LADDER[planned[0].certainty]}"
    return f"We looked at {whole} things. Of these, {listed(said)}."


def _unknown(release: Release, planned: list[Finding], service: str) -> list[str]:
    protocol = release.protocol
    doubtful = [f for f in planned if f.certainty in ("too_uncertain", "cannot_tell", "not_released")]
    lines = []
    if doubtful:
        if len(doubtful) == len(planned):
            lines.append("We have no clear answer to the question.")
        else:
            lines.append(f"For {len(doubtful)} of the {len(planned)} things above we have no clear answer.")
    if any(f.has_number for f in planned):
        if len(protocol.areas.treated) == 1:
            lines.append(
                f"Only {protocol.areas.treated[0]} had {service}. Something else there may have made a change."
            )
        else:
            lines.append(f"Something else may have changed where {service} came in.")
    lines.append("We do not know what it was like for people. Records do not say.")
    lines.append("The part **What this cannot tell us** says more.")
    return lines


def show_claims(release: Release) -> None:
    """What the service said of itself beside what was found."""
    table = plain_claims_table(release)
    if table.empty:
        show_text("The plan lists nothing that the service said of itself.", id="text-no-claims")
        return
    show_text(
        "The service and others have said what it did. Here each saying stands beside what we found. "
        "We did not ask whether a saying was meant well. We asked whether it fits the records.",
        id="text-claims",
    )  # fmt: skip
    note = "These are simulated records. So the table shows how we test a saying, not whether it is true."
    show_table(table, id="tab-claims", caption="What was said, and what we found",
               note=note if release.protocol.study.synthetic else "")  # fmt: skip


def show_ladder() -> None:
    """The words of confidence and what each of them means."""
    show_text("\n".join(f"- {text}" for text in LADDER.values()), id="text-ladder")
