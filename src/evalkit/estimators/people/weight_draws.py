"""Weighted effects of many bootstrap draws, the propensity fitted anew in each: the numeric core, without people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.core.estimand import Contrast
from evalkit.estimators.people.logistic import fit_logistic_draws

_BLOCK = 2_000_000  # numbers held at a time
_LARGE = 700.0  # beyond this the exponential overflows


@dataclass(frozen=True)
class WeightedDraws:
    """Weighted mean outcome of the treated (B,) and of the comparison (B,); NaN where `fitted` (B,) is False.

    A draw is not fitted where a covariate separates the sides in it or a side has nobody.
    """

    treated: np.ndarray
    comparison: np.ndarray
    fitted: np.ndarray


def compute_weighted_draws(
    x: np.ndarray,
    treated: np.ndarray,
    outcome: np.ndarray,
    counts: np.ndarray,
    *,
    base: np.ndarray | None = None,
    contrast: Contrast = "ATT",
) -> WeightedDraws:
    """Weighted means of both sides in each of B draws, weights from a propensity fitted to that draw.

    Parameters
    ----------
    x : float array, shape (n, p), the whole design with its intercept, no column a combination of others
    treated : bool array, shape (n,)
    outcome : float array, shape (n,)
    counts : array, shape (B, n), how often each row was drawn (times its sampling weight, if it has one)
    base : float array, shape (n,), sampling weights of the fit that draws begin at; by default all one
    contrast : ATT, ATC, ATE or ATO; weights as in `weighting.compute_contrast_weights`, means normalised per side

    Raises
    ------
    ParameterError, NotEstimable
        As `fit_logistic`, of the fit to everybody.

    References
    ----------
    Lunceford and Davidian 2004, Stat Med 23:2937 (normalised weighted means); Efron and Tibshirani 1993, chapter 6.
    """
    side = np.asarray(treated, dtype=bool)
    draws = fit_logistic_draws(x, side.astype(np.float64), counts, base=base)
    means = np.full((2, len(counts)), np.nan)
    size = max(1, min(64, _BLOCK // len(x)))
    one, nought = np.flatnonzero(side), np.flatnonzero(~side)
    for at in range(0, len(counts), size):
        rows = slice(at, at + size)
        coefficients = np.where(draws.fitted[rows, None], draws.coefficients[rows], 0.0)
        for place, (people, sign) in enumerate(((one, 1.0), (nought, -1.0))):
            w = counts[rows][:, people]
            if (contrast, sign) not in (("ATT", 1.0), ("ATC", -1.0)):
                w = w * _weights(sign * (coefficients @ x[people].T), contrast)
            total = w.sum(axis=1)
            means[place, rows] = np.where(total > 0, (w @ outcome[people]) / np.where(total > 0, total, 1.0), np.nan)
    means[:, ~draws.fitted] = np.nan
    fitted = np.isfinite(means).all(axis=0)
    return WeightedDraws(means[0], means[1], fitted)


def compute_weighted_att_draws(
    x: np.ndarray, treated: np.ndarray, outcome: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Effect on the treated, as a difference of weighted means, in each of B draws, shape (B,); see above."""
    draws = compute_weighted_draws(x, treated, outcome, counts)
    return draws.treated - draws.comparison


def _weights(own: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Weights, of any shape, from the linear predictor of being on one's own side."""
    if contrast == "ATO":
        return 1.0 / (1.0 + np.exp(np.minimum(own, _LARGE)))
    odds = np.exp(np.minimum(-own, _LARGE))  # of the other side over one's own
    return 1.0 + odds if contrast == "ATE" else odds
