"""Comments from a table: one row a comment, as a spreadsheet saves it."""

from __future__ import annotations

import csv
import io
import re

from evalkit.core.errors import Fault
from evalkit.review.blocks import WHOLE_REPORT
from evalkit.review.incoming import NO, YES, Incoming, Parsed, refuse_file

COLUMNS = ("block", "kind", "comment", "name", "consent_to_quote", "reader", "quote", "report", "version",
           "after_results")  # fmt: skip
_NEEDED = ("block", "comment")
_DELIMITERS = (",", ";", "\t")
_STEP = "Save the form as CSV, with its first row as it was."


def read_csv(where: str, content: bytes) -> Parsed:
    """Read the rows of a form; those without a comment are left out, as most of a form is.

    Tolerated: a byte order mark, UTF-16, Excel's Windows encoding, semicolons and tabs, `sep=;`, other case in
    the column names, other columns (never read).
    """
    text = _decoded(content)
    if text is None:
        return refuse_file(where, "it is not a text file", "Give HTML saved by the page, Word (.docx) or CSV.")
    try:
        rows, columns, first = _rows(text)
    except csv.Error:
        return refuse_file(where, "it cannot be read as CSV", _STEP)
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        return refuse_file(where, "it is neither a page that saved comments nor a form in CSV: a column is missing",
                           _STEP, got="no " + " and no ".join(missing), allowed=", ".join(COLUMNS))  # fmt: skip
    twice = [name for name in COLUMNS if columns.count(name) > 1]
    if twice:
        return refuse_file(where, "a column stands there twice", _STEP, got=", ".join(twice))
    other = sum(1 for name in columns if name and name not in COLUMNS)
    notes = [f"{where}: {other} other column{'s were' if other != 1 else ' was'} not read."] if other else []
    faults: list[Fault] = []
    comments = []
    for place, cells in enumerate(rows, first):
        here = f"{where}, row {place}"
        row = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name in COLUMNS}
        if not row.get("comment"):
            continue
        if len(cells) > len(columns) and any(cell.strip() for cell in cells[len(columns) :]):
            faults.append(Fault(here, "it has more cells than the first row",
                                next_step="Put a comment that holds commas in double quotes."))  # fmt: skip
            continue
        faults += _row_faults(here, row)
        notes += _row_notes(here, row)
        comments.append(_incoming(here, row))
    if faults:
        return Parsed(faults=tuple(faults))
    if not comments:
        return refuse_file(where, "there are no comments in it", "Write in the column `comment`.")
    return Parsed(tuple(comments), tuple(notes))


def _decoded(content: bytes) -> str | None:
    """The text, in the first of the encodings of spreadsheets that fits; None where it is no text."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig"] if b"\0" in content else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return None if "\0" in text else text
    return None


def _rows(text: str) -> tuple[list[list[str]], list[str], int]:
    """The rows below the header, the names of the columns, and the number of the first row in the spreadsheet."""
    first = 2
    said = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)
    if said:
        text, first = text[said.end() :], 3
    header = text.lstrip().split("\n", 1)[0]
    delimiter = said[1] if said else max(_DELIMITERS, key=header.count)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    while rows and not any(cell.strip() for cell in rows[0]):
        rows, first = rows[1:], first + 1
    names = [re.sub(r"[\s-]+", "_", cell.strip().lower()) for cell in rows[0]] if rows else []
    return rows[1:], names, first


def _row_faults(here: str, row: dict[str, str]) -> list[Fault]:
    if row.get("version") and not re.fullmatch(r"\d{1,6}", row["version"]):
        return [Fault(here, "the version is not a whole number of 0 or more")]
    return []


def _row_notes(here: str, row: dict[str, str]) -> list[str]:
    notes = []
    if row.get("consent_to_quote", "").lower() not in YES + NO:
        notes.append(f"{here}: consent to quote is neither yes nor no, so it is taken as no.")
    if not row.get("block"):
        notes.append(f"{here}: it names no block, so it counts as about the report as a whole.")
    return notes


def _incoming(here: str, row: dict[str, str]) -> Incoming:
    return Incoming(
        here, "csv", block=row.get("block") or WHOLE_REPORT, text=row["comment"], report=row.get("report", "").lower(),
        version=int(row["version"]) if re.fullmatch(r"\d{1,6}", row.get("version", "")) else None,
        kind=row.get("kind", ""), quote=_unquoted(row.get("quote", "")), name=row.get("name", ""),
        reader=row.get("reader", "").lower(), consent=row.get("consent_to_quote", "").lower() in YES,
        after_results=row.get("after_results", "").lower() not in ("no", "n", "false", "0"),
    )  # fmt: skip


def _unquoted(cell: str) -> str:
    """The form puts an apostrophe before words that a spreadsheet would take for a formula."""
    return cell[1:] if re.match(r"'[=+@-]", cell) else cell
