"""Counts and person-time by area and period, published or derived from people's records."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.cohort.panel import Panel
from evalkit.cohort.residence import area_on, derive_residence, last_followed
from evalkit.core.dates import DAYS_PER_YEAR, as_days, overlap_days, period_ends, period_starts
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.outcomes import RateOutcome
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables

_EVENT_TABLE = {
    "placement_start": "placements",
    "placement_end": "placements",
    "ward_admission": "ward_stays",
    "ward_days": "ward_stays",
}


def build_panel(tables: Tables, protocol: Protocol, outcome: RateOutcome) -> Panel:
    """Counts and person-time (years) of one outcome by area and period.

    Published `area_counts` are used for every area where they hold the outcome, so that one source
    counts all; otherwise counts are derived from people's records. Areas without every period are
    left out. Raises NotEstimable where neither source can give it.
    """
    frame = None
    if tables.has("area_counts"):
        frame = tables.read("area_counts")
        frame = frame[frame["outcome"] == outcome.key]
    if frame is None or frame.empty:
        frame = derive_area_counts(tables, protocol, outcome)
    starts = period_starts(protocol.dates.study, protocol.dates.period)
    frame = frame[frame["area"].isin(protocol.areas.all) & frame["period_start"].isin(pd.to_datetime(starts))]
    adoption = _adoption(tables, protocol)
    frame = _whole_areas(frame[frame["person_time"] > 0], treated=set(adoption.index))
    frame = frame.assign(adoption=frame["area"].map(adoption))
    usable = frame["adoption"].isna().any() and frame["adoption"].notna().any()
    if frame.empty or not usable:
        raise NotEstimable(
            Fault(
                f'outcome "{outcome.key}"',
                "the tables hold no counts for both a treated and an untreated area",
                next_step="Give area_counts for both, or people's records for both.",
            )
        )
    try:
        return Panel.from_frame(
            frame, unit="area", period="period_start", outcome="count", adoption="adoption", denominator="person_time"
        )
    except ParameterError as unusable:
        raise NotEstimable(unusable.faults) from None


def _whole_areas(frame: pd.DataFrame, *, treated: set[str]) -> pd.DataFrame:
    """Rows of the areas that have person-time in every period that all treated areas have."""
    mine = frame[frame["area"].isin(treated)]
    counts = mine.groupby("period_start")["area"].nunique()
    periods = counts.index[counts == mine["area"].nunique()]
    frame = frame[frame["period_start"].isin(periods)]
    return frame[frame.groupby("area")["period_start"].transform("nunique") == len(periods)]


def _adoption(tables: Tables, protocol: Protocol) -> pd.Series:
    """First period of treatment of each treated area; other areas are absent, which maps to null."""
    if protocol.dates.adoption is not None:
        return pd.Series(pd.Timestamp(protocol.dates.adoption), index=list(protocol.areas.treated))
    if not tables.has("areas"):
        raise NotEstimable(Fault("tables", "the protocol leaves adoption to the table areas, which is absent"))
    areas = tables.read("areas").set_index("area")["adoption_date"]
    areas = areas[areas.index.isin(protocol.areas.treated)].dropna()
    undated = sorted(set(protocol.areas.treated) - set(areas.index))
    if undated:
        raise NotEstimable([Fault(f'area "{name}"', "it is treated, but has no adoption date") for name in undated])
    return areas


def derive_area_counts(tables: Tables, protocol: Protocol, outcome: RateOutcome) -> pd.DataFrame:
    """Counts and person-time by area and period from people's records.

    Returns `area, period_start, count, person_time` (years), one row per area with people's records
    and period. Raises NotEstimable where the table of events is absent or the outcome is only reported.
    """
    table = event_table(tables, outcome)
    starts = period_starts(protocol.dates.study, protocol.dates.period)
    ends = period_ends(starts, protocol.dates.period)
    residence = derive_residence(tables, protocol)
    residence = residence[residence["area"].isin(protocol.areas.with_people)]
    stays = select_stays(tables.read(table), outcome)
    if outcome.event == "ward_days":
        counted = _days_by_area(stays, residence, starts, ends)
    else:
        events = event_days(stays, residence, outcome)
        area = area_on(residence, events["person_id"], as_days(events["day"]))
        place = np.searchsorted(starts, as_days(events["day"]), side="right") - 1
        inside = (place >= 0) & (as_days(events["day"]) < ends[-1]) & area.notna().to_numpy()
        counted = pd.crosstab(area[inside].to_numpy(), starts[place[inside]])
    if outcome.denominator == "residents":
        homes = tables.read("placements")
        homes = homes[homes["setting"].isin(outcome.settings)]
        time = _days_by_area(homes, residence, starts, ends)
    else:
        time = _days_by_area(residence, residence, starts, ends)
    index = pd.MultiIndex.from_product(
        [list(protocol.areas.with_people), pd.to_datetime(starts)], names=["area", "period_start"]
    )
    counted.columns, time.columns = pd.to_datetime(counted.columns), pd.to_datetime(time.columns)
    out = pd.DataFrame(
        {
            "count": counted.stack().reindex(index, fill_value=0.0),
            "person_time": time.stack().reindex(index) / DAYS_PER_YEAR,
        }
    )
    return out.dropna().reset_index()


def has_events(tables: Tables, outcome: RateOutcome) -> bool:
    """Whether people's records hold the outcome's events."""
    table = _EVENT_TABLE.get(outcome.event)
    return table is not None and tables.has(table) and tables.has("people")


def event_table(tables: Tables, outcome: RateOutcome) -> str:
    """The table of people's records that holds the outcome's events; NotEstimable where it is absent."""
    table = _EVENT_TABLE.get(outcome.event)
    if table is None or not has_events(tables, outcome):
        needs = f"area_counts or {table}" if table else "area_counts"
        raise NotEstimable(Fault(f'outcome "{outcome.key}"', f"it needs the table {needs}"))
    return table


def select_stays(stays: pd.DataFrame, outcome: RateOutcome) -> pd.DataFrame:
    """The stays or placements of the outcome's settings or ward types."""
    kind = "setting" if "setting" in stays else "ward_type"
    kept = stays[stays[kind].isin(outcome.settings or outcome.ward_types)]
    if outcome.out_of_area is not None and kind == "ward_type":
        kept = kept[kept["out_of_area"].astype("boolean").fillna(False) == outcome.out_of_area]
    return kept.sort_values(["person_id", "start", "end"], kind="stable").reset_index(drop=True)


def event_days(stays: pd.DataFrame, residence: pd.DataFrame, outcome: RateOutcome) -> pd.DataFrame:
    """`person_id, day` of each entry or end; a move straight to another such stay is neither.

    An end on a person's last followed day is a death or a move out of sight, not a discharge.
    """
    same = stays["person_id"].eq(stays["person_id"].shift())
    follows = same & (stays["start"] <= stays["end"].shift())
    if outcome.event != "placement_end":
        return stays[~follows][["person_id", "start"]].rename(columns={"start": "day"})
    is_followed = follows.shift(-1, fill_value=False)
    until = stays["person_id"].map(last_followed(residence))
    seen = stays["end"].notna() & ~(stays["end"] >= until)
    return stays[~is_followed & seen][["person_id", "end"]].rename(columns={"end": "day"})


def _days_by_area(stays: pd.DataFrame, residence: pd.DataFrame, starts: np.ndarray, ends: np.ndarray) -> pd.DataFrame:
    """Days of the stays, by area answering for the person and by period; shape (areas, periods)."""
    if stays is residence:
        paired = residence
        began, ended = as_days(paired["start"]), as_days(paired["end"])
    else:
        paired = stays[["person_id", "start", "end"]].merge(residence, on="person_id", suffixes=("", "_lived"))
        began = np.maximum(as_days(paired["start"]), as_days(paired["start_lived"]))
        ended = np.fmin(as_days(paired["end"]), as_days(paired["end_lived"]))
    days = np.column_stack([overlap_days(began, ended, s, e) for s, e in zip(starts, ends, strict=True)])
    return pd.DataFrame(days, columns=starts).groupby(paired["area"].to_numpy()).sum()
