"""Where people are by day, and what follows a discharge, on six people whose lives can be read off."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.after_discharge import (
    STATES,
    AfterDischarge,
    derive_admission_follow_up,
    derive_hospital_days,
    derive_hospital_history,
)
from evalkit.cohort.pathway import CELLS, UNSEEN, Pathways, build_day_history, build_pathways, derive_history
from evalkit.core.errors import NotEstimable, ProtocolError
from evalkit.core.protocol import protocol_from_text
from evalkit.data.tables import open_tables
from tests.data_factory import PROTOCOL, write_folder

SECTION = """
[pathway]
horizon_days = 90
[[pathway.states]]
key = "hospital"
label = "Ward"
plain = "on a ward"
better = "lower"
group = "ward"
ward_types = ["acute", "picu", "rehab", "secure"]
[[pathway.states]]
key = "care_home"
label = "Care home"
plain = "in a care home"
better = "lower"
group = "care_home"
settings = ["residential_care", "nursing_care"]
[[pathway.states]]
key = "home"
label = "Home"
plain = "at home"
better = "higher"
group = "own_place"
settings = ["supported_living", "own_tenancy"]
"""


def protocol(section: str = SECTION):
    return protocol_from_text(PROTOCOL + section)


@pytest.fixture
def lives(tmp_path):
    """Two people of each area with a stay before either anchor (1 January 2014 and 1 April 2015)."""
    people = pd.DataFrame({
        "person_id": ["l1", "l2", "c1", "c2"], "birth_year": [1970] * 4, "sex": ["female"] * 4,
        "ethnic_group": ["white"] * 4, "area": ["Lambeth"] * 2 + ["Croydon"] * 2, "imd_decile": [5] * 4,
        "primary_diagnosis": ["F20"] * 4, "dual_diagnosis": [False] * 4, "forensic_history": [False] * 4,
        "death_date": pd.to_datetime([None, "2015-05-01", None, None]),
    }).astype({"imd_decile": "Int64", "dual_diagnosis": "boolean", "forensic_history": "boolean"})  # fmt: skip
    residence = pd.DataFrame({
        "person_id": ["l1", "l2", "c1", "c2"], "area": people["area"], "start": pd.to_datetime(["2012-01-01"] * 4),
        "end": pd.to_datetime([None, None, None, "2015-05-11"]),
    })  # fmt: skip
    homes = pd.DataFrame({
        "placement_id": list("abcde"), "person_id": ["l1", "l1", "l2", "c1", "c2"],
        "setting": ["residential_care", "own_tenancy", "nursing_care", "residential_care", "nursing_care"],
        "start": pd.to_datetime(["2013-06-01", "2015-04-21", "2013-06-01", "2013-06-01", "2013-06-01"]),
        "end": pd.to_datetime(["2015-04-11", None, None, None, None]), "weekly_cost_gbp": [None] * 5,
        "funder": ["nhs"] * 5, "provider": ["x"] * 5,
    }).astype({"weekly_cost_gbp": "float64"})  # fmt: skip

    def stays(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.iloc[[2]].assign(person_id="c1", start=pd.Timestamp("2015-04-06"), end=pd.Timestamp("2015-04-16"))

    absent = ("hospital_spells", "programme_episodes", "contacts", "assessments", "activities", "health_checks",
              "budgets", "area_counts")  # fmt: skip
    write_folder(
        tmp_path, people=people, residence=residence, placements=homes, ward_stays=stays, **dict.fromkeys(absent)
    )
    return open_tables(tmp_path)


def of(found: Pathways, person: str, period: str) -> np.ndarray:
    rows = (found.people["person_id"] == person) & (found.people["period"] == period)
    return found.days[rows.to_numpy()][0]


def test_every_day_has_the_state_that_the_records_give(lives):
    found = build_pathways(lives, protocol())
    ward, care, home, unknown, dead = range(5)
    assert found.states == ("hospital", "care_home", "home", "not_recorded", "dead")
    assert (of(found, "l1", "before") == care).all()
    moved = of(found, "l1", "after")
    assert (moved[:10] == care).all()
    assert (moved[10:20] == unknown).all()
    assert (moved[20:] == home).all()
    died = of(found, "l2", "after")
    assert (died[:30] == care).all()
    assert (died[30:] == dead).all()
    away = of(found, "c1", "after")  # a placement is kept while somebody is on a ward: the ward counts
    assert (np.flatnonzero(away == ward) == np.arange(5, 15)).all()
    left = of(found, "c2", "after")
    assert (left[:40] == care).all()
    assert (left[40:] == UNSEEN).all()


def test_cells_are_area_by_period(lives):
    people = build_pathways(lives, protocol()).people
    assert {(CELLS[c], a) for c, a in zip(people["cell"], people["area"], strict=True)} == {
        ("treated after", "Lambeth"), ("treated before", "Lambeth"), ("comparison after", "Croydon"),
        ("comparison before", "Croydon"),
    }  # fmt: skip


def test_histories_say_what_the_days_say(lives):
    found = build_pathways(lives, protocol())
    history = derive_history(found)
    back = np.full(found.days.shape, UNSEEN)
    for row, start, stop, state in zip(
        history.person, history.start.astype(int), history.stop.astype(int), history.from_state, strict=True
    ):
        back[row, start:stop] = state
    dead = found.states.index("dead")
    assert (back == np.where(found.days == dead, UNSEEN, found.days)).all()
    assert (history.to_state == dead).sum() == 1
    assert history.n_people == len(found.people)
    assert len(np.unique(history.cluster)) == 4


def test_a_state_of_the_last_day_ends_unmoved():
    days = np.array([[0, 0, 1], [0, 2, 2]], dtype=np.int8)
    people = pd.DataFrame({"person_id": ["a", "b"], "cell": [0, 2]})
    history = build_day_history(days, ("x", "y", "dead"), people)
    assert history.to_state.tolist() == [1, UNSEEN, 2]
    assert history.stop.tolist() == [2, 3, 1]


def test_without_a_pathway_or_a_table_there_is_a_reason(lives):
    with pytest.raises(NotEstimable, match="describes no pathway"):
        build_pathways(lives, protocol_from_text(PROTOCOL))
    section = SECTION.replace("horizon_days = 90", 'horizon_days = 90\nprogramme = "ipsa"')
    section += """
[[pathway.states]]
key = "flat"
label = "Flat"
plain = "in a flat"
better = "neither"
group = "supported"
components = ["studio_flat"]
"""
    with pytest.raises(NotEstimable, match="programme_episodes"):
        build_pathways(lives, protocol(section))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('settings = ["supported_living", "own_tenancy"]', 'settings = ["residential_care"]', "named in two states"),
        ('settings = ["supported_living", "own_tenancy"]', "", "needs `ward_types`"),
        ('key = "home"', 'key = "dead"', "is a state of every pathway"),
        ("horizon_days = 90", "horizon_days = 300", "must fit"),
        ('group = "own_place"', 'group = "moon"', "group"),
        ("horizon_days = 90", 'horizon_days = 90\nprogramme = "ipsa"', "programme"),
    ],
)
def test_a_pathway_that_cannot_be_followed_is_refused(old, new, words):
    with pytest.raises(ProtocolError, match=words):
        protocol(SECTION.replace(old, new))


# ---- after discharge -----------------------------------------------------------------------------


@pytest.fixture
def after() -> AfterDischarge:
    """Four discharges: back twice, the second time to the end; back on the day; dead at 7; nothing."""
    people = pd.DataFrame({
        "person_id": ["a", "b", "c", "a"], "cell": [0, 1, 2, 3], "treated": [True, True, False, False],
        "period": ["after", "before", "after", "before"], "exit_days": [20, 20, 7, 20],
        "died": [False, False, True, False],
    })  # fmt: skip
    admissions = pd.DataFrame({"row": [0, 0, 1], "day": [3, 12, 0]})
    stays = pd.DataFrame({"row": [0, 0], "start": [3, 12], "end": [5, 20]})
    return AfterDischarge(people, admissions, stays, 20)


def test_admissions_end_intervals_and_time_goes_on(after):
    found = derive_admission_follow_up(after)
    assert list(zip(found.person, found.entry, found.exit, found.event, strict=True)) == [
        (0, 0, 4, 1), (0, 4, 13, 1), (0, 13, 20, 0), (1, 0, 1, 1), (1, 1, 20, 0), (2, 0, 7, 2), (3, 0, 20, 0),
    ]  # fmt: skip
    assert found.cluster[found.person == 0][0] == found.cluster[found.person == 3][0]
    assert found.covariates[0].tolist() == [1, 1, 1]


def test_days_in_hospital_are_those_between_the_dates(after):
    days = derive_hospital_days(after)
    inside, dead = STATES.index("in_hospital"), STATES.index("dead")
    assert np.flatnonzero(days[0] == inside).tolist() == [3, 4, *range(12, 20)]
    assert (days[2, 7:] == dead).all()
    assert (days[2, :7] == 0).all()
    history = derive_hospital_history(after)
    time = (history.stop - history.start)[(history.from_state == inside) & (history.person == 0)].sum()
    assert time == 10


def test_rows_of_no_weight_are_left_out(after):
    found = derive_admission_follow_up(after, weights=np.array([1.0, 0.0, 2.0, 1.0]))
    assert set(found.person) == {0, 1, 2}
    assert len(found) == 5
    assert sorted(set(found.weights)) == [1.0, 2.0]
