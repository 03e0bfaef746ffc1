"""The readmission rule, as a specification: tables in, spells and follow-up out."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.spells import build_hospital_spells, derive_discharges, derive_follow_up

HEADER = "person_id spell_id stay_id ward_type start end discharge_method"
INDEX_TYPES = ("acute", "picu", "rehab")


def stays(text: str) -> pd.DataFrame:
    frame = pd.read_csv(io.StringIO(f"{HEADER}\n{text}"), sep=r"\s+", na_values="-", dtype=str)
    frame["start"], frame["end"] = pd.to_datetime(frame["start"]), pd.to_datetime(frame["end"])
    return frame.assign(out_of_area=False)


def rows(frame: pd.DataFrame, *columns: str) -> list[tuple]:
    out = frame[list(columns)].copy()
    for column in out.select_dtypes("datetime"):
        out[column] = out[column].dt.strftime("%Y-%m-%d").fillna("-")
    return list(out.itertuples(index=False, name=None))


def test_a_move_between_wards_is_one_spell():
    spells = build_hospital_spells(stays(
        "p s1 w1 acute 2015-01-01 2015-01-10 -\n"
        "p s1 w2 picu  2015-01-10 2015-01-15 -\n"
        "p s1 w3 acute 2015-01-15 2015-02-01 planned\n"
    ))  # fmt: skip
    assert rows(spells, "start", "end", "discharge_method") == [("2015-01-01", "2015-02-01", "planned")]
    assert spells.loc[0, ["has_acute", "has_picu", "has_rehab"]].tolist() == [True, True, False]


@pytest.mark.parametrize(("next_start", "n_spells"), [("2015-01-10", 1), ("2015-01-11", 1), ("2015-01-12", 2)])
def test_a_transfer_between_hospitals_is_one_spell_if_the_next_day_at_latest(next_start, n_spells):
    spells = build_hospital_spells(stays(
        "p s1 w1 acute 2015-01-01 2015-01-10 transfer\n"
        f"p s2 w2 rehab {next_start} 2015-06-01 planned\n"
    ))  # fmt: skip
    assert len(spells) == n_spells


def test_coming_back_on_the_day_of_a_planned_discharge_is_a_readmission():
    discharges = derive_discharges(build_hospital_spells(stays(
        "p s1 w1 acute 2015-01-01 2015-01-10 planned\n"
        "p s2 w2 acute 2015-01-10 2015-01-20 planned\n"
    )), index_ward_types=INDEX_TYPES)  # fmt: skip
    assert rows(discharges, "discharge", "next_admission") == [("2015-01-10", "2015-01-10"), ("2015-01-20", "-")]


def test_deaths_transfers_out_open_stays_and_secure_wards_are_no_index_discharges():
    discharges = derive_discharges(build_hospital_spells(stays(
        "a s1 w1 acute  2015-01-01 2015-01-10 died\n"
        "b s2 w2 acute  2015-01-01 2015-01-10 transfer\n"
        "c s3 w3 acute  2015-01-01 -          -\n"
        "d s4 w4 secure 2015-01-01 2015-01-10 planned\n"
        "e s5 w5 rehab  2015-01-01 2015-01-10 self\n"
    )), index_ward_types=INDEX_TYPES)  # fmt: skip
    assert rows(discharges, "person_id") == [("e",)]


def test_each_readmission_is_credited_to_the_latest_discharge_only():
    discharges = derive_discharges(build_hospital_spells(stays(
        "p s1 w1 acute 2015-01-01 2015-01-10 planned\n"
        "p s2 w2 acute 2015-01-20 2015-01-25 planned\n"
        "p s3 w3 acute 2015-02-01 2015-02-05 planned\n"
        "q s4 w4 acute 2015-02-02 2015-02-05 planned\n"
    )), index_ward_types=INDEX_TYPES)  # fmt: skip
    assert rows(discharges, "person_id", "next_admission") == [
        ("p", "2015-01-20"), ("p", "2015-02-01"), ("p", "-"), ("q", "-"),
    ]  # fmt: skip


def test_a_spell_with_an_open_stay_is_open_however_its_rows_are_ordered():
    text = "p s1 w1 acute 2015-01-01 2015-01-10 -\np s1 w2 acute 2015-01-10 - -\n"
    for frame in (stays(text), stays(text).iloc[::-1]):
        spells = build_hospital_spells(frame)
        assert len(spells) == 1
        assert spells["end"].isna().all()


@pytest.mark.parametrize(("washout_days", "discharges"), [(0, 3), (10, 3), (11, 2), (60, 1)])
def test_a_washout_asks_for_time_out_of_hospital_before_the_index_admission(washout_days, discharges):
    spells = build_hospital_spells(stays(
        "p s1 w1 acute 2015-01-01 2015-01-10 planned\n"
        "p s2 w2 acute 2015-01-20 2015-01-25 planned\n"
        "p s3 w3 acute 2015-03-01 2015-03-05 planned\n"
    ))  # fmt: skip
    found = derive_discharges(spells, index_ward_types=INDEX_TYPES, washout_days=washout_days)
    assert len(found) == discharges


def follow(next_admission: str, death: str, censor: str, horizon_days: int = 30) -> tuple[int, int]:
    discharges = pd.DataFrame(
        {"discharge": pd.to_datetime(["2015-01-01"]), "next_admission": pd.to_datetime([next_admission])}
    )
    found = derive_follow_up(
        discharges, death=np.array([death], "datetime64[D]"), censor=np.array([censor], "datetime64[D]"),
        horizon_days=horizon_days,
    )  # fmt: skip
    return int(found.loc[0, "time_days"]), int(found.loc[0, "event"])


@pytest.mark.parametrize(
    ("next_admission", "death", "censor", "expected"),
    [
        ("2015-01-05", "NaT", "2016-01-01", (4, 1)),
        ("2015-01-30", "NaT", "2016-01-01", (29, 1)),
        ("2015-01-31", "NaT", "2016-01-01", (30, 0)),  # the window is half-open
        ("NaT", "2015-01-10", "2015-01-10", (9, 2)),  # follow-up ends by the death itself
        ("2015-01-12", "2015-01-10", "2015-01-10", (9, 2)),
        ("2015-01-10", "2015-01-10", "2015-01-10", (9, 1)),  # admitted, then died that day
        ("NaT", "NaT", "2015-01-10", (9, 0)),  # moved away
        ("2015-01-20", "NaT", "2015-01-10", (9, 0)),  # a return after leaving is not seen
    ],
)
def test_what_happens_first_within_thirty_days(next_admission, death, censor, expected):
    assert follow(next_admission, death, censor) == expected
