"""The types of a review record. A comment points at a paragraph, table or figure by its stable id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["unclear", "wrong", "missing", "upsetting", "agree", "experience", "question"]
Status = Literal["open", "accepted", "changed", "declined", "needs_analysis"]
Reader = Literal["peer", "carer", "staff", "academic", "other", "example"]
Route = Literal["html", "docx", "csv"]
ReportName = Literal["peer", "academic"]
Principle = Literal["principles", "purpose", "presence", "process", "impact"]
Gripp2 = Literal["aim", "methods", "results", "discussion", "reflections"]

KINDS: Mapping[Kind, str] = MappingProxyType({
    "unclear": "This is not clear",
    "wrong": "This is wrong",
    "missing": "Something is missing",
    "upsetting": "This is upsetting",
    "agree": "I agree",
    "experience": "This is how it was for me",
    "question": "A new question",
})  # fmt: skip
STATUSES: Mapping[Status, str] = MappingProxyType({
    "open": "Not answered yet",
    "accepted": "We agree",
    "changed": "We changed the report",
    "declined": "We did not do this",
    "needs_analysis": "This needs new work",
})  # fmt: skip


@dataclass(frozen=True)
class Comment:
    """One comment and what became of it; `reviews/<study>/comments/<id>.yaml` holds the same fields.

    `quote` is what the reader saw there, at most 200 characters. `example` readers are the makers of evalkit showing
    how it works: they are shown as such and count nowhere. `changed` names the blocks that an answer changed.
    `after_results` is whether the reader had seen the results (for new questions: a request led by the data).
    `flags_accepted` is why somebody stored a text in which a pattern of personal data was found.
    """

    id: str
    report: ReportName
    block: str
    kind: Kind
    text: str
    version: int = 0
    quote: str = ""
    name: str = ""
    reader: Reader = "other"
    consent_to_quote: bool = False
    route: Route = "csv"
    after_results: bool = True
    status: Status = "open"
    reply: str = ""
    reason: str = ""
    decided_by: str = ""
    second: str = ""
    changed: tuple[str, ...] = ()
    analysis: str = ""
    flags_accepted: str = ""

    @property
    def answered(self) -> bool:
        return self.status != "open"


@dataclass(frozen=True)
class Held:
    """A comment that was read but not stored, because `found` names a kind of personal data in it.

    The text itself is nowhere in the record; `key` tells the comment again when it comes back. It counts as unanswered.
    """

    key: str
    report: ReportName
    block: str
    route: Route
    found: tuple[str, ...]


@dataclass(frozen=True)
class Involvement:
    """Who took part and how: 4Pi and GRIPP2 (short form), in the words of those who were there; "" is not recorded.

    `people` counts those with lived experience who took part, None where nobody wrote it down.
    """

    four_pi: Mapping[Principle, str] = field(default_factory=lambda: MappingProxyType({}))
    gripp2: Mapping[Gripp2, str] = field(default_factory=lambda: MappingProxyType({}))
    people: int | None = None
    credits: tuple[str, ...] = ()
    support: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """A version that was released: its number, the digest of its manifest, and that of every block by `report/id`."""

    number: int
    manifest: str
    blocks: Mapping[str, str]


@dataclass(frozen=True)
class Review:
    """Everything under `reviews/<study>/`."""

    comments: tuple[Comment, ...] = ()
    involvement: Involvement = field(default_factory=Involvement)
    versions: tuple[Version, ...] = ()
    held: tuple[Held, ...] = ()

    @property
    def counted(self) -> tuple[Comment, ...]:
        """Comments of readers: examples by the makers are shown and counted nowhere."""
        return tuple(c for c in self.comments if c.reader != "example")

    @property
    def unanswered(self) -> tuple[Comment, ...]:
        return tuple(c for c in self.comments if not c.answered)

    @property
    def taken_out(self) -> tuple[str, ...]:
        """Ids that were given once and whose comment is gone; the last ones given cannot be told."""
        numbers = {int(c.id[1:]) for c in self.comments if c.id[1:].isdecimal()}
        return tuple(f"c{n:04d}" for n in range(1, max(numbers, default=0)) if n not in numbers)

    @property
    def number(self) -> int:
        """The version that is being written now: one more than the last one released."""
        return 1 + max((v.number for v in self.versions), default=0)
