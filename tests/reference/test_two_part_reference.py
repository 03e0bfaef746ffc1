"""Two-part models and specification tests against R 4.2 (glm, lm, sandwich) and published numbers on real costs.

`cost_meps_ambexp` (Cameron and Trivedi, Microeconometrics Using Stata, chapter 16) and the Park tests and two-part mean
of `cost_meps_mus03` (chapter 3). One case a number. R stops where the deviance moves by less than 1e-12 of itself (the
Park tests: 1e-10), ours where coefficients have settled. Relative tolerance 1e-6; numbers that R had not yet
settled 5e-6, and 1e-8 to what R has when it goes on to 1e-15 (`SETTLED`, written here). R's errors of a glm are those
of the step before the last, which shows where the link is not canonical.

The Heckman two-step is no public function: a cost of nought is a true nought, not a cost that selection hides. It is
computed here from the parts, so that the parts are held to it.
"""

from __future__ import annotations

import json
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import special

from evalkit.estimators.costs.glm import GlmModel, GlmOptions, fit_glm
from evalkit.estimators.costs.specification import compute_park_test
from evalkit.estimators.costs.two_part import (
    TwoPartOptions,
    compute_mean_cost,
    compute_two_part_effects,
    fit_two_part,
)
from tests.shared_data import reference, shared

EXACT = 1e-6
LOOSE = {"park_test.lambda": 5e-6, "probit.totchr.se": 5e-6}
SETTLED = {"park_test.lambda": 1.095811454699, "probit.totchr.se": 0.0714026089063}
SETTLED_MUS03 = {"park_test.lambda": 1.648811443521}
COVARIATES = ("age", "female", "educ", "blhisp", "totchr", "ins")
NAMES = ("(Intercept)", *COVARIATES)
MUS03 = ("suppins", "phylim", "actlim", "totchr", "age", "female", "income")
OLS = GlmOptions("gaussian", "identity", "model")
# Given as -0.0208271; R and ours have -0.0208269530, while the other six of its table agree.
DIFFERS = {"ols_log.ins"}


def load() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    data = pd.read_csv(shared("cost_meps_ambexp") / "data.csv")
    x = np.column_stack([np.ones(len(data)), data[list(COVARIATES)].astype(float)])
    return data, x, data["ambexp"].to_numpy(dtype=float)


def put_coefficients(found: dict[str, float], key: str, x: np.ndarray, y: np.ndarray, options: GlmOptions) -> GlmModel:
    model = fit_glm(x, y, options=options, names=NAMES)
    robust = np.sqrt(np.diag(model.influence.T @ model.influence))
    for j, name in enumerate(NAMES):
        found[f"{key}.{name}"] = model.coefficients[j]
        found[f"{key}.{name}.se"] = model.standard_errors[j]
        found[f"{key}.{name}.se_HC0"] = robust[j]
    return model


def put_heckman(found: dict[str, float], key: str, z: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    paid = y > 0
    eta = fit_glm(z, paid.astype(float), options=GlmOptions("binomial", "probit", "model")).linear_predictor
    ratio = np.exp(-0.5 * eta**2) / math.sqrt(2 * math.pi) / special.ndtr(eta)
    fit = fit_glm(np.column_stack([x, ratio])[paid], np.log(y[paid]), options=OLS)
    slope = fit.coefficients[-1]
    shrunk = (ratio * (ratio + eta))[paid].mean()
    sigma = math.sqrt(np.mean((np.log(y[paid]) - fit.mu) ** 2) + shrunk * slope**2)
    for name, value in zip((*NAMES, "imr"), fit.coefficients, strict=True):
        found[f"heckman2step.{key}.{name}"] = value
    found[f"heckman2step.{key}.sigma"], found[f"heckman2step.{key}.rho"] = sigma, slope / sigma


@cache
def compute_ours() -> dict[str, float]:
    data, x, y = load()
    paid = y > 0
    found: dict[str, float] = {
        "n": len(y), "n_positive": paid.sum(), "mean": y.mean(), "sd": y.std(ddof=1), "mean_positive": y[paid].mean(),
        "max": y.max(), "skewness_population": ((y - y.mean()) ** 3).mean() / y.var() ** 1.5,
    }  # fmt: skip
    any_cost, log_y = paid.astype(float), np.log(y[paid])
    probit = put_coefficients(found, "probit", x, any_cost, GlmOptions("binomial", "probit", "model"))
    logit = put_coefficients(found, "logit", x, any_cost, GlmOptions("binomial", "logit", "model"))
    ols = put_coefficients(found, "ols_log", x[paid], log_y, OLS)
    gamma = put_coefficients(found, "gamma_log_positive", x[paid], y[paid], GlmOptions("gamma", "log", "model"))
    put_coefficients(found, "poisson_all", x, y, GlmOptions("poisson", "log", "model"))
    found |= {
        "probit.loglik": probit.log_likelihood, "logit.loglik": logit.log_likelihood,
        "ols_log.loglik": ols.log_likelihood, "ols_log.rmse": math.sqrt(ols.dispersion),
        "two_part.loglik_log_scale": probit.log_likelihood + ols.log_likelihood,
        "ols_log.normal_smearing": math.exp(ols.dispersion / 2),
        "gamma_log_positive.dispersion_pearson": gamma.dispersion, "gamma_log_positive.deviance": gamma.deviance,
    }  # fmt: skip
    park = compute_park_test(y[paid], gamma.mu)
    found |= {"park_test.lambda": park.power, "park_test.lambda.se_HC0": park.se}
    smeared = fit_two_part(x, y, names=NAMES, options=TwoPartOptions("probit", "log_ols"))
    mean = compute_mean_cost(smeared, x).value[0]
    found |= {
        "ols_log.duan_smearing": smeared.smearing, "two_part.mean_pred_duan_probit": mean,
        "two_part.mean_pred_normal_probit": mean / smeared.smearing * found["ols_log.normal_smearing"],
    }  # fmt: skip
    whole = fit_two_part(x, y, names=NAMES, options=TwoPartOptions("probit"))
    found["two_part_gamma.mean_pred_probit"] = compute_mean_cost(whole, x).value[0]
    effects = compute_two_part_effects(
        whole, x, marginal=("age", "totchr", "educ"), incremental=("female", "blhisp", "ins")
    )  # fmt: skip
    for place, (name, value) in enumerate(zip(effects.names, effects.value, strict=True)):
        found[f"two_part_gamma.{'ame' if place < 3 else 'incremental'}.{name}"] = value
    found["two_part_logit_gamma.mean_pred"] = compute_mean_cost(fit_two_part(x, y, names=NAMES), x).value[0]
    put_heckman(found, "same", x, x, y)
    put_heckman(found, "with_income", np.column_stack([x, data["income"]]), x, y)
    return found


@cache
def compute_ours_of_mus03() -> dict[str, float]:
    data = pd.read_csv(shared("cost_meps_mus03") / "data.csv")
    x = np.column_stack([np.ones(len(data)), data[list(MUS03)].astype(float)])
    y = data["totexp"].to_numpy(dtype=float)
    paid = y > 0
    park = compute_park_test(y[paid], fit_glm(x[paid], y[paid], options=GlmOptions("gamma", "log")).mu)
    model = fit_two_part(x, y, names=("(Intercept)", *MUS03))
    return {
        "park_test.lambda": park.power, "park_test_ols.lambda": park.power_ols, "logit_any.suppins": model.first[1],
        "two_part_logit_gamma.mean_pred_all": compute_mean_cost(model, x).value[0],
    }  # fmt: skip


@pytest.mark.parametrize("key", sorted(reference("cost_meps_ambexp")))
def test_equals_r(key: str) -> None:
    expected = reference("cost_meps_ambexp")[key]
    assert compute_ours()[key] == pytest.approx(expected, rel=LOOSE.get(key, EXACT))


@pytest.mark.parametrize(
    "key", ["park_test.lambda", "park_test_ols.lambda", "logit_any.suppins", "two_part_logit_gamma.mean_pred_all"]
)
def test_equals_r_on_the_elderly(key: str) -> None:
    ours = compute_ours_of_mus03()
    assert ours[key] == pytest.approx(reference("cost_meps_mus03")[key], rel=LOOSE.get(key, EXACT))


def test_equals_r_where_it_is_let_to_settle() -> None:
    ours = compute_ours()
    assert {key: ours[key] for key in SETTLED} == pytest.approx(SETTLED, rel=1e-8)
    ours = compute_ours_of_mus03()
    assert {key: ours[key] for key in SETTLED_MUS03} == pytest.approx(SETTLED_MUS03, rel=1e-8)


def published() -> list[dict]:
    if not reference("cost_meps_ambexp"):
        return []
    return json.loads((shared("cost_meps_ambexp") / "documented.json").read_text())


@pytest.mark.parametrize("row", published(), ids=lambda row: row["estimand"])
def test_equals_what_is_published(row: dict) -> None:
    """To the digits published, save one number, where the difference is held to what it is."""
    ours, key = compute_ours()[row["estimand"]], row["estimand"]
    decimals = len(str(row["published"]).split(".")[1])
    if key in DIFFERS:
        assert ours == pytest.approx(-0.0208269530, abs=5e-11)
        return
    assert ours == pytest.approx(row["published"], abs=0.5000001 * 10.0**-decimals)
