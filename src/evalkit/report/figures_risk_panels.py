"""Figures of many small panels: calibration curves of models or groups, and mean risk by each predictor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evalkit.report import figures_style as style
from evalkit.report.figures_risk import BAND, NOTHING, column_of, curve_table, of_100, say_nothing
from evalkit.report.phrases import number

_TEXT = 8.5
_COLUMNS, _PANEL_INCHES = 3, 1.3
Panels = Sequence[tuple[str, pd.DataFrame]]


# ---- calibration curves --------------------------------------------------------------------------


def plot_curve_panels(panels: Panels) -> Figure:
    """A smooth calibration curve with its band a panel, all on one scale; rows as of `risk_curve.<model>`, by name."""
    drawn = [(name, curve_table(rows, "smooth")) for name, rows in panels]
    drawn = [(name, line) for name, line in drawn if len(line)]
    rows = max(1, math.ceil(len(drawn) / _COLUMNS))
    titles = [style.fit(name, 1.5, _TEXT, lines=2) for name, _ in drawn]
    figure, axes = style.narrow_figure(_PANEL_INCHES * rows + 0.7, rows=rows, columns=_COLUMNS)
    places = list(axes.ravel())
    if not drawn:
        say_nothing(places[1])
    ends = [line[["x", "value"]].to_numpy().max() for _, line in drawn]
    top = 100 * 1.15 * max([*ends, 0.0]) or 1.0
    for ax, (_, line), title in zip(places, drawn, titles, strict=False):
        x = 100 * line["x"]
        ax.plot([0, top], [0, top], color=style.MUTED, linewidth=1.0, linestyle=(0, (5, 3)))
        ax.fill_between(x, 100 * line["lower"], 100 * line["upper"], color=style.TREATED, alpha=BAND, lw=0)
        ax.plot(x, 100 * line["value"], color=style.TREATED, linewidth=2)
        ax.set(xlim=(0, top), ylim=(0, top))
        ax.set_title(title, loc="left", fontsize=_TEXT, color=style.INK, pad=3)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(2))
        ax.tick_params(labelsize=_TEXT)
    for ax in places[len(drawn) :]:
        ax.set_axis_off()
    figure.supxlabel("Risk predicted, out of 100 (along) and came back, out of 100 (up)", fontsize=_TEXT + 0.5,
                     color=style.INK)  # fmt: skip
    return figure


def describe_curve_panels(panels: Panels) -> str:
    """Alt text of `plot_curve_panels`: each curve at both ends, and whether its band leaves the line."""
    said = []
    for name, rows in panels:
        line = curve_table(rows, "smooth")
        if len(line):
            low, high = line.iloc[0], line.iloc[-1]
            side = "above" if (line["lower"] > line["x"]).any() else ""
            side += (" and " if side else "") + "below" if (line["upper"] < line["x"]).any() else ""
            beside = f"the band goes {side} the line" if side else "the band holds the line"
            said.append(f"{name}: {of_100(low['value'])} at {of_100(low['x'])}, {of_100(high['value'])} at "
                        f"{of_100(high['x'])}, {beside}")  # fmt: skip
    lead = "Calibration curves, a panel each: how many of 100 came back, against the risk that was predicted"
    return style.sentences([lead, *(said or [NOTHING])])


# ---- dependence on predictors --------------------------------------------------------------------


def value_words(predictor: str, value: str) -> str:
    """A value of a predictor in its own unit: `8` days of a `log_stay_days` of 2.2, which is log(1 + days)."""
    if predictor.startswith("log_"):
        return f"{math.expm1(float(value)):,.0f}" if _is_number(value) else value.replace("_", " ")
    return {"True": "yes", "False": "no"}.get(value, value.replace("_", " "))


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("-", "", 1).isdigit()


def dependence_table(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Risks with their ends and shares of discharges, by value of the predictor in words."""
    risk, share = column_of(rows, "risk"), column_of(rows, "share")["value"]
    names = [value_words(*str(row).split("|", 1)) for row in risk.index]
    share = share.reindex(risk.index)
    risk.index = share.index = pd.Index(names, dtype=object)
    return risk, share


def plot_dependence_panels(panels: Panels) -> Figure:
    """Mean risk were everybody to have each value of a predictor, and beneath how many discharges are near it.

    Rows of `risk_dependence`, those of one predictor a panel, by the predictor in words; risks are on one scale.
    """
    pairs = max(1, math.ceil(len(panels) / 2))
    figure, axes = style.narrow_figure(2.5 * pairs + 0.2, rows=2 * pairs, columns=2, ratios=(3, 1.1) * pairs)
    tables = [(name, *dependence_table(rows)) for name, rows in panels]
    ends = [x for _, risk, _ in tables for x in risk[["value", "upper"]].to_numpy().ravel() if math.isfinite(x)]
    top = 115 * max(ends, default=1.0)
    if not tables:
        say_nothing(axes[0, 0])
    for place in range(0 if tables else 1, 2 * pairs):
        ax, beneath = axes[2 * (place // 2), place % 2], axes[2 * (place // 2) + 1, place % 2]
        if place < len(tables):
            _dependence_panel(ax, beneath, *tables[place], top=top)
        else:
            ax.set_axis_off()
            beneath.set_axis_off()
    return figure


def _dependence_panel(ax: Axes, beneath: Axes, name: str, risk: pd.DataFrame, share: pd.Series, *, top: float) -> None:
    ax.set_title(style.fit(name, 2.4, _TEXT + 0.5, lines=2), loc="left", fontsize=_TEXT + 0.5, color=style.INK, pad=3)
    if not risk["value"].notna().any():
        say_nothing(ax)
        beneath.set_axis_off()
        return
    places = np.arange(len(risk))
    ax.fill_between(places, 100 * risk["lower"], 100 * risk["upper"], color=style.TREATED, alpha=BAND, lw=0)
    ax.plot(places, 100 * risk["value"], "o-", color=style.TREATED, linewidth=2, markersize=5)
    beneath.bar(places, 100 * share.fillna(0.0), color="white", edgecolor=style.OTHER, hatch="///", width=0.7)
    ax.set_ylim(0, top)
    for one in (ax, beneath):
        one.set_xlim(-0.6, len(risk) - 0.4)
        one.yaxis.set_major_locator(MaxNLocator(3 if one is ax else 1))
    ax.set_xticks([])
    widest = max(style.text_inches(text, 9.5) for text in risk.index) + 0.12
    step = max(1, math.ceil(len(risk) * widest / 2.1))
    shown = range(0, len(risk), step)
    beneath.set_xticks(list(shown), [style.fit(risk.index[i], 2.0, 9.5, lines=1) for i in shown])


def describe_dependence_panels(panels: Panels) -> str:
    """Alt text of `plot_dependence_panels`: the risk and the share of discharges at every value shown."""
    parts = ["Mean risk of 100 by each predictor, a panel each, with hatched bars of how many discharges are near"]
    for predictor, rows in panels:
        risk, share = dependence_table(rows)
        said = []
        for name, r, near in zip(risk.index, risk.itertuples(), share, strict=True):
            if math.isfinite(r.value):
                beside = f" ({number(100 * near)} of 100 near)" if math.isfinite(near) else ""
                said.append(f"{name} {number(100 * r.value)}{beside}")
        parts.append(f"{predictor}: {', '.join(said)}" if said else f"{predictor}: {NOTHING[:1].lower()}{NOTHING[1:]}")
    return style.sentences([*parts, *([] if panels else [NOTHING])])
