"""Whether the tables can bear a protocol: tables it needs, areas, adoption, periods, eligible people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence

import ibis
import ibis.expr.types as ir

from evalkit.core.dates import period_starts
from evalkit.core.errors import suggest_name
from evalkit.core.outcomes import Outcome
from evalkit.core.protocol import Protocol
from evalkit.data.contracts import EVENT_TABLES
from evalkit.data.findings import Finding, plural
from evalkit.data.tables import Tables


def needed_tables(outcome: Outcome, protocol: Protocol) -> tuple[frozenset[str], ...]:
    """The sets of tables any one of which is enough to estimate `outcome`."""
    exposure = {"programme_episodes"} if protocol.exposure.by == "programme" else set()
    counts = {"area_counts"} | ({"areas"} if protocol.dates.adoption is None else set())
    if outcome.kind == "readmission":
        return (frozenset({"people", "ward_stays"} | exposure),)
    if outcome.kind == "cost":
        used = {"nhs": {"ward_stays"}, "local_authority": {"placements"}}
        events = used.get(outcome.perspective, {"ward_stays", "placements"})
        return (frozenset({"people", "unit_costs"} | events | exposure),)
    if outcome.event == "reported":
        return (frozenset(counts),)
    events = "placements" if outcome.event.startswith("placement") else "ward_stays"
    return (frozenset({"people", events} | exposure), frozenset(counts))


def folder_findings(present: set[str]) -> list[Finding]:
    """Whether the tables that are there are a study at all, whatever the protocol."""
    if not present:
        return []
    events = [name for name in EVENT_TABLES if name in present]
    if events and "people" not in present:
        text = f"this table is missing, but {', '.join(events)} {'needs' if len(events) == 1 else 'need'} it"
        return [Finding("error", "people", "", "table_missing", 1, text)]
    if (events and "people" in present) or {"areas", "area_counts"} <= present:
        return []
    text = (
        f"there must be people and a table of events, or areas and area_counts; found {', '.join(sorted(present))} "
        "only: nothing can be estimated"
    )
    return [Finding("error", "", "", "table_missing", 1, text)]


def table_findings(protocol: Protocol, present: set[str], empty: set[str]) -> list[Finding]:
    """Outcomes that lack a table (a warning; an error if all do) and needed tables without a row."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    wanted: set[str] = set()
    for outcome in protocol.outcomes:
        ways = needed_tables(outcome, protocol)
        wanted |= set().union(*ways)
        if not any(way <= present for way in ways):
            nearest = min(ways, key=lambda way: (len(way - present), sorted(way)))
            lacking.setdefault(tuple(sorted(nearest - present)), []).append(outcome.key)
    findings = []
    nothing = sum(map(len, lacking.values())) == len(protocol.outcomes)
    for names, outcomes in lacking.items():
        said = f"without {' and '.join(names)} there is no estimate of {', '.join(outcomes)}"
        if nothing:
            findings.append(
                Finding("error", names[0], "", "table_missing", len(outcomes), f"{said}: no outcome is left")
            )
        else:
            findings.append(Finding("warning", names[0], "", "table_missing", len(outcomes), said))
    for name in sorted(empty):
        if name in wanted:
            text = "the table has no row, but the protocol needs it"
            findings.append(Finding("error", name, "", "no_rows", 1, text))
        else:
            findings.append(Finding("warning", name, "", "no_rows", 1, "the table has no row"))
    return findings


def study_findings(tables: Tables, protocol: Protocol, *, broken: set[str]) -> Iterable[Finding]:
    """What speaks against using these tables for this protocol; `broken` tables are there but cannot be read."""
    yield from _unknown_areas(tables, protocol)
    if protocol.exposure.by == "area":
        # An area may be in the very table that cannot be read: do not call it absent.
        if not broken & {"people", "residence", "area_counts"}:
            yield from _absent_areas(tables, protocol)
    else:
        yield from _absent_programme(tables, protocol)
    if tables.has("areas"):
        yield from _adoption(tables, protocol)
    if tables.has("area_counts"):
        yield from _periods(tables, protocol)
    if tables.has("people"):
        yield from _eligible(tables, protocol)


def _unknown_areas(tables: Tables, protocol: Protocol) -> Iterable[Finding]:
    known = {*protocol.areas.all, *(_values(tables.ibis("areas"), "area") if tables.has("areas") else ())}
    for name in ("people", "residence", "area_counts"):
        if not tables.has(name):
            continue
        table = tables.ibis(name)
        counts = table.filter(table["area"].notin(sorted(known))).group_by("area").aggregate(n=lambda t: t.count())
        strange = {row["area"]: row["n"] for row in counts.order_by("area").to_pyarrow().to_pylist()}
        if not strange:
            continue
        rows = sum(strange.values())
        # A misspelt borough helps to find the fault; anything else in this column stays unsaid.
        near = [f'"{area}": {hint}' for area in strange if (hint := suggest_name(area, sorted(known)))]
        text = (
            f"{plural(rows, 'row')} of {plural(len(strange), 'area')} that neither the protocol nor the table areas "
            f"knows. {' '.join(near[:5]) or 'Add them to areas, or leave these rows out.'}"
        )
        yield Finding("error", name, "area", "unknown_area", rows, text)


def _areas_seen(tables: Tables, protocol: Protocol) -> tuple[set[str] | None, set[str] | None]:
    """Areas with people resident during the study, and areas with counts during it; None without a table."""
    lived, counted = None, None
    low, high = protocol.dates.study_start, protocol.dates.end
    if tables.has("people"):
        if tables.has("residence"):
            homes = tables.ibis("residence")
            during = (homes["start"] < high) & (homes["end"].isnull() | (homes["end"] > low))
            lived = set(_values(homes.filter(during), "area"))
        else:
            lived = set(_values(tables.ibis("people"), "area"))
    if tables.has("area_counts"):
        counts = tables.ibis("area_counts")
        counted = set(_values(counts.filter(counts["period_start"].between(low, high)), "area"))
    return lived, counted


def _absent_areas(tables: Tables, protocol: Protocol) -> Iterable[Finding]:
    lived, counted = _areas_seen(tables, protocol)
    seen = (lived or set()) | (counted or set())
    for area in protocol.areas.treated:
        if area in seen:
            continue
        where = "people" if lived is not None else "area_counts"
        hint = suggest_name(area, sorted(seen & _safe_areas(tables, protocol)))
        text = f'nobody and no count of the treated area "{area}" between study_start and end. {hint}'.strip()
        yield Finding("error", where, "area", "treated_area_absent", 1, text)
    comparators = [area for area in protocol.areas.comparators if lived is not None and area not in lived]
    if comparators:
        text = f"no person of {plural(len(comparators), 'comparator area')}: {', '.join(comparators)}"
        yield Finding("warning", "people", "area", "comparator_absent", len(comparators), text)
    donors = [area for area in protocol.areas.donors if area not in seen]
    if donors:
        text = f"no count and no person of {plural(len(donors), 'donor area')}: {', '.join(donors)}"
        yield Finding("warning", "area_counts", "area", "donor_absent", len(donors), text)


def _safe_areas(tables: Tables, protocol: Protocol) -> set[str]:
    return {*protocol.areas.all, *(_values(tables.ibis("areas"), "area") if tables.has("areas") else ())}


def _absent_programme(tables: Tables, protocol: Protocol) -> Iterable[Finding]:
    if not tables.has("programme_episodes"):
        return
    programme = protocol.exposure.programme
    episodes = tables.ibis("programme_episodes")
    if not int(episodes.filter(episodes["programme"] == programme).count().execute()):
        text = f'nobody was in the programme "{programme}"'
        yield Finding("error", "programme_episodes", "programme", "programme_absent", 1, text)


def _adoption(tables: Tables, protocol: Protocol) -> Iterable[Finding]:
    dates = protocol.dates
    rows = tables.ibis("areas").select("area", "adoption_date").to_pyarrow().to_pylist()
    adopted = {row["area"]: row["adoption_date"] for row in rows if row["area"] is not None}
    treated = [area for area in protocol.areas.treated if area in adopted]
    outside = [a for a in treated if adopted[a] and not dates.baseline_start < adopted[a] < dates.end]
    if outside:
        text = (
            f"adoption outside the window (after {dates.baseline_start}, before {dates.end}) in {', '.join(outside)}: "
            "correct the date, or the protocol's window"
        )
        yield Finding("error", "areas", "adoption_date", "adoption_outside_window", len(outside), text)
    if dates.adoption is None:
        never = [area for area in protocol.areas.treated if adopted.get(area) is None]
        if never:
            text = f"no adoption date for {', '.join(never)}, which the protocol calls treated"
            yield Finding("error", "areas", "adoption_date", "adoption_missing", len(never), text)
    else:
        other = [a for a in treated if a not in outside and adopted[a] != dates.adoption]
        if other:
            text = f"another adoption date than the protocol's ({dates.adoption}), or none, in {', '.join(other)}"
            yield Finding("warning", "areas", "adoption_date", "adoption_differs", len(other), text)
    controls = [a for a in (*protocol.areas.comparators, *protocol.areas.donors) if _adopts(adopted.get(a), dates.end)]
    if controls:
        text = f"{', '.join(controls)} adopted the programme before the study's end, but serve as a comparison"
        yield Finding("warning", "areas", "adoption_date", "comparison_adopts", len(controls), text)


def _adopts(date: dt.date | None, end: dt.date) -> bool:
    return date is not None and date < end


def _periods(tables: Tables, protocol: Protocol) -> Iterable[Finding]:
    starts = [day.item() for day in period_starts(protocol.dates.study, protocol.dates.period)]
    counts = tables.ibis("area_counts")
    counts = counts.filter(counts["area"].isin(list(protocol.areas.all)))
    during = counts.filter((counts["period_start"] >= starts[0]) & (counts["period_start"] <= starts[-1]))
    off = int(during.filter(during["period_start"].notin(starts)).count().execute())
    if off:
        text = f"{plural(off, 'row')} whose first day is not that of a {protocol.dates.period} counted from study_start"
        yield Finding("error", "area_counts", "period_start", "period_misaligned", off, text)
    keys = [outcome.key for outcome in protocol.outcomes]
    names = _values(counts, "outcome")
    strange = [name for name in names if name not in keys]
    if strange:
        hints = " ".join(filter(None, (suggest_name(name, keys) for name in strange)))
        text = f"{plural(len(strange), 'outcome')} not in the protocol: {', '.join(strange[:5])}. {hints}".strip()
        yield Finding("warning", "area_counts", "outcome", "unknown_outcome", len(strange), text)
    found = during.filter(during["period_start"].isin(starts) & during["outcome"].isin(keys))
    pairs = found.group_by(["area", "outcome"]).aggregate(n=found["period_start"].nunique())
    gaps = pairs.filter(pairs["n"] < len(starts))
    series, periods = int(gaps.count().execute()), int((len(starts) - gaps["n"]).sum().execute() or 0)
    if series:
        text = f"{plural(periods, protocol.dates.period)} missing from {plural(series, 'series', 'series')} of counts"
        yield Finding("warning", "area_counts", "period_start", "period_missing", periods, text)


def _eligible(tables: Tables, protocol: Protocol) -> Iterable[Finding]:
    """At least one person of a treated area must be alive and of an eligible age during the study."""
    people, rules, dates = tables.ibis("people"), protocol.population, protocol.dates
    oldest = dates.study_start.year - people["birth_year"]
    youngest = dates.end.year - people["birth_year"]
    fit = people.filter(
        (youngest >= rules.min_age_years)
        & (oldest - 1 <= rules.max_age_years)
        & (people["death_date"].isnull() | (people["death_date"] >= dates.study_start))
    )
    who = "nobody"
    if protocol.exposure.by == "area":
        lived, counted = _areas_seen(tables, protocol)
        if not set(protocol.areas.treated) & ((lived or set()) | (counted or set())):
            return  # said already: treated_area_absent
        fit = _in_areas(tables, fit, protocol.areas.treated)
        who = f"nobody in {' or '.join(protocol.areas.treated[:3])}"
    if int(fit.count().execute()):
        return
    text = (
        f"{who} is alive and aged {rules.min_age_years} to {rules.max_age_years} during the study: nobody is eligible"
    )
    yield Finding("error", "people", "", "nobody_eligible", 0, text)


def _in_areas(tables: Tables, people: ir.Table, areas: Sequence[str]) -> ir.Table:
    if not tables.has("residence"):
        return people.filter(people["area"].isin(list(areas)))
    homes = tables.ibis("residence")
    return people.semi_join(homes.filter(homes["area"].isin(list(areas))), "person_id")


def _values(table: ibis.Table, column: str) -> list[str]:
    values = table.select(column).distinct().to_pyarrow().column(0).to_pylist()
    return sorted(value for value in values if value is not None)
