"""What the gate hides changes nothing that is rendered: releases are equal to the byte, and reports read no more."""

from __future__ import annotations

import ast
from pathlib import Path

import nbformat
import pytest
from counts_factory import PROTOCOL, PROVENANCE, estimate, rate_cell

import evalkit.report
from evalkit.core.result import Cell, Results
from evalkit.disclose import Release, policy, release

ROOT = Path(__file__).parents[2]
SOURCES = sorted(Path(evalkit.report.__file__).parent.glob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*_report.ipynb"))
# Ways to people's rows, to numbers before the gate, to the machine and to its clock.
_FORBIDDEN = {
    "read_parquet", "read_csv", "read_table", "read_sql", "read_pickle", "read_feather", "connect", "duckdb", "ibis",
    "pyarrow", "now", "today", "utcnow", "getuser", "home", "environ", "getenv", "urlopen", "gethostname", "Results",
}  # fmt: skip
_ALLOWED = {
    "academic_coverage": {"read_csv"},  # a file of the package, about simulated worlds
    "render_docx": {"environ"},  # a fixed date for pandoc
}


def let_out(results: Results) -> Release:
    return release(results, policy=policy("strict"), protocol=PROTOCOL, provenance=PROVENANCE)


def workings(*, ethnic: dict[str, int], people: int, events: int, weight: float) -> Results:
    """A run with a table, a rate, a curve, an estimate and a check."""
    total = sum(ethnic.values())
    table = [Cell("all", "n", total, "count")]
    for name, count in ethnic.items():
        table.append(Cell(f"ethnic.{name}", "n", count, "count", totals=("all/n",)))
        table.append(Cell(f"ethnic.{name}", "%", 100 * count / total, "percent", numerator=f"ethnic.{name}/n",
                          denominator="all/n"))  # fmt: skip
    curve = [Cell("Lambeth|before|30", "risk", events / people, "statistic", n_people=people, n_events=events)]
    effect = estimate(n_people=people, n_events=143, value=0.01234 + weight)
    return Results.concat([
        Results.from_cells("description.ethnic", table),
        Results.from_cells("trend.x", rate_cell("y", "L", events, 210.4)),
        Results.from_cells("readmission_curve", curve), Results.from_estimates([effect]),
    ])  # fmt: skip


@pytest.mark.parametrize("other", [
    {"ethnic": {"white": 121, "black": 88, "asian": 22, "mixed": 6}, "people": 812, "events": 24, "weight": 0.0},
    {"ethnic": {"white": 118, "black": 92, "asian": 18, "mixed": 9}, "people": 808, "events": 23, "weight": 0.0},
    {"ethnic": {"white": 120, "black": 90, "asian": 20, "mixed": 4}, "people": 810, "events": 26, "weight": 1e-7},
])  # fmt: skip
def test_workings_that_differ_in_what_is_hidden_give_the_same_bytes(other: dict, tmp_path: Path) -> None:
    one = workings(ethnic={"white": 120, "black": 90, "asian": 20, "mixed": 5}, people=810, events=25, weight=0.0)
    two = workings(**other)
    assert not one.frame.equals(two.frame)
    let_out(one).save(tmp_path / "one")
    let_out(two).save(tmp_path / "two")
    for name in ("results.parquet", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_workings_that_differ_in_what_is_shown_do_not(tmp_path: Path) -> None:
    one = workings(ethnic={"white": 120, "black": 90, "asian": 20, "mixed": 5}, people=810, events=25, weight=0.0)
    two = workings(ethnic={"white": 140, "black": 90, "asian": 20, "mixed": 5}, people=810, events=25, weight=0.0)
    assert let_out(one).manifest_text != let_out(two).manifest_text


def _names(tree: ast.AST) -> set[str]:
    found = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0], *(alias.name for alias in node.names)}
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_report_code_has_no_way_to_anything_but_a_release_and_a_review(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not _names(tree) & _FORBIDDEN - _ALLOWED.get(path.stem, set())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    ours = {m.split(".")[1] for m in modules if m.startswith("evalkit.")}
    assert ours <= {"core", "disclose", "review", "report"}
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert not any("workings/" in t and "\n" not in t and len(t) < 40 for t in texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_report_notebooks_read_a_release_and_a_review_alone(path: Path) -> None:
    code = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code")
    names = _names(ast.parse(code))
    assert not names & (_FORBIDDEN | {"open", "Path", "os"})
    loads = {name for name in names if name.startswith(("load_", "read_"))}
    assert loads <= {"load_release", "load_review"}
