"""What a check found: counts and plain sentences, never a person's row, identifier or date."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from evalkit.core.errors import Fault

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing found in the tables.

    `error`: the tables cannot be used. `warning`: they can, with care. `note`: an oddity that was
    accepted. `what` is a short key such as `end_before_start`; `count` is the number of rows (or
    cells, files, areas: `text` says which) concerned.
    """

    severity: Severity
    table: str
    column: str
    what: str
    count: int
    text: str

    @property
    def code(self) -> str:
        """A key for tables of findings: `table.column.what`, parts that are empty left out."""
        return ".".join(part for part in (self.table, self.column, self.what) if part)

    @property
    def place(self) -> str:
        return ".".join(part for part in (self.table, self.column) if part) or "folder"

    @property
    def fault(self) -> Fault:
        return Fault(self.place, self.text)


def faults_of(findings: Iterable[Finding]) -> list[Fault]:
    """The errors among `findings`, as faults for a `DataError`."""
    return [finding.fault for finding in findings if finding.severity == "error"]


def plural(count: int, one: str, many: str = "") -> str:
    """`1 row`, `2 rows`, `1,200 people`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
