"""Effects equal R's on two published data sets: NHEFS (Hernan and Robins, What If) and MatchIt's lalonde.

R's numbers come from glm, geepack::geeglm (HC0), WeightIt::lm_weightit (M-estimation) and plain arithmetic, in
../shared; tolerance 1e-6 relative. What the book and the manuals print is met to its last digit.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from causaldata import nhefs
from scipy import optimize, stats

from evalkit.cohort.comparison import Comparison
from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand
from evalkit.estimators.people.effect_means import compute_effect_means
from evalkit.estimators.people.logistic import add_intercept, fit_logistic, predict_logistic
from evalkit.estimators.people.marginal_structural import (
    StructuralFit,
    StructuralOptions,
    compute_intervals,
    fit_marginal_structural,
)
from evalkit.estimators.people.person_effects import EffectOptions, build_plan, estimate_effect
from tests.shared_data import reference, shared

YEAR = Window(pd.Timestamp("2020-01-01").date(), pd.Timestamp("2021-01-01").date())
SQUARED = ("age", "smokeintensity", "smokeyrs", "wt71")
NHEFS = ("sex", "race", "age", "age2", "education", "smokeintensity", "smokeintensity2", "smokeyrs", "smokeyrs2",
         "exercise", "active", "wt71", "wt712")  # fmt: skip
LALONDE = ("age", "educ", "race", "married", "nodegree", "re74", "re75")
PAIR = ("(Intercept)", "qsmk")
# The weights themselves, and the range of propensities, belong to the tests of weighting.
NOT_HERE = ("ch12.ps.", "ch12.w.", "ch12.sw.", "ch15.ps.m")
OURS_LALONDE = ("unadjusted.", "ols_adjusted.", "gcomp.", "aipw.")


def of(contrast: str, scale: str = "mean_difference") -> Estimand:
    return Estimand("outcome", contrast, "everybody", YEAR, scale)


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.assign(**{f"{name}2": frame[name] ** 2 for name in SQUARED})
    return frame.assign(**{name: frame[name].astype("category") for name in ("education", "exercise", "active")})


def compare(frame: pd.DataFrame) -> Comparison:
    return Comparison.from_frame(frame, treatment="qsmk", covariates=NHEFS, outcome="wt82_71")


@functools.cache
def people() -> tuple[pd.DataFrame, pd.DataFrame]:
    everybody = prepare(pd.read_csv(shared("ps_nhefs") / "data.csv"))
    return everybody, everybody[everybody["wt82_71"].notna()].reset_index(drop=True)


def logit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return predict_logistic(x, fit_logistic(x, y))


def table(key: str, fit: StructuralFit, *, distribution: str = "normal") -> dict[str, float]:
    ends = compute_intervals(fit, distribution=distribution)
    found = {}
    for j, name in enumerate(fit.names):
        found[f"{key}.{name}"] = fit.coefficients[j]
        found[f"{key}.{name}.se"] = found[f"{key}.{name}.se_robust"] = fit.se[j]
        found[f"{key}.{name}.lo"], found[f"{key}.{name}.hi"] = ends[j]
    return found


@functools.cache
def weighted_numbers() -> dict[str, float]:
    """Chapter 12."""
    everybody, frame = people()
    c = compare(frame)
    x, t, y = add_intercept(c.covariates), c.treated.astype(float), c.outcome
    one, design = np.ones(len(t)), np.column_stack([np.ones(len(t)), t])
    e = logit(x, t)
    w = np.where(c.treated, 1 / e, 1 / (1 - e))
    found = {"n_all": len(everybody), "n_uncensored": len(frame), "n_treated_uncensored": c.treated.sum()}
    sides = fit_marginal_structural(np.column_stack([1 - t, t]), y, one, names=("no", "yes"))
    found |= {"ch12.mean_noquit": sides.coefficients[0], "ch12.mean_quit": sides.coefficients[1]}
    plain = fit_marginal_structural(design, y, one, names=PAIR, options=StructuralOptions(errors="model"))
    found |= table("ch12.unadjusted", plain, distribution="t")
    iptw = fit_marginal_structural(design, y, w, names=PAIR)
    found |= table("ch12.iptw", iptw)
    hc1 = fit_marginal_structural(design, y, w, names=PAIR, options=StructuralOptions(errors="HC1"))
    found |= {"ch12.iptw.qsmk.se_HC0_glm": iptw.se[1], "ch12.iptw.qsmk.se_HC1_glm": hc1.se[1]}
    stable = w * np.where(c.treated, t.mean(), 1 - t.mean())
    found |= table("ch12.iptw_stabilised", fit_marginal_structural(design, y, stable, names=PAIR))
    logistic = StructuralOptions(family="logistic")
    death = fit_marginal_structural(design, frame["death"].to_numpy(float), stable, names=PAIR, options=logistic)
    found |= table("ch12.msm_logistic_death", death)
    for ending in ("", "_lo", "_hi"):
        name = f"ch12.msm_logistic_death.qsmk{ending.replace('_', '.')}"
        found[f"ch12.msm_logistic_death.or{ending}"] = np.exp(found[name])
    sex = frame["sex"].to_numpy(float)
    by_sex = logit(add_intercept(sex[:, None]), t)
    found |= table(
        "ch12.effect_modification_sex",
        fit_marginal_structural(
            np.column_stack([one, t, sex, t * sex]), y, np.where(c.treated, by_sex / e, (1 - by_sex) / (1 - e)),
            names=("(Intercept)", "qsmk", "sex", "qsmk:sex"),
        ),
    )  # fmt: skip
    return found


@functools.cache
def censored() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of everybody, with weights of 1982 unknown for some: propensity, treatment, who is seen, chance to be seen."""
    everybody, _ = people()
    c = compare(everybody.fillna({"wt82_71": 0.0}))
    x, t = add_intercept(c.covariates), c.treated.astype(float)
    seen = everybody["wt82_71"].notna().to_numpy()
    return logit(x, t), t, seen, logit(np.column_stack([x, t]), seen.astype(float))


@functools.cache
def censoring_numbers() -> dict[str, float]:
    e, t, seen, chance = censored()
    _, frame = people()
    share = logit(add_intercept(t[:, None]), seen.astype(float))
    weights = (np.where(t == 1, t.mean() / e, (1 - t.mean()) / (1 - e)) * share / chance)[seen]
    found = {
        "ch12.iptw_ipcw.sw.mean_uncensored": weights.mean(),
        "ch12.iptw_ipcw.sw.max_uncensored": weights.max(),
    }
    y = frame["wt82_71"].to_numpy(float)
    return found | table(
        "ch12.iptw_ipcw", fit_marginal_structural(add_intercept(t[seen, None]), y, weights, names=PAIR)
    )


@functools.cache
def continuous_numbers() -> dict[str, float]:
    """A continuous treatment, change in cigarettes a day, with stabilised density-ratio weights (section 12.4)."""
    _, frame = people()
    frame = frame[frame["smokeintensity"] <= 25].reset_index(drop=True)
    c = compare(frame)
    x, a = add_intercept(c.covariates), frame["smkintensity82_71"].to_numpy(float)
    names = ("(Intercept)", *c.names)
    residual = a - x @ fit_marginal_structural(x, a, np.ones(len(a)), names=names).coefficients
    spread = np.sqrt(residual @ residual / (len(a) - x.shape[1]))
    weights = stats.norm.pdf(a, a.mean(), a.std(ddof=1)) / stats.norm.pdf(residual, 0, spread)
    fit = fit_marginal_structural(
        np.column_stack([np.ones(len(a)), a, a * a]), c.outcome, weights,
        names=("(Intercept)", "smkintensity82_71", "I(smkintensity82_71^2)"),
    )  # fmt: skip
    found = {"ch12.continuous.n": len(a), "ch12.continuous.sw.mean": weights.mean()}
    return found | table("ch12.continuous", fit)


@functools.cache
def regression_numbers() -> dict[str, float]:
    """Chapters 13 and 15, and AIPW."""
    _, frame = people()
    c = compare(frame)
    options = EffectOptions(method="gcomp", interactions=("smokeintensity",))
    plan = build_plan(c, of("ATE"), options)
    means = compute_effect_means(c, plan, sampling=c.sampling[None], rng=None, errors="none").value[0]
    effect = estimate_effect(c, of("ATE"), options=options).value
    found = {"ch13.standardised.y0": means[0], "ch13.standardised.y1": means[1], "ch13.standardised.diff": effect}
    aipw = estimate_effect(c, of("ATE"), options=replace(options, method="aipw", errors="efficient"))
    found |= {"aipw.ate": aipw.value, "aipw.ate.se_if": aipw.se}
    x, t, y = add_intercept(c.covariates), c.treated.astype(float), c.outcome
    one, trust = np.ones(len(t)), StructuralOptions(errors="model")
    names = ("(Intercept)", *c.names, "qsmk")
    product = t * frame["smokeintensity"].to_numpy(float)
    fit = fit_marginal_structural(
        np.column_stack([x, t, product]), y, one, names=(*names, "product"), options=trust
    )  # fmt: skip
    found["ch13.mean_predicted"] = (np.column_stack([x, t, product]) @ fit.coefficients).mean()
    for level in (5, 40):
        pick = np.concatenate([np.zeros(x.shape[1]), [1, level]])
        value, se = pick @ fit.coefficients, np.sqrt(pick @ fit.variance @ pick)
        key = f"ch15.effect_at_intensity{level}"
        found |= {key: value, f"{key}.lo": value + stats.norm.ppf(0.025) * se}
        found[f"{key}.hi"] = value + stats.norm.ppf(0.975) * se
    plain = fit_marginal_structural(np.column_stack([x, t]), y, one, names=names, options=trust)
    found |= table("ch15.outcome_regression", plain, distribution="t")
    everybody, _, seen, _ = censored()
    e = everybody[seen]
    fit = fit_marginal_structural(np.column_stack([one, t, e]), y, one, names=(*PAIR, "e"), options=trust)
    found |= table("ch15.ps_regression", fit, distribution="t")
    edges = np.quantile(everybody, np.arange(1, 10) / 10)
    tenths = np.searchsorted(edges, e)[:, None] == np.arange(1, 10)
    fit = fit_marginal_structural(
        np.column_stack([one, t, tenths]), y, one, names=(*PAIR, *map(str, range(1, 10)))
    )  # fmt: skip
    found["ch15.ps_deciles.qsmk"] = fit.coefficients[1]
    fit = fit_marginal_structural(np.column_stack([one, t, e, t * e]), y, one, names=(*PAIR, "e", "qsmk:e"))
    found["ch15.ps_standardised.diff"] = fit.coefficients[1] + fit.coefficients[3] * everybody.mean()
    return found


@functools.cache
def estimation_numbers() -> dict[str, float]:
    """Chapter 14: g-estimation, weighted for censoring; psi at which Y - psi A says nothing of A given covariates."""
    _, _, seen, chance = censored()
    _, frame = people()
    c = compare(frame)
    x, t, y, w = add_intercept(c.covariates), c.treated.astype(float), c.outcome, 1 / chance[seen]

    def statistic(psi: float) -> float:
        fit = fit_marginal_structural(
            np.column_stack([x, y - psi * t]), t, w, names=("(Intercept)", *c.names, "H"),
            options=StructuralOptions(family="logistic"),
        )  # fmt: skip
        return fit.coefficients[-1] / fit.se[-1]

    z = stats.norm.ppf(0.975)
    psi = optimize.brentq(statistic, 2, 5, xtol=1e-10)
    e = predict_logistic(x, fit_logistic(x, t, weights=w))
    return {
        "ch14.gest.psi": psi,
        "ch14.gest.lo": optimize.brentq(lambda p: statistic(p) - z, 1, psi, xtol=1e-10),
        "ch14.gest.hi": optimize.brentq(lambda p: statistic(p) + z, psi, 6, xtol=1e-10),
        "ch14.gest_closed_form.psi": (w * y * (t - e)).sum() / (w * t * (t - e)).sum(),
    }


def nhefs_number(key: str) -> float:
    parts = {"ch14": estimation_numbers, "ch13": regression_numbers, "ch15": regression_numbers}
    for start, numbers in (
        {"ch12.iptw_ipcw": censoring_numbers, "ch12.continuous": continuous_numbers} | parts
    ).items():
        if key.startswith(start):
            return float(numbers()[key])
    return float((regression_numbers() if key.startswith("aipw") else weighted_numbers())[key])


@pytest.mark.parametrize("key", [key for key in reference("ps_nhefs") if not key.startswith(NOT_HERE)])
def test_nhefs_equals_r(key):
    assert nhefs_number(key) == pytest.approx(reference("ps_nhefs")[key], rel=1e-6)


def documented(name: str) -> list[dict]:
    path = shared(name) / "documented.json"
    return json.loads(path.read_text())


def test_nhefs_equals_what_if_as_printed():
    printed = documented("ps_nhefs")
    assert len(printed) == 20
    wrong = {
        one["estimand"]: (nhefs_number(one["estimand"]), one["published"])
        for one in printed
        if abs(nhefs_number(one["estimand"]) - one["published"]) > 0.5 * 10.0 ** -one["digits"] + 1e-9
    }
    assert wrong == {}


def test_weighting_by_name_equals_the_marginal_structural_model():
    _, frame = people()
    found = estimate_effect(compare(frame), of("ATE"), options=EffectOptions(method="ipw"))
    assert found.value == pytest.approx(nhefs_number("ch12.iptw.qsmk"), rel=1e-9)
    assert found.se < nhefs_number("ch12.iptw.qsmk.se_robust")  # estimated weights are better than known ones


@functools.cache
def lalonde() -> Comparison:
    frame = pd.read_csv(shared("ps_lalonde_matchit") / "data.csv")
    return Comparison.from_frame(frame, treatment="treat", covariates=LALONDE, outcome="re78")


@functools.cache
def lalonde_numbers() -> dict[str, float]:
    c, found = lalonde(), {}
    t, one = c.treated.astype(float), np.ones(len(c))
    x = add_intercept(c.covariates)
    for contrast in ("ATT", "ATE", "ATO"):
        options = EffectOptions(method="ipw", correction="none")
        effect, key = estimate_effect(c, of(contrast), options=options), f"ipw_{contrast.lower()}"
        means = compute_effect_means(
            c, build_plan(c, of(contrast), options), sampling=c.sampling[None], rng=None, errors="stacked"
        )
        found |= {f"{key}.effect": effect.value, f"{key}.effect.se_M_estimation": effect.se}
        found[f"{key}.intercept"] = means.value[0, 0]
        found[f"{key}.intercept.se_M_estimation"] = np.sqrt((means.influence[:, 0] ** 2).sum())
        fixed = fit_marginal_structural(add_intercept(t[:, None]), c.outcome, means.weights, names=PAIR)
        found[f"{key}.effect.se_HC0_weights_fixed"] = fixed.se[1]
    for contrast in ("ATT", "ATE"):
        found[f"gcomp.{contrast.lower()}"] = estimate_effect(
            c, of(contrast), options=EffectOptions(method="gcomp")
        ).value
        # R's script divides the ATE's variance by n - 1 and the ATT's by n.
        correction = "none" if contrast == "ATT" else "clusters"
        aipw = estimate_effect(c, of(contrast), options=EffectOptions(errors="efficient", correction=correction))
        found |= {f"aipw.{contrast.lower()}": aipw.value, f"aipw.{contrast.lower()}.se_if": aipw.se}
    found["unadjusted.diff"] = fit_marginal_structural(
        add_intercept(t[:, None]), c.outcome, one, names=PAIR
    ).coefficients[1]
    for errors, ending in (("model", ".se"), ("HC3", ".se_HC3")):
        fit = fit_marginal_structural(
            np.column_stack([x, t]), c.outcome, one, names=("(Intercept)", *c.names, "treat"),
            options=StructuralOptions(errors=errors),
        )  # fmt: skip
        found |= {"ols_adjusted.treat": fit.coefficients[-1], f"ols_adjusted.treat{ending}": fit.se[-1]}
    return found


def is_ours(key: str) -> bool:
    weighted = key.startswith("ipw_") and any(part in key for part in (".effect", ".intercept"))
    return weighted or key.startswith(OURS_LALONDE)


@pytest.mark.parametrize("key", [key for key in reference("ps_lalonde_matchit") if is_ours(key)])
def test_lalonde_equals_r(key):
    assert lalonde_numbers()[key] == pytest.approx(reference("ps_lalonde_matchit")[key], rel=1e-6)


def test_lalonde_equals_the_readme_of_weightit():
    printed = [one for one in documented("ps_lalonde_matchit") if is_ours(one["estimand"])]
    assert len(printed) == 4
    for one in printed:
        assert lalonde_numbers()[one["estimand"]] == pytest.approx(one["published"], abs=0.05)


MPDTA = {"dr": "did_aipw", "ipw": "did_ipw", "reg": "did_gcomp"}


@functools.cache
def mpdta_effect(key: str) -> tuple[float, float]:
    """One cohort of counties against those never treated, from the year before its adoption, as R's `did` has it."""
    _, _, way, _, cohort, year = key.split(".")
    frame = pd.read_csv(shared("did_mpdta") / "data.csv")
    wide = frame.pivot(index="countyreal", columns="year", values="lemp")
    first = frame.groupby("countyreal")[["lpop", "first.treat"]].first()
    adoption = int(cohort[1:])
    sides = pd.DataFrame({
        "treated": (first["first.treat"] == adoption).astype(int), "lpop": first["lpop"], "after": wide[int(year[1:])],
        "before": wide[adoption - 1],
    })[first["first.treat"].isin([0, adoption])]  # fmt: skip
    c = Comparison.from_frame(sides, treatment="treated", covariates=("lpop",), outcome="after", before="before")
    found = estimate_effect(c, of("ATT"), options=EffectOptions(method=MPDTA[way], correction="none"))
    return found.value, found.se


def is_after(key: str) -> bool:
    parts = key.split(".")
    return key.startswith("lpop.never.") and parts[3] == "att_gt" and int(parts[5][1:]) >= int(parts[4][1:])


@pytest.mark.parametrize("key", [key for key in reference("did_mpdta") if is_after(key)])
def test_differences_in_differences_equal_r_did(key):
    """DRDID's drdid_panel, std_ipw_did_panel and reg_did_panel by way of R's did; 20 counties adopt in 2004.

    R's glm stops at a deviance change of 1e-8, which leaves some errors of the weighted estimates 2e-6 from the limit.
    """
    value, se = mpdta_effect(key.removesuffix(".se"))
    expected = reference("did_mpdta")[key]
    assert (se if key.endswith(".se") else value) == pytest.approx(expected, rel=5e-6 if key.endswith(".se") else 1e-6)


def test_nhefs_of_the_registry_equals_what_if():
    """Without ../shared: data from the causaldata package; numbers as printed in What If, 12.2 and 13.3, one digit."""
    frame = prepare(nhefs.load_pandas().data.dropna(subset=["wt82_71"]))
    c = compare(frame)
    weighted = estimate_effect(c, of("ATE"), options=EffectOptions(method="ipw"))
    standardised = estimate_effect(
        c, of("ATE"), options=EffectOptions(method="gcomp", interactions=("smokeintensity",))
    )  # fmt: skip
    assert weighted.value == pytest.approx(3.4, abs=0.05)
    assert standardised.value == pytest.approx(3.5, abs=0.05)
    assert weighted.value == pytest.approx(3.44053542964541, rel=1e-6)  # R glm + geeglm on the same file
