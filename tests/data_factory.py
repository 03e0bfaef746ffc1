"""A small, valid, hand-made folder of every canonical table, for tests to change and break.

`write_folder(path)` writes it as Parquet; `write_folder(path, people=change)` passes a table through
`change` first (a function of its DataFrame, a DataFrame, or None to leave the table out).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

Change = Callable[[pd.DataFrame], pd.DataFrame] | pd.DataFrame | None

PROTOCOL = """
[study]
key = "tiny"
title = "A tiny study"
service = "the Alliance"
place = "Lambeth"
question = "What did it do?"
plain_question = "Did it help?"
synthetic = true
seed = 1
[exposure]
by = "area"
[areas]
treated = ["Lambeth"]
comparators = ["Croydon"]
donors = ["Barnet", "Brent"]
[dates]
study_start = 2014-01-01
baseline_start = 2014-01-01
adoption = 2015-04-01
end = 2016-01-01
period = "quarter"
[population]
label = "adults"
min_age_years = 18
max_age_years = 75
[economics]
price_year = 2016
[[outcomes]]
key = "readmission_90d"
kind = "readmission"
horizon_days = 90
label = "Readmission"
plain = "going back"
definition = "A new spell within 90 days."
better = "lower"
[[outcomes]]
key = "residential_entry"
kind = "rate"
event = "placement_start"
settings = ["residential_care", "nursing_care"]
label = "Entry"
plain = "moving in"
definition = "A placement that starts."
better = "lower"
[[outcomes]]
key = "public_cost"
kind = "cost"
perspective = "nhs_and_local_authority"
label = "Cost"
plain = "spending"
definition = "All of it."
better = "lower"
"""


_ITEMS = ("job", "family", "friends", "home", "meetings")
_PRICED = (
    ("ward_day.acute", "day"), ("ward_day.picu", "day"), ("ward_day.rehab", "day"), ("ward_day.secure", "day"),
    ("ward_day.out_of_area", "day"), ("placement_week.residential_care", "week"),
    ("placement_week.nursing_care", "week"), ("contact", "contact"), ("programme_week.ipsa", "week"),
)  # fmt: skip


def _dates(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.assign(**{column: pd.to_datetime(frame[column]).astype("datetime64[s]") for column in columns})


def _frame(columns: str, rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns.split())


def tables() -> dict[str, pd.DataFrame]:
    """Fresh copies of all canonical tables: six people, two boroughs with people, two donors."""
    people = _frame(
        "person_id birth_year sex ethnic_group area imd_decile primary_diagnosis dual_diagnosis forensic_history "
        "death_date",
        [
            ("p-one", 1970, "male", "black", "Lambeth", 2, "F20", True, False, None),
            ("p-two", 1981, "female", "white", "Lambeth", 3, "F25.1", False, False, None),
            ("p-three", 1965, "male", "mixed", "Lambeth", None, None, None, None, "2015-09-10"),
            ("p-four", 1990, "other", "asian", "Croydon", 5, "F31", False, True, None),
            ("p-five", 1975, "unknown", "other", "Croydon", 6, "F20", True, False, None),
            ("p-six", 1968, "female", "unknown", "Croydon", 10, "F20.0", False, False, None),
        ],
    )
    people = people.astype({"imd_decile": "Int64", "dual_diagnosis": "boolean", "forensic_history": "boolean"})
    residence = [(row.person_id, row.area, "2012-04-01", None) for row in people.itertuples()]
    residence[1] = ("p-two", "Lambeth", "2012-04-01", "2015-06-01")
    residence.append(("p-two", "Croydon", "2015-06-01", None))
    stays = _frame(
        "stay_id person_id spell_id ward_type site start end admission_method discharge_method discharge_destination "
        "legal_status ready_date out_of_area",
        [
            ("s1", "p-one", "h1", "acute", "A", "2014-02-01", "2014-03-01", "emergency", "transfer", "hospital",
             "section_2", None, False),
            ("s2", "p-one", "h1", "rehab", "B", "2014-03-01", "2014-06-01", "transfer", "planned", "own_home",
             "section_3", "2014-05-01", False),
            ("s3", "p-one", "h2", "acute", "A", "2014-06-20", "2014-06-20", "emergency", "self", "own_home",
             "informal", None, False),
            ("s4", "p-three", "h3", "acute", "A", "2015-08-01", "2015-09-10", "emergency", "died", "died",
             "informal", None, True),
            ("s5", "p-four", "h4", "picu", "C", "2015-01-05", "2015-02-01", "elective", "planned", "placement",
             "forensic", None, False),
            ("s6", "p-five", "h5", "secure", "C", "2015-11-01", None, "emergency", None, None, None, None, True),
        ],
    )  # fmt: skip
    spells = _frame(
        "spell_id person_id start end admission_method discharge_method discharge_destination",
        [
            ("h1", "p-one", "2014-02-01", "2014-06-01", "emergency", "planned", "own_home"),
            ("h2", "p-one", "2014-06-20", "2014-06-20", "emergency", "self", "own_home"),
            ("h3", "p-three", "2015-08-01", "2015-09-10", "emergency", "died", "died"),
            ("h4", "p-four", "2015-01-05", "2015-02-01", "elective", "planned", "placement"),
            ("h5", "p-five", "2015-11-01", None, "emergency", None, None),
        ],
    )
    placements = _frame(
        "placement_id person_id setting start end weekly_cost_gbp funder provider",
        [
            ("l1", "p-two", "residential_care", "2014-05-01", "2015-05-01", 1540.0, "local_authority", "Home, East"),
            ("l2", "p-two", "supported_living", "2015-05-01", None, 290.5, "joint", "Homes & Co"),
            ("l3", "p-four", "nursing_care", "2015-02-01", None, None, "nhs", "Home; West"),
            ("l4", "p-six", "own_tenancy", "2013-01-01", None, 0.0, "self", "none such"),
        ],
    )
    areas = _frame(
        "area population adoption_date",
        [("Lambeth", 320000, "2015-04-01"), ("Croydon", 380000, None), ("Barnet", 390000, None),
         ("Brent", 330000, None)],
    )  # fmt: skip
    quarters = pd.date_range("2014-01-01", "2015-10-01", freq="QS")
    counts = [
        (area, quarter, "residential_entry", 4.0 + place, 150.0 + place)
        for place, area in enumerate(areas["area"])
        for quarter in quarters
    ]
    return {
        "people": _dates(people, "death_date"),
        "residence": _dates(_frame("person_id area start end", residence), "start", "end"),
        "ward_stays": _dates(stays, "start", "end", "ready_date"),
        "hospital_spells": _dates(spells, "start", "end"),
        "placements": _dates(placements, "start", "end"),
        "programme_episodes": _dates(
            _frame("person_id programme component start end", [("p-one", "ipsa", "studio", "2015-05-01", None)]),
            "start", "end",
        ),
        "contacts": _dates(
            _frame("person_id date team kind attended", [("p-one", "2015-05-02", "recovery", "phone", True),
                                                         ("p-six", "2015-05-02", "recovery", "visit", False)]),
            "date",
        ),
        "assessments": _dates(
            _frame(
                "person_id date instrument item score",
                [("p-one", "2015-05-02", "DIALOG", item, float(score)) for score, item in enumerate(_ITEMS, 1)]
                + [("p-two", "2015-05-03", "DIALOG", _ITEMS[0], None)],
            ),
            "date",
        ),
        "activities": _dates(
            _frame("person_id date activity status", [("p-two", "2015-05-02", "education", "started")]), "date"
        ),
        "health_checks": _dates(
            _frame("person_id date check done", [("p-two", "2015-05-02", "blood pressure", True)]), "date"
        ),
        "unit_costs": _frame(
            "resource unit price_gbp price_year source verified",
            [(resource, unit, 420.5, 2016, "assumed", False) for resource, unit in _PRICED],
        ),
        "price_index": _frame(
            "year level source verified",
            [(year, 1.02 ** (year - 2015), "assumed", False) for year in range(1990, 2020)],
        ),
        "budgets": _frame("programme year original_gbp actual_gbp", [("ipsa", 2015, 12200000.0, 10200000.0)]),
        "areas": _dates(areas, "adoption_date"),
        "area_counts": _frame("area period_start outcome count person_time", counts).astype(
            {"period_start": "datetime64[s]"}
        ),
    }  # fmt: skip


def write_folder(
    path: Path, *, form: Literal["parquet", "csv"] = "parquet", only: Sequence[str] | None = None, **changes: Change
) -> Path:
    """Write all tables, or `only` some, to `path`, each changed as asked, and return it."""
    path.mkdir(parents=True, exist_ok=True)
    for name, frame in tables().items():
        if only is not None and name not in only:
            continue
        if name in changes:
            change = changes[name]
            if change is None:
                continue
            frame = change(frame) if callable(change) else change
        if form == "csv":
            frame.to_csv(path / f"{name}.csv", index=False)
        else:
            frame.to_parquet(path / f"{name}.parquet", index=False)
    return path
