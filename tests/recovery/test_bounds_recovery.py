"""Honest bounds with one treated area: the covariance of the others' placebo paths serves them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.estimators.area.honest import HonestOptions, compute_sensitivity_curve
from evalkit.estimators.area.placebo_time import PlaceboEventStudyOptions, estimate_placebo_event_study
from evalkit.simulate.panels import PanelSettings, simulate_panel
from tests.panels import ESTIMAND, build_panel

PANELS = 160


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_bounds_hold_the_truth_with_one_treated_area(rho):
    """Ordinary interval and smoothness with M = 0 at their level; relative magnitudes from 0.5 on above it."""
    rng = np.random.default_rng(17)
    settings = replace(PanelSettings(), rho=rho, comparators=32)
    options = PlaceboEventStudyOptions(periods_per_step=4, noise="poisson")
    held = np.zeros((PANELS, 4), bool)
    for place in range(PANELS):
        panel = build_panel(simulate_panel(settings, rng=rng)[0])
        path = estimate_placebo_event_study(panel, ESTIMAND, options=options)
        loose = compute_sensitivity_curve(path, options=HonestOptions(m=(0.5, 1.0)))
        smooth = compute_sensitivity_curve(path, options=HonestOptions(restriction="smoothness", m=(0.0,)))
        ends = [loose.original, (smooth.lower[0], smooth.upper[0]), *zip(loose.lower, loose.upper, strict=True)]
        held[place] = [low <= 0 <= high for low, high in ends]
    share, error = held.mean(axis=0), np.sqrt(0.95 * 0.05 / PANELS)
    assert (np.abs(share[:2] - 0.95) < 3 * error).all()
    assert (share[2:] >= 0.95).all()
