"""Public cost: the effect, where the money went, and the path against the counterfactual."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.analysis.study import Study
from evalkit.cohort.cohort import build_cohort
from evalkit.cohort.costs import PersonCosts, build_costs
from evalkit.cohort.features import PERSON_FEATURES, derive_person_features
from evalkit.cohort.residence import COMPARATORS
from evalkit.core.dates import period_ends, period_label
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import CostOutcome
from evalkit.core.result import Cell, Estimate, Results, not_estimable
from evalkit.estimators.people.costs import (
    CostData,
    CostEffect,
    estimate_additive_cost_did,
    estimate_cost_before_after,
    estimate_cost_did,
)

UNIT = "GBP per person-quarter"


@dataclass(frozen=True)
class CostStudy:
    """Costs of the cohort and which periods lie before and after."""

    costs: PersonCosts
    people: pd.DataFrame
    before: np.ndarray
    after: np.ndarray

    @property
    def treated(self) -> np.ndarray:
        return (self.people["group"] != COMPARATORS).to_numpy()

    def data(self) -> CostData:
        """Mean cost per quarter before and after, with what the weights balance."""
        total = self.costs.total
        return CostData(
            before=total[:, self.before].mean(axis=1),
            after=total[:, self.after].mean(axis=1),
            treated=self.treated,
            covariates=self.people[list(PERSON_FEATURES)],
        )


def build_cost_study(study: Study, outcome: CostOutcome) -> CostStudy:
    """The cohort at go-live with its cost per person and period.

    Raises NotEstimable where there is no adoption date, no comparison area or nothing to price.
    """
    dates = study.protocol.dates
    if dates.adoption is None or study.protocol.exposure.by != "area" or not study.protocol.areas.comparators:
        raise NotEstimable(
            Fault(
                "protocol", "costs need exposure by area, one adoption date and a comparison area with people's records"
            )
        )
    if not study.tables.has("people"):
        raise NotEstimable(Fault("tables", "there is no table people"))
    cohort = build_cohort(study.tables, study.protocol)
    people = cohort.people.drop(columns="age_years")
    day = np.full(len(people), np.datetime64(dates.adoption, "D"))
    people = people[["person_id", "group"]].join(derive_person_features(people, day))
    costs = build_costs(study.tables, study.protocol, outcome, people["person_id"])
    starts = costs.starts
    ends = period_ends(starts, dates.period)
    before = (starts >= np.datetime64(dates.baseline.start)) & (ends <= np.datetime64(dates.baseline.end))
    after = starts >= np.datetime64(dates.adoption)
    if not (before.any() and after.any()):
        raise NotEstimable(Fault("dates", "no whole period lies in the baseline, or none after adoption"))
    return CostStudy(costs, people, before, after)


def estimate_costs(study: Study, outcome: CostOutcome) -> tuple[list[Estimate], list[Results]]:
    """Primary, sensitivity and naive estimates with the tables that explain them."""
    estimand, level = study.protocol.estimand(outcome), study.level
    try:
        found = build_cost_study(study, outcome)
        data = found.data()
        primary, effect = estimate_cost_did(
            data,
            estimand,
            replicates=study.protocol.inference.bootstrap_replicates,
            level=level,
            rng=study.rng(outcome.key),
            role=outcome.role,
        )
    except NotEstimable as refusal:
        return [not_estimable(estimand, outcome.estimator, role=outcome.role, reason=refusal.reason)], []
    estimates = [primary]
    if "additive_did" in outcome.sensitivity:
        estimates.append(estimate_additive_cost_did(data, estimand, level=level))
    estimates.append(estimate_cost_before_after(data, estimand, level=level))
    tables = [
        Results.from_cells("cost_relative", _relative_cells(outcome, effect, data, level), outcome=outcome.key),
        Results.from_cells("cost_trend", _trend_cells(study, found, effect), outcome=outcome.key),
        Results.from_cells("cost_parts", _part_cells(study, found), outcome=outcome.key),
    ]
    return estimates, tables


def _relative_cells(outcome: CostOutcome, effect: CostEffect, data: CostData, level: float) -> list[Cell]:
    people = int(data.treated.sum())
    value, low, high = effect.relative(level)
    return [
        Cell(outcome.key, "actual", effect.actual, "mean", unit=UNIT, n_people=people, label="Spent"),
        Cell(
            outcome.key,
            "counterfactual",
            effect.counterfactual,
            "mean",
            unit=UNIT,
            n_people=people,
            label="Would have been spent",
        ),
        Cell(
            outcome.key,
            "relative_change",
            value,
            "statistic",
            unit="share of the counterfactual",
            lower=low,
            upper=high,
            level=level,
            n_people=people,
            label="Change against the counterfactual",
        ),
    ]


def _trend_cells(study: Study, found: CostStudy, effect: CostEffect) -> list[Cell]:
    """Mean cost by group and period; the counterfactual follows the comparison's path in proportion."""
    treated, total = found.treated, found.costs.total
    means = {study.protocol.areas.treated_label: total[treated].mean(axis=0), COMPARATORS: total[~treated].mean(axis=0)}
    sizes = {study.protocol.areas.treated_label: int(treated.sum()), COMPARATORS: int((~treated).sum())}
    path = means[COMPARATORS] / means[COMPARATORS][found.after].mean() * effect.counterfactual
    cells = []
    for place, start in enumerate(found.costs.starts):
        label = period_label(start, study.protocol.dates.period)
        for name, mean in means.items():
            cells.append(Cell(label, name, float(mean[place]), "mean", unit=UNIT, n_people=sizes[name], label=label))
        if found.after[place]:
            name = f"{study.protocol.areas.treated_label} counterfactual"
            cells.append(
                Cell(
                    label,
                    name,
                    float(path[place]),
                    "mean",
                    unit=UNIT,
                    n_people=sizes[study.protocol.areas.treated_label],
                    label=label,
                )
            )
    return cells


def _part_cells(study: Study, found: CostStudy) -> list[Cell]:
    groups = {study.protocol.areas.treated_label: found.treated, COMPARATORS: ~found.treated}
    return [
        Cell(
            part,
            f"{name}|{period}",
            float(cost[rows][:, columns].mean()),
            "mean",
            unit=UNIT,
            n_people=int(rows.sum()),
            label=part.capitalize(),
        )
        for part, cost in found.costs.parts.items()
        for name, rows in groups.items()
        for period, columns in (("before", found.before), ("after", found.after))
    ]
