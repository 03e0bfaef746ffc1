"""Money of one year in money of another, and money later in money now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, ParameterError

FISCAL_MONTH = 4  # financial years of the NHS and of councils begin in April
DAYS_PER_YEAR = 365.25


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

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> PriceIndex:
        """From columns `year` and `level`, in any order.

        Raises ParameterError for a year that is missing, not whole or given twice, and a level that is missing or
        not positive.
        """
        years = pd.to_numeric(frame["year"]).to_numpy(dtype=np.float64)
        level = pd.to_numeric(frame["level"]).to_numpy(dtype=np.float64)
        faults = []
        if not len(frame):
            faults.append(Fault("price_index", "there is no year in it"))
        if not np.all(np.isfinite(years) & (years == np.round(years))):
            faults.append(Fault("price_index, year", "some are missing or no whole number"))
        elif len(np.unique(years)) < len(years):
            faults.append(Fault("price_index, year", "a year is given twice"))
        if not np.all(np.isfinite(level) & (level > 0)):
            faults.append(Fault("price_index, level", "some are missing or not positive"))
        if faults:
            raise ParameterError(faults)
        order = np.argsort(years)
        return cls(years[order].astype(np.int64), level[order])

    def factor(self, from_year: np.ndarray | int, to_year: int, *, where: str = "price_year") -> np.ndarray:
        """What a price of `from_year` is multiplied by to be in money of `to_year`; the shape of `from_year`.

        Raises ParameterError that lists every year outside the index: prices are never extrapolated.
        """
        wanted = np.asarray(from_year, dtype=np.int64)
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
    """The financial year of each day, by its first calendar year; int array of the same shape."""
    months = as_days(days).astype("datetime64[M]").astype(np.int64)
    return 1970 + (months - (FISCAL_MONTH - 1)) // 12


def discount_factors(years: np.ndarray, rate: float) -> np.ndarray:
    """What a pound `years` from now is worth now: (1 + rate) to the power of minus the whole years that have passed.

    The first twelve months are not discounted (HM Treasury Green Book, annex 6: year 0). Same shape as `years`.

    Raises ParameterError for a rate below 0 or not below 1, and for years before now.
    """
    passed = np.asarray(years, dtype=np.float64)
    faults = []
    if not 0 <= rate < 1:
        faults.append(Fault("discount_rate", "not a share a year", repr(rate), "0 or more, below 1"))
    if not np.all(np.isfinite(passed) & (passed >= 0)):
        faults.append(Fault("years", "some are missing or before the day discounted to", allowed="0 or more"))
    if faults:
        raise ParameterError(faults)
    return (1 + rate) ** -np.floor(passed + 1e-9)
