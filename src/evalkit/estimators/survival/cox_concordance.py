"""Harrell's concordance with delayed entry, strata and weights, in O(n log n)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.estimators.survival.cox_sums import compute_time_codes

if TYPE_CHECKING:
    from evalkit.estimators.survival.cox import CoxFit


@dataclass(frozen=True)
class Concordance:
    """Weighted pairs in which who has the event first had the higher risk, the lower, or the same."""

    concordant: float
    discordant: float
    tied: float

    @property
    def value(self) -> float:
        """Share of pairs that are concordant, ties counting half."""
        return (self.concordant + self.tied / 2) / (self.concordant + self.discordant + self.tied)


def compute_concordance(fit: CoxFit, follow_up: FollowUp) -> Concordance:
    """Concordance of a Cox model's linear predictor with the order of events: R's `fit$concordance`.

    An event is paired with every row of its stratum at risk then, without an event at that time; a pair
    weighs the product of weights. Rows of one person are rows like others, as in R.
    """
    if follow_up.names != fit.names:
        raise ParameterError(Fault("follow-up", "its covariates are not those of the model"))
    predictor = follow_up.offset.copy()
    for column, coefficient in zip(follow_up.covariates.T, fit.coefficients, strict=True):
        predictor += coefficient * column  # in one order, so that equal rows have equal predictors
    return count_pairs(follow_up, predictor, cause=fit.options.cause)


def count_pairs(follow_up: FollowUp, predictor: np.ndarray, *, cause: int = 1) -> Concordance:
    """Concordance of any predictor of risk, shape (n,), with the order of events of one cause.

    Raises NotEstimable where no two rows can be compared.

    References
    ----------
    Harrell, Califf, Pryor, Lee and Rosati 1982, JAMA 247:2543; Therneau and Watson 2017, Mayo Clinic report 85.
    """
    entry, exit_, times = compute_time_codes(follow_up)
    event = follow_up.event == cause
    rank = np.unique(predictor, return_inverse=True)[1]
    # Rows are counted from their exit back, and taken off again from their entry back. Who has an event leaves
    # just before it, so that it is paired neither with itself nor with events at its time.
    layer = follow_up.stratum.astype(np.int64) * (2 * len(times) + 2)
    keys = np.concatenate([layer + 2 * exit_ + ~event, layer + 2 * entry + 1])
    weights = np.concatenate([follow_up.weights, -follow_up.weights])
    order = np.argsort(keys, kind="stable")
    at = np.flatnonzero(event)
    begin = np.searchsorted(keys[order], (layer + 2 * exit_ + 1)[at])
    end = np.searchsorted(keys[order], layer[at] + 2 * len(times) + 2)
    ordered, own = np.tile(rank, 2)[order], rank[at]
    bounds = np.concatenate([own, own + 1])
    found = sum_below(ordered, weights[order], np.tile(begin, 2), np.tile(end, 2), bounds)
    below, upto = found[: len(at)], found[len(at) :]
    running = np.concatenate([[0.0], np.cumsum(weights[order])])
    everyone = running[end] - running[begin]
    w = follow_up.weights[at]
    pairs = Concordance(float(w @ below), float(w @ (everyone - upto)), float(w @ (upto - below)))
    if not pairs.concordant + pairs.discordant + pairs.tied > 0:
        raise NotEstimable(Fault("concordance", "no row is at risk when another has an event"))
    return pairs


def sum_below(
    rank: np.ndarray, weights: np.ndarray, begin: np.ndarray, end: np.ndarray, bound: np.ndarray
) -> np.ndarray:
    """Sum of weights at places [begin, end) whose rank is below a bound, for many questions at once, shape (q,).

    A wavelet matrix (Claude, Navarro and Ordonez 2015, Information Systems 47:15): ranks are sorted one bit at a
    time from the highest, and each question follows its own bits.
    """
    found = np.zeros(len(bound))
    for bit in reversed(range(int(bound.max()).bit_length())):
        low = (rank >> bit) & 1 == 0
        before = np.concatenate([[0], np.cumsum(low)])
        weight_before = np.concatenate([[0.0], np.cumsum(np.where(low, weights, 0.0))])
        up = (bound >> bit) & 1 == 1
        found += np.where(up, weight_before[end] - weight_before[begin], 0.0)
        begin = np.where(up, before[-1] + begin - before[begin], before[begin])
        end = np.where(up, before[-1] + end - before[end], before[end])
        order = np.concatenate([np.flatnonzero(low), np.flatnonzero(~low)])
        rank, weights = rank[order], weights[order]
    return found
