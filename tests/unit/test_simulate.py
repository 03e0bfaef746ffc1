"""Simulated worlds: settings, bytes, and tables that could be true."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.core.errors import OutputError, ParameterError
from evalkit.core.protocol import load_protocol
from evalkit.data.contracts import data_dictionary_markdown
from evalkit.data.quality import check_tables
from evalkit.simulate import WorldSettings, load_settings, simulate_world, write_world
from evalkit.simulate.people import choose, uniform

ROOT = Path(__file__).parents[2]
SETTINGS = ROOT / "data" / "synthetic" / "settings" / "ipsa.toml"
COMMITTED = ROOT / "data" / "synthetic" / "ipsa"


@pytest.fixture(scope="module")
def settings() -> WorldSettings:
    return load_settings(SETTINGS)


@pytest.fixture(scope="module")
def small(settings):
    return settings.changed(world={"scale": 0.1})


@pytest.fixture(scope="module")
def world(settings):
    return simulate_world(settings, seed=7)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_committed_world_comes_out_byte_for_byte(settings, tmp_path):
    write_world(settings, tmp_path / "ipsa", seed=settings.world.seed)
    made, kept = bytes_of(tmp_path / "ipsa"), bytes_of(COMMITTED)
    kept.pop("DATA_DICTIONARY.md")
    assert [name for name in kept if made.get(name) != kept[name]] == []
    assert set(made) == set(kept)
    assert sum(len(content) for content in kept.values()) < 10_000_000


def test_the_committed_dictionary_is_the_present_one():
    assert (COMMITTED / "DATA_DICTIONARY.md").read_text(encoding="utf-8") == data_dictionary_markdown()


def test_same_seed_same_bytes_and_another_seed_other_people(small, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_world(small, tmp_path / name, seed=seed)
    a, b, c = (bytes_of(tmp_path / name) for name in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in ("people.parquet", "ward_stays.parquet", "truth.json"))


def test_blocks_bound_memory_and_hold_everybody(small, tmp_path):
    blocks = small.changed(world={"block_people": 500})
    write_world(blocks, tmp_path / "w", seed=1)
    people = pd.read_parquet(tmp_path / "w" / "people.parquet")
    assert len(people) == 52 + 54 + 48 + 50
    assert people["person_id"].is_unique
    # A block bears its own draws, so the split belongs to the settings and to their digest.
    assert blocks.digest != small.digest


def test_memory_and_folder_hold_the_same_world(small, tmp_path):
    write_world(small, tmp_path / "w", seed=3)
    made = simulate_world(small, seed=3)
    assert json.loads((tmp_path / "w" / "truth.json").read_text()) == made.truth
    for name, frame in made.tables.items():
        read = pd.read_parquet(tmp_path / "w" / f"{name}.parquet")
        assert list(read.columns) == list(frame.columns)
        assert len(read) == len(frame) > 0


def test_settings_list_every_fault_at_once(tmp_path):
    text = SETTINGS.read_text().replace("same_day =", "same_dya =").replace("shock_sd = 0.08", "shock_sd = -1")
    broken = tmp_path / "broken.toml"
    broken.write_text(text.replace("rehab_factor = 0.5", 'rehab_factor = "half"'))
    with pytest.raises(ParameterError) as caught:
        load_settings(broken)
    told = str(caught.value)
    assert 'Did you mean "same_day"?' in told
    assert "hospital.same_day: this key is missing" in told
    assert "national.shock_sd" in told
    assert "alliance.rehab_factor" in told
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize(
    ("section", "entries", "said"),
    [
        ("areas", {"treated": "Atlantis"}, "Atlantis"),
        ("areas", {"usual_mix": "suburb"}, "suburb"),
        ("placements", {"at_start": {"residential_care": 0.5}}, "must add to 1"),
        ("money", {"unit_costs": {}}, "unit_costs lacks"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings, section, entries, said):
    with pytest.raises(ParameterError, match=said):
        settings.changed(**{section: entries})


def test_no_such_settings(tmp_path):
    with pytest.raises(ParameterError, match="no such file"):
        load_settings(tmp_path / "none.toml")


def test_settings_name_the_protocols_areas(settings):
    protocol = load_protocol(ROOT / "protocols" / "ipsa.toml")
    assert set(settings.areas.people) == set(protocol.areas.all)
    assert settings.dates.adoption == protocol.dates.adoption
    assert settings.dates.end == protocol.dates.end


def test_every_parameter_says_where_it_comes_from():
    tagged = ("verified", "remembered", "assumed", "arithmetic", "claimed")
    text = SETTINGS.read_text()
    body = text[text.index("[people]") : text.index("[placements.moves_to]")]
    lines = [line for line in body.splitlines() if "=" in line and not line.startswith("#")]
    untagged = [line.split(" =")[0] for line in lines if not any(tag in line for tag in tagged)]
    shared_with_the_line_above = {
        "age_max", "acute_severity", "after_discharge_weeks", "after_discharge_tail_weeks",
        "rehab_frailty", "rehab_severity", "entry_frailty", "entry_severity",
    }  # fmt: skip
    assert set(untagged) == shared_with_the_line_above


def test_other_files_are_never_overwritten(small, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.docx").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.docx"):
        write_world(small, folder, seed=1)
    assert bytes_of(folder) == {"thesis.docx": b"years of work"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_world_is_replaced_whole_and_keeps_its_dictionary(small, tmp_path):
    folder = tmp_path / "w"
    write_world(small, folder, seed=1, texts={"DATA_DICTIONARY.md": "words"})
    (folder / "old.parquet").write_bytes(b"left over from an older version")
    write_world(small, folder, seed=2)
    assert (folder / "DATA_DICTIONARY.md").read_text() == "words"
    assert not (folder / "old.parquet").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def test_a_file_in_the_way_is_said(small, tmp_path):
    (tmp_path / "w").write_text("a file")
    with pytest.raises(OutputError, match="not a folder"):
        write_world(small, tmp_path / "w", seed=1)


def test_the_committed_tables_pass_their_contract():
    report = check_tables(COMMITTED, load_protocol(ROOT / "protocols" / "ipsa.toml"))
    assert [f.text for f in report.findings if f.severity == "error"] == []


def overlaps(frame: pd.DataFrame) -> int:
    rows = frame.sort_values(["person_id", "start", "end"])
    same = rows["person_id"].eq(rows["person_id"].shift())
    before = rows["end"].shift()
    return int((same & (before.isna() | (rows["start"] < before))).sum())


@pytest.mark.parametrize("name", ["ward_stays", "placements", "residence", "programme_episodes"])
def test_intervals_run_forward_and_apart(world, name):
    frame = world.tables[name]
    assert (frame["end"].isna() | (frame["end"] >= frame["start"])).all()
    assert overlaps(frame) == 0


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("ward_stays", "start"), ("ward_stays", "end"), ("placements", "end"), ("residence", "end"),
        ("programme_episodes", "end"), ("contacts", "date"), ("assessments", "date"), ("activities", "date"),
        ("health_checks", "date"), ("ward_stays", "ready_date"),
    ],
)  # fmt: skip
def test_nothing_comes_after_death_or_outside_the_study(world, name, date):
    frame = world.tables[name].merge(world.tables["people"][["person_id", "death_date"]], on="person_id")
    assert not (frame[date] > frame["death_date"]).any()
    known = frame[date].dropna()
    assert known.between("2011-04-04", "2018-06-30").all()


def test_everything_happens_while_a_person_is_followed(world):
    lived = world.tables["residence"].groupby("person_id").agg(first=("start", "min"), last=("end", "max"))
    still = world.tables["residence"].groupby("person_id")["end"].apply(lambda e: e.isna().any())
    last = lived["last"].mask(still, pd.Timestamp("2018-07-01"))
    for name, date in (("ward_stays", "start"), ("placements", "start"), ("contacts", "date")):
        frame = world.tables[name]
        assert (frame[date] >= frame["person_id"].map(lived["first"])).all()
        assert (frame[date] < frame["person_id"].map(last)).all()


def test_nobody_is_placed_and_on_a_rehabilitation_ward_for_long(world):
    stays = world.tables["ward_stays"].query("ward_type == 'rehab'")
    both = stays.merge(world.tables["placements"], on="person_id", suffixes=("", "_home"))
    end = both["end"].fillna(pd.Timestamp("2018-07-01"))
    home_end = both["end_home"].fillna(pd.Timestamp("2018-07-01"))
    shared = np.minimum(end, home_end) - np.maximum(both["start"], both["start_home"])
    assert shared.dt.days.max() == 42


def test_transfers_are_followed_the_same_day_or_leave_london(world):
    stays = world.tables["ward_stays"].sort_values(["person_id", "start", "end"])
    following = stays.groupby("person_id")["start"].shift(-1)
    moved = stays["discharge_method"].eq("transfer") & stays["end"].lt("2018-06-30")
    unmatched = stays[moved & ~following.eq(stays["end"])]
    left = world.tables["residence"].groupby("person_id")["end"].max()
    assert (unmatched["person_id"].map(left) == unmatched["end"]).all()
    assert moved.sum() > 100


def test_open_stays_have_no_discharge(world):
    stays = world.tables["ward_stays"]
    assert (stays["end"].isna() == stays["discharge_method"].isna()).all()
    assert (stays["end"].isna() == stays["discharge_destination"].isna()).all()
    assert 0 < stays["end"].isna().sum() < 300


def test_only_the_treated_area_adopts(world):
    areas = world.tables["areas"].set_index("area")["adoption_date"]
    assert areas.dropna().index.tolist() == ["Lambeth"]


def test_named_draws_are_uniform_and_unrelated():
    key = np.arange(200_000, dtype=np.uint64)
    u, v, w = uniform(key, 7, 1), uniform(key, 7, 2), uniform(key, 14, 1)
    assert abs(u.mean() - 0.5) < 4 * np.sqrt(1 / 12 / len(u))
    assert np.histogram(u, 20, (0, 1))[0].std() < 2 * np.sqrt(len(u) / 20)
    for other in (v, w, np.roll(u, 1)):
        assert abs(np.corrcoef(u, other)[0, 1]) < 4 / np.sqrt(len(u))
    assert choose(np.array([0.0, 0.29, 0.31, 0.999]), [0.3, 0.7]).tolist() == [0, 0, 1, 1]
