"""Figures of money by part, by budget and over years to come."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evalkit.report import figures_style as style
from evalkit.report.figures_value import axis_pounds, money_axis
from evalkit.report.phrases import number

# Fill and hatch of parts of the cost in their order; text on the dark ones is white.
_FILLS = ("#7a3e6e", "#f0c987", "#bcd9ee", "#005a9c", "#a64b00", "#dfe3e8")
_HATCHES = ("", "...", "\\\\\\", "", "///", "xxx")
_DARK = frozenset({"#7a3e6e", "#005a9c", "#a64b00"})
_VOLUME, _PRICE = style.INK, style.OTHER
_BUDGETS = {  # column: fill, hatch, edge
    "original": ("white", "///", style.MUTED), "counterfactual": ("#bcd9ee", "...", style.TREATED),
    "actual": (style.TREATED, "", style.TREATED),
}  # fmt: skip
TOTAL = "total"
PERIODS = ("before", "after")
_GBP = "GBP"


# ---- cost by part, before and after ----------------------------------------------------------------


def change_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`part` (key), `label`, `group`, `before`, `after`, `volume`, `price`, GBP a person-quarter; NaN if withheld.

    `rows` are those of `cost_change`: rows a part or `total`, columns `<group>|before|after|volume|price`.
    """
    ends = rows["column"].str.rsplit("|", n=1, expand=True)
    frame = pd.DataFrame({"part": rows["row"], "group": ends[0], "what": ends[1], "value": rows["value"]})
    names = rows.drop_duplicates("row").set_index("row")["label"]
    parts, groups = list(dict.fromkeys(frame["part"])), list(dict.fromkeys(frame["group"]))
    wide = frame.pivot(index=["group", "part"], columns="what", values="value")
    wide = wide.reindex(index=pd.MultiIndex.from_product([groups, parts], names=["group", "part"]),
                        columns=[*PERIODS, "volume", "price"]).reset_index()  # fmt: skip
    wide.insert(1, "label", wide["part"].map(names))
    return wide


def plot_change(rows: pd.DataFrame, *, groups: Sequence[str]) -> Figure:
    """Stacked bars of cost by part before and after, a pair a group; below, what use and price did to each part.

    `rows` as in `change_table`; `groups` in the order in which they stand. Parts that are withheld are left out of a
    bar, which then ends in a dotted piece where its total is known.
    """
    table = change_table(rows)
    parts = [p for p in dict.fromkeys(table["part"]) if p != TOTAL]
    shown = [p for p in dict.fromkeys(table["part"]) if p == TOTAL or table[table["part"] == p]["volume"].notna().any()]
    tall = [0.95 * len(groups) + 0.5] + [0.44 * max(len(shown), 1) + 0.55] * len(groups)
    figure, axes = style.narrow_figure(sum(tall) + 0.9, rows=1 + len(groups), ratios=tall)
    _stacks(axes[0, 0], table, groups, parts)
    changes = table[["volume", "price"]].to_numpy(dtype=float)
    reach = float(np.nanmax(np.abs(changes), initial=0)) or 1.0
    for ax, group in zip(axes[1:, 0], groups, strict=True):
        _changes(ax, table[table["group"] == group].set_index("part").reindex(shown), reach, group)
    axes[-1, 0].set_xlabel("Change from before to after, pounds per person and quarter", color=style.INK, fontsize=9.5)
    names = table.drop_duplicates("part").set_index("part")["label"]
    handles = [Rectangle((0, 0), 1, 1, facecolor=_FILLS[k % len(_FILLS)], hatch=_HATCHES[k % len(_HATCHES)],
                         edgecolor="white") for k in range(len(parts))]  # fmt: skip
    handles += [Rectangle((0, 0), 1, 1, facecolor=c, hatch=h, edgecolor="white") for c, h in
                ((_VOLUME, ""), (_PRICE, "///"))]  # fmt: skip
    labels = [style.fit(str(names[p]), 2.1, 9) for p in parts] + ["Below: change in use", "Below: change in price"]
    figure.legend(handles, labels, loc="outside upper left", ncols=2, frameon=False, fontsize=9, handlelength=1.6)
    return figure


def _stacks(ax: Axes, table: pd.DataFrame, groups: Sequence[str], parts: Sequence[str]) -> None:
    ticks = []
    top = float(np.nanmax(table[list(PERIODS)].to_numpy(dtype=float), initial=0)) or 1.0
    for g, group in enumerate(groups):
        own = table[table["group"] == group].set_index("part")
        for p, period in enumerate(PERIODS):
            at, left = 2.6 * g + p, 0.0
            for k, part in enumerate(parts):
                size = float(own[period].get(part, math.nan))
                if not math.isfinite(size):
                    continue
                fill = _FILLS[k % len(_FILLS)]
                ax.barh(at, size, 0.78, left=left, color=fill, hatch=_HATCHES[k % len(_HATCHES)], edgecolor="white",
                        linewidth=0.8)  # fmt: skip
                if size > 0.17 * top:
                    ax.text(left + size / 2, at, number(size, _GBP), ha="center", va="center", fontsize=9,
                            color="white" if fill in _DARK else style.INK,
                            bbox={"facecolor": fill, "edgecolor": "none", "pad": 1.0})  # fmt: skip
                left += size
            whole = float(own[period].get(TOTAL, math.nan))
            if math.isfinite(whole) and whole > 1.01 * left:
                ax.barh(at, whole - left, 0.78, left=left, color="white", edgecolor=style.MUTED, linestyle=":")
            ax.text(max(left, whole if math.isfinite(whole) else 0), at,
                    f" {number(whole, _GBP) if math.isfinite(whole) else 'whole not released'}", va="center",
                    fontsize=9, color=style.INK, fontweight="bold")  # fmt: skip
            ticks.append((at, period.capitalize()))
        ax.text(0, 2.6 * g - 0.52, group, fontsize=9.5, fontweight="bold", color=style.INK, va="bottom")
    ax.set_yticks([at for at, _ in ticks], [word for _, word in ticks])
    ax.set_ylim(2.6 * len(groups) - 1.1, -1.15)
    ax.set_xlim(0, 1.28 * top)
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
    money_axis(ax, "x")
    style.name_axes(ax, x="Pounds per person and quarter")


def _changes(ax: Axes, own: pd.DataFrame, reach: float, group: str) -> None:
    names = [style.fit("All" if part == TOTAL else str(row["label"]), 1.5, 9, lines=2) for part, row in own.iterrows()]
    for place, (_, row) in enumerate(own.iterrows()):
        for shift, column, fill, hatch in ((-0.2, "volume", _VOLUME, ""), (0.2, "price", _PRICE, "///")):
            size = float(row[column])
            if not math.isfinite(size):
                ax.text(0, place + shift, " not released", va="center", fontsize=8.5, color=style.MUTED)
                continue
            ax.barh(place + shift, size, 0.36, color=fill, hatch=hatch, edgecolor="white", linewidth=0)
            text = signed(size)
            ax.text(size, place + shift, f" {text}" if size >= 0 else f"{text} ", va="center", fontsize=8.5,
                    ha="left" if size >= 0 else "right", color=style.INK)  # fmt: skip
    ax.axvline(0, color=style.INK, linewidth=1)
    ax.set_xlim(-1.5 * reach, 1.5 * reach)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
    money_axis(ax, "x")
    ax.set_title(f"{group}: use and price", loc="left", color=style.INK, fontsize=9.5, fontweight="bold", pad=4)


def signed(value: float) -> str:
    """`+£120`, `−£4,300`, `£0`."""
    text = number(value, _GBP)
    return text if value <= 0 or text == "£0" else f"+{text}"


def describe_change(rows: pd.DataFrame, *, groups: Sequence[str]) -> str:
    """Alt text of `plot_change`: every part before and after, with what use and price did to it."""
    table = change_table(rows)
    parts = ["Bars of cost by part, pounds per person and quarter, before and after"]
    for group in groups:
        told = []
        for r in table[table["group"] == group].itertuples():
            name = "All" if r.part == TOTAL else str(r.label)
            ends = " to ".join(number(v, _GBP) if math.isfinite(v) else "not released" for v in (r.before, r.after))
            if math.isfinite(r.volume) and math.isfinite(r.price):
                ends += f" (use {signed(r.volume)}, price {signed(r.price)})"
            told.append(f"{name} {ends}")
        parts += [str(group), *told]  # a sentence each, for the ear
    return style.sentences(parts)


# ---- budgets ---------------------------------------------------------------------------------------


def budget_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`year` (key), `label`, `original`, `actual`, `counterfactual`, `lower`, `upper` (GBP); single years in order.

    Rows in real terms (`<year>|real`) are left to the table. The ends of the counterfactual are its own, or else what
    was spent and the ends of the estimated saving.
    """
    rows = rows[(rows["row"] != "all") & ~rows["row"].str.contains(r"\||^from_year")]
    order = list(dict.fromkeys(rows["row"]))
    names = ["original", "actual", "counterfactual", "estimated_saving"]
    table, low, high = (rows.pivot(index="row", columns="column", values=c).reindex(index=order, columns=names)
                        for c in ("value", "lower", "upper"))  # fmt: skip
    ends = {
        name: end["counterfactual"].where(end["counterfactual"].notna(), table["actual"] + end["estimated_saving"])
        for name, end in (("lower", low), ("upper", high))
    }
    labels = rows.drop_duplicates("row").set_index("row")["label"].reindex(order)
    return table.drop(columns="estimated_saving").assign(label=labels, **ends).reset_index(names="year")


def plot_budget(rows: pd.DataFrame, *, names: Mapping[str, str]) -> Figure:
    """Three bars a year: the old budget, what would have been spent (with its interval), and what was spent.

    `rows` are those of `budget`; `names` the three bars in words, by `original`, `counterfactual`, `actual`.
    """
    table = budget_table(rows)
    figure, axes = style.narrow_figure(1.12 * max(len(table), 1) + 1.5)
    ax = axes[0, 0]
    ends = table[["original", "actual", "counterfactual", "upper"]].to_numpy(dtype=float)
    top = float(np.nanmax(ends, initial=0)) or 1.0
    for y, row in enumerate(table.itertuples()):
        ax.text(0, 3.9 * y - 0.6, str(row.label), fontsize=9.5, fontweight="bold", color=style.INK, va="bottom")
        for k, (column, (fill, hatch, edge)) in enumerate(_BUDGETS.items()):
            at, size = 3.9 * y + k, float(getattr(row, column))
            if not math.isfinite(size):
                ax.text(0, at, f" {names[column]}: not released", va="center", fontsize=9, color=style.MUTED)
                continue
            ax.barh(at, size, 0.8, color=fill, hatch=hatch, edgecolor=edge, linewidth=1)
            end = size
            if column == "counterfactual" and math.isfinite(row.lower) and math.isfinite(row.upper):
                ax.plot([row.lower, row.upper], [at, at], color=style.INK, linewidth=2, solid_capstyle="butt")
                ax.plot([row.lower, row.upper], [at, at], "|", color=style.INK, markersize=9, markeredgewidth=2)
                end = max(size, row.upper)
            ax.text(end, at, f"  {big_pounds(size)}", va="center", fontsize=9, color=style.INK)
    ax.set_xlim(0, 1.25 * top)
    ax.set_ylim(3.9 * max(len(table), 1) - 1.3, -1.5)
    ax.set_yticks([])
    ax.grid(visible=False)
    money_axis(ax, "x")
    style.name_axes(ax, x="Pounds in the financial year")
    handles = [Rectangle((0, 0), 1, 1, facecolor=f, hatch=h, edgecolor=e) for f, h, e in _BUDGETS.values()]
    figure.legend(handles, [style.fit(names[c], 4.4, 9) for c in _BUDGETS], loc="outside upper left", ncols=1,
                  frameon=False, fontsize=9)  # fmt: skip
    return figure


def big_pounds(value: float) -> str:
    """`£12.2m`, or whole pounds below a million."""
    sign = "−" if value < 0 else ""
    return f"{sign}£{abs(value) / 1e6:.1f}m" if abs(value) >= 1e6 else number(value, _GBP)


def describe_budget(rows: pd.DataFrame, *, names: Mapping[str, str]) -> str:
    """Alt text of `plot_budget`: every bar of every year, and the interval."""
    parts = ["Bars of money by financial year"]
    for row in budget_table(rows).itertuples():
        told = []
        for column in _BUDGETS:
            value = float(getattr(row, column))
            text = f"{names[column]} "
            text += big_pounds(value) if math.isfinite(value) else "not released"
            if column == "counterfactual" and math.isfinite(row.lower) and math.isfinite(row.upper):
                text += f" (from {big_pounds(row.lower)} to {big_pounds(row.upper)})"
            told.append(text)
        parts += [str(row.label), *told]
    return style.sentences(parts)


# ---- years to come ---------------------------------------------------------------------------------


def impact_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`persistence`, `year` (1, 2, …), `set_up`, `running`, `other_services`, `net`, `net_discounted`, `cumulative`.

    `rows` are those of `budget_impact`: rows `<persistence>|<year>`, others left out; GBP, above nought is money spent.
    """
    rows = rows[rows["row"].str.fullmatch(r"[^|]+\|\d+")]
    ends = rows["row"].str.split("|")
    frame = rows.assign(persistence=ends.str[0], year=ends.str[1].astype(int))
    names = ["set_up", "running", "other_services", "net", "net_discounted", "cumulative"]
    wide = frame.pivot(index=["persistence", "year"], columns="column", values="value").reindex(columns=names)
    order = {name: at for at, name in enumerate(dict.fromkeys(frame["persistence"]))}
    wide = wide.reset_index().astype(dict.fromkeys(names, float))
    return wide.sort_values(["persistence", "year"], key=lambda c: c.map(order) if c.name == "persistence" else c,
                            ignore_index=True)  # fmt: skip


def plot_impact(rows: pd.DataFrame, *, names: Mapping[str, str]) -> Figure:
    """Net cost in each year to come, and in all years so far, one line an assumption on how long the effect lasts.

    `rows` as in `impact_table`; `names` the assumptions in words. Below nought is money saved.
    """
    table = impact_table(rows)
    figure, axes = style.narrow_figure(6.2, rows=2)
    for ax, column, title in ((axes[0, 0], "net", "In the year"), (axes[1, 0], "cumulative", "In all years so far")):
        ends = []
        for place, (key, line) in enumerate(table.groupby("persistence", sort=False)):
            line = line[line[column].notna()]
            look = style.group_style(place)
            ax.plot(line["year"], line[column], linewidth=2, markersize=5.5, **look)
            if len(line):
                ends.append((float(line["year"].iloc[-1]), float(line[column].iloc[-1]),
                             style.fit(names.get(str(key), str(key)), 1.05, 9), look["color"]))  # fmt: skip
        values = np.append(table[column].dropna().to_numpy(), 0.0)
        pad = 0.12 * (values.max() - values.min()) or 1.0
        ax.set_ylim(values.min() - pad, values.max() + pad)
        ax.axhline(0, color=style.INK, linewidth=1)
        years = sorted(table["year"].unique())
        ax.set_xlim(years[0] - 0.15, years[-1] + 0.1)
        ax.set_xticks(years)
        money_axis(ax, "y")
        style.name_axes(ax, x="Year from the start" if column == "cumulative" else "", y=f"{title}, net pounds")
        style.label_ends(ax, ends, height=2.2)
    return figure


def describe_impact(rows: pd.DataFrame, *, names: Mapping[str, str]) -> str:
    """Alt text of `plot_impact`: net cost in the first and the last year and in all of them, by assumption."""
    parts = ["Lines of net cost in the years to come; below nought is money saved"]
    for key, line in impact_table(rows).groupby("persistence", sort=False):
        known = line[line["net"].notna()]
        name = names.get(str(key), str(key))
        if known.empty:
            parts.append(f"{name}: not released")
            continue
        first, last = known.iloc[0], known.iloc[-1]
        told = f"{name}: year {first['year']} {axis_pounds_rounded(first['net'])}"
        if len(known) > 1:
            told += f", year {last['year']} {axis_pounds_rounded(last['net'])}"
        if math.isfinite(last["cumulative"]):
            told += f", all years {axis_pounds_rounded(last['cumulative'])}"
        parts.append(told)
    return style.sentences(parts)


def axis_pounds_rounded(value: float) -> str:
    return axis_pounds(float(f"{value:.3g}"))
