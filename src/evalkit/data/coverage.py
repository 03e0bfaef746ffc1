"""How many events each area has in each quarter, and where there are none though there should be."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.protocol import Protocol
from evalkit.data.checks import PLAUSIBLE
from evalkit.data.contracts import EVENT_TABLES, INFO
from evalkit.data.findings import Finding, plural
from evalkit.data.tables import Tables

COLUMNS = ["table", "area", "quarter", "rows"]
# With this mean, a quarter without any event has a chance below 1 in 20,000 if events are independent.
GAP_MEAN = 10.0
_COUNTED = tuple(name for name in EVENT_TABLES if name != "residence")


def build_coverage(tables: Tables, protocol: Protocol | None) -> pd.DataFrame:
    """Rows that begin in each area and calendar quarter, one row a table, area and quarter with any.

    Columns: table, area, quarter (`2015-04` is the quarter that begins in April 2015), rows. An
    event belongs to the area responsible for the person on that day, or to `people.area` where there
    is no `residence`. With a protocol, only the quarters of its study window.
    """
    parts = [_events(tables, name) for name in _COUNTED if tables.has(name) and tables.has("people")]
    if tables.has("area_counts"):
        counts = tables.ibis("area_counts")
        parts.append(_by_quarter(counts.select("area", day=counts["period_start"]), "area_counts"))
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["table", "area", "day", "rows"])
    low, high = (protocol.dates.study_start, protocol.dates.end) if protocol else PLAUSIBLE
    found = found[(found["day"] >= np.datetime64(low, "M")) & (found["day"] < np.datetime64(high))]
    found = found.assign(quarter=found["day"].astype("datetime64[s]").dt.strftime("%Y-%m"))
    return found[COLUMNS].sort_values(COLUMNS[:3]).reset_index(drop=True)


def _events(tables: Tables, name: str) -> pd.DataFrame:
    table = tables.ibis(name)
    events = table.select("person_id", day=table[INFO[name].start])
    if tables.has("residence"):
        homes = tables.ibis("residence").rename(lived="person_id", opens="start", closes="end")
        here = [
            events["person_id"] == homes["lived"],
            homes["opens"] <= events["day"],
            homes["closes"].isnull() | (events["day"] < homes["closes"]),  # noqa: PD003
        ]
        return _by_quarter(events.inner_join(homes, here).select("area", "day"), name)
    people = tables.ibis("people").select("person_id", "area")
    return _by_quarter(events.inner_join(people, "person_id").select("area", "day"), name)


def _by_quarter(rows, name: str) -> pd.DataFrame:
    counts = rows.filter(rows["day"].notnull() & rows["area"].notnull())  # noqa: PD004
    counts = counts.group_by(["area", counts["day"].truncate("Q").name("day")]).aggregate(rows=lambda t: t.count())
    return counts.execute().assign(table=name)


def coverage_table(coverage: pd.DataFrame, table: str) -> pd.DataFrame:
    """Areas down, quarters across without a gap in time, 0 where there is nothing."""
    rows = coverage[coverage["table"] == table]
    every = pd.PeriodIndex(coverage["quarter"].unique(), freq="Q")
    labels = [f"{quarter.start_time:%Y-%m}" for quarter in pd.period_range(every.min(), every.max(), freq="Q")]
    wide = rows.pivot_table(index="area", columns="quarter", values="rows", aggfunc="sum")
    return wide.reindex(columns=labels).fillna(0).astype("int64")


def coverage_findings(coverage: pd.DataFrame, protocol: Protocol) -> list[Finding]:
    """Quarters without any event in an area of the protocol that has 10 or more in a mean quarter."""
    findings = []
    for name in coverage["table"].unique():
        if name in ("area_counts", "programme_episodes"):
            continue  # `period_missing` says it exactly; a programme has not always been there
        wide = coverage_table(coverage, str(name))
        wide = wide[wide.index.isin(protocol.areas.with_people)]
        gaps = (wide == 0).sum(axis=1)[wide.mean(axis=1) >= GAP_MEAN]
        gaps = gaps[gaps > 0]
        if len(gaps):
            where = ", ".join(f"{area} ({plural(int(count), 'quarter')})" for area, count in gaps.items())
            text = f"quarters without any row where there are usually {GAP_MEAN:.0f} or more: {where}"
            findings.append(Finding("warning", str(name), INFO[str(name)].start, "gap", int(gaps.sum()), text))
    return findings
