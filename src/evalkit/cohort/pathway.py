"""Where each person of the cohort was on every day from an anchor date on."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.cohort import build_cohort_on
from evalkit.cohort.features import derive_person_features
from evalkit.cohort.history import EventHistory
from evalkit.cohort.residence import COMPARATORS, derive_residence, followed_until
from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse
from evalkit.core.pathway import DEAD, NOT_RECORDED, Pathway, PlaceGroup
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables

CELLS = ("treated after", "treated before", "comparison after", "comparison before")
UNSEEN = -1  # the state of a day on which a person was followed no longer
_CHUNK = 20_000  # people whose days are laid out at once: bounds memory


@dataclass(frozen=True)
class Pathways:
    """People at two anchor dates and the state of each on each day after.

    `people`: one row a person and anchor with `person_id, area, group, treated, period, cell` (place in `CELLS`) and
    the features of `derive_person_features`. `days`: int8, shape (n, horizon), places in `states` or `UNSEEN`.
    """

    people: pd.DataFrame
    days: np.ndarray
    states: tuple[str, ...]

    @property
    def first_state(self) -> np.ndarray:
        """The state on the anchor day, shape (n,)."""
        return self.days[:, 0]


def build_pathways(tables: Tables, protocol: Protocol) -> Pathways:
    """The cohort at go-live (`after`) and at the start of the baseline (`before`), followed for the horizon.

    Both are chosen by the same rules on the day (`build_cohort_on`), so that what fades by itself after a bad year
    fades in both. Areas are those of the anchor day: intention to treat. A person may be in both.

    Raises NotEstimable where the protocol describes no pathway, a table is missing, or a cell is empty.
    """
    spec = protocol.pathway
    if spec is None:
        raise NotEstimable(Fault("protocol", "it describes no pathway", next_step="Add a [pathway] section."))
    require_state_tables(tables, spec)
    anchors = {"after": protocol.dates.adoption, "before": protocol.dates.baseline_start}
    parts = [_anchored(tables, protocol, period, date) for period, date in anchors.items()]
    people = pd.concat(parts, ignore_index=True)
    empty = [name for k, name in enumerate(CELLS) if not (people["cell"] == k).any()]
    if empty:
        raise NotEstimable(Fault("pathway", f"nobody is in the cohort: {', '.join(empty)}"))
    intervals = read_state_intervals(tables, protocol)
    days = np.concatenate(list(lay_out_days(people, intervals, protocol, horizon_days=spec.horizon_days)))
    return Pathways(people, days, spec.state_keys)


def require_state_tables(tables: Tables, spec: Pathway) -> None:
    """Raise NotEstimable that names every table of the pathway's states that is missing."""
    needed = ["people"]
    needed += ["ward_stays"] if any(s.ward_types for s in spec.states) else []
    needed += ["placements"] if any(s.settings for s in spec.states) else []
    needed += ["programme_episodes"] if any(s.components for s in spec.states) else []
    absent = [name for name in needed if not tables.has(name)]
    if absent:
        raise NotEstimable([Fault("tables", f'there is no table "{name}", a part of the pathway') for name in absent])


def build_yearly_days(
    tables: Tables, protocol: Protocol, *, groups: tuple[PlaceGroup, ...], windows: int
) -> pd.DataFrame:
    """The cohort at go-live with days in kinds of place in the horizon after it and in as long windows before.

    One row a person: `person_id, area, treated`, the features of `derive_person_features`, `days_after` and
    `days_before_1` to `days_before_<windows>`, the last window first. Days of somebody who was followed for part of
    the horizon are scaled up to it; nobody is in a place before the records begin.

    Raises NotEstimable as `build_pathways`, and where a window begins before the study.
    """
    spec = protocol.pathway
    if spec is None:
        raise NotEstimable(Fault("protocol", "it describes no pathway", next_step="Add a [pathway] section."))
    adoption, span = protocol.dates.adoption, dt.timedelta(days=spec.horizon_days)
    if adoption - windows * span < protocol.dates.study_start:
        raise NotEstimable(Fault("pathway", "a window before go-live begins before the study"))
    people = _anchored(tables, protocol, "after", adoption)
    inside = [k for k, group in enumerate(spec.groups) if group in groups]
    intervals = read_state_intervals(tables, protocol)
    found = people.drop(columns=["period", "cell", "anchor", "death", "until", "group"])
    for back in range(windows + 1):
        start = np.datetime64(adoption - back * span, "D")
        rows = people.assign(anchor=start)
        days = np.concatenate(list(lay_out_days(rows, intervals, protocol, horizon_days=spec.horizon_days)))
        seen = np.maximum((days != UNSEEN).sum(axis=1), 1)
        name = f"days_before_{back}" if back else "days_after"
        found[name] = np.isin(days, inside).sum(axis=1) * spec.horizon_days / seen
    return found


def _anchored(tables: Tables, protocol: Protocol, period: str, date: dt.date) -> pd.DataFrame:
    cohort = build_cohort_on(tables, protocol, date, called="the anchor date").people
    day = np.full(len(cohort), np.datetime64(date, "D"))
    treated = (cohort["group"] != COMPARATORS).to_numpy()
    residence = derive_residence(tables, protocol)
    until = followed_until(residence, cohort["person_id"], day)
    rows = pd.DataFrame({
        "person_id": cohort["person_id"], "area": cohort["area_then"], "group": cohort["group"],
        "treated": treated, "period": period, "cell": np.where(treated, 0, 2) + (period == "before"),
        "anchor": day, "death": as_days(cohort["death_date"]), "until": until,
    })  # fmt: skip
    rows = rows.join(derive_person_features(cohort, day))
    # Who leaves on the anchor day itself was not seen on any day.
    return rows[as_days(rows["until"]) > day].reset_index(drop=True)


def read_state_intervals(tables: Tables, protocol: Protocol) -> pd.DataFrame:
    """Everything that puts a person into a state: `person_id, state, start, end` (never null), state by place."""
    sources = (
        ("ward_stays", "ward_type", "ward_types", ""),
        ("placements", "setting", "settings", ""),
        ("programme_episodes", "component", "components", protocol.pathway.programme),
    )
    far = np.datetime64(protocol.dates.end, "D") + 1
    found = []
    for table, column, field, programme in sources:
        place = {name: k for k, s in enumerate(protocol.pathway.states) for name in getattr(s, field)}
        if not place:
            continue
        columns = ["person_id", column, "start", "end"] + (["programme"] if programme else [])
        rows = tables.read(table, columns)
        rows = rows[rows[column].isin(list(place)) & (rows["programme"].eq(programme) if programme else True)]
        end = as_days(rows["end"])
        found.append(pd.DataFrame({
            "person_id": rows["person_id"], "state": rows[column].map(place), "start": as_days(rows["start"]),
            "end": np.where(np.isnat(end), far, end),
        }))  # fmt: skip
    return pd.concat(found, ignore_index=True)


def lay_out_days(
    people: pd.DataFrame, intervals: pd.DataFrame, protocol: Protocol, *, horizon_days: int
) -> Iterator[np.ndarray]:
    """States by day of each chunk of people, int8, shape (chunk, horizon).

    `people` has `person_id`, `anchor` (the first day), `death` and `until` (the first day not seen).
    """
    horizon, states = horizon_days, protocol.pathway.state_keys
    for first in range(0, len(people), _CHUNK):
        rows = people.iloc[first : first + _CHUNK].reset_index(drop=True)
        anchor = as_days(rows["anchor"])
        days = np.full((len(rows), horizon), states.index(NOT_RECORDED), dtype=np.int8)
        paired = rows[["person_id"]].assign(row=np.arange(len(rows))).merge(intervals, on="person_id")
        begin = _days_from(as_days(paired["start"]), anchor[paired["row"]], horizon)
        end = _days_from(as_days(paired["end"]), anchor[paired["row"]], horizon)
        row, state = paired["row"].to_numpy(), paired["state"].to_numpy()
        for k in range(len(protocol.pathway.states) - 1, -1, -1):  # the first listed is written last
            of = (state == k) & (begin < end)
            edges = np.zeros((len(rows), horizon + 1), dtype=np.int16)
            np.add.at(edges, (row[of], begin[of]), 1)
            np.add.at(edges, (row[of], end[of]), -1)
            days[np.cumsum(edges, axis=1)[:, :horizon] > 0] = k
        day = np.arange(horizon)
        until = _days_from(as_days(rows["until"]), anchor, horizon)
        death = as_days(rows["death"])
        died = _days_from(np.where(np.isnat(death), anchor + horizon, death), anchor, horizon)
        days[(day >= until[:, None])] = UNSEEN
        days[(day >= died[:, None]) & (died <= until)[:, None]] = states.index(DEAD)
        yield days


def _days_from(day: np.ndarray, anchor: np.ndarray, horizon: int) -> np.ndarray:
    """Days since the anchor, kept inside `[0, horizon]`."""
    return np.clip((day - anchor).astype("timedelta64[D]").astype(np.int64), 0, horizon)


def derive_history(pathways: Pathways, *, weights: np.ndarray | None = None) -> EventHistory:
    """The days of a pathway as intervals between moves; see `build_day_history`."""
    return build_day_history(pathways.days, pathways.states, pathways.people, weights=weights)


def build_day_history(
    days: np.ndarray, states: tuple[str, ...], people: pd.DataFrame, *, weights: np.ndarray | None = None
) -> EventHistory:
    """States by day as intervals between moves; strata are the places in `CELLS`, clusters the people.

    Day d of a state is the interval (d, d + 1]; a move to another state on day k happens at time k. Rows of
    `people` are the persons of the history, so that somebody followed from two dates is followed twice and
    clustered once.

    Parameters
    ----------
    days : int array, shape (n, horizon)
        Places in `states`, of which the last named `dead` is never left; `UNSEEN` once no longer followed.
    people : DataFrame, shape (n, ...)
        With `person_id` and `cell`.

    Raises ParameterError for days that are no places in `states`, and people or weights of another number.
    """
    refuse(_day_faults(days, states, people, weights))
    n, horizon = days.shape
    starts = np.concatenate([np.ones((n, 1), dtype=bool), days[:, 1:] != days[:, :-1]], axis=1)
    row, start = np.nonzero(starts & (days != UNSEEN) & (days != states.index(DEAD)))
    next_start = np.where(starts, np.arange(horizon), horizon)
    following = np.minimum.accumulate(next_start[:, ::-1], axis=1)[:, ::-1]
    following = np.concatenate([following[:, 1:], np.full((n, 1), horizon)], axis=1)
    stop = following[row, start]
    into = np.where(stop < horizon, days[row, np.minimum(stop, horizon - 1)], UNSEEN)
    names = np.array(states)
    frame = pd.DataFrame({
        "row": row, "start": start, "stop": stop, "from": names[days[row, start]],
        "to": np.where(into >= 0, names[np.maximum(into, 0)], ""),
        "cell": people["cell"].to_numpy()[row], "person": people["person_id"].to_numpy()[row],
        "weight": (np.ones(n) if weights is None else weights)[row],
    })  # fmt: skip
    return EventHistory.from_frame(
        frame, person="row", start="start", stop="stop", from_state="from", to_state="to", states=states,
        absorbing=(DEAD,), cluster="person", stratum="cell", weights="weight",
    )  # fmt: skip


def _day_faults(
    days: np.ndarray, states: tuple[str, ...], people: pd.DataFrame, weights: np.ndarray | None
) -> list[Fault]:
    faults = []
    if DEAD not in states:
        faults.append(Fault("states", "one of them is wanted for death", ", ".join(states), DEAD))
    if days.ndim != 2 or not np.issubdtype(days.dtype, np.integer):
        return [*faults, Fault("days", "a table of whole numbers is wanted", f"{days.dtype} {days.shape}")]
    if days.size and not (days.min() >= UNSEEN and days.max() < len(states)):
        faults.append(Fault("days", "some are no place in the states", allowed=f"{UNSEEN} to {len(states) - 1}"))
    if len(people) != len(days):
        faults.append(Fault("people", "one row a row of days is wanted", f"{len(people)}", f"{len(days)}"))
    if weights is not None and np.shape(weights) != (len(days),):
        faults.append(Fault("weights", "one value a person is wanted", f"{np.shape(weights)}", f"({len(days)},)"))
    return faults
