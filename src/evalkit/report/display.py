"""What a notebook shows, with what the renderer needs: id, caption and alt text travel in the output's metadata.

A notebook's reader sees a picture or a table; the renderer finds the same block under the key `evalkit`
of the output's metadata and builds the numbered, captioned figure or table from it.
"""

from __future__ import annotations

import base64
import html
import io
import re
from typing import Literal

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure
from PIL import Image

from evalkit.core.errors import Fault, ParameterError

DPI = 150
COLOURS = 128
_ID = re.compile(r"[a-z][a-z0-9-]*")
ReportKind = Literal["peer", "academic"]


def show_figure(figure: Figure, *, id: str, caption: str, alt: str) -> None:
    """Display a figure as PNG with its caption and alt text, and close it.

    Raises
    ------
    ParameterError
        If the id is not lower case letters, figures and hyphens, or the caption or alt text is empty.
    """
    _require(id, caption=caption, alt=alt)
    picture = base64.b64encode(_png(figure)).decode("ascii")
    plt.close(figure)
    width, height = figure.get_size_inches()
    block = {"kind": "figure", "id": id, "caption": caption, "alt": alt, "width_inches": float(width)}
    size = {"alt": alt, "width": round(96 * width), "height": round(96 * height)}
    display(
        {"image/png": picture, "text/plain": f"{caption}\n{alt}"}, raw=True,
        metadata={"image/png": size, "evalkit": block},
    )  # fmt: skip


def _png(figure: Figure) -> bytes:
    """A PNG of a limited palette, a third of the size and alike to the eye.

    Neither date nor program version is kept: the same numbers give the same bytes.
    """
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png", dpi=DPI, metadata={"Software": None})
    picture = Image.open(full).convert("RGB")
    limited = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    limited.save(small, format="PNG", optimize=True)
    return small.getvalue()


def show_table(frame: pd.DataFrame, *, id: str, caption: str, note: str = "") -> None:
    """Display a table whose cells are text already (see `evalkit.report.tables`).

    The first column names the rows. Columns whose every cell is a number are set to the right.
    """
    _require(id, caption=caption)
    columns = [str(c) for c in frame.columns]
    rows = [[_text(value) for value in row] for row in frame.itertuples(index=False)]
    block = {"kind": "table", "id": id, "caption": caption, "note": note, "columns": columns, "rows": rows,
             "align": [_alignment([row[i] for row in rows], place=i) for i in range(len(columns))]}  # fmt: skip
    display(
        {"text/html": _html(block), "text/plain": _plain(caption, columns, rows, note)}, raw=True,
        metadata={"evalkit": block},
    )  # fmt: skip


def show_text(markdown: str, *, id: str) -> None:
    """Display a paragraph made from numbers; `id` is the stable name that a reader's comment can point at."""
    _require(id, text=markdown)
    display({"text/markdown": markdown, "text/plain": markdown}, raw=True,
            metadata={"evalkit": {"kind": "text", "id": id}})  # fmt: skip


def show_document(*, kind: ReportKind, title: str, subtitle: str, banner: str, facts: dict[str, str]) -> None:
    """Display the title block: once, at the top of a report notebook.

    `banner` is a warning over every page ("" for none); `facts` are short lines such as the protocol's digest.
    """
    _require("document", title=title)
    lines = [f"# {title}", subtitle, f"**{banner}**" if banner else "", *(f"{k}: {v}" for k, v in facts.items())]
    text = "\n\n".join(line for line in lines if line)
    block = {"kind": "document", "id": "document", "report": kind, "title": title, "subtitle": subtitle,
             "banner": banner, "facts": facts}  # fmt: skip
    display({"text/markdown": text, "text/plain": text}, raw=True, metadata={"evalkit": block})


def _require(name: str, **texts: str) -> None:
    faults = []
    if not isinstance(name, str) or not _ID.fullmatch(name):
        faults.append(Fault("id", "an id is needed", got=repr(name), allowed="lower case letters, figures and hyphens"))
    faults += [
        Fault(what, f"{name or 'this block'} needs {what} in words", next_step="Give it.")
        for what, text in texts.items() if not isinstance(text, str) or not text.strip()
    ]  # fmt: skip
    if faults:
        raise ParameterError(faults)


def _text(value: object) -> str:
    return "" if value is None or (isinstance(value, float) and value != value) else str(value)


_NUMBER = re.compile(r"[−-]?£?[\d,.]+%?( \([^)]*\))?|")


def _alignment(cells: list[str], *, place: int) -> str:
    written = [c for c in cells if c and not c.startswith("not ")]
    numeric = place > 0 and written and all(_NUMBER.fullmatch(c) for c in written)
    return "right" if numeric else "left"


def _html(block: dict) -> str:
    style = "text-align: {}; vertical-align: top"
    head = "".join(
        f'<th scope="col" style="{style.format(a)}">{html.escape(c)}</th>'
        for c, a in zip(block["columns"], block["align"], strict=True)
    )
    body = []
    for row in block["rows"]:
        cells = [f'<th scope="row" style="{style.format("left")}">{html.escape(row[0])}</th>'] if row else []
        cells += [
            f'<td style="{style.format(a)}">{html.escape(c)}</td>'
            for c, a in zip(row[1:], block["align"][1:], strict=True)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    note = f"<p>{html.escape(block['note'])}</p>" if block["note"] else ""
    return (f"<table><caption>{html.escape(block['caption'])}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{''.join(body)}</tbody></table>{note}")  # fmt: skip


def _plain(caption: str, columns: list[str], rows: list[list[str]], note: str) -> str:
    lines = [caption, " | ".join(columns), *(" | ".join(row) for row in rows)]
    return "\n".join([*lines, note] if note else lines)
