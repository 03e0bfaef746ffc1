"""Panels from awkward tables, and parts of panels: converted where the meaning is plain, refused by name where not."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis import area
from evalkit.analysis.study import open_study
from evalkit.cohort.area_counts import build_panel
from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError

QUARTERS = pd.date_range("2019-01-01", periods=8, freq="QS")


def rows(periods, adopted) -> pd.DataFrame:
    """Three areas over `periods`; the first adopts at `adopted`."""
    found = [(u, p, 5.0 + i + 2 * j, adopted if u == "aa" else None)
             for j, u in enumerate(("aa", "bb", "cc")) for i, p in enumerate(periods)]  # fmt: skip
    df = pd.DataFrame(found, columns=["area", "start", "events", "adopted"])
    dates = isinstance(adopted, pd.Timestamp)
    return df.assign(adopted=pd.to_datetime(df["adopted"]) if dates else df["adopted"].astype(float))


def dated(periods=QUARTERS, at: int = 4) -> pd.DataFrame:
    return rows(periods, periods[at])


def numbered() -> pd.DataFrame:
    return rows(range(2000, 2008), 2004.0)


def build(df: pd.DataFrame, **more) -> Panel:
    return Panel.from_frame(df, unit="area", period="start", outcome="events", adoption="adopted", **more)


def refusal(df: pd.DataFrame, **more) -> str:
    with pytest.raises(ParameterError) as caught:
        build(df, **more)
    return str(caught.value)


# Where the last period ends.


@pytest.mark.parametrize(
    ("starts", "end"),
    [
        (QUARTERS, "2021-01-01"),
        (pd.date_range("2020-04-01", periods=12, freq="MS"), "2021-04-01"),
        (pd.date_range("2017-01-01", periods=4, freq="YS"), "2021-01-01"),
        (pd.date_range("2020-07-15", periods=6, freq=pd.DateOffset(months=1)), "2021-01-15"),
        (pd.date_range("2020-12-07", periods=5, freq="7D"), "2021-01-11"),
    ],
)
def test_periods_end_by_the_calendar(starts, end):
    panel = build(dated(starts, at=2))
    assert panel.ends.astype("datetime64[D]")[-1] == np.datetime64(end)
    assert (panel.ends[:-1] == panel.periods[1:]).all()


def test_adoption_on_the_first_day_after_the_panel_is_late():
    # 92 days from 1 October; 92 days from 1 January would reach 2 April.
    starts = pd.date_range("2018-04-01", periods=12, freq="QS")
    late = rows(starts, pd.Timestamp("2021-04-01"))
    assert "treated after the last period" in refusal(late)
    assert build(rows(starts, pd.Timestamp("2021-03-31"))).treated.sum() == 1


def test_a_period_left_out_belongs_to_no_other():
    panel = build(dated()).without(np.datetime64("2019-07-01"), np.datetime64("2019-10-01"))
    assert panel.ends.astype("datetime64[D]")[1] == np.datetime64("2019-07-01")
    panel = build(dated()).without(np.datetime64("2020-07-01"), np.datetime64("2020-10-01"))
    assert panel.ends.astype("datetime64[D]")[-1] == np.datetime64("2021-01-01")


# Which periods follow on each other.


def test_hours_with_gaps_are_no_consecutive_months():
    hours = pd.DatetimeIndex([pd.Timestamp("2020-01-05") + pd.Timedelta(hours=h) for h in (0, 1, 4, 9, 16)])
    assert "leave gaps" in refusal(dated(hours, at=2))
    even = pd.date_range("2020-01-05", periods=6, freq="h")
    assert build(dated(even, at=2)).ends[-1] == np.datetime64("2020-01-05T06:00")


def test_a_shared_day_at_different_hours_is_counted_in_time():
    uneven = pd.DatetimeIndex(["2020-01-01 00:00", "2020-02-01 06:00", "2020-03-01 00:00", "2020-04-01 00:00"])
    assert "leave gaps" in refusal(dated(uneven, at=2))


@pytest.mark.parametrize("freq", ["ME", "QE", "YE"])
def test_last_days_of_periods_are_refused_with_what_to_do(freq):
    assert "Use first days of periods" in refusal(dated(pd.date_range("2015-12-31", periods=6, freq=freq), at=3))


def test_days_that_pass_a_month_end_are_not_taken_for_month_ends():
    assert build(dated(pd.date_range("2020-01-30", periods=4, freq="D"), at=2)).consecutive
    assert build(dated(pd.date_range("2020-01-31", periods=4, freq="h"), at=2)).consecutive


# Parts of a panel.


def test_unknown_units_are_named_with_their_neighbours():
    panel = build(dated().replace({"area": {"bb": "Leeds", "cc": "York"}}))
    with pytest.raises(ParameterError, match=r'"Leds" is no unit of the panel\. Did you mean "Leeds"'):
        panel.only(("aa", "Leds"))
    with pytest.raises(NotEstimable, match="no unit of it is left"):
        panel.only(())
    assert panel.only("York").units.tolist() == ["York"]


def test_moments_are_compared_as_they_are():
    panel = build(numbered())
    assert panel.without(2004.5, 2006).periods.tolist() == [2000, 2001, 2002, 2003, 2004, 2006, 2007]
    assert panel.between(2002.5, 2004.5).periods.tolist() == [2003, 2004]
    dates = build(dated())
    early = dates.between(dt.date(2019, 1, 1), "2019-07-01")
    assert len(early.periods) == 2
    coarse = build(dated(QUARTERS.astype("datetime64[s]")))
    later = np.datetime64("2019-04-01T00:00:00.500")  # must not become midnight
    assert len(coarse.between(later, np.datetime64("2021-01-01")).periods) == 6


@pytest.mark.parametrize("part", ["between", "without"])
def test_an_empty_part_is_refused(part):
    ends = (1990, 1991) if part == "between" else (1990, 2020)
    with pytest.raises(NotEstimable, match="no period of it is left"):
        getattr(build(numbered()), part)(*ends)


@pytest.mark.parametrize("bad", [np.nan, None, "2004", pd.Timestamp("2004-01-01")])
def test_a_number_is_not_compared_with_what_is_none(bad):
    with pytest.raises(ParameterError, match="Allowed: a number"):
        build(numbered()).between(bad, 2006)


@pytest.mark.parametrize("bad", [2019, pd.NaT, "soon", pd.Timestamp("2019-01-01", tz="UTC")])
def test_a_date_is_not_compared_with_what_is_none(bad):
    with pytest.raises(ParameterError, match="Allowed: a date"):
        build(dated()).without(bad, np.datetime64("2019-07-01"))


# Tables.


def test_a_covariate_named_twice_is_refused():
    df = numbered().assign(x=lambda d: (d.start % 3) * 1.0)
    assert '"x" is named more than once' in refusal(df, covariates=("x", "x"))


@pytest.mark.parametrize("which", [("start",), ("adopted",), ("start", "adopted")])
def test_time_zones_are_refused(which):
    df = dated()
    text = refusal(df.assign(**{c: df[c].dt.tz_localize("Europe/London") for c in which}))
    assert all(f'"{c}" is in a time zone' in text for c in which)
    assert "tz_localize(None)" in text


def test_objects_in_a_time_zone_are_refused_too():
    df = dated()
    mixed = df.assign(adopted=[v.tz_localize("UTC") if pd.notna(v) else None for v in df.adopted])
    assert '"adopted" is in a time zone' in refusal(mixed.astype({"adopted": object}))


def test_units_by_text_and_number_are_refused():
    df = numbered()
    assert "some units by text and some by numbers" in refusal(
        df.assign(area=df.area.map({"aa": "aa", "bb": 2, "cc": 3}))
    )


def test_a_doubled_column_an_empty_table_and_an_endless_period_are_refused():
    df = numbered()
    assert '2 columns are called "events"' in refusal(pd.concat([df, df[["events"]]], axis=1))
    assert "it has no rows" in refusal(df.iloc[:0])
    assert "it has no rows" in refusal(df.iloc[:0].assign(x=1.0), covariates=("x",))
    assert "infinite" in refusal(df.assign(start=df.start.where(df.start < 2007, np.inf)))


def test_the_index_is_not_read():
    df = numbered()
    plain, indexed = build(df), build(df.set_index("area", drop=False))
    assert (plain.outcome == indexed.outcome).all()
    assert build(df.set_index(["area", "start"], drop=False)).units.tolist() == ["aa", "bb", "cc"]


@pytest.mark.parametrize("how", [lambda v: v, lambda v: v.date(), lambda v: v.to_datetime64()])
def test_adoption_as_objects_is_read_as_dates(how):
    df = dated()
    objects = pd.Series([how(v) if pd.notna(v) else None for v in df.adopted], dtype=object)
    panel, plain = build(df.assign(adopted=objects)), build(df)
    assert panel.adoption.dtype == panel.periods.dtype
    assert (panel.adoption[0], panel.treated.tolist()) == (plain.adoption[0], plain.treated.tolist())


def test_adoption_and_periods_as_objects_are_read_as_numbers_and_dates():
    df = numbered()
    objects = df.assign(adopted=pd.Series([int(v) if pd.notna(v) else None for v in df.adopted], dtype=object))
    assert build(objects).adoption.tolist()[0] == 2004.0
    assert build(objects).treated.tolist() == [True, False, False]
    days = dated().assign(start=lambda d: d.start.dt.date.astype(object))
    assert build(days).consecutive


def test_text_is_still_no_adoption():
    assert "not of the same kind" in refusal(numbered().assign(adopted="2004"))


def test_areas_of_the_protocol_that_the_panel_lacks_are_passed_over(monkeypatch):
    root = Path(__file__).parents[2]
    study = open_study(root / "protocols/ipsa.toml", root / "data/synthetic/ipsa")
    outcome = study.protocol.outcome("residential_entry")
    whole = build_panel(study.tables, study.protocol, outcome)
    lacking = whole.only(tuple(whole.units[whole.treated]) + tuple(whole.units[~whole.treated][1:]))
    monkeypatch.setattr(area, "build_panel", lambda *_: lacking)
    primary = next(e for e in area.estimate_rates(study, outcome) if e.role == "primary")
    assert primary.status == "shown"
