"""Model files: every kind comes back the same, every attack is named, nothing is left half written; new discharges."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, GradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline

import evalkit
from evalkit.core.errors import OutputError, ParameterError
from evalkit.risk import model_file
from evalkit.risk.data import RiskData
from evalkit.risk.model import ModelOptions, RiskModel, fit_own_model, fit_risk_model, predict_risk
from evalkit.risk.model_file import CONTRACT_FILE, MODEL_FILE, load_model, save_model
from evalkit.risk.predict import load_discharges, predict_discharges, predict_file

PROTOCOL = "a" * 64
OWN = {
    "forest": RandomForestClassifier(n_estimators=10, min_samples_leaf=20),
    "boosting": GradientBoostingClassifier(n_estimators=10),
    "calibrated": CalibratedClassifierCV(GaussianNB(), cv=2),
    "vote": VotingClassifier([("a", LogisticRegression()), ("b", GaussianNB())], voting="soft"),
}
KINDS = ("prior_admissions", "logistic", "gradient_boosting", "fine_gray", "cause_specific", *OWN)


def make_discharges(n: int = 1500) -> RiskData:
    rng = np.random.default_rng(4)
    prior, sex = rng.poisson(1.0, n), rng.choice(["female", "male"], n)
    score = pd.Series(rng.normal(size=n).round(3)).mask(rng.random(n) < 0.1)
    score[11] = 3.777  # one person's, and the greatest
    first = rng.exponential(1 / np.exp(-6.2 + 0.4 * prior + 0.4 * score.fillna(0) + 0.3 * (sex == "male")))
    second = rng.exponential(900, n)
    event = np.where(np.minimum(first, second) >= 90, 0, np.where(first <= second, 1, 2))
    ward = rng.choice(["1", "2"], n)
    return RiskData(
        features=pd.DataFrame({"prior_admissions": prior, "sex": sex, "ward": ward, "score": score}),
        outcome=(event == 1).astype(int),
        person=rng.integers(0, n // 2, n),
        time=np.datetime64("2013-01-01") + rng.integers(0, 700, n).astype("timedelta64[D]"),
        event=event,
        event_days=np.where(event == 0, 90, np.floor(np.minimum(first, second))),
    )


@pytest.fixture(scope="module")
def discharges() -> RiskData:
    return make_discharges()


def develop(kind: str, data: RiskData) -> RiskModel:
    if kind in OWN:
        return fit_own_model(data, OWN[kind], seed=1)
    if kind in ("fine_gray", "cause_specific"):
        return fit_risk_model(data, kind="competing_risk", seed=1, options=ModelOptions(competing=kind))
    return fit_risk_model(data, kind=kind, seed=1, options=ModelOptions(horizon_days=90))


@pytest.fixture(scope="module")
def logistic(discharges) -> RiskModel:
    return develop("logistic", discharges)


@pytest.fixture
def saved(logistic, tmp_path) -> Path:
    save_model(logistic, tmp_path / "model", protocol_digest=PROTOCOL)
    return tmp_path / "model"


def reforge(folder: Path, data: bytes | None = None, **changes) -> None:
    """What somebody would write who knows how the checksums are made."""
    contract = json.loads((folder / CONTRACT_FILE).read_text()) | changes
    if data is not None:
        (folder / MODEL_FILE).write_bytes(data)
        contract["model_sha256"] = hashlib.sha256(data).hexdigest()
    del contract["contract_sha256"]
    text = json.dumps(contract, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    contract["contract_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    (folder / CONTRACT_FILE).write_text(json.dumps(contract))


def refused(folder: Path, message: str, **asked) -> ParameterError:
    with pytest.raises(ParameterError, match=message) as caught:
        load_model(folder, **{"protocol_digest": PROTOCOL, **asked})
    return caught.value


# ---- there and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_the_same(kind, discharges, tmp_path):
    model = develop(kind, discharges)
    digest = save_model(model, tmp_path / "deep" / "model", protocol_digest=PROTOCOL)
    back = load_model(tmp_path / "deep" / "model", protocol_digest=PROTOCOL, contract_digest=digest)
    assert np.array_equal(predict_risk(back, discharges.features), predict_risk(model, discharges.features))
    for name in ("kind", "columns", "parameters", "checks", "seed", "training", "options"):
        assert getattr(back, name) == getattr(model, name)
    assert sorted(path.name for path in (tmp_path / "deep").rglob("*")) == ["contract.json", "model", "model.skops"]


def test_contract_can_be_read_and_used_by_hand(saved, logistic, discharges):
    contract = json.loads((saved / CONTRACT_FILE).read_text())
    assert contract["protocol"] == PROTOCOL
    assert (contract["evalkit"], contract["scikit_learn"]) == (evalkit.__version__, sklearn.__version__)
    assert (contract["kind"], contract["horizon_days"]) == ("logistic", 90)
    assert contract["training"]["discharges"] == 1500
    assert contract["training"]["events"] % 10 == 0
    b = contract["coefficients"]
    odds = b["(intercept)"] + 2 * b["prior_admissions"] + b["sex = male"] + b["ward = 1"] + 0.5 * b["score"]
    row = pd.DataFrame({"prior_admissions": [2], "sex": ["male"], "ward": ["1"], "score": [0.5]})
    assert predict_risk(logistic, row)[0] == pytest.approx(1 / (1 + np.exp(-odds)), rel=1e-9)


def test_contract_tells_no_single_value(saved):
    text = (saved / CONTRACT_FILE).read_text()
    assert "3.777" not in text
    score = next(c for c in json.loads(text)["columns"] if c["name"] == "score")
    assert (score["low"], score["high"]) == (-5.0, 5.0)


def test_an_earlier_model_is_replaced(saved, discharges):
    save_model(develop("prior_admissions", discharges), saved, protocol_digest=PROTOCOL)
    assert load_model(saved, protocol_digest=PROTOCOL).kind == "prior_admissions"
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


# ---- other protocols and versions ----------------------------------------------------------------


def test_another_protocol_is_refused(saved):
    error = refused(saved, "is of another protocol", protocol_digest="b" * 64)
    assert f"Got {PROTOCOL}. Allowed: {'b' * 64}" in str(error)


def test_other_versions_are_refused_all_at_once(saved):
    reforge(saved, evalkit="9.9.0", scikit_learn="1.2.0", protocol="other")
    error = refused(saved, "another version of evalkit")
    assert len(error.faults) == 3
    assert any("another scikit-learn. Got 1.2.0" in fault.text for fault in error.faults)


def test_a_patch_release_of_evalkit_may_read_it(saved):
    reforge(saved, evalkit=".".join(evalkit.__version__.split(".")[:2]) + ".99")
    assert load_model(saved, protocol_digest=PROTOCOL).kind == "logistic"


# ---- edits and damage ----------------------------------------------------------------------------


@pytest.mark.parametrize("change", [("1500", "9500"), ('"low": 0.0', '"low": -9.0'), ('"female",', "")])
def test_an_edited_contract_is_refused(saved, change):
    text = (saved / CONTRACT_FILE).read_text()
    assert change[0] in text
    (saved / CONTRACT_FILE).write_text(text.replace(*change, 1))
    refused(saved, "was edited after the model was saved")


def test_a_contract_of_another_model_is_refused(saved, discharges):
    contract = json.loads((saved / CONTRACT_FILE).read_text())
    reforge(saved, coefficients=contract["coefficients"] | {"score": 2.0})
    refused(saved, "tells of another model than the model file")


def test_the_digest_that_was_kept_finds_a_forgery(saved, logistic, tmp_path):
    digest = save_model(logistic, saved, protocol_digest=PROTOCOL)
    reforge(saved, seed=2)
    load_model(saved, protocol_digest=PROTOCOL)  # checksums alone are no signature
    refused(saved, "is not the contract asked for", contract_digest=digest)


@pytest.mark.parametrize(
    "change", [{"columns": [{"name": "sex"}]}, {"columns": 3}, {"options": {"cost": 1}}, {"checks": [1]}, {"terms": 1}]
)
def test_a_contract_of_another_make_is_refused(saved, change):
    reforge(saved, **change)
    refused(saved, "is not as evalkit writes it|tells of another model")
    reforge(saved, evalkit=1)
    refused(saved, "is no contract")
    reforge(saved, evalkit="0.1.0", more="entries")
    refused(saved, "is no contract")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', '{"format": NaN}', "\x00"])
def test_what_is_no_contract_is_refused(saved, text):
    (saved / CONTRACT_FILE).write_text(text)
    refused(saved, r"contract\.json: is (not readable|no contract)")


def test_a_damaged_model_file_is_refused(saved):
    data = (saved / MODEL_FILE).read_bytes()
    (saved / MODEL_FILE).write_bytes(data[:-10])
    refused(saved, "is not the file that the contract was written for")
    for broken in (data[: len(data) // 2], b"", b"PK", b"text", data[:200] + bytes(50) + data[250:]):
        reforge(saved, broken)
        refused(saved, "is not a whole model in skops' format")


@pytest.mark.parametrize("broken", [{"content": 3}, {"__loader__": "NoSuchNode"}, {"__module__": "no.such.place"}])
def test_a_mangled_description_is_refused(saved, broken):
    reforge(saved, redescribe(saved, lambda schema: schema | broken))
    refused(saved, "is not a whole model|is not trusted")


def redescribe(folder: Path, change) -> bytes:
    """The model file with another schema."""
    out = io.BytesIO()
    with zipfile.ZipFile(folder / MODEL_FILE) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps(change(json.loads(data))) if name == "schema.json" else data)
    return out.getvalue()


# ---- attacks -------------------------------------------------------------------------------------


class Bomb(ClassifierMixin, BaseEstimator):
    """Leaves a mark when it is made from a file."""

    def __init__(self, *, mark=""):
        self.mark = mark

    def __setstate__(self, state):
        Path(state["mark"]).touch()
        self.__dict__.update(state)

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


class Reducing:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_a_pickle_is_refused_and_not_run(saved, tmp_path):
    mark = tmp_path / "mark"
    for protocol in (2, 4, 5):
        data = pickle.dumps(Reducing(f"touch {mark}"), protocol=protocol)
        reforge(saved, data)
        refused(saved, "is a pickle, which could run any code")
    reforge(saved, pickle.dumps(Reducing(f"touch {mark}"), protocol=0))
    refused(saved, "is not a whole model in skops' format")
    assert not mark.exists()


@pytest.mark.parametrize(
    "inside",
    [os.system, eval, exec, open, functools.partial(os.system, "true"), Path("x"), __import__],
    ids=["system", "eval", "exec", "open", "partial", "path", "import"],
)
def test_functions_and_types_outside_the_list_are_refused(saved, inside):
    pipeline = Pipeline([("prepare", inside), ("fit", LogisticRegression())])
    reforge(saved, skops.io.dumps(pipeline))
    refused(saved, 'holds the type ".*", which is not trusted')


def test_a_class_of_somebody_is_refused_on_both_sides(saved, discharges, tmp_path):
    mark = tmp_path / "mark"
    model = fit_own_model(discharges, Bomb(mark=str(mark)), seed=1)
    mark.unlink(missing_ok=True)
    with pytest.raises(ParameterError, match=r'holds the type ".*Bomb", which is not trusted'):
        save_model(model, tmp_path / "bomb", protocol_digest=PROTOCOL)
    assert not (tmp_path / "bomb").exists()
    reforge(saved, skops.io.dumps(model.pipeline))
    refused(saved, "Bomb")
    assert not mark.exists()


def test_what_was_never_a_risk_model_is_refused(saved):
    for other in (LogisticRegression(), {"a": 1}, Pipeline([("fit", LogisticRegression())])):
        reforge(saved, skops.io.dumps(other))
        refused(saved, "holds no risk model")


def test_trusted_types_are_a_fixed_list():
    assert set(model_file.TRUSTED_TYPES) == {
        "evalkit.risk.competing.CompetingRiskClassifier",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }


@pytest.mark.parametrize(
    "estimator", [KNeighborsClassifier(), BaggingClassifier(KNeighborsClassifier(), n_estimators=2)], ids=["knn", "bag"]
)
def test_models_that_keep_rows_are_not_saved(estimator, discharges, tmp_path):
    model = fit_own_model(discharges, estimator, seed=1)
    with pytest.raises(ParameterError, match="holds KNeighborsClassifier, which keeps rows of data"):
        save_model(model, tmp_path / "knn", protocol_digest=PROTOCOL)
    assert list(tmp_path.iterdir()) == []


# ---- folders -------------------------------------------------------------------------------------


def test_folders_that_hold_other_things_are_refused(saved, tmp_path):
    (saved / "model.pkl").write_bytes(b"")
    refused(saved, 'holds another file, "model.pkl"')
    (saved / "model.pkl").unlink()
    (saved / MODEL_FILE).rename(tmp_path / "elsewhere")
    refused(saved, r"has no model\.skops")
    (saved / MODEL_FILE).symlink_to(tmp_path / "elsewhere")
    refused(saved, "is no plain file")
    refused(saved / CONTRACT_FILE, "is no folder")
    refused(tmp_path / "nowhere", "is no folder")


def test_save_touches_nothing_else(logistic, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OutputError, match="holds something that is no risk model"):
        save_model(logistic, tmp_path / "mine", protocol_digest=PROTOCOL)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(OutputError, match="no risk model"):
        save_model(logistic, tmp_path / "mine" / "notes.txt", protocol_digest=PROTOCOL)
    with pytest.raises(OutputError, match="cannot be written"):
        save_model(logistic, tmp_path / "mine" / "notes.txt" / "model", protocol_digest=PROTOCOL)
    with pytest.raises(ParameterError, match="protocol_digest: is empty"):
        save_model(logistic, tmp_path / "new", protocol_digest="")


@pytest.mark.parametrize("fails_at", ["write_bytes", "rename"])
def test_a_failure_on_the_way_leaves_the_old_model(saved, discharges, fails_at, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    real, calls = getattr(Path, fails_at), []

    def fail_the_second_time(self, *args, **kwargs):
        calls.append(self)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, fails_at, fail_the_second_time)
    with pytest.raises(OutputError, match="No space left on device"):
        save_model(develop("prior_admissions", discharges), saved, protocol_digest=PROTOCOL)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert [path.name for path in saved.parent.iterdir()] == ["model"]


# ---- new discharges ------------------------------------------------------------------------------


@pytest.fixture
def new(discharges) -> pd.DataFrame:
    return discharges.features.head(50).assign(discharge_id=[f"00{i}" for i in range(50)], extra="ignored")


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_risks_of_a_file_equal_those_in_memory(saved, logistic, new, tmp_path, suffix):
    found = predict_file(
        saved, write(new, tmp_path / f"new{suffix}"), protocol_digest=PROTOCOL, id_column="discharge_id"
    )  # fmt: skip
    assert list(found.risks) == ["id", "risk", "outside_range"]
    assert list(found.risks["id"]) == list(new["discharge_id"])
    np.testing.assert_allclose(found.risks["risk"], predict_risk(logistic, new), rtol=1e-12)
    assert [check.passed for check in found.checks] == [True, True]
    few = predict_discharges(saved, new.iloc[[7]], protocol_digest=PROTOCOL, id_column="discharge_id")
    assert few.risks["risk"].iloc[0] == pytest.approx(found.risks["risk"].iloc[7], rel=1e-12)
    assert repr(found) == "Predictions(checks=['numbers_in_range', 'levels_known'])"


def test_every_refusal_of_new_discharges_at_once(saved, new):
    bad = new.assign(discharge_id="same", sex="unheard of", score=1e6, ward=1).drop(columns="prior_admissions")
    with pytest.raises(ParameterError) as caught:
        predict_discharges(saved, bad, protocol_digest=PROTOCOL, id_column="discharge_id")
    found = [(f.where, f.what) for f in caught.value.faults]
    assert found[0] == ('identifier "discharge_id"', "stands twice for 49 rows")
    assert found[1:] == [
        ('predictor "prior_admissions"', "is missing"),
        ('predictor "ward"', "has changed its type"),
    ]
    with pytest.raises(ParameterError) as caught:
        bad = bad.assign(prior_admissions=1.0, discharge_id=[None, *range(49)])
        predict_discharges(saved, bad, protocol_digest=PROTOCOL, id_column="discharge_id")
    assert [f.where.split('"')[1] for f in caught.value.faults] == ["discharge_id", "sex", "ward", "score"]
    assert "unheard of" not in str(caught.value)
    with pytest.raises(ParameterError, match='identifier "id": is missing'):
        predict_discharges(saved, new, protocol_digest=PROTOCOL, id_column="id")
    with pytest.raises(ParameterError, match="another protocol"):
        predict_discharges(saved, new, protocol_digest="c", id_column="discharge_id")


def test_pooling_on_request_is_a_failed_check(saved, new):
    strange = new.assign(sex="unheard of")
    found = predict_discharges(
        saved, strange, protocol_digest=PROTOCOL, id_column="discharge_id", on_unseen="pool"
    )  # fmt: skip
    assert {check.name: check.passed for check in found.checks} == {"numbers_in_range": True, "levels_known": False}
    assert found.risks["risk"].between(0, 1).all()


def test_discharges_far_from_development_are_marked(saved, new):
    new.loc[3, "score"] = 30.0
    found = predict_discharges(saved, new, protocol_digest=PROTOCOL, id_column="discharge_id")
    assert np.flatnonzero(found.risks["outside_range"]).tolist() == [3]
    assert [check.passed for check in found.checks] == [False, True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("new.xlsx", b"", r"is of another kind. Got .xlsx"),
        ("new.csv", None, "is not there"),
        ("new.csv", b"", 'predictor "sex": is missing|cannot be read'),
        ("new.csv", b"\xff\xfe\x00sex", "cannot be read"),
        ("new.csv", b"sex,sex,score\na,b,1\n", 'the column "sex" stands in it twice'),
        ("new.parquet", b"PAR1", "cannot be read"),
        ("new.csv", b"discharge_id,prior_admissions,sex,ward,score\n1,2,male,1,\"0,5\"\n", "Got category"),
        ("new.csv", b"discharge_id,prior_admissions,sex,ward,score\n1,2,male,1,NA\n", 'score": has changed its type'),
        ("new.csv", b"discharge_id,prior_admissions,sex,ward,score\n1,2,male,1.0,1\n", 'ward": holds unseen'),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(saved, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ParameterError, match=message):
        predict_file(saved, tmp_path / name, protocol_digest=PROTOCOL, id_column="discharge_id")


def test_text_stays_text_and_empty_is_missing(logistic, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("﻿discharge_id,prior_admissions,sex,ward,score\n007,2,male,1,\n008,0,,2,1.5\n", encoding="utf-8")
    frame = load_discharges(path, columns=logistic.columns, id_column="discharge_id")
    assert list(frame["discharge_id"]) == ["007", "008"]
    assert list(frame["ward"]) == ["1", "2"]
    assert frame["score"].isna().tolist() == [True, False]
    assert frame["sex"].isna().tolist() == [False, True]
