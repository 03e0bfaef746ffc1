"""Figures of where people are: places over the year with and without the service, and moves between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path

from evalkit.report import figures_style as style

# Fill and hatch of places in their order, from most to least looked after; text on them reaches 4.5:1.
_FILLS = ("#7a3e6e", "#a64b00", "#f0c987", "#bcd9ee", "#005a9c", "#3f6b2a", "#dfe3e8", "#5c5c5c")
_HATCHES = ("", "///", "...", "\\\\\\", "", "xxx", "--", "++")
_DARK = frozenset({"#7a3e6e", "#a64b00", "#005a9c", "#3f6b2a", "#5c5c5c"})
HIDDEN = "Too few to show"
_LEAST_NAMED = 6.0  # per cent: a narrower piece has no room for its number
_HALF = 0.36
_PANEL_INCHES = 3.0  # height of one panel of moves


def places_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Shares in per cent with `day` (int), `place` (label), `with`, `without`; NaN where not released.

    What is worked out can fall below nought, where there is nobody: it is 0 here.

    `rows` is the table `pathway.occupancy`: rows `day <n>`, columns `<place> with` and `<place> without`.
    """
    kept = rows[rows["column"].str.endswith((" with", " without"))]
    names = kept["column"].str.rsplit(" ", n=1)
    table = pd.DataFrame({
        "day": kept["row"].str.removeprefix("day ").astype(int), "key": names.str[0], "side": names.str[1],
        "place": kept["label"], "value": kept["value"].astype(float).clip(lower=0),
    })  # fmt: skip
    wide = table.pivot(index=["day", "key", "place"], columns="side", values="value").reset_index()
    order = {key: at for at, key in enumerate(pd.unique(table["key"]))}
    return wide.sort_values(["day", "key"], key=lambda c: c.map(order) if c.name == "key" else c).reset_index(drop=True)


def plot_places(rows: pd.DataFrame, *, with_text: str, without_text: str) -> Figure:
    """Two bars a day, with the service and without it: how 100 people are spread over places.

    What was not released is the white piece at the end of a bar.
    """
    table = places_table(rows)
    days, places = sorted(table["day"].unique()), list(pd.unique(table["place"]))
    figure, axes = style.narrow_figure(1.02 * len(days) + 0.42 * len(places) / 2 + 1.0)
    ax = axes[0, 0]
    ticks = []
    for d, day in enumerate(days):
        of_day = table[table["day"] == day].set_index("place")
        for side, (column, text) in enumerate((("with", with_text), ("without", without_text))):
            at = 2.5 * d + side
            _bar(ax, at, of_day[column].reindex(places).to_numpy(dtype=float))
            ticks.append((at, text))
        ax.text(0, 2.5 * d - 0.5, f"{day_words(day)}", fontsize=9.5, fontweight="bold", color=style.INK, va="bottom")
    ax.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
    ax.set_ylim(2.5 * len(days) - 1.0, -1.1)
    ax.set_xlim(0, 100)
    ax.grid(visible=False)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    style.name_axes(ax, x="Out of 100 people")
    seen = table.groupby("place")["with"].apply(lambda shares: bool(np.isfinite(shares).any()))
    never = [place for place in places if not seen[place]]
    hidden = HIDDEN if np.isnan(table[["with", "without"]].to_numpy()).any() else ""
    _legend(figure, [(k, place) for k, place in enumerate(places) if seen[place]], ": ".join([hidden, *never]))
    return figure


def _hatch(place: int) -> str:
    """Beyond the last fill the fills begin again, with other hatches."""
    return _HATCHES[(place + 3 * (place // len(_FILLS))) % len(_HATCHES)]


def _bar(ax: Axes, at: float, shares: np.ndarray) -> None:
    """Pieces side by side; what rounding adds beyond 100 is taken off each in proportion, the numbers stay."""
    left, shares = 0.0, np.nan_to_num(shares)
    for k, (share, size) in enumerate(zip(shares, shares / max(shares.sum() / 100, 1.0), strict=True)):
        fill = _FILLS[k % len(_FILLS)]
        ax.barh(at, size, 2 * _HALF, left=left, color=fill, hatch=_hatch(k), edgecolor="white",
                linewidth=0.8)  # fmt: skip
        if share >= _LEAST_NAMED:
            ink = "white" if fill in _DARK else style.INK
            ax.text(left + size / 2, at, f"{share:.0f}", ha="center", va="center", fontsize=9, color=ink,
                    fontweight="bold", bbox={"facecolor": fill, "edgecolor": "none", "pad": 1.2})  # fmt: skip
        left += size
    if left < 99.5:
        ax.barh(at, 100 - left, 2 * _HALF, left=left, color="white", edgecolor=style.MUTED, linestyle=":", linewidth=1)


def _legend(figure: Figure, places: Sequence[tuple[int, str]], hidden: str) -> None:
    handles = [
        Rectangle((0, 0), 1, 1, facecolor=_FILLS[k % len(_FILLS)], hatch=_hatch(k), edgecolor="white")
        for k, _ in places
    ]
    names = [style.fit(place, 2.1, 9) for _, place in places]
    if hidden:
        handles.append(Rectangle((0, 0), 1, 1, facecolor="white", edgecolor=style.MUTED, linestyle=":"))
        names.append(style.fit(hidden, 2.1, 9))
    figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False, fontsize=9, handlelength=1.6)


def day_words(day: int) -> str:
    """A day since the start in words: `At the start`, `After 3 months`."""
    if day == 0:
        return "At the start"
    months = round(day / 30.4)
    return f"After {months} month{'s' if months != 1 else ''}"


def describe_places(rows: pd.DataFrame, *, with_text: str, without_text: str) -> str:
    """Alt text of `plot_places`: every place on every day, both ways."""
    table = places_table(rows)
    parts = ["Bars of how 100 people are spread over places"]
    for day in sorted(table["day"].unique()):
        for column, text in (("with", with_text), ("without", without_text)):
            of_day = table[table["day"] == day]
            shares = [
                f"{place} {value:.0f}" if np.isfinite(value) else f"{place} not released"
                for place, value in zip(of_day["place"], of_day[column], strict=True)
            ]
            parts.append(f"{day_words(day)}, {text[:1].lower()}{text[1:]}")
            parts += shares  # a sentence each: nobody can hold a list of nine numbers in the ear
    return style.sentences(parts)


# ---- moves --------------------------------------------------------------------------------------


def moves_table(rows: pd.DataFrame) -> pd.DataFrame:
    """`who, start, target` (keys), `share` of all of `who` in per cent; NaN where not released.

    A move that is withheld of one group is left out of all, so that groups can be compared by what is drawn.
    `rows` is the table `pathway.flow`: rows `<who>|<start>`, columns `started`, `<target> people`.
    """
    ends = rows["row"].str.split("|", expand=True)
    frame = rows.assign(who=ends[0], start=ends[1])
    total = frame[frame["column"] == "started"].set_index(["who", "start"])["value"].astype(float)
    moved = frame[frame["column"].str.endswith(" people")]
    target = moved["column"].str.removesuffix(" people")
    everybody = moved["who"].map(total.groupby("who").sum(min_count=1))
    found = pd.DataFrame({
        "who": moved["who"], "start": moved["start"], "target": target, "share": 100 * moved["value"] / everybody,
        "started": 100 * total.reindex(pd.MultiIndex.from_frame(moved[["who", "start"]])).to_numpy() / everybody,
    }).reset_index(drop=True)  # fmt: skip
    found.loc[found["started"].isna(), "share"] = np.nan
    partly = found.groupby(["start", "target"])["share"].transform(lambda shares: shares.isna().any())
    found.loc[partly.to_numpy(dtype=bool), "share"] = np.nan
    return found


def plot_moves(rows: pd.DataFrame, *, labels: Mapping[str, str]) -> Figure:
    """Bands from where people were at the start to where they were a year later, one panel a group.

    Their width is people, out of 100 of the group; moves of too few to show, in either group, end at the foot.
    `labels` names places by key, in the order in which they stand.
    """
    table = moves_table(rows)
    groups = list(pd.unique(table["who"]))
    figure, axes = style.narrow_figure(3.3 * max(len(groups), 1) + 0.3, rows=max(len(groups), 1))
    for ax, who in zip(axes[:, 0], groups, strict=False):
        _moves_panel(ax, table[table["who"] == who], labels, who)
    return figure


def _moves_panel(ax: Axes, table: pd.DataFrame, labels: Mapping[str, str], who: str) -> None:
    order = [key for key in labels if key in set(table["start"]) | set(table["target"])]
    fills = {key: _FILLS[k] for k, key in enumerate(order)}
    started = table.drop_duplicates("start").set_index("start")["started"].dropna()
    shown = table[table["share"].notna()]
    # Rounded numbers of those who moved can pass those who began: bands are drawn no wider than where they start.
    over = shown.groupby("start")["share"].transform("sum") / shown["started"]
    shown = shown.assign(share=shown["share"] / over.clip(lower=1))
    arrived = shown.groupby("target")["share"].sum()
    hidden = max(float(started.sum() - shown["share"].sum()), 0.0)
    left, right = _stack([(k, started.get(k, 0.0)) for k in order]), _stack([(k, arrived.get(k, 0.0)) for k in order])
    foot = max([top + size for top, size in right.values()], default=0.0) + 3
    out, into, rest = {k: v[0] for k, v in left.items()}, {k: v[0] for k, v in right.items()}, foot
    for start in [k for k in order if k in started.index]:
        own = shown[shown["start"] == start].set_index("target")["share"]
        for target in [k for k in order if k in own.index]:
            _band(ax, out[start], into[target], float(own[target]), fills[start], 0.55)
            out[start] += own[target]
            into[target] += own[target]
        lost = max(float(started[start]) - float(own.sum()), 0.0)
        _band(ax, out[start], rest, lost, style.RULE, 0.8)
        rest += lost
    bottom = foot + hidden + 2
    begun = [(top, size, f"{_cut(labels[key])}: {size:.0f}", fills[key]) for key, (top, size) in left.items()]
    # Not the whole of those who are there at the end: no number.
    ended = [(top, size, _cut(labels[key]), fills[key]) for key, (top, size) in right.items()]
    if hidden > 0.5:
        ended.append((foot, hidden, "Moves of too few to show", style.RULE))
    for side, nodes in ((0.0, begun), (1.0, ended)):
        bottom = max(bottom, _nodes(ax, side, nodes, unit=(foot + hidden + 9) / _PANEL_INCHES))
    ax.set_xlim(-0.62, 1.62)
    ax.set_ylim(bottom, -7)
    ax.axis("off")
    ax.text(-0.02, -3, "At the start", ha="right", fontsize=9, color=style.MUTED)
    ax.text(1.02, -3, "A year later", ha="left", fontsize=9, color=style.MUTED)
    ax.set_title(f"{who}, of 100 people", loc="left", color=style.INK, fontsize=10.5, fontweight="bold")


def _stack(sizes: Sequence[tuple[str, float]]) -> dict[str, tuple[float, float]]:
    """Top and size of each part, from above, with a gap between."""
    found, at = {}, 0.0
    for key, size in sizes:
        if size > 0:
            found[key] = (at, float(size))
            at += size + 3
    return found


def _band(ax: Axes, left: float, right: float, size: float, fill: str, alpha: float) -> None:
    if size <= 0:
        return
    points = [
        (0.03, left), (0.5, left), (0.5, right), (0.97, right),
        (0.97, right + size), (0.5, right + size), (0.5, left + size), (0.03, left + size), (0.03, left),
    ]  # fmt: skip
    codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
    ax.add_patch(PathPatch(Path(points, codes), facecolor=fill, alpha=alpha, linewidth=0))


def _cut(label: str) -> str:
    """A place's name in at most three lines beside its node."""
    return style.fit(label, 1.3, 8.5, lines=3)


def _nodes(ax: Axes, side: float, nodes: Sequence[tuple[float, float, str, str]], *, unit: float) -> float:
    """Nodes (top, size, label, fill) of one side, labels pushed down until none overlaps; returns the lowest end.

    `unit` is one inch in the units of the axis.
    """
    below, lowest = -math.inf, -math.inf
    for top, size, label, fill in nodes:
        ax.add_patch(Rectangle((side - 0.03 if side else 0.0, top), 0.03, size, facecolor=fill, linewidth=0))
        tall = (0.15 * (label.count("\n") + 1) + 0.03) * unit
        middle = max(top + size / 2, below + tall / 2)
        below = middle + tall / 2
        lowest = max(below, top + size)
        ax.text(1.02 if side else -0.02, middle, label, ha="left" if side else "right", va="center", fontsize=8.5,
                color=style.INK)  # fmt: skip
    return lowest


def describe_moves(rows: pd.DataFrame, *, labels: Mapping[str, str]) -> str:
    """Alt text of `plot_moves`: every move that is shown, out of 100 people of the group."""
    table = moves_table(rows)
    parts = ["Bands from where people were at the start to where they were a year later"]
    for who, moves in table.groupby("who", sort=False):
        shown, began = moves[moves["share"].notna()], moves.drop_duplicates("start").dropna(subset="started")
        begun = [f"{labels[m.start]} {m.started:.0f}" for m in began.itertuples()]
        told = [f"{labels[m.start]}, then {labels[m.target][:1].lower()}{labels[m.target][1:]}: {m.share:.0f}"
                for m in shown.itertuples()]  # fmt: skip
        parts += [f"{who}, out of 100 people, at the start", *(begun or ["Not released"])]
        parts += ["A year later", *(told or ["No move is released"])]
    return style.sentences(parts)


# ---- effects of one kind, one below the other ----------------------------------------------------


def plot_differences(rows: pd.DataFrame, *, x: str, title: str = "") -> Figure:
    """Estimates of one unit, one a line, with their intervals; what is not shown says why in two words.

    `rows` are estimates in the columns of the results glossary, in order; naive ones are left out.
    """
    kept = rows[(rows["kind"] == "estimate") & (rows["role"] != "naive")]
    names = [f"{style.fit(str(row.label), 2.1, 9)}\n{style.fit(_difference_words(row), 2.1, 9)}"
             for row in kept.itertuples()]  # fmt: skip
    lines = max((name.count("\n") + 1 for name in names), default=1)
    figure, axes = style.narrow_figure((0.17 * lines + 0.16) * len(kept) + 1.2)
    ax = axes[0, 0]
    null = style.null_of(str(kept["unit"].iloc[0])) if len(kept) else 0.0
    style.effect_axis(ax, kept, null=null, along="x")
    ax.axvline(null, color=style.INK, linewidth=1)
    for place, row in enumerate(kept.itertuples()):
        look = style.ROLE_LOOKS[row.role]
        if np.isfinite(row.value):
            style.draw_interval(ax, place, (row.value, row.lower, row.upper), along="x", color=look["color"],
                                marker=look["marker"], fill=look["fill"])  # fmt: skip
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
    style.name_axes(ax, x=style.wrap(x, 36), title=title)
    return figure


def describe_differences(rows: pd.DataFrame, *, x: str) -> str:
    """Alt text of `plot_differences`: every estimate with its interval."""
    kept = rows[(rows["kind"] == "estimate") & (rows["role"] != "naive")]
    return style.sentences([x, *(f"{row.label}: {_difference_words(row)}" for row in kept.itertuples())])


def _difference_words(row: object) -> str:
    if np.isfinite(row.value):
        return style.interval_words(row.value, row.lower, row.upper, row.unit)
    return "not released" if row.status == "suppressed" else "too few to tell"


# ---- events over time -----------------------------------------------------------------------------


def plot_mean_count(rows: pd.DataFrame, *, cells: Mapping[str, str], y: str) -> Figure:
    """Expected events per person by day since the start, one line a cell, with bands; one panel a group of two.

    `rows` is the table `mean_count`: rows `<cell>|<day>`; `cells` names the cells in words, after and before of one
    group and then of the other.
    """
    ends = rows["row"].str.rsplit("|", n=1, expand=True)
    table = rows.assign(cell=ends[0], day=ends[1].astype(int))
    names = list(cells)
    figure, axes = style.narrow_figure(5.6, rows=2, share_y=True)
    top = float(np.nanmax(table[["value", "upper"]].to_numpy(dtype=float), initial=0.0)) * 1.08 or 1.0
    for ax, pair in zip(axes[:, 0], (names[:2], names[2:]), strict=True):
        labels = []
        for place, name in enumerate(pair):
            line = table[(table["cell"] == name) & table["value"].notna()].sort_values("day")
            look = style.group_style(place)
            ax.fill_between(line["day"], line["lower"], line["upper"], color=look["color"], alpha=0.15, linewidth=0)
            ax.plot(line["day"], line["value"], linewidth=2, markersize=4, **look)
            if len(line):
                last = line.iloc[-1]
                labels.append((float(last["day"]), float(last["value"]), style.fit(cells[name], 1.2, 9), look["color"]))
        ax.set_xlim(0, float(table["day"].max()))
        ax.set_ylim(0, top)
        style.name_axes(ax, x="Days since discharge" if ax is axes[-1, 0] else "", y=y if ax is axes[0, 0] else "")
        style.label_ends(ax, labels, height=2.2)
    return figure


def describe_mean_count(rows: pd.DataFrame, *, cells: Mapping[str, str], y: str) -> str:
    """Alt text of `plot_mean_count`: the last number of every line."""
    ends = rows["row"].str.rsplit("|", n=1, expand=True)
    table = rows.assign(cell=ends[0], day=ends[1].astype(int))
    parts = [f"{y} by day since discharge"]
    for name, words in cells.items():
        line = table[(table["cell"] == name) & table["value"].notna()].sort_values("day")
        if line.empty:
            parts.append(f"{words}: not released")
            continue
        last = line.iloc[-1]
        told = style.interval_words(last["value"], last["lower"], last["upper"], str(last["unit"]))
        parts.append(f"{words}: {told} by day {last['day']}")
    return style.sentences(parts)
