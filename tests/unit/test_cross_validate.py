"""Folds, cross-validation, places and their pooling, the learning curve."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import t
from sklearn.metrics import brier_score_loss, roc_auc_score

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.risk.cross_validate import draw_learning_counts, estimate_cross_validated, estimate_learning_curve
from evalkit.risk.folds import count_training, draw_folds
from evalkit.risk.places import count_left_out, estimate_places
from evalkit.risk.pooling import pool_places
from evalkit.risk.refit import refit_ridge
from tests.refit_cases import as_models, fit_pipeline, make_discharges

DATA = make_discharges(800)
PLACE = np.random.default_rng(2).choice(["Barking", "Camden", "Ealing"], 800, p=[0.4, 0.35, 0.25])


# ---- folds ---------------------------------------------------------------------------------------


def test_folds_hold_whole_people_and_even_shares_of_events() -> None:
    held = draw_folds(DATA.person, DATA.y, folds=5, repeats=3, rng=np.random.default_rng(1))
    people = pd.DataFrame({"person": DATA.person, "y": DATA.y}).groupby("person")["y"].max()
    for row in held:
        fold = pd.Series(row).groupby(DATA.person).agg(["min", "max"])
        assert (fold["min"] == fold["max"]).all()
        assert np.ptp(np.bincount(fold["min"])) <= 1
        assert np.ptp(np.bincount(fold["min"], people)) <= 1
    assert not np.array_equal(held[0], held[1])
    counts = count_training(held)
    assert counts.shape == (15, 800)
    np.testing.assert_array_equal(counts[7], held[1] != 2)


def test_folds_with_too_few_events_are_named() -> None:
    y = np.zeros(800)
    y[np.unique(DATA.person, return_index=True)[1][:25]] = 1
    with pytest.raises(NotEstimable) as caught:
        draw_folds(DATA.person, y, folds=3, repeats=2, rng=np.random.default_rng(1))
    assert len(caught.value.faults) == 6
    assert "fold 2 of 3, repeat 2: too few" in str(caught.value) and "fewer than 10" in str(caught.value)


def test_cross_validation_is_a_plain_loop_over_the_same_folds() -> None:
    held = draw_folds(DATA.person, DATA.y, folds=3, repeats=2, rng=np.random.default_rng(1))
    models = refit_ridge(DATA.x, DATA.y, penalty=2.0, counts=count_training(held))
    found = estimate_cross_validated(models, DATA.y, held=held, names=("auroc", "brier"))
    plain = np.empty((2, 3, 2))
    for r, fold in np.ndindex(2, 3):
        out = held[r] == fold
        risk = fit_pipeline(DATA.x[~out], DATA.y[~out], penalty=2.0).predict_proba(DATA.x[out])[:, 1]
        plain[r, fold] = roc_auc_score(DATA.y[out], risk), brier_score_loss(DATA.y[out], risk)
    np.testing.assert_allclose(found.values, plain.mean(axis=(0, 1)), rtol=1e-8)
    np.testing.assert_allclose(found.repeat_sd, plain.mean(axis=1).std(axis=0, ddof=1), rtol=1e-6)


def test_a_measure_undefined_in_a_fold_is_not_given_and_the_fold_named() -> None:
    held = draw_folds(DATA.person, DATA.y, folds=3, repeats=1, rng=np.random.default_rng(1))
    risks = np.tile(np.linspace(0.1, 0.4, 800), (3, 1))
    risks[1] = 0.2
    models = as_models(risks[0], risks, count_training(held))
    found = estimate_cross_validated(models, DATA.y, held=held, names=("auroc", "calibration_slope"))
    assert np.isfinite(found.values[0]) and np.isnan(found.values[1])
    assert found.reasons[1].startswith("fold 2 of 3, repeat 1: Calibration slope")
    assert not found.checks[0].passed
    with pytest.raises(ParameterError, match="not those of these folds"):
        estimate_cross_validated(models, DATA.y, held=np.vstack([held, held]))


# ---- places --------------------------------------------------------------------------------------


def test_each_place_is_validated_by_the_model_of_the_others() -> None:
    left_out = count_left_out(PLACE)
    models = refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=left_out.counts)
    found = estimate_places(models, DATA.y, left_out, person=DATA.person)
    assert found.places == ("Barking", "Camden", "Ealing")
    for g, place in enumerate(found.places):
        out = place == PLACE
        risk = fit_pipeline(DATA.x[~out], DATA.y[~out], penalty=1.0).predict_proba(DATA.x[out])[:, 1]
        assert found.values[g, 0] == pytest.approx(roc_auc_score(DATA.y[out], risk), rel=1e-8)
        assert found.values[g, 1] == pytest.approx(DATA.y[out].sum() / risk.sum(), rel=1e-8)
        assert (found.n_discharges[g], found.n_events[g]) == (out.sum(), DATA.y[out].sum())
        assert found.n_people[g] == len(np.unique(DATA.person[out]))
    assert (found.lower < found.values).all() and (found.values < found.upper).all()
    # AUROC is pooled on the logit scale, with the errors that its intervals show.
    scaled = logit(found.values[:, 0])
    pooled = pool_places(scaled, (logit(found.upper[:, 0]) - scaled) / 1.959963984540054)
    np.testing.assert_allclose(logit(found.pooled[0, :3]), [pooled.value, pooled.lower, pooled.upper], rtol=1e-6)
    assert (found.pooled[:, 3] <= found.pooled[:, 1]).all() and (found.pooled[:, 4] >= found.pooled[:, 2]).all()


def test_a_place_with_too_few_events_is_refused_by_name_and_told() -> None:
    place = PLACE.copy()
    place[np.flatnonzero(DATA.y == 1)[:9]] = "Wapping"
    place[np.flatnonzero(DATA.y == 0)[:30]] = "Wapping"
    left_out = count_left_out(place)
    models = refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=left_out.counts)
    found = estimate_places(models, DATA.y, left_out, person=DATA.person)
    assert np.isnan(found.values[3]).all() and np.isfinite(found.values[:3]).all()
    assert all('place "Wapping": too few' in reason for reason in found.reasons[3])
    refused = found.checks[0]
    assert not refused.passed and "1 of 4" in refused.text and "Wapping" in refused.text
    assert np.isfinite(found.pooled).all()


def test_places_are_checked() -> None:
    with pytest.raises(ParameterError, match="fewer than 2 places"):
        count_left_out(np.repeat("Camden", 5))
    left_out = count_left_out(PLACE)
    models = refit_ridge(DATA.x, DATA.y, penalty=1.0, counts=left_out.counts[:2])
    with pytest.raises(ParameterError, match="not those of these places"):
        estimate_places(models, DATA.y, left_out, person=DATA.person)


BCG = np.array([
    [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
    [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232], [17, 1699, 65, 1600],
    [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
])  # fmt: skip


def test_pooling_gives_the_published_numbers_of_the_bcg_trials() -> None:
    """R's metafor 'dat.bcg', log risk ratios by REML, as in its documentation, to the digits shown there."""
    a, b, c, d = BCG.T.astype(float)
    value, se = np.log(a / (a + b) / (c / (c + d))), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    wald = pool_places(value, se, interval="wald")
    assert [round(x, 4) for x in (wald.value, wald.se, wald.lower, wald.upper)] == [-0.7145, 0.1798, -1.0669, -0.3622]
    assert round(wald.tau2, 4) == 0.3132 and round(100 * wald.i2, 2) == 92.22
    knapp = pool_places(value, se)
    weights = 1 / (se**2 + knapp.tau2)
    q = (weights * (value - knapp.value) ** 2).sum() / 12
    assert knapp.se == pytest.approx(wald.se * np.sqrt(q))
    assert knapp.upper - knapp.value == pytest.approx(t.ppf(0.975, 12) * knapp.se)
    reach = t.ppf(0.975, 11) * np.sqrt(knapp.tau2 + knapp.se**2)
    assert knapp.prediction_lower == pytest.approx(knapp.value - reach)


def test_pooling_worked_by_hand() -> None:
    """Equal errors e: the mean is plain and tau2 the variance of the values less e^2, or 0."""
    found = pool_places(np.array([1.0, 2.0, 6.0]), np.full(3, 0.5))
    assert (found.value, found.tau2) == pytest.approx((3.0, 7.0 - 0.25))
    assert found.se == pytest.approx(np.sqrt(7.0 / 3))
    alike = pool_places(np.array([1.0, 1.1]), np.full(2, 0.5))
    assert alike.tau2 == 0 and alike.se == pytest.approx(np.sqrt(0.125)) and np.isnan(alike.prediction_lower)
    with pytest.raises(NotEstimable, match="too few places"):
        pool_places(np.array([1.0]), np.array([1.0]))
    with pytest.raises(ParameterError, match="errors above 0"):
        pool_places(np.array([1.0, 2.0]), np.array([1.0, 0.0]))


# ---- learning curve ------------------------------------------------------------------------------


def test_learning_draws_are_nested_and_of_whole_people() -> None:
    draws = draw_learning_counts(DATA.person, DATA.y, shares=(0.25, 0.5, 1.0), repeats=4, rng=np.random.default_rng(1))
    counts, people = draws.counts.reshape(3, 4, 800), len(np.unique(DATA.person))
    assert (counts[0] <= counts[1]).all() and counts[2].all()
    for row in counts[1]:
        assert len(np.unique(DATA.person[row == 1])) == int(np.ceil(people / 2))
        assert not np.isin(DATA.person[row == 0], DATA.person[row == 1]).any()
    assert draws.discharges[2] == 800 and draws.discharges[0] == counts[0].sum() / 4


def test_learning_curve_validates_later_and_refuses_small_shares() -> None:
    later = np.arange(800) >= 500
    x, y = DATA.x[~later], DATA.y[~later]
    draws = draw_learning_counts(
        DATA.person[~later], y, shares=(0.02, 0.5, 1.0), repeats=2, rng=np.random.default_rng(1)
    )
    models = refit_ridge(x, y, penalty=1.0, counts=draws.counts, x_new=DATA.x[later])
    found = estimate_learning_curve(models, DATA.y[later], draws, names=("auroc",))
    assert np.isnan(found.values[0]) and found.reasons[0] == "2% of the people hold fewer than 10 events."
    risk = fit_pipeline(x, y, penalty=1.0).predict_proba(DATA.x[later])[:, 1]
    assert found.values[2, 0] == pytest.approx(roc_auc_score(DATA.y[later], risk), rel=1e-8)
    assert found.repeat_sd[2, 0] == pytest.approx(0) and found.repeat_sd[1, 0] > 0
    with pytest.raises(ParameterError, match="shares"):
        draw_learning_counts(DATA.person, DATA.y, shares=(0.0, 1.2), repeats=2, rng=np.random.default_rng(1))
