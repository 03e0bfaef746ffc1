"""How well a model of cost predicts people whom it has not seen, by cross-validation.

Source: Copas 1983, J Royal Statistical Society B 45:311 (slope of outcome on out-of-sample prediction); Efron and
Tibshirani 1993, An Introduction to the Bootstrap, chapter 17 (cross-validation).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.estimators.costs.glm import GlmOptions, fit_glm_draws, predict_glm
from evalkit.estimators.costs.specification import SIZE, fit_least_squares
from evalkit.estimators.costs.two_part import TwoPartOptions, build_first_options, build_second_options

Predict = Callable[[np.ndarray], np.ndarray]
_LOG_OLS = GlmOptions("gaussian", "identity", "HC0")


@dataclass(frozen=True)
class Overfit:
    """Errors of prediction in people who were left out of the fit, in the money of the data.

    `bias` is mean prediction less mean cost; `rmse_within` the error in those fitted; `slope` of cost on prediction is
    1 without overfitting and below 1 with it, `p_value` is of slope 1 with a robust or clustered error.
    """

    rmse: float
    mean_absolute_error: float
    bias: float
    rmse_within: float
    slope: float
    slope_se: float
    p_value: float
    folds: int


def compute_overfit(
    y: np.ndarray,
    predict: Predict,
    *,
    folds: int = 10,
    cluster: np.ndarray | None = None,
    rng: np.random.Generator,
) -> Overfit:
    """Leave out each fold in turn, fit to the others and predict the one left out.

    Parameters
    ----------
    y : float array, shape (n,), cost
    predict : function from counts (B, n), how often each person is in a fit, to predictions of everybody (B, n), NaN
        where a fit fails; `build_glm_predictor` and `build_two_part_predictor` make one
    cluster : array, shape (n,); a cluster is never split between fit and prediction

    Raises
    ------
    ParameterError
        Fewer than two folds, no generator, clusters that do not fit.
    NotEstimable
        Fewer people (or clusters) than folds, a fold without which there is no fit, or one prediction for all.
    """
    refuse([*whole_faults("folds", folds, least=2), *rng_faults(rng)])
    group = np.arange(len(y)) if cluster is None else np.asarray(cluster)
    if len(group) != len(y):
        raise ParameterError(Fault("cluster", "the shapes do not fit each other", f"{len(group)} for {len(y)} rows"))
    labels, place = np.unique(group, return_inverse=True)
    if len(labels) < folds:
        what = "there are fewer people or clusters than folds"
        raise NotEstimable(Fault("folds", what, f"{len(labels)} for {folds} folds", next_step="Ask for fewer folds."))
    fold = rng.permutation(np.arange(len(labels)) % folds)[place]
    counts = np.vstack([np.ones(len(y)), fold[None, :] != np.arange(folds)[:, None]])
    predicted = predict(counts)
    if not np.isfinite(predicted).all():
        step = "Leave out rare covariates, or ask for more folds."
        raise NotEstimable(Fault("cross-validation", "the model cannot be fitted without some fold", next_step=step))
    outside = predicted[1 + fold, np.arange(len(y))]
    if np.ptp(outside) <= 1e-9 * np.abs(outside).max():
        raise NotEstimable(Fault("cross-validation", "everybody is predicted the same, so there is no slope"))
    error = outside - y
    x = np.column_stack([np.ones(len(y)), outside - outside.mean()])
    slope, se = fit_least_squares(x, y, cluster)
    degrees = len(y) - 2 if cluster is None else len(labels) - 1
    p_value = float(2 * stats.t.sf(abs(slope - 1) / se, degrees)) if se > 0 else math.nan
    return Overfit(
        math.sqrt(float(np.mean(error**2))), float(np.abs(error).mean()), float(error.mean()),
        math.sqrt(float(np.mean((predicted[0] - y) ** 2))), slope, se, p_value, folds,
    )  # fmt: skip


def build_glm_predictor(x: np.ndarray, y: np.ndarray, *, options: GlmOptions) -> Predict:
    """Predictions of a generalised linear model, all fits at once."""

    def predict(counts: np.ndarray) -> np.ndarray:
        return predict_glm(x, fit_glm_draws(x, y, counts, options=options).coefficients, options=options)

    return predict


def build_two_part_predictor(x: np.ndarray, y: np.ndarray, *, options: TwoPartOptions) -> Predict:
    """Predictions of a two-part model, all fits at once."""
    paid, first = y > 0, build_first_options(options)
    second, log_ols = build_second_options(options), options.second == "log_ols"

    def predict(counts: np.ndarray) -> np.ndarray:
        any_cost = fit_glm_draws(x, paid.astype(np.float64), counts, options=first).coefficients
        chance = predict_glm(x, any_cost, options=first)
        if not log_ols:
            b = fit_glm_draws(x[paid], y[paid], counts[:, paid], options=second).coefficients
            return chance * predict_glm(x, b, options=second)
        b = fit_glm_draws(x[paid], np.log(y[paid]), counts[:, paid], options=_LOG_OLS).coefficients
        lift = np.exp(np.log(y[paid]) - b @ x[paid].T)
        smearing = (counts[:, paid] * lift).sum(axis=1) / counts[:, paid].sum(axis=1)
        return chance * smearing[:, None] * np.exp(b @ x.T)

    return predict


def check_overfit(test: Overfit) -> Check:
    """Whether cost rises by a pound where prediction does, in people the model has not seen."""
    passed = test.p_value >= SIZE or test.slope >= 1
    text = (
        f"In people left out of the fit ({test.folds} folds) the error is {test.rmse:,.0f} (root mean square; "
        f"{test.rmse_within:,.0f} in those fitted), {test.mean_absolute_error:,.0f} in absolute mean, the mean off by "
        f"{test.bias:,.0f}, and cost moves by {test.slope:.2f} (standard error {test.slope_se:.2f}) where prediction "
        "moves by 1" + (": no sign of overfitting." if passed else ": the model is overfitted.")
    )
    return Check("overfitting", passed, test.slope, text)
