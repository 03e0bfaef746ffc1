"""The recursion behind all curves against hand counts, brute force over rows, and numerical derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.estimators.survival.curve_sums import (
    build_risk_sets,
    compute_area,
    compute_path,
    compute_value_influence,
    compute_variance,
    compute_weighted_increments,
    order_ends,
    sum_clusters,
)
from evalkit.estimators.survival.kaplan_meier import compute_greenwood
from tests.curve_people import draw_competing, draw_recurrent

KINDS = {
    "survival": lambda e: (e > 0, e > 0),
    "one cause": lambda e: (e == 1, e > 0),
    "count with death": lambda e: (e == 1, e == 2),
    "count alone": lambda e: (e == 1, e < 0),
}


def prepare(kind: str, weights: np.ndarray | None = None):
    df = draw_recurrent(60) if kind.startswith("count") else draw_competing(150)
    event = df["event"].to_numpy()
    w = df["weight"].to_numpy() if weights is None else weights
    counted, ends = KINDS[kind](event)
    entry, exit_ = df["entry"].to_numpy(), df["exit"].to_numpy()
    sets = build_risk_sets(entry, exit_, w, df["cluster"].to_numpy(), counted | ends)
    return sets, compute_path(sets, counted, ends)


def test_path_by_hand():
    # (0,2] cause 1; (0,3] cause 2; (1,3] censored, after the event of its day; (2,5] cause 1: at risk 3, 3, 1.
    entry, exit_ = np.array([0.0, 0, 1, 2]), np.array([2.0, 3, 3, 5])
    event = np.array([1, 2, 0, 1])
    sets = build_risk_sets(entry, exit_, np.ones(4), np.arange(4), event > 0)
    path = compute_path(sets, event == 1, event > 0)
    assert sets.time.tolist() == [2, 3, 5]
    assert sets.number.tolist() == [3, 3, 1]
    assert path.value.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3 + 4 / 9])
    assert path.survival.tolist() == pytest.approx([2 / 3, 4 / 9, 0.0])
    assert path.survival[-1] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_influence_is_the_derivative(kind):
    """Each row's influence over its weight is the slope of the curve, the area and the weighted sum in its weight."""
    sets, path = prepare(kind)
    places = np.array([0, len(sets.time) // 3, len(sets.time) - 2])
    kernel = np.linspace(1.0, 2.0, len(sets.time))
    found = np.column_stack(
        [
            compute_value_influence(sets, path, places)[:, 1:],
            compute_area(sets, path, 5.0, 80.0)[1],
            compute_weighted_increments(sets, path, kernel)[1],
        ]
    )
    assert not compute_value_influence(sets, path, places)[:, 0].any()

    def read(w):
        s, p = prepare(kind, w)
        return np.array(
            [
                *p.value[places[1:] - 1],
                compute_area(s, p, 5.0, 80.0)[0],
                compute_weighted_increments(s, p, kernel)[0],
            ]
        )

    w, step = sets.weights, 1e-5
    for row in range(0, len(w), 7):
        nudge = np.zeros(len(w))
        nudge[row] = step
        slope = (read(w + nudge) - read(w - nudge)) / (2 * step)
        assert found[row] / w[row] == pytest.approx(slope, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_variance_is_the_sum_of_squares_by_cluster(kind):
    sets, path = prepare(kind)
    influence = compute_value_influence(sets, path, np.arange(1, len(sets.time) + 1))
    brute = (sum_clusters(influence, sets.cluster, sets.cluster.max() + 1) ** 2).sum(axis=0)
    assert compute_variance(sets, order_ends(sets), path) == pytest.approx(brute, rel=1e-9, abs=1e-14)
    assert np.abs(influence.sum(axis=0)).max() < 1e-12  # more weight on everybody changes nothing


def test_area_is_the_integral_of_the_steps():
    sets, path = prepare("one cause")
    grid = np.linspace(5.0, 80.0, 300_001)
    middle = (grid[1:] + grid[:-1]) / 2
    place = np.searchsorted(sets.time, middle, side="right")
    integral = np.concatenate([[0.0], path.value])[place].mean() * 75.0
    assert compute_area(sets, path, 5.0, 80.0)[0] == pytest.approx(integral, rel=1e-4)


def test_jackknife_is_greenwood_where_all_start_together():
    df = draw_competing(200)
    event, length = df["event"].to_numpy() > 0, (df["exit"] - df["entry"]).to_numpy()
    sets = build_risk_sets(np.zeros(200), length, np.ones(200), np.arange(200), event)
    path = compute_path(sets, event, event)
    assert compute_variance(sets, order_ends(sets), path) == pytest.approx(
        compute_greenwood(sets, event, path.survival), abs=1e-15
    )


def test_many_rows_keep_their_digits():
    """Sums over 200,000 rows against the direct sum at three times: cancellation stays below 1e-9."""
    rng = np.random.default_rng(5)
    n = 200_000
    times = np.stack([rng.exponential(scale, n) for scale in (300, 500, 400)])
    entry = rng.uniform(0, 200, n)
    exit_, event = entry + np.ceil(times.min(axis=0)), np.choose(times.argmin(axis=0), [1, 2, 0])
    cluster, weights = rng.integers(0, 50_000, n), rng.uniform(0.1, 10, n)
    exit_, entry = np.ceil(exit_), np.floor(entry)
    sets = build_risk_sets(entry, exit_, weights, cluster, event > 0)
    path = compute_path(sets, event == 1, event > 0)
    places = np.array([50, 400, len(sets.time)])
    direct = (sum_clusters(compute_value_influence(sets, path, places), cluster, 50_000) ** 2).sum(axis=0)
    assert compute_variance(sets, order_ends(sets), path)[places - 1] == pytest.approx(direct, rel=1e-9)


def test_a_risk_set_that_empties_early_ends_the_curve():
    # The first to enter has the event alone: survival is 0 from then on, as R has it, and nothing is added later.
    entry, exit_, event = np.array([0.0, 2, 2, 2]), np.array([1.0, 4, 5, 6]), np.ones(4, dtype=int)
    sets = build_risk_sets(entry, exit_, np.array([0.1, 0.7, 0.2, 3.0]), np.arange(4), event > 0)
    path = compute_path(sets, event > 0, event > 0)
    assert path.survival.tolist() == [0.0] * 4
    assert path.value == pytest.approx(np.ones(4), abs=1e-13)
    assert compute_variance(sets, order_ends(sets), path) == pytest.approx(np.zeros(4), abs=1e-20)
