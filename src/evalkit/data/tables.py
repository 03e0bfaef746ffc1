"""The canonical tables of a folder: opened lazily and read-only, typed to their contract."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import duckdb
import ibis
import ibis.expr.types as ir
import pandas as pd

from evalkit.core.errors import DataError, Fault, ParameterError, suggest_name
from evalkit.data.contracts import INFO, TABLE_NAMES, TypeName, column_names, null_meaning, type_name
from evalkit.data.engine import (
    Engine,
    EngineName,
    can_hold,
    connect,
    keep_table,
    name_table,
    says_nothing,
    scan_csv,
    scan_parquet,
    typed,
)
from evalkit.data.findings import Finding, faults_of, plural
from evalkit.data.sources import Source, column_findings, find_sources, read_layout

_PANDAS: dict[TypeName, tuple[str, str]] = {
    # type where no cell may be empty, type where one may
    "text": ("str", "str"),
    "whole number": ("int64", "Int64"),
    "number": ("float64", "float64"),
    "yes/no": ("boolean", "boolean"),
    "date": ("datetime64[s]", "datetime64[s]"),
}


@dataclass(frozen=True)
class Tables:
    """The canonical tables that a folder holds, as lazy ibis tables. Nothing is written to the folder.

    Parquet is read in place, query by query. CSV, which is slow to parse, is parsed once into the
    connection, which spills what memory does not hold.

    `names` are the tables that are there, in contract order; `notes` the oddities that were accepted.
    """

    folder: Path
    names: tuple[str, ...]
    notes: tuple[str, ...]
    connection: Engine
    _lazy: Mapping[str, ir.Table] = field(repr=False)

    def has(self, name: str) -> bool:
        """Whether the table is there; a name that no contract knows is a ParameterError."""
        if name not in TABLE_NAMES:
            raise ParameterError(
                Fault("tables", f'no contract knows a table "{name}"', next_step=suggest_name(name, TABLE_NAMES))
            )
        return name in self._lazy

    def ibis(self, name: str) -> ir.Table:
        """The lazy table with the contract's columns, order and types; a DataError where it is absent."""
        if not self.has(name):
            raise DataError(Fault(name, "this table is not in the folder", allowed=", ".join(self.names)))
        return self._lazy[name]

    def read(self, name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The table in pandas, columns in contract order or as asked for.

        Rows are sorted by key, then by every other column, so that the order of rows and columns in
        the file never matters. Text is `str`, dates are `datetime64[s]`, yes/no is `boolean`, whole
        numbers are `int64`, or `Int64` where the contract lets a cell be empty.
        """
        table = self.ibis(name)
        every = column_names(name)
        chosen = list(columns) if columns is not None else list(every)
        unknown = [column for column in chosen if column not in every]
        if unknown:
            raise ParameterError([
                Fault(name, f'there is no column "{column}"', next_step=suggest_name(column, every))
                for column in unknown
            ])  # fmt: skip
        order = [*INFO[name].key, *(column for column in every if column not in INFO[name].key)]
        frame = table.order_by(order).select(chosen).execute()
        return frame.astype({column: _pandas_type(name, column, frame[column]) for column in chosen})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content: the same for CSV and Parquet and for any order of rows and columns.

        Each row's SHA-256 is cut into four numbers that are added up over the rows, so one pass in
        bounded memory does; it tells tables apart, it does not stop a forger. Extra columns do not count.
        """
        lines = [f"{name} {' '.join(map(str, _row_sums(self._lazy[name], name)))}" for name in self.names]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open_tables(folder: Path | str, *, engine: EngineName = "duckdb") -> Tables:
    """Open the canonical tables of a folder of Parquet or CSV files, read-only and lazily.

    Every file is read through once, to see that each cell is of its column's type.

    Raises
    ------
    DataError
        With every structural fault at once: no table, a table twice or misspelt, a file that is
        empty, not UTF-8 or damaged, a column missing or misspelt, cells of the wrong type. What the
        rows say of each other (overlaps, keys, people) is for `require_usable`.
    """
    tables, findings = inspect_tables(folder, engine=engine)
    faults = faults_of(findings)
    if faults:
        raise DataError(faults)
    return tables


def inspect_tables(folder: Path | str, *, engine: EngineName = "duckdb") -> tuple[Tables, tuple[Finding, ...]]:
    """The tables that can be read, and what is wrong or odd with the others.

    Unlike `open_tables` it goes on after a fault, so that all can be told at once; a cell of the
    wrong type is null in the tables returned. A folder that cannot be read is a DataError.
    """
    folder = Path(folder)
    sources, findings = find_sources(folder)
    connection = connect(engine)
    lazy: dict[str, ir.Table] = {}
    for source in sources:
        table, found = _open_source(connection, source)
        findings += found
        if table is not None:
            lazy[source.table] = table
    notes = tuple(f"{f.place}: {f.text}" for f in findings if f.severity == "note")
    return Tables(folder, tuple(lazy), notes, connection, lazy), tuple(findings)


def _open_source(connection: Engine, source: Source) -> tuple[ir.Table | None, list[Finding]]:
    view, findings = f"file of {source.table}", []
    try:
        if source.form == "csv":
            layout, findings = read_layout(source)
            if layout is None:
                return None, findings
            columns, mark = layout.columns, layout.delimiter
            raw = scan_csv(connection, view, source.paths[0], columns=columns, delimiter=mark)
        else:
            raw = scan_parquet(connection, view, source.paths)
        findings = [*findings, *column_findings(source, raw.columns)]
        found, table = _typed_table(connection, raw, source)
        return table, [*findings, *found]
    except duckdb.Error:
        # DuckDB's message quotes the row: it may not be passed on.
        what = {
            "csv": "cannot be read as CSV: a line has too few or too many cells, a quotation mark is not closed, "
            "or line ends are mixed",
            "parquet": "cannot be read as Parquet: it is damaged or something else",
        }[source.form]
        return None, [*findings, Finding("error", source.table, "", "unreadable", 1, f"{source.paths[0].name} {what}")]


def _typed_table(connection: Engine, raw: ir.Table, source: Source) -> tuple[list[Finding], ir.Table | None]:
    name = source.table
    findings, cast = _currency_findings(raw, name), {}
    for column in (column for column in column_names(name) if column in raw.columns):
        kind = type_name(name, column)
        if can_hold(raw[column].type(), kind):
            cast[column] = typed(raw[column], kind)
            continue
        what = f"the column is of type {raw[column].type()}, but must be {_wanted(kind)}"
        findings.append(Finding("error", name, column, "wrong_type", 0, what))
    if not cast:
        return findings, None
    hold = {"csv": keep_table, "parquet": name_table}[source.form]
    table = hold(connection, name, raw.select(**cast))
    findings += _cell_findings(raw, table, name)
    return findings, table if len(cast) == len(column_names(name)) else None


def _currency_findings(raw: ir.Table, name: str) -> list[Finding]:
    """Money in anything but pounds, where a column of its own says so: it would be added up as pounds otherwise."""
    column = next((c for c in raw.columns if c.lower() == "currency"), None)
    if column is None or not any(c.endswith("_gbp") for c in column_names(name)):
        return []
    said = raw[column].cast("string").strip().upper()
    count = _counts(raw.aggregate(other=(said.notnull() & ~said.isin(["GBP", ""])).sum()))["other"]  # noqa: PD004
    if not count:
        return []
    text = f"{plural(count, 'row')} in another currency than GBP: put all money in pounds and drop the column"
    return [Finding("error", name, column, "other_currency", count, text)]


def _cell_findings(raw: ir.Table, table: ir.Table, name: str) -> list[Finding]:
    """Cells that are not of their column's type: empty in `table`, though `raw` says something there."""
    silent, words = {}, {}
    for column in table.columns:
        value = raw[column]
        nothing = value.isnull()  # noqa: PD003
        if value.type().is_floating():
            nothing = nothing | value.isnan()
        if value.type().is_string():
            text = value.strip()
            nothing = nothing | says_nothing(text)
            words[f"word {column}"] = (says_nothing(text) & (text != "")).sum()
        silent[column] = nothing.sum()
    given = _counts(raw.aggregate(**silent, **words))
    empty = _counts(table.aggregate(**{column: table[column].isnull().sum() for column in table.columns}))  # noqa: PD003
    findings = []
    for column in table.columns:
        wrong = empty[column] - given[column]
        if wrong:
            what = f"{plural(wrong, 'cell')} cannot be read as {_wanted(type_name(name, column))}"
            findings.append(Finding("error", name, column, "wrong_type", wrong, what))
    read_empty = sum(given[key] for key in words)
    if read_empty:
        what = f"{plural(read_empty, 'cell')} that said NA, NaN, NaT, NULL or None were read as empty"
        findings.append(Finding("note", name, "", "missing_words", read_empty, what))
    return findings


def _counts(table: ir.Table) -> dict[str, int]:
    return {key: int(value or 0) for key, value in table.to_pyarrow().to_pylist()[0].items()}


def _wanted(kind: TypeName) -> str:
    return {
        "text": "text", "whole number": "a whole number", "number": "a number", "yes/no": "yes or no",
        "date": "a date without a time of day, written 2015-04-01",
    }[kind]  # fmt: skip


def _pandas_type(table: str, column: str, values: pd.Series) -> str:
    strict, nullable = _PANDAS[type_name(table, column)]
    # A table that broke its contract can still be looked at: an empty cell then needs the other type.
    return nullable if null_meaning(table, column) or values.isna().any() else strict


def _row_sums(table: ir.Table, name: str) -> list[int]:
    parts = []
    for column in column_names(name):
        kind = type_name(name, column)
        value = table[column] + 0.0 if kind == "number" else table[column]  # makes -0.0 the same as 0.0
        text = value.cast("string")
        # With its length in front no text can pass for two.
        parts.append((text.length().cast("string") + ":" + text).fill_null("-"))
    hashed = ibis.literal("").concat(*parts).hexdigest("sha256")
    cut = table.select(**{f"p{i}": ("0x" + hashed.substr(16 * i, 15)).cast("int64") for i in range(4)})
    sums = cut.aggregate(n=cut.count(), **{f"s{i}": cut[f"p{i}"].cast("decimal(38,0)").sum() for i in range(4)})
    row = sums.to_pyarrow().to_pylist()[0]
    return [int(row[key] or 0) for key in ("n", "s0", "s1", "s2", "s3")]
