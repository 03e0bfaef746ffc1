"""Bias and coverage of the doubly robust difference-in-differences where the truth is known."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from evalkit.core.dates import Window
from evalkit.core.errors import NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.estimators.people.overlap import estimate_overlap_aipw_did, fit_overlap_weights

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))
ESTIMAND = Estimand("readmission_90d", "ATO", "people", WINDOW, "risk_difference")
COVARIATES = ("x1", "x2")
EFFECT = -0.08


def draw(seed: int, *, n: int = 2000, effect: float = EFFECT, censored: float = 0.0) -> pd.DataFrame:
    """Discharges of four cells; area and risk both depend on x; the effect is additive on risk, so ATO = ATT."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(n // 2), 2)
    x = rng.normal(size=(n // 2, 2))[person]
    treated = (rng.random(n // 2) < 1 / (1 + np.exp(1 - 0.7 * x[:, 0][::2])))[person]
    after = rng.random(n) < 0.5
    risk = np.clip(0.25 + 0.06 * x[:, 0] + 0.03 * treated - 0.02 * after + effect * treated * after, 0.01, 0.99)
    event = (rng.random(n) < risk).astype(int)
    time = np.where(event == 1, rng.integers(0, 90, n), 90)
    leaves = rng.random(n) < censored
    left_on = rng.integers(1, 90, n)
    gone = leaves & (left_on < time)
    return pd.DataFrame(
        {
            "person_id": person, "treated": treated, "period": np.where(after, "after", "before"),
            "area": np.where(treated, "a", "b"), "x1": x[:, 0], "x2": x[:, 1] + x[:, 0] ** 2,
            "event": np.where(gone, 0, event), "time_days": np.where(gone, left_on, time),
        }
    )  # fmt: skip


def estimate(rows: pd.DataFrame):
    return estimate_overlap_aipw_did(rows, ESTIMAND, covariates=COVARIATES, horizon_days=90, level=0.95)


def test_weights_balance_every_covariate():
    rows = draw(1)
    cell = np.where(rows["treated"], 0, 2) + (rows["period"] == "before").to_numpy(int)
    balance = fit_overlap_weights(rows[list(COVARIATES)], cell).balance.set_index("covariate")
    assert balance.loc["x1", "unweighted"] > 0.5
    assert (balance["weighted"] < 0.1).all()


def test_no_group_difference_in_change_gives_nought_on_average():
    values = [estimate(draw(seed, effect=0.0)).value for seed in range(20)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


@pytest.mark.slow
@pytest.mark.parametrize("censored", [0.0, 0.3])
def test_bias_and_coverage(censored):
    found = [estimate(draw(seed, censored=censored)) for seed in range(200)]
    errors = np.array([e.value - EFFECT for e in found])
    covered = np.mean([e.lower <= EFFECT <= e.upper for e in found])
    assert abs(errors.mean()) <= 3 * errors.std() / np.sqrt(len(errors))
    assert abs(covered - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / len(found))
    assert np.mean([e.se for e in found]) == pytest.approx(errors.std(), rel=0.15)


def test_doubling_every_discharge_does_not_shrink_the_error():
    """Two copies of each row of a person hold no more information: the error is by person."""
    rows = draw(3)
    doubled = pd.concat([rows, rows], ignore_index=True)
    assert estimate(doubled).se == pytest.approx(estimate(rows).se, rel=0.02)


def test_a_cell_with_too_few_readmissions_is_refused():
    rows = draw(4)
    rows.loc[rows["treated"] & (rows["period"] == "before"), "event"] = 0
    with pytest.raises(NotEstimable, match="treated before"):
        estimate(rows)
