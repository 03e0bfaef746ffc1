"""Pathways: what may not change what is estimated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.history import EventHistory
from evalkit.estimators.survival.cox import CoxOptions, fit_cox
from evalkit.estimators.survival.multistate import (
    ExpectedTime,
    StateProbabilities,
    compute_expected_time,
    count_transitions,
    estimate_state_probabilities,
)
from evalkit.estimators.survival.multistate_fit import StateOptions
from evalkit.estimators.survival.multistate_rows import TransitionOptions, build_transition_rows
from evalkit.estimators.survival.occupancy import OccupancyEffect, compute_occupancy_effect
from tests.multistate_data import TINY_STATES, build, draw_days, four_cells, rows_of_days, tiny_rows

AT = [5.0, 9.0, 12.5, 16.0]


def estimates(
    history: EventHistory, *, shift: float = 0.0, scale: float = 1.0
) -> tuple[StateProbabilities, ExpectedTime]:
    start, horizon = shift, 17.0 * scale + shift
    at = np.array(AT) * scale + shift
    return (
        estimate_state_probabilities(history, start=start, at=at)[0],
        compute_expected_time(history, start=start, horizon=horizon)[0],
    )


def assert_same(one: EventHistory, other: EventHistory, **moved: float) -> None:
    (p, t), (q, u) = estimates(one), estimates(other, **moved)
    np.testing.assert_allclose(q.probability, p.probability, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(q.se, p.se, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(u.time, t.time * moved.get("scale", 1.0), rtol=1e-12)
    np.testing.assert_allclose(u.se, t.se * moved.get("scale", 1.0), rtol=1e-11)


def plain() -> EventHistory:
    return build(tiny_rows(), weights="weight")


def split(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Every interval cut at a time within it: the first piece ends without a move."""
    cut = rows["start"] + rng.uniform(0.1, 0.9, len(rows)) * (rows["stop"] - rows["start"])
    return pd.concat([rows.assign(stop=cut, target=""), rows.assign(start=cut)])


def test_labels_of_people_and_order_of_rows() -> None:
    rng = np.random.default_rng(1)
    names = dict(zip(range(1, 11), rng.permutation(10) * 7 + 3, strict=True))
    rows = tiny_rows().assign(person=lambda df: df["person"].map(names)).sample(frac=1, random_state=1)
    assert_same(plain(), build(rows, weights="weight"))


def test_rows_in_any_order_after_selection() -> None:
    history = plain()
    shuffled = history.select(np.random.default_rng(2).permutation(len(history)))
    assert_same(history, shuffled)
    pd.testing.assert_frame_equal(count_transitions(shuffled), count_transitions(history))


def test_rows_split_at_any_time() -> None:
    rows = split(split(tiny_rows(), np.random.default_rng(3)), np.random.default_rng(4))
    cut = build(rows, weights="weight")
    assert_same(plain(), cut)
    counts, again = count_transitions(plain()), count_transitions(cut)
    pd.testing.assert_frame_equal(again, counts, check_exact=False, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 17.0])
def test_scale_of_weights(scale: float) -> None:
    assert_same(plain(), replace(plain(), weights=plain().weights * scale))


def test_shift_and_unit_of_time() -> None:
    rows = tiny_rows()
    shifted = rows.assign(start=rows["start"] + 32, stop=rows["stop"] + 32)
    assert_same(plain(), build(shifted, weights="weight"), shift=32.0)
    in_eighths = rows.assign(start=rows["start"] / 8, stop=rows["stop"] / 8)
    assert_same(plain(), build(in_eighths, weights="weight"), scale=0.125)


def test_half_of_everybody_twice() -> None:
    """Copies of a person with half the weight each, in one cluster."""
    rows = tiny_rows().assign(weight=tiny_rows()["weight"] / 2)
    twice = pd.concat(
        [rows.assign(human=rows["person"]), rows.assign(human=rows["person"], person=rows["person"] + 50)]
    )
    assert_same(plain(), build(twice, weights="weight", cluster="human"))


def test_everybody_twice_halves_the_variance() -> None:
    rows = tiny_rows()
    once = estimate_state_probabilities(build(rows), at=AT)[0]
    twice = estimate_state_probabilities(build(pd.concat([rows, rows.assign(person=rows["person"] + 50)])), at=AT)[0]
    np.testing.assert_allclose(twice.probability, once.probability, atol=1e-14)
    np.testing.assert_allclose(twice.se, once.se / np.sqrt(2), rtol=1e-12, atol=1e-14)


def test_order_of_the_states() -> None:
    order = [2, 3, 0, 1]
    other = build(tiny_rows(), weights="weight", states=tuple(TINY_STATES[k] for k in order))
    (p, t), (q, u) = estimates(plain()), estimates(other)
    np.testing.assert_allclose(q.probability, p.probability[:, order], atol=1e-14)
    np.testing.assert_allclose(q.se, p.se[:, order], atol=1e-13)
    np.testing.assert_allclose(u.time, t.time[order], rtol=1e-12)


def test_a_state_that_nobody_enters() -> None:
    other = build(tiny_rows(), weights="weight", states=(*TINY_STATES, "e"))
    (p, _), (q, _) = estimates(plain()), estimates(other)
    np.testing.assert_allclose(q.probability[:, :4], p.probability, atol=1e-14)
    assert (q.probability[:, 4] == 0).all()
    assert (q.se[:, 4] == 0).all()


def test_states_put_together_add_up() -> None:
    """With everybody followed, occupancy of two states as one is the sum of the two."""
    days = draw_days(np.random.default_rng(5), 50, 30)
    apart = estimate_state_probabilities(build(rows_of_days(days)), at=[10, 30])[0].probability
    merged = np.where(days == 2, 1, days)
    joined = estimate_state_probabilities(build(rows_of_days(merged)), at=[10, 30])[0].probability
    np.testing.assert_allclose(joined[:, 1], apart[:, 1] + apart[:, 2], atol=1e-13)


def test_model_errors_do_not_mind_split_rows() -> None:
    rows = tiny_rows()
    for errors in ("greenwood", "aalen"):
        options = StateOptions(errors=errors)
        one = estimate_state_probabilities(build(rows), at=AT, initial="a", options=options)[0]
        cut = build(split(rows, np.random.default_rng(6)))
        other = estimate_state_probabilities(cut, at=AT, initial="a", options=options)[0]
        np.testing.assert_allclose(other.se, one.se, atol=1e-14)


@pytest.mark.parametrize("clock", ["forward", "reset"])
def test_cox_of_split_rows(clock: str) -> None:
    rng = np.random.default_rng(7)
    rows = rows_of_days(draw_days(rng, 200, 40, leave=0.05))
    rows = rows.assign(x=rng.normal(size=200)[rows["person"]])
    fits = [
        fit_cox(
            build_transition_rows(build(df, covariates=("x",)), options=TransitionOptions(clock=clock)).follow_up,
            options=CoxOptions(),
        )
        for df in (rows, split(rows, rng))
    ]
    np.testing.assert_allclose(fits[1].coefficients, fits[0].coefficients, rtol=1e-8)
    np.testing.assert_allclose(fits[1].robust_variance, fits[0].robust_variance, rtol=1e-7)


def effect_of(history: EventHistory) -> OccupancyEffect:
    return compute_occupancy_effect(history, horizon=20, replicates=40, rng=np.random.default_rng(1), at=[4, 11, 20])


def test_effect_under_scaled_weights_split_rows_and_shuffled_rows() -> None:
    history, _ = four_cells(np.random.default_rng(8), 40, 20)
    base = effect_of(history)
    middle = (history.start + history.stop) / 2
    first = replace(history, stop=middle, to_state=np.full(len(history), -1))
    second = replace(history, start=middle)
    arrays = ("start", "stop", "from_state", "to_state", "person", "cluster", "stratum", "weights", "covariates")
    cut = replace(history, **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in arrays})
    others = [
        replace(history, weights=history.weights * 3),
        history.select(np.random.default_rng(9).permutation(len(history))),
        cut,
    ]
    for other in map(effect_of, others):
        np.testing.assert_allclose(other.difference, base.difference, atol=1e-12)
        np.testing.assert_allclose(other.draws_difference, base.draws_difference, atol=1e-12)
        np.testing.assert_allclose(other.draws_days_observed, base.draws_days_observed, atol=1e-10)


def test_effect_changes_sign_when_groups_or_periods_are_swapped() -> None:
    history, _ = four_cells(np.random.default_rng(8), 40, 20)
    base = effect_of(history)
    names = history.strata
    swapped = replace(history, strata=tuple(
        name.replace("after", "x").replace("before", "after").replace("x", "before") for name in names
    ))  # fmt: skip
    np.testing.assert_allclose(effect_of(swapped).difference, -base.difference, atol=1e-12)


def test_what_moves_all_cells_alike_leaves_the_effect() -> None:
    """Everybody's first ten days replaced by one state: the change there is 0, and later as it was."""
    _, days = four_cells(np.random.default_rng(10), 40, 20)
    frames = []
    for k, (one, name) in enumerate(
        zip(days, ("treated after", "treated before", "comparison after", "comparison before"), strict=True)
    ):
        alike = one.copy()
        alike[:, :10] = 0
        frames.append(rows_of_days(alike, first_person=40 * k).assign(cell=name))
    found = effect_of(build(pd.concat(frames), stratum="cell"))
    base = effect_of(four_cells(np.random.default_rng(10), 40, 20)[0])
    np.testing.assert_allclose(found.difference[0], 0, atol=1e-13)
    np.testing.assert_allclose(found.difference[1:], base.difference[1:], atol=1e-12)
