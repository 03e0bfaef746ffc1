"""Estimators of cost hold the truth of simulated people, and what a world is made to show wrong is seen to be wrong.

The short version of `make cost-truth`: 60 replicates a cell. Bounds are three Monte-Carlo errors of a coverage of 95%
(2.8 points each) and three and a half of the mean error; intervals may be a quarter wider than the spread asks for.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.cost_history import CostHistory
from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.result import Estimate
from evalkit.economics.draws import Psa
from evalkit.economics.net_benefit import compute_incremental_benefit
from evalkit.estimators.costs.cells import (
    CostColumns,
    compute_additive_effect,
    compute_cell_means,
    compute_proportional_effect,
)
from evalkit.estimators.costs.censored import estimate_censored_cost_difference
from evalkit.estimators.costs.censored_means import NAIVE, CensoredCostOptions
from evalkit.estimators.costs.dr_did import DrCostOptions, build_cost_comparison, estimate_dr_cost_did
from evalkit.estimators.costs.glm_did import estimate_glm_did, estimate_two_part_did, fit_glm_did
from evalkit.estimators.costs.log_link_did import CostData, estimate_cost_before_after
from evalkit.simulate.cost_events import CensoredCostSettings, simulate_censored_costs
from evalkit.simulate.cost_worlds import COVARIATES, RESOURCES, CostSettings, simulate_costs

REPLICATES = 60
DRAWS = 200  # of a bootstrap
LOWEST = 0.95 - 3 * math.sqrt(0.95 * 0.05 / REPLICATES)
WINDOW = Window(dt.date(2016, 4, 1), dt.date(2018, 4, 1))
Found = tuple[float, float, float]  # value, lower, upper
QUIET = {"trait": 0.2, "spread": 0.2}  # less noise, where what is wrong is to be seen in few replicates


@dataclass(frozen=True)
class Cell:
    """What one estimator found, shape (R, 3), where the truth was `truth`."""

    found: np.ndarray
    truth: float

    @property
    def coverage(self) -> float:
        return float(((self.found[:, 1] <= self.truth) & (self.truth <= self.found[:, 2])).mean())

    @property
    def error(self) -> float:
        """Mean error in Monte-Carlo errors of its own."""
        values = self.found[:, 0]
        return float((values.mean() - self.truth) / (values.std(ddof=1) / math.sqrt(len(values))))

    @property
    def width(self) -> float:
        """Median width over that of a normal interval with the spread that was seen."""
        return float(np.median(self.found[:, 2] - self.found[:, 1]) / (2 * 1.96 * self.found[:, 0].std(ddof=1)))


def name(scale: Scale) -> Estimand:
    return Estimand("simulated", "ATT", "people", WINDOW, scale)


def read(estimate: Estimate) -> Found:
    return estimate.value, estimate.lower, estimate.upper


def run(settings: CostSettings, truth: str, seed: int, *estimators: Callable) -> list[Cell]:
    """A cell for each estimator, all on the same draws."""
    known, rows = math.nan, []
    for replicate in range(REPLICATES):
        rng = np.random.default_rng([seed, replicate])
        frame, truths = simulate_costs(settings, rng=rng)
        known = truths[truth]
        rows.append([estimate(frame, rng) for estimate in estimators])
    return [Cell(np.array([row[k] for row in rows], dtype=np.float64), known) for k in range(len(estimators))]


def holds(cell: Cell) -> None:
    assert np.isfinite(cell.found).all()
    assert cell.coverage >= LOWEST
    assert abs(cell.error) < 3.5
    assert cell.width < 1.25


def costs_of(frame: pd.DataFrame) -> CostData:
    before, after = frame["before"].to_numpy(), frame["after"].to_numpy()
    return CostData(before, after, frame["treated"].to_numpy() == 1, frame[list(COVARIATES)])


def cells_of(frame: pd.DataFrame, rng: np.random.Generator, **columns: tuple[pd.Series, pd.Series]):
    before, after = (np.column_stack([pair[k] for pair in columns.values()]) for k in (0, 1))
    chosen = CostColumns(before, after, tuple(columns), frame["treated"].to_numpy() == 1, frame[list(COVARIATES)])
    return compute_cell_means(chosen, replicates=DRAWS, rng=rng)


def weighted(trends: Callable, measure: str = "difference", prices: str = "paid") -> Callable:
    """Four weighted cells: with the comparison's trend in proportion or in pounds, at prices paid or fixed."""

    def estimate(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        pair = frame["before"], frame["after"]
        if prices == "fixed":
            pair = tuple(sum(frame[f"{part}_{when}"] for part in RESOURCES) for when in ("before", "after"))
        effect = trends(cells_of(frame, rng, cost=pair).pick({"cost": 1.0}))
        if measure == "difference":
            return effect.difference, *effect.interval(0.95)
        return tuple(math.log1p(end) for end in effect.relative(0.95))

    return estimate


in_proportion, in_pounds = weighted(compute_proportional_effect), weighted(compute_additive_effect)


def doubly_robust(trend: str, *, clustered: bool = False, **options: object) -> Callable:
    def estimate(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        data = costs_of(frame)
        comparison = build_cost_comparison(
            data.before, data.after, data.treated, data.covariates,
            cluster=frame["cluster"].to_numpy() if clustered else None,
        )  # fmt: skip
        chosen = DrCostOptions(scale_of_trend=trend, **options)
        return read(estimate_dr_cost_did(comparison, name("gbp_per_person_quarter"), options=chosen, rng=rng))

    return estimate


def model(fit: Callable) -> Callable:
    def estimate(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        return read(fit(costs_of(frame), name("gbp_per_person_quarter"), level=0.95))

    return estimate


gamma, two_part = model(estimate_glm_did), model(estimate_two_part_did)
before_after = model(estimate_cost_before_after)


@pytest.mark.parametrize("people", [200, 600])
def test_skewed_costs(people):
    settings = CostSettings(people=people)
    *right, wrong = run(
        settings, "difference", 1, in_proportion, in_pounds, doubly_robust("difference"), gamma, before_after
    )
    for cell in right:
        holds(cell)
    assert wrong.error > 6
    assert wrong.coverage < 0.8


def test_no_effect_under_a_heavy_tail():
    settings = CostSettings(people=400, effect=0.0, noise="lognormal", trait=0.5, spread=2.0)
    for cell in run(settings, "difference", 2, in_proportion, in_pounds, doubly_robust("difference"), gamma):
        assert cell.coverage >= LOWEST
        assert abs(cell.error) < 3.5


def test_a_quarter_that_cost_nothing():
    settings = CostSettings(people=200, zeros=0.25, use_effect=-0.5)
    for cell in run(settings, "difference", 3, in_proportion, doubly_robust("difference"), gamma, two_part):
        holds(cell)


def test_a_fall_in_price_is_not_called_an_effect():
    settings = CostSettings(people=600, effect=0.0, inflation=0.08, price_fall=0.4, trend=0.1)
    right, wrong = run(
        settings, "volume.difference", 4,
        weighted(compute_proportional_effect, prices="fixed"), in_proportion,
    )  # fmt: skip
    holds(right)
    assert wrong.error < -6
    assert wrong.coverage < 0.8
    (paid,) = run(settings, "difference", 4, in_proportion)
    holds(paid)


def test_it_matters_in_what_costs_move_alike():
    """The treated cost far more for no known reason: each kind of trend is right in its own world alone."""
    settings = CostSettings(people=300, gap=1.0, trend=0.5, severity_trend=0.1, **QUIET)
    right, also, wrong, wrong_too = run(
        settings, "difference", 5, in_proportion, doubly_robust("proportion"), in_pounds, doubly_robust("difference")
    )
    for cell in (right, also):
        holds(cell)
    for cell in (wrong, wrong_too):
        assert cell.error > 10
        assert cell.coverage < 0.3
    wrong, right, also = run(
        replace(settings, people=600, trends="pounds"),
        "difference",
        6,
        in_proportion,
        in_pounds,
        doubly_robust("difference"),
    )
    for cell in (right, also):
        holds(cell)
    assert wrong.error < -6
    assert wrong.coverage < 0.8


def test_one_wrong_model_is_forgiven_by_the_doubly_robust_alone():
    settings = CostSettings(people=300, trend=0.4, severity_trend=0.3, nonlinear="propensity", **QUIET)
    weights, robust = run(settings, "difference", 7, in_proportion, doubly_robust("proportion"))
    assert weights.error > 6
    holds(robust)
    pounds = replace(settings, trends="pounds")
    (robust,) = run(pounds, "difference", 8, doubly_robust("difference"))
    holds(robust)
    settings = replace(settings, severity_trend=0.1, nonlinear="outcome")
    outcome, *robust = run(
        settings, "difference", 9, gamma, doubly_robust("proportion"), doubly_robust("difference")
    )  # fmt: skip
    assert outcome.error > 6
    for cell in robust:
        assert cell.coverage >= LOWEST
        assert abs(cell.error) < 3.5


def test_practices_count():
    """30 practices: clustered errors hold, errors of independent people do not."""
    settings = CostSettings(people=600, clusters=30, cluster_sd=0.5, cluster_pull=2.0, **QUIET)

    def model_by_practice(frame: pd.DataFrame, rng: np.random.Generator) -> Found:
        found = fit_glm_did(costs_of(frame), cluster=frame["cluster"].to_numpy())
        return found.difference, *found.interval(0.95)

    right, also, wrong = run(
        settings, "difference", 10, doubly_robust("difference", clustered=True), model_by_practice,
        doubly_robust("difference"),
    )  # fmt: skip
    for cell in (right, also):
        assert cell.coverage >= LOWEST - 0.03  # 30 clusters leave an error that is a little too small
        assert abs(cell.error) < 3.5
    assert wrong.coverage < 0.88
    assert wrong.coverage < right.coverage


def test_groups_chosen_for_recent_use():
    """Both sides cost less later by themselves: before and after takes it for an effect, a comparison does not."""
    settings = CostSettings(people=300, effect=0.0, recent="everybody")
    *right, wrong = run(settings, "difference", 11, in_proportion, doubly_robust("difference"), gamma, before_after)
    for cell in right:
        holds(cell)
    assert wrong.error < -10
    assert wrong.coverage < 0.4
    settings = replace(settings, recent="treated")
    for cell in run(settings, "difference", 12, in_proportion, doubly_robust("difference")):
        assert cell.error < -10  # chosen on one side alone: nothing here mends that


def net_benefit(frame: pd.DataFrame, rng: np.random.Generator, *, threshold: float) -> Found:
    """Net benefit, and in the place of its lower end the probability that it is above nought."""
    cells = cells_of(
        frame, rng, cost=(frame["before"], frame["after"]), days=(frame["days_before"], frame["days_after"])
    )
    cost = compute_proportional_effect(cells.pick({"cost": 1.0})).difference_draws
    days = compute_additive_effect(cells.pick({"days": 1.0})).difference_draws
    psa = Psa.from_differences(cost, days, effect_unit="day at home")
    found = compute_incremental_benefit(psa, np.array([threshold]), target="with", reference="without")
    return (*(float(part[0]) for part in (found.value, found.lower, found.upper)), float(found.probability[0]))


def test_net_benefit_and_acceptability():
    """Its interval holds the truth; where the truth is nought, the acceptability curve is as likely anywhere."""
    settings = CostSettings(people=400, effect=0.12, days_effect=5.0, noise="lognormal", spread=0.6)
    found, truth = [], {}
    for replicate in range(REPLICATES):
        rng = np.random.default_rng([13, replicate])
        frame, truth = simulate_costs(settings, rng=rng)
        state = rng.bit_generator.state
        rows = []
        for threshold in (500.0, truth["icer"]):
            rng.bit_generator.state = state
            rows.append(net_benefit(frame, rng, threshold=threshold))
        found.append(rows)
    found = np.array(found)
    holds(Cell(found[:, 0, :3], 500.0 * truth["days"] - truth["difference"]))
    holds(Cell(found[:, 1, :3], 0.0))
    probability = np.sort(found[:, 1, 3])
    ranks = (np.arange(REPLICATES) + 0.5) / REPLICATES
    assert np.abs(probability - ranks).max() < 1.63 / math.sqrt(REPLICATES)  # Kolmogorov's bound at 1%


def censored(estimator: str, **options: object) -> Callable:
    def estimate(people: pd.DataFrame, records: pd.DataFrame) -> Found:
        history = CostHistory.from_frames(
            people, records, person="person", follow_up="exit", complete="complete", start="start", stop="stop",
            cost="cost", group="treated", covariates=("severity",),
        )  # fmt: skip
        return read(estimate_censored_cost_difference(
            history, name("mean_difference"), options=CensoredCostOptions(730.0, estimator=estimator, **options),
            role="naive" if estimator in NAIVE else "primary",
        ))  # fmt: skip

    return estimate


@pytest.mark.parametrize("people", [200, 600])
def test_those_who_move_away(people):
    """The treated move away five times as often: what was seen of them is too little, and so is the cost of those
    who stayed or died."""
    estimators = [
        *map(censored, ("bang_tsiatis", "bang_tsiatis_partitioned", "zhao_tian", "lin_1997", "lin_2000")),
        *map(censored, NAIVE),
    ]
    rows, truth = [], {}
    for replicate in range(REPLICATES):
        settings = CensoredCostSettings(people=people)
        frame, records, truth = simulate_censored_costs(settings, rng=np.random.default_rng([14, people, replicate]))
        rows.append([estimate(frame, records) for estimate in estimators])
    cells = [Cell(np.array([row[k] for row in rows]), truth["ATT.difference"]) for k in range(len(estimators))]
    for cell in cells[:5]:
        holds(cell)
    seen, complete = cells[5:]
    assert seen.error < -10
    assert seen.coverage < 0.3
    assert complete.error < -4
