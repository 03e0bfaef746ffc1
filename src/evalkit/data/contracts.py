"""The canonical tables: columns, types, nulls, allowed values, keys and plain meaning, said once.

The contracts are pandera schemas (`pandera.ibis`). Their checks are ibis expressions; `checks.py`
takes each check's expression and counts the rows that break it, all checks of a table in one pass.
`schema.validate()` itself is not called: when a check fails, pandera 0.35 copies the whole column
into memory and writes the failing values into its message. A table here may be larger than memory,
and a message may never quote a person.

A pandera check with `raise_warning=True` is a warning, any other an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pandas as pd
from pandera.ibis import Check, Column, DataFrameSchema

from evalkit.data.codes import CODES, ICD10_PATTERN, RESOURCE_PATTERN

TypeName = Literal["text", "whole number", "number", "yes/no", "date"]
Level = Literal["people", "event", "area", "reference"]
DTYPES: dict[TypeName, dt.DataType] = {
    "text": dt.string, "whole number": dt.int64, "number": dt.float64, "yes/no": dt.boolean, "date": dt.date,
}  # fmt: skip
BIRTH_YEARS = (1880, 2100)
IMD_DECILES = (1, 10)


@dataclass(frozen=True)
class TableInfo:
    """What a table is, beside its columns.

    `key` columns identify a row (empty: none does). `start` is the date of an event and `end`, where
    there is one, the first day after it. Rows of one value of `apart` may not overlap in time.
    """

    level: Level
    meaning: str
    key: tuple[str, ...]
    start: str = ""
    end: str = ""
    apart: tuple[str, ...] = ()


def _column(
    kind: TypeName, meaning: str, *, null: str = "", codes: str = "", check: Check | None = None, unit: str = ""
) -> Column:
    """A column; `null` says what an empty cell means, and an empty `null` that none may be."""
    if codes:
        allowed = tuple(CODES[codes])
        check = _check(lambda c: c.isin(allowed), "outside_list", f"one of {', '.join(allowed)}", warns=bool(null))
    return Column(
        DTYPES[kind], [check] if check else None, nullable=bool(null), description=meaning,
        metadata={"type": kind, "null": null, "codes": codes, "unit": unit},
    )  # fmt: skip


def _check(rule: Callable[[ir.Column], ir.BooleanColumn], name: str, error: str, *, warns: bool = False) -> Check:
    # pandera's ready-made ibis checks return tables that it joins by position; a column can be counted in one pass.
    return Check(lambda data: rule(data.table[data.key]), name=name, error=error, raise_warning=warns)


def _within(low: int, high: int, *, warns: bool = False) -> Check:
    return _check(lambda c: c.between(low, high), "out_of_range", f"{low} to {high}", warns=warns)


def _end_after_start(data) -> ir.BooleanColumn:
    return (data.table["end"] >= data.table["start"]).fill_null(True)


def _ready_during_stay(data) -> ir.BooleanColumn:
    stay = data.table
    after = (stay["ready_date"] >= stay["start"]).fill_null(True)
    return after & (stay["ready_date"] <= stay["end"]).fill_null(True)


def _discharged_when_ended(data) -> ir.BooleanColumn:
    return data.table["end"].notnull() == data.table["discharge_method"].notnull()  # noqa: PD004


_INTERVAL = Check(_end_after_start, name="end_before_start", error="end before start")
_READY = Check(
    _ready_during_stay, name="ready_outside_stay", error="ready for discharge outside the stay", raise_warning=True
)
_DISCHARGED = Check(
    _discharged_when_ended,
    name="discharge_unclear",
    error="an end without a discharge method, or a discharge method without an end",
    raise_warning=True,
)
_NOT_NEGATIVE = _check(lambda c: c >= 0, "negative", "0 or more")
_POSITIVE = _check(lambda c: c > 0, "not_positive", "more than 0")
_ICD10 = _check(lambda c: c.re_search(ICD10_PATTERN), "not_icd10", "ICD-10 such as F20 or F25.1", warns=True)
_RESOURCE = _check(lambda c: c.re_search(RESOURCE_PATTERN), "unknown_resource", "as described", warns=True)

_PERSON = _column("text", "The person, as in `people`.")
_OPEN = "still open"
_UNKNOWN = "not known"
_UNKNOWN_OR_OPEN = "not known or open"


def _start(what: str) -> Column:
    return _column("date", f"First day {what}.")


def _end(what: str) -> Column:
    return _column("date", f"First day no longer {what}; equal to `start` for the same day.", null=_OPEN)


_COLUMNS: dict[str, dict[str, Column]] = {
    "people": {
        "person_id": _column("text", "A pseudonym; never a name or an NHS number."),
        "birth_year": _column(
            "whole number", "Year of birth.", check=_within(*BIRTH_YEARS), unit="year"
        ),
        "sex": _column("text", "Sex or gender as recorded.", codes="sex"),
        "ethnic_group": _column("text", "Ethnic group, broad.", codes="ethnic_group"),
        "area": _column("text", "Borough responsible for the person when first known."),
        "imd_decile": _column(
            "whole number", "Deprivation of the neighbourhood: 1 most deprived, 10 least.", null=_UNKNOWN,
            check=_within(*IMD_DECILES, warns=True),
        ),
        "primary_diagnosis": _column("text", "Main diagnosis, ICD-10.", null=_UNKNOWN, check=_ICD10),
        "dual_diagnosis": _column("yes/no", "Also harmful use of alcohol or drugs.", null=_UNKNOWN),
        "forensic_history": _column("yes/no", "Has been detained through the courts.", null=_UNKNOWN),
        "death_date": _column("date", "Day of death.", null="alive as far as known"),
    },
    "residence": {
        "person_id": _PERSON,
        "area": _column("text", "Borough responsible for the person."),
        "start": _start("of that responsibility"),
        "end": _end("responsible"),
    },
    "ward_stays": {
        "stay_id": _column("text", "One stay on one ward."),
        "person_id": _PERSON,
        "spell_id": _column("text", "The hospital spell that the stay belongs to."),
        "ward_type": _column("text", "Type of ward.", codes="ward_type"),
        "site": _column("text", "Hospital site."),
        "start": _start("on the ward"),
        "end": _end("on the ward"),
        "admission_method": _column("text", "How the stay began.", codes="admission_method", null=_UNKNOWN),
        "discharge_method": _column("text", "How the stay ended.", codes="discharge_method", null=_OPEN),
        "discharge_destination": _column("text", "Where to.", codes="discharge_destination", null=_UNKNOWN_OR_OPEN),
        "legal_status": _column("text", "Legal status at the start.", codes="legal_status", null=_UNKNOWN),
        "ready_date": _column("date", "Day judged ready to leave.", null="not judged ready, or not known"),
        "out_of_area": _column("yes/no", "The ward is outside the local trust."),
    },
    "hospital_spells": {
        "spell_id": _column("text", "One hospital spell: admission to discharge from one provider."),
        "person_id": _PERSON,
        "start": _start("in hospital"),
        "end": _end("in hospital"),
        "admission_method": _column("text", "How the spell began.", codes="admission_method", null=_UNKNOWN),
        "discharge_method": _column("text", "How the spell ended.", codes="discharge_method", null=_OPEN),
        "discharge_destination": _column("text", "Where to.", codes="discharge_destination", null=_UNKNOWN_OR_OPEN),
    },
    "placements": {
        "placement_id": _column("text", "One placement."),
        "person_id": _PERSON,
        "setting": _column("text", "Kind of place.", codes="setting"),
        "start": _start("in the place"),
        "end": _end("in the place"),
        "weekly_cost_gbp": _column(
            "number", "Weekly price, in money of the financial year in which the placement began.",
            null="priced from `unit_costs`", check=_NOT_NEGATIVE, unit="GBP per week",
        ),
        "funder": _column("text", "Who pays.", codes="funder"),
        "provider": _column("text", "Who runs the place.", null="not known, or nobody runs it"),
    },
    "programme_episodes": {
        "person_id": _PERSON,
        "programme": _column("text", "Programme, as in the protocol."),
        "component": _column("text", "Part of the programme."),
        "start": _start("in it"),
        "end": _end("in it"),
    },
    "contacts": {
        "person_id": _PERSON,
        "date": _column("date", "Day of the contact."),
        "team": _column("text", "Team."),
        "kind": _column("text", "How: face to face, telephone, ..."),
        "attended": _column("yes/no", "The contact took place."),
    },
    "assessments": {
        "person_id": _PERSON,
        "date": _column("date", "Day of the assessment."),
        "instrument": _column("text", "Questionnaire, such as DIALOG."),
        "item": _column("text", "Item of it."),
        "score": _column("number", "Answer.", null="not answered", unit="points"),
    },
    "activities": {
        "person_id": _PERSON,
        "date": _column("date", "Day recorded."),
        "activity": _column("text", "Kind of activity.", codes="activity"),
        "status": _column("text", "Status on that day."),
    },
    "health_checks": {
        "person_id": _PERSON,
        "date": _column("date", "Day offered or done."),
        "check": _column("text", "Which check."),
        "done": _column("yes/no", "It was done."),
    },
    "unit_costs": {
        "resource": _column(
            "text", "`ward_day.<ward type>`, `ward_day.out_of_area`, `placement_week.<setting>`, `contact`, "
            "`programme_week.<programme>`, `programme_set_up.<programme>` (once, to start it) or "
            "`housing_week.<setting>` (what others than the NHS and the council pay, such as housing benefit).",
            check=_RESOURCE,
        ),
        "unit": _column("text", "What the price is for: day, week, contact."),
        "price_gbp": _column("number", "Price.", check=_NOT_NEGATIVE, unit="GBP per unit"),
        "price_year": _column(
            "whole number", "Financial year of the price, by its first calendar year.", unit="year"
        ),
        "source": _column("text", "Where the price comes from."),
        "verified": _column("yes/no", "The price was seen in that source."),
    },
    "price_index": {
        "year": _column("whole number", "Financial year, by its first calendar year.", unit="year"),
        "level": _column("number", "What the same things cost; only ratios count.", check=_POSITIVE),
        "source": _column("text", "Where the level comes from."),
        "verified": _column("yes/no", "The level was seen in that source."),
    },
    "budgets": {
        "programme": _column("text", "Programme."),
        "year": _column("whole number", "Financial year, by its first calendar year.", unit="year"),
        "original_gbp": _column("number", "Budget before the programme.", unit="GBP per year"),
        "actual_gbp": _column("number", "What was spent.", unit="GBP per year"),
    },
    "areas": {
        "area": _column("text", "Borough, state or other area."),
        "population": _column(
            "whole number", "People who live there.", check=_POSITIVE, unit="people"
        ),
        "adoption_date": _column("date", "First day of the programme there.", null="never adopted it"),
    },
    "area_counts": {
        "area": _column("text", "Area, as in `areas`."),
        "period_start": _column("date", "First day of the quarter or year."),
        "outcome": _column("text", "Key of an outcome of the protocol."),
        "count": _column("number", "Events in the period.", check=_NOT_NEGATIVE, unit="events"),
        "person_time": _column(
            "number", "Time at risk in the period.", check=_POSITIVE, unit="person-years"
        ),
    },
}  # fmt: skip

_PEOPLE_ALONE = ("person_id",)
INFO: Mapping[str, TableInfo] = MappingProxyType({
    "people": TableInfo("people", "One row a person.", ("person_id",)),
    "residence": TableInfo("event", "Which borough was responsible for a person, and when; a person is followed "
                           "while resident somewhere.", ("person_id", "start"), "start", "end", _PEOPLE_ALONE),
    "ward_stays": TableInfo("event", "One row a stay on a ward.", ("stay_id",), "start", "end", _PEOPLE_ALONE),
    "hospital_spells": TableInfo("event", "One row a hospital spell; made from `ward_stays` where absent.",
                                 ("spell_id",), "start", "end", _PEOPLE_ALONE),
    "placements": TableInfo("event", "One row a period in one kind of place.", ("placement_id",), "start", "end",
                            _PEOPLE_ALONE),
    "programme_episodes": TableInfo("event", "One row a period in a part of a programme.",
                                    ("person_id", "programme", "component", "start"), "start", "end"),
    "contacts": TableInfo("event", "One row a contact with a team.", (), "date"),
    "assessments": TableInfo("event", "One row an answered item.", (), "date"),
    "activities": TableInfo("event", "One row an activity recorded.", (), "date"),
    "health_checks": TableInfo("event", "One row a physical health check.", (), "date"),
    "unit_costs": TableInfo("reference", "One row a price.", ("resource",)),
    "price_index": TableInfo("reference", "One row a year: puts prices of one year in money of another.", ("year",)),
    "budgets": TableInfo("reference", "One row a programme and year.", ("programme", "year")),
    "areas": TableInfo("area", "One row an area.", ("area",)),
    "area_counts": TableInfo("area", "Published or pre-counted events by area and period.",
                             ("area", "period_start", "outcome"), "period_start"),
})  # fmt: skip
_ROW_CHECKS: dict[str, Sequence[Check]] = {
    "ward_stays": (_READY, _DISCHARGED),
    "hospital_spells": (_DISCHARGED,),
}

CONTRACTS: Mapping[str, DataFrameSchema] = MappingProxyType({
    name: DataFrameSchema(
        columns, name=name, description=INFO[name].meaning, strict="filter", unique=list(INFO[name].key) or None,
        checks=[*([_INTERVAL] if INFO[name].end else []), *_ROW_CHECKS.get(name, ())],
    )
    for name, columns in _COLUMNS.items()
})  # fmt: skip
TABLE_NAMES = tuple(CONTRACTS)
EVENT_TABLES = tuple(name for name in TABLE_NAMES if INFO[name].level == "event")


def column_names(table: str) -> tuple[str, ...]:
    """The columns of a canonical table, in contract order."""
    return tuple(CONTRACTS[table].columns)


def type_name(table: str, column: str) -> TypeName:
    return CONTRACTS[table].columns[column].metadata["type"]


def null_meaning(table: str, column: str) -> str:
    """What an empty cell means; an empty string where none may be."""
    return CONTRACTS[table].columns[column].metadata["null"]


def code_list(table: str, column: str) -> tuple[str, ...]:
    """Allowed codes, or nothing where the column is not coded."""
    name = CONTRACTS[table].columns[column].metadata["codes"]
    return tuple(CODES[name]) if name else ()


def contract_table() -> pd.DataFrame:
    """The contracts as one table, a row a column.

    Columns: table, column, type, key (yes or empty), null (what an empty cell means; "not allowed"),
    allowed (codes or rule), unit, meaning.
    """
    rows = []
    for table, schema in CONTRACTS.items():
        for name, column in schema.columns.items():
            rules = [str(check.error) for check in column.checks if not column.metadata["codes"]]
            rows.append({
                "table": table, "column": name, "type": column.metadata["type"],
                "key": "yes" if name in INFO[table].key else "",
                "null": column.metadata["null"] or "not allowed",
                "allowed": ", ".join(code_list(table, name)) or "; ".join(rules),
                "unit": column.metadata["unit"], "meaning": column.description,
            })  # fmt: skip
    return pd.DataFrame(rows)


def data_dictionary_markdown() -> str:
    """The data dictionary of the canonical tables, in Markdown, made from the contracts."""
    table = contract_table()
    parts = ["# Data dictionary", _PREAMBLE]
    for name, rows in table.groupby("table", sort=False):
        info = INFO[str(name)]
        key = ", ".join(f"`{column}`" for column in info.key) or "none"
        parts.append(f"## {name}\n\n{info.meaning} Key: {key}.")
        lines = ["| column | type | empty means | allowed | meaning |", "|---|---|---|---|---|"]
        for row in rows.itertuples():
            unit = f" ({row.unit})" if row.unit else ""
            allowed = row.allowed.replace("|", "\\|")
            lines.append(f"| `{row.column}` | {row.type} | {row.null} | {allowed} | {row.meaning}{unit} |")
        parts.append("\n".join(lines))
    parts.append("## Codes")
    for name, codes in CODES.items():
        parts.append(f"### {name}\n\n" + "\n".join(f"- `{code}`: {meaning}" for code, meaning in codes.items()))
    return "\n\n".join(parts) + "\n"


_PREAMBLE = """A folder holds one file a table: `NAME.parquet`, `NAME.csv`, or a folder `NAME/` of Parquet parts.
Every table may be absent: what needs it is then reported as not estimable. Every column of a table that is
there must be there too, empty where nothing is known. Dates are days (`2015-04-01`), intervals run from `start`
up to but not including `end`. In CSV, text is UTF-8, empty cells and NA, NaN, NaT, NULL or None mean nothing
known, and yes/no is true/false, yes/no or 1/0. Extra columns are left alone."""
