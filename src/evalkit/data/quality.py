"""One report on the quality of a folder of tables: counts, shares and coverage, never a person's row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evalkit.core.errors import DataError
from evalkit.core.protocol import Protocol
from evalkit.data.checks import TableSummary, row_findings, summarise_table
from evalkit.data.contracts import TABLE_NAMES, null_meaning
from evalkit.data.coverage import build_coverage, coverage_findings, coverage_table
from evalkit.data.findings import SEVERITIES, Finding, faults_of, plural
from evalkit.data.study import folder_findings, study_findings, table_findings
from evalkit.data.tables import Tables, inspect_tables

_WORDS = {"error": "ERROR", "warning": "warning", "note": "note"}
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "12345678"


@dataclass(frozen=True)
class QualityReport:
    """What was found in a folder of tables.

    `tables`: one row a table: table, rows, people (missing where it has none), missing_cells,
    missing_percent (of all cells). `missing`: one row a column with empty cells: table, column,
    missing, percent, meaning. `coverage`: table, area, quarter, rows. None holds a person's row.
    """

    folder: Path
    findings: tuple[Finding, ...]
    tables: pd.DataFrame
    missing: pd.DataFrame
    coverage: pd.DataFrame

    def count(self, severity: Literal["error", "warning", "note"]) -> int:
        return sum(finding.severity == severity for finding in self.findings)

    @property
    def exit_code(self) -> Literal[0, 1, 2]:
        """2: the tables cannot be used; 1: they can, with warnings; 0: nothing was found."""
        return 2 if self.count("error") else 1 if self.count("warning") else 0

    @property
    def verdict(self) -> str:
        """The report in one sentence."""
        warnings = plural(self.count("warning"), "warning")
        if self.count("error"):
            return f"These tables cannot be used: {plural(self.count('error'), 'error')}, {warnings}."
        return (
            f"These tables can be used, with care: {warnings}."
            if self.count("warning")
            else "These tables can be used."
        )

    def render(self, console: Console) -> None:
        """Print the report: what was found, then tables, missing cells and coverage."""
        console.print(f"[bold]Quality of the tables in {escape(str(self.folder))}[/bold]", highlight=False)
        console.print(self.verdict, style="bold red" if self.exit_code == 2 else "bold", highlight=False)
        if self.findings:
            _heading(console, "What was found")
            console.print(_findings_table(self.findings))
        if len(self.tables):
            _heading(console, "Tables")
            console.print(_tables_table(self.tables))
        if len(self.missing):
            _heading(console, "Empty cells")
            console.print(_missing_table(self.missing))
        if len(self.coverage):
            _print_coverage(self.coverage, console)


def check_tables(folder: Path | str, protocol: Protocol | None = None) -> QualityReport:
    """Report on the quality of a folder of tables; with a protocol, also on whether they can bear it.

    Raises
    ------
    DataError
        The folder does not exist or cannot be read. All else is in the report.
    """
    return _examine(Path(folder), protocol)[1]


def require_usable(folder: Path | str, protocol: Protocol | None) -> Tables:
    """Open the tables of a folder for a protocol, or for their contract alone, or refuse them.

    Raises
    ------
    DataError
        With every error that `check_tables` finds, at once. Warnings do not refuse.
    """
    tables, report = _examine(Path(folder), protocol)
    faults = faults_of(report.findings)
    if faults:
        raise DataError(faults)
    return tables


def _examine(folder: Path, protocol: Protocol | None) -> tuple[Tables, QualityReport]:
    tables, structural = inspect_tables(folder)
    findings = list(structural)
    summaries = []
    for name in tables.names:
        summary, found = summarise_table(tables, name)
        summaries.append(summary)
        findings += found
    findings += row_findings(tables)
    # A file that is there but cannot be read is not a missing table: its own fault was told.
    broken = {f.table for f in structural if f.severity == "error" and f.table in TABLE_NAMES}
    present = {*tables.names, *broken}
    empty = {summary.table for summary in summaries if not summary.rows}
    findings += folder_findings(present)
    coverage = build_coverage(tables, protocol)
    if protocol:
        findings += table_findings(protocol, present, empty)
        if not empty & {"people", "areas"}:
            findings += study_findings(tables, protocol, broken=broken)
        findings += coverage_findings(coverage, protocol)
    else:
        findings += [_empty_finding(name) for name in sorted(empty)]
    order = {name: place for place, name in enumerate(["", *TABLE_NAMES])}
    findings.sort(key=lambda f: (SEVERITIES.index(f.severity), order.get(f.table, len(order)), f.column, f.what))
    tables_frame, missing = _frames(summaries)
    return tables, QualityReport(folder, tuple(_without_echoes(findings)), tables_frame, missing, coverage)


def _empty_finding(name: str) -> Finding:
    return Finding("error" if name == "people" else "warning", name, "", "no_rows", 1, "the table has no row")


def _without_echoes(findings: list[Finding]) -> list[Finding]:
    # A cell of the wrong type was read as empty: it is told once, as what it is.
    wrong = {(f.table, f.column): f.count for f in findings if f.what == "wrong_type"}
    return [f for f in findings if not (f.what == "empty_cells" and wrong.get((f.table, f.column)) == f.count)]


def _frames(summaries: list[TableSummary]) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = pd.DataFrame(
        [
            (
                s.table,
                s.rows,
                s.people,
                sum(s.missing.values()),
                _percent(sum(s.missing.values()), s.rows * len(s.missing)),
            )
            for s in summaries
        ],
        columns=["table", "rows", "people", "missing_cells", "missing_percent"],
    ).astype({"rows": "int64", "people": "Int64", "missing_cells": "int64", "missing_percent": "float64"})
    missing = pd.DataFrame(
        [
            (s.table, column, count, _percent(count, s.rows), null_meaning(s.table, column) or "not allowed")
            for s in summaries
            for column, count in s.missing.items()
            if count
        ],
        columns=["table", "column", "missing", "percent", "meaning"],
    ).astype({"missing": "int64", "percent": "float64"})
    return tables, missing


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else float("nan")


def _plain_table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))


def _heading(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold", highlight=False)


def _findings_table(findings: tuple[Finding, ...]) -> Table:
    table = _plain_table()
    table.add_column("", no_wrap=True)
    table.add_column("where", overflow="fold")
    table.add_column("what", overflow="fold")
    for finding in findings:
        text = finding.text if finding.text.endswith((".", "?")) else f"{finding.text}."
        table.add_row(_WORDS[finding.severity], escape(finding.place), escape(text), style=_STYLES[finding.severity])
    return table


def _tables_table(tables: pd.DataFrame) -> Table:
    table = _plain_table()
    table.add_column("table", no_wrap=True)
    for name in ("rows", "people", "empty cells"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in tables.itertuples():
        share = f"{row.missing_percent:.1f}%" if np.isfinite(row.missing_percent) else ""
        table.add_row(row.table, f"{row.rows:,}", "" if pd.isna(row.people) else f"{row.people:,}", share)
    return table


def _missing_table(missing: pd.DataFrame) -> Table:
    table = _plain_table()
    table.add_column("column", no_wrap=True)
    table.add_column("empty", justify="right", no_wrap=True)
    table.add_column("%", justify="right", no_wrap=True)
    table.add_column("which means")
    for row in missing.itertuples():
        table.add_row(f"{row.table}.{row.column}", f"{row.missing:,}", f"{row.percent:.1f}", row.meaning)
    return table


def _print_coverage(coverage: pd.DataFrame, console: Console) -> None:
    bars, none = (_BARS, "·") if (console.encoding or "").lower().startswith("utf") else (_PLAIN_BARS, ".")
    first, last = coverage["quarter"].min(), coverage["quarter"].max()
    _heading(console, f"Rows that begin in each quarter, {first} to {last}")
    console.print(f"One sign a quarter, taller is more within its table; {none} is none.", style="dim", highlight=False)
    table = _plain_table()
    for name in ("table", "area"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "fewest", "most"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("by quarter", overflow="fold")
    for name in coverage["table"].unique():
        wide = coverage_table(coverage, str(name))
        top = int(wide.to_numpy().max())
        # Areas with the very same counts share a line: thirty identical ones tell no more than one.
        alike = wide.groupby(list(wide.columns), sort=False).apply(lambda rows: list(rows.index), include_groups=False)
        for place, (counts, areas) in enumerate(alike.items()):
            counts = np.atleast_1d(counts)
            line = "".join(bars[(int(n) * len(bars) - 1) // top] if n else none for n in counts)
            label = areas[0] if len(areas) == 1 else f"each of {len(areas)} areas"
            numbers = (f"{int(n):,}" for n in (counts.sum(), counts.min(), counts.max()))
            table.add_row("" if place else str(name), escape(str(label)), *numbers, line)
    console.print(table)
