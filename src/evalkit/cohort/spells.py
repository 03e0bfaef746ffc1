"""Ward stays into hospital spells, and the readmission rule.

The rule is NHS England's (mental-health inpatient dashboard): a discharge counts unless the person
died or was transferred between hospitals; the readmission is the next different spell, so each is
credited to the latest discharge only.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.core.dates import as_days

NOT_A_DISCHARGE = ("died", "transfer")
TRANSFER_GAP_DAYS = 1
WARD_TYPES = ("acute", "picu", "rehab", "secure")


def build_hospital_spells(ward_stays: pd.DataFrame) -> pd.DataFrame:
    """Join the ward stays of each person into hospital spells.

    A stay continues the spell before it when it bears the same `spell_id`, or when that spell ended
    by transfer no more than one day before: a transfer is one time in hospital, not two.

    Parameters
    ----------
    ward_stays : DataFrame, shape (n_stays, ...)
        Columns `person_id, spell_id, stay_id, ward_type, start, end, discharge_method, out_of_area`.

    Returns
    -------
    DataFrame, shape (n_spells, ...), sorted by person and start
        `person_id, start, end` (null while open), `discharge_method` of the last stay, and for each
        ward type a boolean `has_<type>`.
    """
    order = ["person_id", "start", "end", "stay_id"]
    stays = ward_stays.assign(start=as_days(ward_stays["start"]), end=as_days(ward_stays["end"]))
    stays = stays.sort_values(order, kind="stable", na_position="last").reset_index(drop=True)
    same_person = stays["person_id"].eq(stays["person_id"].shift())
    same_spell = stays["spell_id"].eq(stays["spell_id"].shift())
    gap_days = (stays["start"] - stays["end"].shift()).dt.days
    transferred = stays["discharge_method"].shift().eq("transfer") & (gap_days <= TRANSFER_GAP_DAYS)
    continues = same_person & (same_spell | transferred.fillna(False).astype(bool))
    spell = (~continues).cumsum().to_numpy() - 1

    grouped = stays.groupby(spell, sort=True)
    last = grouped.tail(1).reset_index(drop=True)
    spells = pd.DataFrame(
        {
            "person_id": grouped["person_id"].first().to_numpy(),
            "start": grouped["start"].min().to_numpy(),
            # An open stay keeps its spell open, whichever order equal starts were sorted in.
            "end": grouped["end"].max().where(grouped["end"].count() == grouped.size()).to_numpy(),
            "discharge_method": last["discharge_method"].to_numpy(),
        }
    )
    for ward_type in WARD_TYPES:
        spells[f"has_{ward_type}"] = stays["ward_type"].eq(ward_type).groupby(spell).any().to_numpy()
    return spells


def derive_discharges(
    spells: pd.DataFrame, *, index_ward_types: tuple[str, ...], washout_days: int = 0
) -> pd.DataFrame:
    """Eligible index discharges with the next admission, one row a discharge.

    Eligible: the spell has ended, not by death or transfer, touched one of `index_ward_types`, and began
    `washout_days` or more after the person's spell before it ended.

    Returns
    -------
    DataFrame
        `person_id, admission, discharge, next_admission` (null where none), and the `has_` columns.
    """
    spells = spells.sort_values(["person_id", "start"], kind="stable").reset_index(drop=True)
    same_person = spells["person_id"].eq(spells["person_id"].shift(-1))
    rows = spells.rename(columns={"start": "admission", "end": "discharge"})
    rows["next_admission"] = spells["start"].shift(-1).where(same_person)
    touched = spells[[f"has_{w}" for w in index_ward_types]].any(axis=1)
    eligible = touched & spells["end"].notna() & ~spells["discharge_method"].isin(NOT_A_DISCHARGE)
    had_spell = spells["person_id"].eq(spells["person_id"].shift())
    out_days = (spells["start"] - spells["end"].shift()).dt.days
    eligible &= ~had_spell | (out_days >= washout_days)
    return rows[eligible].drop(columns="discharge_method").reset_index(drop=True)


def derive_follow_up(
    discharges: pd.DataFrame, *, death: np.ndarray, censor: np.ndarray, horizon_days: int
) -> pd.DataFrame:
    """What happened first within `[discharge, discharge + horizon)`: readmission, death, or neither.

    Parameters
    ----------
    discharges : DataFrame, shape (n, ...)
        With `discharge` and `next_admission`.
    death, censor : array of datetime64[D], shape (n,)
        Date of death (NaT if alive) and first day not followed.
    horizon_days : int
        Length of the window; day `horizon_days` itself lies outside it.

    Returns
    -------
    DataFrame, shape (n, 2)
        `time_days`: days to the first of readmission, death, censoring and horizon.
        `event`: 1 readmission, 2 death, 0 followed to the horizon or censored before it
        (`time_days < horizon_days` tells the second).
    """
    discharge = as_days(discharges["discharge"])
    never = np.iinfo(np.int64).max

    def days_until(day: np.ndarray) -> np.ndarray:
        return np.where(np.isnat(day), never, (day - discharge).astype("timedelta64[D]").astype(np.int64))

    readmitted = days_until(as_days(discharges["next_admission"]))
    died = days_until(death)
    censored = np.maximum(days_until(censor), 0)
    first = np.minimum(readmitted, died)
    # On the day that follow-up ends an event is still seen: people die, and leave, on their last day.
    seen = (first < horizon_days) & (first <= censored)
    event = np.where(seen, np.where(readmitted <= died, 1, 2), 0)
    time = np.where(seen, first, np.minimum(censored, horizon_days))
    return pd.DataFrame({"time_days": time, "event": event}, index=discharges.index)
