"""Figures over time: trends, costs beside what was expected, event studies, readmission curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, StrMethodFormatter

from evalkit.report import figures_style as style


def trend_groups(rows: pd.DataFrame) -> list[str]:
    """Groups that a trend table draws, in order: its rate and mean columns without counts and counterfactuals."""
    kept = rows[rows["kind"].isin(["rate", "mean"]) & ~rows["column"].str.endswith(" counterfactual")]
    return list(pd.unique(kept["column"]))


def plot_trend(
    rows: pd.DataFrame, *, groups: Sequence[str], y_label: str, adoption: object = None,
    start_text: str = "service starts", start_month: int = 4,
) -> Figure:  # fmt: skip
    """Rates by period, one line a group; numbers that were not released are gaps that say so.

    Parameters
    ----------
    rows : table in the columns of the results glossary; `row` is the period, `column` the group.
    groups : columns to draw, the treated one first.
    adoption : date on which the service started; None draws no mark.
    """
    table = style.by_group(rows, groups)
    figure, axes = style.new_figure(3.5)
    ax = axes[0, 0]
    labels = [str(label) for label in table.index]
    ends = []
    for place, group in enumerate(groups):
        values = table[group].to_numpy(dtype=float)
        look = style.group_style(place)
        ax.plot(np.arange(len(values)), values, linewidth=2 if place == 0 else 1.6, markersize=4.5, **look)
        shown = np.flatnonzero(np.isfinite(values))
        if len(shown):
            ends.append((float(shown[-1]), float(values[shown[-1]]), group, look["color"]))
    _frame_of_time(ax, table.to_numpy(dtype=float), len(labels))
    style.name_axes(ax, y=y_label, raised=True)
    for place, group in enumerate(groups):
        missing = rows[rows["column"] == group].set_index("row")["status"].reindex(table.index) == "suppressed"
        style.mark_gaps(ax, missing.to_numpy(), style.group_style(place)["color"], lift=0.01 + 0.07 * place)
    _mark(ax, labels, adoption, start_text, start_month)
    style.period_ticks(ax, labels)
    style.label_ends(ax, ends, height=2.6)
    return figure


def describe_trend(rows: pd.DataFrame, *, groups: Sequence[str], y_label: str, adoption: object = None,
                   start_month: int = 4) -> str:  # fmt: skip
    """Alt text of `plot_trend`: each group's mean before and after the start, its first and its last number."""
    table = style.by_group(rows, groups)
    labels = [str(label) for label in table.index]
    place = style.start_place(labels, adoption, start_month=start_month)
    parts = [f"Line chart of {y_label[:1].lower()}{y_label[1:]}, by period from {labels[0]} to {labels[-1]}"]
    for group in groups:
        values = table[group].to_numpy(dtype=float)
        shown = values[np.isfinite(values)]
        hidden = int((~np.isfinite(values)).sum())
        if not len(shown):
            parts.append(f"{group}: no number is released")
            continue
        ends = [f"first {style.number_text(shown[0])}", f"last {style.number_text(shown[-1])}"]
        text = f"{group}: " + (", ".join(ends) if len(shown) > 1 else f"{style.number_text(shown[0])} in one period")
        if place is not None:
            early, late = (v[np.isfinite(v)] for v in (values[: int(place + 0.5)], values[int(place + 0.5) :]))
            if len(early) and len(late):
                text += f"; mean of the periods before the start {style.number_text(early.mean())}"
                text += f" and after it {style.number_text(late.mean())}"
        if hidden:
            text += f"; {hidden} period{'s' if hidden > 1 else ''} not released"
        parts.append(text)
    return style.sentences(parts)


def _frame_of_time(ax: Axes, values: np.ndarray, periods: int) -> None:
    ax.set_xlim(-0.6, periods - 0.4)
    top = np.nanmax(values) if np.isfinite(values).any() else 1.0
    ax.set_ylim(0, (top or 1.0) * 1.12)
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _mark(ax: Axes, labels: Sequence[str], adoption: object, text: str, start_month: int) -> None:
    style.mark_start(ax, style.start_place(labels, adoption, start_month=start_month), text)


def plot_cost_trend(
    rows: pd.DataFrame, *, groups: Sequence[str], y_label: str = "Pounds per person and quarter",
    adoption: object = None, start_text: str = "service starts", start_month: int = 4,
) -> Figure:  # fmt: skip
    """Like `plot_trend`, with what the treated group would have cost without the service as a dashed line."""
    figure = plot_trend(rows, groups=groups, y_label=y_label, adoption=adoption, start_text=start_text,
                        start_month=start_month)  # fmt: skip
    expected = rows[rows["column"] == f"{groups[0]} counterfactual"].set_index("row")["value"]
    if expected.notna().any():
        ax = figure.axes[0]
        order = list(style.by_group(rows, groups).index)
        values = expected.reindex(order).to_numpy(dtype=float)
        ax.plot(np.arange(len(order)), values, color=style.FOURTH, linewidth=1.8, linestyle=(0, (2, 1.5)),
                marker="D", markersize=3.5)  # fmt: skip
        ax.set_ylim(0, max(ax.get_ylim()[1], np.nanmax(values) * 1.12))
        known = np.flatnonzero(np.isfinite(values))
        middle = int(known[len(known) // 2])
        ax.annotate(f"{groups[0]} without the service", (middle, values[middle]), xytext=(0, 12),
                    textcoords="offset points", color=style.FOURTH, fontsize=8.5, ha="left",
                    fontweight="bold")  # fmt: skip
    return figure


def describe_cost_trend(rows: pd.DataFrame, *, groups: Sequence[str],
                        y_label: str = "Pounds per person and quarter", adoption: object = None,
                        start_month: int = 4) -> str:  # fmt: skip
    """Alt text of `plot_cost_trend`."""
    text = describe_trend(rows, groups=groups, y_label=y_label, adoption=adoption, start_month=start_month)
    expected = rows[rows["column"] == f"{groups[0]} counterfactual"]["value"].dropna()
    if expected.empty:
        return text
    return f"{text} What was expected of {groups[0]} without the service: mean {style.number_text(expected.mean())}."


def plot_event_study(rows: pd.DataFrame, *, y_label: str = "Rate ratio (1 is no difference)") -> Figure:
    """Effects by year from the start with their intervals, on a log scale.

    `rows` holds one row a year offset (`row`), with `value`, `lower`, `upper` as rate ratios.
    """
    kept = rows[rows["column"] == "effect"]
    x = kept["row"].astype(float).to_numpy()
    value, low, high = (kept[c].to_numpy(dtype=float) for c in ("value", "lower", "upper"))
    figure, axes = style.new_figure(3.3)
    ax = axes[0, 0]
    ok = np.isfinite(value) & (value > 0)
    ranged = ok & np.isfinite(low) & np.isfinite(high) & (low > 0)
    ax.set_yscale("log")
    ax.axhline(1, color=style.INK, linewidth=1)
    before = x < 0
    for part, colour, marker in ((before, style.THIRD, "s"), (~before, style.TREATED, "o")):
        both = ranged & part
        ax.vlines(x[both], low[both], high[both], color=colour, linewidth=2)
        ax.plot(x[ok & part], value[ok & part], marker, color=colour, markersize=7)
    if len(x):
        ax.set_xlim(x.min() - 0.6, x.max() + 0.6)
        ax.set_xticks(x, [f"{int(v):+d}".replace("-", "−") if v else "0" for v in x])
    ratio_ticks(ax, np.concatenate([low[ranged], high[ranged], value[ok], [0.8, 1.25]]))
    for year in x[~ok]:
        ax.text(year, 0.03, "not\nreleased", transform=ax.get_xaxis_transform(), ha="center", va="bottom", fontsize=8,
                color=style.MUTED)  # fmt: skip
    style.name_axes(ax, x="Years from the start of the service", y=y_label, raised=True)
    style.mark_start(ax, -0.5 if before.any() else None, "service starts")
    return figure


def describe_event_study(rows: pd.DataFrame, *, y_label: str = "rate ratio") -> str:
    """Alt text of `plot_event_study`: each year's estimate and interval."""
    parts = [f"Points with intervals: {y_label[:1].lower()}{y_label[1:]} by year from the start"]
    for row in rows[rows["column"] == "effect"].itertuples():
        parts.append(
            f"Year {row.row}: {style.number_text(row.value)} ({style.number_text(row.lower)} to "
            f"{style.number_text(row.upper)})" if np.isfinite(row.value) else f"Year {row.row}: not released"
        )  # fmt: skip
    return style.sentences(parts)


def ratio_ticks(ax: Axes, values: np.ndarray) -> None:
    """Plain numbers on a log axis, from 1, 2, 5 and their like."""
    nice = np.array([0.05, 0.1, 0.2, 0.33, 0.5, 0.7, 1, 1.4, 2, 3, 5, 10, 20])
    low, high = np.nanmin(values) * 0.93, np.nanmax(values) * 1.08
    ticks = nice[(nice >= low) & (nice <= high)]
    ax.set_ylim(low, high)
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())


def curve_points(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `readmission_curve` with their row label split: group, period, day (int), value, lower, upper."""
    kept = rows[rows["column"] == "risk"]
    parts = kept["row"].str.rsplit("|", n=2, expand=True)
    points = kept.assign(group=parts[0], period=parts[1], day=parts[2].astype(int))
    return points[["group", "period", "day", "value", "lower", "upper", "status"]]


def plot_curve(rows: pd.DataFrame, *, groups: Sequence[str]) -> Figure:
    """Cumulative incidence of readmission by day after discharge, one panel a group, before beside after."""
    points = curve_points(rows)
    figure, axes = style.new_figure(3.4, columns=max(len(groups), 1), share_y=True)
    top = 100 * float(np.nanmax(points[["value", "upper"]].to_numpy())) if points["value"].notna().any() else 10.0
    for ax, group in zip(axes[0], groups, strict=False):
        ends = []
        for place, period in enumerate(("after", "before")):
            line = points[(points["group"] == group) & (points["period"] == period)].sort_values("day")
            line = line[line["value"].notna()]
            if line.empty:
                continue
            look = style.group_style(0 if place == 0 else 2)
            ax.step(line["day"], 100 * line["value"], where="post", color=look["color"], linewidth=2,
                    linestyle=look["linestyle"])  # fmt: skip
            ax.fill_between(line["day"], 100 * line["lower"], 100 * line["upper"], step="post", color=look["color"],
                            alpha=0.13, linewidth=0)  # fmt: skip
            ends.append((float(line["day"].iloc[-1]), float(100 * line["value"].iloc[-1]), period, look["color"]))
        ax.set_ylim(0, top * 1.1)
        ax.set_xlim(0, max(float(points["day"].max()), 1.0) * 1.17)
        ax.set_xticks([d for d in (0, 30, 90, 180, 270, 365) if d <= points["day"].max()])
        style.name_axes(ax, x="Days after leaving hospital", y="Readmitted, out of 100" if ax is axes[0, 0] else "",
                        title=group)  # fmt: skip
        style.label_ends(ax, ends, height=2.4)
    return figure


def describe_curve(rows: pd.DataFrame, *, groups: Sequence[str]) -> str:
    """Alt text of `plot_curve`: the last point of each curve."""
    points = curve_points(rows)
    parts = ["Curves of the share of people readmitted, by day after discharge, death counted as a competing event"]
    for group in groups:
        for period in ("before", "after"):
            line = points[(points["group"] == group) & (points["period"] == period)].dropna(subset=["value"])
            if line.empty:
                parts.append(f"{group}, {period}: not released")
                continue
            last = line.sort_values("day").iloc[-1]
            parts.append(f"{group}, {period}: {100 * last['value']:.0f} out of 100 by day {last['day']}")
    return style.sentences(parts)
