"""Figures of value: the plane of cost and effect, acceptability, what changing one thing does, and variants."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from evalkit.report import figures_style as style
from evalkit.report.phrases import number

ELLIPSES = ((0.5, "-"), (0.95, (0, (5, 2))))
_QUADRANTS = {  # where, and what lies there
    "nw": (-1, 1, "Costs more, does worse"), "ne": (1, 1, "Costs more, does better"),
    "sw": (-1, -1, "Costs less, does worse"), "se": (1, -1, "Costs less, does better"),
}  # fmt: skip
_GROUP_MARKS = ("s", "o", "^", "D", "v", "P")
_LOW, _HIGH = style.TREATED, style.OTHER
GBP = "GBP"


def money_axis(ax: Axes, along: str) -> None:
    """Ticks in pounds: `−£400`, `£1.5m`."""
    axis = ax.xaxis if along == "x" else ax.yaxis
    axis.set_major_locator(MaxNLocator(5))
    axis.set_major_formatter(FuncFormatter(lambda value, _: axis_pounds(value)))


def axis_pounds(value: float) -> str:
    size, sign = abs(value), "−" if value < 0 else ""
    if size >= 1e6:
        return f"{sign}£{size / 1e6:.3g}m"
    return f"{sign}£{size:,.0f}" if size >= 10 or float(size).is_integer() else f"{sign}£{size:.2f}"


# ---- the plane of cost and effect ----------------------------------------------------------------


def plane_numbers(rows: pd.DataFrame) -> dict[str, float]:
    """Numbers of one row of `cea_plane` by column; NaN where not released."""
    names = ("mean_cost", "mean_effect", "sd_cost", "sd_effect", "correlation",
             "share_se", "share_ne", "share_sw", "share_nw")  # fmt: skip
    found = {str(r.column): float(r.value) for r in rows.itertuples()}
    return {name: found.get(name, math.nan) for name in names}


def ellipse(numbers: dict[str, float], share: float) -> np.ndarray:
    """Points (200, 2) round the part of a bivariate normal that holds `share` of it: effect, cost."""
    reach = math.sqrt(-2 * math.log1p(-share))  # chi-squared with two degrees of freedom
    turn, rho = np.linspace(0, 2 * np.pi, 200), numbers["correlation"]
    x = numbers["mean_effect"] + reach * numbers["sd_effect"] * np.cos(turn)
    y = rho * np.cos(turn) + math.sqrt(max(1 - rho**2, 0.0)) * np.sin(turn)
    return np.column_stack([x, numbers["mean_cost"] + reach * numbers["sd_cost"] * y])


def _has_spread(numbers: dict[str, float]) -> bool:
    names = ("mean_cost", "mean_effect", "sd_cost", "sd_effect", "correlation")
    return all(math.isfinite(numbers[name]) for name in names)


def plot_plane(rows: pd.DataFrame, *, x: str, y: str, unit: str, threshold_gbp: float) -> Figure:
    """The cost-effectiveness plane: best answer, ellipses of 50% and 95%, quadrants in words, threshold line.

    `rows` are those of one key of `cea_plane`; `unit` is what one more costs `threshold_gbp`, in words.
    """
    n = plane_numbers(rows)
    figure, axes = style.narrow_figure(5.4)
    ax = axes[0, 0]
    drawn = [ellipse(n, share) for share, _ in ELLIPSES] if _has_spread(n) else []
    points = np.vstack([*drawn, [[n["mean_effect"], n["mean_cost"]]]])
    across, up = (float(np.nanmax(np.abs(points[:, k]), initial=0)) * 1.12 or 1.0 for k in (0, 1))
    ax.set_xlim(-across, across)
    ax.set_ylim(-1.42 * up, 1.42 * up)  # strips above and below hold the quadrants' names
    ax.grid(visible=False)
    ax.axhline(0, color=style.INK, linewidth=1)
    ax.axvline(0, color=style.INK, linewidth=1)
    edge = min(across, 1.42 * up / threshold_gbp)
    ax.plot([-edge, edge], [-edge * threshold_gbp, edge * threshold_gbp], color=style.OTHER, linestyle=":", linewidth=2)
    for points, (_, dash) in zip(drawn, ELLIPSES, strict=False):
        ax.plot(points[:, 0], points[:, 1], color=style.TREATED, linestyle=dash, linewidth=1.8)
    ax.plot(n["mean_effect"], n["mean_cost"], "o", color=style.TREATED, markersize=7)
    for key, (side, height, words) in _QUADRANTS.items():
        share = f"{100 * n[f'share_{key}']:.0f}%\n" if math.isfinite(n[f"share_{key}"]) else ""
        text = f"{share}{style.fit(words, 1.6, 9)}"
        ax.text(0.5 + 0.48 * side, 0.5 + 0.485 * height, text, transform=ax.transAxes, fontsize=9, color=style.INK,
                ha="right" if side > 0 else "left", va="top" if height > 0 else "bottom",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85})  # fmt: skip
    money_axis(ax, "y")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    style.name_axes(ax, x=style.fit(x, 4.6, 9.5), y=y)
    handles = [
        Line2D([], [], color=style.TREATED, marker="o", linestyle="none"),
        *(Line2D([], [], color=style.TREATED, linestyle=dash, linewidth=1.8) for _, dash in ELLIPSES[: len(drawn)]),
        Line2D([], [], color=style.OTHER, linestyle=":", linewidth=2),
    ]
    names = ["Best answer", *(f"{100 * share:.0f}% of draws inside" for share, _ in ELLIPSES[: len(drawn)]),
             f"{axis_pounds(threshold_gbp)} a {unit}"]  # fmt: skip
    figure.legend(handles, names, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure


def describe_plane(rows: pd.DataFrame, *, x: str, y: str, unit: str, threshold_gbp: float) -> str:
    """Alt text of `plot_plane`: best answer, spread and the share of draws in every quadrant."""
    n = plane_numbers(rows)
    shares = [
        f"{words[:1].lower()}{words[1:]} "
        + (f"{100 * n[f'share_{key}']:.0f}%" if math.isfinite(n[f"share_{key}"]) else "not released")
        for key, (*_, words) in _QUADRANTS.items()
    ]
    spread = (f"Standard deviations {number(n['sd_cost'], GBP)} and {style.number_text(n['sd_effect'])}, correlation "
              f"{style.number_text(n['correlation'])}" if _has_spread(n) else "")  # fmt: skip
    cost, effect = n["mean_cost"], n["mean_effect"]
    best = number(cost, GBP) if math.isfinite(cost) else "not released"
    return style.sentences([
        f"Plane of cost ({_small(y)}) against effect ({_small(x)})",
        f"Best answer: cost {best}, effect {style.number_text(effect) if math.isfinite(effect) else 'not released'}",
        spread,
        f"Share of draws: {', '.join(shares)}",
        f"A dotted line marks {axis_pounds(threshold_gbp)} a {unit}: below it the effect is worth its cost",
    ])  # fmt: skip


def _small(text: str) -> str:
    """The text within a sentence; names in capitals stay."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


# ---- acceptability and the value of information ---------------------------------------------------


def acceptability_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`threshold` (GBP a unit, ascending), `probability`, `eib`, `evpi` of one key; NaN where not released.

    `rows` are those of one key of `ceac`: rows `<key>|<threshold>`, columns probability, eib, evpi.
    """
    kept = rows.assign(threshold=rows["row"].str.rsplit("|", n=1).str[1].astype(float))
    table = kept.pivot(index="threshold", columns="column", values="value").reset_index()
    return table.reindex(columns=["threshold", "probability", "eib", "evpi"]).astype(float).sort_values("threshold")


def plot_acceptability(rows: pd.DataFrame, *, unit: str, with_text: str, without_text: str) -> Figure:
    """How probable it is that either way is worth its cost, by the value of one unit, and what knowing would be worth.

    The broad band is the frontier: the way with the higher expected net benefit. `rows` as in `acceptability_table`.
    """
    table = acceptability_table(rows)
    at, chance = table["threshold"].to_numpy(), table["probability"].to_numpy()
    figure, axes = style.narrow_figure(5.6, rows=2, ratios=[1.5, 1])
    top, foot = axes[:, 0]
    frontier = np.where(np.isnan(table["eib"]), np.nan, np.where(table["eib"] >= 0, chance, 1 - chance))
    top.plot(at, 100 * frontier, color=style.RULE, linewidth=9, solid_capstyle="butt")
    looks = (style.group_style(0), style.group_style(1))
    for line, look in zip((100 * chance, 100 * (1 - chance)), looks, strict=True):
        top.plot(at, line, linewidth=2, markersize=5, markevery=max(1, len(at) // 8), **look)
    top.set_ylim(0, 100)
    top.set_yticks([0, 25, 50, 75, 100], ["0%", "25%", "50%", "75%", "100%"])
    style.name_axes(top, y="Probability of being worth its cost")
    foot.plot(at, table["evpi"], color=style.FOURTH, linewidth=2, marker="D", markersize=4.5,
              markevery=max(1, len(at) // 8))  # fmt: skip
    foot.set_ylim(0, max(1.15 * float(np.nanmax(table["evpi"].to_numpy(), initial=0)), 1))
    money_axis(foot, "y")
    style.name_axes(foot, x=f"What one {unit} is worth", y="Value of knowing for certain, per person and quarter")
    for ax in (top, foot):
        ax.set_xlim(float(at.min(initial=0)), max(float(at.max(initial=1)), 1e-9))
        money_axis(ax, "x")
    handles = [*(Line2D([], [], linewidth=2, markersize=5, **look) for look in looks),
               Line2D([], [], color=style.RULE, linewidth=9)]  # fmt: skip
    names = [style.fit(with_text, 2.1, 9), style.fit(without_text, 2.1, 9), "The better of the two (frontier)"]
    figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return figure


def describe_acceptability(rows: pd.DataFrame, *, unit: str, with_text: str, without_text: str) -> str:
    """Alt text of `plot_acceptability`: both ends, the middle, and where the better way changes."""
    table = acceptability_table(rows).dropna(subset="probability")
    parts = [f"Probability that each way is worth its cost, by what one {unit} is worth"]
    if table.empty:
        return style.sentences([*parts, "No number is released"])
    for place in dict.fromkeys((0, len(table) // 2, len(table) - 1)):
        line = table.iloc[place]
        told = f"At {axis_pounds(line['threshold'])}: {_small(with_text)} {100 * line['probability']:.0f}%"
        told += f", {_small(without_text)} {100 * (1 - line['probability']):.0f}%"
        if math.isfinite(line["evpi"]):
            told += f", value of knowing for certain {number(line['evpi'], GBP)} per person and quarter"
        parts.append(told)
    signs = table.dropna(subset="eib")
    better = (signs["eib"] >= 0).to_numpy()
    names = (_small(without_text), _small(with_text))
    if len(better) and better.all() | (~better).all():
        parts.append(f"The better way at every value shown: {names[int(better[0])]}")
    else:
        for k in np.flatnonzero(np.diff(better.astype(int))) + 1:
            parts.append(f"From {axis_pounds(signs['threshold'].iloc[k])} on the better way is {names[int(better[k])]}")
    return style.sentences(parts)


# ---- tornado --------------------------------------------------------------------------------------


def tornado_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`label`, `low`, `high` of what is changed, the widest first; NaN where not released."""
    order = list(dict.fromkeys(rows["row"]))
    table = rows.pivot(index="row", columns="column", values="value").reindex(index=order, columns=["low", "high"])
    table.insert(0, "label", rows.drop_duplicates("row").set_index("row")["label"].reindex(order))
    wide = (table["high"] - table["low"]).abs().fillna(-1.0)
    return table.loc[wide.sort_values(ascending=False, kind="stable").index].reset_index(drop=True)


def plot_tornado(rows: pd.DataFrame, *, base: float, x: str) -> Figure:
    """Bars from the answer with each thing low to the answer with it high, about `base`, the widest on top.

    `rows` are those of `tornado`: columns low and high.
    """
    table = tornado_table(rows)
    names = [style.fit(str(label), 1.75, 9) for label in table["label"]]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    figure, axes = style.narrow_figure(max(0.17 * lines + 0.2, 0.42) * len(table) + 1.7)
    ax = axes[0, 0]
    ends = table[["low", "high"]].to_numpy(dtype=float)
    known = np.append(ends[np.isfinite(ends)], [x for x in (base, 0.0) if math.isfinite(x)])
    room = 0.32 * (known.max() - known.min()) or 1.0
    ax.set_xlim(known.min() - room, known.max() + room)
    middle = base if math.isfinite(base) else float(np.nanmean(ends))
    for place, (low, high) in enumerate(ends):
        for end, fill, hatch in ((low, _LOW, ""), (high, _HIGH, "///")):
            if math.isfinite(end):
                ax.barh(place, end - middle, 0.62, left=middle, color=fill, hatch=hatch, edgecolor="white", linewidth=0)
        _name_ends(ax, place, low, high)
    ax.axvline(0, color=style.MUTED, linewidth=1, linestyle=":")
    if math.isfinite(base):
        ax.axvline(base, color=style.INK, linewidth=1.2)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False)
    money_axis(ax, "x")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    style.name_axes(ax, x=style.fit(x, 3.4, 9.5))
    handles = [Line2D([], [], color=_LOW, linewidth=8), Line2D([], [], color=_HIGH, linewidth=8),
               Line2D([], [], color=style.INK, linewidth=1.2)]  # fmt: skip
    figure.legend(handles, ["Lower", "Higher (hatched)", "As planned"], loc="outside upper left", ncols=3,
                  frameon=False, fontsize=9, handlelength=1.4)  # fmt: skip
    return figure


def _name_ends(ax: Axes, place: int, low: float, high: float) -> None:
    """Both ends in pounds beside the bar; what is not released says so."""
    shown = sorted(x for x in (low, high) if math.isfinite(x))
    if not shown:
        ax.text(0.5, place, "not released", transform=ax.get_yaxis_transform(), ha="center", va="center", fontsize=9,
                color=style.MUTED)  # fmt: skip
        return
    ax.text(shown[0], place, f"{number(shown[0], GBP)} ", ha="right", va="center", fontsize=9, color=style.INK)
    ax.text(shown[-1], place, f" {number(shown[-1], GBP)}", ha="left", va="center", fontsize=9, color=style.INK)


def describe_tornado(rows: pd.DataFrame, *, base: float, x: str) -> str:
    """Alt text of `plot_tornado`: both ends of every bar."""
    parts = [f"{x}, when one thing at a time is changed"]
    if math.isfinite(base):
        parts.append(f"As planned: {number(base, GBP)}")
    for line in tornado_table(rows).itertuples():
        low, high = (number(v, GBP) if math.isfinite(v) else "not released" for v in (line.low, line.high))
        parts.append(f"{line.label}: {low} when lower, {high} when higher")
    return style.sentences(parts)


# ---- variants of the cost, one below the other -----------------------------------------------------


def plot_variants(rows: pd.DataFrame, *, x: str) -> Figure:
    """Differences in cost with their intervals under headings; each heading has a mark and colour of its own.

    `rows` have `label`, `group`, `value`, `lower`, `upper`, `unit`, `status`, in order.
    """
    places = _variant_places(rows)
    names = [f"{style.fit(str(r.label), 2.2, 9, lines=2)}\n{_variant_number(r)}" for r in rows.itertuples()]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    figure, axes = style.narrow_figure((0.15 * lines + 0.12) * (len(rows) + 0.75 * rows["group"].nunique()) + 1.2)
    ax = axes[0, 0]
    style.effect_axis(ax, rows, null=0.0, along="x")
    ax.axvline(0, color=style.INK, linewidth=1)
    groups = list(dict.fromkeys(rows["group"]))
    for (at, row), look in zip(places, [groups.index(g) for g in rows["group"]], strict=True):
        colour = style.group_style(look)["color"]
        if np.isfinite(row.value):
            style.draw_interval(ax, at, (row.value, row.lower, row.upper), along="x", color=colour, width=2,
                                marker=_GROUP_MARKS[look % len(_GROUP_MARKS)], fill=look % 2 == 0)  # fmt: skip
    ax.set_yticks([at for at, _ in places], names, fontsize=9)
    for group in groups:
        first = min(at for (at, row) in places if row.group == group)
        ax.text(-0.02, first - 0.88, group, transform=ax.get_yaxis_transform(), fontsize=9.5, fontweight="bold",
                color=style.INK, va="center", ha="right")  # fmt: skip
    ax.set_ylim(max((at for at, _ in places), default=0) + 0.7, -0.5)
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
    money_axis(ax, "x")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    style.name_axes(ax, x=style.fit(x, 2.9, 9.5))
    return figure


def _variant_places(rows: pd.DataFrame) -> Sequence[tuple[float, object]]:
    found, at, last = [], -1.0, None
    for row in rows.itertuples():
        at += 1.0 if row.group == last else 1.75
        found.append((at, row))
        last = row.group
    return found


def _variant_number(row: object) -> str:
    if np.isfinite(row.value):
        return style.interval_words(row.value, row.lower, row.upper, "GBP")
    return "not released" if row.status == "suppressed" else "no number"


def describe_variants(rows: pd.DataFrame, *, x: str) -> str:
    """Alt text of `plot_variants`: every difference with its interval."""
    parts = [x]
    for group in dict.fromkeys(rows["group"]):
        told = [f"{r.label} {_variant_number(r)}" for r in rows[rows["group"] == group].itertuples()]
        parts.append(f"{group}: {'; '.join(told)}")
    return style.sentences(parts)
