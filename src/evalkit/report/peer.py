"""The peer report: what its notebook calls, in the order of its pages. The first page is in `peer_summary`,
findings in `peer_outcomes`, harms in `peer_harms`, notes before hard parts in `peer_notes`, limits in `peer_limits`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evalkit.report import facts
from evalkit.report.display import show_document, show_table, show_text
from evalkit.report.peer_harms import show_bad_news
from evalkit.report.peer_limits import (
    show_glossary,
    show_limits,
    show_method,
    show_missing,
    show_questions,
)  # fmt: skip
from evalkit.report.peer_notes import show_content_note, show_note
from evalkit.report.peer_outcomes import show_displacement, show_money, show_outcomes
from evalkit.report.peer_summary import SIMULATED, show_summary
from evalkit.report.tables import plain_claims_table
from evalkit.report.words import LADDER

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

__all__ = [
    "show_bad_news", "show_claims", "show_content_note", "show_displacement", "show_glossary", "show_ladder",
    "show_limits", "show_method",
    "show_missing", "show_money", "show_note", "show_outcomes", "show_questions", "show_summary", "show_title",
]  # fmt: skip


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
    table["What was said"] = table["What was said"].str.rstrip(".")  # they head their rows
    note = ("What we found is for all the years after the start, even where a saying is of the first. "
            "Where it begins later, so do we.")  # fmt: skip
    if release.protocol.study.synthetic:
        note += " These are simulated records. So the table shows how we test a saying, not whether it is true."
    show_table(table, id="tab-claims", caption="What was said, and what we found", note=note)


def show_ladder() -> None:
    """The words of confidence and what each of them means."""
    show_text("\n".join(f"- {text}" for text in LADDER.values()), id="text-ladder")
