"""Pathways whose truth is known, with people lost before the horizon: bias and coverage over simulated worlds."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.cohort.history import EventHistory
from evalkit.estimators.survival.multistate import compute_expected_time, estimate_state_probabilities
from evalkit.estimators.survival.occupancy import compute_bootstrap_interval, compute_occupancy_effect
from evalkit.simulate.person_pathways import ABSORBING, STATES, PathwaySettings, simulate_pathways
from tests.multistate_data import CELLS

WORLDS = 50
DAYS = (90.0, 365.0)


def draw(settings: PathwaySettings, seed: int) -> tuple[EventHistory, dict[str, float]]:
    rows, truth = simulate_pathways(settings, rng=np.random.default_rng(seed))
    history = EventHistory.from_frame(
        rows, person="person", start="start", stop="stop", from_state="from_state", to_state="to_state",
        states=STATES, absorbing=ABSORBING, stratum="cell",
    )  # fmt: skip
    return history, truth


def assert_centred_and_covered(value: np.ndarray, se: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> None:
    """Mean error within 3.5 Monte-Carlo errors, errors within a fifth, 95% coverage not below 88% or above 99%.

    Arrays (worlds, targets). Targets are correlated, so that coverage is judged over all of them with room.
    """
    error = value - truth
    spread = error.std(axis=0, ddof=1)
    assert (np.abs(error.mean(axis=0)) < 3.5 * spread / np.sqrt(len(value))).all()
    assert np.median(se.mean(axis=0) / spread) == pytest.approx(1, abs=0.2)
    assert 0.88 < inside.mean() < 0.99


@pytest.mark.slow
@pytest.mark.parametrize("sojourn", ["markov", "semi_markov"])
def test_occupancy_and_days_of_each_cell(sojourn: str) -> None:
    """Aalen-Johansen occupancy needs independent censoring, not the Markov property (Datta and Satten 2001)."""
    values, errors = [], []
    for seed in range(WORLDS):
        history, truth = draw(PathwaySettings(effect=1.5, sojourn=sojourn), seed)
        shares = estimate_state_probabilities(history, at=DAYS)
        times = compute_expected_time(history, horizon=365.0)
        values.append(np.concatenate([np.append(s.probability, t.time) for s, t in zip(shares, times, strict=True)]))
        errors.append(np.concatenate([np.append(s.se, t.se) for s, t in zip(shares, times, strict=True)]))
    wanted = np.array([
        truth[name]
        for cell in sorted(CELLS)
        for name in (
            *(f"occupancy.{cell}.{state}.{day:.0f}" for day in DAYS for state in STATES),
            *(f"days.{cell}.{state}.365" for state in STATES),
        )
    ])  # fmt: skip
    value, se = np.array(values), np.array(errors)
    assert_centred_and_covered(value, se, wanted, np.abs(value - wanted) < 1.96 * se)


@pytest.mark.slow
def test_effect_on_days_is_recovered_with_its_bootstrap_interval() -> None:
    values, errors, inside = [], [], []
    for seed in range(WORLDS):
        history, truth = draw(PathwaySettings(effect=1.5), 1_000 + seed)
        wanted = np.array([truth[f"did.days.{state}.365"] for state in STATES])
        found = compute_occupancy_effect(
            history, horizon=365.0, at=DAYS, replicates=150, rng=np.random.default_rng(seed)
        )
        se, lower, upper = compute_bootstrap_interval(
            found.days_difference, found.draws_days_difference, level=0.95, interval="percentile"
        )
        values.append(found.days_difference)
        errors.append(se)
        inside.append((lower < wanted) & (wanted < upper))
    assert_centred_and_covered(np.array(values), np.array(errors), wanted, np.array(inside))
    naive = np.array([truth[f"days.treated after.{s}.365"] - truth[f"days.treated before.{s}.365"] for s in STATES])
    ward = STATES.index("rehabilitation ward")
    assert abs(naive[ward] - wanted[ward]) > 10, "before and after alone must fail in this world"
