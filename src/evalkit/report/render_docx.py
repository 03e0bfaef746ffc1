"""The report as a Word document, in which readers can comment."""

from __future__ import annotations

import os
from pathlib import Path

from evalkit.report.document import Document, inlines, run_pandoc
from evalkit.report.tree import EPOCH, shared_arguments, titled, with_top_level


def write_docx(document: Document, media: Path, templates: Path) -> Path:
    out = media / "report.docx"
    before = os.environ.get("SOURCE_DATEEPOCH")
    os.environ["SOURCE_DATEEPOCH"] = str(int(EPOCH.timestamp()))
    front = []
    if document.banner:
        front.append({"t": "Para", "c": [{"t": "Strong", "c": inlines(document.banner)}]})
    front += [{"t": "Para", "c": inlines(f"{key}: {value}")} for key, value in document.facts.items()]
    try:
        run_pandoc(
            titled(document, front + with_top_level(document.tree["blocks"], 1)), "docx", "json", "--standalone",
            f"--reference-doc={templates / 'reference.docx'}", *shared_arguments(media), out=out,
        )  # fmt: skip
    finally:
        if before is None:
            del os.environ["SOURCE_DATEEPOCH"]
        else:
            os.environ["SOURCE_DATEEPOCH"] = before
    return out
