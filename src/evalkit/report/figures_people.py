"""Figures of people: the flow of the cohort, and icon arrays."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evalkit.report import figures_style as style
from evalkit.report.phrases import range_ends


def count_text(row: pd.Series, *, threshold: int = 10) -> str:
    """A count in words for a figure."""
    if row["status"] == "suppressed" or not np.isfinite(row["value"]):
        suppressed = row["status"] == "suppressed"
        return style.withheld_text(str(row["reason"]), threshold=threshold) if suppressed else "not known"
    return f"{row['value']:,.0f}"


def plot_flow(rows: pd.DataFrame, *, threshold: int = 10) -> Figure:
    """Who is in and who is out: start, each exclusion with its count, those included, and the groups.

    `rows` is the `attrition` table: rows `start`, `excluded.*`, `included`, `group.*` of column "people".
    """
    rows = rows[rows["column"] == "people"]
    out = rows[rows["row"].str.startswith("excluded.")]
    groups = rows[rows["row"].str.startswith("group.")]
    lines = max(len(out), 1)
    height = 1.9 + 0.52 * lines + (1.0 if len(groups) else 0.0)
    figure, axes = style.new_figure(height)
    ax = axes[0, 0]
    ax.set_axis_off()
    ax.set_xlim(0, 10)
    ax.set_ylim(height, 0)
    first, last = rows[rows["row"] == "start"], rows[rows["row"] == "included"]
    if len(first):
        _box(ax, 2.6, 0.4, 4.6, first.iloc[0], threshold, bold=True)
    y = 0.75
    for _, row in out.iterrows():
        y += 0.52
        _box(ax, 7.4, y, 4.9, row, threshold, height=0.46)
        ax.annotate("", (4.92, y), (2.6, y), arrowprops={"arrowstyle": "-|>", "color": style.MUTED})
    y += 0.75
    ax.annotate("", (2.6, y - 0.3), (2.6, 0.7), arrowprops={"arrowstyle": "-|>", "color": style.INK, "linewidth": 1.4})
    if len(last):
        _box(ax, 2.6, y, 4.6, last.iloc[0], threshold, bold=True)
    for place, (_, row) in enumerate(groups.iterrows()):
        width = min(9.6 / len(groups), 4.6)
        x = 0.3 + width / 2 + place * width if len(groups) > 2 else (2.6, 7.4)[place]
        _box(ax, x, y + 1.0, width - 0.2, row, threshold)
        ax.annotate("", (x, y + 0.7), (2.6, y + 0.3), arrowprops={"arrowstyle": "-|>", "color": style.INK})
    return figure


def _box(ax: Axes, x: float, y: float, width: float, row: pd.Series, threshold: int, *, bold: object = None,
         height: float = 0.6) -> None:  # fmt: skip
    from_left, top = x - width / 2, y - height / 2
    ax.add_patch(_rectangle(from_left, top, width, height, filled=bold is not None))
    text = f"{style.wrap(str(row['label']), int(width * 8.4))}: {count_text(row, threshold=threshold)}"
    ax.text(x, y, text, ha="center", va="center", fontsize=8.5, color=style.INK,
            fontweight="bold" if bold else "normal", linespacing=1.1)  # fmt: skip


def _rectangle(x: float, y: float, width: float, height: float, *, filled: bool):
    from matplotlib.patches import FancyBboxPatch

    return FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", linewidth=1.1,
                          edgecolor=style.INK if filled else style.MUTED,
                          facecolor=style.SHADE if filled else "white")  # fmt: skip


def describe_flow(rows: pd.DataFrame, *, threshold: int = 10) -> str:
    """Alt text of `plot_flow`: every box with its count."""
    rows = rows[rows["column"] == "people"]
    parts = [f"{row['label']}: {count_text(row, threshold=threshold)}" for _, row in rows.iterrows()]
    return style.sentences(["Flow chart of people into the study", *parts])


_SURE_FACE, _BEST_FACE, _TOP_FACE = style.TREATED, style.OTHER, "#f1e2d2"


def plot_risk_icons(*, without: tuple[float, float, float], seen: float, happened: str, not_happened: str,
                    titles: tuple[str, str], base: int = 100) -> Figure:  # fmt: skip
    """Two arrays of `base` figures side by side: without the service (with its range), and with it.

    Parameters
    ----------
    without : risk (0 to 1) estimated without the service: value, low end, high end.
    seen : risk (0 to 1) seen with it.
    happened, not_happened : what a filled and an empty figure mean.
    """
    figure = Figure(figsize=(style.WIDTH_INCHES, 3.9), facecolor="white")
    # Placed by hand: constrained layout leaves no room for the titles of square axes that are switched off.
    panels = [figure.add_axes((left, 0.27, 0.44, 0.63)) for left in (0.03, 0.53)]
    value, low, high = (round(base * x) if math.isfinite(x) else -1 for x in without)
    ranged = low >= 0 and high >= 0
    draw_icons(panels[0], base, low if ranged else value, high if ranged else value, best=value)
    draw_icons(panels[1], base, round(base * seen), round(base * seen))
    for ax, title, text in (
        (panels[0], titles[0], f"about {value:,} out of {base:,}" + (f"\ncould be {low} to {high}" if ranged else "")),
        (panels[1], titles[1], f"about {round(base * seen):,} out of {base:,}\n"),
    ):
        ax.set_title(title, fontsize=11, color=style.INK, fontweight="bold", pad=5)
        ax.text(0.5, -0.02, text, transform=ax.transAxes, ha="center", va="top", fontsize=10.5, color=style.INK)
    draw_icon_key(figure, happened, not_happened, ranged=ranged)
    return figure


def draw_icons(ax: Axes, base: int, sure: int, possible: int, *, best: int | None = None) -> None:
    """Circles up to `sure`, diamonds up to `best`, triangles up to `possible`, small rings for the rest."""
    ax.set_axis_off()
    across = 10 if base <= 100 else 40
    place = np.arange(base)
    x, y = place % across, place // across
    size = 6.6 if base <= 100 else 2.2
    best = sure if best is None else max(best, sure)
    for chosen, marker, face, edge, scale in (
        (place < sure, "o", _SURE_FACE, _SURE_FACE, 1.0),
        ((place >= sure) & (place < best), "D", _BEST_FACE, _BEST_FACE, 0.76),
        ((place >= best) & (place < possible), "^", _TOP_FACE, style.OTHER, 0.9),
        (place >= max(best, possible), "o", "white", style.MUTED, 0.55),
    ):
        ax.plot(x[chosen], y[chosen], marker, markersize=size * scale * 1.6, markerfacecolor=face, markeredgecolor=edge,
                markeredgewidth=1.2, linestyle="none")  # fmt: skip
    ax.set_xlim(-0.8, across - 0.2)
    ax.set_ylim((base - 1) // across + 0.8, -0.8)
    ax.set_aspect("equal")


def draw_icon_key(
    figure: Figure, happened: str, not_happened: str, *, ranged: bool, place: str = "lower center"
) -> None:
    """What each shape means, in words."""
    from matplotlib.lines import Line2D

    looks = [("o", 9, _SURE_FACE, _SURE_FACE, happened)]
    if ranged:
        looks += [("D", 7, _BEST_FACE, _BEST_FACE, "not sure: in our best answer"),
                  ("^", 9, _TOP_FACE, style.OTHER, "not sure: up to the top of the range")]  # fmt: skip
    if not_happened:
        looks.append(("o", 6, "white", style.MUTED, not_happened))
    key = [
        Line2D([], [], marker=marker, markersize=size, linestyle="none", markerfacecolor=face, markeredgecolor=edge,
               label=text)
        for marker, size, face, edge, text in looks
    ]  # fmt: skip
    figure.legend(handles=key, loc=place, ncols=2, frameon=False, fontsize=9.5, labelcolor=style.INK)


def describe_risk_icons(*, without: tuple[float, float, float], seen: float, happened: str, not_happened: str,
                        titles: tuple[str, str], base: int = 100) -> str:  # fmt: skip
    """Alt text of `plot_risk_icons`."""
    value, low, high = (round(base * x) if math.isfinite(x) else -1 for x in without)
    span = f", could be {low} to {high}" if low >= 0 and high >= 0 else ""
    return style.sentences([
        f"Two pictures of {base} people",
        f"{titles[0]}: about {value} {happened}{span}",
        f"{titles[1]}: about {round(base * seen)} {happened}, the rest {not_happened}",
    ])  # fmt: skip


_MOST_IN_A_ROW = 48  # more shapes than this cannot be told apart


def plot_ratio_icons(
    *, ratio: tuple[float, float, float], unit: str, titles: tuple[str, str], base: int = 10
) -> Figure:
    """A row of `base` figures for what was expected, and beneath it a row for what was found, with its range."""
    value, low, high = (round(base * x) if math.isfinite(x) else -1 for x in ratio)
    ranged = low >= 0 and high >= 0
    most = max(base, high if ranged else value)
    figure, axes = style.new_figure(2.4)
    ax = axes[0, 0]
    ax.set_axis_off()
    step = 1 if base == 10 else base / 20
    while most / step > _MOST_IN_A_ROW:
        step *= 2
    size = min(13.0, 260.0 / max(most / step, 1))
    _row(ax, 0, base / step, base / step, base / step, size)
    ends = (low, high) if ranged else (value, value)
    _row(ax, 1.25, ends[0] / step, value / step, ends[1] / step, size)
    ax.text(-0.6, -0.62, f"{titles[0]}: {base} {unit}", fontsize=10.5, color=style.INK, fontweight="bold", va="center")
    span = " (could be {} to {})".format(*range_ends(ratio[1], ratio[2], base)) if ranged else ""
    ax.text(-0.6, 0.63, f"{titles[1]}: about {value} {unit}{span}", fontsize=10.5, color=style.INK, fontweight="bold",
            va="center")  # fmt: skip
    ax.set_xlim(-0.7, max(most / step, 14) + 0.5)
    ax.set_ylim(1.75, -1.0)
    each = f"{unit} (each shape stands for {step:g})" if step != 1 else unit
    draw_icon_key(figure, each, "", ranged=ranged, place="outside lower center")
    return figure


def _row(ax: Axes, y: float, sure: float, best: float, possible: float, size: float) -> None:
    for place in range(math.ceil(max(sure, best, possible))):
        if place < round(sure):
            marker, face, edge, scale = "o", _SURE_FACE, _SURE_FACE, 1.0
        elif place < round(best):
            marker, face, edge, scale = "D", _BEST_FACE, _BEST_FACE, 0.78
        else:
            marker, face, edge, scale = "^", _TOP_FACE, style.OTHER, 0.95
        ax.plot(place, y, marker, markersize=size * scale, markerfacecolor=face, markeredgecolor=edge,
                markeredgewidth=1.2)  # fmt: skip


def describe_ratio_icons(*, ratio: tuple[float, float, float], unit: str, titles: tuple[str, str],
                         base: int = 10) -> str:  # fmt: skip
    """Alt text of `plot_ratio_icons`."""
    value, low, high = (round(base * x) if math.isfinite(x) else -1 for x in ratio)
    ranged = low >= 0 and high >= 0
    span = ", could be {} to {}".format(*range_ends(ratio[1], ratio[2], base)) if ranged else ""
    return style.sentences(
        [f"{titles[0]}: a row of {base} {unit}", f"{titles[1]}: a row of about {value} {unit}{span}"]
    )
