"""An executed report notebook as one pandoc document: prose as it is, figures and tables numbered and named.

Whatever is not meant for a reader stops here: an error, anything on stderr or stdout, an image without alt
text. Pandoc's syntax tree is built directly for figures and tables, because no text form of it carries
both row headers and alt text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pypandoc

from evalkit.core.errors import Fault, OutputError, ParameterError
from evalkit.report.blocks import PROSE, identified, with_block_ids
from evalkit.report.sources import KIND as SOURCES
from evalkit.report.sources import with_sources

MARKDOWN = "markdown+tex_math_dollars+fenced_divs+pipe_tables+footnotes-implicit_figures"
_PLACE = "evalkit-block-{}"
_EMPTY_ATTRIBUTES: list[Any] = ["", [], []]
_PAGE_WIDTH, _PAGE_HEIGHT = 6.4, 8.4  # inches that a figure may take on A4 with its caption
_WIDE_CELL = 26  # characters; a table with a longer cell is given column widths

Block = dict[str, Any]


@dataclass(frozen=True)
class Document:
    """A pandoc syntax tree with its title block; figures lie in `media` as PNG files.

    Every paragraph, list item, quote, heading, figure and table of the tree has an id (see `evalkit.report.blocks`).
    `pictures` holds the digest of each figure's PNG by the figure's id.
    """

    tree: dict[str, Any]
    title: str
    subtitle: str
    banner: str
    facts: dict[str, str]
    report: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)


def read_document(executed: Path, *, media: Path, title: str) -> Document:
    """Walk an executed notebook and build the document; figures are written into `media`.

    Raises
    ------
    ParameterError
        With every fault at once: cells that failed, wrote to stderr or stdout, or show an image or a
        value that did not come through `evalkit.report.display`.
    """
    notebook = nbformat.read(executed, as_version=4)
    parts: list[str] = []
    blocks: list[Block] = []
    faults: list[Fault] = []
    front: Block = {}
    lines: dict[str, str] = {}
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            parts.append(f"::: {{#{_name_of(cell, place)} .{PROSE}}}\n{cell.source}\n:::")
            continue
        for output in cell.get("outputs", []):
            block = _block_of(output, f"{executed.name}, cell {place + 1}", faults)
            if block is None:
                continue
            if block["kind"] == "document":
                front = block
            elif block["kind"] == SOURCES:
                lines |= block["lines"]
            elif block["kind"] == "text":
                parts.append(f"::: {{#{block['id']}}}\n{output['data']['text/markdown']}\n:::")
            else:
                parts.append(f"::: {{#{_PLACE.format(len(blocks))}}}\n:::")
                blocks.append(block | {"png": output["data"].get("image/png", "")})
    if faults:
        raise ParameterError(faults)
    tree = json.loads(run_pandoc("\n\n".join(parts), "json", MARKDOWN))
    tree["blocks"] = with_sources(_with_blocks(with_block_ids(tree["blocks"]), _numbered(blocks, media)), lines)
    return Document(
        tree,
        front.get("title", title),
        front.get("subtitle", ""),
        front.get("banner", ""),
        front.get("facts", {}),
        front.get("report", ""),
        {b["id"]: hashlib.sha256(base64.b64decode(b["png"])).hexdigest() for b in blocks if b["kind"] == "figure"},
    )


def _name_of(cell: Any, place: int) -> str:
    """The cell's own id, as a name that every format takes; an old notebook has none, so its place must do."""
    given = str(cell.get("id", "")).lower()
    return given if given[:1].isalpha() else f"cell-{given or place + 1}"


def run_pandoc(source: str, to: str, source_format: str, *arguments: str, out: Path | None = None) -> str:
    """Convert with pandoc; what it cannot do is an OutputError with its own words."""
    try:
        return pypandoc.convert_text(
            source, to, format=source_format, extra_args=list(arguments), outputfile=str(out) if out else None
        )
    except RuntimeError as error:
        raise OutputError(Fault("pandoc", f"it could not write {to}", got=str(error)[-500:])) from None


def _block_of(output: Any, where: str, faults: list[Fault]) -> Block | None:
    kind = output["output_type"]
    if kind == "error":
        faults.append(Fault(where, "the cell failed", got=output["ename"]))
    elif kind == "stream":
        faults.append(Fault(where, f"the cell wrote to {output['name']}", next_step="Show text with show_text."))
    elif "evalkit" not in output.get("metadata", {}):
        what = "an image without alt text" if "image/png" in output["data"] else "a value that no display helper showed"
        faults.append(Fault(where, f"it shows {what}", next_step="Use show_figure, show_table or show_text."))
    else:
        return output["metadata"]["evalkit"]
    return None


def _numbered(blocks: list[Block], media: Path) -> list[Block]:
    """Pandoc blocks for figures and tables, each kind numbered from 1 in order of appearance."""
    counts = {"figure": 0, "table": 0}
    out = []
    for block in blocks:
        kind = block["kind"]
        counts[kind] += 1
        caption = f"{kind.capitalize()} {counts[kind]}. {block['caption']}"
        if kind == "figure":
            name = f"{block['id']}.png"
            (media / name).write_bytes(base64.b64decode(block["png"]))
            out.append(_figure(block, caption, name))
        else:
            out.append(_table(block, caption))
    return out


def _with_blocks(tree: list[Block], blocks: list[Block]) -> list[Block]:
    """The tree with each placeholder replaced; placeholders stand at any depth of nested divs."""
    names = {_PLACE.format(i): block for i, block in enumerate(blocks)}
    out = []
    for node in tree:
        if node["t"] == "Div" and node["c"][0][0] in names:
            out.append(names[node["c"][0][0]])
        elif node["t"] == "Div":
            out.append({"t": "Div", "c": [node["c"][0], _with_blocks(node["c"][1], blocks)]})
        else:
            out.append(node)
    return out


def inlines(text: str) -> list[Block]:
    """Plain words as pandoc inlines."""
    words = text.split()
    out: list[Block] = []
    for place, word in enumerate(words):
        out += ([{"t": "Space"}] if place else []) + [{"t": "Str", "c": word}]
    return out


def _caption(text: str) -> list[Any]:
    return [None, [{"t": "Plain", "c": inlines(text)}]]


def _figure(block: Block, caption: str, name: str) -> Block:
    png = base64.b64decode(block["png"])
    across, down = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))  # the header of every PNG
    width = [["width", f"{min(block['width_inches'], _PAGE_WIDTH, _PAGE_HEIGHT * across / down):.2f}in"]]
    image = {"t": "Image", "c": [["", [], width], inlines(block["alt"]), [name, ""]]}
    return {"t": "Figure", "c": [[block["id"], [], []], _caption(caption), [{"t": "Plain", "c": [image]}]]}


def _table(block: Block, caption: str) -> Block:
    aligned = {"left": "AlignLeft", "right": "AlignRight"}
    columns = [[{"t": aligned[align]}, width] for align, width in zip(block["align"], _widths(block), strict=True)]
    head = [_EMPTY_ATTRIBUTES, [_row(block["columns"])]]
    body = [_EMPTY_ATTRIBUTES, 1, [], [_row(cells) for cells in block["rows"]]]
    table = {
        "t": "Table",
        "c": [[block["id"], [], []], _caption(caption), columns, head, [body], [_EMPTY_ATTRIBUTES, []]],
    }
    if not block["note"]:
        return table
    words = identified(inlines(block["note"]), f"{block['id']}-note")
    note = {"t": "Div", "c": [["", ["note"], []], [{"t": "Para", "c": [words]}]]}
    return {"t": "Div", "c": [_EMPTY_ATTRIBUTES, [table, note]]}


def _row(cells: list[str]) -> list[Any]:
    return [
        _EMPTY_ATTRIBUTES,
        [[_EMPTY_ATTRIBUTES, {"t": "AlignDefault"}, 1, 1, [{"t": "Plain", "c": inlines(c)}]] for c in cells],
    ]


def _widths(block: Block) -> list[Block]:
    """Column widths by what the cells need: the longest word at least, then the square root of the text."""
    columns = list(zip(block["columns"], *block["rows"], strict=True))
    if max(len(cell) for cells in columns for cell in cells) <= _WIDE_CELL:
        return [{"t": "ColWidthDefault"}] * len(columns)
    need = []
    for cells in columns:
        longest_word = max(len(word) for cell in cells for word in [*cell.split(), ""])
        typical = sum(len(cell) for cell in cells) / len(cells)
        need.append(max(longest_word + 2.5, 2.2 * typical**0.5 + max(len(c) for c in cells) ** 0.5))
    return [{"t": "ColWidth", "c": round(n / sum(need), 4)} for n in need]
