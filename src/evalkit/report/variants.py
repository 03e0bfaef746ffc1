"""The peer report in other forms: large print, plain text, and a template for Easy Read.

Easy Read is made with people, not by a program. What is written here is a start for them: one short sentence and an
empty place for a picture a row, marked on every page as not signed off.
"""

from __future__ import annotations

import html
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from string import Template

from evalkit.core.errors import Fault, OutputError
from evalkit.report.blocks import plain_text
from evalkit.report.citations import with_citations
from evalkit.report.document import Block, Document, inlines, read_document, run_pandoc
from evalkit.report.render_docx import fixed_clock
from evalkit.report.render_pdf import write_pdf
from evalkit.report.tree import map_blocks, shared_arguments, titled, with_top_level

COLUMNS = 72
NOT_SIGNED_OFF = "Not signed off: people who use services must check this first"
VARIANTS = ("peer_large_print.pdf", "peer.txt", "peer_easy_read.html", "peer_easy_read.docx")
_HOW = (
    "Read each row with people who use services.",
    "Ask: is this true to you? Is it clear?",
    "Choose a picture together.",
    "Take out what is not needed. Then sign it off.",
)
_SHORT = 15  # words; a longer sentence is marked for the people who finish the template
_LEANS = ("That ", "This ", "It ", "They ", "So ")  # a sentence that means nothing without the one before it
_POINTER = "\u2063"  # an invisible separator, which no text holds
_LEFT_OUT = {"note", "text-content-note"}  # classes and ids of what belongs to the report, not to its findings
_PICTURE = "Picture to choose together"
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z£0-9])")


def render_variants(executed: Path, out_folder: Path, *, title: str) -> tuple[Path, ...]:
    """Write `peer_large_print.pdf`, `peer.txt`, `peer_easy_read.html` and `peer_easy_read.docx` into a folder.

    Files are moved into place only when all four are written.

    Raises
    ------
    ParameterError
        Where the notebook shows something that is not meant for a reader (see `read_document`).
    OutputError
        Where a file cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch, as_file(files("evalkit.report")) as package:
        media, templates = Path(scratch), package / "templates"
        document = with_citations(read_document(Path(executed), media=media, title=title), package / "references.bib")
        written = (
            write_pdf(document, media, templates, look="large_print"),
            write_text(document, media),
            write_easy_read_html(document, media, templates),
            write_easy_read_docx(document, media, templates),
        )
        targets = tuple(Path(out_folder) / name for name in VARIANTS)
        try:
            for source, target in zip(written, targets, strict=True):
                shutil.copyfile(source, target.with_name(f".{target.name}.partial"))
            for target in targets:
                target.with_name(f".{target.name}.partial").replace(target)
        except OSError as error:
            raise OutputError(Fault(str(out_folder), f"it cannot be written ({error.strerror})")) from error
    return targets


# ---- plain text ---------------------------------------------------------------------------------


def write_text(document: Document, media: Path) -> Path:
    """The report in plain text, 72 columns wide: pictures in words, tables row by row."""
    blocks = map_blocks(with_top_level(document.tree["blocks"], 2), _in_words)
    head: list[Block] = [{"t": "Header", "c": [1, ["", [], []], inlines(document.title)]}]
    head += [_paragraph(text) for text in (document.subtitle, document.banner) if text]
    head += [_paragraph(f"{name}: {value}") for name, value in document.facts.items()]
    text = run_pandoc(
        titled(document, [*head, *_spread(blocks)]), "plain", "json", f"--columns={COLUMNS}", "--wrap=auto",
        *shared_arguments(media),
    )  # fmt: skip
    out = media / "report.txt"
    out.write_text(text.strip() + "\n", encoding="utf-8", newline="\n")
    return out


def _in_words(node: Block) -> Block:
    """A picture as its caption and what it shows; a table as one list item a row; a heading as it reads."""
    kind = node.get("t")
    if kind == "Figure":
        caption, alt = plain_text(node["c"][1][1]), plain_text(node["c"][2][0]["c"][0]["c"][1])
        return _group([_paragraph(caption), _paragraph(f"[Picture: {alt}]")])
    if kind == "Table":
        return _group(_table_in_words(node))
    if kind == "Header" and node["c"][0] == 2:
        return node | {"c": [2, node["c"][1], inlines(plain_text(node["c"][2]).upper())]}
    return node


def _table_in_words(table: Block) -> list[Block]:
    """The caption, then `1. name of the row: column, cell; column, cell` for every row."""
    head = [plain_text(cell[4]) for cell in table["c"][3][1][0][1]]
    rows = [[plain_text(cell[4]) for cell in row[1]] for body in table["c"][4] for row in body[3]]
    told = [_row_in_words(head, row) for row in rows]
    items = [[_paragraph(text, kind="Plain")] for text in told]
    numbers = [1, {"t": "Decimal"}, {"t": "Period"}]
    return [_paragraph(plain_text(table["c"][1][1])), {"t": "OrderedList", "c": [numbers, items]}]


def _row_in_words(head: Sequence[str], row: Sequence[str]) -> str:
    cells = "; ".join(f"{name}: {cell}" for name, cell in zip(head[1:], row[1:], strict=True) if cell)
    return f"{row[0].rstrip('.')}. {cells}".rstrip(". ") + "."


def _group(blocks: list[Block]) -> Block:
    return {"t": "Div", "c": [["", [], []], blocks]}


def _paragraph(text: str, *, kind: str = "Para") -> Block:
    return {"t": kind, "c": inlines(text)}


def _spread(blocks: list[Block]) -> list[Block]:
    """Headings with a rule under them, which plain text else does not set apart."""
    out = []
    for block in blocks:
        if block["t"] == "Div":
            out.append({"t": "Div", "c": [block["c"][0], _spread(block["c"][1])]})
            continue
        out.append(block)
        if block["t"] == "Header":
            mark = "=" if block["c"][0] <= 2 else "-"
            out[-1] = _ruled(block, mark)
    return out


def _ruled(block: Block, mark: str) -> Block:
    text = plain_text(block["c"][2])
    lines = [inlines(text), inlines(mark * min(len(text), COLUMNS))]
    return {"t": "LineBlock", "c": lines} if len(text) <= COLUMNS else _paragraph(text)


# ---- Easy Read ----------------------------------------------------------------------------------


def easy_read_rows(document: Document) -> tuple[str, ...]:
    """The findings of the summary, which is the first section: a sentence each.

    Sentences that point at another part are left out, and notes with the table that they explain: neither is here.
    """
    blocks = document.tree["blocks"]
    levels = [block["c"][0] for block in blocks if block["t"] == "Header"]
    starts = [i for i, block in enumerate(blocks) if block["t"] == "Header" and block["c"][0] == min(levels)]
    first, after = [*starts[:2], len(blocks), len(blocks)][:2]
    said: list[str] = []
    for text in _texts(map_blocks(blocks[first:after], _with_mark)):
        for place, part in enumerate(_SENTENCE_END.split(text)):
            if _POINTER in part[1:]:
                continue
            if place and said and part.startswith(_LEANS):
                said[-1] = f"{said[-1]} {part}"
            else:
                said.append(part)
    return tuple(dict.fromkeys(part.replace(_POINTER, "") for part in said if part))


def _with_mark(node: Block) -> Block:
    """A link marked in front; one that opens a sentence names what the sentence is about."""
    if node.get("t") != "Link":
        return node
    return {"t": "Span", "c": [["", [], []], [{"t": "Str", "c": _POINTER}, *node["c"][1]]]}


def _texts(blocks: Sequence[Block]) -> list[str]:
    """Paragraphs and list items in reading order, without headings."""
    out = []
    for block in blocks:
        if block["t"] in ("Para", "Plain"):
            out.append(plain_text(_without_label(block["c"])))
        elif block["t"] == "Div" and not _LEFT_OUT & {block["c"][0][0], *block["c"][0][1]}:
            out += _texts(block["c"][1])
        elif block["t"] == "BulletList":
            out += [text for item in block["c"] for text in _texts(item)]
    return out


def _without_label(words: list[Block]) -> list[Block]:
    """A paragraph's words without the bold ones that it may open with, such as "How sure we are."."""
    if words and words[0]["t"] == "Span":
        return _without_label([*words[0]["c"][1], *words[1:]])
    labelled = words and words[0]["t"] == "Strong" and plain_text(words[0]).endswith((".", "?"))
    return words[1:] if labelled else words


def _remark(sentence: str) -> str:
    return f"Too long for Easy Read: {len(sentence.split())} words." if len(sentence.split()) > _SHORT else ""


def write_easy_read_html(document: Document, media: Path, templates: Path) -> Path:
    """The template as a page that prints with its mark on every sheet."""
    rows = "\n".join(
        f'<li><div class="slot">{_PICTURE}</div><div><p class="said">{html.escape(sentence)}</p>'
        + (f'<p class="remark">{_remark(sentence)}</p>' if _remark(sentence) else "")
        + "</div></li>"
        for sentence in easy_read_rows(document)
    )
    how = "\n".join(f"<li>{html.escape(step)}</li>" for step in _HOW)
    page = Template((templates / "easy_read.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(document.title), mark=NOT_SIGNED_OFF, banner=html.escape(document.banner), how=how, rows=rows
    )
    out = media / "easy_read.html"
    out.write_text(page, encoding="utf-8", newline="\n")
    return out


def write_easy_read_docx(document: Document, media: Path, templates: Path) -> Path:
    """The template as a Word file; its mark is the header of every page."""
    blocks: list[Block] = [_paragraph(text) for text in (NOT_SIGNED_OFF + ".", document.banner) if text]
    blocks.append({"t": "BulletList", "c": [[_paragraph(step, kind="Plain")] for step in _HOW]})
    blocks.append(_picture_table(easy_read_rows(document)))
    out = media / "easy_read.docx"
    with fixed_clock():
        run_pandoc(
            titled(replace(document, title=f"{document.title}: Easy Read", subtitle="", facts={}), blocks),
            "docx", "json", "--standalone", f"--reference-doc={templates / 'easy_read.docx'}",
            *shared_arguments(media), out=out,
        )  # fmt: skip
    return out


def _picture_table(rows: Sequence[str]) -> Block:
    none: list[object] = ["", [], []]

    def cell(*blocks: Block) -> list[object]:
        return [none, {"t": "AlignDefault"}, 1, 1, list(blocks)]

    slot = {"t": "Div", "c": [["", [], [["custom-style", "Picture slot"]]], [_paragraph(_PICTURE)]]}
    head = [none, [cell(_paragraph("Picture", kind="Plain")), cell(_paragraph("Words", kind="Plain"))]]
    body = [
        [none, [cell(slot), cell(*(_paragraph(text) for text in (sentence, _remark(sentence)) if text))]]
        for sentence in rows
    ]
    widths = [[{"t": "AlignLeft"}, {"t": "ColWidth", "c": share}] for share in (0.36, 0.64)]
    caption = [None, [_paragraph("What we found, a sentence a row", kind="Plain")]]
    return {"t": "Table", "c": [none, caption, widths, [none, [head]], [[none, 0, [], body]], [none, []]]}
