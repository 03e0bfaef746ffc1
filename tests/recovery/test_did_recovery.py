"""The thresholds of the gate, and that what passes it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evalkit.estimators.area.conley_taber import compute_conley_taber
from evalkit.estimators.area.did import DidOptions, estimate_did
from evalkit.estimators.area.did_cells import build_cells, static_exposure
from evalkit.estimators.area.gate import COMFORTABLE_CLUSTERS, MIN_CLUSTERS
from evalkit.estimators.area.twfe import Cells, compute_twfe
from evalkit.estimators.area.wild_bootstrap import WildOptions, compute_wild_bootstrap
from tests.did_panels import autoregressive, did_panel
from tests.panels import DIFFERENCE, ESTIMAND

UNITS, PERIODS, BEFORE = 33, 25, 12


def cluster_t(values: np.ndarray, treated: int) -> np.ndarray:
    """t of two-way fixed effects with CR1 errors by unit, shape (R,), of balanced panels (R, J, T) at once."""
    d = np.outer((np.arange(UNITS) < treated) - treated / UNITS, (np.arange(PERIODS) >= BEFORE) - 1 + BEFORE / PERIODS)
    y = values - values.mean(axis=2, keepdims=True) - values.mean(axis=1, keepdims=True)
    y += values.mean(axis=(1, 2), keepdims=True)
    beta = (y * d).sum(axis=(1, 2)) / (d**2).sum()
    scores = (d * (y - beta[:, None, None] * d)).sum(axis=2)
    n = UNITS * PERIODS
    factor = UNITS / (UNITS - 1) * (n - 1) / (n - 1 - PERIODS)
    return beta / np.sqrt(factor * (scores**2).sum(axis=1)) * (d**2).sum()


def cells_of(panel, family: str = "gaussian") -> Cells:
    exposed, kept = static_exposure(panel, anticipation_periods=0, exposure=None)
    return build_cells(panel, exposed[:, :, None], kept, family=family, covariates=(), clusters=None)


def size(treated: int, *, rho: float, replicates: int) -> float:
    """Share of true nulls that nominal 5% rejects."""
    rng = np.random.default_rng([treated, int(10 * rho)])
    critical = stats.t.ppf(0.975, UNITS - 1)
    rejected = 0
    for _ in range(replicates // 500):
        noise = autoregressive(rng, shape=(500, UNITS, PERIODS), rho=rho)
        rejected += int((np.abs(cluster_t(noise, treated)) > critical).sum())
    return rejected / replicates


def test_the_quick_t_is_that_of_the_regression():
    p = did_panel(np.random.default_rng(1), treated=5)
    fit = compute_twfe(cells_of(p))
    quick = cluster_t(p.values[None], 5)[0]
    assert quick == pytest.approx(fit.coefficients[0] / np.sqrt(fit.covariance[0, 0]), rel=1e-8)


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_one_treated_unit_rejects_most_true_nulls(rho):
    """71.8% and 72.1% in 20,000 replicates."""
    assert 0.65 < size(1, rho=rho, replicates=1_000) < 0.80


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_the_two_sides_of_the_threshold(rho):
    """Size above 10% with four treated, on the line with five, at most 10% with six, near 6% when comfortable.

    10,000 replicates, Monte-Carlo error 0.3 points. Measured in 20,000 to 40,000, rho 0.6 / 0: four 12.6 / 12.4%,
    five 10.0 / 10.0%, six 8.6 / 8.3%, ten 6.1 / 5.9%.
    """
    assert (MIN_CLUSTERS, COMFORTABLE_CLUSTERS) == (6, 10)
    assert size(MIN_CLUSTERS - 2, rho=rho, replicates=10_000) > 0.11
    assert size(MIN_CLUSTERS - 1, rho=rho, replicates=10_000) == pytest.approx(0.10, abs=0.01)
    assert size(MIN_CLUSTERS, rho=rho, replicates=10_000) <= 0.10
    assert size(COMFORTABLE_CLUSTERS, rho=rho, replicates=10_000) < 0.075


@pytest.mark.slow
@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_what_passes_the_gate_covers_and_is_unbiased(family):
    """Twelve treated: coverage at least 90% less 3 Monte-Carlo errors, and no bias beyond 3 of them."""
    estimand = DIFFERENCE if family == "gaussian" else ESTIMAND
    effect, replicates = 0.4, 300
    logs, covered = [], 0
    for seed in range(replicates):
        p = did_panel(np.random.default_rng([seed, 3]), treated=12, effect=effect, family=family)
        found = estimate_did(p, estimand, options=DidOptions(family=family))
        logs.append(found.value if family == "gaussian" else np.log(found.value))
        truth = effect if family == "gaussian" else np.exp(effect)
        covered += found.lower <= truth <= found.upper
    assert covered / replicates >= 0.90 - 3 * np.sqrt(0.9 * 0.1 / replicates)
    assert abs(np.mean(logs) - effect) < 3 * np.std(logs) / np.sqrt(replicates)


@pytest.mark.slow
@pytest.mark.parametrize("treated", [1, 3])
def test_conley_taber_keeps_its_size_with_few_treated(treated):
    """Nominal 5%: at most 10% rejected (3.1% with one treated, whose level is 1 - 1/33; 5.4 to 6.1% with three)."""
    rng = np.random.default_rng(treated)
    rejected = 0
    for _ in range(1000):
        p = did_panel(rng, treated=treated)
        rejected += compute_conley_taber(cells_of(p), p.treated, replicates=499, rng=rng).p_value[0] <= 0.05
    assert 0.005 < rejected / 1000 < 0.09


@pytest.mark.slow
@pytest.mark.parametrize(("treated", "low", "high"), [(1, 0.0, 0.01), (6, 0.02, 0.09)])
def test_the_restricted_wild_bootstrap_errs_towards_no_finding(treated, low, high):
    """0% with one treated, 5.5% with six (1,000 replicates)."""
    rng = np.random.default_rng(treated)
    options = WildOptions(replicates=399, level=0.999999)  # no interval is searched for at this level
    rejected = 0
    for _ in range(1000):
        p = did_panel(rng, treated=treated)
        rejected += compute_wild_bootstrap(cells_of(p), options=options, rng=rng).p_value <= 0.05
    assert low <= rejected / 1000 <= high
