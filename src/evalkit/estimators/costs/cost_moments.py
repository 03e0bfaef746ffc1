"""What costs look like before any model: moments that tell how skewed they are, and a plain difference of groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import refuse


@dataclass(frozen=True)
class CostMoments:
    """Of n people's costs; `sd` has n - 1 below; skewness and kurtosis (3 for a normal) are moment ratios m3 / m2^1.5
    and m4 / m2^2, and those of the logarithm are of positive costs. NaN where costs do not differ."""

    n: int
    n_positive: int
    mean: float
    sd: float
    median: float
    largest: float
    skewness: float
    kurtosis: float
    log_skewness: float
    log_kurtosis: float


@dataclass(frozen=True)
class WelchDifference:
    """Mean of the treated less that of the comparison, with Welch's error, statistic, degrees and p-value."""

    value: float
    se: float
    statistic: float
    degrees: float
    p_value: float


def describe_costs(cost: np.ndarray) -> CostMoments:
    """Moments of costs (n,). Raises ParameterError for missing or negative ones, NotEstimable for fewer than two."""
    cost = _check(cost)
    positive = cost[cost > 0]
    if len(cost) < 2:
        raise NotEstimable(Fault("costs", "there are fewer than two people"))
    skewness, kurtosis = _shape(cost)
    log_skewness, log_kurtosis = _shape(np.log(positive)) if len(positive) > 1 else (math.nan, math.nan)
    return CostMoments(
        len(cost), len(positive), float(cost.mean()), float(cost.std(ddof=1)), float(np.median(cost)),
        float(cost.max()), skewness, kurtosis, log_skewness, log_kurtosis,
    )  # fmt: skip


def compute_welch_difference(cost: np.ndarray, treated: np.ndarray) -> WelchDifference:
    """Difference of mean cost between `treated` (n,) bool and the others, groups' variances their own.

    Raises ParameterError for missing or negative costs, NotEstimable for fewer than two people on a side or no spread.

    Source: Welch 1947, Biometrika 34:28.
    """
    cost, side = _check(cost), np.asarray(treated, dtype=bool)
    if side.shape != cost.shape:
        raise ParameterError(Fault("treated", "the shapes do not fit each other", f"{len(side)} for {len(cost)} costs"))
    one, nought = cost[side], cost[~side]
    if min(len(one), len(nought)) < 2:
        raise NotEstimable(Fault("treated", "one side has fewer than two people"))
    parts = np.array([one.var(ddof=1) / len(one), nought.var(ddof=1) / len(nought)])
    if not parts.sum() > 0:
        raise NotEstimable(Fault("costs", "they do not differ within either side, so there is no error to tell"))
    value, se = float(one.mean() - nought.mean()), math.sqrt(parts.sum())
    degrees = float(parts.sum() ** 2 / (parts**2 / np.array([len(one) - 1, len(nought) - 1])).sum())
    return WelchDifference(value, se, value / se, degrees, float(2 * stats.t.sf(abs(value) / se, degrees)))


def _check(cost: np.ndarray) -> np.ndarray:
    values = np.asarray(cost, dtype=np.float64)
    missing = int((~np.isfinite(values)).sum())
    if values.ndim != 1 or missing:
        raise ParameterError(Fault("costs", f"{how_many(missing)} are missing or infinite", allowed="one a person"))
    refuse([Fault("costs", "some are negative")] if len(values) and values.min() < 0 else [])
    return values


def _shape(values: np.ndarray) -> tuple[float, float]:
    """Skewness and kurtosis, NaN where nothing varies."""
    away = values - values.mean()
    second = float((away**2).mean())
    if not second > 0:
        return math.nan, math.nan
    return float((away**3).mean() / second**1.5), float((away**4).mean() / second**2)
