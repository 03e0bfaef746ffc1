"""What may not change a Cox model, and how its numbers move where they must."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cox import CoxFit, CoxOptions, fit_cox
from evalkit.estimators.survival.cox_checks import check_proportional_hazards
from evalkit.estimators.survival.cox_concordance import compute_concordance
from evalkit.estimators.survival.cox_residuals import compute_baseline_hazard, compute_dfbeta, compute_score_residuals

TIGHT = 1e-8
BOTH = pytest.mark.parametrize("ties", ["efron", "breslow"])


def make_follow_up(seed: int = 5, n_people: int = 150) -> FollowUp:
    """Recurrent events on whole days with late entry, two strata, weights, an offset and clusters of two people."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(n_people):
        day, x, z = int(rng.integers(0, 10)), rng.normal(), float(rng.random() < 0.4)
        weight, stratum = float(rng.choice([0.5, 1.0, 1.7])), int(rng.integers(0, 2))
        for _ in range(int(rng.integers(1, 4))):
            days = 1 + int(rng.exponential(12 * np.exp(-0.4 * x + 0.3 * z)))
            rows.append((person, person // 2, stratum, day, day + days, int(rng.random() < 0.6), x, z, weight))
            day += days
    frame = pd.DataFrame(rows, columns=["person", "pair", "s", "begin", "end", "event", "x", "z", "w"])
    frame["o"] = rng.normal(scale=0.2, size=len(frame))
    return FollowUp.from_frame(
        frame, entry="begin", exit="end", event="event", person="person", cluster="pair", stratum="s", weights="w",
        offset="o", covariates=("x", "z"),
    )  # fmt: skip


def assert_same(one: CoxFit, other: CoxFit, *, likelihood: bool = True) -> None:
    assert other.coefficients == pytest.approx(one.coefficients, rel=TIGHT)
    assert other.variance == pytest.approx(one.variance, rel=TIGHT)
    assert other.robust_variance == pytest.approx(one.robust_variance, rel=TIGHT)
    assert other.score_test == pytest.approx(one.score_test, rel=TIGHT)
    if likelihood:
        assert other.log_likelihood == pytest.approx(one.log_likelihood, rel=TIGHT)
        assert other.log_likelihood_null == pytest.approx(one.log_likelihood_null, rel=TIGHT)


def changed(rows: FollowUp, **values: object) -> FollowUp:
    return dataclasses.replace(rows, **values)


@BOTH
def test_units_and_origin_of_covariates(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    size, shift = np.array([1e6, 1e-4]), np.array([3e6, -2e-4])
    one = fit_cox(rows, options=options)
    other = fit_cox(changed(rows, covariates=rows.covariates * size + shift), options=options)
    assert other.coefficients * size == pytest.approx(one.coefficients, rel=TIGHT)
    assert other.robust_variance * np.outer(size, size) == pytest.approx(one.robust_variance, rel=TIGHT)
    assert other.log_likelihood == pytest.approx(one.log_likelihood, rel=TIGHT)


@BOTH
def test_a_monotone_change_of_time(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    later = changed(rows, entry=np.exp(rows.entry / 50) - 7, exit=np.exp(rows.exit / 50) - 7)
    assert_same(fit_cox(rows, options=options), fit_cox(later, options=options))


@BOTH
def test_order_of_rows_and_labels_of_people_clusters_and_strata(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    rng = np.random.default_rng(1)
    mixed = rows.select(rng.permutation(len(rows)))
    mixed = changed(mixed, person=rng.permutation(1000)[mixed.person], cluster=rng.permutation(900)[mixed.cluster],
                    stratum=np.array([7, 3])[mixed.stratum])  # fmt: skip
    assert_same(fit_cox(rows, options=options), fit_cox(mixed, options=options))


@BOTH
def test_splitting_rows_at_arbitrary_times(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    cut = rows.entry + (rows.exit - rows.entry) * np.random.default_rng(2).uniform(0.05, 0.95, len(rows))
    head = changed(rows, exit=cut, event=np.zeros_like(rows.event))
    tail = changed(rows, entry=cut)
    arrays = ("entry", "exit", "event", "person", "cluster", "stratum", "weights", "offset", "covariates")
    split = changed(rows, **{a: np.concatenate([getattr(head, a), getattr(tail, a)]) for a in arrays})
    one, other = fit_cox(rows, options=options), fit_cox(split, options=options)
    assert_same(one, other)
    both = compute_score_residuals(other, split).reshape(2, len(rows), 2).sum(axis=0)
    assert both == pytest.approx(compute_score_residuals(one, rows), rel=1e-7, abs=1e-9)
    old, new = check_proportional_hazards(one, rows), check_proportional_hazards(other, split)
    assert new.chi_square == pytest.approx(old.chi_square, rel=1e-7)
    assert compute_concordance(other, split).value == pytest.approx(compute_concordance(one, rows).value, rel=TIGHT)


@BOTH
@pytest.mark.parametrize("size", [4.0, 1e9, 1e-9])
def test_scale_of_weights_moves_only_the_models_variance_and_likelihood(ties, size):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    one, other = fit_cox(rows, options=options), fit_cox(rows.with_weights(size * rows.weights), options=options)
    assert other.coefficients == pytest.approx(one.coefficients, rel=TIGHT)
    assert other.robust_variance == pytest.approx(one.robust_variance, rel=TIGHT)
    assert other.variance * size == pytest.approx(one.variance, rel=TIGHT)


def test_a_row_twice_at_half_its_weight_under_breslow():
    rows, options = make_follow_up(), CoxOptions(ties="breslow")
    double = rows.select(np.tile(np.arange(len(rows)), 2))
    double = double.with_weights(double.weights / 2)
    assert_same(fit_cox(rows, options=options), fit_cox(double, options=options))


@BOTH
def test_a_constant_in_the_offset(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    moved = changed(rows, offset=rows.offset + 30)
    one, other = fit_cox(rows, options=options), fit_cox(moved, options=options)
    assert_same(one, other)
    for old, new in zip(compute_baseline_hazard(one, rows), compute_baseline_hazard(other, moved), strict=True):
        assert new.hazard * np.exp(30) == pytest.approx(old.hazard, rel=TIGHT)


@BOTH
def test_an_offset_does_what_a_fixed_coefficient_does(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    one = fit_cox(rows, options=options)
    fixed = changed(rows, offset=rows.offset + one.coefficients[0] * rows.covariates[:, 0])
    other = fit_cox(fixed, options=options)
    assert other.coefficients == pytest.approx([0, one.coefficients[1]], rel=TIGHT, abs=1e-9)
    assert other.log_likelihood == pytest.approx(one.log_likelihood, rel=TIGHT)


@BOTH
def test_a_covariate_of_one_stratum_moves_nothing_where_each_has_its_own(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    moved = rows.covariates + np.where(rows.stratum[:, None] == 1, 40.0, 0.0)
    assert_same(fit_cox(rows, options=options), fit_cox(changed(rows, covariates=moved), options=options))


@BOTH
def test_rows_at_risk_at_no_event_add_nothing(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    last = rows.exit.max()
    idle = changed(rows.select(np.arange(5)), entry=np.full(5, last + 1.0), exit=np.full(5, last + 9.0),
                   event=np.zeros(5, dtype=np.int64), person=np.arange(900, 905))  # fmt: skip
    arrays = ("entry", "exit", "event", "person", "cluster", "stratum", "weights", "offset", "covariates")
    more = changed(rows, **{a: np.concatenate([getattr(rows, a), getattr(idle, a)]) for a in arrays})
    one, other = fit_cox(rows, options=options), fit_cox(more, options=options)
    assert_same(one, other)
    assert (compute_score_residuals(other, more)[-5:] == 0).all()


@BOTH
def test_clusters_sum_dfbetas_and_singletons_give_the_rows_own(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    fit = fit_cox(rows, options=options)
    moved = compute_dfbeta(fit, rows)
    sums = np.stack([np.bincount(rows.cluster, column) for column in moved.T], axis=1)
    assert fit.robust_variance == pytest.approx(sums.T @ sums, rel=TIGHT)
    alone = fit_cox(changed(rows, cluster=np.arange(len(rows))), options=options)
    assert alone.robust_variance == pytest.approx(moved.T @ moved, rel=TIGHT)


def test_ties_do_not_matter_where_there_are_none():
    rows = make_follow_up()
    apart = changed(rows, exit=rows.exit + np.random.default_rng(3).uniform(0, 0.5, len(rows)))
    apart = changed(apart, entry=rows.entry.astype(float))
    assert_same(fit_cox(apart, options=CoxOptions(ties="efron")), fit_cox(apart, options=CoxOptions(ties="breslow")))


@BOTH
def test_times_that_differ_by_rounding_are_tied(ties):
    rows, options = make_follow_up(), CoxOptions(ties=ties)
    noise = 1 + 1e-15 * np.random.default_rng(4).integers(-2, 3, len(rows))
    assert_same(fit_cox(rows, options=options), fit_cox(changed(rows, exit=rows.exit * noise), options=options))
