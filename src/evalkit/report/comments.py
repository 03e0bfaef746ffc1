"""How a reader answers a report: the comment mode of the page, and a form in which every block has a line."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalkit.core.errors import Fault, OutputError
from evalkit.report.blocks import ReportBlock
from evalkit.review.record import KINDS, Reader

if TYPE_CHECKING:
    from evalkit.report.document import Document

READERS: Mapping[Reader, str] = {
    "peer": "I have used services like these",
    "carer": "I care for somebody who has",
    "staff": "I work in a service",
    "academic": "I do research",
}
Change = tuple[ReportBlock, str]  # a block and what to say of how it changed
SCRIPT_PLACE = '<script id="comments-script"></script>'

FORM_COLUMNS = ("block", "kind", "comment", "name", "consent_to_quote", "reader", "quote")
QUOTE_LENGTH = 200
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def page_variables(document: Document, *, script: str, version: int, changes: Sequence[Change]) -> str:
    """What the page's template needs for comments and for the list of changes, as JSON.

    The policy lets this one script run, known by its hash, and forbids every connection: nothing can be sent.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )
    return json.dumps({
        "policy": policy,
        "report": document.report,
        "version": str(version),
        "changes": [
            {"id": block.id, "words": html.escape(short_quote(block.text, most=90)), "label": html.escape(label)}
            for block, label in changes
        ],
        "count": f"{len(changes)} part{'s' if len(changes) != 1 else ''}",
        "kinds": [{"key": key, "words": words} for key, words in KINDS.items()],
        "readers": [{"key": key, "words": words} for key, words in READERS.items()],
    })  # fmt: skip


def short_quote(text: str, *, most: int = QUOTE_LENGTH) -> str:
    """The first words of a block, at most `most` characters, an ellipsis where it goes on."""
    if len(text) <= most:
        return text
    return f"{text[: most - 1].rsplit(' ', 1)[0]}…"


def write_comment_form(blocks: Sequence[ReportBlock], path: Path) -> Path:
    """Write a spreadsheet (CSV) with one line for every block: fill in a line, leave the others.

    It opens in any spreadsheet program: UTF-8 with a mark that says so, and no cell that could be read as a formula.

    Raises
    ------
    OutputError
        Where the file cannot be written.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(FORM_COLUMNS)
    writer.writerows([block.id, "", "", "", "", "", _cell(short_quote(block.text))] for block in blocks)
    try:
        path.write_text(out.getvalue(), encoding="utf-8-sig", newline="")
    except OSError as error:
        raise OutputError(Fault(str(path), f"the form cannot be written ({error.strerror})")) from error
    return path


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
