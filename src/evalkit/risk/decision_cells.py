"""Decision curves and thresholds as cells of the results tables, with the counts that the gate needs."""

from __future__ import annotations

import math

from evalkit.core.result import Cell
from evalkit.risk.decision import ALL, DecisionCurve
from evalkit.risk.model import MODEL_LABELS
from evalkit.risk.threshold_table import QUANTITIES, ThresholdTable

_BENEFIT = {"net_benefit": "net benefit a discharge", "avoided_per_100": "of 100 discharges"}
_UNDEFINED = {
    "net_benefit": "Nobody who is flagged is followed to the horizon.",
    "avoided_per_100": "It is not defined at this threshold.",
}
_UNITS = dict.fromkeys(QUANTITIES, "of 100") | {"alarms_per_found": "false alarms for each found"}


def net_benefit_cells(curve: DecisionCurve) -> tuple[Cell, ...]:
    """Tables `risk_net_benefit` and `risk_net_benefit_competing`: row "{model}|{threshold:g}" or "all|{threshold:g}",
    columns `net_benefit` and `avoided_per_100`. No interval where fewer than 10 people are flagged."""
    cells = []
    for row in curve.frame.to_dict("records"):
        strategy, at = row["strategy"], f"{row['threshold']:g}"
        name = "Everybody" if strategy == ALL else MODEL_LABELS.get(strategy, strategy.replace("_", " "))
        for column, unit in _BENEFIT.items():
            missing = math.isnan(row[column])
            cells.append(
                Cell(
                    f"{strategy}|{at}", column, row[column], "statistic", unit=unit, lower=row[f"{column}_lower"],
                    upper=row[f"{column}_upper"], level=curve.level, n_people=curve.n_people, n_events=curve.n_events,
                    label=f"{name}, threshold {at}", status="not_estimable" if missing else "shown",
                    reason=_UNDEFINED[column] if missing else "",
                )
            )  # fmt: skip
    return tuple(cells)


def threshold_cells(table: ThresholdTable) -> tuple[Cell, ...]:
    """Table `risk_threshold`: row "risk|{threshold:g}" or "share|{share:g}", columns of `QUANTITIES`.

    What is said of the flagged has the flagged people and their events behind it, the rest everybody's.
    """
    cells = []
    for row in table.frame.to_dict("records"):
        key, words = f"{row['rule']}|{row['value']:g}", _describe(row)
        of_flagged = {"n_people": row["flagged_people"], "n_events": row["flagged_events"]}
        everybody = {"n_people": table.n_people, "n_events": table.n_events}
        for column in QUANTITIES:
            missing = math.isnan(row[column])
            behind = everybody if column in ("flagged_per_100", "found_of_100") else of_flagged
            cells.append(
                Cell(
                    key, column, row[column], "statistic", unit=_UNITS[column], lower=row[f"{column}_lower"],
                    upper=row[f"{column}_upper"], level=table.level, label=words, **behind,
                    status="not_estimable" if missing else "shown", reason=row["reason"] if missing else "",
                )
            )  # fmt: skip
    return tuple(cells)


def _describe(row: dict[str, object]) -> str:
    at = row["value"]
    return f"Risk of {at:g} or more" if row["rule"] == "risk" else f"The {100 * at:g}% at highest risk"
