"""Two groups set against each other at a horizon: risk, mean count, time lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.faults import choice_faults, is_finite, refuse
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.survival.curve_sums import (
    Path,
    RiskSets,
    build_risk_sets,
    compute_path,
    compute_value_influence,
    count_distinct,
    sum_clusters,
)
from evalkit.estimators.survival.curves import (
    FIRST_EVENTS,
    MIN_EVENTS,
    check_cause,
    check_level,
    check_nothing_after,
    iterate_strata,
    refuse_gaps,
    refuse_one_cluster,
)
from evalkit.estimators.survival.mean_count import MeanCountOptions, Terminal, build_count_path, check_recurrence
from evalkit.estimators.survival.restricted_mean import RestrictedMeanOptions, compute_restricted_mean

MIN_EVENTS_PER_GROUP = 5
MIN_AT_RISK = 10

Side = Literal["through", "before"]


@dataclass(frozen=True)
class ContrastOptions:
    """Which groups are compared, and what is read of them.

    `treated`, `comparison`: labels of strata; both None takes the last of two in sorted order as treated, so True
    against False. `cause`: the event of interest, counted from 1; None (risk and time only) for any event. `side`:
    "through" the horizon, or "before" it as windows of days are half-open (a horizon of 90 days is then days 0 to 89).
    `terminal`: for mean counts, whether other causes end the count (`MeanCountOptions`).
    """

    treated: object = None
    comparison: object = None
    cause: int | None = 1
    level: float = 0.95
    side: Side = "through"
    terminal: Terminal = "other_causes"


@dataclass(frozen=True)
class _Group:
    """One group's value at the horizon, its influence values summed by cluster (C,), and its counts."""

    value: float
    influence: np.ndarray
    n_events: int
    at_risk: int


@dataclass(frozen=True)
class _Kind:
    """What is contrasted: `fit` takes a group's rows and label to value, influence values and counted rows (n,)."""

    estimator: str
    what: str
    scales: tuple[str, ...]
    fit: Callable[[FollowUp, object], tuple[float, np.ndarray, np.ndarray]]


def estimate_risk_difference(
    follow_up: FollowUp, estimand: Estimand, *, at: float, options: ContrastOptions | None = None, role: Role
) -> Estimate:
    """Difference or ratio (of risks or odds) of Aalen-Johansen risks of two strata at a horizon.

    On `risk_difference` the interval is normal; on `risk_ratio` and `odds_ratio` it is normal on the log scale and `se`
    is the error of the log. Errors are by the infinitesimal jackknife summed by cluster over both groups, so clusters,
    or people, that stand in both are counted once. Weights are taken as known: where they were estimated, confirm by a
    bootstrap that estimates them again.

    Raises
    ------
    ParameterError
        Another scale, groups or a cause that do not exist, somebody at risk after an event.
    NotEstimable
        Fewer than 10 events up to the horizon or 5 in a group; a horizon after a group's last follow-up.

    References
    ----------
    Aalen and Johansen 1978, Scand J Stat 5:141; Zhang and Fine 2008, Statistics in Medicine 27:4939.
    """
    options = options or ContrastOptions()
    check_cause(follow_up, options.cause)
    check_nothing_after(follow_up, follow_up.event > 0, next_step=FIRST_EVENTS)

    def fit(part: FollowUp, label: object) -> tuple[float, np.ndarray, np.ndarray]:
        is_event = part.event > 0
        counted = is_event if options.cause is None else part.event == options.cause
        sets = build_risk_sets(part.entry, part.exit, part.weights, part.cluster, is_event)
        path = compute_path(sets, counted, is_event)
        return (*_read(part, sets, path, at, options.side, label), counted)

    kind = _Kind("aalen_johansen_contrast", "Risk", ("risk_difference", "risk_ratio", "odds_ratio"), fit)
    return _contrast(follow_up, estimand, kind, at=at, options=options, role=role)


def compute_risk_combination(
    follow_up: FollowUp, signs: Mapping[object, float], *, at: float, cause: int = 1, side: Side = "before"
) -> tuple[float, float]:
    """A signed sum of strata's risks by a horizon and its error, with clusters in several strata counted once.

    `signs` maps strata to their factors, such as 1 and -1. Raises NotEstimable where a stratum is not followed to the
    horizon or for a time by nobody, and for one cluster; ParameterError for an unknown cause or side, a horizon that
    is not finite, a stratum that has no rows, or a row after an event.
    """
    refuse(choice_faults("side", side, ("through", "before")))
    if not is_finite(at):
        raise ParameterError(Fault("at", "the horizon must be finite", got=str(at)))
    check_cause(follow_up, cause)
    check_nothing_after(follow_up, follow_up.event > 0, next_step=FIRST_EVENTS)
    strata = dict(iterate_strata(follow_up))
    missing = [Fault("strata", "there is no such stratum", str(name)) for name in signs if name not in strata]
    if missing:
        raise ParameterError(missing)
    chosen = follow_up.select(np.concatenate([strata[label] for label in signs]))
    refuse_one_cluster(chosen)
    refuse_gaps(chosen, chosen.event > 0, where="risk", until=at)
    value, influence = 0.0, np.zeros(int(follow_up.cluster.max()) + 1)
    for label, sign in signs.items():
        part = follow_up.select(strata[label])
        sets = build_risk_sets(part.entry, part.exit, part.weights, part.cluster, part.event > 0)
        path = compute_path(sets, part.event == cause, part.event > 0)
        risk, by_row = _read(part, sets, path, at, side, label)
        value += sign * risk
        influence += sign * sum_clusters(by_row, part.cluster, len(influence))
    return value, math.sqrt(float((influence**2).sum()))


def estimate_mean_count_difference(
    follow_up: FollowUp, estimand: Estimand, *, at: float, options: ContrastOptions | None = None, role: Role
) -> Estimate:
    """Difference (`events_per_person`) or ratio (`rate_ratio`) of mean counts of two strata by a horizon.

    Ghosh and Lin's mean with deaths as they are (`terminal="other_causes"`), or Nelson-Aalen's. The ratio is that of
    expected numbers of events, not of hazards; its interval is normal on the log scale and `se` the error of the log.

    Raises
    ------
    ParameterError
        Another scale, groups or a cause that do not exist, no `cause`, somebody at risk after a terminal event.
    NotEstimable
        Fewer than 10 recurrent events up to the horizon or 5 in a group; a horizon after a group's last follow-up.

    References
    ----------
    Ghosh and Lin 2000, Biometrics 56:554.
    """
    options = options or ContrastOptions()
    if options.cause is None:
        raise ParameterError(Fault("cause", "a mean count counts one cause", got="None", allowed="1 or more"))
    counting = MeanCountOptions(recurrent=options.cause, terminal=options.terminal, level=options.level)
    check_recurrence(follow_up, counting)

    def fit(part: FollowUp, label: object) -> tuple[float, np.ndarray, np.ndarray]:
        sets, path = build_count_path(part, counting)
        return (*_read(part, sets, path, at, options.side, label), path.counted)

    kind = _Kind("mean_count_contrast", "Mean count", ("events_per_person", "rate_ratio"), fit)
    return _contrast(follow_up, estimand, kind, at=at, options=options, role=role)


def estimate_time_difference(
    follow_up: FollowUp, estimand: Estimand, *, at: float, options: ContrastOptions | None = None, role: Role
) -> Estimate:
    """Difference of restricted mean time of two strata up to a horizon, in the follow-up's unit (`days_per_person`).

    With a `cause`, time lost to it: more is more lost. With `cause=None`, time free of any event: more is more kept.
    Time is counted from 0; `options.side` says only which events are counted as seen.

    Raises
    ------
    ParameterError
        Another scale, groups or a cause that do not exist, somebody at risk after an event.
    NotEstimable
        Fewer than 10 events up to the horizon or 5 in a group; a horizon after a group's last follow-up.

    References
    ----------
    Andersen 2013, Statistics in Medicine 32:5278.
    """
    options = options or ContrastOptions()
    check_cause(follow_up, options.cause)
    check_nothing_after(follow_up, follow_up.event > 0, next_step=FIRST_EVENTS)
    within = RestrictedMeanOptions(horizon=at, level=options.level)

    def fit(part: FollowUp, label: object) -> tuple[float, np.ndarray, np.ndarray]:
        value, influence = compute_restricted_mean(part, options.cause, within, where=f" of {label}")
        return value, influence, part.event > 0 if options.cause is None else part.event == options.cause

    what = "Time free of events" if options.cause is None else "Time lost"
    kind = _Kind("restricted_mean_contrast", what, ("days_per_person",), fit)
    return _contrast(follow_up, estimand, kind, at=at, options=options, role=role)


def _read(part: FollowUp, sets: RiskSets, path: Path, at: float, side: Side, label: object) -> tuple[float, np.ndarray]:
    """Value at the horizon and influence values (n,); refused where follow-up does not reach it."""
    # Whole days: follow-up to day h - 1 tells all that happens before day h.
    reached = part.exit.max() + (1 if side == "before" else 0)
    if reached < at and not (path.survival <= 0).any():
        raise NotEstimable(
            Fault(
                "horizon",
                f"nobody of {label} is followed so far",
                got=f"{at:g}",
                next_step="Take an earlier horizon.",
            )
        )
    place = int(np.searchsorted(sets.time, at, side="right" if side == "through" else "left"))
    value = float(path.value[place - 1]) if place else 0.0
    return value, compute_value_influence(sets, path, np.array([place]))[:, 0]


def _contrast(
    follow_up: FollowUp, estimand: Estimand, kind: _Kind, *, at: float, options: ContrastOptions, role: Role
) -> Estimate:
    _check_options(estimand, kind.scales, at, options)
    chosen = choose_groups(follow_up, options)
    both = follow_up.select(np.concatenate([rows for _, rows in chosen]))
    refuse_one_cluster(both)
    refuse_gaps(both, both.event > 0, where=kind.what.lower(), until=at)
    n_clusters = int(both.cluster.max()) + 1
    groups = []
    for label, rows in chosen:
        part = follow_up.select(rows)
        value, influence, counted = kind.fit(part, label)
        seen = counted & ((part.exit < at) if options.side == "before" else (part.exit <= at))
        by_cluster = sum_clusters(influence, part.cluster, n_clusters)
        groups.append(_Group(value, by_cluster, int(seen.sum()), _still_followed(part, at, options.side)))
    _refuse_thin_groups(groups)
    value, lower, upper, se, p_value = _combine(groups[0], groups[1], estimand.scale, options.level)
    return Estimate(
        estimand,
        kind.estimator,
        role,
        value,
        lower,
        upper,
        options.level,
        n_people=count_distinct(both.person),
        n_events=float(sum(g.n_events for g in groups)),
        se=se,
        p_value=p_value,
        checks=_checks(groups, both, at),
        label=f"{kind.what} by {at:g}: {'ratio' if estimand.null_value == 1 else 'difference'}",
    )


def _still_followed(part: FollowUp, at: float, side: Side) -> int:
    """Rows that last to the horizon; before a whole day that is to the day before it, without an event."""
    lasts = part.exit >= at
    if side == "before":
        lasts |= (part.exit >= at - 1) & (part.event == 0)
    return int((lasts & (part.entry < at)).sum())


def choose_groups(follow_up: FollowUp, options: ContrastOptions) -> list[tuple[object, np.ndarray]]:
    """Label and rows of the treated and of the comparison group.

    Raises ParameterError where they are not named and there are not two strata, or do not exist.
    """
    strata = dict(iterate_strata(follow_up))
    names = (options.treated, options.comparison)
    if names == (None, None) and len(strata) == 2:
        first, last = strata
        names = (last, first)
    allowed = ", ".join(map(str, strata))
    if names[0] == names[1]:
        raise ParameterError(
            Fault(
                "groups",
                "two strata are compared",
                got=f"{names[0]} and {names[1]} of {len(strata)}",
                allowed=allowed,
                next_step="Name options.treated and options.comparison, and give the follow-up its stratum.",
            )
        )
    missing = [name for name in names if name not in strata]
    if missing:
        raise ParameterError([Fault("groups", "there is no such stratum", str(m), allowed) for m in missing])
    return [(name, strata[name]) for name in names]


def _check_options(estimand: Estimand, scales: tuple[str, ...], at: float, options: ContrastOptions) -> None:
    check_level(options.level)
    faults = choice_faults("side", options.side, ("through", "before"))
    faults += choice_faults("terminal", options.terminal, ("other_causes", "none"))
    if estimand.scale not in scales:
        faults.append(Fault("scale", "cannot be had from these curves", estimand.scale, ", ".join(scales)))
    if not (is_finite(at) and at > 0):
        faults.append(Fault("at", "the horizon must be after 0", got=str(at)))
    if faults:
        raise ParameterError(faults)


def _refuse_thin_groups(groups: list[_Group]) -> None:
    events = [g.n_events for g in groups]
    if sum(events) < MIN_EVENTS or min(events) < MIN_EVENTS_PER_GROUP:
        raise NotEstimable(
            Fault(
                "events",
                "too few up to the horizon to compare",
                got=f"fewer than {MIN_EVENTS} in all, or {MIN_EVENTS_PER_GROUP} in a group",
                allowed=f"{MIN_EVENTS} in all and {MIN_EVENTS_PER_GROUP} in each group",
                next_step="Follow people for longer, or join causes.",
            )
        )


def _combine(treated: _Group, comparison: _Group, scale: str, level: float) -> tuple[float, float, float, float, float]:
    """Value, interval, error and p-value; for ratios interval and error are the log's."""
    a, b = treated.value, comparison.value
    z = stats.norm.ppf(0.5 + level / 2)
    if scale in ("risk_difference", "events_per_person", "days_per_person"):
        value, influence = a - b, treated.influence - comparison.influence
        se = math.sqrt(float((influence**2).sum()))
        p = float(2 * stats.norm.sf(abs(value) / se)) if se > 0 else math.nan
        return value, value - z * se, value + z * se, se, p
    if scale == "odds_ratio" and not (a < 1 and b < 1):
        raise NotEstimable(Fault("odds ratio", "a risk has come to 1", next_step="Use risk_difference or risk_ratio."))
    spread_a, spread_b = (a * (1 - a), b * (1 - b)) if scale == "odds_ratio" else (a, b)
    log = math.log(a / b) - (math.log((1 - a) / (1 - b)) if scale == "odds_ratio" else 0.0)
    se = math.sqrt(float(((treated.influence / spread_a - comparison.influence / spread_b) ** 2).sum()))
    p = float(2 * stats.norm.sf(abs(log) / se)) if se > 0 else math.nan
    return math.exp(log), math.exp(log - z * se), math.exp(log + z * se), se, p


def _checks(groups: list[_Group], both: FollowUp, at: float) -> tuple[Check, ...]:
    least = min(g.at_risk for g in groups)
    shown = "no fewer" if least >= MIN_AT_RISK else "fewer"
    at_risk = Check(
        "at_risk",
        least >= MIN_AT_RISK,
        float(least) if least >= MIN_AT_RISK else math.nan,
        f"In the smaller group {shown} people are still at risk at {at:g} than the {MIN_AT_RISK} that are wanted.",
    )
    n_clusters = count_distinct(both.cluster)
    clusters = Check(
        "clusters",
        n_clusters >= 30,
        float(n_clusters) if n_clusters >= MIN_AT_RISK else math.nan,
        "The error counts independent clusters; with fewer than 30 it is too small." if n_clusters < 30
        else "The error rests on enough independent clusters.",
    )  # fmt: skip
    return at_risk, clusters
