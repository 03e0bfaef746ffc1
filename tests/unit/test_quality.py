"""Bad input: every fault told at once, as counts, with exit code 2; no person's row is ever printed."""

import io
import re
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from evalkit.core.errors import DataError
from evalkit.core.protocol import Protocol, protocol_from_text
from evalkit.data import check_tables, open_tables, require_usable
from evalkit.data.quality import QualityReport
from tests.data_factory import PROTOCOL, tables, write_folder

# What may never be printed: anybody's identifier, and any date of an event.
PERSONAL = re.compile(r"p-(one|two|three|four|five|six|nobody)|20(13|14|15)-(02|03|05|06|08|09|11)-\d\d|2015-01-05")


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return protocol_from_text(PROTOCOL)


def _printed(report: QualityReport) -> str:
    console = Console(file=io.StringIO(), width=100)
    report.render(console)
    return console.file.getvalue()


def _check(folder, protocol: Protocol | None) -> QualityReport:
    """The report, after a look at what it prints."""
    report = check_tables(folder, protocol)
    printed = _printed(report)
    assert not PERSONAL.search(printed), printed
    assert all(len(line.rstrip()) <= 100 for line in printed.splitlines())
    assert report.exit_code == (2 if report.count("error") else 1 if report.count("warning") else 0)
    assert not any(PERSONAL.search(finding.fault.text) for finding in report.findings)
    return report


def _errors(report: QualityReport) -> dict[str, int]:
    """Codes and counts of the errors."""
    return {finding.code: finding.count for finding in report.findings if finding.severity == "error"}


def _warnings(report: QualityReport) -> dict[str, int]:
    return {finding.code: finding.count for finding in report.findings if finding.severity == "warning"}


def _text(report: QualityReport, code: str) -> str:
    return next(finding.text for finding in report.findings if finding.code == code)


def _few(path, *, form: Literal["parquet", "csv"] = "parquet", **changes):
    """The tables that the protocol needs, and those that a test changes."""
    return write_folder(path, form=form, only=("people", "ward_stays", "placements", "unit_costs", *changes), **changes)


def _set(column: str, value, *rows: int):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = (
            frame.astype({column: object}) if isinstance(value, str) and column in ("start", "end") else frame.copy()
        )
        frame.loc[list(rows) or slice(None), column] = value
        return frame

    return change


def _day(text: str) -> pd.Timestamp:
    return pd.Timestamp(text)


# ---- nothing wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_good_tables_have_no_findings(tmp_path, protocol, form):
    folder = write_folder(tmp_path, form=form)
    report = check_tables(folder, protocol)
    assert report.findings == ()
    assert report.exit_code == 0
    assert report.verdict == "These tables can be used."
    assert require_usable(folder, protocol).names == tuple(tables())
    counts = report.tables.set_index("table")
    assert counts.loc["residence", ["rows", "people"]].tolist() == [7, 6]
    assert pd.isna(counts.loc["areas", "people"])
    missing = report.missing.set_index(["table", "column"])["missing"]
    assert missing[("people", "imd_decile")] == 1
    assert missing[("placements", "end")] == 3
    coverage = report.coverage.set_index(["table", "area", "quarter"])["rows"]
    # The move of one person in June 2015 takes the placement of May with the old area.
    assert coverage[("placements", "Lambeth", "2015-04")] == 1
    assert coverage[("ward_stays", "Lambeth", "2014-01")] == 2
    assert coverage["area_counts"].sum() == 32


def test_without_a_protocol_good_tables_pass_too(tmp_path):
    assert check_tables(write_folder(tmp_path)).exit_code == 0


def test_printout_says_rows_empties_and_coverage(tmp_path, protocol):
    printed = _printed(check_tables(write_folder(tmp_path), protocol))
    assert re.search(r"ward_stays +6 +4 +\d", printed)
    assert re.search(r"area_counts +each of 4 areas +8 +1 +1 +████████", printed)
    assert re.search(r"placements.end +3 +75.0 +still open", printed)
    assert re.search(r"ward_stays +Croydon +2 +0 +1 +····▄··▄ *\n +Lambeth +4 +0 +2 +█▄····▄·", printed)


# ---- files --------------------------------------------------------------------------------------


def test_no_folder_and_a_file_for_a_folder(tmp_path, protocol):
    with pytest.raises(DataError, match="no such folder"):
        check_tables(tmp_path / "absent", protocol)
    file = tmp_path / "people.csv"
    file.write_text("person_id\n", encoding="utf-8")
    with pytest.raises(DataError, match="this is a file"):
        open_tables(file)


def test_folder_without_any_table(tmp_path, protocol):
    (tmp_path / "notes.txt").write_text("hello", encoding="utf-8")
    assert "no_table" in _errors(_check(tmp_path, protocol))
    pd.DataFrame({"x": [1]}).to_csv(tmp_path / "episodes.csv")
    assert "found: episodes.csv" in _text(_check(tmp_path, protocol), "no_table")


def test_people_missing(tmp_path, protocol):
    folder = _few(tmp_path, people=None)
    assert "people.table_missing" in _errors(_check(folder, protocol))
    assert "people.table_missing" in _errors(_check(folder, None))


def test_table_that_one_outcome_needs_is_a_warning_and_that_all_need_an_error(tmp_path, protocol):
    folder = _few(tmp_path / "a", ward_stays=None)
    assert _errors(_check(folder, protocol)) == {}
    report = _check(folder, protocol)
    assert report.exit_code == 1
    assert "without ward_stays there is no estimate of readmission_90d" in report.findings[0].text
    folder = write_folder(tmp_path / "b", only=("people", "contacts"))
    errors = _errors(_check(folder, protocol))
    assert {code.split(".")[1] for code in errors} == {"table_missing"}


def test_table_misspelt(tmp_path, protocol):
    folder = _few(tmp_path, ward_stays=None)
    tables()["ward_stays"].to_csv(folder / "ward_stay.csv", index=False)
    report = _check(folder, protocol)
    assert "ward_stay.table_misspelt" in _errors(report)
    assert 'Did you mean "ward_stays"' in _text(report, "ward_stay.table_misspelt")


def test_table_there_twice(tmp_path, protocol):
    folder = _few(tmp_path)
    tables()["people"].to_csv(folder / "people.csv", index=False)
    assert _errors(_check(folder, protocol))["people.there_twice"] == 2


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
def test_empty_file(tmp_path, protocol, content):
    folder = _few(tmp_path, form="csv")
    (folder / "people.csv").write_bytes(content)
    assert _errors(_check(folder, protocol)) == {"people.empty_file": 1}


def test_table_without_a_row(tmp_path, protocol):
    folder = _few(tmp_path, form="csv", placements=lambda p: p.iloc[:0], budgets=lambda b: b.iloc[:0])
    report = _check(folder, protocol)
    assert _errors(report) == {"placements.no_rows": 1}
    assert "budgets.no_rows" in {f.code for f in report.findings if f.severity == "warning"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_not_utf8(tmp_path, protocol, encoding):
    folder = _few(tmp_path, form="csv")
    frame = tables()["placements"].assign(provider="Café")
    frame.to_csv(folder / "placements.csv", index=False, encoding=encoding)
    assert _errors(_check(folder, protocol)) == {"placements.not_utf8": 1}


def test_first_line_is_a_row(tmp_path, protocol):
    folder = _few(tmp_path, form="csv")
    tables()["people"].to_csv(folder / "people.csv", index=False, header=False)
    assert _errors(_check(folder, protocol)) == {"people.no_header": 1}


@pytest.mark.parametrize("line", ['p-one,"x', "p-one", "p-one,2015-05-02,a,b,true,more"])
def test_ragged_lines_are_not_quoted(tmp_path, protocol, line):
    folder = _few(tmp_path, form="csv", contacts=lambda c: c)
    with (folder / "contacts.csv").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    assert _errors(_check(folder, protocol)) == {"contacts.unreadable": 1}


def test_damaged_parquet(tmp_path, protocol):
    folder = _few(tmp_path)
    (folder / "contacts.parquet").write_bytes(b"PAR1 not really PAR1")
    assert _errors(_check(folder, protocol)) == {"contacts.unreadable": 1}


# ---- columns and cells --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_column_missing_or_misspelt(tmp_path, protocol, form):
    folder = _few(
        tmp_path, form=form, people=lambda p: p.rename(columns={"birth_year": "Birth-Year"}).drop(columns="sex")
    )
    report = _check(folder, protocol)
    assert set(_errors(report)) == {"people.birth_year.missing_column", "people.sex.missing_column"}
    text = _text(report, "people.birth_year.missing_column")
    assert 'The nearest column that is there is "Birth-Year"' in text


def test_column_twice(tmp_path, protocol):
    folder = _few(tmp_path, form="csv")
    frame = tables()["residence"]
    pd.concat([frame, frame["area"]], axis=1).to_csv(folder / "residence.csv", index=False)
    assert _errors(_check(folder, protocol)) == {"residence.column_twice": 1}


def test_wrong_types_in_csv_are_counted(tmp_path, protocol):
    folder = _few(
        tmp_path,
        form="csv",
        people=lambda p: p.astype({"birth_year": object}).assign(birth_year=["about 1970", *p["birth_year"][1:]]),
        placements=lambda p: p.astype({"weekly_cost_gbp": object}).assign(weekly_cost_gbp="£1540"),
        contacts=lambda c: c.assign(attended=["perhaps", "true"]),
    )
    assert _errors(_check(folder, protocol)) == {
        "people.birth_year.wrong_type": 1,
        "placements.weekly_cost_gbp.wrong_type": 4,
        "contacts.attended.wrong_type": 1,
    }


@pytest.mark.parametrize("bad", ["01/05/2015", "2015-02-30", "May", "2015-05-02 10:00:00"])
def test_dates_that_are_not_dates(tmp_path, protocol, bad):
    folder = _few(tmp_path, form="csv", contacts=lambda c: c.assign(date=["2015-05-02", bad]))
    assert _errors(_check(folder, protocol)) == {"contacts.date.wrong_type": 1}


def test_wrong_types_in_parquet(tmp_path, protocol):
    folder = _few(
        tmp_path,
        placements=lambda p: p.assign(start=p["start"].astype("int64")),
        contacts=lambda c: c.assign(date=c["date"] + pd.Timedelta(hours=9), attended=[2, 1]),
        assessments=lambda a: a.assign(score=np.inf),
    )
    errors = _errors(_check(folder, protocol))
    assert errors == {
        "placements.start.wrong_type": 0,
        "contacts.date.wrong_type": 2,
        "contacts.attended.wrong_type": 1,
        "assessments.score.wrong_type": 6,
    }


def test_empty_cells_where_none_may_be(tmp_path, protocol):
    folder = _few(tmp_path, residence=_set("start", None, 0), contacts=_set("team", None))
    assert _errors(_check(folder, protocol)) == {"residence.start.empty_cells": 1, "contacts.team.empty_cells": 2}


def test_codes_outside_their_list(tmp_path, protocol):
    folder = _few(
        tmp_path,
        people=_set("sex", "femal", 0, 1),
        placements=_set("setting", "Flat 3, p-nobody", 3),
        ward_stays=_set("legal_status", "section_4", 0),
    )
    report = _check(folder, protocol)
    assert _errors(report) == {"people.sex.outside_list": 2, "placements.setting.outside_list": 1}
    assert '"femal". Did you mean "female"' in _text(report, "people.sex.outside_list")
    assert "Among them" not in _text(report, "placements.setting.outside_list")
    warnings = [f.code for f in report.findings if f.severity == "warning"]
    assert "ward_stays.legal_status.outside_list" in warnings


def test_numbers_out_of_range(tmp_path, protocol):
    folder = _few(
        tmp_path,
        people=_set("birth_year", 70, 0),
        placements=_set("weekly_cost_gbp", -1.0, 0),
        area_counts=_set("person_time", 0.0, 3),
    )
    assert _errors(_check(folder, protocol)) == {
        "people.birth_year.out_of_range": 1,
        "placements.weekly_cost_gbp.negative": 1,
        "area_counts.person_time.not_positive": 1,
    }


# ---- rows against each other --------------------------------------------------------------------


def test_end_before_start(tmp_path, protocol):
    folder = _few(
        tmp_path, ward_stays=_set("end", _day("2014-01-31"), 0), placements=_set("end", _day("2013-12-31"), 0)
    )
    errors = _errors(_check(folder, protocol))
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
        frame.loc[row, "start"] = _day(start)
        frame.loc[row, "end"] = _day(end) if end else pd.NaT
        return frame

    assert _errors(_check(_few(tmp_path, **{table: overlap}), protocol)) == {f"{table}.overlap": 1}


def test_overlap_with_one_that_began_long_before(tmp_path, protocol):
    rows = [("2014-01-01", "2014-12-31"), ("2014-02-01", "2014-02-05"), ("2014-03-01", "2014-03-05")]
    placements = pd.concat([tables()["placements"].iloc[[3]]] * 3, ignore_index=True)
    placements = placements.assign(
        placement_id=["a", "b", "c"],
        start=[_day(start) for start, _ in rows],
        end=[_day(end) for _, end in rows],
    )
    folder = _few(tmp_path, placements=placements)
    report = _check(folder, protocol)
    assert _errors(report) == {"placements.overlap": 2}
    assert "2 rows of 1 person begin" in _text(report, "placements.overlap")


def test_duplicate_keys(tmp_path, protocol):
    folder = _few(
        tmp_path,
        people=lambda p: pd.concat([p, p.iloc[[0, 0]]]),
        areas=lambda a: pd.concat([a, a.iloc[[1]]]),
        contacts=lambda c: pd.concat([c, c.iloc[[0]]]),
    )
    report = _check(folder, protocol)
    assert _errors(report) == {"people.duplicate_key": 2, "areas.duplicate_key": 1}
    assert "contacts.duplicate_row" in {f.code for f in report.findings}


def test_events_of_people_who_are_not_in_people(tmp_path, protocol):
    folder = _few(tmp_path, ward_stays=_set("person_id", "p-nobody", 0, 1), contacts=_set("person_id", "p-nobody", 0))
    report = _check(folder, protocol)
    errors = _errors(report)
    assert errors["ward_stays.person_id.not_in_people"] == 2
    assert errors["contacts.person_id.not_in_people"] == 1
    assert "2 rows of 1 person not in people" in _text(report, "ward_stays.person_id.not_in_people")


def test_hospital_spell_of_two_people(tmp_path, protocol):
    folder = _few(tmp_path, ward_stays=_set("spell_id", "h1", 4))
    assert _errors(_check(folder, protocol)) == {"ward_stays.spell_id.spell_of_two": 1}


def test_impossible_dates_are_warnings(tmp_path, protocol):
    folder = write_folder(
        tmp_path,
        people=lambda p: p.assign(
            birth_year=[2014, *p["birth_year"][1:]], death_date=[_day("2014-03-15"), *p["death_date"][1:]]
        ),
        contacts=_set("date", _day("2300-01-01"), 1),
        ward_stays=_set("ready_date", _day("2015-05-01"), 1),
    )
    report = _check(folder, protocol)
    assert _errors(report) == {}
    found = {f.code: f.count for f in report.findings if f.severity == "warning"}
    assert found["ward_stays.start.after_death"] == 1
    assert found["ward_stays.end.open_after_death"] == 1
    assert found["residence.start.before_birth"] == 1
    assert found["contacts.date.placeholder_date"] == 1
    assert found["ward_stays.ready_outside_stay"] == 1


# ---- the protocol -------------------------------------------------------------------------------


def test_unknown_area(tmp_path, protocol):
    folder = _few(tmp_path, people=_set("area", "Lambth", 0), residence=_set("area", "12 High Street", 4))
    report = _check(folder, protocol)
    assert _errors(report) == {"people.area.unknown_area": 1, "residence.area.unknown_area": 1}
    assert 'Did you mean "Lambeth"' in _text(report, "people.area.unknown_area")
    assert "High Street" not in _text(report, "residence.area.unknown_area")


def test_treated_area_absent(tmp_path, protocol):
    def leave(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["area"] != "Lambeth"]

    folder = _few(
        tmp_path, residence=lambda r: r.assign(area="Croydon").drop(index=6), people=_set("area", "Croydon"),
        area_counts=leave,
    )  # fmt: skip
    assert _errors(_check(folder, protocol)) == {"people.area.treated_area_absent": 1}


@pytest.mark.parametrize("date", ["2013-04-01", "2014-01-01", "2016-01-01"])
def test_adoption_outside_the_window(tmp_path, protocol, date):
    folder = _few(tmp_path, areas=_set("adoption_date", _day(date), 0))
    assert _errors(_check(folder, protocol)) == {"areas.adoption_date.adoption_outside_window": 1}


def test_adoption_missing_where_the_protocol_reads_it_from_areas(tmp_path):
    staggered = protocol_from_text(PROTOCOL.replace("adoption = 2015-04-01\n", ""))
    folder = _few(tmp_path, areas=_set("adoption_date", pd.NaT, 0))
    assert _errors(_check(folder, staggered)) == {"areas.adoption_date.adoption_missing": 1}


def test_adoption_that_differs_or_spoils_a_comparison_is_a_warning(tmp_path, protocol):
    folder = write_folder(tmp_path, areas=_set("adoption_date", _day("2015-07-01"), 0, 2))
    report = _check(folder, protocol)
    assert _errors(report) == {}
    codes = {f.what for f in report.findings}
    assert codes == {"adoption_differs", "comparison_adopts"}


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p.assign(birth_year=[2010] * 3 + list(p["birth_year"][3:])),
        lambda p: p.assign(birth_year=[1930] * 3 + list(p["birth_year"][3:])),
        lambda p: p.assign(death_date=_day("2013-12-31")),
    ],
)
def test_nobody_eligible(tmp_path, protocol, change):
    assert _errors(_check(_few(tmp_path, people=change), protocol)) == {"people.nobody_eligible": 0}


def test_programme_that_nobody_was_in(tmp_path):
    text = PROTOCOL.replace('by = "area"', 'by = "programme"\nprogramme = "icrs"')
    errors = _errors(_check(write_folder(tmp_path), protocol_from_text(text)))
    assert errors == {"programme_episodes.programme.programme_absent": 1}


def test_periods_out_of_step_and_missing(tmp_path, protocol):
    folder = _few(tmp_path, area_counts=_set("period_start", _day("2014-05-01"), 1))
    report = _check(folder, protocol)
    assert _errors(report) == {"area_counts.period_start.period_misaligned": 1}
    assert "area_counts.period_start.period_missing" in {f.code for f in report.findings}


def test_counts_alone_are_a_study(tmp_path):
    reported = PROTOCOL.split("[[outcomes]]")
    text = reported[0] + "[[outcomes]]" + reported[2].replace("placement_start", "reported")
    text = text.replace('settings = ["residential_care", "nursing_care"]\n', "")
    folder = write_folder(tmp_path, only=("areas", "area_counts"))
    assert check_tables(folder, protocol_from_text(text)).findings == ()
    (folder / "areas.parquet").unlink()
    assert "table_missing" in _errors(_check(folder, None))


def test_missing_answers_and_gaps_in_coverage_are_warnings(tmp_path, protocol):
    days = pd.date_range("2014-01-01", "2015-12-31", freq="3D").astype("datetime64[s]")
    days = days[(days < "2014-07-01") | (days >= "2014-10-01")]
    contacts = pd.DataFrame({"person_id": "p-one", "date": days, "team": "t", "kind": "k", "attended": True})
    folder = write_folder(
        tmp_path, contacts=contacts, assessments=_set("score", None, 0), ward_stays=_set("legal_status", None, 0)
    )
    report = _check(folder, protocol)
    assert report.exit_code == 1
    found = {f.code: f for f in report.findings}
    assert set(found) == {"contacts.date.gap", "assessments.score.missing", "ward_stays.legal_status.missing"}
    assert found["contacts.date.gap"].count == 1
    assert "Lambeth (1 quarter)" in found["contacts.date.gap"].text
    assert found["assessments.score.missing"].count == 2


def test_all_faults_come_at_once(tmp_path, protocol):
    folder = _few(
        tmp_path,
        form="csv",
        people=lambda p: pd.concat([p, p.iloc[[0]]]).assign(sex="x"),
        residence=lambda r: r.assign(area="Atlantis"),
        ward_stays=lambda w: w.assign(start="soon"),
        placements=_set("end", _day("2013-12-31"), 0),
        hospital_spells=lambda h: h.drop(columns="start"),
        contacts=_set("person_id", "p-nobody", 0),
        areas=_set("adoption_date", _day("2010-01-01"), 0),
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
    report = _check(folder, protocol)
    assert expected <= set(_errors(report))
    with pytest.raises(DataError) as caught:
        require_usable(folder, protocol)
    assert caught.value.exit_code == report.exit_code == 2
    assert len(caught.value.faults) == report.count("error") >= 11
    assert {f.fault for f in report.findings if f.severity == "error"} == set(caught.value.faults)
    assert not PERSONAL.search(str(caught.value))
