"""The four cells behind what a risk model's threshold does: pointed at or not, and came back or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from evalkit.disclose.policy import Policy

SHARES = {  # column: cell on top, cells below
    "flagged_per_100": ("flagged", "total"), "came_back_of_100_flagged": ("found", "flagged"),
    "found_of_100": ("found", "events"), "sensitivity": ("found", "events"), "ppv": ("found", "flagged"),
    "false_positive_rate": ("alarms", "others"), "false_negative_rate": ("missed", "events"),
    "specificity": ("spared", "others"), "npv": ("spared", "left"),
}  # fmt: skip
THRESHOLD_TABLES = ("risk_threshold", "risk_group_threshold")
CLOSE = 1e-6
NUMBERS = ("value", "se", "lower", "upper", "level", "p_value")
Row = Mapping[str, object]
Numbers = dict[str, float]


@dataclass(frozen=True)
class Cells:
    """Discharges at one threshold: all of them, those that were followed by a return, those pointed at, and both."""

    total: float
    events: float
    flagged: float
    found: float

    def __getitem__(self, name: str) -> float:
        more = {
            "alarms": self.flagged - self.found, "missed": self.events - self.found, "others": self.total - self.events,
            "left": self.total - self.flagged, "spared": self.total - self.flagged - self.events + self.found,
        }  # fmt: skip
        return more[name] if name in more else float(getattr(self, name))

    def is_small(self, policy: Policy) -> bool:
        """Whether one of the four cells is too few to show."""
        four = ("found", "alarms", "missed", "spared")
        return any(policy.too_few(round(self[name])) or round(self[name]) < 0 for name in four)

    def rounded(self, policy: Policy) -> Cells:
        return Cells(*(policy.rounded(x) for x in (self.total, self.events, self.flagged, self.found)))


def gather_cells(frame: pd.DataFrame) -> dict[tuple[str, str], Cells]:
    """The cells behind each row of the tables of thresholds, by table and row; a row without them is left out."""
    samples = _validation_samples(frame)
    held = shown_rows(frame, "risk_groups")
    sizes = held[held["column"] == "discharges"].set_index("row")["value"]
    out = {}
    for table in THRESHOLD_TABLES:
        for row, part in shown_rows(frame, table).groupby("row"):
            value = {str(c): float(v) for c, v in zip(part["column"], part["value"], strict=True)}
            share = value.get("flagged_per_100", math.nan) / 100
            right = value.get("came_back_of_100_flagged", 100 * value.get("ppv", math.nan)) / 100
            hit = value.get("found_of_100", 100 * value.get("sensitivity", math.nan)) / 100
            if not (math.isfinite(share) and math.isfinite(right) and math.isfinite(hit)):
                continue
            risk = share * right / hit if hit > 0 else 0.0
            people = float(part.loc[part["column"] == "flagged_per_100", "n_people"].iloc[0])
            total = float(sizes.get(row, people)) if table == "risk_group_threshold" else people
            if table == "risk_threshold":
                total = next((n for n, events in samples if abs(events / n - risk) < CLOSE), people)
            if math.isfinite(total):
                out[table, str(row)] = Cells(total, risk * total, share * total, share * right * total)
    return out


def _validation_samples(frame: pd.DataFrame) -> list[tuple[float, float]]:
    """Discharges and returns of every horizon."""
    rows = shown_rows(frame, "risk_sample")
    wide = rows[rows["row"].str.endswith("validation")].pivot(index="row", columns="column", values="value")
    if not {"discharges", "readmitted"} <= set(wide.columns):
        return []
    return [(float(n), float(e)) for n, e in zip(wide["discharges"], wide["readmitted"], strict=True) if n > 0]


def behind_benefit(row: Mapping[str, object], cells: Mapping[tuple[str, str], Cells]) -> Cells | None:
    """The cells of the model that thresholds are told for, where this is its net benefit; None for other models."""
    model, _, at = str(row["row"]).rpartition("|")
    found = cells.get(("risk_threshold", f"risk|{at}"))
    if found is None or model == "all":
        return None
    odds = odds_at(at)
    exact = (found.found - odds * found["alarms"]) / found.total
    value = row["value"]
    if row["column"] == "avoided_per_100":
        exact = 100 * (exact - _all_benefit(found, odds)) / odds
    return found if abs(value - exact) < CLOSE * max(1.0, abs(exact)) else None


def odds_at(at: str) -> float:
    """The odds of a threshold as a row spells it."""
    return float(at) / (1 - float(at))


def _all_benefit(cells: Cells, odds: float) -> float:
    return (cells.events - odds * cells["others"]) / cells.total


def shown_rows(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """Rows of a table that the analysis gave a number."""
    return frame[(frame["table"] == table) & (frame["status"] == "shown")]


# ---- numbers in steps ----------------------------------------------------------------------------


def to_steps(row: Row, step: float) -> Numbers:
    """Value and ends of a row at the nearest multiples of `step`."""
    shown = {c: float(f"{math.floor(float(row[c]) / step + 0.5) * step:.4g}") + 0.0
             for c in ("value", "lower", "upper") if math.isfinite(float(row[c]))}  # fmt: skip
    return no_numbers() | shown | {"level": float(row["level"])}


def move_ends(row: Row, value: float, unit: float, decimals: int, *, least: float = 0.0, most: float = 1.0) -> Numbers:
    """`value` with the interval of the row moved along with it and its ends outwards to multiples of `unit` away."""
    low, high = float(row["lower"]) - float(row["value"]), float(row["upper"]) - float(row["value"])
    if math.isfinite(low) and math.isfinite(high):
        low = max(value + math.floor(low / unit + 1e-9) * unit, least)
        high = min(value + math.ceil(high / unit - 1e-9) * unit, most)
    shown = {"value": value, "lower": low, "upper": high}
    rounded = {c: round(x, decimals) + 0.0 if math.isfinite(x) else math.nan for c, x in shown.items()}
    return no_numbers() | rounded | {"level": float(row["level"])}


def no_numbers() -> Numbers:
    return dict.fromkeys(NUMBERS, math.nan)
