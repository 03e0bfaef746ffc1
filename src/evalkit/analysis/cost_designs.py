"""Other designs for the effect on cost, on the same people."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from evalkit.analysis.study import Study, attempt
from evalkit.core.outcomes import CostDesign, CostOutcome
from evalkit.core.result import Estimate
from evalkit.estimators.costs.dr_did import DrCostOptions, build_cost_comparison, estimate_dr_cost_did
from evalkit.estimators.costs.glm_did import GlmDidOptions, estimate_glm_did, estimate_two_part_did
from evalkit.estimators.costs.log_link_did import CostData, estimate_additive_cost_did

LABELS: dict[CostDesign, str] = {
    "additive_did": "Difference-in-differences in pounds, unweighted",
    "dr_cost_did_difference": "Difference-in-differences of cost in pounds, doubly robust",
    "dr_cost_did_proportion": "Difference-in-differences of cost in proportion, doubly robust",
    "glm_did_gamma": "Difference-in-differences, gamma model with log link",
    "glm_did_poisson": "Difference-in-differences, Poisson model with log link",
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
        "glm_did_poisson": lambda: estimate_glm_did(
            data, estimand, options=GlmDidOptions(family="poisson"), level=level
        ),
        "two_part_did": lambda: estimate_two_part_did(data, estimand, level=level),
    }
    found = [
        attempt(study, outcome, name, "sensitivity", designs[name], label=LABELS[name]) for name in outcome.sensitivity
    ]
    return [_of_the_treated(estimate, int(data.treated.sum())) for estimate in found]


def _of_the_treated(estimate: Estimate, people: int) -> Estimate:
    """The same with the treated as its people, as in every design, and with less of what is known of weights.

    Both sides' number beside each side's, all rounded, would leave few exact ones; the treated weigh one each, so that
    one of them over all is their number; and an effective number of people over its share, which the text gives, is the
    number of people.
    """
    if estimate.status != "shown":
        return estimate
    checks = tuple(
        replace(check, value=math.nan) if check.name.startswith("effective_") else check
        for check in estimate.checks if not check.name.endswith("_treated")
    )  # fmt: skip
    return replace(estimate, n_people=float(people), checks=checks)
