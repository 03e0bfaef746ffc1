"""Every measure of risks by a horizon under censoring, and with death competing, each with its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import level_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.risk.data import RiskData
from evalkit.risk.decision_time import check_followed, refuse_few_by, risk_time_faults
from evalkit.risk.resample import draw_person_counts
from evalkit.risk.time_calibration import ERRORS, compute_time_calibration_errors, compute_time_calibration_slope
from evalkit.risk.time_measures import (
    Controls,
    TimeMeasure,
    compute_ipcw_brier,
    compute_time_auroc,
    compute_time_concordance,
    compute_time_observed_expected,
)

TIME_MEASURE_LABELS: dict[str, str] = {
    "harrell_c": "Harrell's concordance",
    "uno_c": "Uno's concordance",
    "auroc": "Area under the ROC curve at the horizon",
    "brier": "Brier score",
    "ipa": "Index of prediction accuracy (scaled Brier score)",
    "observed_expected": "Observed over expected risk",
    "calibration_slope": "Calibration slope (complementary log-log)",
    "ici": "Integrated calibration index",
    "e50": "Median distance of predicted from smooth risk",
    "e90": "90th percentile of that distance",
    "emax": "Greatest distance of predicted from smooth risk",
}
_SHARES = ("harrell_c", "uno_c", "auroc")
# Of replicates that must have a number for an interval.
_LEAST_DEFINED = 0.9


@dataclass(frozen=True)
class TimePerformanceOptions:
    """`level` of intervals; `replicates` draws of people for the distances; who are `controls` of the ROC curve."""

    level: float = 0.95
    replicates: int = 200
    controls: Controls = "not_case"


@dataclass(frozen=True)
class TimePerformance:
    """Measures of risks by a horizon: `values[i]` of `names[i]`, with error and interval; `se` is the measure's own.

    Names are keys of `TIME_MEASURE_LABELS`; all are without unit. What has no number is NaN, and `reasons[i]` says
    why. `n_events` counts discharges with the outcome by the horizon.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    se: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    reasons: tuple[str, ...]
    level: float
    n_discharges: int
    n_people: int
    n_events: int
    checks: tuple[Check, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """One row a measure: name (index), value, se, lower, upper, reason."""
        columns = {"value": self.values, "se": self.se, "lower": self.lower, "upper": self.upper}
        return pd.DataFrame(columns | {"reason": self.reasons}, index=pd.Index(self.names, name="measure"))


def build_risk_follow_up(data: RiskData) -> FollowUp:
    """Discharges as follow-up from a day before each, so that what happens on the day itself has a length.

    Causes are readmission and death; `cluster` ties the discharges of a person. Read it at a horizon of
    h - 1 days for a window of h days, [discharge, discharge + h), in whole days. Fails with `ParameterError` where
    `data` holds no `event` and `event_days`.
    """
    missing = [name for name in ("event", "event_days") if getattr(data, name) is None]
    refuse(Fault(f"RiskData.{name}", "is not given", next_step="Time to event needs it") for name in missing)
    rows = pd.DataFrame({"event": data.event, "days": data.event_days, "person": data.person})
    return FollowUp.from_frame(
        rows.assign(start=-1.0), entry="start", exit="days", event="event", cluster="person",
        causes=("readmission", "death"),
    )  # fmt: skip


def estimate_time_performance(
    risk: np.ndarray,
    follow_up: FollowUp,
    *,
    horizon: float,
    rng: np.random.Generator,
    options: TimePerformanceOptions | None = None,
) -> TimePerformance:
    """Every measure of `TIME_MEASURE_LABELS` for risks (n,) of the rows of `follow_up` by `horizon`.

    Intervals are normal: on the logit scale for concordance and the ROC curve, on the log scale for observed over
    expected; those of the distances go from 0 to what draws of people (`follow_up.cluster`) give. All
    errors count a person's discharges together. A measure that the data cannot give, such as a slope where risks
    are exactly 0, is refused alone, with its reason.

    Fails with `ParameterError` for malformed arguments and with `NotEstimable` for fewer than 10 events by the
    horizon, or fewer than 10 discharges without, or nobody followed so far.
    """
    options = options or TimePerformanceOptions()
    faults = [*risk_time_faults(risk, follow_up, horizon), *level_faults(options.level), *rng_faults(rng)]
    refuse([*faults, *whole_faults("replicates", options.replicates, least=2)])
    refuse_few_by(follow_up, horizon)
    risk = np.asarray(risk, dtype=np.float64)
    found: dict[str, TimeMeasure | NotEstimable] = {}
    arguments = (risk, follow_up)
    found["harrell_c"] = compute_time_concordance(*arguments, horizon=horizon)
    if not (follow_up.event > 1).any():
        found["uno_c"] = compute_time_concordance(*arguments, horizon=horizon, weighting="uno")
    found["auroc"] = compute_time_auroc(*arguments, horizon=horizon, controls=options.controls)
    scores = compute_ipcw_brier(*arguments, horizon=horizon)
    found |= {name: scores[name] for name in ("brier", "ipa")}
    found["observed_expected"] = compute_time_observed_expected(*arguments, horizon=horizon)
    cluster = np.unique(follow_up.cluster, return_inverse=True)[1]
    people = int(cluster.max()) + 1
    counts = draw_person_counts(np.arange(people), replicates=options.replicates, rng=rng)[:, cluster]
    found |= _calibrate(risk, follow_up, horizon, counts)
    ends = [_interval(name, measure, options.level) for name, measure in found.items()]
    kept = [TimeMeasure(math.nan, math.nan) if isinstance(m, NotEstimable) else m for m in found.values()]
    had = (follow_up.event == 1) & (follow_up.exit <= horizon)
    return TimePerformance(
        tuple(found), tuple(m.value for m in kept), tuple(m.se for m in kept), tuple(low for low, _ in ends),
        tuple(high for _, high in ends), tuple(m.reason if isinstance(m, NotEstimable) else "" for m in found.values()),
        options.level, len(follow_up), people, int(had.sum()), (check_followed(follow_up, horizon),),
    )  # fmt: skip


def _calibrate(
    risk: np.ndarray, follow_up: FollowUp, horizon: float, counts: np.ndarray
) -> dict[str, TimeMeasure | NotEstimable]:
    try:
        slope = compute_time_calibration_slope(risk, follow_up, horizon=horizon)
        values = compute_time_calibration_errors(risk, follow_up, horizon=horizon)
        drawn = compute_time_calibration_errors(risk, follow_up, horizon=horizon, counts=counts)
    except NotEstimable as refused:
        return dict.fromkeys(("calibration_slope", *ERRORS), refused)
    distances = {name: TimeMeasure(float(values[name][0]), _spread(drawn[name])) for name in ERRORS}
    return {"calibration_slope": TimeMeasure(slope.value, slope.se)} | distances


def _spread(draws: np.ndarray) -> float:
    kept = draws[np.isfinite(draws)]
    return float(kept.std(ddof=1)) if len(kept) >= max(2, _LEAST_DEFINED * len(draws)) else math.nan


def _interval(name: str, measure: TimeMeasure | NotEstimable, level: float) -> tuple[float, float]:
    if isinstance(measure, NotEstimable) or not measure.se > 0:
        return math.nan, math.nan
    half, value = float(norm.ppf(0.5 + level / 2)) * measure.se, measure.value
    if name in _SHARES:
        if not 0 < value < 1:
            return math.nan, math.nan
        reach = half / (value * (1 - value))
        return float(expit(logit(value) - reach)), float(expit(logit(value) + reach))
    if name == "observed_expected":
        return value * math.exp(-half / value), value * math.exp(half / value)
    if name in ERRORS:  # above 0 also where every risk is right
        return 0.0, value + half
    return max(value - half, -math.inf if name in ("ipa", "calibration_slope") else 0.0), value + half
