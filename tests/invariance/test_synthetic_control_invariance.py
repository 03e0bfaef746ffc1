"""What must not matter to a synthetic control: common shocks, levels, units of measurement, names and order."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.estimators.area.contrasts import Counterfactual, Design
from evalkit.estimators.area.predictors import build_predictor_design
from evalkit.estimators.area.synthetic_control import (
    difference_in_differences,
    ridge_augmented,
    synthetic_control,
    synthetic_did,
)

UNITS, PERIODS, FIRST = 14, 22, 12
DESIGNS: dict[str, Design] = {
    "did": difference_in_differences,
    "synthetic_control": synthetic_control,
    "ridge_augmented": ridge_augmented,
    "synthetic_did": synthetic_did,
}


def outcomes(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    paths = np.cumsum(rng.normal(size=(3, PERIODS)), axis=1)
    values = 40 + rng.uniform(0.2, 1, (UNITS, 3)) @ paths + rng.normal(0, 0.4, (UNITS, PERIODS))
    values[0, FIRST:] += 3
    return values


def run(design: Design, values: np.ndarray, *, treated: tuple[int, ...] = (0,)) -> Counterfactual:
    places = np.isin(np.arange(values.shape[-2]), treated)[None]
    return design(values, treated=places, donors=~places, first=FIRST)


@pytest.mark.parametrize("name", ["did", "synthetic_control", "ridge_augmented"])
def test_a_shock_common_to_all_units_changes_nothing(name: str) -> None:
    values = outcomes()
    shock = np.random.default_rng(9).normal(0, 5, PERIODS)
    before, after = run(DESIGNS[name], values), run(DESIGNS[name], values + shock)
    np.testing.assert_allclose(after.gap, before.gap, atol=1e-9)
    np.testing.assert_allclose(after.unit_weights, before.unit_weights, atol=1e-9)


def test_a_common_trend_changes_nothing_in_synthetic_did() -> None:
    """A straight one, that is: any other shock adds to the noise level, and so to the published penalty."""
    values = outcomes()
    before, after = run(synthetic_did, values), run(synthetic_did, values + 4 * np.arange(PERIODS))
    np.testing.assert_allclose(after.gap, before.gap, atol=1e-7)
    np.testing.assert_allclose(after.unit_weights, before.unit_weights, atol=1e-8)
    np.testing.assert_allclose(after.time_weights, before.time_weights, atol=1e-7)


def test_shocks_after_adoption_change_nothing_in_synthetic_did() -> None:
    values = outcomes()
    shock = np.where(np.arange(PERIODS) < FIRST, 0.0, np.random.default_rng(9).normal(0, 5, PERIODS))
    before, after = run(synthetic_did, values), run(synthetic_did, values + shock)
    np.testing.assert_allclose(after.unit_weights, before.unit_weights, atol=1e-9)
    np.testing.assert_allclose(after.gap, before.gap, atol=1e-7)


@pytest.mark.parametrize("name", ["did", "synthetic_did"])
def test_levels_of_units_change_nothing_where_levels_are_differenced(name: str) -> None:
    values = outcomes()
    levels = np.random.default_rng(8).normal(0, 30, (UNITS, 1))
    before, after = run(DESIGNS[name], values), run(DESIGNS[name], values + levels)
    np.testing.assert_allclose(after.effect, before.effect, atol=1e-8)
    np.testing.assert_allclose(after.time_weights, before.time_weights, atol=1e-7)


@pytest.mark.parametrize("name", ["synthetic_control", "ridge_augmented"])
def test_levels_of_units_do_matter_where_they_are_not(name: str) -> None:
    values = outcomes()
    levels = np.random.default_rng(8).normal(0, 30, (UNITS, 1))
    apart = run(DESIGNS[name], values + levels).unit_weights - run(DESIGNS[name], values).unit_weights
    assert np.abs(apart).max() > 0.1


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("factor", [1e-6, -1.0, 1e5])
def test_units_of_measurement_scale_the_effect(name: str, factor: float) -> None:
    values = outcomes()
    before, after = run(DESIGNS[name], values), run(DESIGNS[name], factor * values)
    np.testing.assert_allclose(after.effect, factor * before.effect, rtol=1e-7)
    np.testing.assert_allclose(after.unit_weights, before.unit_weights, atol=1e-7)


@pytest.mark.parametrize("name", DESIGNS)
def test_the_order_of_units_does_not_matter(name: str) -> None:
    values = outcomes()
    order = np.random.default_rng(7).permutation(UNITS)
    before = run(DESIGNS[name], values)
    after = run(DESIGNS[name], values[order], treated=(int(np.flatnonzero(order == 0)[0]),))
    np.testing.assert_allclose(after.effect, before.effect, atol=1e-9)
    np.testing.assert_allclose(after.unit_weights, before.unit_weights[:, order], atol=1e-8)


@pytest.mark.parametrize("name", DESIGNS)
def test_an_effect_moves_the_estimate_by_itself(name: str) -> None:
    values = outcomes()
    more = values.copy()
    more[0, FIRST:] += 7
    assert (run(DESIGNS[name], more).effect - run(DESIGNS[name], values).effect)[0] == pytest.approx(7, abs=1e-9)


@pytest.mark.parametrize("name", DESIGNS)
def test_a_second_copy_of_every_donor_changes_no_effect_of_the_exact_weights(name: str) -> None:
    """The tie rule shares weight among copies; ridge and noise levels see more donors, so only SC and DiD stay."""
    values = outcomes()
    twice = np.vstack([values, values[1:]])
    before, after = run(DESIGNS[name], values), run(DESIGNS[name], twice)
    if name in ("did", "synthetic_control"):
        np.testing.assert_allclose(after.effect, before.effect, atol=1e-8)
    weights = after.unit_weights[0]
    np.testing.assert_allclose(weights[1:UNITS], weights[UNITS:], atol=1e-7)


@pytest.mark.parametrize("importance", ["regression", "optimised", (0.5, 0.3, 0.2)])
def test_units_and_zero_points_of_predictors_do_not_matter(importance: object) -> None:
    values = outcomes()
    predictors = np.column_stack([values[:, :4].mean(axis=1), values[:, 4:8].mean(axis=1), values[:, 8:12].std(axis=1)])
    before = run(build_predictor_design(predictors, importance=importance), values)
    moved = predictors * np.array([100.0, 1e-3, 2.0]) + np.array([5.0, -2.0, 1.0])
    after = run(build_predictor_design(moved, importance=importance), values)
    np.testing.assert_allclose(after.gap, before.gap, atol=1e-4 if importance == "optimised" else 1e-7)


@pytest.mark.parametrize("importance", ["regression", "optimised", (0.5, 0.3, 0.2)])
def test_the_order_of_units_does_not_matter_with_predictors(importance: object) -> None:
    values = outcomes()
    predictors = np.column_stack([values[:, :4].mean(axis=1), values[:, 4:8].mean(axis=1), values[:, 8:12].std(axis=1)])
    order = np.random.default_rng(6).permutation(UNITS)
    before = run(build_predictor_design(predictors, importance=importance), values)
    after = run(
        build_predictor_design(predictors[order], importance=importance),
        values[order],
        treated=(int(np.flatnonzero(order == 0)[0]),),
    )
    np.testing.assert_allclose(after.gap, before.gap, atol=1e-4 if importance == "optimised" else 1e-7)
