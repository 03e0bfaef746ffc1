"""Sample size: criteria mean what they say, and the verdict follows from them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.risk.sample_criteria import (
    DevelopmentTargets,
    ValidationTargets,
    compute_development_size,
    compute_survival_development_size,
    compute_validation_size,
    needed_for_auroc,
)
from evalkit.risk.sample_size import estimate_sample_worth, judge_sample, judge_validation
from evalkit.risk.sample_spread import (
    build_beta_odds,
    build_normal_odds,
    build_odds_from_auroc,
    build_odds_from_risk,
    compute_flagging,
    compute_largest_r2,
    compute_largest_survival_r2,
    compute_r2_from_auroc,
)


def sizes(needed) -> dict[str, int]:
    return {criterion.name: criterion.needed for criterion in needed.criteria}


def test_the_size_is_the_least_that_meets_each_criterion():
    parameters, prevalence, r2 = 24, 0.174, 0.288
    needed = compute_development_size(parameters=parameters, prevalence=prevalence, r2=r2)

    def shrinkage(n: float) -> float:
        """Solves n = p / ((S - 1) log(1 - r2 / S)) for S by bisection: no formula of the module."""
        low, high = r2 + 1e-9, 1 - 1e-12
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if parameters / ((middle - 1) * math.log(1 - r2 / middle)) < n else (low, middle)
        return low

    n = sizes(needed)
    assert shrinkage(n["shrinkage"]) >= 0.9 > shrinkage(n["shrinkage"] - 1)
    # Apparent R2 is adjusted R2 over the shrinkage; both are scaled by the largest.
    gap = [
        (r2 / shrinkage(k) - r2) / compute_largest_r2(prevalence) for k in (n["r2_difference"], n["r2_difference"] - 1)
    ]
    assert gap[0] <= 0.05 < gap[1]
    half = [1.96 * math.sqrt(prevalence * (1 - prevalence) / k) for k in (n["overall_risk"], n["overall_risk"] - 1)]
    assert half[0] <= 0.05 < half[1]
    assert needed.discharges == max(n.values())
    assert needed.events == pytest.approx(needed.discharges * prevalence)


def test_the_overall_risk_of_a_survival_model_is_solved_for():
    """Where it is the hardest criterion; the interval of the exponential model is computed here."""
    rate, horizon, follow_up = 0.2, 2.0, 1.0
    needed = compute_survival_development_size(
        parameters=1, rate=rate, horizon=horizon, mean_follow_up=follow_up, r2=0.051
    )  # fmt: skip
    n = needed.discharges
    assert n == sizes(needed)["overall_risk"]

    def furthest(size: int) -> float:
        ends = [rate + sign * 1.96 * math.sqrt(rate / (size * follow_up)) for sign in (-1, 1)]
        return max(abs(math.exp(-rate * horizon) - math.exp(-end * horizon)) for end in ends)

    assert furthest(n) <= 0.05 < furthest(n - 1)


def test_r2_from_auroc_is_the_limit_of_the_simulation():
    """Riley's own recipe: draw both classes, fit a logistic regression, compare likelihoods."""
    rng = np.random.default_rng(1)
    auroc, prevalence, n = 0.7, 0.11, 400_000
    outcome = (np.arange(n) < prevalence * n).astype(float)
    score = rng.normal(math.sqrt(2) * norm.ppf(auroc) * outcome, 1)
    design, beta = np.column_stack([np.ones(n), score]), np.array([logit(prevalence), 0.0])
    for _ in range(12):
        p = expit(design @ beta)
        beta = beta + np.linalg.solve(design.T @ (design * (p * (1 - p))[:, None]), design.T @ (outcome - p))
    linear = design @ beta
    gain = np.mean(outcome * linear - np.logaddexp(0, linear)) - (
        prevalence * math.log(prevalence) + (1 - prevalence) * math.log(1 - prevalence)
    )
    simulated = 1 - math.exp(-2 * gain)
    assert compute_r2_from_auroc(auroc, prevalence=prevalence) == pytest.approx(simulated, abs=0.002)


@pytest.mark.parametrize(("auroc", "prevalence"), [(0.6, 0.05), (0.68, 0.2), (0.9, 0.5)])
def test_odds_from_auroc_have_that_auroc_and_prevalence(auroc, prevalence):
    odds = build_odds_from_auroc(auroc, prevalence=prevalence)
    risk = expit(odds.log_odds)
    assert odds.weight @ risk == pytest.approx(prevalence, rel=1e-9)
    events, others = odds.weight * risk / prevalence, odds.weight * (1 - risk) / (1 - prevalence)
    below = np.cumsum(others) - others / 2
    assert events @ below == pytest.approx(auroc, rel=1e-6)
    assert compute_flagging(odds, threshold=prevalence).sensitivity == pytest.approx(
        norm.sf((logit(prevalence) - events @ odds.log_odds) / (math.sqrt(2) * norm.ppf(auroc))), abs=1e-3
    )


def test_distributions_agree_with_draws():
    rng = np.random.default_rng(2)
    for odds, draws in (
        (build_normal_odds(mean=-2, sd=0.7), rng.normal(-2, 0.7, 200_000)),
        (build_beta_odds(alpha=1.3, beta=4.0), logit(rng.beta(1.3, 4.0, 200_000))),
    ):
        assert odds.weight.sum() == pytest.approx(1)
        assert odds.weight @ odds.log_odds == pytest.approx(draws.mean(), abs=0.02)
        exact = sizes(compute_validation_size(auroc=0.7, prevalence=0.2, odds=odds))["slope"]
        drawn = sizes(compute_validation_size(auroc=0.7, prevalence=0.2, odds=build_odds_from_risk(expit(draws))))
        assert drawn["slope"] == pytest.approx(exact, rel=0.02)


def test_newcombe_size_is_the_least():
    auroc, prevalence, se = 0.68, 0.2, 0.1 / 3.92

    def error(n: int) -> float:
        pairs = (n / 2 - 1) * ((1 - auroc) / (2 - auroc) + auroc / (1 + auroc))
        return math.sqrt(auroc * (1 - auroc) * (1 + pairs) / (n**2 * prevalence * (1 - prevalence)))

    n = needed_for_auroc(se, auroc=auroc, prevalence=prevalence)
    assert error(n) <= se < error(n - 1)


def test_the_observed_expected_interval_is_as_wide_as_was_asked():
    n = sizes(
        compute_validation_size(
            auroc=0.7, prevalence=0.11, targets=ValidationTargets(observed_expected=0.9, observed_expected_width=0.3)
        )
    )["observed_expected"]

    def width(size: int) -> float:
        se = math.sqrt(0.89 / (0.11 * size))
        return 0.9 * (math.exp(1.96 * se) - math.exp(-1.96 * se))

    assert width(n) <= 0.3 < width(n - 1)


# ---- worth and verdict -----------------------------------------------------------------------------


def draw(rng, people: int, each: int, *, shared: float, level: float = -1.4) -> tuple[np.ndarray, np.ndarray]:
    person = np.repeat(np.arange(people), each)
    return (rng.random(len(person)) < expit(level + rng.normal(0, shared, people)[person])).astype(int), person


def test_one_discharge_a_person_is_worth_itself():
    outcome, person = draw(np.random.default_rng(3), 300, 1, shared=1.0)
    worth = estimate_sample_worth(outcome, person)
    assert (worth.design_effect, worth.effective, worth.people) == (1.0, 300.0, 300)


def test_copies_are_worth_one():
    outcome, person = draw(np.random.default_rng(3), 300, 1, shared=1.0)
    worth = estimate_sample_worth(np.repeat(outcome, 4), np.repeat(person, 4))
    assert worth.within_person == pytest.approx(1)
    assert worth.effective == pytest.approx(300)


def test_the_design_effect_is_that_of_the_overall_risk():
    """Variance of the share readmitted over replicates, against that of as many independent discharges."""
    rng = np.random.default_rng(4)
    drawn = [draw(rng, 150, 5, shared=1.2) for _ in range(600)]
    variance = np.var([outcome.mean() for outcome, _ in drawn], ddof=1)
    share = np.mean([outcome.mean() for outcome, _ in drawn])
    worth = np.mean([estimate_sample_worth(*one).design_effect for one in drawn[:100]])
    assert worth == pytest.approx(variance / (share * (1 - share) / 750), rel=0.15)
    assert worth > 1.3


def test_the_order_of_rows_does_not_matter():
    rng = np.random.default_rng(5)
    outcome, person = draw(rng, 100, 3, shared=1.0)
    shuffled = rng.permutation(300)
    one, other = estimate_sample_worth(outcome, person), estimate_sample_worth(outcome[shuffled], person[shuffled])
    assert one.effective == pytest.approx(other.effective, rel=1e-12)


@pytest.mark.parametrize(
    ("people", "verdict", "method"),
    [
        (20_000, "develop", None),
        (500, "recalibrate", "slope"),
        (100, "refuse", None),
        (30, "refuse", None),
    ],
)
def test_the_verdict_follows_the_size(people, verdict, method):
    outcome = (np.arange(people) % 5 == 0).astype(int)
    found = judge_sample(outcome, np.arange(people), parameters=20, expected_auroc=0.66)
    assert (found.verdict, found.method) == (verdict, method)
    assert found.reason


def test_a_weak_model_leaves_the_intercept_alone():
    outcome = (np.arange(300) % 5 == 0).astype(int)
    found = judge_sample(outcome, np.arange(300), parameters=20, expected_auroc=0.58)
    assert (found.verdict, found.method) == ("recalibrate", "intercept")
    assert judge_sample(outcome, np.arange(300), parameters=20, expected_auroc=0.75).method == "slope"


def test_repeats_can_turn_the_verdict():
    outcome = np.tile((np.arange(700) % 5 == 0).astype(int), 6)
    alone = judge_sample(outcome, np.arange(4200), parameters=20, expected_auroc=0.66)
    repeats = judge_sample(outcome, np.tile(np.arange(700), 6), parameters=20, expected_auroc=0.66)
    assert (alone.verdict, repeats.verdict) == ("develop", "recalibrate")
    assert "same people" in repeats.reason


def test_more_parameters_need_more_and_targets_count():
    outcome, person = (np.arange(3000) % 5 == 0).astype(int), np.arange(3000)
    assert judge_sample(outcome, person, parameters=10, expected_auroc=0.66).verdict == "develop"
    assert judge_sample(outcome, person, parameters=40, expected_auroc=0.66).verdict == "recalibrate"
    harder = DevelopmentTargets(shrinkage=0.99)
    assert judge_sample(outcome, person, parameters=10, expected_auroc=0.66, targets=harder).verdict == "recalibrate"


@pytest.mark.parametrize(("people", "develop"), [(500, False), (1500, False), (5000, True)])
def test_a_model_whose_optimism_cannot_be_undone_is_not_developed(people, develop):
    """The world `too many` of the table of known truth: 21 coefficients, a fifth readmitted, AUROC 0.69."""
    outcome = (np.arange(people) % 5 == 0).astype(int)
    found = judge_sample(outcome, np.arange(people), parameters=21, expected_auroc=0.69)
    assert (found.verdict == "develop") == develop


def test_without_an_auroc_r2_is_a_share_of_the_largest():
    outcome = (np.arange(3000) % 5 == 0).astype(int)
    found = judge_sample(outcome, np.arange(3000), parameters=10)
    assert found.r2 == pytest.approx(0.15 * compute_largest_r2(0.2))


def test_no_sentence_gives_an_exact_count():
    outcome = np.zeros(1237, dtype=int)
    outcome[:263] = 1
    reason = judge_sample(outcome, np.arange(1237), parameters=25, expected_auroc=0.66).reason
    assert not {"1237", "263"} & set(re.findall(r"\d+", reason.replace(",", "")))


def test_validation_is_judged_on_effective_discharges():
    rng = np.random.default_rng(6)
    outcome, person = draw(rng, 400, 4, shared=1.5)
    clustered = judge_validation(outcome, person, expected_auroc=0.7)
    alone = judge_validation(outcome, np.arange(1600), expected_auroc=0.7)
    assert [c.needed for c in clustered] == [c.needed for c in alone]
    assert clustered[0].have < 0.8 * alone[0].have
    assert {c.name for c in alone if not c.met} == {"slope"}


# ---- bad input -------------------------------------------------------------------------------------


def test_fewer_than_ten_of_either_outcome_are_refused():
    for rare in (0, 1):
        outcome = np.full(5000, 1 - rare)
        outcome[:9] = rare
        found = judge_sample(outcome, np.arange(5000), parameters=1, expected_auroc=0.9)
        assert found.verdict == "refuse"
        assert "Fewer than 10" in found.reason
        assert math.isnan(found.r2)


def test_one_class_cannot_be_validated():
    with pytest.raises(NotEstimable, match="one class only"):
        judge_validation(np.zeros(50), np.arange(50), expected_auroc=0.7)


def test_all_faults_at_once():
    with pytest.raises(ParameterError) as caught:
        judge_sample(np.array([0, 1, 2]), np.array(["a", None, "b"]), parameters=0, expected_auroc=0.4)
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize(
    "call",
    [
        lambda: compute_development_size(parameters=10, prevalence=0.2, r2=0.7),
        lambda: compute_development_size(parameters=2.5, prevalence=1.2, r2=0.1),
        lambda: compute_development_size(
            parameters=2, prevalence=0.2, r2=0.1, targets=DevelopmentTargets(shrinkage=1.0)
        ),
        lambda: compute_survival_development_size(parameters=2, rate=0, horizon=1, mean_follow_up=1, r2=0.1),
        lambda: compute_largest_survival_r2(rate=1.5, mean_follow_up=1),
        lambda: compute_r2_from_auroc(0.5, prevalence=0.2),
        lambda: compute_validation_size(auroc=1.0, prevalence=0.2),
        lambda: compute_validation_size(auroc=0.7, prevalence=0.2, targets=ValidationTargets(slope_width=0)),
        lambda: build_odds_from_risk(np.array([0.0, 0.5])),
        lambda: build_odds_from_risk(np.array([0.2, 0.2])),
        lambda: build_beta_odds(alpha=-1, beta=2),
        lambda: build_normal_odds(mean=math.nan, sd=1),
        lambda: judge_sample(np.array([0, 1]), np.array([1]), parameters=1),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(call):
    with pytest.raises(ParameterError):
        call()
