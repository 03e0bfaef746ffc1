"""Budget impact: what a service adds to and takes off a budget year by year, and when it has paid for itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from evalkit.core.economics import Persistence
from evalkit.core.errors import Fault
from evalkit.core.faults import choice_faults, is_finite, level_faults, refuse, whole_faults
from evalkit.core.prices import discount_factors
from evalkit.core.result import Check
from evalkit.economics.effects import (
    QUARTERS_PER_YEAR,
    Ranged,
    YearEffect,
    list_years,
    normal_range,
    sort_years,
    year_label,
)
from evalkit.economics.faults import number_faults

MAX_YEARS = 20
PERSISTENCE_TEXT: dict[Persistence, str] = {
    "holds": "The effect of the last whole year observed goes on unchanged.",
    "fades": "The effect of the last whole year observed shrinks in equal steps, to nothing in the last year shown.",
    "stops": "There is no effect after the last quarter observed, though the service goes on and is paid for.",
}
NOTHING_TO_REPAY = "The service costs nothing in this table, so there is nothing to pay back."
APART = (
    "The effect must be that on other services alone, since the service's own cost is counted in a column of its own; "
    "with an effect that holds it, it would count twice."
)
CLOSED = (
    "The people are those of the study, counted whether alive or dead. People who would join the service later are not "
    "in this table."
)
CONSTANT = "Money is in the prices of one year throughout; a budget in pounds of the day would grow with prices."


@dataclass(frozen=True)
class ImpactPlan:
    """What the service costs and over how many years its impact is shown.

    `people`: one number, or one a year. `set_up_gbp` is paid once, in year 1. `running_gbp_per_year`: what the service
    itself costs in a whole year, one number or one a year. `discount_rate`: a share a year.
    """

    people: float | Sequence[float]
    years: int
    set_up_gbp: float
    running_gbp_per_year: float | Sequence[float]
    discount_rate: float = 0.035
    persistence: tuple[Persistence, ...] = field(default=get_args(Persistence))


@dataclass(frozen=True)
class ImpactPath:
    """Years 1 to N under one persistence of the effect: arrays (N,), GBP. Costs are above 0, savings below.

    `net` is set-up, running cost and the change in other services' cost; `cumulative` its sum from year 1.
    `share_broken_even`: draws whose cumulative cost had come down to 0 or less by the end of some year so far, which
    never falls; `share_ahead`: draws where it is so at the end of that very year, which may. `break_even_year` is that
    of the estimate; where it is None, `reason` says why.
    """

    persistence: Persistence
    year_number: np.ndarray
    set_up_gbp: np.ndarray
    running_gbp: np.ndarray
    other_services_gbp: Ranged
    net_gbp: Ranged
    net_discounted_gbp: Ranged
    cumulative_gbp: Ranged
    cumulative_discounted_gbp: Ranged
    share_broken_even: np.ndarray
    share_ahead: np.ndarray
    break_even_year: int | None
    reason: str


@dataclass(frozen=True)
class BudgetImpact:
    """One path for each persistence, in the order asked for; `observed_years` of N have an effect of their own."""

    paths: tuple[ImpactPath, ...]
    observed_years: int
    level: float
    checks: tuple[Check, ...]


def compute_budget_impact(effects: Sequence[YearEffect], plan: ImpactPlan, *, level: float) -> BudgetImpact:
    """What each year costs the budget more or less than without the service.

    Year k is the k-th financial year with the service. Its observed quarters have the effect of that year, people x
    quarters x (actual - counterfactual); quarters after the last observed one have the effect of the last whole year
    observed (the last year, where none is whole) times 1 if it holds, (N - k) / (N - m) if it fades, m being the last
    year observed, and 0 if it stops. A first year of fewer than four quarters, with others after it, is one in which
    the service began late. Intervals are normal with the spread of the draws, which keep their order over the years.

    Net is shown undiscounted first, since a budget holder pays in the year itself, then discounted at the start of
    each year (year 1 is not): principles of Sullivan et al. 2014, Value in Health 17:5, which also ask for the
    budget holder's own years, for each year's result, and for scenarios of what is assumed rather than one figure.

    Parameters
    ----------
    effects : cost of other services without the service's own, one entry a financial year, none left out between

    Raises
    ------
    ParameterError
        Effects that cannot be used (`sort_years`), a year missing between others, a year in the middle that lies
        only partly in the study, and a plan with negative, missing or infinite amounts; all faults at once.
    """
    years = sort_years(effects)
    refuse([*level_faults(level), *_year_faults(years), *_plan_faults(plan)])
    n = int(plan.years)
    observed, projected, carried = _quarters(years, n)
    people = np.broadcast_to(np.asarray(plan.people, dtype=np.float64), (n,))
    active = (observed + projected) / QUARTERS_PER_YEAR
    running = np.broadcast_to(np.asarray(plan.running_gbp_per_year, dtype=np.float64), (n,)) * active
    point = np.array([e.actual - e.counterfactual for e in years])
    draws = np.stack([e.draws[:, 0] - e.draws[:, 1] for e in years], axis=1)
    paths = []
    for name in plan.persistence:
        weights = np.zeros((n, len(years)))
        own = np.arange(min(n, len(years)))
        weights[own, own] = observed[own]
        weights[:, carried] += projected * _remaining(name, n, len(years))
        weights *= people[:, None]
        paths.append(_path(name, plan, running, weights @ point, draws @ weights.T, level))
    return BudgetImpact(tuple(paths), min(n, len(years)), level, _checks(years, years[carried], paths, n))


def _quarters(years: Sequence[YearEffect], n: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Quarters of each year that were observed, and that come after, (n,) each; which year's effect is carried on."""
    m = len(years)
    observed, projected = np.zeros(max(n, m)), np.zeros(max(n, m))
    observed[:m] = [min(e.quarters, QUARTERS_PER_YEAR) for e in years]
    projected[m:] = QUARTERS_PER_YEAR
    projected[m - 1] = QUARTERS_PER_YEAR - observed[m - 1]
    whole = np.flatnonzero(observed[:m] == QUARTERS_PER_YEAR)
    return observed[:n], projected[:n], int(whole[-1]) if len(whole) else m - 1


def _remaining(persistence: Persistence, n: int, m: int) -> np.ndarray:
    """The share of the effect carried on that is left in each of n years, m of them observed."""
    if persistence == "holds":
        return np.ones(n)
    if persistence == "stops":
        return np.zeros(n)
    k = np.arange(1, n + 1)
    return np.clip((n - k) / max(n - m, 1), 0.0, 1.0) if n > m else np.ones(n)


def _path(
    name: Persistence, plan: ImpactPlan, running: np.ndarray, other: np.ndarray, other_draws: np.ndarray, level: float
) -> ImpactPath:
    """Money by year from the change in other services' cost, point (n,) and draws (B, n)."""
    n = len(running)
    set_up = np.zeros(n)
    set_up[0] = plan.set_up_gbp
    discount = discount_factors(np.arange(n), plan.discount_rate)
    net, net_draws = set_up + running + other, set_up + running + other_draws
    total, total_draws = net.cumsum(), net_draws.cumsum(axis=1)
    less, less_draws = (net * discount).cumsum(), (net_draws * discount).cumsum(axis=1)
    ahead = total_draws <= 0
    year, reason = _break_even(total, costs_anything=bool((set_up + running).any()))
    return ImpactPath(
        name, np.arange(1, n + 1), set_up, running,
        normal_range(other, other_draws, level), normal_range(net, net_draws, level),
        normal_range(net * discount, net_draws * discount, level), normal_range(total, total_draws, level),
        normal_range(less, less_draws, level), np.maximum.accumulate(ahead, axis=1).mean(axis=0), ahead.mean(axis=0),
        year, reason,
    )  # fmt: skip


def _break_even(cumulative: np.ndarray, *, costs_anything: bool) -> tuple[int | None, str]:
    n = len(cumulative)
    if not costs_anything:
        return None, NOTHING_TO_REPAY
    reached = np.flatnonzero(cumulative <= 0)
    if not len(reached):
        return None, f"The service has not paid for itself by the end of year {n}."
    after = cumulative[reached[0] :]
    if (after > 0).any():
        return int(reached[0]) + 1, "It has paid for itself by then, but later years cost more than it had saved."
    return int(reached[0]) + 1, ""


def _year_faults(years: Sequence[YearEffect]) -> list[Fault]:
    found = [e.year for e in years]
    missing = sorted(set(range(int(found[0]), int(found[-1]) + 1)) - set(found))
    faults = (
        [Fault("effects", "years are missing between the first and the last", list_years(missing))] if missing else []
    )
    for e in years[1:-1]:
        if e.quarters < QUARTERS_PER_YEAR:
            what = "lies only partly in the study, though years before and after it do"
            faults.append(Fault(f"effects, {year_label(e.year)}", what, f"{e.quarters:g} quarters", "4 quarters"))
    return faults


def _plan_faults(plan: ImpactPlan) -> list[Fault]:
    faults = whole_faults("years", plan.years, least=1)
    if not faults and plan.years > MAX_YEARS:
        faults.append(Fault("years", "too far ahead", str(plan.years), f"1 to {MAX_YEARS}"))
    n = None if faults else int(plan.years)
    faults += _by_year_faults("people", plan.people, n, more_than_zero=True)
    faults += _by_year_faults("running_gbp_per_year", plan.running_gbp_per_year, n, more_than_zero=False)
    faults += number_faults("set_up_gbp", plan.set_up_gbp, least=0)
    if not (is_finite(plan.discount_rate) and 0 <= plan.discount_rate < 1):
        faults.append(Fault("discount_rate", "not a share a year", repr(plan.discount_rate), "0 or more, below 1"))
    if not plan.persistence:
        faults.append(Fault("persistence", "none is given", allowed=", ".join(get_args(Persistence))))
    for name in plan.persistence:
        faults += choice_faults("persistence", name, get_args(Persistence))
    if len(set(plan.persistence)) < len(plan.persistence):
        faults.append(Fault("persistence", "one is given twice", ", ".join(map(str, plan.persistence))))
    return faults


def _by_year_faults(where: str, given: object, n: int | None, *, more_than_zero: bool) -> list[Fault]:
    """What is wrong with one number, or with one a year."""
    values = [given] if np.ndim(given) == 0 else list(given)
    faults = []
    if np.ndim(given) > 0 and n is not None and len(values) != n:
        faults.append(Fault(where, "one number a year is wanted, or one for all", str(len(values)), str(n)))
    least = "more than 0" if more_than_zero else "0 or more"
    if any(not is_finite(v) or v < 0 or (more_than_zero and v == 0) for v in values):
        faults.append(Fault(where, "missing, infinite or too low", allowed=least))
    return faults


def _checks(years: Sequence[YearEffect], carried: YearEffect, paths: Sequence[ImpactPath], n: int) -> tuple[Check, ...]:
    part = [e for e in years if e.quarters < QUARTERS_PER_YEAR]
    in_part = ", ".join(f"{year_label(e.year)} ({e.quarters:g} of {QUARTERS_PER_YEAR} quarters)" for e in part)
    beyond = max(n - len(years), 0)
    lost = max(len(years) - n, 0)
    fall_back = [p.persistence for p in paths if p.break_even_year is not None and p.reason]
    return (
        Check("years_whole", not part, float(len(part)),
              f"Only part of these years is in the study: {in_part}. Quarters before the start count for nothing; "
              "quarters after the last one observed are assumed." if part
              else "Every year observed lies wholly in the study."),
        Check("years_assumed", None if beyond else True, float(beyond),
              f"The effect in {beyond} of {n} years is assumed from that of {year_label(carried.year)}, not observed; "
              "the ranges do not hold that doubt, which is why several courses are shown." if beyond
              else "No year lies after those observed."),
        Check("years_left_out", lost == 0, float(lost),
              f"The last {lost} years observed lie beyond the years shown." if lost
              else "Every year observed is shown."),
        Check("break_even_lasts", not fall_back, float(len(fall_back)),
              "Once it has paid for itself the service falls behind again if the effect does as follows: "
              f"{', '.join(fall_back)}." if fall_back else "Where the service pays for itself, it stays so."),
        Check("programme_counted_once", None, math.nan, APART),
        Check("closed_cohort", None, math.nan, CLOSED),
        Check("constant_prices", None, math.nan, CONSTANT),
    )  # fmt: skip
