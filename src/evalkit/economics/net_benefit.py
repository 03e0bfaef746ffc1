"""Net benefit over thresholds: acceptability, expected loss, the value of information, and the plane of differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.core.errors import Fault, ParameterError
from evalkit.core.faults import choice_faults, level_faults, refuse
from evalkit.core.prices import discount_factors
from evalkit.economics.draws import Psa
from evalkit.economics.faults import as_array, check_thresholds, number_faults
from evalkit.economics.frontier import Icer, compute_frontier, compute_icer

_BLOCK = 32_768  # net benefits of one strategy held at a time: fits a processor's cache
_ROUNDING = 1e-12  # relative: effects nearer to zero than this are zero


@dataclass(frozen=True, eq=False)
class Acceptability:
    """What T thresholds make of K strategies.

    Attributes
    ----------
    strategies : K names
    thresholds_gbp : shape (T,), GBP per unit of effect
    probability : shape (T, K), share of draws in which the strategy is the best (CEAC); ties are shared equally
    expected_net_benefit_gbp, expected_loss_gbp : shape (T, K)
    optimal : int array, shape (T,), the strategy with the largest expected net benefit, the first named of equals
    frontier_probability : shape (T,), `probability` of the optimal one (CEAF)
    evpi_gbp : shape (T,), expected value of perfect information, a decision (a person or person-quarter, as costs are)
    """

    strategies: tuple[str, ...]
    thresholds_gbp: np.ndarray
    probability: np.ndarray
    expected_net_benefit_gbp: np.ndarray
    expected_loss_gbp: np.ndarray
    optimal: np.ndarray
    frontier_probability: np.ndarray
    evpi_gbp: np.ndarray


@dataclass(frozen=True, eq=False)
class IncrementalBenefit:
    """Incremental net monetary benefit of one strategy over another; arrays of shape (T,), in GBP but `probability`.

    `value` is the mean (EIB), `lower` and `upper` the draws' percentiles, `probability` the share of draws above 0.
    """

    thresholds_gbp: np.ndarray
    value: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    sd: np.ndarray
    probability: np.ndarray
    level: float


@dataclass(frozen=True, eq=False)
class Ellipse:
    """Where a share `level` of draws would lie if they were jointly normal.

    `centre` is (effect, cost); each row of `axes` (2, 2) is a half-axis, so that the outline is
    centre + cos(t) axes[0] + sin(t) axes[1].
    """

    level: float
    centre: np.ndarray
    axes: np.ndarray


@dataclass(frozen=True, eq=False)
class Plane:
    """The cost-effectiveness plane of `target` over `reference`: differences in cost (GBP) and in effect.

    `share_ne` and so on are shares of draws, north dearer and east better; those on an axis are in `share_axis`.
    Intervals are percentiles of the draws at `level`. `correlation` is NaN where cost or effect does not vary.
    """

    target: str
    reference: str
    mean_cost_gbp: float
    mean_effect: float
    sd_cost_gbp: float
    sd_effect: float
    correlation: float
    cost_interval_gbp: tuple[float, float]
    effect_interval: tuple[float, float]
    level: float
    share_ne: float
    share_se: float
    share_sw: float
    share_nw: float
    share_axis: float
    icer: Icer
    ellipses: tuple[Ellipse, ...]


def compute_net_benefit(
    psa: Psa, threshold_gbp: float, *, scale: Literal["monetary", "health"] = "monetary"
) -> np.ndarray:
    """Net benefit of each draw and strategy, shape (S, K): k e - c in GBP, or e - c / k in units of effect.

    Raises ParameterError for a threshold below 0, and of 0 for health benefit, which would divide by it.
    """
    faults = number_faults("threshold_gbp", threshold_gbp, least=0)
    faults += choice_faults("scale", scale, ("monetary", "health"))
    if not faults and scale == "health" and threshold_gbp == 0:
        step = 'Ask for scale="monetary".'
        faults.append(Fault("threshold_gbp", "net health benefit divides by it", "0", "above 0", step))
    refuse(faults)
    if scale == "monetary":
        return threshold_gbp * psa.effects - psa.costs_gbp
    return psa.effects - psa.costs_gbp / threshold_gbp


def compute_acceptability(psa: Psa, thresholds_gbp: np.ndarray) -> Acceptability:
    """CEAC, CEAF, expected net benefit, expected loss and EVPI at each threshold, shape (T,).

    Net benefits are made in blocks of draws and thresholds and never held all at once. Raises ParameterError for
    thresholds that are missing, infinite or below 0.
    References: Fenwick, Claxton and Sculpher 2001, Health Econ 10:779 (CEAC, CEAF); Alarid-Escudero et al. 2019,
    Value Health 22:611 (expected loss).
    """
    thresholds = check_thresholds(thresholds_gbp)
    centre_cost, centre_effect = psa.costs_gbp.mean(axis=0), psa.effects.mean(axis=0)
    expected = thresholds[:, None] * centre_effect - centre_cost
    optimal = expected.argmax(axis=1)
    wins, best = np.zeros(expected.shape), np.zeros(len(thresholds))
    draws = min(psa.n_draws, _BLOCK)
    step = max(1, _BLOCK // draws)
    for first in range(0, psa.n_draws, draws):
        costs = np.ascontiguousarray(psa.costs_gbp[first : first + draws].T)
        effects = np.ascontiguousarray(psa.effects[first : first + draws].T)
        for place in range(0, len(thresholds), step):
            rows = slice(place, place + step)
            won, largest = _count_best(costs, effects, thresholds[rows])
            wins[rows] += won
            best[rows] += largest
    probability = wins / psa.n_draws
    loss = np.maximum((best / psa.n_draws)[:, None] - expected, 0.0)
    rows = np.arange(len(thresholds))
    return Acceptability(
        psa.strategies,
        thresholds,
        probability,
        expected,
        loss,
        optimal,
        probability[rows, optimal],
        loss[rows, optimal],
    )


def _count_best(costs: np.ndarray, effects: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each of K strategies is the best at each of t thresholds (t, K), and the sum of the best (t,)."""
    benefit = effects[:, None, :] * thresholds[:, None]
    benefit -= costs[:, None, :]
    best = benefit.max(axis=0)
    is_best = benefit == best
    tied = is_best.sum(axis=0, dtype=np.int8 if len(costs) < 128 else np.int64)
    if tied.max() == 1:
        return np.count_nonzero(is_best, axis=2).T.astype(np.float64), best.sum(axis=1)
    return (is_best / tied).sum(axis=2).T, best.sum(axis=1)


def describe_acceptability(found: Acceptability) -> pd.DataFrame:
    """One row a threshold and strategy, for tables and figures; EVPI and CEAF are repeated over its strategies."""
    t, k = found.probability.shape
    return pd.DataFrame(
        {
            "threshold_gbp": np.repeat(found.thresholds_gbp, k),
            "strategy": np.tile(np.array(found.strategies), t),
            "probability": found.probability.ravel(),
            "expected_net_benefit_gbp": found.expected_net_benefit_gbp.ravel(),
            "expected_loss_gbp": found.expected_loss_gbp.ravel(),
            "is_optimal": (np.arange(k) == found.optimal[:, None]).ravel(),
            "frontier_probability": np.repeat(found.frontier_probability, k),
            "evpi_gbp": np.repeat(found.evpi_gbp, k),
        }
    )


def compute_incremental_benefit(
    psa: Psa, thresholds_gbp: np.ndarray, *, target: str, reference: str, level: float = 0.95
) -> IncrementalBenefit:
    """Incremental net monetary benefit k de - dc of `target` over `reference` at each threshold.

    Raises ParameterError for thresholds as `compute_acceptability`, unknown strategies and a level outside 0 to 1.
    """
    refuse(level_faults(level))
    thresholds = check_thresholds(thresholds_gbp)
    cost, effect = psa.differences(target, reference)
    (v_c, v_ce), (_, v_e) = np.cov(cost, effect)
    variance = thresholds**2 * v_e - 2 * thresholds * v_ce + v_c
    ends = np.empty((2, len(thresholds)))
    above = np.empty(len(thresholds))
    step = max(1, 16 * _BLOCK // psa.n_draws)
    for place in range(0, len(thresholds), step):
        rows = slice(place, place + step)
        benefit = thresholds[rows, None] * effect - cost
        above[rows] = (benefit > 0).mean(axis=1)
        ends[:, rows] = np.quantile(benefit, [0.5 - level / 2, 0.5 + level / 2], axis=1)
    value = thresholds * effect.mean() - cost.mean()
    return IncrementalBenefit(thresholds, value, *ends, np.sqrt(np.maximum(variance, 0)), above, level)


def compute_plane(
    psa: Psa, *, target: str, reference: str, level: float = 0.95, ellipses: tuple[float, ...] = (0.5, 0.95)
) -> Plane:
    """Means, spread, shares of quadrants, ratio and ellipses of the differences of `target` from `reference`.

    Raises ParameterError for unknown strategies and levels outside 0 to 1.
    """
    refuse([fault for share in (level, *ellipses) for fault in level_faults(share)])
    cost, effect = psa.differences(target, reference)
    sd_cost, sd_effect = float(cost.std(ddof=1)), float(effect.std(ddof=1))
    varies = sd_cost > _ROUNDING * np.abs(psa.costs_gbp).max() and sd_effect > _ROUNDING * np.abs(psa.effects).max()
    correlation = float(np.corrcoef(cost, effect)[0, 1]) if varies else float("nan")
    tails = [0.5 - level / 2, 0.5 + level / 2]
    low_cost, high_cost = (float(q) for q in np.quantile(cost, tails))
    low_effect, high_effect = (float(q) for q in np.quantile(effect, tails))
    north, south, east, west = cost > 0, cost < 0, effect > 0, effect < 0
    ne, se, sw, nw = (float((a & b).mean()) for a, b in ((north, east), (south, east), (south, west), (north, west)))
    zero = _ROUNDING * float(np.abs(psa.effects).max())
    icer = compute_icer(float(cost.mean()), float(effect.mean()), effect_unit=psa.effect_unit, zero_effect=zero)
    return Plane(
        target, reference, float(cost.mean()), float(effect.mean()), sd_cost, sd_effect, correlation,
        (low_cost, high_cost), (low_effect, high_effect), level, ne, se, sw, nw,
        float(((cost == 0) | (effect == 0)).mean()), icer,
        tuple(_ellipse(effect, cost, share) for share in ellipses) if varies else (),
    )  # fmt: skip


def _ellipse(effect: np.ndarray, cost: np.ndarray, level: float) -> Ellipse:
    """Axes from the singular values of the differences themselves: squares of small effects would be lost by GBP."""
    both = np.column_stack([effect, cost])
    centre = both.mean(axis=0)
    _, spread, directions = np.linalg.svd((both - centre) / np.sqrt(len(both) - 1), full_matrices=False)
    return Ellipse(level, centre, np.sqrt(stats.chi2.ppf(level, 2)) * spread[:, None] * directions)


def compute_break_even(psa: Psa) -> pd.DataFrame:
    """Thresholds at which the strategy with the largest expected net benefit changes, from 0 upwards.

    Columns: threshold_gbp, from, to; no row where one strategy is best at every threshold. They are the ratios of
    the frontier, exact and not of a grid.
    """
    frontier = compute_frontier(psa.strategies, psa.costs_gbp.mean(axis=0), psa.effects.mean(axis=0))
    names = frontier["strategy"].to_numpy()
    return pd.DataFrame({"threshold_gbp": frontier["icer"].to_numpy()[1:], "from": names[:-1], "to": names[1:]})


def compute_population_evpi(
    evpi_gbp: np.ndarray | float, people_per_year: np.ndarray, *, discount_rate: float = 0.035
) -> np.ndarray:
    """EVPI of all whom the decision touches: per person times the discounted sum of people over years.

    Parameters
    ----------
    evpi_gbp : any shape, per person
    people_per_year : shape (Y,), people whom it touches anew in each year; the first is not discounted

    Raises ParameterError for EVPI or people that are missing, infinite or below 0, and for a rate not in 0 to 1.
    """
    evpi, faults = as_array(np.ravel(evpi_gbp), "evpi_gbp", ndim=1)
    people, wrong = as_array(people_per_year, "people_per_year", ndim=1)
    faults += wrong
    for where, array in (("evpi_gbp", evpi), ("people_per_year", people)):
        if array.size and array.min() < 0:
            faults.append(Fault(where, "below 0", f"{array.min():g}", "0 or more"))
    if faults:
        raise ParameterError(faults)
    years = discount_factors(np.arange(len(people)), discount_rate)
    return np.asarray(evpi_gbp, dtype=np.float64) * float(people @ years)
