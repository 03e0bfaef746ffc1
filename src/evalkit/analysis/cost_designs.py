"""Other designs for the effect on cost, on the same people."""

from __future__ import annotations

from collections.abc import Callable

from evalkit.analysis.study import Study, attempt
from evalkit.core.outcomes import CostDesign, CostOutcome
from evalkit.core.result import Estimate
from evalkit.estimators.costs.dr_did import DrCostOptions, build_cost_comparison, estimate_dr_cost_did
from evalkit.estimators.costs.glm_did import estimate_glm_did, estimate_two_part_did
from evalkit.estimators.costs.log_link_did import CostData, estimate_additive_cost_did

LABELS: dict[CostDesign, str] = {
    "additive_did": "Difference-in-differences in pounds, unweighted",
    "dr_cost_did_difference": "Difference-in-differences of cost in pounds, doubly robust",
    "dr_cost_did_proportion": "Difference-in-differences of cost in proportion, doubly robust",
    "glm_did_gamma": "Difference-in-differences, gamma model with log link",
    "two_part_did": "Difference-in-differences, two-part model",
}


def estimate_designs(study: Study, outcome: CostOutcome, data: CostData) -> list[Estimate]:
    """Every design that the protocol sets beside the primary one, refusals in their rows."""
    estimand, level = study.protocol.estimand(outcome), study.level

    def doubly_robust(trend: str) -> Estimate:
        comparison = build_cost_comparison(data.before, data.after, data.treated, data.covariates)
        return estimate_dr_cost_did(comparison, estimand, options=DrCostOptions(scale_of_trend=trend), level=level)

    designs: dict[CostDesign, Callable[[], Estimate]] = {
        "additive_did": lambda: estimate_additive_cost_did(data, estimand, level=level),
        "dr_cost_did_difference": lambda: doubly_robust("difference"),
        "dr_cost_did_proportion": lambda: doubly_robust("proportion"),
        "glm_did_gamma": lambda: estimate_glm_did(data, estimand, level=level),
        "two_part_did": lambda: estimate_two_part_did(data, estimand, level=level),
    }
    return [
        attempt(study, outcome, name, "sensitivity", designs[name], label=LABELS[name]) for name in outcome.sensitivity
    ]
