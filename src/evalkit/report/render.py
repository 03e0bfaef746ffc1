"""One executed report notebook to self-contained HTML, DOCX and tagged PDF."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from evalkit.core.errors import Fault, OutputError
from evalkit.report.blocks import ReportBlock, read_blocks
from evalkit.report.changes import build_labels, with_labels
from evalkit.report.citations import with_citations
from evalkit.report.document import read_document
from evalkit.report.render_docx import write_docx
from evalkit.report.render_html import write_html
from evalkit.report.render_pdf import write_pdf
from evalkit.review.record import Review

FORMATS = ("html", "docx", "pdf")


@dataclass(frozen=True)
class Rendered:
    """The files of one report and the blocks that they all show."""

    files: tuple[Path, ...]
    blocks: tuple[ReportBlock, ...]


def render_report(
    executed: Path, out_stem: Path, *, title: str, version: int = 1, review: Review | None = None
) -> Rendered:
    """Write `<out_stem>.html`, `.docx` and `.pdf` from an executed notebook.

    The HTML holds everything it needs and asks for nothing; the PDF is tagged (PDF/UA-1). Files are
    moved into place only when all three are written. What changed since the last version of the `review`,
    and after which comment, is said beside the block.

    Raises
    ------
    ParameterError
        Where the notebook shows something that is not meant for a reader (see `read_document`), or two blocks
        bear one id.
    OutputError
        Where a file cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch, as_file(files("evalkit.report")) as package:
        media, templates = Path(scratch), package / "templates"
        document = with_citations(read_document(Path(executed), media=media, title=title), package / "references.bib")
        blocks = read_blocks(document)
        labels = build_labels(blocks, review or Review(), report=document.report, version=version)
        labelled = with_labels(document, labels)
        changes = [(block, labels[block.id]) for block in blocks if block.id in labels]
        written = [
            write_html(labelled, media, templates, version=version, changes=changes),
            write_docx(labelled, media, templates),
            write_pdf(labelled, media, templates),
        ]
        targets = tuple(out_stem.with_name(f"{out_stem.name}.{kind}") for kind in FORMATS)
        try:
            for source, target in zip(written, targets, strict=True):
                shutil.copyfile(source, target)
        except OSError as error:
            raise OutputError(Fault(str(out_stem), f"the report cannot be written ({error.strerror})")) from error
    return Rendered(targets, blocks)
