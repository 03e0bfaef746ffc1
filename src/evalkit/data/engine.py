"""DuckDB through ibis, in memory, read-only on the data: one connection a set of tables."""

from __future__ import annotations

import glob
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import ibis.expr.datatypes as dt
import ibis.expr.schema as sch
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
from ibis.backends.duckdb import Backend

EngineName = Literal["duckdb"]
THREADS = 2


class Engine(Backend):
    """ibis 12's DuckDB backend, with the calls that DuckDB 2 renamed, and results as this project's types.

    ibis 12 calls `fetch_arrow_table()`, which DuckDB 2 deprecates (and warnings are errors here), and
    converts results with `pyarrow_hotfix`, which patches a fault that pyarrow has not had since 14.
    Overriding the few methods that fetch avoids both.

    Results in pandas: dates are `datetime64[s]`, whole numbers and yes/no are numpy types where
    nothing is missing and `Int64`, `boolean` where something is, text is `str`.
    """

    def get_schema(self, table_name: str, *, catalog: str | None = None, database: str | None = None) -> sch.Schema:
        place = ".".join(_identifier(part) for part in (catalog, database, table_name) if part)
        return self._get_schema_using_query(f"SELECT * FROM {place}")

    def _get_schema_using_query(self, query: str) -> sch.Schema:
        described = self.con.execute(f"DESCRIBE {query}").fetchall()
        return sch.Schema({name: self._read_type(kind, null) for name, kind, null, *_ in described})

    def _read_type(self, kind: str, null: str) -> dt.DataType:
        if kind.strip('"') == "NULL":  # a Parquet column without one value; ibis 12 does not know it
            return dt.null
        return self.compiler.type_mapper.from_string(kind, nullable=null == "YES")

    def list_tables(self, *, like: str | None = None, database: tuple[str, str] | str | None = None) -> list[str]:
        if database is not None:
            raise ValueError("this engine has one database only")
        found = self.con.execute("SELECT DISTINCT table_name FROM information_schema.tables ORDER BY 1").fetchall()
        return self._filter_with_like([name for (name,) in found], like)

    def to_pyarrow(
        self, expr: ir.Expr, /, *, params: Mapping[ir.Scalar, Any] | None = None, limit: int | str | None = None,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        """The result as an arrow table, array or scalar, as `expr` is a table, column or scalar."""
        table = self._to_duckdb_relation(expr, params=params, limit=limit, **kwargs).to_arrow_table()
        if isinstance(expr, ir.Table):
            return table
        return table.column(0)[0] if isinstance(expr, ir.Scalar) else table.column(0).combine_chunks()

    def to_pyarrow_batches(
        self, expr: ir.Expr, /, *, params: Mapping[ir.Scalar, Any] | None = None, limit: int | str | None = None,
        chunk_size: int = 1_000_000, **_: Any,
    ) -> pa.ipc.RecordBatchReader:  # fmt: skip
        """The result in batches of about `chunk_size` rows, never all in memory."""
        return self._to_duckdb_relation(expr, params=params, limit=limit).to_arrow_reader(chunk_size)

    def execute(
        self, expr: ir.Expr, /, *, params: Mapping[ir.Scalar, Any] | None = None, limit: int | str | None = None,
        **kwargs: Any,
    ) -> Any:  # fmt: skip
        """The result in pandas: a DataFrame, a Series or a scalar, as `expr` is a table, column or scalar."""
        table = self._to_duckdb_relation(expr, params=params, limit=limit, **kwargs).to_arrow_table()
        if isinstance(expr, ir.Scalar):
            return table.column(0)[0].as_py()
        frame = to_frame(table)
        return frame if isinstance(expr, ir.Table) else frame.iloc[:, 0]


def connect(engine: EngineName = "duckdb") -> Engine:
    """A new in-memory connection that reads files and writes none, fetches no extension.

    What does not fit into memory spills into the system's temporary folder, and is removed with the
    connection: set TMPDIR to keep it on a disk of the secure environment.
    """
    if engine != "duckdb":
        raise ValueError(f'engine must be "duckdb", got "{engine}"')
    spill = Path(tempfile.gettempdir()) / "evalkit-duckdb"
    return Engine().connect(
        ":memory:", threads=THREADS, temp_directory=str(spill), autoinstall_known_extensions=False,
        autoload_known_extensions=False,
    )  # fmt: skip


def to_frame(table: pa.Table) -> pd.DataFrame:
    """An arrow table as pandas, typed as `Engine` says."""
    return pd.DataFrame({name: _to_series(table.column(name)) for name in table.column_names})


def _to_series(column: pa.ChunkedArray) -> pd.Series:
    kind = column.type
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("s"), safe=False).to_pandas().astype("datetime64[s]")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column.to_pandas().astype("str")
    if pa.types.is_integer(kind) and column.null_count:
        return column.to_pandas(types_mapper={kind: pd.Int64Dtype()}.get).astype("Int64")
    if pa.types.is_boolean(kind) and column.null_count:
        return column.to_pandas(types_mapper={kind: pd.BooleanDtype()}.get)
    if pa.types.is_decimal(kind):
        return column.cast(pa.int64() if kind.scale == 0 else pa.float64()).to_pandas()
    return column.to_pandas()


def scan_csv(engine: Engine, view: str, path: Path, *, columns: Sequence[str], delimiter: str) -> ir.Table:
    """A lazy table over a CSV file with a header, every column text; ragged rows fail when it is queried."""
    types = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in columns)
    return _view(
        engine, view,
        f"read_csv({_literal(glob.escape(str(path)))}, auto_detect=false, header=true, delim={_literal(delimiter)}, "
        f"quote='\"', escape='\"', nullstr='', columns={{{types}}})",
    )  # fmt: skip


def scan_parquet(engine: Engine, view: str, paths: Sequence[Path]) -> ir.Table:
    """A lazy table over one or more Parquet files."""
    names = ", ".join(_literal(glob.escape(str(path))) for path in paths)
    return _view(engine, view, f"read_parquet([{names}], union_by_name=true)")


def _view(engine: Engine, view: str, source: str) -> ir.Table:
    engine.con.execute(f"CREATE OR REPLACE TEMP VIEW {_identifier(view)} AS SELECT * FROM {source}")
    return engine.table(view)


def name_table(engine: Engine, name: str, table: ir.Table) -> ir.Table:
    """`table` under a name of its own in the connection: still lazy, and quicker to build queries on."""
    engine.con.execute(f"CREATE OR REPLACE TEMP VIEW {_identifier(name)} AS {engine.compile(table)}")
    return engine.table(name)


def keep_table(engine: Engine, name: str, table: ir.Table) -> ir.Table:
    """`table` computed once and kept in the connection, in memory or, where that is short, in its spill files."""
    engine.con.execute(f"CREATE OR REPLACE TEMP TABLE {_identifier(name)} AS {engine.compile(table)}")
    return engine.table(name)


def typed(column: ir.Column, kind: str) -> ir.Column:
    """`column` cast to a contract type; what cannot be cast becomes null (`wrong_type` counts those).

    Text is trimmed; empty text and the words that other programs write for "missing" are null. A
    date must be written year-month-day and may carry midnight; a whole number may end in `.0`.
    """
    if column.type().is_null():
        column = column.cast(dt.string)
    source = column.type()
    text = cleaned(column) if source.is_string() else None
    if kind == "text":
        return column.cast(dt.string) if text is None else text
    if kind == "yes/no":
        if source.is_boolean():
            return column
        said = (column.cast(dt.string) if text is None else text).lower()
        return said.cases(*_YES_OR_NO, else_=None)
    if kind == "date":
        return _date(column, text)
    number = column.cast(dt.float64) if text is None else text.try_cast(dt.float64)
    number = (number.isnan() | number.isinf()).ifelse(None, number)
    if kind == "number":
        return number
    if source.is_integer():
        return column.cast(dt.int64)
    whole = (number == number.floor()) & (number.abs() < 2**53)
    return whole.ifelse(number, None).try_cast(dt.int64)


def cleaned(column: ir.StringColumn) -> ir.StringColumn:
    """Text without blanks at its ends, null where it says nothing."""
    text = column.strip()
    return says_nothing(text).ifelse(None, text)


def says_nothing(text: ir.StringColumn) -> ir.BooleanColumn:
    """Whether trimmed text is empty or a word for "missing"; most cells are too long to be looked at twice."""
    return (text.length() <= _LONGEST_MISSING) & text.re_search(_MISSING_PATTERN)


def can_hold(source: dt.DataType, kind: str) -> bool:
    """Whether a column of this type may be read as the contract type at all."""
    if source.is_string() or source.is_null():
        return True
    if kind == "date":
        return source.is_date() or source.is_timestamp()
    if kind == "yes/no":
        return source.is_boolean() or source.is_integer()
    if kind == "text":
        return source.is_integer()
    return source.is_numeric() and not source.is_boolean()


def _date(column: ir.Column, text: ir.StringColumn | None) -> ir.Column:
    if text is not None:
        # Nearly every cell is written plainly: the pattern, which is slow, is for the others.
        plain = (text.length() == 10) & (text[4] == "-") & (text[7] == "-") & (text >= "0")
        midnight = text.re_search(_MIDNIGHT_PATTERN).ifelse(text.substr(0, 10), None)
        return plain.ifelse(text, midnight).try_cast(dt.date)
    if column.type().is_date():
        return column
    day = column.cast(dt.timestamp).truncate("D")
    return (column.cast(dt.timestamp) == day).ifelse(day, None).cast(dt.date)


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_MISSING_WORDS = ("NA", "NaN", "nan", "NaT", "NULL", "null", "None", "<NA>")
_LONGEST_MISSING = 4
_MISSING_PATTERN = f"^({'|'.join(['', *_MISSING_WORDS])})$"
_YES = ("true", "1", "yes", "t", "y", "1.0")
_NO = ("false", "0", "no", "f", "n", "0.0")
_YES_OR_NO = tuple(pair for yes, no in zip(_YES, _NO, strict=True) for pair in ((yes, True), (no, False)))
_MIDNIGHT_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T]00:00(:00(\.0+)?)?$"
