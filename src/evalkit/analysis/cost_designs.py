"""Other designs for the effect on cost, on the same people."""

from __future__ import annotations

from evalkit.analysis.study import Study, attempt
from evalkit.core.outcomes import CostOutcome
from evalkit.core.result import Estimate
from evalkit.estimators.costs.log_link_did import CostData, estimate_additive_cost_did


def estimate_designs(study: Study, outcome: CostOutcome, data: CostData) -> list[Estimate]:
    """Every design that the protocol sets beside the primary one, refusals in their rows."""
    estimand, level = study.protocol.estimand(outcome), study.level
    designs = {"additive_did": lambda: estimate_additive_cost_did(data, estimand, level=level)}
    return [
        attempt(study, outcome, name, "sensitivity", designs[name]) for name in outcome.sensitivity if name in designs
    ]
