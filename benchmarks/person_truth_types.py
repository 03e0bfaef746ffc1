"""What a world and an entrant of the person-level truth run are."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable
from evalkit.core.estimand import Contrast, Estimand, Scale
from evalkit.core.result import Estimate

WINDOW = Window(dt.date(2016, 4, 1), dt.date(2018, 4, 1))
Z = 1.959963984540054


@dataclass(frozen=True)
class Found:
    """One estimate as the run needs it; NaN for what there is not."""

    value: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    p_value: float = math.nan
    reason: str = ""


NOTHING = Found()


@dataclass(frozen=True)
class Entrant:
    """An estimator, or a competitor that `fails`.

    `run` takes what the world drew, with a generator under `rng`, and returns what it found by measure; `measures` says
    under which name the truth of each stands. It runs in the first `share` of the replicates.
    """

    name: str
    measures: Mapping[str, str]
    run: Callable[[dict], dict[str, Found]]
    fails: bool = False
    share: float = 1.0


@dataclass(frozen=True)
class World:
    """A way to draw people, `draw(people, effect 0 or 1, rng)`, which returns data and truth; and who tries on it.

    `effects` says which of the two are drawn.
    """

    name: str
    title: str
    draw: Callable[[int, int, np.random.Generator], tuple[dict, dict[str, float]]]
    entrants: tuple[Entrant, ...]
    effects: tuple[int, ...] = (1, 0)


def name_estimand(scale: Scale, contrast: Contrast = "ATE") -> Estimand:
    return Estimand("simulated", contrast, "people", WINDOW, scale)


def or_refused(estimate: Callable[[], Estimate]) -> Found:
    """What one call finds; where several measures come of one run, one may be refused and the others not."""
    try:
        return found_of(estimate())
    except NotEstimable as refusal:
        return Found(reason=refusal.faults[0].text)


def found_of(estimate: Estimate) -> Found:
    """An Estimate as Found; what is not shown is refused."""
    if estimate.status != "shown":
        return Found(reason=estimate.reason)
    return Found(estimate.value, estimate.lower, estimate.upper, estimate.p_value)


def found_of_log(log_value: float, se: float) -> Found:
    """A ratio from its logarithm and the error of that."""
    return Found(math.exp(log_value), math.exp(log_value - Z * se), math.exp(log_value + Z * se))


def found_of_difference(value: float, se: float) -> Found:
    return Found(value, value - Z * se, value + Z * se)
