"""Placebos and robustness work alike on periods that are dates, with adoption within a quarter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.result import Estimate
from evalkit.estimators.area.conformal import conformal_inference
from evalkit.estimators.area.placebo_size import PlaceboSizeOptions, measure_placebo_size
from evalkit.estimators.area.placebo_time import estimate_placebo_in_time
from evalkit.estimators.area.randomisation import permutation_inference
from evalkit.estimators.area.rates import estimate_rate_ratio_did
from evalkit.estimators.area.robustness import estimate_anticipation, estimate_spillover
from evalkit.estimators.area.synthetic_control import difference_in_differences
from tests.panels import ESTIMAND, make_panel


@pytest.fixture(scope="module")
def numbered() -> Panel:
    return make_panel(np.random.default_rng(5), units=25, periods=24, adopted=12, mean=30, ratio=0.7)[0]


@pytest.fixture(scope="module")
def dated(numbered) -> Panel:
    quarters = pd.date_range("2012-04-01", periods=24, freq="QS").to_numpy()
    adoption = np.full(25, np.datetime64("NaT"), dtype=quarters.dtype)
    adoption[0] = quarters[12]
    return replace(numbered, periods=quarters, adoption=adoption)


def estimator(p: Panel) -> Estimate:
    return estimate_rate_ratio_did(p, ESTIMAND, rng=np.random.default_rng(0))


@pytest.mark.parametrize("infer", [permutation_inference, conformal_inference])
def test_intervals_are_those_of_numbered_periods(numbered, dated, infer):
    ask = {"scale": "rate_ratio", "level": 0.95}
    assert infer(dated, difference_in_differences, **ask) == infer(numbered, difference_in_differences, **ask)


def test_placebos_in_time_and_of_size_are_those_of_numbered_periods(numbered, dated):
    ours, theirs = (estimate_placebo_in_time(p, difference_in_differences) for p in (dated, numbered))
    assert (ours.drop(columns="adoption") == theirs.drop(columns="adoption")).all(axis=None)
    assert ours["adoption"].iloc[0] == dated.periods[2]
    sizes = [
        measure_placebo_size(p, estimator, rng=np.random.default_rng(1), options=PlaceboSizeOptions(dates=2))
        for p in (dated, numbered)
    ]
    assert sizes[0].text == sizes[1].text


def test_the_real_date_is_kept_where_it_lies_within_a_quarter(dated):
    midway = replace(dated, adoption=dated.adoption + np.timedelta64(40, "D"))
    seen = set()

    def look(p: Panel) -> Estimate:
        seen.add(p.adoption[p.treated][0])
        return estimator(p)

    measure_placebo_size(midway, look, rng=np.random.default_rng(1), options=PlaceboSizeOptions(dates=1))
    assert seen == {midway.adoption[0]}
    seen.clear()
    estimate_spillover(midway, look, neighbours=("area 01",))
    assert seen == {midway.adoption[0]}
    earlier = estimate_anticipation(dated, estimator, periods=(1,))[0]
    assert (
        earlier.value
        == estimator(replace(dated, adoption=np.where(dated.treated, dated.periods[11], dated.adoption))).value
    )
