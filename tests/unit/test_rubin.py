"""Pooling of Estimates, and imputation of mixed columns."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate, not_estimable
from evalkit.estimators.people.impute import ImputeOptions, impute_missing
from evalkit.estimators.people.impute_draws import draw_category, draw_number
from evalkit.estimators.people.rubin import (
    compute_pooled,
    compute_pooled_r2,
    estimate_with_imputation,
    pool_imputations,
)

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2014, 1, 1))
DIFFERENCE = Estimand("readmission", "ATT", "all", WINDOW, "risk_difference")
RATIO = Estimand("readmission", "ATT", "all", WINDOW, "risk_ratio")
FEW = ImputeOptions(imputations=3, iterations=3)


def one(value: float, se: float, estimand: Estimand = DIFFERENCE, passed: bool | None = True, **extra) -> Estimate:
    checks = (Check("balance", passed, value, "words"),)
    return Estimate(estimand, "ipw", "primary", value, value - 1, value + 1, 0.95, se=se, checks=checks, **extra)


def mixed(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Numbers, yes/no of three kinds, text and a category, each with gaps at random given age."""
    rng = np.random.default_rng(seed)
    age = rng.normal(45, 12, n)
    score = 0.1 * age + rng.normal(0, 1, n)
    home = np.where(rng.random(n) < 1 / (1 + np.exp(-(age - 45) / 8)), "tenancy", "hostel").astype(object)
    home[rng.random(n) < 0.15] = "street"
    frame = pd.DataFrame({
        "age": age, "score": score, "smoker": (rng.random(n) < 0.4).astype(float),
        "dual": pd.array(rng.random(n) < 0.3, dtype="boolean"), "home": home,
        "band": pd.Categorical(np.where(score > 4.5, "high", "low"), categories=["low", "high", "unused"]),
        "note": "left alone",
    })  # fmt: skip
    frame["forensic"] = (rng.random(n) < 0.2).astype(object)
    for column in ("score", "smoker", "dual", "home", "band", "forensic"):
        frame.loc[rng.random(n) < 0.25, column] = None
    return frame


COLUMNS = ("age", "score", "smoker", "dual", "home", "band", "forensic")


def test_pooling_by_hand():
    """Three values 1, 2, 3 with variance 1 each: mean 2, total 1 + 4/3, df 2 / (4/7)^2."""
    pooled = compute_pooled(np.array([1.0, 2.0, 3.0]), np.ones(3))
    assert (pooled.value, pooled.total, pooled.df) == pytest.approx((2.0, 7 / 3, 2 / (4 / 7) ** 2))
    joined = pool_imputations([one(v, 1.0) for v in (1.0, 2.0, 3.0)])
    assert (joined.value, joined.se) == pytest.approx((2.0, math.sqrt(7 / 3)))
    assert (joined.lower, joined.upper) == pytest.approx((float(pooled.lower), float(pooled.upper)))


def test_equal_imputations_change_nothing():
    pooled = compute_pooled(np.full(5, 0.3), np.full(5, 0.04))
    assert (pooled.se, pooled.upper) == pytest.approx((0.2, 0.3 + 1.959964 * 0.2), rel=1e-6)
    assert pooled.fmi == 0.0
    few = compute_pooled(np.full(5, 0.3), np.full(5, 0.04), complete_df=30)
    assert few.df == pytest.approx(31 / 33 * 30)


def test_order_units_and_shift_do_not_matter():
    rng = np.random.default_rng(1)
    values, variances = rng.normal(size=(8, 3)), rng.uniform(0.5, 1, (8, 3))
    here = compute_pooled(values, variances, complete_df=40)
    there = compute_pooled(10 * values[::-1] + 4, 100 * variances[::-1], complete_df=40)
    assert there.value == pytest.approx(10 * here.value + 4)
    assert there.se == pytest.approx(10 * here.se)
    assert there.df == pytest.approx(here.df)


def test_ratios_are_pooled_as_logs():
    values = (0.5, 0.7, 0.9)
    joined = pool_imputations([one(v, 0.1, RATIO) for v in values])
    logs = compute_pooled(np.log(values), np.full(3, 0.01))
    assert joined.value == pytest.approx(math.exp(np.log(values).mean()))
    assert joined.upper == pytest.approx(math.exp(float(logs.upper)))
    assert joined.se == pytest.approx(float(logs.se))


def test_a_check_that_failed_once_has_failed():
    joined = pool_imputations([
        one(0.1, 0.05, n_people=99, n_events=30), one(0.1, 0.05, passed=False, n_people=99, n_events=28)
    ])  # fmt: skip
    found = {check.name: check for check in joined.checks}
    assert found["balance"].passed is False
    assert "1 of 2" in found["balance"].text
    assert found["imputations"].passed is True
    assert (joined.n_people, joined.n_events) == (99, 28)


def test_too_few_imputations_are_told():
    joined = pool_imputations([one(v, 0.1) for v in (0.1, 0.3, 0.5)])
    assert {c.name: c.passed for c in joined.checks}["imputations"] is False


def test_what_cannot_be_pooled_is_named():
    with pytest.raises(ParameterError, match="2 or more"):
        pool_imputations([one(0.1, 0.1)])
    with pytest.raises(ParameterError, match="estimand"):
        pool_imputations([one(0.1, 0.1), one(0.1, 0.1, RATIO)])
    with pytest.raises(NotEstimable, match="without an error"):
        pool_imputations([one(0.1, 0.1), one(0.1, float("nan"))])
    lost = not_estimable(DIFFERENCE, "ipw", role="primary", reason="No overlap.")
    with pytest.raises(NotEstimable, match="No overlap"):
        pool_imputations([one(0.1, 0.1), lost])
    for values, variances in (([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, np.nan], [1.0, 1.0]), ([1.0, 2.0], [0, 1])):
        with pytest.raises(ParameterError):
            compute_pooled(np.array(values), np.array(variances))
    with pytest.raises(ParameterError, match="complete_df"):
        compute_pooled(np.ones(3), np.ones(3), complete_df=0.0)
    with pytest.raises(ParameterError, match="0 <= r2 < 1"):
        compute_pooled_r2(np.array([0.5, 1.0]), 30)


def test_every_gap_is_filled_and_nothing_else_touched():
    frame = mixed()
    filled = impute_missing(frame, columns=COLUMNS, options=FEW, rng=np.random.default_rng(3))
    assert len(filled) == 3
    for new in filled:
        assert not new[list(COLUMNS)].isna().any().any()
        assert list(new.columns) == list(frame.columns)
        for column in COLUMNS:
            known = frame[column].notna().to_numpy()
            assert (new[column].to_numpy()[known] == frame[column].to_numpy()[known]).all()
            assert set(new[column]) <= set(frame[column].dropna())
        assert new["band"].dtype == frame["band"].dtype
        assert new["dual"].dtype == bool
        assert new["forensic"].dtype == bool
    assert not filled[0].equals(filled[1])


def test_the_same_seed_gives_the_same_frames():
    one_, two = (impute_missing(mixed(), columns=COLUMNS, options=FEW, rng=np.random.default_rng(3)) for _ in range(2))
    for left, right in zip(one_, two, strict=True):
        pd.testing.assert_frame_equal(left, right)


def test_a_person_with_everything_missing_and_a_separating_covariate():
    frame = mixed(200)
    frame.loc[5, list(COLUMNS)] = None
    frame["dead"] = np.where(frame["age"] > 50, "yes", "no")
    frame.loc[frame.index[::4], "dead"] = None
    filled = impute_missing(frame, columns=(*COLUMNS, "dead"), options=FEW, rng=np.random.default_rng(3))[0]
    assert not filled[list(COLUMNS)].isna().any().any()
    clear = frame["dead"].isna() & ((frame["age"] - 50).abs() > 12)
    assert (filled.loc[clear, "dead"] == np.where(filled.loc[clear, "age"] > 50, "yes", "no")).mean() > 0.95


def test_constant_and_repeated_columns_do_not_stop_it():
    frame = mixed(120).assign(always=1.0)
    frame["age_again"] = frame["age"] * 2 + 1
    filled = impute_missing(
        frame, columns=("age", "age_again", "always", "score"), options=FEW, rng=np.random.default_rng(0)
    )
    assert not filled[0]["score"].isna().any()


def test_imputed_categories_follow_the_covariates():
    rng = np.random.default_rng(2)
    slopes, constants = np.array([0.0, 1.0, -0.5]), np.array([0.0, 0.3, -0.4])

    def shares(x: np.ndarray) -> np.ndarray:
        odds = np.exp(constants + slopes * x)
        return odds / odds.sum(axis=1, keepdims=True)

    x = rng.normal(size=(40_000, 1))
    y = (rng.random((40_000, 1)) > np.cumsum(shares(x), axis=1)[:, :-1]).sum(axis=1)
    for at in (-1.5, 1.5):
        drawn = draw_category(x, y, np.full((20_000, 1), at), kinds=3, rng=rng)
        expected = shares(np.array([[at]]))[0]
        assert np.bincount(drawn, minlength=3) / 20_000 == pytest.approx(expected, abs=0.02)


def test_parameters_are_drawn_and_not_fixed():
    """Proper imputation: means of large imputed blocks vary between draws by the error of the regression."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(60, 1))
    y = 3 * x[:, 0] + rng.normal(0, 1, 60)
    block = np.full((3000, 1), 0.0)
    means = [draw_number(x, y, block, donors=5, rng=rng).mean() for _ in range(200)]
    spread = np.std(means)
    assert 0.08 < spread < 0.35  # the error of the mean is 0.13; an improper draw would give 0.01
    kind = (y > 0).astype(np.int64)
    shares = [(draw_category(x, kind, block, kinds=2, rng=rng) == 1).mean() for _ in range(200)]
    fit = sm.Logit(kind, sm.add_constant(x)).fit(disp=0)
    assert np.std(shares) > 0.4 * fit.bse[0] * 0.25


def test_a_donor_at_the_end_gives_no_more_than_others():
    """Donors of a row beyond all predictions are the five last, alike often."""
    x = np.arange(40.0)[:, None]
    drawn = draw_number(
        (x - x.mean()) / x.std(), x[:, 0], np.full((8000, 1), 9.0), donors=5, rng=np.random.default_rng(0)
    )
    values, counts = np.unique(drawn, return_counts=True)
    assert values.tolist() == [35, 36, 37, 38, 39]
    assert counts == pytest.approx([1600] * 5, rel=0.12)


def test_what_cannot_be_imputed_is_named():
    frame = mixed(60).assign(
        when=pd.Timestamp("2013-01-01"), empty=np.nan, wild=np.inf, name=[f"a{k}" for k in range(60)]
    )
    rng = np.random.default_rng(0)
    with pytest.raises(ParameterError) as caught:
        impute_missing(frame, columns=("age", "when", "empty", "wild", "name"), rng=rng)
    assert [fault.where for fault in caught.value.faults] == ["when", "empty", "wild", "name"]
    assert "a7" not in str(caught.value)
    with pytest.raises(ParameterError, match="ages"):
        impute_missing(frame, columns=("ages", "score"), rng=rng)
    with pytest.raises(ParameterError, match="different columns"):
        impute_missing(frame, columns=("age",), rng=rng)
    with pytest.raises(ParameterError, match="imputations"):
        impute_missing(frame, columns=("age", "score"), options=ImputeOptions(imputations=1), rng=rng)


def test_estimates_over_imputed_frames():
    frame = mixed()
    filled = impute_missing(frame, columns=COLUMNS, options=FEW, rng=np.random.default_rng(3))

    def slope(df: pd.DataFrame) -> Estimate:
        fit = sm.OLS(df["score"], sm.add_constant(df[["age"]])).fit()
        return one(float(fit.params["age"]), float(fit.bse["age"]))

    joined = estimate_with_imputation(filled, slope, complete_df=298)
    single = [slope(df) for df in filled]
    assert joined.value == pytest.approx(np.mean([e.value for e in single]))
    assert joined.se > np.mean([e.se for e in single])
