"""Where a comment may point: the blocks of the report being written, and those of every version released before."""

from __future__ import annotations

import hashlib
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from evalkit.core.errors import Fault, ReviewError
from evalkit.review.record import ReportName, Review

Blocks = Mapping[ReportName, Mapping[str, str]]

BLOCKS_FILE = "blocks.json"
WHOLE_REPORT = "document"  # the title: where a comment on no one place belongs
REPORTS: tuple[ReportName, ...] = get_args(ReportName)
_ID = re.compile(r"[a-z][a-z0-9_.:-]{0,79}")
_PLACE = re.compile(r"-\d+$")
_NO_WORDS = re.compile(r"<(script|style|annotation|noscript)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_WORD_LIMIT = 40  # characters of a bookmark's name in Word


@dataclass(frozen=True)
class Known:
    """Ids of blocks by version: `now` is the version of the report that was given, which may be unreleased."""

    now: int
    by_version: Mapping[int, Mapping[str, frozenset[str]]]

    def version_of(self, report: str, block: str, *, said: int | None = None) -> int | None:
        """The version a comment belongs to: that which its file said, or the newest that has the block; else None."""
        having = [number for number, ids in self.by_version.items() if block in ids.get(report, ())]
        if block == WHOLE_REPORT and not having:
            return self.now if said is None else said
        if not having:
            return None
        if said in having:
            return said
        return self.now if self.now in having else max(having)

    def now_blocks(self, report: str) -> frozenset[str]:
        """The ids of this report as it is now."""
        return self.by_version[self.now].get(report, frozenset())

    def blocks_of(self, report: str) -> frozenset[str]:
        """Every id that this report has or had."""
        return frozenset[str]().union(*(ids.get(report, ()) for ids in self.by_version.values()))


def build_known(review: Review, blocks: Blocks) -> Known:
    """Ids by version. The report given is the version whose digests it has, else the one being written now."""
    flat = flat_blocks(blocks)
    same = [version.number for version in review.versions if dict(version.blocks) == flat]
    now = max(same, default=review.number)
    by_version = {version.number: _by_report(version.blocks) for version in review.versions}
    return Known(now, by_version | {now: _by_report(flat)})


def _by_report(names: Iterable[str]) -> dict[str, frozenset[str]]:
    return {
        report: frozenset(name.split("/", 1)[1] for name in names if name.startswith(f"{report}/"))
        for report in REPORTS
    }  # fmt: skip


def flat_blocks(blocks: Blocks) -> dict[str, str]:
    """Digests by `report/id`, as a `Version` keeps them."""
    return {f"{report}/{name}": digest for report in sorted(blocks) for name, digest in sorted(blocks[report].items())}


def load_blocks(folder: Path | str) -> Blocks:
    """The ids and digests of the blocks of both reports, from the output folder of `evalkit evaluate`.

    Raises
    ------
    ReviewError
        If there is no `blocks.json`, or it is not what `evalkit evaluate` writes.
    """
    path = Path(folder) / BLOCKS_FILE
    step = "Give the folder that `evalkit evaluate` wrote."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReviewError(Fault(str(path), "there is no such file", next_step=step)) from None
    except (OSError, ValueError, RecursionError):
        raise ReviewError(Fault(str(path), "it cannot be read as JSON", next_step=step)) from None
    if not isinstance(content, dict) or not content or not all(
        report in REPORTS and isinstance(found, dict) and all(isinstance(digest, str) for digest in found.values())
        for report, found in content.items()
    ):  # fmt: skip
        raise ReviewError(Fault(str(path), "it does not hold blocks by report", next_step=step))
    return content


def load_words(folder: Path | str) -> dict[str, str]:
    """Letters and figures of each report in reading order, from its page and its form: to tell a quote from anything.

    A report without a page has no words here, so that no quote from it can be told to be one.
    """
    words = {}
    for report in REPORTS:
        found = []
        for name in (f"{report}.html", f"{report}_comments.csv"):
            path = Path(folder) / name
            if path.is_file():
                found.append(path.read_text(encoding="utf-8", errors="replace"))
        words[report] = squeezed(html.unescape(_NO_WORDS.sub(" ", "\n".join(found))))
    return words


def squeezed(text: str) -> str:
    """Letters and figures alone: two programs that show the same words differ in all the rest."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def bookmark_name(block: str) -> str:
    """The bookmark of a block in the Word file: its id, or what pandoc makes of one too long for Word."""
    if block[:1].isalpha() and len(block) <= _WORD_LIMIT:
        return block
    return "X" + hashlib.sha1(block.encode(), usedforsecurity=False).hexdigest()[1:]


def part_of(block: str) -> str:
    """The part of a report that a numbered block stands in; any other block stands for itself."""
    return _PLACE.sub("", block)


def safe_id(block: str) -> str:
    """The id if it looks like one: what somebody typed into its place by mistake is never repeated."""
    return f'"{block}"' if is_id(block) else "something that is not an id"


def is_id(block: str) -> bool:
    """Whether it can be the id of a block."""
    return _ID.fullmatch(block) is not None
