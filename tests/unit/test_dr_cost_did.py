"""Doubly robust differences-in-differences of cost: closed forms, influence values, draws and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.costs.dr_did import (
    DrCostOptions,
    build_cost_comparison,
    compute_dr_cost_draws,
    compute_dr_cost_means,
    draw_counts,
    estimate_dr_cost_did,
)
from evalkit.estimators.costs.dr_did_fits import build_basis, fit_exponential
from tests.cost_people import make_costs
from tests.people_factory import make_estimand

POUNDS, RATIO = make_estimand("ATT", "gbp_per_person_quarter"), make_estimand("ATT", "rate_ratio")
DESIGNS = (
    DrCostOptions(),
    DrCostOptions(scale_of_trend="difference"),
    DrCostOptions(scale_of_trend="difference", method_in_pounds="traditional"),
)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def four_means(comparison):
    t, s = comparison.treated, comparison.sampling
    return [np.average(y[g], weights=s[g]) for g in (t, ~t) for y in (comparison.outcome, comparison.before)]


@pytest.mark.parametrize("options", DESIGNS)
def test_without_covariates_it_is_the_two_by_two_table(options):
    people = make_costs(300, sampling=True)
    people = replace(people, covariates=np.empty((300, 0)), names=())
    ta, tb, ca, cb = four_means(people)
    expected = tb * ca / cb if options.scale_of_trend == "proportion" else tb + ca - cb
    means = compute_dr_cost_means(people, options=options)
    assert means.actual == pytest.approx(ta, rel=1e-12)
    assert means.counterfactual == pytest.approx(expected, rel=1e-10)
    found = estimate_dr_cost_did(people, POUNDS, options=options)
    assert found.value == pytest.approx(ta - expected, rel=1e-9)
    assert estimate_dr_cost_did(people, RATIO, options=options).value == pytest.approx(ta / expected, rel=1e-9)


def test_error_in_proportion_without_covariates_is_the_delta_method():
    people = make_costs(300)
    people = replace(people, covariates=np.empty((300, 0)), names=())
    t, (ta, tb, ca, cb) = people.treated, four_means(people)
    one = (people.outcome - ta)[t] / ta - (people.before - tb)[t] / tb
    nought = (people.outcome - ca)[~t] / ca - (people.before - cb)[~t] / cb
    expected = math.sqrt((one**2).sum() / t.sum() ** 2 + (nought**2).sum() / (~t).sum() ** 2)
    found = estimate_dr_cost_did(people, RATIO, options=DrCostOptions(correction="none"))
    assert found.se == pytest.approx(expected, rel=1e-9)
    half = stats.norm.ppf(0.975) * expected
    assert (found.lower, found.upper) == pytest.approx((found.value * math.exp(-half), found.value * math.exp(half)))


@pytest.mark.parametrize("options", DESIGNS)
def test_influence_values_are_derivatives_by_the_weight_of_each_person(options):
    people = make_costs(250, sampling=True)
    step, rows = 1e-4, np.arange(0, 250, 3)
    up, down = np.ones((2, len(rows), 250))
    up[np.arange(len(rows)), rows] += step
    down[np.arange(len(rows)), rows] -= step
    above, below = (compute_dr_cost_draws(people, counts, options=options) for counts in (up, down))
    influence = compute_dr_cost_means(people, options=options).influence
    gap = np.abs((above - below) / (2 * step) - influence[rows])
    assert gap.max() < 1e-6 * np.abs(influence).max()


@pytest.mark.parametrize("options", DESIGNS)
def test_draws_of_everybody_once_are_the_estimate(options):
    people = make_costs(300, sampling=True)
    means = compute_dr_cost_means(people, options=options)
    draws = compute_dr_cost_draws(people, np.ones((3, 300)), options=options)
    assert draws == pytest.approx(np.tile([means.actual, means.counterfactual], (3, 1)), rel=1e-10)


@pytest.mark.parametrize("options", DESIGNS)
def test_a_draw_is_the_estimate_of_people_repeated(options):
    people = make_costs(300)
    counts = draw_counts(people, replicates=5, rng=rng())
    draws = compute_dr_cost_draws(people, counts, options=options)
    for count, draw in zip(counts, draws, strict=True):
        means = compute_dr_cost_means(
            people.select(np.repeat(np.arange(300), count)), options=replace(options, correction="none")
        )  # fmt: skip
        assert draw == pytest.approx([means.actual, means.counterfactual], rel=1e-8)


def test_leaving_out_is_the_fit_to_the_others():
    people = make_costs(120, clusters=3)
    means = compute_dr_cost_means(people, options=DrCostOptions())
    without = compute_dr_cost_means(people.select(people.cluster != 7), options=DrCostOptions(correction="none"))
    lost = means.left_out[people.cluster == 7].sum(axis=0)
    expected = [means.actual - without.actual, means.counterfactual - without.counterfactual]
    assert lost == pytest.approx(expected, rel=1e-7)


def test_corrections_widen_in_order():
    people = make_costs(150)
    se = [
        estimate_dr_cost_did(people, RATIO, options=DrCostOptions(correction=c)).se
        for c in ("none", "clusters", "leverage", "jackknife")
    ]
    assert se == sorted(se)
    assert se[3] > 1.03 * se[0]


@pytest.mark.parametrize("options", DESIGNS)
@pytest.mark.parametrize("estimand", [POUNDS, RATIO])
def test_bootstrap_error_is_close_to_that_of_influence_values(options, estimand):
    people = make_costs(600, clusters=4)
    influence = estimate_dr_cost_did(people, estimand, options=options)
    drawn = estimate_dr_cost_did(people, estimand, options=replace(options, errors="bootstrap"), rng=rng())
    assert drawn.value == influence.value
    assert drawn.se == pytest.approx(influence.se, rel=0.15)


def test_people_are_drawn_within_sides_and_clusters_whole():
    alone = make_costs(200)
    counts = draw_counts(alone, replicates=50, rng=rng())
    assert (counts[:, alone.treated].sum(axis=1) == alone.treated.sum()).all()
    assert (counts.sum(axis=1) == 200).all()
    mixed = make_costs(200, clusters=5)
    counts = draw_counts(mixed, replicates=50, rng=rng())
    assert (counts.reshape(50, 40, 5) == counts.reshape(50, 40, 5)[:, :, :1]).all()
    assert len(np.unique(counts[:, mixed.treated].sum(axis=1))) > 1


def test_clusters_in_which_people_are_alike_widen_the_error():
    people = make_costs(200)
    twice = people.select(np.repeat(np.arange(200), 2))
    alone = replace(twice, cluster=np.arange(400))
    one = estimate_dr_cost_did(people, RATIO, options=DrCostOptions(correction="none"))
    assert estimate_dr_cost_did(twice, RATIO, options=DrCostOptions(correction="none")).se == pytest.approx(one.se)
    apart = estimate_dr_cost_did(alone, RATIO, options=DrCostOptions(correction="none"))
    assert apart.se == pytest.approx(one.se / math.sqrt(2), rel=1e-6)


def test_many_clusters_are_not_left_out_one_by_one_and_a_check_says_so():
    people = make_costs(2_200)
    found = estimate_dr_cost_did(people, RATIO)
    plain = estimate_dr_cost_did(people, RATIO, options=DrCostOptions(correction="clusters"))
    assert found.se == plain.se
    assert "correction" in [check.name for check in found.checks]


def test_builder_takes_arrays_as_they_are():
    people = make_costs(100)
    frame = pd.DataFrame(people.covariates, columns=list(people.names), index=np.arange(100) + 7)
    built = build_cost_comparison(people.before, people.outcome, people.treated, frame, cluster=people.cluster // 2)
    assert np.array_equal(built.outcome, people.outcome)
    assert np.array_equal(built.before, people.before)
    assert np.array_equal(built.treated, people.treated)
    assert len(np.unique(built.cluster)) == 50


def test_redundant_columns_change_nothing():
    people = make_costs(200)
    more = replace(people, covariates=np.column_stack([people.covariates, people.covariates.sum(axis=1)]),
                   names=(*people.names, "sum"))  # fmt: skip
    for options in DESIGNS:
        a, b = (compute_dr_cost_means(c, options=options) for c in (people, more))
        assert b.counterfactual == pytest.approx(a.counterfactual, rel=1e-10)


def test_exponential_fits_without_a_minimum_are_marked():
    x = np.column_stack([np.ones(40), np.repeat([0.0, 1.0], 20)])
    y = np.vstack([np.repeat([0.0, 1.0], 20), np.repeat([2.0, 1.0], 20), np.zeros(40)])
    fit = fit_exponential(build_basis(x), np.ones((3, 40)), y @ x)
    assert fit.fitted.tolist() == [False, True, False]
    assert fit.coefficients[1] == pytest.approx([math.log(2), -math.log(2)], abs=1e-9)
    assert np.isnan(fit.coefficients[[0, 2]]).all()


# What is refused


def test_all_faults_of_a_request_are_told_at_once():
    people = replace(make_costs(100), before=None)
    wrong = DrCostOptions(
        scale_of_trend="log", method_in_pounds="best", errors="bootstrap", correction="big", replicates=5
    )  # fmt: skip
    with pytest.raises(ParameterError) as raised:
        estimate_dr_cost_did(people, make_estimand("ATE", "risk_ratio"), options=wrong, level=2.0)
    told = [fault.where for fault in raised.value.faults]
    assert told == [
        "level", "contrast", "scale", "scale_of_trend", "method_in_pounds", "correction", "replicates", "rng", "before"
    ]  # fmt: skip


@pytest.mark.parametrize(("value", "what"), [(-1.0, "negative"), (np.nan, "missing"), (np.inf, "missing")])
@pytest.mark.parametrize("name", ["outcome", "before"])
def test_negative_and_missing_costs_are_refused_without_showing_them(name, value, what):
    people = make_costs(100)
    costs = getattr(people, name).copy()
    costs[[3, 8]] = value
    with pytest.raises(ParameterError, match=f"{name}: fewer than 10 rows are {what}"):
        estimate_dr_cost_did(replace(people, **{name: costs}), POUNDS)


@pytest.mark.parametrize("counts", [np.ones(100), np.ones((2, 99)), -np.ones((2, 100)), np.full((1, 100), np.nan)])
def test_counts_that_do_not_fit_are_refused(counts):
    with pytest.raises(ParameterError, match="counts"):
        compute_dr_cost_draws(make_costs(100), counts, options=DrCostOptions())


def test_small_sides_and_single_clusters_are_refused():
    people = make_costs(200)
    few = people.select(np.concatenate([np.flatnonzero(people.treated)[:19], np.flatnonzero(~people.treated)]))
    with pytest.raises(NotEstimable, match="too few people on the treated side"):
        estimate_dr_cost_did(few, POUNDS)
    one = replace(people, cluster=np.where(people.treated, 0, np.arange(200)))
    with pytest.raises(NotEstimable, match="treated side is in one cluster"):
        estimate_dr_cost_did(one, POUNDS)


@pytest.mark.parametrize("name", ["outcome", "before"])
@pytest.mark.parametrize("side", ["treated", "comparison"])
def test_nothing_spent_has_no_proportion(name, side):
    people = make_costs(200)
    where = people.treated if side == "treated" else ~people.treated
    empty = replace(people, **{name: np.where(where, 0.0, getattr(people, name))})
    with pytest.raises(NotEstimable, match=f"on the {side} side, so that a proportion has no meaning"):
        estimate_dr_cost_did(empty, POUNDS)


def test_separation_is_refused():
    people = make_costs(200)
    place = np.column_stack([people.covariates, people.treated + 0.0])
    apart = replace(people, covariates=place, names=(*people.names, "place"))
    for options in DESIGNS:
        with pytest.raises(NotEstimable):
            estimate_dr_cost_did(apart, POUNDS, options=options)


def test_a_group_in_which_nothing_was_spent_is_refused():
    people = make_costs(200)
    group = people.covariates[:, 2] == 1
    for name, side, whose in (
        ("before", people.treated, "treated's cost before"), ("before", ~people.treated, "comparison's cost before"),
        ("outcome", ~people.treated, "comparison's trend"),
    ):  # fmt: skip
        empty = replace(people, **{name: np.where(group & side, 0.0, getattr(people, name))})
        with pytest.raises(NotEstimable, match=whose):
            estimate_dr_cost_did(empty, POUNDS)


def test_weights_of_one_person_are_refused_and_large_ones_told():
    people = make_costs(150)
    rest = ~people.treated
    giant = people.before.copy()
    giant[np.flatnonzero(rest)[0]] = 60 * people.before[rest].sum()
    with pytest.raises(NotEstimable, match="half of the comparison's weight"):
        estimate_dr_cost_did(replace(people, before=giant), POUNDS)
    giant[np.flatnonzero(rest)[0]] = 0.3 * people.before[rest].sum()
    found = estimate_dr_cost_did(replace(people, before=giant), POUNDS)
    checks = {check.name: check for check in found.checks}
    assert checks["largest_weight"].passed is False
    assert checks["effective_people"].value > 30


def test_a_counterfactual_below_nought_has_no_ratio():
    people = make_costs(200)
    fall = replace(people, before=people.before + np.where(people.treated, 0.0, 50_000.0))
    options = DrCostOptions(scale_of_trend="difference")
    assert estimate_dr_cost_did(fall, POUNDS, options=options).value > 0
    with pytest.raises(NotEstimable, match="not positive"):
        estimate_dr_cost_did(fall, RATIO, options=options)


def test_a_bootstrap_that_loses_draws_is_refused():
    people = make_costs(200, seed=2)
    rare = np.zeros(200)
    for side in (people.treated, ~people.treated):
        spent = np.flatnonzero(side & (people.before > 0) & (people.outcome > 0))
        rare[spent[:2]] = 1.0
    people = replace(people, covariates=rare[:, None], names=("rare",))
    with pytest.raises(NotEstimable, match="too many draws"):
        estimate_dr_cost_did(people, POUNDS, options=DrCostOptions(errors="bootstrap"), rng=rng())
