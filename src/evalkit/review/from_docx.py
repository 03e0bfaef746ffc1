"""Comments from a Word file: the comments alone, never who wrote them or when, and never what was typed in the text.

The file is a zip of XML from a stranger: parts are read up to a limit, and XML that defines entities is refused
before it is parsed. Namespaces are left aside, so that both kinds of Open XML (transitional, strict) are read.
"""

from __future__ import annotations

import io
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.core.errors import Fault, ReviewError
from evalkit.review.blocks import REPORTS, WHOLE_REPORT, Known, bookmark_name
from evalkit.review.incoming import COMMENTS_LIMIT, Incoming, Parsed, refuse_file, shortened

PART_LIMIT = 64 * 2**20  # bytes of one part, unpacked
MAX_PARTS = 5_000
_DOCUMENT, _COMMENTS, _THREADS = "word/document.xml", "word/comments.xml", "word/commentsExtended.xml"
_SAVE = "Save it as Word (.docx), with the comments in it."
_TRACKED = ("ins", "del", "moveFrom", "moveTo")
_TEXTS = ("t", "delText")
_ENOUGH = 400  # characters of the words under a comment, more than its quote keeps


@dataclass(frozen=True)
class _Anchor:
    """Where a comment stands: the block, the words it spans, and its place in reading order."""

    block: str
    quote: str
    order: int


@dataclass(frozen=True)
class _WordComment:
    id: str
    text: str
    last_paragraph: str


def read_docx(where: str, content: bytes, known: Known) -> Parsed:
    """Read the comments of a Word file, in the order in which they stand in the text; replies follow their comment.

    A comment belongs to the last bookmark of a block that starts before the first words of its paragraph, or else
    before that paragraph. Replies and comments marked as resolved are comments like any other.
    """
    try:
        parts = _read_parts(where, content)
    except ReviewError as error:
        return Parsed(faults=error.faults)
    if _COMMENTS not in parts:
        return refuse_file(where, "there are no comments in it", "Comment with Word's own comments, not in the text.")
    if sum(1 for node in parts[_COMMENTS] if _tag(node) == "comment") > COMMENTS_LIMIT:
        return refuse_file(where, "it holds too many comments", allowed=f"{COMMENTS_LIMIT:,}")
    written = _written(parts[_COMMENTS])
    if not any(comment.text for comment in written):
        return refuse_file(where, "there are no comments in it", "Comment with Word's own comments, not in the text.")
    names = _block_names(parts[_DOCUMENT], known)
    report = _report_of(names)
    anchors = _anchors(parts[_DOCUMENT], names.get(report, {}))
    parents, resolved = _threads(parts.get(_THREADS), written)
    return _parsed(where, written, anchors, parents, resolved, report, _tracked_notes(where, parts[_DOCUMENT]))


def _parsed(
    where: str, written: list[_WordComment], anchors: Mapping[str, _Anchor], parents: Mapping[str, str],
    resolved: frozenset[str], report: str, notes: list[str],
) -> Parsed:  # fmt: skip
    texts = {comment.id: comment.text for comment in written}
    ordered = []
    for place, comment in enumerate(written):
        root = _root(comment.id, parents)
        anchor = anchors.get(comment.id) or anchors.get(root) or _Anchor("", "", len(texts) * 1_000_000)
        first = anchors.get(root, anchor).order
        ordered.append(((first, comment.id != root, place), comment, anchor))
    ordered.sort(key=lambda entry: entry[0])
    comments = []
    numbers = {comment.id: number for number, (_, comment, _) in enumerate(ordered, 1)}
    for number, (_, comment, anchor) in enumerate(ordered, 1):
        here = f"{where}, comment {number}"
        if not comment.text:
            notes.append(f"{here}: it is empty and was left out.")
            continue
        block, quote = anchor.block, anchor.quote
        if not block:
            block = WHOLE_REPORT
            notes.append(f"{here}: it stands at no block, so it counts as about the report as a whole.")
        if comment.id in parents:
            # Its words are another reader's: they are no quote from the report.
            notes.append(f"{here}: it answers comment {numbers.get(parents[comment.id], '(not known)')} of that file.")
        if comment.id in resolved:
            notes.append(f"{here}: it is marked as resolved in Word; it still needs an answer here.")
        comments.append(Incoming(here, "docx", block=block, text=comment.text, report=report, quote=shortened(quote)))
    notes.append(f"{where}: the names that Word keeps with comments were not read.")
    return Parsed(tuple(comments), tuple(notes))


# ---- the zip and its XML ---------------------------------------------------------------------------


def _read_parts(where: str, content: bytes) -> dict[str, Any]:
    """The parsed parts that matter; ReviewError where the file is not Word, broken or made to do harm."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            listed = archive.namelist()
            wanted = [name for name in (_DOCUMENT, _COMMENTS, _THREADS) if name in listed]
            if _DOCUMENT not in listed:
                raise ReviewError(Fault(where, "it is a zip file but not a Word document", next_step=_SAVE))
            if len(listed) > MAX_PARTS or any(listed.count(name) > 1 for name in wanted):
                raise ReviewError(Fault(where, "its list of parts is not that of a Word document", next_step=_SAVE))
            return {name: _parse(where, name, _unpacked(where, archive, name)) for name in wanted}
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
        ValueError,
        struct.error,
    ) as error:
        # RuntimeError is what zipfile raises for a part that is locked with a password.
        if isinstance(error, ReviewError):
            raise
        raise ReviewError(Fault(where, "it is broken or locked with a password", next_step=_SAVE)) from None


def _unpacked(where: str, archive: zipfile.ZipFile, name: str) -> bytes:
    # The size that a zip states may be a lie, so no more than the limit is ever unpacked.
    with archive.open(name) as part:
        content = part.read(PART_LIMIT + 1)
    if len(content) > PART_LIMIT:
        raise ReviewError(Fault(where, f"its part {name} is too large", allowed=f"{PART_LIMIT // 2**20} MB"))
    return content


def _parse(where: str, name: str, content: bytes) -> Any:
    from docx.oxml import parse_xml

    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ReviewError(Fault(where, f"its part {name} is not in UTF-8", next_step=_SAVE)) from None
    if re.search(r"<!\s*(?:DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise ReviewError(Fault(where, f"its part {name} defines entities, which Word never does", next_step=_SAVE))
    try:
        # Without its declaration the part can be in no encoding but the one that was just looked through.
        return parse_xml(re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1).encode())
    except SyntaxError:  # the base of lxml's own XMLSyntaxError
        raise ReviewError(Fault(where, f"its part {name} is not XML", next_step=_SAVE)) from None


def _tag(node: Any) -> str:
    return node.tag.rsplit("}", 1)[-1] if isinstance(node.tag, str) else ""


def _attribute(node: Any, name: str) -> str:
    return next((value for key, value in node.attrib.items() if key.rsplit("}", 1)[-1] == name), "")


def _words(node: Any) -> Iterator[str]:
    """The words of a part of the document as they read once tracked changes are accepted."""
    match _tag(node):
        case "t":
            yield node.text or ""
        case "tab":
            yield " "
        case "br" | "cr":
            yield "\n"
        case "noBreakHyphen":
            yield "-"
        case "del" | "moveFrom" | "pPr" | "rPr" | "Fallback":
            return
        case _:
            for child in node:
                yield from _words(child)


# ---- comments, their threads and their places ------------------------------------------------------


def _written(comments: Any) -> list[_WordComment]:
    found = []
    for node in comments:
        if _tag(node) != "comment":
            continue
        paragraphs = list(_outer_paragraphs(node))
        text = "\n".join("".join(_words(p)) for p in paragraphs).strip()
        last = _attribute(paragraphs[-1], "paraId") if paragraphs else ""
        found.append(_WordComment(_attribute(node, "id"), text, last))
    return found


def _outer_paragraphs(node: Any) -> Iterator[Any]:
    """The paragraphs in reading order; those of a text box are part of the one that holds it."""
    for child in node:
        if _tag(child) == "p":
            yield child
        else:
            yield from _outer_paragraphs(child)


def _threads(threads: Any | None, written: list[_WordComment]) -> tuple[dict[str, str], frozenset[str]]:
    """The parent of each reply, and which comments are marked as resolved."""
    by_paragraph = {comment.last_paragraph: comment.id for comment in written if comment.last_paragraph}
    parents, resolved = {}, set()
    for node in threads if threads is not None else ():
        comment = by_paragraph.get(_attribute(node, "paraId"))
        parent = by_paragraph.get(_attribute(node, "paraIdParent"))
        if comment and parent and parent != comment:
            parents[comment] = parent
        if comment and _attribute(node, "done") in ("1", "true", "on"):
            resolved.add(comment)
    return parents, frozenset(resolved)


def _root(comment: str, parents: Mapping[str, str]) -> str:
    seen = {comment}
    while comment in parents and parents[comment] not in seen:
        comment = parents[comment]
        seen.add(comment)
    return comment


def _block_names(document: Any, known: Known) -> dict[str, dict[str, str]]:
    """By report: the blocks that have a bookmark in this file, by the name of the bookmark."""
    there = {_attribute(node, "name") for node in document.iter() if _tag(node) == "bookmarkStart"}
    return {
        report: {name: block for block in known.blocks_of(report) if (name := bookmark_name(block)) in there}
        for report in REPORTS
    }


def _report_of(names: Mapping[str, Mapping[str, str]]) -> str:
    """The report that this file is: the one most of whose blocks it has; "" where both fit alike."""
    ranked = sorted(names, key=lambda report: len(names[report]), reverse=True)
    return "" if len(names[ranked[0]]) == len(names[ranked[1]]) else ranked[0]


def _anchors(document: Any, names: Mapping[str, str]) -> dict[str, _Anchor]:
    """Where each comment stands. One that starts between paragraphs belongs to the next of them."""
    places: dict[str, tuple[str, int]] = {}
    spans: dict[str, tuple[int, int]] = {}  # where each comment's words start and end in all that is read
    read: list[str] = []
    waiting: list[str] = []
    current, inside, words, length = "", False, False, 0

    def settle() -> None:
        for comment in waiting:
            places[comment] = (current, len(places))
        waiting.clear()

    for what, value in _marks(document, names):
        if what == "paragraph":
            inside, words = True, False
        elif what == "end":
            settle()
            inside = False
            read.append(" ")
            length += 1
        elif what == "block":
            current = value
        elif what in ("start", "point") and value not in places and value not in waiting:
            waiting.append(value)
            spans[value] = (length, length + (_ENOUGH if what == "start" else 0))
            if inside and words:
                settle()
        elif what == "stop":
            start, end = spans.get(value, (0, 0))
            spans[value] = (start, min(end, length))
        elif what == "words" and value.strip():
            words = words or inside
            settle()
            read.append(value)
            length += len(value)
    settle()
    whole = "".join(read)
    return {comment: _Anchor(block, whole[slice(*spans[comment])], order) for comment, (block, order) in places.items()}


def _marks(node: Any, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What matters of the text, in reading order; what a reader typed into it as a tracked change is left out."""
    tag = _tag(node)
    if tag in ("ins", "moveTo", "Fallback"):
        # Comments may stand in there all the same: their places are kept, the words are not.
        for child in node:
            yield from (mark for mark in _marks(child, names) if mark[0] != "words")
        return
    match tag:
        case "p":
            yield "paragraph", ""
        case "bookmarkStart" if _attribute(node, "name") in names:
            yield "block", names[_attribute(node, "name")]
        case "commentRangeStart":
            yield "start", _attribute(node, "id")
        case "commentReference":
            yield "point", _attribute(node, "id")
        case "commentRangeEnd":
            yield "stop", _attribute(node, "id")
        case "t":
            yield "words", node.text or ""
    for child in node:
        yield from _marks(child, names)
    if tag == "p":
        yield "end", ""


def _tracked_notes(where: str, document: Any) -> list[str]:
    """That words typed into the text itself were not read, if there are any."""
    count = sum(1 for node in document.iter() if _tag(node) in _TRACKED and any(_tag(n) in _TEXTS for n in node.iter()))
    if not count:
        return []
    return [f"{where}: {count} tracked change{'s' if count != 1 else ''} in the text of the report "
            f"{'were' if count != 1 else 'was'} not read. Only Word's comments are."]  # fmt: skip
