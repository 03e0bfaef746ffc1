"""Intervals that more than one estimator uses."""

from __future__ import annotations

import math
from dataclasses import replace

from scipy import stats

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.faults import level_faults, refuse
from evalkit.core.result import Check, Estimate, Role

_MAX_LOG = 705.0  # of a number that can be written
NAIVE_LABEL = "Uncontrolled before and after: not evidence of effect"


def normal_estimate(
    estimand: Estimand,
    estimator: str,
    *,
    role: Role,
    value: float,
    se: float,
    level: float,
    label: str,
    n_people: float = math.nan,
    n_events: float = math.nan,
    checks: tuple[Check, ...] = (),
) -> Estimate:
    """An estimate with a normal interval and the two-sided p-value of no effect (value 0).

    Raises ParameterError for a level outside 0 to 1.
    """
    refuse(level_faults(level))
    half = stats.norm.ppf(0.5 + level / 2) * se
    return Estimate(
        estimand,
        estimator,
        role,
        float(value),
        float(value - half),
        float(value + half),
        level,
        n_people=n_people,
        n_events=n_events,
        se=float(se),
        p_value=float(2 * stats.norm.sf(abs(value) / se)) if se > 0 else math.nan,
        checks=checks,
        label=label,
    )


def log_ratio_estimate(
    estimand: Estimand,
    estimator: str,
    *,
    role: Role,
    log_value: float,
    se: float,
    level: float,
    label: str,
    n_people: float = math.nan,
    n_events: float = math.nan,
    checks: tuple[Check, ...] = (),
) -> Estimate:
    """A ratio from its logarithm, with an interval normal on the log scale; `se` stays the error of the log.

    Raises NotEstimable where its ends are too far out to be written.
    """
    log = normal_estimate(
        estimand, estimator, role=role, value=log_value, se=se, level=level, label=label, n_people=n_people,
        n_events=n_events, checks=checks,
    )  # fmt: skip
    if max(abs(log.lower), abs(log.upper)) > _MAX_LOG:
        raise NotEstimable(
            Fault(
                "ratio", "it or its interval is too large or too small to be written",
                next_step="Measure the covariate in larger units: the ratio is of one unit more.",
            )
        )  # fmt: skip
    return replace(log, value=math.exp(log.value), lower=math.exp(log.lower), upper=math.exp(log.upper))
