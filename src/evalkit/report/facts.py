"""Look-ups in a release: what it holds, and one number of it at a time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.core.estimand import NULL_VALUES
from evalkit.core.outcomes import Outcome
from evalkit.core.protocol import Protocol
from evalkit.report.phrases import listed
from evalkit.report.plain import plain_check
from evalkit.report.words import Finding, read_finding

if TYPE_CHECKING:
    from evalkit.disclose.release import Release


def release_has(release: Release, table: str) -> bool:
    """Whether the release holds any row of this table, shown or not."""
    return len(release.table(table)) > 0


def tables_like(release: Release, prefix: str) -> list[str]:
    """Names of the tables that start with `prefix`, in order of appearance."""
    return [str(t) for t in pd.unique(release.results.frame["table"]) if str(t).startswith(prefix)]


def treated_group(protocol: Protocol) -> str:
    """The name under which the treated areas appear in tables and figures."""
    return protocol.areas.treated_label


def adoption_text(protocol: Protocol) -> str:
    start = protocol.dates.adoption
    return f"{start.day} {start:%B %Y}" if start else "a date of each area's own"


def threshold(release: Release) -> int:
    """The smallest count that the release shows."""
    profile = release.manifest.get("profile", {})
    return int(profile.get("threshold", 10)) if isinstance(profile, dict) else 10


def kept_from_before(release: Release) -> int | None:
    """How many numbers are shown as an earlier release had them, though few people changed; None without one."""
    earlier = release.manifest.get("earlier")
    return None if earlier is None else len(earlier["kept"])


def effects(release: Release, *, roles: tuple[str, ...] = ("primary", "sensitivity", "naive")) -> pd.DataFrame:
    """Rows of the effects table in the order of the protocol's outcomes and then of `roles`."""
    rows = release.table("effects")
    rows = rows[rows["role"].isin(roles)]
    outcomes = [o.key for o in release.protocol.outcomes]
    place = {key: i for i, key in enumerate(outcomes)}
    keys = [(place.get(o, len(place)), roles.index(r)) for o, r in zip(rows["outcome"], rows["role"], strict=True)]
    order = sorted(range(len(rows)), key=keys.__getitem__)
    return rows.iloc[order].reset_index(drop=True)


def main_row(release: Release, outcome: Outcome) -> pd.Series | None:
    """The planned estimate of an outcome: its primary row; for a sensitivity outcome its first planned row."""
    rows = release.table("effects")
    rows = rows[(rows["outcome"] == outcome.key) & rows["role"].isin(["primary", "sensitivity"])]
    if rows.empty:
        return None
    first = rows[rows["role"] == "primary"]
    return (first if len(first) else rows).iloc[0]


def naive_row(release: Release, outcome: Outcome) -> pd.Series | None:
    rows = release.table("effects")
    rows = rows[(rows["outcome"] == outcome.key) & (rows["role"] == "naive")]
    return None if rows.empty else rows.iloc[0]


def checks_of(release: Release, row: pd.Series) -> pd.DataFrame:
    """Checks of one estimate."""
    checks = release.table("checks.effects")
    return checks[checks["row"] == f"{row['row']}.{row['column']}"]


def check_words(release: Release, row: pd.Series) -> list[str]:
    """Failed checks of an estimate in plain words."""
    checks = checks_of(release, row)
    failed = checks[checks["unit"] == "failed"]
    return [plain_check(str(name), str(text)) for name, text in zip(failed["column"], failed["reason"], strict=True)]


def weaknesses(release: Release, row: pd.Series) -> list[str]:
    """Known weaknesses of a planned estimate, one plain sentence each; any of them caps its words.

    Failed checks; a year before the start in which the treated area already differed (its interval leaves
    out no difference); another planned estimate of the same outcome that does not bear the first one out; bounds that
    break down before areas part as far after the start as they did before it (M below 1).
    """
    found = check_words(release, row)
    null = NULL_VALUES[release.protocol.outcome(str(row["outcome"])).scale]
    early = release.table(f"event_study.{row['outcome']}")
    early = early[pd.to_numeric(early["row"], errors="coerce") < 0]
    if ((early["lower"] > null) | (early["upper"] < null)).any():
        found.append("Even before the start, this area was not changing like the others.")
    if not (row["lower"] > null or row["upper"] < null):
        return found
    return found + _other_ways(release, row, null) + _parting(release, row)


def _parting(release: Release, row: pd.Series) -> list[str]:
    breakdown = cell(release, f"honest.{row['outcome']}", "breakdown", "relative_magnitude")
    if breakdown is None or breakdown["status"] != "shown" or not breakdown["value"] < 1:
        return []
    return ["The finding would not stand if areas had drifted apart after the start as far as they did before."]


def _other_ways(release: Release, row: pd.Series, null: float) -> list[str]:
    rows = release.table("effects")
    others = rows[(rows["outcome"] == row["outcome"]) & (rows["role"] == "sensitivity") & (rows["id"] != row["id"])]
    others = others[others["lower"].notna() & others["upper"].notna()]
    side = row["value"] > null
    found = []
    if ((others["lower"] <= null) & (others["upper"] >= null)).any():
        found.append("Another planned way of working it out could not rule out no change.")
    if ((others["lower"] > null) if not side else (others["upper"] < null)).any():
        found.append("Another planned way of working it out pointed the other way.")
    return found


def finding(release: Release, outcome: Outcome) -> Finding | None:
    """The planned estimate of an outcome, read; None where the release has no row for it."""
    row = main_row(release, outcome)
    if row is None:
        return None
    return read_finding(row, outcome, weaknesses=weaknesses(release, row), asked_level=release.protocol.study.level)


def naive_finding(release: Release, outcome: Outcome) -> Finding | None:
    row = naive_row(release, outcome)
    return None if row is None else read_finding(row, outcome, asked_level=release.protocol.study.level)


def cell(release: Release, table: str, row: str, column: str) -> pd.Series | None:
    rows = release.table(table)
    rows = rows[(rows["row"] == row) & (rows["column"] == column)]
    return None if rows.empty else rows.iloc[0]


def cell_value(release: Release, table: str, row: str, column: str) -> float:
    """The number of one cell; NaN where there is none or it is not released."""
    found = cell(release, table, row, column)
    return math.nan if found is None else float(found["value"])


def observed_risk(release: Release, outcome: Outcome) -> float:
    """Risk (0 to 1) of readmission seen in the treated group after the start; NaN if not released."""
    if outcome.kind != "readmission":
        return math.nan
    row = f"{treated_group(release.protocol)}|after"
    return cell_value(release, "readmission_counts", row, f"readmitted_{outcome.horizon_days}d_percent") / 100


def counterfactual_cost(release: Release) -> float:
    """Mean cost without the service, GBP per person-quarter, from `cost_relative`; NaN if it cannot be had."""
    rows = release.table("cost_relative")
    rows = rows[rows["column"] == "counterfactual"]
    return float(rows["value"].iloc[0]) if len(rows) else math.nan


def not_shown(release: Release) -> pd.DataFrame:
    """Planned estimates for which there is no number."""
    rows = effects(release, roles=("primary", "sensitivity"))
    return rows[rows["status"] != "shown"]


def comparators_text(protocol: Protocol) -> str:
    """`Croydon, Lewisham and Southwark`; for donors their number."""
    donors = [f"{len(protocol.areas.donors)} other areas"] if protocol.areas.donors else []
    names = [*protocol.areas.comparators, *donors]
    return listed(names) if names else "no other area"


def any_number(release: Release) -> bool:
    """Whether any planned estimate has a number."""
    rows = effects(release, roles=("primary", "sensitivity"))
    return bool((rows["status"] == "shown").any())


def table_row(release: Release, table: str, row: str) -> pd.DataFrame:
    rows = release.table(table)
    return rows[rows["row"] == row]


def treated_first(groups: list[str], treated: str) -> list[str]:
    """The groups with the treated one first, as figures draw them."""
    return sorted(groups, key=lambda g: g != treated)


def attrition(release: Release) -> pd.DataFrame:
    """Rows of `attrition` with the treated group before the others."""
    rows = release.table("attrition")
    last = rows["row"].str.startswith("group.") & (rows["row"] != f"group.{treated_group(release.protocol)}")
    return pd.concat([rows[~last], rows[last]])


def trend(release: Release, outcome: Outcome) -> tuple[pd.DataFrame, int]:
    """Rows of an outcome's trend with the treated group first, and the people-years that a rate is given for.

    Rates come per 100 person-years; where all are below 0.1 they are turned into rates per 100,000.
    """
    rows = release.table(f"trend.{outcome.key}")
    if rows.empty:
        return rows, 100
    rates = rows["kind"] == "rate"
    per = 100_000 if rates.any() and rows.loc[rates, "value"].max() < 0.1 else 100
    rows = rows.copy()
    rows.loc[rates, ["value", "lower", "upper"]] *= per / 100
    first = rows["column"].str.startswith(treated_group(release.protocol))
    return pd.concat([rows[first], rows[~first]]), per
