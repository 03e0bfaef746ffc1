"""Real data through the canonical tables: counts and rates equal those computed in R."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.area import estimate_rates
from evalkit.analysis.readmission import describe_recurrence, estimate_readmission
from evalkit.analysis.study import Study, open_study
from evalkit.cohort.area_counts import build_panel
from evalkit.core.result import Results

ROOT = Path(__file__).parents[2]
DATASETS = ROOT.parent / "shared" / "reference" / "datasets"


def converted(example: str, dataset: str, folder: Path) -> tuple[Study, dict[str, float]]:
    source = DATASETS / dataset
    if not source.is_dir():
        pytest.skip(f"the reference data set {dataset} is not beside the repository")
    spec = importlib.util.spec_from_file_location(example, ROOT / "examples" / example / "convert.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.convert(source / "data.csv", folder)
    study = open_study(ROOT / "examples" / example / "protocol.toml", folder)
    return study, json.loads((source / "reference.json").read_text())


@pytest.fixture(scope="module")
def surgery(tmp_path_factory):
    return converted("surgery_readmission", "rec_readmission", tmp_path_factory.mktemp("surgery"))


@pytest.fixture(scope="module")
def castle(tmp_path_factory):
    return converted("castle_doctrine", "did_castle", tmp_path_factory.mktemp("castle"))


def test_readmissions_deaths_and_days_at_risk_equal_r(surgery):
    study, r = surgery
    rows = Results.concat(describe_recurrence(study)).table("description.recurrence")
    found = rows.pivot(index="row", columns="column", values="value")
    everybody = found.loc["all"]
    assert everybody["people"] == r["n_patients"]
    assert everybody["readmissions"] == r["n_readmissions"]
    assert everybody["deaths"] == r["n_deaths"]
    assert everybody["people_readmitted"] == r["n_patients_with_readmission"]
    assert everybody["days_at_risk"] == r["person_days"]
    for row, key in (("all", ""), ("sex.male", ".Male"), ("sex.female", ".Female")):
        reference = r[f"rate_per_1000_person_days{key}"]
        assert found.loc[row, "readmissions_per_1000_days"] == pytest.approx(reference, rel=1e-12)


def test_what_surgery_cannot_tell_is_said(surgery):
    study, _ = surgery
    for outcome in study.protocol.outcomes_of("readmission"):
        (estimate,) = estimate_readmission(study, outcome)
        assert np.isnan(estimate.value)
        assert "needs exposure by area" in estimate.reason


def test_the_castle_panel_is_whole(castle):
    study, r = castle
    panel = build_panel(study.tables, study.protocol, study.protocol.outcome("homicide"))
    assert panel.outcome.size == r["n_obs"]
    assert len(panel.units) == r["n_states"]
    assert int(panel.treated.sum()) == 21


def test_castle_counts_give_back_the_published_log_rates(castle):
    study, _ = castle
    source = pd.read_csv(DATASETS / "did_castle" / "data.csv").sort_values(["state", "year"])
    panel = build_panel(study.tables, study.protocol, study.protocol.outcome("homicide"))
    log_rate = np.log(panel.outcome / panel.denominator * 100_000)
    assert log_rate.ravel() == pytest.approx(source["l_homicide"].to_numpy(), abs=1e-4)


def test_a_staggered_effect_lies_near_the_published_one(castle):
    """Cheng and Hoekstra find 8% more (population-weighted logs, SE 3%); counts weigh states alike."""
    study, r = castle
    primary = estimate_rates(study, study.protocol.outcome("homicide"))[0]
    published, error = (
        r["ch.log_homicide.weighted.state_year_fe"],
        r["ch.log_homicide.weighted.state_year_fe.se_cluster_fixest"],
    )
    assert abs(np.log(primary.value) - published) < error
    assert primary.level == pytest.approx(0.95, abs=0.001)
