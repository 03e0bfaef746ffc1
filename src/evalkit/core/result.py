"""Estimates, checks, and the one long table that every number ends in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from evalkit.core.errors import Fault, ParameterError
from evalkit.core.estimand import Estimand

Role = Literal["primary", "sensitivity", "naive", "exploratory", "descriptive"]
Kind = Literal["estimate", "count", "rate", "percent", "mean", "statistic", "check"]
Status = Literal["shown", "not_estimable", "refused", "suppressed"]

# Every column of every results table, and what it means. Nothing else may appear in one.
GLOSSARY: dict[str, str] = {
    "id": "Unique name of the number: table/row/column.",
    "table": "The table or figure that the number belongs to.",
    "row": "Row label within the table.",
    "column": "Column label within the table.",
    "order": "Position within the table, from 0.",
    "kind": "estimate, count, rate, percent, mean, statistic or check.",
    "estimand": "What is estimated: outcome.scale; empty for descriptions.",
    "outcome": "Key of the outcome in the protocol; empty where none applies.",
    "estimator": "How it was estimated; empty for descriptions.",
    "role": "primary, sensitivity, naive (not evidence of effect), exploratory or descriptive.",
    "value": "The number. NaN where it is undefined, refused or suppressed.",
    "se": "Standard error; NaN where the method gives none.",
    "lower": "Lower end of the interval.",
    "upper": "Upper end of the interval.",
    "level": "Level that the interval attains, 0 to 1.",
    "p_value": "Two-sided p-value; NaN where the method gives none.",
    "unit": "Unit of value, se, lower and upper.",
    "n_people": "People behind the number.",
    "n_events": "Events behind the number.",
    "numerator": "id of the count that this rate, percent or mean has on top.",
    "denominator": "id of the count that it has below.",
    "totals": "ids, joined by ';', of the totals that this count is a part of.",
    "status": "shown, not_estimable, refused or suppressed.",
    "reason": "Why there is no number, or what a check found; one sentence.",
    "label": "The number's name in words.",
    "notebook": "The notebook that made it.",
    "protocol": "Digest of the protocol.",
    "data": "Digest of the tables.",
}
_FLOATS = ("value", "se", "lower", "upper", "level", "p_value", "n_people", "n_events")
_INTS = ("order",)
_SCHEMA = pa.schema(
    [(c, pa.float64() if c in _FLOATS else pa.int64() if c in _INTS else pa.string()) for c in GLOSSARY]
)


@dataclass(frozen=True)
class Check:
    """A diagnostic: passed True or False, or None where it only informs."""

    name: str
    passed: bool | None
    value: float
    text: str


@dataclass(frozen=True)
class Estimate:
    """One estimated number, with everything a referee asks of it and no person's row.

    `value`, `se`, `lower`, `upper` are in `estimand.unit`; what is undefined is NaN, never 0.
    `status` is `not_estimable` or `refused` where no number may stand; `reason` then says why.
    """

    estimand: Estimand
    estimator: str
    role: Role
    value: float
    lower: float
    upper: float
    level: float
    n_people: float = math.nan
    n_events: float = math.nan
    se: float = math.nan
    p_value: float = math.nan
    checks: tuple[Check, ...] = ()
    status: Status = "shown"
    reason: str = ""
    label: str = ""

    def with_role(self, role: Role) -> Estimate:
        return replace(self, role=role)


def not_estimable(
    estimand: Estimand, estimator: str, *, role: Role, reason: str, status: Status = "not_estimable", label: str = ""
) -> Estimate:
    """An estimate that stands where the number would, and says why there is none."""
    nan = math.nan
    return Estimate(estimand, estimator, role, nan, nan, nan, nan, status=status, reason=reason, label=label)


@dataclass(frozen=True)
class Cell:
    """One descriptive number of a table or figure.

    `numerator`, `denominator` and `totals` name other cells of the same table as `row/column`; the
    gate needs them to suppress what could be had by division or subtraction.
    """

    row: str
    column: str
    value: float
    kind: Kind
    unit: str = ""
    lower: float = math.nan
    upper: float = math.nan
    level: float = math.nan
    n_people: float = math.nan
    n_events: float = math.nan
    numerator: str = ""
    denominator: str = ""
    totals: tuple[str, ...] = ()
    label: str = ""
    status: Status = "shown"
    reason: str = ""


class Results:
    """Every number of a run as one long tidy table whose columns are all in `GLOSSARY`."""

    def __init__(self, frame: pd.DataFrame) -> None:
        unknown = [c for c in frame.columns if c not in GLOSSARY]
        if unknown:
            raise ParameterError([Fault("results", f'column "{c}" is not in the glossary') for c in unknown])
        frame = frame.reindex(columns=list(GLOSSARY))
        for column in GLOSSARY:
            if column in _FLOATS:
                frame[column] = pd.to_numeric(frame[column]).astype("float64")
            elif column in _INTS:
                frame[column] = frame[column].fillna(0).astype("int64")
            else:
                frame[column] = frame[column].astype(object).fillna("").astype(str)
        twice = frame["id"][frame["id"].duplicated()].unique()
        if len(twice):
            raise ParameterError([Fault("results", f'two numbers are called "{name}"') for name in twice])
        self._frame = frame.reset_index(drop=True)

    @property
    def frame(self) -> pd.DataFrame:
        """A copy of the table."""
        return self._frame.copy()

    def __len__(self) -> int:
        return len(self._frame)

    def table(self, name: str) -> pd.DataFrame:
        """The rows of one table or figure, in order."""
        rows = self._frame[self._frame["table"] == name]
        return rows.sort_values("order", kind="stable").reset_index(drop=True)

    @property
    def estimates(self) -> pd.DataFrame:
        return self._frame[self._frame["kind"] == "estimate"].reset_index(drop=True)

    @classmethod
    def from_estimates(cls, estimates: Iterable[Estimate], *, table: str = "effects") -> Results:
        """One row an estimate in `table`, and one row a check in `checks.<table>`."""
        rows: list[dict[str, object]] = []
        for order, e in enumerate(estimates):
            key, name = e.estimand.key, f"{e.role}.{e.estimator}"
            shared = {"estimand": key, "outcome": e.estimand.outcome, "estimator": e.estimator, "role": e.role}
            rows.append(
                shared
                | {
                    "id": f"{table}/{key}/{name}",
                    "table": table,
                    "row": key,
                    "column": name,
                    "order": order,
                    "kind": "estimate",
                    "value": e.value,
                    "se": e.se,
                    "lower": e.lower,
                    "upper": e.upper,
                    "level": e.level,
                    "p_value": e.p_value,
                    "unit": e.estimand.unit,
                    "n_people": e.n_people,
                    "n_events": e.n_events,
                    "status": e.status,
                    "reason": e.reason,
                    "label": e.label or e.estimator.replace("_", " "),
                }
            )
            for place, check in enumerate(e.checks):
                passed = {True: "passed", False: "failed", None: "informs"}[check.passed]
                rows.append(
                    shared
                    | {
                        "id": f"checks.{table}/{key}.{name}/{check.name}",
                        "table": f"checks.{table}",
                        "row": f"{key}.{name}",
                        "column": check.name,
                        "order": order * 100 + place,
                        "kind": "check",
                        "value": check.value,
                        "unit": passed,
                        "reason": check.text,
                        "status": "shown",
                        "label": check.name.replace("_", " "),
                    }
                )
        return cls(pd.DataFrame(rows, columns=list(GLOSSARY)))

    @classmethod
    def from_cells(cls, table: str, cells: Sequence[Cell], *, outcome: str = "", estimator: str = "") -> Results:
        """A descriptive table: one row a cell, linked by `numerator`, `denominator` and `totals`."""

        def full(name: str) -> str:
            return f"{table}/{name}" if name else ""

        rows = [
            {
                "id": f"{table}/{c.row}/{c.column}",
                "table": table,
                "row": c.row,
                "column": c.column,
                "order": order,
                "kind": c.kind,
                "outcome": outcome,
                "estimator": estimator,
                "role": "descriptive",
                "value": c.value,
                "lower": c.lower,
                "upper": c.upper,
                "level": c.level,
                "unit": c.unit,
                "n_people": c.n_people,
                "n_events": c.n_events,
                "numerator": full(c.numerator),
                "denominator": full(c.denominator),
                "totals": ";".join(full(t) for t in c.totals),
                "status": c.status,
                "reason": c.reason,
                "label": c.label or c.row,
            }
            for order, c in enumerate(cells)
        ]
        results = cls(pd.DataFrame(rows, columns=list(GLOSSARY)))
        results._links_hold()
        return results

    def _links_hold(self) -> None:
        known = set(self._frame["id"])
        faults = []
        for column in ("numerator", "denominator", "totals"):
            for joined in self._frame[column]:
                faults += [
                    Fault("results", f'"{column}" names "{name}", which is not a number of the table')
                    for name in joined.split(";")
                    if name and name not in known
                ]
        if faults:
            raise ParameterError(faults)

    def stamped(self, *, notebook: str, protocol: str, data: str) -> Results:
        """The same numbers with where they came from written on each."""
        return Results(self._frame.assign(notebook=notebook, protocol=protocol, data=data))

    @classmethod
    def concat(cls, parts: Iterable[Results]) -> Results:
        frames = [part._frame for part in parts if len(part)]
        return cls(pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(GLOSSARY)))

    def save(self, path: Path | str) -> None:
        """Write Parquet whose bytes depend on the numbers alone."""
        table = pa.Table.from_pandas(self._frame, schema=_SCHEMA, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, Path(path), compression="zstd", store_schema=False)

    @classmethod
    def load(cls, path: Path | str) -> Results:
        return cls(pq.read_table(Path(path)).to_pandas())
