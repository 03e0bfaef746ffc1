"""Imputation with a risk model where the truth is known: pooled measures, optimism, and what goes wrong otherwise.

Worlds: six predictors that go together, the last two missing at random given the first (and, where that is asked, the
outcome): the true risk is logistic in all of them.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from evalkit.risk.data import RiskData
from evalkit.risk.imputation import OutcomeUse, RiskImputationOptions, impute_development, impute_validation
from evalkit.risk.imputation_pool import estimate_imputed_optimism, pool_performance
from evalkit.risk.measures import compute_measures
from evalkit.risk.refit import RefittedModels, refit_ridge
from evalkit.risk.resample import draw_person_counts
from evalkit.risk.validate import validate_risk_model

COEFFICIENTS = np.array([0.5, 0, 0, 0, 0.7, 0.7])
NAMES = ("auroc", "calibration_slope")


def true_risk(x: np.ndarray) -> np.ndarray:
    return expit(-1 + x @ COEFFICIENTS)


def draw(n: int, rng: np.random.Generator, *, by_outcome: float = 0.0) -> tuple[RiskData, np.ndarray]:
    """Discharges with gaps, and their predictors (n, 6) without."""
    x = 0.6 * rng.normal(size=(n, 1)) + 0.8 * rng.normal(size=(n, 6))
    outcome = (rng.random(n) < true_risk(x)).astype(int)
    features = pd.DataFrame(x, columns=[f"x{k}" for k in range(6)])
    for name in ("x4", "x5"):
        gap = rng.random(n) < expit(x[:, 0] + by_outcome * (outcome - 0.5))
        features[name] = features[name].mask(gap)
    return RiskData(features, outcome, np.arange(n), np.full(n, np.datetime64("2015-01-01"))), x


def told(bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean over worlds, and its Monte-Carlo error."""
    return bias.mean(axis=0), bias.std(axis=0, ddof=1) / math.sqrt(len(bias))


def options(outcome: OutcomeUse, imputations: int) -> RiskImputationOptions:
    return RiskImputationOptions(imputations=imputations, iterations=4, numbers="normal", outcome=outcome)


@pytest.mark.slow
def test_pooled_measures_are_those_of_everybody_and_complete_cases_are_not():
    """The model is right; values go missing more where the outcome follows. Had all been recorded, slope is 1."""
    rng = np.random.default_rng(7)
    rows = []
    for _ in range(20):
        data, x = draw(1000, rng, by_outcome=1.5)
        whole = compute_measures(true_risk(x), data.outcome, names=NAMES)
        sets = impute_development(data, options=options("used_in_development", 3), rng=rng).sets
        pooled = pool_performance(
            [
                validate_risk_model(true_risk(d.features.to_numpy()), d.outcome, person=d.person, rng=rng, replicates=2)
                for d in sets
            ]
        )
        known = data.features.notna().all(axis=1).to_numpy()
        cases = compute_measures(true_risk(x[known]), data.outcome[known], names=(*NAMES, "observed_expected"))
        rows.append(
            [[pooled.value(n) - whole[n][0] for n in NAMES], [cases[n][0] - whole[n][0] for n in NAMES],
             [pooled.value("observed_expected") - 1, cases["observed_expected"][0] - 1]]
        )  # fmt: skip
    bias, error = told(np.array(rows))
    assert (np.abs(bias[0]) < 3 * error[0] + [0.002, 0.02]).all(), bias
    assert bias[1, 0] < -0.02, "complete cases: AUROC too low, since those with high first predictors are gone"
    assert bias[1, 0] < -5 * error[1, 0]
    assert abs(bias[2, 0]) < 3 * error[2, 0] + 0.005
    assert bias[2, 1] < -0.2, "complete cases: too few outcomes"


def in_a_world(seed: int, outcome: OutcomeUse) -> list[np.ndarray]:
    """Apparent, corrected and true measures (2,) of a model developed on 300, at use on discharges with gaps."""
    rng = np.random.default_rng(seed)
    data, _ = draw(300, rng)
    development = impute_development(data, options=options(outcome, 2), rng=rng)
    counts = draw_person_counts(data.person, replicates=40, rng=rng)

    def refit(one: RiskData, x_new: np.ndarray | None = None) -> RefittedModels:
        return refit_ridge(one.features.to_numpy(), one.outcome, penalty=1.0, counts=counts, x_new=x_new)

    found = estimate_imputed_optimism(development, refit, names=NAMES)
    fresh, _ = draw(3000, rng)
    pairs = zip(development.sets, impute_validation(development.models, fresh), strict=True)
    risk = np.mean([refit(one, later.features.to_numpy()).original for one, later in pairs], axis=0)
    truth = compute_measures(risk, fresh.outcome, names=NAMES)
    assert found.checks[-1].passed is (outcome == "left_out")
    return [found.apparent, found.corrected, np.array([truth[name][0] for name in NAMES])]


@pytest.mark.slow
def test_imputing_before_the_bootstrap_costs_little_without_the_outcome_and_much_with_it():
    found = np.array([in_a_world(seed, "left_out") for seed in range(16)])
    bias, error = told(found[:, 1] - found[:, 2])
    assert (np.abs(bias) < 3 * error + [0.003, 0.03]).all(), bias
    apparent, apparent_error = told(found[:, 0] - found[:, 2])
    assert (apparent > 2.5 * apparent_error).all(), "apparent measures are too good"
    with_outcome = np.array([in_a_world(seed, "used_in_development") for seed in range(6)])
    bias, error = told(with_outcome[:, 1] - with_outcome[:, 2])
    assert (bias > [0.03, 0.15]).all(), "imputed with the outcome, the corrected values are too good"
    assert with_outcome[:, 2, 1].mean() < 0.9, "and risks at use too extreme"
