"""The report as a Word document, in which readers can comment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evalkit.report.document import Block, Document, inlines, run_pandoc
from evalkit.report.tree import EPOCH, is_lead, shared_arguments, titled, with_top_level

_NEW_PAGE = {"t": "RawBlock", "c": ["openxml", '<w:p><w:r><w:br w:type="page"/></w:r></w:p>']}


def write_docx(document: Document, media: Path, templates: Path, *, look: str = "reference") -> Path:
    """A Word file in the styles of `templates/<look>.docx`: a cover, then the report from a new page."""
    out = media / f"{look}.docx"
    blocks = with_top_level(document.tree["blocks"], 1)
    if document.report == "peer":
        blocks = _with_first_page(blocks)
    with fixed_clock():
        run_pandoc(
            titled(document, _cover(document) + _with_leads(blocks)),
            "docx", "json", "--standalone", f"--reference-doc={templates / f'{look}.docx'}", *shared_arguments(media),
            out=out,
        )  # fmt: skip
    return out


def _cover(document: Document) -> list[Block]:
    cover = [_styled("Banner", document.banner)] if document.banner else []
    cover += [_styled("Facts", f"{name}: {value}") for name, value in document.facts.items()]
    return [*cover, _NEW_PAGE] if cover else []


def _with_first_page(blocks: list[Block]) -> list[Block]:
    """The first section alone on its page: peers are promised the whole in one page."""
    sections = [i for i, block in enumerate(blocks) if block["t"] == "Header" and block["c"][0] == 1]
    return [*blocks[: sections[1]], _NEW_PAGE, *blocks[sections[1] :]] if len(sections) > 1 else blocks


def _with_leads(blocks: list[Block]) -> list[Block]:
    """Short words that lead to what follows in a style that keeps them on its page."""
    out = []
    for place, block in enumerate(blocks):
        if block["t"] == "Div" and block["c"][0][0] != "refs":
            out.append({"t": "Div", "c": [block["c"][0], _with_leads(block["c"][1])]})
            continue
        before = blocks[place - 1]["t"] if place else ""
        after = blocks[place + 1]["t"] if place + 1 < len(blocks) else ""
        lead = is_lead(block, before=before, after=after)
        out.append({"t": "Div", "c": [["", [], [["custom-style", "Lead"]]], [block]]} if lead else block)
    return out


def _styled(style: str, text: str) -> Block:
    """A paragraph in a style of the reference document."""
    return {"t": "Div", "c": [["", [], [["custom-style", style]]], [{"t": "Para", "c": inlines(text)}]]}


@contextmanager
def fixed_clock() -> Iterator[None]:
    """Pandoc writes this date into what it makes, never the run's."""
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = str(int(EPOCH.timestamp()))
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]
        else:
            os.environ["SOURCE_DATE_EPOCH"] = before
