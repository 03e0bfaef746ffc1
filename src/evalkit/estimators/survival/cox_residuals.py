"""Residuals of a Cox model and what is made of them: influence, Schoenfeld's, baseline hazards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import as_numbers
from evalkit.core.errors import Fault, ParameterError
from evalkit.estimators.survival.cox_sums import (
    Moments,
    RiskSets,
    build_risk_sets,
    compute_moments,
    compute_ratio_at,
    own_share,
    sum_by_slot,
    sum_over_follow_up,
)

_SAME = 1e-9  # two log-likelihoods this near, as a share of themselves, are one

if TYPE_CHECKING:
    from evalkit.estimators.survival.cox import CoxFit


@dataclass(frozen=True)
class SchoenfeldResiduals:
    """One row an event, sorted by stratum and time: `time`, `stratum` (e,) and `residuals` (e, p)."""

    time: np.ndarray
    stratum: np.ndarray
    residuals: np.ndarray


@dataclass(frozen=True)
class BaselineHazard:
    """Baseline hazard of one stratum: event times and the hazard's step at each, shape (k,)."""

    stratum: int
    time: np.ndarray
    hazard: np.ndarray

    @property
    def cumulative(self) -> np.ndarray:
        return np.cumsum(self.hazard)


def rebuild(fit: CoxFit, follow_up: FollowUp) -> tuple[RiskSets, Moments]:
    """The risk sets that a model was fitted on and its moments; refuses another follow-up's shape."""
    if follow_up.names != fit.names or len(follow_up) != fit.n:
        raise ParameterError(
            Fault("follow-up", "it is not the one that the model was fitted on", next_step="Give the same follow-up.")
        )
    sets = build_risk_sets(follow_up, cause=fit.options.cause, ties=fit.options.ties)
    null = compute_moments(sets, np.zeros(len(fit.names)))
    if null is None or abs(null.log_likelihood - fit.log_likelihood_null) > _SAME * abs(fit.log_likelihood_null):
        raise ParameterError(
            Fault("follow-up", "it has other weights, times or strata than that of the model",
                  next_step="Give the same follow-up.")
        )  # fmt: skip
    moments = compute_moments(sets, fit.coefficients * sets.scale)
    if moments is None:
        raise ParameterError(Fault("follow-up", "relative hazards overflow: it is not the one of the model"))
    return sets, moments


def compute_scaled_scores(sets: RiskSets, moments: Moments) -> np.ndarray:
    """Score residuals of the rows of `sets` and of scaled covariates, shape (m, p), not weighted.

    A row's is (its covariates less the risk set's mean) at its event, less the same integrated over its own
    expected events. In a tie of d under Efron the mean is that over the d terms, and the row is itself at risk
    only by the share left in each (Therneau and Grambsch 2000, sect. 4.6; R's agscore).
    """
    increment = sets.term_weight / moments.denominator
    with_mean = increment[:, None] * moments.mean
    risk = (moments.risk / sets.weights)[:, None]
    expected = (sum_over_follow_up(sets, increment) - own_share(sets, increment))[:, None]
    found = sum_over_follow_up(sets, with_mean)
    if sets.is_tied:
        found -= own_share(sets, with_mean)
    found -= sets.x * expected
    found *= risk
    dead = sets.dead
    found[dead] += sets.x[dead] - _mean_at_event(sets, moments)
    return found


def _mean_at_event(sets: RiskSets, moments: Moments) -> np.ndarray:
    """The risk set's mean of scaled covariates at each row's event, averaged over its tie, shape (e, p)."""
    terms = np.bincount(sets.term_slot, minlength=len(sets.time))
    slot = sets.slot[sets.dead]
    if len(terms) and terms.max() == 1 and len(slot) == len(sets.term_slot):
        return moments.mean
    return (sum_by_slot(sets, moments.mean) / np.maximum(terms, 1)[:, None])[slot]


def sum_score_residuals(sets: RiskSets, moments: Moments, cluster: np.ndarray) -> np.ndarray:
    """Weighted score residuals of scaled covariates summed by cluster, shape (clusters, p).

    `cluster` has a code a row of the follow-up; those never at risk at an event add a row of zeros.
    """
    codes = np.unique(cluster, return_inverse=True)[1]
    n_clusters = int(codes.max()) + 1
    place = codes[sets.rows]
    share = sparse.csr_array((sets.weights, (place, np.arange(len(place)))), shape=(n_clusters, len(place)))
    return share @ compute_scaled_scores(sets, moments)


def compute_score_residuals(fit: CoxFit, follow_up: FollowUp) -> np.ndarray:
    """Score residuals, shape (n, p), not weighted: R's `residuals(fit, type="score")`.

    Their weighted sum is the score, 0 at the maximum. Rows are those of `follow_up`, which must be the one that was
    fitted (ParameterError).
    """
    sets, moments = rebuild(fit, follow_up)
    return sets.spread(compute_scaled_scores(sets, moments) * sets.scale)


def compute_dfbeta(fit: CoxFit, follow_up: FollowUp) -> np.ndarray:
    """About how far each row moves the coefficients, shape (n, p), weighted: R's `residuals(fit, type="dfbeta")`.

    Sums by cluster, multiplied crosswise, are `fit.robust_variance`.
    """
    return follow_up.weights[:, None] * compute_score_residuals(fit, follow_up) @ fit.variance


def compute_martingale_residuals(fit: CoxFit, follow_up: FollowUp) -> np.ndarray:
    """Events less expected events of each row, shape (n,): R's `residuals(fit, type="martingale")`."""
    sets, moments = rebuild(fit, follow_up)
    increment = sets.term_weight / moments.denominator
    expected = sum_over_follow_up(sets, increment) - own_share(sets, increment)
    return sets.spread((sets.slot >= 0) - moments.risk / sets.weights * expected)


def compute_schoenfeld_residuals(fit: CoxFit, follow_up: FollowUp) -> SchoenfeldResiduals:
    """Covariates of each event less the risk set's mean: R's `residuals(fit, type="schoenfeld")`."""
    sets, moments = rebuild(fit, follow_up)
    dead = sets.dead
    slot = sets.slot[dead]
    residuals = (sets.x[dead] - _mean_at_event(sets, moments)) * sets.scale
    return SchoenfeldResiduals(sets.time[slot], sets.stratum[slot], residuals)


def compute_baseline_hazard(
    fit: CoxFit, follow_up: FollowUp, *, at: np.ndarray | None = None
) -> tuple[BaselineHazard, ...]:
    """Steps of the cumulative hazard of a person with covariates `at`, shape (p,), and offset 0, by stratum.

    `at` defaults to 0 for all covariates: R's `basehaz(fit, centered=FALSE)`. Breslow's estimator, or Efron's where
    ties are (Therneau and Grambsch 2000, sect. 10.2). Strata without events have none.

    Raises ParameterError for `at` of another shape or, as 0 may be, too far from the data.
    """
    sets, moments = rebuild(fit, follow_up)
    place = np.zeros(len(fit.names)) if at is None else as_numbers(at, "at")
    if place.shape != (len(fit.names),) or not np.isfinite(place).all():
        raise ParameterError(
            Fault("at", "one finite value a covariate is needed", str(place.shape), str(len(fit.names)))
        )
    hazard = sum_by_slot(sets, sets.term_weight / moments.denominator)
    # Risk sets were summed with covariates and offset less the stratum's means.
    factor = compute_ratio_at((place - sets.centre) @ fit.coefficients - sets.offset_centre)
    return tuple(
        BaselineHazard(int(sets.stratum[begin]), sets.time[begin : end - 1], hazard[begin : end - 1] * times)
        for begin, end, times in zip(sets.starts[:-1], sets.starts[1:], factor, strict=True)
    )
