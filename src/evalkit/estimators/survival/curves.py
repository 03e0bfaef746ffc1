"""A curve of people over time, its intervals, and reading it at chosen times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import as_numbers, cause_faults, how_many
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults, is_finite, level_faults, refuse

Quantity = Literal["survival", "cumulative_incidence", "mean_count"]
Interval = Literal["log", "log-log", "plain"]

MIN_EVENTS = 10
INTERVALS = ("log", "log-log", "plain")
FIRST_EVENTS = (
    "Sorted by person and exit, only a person's last row may hold an event: keep first events, or use "
    "estimate_mean_count for events that come again."
)


@dataclass(frozen=True)
class Curve:
    """A step function of one stratum with pointwise intervals; it holds no person's row.

    Attributes
    ----------
    stratum : its label; None where the follow-up has none
    quantity, cause : what it shows; `cause` is "any" for survival without any event
    time : float array, shape (T,), the distinct times of events; the curve steps at them and holds after
    at_risk, events : float arrays (T,), sums of weights; `number_at_risk`, `number_of_events` count rows
    value, se, lower, upper : float arrays (T,); before the first time the value is `start_value`
    last_time : the last time at which anybody was followed
    complete : whether nothing can change after `last_time`, since nobody is left whom it could change
    level, interval, errors : level and scale of the interval, and how errors were made
    n_people, n_events : people followed, and events that the curve counts
    """

    stratum: object
    quantity: Quantity
    cause: str
    time: np.ndarray
    at_risk: np.ndarray
    events: np.ndarray
    number_at_risk: np.ndarray
    number_of_events: np.ndarray
    value: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    start_value: float
    last_time: float
    complete: bool
    level: float
    interval: Interval
    errors: str
    n_people: int
    n_events: int


def pick_curve(curves: Iterable[Curve], *, stratum: object = None, cause: str | None = None) -> Curve:
    """The one curve of a stratum and, if named, of a cause.

    Raises ParameterError where none or several fit.
    """
    curves = tuple(curves)
    found = [c for c in curves if c.stratum == stratum and cause in (None, c.cause)]
    if len(found) != 1:
        allowed = ", ".join(f"{c.stratum}/{c.cause}" for c in curves)
        raise ParameterError(Fault("curves", f"{len(found)} curves fit", got=f"{stratum}/{cause}", allowed=allowed))
    return found[0]


def compute_interval(
    value: np.ndarray, se: np.ndarray, *, level: float, interval: Interval, upper_limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of pointwise intervals, arrays of the shape of `value`; NaN where the scale has none.

    "plain" value -/+ z se; "log" on log(value), R's default; "log-log" on log(-log(value)), for probabilities,
    which stays between 0 and 1 (Kalbfleisch and Prentice 2002). Ends are cut to 0 and `upper_limit`.
    """
    z = stats.norm.ppf(0.5 + level / 2)
    if interval == "plain":
        return np.maximum(value - z * se, 0.0), np.minimum(value + z * se, upper_limit)
    lower, upper = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    if interval == "log":
        inside = value > 0
        width = z * se[inside] / value[inside]
        lower[inside], upper[inside] = value[inside] * np.exp(-width), value[inside] * np.exp(width)
        return lower, np.minimum(upper, upper_limit)
    inside = (value > 0) & (value < 1 - 1e-12) & (se > 0)
    v = value[inside]
    width = z * se[inside] / (v * np.log(v))  # negative, as is log(v)
    lower[inside], upper[inside] = v ** np.exp(-width), v ** np.exp(width)
    return lower, upper


def compute_curve_at(
    curve: Curve, times: Iterable[float], *, side: Literal["through", "before"] = "through"
) -> pd.DataFrame:
    """The curve read at times: with what happens on the time itself ("through") or without it ("before").

    Returns
    -------
    DataFrame, one row a time: `time, value, se, lower, upper`. After the last follow-up a curve that is not complete
    is unknown: NaN.

    Raises ParameterError for times that are not finite and an unknown side.
    """
    refuse(choice_faults("side", side, ("through", "before")))
    at = _read_times(times, "times")
    place = np.searchsorted(curve.time, at, side="right" if side == "through" else "left")
    return pd.DataFrame({"time": at, **_read(curve, place, at <= curve.last_time)})


def compute_risk_at(curve: Curve, days: Iterable[float]) -> pd.DataFrame:
    """Risk, survival or mean count strictly before each whole day, as windows of days are half-open.

    Follow-up that ends on day d - 1 tells all that happens before day d. On day 0, before which nothing can have
    happened, the interval has no width.

    Returns
    -------
    DataFrame, one row a day: `day, risk, se, lower, upper`; NaN after the last follow-up, and ends are NaN where
    the scale of the interval has none, such as for a risk of 0 on "log-log".
    """
    at = _read_times(days, "days")
    place = np.searchsorted(curve.time, at, side="left")
    found = _read(curve, place, at <= curve.last_time + 1)
    nothing = (place == 0) & (at <= 0)
    ends = {name: np.where(nothing, curve.start_value, found[name]) for name in ("lower", "upper")}
    return pd.DataFrame({"day": at, "risk": found["value"], "se": found["se"], **ends})


def _spans(follow_up: FollowUp, rows: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First entry, last exit and whether the last row `ends`, of each person of a stratum in order of entry."""
    order = rows[np.lexsort((follow_up.exit[rows], follow_up.person[rows]))]
    new = np.diff(follow_up.person[order]) != 0
    first, last = order[np.append(True, new)], order[np.append(new, True)]
    entry = follow_up.entry[first]
    place = np.argsort(entry, kind="stable")
    return entry[place], follow_up.exit[last][place], ends[last][place]


def _read_times(times: Iterable[float], where: str) -> np.ndarray:
    at = as_numbers(times, where)
    if not np.isfinite(at).all():
        raise ParameterError(Fault(where, "some are missing or infinite"))
    return at


def _read(curve: Curve, place: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """`value, se, lower, upper` after the first `place` (m,) times; NaN where not known and not complete."""
    start, no_error = np.array([curve.start_value]), np.zeros(1)
    limit = np.inf if curve.quantity == "mean_count" else 1.0
    low, high = compute_interval(start, no_error, level=curve.level, interval=curve.interval, upper_limit=limit)
    columns = {
        "value": (start, curve.value),
        "se": (no_error, curve.se),
        "lower": (low, curve.lower),
        "upper": (high, curve.upper),
    }
    known = known | curve.complete
    return {name: np.where(known, np.concatenate(both)[place], np.nan) for name, both in columns.items()}


def build_curve_frame(curves: Iterable[Curve]) -> pd.DataFrame:
    """Curves as one long table for figures, each from its start value.

    Returns
    -------
    DataFrame, one row a curve and time of an event, and one at the start, whose `time` is the lesser of 0 and the
    first time: `stratum, quantity, cause, time, value, se, lower, upper`. It steps at every event, so it
    goes through disclosure control before it is shown. Raises ParameterError without curves.
    """
    parts, curves = [], tuple(curves)
    if not curves:
        raise ParameterError(Fault("curves", "there are none"))
    for curve in curves:
        place = np.arange(len(curve.time) + 1)
        origin = min(0.0, float(curve.time[0])) if len(curve.time) else 0.0
        time = np.concatenate([[origin], curve.time])
        columns = {"time": time, **_read(curve, place, np.ones(len(place), dtype=bool))}
        frame = pd.DataFrame(columns).assign(stratum=curve.stratum, quantity=curve.quantity, cause=curve.cause)
        parts.append(frame[["stratum", "quantity", "cause", "time", "value", "se", "lower", "upper"]])
    return pd.concat(parts, ignore_index=True)


def compute_quantile(curve: Curve, probability: float = 0.5) -> tuple[float, float, float]:
    """Time by which a share `probability` has had the event, with the limits at which the interval's ends cross.

    As R's quantile.survfit: where survival lies exactly on 1 - probability over an interval, its middle. NaN where
    a curve does not come down so far (Brookmeyer and Crowley 1982, Biometrics 38:29).

    Raises ParameterError unless the curve shows survival and the probability is inside 0 and 1.
    """
    if curve.quantity != "survival" or not is_finite(probability) or not 0 < probability < 1:
        got = f"{curve.quantity}, {probability}"
        raise ParameterError(Fault("quantile", "needs a survival curve and a probability inside 0 and 1", got=got))
    aim = 1 - probability
    return tuple(_crossing(curve.time, path, aim) for path in (curve.value, curve.lower, curve.upper))


def _crossing(time: np.ndarray, path: np.ndarray, aim: float) -> float:
    slack = 1e-9
    reached = np.flatnonzero(path <= aim + slack)  # an end that is NaN crosses nothing
    if not len(reached):
        return float("nan")
    first, below = reached[0], np.flatnonzero(path < aim - slack)
    if path[first] >= aim - slack and len(below):
        return float((time[first] + time[below[0]]) / 2)
    return float(time[first])


def has_equal_weights(follow_up: FollowUp) -> bool:
    """Whether no row counts for more than another."""
    return bool(np.ptp(follow_up.weights) <= 1e-12 * follow_up.weights.max())


def iterate_strata(follow_up: FollowUp) -> list[tuple[object, np.ndarray]]:
    """Label and rows (places) of every stratum that has rows, in order; the label is None without strata."""
    if not follow_up.strata:
        return [(None, np.arange(len(follow_up)))]
    codes = np.unique(follow_up.stratum)
    return [(follow_up.strata[int(code)], np.flatnonzero(follow_up.stratum == code)) for code in codes]


def refuse_few_events(follow_up: FollowUp, causes: tuple[int, ...], *, where: str) -> None:
    """Raise NotEstimable where a stratum has fewer than `MIN_EVENTS` events of the causes; the count is not told."""
    faults = []
    for label, rows in iterate_strata(follow_up):
        if np.isin(follow_up.event[rows], causes).sum() < MIN_EVENTS:
            named = "" if label is None else f" in {label}"
            faults.append(
                Fault(
                    where,
                    f"too few events{named}",
                    got=f"fewer than {MIN_EVENTS}",
                    allowed=f"{MIN_EVENTS} or more",
                    next_step="Follow people for longer or join groups.",
                )
            )
    if faults:
        raise NotEstimable(faults)


def check_level(level: float) -> None:
    """Raise ParameterError unless the level of an interval is inside 0 and 1."""
    refuse(level_faults(level))


def check_cause(follow_up: FollowUp, cause: int | None) -> None:
    """Raise ParameterError unless `cause` is None or one of the follow-up's causes, counted from 1."""
    if cause is not None:
        refuse(cause_faults(cause, follow_up.causes))


def check_interval(interval: str) -> None:
    """Raise ParameterError for a scale of intervals that there is not."""
    refuse(choice_faults("interval", interval, INTERVALS))


def refuse_one_cluster(follow_up: FollowUp) -> None:
    """Raise NotEstimable where clustered errors would rest on one cluster alone, and so come to 0."""
    if (follow_up.cluster == follow_up.cluster[0]).all():
        raise NotEstimable(
            Fault("clusters", "there is one alone, which has no error", allowed="2 or more, 30 to be relied on")
        )


def refuse_gaps(follow_up: FollowUp, ends: np.ndarray, *, where: str, until: float = np.inf) -> None:
    """Raise NotEstimable where a stratum's curve would rest on times at which nobody was under observation.

    So it is between two entries with nobody there, and where all of the few who had entered ended, in rows that
    `ends` (n,) tells, before others came: the curve stands at its end whatever becomes of them (Tsai, Jewell and
    Wang 1987, Biometrika 74:883). Who is away between two rows of theirs is counted as there.
    """
    for label, rows in iterate_strata(follow_up):
        entry, leave, final = _spans(follow_up, rows, ends)
        last = np.maximum.accumulate(leave)
        # All who came before this entry are gone; who entered at one time came together.
        bare = (entry[1:] >= last[:-1]) & (entry[1:] < until)
        if not bare.any():
            continue
        gap = (entry[1:] > last[:-1])[bare]
        if gap.any() or any(final[leave == t].all() for t in np.unique(last[:-1][bare])):
            named = "" if label is None else f" in {label}"
            raise NotEstimable(
                Fault(
                    where,
                    f"there are times between two entries{named} at which nobody is under observation",
                    next_step="Begin at a time from which somebody is followed throughout.",
                )
            )


def check_nothing_after(follow_up: FollowUp, ends: np.ndarray, *, next_step: str) -> None:
    """Raise ParameterError where somebody is at risk in a stratum after a row that `ends` (n,) being at risk."""
    if np.bincount(follow_up.person).max() == 1:
        return
    order = np.lexsort((follow_up.exit, follow_up.stratum, follow_up.person))
    person, stratum = follow_up.person[order], follow_up.stratum[order]
    again = (person[1:] == person[:-1]) & (stratum[1:] == stratum[:-1]) & ends[order][:-1]
    if again.any():
        raise ParameterError(
            Fault(
                "follow-up",
                f"{how_many(int(again.sum()))} are at risk after an event that ends being at risk",
                next_step=next_step,
            )
        )
