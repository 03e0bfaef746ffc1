"""Cumulative incidence and censoring weights against hand counts and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.duration.survfunc import CumIncidenceRight

from evalkit.estimators.competing import compute_censoring_weights, estimate_cumulative_incidence


def draw(n: int = 400, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    times = np.stack([rng.geometric(p, n) for p in (0.01, 0.002, 0.004)])
    first = times.argmin(axis=0)
    return times.min(axis=0), np.choose(first, [1, 2, 0])


def test_risk_by_hand():
    # Day 1: of 4 people one is readmitted; day 2: of 3 one dies; day 3: of 2 one leaves; day 4: one readmitted.
    time, event = np.array([1, 2, 3, 4]), np.array([1, 2, 0, 1])
    found = estimate_cumulative_incidence(time, event, at_days=np.array([1, 2, 4, 5]), level=0.95)
    assert found["risk"].tolist() == pytest.approx([0.0, 1 / 4, 1 / 4, 1 / 4 + 1 / 2])


def test_risk_and_error_equal_statsmodels():
    time, event = draw()
    peer = CumIncidenceRight(time, event)
    found = estimate_cumulative_incidence(time, event, at_days=peer.times.astype(int) + 1, level=0.95)
    assert found["risk"].to_numpy() == pytest.approx(peer.cinc[0], abs=1e-12)
    assert found["se"].to_numpy()[20:200] == pytest.approx(peer.cinc_se[0][20:200], rel=0.02)


def test_weights_restore_the_risk():
    """The weighted mean of 'readmitted by day h' is the Aalen-Johansen risk (Satten and Datta 2001)."""
    time, event = draw(2000)
    horizon = 90
    seen = (event > 0) & (time < horizon)
    clipped, kind = np.where(seen, time, np.minimum(time, horizon)), np.where(seen, event, 0)
    weights = compute_censoring_weights(clipped, kind, np.zeros(len(time)), horizon_days=horizon)
    risk = estimate_cumulative_incidence(time, event, at_days=np.array([horizon]), level=0.95).loc[0, "risk"]
    assert (weights * (kind == 1)).mean() == pytest.approx(risk, abs=1e-12)
    assert weights.mean() == pytest.approx(1.0, abs=1e-12)


def test_nobody_censored_weighs_one():
    time, event = np.array([5, 30, 30, 12]), np.array([1, 0, 0, 2])
    assert compute_censoring_weights(time, event, np.zeros(4), horizon_days=30).tolist() == [1, 1, 1, 1]
