"""Cumulative incidence with death competing, and weights for censored follow-up."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats


def estimate_cumulative_incidence(
    time_days: np.ndarray, event: np.ndarray, *, at_days: np.ndarray, level: float
) -> pd.DataFrame:
    """Aalen-Johansen risk of event 1 with event 2 competing, at given days.

    Times are whole days; on one day events come before censoring. The variance is the delta-method
    (Gaynor et al. 1993; Marubini and Valsecchi 1995, eq. 10.12), the interval on the log(-log) scale.

    Parameters
    ----------
    time_days, event : arrays, shape (n,)
        Day of the first event or of censoring; 0 censored, 1 of interest, 2 competing.
    at_days : int array, shape (m,)
        Risk is that of an event on a day before each of these: the window is half-open.

    Returns
    -------
    DataFrame, shape (m, 5): `day, risk, se, lower, upper`.
    """
    days = np.arange(int(max(at_days.max(), 1)))
    d1 = np.bincount(time_days[event == 1], minlength=len(days))[: len(days)].astype(float)
    d2 = np.bincount(time_days[event == 2], minlength=len(days))[: len(days)].astype(float)
    left = np.bincount(np.minimum(time_days, len(days)), minlength=len(days) + 1)
    at_risk = (len(time_days) - np.concatenate([[0], np.cumsum(left)[:-1]]))[: len(days)].astype(float)
    n = np.maximum(at_risk, 1.0)
    survival = np.cumprod(1 - (d1 + d2) / n)
    before = np.concatenate([[1.0], survival[:-1]])
    risk = np.cumsum(before * d1 / n)
    all_events = d1 + d2
    spread = np.where(n > all_events, all_events / (n * np.maximum(n - all_events, 1)), 0.0)
    rows = []
    z = stats.norm.ppf(0.5 + level / 2)
    for day in at_days:
        k = int(day)
        if k == 0:
            rows.append((k, 0.0, 0.0, 0.0, 0.0))
            continue
        gap = risk[k - 1] - risk[:k]
        variance = (
            (gap**2 * spread[:k]).sum()
            + (before[:k] ** 2 * d1[:k] * (n[:k] - d1[:k]) / n[:k] ** 3).sum()
            - 2 * (gap * before[:k] * d1[:k] / n[:k] ** 2).sum()
        )
        value, se = float(risk[k - 1]), float(np.sqrt(max(variance, 0.0)))
        rows.append((k, value, se, *_log_log_interval(value, se, z)))
    return pd.DataFrame(rows, columns=["day", "risk", "se", "lower", "upper"])


def _log_log_interval(value: float, se: float, z: float) -> tuple[float, float]:
    if not 0 < value < 1 or se == 0:
        return (np.nan, np.nan)
    width = z * se / (value * np.log(value))
    low, high = value ** np.exp(-width), value ** np.exp(width)
    return (float(min(low, high)), float(max(low, high)))


def compute_censoring_weights(
    time_days: np.ndarray, event: np.ndarray, stratum: np.ndarray, *, horizon_days: int
) -> np.ndarray:
    """Inverse-probability-of-censoring weights for 'event before the horizon', shape (n,).

    Who is followed to an event or to the horizon is weighted by one over the Kaplan-Meier
    probability, within `stratum`, of being followed so far; who was censored earlier gets 0
    (Robins and Rotnitzky 1992).
    """
    weights = np.zeros(len(time_days))
    for name in pd.unique(stratum):
        rows = np.flatnonzero(stratum == name)
        time, known = time_days[rows], (event[rows] > 0) | (time_days[rows] >= horizon_days)
        censored = np.bincount(np.where(known, horizon_days, time), minlength=horizon_days + 1)[:horizon_days]
        leaving = np.bincount(np.minimum(time, horizon_days), minlength=horizon_days + 1)
        at_risk = len(rows) - np.concatenate([[0], np.cumsum(leaving)[:-1]])[:horizon_days]
        events = np.bincount(time[event[rows] > 0], minlength=horizon_days + 1)[:horizon_days]
        # Events come before censoring on one day, so they have left before censoring is counted.
        still = np.cumprod(1 - censored / np.maximum(at_risk - events, 1))
        followed = np.concatenate([[1.0], still])  # followed[t]: not censored before day t
        weights[rows] = np.where(known, 1 / np.maximum(followed[np.minimum(time, horizon_days)], 1e-12), 0.0)
    return weights
