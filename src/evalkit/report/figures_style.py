"""One style for every figure: colour-blind-safe, shape and dash beside colour, direct labels."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe-Ito hues, darkened until text in them reaches 4.5:1 on white.
INK, MUTED, SHADE, RULE = "#1b1f24", "#565c64", "#eef1f4", "#c9ced6"
TREATED, OTHER, THIRD, FOURTH = "#005a9c", "#a64b00", "#5c5c5c", "#7a3e6e"
_GROUP_STYLES = (
    {"color": TREATED, "marker": "o", "linestyle": "-"},
    {"color": OTHER, "marker": "s", "linestyle": "--"},
    {"color": THIRD, "marker": "^", "linestyle": ":"},
    {"color": FOURTH, "marker": "D", "linestyle": "-."},
)
WIDTH_INCHES = 7.2
_TEXT = 9.5


def group_style(place: int) -> dict[str, str]:
    """Colour, marker and dash of the group in this place; the treated group comes first."""
    return dict(_GROUP_STYLES[place % len(_GROUP_STYLES)])


def new_figure(height: float, *, rows: int = 1, columns: int = 1, ratios: Sequence[float] | None = None,
               share_y: bool = False) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """A white figure of the common width, outside pyplot's global state; axes as an array (rows, columns)."""
    figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained", facecolor="white")
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


def thin_ticks(ax: Axes, labels: Sequence[str], *, most: int = 14) -> None:
    """Period labels on the x axis, every n-th where there are many."""
    step = max(1, -(-len(labels) // most))
    places = list(range(0, len(labels), step))
    ax.set_xticks(places, [labels[i] for i in places], rotation=45 if len(places) > 7 else 0,
                  ha="right" if len(places) > 7 else "center", rotation_mode="anchor")  # fmt: skip


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
