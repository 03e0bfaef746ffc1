"""Figures of what an effect stands on: weights, one area left out, honest bounds, starts that never were."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from evalkit.report import figures_style as style
from evalkit.report.figures_designs import short_reason, unit_title
from evalkit.report.phrases import number, starts_with_capital

_SIZE, _SMALL = 10.0, 9.0


# ---- weights ------------------------------------------------------------------------------------

_LEAST_WEIGHT = 0.01


def _weights(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Areas x designs, heaviest first, of the areas that any design gives weight; and how many are left out."""
    table = style.by_group(rows, list(pd.unique(rows["column"])))
    heavy = table.abs().max(axis=1) > _LEAST_WEIGHT
    withheld = rows[rows["status"] == "suppressed"]["row"]
    kept = table[heavy | table.index.isin(withheld)]
    order = kept.abs().sum(axis=1).sort_values(ascending=False, kind="stable").index
    return kept.loc[order], len(table) - len(kept)


def plot_weights(rows: pd.DataFrame) -> Figure:
    """Which areas the treated one is compared with: weights above 0.01, the designs side by side.

    `rows` is the table `weights.<outcome>`: `row` the area, `column` the design, `value` its weight.
    """
    table, left_out = _weights(rows)
    designs = list(table.columns)
    across = min(len(designs), 3) or 1
    down = -(-len(designs) // across) or 1
    names = [style.fit(str(area), 1.35, _SMALL) for area in table.index]
    height = 0.21 * len(names) + 0.13 * sum(name.count("\n") for name in names)
    figure, axes = style.narrow_figure(down * (max(height, 0.3) + 0.75) + 0.35, rows=down, columns=across, share_y=True)
    top, low = float(table.max(axis=None, skipna=True)), float(table.min(axis=None, skipna=True))
    top, low = (top if top > 0 else 0.1), min(low, 0.0)
    for place, ax in enumerate(axes.ravel()):
        if place >= len(designs):
            ax.set_axis_off()
            continue
        _weight_panel(ax, table[designs[place]], rows, top=top, low=low)
        title = style.fit(starts_with_capital(str(designs[place]).replace("_", " ")), 3.7 / across - 0.1, _SIZE,
                          weight="bold")  # fmt: skip
        ax.set_title(title, loc="left", color=style.INK, fontsize=_SIZE, fontweight="bold", pad=5)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(max(len(names), 1) - 0.4, -0.6)
    figure.supxlabel(_left_out_words(table, left_out), fontsize=_SMALL, color=style.INK)
    return figure


def _weight_panel(ax: Axes, weights: pd.Series, rows: pd.DataFrame, *, top: float, low: float) -> None:
    column = rows[rows["column"] == weights.name].set_index("row")["status"]
    ax.axvline(0, color=style.INK, linewidth=1)
    for place, (area, weight) in enumerate(weights.items()):
        if abs(weight) > _LEAST_WEIGHT:
            ax.barh(place, weight, height=0.5, color=style.TREATED if weight > 0 else "white", edgecolor=style.TREATED,
                    hatch="" if weight > 0 else "////")  # fmt: skip
            ax.text(max(weight, 0), place, f" {weight:.2f}".replace("-", "−"), va="center", fontsize=_SMALL,
                    color=style.INK)  # fmt: skip
        elif column.get(area, "") == "suppressed":
            ax.text(0, place, " not released", va="center", fontsize=_SMALL - 0.5, color=style.MUTED)
    ax.set_xlim(1.15 * low, 1.6 * top)
    ax.xaxis.set_major_locator(MaxNLocator(2))
    ax.tick_params(axis="y", length=0, labelsize=_SMALL)
    ax.grid(visible=False)


def _left_out_words(table: pd.DataFrame, left_out: int) -> str:
    if table.empty:
        return f"No area weighs more than {_LEAST_WEIGHT:g}"
    others = f"; {left_out} other area{'s' if left_out != 1 else ''} at or below {_LEAST_WEIGHT:g}"
    return f"Weight{others if left_out else ''}"


def describe_weights(rows: pd.DataFrame) -> str:
    """Alt text of `plot_weights`: for each design how many areas have weight, and the three heaviest."""
    table, left_out = _weights(rows)
    parts = ["Bars of the weight that each area has in the comparison, by design"]
    for design in table.columns:
        weights = table[design].dropna()
        weights = weights[weights.abs() > _LEAST_WEIGHT].sort_values(ascending=False, key=np.abs, kind="stable")
        heavy = ", ".join(f"{area} {weight:.2f}".replace("-", "−") for area, weight in weights.head(3).items())
        count = f"{len(weights)} area{'s' if len(weights) != 1 else ''} above {_LEAST_WEIGHT:g} in size"
        name = starts_with_capital(str(design).replace("_", " "))
        parts.append(f"{name}: {count}{f', the heaviest {heavy}' if heavy else ''}")
    return style.sentences([*parts, f"{left_out} other areas weigh less in every design" if left_out else ""])


# ---- one comparator left out --------------------------------------------------------------------


def _drop_one(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Rows with "none" first and the rest by value; and which change what the interval says of no effect."""
    rows = rows[rows["column"] == "effect"]
    whole = rows["row"] == "none"
    kept = pd.concat([rows[whole], rows[~whole].sort_values("value", kind="stable")])
    null = style.null_of(str(kept["unit"].iloc[0])) if len(kept) else 0.0
    said = np.where(kept["lower"] > null, 1.0, np.where(kept["upper"] < null, -1.0, 0.0))
    said[(kept["lower"].isna() & kept["upper"].isna()).to_numpy()] = np.nan
    said = pd.Series(said, index=kept.index)
    base = said.iloc[0] if whole.any() else np.nan
    return kept, said.notna() & (said != base) & np.isfinite(base)


def plot_drop_one(rows: pd.DataFrame, *, x_label: str = "") -> Figure:
    """The effect with each area left out in turn: whether one comparator rules the result.

    `rows` is the table `drop_one.<outcome>`: `row` the area left out ("none" for nobody), column "effect" with
    `value`, `lower`, `upper`. The dashed line is the effect with nobody left out; an area without which the
    interval says something else about no effect is marked.
    """
    kept, changed = _drop_one(rows)
    names = [style.fit("No area left out" if r == "none" else str(r), 1.7, _SMALL) for r in kept["row"]]
    extra = 0.13 * sum(name.count("\n") for name in names)
    figure, axes = style.narrow_figure(0.22 * len(kept) + extra + 1.0)
    ax = axes[0, 0]
    unit = str(kept["unit"].iloc[0]) if len(kept) else ""
    null = style.null_of(unit)
    style.effect_axis(ax, kept, null=null, along="x")
    ax.axvline(null, color=style.INK, linewidth=1)
    for place, row in enumerate(kept.itertuples()):
        whole = row.row == "none"
        look = style.ROLE_LOOKS["primary" if whole else "sensitivity"] | ({} if whole else {"color": style.THIRD})
        if changed.iloc[place]:
            look = {"color": style.OTHER, "marker": "D", "fill": True}
        if whole and np.isfinite(row.value):
            ax.axvline(row.value, color=style.TREATED, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        style.draw_interval(ax, place, (row.value, row.lower, row.upper), along="x", size=6, **look)
        text = number(row.value, unit) if np.isfinite(row.value) else short_reason(row).split(":")[0].lower()
        ax.text(1.02, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=_SMALL, color=style.INK)
    ax.set_yticks(range(len(names)), names)
    for label, row, mark in zip(ax.get_yticklabels(), kept["row"], changed, strict=True):
        label.set(fontsize=_SMALL, fontweight="bold" if mark or row == "none" else "normal",
                  color=style.OTHER if mark else style.INK)  # fmt: skip
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False)
    note = "\n◆ without this area the answer changes" if changed.any() else ""
    style.name_axes(ax, x=(x_label or unit_title(unit, None)) + note)
    return figure


def describe_drop_one(rows: pd.DataFrame) -> str:
    """Alt text of `plot_drop_one`: the effect with nobody left out, the range over areas, and who changes it."""
    kept, changed = _drop_one(rows)
    parts = ["Effects with each area left out in turn"]
    for row in kept[kept["row"] == "none"].itertuples():
        told = style.interval_words(row.value, row.lower, row.upper, row.unit)
        parts.append(f"Nobody left out: {told if np.isfinite(row.value) else short_reason(row)}")
    others = kept[(kept["row"] != "none") & kept["value"].notna()]
    if len(others):
        low, high = others.iloc[0], others.iloc[-1]
        ends = [style.interval_words(r["value"], r["lower"], r["upper"], r["unit"]) for r in (low, high)]
        parts.append(f"Over {len(others)} areas left out in turn: from {ends[0]} without {low['row']} to {ends[1]} "
                     f"without {high['row']}")  # fmt: skip
        names = ", ".join(kept.loc[changed, "row"])
        parts.append(f"The answer changes without {names}" if names else "No area alone changes the answer")
    missing = kept[(kept["row"] != "none") & kept["value"].isna()]
    return style.sentences([*parts, f"No number without {', '.join(missing['row'])}" if len(missing) else ""])


# ---- honest bounds ------------------------------------------------------------------------------

_RESTRICTIONS = {
    "relative_magnitude": ("Departures no larger than M times the largest before the start", "M̄"),
    "smoothness": ("Slope of the departure changes by at most M from one period to the next", "M"),
}
_BESIDE = ("original", "breakdown")


def _curve(rows: pd.DataFrame, column: str) -> tuple[pd.DataFrame, pd.Series | None, pd.Series | None]:
    """Bounds by M in order, the original interval, and the breakdown value of one restriction."""
    part = rows[rows["column"] == column]
    found = [part[part["row"] == name] for name in _BESIDE]
    sizes = part[~part["row"].isin(_BESIDE)]
    sizes = sizes.assign(size=sizes["row"].astype(float)).sort_values("size", kind="stable")
    original, breakdown = (rows_.iloc[0] if len(rows_) else None for rows_ in found)
    return sizes, original, breakdown


def _open_ends(row: pd.Series) -> tuple[float, float]:
    """Ends of a bound that stands; an end that the method could not close is infinite."""
    low, high = float(row["lower"]), float(row["upper"])
    return (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)


def _breakdown_words(sizes: pd.DataFrame, breakdown: pd.Series | None) -> str:
    """At which M the bounds first hold no effect."""
    if breakdown is None or breakdown["status"] != "shown" or math.isnan(breakdown["value"]):
        return "The breakdown value is not known"
    value = float(breakdown["value"])
    if value <= 0:
        return "No effect cannot be ruled out even if the trends were exactly parallel (breakdown at M = 0)"
    if math.isinf(value):
        most = style.number_text(sizes["size"].max()) if len(sizes) else "any"
        return f"No effect stays ruled out up to M = {most}"
    return f"From M = {style.number_text(value)} on, no effect can no longer be ruled out (breakdown)"


def plot_sensitivity_curve(rows: pd.DataFrame, *, y_label: str = "") -> Figure:
    """Honest bounds on the effect as the departure from parallel trends may grow, one panel a restriction.

    `rows` is the table `honest.<outcome>`: `row` a value of M as text, or "original" (the interval that takes the
    trends to be parallel) or "breakdown" (in `value`: the least M whose bounds hold no effect; infinite if none);
    `column` "relative_magnitude" or "smoothness". An end that is infinite or NaN is open and ends in an arrow.
    """
    columns = [c for c in _RESTRICTIONS if (rows["column"] == c).any()]
    figure, axes = style.narrow_figure(2.75 * max(len(columns), 1) + 0.2, rows=max(len(columns), 1))
    for ax, column in zip(axes[:, 0], columns, strict=False):
        _curve_panel(ax, rows, column, y_label)
    return figure


def _curve_panel(ax: Axes, rows: pd.DataFrame, column: str, y_label: str) -> None:
    sizes, original, breakdown = _curve(rows, column)
    unit = str(rows.loc[rows["column"] == column, "unit"].iloc[0])
    unit = unit if original is None else str(original["unit"])
    null = style.null_of(unit)
    drawn = sizes if original is None else pd.concat([original.to_frame().T.assign(size=math.nan), sizes])
    style.effect_axis(ax, drawn, null=null, along="y")
    ax.axhline(null, color=style.INK, linewidth=1)
    spread = sizes["size"].to_numpy(dtype=float)
    step = float(np.diff(spread).min()) if len(spread) > 1 else 1.0
    least = float(spread.min()) if len(spread) else 0.0
    ticks, words = list(spread), [f"{x:g}" for x in spread]
    for _, row in drawn.iterrows():
        first = row["row"] == "original"
        at = least - step if first else float(row["size"])
        if row["status"] == "shown":
            ends = (float(row["value"]) if first else math.nan, *_open_ends(row))
            style.draw_interval(ax, at, ends, along="y", color=style.TREATED if first else style.OTHER, marker="s",
                                width=3 if first else 2)  # fmt: skip
        else:
            ax.text(at, 0.03, style.fit(short_reason(row).split(":")[0], 0.6, 8), transform=ax.get_xaxis_transform(),
                    ha="center", va="bottom", fontsize=8, color=style.MUTED)  # fmt: skip
        if first:
            ticks, words = [at, *ticks], ["parallel\ntrends", *words]
    ax.set_xlim(least - (1.6 if original is not None else 0.6) * step, max(ticks, default=1.0) + 0.6 * step)
    ax.set_xticks(ticks, words)
    said = style.fit(_breakdown_words(sizes, breakdown), 4.3, _SMALL, weight="bold")
    title, name = _RESTRICTIONS[column]
    style.name_axes(ax, x=style.fit(title.replace(" M ", f" {name} "), 4.7, 9.5), y=style.fit(y_label, 4.7, 9))
    if breakdown is not None and breakdown["status"] == "shown" and np.isfinite(breakdown["value"]):
        left, right = ax.get_xlim()
        if left < breakdown["value"] < right:
            ax.axvspan(breakdown["value"], right, color=style.SHADE, zorder=0, linewidth=0)
            ax.axvline(breakdown["value"], color=style.FOURTH, linewidth=1.4, linestyle=(0, (2, 2)), zorder=1)
            ax.set_xlim(left, right)
    ax.set_title(said, loc="left", fontsize=_SMALL, color=style.FOURTH, fontweight="bold", pad=20 if y_label else 6)


def describe_sensitivity_curve(rows: pd.DataFrame) -> str:
    """Alt text of `plot_sensitivity_curve`: the bounds at each M and the breakdown value."""
    parts = ["Bounds on the effect as the departure from parallel trends may grow"]
    for column in (c for c in _RESTRICTIONS if (rows["column"] == c).any()):
        sizes, original, breakdown = _curve(rows, column)
        parts.append(_RESTRICTIONS[column][0])
        if original is not None:
            parts.append(f"With parallel trends: {_ends_words(original)}")
        parts += [f"M = {row['size']:g}: {_ends_words(row)}" for _, row in sizes.iterrows()]
        parts.append(_breakdown_words(sizes, breakdown))
    return style.sentences(parts)


def _ends_words(row: pd.Series) -> str:
    if row["status"] != "shown":
        return short_reason(row)
    low, high = _open_ends(row)
    first = number(low, row["unit"]) if math.isfinite(low) else "no lower end"
    return f"{first} to {number(high, row['unit']) if math.isfinite(high) else 'no upper end'}"


# ---- starts that never were ---------------------------------------------------------------------


def plot_placebo_time(rows: pd.DataFrame, *, real: str = "", y_label: str = "") -> Figure:
    """The effect "found" had the service started on an earlier, false date: each should lie near no effect.

    `rows` is the table `placebo_time.<outcome>`: `row` the date as text, column "effect" with `value`, `lower`,
    `upper`. `real` names the row of the true start, if the table has it.
    """
    kept = rows[rows["column"] == "effect"]
    figure, axes = style.narrow_figure(2.9)
    ax = axes[0, 0]
    unit = str(kept["unit"].iloc[0]) if len(kept) else ""
    null = style.null_of(unit)
    style.effect_axis(ax, kept, null=null, along="y")
    ax.axhline(null, color=style.INK, linewidth=1)
    for place, row in enumerate(kept.itertuples()):
        look = style.ROLE_LOOKS["primary" if row.row == real else "naive"] | {"fill": True}
        if row.status == "shown" and np.isfinite(row.value):
            style.draw_interval(ax, place, (row.value, row.lower, row.upper), along="y",
                                **(look | ({} if row.row == real else {"marker": "o"})))  # fmt: skip
        else:
            ax.text(place, 0.03, style.fit(short_reason(row).split(":")[0].lower(), 0.5, 8), ha="center", va="bottom",
                    transform=ax.get_xaxis_transform(), fontsize=8, color=style.MUTED)  # fmt: skip
    ax.set_xlim(-0.6, max(len(kept), 1) - 0.4)
    style.period_ticks(ax, [str(r) for r in kept["row"]])
    style.name_axes(ax, x="Date taken for the start" + (f" (square: {real}, the true one)" if real else ""),
                    y=style.fit(y_label or unit_title(unit, None), 4.9, 9))  # fmt: skip
    return figure


def describe_placebo_time(rows: pd.DataFrame, *, real: str = "") -> str:
    """Alt text of `plot_placebo_time`: the effect at each false date, and how many leave out no effect."""
    kept = rows[rows["column"] == "effect"]
    parts = ["Effects found had the service started on other dates"]
    for row in kept.itertuples():
        told = row.status == "shown" and np.isfinite(row.value)
        words = style.interval_words(row.value, row.lower, row.upper, row.unit) if told else short_reason(row)
        parts.append(f"{row.row}{' (the true start)' if row.row == real else ''}: {words}")
    false = kept[(kept["row"] != real) & (kept["lower"].notna() | kept["upper"].notna())]
    nulls = false["unit"].map(style.null_of).astype(float)
    beyond = int(((false["lower"] > nulls) | (false["upper"] < nulls)).sum())
    return style.sentences([*parts, f"{beyond} of {len(false)} false dates leave out no effect" if len(false) else ""])
