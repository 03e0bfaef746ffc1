"""Two-way fixed effects, event studies and their decomposition: that the parts agree with their formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.cohort.panel import Panel
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.area.bacon import compute_bacon
from evalkit.estimators.area.did import DidOptions, estimate_did, estimate_did_event_study
from evalkit.estimators.area.did_cells import build_cells, static_exposure
from evalkit.estimators.area.twfe import compute_twfe, partial_out
from tests.did_panels import did_panel
from tests.panels import DIFFERENCE, ESTIMAND

POISSON = DidOptions(family="poisson")


def panel(**changes) -> Panel:
    return did_panel(np.random.default_rng(4), **changes)


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
    from evalkit.estimators.area.contrasts import one_start
    from evalkit.estimators.area.synthetic_control import difference_in_differences

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
