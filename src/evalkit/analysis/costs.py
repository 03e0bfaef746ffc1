"""Public cost: the effect, every way of looking at it from one bootstrap, and the tables that explain it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evalkit.analysis import cost_tables
from evalkit.analysis.cost_designs import estimate_designs
from evalkit.analysis.cost_few import refuse_few
from evalkit.analysis.cost_study import CostStudy, build_cost_study, compute_means, total_shares
from evalkit.analysis.cost_variants import PART_LABELS, build_variants
from evalkit.analysis.study import Study
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import CostOutcome
from evalkit.core.result import Check, Estimate, Results, not_estimable
from evalkit.estimators.costs.cells import CellMeans, MeanEffect, compute_proportional_effect
from evalkit.estimators.costs.log_link_did import check_costs, estimate_cost_before_after, estimate_cost_did


@dataclass(frozen=True)
class CostFindings:
    """The study of one cost outcome with its means in every draw and the primary effect."""

    found: CostStudy
    means: CellMeans
    effect: MeanEffect


def find_cost_effect(study: Study, outcome: CostOutcome) -> CostFindings:
    """The cohort's costs and the effect on their total.

    Raises NotEstimable as `build_cost_study`, `compute_cell_means` and `compute_proportional_effect`, and where costs
    do not differ between people.
    """
    found = build_cost_study(study, outcome)
    check_costs(found.data())
    refuse_few(found)
    means = compute_means(study, found)
    effect = compute_proportional_effect(means.pick(total_shares(found)))
    if not effect.varies:
        raise NotEstimable(Fault("costs", "they do not differ between people, so there is no error to tell"))
    return CostFindings(found, means, effect)


def estimate_costs(study: Study, outcome: CostOutcome) -> list[Estimate]:
    """Primary, sensitivity and naive estimates, or the one that says why there is none."""
    try:
        findings = find_cost_effect(study, outcome)
    except NotEstimable as refusal:
        estimand = study.protocol.estimand(outcome)
        return [not_estimable(estimand, outcome.estimator, role=outcome.role, reason=refusal.reason)]
    return estimate_found_costs(study, findings)


def estimate_found_costs(study: Study, findings: CostFindings) -> list[Estimate]:
    """The primary estimate, other designs on the same people, and the naive comparison."""
    found, outcome = findings.found, findings.found.outcome
    estimand, level, data = study.protocol.estimand(outcome), study.level, found.data()
    primary = estimate_cost_did(
        findings.effect, estimand, level=level, n_people=int(data.treated.sum()), role=outcome.role
    )
    primary = replace(primary, checks=(*primary.checks, check_parts(found)))
    naive = estimate_cost_before_after(data, estimand, level=level)
    return [primary, *estimate_designs(study, outcome, data), naive]


def check_parts(found: CostStudy) -> Check:
    """Whether each kind of service that the outcome counts cost anything: a table that is missing or empty costs 0."""
    outcome = found.outcome
    wanted = ["placements"] if outcome.perspective == "local_authority" else ["wards", "placements", "contacts"]
    wanted += ["programme"] if outcome.include_programme else []
    missing = [name for name in wanted if not np.any(found.costs.parts.get(name, 0.0))]
    named = ", ".join(PART_LABELS[name].lower() for name in missing)
    text = f"Nothing was recorded of these, so they are counted as costing nothing: {named}."
    return Check("parts_counted", not missing, float(len(missing)),
                 text if missing else "Every kind of service that the outcome counts is in the records.")  # fmt: skip


def tabulate_costs(study: Study, findings: CostFindings, *, ending: str = "") -> list[Results]:
    """Tables of the effect, its variants, the path, the parts and the prices; `ending` is put behind their names."""
    found, effect, key = findings.found, findings.effect, findings.found.outcome.key
    variants = build_variants(study, findings.found, findings.means, effect)
    cells = {
        "cost_relative": cost_tables.relative_cells(found, effect, study.level),
        "cost_variants": cost_tables.variant_cells(found, variants, study.level),
        "cost_trend": cost_tables.trend_cells(study, found, effect),
        "cost_parts": cost_tables.part_cells(study, found),
        "cost_change": cost_tables.change_cells(study, found),
        "price_list": cost_tables.price_cells(study),
    }
    return [Results.from_cells(f"{table}{ending}", rows, outcome=key) for table, rows in cells.items()]
