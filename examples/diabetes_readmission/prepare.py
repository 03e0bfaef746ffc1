"""Encounters of the UCI data "Diabetes 130-US hospitals" as discharges with what was known at them.

The data are the user's own copy: `data.parquet` or the UCI's `diabetic_data.csv`. Nothing here looks at an outcome but
to copy it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from evalkit.risk.data import RiskData

# Discharged dead, or to a hospice: they cannot come back, or are not meant to.
DEAD_OR_HOSPICE = (11, 13, 14, 19, 20, 21)
# The data have no dates: everybody is given this one, and the split is by patient.
NO_DATE = np.datetime64("2008-12-31")
VISITS = {
    "inpatient": "number_inpatient",
    "emergency": "number_emergency",
    "outpatient": "number_outpatient",
}
COUNTS = {
    "days_in_hospital": "time_in_hospital",
    "laboratory_tests": "num_lab_procedures",
    "procedures": "num_procedures",
    "medicines": "num_medications",
    "diagnoses": "number_diagnoses",
}
CODES = ("discharge_disposition_id", "admission_source_id", "admission_type_id")
ANSWERS = ("medical_specialty", "payer_code", "max_glu_serum", "A1Cresult", "insulin", "metformin", "change",
           "diabetesMed")  # fmt: skip
FIRST_DRUG, LAST_DRUG = "metformin", "metformin-pioglitazone"
# First code of each chapter of ICD-9, those of symptoms put with the organ that they speak of.
CHAPTERS = (
    (1, "infection"), (140, "neoplasm"), (240, "endocrine"), (250, "diabetes"), (251, "endocrine"), (280, "blood"),
    (290, "mental"), (320, "nervous"), (390, "circulatory"), (460, "respiratory"), (520, "digestive"),
    (580, "genitourinary"), (630, "pregnancy"), (680, "skin"), (710, "musculoskeletal"), (740, "congenital"),
    (780, "symptoms"), (785, "circulatory"), (786, "respiratory"), (787, "digestive"), (788, "genitourinary"),
    (789, "symptoms"), (800, "injury"),
)  # fmt: skip
# Three-digit codes whose presence among the three diagnoses has a predictor of its own: what the Charlson index
# and the HOSPITAL and LACE scores look at, and complications of diabetes.
CONDITIONS = {
    "heart_failure": ("428",), "ischaemic_heart": ("410", "411", "412", "413", "414"), "arrhythmia": ("427",),
    "kidney_failure": ("584", "585", "586", "403", "404"), "lung_disease": ("490", "491", "492", "493", "496"),
    "stroke": ("430", "431", "432", "433", "434", "435", "436", "438"), "liver": ("570", "571", "572", "573"),
    "sepsis": ("038", "995"), "pneumonia": ("480", "481", "482", "483", "484", "485", "486"),
    "anaemia": ("280", "281", "282", "283", "284", "285"), "cancer_spread": ("196", "197", "198"),
    "skin_ulcer": ("707", "682"), "vascular": ("440", "441", "442", "443", "444"), "fluid": ("276",),
    "psychosis": ("295", "296", "298"), "substance": ("291", "292", "303", "304", "305"), "aftercare": ("V57", "V58"),
}  # fmt: skip


class Discharges(NamedTuple):
    """Development (patient number mod 10 in 0 to 6) and validation (7 to 9): no patient is in both."""

    development: RiskData
    validation: RiskData


def read_encounters(path: Path | str) -> pd.DataFrame:
    """All encounters, a patient's in order of their number."""
    path = Path(path)
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
    else:
        frame = pd.read_csv(path, na_values="?", keep_default_na=False, low_memory=False)
        frame[["max_glu_serum", "A1Cresult"]] = frame[["max_glu_serum", "A1Cresult"]].replace("None", np.nan)
    return frame.sort_values(["patient_nbr", "encounter_id"], kind="stable").reset_index(drop=True)


def select_discharges(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Which encounters (n,) are for development and for validation: alive, not to a hospice, patients whole."""
    alive = ~frame["discharge_disposition_id"].isin(DEAD_OR_HOSPICE).to_numpy()
    develop = frame["patient_nbr"].to_numpy() % 10 <= 6
    return alive & develop, alive & ~develop


def build_discharges(frame: pd.DataFrame, *, history: bool) -> Discharges:
    """Discharges out of `read_encounters`, with or without predictors from the patient's earlier encounters."""
    features, groups = build_features(frame, history=history), _groups(frame)
    outcome = (frame["readmitted"].astype(str) == "<30").to_numpy(dtype=int)
    person = frame["patient_nbr"].to_numpy()
    parts = (
        RiskData(features[rows], outcome[rows], person[rows], np.full(rows.sum(), NO_DATE), groups=groups[rows])
        for rows in select_discharges(frame)
    )
    return Discharges(*parts)


def build_features(frame: pd.DataFrame, *, history: bool) -> pd.DataFrame:
    """What was known at each discharge of `read_encounters`."""
    features = _at_discharge(frame)
    return features.join(_before(frame, features)) if history else features


def _at_discharge(frame: pd.DataFrame) -> pd.DataFrame:
    """What the encounter itself says. Race is no predictor: it is what performance is compared by."""
    features = pd.DataFrame({"age_years": _age(frame), "sex": _text(frame["gender"])})
    for name, column in VISITS.items():
        visits = frame[column].astype(float)
        features[f"{name}_visits_in_year"] = visits
        features[f"{name}_visits_log"] = np.log1p(visits)
    for name, column in COUNTS.items():
        features[name] = frame[column].astype(float)
    for column in (*CODES, *ANSWERS):
        features[column.lower()] = _text(frame[column])
    diagnoses = [frame[f"diag_{k}"].astype(object) for k in (1, 2, 3)]
    for k, codes in enumerate(diagnoses, 1):
        features[f"diagnosis_{k}"] = group_diagnoses(codes)
    short = [codes.astype(str).str.split(".").str[0].str.zfill(3) for codes in diagnoses]
    for name, wanted in CONDITIONS.items():
        features[name] = np.logical_or.reduce([codes.isin(wanted) for codes in short]).astype(float)
    drugs = frame.loc[:, FIRST_DRUG:LAST_DRUG].astype(str)
    for name, said in (("given", ("Up", "Down", "Steady")), ("raised", ("Up",)), ("lowered", ("Down",))):
        features[f"diabetes_drugs_{name}"] = drugs.isin(said).sum(axis=1).astype(float)
    return features


def _before(frame: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """What the patient's earlier encounters in the data say, all known by this discharge.

    Encounters of one patient are in order of their number. Whether an earlier one was "readmitted" is not used, though
    it would help: see the README.
    """
    person = frame["patient_nbr"]
    earlier = frame.groupby("patient_nbr")
    found = pd.DataFrame({"earlier_stays": earlier.cumcount().astype(float)})
    found["earlier_stays_log"] = np.log1p(found["earlier_stays"])
    found["earlier_days"] = (earlier["time_in_hospital"].cumsum() - frame["time_in_hospital"]).astype(float)
    first = found["earlier_stays"] == 0
    for name in (
        "days_in_hospital",
        "medicines",
        "laboratory_tests",
        "diagnoses",
        *(f"{v}_visits_in_year" for v in VISITS),
    ):
        found[f"last_{name}"] = features[name].groupby(person).shift(1).fillna(0.0)
    for name in ("diagnosis_1", "discharge_disposition_id"):
        found[f"last_{name}"] = features[name].groupby(person).shift(1).where(~first, "no earlier stay")
    found["same_diagnosis_as_last"] = (found["last_diagnosis_1"] == features["diagnosis_1"]).astype(float)
    return found


def group_diagnoses(codes: pd.Series) -> pd.Series:
    """Chapters of ICD-9 codes; V and E codes apart."""
    numbers = pd.to_numeric(codes, errors="coerce")
    starts = np.array([start for start, _ in CHAPTERS], dtype=float)
    names = np.array(["none", *(name for _, name in CHAPTERS)], dtype=object)
    chapters = pd.Series(names[np.searchsorted(starts, np.floor(numbers.fillna(0)), side="right")], index=codes.index)
    letters = codes.astype(str).str[0].where(numbers.isna() & codes.notna())
    chapters = chapters.mask(letters == "V", "supplementary").mask(letters == "E", "external cause")
    return chapters.mask(numbers >= 1000, "other")


def _groups(frame: pd.DataFrame) -> pd.DataFrame:
    bands = pd.cut(_age(frame), [0, 50, 60, 70, 80, 100], right=False, labels=False).to_numpy()
    names = np.array(["under 50", "50 to 59", "60 to 69", "70 to 79", "80 or over"], dtype=object)
    sex = frame["gender"].astype(object).where(frame["gender"] != "Unknown/Invalid")
    return pd.DataFrame({"race": frame["race"].astype(object), "sex": sex, "age": names[bands]})


def _age(frame: pd.DataFrame) -> pd.Series:
    """Middle of the ten-year band."""
    return frame["age"].astype(str).str.extract(r"(\d+)", expand=False).astype(float) + 5


def _text(column: pd.Series) -> pd.Series:
    """Text, with what was not recorded as a level of its own: in these data it says something."""
    text = column.astype(object)
    return text.map(str).where(text.notna(), "not recorded")
