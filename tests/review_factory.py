"""Readers' files for tests: as the page saves them, as Word does, as spreadsheets do, and as nobody should."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

import docx
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

BLOCKS = {
    "peer": dict.fromkeys(("document", "text-a-1", "text-a-2", "fig-a", "tab-a", "deaths", "text-b-1"), "0" * 16),
    "academic": dict.fromkeys(("document", "methods", "text-m-1", "fig-a"), "1" * 16),
}
LONG_ID = "going-back-to-a-mental-health-ward-within-a-year-of-leaving"
W14 = "http://schemas.microsoft.com/office/word/2010/wordml"
W15 = "http://schemas.microsoft.com/office/word/2012/wordml"


def entry(text: str, **more: object) -> dict:
    """A comment as the page writes it."""
    return {"block": "text-a-1", "kind": "unclear", "text": text, "quote": "", "name": "", "consent": False,
            "reader": "peer"} | more  # fmt: skip


def html_page(entries: object, *, report: str = "peer", version: str = "1") -> str:
    data = json.dumps(entries).replace("<", "\\u003c")
    about = f'id="evalkit-comments" data-report="{report}" data-version="{version}"'
    return f'<!DOCTYPE html>\n<html><body><script type="application/json" {about}>{data}</script></body></html>'


def write_html(path: Path, *entries: dict, **about: str) -> Path:
    path.write_text(html_page(list(entries), **about), encoding="utf-8")
    return path


def write_csv(path: Path, *rows: str, head: str = "block,kind,comment,name,consent_to_quote,reader,quote",
              encoding: str = "utf-8") -> Path:  # fmt: skip
    path.write_bytes("\r\n".join([head, *rows, ""]).encode(encoding))
    return path


def mark(paragraph, name: str) -> None:
    """A bookmark at the start of a paragraph, as Word keeps it."""
    start = OxmlElement("w:bookmarkStart")
    start.set(qn("w:id"), str(abs(hash(name)) % 9999))
    start.set(qn("w:name"), name)
    paragraph._p.insert(0, start)


def report_document():
    """A small report: a marked heading, paragraphs, a figure with caption, a table with caption."""
    document = docx.Document()
    for name, text in (("deaths", "Deaths"), ("text-a-1", "About 15 people in 100 came back."), ("text-a-2", "More.")):
        mark(document.add_heading(text, 1) if name == "deaths" else document.add_paragraph(text), name)
    mark(document.add_paragraph(""), "fig-a")
    document.add_paragraph("Figure 1. How many came back")
    mark(document.add_paragraph("Table 1. Groups"), "tab-a")
    table = document.add_table(rows=2, cols=2)
    table.cell(1, 1).text = "A cell"
    mark(document.add_paragraph("The end of it."), "text-b-1")
    return document


def paragraph_of(document, text: str):
    cells = [p for table in document.tables for row in table.rows for cell in row.cells for p in cell.paragraphs]
    return next(p for p in [*document.paragraphs, *cells] if p.text == text)


def comment_on(document, text: str, comment: str, *, author: str = "Anna Example"):
    return document.add_comment(paragraph_of(document, text).runs[0], text=comment, author=author, initials="AE")


def with_threads(path: Path, threads: Mapping[int, tuple[int | None, bool]]) -> None:
    """Say in a saved file which comment replies to which, and which is resolved: {id: (parent or None, done)}."""
    from lxml import etree

    with zipfile.ZipFile(path) as archive:
        parts = {info.filename: archive.read(info) for info in archive.infolist()}
    root = etree.fromstring(parts["word/comments.xml"])
    for comment in root.findall(qn("w:comment")):
        number = int(comment.get(qn("w:id")))
        comment.findall(qn("w:p"))[-1].set(f"{{{W14}}}paraId", f"{number + 1:08X}")
    parts["word/comments.xml"] = etree.tostring(root)
    lines = "".join(
        f'<w15:commentEx w15:paraId="{number + 1:08X}" w15:done="{int(done)}"'
        + (f' w15:paraIdParent="{parent + 1:08X}"' if parent is not None else "") + "/>"
        for number, (parent, done) in threads.items()
    )  # fmt: skip
    parts["word/commentsExtended.xml"] = f'<w15:commentsEx xmlns:w15="{W15}">{lines}</w15:commentsEx>'.encode()
    write_zip(path, parts)


def write_zip(path: Path, parts: Mapping[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def docx_parts(document) -> dict[str, bytes]:
    held = io.BytesIO()
    document.save(held)
    with zipfile.ZipFile(held) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}
