"""Input as it comes: open spells, gaps, missing tables. Numbers stay right or are refused with a reason."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.area import describe_rates, estimate_rates
from evalkit.analysis.costs import estimate_costs
from evalkit.analysis.quality import check_study, describe_quality
from evalkit.analysis.readmission import estimate_readmission
from evalkit.analysis.study import Study
from evalkit.cohort.area_counts import build_panel
from evalkit.cohort.features import derive_history_features
from evalkit.cohort.residence import followed_until
from evalkit.core.protocol import protocol_from_text
from evalkit.data import open_tables

ROOT = Path(__file__).parents[2]
WORLD = ROOT / "data/synthetic/ipsa"
TEXT = (ROOT / "protocols/ipsa.toml").read_text(encoding="utf-8")
# Pathways and chosen outcomes need areas, one date and a year before it; these tests take one of the three away.
# Days are valued in states of a pathway, and go with it.
NO_DAYS = re.sub(r'\[\[economics\.valued\]\]\nkind = "days"\n(?:.+\n)+', "", TEXT)
NO_CHOSEN = NO_DAYS[: NO_DAYS.index("[[chosen]]")] + NO_DAYS[NO_DAYS.index("[[claims]]") :]
NO_PATHWAY = NO_CHOSEN[: NO_CHOSEN.index("[pathway]")] + NO_CHOSEN[NO_CHOSEN.index("[economics]") :]


def study(folder: Path, *, text: str = TEXT, without: tuple[str, ...] = (), **changes) -> Study:
    """The default world with tables left out or changed by a function of the frame."""
    for path in WORLD.glob("*.parquet"):
        if path.stem not in without:
            shutil.copy(path, folder / path.name)
    for name, change in changes.items():
        change(pd.read_parquet(folder / f"{name}.parquet")).to_parquet(folder / f"{name}.parquet", index=False)
    return Study(protocol_from_text(text), open_tables(folder))


def test_history_counts_ward_days_though_somebody_is_still_in_hospital():
    day = pd.to_datetime
    spells = pd.DataFrame(
        {
            "person_id": ["a", "b", "b", "c"],
            "start": day(["2015-01-01", "2014-01-01", "2015-01-01", "2015-01-01"]),
            "end": day([None, "2014-01-11", "2015-01-21", "2015-01-05"]),
        }
    )
    index = spells.iloc[[2, 3]].rename(columns={"start": "admission", "end": "discharge"}).assign(has_rehab=False)
    found = derive_history_features(index, spells, lookback_days=730)
    assert found["log_prior_ward_days"].to_numpy() == pytest.approx(np.log1p([10, 0]))
    assert found["prior_admissions"].tolist() == [1, 0]
    assert found["log_stay_days"].to_numpy() == pytest.approx(np.log1p([20, 4]))


def test_nobody_is_followed_through_a_gap_in_residence():
    day = pd.to_datetime
    residence = pd.DataFrame(
        {
            "person_id": ["a", "a", "a"],
            "area": ["x", "y", "x"],
            "start": day(["2015-01-01", "2015-03-01", "2017-01-01"]),
            "end": day(["2015-03-01", "2015-06-01", "2018-01-01"]),
        }
    )
    asked = pd.Series(["a", "a", "b"])
    until = followed_until(residence, asked, np.array(["2015-02-01", "2017-02-01", "2015-02-01"], "datetime64[D]"))
    assert until.astype(str).tolist() == ["2015-06-01", "2018-01-01", "NaT"]


def test_a_horizon_that_nobody_is_followed_to_is_refused(tmp_path):
    late = study(tmp_path, text=NO_PATHWAY.replace("baseline_start = 2014-01-01", "baseline_start = 2014-07-01"))
    estimates = estimate_readmission(late, late.protocol.outcome("readmission_365d"))
    assert {e.status for e in estimates} == {"not_estimable"}
    assert "followed to the horizon" in estimates[0].reason


def test_a_treated_area_without_a_date_is_never_taken_for_a_control(tmp_path):
    text = NO_PATHWAY.replace("adoption = 2015-04-01\n", "").replace('"Camden", ', "")
    text = text.replace('treated = ["Lambeth"]', 'treated = ["Lambeth", "Camden"]')
    two = study(tmp_path, text=text, areas=lambda f: f[f["area"] != "Camden"])
    primary = estimate_rates(two, two.protocol.outcome("residential_entry"))[0]
    assert primary.status == "not_estimable"
    assert "Camden" in primary.reason


def test_nothing_is_spent_on_the_dead_though_a_placement_was_left_open(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    people = pd.read_parquet(WORLD / "people.parquet").set_index("person_id")["death_date"]

    def reopen(frame: pd.DataFrame) -> pd.DataFrame:
        ended_by_death = frame["end"] == frame["person_id"].map(people)
        assert ended_by_death.sum() > 50
        return frame.assign(end=frame["end"].where(~ended_by_death))

    plain, left_open = study(tmp_path / "a"), study(tmp_path / "b", placements=reopen)
    outcome = plain.protocol.outcome("public_cost")
    values = [estimate_costs(s, outcome)[0].value for s in (plain, left_open)]
    assert values[1] == pytest.approx(values[0], rel=1e-12)


def test_a_cost_without_one_of_its_parts_is_refused(tmp_path):
    lacking = study(tmp_path, without=("placements",))
    estimates = estimate_costs(lacking, lacking.protocol.outcome("public_cost"))
    assert "placements" in estimates[0].reason


def test_areas_alone_under_a_protocol_for_people_pass_the_quality_notebook(tmp_path):
    names = tuple(path.stem for path in WORLD.glob("*.parquet") if path.stem not in ("areas", "area_counts"))
    alone = study(tmp_path, without=names)
    assert describe_quality(check_study(alone))
    assert estimate_rates(alone, alone.protocol.outcome("residential_entry"))[0].status == "shown"


def test_no_event_in_peoples_records_is_refused_not_a_crash(tmp_path):
    empty = study(tmp_path, without=("area_counts",), ward_stays=lambda f: f[f["ward_type"] != "rehab"])
    outcome = empty.protocol.outcome("rehab_admission")
    assert estimate_rates(empty, outcome)[0].status == "not_estimable"
    describe_rates(empty, outcome)


def test_one_area_that_reports_longer_costs_no_other_area_its_place(tmp_path):
    def cut(frame: pd.DataFrame) -> pd.DataFrame:
        return frame[(frame["area"] == "Barnet") | (frame["period_start"] < frame["period_start"].max())]

    uneven = study(tmp_path, area_counts=cut)
    panel = build_panel(uneven.tables, uneven.protocol, uneven.protocol.outcome("residential_entry"))
    assert panel.outcome.shape == (33, 24)


def test_an_area_without_person_time_is_left_out_not_a_crash(tmp_path):
    def none_in_one(frame: pd.DataFrame) -> pd.DataFrame:
        gone = (frame["area"] == "Barnet") & (frame["period_start"] == frame["period_start"].min())
        return frame[~gone]

    thin = study(tmp_path, area_counts=none_in_one)
    panel = build_panel(thin.tables, thin.protocol, thin.protocol.outcome("residential_discharge"))
    assert len(panel.units) == 32
    assert "Barnet" not in panel.units


def test_rates_are_not_compared_by_area_when_exposure_is_by_programme(tmp_path):
    other = study(tmp_path, text=NO_PATHWAY.replace('by = "area"', 'by = "programme"\nprogramme = "ipsa"'))
    assert "by programme" in estimate_rates(other, other.protocol.outcome("residential_entry"))[0].reason
