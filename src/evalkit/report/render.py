"""One executed report notebook to self-contained HTML, DOCX and tagged PDF."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path

from evalkit.core.errors import Fault, OutputError
from evalkit.report.document import Block, Document, read_document, run_pandoc
from evalkit.report.render_docx import write_docx
from evalkit.report.render_html import write_html
from evalkit.report.render_pdf import write_pdf
from evalkit.report.tree import map_blocks

FORMATS = ("html", "docx", "pdf")


def render_report(executed: Path, out_stem: Path, *, title: str) -> tuple[Path, ...]:
    """Write `<out_stem>.html`, `.docx` and `.pdf` from an executed notebook.

    The HTML holds everything it needs and asks for nothing; the PDF is tagged (PDF/UA-1). Files are
    moved into place only when all three are written.

    Raises
    ------
    ParameterError
        Where the notebook shows something that is not meant for a reader (see `read_document`).
    OutputError
        Where a file cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch, as_file(files("evalkit.report")) as package:
        media, templates = Path(scratch), package / "templates"
        document = _cited(read_document(Path(executed), media=media, title=title), package / "references.bib")
        written = [
            write_html(document, media, templates),
            write_docx(document, media, templates),
            write_pdf(document, media, templates),
        ]
        targets = tuple(out_stem.with_name(f"{out_stem.name}.{kind}") for kind in FORMATS)
        try:
            for source, target in zip(written, targets, strict=True):
                shutil.copyfile(source, target)
        except OSError as error:
            raise OutputError(Fault(str(out_stem), f"the report cannot be written ({error.strerror})")) from error
    return targets


def _cited(document: Document, bibliography: Path) -> Document:
    """The document with its citations resolved; the bibliography's path stays out of what is written."""
    source = json.dumps(document.tree | {"meta": {}})
    arguments = ("--citeproc", f"--bibliography={bibliography}", "--metadata=link-citations:true", "--fail-if-warnings")
    tree = json.loads(run_pandoc(source, "json", "json", *arguments))
    return replace(document, tree=map_blocks(tree, _as_text))


def _as_text(node: Block) -> Block:
    # A citation that is resolved already must not be resolved again by a writer's own means.
    return {"t": "Span", "c": [["", [], []], node["c"][1]]} if node.get("t") == "Cite" else node
