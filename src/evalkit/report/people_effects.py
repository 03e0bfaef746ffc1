"""Effects on people over time as both reports read them: one row an estimate with its words of confidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.pathway import DAYS_IN_HOSPITAL, RECURRENCE
from evalkit.report.plain import plain_check
from evalkit.report.words import Certainty, Told, certainty_of

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

DAYS, AFTER, SUBGROUPS = "pathway.days", "after_discharge", "subgroups"
# Not weaknesses of one estimate: they describe all of them, or are told elsewhere.
_SAID_ELSEWHERE = ("area_shocks",)


@dataclass(frozen=True)
class PeopleEffect(Told):
    """One estimate: `key` is its outcome, `label` its name; numbers are in `unit`; NaN where there are none."""

    key: str
    label: str
    value: float
    lower: float
    upper: float
    unit: str
    certainty: Certainty
    weaknesses: tuple[str, ...]
    reason: str


def read_people_effects(release: Release, table: str) -> list[PeopleEffect]:
    """The estimates of `DAYS`, `AFTER` or `SUBGROUPS` but the naive ones, in order.

    Any failed check caps the words at "suggests", and so does an estimate that was not planned. Few areas are
    compared in all of them (`area_shocks` always fails), so that none is called likely.
    """
    rows = release.table(table)
    checks = release.table(f"checks.{table}")
    found = []
    for row in rows[(rows["kind"] == "estimate") & (rows["role"] != "naive")].itertuples():
        failed = checks[(checks["row"] == f"{row.row}.{row.column}") & (checks["unit"] == "failed")]
        weak = [plain_check(str(c.column), str(c.reason)) for c in failed.itertuples()]
        ratio = str(row.unit).startswith("ratio")
        certainty = certainty_of(
            row.value, row.lower, row.upper, null=1.0 if ratio else 0.0, ratio=ratio, role=str(row.role),
            status=str(row.status), weak=bool(weak) or row.role == "exploratory",
        )  # fmt: skip
        told = [plain_check(str(c.column), str(c.reason)) for c in failed.itertuples()
                if c.column not in _SAID_ELSEWHERE]  # fmt: skip
        found.append(PeopleEffect(str(row.outcome), str(row.label), row.value, row.lower, row.upper, str(row.unit),
                                  certainty, tuple(dict.fromkeys(told)), str(row.reason)))  # fmt: skip
    return found


def find_effect(effects: list[PeopleEffect], key: str, unit: str) -> PeopleEffect | None:
    """The first estimate of an outcome in a unit."""
    return next((e for e in effects if e.key == key and e.unit == unit), None)


def occupancy_rows(release: Release) -> pd.DataFrame:
    """Where people are, as `plot_places` takes it; empty where nothing of it is released."""
    rows = release.table("pathway.occupancy")
    return rows if rows["value"].notna().any() else rows.iloc[:0]


__all__ = [
    "AFTER", "DAYS", "DAYS_IN_HOSPITAL", "RECURRENCE", "SUBGROUPS", "PeopleEffect",
    "find_effect", "occupancy_rows", "read_people_effects",
]  # fmt: skip
