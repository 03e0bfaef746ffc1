"""Tipping points: by hand, by simulation of what they replace, and what is refused."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Estimate, not_estimable
from evalkit.estimators.inference import normal_estimate
from evalkit.estimators.people.rubin import compute_pooled
from evalkit.estimators.people.tipping_point import (
    OutcomeSide,
    compute_confounder_tipping_point,
    compute_missing_tipping_point,
    compute_tipping_effect,
    estimate_delta_tipping_point,
)

WINDOW = Window(dt.date(2013, 1, 1), dt.date(2014, 1, 1))


def estimate(value: float, lower: float, upper: float, scale: str = "risk_ratio") -> Estimate:
    return Estimate(Estimand("readmission", "ATT", "all", WINDOW, scale), "x", "primary", value, lower, upper, 0.95)


def risk_side(known: int, risk: float, missing: int) -> OutcomeSide:
    return OutcomeSide(known, risk, math.sqrt(risk * (1 - risk)), missing)


def test_missing_by_hand():
    """80 known at 0.30, 20 missing at 0.30 + 0.25: risk 0.35."""
    found = compute_missing_tipping_point(
        risk_side(80, 0.30, 20), risk_side(100, 0.5, 0), treated_shifts=[0.0, 0.25]
    ).table
    assert found["value"].tolist() == pytest.approx([-0.20, -0.15])
    variance = 0.30 * 0.70 / 80 + 0.25**2 * 0.2 * 0.8 / 100 + 0.25 / 100
    half = (found["upper"] - found["lower"]).iloc[1] / 2
    assert half == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-6)


def test_the_interval_touches_the_null_at_the_tipping_point():
    treated, comparison = risk_side(160, 0.20, 90), risk_side(180, 0.35, 40)
    at = compute_missing_tipping_point(treated, comparison, treated_shifts=[0.0]).at
    assert 0 < at < 0.8
    there = compute_missing_tipping_point(treated, comparison, treated_shifts=[at]).table
    assert there["upper"].iloc[0] == pytest.approx(0.0, abs=1e-9)


def test_nothing_missing_cannot_tip_and_what_is_null_already_has_tipped():
    none = compute_missing_tipping_point(risk_side(200, 0.2, 0), risk_side(200, 0.4, 0), treated_shifts=[0.0])
    assert math.isnan(none.at)
    null = compute_missing_tipping_point(risk_side(50, 0.4, 9), risk_side(50, 0.4, 9), treated_shifts=[0.0])
    assert null.at == 0.0
    assert not null.table["holds"].any()


def test_variance_is_that_of_many_imputations():
    """Against multiple imputation drawn from the pattern-mixture model, 400 imputations."""
    rng = np.random.default_rng(4)
    known, missing, shift = 120, 60, 5.0
    y = rng.normal(10, 4, known)
    values, variances = [], []
    for _ in range(400):
        sigma = math.sqrt(y.var(ddof=1) * (known - 1) / rng.chisquare(known - 1))
        mu = y.mean() + sigma / math.sqrt(known) * rng.standard_normal()
        full = np.r_[y, mu + shift + sigma * rng.standard_normal(missing)]
        values.append(full.mean())
        variances.append(full.var(ddof=1) / len(full))
    pooled = compute_pooled(np.array(values), np.array(variances))
    side = OutcomeSide(known, float(y.mean()), float(y.std(ddof=1)), missing)
    still = OutcomeSide(10**9, 0.0, 1.0, 0)
    table = compute_missing_tipping_point(side, still, treated_shifts=[shift]).table
    assert table["value"].iloc[0] == pytest.approx(float(pooled.value), rel=0.01)
    assert (table["upper"] - table["value"]).iloc[0] / 1.96 == pytest.approx(float(pooled.se), rel=0.06)


def test_scale_and_shift_of_the_outcome_do_not_matter():
    one = compute_missing_tipping_point(OutcomeSide(90, 5, 9, 30), OutcomeSide(90, 9, 9, 9), treated_shifts=[1.0])
    ten = compute_missing_tipping_point(OutcomeSide(90, 57, 90, 30), OutcomeSide(90, 97, 90, 9), treated_shifts=[10.0])
    assert ten.at == pytest.approx(10 * one.at, rel=1e-9)
    assert ten.table["lower"].iloc[0] == pytest.approx(10 * one.table["lower"].iloc[0], rel=1e-9)


def test_a_confounder_by_hand():
    """Prevalences 0.5 and 0.25 with a ratio of 3: bias (1 + 2 x 0.5) / (1 + 2 x 0.25) = 4/3."""
    found = compute_confounder_tipping_point(
        estimate(1.6, 1.2, 2.1), effects=[1.0, 3.0], prevalences=[0.5], comparison_prevalence=0.25
    )
    assert found.table["value"].tolist() == pytest.approx([1.6, 1.2])
    assert found.table["holds"].tolist() == [True, False]
    at = compute_confounder_tipping_point(
        estimate(1.6, 1.2, 2.1), effects=[found.at], prevalences=[0.5], comparison_prevalence=0.25
    ).table
    assert at["lower"].iloc[0] == pytest.approx(1.0, abs=1e-12)


def test_a_confounder_explains_a_real_world():
    """Exact risks with a confounder and no effect: the bias formula gives the ratio back."""
    p1, p0, g, base = 0.6, 0.2, 2.5, 0.1
    ratio = base * (1 + (g - 1) * p1) / (base * (1 + (g - 1) * p0))
    assert compute_tipping_effect(ratio, scale="risk_ratio", prevalence=p1, comparison_prevalence=p0) == pytest.approx(
        g
    )
    assert compute_tipping_effect(0.08, scale="risk_difference", prevalence=p1, comparison_prevalence=p0) == (
        pytest.approx(0.2)
    )
    assert math.isnan(compute_tipping_effect(8.0, scale="risk_ratio", prevalence=0.3, comparison_prevalence=0.2))


def test_a_difference_is_moved_by_effect_times_imbalance():
    found = compute_confounder_tipping_point(
        estimate(-0.10, -0.16, -0.04, "risk_difference"), effects=[-0.1, 0.2], prevalences=[0.2, 0.5],
        comparison_prevalence=0.5,
    )  # fmt: skip
    first = found.table[(found.table["effect"] == 0.2) & (found.table["prevalence"] == 0.2)]
    assert first["value"].iloc[0] == pytest.approx(-0.10 + 0.06)
    assert found.at == pytest.approx(0.04 / 0.3)


def test_no_imbalance_and_an_interval_that_holds_the_null():
    none = compute_confounder_tipping_point(
        estimate(1.6, 1.2, 2.1), effects=[5.0], prevalences=[0.3], comparison_prevalence=0.3
    )
    assert math.isnan(none.at)
    assert none.table["value"].tolist() == pytest.approx([1.6])
    null = compute_confounder_tipping_point(
        estimate(1.1, 0.9, 1.3), effects=[5.0], prevalences=[0.4], comparison_prevalence=0.3
    )
    assert null.at == 1.0


def frames(seed: int = 2, m: int = 5) -> tuple[list[pd.DataFrame], np.ndarray]:
    rng = np.random.default_rng(seed)
    treated = np.arange(200) % 2
    y = 10 - 3.0 * treated + rng.normal(0, 4, 200)
    missing = rng.random(200) < 0.3
    return [pd.DataFrame({"t": treated, "y": np.where(missing, rng.permutation(y), y)}) for _ in range(m)], missing


def difference(df: pd.DataFrame) -> Estimate:
    one, nought = df.loc[df["t"] == 1, "y"], df.loc[df["t"] == 0, "y"]
    se = math.sqrt(one.var() / len(one) + nought.var() / len(nought))
    estimand = Estimand("days", "ATT", "all", WINDOW, "mean_difference")
    value = one.mean() - nought.mean()
    return normal_estimate(estimand, "means", role="primary", value=value, se=se, level=0.95, label="")


def test_shifted_imputations_move_the_estimate_by_the_share_shifted():
    drawn, missing = frames()
    rows = missing & (drawn[0]["t"] == 1).to_numpy()
    found = estimate_delta_tipping_point(drawn, difference, column="y", missing=rows, shifts=[0.0, 2.0, 8.0, 16.0])
    share = rows.sum() / 100
    assert np.diff(found.table["value"]) == pytest.approx(np.diff([0.0, 2.0, 8.0, 16.0]) * share)
    assert found.at in (2.0, 8.0, 16.0)
    assert not found.table.set_index("shift")["holds"][found.at]


def test_what_cannot_be_used_is_named():
    good = risk_side(80, 0.3, 20)
    with pytest.raises(ParameterError, match="treated side"):
        compute_missing_tipping_point(OutcomeSide(1, 0.3, 0.4, 5), good, treated_shifts=[0.0])
    with pytest.raises(ParameterError, match="outside 0 to 1"):
        compute_missing_tipping_point(good, good, treated_shifts=[0.9])
    with pytest.raises(ParameterError, match="treated_shifts"):
        compute_missing_tipping_point(good, good, treated_shifts=[])
    with pytest.raises(ParameterError, match="prevalences"):
        compute_confounder_tipping_point(
            estimate(2, 1.5, 3), effects=[2.0], prevalences=[1.2], comparison_prevalence=0.3
        )
    with pytest.raises(ParameterError, match="effects"):
        compute_confounder_tipping_point(
            estimate(2, 1.5, 3), effects=[-2.0], prevalences=[0.2], comparison_prevalence=0.3
        )
    refused = not_estimable(estimate(2, 1, 3).estimand, "x", role="primary", reason="Too few events.")
    with pytest.raises(NotEstimable, match="Too few events"):
        compute_confounder_tipping_point(refused, effects=[2.0], prevalences=[0.2], comparison_prevalence=0.3)
    drawn, missing = frames()
    with pytest.raises(ParameterError, match="mark the rows"):
        estimate_delta_tipping_point(drawn, difference, column="y", missing=missing[:5], shifts=[0.0])
    with pytest.raises(ParameterError, match='no column "z"'):
        estimate_delta_tipping_point(drawn, difference, column="z", missing=missing, shifts=[0.0])
