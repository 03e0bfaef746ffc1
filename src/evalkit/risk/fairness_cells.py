"""Groups as cells of the results tables, with the people and events that the disclosure gate needs on each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evalkit.core.result import Cell
from evalkit.risk.fairness import FOLLOWS_BASE_RATE, FOLLOWS_SIZE, GroupEstimates, GroupGap
from evalkit.risk.fairness_curves import GroupCurve
from evalkit.risk.fairness_threshold import BASE_RATE, THRESHOLD_LABELS, GroupConflict
from evalkit.risk.measures import MEASURE_LABELS

_NAMES = MEASURE_LABELS | THRESHOLD_LABELS


def group_cells(found: GroupEstimates) -> tuple[Cell, ...]:
    """Table `risk_groups`: row "{characteristic}|{level}", columns the measures and `discharges`.

    A refused level has its reason in place of every number, of its discharges too.
    """
    cells = []
    for at, group in enumerate(found.levels):
        row, shown = f"{group.characteristic}|{group.name}", not group.refusal
        cells.append(
            Cell(
                row, "discharges", float(group.n_discharges) if shown else math.nan, "count", n_people=group.n_people,
                n_events=group.n_events, label=group.name, status="shown" if shown else "not_estimable",
                reason=group.refusal,
            )
        )  # fmt: skip
        cells += [_cell(found, at, j) for j in range(len(found.names))]
    return tuple(cells)


def group_threshold_cells(found: GroupEstimates) -> tuple[Cell, ...]:
    """Table `risk_group_threshold`: row "{characteristic}|{level}", columns the rates that a threshold gives.

    The share readmitted is left out: it is in `risk_group_conflict`, and follows from the others.
    """
    columns = [j for j, name in enumerate(found.names) if name != BASE_RATE]
    return tuple(_cell(found, at, j) for at in range(len(found.levels)) for j in columns)


def group_gap_cells(gaps: Sequence[GroupGap]) -> tuple[Cell, ...]:
    """Table `risk_group_gap`: row the characteristic, columns measures, the largest gap with simultaneous ends."""
    return tuple(
        Cell(
            gap.characteristic, gap.measure, gap.value, "statistic", lower=gap.lower, upper=gap.upper, level=gap.level,
            n_people=gap.n_people, n_events=gap.n_events, label=_gap_label(gap),
            status="not_estimable" if gap.reason else "shown", reason=gap.reason,
        )
        for gap in gaps if gap.measure != BASE_RATE
    )  # fmt: skip


def group_equality_cells(gaps: Sequence[GroupGap]) -> tuple[Cell, ...]:
    """Table `risk_group_equality`: row "{characteristic}|{measure}"; columns `if_equal`, the largest gap that chance
    alone would show on average if all levels were alike, and `p_value`, of the test that they are.
    """
    return tuple(
        Cell(
            f"{gap.characteristic}|{gap.measure}", column, value, "statistic", n_people=gap.n_people,
            n_events=gap.n_events, label=_gap_label(gap), status="not_estimable" if gap.reason else "shown",
            reason=gap.reason,
        )
        for gap in gaps
        for column, value in (("if_equal", gap.if_equal), ("p_value", gap.p_value))
    )  # fmt: skip


def group_conflict_cells(conflicts: Sequence[GroupConflict]) -> tuple[Cell, ...]:
    """Table `risk_group_conflict`: row "{characteristic}|{level}"; columns `base_rate`, `fpr_needed`,
    `mean_risk_events`, `mean_risk_others`, `others_needed` (see `GroupConflict`).
    """
    columns = ("base_rate", "fpr_needed", "mean_risk_events", "mean_risk_others", "others_needed")
    cells = []
    for found in conflicts:
        for i, name in enumerate(found.levels):
            for column in columns:
                value = getattr(found, column)[i]
                undefined = math.isnan(value)
                cells.append(
                    Cell(
                        f"{found.characteristic}|{name}", column, value, "statistic", n_people=found.n_people[i],
                        n_events=found.n_events[i], label=name, status="not_estimable" if undefined else "shown",
                        reason=found.reasons[i] or ("Nobody is flagged." if undefined else ""),
                    )
                )  # fmt: skip
    return tuple(cells)


def group_curve_cells(curves: Sequence[GroupCurve]) -> tuple[Cell, ...]:
    """Table `risk_group_curve`: row "{characteristic}|{level}|{place}" from 1, columns `predicted` and `smooth`."""
    cells = []
    for curve in curves:
        row = f"{curve.group.characteristic}|{curve.group.name}"
        counts = {"n_people": curve.group.n_people, "n_events": curve.group.n_events, "label": curve.group.name}
        if curve.reason:
            refused = {"status": "not_estimable", "reason": curve.reason}
            cells += [Cell(f"{row}|1", c, math.nan, "statistic", **counts, **refused) for c in ("predicted", "smooth")]
        for i, at in enumerate(curve.predicted):
            ends = {"lower": float(curve.lower[i]), "upper": float(curve.upper[i]), "level": curve.level}
            cells.append(Cell(f"{row}|{i + 1}", "predicted", float(at), "statistic", **counts))
            cells.append(Cell(f"{row}|{i + 1}", "smooth", float(curve.smooth[i]), "statistic", **ends, **counts))
    return tuple(cells)


def _cell(found: GroupEstimates, at: int, j: int) -> Cell:
    group, reason = found.levels[at], str(found.reasons[at, j])
    return Cell(
        f"{group.characteristic}|{group.name}", found.names[j], float(found.values[at, j]), "statistic",
        lower=float(found.lower[at, j]), upper=float(found.upper[at, j]), level=found.level,
        n_people=float(found.n_people[at, j]), n_events=float(found.n_events[at, j]), label=group.name,
        status="not_estimable" if reason else "shown", reason=reason,
    )  # fmt: skip


def _gap_label(gap: GroupGap) -> str:
    name = _NAMES.get(gap.measure, gap.measure)
    pair = f': "{gap.highest}" against "{gap.lowest}"' if gap.highest else ""
    why = ""
    if gap.measure in FOLLOWS_BASE_RATE:
        why = " (differs also where only the share readmitted does)"
    elif gap.measure in FOLLOWS_SIZE:
        why = " (differs also where only the number of discharges does)"
    return f"Largest gap by {gap.characteristic.replace('_', ' ')} in {name[0].lower()}{name[1:]}{pair}{why}"
