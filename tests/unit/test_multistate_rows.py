"""Rows for a Cox model of every move, its hazards, and the probabilities they lead to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.history import EventHistory
from evalkit.core.errors import ParameterError
from evalkit.estimators.survival.cox import CoxFit, CoxOptions, fit_cox
from evalkit.estimators.survival.cox_residuals import compute_baseline_hazard
from evalkit.estimators.survival.multistate_rows import (
    TransitionOptions,
    TransitionRows,
    build_transition_design,
    build_transition_rows,
)
from evalkit.estimators.survival.transition_hazards import (
    TransitionHazards,
    compute_transition_hazards,
    compute_transition_probabilities,
    estimate_transition_hazards,
)
from tests.multistate_data import build, draw_days, rows_of_days, tiny_rows

MOVES = ("a to b", "a to c", "a to d", "b to a", "b to c", "b to d", "c to a", "c to b")


@pytest.fixture(scope="module")
def history() -> EventHistory:
    """300 people on whole days, with ties, and a covariate of theirs."""
    rng = np.random.default_rng(11)
    rows = rows_of_days(draw_days(rng, 300, 60, leave=0.04))
    return build(rows.assign(x=rng.normal(size=300)[rows["person"]]), covariates=("x",))


def fit(history: EventHistory, options: TransitionOptions, **cox: object) -> tuple[TransitionRows, CoxFit]:
    rows = build_transition_rows(history, options=options)
    return rows, fit_cox(rows.follow_up, options=CoxOptions(**({"errors": "model"} | cox)))


def test_one_row_an_interval_and_move() -> None:
    history = build(tiny_rows(), covariates=("x",))
    rows = build_transition_rows(history)
    assert rows.move_names == MOVES
    assert rows.follow_up.strata == MOVES
    assert rows.follow_up.names == tuple(f"x.{m}" for m in range(1, 9))
    leaving = {0: 3, 1: 3, 2: 2}
    assert len(rows.follow_up) == sum(leaving[state] for state in history.from_state)
    assert rows.follow_up.n_events() == (history.to_state >= 0).sum()
    for m, (origin, target) in enumerate(rows.moves):
        mine = rows.move == m
        assert mine.sum() == (history.from_state == origin).sum()
        moved = (history.from_state == origin) & (history.to_state == target)
        assert rows.follow_up.event[mine].sum() == moved.sum()
        assert (rows.follow_up.covariates[mine][:, m] > 0).all()
        assert (np.delete(rows.follow_up.covariates[mine], m, axis=1) == 0).all()


def test_the_clock_is_reset_at_arrival_and_not_by_a_row_that_is_split() -> None:
    rows = tiny_rows()[lambda df: df["person"] == 9]
    split = rows.copy()
    split.loc[split["start"] == 9, "stop"] = 12
    split.loc[split["start"] == 9, "target"] = ""
    rest = rows[rows["start"] == 9].assign(start=12)
    joined = build(type(rows)(np.concatenate([split, rest]), columns=rows.columns))
    reset = build_transition_rows(joined, options=TransitionOptions(clock="reset")).follow_up
    b = reset.stratum == reset.strata.index("b to c")
    assert reset.entry[b].tolist() == [0, 3]
    assert reset.exit[b].tolist() == [3, 7]
    assert reset.event[b].tolist() == [0, 1]
    forward = build_transition_rows(joined).follow_up
    assert forward.entry[b].tolist() == [9, 12]


def test_a_baseline_by_target_has_an_indicator_for_each_move_but_the_first() -> None:
    rows = build_transition_rows(
        build(tiny_rows(), covariates=("x",)),
        options=TransitionOptions(baseline="target", common=("x",), arrival=("c",)),
    )
    assert rows.follow_up.strata == ("to a", "to b", "to c", "to d")
    assert rows.layer.tolist() == [1, 2, 3, 0, 2, 3, 0, 1]
    assert rows.follow_up.names == ("x", "move.5", "move.6", "move.7", "move.8", "arrival.7", "arrival.8")
    c = rows.move == 6
    assert sorted(rows.follow_up.covariates[c][:, 5]) == [7, 7, 9, 14, 14, 16]
    assert (rows.follow_up.covariates[~c][:, 5] == 0).all()
    assert (rows.follow_up.covariates[:, 3] == c).all()


def test_design_of_one_person_is_a_row_of_the_follow_up() -> None:
    history = build(tiny_rows(), covariates=("x", "one"))
    rows = build_transition_rows(history, options=TransitionOptions(common=("one",), arrival=("b",), baseline="target"))
    place = int(np.flatnonzero((history.from_state == 1) & (history.start == 9))[0])
    arrived = history.start[place]
    design = build_transition_design(rows, {"x": history.covariates[place, 0], "one": 1.0}, arrived=arrived)
    mine = (rows.follow_up.person == history.person[place]) & (rows.follow_up.entry == history.start[place])
    np.testing.assert_array_equal(design[rows.move[mine]], rows.follow_up.covariates[mine])


def test_chosen_moves_leave_the_others_censored() -> None:
    rows = build_transition_rows(build(tiny_rows()), moves=[("b", "d"), ("a", "d")])
    assert rows.move_names == ("a to d", "b to d")
    assert rows.follow_up.n_events() == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"options": TransitionOptions(specific=("z",))}, 'no covariate "z"'),
        ({"options": TransitionOptions(common=("z",))}, 'no covariate "z"'),
        ({"options": TransitionOptions(specific=("x",), common=("x",))}, "specific or common"),
        ({"options": TransitionOptions(arrival=("z",))}, 'no state "z"'),
        ({"moves": [("a", "z")]}, 'no state "z"'),
        ({"moves": []}, "one or more pairs"),
        ({"moves": [("a", "a")]}, "one or more pairs"),
    ],
)
def test_rows_that_cannot_be_built(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        build_transition_rows(build(tiny_rows(), covariates=("x",)), **arguments)


def test_a_history_without_moves_has_no_rows() -> None:
    with pytest.raises(ParameterError, match="nobody moves"):
        build_transition_rows(build(tiny_rows().query("person == 7")))


def test_design_faults_come_together() -> None:
    rows = build_transition_rows(build(tiny_rows(), covariates=("x", "one")))
    with pytest.raises(ParameterError) as caught:
        build_transition_design(rows, {"x": np.inf, "y": 1.0})
    assert len(caught.value.faults) == 3


def test_without_effects_the_hazards_are_nelson_and_aalens(history: EventHistory) -> None:
    rows, found = fit(history, TransitionOptions(), ties="breslow")
    flat = replace(found, coefficients=0 * found.coefficients, variance=0 * found.variance)
    modelled = compute_transition_hazards(flat, rows, build_transition_design(rows, {"x": 0.7}))
    counted = estimate_transition_hazards(history)
    np.testing.assert_array_equal(modelled.moves, counted.moves)
    np.testing.assert_array_equal(modelled.times, counted.times)
    np.testing.assert_allclose(modelled.cumulative, counted.cumulative, rtol=1e-10)
    np.testing.assert_allclose(modelled.covariance, counted.covariance, rtol=1e-9, atol=1e-16)


@pytest.mark.parametrize("ties", ["breslow", "efron"])
@pytest.mark.parametrize("baseline", ["transition", "target"])
def test_hazards_are_baselines_times_relative_hazards(history: EventHistory, ties: str, baseline: str) -> None:
    rows, found = fit(history, TransitionOptions(baseline=baseline), ties=ties)
    x = build_transition_design(rows, {"x": -0.4})
    hazards = compute_transition_hazards(found, rows, x)
    for m in range(len(rows.moves)):
        base = next(b for b in compute_baseline_hazard(found, rows.follow_up, at=x[m]) if b.stratum == rows.layer[m])
        places = np.searchsorted(hazards.times, base.time)
        np.testing.assert_allclose(hazards.increments[places, m], base.hazard, rtol=1e-9, atol=1e-14)
        assert hazards.cumulative[-1, m] == pytest.approx(base.cumulative[-1], rel=1e-10)


def test_variance_by_the_bootstrap(history: EventHistory) -> None:
    """Errors of moves with enough events against 80 resamples of people."""
    rows, found = fit(history, TransitionOptions(baseline="target", common=("x",)), ties="breslow")
    x = build_transition_design(rows, {"x": 0.5})
    hazards = compute_transition_hazards(found, rows, x)
    rng = np.random.default_rng(3)
    draws = []
    for _ in range(80):
        counts = rng.multinomial(300, np.full(300, 1 / 300))[rows.follow_up.person].astype(float)
        drawn = replace(rows, follow_up=rows.follow_up.select(counts > 0).with_weights(counts[counts > 0]))
        again = fit_cox(drawn.follow_up, options=CoxOptions(ties="breslow"))
        draws.append([
            next(b for b in compute_baseline_hazard(again, drawn.follow_up, at=x[m]) if b.stratum == rows.layer[m])
            .cumulative[-1]
            for m in range(len(rows.moves))
        ])  # fmt: skip
    spread = np.cov(np.array(draws).T)
    common = [m for m, name in enumerate(rows.move_names) if not name.endswith("d")]
    np.testing.assert_allclose(
        np.sqrt(np.diag(hazards.covariance[-1]))[common], np.sqrt(np.diag(spread))[common], rtol=0.3
    )


def test_moves_of_one_baseline_share_its_noise(history: EventHistory) -> None:
    """With coefficients taken as known, their hazards are one baseline's times a number: correlation 1; else 0."""
    rows, found = fit(history, TransitionOptions(baseline="target"), ties="breslow")
    x = build_transition_design(rows, {"x": 0.5})
    known = compute_transition_hazards(replace(found, variance=0 * found.variance), rows, x).covariance[-1]
    error = np.sqrt(np.diag(known))
    alike = rows.layer[:, None] == rows.layer
    np.testing.assert_allclose(known, np.where(alike, np.outer(error, error), 0.0), rtol=1e-10, atol=1e-16)
    estimated = compute_transition_hazards(found, rows, x).covariance
    np.testing.assert_allclose(estimated, estimated.transpose(0, 2, 1), rtol=1e-12, atol=1e-18)
    assert np.linalg.eigvalsh(estimated[-1]).min() > 0


def test_weights_and_other_fits_are_refused(history: EventHistory) -> None:
    rows, found = fit(history, TransitionOptions())
    x = build_transition_design(rows, {"x": 0.0})
    with pytest.raises(ParameterError, match="one row a move"):
        compute_transition_hazards(found, rows, x[:, :2])
    uneven = replace(rows, follow_up=rows.follow_up.with_weights(np.linspace(1, 2, len(rows.move))))
    with pytest.raises(ParameterError, match="Bootstrap people"):
        compute_transition_hazards(found, uneven, x)
    other = build_transition_rows(history, moves=[("a", "b")])
    with pytest.raises(ParameterError):
        compute_transition_hazards(found, other, x[:1])


def test_probabilities_add_up_and_chain(history: EventHistory) -> None:
    """Chapman and Kolmogorov: P(0, 40) = P(0, 15) P(15, 40)."""
    rows, found = fit(history, TransitionOptions(common=("x",)))
    hazards = compute_transition_hazards(found, rows, build_transition_design(rows, {"x": 0.3}))
    early = compute_transition_probabilities(hazards, at=[15, 40])
    late = compute_transition_probabilities(hazards, start=15, at=[15, 40])
    np.testing.assert_allclose(early.probability.sum(axis=2), 1, atol=1e-12)
    np.testing.assert_allclose(early.probability[0] @ late.probability[1], early.probability[1], atol=1e-12)
    np.testing.assert_array_equal(late.probability[0], np.eye(4))
    assert (late.se[0] == 0).all()
    assert (early.se[1][:3] > 0).all()
    assert early.checks[0].passed is True


def test_a_hazard_step_above_one_fails_the_check() -> None:
    steep = TransitionHazards(
        ("a", "b"), np.array([[0, 1]]), 0.0, np.array([1.0]), np.array([[1.3]]), np.ones((1, 1, 1))
    )
    found = compute_transition_probabilities(steep, at=[2.0])
    assert found.checks[0].passed is False
    assert found.checks[0].value == pytest.approx(-0.3)


def test_times_before_the_start_are_refused(history: EventHistory) -> None:
    hazards = estimate_transition_hazards(history, start=5.0)
    with pytest.raises(ParameterError) as caught:
        compute_transition_probabilities(hazards, start=2.0, at=[1.0])
    assert len(caught.value.faults) == 2


def test_counted_hazards_take_one_stratum_without_weights() -> None:
    rows = tiny_rows().assign(side=np.where(tiny_rows()["person"] > 5, 1, 0))
    with pytest.raises(ParameterError) as caught:
        estimate_transition_hazards(build(rows, stratum="side", weights="weight"))
    assert len(caught.value.faults) == 2
    with pytest.raises(ParameterError, match="nobody moves after 19"):
        estimate_transition_hazards(build(rows), start=19.0)
