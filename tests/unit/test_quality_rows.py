"""Rows that contradict each other or the protocol: every fault at once, as counts, nobody quoted."""

import pandas as pd
import pytest

from evalkit.core.errors import DataError
from evalkit.core.protocol import Protocol, protocol_from_text
from evalkit.data import check_tables, require_usable
from tests.data_factory import PROTOCOL, tables, write_folder
from tests.quality_helpers import PERSONAL, checked, day, errors_of, few_tables, put, text_of


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return protocol_from_text(PROTOCOL)


# ---- rows against each other --------------------------------------------------------------------


def test_end_before_start(tmp_path, protocol):
    folder = few_tables(
        tmp_path, ward_stays=put("end", day("2014-01-31"), 0), placements=put("end", day("2013-12-31"), 0)
    )
    errors = errors_of(checked(folder, protocol))
    assert errors == {"ward_stays.end_before_start": 1, "placements.end_before_start": 1}


@pytest.mark.parametrize(
    ("table", "row", "start", "end"),
    [
        ("ward_stays", 1, "2014-02-28", "2014-06-01"),  # begins a day before the last one ends
        ("ward_stays", 2, "2014-04-01", "2014-04-01"),  # same-day stay in the middle of another
        ("placements", 1, "2014-06-01", None),
        ("residence", 6, "2015-05-31", None),
        ("hospital_spells", 1, "2014-05-31", "2014-06-20"),
    ],
)
def test_overlapping_spells_of_one_person(tmp_path, protocol, table, row, start, end):
    def overlap(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, "start"] = day(start)
        frame.loc[row, "end"] = day(end) if end else pd.NaT
        return frame

    assert errors_of(checked(few_tables(tmp_path, **{table: overlap}), protocol)) == {f"{table}.overlap": 1}


def test_overlap_with_one_that_began_long_before(tmp_path, protocol):
    rows = [("2014-01-01", "2014-12-31"), ("2014-02-01", "2014-02-05"), ("2014-03-01", "2014-03-05")]
    placements = pd.concat([tables()["placements"].iloc[[3]]] * 3, ignore_index=True)
    placements = placements.assign(
        placement_id=["a", "b", "c"],
        start=[day(start) for start, _ in rows],
        end=[day(end) for _, end in rows],
    )
    folder = few_tables(tmp_path, placements=placements)
    report = checked(folder, protocol)
    assert errors_of(report) == {"placements.overlap": 2}
    assert "2 rows of 1 person begin" in text_of(report, "placements.overlap")


def test_duplicate_keys(tmp_path, protocol):
    folder = few_tables(
        tmp_path,
        people=lambda p: pd.concat([p, p.iloc[[0, 0]]]),
        areas=lambda a: pd.concat([a, a.iloc[[1]]]),
        contacts=lambda c: pd.concat([c, c.iloc[[0]]]),
    )
    report = checked(folder, protocol)
    assert errors_of(report) == {"people.duplicate_key": 2, "areas.duplicate_key": 1}
    assert "contacts.duplicate_row" in {f.code for f in report.findings}


def test_events_of_people_who_are_not_in_people(tmp_path, protocol):
    folder = few_tables(
        tmp_path, ward_stays=put("person_id", "p-nobody", 0, 1), contacts=put("person_id", "p-nobody", 0)
    )
    report = checked(folder, protocol)
    errors = errors_of(report)
    assert errors["ward_stays.person_id.not_in_people"] == 2
    assert errors["contacts.person_id.not_in_people"] == 1
    assert "2 rows of 1 person not in people" in text_of(report, "ward_stays.person_id.not_in_people")


def test_hospital_spell_of_two_people(tmp_path, protocol):
    folder = few_tables(tmp_path, ward_stays=put("spell_id", "h1", 4))
    assert errors_of(checked(folder, protocol)) == {"ward_stays.spell_id.spell_of_two": 1}


def test_impossible_dates_are_warnings(tmp_path, protocol):
    folder = write_folder(
        tmp_path,
        people=lambda p: p.assign(
            birth_year=[2014, *p["birth_year"][1:]], death_date=[day("2014-03-15"), *p["death_date"][1:]]
        ),
        contacts=put("date", day("2300-01-01"), 1),
        ward_stays=put("ready_date", day("2015-05-01"), 1),
    )
    report = checked(folder, protocol)
    assert errors_of(report) == {}
    found = {f.code: f.count for f in report.findings if f.severity == "warning"}
    assert found["ward_stays.start.after_death"] == 1
    assert found["ward_stays.end.open_after_death"] == 1
    assert found["residence.start.before_birth"] == 1
    assert found["contacts.date.placeholder_date"] == 1
    assert found["ward_stays.ready_outside_stay"] == 1


# ---- the protocol -------------------------------------------------------------------------------


def test_unknown_area(tmp_path, protocol):
    folder = few_tables(tmp_path, people=put("area", "Lambth", 0), residence=put("area", "12 High Street", 4))
    report = checked(folder, protocol)
    assert errors_of(report) == {"people.area.unknown_area": 1, "residence.area.unknown_area": 1}
    assert 'Did you mean "Lambeth"' in text_of(report, "people.area.unknown_area")
    assert "High Street" not in text_of(report, "residence.area.unknown_area")


def test_treated_area_absent(tmp_path, protocol):
    def leave(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["area"] != "Lambeth"]

    folder = few_tables(
        tmp_path, residence=lambda r: r.assign(area="Croydon").drop(index=6), people=put("area", "Croydon"),
        area_counts=leave,
    )  # fmt: skip
    assert errors_of(checked(folder, protocol)) == {"people.area.treated_area_absent": 1}


@pytest.mark.parametrize("date", ["2013-04-01", "2014-01-01", "2016-01-01"])
def test_adoption_outside_the_window(tmp_path, protocol, date):
    folder = few_tables(tmp_path, areas=put("adoption_date", day(date), 0))
    assert errors_of(checked(folder, protocol)) == {"areas.adoption_date.adoption_outside_window": 1}


def test_adoption_missing_where_the_protocol_reads_it_from_areas(tmp_path):
    staggered = protocol_from_text(PROTOCOL.replace("adoption = 2015-04-01\n", ""))
    folder = few_tables(tmp_path, areas=put("adoption_date", pd.NaT, 0))
    assert errors_of(checked(folder, staggered)) == {"areas.adoption_date.adoption_missing": 1}


def test_adoption_that_differs_or_spoils_a_comparison_is_a_warning(tmp_path, protocol):
    folder = write_folder(tmp_path, areas=put("adoption_date", day("2015-07-01"), 0, 2))
    report = checked(folder, protocol)
    assert errors_of(report) == {}
    codes = {f.what for f in report.findings}
    assert codes == {"adoption_differs", "comparison_adopts"}


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.assign(birth_year=[2010] * 3 + list(p["birth_year"][3:])),
        lambda p: p.assign(birth_year=[1930] * 3 + list(p["birth_year"][3:])),
        lambda p: p.assign(death_date=day("2013-12-31")),
    ],
)
def test_nobody_eligible(tmp_path, protocol, change):
    assert errors_of(checked(few_tables(tmp_path, people=change), protocol)) == {"people.nobody_eligible": 0}


def test_programme_that_nobody_was_in(tmp_path):
    text = PROTOCOL.replace('by = "area"', 'by = "programme"\nprogramme = "icrs"')
    errors = errors_of(checked(write_folder(tmp_path), protocol_from_text(text)))
    assert errors == {"programme_episodes.programme.programme_absent": 1}


def test_periods_out_of_step_and_missing(tmp_path, protocol):
    folder = few_tables(tmp_path, area_counts=put("period_start", day("2014-05-01"), 1))
    report = checked(folder, protocol)
    assert errors_of(report) == {"area_counts.period_start.period_misaligned": 1}
    assert "area_counts.period_start.period_missing" in {f.code for f in report.findings}


def test_counts_alone_are_a_study(tmp_path):
    reported = PROTOCOL.split("[[outcomes]]")
    text = reported[0] + "[[outcomes]]" + reported[2].replace("placement_start", "reported")
    text = text.replace('settings = ["residential_care", "nursing_care"]\n', "")
    folder = write_folder(tmp_path, only=("areas", "area_counts"))
    assert check_tables(folder, protocol_from_text(text)).findings == ()
    (folder / "areas.parquet").unlink()
    assert "table_missing" in errors_of(checked(folder, None))


def test_missing_answers_and_gaps_in_coverage_are_warnings(tmp_path, protocol):
    days = pd.date_range("2014-01-01", "2015-12-31", freq="3D").astype("datetime64[s]")
    days = days[(days < "2014-07-01") | (days >= "2014-10-01")]
    contacts = pd.DataFrame({"person_id": "p-one", "date": days, "team": "t", "kind": "k", "attended": True})
    folder = write_folder(
        tmp_path, contacts=contacts, assessments=put("score", None, 0), ward_stays=put("legal_status", None, 0)
    )
    report = checked(folder, protocol)
    assert report.exit_code == 1
    found = {f.code: f for f in report.findings}
    assert set(found) == {"contacts.date.gap", "assessments.score.missing", "ward_stays.legal_status.missing"}
    assert found["contacts.date.gap"].count == 1
    assert "Lambeth (1 quarter)" in found["contacts.date.gap"].text
    assert found["assessments.score.missing"].count == 2


def test_all_faults_come_at_once(tmp_path, protocol):
    folder = few_tables(
        tmp_path,
        form="csv",
        people=lambda p: pd.concat([p, p.iloc[[0]]]).assign(sex="x"),
        residence=lambda r: r.assign(area="Atlantis"),
        ward_stays=lambda w: w.assign(start="soon"),
        placements=put("end", day("2013-12-31"), 0),
        hospital_spells=lambda h: h.drop(columns="start"),
        contacts=put("person_id", "p-nobody", 0),
        areas=put("adoption_date", day("2010-01-01"), 0),
    )
    (folder / "activities.csv").write_bytes(b"")
    (folder / "health_checks.csv").write_bytes(b"person_id,date,check,done\n\xff,2015-05-02,x,true\n")
    (folder / "placement.csv").write_text("x\n1\n", encoding="utf-8")
    expected = {
        "people.duplicate_key", "people.sex.outside_list", "residence.area.unknown_area",
        "ward_stays.start.wrong_type", "placements.end_before_start", "hospital_spells.start.missing_column",
        "contacts.person_id.not_in_people", "areas.adoption_date.adoption_outside_window",
        "activities.empty_file", "health_checks.not_utf8",
    }  # fmt: skip
    report = checked(folder, protocol)
    assert expected <= set(errors_of(report))
    with pytest.raises(DataError) as caught:
        require_usable(folder, protocol)
    assert caught.value.exit_code == report.exit_code == 2
    assert len(caught.value.faults) == report.count("error") >= 11
    assert {f.fault for f in report.findings if f.severity == "error"} == set(caught.value.faults)
    assert not PERSONAL.search(str(caught.value))
