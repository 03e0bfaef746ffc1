"""Random-effects pooling of one measure over places, with a prediction interval for a place not yet seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, t

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, level_faults, refuse

PoolingInterval = Literal["hartung_knapp", "wald"]


@dataclass(frozen=True)
class PooledValue:
    """Mean over places, its error and interval, the interval for a new place (NaN below 3), and how places differ.

    `tau2` is the variance between places by REML, `i2` its share (0 to 1) of what a typical place's value varies.
    """

    value: float
    se: float
    lower: float
    upper: float
    prediction_lower: float
    prediction_upper: float
    tau2: float
    i2: float
    n_places: int


def pool_places(
    values: np.ndarray, se: np.ndarray, *, level: float = 0.95, interval: PoolingInterval = "hartung_knapp"
) -> PooledValue:
    """Pool `values` (k,) with errors `se` (k,), on a scale on which they are about normal.

    tau2 by restricted maximum likelihood (Viechtbauer 2005, J Educ Behav Stat 30:261). "hartung_knapp": its error,
    never below the usual one, with t of k - 1 degrees of freedom (Knapp and Hartung 2003, Stat Med 22:2693); "wald":
    the usual error, normal. The prediction interval is value -+ t of k - 2 degrees of freedom x sqrt(tau2 + se^2)
    (Higgins, Thompson and Spiegelhalter 2009, J R Stat Soc A 172:137).

    Fails with `ParameterError` for malformed arguments and with `NotEstimable` below 2 places.
    """
    values, se = np.asarray(values, dtype=np.float64), np.asarray(se, dtype=np.float64)
    faults = [*level_faults(level), *choice_faults("pool_places interval", interval, ("hartung_knapp", "wald"))]
    if values.ndim != 1 or values.shape != se.shape or not (np.isfinite(values).all() and (se > 0).all()):
        faults.append(Fault("pool_places", "values and errors must be finite, of one shape (k,), errors above 0"))
    refuse(faults)
    k = len(values)
    if k < 2:
        raise NotEstimable(Fault("pooling over places", "too few places", str(k), "2 or more"))
    variance = se**2
    tau2 = _find_tau2(values, variance)
    weights = 1 / (variance + tau2)
    mean = float(weights @ values / weights.sum())
    error, reach = math.sqrt(1 / weights.sum()), norm.ppf(0.5 + level / 2)
    if interval == "hartung_knapp":
        spread = float(weights @ (values - mean) ** 2) / (k - 1)
        error, reach = error * math.sqrt(max(1.0, spread)), t.ppf(0.5 + level / 2, k - 1)
    ahead = t.ppf(0.5 + level / 2, k - 2) * math.sqrt(tau2 + error**2) if k > 2 else math.nan
    return PooledValue(
        mean, error, float(mean - reach * error), float(mean + reach * error), float(mean - ahead),
        float(mean + ahead), tau2, tau2 / (tau2 + _typical(variance)), k,
    )  # fmt: skip


def _find_tau2(values: np.ndarray, variance: np.ndarray) -> float:
    """Where the restricted likelihood's derivative is nought, or 0 where it falls from there on."""
    if _slope(0.0, values, variance) <= 0:
        return 0.0
    top = max(float(np.var(values, ddof=1)), float(variance.max()))
    while _slope(top, values, variance) > 0:
        top *= 2
    return float(brentq(_slope, 0.0, top, args=(values, variance), xtol=1e-14 * top, rtol=1e-13))


def _slope(tau2: float, values: np.ndarray, variance: np.ndarray) -> float:
    """Twice the derivative of the restricted log-likelihood by tau2."""
    weights = 1 / (variance + tau2)
    away = values - weights @ values / weights.sum()
    return float(weights**2 @ away**2 - weights.sum() + (weights**2).sum() / weights.sum())


def _typical(variance: np.ndarray) -> float:
    """Variance within a typical place (Higgins and Thompson 2002, Stat Med 21:1539, equation 9)."""
    weights = 1 / variance
    return float((len(weights) - 1) * weights.sum() / (weights.sum() ** 2 - (weights**2).sum()))
