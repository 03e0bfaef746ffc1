"""Effects on cost as they reach the economics: point values and draws by year, with what makes them unusable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evalkit.core.errors import Fault
from evalkit.core.faults import is_finite, refuse

QUARTERS_PER_YEAR = 4
MIN_DRAWS = 100  # below this the spread of draws is itself too uncertain for an interval
_SLACK = 1e-9
_NAN = math.nan


@dataclass(frozen=True)
class PeriodEffect:
    """Cost of the treated over the whole period, and what it would have been without the service.

    `actual`, `counterfactual`: GBP per person-quarter, 0 or more; `draws` (B, 2) the same in each bootstrap
    replicate, the point itself not among them.
    """

    actual: float
    counterfactual: float
    draws: np.ndarray


@dataclass(frozen=True)
class YearEffect:
    """The same in one financial year, named by the calendar year in which it begins.

    `quarters`: how many of the year's four quarters lie in the study, above 0 and up to 4. Draws of several years
    must come from the same replicates, row by row.
    """

    year: int
    quarters: float
    actual: float
    counterfactual: float
    draws: np.ndarray


@dataclass(frozen=True)
class Ranged:
    """A number with the ends of its interval, or three arrays of one shape; NaN where there is none."""

    value: float | np.ndarray = _NAN
    lower: float | np.ndarray = _NAN
    upper: float | np.ndarray = _NAN


def period_faults(effect: PeriodEffect | YearEffect, where: str) -> list[Fault]:
    """What is wrong with point values and draws; a cost of 0 is allowed here."""
    faults = [
        Fault(f"{where}, {name}", "a cost is missing, infinite or negative", repr(value), "0 or more, GBP")
        for name, value in (("actual", effect.actual), ("counterfactual", effect.counterfactual))
        if not (is_finite(value) and value >= 0)
    ]
    draws = effect.draws
    if not isinstance(draws, np.ndarray) or draws.ndim != 2 or draws.shape[1] != 2 or draws.dtype.kind not in "fiu":
        got = f"shape {draws.shape}" if isinstance(draws, np.ndarray) else type(draws).__name__
        return [*faults, Fault(f"{where}, draws", "numbers for actual and counterfactual are wanted", got, "(B, 2)")]
    if len(draws) < MIN_DRAWS:
        faults.append(Fault(f"{where}, draws", "too few for an interval", str(len(draws)), f"{MIN_DRAWS} or more"))
    bad = int((~np.isfinite(draws) | (draws < 0)).any(axis=1).sum())
    if bad:
        what = f"in {bad:,} of {len(draws):,} draws a cost is missing, infinite or negative"
        faults.append(Fault(f"{where}, draws", what, allowed="0 or more, GBP per person-quarter"))
    return faults


def sort_years(effects: Sequence[YearEffect], *, where: str = "effects") -> tuple[YearEffect, ...]:
    """The years in order of time.

    Raises ParameterError, with all faults at once, for no year at all, a year given twice or not whole, quarters
    outside 0 to 4, costs that are negative or missing, and draws that are too few or not of the same replicates.
    """
    given = tuple(effects)
    faults = [] if given else [Fault(where, "there is no year in it")]
    for e in given:
        name = f"{where}, {e.year}"
        if not is_finite(e.year) or e.year != int(e.year):
            faults.append(Fault(name, "a financial year is wanted, by its first calendar year", repr(e.year)))
        if not (is_finite(e.quarters) and 0 < e.quarters <= QUARTERS_PER_YEAR + _SLACK):
            faults.append(Fault(name, "quarters of the year in the study", repr(e.quarters), "above 0, up to 4"))
        faults += period_faults(e, name)
    years = [e.year for e in given]
    twice = sorted({y for y in years if years.count(y) > 1})
    faults += [Fault(where, "a year is given twice", str(y)) for y in twice]
    lengths = sorted({len(e.draws) for e in given if isinstance(e.draws, np.ndarray) and e.draws.ndim})
    if len(lengths) > 1:
        got = ", ".join(map(str, lengths))
        faults.append(Fault(where, "the years have different numbers of draws, so they are not of one bootstrap", got))
    refuse(faults)
    return tuple(sorted(given, key=lambda e: e.year))


def year_label(year: int) -> str:
    """`2015/16` for the financial year that begins in 2015."""
    return f"{int(year)}/{(int(year) + 1) % 100:02d}"


def list_years(years: Iterable[int]) -> str:
    """Financial years in words."""
    return ", ".join(year_label(y) for y in sorted(years))


def normal_range(value: np.ndarray | float, draws: np.ndarray, level: float) -> Ranged:
    """Normal interval with the standard deviation of `draws` (B,) or (B, m) around `value`, a float or (m,)."""
    half = stats.norm.ppf(0.5 + level / 2) * draws.std(axis=0, ddof=1)
    if np.ndim(value) == 0:
        return Ranged(float(value), float(value - half), float(value + half))
    return Ranged(value, value - half, value + half)


def log_spread(draws: np.ndarray, extra_log_sd: float = 0.0) -> float:
    """Standard deviation of the logarithm of positive draws (B,), widened by an independent one that they lack."""
    return math.hypot(float(np.log(draws).std(ddof=1)), extra_log_sd)


def ratio_range(value: float, log_sd: float, level: float) -> Ranged:
    """A positive ratio with an interval normal on the log scale, as the relative change of cost has it."""
    half = stats.norm.ppf(0.5 + level / 2) * log_sd
    return Ranged(float(value), float(value * math.exp(-half)), float(value * math.exp(half)))


def draws_vary(draws: np.ndarray) -> bool:
    """Whether positive draws (B,) differ by more than rounding."""
    return bool(np.ptp(draws) > 1e-12 * draws.max())


def map_range(ratio: Ranged, slope: float, intercept: float) -> Ranged:
    """intercept + slope * ratio, with the ends in order."""
    ends = sorted((intercept + slope * ratio.lower, intercept + slope * ratio.upper))
    return Ranged(intercept + slope * ratio.value, *ends)
