"""Worlds of the cost truth run with cost before and after: skew, zeros, prices, trends, wrong models, clusters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from person_truth_types import Entrant, Found, World, found_of, name_estimand, or_refused

from evalkit.core.errors import NotEstimable
from evalkit.estimators.costs.cells import (
    CellMeans,
    CostColumns,
    MeanEffect,
    compute_additive_effect,
    compute_cell_means,
    compute_proportional_effect,
)
from evalkit.estimators.costs.did_rows import CostDid
from evalkit.estimators.costs.dr_did import DrCostOptions, build_cost_comparison, estimate_dr_cost_did
from evalkit.estimators.costs.glm_did import GlmDidOptions, TwoPartDidOptions, fit_glm_did, fit_two_part_did
from evalkit.estimators.costs.log_link_did import CostData, estimate_additive_cost_did, estimate_cost_before_after
from evalkit.simulate.cost_worlds import COVARIATES, RESOURCES, CostSettings, simulate_costs

LEVEL = 0.95
REPLICATES = 200  # bootstrap draws
GBP, RATIO = "GBP a quarter", "ratio"
BOTH = {GBP: "difference", RATIO: "ratio"}
VOLUME = {"GBP a quarter, volume": "volume.difference", "ratio, volume": "volume.ratio"}

MODELS: dict[str, Callable] = {
    "gamma model": fit_glm_did,
    "Poisson model": partial(fit_glm_did, options=GlmDidOptions(family="poisson")),
    "two-part, gamma": fit_two_part_did,
    "two-part, log least squares": partial(fit_two_part_did, options=TwoPartDidOptions(second="log_ols")),
}


def draw_costs(**changes: float | str) -> Callable:
    """People of a `CostSettings`; without an effect, all of its effects are nought."""

    def draw(people: int, effect: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        none = {} if effect else {"effect": 0.0, "use_effect": 0.0, "days_effect": 0.0}
        settings = CostSettings(**{"people": people, **changes, **none})
        frame, truth = simulate_costs(settings, rng=rng)
        return {"frame": frame, "settings": settings, "draws": np.random.default_rng(rng.integers(2**32))}, truth

    return draw


def read_cells(data: dict, replicates: int = REPLICATES) -> CellMeans:
    """Means of cost, volume and days at home in the four cells, drawn once for all who ask."""
    if "cells" not in data:
        frame = data["frame"]
        before, after = (
            np.column_stack([
                frame[when], sum(frame[f"{name}_{when}"] for name in RESOURCES), frame[f"days_{when}"]
            ])
            for when in ("before", "after")
        )  # fmt: skip
        columns = CostColumns(
            before, after, ("cost", "volume", "days"), frame["treated"].to_numpy() == 1, frame[list(COVARIATES)]
        )
        data["cells"] = compute_cell_means(columns, replicates=replicates, rng=data["draws"])
    return data["cells"]


def read_costs(data: dict) -> CostData:
    frame = data["frame"]
    return CostData(
        frame["before"].to_numpy(), frame["after"].to_numpy(), frame["treated"].to_numpy() == 1,
        frame[list(COVARIATES)],
    )  # fmt: skip


def found_of_effect(effect: MeanEffect | CostDid, measures: tuple[str, str]) -> dict[str, Found]:
    """Difference and ratio, under these two names."""
    found = {measures[0]: Found(effect.difference, *effect.interval(LEVEL))}
    try:
        found[measures[1]] = Found(*(1 + end for end in effect.relative(LEVEL)))
    except NotEstimable as refusal:
        found[measures[1]] = Found(reason=refusal.reason)
    return found


def run_cells(data: dict, *, trends: Callable, of: str = "cost", measures: tuple[str, str]) -> dict[str, Found]:
    return found_of_effect(trends(read_cells(data).pick({of: 1.0})), measures)


def run_plain(data: dict, *, estimate: Callable) -> dict[str, Found]:
    return {GBP: found_of(estimate(read_costs(data), name_estimand("gbp_per_person_quarter", "ATT"), level=LEVEL))}


def enter_weighted(*, proportional: str = "holds", additive: str = "holds") -> tuple[Entrant, ...]:
    """The two of the four weighted cells."""
    return tuple(
        Entrant(name, BOTH, partial(run_cells, trends=trends, measures=(GBP, RATIO)), fails=says == "fails")
        for name, trends, says in (
            ("log-link, weighted", compute_proportional_effect, proportional),
            ("pounds, weighted", compute_additive_effect, additive),
        )
    )


def run_model(data: dict, *, fit: Callable, clustered: str = "no") -> dict[str, Found]:
    """A regression with a log link; with `clustered` "yes", errors by cluster."""
    cluster = data["frame"]["cluster"].to_numpy() if clustered == "yes" else None
    return found_of_effect(fit(read_costs(data), cluster=cluster), (GBP, RATIO))


def run_doubly_robust(data: dict, *, options: DrCostOptions, clustered: str = "no") -> dict[str, Found]:
    costs = read_costs(data)
    cluster = data["frame"]["cluster"].to_numpy() if clustered == "yes" else None
    comparison = build_cost_comparison(costs.before, costs.after, costs.treated, costs.covariates, cluster=cluster)
    return {
        measure: or_refused(partial(
            estimate_dr_cost_did, comparison, name_estimand(scale, "ATT"), options=options, level=LEVEL,
            rng=data["rng"],
        ))
        for measure, scale in ((GBP, "gbp_per_person_quarter"), (RATIO, "rate_ratio"))
    }  # fmt: skip


def enter_doubly_robust(
    *, proportion: str = "holds", pounds: str = "holds", clustered: str = "no"
) -> tuple[Entrant, ...]:
    """Both scales of trend, with influence errors."""
    return tuple(
        Entrant(
            f"doubly robust, in {words}", BOTH,
            partial(run_doubly_robust, options=DrCostOptions(scale_of_trend=scale), clustered=clustered),
            fails=says == "fails", share=0.5 if says == "fails" else 1.0,
        )
        for words, scale, says in (("proportion", "proportion", proportion), ("pounds", "difference", pounds))
    )  # fmt: skip


def enter_bootstrapped() -> tuple[Entrant, ...]:
    """The doubly robust with bootstrap errors, of fewer replicates since they take longer."""
    return tuple(
        Entrant(
            f"doubly robust, in {words}, bootstrap", BOTH,
            partial(run_doubly_robust, options=DrCostOptions(
                scale_of_trend=scale, errors="bootstrap", replicates=REPLICATES
            )),
            share=0.25,
        )
        for words, scale in (("proportion", "proportion"), ("pounds", "difference"))
    )  # fmt: skip


def enter_models(*names: str, fails: tuple[str, ...] = (), clustered: str = "no") -> tuple[Entrant, ...]:
    """Regressions of `MODELS`, of which those in `fails` are known to be wrong here."""
    return tuple(
        Entrant(name, BOTH, partial(run_model, fit=MODELS[name], clustered=clustered), fails=name in fails)
        for name in names
    )


def enter_plain() -> tuple[Entrant, ...]:
    """Those that adjust for nothing."""
    return tuple(
        Entrant(name, {GBP: "difference"}, partial(run_plain, estimate=estimate), fails=True)
        for name, estimate in (
            ("pounds, unweighted", estimate_additive_cost_did), ("before and after", estimate_cost_before_after),
        )
    )  # fmt: skip


def build_cost_worlds() -> tuple[World, ...]:
    return (
        *_skewed_worlds(), _price_world(), *_trend_worlds(), *_wrong_worlds(), _clustered_world(), *_recent_worlds()
    )  # fmt: skip


def _skewed_worlds() -> tuple[World, ...]:
    one_part, both_parts = tuple(MODELS)[:2], tuple(MODELS)
    return tuple(
        World(
            name, title, draw_costs(**settings),
            (*enter_weighted(), *enter_doubly_robust(), *enter_bootstrapped(), *enter_models(*models), *enter_plain()),
        )
        for name, title, settings, models in (
            ("cost_gamma", "Gamma costs, worse people treated; a quarter less cost, or no effect", {}, one_part),
            ("cost_lognormal", "Lognormal costs with a heavy tail",
             {"noise": "lognormal", "trait": 0.5, "spread": 2.0}, one_part),
            ("cost_zeros", "A quarter cost nothing before; the service acts on whether and how much",
             {"zeros": 0.25, "use_effect": -0.5}, both_parts),
        )
    )  # fmt: skip


def _price_world() -> World:
    paid, volume = tuple(BOTH), tuple(VOLUME)
    run = partial(run_cells, trends=compute_proportional_effect)
    return World(
        "cost_prices", "Prices rise by 8% for all, those of placements fall by a fifth for the treated alone",
        draw_costs(inflation=0.08, price_fall=0.2, trend=0.1),
        (
            Entrant("log-link, fixed prices", VOLUME, partial(run, of="volume", measures=volume)),
            Entrant("log-link, prices paid, of what was paid", BOTH, partial(run, measures=paid)),
            Entrant("log-link, prices paid, taken for volume", VOLUME, partial(run, measures=volume), fails=True),
            *enter_plain()[1:],
        ),
    )  # fmt: skip


def _trend_worlds() -> tuple[World, ...]:
    """The treated cost more for reasons nobody can see, so that it matters in what costs move alike."""
    gap = {"gap": 1.0, "trend": 0.5, "severity_trend": 0.1, "trait": 0.2, "spread": 0.2}
    model = enter_models("gamma model", fails=("gamma model",))  # knows no trend that differs by severity
    return (
        World(
            "cost_trends_ratio", "Costs move in proportion, and the treated cost 2.7 times as much for no known reason",
            draw_costs(**gap),
            (*enter_weighted(additive="fails"), *enter_doubly_robust(pounds="fails"), *model), (1,),
        ),
        World(
            "cost_trends_pounds", "Costs move in pounds, and the treated cost 4,000 more for no known reason",
            draw_costs(trends="pounds", **gap),
            (*enter_weighted(proportional="fails"), *enter_doubly_robust(proportion="fails"), *model), (1,),
        ),
    )  # fmt: skip


def _wrong_worlds() -> tuple[World, ...]:
    trends = {"trend": 0.4, "severity_trend": 0.3, "trait": 0.2, "spread": 0.2}
    weighted = enter_weighted(proportional="fails", additive="fails")
    model = enter_models("gamma model", fails=("gamma model",))
    return (
        World(
            "cost_wrong_propensity", "The service depends on squares and products of covariates; trends in proportion",
            draw_costs(nonlinear="propensity", **trends), (*weighted, *enter_doubly_robust(pounds="fails"), *model),
            (1,),
        ),
        World(
            "cost_wrong_propensity_pounds", "The same with trends in pounds",
            draw_costs(nonlinear="propensity", trends="pounds", **trends),
            (weighted[1], enter_doubly_robust()[1], *model), (1,),
        ),
        World(
            "cost_wrong_outcome", "The trend depends on squares and products of covariates",
            draw_costs(nonlinear="outcome", **{**trends, "severity_trend": 0.1}),
            (*enter_weighted(), *enter_doubly_robust(), *model), (1,),
        ),
    )  # fmt: skip


def _clustered_world() -> World:
    return World(
        "cost_clusters", "People of 30 practices, which differ in use of the service and in what happened to cost",
        draw_costs(clusters=30, cluster_sd=0.5, cluster_pull=2.0, trait=0.2, spread=0.2),
        (
            *enter_weighted(proportional="fails", additive="fails"), *enter_doubly_robust(clustered="yes"),
            *enter_models("gamma model", clustered="yes"),
        ),
        (1,),
    )  # fmt: skip


def _recent_worlds() -> tuple[World, ...]:
    return (
        World(
            "cost_recent", "Both sides were chosen when their cost was high",
            draw_costs(recent="everybody"),
            (*enter_weighted(), *enter_doubly_robust(), *enter_models("gamma model"), *enter_plain()[1:]),
        ),
        World(
            "cost_recent_treated", "The treated alone were chosen when their cost was high: nothing here is right",
            draw_costs(recent="treated"),
            (
                *enter_weighted(proportional="fails", additive="fails"),
                *enter_doubly_robust(proportion="fails", pounds="fails"),
                *enter_models("gamma model", fails=("gamma model",)),
            ),
        ),
    )  # fmt: skip
