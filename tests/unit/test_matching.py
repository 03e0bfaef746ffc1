"""Matching: pairs equal a brute-force search, optima equal enumeration, refusals name what is wrong."""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm

from evalkit.cohort.comparison import Comparison
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.estimators.people.matching import Matching, MatchOptions, match
from evalkit.estimators.people.matching_effect import (
    MatchedEffectOptions,
    compute_matched_effect,
    estimate_matched_effect,
)
from evalkit.estimators.people.matching_optimal import find_full_sets, find_optimal_pairs, refuse_large
from evalkit.estimators.people.matching_search import Search, find_on_score, find_on_score_again
from evalkit.estimators.people.weighting import estimate_propensity
from tests.unit.test_weighting import people

ESTIMAND = Estimand("score", "ATT", "all", Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1)), "mean_difference")


def slow_pairs(score: np.ndarray, treated: np.ndarray, search: Search, *, reuse: bool) -> list[tuple[int, int]]:
    """The definition, person by person: the nearest who is free; ties to the one before in order, nearest to it."""
    rank = np.argsort(np.argsort(score, kind="stable"))
    free = ~treated
    pairs: list[tuple[int, int]] = []
    for _ in range(search.ratio):
        for person in search.chooser:
            taken = [c for p, c in pairs if p == person]
            gap = np.abs(score - score[person])
            able = [c for c in np.flatnonzero(free) if gap[c] <= search.reach and c not in taken]
            if able:
                best = min(able, key=lambda c: (gap[c], rank[c] > rank[person], abs(rank[c] - rank[person])))
                pairs.append((int(person), int(best)))
                free[best] = reuse
    return pairs


@pytest.mark.parametrize("reach", [np.inf, 0.4])
@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize("reuse", [False, True])
def test_fast_search_equals_the_definition_with_many_ties(reuse: bool, ratio: int, reach: float) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        treated = rng.random(50) < 0.3
        score = rng.integers(0, 40, size=50) / 8.0
        search = Search(rng.permutation(np.flatnonzero(treated)), ratio, reach)
        find = find_on_score_again if reuse else find_on_score
        ours = {tuple(pair) for pair in find(score, treated, search).tolist()}
        theirs = slow_pairs(score, treated, search, reuse=reuse)
        gap = {pair: abs(score[pair[0]] - score[pair[1]]) for pair in (*ours, *theirs)}
        if reuse and ratio > 1:  # who of several equally far is taken second is not defined
            assert sorted((p, gap[p, c]) for p, c in ours) == sorted((p, gap[p, c]) for p, c in theirs)
        else:
            assert ours == set(theirs)


def test_order_of_service_is_kept() -> None:
    comparison = people()
    e = estimate_propensity(comparison)
    for order, sign in (("largest", -1), ("smallest", 1)):
        served = e[match(comparison, options=MatchOptions(order=order)).pairs[:, 0]]
        assert (np.diff(sign * served) >= 0).all()
    served = match(comparison, options=MatchOptions(order="data")).pairs[:, 0]
    assert (np.diff(served) > 0).all()
    first, again, other = (
        match(comparison, options=MatchOptions(order="random"), rng=np.random.default_rng(s)).pairs for s in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_exact_fields_are_equal_in_every_pair_and_the_caliper_holds() -> None:
    comparison = people(600)
    for options in (
        MatchOptions(exact=("x2",), caliper=0.1),
        MatchOptions(exact=("x2",), caliper=0.1, method="optimal"),
        MatchOptions(exact=("x2",), caliper=0.2, distance="linear_propensity", replace="with", ratio=2),
        MatchOptions(exact=("x2",), caliper=0.1, distance="mahalanobis"),
    ):
        m = match(comparison, options=options)
        one, nought = m.pairs.T
        assert np.array_equal(comparison.covariates[one, 2], comparison.covariates[nought, 2])
        assert np.abs(m.distance[one] - m.distance[nought]).max() <= options.caliper * m.distance.std(ddof=1) + 1e-9
        assert comparison.treated[one].all()
        assert not comparison.treated[nought].any()
        if options.replace == "without":
            assert len(np.unique(nought)) == len(nought)
            assert np.array_equal(m.subclass[one], m.subclass[nought])


def test_text_covariates_are_matched_exactly_by_their_name() -> None:
    comparison = people(600)
    kind = np.arange(600) % 3
    x = np.column_stack([comparison.covariates, kind == 1, kind == 2]).astype(float)
    wide = replace(comparison, covariates=x, names=(*comparison.names, "kind=b", "kind=c"))
    m = match(wide, options=MatchOptions(exact=("kind",)))
    assert np.array_equal(kind[m.pairs[:, 0]], kind[m.pairs[:, 1]])


def test_mahalanobis_distance_is_that_of_the_covariance_within_sides() -> None:
    comparison = people(60)
    t, x = comparison.treated, comparison.covariates
    pooled = sum((s.sum() - 1) * np.cov(x[s].T) for s in (t, ~t)) / (len(t) - 2)
    m = match(comparison, options=MatchOptions(distance="mahalanobis", replace="with"))
    for one, nought in m.pairs:
        gaps = x[~t] - x[one]
        square = np.einsum("ij,jk,ik->i", gaps, np.linalg.inv(pooled), gaps)
        assert square[np.flatnonzero(~t) == nought][0] == pytest.approx(square.min())


def test_optimal_pairs_equal_enumeration() -> None:
    for seed in range(5):
        gaps = np.random.default_rng(seed).random((3, 6))
        least = min(gaps[range(3), list(chosen)].sum() for chosen in itertools.permutations(range(6), 3))
        found = find_optimal_pairs(gaps, 1)
        assert gaps[found[:, 0], found[:, 1]].sum() == pytest.approx(least)


def test_optimal_pairs_with_bars_are_as_many_as_can_be() -> None:
    gaps = np.array([[0.1, 0.2], [0.1, np.inf], [np.inf, np.inf]])
    assert find_optimal_pairs(gaps, 1).tolist() == [[0, 1], [1, 0]]


def test_full_sets_equal_enumeration_of_covers() -> None:
    for seed in range(5):
        gaps = np.random.default_rng(seed).random((3, 4))
        cells = list(np.ndindex(3, 4))
        covers = (
            chosen for k in range(4, 7) for chosen in itertools.combinations(cells, k)
            if {r for r, _ in chosen} == set(range(3)) and {c for _, c in chosen} == set(range(4))
        )  # fmt: skip
        least = min(sum(gaps[cell] for cell in chosen) for chosen in covers)
        found = find_full_sets(gaps)
        assert gaps[found[:, 0], found[:, 1]].sum() == pytest.approx(least)


def test_full_matching_keeps_everybody_in_stars() -> None:
    comparison = people(300)
    m = match(comparison, options=MatchOptions(method="full"))
    assert (m.subclass >= 0).all()
    for code in range(m.subclass.max() + 1):
        inside = m.subclass == code
        sides = (inside & comparison.treated).sum(), (inside & ~comparison.treated).sum()
        assert min(sides) == 1


def test_weights_share_the_treated_among_their_matches() -> None:
    comparison = people(300)
    m = match(comparison, options=MatchOptions(replace="with", ratio=2))
    t = comparison.treated
    raw = np.zeros(300)
    for _, nought in m.pairs:
        raw[nought] += 0.5
    used = raw > 0
    assert m.weights[~t & used] == pytest.approx(raw[used] * used.sum() / raw.sum())
    assert (m.weights[t] == 1).all()
    assert (m.subclass == -1).all()


def test_people_without_a_match_are_left_out_and_said() -> None:
    m = match(people(400, pull=1.5), options=MatchOptions(caliper=0.01))
    lost = int((people(400, pull=1.5).treated & (m.weights == 0)).sum())
    (check,) = (c for c in m.checks if c.name == "matched_treated")
    assert lost >= 10
    assert check.passed is False
    assert check.value == lost
    assert "found no match" in check.text


def test_given_subclasses_are_taken_and_one_sided_ones_left() -> None:
    comparison = people(6, seed=3)
    comparison = replace(comparison, treated=np.array([True, True, False, False, True, False]))
    m = Matching.from_subclasses(comparison, np.array([4, 4, 4, 9, -1, -1]))
    assert m.subclass.tolist() == [0, 0, 0, -1, -1, -1]
    assert m.weights.tolist() == [1, 1, 1, 0, 0, 0]
    with pytest.raises(ParameterError, match="one whole number a person"):
        Matching.from_subclasses(comparison, np.ones(5, dtype=int))
    with pytest.raises(NotEstimable, match="nobody on one side"):
        Matching.from_subclasses(comparison, np.arange(6))


def test_refusals() -> None:
    comparison = people()
    wrong = MatchOptions(method="exact", ratio=0, replace="with", caliper=-1.0, exact=("x9",), order="random")
    with pytest.raises(ParameterError) as caught:
        match(comparison, options=wrong)
    assert [f.where for f in caught.value.faults] == ["ratio", "caliper", "replace", "caliper", "exact", "rng"]
    with pytest.raises(ParameterError, match="no covariate is named"):
        match(comparison, options=MatchOptions(method="exact"))
    x = comparison.covariates.copy()
    x[comparison.treated, 0] += 40
    with pytest.raises(NotEstimable, match="x0: the two groups are separated"):
        match(replace(comparison, covariates=x))
    with pytest.raises(NotEstimable, match="too many"):
        refuse_large((10_000, 10_000))


# Effects


@pytest.mark.parametrize("adjustment", ["none", "additive", "interacted"])
def test_effect_and_error_equal_a_clustered_regression(adjustment: str) -> None:
    comparison = people(300)
    m = match(comparison, options=MatchOptions(method="full"))
    effect = compute_matched_effect(comparison, m, options=MatchedEffectOptions(adjustment, "HC1"))
    t, x = comparison.treated.astype(float), comparison.covariates
    z = x - x[comparison.treated].mean(axis=0)
    design = {
        "none": np.column_stack([np.ones(300), t]), "additive": np.column_stack([np.ones(300), t, x]),
        "interacted": np.column_stack([np.ones(300), t, z, z * t[:, None]]),
    }[adjustment]  # fmt: skip
    theirs = sm.WLS(comparison.outcome, design, weights=m.weights).fit(
        cov_type="cluster", cov_kwds={"groups": m.subclass}
    )
    assert effect.value == pytest.approx(theirs.params[1], rel=1e-9)
    assert effect.se == pytest.approx(theirs.bse[1], rel=1e-9)


def test_leverage_is_taken_out_of_residuals_as_hc3() -> None:
    """Matched with replacement people are the clusters, and the error is statsmodels' HC3."""
    comparison = people(300)
    m = match(comparison, options=MatchOptions(replace="with"))
    inside = m.weights > 0
    design = np.column_stack([np.ones(inside.sum()), comparison.treated[inside], comparison.covariates[inside]])
    fit = sm.WLS(comparison.outcome[inside], design, weights=m.weights[inside]).fit(cov_type="HC3")
    found = compute_matched_effect(comparison, m, options=MatchedEffectOptions("additive"))
    assert (found.value, found.se) == pytest.approx((fit.params[1], fit.bse[1]), rel=1e-8)


def test_clusters_that_cross_matched_sets_both_count() -> None:
    """The largest of statsmodels' errors: clustered both ways, by set, by cluster (two ways may be the smallest)."""
    comparison = people(300)
    m = match(comparison)
    shared = np.repeat(np.random.default_rng(1).normal(size=60), 5)
    joined = replace(
        comparison, cluster=np.arange(300) // 5, outcome=comparison.outcome + 3 * shared * comparison.treated
    )
    found = compute_matched_effect(joined, m, options=MatchedEffectOptions(correction="none"))
    inside = m.weights > 0
    design = sm.add_constant(comparison.treated[inside].astype(float))
    sets, cluster = m.subclass[inside], joined.cluster[inside]
    errors = [
        sm.WLS(joined.outcome[inside], design, weights=m.weights[inside])
        .fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False})
        .bse[1]
        for groups in (np.column_stack([sets, cluster]), sets, cluster)
    ]
    assert found.se == pytest.approx(max(errors), rel=1e-9)
    assert len(set(np.round(errors, 6))) == 3
    with pytest.raises(NotEstimable, match="there is one alone"):
        compute_matched_effect(replace(comparison, cluster=np.zeros(300, dtype=int)), m)


def test_matched_estimate_carries_checks_and_refuses_few_events() -> None:
    comparison = people(400)
    m = match(comparison)
    estimate = estimate_matched_effect(comparison, m, ESTIMAND)
    assert estimate.lower < estimate.value < estimate.upper
    assert {c.name for c in estimate.checks} >= {"matched_treated", "matched_sets"}
    rare = np.zeros(400)
    rare[np.flatnonzero(m.weights > 0)[:7]] = 1
    with pytest.raises(NotEstimable, match="too few matched people") as caught:
        estimate_matched_effect(replace(comparison, outcome=rare), m, ESTIMAND)
    assert "7" not in caught.value.reason
    with pytest.raises(ParameterError, match="ATE"):
        estimate_matched_effect(comparison, m, replace(ESTIMAND, contrast="ATE"))
    with pytest.raises(ParameterError, match="an outcome is needed"):
        compute_matched_effect(replace(comparison, outcome=None), m)


def test_a_covariate_that_one_side_lacks_is_named() -> None:
    comparison = people(400)
    m = match(comparison)
    x = comparison.covariates.copy()
    x[~comparison.treated, 2] = 0.0
    lacking: Comparison = replace(comparison, covariates=x)
    with pytest.raises(NotEstimable, match="x2"):
        compute_matched_effect(lacking, m, options=MatchedEffectOptions("interacted"))
