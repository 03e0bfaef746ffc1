"""What the rows of the tables say against their contract and against each other: counts only.

Set-based throughout: each check is one query over a table, whatever the number of people.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
from pandera.ibis import Check

from evalkit.core.errors import suggest_name
from evalkit.data.codes import PRICE_UNITS
from evalkit.data.contracts import CONTRACTS, EVENT_TABLES, INFO, code_list, null_meaning, type_name
from evalkit.data.findings import Finding, Severity, plural
from evalkit.data.tables import Tables

# Before and after these, a date is a placeholder and not a day on which something happened.
PLAUSIBLE = (dt.date(1900, 1, 1), dt.date(2100, 1, 1))
MISSING_WARNING_PERCENT = 20.0
_NEVER = dt.date(9999, 12, 31)
# Only what looks like a code is ever shown: free text could hold a name, digits an identifier.
_CODE = re.compile(r"^[a-z][a-z_]{0,23}$")
_SHOWN_CODES = 3
# An empty cell in these has a meaning of its own, so that many empty cells are no fault.
_EMPTY_BY_DESIGN = ("end", "death_date", "ready_date", "adoption_date", "discharge_method", "discharge_destination",
                    "weekly_cost_gbp", "provider")  # fmt: skip


@dataclass(frozen=True)
class TableSummary:
    """Rows and distinct people of a table (None where it has no people), and empty cells by column."""

    table: str
    rows: int
    people: int | None
    missing: dict[str, int]


def summarise_table(tables: Tables, name: str) -> tuple[TableSummary, list[Finding]]:
    """Count rows, people, empty cells, repeated keys and broken rules of one table, in one pass or two."""
    table, schema = tables.ibis(name), CONTRACTS[name]
    counts = {"rows": table.count()}
    if "person_id" in table.columns:
        counts["people"] = table["person_id"].nunique()
    for column in table.columns:
        counts[f"null {column}"] = table[column].isnull().sum()
    low, high = PLAUSIBLE
    dates = [column for column in table.columns if type_name(name, column) == "date"]
    for column in dates:
        counts[f"odd {column}"] = ((table[column] < low) | (table[column] >= high)).sum()
    key = INFO[name].key
    if len(key) == 1:
        counts["keys"] = table[key[0]].nunique()
    rules = [("", check) for check in schema.checks]
    rules += [(name_, check) for name_, column in schema.columns.items() for check in column.checks]
    for place, (column, check) in enumerate(rules):
        counts[f"rule {place}"] = _broken(table, column, check).sum()
    found = {key: int(value or 0) for key, value in _one_row(table.aggregate(**counts)).items()}
    rows = found["rows"]
    missing = {column: found[f"null {column}"] for column in table.columns}
    findings = _null_findings(name, rows, missing)
    if len(key) == 1:
        findings += _key_finding(name, rows - missing[key[0]] - found["keys"])
    else:
        findings += _key_finding(name, _repeated_rows(table, list(key or table.columns)))
    findings += [
        _placeholder_finding(name, column, found[f"odd {column}"]) for column in dates if found[f"odd {column}"]
    ]
    for place, (column, check) in enumerate(rules):
        if count := found[f"rule {place}"]:
            findings.append(_rule_finding(table, name, column, check, count))
    return TableSummary(name, rows, found.get("people"), missing), findings


def _broken(table: ir.Table, column: str, check: Check) -> ir.BooleanColumn:
    holds = check(table, column or None).check_output
    if column:
        holds = holds | table[column].isnull()
    return ~holds


def _null_findings(name: str, rows: int, missing: dict[str, int]) -> list[Finding]:
    findings = []
    for column, count in missing.items():
        if not count:
            continue
        cells = f"{plural(count, 'cell')} of {rows:,} {'is' if count == 1 else 'are'} empty"
        if not null_meaning(name, column):
            text = f"{cells}, but none may be"
            findings.append(Finding("error", name, column, "empty_cells", count, text))
        elif column not in _EMPTY_BY_DESIGN and 100 * count / rows >= MISSING_WARNING_PERCENT:
            text = f"{cells} ({100 * count / rows:.0f}%; empty means: {null_meaning(name, column)})"
            findings.append(Finding("warning", name, column, "missing", count, text))
    return findings


def _rule_finding(table: ir.Table, name: str, column: str, check: Check, count: int) -> Finding:
    severity: Severity = "warning" if check.raise_warning else "error"
    rows = plural(count, "row")
    if not column:
        return Finding(severity, name, "", check.name, count, f"{rows} with {check.error}")
    codes = code_list(name, column)
    if not codes:
        return Finding(severity, name, column, check.name, count, f"{rows} outside what is allowed: {check.error}")
    seen = table.filter(_broken(table, column, check)).group_by(column).aggregate(n=lambda t: t.count())
    seen = seen.order_by([ibis.desc("n"), column]).limit(50).to_pyarrow().to_pylist()
    # A value is shown only if it is near a listed code: anything else might be a person's name.
    near = [row[column] for row in seen if _CODE.match(row[column]) and suggest_name(row[column], codes)]
    shown = near[:_SHOWN_CODES]
    hints = [f'"{code}". {suggest_name(code, codes)}'.strip(". ") for code in shown]
    said = f" Among them {'; '.join(hints)}" if hints else ""
    text = f"{plural(count, 'cell')} outside the list ({', '.join(codes)}).{said}"
    return Finding(severity, name, column, check.name, count, text)


def _repeated_rows(table: ir.Table, columns: list[str]) -> int:
    groups = table.group_by(columns).aggregate(n=lambda t: t.count())
    return _one_row(groups.aggregate(n=(groups["n"] - 1).sum()))["n"]


def _key_finding(name: str, extra: int) -> list[Finding]:
    """Rows that repeat the key of another row; where a table has no key, rows that repeat a whole row."""
    key = INFO[name].key
    if not extra:
        return []
    if key:
        text = f"{plural(extra, 'row')} with a key ({', '.join(key)}) that another row has already"
        return [Finding("error", name, "", "duplicate_key", extra, text)]
    text = f"{plural(extra, 'row')} the same as another row in every column"
    return [Finding("warning", name, "", "duplicate_row", extra, text)]


def _placeholder_finding(name: str, column: str, count: int) -> Finding:
    low, high = PLAUSIBLE
    text = f"{plural(count, 'date')} before {low.year} or from {high.year} on: leave unknown dates empty"
    return Finding("warning", name, column, "placeholder_date", count, text)


def overlap_findings(tables: Tables, name: str) -> list[Finding]:
    """Intervals of one person that share a day. A stay that begins and ends on one day holds no night,
    and overlaps only what began before that day and ended after it."""
    apart = list(INFO[name].apart)
    if not apart:
        return []
    table = tables.ibis(name)
    end = table["end"].fill_null(_NEVER)
    usable = table.filter(table["start"].notnull() & table["person_id"].notnull() & (end >= table["start"]))
    usable = usable.select(*apart, "start", end=usable["end"].fill_null(_NEVER))
    before = ibis.window(group_by=apart, order_by=["start", "end"], preceding=(None, 1))
    marked = usable.mutate(latest=usable["end"].max().over(before))
    late = marked.filter(marked["start"] < marked["latest"])
    found = _one_row(late.aggregate(rows=late.count(), people=late[apart[0]].nunique()))
    if not found["rows"]:
        return []
    text = (
        f"{plural(found['rows'], 'row')} of {plural(found['people'], 'person', 'people')} "
        f"{'begins' if found['rows'] == 1 else 'begin'} before an earlier one has ended"
    )
    return [Finding("error", name, "", "overlap", found["rows"], text)]


def person_findings(tables: Tables, name: str) -> list[Finding]:
    """Events of people who are not in `people`, before birth, after death, or on a placeholder date."""
    table, info = tables.ibis(name), INFO[name]
    people = tables.ibis("people").select("person_id", "birth_year", "death_date").distinct(on="person_id")
    people = people.rename(known_id="person_id")
    events = table.select(
        "person_id", begins=table[info.start], ends=table[info.end] if info.end else table[info.start]
    )
    joined = events.left_join(people, events["person_id"] == people["known_id"])
    stranger = joined["known_id"].isnull() & joined["person_id"].notnull()
    found = _one_row(
        joined.aggregate(
            strangers=stranger.sum(),
            strange_people=joined["person_id"].nunique(where=stranger),
            unborn=(joined["begins"].year() < joined["birth_year"]).sum(),
            dead=(joined["begins"] > joined["death_date"]).sum(),
            outlives=(
                (joined["begins"] <= joined["death_date"])
                & (joined["ends"].fill_null(_NEVER) > joined["death_date"] + ibis.interval(days=1))
            ).sum(),
        )
    )
    findings = []
    if found["strangers"]:
        who = plural(found["strange_people"], "person", "people")
        text = f"{plural(found['strangers'], 'row')} of {who} not in people"
        findings.append(Finding("error", name, "person_id", "not_in_people", found["strangers"], text))
    if found["unborn"]:
        text = f"{plural(found['unborn'], 'row')} before the person's year of birth"
        findings.append(Finding("warning", name, info.start, "before_birth", found["unborn"], text))
    if found["dead"]:
        text = f"{plural(found['dead'], 'row')} after the person's death"
        findings.append(Finding("warning", name, info.start, "after_death", found["dead"], text))
    if found["outlives"] and name not in ("residence", "programme_episodes"):
        text = f"{plural(found['outlives'], 'row')} still open, or ending, after the person's death"
        findings.append(Finding("warning", name, info.end, "open_after_death", found["outlives"], text))
    return findings


def spell_findings(tables: Tables) -> list[Finding]:
    """Hospital spells that mix people, and deaths on a ward that `people` does not know of."""
    findings = []
    stays = tables.ibis("ward_stays")
    spells = stays.group_by("spell_id").aggregate(people=stays["person_id"].nunique())
    mixed = int(spells.filter(spells["people"] > 1).count().execute())
    if mixed:
        text = f"{plural(mixed, 'hospital spell')} with stays of more than one person"
        findings.append(Finding("error", "ward_stays", "spell_id", "spell_of_two", mixed, text))
    if tables.has("people"):
        alive = tables.ibis("people").filter(lambda p: p["death_date"].isnull())
        died = stays.filter(stays["discharge_method"] == "died").semi_join(alive, "person_id")
        count = int(died.count().execute())
        if count:
            text = f"{plural(count, 'stay')} ended in death, but people gives no date of death"
            findings.append(Finding("warning", "ward_stays", "discharge_method", "death_not_dated", count, text))
    return findings


def price_findings(tables: Tables) -> list[Finding]:
    """Ward types and settings in use that have no price, and prices for another unit than their resource names."""
    used: set[str] = set()
    if tables.has("ward_stays"):
        used |= {f"ward_day.{code}" for code in _distinct(tables.ibis("ward_stays"), "ward_type")}
    if tables.has("placements"):
        places = tables.ibis("placements")
        unpriced = places.filter(places["weekly_cost_gbp"].isnull())
        used |= {f"placement_week.{code}" for code in _distinct(unpriced, "setting")}
    if tables.has("contacts") and tables.ibis("contacts").count().execute():
        used.add("contact")
    findings = _unit_findings(tables.ibis("unit_costs"))
    absent = sorted(code for code in used - set(_distinct(tables.ibis("unit_costs"), "resource")) if _priceable(code))
    if absent:
        text = f"no price for {', '.join(absent)}, which the tables use"
        findings.append(Finding("warning", "unit_costs", "resource", "no_price", len(absent), text))
    return findings


def _unit_findings(prices: ir.Table) -> list[Finding]:
    """A day's price taken for a week's would be wrong sevenfold, and look like a price."""
    rows = prices.select("resource", "unit").to_pyarrow().to_pylist()
    kinds = {str(row["resource"]).partition(".")[0] for row in rows if _other_unit(row["resource"], row["unit"])}
    count = sum(_other_unit(row["resource"], row["unit"]) for row in rows)
    if not count:
        return []
    wanted = ", ".join(f"{kind} ({PRICE_UNITS[kind]})" for kind in sorted(kinds))
    text = f"{plural(count, 'price')} for another unit than the resource names: {wanted}"
    return [Finding("error", "unit_costs", "unit", "wrong_unit", count, text)]


def _other_unit(resource: str | None, unit: str | None) -> bool:
    wanted = PRICE_UNITS.get(str(resource).partition(".")[0])
    return wanted is not None and unit is not None and unit != wanted


def _priceable(resource: str) -> bool:
    part, _, code = resource.partition(".")
    column = {"ward_day": ("ward_stays", "ward_type"), "placement_week": ("placements", "setting")}.get(part)
    return column is None or code in code_list(*column)


def row_findings(tables: Tables) -> Iterable[Finding]:
    """All findings that need no protocol, apart from those of `summarise_table`."""
    for name in tables.names:
        yield from overlap_findings(tables, name)
        if name in EVENT_TABLES and tables.has("people"):
            yield from person_findings(tables, name)
    if tables.has("ward_stays"):
        yield from spell_findings(tables)
    if tables.has("unit_costs"):
        yield from price_findings(tables)


def _distinct(table: ir.Table, column: str) -> list[str]:
    values = table.select(column).distinct().to_pyarrow().column(0).to_pylist()
    return sorted(value for value in values if value is not None)


def _one_row(table: ir.Table) -> dict[str, int]:
    return {key: int(value or 0) for key, value in table.to_pyarrow().to_pylist()[0].items()}
