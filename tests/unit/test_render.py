"""An executed notebook becomes three files that can be read by everybody, or is refused with every reason."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from evalkit.core.errors import OutputError, ParameterError
from evalkit.report.render import FORMATS, render_report

METADATA = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
ALT = "Line from 1 to 2: the rate fell from 2 to 1."


def png() -> str:
    figure, ax = plt.subplots(figsize=(4, 3))
    ax.plot([1, 2], [2, 1])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


def shown(block: dict, data: dict | None = None):
    return new_output("display_data", data=data or {"text/plain": "x"}, metadata={"evalkit": block})


def notebook(*outputs) -> nbformat.NotebookNode:
    cell = new_code_cell("show()")
    cell.outputs = list(outputs)
    prose = "## What we found\n\nProse with $x_i$ and a formula: $$\\mu = \\frac{a}{b}$$"
    cells = [new_markdown_cell(prose, id="prose"), cell, new_markdown_cell("## Last\n\nEnd.", id="last")]
    return new_notebook(cells=cells, metadata=METADATA)


DOCUMENT = {"kind": "document", "id": "document", "title": "A title", "subtitle": "Under it",
            "banner": "Simulated people", "facts": {"Protocol": "abc"}, "report": "peer"}  # fmt: skip
FIGURE = {"kind": "figure", "id": "trend", "caption": "Entries by year", "alt": ALT, "width_inches": 4.0}
TABLE = {"kind": "table", "id": "counts", "caption": "Counts", "note": "A note.", "columns": ["Group", "People"],
         "rows": [["Lambeth", "120"], ["Other <areas>", "not released"]], "align": ["left", "right"]}  # fmt: skip
TEXT = {"kind": "text", "id": "lead"}


def good() -> nbformat.NotebookNode:
    return notebook(
        shown(DOCUMENT), shown(FIGURE, {"image/png": png()}), shown(TABLE),
        shown(TEXT, {"text/markdown": "Made from **numbers**."}),
    )  # fmt: skip


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("report")
    nbformat.write(good(), folder / "in.ipynb")
    written = render_report(folder / "in.ipynb", folder / "peer", title="Fallback")
    return dict(zip(FORMATS, written.files, strict=True))


def test_the_page_needs_nothing_else_and_names_its_parts(rendered):
    page = rendered["html"].read_text(encoding="utf-8")
    assert '<html lang="en-GB">' in page
    assert not re.search(r'(src|href)="(https?:)?//', page)
    assert f'alt="{ALT}"' in page
    assert page.count('scope="col"') == 2
    assert page.count('scope="row"') == 2
    assert page.count('<div class="scroll" tabindex="0"><table') == page.count("</table></div>") == 1
    assert '<math display="block" tabindex="0"' in page
    assert "Figure 1. Entries by year" in page
    assert "Table 1. Counts" in page
    assert "Other &lt;areas&gt;" in page
    assert '<h1 class="title">A title</h1>' in page
    assert page.count("<h1") == 1
    assert '<h2 id="what-we-found">' in page
    assert '<div id="lead">' in page
    assert "<math" in page
    assert "Simulated people" in page


def test_the_pdf_is_tagged_in_english_and_bears_its_alt_text(rendered):
    raw = rendered["pdf"].read_bytes()
    assert raw.startswith(b"%PDF")
    assert b"/Lang" in raw
    assert b"/StructTreeRoot" in raw
    assert b"pdfuaid" in raw


def test_the_word_file_has_headings_a_header_row_and_alt_text(rendered):
    with zipfile.ZipFile(rendered["docx"]) as archive:
        body = archive.read("word/document.xml").decode()
        styles = archive.read("word/styles.xml").decode()
    assert 'w:val="Heading1"' in body
    assert "<w:tblHeader" in body
    assert ALT in body
    assert re.search(r'<w:lang[^>]*w:val="en-GB"', styles)


def test_no_path_of_the_machine_is_written(rendered):
    with zipfile.ZipFile(rendered["docx"]) as archive:
        parts = [archive.read(name) for name in archive.namelist() if name.endswith(".xml")]
    for content in (*parts, rendered["html"].read_bytes(), rendered["pdf"].read_bytes()):
        assert b"references.bib" not in content
        assert str(rendered["docx"].parent).encode() not in content


def test_the_same_notebook_gives_the_same_bytes(rendered, tmp_path):
    nbformat.write(good(), tmp_path / "in.ipynb")
    again = render_report(tmp_path / "in.ipynb", tmp_path / "peer", title="Fallback")
    for kind, path in zip(FORMATS, again.files, strict=True):
        assert path.read_bytes() == rendered[kind].read_bytes(), kind


def test_citations_are_resolved_and_an_unknown_one_is_refused(tmp_path):
    for key, known in (("conley2011", True), ("nobody1900", False)):
        cited = notebook(shown(TEXT, {"text/markdown": f"As was shown [@{key}]."}))
        cited.cells.append(new_markdown_cell("## References\n\n::: {#refs}\n:::"))
        nbformat.write(cited, tmp_path / "in.ipynb")
        if known:
            page, _, _ = render_report(tmp_path / "in.ipynb", tmp_path / "peer", title="T").files
            text = page.read_text()
            assert "(Conley and Taber 2011)" in re.sub(r"\s+", " ", re.sub("<[^>]+>", "", text))
            assert "10.1162/REST_a_00049" in text
        else:
            with pytest.raises(OutputError, match=key):
                render_report(tmp_path / "in.ipynb", tmp_path / "other", title="T")
            assert not list(tmp_path.glob("other*"))


def test_all_that_is_not_meant_for_a_reader_is_refused_at_once_and_nothing_is_written(tmp_path):
    bad = notebook(
        new_output("stream", name="stderr", text="a warning"),
        new_output("stream", name="stdout", text="a print"),
        new_output("error", ename="ValueError", evalue="person 17 is missing", traceback=[]),
        new_output("display_data", data={"image/png": png()}),
        new_output("execute_result", data={"text/plain": "42"}, execution_count=1),
    )
    nbformat.write(bad, tmp_path / "in.ipynb")
    with pytest.raises(ParameterError) as caught:
        render_report(tmp_path / "in.ipynb", tmp_path / "peer", title="T")
    text = str(caught.value)
    assert len(caught.value.faults) == 5
    assert "image without alt text" in text
    assert "stderr" in text
    assert "person 17" not in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.ipynb"]
