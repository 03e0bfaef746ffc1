"""The gate, Conley and Taber's interval and the wild cluster bootstrap."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.area.conley_taber import compute_conley_taber
from evalkit.estimators.area.did import DidOptions, estimate_did
from evalkit.estimators.area.did_cells import build_cells, static_exposure
from evalkit.estimators.area.gate import check_autocorrelation, count_sides, refuse_few_treated
from evalkit.estimators.area.twfe import Cells, compute_twfe
from evalkit.estimators.area.wild_bootstrap import WildOptions, compute_wild_bootstrap
from tests.did_panels import autoregressive, did_panel
from tests.panels import DIFFERENCE


def cells_of(panel, covariates: tuple[str, ...] = (), clusters=None) -> Cells:
    exposed, kept = static_exposure(panel, anticipation_periods=0, exposure=None)
    return build_cells(panel, exposed[:, :, None], kept, family="gaussian", covariates=covariates, clusters=clusters)


def fixed_cells(effect: float = 0.2) -> Cells:
    """Ten clusters of six periods, five treated, all by formula, so that another program can be given the same."""
    unit, period = np.divmod(np.arange(60), 6)
    d = ((unit < 5) & (period >= 3)).astype(float)
    y = np.sin(1.7 * unit + 0.3) + 0.4 * np.cos(2.3 * period + unit) + 0.25 * np.sin(0.9 * unit * period) + effect * d
    return Cells(unit, period, unit, y, np.ones(60), np.zeros(60), d[:, None], np.empty((60, 0)))


# The gate.


def test_the_gate_says_what_was_asked_what_there_is_and_what_is_needed():
    with pytest.raises(NotEstimable) as caught:
        refuse_few_treated(1, 32, asked="HC1 by borough")
    fault = caught.value.faults[0]
    assert fault.where == "HC1 by borough"
    assert fault.got == "1 treated and 32 untreated clusters"
    assert fault.allowed == "6 or more on each side"
    assert "so few treated clusters" in fault.what
    assert "permutation" in fault.next_step
    with pytest.raises(NotEstimable, match="so few untreated clusters"):
        refuse_few_treated(32, 5, asked="x")


@pytest.mark.parametrize(("sides", "passed"), [((6, 27), False), ((9, 24), False), ((10, 23), True), ((200, 7), False)])
def test_between_the_thresholds_the_check_fails(sides, passed):
    check = refuse_few_treated(*sides, asked="x")
    assert check.passed is passed
    assert check.value == min(sides)


def test_sides_are_counted_by_cluster():
    starts = np.array([3.0, 3.0, np.nan, np.nan, np.nan])
    assert count_sides(starts, np.arange(5)) == (2, 3)
    assert count_sides(starts, np.array(["a", "a", "b", "b", "c"])) == (1, 2)
    # A cluster that holds both counts on both sides.
    assert count_sides(starts, np.array(["a", "b", "b", "c", "c"])) == (2, 2)
    # Nobody never treated: all but the last are treated, all but the first are comparisons.
    assert count_sides(np.array([1.0, 2.0, 3.0]), np.arange(3)) == (2, 2)
    assert count_sides(np.array([1.0, 3.0, 3.0]), np.arange(3)) == (1, 2)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6])
def test_autocorrelation_is_found_without_the_bias_of_demeaning(rho):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(60):
        e = autoregressive(rng, shape=(33, 25), rho=rho)
        e -= e.mean(axis=1, keepdims=True) + e.mean(axis=0) - e.mean()
        found.append(check_autocorrelation(e, errors="iid", n_treated=1).value)
    assert np.mean(found) == pytest.approx(rho, abs=0.03)


def test_autocorrelation_skips_cells_left_out_and_is_not_passed_unseen():
    e = autoregressive(np.random.default_rng(1), shape=(33, 25), rho=0.6)
    holes = e.copy()
    holes[:3, 10:12] = np.nan
    full = check_autocorrelation(e, errors="iid", n_treated=1).value
    assert check_autocorrelation(holes, errors="iid", n_treated=1).value == pytest.approx(full, abs=0.03)
    short = check_autocorrelation(e[:, :3], errors="iid", n_treated=1)
    assert short.passed is False
    assert math.isnan(short.value)


# Conley and Taber.


def test_with_one_treated_unit_draws_are_the_changes_of_the_untreated():
    p = did_panel(np.random.default_rng(2), treated=1)
    found = compute_conley_taber(cells_of(p), p.treated)
    change = p.values[1:, 12:].mean(axis=1) - p.values[1:, :12].mean(axis=1)
    want = (change - change.mean()) * math.sqrt(33 / 31)
    np.testing.assert_allclose(np.sort(found.draws[:, 0]), np.sort(want), atol=1e-10)
    assert found.value[0] == pytest.approx(compute_twfe(cells_of(p)).coefficients[0], rel=1e-9)
    assert found.upper[0] - found.value[0] == pytest.approx(np.abs(want).max())
    assert found.level == pytest.approx(1 - 1 / 33)
    assert found.smallest_p == pytest.approx(1 / 33)


def test_each_treated_unit_keeps_its_own_periods():
    """Two treated 8 periods apart: a draw weighs each untreated path by that unit's own exposure."""
    p = did_panel(np.random.default_rng(2), treated=2, stagger=8, units=30)
    found = compute_conley_taber(cells_of(p), p.treated)
    assert len(found.draws) == 28**2
    x = (np.arange(25) >= p.adoption[:, None]).astype(float)
    d = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()
    y = p.values - p.values.mean(axis=1, keepdims=True) - p.values.mean(axis=0) + p.values.mean()
    left = y - d * (d * y).sum() / (d**2).sum()
    parts = [left[2:] @ d[j] / (d**2).sum() for j in (0, 1)]
    want = (parts[0][:, None] + parts[1]).ravel() * math.sqrt(30 / 27)
    np.testing.assert_allclose(np.sort(found.draws[:, 0]), np.sort(want), atol=1e-10)


def test_conley_taber_with_covariates_gives_the_number_of_the_regression():
    p = did_panel(np.random.default_rng(2), treated=1, covariates=2)
    cells = cells_of(p, ("x0", "x1"))
    found = compute_conley_taber(cells, p.treated)
    assert found.value[0] == pytest.approx(compute_twfe(cells).coefficients[0], rel=1e-8)


def test_conley_taber_refuses_what_it_cannot_learn_from():
    p = did_panel(np.random.default_rng(2), units=10, treated=1)
    with pytest.raises(NotEstimable, match="10 or more"):
        compute_conley_taber(cells_of(p), p.treated)
    p = did_panel(np.random.default_rng(2), units=20, treated=2)
    with pytest.raises(NotEstimable, match="19 or more"):
        compute_conley_taber(cells_of(p), p.treated)
    p = did_panel(np.random.default_rng(2), treated=4)
    with pytest.raises(ParameterError, match="default_rng"):
        compute_conley_taber(cells_of(p), p.treated)


def test_with_too_few_untreated_for_the_level_the_interval_is_withheld_in_sight():
    p = did_panel(np.random.default_rng(2), units=15, treated=1)
    found = estimate_did(p, DIFFERENCE, options=DidOptions(errors="conley_taber"))
    assert math.isfinite(found.value)
    assert math.isnan(found.lower)
    assert math.isnan(found.level)
    assert any(c.name == "interval" and c.passed is False for c in found.checks)
    assert math.isfinite(estimate_did(p, DIFFERENCE, options=DidOptions(errors="conley_taber", level=0.9)).lower)


def test_units_of_another_size_are_pointed_out():
    p = did_panel(np.random.default_rng(2), treated=1)
    size = np.where(p.treated, 10.0, 1.0)[:, None] * np.ones(25)
    large = replace(p, denominator=size, outcome=p.outcome * size)
    found = estimate_did(large, DIFFERENCE, options=DidOptions(errors="conley_taber"))
    check = next(c for c in found.checks if c.name == "alike_units")
    assert check.passed is False
    assert check.value == pytest.approx(10)


# Wild cluster bootstrap.

# wildboottest 0.3.2 (MIT), B=9999 of which all 2^10 sign patterns are taken, on the regression with dummies of
# `fixed_cells`: statistic 1.40306; p 0.15625 with the null imposed, 0.162109 without. Exact: no draws.
WILDBOOTTEST = {"restricted": 160 / 1024, "unrestricted": 166 / 1024}


@pytest.mark.parametrize("residuals", WILDBOOTTEST)
def test_listed_patterns_equal_wildboottest(residuals):
    found = compute_wild_bootstrap(fixed_cells(), options=WildOptions(residuals=residuals))
    assert found.listed
    assert found.draws == 1024
    assert found.p_value == pytest.approx(WILDBOOTTEST[residuals], abs=1e-12)
    assert found.smallest_p == 2 / 1024


# wildboottest 0.3.2, B = 99,999, seed 12, homicide on `post`, 50 states (did_castle of Cheng and Hoekstra, unweighted):
# 0.175692 restricted, 0.177422 unrestricted; Monte-Carlo error 0.0012 there and 0.0038 of 9,999 draws here.
@pytest.mark.parametrize(("residuals", "p"), [("restricted", 0.175692), ("unrestricted", 0.177422)])
def test_drawn_patterns_equal_wildboottest_within_monte_carlo_error(residuals, p):
    import causaldata

    from evalkit.cohort.panel import Panel

    frame = causaldata.castle.load_pandas().data
    adopted = frame["year"].where(frame["post"] == 1).groupby(frame["sid"]).transform("min") - 1
    panel = Panel.from_frame(
        frame.assign(adopted=adopted), unit="sid", period="year", outcome="l_homicide", adoption="adopted"
    )
    found = compute_wild_bootstrap(
        cells_of(panel), options=WildOptions(residuals=residuals), rng=np.random.default_rng(3)
    )
    assert not found.listed
    assert found.p_value == pytest.approx(p, abs=4 * math.hypot(0.0038, 0.0012))


def naive_p(cells: Cells, null: float, patterns: np.ndarray, residuals: str) -> float:
    """The same test by refitting the regression on every dummy for each pattern."""
    units, periods = cells.unit.max() + 1, cells.period.max() + 1
    dummies = [cells.unit[:, None] == np.arange(units), cells.period[:, None] == np.arange(1, periods)]
    x = np.column_stack([cells.effects, *dummies, cells.covariates]).astype(float)
    root = np.sqrt(cells.weights)
    x, y = x * root[:, None], cells.outcome * root
    bread = np.linalg.inv(x.T @ x)

    def t(y: np.ndarray, against: float) -> float:
        beta = bread @ (x.T @ y)
        scores = x * (y - x @ beta)[:, None]
        meat = sum(np.outer(s, s) for s in (scores[cells.cluster == g].sum(axis=0) for g in np.unique(cells.cluster)))
        return abs(beta[0] - against) / math.sqrt((bread @ meat @ bread)[0, 0])

    if residuals == "restricted":
        rest = x[:, 1:]
        fitted = x[:, 0] * null + rest @ np.linalg.lstsq(rest, y - x[:, 0] * null, rcond=None)[0]
        centre = null
    else:
        beta = bread @ (x.T @ y)
        fitted, centre = x @ beta, beta[0]
    observed = t(y, null)
    drawn = [t(fitted + v[cells.cluster] * (y - fitted), centre) for v in patterns]
    return float(np.mean(np.array(drawn) >= observed * (1 - 1e-9)))


@pytest.mark.parametrize("residuals", ["restricted", "unrestricted"])
@pytest.mark.parametrize("null", [0.0, 0.3])
def test_cluster_sums_give_what_refitting_gives(residuals, null):
    """Weighted, with a covariate, coarser clusters and cells left out; the null moved by taking it off the outcome."""
    rng = np.random.default_rng(8)
    p = did_panel(rng, units=14, treated=6, periods=7, before=3, covariates=1, effect=0.5)
    p = replace(p, weights=rng.uniform(0.5, 2, p.outcome.shape), adoption=p.adoption + np.arange(14) % 2)
    cells = cells_of(p, ("x0",), clusters={u: i // 2 for i, u in enumerate(p.units)})
    moved = replace(cells, outcome=cells.outcome - null * cells.effects[:, 0])
    found = compute_wild_bootstrap(moved, options=WildOptions(residuals=residuals))
    assert found.draws == 2**7
    patterns = 1.0 - 2.0 * ((np.arange(2**7)[:, None] >> np.arange(7)) & 1)
    assert found.p_value == pytest.approx(naive_p(cells, null, patterns, residuals), abs=1e-12)


@pytest.mark.parametrize("residuals", ["restricted", "unrestricted"])
def test_the_interval_is_what_the_test_does_not_reject(residuals):
    options = WildOptions(residuals=residuals, level=0.9)
    found = compute_wild_bootstrap(fixed_cells(), options=options)
    cells = fixed_cells()

    def p(null: float) -> float:
        moved = replace(cells, outcome=cells.outcome - null * cells.effects[:, 0])
        return compute_wild_bootstrap(moved, options=options).p_value

    width = found.upper - found.lower
    for end, outward in ((found.lower, -1), (found.upper, 1)):
        assert p(end - outward * 1e-6 * width) > 0.1
        assert p(end + outward * 1e-6 * width) <= 0.1


def test_webb_weights_have_mean_nought_and_variance_one():
    from evalkit.estimators.area.wild_bootstrap import _WEBB

    assert _WEBB.sum() == pytest.approx(0)
    assert (_WEBB**2).mean() == pytest.approx(1)


def test_with_very_few_clusters_listing_says_so_and_webb_goes_on():
    p = did_panel(np.random.default_rng(0), units=5, treated=2, periods=8, before=4)
    found = estimate_did(p, DIFFERENCE, options=DidOptions(errors="wild_bootstrap"))
    assert math.isnan(found.lower)
    names = {c.name for c in found.checks if c.passed is False}
    assert {"interval", "wild_bootstrap_power"} <= names
    webb = DidOptions(errors="wild_bootstrap", wild_weights="webb", replicates=999)
    assert not math.isnan(estimate_did(p, DIFFERENCE, options=webb, rng=np.random.default_rng(1)).lower)


def test_clusters_without_residuals_are_refused():
    p = did_panel(np.random.default_rng(0), units=2, treated=1)
    with pytest.raises(NotEstimable, match="no residual to flip"):
        compute_wild_bootstrap(cells_of(p))
    p = did_panel(np.random.default_rng(0), treated=1)
    calm = replace(p, outcome=np.where(p.treated[:, None], p.outcome, 1.0))
    with pytest.raises(NotEstimable, match="do not stray"):
        compute_conley_taber(cells_of(calm), p.treated)


def test_draws_need_a_generator_and_whole_units():
    p = did_panel(np.random.default_rng(0))
    with pytest.raises(ParameterError, match="default_rng"):
        estimate_did(p, DIFFERENCE, options=DidOptions(errors="wild_bootstrap"))
    cells = cells_of(p)
    with pytest.raises(ParameterError, match="whole units"):
        compute_wild_bootstrap(replace(cells, cluster=cells.period), rng=np.random.default_rng(0))


def test_one_seed_gives_one_interval():
    p = did_panel(np.random.default_rng(0))
    ends = [
        estimate_did(p, DIFFERENCE, options=DidOptions(errors="wild_bootstrap"), rng=np.random.default_rng(5)).lower
        for _ in range(2)
    ]
    assert ends[0] == ends[1]
