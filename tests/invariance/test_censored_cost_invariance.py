"""What must not change mean cost under censoring, and estimators that must be the same by theory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.cost_history import CostHistory
from evalkit.estimators.costs.censored import compute_censored_means
from evalkit.estimators.costs.censored_errors import compute_influence
from evalkit.estimators.costs.censored_means import ESTIMATORS, CensoredCostOptions, build_design, compute_values
from evalkit.estimators.costs.censored_weights import CensoringOptions, compute_stay_weights
from tests.cost_histories import HORIZON, QUARTERS, draw

MEANS = tuple(name for name in ESTIMATORS if name != "lin_2000")


def values(history: CostHistory, **options: object) -> np.ndarray:
    design = build_design(history, CensoredCostOptions(HORIZON, **options))
    return compute_values(design, history.weights[None, :])[0]


def pairs(history: CostHistory, **options: object) -> np.ndarray:
    found = compute_censored_means(history, options=CensoredCostOptions(HORIZON, **options))
    return np.array([(mean.value_gbp, mean.se_gbp) for mean in found])


def duplicate(history: CostHistory) -> CostHistory:
    """Everybody twice at half weight, in the cluster of their double."""
    n = len(history)
    people = ("follow_up_days", "complete", "group", "stratum", "cluster", "covariates")
    records = ("start_days", "stop_days", "cost_gbp")
    return replace(
        history,
        **{name: np.concatenate([getattr(history, name)] * 2) for name in (*people, *records)},
        weights=np.concatenate([history.weights / 2] * 2),
        record_person=np.concatenate([history.record_person, history.record_person + n]),
    )


def uneven(seed: int = 5) -> CostHistory:
    history = draw(seed, n=160)
    return history.with_weights(np.random.default_rng(seed).uniform(0.5, 2, len(history)))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_money_scales(estimator):
    history = uneven()
    pence = replace(history, cost_gbp=100 * history.cost_gbp)
    assert values(pence, estimator=estimator) == pytest.approx(100 * values(history, estimator=estimator), rel=1e-10)


@pytest.mark.parametrize("estimator", MEANS)
def test_order_of_people_is_of_no_account(estimator):
    history = uneven()
    shuffled = history.select(np.random.default_rng(1).permutation(len(history)))
    assert pairs(shuffled, estimator=estimator) == pytest.approx(pairs(history, estimator=estimator), rel=1e-9)


@pytest.mark.parametrize("estimator", MEANS)
def test_everybody_twice_at_half_weight_in_their_cluster(estimator):
    history = uneven()
    assert pairs(duplicate(history), estimator=estimator) == pytest.approx(
        pairs(history, estimator=estimator), rel=1e-8
    )


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_scale_of_weights_is_of_no_account(estimator):
    history = uneven()
    heavy = history.with_weights(7 * history.weights)
    assert values(heavy, estimator=estimator) == pytest.approx(values(history, estimator=estimator), rel=1e-10)


@pytest.mark.parametrize("estimator", MEANS)
def test_without_censoring_all_are_the_mean_of_what_was_seen(estimator):
    history = replace(uneven(), complete=np.ones(160, bool))
    first = compute_censored_means(history, options=CensoredCostOptions(HORIZON, "available_sample"))
    assert pairs(history, estimator=estimator) == pytest.approx(
        np.array([(mean.value_gbp, mean.se_gbp) for mean in first]), rel=1e-9
    )


@pytest.mark.parametrize("estimator", [name for name in MEANS if name not in ("available_sample", "complete_case")])
def test_a_cost_on_the_first_day_is_added_to_the_mean(estimator):
    """Everybody's first day is seen: weights that did not add up to everybody would not give it back."""
    history = draw(3, n=200)
    more = replace(
        history,
        record_person=np.append(history.record_person, np.arange(200)),
        start_days=np.append(history.start_days, np.zeros(200)),
        stop_days=np.append(history.stop_days, np.zeros(200)),
        cost_gbp=np.append(history.cost_gbp, np.full(200, 500.0)),
    )
    assert values(more, estimator=estimator) - values(history, estimator=estimator) == pytest.approx(500.0, rel=1e-9)


def test_zhao_tian_lin_and_the_finest_partition_are_one():
    """With intervals that end where people are lost the three are the same sum."""
    history = uneven()
    first = pairs(history, estimator="bang_tsiatis_partitioned")
    for estimator in ("zhao_tian", "lin_1997"):
        assert pairs(history, estimator=estimator) == pytest.approx(first, rel=1e-9)


def test_one_interval_is_the_simple_estimator():
    history = uneven()
    one = pairs(history, estimator="bang_tsiatis_partitioned", interval_ends=(HORIZON,))
    assert one == pytest.approx(pairs(history, estimator="bang_tsiatis"), rel=1e-10)


def test_regression_on_group_alone_is_the_difference_of_weighted_means():
    history = replace(uneven(), covariates=np.zeros((160, 0)), names=())
    means = values(history, estimator="bang_tsiatis", divide_by="weights")
    assert values(history, estimator="lin_2000") == pytest.approx([means[0], means[1] - means[0]], rel=1e-10)


def test_weights_of_all_followed_add_up_to_everybody():
    history = draw(7, n=200)
    weights = compute_stay_weights(history, bounds_days=(0.0, *QUARTERS))
    assert weights.weights.sum(axis=0) == pytest.approx(np.full(4, 200.0), rel=1e-10)


def test_stay_weights_are_the_partitioned_estimator():
    history = uneven()
    found = compute_stay_weights(history, bounds_days=(0.0, *QUARTERS)).weights
    design = build_design(history, CensoredCostOptions(HORIZON, interval_ends=QUARTERS))
    each = (found * design.parts).sum(axis=1) * history.weights
    means = [each[history.group == arm].sum() / history.weights[history.group == arm].sum() for arm in (0, 1)]
    assert means == pytest.approx(values(history, interval_ends=QUARTERS), rel=1e-10)


@pytest.mark.parametrize("model", ["cox", "logistic"])
def test_units_of_a_covariate_are_of_no_account(model):
    history = draw(4, n=300, by_covariate=True)
    scaled = replace(history, covariates=1000 * history.covariates + 5)
    options = {"interval_ends": QUARTERS, "censoring": CensoringOptions(model=model)}
    assert pairs(scaled, **options) == pytest.approx(pairs(history, **options), rel=1e-6)


@pytest.mark.parametrize("by", ["group", "nothing"])
@pytest.mark.parametrize("ends", [(), QUARTERS])
@pytest.mark.parametrize(
    ("estimator", "divide_by"),
    [*((name, "people") for name in ESTIMATORS), ("bang_tsiatis", "weights"), ("bang_tsiatis_partitioned", "weights")],
)
def test_influence_is_weight_times_derivative(estimator, divide_by, ends, by):
    history = uneven()
    options = CensoredCostOptions(
        HORIZON, estimator, divide_by=divide_by, interval_ends=ends, censoring=CensoringOptions(by=by)
    )
    design = build_design(history, options)
    step = 1e-5
    w = history.weights
    change = step * np.diag(w)
    slope = (compute_values(design, w + change) - compute_values(design, w - change)) / (2 * step)
    found = compute_influence(design)
    assert found == pytest.approx(slope, abs=1e-6 * np.abs(slope).max())
    assert found.sum(axis=0) == pytest.approx(np.zeros(found.shape[1]), abs=1e-8 * np.abs(found).sum())
