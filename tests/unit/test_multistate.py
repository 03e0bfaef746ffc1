"""Counts of moves, probabilities of states and time in them, with their errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.survival.multistate import (
    compute_expected_time,
    count_transitions,
    estimate_state_probabilities,
)
from evalkit.estimators.survival.multistate_fit import StateOptions, fit_states, walk_fit
from tests.multistate_data import TINY_STATES, build, draw_days, rows_of_days, tiny_rows

# R 4.2, survival 3.5-3: survfit(Surv(start, stop, event) ~ 1, id, istate, weights, p0 = c(1, 0, 0, 0)) at 7, 12, 18,
# 15 digits.
R_PROBABILITY = [
    [0.4543859649122807, 0.1970680124969959, 0.290867579908676, 0.0576784426820476],
    [0.4407507658691683, 0.2714235943050924, 0.138990866659116, 0.1488347731666231],
    [0.0667804190710861, 0.0904745314350308, 0.426788600042916, 0.4159564494509675],
]
R_ERROR = [
    [0.2282287619111841, 0.165135789533783, 0.184423603147963, 0.0580530913129136],
    [0.2038549431475088, 0.166515656215811, 0.150957025527964, 0.1383583335857086],
    [0.0644174846264742, 0.107890257592717, 0.187602165927892, 0.2012090658846352],
]
R_TIME = [9.17337526162017, 3.17411899713485, 3.66973985998197, 1.98276588126301]
# The same without weights, p0 = c(.25, .75, 0, 0), at 16.
R_MIXED = [0.0995370370370371, 0.12037037037037, 0.416666666666667, 0.363425925925926]
R_MIXED_ERROR = [0.102159979034049, 0.113006102761273, 0.160708842201017, 0.156062861056867]


def test_weights_and_late_entry_equal_r() -> None:
    history = build(tiny_rows(), weights="weight")
    found = estimate_state_probabilities(history, at=[7, 12, 18], initial="a")[0]
    np.testing.assert_allclose(found.probability, R_PROBABILITY, rtol=1e-12)
    np.testing.assert_allclose(found.se, R_ERROR, rtol=1e-12)
    np.testing.assert_allclose(compute_expected_time(history, horizon=18, initial="a")[0].time, R_TIME, rtol=1e-12)
    mixed = estimate_state_probabilities(build(tiny_rows()), at=[16], initial=[0.25, 0.75, 0, 0])[0]
    np.testing.assert_allclose(mixed.probability[0], R_MIXED, rtol=1e-12)
    np.testing.assert_allclose(mixed.se[0], R_MIXED_ERROR, rtol=1e-12)


def test_without_censoring_it_is_the_plain_share_with_its_binomial_error() -> None:
    """Shares at the start are estimated too; R's survfit (3.5-3) takes them as known, as we do where they are given."""
    days = draw_days(np.random.default_rng(1), 60, 50)
    found = estimate_state_probabilities(build(rows_of_days(days)), at=np.arange(51))[0]
    share = (days[:, :, None] == np.arange(4)).mean(axis=0)
    np.testing.assert_allclose(found.probability, share, atol=1e-12)
    np.testing.assert_allclose(found.se, np.sqrt(share * (1 - share) / 60), atol=1e-12)
    assert found.unseen.max() == 0
    given = estimate_state_probabilities(build(rows_of_days(days)), at=[0, 25], initial=share[0])[0]
    assert (given.se[0] == 0).all()
    assert (given.se[1] != found.se[25]).all()


def test_without_censoring_expected_time_is_the_mean_with_its_error() -> None:
    days = draw_days(np.random.default_rng(2), 60, 50)
    found = compute_expected_time(build(rows_of_days(days)), horizon=50)[0]
    spent = (days[:, :50, None] == np.arange(4)).sum(axis=1)
    np.testing.assert_allclose(found.time, spent.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.se, spent.std(axis=0) / np.sqrt(60), rtol=1e-10)


def test_influence_is_the_derivative_in_the_weights() -> None:
    """Central differences of the estimate in each cluster's weight; clusters of two people, late entry, given times."""
    history = build(tiny_rows(), weights="weight", cluster="pair")
    step = 1e-5
    for initial in (None, "b"):
        at, until = (one.copy() for one in walk_fit(
            fit_states(history, None, start=0.0, initial=initial), np.array([13.0]), 17.0
        ))  # fmt: skip
        for cluster in range(5):
            moved = []
            for sign in (1, -1):
                weights = np.where(history.cluster == cluster, 1 + sign * step, 1.0) * history.weights
                other = replace(history, weights=weights)
                moved.append((
                    estimate_state_probabilities(other, at=[13.0], initial=initial)[0].probability[0],
                    compute_expected_time(other, horizon=17.0, initial=initial)[0].time,
                ))  # fmt: skip
            np.testing.assert_allclose(at[cluster], (moved[0][0] - moved[1][0]) / (2 * step), atol=1e-8)
            np.testing.assert_allclose(until[cluster], (moved[0][1] - moved[1][1]) / (2 * step), atol=1e-7)


def test_time_in_states_adds_up_to_the_horizon_and_is_the_area_under_the_curve() -> None:
    history = build(tiny_rows(), weights="weight")
    time = compute_expected_time(history, start=3.0, horizon=17.5, initial="c")[0].time
    assert time.sum() == pytest.approx(14.5, rel=1e-13)
    curve = estimate_state_probabilities(history, start=3.0, initial="c")[0]
    inside = curve.times < 17.5
    width = np.diff(np.append(curve.times[inside], 17.5))
    np.testing.assert_allclose(time, width @ curve.probability[inside], rtol=1e-12)


def test_greenwood_of_one_move_is_greenwoods_formula() -> None:
    """Alive or dead: the classical formula by hand, 6 people, deaths at 1, 3 and 3, lost at 2, 4 and 5."""
    rows = tiny_rows().head(6).assign(
        person=range(6), start=0, stop=[1, 3, 3, 2, 4, 5], origin="a", target=["d", "d", "d", "", "", ""]
    )  # fmt: skip
    survival = (5 / 6) * (2 / 4)
    error = survival * np.sqrt(1 / (6 * 5) + 2 / (4 * 2))
    found = estimate_state_probabilities(build(rows), at=[4.0], initial="a", options=StateOptions(errors="greenwood"))
    assert found[0].probability[0, 0] == pytest.approx(survival, rel=1e-14)
    assert found[0].se[0, 0] == pytest.approx(error, rel=1e-14)
    aalen = estimate_state_probabilities(build(rows), at=[4.0], initial="a", options=StateOptions(errors="aalen"))
    assert aalen[0].se[0, 0] != pytest.approx(error, rel=1e-3)


def test_landmarking_takes_those_who_are_there() -> None:
    """Who arrived in b lately leaves it fast: a non-Markov world in which only landmarking is right."""
    fresh = np.array([[0] * 5 + [1] * 2 + [2] * 14] * 20)
    settled = np.array([[1] * 21] * 20)
    later = np.array([[0] * 11 + [1] * 2 + [2] * 8] * 20)
    history = build(rows_of_days(np.concatenate([fresh, settled, later])))
    truth = np.array([0.0, 0.5, 0.5, 0.0])  # of those in b on day 6, half stay for good
    landmark, markov = (
        estimate_state_probabilities(
            history, start=6.0, at=[14.0], initial="b", options=StateOptions(dependence=dependence)
        )[0].probability[0]
        for dependence in ("landmark", "markov")
    )
    np.testing.assert_allclose(landmark, truth, atol=1e-12)
    assert abs(markov - truth).max() > 0.1
    occupancy = estimate_state_probabilities(history, at=[14.0])[0].probability[0]
    np.testing.assert_allclose(occupancy, [0, 1 / 3, 2 / 3, 0], atol=1e-12)


def test_transitions_are_counted_by_stays() -> None:
    counts = count_transitions(build(tiny_rows())).set_index(["from_state", "to_state"])
    assert counts.loc[("a", "b"), "count"] == 3
    assert counts.loc[("a", "c"), "count"] == 3
    assert counts.loc[("b", "d"), "people"] == 2
    assert counts.loc[("a", "no event"), "count"] == 2
    assert counts.loc[("a", "total entering"), "count"] == 9
    assert counts.loc[("d", "no event"), "count"] == 3
    assert counts.loc[("d", "total entering"), "people"] == 3
    time = 4 + 11 + 4 + 3 + 7 + 5 + 5 + 12 + 6
    assert counts.loc[("a", "b"), "person_time"] == time
    assert counts.loc[("a", "b"), "rate_per_1000_days"] == pytest.approx(3000 / time)
    assert np.isnan(counts.loc[("d", "a"), "rate_per_1000_days"])
    assert np.isnan(counts.loc[("a", "no event"), "rate_per_1000_days"])


def test_strata_are_estimated_apart() -> None:
    rows = tiny_rows().assign(side=np.where(tiny_rows()["person"] > 5, "right", "left"))
    both = estimate_state_probabilities(build(rows, stratum="side"), at=[9.0])
    assert [one.stratum for one in both] == ["left", "right"]
    alone = estimate_state_probabilities(build(rows[rows["side"] == "right"]), at=[9.0])[0]
    np.testing.assert_array_equal(both[1].probability, alone.probability)
    assert both[1].n_people == 5
    table = count_transitions(build(rows, stratum="side"))
    assert list(table["stratum"].unique()) == ["left", "right"]


def test_times_by_default_are_the_start_and_every_move() -> None:
    found = estimate_state_probabilities(build(tiny_rows()))[0]
    assert found.times.tolist() == [0, 4, 7, 9, 12, 14, 15, 16]
    assert found.probability[0].tolist() == pytest.approx([4 / 7, 3 / 7, 0, 0])
    assert found.at_risk[0].tolist() == [4, 3, 0, 0]
    assert found.at_risk[1].tolist() == [6, 4, 0, 0]
    np.testing.assert_allclose(found.probability.sum(axis=1), 1, atol=1e-14)
    assert found.n_moves == 16


def test_probability_in_a_state_that_nobody_is_seen_in_is_told() -> None:
    rows = tiny_rows()[lambda df: df["person"].isin([1, 7])]
    found = estimate_state_probabilities(build(rows, absorbing=()), at=[8.0, 15.0], initial="b")[0]
    assert found.unseen.tolist() == [0.0, 0.0]
    late = estimate_state_probabilities(build(rows), start=10.0, at=[15.0], initial="b")[0]
    assert late.unseen.tolist() == [1.0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"initial": "A"}, "not a state"),
        ({"initial": [0.5, 0.6, 0, 0]}, "adds up to 1"),
        ({"initial": [1.0, 0, 0]}, "one share a state"),
        ({"start": 5.0, "at": [4.0]}, "not before the start"),
        ({"at": []}, "finite"),
        ({"at": [np.nan]}, "finite"),
        ({"options": StateOptions(dependence="landmark")}, "landmarking needs the state"),
        ({"options": StateOptions(errors="greenwood")}, "without weights or clusters"),
    ],
)
def test_arguments_that_cannot_be_used(arguments: dict[str, object], says: str) -> None:
    history = build(tiny_rows(), weights="weight")
    with pytest.raises(ParameterError, match=says):
        estimate_state_probabilities(history, **({"at": [9.0]} | arguments))


def test_all_faults_at_once() -> None:
    with pytest.raises(ParameterError) as caught:
        estimate_state_probabilities(build(tiny_rows()), start=5.0, at=[4.0], initial="z")
    assert len(caught.value.faults) == 2


def test_nobody_at_the_start_and_nobody_at_the_end() -> None:
    history = build(tiny_rows())
    with pytest.raises(NotEstimable, match="nobody is under observation"):
        estimate_state_probabilities(history, start=30.0, at=[31.0])
    with pytest.raises(NotEstimable, match="followed to 22"):
        estimate_state_probabilities(history, at=[22.0])
    with pytest.raises(NotEstimable, match="followed to 22"):
        compute_expected_time(history, horizon=22.0)
    with pytest.raises(NotEstimable, match='nobody is in "c"'):
        estimate_state_probabilities(
            history, start=3.0, at=[9.0], initial="c", options=StateOptions(dependence="landmark")
        )


def test_time_in_states_has_the_jackknifes_errors_only() -> None:
    with pytest.raises(ParameterError, match="jackknife"):
        compute_expected_time(build(tiny_rows()), horizon=9.0, options=StateOptions(errors="aalen"))


def test_states_keep_their_order() -> None:
    assert estimate_state_probabilities(build(tiny_rows()), at=[9.0])[0].states == TINY_STATES


def test_times_may_come_in_any_order_and_twice() -> None:
    history = build(tiny_rows(), weights="weight")
    sorted_ = estimate_state_probabilities(history, at=[0.0, 4.0, 9.0, 16.0])[0]
    mixed = estimate_state_probabilities(history, at=[9.0, 0.0, 16.0, 4.0, 9.0])[0]
    places = [2, 0, 3, 1, 2]
    np.testing.assert_array_equal(mixed.probability, sorted_.probability[places])
    np.testing.assert_array_equal(mixed.se, sorted_.se[places])
    np.testing.assert_array_equal(mixed.at_risk, sorted_.at_risk[places])
