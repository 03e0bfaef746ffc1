"""Levels, areas, years and tenths of risk: which of them go with one that is withheld, so that none follows.

Numbers of discharges of the levels of one characteristic add up to those of the whole, which are told elsewhere. As
for counts (`evalkit.disclose.suppress`), it is asked what an onlooker could work out who knows every rounded number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from evalkit.disclose.audit import Demand, Relation, Seen, find_exposed
from evalkit.disclose.policy import Policy
from evalkit.disclose.risk_cells import SHARES, gather_cells, shown_rows
from evalkit.disclose.suppress import Ruling

LEVEL_TABLES = ("risk_groups", "risk_group_threshold", "risk_group_conflict", "risk_places", "risk_drift")
FOLLOWING = ("risk_group_threshold", "risk_group_conflict")  # a level withheld in `risk_groups` is withheld here too
GAP_TABLES = ("risk_group_gap", "risk_group_equality")
POOLED = ("pooled", "prediction")
WHY_LEVEL = "withheld so that another level cannot be worked out from it"
WHY_GAP = "one of the levels that it compares is withheld"
_CELL_COLUMNS = {
    "found": "sensitivity",
    "missed": "false_negative_rate",
    "alarms": "false_positive_rate",
    "spared": "npv",
}
_SUMS = {
    "events": ("found", "missed"), "flagged": ("found", "alarms"),
    "discharges": ("found", "missed", "alarms", "spared"),
}  # fmt: skip
_KNOWN_OF_LEVELS = ("events", "discharges")
_WHOLE = ""
Counts = dict[str, dict[str, float]]


def rule_on_levels(frame: pd.DataFrame, rulings: Mapping[str, Ruling], policy: Policy) -> dict[str, Ruling]:
    """Rulings on levels beside those in `rulings`, by id, and on what compares or describes withheld ones."""
    new: dict[str, Ruling] = {}
    gone: set[str] = set()
    for table in (*LEVEL_TABLES, *_tenths(frame)):
        rows = frame[(frame["table"] == table) & (frame["kind"] != "check")]
        rows = rows[~rows["row"].str.rsplit("|", n=1).str[-1].isin(POOLED)]
        counts = _count_cells(frame, rows, table)
        for family, part in rows.groupby(_families(rows, table)):
            after = gone if table in FOLLOWING else set()
            told = _told_elsewhere(frame, part) if table in ("risk_groups", "risk_group_threshold") else set()
            found = _withhold_levels(part, {**rulings, **new}, counts, policy, gone=after, told=told)
            new |= found
            hidden = {str(r) for n, r in zip(part["id"], part["row"], strict=True) if n in found or n in rulings}
            new |= _withhold_gaps(frame, str(family), table) if hidden else {}
            gone |= _hidden_rows(part, {**rulings, **new}) if table == "risk_groups" else set()
    return new | _rule_on_followers(frame, {**rulings, **new})


def _tenths(frame: pd.DataFrame) -> list[str]:
    return [str(t) for t in pd.unique(frame["table"]) if str(t).startswith("calibration.")]


def _families(rows: pd.DataFrame, table: str) -> pd.Series:
    """The characteristic of each row; years and tenths are all of one."""
    whole = table == "risk_drift" or table.startswith("calibration.")
    return pd.Series("" if whole else rows["row"].str.split("|").str[0], index=rows.index, dtype=object)


def _told_elsewhere(frame: pd.DataFrame, part: pd.DataFrame) -> set[str]:
    """Levels that are an area of which as many events are told in `risk_recalibration`, so that they hide nothing."""
    rows = shown_rows(frame, "risk_recalibration")
    places = set(zip("area|" + rows["row"].str.split("|").str[0], rows["n_events"], strict=True))
    levels = frame[(frame["table"] == "risk_groups") & frame["row"].isin(part["row"])]
    return {str(r) for r, n in zip(levels["row"], levels["n_events"], strict=True) if (r, n) in places}


def _hidden_rows(part: pd.DataFrame, rulings: Mapping[str, Ruling]) -> set[str]:
    """Rows of which a number is withheld, or that have no measure."""
    shown = part[(part["status"] == "shown") & ~part["id"].isin(list(rulings))]
    ruled = set(part["row"][part["id"].isin(list(rulings))])
    return {str(r) for r in (set(part["row"]) - set(shown["row"][shown["kind"] != "count"])) | ruled}


def _withhold_levels(
    part: pd.DataFrame, rulings: Mapping[str, Ruling], counts: Counts, policy: Policy, *, gone: set[str], told: set[str]
) -> dict[str, Ruling]:
    """What goes from the levels of one characteristic: all of each small one, and more until none can be worked out.

    Levels in `gone` go with those of `risk_groups`; those in `told` hide nothing, since another table tells them.
    """
    sizes = part.groupby("row")["n_people"].max().fillna(0)
    hidden = _hidden_rows(part, rulings) | (gone & set(sizes.index))
    named = not str(part["table"].iloc[0]).startswith("calibration.")  # a tenth of the risks is nobody's level
    own = {name: {r: n for r, n in of.items() if r in sizes.index} for name, of in counts.items()}
    joint = set(_CELL_COLUMNS) <= set(own)  # cells are solved together, numbers of other tables one by one
    each = [own] if joint else [{name: of} for name, of in own.items()]
    while len(hidden) < len(sizes):
        rest = sizes[[row not in hidden for row in sizes.index]]
        alone = named and len(hidden - told) == 1
        if not alone and not any(_is_exposed(of, hidden - told, gone - told, policy) for of in each):
            break
        hidden.add(str(rest.idxmin()))
    why = Ruling("complementary", f"not released: {WHY_LEVEL}")
    shown = part[part["status"] == "shown"]
    return {str(r["id"]): why for _, r in shown.iterrows() if r["row"] in hidden and r["id"] not in rulings}


# ---- what an onlooker could work out -------------------------------------------------------------


def _count_cells(frame: pd.DataFrame, rows: pd.DataFrame, table: str) -> Counts:
    """Numbers of discharges by what they are of and by row, also of levels that have no numbers of their own."""
    if table == "risk_group_conflict":
        return {}
    if table != "risk_group_threshold":
        found = {"events": {str(r): float(n) for r, n in rows.groupby("row")["n_events"].max().items()}}
        if table == "risk_groups":
            own = rows[rows["column"] == "discharges"]
            found["discharges"] = dict(zip(own["row"].astype(str), own["value"].astype(float), strict=True))
        return found
    cells = {row: behind for (of, row), behind in gather_cells(frame).items() if of == table}
    found = {}
    for name, column in _CELL_COLUMNS.items():
        own = rows[rows["column"] == column]
        by_events = dict(zip(own["row"].astype(str), own["n_events"].astype(float), strict=True))
        found[name] = by_events | {row: behind[name] for row, behind in cells.items()}
    return found


def _is_exposed(counts: Counts, hidden: set[str], gone: set[str], policy: Policy) -> bool:
    """Whether a number of one level, below the threshold or merely rounded, follows from all that is told.

    `counts` by name and level; levels in `hidden` tell none of them, but their sums over cells unless also in `gone`.
    """
    sums = {name: parts for name, parts in _SUMS.items() if set(parts) <= set(counts)}
    levels = [
        r
        for r in sorted(set().union(*counts.values()))
        if all(math.isfinite(c.get(r, math.nan)) for c in counts.values())
    ]
    if len(levels) < 2:
        return False
    exact = {(name, r): round(counts[name][r]) for name in counts for r in levels}
    exact |= {(name, r): sum(exact[part, r] for part in parts) for name, parts in sums.items() for r in levels}
    names = [*counts, *sums]
    exact |= {(name, _WHOLE): sum(exact[name, r] for r in levels) for name in names}
    place = {key: i for i, key in enumerate(exact)}
    relations = [Relation(place[name, _WHOLE], tuple(place[name, r] for r in levels)) for name in names]
    relations += [Relation(place[name, r], tuple(place[part, r] for part in parts))
                  for name, parts in sums.items() for r in (*levels, _WHOLE)]  # fmt: skip
    secret = {(name, r) for name in names for r in hidden if name not in _KNOWN_OF_LEVELS or not sums or r in gone}
    far = 2 * max(exact.values()) + 100 * policy.threshold
    ranges = np.array([_known(value, far, policy, secret=key in secret) for key, value in exact.items()], dtype=float)
    demands = {place[key]: _demand(value, policy, secret=key in secret) for key, value in exact.items()}
    values = np.array(list(exact.values()))
    if find_exposed(ranges[:, 0], ranges[:, 1], relations, demands, Seen(values)) is not None:
        return True
    # Each characteristic narrows the whole, so what is below the threshold is guarded as if the whole were known.
    ranges[[place[name, _WHOLE] for name in names]] = [[exact[name, _WHOLE]] * 2 for name in names]
    demands = {i: demand for i, demand in demands.items() if math.isfinite(demand.low)}
    return bool(demands) and find_exposed(ranges[:, 0], ranges[:, 1], relations, demands, Seen(values)) is not None


def _known(value: int, far: int, policy: Policy, *, secret: bool) -> tuple[float, float]:
    """What a number by itself tells: it is below the threshold, or not, or it is rounded."""
    if policy.too_few(value):
        return (policy.least, policy.threshold - 1) if secret else (0, far)
    if secret or value == 0:
        return (policy.threshold if value else 0), far
    return policy.range_of(policy.rounded(value))


def _demand(value: int, policy: Policy, *, secret: bool) -> Demand:
    """A secret number below the threshold may be anything below it; any other never has one possible value alone."""
    if secret and policy.too_few(value):
        return Demand(low=1, high=policy.threshold - 1)
    return Demand(low=np.inf, high=-np.inf, width=3 if secret else 2 if value else 1)


# ---- what follows from levels --------------------------------------------------------------------


def _rule_on_followers(frame: pd.DataFrame, rulings: Mapping[str, Ruling]) -> dict[str, Ruling]:
    """Curves of levels that are withheld, and tests that levels are alike of which one is."""
    hidden = _hidden_rows(frame[frame["table"] == "risk_groups"], rulings)
    families, why = {row.split("|")[0] for row in hidden}, Ruling("linked", f"not released: {WHY_LEVEL}")
    new = {n: why for n, row in _ids(frame, "risk_group_curve") if row.rpartition("|")[0] in hidden}
    return new | {n: why for n, row in _ids(frame, "risk_group_equality") if row.split("|")[0] in families}


def _withhold_gaps(frame: pd.DataFrame, family: str, table: str) -> dict[str, Ruling]:
    """Gaps between levels of which one is withheld: those in shares at a threshold, or those in measures."""
    if table not in ("risk_groups", "risk_group_threshold"):
        return {}
    rates = table == "risk_group_threshold"
    new = {}
    for name in GAP_TABLES:
        for _, row in shown_rows(frame, name).iterrows():
            characteristic, _, measure = str(row["row"]).partition("|")
            if characteristic == family and ((measure or row["column"]) in SHARES) == rates:
                new[str(row["id"])] = Ruling("linked", f"not released: {WHY_GAP}")
    return new


def _ids(frame: pd.DataFrame, table: str) -> list[tuple[str, str]]:
    rows = shown_rows(frame, table)
    return list(zip(rows["id"], rows["row"].astype(str), strict=True))
