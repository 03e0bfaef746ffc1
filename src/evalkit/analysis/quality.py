"""The quality of the tables as numbers that can pass the gate."""

from __future__ import annotations

import pandas as pd

from evalkit.analysis.study import Study
from evalkit.core.result import Cell, Results
from evalkit.data.findings import Finding
from evalkit.data.quality import QualityReport, check_tables


def check_study(study: Study) -> QualityReport:
    """The same examination as `evalkit check`, against the study's protocol."""
    return check_tables(study.tables.folder, study.protocol)


def describe_quality(report: QualityReport) -> list[Results]:
    """Rows and people of each table, empty cells of each column, and findings by kind."""
    tables = [
        Cell(t.table, column, float(getattr(t, column)), "count", label=t.table)
        for t in report.tables.itertuples()
        for column in ("rows", "people")
        if pd.notna(getattr(t, column))
    ]
    rows = report.tables.set_index("table")["rows"]
    missing = []
    for m in report.missing.itertuples():
        name = f"{m.table}.{m.column}"
        label = f"{m.table}: {m.column}"
        missing.append(Cell(name, "missing", float(m.missing), "count", label=label))
        missing.append(
            Cell(
                name,
                "percent",
                100 * m.missing / float(rows[m.table]),
                "percent",
                unit="%",
                numerator=f"{name}/missing",
                label=label,
            )
        )
    counted: dict[str, float] = {}
    for f in report.findings:
        if f.severity != "note":
            counted[_finding_name(f)] = counted.get(_finding_name(f), 0.0) + f.count
    findings = [
        Cell(name, "count", count, "count", label=name.replace(".", ": ", 1).replace("_", " "))
        for name, count in counted.items()
    ]
    named = (("data_tables", tables), ("data_missing", missing), ("data_findings", findings))
    return [Results.from_cells(name, cells) for name, cells in named if cells]


def _finding_name(finding: Finding) -> str:
    return ".".join(part for part in (finding.table, finding.column, finding.what) if part)
