"""Doubly robust cost differences recover the truth: with either model wrong, under skew and zeros, with clusters.

Short: 120 worlds of 200 people a case. Of 120 intervals with a true level of 95% fewer than 105 cover once in 500
times; the Monte-Carlo error of a coverage is 2%.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import NotEstimable
from evalkit.estimators.costs.dr_did import DrCostOptions, compute_dr_cost_means, estimate_dr_cost_did
from tests.cost_people import compute_counterfactual, make_costs
from tests.people_factory import make_estimand

WORLDS, PEOPLE, MOST_REFUSED, FEWEST_COVERED = 120, 200, 3, 105
EFFECT = 0.8
POUNDS, RATIO = make_estimand("ATT", "gbp_per_person_quarter"), make_estimand("ATT", "rate_ratio")
LARGE = 50_000
PLAIN = "none"  # errors are not looked at


def run_worlds(estimand, options, *, skew, clusters=0):
    """Errors of the estimate (logarithms for the ratio), standard errors, whether covered, (worlds, 3).

    Left out are the few worlds that are refused because one person has most of the cost before.
    """
    counterfactual = compute_counterfactual()
    truth = math.log(EFFECT) if estimand is RATIO else (EFFECT - 1) * counterfactual
    rows = []
    for seed in range(WORLDS):
        people = make_costs(PEOPLE, seed=seed, skew=skew, effect=EFFECT)
        if clusters:
            people = people.select(np.repeat(np.arange(PEOPLE), clusters))
        try:
            found = estimate_dr_cost_did(people, estimand, options=options)
        except NotEstimable as refused:
            assert "one person has more than half" in str(refused)
            continue
        ends = np.array([found.value, found.lower, found.upper])
        value, lower, upper = np.log(ends) if estimand is RATIO else ends
        rows.append((value - truth, found.se, lower <= truth <= upper))
    assert len(rows) >= WORLDS - MOST_REFUSED
    return np.array(rows)


@pytest.mark.parametrize("skew", ["gamma", "lognormal"])
@pytest.mark.parametrize("estimand", [POUNDS, RATIO], ids=["pounds", "ratio"])
def test_intervals_in_proportion_cover_at_200_people(estimand, skew):
    rows = run_worlds(estimand, DrCostOptions(), skew=skew)
    assert rows[:, 2].sum() + WORLDS - len(rows) >= FEWEST_COVERED
    spread = rows[:, 0].std(ddof=1)
    assert abs(rows[:, 0].mean()) < 0.35 * spread  # a ratio of means of 130 skewed people is biased a little


def test_clusters_are_allowed_for():
    rows = run_worlds(RATIO, DrCostOptions(), skew="gamma", clusters=3)
    assert rows[:, 2].sum() + WORLDS - len(rows) >= FEWEST_COVERED
    assert 0.85 < rows[:, 1].mean() / rows[:, 0].std(ddof=1) < 1.3


def draw_large(wrong: str, scale: str) -> tuple[Comparison, float]:
    """People with one covariate, of whom `wrong` names what is not linear in it, and the counterfactual mean."""
    rng = np.random.default_rng(5)
    x = rng.uniform(-2, 2, LARGE)
    bent = np.cos(2 * x)
    treated = rng.random(LARGE) < special.expit(-0.5 + (1.2 * bent if wrong in ("weights", "both") else 0.6 * x))
    trend = 0.7 * bent if wrong in ("trend", "both") else 0.4 * x
    level = np.exp(1.0 + 0.3 * x + 0.2 * treated)
    before = level * rng.gamma(2.0, 0.5, LARGE)
    expected = level * np.exp(trend) if scale == "proportion" else level + 5.0 + 2.0 * trend
    after = expected * rng.gamma(2.0, 0.5, LARGE)
    truth = float(expected[treated].mean())
    return Comparison(treated, x[:, None], ("x",), after, before, np.arange(LARGE), np.ones(LARGE)), truth


@pytest.mark.parametrize(("scale", "method"), [
    ("proportion", "improved"), ("difference", "improved"), ("difference", "traditional")
])  # fmt: skip
@pytest.mark.parametrize("wrong", ["nothing", "weights", "trend", "both"])
def test_one_of_two_models_may_be_wrong_and_not_both(wrong, scale, method):
    people, truth = draw_large(wrong, scale)
    means = compute_dr_cost_means(
        people, options=DrCostOptions(scale_of_trend=scale, method_in_pounds=method, correction=PLAIN)
    )  # fmt: skip
    gap, error = means.counterfactual - truth, math.sqrt((means.influence[:, 1] ** 2).sum())
    if wrong == "both":
        assert abs(gap) > 10 * error
    else:
        assert abs(gap) < 3.5 * error
        assert error < 0.02 * truth
