"""Doubly robust cost differences do not depend on units, order, coding of covariates or how people are written down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.estimators.costs.dr_did import (
    DrCostOptions,
    compute_dr_cost_draws,
    draw_counts,
    estimate_dr_cost_did,
)
from tests.cost_people import make_costs
from tests.people_factory import make_estimand

POUNDS, RATIO = make_estimand("ATT", "gbp_per_person_quarter"), make_estimand("ATT", "rate_ratio")
DESIGNS = (
    DrCostOptions(),
    DrCostOptions(scale_of_trend="difference"),
    DrCostOptions(scale_of_trend="difference", method_in_pounds="traditional"),
)
BOOTSTRAP = DrCostOptions(errors="bootstrap", replicates=200)


def numbers(comparison, estimand, options):
    found = estimate_dr_cost_did(comparison, estimand, options=options, rng=np.random.default_rng(4))
    return np.array([found.value, found.se, found.lower, found.upper])


@pytest.mark.parametrize("options", [*DESIGNS, BOOTSTRAP])
def test_pence_are_a_hundred_times_pounds(options):
    people = make_costs(200, sampling=True)
    pence = replace(people, before=100 * people.before, outcome=100 * people.outcome)
    assert numbers(pence, POUNDS, options) == pytest.approx(100 * numbers(people, POUNDS, options), rel=1e-7)
    assert numbers(pence, RATIO, options) == pytest.approx(numbers(people, RATIO, options), rel=1e-7)


@pytest.mark.parametrize("options", DESIGNS)
def test_covariates_may_be_measured_in_other_units(options):
    people = make_costs(200, sampling=True)
    x = people.covariates @ np.array([[1_000.0, 0.0, 0.0], [1.0, 1e-3, 0.0], [0.0, 2e-3, 1.0]]) + 5.0
    expected = numbers(people, POUNDS, options)
    assert numbers(replace(people, covariates=x), POUNDS, options) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("options", DESIGNS)
def test_order_of_people_does_not_matter(options):
    people = make_costs(200, sampling=True, clusters=2)
    shuffled = people.select(np.random.default_rng(9).permutation(200))
    assert numbers(shuffled, RATIO, options) == pytest.approx(numbers(people, RATIO, options), rel=1e-8)


@pytest.mark.parametrize("options", DESIGNS)
def test_everybody_twice_with_half_the_weight_changes_nothing(options):
    people = make_costs(200, sampling=True)
    twice = people.select(np.repeat(np.arange(200), 2))
    half = replace(twice, sampling=twice.sampling / 2)
    assert numbers(half, POUNDS, options) == pytest.approx(numbers(people, POUNDS, options), rel=1e-8)


@pytest.mark.parametrize("options", DESIGNS)
def test_scale_of_sampling_weights_does_not_matter(options):
    people = make_costs(200, sampling=True)
    tenfold = replace(people, sampling=10 * people.sampling)
    assert numbers(tenfold, RATIO, options) == pytest.approx(numbers(people, RATIO, options), rel=1e-8)


@pytest.mark.parametrize("options", DESIGNS[1:])
def test_a_sum_that_everybody_costs_more_leaves_the_difference_in_pounds(options):
    people = make_costs(200)
    dearer = replace(people, before=people.before + 500.0, outcome=people.outcome + 800.0)
    assert numbers(dearer, POUNDS, options) == pytest.approx(numbers(people, POUNDS, options), rel=1e-8)


@pytest.mark.parametrize("estimand", [POUNDS, RATIO])
def test_a_general_rise_of_prices_leaves_the_ratio(estimand):
    people = make_costs(200)
    dearer = replace(people, outcome=1.4 * people.outcome)
    factor = 1.4 if estimand is POUNDS else 1.0
    expected = numbers(people, estimand, DESIGNS[0])
    expected[[0, 2, 3]] *= factor
    expected[1] *= factor
    assert numbers(dearer, estimand, DESIGNS[0]) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("options", DESIGNS)
def test_draws_do_not_depend_on_which_are_made_together(options):
    people = make_costs(200)
    counts = draw_counts(people, replicates=130, rng=np.random.default_rng(0))
    together = compute_dr_cost_draws(people, counts, options=options)
    apart = np.concatenate([compute_dr_cost_draws(people, part, options=options) for part in np.split(counts, 13)])
    assert together == pytest.approx(apart, rel=1e-8)


def test_the_same_seed_draws_the_same():
    people = make_costs(200)
    assert numbers(people, RATIO, BOOTSTRAP).tolist() == numbers(people, RATIO, BOOTSTRAP).tolist()
