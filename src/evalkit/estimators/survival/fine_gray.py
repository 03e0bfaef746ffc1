"""Fine and Gray's model of the risk of one outcome where another can come first, with weights and clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import FEW, as_numbers, cause_faults, how_many
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.estimand import Estimand
from evalkit.core.faults import choice_faults, level_faults, refuse
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.inference import log_ratio_estimate
from evalkit.estimators.survival.cox_sums import compute_ratio_at
from evalkit.estimators.survival.fine_gray_errors import compute_clustered_variance, compute_score_residuals
from evalkit.estimators.survival.fine_gray_fit import compute_scales, maximise
from evalkit.estimators.survival.fine_gray_sums import Ties, build_risk_sets
from evalkit.estimators.survival.fine_gray_weights import (
    TiedCensoring,
    derive_ends,
    fit_group_weights,
    merge_close_times,
)

MIN_EVENTS = 10
MIN_SIDE = 2
MIN_CLUSTERS = 20
_CHOICES = {
    "ties": ("efron", "breslow"),
    "errors": ("model", "robust", "robust_censoring"),
    "strata": ("both", "baseline", "censoring"),
    "tied_censoring": ("after_events", "with_events"),
    "censoring_weights": ("unweighted", "case"),
}


@dataclass(frozen=True)
class FineGrayOptions:
    """How the subdistribution hazard is fitted.

    errors : "model" (inverse information), "robust" (clustered, weights over time taken as known, as R's
        `coxph` on `finegray`) or "robust_censoring" (clustered, with what their estimation adds; as `crr`).
    strata : what `FollowUp.stratum` parts: the "censoring" distribution, the "baseline" hazard, or "both".
    tied_censoring : "after_events" (an event and a censoring on one day: the event was first; R's `finegray`)
        or "with_events" (both count as at risk of censoring; `crr`).
    censoring_weights : whether case weights count in the censoring distribution ("case": frequency and sampling
        weights) or not ("unweighted", as in R: weights that balance a comparison).
    tolerance : relative change of the log-likelihood below which a coefficient that still moves is taken to be on
        its way to infinity.
    """

    ties: Ties = "efron"
    errors: Literal["model", "robust", "robust_censoring"] = "robust_censoring"
    strata: Literal["both", "baseline", "censoring"] = "both"
    tied_censoring: TiedCensoring = "after_events"
    censoring_weights: Literal["unweighted", "case"] = "unweighted"
    max_iterations: int = 50
    tolerance: float = 1e-9


@dataclass(frozen=True)
class FineGrayFit:
    """Log subdistribution hazard ratios, p of them, and the baseline.

    `variance` (p, p) is model based, `robust_variance` (p, p) what `options.errors` asks for (the same where that
    is "model"). `times`, `stratum` and `central` (E,) are the steps of the cumulative subdistribution hazard of
    somebody whose log hazard relative to covariates of 0 is `centre`, which the data's mean is; `increments` (E,) are
    those of somebody whose covariates are all 0. `last_time` (S,) is how far each baseline stratum was followed.
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    variance: np.ndarray
    robust_variance: np.ndarray
    log_likelihood: float
    log_likelihood_null: float
    n_people: int
    n_events: int
    n_competing: int
    n_clusters: int
    iterations: int
    times: np.ndarray
    stratum: np.ndarray
    central: np.ndarray
    centre: float
    last_time: np.ndarray
    options: FineGrayOptions

    @property
    def increments(self) -> np.ndarray:
        """Raises ParameterError where covariates of 0 lie too far from the data."""
        return self.central * compute_ratio_at(np.array(-self.centre))

    @property
    def se(self) -> np.ndarray:
        """Standard errors as `options.errors` asks, shape (p,)."""
        return np.sqrt(np.diag(self.robust_variance))


def fit_fine_gray(follow_up: FollowUp, *, cause: int = 1, options: FineGrayOptions | None = None) -> FineGrayFit:
    """Fit the proportional subdistribution hazards model to time to `causes[cause - 1]`.

    Whoever has another event first stays at risk, with a weight that falls as they would have been censored and
    rises as they would have entered: G(t-)H(t-) / G(T-)H(T-). Case weights multiply it. Nobody is written out once for
    every time, so that a fit takes time in proportion to rows + event times.

    Raises
    ------
    ParameterError
        No covariates; `cause` is not among the causes; rows of a person after their event.
    NotEstimable
        No event; covariates that are constant or follow from others; a covariate that separates; weights that
        cannot be had since nobody is left to learn censoring or entry from.

    References
    ----------
    Fine and Gray 1999, JASA 94:496; Geskus 2011, Biometrics 67:39 (delayed entry); Therneau, Crowson and Atkinson,
    "Multi-state models and competing risks" (tied times).
    """
    options = options or FineGrayOptions()
    _check_input(follow_up, cause, options)
    f = merge_close_times(follow_up)
    ends = derive_ends(f)
    one = np.zeros(len(f), dtype=np.int64)
    own = np.unique(f.stratum, return_inverse=True)[1]
    layer = one if options.strata == "censoring" else own
    group = one if options.strata == "baseline" else own
    mass = f.weights if options.censoring_weights == "case" else np.ones(len(f))
    weights = fit_group_weights(f, ends, group, mass, tied=options.tied_censoring)
    sets = build_risk_sets(f, cause=cause, layer=layer, group=group, weights=weights, ties=options.ties)
    centre, scale = compute_scales(f)
    z = (f.covariates - centre) / scale
    best = maximise(sets, f, z, max_iterations=options.max_iterations, tolerance=options.tolerance)
    step, beta = best.step, best.coefficients / scale
    inverse = np.linalg.inv(step.information)
    variance = inverse / np.outer(scale, scale)
    if options.errors == "model":
        robust = variance
    else:
        residuals = compute_score_residuals(
            sets, f, z, step.relative, step.denominator, step.mean,
            censoring=(weights, ends, mass, options.tied_censoring) if options.errors == "robust_censoring" else None,
        )  # fmt: skip
        robust = compute_clustered_variance(residuals @ inverse / scale, f.cluster)
    rises = sets.sum_terms((sets.mass / step.denominator)[:, None])[:, 0]
    codes = np.unique(f.stratum) if options.strata != "censoring" else np.zeros(1, dtype=np.int64)
    last_time = np.array([f.exit[layer == k].max() for k in range(len(codes))])[np.unique(sets.layer)]
    return FineGrayFit(
        f.names, beta, variance, robust, step.log_likelihood, best.null, f.n_people, f.n_events(cause),
        int(((f.event != 0) & (f.event != cause)).sum()), len(np.unique(f.cluster)), best.iterations,
        sets.times, codes[sets.layer], rises, float(centre @ beta + f.offset.mean()), last_time, options,
    )  # fmt: skip


def compute_cumulative_incidence_at(
    fit: FineGrayFit, x: np.ndarray, times: np.ndarray, *, stratum: int | None = None
) -> np.ndarray:
    """Risk of the outcome by each time for people like `x`: 1 - exp(-baseline(t) exp(x b)), shape (m, T).

    Parameters
    ----------
    x : float array, shape (m, p) or (p,), in the units and order of `fit.names`
    times : float array, shape (T,)
    stratum : code of the baseline stratum; needed where there are several

    Raises
    ------
    ParameterError
        `x` has another number of columns, is not finite or too far from the data; times that are not finite; no such
        stratum, or none named among several.
    NotEstimable
        Nobody of the stratum is followed to a time.
    """
    rows, moments = np.atleast_2d(as_numbers(x, "x")), as_numbers(times, "times")
    known = np.unique(fit.stratum)
    faults = []
    if rows.shape[1] != len(fit.names):
        faults.append(Fault("x", "it has another number of covariates", f"{rows.shape[1]}", f"{len(fit.names)}"))
    if (stratum is None and len(known) > 1) or (stratum is not None and stratum not in known):
        faults.append(Fault("stratum", "name the baseline stratum", got=f"{stratum}", allowed=f"{known.tolist()}"))
    if not (np.isfinite(rows).all() and np.isfinite(moments).all()):
        faults.append(Fault("x, times", "some are missing or infinite"))
    refuse(faults)
    chosen = known[0] if stratum is None else stratum
    inside, last = fit.stratum == chosen, float(fit.last_time[known == chosen][0])
    if (moments > last).any():
        step = "Take an earlier time."
        raise NotEstimable(Fault("times", "nobody is followed so far", f"{moments.max():g}", f"up to {last:g}", step))
    total = np.concatenate([[0.0], np.cumsum(fit.central[inside])])
    at = total[np.searchsorted(fit.times[inside], moments, "right")]
    return -np.expm1(-compute_ratio_at(rows @ fit.coefficients - fit.centre)[:, None] * at[None, :])


def estimate_subdistribution_ratio(
    follow_up: FollowUp,
    estimand: Estimand,
    *,
    covariate: str,
    cause: int = 1,
    options: FineGrayOptions | None = None,
    level: float = 0.95,
    role: Role = "primary",
) -> Estimate:
    """Ratio of subdistribution hazards per unit of `covariate`, given the others, with a clustered interval.

    The interval is normal on the log scale and `se` is the error of the log. The ratio says in which direction
    and in what order the risk moves, not by how much: for that take differences of cumulative incidence.

    Raises
    ------
    ParameterError
        The estimand is not on the scale `hazard_ratio`; no such covariate; a level outside 0 to 1.
    NotEstimable
        Fewer than `MIN_EVENTS` events or `MIN_SIDE` people on a side, clustered errors of one cluster, and what
        `fit_fine_gray` raises.
    """
    place = _covariate_place(follow_up, estimand, covariate, level)
    _refuse_thin(follow_up, cause, place)
    fit = fit_fine_gray(follow_up, cause=cause, options=options)
    if fit.options.errors != "model" and fit.n_clusters < 2:
        raise NotEstimable(Fault("clusters", "there is one alone, which has no error", allowed="2 or more"))
    b, se = float(fit.coefficients[place]), float(fit.se[place])
    return log_ratio_estimate(
        estimand, "fine_gray", role=role, log_value=b, se=se, level=level, n_people=fit.n_people, n_events=fit.n_events,
        checks=_make_checks(fit, follow_up, place, cause), label="Fine and Gray's subdistribution hazard ratio",
    )  # fmt: skip


def _check_input(f: FollowUp, cause: int, options: FineGrayOptions) -> None:
    faults = []
    for name, allowed in _CHOICES.items():
        faults += choice_faults(name, getattr(options, name), allowed)
    if options.max_iterations < 1 or not options.tolerance > 0:
        faults.append(Fault("options", "max_iterations and tolerance must be positive"))
    faults += cause_faults(cause, f.causes)
    if not f.covariates.shape[1]:
        faults.append(Fault("covariates", "there are none", next_step="Name them in FollowUp.from_frame."))
    refuse(faults)
    order = np.lexsort((f.exit, f.person))
    after = (f.person[order][1:] == f.person[order][:-1]) & (f.event[order][:-1] > 0)
    if after.any():
        raise ParameterError(Fault(
            "follow-up", f"{how_many(int(after.sum()))} come after an event of the same person",
            allowed="follow-up to the first event only",
            next_step="Leave out what follows a person's first event; see `build_recurrent` for all of them.",
        ))  # fmt: skip
    if not f.n_events(cause):
        raise NotEstimable(Fault(f.causes[cause - 1], "nobody had it"))


def _covariate_place(f: FollowUp, estimand: Estimand, covariate: str, level: float) -> int:
    faults = []
    if estimand.scale != "hazard_ratio":
        faults.append(Fault("estimand", "a subdistribution hazard ratio has one scale", estimand.scale, "hazard_ratio"))
    if covariate not in f.names:
        faults.append(Fault("covariate", f'there is no "{covariate}"', next_step=suggest_name(covariate, f.names)))
    faults += level_faults(level)
    refuse(faults)
    return f.names.index(covariate)


def _refuse_thin(f: FollowUp, cause: int, place: int) -> None:
    refuse(cause_faults(cause, f.causes))
    if f.n_events(cause) < MIN_EVENTS:
        raise NotEstimable(
            Fault(f.causes[cause - 1], "too few events", f"fewer than {MIN_EVENTS}", f"{MIN_EVENTS} or more")
        )
    x = f.covariates[:, place]
    if len(np.unique(x)) == 2 and min(len(np.unique(f.person[x == v])) for v in np.unique(x)) < MIN_SIDE:
        raise NotEstimable(Fault(f.names[place], "one side has one person only", allowed=f"{MIN_SIDE} or more"))


def _make_checks(fit: FineGrayFit, follow_up: FollowUp, place: int, cause: int) -> tuple[Check, ...]:
    share = fit.n_competing / fit.n_people if fit.n_competing >= FEW else math.nan
    told = f"{share:.0%} of people" if fit.n_competing >= FEW else f"fewer than {FEW} people"
    each = fit.n_events / len(fit.names)
    checks = [
        Check("competing", None, share, f"Another event came first for {told}; they stay in the risk set."),
        Check("events_per_covariate", each >= MIN_EVENTS, each, f"{MIN_EVENTS} or more are wanted."),
    ]
    x = follow_up.covariates[:, place]
    sides = np.unique(x)
    if len(sides) == 2:
        least = min(int(((follow_up.event == cause) & (x == side)).sum()) for side in sides)
        few = least < FEW
        text = f"One side has fewer than {FEW} events." if few else "Both sides have enough events."
        checks.append(Check("events_by_side", not few, math.nan if few else float(least), text))
    if fit.options.errors != "model":
        text = f"Clustered errors are too small below about {MIN_CLUSTERS} clusters."
        checks.append(Check("clusters", fit.n_clusters >= MIN_CLUSTERS, float(fit.n_clusters), text))
    return tuple(checks)
