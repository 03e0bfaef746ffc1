"""Net benefit and measures by a horizon do not depend on what should not matter.

Order of rows, names of people, unit of time, rows written twice or weighed double, order of models, and, for ranks, any
rising transformation of the risk.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.risk.decision import compute_net_benefit, estimate_decision_curve
from evalkit.risk.decision_time import (
    SurvivalDecisionOptions,
    compute_net_benefit_survival,
    estimate_decision_curve_survival,
)
from evalkit.risk.threshold_table import compute_threshold_table
from evalkit.risk.time_measures import (
    compute_ipcw_brier,
    compute_time_auroc,
    compute_time_concordance,
    compute_time_observed_expected,
)
from evalkit.risk.time_performance import TimePerformanceOptions, estimate_time_performance

N = 300
GRID = (0.1, 0.25, 0.4)
HORIZON = 30.0


def draw() -> tuple[np.ndarray, np.ndarray, np.ndarray, pd.DataFrame]:
    """Risks with ties, outcomes, people, and days to readmission (1), death (2) or loss (0)."""
    rng = np.random.default_rng(8)
    risk = np.round(1 / (1 + np.exp(1 - rng.normal(size=N))), 2)
    event = np.where(rng.random(N) < risk, 1, np.where(rng.random(N) < 0.2, 2, 0))
    lost = (event == 0) & (rng.random(N) < 0.3)
    days = np.where((event > 0) | lost, rng.integers(1, 30, N), 40).astype(float)
    return risk, (event == 1).astype(int), rng.integers(0, 150, N), pd.DataFrame({"event": event, "days": days})


def follow(frame: pd.DataFrame, person: np.ndarray) -> FollowUp:
    frame = frame.assign(person=person)
    return FollowUp.from_frame(frame, exit="days", event="event", cluster="person", causes=("readmission", "death"))


def same(left: pd.DataFrame, right: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(left, right, rtol=1e-9, atol=1e-12)


def test_order_of_rows_and_names_of_people():
    risk, outcome, person, frame = draw()
    mixed = np.random.default_rng(1).permutation(N)
    named = np.array([f"q{i:03d}" for i in person])
    curves = [
        estimate_decision_curve(risk[rows], outcome[rows], person=who[rows], thresholds=GRID).frame
        for rows, who in ((np.arange(N), person), (mixed, named))
    ]
    tables = [
        compute_threshold_table(risk[rows], outcome[rows], person=who[rows], thresholds=GRID, flagged_shares=[0.13])
        for rows, who in ((np.arange(N), person), (mixed, named))
    ]
    same(*curves)
    same(*(table.frame for table in tables))
    drawn = [
        estimate_decision_curve_survival(
            risk[rows], follow(frame.iloc[rows], who[rows]), horizon=HORIZON, thresholds=GRID,
            rng=np.random.default_rng(2), options=SurvivalDecisionOptions(replicates=50),
        ).frame
        for rows, who in ((np.arange(N), person), (mixed, named))
    ]  # fmt: skip
    same(*drawn)
    measured = [
        estimate_time_performance(
            risk[rows], follow(frame.iloc[rows], who[rows]), horizon=HORIZON, rng=np.random.default_rng(2),
            options=TimePerformanceOptions(replicates=5),
        ).frame
        for rows, who in ((np.arange(N), person), (mixed, named))
    ]  # fmt: skip
    pd.testing.assert_frame_equal(*measured, rtol=1e-6)


def test_order_of_models_and_thresholds_beside():
    risk, outcome, person, frame = draw()
    both = compute_net_benefit({"a": risk, "b": risk**2}, outcome, thresholds=GRID)
    turned = compute_net_benefit({"b": risk**2, "a": risk}, outcome, thresholds=GRID[1:])
    assert both.net_benefit[:, ::-1, 1:] == pytest.approx(turned.net_benefit, abs=1e-15)
    rows = follow(frame, person)
    both = compute_net_benefit_survival({"a": risk, "b": risk**2}, rows, horizon=HORIZON, thresholds=GRID)
    alone = compute_net_benefit_survival(risk**2, rows, horizon=HORIZON, thresholds=GRID[2:])
    assert both.net_benefit[0, 1, 2] == pytest.approx(alone.net_benefit[0, 0, 0], abs=1e-15)


def test_rows_twice_are_rows_that_weigh_double():
    risk, outcome, person, frame = draw()
    chosen = np.arange(N) % 3 == 0
    again = np.concatenate([np.arange(N), np.flatnonzero(chosen)])
    weights = 1.0 + chosen
    twice = follow(frame.iloc[again], person[again])
    double = follow(frame, person).with_weights(weights)
    found = compute_net_benefit(risk, outcome, thresholds=GRID, counts=weights[None, :])
    assert found.net_benefit == pytest.approx(
        compute_net_benefit(risk[again], outcome[again], thresholds=GRID).net_benefit, abs=1e-12
    )
    one = compute_net_benefit_survival(risk[again], twice, horizon=HORIZON, thresholds=GRID)
    other = compute_net_benefit_survival(risk, double, horizon=HORIZON, thresholds=GRID)
    assert one.net_benefit == pytest.approx(other.net_benefit, abs=1e-12)
    for measure in (compute_time_concordance, compute_time_auroc, compute_time_observed_expected):
        one, other = measure(risk[again], twice, horizon=HORIZON), measure(risk, double, horizon=HORIZON)
        assert (one.value, one.se) == pytest.approx((other.value, other.se), rel=1e-9)
    one, other = (compute_ipcw_brier(r, f, horizon=HORIZON)["ipa"] for r, f in ((risk[again], twice), (risk, double)))
    assert (one.value, one.se) == pytest.approx((other.value, other.se), rel=1e-9)


def test_unit_of_time():
    risk, _, person, frame = draw()
    days, years = follow(frame, person), follow(frame.assign(days=frame["days"] / 365.25), person)
    one, other = (
        compute_net_benefit_survival(risk, rows, horizon=horizon, thresholds=GRID).net_benefit
        for rows, horizon in ((days, HORIZON), (years, HORIZON / 365.25))
    )
    assert one == pytest.approx(other, abs=1e-12)
    options = TimePerformanceOptions(replicates=3)
    same(*(
        estimate_time_performance(risk, rows, horizon=horizon, rng=np.random.default_rng(1), options=options).frame
        for rows, horizon in ((days, HORIZON), (years, HORIZON / 365.25))
    ))  # fmt: skip


def test_ranks_ask_only_for_the_order_of_risks():
    risk, outcome, person, frame = draw()
    rows, bent = follow(frame, person), risk**3 / 2
    for measure in (compute_time_concordance, compute_time_auroc):
        assert measure(risk, rows, horizon=HORIZON) == measure(bent, rows, horizon=HORIZON)
    tables = [
        compute_threshold_table(r, outcome, person=person, flagged_shares=[0.1, 0.2]).frame.drop(columns="cut")
        for r in (risk, bent)
    ]
    columns = ["flagged_per_100", "tied", "flagged_people", "flagged_events"]
    same(*(table[columns] for table in tables))
    # The same people are flagged at other thresholds: only the worth of those missed differs.
    moved = compute_net_benefit(bent, outcome, thresholds=[threshold**3 / 2 for threshold in GRID])
    kept = compute_net_benefit(risk, outcome, thresholds=GRID)
    odds = np.array([t / (1 - t) for t in GRID]), np.array([t**3 / 2 / (1 - t**3 / 2) for t in GRID])
    gain = [(found.net_benefit[0, 0] - found.treat_all[0]) / o for found, o in zip((kept, moved), odds, strict=True)]
    share = [((risk >= t) & (outcome == 1)).mean() for t in GRID]
    missed = (outcome.mean() - np.array(share)) * (1 / odds[1] - 1 / odds[0])
    assert gain[0] - gain[1] == pytest.approx(missed, abs=1e-12)


def test_what_comes_after_the_horizon_changes_nothing():
    risk, _, person, frame = draw()
    rows = follow(frame, person)
    late = replace(rows, event=np.where(rows.exit > HORIZON, 1 + np.arange(N) % 2, rows.event))
    for measure in (compute_time_concordance, compute_time_auroc, compute_time_observed_expected):
        one, other = measure(risk, rows, horizon=HORIZON), measure(risk, late, horizon=HORIZON)
        assert (one.value, one.se) == pytest.approx((other.value, other.se), rel=1e-9)
    one, other = (compute_net_benefit_survival(risk, f, horizon=HORIZON, thresholds=GRID) for f in (rows, late))
    assert one.net_benefit == pytest.approx(other.net_benefit, abs=1e-15)
