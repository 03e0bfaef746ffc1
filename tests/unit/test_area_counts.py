"""Counts derived from people's records equal the published ones that the simulator counted on its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evalkit.analysis.study import Study, open_study
from evalkit.cohort.area_counts import build_panel, derive_area_counts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def study() -> Study:
    return open_study(ROOT / "protocols/ipsa.toml", ROOT / "data/synthetic/ipsa")


@pytest.mark.parametrize(
    "key",
    [
        "residential_entry",
        "rehab_admission",
        "residential_discharge",
        "acute_ward_days",
        "out_of_area_rehab",
        "rehab_ward_days",
        "supported_living_entry",
    ],
)
def test_two_ways_of_counting_agree(study, key):
    derived = derive_area_counts(study.tables, study.protocol, study.protocol.outcome(key))
    published = study.tables.read("area_counts")
    published = published[published["outcome"] == key]
    both = derived.merge(published, on=["area", "period_start"], suffixes=("", "_published"))
    assert len(both) == len(derived) == 4 * 25
    assert both["count"].sum() > 0
    assert (both["count"] == both["count_published"]).all()
    assert both["person_time"].to_numpy() == pytest.approx(both["person_time_published"].to_numpy(), abs=1e-5)


def test_the_panel_holds_every_borough_and_whole_quarters(study):
    panel = build_panel(study.tables, study.protocol, study.protocol.outcome("residential_entry"))
    assert panel.outcome.shape == (33, 25)
    assert panel.units[panel.treated].tolist() == ["Lambeth"]
    assert panel.periods[0] == np.datetime64("2012-04-01")
