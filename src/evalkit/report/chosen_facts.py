"""Outcomes that people chose as every report reads them: shares, differences with their words, what is not recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd

from evalkit.core.chosen import ChosenOutcome
from evalkit.report.words import NEAR_MISS, Certainty, Told, certainty_of, share_beyond_null

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

SHARES, CHANGE, BOUNDS = "chosen", "chosen_change", "chosen_bounds"
COMPARATORS = "Comparators"
# Of all of these outcomes, and so said once.
_OF_ALL = ("area_shocks",)
WEAKNESSES = {
    "recording_alike": "More people than before were asked in one of the places, but not in the other.",
    "missing_alike": "Those who were not asked could change what it says.",
    "missing_worst": "Those who were not asked could have given any answer.",
    "change_before": "The places were already changing in different ways before the start.",
}
ChosenStatus = Literal["told", "not_recorded", "not_released", "cannot_tell"]


@dataclass(frozen=True)
class Shares:
    """Per cent of people of one group, NaN where it is not told; `recorded_*` of those who could have been asked.

    `nearly_all_*`: so few are without a record that the share recorded itself is not told.
    """

    before: float
    after: float
    recorded_before: float
    recorded_after: float
    nearly_all_before: bool
    nearly_all_after: bool


@dataclass(frozen=True)
class ChosenFact(Told):
    """One outcome that people chose; `value`, `lower` and `upper` are the difference in changes in percentage points.

    `least` and `most`: the difference if those without a record had answered as far as can be one way or the other;
    `if_none_did` and `if_all_did`: if none of them had it, or all. `status` says whether there is a difference, and if
    not, why; `reason` in the words of the analysis. `weaknesses` are sentences, `failed` the names of their checks.
    """

    outcome: ChosenOutcome
    service: Shares
    comparators: Shares
    change_service: float
    change_comparators: float
    value: float
    lower: float
    upper: float
    if_all_did: float
    if_none_did: float
    least: float
    most: float
    certainty: Certainty
    status: ChosenStatus
    reason: str
    failed: tuple[str, ...]
    weaknesses: tuple[str, ...]


def read_chosen(release: Release) -> list[ChosenFact]:
    """Every outcome of the protocol's `[[chosen]]`, in its order; empty where it names none.

    What the interval says is never more than "suggests": the interval cannot see a shock to a whole area, and what the
    missing would have said is not known.
    """
    shares, change, bounds = (release.table(name) for name in (SHARES, CHANGE, BOUNDS))
    checks = release.table(f"checks.{CHANGE}")
    treated = release.protocol.areas.treated_label
    facts = []
    for item in release.protocol.chosen:
        row = _row(change, item.key, "difference")
        failed = checks.loc[(checks["row"] == item.key) & (checks["unit"] == "failed"), "column"]
        names = [str(name) for name in failed if name not in _OF_ALL]
        value, lower, upper = _number(row, "value"), _number(row, "lower"), _number(row, "upper")
        if 0 < share_beyond_null(value, lower, upper, null=0.0, ratio=False) < NEAR_MISS:
            names.append("near_miss")
        status = str(row["status"]) if row is not None else "not_estimable"
        certainty = certainty_of(value, lower, upper, null=0.0, ratio=False, role="descriptive", status=status,
                                 weak=True)  # fmt: skip
        of = {name: _number(_row(bounds, item.key, name), "value") for name in _BOUND_NAMES}
        facts.append(ChosenFact(
            item, _shares(shares, f"{item.key}|{treated}"), _shares(shares, f"{item.key}|{COMPARATORS}"),
            _number(_row(change, item.key, "change_service"), "value"),
            _number(_row(change, item.key, "change_comparators"), "value"), value, lower, upper, **of,
            certainty=certainty, status=_status(item, status, shares), reason=str(row["reason"]) if row is not None
            else "It was not worked out.", failed=tuple(names),
            weaknesses=tuple((WEAKNESSES | _NEAR).get(name, "") for name in names if (WEAKNESSES | _NEAR).get(name)),
        ))  # fmt: skip
    return facts


_BOUND_NAMES = ("if_all_did", "if_none_did", "least", "most")
_NEAR = {"near_miss": "The range only just leaves out no change."}


def _status(item: ChosenOutcome, status: str, shares: pd.DataFrame) -> ChosenStatus:
    if status == "shown":
        return "told"
    if status == "suppressed":
        return "not_released"
    rows = shares[shares["row"].str.startswith(f"{item.key}|")]
    recorded = rows[rows["column"].isin(["before", "after"])]
    return "cannot_tell" if len(recorded) else "not_recorded"


def _row(rows: pd.DataFrame, row: str, column: str) -> pd.Series | None:
    found = rows[(rows["row"] == row) & (rows["column"] == column)]
    return found.iloc[0] if len(found) else None


def _number(row: pd.Series | None, column: str) -> float:
    return float(row[column]) if row is not None and row["status"] == "shown" else math.nan


def _shares(rows: pd.DataFrame, name: str) -> Shares:
    numbers = {c: _number(_row(rows, name, c), "value") for c in ("before", "after")}
    for period in ("before", "after"):
        row = _row(rows, name, f"recorded_{period}")
        numbers[f"recorded_{period}"] = _number(row, "value")
        nearly = row is not None and row["status"] == "suppressed" and "outside" in str(row["reason"])
        numbers[f"nearly_all_{period}"] = bool(nearly)
    return Shares(**numbers)
