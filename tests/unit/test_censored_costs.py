"""Mean cost under censoring: small examples worked by hand, refusals, checks, errors and weights."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.cost_history import CostHistory
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.estimators.costs.censored import (
    compute_censored_means,
    compute_mean_survival,
    estimate_censored_cost_difference,
)
from evalkit.estimators.costs.censored_means import ESTIMATORS, CensoredCostOptions, build_design, compute_values
from evalkit.estimators.costs.censored_weights import CensoringOptions, compute_stay_weights
from tests.cost_histories import HORIZON, QUARTERS, build, draw

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))
PER_PERSON = Estimand("cost", "ATE", "people", WINDOW, "mean_difference")
PER_QUARTER = Estimand("cost", "ATE", "people", WINDOW, "gbp_per_person_quarter")

# Four people to day 10: dead on day 2, lost on day 4, dead on day 6, followed to the end. 1 GBP a day, and 3 more
# on the first. K is 1 up to day 4 and 2/3 after it, so the third and the fourth weigh 3/2.
FOUR = build(
    [2, 4, 6, 10], [1, 0, 1, 1],
    [(p, 0, end, float(end)) for p, end in enumerate([2, 4, 6, 10])] + [(p, 0, 1, 3.0) for p in range(4)],
)  # fmt: skip


def value(history: CostHistory, estimator: str, horizon: float = 10.0, **options: object) -> float:
    design = build_design(history, CensoredCostOptions(horizon, estimator, **options))
    return float(compute_values(design, history.weights[None, :])[0, 0])


def test_four_people_by_hand():
    assert value(FOUR, "available_sample") == pytest.approx((5 + 7 + 9 + 13) / 4)
    assert value(FOUR, "complete_case") == pytest.approx((5 + 9 + 13) / 3)
    simple = (5 + 1.5 * 9 + 1.5 * 13) / 4
    assert value(FOUR, "bang_tsiatis") == pytest.approx(simple)
    # On day 4 the lost one had cost 7, as had the two others who were there.
    assert value(FOUR, "zhao_tian") == pytest.approx(simple + 0.0)
    # To day 4: 5, 7, 7, 7 all seen; after it 2 and 6 of the last two, each standing for 3/2.
    assert value(FOUR, "bang_tsiatis_partitioned") == pytest.approx((26 + 1.5 * 8) / 4)
    assert value(FOUR, "lin_1997") == pytest.approx(26 / 4 + 0.75 * 8 / 2)


def test_cost_before_the_horizon_alone_counts():
    # To day 5: the third and the fourth are followed to it and weigh 3/2, each at 5 + 3.
    assert value(FOUR, "bang_tsiatis", horizon=5.0) == pytest.approx((5 + 2 * 1.5 * 8) / 4)


def test_death_and_loss_on_one_day():
    """Events first: who died on day 4 was not at risk of being lost on it and weighs 1."""
    history = build([4, 4, 10, 10], [1, 0, 1, 1], [(p, 0, 1, 12.0) for p in range(4)])
    weights = [1, 0, 1.5, 1.5]
    found = compute_stay_weights(history, bounds_days=[0, 10]).weights[:, 0]
    assert found == pytest.approx(weights)
    together = CensoringOptions(ties="together")
    assert value(history, "bang_tsiatis") == pytest.approx(12.0)
    assert value(history, "bang_tsiatis", censoring=together) == pytest.approx(12 * 3 / 4 / 0.75)


def test_weights_of_periods():
    """Lost on day 4, in the first of two periods: unseen in both; dead on day 2: seen in both, at 1."""
    found = compute_stay_weights(FOUR, bounds_days=[0, 5, 10])
    assert found.weights == pytest.approx(np.array([[1, 1], [0, 0], [1.5, 1.5], [1.5, 1.5]]))
    assert found.largest == pytest.approx([1.5, 1.5])
    assert found.effective_size == pytest.approx([4**2 / (1 + 2 * 2.25)] * 2)
    later = compute_stay_weights(FOUR, bounds_days=[0, 4, 10]).weights
    assert later == pytest.approx(np.array([[1, 1], [1, 0], [1, 1.5], [1, 1.5]]))


def test_followed_apart_by_stratum():
    history = build([4, 10, 10, 10], [0, 1, 1, 1], [(p, 0, 1, 1.0) for p in range(4)], stratum=["p", "p", "q", "q"])
    apart = compute_stay_weights(history, bounds_days=[0, 10], options=CensoringOptions(by="stratum"))
    assert apart.weights[:, 0] == pytest.approx([0, 2, 1, 1])
    pooled = compute_stay_weights(history, bounds_days=[0, 10], options=CensoringOptions(by="nothing"))
    assert pooled.weights[:, 0] == pytest.approx([0, 4 / 3, 4 / 3, 4 / 3])


def mirrored() -> CostHistory:
    """Everybody twice, with x = 1 and x = -1, so that no model can see a difference by x."""
    history = draw(2, n=120)
    n = len(history)
    twice = history.select(np.arange(n))
    people = ("follow_up_days", "complete", "group", "stratum", "weights")
    records = ("start_days", "stop_days", "cost_gbp")
    return replace(
        twice,
        **{name: np.concatenate([getattr(history, name)] * 2) for name in (*people, *records)},
        cluster=np.arange(2 * n),
        covariates=np.repeat([[1.0], [-1.0]], n, axis=0),
        record_person=np.concatenate([history.record_person, history.record_person + n]),
    )


def test_logistic_without_a_difference_is_kaplan_meier_by_period():
    """Hazards of one layer are the share of those at risk in the period, the dead of the period left out."""
    history = mirrored()
    options = CensoringOptions(model="logistic", by="nothing")
    found = compute_stay_weights(history, bounds_days=(0.0, *QUARTERS), options=options).weights
    end, known = np.minimum(history.follow_up_days, HORIZON), history.complete | (history.follow_up_days >= HORIZON)
    followed = 1.0
    for k, day in enumerate(QUARTERS):
        lost = (~known & (end < day) & (end >= day - 250)).sum()
        followed *= 1 - lost / ((end >= day).sum() + lost)
        assert 1 / found[end >= day, k] == pytest.approx(np.full((end >= day).sum(), followed), rel=1e-7)


def test_cox_without_a_difference_is_the_exponential_of_the_hazard():
    history = mirrored()
    options = CensoringOptions(model="cox", by="nothing")
    found = compute_stay_weights(history, bounds_days=(0.0, HORIZON), options=options).weights[:, 0]
    end, known = np.minimum(history.follow_up_days, HORIZON), history.complete | (history.follow_up_days >= HORIZON)
    hazard = 0.0
    for day in np.unique(end[~known]):
        lost = int((~known & (end == day)).sum())
        there = int((end > day).sum()) + lost
        hazard += sum(1 / (there - j) for j in range(lost))  # Efron's ties
    assert 1 / found[end >= HORIZON] == pytest.approx(np.full((end >= HORIZON).sum(), np.exp(-hazard)), rel=1e-7)


def test_regression_is_least_squares_with_the_weights_of_being_followed():
    history = draw(6, n=300)
    options = CensoredCostOptions(HORIZON, "lin_2000")
    weights = compute_stay_weights(history, bounds_days=(0.0, HORIZON)).weights[:, 0]
    design = build_design(history, options)
    root = np.sqrt(weights)[:, None]
    right = np.linalg.lstsq(design.x * root, design.total * root[:, 0], rcond=None)[0]
    assert compute_values(design, history.weights[None, :])[0] == pytest.approx(right, rel=1e-9)
    found = estimate_censored_cost_difference(history, PER_PERSON, options=options)
    assert found.value == pytest.approx(right[1], rel=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_draws_give_the_errors_of_influence(estimator):
    history = draw(8, n=500)
    found = [
        estimate_censored_cost_difference(
            history, PER_PERSON, role="naive", rng=np.random.default_rng(1),
            options=CensoredCostOptions(HORIZON, estimator, errors=errors, replicates=1500),
        ).se
        for errors in ("influence", "bootstrap")
    ]  # fmt: skip
    assert found[1] == pytest.approx(found[0], rel=0.08)


def test_draws_are_of_clusters():
    history = draw(8, n=400)
    # Ten like people in a cluster: errors by cluster are about those of a tenth of the people.
    order = np.lexsort((-history.covariates[:, 0], history.group))
    code = np.empty(400, dtype=np.int64)
    code[order] = np.arange(400) // 10
    grouped = replace(history, cluster=code)
    one, other, plain = (
        estimate_censored_cost_difference(
            data, PER_PERSON, options=CensoredCostOptions(HORIZON, errors=errors), rng=np.random.default_rng(2)
        )
        for data, errors in ((grouped, "influence"), (grouped, "bootstrap"), (history, "influence"))
    )
    assert one.value == plain.value
    assert one.se > 1.3 * plain.se
    assert other.se == pytest.approx(one.se, rel=0.12)
    assert next(check for check in one.checks if check.name == "clusters").passed


def test_scale_of_the_estimand():
    options = CensoredCostOptions(HORIZON)
    whole, quarter = (
        estimate_censored_cost_difference(draw(1), scale, options=options) for scale in (PER_PERSON, PER_QUARTER)
    )
    assert quarter.value == pytest.approx(whole.value * (365.25 / 4) / HORIZON)
    assert quarter.se == pytest.approx(whole.se * (365.25 / 4) / HORIZON)
    assert whole.n_people == 300
    assert whole.label.endswith("1 less 0")


def test_published_errors_of_a_difference_add_up():
    options = CensoredCostOptions(HORIZON, "zhao_tian", errors="published")
    means = compute_censored_means(draw(1), options=options)
    found = estimate_censored_cost_difference(draw(1), PER_PERSON, options=options)
    assert found.se == pytest.approx(np.hypot(*(mean.se_gbp for mean in means)))
    assert found.value == pytest.approx(means[1].value_gbp - means[0].value_gbp)


def test_checks_say_what_is_weak():
    found = estimate_censored_cost_difference(
        draw(1), PER_PERSON, role="naive", options=CensoredCostOptions(HORIZON, "available_sample")
    )
    checks = {check.name: check for check in found.checks}
    assert checks["censoring_ignored"].passed is False
    assert checks["share_complete"].value < 0.8
    lin = estimate_censored_cost_difference(
        draw(1), PER_PERSON, options=CensoredCostOptions(HORIZON, "lin_1997", interval_ends=QUARTERS)
    )
    assert {check.name: check.passed for check in lin.checks}["censored_inside"] is False


def test_extreme_weights_fail_a_check():
    """Of 132 people in each group 120 are lost before the horizon: those who stay weigh eleven."""
    end = list(np.tile(np.append(np.arange(800, 920.0), np.full(12, HORIZON)), 2))
    records = [(person, 0.0, 1.0, 10.0) for person in range(264)]
    history = build(end, [day == HORIZON for day in end], records, group=np.repeat([0, 1], 132))
    found = estimate_censored_cost_difference(history, PER_PERSON, options=CensoredCostOptions(HORIZON))
    assert {check.name: check.value for check in found.checks}["largest_weight"] == pytest.approx(11)
    assert {check.name: check.passed for check in found.checks}["largest_weight"] is False


def test_mean_survival_is_the_area_under_kaplan_meier():
    # Survival is 1, then 3/4 from day 2, then 3/8 from day 6, to day 10.
    found = compute_mean_survival(FOUR, horizon_days=10)[0]
    assert found.value == pytest.approx(2 + 4 * 3 / 4 + 4 * 3 / 8)
    with pytest.raises(ParameterError, match="positive"):
        compute_mean_survival(FOUR, horizon_days=0)


UNFOLLOWED = build([2, 4, 6, 8], [1, 0, 1, 0], [(p, 0, 1, 3.0) for p in range(4)])


@pytest.mark.parametrize(
    "estimator", [name for name in ESTIMATORS if name not in ("available_sample", "complete_case")]
)
def test_nobody_followed_to_the_horizon_is_refused(estimator):
    with pytest.raises(NotEstimable, match="nobody is followed that long"):
        build_design(UNFOLLOWED, CensoredCostOptions(10.0, estimator))
    assert build_design(UNFOLLOWED, CensoredCostOptions(8.0, estimator)).ends[-1] == 8


def test_stay_weights_refuse_what_nobody_is_followed_to():
    with pytest.raises(NotEstimable, match="nobody is followed that long"):
        compute_stay_weights(UNFOLLOWED, bounds_days=[0, 5, 10])
    with pytest.raises(ParameterError, match="rise"):
        compute_stay_weights(FOUR, bounds_days=[0, 5, 5])
    with pytest.raises(ParameterError, match="begin before"):
        compute_stay_weights(FOUR, bounds_days=[-1, 5])
    with pytest.raises(ParameterError, match="covariates"):
        compute_stay_weights(FOUR, bounds_days=[0, 10], options=CensoringOptions(model="cox"))


def test_who_died_last_needs_nobody_after():
    history = build([2, 4, 8], [1, 0, 1], [(p, 0, 1, 3.0) for p in range(3)])
    assert value(history, "bang_tsiatis") == pytest.approx(3.0)


BAD_OPTIONS = [
    ({"horizon_days": 0.0}, "positive"),
    ({"horizon_days": float("nan")}, "positive"),
    ({"horizon_days": 1001.0}, "not recorded that long"),
    ({"estimator": "zhao"}, "unknown"),
    ({"interval_ends": (500.0,)}, "not the horizon"),
    ({"interval_ends": (500.0, 400.0)}, "rise"),
    ({"errors": "bootstrap"}, "random numbers"),
    ({"errors": "published"}, "no published formula"),
    ({"replicates": 1}, "out of range"),
    ({"censoring": CensoringOptions(model="logistic")}, "needs periods"),
    ({"censoring": CensoringOptions(ties="together")}, "takes events first"),
    ({"censoring": CensoringOptions(by="arm")}, "unknown"),
    ({"censoring": CensoringOptions(model="cox"), "estimator": "zhao_tian"}, "same for all"),
    ({"estimator": "zhao_tian", "divide_by": "weights"}, "no such form"),
    ({"estimator": "lin_2000"}, "differences"),
]


@pytest.mark.parametrize(("change", "words"), BAD_OPTIONS)
def test_bad_options_are_refused(change, words):
    with pytest.raises(ParameterError, match=words):
        compute_censored_means(draw(1), options=CensoredCostOptions(**({"horizon_days": HORIZON} | change)))


def test_published_errors_need_equal_weights_and_independent_people():
    options = CensoredCostOptions(HORIZON, "bang_tsiatis", errors="published")
    uneven = draw(1).with_weights(np.linspace(1, 2, 300))
    with pytest.raises(ParameterError, match="equal weights"):
        compute_censored_means(uneven, options=options)
    with pytest.raises(ParameterError, match="one group"):
        compute_censored_means(draw(1), options=replace(options, censoring=CensoringOptions(by="nothing")))


def test_a_difference_is_refused_where_it_would_mean_nothing():
    options = CensoredCostOptions(HORIZON)
    with pytest.raises(ParameterError, match="two groups"):
        estimate_censored_cost_difference(FOUR, PER_PERSON, options=CensoredCostOptions(10.0))
    with pytest.raises(ParameterError, match="ignores censoring"):
        estimate_censored_cost_difference(draw(1), PER_PERSON, options=replace(options, estimator="complete_case"))
    with pytest.raises(ParameterError, match="scale"):
        estimate_censored_cost_difference(
            draw(1), Estimand("cost", "ATE", "people", WINDOW, "risk_ratio"), options=options
        )
    few = draw(1).select(np.arange(24))
    with pytest.raises(NotEstimable, match="fewer than 10 people"):
        estimate_censored_cost_difference(few, PER_PERSON, options=options)
    with pytest.raises(NotEstimable, match="one alone"):
        estimate_censored_cost_difference(
            replace(draw(1), cluster=np.zeros(300, dtype=np.int64)), PER_PERSON, options=options
        )


def test_a_separating_covariate_is_refused_by_name():
    history = draw(1)
    told = replace(history, covariates=(~history.complete).astype(float)[:, None], names=("moved",))
    options = CensoredCostOptions(HORIZON, interval_ends=QUARTERS, censoring=CensoringOptions(model="logistic"))
    with pytest.raises(NotEstimable, match="moved"):
        compute_censored_means(told, options=options)


def test_draws_without_anybody_followed_are_left_out_and_told():
    """One person of a group is followed to the end: a third of draws are without."""
    end = [3.0, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 10] * 2
    complete = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1] * 2
    history = build(end, complete, [(p, 0, 1, float(p % 5)) for p in range(24)], group=np.repeat([0, 1], 12))
    with pytest.raises(NotEstimable, match="draws"):
        estimate_censored_cost_difference(
            history, PER_PERSON, options=CensoredCostOptions(10.0, errors="bootstrap"), rng=np.random.default_rng(1)
        )


def test_same_seed_same_draws():
    options = CensoredCostOptions(HORIZON, errors="bootstrap", replicates=50)
    first, second = (
        estimate_censored_cost_difference(draw(1), PER_PERSON, options=options, rng=np.random.default_rng(3))
        for _ in range(2)
    )
    assert first.se == second.se


def test_periods_are_what_records_are():
    """The same costs as records and by period give the same mean."""
    history = draw(3, n=100)
    frame = pd.DataFrame({"person": range(100), "end": history.follow_up_days, "complete": history.complete})
    rows = pd.DataFrame({
        "person": history.record_person, "start": history.start_days, "stop": history.stop_days,
        "cost": history.cost_gbp,
    })  # fmt: skip
    other = CostHistory.from_frames(
        frame, rows, person="person", follow_up="end", complete="complete", start="start", stop="stop", cost="cost"
    )
    same = CensoringOptions(by="nothing")
    pooled = replace(history, group=np.zeros(100, dtype=np.int64))
    assert value(other, "zhao_tian", HORIZON) == pytest.approx(value(pooled, "zhao_tian", HORIZON, censoring=same))
