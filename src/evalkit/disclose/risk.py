"""Risk models: what would give counts of a few people back, or one person's own risk, and how it is coarsened.

Shares at a threshold are fractions of whole discharges: at three digits their numerators and denominators follow. So
the four cells (pointed at or not, came back or not) are rebuilt, guarded, rounded like any count, and every share and
net benefit is worked out anew from the rounded ones: all that is released follows from them. A smooth curve ends at
the smallest and largest risk, and outer quantiles are single people's: both are cut off. A level of a characteristic
that is withheld takes another with it, so that it does not follow from the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from evalkit.core.errors import DisclosureError, Fault
from evalkit.disclose.money import next_step
from evalkit.disclose.policy import Policy
from evalkit.disclose.risk_cells import (
    CLOSE,
    SHARES,
    THRESHOLD_TABLES,
    Cells,
    behind_benefit,
    gather_cells,
    odds_at,
    shown_rows,
)
from evalkit.disclose.suppress import Ruling

ODDS_COLUMN = "alarms_per_found"
BENEFIT_TABLES = ("risk_net_benefit", "risk_net_benefit_competing")
LEVEL_TABLES = ("risk_groups", "risk_group_threshold", "risk_group_conflict", "risk_places", "risk_drift")
GAP_TABLES = ("risk_group_gap", "risk_group_equality")
POOLED = ("pooled", "prediction")
GRID = 200  # a smooth curve's points are multiples of 1 / GRID, so that they do not tell where the risks end
RISK_DECIMALS = 2
WHY_CELLS = "its four cells of pointed at or not, and came back or not, cannot be worked out"
WHY_END = "at the ends of the risks, where few people are"
WHY_GRID = f"the points of the curve are no multiples of {1 / GRID:g}, so that its ends would tell a person's risk"
WHY_LEVEL = "withheld so that another level cannot be worked out from it"
WHY_GAP = "one of the levels that it compares is withheld"
NUMBERS = ("value", "se", "lower", "upper", "level", "p_value")
Row = Mapping[str, object]
Numbers = dict[str, float]


def check_risk(frame: pd.DataFrame, policy: Policy) -> None:
    """Refuse a value of a predictor near which there are too few: the row's very name would tell it.

    Raises
    ------
    DisclosureError
        Naming the predictors, never the value.
    """
    rows = shown_rows(frame, "risk_dependence")
    rows = rows[(rows["column"] == "share") & (rows["value"] * rows["n_people"] < policy.threshold)]
    names = dict.fromkeys(str(row).split("|")[0] for row in rows["row"])
    if names:
        raise DisclosureError([
            Fault(f'risk_dependence of "{name}"', f"has a point with fewer than {policy.threshold} people near it",
                  next_step="Leave such points out, or join them with the next.") for name in names
        ])  # fmt: skip


# ---- rulings -------------------------------------------------------------------------------------


def rule_on_risk(frame: pd.DataFrame, rulings: Mapping[str, Ruling], policy: Policy) -> dict[str, Ruling]:
    """Rulings on tables of risk models by id, beyond those in `rulings`, which are heeded."""
    new = _rule_on_thresholds(frame, policy) | _rule_on_curves(frame, policy) | _rule_on_few(frame, policy)
    new |= _rule_on_levels(frame, {**rulings, **new})
    new |= _rule_on_followers(frame, {**rulings, **new})
    return {name: ruling for name, ruling in new.items() if name not in rulings}


def _rule_on_thresholds(frame: pd.DataFrame, policy: Policy) -> dict[str, Ruling]:
    new = {}
    few = Ruling("primary", f"not released: fewer than {policy.threshold} people in one of its cells")
    cells = gather_cells(frame)
    for table in THRESHOLD_TABLES:
        for name, row in _ids(frame, table):
            found = cells.get((table, row))
            if found is None:
                new[name] = Ruling("linked", WHY_CELLS)
            elif found.is_small(policy):
                new[name] = few
    for table in BENEFIT_TABLES:
        for _, row in shown_rows(frame, table).iterrows():
            found = behind_benefit(row, cells)
            if found is not None and found.is_small(policy):
                new[str(row["id"])] = few
    return new


def _rule_on_curves(frame: pd.DataFrame, policy: Policy) -> dict[str, Ruling]:
    """Smooth curves beyond the means of the outer tenths, and quantiles that few people are beyond."""
    new = {}
    for table in _tables(frame, "risk_curve."):
        rows = shown_rows(frame, table)
        at = rows[rows["column"] == "predicted"].set_index("row")["value"]
        tenths = shown_rows(frame, table.replace("risk_curve.", "calibration."))
        means = tenths[(tenths["column"] == "predicted") & (tenths["n_people"] >= policy.threshold)]["value"]
        on_grid = _on_grid(rows)
        low, high = (means.min(), means.max()) if len(means) > 1 else (math.inf, -math.inf)
        for name, row in _ids(frame, table):
            if not on_grid:
                new[name] = Ruling("linked", f"not released: {WHY_GRID}")
            elif not low <= at.get(row, math.nan) <= high:
                new[name] = Ruling("primary", f"not released: {WHY_END}")
    if not _on_grid(
        shown_rows(frame, "risk_group_curve")
    ):  # which goes over the middle of the risks of each level only
        new |= {name: Ruling("linked", f"not released: {WHY_GRID}") for name, _ in _ids(frame, "risk_group_curve")}
    rows = shown_rows(frame, "risk_instability_curve")  # means of discharges of like risk
    names = rows["id"][~(rows["n_people"] >= policy.threshold)]
    return new | dict.fromkeys(names.astype(str), Ruling("primary", f"not released: {WHY_END}"))


def _on_grid(rows: pd.DataFrame) -> bool:
    at = rows[rows["column"] == "predicted"]["value"] * GRID
    return bool(((at - at.round()).abs() < CLOSE).all())


def _rule_on_few(frame: pd.DataFrame, policy: Policy) -> dict[str, Ruling]:
    """Shares missing, and numbers of discharges, that stand for a few."""
    rows = shown_rows(frame, "risk_missing")
    scale = 1.0 - 0.99 * (rows["unit"] == "%")
    missing = (scale * rows["value"] * rows["n_people"]).round()
    few = [bool(policy.too_few(n)) or not math.isfinite(n) for n in missing]
    names = list(rows["id"][few])
    few_rows = frame["table"].str.startswith("risk_") & frame["column"].isin(["discharges", "have"])
    few_rows &= (frame["kind"] == "statistic") & (frame["status"] == "shown")
    names += [str(r["id"]) for _, r in frame[few_rows].iterrows() if policy.too_few(r["value"])]
    return {name: Ruling("primary", f"fewer than {policy.threshold}") for name in names}


def _rule_on_levels(frame: pd.DataFrame, rulings: Mapping[str, Ruling]) -> dict[str, Ruling]:
    """Levels, areas and years: where one alone is withheld or refused, the next smallest goes with it."""
    new: dict[str, Ruling] = {}
    for table in LEVEL_TABLES:
        rows = frame[(frame["table"] == table) & (frame["kind"] != "check")]
        rows = rows[~rows["row"].str.rsplit("|", n=1).str[-1].isin(POOLED)]
        whole = table == "risk_drift"
        families = pd.Series("" if whole else rows["row"].str.split("|").str[0], index=rows.index, dtype=object)
        for family, part in rows.groupby(families):
            new |= _withhold_level(part, rulings)
            gone = {str(r) for n, r in zip(part["id"], part["row"], strict=True) if n in rulings or n in new}
            new |= _withhold_gaps(frame, str(family), table) if gone else {}
            new |= _withhold_curves(frame, gone) if table == "risk_groups" else {}
    return new


def _withhold_curves(frame: pd.DataFrame, levels: set[str]) -> dict[str, Ruling]:
    """Curves within levels that are withheld."""
    why = Ruling("linked", f"not released: {WHY_LEVEL}")
    return {name: why for name, row in _ids(frame, "risk_group_curve") if row.rpartition("|")[0] in levels}


def _rule_on_followers(frame: pd.DataFrame, rulings: Mapping[str, Ruling]) -> dict[str, Ruling]:
    """Curves of levels that are withheld, and tests that levels are alike of which one is."""
    levels = frame[frame["table"] == "risk_groups"]
    hidden = set(levels["row"]) - set(levels["row"][(levels["status"] == "shown") & ~levels["id"].isin(rulings)])
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


def _withhold_level(part: pd.DataFrame, rulings: Mapping[str, Ruling]) -> dict[str, Ruling]:
    """What goes from the levels of one characteristic: all of each small one, and a second where there is only one."""
    shown = part[part["status"] == "shown"]
    small = {str(row) for name, row in zip(shown["id"], shown["row"], strict=True) if name in rulings}
    measured = shown[shown["kind"] != "count"]
    small |= set(part["row"]) - set(measured["row"])
    why = Ruling("complementary", f"not released: {WHY_LEVEL}")
    sizes = shown.groupby("row")["n_people"].max()
    rest = sizes[[row not in small for row in sizes.index]]
    if len(small) == 1 and len(rest):
        small.add(str(rest.fillna(0).idxmin()))
    return {str(r["id"]): why for _, r in shown.iterrows() if r["row"] in small and r["id"] not in rulings}


# ---- numbers -------------------------------------------------------------------------------------


def coarsen_risk(frame: pd.DataFrame, policy: Policy) -> dict[str, Numbers]:
    """Numbers of tables of risk models as they may be shown, by id; rows that other rules see to are left out."""
    cells = gather_cells(frame)
    done: dict[str, Numbers] = {}
    for table in THRESHOLD_TABLES:
        for _, row in shown_rows(frame, table).iterrows():
            behind = cells.get((table, str(row["row"])))
            if behind is not None:
                done[str(row["id"])] = _share(row, behind.rounded(policy), policy)
    for table in BENEFIT_TABLES:
        done |= _benefits(frame, table, cells, policy)
    for row in frame[frame["table"].str.startswith("risk_") & (frame["status"] == "shown")].to_dict("records"):
        found = None if row["id"] in done else _other(row, policy)
        if found is not None:
            done[str(row["id"])] = found
    return done


def _share(row: Row, cells: Cells, policy: Policy) -> Numbers:
    """A share worked out from rounded cells; the ends of its interval go outwards to the same steps."""
    column = str(row["column"])
    if column == ODDS_COLUMN:
        return _odds_of_alarms(row, cells, policy)
    if column not in SHARES:
        return _blank()
    top, below = (cells[name] for name in SHARES[column])
    scale = 100.0 if "100" in column else 1.0
    value = scale * min(top / below, 1.0) if below > 0 else math.nan
    return _ends(row, value, scale * policy.base / max(below, policy.base), 1 if scale > 1 else 3, most=scale)


def _odds_of_alarms(row: Row, cells: Cells, policy: Policy) -> Numbers:
    """False alarms for each true one, with ends from those that a share of the same cells would have."""
    value = cells["alarms"] / cells.found if cells.found > 0 else math.nan
    unit = policy.base * (1 + value) / max(cells.found, policy.base)
    return _ends(row, value, unit, 1, most=math.inf)


def _benefits(frame: pd.DataFrame, table: str, cells: Mapping[tuple[str, str], Cells],
              policy: Policy) -> dict[str, Numbers]:  # fmt: skip
    """Net benefit from rounded cells where they are known, else in steps of `base` people, and what follows from it."""
    rows = shown_rows(frame, table)
    done: dict[str, Numbers] = {}
    shown: dict[str, float] = {}
    for _, row in rows[rows["column"] == "net_benefit"].iterrows():
        model, _, at = str(row["row"]).rpartition("|")
        behind = behind_benefit(row, cells)
        known = cells.get(("risk_threshold", f"risk|{at}"))
        odds, people = odds_at(at), policy.rounded(known.total if known else row["n_people"])
        unit = policy.base / max(people, policy.base) if math.isfinite(people) else 1.0
        if behind is not None:
            near = behind.rounded(policy)
            value = (near.found - odds * near["alarms"]) / near.total
        elif model == "all":
            risk = (row["value"] + odds) / (1 + odds)
            value = (1 + odds) * policy.rounded(risk * people) / people - odds if people > 0 else math.nan
        else:
            value = math.floor(row["value"] / unit + 0.5) * unit
        done[str(row["id"])] = _ends(row, value, unit, 4, least=-math.inf)
        shown[str(row["row"])] = value
    for _, row in rows[rows["column"] == "avoided_per_100"].iterrows():
        at = str(row["row"]).rpartition("|")[2]
        value = 100 * (shown.get(str(row["row"]), math.nan) - shown.get(f"all|{at}", math.nan)) / odds_at(at)
        unit = 100 * policy.base / max(policy.rounded(row["n_people"]), policy.base) / odds_at(at)
        done[str(row["id"])] = _ends(row, value, unit, 1, least=-math.inf, most=math.inf)
    return done


def _other(row: Row, policy: Policy) -> Numbers | None:
    """Brier scores, shares of discharges, numbers of them, risks of few, and gaps in shares."""
    table, column = str(row["table"]), str(row["column"]).split("|")[0]
    people = max(policy.rounded(float(row["n_people"])), policy.base)
    people = people if math.isfinite(people) else float(policy.base)
    if row["kind"] != "statistic":
        return None
    if table == "risk_size" and column == "needed":
        return _blank() | {"value": _upwards(float(row["value"]))}
    if column in ("have", "discharges"):
        return _blank() | {"value": policy.rounded(float(row["value"]))}
    if column == "brier":  # with the scaled score it would give the share that came back
        return _stepped(row, next_step(policy.base / people))
    if table == "risk_group_conflict":
        return _stepped(row, 0.01)
    if table == "risk_missing" or column in ("share", "share_beyond"):
        return _stepped(row, (100.0 if row["unit"] == "%" else 1.0) * policy.base / people)
    if column == "emax" or table == "risk_instability_curve":
        return _stepped(row, 10.0**-RISK_DECIMALS)
    if table in GAP_TABLES and (measure := str(row["row"]).partition("|")[2] or column) in SHARES:
        return _stepped(row, 0.01 if column == "p_value" or "100" not in measure else 1.0)
    if table == "risk_group_curve":
        return _stepped(row, 0.01 if column != "predicted" else 1 / GRID)
    if table.startswith("risk_curve.") or table == "risk_dependence" or column in ("ici", "e50", "e90", "mape"):
        return _stepped(row, 0.001 if column != "predicted" else 1 / GRID)
    return None


def _stepped(row: Row, step: float) -> Numbers:
    shown = {c: float(f"{math.floor(float(row[c]) / step + 0.5) * step:.4g}") + 0.0
             for c in ("value", "lower", "upper") if math.isfinite(float(row[c]))}  # fmt: skip
    return _blank() | shown | {"level": float(row["level"])}


def _ends(row: Row, value: float, unit: float, decimals: int, *, least: float = 0.0, most: float = 1.0) -> Numbers:
    """`value` with the interval of the row moved along with it and its ends outwards to multiples of `unit` away."""
    low, high = float(row["lower"]) - float(row["value"]), float(row["upper"]) - float(row["value"])
    if math.isfinite(low) and math.isfinite(high):
        low = max(value + math.floor(low / unit + 1e-9) * unit, least)
        high = min(value + math.ceil(high / unit - 1e-9) * unit, most)
    shown = {"value": value, "lower": low, "upper": high}
    rounded = {c: round(x, decimals) + 0.0 if math.isfinite(x) else math.nan for c, x in shown.items()}
    return _blank() | rounded | {"level": float(row["level"])}


def _blank() -> Numbers:
    return dict.fromkeys(NUMBERS, math.nan)


def _upwards(number: float) -> float:
    """The next number of two digits: what a sample size asks for is arithmetic on the share that came back."""
    if not number > 0 or not math.isfinite(number):
        return number
    unit = 10.0 ** max(math.floor(math.log10(number)) - 1, 0)
    return math.ceil(number / unit - 1e-9) * unit


def _tables(frame: pd.DataFrame, prefix: str) -> list[str]:
    return [str(t) for t in pd.unique(frame["table"]) if str(t).startswith(prefix)]


def _ids(frame: pd.DataFrame, table: str) -> list[tuple[str, str]]:
    rows = shown_rows(frame, table)
    return list(zip(rows["id"], rows["row"].astype(str), strict=True))
