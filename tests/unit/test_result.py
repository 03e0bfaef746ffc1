"""One long table: known columns, unique names, links that hold, bytes that depend on the numbers alone."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from evalkit.analysis.study import Study, save_results
from evalkit.core.errors import ParameterError
from evalkit.core.protocol import load_protocol
from evalkit.core.result import GLOSSARY, Cell, Check, Estimate, Results, not_estimable
from tests.panels import ESTIMAND


def estimate(**changes) -> Estimate:
    given = {"value": 0.6, "lower": 0.4, "upper": 0.9, "level": 0.95, "checks": (Check("rank", None, 1, "First."),)}
    return Estimate(ESTIMAND, "some_way", "primary", **(given | changes))


def test_an_estimate_and_its_checks_are_rows_of_one_table():
    rows = Results.from_estimates([estimate()]).frame
    assert list(rows.columns) == list(GLOSSARY)
    assert rows["table"].tolist() == ["effects", "checks.effects"]
    assert rows.loc[0, "estimand"] == "entry.rate_ratio"
    assert rows.loc[1, "unit"] == "informs"


def test_what_is_undefined_is_nan_with_a_reason_never_nought():
    row = Results.from_estimates([not_estimable(ESTIMAND, "way", role="primary", reason="No events.")]).frame.iloc[0]
    assert math.isnan(row["value"])
    assert (row["status"], row["reason"]) == ("not_estimable", "No events.")


def test_an_unknown_column_and_a_name_used_twice_are_refused():
    with pytest.raises(ParameterError, match="not in the glossary"):
        Results(pd.DataFrame({"id": ["a"], "colour": ["red"]}))
    with pytest.raises(ParameterError, match='two numbers are called "a"'):
        Results(pd.DataFrame({"id": ["a", "a"]}))


def test_a_link_to_nothing_is_refused():
    cells = [Cell("sex.female", "Lambeth", 12, "count", totals=("all/Lambeth",))]
    with pytest.raises(ParameterError, match="all/Lambeth"):
        Results.from_cells("table1", cells)


def test_saving_twice_gives_the_same_bytes_and_loading_the_same_numbers(tmp_path):
    results = Results.from_estimates([estimate(), estimate(value=math.nan).with_role("naive")])
    for name in ("a", "b"):
        results.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    pd.testing.assert_frame_equal(Results.load(tmp_path / "a").frame, results.frame)


def test_what_the_protocol_does_not_ask_for_is_saved_as_exploratory(tmp_path):
    class NoTables:
        digest = "tables"

    protocol = load_protocol("protocols/ipsa.toml")
    planned = protocol.estimand(protocol.outcome("residential_entry"))
    asked = Estimate(planned, "poisson_did_permutation", "primary", 0.6, 0.4, 0.9, 0.95)
    unasked = Estimate(planned, "synthetic_control_conformal", "primary", 0.6, 0.4, 0.9, 0.95)
    part = Results.from_estimates([asked, unasked, estimate(checks=())])
    saved = save_results(Study(protocol, NoTables()), [part], notebook="n", workings=tmp_path)
    assert saved.frame["role"].tolist() == ["primary", "exploratory", "exploratory"]
    assert set(saved.frame["protocol"]) == {protocol.digest}
    assert (tmp_path / "results" / "n.parquet").is_file()
    assert np.isclose(Results.load(tmp_path / "results" / "n.parquet").frame["value"], 0.6).all()


def test_tables_that_are_held_never_come_where_the_gate_reads(tmp_path):
    class NoTables:
        digest = "tables"

    protocol = load_protocol("protocols/ipsa.toml")
    design = Estimate(
        entry_estimand(protocol),
        "did_permutation",
        "sensitivity",
        0.6,
        0.4,
        0.9,
        0.95,
        checks=(Check("fit", None, 0.1, "x"),),
    )
    parts = [
        Results.from_estimates([design], table="designs.residential_entry"),
        Results.from_cells("gap.residential_entry", [Cell("2015", "Lambeth", -1.0, "statistic")]),
        Results.from_cells("weightsome", [Cell("2015", "a", 1.0, "statistic")]),
    ]
    saved = save_results(Study(protocol, NoTables()), parts, notebook="n", workings=tmp_path)
    assert len(saved) == 4
    out = set(Results.load(tmp_path / "results" / "n.parquet").frame["table"])
    assert out == {"designs.residential_entry", "weightsome"}
    held = set(Results.load(tmp_path / "held" / "n.parquet").frame["table"])
    assert held == {"checks.designs.residential_entry", "gap.residential_entry"}


def entry_estimand(protocol):
    return protocol.estimand(protocol.outcome("residential_entry"))
