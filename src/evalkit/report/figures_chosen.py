"""Figure of outcomes that people chose: the difference with its interval, and how far the missing could move it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from evalkit.report import figures_style as style
from evalkit.report.chosen_facts import ChosenFact

AXIS = "Percentage points: change here, less change elsewhere"


def plot_chosen(facts: Sequence[ChosenFact]) -> Figure:
    """One line an outcome: point and thick line for the interval, dashed line from the least to the most it could be.

    An outcome without a number says so in its place.
    """
    names = [style.fit(fact.outcome.label, 2.0, 9) for fact in facts]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    figure, axes = style.narrow_figure((0.17 * lines + 0.2) * max(len(facts), 1) + 0.9)
    ax = axes[0, 0]
    ends = pd.DataFrame(
        [{"value": f.value, "lower": min(f.least, f.lower), "upper": max(f.most, f.upper)} for f in facts]
    )
    if len(facts):
        style.effect_axis(ax, ends, null=0.0, along="x")
    ax.axvline(0.0, color=style.INK, linewidth=1)
    for place, fact in enumerate(facts):
        if not fact.has_number:
            ax.text(0.0, place, f" {told(fact)}", color=style.MUTED, fontsize=9, va="center",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
            continue
        if fact.least == fact.least and fact.most == fact.most:
            ax.plot([fact.least, fact.most], [place, place], color=style.MUTED, linewidth=1, linestyle=(0, (3, 2)))
            ax.plot([fact.least, fact.most], [place, place], "|", color=style.MUTED, markersize=8)
        style.draw_interval(ax, place, (fact.value, fact.lower, fact.upper), along="x", color=style.TREATED, marker="o",
                            width=3)  # fmt: skip
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False)
    ax.tick_params(axis="y", length=0)
    style.name_axes(ax, x=style.wrap(AXIS, 44))
    return figure


def describe_chosen(facts: Sequence[ChosenFact]) -> str:
    """Alt text of `plot_chosen`: every difference, its interval and how far the missing could move it."""
    return style.sentences([AXIS, *(f"{fact.outcome.label}: {told(fact)}" for fact in facts)])


def told(fact: ChosenFact) -> str:
    """The difference in a few words, or why there is none."""
    if fact.has_number:
        interval = f" ({_points(fact.lower)} to {_points(fact.upper)})" if fact.has_range else ""
        most = (
            f"; at worst {_points(fact.least)} to {_points(fact.most)}"
            if fact.least == fact.least and fact.most == fact.most
            else ""
        )
        return f"{_points(fact.value)}{interval}{most}"
    words = {"not_recorded": "not recorded", "not_released": "not released", "cannot_tell": "too few to tell"}
    return words.get(fact.status, "not available")


def _points(value: float) -> str:
    return f"{value:.1f}".replace("-", "−")
