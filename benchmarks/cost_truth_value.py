"""The world of the cost truth run in which the service costs more and gives days at home, and both go together."""

from __future__ import annotations

import math

import numpy as np
from cost_truth_people import LEVEL, draw_costs, read_cells
from person_truth_types import Entrant, Found, World

from evalkit.economics.draws import Psa
from evalkit.economics.net_benefit import compute_incremental_benefit
from evalkit.estimators.costs.cells import compute_additive_effect, compute_proportional_effect

THRESHOLD_GBP = 500.0  # a day at home
EFFECT = {"effect": 0.12, "days_effect": 5.0, "heterogeneity": 0.2}
REPLICATES = 600  # bootstrap draws: ends of the interval are percentiles
WITH, WITHOUT = "with", "without"
BENEFIT, AT_ICER = f"net benefit at {THRESHOLD_GBP:g} GBP a day", "net benefit at the true cost of a day"


def draw_value(people: int, effect: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
    """People, their true net benefit at `THRESHOLD_GBP`, and at the threshold where it is nought.

    Without any effect, it is nought at every threshold.
    """
    data, truth = draw_costs(noise="lognormal", spread=0.6, **EFFECT)(people, effect, rng)
    data["nought_at"] = truth["icer"] if effect else THRESHOLD_GBP
    return data, truth | {"benefit": THRESHOLD_GBP * truth["days"] - truth["difference"], "nought": 0.0}


def run_benefit(data: dict) -> dict[str, Found]:
    """Net benefit of the draws that cost and days at home share.

    The p-value is twice the smaller of the probabilities that the service is worth its cost and that it is not, so that
    "size" says whether the acceptability curve is calibrated: where neither is true, each must be below 2.5% in 2.5%.
    """
    cells = read_cells(data, REPLICATES)
    cost = compute_proportional_effect(cells.pick({"cost": 1.0}))
    days = compute_additive_effect(cells.pick({"days": 1.0}))
    psa = Psa.from_differences(
        cost.difference_draws, days.difference_draws, effect_unit="day at home", names=(WITHOUT, WITH)
    )
    found = {}
    for measure, threshold in ((BENEFIT, THRESHOLD_GBP), (AT_ICER, data["nought_at"])):
        benefit = compute_incremental_benefit(psa, np.array([threshold]), target=WITH, reference=WITHOUT, level=LEVEL)
        probability = float(benefit.probability[0])
        found[measure] = Found(
            float(benefit.value[0]), float(benefit.lower[0]), float(benefit.upper[0]),
            2 * min(probability, 1 - probability),
        )  # fmt: skip
    return found


def run_apart(data: dict) -> dict[str, Found]:
    """Net benefit as if cost and days had nothing to do with each other: their variances are added."""
    cells = read_cells(data, REPLICATES)
    cost = compute_proportional_effect(cells.pick({"cost": 1.0}))
    days = compute_additive_effect(cells.pick({"days": 1.0}))
    value = THRESHOLD_GBP * days.difference - cost.difference
    half = 1.959964 * math.hypot(THRESHOLD_GBP * days.se, cost.se)
    return {BENEFIT: Found(value, value - half, value + half)}


def build_value_worlds() -> tuple[World, ...]:
    return (
        World(
            "cost_value", "More cost and more days at home, which go against each other; or no effect on either",
            draw_value,
            (
                Entrant("bootstrap of pairs", {BENEFIT: "benefit", AT_ICER: "nought"}, run_benefit),
                Entrant("as if independent", {BENEFIT: "benefit"}, run_apart, fails=True),
            ),
        ),
    )  # fmt: skip
