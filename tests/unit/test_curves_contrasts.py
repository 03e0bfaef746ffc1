"""Two groups against each other: values, errors, scales, and what is refused."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pandas as pd
import pytest

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.estimators.survival.cumulative_incidence import compute_cumulative_incidence
from evalkit.estimators.survival.curve_contrasts import (
    ContrastOptions,
    estimate_mean_count_difference,
    estimate_risk_difference,
    estimate_time_difference,
)
from evalkit.estimators.survival.curves import compute_curve_at, compute_risk_at
from evalkit.estimators.survival.kaplan_meier import compute_survival
from evalkit.estimators.survival.mean_count import MeanCountOptions, compare_mean_counts, compute_mean_count
from evalkit.estimators.survival.restricted_mean import FREE, RestrictedMeanOptions, compute_restricted_means
from tests.curve_people import draw_competing, draw_recurrent, follow

GROUPS = ContrastOptions(treated="alliance", comparison="usual")


def ask(scale: str) -> Estimand:
    return Estimand("readmission", "ATT", "people", Window(date(2020, 1, 1), date(2021, 1, 1)), scale)


def both_at(curves, at: float) -> list[pd.Series]:
    return [compute_curve_at(c, [at]).iloc[0] for c in curves if c.cause == "readmission"]


def test_independent_groups_add_their_variances():
    follow_up = follow(draw_competing(), stratum="group", weights="weight")
    a, b = both_at(compute_cumulative_incidence(follow_up), 40)
    found = estimate_risk_difference(follow_up, ask("risk_difference"), at=40, options=GROUPS, role="primary")
    assert found.value == pytest.approx(a.value - b.value)
    assert found.se == pytest.approx(math.hypot(a.se, b.se))
    ratio = estimate_risk_difference(follow_up, ask("risk_ratio"), at=40, options=GROUPS, role="primary")
    assert ratio.value == pytest.approx(a.value / b.value)
    assert ratio.se == pytest.approx(math.hypot(a.se / a.value, b.se / b.value))
    assert ratio.lower == pytest.approx(ratio.value * math.exp(-1.959963984540054 * ratio.se))
    odds = estimate_risk_difference(follow_up, ask("odds_ratio"), at=40, options=GROUPS, role="primary")
    assert odds.value == pytest.approx(a.value / (1 - a.value) / (b.value / (1 - b.value)))
    assert odds.se == pytest.approx(math.hypot(a.se / a.value / (1 - a.value), b.se / b.value / (1 - b.value)))
    assert found.n_people == 300
    assert [c.name for c in found.checks] == ["at_risk", "clusters"]


def test_any_event_is_survival_turned_round():
    follow_up = follow(draw_competing(), stratum="group")
    options = ContrastOptions("alliance", "usual", cause=None)
    found = estimate_risk_difference(follow_up, ask("risk_difference"), at=40, options=options, role="primary")
    a, b = (compute_curve_at(c, [40]).iloc[0] for c in compute_survival(follow_up))
    assert found.value == pytest.approx(b.value - a.value)


def test_clusters_in_both_groups_are_counted_once():
    """Everybody stands in both groups with the same follow-up: the difference is 0 and so is its error."""
    df = draw_competing()
    twins = pd.concat([df.assign(group="alliance"), df.assign(group="usual")])
    for scale in ("risk_difference", "risk_ratio"):
        found = estimate_risk_difference(
            follow(twins, stratum="group"), ask(scale), at=40, options=GROUPS, role="primary"
        )
        assert found.se == pytest.approx(0.0, abs=1e-15)
    apart = follow(twins.assign(person=np.arange(600)), stratum="group")
    assert estimate_risk_difference(apart, ask("risk_difference"), at=40, options=GROUPS, role="primary").se > 0.03


def test_before_a_day_leaves_that_day_out():
    follow_up = follow(draw_competing(), stratum="group")
    options = ContrastOptions("alliance", "usual", side="before")
    found = estimate_risk_difference(follow_up, ask("risk_difference"), at=30, options=options, role="primary")
    curves = [c for c in compute_cumulative_incidence(follow_up) if c.cause == "readmission"]
    a, b = (compute_risk_at(c, [30])["risk"].item() for c in curves)
    assert found.value == pytest.approx(a - b)
    df = draw_competing()
    assert found.n_events == ((df["event"] == 1) & (df["exit"] < 30)).sum()


def test_mean_counts_and_their_ratio():
    follow_up = follow(draw_recurrent(), stratum="group", weights="weight", cluster="cluster")
    for terminal in ("other_causes", "none"):
        curves = compute_mean_count(follow_up, options=MeanCountOptions(terminal=terminal))
        a, b = both_at(curves, 100)
        options = ContrastOptions("alliance", "usual", terminal=terminal)
        found = estimate_mean_count_difference(
            follow_up, ask("events_per_person"), at=100, options=options, role="primary"
        )
        assert found.value == pytest.approx(a.value - b.value)
        # Clusters of three stand in both groups, so the variances do not add up.
        assert found.se != pytest.approx(math.hypot(a.se, b.se), rel=1e-3)
        ratio = estimate_mean_count_difference(follow_up, ask("rate_ratio"), at=100, options=options, role="primary")
        assert ratio.value == pytest.approx(a.value / b.value)
    with pytest.raises(ParameterError, match="one cause"):
        estimate_mean_count_difference(
            follow_up, ask("rate_ratio"), at=100, options=ContrastOptions(cause=None), role="primary"
        )


def test_time_lost_and_time_kept():
    follow_up = follow(draw_competing(), stratum="group", weights="weight")
    means = compute_restricted_means(follow_up, options=RestrictedMeanOptions(60))
    for cause, state, sign in ((1, "readmission", 1), (None, FREE, 1)):
        a, b = (m for m in means if m.state == state)
        options = ContrastOptions("alliance", "usual", cause=cause)
        found = estimate_time_difference(follow_up, ask("days_per_person"), at=60, options=options, role="primary")
        assert found.value == pytest.approx(sign * (a.value - b.value))
        assert found.se == pytest.approx(math.hypot(a.se, b.se))


@pytest.mark.parametrize(
    ("draw", "estimate", "scale"),
    [
        (draw_recurrent, estimate_mean_count_difference, "events_per_person"),
        (draw_competing, estimate_risk_difference, "risk_difference"),
        (draw_competing, estimate_time_difference, "days_per_person"),
    ],
)
def test_errors_are_the_spread_of_estimates(draw, estimate, scale):
    """Over 250 worlds without effect the mean standard error is the spread, and 95% intervals cover 0.

    People are few, with frailty and deaths or late entry and weights. Bounds are three Monte-Carlo errors.
    """
    weights = {} if draw is draw_recurrent else {"weights": "weight"}
    values, errors = [], []
    for seed in range(250):
        follow_up = follow(draw(100, seed=seed), stratum="group", **weights)
        found = estimate(follow_up, ask(scale), at=60, options=GROUPS, role="primary")
        values.append(found.value)
        errors.append(found.se)
    assert np.mean(errors) / np.std(values) == pytest.approx(1.0, abs=0.14)
    assert np.mean(np.abs(values) < 1.96 * np.array(errors)) == pytest.approx(0.945, abs=0.042)


def test_equal_mean_counts_are_rejected_at_their_level():
    p = [
        compare_mean_counts(follow(draw_recurrent(60, seed=s), stratum="group"), "alliance", "usual").p_value
        for s in range(300)
    ]
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.035)


def test_mean_counts_that_differ_are_told_apart():
    df = draw_recurrent()
    one, other = df[df["group"] == "usual"], df[df["group"] == "alliance"]
    merged = other.assign(event=np.where((other["event"] == 1) & (other["exit"] % 3 > 0), 0, other["event"]))
    test = compare_mean_counts(follow(pd.concat([one, merged]), stratum="group"), "alliance", "usual")
    assert test.z < -4
    with pytest.raises(ParameterError, match="no such stratum"):
        compare_mean_counts(follow(df, stratum="group"), "alliance", "others")


def test_refusals():
    follow_up = follow(draw_competing(), stratum="group")

    def run(at: float = 40, scale: str = "risk_difference", options: ContrastOptions = GROUPS, data=follow_up):
        return estimate_risk_difference(data, ask(scale), at=at, options=options, role="primary")

    df = draw_competing()
    df["event"] = np.where(df["exit"] > 80, 0, df["event"])
    with pytest.raises(NotEstimable, match="nobody of alliance is followed so far"):
        run(at=1e5, data=follow(df, stratum="group"))
    with pytest.raises(NotEstimable, match="fewer than 10 in all"):
        run(at=1)
    with pytest.raises(ParameterError) as both:
        run(scale="hazard_ratio", at=-1)
    assert len(both.value.faults) == 2
    with pytest.raises(ParameterError, match="no such stratum"):
        run(options=ContrastOptions("alliance", "nobody"))
    with pytest.raises(ParameterError, match="two strata are compared"):
        run(data=follow(draw_competing()), options=ContrastOptions())
    assert run(options=ContrastOptions()).value == pytest.approx(-run().value)  # "usual" sorts last


def test_few_at_the_horizon_fail_a_check_without_their_number():
    df = draw_competing()
    latest = df.groupby("group")["exit"].max().min()
    found = estimate_risk_difference(
        follow(df, stratum="group"), ask("risk_difference"), at=latest, options=GROUPS, role="primary"
    )
    check = found.checks[0]
    assert check.passed is False
    assert math.isnan(check.value)
    assert "fewer people are still at risk" in check.text
