"""Every eligible discharge with its group, its follow-up and what was known on the day."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.cohort.features import derive_history_features, derive_person_features
from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.residence import COMPARATORS, area_on, derive_area_group, derive_residence, followed_until
from evalkit.cohort.spells import build_hospital_spells, derive_discharges, derive_follow_up
from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import ReadmissionOutcome
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables

STAY_COLUMNS = [
    "person_id",
    "spell_id",
    "stay_id",
    "ward_type",
    "start",
    "end",
    "discharge_method",
    "out_of_area",
]


def build_discharges(tables: Tables, protocol: Protocol, *, index_ward_types: tuple[str, ...]) -> pd.DataFrame:
    """All eligible discharges inside the study, trust-wide, one row each, sorted by person and date.

    Columns: `person_id, admission, discharge, next_admission, area, group` (null outside the study's
    areas), `death`, `followed_until` (first day not followed), `age_years`, and the features of
    `derive_person_features` and `derive_history_features`.

    Raises NotEstimable where the tables hold no people or no ward stays.
    """
    missing = [name for name in ("people", "ward_stays") if not tables.has(name)]
    if missing:
        raise NotEstimable(
            [Fault("tables", f'there is no table "{name}", which readmission needs') for name in missing]
        )
    spells = build_hospital_spells(tables.read("ward_stays", STAY_COLUMNS))
    rows = derive_discharges(spells, index_ward_types=index_ward_types, washout_days=protocol.population.washout_days)
    inside = rows["discharge"].between(
        pd.Timestamp(protocol.dates.study_start), pd.Timestamp(protocol.dates.end), inclusive="left"
    )
    rows = rows[inside].reset_index(drop=True)
    people = tables.read("people").set_index("person_id")
    residence = derive_residence(tables, protocol)
    rows["area"] = area_on(residence, rows["person_id"], as_days(rows["discharge"]))
    rows["death"] = rows["person_id"].map(people["death_date"])
    rows["followed_until"] = followed_until(residence, rows["person_id"], as_days(rows["discharge"]))
    rows["group"] = derive_discharge_group(rows, tables, protocol)
    rows = rows.join(derive_person_features(people.loc[rows["person_id"]].reset_index(), as_days(rows["discharge"])))
    rows = rows.join(derive_history_features(rows, spells, lookback_days=protocol.population.lookback_days))
    of_age = rows["age_years"].between(protocol.population.min_age_years, protocol.population.max_age_years)
    followed = rows["area"].notna() & rows["followed_until"].notna()
    return rows[of_age & followed].reset_index(drop=True)


def derive_discharge_group(rows: pd.DataFrame, tables: Tables, protocol: Protocol) -> pd.Series:
    """Exposure of each discharge by the protocol's rule: area on the day, or in the programme that day."""
    if protocol.exposure.by == "area":
        return derive_area_group(rows["area"], protocol)
    programme = protocol.exposure.programme
    if not tables.has("programme_episodes"):
        raise NotEstimable(Fault("tables", "exposure is by programme, but there is no table programme_episodes"))
    episodes = tables.read("programme_episodes")
    episodes = episodes[episodes["programme"] == programme]
    paired = rows[["person_id", "discharge"]].reset_index().merge(episodes, on="person_id")
    begun, over = paired["start"] <= paired["discharge"], paired["end"] <= paired["discharge"]
    exposed = rows.index.isin(paired["index"][begun & ~over])
    return pd.Series(np.where(exposed, f"In {programme}", f"Not in {programme}"), index=rows.index)


def derive_readmission_cells(discharges: pd.DataFrame, protocol: Protocol, outcome: ReadmissionOutcome) -> pd.DataFrame:
    """Discharges of the four cells (treated or comparison area, before or after), with follow-up.

    A discharge is `before` when it falls in the baseline and `after` when it falls after adoption and
    could be followed for the whole horizon. Follow-up of a `before` discharge is censored at
    adoption, so that the service cannot work on the baseline.

    Returns the rows of `discharges` in a cell, with `period`, `treated` (bool), `time_days`, `event`.
    """
    dates = protocol.dates
    if dates.adoption is None or protocol.exposure.by != "area":
        raise NotEstimable(
            Fault(
                "protocol",
                "a before-and-after comparison of areas needs exposure by area and one adoption date",
                next_step="Only descriptions are given.",
            )
        )
    day = as_days(discharges["discharge"])
    last = np.datetime64(dates.end, "D") - outcome.horizon_days
    before = (day >= np.datetime64(dates.baseline.start)) & (day < np.datetime64(dates.baseline.end))
    after = (day >= np.datetime64(dates.after.start)) & (day <= last)
    rows = discharges.assign(period=np.where(before, "before", np.where(after, "after", "")))
    rows = rows[(before | after) & rows["group"].notna()].reset_index(drop=True)
    rows["treated"] = rows["group"] != COMPARATORS
    adoption = np.datetime64(dates.adoption, "D")
    followed = as_days(rows["followed_until"])
    censor = np.where(rows["period"] == "before", np.minimum(followed, adoption), followed)
    follow_up = derive_follow_up(rows, death=as_days(rows["death"]), censor=censor, horizon_days=outcome.horizon_days)
    return rows.join(follow_up)


def derive_first_return(rows: pd.DataFrame, *, stratum: pd.Series | None = None) -> FollowUp:
    """Discharges as follow-up to the first return, death competing; clusters are people, times whole days.

    Everybody enters at -1, so that what happens on the day of discharge has a place.
    `rows` has `person_id, time_days, event` of `derive_follow_up`; `stratum` names a group for each.
    """
    frame = rows[["person_id", "time_days", "event"]].reset_index(drop=True).assign(begin=-1)
    frame["discharge"] = np.arange(len(frame))
    if stratum is not None:
        frame["group"] = stratum.to_numpy()
    return FollowUp.from_frame(
        frame, entry="begin", exit="time_days", event="event", person="discharge", cluster="person_id",
        stratum=None if stratum is None else "group", causes=("readmission", "death"),
    )  # fmt: skip
