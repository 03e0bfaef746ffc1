"""Events that come again: arrangements of follow-up for Cox models of recurrent events, and their ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import as_numbers, cause_faults, how_many
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.faults import choice_faults, is_whole, level_faults, refuse
from evalkit.core.result import Estimate, Role
from evalkit.estimators.inference import log_ratio_estimate
from evalkit.estimators.survival.cox import CoxFit, CoxOptions, fit_cox
from evalkit.estimators.survival.fine_gray_weights import merge_close_times
from evalkit.estimators.survival.recurrent_checks import make_recurrent_checks

Arrangement = Literal["andersen_gill", "pwp_total", "pwp_gap", "wlw"]
Model = Literal["lwyy", "pwp_total", "pwp_gap", "wlw"]
LaterEvents = Literal["drop", "pool"]
Effects = Literal["common", "by_number"]

MIN_EVENTS = 10
MIN_SIDE = 2
_SCALES: dict[str, Scale] = {
    "lwyy": "rate_ratio", "pwp_total": "hazard_ratio", "pwp_gap": "hazard_ratio", "wlw": "hazard_ratio"
}  # fmt: skip
_LABELS = {
    "lwyy": "Ratio of event rates (Lin, Wei, Yang and Ying)",
    "pwp_total": "Hazard ratio given earlier events, total time (Prentice, Williams and Peterson)",
    "pwp_gap": "Hazard ratio given earlier events, time since the last (Prentice, Williams and Peterson)",
    "wlw": "Hazard ratio of first, second and later events (Wei, Lin and Weissfeld)",
}


@dataclass(frozen=True)
class RecurrentOptions:
    """Which model of recurrent events, and how it is fitted; errors are always clustered.

    max_events : last event that counts; what comes later is `later_events`: dropped with the time that follows, or
        pooled into the last stratum. None: all events, however few have so many.
    effects : one effect "common" to all events, or one "by_number", of which WLW's optimal average is reported.
    """

    model: Model = "lwyy"
    ties: Literal["efron", "breslow"] = "efron"
    max_events: int | None = None
    later_events: LaterEvents = "drop"
    effects: Effects = "common"
    cause: int = 1
    level: float = 0.95


def derive_event_numbers(follow_up: FollowUp, *, cause: int = 1, unseen_events: np.ndarray | None = None) -> np.ndarray:
    """Which event each row waits for: 1 + the person's events before it, int array, shape (n,).

    Counted from where the person's rows begin, on top of `unseen_events` (n,), events before each row that no row
    ends in: before follow-up, or on the day of another one. Raises ParameterError where rows of a person overlap, or go
    on after an event of another cause, which ends follow-up, and for unseen events that are not whole numbers from 0
    or that grow fewer over a person's rows.
    """
    f = follow_up
    order = np.lexsort((f.exit, f.entry, f.person))
    person, entry, leave, event = f.person[order], f.entry[order], f.exit[order], f.event[order]
    same = person[1:] == person[:-1]
    overlap = same & (entry[1:] < leave[:-1])
    beyond = same & (event[:-1] != 0) & (event[:-1] != cause)
    faults = []
    if overlap.any():
        faults.append(Fault(
            "follow-up", f"{how_many(int(overlap.sum()))} begin before the same person's row before them ends",
            allowed="one row at a time for a person, also across strata",
        ))  # fmt: skip
    if beyond.any():
        faults.append(Fault(
            "follow-up", f"{how_many(int(beyond.sum()))} come after an event that ends follow-up",
            next_step="Only the recurrent cause may be followed by more rows of the same person.",
        ))  # fmt: skip
    known = np.zeros(len(f), dtype=np.int64)
    if unseen_events is not None:
        known, wrong = _unseen_codes(as_numbers(unseen_events, "unseen_events"), order, same)
        faults += wrong
    refuse(faults)
    hit = (event == cause).astype(np.int64)
    before = np.cumsum(hit) - hit
    begins = np.flatnonzero(np.concatenate([[True], ~same]))
    base = np.repeat(before[begins], np.diff(np.append(begins, len(f))))
    numbers = np.empty(len(f), dtype=np.int64)
    numbers[order] = before - base + 1
    return numbers + known


def build_recurrent(
    follow_up: FollowUp,
    *,
    model: Arrangement,
    max_events: int | None = None,
    later_events: LaterEvents = "drop",
    effects: Effects = "common",
    cause: int = 1,
    unseen_events: np.ndarray | None = None,
) -> FollowUp:
    """Arrange follow-up in total time, one row an interval, for a model of recurrent events.

    andersen_gill : as it is; a person is at risk of every next event alike.
    pwp_total, pwp_gap : a stratum an event number, which one enters by having the event before; with gap time the
        clock restarts at each event (before the first it starts where the person's rows begin).
    wlw : everybody is at risk of the k-th event from the beginning, k = 1 to `max_events` (the most that anybody
        had where None): one row a person and number while covariates stay the same. Later events are of no account.

    With `effects="by_number"` each covariate has a column `name, event k` an event number. Strata of the follow-up
    are kept apart: those made are pairs of theirs and an event number. `unseen_events`, int array (n,), count events
    before each row that no row ends in (earlier than follow-up, or two on a day), where numbers are to include them.

    Raises
    ------
    ParameterError
        Unknown options; rows of a person that overlap or go on after a terminal event; effects by number without
        strata by number; pooling where WLW has nothing to pool.

    References
    ----------
    Andersen and Gill 1982, Annals of Statistics 10:1100; Prentice, Williams and Peterson 1981, Biometrika 68:373;
    Wei, Lin and Weissfeld 1989, JASA 84:1065.
    """
    _check_arrangement(follow_up, model, max_events, later_events, effects, cause)
    follow_up = merge_close_times(follow_up)
    numbers = derive_event_numbers(follow_up, cause=cause, unseen_events=unseen_events)
    last = max_events or int(numbers[follow_up.event == cause].max(initial=1))
    if model == "wlw":
        arranged, number = _repeat_for_each_number(follow_up, numbers, last, cause)
    else:
        kept = np.ones(len(numbers), dtype=bool) if later_events == "pool" else numbers <= last
        if max_events is None:
            kept = np.ones(len(numbers), dtype=bool)
        arranged, number = follow_up.select(kept), numbers[kept]
        if model == "pwp_gap":
            arranged = _restart_clock(arranged, number)
        if later_events == "pool" and max_events is not None:
            number = np.minimum(number, last)
    if model == "andersen_gill":
        return arranged
    if effects == "by_number":
        arranged = _split_effects(arranged, number)
    return _stratify(arranged, number)


def compute_optimal_average(values: np.ndarray, covariance: np.ndarray) -> tuple[float, float]:
    """Average of K correlated estimates with the least variance, and its error (Wei, Lin and Weissfeld 1989, 2.3).

    values : shape (K,); covariance : shape (K, K). Weights are the row sums of the inverse covariance over their total.

    Raises NotEstimable where the covariance is singular, as with fewer clusters than event numbers.
    """
    size = np.sqrt(np.diag(covariance))
    if np.linalg.matrix_rank(covariance / np.outer(size, size), hermitian=True) < len(values):
        raise NotEstimable(Fault(
            "effects", "those of single event numbers cannot be told apart",
            next_step="Lower max_events, or take effects that are common.",
        ))  # fmt: skip
    weights = np.linalg.solve(covariance, np.ones(len(values)))
    return float(weights @ values / weights.sum()), float(1 / math.sqrt(weights.sum()))


def estimate_recurrent(
    follow_up: FollowUp,
    estimand: Estimand,
    *,
    covariate: str,
    options: RecurrentOptions | None = None,
    unseen_events: np.ndarray | None = None,
    role: Role = "primary",
) -> Estimate:
    """Effect of one covariate on events that come again, given the others, with clustered errors.

    LWYY's ratio of mean event rates (Andersen-Gill's estimate with errors that hold whatever the dependence
    between a person's events) is on the scale `rate_ratio`, that of PWP and WLW on `hazard_ratio`. The interval is
    normal on the log scale and `se` is the error of the log. Death ends follow-up and is not part of any of
    these ratios, which a check says.

    Raises
    ------
    ParameterError
        Another scale; an unknown covariate or option; see `build_recurrent`.
    NotEstimable
        Fewer than `MIN_EVENTS` events or `MIN_SIDE` people on a side, one cluster, and what `fit_cox` raises.

    References
    ----------
    Lin, Wei, Yang and Ying 2000, JRSS B 62:711.
    """
    options = options or RecurrentOptions()
    _check_request(follow_up, estimand, covariate, options)
    arrangement: Arrangement = "andersen_gill" if options.model == "lwyy" else options.model
    arranged = build_recurrent(
        follow_up, model=arrangement, max_events=options.max_events, later_events=options.later_events,
        effects=options.effects, cause=options.cause, unseen_events=unseen_events,
    )  # fmt: skip
    _refuse_thin(follow_up, arranged, covariate, options.cause)
    fit = fit_cox(arranged, options=CoxOptions(ties=options.ties, errors="robust", cause=options.cause))
    if fit.n_clusters < 2:
        raise NotEstimable(Fault("clusters", "there is one alone, which has no error", allowed="2 or more"))
    b, se = _read(fit, covariate, options)
    pooled = options.max_events if options.later_events == "pool" else None
    return log_ratio_estimate(
        estimand,
        options.model,
        role=role,
        log_value=b,
        se=se,
        level=options.level,
        n_people=arranged.n_people,
        n_events=fit.n_events,
        checks=make_recurrent_checks(
            follow_up, arranged, fit, covariate, options.model, cause=options.cause, pooled_from=pooled
        ),
        label=_LABELS[options.model],
    )


def _read(fit: CoxFit, covariate: str, options: RecurrentOptions) -> tuple[float, float]:
    if options.effects == "common":
        place = fit.names.index(covariate)
        return float(fit.coefficients[place]), float(np.sqrt(fit.robust_variance[place, place]))
    places = [k for k, name in enumerate(fit.names) if name.rpartition(", event ")[0] == covariate]
    return compute_optimal_average(fit.coefficients[places], fit.robust_variance[np.ix_(places, places)])


def _unseen_codes(unseen: np.ndarray, order: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, list[Fault]]:
    where = "unseen_events"
    if unseen.shape != order.shape:
        fault = Fault(where, "one value a row is wanted", got=f"{unseen.shape}", allowed=f"{order.shape}")
        return np.zeros(len(order), dtype=np.int64), [fault]
    bad = ~(np.isfinite(unseen) & (unseen >= 0) & (unseen == np.round(unseen)))
    faults = [Fault(where, f"{how_many(int(bad.sum()))} are not whole numbers from 0")] if bad.any() else []
    fewer = same & (unseen[order][1:] < unseen[order][:-1])
    if fewer.any():
        faults.append(Fault(where, f"{how_many(int(fewer.sum()))} have fewer than the same person's row before them"))
    return np.where(bad, 0, unseen).astype(np.int64), faults


def _repeat_for_each_number(f: FollowUp, numbers: np.ndarray, last: int, cause: int) -> tuple[FollowUp, np.ndarray]:
    """Rows until the k-th event, once for each k, joined where nothing but an earlier event parts them."""
    parts = [np.flatnonzero(numbers <= k) for k in range(1, last + 1)]
    rows = np.concatenate(parts)
    number = np.repeat(np.arange(1, last + 1), [len(part) for part in parts])
    order = np.lexsort((f.entry[rows], f.person[rows], number))
    rows, number = rows[order], number[order]
    event = np.where((f.event[rows] == cause) & (numbers[rows] < number), 0, f.event[rows])
    traits = np.column_stack([f.covariates, f.weights, f.offset, f.stratum, f.cluster, f.person])[rows]
    joined = (number[1:] == number[:-1]) & (event[:-1] == 0) & (f.entry[rows][1:] == f.exit[rows][:-1])
    joined &= (traits[1:] == traits[:-1]).all(axis=1)
    begins = np.flatnonzero(np.concatenate([[True], ~joined]))
    ends = np.append(begins[1:], len(rows)) - 1
    return replace(f.select(rows[ends]), entry=f.entry[rows[begins]], event=event[ends]), number[ends]


def _restart_clock(f: FollowUp, number: np.ndarray) -> FollowUp:
    """Time since the person's last event, or since their rows begin."""
    order = np.lexsort((f.entry, f.person))
    spell = np.column_stack([f.person[order], number[order]])
    begins = np.flatnonzero(np.concatenate([[True], (spell[1:] != spell[:-1]).any(axis=1)]))
    # A later spell starts where the event before it was, which may be before its first row.
    first_of_person = np.concatenate([[True], f.person[order][begins][1:] != f.person[order][begins][:-1]])
    origin = np.where(first_of_person, f.entry[order][begins], np.roll(f.exit[order], 1)[begins])
    clock = np.empty(len(f))
    clock[order] = np.repeat(origin, np.diff(np.append(begins, len(f))))
    return replace(f, entry=f.entry - clock, exit=f.exit - clock)


def _split_effects(f: FollowUp, number: np.ndarray) -> FollowUp:
    found = np.unique(number)
    own = [f.covariates * (number == k)[:, None] for k in found]
    names = tuple(f"{name}, event {k}" for k in found for name in f.names)
    return replace(f, covariates=np.concatenate(own, axis=1), names=names)


def _stratify(f: FollowUp, number: np.ndarray) -> FollowUp:
    width = int(number.max()) + 1
    pairs, codes = np.unique(f.stratum * width + number, return_inverse=True)
    kinds = [(int(pair // width), int(pair % width)) for pair in pairs]
    labels = tuple((f.strata[stratum], k) if f.strata else k for stratum, k in kinds)
    return replace(f, stratum=codes.astype(np.int64), strata=labels)


def _check_arrangement(
    f: FollowUp, model: str, max_events: int | None, later_events: str, effects: str, cause: int
) -> None:
    faults = []
    for name, value, allowed in (
        ("model", model, ("andersen_gill", "pwp_total", "pwp_gap", "wlw")),
        ("later_events", later_events, ("drop", "pool")),
        ("effects", effects, ("common", "by_number")),
    ):
        faults += choice_faults(name, value, allowed)
    if max_events is not None and not (is_whole(max_events) and max_events >= 1):
        faults.append(Fault("max_events", "at least one event is wanted", got=f"{max_events}"))
    faults += cause_faults(cause, f.causes)
    if model == "andersen_gill" and effects == "by_number":
        faults.append(Fault("effects", "Andersen and Gill's model has one effect for all events", allowed="common"))
    if model == "wlw" and later_events == "pool":
        faults.append(Fault("later_events", "WLW takes each event number by itself", got="pool", allowed="drop"))
    if later_events == "pool" and max_events is None:
        faults.append(Fault("max_events", "name the event number from which events are pooled"))
    refuse(faults)


def _check_request(f: FollowUp, estimand: Estimand, covariate: str, options: RecurrentOptions) -> None:
    if options.model not in _SCALES:
        raise ParameterError(Fault("model", "unknown", got=str(options.model), allowed=", ".join(_SCALES)))
    faults = []
    wanted = _SCALES[options.model]
    if estimand.scale != wanted:
        faults.append(Fault("estimand", f"{options.model} estimates another scale", got=estimand.scale, allowed=wanted))
    if covariate not in f.names:
        hint = suggest_name(covariate, f.names)
        faults.append(Fault("covariate", f'there is no "{covariate}"', allowed=", ".join(f.names), next_step=hint))
    faults += level_faults(options.level)
    refuse(faults)


def _refuse_thin(f: FollowUp, arranged: FollowUp, covariate: str, cause: int) -> None:
    if arranged.n_events(cause) < MIN_EVENTS:
        name = f.causes[cause - 1]
        raise NotEstimable(Fault(name, f"too few events: fewer than {MIN_EVENTS}", allowed=f"{MIN_EVENTS} or more"))
    x = f.covariates[:, f.names.index(covariate)]
    sides = np.unique(x)
    if len(sides) == 1:
        raise NotEstimable(Fault(covariate, "everybody has the same value"))
    if len(sides) == 2 and min(len(np.unique(f.person[x == side])) for side in sides) < MIN_SIDE:
        raise NotEstimable(Fault(covariate, "one side has one person only", allowed=f"{MIN_SIDE} or more"))
