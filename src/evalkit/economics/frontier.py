"""Incremental cost-effectiveness ratios: the frontier of several strategies, and one ratio and what it says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.core.errors import Fault
from evalkit.core.faults import choice_faults, level_faults, refuse
from evalkit.economics.faults import as_array, name_faults, number_faults

Quadrant = Literal["NE", "SE", "SW", "NW", "axis"]
Reading = Literal["cost_per_unit_gained", "saving_per_unit_lost", "dominates", "dominated", "no_effect"]
RatioMethod = Literal["fieller", "percentile"]
_ROUNDING = 1e-12  # relative: ratios nearer than this are equal


@dataclass(frozen=True)
class Icer:
    """A ratio of two arms, or the reason why none may stand; `value` (GBP per unit of effect) is then NaN.

    `reading` says what a number means: in the SW quadrant it is what is saved for each unit of effect lost, of which
    more is better, and must never be read as a cost per unit gained.
    """

    value: float
    quadrant: Quadrant
    reading: Reading
    reason: str


@dataclass(frozen=True)
class IcerInterval:
    """A ratio with its interval; all three are NaN where `reason` says why there is none."""

    value: float
    lower: float
    upper: float
    level: float
    reading: Reading
    reason: str = ""


def compute_icers(names: Sequence[str], costs_gbp: np.ndarray, effects: np.ndarray) -> pd.DataFrame:
    """The table of strategies with dominance and ratios, sorted by cost, then by effect from best to worst.

    Columns: strategy, cost_gbp, effect, incremental_cost_gbp, incremental_effect, icer (GBP per unit of effect),
    status, reason. Status is D (strongly dominated: another costs no more and does at least as much), ED (extended
    dominance: a mix of two others costs less for the same effect) or ND; ratios stand with ND alone, each against the
    ND strategy before it, and the cheapest has none.

    Ties, as in calculate_icers of dampack: of equal costs the better dominates; of equal effects the cheaper; of
    equals in both the one named first. Effects that differ by rounding alone are equal, so that no ratio has nothing to
    divide by. Strategies on a straight line between two others stay ND (ratios equal to within rounding).

    Parameters
    ----------
    names : K names, 1 or more
    costs_gbp, effects : arrays, shape (K,), such as means over draws

    Raises ParameterError for names given twice, unequal lengths and numbers that are missing or infinite.
    """
    names = tuple(names)
    costs, effects = _check_points(names, costs_gbp, effects)
    order = np.lexsort((-effects, costs))
    costs, effects, names = costs[order], effects[order], tuple(names[j] for j in order)
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(effects)[:-1]])
    dominated = effects <= best_before + _ROUNDING * np.abs(effects).max()
    kept = _lower_hull(costs, effects, np.flatnonzero(~dominated))
    status = np.where(dominated, "D", "ED").astype(object)
    status[kept] = "ND"
    step_cost, step_effect = np.full(len(names), np.nan), np.full(len(names), np.nan)
    step_cost[kept[1:]], step_effect[kept[1:]] = np.diff(costs[kept]), np.diff(effects[kept])
    return pd.DataFrame(
        {
            "strategy": names,
            "cost_gbp": costs,
            "effect": effects,
            "incremental_cost_gbp": step_cost,
            "incremental_effect": step_effect,
            "icer": step_cost / step_effect,
            "status": status.astype(str),
            "reason": [_why(j, names, effects, status, kept) for j in range(len(names))],
        }
    )


def compute_frontier(names: Sequence[str], costs_gbp: np.ndarray, effects: np.ndarray) -> pd.DataFrame:
    """The efficient frontier: the ND rows of `compute_icers`, from the least cost and effect to the most."""
    table = compute_icers(names, costs_gbp, effects)
    return table[table["status"] == "ND"].drop(columns="reason").reset_index(drop=True)


def _check_points(names: tuple[str, ...], costs: object, effects: object) -> tuple[np.ndarray, np.ndarray]:
    faults = name_faults(names, "names")
    costs, wrong = as_array(costs, "costs_gbp", ndim=1)
    effects, worse = as_array(effects, "effects", ndim=1)
    faults += wrong + worse
    for where, array in (("costs_gbp", costs), ("effects", effects)):
        if array.size and len(array) != len(names):
            faults.append(Fault(where, "as many as names are wanted", str(len(array)), str(len(names))))
    refuse(faults)
    return costs, effects


def _lower_hull(costs: np.ndarray, effects: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Places whose ratios rise along the line, found by dropping until none is larger than the next.

    A place whose ratio is above the next lies over the line between its neighbours, so all such go at once.
    """
    while len(kept) > 2:
        ratios = np.diff(costs[kept]) / np.diff(effects[kept])
        margin = _ROUNDING * np.maximum(np.abs(ratios[:-1]), np.abs(ratios[1:]))
        above = ratios[:-1] > ratios[1:] + margin
        if not above.any():
            break
        kept = kept[np.concatenate([[True], ~above, [True]])]
    return kept


def _why(j: int, names: tuple[str, ...], effects: np.ndarray, status: np.ndarray, kept: np.ndarray) -> str:
    """Why a row has no ratio; empty where it has one."""
    if status[j] == "D":
        by = int(effects[:j].argmax())
        return f'strongly dominated: "{names[by]}" costs no more and does at least as much'
    if status[j] == "ED":
        below, above = names[kept[kept < j][-1]], names[kept[kept > j][0]]
        return f'extended dominance: a mix of "{below}" and "{above}" costs less for the same effect'
    return "the cheapest: nothing to compare it with" if j == kept[0] else ""


def compute_icer(
    delta_cost_gbp: float, delta_effect: float, *, effect_unit: str = "unit of effect", zero_effect: float = 0.0
) -> Icer:
    """Cost per unit of effect of one arm over another, or why there is none.

    A difference in effect of no more than `zero_effect` either way is none. Cheaper (or no dearer) and better
    dominates, dearer (or no cheaper) and worse is dominated: neither has a ratio, whose sign alone would not tell one
    from the other. Raises ParameterError for differences that are missing or infinite.
    """
    refuse(
        number_faults("delta_cost_gbp", delta_cost_gbp)
        + number_faults("delta_effect", delta_effect)
        + number_faults("zero_effect", zero_effect, least=0)
    )
    cost, effect = float(delta_cost_gbp), float(delta_effect)
    if abs(effect) <= zero_effect:
        return Icer(
            math.nan, "axis", "no_effect", "no ratio: the effects do not differ, so there is nothing to divide by"
        )
    if cost == 0:
        better = effect > 0
        word = "better at the same cost: it dominates" if better else "worse at the same cost: it is dominated"
        return Icer(math.nan, "axis", "dominates" if better else "dominated", f"no ratio: {word}")
    if effect > 0 and cost < 0:
        return Icer(math.nan, "SE", "dominates", "no ratio: cheaper and better, so it dominates")
    if effect < 0 and cost > 0:
        return Icer(math.nan, "NW", "dominated", "no ratio: dearer and worse, so it is dominated")
    if effect > 0:
        return Icer(cost / effect, "NE", "cost_per_unit_gained", f"GBP for each {effect_unit} gained")
    text = f"GBP saved for each {effect_unit} lost: a larger ratio favours it, unlike where effect is gained"
    return Icer(cost / effect, "SW", "saving_per_unit_lost", text)


def compute_icer_interval(
    delta_cost_gbp: np.ndarray,
    delta_effect: np.ndarray,
    *,
    level: float = 0.95,
    method: RatioMethod = "fieller",
    effect_unit: str = "unit of effect",
) -> IcerInterval:
    """Ratio of mean differences with an interval from draws of them (bootstrap or probabilistic), each of shape (S,).

    `fieller` takes the two means as jointly normal with the draws' covariance; its ends r solve
    (e^2 - z^2 v_e) r^2 - 2 (c e - z^2 v_ce) r + (c^2 - z^2 v_c) = 0. `percentile` ranks the draws' ratios; draws
    whose effect has the other sign rank beyond all others, on the side of the cost they come with. An end below 0
    means dominance there, which `reason` says.

    Refused, with the reason, where there is no ratio (`compute_icer`) and where the effect is not away from zero at
    `level`: an interval would be without end, or the whole line but for a piece.

    Raises ParameterError for draws that are missing, infinite or no pairs, and for an unknown method.
    References: Fieller 1954, JRSS B 16:175; Briggs, O'Brien and Blackhouse 2002, Annu Rev Public Health 23:377.
    """
    cost, faults = as_array(delta_cost_gbp, "delta_cost_gbp", ndim=1)
    effect, wrong = as_array(delta_effect, "delta_effect", ndim=1)
    faults += wrong + level_faults(level) + choice_faults("method", method, ("fieller", "percentile"))
    if not faults and (len(cost) != len(effect) or len(cost) < 2):
        faults.append(
            Fault("delta_effect", "two or more pairs of draws are wanted", f"{len(cost):,} and {len(effect):,}")
        )
    refuse(faults)
    zero = _ROUNDING * float(np.abs(effect).max())
    icer = compute_icer(float(cost.mean()), float(effect.mean()), effect_unit=effect_unit, zero_effect=zero)
    if math.isnan(icer.value):
        return IcerInterval(math.nan, math.nan, math.nan, level, icer.reading, icer.reason)
    ends = (_fieller if method == "fieller" else _percentile)(cost, effect, level)
    if ends is None:
        text = f"no interval: the effect is not away from zero at {level:.0%}, so the ratio has no bounds"
        return IcerInterval(math.nan, math.nan, math.nan, level, icer.reading, text)
    text = icer.reason
    if ends[0] < 0:
        side = "dominates" if icer.reading == "cost_per_unit_gained" else "is dominated"
        text += f"; below 0 it {side}"
    return IcerInterval(icer.value, *ends, level, icer.reading, text)


def _fieller(cost: np.ndarray, effect: np.ndarray, level: float) -> tuple[float, float] | None:
    z2 = float(stats.norm.ppf(0.5 + level / 2) ** 2)
    # In units of their own spread or size, so that squares of pence and of millions meet on one scale.
    by_cost, by_effect = (float(np.abs(d).max()) for d in (cost, effect))
    c, e = cost / by_cost, effect / by_effect
    (v_c, v_ce), (_, v_e) = np.cov(c, e)
    a, b, d = e.mean() ** 2 - z2 * v_e, c.mean() * e.mean() - z2 * v_ce, c.mean() ** 2 - z2 * v_c
    if a <= 0:
        return None
    root = math.sqrt(max(b * b - a * d, 0.0))
    return float((b - root) / a * by_cost / by_effect), float((b + root) / a * by_cost / by_effect)


def _percentile(cost: np.ndarray, effect: np.ndarray, level: float) -> tuple[float, float] | None:
    sign = math.copysign(1.0, effect.mean())
    cost, effect = sign * cost, sign * effect
    known = effect > 0
    ratio = np.where(cost > 0, np.inf, -np.inf)
    ratio[known] = cost[known] / effect[known]
    ratio.sort()
    ends = []
    for share in (0.5 - level / 2, 0.5 + level / 2):
        place = (len(ratio) - 1) * share
        low, high = ratio[math.floor(place)], ratio[math.ceil(place)]
        if not np.isfinite(low) or not np.isfinite(high):
            return None
        ends.append(float(low + (high - low) * (place - math.floor(place))))
    return ends[0], ends[1]
