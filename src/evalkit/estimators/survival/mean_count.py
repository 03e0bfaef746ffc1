"""Mean number of recurrent events per person by a time, counting the dead as having no more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import cause_faults
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults, refuse
from evalkit.estimators.survival.curve_sums import (
    Path,
    RiskSets,
    build_risk_sets,
    compute_path,
    compute_variance,
    compute_weighted_increments,
    count_distinct,
    order_ends,
    sum_clusters,
    sum_events,
)
from evalkit.estimators.survival.curves import (
    Curve,
    Interval,
    check_interval,
    check_level,
    check_nothing_after,
    compute_interval,
    iterate_strata,
    refuse_few_events,
    refuse_gaps,
    refuse_one_cluster,
)

Terminal = Literal["other_causes", "none"]


@dataclass(frozen=True)
class MeanCountOptions:
    """How recurrent events are counted.

    `recurrent`: the cause that comes again, counted from 1. `terminal`: "other_causes" end the count, as death does
    (Ghosh and Lin); "none" takes them for censoring (Nelson-Aalen: the mean if nobody could die, which with deaths
    is too high for people as they are). `errors`: "jackknife" is the exact derivative, with ties; "ghosh_lin" their
    equation, which differs by terms of order 1 / at risk. Both are clustered and take weights. `interval`: "log" or
    "plain".
    """

    recurrent: int = 1
    terminal: Terminal = "other_causes"
    level: float = 0.95
    interval: Interval = "log"
    errors: Literal["jackknife", "ghosh_lin"] = "jackknife"


@dataclass(frozen=True)
class MeanCountTest:
    """Weighted difference of two mean counts, its standard error, z and two-sided p-value."""

    statistic: float
    se: float
    z: float
    p_value: float


def estimate_mean_count(follow_up: FollowUp, *, options: MeanCountOptions | None = None) -> tuple[Curve, ...]:
    """Mean counts, one curve a stratum: `compute_mean_count`, refused where one has fewer than 10 recurrent events.

    Raises NotEstimable with too few events, one cluster, or times at which nobody is under observation, else as
    `compute_mean_count`.
    """
    options = options or MeanCountOptions()
    check_recurrence(follow_up, options)
    refuse_few_events(follow_up, (options.recurrent,), where="mean count")
    refuse_gaps(follow_up, find_ends(follow_up, options), where="mean count")
    refuse_one_cluster(follow_up)
    return compute_mean_count(follow_up, options=options)


def compute_mean_count(follow_up: FollowUp, *, options: MeanCountOptions | None = None) -> tuple[Curve, ...]:
    """Mean number of recurrent events by each time, one curve a stratum, however few events there are.

    Code one row an interval at risk, such as `causes=("readmission", "death")`: each row ends in a recurrent event
    and the person's next begins there, or ends in a terminal event or in censoring, which is the person's last. Time
    when the event cannot happen (in hospital) may be left out between rows: people are then not at risk.

    mu(t) = sum over u <= t of S(u-) dN(u) / n(u), S the Kaplan-Meier survival of what is terminal.

    Raises
    ------
    ParameterError
        An unknown cause or level, a "log-log" interval, somebody at risk after a terminal event.

    References
    ----------
    Ghosh and Lin 2000, Biometrics 56:554 (mean and its variance); Lawless and Nadeau 1995, Technometrics 37:158.
    """
    options = options or MeanCountOptions()
    check_recurrence(follow_up, options)
    return tuple(_fit(follow_up.select(rows), label, options) for label, rows in iterate_strata(follow_up))


def check_recurrence(follow_up: FollowUp, options: MeanCountOptions) -> None:
    """Raise ParameterError for options or rows that cannot be counted."""
    refuse([
        *cause_faults(options.recurrent, follow_up.causes),
        *choice_faults("terminal", options.terminal, ("other_causes", "none")),
        *choice_faults("errors", options.errors, ("jackknife", "ghosh_lin")),
    ])  # fmt: skip
    check_level(options.level)
    check_interval(options.interval)
    if options.interval == "log-log":
        raise ParameterError(Fault("interval", "a mean count can pass 1", got="log-log", allowed="log, plain"))
    named = follow_up.causes[options.recurrent - 1]
    next_step = f"Sorted by person and exit, only a person's last row may end in another cause than {named}."
    check_nothing_after(follow_up, find_ends(follow_up, options), next_step=next_step)


def find_ends(follow_up: FollowUp, options: MeanCountOptions) -> np.ndarray:
    """Rows that end in a terminal event, bool (n,)."""
    if options.terminal == "none":
        return np.zeros(len(follow_up), dtype=bool)
    return (follow_up.event > 0) & (follow_up.event != options.recurrent)


def build_count_path(part: FollowUp, options: MeanCountOptions) -> tuple[RiskSets, Path]:
    """Risk sets and path of the mean count in the rows given, which are one stratum's."""
    counted, ends = part.event == options.recurrent, find_ends(part, options)
    sets = build_risk_sets(part.entry, part.exit, part.weights, part.cluster, counted | ends)
    tied: Literal["exact", "ghosh_lin"] = "exact" if options.errors == "jackknife" else "ghosh_lin"
    return sets, compute_path(sets, counted, ends, tied=tied)


def _fit(part: FollowUp, label: object, options: MeanCountOptions) -> Curve:
    sets, path = build_count_path(part, options)
    se = np.sqrt(compute_variance(sets, order_ends(sets), path))
    lower, upper = compute_interval(path.value, se, level=options.level, interval=options.interval, upper_limit=np.inf)
    return Curve(
        stratum=label,
        quantity="mean_count",
        cause=part.causes[options.recurrent - 1],
        time=sets.time,
        at_risk=sets.at_risk,
        events=sum_events(sets, path.counted),
        number_at_risk=sets.number.astype(np.int64),
        number_of_events=sum_events(sets, path.counted, weights=np.ones(len(part))).astype(np.int64),
        value=path.value,
        se=se,
        lower=np.maximum(lower, 0.0),
        upper=upper,
        start_value=0.0,
        last_time=float(part.exit.max()),
        complete=bool((path.survival <= 0).any()),
        level=options.level,
        interval=options.interval,
        errors=options.errors,
        n_people=count_distinct(part.person),
        n_events=int(path.counted.sum()),
    )


def compare_mean_counts(
    follow_up: FollowUp, treated: object, comparison: object, *, options: MeanCountOptions | None = None
) -> MeanCountTest:
    """Test of equal mean counts of two strata, by the log-rank-like weight n1 n0 / (n1 + n0), clustered.

    The statistic is the sum over the times that both strata can be seen at of the weight times the difference of
    increments. Its error is the infinitesimal jackknife with the weight held fixed, summed by cluster over both.

    Raises ParameterError for strata that do not exist or are one, NotEstimable for one cluster and where no event has
    both strata at risk, else as `compute_mean_count`.

    References
    ----------
    Ghosh and Lin 2000, Biometrics 56:554 (two-sample test).
    """
    options = options or MeanCountOptions()
    check_recurrence(follow_up, options)
    strata = dict(iterate_strata(follow_up))
    missing = [name for name in (treated, comparison) if name not in strata]
    if missing:
        allowed = ", ".join(map(str, strata))
        raise ParameterError([Fault("strata", "there is no such stratum", str(m), allowed) for m in missing])
    if treated == comparison:
        raise ParameterError(Fault("strata", "two different ones are compared", got=str(treated)))
    refuse_one_cluster(follow_up)
    parts = [follow_up.select(strata[name]) for name in (treated, comparison)]
    fits = [build_count_path(part, options) for part in parts]
    statistic, total = 0.0, np.zeros(int(follow_up.cluster.max()) + 1)
    for (sets, path), (others, _), part, sign in zip(fits, reversed(fits), parts, (1, -1), strict=True):
        mine, theirs = sets.at_risk, _at_risk_at(others, sets.time)
        value, influence = compute_weighted_increments(sets, path, mine * theirs / (mine + theirs))
        statistic += sign * value
        total += sign * sum_clusters(influence, part.cluster, len(total))
    se = math.sqrt(float((total**2).sum()))
    if not se > 0:
        raise NotEstimable(
            Fault("strata", "there is no event at which both are at risk, so there is nothing to compare")
        )
    z = statistic / se
    return MeanCountTest(statistic, se, z, float(2 * stats.norm.sf(abs(z))))


def _at_risk_at(sets: RiskSets, times: np.ndarray) -> np.ndarray:
    """Weights at risk in a stratum at times of another, shape (len(times),)."""
    order_in, order_out = np.argsort(sets.entry), np.argsort(sets.exit)
    inside = np.concatenate([[0.0], np.cumsum(sets.weights[order_in])])
    outside = np.concatenate([[0.0], np.cumsum(sets.weights[order_out])])
    entered = inside[np.searchsorted(sets.entry[order_in], times, side="left")]
    left = outside[np.searchsorted(sets.exit[order_out], times, side="left")]
    # Nobody there must be 0, not a rounding error, which would let a time count that only one stratum sees.
    number = np.searchsorted(sets.entry[order_in], times, side="left") - np.searchsorted(
        sets.exit[order_out], times, side="left"
    )
    return np.where(number > 0, entered - left, 0.0)
