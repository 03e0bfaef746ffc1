"""Kaplan-Meier survival by stratum, with delayed entry, weights and clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults, is_finite, refuse
from evalkit.estimators.survival.curve_sums import (
    RiskSets,
    build_risk_sets,
    compute_path,
    compute_variance,
    count_distinct,
    order_ends,
    sum_events,
)
from evalkit.estimators.survival.curves import (
    FIRST_EVENTS,
    Curve,
    Interval,
    check_cause,
    check_interval,
    check_level,
    check_nothing_after,
    compute_interval,
    has_equal_weights,
    iterate_strata,
    refuse_few_events,
    refuse_gaps,
    refuse_one_cluster,
)


@dataclass(frozen=True)
class SurvivalOptions:
    """How survival is estimated.

    `cause`: None for survival without any event; a cause counted from 1 treats the others as censoring, which
    with competing causes is no risk of anything. `errors`: "greenwood" for equal weights and independent people;
    "jackknife" (infinitesimal, by cluster) for any; "auto" takes greenwood where weights are equal and clusters are
    people, as R's survfit does. `interval` is "log" by default, as in R.
    """

    cause: int | None = None
    level: float = 0.95
    interval: Interval = "log"
    errors: Literal["auto", "greenwood", "jackknife"] = "auto"


def estimate_survival(follow_up: FollowUp, *, options: SurvivalOptions | None = None) -> tuple[Curve, ...]:
    """Kaplan-Meier curves, one a stratum: `compute_survival`, refused where a stratum has fewer than 10 events.

    Raises NotEstimable with too few events, one cluster, or times at which nobody is under observation, else as
    `compute_survival`.
    """
    options = options or SurvivalOptions()
    check_cause(follow_up, options.cause)
    causes = tuple(range(1, len(follow_up.causes) + 1)) if options.cause is None else (options.cause,)
    refuse_few_events(follow_up, causes, where="survival")
    refuse_gaps(follow_up, np.isin(follow_up.event, causes), where="survival")
    refuse_one_cluster(follow_up)
    return compute_survival(follow_up, options=options)


def compute_survival(follow_up: FollowUp, *, options: SurvivalOptions | None = None) -> tuple[Curve, ...]:
    """Kaplan-Meier curves, one a stratum in the follow-up's order, however few events there are.

    Ties are exact, rows enter late at their `entry`, weights are sampling or balancing weights taken as known. Where
    survival has come to 0 there is no error and no interval: NaN.

    Raises
    ------
    ParameterError
        An unknown cause or level; Greenwood errors for unequal weights or clusters of people; somebody at risk
        after an event.

    References
    ----------
    Kaplan and Meier 1958, JASA 53:457; Greenwood 1926; Therneau, survival 3.5, survfit.formula (robust).
    """
    options = options or SurvivalOptions()
    check_cause(follow_up, options.cause)
    check_level(options.level)
    check_interval(options.interval)
    is_event = follow_up.event > 0 if options.cause is None else follow_up.event == options.cause
    check_nothing_after(follow_up, is_event, next_step=FIRST_EVENTS)
    errors = choose_errors(follow_up, options.errors)
    return tuple(_fit(follow_up, rows, label, is_event, errors, options) for label, rows in iterate_strata(follow_up))


def choose_errors(
    follow_up: FollowUp, errors: Literal["auto", "greenwood", "jackknife"]
) -> Literal["greenwood", "jackknife"]:
    """What "auto" means for this follow-up; raises ParameterError where Greenwood's formula does not hold."""
    refuse(choice_faults("errors", errors, ("auto", "greenwood", "jackknife")))
    grouped = count_distinct(follow_up.person) > count_distinct(follow_up.cluster)
    simple = has_equal_weights(follow_up) and not grouped
    if errors == "greenwood" and not simple:
        raise ParameterError(
            Fault(
                "errors",
                "Greenwood's formula needs equal weights and independent people",
                next_step='Use errors="jackknife".',
            )
        )
    if errors == "auto":
        return "greenwood" if simple else "jackknife"
    return errors


def compute_greenwood(sets: RiskSets, is_event: np.ndarray, survival: np.ndarray) -> np.ndarray:
    """Greenwood's variance of survival at each time, shape (T,), from counts of rows."""
    n, d = sets.number, sum_events(sets, is_event, weights=np.ones(len(is_event)))
    terms = np.divide(d, n * (n - d), out=np.zeros(len(n)), where=n > d)
    return survival**2 * np.cumsum(terms)


def _fit(
    follow_up: FollowUp, rows: np.ndarray, label: object, is_event: np.ndarray, errors: str, options: SurvivalOptions
) -> Curve:
    hit, weights = is_event[rows], follow_up.weights[rows]
    sets = build_risk_sets(follow_up.entry[rows], follow_up.exit[rows], weights, follow_up.cluster[rows], hit)
    path = compute_path(sets, hit, hit)
    survival = path.survival
    if errors == "greenwood":
        variance = compute_greenwood(sets, hit, survival)
    else:
        variance = compute_variance(sets, order_ends(sets), path)
    se = np.where(survival > 0, np.sqrt(variance), np.nan)
    lower, upper = compute_interval(survival, se, level=options.level, interval=options.interval, upper_limit=1.0)
    ended = survival <= 0
    return Curve(
        stratum=label,
        quantity="survival",
        cause="any" if options.cause is None else follow_up.causes[options.cause - 1],
        time=sets.time,
        at_risk=sets.at_risk,
        events=sum_events(sets, hit),
        number_at_risk=sets.number.astype(np.int64),
        number_of_events=sum_events(sets, hit, weights=np.ones(len(hit))).astype(np.int64),
        value=survival,
        se=se,
        lower=np.where(ended, np.nan, lower),
        upper=np.where(ended, np.nan, upper),
        start_value=1.0,
        last_time=float(follow_up.exit[rows].max()),
        complete=bool(ended.any()),
        level=options.level,
        interval=options.interval,
        errors=errors,
        n_people=count_distinct(follow_up.person[rows]),
        n_events=int(hit.sum()),
    )


def compute_censoring_weights(follow_up: FollowUp, *, horizon: float) -> np.ndarray:
    """Inverse-probability-of-censoring weights for 'event before the horizon', shape (n,).

    Who is followed to an event or to the horizon weighs one over the Kaplan-Meier probability, within the stratum, of
    being followed so far; who was censored before weighs 0. At one time events come before censoring, so they
    have left before censoring is counted. The follow-up's own weights shape the probability and are not multiplied in.

    Raises
    ------
    ParameterError
        A person with several rows in a stratum; a horizon that is not finite.
    NotEstimable
        A stratum where at some time before the horizon all are censored, and others enter after.

    References
    ----------
    Robins and Rotnitzky 1992; Satten and Datta 2001, American Statistician 55:207.
    """
    keys = follow_up.person * (int(follow_up.stratum.max()) + 1) + follow_up.stratum
    faults = []
    if not is_finite(horizon):
        faults.append(Fault("horizon", "must be finite", got=str(horizon)))
    if count_distinct(keys) < len(keys):
        faults.append(Fault("follow-up", "a person has several rows in a stratum", next_step="Keep one row a person."))
    if faults:
        raise ParameterError(faults)
    found = np.zeros(len(follow_up))
    for _, rows in iterate_strata(follow_up):
        found[rows] = _weigh_followed(follow_up.select(rows), horizon)
    return found


def _weigh_followed(part: FollowUp, horizon: float) -> np.ndarray:
    known = (part.event > 0) | (part.exit >= horizon)
    sets = build_risk_sets(part.entry, part.exit, part.weights, part.cluster, ~known)
    place = np.searchsorted(sets.time, part.exit)
    tied = known & (place < len(sets.time)) & np.isin(part.exit, sets.time)
    # An event on the time of a censoring is no longer there to be censored.
    there = sets.at_risk - np.bincount(place[tied], part.weights[tied], minlength=len(sets.time))
    still = np.concatenate([[1.0], np.cumprod(1 - np.minimum(sum_events(sets, ~known) / there, 1.0))])
    if (still[place][known] <= 0).any():
        raise NotEstimable(
            Fault(
                "censoring",
                "all who were followed are censored before others enter",
                next_step="Start at a time from which people are followed.",
            )
        )
    return np.divide(1.0, still[place], out=np.zeros(len(part)), where=known)
