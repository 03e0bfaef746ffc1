"""The diabetes example: who is in, that nothing of later gets in, and that it performs as published models do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from tests.shared_data import reference, shared

EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes_readmission"
R = reference("readm_diabetes130")


@pytest.fixture(scope="module")
def modules() -> tuple[ModuleType, ModuleType]:
    """`prepare` and `run`, which imports it from beside itself."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        return importlib.import_module("prepare"), importlib.import_module("run")
    finally:
        sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def encounters(modules) -> pd.DataFrame:
    return modules[0].read_encounters(shared("readm_diabetes130") / "data.parquet")


def made_up(n: int = 400) -> pd.DataFrame:
    """Encounters with the columns of the data and nothing of their people."""
    rng = np.random.default_rng(5)
    count = {name: rng.poisson(2, n) for name in (
        "time_in_hospital", "num_lab_procedures", "num_procedures", "num_medications", "number_outpatient",
        "number_emergency", "number_inpatient", "number_diagnoses")}  # fmt: skip
    codes = ["428", "250.83", "V58", "E880", "486", "038", "786", "8", None]
    text = {f"diag_{k}": rng.choice(codes, n) for k in (1, 2, 3)} | {
        "race": rng.choice(["Caucasian", "Asian", None], n), "gender": rng.choice(["Female", "Male"], n),
        "age": rng.choice(["[40-50)", "[70-80)"], n), "medical_specialty": rng.choice(["Cardiology", None], n),
        "payer_code": rng.choice(["MC", None], n), "max_glu_serum": rng.choice(["Norm", None], n),
        "A1Cresult": rng.choice([">8", None], n), "metformin": rng.choice(["No", "Up"], n),
        "insulin": rng.choice(["No", "Down", "Steady"], n), "metformin-pioglitazone": rng.choice(["No", "Up"], n),
        "change": rng.choice(["Ch", "No"], n), "diabetesMed": rng.choice(["Yes", "No"], n),
        "readmitted": rng.choice(["NO", "<30", ">30"], n)}  # fmt: skip
    ids = {"encounter_id": rng.permutation(n), "patient_nbr": rng.integers(0, 120, n),
           "discharge_disposition_id": rng.choice([1, 3, 6, 11, 13], n),
           "admission_source_id": rng.choice([1, 7], n), "admission_type_id": rng.choice([1, 2, 3], n)}  # fmt: skip
    frame = pd.DataFrame(ids | count | text)
    return frame.sort_values(["patient_nbr", "encounter_id"]).reset_index(drop=True)


def test_what_happens_later_changes_no_predictor(modules):
    """Neither outcomes nor a patient's later encounters."""
    prepare, frame = modules[0], made_up()
    known = prepare.build_features(frame, history=True)
    outcomes = frame.assign(readmitted=frame["readmitted"].to_numpy()[::-1])
    pd.testing.assert_frame_equal(prepare.build_features(outcomes, history=True), known)
    last = ~frame["patient_nbr"].duplicated(keep="last")
    assert last.sum() > 50
    earlier = prepare.build_features(frame[~last].reset_index(drop=True), history=True)
    pd.testing.assert_frame_equal(earlier, known[~last].reset_index(drop=True))
    assert (known["earlier_stays"] == frame.groupby("patient_nbr").cumcount()).all()


def test_nobody_is_in_both_parts_and_the_dead_are_in_neither(modules):
    prepare, frame = modules[0], made_up()
    data = prepare.build_discharges(frame, history=False)
    assert not set(data.development.person) & set(data.validation.person)
    assert len(data.development) + len(data.validation) == (~frame["discharge_disposition_id"].isin([11, 13])).sum()
    assert not {"race", "readmitted", "encounter_id", "patient_nbr"} & set(data.development.features)
    assert set(data.validation.groups["race"]) == {"Caucasian", "Asian", "not recorded"}


def test_diagnoses_are_put_in_their_chapters(modules):
    codes = pd.Series(["250.83", "428", "V58", "E880", "786", "8", "999", "785.4", None, "241"], dtype=object)
    assert modules[0].group_diagnoses(codes).tolist() == [
        "diabetes", "circulatory", "supplementary", "external cause", "respiratory", "infection", "injury",
        "circulatory", "none", "endocrine",
    ]  # fmt: skip


def test_the_split_is_that_of_the_reference(modules, encounters):
    develop, validate = modules[0].select_discharges(encounters)
    again = (encounters["readmitted"].astype(str) == "<30").to_numpy()
    assert len(encounters) == R["n_encounters"] == 101_766
    assert (develop.sum(), validate.sum()) == (R["model.n_train"], R["model.n_test"])
    assert again[develop].mean() == pytest.approx(R["model.rate_train"], rel=1e-12)
    assert again[validate].mean() == pytest.approx(R["model.rate_test"], rel=1e-12)


@pytest.mark.slow
def test_held_out_patients_are_told_apart_as_in_the_literature(modules, encounters):
    """A quarter of the patients, so that it is quick; published AUROCs lie at about 0.64 to 0.69."""
    prepare, run = modules
    part = encounters[encounters["patient_nbr"] // 10 % 4 == 0].reset_index(drop=True)
    data = prepare.build_discharges(part, history=True)
    models = {name: run.fit_model(name, data.development) for name in ("prior_admissions", run.PRIMARY)}
    _, performance = run.validate_models(models, data.validation, replicates=20)
    found = {name: measures.frame for name, measures in performance.items()}
    primary = found[run.PRIMARY].loc
    assert 0.64 < primary["auroc", "value"] < 0.70
    assert primary["auroc", "value"] > found["prior_admissions"].loc["auroc", "value"] + 0.04
    assert primary["calibration_slope", "value"] == pytest.approx(1, abs=0.15)
    assert primary["observed_expected", "value"] == pytest.approx(1, abs=0.1)
    assert 0.57 < found["prior_admissions"].loc["auroc", "value"] < 0.63
