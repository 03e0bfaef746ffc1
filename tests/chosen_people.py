"""People with yearly records of what they chose, in two areas, for tests of `[[chosen]]`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from evalkit.core.protocol import Protocol, protocol_from_text
from tests.data_factory import PROTOCOL, write_folder

SECTION = """
[[chosen]]
key = "work"
label = "Work"
plain = "took part in work"
better = "higher"
chosen_by = "peers"
record = "activity"
activities = ["employment", "volunteering"]
yes = ["taking_part"]
no = ["not_taking_part"]
[[chosen]]
key = "check"
label = "Health check"
plain = "had their health checked"
better = "higher"
chosen_by = "peers"
record = "health_check"
checks = ["physical_health"]
[[chosen]]
key = "friends"
label = "Friends"
plain = "said they were satisfied with their friends"
better = "higher"
chosen_by = "not_recorded"
record = "answers"
instrument = "DIALOG"
items = ["friendships", "family_relationships"]
scale = [1, 7]
at_least = 5
[[chosen]]
key = "choice"
label = "Choice and control"
plain = "had choice"
better = "higher"
chosen_by = "evaluators"
record = "none"
"""
# A year before the year before go-live (1 April 2015) and one after it belong to the study.
LONGER = PROTOCOL.replace("2014-01-01", "2013-01-01").replace("end = 2016-01-01", "end = 2017-01-01")
ABSENT = ("hospital_spells", "programme_episodes", "contacts", "budgets", "area_counts", "placements")


def chosen_protocol(section: str = SECTION, base: str = LONGER) -> Protocol:
    return protocol_from_text(base + section)


def dates(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.assign(**{c: pd.to_datetime(frame[c]).astype("datetime64[s]") for c in columns})


def write_people(path: Path, areas: list[str], **tables: pd.DataFrame | None) -> Path:
    """A folder in which person `p<i>` lived in `areas[i]` and was on a ward in the year before go-live."""
    names = [f"p{i}" for i in range(len(areas))]
    n = len(names)
    people = pd.DataFrame({
        "person_id": names, "birth_year": 1970, "sex": "female", "ethnic_group": "white", "area": areas,
        "imd_decile": 5, "primary_diagnosis": "F20", "dual_diagnosis": False, "forensic_history": False,
        "death_date": [None] * n,
    }).astype({"imd_decile": "Int64", "dual_diagnosis": "boolean", "forensic_history": "boolean"})  # fmt: skip
    residence = pd.DataFrame({"person_id": names, "area": areas, "start": "2010-01-01", "end": [None] * n})
    stays = pd.DataFrame({
        "stay_id": [f"s{i}" for i in range(n)], "person_id": names, "spell_id": [f"h{i}" for i in range(n)],
        "ward_type": "acute", "site": "A", "start": "2014-11-01", "end": "2014-11-20", "admission_method": "emergency",
        "discharge_method": "planned", "discharge_destination": "own_home", "legal_status": "informal",
        "ready_date": [None] * n, "out_of_area": False,
    })  # fmt: skip
    made = {
        "people": dates(people, "death_date"), "residence": dates(residence, "start", "end"),
        "ward_stays": dates(stays, "start", "end", "ready_date"),
    }  # fmt: skip
    given = dict.fromkeys(("activities", "health_checks", "assessments")) | made | tables
    return write_folder(path, **dict.fromkeys(ABSENT), **given)


def activities(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    return dates(pd.DataFrame(rows, columns=["person_id", "date", "activity", "status"]), "date")


def checks(rows: list[tuple[str, str, str, bool]]) -> pd.DataFrame:
    return dates(pd.DataFrame(rows, columns=["person_id", "date", "check", "done"]), "date")


def answers(rows: list[tuple[str, str, str, str, float | None]]) -> pd.DataFrame:
    return dates(pd.DataFrame(rows, columns=["person_id", "date", "instrument", "item", "score"]), "date")


def draw_people(
    path: Path, rng: np.random.Generator, *, treated: int, others: int, effect: float = 0.0, unasked: float = 0.0
) -> Path:
    """Work with a chance of 0.4 (plus `effect` in the treated after), and of `unasked` no record in any year."""
    areas = ["Lambeth"] * treated + ["Croydon"] * others
    rows = []
    for i, area in enumerate(areas):
        for day in ("2013-06-01", "2014-06-01", "2015-06-01"):
            chance = 0.4 + effect * (area == "Lambeth" and day > "2015")
            if rng.random() >= unasked:
                status = "taking_part" if rng.random() < chance else "not_taking_part"
                rows += [(f"p{i}", day, "employment", status), (f"p{i}", day, "volunteering", "not_taking_part")]
    return write_people(path, areas, activities=activities(rows))
