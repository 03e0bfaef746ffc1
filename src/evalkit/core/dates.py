"""Half-open windows `[start, end)`, calendar periods and person-time."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

PeriodName = Literal["quarter", "year"]
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Window:
    """A half-open window of days: `start` belongs to it, `end` does not."""

    start: dt.date
    end: dt.date

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"a window must start before it ends, got [{self.start}, {self.end})")

    @property
    def days(self) -> int:
        return (self.end - self.start).days

    def __str__(self) -> str:
        return f"{self.start.isoformat()} to {(self.end - dt.timedelta(days=1)).isoformat()}"


def period_starts(window: Window, period: PeriodName) -> np.ndarray:
    """First days of the whole periods inside `window`, as `datetime64[D]`, shape (n_periods,).

    Quarters are three months and years twelve, both counted from `window.start`, which must be the
    first of a month; a last period that would run past `window.end` is left out.
    """
    months = {"quarter": 3, "year": 12}[period]
    start = np.datetime64(window.start, "M")
    if start.astype("datetime64[D]") != np.datetime64(window.start, "D"):
        raise ValueError(f"periods start on the first of a month, got {window.start}")
    starts = np.arange(start, np.datetime64(window.end, "M") + 1, months).astype("datetime64[M]")
    whole = (starts + months).astype("datetime64[D]") <= np.datetime64(window.end, "D")
    return starts[whole].astype("datetime64[D]")


def period_ends(starts: np.ndarray, period: PeriodName) -> np.ndarray:
    """The day after each period, shape like `starts`."""
    months = {"quarter": 3, "year": 12}[period]
    return (starts.astype("datetime64[M]") + months).astype("datetime64[D]")


def period_label(start: np.datetime64, period: PeriodName) -> str:
    """A label that sorts in time: `2015-04` for a quarter, `2015` for a calendar year, `2015/16` else."""
    month = str(start.astype("datetime64[M]"))
    if period == "quarter":
        return month
    year = int(month[:4])
    return f"{year}" if month.endswith("-01") else f"{year}/{(year + 1) % 100:02d}"


def overlap_days(start: np.ndarray, end: np.ndarray, window_start: np.ndarray, window_end: np.ndarray) -> np.ndarray:
    """Days that `[start, end)` shares with `[window_start, window_end)`; arrays broadcast, never negative."""
    shared = np.minimum(end, window_end) - np.maximum(start, window_start)
    return np.maximum(shared.astype("timedelta64[D]").astype(np.int64), 0)


def as_days(values: pd.Series) -> np.ndarray:
    """A date column as `datetime64[D]`; a null date stays NaT."""
    return pd.to_datetime(values).to_numpy().astype("datetime64[D]")
