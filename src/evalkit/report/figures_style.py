"""One style for every figure: colour-blind-safe, shape and dash beside colour, direct labels."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from evalkit.core.estimand import NULL_VALUES, UNITS
from evalkit.report.phrases import number, with_interval

# Okabe-Ito hues, darkened until text in them reaches 4.5:1 on white.
INK, MUTED, SHADE, RULE = "#1b1f24", "#565c64", "#eef1f4", "#c9ced6"
TREATED, OTHER, THIRD, FOURTH = "#005a9c", "#a64b00", "#5c5c5c", "#7a3e6e"
_GROUP_STYLES = (
    {"color": TREATED, "marker": "o", "linestyle": "-"},
    {"color": OTHER, "marker": "s", "linestyle": "--"},
    {"color": THIRD, "marker": "^", "linestyle": ":"},
    {"color": FOURTH, "marker": "D", "linestyle": "-."},
)
# How an estimate's role is drawn: shape and filling beside colour.
ROLE_LOOKS = {
    "primary": {"marker": "s", "color": TREATED, "fill": True},
    "sensitivity": {"marker": "o", "color": OTHER, "fill": False},
    "exploratory": {"marker": "D", "color": FOURTH, "fill": False},
    "naive": {"marker": "X", "color": THIRD, "fill": False},
    "descriptive": {"marker": "o", "color": TREATED, "fill": True},
}
WIDTH_INCHES = 7.2
# A picture fills the column: on a screen of 320 px, 10-point text in this width comes out at 7 px.
NARROW_INCHES = 5.4
_TEXT = 9.5
_NULLS = {UNITS[scale]: null for scale, null in NULL_VALUES.items()}
_NICE = ((0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50), (0.02, 0.05, 0.1, 0.2, 0.33, 0.5, 0.7, 1, 1.4, 2, 3, 5, 10),
         (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 1.75, 2), (0.94, 0.97, 1, 1.03, 1.06))  # fmt: skip


def group_style(place: int) -> dict[str, str]:
    """Colour, marker and dash of the group in this place; the treated group comes first."""
    return dict(_GROUP_STYLES[place % len(_GROUP_STYLES)])


def new_figure(height: float, *, rows: int = 1, columns: int = 1, ratios: Sequence[float] | None = None,
               share_y: bool = False, width: float = WIDTH_INCHES) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """A white figure of the common width, outside pyplot's global state; axes as an array (rows, columns)."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=share_y,
                           gridspec_kw={"height_ratios": ratios} if ratios else None)  # fmt: skip
    for ax in axes.ravel():
        tidy(ax)
    return figure, axes


def tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(RULE)
    ax.tick_params(colors=INK, labelsize=_TEXT - 1, length=3, color=RULE)
    ax.grid(axis="y", color=SHADE, linewidth=0.8)
    ax.set_axisbelow(True)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(color=INK, fontsize=_TEXT)


def name_axes(ax: Axes, *, x: str = "", y: str = "", title: str = "", raised: bool = False) -> None:
    """Axis titles; the y title lies across the top left, where it reads without turning the head.

    `raised` leaves room under it for the mark of the start.
    """
    ax.set_xlabel(x, color=INK, fontsize=_TEXT)
    if y:
        ax.text(0, 1.1 if raised else 1.03, y, transform=ax.transAxes, color=MUTED, fontsize=_TEXT - 0.5, va="bottom")
    if title:
        ax.set_title(title, loc="left", color=INK, fontsize=_TEXT + 1, fontweight="bold", pad=20 if y else 6)


def wrap(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width)) or text


def period_date(label: str, *, start_month: int = 4) -> np.datetime64 | None:
    """First day of a period from its label (`2015-04`, `2015/16` or `2015`); None if it has another form."""
    found = re.fullmatch(r"(\d{4})(?:-(\d{2}))?(/\d{2})?", label)
    if not found:
        return None
    month = int(found.group(2) or (start_month if found.group(3) else 1))
    return np.datetime64(f"{found.group(1)}-{month:02d}-01", "D")


def start_place(labels: Sequence[str], adoption: object, *, start_month: int = 4) -> float | None:
    """Where on the axis of `labels` (0, 1, 2 …) the service starts, between two labels; None if outside."""
    if adoption is None:
        return None
    dates = [period_date(label, start_month=start_month) for label in labels]
    if any(d is None for d in dates) or not dates:
        return None
    after = [i for i, d in enumerate(dates) if d >= np.datetime64(adoption, "D")]
    return after[0] - 0.5 if after and after[0] > 0 else None


def mark_start(ax: Axes, place: float | None, text: str) -> None:
    """Shade the time before the start, draw its line and name it."""
    if place is None:
        return
    left, right = ax.get_xlim()
    ax.axvspan(left, place, color=SHADE, zorder=0, linewidth=0)
    ax.axvline(place, color=INK, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)
    ax.set_xlim(left, right)
    high = ax.get_ylim()[1]
    ax.text(place, high, f" {text}", ha="left", va="bottom", fontsize=_TEXT - 1, color=INK)
    ax.text(place, high, "before ", ha="right", va="bottom", fontsize=_TEXT - 1, color=MUTED)


def label_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]], *, height: float) -> None:
    """Direct labels (x, y, text, colour) at the ends of lines, pushed apart so that none overlaps.

    `height` is the height of the axes in inches, from which the least distance follows.
    """
    low, high = ax.get_ylim()
    lines = max((text.count("\n") + 1 for *_, text, _ in ends), default=1)
    gap = (high - low) * 0.19 * lines / max(height, 0.5)
    placed: list[float] = []
    for x, y, text, colour in sorted(ends, key=lambda end: end[1]):
        at = max(y, placed[-1] + gap) if placed else y
        placed.append(at)
        ax.annotate(text, (x, y), xytext=(x + 0.02 * (ax.get_xlim()[1] - ax.get_xlim()[0]), at), textcoords="data",
                    color=colour, fontsize=_TEXT - 0.5, va="center", fontweight="bold",
                    annotation_clip=False)  # fmt: skip


def mark_gaps(ax: Axes, missing: np.ndarray, colour: str, *, lift: float) -> None:
    """Write "not released" under each run of numbers that were withheld."""
    places = np.flatnonzero(missing)
    if not len(places):
        return
    runs = np.split(places, np.flatnonzero(np.diff(places) > 1) + 1)
    for run in runs:
        ax.plot([run[0] - 0.3, run[-1] + 0.3], [lift, lift], transform=ax.get_xaxis_transform(), color=colour,
                linewidth=2, solid_capstyle="butt", clip_on=False)  # fmt: skip
        ax.text(run.mean(), lift + 0.015, "not released", transform=ax.get_xaxis_transform(), color=colour,
                fontsize=_TEXT - 2, ha="center", va="bottom")  # fmt: skip


def by_group(rows: pd.DataFrame, groups: Sequence[str]) -> pd.DataFrame:
    """Values as a table periods x groups in order of appearance; missing where not released."""
    kept = rows[rows["column"].isin(list(groups))]
    order = list(pd.unique(kept["row"]))
    return kept.pivot(index="row", columns="column", values="value").reindex(index=order, columns=list(groups))


def withheld_text(reason: str, *, threshold: int) -> str:
    """What stands in place of a withheld number: the threshold only where the number itself is below it."""
    return f"fewer than {threshold}" if reason.startswith("fewer than") else "not released"


def number_text(value: float) -> str:
    """A number for alt text: three figures at most."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}".replace("-", "−")


def sentences(parts: Sequence[str]) -> str:
    return " ".join(part if part.endswith(".") else f"{part}." for part in parts if part)


# ---- narrow figures: text that is measured, periods as ticks ------------------------------------


def narrow_figure(height: float, *, rows: int = 1, columns: int = 1, ratios: Sequence[float] | None = None,
                  share_y: bool = False) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """A figure that can still be read on a telephone: narrower, with larger tick labels."""
    figure, axes = new_figure(height, rows=rows, columns=columns, ratios=ratios, share_y=share_y, width=NARROW_INCHES)
    for ax in axes.ravel():
        ax.tick_params(labelsize=_TEXT)
    return figure, axes


_RULER_DPI = 150


@cache
def _ruler() -> RendererAgg:
    return RendererAgg(16, 16, _RULER_DPI)


@cache
def text_inches(text: str, size: float, *, weight: str = "normal") -> float:
    """Width of one line of text in inches, as it will be drawn."""
    width, _, _ = _ruler().get_text_width_height_descent(text, FontProperties(size=size, weight=weight), ismath=False)
    return float(width) / _RULER_DPI


def fit(text: str, inches: float, size: float, *, lines: int = 99, weight: str = "normal") -> str:
    """Text broken into lines of at most `inches`; what is beyond `lines` is cut off with an ellipsis."""
    done: list[str] = []
    for word in text.split():
        longer = f"{done[-1]} {word}" if done else word
        if done and text_inches(longer, size, weight=weight) <= inches:
            done[-1] = longer
        else:
            done.append(word)
    if len(done) > lines:
        kept = done[lines - 1]
        while " " in kept and text_inches(f"{kept}…", size, weight=weight) > inches:
            kept = kept.rsplit(" ", 1)[0]
        done = [*done[: lines - 1], f"{kept.rstrip(',;:.')}…"]
    return "\n".join(done)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def period_ticks(ax: Axes, labels: Sequence[str], *, most: int = 7) -> None:
    """Periods on the x axis without turning them; months go by whole years where there are many."""
    monthly = bool(labels) and all(re.fullmatch(r"\d{4}-\d{2}", label) for label in labels)
    longest = max((len(label) for label in labels), default=0)
    most = most if monthly else max(2, min(most, int(44 / max(longest, 1))))
    steps = (1, 2, 4, 8, 12, 16, 24, 48) if monthly else range(1, max(len(labels), 1) + 1)
    step = next((s for s in steps if -(-len(labels) // s) <= most), max(len(labels), 1))
    places = range(0, len(labels), step)
    words = [f"{_MONTHS[int(labels[i][5:]) - 1]}\n{labels[i][:4]}" if monthly else labels[i] for i in places]
    ax.set_xticks(list(places), words)


# ---- effects with intervals ---------------------------------------------------------------------


def null_of(unit: str) -> float:
    """The value of no effect in this unit: 1 for ratios, 0 for all else."""
    return _NULLS.get(unit, 1.0 if unit.startswith("ratio") else 0.0)


def interval_words(value: float, lower: float, upper: float, unit: str) -> str:
    """`0.62 (0.41 to 0.93)`; what has no interval, or one that is open, says so."""
    if not math.isfinite(value):
        return "not available"
    if math.isnan(lower) and math.isnan(upper):
        return f"{number(value, unit)}, no honest interval"
    if math.isfinite(lower) and math.isfinite(upper):
        return with_interval(value, lower, upper, unit)
    if math.isfinite(lower):
        return f"{number(value, unit)} ({number(lower, unit)} or more)"
    if math.isfinite(upper):
        return f"{number(value, unit)} ({number(upper, unit)} or less)"
    return f"{number(value, unit)} (no end on either side)"


def effect_axis(ax: Axes, rows: pd.DataFrame, *, null: float, along: Literal["x", "y"]) -> None:
    """Limits and ticks for effects: a log axis where no effect is 1.

    One interval far wider than the others does not press them together: it runs out of the picture, and
    `draw_interval` ends it in an arrow.
    """
    axis, limit = (ax.xaxis, ax.set_xlim) if along == "x" else (ax.yaxis, ax.set_ylim)
    log = null == 1.0
    if log:
        ax.set_xscale("log") if along == "x" else ax.set_yscale("log")
    values, ends = (rows[c].to_numpy(dtype=float).ravel() for c in (["value"], ["lower", "upper"]))
    values, ends = (_from_null(part, log=log) for part in (values, ends))
    reach = max(1.2 * np.abs(values).max(initial=0), 3 * float(np.median(np.abs(ends))) if len(ends) else 0.0)
    seen = np.clip(np.concatenate([values, ends, [0.0]]), -reach, reach)
    low, high = seen.min(), seen.max()
    if log:
        low, high = min(low, math.log(0.85)), max(high, math.log(1.18))
    pad = 0.07 * (high - low) or 1.0
    low, high = low - pad, high + pad
    if not log:
        limit(low, high)
        axis.set_major_locator(MaxNLocator(5))
        return
    low, high = math.exp(low), math.exp(high)
    limit(low, high)
    chosen = [[t for t in nice if low <= t <= high] for nice in _NICE]
    ticks = next((found for found in chosen if len(found) >= 3), max(chosen, key=len))
    axis.set_ticks(ticks, [f"{t:g}" for t in ticks])
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _from_null(values: np.ndarray, *, log: bool) -> np.ndarray:
    kept = values[np.isfinite(values) & (values > 0)] if log else values[np.isfinite(values)]
    return np.log(kept) if log else kept


def draw_interval(ax: Axes, place: float, ends: tuple[float, float, float], *, along: Literal["x", "y"], color: str,
                  marker: str, fill: bool = True, size: float = 7, width: float = 2) -> None:  # fmt: skip
    """A point with its interval (value, lower, upper); an end that is open or out of the picture is an arrow.

    The limits of the axis must stand already. Without any interval the point stands alone.
    """
    value, lower, upper = ends
    low, high = ax.get_xlim() if along == "x" else ax.get_ylim()
    if not (math.isnan(lower) and math.isnan(upper)):
        open_low, open_high = not lower >= low, not upper <= high
        span = (low if open_low else lower, high if open_high else upper)
        line = (place, place)
        ax.plot(*((span, line) if along == "x" else (line, span)), color=color, linewidth=width, solid_capstyle="butt")
        arrows = ("<", ">") if along == "x" else ("v", "^")
        for is_open, end, arrow in ((open_low, span[0], arrows[0]), (open_high, span[1], arrows[1])):
            if is_open:
                ax.plot(*((end, place) if along == "x" else (place, end)), arrow, color=color, markersize=7,
                        clip_on=False, zorder=3)  # fmt: skip
    if math.isfinite(value):
        ax.plot(*((value, place) if along == "x" else (place, value)), marker, color=color, markersize=size,
                markerfacecolor=color if fill else "white", markeredgewidth=1.5, zorder=4)  # fmt: skip
