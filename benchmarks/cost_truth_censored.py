"""Worlds of the cost truth run in which people move away before the horizon: the truth is had nobody moved."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
from person_truth_types import Entrant, Found, World, found_of, name_estimand

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.cost_history import CostHistory
from evalkit.estimators.costs.censored import estimate_censored_cost_difference
from evalkit.estimators.costs.censored_means import NAIVE, CensoredCostOptions
from evalkit.estimators.costs.censored_weights import CensoringOptions
from evalkit.estimators.people.weighting import WeightOptions, build_weights
from evalkit.simulate.cost_events import CensoredCostSettings, simulate_censored_costs

LEVEL = 0.95
MONTHS = 24
OVER = "GBP in two years"
TOGETHER = CensoringOptions(by="nothing")
BY_SEVERITY = CensoringOptions(model="cox")


def draw_censored(**changes: float) -> Callable:
    def draw(people: int, effect: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        settings = CensoredCostSettings(**{"people": people, **changes, **({} if effect else {"effect": 0.0})})
        frame, records, truth = simulate_censored_costs(settings, rng=rng)
        return {"people": frame, "records": records, "settings": settings}, truth

    return draw


def build_history(people: pd.DataFrame, records: pd.DataFrame, *, weighted: str) -> CostHistory:
    """With `weighted` "yes", the comparison weighs what makes it like the treated."""
    if weighted == "yes":
        comparison = Comparison.from_frame(people, treatment="treated", covariates=("severity",))
        people = people.assign(weight=build_weights(comparison, options=WeightOptions(estimand="ATT")).weights)
    return CostHistory.from_frames(
        people, records, person="person", follow_up="exit", complete="complete", start="start", stop="stop",
        cost="cost", group="treated", covariates=("severity",), weights="weight" if weighted == "yes" else None,
    )  # fmt: skip


def run_censored(
    data: dict, *, estimator: str, weighted: str = "no", cut: str = "days", **options: object
) -> dict[str, Found]:
    horizon = data["settings"].horizon_days
    if cut == "months":
        options["interval_ends"] = tuple(np.linspace(0, horizon, MONTHS + 1)[1:])
    found = estimate_censored_cost_difference(
        build_history(data["people"], data["records"], weighted=weighted), name_estimand("mean_difference", "ATT"),
        options=CensoredCostOptions(horizon, estimator=estimator, **options), level=LEVEL,
        role="naive" if estimator in NAIVE else "primary", rng=data["rng"],
    )  # fmt: skip
    return {OVER: found_of(found)}


def _enter(name: str, estimator: str, *, of: str, fails: str = "no", **given: object) -> Entrant:
    return Entrant(name, {OVER: of}, partial(run_censored, estimator=estimator, **given), fails=fails == "yes")


def build_censored_worlds() -> tuple[World, ...]:
    return (
        World(
            "cost_censored", "As in a trial; the treated move away five times as often, deaths are all known",
            draw_censored(),
            (
                _enter("Bang and Tsiatis", "bang_tsiatis", of="ATT.difference"),
                _enter("Bang and Tsiatis, by interval", "bang_tsiatis_partitioned", of="ATT.difference"),
                _enter("Zhao and Tian", "zhao_tian", of="ATT.difference"),
                _enter("Lin 1997", "lin_1997", of="ATT.difference"),
                _enter("Lin 2000, regression", "lin_2000", of="ATT.difference"),
                _enter("Bang and Tsiatis, one censoring for all", "bang_tsiatis", of="ATT.difference", fails="yes",
                       censoring=TOGETHER),
                _enter("Lin 1997, by month", "lin_1997", of="ATT.difference", fails="yes", cut="months"),
                _enter("what was seen", "available_sample", of="ATT.difference", fails="yes"),
                _enter("complete people", "complete_case", of="ATT.difference", fails="yes"),
            ),
        ),
        World(
            "cost_censored_severity", "The worse are treated and move away more; the treated more often besides",
            draw_censored(selection=0.8, severity_moves=0.5, moves_comparison=0.15, moves_treated=0.45),
            (
                _enter("Bang and Tsiatis by interval, Cox, weighted", "bang_tsiatis_partitioned", of="ATT.difference",
                       weighted="yes", censoring=BY_SEVERITY),
                _enter("Bang and Tsiatis by interval, Cox", "bang_tsiatis_partitioned", of="ATT.difference",
                       fails="yes", censoring=BY_SEVERITY),
                _enter("what was seen, weighted", "available_sample", of="ATT.difference", fails="yes", weighted="yes"),
                _enter("complete people, weighted", "complete_case", of="ATT.difference", fails="yes", weighted="yes"),
            ),
        ),
    )  # fmt: skip
