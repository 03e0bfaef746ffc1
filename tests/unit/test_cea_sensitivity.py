"""Sensitivity: tornado, grids, draws by moments and the value that turns a decision."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.economics.sensitivity import Uncertain, compute_one_way, compute_two_way, draw_values, find_threshold

BASE = {"price": 100.0, "days": 10.0, "saving": 1500.0}


def net(values) -> float:
    return values["saving"] - values["price"] * values["days"]


def test_tornado_by_hand() -> None:
    table = compute_one_way(net, BASE, {"price": (80, 120), "days": (5, 15), "saving": (1500, 1500)})
    assert list(table["parameter"]) == ["days", "price", "saving"]
    rows = table.set_index("parameter")
    assert rows.loc["price", ["result_low", "result_high", "result_base", "spread"]].tolist() == [700, 300, 500, 400]
    assert rows.loc["saving", "spread"] == 0
    assert BASE == {"price": 100.0, "days": 10.0, "saving": 1500.0}


def test_two_way_by_hand() -> None:
    table = compute_two_way(net, BASE, ("price", [80, 120]), ("days", [5, 10, 15]))
    assert len(table) == 6
    assert table.set_index(["price", "days"]).loc[(120, 15), "result"] == 1500 - 1800
    with pytest.raises(ParameterError, match="same input"):
        compute_two_way(net, BASE, ("price", [80]), ("price", [5]))


def test_threshold_is_where_the_sign_changes() -> None:
    found = find_threshold(net, BASE, "price", 0, 400)
    assert found.values == pytest.approx((150.0,))
    assert found.reason == ""
    none = find_threshold(net, BASE, "price", 0, 100)
    assert none.values == ()
    assert "above 0 all the way from 0 to 100" in none.reason
    twice = find_threshold(lambda v: (v["price"] - 20) * (v["price"] - 70.3), BASE, "price", 0, 100)
    assert twice.values == pytest.approx((20, 70.3))


def test_faults_are_told_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        compute_one_way(net, BASE | {"days": math.nan}, {"prise": (1, 2), "saving": (3, 2)})
    text = str(caught.value)
    for part in ('base, "days"', 'Did you mean "price"?', 'ranges, "saving"'):
        assert part in text
    with pytest.raises(ParameterError, match="not above low"):
        find_threshold(net, BASE, "price", 5, 5)


def test_a_result_that_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(NotEstimable, match="days = 0"):
        compute_one_way(lambda v: v["price"] / v["days"] if v["days"] else math.inf, BASE, {"days": (0, 1)})


@pytest.mark.parametrize(
    ("one", "shape"),
    [
        (Uncertain("gamma", 120.0, 0.2), 2 * 0.2),  # skewness 2 v
        (Uncertain("lognormal", 120.0, 0.2), 3 * 0.2 + 0.2**3),
        (Uncertain("beta", 0.3, 0.4), None),
        (Uncertain("fixed", 7.0), None),
    ],
)
def test_draws_have_the_moments_asked_for(one: Uncertain, shape: float | None) -> None:
    n = 200_000
    draws = draw_values({"x": one}, n, rng=np.random.default_rng(2))["x"].to_numpy()
    assert draws.mean() == pytest.approx(one.mean, rel=0.003)
    assert draws.std() == pytest.approx(one.mean * one.cv, rel=0.01)
    if one.family in ("gamma", "lognormal"):
        skewness = ((draws - draws.mean()) ** 3).mean() / draws.std() ** 3
        assert skewness == pytest.approx(shape, rel=0.1)
        assert draws.min() > 0
    if one.family == "beta":
        assert 0 < draws.min() < draws.max() < 1


def test_draws_are_of_the_generator_alone() -> None:
    inputs = {"a": Uncertain("gamma", 5, 0.3), "b": Uncertain("lognormal", 5, 0.3)}
    one, other = (draw_values(inputs, 1000, rng=np.random.default_rng(3)) for _ in range(2))
    assert one.equals(other)
    assert abs(np.corrcoef(one["a"], one["b"])[0, 1]) < 0.1


def test_all_inputs_that_cannot_be_drawn_are_told() -> None:
    inputs = {
        "a": Uncertain("gama", 1.0, 0.1),
        "b": Uncertain("gamma", 0.0, 0.1),
        "c": Uncertain("beta", 0.5, 1.5),
        "d": Uncertain("fixed", 1.0, 0.1),
        "e": Uncertain("lognormal", 1.0, -0.1),
        "f": Uncertain("beta", 1.2, 0.1),
    }
    with pytest.raises(ParameterError) as caught:
        draw_values(inputs, 0, rng=None)
    text = str(caught.value)
    assert len(caught.value.faults) == 8
    assert 'Did you mean "gamma"?' in text
    assert "default_rng" in text
