"""Risk models where the data or the protocol are odd: a stated refusal in one place, never a crash of everything."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from evalkit.analysis.risk import RiskStudy, analyse_risk, save_risk_models
from evalkit.analysis.risk_data import build_risk_data, build_risk_rows
from evalkit.analysis.risk_develop import develop_models
from evalkit.analysis.risk_new import build_new_discharges, write_private_csv
from evalkit.analysis.risk_performance import imputed_cells
from evalkit.analysis.risk_samples import size_cells
from evalkit.analysis.risk_use import _part, recalibration_cells
from evalkit.analysis.study import Study
from evalkit.cli import app
from evalkit.core.errors import NotEstimable, OutputError, ParameterError, ProtocolError
from evalkit.core.protocol import load_protocol, protocol_from_text
from evalkit.core.result import Results
from evalkit.data.tables import open_tables
from evalkit.risk.data import RiskData
from evalkit.risk.model import ModelOptions, fit_risk_model, predict_risk
from evalkit.risk.predict import load_discharges
from evalkit.risk.prepare import RiskColumn

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL, DATA = ROOT / "protocols" / "ipsa.toml", ROOT / "data" / "synthetic" / "ipsa"
TABLES = ("people", "ward_stays", "residence", "areas")
Frames = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def frames() -> Frames:
    found = {name: pd.read_parquet(DATA / f"{name}.parquet") for name in TABLES}
    for column in ("start", "end"):
        found["ward_stays"][column] = pd.to_datetime(found["ward_stays"][column]).astype("datetime64[s]")
    return found


@pytest.fixture
def build(frames, tmp_path) -> Callable[..., Study]:
    """The reference study with other tables, and with another section on risk."""
    return lambda changed, **asked: build_study(frames | changed, tmp_path / "tables", **asked)


def build_study(frames: Frames, folder: Path, **asked) -> Study:
    folder.mkdir()
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet")
    told = {"other_horizons_days": (), "models": ("logistic",), "replicates": 100, "imputations": 2} | asked
    protocol = load_protocol(PROTOCOL)
    model = protocol.risk_model.model_copy(update=told)
    return Study(protocol.model_copy(update={"risk_model": model}), open_tables(folder))


@pytest.fixture(scope="module")
def narrow(frames, tmp_path_factory) -> tuple[Study, RiskStudy]:
    """One area, a predictor that is the same for all in development and missing for some later."""
    people, stays = frames["people"], frames["ward_stays"]
    late = people["person_id"].map(stays.groupby("person_id")["start"].min()) >= "2016-01-01"
    held = pd.Series(True, index=people.index, dtype=object).where(~(late & (people.index % 4 == 0)), None)
    changed = {
        "people": people.assign(area="Lambeth", dual_diagnosis=held),
        "residence": frames["residence"].assign(area="Lambeth"),
    }
    study = build_study(frames | changed, tmp_path_factory.mktemp("narrow") / "tables")
    return study, analyse_risk(study)


def refused(found: RiskStudy) -> pd.Series:
    """Reasons by table, of tables that hold no number at all."""
    rows = Results.concat(found.results).frame
    none = rows.groupby("table")["status"].transform(lambda held: (held != "shown").all())
    return rows[none].groupby("table")["reason"].first()


# ---- one table's refusal is not everybody's ------------------------------------------------------


def test_what_one_table_cannot_tell_leaves_the_others(narrow):
    found = narrow[1]
    assert found.primary == "logistic"
    reasons = refused(found)
    assert set(reasons.index) == {"risk_terms", "risk_places", "risk_imputed"}
    assert "is the same for all" in reasons["risk_terms"]
    assert "fewer than 2 places" in reasons["risk_places"]
    assert "Nothing was missing in development" in reasons["risk_imputed"]


def test_too_few_later_events_leave_what_development_tells(build):
    found = analyse_risk(build({}, develop_until=dt.date(2018, 3, 1)))
    reasons = refused(found)
    later = {"risk_performance", "risk_time", "risk_curve.logistic", "risk_net_benefit", "risk_net_benefit_competing",
             "risk_threshold", "risk_learning", "risk_importance", "risk_recalibration"}  # fmt: skip
    assert later <= set(reasons.index)
    assert reasons.ne("").all()
    assert not {"risk_optimism", "risk_cross", "risk_places", "risk_terms", "risk_instability"} & set(reasons.index)


def test_a_predictor_that_nobody_has_is_the_reason(build, frames):
    none = pd.Series(None, index=frames["people"].index, dtype=object)
    found = analyse_risk(build({"people": frames["people"].assign(dual_diagnosis=none)}))
    assert found.reason == 'predictor "dual_diagnosis": is missing for everybody. Leave it out.'
    assert refused(found)["risk_performance"] == found.reason


def test_nobody_comes_back(build, frames):
    stays = frames["ward_stays"].sort_values("start")
    first = stays["spell_id"] == stays.groupby("person_id")["spell_id"].transform("first")
    found = analyse_risk(build({"ward_stays": stays[first]}))
    assert "one class only" in found.reason


def test_later_discharges_outside_the_range_refuse_that_model_alone(build, frames):
    people = frames["people"].assign(birth_year=1980)  # a cohort that grows older together
    study = build({"people": people}, models=("prior_admissions", "logistic"))
    main = develop_models(study, build_risk_rows(study), horizon_days=90)
    assert set(main.developed) == {"prior_admissions"}
    assert "age_years" in main.models["logistic"].reason
    assert "outside the range of development" in main.models["logistic"].reason


def test_an_imputed_model_without_optimism_keeps_its_performance(build, monkeypatch):
    def none(*_: object, **__: object) -> None:
        raise NotEstimable([])

    monkeypatch.setattr("evalkit.analysis.risk_performance.estimate_imputed_optimism", none)
    study = build({})
    main = develop_models(study, build_risk_rows(study), horizon_days=90)
    cells, _ = imputed_cells(study, main, "logistic")
    told = {(cell.row, cell.column): cell.status for cell in cells}
    assert len(told) == len(cells)  # two numbers of one name are refused by the results
    assert told["90|logistic", "auroc"] == "shown"
    assert told["90|logistic", "auroc|corrected"] == "not_estimable"


def test_too_few_discharges_never_read_as_enough(build):
    """At 30 days 1,374 later discharges are too few for the AUROC, which wants 1,392: they are not told as 1,400."""
    study = build({}, models=("prior_admissions",), primary="prior_admissions")
    main = develop_models(study, build_risk_rows(study), horizon_days=30)
    told = {(cell.row, cell.column): cell.value for cell in size_cells(main)}
    judged = [("30|validation", main.validation_size), *((f"30|{k}", v.criteria) for k, v in main.verdicts.items())]
    short = [(row, one.name) for row, criteria in judged for one in criteria if not one.met]
    assert ("30|validation", "auroc") in short
    for row, name in short:
        assert told[f"{row}|{name}", "have"] < told[f"{row}|{name}", "needed"]
    assert told["30|validation|auroc", "have"] == 1300


# ---- the service's own people --------------------------------------------------------------------


def test_a_few_people_whose_predictor_tells_all_are_no_sample():
    """Six discharges of one place, where a predictor happens to decide the outcome, as it does not elsewhere."""
    n = 60
    outcome = np.arange(n) % 2
    told = np.where(np.arange(n) < 6, outcome, np.arange(n) % 3 == 0).astype(bool)
    days = np.datetime64("2016-01-01") + np.arange(n)
    data = RiskData(pd.DataFrame({"told": told}), outcome, np.arange(n), days)
    with pytest.raises(NotEstimable, match="under another name"):
        _part(data, np.arange(n) < 6, "Discharges from there")


def test_the_service_s_people_are_those_since_it_began(build):
    """Where development ends earlier than the service begins, discharges in between are not the service's."""
    study = build({}, develop_until=dt.date(2014, 6, 1), predictors=("prior_admissions", "log_stay_days"))
    main = develop_models(study, build_risk_rows(study), horizon_days=90)
    cells, _ = recalibration_cells(study, main, "logistic")
    told = {(cell.row, cell.column): cell for cell in cells["risk_recalibration"]}["Lambeth|none", "auroc"]
    later = main.split.validation
    own = (later.groups["area"] == "Lambeth").to_numpy() & (later.time >= np.datetime64("2015-04-01"))
    assert told.n_people == len(np.unique(later.person[own]))
    assert told.n_events == later.outcome[own].sum()


# ---- the outcome by hand -------------------------------------------------------------------------


def test_thirty_discharges_followed_by_hand(build, frames):
    study = build({})
    data, _ = build_risk_data(study, build_risk_rows(study), horizon_days=90)
    people = frames["people"].set_index("person_id")
    end = pd.Timestamp(study.protocol.dates.end)
    some = np.random.default_rng(6).choice(len(data), 30, replace=False)
    some = np.concatenate([some, np.flatnonzero(data.event == 2)[:5]])
    for i in some:
        day, person = pd.Timestamp(data.time[i]), data.person[i]
        stays = frames["ward_stays"].query("person_id == @person")
        spells = stays.groupby("spell_id").agg(start=("start", "min"), end=("end", "max")).sort_values("start")
        after = spells["start"][spells["start"] >= day]
        back = (after.iloc[0] - day).days if len(after) else 10_000
        death = people.loc[person, "death_date"]
        died = 10_000 if pd.isna(death) else (pd.Timestamp(death) - day).days
        first = min(back, died, 90)
        assert data.event[i] == (0 if first == 90 else 1 if back <= died else 2)
        assert data.event_days[i] == first
        assert day + pd.Timedelta(days=90) <= end


# ---- numbers -------------------------------------------------------------------------------------


def test_numbers_that_cannot_be_squared_are_refused():
    n = 400
    rng = np.random.default_rng(3)
    x = rng.normal(size=n)
    outcome = (rng.random(n) < 0.3 + 0.1 * (x > 0)).astype(int)
    parts = {"outcome": outcome, "person": np.arange(n), "time": np.datetime64("2016-01-01") + np.arange(n)}
    with pytest.raises(ParameterError, match='predictor "x": holds a number too large'):
        RiskData(pd.DataFrame({"x": np.where(np.arange(n) == 0, 1e200, x)}), **parts)
    data = RiskData(pd.DataFrame({"x": x}), event=outcome, event_days=np.where(outcome == 1, 5.0, 90.0), **parts)
    new = pd.DataFrame({"x": np.r_[1e200, x[:99]]})
    for method in ("fine_gray", "cause_specific"):
        model = fit_risk_model(data, kind="competing_risk", seed=1, options=ModelOptions(competing=method))
        with pytest.raises(ParameterError, match="holds a number too large"):
            predict_risk(model, new)
        risk = predict_risk(model, new.assign(x=np.r_[1e20, -1e20, x[:98]]))
        assert set(risk[:2].round(12)) == {0.0, 1.0}


# ---- protocols -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("thresholds = [0.05, 0.1,", "thresholds = [0.1, 0.05,", "thresholds are not in order"),
        ("thresholds = [0.05, 0.1,", "thresholds = [0.1, 0.10000001,", "do not differ"),
        ("flagged_shares = [0.05, 0.1,", "flagged_shares = [0.1, 0.05,", "flagged_shares are not in order"),
        ("develop_until = 2015-04-01", "develop_until = 2012-04-01", "must fall after study_start"),
        ("develop_until = 2015-04-01", "develop_until = 2018-07-01", "and before end"),
        ("other_horizons_days = [30, 365]", "other_horizons_days = [90]", "given twice"),
        ('groups = ["sex",', 'groups = ["height",', "Input should be"),
    ],
)
def test_contradictions_are_found_in_the_protocol(old, new, message):
    text = PROTOCOL.read_text()
    assert old in text
    with pytest.raises(ProtocolError, match=message):
        protocol_from_text(text.replace(old, new))


# ---- new discharges ------------------------------------------------------------------------------


def test_two_discharges_of_a_day_are_told_apart(build, frames):
    person = frames["people"].loc[frames["people"]["birth_year"].between(1960, 1990), "person_id"].iloc[0]
    stays = frames["ward_stays"]
    others = stays[stays["person_id"] != person]
    days = [("2018-01-01", "2018-01-10"), ("2018-01-10", "2018-01-10")]
    own = pd.concat([
        stays.iloc[[0]].assign(
            person_id=person, stay_id=f"own-{k}", spell_id=f"own-{k}", start=pd.Timestamp(a), end=pd.Timestamp(b),
            discharge_method="planned", ward_type="acute",
        )
        for k, (a, b) in enumerate(days)
    ])  # fmt: skip
    every = pd.concat([others, own], ignore_index=True)
    every[["start", "end"]] = every[["start", "end"]].astype("datetime64[s]")
    rows = build_new_discharges(build({"ward_stays": every}), since=dt.date(2018, 1, 1))
    assert rows["discharge"].is_unique
    told = rows.set_index("discharge")["log_stay_days"]
    assert told[f"{person} 2018-01-10"] == pytest.approx(np.log(10))
    assert told[f"{person} 2018-01-10 2"] == 0


COLUMNS = (RiskColumn("stay", "number"), RiskColumn("age", "number"))


@pytest.mark.parametrize("row", ["b,1,234,40", "b,1,40,5", "b,1", "b,1,40,"])
def test_a_comma_in_a_number_moves_no_column(row, tmp_path):
    """Pandas drops what is too much in a row, and takes a number of 40,5 for 40."""
    path = tmp_path / "new.csv"
    path.write_text(f"discharge,stay,age\na,2,30\n\n{row}\n")
    with pytest.raises(ParameterError, match="more or fewer entries than there are columns"):
        load_discharges(path, columns=COLUMNS, id_column="discharge")


def test_whole_files_are_read(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text('\ndischarge,note,stay,age\na,"one, two",2,30\n\n"b",,1,\n')
    found = load_discharges(path, columns=COLUMNS, id_column="discharge")
    assert list(found["discharge"]) == ["a", "b"]
    assert found["age"].isna().tolist() == [False, True]


def test_what_was_read_is_not_written_over(tmp_path):
    rows = pd.DataFrame({"id": ["a"], "risk": [0.1]})
    (tmp_path / "model").mkdir()
    new = tmp_path / "new.csv"
    new.write_text("discharge\n")
    inputs = (new, tmp_path / "model")
    for out in (new, tmp_path / "model" / "risks.csv", tmp_path / "model" / ".." / "new.csv"):
        with pytest.raises(OutputError, match="is what was read"):
            write_private_csv(rows, out, inputs=inputs)
    for out in (tmp_path / "risks.parquet", tmp_path / "risks"):
        with pytest.raises(OutputError, match="of another kind"):
            write_private_csv(rows, out, inputs=inputs)
    assert new.read_text() == "discharge\n"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model", "new.csv"]


def test_the_command_line_keeps_the_model_and_the_discharges(narrow, tmp_path):
    study, found = narrow
    asked = replace(study, protocol=load_protocol(PROTOCOL))
    save_risk_models(asked, found, tmp_path)
    folder, new = tmp_path / "risk_models" / "90_logistic", tmp_path / "new.csv"
    write_private_csv(build_new_discharges(study, since=dt.date(2015, 4, 1)).dropna(), new)
    before = new.read_bytes()
    options = ["--model", str(folder), "--protocol", str(PROTOCOL), "--discharges", str(new)]
    for out in (new, folder / "risks.csv"):
        told = CliRunner().invoke(app, ["risk", "predict", *options, "--out", str(out)])
        assert isinstance(told.exception, OutputError)
    assert new.read_bytes() == before
    told = CliRunner().invoke(app, ["risk", "predict", *options, "--out", str(tmp_path / "risks.csv")])
    assert told.exit_code == 0, told.output


def test_no_refusal_of_risk_stops_the_gate():
    """A reason goes into the results: what it allows is a rule, never a number that reads like a count of people."""
    from evalkit.core.errors import NotEstimable
    from evalkit.disclose.policy import policy
    from evalkit.disclose.texts import counts_in_text
    from evalkit.risk.instability import estimate_instability
    from evalkit.risk.recalibrate import fit_recalibration
    from evalkit.risk.refit import refit_ridge

    rng = np.random.default_rng(1)
    x, person = rng.normal(size=(200, 6)), np.arange(200)
    outcome = (np.arange(200) % 8 == 0).astype(int)
    few = refit_ridge(x[:60], outcome[:60], penalty=1.0, counts=np.ones((5, 60), dtype=np.uint8))
    refused = []
    for make in (
        lambda: fit_recalibration(np.full(200, 0.1), outcome, method="reestimate", person=person, design=x),
        lambda: fit_recalibration(np.full(60, 0.1), outcome[:60], method="slope", person=person[:60]),
        lambda: estimate_instability(few, outcome[:60], person=person[:60]),
    ):
        with pytest.raises(NotEstimable) as caught:
            make()
        refused.append(caught.value.reason)
    assert not [text for text in refused if counts_in_text(text, policy("strict"))]
