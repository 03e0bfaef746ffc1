"""The Poisson imputation equals a Poisson regression with unit and period effects, fitted elsewhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.estimators.area.rates import RateOptions, estimate_rate_ratio_did, impute_untreated
from tests.panels import ESTIMAND, make_panel


def regression_forecast(outcome, denominator, fitted, target) -> float:
    """Expected events in `target` by statsmodels' Poisson regression on `fitted` (iteratively reweighted)."""
    j, t = np.indices(outcome.shape)
    design = pd.get_dummies(pd.DataFrame({"j": j.ravel().astype(str), "t": t.ravel().astype(str)}), drop_first=True)
    design = sm.add_constant(design.astype(float))
    keep, want = fitted.ravel(), target.ravel()
    model = sm.GLM(
        outcome.ravel()[keep], design[keep], family=sm.families.Poisson(), offset=np.log(denominator.ravel()[keep])
    ).fit(tol=1e-12, maxiter=200)
    return float(model.predict(design[want], offset=np.log(denominator.ravel()[want])).sum())


@pytest.mark.parametrize("treated", [(0,), (0, 3, 4)])
def test_expected_events_equal_a_poisson_regression(treated):
    panel, _ = make_panel(np.random.default_rng(5), units=12, periods=8, mean=20)
    target = np.zeros_like(panel.outcome, bool)
    for place, unit in enumerate(treated):  # staggered adoption
        target[unit, 4 + place :] = True
    found = impute_untreated(
        panel.outcome[None], panel.denominator[None], fitted=~target[None], target=target[None]
    )  # fmt: skip
    expected = regression_forecast(panel.outcome, panel.denominator, ~target, target)
    assert found.expected[0] == pytest.approx(expected, rel=1e-8)
    assert found.observed[0] == panel.outcome[target].sum()


def test_ratio_equals_the_interaction_of_a_two_way_poisson_regression():
    """With one adoption date the imputed ratio is the exponent of the treated-by-after coefficient."""
    panel, _ = make_panel(np.random.default_rng(6), units=12, periods=8, mean=20, ratio=0.6)
    found = estimate_rate_ratio_did(
        panel, ESTIMAND, options=RateOptions(level=0.9), rng=np.random.default_rng(0)
    )  # fmt: skip
    j, t = np.indices(panel.outcome.shape)
    design = pd.get_dummies(pd.DataFrame({"j": j.ravel().astype(str), "t": t.ravel().astype(str)}), drop_first=True)
    design = sm.add_constant(design.astype(float)).assign(d=((j == 0) & (t >= 4)).ravel().astype(float))
    fit = sm.GLM(
        panel.outcome.ravel(), design, family=sm.families.Poisson(), offset=np.log(panel.denominator.ravel())
    ).fit(tol=1e-12)
    assert np.log(found.value) == pytest.approx(fit.params["d"], abs=0.02)
