"""STROBE for this release: each of 22 items for cohort studies with their parts, and where in the report it stands.

von Elm and others (2007), PLoS Medicine 4:e296; what each item asks is told in our own words. Whether something is
there is looked up in the release and the protocol each time; nothing is claimed, and what is in neither is left blank.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts
from evalkit.report.checklist import (
    Item,
    Where,
    all_of,
    always,
    build_checklist,
    if_numbers,
    if_rows,
    nowhere,
    place,
    show_checklist,
)

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

N_ITEMS = 22
_DESIGN = re.compile(r"difference-in-differences|interrupted time series|synthetic control|cohort|descriptive", re.I)


def show_strobe(release: Release) -> None:
    """The checklist as a table."""
    table = build_strobe(release)
    what = f"The {N_ITEMS} items of STROBE for cohort studies [@vonelm2007], {len(table)} with their parts"
    show_checklist(table, name="STROBE", key="strobe", what=what)


def build_strobe(release: Release) -> pd.DataFrame:
    """One row an item or part; see `build_checklist`."""
    return build_checklist(ITEMS, release)


# ---- what a release holds --------------------------------------------------------------------------


def _title(release: Release) -> list[str]:
    study = release.protocol.study
    return [place("Title", "document")] if _DESIGN.search(f"{study.title} {study.question}") else []


def _by_area(release: Release) -> bool:
    return release.protocol.exposure.by == "area"


def _abstract_design(release: Release) -> list[str]:
    return [*_title(release), place("Abstract", "text-abstract")]


def _matched(release: Release) -> list[str]:
    pairs = release.table("people_designs")
    used = pairs["column"].str.contains("match").any()
    return [place("The same people, balanced in other ways", "tab-people-designs")] if used else []


def _bias(release: Release) -> list[str]:
    """Regression to the mean and shocks to an area are told where areas are compared."""
    if not _by_area(release):
        return []
    found = [place("Background", "text-background"), place("Methods", "text-methods")]
    return [*found, *_placebos(release)]


def _placebos(release: Release) -> list[str]:
    sized = facts.tables_like(release, "placebo_size.")
    shown = sized and _designs(release)
    return [place("Rates by area: other designs and honest bounds", "tab-placebo-size")] if shown else []


def _missing_methods(release: Release) -> list[str]:
    people = _by_area(release) and (release.protocol.outcomes_of("readmission") or release.protocol.outcomes_of("cost"))
    return [place("Methods", "text-methods")] if people else []


def _censoring(release: Release) -> list[str]:
    told = _by_area(release) and release.protocol.outcomes_of("readmission")
    return [place("Methods", "text-methods")] if told else []


def _designs(release: Release) -> list[str]:
    rates = [o for o in release.protocol.outcomes_of("rate") if len(release.table(f"designs.{o.key}"))]
    return [place("Rates by area: other designs and honest bounds", "text-designs")] if rates else []


def _subgroup_method(release: Release) -> list[str]:
    return [place("Subgroups", "text-subgroups")] if len(release.table("subgroups")) else []


def _rates(release: Release) -> list[str]:
    ids = [f"fig-{o.key.replace('_', '-')}-trend" for o in release.protocol.outcomes_of("rate")
           if o.role == "primary" and release.table(f"trend.{o.key}")["value"].notna().any()]  # fmt: skip
    return [place("Rates by area", *ids)] if ids else []


def _absolute(release: Release) -> list[str]:
    ids = [f"fig-{o.key.replace('_', '-')}-moved" for o in release.protocol.outcomes_of("rate")
           if len(release.table(f"designs.{o.key}"))
           and release.table(f"displacement.{o.key}")["value"].notna().any()]  # fmt: skip
    return [place("Rates by area: other designs and honest bounds", *ids)] if ids else []


def _effects(release: Release) -> list[str]:
    return [place("Main results", "tab-effects")] if len(facts.effects(release)) else []


_EVENTS = if_rows("readmission_counts", "Readmission", "tab-readmission")
_FLOW = if_rows("attrition", "Participants", "fig-flow")
_ONE = if_rows("table1", "Participants", "tab-one")
_MISSING = if_rows("data_missing", "Participants", "tab-missing")
_DATA = if_rows("data_tables", "Participants", "tab-data")
_PROTOCOL = always("Protocol and estimands", "text-protocol")
_METHODS = always("Methods", "text-methods")
_BACKGROUND = always("Background", "text-background")
_LIMITS = always("Limitations", "text-limitations")
_ABSTRACT = always("Abstract", "text-abstract")
_SUBGROUPS = all_of(_subgroup_method, if_numbers("subgroups", "Subgroups", "tab-subgroups"))
_NEIGHBOURS = if_rows("neighbourhood", "Rates by area: other designs and honest bounds", "tab-neighbourhood")
_PEOPLE = if_rows("people_designs", "The same people, balanced in other ways", "tab-people-designs")


def _others(release: Release) -> list[str]:
    """Neighbourhood and other designs are shown beside the designs of rates."""
    return [*_designs(release), *(_NEIGHBOURS(release) if _designs(release) else [])]


_WHAT_IF: Where = if_numbers("what_if", "Costs and value", "tab-value-what-if")

ITEMS = (
    Item("1a", "Title and abstract", "The design, by a usual name, in the title or the abstract", _abstract_design),
    Item("1b", "Title and abstract", "A balanced summary of what was done and found", _ABSTRACT),
    Item("2", "Background", "Why the study was made, and what was known", _BACKGROUND,
         "Earlier evaluations of services like this are not reviewed."),
    Item("3", "Objectives", "The questions, with any hypotheses fixed beforehand",
         all_of(_PROTOCOL, always("Protocol and estimands", "tab-estimands"))),
    Item("4", "Study design", "The main points of the design, early in the report",
         all_of(always("Title", "document"), _PROTOCOL)),
    Item("5", "Setting", "Places and dates: start, exposure, follow-up, collection of data",
         all_of(_BACKGROUND, _PROTOCOL)),
    Item("6a", "Participants", "Who could be included, where they were found, and how they were followed", _PROTOCOL),
    Item("6b", "Participants", "If people were matched: on what, and how many on each side", _matched,
         "One sensitivity analysis of days alone matches people."),
    Item("7", "Variables", "Outcomes, exposure, predictors, confounders and effect modifiers, each defined",
         all_of(always("Protocol and estimands", "tab-estimands", "tab-definitions"), _METHODS)),
    Item("8", "Data sources", "For each variable its source and how it was measured, alike in all groups", _DATA,
         "Tables and their size; how each variable was measured is in the data dictionary."),
    Item("9", "Bias", "What was done about possible bias", _bias),
    Item("10", "Study size", "How the size of the study came about", nowhere),
    Item("11", "Quantitative variables", "How they were handled, and why any groups of values were chosen", _ONE,
         "Bands are shown; why these is not said."),
    Item("12a", "Statistical methods", "All methods, with those against confounding", _METHODS),
    Item("12b", "Statistical methods", "How subgroups and interactions were looked at", _subgroup_method),
    Item("12c", "Statistical methods", "How missing values were dealt with", _missing_methods),
    Item("12d", "Statistical methods", "How loss to follow-up was dealt with", _censoring,
         "Of readmission; for cost, those who moved away count with what is known of them."),
    Item("12e", "Statistical methods", "Sensitivity analyses", all_of(_designs, _effects)),
    Item("13a", "Participants", "How many people there were at each stage", _FLOW,
         "Of the cohort for cost; other analyses give their people beside each estimate."),
    Item("13b", "Participants", "Why people were left out at each stage", _FLOW),
    Item("13c", "Participants", "A flow diagram", _FLOW),
    Item("14a", "Descriptive data", "Who the people are, and their exposures and possible confounders", _ONE),
    Item("14b", "Descriptive data", "How many values are missing for each variable", _MISSING),
    Item("14c", "Descriptive data", "Follow-up time: mean and total", nowhere),
    Item("15", "Outcome data", "Outcome events or summary measures over time", all_of(_EVENTS, _rates)),
    Item("16a", "Main results", "Unadjusted and adjusted estimates with their precision, and what was adjusted for",
         all_of(_effects, _METHODS)),
    Item("16b", "Main results", "The bounds of categories made from numbers", _ONE),
    Item("16c", "Main results", "Relative measures also as absolute ones", _absolute),
    Item("17", "Other analyses", "Subgroups, interactions and sensitivity analyses",
         all_of(_SUBGROUPS, _others, _PEOPLE)),
    Item("18", "Key results", "The main results, by the study's aims", _ABSTRACT),
    Item("19", "Limitations", "Sources of bias and imprecision, with direction and size", _LIMITS,
         "Direction and size are told for some only."),
    Item("20", "Interpretation", "A careful reading, beside limits, many analyses and other evidence",
         all_of(_ABSTRACT, _LIMITS), "Effects found elsewhere are not set beside these."),
    Item("21", "Generalisability", "How far the results hold elsewhere", _WHAT_IF,
         "Money alone, under stated assumptions."),
    Item("22", "Funding", "Who paid, and their part in it", nowhere),
)  # fmt: skip
