"""Figures that set designs or outcomes one above the other: the forest of all designs, and displacement."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evalkit.report import figures_style as style
from evalkit.report.phrases import starts_with_capital
from evalkit.report.plain import referee_reason

_SIZE, _SMALL = 10.0, 9.0
_LINE, _PICTURE, _GAP = 0.175, 0.21, 0.12  # inches: a line of text, an interval, the space between rows
_ACROSS = 5.15  # inches that the axes of a stacked figure span
_ROLES = ("primary", "sensitivity", "exploratory", "descriptive", "naive")
_TITLES = {"ratio": "Rate ratio (1 is no difference; log scale)",
           "ratio per period": "Ratio of slopes, per period (1 is no difference; log scale)",
           "units of the outcome": "Difference (0 is none)",
           "units of the outcome per period": "Difference in slope, per period (0 is none)",
           "GBP per person-quarter": "Difference in cost, £ per person and quarter (0 is none)"}  # fmt: skip


# ---- rows whose name stands above their picture --------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """One row: its name over the left, its number over the right; beneath them words, a picture, or both."""

    name: str
    number: str
    words: str
    picture: bool
    strong: bool

    @property
    def height(self) -> float:
        words = _LINE * (self.words.count("\n") + 1) if self.words else 0.0
        return _LINE * (self.name.count("\n") + 1) + words + _PICTURE * self.picture + _GAP


def _block(name: str, *, picture: bool, number: str = "", words: str = "", strong: bool = False) -> _Block:
    weight = "bold" if strong else "normal"
    room = _ACROSS - 0.1 - (style.text_inches(number, _SIZE, weight=weight) + 0.2 if number else 0)
    words = style.fit(words, _ACROSS - 0.3, _SMALL, lines=3)
    return _Block(style.fit(name, room, _SIZE, weight=weight), number, words, picture, strong)


def _stack(ax: Axes, blocks: Sequence[_Block]) -> list[float]:
    """Write the rows, one inch of height an inch of the y axis; the places of their pictures."""
    top, places = 0.0, []
    for block in blocks:
        if block.strong:
            ax.axhspan(top + 0.02, top + block.height - 0.02, color=style.SHADE, zorder=0, linewidth=0)
        paper = {"facecolor": style.SHADE if block.strong else "white", "edgecolor": "none", "pad": 0.8}
        look = {
            "transform": ax.get_yaxis_transform(),
            "va": "center",
            "fontsize": _SIZE,
            "color": style.INK,
            "fontweight": "bold" if block.strong else "normal",
            "bbox": paper,
            "zorder": 5,
            "in_layout": False,
        }  # fmt: skip - what is written on the axes must not make them narrower
        lines = block.name.count("\n") + 1
        under = top + _GAP / 2 + _LINE * lines
        ax.text(0.01, under - _LINE * lines / 2, block.name, ha="left", linespacing=1.15, **look)
        if block.number:
            ax.text(0.99, top + _GAP / 2 + _LINE / 2, block.number, ha="right", **look)
        if block.words:
            middle = under + _LINE * (block.words.count("\n") + 1) / 2
            ax.text(0.03, middle, block.words, ha="left", linespacing=1.1,
                    **(look | {"fontsize": _SMALL, "color": style.MUTED, "fontweight": "normal"}))  # fmt: skip
        top += block.height
        places.append(top - _GAP / 2 - _PICTURE / 2)
    ax.set_ylim(max(top, 0.2), 0)
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
    return places


def _stacked_figure(panels: Sequence[Sequence[_Block]]) -> tuple[Figure, Sequence[Axes]]:
    heights = [sum(block.height for block in blocks) for blocks in panels] or [0.5]
    ratios = [h + 0.55 for h in heights]
    figure, axes = style.narrow_figure(sum(ratios) + 0.1, rows=len(heights), ratios=heights)
    return figure, axes[:, 0]


# ---- all designs for one outcome ----------------------------------------------------------------


def plot_designs(rows: pd.DataFrame, *, titles: Mapping[str, str] | None = None) -> Figure:
    """Forest of every design for one outcome, the primary on top; one panel a unit, ratios on a log axis.

    A design without an interval shows its point alone and says so; one that was refused keeps its row, with the
    reason in place of the number.

    Parameters
    ----------
    rows : table `designs.<outcome>` as `Results.from_estimates` makes it (`role`, `label`, `unit`, `value`,
        `lower`, `upper`, `level`, `status`, `reason`).
    titles : unit -> title of its panel, where the outcome's own words are better than the common ones.
    """
    panels = _design_panels(rows)
    common = _common_level(rows)
    figure, axes = _stacked_figure([[_design_block(row, common) for row in part.itertuples()] for _, part in panels])
    for ax, (unit, part) in zip(axes, panels, strict=False):
        null = style.null_of(unit)
        style.effect_axis(ax, part[part["status"] == "shown"], null=null, along="x")
        ax.axvline(null, color=style.INK, linewidth=1, zorder=1)
        places = _stack(ax, [_design_block(row, common) for row in part.itertuples()])
        for place, row in zip(places, part.itertuples(), strict=True):
            if row.status == "shown" and np.isfinite(row.value):
                look = style.ROLE_LOOKS[row.role]
                style.draw_interval(ax, place, (row.value, row.lower, row.upper), along="x", color=look["color"],
                                    marker=look["marker"], fill=look["fill"])  # fmt: skip
        style.name_axes(ax, x=unit_title(unit, titles))
    return figure


def unit_title(unit: str, titles: Mapping[str, str] | None) -> str:
    return (titles or {}).get(unit, _TITLES.get(unit, starts_with_capital(unit)))


def _design_panels(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Rows by unit, the primary's unit first; within each by role, else in the order given."""
    rank = rows["role"].map({role: place for place, role in enumerate(_ROLES)}).fillna(len(_ROLES))
    ordered = rows.assign(_rank=rank).sort_values("_rank", kind="stable").drop(columns="_rank")
    return [(str(unit), ordered[ordered["unit"] == unit]) for unit in pd.unique(ordered["unit"])]


def _common_level(rows: pd.DataFrame) -> float:
    levels = rows.loc[rows["lower"].notna() | rows["upper"].notna(), "level"].dropna().round(3)
    return float(levels.mode().iloc[0]) if len(levels) else math.nan


def _design_name(row: object) -> str:
    name = starts_with_capital(str(row.label).replace("_", " "))
    if row.role == "primary":
        return f"Primary: {name[:1].lower() + name[1:] if name[1:2].islower() else name}"
    if row.role == "naive" and "not evidence" not in name:
        return f"{name}: not evidence of effect"
    return name


def _design_number(row: object, common: float) -> str:
    words = style.interval_words(row.value, row.lower, row.upper, row.unit)
    other = math.isfinite(row.level) and abs(row.level - common) > 0.002 and "(" in words
    return f"{words}, {100 * row.level:.1f}% level" if other else words


def short_reason(row: object) -> str:
    """Why there is no number, in one sentence."""
    if row.status == "suppressed":
        return "Not released"
    words = {"refused": "Refused", "not_estimable": "Not estimable"}.get(row.status, "Not available")
    # What comes before the first colon names the place or the option, which the row's own name says better.
    reason = re.sub(r"""^[\w ="',]{1,60}: """, "", referee_reason(str(row.reason)))
    reason = re.split(r"\.\s", reason, maxsplit=1)[0].rstrip(".")
    return f"{words}: {reason[:1].lower() + reason[1:] if reason[1:2].islower() else reason}" if reason else words


def _design_block(row: object, common: float) -> _Block:
    if row.status == "shown" and np.isfinite(row.value):
        number = _design_number(row, common)
        return _block(_design_name(row), picture=True, number=number, strong=row.role == "primary")
    return _block(_design_name(row), picture=False, words=short_reason(row), strong=row.role == "primary")


def describe_designs(rows: pd.DataFrame, *, titles: Mapping[str, str] | None = None) -> str:
    """Alt text of `plot_designs`: every design with its estimate and interval, or why it has none."""
    parts, common = [], _common_level(rows)
    shown = rows[(rows["status"] == "shown") & rows["value"].notna()]
    head = f"Forest plot of {len(rows)} design{'s' if len(rows) != 1 else ''} for one outcome"
    if math.isfinite(common):
        head += f", intervals at {100 * common:.1f}% unless said otherwise"
    for unit, part in _design_panels(rows):
        parts.append(unit_title(unit, titles))
        for row in part.itertuples():
            told = row.status == "shown" and np.isfinite(row.value)
            parts.append(f"{_design_name(row)}: {_design_number(row, common) if told else short_reason(row)}")
    return style.sentences([head, f"{len(shown)} of them with a number" if len(shown) < len(rows) else "", *parts])


# ---- displacement -------------------------------------------------------------------------------


def _size(value: float) -> str:
    return f"{abs(value):,.0f}" if abs(value) >= 9.95 else f"{abs(value):.1f}"


def _way(value: float) -> str:
    return "fewer" if value < 0 else "more"


def _change_words(row: object) -> str:
    """`31 fewer entries a year (12 to 50 fewer)`."""
    if not np.isfinite(row.value):
        return short_reason(row).split(":")[0].lower()
    text = f"{_size(row.value)} {_way(row.value)} {row.unit}".rstrip()
    if not (math.isfinite(row.lower) or math.isfinite(row.upper)):
        return f"{text}, no honest interval" if math.isnan(row.lower) and math.isnan(row.upper) else f"{text} (no ends)"
    ends = [f"{_size(x)} {_way(x)}" if math.isfinite(x) else f"no {name} end"
            for x, name in ((row.lower, "lower"), (row.upper, "upper"))]  # fmt: skip
    if math.isfinite(row.lower + row.upper) and row.lower * row.upper > 0:
        near, far = sorted((abs(row.lower), abs(row.upper)))
        return f"{text} ({_size(near)} to {_size(far)} {_way(row.value)})"
    return f"{text} ({ends[0]} to {ends[1]})"


def _change_panels(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Days apart from events, for one axis cannot hold both; the first row's kind first."""
    rows = rows[rows["column"] == "change"]
    days = rows["unit"].str.startswith("days")
    parts = [rows[days], rows[~days]] if len(days) and days.iloc[0] else [rows[~days], rows[days]]
    return [part for part in parts if len(part)]


def _change_block(row: object, first: str) -> _Block:
    name = starts_with_capital(str(row.label or row.row).replace("_", " "))
    words = starts_with_capital(_change_words(row))
    return _block(name, picture=bool(np.isfinite(row.value)), words=words, strong=row.row == first)


def plot_displacement(rows: pd.DataFrame) -> Figure:
    """What changed in the outcome itself, and in those where use may have moved, in numbers a year.

    `rows` is the table `displacement.<outcome>`: `row` an outcome's key (its name in `label`), column "change" with
    `value`, `lower`, `upper` = how many a year more (or, below nought, fewer) than expected; the outcome itself
    first. `unit` ("entries a year", "days a year") is said with each number; days have an axis of their own.
    """
    panels = _change_panels(rows)
    first = str(rows["row"].iloc[0]) if len(rows) else ""
    stacked = [[_change_block(row, first) for row in part.itertuples()] for part in panels]
    figure, axes = _stacked_figure(stacked)
    for ax, part, blocks in zip(axes, panels, stacked, strict=False):
        style.effect_axis(ax, part, null=0.0, along="x")
        ax.axvline(0, color=style.INK, linewidth=1, zorder=1)
        for place, row in zip(_stack(ax, blocks), part.itertuples(), strict=True):
            if np.isfinite(row.value):
                _change_bar(ax, place, row)
        days = str(part["unit"].iloc[0]).startswith("days")
        style.name_axes(ax, x=f"{'Days' if days else 'Number'} a year: fewer than expected | more than expected")
    return figure


def _change_bar(ax: Axes, place: float, row: object) -> None:
    fewer = row.value < 0
    low, high = ax.get_xlim()
    ax.barh(place, min(max(row.value, low), high), height=0.15, color=style.TREATED if fewer else "white",
            edgecolor=style.TREATED if fewer else style.OTHER, hatch="" if fewer else "//////", zorder=2)  # fmt: skip
    style.draw_interval(ax, place, (math.nan, row.lower, row.upper), along="x", color=style.INK, marker="|", width=1.6)


def describe_displacement(rows: pd.DataFrame) -> str:
    """Alt text of `plot_displacement`: each outcome's change a year."""
    kept = rows[rows["column"] == "change"]
    parts = ["Bars of how many more or fewer a year than expected, the outcome itself first, then where use may move"]
    for row in kept.itertuples():
        parts.append(f"{starts_with_capital(str(row.label or row.row).replace('_', ' '))}: {_change_words(row)}")
    return style.sentences(parts)
