"""Every estimate of a study at once, by the path that the notebooks take."""

from __future__ import annotations

from evalkit.analysis.area import estimate_rates
from evalkit.analysis.costs import estimate_costs
from evalkit.analysis.readmission import estimate_readmission
from evalkit.analysis.study import Study
from evalkit.core.result import Estimate


def estimate_all(study: Study) -> list[Estimate]:
    """Primary, sensitivity and naive estimates of each outcome, in the protocol's order."""
    found: list[Estimate] = []
    for outcome in study.protocol.outcomes:
        if outcome.kind == "readmission":
            found += estimate_readmission(study, outcome)
        elif outcome.kind == "rate":
            found += estimate_rates(study, outcome)
        else:
            found += estimate_costs(study, outcome)
    return found
