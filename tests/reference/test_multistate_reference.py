"""Pathways against R: `ms_ebmt` (mstate on the EBMT data of its tutorial) and `cr_mgus2` (survival's survfit).

Every number of `ms_ebmt/reference.json` and those of `cr_mgus2/reference.json` that begin with `multistate3`, relative
tolerance 1e-6 (absolute 1e-12 where R has 0); published values of the tutorial (Putter, Fiocco and Geskus 2007, Stat
Med 26:2389) to the digits printed. Six errors of `probtrans` are met through mstate's own covariance of two moves that
share a baseline, which takes the relative hazard of the first move twice in place of each once (so that it depends
on the order of the moves); ours is tested beside it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evalkit.cohort.history import EventHistory
from evalkit.estimators.survival.cox import CoxFit, CoxOptions, fit_cox
from evalkit.estimators.survival.multistate import (
    compute_expected_time,
    count_transitions,
    estimate_state_probabilities,
)
from evalkit.estimators.survival.multistate_fit import StateOptions
from evalkit.estimators.survival.multistate_rows import (
    TransitionOptions,
    TransitionRows,
    build_transition_design,
    build_transition_rows,
)
from evalkit.estimators.survival.transition_hazards import (
    TransitionHazards,
    TransitionProbabilities,
    compute_transition_hazards,
    compute_transition_probabilities,
    estimate_transition_hazards,
)
from tests.shared_data import reference, shared

TOLERANCE = 1e-6
EBMT, MGUS = reference("ms_ebmt"), reference("cr_mgus2")
STATES = ("Tx", "PR", "RelDeath")
COVARIATES = ("dissub1", "dissub2", "age1", "age2", "drmatch", "tcd")
MODELS = {
    "markov_stratified": TransitionOptions(),
    "markov_proportional": TransitionOptions(baseline="target"),
    "state_arrival": TransitionOptions(baseline="target", arrival=("PR",)),
    "clock_reset": TransitionOptions(clock="reset"),
}
NAMES = {"pr": "move.3", "prtime": "arrival.3"}
MGUS_STATES = {"(s0)": 0, "pcm": 1, "death": 2}
# Errors in which the two moves into relapse or death, of one baseline, meet.
SHARED = {f"ebmt3.probtrans.ref_patient.P1{k}_0_{t}.se" for k in (2, 3) for t in (1, 2, 5)}


def near(ours: float, theirs: float) -> bool:
    return ours == pytest.approx(theirs, rel=TOLERANCE, abs=1e-12)


@cache
def ebmt() -> EventHistory:
    """The illness-death data in years; a platelet recovery at the time of relapse or later is not one."""
    df = pd.read_csv(shared("ms_ebmt") / "ebmt3.csv")
    df["dissub1"], df["dissub2"] = df["dissub"] == "ALL", df["dissub"] == "CML"
    df["age1"], df["age2"] = df["age"] == "20-40", df["age"] == ">40"
    df["drmatch"], df["tcd"] = df["drmatch"] == "Gender mismatch", df["tcd"] == "TCD"
    end = np.where(df["rfsstat"] == 1, "RelDeath", "")
    recovered = df["prstat"] == 1
    first = df.assign(
        start=0.0, stop=np.where(recovered, df["prtime"], df["rfstime"]), origin="Tx",
        target=np.where(recovered, "PR", end),
    )  # fmt: skip
    second = df.assign(start=df["prtime"], stop=df["rfstime"], origin="PR", target=end)[recovered]
    rows = pd.concat([first, second])
    rows[["start", "stop"]] /= 365.25
    return EventHistory.from_frame(
        rows, person="id", start="start", stop="stop", from_state="origin", to_state="target", states=STATES,
        absorbing=("RelDeath",), covariates=COVARIATES,
    )  # fmt: skip


@cache
def fitted(model: str) -> tuple[TransitionRows, CoxFit]:
    rows = build_transition_rows(ebmt(), options=MODELS[model])
    return rows, fit_cox(rows.follow_up, options=CoxOptions(ties="breslow", errors="model"))


@cache
def hazards() -> TransitionHazards:
    """The tutorial's reference patient: all covariates 0, proportional baselines."""
    rows, fit = fitted("markov_proportional")
    return compute_transition_hazards(fit, rows, build_transition_design(rows, dict.fromkeys(COVARIATES, 0.0)))


@cache
def mstate_hazards() -> TransitionHazards:
    """The same with mstate's covariance of moves 2 and 3: r_2^2 where r_2 r_3 should stand."""
    rows, fit = fitted("markov_proportional")
    x = build_transition_design(rows, dict.fromkeys(COVARIATES, 0.0))
    noise = compute_transition_hazards(replace(fit, variance=0 * fit.variance), rows, x).covariance
    covariance = hazards().covariance.copy()
    covariance[:, 1, 2] += noise[:, 1, 1] - noise[:, 1, 2]
    covariance[:, 2, 1] = covariance[:, 1, 2]
    return replace(hazards(), covariance=covariance)


@cache
def path_from(start: float, *, as_mstate: bool) -> TransitionProbabilities:
    own = mstate_hazards() if as_mstate else hazards()
    return compute_transition_probabilities(own, start=start, at=[1.0, 2.0, 5.0])


@cache
def events() -> pd.DataFrame:
    return count_transitions(ebmt()).set_index(["from_state", "to_state"])["count"]


def _probability(key: str) -> float:
    """`ebmt3.probtrans.ref_patient.P12_0.5_5` or `ebmt3.aj.P12_0_5.se`."""
    pair, start, at = key.split(".P")[1].removesuffix(".se").split("_")
    j, k = int(pair[0]) - 1, int(pair[1]) - 1
    if ".aj." in key:
        found = estimate_state_probabilities(
            ebmt(), start=float(start), at=[float(at)], initial=STATES[j], options=StateOptions(errors="aalen")
        )[0]
        return float((found.se if key.endswith(".se") else found.probability)[0, k])
    path = path_from(float(start), as_mstate=key in SHARED)
    place = [1.0, 2.0, 5.0].index(float(at))
    return float((path.se if key.endswith(".se") else path.probability)[place, j, k])


def _ours(key: str) -> float:
    if key == "ebmt3.n":
        return ebmt().n_people
    if key.startswith("ebmt3.events."):
        origin, target = key.removeprefix("ebmt3.events.").split(".to.")
        return events()[(origin, target.replace("_", " "))]
    if ".probtrans." in key or ".aj." in key:
        return _probability(key)
    model, name = key.removeprefix("ebmt3.").split(".", 1)
    kind = next((end for end in (".se", ".hr", ".p") if name.endswith(end)), "")
    name = name.removesuffix(kind)
    _, fit = fitted(model)
    place = fit.names.index(NAMES.get(name, name))
    value, se = fit.coefficients[place], fit.standard_errors[place]
    return {"": value, ".se": se, ".hr": np.exp(value), ".p": 2 * stats.norm.sf(abs(value / se))}[kind]


@pytest.mark.parametrize("key", EBMT)
def test_ebmt(key: str) -> None:
    assert near(_ours(key), EBMT[key])


def test_every_error_but_those_of_the_shared_baseline_is_without_mstates_covariance() -> None:
    """What is put in for mstate moves these six alone, by less than 0.002 of error."""
    at = [1.0, 2.0, 5.0]
    ours, theirs = (compute_transition_probabilities(own, at=at).se for own in (hazards(), mstate_hazards()))
    moved = np.argwhere(np.abs(ours - theirs) > 1e-9)
    assert {(j, k) for _, j, k in moved} == {(0, 1), (0, 2)}
    assert len(moved) == len(SHARED)
    assert np.abs(ours - theirs).max() < 4e-4


def test_published_values_of_the_tutorial() -> None:
    published = json.loads((shared("ms_ebmt") / "documented.json").read_text())
    assert len(published) == 4
    for row in published:
        assert abs(_ours(row["estimand"]) - row["published"]) <= 0.5 * 10.0 ** -row["digits"]


def test_matrix_of_counts_equals_aalen_johansen_from_each_state() -> None:
    """Two ways to the same: hazards and their covariances, and the path of one distribution (both checked above)."""
    for errors in ("aalen", "greenwood"):
        both = compute_transition_probabilities(
            estimate_transition_hazards(ebmt(), errors=errors), at=[1.0, 5.0], errors=errors
        )
        for place, state in enumerate(STATES[:2]):
            one = estimate_state_probabilities(
                ebmt(), at=[1.0, 5.0], initial=state, options=StateOptions(errors=errors)
            )[0]
            np.testing.assert_allclose(both.probability[:, place], one.probability, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(both.se[:, place], one.se, rtol=1e-10, atol=1e-15)


@cache
def mgus() -> EventHistory:
    df = pd.read_csv(shared("cr_mgus2") / "multistate_long.csv")
    df["origin"] = np.where(df.groupby("id").cumcount() > 0, "pcm", "(s0)")
    df["target"] = df["ev"].where(df["ev"] != "censor", "")
    df["sexM"] = df["sex"] == "M"
    return EventHistory.from_frame(
        df, person="id", start="tstart", stop="tstop", from_state="origin", to_state="target",
        states=tuple(MGUS_STATES), absorbing=("death",), covariates=("age", "sexM"),
    )  # fmt: skip


@cache
def mgus_cox() -> CoxFit:
    return fit_cox(build_transition_rows(mgus()).follow_up, options=CoxOptions(ties="efron"))


def _mgus(key: str) -> float:
    parts = key.removeprefix("multistate3.").split(".")
    if parts[0] == "cox":
        move = {"1:2": 1, "1:3": 2, "2:3": 3}[parts[1]]
        return mgus_cox().coefficients[mgus_cox().names.index(f"{parts[2]}.{move}")]
    if parts[0] == "rmst240_years":
        return compute_expected_time(mgus(), horizon=240.0)[0].time[MGUS_STATES[parts[1]]] / 12
    found = estimate_state_probabilities(mgus(), at=[float(parts[1].removeprefix("t"))])[0]
    return (found.se if parts[-1] == "se" else found.probability)[0, MGUS_STATES[parts[0]]]


@pytest.mark.parametrize("key", [key for key in MGUS if key.startswith("multistate3.")])
def test_mgus(key: str) -> None:
    assert near(_mgus(key), MGUS[key])


def test_counts_of_all_numbers() -> None:
    """No number of the reference is left out unseen."""
    if not EBMT:
        shared("ms_ebmt")
    assert len(EBMT) == 157
    assert sum(key.startswith("multistate3.") for key in MGUS) == 27
