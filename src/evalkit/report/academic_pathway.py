"""Pathways, repeated admissions and subgroups in the academic report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from evalkit.core.pathway import PLACE_LABELS
from evalkit.core.target_trial import build_trial_table, derive_trials
from evalkit.report import figures
from evalkit.report.academic_results import nothing
from evalkit.report.display import show_figure, show_table, show_text
from evalkit.report.figures_style import interval_words
from evalkit.report.people_effects import AFTER, DAYS, SUBGROUPS, occupancy_rows
from evalkit.report.phrases import full_stop, service_short
from evalkit.report.plain import referee_reason

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

PATHWAY = (
    "The table above sets the trial that one would have liked to run beside what was done [@hernan2016]. "
    "Two cohorts were chosen by the same rules on two days, at go-live and at the start of the baseline, and each "
    "person's state was followed day by day; where several held on one day, the first in the protocol's order counts. "
    "Occupancy is Aalen-Johansen's, which needs no Markov property under independent censoring [@datta2001]. The "
    "estimand is the effect on the treated cohort (ATT) of expected days in each state: (treated after less before) "
    "less (comparison after less before), the other cells weighted by the odds of being treated-after, given "
    "characteristics and the state on the first day. It assumes that without the service each state's share would have "
    "moved in parallel. Intervals resample people and fit the weights anew; they do not see a shock to a whole area. "
    "Counts of people are rounded, and counterfactual shares go in the steps that this leaves to observed ones."
)
RECURRENT = (
    "From the first eligible discharge of each person in each period, every admission and day in hospital was counted. "
    "The mean count takes the dead to have no more admissions [@ghosh2000]; the rate ratio is the interaction of group "
    "and period in a weighted rate model with errors clustered by person [@lin2000], among people alive."
)
DESIGNS = "people_designs"
BALANCED = (
    "The cohort at go-live was compared in other ways that the protocol names. Differences-in-differences compare how "
    "people's own days changed since the year before; the others compare levels, and take the areas to be alike given "
    "characteristics. The E-value is how strongly something unmeasured would have to go with both area and days, as a "
    "risk ratio, to explain the estimate away [@vanderweele2017]. Intervals count people, not areas."
)
SHRINKAGE = (
    "Differences in effect come from one doubly robust fit. They are taken as draws from a normal distribution about "
    "nought whose spread has a half-normal prior (scale 0.05 on the risk scale) and is integrated over, so that they "
    "are drawn towards each other as far as the data do not force them apart [@dixon1991; @jones2011]."
)


def show_pathway(release: Release) -> None:
    """Days in each state, occupancy with and without the service, moves, and balance."""
    if release.protocol.pathway is None:
        nothing("pathway: the protocol describes none", id="text-no-pathway")
        return
    show_text(PATHWAY, id="text-pathway")
    show_table(people_table(release, DAYS), id="tab-pathway", caption="Days per person in each state",
               note="Rows marked naive compare the treated cohort with the earlier one and are not evidence of "
                    "effect.")  # fmt: skip
    days = release.table(DAYS)
    if days["value"].notna().any():
        words = "Days per person: with the service, less without it"
        show_figure(figures.plot_differences(days, x=words), id="fig-pathway", caption="Effect on days in each state",
                    alt=figures.describe_differences(days, x=words))  # fmt: skip
    rows = occupancy_rows(release)
    if len(rows):
        service = service_short(release.protocol.study)
        sides = {"with_text": f"With {service}", "without_text": f"Without {service}"}
        show_figure(figures.plot_places(rows, **sides), id="fig-occupancy",
                    caption="State occupancy, observed and counterfactual",
                    alt=figures.describe_places(rows, **sides))  # fmt: skip
    moves = release.table("pathway.flow")
    if moves["value"].notna().any():
        show_figure(figures.plot_moves(moves, labels=PLACE_LABELS), id="fig-moves",
                    caption="Kind of place on the first and the last day; descriptive",
                    alt=figures.describe_moves(moves, labels=PLACE_LABELS))  # fmt: skip
    _show_balance(release, "balance.pathway", "fig-balance-pathway", "pathway cohorts")


def show_recurrence(release: Release) -> None:
    """Effects on all admissions and days in hospital after discharge, their curves and balance."""
    if release.protocol.after_discharge is None:
        nothing("repeated admission: the protocol does not ask for it", id="text-no-repeated")
        return
    show_text(RECURRENT, id="text-repeated")
    show_table(people_table(release, AFTER), id="tab-repeated",
               caption="Admissions and days in hospital after the first discharge of each period",
               note="Rows marked naive are not evidence of effect.")  # fmt: skip
    rows = release.table("mean_count")
    if rows["value"].notna().any():
        treated = release.protocol.areas.treated_label
        cells = {"treated after": f"{treated}, after", "treated before": f"{treated}, before",
                 "comparison after": "Comparators, after", "comparison before": "Comparators, before"}  # fmt: skip
        words = "Admissions per person"
        show_figure(figures.plot_mean_count(rows, cells=cells, y=words), id="fig-mean-count",
                    caption="Expected admissions since discharge, death ending the count, cells weighted alike",
                    alt=figures.describe_mean_count(rows, cells=cells, y=words))  # fmt: skip
    _show_balance(release, "balance.after_discharge", "fig-balance-repeated", "first discharges")


def show_subgroups(release: Release) -> None:
    """Interactions of the planned characteristics, shrunken together."""
    if not len(release.table(SUBGROUPS)):
        nothing("subgroup: the protocol names none", id="text-no-subgroups")
        return
    show_text(SHRINKAGE, id="text-subgroups")
    show_table(_subgroup_table(release), id="tab-subgroups", caption="Differences in effect on readmission between "
               "people with and without each characteristic",
               note="Risk differences. The last column is what a separate test would have shown.")  # fmt: skip
    rows = release.table(SUBGROUPS)
    if rows["value"].notna().any():
        words = "Difference between the two risk differences"
        show_figure(figures.plot_differences(rows, x=words), id="fig-subgroups", caption="Differences in effect, "
                    "shrunken", alt=figures.describe_differences(rows, x=words))  # fmt: skip


def show_trial(release: Release) -> None:
    """The trial that the pathway analysis emulates, target beside emulation."""
    if release.protocol.pathway is None:
        nothing("target trial: the protocol describes no pathway", id="text-no-trial")
        return
    table = build_trial_table(*derive_trials(release.protocol))
    show_table(table.rename(columns=str.capitalize), id="tab-trial",
               caption="The target trial and its emulation")  # fmt: skip


def show_people_designs(release: Release) -> None:
    """The cohort at go-live balanced in every other way, with the negative control, and its balance."""
    rows = release.table(DESIGNS)
    if not len(rows):
        nothing("other way of balancing people: the protocol names none", id="text-no-people-designs")
        return
    show_text(BALANCED, id="text-people-designs")
    show_table(_design_table(release), id="tab-people-designs",
               caption="Days on wards and in care homes in the year after go-live, per person",
               note="The placebo asks the first design for an effect in the year before go-live.")  # fmt: skip
    if rows["value"].notna().any():
        words = "Days per person: with the service, less without it"
        show_figure(figures.plot_differences(rows, x=words), id="fig-people-designs",
                    caption="One question, many ways of balancing people",
                    alt=figures.describe_differences(rows, x=words))  # fmt: skip
    _show_balance(release, "balance.people", "fig-balance-people", "the two sides at go-live")


def _design_table(release: Release) -> pd.DataFrame:
    rows = release.table(DESIGNS)
    rows = rows[rows["kind"] == "estimate"]
    checks = release.table(f"checks.{DESIGNS}")
    strength = checks[checks["column"] == "e_value"].set_index("row")["value"]
    return pd.DataFrame({
        "Design": list(rows["label"]),
        "Estimate": [_number(r) for r in rows.itertuples()],
        "People": [_count(v) for v in rows["n_people"]],
        "E-value": [_two(strength.get(f"{r.row}.{r.column}", np.nan)) for r in rows.itertuples()],
    })  # fmt: skip


def _two(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else ""


def people_table(release: Release, table: str) -> pd.DataFrame:
    """Estimates as text: name, estimator, role, number with interval or the reason, people, events."""
    rows = release.table(table)
    rows = rows[rows["kind"] == "estimate"]
    names = _state_labels(release)
    return pd.DataFrame({
        "Outcome": [names.get(r.outcome, _in_words(r.outcome)) for r in rows.itertuples()],
        "Estimator": [r.estimator.replace("_", " ") for r in rows.itertuples()],
        "Role": list(rows["role"]),
        "Estimate": [_number(r) for r in rows.itertuples()],
        "People": [_count(v) for v in rows["n_people"]],
        "Events": [_count(v) for v in rows["n_events"]],
    })  # fmt: skip


def _subgroup_table(release: Release) -> pd.DataFrame:
    rows = release.table(SUBGROUPS)
    rows = rows[rows["kind"] == "estimate"]
    checks = release.table(f"checks.{SUBGROUPS}")
    alone = checks[checks["column"] == "before_shrinkage"].set_index("row")["reason"]
    return pd.DataFrame({
        "Difference": list(rows["label"]),
        "Shrunken": [_number(r) for r in rows.itertuples()],
        "By itself": [
            str(alone.get(f"{r.row}.{r.column}", "")).removeprefix("By itself the difference is ")
            for r in rows.itertuples()
        ],
    })  # fmt: skip


def _state_labels(release: Release) -> dict[str, str]:
    spec = release.protocol.pathway
    return {f"pathway_{key}": label for key, label in spec.labels.items()} if spec else {}


def _in_words(key: str) -> str:
    text = key.replace("_", " ")
    return text[:1].upper() + text[1:]


def _number(row: object) -> str:
    if np.isfinite(row.value):
        words = interval_words(row.value, row.lower, row.upper, row.unit)
        return words if row.unit == "ratio" else f"{words} {row.unit}"
    return full_stop(referee_reason(str(row.reason))) if row.reason else "not released"


def _count(value: float) -> str:
    return f"{value:,.0f}" if np.isfinite(value) else ""


def _show_balance(release: Release, table: str, id: str, what: str) -> None:
    rows = release.table(table)
    if rows["value"].notna().any():
        caption = (f"Balance: {what}. Differences before weighting go in steps of 0.05 to 0.5, so "
                   "that they tell no number of people")  # fmt: skip
        show_figure(figures.plot_balance(rows), id=id, caption=caption, alt=figures.describe_balance(rows))
