"""Tables of the reports: nothing withheld is shown, and what is missing says why."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from evalkit.disclose import Release
from evalkit.report import academic, display, facts, tables
from evalkit.report.peer_limits import missing_table, naive_table
from tests.report_factory import World, make_release

WORLDS: tuple[World, ...] = ("benefit", "none", "harm", "thin")
BUILDERS = [
    tables.effects_table, tables.checks_table, tables.risk_checks_table, tables.claims_table,
    tables.plain_claims_table, tables.attrition_table, tables.table_one, tables.estimands_table,
    tables.definitions_table, tables.not_estimable_table, tables.suppression_table,
    tables.readmission_table, tables.recurrence_table, tables.data_table, tables.missing_numbers,
    tables.cost_relative_table, tables.digests_table, tables.money_parts_table, missing_table, naive_table,
]  # fmt: skip
ACADEMIC = [name for name in academic.__all__ if name.startswith("show_")]


@pytest.fixture(scope="module")
def releases() -> dict[str, Release]:
    return {world: make_release(world) for world in WORLDS}


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda f: f.__name__)
def test_every_cell_is_text(releases, builder) -> None:
    for release in releases.values():
        table = builder(release)
        assert all(isinstance(cell, str) for column in table.columns for cell in table[column])
        assert not table.map(lambda cell: "nan" in cell.lower().split()).to_numpy().any()


@pytest.mark.parametrize("builder", BUILDERS, ids=lambda f: f.__name__)
def test_tables_stand_when_their_numbers_are_missing(builder) -> None:
    bare = make_release(
        "none", drop=("attrition", "table1", "data_", "readmission", "description", "cost", "risk", "checks")
    )
    assert isinstance(builder(bare), pd.DataFrame)


def test_a_withheld_number_is_named_for_what_it_is() -> None:
    row = pd.Series({"status": "suppressed", "reason": "fewer than 10", "value": math.nan, "kind": "count"})
    assert tables.shown(row) == "fewer than 10"
    other = row.copy()
    other["reason"] = "withheld so that another number cannot be worked out from it"
    assert tables.shown(other) == "not released"


def test_no_withheld_value_reaches_a_table(releases) -> None:
    for release in releases.values():
        frame = release.results.frame
        held = frame[(frame["status"] == "suppressed")]
        assert len(held)
        assert held[["value", "lower", "upper"]].isna().all(axis=None)
        table = tables.readmission_table(release).set_index("Group and period")
        for row in held[held["table"] == "readmission_counts"].itertuples():
            if row.kind == "count" and row.column == "died_365d":
                group, period = row.row.split("|")
                text = table.loc[f"{group}, {period}", "Died within 365 days"]
                assert text in ("fewer than 10", "not released")


def test_naive_estimates_are_labelled(releases) -> None:
    table = tables.effects_table(releases["benefit"])
    naive = table[table["Estimator"].str.contains("before", case=False)]
    assert len(naive)
    assert naive["Role"].str.contains("not evidence of effect").all()


def test_estimates_stand_in_the_order_of_the_protocol(releases) -> None:
    release = releases["benefit"]
    order = [o.label for o in release.protocol.outcomes]
    assert list(dict.fromkeys(tables.effects_table(release)["Outcome"])) == order


def test_the_treated_group_stands_first(releases) -> None:
    assert list(tables.table_one(releases["benefit"]).columns)[1] == "Lambeth"
    assert tables.readmission_table(releases["benefit"])["Group and period"].iloc[0] == "Lambeth, before"
    rows, per = facts.trend(releases["benefit"], releases["benefit"].protocol.outcome("rehab_admission"))
    assert (rows["column"].iloc[0], per) == ("Lambeth count", 100)


def test_what_could_not_be_estimated_is_listed_with_its_reason(releases) -> None:
    table = tables.not_estimable_table(releases["benefit"])
    assert table["Why there is no number"].str.startswith("Too few for an honest interval").all()
    assert len(table) == 1


def test_an_empty_date_of_death_is_not_missing(releases) -> None:
    assert missing_table(releases["benefit"])["What"].tolist()[0] == "Ethnic group"
    assert not missing_table(releases["benefit"])["What"].str.contains("date").any()


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("drop", [(), ("attrition", "table1", "data_", "readmission", "description", "risk", "calib"),
                                  ("trend", "event_study", "placebo", "cost", "balance")])  # fmt: skip
def test_the_academic_report_stands_in_every_world(world, drop, releases, monkeypatch) -> None:
    seen: list[dict] = []
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.append(metadata["evalkit"]))
    release = make_release(world, drop=drop) if drop else releases[world]
    for name in ACADEMIC:
        getattr(academic, name)(release)
    names = [block["id"] for block in seen]
    assert len(names) == len(set(names))
    assert {"tab-effects", "text-abstract", "text-limitations", "tab-provenance"} <= set(names)
    figures = [block for block in seen if block["kind"] == "figure"]
    assert figures
    assert not any("nan" in block["alt"].lower().split() for block in figures)


def test_the_abstract_says_which_way_it_went(releases, monkeypatch) -> None:
    said = {}
    for world in WORLDS:
        texts: list[str] = []
        monkeypatch.setattr(
            display, "display", lambda data, *, raw, metadata, to=texts: to.append(data["text/markdown"])
        )
        academic.show_abstract(releases[world])
        said[world] = texts[0]
    assert "rehabilitation ward (lower; likely)" in said["benefit"]
    assert "rehabilitation ward (higher; likely)" in said["harm"]
    for world in ("none", "thin"):
        assert "not evidence of no effect" in said[world]
