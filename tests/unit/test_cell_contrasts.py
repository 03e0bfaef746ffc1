"""Four cells compared: weights that make them alike, mean counts with death, interactions that are shrunken."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.estimators.people.cell_counts import compute_mean_counts, estimate_mean_count_did
from evalkit.estimators.people.cell_weights import build_cell_weights, draw_people
from evalkit.estimators.people.overlap import compute_overlap_effect
from evalkit.estimators.people.subgroups import (
    SubgroupOptions,
    compute_interactions,
    estimate_subgroup_effects,
    shrink_interactions,
)
from evalkit.estimators.survival.mean_count import MeanCountOptions, compute_mean_count

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2016, 4, 1))


def rows(n: int, seed: int, *, lift: float = 0.8) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Covariates that differ between cells, cells, and people who are each in two of them."""
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(4), n)
    x = rng.normal(size=(4 * n, 2)) + lift * np.array([[0.5, 0.0], [0.2, 0.3], [-0.3, 0.2], [0.0, -0.3]])[cell]
    person = np.concatenate([np.arange(n), np.arange(n), n + np.arange(n), n + np.arange(n)])
    return pd.DataFrame(x, columns=["age", "need"]), cell, person


def test_weights_balance_every_cell_to_the_treated_after():
    x, cell, person = rows(400, 1)
    found = build_cell_weights(x, cell, person, replicates=20, rng=np.random.default_rng(2))
    assert found.balance["unweighted"].max() > 0.4
    target = x[cell == 0].mean().to_numpy()
    for k in range(4):
        inside = cell == k
        assert np.average(x[inside], axis=0, weights=found.base[inside]) == pytest.approx(target, abs=0.08)
    assert (found.base[cell == 0] == 1).all()
    assert {c.name: c.passed for c in found.checks} == {"balance": True, "overlap": True, "area_shocks": False}


def test_draws_are_of_whole_people():
    x, cell, person = rows(50, 1)
    counts = draw_people(cell, person, 30, np.random.default_rng(1))
    assert (counts[:, :50] == counts[:, 50:100]).all()
    assert (counts[:, :100].sum(axis=1) == 100).all()  # those ever treated are drawn apart
    found = build_cell_weights(x, cell, person, replicates=30, rng=np.random.default_rng(1))
    assert (found.counts == counts).all()
    assert ((found.draws > 0) == (counts > 0)).all()


def test_units_of_covariates_do_not_matter():
    x, cell, person = rows(80, 3)
    one = build_cell_weights(x, cell, person, replicates=5, rng=np.random.default_rng(1))
    other = build_cell_weights(1000 * x + 7, cell, person, replicates=5, rng=np.random.default_rng(1))
    assert other.draws == pytest.approx(one.draws, rel=1e-6)


def test_cells_that_are_told_apart_are_refused():
    x, cell, person = rows(60, 3)
    x["programme"] = (cell == 0).astype(float)
    with pytest.raises(NotEstimable):
        build_cell_weights(x, cell, person, replicates=20, rng=np.random.default_rng(1))
    with pytest.raises(NotEstimable, match="too few people: treated before"):
        keep = (cell != 1) | (np.cumsum(cell == 1) < 5)
        build_cell_weights(x[keep], cell[keep], person[keep], replicates=5, rng=np.random.default_rng(1))


# ---- mean counts ---------------------------------------------------------------------------------


def recurrent(n: int, seed: int, horizon: int = 100):
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(4), n)
    frailty = rng.gamma(2, 0.5, 4 * n)
    leave = rng.integers(60, 2 * horizon, 4 * n)
    death = np.ceil(rng.exponential(400 / frailty)).astype(int)
    exit_days = np.minimum(np.minimum(leave, death), horizon)
    died = (death <= leave) & (death <= horizon)
    hit = rng.random((4 * n, horizon)) < (0.01 * frailty * np.array([0.6, 1, 1, 1])[cell])[:, None]
    row, day = np.nonzero(hit & (np.arange(horizon) < exit_days[:, None]))
    return cell, exit_days, died, row, day


def test_mean_counts_equal_the_estimator_for_one_group():
    """`compute_mean_count` is held to R's numbers; here many weights go through at once."""
    cell, exit_days, died, row, day = recurrent(60, 4)
    weights = np.random.default_rng(1).uniform(0.5, 2, size=(2, len(cell)))
    ends = pd.concat([
        pd.DataFrame({"who": row, "stop": day + 1, "event": 1}),
        pd.DataFrame({"who": np.arange(len(cell)), "stop": exit_days, "event": 2 * died}),
    ]).sort_values(["who", "stop", "event"])  # fmt: skip
    last = ends.groupby(["who", "stop"])["event"].transform("size") == 1
    ends = ends[last | (ends["event"] == 1)]
    ends["start"] = ends.groupby("who")["stop"].shift(fill_value=0)
    dead_at_once = {w for w, s, d in zip(range(len(cell)), exit_days, died, strict=True)
                    if d and s - 1 in set(day[row == w])}  # fmt: skip
    kept = ~np.isin(ends["who"], list(dead_at_once))  # an event on the day of death has no row of its own there
    w = np.where(np.isin(np.arange(len(cell)), list(dead_at_once)), 0.0, weights[1])
    found = compute_mean_counts(w[None], cell, exit_days=exit_days, died=died, row=row, day=day, horizon_days=100)
    frame = ends[kept].assign(cell=cell[ends["who"][kept]], w=weights[1][ends["who"][kept]])
    follow_up = FollowUp.from_frame(
        frame, entry="start", exit="stop", event="event", person="who", stratum="cell", weights="w",
        causes=("admission", "death"),
    )  # fmt: skip
    curves = compute_mean_count(follow_up, options=MeanCountOptions())
    for k, curve in enumerate(curves):
        at = np.searchsorted(curve.time, [50, 100], side="right") - 1
        assert found[0, k, [50, 100]] == pytest.approx(curve.value[at], rel=1e-9)


def test_without_death_or_loss_it_is_the_plain_mean():
    cell = np.repeat(np.arange(4), 5)
    row, day = np.array([0, 0, 3, 7, 19]), np.array([0, 9, 4, 2, 8])
    found = compute_mean_counts(
        np.ones((1, 20)), cell, exit_days=np.full(20, 10), died=np.zeros(20, bool), row=row, day=day, horizon_days=10
    )
    assert found[0, :, 10] == pytest.approx([3 / 5, 1 / 5, 0, 1 / 5])
    assert found[0, 0].tolist()[:2] == [0.0, pytest.approx(0.2)]


def test_too_few_events_are_refused_without_their_number():
    cell, exit_days, died, row, day = recurrent(40, 4)
    keep = ~((cell[row] == 1) & (np.cumsum(cell[row] == 1) > 7))
    x, _, person = rows(40, 3)
    weights = build_cell_weights(x, cell, person, replicates=5, rng=np.random.default_rng(1))
    with pytest.raises(NotEstimable, match="too few events: treated before") as refusal:
        estimate_mean_count_did(
            weights, Estimand("n", "ATT", "p", WINDOW, "events_per_person"), exit_days=exit_days, died=died,
            row=row[keep], day=day[keep], horizon_days=100, level=0.95, n_people=80,
        )  # fmt: skip
    assert "7" not in str(refusal.value)


@pytest.mark.slow
def test_mean_count_intervals_hold_the_truth():
    """Cells of the same rates but for 0.6 in the treated after; truth by a large draw without censoring."""
    truth = _true_difference()
    covered = []
    for seed in range(60):
        cell, exit_days, died, row, day = recurrent(150, 100 + seed)
        x, _, person = rows(150, seed)
        weights = build_cell_weights(x, cell, person + 1000 * cell, replicates=100, rng=np.random.default_rng(seed))
        effect, _ = estimate_mean_count_did(
            weights, Estimand("n", "ATT", "p", WINDOW, "events_per_person"), exit_days=exit_days, died=died, row=row,
            day=day, horizon_days=100, level=0.95, n_people=600,
        )  # fmt: skip
        covered.append(effect.lower <= truth <= effect.upper)
    assert np.mean(covered) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 60)


def _true_difference() -> float:
    rng = np.random.default_rng(0)
    frailty = rng.gamma(2, 0.5, 400_000)
    alive = np.minimum(np.ceil(rng.exponential(400 / frailty)), 100)
    return float((0.6 - 1.0) * np.mean(0.01 * frailty * alive))


# ---- subgroups -----------------------------------------------------------------------------------


def risks(n: int, seed: int, *, differs: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    cell = np.repeat(np.arange(4), n)
    groups = pd.DataFrame(rng.random((4 * n, 4)) < 0.4, columns=["a", "b", "c", "d"]).astype(float)
    risk = 0.3 + 0.05 * groups["a"] + differs * groups["a"] * (cell == 0)
    event = (rng.random(4 * n) < risk).astype(int)
    frame = groups.assign(
        treated=cell < 2, period=np.where(cell % 2 == 1, "before", "after"), person_id=np.arange(4 * n),
        time_days=np.where(event == 1, 50, 90), event=event, area="x", age=rng.normal(size=4 * n),
    )  # fmt: skip
    return frame, groups


def test_shrinkage_is_the_normal_mean_where_the_spread_is_known():
    """Against a direct Monte-Carlo posterior: spread from its prior, weighted by the likelihood."""
    raw, covariance = np.array([0.2, -0.05, 0.01]), np.diag([0.08, 0.05, 0.06]) ** 2
    mean, lower, upper, sign, spread = shrink_interactions(raw, covariance)
    rng = np.random.default_rng(1)
    tau = np.abs(rng.normal(0, 0.05, 400_000))
    delta = tau[:, None] * rng.normal(size=(400_000, 3))
    weight = np.exp(stats.norm.logpdf(raw, delta, np.sqrt(np.diag(covariance))).sum(axis=1))
    assert mean == pytest.approx(np.average(delta, axis=0, weights=weight), abs=0.002)
    assert spread == pytest.approx(np.average(tau, weights=weight), abs=0.001)
    inside = np.average((delta > lower) & (delta < upper), axis=0, weights=weight)
    assert inside == pytest.approx(0.95, abs=0.01)
    assert sign[0] == pytest.approx(np.average(delta[:, 0] > 0, weights=weight), abs=0.01)
    assert (np.abs(mean) < np.abs(raw)).all()


def test_a_wide_prior_leaves_the_estimates_alone():
    raw, covariance = np.array([0.2, -0.3]), np.diag([1e-4, 1e-4])
    mean, lower, upper, *_ = shrink_interactions(raw, covariance, options=SubgroupOptions(prior_scale=50.0))
    assert mean == pytest.approx(raw, rel=1e-3)
    assert upper - lower == pytest.approx(2 * 1.96 * 0.01, rel=1e-2)


def test_effects_of_the_levels_average_to_the_whole():
    frame, groups = risks(300, 5, differs=-0.2)
    effect = compute_overlap_effect(frame, covariates=("age", "a"), horizon_days=90)
    found = compute_interactions(effect, groups, frame["person_id"].to_numpy())
    share = np.array([effect.fit.tilt[groups[g] == 1].sum() for g in groups]) / effect.fit.tilt.sum()
    assert share * found.with_ + (1 - share) * found.without == pytest.approx(np.full(4, found.overall))


def test_separate_tests_find_more_than_there_is():
    """No effect differs: of four raw intervals one or more misses nought far more often than a shrunken one does."""
    raw_hits, shrunken_hits = 0, 0
    for seed in range(40):
        frame, groups = risks(120, seed)
        effect = compute_overlap_effect(frame, covariates=("age",), horizon_days=90)
        found = compute_interactions(effect, groups, frame["person_id"].to_numpy())
        raw_hits += int((np.abs(found.raw) > 1.96 * np.sqrt(np.diag(found.covariance))).any())
        shrunken_hits += int(((found.lower > 0) | (found.upper < 0)).any())
    assert shrunken_hits <= 1
    assert raw_hits >= shrunken_hits


def test_a_thin_subgroup_stands_with_its_reason():
    frame, groups = risks(200, 5)
    groups["d"] = 0.0
    groups.loc[:3, "d"] = 1.0
    effect = compute_overlap_effect(frame, covariates=("age",), horizon_days=90)
    estimand = Estimand("readmission", "ATO", "p", WINDOW, "risk_difference")
    estimates, found = estimate_subgroup_effects(effect, groups, frame["person_id"].to_numpy(), estimand)
    assert [e.status for e in estimates] == ["shown", "shown", "shown", "not_estimable"]
    assert estimates[-1].estimand.key == "d.readmission.risk_difference"
    assert found.names == ("a", "b", "c")
