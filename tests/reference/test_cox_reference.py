"""The Cox engine against R's survival 3.5-3 (R 4.2) on real data, where at hand.

All is deterministic, so the relative tolerance is 1e-6 throughout. Data: `surv_basics` (aml, lung, ovarian,
diabetic), `cr_mgus2` (cause-specific, and three transitions of an illness-death model stacked), and
`rec_readmission` (Andersen-Gill, first readmission, death).
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cox import CoxFit, CoxOptions, fit_cox
from evalkit.estimators.survival.cox_checks import check_proportional_hazards
from evalkit.estimators.survival.cox_concordance import compute_concordance
from tests.shared_data import reference, shared

EXACT = 1e-6


def keys(name: str, *starts: str) -> list[str]:
    return [key for key in reference(name) if key.startswith(starts)] or ["absent"]


def number(fit: CoxFit, part: str, follow_up: FollowUp) -> float:
    """The number of a fit that the last parts of a key name."""
    of_fit = {
        "loglik": fit.log_likelihood,
        "loglik_null": fit.log_likelihood_null,
        "score": fit.score_test,
    }
    if part in of_fit:
        return of_fit[part]
    if part == "concordance":
        return compute_concordance(fit, follow_up).value
    name, _, kind = part.partition(".se")
    place = fit.names.index(name)
    values = {"": np.diag(fit.variance) ** 0.5, "_robust": np.diag(fit.robust_variance) ** 0.5}
    return float((values[kind] if ".se" in part else fit.coefficients)[place])


def with_names(follow_up: FollowUp, *names: str) -> FollowUp:
    """The same follow-up with R's names of covariates."""
    return FollowUp(**{**vars(follow_up), "names": names})


@functools.cache
def basics(model: str) -> FollowUp:
    """The follow-up of one model of `surv_basics`, with R's names of covariates."""
    data, _, _ = model.partition(".")
    frame = pd.read_csv(shared("surv_basics") / f"{data}.csv")
    if data == "aml":
        return with_names(FollowUp.from_frame(frame, exit="time", event="status", covariates=("x",)), "xNonmaintained")
    if data == "lung":
        frame = frame.dropna(subset=["ph.ecog"]).assign(dead=lambda d: d["status"] == 2)
        return FollowUp.from_frame(frame, exit="time", event="dead", covariates=("age", "sex", "ph.ecog"))
    if data == "ovarian":
        return FollowUp.from_frame(frame, exit="futime", event="fustat", covariates=("age", "rx"))
    frame = frame.assign(juvenile=frame["age"] < 20)
    if model == "diabetic.cox_cluster":
        return FollowUp.from_frame(frame, exit="time", event="status", cluster="id", covariates=("trt", "juvenile"))
    return FollowUp.from_frame(frame, exit="time", event="status", stratum="id", covariates=("trt",))


BASICS = [
    key
    for key in keys("surv_basics", "aml", "lung", "ovarian", "diabetic", "absent")
    if key == "absent" or key.split(".")[1].startswith("cox")
]


@pytest.mark.parametrize("key", BASICS)
def test_cox_models_of_teaching_data(key):
    shared("surv_basics")
    data, kind, part = key.split(".", 2)
    rows = basics(f"{data}.{kind}")
    fit = fit_cox(rows, options=CoxOptions(ties="breslow" if kind == "cox_breslow" else "efron"))
    assert number(fit, part, rows) == pytest.approx(reference("surv_basics")[key], rel=EXACT)


@pytest.mark.parametrize("key", keys("surv_basics", "lung.zph"))
def test_proportional_hazards_tests_of_lung(key):
    shared("surv_basics")
    rows = basics("lung.cox_efron")
    found = check_proportional_hazards(fit_cox(rows), rows)
    name, kind = key.removeprefix("lung.zph.").rsplit(".", 1)
    values = {"chisq": found.chi_square, "p": found.p_value}[kind]
    assert values[found.names.index(name)] == pytest.approx(reference("surv_basics")[key], rel=EXACT)


@functools.cache
def mgus(kind: str, cause: str) -> tuple[FollowUp, CoxFit]:
    frame = pd.read_csv(shared("cr_mgus2") / "data.csv")
    to_malignancy = frame["pstat"] == 1
    time = frame["ptime"].where(to_malignancy, frame["futime"])
    event = np.where(to_malignancy, 1, 2 * frame["death"])
    frame = frame.assign(time=time, event=event, sexM=frame["sex"] == "M")
    covariates: tuple[str, ...] = ("age", "sexM")
    if kind == "cause_specific_mspike":
        frame, covariates = frame.dropna(subset=["mspike"]), ("age", "sexM", "mspike")
    rows = FollowUp.from_frame(frame, exit="time", event="event", covariates=covariates, causes=("pcm", "death"))
    return rows, fit_cox(rows, options=CoxOptions(cause=rows.causes.index(cause) + 1))


@pytest.mark.parametrize("key", keys("cr_mgus2", "cause_specific"))
def test_cause_specific_hazards(key):
    shared("cr_mgus2")
    kind, cause, part = key.split(".", 2)
    rows, fit = mgus(kind, cause)
    assert number(fit, part, rows) == pytest.approx(reference("cr_mgus2")[key], rel=EXACT)


@functools.cache
def stacked() -> CoxFit:
    """Three transitions as three strata, each with its own coefficients, in one model."""
    frame = pd.read_csv(shared("cr_mgus2") / "multistate_long.csv").sort_values(["id", "tstart"])
    frame["ev"] = frame["ev"].where(frame["ev"].isin(["pcm", "death"]), "censor")
    frame["state"] = np.where(frame["tstart"] > 0, 2, 1)
    parts = []
    for begin, end, to in [(1, 2, "pcm"), (1, 3, "death"), (2, 3, "death")]:
        part = frame[frame["state"] == begin].assign(transition=f"{begin}:{end}", event=lambda d, to=to: d["ev"] == to)
        parts.append(part)
    long = pd.concat(parts, ignore_index=True)
    names = []
    for transition in ("1:2", "1:3", "2:3"):
        here = long["transition"] == transition
        long[f"{transition}.age"], long[f"{transition}.sexM"] = here * long["age"], here * (long["sex"] == "M")
        names += [f"{transition}.age", f"{transition}.sexM"]
    return fit_cox(
        FollowUp.from_frame(
            long, entry="tstart", exit="tstop", event="event", cluster="id", stratum="transition",
            covariates=tuple(names),
        )
    )  # fmt: skip


@pytest.mark.parametrize("key", keys("cr_mgus2", "multistate3.cox"))
def test_three_transitions_stacked(key):
    shared("cr_mgus2")
    fit = stacked()
    place = fit.names.index(key.removeprefix("multistate3.cox."))
    assert fit.coefficients[place] == pytest.approx(reference("cr_mgus2")[key], rel=EXACT)


@functools.cache
def readmissions(kind: str, ties: str) -> tuple[FollowUp, CoxFit]:
    frame = pd.read_csv(shared("rec_readmission") / "data.csv")
    if kind == "first_readmission":
        frame = frame[frame["enum"] == 1]
    for column, first in [("chemo", "NonTreated"), ("sex", "Male"), ("dukes", "A-B"), ("charlson", "0")]:
        levels = [first, *sorted(set(frame[column]) - {first})]
        frame[column] = pd.Categorical(frame[column], levels)
    rows = FollowUp.from_frame(
        frame, entry="t.start", exit="t.stop", event="death" if kind == "death" else "event", cluster="id",
        covariates=("chemo", "sex", "dukes", "charlson"),
    )  # fmt: skip
    rows = with_names(rows, *(name.replace("=", "") for name in rows.names))
    return rows, fit_cox(rows, options=CoxOptions(ties=ties))


@pytest.mark.parametrize("key", keys("rec_readmission", "andersen_gill", "first_readmission", "death"))
def test_readmissions(key):
    shared("rec_readmission")
    kind, ties, part = key.split(".", 2)
    rows, fit = readmissions(kind, ties)
    assert number(fit, part, rows) == pytest.approx(reference("rec_readmission")[key], rel=EXACT)


# coxph(Surv(start, stop, event) ~ (age + surgery) * transplant, heart, cluster = id), eps = 1e-12
HEART = {
    "coef": [0.0139091384792, -0.5465402110344, 0.1195038657054, 0.0346142935088, -0.2929509311851],
    "se_robust": [0.0170225772071, 0.6471406569004, 0.3297248522739, 0.0280748370858, 0.7572282407226],
    "loglik": [-298.1213556729843, -291.8835714949387],
    # cox.zph(coxph(... ~ age + surgery + transplant), transform = "log"), with GLOBAL
    "zph_log": [0.44756530192, 0.01056883829, 0.08874848091, 0.65863435717],
}


def test_stanford_hearts_with_a_transplant_in_time():
    frame = pd.read_csv(shared("surv_basics") / "heart.csv")
    frame = frame.assign(a=frame["age"] * frame["transplant"], s=frame["surgery"] * frame["transplant"])
    columns = {"entry": "start", "exit": "stop", "event": "event", "person": "id"}
    main = ("age", "surgery", "transplant")
    fit = fit_cox(FollowUp.from_frame(frame, covariates=(*main, "a", "s"), **columns))
    assert fit.coefficients == pytest.approx(HEART["coef"], rel=EXACT)
    assert fit.standard_errors == pytest.approx(HEART["se_robust"], rel=EXACT)
    assert [fit.log_likelihood_null, fit.log_likelihood] == pytest.approx(HEART["loglik"], rel=EXACT)
    rows = FollowUp.from_frame(frame, covariates=main, **columns)
    found = check_proportional_hazards(fit_cox(rows), rows, transform="log")
    assert found.chi_square == pytest.approx(HEART["zph_log"], rel=EXACT)
