"""Bounds follow the scale and the sign of the effects."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.estimators.area.honest import HonestOptions, compute_honest_bounds
from tests.unit.test_honest import make_case


def curve(value, covariance, restriction, m, target="average"):
    options = HonestOptions(restriction=restriction, m=m, target=target)
    return compute_honest_bounds(value, covariance, n_before=4, options=options)


@pytest.mark.parametrize("factor", [1e-6, 37.0, 1e7])
@pytest.mark.parametrize("restriction", ["smoothness", "relative_magnitude"])
def test_scaling_the_effects_scales_the_bounds(restriction, factor):
    value, covariance = make_case(11, 4, 3)
    covariance = covariance / 4
    m = (0.0, 0.2, 1.0)
    scaled = tuple(bound * factor for bound in m) if restriction == "smoothness" else m
    plain = curve(value, covariance, restriction, m)
    other = curve(value * factor, covariance * factor**2, restriction, scaled)
    assert other.lower / factor == pytest.approx(plain.lower, rel=1e-6, abs=1e-6)
    assert other.upper / factor == pytest.approx(plain.upper, rel=1e-6, abs=1e-6)
    unit = factor if restriction == "smoothness" else 1.0
    assert other.breakdown / unit == pytest.approx(plain.breakdown, rel=2e-4)


@pytest.mark.parametrize("target", ["average", "first", (0.2, -0.4, 1.0)])
@pytest.mark.parametrize("restriction", ["smoothness", "relative_magnitude"])
def test_flipping_the_sign_of_the_effects_mirrors_the_bounds(restriction, target):
    value, covariance = make_case(12, 4, 3)
    plain = curve(value, covariance, restriction, (0.0, 0.3, 1.0), target)
    mirror = curve(-value, covariance, restriction, (0.0, 0.3, 1.0), target)
    assert mirror.lower == pytest.approx(-plain.upper, abs=1e-6)
    assert mirror.upper == pytest.approx(-plain.lower, abs=1e-6)


def test_a_linear_trend_does_not_move_smoothness_bounds():
    """Delta^SD allows any linear difference in trends at no cost."""
    value, covariance = make_case(13, 4, 3)
    trend = 0.7 * np.array([-4, -3, -2, -1, 1, 2, 3])
    plain = curve(value, covariance, "smoothness", (0.0, 0.1, 1.0))
    tilted = curve(value + trend, covariance, "smoothness", (0.0, 0.1, 1.0))
    assert tilted.lower == pytest.approx(plain.lower, abs=1e-9)
    assert tilted.upper == pytest.approx(plain.upper, abs=1e-9)


def test_adding_an_effect_after_adoption_moves_every_bound_by_it():
    value, covariance = make_case(14, 4, 3)
    shifted = value + np.array([0, 0, 0, 0, 1.0, 2.0, 6.0])
    for restriction in ("smoothness", "relative_magnitude"):
        plain = curve(value, covariance, restriction, (0.0, 0.5))
        moved = curve(shifted, covariance, restriction, (0.0, 0.5))
        assert moved.lower - plain.lower == pytest.approx(3.0, abs=1e-6)
        assert moved.upper - plain.upper == pytest.approx(3.0, abs=1e-6)
