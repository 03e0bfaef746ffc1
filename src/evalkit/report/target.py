"""TARGET for this release: each of 21 items with their parts, for the emulated trial of people alone.

Cashin and others (2025), BMJ, doi 10.1136/bmj-2025-087179; each item is told in our own words. It is for emulations
of trials that randomise persons; it is answered only where the release has such a part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report.checklist import (
    Item,
    all_of,
    always,
    build_checklist,
    if_numbers,
    if_rows,
    nowhere,
    show_checklist,
)
from evalkit.report.display import show_text
from evalkit.report.people_effects import DAYS

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

N_ITEMS = 21
_PATHWAYS = "Pathways"
_SCOPE = ("TARGET is about emulated trials that randomise persons, with adjustment at baseline. The list is answered "
          "for the analysis of pathways alone, whose assignment is by area and whose contrast is a difference in "
          "differences: it lies at the edge of the guideline's scope, and the other analyses outside it.")  # fmt: skip


def show_target(release: Release) -> None:
    """The checklist as a table, or why it does not apply."""
    reason = why_not(release)
    if reason:
        show_text(f"TARGET [@cashin2025] does not apply to this report: {reason}", id="text-no-target")
        return
    show_text(_SCOPE, id="text-target-scope")
    table = build_target(release)
    what = f"The {N_ITEMS} items of TARGET [@cashin2025], {len(table)} with their parts"
    show_checklist(table, name="TARGET", key="target", what=what)


def why_not(release: Release) -> str:
    """Why the list does not apply; empty where it does."""
    if release.protocol.pathway is None:
        return "the protocol emulates no trial of people, and comparisons of areas are outside its scope."
    if not len(release.table(DAYS)):
        return "the release holds no estimate from an emulated trial of people."
    return ""


def build_target(release: Release) -> pd.DataFrame:
    """One row an item or part; see `build_checklist`."""
    return build_checklist(ITEMS, release)


_TRIAL = always(_PATHWAYS, "tab-trial")
_METHOD = always(_PATHWAYS, "text-pathway")
_ESTIMATES = if_numbers(DAYS, _PATHWAYS, "tab-pathway")
_SPECIFIED = "Specification of the target trial"
_MAPPED = "Emulation of the target trial"
_PARTS = (
    ("a", "who could take part"),
    ("b", "the strategies that are compared"),
    ("c", "how people are assigned to them"),
    ("d", "when follow-up begins and ends"),
    ("e", "the outcomes"),
    ("f", "the causal contrast"),
    ("g", "the assumptions by which it is identified"),
    ("h", "the plan of analysis"),
)

ITEMS = (
    Item("1a", "Abstract", "That a target trial is emulated with observational data", nowhere),
    Item("1b", "Abstract", "The main points of design, data and findings of the emulation", nowhere),
    Item("2", "Background", "What is known, and why the question matters", always("Background", "text-background"),
         "Of the service; earlier studies of where people live are not reviewed."),
    Item("3", "Causal question", "The causal question in a sentence", _METHOD),
    Item("4", "Rationale", "Why a target trial is emulated", nowhere),
    Item("5", "Data sources", "What the data are, and for what they were made",
         if_rows("data_tables", "Participants", "tab-data"), "For what they were made stands among the limitations."),
    *(Item(f"6{part}", _SPECIFIED, f"In the trial that one would have liked to run: {words}", _TRIAL)
      for part, words in _PARTS),
    *(Item(f"7{part}", _MAPPED, f"In the data: {words}", _TRIAL if part != "h" else all_of(_TRIAL, _METHOD))
      for part, words in _PARTS),
    Item("8", "Participants", "How many were looked at, could take part and were analysed", _ESTIMATES,
         "The analysed alone; the flow figure is that of the cohort for cost."),
    Item("9", "Baseline data", "Who they were at the start, by strategy",
         if_numbers("balance.pathway", _PATHWAYS, "fig-balance-pathway"),
         "Standardised differences, not the characteristics themselves."),
    Item("10", "Follow-up", "How long people were followed, and how many were lost", nowhere),
    Item("11", "Missing data", "How many values were missing, by variable",
         if_rows("data_missing", "Participants", "tab-missing"), "In the tables as a whole, not by strategy."),
    Item("12", "Outcomes", "Outcomes by strategy", if_numbers("pathway.occupancy", _PATHWAYS, "fig-occupancy")),
    Item("13", "Effect estimates", "The effect by each contrast, with its precision", _ESTIMATES),
    Item("14", "Additional analyses", "What was done to see how far the results depend on choices",
         if_rows("people_designs", "The same people, balanced in other ways", "tab-people-designs")),
    Item("15", "Interpretation", "What the findings mean, beside other evidence", nowhere),
    Item("16", "Limitations", "What could be wrong: confounding, measurement, assumptions",
         all_of(_METHOD, always("Limitations", "text-limitations"))),
    Item("17", "Ethics", "Who approved the study", nowhere),
    Item("18", "Registration", "Where study and protocol are registered, or that they are not",
         always("Protocol and estimands", "text-protocol"), 
         "The protocol is named by its digest; whether it is registered is not said."),
    Item("19", "Data and code", "Whether data and code can be had", always("Provenance", "tab-provenance"),
         "Each is named by its digest; where it can be had is not said."),
    Item("20", "Funding", "Who paid, and their part in it", nowhere),
    Item("21", "Conflicts of interest", "The authors' interests", nowhere),
)  # fmt: skip
