"""Every interval of the registry holds the truth at least nine times in ten, on panels like the study's."""

from __future__ import annotations

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable
from evalkit.estimators.area.registry import REGISTRY
from tests.panels import DIFFERENCE, ESTIMAND, draw_panel

FLOOR = 0.90
REPLICATES = 40
# Dear ones get fewer; `make area-truth` runs more.
FEWER = {"synthetic_did": 15, "ridge_augmented": 20, "controlled_its_poisson": 20}
ESTIMANDS = {"rate_ratio": ESTIMAND, "mean_difference": DIFFERENCE}
EVERY = [pytest.param(e, s, id=f"{e.name}-{s}") for e in REGISTRY for s in e.scales if s in ESTIMANDS]


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "scale"), EVERY)
def test_an_interval_holds_the_truth(estimator, scale):
    """30 comparators, area shocks of AR(1) 0.4: coverage not below 90% by more than 3 Monte-Carlo errors.

    The truth is the parameter; one area is treated, or eight for errors that count areas as clusters.
    A method that gives no interval here passes: it has refused.
    """
    covered = []
    for seed in range(FEWER.get(estimator.name, REPLICATES)):
        panel, truth = draw_panel(estimator.name, scale, seed=[seed, 11])
        try:
            found = estimator.run(panel, ESTIMANDS[scale], 0.95, np.random.default_rng(seed), "exploratory")
        except NotEstimable:
            continue
        if not np.isnan(found.lower):
            covered.append(found.lower <= truth <= found.upper)
    if covered:
        assert np.mean(covered) >= FLOOR - 3 * np.sqrt(FLOOR * (1 - FLOOR) / len(covered))
