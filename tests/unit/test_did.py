"""Two-way fixed effects: what it refuses, what it says beside a number, and that its parts agree."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.bacon import compute_bacon
from evalkit.estimators.did import DidOptions, estimate_did, estimate_did_event_study
from evalkit.estimators.did_cells import build_cells, static_exposure
from evalkit.estimators.twfe import compute_twfe, partial_out
from tests.did_panels import did_panel
from tests.panels import DIFFERENCE, ESTIMAND

POISSON = DidOptions(family="poisson")


def panel(**changes) -> Panel:
    return did_panel(np.random.default_rng(4), **changes)


def failed(estimate) -> set[str]:
    return {c.name for c in estimate.checks if c.passed is False}


def refusal(error: type[Exception], panel: Panel, estimand=DIFFERENCE, rng=None, **options) -> str:
    with pytest.raises(error) as caught:
        estimate_did(panel, estimand, options=DidOptions(**options), rng=rng)
    return str(caught.value)


# The number itself.


def test_one_adoption_is_the_difference_of_four_means():
    p = panel(effect=1.0)
    y, t = p.values, p.treated
    change = y[:, 12:].mean(axis=1) - y[:, :12].mean(axis=1)
    assert estimate_did(p, DIFFERENCE).value == pytest.approx(change[t].mean() - change[~t].mean(), rel=1e-10)


def test_the_interval_is_t_with_one_less_than_the_clusters():
    from scipy import stats

    found = estimate_did(panel(), DIFFERENCE, options=DidOptions(level=0.9))
    assert (found.upper - found.lower) / 2 == pytest.approx(stats.t.ppf(0.95, 32) * found.se, rel=1e-12)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.value) / found.se, 32), rel=1e-12)


@pytest.mark.parametrize("weighted", ["equal", "unequal"])
def test_poisson_with_offset_equals_a_glm_on_dummies(weighted):
    p = panel(family="poisson", effect=0.3)
    if weighted == "unequal":
        p = replace(p, weights=np.random.default_rng(0).uniform(0.5, 2, p.outcome.shape))
    exposed, kept = static_exposure(p, anticipation_periods=0, exposure=None)
    cells = build_cells(p, exposed[:, :, None], kept, family="poisson", covariates=(), clusters=None)
    design = np.column_stack(
        [cells.effects, cells.unit[:, None] == np.arange(33), cells.period[:, None] == np.arange(1, 25)]
    ).astype(float)
    glm = sm.GLM(cells.outcome, design, sm.families.Poisson(), offset=cells.offset, var_weights=cells.weights)
    oracle = glm.fit(tol=1e-14)
    fit = compute_twfe(cells, family="poisson", errors="iid", small_sample="none")
    assert fit.coefficients[0] == pytest.approx(oracle.params[0], rel=1e-8)
    assert math.sqrt(fit.covariance[0, 0]) == pytest.approx(oracle.bse[0], rel=1e-8)
    found = estimate_did(p, ESTIMAND, options=POISSON)
    assert found.value == pytest.approx(math.exp(oracle.params[0]), rel=1e-8)
    assert found.lower < found.value < found.upper
    assert found.n_events == min(p.outcome[:8, 12:].sum(), p.outcome[:8, :12].sum())


def test_partialling_out_is_exact_in_an_incomplete_weighted_panel():
    p = panel(stagger=1)
    p = replace(p, weights=np.random.default_rng(0).uniform(0.5, 2, p.outcome.shape))
    exposed, kept = static_exposure(p, anticipation_periods=2, exposure=None)
    cells = build_cells(p, exposed[:, :, None], kept, family="gaussian", covariates=(), clusters=None)
    dummies = np.column_stack([cells.unit[:, None] == np.arange(33), cells.period[:, None] == np.arange(25)]).astype(
        float
    )
    root = np.sqrt(cells.weights)[:, None]
    want = cells.outcome - dummies @ np.linalg.lstsq(root * dummies, root[:, 0] * cells.outcome, rcond=None)[0]
    np.testing.assert_allclose(partial_out(cells.outcome[:, None], cells)[:, 0], want, atol=1e-10)


@pytest.mark.parametrize("lags", [0, 3])
def test_newey_west_and_driscoll_kraay_follow_their_formulas(lags):
    p = panel()
    exposed, kept = static_exposure(p, anticipation_periods=0, exposure=None)
    cells = build_cells(p, exposed[:, :, None], kept, family="gaussian", covariates=(), clusters=None)
    d = partial_out(cells.effects, cells).reshape(p.outcome.shape)
    fit = compute_twfe(cells, errors="newey_west", lags=lags, small_sample="none")
    scores = d * fit.residuals.reshape(p.outcome.shape)

    def bartlett(s: np.ndarray) -> float:
        total = (s**2).sum()
        for lag in range(1, lags + 1):
            total += 2 * (1 - lag / (lags + 1)) * (s[:, lag:] * s[:, :-lag]).sum()
        return total / (d**2).sum() ** 2

    assert fit.covariance[0, 0] == pytest.approx(bartlett(scores), rel=1e-9)
    kraay = compute_twfe(cells, errors="driscoll_kraay", lags=lags, small_sample="none")
    assert kraay.covariance[0, 0] == pytest.approx(bartlett(scores.sum(axis=0, keepdims=True)), rel=1e-9)


def test_clusters_may_be_coarser_than_units_and_go_two_ways():
    p = panel(treated=16)
    pairs = {u: f"pair {i % 16}" for i, u in enumerate(p.units)}
    coarse = estimate_did(p, DIFFERENCE, options=DidOptions(clusters=pairs))
    text = next(c.text for c in coarse.checks if c.name == "error_assumptions")
    assert "t has 15 degrees" in text
    fine = estimate_did(p, DIFFERENCE)
    both = estimate_did(p, DIFFERENCE, options=DidOptions(cluster_by="unit_and_period"))
    assert coarse.value == pytest.approx(fine.value)
    assert len({round(e.se, 10) for e in (coarse, fine, both)}) == 3


def test_permutation_gives_the_number_of_the_regression():
    from evalkit.estimators.contrasts import one_start
    from evalkit.estimators.synthetic_control import difference_in_differences

    p = panel(treated=1, effect=2.0)
    found = estimate_did(p, DIFFERENCE, options=DidOptions(errors="permutation"))
    first = one_start(p.adoption, p.periods)
    design = difference_in_differences(p.values, treated=p.treated[None], donors=~p.treated[None], first=first)
    assert found.value == pytest.approx(design.effect[0], rel=1e-10)
    assert found.lower < found.value < found.upper
    assert found.p_value >= 1 / 33
    # Anticipation: the design is run without those periods, the regression without those cells; one number.
    ahead = estimate_did(p, DIFFERENCE, options=DidOptions(errors="permutation", anticipation_periods=3))
    short = p.without(9.0, 12.0)
    design = difference_in_differences(short.values, treated=p.treated[None], donors=~p.treated[None], first=9)
    assert ahead.value == pytest.approx(design.effect[0], rel=1e-10)


def test_adoption_within_a_period_leaves_that_period_out():
    p = panel(effect=1.0)
    within = replace(p, adoption=p.adoption + 0.5)
    found = estimate_did(within, DIFFERENCE)
    y, t = p.values, p.treated
    kept = np.delete(np.arange(25), 12)
    change = y[:, 13:].mean(axis=1) - y[:, :12].mean(axis=1)
    assert found.value == pytest.approx(change[t].mean() - change[~t].mean(), rel=1e-10)
    assert kept.size == 24
    left_out = next(c for c in found.checks if c.name == "cells_left_out")
    assert left_out.value == 8


def test_a_share_of_exposure_stands_in_for_nought_and_one():
    p = panel(effect=0.0)
    share = np.where(np.arange(25) >= p.adoption[:, None], 1.0, 0.0)
    share[:8, 12] = 0.25
    shared = replace(p, outcome=p.outcome + 2.0 * share, covariates=share[:, :, None], covariate_names=("share",))
    plain = estimate_did(replace(p, covariates=share[:, :, None], covariate_names=("share",)), DIFFERENCE,
                         options=DidOptions(exposure="share"))  # fmt: skip
    found = estimate_did(shared, DIFFERENCE, options=DidOptions(exposure="share"))
    assert found.value - plain.value == pytest.approx(2.0, rel=1e-9)


# What is refused, and what is said.


@pytest.mark.parametrize("treated", [1, 5, 28, 32])
@pytest.mark.parametrize("cluster_by", ["unit", "unit_and_period"])
def test_few_clusters_on_a_side_are_refused(treated, cluster_by):
    text = refusal(NotEstimable, panel(treated=treated), cluster_by=cluster_by)
    assert f"Got {treated} treated and {33 - treated} untreated clusters" in text
    assert f'errors="cluster", cluster_by="{cluster_by}"' in text
    for alternative in ('errors="permutation"', 'errors="conley_taber"', 'errors="wild_bootstrap"', "6 or more"):
        assert alternative in text


@pytest.mark.parametrize(("treated", "passes"), [(6, False), (9, False), (10, True), (24, False), (23, True)])
def test_between_refused_and_comfortable_a_check_fails(treated, passes):
    found = estimate_did(panel(treated=treated), DIFFERENCE)
    assert math.isfinite(found.lower)
    assert ("clusters_per_side" not in failed(found)) == passes


def test_coarser_clusters_are_what_is_counted():
    p = panel(treated=12)
    four = {u: f"region {i // 3}" for i, u in enumerate(p.units)}
    assert "Got 4 treated and 7 untreated clusters" in refusal(NotEstimable, p, clusters=four)


def test_refusal_reaches_poisson_and_the_event_study_and_the_unrestricted_bootstrap():
    p = panel(treated=1, family="poisson")
    assert "1 treated" in refusal(NotEstimable, p, ESTIMAND, family="poisson")
    with pytest.raises(NotEstimable, match="1 treated"):
        estimate_did_event_study(panel(treated=1), DIFFERENCE)
    rng = np.random.default_rng(0)
    text = refusal(NotEstimable, panel(treated=2), rng=rng, errors="wild_bootstrap", wild_residuals="unrestricted")
    assert "unrestricted" in text


def test_staggered_adopters_without_never_treated_are_counted_by_when_they_adopt():
    p = panel(units=12, treated=12, stagger=1, before=5, periods=25)
    assert p.treated.all()
    found = estimate_did(p, DIFFERENCE)
    assert next(c for c in found.checks if c.name == "clusters_per_side").value == 11
    early = replace(p, adoption=np.where(np.arange(12) == 0, 5.0, 15.0))
    assert "1 treated and 11 untreated" in refusal(NotEstimable, early)


@pytest.mark.parametrize("errors", ["iid", "heteroskedastic", "newey_west", "driscoll_kraay", "cluster"])
@pytest.mark.parametrize("treated", [1, 12])
def test_errors_blind_to_serial_correlation_give_no_interval_under_it(errors, treated):
    options = DidOptions(errors=errors, cluster_by="period" if errors == "cluster" else "unit")
    found = estimate_did(panel(treated=treated, rho=0.7), DIFFERENCE, options=options)
    assert math.isfinite(found.value)
    assert all(math.isnan(x) for x in (found.lower, found.upper, found.se, found.p_value, found.level))
    assert {"autocorrelation", "interval"} <= failed(found)


@pytest.mark.parametrize("errors", ["iid", "heteroskedastic", "newey_west", "driscoll_kraay"])
def test_errors_blind_to_serial_correlation_stand_without_it(errors):
    found = estimate_did(panel(treated=1, rho=0.0), DIFFERENCE, options=DidOptions(errors=errors))
    assert found.lower < found.value < found.upper
    assert any(c.name == "error_assumptions" for c in found.checks)


def test_poisson_variance_is_not_taken_on_trust():
    p = panel(family="poisson", rho=0.0, treated=8)
    loud = replace(p, outcome=p.outcome * 4)
    options = DidOptions(family="poisson", errors="iid")
    assert math.isfinite(estimate_did(p, ESTIMAND, options=options).lower)
    found = estimate_did(loud, ESTIMAND, options=options)
    assert math.isnan(found.lower)
    assert {"dispersion", "interval"} <= failed(found)


def test_one_period_before_is_said():
    found = estimate_did(panel(before=1), DIFFERENCE)
    assert "periods_before" in failed(found)
    assert "periods_before" not in failed(estimate_did(panel(before=2), DIFFERENCE))


def test_staggered_adoption_points_to_the_right_estimator_and_weighs_the_wrong_comparisons():
    p = panel(stagger=1)
    found = estimate_did(p, DIFFERENCE)
    check = next(c for c in found.checks if c.name == "staggered_adoption")
    assert check.passed is False
    assert "estimate_staggered" in check.text
    table = compute_bacon(p)
    assert check.value == pytest.approx(table.loc[table["kind"] == "later_vs_earlier", "weight"].sum())


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_a_constant_outcome_has_no_effect_to_estimate(family):
    p = panel(family=family)
    flat = replace(p, outcome=np.full_like(p.outcome, 3.0) * p.denominator)
    if family == "gaussian":
        assert "does not vary" in refusal(NotEstimable, flat)
    additive = replace(panel(), outcome=np.arange(33.0)[:, None] + np.arange(25.0))
    assert "does not vary" in refusal(NotEstimable, additive)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_bad_denominators_weights_and_outcomes_are_refused(bad):
    p = panel(family="poisson")
    spoilt = p.denominator.copy()
    spoilt[3, 4] = bad
    assert "denominators" in refusal(ParameterError, replace(p, denominator=spoilt), ESTIMAND, family="poisson")
    assert "weights" in refusal(ParameterError, replace(p, weights=spoilt), ESTIMAND, family="poisson")
    if bad != 0.0:
        outcome = p.outcome.copy()
        outcome[3, 4] = bad
        assert "outcomes" in refusal(ParameterError, replace(p, outcome=outcome), ESTIMAND, family="poisson")


def test_collinear_covariates_are_named():
    p = panel(covariates=2)
    x = p.covariates.copy()
    x[:, :, 0] = np.arange(33.0)[:, None]  # follows from unit effects
    text = refusal(ParameterError, replace(p, covariates=x), covariates=("x0", "x1"))
    assert '"x0" follows from unit and period effects' in text
    assert '"x1" follows' not in text
    x[:, :, 0] = 2 * x[:, :, 1] + np.arange(25.0)  # follows from the other and period effects
    assert '"x1" follows' in refusal(ParameterError, replace(p, covariates=x), covariates=("x0", "x1"))
    x[:, :, 0] = np.where(np.arange(25) >= p.adoption[:, None], 1.0, 0.0)
    text = refusal(NotEstimable, replace(p, covariates=x), covariates=("x0",))
    assert "explain it wholly" in text


def test_small_and_large_covariates_are_not_taken_for_collinear():
    p = panel(covariates=2)
    scaled = replace(p, covariates=p.covariates * np.array([1e-9, 1e9]) + np.array([1.0, 0.0]))
    plain = estimate_did(p, DIFFERENCE, options=DidOptions(covariates=("x1",))).value
    assert estimate_did(scaled, DIFFERENCE, options=DidOptions(covariates=("x1",))).value == pytest.approx(plain)
    found = estimate_did(scaled, DIFFERENCE, options=DidOptions(covariates=("x0", "x1"))).value
    assert found == pytest.approx(
        estimate_did(p, DIFFERENCE, options=DidOptions(covariates=("x0", "x1"))).value, rel=1e-6
    )


def test_every_bad_option_is_named_at_once():
    p = panel(covariates=1)
    text = refusal(
        ParameterError, p, ESTIMAND, level=1.0, replicates=5, anticipation_periods=-1, lags=2, covariates=("x9",),
        clusters={"area 00": "a", "nowhere": "b"}, exposure="y0",
    )  # fmt: skip
    said = ("gives no rate_ratio", 'Use family="poisson"', "level", "replicates", "anticipation_periods", "lags")
    named = ('no covariate "x9"', "32 units are given none", '"nowhere" is no unit', 'no covariate "y0"')
    for part in (*said, *named):
        assert part in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"errors": "clustered"}, 'Did you mean "cluster"'),
        ({"family": "poisson", "errors": "conley_taber"}, "estimate_rate_ratio_did"),
        ({"family": "poisson", "errors": "wild_bootstrap"}, "gaussian"),
        ({"errors": "iid", "cluster_by": "period"}, "cluster_by"),
        ({"errors": "permutation", "covariates": ("x0",)}, "covariates"),
        ({"cluster_by": "period", "clusters": "all"}, "coarser clusters"),
    ],
)
def test_options_at_odds_are_refused(options, said):
    p = panel(covariates=1)
    if options.get("clusters"):
        options = options | {"clusters": dict.fromkeys(p.units, 1)}
    estimand = ESTIMAND if options.get("family") == "poisson" else DIFFERENCE
    assert said in refusal(ParameterError, p, estimand, **options)


@pytest.mark.parametrize("errors", ["conley_taber", "permutation"])
def test_weights_are_refused_where_they_have_no_meaning(errors):
    p = replace(panel(treated=1), weights=np.random.default_rng(0).uniform(1, 2, (33, 25)))
    assert "weights" in refusal(ParameterError, p, errors=errors)


@pytest.mark.parametrize("errors", ["newey_west", "driscoll_kraay"])
def test_lags_have_no_meaning_over_gaps(errors):
    assert "gaps" in refusal(ParameterError, panel().without(8.0, 10.0), errors=errors)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda s, p: s * 2, "no share"),
        (lambda s, p: s + np.where(p.treated, 0, 0.5)[:, None], "never treated"),
        (lambda s, p: np.where(np.arange(25) == 3, 0.5, s) * p.treated[:, None], "before adoption"),
    ],
)
def test_a_share_of_exposure_must_be_one(spoil, said):
    p = panel()
    share = np.where(np.arange(25) >= p.adoption[:, None], 1.0, 0.0)
    p = replace(p, covariates=spoil(share, p)[:, :, None], covariate_names=("share",))
    assert said in refusal(ParameterError, p, exposure="share")


def test_panels_that_leave_nothing_before_or_after_are_refused():
    p = panel()
    assert "wholly after" in refusal(NotEstimable, replace(p, adoption=np.where(p.treated, 24.5, np.nan)))
    assert "wholly before" in refusal(NotEstimable, replace(p, adoption=np.where(p.treated, 0.5, np.nan)))
    assert "no period before" in refusal(NotEstimable, p, anticipation_periods=12)
    assert "estimate_its" in refusal(NotEstimable, p.only(("area 00",)))
    assert "no unit is treated" in refusal(NotEstimable, p.only(("area 20", "area 21")))
    assert "no more unit-periods" in refusal(NotEstimable, p.only(("area 00", "area 20")).between(11.0, 13.0))


def test_ratios_without_events_are_refused_or_said():
    p = panel(family="poisson")
    y = p.outcome.copy()
    y[:8, 12:] = 0
    assert "the ratio is 0" in refusal(NotEstimable, replace(p, outcome=y), ESTIMAND, family="poisson")
    y = p.outcome.copy()
    y[:8, :12] = 0
    assert "before adoption" in refusal(NotEstimable, replace(p, outcome=y), ESTIMAND, family="poisson")
    y = p.outcome.copy()
    y[:8] = 0
    assert "no event at all" in refusal(NotEstimable, replace(p, outcome=y), ESTIMAND, family="poisson")
    y = p.outcome.copy()
    y[20] = 0
    found = estimate_did(replace(p, outcome=y), ESTIMAND, options=POISSON)
    assert "without_events" in failed(found)
    without = tuple(u for u in p.units if u != "area 20")
    assert found.value == pytest.approx(estimate_did(p.only(without), ESTIMAND, options=POISSON).value, rel=1e-9)


# Event studies.


def test_the_event_study_of_one_adoption_is_differences_from_the_reference():
    p = panel(effect=1.0)
    path = estimate_did_event_study(p, DIFFERENCE)
    gap = p.values[p.treated].mean(axis=0) - p.values[~p.treated].mean(axis=0)
    np.testing.assert_allclose(path.value, np.delete(gap - gap[11], 11), atol=1e-9)
    assert path.reference == -1
    assert list(path.steps) == [*range(-12, -1), *range(13)]
    np.testing.assert_allclose(np.sqrt(np.diag(path.covariance)), path.se)
    # A symmetric, positive covariance can be handed to a sensitivity analysis.
    assert np.linalg.eigvalsh(path.covariance).min() > -1e-12


def test_anticipation_moves_the_reference_back():
    path = estimate_did_event_study(panel(), DIFFERENCE, options=DidOptions(anticipation_periods=2))
    assert path.reference == -3
    assert -1 in path.steps
    assert -3 not in path.steps


def test_steps_that_few_clusters_reach_have_no_error():
    path = estimate_did_event_study(panel(stagger=1), DIFFERENCE)
    failed_names = {c.name for c in path.checks if c.passed is False}
    assert {"staggered_adoption", "thin_steps"} <= failed_names
    seen = {s: sum(0 <= 12 + j + s < 25 for j in range(8)) for s in path.steps}
    assert all(math.isnan(e) == (seen[s] < 6) for s, e in zip(path.steps, path.se, strict=True))
    assert np.isfinite(path.value).all()
    masked = np.isnan(path.se)
    assert np.isnan(path.covariance[masked]).all()
    assert np.isfinite(path.covariance[np.ix_(~masked, ~masked)]).all()


def test_poisson_event_study_is_in_log_ratios():
    p = panel(family="poisson", effect=0.4)
    path = estimate_did_event_study(p, ESTIMAND, options=POISSON)
    assert path.value[path.steps >= 0].mean() == pytest.approx(0.4, abs=0.15)
    assert np.isfinite(path.lower).all()


@pytest.mark.parametrize("errors", ["conley_taber", "wild_bootstrap"])
def test_an_event_study_of_one_treated_unit_has_intervals_by_other_means(errors):
    options = DidOptions(errors=errors, replicates=199)
    path = estimate_did_event_study(panel(treated=1), DIFFERENCE, options=options, rng=np.random.default_rng(0))
    assert (path.lower < path.value).all()
    assert (path.value < path.upper).all()
    assert np.isnan(path.covariance).all()


def test_event_studies_that_are_not_identified_are_refused():
    with pytest.raises(NotEstimable, match="estimate_staggered"):
        estimate_did_event_study(panel(units=12, treated=12, stagger=1, before=5), DIFFERENCE)
    with pytest.raises(NotEstimable, match="conley_taber"):
        estimate_did_event_study(panel(treated=1), DIFFERENCE, options=DidOptions(errors="permutation"))
    with pytest.raises(NotEstimable, match="wholly"):
        estimate_did_event_study(panel(before=2), DIFFERENCE, options=DidOptions(anticipation_periods=4))


# The decomposition.


def test_bacon_adds_to_the_regression_and_needs_no_never_treated():
    for p in (panel(stagger=1), panel(units=12, treated=12, stagger=1, before=5)):
        table = compute_bacon(p)
        exposed, kept = static_exposure(p, anticipation_periods=0, exposure=None)
        cells = build_cells(p, exposed[:, :, None], kept, family="gaussian", covariates=(), clusters=None)
        total = (table["estimate"] * table["weight"]).sum()
        assert total == pytest.approx(compute_twfe(cells).coefficients[0], rel=1e-9)
        assert table["weight"].min() > 0


def test_bacon_keeps_dates_and_refuses_what_it_cannot_decompose():
    frame = pd.DataFrame(
        [(u, pd.Timestamp(2010 + t, 1, 1), float(u * t**2 + u), a)
         for u, a in enumerate([pd.Timestamp(2012, 1, 1), pd.Timestamp(2013, 1, 1), pd.NaT]) for t in range(5)],
        columns=["u", "t", "y", "a"],
    )  # fmt: skip
    p = Panel.from_frame(frame, unit="u", period="t", outcome="y", adoption="a")
    table = compute_bacon(p)
    assert set(table["treated"]) == {pd.Timestamp(2012, 1, 1), pd.Timestamp(2013, 1, 1)}
    assert table["control"].isna().sum() == 2
    with pytest.raises(ParameterError, match="weights"):
        compute_bacon(replace(p, weights=np.arange(1.0, 16).reshape(3, 5)))
    with pytest.raises(NotEstimable, match="nothing to compare"):
        compute_bacon(p.only((0,)))
