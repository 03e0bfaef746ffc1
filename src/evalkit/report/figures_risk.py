"""Figures of risk models: calibration, decision curves, what pointing at people does, and forests of measures.

All are narrow, so that they can be read on a telephone; shapes and dashes say what colours say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from evalkit.report import figures_style as style
from evalkit.report.figures_people import draw_icon_key, draw_icons
from evalkit.report.phrases import listed, number, with_interval

BAND = 0.22
_ENDS = ("value", "lower", "upper")
_TEXT = 9.0
_ROW_INCHES = 0.42
NOTHING = "Nothing is released here"
NO_NUMBER = "no number"  # withheld or not estimable: the table says which
Ends = tuple[float, float, float]


def column_of(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """`value`, `lower` and `upper` of one column, indexed by row in the order of the table."""
    own = rows[rows["column"] == column].drop_duplicates("row")
    return own.set_index(own["row"].astype(str))[list(_ENDS)].astype(float)


def say_nothing(ax: Axes) -> None:
    """What a picture without any number shows."""
    ax.text(0.5, 0.5, NOTHING, transform=ax.transAxes, ha="center", va="center", fontsize=_TEXT + 1, color=style.INK)
    ax.set_xticks([])
    ax.set_yticks([])


def of_100(value: float) -> str:
    return f"{100 * value:.0f}" if math.isfinite(value) else "not released"


# ---- calibration ---------------------------------------------------------------------------------


def plot_calibration_curve(curve: pd.DataFrame, tenths: pd.DataFrame) -> Figure:
    """Seen against predicted risk: a smooth curve with its band, groups with intervals, and where the risks lie.

    Parameters
    ----------
    curve : rows of `risk_curve.<model>` (columns predicted, smooth); may be empty.
    tenths : rows of `calibration.<model>` (columns predicted, observed); may be empty.
    """
    line, points = curve_table(curve, "smooth"), curve_table(tenths, "observed")
    figure, axes = style.narrow_figure(5.2, rows=2, ratios=(5, 0.7))
    ax, strip = axes[:, 0]
    seen = np.concatenate([t[["x", "value", "upper"]].to_numpy().ravel() for t in (line, points)])
    if not np.isfinite(seen).any():
        say_nothing(ax)
        strip.set_axis_off()
        return figure
    top = 100 * float(np.nanmax(seen)) * 1.06
    ax.plot([0, top], [0, top], color=style.MUTED, linewidth=1.2, linestyle=(0, (5, 3)))
    ax.fill_between(100 * line["x"], 100 * line["lower"], 100 * line["upper"], color=style.TREATED, alpha=BAND, lw=0)
    ax.plot(100 * line["x"], 100 * line["value"], color=style.TREATED, linewidth=2)
    ax.vlines(100 * points["x"], 100 * points["lower"], 100 * points["upper"], color=style.OTHER, linewidth=1.4)
    ax.plot(100 * points["x"], 100 * points["value"], "s", color=style.OTHER, markersize=5)
    ax.set(xlim=(0, top), ylim=(0, top))
    style.name_axes(ax, y="Came back, out of 100")
    strip.plot(100 * points["x"], np.zeros(len(points)), "|", color=style.INK, markersize=16, markeredgewidth=2)
    strip.set(xlim=(0, top), ylim=(-1, 1), yticks=[])
    strip.grid(visible=False)
    strip.spines["left"].set_visible(False)
    style.name_axes(strip, x="Risk predicted, out of 100")
    handles = [Line2D([], [], color=style.MUTED, linewidth=1.2, linestyle=(0, (5, 3)))]
    names = ["As predicted"]
    if len(line):
        handles += [Line2D([], [], color=style.TREATED, linewidth=2), Patch(color=style.TREATED, alpha=BAND)]
        names += ["Smooth curve", "Range of the curve"]
    if len(points):
        handles += [
            Line2D([], [], color=style.OTHER, marker="s", linestyle="-"),
            Line2D([], [], color=style.INK, marker="|", markersize=11, linestyle="none", markeredgewidth=2),
        ]
        names += ["Groups with range", "Mean risk of each group"]
    figure.legend(handles, names, loc="outside lower left", ncols=2, frameon=False, fontsize=_TEXT)
    return figure  # fmt: skip


def curve_table(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """`x` (predicted risk), `value`, `lower`, `upper`, by `x`; what is not released is left out."""
    table = column_of(rows, column)
    table.insert(0, "x", column_of(rows, "predicted")["value"].reindex(table.index))
    return table.dropna(subset=["x", "value"]).sort_values("x")


def describe_calibration_curve(curve: pd.DataFrame, tenths: pd.DataFrame) -> str:
    """Alt text of `plot_calibration_curve`: the lowest and highest tenth, and the curve at its middle and ends."""
    line, points = curve_table(curve, "smooth"), curve_table(tenths, "observed")
    parts = ["Calibration: how many of 100 came back, against the risk that was predicted"]
    if len(points):
        low, high = points.iloc[0], points.iloc[-1]
        parts.append(f"Lowest group shown: predicted {of_100(low['x'])}, came back {of_100(low['value'])}. Highest: "
                     f"predicted {of_100(high['x'])}, came back {of_100(high['value'])}")  # fmt: skip
    if len(line):
        places = line.iloc[[0, len(line) // 2, -1]]
        told = [f"{of_100(r.value)} ({of_100(r.lower)} to {of_100(r.upper)}) at {of_100(r.x)}"
                for r in places.itertuples()]  # fmt: skip
        parts.append(f"The smooth curve runs through {listed(told)}")
        parts.append(_beside_line(line))
    return style.sentences([*parts, *([] if len(line) or len(points) else [NOTHING])])


def _beside_line(line: pd.DataFrame) -> str:
    above, below = (line["lower"] > line["x"]).mean(), (line["upper"] < line["x"]).mean()
    if above == below == 0:
        return "Its band holds the line of perfect prediction everywhere"
    both = ((above, "more came back than predicted"), (below, "fewer came back than predicted"))
    sides = [f"{words} on {100 * share:.0f}% of its points" for share, words in both if share > 0]
    return f"Its band leaves the line of perfect prediction: {listed(sides)}"


# ---- decision curves -----------------------------------------------------------------------------


def decision_table(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """Net benefit of one model (or `all`) with its ends, by threshold, ascending; NaN where not released."""
    table = column_of(rows, "net_benefit")
    kept = [str(i) for i in table.index if str(i).rpartition("|")[0] == model]
    table = table.loc[kept]
    table.index = pd.Index([float(i.rpartition("|")[2]) for i in kept], dtype=float)
    return table.sort_index()


def plot_decision_curve(rows: pd.DataFrame, *, models: Mapping[str, str]) -> Figure:
    """Net benefit by threshold: each model, acting for everybody, and acting for nobody.

    The first of `models` (key: name in words) has its interval as a band.
    """
    figure, axes = style.narrow_figure(4.4)
    ax = axes[0, 0]
    every = decision_table(rows, "all")
    tables = {m: decision_table(rows, m) for m in models}
    at = sorted({*every.index, *(t for table in tables.values() for t in table.index)})
    if not any(table["value"].notna().any() for table in (*tables.values(), every)):
        say_nothing(ax)
        return figure
    places = np.arange(len(at))
    handles, names = [], []
    for k, (model, table) in enumerate(tables.items()):
        table = 100 * table.reindex(at)
        look = style.group_style(k)
        ax.plot(places, table["value"], color=look["color"], linestyle=look["linestyle"], marker=look["marker"], lw=2)
        handles.append(Line2D([], [], lw=2, **look))
        names.append(models[model])
        if k == 0:
            ax.fill_between(places, table["lower"], table["upper"], color=look["color"], alpha=BAND, lw=0)
            style.mark_gaps(ax, table["value"].isna().to_numpy(), style.MUTED, lift=0.02)
    ax.plot(places, 100 * every.reindex(at)["value"], color=style.MUTED, linestyle=(0, (1, 1.5)), linewidth=2.2)
    ax.axhline(0, color=style.INK, linewidth=1.2)
    handles += [Line2D([], [], color=style.MUTED, linestyle=(0, (1, 1.5)), linewidth=2.2),
                Line2D([], [], color=style.INK, linewidth=1.2)]  # fmt: skip
    ax.set_xticks(places, [f"{100 * t:g}" for t in at])
    # Acting for everybody falls far below nought at high thresholds: how far is in the table.
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -0.6 * max(high, 1.0)), high)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    style.name_axes(ax, x="Threshold: act from this risk on, out of 100", y="Net benefit, of 100 discharges")
    figure.legend(handles, [*names, "Act for everybody", "Act for nobody"], loc="outside lower left", ncols=2,
                  frameon=False, fontsize=_TEXT)  # fmt: skip
    return figure


def describe_decision_curve(rows: pd.DataFrame, *, models: Mapping[str, str]) -> str:
    """Alt text of `plot_decision_curve`: every model at every threshold, beside acting for everybody."""
    every = 100 * decision_table(rows, "all")
    parts = ["Decision curve: net benefit of 100 discharges by threshold, where acting for nobody is 0"]
    for model, words in models.items():
        table = 100 * decision_table(rows, model)
        said = []
        for t, r in table.iterrows():
            other = every["value"].get(t, math.nan)
            beside = f", everybody {number(other)}" if math.isfinite(other) else ""
            text = with_interval(r["value"], r["lower"], r["upper"]) if math.isfinite(r["value"]) else "not released"
            said.append(f"{100 * t:g}: {text}{beside}")
        parts += [f"{words}, at a threshold of {'; '.join(said)}"] if said else []
    return style.sentences([*parts, *([] if len(parts) > 1 else [NOTHING])])


# ---- what pointing at people does ------------------------------------------------------------------


def plot_threshold_icons(*, right: Ends, found: Ends) -> Figure:
    """Two arrays of 100: of those pointed at, who came back; of those who came back, who was found.

    Both as shares (0 to 1): value, low end, high end; NaN ends where there is no range.
    """
    figure = Figure(figsize=(style.NARROW_INCHES, 4.1), facecolor="white")
    panels = [figure.add_axes((left, 0.33, 0.42, 0.5)) for left in (0.04, 0.54)]
    titles = ("Of 100 people\nit points at", "Of 100 people\nwho came back")
    said = ("{} came back", "it found {}")
    ranged = all(math.isfinite(x) for ends in (right, found) for x in ends)
    for ax, ends, title, words in zip(panels, (right, found), titles, said, strict=True):
        value, low, high = (round(100 * x) if math.isfinite(x) else -1 for x in ends)
        draw_icons(ax, 100, low if ranged else value, high if ranged else value, best=value)
        ax.set_title(title, fontsize=11, color=style.INK, fontweight="bold", pad=4)
        text = words.format(f"about {value}") + (f"\ncould be {low} to {high}" if ranged else "")
        ax.text(0.5, -0.03, text, transform=ax.transAxes, ha="center", va="top", fontsize=10.5, color=style.INK)
    draw_icon_key(figure, "yes", "no", ranged=ranged)
    return figure


def describe_threshold_icons(*, right: Ends, found: Ends) -> str:
    """Alt text of `plot_threshold_icons`."""
    parts = ["Two pictures of 100 people"]
    for ends, lead, rest in ((right, "Of 100 people it points at, about {} came back", "the rest did not"),
                             (found, "Of 100 people who came back, it found about {}",
                              "it missed the rest")):  # fmt: skip
        value, low, high = (round(100 * x) if math.isfinite(x) else -1 for x in ends)
        span = f", could be {low} to {high}" if low >= 0 and high >= 0 else ""
        parts.append(f"{lead.format(value)}{span}; {rest}")
    return style.sentences(parts)


# ---- forests ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line of a forest: `family` is what it stands under; `look` 0 a plain one, 1 a pooled one, 2 an interval."""

    family: str
    name: str
    ends: Ends
    look: int = 0


_LOOKS = (("o", style.TREATED), ("D", style.OTHER), ("", style.THIRD))


def plot_forest_of(lines: Sequence[Line], *, x: str, null: float | None = None, whole: float = math.nan) -> Figure:
    """Measures with intervals, one under another, under the names of their families.

    `null` is drawn as a full line; `whole` (the measure in everybody) as a dashed one.
    """
    heads = list(dict.fromkeys(line.family for line in lines))
    named = [h for h in heads if h]
    figure, axes = style.narrow_figure(_ROW_INCHES * (len(lines) + 0.8 * len(named)) + 1.3)
    ax = axes[0, 0]
    ends = np.array([x for line in lines for x in line.ends] + [whole, math.nan if null is None else null], dtype=float)
    if not np.isfinite([x for line in lines for x in line.ends]).any():
        say_nothing(ax)
        return figure
    low, high = np.nanmin(ends[np.isfinite(ends)]), np.nanmax(ends[np.isfinite(ends)])
    pad = 0.06 * (high - low) or 0.05
    ax.set_xlim(low - pad, high + pad)
    if null is not None:
        ax.axvline(null, color=style.INK, linewidth=1.2)
    if math.isfinite(whole):
        ax.axvline(whole, color=style.MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    place = 0.0
    for head in heads:
        if head:
            ax.text(0, place, head, transform=ax.get_yaxis_transform(), fontsize=_TEXT + 0.5, fontweight="bold",
                    color=style.INK, va="center", bbox=_UNDER)  # fmt: skip
            place += 0.8
        for line in (one for one in lines if one.family == head):
            _forest_line(ax, line, place)
            place += 1
    ax.set_ylim(place - 0.3, -0.6)
    ax.set_yticks([])
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    style.name_axes(ax, x=style.fit(x, 4.8, 9.5))
    return figure


_UNDER = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}


def _forest_line(ax: Axes, line: Line, place: float) -> None:
    """Name and number above, the interval beneath them."""
    marker, color = _LOOKS[line.look]
    text = with_interval(*line.ends) if math.isfinite(line.ends[0]) else NO_NUMBER
    if line.look == 2 and math.isfinite(line.ends[1]):
        text = f"{number(line.ends[1])} to {number(line.ends[2])}"
    style.draw_interval(ax, place + 0.3, line.ends if marker else (math.nan, *line.ends[1:]), along="x", color=color,
                        marker=marker or "o", fill=line.look == 0)  # fmt: skip
    shared = {"transform": ax.get_yaxis_transform(), "fontsize": _TEXT, "color": style.INK, "va": "center",
              "bbox": _UNDER}  # fmt: skip
    room = 4.9 - style.text_inches(text, _TEXT)
    ax.text(0, place - 0.12, style.fit(line.name, room, _TEXT, lines=1), ha="left", **shared)
    ax.text(1, place - 0.12, text, ha="right", **shared)


def describe_forest_of(lines: Sequence[Line], *, x: str, null: float | None = None, whole: float = math.nan) -> str:
    """Alt text of `plot_forest_of`: every line with its interval."""
    parts = [f"Forest plot of {x[:1].lower() if x[1:2].islower() else x[:1]}{x[1:]}"]
    if null is not None:
        parts.append(f"A full line marks {null:g}")
    if math.isfinite(whole):
        parts.append(f"A dashed line marks {number(whole)}, the value in everybody")
    for line in lines:
        name = f"{line.family}, {line.name}" if line.family else line.name
        known = math.isfinite(line.ends[0])
        parts.append(f"{name}: {with_interval(*line.ends) if known else NO_NUMBER}")
    return style.sentences(parts)
