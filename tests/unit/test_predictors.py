"""Predictors: known at discharge and no later, missing left missing, and refused where a table is not there."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.study import Study, open_study
from evalkit.cohort.discharges import build_discharges
from evalkit.cohort.predictors import PREDICTOR_LABELS, derive_predictors
from evalkit.core.errors import NotEstimable

ROOT = Path(__file__).resolve().parents[2]
EVENTS = {
    "ward_stays": "start", "placements": "start", "programme_episodes": "start", "residence": "start",
    "contacts": "date", "assessments": "date", "activities": "date", "health_checks": "date",
}  # fmt: skip
ENDS = ("end", "discharge_method", "discharge_destination", "ready_date")


@pytest.fixture(scope="module")
def study() -> Study:
    return open_study(ROOT / "protocols" / "ipsa.toml", ROOT / "data" / "synthetic" / "ipsa")


def predictors_of(study: Study, rows: pd.DataFrame):
    lookback = study.protocol.population.lookback_days
    return derive_predictors(rows, study.tables, predictors=tuple(PREDICTOR_LABELS), lookback_days=lookback)


@dataclasses.dataclass
class AsItStood:
    """The tables as somebody would have found them on the evening of one day."""

    tables: object
    day: pd.Timestamp

    def has(self, name: str) -> bool:
        return self.tables.has(name)

    def read(self, name: str, columns: list[str] | None = None) -> pd.DataFrame:
        rows = self.tables.read(name)
        if name in EVENTS:
            rows = rows[pd.to_datetime(rows[EVENTS[name]]) <= self.day].copy()
            # What began on the day itself came after the discharge, unless it also ended then.
            if "end" in rows:
                later = ~(pd.to_datetime(rows["end"]) <= self.day)
                rows = rows[~(later & (pd.to_datetime(rows["start"]) == self.day))]
                for column in ENDS:
                    if column in rows:
                        rows.loc[later, column] = None
        if name == "people":
            rows = rows.copy()
            rows.loc[pd.to_datetime(rows["death_date"]) > self.day, "death_date"] = None
        return rows if columns is None else rows[columns]


@pytest.fixture(scope="module")
def discharges(study: Study) -> pd.DataFrame:
    return build_discharges(study.tables, study.protocol, index_ward_types=("acute", "rehab"))


@pytest.fixture(scope="module")
def whole(study, discharges):
    return predictors_of(study, discharges)


@pytest.mark.parametrize("day", ["2013-07-01", "2014-12-15", "2016-03-08", "2017-05-02"])
def test_nothing_after_discharge_leaks_in(study, discharges, whole, day):
    """Tables without all that came later give the same predictors for whoever left on or just before that day."""
    until = pd.Timestamp(day)
    near = discharges["discharge"].between(until - pd.Timedelta(days=20), until)
    days = sorted(discharges.loc[near, "discharge"].unique())[::3]
    assert len(days) >= 4
    for leaving in days:
        here = discharges["discharge"] == leaving
        rows = discharges[here].reset_index(drop=True)
        then = predictors_of(dataclasses.replace(study, tables=AsItStood(study.tables, leaving)), rows)
        for told, at_the_time in ((whole.features, then.features), (whole.groups, then.groups)):
            pd.testing.assert_frame_equal(told[here].reset_index(drop=True), at_the_time)


def test_the_leak_test_can_fail(study, discharges):
    """A reader of the tables that shows the next spell's days would be caught."""
    rows = discharges.iloc[:300].reset_index(drop=True)
    leaky = rows.assign(discharge=rows["discharge"] + pd.Timedelta(days=200))
    honest, seen = predictors_of(study, rows).features, predictors_of(study, leaky).features
    for name in ("detained", "dialog_mean"):
        assert not honest[name].equals(seen[name])


def test_recorded_days_are_no_later_than_discharge(study, discharges):
    found = predictors_of(study, discharges)
    days = found.known_on["dialog_mean"]
    assert list(found.known_on) == ["dialog_mean"]
    assert (days.dropna() <= discharges.loc[days.notna(), "discharge"]).all()
    assert days.isna().equals(found.features["dialog_mean"].isna())


def test_missing_stays_missing(study, discharges):
    features = predictors_of(study, discharges).features
    people = study.tables.read("people").set_index("person_id").loc[discharges["person_id"]].reset_index()
    for name in ("imd_decile", "dual_diagnosis"):
        assert people[name].isna().any()
        np.testing.assert_array_equal(features[name].isna().to_numpy(), people[name].isna().to_numpy())


def test_contacts_and_answers_against_plain_loops(study, discharges):
    features = predictors_of(study, discharges).features
    contacts, answers = study.tables.read("contacts"), study.tables.read("assessments")
    for i in np.random.default_rng(1).choice(len(discharges), 25, replace=False):
        row = discharges.iloc[i]
        own = contacts[contacts["person_id"] == row["person_id"]]
        gap = (row["admission"] - pd.to_datetime(own["date"])).dt.days
        kept = own[(gap > 0) & (gap <= 90)]["attended"].astype(bool)
        assert features["contacts_90d"][i] == kept.sum()
        assert features["missed_90d"][i] == (~kept).sum()
        own = answers[(answers["person_id"] == row["person_id"]) & answers["score"].notna()]
        age = (row["discharge"] - pd.to_datetime(own["date"])).dt.days
        own = own[(age >= 0) & (age <= 365)]
        last = own[own["date"] == own["date"].max()]["score"].mean() if len(own) else np.nan
        assert features["dialog_mean"][i] == pytest.approx(last, nan_ok=True)


def test_groups_are_words(study, discharges):
    groups = predictors_of(study, discharges).groups
    assert set(groups["age_band"]) == {"18 to 34", "35 to 49", "50 to 64", "65 or over"}
    assert set(groups["deprivation"].dropna()) == {"most deprived fifth", "deciles 3 to 5", "deciles 6 to 10"}
    assert set(groups["dual_diagnosis"].dropna()) == {"yes", "no"}


def test_tables_that_are_not_there_are_named_at_once(study, discharges):
    class Without(AsItStood):
        def has(self, name: str) -> bool:
            return name not in ("contacts", "assessments")

    bare = dataclasses.replace(study, tables=Without(study.tables, pd.Timestamp("2018-01-01")))
    with pytest.raises(NotEstimable, match=r'(?s)"contacts".*"assessments"'):
        predictors_of(bare, discharges)
