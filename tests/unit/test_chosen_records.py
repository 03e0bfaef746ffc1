"""Which record of an outcome that people chose counts, on people whose records can be read off."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.chosen import ChosenRecords, build_chosen
from evalkit.core.errors import NotEstimable, ProtocolError
from evalkit.core.protocol import Protocol, protocol_from_text
from evalkit.data.tables import open_tables
from tests.chosen_people import LONGER, SECTION, activities, answers, checks, chosen_protocol, dates, write_people
from tests.data_factory import PROTOCOL

AREAS = ["Lambeth", "Lambeth", "Croydon", "Croydon"]
NAN = float("nan")


def build(folder, protocol: Protocol | None = None) -> ChosenRecords:
    protocol = protocol or chosen_protocol()
    return build_chosen(open_tables(folder), protocol, windows=protocol.chosen_windows)


def of(found: ChosenRecords, key: str) -> list[list[float]]:
    order = np.argsort(found.person_id)
    return np.nan_to_num(found.had[key][order], nan=-1).tolist()


def both(person: str, day: str, work: str, volunteering: str) -> list[tuple[str, str, str, str]]:
    return [(person, day, "employment", work), (person, day, "volunteering", volunteering)]


def test_the_last_record_counts_and_a_no_needs_an_answer_to_all(tmp_path):
    yes, no = "taking_part", "not_taking_part"
    rows = [
        *both("p0", "2014-02-01", yes, no), *both("p0", "2014-10-01", no, no), *both("p0", "2015-05-01", no, yes),
        ("p1", "2014-05-01", "employment", no), ("p1", "2015-05-01", "employment", yes),
        ("p1", "2014-06-01", "education", yes), *both("p2", "2015-02-01", yes, yes),
        *both("p2", "2016-03-30", yes, no), *both("p3", "2014-05-01", "refused to say", no),
        *both("p3", "2016-03-31", yes, yes),
    ]  # fmt: skip
    found = build(write_people(tmp_path, AREAS, activities=activities(rows)))
    # p3's last record is of the day after the year.
    assert of(found, "work") == [[0, 1], [-1, 1], [1, 1], [-1, -1]]


def test_the_days_of_anticipation_belong_to_neither_year(tmp_path):
    base = LONGER.replace("end = 2017-01-01", "end = 2017-01-01\nanticipation_days = 90")
    protocol = chosen_protocol(base=base)
    rows = [*both("p0", "2014-12-31", "taking_part", "taking_part"), *both("p1", "2015-01-01", "taking_part", "x")]
    found = build(write_people(tmp_path, AREAS, activities=activities(rows)), protocol)
    assert of(found, "work") == [[1, -1], [-1, -1], [-1, -1], [-1, -1]]


def test_checks_and_answers(tmp_path):
    done = [("p0", "2014-05-01", "physical_health", True), ("p0", "2014-06-01", "physical_health", False),
            ("p1", "2014-05-01", "smoking_status", True), ("p2", "2015-05-01", "physical_health", True)]  # fmt: skip
    said = [
        ("p0", "2014-05-01", "DIALOG", "friendships", 7.0), ("p0", "2014-05-01", "DIALOG", "family_relationships", 2.0),
        ("p0", "2015-05-01", "DIALOG", "friendships", 5.0), ("p1", "2014-05-01", "DIALOG", "friendships", 99.0),
        ("p1", "2015-05-01", "HoNOS", "friendships", 6.0), ("p2", "2014-05-01", "DIALOG", "friendships", 6.0),
        ("p2", "2014-09-01", "DIALOG", "friendships", None), ("p3", "2014-05-01", "DIALOG", "job", 6.0),
        ("p3", "2015-05-01", "DIALOG", "friendships", 0.0),
    ]  # fmt: skip
    found = build(write_people(tmp_path, AREAS, health_checks=checks(done), assessments=answers(said)))
    assert of(found, "check") == [[0, -1], [-1, -1], [-1, 1], [-1, -1]]
    # 7 and 2 are 4.5 on average; 99 and 0 are not on the scale; an unanswered item leaves the earlier answer.
    assert of(found, "friends") == [[0, 1], [-1, -1], [1, -1], [-1, -1]]


def test_nobody_is_asked_after_they_left(tmp_path):
    rows = [r for p in ("p0", "p1", "p2", "p3") for r in both(p, "2015-09-01", "taking_part", "taking_part")]
    residence = dates(pd.DataFrame({
        "person_id": ["p0", "p1", "p2", "p3"], "area": AREAS, "start": ["2010-01-01"] * 3 + ["2015-01-01"],
        "end": ["2015-07-01", "2015-09-01", None, None],
    }), "start", "end")  # fmt: skip
    found = build(write_people(tmp_path, AREAS, activities=activities(rows), residence=residence))
    assert of(found, "work") == [[-1, -1], [-1, 1], [-1, 1], [-1, 1]]
    assert found.asked[np.argsort(found.person_id)].tolist() == [[True, True]] * 4


def test_who_came_later_could_not_be_asked_before(tmp_path):
    residence = dates(pd.DataFrame({
        "person_id": ["p0", "p1", "p2", "p3"], "area": AREAS, "start": ["2010-01-01"] * 3 + ["2015-04-01"],
        "end": [None] * 4,
    }), "start", "end")  # fmt: skip
    found = build(write_people(tmp_path, AREAS, residence=residence))
    assert found.asked[np.argsort(found.person_id)].tolist() == [[True, True]] * 3 + [[False, True]]


def test_a_record_twice_or_two_that_contradict_each_other_change_nothing_silently(tmp_path):
    yes, no = "taking_part", "not_taking_part"
    rows = [*both("p0", "2014-05-01", yes, no), *both("p0", "2014-05-01", yes, no), *both("p1", "2014-05-01", no, no),
            ("p1", "2014-05-01", "employment", yes), *both("stranger", "2014-05-01", yes, yes)]  # fmt: skip
    found = build(write_people(tmp_path, AREAS, activities=activities(rows)))
    assert of(found, "work") == [[1, -1], [1, -1], [-1, -1], [-1, -1]]


def test_what_has_no_record_says_why(tmp_path):
    rows = both("p0", "2014-05-01", "sometimes", "sometimes")
    found = build(write_people(tmp_path, AREAS, activities=activities(rows)))
    assert not found.had
    assert found.why_not == {
        "work": "Table activities holds no such answer of these people.", "check": "There is no table health_checks.",
        "friends": "There is no table assessments.", "choice": "Nothing in these records asks about it.",
    }  # fmt: skip


def test_a_cohort_that_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(NotEstimable, match="nobody is in it at go-live: comparison"):
        build(write_people(tmp_path / "one", ["Lambeth"] * 3))
    with pytest.raises(NotEstimable, match="no table people"):
        build(write_people(tmp_path / "none", AREAS, people=None))


# ---- the protocol --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('activities = ["employment", "volunteering"]', "", "needs `activities`"),
        ('record = "none"', 'record = "none"\nchecks = ["x"]', "has no use for `checks`"),
        ('no = ["not_taking_part"]', 'no = ["taking_part"]', "stands for both yes and no"),
        ("scale = [1, 7]", "scale = [7, 1]", "the lowest and the highest answer"),
        ("scale = [1, 7]", "scale = [nan, 7]", "the lowest and the highest answer"),
        ("at_least = 5", "at_least = 1", "must lie on the scale"),
        ("at_least = 5", "at_least = nan", "at_least"),
        ('"employment", "volunteering"', '"employment", "employment"', "names something twice"),
        ('"employment", "volunteering"', '"employment", "gardening"', "activities"),
        ('key = "check"', 'key = "work"', "chosen key used twice"),
        ('chosen_by = "peers"', 'chosen_by = "the minister"', "chosen_by"),
        ('better = "higher"', 'better = "higher"\nleast_recorded = 1.5', "least_recorded"),
        ("at_least = 5", "at_leats = 5", "at_least"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(old, new, words):
    with pytest.raises(ProtocolError, match=words):
        chosen_protocol(SECTION.replace(old, new))


def test_years_outside_the_study_are_refused():
    with pytest.raises(ProtocolError, match="need a year of the study"):
        chosen_protocol(base=PROTOCOL)
    with pytest.raises(ProtocolError, match="one adoption date"):
        chosen_protocol(base=LONGER.replace("adoption = 2015-04-01\n", ""))


def test_a_protocol_without_the_section_keeps_its_digest():
    without, written = protocol_from_text(LONGER), json.loads(protocol_from_text(LONGER).model_dump_json())
    assert without.chosen == ()
    old = {key: value for key, value in written.items() if key != "chosen"}
    assert Protocol.model_validate_json(json.dumps(old)).digest == without.digest
    assert chosen_protocol().digest != without.digest
