"""Measures of many weighted replicates: against scikit-learn, statsmodels and R, by hand, and where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from patsy import dmatrix
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.risk import calibration, measures
from evalkit.risk.calibration import (
    GRID_STEP,
    BandOptions,
    build_spline,
    compute_calibration_band,
    compute_hosmer_lemeshow,
    fit_calibration_curve,
    place_knots,
    predict_calibration,
)
from evalkit.risk.measures import MEASURES, compute_measures
from evalkit.risk.resample import draw_person_counts
from evalkit.risk.validate import validate_risk_model

EXACT = ("auroc", "auprc", "brier", "scaled_brier", "log_loss", "observed_expected")


def draw(n: int = 600, *, seed: int = 4, digits: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Risks that are too extreme and bent; few `digits` make ties."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1.2, 1.0, n)
    outcome = (rng.random(n) < expit(odds)).astype(int)
    return np.round(expit(0.2 + 1.3 * odds + 0.1 * odds**2), digits).clip(0.001, 0.999), outcome


# ---- values --------------------------------------------------------------------------------------


def test_by_hand():
    # Of ten at 0.8 eight came back, of ten at 0.2 two. Pairs won: 8 x 8 + (8 x 2 + 2 x 8) / 2 of 100.
    # Precision 0.8 for four fifths of those who came back, 0.5 for the last fifth.
    risk = np.repeat([0.8, 0.2], 10)
    outcome = np.r_[np.ones(8), np.zeros(2), np.ones(2), np.zeros(8)]
    found = {name: value[0] for name, value in compute_measures(risk, outcome).items()}
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    expected = {"auroc": 0.8, "auprc": 0.74, "brier": 0.16, "scaled_brier": 0.36, "log_loss": entropy}
    expected |= {"observed_expected": 1, "calibration_intercept": 0, "calibration_slope": 1}
    assert found == pytest.approx(expected | {"ici": 0, "e50": 0, "e90": 0, "emax": 0}, abs=1e-9)
    # 0.8 called 0.6 for ten, 0.2 called 0.1: errors of 0.2 and 0.1, ten each.
    off = {name: value[0] for name, value in compute_measures(np.repeat([0.6, 0.1], 10), outcome).items()}
    assert off["observed_expected"] == pytest.approx(10 / 7)
    assert [off[name] for name in ("ici", "e50", "e90", "emax")] == pytest.approx([0.15, 0.1, 0.2, 0.2], abs=1e-9)


@pytest.mark.parametrize("digits", [12, 2, 1])
@pytest.mark.parametrize("whole", [True, False], ids=["counts", "weights"])
def test_equal_scikit_learn(digits, whole):
    risk, outcome = draw(digits=digits)
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, (5, len(risk))).astype(np.uint16) if whole else rng.gamma(0.7, size=(5, len(risk)))
    found = compute_measures(risk, outcome, counts=counts, names=EXACT)
    for b, weights in enumerate(counts):
        oracle = {
            "auroc": roc_auc_score(outcome, risk, sample_weight=weights),
            "auprc": average_precision_score(outcome, risk, sample_weight=weights),
            "brier": brier_score_loss(outcome, risk, sample_weight=weights),
            "log_loss": log_loss(outcome, risk, sample_weight=weights),
            "observed_expected": np.average(outcome, weights=weights) / np.average(risk, weights=weights),
        }
        o = np.average(outcome, weights=weights)
        oracle["scaled_brier"] = 1 - oracle["brier"] / (o * (1 - o))
        assert {name: found[name][b] for name in EXACT} == pytest.approx(oracle, rel=1e-11)


@pytest.mark.parametrize("digits", [12, 1])
def test_calibration_equals_statsmodels(digits):
    risk, outcome = draw(digits=digits)
    counts = np.random.default_rng(1).integers(0, 4, (4, len(risk)))
    found = compute_measures(risk, outcome, counts=counts)
    odds, ones, family = logit(risk), np.ones(len(risk)), sm.families.Binomial()
    for b, weights in enumerate(counts):
        large = sm.GLM(outcome, ones, family=family, offset=odds, freq_weights=weights).fit(tol=1e-13)
        slope = sm.GLM(outcome, sm.add_constant(odds), family=family, freq_weights=weights).fit(tol=1e-13)
        assert found["calibration_intercept"][b] == pytest.approx(large.params[0], abs=1e-9)
        assert found["calibration_slope"][b] == pytest.approx(slope.params[1], abs=1e-9)


def test_spline_equals_another_basis_of_the_natural_spline():
    risk, outcome = draw()
    counts = np.random.default_rng(1).integers(0, 4, (3, len(risk)))
    knots = place_knots(risk)
    assert knots == pytest.approx(np.sort(logit(risk))[[29, 209, 389, 569]])  # of 600: 5%, 35%, 65%, 95%
    curve = predict_calibration(fit_calibration_curve(risk, outcome, counts=counts), risk)
    formula = "cr(x, knots=inner, lower_bound=low, upper_bound=high) - 1"
    basis = np.asarray(dmatrix(formula, {"x": logit(risk), "inner": knots[1:-1], "low": knots[0], "high": knots[-1]}))
    found = compute_measures(risk, outcome, counts=counts)
    for b, weights in enumerate(counts):
        fit = sm.GLM(outcome, basis, family=sm.families.Binomial(), freq_weights=weights).fit(tol=1e-13)
        assert curve[b] == pytest.approx(fit.fittedvalues, abs=1e-8)
        away = np.repeat(np.abs(fit.fittedvalues - risk), weights)
        expected = [away.mean(), *np.quantile(away, [0.5, 0.9, 1], method="inverted_cdf")]
        assert [found[name][b] for name in ("ici", "e50", "e90", "emax")] == pytest.approx(expected, abs=1e-8)


def test_spline_is_straight_beyond_its_outer_knots():
    knots = np.array([-3.0, -2.0, -1.0, 0.5])
    outside = build_spline(np.array([-6.0, -5.0, -4.0, 1.0, 2.0, 3.0]), knots)
    assert np.diff(outside[:3], n=2, axis=0) == pytest.approx(np.zeros((1, 4)), abs=1e-12)
    assert np.diff(outside[3:], n=2, axis=0) == pytest.approx(np.zeros((1, 4)), abs=1e-9)
    # R: Hmisc::rcspline.eval's third column by its formula, at 0: ((0 + 3)^3 - (0 + 1)^3 x 3.5 / 1.5) / 3.5^2.
    assert build_spline(np.zeros(1), knots)[0, 2] == pytest.approx((27 - 3.5 / 1.5) / 3.5**2)


@pytest.mark.parametrize("digits", [12, 2])
def test_loess_equals_statsmodels(digits):
    risk, outcome = draw(300, digits=digits)
    counts = np.random.default_rng(1).integers(0, 3, (2, len(risk)))
    curve = fit_calibration_curve(risk, outcome, counts=counts, smoother="loess")
    for b, weights in enumerate(counts):
        y, x = np.repeat(outcome, weights), np.repeat(risk, weights)
        oracle = sm.nonparametric.lowess(y, x, frac=2 / 3, it=0, xvals=curve.at)
        assert curve.observed[b] == pytest.approx(np.clip(oracle, 0, 1), abs=1e-9)


def test_loess_equals_r():
    # R 4: lowess(x, y, iter = 0, delta = 0).
    x = np.tile([0.01, 0.02, 0.02, 0.03, 0.05, 0.05, 0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 2)
    y = np.array([0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 1, 0, 1])
    theirs = [
        0.490110472142, 0.492822420883, 0.495740434193, 0.502293326986, 0.524510789151, 0.604267539214, 0.574529157001,
        0.526053337298, 0.497729893307, 0.554776850986, 0.614831260709, 0.680185397904, 0.753474778499, 0.832552222257,
    ]  # fmt: skip
    curve = fit_calibration_curve(x, y, smoother="loess")
    assert curve.at == pytest.approx(np.unique(x))
    assert curve.observed[0] == pytest.approx(theirs, abs=1e-6)  # R gives no weight beyond 0.999 of the reach


def test_many_distinct_risks_are_joined_up_between_quantiles():
    risk, outcome = draw(1500)
    curve = fit_calibration_curve(risk, outcome, smoother="loess")
    assert len(curve.at) == 101
    oracle = sm.nonparametric.lowess(outcome, risk, frac=2 / 3, it=0, xvals=risk)
    assert predict_calibration(curve, risk)[0] == pytest.approx(np.clip(oracle, 0, 1), abs=2e-3)


# ---- properties ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), digits=st.sampled_from([1, 2, 12]), power=st.floats(0.2, 5.0))
def test_ranks_alone_make_the_areas(seed, digits, power):
    risk, outcome = draw(80, seed=seed, digits=digits)
    names = ("auroc", "auprc")
    here, there = (compute_measures(r, outcome, names=names) for r in (risk, 0.1 + 0.5 * risk**power))
    assert [here[name][0] for name in names] == pytest.approx([there[name][0] for name in names], rel=1e-12)
    turned = compute_measures(1 - risk, 1 - outcome, names=("auroc",))["auroc"]
    assert turned == pytest.approx(here["auroc"], rel=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), digits=st.sampled_from([1, 2, 12]))
def test_weights_are_repeated_rows_and_order_is_of_no_account(seed, digits):
    risk, outcome = draw(150, seed=seed, digits=digits)
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 4, (1, len(risk)))
    weighted = compute_measures(risk, outcome, counts=counts)
    rows = rng.permutation(np.repeat(np.arange(len(risk)), counts[0]))
    repeated = compute_measures(risk[rows], outcome[rows], knots=place_knots(risk))
    for name in MEASURES:
        assert weighted[name] == pytest.approx(repeated[name], rel=1e-7, abs=1e-9, nan_ok=True), name


def test_a_replicate_does_not_depend_on_the_others(monkeypatch):
    risk, outcome = draw()
    counts = draw_person_counts(np.arange(len(risk)) // 2, replicates=7, rng=np.random.default_rng(1))
    together = compute_measures(risk, outcome, counts=counts)
    for module in (measures, calibration):
        monkeypatch.setattr(module, "BLOCK", 2 * len(risk))
    apart = compute_measures(risk, outcome, counts=counts)
    alone = compute_measures(risk, outcome, counts=counts[4:5])
    some = compute_measures(risk, outcome, counts=counts, names=("emax", "auroc"))
    assert list(some) == ["emax", "auroc"]
    for name in MEASURES:
        assert together[name] == pytest.approx(apart[name], rel=1e-9)
        assert together[name][4:5] == pytest.approx(alone[name], rel=1e-7)
    assert some["emax"] == pytest.approx(together["emax"], rel=1e-9)


# ---- where there is no number --------------------------------------------------------------------


def test_replicates_that_cannot_bear_a_measure_are_nan():
    risk, outcome = draw()
    event = outcome == 1
    top = np.argsort(risk)[-40:]
    counts = np.zeros((5, len(risk)), dtype=np.uint16)
    counts[0] = 1
    counts[1, event] = 1  # one class
    counts[3, np.r_[np.flatnonzero(event)[:1], np.flatnonzero(~event)[:1]]] = 3  # two risks: separated (2 has none)
    counts[4, top] = 1
    found = compute_measures(risk, outcome, counts=counts)
    for name in MEASURES:
        assert np.isfinite(found[name][[0, 4]]).all(), name
        assert math.isnan(found[name][2])
    for name in ("auroc", "auprc", "scaled_brier", "calibration_intercept", "calibration_slope", "ici", "emax"):
        assert math.isnan(found[name][1]), name
    assert found["brier"][1] == pytest.approx(np.mean((1 - risk[event]) ** 2))
    assert math.isnan(found["calibration_slope"][3])
    assert math.isnan(found["ici"][3])
    assert found["auroc"][3] in (0, 1)


def test_constant_risks():
    outcome = np.arange(100) % 4 == 0
    found = compute_measures(np.full(100, 0.4), outcome, counts=np.ones((3, 100)))
    assert np.isnan(found["calibration_slope"]).all()
    assert found["auroc"] == pytest.approx(0.5)
    assert found["auprc"] == pytest.approx(0.25)
    assert found["calibration_intercept"] == pytest.approx(logit(0.25) - logit(0.4))
    for name in ("ici", "e50", "e90", "emax"):
        assert found[name] == pytest.approx(0.15)
    # A replicate that drew one risk only has no slope, though the others have.
    risk = np.r_[np.full(96, 0.4), np.full(4, 0.6)]
    drawn = np.stack([np.ones(100), np.arange(100) < 96])
    slope = compute_measures(risk, outcome, counts=drawn)["calibration_slope"]
    assert np.isfinite(slope).tolist() == [True, False]


def test_certain_risks():
    risk, outcome = draw()
    event = np.flatnonzero(outcome == 1)
    risk = risk.copy()
    risk[event[0]], risk[event[1]] = 1.0, 0.0  # one certain and right, one certain and wrong
    counts = np.ones((3, len(risk)), dtype=int)
    counts[1, event[1]] = 0
    counts[2, event[:2]] = 0
    found = compute_measures(risk, outcome, counts=counts)
    assert np.isfinite(found["log_loss"]).tolist() == [False, True, True]
    for name in ("calibration_intercept", "calibration_slope", "ici", "e50", "e90", "emax"):
        assert np.isfinite(found[name]).tolist() == [False, False, True], name
    assert np.isfinite(found["auroc"]).all()
    kept = np.delete(np.arange(len(risk)), event[:2])
    without = compute_measures(risk[kept], outcome[kept], knots=place_knots(risk))
    for name in MEASURES:
        assert found[name][2] == pytest.approx(without[name][0], rel=1e-7)
    all_sure = compute_measures(outcome.astype(float), outcome)
    assert (all_sure["auroc"][0], all_sure["brier"][0], all_sure["log_loss"][0]) == (1, 0, 0)
    assert math.isnan(all_sure["ici"][0])
    assert math.isnan(all_sure["calibration_slope"][0])


def test_separated_risks_have_no_slope():
    outcome = np.repeat([0, 1], 30)
    found = compute_measures(np.linspace(0.1, 0.9, 60), outcome, counts=np.ones((2, 60)))
    assert found["auroc"] == pytest.approx(1)
    for name in ("calibration_slope", "ici"):
        assert np.isnan(found[name]).all()
    assert np.isfinite(found["calibration_intercept"]).all()


def test_malformed_arrays_are_refused_all_at_once():
    risk, outcome = draw(60)
    with pytest.raises(ParameterError) as caught:
        compute_measures(np.where(risk > 0.5, np.nan, risk), outcome + 1, counts=np.ones((2, 59)))
    assert [fault.where for fault in caught.value.faults] == ["risk", "outcome", "counts"]
    for wrong in (np.full((1, 60), -1.0), np.full((1, 60), np.nan), np.ones(60), np.ones((0, 60))):
        with pytest.raises(ParameterError, match="counts"):
            compute_measures(risk, outcome, counts=wrong)
    for bad in (risk[:, None], risk[:50], np.zeros(0), risk.astype(str)):
        with pytest.raises(ParameterError):
            compute_measures(bad, outcome)
    with pytest.raises(ParameterError, match='Did you mean "auroc"'):
        compute_measures(risk, outcome, names=("aurok",))
    with pytest.raises(ParameterError, match="smoother"):
        fit_calibration_curve(risk, outcome, smoother="lowes")
    for events in (0, 9, 51, 60):
        with pytest.raises(NotEstimable, match="10 or more of each"):
            compute_measures(risk, np.arange(60) < events)


# ---- intervals -----------------------------------------------------------------------------------


def test_intervals_keep_to_their_ranges():
    # 12 with the outcome, nearly all of the highest risk: a normal interval would pass 1.
    rng = np.random.default_rng(2)
    outcome = np.repeat([1, 0], [12, 60])
    risk = np.where(outcome == 1, rng.uniform(0.25, 0.99, 72), rng.uniform(0.01, 0.3, 72))
    found = validate_risk_model(risk, outcome, person=np.arange(72), rng=rng).frame
    auroc = found.loc["auroc"]
    assert auroc["value"] + 1.96 * auroc["se"] > 1
    assert 0 < auroc["lower"] < auroc["value"] < auroc["upper"] < 1
    for name in ("auprc", "brier", "log_loss", "observed_expected"):
        assert 0 < found.loc[name, "lower"] < found.loc[name, "value"] < found.loc[name, "upper"], name
    assert found.loc["auprc", "upper"] < 1
    assert found.loc["scaled_brier", "upper"] < 1
    # Many draws are separated, so that the smooth curve has no interval; with more overlap it is cut at 0.
    assert np.isnan(found.loc["ici", "upper"])
    risk = rng.uniform(0.1, 0.5, 120)
    small = validate_risk_model(risk, rng.random(120) < risk, person=np.arange(120), rng=rng).frame
    assert (small.loc[["ici", "e50", "e90", "emax"], "lower"] >= 0).all()
    assert (small.loc[["ici", "e50", "e90", "emax"], "lower"] == 0).any()
    ratio = found.loc["observed_expected"]
    assert ratio["upper"] / ratio["value"] == pytest.approx(ratio["value"] / ratio["lower"])


def test_errors_from_theory_equal_the_bootstrap_of_people():
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(700), rng.integers(1, 5, 700))
    odds = rng.normal(-1, 0.7, 700)[person] + rng.normal(0, 0.3, len(person))
    outcome = (rng.random(len(person)) < expit(odds + rng.normal(0, 0.8, 700)[person])).astype(int)
    risk = expit(0.8 * odds)
    found = validate_risk_model(risk, outcome, person=person, rng=rng, replicates=2)
    drawn = compute_measures(
        risk, outcome, counts=draw_person_counts(person, replicates=1000, rng=rng), names=MEASURES[:8]
    )
    for name, se in zip(found.names[:8], found.se[:8], strict=True):
        if name != "auprc":  # 1,000 replicates have an error of 2.2%
            assert drawn[name].std(ddof=1) == pytest.approx(se, rel=0.09), name


def test_checks_say_what_was_weakened():
    risk, outcome = draw(300)
    rng = np.random.default_rng(0)
    good = {c.name: c for c in validate_risk_model(risk, outcome, person=np.arange(300), rng=rng).checks}
    assert {name: check.passed for name, check in good.items()} == {
        "events_for_validation": False, "measures_defined": True, "replicates_defined": True, "calibration_knots": True,
        "calibrated": False,  # they are too extreme, and bent
    }  # fmt: skip
    few = np.where(risk > np.median(risk), 0.6, 0.2)
    found = validate_risk_model(few, outcome, person=np.arange(300), rng=rng)
    knots = next(check for check in found.checks if check.name == "calibration_knots")
    assert (knots.passed, knots.value) == (False, 2)
    assert "straight line" in knots.text
    # One person who alone has a risk of 1 is in about two thirds of the draws.
    sure = np.where(np.arange(300) == np.flatnonzero(outcome)[0], 1.0, risk)
    found = validate_risk_model(sure, outcome, person=np.arange(300), rng=rng)
    defined = next(check for check in found.checks if check.name == "replicates_defined")
    assert not defined.passed
    assert defined.value == pytest.approx(1 / math.e, abs=0.12)
    assert math.isnan(found.frame.loc["ici", "upper"])


def test_random_numbers_come_from_the_caller():
    risk, outcome = draw(300)
    frames = [
        validate_risk_model(risk, outcome, person=np.arange(300), rng=np.random.default_rng(seed)).frame
        for seed in (1, 1, 2)
    ]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])
    with pytest.raises(ParameterError, match="rng") as caught:
        validate_risk_model(risk, outcome, person=np.arange(300), rng=None, replicates=1)
    assert len(caught.value.faults) == 2


# ---- band and Hosmer-Lemeshow --------------------------------------------------------------------


@pytest.mark.parametrize("smoother", ["spline", "loess"])
def test_band_holds_the_curve_and_knows_a_wrong_one(smoother):
    rng = np.random.default_rng(5)
    odds = rng.normal(-1, 1, 1500)
    outcome, person = (rng.random(1500) < expit(odds)).astype(int), np.arange(1500) // 2
    options = BandOptions(smoother=smoother, replicates=60, points=20)
    right = compute_calibration_band(expit(odds), outcome, person=person, rng=rng, options=options)
    assert 10 <= len(right.predicted) <= 20
    steps = right.predicted / GRID_STEP
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-9)
    ranked = np.sort(expit(odds))
    assert ranked[15] <= right.predicted[0] < right.predicted[-1] <= ranked[-16]
    assert ((right.lower >= 0) & (right.lower < right.smooth) & (right.smooth < right.upper) & (right.upper <= 1)).all()
    assert np.mean((right.lower < right.predicted) & (right.predicted < right.upper)) > 0.8
    assert right.checks[0].passed
    wrong = compute_calibration_band(expit(odds + 0.6), outcome, person=person, rng=rng, options=options)
    assert np.mean(wrong.upper < wrong.predicted) > 0.8


def test_band_of_a_straight_line_equals_the_delta_method():
    rng = np.random.default_rng(6)
    risk = rng.choice([0.1, 0.4], 2000)
    outcome = (rng.random(2000) < risk).astype(int)
    options = BandOptions(replicates=1000, points=61)
    band = compute_calibration_band(risk, outcome, person=np.arange(2000), rng=rng, options=options)
    assert len(band.predicted) == 61
    for i, value in ((0, 0.1), (60, 0.4)):
        here = outcome[risk == value]
        share = here.mean()
        reach = 1.96 / math.sqrt(len(here) * share * (1 - share))
        assert band.smooth[i] == pytest.approx(share)
        assert logit(band.upper[i]) - logit(share) == pytest.approx(reach, rel=0.09)


def test_band_refuses():
    risk, outcome = draw(100)
    rng = np.random.default_rng(0)
    with pytest.raises(ParameterError) as caught:
        options = BandOptions(smoother="cubic", replicates=1, level=95, points=1)
        compute_calibration_band(risk, outcome, person=np.arange(100), rng=None, options=options)
    assert len(caught.value.faults) == 5
    with pytest.raises(NotEstimable):
        compute_calibration_band(risk, np.arange(100) < 9, person=np.arange(100), rng=rng)


def test_hosmer_lemeshow_where_it_is_undefined():
    outcome = np.repeat([0, 1, 0, 1], [30, 1, 10, 10])
    risk = np.repeat([0.0, 0.0, 0.3, 0.6], [30, 1, 10, 10])
    assert math.isnan(compute_hosmer_lemeshow(risk, outcome, groups=3))
    # Without the one who came back at a risk of 0: (0 - 3)^2 / (3 x 0.7) + (10 - 6)^2 / (6 x 0.4).
    kept = np.arange(51) != 30
    expected = 9 / 2.1 + 16 / 2.4
    assert compute_hosmer_lemeshow(risk[kept], outcome[kept], groups=5) == pytest.approx(expected)
    with pytest.raises(ParameterError, match="groups"):
        compute_hosmer_lemeshow(risk, outcome, groups=2)
