"""Each table of numbers is traced to the cell that made it and the first cell that shows it, in a real kernel."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from evalkit.analysis.reads import follow_results
from evalkit.core.errors import OutputError
from evalkit.core.result import Cell, Results
from evalkit.pipeline.origins import find_origins

MAKE = """
from evalkit.analysis.reads import follow_results
from evalkit.core.result import Cell, Results
from pathlib import Path

folder = Path("results")
folder.mkdir()
names = ("shown", "by_name.b", "by_name.c", "unseen")
parts = [Results.from_cells(t, [Cell("r", "c", 1.0, "statistic")]) for t in names]
parts = Results.concat([*parts, Results.from_cells("not_saved", [Cell("r", "c", 1.0, "statistic")])])
rows = parts.frame
Results(rows[rows["table"] != "not_saved"]).save(folder / "one.parquet")
results = follow_results(parts, notebook="one", workings=".")
early = results.table("shown")
"""
CELLS = {
    "setup": "name = 'b'", "making": MAKE, "silent": "len(results.table('shown')) ; None",
    "first": "results.table('shown')",
    "later": "results.table('shown')", "named": "print(results.table(f'by_name.{name}')['value'].iloc[0])",
    "other": "results.table('not_saved')",
}  # fmt: skip


@pytest.fixture(scope="module")
def workings(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workings")
    cells = [new_markdown_cell("# One", id="head"), new_code_cell("", id="empty")]
    cells += [new_code_cell(source, id=name) for name, source in CELLS.items()]
    notebook = new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(notebook, folder / "one.ipynb")
    return folder


def test_the_cell_that_made_and_the_first_that_shows(workings) -> None:
    assert find_origins(workings, ["one"]) == {
        "shown": {"one": {"made": "making", "shown": "first"}},
        "by_name.b": {"one": {"made": "making", "shown": "named"}},
        "by_name.c": {"one": {"made": "making"}},
        "unseen": {"one": {"made": "making"}},
    }


def test_a_notebook_without_notes_has_tables_and_no_cells(workings, tmp_path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "one.parquet").write_bytes((workings / "results" / "one.parquet").read_bytes())
    assert find_origins(tmp_path, ["one", "absent"])["shown"] == {"one": {}}


def test_notes_of_another_run_are_refused(workings, tmp_path) -> None:
    for name in ("results", "cells"):
        (tmp_path / name).mkdir()
    (tmp_path / "results" / "one.parquet").write_bytes((workings / "results" / "one.parquet").read_bytes())
    (tmp_path / "one.ipynb").write_bytes((workings / "one.ipynb").read_bytes())
    (tmp_path / "cells" / "one.json").write_text(json.dumps({"made": 40, "read": {"41": ["shown"]}}))
    with pytest.raises(OutputError, match="not those that were noted"):
        find_origins(tmp_path, ["one"])


def test_outside_a_notebook_nothing_is_noted(tmp_path) -> None:
    results = Results.from_cells("t", [Cell("r", "c", 1.0, "statistic")])
    assert follow_results(results, notebook="one", workings=tmp_path) is results
    assert list(tmp_path.iterdir()) == []
