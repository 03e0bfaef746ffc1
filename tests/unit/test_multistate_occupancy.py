"""Differences of occupancy between strata and over four cells, with their bootstrap."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.history import EventHistory
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.estimators.survival import occupancy
from evalkit.estimators.survival.multistate import compute_expected_time, estimate_state_probabilities
from evalkit.estimators.survival.multistate_days import DaysOptions, estimate_days_in_state
from evalkit.estimators.survival.multistate_replicates import build_replicate_structure, compute_replicates
from evalkit.estimators.survival.occupancy import (
    OccupancyEffect,
    compute_days_table,
    compute_occupancy_effect,
    compute_occupancy_table,
    estimate_occupancy_difference,
)
from tests.multistate_data import CELLS, TINY_STATES, build, draw_days, four_cells, rows_of_days, tiny_rows

HORIZON = 40


@pytest.fixture(scope="module")
def world() -> tuple[EventHistory, list[np.ndarray]]:
    return four_cells(np.random.default_rng(5), 80, HORIZON)


@pytest.fixture(scope="module")
def effect(world: tuple[EventHistory, list[np.ndarray]]) -> OccupancyEffect:
    return compute_occupancy_effect(world[0], horizon=HORIZON, replicates=300, rng=np.random.default_rng(6))


def estimands(*states: str, scale: str = "days_per_person") -> dict[str, Estimand]:
    window = Window(dt.date(2013, 1, 1), dt.date(2014, 1, 1))
    return {state: Estimand(f"days_{state}", "ATT", "everybody", window, scale) for state in states}


def test_without_censoring_cells_are_plain_shares_and_days_their_means(
    world: tuple[EventHistory, list[np.ndarray]], effect: OccupancyEffect
) -> None:
    shares = np.stack([(days[:, :, None] == np.arange(4)).mean(axis=0) for days in world[1]])
    spent = np.stack([(days[:, :HORIZON, None] == np.arange(4)).sum(axis=1).mean(axis=0) for days in world[1]])
    np.testing.assert_allclose(effect.cells, shares, atol=1e-12)
    np.testing.assert_allclose(effect.cell_days, spent, atol=1e-11)
    change = (shares[0] - shares[1]) - (shares[2] - shares[3])
    np.testing.assert_allclose(effect.difference, change, atol=1e-12)
    np.testing.assert_allclose(effect.counterfactual, shares[1] + shares[2] - shares[3], atol=1e-12)
    np.testing.assert_allclose(effect.observed, shares[0], atol=1e-12)
    assert effect.n_people.tolist() == [80] * 4
    assert effect.times.tolist() == list(range(HORIZON + 1))


def test_states_and_days_add_up(effect: OccupancyEffect) -> None:
    np.testing.assert_allclose(effect.counterfactual.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(effect.draws_difference.sum(axis=2), 0, atol=1e-12)
    np.testing.assert_allclose(effect.days_counterfactual.sum(), HORIZON, atol=1e-10)
    np.testing.assert_allclose(effect.draws_days_counterfactual.sum(axis=1), HORIZON, atol=1e-9)
    np.testing.assert_allclose(effect.draws_days_observed.sum(axis=1), HORIZON, atol=1e-9)


def test_one_replicate_is_the_estimate_on_people_drawn_again() -> None:
    """Whole weights are people repeated: with ties, returns, late entry and censoring."""
    rows = tiny_rows()
    counts = np.array([0, 2, 1, 3, 1, 1, 2, 0, 1, 4])
    again = pd.concat([
        rows[rows["person"] == person].assign(person=100 * person + copy)
        for person, count in enumerate(counts, 1)
        for copy in range(count)
    ])  # fmt: skip
    history, repeated = build(rows), build(again)
    structure = build_replicate_structure(history, history.person, history.weights, 10, start=0.0, horizon=18.0)
    times = np.array([0.0, 3.0, 7.0, 11.5, 18.0])
    occupancy_of, time = compute_replicates(structure, counts[:, None].astype(float), times)
    other = estimate_state_probabilities(repeated, at=times)[0]
    np.testing.assert_allclose(occupancy_of[:, :, 0], other.probability, atol=1e-13)
    np.testing.assert_allclose(time[:, 0], compute_expected_time(repeated, horizon=18.0)[0].time, atol=1e-12)


def test_row_weights_count_as_they_do_in_the_estimate() -> None:
    history = build(tiny_rows(), weights="weight")
    structure = build_replicate_structure(history, history.person, history.weights, 10, start=2.5, horizon=17.0)
    found, time = compute_replicates(structure, np.ones((10, 1)), np.array([2.5, 9.0, 16.5]))
    other = estimate_state_probabilities(history, start=2.5, at=[2.5, 9.0, 16.5])[0]
    np.testing.assert_allclose(found[:, :, 0], other.probability, atol=1e-13)
    assert time.sum() == pytest.approx(14.5, rel=1e-13)


def test_bootstrap_error_is_near_the_jackknifes(effect: OccupancyEffect) -> None:
    """Cells are independent: the error of the change is the root of the sum of the four squared."""
    history = four_cells(np.random.default_rng(5), 80, HORIZON)[0]
    cells = compute_expected_time(history, horizon=HORIZON)
    error = np.sqrt(sum(cell.se**2 for cell in cells))
    np.testing.assert_allclose(effect.draws_days_difference.std(axis=0, ddof=1), error, rtol=0.2)


def test_same_seed_same_draws_in_blocks_of_any_size(
    world: tuple[EventHistory, list[np.ndarray]], effect: OccupancyEffect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occupancy, "_BLOCK", 7 * 4 * 4 * (HORIZON + 1))
    other = compute_occupancy_effect(world[0], horizon=HORIZON, replicates=300, rng=np.random.default_rng(6))
    np.testing.assert_allclose(other.draws_difference, effect.draws_difference, atol=1e-13)


def test_weights_fitted_anew_as_function_and_as_matrix(world: tuple[EventHistory, list[np.ndarray]]) -> None:
    history = world[0]
    own = np.linspace(0.5, 2.0, 320)
    weighted = replace(history, weights=own[history.person])
    seen = []

    def reweight(counts: np.ndarray) -> np.ndarray:
        seen.append(counts)
        return counts * own

    settings = {"horizon": HORIZON, "replicates": 50, "at": [10, 40]}
    plain = compute_occupancy_effect(weighted, rng=np.random.default_rng(3), **settings)
    called = compute_occupancy_effect(weighted, rng=np.random.default_rng(3), reweight=reweight, **settings)
    given = compute_occupancy_effect(
        weighted, rng=np.random.default_rng(9), reweight=np.concatenate(seen) * own, **settings
    )
    for other in (called, given):
        np.testing.assert_allclose(other.draws_difference, plain.draws_difference, atol=1e-12)
        np.testing.assert_allclose(other.draws_days_observed, plain.draws_days_observed, atol=1e-10)
    assert sum(len(one) for one in seen) == 50
    unweighted = compute_occupancy_effect(history, rng=np.random.default_rng(3), **settings)
    assert abs(unweighted.difference - plain.difference).max() > 0.01


def test_weights_of_people_who_were_not_drawn_are_refused(world: tuple[EventHistory, list[np.ndarray]]) -> None:
    settings = {"horizon": HORIZON, "replicates": 5, "rng": np.random.default_rng(1)}
    with pytest.raises(ParameterError, match="not drawn have weight"):
        compute_occupancy_effect(world[0], reweight=np.ones_like, **settings)
    with pytest.raises(ParameterError, match="one weight a replicate and person"):
        compute_occupancy_effect(world[0], reweight=lambda counts: counts[:, :3], **settings)
    with pytest.raises(ParameterError, match="not negative"):
        compute_occupancy_effect(world[0], reweight=lambda counts: -1.0 * counts, **settings)
    with pytest.raises(ParameterError, match=r"\(5, 320\)"):
        compute_occupancy_effect(world[0], reweight=np.ones((4, 320)), **settings)


def test_people_of_two_cells_are_drawn_together() -> None:
    """The same people before and after, with the same days, in both groups: no draw of the change can differ from 0."""
    days = draw_days(np.random.default_rng(4), 30, 20)
    frames = [
        rows_of_days(days, first_person=100 * k).assign(cell=name, human=lambda df: df["person"] % 100)
        for k, name in enumerate(CELLS)
    ]
    history = build(pd.concat(frames), stratum="cell", cluster="human")
    found = compute_occupancy_effect(history, horizon=20, replicates=30, rng=np.random.default_rng(2))
    np.testing.assert_allclose(found.draws_difference, 0, atol=1e-12)
    assert found.draws_observed[:, 10].std(axis=0).max() > 0.01
    apart = estimate_occupancy_difference(history, first=CELLS[0], second=CELLS[1], at=[10], horizon=20)
    np.testing.assert_allclose(apart.se, 0, atol=1e-12)
    np.testing.assert_allclose(apart.days_se, 0, atol=1e-12)


def test_difference_of_two_strata_without_censoring(world: tuple[EventHistory, list[np.ndarray]]) -> None:
    history, days = world
    found = estimate_occupancy_difference(history, first=CELLS[0], second=CELLS[2], at=[5, 40], horizon=HORIZON)
    share = [(one[:, [5, 40], None] == np.arange(4)).mean(axis=0) for one in (days[0], days[2])]
    spent = [(one[:, :HORIZON, None] == np.arange(4)).sum(axis=1) for one in (days[0], days[2])]
    np.testing.assert_allclose(found.difference, share[0] - share[1], atol=1e-12)
    np.testing.assert_allclose(found.se, np.sqrt(sum(p * (1 - p) / 80 for p in share)), atol=1e-12)
    np.testing.assert_allclose(found.days, spent[0].mean(axis=0) - spent[1].mean(axis=0), atol=1e-11)
    np.testing.assert_allclose(found.days_se, np.sqrt(sum(one.var(axis=0) / 80 for one in spent)), rtol=1e-9)
    back = estimate_occupancy_difference(history, first=CELLS[0], second=CELLS[2], at=[40, 5], horizon=HORIZON)
    np.testing.assert_array_equal(back.difference, found.difference[::-1])
    np.testing.assert_array_equal(back.se, found.se[::-1])
    np.testing.assert_array_equal(back.days_se, found.days_se)


def test_points_outside_0_to_1_are_counted() -> None:
    """Nobody of the comparison after, and all of it before, are in a: the counterfactual share of a is below 0."""
    start = {CELLS[0]: 1, CELLS[1]: 1, CELLS[2]: 1, CELLS[3]: 0}
    frames = [
        rows_of_days(np.full((5, 11), state), first_person=10 * k).assign(cell=name)
        for k, (name, state) in enumerate(start.items())
    ]
    found = compute_occupancy_effect(
        build(pd.concat(frames), stratum="cell"), horizon=10, replicates=3, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(found.counterfactual[3], [-1, 2, 0, 0])
    assert found.outside_share == 0.5
    assert found.outside_most == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"cell": ("x", *CELLS[1:])}, "no such stratum"),
        ({"cell": (CELLS[0], *CELLS[:3])}, "four different strata"),
        ({"at": [3, 3]}, "times rise"),
        ({"at": [-1]}, "times rise"),
        ({"at": [HORIZON + 1]}, "times rise"),
        ({"horizon": 0}, "after the start"),
        ({"replicates": 1}, "two or more"),
    ],
)
def test_effect_arguments_that_cannot_be_used(
    world: tuple[EventHistory, list[np.ndarray]], arguments: dict[str, object], says: str
) -> None:
    settings = {"horizon": HORIZON, "replicates": 5, "rng": np.random.default_rng(1)} | arguments
    with pytest.raises(ParameterError, match=says):
        compute_occupancy_effect(world[0], **settings)


def test_people_in_two_cells_under_one_code_are_refused(world: tuple[EventHistory, list[np.ndarray]]) -> None:
    history = replace(world[0], person=world[0].person % 100)
    with pytest.raises(ParameterError, match="some people are in more than one"):
        compute_occupancy_effect(history, horizon=HORIZON, replicates=5, rng=np.random.default_rng(1))


def test_thin_cells_and_short_follow_up_are_not_estimable(world: tuple[EventHistory, list[np.ndarray]]) -> None:
    history = world[0]
    with pytest.raises(NotEstimable, match="nobody is followed to 41"):
        compute_occupancy_effect(history, horizon=HORIZON + 1, replicates=5, rng=np.random.default_rng(1))
    code = history.strata.index(CELLS[0])
    alone = history.person[history.stratum == code][0]
    thin = history.select((history.stratum != code) | (history.person == alone))
    with pytest.raises(NotEstimable, match="leave a cell without anybody"):
        compute_occupancy_effect(thin, horizon=HORIZON, replicates=50, rng=np.random.default_rng(1))


def test_differences_that_cannot_be_had(world: tuple[EventHistory, list[np.ndarray]]) -> None:
    with pytest.raises(ParameterError) as caught:
        estimate_occupancy_difference(world[0], first="x", second=CELLS[0], at=[50], horizon=HORIZON)
    assert len(caught.value.faults) == 2


def test_tables_hold_values_and_intervals(effect: OccupancyEffect) -> None:
    table = compute_occupancy_table(effect, level=0.9)
    row = table[(table["quantity"] == "counterfactual") & (table["time"] == 20) & (table["state"] == "b")].iloc[0]
    assert row["value"] == effect.counterfactual[20, 1]
    draws = effect.draws_counterfactual[:, 20, 1]
    assert [row["lower"], row["upper"]] == pytest.approx(np.quantile(draws, [0.05, 0.95]))
    days = compute_days_table(effect, interval="normal").set_index(["quantity", "state"])
    row = days.loc[("difference", "a")]
    assert row["upper"] - row["value"] == pytest.approx(1.959963985 * effect.draws_days_difference[:, 0].std(ddof=1))
    assert len(table) == 3 * 41 * 4
    with pytest.raises(ParameterError, match="between 0 and 1"):
        compute_days_table(effect, level=95)


def test_days_are_estimates_with_checks(world: tuple[EventHistory, list[np.ndarray]], effect: OccupancyEffect) -> None:
    found = estimate_days_in_state(world[0], effect, estimands("b", "a"), options=DaysOptions(n_areas=4))
    assert [one.estimand.outcome for one in found] == ["days_b", "days_a"]
    days = np.concatenate(world[1])
    for one, state in zip(found, (1, 0), strict=True):
        came = ((days[:, 1:] == state) & (days[:, :-1] != state)).sum() + (days[:, 0] == state).sum()
        assert one.value == effect.days_difference[state]
        assert one.lower < one.value < one.upper
        assert one.n_events == came
        assert one.n_people == (days == state).any(axis=1).sum()
        assert 0 < one.p_value <= 1
        assert {check.name: check.passed for check in one.checks}["area_shocks"] is False
        checks = {check.name: check.value for check in one.checks}
        assert list(checks) == ["cells_with_few", "additive_counterfactual", "lost_to_follow_up", "area_shocks"]
        assert np.isnan(checks["lost_to_follow_up"])
    normal = estimate_days_in_state(world[0], effect, estimands("b"), options=DaysOptions(interval="normal"))[0]
    assert normal.upper - normal.value == pytest.approx(normal.value - normal.lower)


def test_people_who_are_lost_are_told(world: tuple[EventHistory, list[np.ndarray]]) -> None:
    """Everybody of a cell from the 20th person on is seen for ten days only: 60 of 80, but for those who died."""
    history, days = world
    code = history.strata.index(CELLS[1])
    late = (history.stratum == code) & (history.person % 80 >= 20)
    kept = history.select(~late | (history.start < 10))
    cut = (kept.stratum == code) & (kept.person % 80 >= 20) & (kept.stop > 10)
    short = replace(kept, stop=np.where(cut, 10.0, kept.stop), to_state=np.where(cut, -1, kept.to_state))
    found = compute_occupancy_effect(short, horizon=HORIZON, replicates=10, rng=np.random.default_rng(1))
    one = estimate_days_in_state(short, found, estimands("a"))[0]
    lost = (days[1][20:, 10] != 3).sum() / (days[1][:, 0] != 3).sum()
    assert {check.name: check.value for check in one.checks}["lost_to_follow_up"] == pytest.approx(lost)


def test_a_state_with_few_arrivals_is_refused_without_the_count() -> None:
    history, days = four_cells(np.random.default_rng(8), 15, 30)
    assert sum((one == 3).any(axis=1).sum() for one in days) in range(1, 10)
    found = compute_occupancy_effect(history, horizon=30, replicates=20, rng=np.random.default_rng(1))
    refused, shown = estimate_days_in_state(history, found, estimands("d", "a"))
    assert refused.status == "not_estimable"
    assert np.isnan(refused.value)
    assert np.isnan(refused.n_events)
    assert 'Fewer than 10 people were in "d"' in refused.reason
    assert shown.status == "shown"


def test_thin_cells_refuse_all_states() -> None:
    history, _ = four_cells(np.random.default_rng(8), 8, 30)
    found = compute_occupancy_effect(history, horizon=30, replicates=20, rng=np.random.default_rng(1))
    refused = estimate_days_in_state(history, found, estimands("a"))[0]
    assert refused.status == "not_estimable"
    assert refused.reason.startswith("Fewer than 10 people: treated after")


def test_estimands_that_do_not_fit_are_refused_together(
    world: tuple[EventHistory, list[np.ndarray]], effect: OccupancyEffect
) -> None:
    with pytest.raises(ParameterError) as caught:
        estimate_days_in_state(world[0], effect, estimands("e") | estimands("a", scale="risk_difference"))
    assert len(caught.value.faults) == 2
    other = replace(world[0], states=("w", *TINY_STATES[1:]))
    with pytest.raises(ParameterError, match="not those of the history"):
        estimate_days_in_state(other, effect, {})
