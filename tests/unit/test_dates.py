"""Windows are half-open; periods are whole."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from evalkit.core.dates import Window, overlap_days, period_ends, period_label, period_starts


def days(*text: str) -> np.ndarray:
    return np.array(text, dtype="datetime64[D]")


def test_quarters_of_a_window_leave_out_one_that_would_run_past_it():
    starts = period_starts(Window(dt.date(2015, 4, 1), dt.date(2015, 12, 31)), "quarter")
    assert starts.tolist() == [dt.date(2015, 4, 1), dt.date(2015, 7, 1)]
    assert period_ends(starts, "quarter").tolist() == [dt.date(2015, 7, 1), dt.date(2015, 10, 1)]


def test_years_count_from_the_window():
    assert len(period_starts(Window(dt.date(2000, 1, 1), dt.date(2011, 1, 1)), "year")) == 11
    assert len(period_starts(Window(dt.date(2012, 4, 1), dt.date(2018, 7, 1)), "year")) == 6


def test_periods_that_start_inside_a_month_are_refused():
    with pytest.raises(ValueError, match="first of a month"):
        period_starts(Window(dt.date(2015, 4, 2), dt.date(2016, 4, 2)), "quarter")


def test_a_window_that_ends_before_it_starts_is_refused():
    with pytest.raises(ValueError, match="must start before it ends"):
        Window(dt.date(2015, 4, 1), dt.date(2015, 4, 1))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [("2015-04-01", "2015-04-11", 10), ("2015-03-01", "2015-04-02", 1), ("2015-03-01", "2015-04-01", 0),
     ("2015-06-30", "2015-08-01", 1), ("2015-07-01", "2015-08-01", 0), ("2014-01-01", "2016-01-01", 91)],
)  # fmt: skip
def test_days_shared_with_a_half_open_window(start, end, expected):
    shared = overlap_days(days(start), days(end), days("2015-04-01"), days("2015-07-01"))
    assert shared.tolist() == [expected]


def test_labels_sort_in_time():
    assert period_label(np.datetime64("2015-04-01"), "quarter") == "2015-04"
    assert period_label(np.datetime64("2015-04-01"), "year") == "2015/16"
    assert period_label(np.datetime64("1999-04-01"), "year") == "1999/00"
    assert period_label(np.datetime64("2000-01-01"), "year") == "2000"
