"""The line under each table and figure that says where its numbers came from, in every form of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from IPython.display import display

from evalkit.report.blocks import identified

Node = dict[str, Any]
KIND = "sources"
_PLAIN: list[Any] = ["", [], []]


def show_sources(lines: Mapping[str, str]) -> None:
    """Hand the renderer one line of source for each id of a table or figure; a reader of the notebook sees nothing."""
    display({"text/plain": ""}, raw=True, metadata={"evalkit": {"kind": KIND, "id": KIND, "lines": dict(lines)}})


def with_sources(blocks: list[Node], lines: Mapping[str, str]) -> list[Node]:
    """The tree with its line at the end of a figure's caption and under a table, after the table's own note."""
    return [_with_line(node, lines) for node in blocks]


def _with_line(node: Node, lines: Mapping[str, str]) -> Node:
    name = _name(node)
    if name in lines:
        if node["t"] == "Figure":
            return _captioned(node, lines[name])
        return {"t": "Div", "c": [_PLAIN, [node, _line(name, lines[name])]]}
    if node["t"] != "Div":
        return node
    attributes, inside = node["c"]
    first = _name(inside[0]) if inside and inside[0]["t"] == "Table" else ""
    if first in lines:
        return {"t": "Div", "c": [attributes, [*inside, _line(first, lines[first])]]}
    return {"t": "Div", "c": [attributes, with_sources(inside, lines)]}


def _name(node: Node) -> str:
    return str(node["c"][0][0]) if node["t"] in ("Figure", "Table") else ""


def _captioned(node: Node, text: str) -> Node:
    """A figure whose caption ends with its source: no page or window can part the two."""
    attributes, (short, (first, *rest)), content = node["c"]
    said = first["c"]
    stop = [] if said and str(said[-1].get("c", "")).endswith((".", "?", "!")) else [{"t": "Str", "c": "."}]
    words = [*said, *stop, {"t": "Space"}, *_inlines(text)]
    return {"t": "Figure", "c": [attributes, [short, [{"t": first["t"], "c": words}, *rest]], content]}


def _line(name: str, text: str) -> Node:
    attributes = ["", ["note", "source"], []]
    return {"t": "Div", "c": [attributes, [{"t": "Para", "c": [identified(_inlines(text), f"{name}-source")]}]]}


def _inlines(text: str) -> list[Node]:
    words: list[Node] = []
    for word in text.split():
        words += ([{"t": "Space"}] if words else []) + [{"t": "Str", "c": word}]
    return words
