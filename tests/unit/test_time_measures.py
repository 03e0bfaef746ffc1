"""Measures of risks by a horizon: against every pair counted, against small changes of weights, and refusals."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.survival.kaplan_meier import compute_censoring_weights
from evalkit.risk.data import RiskData
from evalkit.risk.time_calibration import (
    ERRORS,
    compute_smooth_risk,
    compute_time_calibration_errors,
    compute_time_calibration_slope,
)
from evalkit.risk.time_measures import (
    compute_ipcw_brier,
    compute_observed_risk,
    compute_time_auroc,
    compute_time_concordance,
    compute_time_observed_expected,
)
from evalkit.risk.time_performance import (
    TIME_MEASURE_LABELS,
    TimePerformanceOptions,
    build_risk_follow_up,
    estimate_time_performance,
)
from evalkit.risk.validate import compute_auroc

HORIZON = 30.0


def draw(
    n: int = 200, *, competing: bool = False, censoring: bool = True, seed: int = 4
) -> tuple[np.ndarray, FollowUp]:
    """Risks by day 30 of a proportional hazards world in whole days, with ties, and who was followed how long."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.normal(size=n), 1)
    rate = np.exp(-4 + 0.8 * x)
    back, dead = rng.exponential(1 / rate), rng.exponential(60.0, n) if competing else np.full(n, np.inf)
    lost = rng.exponential(70.0, n) if censoring else np.full(n, np.inf)
    days = np.minimum(np.ceil(np.minimum.reduce([back, dead, lost])), 45.0)
    first = np.minimum(back, dead)
    event = np.where((first <= lost) & (first <= 45), np.where(back < dead, 1, 2), 0)
    causes = ("readmission", "death") if competing else ("readmission",)
    frame = pd.DataFrame({"event": event, "days": days, "person": np.arange(n) // 2})
    rows = FollowUp.from_frame(frame, exit="days", event="event", cluster="person", causes=causes)
    return 1 - np.exp(-HORIZON * rate), rows


def spoil(rows: FollowUp, place: int, by: float) -> FollowUp:
    """The same follow-up, one row of which weighs a little more."""
    weights = rows.weights.copy()
    weights[place] += by
    return rows.with_weights(weights)


def own_people(rows: FollowUp) -> FollowUp:
    return replace(rows, cluster=np.arange(len(rows)))


# ---- concordance ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("competing", "weighting"), [(False, "harrell"), (False, "uno"), (True, "harrell")])
def test_concordance_is_that_of_every_pair(competing, weighting):
    risk, rows = draw(80, competing=competing)
    rows = rows.with_weights(np.random.default_rng(1).integers(1, 4, len(rows)).astype(float))
    part = np.ones(len(rows))
    if weighting == "uno":
        part = compute_censoring_weights(rows, horizon=rows.exit.max()) ** 2
    won = pairs = 0.0
    for i in np.flatnonzero((rows.event == 1) & (rows.exit <= HORIZON)):
        # Who died is there for ever; who leaves unseen on the day of the event was there.
        there = (rows.exit > rows.exit[i]) | (rows.event > 1) | ((rows.exit == rows.exit[i]) & (rows.event == 0))
        mass = rows.weights[i] * rows.weights[there] * part[i]
        won += mass @ ((risk[i] > risk[there]) + 0.5 * (risk[i] == risk[there]))
        pairs += mass.sum()
    found = compute_time_concordance(risk, rows, horizon=HORIZON, weighting=weighting)
    assert found.value == pytest.approx(won / pairs, rel=1e-12)


@pytest.mark.parametrize("censoring", [True, False])
def test_area_is_that_of_every_pair(censoring):
    risk, rows = draw(120, competing=True, censoring=censoring)
    mass = compute_censoring_weights(rows, horizon=HORIZON)
    case = (rows.event == 1) & (rows.exit <= HORIZON)
    died = (rows.event == 2) & (rows.exit <= HORIZON)
    for controls, rest in (("not_case", ~case), ("event_free", ~case & ~died)):
        won = (risk[case][:, None] > risk[rest]) + 0.5 * (risk[case][:, None] == risk[rest])
        expected = mass[case] @ won @ mass[rest] / mass[case].sum() / mass[rest].sum()
        found = compute_time_auroc(risk, rows, horizon=HORIZON, controls=controls)
        assert found.value == pytest.approx(expected, rel=1e-12)


def test_brier_weighs_who_is_followed():
    risk, rows = draw(120, competing=True)
    known = (rows.event > 0) | (rows.exit >= HORIZON)
    mass = compute_censoring_weights(rows, horizon=HORIZON)
    assert (mass[~known] == 0).all() and mass.mean() == pytest.approx(1, abs=1e-12)
    outcome = (rows.event == 1) & (rows.exit <= HORIZON)
    found = compute_ipcw_brier(risk, rows, horizon=HORIZON)
    brier = (mass * (outcome - risk) ** 2).mean()
    observed = compute_observed_risk(rows, horizon=HORIZON)[0]
    worst = (mass * (outcome - observed) ** 2).mean()
    assert found["brier"].value == pytest.approx(brier, rel=1e-12)
    assert found["null_brier"].value == pytest.approx(worst, rel=1e-12)
    assert found["ipa"].value == pytest.approx(1 - brier / worst, rel=1e-10)


# ---- errors --------------------------------------------------------------------------------------

MEASURES = {
    "harrell": lambda risk, rows: compute_time_concordance(risk, rows, horizon=HORIZON),
    "auroc": lambda risk, rows: compute_time_auroc(risk, rows, horizon=HORIZON),
    "event_free": lambda risk, rows: compute_time_auroc(risk, rows, horizon=HORIZON, controls="event_free"),
    "observed_expected": lambda risk, rows: compute_time_observed_expected(risk, rows, horizon=HORIZON),
    "brier": lambda risk, rows: compute_ipcw_brier(risk, rows, horizon=HORIZON)["brier"],
    "null_brier": lambda risk, rows: compute_ipcw_brier(risk, rows, horizon=HORIZON)["null_brier"],
    "ipa": lambda risk, rows: compute_ipcw_brier(risk, rows, horizon=HORIZON)["ipa"],
}


@pytest.mark.parametrize("competing", [False, True])
@pytest.mark.parametrize("name", MEASURES)
def test_errors_are_those_of_small_changes_of_weights(name, competing):
    """Also through the weights of censoring, and with two discharges a person."""
    risk, rows = draw(80, competing=competing)
    step, measure = 1e-5, MEASURES[name]
    slope = [
        (measure(risk, spoil(rows, i, step)).value - measure(risk, spoil(rows, i, -step)).value) / (2 * step)
        for i in range(len(rows))
    ]
    sums = np.bincount(rows.cluster, slope)
    factor = 1.0 if name == "harrell" else len(sums) / (len(sums) - 1)
    assert measure(risk, rows).se == pytest.approx(np.sqrt(factor * (sums**2).sum()), rel=1e-5)


def test_without_censoring_measures_are_the_plain_ones():
    risk, rows = draw(400, competing=True, censoring=False)
    rows = own_people(rows)
    outcome = ((rows.event == 1) & (rows.exit <= HORIZON)).astype(float)
    scores = compute_ipcw_brier(risk, rows, horizon=HORIZON)
    brier, worst = ((outcome - risk) ** 2).mean(), outcome.mean() * (1 - outcome.mean())
    assert scores["brier"].value == pytest.approx(brier, rel=1e-12)
    assert scores["ipa"].value == pytest.approx(1 - brier / worst, rel=1e-10)
    area, error = compute_auroc(risk, outcome, cluster=rows.cluster)
    found = compute_time_auroc(risk, rows, horizon=HORIZON)
    assert found.value == pytest.approx(area, rel=1e-12) and found.se == pytest.approx(error, rel=0.01)
    ratio = compute_time_observed_expected(risk, rows, horizon=HORIZON).value
    assert ratio == pytest.approx(outcome.mean() / risk.mean(), rel=1e-12)


def test_observed_risk_is_one_less_kaplan_meier_by_hand():
    frame = pd.DataFrame({"days": [2.0, 4, 4, 6, 9, 9], "event": [1, 1, 0, 0, 1, 0]})
    rows = FollowUp.from_frame(frame, exit="days", event="event")
    assert compute_observed_risk(rows, horizon=1.0)[0] == 0
    assert compute_observed_risk(rows, horizon=8.0)[0] == pytest.approx(1 - 5 / 6 * 4 / 5)
    assert compute_observed_risk(rows, horizon=9.0)[0] == pytest.approx(1 - 5 / 6 * 4 / 5 * 1 / 2)


# ---- calibration ---------------------------------------------------------------------------------


@pytest.mark.parametrize("competing", [False, True])
def test_slope_is_of_the_complementary_log_log(competing):
    risk, rows = draw(300, competing=competing)
    flat = -np.expm1(-np.exp(0.3 + 0.5 * np.log(-np.log1p(-risk))))
    right, half = (compute_time_calibration_slope(r, rows, horizon=HORIZON) for r in (risk, flat))
    assert half.value == pytest.approx(2 * right.value, rel=1e-6)
    assert half.se == pytest.approx(2 * right.se, rel=1e-6)
    assert half.model_se == pytest.approx(2 * right.model_se, rel=1e-6)


@pytest.mark.parametrize("competing", [False, True])
def test_distances_of_draws_are_those_of_the_rows_again(competing):
    risk, rows = draw(300, competing=competing)
    counts = np.vstack([np.ones(300), np.arange(300) % 3]).astype(np.uint16)
    found = compute_time_calibration_errors(risk, rows, horizon=HORIZON, counts=counts)
    assert tuple(found) == ERRORS
    away = np.abs(risk - compute_smooth_risk(risk, rows, horizon=HORIZON))
    once = (away.mean(), np.median(away), np.quantile(away, 0.9), away.max())
    assert [found[name][0] for name in ERRORS] == pytest.approx(once, rel=1e-9)
    assert all(np.isfinite(found[name][1]) and found[name][1] != found[name][0] for name in ERRORS)


def test_a_smooth_curve_is_read_at_chosen_risks():
    risk, rows = draw(300)
    at = compute_smooth_risk(risk, rows, horizon=HORIZON, at=np.sort(risk)[[10, 200]])
    assert at == pytest.approx(np.sort(compute_smooth_risk(risk, rows, horizon=HORIZON))[[10, 200]], rel=1e-12)


@pytest.mark.parametrize("edge", [0.0, 1.0])
def test_risks_of_exactly_0_or_1_have_no_slope(edge):
    risk, rows = draw()
    risk[0] = edge
    with pytest.raises(NotEstimable, match="exactly 0 or 1"):
        compute_time_calibration_slope(risk, rows, horizon=HORIZON)
    found = estimate_time_performance(risk, rows, horizon=HORIZON, rng=np.random.default_rng(1)).frame
    assert found.index[found["reason"] != ""].tolist() == ["calibration_slope", *ERRORS]
    assert np.isnan(found.loc["ici", "value"]) and np.isfinite(found.loc["auroc", "lower"])


def test_rows_that_weigh_unequally_have_no_quantiles():
    risk, rows = draw()
    with pytest.raises(ParameterError, match="weigh alike"):
        compute_time_calibration_errors(risk, spoil(rows, 0, 1.0), horizon=HORIZON)


# ---- all together --------------------------------------------------------------------------------


@pytest.mark.parametrize("competing", [False, True])
def test_performance_has_every_measure_with_an_interval(competing):
    risk, rows = draw(300, competing=competing)
    options = TimePerformanceOptions(replicates=20)
    found = estimate_time_performance(risk, rows, horizon=HORIZON, rng=np.random.default_rng(1), options=options)
    assert set(TIME_MEASURE_LABELS) - set(found.names) == ({"uno_c"} if competing else set())
    frame = found.frame
    assert (frame["lower"] < frame["value"]).all() and (frame["value"] < frame["upper"]).all()
    assert found.n_people == 150 and found.n_discharges == 300
    assert found.n_events == ((rows.event == 1) & (rows.exit <= HORIZON)).sum()
    assert found.checks[0].name == "followed"


def test_discharges_become_follow_up_from_the_day_before():
    n = 30
    event = np.arange(n) % 3
    data = RiskData(
        features=pd.DataFrame({"age": np.linspace(20, 60, n)}), outcome=(event == 1).astype(int),
        person=np.array([f"p{i // 2}" for i in range(n)]), time=np.full(n, np.datetime64(dt.date(2015, 1, 1))),
        event=event, event_days=np.where(event == 0, 30.0, np.arange(n) % 29),
    )  # fmt: skip
    rows = build_risk_follow_up(data)
    assert (rows.entry == -1).all() and rows.exit.min() == 0 and len(np.unique(rows.cluster)) == 15
    # Everybody is followed to day 30, so that the risk before it is the share who came back.
    assert compute_observed_risk(rows, horizon=29.0)[0] == pytest.approx(1 / 3)
    with pytest.raises(ParameterError, match=r"RiskData\.event_days"):
        build_risk_follow_up(replace(data, event=None, event_days=None))


# ---- refusals ------------------------------------------------------------------------------------

CALLS = {
    **MEASURES,
    "slope": lambda risk, rows: compute_time_calibration_slope(risk, rows, horizon=HORIZON),
    "distances": lambda risk, rows: compute_time_calibration_errors(risk, rows, horizon=HORIZON),
    "smooth": lambda risk, rows: compute_smooth_risk(risk, rows, horizon=HORIZON),
    "all": lambda risk, rows: estimate_time_performance(risk, rows, horizon=HORIZON, rng=np.random.default_rng(1)),
}


@pytest.mark.parametrize("name", CALLS)
def test_malformed_input_is_refused(name):
    risk, rows = draw(60)
    early = replace(rows, entry=np.where(np.arange(60) == 3, -1.0, 0.0))
    layers = replace(rows, stratum=np.arange(60) % 2)
    for wrong, follow_up, words in [
        (risk * 2, rows, "above 1"), (-risk, rows, "below 0"), (np.where(risk > 0.3, np.nan, risk), rows, "missing"),
        (risk[1:], rows, "one number a row"), (risk, early, "different times"), (risk, layers, "strata"),
    ]:  # fmt: skip
        with pytest.raises(ParameterError, match=words):
            CALLS[name](wrong, follow_up)


@pytest.mark.parametrize("name", CALLS)
def test_too_few_events_or_nobody_followed_is_refused(name):
    risk, rows = draw(60)
    had = np.cumsum((rows.event == 1) & (rows.exit <= HORIZON)) > 9
    few = replace(rows, event=np.where(had & (rows.exit <= HORIZON), 0, rows.event))
    with pytest.raises(NotEstimable, match="fewer than 10"):
        CALLS[name](risk, few)
    short = replace(rows, exit=np.minimum(rows.exit, 29.0), event=np.where(rows.exit > 29, 0, rows.event))
    with pytest.raises(NotEstimable, match="nobody is followed"):
        CALLS[name](risk, short)


def test_options_are_refused_by_name():
    risk, rows = draw(competing=True)
    with pytest.raises(ParameterError, match="compute_time_auroc"):
        compute_time_concordance(risk, rows, horizon=HORIZON, weighting="uno")
    with pytest.raises(ParameterError, match="weighting"):
        compute_time_concordance(risk, rows, horizon=HORIZON, weighting="gonen")
    with pytest.raises(ParameterError, match="controls"):
        compute_time_auroc(risk, rows, horizon=HORIZON, controls="healthy")
    with pytest.raises(ParameterError, match="random numbers"):
        estimate_time_performance(risk, rows, horizon=HORIZON, rng=None)


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_seconds():
    risk, rows = draw(100_000)
    found = compute_time_concordance(risk, rows, horizon=HORIZON, weighting="uno")
    assert 0.6 < found.value < 0.75 and found.se < 0.005
