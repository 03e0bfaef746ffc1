"""Figures of effects and of the checks on them: forest, placebo, balance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from evalkit.core.outcomes import CostOutcome, RateOutcome, ReadmissionOutcome
from evalkit.report import figures_style as style
from evalkit.report.phrases import starts_with_capital, with_interval

_ROLE_WORDS = {"primary": "", "sensitivity": "sensitivity", "exploratory": "exploratory",
               "naive": "before and after only: not evidence of effect"}  # fmt: skip
_PLANNED = tuple(
    name
    for outcome in (ReadmissionOutcome, RateOutcome, CostOutcome)
    for name in get_args(outcome.model_fields["estimator"].annotation)
)
_PANELS = (
    ("risk (0 to 1)", "Difference in risk", 0.0),
    ("ratio", "Rate ratio (log scale)", 1.0),
    ("GBP per person-quarter", "Difference in cost, £ per person and quarter", 0.0),
)


def plot_forest(rows: pd.DataFrame, *, labels: Mapping[str, str]) -> Figure:
    """Every estimate with its interval; one panel a scale, ratios on a log axis.

    Parameters
    ----------
    rows : rows of `effects` (`outcome`, `role`, `label`, `unit`, `value`, `lower`, `upper`, `status`), in order.
    labels : outcome key -> name in words.
    """
    panels = [(unit, title, null) for unit, title, null in _PANELS if (rows["unit"] == unit).any()]
    counts = [int((rows["unit"] == unit).sum()) for unit, *_ in panels]
    # A panel needs room for its title and axis beside its rows; an inch and a half suits two rows.
    heights = [0.38 * n + 0.75 for n in counts]
    figure, axes = style.new_figure(max(sum(heights), 1.6), rows=max(len(panels), 1), ratios=heights or None)
    for ax, (unit, title, null) in zip(axes[:, 0], panels, strict=False):
        _forest_panel(ax, rows[rows["unit"] == unit], labels, title=title, null=null)
    return figure


def _forest_panel(ax: Axes, rows: pd.DataFrame, labels: Mapping[str, str], *, title: str, null: float) -> None:
    if null == 1.0:
        ax.set_xscale("log")
    ax.axvline(null, color=style.INK, linewidth=1)
    names = []
    for place, row in enumerate(rows.itertuples()):
        names.append(_forest_name(row, labels))
        look = style.ROLE_LOOKS[row.role]
        if np.isfinite(row.value):
            if np.isfinite(row.lower) and np.isfinite(row.upper):
                ax.hlines(place, row.lower, row.upper, color=look["color"], linewidth=2)
            ax.plot(row.value, place, look["marker"], color=look["color"], markersize=7,
                    markerfacecolor=look["color"] if look["fill"] else "white", markeredgewidth=1.5)  # fmt: skip
        text = with_interval(row.value, row.lower, row.upper, row.unit) if np.isfinite(row.value) else (
            "not released" if row.status == "suppressed" else "not estimable")  # fmt: skip
        ax.text(1.02, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=8, color=style.INK)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
    _limits(ax, rows, null)
    style.name_axes(ax, title=title)


def _forest_name(row: object, labels: Mapping[str, str]) -> str:
    role = _ROLE_WORDS[row.role]
    if row.role == "sensitivity":
        # An outcome that is itself a sensitivity outcome is shown by its planned estimator.
        role = "" if row.estimator in _PLANNED else row.label[:1].lower() + row.label[1:].replace("_", " ")
    name = labels.get(row.outcome, row.outcome)
    return style.wrap(f"{name} ({role})" if role else name, 44)


def _limits(ax: Axes, rows: pd.DataFrame, null: float) -> None:
    ends = rows[["value", "lower", "upper"]].to_numpy(dtype=float)
    ends = np.append(ends[np.isfinite(ends)], null)
    if null == 1.0:
        low, high = max(ends[ends > 0].min(), 0.02) * 0.85, ends.max() * 1.15
        low, high = min(low, 0.7), max(high, 1.4)
        ax.set_xlim(low, high)
        nice = np.array([0.02, 0.05, 0.1, 0.2, 0.33, 0.5, 0.7, 1, 1.4, 2, 3, 5, 10, 20])
        ticks = nice[(nice >= low) & (nice <= high)]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        spread = max(ends.max() - ends.min(), 1e-6)
        ax.set_xlim(ends.min() - 0.08 * spread, ends.max() + 0.08 * spread)
        ax.xaxis.set_major_locator(MaxNLocator(5))


def describe_forest(rows: pd.DataFrame, *, labels: Mapping[str, str]) -> str:
    """Alt text of `plot_forest`: every estimate, its interval and its role."""
    parts = ["Forest plot of estimates with intervals"]
    for row in rows.itertuples():
        name = _forest_name(row, labels).replace("\n", " ")
        if np.isfinite(row.value):
            parts.append(f"{name}: {with_interval(row.value, row.lower, row.upper, row.unit)}")
        else:
            parts.append(f"{name}: {'not released' if row.status == 'suppressed' else 'not estimable'}")
    return style.sentences(parts)


def plot_placebo(rows: pd.DataFrame, *, treated: Sequence[str], column: str = "studentised") -> Figure:
    """The effect "found" in every area had it been the treated one; the treated areas are marked.

    `column` is `effect` (log rate ratio) or `studentised` (divided by its standard error).
    """
    kept = _placebo(rows, column)
    figure, axes = style.new_figure(0.16 * len(kept) + 1.0)
    ax = axes[0, 0]
    ax.axvline(0, color=style.INK, linewidth=1)
    for place, (area, value) in enumerate(kept.items()):
        real = area in treated
        ax.hlines(place, 0, value, color=style.TREATED if real else style.RULE, linewidth=3 if real else 2)
        ax.plot(value, place, "o" if real else "s", color=style.TREATED if real else style.THIRD,
                markersize=8 if real else 4)  # fmt: skip
    ax.set_yticks(range(len(kept)), list(kept.index), fontsize=7.5)
    for label, area in zip(ax.get_yticklabels(), kept.index, strict=True):
        label.set(color=style.TREATED if area in treated else style.INK,
                  fontweight="bold" if area in treated else "normal")  # fmt: skip
    ax.grid(visible=False)
    ax.set_ylim(-0.8, len(kept) - 0.2)
    style.name_axes(ax, x={"studentised": "Studentised effect", "effect": "Log rate ratio"}[column])
    return figure


def _placebo(rows: pd.DataFrame, column: str) -> pd.Series:
    kept = rows[(rows["column"] == column) & rows["value"].notna()]
    return kept.set_index("row")["value"].sort_values(kind="stable")


def describe_placebo(rows: pd.DataFrame, *, treated: Sequence[str], column: str = "studentised") -> str:
    """Alt text of `plot_placebo`: where the treated areas rank by size."""
    kept = _placebo(rows, column)
    size = kept.abs().sort_values(ascending=False, kind="stable")
    parts = [f"Effects had each of {len(kept)} areas been the treated one, from {style.number_text(kept.min())} to "
             f"{style.number_text(kept.max())}"]  # fmt: skip
    for area in treated:
        if area in kept.index:
            rank = list(size.index).index(area) + 1
            parts.append(f"{area}: {style.number_text(kept[area])}, number {rank} of {len(kept)} by size")
    return style.sentences(parts)


def plot_balance(rows: pd.DataFrame, *, limit: float = 0.1) -> Figure:
    """Standardised mean differences before and after weighting ("love plot"); `limit` is marked."""
    table = rows.pivot(index="row", columns="column", values="value").reindex(pd.unique(rows["row"]))
    names = rows.drop_duplicates("row").set_index("row")["label"]
    figure, axes = style.new_figure(0.27 * len(table) + 1.1)
    ax = axes[0, 0]
    ax.axvspan(-limit, limit, color=style.SHADE, zorder=0)
    ax.axvline(0, color=style.INK, linewidth=1)
    places = np.arange(len(table))
    ax.plot(table["unweighted"], places, "o", color=style.OTHER, markerfacecolor="white", markersize=6,
            markeredgewidth=1.5, label="unweighted")  # fmt: skip
    ax.plot(table["weighted"], places, "s", color=style.TREATED, markersize=6, label="weighted")
    ax.set_yticks(
        places,
        [style.wrap(starts_with_capital(str(names[row])).replace("Imd", "Deprivation"), 40) for row in table.index],
    )
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.grid(visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize=8.5, borderaxespad=0)
    style.name_axes(ax, x=f"Standardised mean difference (shaded: within {limit:g})")
    return figure


def describe_balance(rows: pd.DataFrame, *, limit: float = 0.1) -> str:
    """Alt text of `plot_balance`: how many covariates are out of balance before and after."""
    parts = []
    for column in ("unweighted", "weighted"):
        values = rows[rows["column"] == column]["value"].abs().dropna()
        if len(values):
            parts.append(f"{column.capitalize()}: largest standardised difference {style.number_text(values.max())}, "
                         f"{int((values > limit).sum())} of {len(values)} beyond {limit:g}")  # fmt: skip
    return style.sentences(["Balance of covariates between groups", *parts])
