"""Money of one year in money of another, and money later in money now."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, ParameterError
from evalkit.core.faults import refuse

FISCAL_MONTH = 4  # financial years of the NHS and of councils begin in April
_YEARS = (1900, 2200)
_YEARS_ALLOWED = f"whole numbers, {_YEARS[0]} to {_YEARS[1]}: the first calendar year of a financial year"


@dataclass(frozen=True)
class PriceIndex:
    """What the same things cost in different years.

    Attributes
    ----------
    years : int array, shape (m,), ascending; a financial year is named by the calendar year in which it begins
    level : float array, shape (m,), positive; only ratios of levels mean anything
    """

    years: np.ndarray
    level: np.ndarray

    def __post_init__(self) -> None:
        years, level = _as_floats(self.years), _as_floats(self.level)
        faults = []
        if not years.size:
            faults.append(Fault("price_index", "there is no year in it"))
        if years.shape != level.shape or years.ndim != 1:
            faults.append(
                Fault("price_index", "one level a year is wanted", f"{years.size} years, {level.size} levels")
            )
        if not np.all(_are_years(years)):
            faults.append(Fault("price_index, year", "some are missing or no year", allowed=_YEARS_ALLOWED))
        elif len(np.unique(years)) < years.size:
            faults.append(Fault("price_index, year", "a year is given twice"))
        if not np.all(np.isfinite(level) & (level > 0)):
            faults.append(Fault("price_index, level", "some are missing or not positive"))
        refuse(faults)
        order = np.argsort(years)
        object.__setattr__(self, "years", years[order].astype(np.int64))
        object.__setattr__(self, "level", level[order])

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> PriceIndex:
        """From columns `year` and `level`, in any order.

        Raises ParameterError for a column that is missing, a year that is missing, not whole, given twice or not named
        by its first calendar year (2015, not 15 or 201516), and a level that is missing, no number or not positive.
        """
        absent = [name for name in ("year", "level") if name not in frame.columns]
        if absent:
            raise ParameterError(Fault("price_index", f'there is no column "{name}"') for name in absent)
        return cls(_as_floats(frame["year"]), _as_floats(frame["level"]))

    def factor(self, from_year: np.ndarray | int, to_year: int, *, where: str = "price_year") -> np.ndarray:
        """What a price of `from_year` is multiplied by to be in money of `to_year`; the shape of `from_year`.

        Raises ParameterError that lists every year outside the index, since prices are never extrapolated, and for
        what is no year.
        """
        given, target = _as_floats(from_year), _as_floats(to_year)
        if target.ndim or not np.all(_are_years(np.append(given.ravel(), target))):
            raise ParameterError(Fault(where, "some are missing or no year", allowed=_YEARS_ALLOWED))
        wanted, to_year = given.astype(np.int64), int(target)
        asked = np.unique(np.append(wanted.ravel(), to_year))
        outside = asked[~np.isin(asked, self.years)]
        if len(outside):
            raise ParameterError(
                Fault(where, "the price index does not reach this year", ", ".join(map(str, outside)),
                      f"{self.years[0]} to {self.years[-1]}, each year listed",
                      "Add the year to the table price_index, with its source.")
            )  # fmt: skip
        level = self.level[np.searchsorted(self.years, wanted)]
        return self.level[np.searchsorted(self.years, to_year)] / level


def financial_year(days: np.ndarray) -> np.ndarray:
    """The financial year of each day, by its first calendar year; int array of the same shape.

    Raises ParameterError for days that are missing, numbers (which of the calendar's days would be a guess), or times
    with a zone (whose day depends on where they are read).
    """
    if np.asarray(days).dtype.kind in "biufc":
        raise ParameterError(Fault("days", "numbers are no dates", allowed="dates"))
    if getattr(getattr(days, "dtype", None), "tz", None) is not None:
        raise ParameterError(Fault("days", "times with a time zone are no dates", allowed="dates"))
    found = as_days(days)
    if np.isnat(found).any():
        raise ParameterError(Fault("days", "some are missing, and a missing day has no financial year"))
    months = found.astype("datetime64[M]").astype(np.int64)
    return 1970 + (months - (FISCAL_MONTH - 1)) // 12


def whole_years_since(day: dt.date, days: np.ndarray) -> np.ndarray:
    """Whole years from a day to each of `days`, by the calendar; 0 for those before it. Same shape as `days`."""
    start, found = np.datetime64(day, "D"), np.asarray(days, dtype="datetime64[D]")
    months = found.astype("datetime64[M]").astype(np.int64) - start.astype("datetime64[M]").astype(np.int64)
    earlier = _day_of_month(found) < _day_of_month(start)
    return np.maximum((months - earlier) // 12, 0)


def _day_of_month(days: np.ndarray) -> np.ndarray:
    return (days - days.astype("datetime64[M]")).astype(np.int64)


def discount_factors(years: np.ndarray, rate: float) -> np.ndarray:
    """What a pound `years` from now is worth now: (1 + rate) to the power of minus the whole years that have passed.

    The first twelve months are not discounted (HM Treasury Green Book, annex 6: year 0). Same shape as `years`.

    Raises ParameterError for a rate below 0 or not below 1, and for years before now.
    """
    passed = _as_floats(years)
    faults = []
    is_number = isinstance(rate, (int, float, np.integer, np.floating)) and not isinstance(rate, bool)
    if not (is_number and 0 <= rate < 1):
        faults.append(Fault("discount_rate", "not a share a year", repr(rate), "0 or more, below 1"))
    if not np.all(np.isfinite(passed) & (passed >= 0)):
        faults.append(Fault("years", "some are missing or before the day discounted to", allowed="0 or more"))
    refuse(faults)
    return (1 + rate) ** -np.floor(passed + 1e-9)


def _as_floats(values: object) -> np.ndarray:
    """Numbers as floats in their shape; NaN where one is missing, and throughout where they are no numbers."""
    array = values.to_numpy() if isinstance(values, (pd.Series, pd.Index)) else np.asarray(values)
    if array.dtype.kind in "bmMc":
        return np.full(array.shape, np.nan)
    flat = pd.to_numeric(pd.Series(array.ravel(), dtype=None if array.size else np.float64), errors="coerce")
    return flat.to_numpy(dtype=np.float64, na_value=np.nan).reshape(array.shape)


def _are_years(years: np.ndarray) -> np.ndarray:
    """Which are whole numbers that a calendar year may be."""
    return (years == np.round(years)) & (years >= _YEARS[0]) & (years <= _YEARS[1])
