"""Rows that hold a check: which estimate it is of, and whether its value counts people."""

from __future__ import annotations

import math
import re

_COUNTED = {
    "people", "persons", "events", "admissions", "readmissions", "discharges", "entries", "stays", "spells", "deaths",
    "placements", "residents", "participants", "individuals", "readmitted", "clusters", "sets", "trimmed", "truncated",
    "treated", "comparison", "risk", "side",
}  # fmt: skip
_EFFECTIVE = ("effective_people", "effective_sample")
_FREEDOM = "residual_degrees_of_freedom"
Row = dict[str, object]


def checked_by(row: Row) -> str:
    """The id of the estimate that a check is of; as `Results.from_estimates` names both."""
    table, column = str(row["table"]).removeprefix("checks."), f"{row['role']}.{row['estimator']}"
    return f"{table}/{row['estimand']}/{column}"


def is_freedom_check(row: Row) -> bool:
    """Whether a check's value is the residual degrees of freedom of its estimate."""
    return row["kind"] == "check" and str(row["column"]).startswith(_FREEDOM)


def is_count_check(row: Row) -> bool:
    """Whether a check's value counts people or events, going by its name; an effective number of people does too."""
    if row["kind"] != "check" or not math.isfinite(row["value"]):
        return False
    if str(row["column"]).startswith(_EFFECTIVE):
        return True
    whole = abs(row["value"] - round(row["value"])) < 1e-9 * max(1.0, abs(row["value"]))
    return whole and re.split(r"[^a-z]+", str(row["column"]).lower())[-1] in _COUNTED
