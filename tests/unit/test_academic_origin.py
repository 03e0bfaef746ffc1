"""The line of source under each table and figure names the tables that it was made of: those, and no others.

Half of the released tables are changed at a time, at random; a block must move if and only if one of its sources was
among them. The report is run without drawing: what would be drawn is taken as it is handed to the plotting functions.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from functools import cache

import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import evalkit.report
from evalkit.core.result import Results
from evalkit.disclose import Release, load_release
from evalkit.disclose.release import _FROM_THE_GATE
from evalkit.report import academic_origin, display, sources
from evalkit.report.academic_origin import ELSEWHERE, build_sources, origin_table, source_lines
from evalkit.report.blocks import plain_text
from evalkit.report.document import read_document
from evalkit.review.record import Review
from tests.report_factory import ROOT, make_release

RUNS = 3
# Blocks that tell of tables as a whole (whether they are there, or how many numbers), and not of their numbers.
WHOLE = ("tab-suppression", "tab-origins")


@cache
def real() -> Release:
    return load_release(ROOT / "reports" / "ipsa")


def notebook_cells() -> list[str]:
    """What the academic notebook runs after the release is loaded."""
    notebook = nbformat.read(ROOT / "notebooks" / "academic_report.ipynb", as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return [code[1].splitlines()[-1], *code[2:]]


def imports() -> dict[str, object]:
    notebook = nbformat.read(ROOT / "notebooks" / "academic_report.ipynb", as_version=4)
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"][1]
    names: dict[str, object] = {}
    exec(code.split("source = ")[0], names)
    return names | {"record": Review()}


def written(value: object) -> str:
    if isinstance(value, pd.DataFrame):
        return value.to_csv()
    if isinstance(value, list | tuple):
        return "[" + ",".join(written(part) for part in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(part)}" for key, part in value.items()) + "}"
    return repr(value)


@pytest.fixture
def blocks(monkeypatch) -> dict[str, str]:
    """What each block of the report is made of, as a digest; filled while the cells run."""
    seen: dict[str, str] = {}

    def keep(id: str, *parts: object) -> None:
        seen[id] = hashlib.sha256(written(parts).encode()).hexdigest()

    stand_ins = {
        "show_figure": lambda figure, *, id, caption, alt: keep(id, figure, caption, alt),
        "show_table": lambda frame, *, id, caption, note="": keep(id, frame, caption, note),
        "show_text": lambda markdown, *, id: keep(id, markdown),
        "show_document": lambda **facts: None, "show_sources": lambda lines: None,
    }  # fmt: skip
    # All are imported before any is changed: one that was first imported later would keep the stand-ins for good.
    modules = [
        importlib.import_module(f"evalkit.report.{found.name}")
        for found in pkgutil.iter_modules(evalkit.report.__path__)
    ]
    for module in modules:
        for name in vars(module).copy():
            if name.startswith("plot_"):
                monkeypatch.setattr(module, name, lambda *rows, **options: written((rows, options)))
            elif name in stand_ins:
                monkeypatch.setattr(module, name, stand_ins[name])
    return seen


def run(found: Release, seen: dict[str, str]) -> dict[str, str]:
    seen.clear()
    names = imports() | {"source": found}
    for cell in notebook_cells():
        exec(cell, names)
    return dict(seen)


def changed(whole: Release, tables: set[str]) -> Release:
    """The release with other numbers and reasons in some tables, and the same rows everywhere."""
    frame = whole.results.frame
    rows = frame["table"].isin(tables)
    for column, factor in (("value", 1.0371), ("lower", 1.0519), ("upper", 1.0737)):
        frame.loc[rows, column] = frame.loc[rows, column] * factor + 0.0131
    frame.loc[rows, ["n_people", "n_events"]] *= 1.31
    told = rows & (frame["reason"] != "")
    frame.loc[told, "reason"] = frame.loc[told, "reason"].str.removesuffix(".") + " again."
    return Release(Results(frame), whole.manifest_text, whole.protocol, made_by=_FROM_THE_GATE)


@pytest.mark.slow
def test_a_block_moves_when_its_sources_do_and_only_then(blocks) -> None:
    whole = real()
    before = run(whole, blocks)
    held = sorted(set(whole.results.frame["table"]))
    declared = build_sources(whole)
    rng = np.random.default_rng(20150401)
    wrong = set()
    for _ in range(RUNS):
        picked = {table for table, take in zip(held, rng.random(len(held)) < 0.5, strict=True) if take}
        after = run(changed(whole, picked), blocks)
        wrong |= {
            name for name in before
            if name.startswith(("fig-", "tab-")) and name not in WHOLE
            and (after.get(name) != before[name]) != bool(picked & set(declared.get(name, ())))
        }  # fmt: skip
    assert wrong == set()


def test_every_table_and_figure_of_the_report_has_its_line(blocks) -> None:
    for found in (real(), make_release("thin")):
        lines = source_lines(found)
        shown = [name for name in run(found, blocks) if name.startswith(("fig-", "tab-"))]
        assert [name for name in shown if name not in lines] == []


def test_every_number_has_its_row_in_the_appendix() -> None:
    found = real()
    table = origin_table(found)
    assert sum(int(n.replace(",", "")) for n in table["Numbers"]) == len(found.results)
    assert set(table["Notebook"]) <= {path.stem for path in (ROOT / "notebooks").glob("[01]*.ipynb")}


def test_cells_are_told_where_they_were_noted_and_notebooks_alone_where_not(monkeypatch) -> None:
    found = make_release("benefit")
    monkeypatch.setattr(academic_origin, "read_cells", lambda release: {})
    assert source_lines(found)["tab-readmission"] == "Source: readmission_counts from sample."
    cells = {"readmission_counts": {"sample": {"made": "c2", "shown": "c8"}}, "effects": {"sample": {"made": "c2"}},
             "gone": {"sample": {"made": "c2"}}}  # fmt: skip
    monkeypatch.setattr(academic_origin, "read_cells", lambda release: cells)
    lines = source_lines(found)
    assert lines["tab-readmission"] == "Source: readmission_counts from sample#c8."
    assert lines["tab-effects"] == "Source: effects from sample#c2."
    assert "gone" not in " ".join(lines.values())
    without = source_lines(make_release("benefit", drop=("table1",)))
    assert without["tab-one"] == "Source: table1, of which this release holds no number."
    assert set(ELSEWHERE) <= set(lines)


def test_the_line_stands_under_its_block_in_the_document(tmp_path) -> None:
    shown: list[tuple[dict, dict]] = []
    with pytest.MonkeyPatch.context() as patch:
        keep = lambda data, *, raw, metadata: shown.append((data, metadata))  # noqa: E731
        patch.setattr(display, "display", keep)
        patch.setattr(sources, "display", keep)
        for name, note in (("tab-a", ""), ("tab-b", "A note."), ("tab-c", "")):
            display.show_table(pd.DataFrame({"A": ["x"], "B": ["1"]}), id=name, caption="Caption", note=note)
        for name, caption in (("fig-a", "A picture"), ("fig-b", "Why?")):
            display.show_figure(Figure(figsize=(1, 1)), id=name, caption=caption, alt="Nothing.")
        sources.show_sources({"tab-a": "Source: one.", "tab-b": "Source: two.", "fig-gone": "Source: none.",
                              "fig-a": "Source: three.", "fig-b": "Source: four."})  # fmt: skip
    outputs = [nbformat.v4.new_output("display_data", data, metadata=metadata) for data, metadata in shown]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=outputs)])
    nbformat.write(notebook, tmp_path / "report.ipynb")
    tree = read_document(tmp_path / "report.ipynb", media=tmp_path, title="T").tree["blocks"]
    text = str(tree)
    assert text.count("tab-a-source") == text.count("tab-b-source") == 1
    assert "tab-c-source" not in text
    assert "fig-gone" not in text
    captions = [plain_text(node["c"][1][1][0]["c"]) for node in tree if node["t"] == "Figure"]
    assert captions == ["Figure 1. A picture. Source: three.", "Figure 2. Why? Source: four."]
    assert text.index("tab-b-note") < text.index("tab-b-source") < text.index("tab-c")
