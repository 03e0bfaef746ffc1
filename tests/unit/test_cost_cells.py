"""The engine of every number about money: weighted means in four cells, in many draws at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.costs.cells import (
    CostColumns,
    MeanEffect,
    compute_additive_effect,
    compute_cell_means,
    compute_proportional_effect,
    draw_people,
)


def people(seed: int = 0, n: int = 120, **changed) -> CostColumns:
    rng = np.random.default_rng(seed)
    x = pd.DataFrame({"x": rng.normal(size=n), "z": rng.integers(0, 2, n).astype(float), "flat": 1.0})
    treated = rng.random(n) < 1 / (1 + np.exp(0.7 - 0.8 * x["x"].to_numpy()))
    before, after = rng.gamma(1, 100, (n, 2)), rng.gamma(1, 80, (n, 2))
    return CostColumns(**{
        "before": before, "after": after, "names": ("cost", "days"), "treated": treated, "covariates": x, **changed,
    })  # fmt: skip


def by_hand(columns: CostColumns, count: np.ndarray) -> np.ndarray:
    """The four means of each column with scikit-learn's propensity, one draw at a time."""
    x = columns.covariates[["x", "z"]].to_numpy()
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, columns.treated, sample_weight=count)
    p = fit.predict_proba(x)[:, 1]
    w = np.where(columns.treated, count, count * p / (1 - p))
    cells = [(columns.treated, columns.after), (columns.treated, columns.before),
             (~columns.treated, columns.after), (~columns.treated, columns.before)]  # fmt: skip
    return np.array([np.average(y[side], axis=0, weights=w[side]) for side, y in cells])


def test_means_equal_a_loop_with_another_librarys_propensity():
    columns = people()
    found = compute_cell_means(columns, replicates=30, rng=np.random.default_rng(5)).values
    rng = np.random.default_rng(5)
    counts = np.vstack([np.ones(120), draw_people(columns.treated, 30, rng)])
    expected = np.array([by_hand(columns, count) for count in counts])
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_sum_of_columns_is_the_column_of_sums():
    columns = people()
    both = people(before=columns.before.sum(axis=1, keepdims=True), after=columns.after.sum(axis=1, keepdims=True),
                  names=("both",))  # fmt: skip
    parts = compute_cell_means(columns, replicates=20, rng=np.random.default_rng(1))
    whole = compute_cell_means(both, replicates=20, rng=np.random.default_rng(1))
    assert parts.pick({"cost": 1.0, "days": 1.0}) == pytest.approx(whole.pick({"both": 1.0}), rel=1e-9)
    assert parts.pick({"cost": 0.8}) == pytest.approx(0.8 * parts.pick({"cost": 1.0}), rel=1e-9)


def test_draws_are_the_wider_the_fewer_people_carry_the_spread():
    rng = np.random.default_rng(2)
    mild, steep = rng.gamma(8, 10, (120, 2)), np.exp(rng.normal(4, 1.8, (120, 2)))
    found = compute_cell_means(people(before=mild, after=steep), replicates=10, rng=np.random.default_rng(0))
    plain = compute_cell_means(people(before=mild, after=mild[::-1]), replicates=10, rng=np.random.default_rng(0))
    assert 1.0 < plain.measure_skew({"cost": 1.0}) < 1.04 < found.measure_skew({"cost": 1.0})
    raw, wide = found.values[:, :, 0], found.pick({"cost": 1.0})
    assert wide[0] == pytest.approx(raw[0])
    assert (wide[1:] - wide[0]) == pytest.approx(found.measure_skew({"cost": 1.0}) * (raw[1:] - raw[0]))
    nobody = compute_cell_means(people(before=0 * mild, after=0 * mild), replicates=5, rng=np.random.default_rng(0))
    assert nobody.measure_skew({"cost": 1.0}) == 1.0


def test_a_draw_keeps_the_size_of_both_sides():
    columns = people()
    counts = draw_people(columns.treated, 50, np.random.default_rng(0))
    assert (counts[:, columns.treated].sum(axis=1) == columns.treated.sum()).all()
    assert (counts.sum(axis=1) == 120).all()


def test_the_counterfactuals_of_both_ways_of_moving():
    cells = np.array([[90.0, 100.0, 40.0, 50.0], [91.0, 100.0, 40.0, 50.0], [89.0, 100.0, 40.0, 50.0]])
    proportional, additive = compute_proportional_effect(cells), compute_additive_effect(cells)
    assert (proportional.actual, proportional.counterfactual) == (90.0, pytest.approx(80.0))
    assert additive.counterfactual == pytest.approx(90.0)
    assert proportional.difference_draws == pytest.approx([11.0, 9.0])
    assert proportional.relative(0.95)[0] == pytest.approx(0.125)
    low, high = proportional.interval(0.95)
    assert (low + high) / 2 == pytest.approx(10.0)
    assert (high - low) / 2 == pytest.approx(1.959964 * np.sqrt(2))


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([0.0, 1.0, 1.0, 1.0], "nothing was spent after on the treated side"),
        ([1.0, 0.0, 1.0, 1.0], "nothing was spent before on the treated side"),
        ([1.0, 1.0, 0.0, 1.0], "nothing was spent after on the comparison side"),
        ([1.0, 1.0, 1.0, 0.0], "nothing was spent before on the comparison side"),
    ],
)
def test_a_ratio_to_nothing_is_refused(cells, said):
    with pytest.raises(NotEstimable, match=said):
        compute_proportional_effect(np.array([cells, [1.0, 1.0, 1.0, 1.0]]))


def test_a_ratio_that_is_nothing_in_a_draw_is_refused():
    with pytest.raises(NotEstimable, match="too few people on the comparison side"):
        compute_proportional_effect(np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 0.0]]))
    with pytest.raises(NotEstimable, match="nought or below in some draws"):
        MeanEffect(1.0, 1.0, np.array([[1.0, 1.0], [0.0, 1.0]])).relative(0.95)


def test_bad_input_is_refused_all_at_once():
    columns = people()
    before = columns.before.copy()
    before[3, 0] = np.nan
    bad = people(before=before, names=("cost", "cost"), after=columns.after[:, :1])
    with pytest.raises(ParameterError) as refused:
        compute_cell_means(bad, replicates=10, rng=np.random.default_rng(0))
    assert {fault.where for fault in refused.value.faults} == {"before", "after", "names"}


def test_few_people_and_separation_are_refused():
    few = people(treated=np.arange(120) < 10)
    with pytest.raises(NotEstimable, match="too few people"):
        compute_cell_means(few, replicates=10, rng=np.random.default_rng(0))
    x = pd.DataFrame({"x": np.arange(120.0)})
    apart = people(treated=np.arange(120) < 60, covariates=x)
    with pytest.raises(NotEstimable, match="x: "):
        compute_cell_means(apart, replicates=10, rng=np.random.default_rng(0))
