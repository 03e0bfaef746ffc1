"""Whether risks are right along their whole range: a score test, which asks nothing of a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import logit
from scipy.stats import chi2

from evalkit.risk.calibration import build_spline, place_knots

# Mean distances of predicted from smooth risk: they are above 0 also where every risk is right.
DISTANCES = ("ici", "e50", "e90", "emax")


@dataclass(frozen=True)
class CalibrationTest:
    """Chi-square `statistic` on `df` degrees of freedom and its p-value; NaN and 0 where there is none."""

    statistic: float
    df: int
    p_value: float


def compute_calibration_test(
    risk: np.ndarray, outcome: np.ndarray, *, cluster: np.ndarray, knots: np.ndarray | None = None
) -> CalibrationTest:
    r"""Test that risks (n,) are those of outcomes (n,), against any smooth curve.

    With X the spline of `fit_calibration_curve` on the log-odds (intercept, line, and bends between `knots`), the
    score at perfect calibration is \(U = X'(y - r)\) with variance \(V = X' diag(r (1 - r)) X\), and
    \(U' V^{-1} U\) chi-square with as many degrees of freedom as X has independent columns (Rao's score test). Where
    people (`cluster` (n,), codes from 0) have several discharges it is divided by the mean design effect
    tr(V^-1 R) / df, not below 1, R the sum over people of the squares of their scores (Rao and Scott's first-order
    correction).

    There is none where a risk is 0 or 1, or there are no more people than columns.
    """
    none = CalibrationTest(math.nan, 0, math.nan)
    if risk.min() <= 0 or risk.max() >= 1:
        return none
    knots = place_knots(risk) if knots is None else knots
    x = build_spline(logit(risk), knots)
    x[:, 1:] -= x[:, 1:].mean(axis=0)
    spread = np.sqrt((x**2).mean(axis=0))
    x = x[:, spread > 1e-9 * max(1.0, float(np.abs(logit(risk)).max()))]
    x = np.linalg.qr(x / np.sqrt((x**2).mean(axis=0)))[0]
    people, df = int(cluster.max()) + 1, x.shape[1]
    if people <= df:
        return none
    variance = np.linalg.inv(x.T @ (x * (risk * (1 - risk))[:, None]))
    scores = x * (outcome - risk)[:, None]
    sums = np.column_stack([np.bincount(cluster, column, people) for column in scores.T])
    effect = 1.0
    if people < len(risk):
        effect = max(float(np.trace(variance @ (sums.T @ sums))) / df, 1.0)
    total = scores.sum(axis=0)
    statistic = float(total @ variance @ total) / effect
    return CalibrationTest(statistic, df, float(chi2.sf(statistic, df)))
