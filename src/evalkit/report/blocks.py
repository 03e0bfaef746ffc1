"""The blocks of a report that a reader's comment can point at: their ids, their words, and a digest of both.

Ids are put into pandoc's tree, so that every form of the report carries them: an id in HTML, a bookmark in DOCX,
a label in typst. Nothing here knows any of the three.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from evalkit.core.errors import Fault
from evalkit.core.faults import refuse

if TYPE_CHECKING:
    from evalkit.report.document import Document

Node = dict[str, Any]
BlockKind = Literal["title", "heading", "paragraph", "item", "quote", "figure", "table", "note", "code", "reference"]

TITLE_ID = "document"
PROSE = "evalkit-prose"  # class of the Div around one prose cell; taken away again once its leaves are numbered
BLOCK_CLASS = "evalkit-block"  # by which the page finds the blocks that may be commented on
_NOTE = "note"
_REFERENCES = "refs"
_NUMBER = re.compile(r"^(Figure|Table) \d+\. ")
_QUOTES = {"SingleQuote": ("‘", "’"), "DoubleQuote": ("“", "”")}
_DIGITS = 16


@dataclass(frozen=True)
class ReportBlock:
    """One block: its stable id, what it is, its words, and the first 16 figures of their SHA-256.

    The number of a figure or table is not part of its words, so that a new figure does not change those after it.
    """

    id: str
    kind: BlockKind
    text: str
    digest: str


def with_block_ids(blocks: list[Node]) -> list[Node]:
    """The tree with an id on every paragraph, list item and quote; Divs around prose cells are gone.

    Inside the Div `x` the n-th of them is `x-n`, counted in reading order. Headings keep the id pandoc gave them.
    """
    out: list[Node] = []
    for node in blocks:
        if node["t"] != "Div":
            out.append(node)
            continue
        (name, classes, _), inside = node["c"]
        if _NOTE in classes or not name:
            out.append(_div(node, with_block_ids(inside)))
            continue
        numbered = _numbered(inside, name, count(1))
        out += numbered if PROSE in classes else [_div(node, numbered)]
    return out


def _div(node: Node, inside: list[Node]) -> Node:
    return {"t": "Div", "c": [node["c"][0], inside]}


def _numbered(blocks: list[Node], name: str, numbers: Iterator[int]) -> list[Node]:
    return [_with_id(node, name, numbers) for node in blocks]


def _with_id(node: Node, name: str, numbers: Iterator[int]) -> Node:
    """One element with ids in it; whatever holds elements is walked through."""
    kind, content = node["t"], node.get("c")
    match kind:
        case "Para" | "Plain" if plain_text(content):
            return {"t": kind, "c": [identified(content, f"{name}-{next(numbers)}")]}
        case "LineBlock":
            return {"t": "Div", "c": [[f"{name}-{next(numbers)}", [BLOCK_CLASS], []], [node]]}
        case "BlockQuote":
            return {"t": kind, "c": _numbered(content, name, numbers)}
        case "Div" if content[0][0] != _REFERENCES:
            return _div(node, _numbered(content[1], name, numbers))
        case "BulletList":
            return {"t": kind, "c": [_numbered(item, name, numbers) for item in content]}
        case "OrderedList":
            return {"t": kind, "c": [content[0], [_numbered(item, name, numbers) for item in content[1]]]}
        case "DefinitionList":
            return {"t": kind, "c": [[term, [_numbered(d, name, numbers) for d in said]] for term, said in content]}
        case "CodeBlock" | "Table" if not content[0][0]:
            attributes = [f"{name}-{next(numbers)}", *content[0][1:]]
            return {"t": kind, "c": [attributes, *content[1:]]}
        case _:
            return node


def identified(inlines: list[Node], name: str) -> Node:
    """The words of one paragraph as a Span with an id."""
    return {"t": "Span", "c": [[name, [BLOCK_CLASS], []], inlines]}


def read_blocks(document: Document) -> tuple[ReportBlock, ...]:
    """Every block of a document in reading order, the title first.

    Raises
    ------
    ParameterError
        With every id that two blocks bear: a comment could not tell them apart.
    """
    title = " ".join(part for part in (document.title, document.subtitle) if part)
    found = [_block(TITLE_ID, "title", title)] if title else []
    found += _walk(document.tree["blocks"], "paragraph", document.pictures)
    ids = [block.id for block in found]
    refuse(
        Fault(name, "two blocks of the report bear this id", next_step="Give each show_ call an id of its own.")
        for name in sorted({name for name in ids if ids.count(name) > 1})
    )
    return tuple(found)


def digests(blocks: tuple[ReportBlock, ...]) -> dict[str, str]:
    """What `blocks.json` and a `Version` keep of a report: the digest of every block by its id."""
    return {block.id: block.digest for block in blocks}


def _block(name: str, kind: BlockKind, text: str, *, picture: str = "") -> ReportBlock:
    whole = "\n".join([kind, text, picture])
    return ReportBlock(name, kind, text, hashlib.sha256(whole.encode("utf-8")).hexdigest()[:_DIGITS])


def _walk(blocks: list[Node], kind: BlockKind, pictures: Mapping[str, str]) -> list[ReportBlock]:
    """The blocks of a tree; `kind` is what a paragraph counts as here (a list's are items, a quote's quotes)."""
    found: list[ReportBlock] = []
    for node in blocks:
        content = node.get("c")
        match node["t"]:
            case "Header":
                found.append(_block(content[1][0], "heading", plain_text(content[2])))
            case "Para" | "Plain":
                found += [_block(span["c"][0][0], kind, plain_text(span["c"][1])) for span in _ids_of(content)]
            case "Figure":
                name = content[0][0]
                text = f"{_caption(content[1])} {plain_text(content[2])}"
                found.append(_block(name, "figure", text, picture=pictures.get(name, "")))
            case "Table":
                text = f"{_caption(content[1])} {plain_text(content[3:])}"
                found.append(_block(content[0][0], "table", " ".join(text.split())))
            case "CodeBlock":
                found.append(_block(content[0][0], "code", content[1]))
            case "Div":
                found += _walk_div(node, kind, pictures)
            case "BlockQuote":
                found += _walk(content, "quote", pictures)
            case "BulletList":
                found += [block for item in content for block in _walk(item, "item", pictures)]
            case "OrderedList":
                found += [block for item in content[1] for block in _walk(item, "item", pictures)]
            case "DefinitionList":
                found += [b for _, said in content for d in said for b in _walk(d, "item", pictures)]
    return found


def _walk_div(node: Node, kind: BlockKind, pictures: Mapping[str, str]) -> list[ReportBlock]:
    (name, classes, _), inside = node["c"]
    if name.startswith("ref-"):
        return [_block(name, "reference", plain_text(inside))]
    if inside and inside[0]["t"] == "LineBlock":
        return [_block(name, kind, plain_text(inside))]
    return _walk(inside, "note" if _NOTE in classes else kind, pictures)


def _ids_of(inlines: list[Node]) -> list[Node]:
    """The Span with an id that holds a whole paragraph, where there is one."""
    return [n for n in inlines if n["t"] == "Span" and n["c"][0][0]]


def _caption(caption: list[Any]) -> str:
    return _NUMBER.sub("", plain_text(caption[1] if caption else []))


def plain_text(node: Any) -> str:
    """The words of a part of the tree, formulas as TeX, with single spaces."""
    return " ".join("".join(_words(node)).split())


def _words(node: Any) -> Iterator[str]:
    """Words and the spaces between them; attributes, alignments and targets are not words."""
    if isinstance(node, list):
        for child in node:
            yield from _words(child)
        return
    if not isinstance(node, dict) or "t" not in node:
        return
    kind, content = node["t"], node.get("c")
    match kind:
        case "Str":
            yield content
        case "Space" | "SoftBreak" | "LineBreak":
            yield " "
        case "Code" | "Math" | "CodeBlock":
            yield content[1]
        case "Quoted":
            before, after = _QUOTES[content[0]["t"]]
            yield from (before, *_words(content[1]), after)
        case "RawInline" | "RawBlock":
            return
        case _:
            yield from _words(content)
            if kind in ("Para", "Plain", "Header"):
                yield " "
