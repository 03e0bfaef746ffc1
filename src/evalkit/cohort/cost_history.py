"""What people cost while they were followed, and how long that was: the input of estimators under censoring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.cohort.frames import as_numbers, codes, design_columns, how_many, numbers, require_columns
from evalkit.core.errors import Fault, ParameterError
from evalkit.core.faults import choice_faults, refuse

Days = Literal["half_open", "inclusive"]
_WHERE = "cost history"


@dataclass(frozen=True)
class CostHistory:
    """People followed from day 0, and cost records with the days that they were spread over; checked by `from_frames`.

    Attributes
    ----------
    follow_up_days : float array, shape (n,), positive: days from 0 to the end of follow-up
    complete : bool array, shape (n,), True where nothing can be spent after the follow-up because the person died (or
        because it ends at the horizon); False where the person was lost sight of, and may have cost more unseen
    group, stratum, cluster : int arrays, shape (n,), codes from 0; `groups`, `strata` are their labels
    weights : float array, shape (n,), positive; sampling or balancing weights, taken as known
    covariates : float array, shape (n, p), with `names`
    record_person : int array, shape (m,), places of people
    start_days, stop_days, cost_gbp : float arrays, shape (m,)
    recorded_days : float, the day up to which costs were recorded of whoever was followed; infinite without such a day
    days : what `stop_days` means. "half_open", as all windows of this project: the days from start up to, not with,
        stop, and a record that stops where it starts is spent at that moment. "inclusive": stop is the last day.
    """

    follow_up_days: np.ndarray
    complete: np.ndarray
    group: np.ndarray
    stratum: np.ndarray
    cluster: np.ndarray
    weights: np.ndarray
    covariates: np.ndarray
    record_person: np.ndarray
    start_days: np.ndarray
    stop_days: np.ndarray
    cost_gbp: np.ndarray
    days: Days = "half_open"
    recorded_days: float = math.inf
    names: tuple[str, ...] = ()
    groups: tuple[object, ...] = ()
    strata: tuple[object, ...] = ()

    @classmethod
    def from_frames(
        cls,
        people: pd.DataFrame,
        records: pd.DataFrame,
        *,
        person: str,
        follow_up: str,
        complete: str,
        start: str,
        stop: str,
        cost: str,
        group: str | None = None,
        stratum: str | None = None,
        cluster: str | None = None,
        weights: str | None = None,
        covariates: tuple[str, ...] = (),
        days: Days = "half_open",
    ) -> CostHistory:
        """Build from one row a person and one row a cost record; every fault is listed at once, no row is shown.

        Days are counted from the start of each person's own follow-up. A person without records costs nothing.

        Raises ParameterError for missing columns or values; people who stand in the frame twice; follow-up that is
        not positive; `complete` that is not 0/1 or yes/no; records of unknown people, that stop before they start,
        start before day 0 or stop after the person's follow-up; negative costs; weights that are not positive.
        """
        faults = choice_faults("days", days, ("half_open", "inclusive"))
        named = [person, follow_up, complete, group, stratum, cluster, weights, *covariates]
        faults += _column_faults(people, named, "people") + _column_faults(
            records, [person, start, stop, cost], "records"
        )
        refuse(faults)
        arrays, labels, faults = _read_people(
            people, person, follow_up, complete, group, stratum, cluster, weights, covariates
        )
        begin, wrong_start = numbers(records, start)
        end, wrong_stop = numbers(records, stop)
        spent, wrong_cost = numbers(records, cost)
        who = pd.Index(people[person]).get_indexer(records[person]) if not people[person].duplicated().any() else None
        faults += [*wrong_start, *wrong_stop, *wrong_cost]
        if who is not None:
            faults += _count_fault(who < 0, person, "are records of people who are not in the frame of people",
                                   "Leave them out, or add the people.")  # fmt: skip
        sound = not (wrong_start or wrong_stop or wrong_cost)
        faults += _record_faults(begin, end, spent, start, stop, cost) if sound else []
        ends = arrays["follow_up_days"]
        if sound and who is not None and (ends > 0).any():
            faults += _late_fault((who >= 0) & (end > ends[np.maximum(who, 0)]))
        refuse(faults)
        return cls(**arrays, record_person=who, start_days=begin, stop_days=end, cost_gbp=spent, days=days, **labels)

    @classmethod
    def from_periods(
        cls,
        people: pd.DataFrame,
        costs_gbp: np.ndarray,
        *,
        bounds_days: Sequence[float],
        follow_up: str,
        complete: str,
        person: str | None = None,
        group: str | None = None,
        stratum: str | None = None,
        cluster: str | None = None,
        weights: str | None = None,
        covariates: tuple[str, ...] = (),
    ) -> CostHistory:
        """Build from one row a person and their costs in T periods, shape (n, T), such as those of `build_costs`.

        Period k runs from `bounds_days[k]` up to, not with, `bounds_days[k + 1]`, the first from day 0; a cost is
        spread over the part of it in which the person was followed. In periods that begin after the follow-up a
        cost is 0 or missing.

        Raises ParameterError as `from_frames`, and for a shape or bounds that do not fit.
        """
        named = [person, follow_up, complete, group, stratum, cluster, weights, *covariates]
        refuse(_column_faults(people, named, "people"))
        arrays, labels, faults = _read_people(
            people, person, follow_up, complete, group, stratum, cluster, weights, covariates
        )
        bounds, costs = as_numbers(bounds_days, "bounds_days"), as_numbers(costs_gbp, "costs_gbp")
        faults += _bound_faults(bounds)
        if costs.shape != (len(people), len(bounds) - 1):
            allowed = f"({len(people)}, {len(bounds) - 1})"
            faults.append(Fault("costs_gbp", "one cost a person and period is wanted", str(costs.shape), allowed))
        refuse(faults)
        ends = arrays["follow_up_days"]
        unseen = bounds[None, :-1] >= ends[:, None]
        missing = ~np.isfinite(costs)
        faults += _count_fault((missing & ~unseen).any(axis=1), "costs_gbp",
                               "have a missing or infinite cost in a period in which they were followed")  # fmt: skip
        faults += _count_fault((np.where(missing, 0.0, costs) < 0).any(axis=1), "costs_gbp", "have a negative cost")
        faults += _late_fault((np.where(missing, 0.0, costs) != 0) & unseen)
        refuse(faults)
        who, period = np.nonzero(~unseen & (costs != 0))
        stop = np.minimum(bounds[period + 1], ends[who])
        return cls(
            **arrays, record_person=who, start_days=bounds[period], stop_days=stop, cost_gbp=costs[who, period],
            days="half_open", recorded_days=float(bounds[-1]), **labels,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.follow_up_days)

    def select(self, rows: np.ndarray) -> CostHistory:
        """The same history with only these people (bool or places), codes as they were."""
        places = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        if len(np.unique(places)) < len(places):
            raise ParameterError(Fault(_WHERE, "somebody is selected twice"))
        new = np.full(len(self), -1)
        new[places] = np.arange(len(places))
        kept = new[self.record_person] >= 0
        arrays = ("follow_up_days", "complete", "group", "stratum", "cluster", "weights", "covariates")
        return replace(
            self, **{name: getattr(self, name)[places] for name in arrays},
            record_person=new[self.record_person[kept]], start_days=self.start_days[kept],
            stop_days=self.stop_days[kept], cost_gbp=self.cost_gbp[kept],
        )  # fmt: skip

    def with_weights(self, weights: np.ndarray) -> CostHistory:
        """The same history with other weights, shape (n,), positive and finite, such as those of a propensity."""
        values = as_numbers(weights, "weights")
        if values.shape != self.follow_up_days.shape:
            raise ParameterError(Fault("weights", "one value a person is wanted", str(values.shape), f"({len(self)},)"))
        refuse(_weight_faults(values, "weights"))
        return replace(self, weights=values)


def compute_costs_until(history: CostHistory, days: np.ndarray) -> np.ndarray:
    """GBP that each person cost up to their own day (n,), shape (n,); a record is spent evenly over its days.

    A record counts from its start on. Of the span of a record, stop - start ("half_open") or stop - start + 1
    ("inclusive"), day - start, or that plus 1, has been spent.
    """
    extra = 1.0 if history.days == "inclusive" else 0.0
    at = days[history.record_person]
    span = history.stop_days - history.start_days + extra
    done = (at >= history.stop_days) & (at >= history.start_days)
    share = np.divide(np.clip(at - history.start_days + extra, 0, None), span, out=np.zeros(len(at)), where=span > 0)
    share = np.where(done, 1.0, np.where(at >= history.start_days, share, 0.0))
    return np.bincount(history.record_person, history.cost_gbp * share, minlength=len(history))


def compute_running_costs(history: CostHistory, days: np.ndarray) -> np.ndarray:
    """GBP that each person cost up to each of the sorted days (C,), shape (n, C); see `compute_costs_until`."""
    extra = 1.0 if history.days == "inclusive" else 0.0
    width = len(days) + 1
    first = history.record_person * width + np.searchsorted(days, history.start_days)
    last = history.record_person * width + np.searchsorted(days, history.stop_days)
    span = history.stop_days - history.start_days + extra
    rate = np.divide(history.cost_gbp, span, out=np.zeros(len(span)), where=span > 0)

    def sweep(places: list[np.ndarray], values: list[np.ndarray]) -> np.ndarray:
        added = np.bincount(np.concatenate(places), np.concatenate(values), minlength=len(history) * width)
        return np.cumsum(added.reshape(len(history), width)[:, :-1], axis=1)

    begun = rate * (history.start_days - extra)
    found = sweep([first, last], [rate, -rate]) * days
    found -= sweep([first, last], [begun, -begun])
    found += sweep([last], [history.cost_gbp])
    return np.maximum(found, 0.0)


def _column_faults(df: pd.DataFrame, names: Sequence[str | None], where: str) -> list[Fault]:
    try:
        require_columns(df, names, where=where)
    except ParameterError as error:
        return list(error.faults)
    return []


def _read_people(
    people: pd.DataFrame,
    person: str | None,
    follow_up: str,
    complete: str,
    group: str | None,
    stratum: str | None,
    cluster: str | None,
    weights: str | None,
    covariates: tuple[str, ...],
) -> tuple[dict[str, np.ndarray], dict[str, tuple[object, ...]], list[Fault]]:
    people = people.reset_index(drop=True)
    ends, wrong_ends = numbers(people, follow_up)
    known, faults = numbers(people, complete)
    faults += wrong_ends
    if not faults and not np.isin(known, (0.0, 1.0)).all():
        faults.append(Fault(complete, "it holds other values", allowed="0 and 1, or True and False"))
    if not wrong_ends:
        faults += _count_fault(ends <= 0, follow_up, "have no follow-up", "Leave out who was never followed.")
    _, _, wrong_people = codes(people, person)
    faults += wrong_people
    if person is not None and not wrong_people:
        twice = people[person].duplicated(keep=False).to_numpy()
        faults += _count_fault(twice, person, "hold a person who stands in the frame twice", "Keep one row a person.")
    nobody = np.zeros(len(people), dtype=np.int64)
    arms, groups, wrong_group = codes(people, group) if group else (nobody, ("all",), [])
    layer, strata, wrong_stratum = codes(people, stratum) if stratum else (nobody, ("all",), [])
    bunch, _, wrong_cluster = codes(people, cluster)
    w, wrong_weights = numbers(people, weights) if weights else (np.ones(len(people)), [])
    x, names, wrong_x = design_columns(people, covariates)
    used = (follow_up, complete, person, group)
    faults += [Fault(name, "this column cannot be a covariate too") for name in covariates if name in used]
    faults += [*wrong_group, *wrong_stratum, *wrong_cluster, *wrong_weights, *wrong_x]
    faults += _weight_faults(w, weights or "weights") if not wrong_weights else []
    arrays = {"follow_up_days": ends, "complete": known == 1, "group": arms, "stratum": layer, "cluster": bunch,
              "weights": w, "covariates": x}  # fmt: skip
    return arrays, {"names": names, "groups": groups, "strata": strata}, faults


def _count_fault(bad: np.ndarray, where: str, what: str, next_step: str = "") -> list[Fault]:
    return [Fault(where, f"{how_many(int(bad.sum()))} {what}", next_step=next_step)] if bad.any() else []


def _record_faults(
    begin: np.ndarray, end: np.ndarray, spent: np.ndarray, start: str, stop: str, cost: str
) -> list[Fault]:
    return [
        *_count_fault(
            spent < 0, cost, "hold a negative cost", "Income and refunds are no cost of care: leave them out."
        ),
        *_count_fault(end < begin, stop, "stop before they start", f'`df[df["{stop}"] < df["{start}"]]` finds them.'),
        *_count_fault(begin < 0, start, "start before day 0, on which follow-up begins"),
    ]


def _late_fault(late: np.ndarray) -> list[Fault]:
    step = "Cut costs at the end of follow-up, or correct the follow-up: what is seen after it was followed."
    return _count_fault(late.ravel(), _WHERE, "hold a cost after the person's follow-up", step)


def _bound_faults(bounds: np.ndarray) -> list[Fault]:
    if (
        bounds.ndim == 1
        and len(bounds) > 1
        and np.isfinite(bounds).all()
        and bounds[0] == 0
        and (np.diff(bounds) > 0).all()
    ):
        return []
    return [Fault("bounds_days", "they must be days that rise from 0, one more than there are periods")]


def _weight_faults(weights: np.ndarray, name: str) -> list[Fault]:
    return _count_fault(~(np.isfinite(weights) & (weights > 0)), name, "are not positive and finite")
