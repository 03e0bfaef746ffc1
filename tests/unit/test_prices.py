"""Price index, financial years and discounting, and what a protocol may say of money: attacked with bad input."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from evalkit.core.economics import Economics, ValuedScore, WhatIf
from evalkit.core.errors import ParameterError
from evalkit.core.prices import PriceIndex, discount_factors, financial_year

NAN, INF = float("nan"), float("inf")


def frame(years: object, level: object) -> pd.DataFrame:
    return pd.DataFrame({"year": years, "level": level})


@pytest.fixture(scope="module")
def index() -> PriceIndex:
    return PriceIndex.from_frame(frame([2016, 2014, 2015], [110.0, 100.0, 105.0]))


def test_a_price_goes_to_another_year_and_back(index):
    there, back = index.factor(2014, 2016), index.factor(2016, 2014)
    assert there == pytest.approx(1.1, rel=1e-12)
    assert there * back == pytest.approx(1.0, rel=1e-12)
    assert index.factor(2014, 2015) * index.factor(2015, 2016) == pytest.approx(there, rel=1e-12)


def test_the_shape_of_years_is_kept_and_each_gets_its_own_factor(index):
    got = index.factor(np.array([[2014, 2015], [2016, 2014]]), 2016)
    np.testing.assert_allclose(got, [[1.1, 110 / 105], [1.0, 1.1]], rtol=1e-12)
    assert index.factor(pd.Series([2014, 2015], dtype="Int64"), 2016).shape == (2,)
    assert index.factor([], 2016).shape == (0,)


def test_an_index_put_together_out_of_order_is_put_in_order():
    index = PriceIndex(np.array([2016, 2014, 2015]), np.array([3.0, 1.0, 2.0]))
    assert index.years.tolist() == [2014, 2015, 2016]
    assert index.factor(2014, 2016) == pytest.approx(3.0)


def test_years_outside_the_index_and_gaps_in_it_are_listed():
    index = PriceIndex.from_frame(frame([2014, 2016], [1.0, 2.0]))
    with pytest.raises(ParameterError, match=r"2010, 2015, 2030.*2014 to 2016"):
        index.factor(np.array([2010, 2015, 2016]), 2030)


@pytest.mark.parametrize(
    "year", [2015.5, NAN, None, True, np.array([2015, NAN]), "fifteen", np.datetime64("2015-04-01"), 15, 201516,
             pd.Series([2015, None], dtype="Int64")],
    ids=str,
)  # fmt: skip
def test_what_is_no_year_is_never_rounded_into_one(index, year):
    with pytest.raises(ParameterError, match="price_year: some are missing or no year"):
        index.factor(year, 2016)
    if np.ndim(year) == 0:
        with pytest.raises(ParameterError, match="some are missing or no year"):
            index.factor(2015, year)


@pytest.mark.parametrize(
    ("years", "level", "match"),
    [
        ([], [], "there is no year in it"),
        ([2014, 2014], [1, 2], "given twice"),
        ([2014, NAN], [1, 2], "some are missing or no year"),
        (pd.array([2014, None], dtype="Int64"), [1, 2], "some are missing or no year"),
        ([2014, 2015.5], [1, 2], "some are missing or no year"),
        (["2014/15", 2015], [1, 2], "some are missing or no year"),
        ([14, 15], [1, 2], "1900 to 2200"),
        ([201415, 201516], [1, 2], "1900 to 2200"),
        ([1e300, 2015], [1, 2], "some are missing or no year"),
        (pd.to_datetime(["2014-04-01", "2015-04-01"]), [1, 2], "some are missing or no year"),
        ([True, False], [1, 2], "some are missing or no year"),
        ([2014, 2015], [1, 0], "level: some are missing or not positive"),
        ([2014, 2015], [1, -2], "level: some are missing or not positive"),
        ([2014, 2015], [1, NAN], "level: some are missing or not positive"),
        ([2014, 2015], [1, INF], "level: some are missing or not positive"),
        ([2014, 2015], ["100", "about 101"], "level: some are missing or not positive"),
    ],
)
def test_a_faulty_index_is_refused_by_name(years, level, match):
    with pytest.raises(ParameterError, match=match):
        PriceIndex.from_frame(frame(years, level))


def test_all_faults_of_an_index_are_said_at_once():
    with pytest.raises(ParameterError) as caught:
        PriceIndex.from_frame(frame([2014, 2014], [1, -1]))
    assert len(caught.value.faults) == 2
    with pytest.raises(ParameterError) as caught:
        PriceIndex.from_frame(pd.DataFrame({"Year": [2014]}))
    assert [f.what for f in caught.value.faults] == ['there is no column "year"', 'there is no column "level"']


def test_lists_of_different_length_are_no_index():
    with pytest.raises(ParameterError, match="1 years, 2 levels"):
        PriceIndex(np.array([2014]), np.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("day", "year"),
    [("2015-03-31", 2014), ("2015-04-01", 2015), ("2015-12-31", 2015), ("2016-01-01", 2015), ("2016-02-29", 2015),
     ("1969-03-31", 1968), ("1969-04-01", 1969)],
)  # fmt: skip
def test_the_financial_year_turns_in_april(day, year):
    assert financial_year(pd.Series([day])).tolist() == [year]
    assert financial_year(np.array([[day]], dtype="datetime64[D]")).tolist() == [[year]]
    assert financial_year(pd.Series([dt.date.fromisoformat(day)])).tolist() == [year]


def test_every_day_of_ten_years_is_in_the_year_of_its_april():
    days = np.arange("2010-01-01", "2020-01-01", dtype="datetime64[D]")
    expected = [d.year - (d.month < 4) for d in days.tolist()]
    assert financial_year(days).tolist() == expected


@pytest.mark.parametrize(
    ("days", "match"),
    [
        (np.array(["2015-03-31", "NaT"], dtype="datetime64[D]"), "some are missing"),
        (pd.Series(["2015-03-31", None]), "some are missing"),
        (np.array([2015, 2016]), "numbers are no dates"),
        (pd.Series([20150401]), "numbers are no dates"),
        (pd.Series(pd.to_datetime(["2015-03-31 23:30"]).tz_localize("Europe/London")), "time zone"),
    ],
    ids=["NaT", "None", "years", "digits", "zone"],
)
def test_days_without_a_financial_year_are_refused(days, match):
    with pytest.raises(ParameterError, match=match):
        financial_year(days)


def test_the_first_twelve_months_are_not_discounted():
    # HM Treasury Green Book: year 0 has factor 1, year 1 1/1.035 = 0.9662, year 2 0.9335 (its table of factors).
    got = discount_factors([0, 0.5, 0.999, 1, 1.5, 2], 0.035)
    np.testing.assert_allclose(got, [1, 1, 1, 0.9662, 0.9662, 0.9335], atol=5e-5)
    assert discount_factors(3, 0.0) == 1.0
    assert discount_factors(np.ones((2, 3)), 0.035).shape == (2, 3)


def test_a_third_of_a_year_counted_three_times_is_a_year():
    assert discount_factors(np.cumsum(np.full(30, 0.1))[9], 0.035) == pytest.approx(1 / 1.035)


@pytest.mark.parametrize("rate", [-0.01, 1.0, 3.5, NAN, INF, "3.5%", None, True, False])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ParameterError, match="discount_rate: not a share a year"):
        discount_factors([1], rate)


@pytest.mark.parametrize("years", [[-1], [NAN], [INF], ["a"], [None]])
def test_years_before_now_or_missing_are_refused(years):
    with pytest.raises(ParameterError, match="some are missing or before"):
        discount_factors(years, 0.035)


def economics(**given: object) -> Economics:
    return Economics(**({"price_year": 2015} | given))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"discount_rate": 3.5}, "discount_rate"), ({"discount_rate": NAN}, "discount_rate"),
        ({"joint_nhs_share": 50}, "joint_nhs_share"), ({"joint_nhs_share": -0.1}, "joint_nhs_share"),
        ({"price_change": 20}, "price_change"), ({"price_sd": INF}, "price_sd"), ({"price_sd": 20}, "price_sd"),
        ({"price_sd": 0}, "price_sd"), ({"price_year": 15}, "price_year"), ({"price_year": 2015.5}, "price_year"),
        ({"persistence": ()}, "persistence"), ({"persistence": ("holds", "holds")}, "persistence used twice"),
        ({"persistence": ("hold",)}, "persistence"), ({"impact_years": 0}, "impact_years"),
        ({"psa_draws": 10}, "psa_draws"), ({"currency": "EUR"}, "currency"),
    ],
)  # fmt: skip
def test_an_economics_section_with_a_slip_is_refused_by_name(given, match):
    with pytest.raises(ValidationError, match=match):
        economics(**given)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"people": 9}, "people"), ({"people": 10.5}, "people"), ({"price_ratio": 0}, "price_ratio"),
        ({"price_ratio": 110}, "price_ratio"), ({"price_ratio": INF}, "price_ratio"),
        ({"price_ratio": NAN}, "price_ratio"),
        ({"set_up_gbp": -1}, "set_up_gbp"), ({"set_up_gbp": INF}, "set_up_gbp"), ({"set_up_gbp": NAN}, "set_up_gbp"),
        ({"cost_per_person_quarter_gbp": 0}, "cost_per_person_quarter_gbp"),
        ({"cost_per_person_quarter_gbp": INF}, "cost_per_person_quarter_gbp"), ({"key": "A b"}, "key"),
    ],
)  # fmt: skip
def test_a_what_if_with_a_slip_is_refused_by_name(given, match):
    with pytest.raises(ValidationError, match=match):
        WhatIf(**({"key": "a", "label": "A", "people": 100} | given))


def test_keys_used_twice_are_named():
    place = {"key": "a", "label": "A", "people": 100}
    with pytest.raises(ValidationError, match="what_if key used twice: a"):
        economics(what_if=(place, place), between_place_sd=0.1)


@pytest.mark.parametrize(
    "given",
    [
        {"utility_per_point": 0.1},
        {"utility_per_point": 0.1, "utility_at_zero": 0.2, "mapping_source": " "},
        {"utility_per_point": NAN, "utility_at_zero": 0.2, "mapping_source": "x"},
        {"utility_per_point": 0.1, "utility_at_zero": INF, "mapping_source": "x"},
        {"utility_per_point": 0.0, "utility_at_zero": 0.2, "mapping_source": "x"},
        {"max_threshold_gbp": INF},
        {"max_threshold_gbp": -5},
    ],
)
def test_a_mapping_to_qalys_is_whole_and_finite(given):
    shared = {"kind": "score", "key": "a", "label": "A", "plain": "a", "instrument": "dialog"}
    with pytest.raises(ValidationError):
        ValuedScore(**(shared | given))
    whole = ValuedScore(**shared, utility_per_point=0.1, utility_at_zero=0.2, mapping_source="x")
    assert whole.is_qaly and not ValuedScore(**shared).is_qaly
