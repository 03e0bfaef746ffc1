"""What must not matter to weights, matches and balance: units, order, which side is which, the scale of weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.comparison import Comparison
from evalkit.estimators.people.balance import assess_balance
from evalkit.estimators.people.logistic import add_intercept
from evalkit.estimators.people.matching import MatchOptions, match
from evalkit.estimators.people.matching_effect import MatchedEffectOptions, compute_matched_effect
from evalkit.estimators.people.weight_draws import compute_weighted_att_draws
from evalkit.estimators.people.weighting import WeightOptions, build_weights
from tests.unit.test_weighting import people

WAYS = [
    WeightOptions(estimand="ATT"),
    WeightOptions(estimand="ATC", truncate=0.97),
    WeightOptions(estimand="ATE", trim=0.1, stabilise="marginal"),
    WeightOptions(estimand="ATO"),
    WeightOptions(method="entropy", estimand="ATT", moments=2),
    WeightOptions(method="entropy", estimand="ATE"),
]
MATCHES = [
    MatchOptions(caliper=0.2),
    MatchOptions(ratio=2, replace="with", distance="linear_propensity"),
    MatchOptions(distance="mahalanobis", exact=("x2",)),
    MatchOptions(distance="mahalanobis", method="optimal"),
]


def in_other_units(comparison: Comparison) -> Comparison:
    """The same covariates in other units, mixed so that they span the same space."""
    x = comparison.covariates
    mixed = np.column_stack([1e4 + 250 * x[:, 0], 1e-3 * x[:, 1] - 7, x[:, 2]])
    return replace(comparison, covariates=mixed)


@pytest.mark.parametrize("options", WAYS, ids=lambda o: f"{o.method}-{o.estimand}")
def test_units_of_covariates_do_not_matter_to_weights(options: WeightOptions) -> None:
    comparison = people()
    plain = build_weights(comparison, options=options)
    other = build_weights(in_other_units(comparison), options=options)
    assert other.weights == pytest.approx(plain.weights, rel=1e-7)


@pytest.mark.parametrize("options", WAYS, ids=lambda o: f"{o.method}-{o.estimand}")
def test_the_order_of_people_does_not_matter_to_weights(options: WeightOptions) -> None:
    comparison = people()
    order = np.random.default_rng(0).permutation(400)
    plain = build_weights(comparison, options=options).weights
    assert build_weights(comparison.select(order), options=options).weights == pytest.approx(plain[order], rel=1e-7)


@pytest.mark.parametrize("options", WAYS, ids=lambda o: f"{o.method}-{o.estimand}")
def test_the_scale_of_sampling_weights_does_not_matter(options: WeightOptions) -> None:
    comparison = replace(people(), sampling=np.random.default_rng(0).uniform(0.5, 2, size=400))
    scaled = replace(comparison, sampling=comparison.sampling * 1000)
    plain = build_weights(comparison, options=options).weights
    assert build_weights(scaled, options=options).weights == pytest.approx(plain, rel=1e-7)


@pytest.mark.parametrize("options", [w for w in WAYS if w.truncate is None], ids=lambda o: f"{o.method}-{o.estimand}")
def test_a_person_of_sampling_weight_two_is_two_people(options: WeightOptions) -> None:
    comparison, copies = people(), np.random.default_rng(0).integers(1, 4, size=400)
    rows = np.repeat(np.arange(400), copies)
    weighted = build_weights(replace(comparison, sampling=copies.astype(float)), options=options)
    copied = build_weights(comparison.select(rows), options=options)
    # The divergence that entropy balancing takes least is the same, and so is its least value; moments too.
    assert copied.weights == pytest.approx(weighted.weights[rows], rel=1e-6)
    halves = replace(comparison.select(np.tile(np.arange(400), 2)), sampling=np.full(800, 0.5))
    plain = build_weights(comparison, options=options)
    assert build_weights(halves, options=options).weights == pytest.approx(np.tile(plain.weights, 2), rel=1e-6)


@pytest.mark.parametrize("method", ["logistic", "entropy"])
def test_the_att_of_sides_turned_round_is_the_atc(method: str) -> None:
    comparison = people()
    turned = replace(comparison, treated=~comparison.treated)
    att = build_weights(comparison, options=WeightOptions(method=method, estimand="ATT")).weights
    atc = build_weights(turned, options=WeightOptions(method=method, estimand="ATC")).weights
    assert atc == pytest.approx(att, rel=1e-7)
    for estimand in ("ATE", "ATO") if method == "logistic" else ("ATE",):
        options = WeightOptions(method=method, estimand=estimand)
        one, other = build_weights(comparison, options=options), build_weights(turned, options=options)
        assert other.weights == pytest.approx(one.weights, rel=1e-7)


@pytest.mark.parametrize("options", MATCHES, ids=lambda o: f"{o.method}-{o.distance}")
def test_units_and_order_do_not_matter_to_matches(options: MatchOptions) -> None:
    comparison = people()
    plain = {tuple(pair) for pair in match(comparison, options=options).pairs.tolist()}
    assert {tuple(pair) for pair in match(in_other_units(comparison), options=options).pairs.tolist()} == plain
    order = np.random.default_rng(0).permutation(400)
    moved = match(comparison.select(order), options=options)
    assert {(int(order[a]), int(order[b])) for a, b in moved.pairs} == plain


@pytest.mark.parametrize("method", ["optimal", "full"])
def test_the_least_total_does_not_depend_on_units_nor_order(method: str) -> None:
    """On a score alone, pairs that cost the same can be told apart by order only: the total is what is determined."""
    comparison, options = people(), MatchOptions(method=method)
    order = np.random.default_rng(0).permutation(400)
    totals = []
    for other in (comparison, in_other_units(comparison), comparison.select(order)):
        m = match(other, options=options)
        totals.append(np.abs(m.distance[m.pairs[:, 0]] - m.distance[m.pairs[:, 1]]).sum())
    assert totals == pytest.approx([totals[0]] * 3, abs=1e-8)


@pytest.mark.parametrize("adjustment", ["none", "additive", "interacted"])
def test_matched_effects_move_with_the_outcomes_units(adjustment: str) -> None:
    comparison, options = people(), MatchedEffectOptions(adjustment)
    m = match(comparison)
    plain = compute_matched_effect(comparison, m, options=options)
    other = compute_matched_effect(replace(comparison, outcome=50 - 3 * comparison.outcome), m, options=options)
    assert (other.value, other.se) == pytest.approx((-3 * plain.value, 3 * plain.se))
    units = compute_matched_effect(in_other_units(comparison), m, options=options)
    assert (units.value, units.se) == pytest.approx((plain.value, plain.se), rel=1e-6)


def test_balance_does_not_depend_on_units_order_or_the_scale_of_weights() -> None:
    comparison = people()
    built = build_weights(comparison)
    unitless = [c for c in assess_balance(comparison, built).table if c.startswith(("smd", "variance", "ks"))]
    plain = assess_balance(comparison, built).table[unitless].to_numpy()
    order = np.random.default_rng(0).permutation(400)
    shuffled = replace(built, weights=built.weights[order], propensity=built.propensity[order])
    for other, weights in (
        (in_other_units(comparison), built),
        (comparison, replace(built, weights=built.weights * 17)),
        (comparison.select(order), shuffled),
    ):
        found = assess_balance(other, weights).table[unitless].to_numpy()
        assert found == pytest.approx(plain, rel=1e-8, abs=1e-12, nan_ok=True)


def test_draws_do_not_depend_on_units_nor_on_how_they_are_grouped() -> None:
    comparison, rng = people(), np.random.default_rng(1)
    counts = rng.multinomial(400, np.full(400, 1 / 400), size=130)
    parts = comparison.treated, comparison.outcome
    plain = compute_weighted_att_draws(add_intercept(comparison.covariates), *parts, counts)
    other = compute_weighted_att_draws(add_intercept(in_other_units(comparison).covariates), *parts, counts * 3)
    assert other == pytest.approx(plain, abs=1e-8)
    alone = compute_weighted_att_draws(add_intercept(comparison.covariates), *parts, counts[77:78])
    assert alone == pytest.approx(plain[77:78], abs=1e-12)
