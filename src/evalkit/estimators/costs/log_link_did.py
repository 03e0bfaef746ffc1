"""Effect on public cost against what would have been spent: estimates from cells, and the plainer ones beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault
from evalkit.core.estimand import Estimand
from evalkit.core.faults import refuse
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.costs.cells import (
    CostColumns,
    MeanEffect,
    compute_cell_means,
    compute_proportional_effect,
)
from evalkit.estimators.inference import NAIVE_LABEL, normal_estimate
from evalkit.estimators.people.overlap import AREA_SHOCKS


@dataclass(frozen=True)
class CostData:
    """Mean cost per quarter of each person before and after, and what the weights balance.

    `before, after` (n,) GBP per person-quarter; `treated` (n,) bool; `covariates` (n, p).
    """

    before: np.ndarray
    after: np.ndarray
    treated: np.ndarray
    covariates: pd.DataFrame


def compute_cost_effect(data: CostData, *, replicates: int, rng: np.random.Generator) -> MeanEffect:
    """Log-link difference-in-differences of mean cost; see `compute_cell_means` and `compute_proportional_effect`.

    Raises ParameterError for costs that are missing or negative, and NotEstimable as these two do.
    """
    check_costs(data)
    columns = CostColumns(data.before[:, None], data.after[:, None], ("cost",), data.treated, data.covariates)
    return compute_proportional_effect(compute_cell_means(columns, replicates=replicates, rng=rng).pick({"cost": 1.0}))


def check_costs(data: CostData) -> None:
    """Refuse costs that are missing or negative: ParameterError, both sides at once."""
    faults = [
        Fault(name, "some costs are missing or below nought", allowed="GBP, 0 or more",
              next_step="Correct the table they come from, or leave those people out and say so.")
        for name, cost in (("before", data.before), ("after", data.after))
        if not (np.isfinite(cost).all() and (cost >= 0).all())
    ]  # fmt: skip
    refuse(faults)


def estimate_cost_did(
    effect: MeanEffect, estimand: Estimand, *, level: float, n_people: int, role: Role = "primary"
) -> Estimate:
    """Actual less counterfactual cost per person and quarter.

    Identified if, without the service, mean cost would have moved in proportion in both groups of
    like people. The interval resamples people, not areas; a check says so.
    """
    low, high = effect.interval(level)
    return Estimate(
        estimand,
        "log_link_did_bootstrap",
        role,
        effect.difference,
        low,
        high,
        level,
        n_people=float(n_people),
        se=effect.se,
        checks=(Check("area_shocks", False, math.nan, AREA_SHOCKS),),
        label="Log-link difference-in-differences, bootstrap by person",
    )


def estimate_additive_cost_did(
    data: CostData, estimand: Estimand, *, level: float, role: Role = "sensitivity"
) -> Estimate:
    """The same with change assumed equal in pounds rather than in proportion; unweighted, Welch error."""
    change = data.after - data.before
    value = change[data.treated].mean() - change[~data.treated].mean()
    se = math.sqrt(sum(change[side].var(ddof=1) / side.sum() for side in (data.treated, ~data.treated)))
    label = "Difference-in-differences in pounds, unweighted"
    return normal_estimate(
        estimand, "additive_did", role=role, value=value, se=se, level=level, label=label, n_people=data.treated.sum()
    )


def estimate_cost_before_after(data: CostData, estimand: Estimand, *, level: float) -> Estimate:
    """The treated group's own change: not evidence of effect."""
    change = (data.after - data.before)[data.treated]
    se = math.sqrt(change.var(ddof=1) / len(change))
    return normal_estimate(
        estimand,
        "before_after",
        role="naive",
        value=change.mean(),
        se=se,
        level=level,
        label=NAIVE_LABEL,
        n_people=len(change),
    )
