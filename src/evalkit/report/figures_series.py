"""Figures of one area's series: gaps and their placebos, what was expected, interrupted series, control charts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evalkit.report import figures_style as style

_SIZE, _SMALL = 10.0, 9.0
_HEIGHT = 3.3


def _columns(rows: pd.DataFrame, names: Sequence[str]) -> tuple[list[str], pd.DataFrame]:
    """Period labels and the values of these columns by period, in order of appearance."""
    table = style.by_group(rows, names)
    return [str(label) for label in table.index], table


def _time_axis(ax: Axes, labels: Sequence[str], values: np.ndarray, *, from_zero: bool) -> None:
    """Limits that hold every number; `values` may hold NaN."""
    ax.set_xlim(-0.6, max(len(labels), 1) - 0.4)
    seen = values[np.isfinite(values)]
    low, high = (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)
    low = min(low, 0.0) if from_zero else low
    pad = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    ax.set_ylim(low - (pad if low < 0 or not from_zero else 0), high + pad)
    style.period_ticks(ax, labels)


def _finish(ax: Axes, labels: Sequence[str], y_label: str, *, adoption: object, start_text: str,
            start_month: int) -> None:  # fmt: skip
    style.name_axes(ax, y=style.fit(y_label, 5.0, 9), raised=True)
    style.mark_start(ax, style.start_place(labels, adoption, start_month=start_month), start_text)


def _first_after(labels: Sequence[str], adoption: object, start_month: int) -> int | None:
    """Place of the first period of the service; None if the start is unknown or lies outside."""
    place = style.start_place(labels, adoption, start_month=start_month)
    return None if place is None else int(place + 0.5)


def _mean(values: np.ndarray) -> float:
    seen = values[np.isfinite(values)]
    return float(seen.mean()) if len(seen) else float("nan")


def _withheld(rows: pd.DataFrame, column: str, table: pd.DataFrame) -> np.ndarray:
    """Which periods of a column disclosure control held back."""
    status = rows[rows["column"] == column].set_index("row")["status"]
    return (status.reindex(table.index) == "suppressed").to_numpy()


def _hidden(rows: pd.DataFrame, column: str, table: pd.DataFrame) -> str:
    """How many periods have no number, and why."""
    held = _withheld(rows, column, table)
    other = table[column].isna().to_numpy() & ~held
    counts = ((int(held.sum()), "not released"), (int(other.sum()), "without a number"))
    return ", ".join(f"{n} period{'s' if n != 1 else ''} {why}" for n, why in counts if n)


# ---- gaps, the treated area's among the placebos -------------------------------------------------


def plot_gap(
    rows: pd.DataFrame, *, treated: Sequence[str], adoption: object = None,
    y_label: str = "Difference from what was expected, per 100 person-years", start_text: str = "service starts",
    start_month: int = 4,
) -> Figure:  # fmt: skip
    """Each area less its own synthetic one: the treated area in bold, the others in grey as placebos.

    `rows` is the table `gap.<outcome>`: `row` the period, `column` the area, `value` the difference. A placebo so
    badly fitted that it would press the rest together runs out of the picture, which then says so.
    """
    labels, table, others = _gaps(rows, treated)
    figure, axes = style.narrow_figure(_HEIGHT)
    ax = axes[0, 0]
    x = np.arange(len(labels))
    reach = _reach(table, others)
    _time_axis(ax, labels, np.clip(table.to_numpy(dtype=float), -reach, reach), from_zero=False)
    for area in others:
        ax.plot(x, table[area], color="#9aa1aa", linewidth=0.9, alpha=0.75, zorder=2)
    ax.axhline(0, color=style.INK, linewidth=1)
    ends = []
    for place, area in enumerate(a for a in treated if a in table):
        look = style.group_style(place)
        values = table[area].to_numpy(dtype=float)
        ax.plot(x, values, linewidth=2.6, markersize=5, zorder=4, **look)
        style.mark_gaps(ax, _withheld(rows, area, table), look["color"], lift=0.01 + 0.07 * place)
        shown = np.flatnonzero(np.isfinite(values))
        if len(shown):
            ends.append((float(shown[-1]), float(values[shown[-1]]), style.fit(area, 0.9, 9), look["color"]))
    _finish(ax, labels, y_label, adoption=adoption, start_text=start_text, start_month=start_month)
    style.label_ends(ax, ends, height=2.3)
    beyond = _beyond(table, others, reach)
    note = f"Grey: {len(others)} other area{'s' if len(others) != 1 else ''} in its place" if others else ""
    ax.set_xlabel(note + (f"; {beyond} run{'s' if beyond == 1 else ''} out of the picture" if beyond else ""),
                  fontsize=_SMALL, color=style.MUTED)  # fmt: skip
    return figure


def _gaps(rows: pd.DataFrame, treated: Sequence[str]) -> tuple[list[str], pd.DataFrame, list[str]]:
    labels, table = _columns(rows, list(pd.unique(rows["column"])))
    return labels, table, [str(c) for c in table.columns if c not in treated]


def _reach(table: pd.DataFrame, others: Sequence[str]) -> float:
    """How far from nought the picture goes: all of the treated, and the placebos but for the wildest."""
    real = table.drop(columns=list(others)).abs().to_numpy(dtype=float)
    spread = table[list(others)].abs().max().dropna().to_numpy(dtype=float)
    most = float(np.median(spread)) * 3 if len(spread) else 0.0
    top = np.nanmax(real) if np.isfinite(real).any() else 0.0
    return max(1.1 * float(top), most) or 1.0


def _beyond(table: pd.DataFrame, others: Sequence[str], reach: float) -> int:
    return int((table[list(others)].abs().max() > 1.1 * reach).sum())


def describe_gap(rows: pd.DataFrame, *, treated: Sequence[str], adoption: object = None,
                 y_label: str = "Difference from what was expected, per 100 person-years",
                 start_month: int = 4) -> str:  # fmt: skip
    """Alt text of `plot_gap`: each treated area's mean gap before and after, and its rank among all areas."""
    labels, table, others = _gaps(rows, treated)
    first = _first_after(labels, adoption, start_month)
    span = f", by period from {labels[0]} to {labels[-1]}" if labels else ""
    parts = [f"Line chart of {y_label[:1].lower()}{y_label[1:]}{span}",
             f"Grey lines: {len(others)} other areas in its place" if others else ""]  # fmt: skip
    after = table.iloc[first or 0 :].mean()
    size = after.abs().dropna().sort_values(ascending=False, kind="stable")
    for area in treated:
        if area not in table or area not in size.index:
            parts.append(f"{area}: no number is released")
            continue
        text = f"{area}: mean "
        if first is not None:
            text += f"before the start {style.number_text(table[area].iloc[:first].mean())} and after it "
        text += f"{style.number_text(after[area])}, number {list(size.index).index(area) + 1} of {len(size)} by size"
        hidden = _hidden(rows, area, table)
        parts.append(f"{text}; {hidden}" if hidden else text)
    return style.sentences(parts)


# ---- the treated area and its synthetic one ------------------------------------------------------


def plot_synthetic(
    rows: pd.DataFrame, *, y_label: str = "per 100 person-years", adoption: object = None,
    start_text: str = "service starts", start_month: int = 4,
) -> Figure:  # fmt: skip
    """What was seen beside what was expected without the service; the gap after the start is shaded.

    `rows` is the table `synthetic.<outcome>`: `row` the period, columns "observed" and "expected".
    """
    labels, table = _columns(rows, ("observed", "expected"))
    observed, expected = (table[c].to_numpy(dtype=float) for c in ("observed", "expected"))
    figure, axes = style.narrow_figure(_HEIGHT)
    ax = axes[0, 0]
    x = np.arange(len(labels))
    _time_axis(ax, labels, table.to_numpy(dtype=float), from_zero=True)
    first = _first_after(labels, adoption, start_month) or 0
    ax.fill_between(x[first:], observed[first:], expected[first:], facecolor=style.RULE, edgecolor=style.MUTED,
                    hatch="....", linewidth=0, alpha=0.6, zorder=1)  # fmt: skip
    ends = []
    for place, (values, name) in enumerate(((observed, "seen"), (expected, "expected without it"))):
        column = str(table.columns[place])
        look = style.group_style(place)
        ax.plot(x, values, linewidth=2.2, markersize=4.5, **look)
        style.mark_gaps(ax, _withheld(rows, column, table), look["color"], lift=0.01 + 0.07 * place)
        shown = np.flatnonzero(np.isfinite(values))
        if len(shown):
            ends.append((float(shown[-1]), float(values[shown[-1]]), style.fit(name, 0.85, 9), look["color"]))
    _finish(ax, labels, y_label, adoption=adoption, start_text=start_text, start_month=start_month)
    style.label_ends(ax, ends, height=2.4)
    return figure


def describe_synthetic(rows: pd.DataFrame, *, y_label: str = "per 100 person-years", adoption: object = None,
                       start_month: int = 4) -> str:  # fmt: skip
    """Alt text of `plot_synthetic`: means of both lines before and after the start, and the last of each."""
    labels, table = _columns(rows, ("observed", "expected"))
    first = _first_after(labels, adoption, start_month)
    parts = [f"Two lines, {y_label}: seen, and expected without the service"]
    spans = [("", slice(None))] if first is None else [("before the start", slice(0, first)),
                                                       ("after the start", slice(first, None))]  # fmt: skip
    for when, span in spans:
        seen, without = (table[c].to_numpy(dtype=float)[span] for c in ("observed", "expected"))
        both = np.isfinite(seen) & np.isfinite(without)
        if both.any():
            gap = _mean((seen - without)[both])
            parts.append(f"Mean {when}: seen {style.number_text(_mean(seen[both]))}, expected "
                         f"{style.number_text(_mean(without[both]))}, gap {style.number_text(gap)}")  # fmt: skip
        else:
            parts.append(f"No number {when} is released")
    return style.sentences([part.replace("Mean :", "Mean:") for part in parts] + [_hidden(rows, "observed", table)])


# ---- interrupted time series ---------------------------------------------------------------------


def plot_its(
    rows: pd.DataFrame, *, y_label: str = "per 100 person-years", adoption: object = None,
    start_text: str = "service starts", start_month: int = 4,
) -> Figure:  # fmt: skip
    """An interrupted series: what was seen, what the model fits, and where the old trend would have gone.

    `rows` is the table `its.<outcome>`: `row` the period, columns "observed", "fitted" and "counterfactual", the
    last with `lower` and `upper`; a counterfactual before the start may be NaN.
    """
    labels, table = _columns(rows, ("observed", "fitted", "counterfactual"))
    band = rows[rows["column"] == "counterfactual"].set_index("row")[["lower", "upper"]].reindex(table.index)
    low, high = (band[c].to_numpy(dtype=float) for c in ("lower", "upper"))
    figure, axes = style.narrow_figure(_HEIGHT + 0.3)
    ax = axes[0, 0]
    x = np.arange(len(labels))
    _time_axis(ax, labels, np.column_stack([table.to_numpy(dtype=float), low, high]), from_zero=True)
    first = _first_after(labels, adoption, start_month)
    ax.fill_between(x, low, high, color=style.OTHER, alpha=0.16, linewidth=0, zorder=1)
    for end in (low, high):
        ax.plot(x, end, color=style.OTHER, linewidth=0.7, linestyle=":", zorder=1)
    looks = (style.group_style(0) | {"marker": ""}, style.group_style(1) | {"marker": ""})
    for part in (slice(0, first), slice(first, None)) if first else (slice(None),):
        ax.plot(x[part], table["fitted"].to_numpy(dtype=float)[part], linewidth=2.2, zorder=3, **looks[0],
                label="fitted" if part.start in (0, None) else "_")  # fmt: skip
    ax.plot(x, table["counterfactual"], linewidth=2, zorder=3, label="expected without it", **looks[1])
    ax.plot(x, table["observed"], "o", color=style.INK, markerfacecolor="white", markersize=5, zorder=4, label="seen")
    style.mark_gaps(ax, _withheld(rows, "observed", table), style.INK, lift=0.01)
    _finish(ax, labels, y_label, adoption=adoption, start_text=start_text, start_month=start_month)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=_SMALL, labelcolor=style.INK)
    return figure


def describe_its(rows: pd.DataFrame, *, y_label: str = "per 100 person-years", adoption: object = None,
                 start_month: int = 4) -> str:  # fmt: skip
    """Alt text of `plot_its`: means seen and expected after the start, and both at the last period."""
    labels, table = _columns(rows, ("observed", "fitted", "counterfactual"))
    first = _first_after(labels, adoption, start_month) or 0
    parts = [f"Interrupted series, {y_label}: points seen, the fitted line, and the old trend carried on, dashed"]
    if first:
        parts.append(f"Mean seen before the start {_told(_mean(table['observed'].to_numpy(dtype=float)[:first]))}")
    late = table.iloc[first:]
    parts.append(f"Mean after the start: seen {_told(_mean(late['observed'].to_numpy(dtype=float)))}, expected without "
                 f"the service {_told(_mean(late['counterfactual'].to_numpy(dtype=float)))}")  # fmt: skip
    shown = rows[(rows["column"] == "counterfactual") & rows["value"].notna()]
    if len(shown):
        last = shown.iloc[-1]
        ends = f" ({_told(last['lower'])} to {_told(last['upper'])})" if np.isfinite(last["lower"]) else ""
        parts.append(f"At {last['row']}: fitted {_told(table['fitted'].get(last['row'], np.nan))}, expected "
                     f"{_told(last['value'])}{ends}")  # fmt: skip
    return style.sentences([*parts, _hidden(rows, "observed", table)])


def _told(value: float) -> str:
    return style.number_text(value) if np.isfinite(value) else "not released"


# ---- control charts ------------------------------------------------------------------------------

_FLAGS = (
    (0, "common cause", {"marker": "o", "color": "#7b838c"}),
    (1, "improvement", {"marker": "s", "color": style.TREATED}),
    (-1, "concern", {"marker": "^", "color": style.OTHER}),
)


def plot_xmr(
    rows: pd.DataFrame, *, y_label: str = "per 100 person-years", adoption: object = None,
    start_text: str = "service starts", start_month: int = 4,
) -> Figure:  # fmt: skip
    """A control chart as NHS readers know it: common cause in grey, improvement in blue, concern in orange.

    `rows` is the table `xmr.<outcome>`: `row` the period, columns "value", "mean", "lower", "upper" and "flag"
    (1 improvement, -1 concern, 0 common cause; the rule in words in `label`). Each kind of point has its own shape.
    """
    labels, table = _columns(rows, ("value", "mean", "lower", "upper", "flag"))
    figure, axes = style.narrow_figure(_HEIGHT + 0.3)
    ax = axes[0, 0]
    x = np.arange(len(labels))
    limits = table[["value", "mean", "lower", "upper"]].to_numpy(dtype=float)
    _time_axis(ax, labels, limits, from_zero=False)
    ends = []
    for column, name, line in (("upper", "upper limit", (0, (5, 3))), ("mean", "mean", "-"),
                               ("lower", "lower limit", (0, (5, 3)))):  # fmt: skip
        values = table[column].to_numpy(dtype=float)
        ax.plot(x, values, color=style.INK, linewidth=1.2, linestyle=line, drawstyle="steps-mid", zorder=2)
        shown = np.flatnonzero(np.isfinite(values))
        if len(shown):
            ends.append((float(shown[-1]), float(values[shown[-1]]), style.fit(name, 0.6, 9), style.INK))
    values, flags = table["value"].to_numpy(dtype=float), table["flag"].fillna(0).to_numpy(dtype=float)
    ax.plot(x, values, color="#9aa1aa", linewidth=1.4, zorder=3)
    for flag, name, look in _FLAGS:
        here = np.isfinite(values) & (flags == flag)
        ax.plot(x[here], values[here], linestyle="none", markersize=7 if flag else 6, zorder=4, label=name,
                markeredgecolor="white", markeredgewidth=0.6, **look)  # fmt: skip
    style.mark_gaps(ax, _withheld(rows, "value", table), style.MUTED, lift=0.01)
    _finish(ax, labels, y_label, adoption=adoption, start_text=start_text, start_month=start_month)
    style.label_ends(ax, ends, height=2.6)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=_SMALL, labelcolor=style.INK)
    return figure


def describe_xmr(rows: pd.DataFrame, *, y_label: str = "per 100 person-years", adoption: object = None,
                 start_month: int = 4) -> str:  # fmt: skip
    """Alt text of `plot_xmr`: mean and limits, and every flagged period with its rule."""
    labels, table = _columns(rows, ("value", "mean", "lower", "upper", "flag"))
    span = f", from {labels[0]} to {labels[-1]}" if labels else ""
    parts = [f"Control chart, {y_label}{span}"]
    known = table[["mean", "lower", "upper"]].dropna()
    if len(known):
        levels = known.drop_duplicates()
        for when, level in levels.iterrows():
            lead = "Mean" if len(levels) == 1 else f"From {when}: mean"
            parts.append(f"{lead} {style.number_text(level['mean'])}, limits {style.number_text(level['lower'])} to "
                         f"{style.number_text(level['upper'])}")  # fmt: skip
    flagged = rows[(rows["column"] == "flag") & rows["value"].isin([1, -1])]
    flagged = flagged[flagged["row"].isin(table.index[table["value"].notna()])]
    for flag, name in ((1, "improvement"), (-1, "concern")):
        part = flagged[flagged["value"] == flag]
        rules = "; ".join(_by_rule(part))
        parts.append(f"{len(part)} point{'s' if len(part) != 1 else ''} of {name}{f': {rules}' if rules else ''}")
    first = _first_after(labels, adoption, start_month)
    parts.append(f"The service starts at {labels[first]}" if first is not None else "")
    return style.sentences([*parts, _hidden(rows, "value", table)])


def _by_rule(flagged: pd.DataFrame) -> list[str]:
    """`2016-01, 2016-04 (two of three near a limit)` for each rule, in order of appearance."""
    return [
        f"{', '.join(flagged.loc[flagged['label'] == rule, 'row'])}" + (f" ({rule})" if rule else "")
        for rule in pd.unique(flagged["label"])
    ]
