"""The same people after and before, treated and not: every way of balancing them, in one table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from evalkit.analysis.cell_balance import build_balance_cells
from evalkit.analysis.study import Study
from evalkit.cohort.comparison import Comparison
from evalkit.cohort.features import PERSON_FEATURES
from evalkit.cohort.pathway import build_yearly_days
from evalkit.core.errors import NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.pathway import INSTITUTION_DAYS, INSTITUTIONS, PeopleDesign
from evalkit.core.result import Cell, Check, Estimate, Results, not_estimable
from evalkit.estimators.people.balance import assess_balance, compute_propensity_overlap
from evalkit.estimators.people.evalue import compute_e_value
from evalkit.estimators.people.negative_control import estimate_negative_control
from evalkit.estimators.people.overlap import AREA_SHOCKS
from evalkit.estimators.people.people_registry import estimate_by_design
from evalkit.estimators.people.weighting import build_weights

TABLE = "people_designs"


@dataclass(frozen=True)
class _Windows:
    """People with the days after go-live and in two windows before it, as comparisons."""

    rows: pd.DataFrame

    def compare(self, outcome: str, before: str) -> Comparison:
        return Comparison.from_frame(
            self.rows, treatment="treated", covariates=PERSON_FEATURES, outcome=outcome, before=before,
            cluster="person_id",
        )  # fmt: skip


def estimate_balanced(study: Study) -> list[Results]:
    """Days on wards and in care homes by every balanced comparison of people, with balance and overlap.

    Differences-in-differences of people's own days are set beside comparisons of levels, which take the treated
    area to be like the others given characteristics. A negative control asks the first for an effect in the year
    before go-live, when the service can have had none but by anticipation; that year chose the people, so the
    control also finds whatever regression to the mean the sides do not share. Tables: `people_designs` (estimates),
    `balance.people` (before and after weighting) and, for the workings, `balance_more` and `propensity`. Nothing
    where the protocol describes no pathway.
    """
    if study.protocol.pathway is None or not study.protocol.pathway.designs:
        return []
    designs = study.protocol.pathway.designs
    estimand = Estimand(
        INSTITUTION_DAYS, "ATT", study.protocol.population.label,
        study.protocol.pathway_estimand("dead").window, "days_per_person",
    )  # fmt: skip
    try:
        windows = _Windows(build_yearly_days(study.tables, study.protocol, groups=INSTITUTIONS, windows=2))
        comparison = windows.compare("days_after", "days_before_1")
        placebo = windows.compare("days_before_1", "days_before_2")
    except NotEstimable as refusal:
        none = [not_estimable(estimand, name, role="sensitivity", reason=refusal.reason) for name in designs]
        return [Results.from_estimates(none, table=TABLE)]
    estimates = [_by_design(study, comparison, estimand, name) for name in designs]
    control = _placebo(study, placebo, estimand, designs[0], main=estimates[0])
    found = [Results.from_estimates([_with_sensitivity(e, comparison) for e in estimates] + control, table=TABLE)]
    return [*found, *_describe(comparison)]


def _by_design(study: Study, comparison: Comparison, estimand: Estimand, design: PeopleDesign) -> Estimate:
    bounds = (0.0, float(study.protocol.pathway.horizon_days))
    asked = partial(estimate_by_design, comparison, estimand, design=design, level=study.level, bounds=bounds)
    return _attempt(estimand, design, asked)


def _placebo(
    study: Study, placebo: Comparison, estimand: Estimand, design: PeopleDesign, *, main: Estimate
) -> list[Estimate]:
    """The first design on the two years before go-live: what it finds there is bias."""
    control = replace(estimand, outcome=f"placebo_{estimand.outcome}")
    if main.status != "shown":
        return []
    asked = partial(
        estimate_negative_control, lambda data: _by_design(study, data, control, design), placebo, kind="period",
        name="the year before go-live", main=main,
    )  # fmt: skip
    found = _attempt(control, design, asked)
    return [replace(found, label=f"Placebo, the year before: {found.label[:1].lower()}{found.label[1:]}")]


def _attempt(estimand: Estimand, estimator: str, estimate: Callable[[], Estimate]) -> Estimate:
    try:
        return estimate()
    except NotEstimable as refusal:
        return not_estimable(estimand, estimator, role="sensitivity", reason=refusal.reason)


def _with_sensitivity(found: Estimate, comparison: Comparison) -> Estimate:
    """Add what no interval sees: how strong an unmeasured cause would have to be, and shocks to whole areas."""
    if found.status != "shown":
        return found
    spread = float(comparison.outcome.std(ddof=1))
    strength = compute_e_value(found.value, found.lower, found.upper, scale="mean_difference", sd=spread)
    shocks = Check("area_shocks", False, math.nan, AREA_SHOCKS)
    told = Check(
        "e_value", None, strength.point,
        f"Something unmeasured would have to go with the area and with days both at a risk ratio of "
        f"{strength.point:.2f} to explain the estimate away, and of {strength.limit:.2f} to move its interval.",
    )  # fmt: skip
    checks = (*found.checks, told, shocks)
    return replace(found, checks=checks)


def _describe(comparison: Comparison) -> list[Results]:
    try:
        weights = build_weights(comparison)
        balance = assess_balance(comparison, weights)
        overlap = compute_propensity_overlap(comparison, weights)
    except NotEstimable:
        return []  # the estimates say why
    people = float(len(comparison))
    named = balance.table.rename(columns={"smd_before": "unweighted", "smd_after": "weighted"})
    covariates = pd.DataFrame(comparison.covariates, columns=list(comparison.names))
    cells = build_balance_cells(named.assign(unweighted=named["unweighted"].abs(), weighted=named["weighted"].abs()),
                                covariates, comparison.treated.astype(np.int64))  # fmt: skip
    more = [
        Cell(row.covariate, f"{what} {when}", getattr(row, f"{what}_{when}"), "statistic", n_people=people,
             label=row.covariate.replace("_", " "))
        for row in balance.table.itertuples() for what in ("variance_ratio", "ks") for when in ("before", "after")
    ]  # fmt: skip
    bins = [
        Cell(f"{row.side}|{row.lower:.2f}", column, float(getattr(row, column)), "statistic", n_people=people,
             label=f"{row.side}: {row.lower:.2f} to {row.upper:.2f}")
        for row in overlap.itertuples() for column in ("share", "weighted_share")
    ]  # fmt: skip
    return [
        Results.from_cells("balance.people", cells),
        Results.from_cells("balance_more", more),
        Results.from_cells("propensity", bins),
    ]
