"""The uncontrolled before and after, always shown beside an effect and never as one."""

from __future__ import annotations

import math
from typing import Literal

import pandas as pd
from scipy import stats

from evalkit.cohort.discharges import derive_first_return
from evalkit.cohort.mirror import RateCount
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.result import Estimate, Role
from evalkit.estimators.inference import NAIVE_LABEL, normal_estimate
from evalkit.estimators.survival.curve_contrasts import compute_risk_combination


def estimate_rate_before_after(
    before: RateCount, after: RateCount, estimand: Estimand, *, level: float, interval: Literal["poisson", "none"]
) -> Estimate:
    """Rate after over rate before, with a Poisson interval unless the events come in clusters.

    Days of one stay are not independent: such counts are given no interval.
    """
    if min(before.events, after.events) == 0:
        raise NotEstimable(Fault(f'outcome "{estimand.outcome}"', "no event before, or none after, adoption"))
    value = (after.events / after.years) / (before.events / before.years)
    se = math.nan if interval == "none" else math.sqrt(1 / after.events + 1 / before.events)
    low, high = (value * math.exp(sign * stats.norm.ppf(0.5 + level / 2) * se) for sign in (-1, 1))
    return Estimate(
        estimand,
        "before_after",
        "naive",
        value,
        low,
        high,
        math.nan if interval == "none" else level,
        n_events=min(before.events, after.events),
        p_value=float(2 * stats.norm.sf(abs(math.log(value)) / se)),
        label=NAIVE_LABEL,
    )


def estimate_risk_before_after(rows: pd.DataFrame, estimand: Estimand, *, horizon_days: int, level: float) -> Estimate:
    """Risk after less risk before in the treated group alone, death competing."""
    cells = ((True, "after", 1), (True, "before", -1))
    return _risk_contrast(rows, estimand, cells, "before_after", "naive", horizon_days, level, NAIVE_LABEL)


def estimate_unweighted_risk_did(
    rows: pd.DataFrame, estimand: Estimand, *, horizon_days: int, level: float
) -> Estimate:
    """Difference-in-differences of the four cells' risks, nothing balanced: a sensitivity analysis."""
    signs = ((True, "after", 1), (True, "before", -1), (False, "after", -1), (False, "before", 1))
    label = "Difference-in-differences, unweighted"
    return _risk_contrast(rows, estimand, signs, "unweighted_did", "sensitivity", horizon_days, level, label)


def _risk_contrast(
    rows: pd.DataFrame,
    estimand: Estimand,
    cells: tuple[tuple[bool, str, int], ...],
    estimator: str,
    role: Role,
    horizon_days: int,
    level: float,
    label: str,
) -> Estimate:
    people, events, signs = 0, 0, {}
    for treated, period, sign in cells:
        side = "treated" if treated else "comparison"
        inside = rows[(rows["treated"] == treated) & (rows["period"] == period)]
        if not (inside["time_days"] >= horizon_days).any():
            raise NotEstimable(Fault("readmission", f"nobody can be followed to the horizon {period} go-live"))
        if not (inside["event"] == 1).any():
            raise NotEstimable(Fault("readmission", f"nobody in the {side} area was readmitted {period} go-live"))
        people += inside["person_id"].nunique()
        events += int((inside["event"] == 1).sum())
        signs[f"{side} {period}"] = sign
    names = rows["treated"].map({True: "treated ", False: "comparison "}) + rows["period"]
    value, se = compute_risk_combination(derive_first_return(rows, stratum=names), signs, at=horizon_days)
    return normal_estimate(
        estimand,
        estimator,
        role=role,
        value=value,
        se=se,
        level=level,
        label=label,
        n_people=people,
        n_events=events,
    )
