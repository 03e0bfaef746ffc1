"""Rubin's and Barnard-Rubin's rules against R's mice on fixed imputations of nhanes (Schafer 1997).

Source: mice 3.15.0, `with(imp, lm(chl ~ age + bmi))`, `pool` and `pool.r.squared`; 20 completed data sets of pmm with
seed 23109, which are given, so that nothing is random. Tolerance 1e-6, relative.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.estimators.people.rubin import PooledEstimate, compute_pooled, compute_pooled_r2
from tests.shared_data import reference, shared

R = reference("mi_nhanes")
TERMS = ["(Intercept)", "age", "bmi"]
COMPLETE_DF = 25 - 3
KEYS = {
    "estimate": "value",
    "se": "se",
    "within": "within",
    "between": "between",
    "riv": "riv",
    "lambda": "share_missing",
    "df_rubin87": "df_rubin",
    "df_barnard_rubin": "df",
    "df": "df",
    "fmi": "fmi",
    "ci_lo": "lower",
    "ci_hi": "upper",
}
POOLED = re.compile(r"(?:mice_pool\.)?chl_age_bmi\.m(\d+)\.(.+)\.([a-z_0-9]+)$")


def regress(df: pd.DataFrame):
    return sm.OLS(df["chl"], sm.add_constant(df[["age", "bmi"]])).fit()


@lru_cache
def imputed() -> list:
    table = pd.read_csv(shared("mi_nhanes") / "imputed_m20.csv")
    return [regress(one) for _, one in table.groupby("imp")]


@lru_cache
def pooled(m: int) -> PooledEstimate:
    fits = imputed()[:m]
    values = np.array([f.params for f in fits])
    return compute_pooled(values, np.array([f.bse**2 for f in fits]), complete_df=COMPLETE_DF)


def found(key: str) -> float:
    raw = pd.read_csv(shared("mi_nhanes") / "nhanes.csv")
    if key == "n":
        return len(raw)
    if key == "n_complete":
        return len(raw.dropna())
    if key.startswith("n_missing."):
        return int(raw[key.removeprefix("n_missing.")].isna().sum())
    if key.startswith("complete_case."):
        fit = regress(raw[["age", "bmi", "chl"]].dropna())
        term, _, what = key.removeprefix("complete_case.chl_age_bmi.").partition(".")
        return np.asarray(fit.bse if what else fit.params)[TERMS.index(term)]
    if key == "pooled_r2.chl_age_bmi.m20":
        return float(compute_pooled_r2(np.array([f.rsquared for f in imputed()]), 25).value)
    m, term, what = POOLED.match(key).groups()
    return float(getattr(pooled(int(m)), KEYS[what])[TERMS.index(term)])


@pytest.mark.parametrize("key", sorted(R))
def test_equals_mice(key: str):
    assert found(key) == pytest.approx(R[key], rel=1e-6)


def test_no_number_of_mice_is_left_out():
    if not R:
        pytest.skip("the data set mi_nhanes is not beside this checkout")
    assert len(R) == 88


def test_covariances_pool_as_variances_do():
    fits = imputed()
    values = np.array([f.params for f in fits])
    joint = compute_pooled(values, np.array([f.cov_params() for f in fits]), complete_df=COMPLETE_DF)
    assert joint.se == pytest.approx(pooled(20).se, rel=1e-12)
    assert np.sqrt(np.diag(joint.covariance)) == pytest.approx(joint.se, rel=1e-12)
    assert np.linalg.eigvalsh(joint.covariance).min() > 0


def test_mice_numbers_without_the_data():
    """mice 3.15.0 on two values told in full: m = 20 'age' of the data set above (within, between -> all the rest)."""
    m, within, between = 20, 73.944484644294, 28.3883485870399
    offsets = np.linspace(-1, 1, m)
    values = 30.4390268224244 + offsets * np.sqrt(between / offsets.var(ddof=1))
    mine = compute_pooled(values, np.full(m, within), complete_df=22)
    expected = (10.1858848737204, 13.5744474223694, 0.373297684197742, 8.52804856249237, 52.3500050823564)
    assert (mine.se, mine.df, mine.fmi, mine.lower, mine.upper) == pytest.approx(expected, rel=1e-6)
