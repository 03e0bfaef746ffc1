"""The Cox engine: sums against a plain loop, what it refuses and how it says so, and the published estimate."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math

import numpy as np
import pytest
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.estimators.survival.cox import CoxOptions, estimate_hazard_ratio, fit_cox
from evalkit.estimators.survival.cox_checks import check_proportional_hazards
from evalkit.estimators.survival.cox_concordance import compute_concordance, count_pairs
from evalkit.estimators.survival.cox_residuals import (
    compute_baseline_hazard,
    compute_martingale_residuals,
    compute_schoenfeld_residuals,
    compute_score_residuals,
)
from evalkit.estimators.survival.cox_sums import build_risk_sets, compute_information, compute_moments

WINDOW = Window(dt.date(2014, 1, 1), dt.date(2015, 1, 1))
ESTIMAND = Estimand("readmission", "ATE", "everybody", WINDOW, "hazard_ratio")


def make_rows(n: int = 120, *, seed: int = 1, effect: float = 0.5, late: bool = True) -> FollowUp:
    """One row a person on whole days, tied, with late entry, two strata and weights; x is the first covariate."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.random(n) < 0.5, rng.normal(size=n)]).astype(float)
    entry = rng.integers(0, 5, n).astype(float) if late else np.zeros(n)
    time = 1 + np.floor(rng.exponential(20 * np.exp(-effect * x[:, 0])))
    censored = 1 + np.floor(rng.exponential(30, n))
    return FollowUp(
        entry, entry + np.minimum(time, censored), (time <= censored).astype(np.int64), np.arange(n), np.arange(n),
        rng.integers(0, 2, n), rng.choice([0.5, 1.0, 2.0], n), rng.normal(scale=0.1, size=n), x, ("treated", "age"),
    )  # fmt: skip


def with_covariate(rows: FollowUp, values: np.ndarray) -> FollowUp:
    return dataclasses.replace(rows, covariates=np.column_stack([rows.covariates[:, 1], values]), names=("age", "flag"))


def loop(rows: FollowUp, beta: np.ndarray, ties: str) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-likelihood, score and information one event at a time, from the definition."""
    e = rows.weights * np.exp(rows.covariates @ beta + rows.offset)
    total, score, information = 0.0, np.zeros(2), np.zeros((2, 2))
    for s in np.unique(rows.stratum):
        for t in np.unique(rows.exit[(rows.stratum == s) & (rows.event == 1)]):
            risk = (rows.stratum == s) & (rows.entry < t) & (rows.exit >= t)
            dead = risk & (rows.exit == t) & (rows.event == 1)
            d = int(dead.sum())
            mean_weight = rows.weights[dead].mean()
            for j in range(d):
                part = e * (risk - (j / d if ties == "efron" else 0.0) * dead)
                mean = part @ rows.covariates / part.sum()
                second = (rows.covariates * part[:, None]).T @ rows.covariates / part.sum()
                total -= mean_weight * math.log(part.sum())
                score -= mean_weight * mean
                information += mean_weight * (second - np.outer(mean, mean))
            total += rows.weights[dead] @ (rows.covariates @ beta + rows.offset)[dead]
            score += rows.weights[dead] @ rows.covariates[dead]
    return total, score, information


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_sums_over_risk_sets_are_those_of_a_plain_loop(ties):
    rows, beta = make_rows(), np.array([0.4, -0.3])
    sets = build_risk_sets(rows, cause=1, ties=ties)
    found = compute_moments(sets, beta * sets.scale)
    total, score, information = loop(rows, beta, ties)
    # The log-likelihood with centred covariates and offsets is the same: what is taken off cancels.
    assert found.log_likelihood == pytest.approx(total, rel=1e-12)
    assert found.score * sets.scale == pytest.approx(score, rel=1e-10)
    size = np.outer(sets.scale, sets.scale)
    assert compute_information(sets, found) * size == pytest.approx(information, rel=1e-10)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_the_fit_is_where_the_score_of_a_plain_loop_vanishes(ties):
    rows = make_rows()
    fit = fit_cox(rows, options=CoxOptions(ties=ties))
    total, score, information = loop(rows, fit.coefficients, ties)
    assert score == pytest.approx([0, 0], abs=1e-8)
    assert fit.log_likelihood == pytest.approx(total, rel=1e-12)
    assert np.linalg.inv(information) == pytest.approx(fit.variance, rel=1e-8)


def test_score_residuals_sum_to_the_score_and_martingale_residuals_to_nothing():
    rows = make_rows()
    fit = fit_cox(rows)
    assert rows.weights @ compute_score_residuals(fit, rows) == pytest.approx([0, 0], abs=1e-8)
    assert rows.weights @ compute_martingale_residuals(fit, rows) == pytest.approx(0, abs=1e-8)
    assert len(compute_schoenfeld_residuals(fit, rows).time) == fit.n_events


def test_baseline_hazards_stand_for_a_person_with_the_covariates_asked_for():
    rows = make_rows()
    fit = fit_cox(rows)
    at_zero, at_one = (compute_baseline_hazard(fit, rows, at=np.array([k, 0.0])) for k in (0.0, 1.0))
    for zero, one in zip(at_zero, at_one, strict=True):
        assert one.hazard == pytest.approx(zero.hazard * math.exp(fit.coefficients[0]), rel=1e-10)
    assert [h.stratum for h in at_zero] == [0, 1]
    with pytest.raises(ParameterError, match="one finite value a covariate"):
        compute_baseline_hazard(fit, rows, at=np.zeros(3))


def test_other_causes_are_censoring():
    rows = make_rows()
    other = dataclasses.replace(rows, event=np.where(np.arange(len(rows)) % 3, rows.event, 2 * rows.event),
                                causes=("home", "hospital"))  # fmt: skip
    alone = dataclasses.replace(rows, event=(other.event == 2).astype(np.int64))
    assert fit_cox(other, options=CoxOptions(cause=2)).coefficients == pytest.approx(fit_cox(alone).coefficients)


def test_concordance_is_that_of_all_pairs():
    rows = make_rows(60)
    predictor = np.round(rows.covariates[:, 1], 1)
    concordant = discordant = tied = 0.0
    for i in np.flatnonzero(rows.event):
        at_risk = (rows.stratum == rows.stratum[i]) & (rows.entry < rows.exit[i]) & (rows.exit >= rows.exit[i])
        later = at_risk & ~((rows.exit == rows.exit[i]) & (rows.event == 1))
        weight = rows.weights[i] * rows.weights
        concordant += weight[later & (predictor < predictor[i])].sum()
        discordant += weight[later & (predictor > predictor[i])].sum()
        tied += weight[later & (predictor == predictor[i])].sum()
    found = count_pairs(rows, predictor)
    assert (found.concordant, found.discordant, found.tied) == pytest.approx((concordant, discordant, tied))
    fit = fit_cox(rows)
    assert 0.5 < compute_concordance(fit, rows).value < 1


def test_proportional_hazards_test_sees_an_effect_that_turns_and_groups_indicators():
    rng = np.random.default_rng(7)
    n = 1500
    x = (rng.random(n) < 0.5).astype(float)
    early = rng.exponential(1 / np.exp(1.0 * x))
    time = np.where(early < 0.5, early, 0.5 + rng.exponential(1 / np.exp(-1.0 * x)))
    zeros = np.zeros(n, dtype=np.int64)
    kinds = rng.integers(0, 3, n)
    design = np.column_stack([x, kinds == 1, kinds == 2]).astype(float)
    rows = FollowUp(
        np.zeros(n), time, np.ones(n, dtype=np.int64), np.arange(n), np.arange(n), zeros, np.ones(n), np.zeros(n),
        design, ("x", "kind=b", "kind=c"),
    )  # fmt: skip
    found = check_proportional_hazards(fit_cox(rows), rows)
    assert found.names == ("x", "kind", "GLOBAL")
    assert found.df.tolist() == [1, 2, 3]
    assert found.p_value[0] < 1e-6
    assert found.p_value[1] > 0.001
    assert found.p_value == pytest.approx(stats.chi2.sf(found.chi_square, found.df))
    with pytest.raises(ParameterError, match="transform: unknown"):
        check_proportional_hazards(fit_cox(rows), rows, transform="square")


def test_a_group_without_events_is_named():
    rows = make_rows()
    flag = (rows.event == 0) & (np.arange(len(rows)) % 2 == 0)
    with pytest.raises(NotEstimable, match="flag: its coefficient goes to infinity") as caught:
        fit_cox(with_covariate(rows, flag))
    assert "age:" not in str(caught.value)


def test_a_covariate_that_orders_all_events_is_named():
    rows = make_rows(late=False)
    with pytest.raises(NotEstimable, match="flag: its coefficient goes to infinity"):
        fit_cox(with_covariate(rows, -rows.exit))


def test_two_covariates_that_separate_together_are_both_named():
    rng = np.random.default_rng(2)
    rows = make_rows(400, late=False)
    x = rng.normal(size=(400, 2))
    high = x.sum(axis=1) > 0.3
    rows = dataclasses.replace(rows, covariates=x, event=high.astype(np.int64), names=("a", "b"),
                               exit=np.where(high, 10 - x.sum(axis=1), 20.0))  # fmt: skip
    with pytest.raises(NotEstimable) as caught:
        fit_cox(rows)
    assert [fault.where for fault in caught.value.faults] == ["a", "b"]


def test_all_covariates_that_say_nothing_new_are_named_at_once():
    rows = make_rows()
    x = rows.covariates
    design = np.column_stack([x, x @ [2.0, -1.0], np.full(len(rows), 5.0), rows.stratum])
    rows = dataclasses.replace(rows, covariates=design, names=("a", "b", "sum", "constant", "layer"))
    with pytest.raises(NotEstimable) as caught:
        fit_cox(rows)
    assert sorted(fault.where for fault in caught.value.faults) == ["constant", "layer", "sum"]
    assert "made up of a, b" in caught.value.reason


def test_wild_values_lead_to_a_refusal_or_to_the_right_number():
    rows = make_rows(400, late=False)
    wild = rows.covariates.copy()
    wild[0, 1] = 1e7
    rows = dataclasses.replace(rows, covariates=wild)
    fit = fit_cox(rows)
    assert loop(rows, fit.coefficients, "efron")[1] / np.sqrt(np.diag(np.linalg.inv(fit.variance))) == pytest.approx(
        [0, 0], abs=1e-5
    )


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, CoxOptions(cause=2), "cause"),
        ({}, CoxOptions(ties="exact"), "ties: unknown"),
        ({}, CoxOptions(errors="jackknife"), "errors: unknown"),
        ({}, CoxOptions(max_iterations=0), "must be positive"),
        ({"covariates": np.empty((120, 0)), "names": ()}, CoxOptions(), "at least one"),
    ],
)
def test_parameters_that_cannot_be_used(change, options, message):
    with pytest.raises(ParameterError, match=message):
        fit_cox(dataclasses.replace(make_rows(), **change), options=options)


def test_no_events_and_no_convergence_are_not_estimable():
    rows = make_rows()
    with pytest.raises(NotEstimable, match="events: there are none"):
        fit_cox(dataclasses.replace(rows, event=np.zeros_like(rows.event)))
    with pytest.raises(NotEstimable, match="no convergence in 1 steps"):
        fit_cox(rows, options=CoxOptions(max_iterations=1))


def test_another_follow_up_is_refused():
    rows = make_rows()
    with pytest.raises(ParameterError, match="not the one that the model was fitted on"):
        compute_score_residuals(fit_cox(rows), rows.select(np.arange(50)))


@pytest.mark.parametrize("errors", ["model", "robust"])
def test_the_published_estimate(errors):
    rows, options = make_rows(400), CoxOptions(errors=errors)
    fit, found = fit_cox(rows, options=options), estimate_hazard_ratio(
        rows, ESTIMAND, covariate="treated", options=options, level=0.9
    )  # fmt: skip
    assert found.value == pytest.approx(math.exp(fit.coefficients[0]))
    assert found.se == pytest.approx(fit.standard_errors[0])
    assert math.log(found.upper / found.value) == pytest.approx(stats.norm.ppf(0.95) * found.se)
    assert math.log(found.value / found.lower) == pytest.approx(stats.norm.ppf(0.95) * found.se)
    assert (found.n_people, found.n_events, found.level) == (400, fit.n_events, 0.9)
    names = [check.name for check in found.checks]
    assert names[:2] == ["proportional_hazards", "proportional_hazards_all"]
    assert ("clusters" in names) == (errors == "robust")


def test_too_few_events_are_refused_and_not_counted_out_loud():
    rows = make_rows()
    event = np.where(np.cumsum(rows.event) <= 7, rows.event, 0)
    with pytest.raises(NotEstimable, match="fewer than 10") as caught:
        estimate_hazard_ratio(dataclasses.replace(rows, event=event), ESTIMAND, covariate="treated")
    assert "7" not in str(caught.value)


def test_all_faults_of_a_question_are_told_at_once():
    other = dataclasses.replace(ESTIMAND, scale="risk_ratio")
    with pytest.raises(ParameterError) as caught:
        estimate_hazard_ratio(make_rows(), other, covariate="treatd", level=1.5)
    assert [fault.where for fault in caught.value.faults] == ["covariate", "level", "estimand"]
    assert 'Did you mean "treated"?' in str(caught.value)


def test_one_event_time_leaves_nothing_to_test_and_one_cluster_no_error():
    rows = make_rows(100, late=False)
    rows = dataclasses.replace(rows, exit=np.where(rows.event == 1, 5.0, 9.0), stratum=0 * rows.stratum)
    test = check_proportional_hazards(fit_cox(rows), rows)
    assert np.isnan(test.chi_square).all()
    assert estimate_hazard_ratio(rows, ESTIMAND, covariate="treated").checks[0].passed is None
    one = dataclasses.replace(rows, cluster=0 * rows.cluster)
    assert math.isnan(fit_cox(one).wald_test)
    with pytest.raises(NotEstimable, match="one alone"):
        estimate_hazard_ratio(one, ESTIMAND, covariate="treated")


def test_many_strata_of_two_are_conditional_logistic_regression():
    rng = np.random.default_rng(4)
    pairs = 3000
    pair = np.repeat(np.arange(pairs), 2)
    x = rng.normal(size=(2 * pairs, 2)) + rng.normal(size=pairs)[pair][:, None]
    time = rng.exponential(np.exp(-0.5 * x[:, 0] + 3 * rng.normal(size=pairs)[pair]))
    end = np.minimum(time, rng.exponential(5, 2 * pairs))
    zeros, ones = np.zeros(2 * pairs), np.ones(2 * pairs)
    rows = FollowUp(
        zeros, end, (time == end).astype(np.int64), np.arange(2 * pairs), pair, pair, ones, zeros, x, ("a", "b")
    )
    one, other = np.arange(0, 2 * pairs, 2), np.arange(1, 2 * pairs, 2)
    first, second = np.where(end[one] < end[other], one, other), np.where(end[one] < end[other], other, one)
    both = rows.event[first] == 1  # else none has an event while both are at risk
    apart = x[first[both]] - x[second[both]]
    fit = fit_cox(rows)
    p = 1 / (1 + np.exp(apart @ fit.coefficients))
    assert p @ apart == pytest.approx([0, 0], abs=1e-8)
    assert fit.variance == pytest.approx(np.linalg.inv((apart * (p * (1 - p))[:, None]).T @ apart), rel=1e-8)
    assert fit.log_likelihood == pytest.approx(np.log1p(-p).sum(), rel=1e-10)
