"""What a ward could know of somebody on the day of discharge, missing left missing, each with the day it was recorded.

Nothing after discharge enters: not the next spell, not where a placement ended, not an answer given later. Fixed
characteristics stand in `people` without a date and are taken as known; so they must not be ones that later events
decide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import numpy as np
import pandas as pd

from evalkit.cohort.discharges import STAY_COLUMNS
from evalkit.cohort.features import derive_history_features
from evalkit.cohort.spells import build_hospital_spells
from evalkit.core.dates import as_days
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.sections import Predictor, RiskGroup
from evalkit.data.tables import Tables

RECENT_DAYS = 90  # contacts with community teams before admission
ANSWER_DAYS = 365  # how old an assessment may be
AGE_BANDS = (18, 35, 50, 65)  # lower ends of the bands by which groups are compared
DETAINED = ("section_2", "section_3", "forensic")
_DIAGNOSES = {"F2": "psychosis", "F3": "mood", "F6": "personality"}
_DECILES = {0: "", 2: "most deprived fifth", 5: "deciles 3 to 5", 10: "deciles 6 to 10"}
_NEEDS: Mapping[str, str] = MappingProxyType(
    {"contacts_90d": "contacts", "missed_90d": "contacts", "dialog_mean": "assessments"}
)

PREDICTOR_LABELS: Mapping[Predictor, str] = MappingProxyType({
    "age_years": "Age",
    "sex": "Sex",
    "ethnic_group": "Ethnic group",
    "imd_decile": "Deprivation decile (1 most deprived)",
    "diagnosis": "Main diagnosis",
    "dual_diagnosis": "Harmful use of alcohol or drugs",
    "forensic_history": "Detained through the courts before",
    "prior_admissions": "Admissions in the years before",
    "log_prior_ward_days": "Days in hospital in the years before",
    "log_stay_days": "Length of this stay",
    "from_rehab": "Stay touched a rehabilitation ward",
    "detained": "Detained in this stay",
    "left_against_advice": "Left without the team's agreement",
    "destination": "Where to",
    "contacts_90d": "Visits and calls in the 90 days before admission",
    "missed_90d": "Missed appointments in the 90 days before admission",
    "dialog_mean": "Satisfaction with life and care (DIALOG, 1 to 7)",
})  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class Predictors:
    """`features` (n, p) with missing values; `known_on` (n, q) the day of those recorded on a day; `groups` (n, g)."""

    features: pd.DataFrame
    known_on: pd.DataFrame
    groups: pd.DataFrame


def derive_predictors(
    discharges: pd.DataFrame, tables: Tables, *, predictors: tuple[Predictor, ...], lookback_days: int
) -> Predictors:
    """The named predictors of each discharge, and the groups by which performance is compared.

    Parameters
    ----------
    discharges : DataFrame, shape (n, ...)
        `person_id, admission, discharge, area, has_rehab`, one row a discharge.
    predictors : keys of `PREDICTOR_LABELS`, in the order wanted
    lookback_days : days before admission from which earlier use of hospital counts

    Returns
    -------
    Predictors
        Numbers, booleans and text; what is not recorded is null, never filled.

    Raises
    ------
    NotEstimable
        A predictor needs a table that is not there; all such at once.
    """
    needs = {name: _NEEDS[name] for name in predictors if name in _NEEDS and not tables.has(_NEEDS[name])}
    if needs:
        step = "Leave the predictor out of the protocol, or add the table"
        raise NotEstimable(
            [Fault(f'predictor "{name}"', f'needs a table "{table}"', next_step=step) for name, table in needs.items()]
        )
    rows = discharges.reset_index(drop=True)
    people = tables.read("people").set_index("person_id").loc[rows["person_id"]].reset_index()
    known: dict[str, pd.Series] = {}
    made = _of_people(people, rows) | _of_stays(tables, rows, lookback_days)
    if {"contacts_90d", "missed_90d"} & set(predictors):
        made |= _of_contacts(tables, rows)
    if "dialog_mean" in predictors:
        made["dialog_mean"], known["dialog_mean"] = _last_dialog(tables, rows)
    features = pd.DataFrame({name: made[name] for name in predictors}, index=rows.index)
    return Predictors(features, pd.DataFrame(known, index=rows.index), _groups(rows, made))


# ---- parts ---------------------------------------------------------------------------------------


def _of_people(people: pd.DataFrame, rows: pd.DataFrame) -> dict[str, pd.Series]:
    year = as_days(rows["discharge"]).astype("datetime64[Y]").astype(np.int64) + 1970
    codes = people["primary_diagnosis"]
    diagnosis = codes.str[:2].map(_DIAGNOSES).where(codes.isna() | codes.str[:2].isin(_DIAGNOSES), "other")
    return {
        "age_years": pd.Series(year - people["birth_year"].to_numpy(), dtype="float64"),
        "sex": people["sex"].replace("unknown", None),
        "ethnic_group": people["ethnic_group"].replace("unknown", None),
        "imd_decile": people["imd_decile"].astype("float64"),
        "diagnosis": diagnosis,
        "dual_diagnosis": people["dual_diagnosis"].astype("boolean"),
        "forensic_history": people["forensic_history"].astype("boolean"),
    }


def _of_stays(tables: Tables, rows: pd.DataFrame, lookback_days: int) -> dict[str, pd.Series]:
    """Earlier use of hospital, and what is written of the stays of the spell that ends."""
    stays = tables.read("ward_stays", [*STAY_COLUMNS, "legal_status", "discharge_destination"])
    history = derive_history_features(
        rows, build_hospital_spells(stays[STAY_COLUMNS]), lookback_days=lookback_days
    )  # fmt: skip
    start, end = as_days(stays["start"]), as_days(stays["end"])
    paired = rows[["person_id", "admission", "discharge"]].reset_index().merge(
        stays.assign(start=start, end=end)[["person_id", "stay_id", "start", "end", "legal_status", "discharge_method",
                                            "discharge_destination"]], on="person_id")  # fmt: skip
    inside = (paired["start"] >= paired["admission"]) & (paired["end"] <= paired["discharge"])
    # A stay that begins on the day of discharge may be the readmission; only a spell of one day has none before it.
    same_day = paired["admission"] == paired["discharge"]
    spell = paired[inside & ((paired["start"] < paired["discharge"]) | same_day)]
    last = spell.sort_values(["index", "end", "start", "stay_id"], kind="stable").groupby("index").tail(1)
    last = last.set_index("index").reindex(rows.index)
    legal = spell.assign(
        held=spell["legal_status"].isin(DETAINED).astype("boolean").mask(spell["legal_status"].isna())
    ).groupby("index")["held"].max().reindex(rows.index)  # fmt: skip
    method = last["discharge_method"]
    return {
        "prior_admissions": history["prior_admissions"],
        "log_prior_ward_days": history["log_prior_ward_days"],
        "log_stay_days": history["log_stay_days"],
        "from_rehab": rows["has_rehab"].astype("boolean"),
        "detained": legal.astype("boolean"),
        "left_against_advice": method.eq("self").astype("boolean").mask(method.isna()),
        "destination": last["discharge_destination"].where(lambda s: s.isin(["own_home", "placement", "other"])),
    }


def _of_contacts(tables: Tables, rows: pd.DataFrame) -> dict[str, pd.Series]:
    contacts = tables.read("contacts", ["person_id", "date", "attended"])
    paired = rows[["person_id", "admission"]].reset_index().merge(
        contacts.assign(date=as_days(contacts["date"])), on="person_id")  # fmt: skip
    before = (paired["admission"] - paired["date"]).dt.days
    recent = paired[(before >= 1) & (before <= RECENT_DAYS)]
    attended = recent["attended"].astype(bool)
    kept = recent[attended].groupby("index").size().reindex(rows.index, fill_value=0)
    missed = recent[~attended].groupby("index").size().reindex(rows.index, fill_value=0)
    return {"contacts_90d": kept.astype("float64"), "missed_90d": missed.astype("float64")}


def _last_dialog(tables: Tables, rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Mean of the items answered on the last day on or before discharge, and that day."""
    answers = tables.read("assessments")
    answers = answers[answers["instrument"].eq("DIALOG") & answers["score"].notna()]
    by_day = (
        answers.assign(date=as_days(answers["date"])).groupby(["person_id", "date"], as_index=False)["score"].mean()
    )
    asked = rows[["person_id", "discharge"]].reset_index()
    asked["discharge"] = as_days(asked["discharge"])
    found = pd.merge_asof(
        asked.sort_values("discharge", kind="stable"), by_day.sort_values("date", kind="stable"), by="person_id",
        left_on="discharge", right_on="date", tolerance=pd.Timedelta(days=ANSWER_DAYS),
    ).set_index("index").reindex(rows.index)  # fmt: skip
    return found["score"], found["date"]


def _groups(rows: pd.DataFrame, made: Mapping[str, pd.Series]) -> pd.DataFrame:
    """Levels in words; null where not recorded."""
    bands = [f"{low} to {high - 1}" for low, high in pairwise(AGE_BANDS)]
    names = [f"under {AGE_BANDS[0]}", *bands, f"{AGE_BANDS[-1]} or over"]
    age = pd.cut(made["age_years"], [0, *AGE_BANDS, np.inf], right=False, labels=names)
    decile = pd.cut(made["imd_decile"], list(_DECILES), labels=list(_DECILES.values())[1:])
    groups: dict[RiskGroup, pd.Series] = {
        "sex": made["sex"], "ethnic_group": made["ethnic_group"], "age_band": age.astype(object),
        "deprivation": decile.astype(object), "area": rows["area"],
        "dual_diagnosis": made["dual_diagnosis"].map({True: "yes", False: "no"}),
    }  # fmt: skip
    return pd.DataFrame({name: values.to_numpy(dtype=object) for name, values in groups.items()}, index=rows.index)
