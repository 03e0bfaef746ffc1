"""What recurrent-event models, Fine-Gray and rank tests must not notice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cox import CoxOptions, fit_cox
from evalkit.estimators.survival.fine_gray import FineGrayOptions, fit_fine_gray
from evalkit.estimators.survival.gray import compute_gray_test
from evalkit.estimators.survival.log_rank import LogRankOptions, compute_log_rank
from evalkit.estimators.survival.recurrent import build_recurrent

MODELS = ("andersen_gill", "pwp_total", "pwp_gap", "wlw")


def recurrent(n: int = 60) -> FollowUp:
    rng = np.random.default_rng(11)
    rows = []
    for person in range(n):
        start, end, frailty = float(rng.integers(0, 5)), float(rng.integers(30, 90)), rng.gamma(2, 0.5)
        while start < end:
            stop = start + np.ceil(rng.exponential(25 / (frailty * np.exp(-0.4 * (person % 2)))))
            rows.append((person, start, min(stop, end), int(stop < end), person % 2, rng.normal(), 1 + person % 3))
            start = stop
    df = pd.DataFrame(rows, columns=["who", "entry", "exit", "event", "side", "x", "w"])
    df["x"], df["w"] = df.groupby("who")["x"].transform("first"), df["w"] / 2
    return FollowUp.from_frame(
        df, entry="entry", exit="exit", event="event", person="who", weights="w", covariates=("side", "x")
    )


def competing(n: int = 120) -> FollowUp:
    """One row a person: the first event or the second kind, or censoring."""
    rng = np.random.default_rng(12)
    side, x = np.arange(n) % 2, rng.normal(size=n)
    times = np.ceil([rng.exponential(30 * np.exp(-0.3 * side)), rng.exponential(40, n), rng.uniform(5, 70, n)])
    df = pd.DataFrame({
        "who": np.arange(n), "entry": np.floor(times.min(axis=0) * rng.uniform(0, 0.4, n)), "exit": times.min(axis=0),
        "event": np.array([1, 2, 0])[times.argmin(axis=0)], "side": side, "x": x, "w": 0.5 + np.arange(n) % 4,
    })  # fmt: skip
    df["entry"] = np.where(df["entry"] < df["exit"], df["entry"], 0)
    return FollowUp.from_frame(
        df, entry="entry", exit="exit", event="event", person="who", weights="w", covariates=("side", "x"),
        causes=("in", "death"),
    )  # fmt: skip


def split(f: FollowUp, at: float) -> FollowUp:
    """Cut every row in two at this share of its length."""
    middle = f.entry + at * (f.exit - f.entry)
    both = f.select(np.concatenate([np.arange(len(f))] * 2))
    event = np.concatenate([np.zeros(len(f), dtype=np.int64), f.event])
    return replace(
        both, entry=np.concatenate([f.entry, middle]), exit=np.concatenate([middle, f.exit]), event=event
    )  # fmt: skip


def relabel(f: FollowUp) -> FollowUp:
    codes = np.random.default_rng(1).permutation(int(f.person.max()) + 1)
    return replace(f, person=codes[f.person], cluster=codes[f.cluster])


CHANGES: dict[str, Callable[[FollowUp], FollowUp]] = {
    "people get other codes": relabel,
    "rows stand in another order": lambda f: f.select(np.random.default_rng(2).permutation(len(f))),
    "rows are cut in two": lambda f: split(f, 0.37),
    "rows are cut in four": lambda f: split(split(f, 0.5), 0.25),
    "time starts elsewhere": lambda f: replace(f, entry=f.entry + 1000, exit=f.exit + 1000),
    "time has another unit": lambda f: replace(f, entry=f.entry / 365.25, exit=f.exit / 365.25),
    "weights have another unit": lambda f: f.with_weights(f.weights * 17),
    "covariates are shifted": lambda f: replace(f, covariates=f.covariates + np.array([5.0, -300.0])),
    "an offset is added to all": lambda f: replace(f, offset=f.offset + 3),
}


def halves(f: FollowUp) -> FollowUp:
    """Each person twice with half the weight, in one cluster."""
    both = f.select(np.concatenate([np.arange(len(f))] * 2)).with_weights(np.tile(f.weights / 2, 2))
    return replace(both, person=np.concatenate([f.person, f.person + f.person.max() + 1]))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("change", CHANGES)
def test_recurrent_models_do_not_notice(model: str, change: str) -> None:
    people = recurrent()
    one = fit_cox(build_recurrent(people, model=model, max_events=3))
    other = fit_cox(build_recurrent(CHANGES[change](people), model=model, max_events=3))
    assert other.coefficients == pytest.approx(one.coefficients, rel=1e-7)
    assert other.robust_variance == pytest.approx(one.robust_variance, rel=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_half_a_person_twice_is_a_person(model: str) -> None:
    people, breslow = recurrent(), CoxOptions(ties="breslow")  # Efron's terms see twice as many ties
    one = fit_cox(build_recurrent(people, model=model), options=breslow)
    other = fit_cox(build_recurrent(halves(people), model=model), options=breslow)
    assert other.coefficients == pytest.approx(one.coefficients, rel=1e-7)
    assert other.robust_variance == pytest.approx(one.robust_variance, rel=1e-6)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("errors", ["robust", "robust_censoring"])
def test_fine_gray_does_not_notice(change: str, errors: str) -> None:
    people, options = competing(), FineGrayOptions(errors=errors)
    one, other = fit_fine_gray(people, options=options), fit_fine_gray(CHANGES[change](people), options=options)
    assert other.coefficients == pytest.approx(one.coefficients, rel=1e-7)
    assert other.robust_variance == pytest.approx(one.robust_variance, rel=1e-6)


@pytest.mark.parametrize("censoring_weights", ["unweighted", "case"])
def test_fine_gray_of_half_a_person_twice(censoring_weights: str) -> None:
    options = FineGrayOptions(ties="breslow", censoring_weights=censoring_weights)
    one, other = fit_fine_gray(competing(), options=options), fit_fine_gray(halves(competing()), options=options)
    assert other.coefficients == pytest.approx(one.coefficients, rel=1e-9)
    assert other.robust_variance == pytest.approx(one.robust_variance, rel=1e-8)


def test_a_covariate_in_another_unit_has_its_coefficient_in_that_unit() -> None:
    people, units = competing(), np.array([10.0, 1e-6])
    one, other = fit_fine_gray(people), fit_fine_gray(replace(people, covariates=people.covariates * units))
    assert other.coefficients * units == pytest.approx(one.coefficients, rel=1e-7)
    assert other.se * units == pytest.approx(one.se, rel=1e-7)


@pytest.mark.parametrize("change", [c for c in CHANGES if "covariates" not in c])
def test_rank_tests_do_not_notice(change: str) -> None:
    people = competing()
    options = LogRankOptions(rho=0.5, errors="robust")
    one = compute_log_rank(people, people.covariates[:, 0], options=options)
    changed = CHANGES[change](people)
    other = compute_log_rank(changed, changed.covariates[:, 0], options=options)
    assert other.statistic == pytest.approx(one.statistic, rel=1e-9)


@pytest.mark.parametrize("labels", [("b", "a", "c"), (3, 1, 2)])
def test_which_group_comes_first_is_of_no_account(labels: tuple) -> None:
    people = competing()
    people = replace(people, weights=np.ones(len(people)))
    group = np.arange(len(people)) % 3
    named = np.array(labels)[group]
    at_zero = replace(people, entry=np.zeros(len(people)))
    for one, other in (
        (compute_log_rank(people, group), compute_log_rank(people, named)),
        (compute_gray_test(at_zero, group), compute_gray_test(at_zero, named)),
    ):
        assert other.statistic == pytest.approx(one.statistic, rel=1e-9)
