"""Size, bias and coverage of the permutation interval where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.estimators.area.rates import RateOptions, estimate_rate_ratio_did
from tests.panels import ESTIMAND, make_panel


@pytest.mark.slow
@pytest.mark.parametrize(("ratio", "shock"), [(1.0, 0.3), (0.5, 0.1)])
def test_the_interval_covers_the_truth(ratio, shock):
    """150 panels with serially correlated shocks: coverage within 3 Monte-Carlo errors of its own level."""
    covered, errors = [], []
    for seed in range(150):
        panel, truth = make_panel(np.random.default_rng([seed, 7]), ratio=ratio, shock=shock, mean=8)
        found = estimate_rate_ratio_did(panel, ESTIMAND, options=RateOptions(), rng=np.random.default_rng(seed))
        covered.append(found.lower <= truth <= found.upper)
        errors.append(np.log(found.value / truth))
    level = 1 - 1 / 33
    assert np.mean(covered) >= level - 3 * np.sqrt(level * (1 - level) / len(covered))
    assert abs(np.mean(errors)) <= 3 * np.std(errors) / np.sqrt(len(errors)) + 0.02  # log ratio of counts: small-sample
