"""Risk models from the tables to the results: what is told, what is refused, and that a saved model says the same."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from evalkit.analysis.risk import RiskStudy, analyse_risk, save_risk_models
from evalkit.analysis.risk_new import build_new_discharges, write_private_csv
from evalkit.analysis.study import Study, open_study
from evalkit.cli import app
from evalkit.core.errors import NotEstimable, OutputError, ParameterError
from evalkit.core.result import Results
from evalkit.risk.predict import predict_file

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL, DATA = ROOT / "protocols" / "ipsa.toml", ROOT / "data" / "synthetic" / "ipsa"
TOLD = (
    "risk_sample", "risk_size", "risk_performance", "risk_missing", "risk_optimism", "risk_cross", "risk_imputed",
    "risk_time", "calibration.logistic", "risk_curve.logistic", "risk_net_benefit", "risk_net_benefit_competing",
    "risk_places", "risk_drift", "risk_threshold", "risk_learning", "risk_instability", "risk_instability_curve",
    "risk_recalibration", "risk_groups", "risk_group_threshold", "risk_group_gap", "risk_terms", "risk_importance",
    "risk_dependence", "checks.risk",
)  # fmt: skip


@pytest.fixture(scope="module")
def study() -> Study:
    return open_study(PROTOCOL, DATA)


@pytest.fixture(scope="module")
def found(study) -> RiskStudy:
    return analyse_risk(asking(study, replicates=100))


def asking(study: Study, **changes) -> Study:
    asked = study.protocol.risk_model.model_copy(update=changes)
    return replace(study, protocol=study.protocol.model_copy(update={"risk_model": asked}))


def values(found: RiskStudy, table: str) -> pd.Series:
    rows = Results.concat(found.results).table(table)
    return rows.set_index(["row", "column"])["value"]


def test_everything_asked_of_a_prediction_model_is_told(found):
    frame = Results.concat(found.results).frame
    assert set(TOLD) <= set(frame["table"])
    assert found.primary == "logistic"
    shown = frame[(frame["status"] == "shown") & (frame["kind"] != "check")]
    assert shown["value"].notna().all()
    assert frame.loc[frame["status"] != "shown", "reason"].ne("").all()


def test_a_model_that_the_discharges_cannot_bear_is_refused(found):
    frame = Results.concat(found.results).frame
    for row in ("90|gradient_boosting", "30|logistic", "30|competing_risk"):
        told = frame[(frame["table"] == "risk_performance") & (frame["row"] == row)]
        assert (told["status"] == "not_estimable").all()
        assert told["reason"].str.contains("Too few independent discharges").all()
    assert "90|gradient_boosting" not in set(frame.loc[frame["table"] == "risk_optimism", "row"])
    verdicts = frame[(frame["table"] == "risk_size") & (frame["column"] == "verdict")].set_index("row")["unit"]
    assert verdicts["90|logistic|verdict"] == "develop"
    assert verdicts["90|service|verdict"] == "recalibrate"


def test_the_service_s_own_people_are_never_developed_on(found):
    """Development ends before the service begins; its people are in validation alone, as those of other areas."""
    main = found.main
    until = np.datetime64("2015-04-01")
    assert (main.split.development.time + np.timedelta64(main.horizon_days, "D") <= until).all()
    assert (main.split.validation.time >= until).all()


def test_too_many_predictors_leave_the_rule(study):
    from evalkit.cohort.predictors import PREDICTOR_LABELS

    every = asking(study, predictors=tuple(PREDICTOR_LABELS), other_horizons_days=(), replicates=100)
    found = analyse_risk(every)
    assert found.primary == "prior_admissions"
    assert set(found.main.developed) == {"prior_admissions"}


def test_no_model_has_its_reason_in_place_of_numbers(study):
    none = replace(study, protocol=study.protocol.model_copy(update={"risk_model": None}))
    assert "asks for no readmission risk model" in analyse_risk(none).reason
    late = asking(study, develop_until=dt.date(2012, 5, 1), other_horizons_days=())
    found = analyse_risk(late)
    assert found.reason
    rows = Results.concat(found.results).table("risk_performance")
    assert (rows["status"] == "not_estimable").all()


def test_one_model_less_moves_no_other_number(study, found):
    fewer = analyse_risk(asking(study, models=("logistic", "competing_risk"), other_horizons_days=(), replicates=100))
    for table in ("risk_performance", "risk_optimism", "risk_threshold", "risk_group_gap", "risk_importance"):
        ours, theirs = values(fewer, table), values(found, table)
        pd.testing.assert_series_equal(ours, theirs.loc[ours.index])


def test_people_of_100_follow_from_the_discharges(found):
    main = found.main
    risk, later = main.developed["logistic"].validation, main.split.validation
    told = values(found, "risk_threshold")
    flagged = risk >= 0.2
    assert told["risk|0.2", "flagged_per_100"] == pytest.approx(100 * flagged.mean())
    assert told["risk|0.2", "came_back_of_100_flagged"] == pytest.approx(100 * later.outcome[flagged].mean())
    assert told["risk|0.2", "found_of_100"] == pytest.approx(100 * flagged[later.outcome == 1].mean())


def test_a_saved_model_says_the_same_of_the_same_discharges(study, found, tmp_path):
    """From the tables to a CSV and through the command line's path: the risks of the analysis, to the last digit."""
    saved = save_risk_models(study, found, tmp_path)
    assert set(saved) == {f"{h.horizon_days}_{kind}" for h in found.horizons for kind in h.developed}
    rows = build_new_discharges(study, since=dt.date(2015, 4, 1))
    write_private_csv(rows, tmp_path / "new.csv")
    assert (tmp_path / "new.csv").stat().st_mode & 0o077 == 0
    later = found.main.split.validation
    names = [f"{person} {day}" for person, day in zip(later.person, later.time.astype(str), strict=True)]
    for kind, one in found.main.developed.items():
        scored = predict_file(
            tmp_path / "risk_models" / f"90_{kind}", tmp_path / "new.csv", protocol_digest=study.protocol.digest,
            id_column="discharge",
        ).risks.set_index("id")["risk"]  # fmt: skip
        assert scored.index.is_unique
        np.testing.assert_allclose(scored.loc[names].to_numpy(), one.validation, rtol=0, atol=1e-12)


def test_models_of_an_earlier_run_do_not_stay(study, found, tmp_path):
    save_risk_models(study, found, tmp_path)
    fewer = replace(found, horizons=found.horizons[:1])
    mine = tmp_path / "risk_models" / "30_notes"
    mine.mkdir()
    (mine / "read_me.txt").write_text("not a model")
    save_risk_models(study, fewer, tmp_path)
    left = {path.name for path in (tmp_path / "risk_models").iterdir()}
    assert left == {"90_prior_admissions", "90_logistic", "90_competing_risk", "30_notes"}


def test_what_the_service_does_must_not_teach_the_model(study, found):
    def passed(one: RiskStudy) -> bool:
        checks = {check.name: check.passed for check in one.main.checks}
        return checks["developed_before_service"]

    assert passed(found)
    later = asking(study, develop_until=dt.date(2016, 1, 1), other_horizons_days=(), replicates=100)
    assert not passed(analyse_risk(later))


def test_a_model_of_another_protocol_is_refused(study, found, tmp_path):
    save_risk_models(study, found, tmp_path)
    write_private_csv(build_new_discharges(study, since=dt.date(2018, 1, 1)), tmp_path / "new.csv")
    with pytest.raises(ParameterError, match="protocol"):
        predict_file(tmp_path / "risk_models/90_logistic", tmp_path / "new.csv", protocol_digest="0" * 64,
                     id_column="discharge")  # fmt: skip


def test_the_command_line_goes_the_whole_way(study, found, tmp_path):
    save_risk_models(study, found, tmp_path)
    run = CliRunner().invoke
    new, risks = tmp_path / "new.csv", tmp_path / "risks.csv"
    since = ["--since", "2018-01-01", "--out", str(new)]
    made = run(app, ["risk", "discharges", "--protocol", str(PROTOCOL), "--data", str(DATA), *since])
    assert made.exit_code == 0, made.output
    model = ["--model", str(tmp_path / "risk_models" / "90_logistic"), "--protocol", str(PROTOCOL)]
    scored = run(app, ["risk", "predict", *model, "--discharges", str(new), "--out", str(risks)])
    assert scored.exit_code == 0, scored.output
    assert "must not leave the secure environment" in scored.output
    table = pd.read_csv(risks)
    assert table["risk"].between(0, 1).all()
    assert len(table) == len(pd.read_csv(new))
    pd.read_csv(new).assign(dual_diagnosis="perhaps").to_csv(new, index=False)
    risks.unlink()
    refused = run(app, ["risk", "predict", *model, "--discharges", str(new), "--out", str(risks)])
    assert isinstance(refused.exception, ParameterError)
    assert not risks.exists()


def test_nothing_is_half_written(study, tmp_path):
    rows = build_new_discharges(study, since=dt.date(2018, 1, 1))
    with pytest.raises(OutputError):
        write_private_csv(rows, tmp_path / "absent" / "new.csv")
    with pytest.raises(NotEstimable, match="none is eligible"):
        build_new_discharges(study, since=dt.date(2030, 1, 1))
    assert list(tmp_path.iterdir()) == []
