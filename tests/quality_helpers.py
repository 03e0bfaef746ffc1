"""What the tests of bad input share: a check that looks at what is printed, and ways to break a table."""

import io
import re
from typing import Literal

import pandas as pd
from rich.console import Console

from evalkit.core.protocol import Protocol
from evalkit.data import check_tables
from evalkit.data.quality import QualityReport
from tests.data_factory import write_folder

# What may never be printed: anybody's identifier, and any date of an event.
PERSONAL = re.compile(r"p-(one|two|three|four|five|six|nobody)|20(13|14|15)-(02|03|05|06|08|09|11)-\d\d|2015-01-05")


def printed(report: QualityReport) -> str:
    console = Console(file=io.StringIO(), width=100)
    report.render(console)
    return console.file.getvalue()


def checked(folder, protocol: Protocol | None) -> QualityReport:
    """The report, after a look at what it prints."""
    report = check_tables(folder, protocol)
    shown = printed(report)
    assert not PERSONAL.search(shown), shown
    assert all(len(line.rstrip()) <= 100 for line in shown.splitlines())
    assert report.exit_code == (2 if report.count("error") else 1 if report.count("warning") else 0)
    assert not any(PERSONAL.search(finding.fault.text) for finding in report.findings)
    return report


def errors_of(report: QualityReport) -> dict[str, int]:
    """Codes and counts of the errors."""
    return {finding.code: finding.count for finding in report.findings if finding.severity == "error"}


def text_of(report: QualityReport, code: str) -> str:
    return next(finding.text for finding in report.findings if finding.code == code)


def few_tables(path, *, form: Literal["parquet", "csv"] = "parquet", **changes):
    """The tables that the protocol needs, and those that a test changes."""
    return write_folder(path, form=form, only=("people", "ward_stays", "placements", "unit_costs", *changes), **changes)


def put(column: str, value, *rows: int):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = (
            frame.astype({column: object}) if isinstance(value, str) and column in ("start", "end") else frame.copy()
        )
        frame.loc[list(rows) or slice(None), column] = value
        return frame

    return change


def day(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)
