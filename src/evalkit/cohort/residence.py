"""Where each person was answered for, and until when they were followed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.dates import as_days
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables

COMPARATORS = "Comparators"
_UNIT = "datetime64[s]"  # one resolution on both sides of a merge


def derive_residence(tables: Tables, protocol: Protocol) -> pd.DataFrame:
    """Segments `person_id, area, start, end` in which a person was alive and answered for by an area.

    Ends are clipped to death and to the end of the study, so none is null. Without a `residence`
    table everybody belongs to `people.area` from the study's lookback on. Sorted by person and start.
    """
    people = tables.read("people", ["person_id", "area", "death_date"])
    last = np.datetime64(protocol.dates.end, "D")
    if tables.has("residence"):
        segments = tables.read("residence", ["person_id", "area", "start", "end"])
        segments = segments.merge(people[["person_id", "death_date"]], on="person_id", how="left")
    else:
        first = np.datetime64(protocol.dates.study_start, "D") - protocol.population.lookback_days
        segments = people.assign(start=first, end=pd.NaT)
    start, end, death = (as_days(segments[c]) for c in ("start", "end", "death_date"))
    end = np.fmin(np.fmin(end, death), last)
    out = pd.DataFrame({"person_id": segments["person_id"], "area": segments["area"], "start": start, "end": end})
    return out[start < end].sort_values(["person_id", "start"], kind="stable").reset_index(drop=True)


def area_on(residence: pd.DataFrame, person_id: pd.Series, day: np.ndarray) -> pd.Series:
    """The area that answered for each person on each day; null where none did. Shape (n,).

    The last day of follow-up still belongs to the area that was left, because somebody who dies or
    moves out on the day of discharge was discharged to it.
    """
    if not len(person_id):
        return pd.Series([], dtype=residence["area"].dtype)
    asked = pd.DataFrame({"person_id": person_id.to_numpy(), "day": pd.to_datetime(day).astype(_UNIT)})
    asked["place"] = np.arange(len(asked))
    segments = residence.assign(day=residence["start"].astype(_UNIT), stop=residence["end"].astype(_UNIT))
    found = pd.merge_asof(
        asked.sort_values("day", kind="stable"),
        segments[["person_id", "day", "stop", "area"]].sort_values("day", kind="stable"),
        on="day",
        by="person_id",
    ).sort_values("place")
    return found["area"].where(found["day"] <= found["stop"]).reset_index(drop=True)


def last_followed(residence: pd.DataFrame) -> pd.Series:
    """The first day on which each person is no longer followed for good, indexed by `person_id`."""
    return residence.groupby("person_id")["end"].max()


def followed_until(residence: pd.DataFrame, person_id: pd.Series, day: np.ndarray) -> np.ndarray:
    """For each person and day, the end of the unbroken residence that holds the day; NaT where none does.

    Segments that touch are one residence; after a gap nobody was looking. Shape (n,), datetime64[D].
    """
    rows = residence.sort_values(["person_id", "start"], kind="stable")
    same = rows["person_id"].eq(rows["person_id"].shift())
    run = (~(same & (rows["start"] <= rows["end"].shift()))).cumsum().rename("run")
    runs = rows.groupby(run).agg(person_id=("person_id", "first"), start=("start", "min"), end=("end", "max"))
    end = area_on(runs.assign(area=runs["end"]), person_id, day)
    return as_days(pd.to_datetime(end))


def derive_area_group(area: pd.Series, protocol: Protocol) -> pd.Series:
    """The treated areas' joint label, `Comparators`, or null for an area that is neither."""
    names = dict.fromkeys(protocol.areas.treated, protocol.areas.treated_label)
    return area.map(names | dict.fromkeys(protocol.areas.comparators, COMPARATORS))
