"""Files, columns and cells that are bad: every fault as a count, with exit code 2, nobody quoted."""

import re

import numpy as np
import pandas as pd
import pytest

from evalkit.core.errors import DataError
from evalkit.core.protocol import Protocol, protocol_from_text
from evalkit.data import check_tables, open_tables, require_usable
from tests.data_factory import PROTOCOL, tables, write_folder
from tests.quality_helpers import checked, errors_of, few_tables, printed, put, text_of


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    return protocol_from_text(PROTOCOL)


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
    shown = printed(check_tables(write_folder(tmp_path), protocol))
    assert re.search(r"ward_stays +6 +4 +\d", shown)
    assert re.search(r"area_counts +each of 4 areas +8 +1 +1 +████████", shown)
    assert re.search(r"placements.end +3 +75.0 +still open", shown)
    assert re.search(r"ward_stays +Croydon +2 +0 +1 +····▄··▄ *\n +Lambeth +4 +0 +2 +█▄····▄·", shown)


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
    assert "no_table" in errors_of(checked(tmp_path, protocol))
    pd.DataFrame({"x": [1]}).to_csv(tmp_path / "episodes.csv")
    assert "found: episodes.csv" in text_of(checked(tmp_path, protocol), "no_table")


def test_people_missing(tmp_path, protocol):
    folder = few_tables(tmp_path, people=None)
    assert "people.table_missing" in errors_of(checked(folder, protocol))
    assert "people.table_missing" in errors_of(checked(folder, None))


def test_table_that_one_outcome_needs_is_a_warning_and_that_all_need_an_error(tmp_path, protocol):
    folder = few_tables(tmp_path / "a", ward_stays=None)
    assert errors_of(checked(folder, protocol)) == {}
    report = checked(folder, protocol)
    assert report.exit_code == 1
    assert "without ward_stays there is no estimate of readmission_90d" in report.findings[0].text
    folder = write_folder(tmp_path / "b", only=("people", "contacts"))
    errors = errors_of(checked(folder, protocol))
    assert {code.split(".")[1] for code in errors} == {"table_missing"}


def test_table_misspelt(tmp_path, protocol):
    folder = few_tables(tmp_path, ward_stays=None)
    tables()["ward_stays"].to_csv(folder / "ward_stay.csv", index=False)
    report = checked(folder, protocol)
    assert "ward_stay.table_misspelt" in errors_of(report)
    assert 'Did you mean "ward_stays"' in text_of(report, "ward_stay.table_misspelt")


def test_table_there_twice(tmp_path, protocol):
    folder = few_tables(tmp_path)
    tables()["people"].to_csv(folder / "people.csv", index=False)
    assert errors_of(checked(folder, protocol))["people.there_twice"] == 2


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf"])
def test_empty_file(tmp_path, protocol, content):
    folder = few_tables(tmp_path, form="csv")
    (folder / "people.csv").write_bytes(content)
    assert errors_of(checked(folder, protocol)) == {"people.empty_file": 1}


def test_table_without_a_row(tmp_path, protocol):
    folder = few_tables(tmp_path, form="csv", placements=lambda p: p.iloc[:0], budgets=lambda b: b.iloc[:0])
    report = checked(folder, protocol)
    assert errors_of(report) == {"placements.no_rows": 1}
    assert "budgets.no_rows" in {f.code for f in report.findings if f.severity == "warning"}


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_not_utf8(tmp_path, protocol, encoding):
    folder = few_tables(tmp_path, form="csv")
    frame = tables()["placements"].assign(provider="Café")
    frame.to_csv(folder / "placements.csv", index=False, encoding=encoding)
    assert errors_of(checked(folder, protocol)) == {"placements.not_utf8": 1}


def test_first_line_is_a_row(tmp_path, protocol):
    folder = few_tables(tmp_path, form="csv")
    tables()["people"].to_csv(folder / "people.csv", index=False, header=False)
    assert errors_of(checked(folder, protocol)) == {"people.no_header": 1}


@pytest.mark.parametrize("line", ['p-one,"x', "p-one", "p-one,2015-05-02,a,b,true,more"])
def test_ragged_lines_are_not_quoted(tmp_path, protocol, line):
    folder = few_tables(tmp_path, form="csv", contacts=lambda c: c)
    with (folder / "contacts.csv").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    assert errors_of(checked(folder, protocol)) == {"contacts.unreadable": 1}


def test_damaged_parquet(tmp_path, protocol):
    folder = few_tables(tmp_path)
    (folder / "contacts.parquet").write_bytes(b"PAR1 not really PAR1")
    assert errors_of(checked(folder, protocol)) == {"contacts.unreadable": 1}


# ---- columns and cells --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_column_missing_or_misspelt(tmp_path, protocol, form):
    folder = few_tables(
        tmp_path, form=form, people=lambda p: p.rename(columns={"birth_year": "Birth-Year"}).drop(columns="sex")
    )
    report = checked(folder, protocol)
    assert set(errors_of(report)) == {"people.birth_year.missing_column", "people.sex.missing_column"}
    text = text_of(report, "people.birth_year.missing_column")
    assert 'The nearest column that is there is "Birth-Year"' in text


def test_column_twice(tmp_path, protocol):
    folder = few_tables(tmp_path, form="csv")
    frame = tables()["residence"]
    pd.concat([frame, frame["area"]], axis=1).to_csv(folder / "residence.csv", index=False)
    assert errors_of(checked(folder, protocol)) == {"residence.column_twice": 1}


def test_wrong_types_in_csv_are_counted(tmp_path, protocol):
    folder = few_tables(
        tmp_path,
        form="csv",
        people=lambda p: p.astype({"birth_year": object}).assign(birth_year=["about 1970", *p["birth_year"][1:]]),
        placements=lambda p: p.astype({"weekly_cost_gbp": object}).assign(weekly_cost_gbp="£1540"),
        contacts=lambda c: c.assign(attended=["perhaps", "true"]),
    )
    assert errors_of(checked(folder, protocol)) == {
        "people.birth_year.wrong_type": 1,
        "placements.weekly_cost_gbp.wrong_type": 4,
        "contacts.attended.wrong_type": 1,
    }


@pytest.mark.parametrize("bad", ["01/05/2015", "2015-02-30", "May", "2015-05-02 10:00:00"])
def test_dates_that_are_not_dates(tmp_path, protocol, bad):
    folder = few_tables(tmp_path, form="csv", contacts=lambda c: c.assign(date=["2015-05-02", bad]))
    assert errors_of(checked(folder, protocol)) == {"contacts.date.wrong_type": 1}


def test_wrong_types_in_parquet(tmp_path, protocol):
    folder = few_tables(
        tmp_path,
        placements=lambda p: p.assign(start=p["start"].astype("int64")),
        contacts=lambda c: c.assign(date=c["date"] + pd.Timedelta(hours=9), attended=[2, 1]),
        assessments=lambda a: a.assign(score=np.inf),
    )
    errors = errors_of(checked(folder, protocol))
    assert errors == {
        "placements.start.wrong_type": 0,
        "contacts.date.wrong_type": 2,
        "contacts.attended.wrong_type": 1,
        "assessments.score.wrong_type": 6,
    }


def test_empty_cells_where_none_may_be(tmp_path, protocol):
    folder = few_tables(tmp_path, residence=put("start", None, 0), contacts=put("team", None))
    assert errors_of(checked(folder, protocol)) == {"residence.start.empty_cells": 1, "contacts.team.empty_cells": 2}


def test_codes_outside_their_list(tmp_path, protocol):
    folder = few_tables(
        tmp_path,
        people=put("sex", "femal", 0, 1),
        placements=put("setting", "Flat 3, p-nobody", 3),
        ward_stays=put("legal_status", "section_4", 0),
    )
    report = checked(folder, protocol)
    assert errors_of(report) == {"people.sex.outside_list": 2, "placements.setting.outside_list": 1}
    assert '"femal". Did you mean "female"' in text_of(report, "people.sex.outside_list")
    assert "Among them" not in text_of(report, "placements.setting.outside_list")
    assert "smith" not in text_of(checked(few_tables(tmp_path / "b", people=put("sex", "smith_john", 0)), protocol),
                                  "people.sex.outside_list")  # fmt: skip
    warnings = [f.code for f in report.findings if f.severity == "warning"]
    assert "ward_stays.legal_status.outside_list" in warnings


def test_numbers_out_of_range(tmp_path, protocol):
    folder = few_tables(
        tmp_path,
        people=put("birth_year", 70, 0),
        placements=put("weekly_cost_gbp", -1.0, 0),
        area_counts=put("person_time", 0.0, 3),
    )
    assert errors_of(checked(folder, protocol)) == {
        "people.birth_year.out_of_range": 1,
        "placements.weekly_cost_gbp.negative": 1,
        "area_counts.person_time.not_positive": 1,
    }
