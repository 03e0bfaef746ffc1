"""Ratios: dominance, ties, refusals by quadrant, and intervals against what is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.core.errors import ParameterError
from evalkit.economics.frontier import compute_frontier, compute_icer, compute_icer_interval, compute_icers


def statuses(costs: list[float], effects: list[float]) -> dict[str, str]:
    names = [f"s{j}" for j in range(len(costs))]
    table = compute_icers(names, costs, effects)
    return dict(zip(table["strategy"], table["status"], strict=True))


def test_the_table_is_sorted_and_says_why() -> None:
    # US Department of Veterans Affairs, HERC: the example of dampack's tests.
    table = compute_icers(
        ["E", "D", "C", "B", "A", "UC"], [55000, 35000, 25000, 10000, 12000, 5000], [5, 4, 3, 2, 1.5, 1]
    )  # fmt: skip
    assert list(table["strategy"]) == ["UC", "B", "A", "C", "D", "E"]
    rows = table.set_index("strategy")
    assert rows.loc["D", ["incremental_cost_gbp", "incremental_effect", "icer"]].tolist() == [25000, 2, 12500]
    assert 'dominated: "B"' in rows.loc["A", "reason"]
    assert 'a mix of "B" and "D"' in rows.loc["C", "reason"]
    assert "nothing to compare" in rows.loc["UC", "reason"]
    assert rows.loc[["A", "C", "UC"], "icer"].isna().all()
    assert rows.loc[["B", "D", "E"], "reason"].eq("").all()
    frontier = compute_frontier(table["strategy"], table["cost_gbp"], table["effect"])
    assert list(frontier["strategy"]) == ["UC", "B", "D", "E"]


def test_ties() -> None:
    assert statuses([1, 1], [2, 3]) == {"s0": "D", "s1": "ND"}  # of equal costs the better
    assert statuses([1, 2], [3, 3]) == {"s0": "ND", "s1": "D"}  # of equal effects the cheaper
    assert statuses([1, 1], [3, 3]) == {"s0": "ND", "s1": "D"}  # of equals the first named
    assert set(statuses([0, 1, 2, 3], [0, 1, 2, 3]).values()) == {"ND"}  # on one line
    third = 1 / 3
    assert set(statuses([0, 0.1, 0.2, 0.3], [0, third, 2 * third, 1]).values()) == {"ND"}  # but for rounding


def test_effects_that_differ_by_rounding_are_equal() -> None:
    table = compute_icers(["a", "b"], [1.0, 2.0], [0.3, 0.1 + 0.2])
    assert list(table["status"]) == ["ND", "D"]
    assert table["icer"].isna().all()


def test_extended_dominance_needs_several_rounds() -> None:
    # B goes only once C has gone: its ratio is below C's, above that of D over A.
    assert statuses([0, 10, 25, 30], [0, 1.0, 1.5, 4.0]) == {"s0": "ND", "s1": "ED", "s2": "ED", "s3": "ND"}


def test_one_strategy_has_no_ratio() -> None:
    table = compute_icers(["only"], [1.0], [2.0])
    assert table["status"].item() == "ND"
    assert np.isnan(table["icer"].item())


def test_no_ratio_is_ever_infinite() -> None:
    rng = np.random.default_rng(4)
    for _ in range(50):
        costs, effects = rng.integers(0, 4, 8).astype(float), rng.integers(0, 4, 8).astype(float)
        table = compute_icers([f"s{j}" for j in range(8)], costs, effects)
        assert not np.isinf(table["icer"]).any()
        assert (table["icer"].dropna() > 0).all()


def test_faults_of_the_table() -> None:
    with pytest.raises(ParameterError) as caught:
        compute_icers(["a", "a"], [1.0, math.nan], [1.0, 2.0, 3.0])
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize(
    ("cost", "effect", "value", "quadrant", "reading", "part"),
    [
        (100, 2, 50, "NE", "cost_per_unit_gained", "gained"),
        (-100, -2, 50, "SW", "saving_per_unit_lost", "saved for each QALY lost"),
        (-100, 2, math.nan, "SE", "dominates", "cheaper and better"),
        (100, -2, math.nan, "NW", "dominated", "dearer and worse"),
        (100, 0, math.nan, "axis", "no_effect", "nothing to divide by"),
        (0, 0, math.nan, "axis", "no_effect", "nothing to divide by"),
        (0, 2, math.nan, "axis", "dominates", "better at the same cost"),
        (0, -2, math.nan, "axis", "dominated", "worse at the same cost"),
    ],
)
def test_one_ratio_by_quadrant(
    cost: float, effect: float, value: float, quadrant: str, reading: str, part: str
) -> None:
    icer = compute_icer(cost, effect, effect_unit="QALY")
    assert icer.value == pytest.approx(value, nan_ok=True)
    assert (icer.quadrant, icer.reading) == (quadrant, reading)
    assert part in icer.reason


def test_an_effect_of_rounding_is_none() -> None:
    assert compute_icer(100, 5e-17, zero_effect=1e-12).reading == "no_effect"
    with pytest.raises(ParameterError, match="delta_effect"):
        compute_icer(100, math.nan)


def make_draws(mean_cost: float, mean_effect: float, n: int = 200_000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(8)
    both = rng.multivariate_normal([mean_cost, mean_effect], [[100, 0.6], [0.6, 0.04]], size=n)
    return both[:, 0], both[:, 1]


@pytest.mark.parametrize(("cost", "effect"), [(50, 1.0), (-50, -1.0), (20, 1.2)])
def test_both_intervals_agree_for_normal_draws(cost: float, effect: float) -> None:
    """Fieller's is exact for them, and the ranked draws are its definition."""
    draws = make_draws(cost, effect)
    one, other = (compute_icer_interval(*draws, method=m) for m in ("fieller", "percentile"))
    assert one.lower < one.value < one.upper
    width = one.upper - one.lower
    assert other.lower == pytest.approx(one.lower, abs=0.01 * width)
    assert other.upper == pytest.approx(one.upper, abs=0.01 * width)


def test_ends_of_fieller_are_where_net_benefit_is_no_longer_told_from_zero() -> None:
    cost, effect = make_draws(50, 1.0, 5000)
    found = compute_icer_interval(cost, effect)
    for k in (found.lower, found.upper):
        benefit = k * effect - cost
        assert abs(benefit.mean()) / benefit.std(ddof=1) == pytest.approx(1.959964, rel=1e-5)


@pytest.mark.parametrize("method", ["fieller", "percentile"])
def test_no_interval_where_effect_may_be_nil(method: str) -> None:
    found = compute_icer_interval(*make_draws(50, 0.2), method=method)
    assert math.isnan(found.lower)
    assert "not away from zero at 95%" in found.reason


def test_no_interval_for_what_dominates_and_a_word_where_it_may() -> None:
    assert "dominates" in compute_icer_interval(*make_draws(-50, 1.0)).reason
    found = compute_icer_interval(*make_draws(10, 1.0))
    assert found.lower < 0 < found.upper
    assert "below 0 it dominates" in found.reason


def test_faults_of_an_interval() -> None:
    with pytest.raises(ParameterError) as caught:
        compute_icer_interval([1.0, 2.0], [1.0, math.inf], level=95, method="felix")
    assert len(caught.value.faults) == 3
