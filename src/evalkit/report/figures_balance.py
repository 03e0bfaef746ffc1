"""Figure of overlap: how the propensity is spread on either side, before and after weighting."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from evalkit.report import figures_style as style

_COLUMNS = (("share", "Before weighting"), ("weighted_share", "After weighting"))


def _bins(rows: pd.DataFrame) -> pd.DataFrame:
    """`side, lower, column, value` of the table `propensity`, whose rows are `<side>|<lower end of the bin>`."""
    ends = rows["row"].str.rsplit("|", n=1, expand=True)
    return rows.assign(side=ends[0], lower=ends[1].astype(float))[["side", "lower", "column", "value"]]


def plot_overlap(rows: pd.DataFrame) -> Figure:
    """Mirrored histograms of the propensity: the treated upwards, the others downwards, before and after weighting.

    Where only one side has bars there is nobody to compare with.
    """
    table = _bins(rows)
    starts = np.sort(table["lower"].unique())
    width = float(np.diff(starts).min()) if len(starts) > 1 else 1.0
    figure, axes = style.narrow_figure(4.6, rows=2, share_y=True)
    top = 100 * float(table["value"].max()) * 1.15 or 1.0
    for ax, (column, title) in zip(axes[:, 0], _COLUMNS, strict=True):
        for place, (side, sign) in enumerate((("treated", 1), ("comparison", -1))):
            bars = table[(table["side"] == side) & (table["column"] == column)].set_index("lower")["value"]
            look = style.group_style(place)
            ax.bar(starts, sign * 100 * bars.reindex(starts).to_numpy(), width, align="edge", color=look["color"],
                   edgecolor="white", linewidth=0.6, hatch="" if sign > 0 else "///")  # fmt: skip
            ax.text(0.99, 0.94 if sign > 0 else 0.06, side, transform=ax.transAxes, ha="right",
                    va="top" if sign > 0 else "bottom", fontsize=9, color=look["color"], fontweight="bold")  # fmt: skip
        ax.axhline(0, color=style.INK, linewidth=1)
        ax.set_xlim(0, 1)
        ax.set_ylim(-top, top)
        ax.set_yticks(ax.get_yticks(), [f"{abs(tick):g}" for tick in ax.get_yticks()])
        ax.set_ylim(-top, top)
        last = ax is axes[-1, 0]
        style.name_axes(ax, x="Probability of being in the treated area" if last else "", title=title)
    figure.supylabel("Share of the side, %", fontsize=9.5, color=style.INK)
    return figure


def describe_overlap(rows: pd.DataFrame) -> str:
    """Alt text of `plot_overlap`: the middle half of either side, and how much the two share, before and after."""
    table = _bins(rows)
    parts = ["Mirrored histograms of the probability of being in the treated area"]
    for column, title in _COLUMNS:
        sides = {
            side: bins.set_index("lower")["value"].sort_index()
            for side, bins in table[table["column"] == column].groupby("side")
        }
        shared = float(np.minimum(*(sides[s].to_numpy() for s in ("treated", "comparison"))).sum())
        middles = [f"{side} mostly from {_quantile(bins, 0.25):.2f} to {_quantile(bins, 0.75):.2f}"
                   for side, bins in sides.items()]  # fmt: skip
        parts.append(f"{title}: {'; '.join(middles)}; the two share {100 * shared:.0f}% of their area")
    return style.sentences(parts)


def _quantile(bins: pd.Series, share: float) -> float:
    return float(bins.index[min(int(np.searchsorted(bins.cumsum().to_numpy(), share)), len(bins) - 1)])
