"""Propensities, weights and balance against R: glm, WeightIt, MatchIt's summaries and the book What If.

`reference.json` holds R's numbers. Tolerance 1e-6 relative, or 1e-8 standard deviations of the treated where the
number is nought but for R's glm, which stops at a relative change of the deviance of 1e-8.

* lalonde: differences there are standardised by the treated's standard deviation for every estimand.
* lalonde race is given as three yes/no columns, so that the table has all of them; the third is redundant in the
  propensity, is left out there, and R's formula has the same fit.
* NHEFS: Hernan and Robins, What If, chapters 12 and 15; people with a weight in 1982 for chapter 12, all for 15.
"""

from __future__ import annotations

from functools import cache

import pandas as pd
import pytest

from evalkit.cohort.comparison import Comparison
from evalkit.estimators.people.balance import Balance, BalanceOptions, assess_balance
from evalkit.estimators.people.logistic import add_intercept, fit_logistic
from evalkit.estimators.people.weighting import (
    BalancingWeights,
    WeightOptions,
    build_weights,
    compute_effective_size,
    estimate_propensity,
)
from tests.shared_data import reference, shared

RACES = ("black", "hispan", "white")
LALONDE = ("age", "educ", *RACES, "married", "nodegree", "re74", "re75")
NHEFS = ("sex", "race", "age", "age2", "education", "smokeintensity", "smokeintensity2", "smokeyrs", "smokeyrs2",
         "exercise", "active", "wt71", "wt712")  # fmt: skip

lalonde = reference("ps_lalonde_matchit")
nhefs = reference("ps_nhefs")


@cache
def lalonde_comparison() -> Comparison:
    frame = pd.read_csv(shared("ps_lalonde_matchit") / "data.csv")
    frame = frame.assign(**{race: (frame["race"] == race).astype(float) for race in RACES})
    return Comparison.from_frame(frame, treatment="treat", covariates=LALONDE, outcome="re78")


@cache
def lalonde_weights(estimand: str) -> BalancingWeights:
    return build_weights(lalonde_comparison(), options=WeightOptions(estimand=estimand.upper()))


@cache
def lalonde_balance(estimand: str) -> Balance:
    weights = lalonde_weights(estimand)
    return assess_balance(lalonde_comparison(), weights, options=BalanceOptions(scale="treated"))


def balance_value(balance: Balance, key: str, *, when: str) -> tuple[float, float]:
    """The number called `smd.age` or `diff.age`, and 1e-8 standard deviations in its unit."""
    kind, covariate = key.split(".")
    row = balance.table.set_index("covariate").loc[covariate]
    column = {"smd": "smd", "diff": "difference"}[kind]
    return row[f"{column}_{when}"], 1e-8 * (1.0 if kind == "smd" else row["scale"])


def test_every_number_of_weighting_has_a_test() -> None:
    """What is left are effects (`effect`, `intercept` and their errors), tested with the other effects."""
    shared("ps_lalonde_matchit")
    weighting = [k for k in lalonde if k.startswith(("ipw_", "unweighted.", "ps."))]
    effects = [k for k in weighting if k.startswith("ipw_") and k.split(".")[1] in ("effect", "intercept")]
    assert (len(weighting), len(effects)) == (109, 15)
    assert sum(key.startswith(("ch12.ps.", "ch12.w.", "ch12.sw.", "ch15.ps.")) for key in nhefs) == 10


@pytest.mark.parametrize("key", [k for k in lalonde if k.startswith("ps.coef.")])
def test_lalonde_propensity_coefficients(key: str) -> None:
    names = ("(Intercept)", "age", "educ", "racehispan", "racewhite", "married", "nodegree", "re74", "re75")
    comparison = lalonde_comparison()
    kept = [j for j, name in enumerate(comparison.names) if name != "black"]
    fitted = fit_logistic(add_intercept(comparison.covariates[:, kept]), comparison.treated.astype(float))
    assert fitted[names.index(key.removeprefix("ps.coef."))] == pytest.approx(lalonde[key], rel=1e-6)


@pytest.mark.parametrize("key", [k for k in lalonde if k.startswith("ps.m") or k in ("n_treated", "n_control")])
def test_lalonde_propensities(key: str) -> None:
    comparison = lalonde_comparison()
    treated, e = comparison.treated, lalonde_weights("att").propensity
    ours = {
        "n_treated": treated.sum(), "n_control": (~treated).sum(), "ps.mean_treated": e[treated].mean(),
        "ps.mean_control": e[~treated].mean(), "ps.min": e.min(), "ps.max": e.max(),
    }  # fmt: skip
    assert ours[key] == pytest.approx(lalonde[key], rel=1e-6)


@pytest.mark.parametrize("key", [k for k in lalonde if k.startswith("unweighted.")])
def test_lalonde_balance_before(key: str) -> None:
    ours, tolerance = balance_value(lalonde_balance("att"), key.removeprefix("unweighted."), when="before")
    assert ours == pytest.approx(lalonde[key], rel=1e-6, abs=tolerance)


@pytest.mark.parametrize("key", [k for k in lalonde if k.startswith("ipw_") and (".smd." in k or ".diff." in k)])
def test_lalonde_balance_after(key: str) -> None:
    name, rest = key.split(".", 1)
    ours, tolerance = balance_value(lalonde_balance(name.removeprefix("ipw_")), rest, when="after")
    assert ours == pytest.approx(lalonde[key], rel=1e-6, abs=tolerance)


@pytest.mark.parametrize("key", [k for k in lalonde if k.startswith("ipw_") and k.split(".")[1][:2] in ("es", "w_")])
def test_lalonde_weights(key: str) -> None:
    name, what = key.split(".")
    treated, w = lalonde_comparison().treated, lalonde_weights(name.removeprefix("ipw_")).weights
    ours = {
        "ess_treated": compute_effective_size(w[treated]), "ess_control": compute_effective_size(w[~treated]),
        "w_max_control": w[~treated].max(),
    }  # fmt: skip
    assert ours[what] == pytest.approx(lalonde[key], rel=1e-6)


def test_the_redundant_category_is_named() -> None:
    (check,) = (c for c in lalonde_weights("att").checks if c.name == "redundant_covariates")
    assert check.text.endswith(": white.")


@cache
def nhefs_comparison(*, everybody: bool) -> Comparison:
    frame = pd.read_csv(shared("ps_nhefs") / "data.csv")
    frame = frame if everybody else frame[frame["wt82"].notna()]
    squares = {f"{name}2": frame[name] ** 2 for name in ("age", "smokeintensity", "smokeyrs", "wt71")}
    groups = {name: frame[name].astype("category") for name in ("education", "exercise", "active")}
    return Comparison.from_frame(frame.assign(**squares, **groups), treatment="qsmk", covariates=NHEFS)


@pytest.mark.parametrize("key", [k for k in nhefs if k.startswith(("ch12.ps.", "ch12.w.", "ch12.sw."))])
def test_nhefs_weights(key: str) -> None:
    comparison = nhefs_comparison(everybody=False)
    stabilise = "marginal" if ".sw." in key else "none"
    built = build_weights(comparison, options=WeightOptions(estimand="ATE", stabilise=stabilise))
    w, e = built.weights, built.propensity
    ours = {
        "mean": w.mean(), "min": w.min(), "max": w.max(),
        "mean_quit": e[comparison.treated].mean(), "mean_noquit": e[~comparison.treated].mean(),
    }  # fmt: skip
    assert ours[key.split(".")[-1]] == pytest.approx(nhefs[key], rel=1e-6)


@pytest.mark.parametrize("key", [k for k in nhefs if k.startswith("ch15.ps.")])
def test_nhefs_propensities_of_all(key: str) -> None:
    e = estimate_propensity(nhefs_comparison(everybody=True))
    assert {"min": e.min(), "max": e.max()}[key.split(".")[-1]] == pytest.approx(nhefs[key], rel=1e-6)
