"""What was known about a person on a day: only the past enters, `lookback_days` deep."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.dates import as_days

PERSON_FEATURES = (
    "age_years",
    "female",
    "black",
    "other_minority",
    "imd_decile",
    "psychosis",
    "dual_diagnosis",
    "forensic_history",
)


def derive_person_features(people: pd.DataFrame, day: np.ndarray) -> pd.DataFrame:
    """Characteristics that the service cannot change, numeric, shape (n, 8), index like `people`.

    `age_years` is by year of birth on `day`. A missing deprivation decile takes the median, and a
    missing diagnosis or history counts as not recorded, 0.
    """
    year = day.astype("datetime64[Y]").astype(np.int64) + 1970
    ethnic = people["ethnic_group"].fillna("unknown")
    decile = people["imd_decile"].astype("float64")
    return pd.DataFrame(
        {
            "age_years": (year - people["birth_year"].to_numpy()).astype("float64"),
            "female": people["sex"].eq("female").astype("float64"),
            "black": ethnic.eq("black").astype("float64"),
            "other_minority": ethnic.isin(["asian", "mixed", "other"]).astype("float64"),
            "imd_decile": decile.fillna(decile.median() if decile.notna().any() else 0.0),
            "psychosis": people["primary_diagnosis"].fillna("").str.startswith("F2").astype("float64"),
            "dual_diagnosis": people["dual_diagnosis"].astype("boolean").fillna(False).astype("float64"),
            "forensic_history": people["forensic_history"].astype("boolean").fillna(False).astype("float64"),
        },
        index=people.index,
    )


def derive_history_features(discharges: pd.DataFrame, spells: pd.DataFrame, *, lookback_days: int) -> pd.DataFrame:
    """Use of hospital in the `lookback_days` before each index admission, shape (n, 4).

    `prior_admissions` counts spells begun in the lookback (capped at 6, beyond which the count says
    no more), `log_prior_ward_days` is log(1 + their days), `log_stay_days` log(1 + days of the index
    spell), `from_rehab` 1 if the index spell touched a rehabilitation ward.
    """
    spells = spells.sort_values(["person_id", "start"], kind="stable")
    codes = pd.Index(spells["person_id"].unique())
    span = np.int64(10**6)  # days; larger than any calendar distance, so people never meet

    def key(person: pd.Series, day: np.ndarray) -> np.ndarray:
        return codes.get_indexer(person) * span + day.astype(np.int64)

    begun = key(spells["person_id"], as_days(spells["start"]))
    stay = as_days(spells["end"]) - as_days(spells["start"])
    # An open spell has no length yet; as an integer its NaT would swamp every sum after it.
    stay_days = np.where(np.isnat(stay), 0, stay.astype("timedelta64[D]").astype(np.int64))
    days_so_far = np.concatenate([[0], np.cumsum(stay_days)])
    admission = as_days(discharges["admission"])
    last = np.searchsorted(begun, key(discharges["person_id"], admission), side="left")
    first = np.searchsorted(begun, key(discharges["person_id"], admission - lookback_days), side="left")
    index_days = (as_days(discharges["discharge"]) - admission).astype("timedelta64[D]").astype(np.float64)
    return pd.DataFrame(
        {
            "prior_admissions": np.minimum(last - first, 6).astype("float64"),
            "log_prior_ward_days": np.log1p((days_so_far[last] - days_so_far[first]).astype("float64")),
            "log_stay_days": np.log1p(index_days),
            "from_rehab": discharges["has_rehab"].astype("float64").to_numpy(),
        },
        index=discharges.index,
    )
