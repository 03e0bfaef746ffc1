"""Which files of a folder are canonical tables, and how its CSV files are laid out. Reads, never writes."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalkit.core.errors import DataError, Fault, suggest_name
from evalkit.data.contracts import TABLE_NAMES, column_names
from evalkit.data.findings import Finding, plural

Form = Literal["parquet", "csv"]
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_CHUNK_BYTES = 1 << 20
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """The file, or the Parquet parts, of one canonical table."""

    table: str
    form: Form
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class CsvLayout:
    """The columns of a CSV file as its first line names them, and what separates its cells."""

    columns: tuple[str, ...]
    delimiter: str


def find_sources(folder: Path) -> tuple[list[Source], list[Finding]]:
    """The canonical tables that a folder holds, in contract order, and what is wrong with its files.

    Raises
    ------
    DataError
        The folder does not exist, is not a folder or cannot be read.
    """
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        raise DataError(Fault(str(folder), "there is no such folder", next_step="Give the folder of tables.")) from None
    except NotADirectoryError:
        raise DataError(Fault(str(folder), "this is a file", next_step="Give the folder that holds it.")) from None
    except PermissionError:
        raise DataError(Fault(str(folder), "this folder may not be read", next_step="Ask for access to it.")) from None
    named = [source for entry in entries if (source := _source(entry))]
    sources: list[Source] = []
    findings: list[Finding] = []
    for table in TABLE_NAMES:
        mine = [source for source in named if source.table == table]
        if len(mine) > 1:
            names = ", ".join(sorted(_shown(source) for source in mine))
            text = f"the table is there {len(mine)} times ({names}): keep one of them"
            findings.append(Finding("error", table, "", "there_twice", len(mine), text))
        elif mine:
            sources.append(mine[0])
    strangers = [source for source in named if source.table not in TABLE_NAMES]
    findings += _stranger_findings(strangers, {source.table for source in named})
    if not any(source.table in TABLE_NAMES for source in named):
        found = ", ".join(sorted(_shown(source) for source in strangers)) or "no .parquet and no .csv file"
        text = f"no canonical table is here (found: {found}): name the files {', '.join(TABLE_NAMES)}"
        findings.append(Finding("error", "", "", "no_table", 0, text))
    return sources, findings


def _source(entry: Path) -> Source | None:
    if entry.name.startswith("."):
        return None
    if entry.is_dir():
        parts = tuple(sorted(entry.glob("*.parquet")))
        return Source(entry.name, "parquet", parts) if parts else None
    form = entry.suffix.lower().removeprefix(".")
    return Source(entry.stem, form, (entry,)) if form in ("parquet", "csv") else None


def _shown(source: Source) -> str:
    path = source.paths[0]
    return path.name if path.stem == source.table else f"{source.table}/"


def _stranger_findings(strangers: Sequence[Source], present: set[str]) -> list[Finding]:
    absent = [name for name in TABLE_NAMES if name not in present]
    findings = []
    for source in strangers:
        hint = suggest_name(source.table.lower().replace("-", "_").replace(" ", "_"), absent)
        if hint:
            text = f"{_shown(source)} is not the name of a table. {hint}"
            findings.append(Finding("error", source.table, "", "table_misspelt", 1, text))
        else:
            text = f"{_shown(source)} is not the name of a table and was left alone"
            findings.append(Finding("note", source.table, "", "not_a_table", 1, text))
    return findings


def read_layout(source: Source) -> tuple[CsvLayout | None, list[Finding]]:
    """How the CSV file of `source` is laid out: UTF-8, a header line, one of four separators.

    The layout is None where the file cannot be read at all; the findings then say why.
    """
    path, table = source.paths[0], source.table
    refused = _encoding_fault(path)
    if refused:
        return None, [Finding("error", table, "", refused[0], 1, f"{path.name} {refused[1]}")]
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    findings = []
    if head.startswith(codecs.BOM_UTF8):
        text = f"{path.name} begins with a byte-order mark, which was skipped"
        findings.append(Finding("note", table, "", "bom", 1, text))
    text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        what = f"{path.name} is empty: it has no header line"
        return None, [*findings, Finding("error", table, "", "empty_file", 1, what)]
    expected = set(column_names(table))
    splits = {
        mark: tuple(name.strip() for name in next(csv.reader([lines[0]], delimiter=mark))) for mark in _DELIMITERS
    }
    delimiter = max(_DELIMITERS, key=lambda mark: len(expected & set(splits[mark])))
    columns = splits[delimiter]
    if not expected & set(columns):
        what = f"the first line of {path.name} names no column of this table: it must be a header"
        return None, [*findings, Finding("error", table, "", "no_header", 1, what)]
    twice = sorted({name for name in columns if columns.count(name) > 1 and name in expected})
    if twice:
        what = f"{path.name} has a column twice: {', '.join(twice)}"
        return None, [*findings, Finding("error", table, "", "column_twice", len(twice), what)]
    if delimiter != ",":
        what = f"the cells of {path.name} are separated by {_DELIMITERS[delimiter]}, which was accepted"
        findings.append(Finding("note", table, "", "delimiter", 1, what))
    return CsvLayout(_unique(columns, expected), delimiter), findings


def _unique(columns: Sequence[str], expected: set[str]) -> tuple[str, ...]:
    # Extra columns may lack a name (an index that was saved) or share one; DuckDB needs them apart.
    seen: set[str] = set()
    out = []
    for place, name in enumerate(columns, 1):
        taken = not name or name.lower() in seen or (name not in expected and name.lower() in expected)
        out.append(f"column {place}" if taken else name)
        seen.add(out[-1].lower())
    return tuple(out)


def _encoding_fault(path: Path) -> tuple[str, str] | None:
    if path.stat().st_size == 0:
        return "empty_file", "is empty: it has no header line"
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "not_utf8", "is UTF-16, not UTF-8: save it as UTF-8"
        file.seek(0)
        try:
            while chunk := file.read(_CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "not_utf8", "is not UTF-8 text: save it as UTF-8"
    return None


def column_findings(source: Source, columns: Sequence[str]) -> list[Finding]:
    """Missing columns (with the nearest name that is there), extra columns, another order."""
    table = source.table
    expected = column_names(table)
    extra = [name for name in columns if name not in expected]
    findings = []
    for name in (name for name in expected if name not in columns):
        near = {other.strip().lower().replace(" ", "_").replace("-", "_"): other for other in extra}
        hint = suggest_name(name, list(near))
        nearest = next((near[key] for key in near if f'"{key}"' in hint), "")
        step = f'The nearest column that is there is "{nearest}": rename it' if nearest else "Add it"
        what = f'column "{name}" is missing. {step}'
        findings.append(Finding("error", table, name, "missing_column", 1, what))
    if extra and not findings:
        verb = "was" if len(extra) == 1 else "were"
        what = f"{plural(len(extra), 'extra column')} {verb} left alone: {', '.join(extra)}"
        findings.append(Finding("note", table, "", "extra_columns", len(extra), what))
    if [name for name in columns if name in expected] != [name for name in expected if name in columns]:
        what = "the columns stand in another order than in the contract, which was accepted"
        findings.append(Finding("note", table, "", "column_order", 1, what))
    return findings
