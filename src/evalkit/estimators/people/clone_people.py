"""People of an emulated trial from their time zero, and the options of clone-censor-weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import design_columns, how_many, numbers, require_columns
from evalkit.core.errors import Fault
from evalkit.core.faults import is_finite, refuse, whole_faults

_WHERE = "trial people"


@dataclass(frozen=True)
class CloneOptions:
    """How a trial with a grace period is emulated.

    Attributes
    ----------
    grace_days : days from time zero within which the strategy may be started (the last day is in)
    horizon_days : day at which risks are compared
    interval_days : width of the intervals in which the chance of starting is modelled
    contrast : "per_protocol", or "intention_to_treat": as begun on day 0, whatever was done later
    comparison : "not_within_grace" (starting later is allowed) or "never_start" (any start is a deviation)
    start_weights : of those who start. "initiation_time": by the chance of starting when they did, so that they start
        when starters do, whoever they are; takes time-varying covariates. "grace_end": by the chance, given baseline
        covariates, of having started by the end of the grace period among those followed so far
    time_degree : degree of the polynomial of time in the model of starting
    largest_weight : stabilised weights are cut here; None leaves them
    replicates : bootstrap draws of people
    """

    grace_days: float
    horizon_days: float
    interval_days: float = 7.0
    contrast: Literal["per_protocol", "intention_to_treat"] = "per_protocol"
    comparison: Literal["not_within_grace", "never_start"] = "not_within_grace"
    start_weights: Literal["initiation_time", "grace_end"] = "initiation_time"
    time_degree: int = 2
    largest_weight: float | None = None
    replicates: int = 500


@dataclass(frozen=True)
class TrialPeople:
    """One row a person who is eligible at time zero (day 0); checked by `from_frame`.

    Attributes
    ----------
    start : float array, shape (n,), day of starting the strategy, infinite for never
    exit : float array, shape (n,), day of the event or of the end of follow-up
    event : int array, shape (n,), 0 censored, k for `causes[k - 1]`; 1 is the outcome, others compete with it
    covariates : float array, shape (n, p), known at time zero, with `names`
    varying_person, varying_day : shape (r,), sorted; `varying` (r, q) holds from its day until the next
    """

    start: np.ndarray
    exit: np.ndarray
    event: np.ndarray
    covariates: np.ndarray
    names: tuple[str, ...]
    causes: tuple[str, ...]
    varying_person: np.ndarray
    varying_day: np.ndarray
    varying: np.ndarray
    varying_names: tuple[str, ...]

    @classmethod
    def from_frame(
        cls,
        people: pd.DataFrame,
        *,
        person: str,
        start: str,
        exit: str,
        event: str,
        covariates: Sequence[str] = (),
        causes: tuple[str, ...] = ("event",),
        varying: pd.DataFrame | None = None,
        varying_day: str = "day",
        varying_covariates: Sequence[str] = (),
    ) -> TrialPeople:
        """Build from one row a person, and optionally one row a person and day of change for covariates that vary.

        `start` is empty for who never starts. Every fault is listed at once; no row is shown.

        Raises
        ------
        ParameterError
            Missing columns or values, somebody twice, a start before time zero or after the end of follow-up,
            follow-up or an event at or before time zero, unknown event codes; rows of `varying` of unknown people,
            twice on a day, or absent at time zero.
        """
        require_columns(people, [person, start, exit, event, *covariates], where=_WHERE)
        people = people.reset_index(drop=True)
        begins, faults = _starts(people, start)
        ends, wrong_ends = numbers(people, exit)
        x, names, wrong_x = design_columns(people, covariates)
        faults = [*faults, *wrong_ends, *wrong_x, *_person_faults(people, person)]
        if not wrong_ends:
            faults += _order_faults(begins, ends, start, exit)
        refuse(faults)
        codes = FollowUp.from_frame(people, exit=exit, event=event, causes=causes).event
        none = cls(
            begins, ends, codes, x, names, tuple(causes),
            np.empty(0, dtype=np.int64), np.empty(0), np.empty((0, 0)), (),
        )  # fmt: skip
        if varying is None:
            return none
        return _with_varying(none, people[person], varying, person, varying_day, list(varying_covariates))

    def __len__(self) -> int:
        return len(self.exit)

    def compute_varying_at(self, days: np.ndarray) -> np.ndarray:
        """Values of the time-varying covariates that hold on each day, shape (n, len(days), q)."""
        n, q = len(self), len(self.varying_names)
        if not q:
            return np.empty((n, len(days), 0))
        first = np.searchsorted(self.varying_person, np.arange(n))
        found = np.empty((n, len(days)), dtype=np.int64)
        for k, day in enumerate(days):
            known = np.bincount(self.varying_person[self.varying_day <= day], minlength=n)
            found[:, k] = first + known - 1
        return self.varying[found]


def check_options(options: CloneOptions) -> None:
    """Refuse options that do not fit each other, all at once (ParameterError)."""
    faults = []
    for name in ("grace_days", "horizon_days", "interval_days"):
        value = getattr(options, name)
        if not is_finite(value) or value < 0 or (value == 0 and name != "grace_days"):
            least = "0 or more" if name == "grace_days" else "above 0"
            faults.append(Fault(name, "must be a number of days", str(value), least))
    if not faults and options.grace_days >= options.horizon_days:
        got = f"{options.grace_days:g} and {options.horizon_days:g} days"
        next_step = "Shorten the grace period or follow people longer."
        faults.append(Fault("grace_days", "the grace period is as long as the follow-up", got, next_step=next_step))
    for name, allowed in (
        ("contrast", ("per_protocol", "intention_to_treat")),
        ("comparison", ("not_within_grace", "never_start")),
        ("start_weights", ("initiation_time", "grace_end")),
    ):
        if getattr(options, name) not in allowed:
            faults.append(Fault(name, "unknown", str(getattr(options, name)), " or ".join(allowed)))
    faults += whole_faults("time_degree", options.time_degree, least=0)
    if whole_faults("replicates", options.replicates, least=100):
        faults.append(Fault("replicates", "too few for a standard error", f"{options.replicates}", "100 or more"))
    if options.largest_weight is not None and not options.largest_weight > 1:
        faults.append(Fault("largest_weight", "stabilised weights vary about 1", allowed="above 1, or None"))
    refuse(faults)


def _starts(people: pd.DataFrame, start: str) -> tuple[np.ndarray, list[Fault]]:
    given = people[start].notna().to_numpy()
    found = np.full(len(people), np.inf)
    if not given.any():
        return found, []
    found[given], faults = numbers(people[given], start)
    return found, faults


def _person_faults(people: pd.DataFrame, person: str) -> list[Fault]:
    empty, twice = int(people[person].isna().sum()), int(people[person].duplicated(keep=False).sum())
    if empty:
        return [Fault(person, f"{how_many(empty)} are empty", next_step=f'`df[df["{person}"].isna()]` finds them.')]
    if twice:
        next_step = f'`df[df["{person}"].duplicated(keep=False)]` finds them.'
        return [Fault(person, f"{how_many(twice)} belong to people who have another row", next_step=next_step)]
    return []


def _order_faults(begins: np.ndarray, ends: np.ndarray, start: str, exit_: str) -> list[Fault]:
    late = np.isfinite(begins) & (begins > ends)
    return [
        Fault(where, f"{how_many(int(bad.sum()))} {what}", next_step=f"`df[{where_rows}]` finds them. {then}")
        for bad, where, what, where_rows, then in (
            (begins < 0, start, "start before time zero", f'df["{start}"] < 0',
             "Who has started is not eligible: leave them out, or move time zero."),
            (ends <= 0, exit_, "end, or have their event, at or before entry (time zero)", f'df["{exit_}"] <= 0',
             "Who has had the event is not eligible."),
            (late, start, "start after the end of their follow-up", f'df["{start}"] > df["{exit_}"]',
             "What happened after the event or after censoring is not known: let the start be empty."),
        )
        if bad.any()
    ]  # fmt: skip


def _with_varying(
    people: TrialPeople, ids: pd.Series, varying: pd.DataFrame, person: str, day: str, names: list[str]
) -> TrialPeople:
    where = "varying covariates"
    require_columns(varying, [person, day, *names], where=where)
    varying = varying.reset_index(drop=True)
    place = pd.Series(np.arange(len(ids)), index=ids.to_numpy())
    who = varying[person].map(place)
    days, faults = numbers(varying, day)
    x, columns, wrong = design_columns(varying, names)
    if who.isna().any():
        faults.append(Fault(where, f"{how_many(int(who.isna().sum()))} are of nobody among the people"))
    refuse([*faults, *wrong] if names else [*faults, Fault(where, "no columns are named", allowed="one or more")])
    order = np.lexsort((days, who.to_numpy()))
    codes, days, x = who.to_numpy(dtype=np.int64)[order], days[order], x[order]
    twice = (np.diff(codes) == 0) & (np.diff(days) == 0)
    absent = len(people) - len(np.unique(codes[days <= 0]))
    refuse(
        Fault(where, text, next_step=next_step)
        for count, text, next_step in (
            (int(twice.sum()), f"{how_many(int(twice.sum()))} are a second value on a day", "Keep the last of a day."),
            (
                absent,
                f"{how_many(absent)} of the people have no value at time zero",
                "Give one on day 0 or before.",
            ),
        )
        if count
    )
    return replace(people, varying_person=codes, varying_day=days, varying=x, varying_names=columns)
