"""Interrupted time series: designs, refusals, gaps, and numbers that can be had another way."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.tsa.statespace.sarimax import SARIMAX

from evalkit.cohort.panel import Panel
from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.result import Check, Estimate
from evalkit.estimators.area.its import ItsFit, estimate_its, fit_its
from evalkit.estimators.area.its_design import ItsOptions, build_design, grid_places
from evalkit.estimators.area.its_errors import (
    autocorrelations,
    compute_gls,
    default_lags,
    fit_prais_winsten,
    ljung_box,
    mixture_interval,
    newey_west,
    series_gaps,
)
from evalkit.estimators.area.its_reml import fit_reml_ar

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))


def estimand(scale: Scale) -> Estimand:
    return Estimand("entry", "ATT", "people", WINDOW, scale)


def make_series(
    *, before: int = 12, after: int = 13, rho: float = 0.4, level: float = -3.0, slope: float = 0.2,
    units: int = 1, seed: int = 1, counts: bool = False,
) -> Panel:  # fmt: skip
    """One treated unit and `units - 1` untreated, AR(1) around a trend; effects on the treated only."""
    rng = np.random.default_rng(seed)
    time = np.arange(before + after, dtype=float)
    noise = np.empty((units, len(time)))
    noise[:, 0] = rng.normal(size=units)
    for t in range(1, len(time)):
        noise[:, t] = rho * noise[:, t - 1] + math.sqrt(1 - rho**2) * rng.normal(size=units)
    values = 40 + 0.3 * time + noise
    values[0] += np.where(time >= before, level + slope * (time - before), 0)
    denominator = np.full_like(values, 50.0) + np.arange(units)[:, None]
    outcome = rng.poisson(values * 2).astype(float) if counts else values * denominator
    adoption = np.where(np.arange(units) == 0, float(before), np.nan)
    names = np.array([f"area {i}" for i in range(units)])
    return Panel(names, time, outcome, denominator, adoption, np.empty((units, len(time), 0)))


def check(result: Estimate | ItsFit, name: str) -> Check:
    return next(c for c in result.checks if c.name == name)


def coefficient(fit: ItsFit, name: str, what: str = "value") -> float:
    return float(fit.coefficients.set_index("name").loc[name, what])


@pytest.mark.parametrize("errors", ["reml_ar", "ml_ar", "prais_winsten", "newey_west", "model"])
def test_a_series_without_noise_gives_back_its_effect(errors: str) -> None:
    panel = make_series(level=-3, slope=0.2)
    time = panel.periods
    exact = 40 + 0.3 * time + np.where(time >= 12, -3 + 0.2 * (time - 12), 0)
    wiggle = 1e-6 * np.random.default_rng(0).normal(size=len(time))
    panel = replace(panel, outcome=(exact + wiggle) * panel.denominator)
    options = ItsOptions(errors=errors)
    expected = {
        "level_change": -3,
        "slope_change": 0.2,
        "mean_difference": -3 + 0.2 * 6,
        "rate_ratio": exact[12:].sum() / (40 + 0.3 * time[12:]).sum(),
    }
    for scale, value in expected.items():
        found = estimate_its(panel, estimand(scale), options=options)
        assert found.value == pytest.approx(value, abs=2e-5), scale


def test_a_series_that_leaves_no_residual_is_refused() -> None:
    panel = make_series()
    straight = (40 + 0.3 * panel.periods)[None] * panel.denominator
    for errors in ("reml_ar", "ml_ar", "prais_winsten", "model"):
        with pytest.raises(NotEstimable, match="without a residual"):
            fit_its(replace(panel, outcome=straight), options=ItsOptions(errors=errors))
    flat = replace(panel, outcome=np.ones((1, 25)), denominator=np.ones((1, 25)))
    for options in (ItsOptions(family="quasipoisson"), ItsOptions(family="poisson", errors="newey_west")):
        with pytest.raises(NotEstimable, match="without a residual"):
            fit_its(flat, options=options)


def test_terms_that_run_off_are_refused() -> None:
    """Where one season never has an event, its log rate is minus infinity: no number may come of it."""
    panel = make_series(before=12, after=12)
    quarter = np.where(panel.periods % 4 == 2, 0.0, 1.0 + panel.periods % 3)
    sparse = replace(panel, outcome=quarter[None], denominator=np.ones((1, 24)))
    for options in (
        ItsOptions(family="poisson", errors="model", harmonics=2, periods_per_year=4),
        ItsOptions(family="quasipoisson", harmonics=2, periods_per_year=4),
    ):
        with pytest.raises(NotEstimable, match="does not settle"):
            fit_its(sparse, options=options)


def test_least_squares_against_statsmodels() -> None:
    panel = make_series()
    design = build_design(panel, ItsOptions())
    fit = fit_its(panel, options=ItsOptions(errors="newey_west", lags=2))
    ols = sm.OLS(design.rate, design.x).fit()
    nw = ols.get_robustcov_results("HAC", maxlags=2, use_correction=True)
    assert fit.coefficients["value"].to_numpy() == pytest.approx(ols.params, rel=1e-9)
    assert fit.coefficients["se"].to_numpy() == pytest.approx(nw.bse, rel=1e-9)
    assert fit.deviance == pytest.approx(ols.ssr, rel=1e-9)


def test_maximum_likelihood_against_statsmodels_own_optimiser() -> None:
    panel = make_series(before=36, after=24, rho=0.5)
    design = build_design(panel, ItsOptions())
    fit = fit_its(panel, options=ItsOptions(errors="ml_ar"))
    start = np.r_[np.linalg.lstsq(design.x, design.rate, rcond=None)[0], 0.3, 1.0]
    theirs = SARIMAX(design.rate, exog=design.x, order=(1, 0, 0)).fit(start, disp=0, method="bfgs", maxiter=500)
    assert fit.coefficients["value"].to_numpy() == pytest.approx(theirs.params[:4], rel=1e-4)
    assert fit.rho[0] == pytest.approx(theirs.params[4], abs=1e-4)


def test_negative_binomial_against_statsmodels() -> None:
    panel = make_series(before=30, after=30, counts=True)
    rng = np.random.default_rng(3)
    panel = replace(panel, outcome=rng.poisson(panel.outcome * rng.gamma(5, 0.2, panel.outcome.shape)).astype(float))
    design = build_design(panel, ItsOptions(family="negative_binomial", errors="model"))
    fit = fit_its(panel, options=ItsOptions(family="negative_binomial", errors="model"))
    theirs = sm.NegativeBinomial(design.outcome, design.x, offset=design.offset).fit(disp=0, maxiter=1000)
    assert fit.coefficients["value"].to_numpy() == pytest.approx(theirs.params[:4], abs=1e-5)
    assert fit.alpha == pytest.approx(theirs.params[4], rel=1e-4)


def test_prais_winsten_is_the_fixed_point_it_says() -> None:
    """Least squares on rows less rho times the row before, the first times sqrt(1 - rho^2); rho from residuals."""
    panel = make_series(rho=0.6)
    design = build_design(panel, ItsOptions())
    fit = fit_prais_winsten(design.rate, design.x, series_gaps(design.series, design.time))
    rho = fit.rho[0]
    rows = np.column_stack([design.x, design.rate])
    turned = rows - rho * np.vstack([np.zeros(5), rows[:-1]])
    turned[0] *= math.sqrt(1 - rho**2)
    by_hand = sm.OLS(turned[:, 4], turned[:, :4]).fit()
    assert fit.beta == pytest.approx(by_hand.params, rel=1e-9)
    assert np.sqrt(np.diag(fit.covariance)) == pytest.approx(by_hand.bse, rel=1e-9)
    residual = design.rate - design.x @ fit.beta
    assert rho == pytest.approx(residual[1:] @ residual[:-1] / (residual[:-1] @ residual[:-1]), abs=1e-8)


def test_the_default_weighs_gls_fits_by_their_likelihood() -> None:
    """Without noise in the errors each point of the mixture is a generalised least squares fit."""
    panel = make_series()
    design = build_design(panel, ItsOptions())
    gap = series_gaps(design.series, design.time)
    fit = fit_reml_ar(design.rate, design.x, gap)
    edge = math.asin(0.995)
    over = compute_gls(design.rate, design.x, gap, np.sin(np.linspace(-edge, edge, 51)))
    place = int(over.loglike.argmax())
    nearest = int(np.abs(fit.betas - over.betas[place]).sum(axis=1).argmin())
    assert fit.betas[nearest] == pytest.approx(over.betas[place], rel=1e-8)
    assert fit.covariances[nearest] == pytest.approx(over.covariances[place], rel=1e-6)
    assert fit.weights.sum() == pytest.approx(1)


def test_mixture_of_one_is_a_t_interval() -> None:
    lower, upper = mixture_interval(np.array([[2.0]]), np.array([[3.0]]), np.ones(1), df=10.0, level=0.95)
    assert (lower[0], upper[0]) == pytest.approx((2 - 3 * 2.2281388520, 2 + 3 * 2.2281388520), rel=1e-8)


def test_periods_left_out_stay_gaps() -> None:
    """Leaving a time of anticipation out must not shorten time: the trend is found as it is."""
    panel = make_series(before=20, after=20, rho=0.0)
    holed = panel.without(16.0, 20.0)
    assert not holed.consecutive
    fit = fit_its(holed)
    assert coefficient(fit, "time") == pytest.approx(0.3, abs=0.1)
    assert check(fit, "periods_left_out").value == 4
    closed = replace(holed, periods=np.arange(36.0), adoption=np.array([16.0]))
    assert coefficient(fit_its(closed), "level") != pytest.approx(coefficient(fit, "level"), abs=0.05)


def test_gaps_are_missing_values_to_maximum_likelihood() -> None:
    panel = make_series(before=30, after=30, rho=0.5)
    holed = panel.without(26.0, 30.0)
    design = build_design(holed, ItsOptions())
    fit = fit_its(holed, options=ItsOptions(errors="ml_ar"))
    gls = compute_gls(design.rate, design.x, series_gaps(design.series, design.time), fit.rho)
    assert fit.coefficients["value"].to_numpy() == pytest.approx(gls.betas[0], rel=1e-4)


def test_a_period_in_which_adoption_falls_belongs_to_neither_side() -> None:
    panel = make_series()
    within = replace(panel, adoption=np.array([11.5]))
    fit = fit_its(within)
    assert list(fit.periods) == [*range(11), *range(12, 25)]
    assert check(fit, "periods_left_out").value == 1


def test_quarters_by_date_are_equal_steps() -> None:
    starts = np.arange(np.datetime64("2012-04"), np.datetime64("2018-07"), 3).astype("datetime64[D]")
    assert list(grid_places(starts)) == list(range(25))
    assert list(grid_places(np.delete(starts, [10, 11]))) == [*range(10), *range(12, 25)]
    with pytest.raises(ParameterError, match="no regular grid"):
        grid_places(np.array([0.0, 1.0, 2.5, 3.2]))


@pytest.mark.parametrize("family", ["poisson", "quasipoisson", "negative_binomial"])
def test_effects_of_counts_follow_from_the_coefficients(family: str) -> None:
    panel = make_series(counts=True)
    options = ItsOptions(family=family, errors="model")
    fit = fit_its(panel, options=options)
    found = {s: estimate_its(panel, estimand(s), options=options) for s in ("level_ratio", "slope_ratio", "rate_ratio")}
    assert found["level_ratio"].value == pytest.approx(math.exp(coefficient(fit, "level")))
    assert found["level_ratio"].se == pytest.approx(coefficient(fit, "level", "se") * found["level_ratio"].value)
    assert found["slope_ratio"].value == pytest.approx(math.exp(coefficient(fit, "slope")))
    events, expected = (
        (fit.fitted * fit.exposure)[fit.after].sum(),
        (fit.counterfactual * fit.exposure)[fit.after].sum(),
    )
    assert found["rate_ratio"].value == pytest.approx(events / expected)
    if family == "poisson":
        assert events == pytest.approx(panel.outcome[0, 12:].sum())
    assert found["rate_ratio"].n_events == min(panel.outcome[0, :12].sum(), panel.outcome[0, 12:].sum())


def test_delta_method_of_the_ratio_by_finite_differences() -> None:
    panel = make_series(counts=True)
    options = ItsOptions(family="quasipoisson", errors="model")
    fit, design = fit_its(panel, options=options), build_design(panel, options)
    beta = fit.coefficients["value"].to_numpy()

    def log_ratio(b: np.ndarray) -> float:
        totals = [np.exp(design.offset + x @ b)[design.after].sum() for x in (design.x, design.untreated)]
        return math.log(totals[0] / totals[1])

    gradient = [(log_ratio(beta + d) - log_ratio(beta - d)) / 2e-6 for d in 1e-6 * np.eye(4)]
    found = estimate_its(panel, estimand("rate_ratio"), options=options)
    assert found.se / found.value == pytest.approx(math.sqrt(gradient @ fit.covariance @ gradient), rel=1e-5)


def test_control_takes_out_what_both_share() -> None:
    panel = make_series(units=5, rho=0.2)
    shock = np.where(panel.periods >= 12, 10.0, 0.0)
    shaken = replace(panel, outcome=panel.outcome + shock * panel.denominator)
    for control, expected, tolerance in (("none", 10.0, 1.0), ("pooled", 0.0, 1e-8)):
        options = ItsOptions(control=control)
        calm, moved = (estimate_its(p, estimand("mean_difference"), options=options) for p in (panel, shaken))
        assert moved.value - calm.value == pytest.approx(expected, abs=tolerance)
    assert check(calm, "concurrent_change").passed is None


def test_an_uncontrolled_series_says_that_it_cannot_tell_a_concurrent_change() -> None:
    assert check(estimate_its(make_series(), estimand("level_change")), "concurrent_change").passed is False


def test_differences_and_interactions_agree_without_correlation() -> None:
    panel = make_series(units=4)
    pooled = fit_its(panel, options=ItsOptions(control="pooled", errors="model"))
    design = build_design(panel, ItsOptions(control="pooled"))
    assert design.differenced
    by_difference = np.linalg.lstsq(design.x, design.rate - design.offset, rcond=None)[0]
    assert pooled.coefficients["value"].to_numpy()[4:] == pytest.approx(by_difference, rel=1e-8)
    fit = fit_its(panel, options=ItsOptions(control="pooled"))
    control = panel.outcome[1:].sum(axis=0) / panel.denominator[1:].sum(axis=0)
    assert fit.fitted - control == pytest.approx(design.x @ fit.coefficients["value"].to_numpy())


@pytest.mark.parametrize("errors", ["ml_ar", "prais_winsten", "newey_west", "model"])
def test_intervals_known_not_to_hold_are_refused(errors: str) -> None:
    panel = make_series()
    found = estimate_its(panel, estimand("level_change"), options=ItsOptions(errors=errors))
    assert math.isfinite(found.value)
    assert found.se > 0
    assert math.isnan(found.lower)
    assert math.isnan(found.upper)
    assert math.isnan(found.p_value)
    refusal = check(found, "interval")
    assert refusal.passed is False
    assert "reml_ar" in refusal.text
    assert 0.4 < refusal.value < 0.9
    fit = fit_its(panel, options=ItsOptions(errors=errors))
    assert fit.coefficients[["lower", "upper"]].isna().all(axis=None)
    assert np.isnan(fit.counterfactual_lower).all()


def test_the_default_is_refused_only_where_too_short() -> None:
    shown = estimate_its(make_series(), estimand("slope_change"))
    assert shown.lower < shown.value < shown.upper
    assert all(c.name != "interval" for c in shown.checks)
    short = make_series(before=7, after=7)
    assert math.isnan(estimate_its(short, estimand("slope_change")).lower)
    level = estimate_its(short, estimand("level_change"), options=ItsOptions(slope="level"))
    assert level.lower < level.value < level.upper


def test_seasonal_terms_that_leave_little_free_are_refused() -> None:
    crowded = fit_its(make_series(before=10, after=10), options=ItsOptions(harmonics=4, periods_per_year=12))
    assert "fewer harmonics" in check(crowded, "interval").text
    assert np.isnan(crowded.counterfactual_upper).all()
    roomy = fit_its(make_series(), options=ItsOptions(harmonics=1, periods_per_year=4))
    assert all(c.name != "interval" for c in roomy.checks)


def test_counterfactual_band_holds_the_counterfactual() -> None:
    for panel, options in (
        (make_series(), ItsOptions()),
        (make_series(counts=True), ItsOptions(family="quasipoisson")),
        (make_series(units=4), ItsOptions(control="pooled")),
    ):
        fit = fit_its(panel, options=options)
        assert (fit.counterfactual_lower < fit.counterfactual)[fit.after].all()
        assert (fit.counterfactual < fit.counterfactual_upper)[fit.after].all()
        assert fit.fitted[~fit.after] == pytest.approx(fit.counterfactual[~fit.after])
        assert np.isnan(fit.counterfactual_lower[~fit.after]).all()


def test_counterfactual_band_is_the_fitted_path_less_the_interval_of_the_effect() -> None:
    panel = make_series()
    fit = fit_its(panel, options=ItsOptions(slope="level"))
    level = fit.coefficients.set_index("name").loc["level"]
    assert (fit.fitted - fit.counterfactual_lower)[fit.after] == pytest.approx(level["upper"])
    assert (fit.fitted - fit.counterfactual_upper)[fit.after] == pytest.approx(level["lower"])


def test_a_slope_counted_from_the_first_period_is_marked() -> None:
    panel = make_series()
    fit = fit_its(panel, options=ItsOptions(centring="first_period"))
    centred = fit_its(panel)
    assert check(fit, "centring").passed is False
    assert coefficient(fit, "slope") == pytest.approx(coefficient(centred, "slope"))
    # At adoption, period 13 of 25, both say the same.
    at_adoption = coefficient(fit, "level") + 13 * coefficient(fit, "slope")
    assert at_adoption == pytest.approx(coefficient(centred, "level"))


def test_what_is_not_used_is_said() -> None:
    panel = make_series()
    extra = replace(panel, weights=panel.weights * 2, covariates=np.ones((1, 25, 1)), covariate_names=("age",))
    fit = fit_its(extra)
    assert check(fit, "weights").passed is False
    assert check(fit, "covariates").passed is False


def test_residual_correlation_is_tested() -> None:
    panel = make_series(before=60, after=60, rho=0.7)
    assert check(fit_its(panel, options=ItsOptions(errors="model")), "ljung_box").passed is False
    assert check(fit_its(panel), "ljung_box").passed is True
    statistic = sm.stats.acorr_ljungbox(np.sin(np.arange(40.0)), lags=[3])
    series = np.sin(np.arange(40.0))
    found = ljung_box(autocorrelations(series, np.r_[0, np.ones(39, int)], 3), 40, 0)
    assert found == pytest.approx(float(statistic["lb_pvalue"].iloc[0]), rel=1e-9)


def test_newey_west_keeps_series_apart() -> None:
    scores = np.random.default_rng(0).normal(size=(6, 2))
    series, time = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2])
    both = newey_west(scores, np.eye(2), series=series, time=time, lags=1)
    apart = [newey_west(scores[s], np.eye(2), series=series[s], time=time[s], lags=1) for s in (slice(3), slice(3, 6))]
    assert both / (6 / 4) == pytest.approx(sum(apart) / (3 / 1))
    assert default_lags(25) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ItsOptions(family="poisson"), "no room for correlated errors"),
        (ItsOptions(family="quasipoisson", errors="ml_ar"), "for gaussian series"),
        (ItsOptions(control="each"), '"newey_west" or "model" only'),
        (ItsOptions(control="pooled"), "every unit is treated"),
        (ItsOptions(harmonics=1), "need periods_per_year"),
        (ItsOptions(harmonics=3, periods_per_year=4), "more harmonics than a cycle"),
        (ItsOptions(ar_order=2), "ar_order other than 1"),
        (ItsOptions(level=1.5), "between 0 and 1"),
        (ItsOptions(errors="newey_west", lags=-1), "0 or more"),
    ],
)
def test_options_that_do_not_go_together(options: ItsOptions, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        fit_its(make_series(), options=options)


def test_every_fault_of_the_options_at_once() -> None:
    with pytest.raises(ParameterError) as raised:
        fit_its(make_series(), options=ItsOptions(family="poisson", control="each", harmonics=1, level=2))
    assert len(raised.value.faults) == 4


def test_panels_that_identify_nothing() -> None:
    with pytest.raises(NotEstimable, match="too few wholly before"):
        fit_its(make_series(before=2, after=12))
    with pytest.raises(NotEstimable, match="too few after"):
        fit_its(make_series(before=12, after=2))
    with pytest.raises(NotEstimable, match="too few periods for so many terms"):
        fit_its(make_series(before=4, after=4), options=ItsOptions(harmonics=6, periods_per_year=12))
    two = make_series(units=3)
    with pytest.raises(NotEstimable, match="2 different ones"):
        fit_its(replace(two, adoption=np.array([12.0, 14.0, np.nan])))
    counts = make_series(counts=True)
    none_after = replace(counts, outcome=np.where(counts.periods >= 12, 0.0, counts.outcome))
    with pytest.raises(NotEstimable, match="no event after"):
        fit_its(none_after, options=ItsOptions(family="quasipoisson"))
    with pytest.raises(ParameterError, match="counts of 0 or more"):
        fit_its(replace(counts, outcome=counts.outcome - 1000), options=ItsOptions(family="quasipoisson"))


def test_scales_that_a_family_does_not_give() -> None:
    with pytest.raises(ParameterError, match="mean_difference, rate_ratio, level_change, slope_change"):
        estimate_its(make_series(), estimand("level_ratio"))
    with pytest.raises(ParameterError, match="level_ratio, slope_ratio"):
        estimate_its(make_series(counts=True), estimand("level_change"), options=ItsOptions(family="quasipoisson"))
    with pytest.raises(ParameterError, match="level_and_slope"):
        estimate_its(make_series(), estimand("slope_change"), options=ItsOptions(slope="level"))


def test_a_ratio_of_rates_below_nought_is_refused() -> None:
    panel = make_series()
    with pytest.raises(NotEstimable, match="not above 0"):
        estimate_its(replace(panel, outcome=panel.outcome - 100 * panel.denominator), estimand("rate_ratio"))


def test_a_random_walk_is_found_to_be_highly_correlated() -> None:
    panel = make_series(before=40, after=40)
    walk = np.cumsum(np.random.default_rng(5).normal(size=80))
    fit = fit_its(replace(panel, outcome=walk[None] * panel.denominator))
    assert fit.rho[0] > 0.8


def test_treated_units_are_added_up() -> None:
    panel = make_series(units=3)
    joint = replace(panel, adoption=np.array([12.0, 12.0, np.nan]))
    fit = fit_its(joint)
    assert fit.observed == pytest.approx(panel.outcome[:2].sum(axis=0) / panel.denominator[:2].sum(axis=0))
    assert check(fit, "treated_units").value == 2


def test_fit_from_a_frame_of_dates() -> None:
    panel = make_series()
    starts = pd.date_range("2012-04-01", periods=25, freq="QS")
    frame = pd.DataFrame({"area": "a", "quarter": starts, "n": panel.outcome[0], "d": panel.denominator[0]})
    frame["adopted"] = starts[12]
    dated = Panel.from_frame(frame, unit="area", period="quarter", outcome="n", adoption="adopted", denominator="d")
    assert estimate_its(dated, estimand("level_change")).value == pytest.approx(
        estimate_its(panel, estimand("level_change")).value
    )
