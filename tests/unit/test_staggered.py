from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.area.aggregate import aggregate_effects
from evalkit.estimators.area.cohort_errors import compute_small_sample_errors, compute_uniform_critical
from evalkit.estimators.area.group_time import StaggeredOptions
from evalkit.estimators.area.group_time_cells import compute_cells
from evalkit.estimators.area.staggered import estimate_group_time, estimate_staggered, estimate_staggered_event_study
from tests.panels import DIFFERENCE, ESTIMAND

METHODS = ("callaway_santanna", "sun_abraham", "imputation")
NOT_YET = StaggeredOptions(controls="not_yet_treated")


def make(
    sizes: dict[float, int],
    *,
    periods: int = 8,
    seed: int = 1,
    effect: float = 0.0,
    noise: float = 1.0,
    covariate: str = "normal",
    weights: np.ndarray | None = None,
) -> Panel:
    """Units of each cohort (NaN for never) over periods 0, 1, ...; every treated unit-period gains `effect`."""
    rng = np.random.default_rng(seed)
    adoption = np.repeat(list(sizes), list(sizes.values())).astype(float)
    place = np.arange(periods, dtype=float)
    values = (
        rng.normal(size=(len(adoption), 1))
        + rng.normal(size=periods)
        + noise * rng.normal(size=(len(adoption), periods))
    )
    values = values + effect * (place >= adoption[:, None])
    x = rng.normal(size=len(adoption))
    if covariate == "separating":
        x = np.where(np.isnan(adoption), -1.0, 1.0) + 0.1 * x
    return Panel(
        np.array([f"u{i:03d}" for i in range(len(adoption))]),
        place,
        values,
        np.ones_like(values),
        adoption,
        np.repeat(x[:, None, None], periods, axis=1),
        ("x",),
        weights if weights is None else np.repeat(weights[:, None], periods, axis=1),
    )


USUAL = {3.0: 8, 5.0: 7, np.nan: 12}


def check_named(checks, name):
    return next(c for c in checks if c.name == name)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["simple", "dynamic", "group", "calendar"])
def test_an_effect_without_noise_is_found_exactly(method, kind):
    panel = make(USUAL, effect=2.5, noise=0.0)
    found = estimate_staggered(panel, DIFFERENCE, options=StaggeredOptions(method=method, aggregation=kind))
    assert found.value == pytest.approx(2.5, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_an_anticipated_period_is_left_out(method):
    panel = make(USUAL, effect=1.0, noise=0.0)
    # The effect begins one period before the adoption that is recorded.
    late = Panel(
        panel.units, panel.periods, panel.outcome, panel.denominator, panel.adoption + 1, panel.covariates, ("x",)
    )
    plain = estimate_staggered(late, DIFFERENCE, options=StaggeredOptions(method=method))
    allowed = estimate_staggered(late, DIFFERENCE, options=StaggeredOptions(method=method, anticipation=1))
    assert abs(plain.value - 1) > 0.05
    assert allowed.value == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("adjustment", ["doubly_robust", "weighting", "regression"])
def test_confounding_by_a_covariate_is_removed(adjustment):
    rng = np.random.default_rng(2)
    x = rng.normal(size=4000)
    adoption = np.where(rng.random(4000) < 1 / (1 + np.exp(-x)), 2.0, np.nan)
    values = rng.normal(size=(4000, 1)) + np.arange(4) * (1 + x[:, None]) + 0.1 * rng.normal(size=(4000, 4))
    values += 3.0 * (np.arange(4) >= adoption[:, None])
    panel = Panel(
        np.arange(4000).astype(str), np.arange(4.0), values, np.ones_like(values), adoption,
        np.repeat(x[:, None, None], 4, axis=1), ("x",),
    )  # fmt: skip
    plain = estimate_staggered(panel, DIFFERENCE)
    found = estimate_staggered(panel, DIFFERENCE, options=StaggeredOptions(adjustment=adjustment, covariates=("x",)))
    assert plain.value > 3.5
    assert found.value == pytest.approx(3.0, abs=4 * found.se)
    assert found.se < 0.1


@pytest.mark.parametrize("adjustment", ["doubly_robust", "weighting", "regression"])
@pytest.mark.parametrize("controls", ["never_treated", "not_yet_treated"])
@pytest.mark.parametrize("kind", ["simple", "dynamic", "group", "calendar"])
def test_influence_is_the_derivative_by_each_units_weight(adjustment, controls, kind):
    """Finite differences of the estimate by unit weights; what holds `group.overall.se`, where `did` errs."""
    options = StaggeredOptions(controls=controls, adjustment=adjustment, covariates=("x",))
    weights = np.random.default_rng(3).uniform(0.5, 2.0, sum(USUAL.values()))
    base = aggregate_effects(
        estimate_group_time(make(USUAL, weights=weights), options=options), DIFFERENCE, kind=kind, errors="analytic"
    )
    step = 1e-5
    for unit in (0, 9, 20):
        moved = []
        for sign in (1, -1):
            changed = weights.copy()
            changed[unit] *= 1 + sign * step
            effects = estimate_group_time(make(USUAL, weights=changed), options=options)
            moved.append(aggregate_effects(effects, DIFFERENCE, kind=kind))
        slope = (moved[0].overall - moved[1].overall) / (2 * step)
        assert base.overall_influence[unit] / len(weights) == pytest.approx(slope, rel=1e-5, abs=1e-8)
        for at in range(len(base.at)):
            slope = (moved[0].value[at] - moved[1].value[at]) / (2 * step)
            assert base.influence[unit, at] / len(weights) == pytest.approx(slope, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_another_scale_is_refused(method):
    with pytest.raises(ParameterError, match="mean_difference"):
        estimate_staggered(make(USUAL), ESTIMAND, options=StaggeredOptions(method=method))


@pytest.mark.parametrize("method", METHODS)
def test_few_treated_units_are_refused_an_error(method):
    with pytest.raises(NotEstimable, match=r"treated clusters.*6 or more"):
        estimate_staggered(make({3.0: 2, 5.0: 1, np.nan: 20}), DIFFERENCE, options=StaggeredOptions(method=method))


def test_never_treated_comparison_needs_never_treated_units():
    with pytest.raises(NotEstimable, match="never-treated units cannot be compared"):
        estimate_staggered(make({3.0: 8, 6.0: 9}), DIFFERENCE)


@pytest.mark.parametrize("method", ["callaway_santanna", "imputation"])
def test_where_all_are_treated_in_the_end_what_is_lost_is_said(method):
    panel = make({2.0: 8, 3.0: 7, 6.0: 9}, effect=2.0, noise=0.0)
    controls = "not_yet_treated" if method == "callaway_santanna" else "never_treated"
    options = StaggeredOptions(method=method, controls=controls)
    effects = estimate_group_time(panel, options=options)
    assert set(effects.group) == {2.0, 3.0}
    assert effects.period.max() == 5
    lost = check_named(effects.checks, "comparison_lost")
    assert lost.passed is False and "6" in lost.text
    assert estimate_staggered(panel, DIFFERENCE, options=options).value == pytest.approx(2.0, abs=1e-12)


def test_one_period_before_adoption_is_enough_but_tests_nothing():
    effects = estimate_group_time(make({1.0: 8, np.nan: 9}))
    pretest = check_named(effects.checks, "pretest")
    assert pretest.passed is None and np.isnan(pretest.value)
    assert len(effects.value) == 8


def test_too_many_effects_before_adoption_are_not_tested_together():
    effects = estimate_group_time(make({16.0: 7, 18.0: 7, np.nan: 7}, periods=20))
    assert np.isnan(effects.pretest)
    assert "too many" in check_named(effects.checks, "pretest").text


def test_anticipation_that_leaves_no_base_period_is_named_for_every_cohort():
    with pytest.raises(ParameterError) as caught:
        estimate_group_time(make({2.0: 8, 3.0: 8, 6.0: 8, np.nan: 9}), options=StaggeredOptions(anticipation=3))
    assert [f.what.split(" has no")[0] for f in caught.value.faults] == ["the cohort of 2", "the cohort of 3"]


def test_all_faults_of_the_options_come_at_once():
    options = StaggeredOptions(anticipation=-1, level=1.5, draws=0, covariates=("y",))
    with pytest.raises(ParameterError) as caught:
        estimate_group_time(make(USUAL).without(6, 7), options=options)
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    for part in ("number of periods", "probability", "there must be some", 'none called "y"', "leave gaps"):
        assert part in text


def test_periods_with_gaps_are_refused():
    with pytest.raises(ParameterError, match="leave gaps"):
        estimate_group_time(make(USUAL).without(2, 3))


@pytest.mark.parametrize("adjustment", ["doubly_robust", "weighting"])
def test_perfect_separation_is_named(adjustment):
    panel = make(USUAL, covariate="separating")
    with pytest.raises(NotEstimable, match="separate treated from comparison units"):
        estimate_staggered(panel, DIFFERENCE, options=StaggeredOptions(covariates=("x",), adjustment=adjustment))


def test_separation_of_one_cohort_leaves_it_out_in_sight():
    panel = make({3.0: 20, 5.0: 20, np.nan: 40}, seed=4, effect=1.0)
    x = panel.covariates.copy()
    x[panel.adoption == 5.0] += 50
    far = Panel(panel.units, panel.periods, panel.outcome, panel.denominator, panel.adoption, x, ("x",))
    options = StaggeredOptions(covariates=("x",))
    effects = estimate_group_time(far, options=options)
    assert np.isnan(effects.value[(effects.group == 5.0) & (effects.step != -1)]).all()
    assert not np.isnan(effects.value[effects.group == 3.0]).any()
    found = estimate_staggered(far, DIFFERENCE, options=options)
    left = check_named(found.checks, "cells_left_out")
    assert left.passed is False and left.value == 7
    alone = aggregate_effects(effects, DIFFERENCE, kind="group")
    assert list(alone.at) == [3.0]
    assert found.value == pytest.approx(np.mean(effects.value[(effects.group == 3.0) & (effects.step >= 0)]), rel=1e-12)


def test_collinear_covariates_are_named():
    panel = make(USUAL)
    double = np.concatenate([panel.covariates, 2 * panel.covariates + 1], axis=2)
    twice = Panel(panel.units, panel.periods, panel.outcome, panel.denominator, panel.adoption, double, ("x", "z"))
    for adjustment in ("doubly_robust", "weighting", "regression"):
        with pytest.raises(NotEstimable, match="collinear"):
            estimate_staggered(
                twice, DIFFERENCE, options=StaggeredOptions(covariates=("x", "z"), adjustment=adjustment)
            )


def test_a_covariate_that_does_not_change_has_no_place_in_imputation():
    with pytest.raises(NotEstimable, match="follow from unit and period effects"):
        estimate_staggered(make(USUAL), DIFFERENCE, options=StaggeredOptions(method="imputation", covariates=("x",)))


@pytest.mark.parametrize(
    ("method", "unread"),
    [
        ("sun_abraham", ["controls", "base", "adjustment", "covariates"]),
        ("imputation", ["controls", "base", "adjustment"]),
    ],
)
def test_what_a_method_does_not_read_is_not_ignored(method, unread):
    options = StaggeredOptions(method, "not_yet_treated", "varying", "regression", ("x",))
    with pytest.raises(ParameterError) as caught:
        estimate_staggered(make(USUAL), DIFFERENCE, options=options)
    assert [f.what.split('"')[3] for f in caught.value.faults] == unread


def test_sun_abraham_wants_weights_that_stay():
    panel = make(USUAL)
    moving = replace(panel, weights=np.random.default_rng(1).uniform(1, 2, panel.outcome.shape))
    with pytest.raises(ParameterError, match="stay the same over time"):
        estimate_staggered(moving, DIFFERENCE, options=StaggeredOptions(method="sun_abraham"))


def test_adoption_within_a_period_leaves_that_period_out():
    dates = pd.date_range("2018-01-01", periods=8, freq="QS")
    rng = np.random.default_rng(5)
    rows = [
        (unit, date, value, adopts)
        for unit in range(30)
        for adopts in [pd.Timestamp("2019-02-15") if unit < 8 else pd.Timestamp("2019-07-01") if unit < 15 else pd.NaT]
        for date, value in zip(dates, rng.normal(size=8) + (5 if not pd.isna(adopts) else 0) * (
            (dates + pd.DateOffset(months=3) > adopts) if not pd.isna(adopts) else np.zeros(8)), strict=True)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["unit", "period", "y", "adoption"])
    panel = Panel.from_frame(frame, unit="unit", period="period", outcome="y", adoption="adoption")
    effects = estimate_group_time(panel)
    assert effects.ahead == 1
    assert check_named(effects.checks, "adoption_within_period").passed is None
    early = effects.group == np.datetime64("2019-04-01")
    assert early.sum() == 8
    assert (effects.base[early] == np.datetime64("2018-10-01")).all()


def test_a_cohort_of_one_is_given_with_a_failed_check():
    effects = estimate_group_time(make({3.0: 1, 5.0: 9, np.nan: 12}))
    small = check_named(effects.checks, "small_cohorts")
    assert small.passed is False and "3 (1)" in small.text
    assert not np.isnan(effects.se[effects.group == 3.0][3:]).any()


def test_a_cohort_of_one_borrows_its_error_where_it_can():
    panel = make({3.0: 1, 5.0: 9, np.nan: 12})
    effects = estimate_group_time(panel)
    published = aggregate_effects(effects, DIFFERENCE, kind="group", errors="analytic")
    mended = aggregate_effects(effects, DIFFERENCE, kind="group")
    # Alone it has nothing to borrow from, in the overall effect it has the other cohort.
    assert published.se[0] > 0
    assert np.isnan(mended.lower[0]) and np.isnan(mended.se[0])
    assert check_named(mended.checks, "thin_numbers").passed is False
    assert mended.overall_se > published.overall_se


def test_cohorts_of_one_alone_have_no_interval():
    panel = make({float(k): 1 for k in range(1, 8)} | {np.nan: 12}, periods=10)
    found = estimate_staggered(panel, DIFFERENCE)
    assert not np.isnan(found.value)
    assert np.isnan([found.lower, found.upper, found.se, found.p_value]).all()
    assert check_named(found.checks, "interval").passed is False


def test_small_sample_error_of_a_difference_of_means_is_welchs():
    """Welch 1947: variances over n - 1 and Satterthwaite's degrees of freedom, by hand."""
    rng = np.random.default_rng(6)
    treated, others = rng.normal(size=5), 3 * rng.normal(size=9)
    influence = np.concatenate([(treated - treated.mean()) / 5, -(others - others.mean()) / 9])[:, None] * 14
    found = compute_small_sample_errors(
        influence, unit_cohort=np.repeat([0, -1], [5, 9]), cohort_weights=np.ones((1, 1))
    )
    parts = np.array([treated.var(ddof=1) / 5, others.var(ddof=1) / 9])
    assert found.se[0] == pytest.approx(np.sqrt(parts.sum()), rel=1e-12)
    assert found.freedom[0] == pytest.approx(parts.sum() ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 8), rel=1e-12)
    assert found.covariance[0, 0] == pytest.approx(parts.sum(), rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_uniform_bands_hold_pointwise_intervals(method):
    effects = estimate_group_time(make(USUAL), options=StaggeredOptions(method=method))
    found = aggregate_effects(effects, DIFFERENCE, kind="dynamic", rng=np.random.default_rng(7))
    known = ~np.isnan(found.se)
    assert (found.band[known, 0] < found.lower[known]).all()
    assert (found.band[known, 1] > found.upper[known]).all()
    assert np.isnan(aggregate_effects(effects, DIFFERENCE, kind="dynamic").uniform)


def test_the_uniform_critical_value_is_that_of_a_normal_maximum():
    """20 independent columns at 95%: 3.02 (the normal quantile at 1 - (1 - 0.95**(1/20))/2); Monte-Carlo error 0.05."""
    influence = np.random.default_rng(8).normal(size=(2000, 20))
    assert compute_uniform_critical(influence, rng=np.random.default_rng(9), draws=4000) == pytest.approx(
        3.02, abs=0.15
    )


def test_the_same_generator_gives_the_same_band_and_another_seed_another():
    effects = estimate_group_time(make(USUAL))
    bands = [
        aggregate_effects(effects, DIFFERENCE, kind="dynamic", rng=np.random.default_rng(seed)).uniform
        for seed in (1, 1, 2)
    ]
    assert bands[0] == bands[1] != bands[2]


@pytest.mark.parametrize("method", METHODS)
def test_a_path_leaves_its_reference_out(method):
    path = estimate_staggered_event_study(
        make(USUAL), DIFFERENCE, options=StaggeredOptions(method=method), rng=np.random.default_rng(1)
    )
    assert path.reference == -1
    assert -1 not in path.steps
    assert path.before.any() == (method != "imputation")
    assert np.allclose(np.sqrt(np.diag(path.covariance)), path.se)
    assert path.uniform > 1.96
    assert (path.steps[-1], path.estimator) == (4, method)


def test_a_path_by_a_varying_base_is_refused():
    with pytest.raises(ParameterError, match="one reference period"):
        estimate_staggered_event_study(make(USUAL), DIFFERENCE, options=StaggeredOptions(base="varying"))


def test_balance_is_for_dynamic_effects_only():
    effects = estimate_group_time(make(USUAL))
    with pytest.raises(ParameterError, match="dynamic"):
        aggregate_effects(effects, DIFFERENCE, kind="group", balance=1)
    with pytest.raises(NotEstimable, match="left to average"):
        aggregate_effects(effects, DIFFERENCE, kind="dynamic", balance=9)


def test_weights_count_by_proportion_only():
    weights = np.random.default_rng(3).uniform(0.5, 2.0, sum(USUAL.values()))
    for options in (StaggeredOptions(covariates=("x",)), NOT_YET, StaggeredOptions(method="imputation")):
        one = estimate_staggered(make(USUAL, weights=weights), DIFFERENCE, options=options)
        millions = estimate_staggered(make(USUAL, weights=5e6 * weights), DIFFERENCE, options=options)
        assert millions.value == pytest.approx(one.value, rel=1e-9)
        assert millions.se == pytest.approx(one.se, rel=1e-9)


def test_a_unit_of_weight_two_counts_as_two_in_estimates():
    panel = make(USUAL)
    weights = np.ones(len(panel.units))
    weights[[0, 10, 20]] = 2.0
    rows = np.concatenate([np.arange(len(panel.units)), [0, 10, 20]])
    doubled = Panel(
        np.arange(len(rows)).astype(str), panel.periods, panel.outcome[rows], panel.denominator[rows],
        panel.adoption[rows], panel.covariates[rows], ("x",),
    )  # fmt: skip
    for options in (StaggeredOptions(covariates=("x",)), NOT_YET, *(StaggeredOptions(method=m) for m in METHODS[1:])):
        weighted = estimate_staggered(make(USUAL, weights=weights), DIFFERENCE, options=options)
        assert weighted.value == pytest.approx(estimate_staggered(doubled, DIFFERENCE, options=options).value, rel=1e-9)


def test_too_few_comparison_units_for_the_covariates_are_named():
    fit = compute_cells(
        np.zeros((1, 8)),
        treated=np.arange(8) >= 2,
        covariates=np.random.default_rng(1).normal(size=(8, 3)),
        weights=np.ones(8),
        adjustment="regression",
    )
    assert "only 2 comparison units" in fit.problem
    assert np.isnan(fit.value).all()
