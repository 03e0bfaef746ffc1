"""What changed in a report since the last version that was released, said in words beside every block of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from evalkit.report.blocks import ReportBlock, plain_text
from evalkit.report.document import Document, inlines
from evalkit.review.blocks import part_of

if TYPE_CHECKING:
    from evalkit.review.record import Review

# Comments and answers say of themselves which version they belong to: marked, they would bury what else is new.
_SAID = re.compile(r"text-said-.*|comment-c\d+")


def build_labels(blocks: tuple[ReportBlock, ...], review: Review, *, report: str, version: int) -> dict[str, str]:
    """What to say beside each block that changed, by its id: since which version, and after which comments.

    A paragraph that only moved within its part, because another was put before it, has not changed. The comments and
    answers themselves are not marked as new.
    """
    words: dict[str, list[str]] = {block.id: [] for block in blocks}
    for name, text in _since_last(blocks, review, report, version).items():
        words[name].append(text)
    for comment in review.comments:
        if comment.report == report and comment.answered:
            for name in comment.changed:
                place = _first_of(name.removeprefix(f"{report}/"), words)
                if place:
                    words[place].append(f"Changed after comment {comment.id}")
    return {
        name: "; ".join([said[0], *(s[0].lower() + s[1:] for s in said[1:])]) for name, said in words.items() if said
    }


def _since_last(blocks: tuple[ReportBlock, ...], review: Review, report: str, version: int) -> dict[str, str]:
    earlier = [v for v in review.versions if v.number < version]
    if not earlier:
        return {}
    last = max(earlier, key=lambda v: v.number)
    start = f"{report}/"
    before = {name.removeprefix(start): digest for name, digest in last.blocks.items() if name.startswith(start)}
    if not before:
        return {}
    moved = {(part_of(name), digest) for name, digest in before.items()}
    out = {}
    for block in blocks:
        if _SAID.fullmatch(block.id):
            continue
        if (part_of(block.id), block.digest) not in moved:
            what = "Changed" if block.id in before else "New"
            out[block.id] = f"{what} since version {last.number}"
    return out


def _first_of(name: str, known: Mapping[str, Any]) -> str:
    """The block of that name, or the first one of the part that bears it; "" where the report has neither."""
    if name in known:
        return name
    return next((other for other in known if other != name and part_of(other) == name), "")


def with_labels(document: Document, labels: Mapping[str, str]) -> Document:
    """The document with a label in words at the start of every block that has one, or at the end of its caption."""
    if not labels:
        return document

    def labelled(node: dict[str, Any]) -> list[dict[str, Any]]:
        content = node.get("c")
        match node["t"]:
            case "Para" | "Plain":
                found = next((s["c"][0][0] for s in content if s["t"] == "Span" and s["c"][0][0] in labels), "")
                if found:
                    return [node | {"c": [_mark(inlines(f"{labels[found]}.")), {"t": "Space"}, *content]}]
            case "Header" if content[1][0] in labels:
                return [node, {"t": "Para", "c": [_mark(inlines(f"{labels[content[1][0]]}."))]}]
            case "Figure" | "Table" if content[0][0] in labels:
                # Captions are plain words in every form of the report.
                words = inlines(f"{labels[content[0][0]]}.")
                first, *rest = content[1][1] or [{"t": "Plain", "c": []}]
                caption = [content[1][0], [_with_more(first, words), *rest]]
                attributes = [content[0][0], [*content[0][1], "changed-block"], content[0][2]]
                return [node | {"c": [attributes, caption, *content[2:]]}]
        return [node]

    return replace(document, tree=document.tree | {"blocks": _spliced(document.tree["blocks"], labelled)})


def _mark(words: list[dict[str, Any]]) -> dict[str, Any]:
    return {"t": "Span", "c": [["", ["changed"], []], [{"t": "Strong", "c": words}]]}


def _with_more(plain: dict[str, Any], words: list[dict[str, Any]]) -> dict[str, Any]:
    before = plain_text(plain)
    stop = [{"t": "Str", "c": "."}] if before and not before.endswith((".", "?", "!")) else []
    return plain | {"c": [*plain["c"], *stop, *([{"t": "Space"}] if before else []), *words]}


def _spliced(node: Any, change: Callable[[dict[str, Any]], list[dict[str, Any]]]) -> Any:
    """The tree with every element replaced by those that `change` makes of it."""
    if isinstance(node, list):
        out = []
        for child in node:
            whole = _spliced(child, change)
            out += change(whole) if isinstance(whole, dict) and "t" in whole else [whole]
        return out
    if isinstance(node, dict):
        return {key: _spliced(value, change) for key, value in node.items()}
    return node
