"""Small discharges for tests of refitted models."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from evalkit.risk.refit import RefittedModels, Rows


class Discharges(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    person: np.ndarray


def make_discharges(n: int = 500, predictors: int = 6, *, seed: int = 5) -> Discharges:
    """Columns of very different units, the first rare and yes/no; some people twice or more."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, predictors))
    z[:, 0] = rng.random(n) < 0.02
    y = (rng.random(n) < 1 / (1 + np.exp(1.3 - z @ rng.normal(0, 0.5, predictors)))).astype(np.int64)
    return Discharges(z * 10.0 ** np.arange(predictors) - 40.0, y, rng.integers(0, int(0.8 * n), n))


def fit_pipeline(x: np.ndarray, y: np.ndarray, *, penalty: float) -> Pipeline:
    fit = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-13, max_iter=100)
    return make_pipeline(StandardScaler(), fit).fit(x, y)


def as_models(
    original: np.ndarray, risks: np.ndarray, counts: np.ndarray, reasons: tuple[str, ...] = ()
) -> RefittedModels:
    """Models whose risks (B, n) are given."""

    def predict(models: slice, rows: Rows) -> np.ndarray:
        return risks[models][:, rows]

    return RefittedModels(original, counts, reasons or ("",) * len(risks), predict)
