"""Risk models: what would give counts of a few people back, or one person's own risk, and how it is coarsened.

Shares at a threshold are fractions of whole discharges: at three digits their numerators and denominators follow. So
the four cells (pointed at or not, came back or not) are rebuilt, guarded, rounded like any count, and every share and
net benefit is worked out anew from the rounded ones: all that is released follows from them. A smooth curve ends at
the smallest and largest risk, and outer quantiles are single people's: both are cut off. A level of a characteristic
that is withheld takes another with it (`risk_levels`), so that it does not follow from the whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from evalkit.core.errors import DisclosureError, Fault
from evalkit.disclose.money import next_step
from evalkit.disclose.policy import Policy
from evalkit.disclose.risk_cells import (
    CLOSE,
    SHARES,
    THRESHOLD_TABLES,
    Cells,
    Numbers,
    Row,
    behind_benefit,
    gather_cells,
    move_ends,
    no_numbers,
    odds_at,
    shown_rows,
    to_steps,
)
from evalkit.disclose.risk_derived import derive_anew
from evalkit.disclose.risk_levels import GAP_TABLES, rule_on_levels
from evalkit.disclose.suppress import Ruling

ODDS_COLUMN = "alarms_per_found"
BENEFIT_TABLES = ("risk_net_benefit", "risk_net_benefit_competing")
GRID = 200  # a smooth curve's points are multiples of 1 / GRID, so that they do not tell where the risks end
RISK_DECIMALS = 2
WHY_CELLS = "its four cells of pointed at or not, and came back or not, cannot be worked out"
WHY_END = "at the ends of the risks, where few people are"
WHY_GRID = f"the points of the curve are no multiples of {1 / GRID:g}, so that its ends would tell a person's risk"
WHY_DRAWS = "the share of draws that fail tells how few people hold a rare level"
WHY_REST = "it would give the share of values that few people have"
EMAX_STEP = 0.05  # with the curve, the largest distance would give the largest risk, which is one person's
END_STEP = 0.05  # where a curve within a level ends, if fewer people than this are in it:
FEW_IN_LEVEL = 100
FEWEST_IN_BIN = 10
DRAW_CHECKS = ("bootstrap_models_fitted", "bootstrap_measures_defined")


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
    new = _rule_on_thresholds(frame, policy) | _rule_on_curves(frame) | _rule_on_few(frame, policy)
    new |= _rule_on_rest(frame) | _rule_on_draws(frame)
    new |= rule_on_levels(frame, {**rulings, **new}, policy)
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


def _rule_on_curves(frame: pd.DataFrame) -> dict[str, Ruling]:
    """Smooth curves beyond the means of the outer tenths, and quantiles that few people are beyond."""
    new = {}
    for table in _curves(frame):
        rows = shown_rows(frame, table)
        inside = _inside(frame, rows, table)
        on_grid = _on_grid(rows)
        for name, row in _ids(frame, table):
            if not on_grid:
                new[name] = Ruling("linked", f"not released: {WHY_GRID}")
            elif row not in inside:
                new[name] = Ruling("primary", f"not released: {WHY_END}")
    rows = shown_rows(frame, "risk_instability_curve")  # means of discharges of like risk
    names = rows["id"][~(rows["n_people"] >= FEWEST_IN_BIN)]
    return new | dict.fromkeys(names.astype(str), Ruling("primary", f"not released: {WHY_END}"))


def trim_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """The table without the points of curves that would be withheld at their ends, the others numbered anew.

    How many are withheld, and from which number on, would tell how far the risks of a few people reach. Of a curve of
    which nothing is left the first point stays, to be withheld.
    """
    dropped, names = [], {}
    for table in _curves(frame):
        rows = shown_rows(frame, table)
        inside = _inside(frame, rows, table)
        place: dict[str, int] = {}
        kept = rows[rows["row"].isin(inside)]
        spare = rows[~rows["row"].map(_curve_of).isin(set(kept["row"].map(_curve_of)))]
        kept = pd.concat([kept, spare[spare["row"].isin(spare.groupby(spare["row"].map(_curve_of))["row"].first())]])
        dropped += list(rows.index.difference(kept.index))
        for row in pd.unique(kept["row"]):
            curve = _curve_of(row)
            place[curve] = place.get(curve, 0) + 1
            names[table, row] = f"{curve}|{place[curve]}" if curve else str(place[curve])
    if not names:
        return frame
    out = frame.drop(index=dropped)
    new = [names.get(key, key[1]) for key in zip(out["table"], out["row"], strict=True)]
    moved = [old != now for old, now in zip(out["row"], new, strict=True)]
    ids = [f"{t}/{r}/{c}" if m else i
           for i, t, r, c, m in zip(out["id"], out["table"], new, out["column"], moved, strict=True)]  # fmt: skip
    place_in_table = out.groupby("table").cumcount()  # that of what is left
    order = out["order"].where(~out["table"].isin(_curves(frame)), place_in_table)
    labels = out["label"].where(out["label"] != out["row"], pd.Series(new, index=out.index))
    return out.assign(row=new, id=ids, order=order, label=labels).reset_index(drop=True)


def _curves(frame: pd.DataFrame) -> list[str]:
    return [*_tables(frame, "risk_curve."), *_tables(frame, "risk_group_curve")]


def _curve_of(row: str) -> str:
    """The curve that a point is of: "sex|female|3" is of "sex|female", and "3" of the only one in its table."""
    return str(row).rpartition("|")[0]


def _inside(frame: pd.DataFrame, rows: pd.DataFrame, table: str) -> set[str]:
    """Points between the means of the outer tenths; within a level of few people, between multiples of `END_STEP`."""
    points = rows[rows["column"] == "predicted"]
    if table == "risk_group_curve":
        curve = points["row"].map(_curve_of)
        ends = points.groupby(curve)["value"].agg(["min", "max"]).reindex(curve).set_axis(points.index)
        low = np.ceil(ends["min"] / END_STEP - CLOSE) * END_STEP
        high = np.floor(ends["max"] / END_STEP + CLOSE) * END_STEP
        within = (points["value"] >= low - CLOSE) & (points["value"] <= high + CLOSE)
        return set(points["row"][within | (points["n_people"] >= FEW_IN_LEVEL)].astype(str))
    tenths = shown_rows(frame, table.replace("risk_curve.", "calibration."))
    means = tenths[(tenths["column"] == "predicted") & (tenths["n_people"] >= FEWEST_IN_BIN)]["value"]
    low, high = (means.min(), means.max()) if len(means) > 1 else (math.inf, -math.inf)
    return set(points["row"][(points["value"] >= low) & (points["value"] <= high)].astype(str))


def _on_grid(rows: pd.DataFrame) -> bool:
    at = rows[rows["column"] == "predicted"]["value"] * GRID
    return bool(((at - at.round()).abs() < CLOSE).all())


def _rule_on_few(frame: pd.DataFrame, policy: Policy) -> dict[str, Ruling]:
    """Shares missing, or beyond a change of risk, and numbers of discharges, that stand for a few."""
    rows = pd.concat([shown_rows(frame, "risk_missing"), shown_rows(frame, "risk_instability")])
    rows = rows[(rows["table"] == "risk_missing") | rows["column"].str.startswith("share_beyond")]
    scale = 1.0 - 0.99 * (rows["unit"] == "%")
    missing = (scale * rows["value"] * rows["n_people"]).round()
    others = (rows["n_people"] - missing).round()
    few = [not math.isfinite(n) or bool(policy.too_few(n) or policy.too_few(rest))
           for n, rest in zip(missing, others, strict=True)]  # fmt: skip
    names = list(rows["id"][few])
    few_rows = frame["table"].str.startswith("risk_") & frame["column"].isin(["discharges", "have"])
    few_rows &= (frame["kind"] == "statistic") & (frame["status"] == "shown")
    names += [str(r["id"]) for _, r in frame[few_rows].iterrows() if policy.too_few(r["value"])]
    new = {name: Ruling("primary", f"fewer than {policy.threshold}") for name in names}
    return new | _rule_on_frequent(frame, policy) | _rule_on_references(frame, policy)


def _rule_on_frequent(frame: pd.DataFrame, policy: Policy) -> dict[str, Ruling]:
    """All that is told of a sample in which few people came back, however often each of them did."""
    rows = shown_rows(frame, "risk_sample")
    rows = rows[(rows["column"] == "readmitted") & rows["n_people"].map(policy.too_few).astype(bool)]
    of = frame["table"].str.startswith(("risk_", "calibration.")) & (frame["status"] == "shown")
    of &= frame["n_events"].isin(rows["value"]) & ~frame["table"].isin(["risk_sample", "risk_size"])
    why = Ruling("primary", f"not released: fewer than {policy.threshold} people came back")
    return dict.fromkeys(frame.loc[of, "id"].astype(str), why)


def _rule_on_references(frame: pd.DataFrame, policy: Policy) -> dict[str, Ruling]:
    """Odds ratios of a level that all but a few people have, against the few."""
    sample = shown_rows(frame, "risk_sample")
    sample = sample[sample["row"].str.endswith("development") & (sample["column"] == "discharges")]
    rows = shown_rows(frame, "risk_terms")
    rows = rows[rows["row"].str.contains("|", regex=False)]
    why = Ruling("primary", f"not released: fewer than {policy.threshold} people to compare with")
    few = [any(0 <= whole - n < policy.threshold for whole in sample["n_people"]) for n in rows["n_people"]]
    return dict.fromkeys(rows["id"][few].astype(str), why)


def _rule_on_rest(frame: pd.DataFrame) -> dict[str, Ruling]:
    """Of a predictor of which some values are left out for few people, the smallest share of the others."""
    rows = shown_rows(frame, "risk_dependence")
    rows = rows[rows["column"] == "share"]
    new = {}
    for _, part in rows.groupby(rows["row"].str.split("|").str[0]):
        if part["value"].sum() < 1 - CLOSE:
            new[str(part.loc[part["value"].idxmin(), "id"])] = Ruling("complementary", f"not released: {WHY_REST}")
    return new


def _rule_on_draws(frame: pd.DataFrame) -> dict[str, Ruling]:
    """Numbers of draws in which nothing could be fitted: with k people behind a level, a share of exp(-k) has none."""
    rows = shown_rows(frame, "checks.risk")
    rows = rows[rows["column"].isin(DRAW_CHECKS) & (rows["value"] > 0)]
    return dict.fromkeys(rows["id"].astype(str), Ruling("linked", f"not released: {WHY_DRAWS}"))


def hides_counts(row: Row) -> bool:
    """Whether a row must not say how many people and events it is of.

    Of one without a number they would narrow what is withheld: the people pointed at, less those wrongly pointed at.
    Shares of all people, rounded each by itself, would give all people back.
    """
    table = str(row["table"])
    return table == "risk_learning" or (table.startswith(("risk_", "calibration.")) and row["status"] != "shown")


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
    done |= derive_anew(frame, cells, policy)
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
        return no_numbers()
    top, below = (cells[name] for name in SHARES[column])
    scale = 100.0 if "100" in column else 1.0
    value = scale * min(top / below, 1.0) if below > 0 else math.nan
    return move_ends(row, value, scale * policy.base / max(below, policy.base), 1 if scale > 1 else 3, most=scale)


def _odds_of_alarms(row: Row, cells: Cells, policy: Policy) -> Numbers:
    """False alarms for each true one, with ends from those that a share of the same cells would have."""
    value = cells["alarms"] / cells.found if cells.found > 0 else math.nan
    unit = policy.base * (1 + value) / max(cells.found, policy.base)
    return move_ends(row, value, unit, 1, most=math.inf)


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
        done[str(row["id"])] = move_ends(row, value, unit, 4, least=-math.inf)
        shown[str(row["row"])] = value
    for _, row in rows[rows["column"] == "avoided_per_100"].iterrows():
        at = str(row["row"]).rpartition("|")[2]
        value = 100 * (shown.get(str(row["row"]), math.nan) - shown.get(f"all|{at}", math.nan)) / odds_at(at)
        unit = 100 * policy.base / max(policy.rounded(row["n_people"]), policy.base) / odds_at(at)
        done[str(row["id"])] = move_ends(row, value, unit, 1, least=-math.inf, most=math.inf)
    return done


def _other(row: Row, policy: Policy) -> Numbers | None:
    """Brier scores, shares of discharges, numbers of them, risks of few, and gaps in shares."""
    table, column = str(row["table"]), str(row["column"]).split("|")[0]
    people = max(policy.rounded(float(row["n_people"])), policy.base)
    people = people if math.isfinite(people) else float(policy.base)
    if row["kind"] != "statistic":
        return None
    if column in ("have", "discharges"):
        return no_numbers() | {"value": policy.rounded(float(row["value"]))}
    if column == "brier":  # with the scaled score it would give the share that came back
        return to_steps(row, next_step(policy.base / people))
    if table == "risk_missing" or column == "share" or column.startswith("share_beyond"):
        return to_steps(row, (100.0 if row["unit"] == "%" else 1.0) * policy.base / people)
    if table == "risk_instability_curve":
        return to_steps(row, 10.0**-RISK_DECIMALS)
    if column == "emax":
        return to_steps(row, EMAX_STEP)
    if table in GAP_TABLES:
        measure = str(row["row"]).partition("|")[2] or column
        if measure in SHARES:
            return to_steps(row, 0.01 if column == "p_value" or "100" not in measure else 1.0)
        return to_steps(row, EMAX_STEP if measure == "emax" and column != "p_value" else 0.01)
    if table == "risk_group_curve":
        return to_steps(row, 0.01 if column != "predicted" else 1 / GRID)
    if table.startswith("risk_curve.") or table == "risk_dependence" or column in ("ici", "e50", "e90", "mape"):
        return to_steps(row, 0.001 if column != "predicted" else 1 / GRID)
    return None


def _tables(frame: pd.DataFrame, prefix: str) -> list[str]:
    return [str(t) for t in pd.unique(frame["table"]) if str(t).startswith(prefix)]


def _ids(frame: pd.DataFrame, table: str) -> list[tuple[str, str]]:
    rows = shown_rows(frame, table)
    return list(zip(rows["id"], rows["row"].astype(str), strict=True))
