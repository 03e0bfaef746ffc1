"""Aalen-Johansen cumulative incidence of competing causes by stratum, with delayed entry, weights and clusters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, ParameterError
from evalkit.core.faults import choice_faults, refuse
from evalkit.estimators.survival.curve_sums import (
    Path,
    RiskSets,
    RowEnds,
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

Errors = Literal["jackknife", "delta", "gray"]


@dataclass(frozen=True)
class IncidenceOptions:
    """How cumulative incidence is estimated.

    `errors`: "jackknife" (infinitesimal, by cluster; R's survfit) holds for weights, clusters and delayed entry;
    "delta" (Gaynor et al. 1993; Marubini and Valsecchi 1995, eq. 10.12) and "gray" (Aalen's variance as the R
    package cmprsk has it, with its correction for ties) count rows and hold for equal weights and independent
    people. `interval`: "log-log" by default; "log" is R's.
    """

    level: float = 0.95
    interval: Interval = "log-log"
    errors: Errors = "jackknife"


def estimate_cumulative_incidence(follow_up: FollowUp, *, options: IncidenceOptions | None = None) -> tuple[Curve, ...]:
    """Risk of each cause: `compute_cumulative_incidence`, refused where a stratum has fewer than 10 events in all.

    Raises NotEstimable with too few events, one cluster, or times at which nobody is under observation, else as
    `compute_cumulative_incidence`.
    """
    refuse_few_events(follow_up, tuple(range(1, len(follow_up.causes) + 1)), where="cumulative incidence")
    refuse_gaps(follow_up, follow_up.event > 0, where="cumulative incidence")
    refuse_one_cluster(follow_up)
    return compute_cumulative_incidence(follow_up, options=options)


def compute_cumulative_incidence(follow_up: FollowUp, *, options: IncidenceOptions | None = None) -> tuple[Curve, ...]:
    """Curves by stratum and, within it, by cause in the follow-up's order, however few events there are.

    Ties are exact: all that happens at one time happens to the same people at risk. For whole days where something
    may happen on day 0, give an `entry` of -1. Read half-open windows with `curves.compute_risk_at`.

    Raises
    ------
    ParameterError
        An unknown level; "delta" or "gray" errors for unequal weights, clusters or several rows a person; a person
        with a row after an event.

    References
    ----------
    Aalen and Johansen 1978, Scand J Stat 5:141; Gray 1988, Annals of Statistics 16:1141.
    """
    options = options or IncidenceOptions()
    check_level(options.level)
    check_interval(options.interval)
    check_errors(follow_up, options.errors)
    check_nothing_after(follow_up, follow_up.event > 0, next_step=FIRST_EVENTS)
    found: list[Curve] = []
    for label, rows in iterate_strata(follow_up):
        part = follow_up.select(rows)
        is_event = part.event > 0
        sets = build_risk_sets(part.entry, part.exit, part.weights, part.cluster, is_event)
        ends = order_ends(sets)
        found += [_fit(part, sets, ends, label, cause, options) for cause in range(1, len(follow_up.causes) + 1)]
    return tuple(found)


def check_errors(follow_up: FollowUp, errors: Errors) -> None:
    """Raise ParameterError where errors that count rows as independent do not hold."""
    refuse(choice_faults("errors", errors, ("jackknife", "delta", "gray")))
    if errors == "jackknife":
        return
    keys = follow_up.cluster * (int(follow_up.stratum.max()) + 1) + follow_up.stratum
    if not has_equal_weights(follow_up) or count_distinct(keys) < len(follow_up):
        raise ParameterError(
            Fault(
                "errors",
                f'"{errors}" needs equal weights and one row a person and cluster in a stratum',
                next_step='Use errors="jackknife".',
            )
        )


def _fit(part: FollowUp, sets: RiskSets, ends: RowEnds, label: object, cause: int, options: IncidenceOptions) -> Curve:
    counted = part.event == cause
    path = compute_path(sets, counted, part.event > 0)
    if options.errors == "jackknife":
        variance = compute_variance(sets, ends, path)
    elif options.errors == "delta":
        variance = _delta_variance(sets, path)
    else:
        variance = _gray_variance(sets, path)
    se = np.sqrt(variance)
    lower, upper = compute_interval(path.value, se, level=options.level, interval=options.interval, upper_limit=1.0)
    return Curve(
        stratum=label,
        quantity="cumulative_incidence",
        cause=part.causes[cause - 1],
        time=sets.time,
        at_risk=sets.at_risk,
        events=sum_events(sets, counted),
        number_at_risk=sets.number.astype(np.int64),
        number_of_events=_count(sets, counted).astype(np.int64),
        value=path.value,
        se=se,
        lower=lower,
        upper=upper,
        start_value=0.0,
        last_time=float(part.exit.max()),
        complete=bool((path.survival <= 0).any()),
        level=options.level,
        interval=options.interval,
        errors=options.errors,
        n_people=count_distinct(part.person),
        n_events=int(counted.sum()),
    )


def _count(sets: RiskSets, rows: np.ndarray) -> np.ndarray:
    return sum_events(sets, rows, weights=np.ones(len(rows)))


def _delta_variance(sets: RiskSets, path: Path) -> np.ndarray:
    """Variance of the delta method, shape (T,): Marubini and Valsecchi 1995, eq. 10.12, squares multiplied out."""
    n, d, every = sets.number, _count(sets, path.counted), _count(sets, path.ends)
    spread = np.divide(every, n * (n - every), out=np.zeros(len(n)), where=n > every)
    f, s = path.value, path.before
    cross = s * d / n**2
    alone = np.cumsum(f**2 * spread + s**2 * d * (n - d) / n**3 + 2 * f * cross)
    total = f**2 * np.cumsum(spread) - 2 * f * np.cumsum(f * spread + cross) + alone
    return np.maximum(total, 0.0)


def _gray_variance(sets: RiskSets, path: Path) -> np.ndarray:
    """Aalen's variance as cmprsk's cuminc computes it, shape (T,), with its hypergeometric factor for ties."""
    n, d, every = sets.number, _count(sets, path.counted), _count(sets, path.ends)
    f, s, after = path.value, path.before, path.survival
    per_survivor = np.divide(1.0, after, out=np.zeros(len(n)), where=after > 0)

    def spread(events: np.ndarray) -> np.ndarray:
        tied = 1 - np.divide(events - 1, n - 1, out=np.zeros(len(n)), where=(events > 1) & (n > 1))
        return s**2 * tied * events / n**2

    own, others = spread(d), np.where(after > 0, spread(every - d), 0.0)
    own_lead, others_lead = 1 + f * per_survivor, f * per_survivor
    squares = np.cumsum(own * own_lead**2 + others * others_lead**2)
    cross = np.cumsum((own * own_lead + others * others_lead) * per_survivor)
    return np.maximum(squares - 2 * f * cross + f**2 * np.cumsum((own + others) * per_survivor**2), 0.0)
