"""Area by period counts over person-time, checked on construction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.residence import area_on, derive_residence, last_followed
from evalkit.core.dates import DAYS_PER_YEAR, as_days, overlap_days, period_ends, period_starts
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.protocol import Protocol, RateOutcome
from evalkit.data.tables import Tables

_EVENT_TABLE = {
    "placement_start": "placements",
    "placement_end": "placements",
    "ward_admission": "ward_stays",
    "ward_days": "ward_stays",
}


@dataclass(frozen=True)
class Panel:
    """Outcomes of units over periods, balanced; never-treated adoption is null.

    Attributes
    ----------
    units : array of str, shape (J,)
    periods : array, shape (T,), sorted; dates or numbers
    outcome, denominator : float arrays, shape (J, T)
    adoption : array of the dtype of `periods`, shape (J,); NaT or NaN for never
    covariates : float array, shape (J, T, K)
    """

    units: np.ndarray
    periods: np.ndarray
    outcome: np.ndarray
    denominator: np.ndarray
    adoption: np.ndarray
    covariates: np.ndarray
    covariate_names: tuple[str, ...] = ()

    @classmethod
    def from_frame(
        cls,
        df: pd.DataFrame,
        *,
        unit: str,
        period: str,
        outcome: str,
        adoption: str,
        denominator: str | None = None,
        covariates: tuple[str, ...] = (),
    ) -> Panel:
        """Build a panel from one row per unit and period; every fault is listed at once.

        Raises ParameterError for a missing column, a repeated or absent unit-period, an adoption that
        changes within a unit, an outcome that is missing, negative or infinite, a denominator that
        is not positive, or no treated or no untreated unit.
        """
        names = [unit, period, outcome, adoption, *covariates, *([denominator] if denominator else [])]
        absent = [n for n in names if n not in df.columns]
        if absent:
            columns = [str(c) for c in df.columns]
            raise ParameterError(
                [Fault("panel", f'there is no column "{n}"', next_step=suggest_name(n, columns)) for n in absent]
            )
        faults = _panel_faults(df, unit, period, outcome, adoption, denominator, covariates)
        if faults:
            raise ParameterError(faults)

        def wide(column: str) -> np.ndarray:
            return df.pivot(index=unit, columns=period, values=column).sort_index().to_numpy(dtype=np.float64)

        index = df.pivot(index=unit, columns=period, values=outcome).sort_index()
        values = index.to_numpy(dtype=np.float64)
        return cls(
            units=index.index.to_numpy(),
            periods=index.columns.to_numpy(),
            outcome=values,
            denominator=wide(denominator) if denominator else np.ones_like(values),
            adoption=df.groupby(unit)[adoption].first().sort_index().to_numpy(),
            covariates=np.stack([wide(c) for c in covariates], axis=2) if covariates else np.empty((*values.shape, 0)),
            covariate_names=tuple(covariates),
        )

    @property
    def treated(self) -> np.ndarray:
        """Which units are ever treated, bool, shape (J,)."""
        return ~pd.isna(self.adoption)

    @property
    def ends(self) -> np.ndarray:
        """The first moment after each period, shape (T,); the last period is taken as long as the one before."""
        if len(self.periods) < 2:
            return self.periods
        return np.append(self.periods[1:], self.periods[-1:] + (self.periods[-1:] - self.periods[-2:-1]))

    def between(self, start: object, end: object) -> Panel:
        """The same panel with only the periods that begin in `[start, end)`."""
        keep = (self.periods >= np.asarray(start, self.periods.dtype)) & (
            self.periods < np.asarray(end, self.periods.dtype)
        )
        return self._take(np.arange(len(self.units)), np.flatnonzero(keep))

    def only(self, units: tuple[str, ...]) -> Panel:
        """The same panel with only these units."""
        return self._take(np.flatnonzero(np.isin(self.units, units)), np.arange(len(self.periods)))

    def _take(self, rows: np.ndarray, columns: np.ndarray) -> Panel:
        cells = np.ix_(rows, columns)
        return Panel(
            self.units[rows],
            self.periods[columns],
            self.outcome[cells],
            self.denominator[cells],
            self.adoption[rows],
            self.covariates[cells],
            self.covariate_names,
        )


def _panel_faults(
    df: pd.DataFrame,
    unit: str,
    period: str,
    outcome: str,
    adoption: str,
    denominator: str | None,
    covariates: tuple[str, ...],
) -> list[Fault]:
    faults = []
    twice = int(df.duplicated([unit, period]).sum())
    if twice:
        faults.append(Fault("panel", f"{twice} unit-periods stand in it more than once"))
    expected = df[unit].nunique() * df[period].nunique()
    if not twice and len(df) != expected:
        faults.append(
            Fault(
                "panel",
                "it is not balanced",
                got=f"{len(df)} of {expected} unit-periods",
                next_step="Give every unit the same periods, or leave out what lacks some.",
            )
        )
    changing = int((df.groupby(unit)[adoption].nunique(dropna=False) > 1).sum())
    if changing:
        faults.append(Fault("panel", f"adoption changes within {changing} units"))
    values = pd.to_numeric(df[outcome], errors="coerce")
    if not (np.isfinite(values) & (values >= 0)).all():
        faults.append(Fault("panel", f'"{outcome}" holds missing, negative or infinite values', allowed="0 or more"))
    if denominator:
        time = pd.to_numeric(df[denominator], errors="coerce")
        if not (np.isfinite(time) & (time > 0)).all():
            faults.append(Fault("panel", f'"{denominator}" holds values that are not above 0'))
    faults += [Fault("panel", f'"{c}" holds missing values') for c in covariates if df[c].isna().any()]
    never = df.groupby(unit)[adoption].first().isna()
    if never.all():
        faults.append(Fault("panel", "no unit is treated"))
    if not never.any():
        faults.append(Fault("panel", "every unit is treated; none is left to compare with"))
    return faults


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
    return Panel.from_frame(
        frame, unit="area", period="period_start", outcome="count", adoption="adoption", denominator="person_time"
    )


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
