"""A difference told as a ratio, so that designs on either scale can stand beside each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.result import Estimate


def as_rate_ratio(found: Estimate, panel: Panel, estimand: Estimand) -> Estimate:
    """The ratio of the treated areas' mean value after adoption to what a difference says it would have been.

    r = O / (O - d), with O the mean of `panel.values` over treated units and periods after adoption, and so for
    each end: r rises with d, and the interval keeps its level with O taken as seen. An end at which nothing or
    less would have been expected is infinite. The standard error is of the difference and is left out.

    Raises NotEstimable where the difference itself leaves nothing expected.
    """
    after = panel.periods[None, :] >= panel.adoption[panel.treated][:, None]
    seen = float(panel.values[panel.treated][after].mean())

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
    return replace(found, estimand=estimand, value=value, se=math.nan, **ends)
