"""A period that adoption falls into is neither before nor after, in whatever design; and ratios of what has none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.result import Estimate
from evalkit.estimators.area.contrasts import one_start, shared_start
from evalkit.estimators.area.did import DidOptions, estimate_did
from evalkit.estimators.area.rates import RateOptions, estimate_rate_ratio_did
from evalkit.estimators.area.registry import find_estimator
from evalkit.estimators.area.scales import as_rate_ratio
from tests.panels import DIFFERENCE, ESTIMAND

QUARTERS = pd.date_range("2017-01-01", periods=14, freq="QS")
INSIDE = pd.Timestamp("2019-08-15")


def contaminated() -> Panel:
    """Twenty-two areas, the first treated in mid-quarter with ratio 1.5; the quarter of adoption is wild."""
    rng = np.random.default_rng(6)
    rows = []
    for j in range(22):
        for q in QUARTERS:
            mean = 50 * (1.5 if j == 0 and q > INSIDE else 1)
            count = 500 if j == 0 and q <= INSIDE < q + pd.DateOffset(months=3) else rng.poisson(mean)
            rows.append((f"a{j:02d}", q, count, 100.0, INSIDE if j == 0 else pd.NaT))
    df = pd.DataFrame(rows, columns=["area", "quarter", "count", "years", "start"])
    return Panel.from_frame(df, unit="area", period="quarter", outcome="count", adoption="start", denominator="years")


@pytest.mark.parametrize("name", ["did_permutation", "did_conformal", "synthetic_control", "synthetic_did"])
def test_designs_refuse_it_and_find_the_effect_once_it_is_left_out(name):
    panel, entry = contaminated(), find_estimator(name)
    with pytest.raises(NotEstimable, match="falls inside a period"):
        entry.run(panel, ESTIMAND, 0.95, np.random.default_rng(0), "sensitivity")
    left = panel.without(np.datetime64("2019-07-01"), np.datetime64("2019-10-01"))
    found = entry.run(left, ESTIMAND, 0.95, np.random.default_rng(0), "sensitivity")
    assert 1.3 < found.value < 1.7


def test_designs_that_leave_it_out_themselves_agree():
    panel = contaminated()
    left = panel.without(np.datetime64("2019-07-01"), np.datetime64("2019-10-01"))
    regression = estimate_did(panel, DIFFERENCE, options=DidOptions(errors="permutation"))
    again = find_estimator("did_permutation").run(left, DIFFERENCE, 0.95, np.random.default_rng(0), "sensitivity")
    assert regression.value == pytest.approx(again.value)
    assert 1.3 < estimate_rate_ratio_did(panel, ESTIMAND, rng=np.random.default_rng(0)).value < 1.7


def test_a_start_on_the_first_day_of_a_period_is_not_inside():
    periods = QUARTERS.to_numpy()
    adoption = np.array([periods[5], np.datetime64("NaT")])
    assert one_start(adoption, periods) == shared_start(adoption, periods) == 5
    # With the period before left out, the start still lies at the beginning of one.
    assert one_start(adoption, np.delete(periods, 4)) == 4
    with pytest.raises(NotEstimable, match="inside a period"):
        one_start(np.array([periods[5] + np.timedelta64(40, "D")]), periods)


def difference(value: float, lower: float, upper: float) -> Estimate:
    return Estimate(DIFFERENCE, "x", "sensitivity", value, lower, upper, 0.95, se=0.1, p_value=0.5)


def test_a_difference_is_told_as_a_ratio():
    panel = contaminated()
    seen = panel.values[panel.treated][:, panel.periods >= np.datetime64(INSIDE)].mean()
    found = as_rate_ratio(difference(0.2, -0.1, seen + 0.1), panel, ESTIMAND)
    assert found.value == pytest.approx(seen / (seen - 0.2))
    assert found.lower == pytest.approx(seen / (seen + 0.1))
    assert found.upper == math.inf
    assert math.isnan(found.se)
    with pytest.raises(NotEstimable, match="nothing was expected"):
        as_rate_ratio(difference(seen + 1, 0.0, seen + 2), panel, ESTIMAND)


def test_no_event_after_gives_nought_without_an_interval():
    panel = contaminated()
    after = panel.treated[:, None] & (panel.periods >= np.datetime64(INSIDE))[None, :]
    found = as_rate_ratio(
        difference(-0.4, -0.6, -0.2), replace(panel, outcome=np.where(after, 0.0, panel.outcome)), ESTIMAND
    )
    assert found.value == 0
    assert math.isnan(found.lower)
    assert any(c.name == "interval" and c.passed is False for c in found.checks)


def test_negative_values_have_no_ratio():
    panel = contaminated()
    below = replace(panel, outcome=panel.outcome - 60)
    with pytest.raises(ParameterError, match="negative"):
        as_rate_ratio(difference(0.1, 0.0, 0.2), below, ESTIMAND)
    with pytest.raises(ParameterError, match="negative"):
        estimate_rate_ratio_did(below, ESTIMAND, rng=np.random.default_rng(0))


@pytest.mark.parametrize("level", [0.0, 1.0, 1.2, -1.0, math.nan])
def test_a_level_is_a_probability(level):
    with pytest.raises(ParameterError, match="no probability"):
        estimate_rate_ratio_did(
            contaminated(), ESTIMAND, options=RateOptions(level=level), rng=np.random.default_rng(0)
        )


def test_weights_that_are_not_used_are_said():
    panel = contaminated()
    weighed = replace(panel, weights=np.linspace(1, 2, panel.weights.size).reshape(panel.weights.shape))
    names = {
        c.name
        for c in estimate_rate_ratio_did(weighed, ESTIMAND, rng=np.random.default_rng(0)).checks
        if c.passed is False
    }
    assert "weights" in names


def test_areas_that_are_all_alike_say_nothing_of_chance():
    panel = contaminated()
    same = np.where(panel.treated[:, None], panel.outcome, panel.outcome[1])
    with pytest.raises(NotEstimable, match="no spread"):
        estimate_rate_ratio_did(replace(panel, outcome=same), ESTIMAND, rng=np.random.default_rng(0))
