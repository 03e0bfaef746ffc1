"""What every committed notebook is held to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat
import pyarrow.parquet as pq
import pytest

from evalkit.core.result import GLOSSARY
from evalkit.pipeline.plan import ANALYSIS_PARAMETERS, DEFAULT_PLAN, REPORT_PARAMETERS, check_notebooks

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "notebooks"
REPORT_NOTEBOOKS = {report.notebook for report in DEFAULT_PLAN.reports}
ALLOWED_IN_REPORTS = ("evalkit.report", "evalkit.disclose", "evalkit.review", "evalkit.core")
MAX_NOTEBOOK_BYTES = 2_000_000
MAX_REPORT_BYTES = 4_000_000  # the academic one has some 70 figures (decision 9)

notebooks = pytest.mark.parametrize("name", DEFAULT_PLAN.notebooks)


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(name).cells if cell.cell_type == "code"]


def tree_of(name: str) -> ast.Module:
    # Magics and shell lines are no Python: there should be none, and ast says so.
    return ast.parse("\n".join(cell.source for cell in code_cells(name)))


def test_the_pipeline_accepts_the_notebooks() -> None:
    assert check_notebooks(FOLDER, DEFAULT_PLAN) == []


def test_every_notebook_is_in_the_plan() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(DEFAULT_PLAN.notebooks)


@notebooks
def test_parameters_are_typed_and_commented(name: str) -> None:
    cells = [cell for cell in code_cells(name) if "parameters" in cell.metadata.get("tags", [])]
    assert len(cells) == 1
    lines = [line for line in cells[0].source.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) == len(REPORT_PARAMETERS if name in REPORT_NOTEBOOKS else ANALYSIS_PARAMETERS)
    for line in lines:
        assert re.fullmatch(r"\w+: \w+ = .+  # .+", line), line


@notebooks
def test_no_function_or_class_is_defined_in_a_notebook(name: str) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = [node.lineno for node in ast.walk(tree_of(name)) if isinstance(node, kinds)]
    assert found == []


@pytest.mark.parametrize("name", sorted(REPORT_NOTEBOOKS))
def test_a_report_notebook_reaches_released_numbers_only(name: str) -> None:
    reached = []
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            reached += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            reached.append(node.module)
    ours = [module for module in reached if module.split(".")[0] == "evalkit"]
    assert ours
    assert [module for module in ours if not module.startswith(ALLOWED_IN_REPORTS)] == []
    readers = {"duckdb", "ibis", "pyarrow", "pandera", "papermill"}
    assert [module for module in reached if module.split(".")[0] in readers] == []


@notebooks
def test_stored_outputs_are_clean_and_small(name: str) -> None:
    cells = code_cells(name)
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1)), "run `make notebooks`"
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.get("text")
    most = MAX_REPORT_BYTES if name in REPORT_NOTEBOOKS else MAX_NOTEBOOK_BYTES
    assert (FOLDER / f"{name}.ipynb").stat().st_size < most


@notebooks
def test_no_trace_of_the_machine_is_stored(name: str) -> None:
    notebook = read(name)
    assert "papermill" not in notebook.metadata
    assert all("papermill" not in cell.metadata and "execution" not in cell.metadata for cell in notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"


def test_every_column_of_the_released_results_is_in_the_glossary() -> None:
    released = sorted((REPOSITORY / "reports").glob("*/results.parquet"))
    assert released, "run `make evaluate`"
    for path in released:
        assert pq.read_schema(path).names == list(GLOSSARY)
