"""R's numbers for recurrent events: survival 3.5-3 on bladder tumours and on readmissions after surgery.

Sources: `reference.R` beside the data; printed test output of R's survival (documented.json). R stops when its
log-likelihood changes by less than 1e-9 of itself, which leaves its coefficients right to about 1e-7.
"""

from __future__ import annotations

import functools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cox import CoxFit, CoxOptions, fit_cox
from evalkit.estimators.survival.recurrent import build_recurrent, compute_optimal_average
from tests.shared_data import reference, shared

COVARIATES = ("rx", "size", "number")
TIES = ("breslow", "efron")
OTHERS = ("mcf.", "frailty_gamma.")  # mean counts and frailty are tested elsewhere
BLADDER = {k: v for k, v in reference("rec_bladder").items() if not k.startswith(OTHERS)}
READMISSION = {k: v for k, v in reference("rec_readmission").items() if k.startswith("pwp_total.")}


def bladder() -> FollowUp:
    df = pd.read_csv(shared("rec_bladder") / "bladder2.csv")
    return FollowUp.from_frame(
        df, entry="start", exit="stop", event="event", person="id", covariates=("rx", "size", "number")
    )


def put(found: dict[str, float], key: str, fit: CoxFit, names: tuple[str, ...], *, robust: bool = True) -> None:
    for k, name in enumerate(names):
        found[f"{key}.{name}"] = fit.coefficients[k]
        found[f"{key}.{name}.se"] = np.sqrt(fit.variance[k, k])
        if robust:
            found[f"{key}.{name}.se_robust"] = np.sqrt(fit.robust_variance[k, k])
    found[f"{key}.loglik"] = fit.log_likelihood
    found[f"{key}.loglik_null"] = fit.log_likelihood_null


def put_wlw(found: dict[str, float], ties: str, fit: CoxFit) -> None:
    """R's parametrisation: effects on the first event, and how those on later events differ from them."""
    key = f"wlw_interaction.{ties}"
    for name in COVARIATES:
        places = [fit.names.index(f"{name}, event {k}") for k in range(1, 5)]
        for k in range(4):
            contrast = np.zeros(len(fit.names))
            contrast[places[k]] += 1
            contrast[places[0]] -= k > 0
            label = f"{key}.{name}" + (f":strata(enum)enum={k + 1}" if k else "")
            found[label] = contrast @ fit.coefficients
            found[f"{label}.se"] = np.sqrt(contrast @ fit.variance @ contrast)
            found[f"{label}.se_robust"] = np.sqrt(contrast @ fit.robust_variance @ contrast)
    found[f"{key}.loglik"], found[f"{key}.loglik_null"] = fit.log_likelihood, fit.log_likelihood_null
    places = [fit.names.index(f"rx, event {k}") for k in range(1, 5)]
    covariance = fit.robust_variance[np.ix_(places, places)]
    for i in range(4):
        found[f"wlw.{ties}.rx_event{i + 1}"] = fit.coefficients[places[i]]
        for j in range(i + 1):
            found[f"wlw.{ties}.rx_cov_{j + 1}{i + 1}"] = covariance[j, i]
    value, se = compute_optimal_average(fit.coefficients[places], covariance)
    found[f"wlw.{ties}.rx_optimal_average"], found[f"wlw.{ties}.rx_optimal_average.se"] = value, se


@functools.cache
def ours() -> dict[str, float]:
    people = bladder()
    found = {"counts.n_patients": people.n_people, "counts.n_events": people.n_events()}
    total, gap = build_recurrent(people, model="pwp_total"), build_recurrent(people, model="pwp_gap")
    for ties in TIES:
        options = CoxOptions(ties=ties)
        arranged = {
            "andersen_gill": build_recurrent(people, model="andersen_gill"),
            "pwp_total_time": total,
            "pwp_gap_time": gap,
            "wlw_common": build_recurrent(people, model="wlw"),
        }
        for key, rows in arranged.items():
            put(found, f"{key}.{ties}", fit_cox(rows, options=options), COVARIATES)
        put_wlw(found, ties, fit_cox(build_recurrent(people, model="wlw", effects="by_number"), options=options))
        for k in (1, 2, 3):
            # R's reference takes the exits of a stratum alone, everybody entering at 0.
            rows = total.select(total.stratum == k - 1)
            one = fit_cox(replace(rows, entry=np.zeros(len(rows))), options=options)
            put(found, f"stratum{k}_total.{ties}", one, COVARIATES, robust=False)
        put(
            found, f"stratum2_gap.{ties}", fit_cox(gap.select(gap.stratum == 1), options=options), COVARIATES,
            robust=False,
        )  # fmt: skip
        first = build_recurrent(people, model="andersen_gill", max_events=1)
        put(found, f"first_event.{ties}", fit_cox(first, options=options), COVARIATES, robust=False)
    return found


@functools.cache
def readmissions() -> dict[str, float]:
    df = pd.read_csv(shared("rec_readmission") / "data.csv")
    levels = {
        "chemo": ["NonTreated", "Treated"], "sex": ["Male", "Female"], "dukes": ["A-B", "C", "D"],
        "charlson": ["0", "1-2", "3"],
    }  # fmt: skip
    df = df.assign(**{name: pd.Categorical(df[name], categories=order) for name, order in levels.items()})
    people = FollowUp.from_frame(
        df, entry="t.start", exit="t.stop", event="event", person="id", covariates=tuple(levels)
    )
    # Published numbers count readmissions on the day of discharge, whose intervals of no length are not in the data.
    shown = df.groupby("id")["event"].cumsum() - df["event"] + 1
    arranged = build_recurrent(people, model="pwp_total", unseen_events=(df["enum"] - shown).to_numpy())
    assert (np.array(arranged.strata)[arranged.stratum] == df["enum"].to_numpy()).all()
    names = tuple(name.replace("=", "") for name in arranged.names)
    found: dict[str, float] = {}
    for ties in TIES:
        put(found, f"pwp_total.{ties}", fit_cox(arranged, options=CoxOptions(ties=ties)), names)
    return found


@pytest.mark.parametrize("key", BLADDER)
def test_bladder_equals_r(key: str) -> None:
    assert ours()[key] == pytest.approx(BLADDER[key], rel=1e-6)


@pytest.mark.parametrize("key", READMISSION)
def test_readmissions_equal_r(key: str) -> None:
    assert readmissions()[key] == pytest.approx(READMISSION[key], rel=1e-6)


def test_nothing_of_ours_is_without_a_number_of_r() -> None:
    shared("rec_bladder")
    assert set(ours()) == set(BLADDER)
    assert set(readmissions()) == set(READMISSION)


def test_published_values() -> None:
    """Printed output of R's survival tests and Wei, Lin and Weissfeld 1989, table 5, to their printed digits."""
    for row in json.loads((shared("rec_bladder") / "documented.json").read_text()):
        published, found = row["published"], ours()[row["estimand"]]
        assert found == pytest.approx(published, abs=0.51 * 10.0 ** -row["digits"]), row["estimand"]


def test_marginal_rows_are_those_of_the_published_data_set() -> None:
    """bladder.csv is the WLW arrangement as published: a row a person and event number."""
    published = pd.read_csv(shared("rec_bladder") / "bladder.csv").sort_values(["enum", "id"])
    arranged = build_recurrent(bladder(), model="wlw")
    order = np.lexsort((arranged.person, arranged.stratum))
    assert len(arranged) == len(published) == 340
    assert (arranged.exit[order] == published["stop"].to_numpy()).all()
    assert (arranged.event[order] == published["event"].to_numpy()).all()
    assert (arranged.entry == 0).all()
