"""What difference-in-differences refuses, and what it says beside a number that is not to be trusted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.area.bacon import compute_bacon
from evalkit.estimators.area.did import DidOptions, estimate_did, estimate_did_event_study
from evalkit.estimators.area.did_cells import build_cells, static_exposure
from evalkit.estimators.area.twfe import compute_twfe
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


@pytest.mark.parametrize("treated", [1, 5, 28, 32])
@pytest.mark.parametrize("cluster_by", ["unit", "unit_and_period"])
def test_few_clusters_on_a_side_are_refused(treated, cluster_by):
    text = refusal(NotEstimable, panel(treated=treated), cluster_by=cluster_by)
    assert f"Got {treated} treated and {33 - treated} untreated clusters" in text
    assert f'errors="cluster", cluster_by="{cluster_by}"' in text
    for alternative in ('errors="permutation"', '"conley_taber"', '"wild_bootstrap"', "6 or more"):
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
    found = estimate_did(panel(treated=10, rho=0.0), DIFFERENCE, options=DidOptions(errors=errors))
    assert found.lower < found.value < found.upper
    assert any(c.name == "error_assumptions" for c in found.checks)


@pytest.mark.parametrize("errors", ["iid", "heteroskedastic", "newey_west", "driscoll_kraay"])
def test_with_few_treated_no_residual_can_vouch_for_errors_without_clusters(errors):
    found = estimate_did(panel(treated=1, rho=0.0), DIFFERENCE, options=DidOptions(errors=errors))
    assert math.isfinite(found.value)
    assert math.isnan(found.lower)
    assert {"autocorrelation", "interval"} <= failed(found)


@pytest.mark.parametrize("errors", ["iid", "newey_west", "driscoll_kraay"])
def test_counts_get_no_interval_from_errors_without_clusters(errors):
    p = panel(family="poisson", rho=0.0, treated=12)
    for family, estimand in (("poisson", ESTIMAND), ("gaussian", DIFFERENCE)):
        rates = replace(p, denominator=p.denominator * np.linspace(1, 2, len(p.units))[:, None])
        found = estimate_did(rates, estimand, options=DidOptions(family=family, errors=errors))
        assert math.isfinite(found.value)
        assert math.isnan(found.lower)
        assert {"counts_hide_correlation", "interval"} <= failed(found)
    clustered = estimate_did(p, ESTIMAND, options=POISSON)
    assert clustered.lower < clustered.value < clustered.upper


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
    exact = replace(additive, outcome=additive.outcome + 2.0 * (np.arange(25) >= additive.adoption[:, None]))
    for errors in ("cluster", "wild_bootstrap", "conley_taber"):
        assert "fits it perfectly" in refusal(NotEstimable, exact, errors=errors)


def test_a_variance_below_nought_is_not_passed_off_as_an_error():
    """Two ways, V = V_unit + V_period - V_both; found by search over small panels."""
    for seed in range(400):
        p = did_panel(np.random.default_rng(seed), units=12, treated=6, periods=4, before=2, rho=0.0)
        exposed, kept = static_exposure(p, anticipation_periods=0, exposure=None)
        cells = build_cells(p, exposed[:, :, None], kept, family="gaussian", covariates=(), clusters=None)
        if compute_twfe(cells, cluster_by="unit_and_period").covariance[0, 0] <= 0:
            break
    found = estimate_did(p, DIFFERENCE, options=DidOptions(cluster_by="unit_and_period"))
    assert math.isnan(found.se)
    assert math.isnan(found.lower)
    assert {"interval", "few_periods"} <= failed(found)


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
