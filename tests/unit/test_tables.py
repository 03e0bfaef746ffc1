"""Canonical tables: what is accepted, how it is typed, and that the content alone makes the digest."""

import hashlib
import shutil
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from evalkit.core.errors import DataError, ParameterError
from evalkit.core.outcomes import Setting, WardType
from evalkit.data import contract_table, data_dictionary_markdown, open_tables
from evalkit.data.codes import CODES
from evalkit.data.contracts import CONTRACTS, INFO, TABLE_NAMES, column_names
from evalkit.data.engine import connect, scan_csv, typed
from tests.data_factory import tables as fresh_tables
from tests.data_factory import write_folder

FEW = ("people", "ward_stays", "placements", "contacts")


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "tables")


@pytest.fixture
def few(tmp_path):
    return write_folder(tmp_path / "few", only=FEW)


def _snapshot(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def _rewrite(folder: Path, name: str, change) -> None:
    path = folder / f"{name}.csv"
    path.write_bytes(change(path.read_bytes()))


# ---- contracts ----------------------------------------------------------------------------------


def test_codes_are_those_of_the_protocol():
    assert tuple(CODES["setting"]) == get_args(Setting)
    assert tuple(CODES["ward_type"]) == get_args(WardType)


def test_every_table_has_a_valid_contract():
    assert set(CONTRACTS) == set(INFO) == set(fresh_tables())
    for name, frame in fresh_tables().items():
        assert tuple(frame.columns) == column_names(name)
        info = INFO[name]
        assert {*info.key, *info.apart} <= set(frame.columns)
        assert all(column in frame.columns for column in (info.start, info.end) if column)


def test_contract_table_and_dictionary_tell_every_column():
    table = contract_table()
    assert len(table) == sum(len(column_names(name)) for name in TABLE_NAMES)
    assert (table["meaning"].str.len() > 3).all()
    assert table.set_index(["table", "column"]).loc[("placements", "setting"), "allowed"].startswith("residential_care")
    text = data_dictionary_markdown()
    for name in TABLE_NAMES:
        assert f"\n## {name}\n" in text
        assert all(f"| `{column}` |" in text for column in column_names(name))


# ---- reading ------------------------------------------------------------------------------------


def test_reads_every_table_with_its_types(folder):
    tables = open_tables(folder)
    assert tables.names == TABLE_NAMES
    assert tables.notes == ()
    people = tables.read("people")
    assert list(people["person_id"]) == sorted(people["person_id"])
    assert {c: str(t) for c, t in people.dtypes.items()} == {
        "person_id": "str", "birth_year": "int64", "sex": "str", "ethnic_group": "str", "area": "str",
        "imd_decile": "Int64", "primary_diagnosis": "str", "dual_diagnosis": "boolean",
        "forensic_history": "boolean", "death_date": "datetime64[s]",
    }  # fmt: skip
    third = people.set_index("person_id").loc["p-three"]
    assert third["death_date"] == pd.Timestamp("2015-09-10")
    assert third[["imd_decile", "primary_diagnosis", "dual_diagnosis"]].isna().all()
    placements = tables.read("placements").set_index("placement_id")
    assert placements.loc["l2", "weekly_cost_gbp"] == 290.5
    assert placements.loc["l1", "provider"] == "Home, East"
    assert placements["end"].isna().sum() == 3
    stays = tables.read("ward_stays", ["end", "person_id"])
    assert list(stays.columns) == ["end", "person_id"]


def test_lazy_tables_compute_in_duckdb(folder):
    tables = open_tables(folder)
    stays = tables.ibis("ward_stays")
    assert stays.count().execute() == 6
    longest = (stays["end"] - stays["start"]).max()
    assert stays.aggregate(n=stays["end"].count(), d=longest).execute().loc[0, "n"] == 5
    assert list(stays.order_by("stay_id")["ward_type"].execute())[:2] == ["acute", "rehab"]
    assert sum(len(batch) for batch in stays.to_pyarrow_batches()) == 6
    assert tables.connection.name == "duckdb"


def test_unknown_names_are_refused_with_the_nearest(folder):
    tables = open_tables(folder)
    with pytest.raises(ParameterError, match='Did you mean "ward_stays"'):
        tables.has("ward_stay")
    with pytest.raises(ParameterError, match='Did you mean "person_id"'):
        tables.read("people", ["personid"])


def test_a_table_that_is_absent_is_said(tmp_path):
    tables = open_tables(write_folder(tmp_path, budgets=None))
    assert not tables.has("budgets")
    assert "budgets" not in tables.names
    with pytest.raises(DataError, match="not in the folder"):
        tables.read("budgets")


def test_reading_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "tables", form="csv")
    before = _snapshot(folder)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    folder.chmod(0o555)
    try:
        tables = open_tables(folder)
        tables.read("contacts")
        assert tables.digest
    finally:
        folder.chmod(0o755)
    assert _snapshot(folder) == before
    assert not any((tmp_path / "cwd").iterdir())


# ---- the content alone counts -------------------------------------------------------------------


def _same(few: Path, other: Path) -> None:
    one, two = open_tables(few), open_tables(other)
    assert one.digest == two.digest
    for name in ("people", "placements", "contacts"):
        pd.testing.assert_frame_equal(one.read(name), two.read(name))


def test_csv_and_parquet_hold_the_same(folder, tmp_path):
    _same(folder, write_folder(tmp_path / "csv", form="csv"))


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_order_and_extra_columns_do_not_matter(few, tmp_path, form):
    def shuffle(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.assign(a_note="x").sample(frac=1, random_state=3)
        return frame[list(frame.columns[::-1])]

    other = write_folder(tmp_path / "other", form=form, only=FEW, **dict.fromkeys(FEW, shuffle))
    _same(few, other)
    notes = open_tables(other).notes
    assert sum("1 extra column was left alone: a_note" in note for note in notes) == len(FEW)
    assert any("another order" in note for note in notes)


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("people", "sex", "other"), ("placements", "weekly_cost_gbp", 0.1), ("ward_stays", "start", "2014-01-31")],
)
def test_one_changed_cell_changes_the_digest(few, tmp_path, table, column, value):
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.copy()
        frame.loc[0, column] = pd.Timestamp(value) if column == "start" else value
        return frame

    assert open_tables(few).digest != open_tables(write_folder(tmp_path / "other", only=FEW, **{table: change})).digest


def test_digest_counts_rows_and_tells_cells_apart(tmp_path):
    base = open_tables(write_folder(tmp_path / "a", only=FEW)).digest

    def digest(name: str, change) -> str:
        return open_tables(write_folder(tmp_path / name, only=FEW, contacts=change)).digest

    twice = digest("b", lambda c: pd.concat([c, c]))
    moved = digest("c", lambda c: c.assign(team=c["team"] + "v", kind=c["kind"].str[1:]))
    gone = open_tables(write_folder(tmp_path / "d", only=FEW, contacts=None)).digest
    none = digest("e", lambda c: c.iloc[:0])
    assert len({base, twice, moved, gone, none}) == 5


def test_digest_does_not_see_the_sign_of_nought(tmp_path):
    folders = [
        write_folder(tmp_path / name, only=FEW, placements=lambda p, zero=zero: p.assign(weekly_cost_gbp=zero))
        for name, zero in (("plus", 0.0), ("minus", -0.0))
    ]
    assert open_tables(folders[0]).digest == open_tables(folders[1]).digest


def test_parquet_parts_are_one_table(few, tmp_path):
    parted = tmp_path / "parted"
    shutil.copytree(few, parted)
    whole = pd.read_parquet(parted / "ward_stays.parquet")
    (parted / "ward_stays.parquet").unlink()
    (parted / "ward_stays").mkdir()
    for place, part in enumerate((whole.iloc[4:], whole.iloc[:4])):
        part.to_parquet(parted / "ward_stays" / f"part-{place}.parquet", index=False)
    _same(few, parted)


# ---- odd but accepted ---------------------------------------------------------------------------


def test_byte_order_mark_and_semicolons_are_accepted_and_said(few, tmp_path):
    other = write_folder(tmp_path / "csv", form="csv", only=FEW)
    frame = fresh_tables()["placements"]
    frame.to_csv(other / "placements.csv", sep=";", index=False, encoding="utf-8-sig")
    _same(few, other)
    notes = [note for note in open_tables(other).notes if note.startswith("placements")]
    assert len(notes) == 2
    assert "byte-order mark" in notes[0]
    assert "semicolons" in notes[1]


def test_other_line_ends_and_tabs_and_a_saved_index(few, tmp_path):
    other = write_folder(tmp_path / "csv", form="csv", only=FEW)
    _rewrite(other, "people", lambda text: text.replace(b"\n", b"\r\n"))
    fresh_tables()["ward_stays"].to_csv(other / "ward_stays.csv", sep="\t")
    _same(few, other)
    assert any("tabs" in note for note in open_tables(other).notes)


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("YES", "no"), ("True", "False"), ("t", "f")])
def test_yes_and_no_in_many_words(few, tmp_path, yes, no):
    words = {True: yes, False: no}

    def spell(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(attended=frame["attended"].map(words))

    _same(few, write_folder(tmp_path / "csv", form="csv", only=FEW, contacts=spell))


def test_blanks_and_words_for_missing_are_read_as_such(few, tmp_path):
    other = write_folder(tmp_path / "csv", form="csv", only=FEW)
    _rewrite(other, "people", lambda text: text.replace(b"p-three,", b'" p-three ",').replace(b",,,", b",NA,NULL,"))
    tables = open_tables(other)
    assert tables.digest == open_tables(few).digest
    assert any("read as empty" in note for note in tables.notes)


def test_whole_numbers_may_end_in_point_nought_and_dates_carry_midnight(few, tmp_path):
    def loosen(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({"birth_year": "float64", "imd_decile": "float64"})
        return frame.assign(death_date=frame["death_date"].dt.strftime("%Y-%m-%d 00:00:00"))

    _same(few, write_folder(tmp_path / "csv", form="csv", only=FEW, people=loosen))
    _same(few, write_folder(tmp_path / "parquet", only=FEW, people=loosen))


def test_columns_without_one_value_are_read_as_their_type(few, tmp_path):
    bare = ("imd_decile", "primary_diagnosis", "dual_diagnosis", "death_date")

    def empty(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.astype(dict.fromkeys(bare, object)).assign(**dict.fromkeys(bare))

    other = write_folder(tmp_path / "bare", only=FEW, people=empty)
    people = open_tables(other).read("people")
    assert people.dtypes.equals(open_tables(few).read("people").dtypes)
    assert people[list(bare)].isna().all(axis=None)
    assert (
        open_tables(other).digest
        == open_tables(write_folder(tmp_path / "csv", form="csv", only=FEW, people=empty)).digest
    )


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("date", "2015-04-01", "2015-04-01"), ("date", "2015-02-30", None), ("date", "01/04/2015", None),
        ("date", "2015-04-01 09:30:00", None), ("date", "2015-4-1", None), ("date", "20150401", None),
        ("whole number", "5", 5), ("whole number", "5.0", 5), ("whole number", "5.5", None),
        ("whole number", "five", None), ("number", "1e3", 1000.0), ("number", "inf", None), ("number", "1,5", None),
        ("yes/no", "maybe", None), ("yes/no", "No", False), ("text", "  x ", "x"), ("text", "None", None),
    ],
)  # fmt: skip
def test_cells_are_cast_or_left_empty_never_guessed(tmp_path, kind, text, expected):
    path = tmp_path / "cell[1]*.csv"
    path.write_text(f'value\n"{text}"\n', encoding="utf-8")
    raw = scan_csv(connect(), "cell", path, columns=["value"], delimiter=",")
    value = raw.select(value=typed(raw["value"], kind)).to_pyarrow().to_pylist()[0]["value"]
    assert (str(value) if kind == "date" and value else value) == expected
