"""Repeated admissions of each person since their first discharge in the study."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.cohort.discharges import STAY_COLUMNS, derive_discharge_group
from evalkit.cohort.residence import area_on, derive_residence, last_followed
from evalkit.cohort.spells import build_hospital_spells, derive_discharges
from evalkit.core.dates import as_days, overlap_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables


def derive_recurrence(tables: Tables, protocol: Protocol, *, index_ward_types: tuple[str, ...]) -> pd.DataFrame:
    """One row a person with an eligible discharge: `person_id, group, sex, readmissions, died, days_at_risk`.

    Counting starts at the first discharge inside the study that ended an index spell alive, at any age.
    Days in hospital are not at risk of admission and are left out; a spell of no nights takes no day.
    """
    missing = [name for name in ("people", "ward_stays") if not tables.has(name)]
    if missing:
        raise NotEstimable([Fault("tables", f'there is no table "{name}"') for name in missing])
    spells = build_hospital_spells(tables.read("ward_stays", STAY_COLUMNS))
    discharges = derive_discharges(spells, index_ward_types=index_ward_types)
    inside = discharges["discharge"].between(
        pd.Timestamp(protocol.dates.study_start), pd.Timestamp(protocol.dates.end), inclusive="left"
    )
    first = discharges[inside].groupby("person_id", sort=True).first().reset_index()
    residence = derive_residence(tables, protocol)
    first["until"] = first["person_id"].map(last_followed(residence))
    first = first[first["until"].notna() & (first["until"] >= first["discharge"])].reset_index(drop=True)
    first["area"] = area_on(residence, first["person_id"], as_days(first["discharge"]))
    first["group"] = derive_discharge_group(first, tables, protocol)
    people = tables.read("people", ["person_id", "sex", "death_date"]).set_index("person_id")
    first["sex"] = first["person_id"].map(people["sex"])
    death = as_days(first["person_id"].map(people["death_date"]))
    begin, until = as_days(first["discharge"]), as_days(first["until"])

    later = spells.merge(first[["person_id", "discharge", "until"]], on="person_id")
    later = later[(later["start"] >= later["discharge"]) & (later["start"] <= later["until"])]
    later_end = np.where(later["end"].isna(), later["until"], later["end"])
    in_hospital = overlap_days(
        as_days(later["start"]), later_end.astype("datetime64[D]"), as_days(later["discharge"]), as_days(later["until"])
    )
    by_person = pd.DataFrame({"person_id": later["person_id"], "n": 1, "days": in_hospital}).groupby("person_id").sum()
    count = first["person_id"].map(by_person["n"]).fillna(0).astype("int64")
    ward_days = first["person_id"].map(by_person["days"]).fillna(0).astype("int64")
    days = (until - begin).astype("timedelta64[D]").astype(np.int64)
    return pd.DataFrame(
        {
            "person_id": first["person_id"],
            "group": first["group"],
            "sex": first["sex"],
            "readmissions": count,
            "died": ~np.isnat(death) & (death <= until),
            "days_at_risk": days - ward_days,
        }
    )
