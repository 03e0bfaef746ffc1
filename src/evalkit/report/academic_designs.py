"""Other designs, honest bounds and displacement of the rates by area, in the academic report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evalkit.core.outcomes import Outcome
from evalkit.report import figures
from evalkit.report.academic_checks import show_placebo_size
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.phrases import full_stop, number, with_interval
from evalkit.report.plain import referee_reason

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

INTRODUCTION = (
    "The same question was put to other designs, each fixed beforehand in the protocol. They differ in what they "
    "take for granted. An interval is given only where the method was found to hold its level on simulated panels "
    "like these; a design that can give none keeps its row and says why. The bounds after each forest ask how far the "
    "areas may have parted, without the service, before the finding falls [@rambachan2023]."
)


def show_designs(release: Release) -> None:
    """For each rate: all designs in one forest, and bounds on the effect if trends would have parted."""
    kept = [o for o in release.protocol.outcomes_of("rate") if len(release.table(f"designs.{o.key}"))]
    if not kept:
        show_text("The protocol names no other design for rates by area.", id="text-no-designs")
        return
    show_text(INTRODUCTION, id="text-designs")
    for outcome in kept:
        _show_outcome(release, outcome)
    rows = neighbourhood_table(release)
    if len(rows):
        show_table(rows, id="tab-neighbourhood", caption="Spillover: rate ratios of the planned estimator",
                   note="On the neighbours nothing should be found.")  # fmt: skip
    show_placebo_size(release)


def _show_outcome(release: Release, outcome: Outcome) -> None:
    name = outcome.key.replace("_", "-")
    rows = release.table(f"designs.{outcome.key}")
    show_text(f"### {outcome.label}: other designs\n\n{_agreement(rows)}", id=f"text-{name}-designs")
    show_figure(figures.plot_designs(rows), id=f"fig-{name}-designs", caption=f"{outcome.label}: every design",
                alt=figures.describe_designs(rows))  # fmt: skip
    honest = release.table(f"honest.{outcome.key}")
    if (honest["status"] == "shown").any():
        show_figure(figures.plot_sensitivity_curve(honest, y_label="Rate ratio"), id=f"fig-{name}-honest",
                    caption=f"{outcome.label}: bounds on the effect if trends would have parted",
                    alt=figures.describe_sensitivity_curve(honest))  # fmt: skip
    elif len(honest):
        show_text(f"No bounds stand here: {full_stop(referee_reason(str(honest['reason'].iloc[0])))}",
                  id=f"text-{name}-no-honest")  # fmt: skip
    moved = release.table(f"displacement.{outcome.key}")
    if moved["value"].notna().any():
        show_figure(figures.plot_displacement(moved), id=f"fig-{name}-moved",
                    caption=f"{outcome.label}, and where use may have moved: events or days a year, from the planned "
                            "estimates",
                    alt=figures.describe_displacement(moved))  # fmt: skip


def _agreement(rows: pd.DataFrame) -> str:
    """How many designs give a number, how many an interval, and on which side of no effect they lie."""
    others = rows[rows["role"] != "primary"] if (rows["role"] == "primary").any() else rows.iloc[1:]
    numbers = others[others["value"].notna()]
    intervals = numbers[numbers["lower"].notna() & numbers["upper"].notna()]
    low, high = (int((numbers["value"] < 1).sum()), int((numbers["value"] > 1).sum()))
    clear = int(((intervals["lower"] > 1) | (intervals["upper"] < 1)).sum())
    refused = len(others) - len(numbers)
    if numbers.empty:
        return f"None of the {len(others)} other designs can give a number here."
    least, most = (number(end, "ratio") for end in (numbers["value"].min(), numbers["value"].max()))
    text = (f"{len(numbers)} of {len(others)} other designs give a number, from {least} to {most}; {low} lie below 1 "
            f"and {high} above. {len(intervals)} give an interval, of which {clear} leave out 1.")  # fmt: skip
    return f"{text} {refused} were refused." if refused else text


def neighbourhood_table(release: Release) -> pd.DataFrame:
    """Spillover as text: outcome, what was changed, ratio and interval or the reason."""
    rows = release.table("neighbourhood")
    labels = {o.key: o.label for o in release.protocol.outcomes}
    told = [
        with_interval(r.value, r.lower, r.upper, r.unit)
        if np.isfinite(r.value)
        else full_stop(referee_reason(r.reason))
        for r in rows.itertuples()
    ]
    changed = [str(label).split(", ")[-1] for label in rows["label"]]
    return pd.DataFrame(
        {"Outcome": [labels.get(o, o) for o in rows["outcome"]], "Changed": changed, "Rate ratio": told}
    )
