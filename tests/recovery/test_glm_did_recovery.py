"""Known effects on skewed cost with a fifth of it nought, at 200 people: bias, coverage, and what naive models say."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from evalkit.estimators.costs.glm_did import (
    CostDid,
    GlmDidOptions,
    TwoPartDidOptions,
    fit_glm_did,
    fit_two_part_did,
)
from evalkit.estimators.costs.log_link_did import CostData
from tests.unit.test_glm_did import draw

SAVING = 0.2
# Treated after, without the service: 8000 exp(0.2 + 0.3^2 / 2), 30% less, a fifth of it nought.
TRUTH = -SAVING * 0.8 * 0.7 * 8000 * math.exp(0.2 + 0.045)
FITS: dict[str, Callable[[CostData], CostDid]] = {
    "gamma": fit_glm_did,
    "two_part": lambda data: fit_two_part_did(data, options=TwoPartDidOptions(errors="cluster")),
}
CASES = [("gamma", "gamma", 200), ("gamma", "lognormal", 200), ("two_part", "lognormal", 150)]


@cache
def run(fit: str, kind: str, worlds: int) -> dict[str, np.ndarray]:
    rows = []
    for seed in range(worlds):
        found = FITS[fit](draw(200, seed=seed, saving=SAVING, kind=kind))
        low, high = found.interval(0.95)
        share, share_low, share_high = found.relative(0.95)
        rows.append([found.difference, low <= TRUTH <= high, share_low <= -SAVING <= share_high, math.log1p(share)])
    value, covered, covered_share, log_ratio = np.array(rows).T
    return {"value": value, "covered": covered, "covered_share": covered_share, "log_ratio": log_ratio}


@pytest.mark.slow
@pytest.mark.parametrize(("fit", "kind", "worlds"), CASES)
def test_intervals_cover_as_often_as_they_say(fit: str, kind: str, worlds: int) -> None:
    """Not below nominal by more than two Monte-Carlo errors, in money and as a share."""
    found = run(fit, kind, worlds)
    least = 0.95 - 2 * math.sqrt(0.95 * 0.05 / worlds)
    assert found["covered"].mean() >= least
    assert found["covered_share"].mean() >= least


@pytest.mark.slow
@pytest.mark.parametrize(("fit", "kind", "worlds"), CASES)
def test_no_bias(fit: str, kind: str, worlds: int) -> None:
    found = run(fit, kind, worlds)
    for errors in (found["value"] - TRUTH, found["log_ratio"] - math.log(1 - SAVING)):
        assert abs(errors.mean()) <= 3 * errors.std(ddof=1) / math.sqrt(worlds)


def test_a_general_fall_is_no_saving() -> None:
    """Costs fall by 30% in both groups: the treated's own change is -30%, the estimate is not."""
    data = draw(4000, seed=1, saving=0.0)
    found = fit_glm_did(data)
    share, low, high = found.relative(0.95)
    assert low <= 0 <= high
    assert abs(share) < 0.1
    own = data.after[data.treated].mean() / data.before[data.treated].mean() - 1
    assert own < -0.2


def test_with_many_people_both_models_find_the_effect() -> None:
    for kind in ("gamma", "lognormal"):
        data = draw(6000, seed=2, saving=SAVING, kind=kind)
        for fit in (lambda d: fit_glm_did(d, options=GlmDidOptions(errors="cluster")), FITS["two_part"]):
            found = fit(data)
            assert abs(found.difference - TRUTH) <= 3 * found.se
            assert abs(found.difference - TRUTH) <= 0.5 * abs(TRUTH)
