"""Moved to `estimators.costs.log_link_did`."""

from evalkit.estimators.costs.log_link_did import CostData, check_costs, compute_cost_effect  # noqa: F401
