"""Simulated panels are what their settings say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.core.errors import ParameterError
from evalkit.simulate.panels import RATE_PANEL, PanelSettings, simulate_panel
from tests.panels import build_panel


def wide(settings: PanelSettings, seed: int = 1) -> np.ndarray:
    panel = build_panel(simulate_panel(settings, rng=np.random.default_rng(seed))[0])
    return panel.values


def test_shape_and_adoption():
    settings = PanelSettings(treated=3, comparators=5, before=4, after=6, stagger=2)
    frame, truth = simulate_panel(settings, rng=np.random.default_rng(1))
    assert list(frame) == ["unit", "period", "outcome", "person_time", "adoption"]
    assert len(frame) == 8 * 10
    assert sorted(frame.groupby("unit")["adoption"].first().dropna()) == [4, 6, 8]
    assert truth["rate_ratio"] == 1
    assert truth["realised_rate_ratio"] == 1
    assert build_panel(frame).treated.sum() == 3


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
def test_shocks_have_the_serial_correlation_and_spread_asked_for(rho):
    """4,000 areas: lag-1 correlation within 3 errors (1/sqrt(cells)) of rho, spread within 2%."""
    values = wide(replace(RATE_PANEL, comparators=4000, rho=rho, area_sd=0, common_shock=0, trend=0)) - RATE_PANEL.mean
    assert values.std() == pytest.approx(RATE_PANEL.shock, rel=0.02)
    lag = np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]
    assert lag == pytest.approx(rho, abs=3 / np.sqrt(values[:, 1:].size) + 1e-3)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.6])
def test_counts_have_the_ratio_asked_for_and_stay_poisson(ratio):
    """2,000 treated areas without shocks: mean within 3 errors, variance over mean within 5% of 1."""
    settings = PanelSettings(
        treated=2000, comparators=1, effect=ratio, shock=0, common_shock=0, area_sd=0, trend=0, sizes=(1, 1)
    )
    frame, truth = simulate_panel(settings, rng=np.random.default_rng(2))
    after = frame.loc[frame["adoption"].notna() & (frame["period"] >= 12), "outcome"]
    assert after.mean() == pytest.approx(12 * ratio, abs=3 * np.sqrt(12 * ratio / len(after)))
    assert after.var() / after.mean() == pytest.approx(1, rel=0.05)
    assert truth["realised_rate_ratio"] == pytest.approx(ratio, rel=0.02)


def test_a_difference_moves_treated_rates_after_adoption_alone():
    shifted = wide(replace(RATE_PANEL, effect=-2.0)) - wide(RATE_PANEL)
    assert shifted[0, 12:] == pytest.approx(-2)
    assert np.abs(shifted[0, :12]).max() < 1e-9
    assert np.abs(shifted[1:]).max() < 1e-9


def test_every_setting_out_of_range_is_named_at_once():
    bad = PanelSettings(treated=0, before=0, rho=1.0, sizes=(2, 1), shock=-1)
    with pytest.raises(ParameterError) as caught:
        simulate_panel(bad, rng=np.random.default_rng(1))
    assert len(caught.value.faults) == 5
