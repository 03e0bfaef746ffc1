"""Survival of a person with given covariates, from a Cox model, with its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import as_numbers
from evalkit.core.errors import Fault, ParameterError
from evalkit.core.faults import level_faults
from evalkit.estimators.survival.cox_residuals import rebuild
from evalkit.estimators.survival.cox_sums import compute_ratio_at, sum_by_slot

if TYPE_CHECKING:
    from evalkit.estimators.survival.cox import CoxFit


@dataclass(frozen=True)
class CoxSurvival:
    """Survival in one stratum at its event times, arrays of shape (k,); `se` is of the cumulative hazard."""

    stratum: int
    time: np.ndarray
    survival: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def compute_survival(
    fit: CoxFit, follow_up: FollowUp, *, at: np.ndarray, level: float = 0.95
) -> tuple[CoxSurvival, ...]:
    """Survival by stratum of somebody with covariates `at`, shape (p,), and offset 0: R's `survfit(fit, newdata)`.

    exp(-cumulative hazard), Breslow's or Efron's as the fit's ties, with Tsiatis's variance of the cumulative
    hazard (that of its steps, and that of the coefficients through the mean covariates; Tsiatis 1981, Annals of
    Statistics 9:93; Therneau and Grambsch 2000, sect. 10.2.3) and an interval symmetric in the log of survival, as R's
    default. The variance is the model's: where rows of a cluster are alike beyond their covariates, it is too small.

    Raises ParameterError for weights (the model's variance does not hold with them), a wrong shape, values too far
    from the data, another follow-up.
    """
    place = as_numbers(at, "at")
    faults = []
    if place.shape != (len(fit.names),) or not np.isfinite(place).all():
        faults.append(Fault("at", "one finite value a covariate is needed", str(place.shape), f"({len(fit.names)},)"))
    if not (follow_up.weights == 1).all():
        faults.append(Fault("weights", "the model's variance of survival does not hold with weights", allowed="all 1"))
    faults += level_faults(level)
    if faults:
        raise ParameterError(faults)
    sets, moments = rebuild(fit, follow_up)
    increment = sets.term_weight / moments.denominator
    steps = sum_by_slot(sets, increment)
    spread = sum_by_slot(sets, increment / moments.denominator)
    means = sum_by_slot(sets, increment[:, None] * moments.mean)
    half = stats.norm.ppf(0.5 + level / 2)
    found = []
    for k, (begin, end) in enumerate(zip(sets.starts[:-1], sets.starts[1:] - 1, strict=True)):
        here = (place - sets.centre[k]) / sets.scale
        risk = compute_ratio_at((place - sets.centre[k]) @ fit.coefficients - sets.offset_centre[k])
        hazard = risk * np.cumsum(steps[begin:end])
        # Of the coefficients: the cumulative hazard's derivative, in units of the covariates.
        slope = risk * (here * np.cumsum(steps[begin:end])[:, None] - np.cumsum(means[begin:end], axis=0)) * sets.scale
        variance = risk**2 * np.cumsum(spread[begin:end]) + np.einsum("ki,ij,kj->k", slope, fit.variance, slope)
        survival, se = np.exp(-hazard), np.sqrt(variance)
        lower, upper = survival * np.exp(-half * se), np.minimum(survival * np.exp(half * se), 1.0)
        found.append(CoxSurvival(int(sets.stratum[begin]), sets.time[begin:end], survival, se, lower, upper))
    return tuple(found)
