"""Models of cost against R: glm, lm, sandwich and what `reference.R` of the data set writes out in R.

`reference.json` holds R's numbers for Medicare cost in MEPS 2003 (Cameron and Trivedi, Microeconometrics Using Stata,
chapter 3), compared to 1e-6 relative; `documented.json` holds numbers of the book, compared to half of their last
digit. Park's tests are compared with the other specification tests. Quantile regression is not built: the last test
says how its numbers are had from a linear programme.

`R_SMALL` holds numbers of R 4.2.2 for the 24 people below: `glm` with epsilon 1e-15, and the sandwich written out from
X'WX and working residuals times weights (HC0; HC1; clusters with G / (G - 1) and (n - 1) / (n - p)). Compared to 1e-6.
R does not converge with the identity link for poisson, or for gamma with these weights, so that they are not here.
"""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from evalkit.estimators.costs.cost_moments import compute_welch_difference, describe_costs
from evalkit.estimators.costs.glm import GlmModel, GlmOptions, fit_glm, predict_glm
from evalkit.estimators.costs.glm_margins import compute_margins
from evalkit.estimators.costs.retransform import (
    LogOls,
    compute_retransformed_difference,
    compute_retransformed_mean,
    fit_log_ols,
)
from evalkit.estimators.people.logistic import add_intercept
from tests.shared_data import reference, shared

NAME = "cost_meps_mus03"
COVARIATES = ("suppins", "phylim", "actlim", "totchr", "age", "female", "income")
NAMES = ("(Intercept)", *COVARIATES)
ERRORS = {"se": "model", "se_HC0": "HC0", "se_HC1": "HC1"}
MODELS = {
    "ols_log": ("gaussian", "identity"),
    "ols_level_positive": ("gaussian", "identity"),
    "ols_level_all": ("gaussian", "identity"),
    "glm_gamma_log": ("gamma", "log"),
    "glm_poisson_log": ("poisson", "log"),
}
OF_OTHERS = ("park_test.", "park_test_ols.", "quantreg")

meps = reference(NAME)


@cache
def frame() -> pd.DataFrame:
    return pd.read_csv(shared(NAME) / "data.csv")


@cache
def people(which: str) -> tuple[np.ndarray, np.ndarray]:
    """Design and cost of `all` or of those with a `positive` cost."""
    rows = frame() if which == "all" else frame()[frame()["totexp"] > 0]
    return add_intercept(rows[list(COVARIATES)].to_numpy(dtype=float)), rows["totexp"].to_numpy(dtype=float)


@cache
def log_ols(errors: str) -> LogOls:
    return fit_log_ols(*people("positive"), errors=errors, names=NAMES)


@cache
def model(key: str, errors: str) -> GlmModel:
    if key == "ols_log":
        return log_ols(errors).model
    x, y = people("all" if key in ("ols_level_all", "logit_any") else "positive")
    if key == "logit_any":
        return fit_glm(x, (y > 0).astype(float), options=GlmOptions("binomial", "logit", errors), names=NAMES)
    return fit_glm(x, y, options=GlmOptions(*MODELS[key], errors), names=NAMES)


def moment(key: str) -> float:
    cost = frame()["totexp"].to_numpy(dtype=float)
    insured = frame()["suppins"].to_numpy() == 1
    if key.startswith("welch."):
        welch = compute_welch_difference(cost, insured)
        words = {"diff": "value", "t": "statistic", "df": "degrees", "p": "p_value"}
        return getattr(welch, words.get(key[6:], key[6:]))
    if "suppins" in key:
        kind, side = key.split(".suppins")
        part = describe_costs(cost[insured == (side == "1")])
        return part.n if kind == "n" else part.mean
    words = {"max": "largest", "log.skewness": "log_skewness", "log.kurtosis": "log_kurtosis"}
    return getattr(describe_costs(cost), words.get(key, key))


def retransformed(key: str) -> float:
    fit, (x, cost) = log_ols("model"), people("positive")
    if key == "actual_mean":
        return describe_costs(cost).mean
    if key == "duan_factor":
        return compute_retransformed_mean(fit, x, method="duan").factors[0]
    method = key.split("_")[0] if key.endswith("_mean") else key.split("_")[-1]
    if key.endswith("_mean"):
        return compute_retransformed_mean(fit, x, method=method).value
    one, nought = x.copy(), x.copy()
    one[:, 1], nought[:, 1] = 1.0, 0.0
    return compute_retransformed_difference(fit, one, nought, method=method).value


def ours(key: str) -> float:
    head, _, rest = key.partition(".")
    if head == "retransform":
        return retransformed(rest)
    if key == "two_part_logit_gamma.mean_pred_all":
        x, _ = people("all")
        gamma = model("glm_gamma_log", "model")
        return float(
            (model("logit_any", "model").mu * predict_glm(x, gamma.coefficients, options=gamma.options)).mean()
        )
    if head not in (*MODELS, "logit_any"):
        return moment(key)
    fit = model(head, "model")
    if rest in ("n", "r2", "rmse"):
        return {"n": fit.n_people, "r2": log_ols("model").r_squared, "rmse": log_ols("model").sigma}[rest]
    if rest == "dispersion":
        return fit.dispersion
    if rest == "mean_pred":
        return fit.mu.mean()
    if rest == "incremental_suppins":
        return compute_margins(fit, people("positive")[0], columns=["suppins"], kind="difference").value[0]
    name, _, error = rest.partition(".se")
    place = NAMES.index(name)
    return (
        model(head, ERRORS["se" + error]).standard_errors[place] if error or rest != name else fit.coefficients[place]
    )


@pytest.mark.parametrize("key", [key for key in meps if not key.startswith(OF_OTHERS)])
def test_meps_equals_r(key: str) -> None:
    assert ours(key) == pytest.approx(meps[key], rel=1e-6)


def test_every_number_of_r_is_compared() -> None:
    shared(NAME)
    assert len(meps) == 203
    assert sum(not key.startswith(OF_OTHERS) for key in meps) == 197


@pytest.mark.parametrize("place", range(6))
def test_meps_equals_the_book(place: int) -> None:
    printed = json.loads((shared(NAME) / "documented.json").read_text())
    assert len(printed) == 6
    item = printed[place]
    assert ours(item["estimand"]) == pytest.approx(item["published"], abs=0.5 * 10.0 ** -item["digits"] * (1 + 1e-9))


COST = np.array([120, 340, 90, 1500, 610, 80, 2300, 410, 770, 150, 980, 60, 3100, 220, 450, 1900, 330, 70, 540, 1250,
                 200, 860, 4100, 300.0])  # fmt: skip
AGE = np.array([34, 51, 28, 47, 60, 22, 58, 39, 41, 30, 55, 25, 63, 33, 45, 52, 29, 27, 48, 57, 31, 44, 61, 36.0])
ANY = np.array([1, 0, 1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0.0])
X = np.column_stack([np.ones(24), np.tile([0.0, 1.0], 12), AGE])
CLUSTER = np.arange(24) // 3
WEIGHTS = 1 + (np.arange(1, 25) % 3) / 2

# Coefficients, then errors: model, HC0, HC1, cluster (three each); dispersion, deviance, log-likelihood.
R_SMALL = """
gaussian identity plain: -1653.1147531 -84.1449768913 60.4473364145 600.435001311 306.368367401 12.2330064259
   425.887948035 223.742382629 13.1500471377 455.293367629 239.190668199 14.0579917169 458.411672638 244.061252857
   15.0828916709 512663.783664 10765939.4569 -190.220654287;
gaussian log plain: 2.41530518645 -0.0083751717869 0.088897667814 1.40403317837 0.316247977703 0.0233877622309
   0.741458549001 0.306695277341 0.0130477576294 0.79265253053 0.327871042843 0.0139486396328 0.724208726714
   0.342337213579 0.0133257219029 383771.845555 8059208.73074 -186.74579008;
gamma log plain: 2.45618597447 0.0112879218551 0.0889322564724 0.445222524342 0.227172129564 0.00907077367133
   0.487976895316 0.240116206209 0.00912036955145 0.521669244267 0.256695021899 0.00975008517208 0.32542749501
   0.20867496408 0.00524144493635 0.281873918142 6.35784295416 -164.902922843;
gamma identity plain: -851.89596402 109.905286639 36.0791004744 242.506048941 101.594841288 7.42050794901
   218.296624836 75.5615211217 7.17026954883 233.368908236 80.7786639031 7.66534057787 145.658514955 74.8073905792
   5.3778335278 0.549194789217 10.6034070918 -171.390303858;
gamma sqrt plain: -13.4612526313 -0.03655696553 0.922666350001 4.33815201725 2.25324167852 0.112651796435 4.4771128918
   2.11604195072 0.118499483887 4.78623500658 2.26214399876 0.126681276919 2.82096794815 2.3545130023 0.0929277668312
   0.322230960138 6.94021447782 -166.002815968;
poisson log plain: 2.57866953912 0.0758814310204 0.0856865758553 0.729811045096 0.252838493718 0.01271512895
   0.478237586098 0.272980066393 0.00965382828064 0.511257484759 0.291827966247 0.010320376542 0.413389372919
   0.283293098532 0.00879534005307 244.471799367 5461.43058735 nan;
poisson sqrt plain: -18.7662657865 -0.315646065512 1.06508564681 6.98067994932 3.5618501832 0.142221393641
   5.57257542095 2.94045288067 0.15023017884 5.95733371062 3.14347635469 0.160602816678 4.65827390565 2.8765561177
   0.155225070556 277.176292969 6006.38108617 nan;
inverse_gaussian log plain: 2.2649060892 -0.247073808546 0.0985853888492 0.415942006041 0.20045414447 0.011363001023
   0.519894849154 0.293925020545 0.0101971171439 0.555790972195 0.31421906408 0.0109011767673 0.417441337311
   0.376695893738 0.00596718978489 0.000689636703951 0.0168203607363 -166.286151022;
inverse_gaussian sqrt plain: -8.16062780981 -0.669571008677 0.752701790823 4.18465897633 1.83922432491 0.124338180352
   4.32295550462 2.22444924494 0.112963267567 4.62143382758 2.3780362711 0.120762812722 3.29927328292 2.79189919855
   0.077538328914 0.000939026304211 0.0204432087588 -168.626878655;
binomial logit plain: -1.27442594613 -1.17390786879 0.0540148611269 1.81812925379 0.929994020288 0.0401412302235
   1.73411842522 0.948634797443 0.0352678611667 1.85385057579 1.01413325634 0.0377029295 2.53114496505 1.49469666061
   0.0436494426364 1 27.8320195831 -13.9160097916;
binomial probit plain: -0.818036135064 -0.716582106787 0.0339326650209 1.10475969956 0.563318705701 0.0237520908526
   1.06089131538 0.575767497767 0.020729951 1.13414052193 0.615521346024 0.0221612497961 1.57532533152 0.916403460243
   0.0267258067608 1 27.7478909621 -13.8739454811;
gaussian identity weighted: -1617.59290538 -180.375871076 60.2171870818 686.363901692 336.857226201 13.5585468877
   464.639964369 275.436262233 14.7076189043 496.721015677 294.453750048 15.7231059757 476.431158043 298.066377741
   16.7024790306 934955.176661 19634058.7099 -193.036745343;
gaussian log weighted: 2.15713060012 -0.047495259384 0.0930929745642 1.71816999735 0.347778732073 0.0285559552856
   0.926360180009 0.315162025606 0.0161464206441 0.99032068867 0.336922377468 0.0172612497352 0.886636098743
   0.354073428927 0.0161783561887 721277.889139 15146835.6702 -189.923056095;
gamma log weighted: 2.70980840133 -0.0258415250377 0.0836847103067 0.477295742825 0.234249673693 0.00942857963894
   0.549101483451 0.258367099104 0.0103111285116 0.587014177612 0.276206047103 0.0110230600462 0.377647897102
   0.209364309776 0.00646032321399 0.452123460884 10.5393491624 -254.639643456;
gamma sqrt weighted: -12.1907887726 -1.12551789428 0.908489153919 4.58077958486 2.47526272266 0.113921545993
   4.78726522243 2.30738084921 0.126567338338 5.11780179484 2.4666938853 0.135306176119 3.08964899119 2.42165151134
   0.109689144038 0.505554178035 11.2621571383 -255.893330111;
poisson log weighted: 2.70729173211 0.0119505153955 0.0832719317384 0.834367603303 0.269644039853 0.0144128643699
   0.512728273184 0.288345940539 0.0107136967188 0.548129580219 0.308254776675 0.0114534235621 0.433259752114
   0.29508757025 0.0099491926698 447.41327299 9927.07095402 nan;
poisson sqrt weighted: -17.2961663358 -1.50534190436 1.04038692132 7.97054169382 3.91182368374 0.157451408807
   6.21405376156 3.52525797019 0.169258945833 6.6431029025 3.7686592927 0.180945424272 5.06620739698 3.43220522954
   0.174477540363 504.333235432 10921.5042539 nan;
inverse_gaussian log weighted: 2.48817473125 -0.320226477158 0.0946366794025 0.396876737225 0.199561969045
   0.0105402669225 0.54231294902 0.309944698986 0.00988735694845 0.579756929041 0.331344820701 0.0105700291891
   0.409145710696 0.381485469134 0.00514229628618 0.000875150161505 0.0243759214134 -256.913503641;
inverse_gaussian sqrt weighted: -7.43040834981 -1.59233583422 0.759518110715 4.01459222271 1.91565885448
   0.115464091164 4.22292360435 2.27923286865 0.108113147472 4.514495228 2.43660242833 0.115577816242 2.94556765856
   2.79791359117 0.0775293591809 0.00115856312973 0.0272282570577 -258.905374258;
binomial logit weighted: -1.04294404864 -1.41883797371 0.0547404390652 1.56529042711 0.793714033969 0.0339267888276
   1.69651090994 0.974149104988 0.034534630704 1.81364645084 1.04140919843 0.0369190731638 2.51658901802 1.55377709669
   0.0422639487546 1 39.6568335723 -22.3100553443;
binomial probit weighted: -0.683851724391 -0.853704411443 0.0341972439215 0.943649643603 0.47147232917 0.019865079361
   1.03078826421 0.583994259541 0.0199492364398 1.10195900657 0.624316124299 0.0213266308244 1.55739967117
   0.940182588839 0.0257516971273 1 39.5257598173 -22.2419358899
"""
SMALL = {
    tuple(head.split()): [float(number) for number in numbers.split()]
    for head, numbers in (entry.split(":") for entry in R_SMALL.split(";"))
}


@pytest.mark.parametrize("key", SMALL)
def test_every_family_and_link_equals_r(key: tuple[str, str, str]) -> None:
    family, link, weighting = key
    y = ANY if family == "binomial" else COST
    weights = None if weighting == "plain" else WEIGHTS
    found, last = [], None
    for errors in ("model", "HC0", "HC1", "cluster"):
        cluster = CLUSTER if errors == "cluster" else None
        last = fit_glm(X, y, weights=weights, cluster=cluster, options=GlmOptions(family, link, errors))
        found += [*last.standard_errors]
    found = [*last.coefficients, *found, last.dispersion, last.deviance, last.log_likelihood]
    wanted = SMALL[key]
    assert np.array(found[:-1]) == pytest.approx(np.array(wanted[:-1]), rel=1e-6)
    if family == "binomial" and weighting == "weighted":
        return  # R rounds the weights of a binomial likelihood to whole numbers
    assert found[-1] == pytest.approx(wanted[-1], rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("key", [key for key in meps if key.startswith("quantreg")])
def test_quantile_regression_is_a_linear_programme(key: str) -> None:
    """Not built in evalkit. Its dual, max y'a with X'a = (1 - tau) X'1 and a in 0 to 1, has b as its multipliers."""
    tau, name = float(key[len("quantreg") :].rpartition(".")[0]), key.rpartition(".")[2]
    x, cost = people("positive")
    solved = optimize.linprog(
        -np.log(cost), A_eq=x.T, b_eq=(1 - tau) * x.sum(axis=0), bounds=(0, 1), method="highs"
    )  # fmt: skip
    assert -solved.eqlin.marginals[NAMES.index(name)] == pytest.approx(meps[key], rel=1e-6)
