"""Ridge logistic regression of many weightings: scikit-learn on repeated rows, refusals, the choice of the penalty."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.risk import ridge
from evalkit.risk.folds import draw_folds
from evalkit.risk.penalised import (
    PenaltyOptions,
    choose_penalty,
    fit_ridge,
    fit_ridge_draws,
    predict_ridge,
)
from evalkit.risk.resample import draw_person_counts
from tests.refit_cases import fit_pipeline, make_discharges

DATA = make_discharges()
COUNTS = draw_person_counts(DATA.person, replicates=12, rng=np.random.default_rng(1))


def loop(x: np.ndarray, y: np.ndarray, counts: np.ndarray, penalty: float) -> np.ndarray:
    """Risks (B, n) of scikit-learn's pipeline refitted on repeated rows."""
    rows = [np.repeat(np.arange(len(y)), count) for count in counts]
    return np.stack([fit_pipeline(x[at], y[at], penalty=penalty).predict_proba(x)[:, 1] for at in rows])


@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0, 1e5])
def test_coefficients_are_those_of_scikit_learn_on_repeated_rows(penalty: float) -> None:
    found = fit_ridge(DATA.x, DATA.y, penalty=penalty, counts=COUNTS)
    for count, mine in zip(COUNTS, found, strict=True):
        rows = np.repeat(np.arange(len(DATA.y)), count)
        scale, fit = fit_pipeline(DATA.x[rows], DATA.y[rows], penalty=penalty)
        slopes = fit.coef_[0] / scale.scale_
        theirs = np.r_[fit.intercept_[0] - slopes @ scale.mean_, slopes]
        units = np.r_[1.0, scale.scale_]
        np.testing.assert_allclose(mine * units, theirs * units, rtol=1e-8, atol=1e-8)


def test_without_counts_everybody_is_fitted_once() -> None:
    found = fit_ridge(DATA.x, DATA.y, penalty=2.0)
    assert found.shape == (1, DATA.x.shape[1] + 1)
    theirs = fit_pipeline(DATA.x, DATA.y, penalty=2.0).predict_proba(DATA.x)[:, 1]
    np.testing.assert_allclose(predict_ridge(DATA.x, found)[0], theirs, atol=1e-10)


def test_columns_that_are_constant_in_a_draw_or_combinations_of_others() -> None:
    x = np.column_stack([DATA.x, 2 * DATA.x[:, 1] - 3, np.full(len(DATA.y), 7.0)])
    counts = COUNTS[:3].copy()
    counts[0, DATA.x[:, 0] > -40] = 0  # nobody with the rare predictor
    found = fit_ridge(x, DATA.y, penalty=0.5, counts=counts)
    assert found[0, 1] == pytest.approx(0.0, abs=1e-10)
    assert found[:, -1] == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(predict_ridge(x, found), loop(x, DATA.y, counts, 0.5), atol=1e-8)


def test_a_column_whose_spread_hangs_on_one_person() -> None:
    x = DATA.x.copy()
    x[3, 2] = 1e12
    counts = COUNTS[:2].copy()
    counts[0, 3], counts[1, 3] = 0, 1
    found = fit_ridge(x, DATA.y, penalty=1.0, counts=counts)
    kept = np.arange(len(DATA.y)) != 3
    np.testing.assert_allclose(predict_ridge(x[kept], found), loop(x, DATA.y, counts, 1.0)[:, kept], atol=1e-8)


def test_separation_cannot_run_off() -> None:
    x, y = np.arange(40.0)[:, None], (np.arange(40) >= 20).astype(int)
    counts = np.ones((2, 40))
    found = fit_ridge(x, y, penalty=1e-3, counts=counts)
    np.testing.assert_allclose(predict_ridge(x, found), loop(x, y, counts.astype(int), 1e-3), atol=1e-8)


def test_without_a_penalty_it_is_maximum_likelihood() -> None:
    found = fit_ridge_draws(DATA.x[:, 1:4], DATA.y, penalty=0.0, counts=COUNTS[:3])
    design = sm.add_constant(DATA.x[:, 1:4])
    for count, mine in zip(COUNTS, found.coefficients, strict=False):
        theirs = sm.GLM(DATA.y, design, family=sm.families.Binomial(), freq_weights=count).fit(tol=1e-14).params
        np.testing.assert_allclose(mine, theirs, rtol=1e-7)
    assert found.reasons == ("", "", "")


def test_without_a_penalty_separation_is_refused_where_it_occurs() -> None:
    x, y = np.arange(40.0)[:, None], (np.arange(40) >= 20).astype(int)
    y[[18, 22]] = 1, 0
    counts = np.ones((3, 40))
    counts[1, [18, 22]] = 0
    found = fit_ridge_draws(x, y, penalty=0.0, counts=counts)
    assert np.isfinite(found.coefficients[[0, 2]]).all() and np.isnan(found.coefficients[1]).all()
    assert found.reasons == ("", ridge.SEPARATED, "")
    alone = fit_ridge_draws(x, (np.arange(40) >= 20).astype(int), penalty=0.0)
    assert np.isnan(alone.coefficients).all() and "separated" in alone.reasons[0]


def test_a_draw_of_one_class_has_a_reason() -> None:
    counts = COUNTS[:2].copy()
    counts[1, DATA.y == 1] = 0
    found = fit_ridge_draws(DATA.x, DATA.y, penalty=1.0, counts=counts)
    assert found.reasons == ("", ridge.ONE_CLASS)
    assert np.isnan(found.coefficients[1]).all() and np.isfinite(found.coefficients[0]).all()


def test_each_weighting_may_have_its_own_penalty() -> None:
    penalties = np.array([0.1, 30.0, 0.1, 0.0])
    found = fit_ridge(DATA.x[:, 1:], DATA.y, penalty=penalties, counts=COUNTS[:4])
    for b, penalty in enumerate(penalties):
        alone = fit_ridge(DATA.x[:, 1:], DATA.y, penalty=penalty, counts=COUNTS[b : b + 1])[0]
        np.testing.assert_allclose(found[b], alone, rtol=1e-7, atol=1e-9)


def test_blocks_and_the_scale_of_weights_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit_ridge(DATA.x, DATA.y, penalty=1.0, counts=COUNTS)
    tripled = fit_ridge(DATA.x, DATA.y, penalty=3.0, counts=3.0 * COUNTS)
    monkeypatch.setattr(ridge, "_TILE", 300)
    pieces = fit_ridge(DATA.x, DATA.y, penalty=1.0, counts=COUNTS)
    np.testing.assert_allclose(pieces, whole, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(tripled, whole, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"x": DATA.x[:5]}, "shapes do not fit"),
        ({"x": np.where(DATA.x > 0, np.nan, DATA.x)}, "missing or infinite"),
        ({"y": DATA.y + 1}, "other values"),
        ({"penalty": -1.0}, "0 or more"),
        ({"penalty": np.ones(3)}, "0 or more"),
        ({"counts": -1.0 * COUNTS}, "negative"),
        ({"counts": 0 * COUNTS}, "all nought"),
    ],
)
def test_malformed_arguments_are_refused(parts: dict, message: str) -> None:
    arguments = {"x": DATA.x, "y": DATA.y, "penalty": 1.0, "counts": COUNTS} | parts
    with pytest.raises(ParameterError, match=message):
        fit_ridge(arguments.pop("x"), arguments.pop("y"), **arguments)


# ---- the penalty ---------------------------------------------------------------------------------


def test_deviance_is_that_of_a_plain_loop_over_the_same_folds() -> None:
    options = PenaltyOptions(penalties=(300.0, 3.0), folds=3, repeats=2)
    chosen = choose_penalty(DATA.x, DATA.y, person=DATA.person, rng=np.random.default_rng(4), options=options)
    held = draw_folds(DATA.person, DATA.y, folds=3, repeats=2, rng=np.random.default_rng(4))
    for k, penalty in enumerate((3.0, 300.0)):
        found = np.empty((2, 3))
        for r, fold in np.ndindex(2, 3):
            out = held[r] == fold
            risk = fit_pipeline(DATA.x[~out], DATA.y[~out], penalty=penalty).predict_proba(DATA.x[out])[:, 1]
            found[r, fold] = -2 * np.log(np.where(DATA.y[out] == 1, risk, 1 - risk)).mean()
        assert chosen.deviance[k] == pytest.approx(found.mean(), rel=1e-9)
        assert chosen.se[k] == pytest.approx(np.sqrt(found.var(axis=1, ddof=1).mean() / 3), rel=1e-8)
    assert chosen.penalty == chosen.penalties[chosen.deviance.argmin()]
    assert not chosen.checks[0].passed  # both of two are ends


def test_one_standard_error_takes_the_greatest_penalty_within_it() -> None:
    rng = [np.random.default_rng(2) for _ in range(2)]
    few = {"folds": 3, "repeats": 1}
    least = choose_penalty(DATA.x, DATA.y, person=DATA.person, rng=rng[0], options=PenaltyOptions(**few))
    more = choose_penalty(
        DATA.x, DATA.y, person=DATA.person, rng=rng[1], options=PenaltyOptions(rule="one_standard_error", **few)
    )
    at = int(least.deviance.argmin())
    within = least.penalties[least.deviance <= least.deviance[at] + least.se[at]]
    assert least.checks[0].passed and least.penalty == least.penalties[at]
    assert more.penalty == within.max() > least.penalty


def test_noise_calls_for_a_large_penalty() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(400, 20)), np.tile([0, 0, 0, 1], 100)
    found = choose_penalty(x, y, person=np.arange(400), rng=rng, options=PenaltyOptions(repeats=1))
    assert found.penalty >= 1000


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (PenaltyOptions(rule="most"), ParameterError, "rule"),
        (PenaltyOptions(penalties=()), ParameterError, "penalties"),
        (PenaltyOptions(penalties=(1.0, -1.0)), ParameterError, "penalties"),
        (PenaltyOptions(folds=1), ParameterError, "folds"),
        (PenaltyOptions(folds=50), NotEstimable, "fold 50 of 50, repeat 3"),
    ],
)
def test_malformed_options_and_small_folds_are_refused(
    options: PenaltyOptions, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        choose_penalty(DATA.x, DATA.y, person=DATA.person, rng=np.random.default_rng(1), options=options)
