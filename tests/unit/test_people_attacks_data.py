"""What data on people over time cannot tell, or only just: the right number or a named refusal, never another."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.survival.cox import estimate_hazard_ratio, fit_cox
from evalkit.estimators.survival.cox_checks import check_proportional_hazards
from evalkit.estimators.survival.cox_residuals import compute_baseline_hazard
from evalkit.estimators.survival.cumulative_incidence import (
    estimate_cumulative_incidence,
)
from evalkit.estimators.survival.curve_contrasts import compute_risk_combination
from evalkit.estimators.survival.fine_gray import (
    compute_cumulative_incidence_at,
    estimate_subdistribution_ratio,
    fit_fine_gray,
)
from evalkit.estimators.survival.kaplan_meier import compute_survival, estimate_survival
from evalkit.estimators.survival.log_rank import LogRankOptions, compute_log_rank
from evalkit.estimators.survival.mean_count import (
    compare_mean_counts,
    estimate_mean_count,
)
from evalkit.estimators.survival.multistate import compute_expected_time, estimate_state_probabilities
from evalkit.estimators.survival.multistate_rows import (
    build_transition_design,
    build_transition_rows,
)
from evalkit.estimators.survival.parametric import fit_parametric
from evalkit.estimators.survival.recurrent import compute_optimal_average, estimate_recurrent
from evalkit.estimators.survival.restricted_mean import RestrictedMeanOptions, estimate_restricted_means
from evalkit.estimators.survival.transition_hazards import (
    compute_transition_hazards,
)
from tests.attack_people import asked, grouped, history, moves, people, risk_difference
from tests.curve_people import draw_recurrent, follow

# ---- what the data cannot tell --------------------------------------------------------------------


def test_one_cluster_has_no_error():
    df = people().assign(cluster=3)
    f, rows = grouped(df, cluster="cluster"), draw_recurrent().assign(cluster=0, z=lambda d: d["person"] % 2)
    again = follow(rows, cluster="cluster", covariates=("z",))
    calls = [
        lambda: estimate_hazard_ratio(f, asked("hazard_ratio"), covariate="x"),
        lambda: estimate_subdistribution_ratio(f, asked("hazard_ratio"), covariate="x"),
        lambda: estimate_recurrent(again, asked("rate_ratio"), covariate="z"),
        lambda: risk_difference(f),
        lambda: estimate_survival(f),
        lambda: estimate_cumulative_incidence(f),
        lambda: estimate_mean_count(again),
        lambda: estimate_restricted_means(f, options=RestrictedMeanOptions(30)),
        lambda: compare_mean_counts(f, "alliance", "usual"),
        lambda: compute_log_rank(f, df["group"].to_numpy(), options=LogRankOptions(errors="robust")),
        lambda: estimate_state_probabilities(history(moves().assign(w=1), cluster="w")),
        lambda: compute_expected_time(history(moves().assign(w=1), cluster="w"), horizon=30),
    ]
    for call in calls:
        with pytest.raises(NotEstimable, match="one alone, which has no error"):
            call()


def staggered(*, last_event: int, gap: float) -> FollowUp:
    """Twenty people who are all gone before, or as, the other forty come."""
    exits = np.concatenate([np.arange(1.0, 21), np.arange(40.0, 80)])
    entry = np.where(np.arange(60) < 20, 0.0, 20.0 + gap)
    event = np.where(np.arange(60) == 19, last_event, 1 + np.arange(60) % 2)
    df = pd.DataFrame({"person": range(60), "entry": entry, "exit": exits, "event": event})
    return follow(df.assign(group="a").pipe(lambda d: pd.concat([d, d.assign(group="b", person=d["person"] + 60)])),
                  stratum="group")  # fmt: skip


@pytest.mark.parametrize(("last_event", "gap"), [(0, 5.0), (1, 5.0), (1, 0.0)])
def test_times_without_anybody_are_not_taken_for_times_without_events(last_event: int, gap: float):
    f = staggered(last_event=last_event, gap=gap)
    for call in (
        lambda: estimate_survival(f),
        lambda: estimate_cumulative_incidence(f),
        lambda: risk_difference(f, at=60.0),
        lambda: estimate_restricted_means(f, options=RestrictedMeanOptions(60)),
    ):
        with pytest.raises(NotEstimable, match="nobody is under observation"):
            call()


def test_who_comes_as_the_last_is_censored_goes_on_from_there():
    f = staggered(last_event=0, gap=0.0)
    assert estimate_survival(f)[0].value[18] > 0
    assert risk_difference(staggered(last_event=0, gap=5.0), at=20.0).value == pytest.approx(0, abs=1e-12)


def test_the_last_person_may_be_in_hospital_between_two_rows():
    rows = [(k, 0.0, 5.0 + k, 1) for k in range(12)] + [(12, 0.0, 20.0, 1), (12, 25.0, 30.0, 1), (12, 30.0, 40.0, 0)]
    f = follow(pd.DataFrame(rows, columns=["person", "entry", "exit", "event"]))
    assert estimate_mean_count(f)[0].n_events == 14


def test_sums_of_risks_are_read_at_a_finite_time_and_never_over_a_gap():
    for change in ({"at": math.nan}, {"at": math.inf}, {"side": "until"}, {"cause": "death"}):
        with pytest.raises(ParameterError):
            compute_risk_combination(grouped(), {"alliance": 1, "usual": -1}, **({"at": 30.0} | change))
    with pytest.raises(NotEstimable, match="nobody is under observation"):
        compute_risk_combination(staggered(last_event=0, gap=5.0), {"a": 1, "b": -1}, at=60.0)


def test_effects_that_cannot_be_told_apart_have_no_average():
    with pytest.raises(NotEstimable, match="cannot be told apart"):
        compute_optimal_average(np.ones(2), np.ones((2, 2)))
    assert compute_optimal_average(np.array([1.0, 3.0]), np.eye(2) * 1e-20)[0] == pytest.approx(2)


def test_groups_that_never_meet_are_not_compared():
    df = people().assign(apart=lambda d: np.where(d["group"] == "usual", 5000.0, 0.0))
    f = follow(df.assign(entry=df["entry"] + df["apart"], exit=df["exit"] + df["apart"]), stratum="group")
    with pytest.raises(NotEstimable, match="only one group was at risk"):
        compute_log_rank(replace(f, stratum=np.zeros(len(f), dtype=np.int64)), df["group"].to_numpy())
    for other in (f, replace(f, event=np.zeros(len(f), dtype=np.int64))):
        with pytest.raises(NotEstimable, match="nothing to compare"):
            compare_mean_counts(other, "alliance", "usual")
    with pytest.raises(ParameterError, match="two different"):
        compare_mean_counts(f, "usual", "usual")


def test_weights_that_drown_others_are_refused():
    n = 60
    rng, late = np.random.default_rng(0), np.arange(n) >= 30
    df = pd.DataFrame({
        "person": range(n), "entry": np.where(late, 29.5, 0.0), "exit": np.arange(1.0, n + 1), "event": 1,
        "weight": np.where(late, 1e16, 1.0), "x": rng.normal(size=n), "group": np.arange(n) % 2,
    })  # fmt: skip
    f = follow(df, weights="weight", covariates=("x",))
    for call in (
        lambda: fit_cox(f),
        lambda: fit_fine_gray(f),
        lambda: compute_survival(f),
        lambda: compute_log_rank(f, df["group"].to_numpy(), options=LogRankOptions(errors="robust")),
    ):
        with pytest.raises(NotEstimable, match=r"weights.*lose their digits"):
            call()
    heavy = pd.DataFrame({
        "who": range(6), "begin": 0.0, "end": [1.0, 2, 3, 4, 5, 6], "from": "ward",
        "to": ["", "", "", "", "home", "dead"],
        "w": [1e16] * 4 + [1.0] * 2,
    })  # fmt: skip
    with pytest.raises(NotEstimable, match="lose their digits"):
        estimate_state_probabilities(history(heavy, weights="w"), at=[5.0])


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_the_unit_of_weights_does_not_matter(factor: float):
    df = people()
    plain, scaled = grouped(df, weights="weight"), grouped(df.assign(weight=df["weight"] * factor), weights="weight")
    for fit in (fit_cox, fit_fine_gray):
        np.testing.assert_allclose(fit(scaled).coefficients, fit(plain).coefficients, rtol=1e-9)
        np.testing.assert_allclose(fit(scaled).robust_variance, fit(plain).robust_variance, rtol=1e-8)


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_year_as_covariate_leaves_risks_as_they_are(sign: int):
    df = people()
    x = sign * (0.1 * df["x"] - 0.1 * (df["exit"] > 30))
    near, far = follow(df.assign(x=x), covariates=("x",)), follow(df.assign(x=x + 2020), covariates=("x",))
    fits = fit_fine_gray(near), fit_fine_gray(far)
    times = np.array([10.0, 40.0])
    risks = (
        compute_cumulative_incidence_at(fits[0], [0.1], times),
        compute_cumulative_incidence_at(fits[1], [2020.1], times),
    )
    np.testing.assert_allclose(risks[1], risks[0], rtol=1e-7)
    with pytest.raises(ParameterError, match="so far from the data"):
        _ = fits[1].increments
    with pytest.raises(ParameterError, match="so far from the data"):
        compute_baseline_hazard(fit_cox(far), far)
    hazards = (
        compute_baseline_hazard(fit_cox(near), near, at=np.array([0.1])),
        compute_baseline_hazard(fit_cox(far), far, at=np.array([2020.1])),
    )
    np.testing.assert_allclose(hazards[1][0].hazard, hazards[0][0].hazard, rtol=1e-7)


def test_risks_are_asked_for_where_people_are():
    fit = fit_fine_gray(follow(people(), covariates=("x",)))
    for x, times in (([math.nan], [9.0]), ([0.0], [math.nan]), ([1e6], [9.0])):
        with pytest.raises(ParameterError):
            compute_cumulative_incidence_at(fit, x, np.array(times))
    with pytest.raises(NotEstimable, match="followed so far"):
        compute_cumulative_incidence_at(fit, [0.0], np.array([1e9]))
    rows = build_transition_rows(history(covariates=("age",)))
    model = fit_cox(rows.follow_up)
    with pytest.raises(ParameterError, match="so far from the data"):
        compute_transition_hazards(model, rows, build_transition_design(rows, {"age": 1e5}))
    with pytest.raises(ParameterError, match="not finite"):
        build_transition_design(rows, {"age": "old"})


def test_a_ratio_too_large_to_be_written_is_refused():
    df = people()
    with pytest.raises(NotEstimable, match="larger units"):
        estimate_hazard_ratio(follow(df.assign(x=df["x"] * 1e-5), covariates=("x",)), asked("hazard_ratio"),
                              covariate="x")  # fmt: skip


def test_a_model_is_read_on_its_own_follow_up():
    f = follow(people(), covariates=("x",))
    fit = fit_cox(f)
    with pytest.raises(ParameterError, match="other weights, times or strata"):
        compute_baseline_hazard(fit, f.with_weights(people()["weight"].to_numpy()))
    shuffled = follow(people().sample(frac=1, random_state=2), covariates=("x",))
    np.testing.assert_allclose(
        compute_baseline_hazard(fit, shuffled)[0].hazard, compute_baseline_hazard(fit, f)[0].hazard, rtol=1e-10
    )


def test_covariates_named_by_a_comparison_are_terms_of_their_own():
    f = follow(people().rename(columns={"x": "age>=65", "z": "age>=75"}), covariates=("age>=65", "age>=75", "kind"))
    assert check_proportional_hazards(fit_cox(f), f).names == ("age>=65", "age>=75", "kind", "GLOBAL")


def test_times_that_do_not_converge_name_the_covariate():
    f = follow(people().assign(z=lambda df: 1.0 * (df["event"] == 1)), covariates=("x", "z"))
    with pytest.raises(NotEstimable, match=r"z: no convergence"):
        fit_parametric(f)


@pytest.mark.parametrize("count", [0, 3, 9])
def test_small_counts_are_never_told(count: int):
    df = people().assign(event=lambda d: (np.arange(len(d)) < count).astype(int))
    f = grouped(df)
    for call in (
        lambda: estimate_hazard_ratio(f, asked("hazard_ratio"), covariate="x"),
        lambda: estimate_subdistribution_ratio(f, asked("hazard_ratio"), covariate="x"),
        lambda: estimate_recurrent(f, asked("rate_ratio"), covariate="x"),
        lambda: estimate_survival(f),
        lambda: estimate_cumulative_incidence(f),
        lambda: estimate_mean_count(f),
        lambda: risk_difference(f),
    ):
        with pytest.raises(NotEstimable, match="fewer than 10") as refusal:
            call()
        assert refusal.value.__cause__ is None
        assert refusal.value.__context__ is None
        assert str(count) not in str(refusal.value).replace("10", "").replace("1 fault", "").replace("1. ", "")
