"""Notes before parts of the peer report that may be hard to read, each with a link past them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from evalkit.report import facts
from evalkit.report.display import show_text
from evalkit.report.peer_harms import uncounted_harms
from evalkit.report.phrases import listed

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

Part = Literal["bad-news", "places", "risk"]
SUPPORT = "[whom you can talk to](#if-you-need-support)"


def show_content_note(release: Release) -> None:
    """What may be hard to read in the whole report, where notes stand, and where support is listed."""
    hard = hard_things(release)
    if hard:
        text = (f"**Before you read.** This report speaks of {listed(hard)}. Each hard part has a note with a link "
                f"past it. Support: {SUPPORT}.")  # fmt: skip
    else:
        told = [o.plain for o in release.protocol.outcomes]
        what = listed(told) if 0 < len(told) <= 2 else "illness, care and leaving home"
        text = f"**Before you read.** This report speaks of {what}. Some of it may be hard to read."
    show_text(text, id="text-content-note")


def hard_things(release: Release) -> list[str]:
    """What the report holds that may be hard to read, in words."""
    hard = []
    if facts.release_has(release, "description.recurrence") or facts.release_has(release, "attrition"):
        hard.append("deaths")
    if uncounted_harms(release):
        hard += ["being held", "force", "harming oneself"]
    if _has_prison(release):
        hard.append("prison")
    return hard


def show_note(release: Release, *, part: Part, past: str, link: str) -> None:
    """A note before one part: what is in it, and a link past it to the heading `past`, whose anchor is `link`."""
    what = {
        "bad-news": ["deaths", *(["being held or hurt", "harming oneself"] if uncounted_harms(release) else [])],
        "places": ["deaths", *(["prison"] if _has_prison(release) else [])],
        "risk": ["guessing who will be ill again"],
    }[part]  # fmt: skip
    show_text(f"**Note.** This part speaks of {listed(what)}. You can [pass over it and go on at “{past}”](#{link}).",
              id=f"text-note-{part}")  # fmt: skip


def _has_prison(release: Release) -> bool:
    states = release.protocol.pathway.states if release.protocol.pathway else ()
    return any("prison" in s.settings for s in states)
