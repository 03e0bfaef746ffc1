"""From which notebook and cell each number of the academic report came: a line under every block, and an appendix.

The release says which notebook made a number and, where it was made by `evalkit evaluate`, which cells made and showed
its table (`origins` in the manifest). Which tables a block of the report was made of is written down here;
tests/unit/test_academic_origin.py changes each table in turn and sees which blocks move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import pandas as pd

from evalkit.report import facts
from evalkit.report.academic_checks import BALANCES, more_checks
from evalkit.report.academic_risk import calibrated
from evalkit.report.display import show_table, show_text
from evalkit.report.phrases import listed
from evalkit.report.sources import show_sources

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

FIXED: Mapping[str, tuple[str, ...]] = {
    "text-abstract": ("effects",),
    "tab-data": ("data_tables",), "fig-flow": ("attrition",), "tab-one": ("table1",), "tab-missing": ("data_missing",),
    "fig-balance": ("balance",), "tab-balance": tuple(BALANCES),
    "fig-forest-risk": ("effects",), "fig-forest-ratio": ("effects",), "fig-forest-cost": ("effects",),
    "tab-effects": ("effects",), "tab-not-estimable": ("effects",), "tab-exploratory": ("effects",),
    "tab-readmission": ("readmission_counts",), "fig-curve": ("readmission_curve",),
    "tab-recurrence": ("description.recurrence",),
    "tab-repeated": ("after_discharge",), "fig-mean-count": ("mean_count",),
    "fig-balance-repeated": ("balance.after_discharge",),
    "tab-subgroups": ("subgroups", "checks.subgroups"), "fig-subgroups": ("subgroups",),
    "tab-pathway": ("pathway.days",), "fig-pathway": ("pathway.days",), "fig-occupancy": ("pathway.occupancy",),
    "fig-moves": ("pathway.flow",), "fig-balance-pathway": ("balance.pathway",),
    "tab-people-designs": ("people_designs", "checks.people_designs"), "fig-people-designs": ("people_designs",),
    "fig-balance-people": ("balance.people",),
    "tab-neighbourhood": ("neighbourhood",), "fig-displacement": ("effects",),
    "tab-cost-relative": ("cost_relative",), "fig-cost-trend": ("cost_trend",), "tab-cost-parts": ("cost_parts",),
    "tab-value-change": ("cost_change",), "fig-value-change": ("cost_change",),
    "tab-value-payers": ("cost_variants",), "tab-value-years": ("cost_variants",),
    "tab-value-variants": ("cost_variants",), "fig-value-variants": ("cost_variants",),
    "tab-value-designs": ("effects",), "tab-value-specification": ("checks.effects",),
    "tab-value-evppi": ("evppi",), "fig-value-tornado": ("tornado", "effects"),
    "tab-value-budget": ("budget",), "fig-value-budget": ("budget",), "text-value-claim": ("budget",),
    "tab-value-bearers": ("budget_payer",), "fig-value-impact": ("budget_impact",),
    "tab-value-impact": ("budget_impact",), "tab-value-what-if": ("what_if",), "tab-value-prices": ("price_list",),
    "tab-risk-sample": ("risk_sample", "checks.risk"), "tab-risk-size": ("risk_size", "risk_performance"),
    "tab-risk-size-validation": ("risk_size",), "tab-risk-missing": ("risk_missing",),
    "tab-risk": ("risk_performance",), "tab-risk-calibration": ("risk_performance",), "tab-risk-time": ("risk_time",),
    "tab-risk-imputed": ("risk_imputed", "risk_performance", "risk_optimism"),
    "text-risk-reading": ("risk_performance",),
    "fig-risk-decision": ("risk_net_benefit",), "tab-risk-decision": ("risk_net_benefit",),
    "tab-risk-decision-competing": ("risk_net_benefit_competing",), "text-risk-use": ("risk_net_benefit",),
    "tab-risk-threshold": ("risk_threshold",), "tab-risk-optimism": ("risk_optimism", "risk_cross"),
    "tab-risk-places": ("risk_places",), "fig-risk-places": ("risk_places",), "fig-risk-learning": ("risk_learning",),
    "text-risk-instability": ("risk_instability",), "fig-risk-instability": ("risk_instability_curve",),
    "tab-risk-recalibration": ("risk_recalibration",), "fig-risk-drift": ("risk_drift",),
    "tab-risk-groups": ("risk_groups",), "fig-risk-groups-auroc": ("risk_groups", "risk_performance"),
    "fig-risk-groups-calibration": ("risk_group_curve",),
    "tab-risk-group-threshold": ("risk_group_threshold", "risk_group_conflict"),
    "tab-risk-gaps": ("risk_group_gap", "risk_group_equality"), "text-risk-groups": ("risk_group_gap",),
    "tab-risk-terms": ("risk_terms",), "fig-risk-importance": ("risk_importance",),
    "fig-risk-dependence": ("risk_dependence",),
    "tab-claims": ("effects", "cost_relative", "budget"),
    "tab-checks": ("checks.effects",), "tab-risk-checks": ("checks.risk",),
    "text-limitations": ("checks.effects", "checks.risk"),
    "tab-chosen-shares": ("chosen",),
    "tab-chosen-change": ("chosen_change", "chosen_bounds", "checks.chosen_change"),
    "fig-chosen": ("chosen_change", "chosen_bounds"),
}  # fmt: skip
# By outcome, what the protocol values, and model: the key stands in for {} in tables, and with hyphens in ids.
OF_RATES: Mapping[str, str] = {
    "text-{}": "effects", "fig-{}-trend": "trend.{}", "fig-{}-years": "event_study.{}", "fig-{}-placebo": "placebo.{}",
    "text-{}-designs": "designs.{}", "fig-{}-designs": "designs.{}", "fig-{}-honest": "honest.{}",
    "fig-{}-moved": "displacement.{}",
}  # fmt: skip
OF_VALUES: Mapping[str, str] = {
    "text-value-of-{}": "cea_plane", "tab-value-of-{}": "cea_plane", "fig-value-plane-{}": "cea_plane",
    "fig-value-ceac-{}": "ceac", "tab-value-ceac-{}": "ceac",
}  # fmt: skip
# Blocks that show one kind of outcome out of a table that more than one notebook made.
ONE_KIND: Mapping[str, Literal["readmission", "rate", "cost"]] = {
    "fig-forest-risk": "readmission", "fig-forest-ratio": "rate", "fig-forest-cost": "cost",
    "fig-displacement": "rate", "tab-value-designs": "cost", "tab-value-specification": "cost",
    "fig-value-tornado": "cost",
}  # fmt: skip
# Blocks whose numbers, if any, are not the analysis's.
ELSEWHERE: Mapping[str, str] = {
    "tab-estimands": "the protocol", "tab-definitions": "the protocol", "tab-trial": "the protocol",
    "tab-suppression": "the manifest of the release", "tab-provenance": "the manifest of the release",
    "tab-held": "the list of tables that the analysis keeps back",
    "tab-origins": "the manifest of the release",
    "tab-coverage": "simulated worlds, not this study's data (benchmarks/recovery.py)",
    "tab-strobe": "this release and its protocol", "tab-record": "this release and its protocol",
    "tab-target": "this release and its protocol", "tab-cheers": "this release and its protocol",
    "tab-tripod": "this release and its protocol", "tab-gripp2": "the review record",
    "tab-chosen-items": "the protocol",
}  # fmt: skip


def build_sources(release: Release) -> dict[str, tuple[str, ...]]:
    """For each block that a report of this release may hold, the released tables that its numbers were taken from."""
    held = set(release.results.frame["table"])
    found = dict(FIXED)
    for outcome in release.protocol.outcomes_of("rate"):
        for name, table in OF_RATES.items():
            found[name.format(outcome.key.replace("_", "-"))] = (table.format(outcome.key),)
    economics = release.protocol.economics
    for valued in economics.valued if economics else ():
        for name, table in OF_VALUES.items():
            found[name.format(valued.key.replace("_", "-"))] = (table,)
    models = calibrated(release)
    for model in models[:1]:
        found[f"fig-risk-calibration-{model.replace('_', '-')}"] = (f"calibration.{model}", f"risk_curve.{model}")
    found["fig-risk-calibration-others"] = tuple(f"risk_curve.{model}" for model in models[1:])
    found["tab-placebo-size"] = tuple(facts.tables_like(release, "placebo_size."))
    found["tab-deviations"] = ("effects", *facts.tables_like(release, "designs."))
    found["tab-more-checks"] = tuple(more_checks(release))
    found["text-limitations"] += tuple(facts.tables_like(release, "event_study."))
    kept = {name: tuple(t for t in tables if t in held) for name, tables in found.items()}
    return {name: tables for name, tables in kept.items() if tables and _is_shown(release, name)}


def _is_shown(release: Release, block: str) -> bool:
    """Whether a block that shows only some rows of the estimates has any to show."""
    rows = release.table("effects")
    if block == "tab-exploratory":
        return bool((rows["role"] == "exploratory").any())
    return block != "tab-not-estimable" or bool((rows["status"] != "shown").any())


def read_cells(release: Release) -> dict[str, dict[str, dict[str, str]]]:
    """By table and notebook, the ids of the cells that made (`made`) and first showed (`shown`) it; {} if not noted."""
    return release.manifest.get("origins", {})


def source_lines(release: Release) -> dict[str, str]:
    """One line a table or figure: its tables, each with `notebook#cell`."""
    lines = {name: f"Source: {where}." for name, where in ELSEWHERE.items()}
    lines |= {name: f"Source: {listed(list(tables))}, of which this release holds no number."
              for name, tables in FIXED.items() if name.startswith(("fig-", "tab-"))}  # fmt: skip
    for name, tables in build_sources(release).items():
        if name.startswith(("fig-", "tab-")):
            lines[name] = f"Source: {'; '.join(_told(release, table, name) for table in tables)}."
    return lines


def _told(release: Release, table: str, block: str) -> str:
    cells = read_cells(release).get(table, {})
    places = []
    for notebook in _notebooks(release, table, block):
        cell = cells.get(notebook, {})
        told = cell.get("shown", cell.get("made", ""))
        places.append(f"{notebook}#{told}" if told else notebook)
    return f"{table} from {', '.join(places)}"


def _notebooks(release: Release, table: str, block: str) -> list[str]:
    rows = release.table(table)
    if block in ONE_KIND:
        keys = [o.key for o in release.protocol.outcomes_of(ONE_KIND[block])]
        rows = rows[rows["outcome"].isin(keys)]
    own = [o.key for o in release.protocol.outcomes if block == f"text-{o.key.replace('_', '-')}"]
    if own:
        rows = rows[rows["outcome"].isin(own)]
    return sorted(set(rows["notebook"]) - {""})


def origin_table(release: Release) -> pd.DataFrame:
    """One row a released table and notebook: how many numbers, the cells that made and showed it, and where it stands.

    "" in `Shown in` is a table that no cell of its notebook shows; "" in `In this report` one that no block shows.
    """
    blocks = build_sources(release)
    frame, cells = release.results.frame, read_cells(release)
    rows = []
    for (table, notebook), part in frame.groupby(["table", "notebook"], sort=False):
        cell = cells.get(table, {}).get(notebook, {})
        rows.append({
            "Released table": table, "Numbers": f"{len(part):,}", "Notebook": notebook,
            "Made in cell": cell.get("made", ""), "Shown in cell": cell.get("shown", ""),
            "In this report": ", ".join(name for name, tables in blocks.items()
                                        if table in tables and notebook in _notebooks(release, table, name)),
        })  # fmt: skip
    return pd.DataFrame(rows)


def show_origins(release: Release) -> None:
    """The appendix "Where each number comes from", and a line of source under every table and figure."""
    show_sources(source_lines(release))
    text = ("Under each table and figure stands the released table that it was made from, with the notebook and the "
            "cell where that table can be seen: `notebook#cell`. Each row of `results.parquet` names its table and its "
            "notebook, so that every number has its row below. The executed notebooks lie in the workings and stay in "
            "the secure environment. Numbers in running text are those of the tables beside them.")  # fmt: skip
    if not read_cells(release):
        text += " This release was made without notes of the cells; only the notebooks are known."
    show_text(text, id="text-origins")
    show_table(origin_table(release), id="tab-origins", caption="Where each number comes from",
               note="A table without a place in this report is in results.parquet alone. A block is named only if "
                    "this release has the numbers for it.")  # fmt: skip
