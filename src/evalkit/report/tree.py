"""What all forms of a report share: the document's tree with its title block, and walking over it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evalkit.report.blocks import plain_text
from evalkit.report.document import Block, Document, inlines

LANGUAGE = "en-GB"
EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # no run's clock enters a file

KINDS = {"peer": "A report for people who use services", "academic": "Academic report"}


def shared_arguments(media: Path) -> list[str]:
    return [f"--resource-path={media}", "--fail-if-warnings", f"--metadata=lang:{LANGUAGE}"]


def titled(document: Document, blocks: list[Block]) -> str:
    """The tree as JSON with the title block as metadata."""
    tree = document.tree | {"blocks": blocks, "meta": {}}
    texts = {"title": document.title, "subtitle": document.subtitle, "banner": document.banner}
    tree["meta"] = {key: {"t": "MetaInlines", "c": inlines(text)} for key, text in texts.items() if text}
    named = {"report": document.report, "kind": KINDS.get(document.report, "")}
    tree["meta"] |= {key: {"t": "MetaString", "c": text} for key, text in named.items() if text}
    tree["meta"]["pagetitle"] = {"t": "MetaString", "c": document.title}
    tree["meta"]["facts"] = {
        "t": "MetaList",
        "c": [
            {"t": "MetaMap", "c": {"name": {"t": "MetaString", "c": k}, "value": {"t": "MetaString", "c": v}}}
            for k, v in document.facts.items()
        ],
    }
    return json.dumps(tree)


def with_top_level(blocks: list[Block], top: int) -> list[Block]:
    """A copy in which the highest heading has level `top`: HTML keeps level 1 for the title."""
    levels: list[int] = []

    def collect(node: Block) -> Block:
        if node.get("t") == "Header":
            levels.append(node["c"][0])
        return node

    map_blocks(blocks, collect)
    shift = top - min(levels, default=top)

    def move(node: Block) -> Block:
        return node | {"c": [node["c"][0] + shift, *node["c"][1:]]} if node.get("t") == "Header" else node

    return map_blocks(blocks, move)


def map_blocks(node: Any, change: Callable[[Block], Block]) -> Any:
    """The tree with `change` applied to every element, innermost first."""
    if isinstance(node, list):
        return [map_blocks(child, change) for child in node]
    if isinstance(node, dict):
        return change({key: map_blocks(value, change) for key, value in node.items()})
    return node


# What a short paragraph may hold and still count as the lead of what follows it.
LEAD_CHARACTERS = 170


def is_lead(block: Block, *, before: str, after: str) -> bool:
    """Whether a paragraph must not part from what follows: "Fewer is better.", "Why we are not surer:".

    `before` and `after` are the kinds of element beside it.
    """
    length = len(plain_text(block))
    if block["t"] != "Para":
        return False
    if before == "Header" and length <= LEAD_CHARACTERS / 2:
        return True
    return after in ("BulletList", "OrderedList", "Table", "Figure") and length <= LEAD_CHARACTERS
