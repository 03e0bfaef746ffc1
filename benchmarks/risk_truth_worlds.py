"""Worlds of the risk truth run, by name, and who tries on each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from person_truth_types import World
from risk_truth_entrants import GROUPED, MEASURED, THRESHOLDS, alone, distances_of
from risk_truth_models import DEVELOPED, IMPUTED, RECALIBRATED, TIMED

from evalkit.simulate.risk_worlds import GROUPS, RiskSettings, compute_risk_truth, simulate_risk

SEVERAL = {"most_discharges": 5, "shared": 0.5}
WRONG = {"stated_slope": 1.5, "stated_intercept": 0.3}
UNFAIR = {"group_shift": 0.6, "group_slope": 0.5}


def draw_world(settings: RiskSettings) -> Callable[[int, int, np.random.Generator], tuple[dict, dict[str, float]]]:
    """Discharges of so many people, with what is true of the stated model; entrants may add to the truth."""

    def draw(people: int, _: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        own = replace(settings, people=people)
        world = simulate_risk(own, rng=rng)
        # What an entrant was to add and did not, because it refused, is unknown.
        truth = defaultdict(lambda: math.nan, compute_risk_truth(own, thresholds=THRESHOLDS))
        truth |= distances_of(own, world)
        return {"world": world, "settings": own, "truth": truth}, truth

    return draw


def draw_grouped(settings: RiskSettings) -> Callable[[int, int, np.random.Generator], tuple[dict, dict[str, float]]]:
    """As `draw_world`, with the truth of each group and the largest gap between groups."""

    def draw(people: int, _: int, rng: np.random.Generator) -> tuple[dict, dict[str, float]]:
        own = replace(settings, people=people)
        by_group = {name: compute_risk_truth(own, thresholds=THRESHOLDS, group=name) for name in GROUPS}
        truth = {f"{key}, {name}": value for name, found in by_group.items() for key, value in found.items()}
        for key in by_group[GROUPS[0]]:
            values = [found[key] for found in by_group.values()]
            truth[f"gap in {key}"] = max(values) - min(values)
        return {"world": simulate_risk(own, rng=rng), "settings": own, "truth": truth}, truth

    return draw


def build_worlds() -> tuple[tuple[World, tuple[int, ...]], ...]:
    """Each world with the numbers of people it is drawn with: 100 to 1,000 readmissions."""
    base, once = RiskSettings(), (1,)
    return (
        (World("right", "the model is right", draw_world(base), MEASURED, once), (500, 2000)),
        (
            World("right, repeats", "the same, 1 to 5 discharges a person", draw_world(replace(base, **SEVERAL)),
                  (*MEASURED, *alone()), once),
            (170, 670),
        ),
        (World("wrong", "too extreme a model", draw_world(replace(base, **WRONG)), MEASURED, once), (500, 2000)),
        (
            World("wrong, repeats", "the same, 1 to 5 discharges a person",
                  draw_world(replace(base, **WRONG, **SEVERAL)), (*MEASURED, *alone()), once),
            (170, 670),
        ),
        (World("groups", "groups that the model does not fit", draw_grouped(replace(base, **UNFAIR)), GROUPED, once),
         (1000, 4000)),
        (
            World("groups, repeats", "the same, 1 to 5 discharges a person",
                  draw_grouped(replace(base, **UNFAIR, **SEVERAL)), GROUPED, once),
            (340, 1340),
        ),
        (World("developed", "7 coefficients", draw_world(base), DEVELOPED, once), (500, 1500, 5000)),
        (
            World("developed, repeats", "the same, 1 to 5 discharges a person", draw_world(replace(base, **SEVERAL)),
                  DEVELOPED, once),
            (170, 500),
        ),
        (World("too many", "21 coefficients, 14 of them nil", draw_world(replace(base, noise=14)), DEVELOPED, once),
         (500, 1500, 5000)),
        (World("recalibrated", "a model from elsewhere is recalibrated", draw_world(replace(base, **WRONG)),
               RECALIBRATED, once), (500, 2000)),
        (
            World("recalibrated, repeats", "the same, 1 to 5 discharges a person",
                  draw_world(replace(base, **WRONG, **SEVERAL)), RECALIBRATED, once),
            (170, 670),
        ),
        (World("missing", "a third of the best predictor is missing",
               draw_world(replace(base, missing=0.33)), IMPUTED, once), (500, 2000)),
        (
            World("in time", "death competes, a quarter not followed to the end",
                  draw_world(replace(base, deaths=0.15, **WRONG)), TIMED, once),
            (500, 2000),
        ),
    )  # fmt: skip


_BUILT = build_worlds()
WORLDS = {world.name: world for world, _ in _BUILT}
SIZES = {world.name: sizes for world, sizes in _BUILT}
