"""Whether a model in use still fits: observed over expected, slope and discrimination by calendar period."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import norm

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, is_finite, level_faults, refuse
from evalkit.risk.arrays import FEWEST_EVENTS, risk_faults
from evalkit.risk.validate import compute_auroc, fit_logistic

Period = Literal["year", "half_year", "quarter"]
Verdict = Literal["keep", "watch", "recalibrate"]
_MONTHS = {"year": 12, "half_year": 6, "quarter": 3}
DRIFT_MEASURES = ("observed_expected", "calibration_slope", "auroc")


@dataclass(frozen=True)
class DriftOptions:
    """How drift is judged.

    observed_expected : a factor; 1.2 is off where observed over expected lies below 1 / 1.2 or above 1.2
    slope : a distance from 1; 0.2 is off where the calibration slope lies below 0.8 or above 1.2
    """

    period: Period = "year"
    level: float = 0.95
    observed_expected: float = 1.2
    slope: float = 0.2


@dataclass(frozen=True)
class PeriodPerformance:
    """One calendar period, named by `label` ("2015", "2015 H1", "2015 Q3").

    `values`, `lower`, `upper` are of `DRIFT_MEASURES`, NaN where undefined; all NaN with a `refusal` where there are
    too few events.
    """

    label: str
    values: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    n_discharges: int
    n_people: int
    n_events: int
    refusal: str = ""


@dataclass(frozen=True)
class Drift:
    """Periods in order, the verdict, and why in words."""

    periods: tuple[PeriodPerformance, ...]
    verdict: Verdict
    reason: str
    level: float


def compute_drift(
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    person: np.ndarray,
    time: np.ndarray,
    options: DriftOptions = DriftOptions(),
) -> Drift:
    """Performance of risks (n,) by the calendar period of discharge `time` (n,), and whether to recalibrate.

    observed_expected : O / E, O the outcomes and E the sum of risks, with an interval on the log scale, its error
        sqrt(G / (G - 1) sum over people (sum of y - (O / E) p)^2) / O
    calibration_slope : of the log-odds of the risk, its error summed by person
    auroc : Obuchowski's error by person, the interval on the log-odds

    The rule: "recalibrate" where in the last two periods that could be measured O / E (or the slope) is off by more
    than `options` allow, in one direction, and both intervals leave 1 out; "watch" where that holds of the last one
    alone; else "keep". Two periods in a row are asked for since one in 20 intervals leaves the truth out by chance.
    Where only one period can be measured the most it can say is "watch".

    Fails with `ParameterError` for malformed arrays and options out of range, and with `NotEstimable`, naming the
    periods, where each has fewer than 10 discharges with the outcome, or without it.
    """
    refuse([*risk_faults(risk, outcome, person), *_faults(risk, time, options)])
    risk, outcome = np.asarray(risk, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    labels = _label_periods(np.asarray(time), options.period)
    person = np.asarray(person)
    z = norm.ppf(0.5 + options.level / 2)
    found = tuple(
        _measure(label, risk[labels == label], outcome[labels == label], person[labels == label], z)
        for label in np.unique(labels)
    )
    if all(period.refusal for period in found):
        raise NotEstimable([_too_few(period.label) for period in found])
    verdict, reason = _judge([period for period in found if not period.refusal], options)
    return Drift(found, verdict, reason, options.level)


def _label_periods(time: np.ndarray, period: Period) -> np.ndarray:
    months = time.astype("datetime64[M]").astype(np.int64)
    years, parts = months // 12 + 1970, months % 12 // _MONTHS[period] + 1
    if period == "year":
        return years.astype(str)
    sign = "H" if period == "half_year" else "Q"
    return np.array([f"{year} {sign}{part}" for year, part in zip(years, parts, strict=True)])


def _measure(label: str, risk: np.ndarray, outcome: np.ndarray, person: np.ndarray, z: float) -> PeriodPerformance:
    cluster, names = pd.factorize(person)
    counts = (len(risk), len(names), int(outcome.sum()))
    if min(outcome.sum(), len(outcome) - outcome.sum()) < FEWEST_EVENTS:
        none = (math.nan,) * len(DRIFT_MEASURES)
        return PeriodPerformance(label, none, none, none, *counts, refusal=_too_few(label).text)
    ends = [_ratio(risk, outcome, cluster, z), _slope(risk, outcome, cluster, z), _area(risk, outcome, cluster, z)]
    values, lower, upper = (tuple(float(end[k]) for end in ends) for k in range(3))
    return PeriodPerformance(label, values, lower, upper, *counts)


def _ratio(risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray, z: float) -> tuple[float, float, float]:
    events, expected = outcome.sum(), risk.sum()
    if not expected > 0:
        return math.nan, math.nan, math.nan
    ratio = events / expected
    sums = np.bincount(cluster, outcome - ratio * risk)
    if len(sums) < 2:
        return ratio, math.nan, math.nan
    se = math.sqrt(len(sums) / (len(sums) - 1) * np.sum(sums**2)) / events
    return ratio, ratio * math.exp(-z * se), ratio * math.exp(z * se)


def _slope(risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray, z: float) -> tuple[float, float, float]:
    undefined = math.nan, math.nan, math.nan
    if risk.min() <= 0 or risk.max() >= 1:
        return undefined
    fit = fit_logistic(np.column_stack([np.ones(len(risk)), logit(risk)]), outcome, cluster=cluster)
    if fit is None:
        return undefined
    value, se = fit.coefficients[1], math.sqrt(fit.robust[1, 1])
    return value, value - z * se, value + z * se


def _area(risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray, z: float) -> tuple[float, float, float]:
    area, se = compute_auroc(risk, outcome, cluster=cluster)
    if not se > 0 or not 0 < area < 1:
        return area, math.nan, math.nan
    odds, reach = logit(area), z * se / (area * (1 - area))
    return area, 1 / (1 + math.exp(reach - odds)), 1 / (1 + math.exp(-reach - odds))


# ---- the rule ------------------------------------------------------------------------------------


def _judge(periods: list[PeriodPerformance], options: DriftOptions) -> tuple[Verdict, str]:
    words = {"observed_expected": "observed over expected", "calibration_slope": "the calibration slope"}
    bounds = {
        "observed_expected": (1 / options.observed_expected, options.observed_expected),
        "calibration_slope": (1 - options.slope, 1 + options.slope),
    }
    sides = {name: [_side(period, name, bounds[name]) for period in periods[-2:]] for name in bounds}
    lasting = [name for name, found in sides.items() if len(found) == 2 and found[0] == found[1] != 0]
    if lasting:
        places = f"{periods[-2].label} and {periods[-1].label}"
        return "recalibrate", f"In {places} {_list(words, lasting)} left the range allowed, the same way each time."
    last = [name for name, found in sides.items() if found[-1] != 0]
    if last:
        return "watch", f"In {periods[-1].label}, but not lastingly, {_list(words, last)} left the range allowed."
    return "keep", f"In {periods[-1].label} nothing is known to have left the range allowed."


def _side(period: PeriodPerformance, name: str, bounds: tuple[float, float]) -> int:
    """-1 or 1 where the measure is off in that direction and its interval leaves 1 out, else 0."""
    place = DRIFT_MEASURES.index(name)
    value, low, high = period.values[place], period.lower[place], period.upper[place]
    if value < bounds[0] and high < 1:
        return -1
    return int(value > bounds[1] and low > 1)


def _list(words: dict[str, str], names: list[str]) -> str:
    return " and ".join(words[name] for name in names)


# ---- faults --------------------------------------------------------------------------------------


def _too_few(label: str) -> Fault:
    return Fault(
        f"period {label}", "too few discharges with the outcome, or without it", f"fewer than {FEWEST_EVENTS}",
        f"{FEWEST_EVENTS} or more of each",
    )  # fmt: skip


def _faults(risk: np.ndarray, time: np.ndarray, options: DriftOptions) -> list[Fault]:
    faults = [*choice_faults("period", options.period, _MONTHS), *level_faults(options.level)]
    days = np.asarray(time)
    if days.shape != np.shape(risk) or days.dtype.kind != "M":
        faults.append(Fault("time", "must be dates, one a discharge", f"{days.dtype} {days.shape}", "datetime64 (n,)"))
    elif np.isnat(days).any():
        faults.append(Fault("time", "is missing for some discharges"))
    if not (is_finite(options.observed_expected) and options.observed_expected >= 1):
        faults.append(Fault("observed_expected", "out of range", str(options.observed_expected), "a factor, 1 or more"))
    if not (is_finite(options.slope) and options.slope >= 0):
        faults.append(Fault("slope", "out of range", str(options.slope), "a distance, 0 or more"))
    return faults
