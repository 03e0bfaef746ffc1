"""R's numbers for competing risks and rank tests: survival 3.5-3 and cmprsk 2.2-11.

`finegray` and `coxph` of survival, `crr` and `cuminc` of cmprsk, `survdiff`. R's `coxph` stops within about 1e-7 of the
maximum. Numbers in `small` were computed with the same versions of R on the 80 people below.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.fine_gray import FineGrayOptions, compute_cumulative_incidence_at, fit_fine_gray
from evalkit.estimators.survival.gray import compute_gray_test
from evalkit.estimators.survival.log_rank import LogRankOptions, compute_log_rank
from tests.shared_data import reference, shared

MGUS = {
    k: v for k, v in reference("cr_mgus2").items() if k.startswith(("finegray_survival", "crr_cmprsk", "gray_test"))
}
BASICS = {k: v for k, v in reference("surv_basics").items() if "logrank" in k or "peto_wilcoxon" in k}
CRR = FineGrayOptions(ties="breslow", errors="robust_censoring", tied_censoring="with_events")


@functools.cache
def mgus() -> tuple[FollowUp, np.ndarray]:
    df = pd.read_csv(shared("cr_mgus2") / "data.csv")
    df["time"] = np.where(df["pstat"] == 0, df["futime"], df["ptime"])
    df["kind"] = np.where(df["pstat"] == 0, 2 * df["death"], 1)
    df["sexM"] = (df["sex"] == "M").astype(float)
    people = FollowUp.from_frame(
        df, exit="time", event="kind", person="id", covariates=("age", "sexM"), causes=("pcm", "death")
    )
    return people, df["sex"].to_numpy()


@functools.cache
def ours() -> dict[str, float]:
    people, sex = mgus()
    found: dict[str, float] = {}
    models = {
        "finegray_survival": FineGrayOptions(errors="robust"),
        "finegray_survival_breslow_naive": FineGrayOptions(ties="breslow", errors="model"),
        "crr_cmprsk": CRR,
    }
    for cause, outcome in enumerate(people.causes, 1):
        for model, options in models.items():
            fit = fit_fine_gray(people, cause=cause, options=options)
            for k, name in enumerate(fit.names):
                key = f"{model}.{outcome}.{name}"
                found[key] = fit.coefficients[k]
                found[f"{key}.se"] = fit.se[k] if model == "crr_cmprsk" else np.sqrt(fit.variance[k, k])
                if model == "finegray_survival":
                    found[f"{key}.se_robust"] = fit.se[k]
            if model != "crr_cmprsk":
                continue
            found[f"{model}.{outcome}.loglik"] = fit.log_likelihood
            for age in (60, 80):
                for male in (0, 1):
                    risks = compute_cumulative_incidence_at(fit, np.array([age, male]), np.array([120, 240]))[0]
                    for time, risk in zip((120, 240), risks, strict=True):
                        found[f"{model}.{outcome}.cif.age{age}.sex{male}.t{time}"] = risk
        test = compute_gray_test(people, sex, cause=cause)
        found[f"gray_test.cause{cause}.stat"], found[f"gray_test.cause{cause}.p"] = test.statistic, test.p_value
    return found


@functools.cache
def basics() -> dict[str, float]:
    aml, lung = (pd.read_csv(shared("surv_basics") / f"{name}.csv") for name in ("aml", "lung"))
    people = FollowUp.from_frame(aml, exit="time", event="status")
    other = FollowUp.from_frame(lung.assign(dead=lung["status"] - 1), exit="time", event="dead")
    peto = LogRankOptions(rho=1)
    return {
        "aml.logrank.chisq": compute_log_rank(people, aml["x"].to_numpy()).statistic,
        "aml.peto_wilcoxon.chisq": compute_log_rank(people, aml["x"].to_numpy(), options=peto).statistic,
        "lung.logrank.chisq": compute_log_rank(other, lung["sex"].to_numpy()).statistic,
    }


@pytest.mark.parametrize("key", MGUS)
def test_competing_risks_equal_r(key: str) -> None:
    assert ours()[key] == pytest.approx(MGUS[key], rel=1e-6)


@pytest.mark.parametrize("key", BASICS)
def test_rank_tests_equal_r(key: str) -> None:
    assert basics()[key] == pytest.approx(BASICS[key], rel=1e-9)


def test_no_number_of_r_is_left_out() -> None:
    shared("cr_mgus2")
    assert set(ours()) == set(MGUS)
    assert set(basics()) == set(BASICS)


def small(**kwargs: str) -> FollowUp:
    return FollowUp.from_frame(
        small_frame(), exit="exit", event="event", person="person", covariates=("x", "z"), causes=("a", "b"), **kwargs
    )


def small_frame() -> pd.DataFrame:
    i = np.arange(80)
    df = pd.DataFrame({"person": i, "entry": (i * 5) % 4, "x": (i * 7 % 11) / 5 - 1, "z": i % 2, "g": (i // 3) % 2})
    df["event"], df["w"], df["pair"] = (i * 7 + i // 4) % 3, 0.5 + (i % 5) / 2, i // 2
    return df.assign(exit=df["entry"] + 1 + (i * 13 % 17) + df["z"] * 2)


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("efron", (-0.233760423262986, -0.147460686406991, 0.252159031243241, 0.330981370716766, 0.332955838105054,
                   0.500547600593224, -162.847552901895, -162.314032081813)),
        ("breslow", (-0.230620672639837, -0.14516881595098, 0.252309606915872, 0.33097706132842, 0.329226529892167,
                     0.495940713399252, -163.129993055271, -162.610892180994)),
    ],
)  # fmt: skip
def test_delayed_entry_weights_and_clusters_equal_r(ties: str, expected: tuple[float, ...]) -> None:
    """finegray(Surv(entry, exit, e) ~ ., id, weights = w), coxph(weights = fgwt, cluster = pair)."""
    people = small(entry="entry", weights="w", cluster="pair")
    fit = fit_fine_gray(people, options=FineGrayOptions(ties=ties, errors="robust"))
    found = (*fit.coefficients, *np.sqrt(np.diag(fit.variance)), *fit.se, fit.log_likelihood_null, fit.log_likelihood)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("ties", "expected"),
    [
        ("efron", (0.0203101413296206, 0.0758517992517747, 0.322847067046757, 0.410702246758145, 0.33578019367882,
                   0.441913070174045, -79.3598333358171, -79.3407018034657)),
        ("breslow", (0.0170763115669064, 0.0745444793841649, 0.322545769044515, 0.410657990210078, 0.331293476033632,
                     0.438820778777271, -79.5085590983145, -79.4905768013529)),
    ],
)  # fmt: skip
def test_strata_of_censoring_and_baseline_equal_r(ties: str, expected: tuple[float, ...]) -> None:
    """finegray(... + strata(g)), coxph(... + strata(g)). With weights too, survival 3.5-3 mixes up people's weights."""
    people = small(entry="entry", stratum="g", cluster="pair")
    fit = fit_fine_gray(people, options=FineGrayOptions(ties=ties, errors="robust"))
    found = (*fit.coefficients, *np.sqrt(np.diag(fit.variance)), *fit.se, fit.log_likelihood_null, fit.log_likelihood)
    assert found == pytest.approx(expected, rel=1e-9)


def test_crr_on_small_data() -> None:
    fit = fit_fine_gray(small(), options=CRR)
    expected = (0.0217716815166, -0.258823632252005, 0.303423326134455, 0.37855107560248, -98.9150711336518)
    # crr's line search ends where the score is still 1e-8; ours at 1e-15.
    assert (*fit.coefficients, *fit.se, fit.log_likelihood) == pytest.approx(expected, rel=1e-7)
    risks = compute_cumulative_incidence_at(fit, np.array([[0, 0], [1, 1]]), np.array([5, 12]))
    assert risks[0] == pytest.approx([0.0435047403149017, 0.2057081283355333], rel=1e-7)
    assert risks[1] == pytest.approx([0.0344834851533611, 0.1661474057729987], rel=1e-7)


def test_crr_with_censoring_groups() -> None:
    """crr(cengroup = g): the same fit. Its errors let each group answer for all people's weights, ours for its own."""
    fit = fit_fine_gray(small(stratum="g"), options=FineGrayOptions(**{**vars(CRR), "strata": "censoring"}))
    assert (*fit.coefficients, fit.log_likelihood) == pytest.approx(
        (0.0020725424147655, -0.275109338886596, -97.6634562361063), rel=1e-9
    )
    assert fit.se == pytest.approx((0.299033668945503, 0.37575999348123), rel=1e-2)


@pytest.mark.parametrize(
    ("rho", "statistic", "stratified"),
    [(0, 1.38300533329421, 4.90440347322603), (0.5, 1.77789133513499, 5.50837328838698),
     (1, 2.129092860874, 6.00148665455175)],
)  # fmt: skip
def test_three_groups_with_and_without_strata(rho: float, statistic: float, stratified: float) -> None:
    """survdiff(Surv(exit, event == 1) ~ q), and with + strata(g)."""
    groups = np.arange(80) % 3
    options = LogRankOptions(rho=rho)
    assert compute_log_rank(small(), groups, options=options).statistic == pytest.approx(statistic, rel=1e-10)
    found = compute_log_rank(small(stratum="g"), groups, options=options)
    assert (found.statistic, found.df) == (pytest.approx(stratified, rel=1e-10), 2)


def test_delayed_entry_is_the_score_test_of_the_discrete_model() -> None:
    """coxph(Surv(entry, exit, event == 1) ~ factor(q) + strata(g), ties = "exact", iter = 0) on the first 40."""
    people = small(entry="entry", stratum="g").select(np.arange(40))
    assert compute_log_rank(people, np.arange(40) % 3).statistic == pytest.approx(3.28251628067778, rel=1e-10)


def test_robust_test_is_the_robust_score_test() -> None:
    """coxph(... ties = "breslow", weights = w, cluster = pair, iter = 0)$rscore."""
    people = small(entry="entry", stratum="g", weights="w", cluster="pair")
    found = compute_log_rank(people, np.arange(80) % 3, options=LogRankOptions(errors="robust"))
    assert found.statistic == pytest.approx(4.54062966407034, rel=1e-10)


@pytest.mark.parametrize(
    ("rho", "plain", "stratified"),
    [(0, (2.43777801253942, 4.44956656430621), (3.01305864823128, 4.51544396093944)),
     (1, (2.93284073799095, 4.57980113202131), (4.20888326168933, 4.47447751645513))],
)  # fmt: skip
def test_gray_of_three_groups(rho: float, plain: tuple[float, float], stratified: tuple[float, float]) -> None:
    """cuminc(exit, event, q, rho = rho), and with strata = g."""
    groups = np.arange(80) % 3
    for cause in (1, 2):
        one = compute_gray_test(small(), groups, cause=cause, rho=rho)
        assert one.statistic == pytest.approx(plain[cause - 1], rel=1e-10)
        one = compute_gray_test(small(stratum="g"), groups, cause=cause, rho=rho)
        assert one.statistic == pytest.approx(stratified[cause - 1], rel=1e-10)
