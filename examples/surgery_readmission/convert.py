"""frailtypack's `readmission` data into canonical tables: days since surgery become dates.

Each person leaves the surgical ward on 1 January 2000. The source gives the day of each readmission and
no length of stay, so every readmission is a stay of no nights. A person is followed until their last day.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

DISCHARGE = pd.Timestamp("2000-01-01")
AREA = "Study hospital"


def convert(source: Path, folder: Path) -> None:
    rows = pd.read_csv(source)
    rows["person_id"] = "P" + rows["id"].astype(str).str.zfill(3)
    rows["day"] = DISCHARGE + pd.to_timedelta(rows["t.stop"], unit="D")
    last = rows.groupby("person_id").tail(1)
    people = pd.DataFrame(
        {
            "person_id": last["person_id"],
            "birth_year": 1935,  # not in the source; nothing is computed from it
            "sex": last["sex"].str.lower(),
            "ethnic_group": "unknown",
            "area": AREA,
            "imd_decile": pd.NA,
            "primary_diagnosis": "C18",
            "dual_diagnosis": pd.NA,
            "forensic_history": pd.NA,
            "death_date": last["day"].where(last["death"] == 1),
        }
    )
    residence = pd.DataFrame(
        {"person_id": last["person_id"], "area": AREA, "start": DISCHARGE - pd.Timedelta(days=1), "end": last["day"]}
    )
    surgery = last.assign(start=DISCHARGE - pd.Timedelta(days=1), end=DISCHARGE, spell="surgery")
    back = rows[rows["event"] == 1]
    back = back.assign(start=back["day"], end=back["day"], spell=back["enum"].astype(str))
    stays = pd.concat([surgery, back])
    ward_stays = pd.DataFrame(
        {
            "stay_id": stays["person_id"] + "-" + stays["spell"],
            "person_id": stays["person_id"],
            "spell_id": stays["person_id"] + "-" + stays["spell"],
            "ward_type": "acute",
            "site": AREA,
            "start": stays["start"],
            "end": stays["end"],
            "admission_method": "emergency",
            "discharge_method": "planned",
            "discharge_destination": "own_home",
            "legal_status": "informal",
            "ready_date": pd.NaT,
            "out_of_area": False,
        }
    )
    treated = last[last["chemo"] == "Treated"]
    programme = pd.DataFrame(
        {
            "person_id": treated["person_id"],
            "programme": "chemotherapy",
            "component": "chemotherapy",
            "start": DISCHARGE - pd.Timedelta(days=1),
            "end": pd.NaT,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"people": people, "residence": residence, "ward_stays": ward_stays, "programme_episodes": programme}
    for name, frame in tables.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: convert.py DATA.csv FOLDER")
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
