"""Markov cohorts: closed forms, and chances that cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.core.errors import ParameterError
from evalkit.economics.markov import (
    MarkovOptions,
    build_markov,
    compute_cycle_values,
    compute_total,
    compute_trace,
    describe_trace,
    scale_transitions,
)

DIE = np.array([[0.9, 0.1], [0.0, 1.0]])


def test_trace_is_a_geometric_survival() -> None:
    model = build_markov(("well", "dead"), DIE, [100, 0], n_cycles=6)
    assert compute_trace(model)[:, 0] == pytest.approx(100 * 0.9 ** np.arange(7))
    assert compute_trace(model).sum(axis=1) == pytest.approx(np.full(7, 100))
    assert list(describe_trace(model).columns) == ["cycle", "well", "dead"]


@pytest.mark.parametrize(
    ("counting", "weights"),
    [("start", 0.9 ** np.arange(6)), ("end", 0.9 ** np.arange(1, 7)), ("half_cycle", 0.95 * 0.9 ** np.arange(6))],
)
def test_counting(counting: str, weights: np.ndarray) -> None:
    model = build_markov(("well", "dead"), DIE, [1, 0], n_cycles=6)
    options = MarkovOptions(counting=counting, discount_rate=0.05)
    found = compute_cycle_values(model, [10, 0], options=options)
    assert found == pytest.approx(10 * weights / 1.05 ** np.arange(6))
    first = MarkovOptions(counting=counting, discount_rate=0.05, discount_from="first_cycle")
    assert compute_total(model, [10, 0], options=first) == pytest.approx(found.sum() / 1.05)


def test_cycles_of_a_quarter_are_discounted_by_whole_years() -> None:
    model = build_markov(("well", "dead"), np.eye(2), [1, 0], n_cycles=9)
    options = MarkovOptions(counting="start", discount_rate=0.1, cycle_years=0.25)
    assert compute_cycle_values(model, [1, 0], options=options) == pytest.approx(
        [1.1**-y for y in [0] * 4 + [1] * 4 + [2]]
    )


def test_one_matrix_a_cycle_and_costs_by_cycle() -> None:
    matrices = np.stack([np.eye(2), DIE, DIE])
    model = build_markov(("well", "dead"), matrices, [1, 0])
    assert model.n_cycles == 3
    values = np.array([[1.0, 0], [10.0, 0], [100.0, 5.0]])
    options = MarkovOptions(counting="end", discount_rate=0)
    assert compute_cycle_values(model, values, options=options) == pytest.approx([1, 9, 81 + 0.19 * 5])


def test_relative_risk_scales_leaving_alone() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0, 0.5, 0.5], [0, 0, 1]])
    found = scale_transitions(chances, 0.5)
    assert found == pytest.approx(np.array([[0.85, 0.1, 0.05], [0, 0.75, 0.25], [0, 0, 1]]))
    assert scale_transitions(found, 2.0) == pytest.approx(chances)
    with pytest.raises(ParameterError, match="more than all would leave"):
        scale_transitions(chances, 2.5)
    with pytest.raises(ParameterError, match="out of range"):
        scale_transitions(chances, -1)


def test_chances_that_cannot_be_are_all_told() -> None:
    bad = np.array([[0.9, 0.2], [-0.1, 1.1]])
    with pytest.raises(ParameterError) as caught:
        build_markov(("well", "well"), bad, [0, 0])
    text = str(caught.value)
    for part in ('"well" is given twice', "below 0", 'from "well": chances', "n_cycles", "nobody"):
        assert part in text
    with pytest.raises(ParameterError, match='cycle 2, from "dead"'):
        build_markov(("well", "dead"), np.stack([DIE, [[0.9, 0.1], [0.1, 0.8]]]), [1, 0])


@pytest.mark.parametrize(
    ("states", "matrix", "start", "cycles", "part"),
    [
        (("a", "b"), np.eye(3), [1, 0], 2, "wrong shape"),
        (("a", "b"), np.eye(2), [1, 0, 0], 2, "wrong length"),
        (("a", "b"), np.stack([np.eye(2)] * 3), [1, 0], 2, "not the number of matrices"),
        (("a", "b"), np.eye(2), [1, -1], 2, "nobody"),
        (("a",), np.eye(1), [1], 2, "too few"),
        (("a", "b"), np.eye(2) * np.nan, [1, 0], 2, "missing"),
    ],
)
def test_shapes(states: tuple, matrix: np.ndarray, start: list, cycles: int, part: str) -> None:
    with pytest.raises(ParameterError, match=part):
        build_markov(states, matrix, start, n_cycles=cycles)


def test_options_and_values_that_cannot_be() -> None:
    model = build_markov(("well", "dead"), DIE, [1, 0], n_cycles=3)
    options = MarkovOptions(counting="middle", discount_from="never", discount_rate=-1, cycle_years=0)
    with pytest.raises(ParameterError) as caught:
        compute_total(model, [1, 0], options=options)
    assert len(caught.value.faults) == 4
    with pytest.raises(ParameterError, match="wrong shape"):
        compute_total(model, [1, 0, 0])
