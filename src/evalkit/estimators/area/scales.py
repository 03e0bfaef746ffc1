"""A difference told as a ratio, so that designs on either scale can stand beside each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate


def as_rate_ratio(found: Estimate, panel: Panel, estimand: Estimand) -> Estimate:
    """The ratio of the treated areas' mean value after adoption to what a difference says it would have been.

    r = O / (O - d), with O the weighted mean of `panel.values` over treated units and periods after adoption, and
    so for each end: r rises with d, and the interval keeps its level with O taken as seen. An end at which nothing or
    less would have been expected is infinite. The standard error is of the difference and is left out.

    Raises NotEstimable where the difference itself leaves nothing expected, ParameterError for negative values,
    of which there is no ratio. Without any event after adoption the ratio is 0 and has no interval.
    """
    if (panel.values < 0).any():
        raise ParameterError(Fault("panel", "its outcome is negative in places, so a ratio has no meaning"))
    after = panel.periods[None, :] >= panel.adoption[panel.treated][:, None]
    seen = float(np.average(panel.values[panel.treated][after], weights=panel.weights[panel.treated][after]))

    def ratio(difference: float) -> float:
        if math.isnan(difference):
            return math.nan
        expected = seen - difference
        return seen / expected if expected > 0 else math.inf

    value = ratio(found.value)
    if not np.isfinite(value) and not math.isnan(found.value):
        raise NotEstimable(
            Fault("areas", "by this design nothing was expected without the service, so there is no ratio")
        )
    ends = {"lower": ratio(found.lower), "upper": ratio(found.upper)}
    checks = found.checks
    if seen == 0:
        ends = dict.fromkeys(ends, math.nan)
        checks += (Check("interval", False, math.nan, "No interval is given: no event after adoption."),)
    return replace(found, estimand=estimand, value=value, se=math.nan, checks=checks, **ends)
