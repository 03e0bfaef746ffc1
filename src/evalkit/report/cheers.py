"""CHEERS 2022 for this release: each of 28 items, and where in the report it stands, if it stands anywhere.

Husereau and others (2022), BMJ 376:e067975. Whether something is there is looked up in the release and the protocol
each time; nothing is claimed, and what is in neither is "not reported".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report import facts
from evalkit.report.checklist import Item, Where, build_checklist, place, show_checklist
from evalkit.report.display import show_text
from evalkit.report.value_facts import cost_outcome, has_numbers, read_plane, slug, variants
from evalkit.report.value_tables import design_rows

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

_VALUE = "Costs and value"
_ECONOMIC = re.compile(r"economic evaluation|cost[- ](?:effectiveness|utility|benefit|consequence)|budget impact", re.I)


def show_cheers(release: Release) -> None:
    """The checklist as a table."""
    if release.protocol.economics is None or cost_outcome(release) is None:
        show_text("The protocol plans no economic evaluation, so the list of CHEERS 2022 does not apply.",
                  id="text-no-cheers")  # fmt: skip
        return
    show_checklist(build_cheers(release), name="CHEERS 2022", key="cheers",
                   what="The 28 items of CHEERS 2022 [@husereau2022]")  # fmt: skip


def build_cheers(release: Release) -> pd.DataFrame:
    """One row an item; see `build_checklist`."""
    return build_checklist(ITEMS, release)


# ---- what a release holds --------------------------------------------------------------------------


def _always(section: str, *ids: str) -> Where:
    return lambda _: [place(section, *ids)]


def _if_table(table: str, section: str, *ids: str) -> Where:
    return lambda release: [place(section, *ids)] if has_numbers(release, table) else []


def _all_of(*parts: Where) -> Where:
    return lambda release: [text for part in parts for text in part(release)]


def _title(release: Release) -> list[str]:
    study = release.protocol.study
    return [place("Title", "document")] if _ECONOMIC.search(f"{study.title} {study.question}") else []


def _abstract(release: Release) -> list[str]:
    outcome = cost_outcome(release)
    told = outcome is not None and outcome.role == "primary" and facts.main_row(release, outcome) is not None
    return [place("Abstract", "text-abstract")] if told else []


def _population(release: Release) -> list[str]:
    found = [place("Protocol and estimands", "text-protocol")]
    return [*found, place("Participants", "tab-one")] if facts.release_has(release, "table1") else found


def _comparators(release: Release) -> list[str]:
    areas = release.protocol.areas
    return [place("Protocol and estimands", "text-protocol")] if areas.comparators or areas.donors else []


def _valued(release: Release) -> list[str]:
    return [place(_VALUE, "text-value-method")] if release.protocol.economics.valued else []


def _measured(release: Release) -> list[str]:
    found = [place("Protocol and estimands", "tab-definitions")]
    days = any(v.kind == "days" for v in release.protocol.economics.valued)
    return [*found, place("Pathways", "text-pathway")] if days and release.protocol.pathway else found


def _valuation(release: Release) -> list[str]:
    mapped = any(v.kind == "score" and v.is_qaly for v in release.protocol.economics.valued)
    return [place(_VALUE, "text-value-method")] if mapped else []


def _model(release: Release) -> list[str]:
    return _if_table("budget_impact", _VALUE, "text-value-impact-reading", "tab-value-impact")(release)


def _subgroups(release: Release) -> list[str]:
    return [place("Subgroups", "text-subgroups")] if facts.release_has(release, "subgroups") else []


def _payers(release: Release) -> list[str]:
    rows = release.table("cost_variants")
    borne = rows[rows["row"].str.startswith("payer.")]["value"].notna().any()
    return [place(_VALUE, "tab-value-payers")] if borne else []


def _variants(release: Release) -> list[str]:
    rows = variants(release)
    tried = rows["group"].isin(["As planned", "Price basis", "Sensitivity", "Price"])
    return [place(_VALUE, "tab-value-variants")] if rows.loc[tried, "value"].notna().any() else []


def _planes(release: Release) -> list[str]:
    ids = [f"tab-value-of-{slug(v.key)}" for v in release.protocol.economics.valued
           if (plane := read_plane(release, v)) is not None and plane.has_numbers]  # fmt: skip
    return [place(_VALUE, *ids)] if ids else []


def _curves(release: Release) -> list[str]:
    rows = release.table("ceac")
    chance = rows[(rows["column"] == "probability") & rows["value"].notna()]["row"].str.rsplit("|", n=1).str[0]
    ids = [f"fig-value-ceac-{slug(v.key)}" for v in release.protocol.economics.valued if (chance == v.key).any()]
    return [place(_VALUE, *ids)] if ids else []


def _costs(release: Release) -> list[str]:
    """The estimate of cost: where it has a number it stands in the table of designs."""
    row = facts.main_row(release, cost_outcome(release))
    return [place(_VALUE, "tab-value-designs")] if row is not None and row["status"] == "shown" else []


def _checks(release: Release) -> list[str]:
    checks = release.table("checks.effects")
    costs = [o.key for o in release.protocol.outcomes_of("cost")]
    shown = checks["outcome"].isin(costs).any() and len(design_rows(release))
    return [place(_VALUE, "tab-value-specification")] if shown else []


_TORNADO = _if_table("tornado", _VALUE, "fig-value-tornado")
_PRICES = _if_table("price_list", _VALUE, "tab-value-prices")
_METHOD = _always(_VALUE, "text-value-method")
_CLAIM = _if_table("budget", _VALUE, "text-value-claim")


def _nowhere(_: Release) -> list[str]:
    """Neither the protocol nor a release has a field for it."""
    return []


ITEMS = (
    Item("1", "Title", "The title says that this is an economic evaluation, and of what", _title),
    Item("2", "Abstract", "A structured summary with methods, results and alternative analyses", _abstract,
         "Cost against effect and alternative analyses are not in the abstract."),
    Item("3", "Background and objectives", "Context, question, and why it matters for decisions",
         _always("Background", "text-background")),
    Item("4", "Health economic analysis plan", "Whether there was a plan, and where it is",
         _all_of(_always("Protocol and estimands", "text-protocol"), _always("Provenance", "tab-provenance")),
         "The plan is named by its digest; where it can be read is not said."),
    Item("5", "Study population", "Characteristics of the people studied", _population),
    Item("6", "Setting and location", "Context that may influence the findings",
         _always("Background", "text-background")),
    Item("7", "Comparators", "What is compared, and why", _comparators, "Why these areas were chosen is not said."),
    Item("8", "Perspective", "Whose costs count, and why", _METHOD, "Why this perspective was chosen is not said."),
    Item("9", "Time horizon", "How long costs and effects are followed, and why", _METHOD,
         "Why this horizon is right is not said."),
    Item("10", "Discount rate", "The rate, and why", _METHOD, "Why this rate was chosen is not said."),
    Item("11", "Selection of outcomes", "Which benefits and harms are measured",
         _all_of(_always("Protocol and estimands", "tab-estimands"), _valued)),
    Item("12", "Measurement of outcomes", "How benefits and harms were measured", _measured),
    Item("13", "Valuation of outcomes", "Whose values are used, and how they were found", _valuation),
    Item("14", "Resources and costs", "How use was valued in money",
         _all_of(_always("Methods", "text-methods"), _PRICES)),
    Item("15", "Currency, price date, conversion", "Dates of quantities and prices, currency, year of conversion",
         _all_of(_METHOD, _PRICES)),
    Item("16", "Model", "Any model, why it was used, and where it is public", _model,
         "Costs and effects are estimated from records without a decision model; only years to come are projected."),
    Item("17", "Analytics and assumptions", "Statistical methods, extrapolation, validation",
         _all_of(_always("Methods", "text-methods"), _checks)),
    Item("18", "Heterogeneity", "How results vary between subgroups", _subgroups,
         "Of an effect on readmission; not of cost or of cost against effect."),
    Item("19", "Distributional effects", "How impacts fall on different people", _payers,
         "Between payers only; not between the people served."),
    Item("20", "Uncertainty", "Methods for every source of uncertainty", _METHOD),
    Item("21", "Engagement: approach", "How people who use services and others took part in the design", _nowhere),
    Item("22", "Study parameters", "All inputs with their uncertainty and sources", _all_of(_METHOD, _PRICES)),
    Item("23", "Main results", "Mean costs and outcomes, and an overall measure", _all_of(_costs, _planes)),
    Item("24", "Effect of uncertainty", "How uncertainty about judgements, inputs and projections moves the findings",
         _all_of(_curves, _TORNADO, _variants, _model)),
    Item("25", "Engagement: effect", "What the part that people took changed", _nowhere),
    Item("26", "Findings, limits, generalisability", "Key findings, limitations, equity, what they mean elsewhere",
         _all_of(_always("Limitations", "text-limitations"), _CLAIM,
                 _if_table("what_if", _VALUE, "tab-value-what-if"))),
    Item("27", "Source of funding", "Who paid for the study, and their part in it", _nowhere),
    Item("28", "Conflicts of interest", "The authors' interests", _nowhere),
)  # fmt: skip
