"""What must not change an effect of a balanced comparison, or must change it in a known way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.comparison import Comparison
from evalkit.core.result import Estimate
from evalkit.estimators.people.person_effects import EffectOptions, estimate_effect
from evalkit.estimators.people.weighting import WeightOptions
from tests.people_factory import KIND, make_comparison, make_estimand

CASES = [
    ("gcomp", "ATE", "risk_ratio"), ("gcomp", "ATO", "mean_difference"), ("gcomp", "ATT", "rate_ratio"),
    ("ipw", "ATT", "risk_difference"), ("ipw", "ATO", "odds_ratio"), ("ipw", "ATE", "rate_ratio"),
    ("aipw", "ATE", "risk_difference"), ("aipw", "ATC", "rate_ratio"), ("aipw", "ATO", "risk_ratio"),
    ("tmle", "ATE", "odds_ratio"), ("tmle", "ATT", "mean_difference"),
    ("did_gcomp", "ATT", "risk_difference"), ("did_ipw", "ATT", "rate_ratio"), ("did_aipw", "ATT", "mean_difference"),
]  # fmt: skip
every_case = pytest.mark.parametrize(("method", "contrast", "scale"), CASES)


def run(comparison: Comparison, method: str, contrast: str, scale: str, **options) -> Estimate:
    return estimate_effect(comparison, make_estimand(contrast, scale), options=EffectOptions(method=method, **options))


def numbers(found: Estimate) -> list[float]:
    return [found.value, found.se, found.lower, found.upper, found.p_value]


@every_case
def test_units_of_covariates_do_not_matter(method, contrast, scale):
    comparison = make_comparison(KIND[scale])
    moved = replace(comparison, covariates=comparison.covariates * [1000.0, 0.01, -3.0] + [5.0, 70.0, 1.0])
    assert numbers(run(moved, method, contrast, scale)) == pytest.approx(
        numbers(run(comparison, method, contrast, scale)), rel=1e-6
    )


@every_case
def test_order_and_names_of_people_and_clusters_do_not_matter(method, contrast, scale):
    comparison = make_comparison(KIND[scale])
    order = np.random.default_rng(1).permutation(len(comparison))
    mixed = comparison.select(order)
    labels = np.random.default_rng(2).permutation(comparison.cluster.max() + 1) * 7
    mixed = replace(mixed, cluster=labels[mixed.cluster])
    assert numbers(run(mixed, method, contrast, scale)) == pytest.approx(
        numbers(run(comparison, method, contrast, scale)), rel=1e-7
    )


@every_case
def test_scale_of_the_sampling_weights_does_not_matter(method, contrast, scale):
    comparison = make_comparison(KIND[scale])
    scaled = replace(comparison, sampling=comparison.sampling * 37.5)
    assert numbers(run(scaled, method, contrast, scale)) == pytest.approx(
        numbers(run(comparison, method, contrast, scale)), rel=1e-7
    )


@every_case
def test_a_person_split_in_two_halves_of_one_cluster_counts_as_one(method, contrast, scale):
    comparison = make_comparison(KIND[scale])
    halves = comparison.select(np.repeat(np.arange(len(comparison)), 2))
    halves = replace(halves, sampling=halves.sampling / 2)
    assert numbers(run(halves, method, contrast, scale)) == pytest.approx(
        numbers(run(comparison, method, contrast, scale)), rel=1e-7
    )


# Differences-in-differences are of the treated only.
@pytest.mark.parametrize(("method", "contrast", "scale"), [case for case in CASES if not case[0].startswith("did_")])
def test_swapping_the_sides_turns_the_effect_round(method, contrast, scale):
    comparison = make_comparison(KIND[scale])
    other = {"ATT": "ATC", "ATC": "ATT"}.get(contrast, contrast)
    found = run(comparison, method, contrast, scale)
    turned = run(replace(comparison, treated=~comparison.treated), method, other, scale)
    expected = 1 / found.value if scale.endswith("ratio") else -found.value
    assert (turned.value, turned.se) == pytest.approx((expected, found.se), rel=1e-6)


@pytest.mark.parametrize("method", ["gcomp", "ipw", "aipw", "tmle", "did_gcomp", "did_ipw", "did_aipw"])
def test_a_mean_difference_follows_the_unit_of_its_outcome(method):
    comparison = make_comparison("mean")
    scaled = replace(comparison, outcome=1000 * comparison.outcome - 3, before=1000 * comparison.before + 8)
    plain, thousand = (run(c, method, "ATT", "mean_difference") for c in (comparison, scaled))
    assert [thousand.value, thousand.se] == pytest.approx([1000 * plain.value, 1000 * plain.se], rel=1e-7)


@pytest.mark.parametrize("method", ["gcomp", "ipw", "aipw"])
@pytest.mark.parametrize("contrast", ["ATT", "ATE", "ATO"])
def test_the_unit_of_person_time_does_not_matter(method, contrast):
    comparison = make_comparison("count")
    days = replace(comparison, person_time=comparison.person_time * 365.25)
    assert numbers(run(days, method, contrast, "rate_ratio")) == pytest.approx(
        numbers(run(comparison, method, contrast, "rate_ratio")), rel=1e-6
    )


@pytest.mark.parametrize("method", ["gcomp", "ipw", "aipw", "tmle"])
def test_counting_those_without_the_event_turns_the_effect_round(method):
    comparison = make_comparison("binary")
    without = replace(comparison, outcome=1 - comparison.outcome)
    difference, odds = (run(comparison, method, "ATE", scale) for scale in ("risk_difference", "odds_ratio"))
    assert run(without, method, "ATE", "risk_difference").value == pytest.approx(-difference.value, rel=1e-7)
    assert run(without, method, "ATE", "odds_ratio").value == pytest.approx(1 / odds.value, rel=1e-7)


def test_what_was_the_same_for_all_before_does_not_matter_to_a_difference_in_differences():
    comparison = make_comparison("mean")
    moved = replace(comparison, before=comparison.before + 11.0)
    for method in ("did_gcomp", "did_ipw", "did_aipw"):
        assert numbers(run(moved, method, "ATT", "mean_difference")) == pytest.approx(
            numbers(run(comparison, method, "ATT", "mean_difference")), rel=1e-7
        )


def test_entropy_weights_make_linear_adjustment_idle():
    """Where means are balanced exactly, adding or subtracting a linear function of the covariates changes nothing."""
    comparison = make_comparison("mean")
    shift = comparison.covariates @ np.array([3.0, -2.0, 5.0])
    options = {"weights": WeightOptions(method="entropy")}
    plain = run(comparison, "ipw", "ATT", "mean_difference", **options)
    moved = run(replace(comparison, outcome=comparison.outcome + shift), "ipw", "ATT", "mean_difference", **options)
    assert [moved.value, moved.se] == pytest.approx([plain.value, plain.se], rel=1e-6)
