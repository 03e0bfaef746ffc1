"""Draws of cost and effect: every fault told at once, and nothing changed in silence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.core.errors import ParameterError
from evalkit.economics.draws import Psa

COSTS = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])
EFFECTS = np.array([[0.1, 0.2], [0.3, 0.5], [0.2, 0.1]])


def told(call) -> str:
    with pytest.raises(ParameterError) as caught:
        call()
    return str(caught.value)


def test_differences_are_target_less_reference() -> None:
    psa = Psa(("a", "b"), COSTS, EFFECTS, "QALY")
    cost, effect = psa.differences("b", "a")
    assert cost == pytest.approx([1, 1, 2])
    assert effect == pytest.approx([0.1, 0.2, -0.1])
    assert (psa.n_draws, psa.n_strategies) == (3, 2)


def test_all_faults_come_at_once() -> None:
    costs = COSTS.copy()
    costs[0, 0], costs[1, 1] = np.nan, np.inf
    parameters = pd.DataFrame({"p": [1.0, np.nan], "word": ["x", "y"]})
    text = told(lambda: Psa(("a", "a"), costs, EFFECTS[:2, :1], "", parameters))
    for part in ('"a" is given twice', "1 of 6 numbers are missing", "1 of 6 numbers are infinite", "1 columns",
                 "3 of cost, 2 of effect", "effect_unit", 'parameters, "word"'):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(
    ("strategies", "costs", "effects", "part"),
    [
        (("a",), COSTS[:, :1], EFFECTS[:, :1], "too few"),
        (("a", ""), COSTS, EFFECTS, "empty or no text"),
        (("a", "b"), COSTS[:1], EFFECTS[:1], "too few draws"),
        (("a", "b"), COSTS[:, 0], EFFECTS, "wrong shape"),
        (("a", "b"), [["x", 1]], EFFECTS, "numbers are wanted"),
        (("a", "b"), COSTS * 1e150, EFFECTS, "too large"),
        (("a", "b"), np.empty((0, 2)), EFFECTS, "it is empty"),
        (("a", "b", "c"), COSTS, EFFECTS, "do not fit"),
    ],
)
def test_what_cannot_be_used(strategies: tuple, costs: object, effects: object, part: str) -> None:
    assert part in told(lambda: Psa(strategies, costs, effects, "QALY"))


def test_parameters_must_be_numbers_of_the_same_draws() -> None:
    assert "as many rows as draws" in told(lambda: Psa(("a", "b"), COSTS, EFFECTS, "u", pd.DataFrame({"p": [1.0]})))
    missing = pd.DataFrame({"p": [1.0, np.nan, 2.0]})
    assert "1 of 3 numbers are missing" in told(lambda: Psa(("a", "b"), COSTS, EFFECTS, "u", missing))
    twice = pd.DataFrame(np.ones((3, 2)), columns=["p", "p"])
    assert '"p" is given twice' in told(lambda: Psa(("a", "b"), COSTS, EFFECTS, "u", twice))


def test_from_frame_takes_columns_by_name() -> None:
    frame = pd.DataFrame({"eff_b": EFFECTS[:, 1], "cost_a": COSTS[:, 0], "eff_a": EFFECTS[:, 0], "cost_b": COSTS[:, 1]})
    psa = Psa.from_frame(frame, ("a", "b"), effect_unit="QALY")
    assert (psa.costs_gbp == COSTS).all()
    assert (psa.effects == EFFECTS).all()
    text = told(lambda: Psa.from_frame(frame.astype({"eff_a": str}), ("a", "c"), effect_unit="QALY"))
    assert 'no column "cost_c"' in text
    assert "does not hold numbers" in text


def test_two_arms_from_differences() -> None:
    psa = Psa.from_differences([5.0, 7.0], [0.1, -0.1], effect_unit="day", names=("usual", "service"))
    assert psa.strategies == ("usual", "service")
    assert (psa.costs_gbp == [[0, 5], [0, 7]]).all()
    assert "must be pairs" in told(lambda: Psa.from_differences([5.0, 7.0], [0.1], effect_unit="day"))


def test_an_unknown_strategy_is_not_guessed() -> None:
    psa = Psa(("usual", "service"), COSTS, EFFECTS, "QALY")
    assert 'Did you mean "service"?' in told(lambda: psa.place("servise"))
    assert "compared with itself" in told(lambda: psa.differences("usual", "usual"))
