"""What still needs somebody before the report can be released."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from evalkit.review.incoming import shortened
from evalkit.review.personal import find_personal
from evalkit.review.record import KINDS, STATUSES, Review

WORDS = 60


@dataclass(frozen=True)
class StatusRow:
    """One comment: `missing` is what it lacks before a release, () if nothing; `words` are its first ones."""

    id: str
    report: str
    block: str
    kind: str
    status: str
    words: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ReviewStatus:
    """A row a comment in order, those held back last; `counts` says how many have each status (examples left out).

    `taken_out` are the ids whose comment somebody took away.
    """

    rows: tuple[StatusRow, ...]
    counts: Mapping[str, int]
    taken_out: tuple[str, ...] = ()

    @property
    def waiting(self) -> tuple[StatusRow, ...]:
        """The rows that keep the report from being released."""
        return tuple(row for row in self.rows if row.missing)


def review_status(review: Review) -> ReviewStatus:
    """What was said and what is missing. A text with a pattern of personal data in it is not shown, accepted or not."""
    rows = [
        StatusRow(
            comment.id, comment.report, comment.block, KINDS[comment.kind], STATUSES[comment.status],
            _first_words(comment.text), () if comment.answered else ("an answer",),
        )
        for comment in review.comments
    ]  # fmt: skip
    rows += [
        StatusRow("not stored", held.report, held.block, "", "Held back", "(not shown)",
                  (f"a look at the file: {', '.join(held.found)}",))
        for held in review.held
    ]  # fmt: skip
    counts = Counter(STATUSES[comment.status] for comment in review.counted)
    return ReviewStatus(tuple(rows), dict(counts), review.taken_out)


def _first_words(text: str) -> str:
    return "(not shown: it may hold personal data)" if find_personal(text) else shortened(text, WORDS)
