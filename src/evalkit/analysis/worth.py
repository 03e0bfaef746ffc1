"""Everything about money for one cost outcome, in one call for a notebook."""

from __future__ import annotations

from evalkit.analysis.budget_tables import budget_tables
from evalkit.analysis.costs import CostFindings, estimate_found_costs, find_cost_effect, tabulate_costs
from evalkit.analysis.study import Study
from evalkit.analysis.value import ValueDraws, find_value
from evalkit.analysis.value_tables import (
    acceptability_cells,
    evppi_cells,
    plane_cells,
    tornado_cells,
    value_checks,
)
from evalkit.core.errors import NotEstimable
from evalkit.core.outcomes import CostOutcome
from evalkit.core.result import Estimate, Results, not_estimable


def evaluate_costs(study: Study, outcome: CostOutcome) -> tuple[list[Estimate], list[Results], list[ValueDraws]]:
    """Estimates, tables and draws of one cost outcome.

    Tables of the protocol's first cost outcome have their plain names, those of others end in `.<outcome>`. Draws stay
    in the notebook: no table holds them.
    """
    try:
        findings = find_cost_effect(study, outcome)
    except NotEstimable as refusal:
        estimand = study.protocol.estimand(outcome)
        return [not_estimable(estimand, outcome.estimator, role=outcome.role, reason=refusal.reason)], [], []
    return evaluate_findings(study, findings)


def evaluate_findings(study: Study, findings: CostFindings) -> tuple[list[Estimate], list[Results], list[ValueDraws]]:
    """The same from people whose costs are laid out already."""
    outcome, draws = findings.found.outcome, find_value(study, findings)
    cells = {
        "cea_plane": plane_cells(draws, study.level),
        "checks.cea_plane": value_checks(draws),
        "ceac": acceptability_cells(draws, study.level),
        "evppi": evppi_cells(study, draws),
        "tornado": tornado_cells(study, findings),
    } | budget_tables(study, findings)
    ending = "" if outcome == study.protocol.outcomes_of("cost")[0] else f".{outcome.key}"
    tables = tabulate_costs(study, findings, ending=ending)
    tables += [Results.from_cells(f"{name}{ending}", rows, outcome=outcome.key) for name, rows in cells.items() if rows]
    return estimate_found_costs(study, findings), tables, draws
