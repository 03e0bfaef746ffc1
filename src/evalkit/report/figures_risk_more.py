"""Figures of what a risk model stands on: sample used, instability, drift over years, and what predictors do."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from evalkit.report import figures_style as style
from evalkit.report.figures_risk import (
    BAND,
    NOTHING,
    Line,
    column_of,
    describe_forest_of,
    of_100,
    plot_forest_of,
    say_nothing,
)
from evalkit.report.phrases import starts_with_capital, with_interval

_TEXT = 9.0
_MEASURES = (("auroc", "AUROC", math.nan), ("calibration_slope", "Calibration slope", 1.0),
             ("observed_expected", "Observed / expected", 1.0))  # fmt: skip


def _panels(rows: pd.DataFrame) -> list[tuple[str, str, float, pd.DataFrame]]:
    found = [(c, title, null, column_of(rows, c)) for c, title, null in _MEASURES]
    return [p for p in found if p[3]["value"].notna().any()]


def _mark_null(ax: Axes, null: float) -> None:
    if math.isfinite(null):
        ax.axhline(null, color=style.INK, linewidth=1.2, linestyle=(0, (5, 3)))


# ---- learning ------------------------------------------------------------------------------------


def _learning(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with how many discharges each was developed on as their name, where that is released."""
    counts = column_of(rows, "discharges")["value"]
    at = rows["row"].astype(str).map(counts)
    return rows.assign(row=[f"{n:,.0f}" for n in at])[at.notna()]


def plot_learning(rows: pd.DataFrame) -> Figure:
    """Measures by the number of discharges that one model was developed on; rows of `risk_learning` of that model."""
    kept = _learning(rows)
    return _plot_path(kept[kept["column"] != "discharges"], x="Discharges used to develop it")


def describe_learning(rows: pd.DataFrame) -> str:
    """Alt text of `plot_learning`: each measure with the fewest and with most discharges."""
    kept = _learning(rows)
    return _describe_path(kept[kept["column"] != "discharges"], "Performance by discharges used to develop the model",
                          "with {} discharges")  # fmt: skip


# ---- drift ---------------------------------------------------------------------------------------


def plot_drift(rows: pd.DataFrame) -> Figure:
    """Measures by year of discharge; rows of `risk_drift`."""
    return _plot_path(rows, x="Year of discharge")


def describe_drift(rows: pd.DataFrame) -> str:
    """Alt text of `plot_drift`: each measure in the first and last year shown."""
    return _describe_path(rows, "Performance by year of discharge", "in {}")


def _plot_path(rows: pd.DataFrame, *, x: str) -> Figure:
    panels = _panels(rows)
    figure, axes = style.narrow_figure(max(1.75 * len(panels) + 0.6, 1.6), rows=max(len(panels), 1))
    if not panels:
        say_nothing(axes[0, 0])
    order = list(dict.fromkeys(rows["row"].astype(str)))
    places = np.arange(len(order))
    for ax, (_, title, null, table) in zip(axes[:, 0], panels, strict=False):
        _mark_null(ax, null)
        own = table.reindex(order)
        ax.vlines(places, own["lower"], own["upper"], color=style.TREATED, linewidth=2)
        ax.plot(places, own["value"], "o-", color=style.TREATED, linewidth=1.2, markersize=6)
        ax.set_xlim(-0.5, len(order) - 0.5)
        style.period_ticks(ax, order)
        _widen(ax, 0.1 if title == "AUROC" else 0.4)
        ax.yaxis.set_major_locator(MaxNLocator(4))
        style.mark_gaps(ax, own["value"].isna().to_numpy(), style.MUTED, lift=0.04)
        style.name_axes(ax, x=x if ax is axes[-1, 0] else "", y=title)
    return figure


def _widen(ax: Axes, least: float) -> None:
    """At least so much of the axis in sight, so that a small change does not fill the picture."""
    low, high = ax.get_ylim()
    more = max(least - (high - low), 0.0) / 2
    ax.set_ylim(low - more, high + more)


def _describe_path(rows: pd.DataFrame, lead: str, at: str) -> str:
    parts = [lead]
    for _, title, _, table in _panels(rows):
        shown = table[table["value"].notna()]
        ends = [shown.iloc[0], shown.iloc[-1]] if len(shown) > 1 else [shown.iloc[0]]
        said = [f"{with_interval(*r[['value', 'lower', 'upper']])} {at.format(r.name)}" for r in ends]
        hidden = len(table) - len(shown)
        parts.append(f"{title}: {' and '.join(said)}" + (f"; {hidden} not released" if hidden else ""))
    return style.sentences([*parts, *([] if len(parts) > 1 else [NOTHING])])


# ---- instability ---------------------------------------------------------------------------------


def _instability(rows: pd.DataFrame) -> pd.DataFrame:
    """`risk`, `low`, `high` by risk; rows of `risk_instability_curve`."""
    table = pd.DataFrame({c: column_of(rows, c)["value"] for c in ("risk", "low", "high")})
    return table.dropna().sort_values("risk")


def plot_instability(rows: pd.DataFrame) -> Figure:
    """How far a person's risk would move had other people of the same kind been used to develop the model."""
    table = 100 * _instability(rows)
    figure, axes = style.narrow_figure(3.9)
    ax = axes[0, 0]
    if table.empty:
        say_nothing(ax)
        return figure
    top = float(table.to_numpy().max()) * 1.05
    ax.plot([0, top], [0, top], color=style.MUTED, linewidth=1.2, linestyle=(0, (5, 3)))
    ax.fill_between(table["risk"], table["low"], table["high"], color=style.TREATED, alpha=BAND, lw=0)
    ax.plot(table["risk"], table["low"], "v", color=style.TREATED, markersize=6)
    ax.plot(table["risk"], table["high"], "^", color=style.TREATED, markersize=6)
    ax.set(xlim=(0, top), ylim=(0, top))
    style.name_axes(ax, x="Risk by the model, out of 100", y="Risk by models of other samples, out of 100")
    handles = [Line2D([], [], color=style.MUTED, linestyle=(0, (5, 3))), Patch(color=style.TREATED, alpha=BAND),
               Line2D([], [], color=style.TREATED, marker="v", linestyle="none"),
               Line2D([], [], color=style.TREATED, marker="^", linestyle="none")]  # fmt: skip
    figure.legend(handles, ["The same risk", "Range of models", "Low end", "High end"], loc="outside lower left",
                  ncols=2, frameon=False, fontsize=_TEXT)  # fmt: skip
    return figure


def describe_instability(rows: pd.DataFrame) -> str:
    """Alt text of `plot_instability`: the range of risks at each quantile shown."""
    table = _instability(rows)
    said = [f"Where the model says {of_100(r.risk)} of 100, they say {of_100(r.low)} to {of_100(r.high)}"
            for r in table.itertuples()]  # fmt: skip
    return style.sentences(["What models of other samples of the same kind would say", *(said or [NOTHING])])


# ---- predictors ----------------------------------------------------------------------------------


def importance_lines(rows: pd.DataFrame) -> list[Line]:
    """Predictors by how much AUROC falls when one is shuffled, the largest first; rows of one model."""
    labels = rows.drop_duplicates("row").set_index("row")["label"].astype(str)
    table = column_of(rows, "auroc_drop").sort_values("value", ascending=False, kind="stable")
    names = [labels[row] if labels[row] != row else str(row).split("|")[-1] for row in table.index]
    return [Line("", starts_with_capital(name.replace("_", " ")), tuple(ends))
            for name, ends in zip(names, table.to_numpy(), strict=True)]  # fmt: skip


_DROP = "Fall in AUROC when the predictor is shuffled"


def plot_importance(rows: pd.DataFrame) -> Figure:
    """What the model loses when one predictor is shuffled among discharges; rows of `risk_importance` of one model."""
    return plot_forest_of(importance_lines(rows), x=_DROP, null=0.0)


def describe_importance(rows: pd.DataFrame) -> str:
    """Alt text of `plot_importance`."""
    return describe_forest_of(importance_lines(rows), x=_DROP, null=0.0)
