"""Weights of units, periods and predictors: the one estimator and its oracles."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from evalkit.core.errors import ParameterError
from evalkit.estimators.area.contrasts import Counterfactual
from evalkit.estimators.area.predictors import build_predictor_design
from evalkit.estimators.area.synthetic_control import (
    SyntheticControlOptions,
    average_predictors,
    compute_paths,
    difference_in_differences,
    ridge_augmented,
    synthetic_control,
    synthetic_did,
)
from evalkit.estimators.area.synthetic_weights import build_counterfactual, build_ridge_augmented, read_outcomes
from tests.factor_panels import make_panel, make_predictors, make_values, one

DESIGNS = (difference_in_differences, synthetic_control, ridge_augmented, synthetic_did)


# ---- weights of one estimator ----------------------------------------------------------------------


def test_the_effect_is_the_weighted_double_difference() -> None:
    rng = np.random.default_rng(1)
    values, units, times = rng.normal(size=(5, 9)), rng.dirichlet(np.ones(4), 1), rng.dirichlet(np.ones(6), 1)
    weights = np.column_stack([[0.0], units])
    outcomes = read_outcomes(values, **one(values), first=6)
    paths = build_counterfactual(outcomes, first=6, unit_weights=weights, time_weights=times)
    gap = values[0] - units[0] @ values[1:]
    assert paths.effect[0] == pytest.approx(gap[6:].mean() - times[0] @ gap[:6], abs=1e-12)


def test_did_is_the_difference_of_four_means() -> None:
    values = make_values()
    paths = difference_in_differences(values, **one(values), first=12)
    own, rest = values[0], values[1:].mean(axis=0)
    by_hand = (own[12:].mean() - own[:12].mean()) - (rest[12:].mean() - rest[:12].mean())
    assert paths.effect[0] == pytest.approx(by_hand, abs=1e-12)


# Synthetic DiD pays for its penalty with bias here, where factors and not noise make the first differences large.
@pytest.mark.parametrize(
    ("design", "error"), [(synthetic_control, 0.25), (ridge_augmented, 0.25), (synthetic_did, 0.75)]
)
def test_a_known_effect_comes_back(design: object, error: float) -> None:
    values = make_values(effect=5.0)
    assert design(values, **one(values), first=12).effect[0] == pytest.approx(5, abs=error)


def test_a_mixture_without_noise_is_found_exactly() -> None:
    values = np.random.default_rng(2).normal(size=(6, 20))
    values[0] = 0.7 * values[2] + 0.3 * values[4]
    values[0, 15:] -= 2
    paths = synthetic_control(values, **one(values), first=15)
    assert paths.effect[0] == pytest.approx(-2, abs=1e-9)
    np.testing.assert_allclose(paths.unit_weights[0], [0, 0, 0.7, 0, 0.3, 0], atol=1e-9)


@pytest.mark.parametrize("design", DESIGNS)
def test_all_assignments_at_once_are_each_alone(design: object) -> None:
    values = make_values(units=8)
    treated = np.eye(8, dtype=bool)
    donors = ~treated
    donors[1:, 0] = False
    together = design(values, treated=treated, donors=donors, first=12)
    stacked = design(np.tile(values, (8, 1, 1)), treated=treated, donors=donors, first=12)
    np.testing.assert_allclose(stacked.expected, together.expected, atol=1e-8)
    for a in range(8):
        alone = design(values, treated=treated[a : a + 1], donors=donors[a : a + 1], first=12)
        np.testing.assert_allclose(alone.expected[0], together.expected[a], atol=1e-8)
        np.testing.assert_allclose(alone.unit_weights[0], together.unit_weights[a], atol=1e-8)


@pytest.mark.parametrize("design", DESIGNS)
def test_units_that_are_neither_treated_nor_donors_are_not_read(design: object) -> None:
    values = make_values(units=8)
    arguments = one(values)
    arguments["donors"][:, 3] = False
    spoilt = values.copy()
    spoilt[3] = np.nan
    np.testing.assert_allclose(
        design(spoilt, **arguments, first=12).expected, design(values, **arguments, first=12).expected, atol=1e-9
    )


@pytest.mark.parametrize("design", DESIGNS)
def test_weights_do_not_look_at_the_treated_after_adoption(design: object) -> None:
    values = make_values()
    other = values.copy()
    other[0, 12:] = np.random.default_rng(3).normal(0, 100, 8)
    for name in ("unit_weights", "time_weights", "expected"):
        first, second = (getattr(design(v, **one(v), first=12), name) for v in (values, other))
        np.testing.assert_allclose(second, first, atol=1e-10)


def test_synthetic_did_weights_against_a_general_solver() -> None:
    values = make_values(units=8, periods=14, first=9, seed=4)
    paths = synthetic_did(values, **one(values), first=9)
    noise = np.diff(values[1:, :9], axis=1).std(ddof=1)

    def solve(a: np.ndarray, b: np.ndarray, zeta: float) -> np.ndarray:
        width = a.shape[1]

        def loss(x: np.ndarray) -> float:
            return float(((x[0] + a @ x[1:] - b) ** 2).sum() + zeta**2 * len(b) * (x[1:] ** 2).sum())

        found = optimize.minimize(
            loss, np.append(0.0, np.full(width, 1 / width)), method="SLSQP", bounds=[(None, None), *[(0, 1)] * width],
            constraints={"type": "eq", "fun": lambda x: x[1:].sum() - 1}, options={"ftol": 1e-15, "maxiter": 2000},
        )  # fmt: skip
        return found.x[1:]

    units = solve(values[1:, :9].T, values[0, :9], 5**0.25 * noise)
    times = solve(values[1:, :9], values[1:, 9:].mean(axis=1), 1e-6 * noise)
    np.testing.assert_allclose(paths.unit_weights[0, 1:], units, atol=1e-4)
    gap = [values[1:, :9] @ w for w in (paths.time_weights[0], times)]
    aim = values[1:, 9:].mean(axis=1)
    assert np.var(gap[0] - aim) <= np.var(gap[1] - aim) + 1e-9


# ---- ridge augmentation ----------------------------------------------------------------------------


def centred(values: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
    mean = values[1:, :first].mean(axis=0)
    return values[1:, :first] - mean, values[0, :first] - mean


@pytest.mark.parametrize("units", [8, 16])  # fewer and more than the periods before
@pytest.mark.parametrize("ridge", [0.1, 10.0, 1000.0])
def test_ridge_weights_are_those_of_the_closed_form(ridge: float, units: int) -> None:
    """Ben-Michael, Feller and Rothstein 2021, eq. 13, and the same as a bias correction, eq. 9."""
    values = make_values(seed=5, units=units)
    plain = synthetic_control(values, **one(values), first=12)
    donors, own = centred(values, 12)
    w = plain.unit_weights[0, 1:]
    added = (own - w @ donors) @ np.linalg.solve(donors.T @ donors + ridge * np.eye(12), donors.T)
    paths = build_ridge_augmented(ridge)(values, **one(values), first=12)
    np.testing.assert_allclose(paths.unit_weights[0, 1:], w + added, atol=1e-9)
    after = values[1:, 12:].mean(axis=1)
    slopes = np.linalg.solve(donors.T @ donors + ridge * np.eye(12), donors.T @ (after - after.mean()))
    corrected = plain.effect[0] - (own @ slopes - w @ (donors @ slopes))
    assert paths.effect[0] == pytest.approx(corrected, abs=1e-9)


def test_a_large_ridge_leaves_the_synthetic_control() -> None:
    values = make_values(seed=5)
    paths = build_ridge_augmented(1e15)(values, **one(values), first=12)
    np.testing.assert_allclose(
        paths.unit_weights, synthetic_control(values, **one(values), first=12).unit_weights, atol=1e-8
    )


@pytest.mark.parametrize("units", [8, 16])
def test_the_cross_validated_ridge_is_the_one_found_by_brute_force(units: int) -> None:
    values = make_values(seed=6, units=units)
    donors, own = centred(values, 12)
    grid = np.linalg.svd(donors, compute_uv=False)[0] ** 2 * 10.0 ** (-8 * np.arange(21) / 20)
    errors = np.empty((11, 21))
    for out in range(11):
        kept = np.delete(np.arange(12), out)
        short = np.vstack([own[kept], donors[:, kept]])
        w = synthetic_control(np.column_stack([short, short[:, :1]]), **one(short), first=11).unit_weights[0, 1:]
        x = donors[:, kept]
        for g, ridge in enumerate(grid):
            full = w + (own[kept] - w @ x) @ np.linalg.solve(x.T @ x + ridge * np.eye(11), x.T)
            errors[out, g] = (own[out] - full @ donors[:, out]) ** 2
    mean, se = errors.mean(axis=0), errors.std(axis=0, ddof=1) / np.sqrt(11)
    ridge = grid[mean <= mean.min() + se[mean.argmin()]].max()
    np.testing.assert_allclose(
        ridge_augmented(values, **one(values), first=12).unit_weights,
        build_ridge_augmented(ridge)(values, **one(values), first=12).unit_weights,
        atol=1e-8,
    )


def test_a_long_series_makes_no_large_eigenproblem(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each period left out costs one of the size of donors or periods, whichever is less; 249 would take a minute."""
    sizes, plain = [], np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: (sizes.append(a.shape[-1]), plain(a))[1])
    values = np.random.default_rng(0).normal(50, 5, (9, 80))
    ridge_augmented(values, **one(values), first=60)
    assert len(sizes) >= 59
    assert max(sizes) == 9


# ---- predictors ------------------------------------------------------------------------------------


def test_optimised_importance_is_no_worse_than_a_simplex_search() -> None:
    values = make_values(seed=7)
    predictors = make_predictors(values)

    def loss(logs: np.ndarray) -> float:
        share = np.maximum(np.exp(logs - logs.max()), 1e-6)
        design = build_predictor_design(predictors, importance=tuple(share))
        return float(design(values, **one(values), first=12).pre_rmspe[0] ** 2)

    peers = [optimize.minimize(loss, start, method="Nelder-Mead", options={"maxiter": 200}).fun
             for start in np.random.default_rng(0).normal(0, 2, (4, 3))]  # fmt: skip
    best = build_predictor_design(predictors)(values, **one(values), first=12).pre_rmspe[0] ** 2
    even = build_predictor_design(predictors, importance=(1, 1, 1))(values, **one(values), first=12).pre_rmspe[0] ** 2
    assert best <= min(peers) * (1 + 1e-3)
    assert best <= even


def test_optimised_importance_is_the_same_every_time() -> None:
    values = make_values(seed=7)
    predictors = make_predictors(values)
    twice = [build_predictor_design(predictors)(values, **one(values), first=12).unit_weights for _ in range(2)]
    np.testing.assert_array_equal(twice[0], twice[1])


def test_a_design_with_predictors_forgets_other_outcomes() -> None:
    values = make_values(seed=7)
    design = build_predictor_design(make_predictors(values))
    design(values, **one(values), first=12)
    other = values[:, ::-1].copy()
    fresh = build_predictor_design(make_predictors(values))(other, **one(values), first=12)
    np.testing.assert_array_equal(design(other, **one(values), first=12).expected, fresh.expected)


def make_frame() -> pd.DataFrame:
    rows = [(u, t, 10.0 * u + t, float(u) if t % 2 else np.nan) for u in range(4) for t in range(6)]
    return pd.DataFrame(rows, columns=["unit", "year", "x", "biennial"])


def test_predictors_are_means_over_windows() -> None:
    windows = {"early": ("x", 0, 3), "odd": ("biennial", 0, 6)}
    found = average_predictors(make_frame(), unit="unit", period="year", windows=windows)
    assert found["early"].tolist() == [1.0, 11.0, 21.0, 31.0]
    assert found["odd"].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_predictors_that_cannot_be_averaged_are_named_all_at_once() -> None:
    frame = make_frame()
    frame.loc[1, "x"] = np.nan
    with pytest.raises(ParameterError) as caught:
        average_predictors(frame, unit="unit", period="year", windows={"a": ("x", 0, 3), "b": ("x", 90, 99)})
    assert len(caught.value.faults) == 2
    with pytest.raises(ParameterError, match='no column "z"'):
        average_predictors(frame, unit="unit", period="year", windows={"a": ("z", 0, 3)})
    with pytest.raises(ParameterError, match="more than once"):
        average_predictors(pd.concat([frame, frame]), unit="unit", period="year", windows={"a": ("x", 0, 3)})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p.iloc[1:], "have no row"),
        (lambda p: p.assign(a=1.0), "the same in all units"),
        (lambda p: p.assign(a=np.nan), "missing or infinite"),
        (lambda p: pd.concat([p, p]), "more than one row"),
        (lambda p: p[[]], "no column"),
    ],
)
def test_predictors_that_do_not_fit_are_refused(spoil: object, words: str) -> None:
    panel = make_panel(make_values())
    good = pd.DataFrame(make_predictors(panel.values), index=panel.units, columns=["a", "b", "c"])
    with pytest.raises(ParameterError, match=words):
        compute_paths(panel, options=SyntheticControlOptions(predictors=spoil(good)))


@pytest.mark.parametrize("importance", [(1.0, 2.0), (1.0, -1.0, 1.0), (0.0, 0.0, 0.0), (1.0, math.nan, 1.0)])
def test_importance_that_does_not_fit_is_refused(importance: tuple[float, ...]) -> None:
    panel = make_panel(make_values())
    good = pd.DataFrame(make_predictors(panel.values), index=panel.units)
    with pytest.raises(ParameterError, match="importance"):
        compute_paths(panel, options=SyntheticControlOptions(predictors=good, importance=importance))


# ---- what designs refuse and return -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a | {"donors": a["donors"] | a["treated"]}, "both treated and a donor"),
        (lambda a: a | {"donors": a["donors"] & False}, "no donor"),
        (lambda a: a | {"treated": a["treated"] & False}, "no treated unit"),
        (lambda a: a | {"first": 0}, "first treated period"),
        (lambda a: a | {"donors": a["donors"][:, :3]}, "do not fit"),
    ],
)
def test_designs_check_their_arguments(change: object, words: str) -> None:
    values = make_values()
    with pytest.raises(ParameterError, match=words):
        synthetic_control(values, **change(one(values) | {"first": 12}))


def test_designs_refuse_missing_values_that_they_need() -> None:
    values = make_values()
    values[2, 3] = np.nan
    with pytest.raises(ParameterError, match="missing or infinite"):
        synthetic_did(values, **one(values), first=12)


def test_paths_are_what_every_design_returns() -> None:
    values = make_values()
    for design in DESIGNS:
        paths = design(values, **one(values), first=12)
        assert isinstance(paths, Counterfactual)
        assert paths.unit_weights.shape == (1, 16)
        assert paths.time_weights.shape == (1, 12)
