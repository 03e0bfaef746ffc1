"""What is in a Word file: headings, header rows, alternative text, language, and whether LibreOffice opens it."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import docx
from docx.oxml.ns import qn


def find_docx_faults(path: Path) -> list[str]:
    """What a reader of the Word file would lack, in words; none for a good file."""
    document = docx.Document(str(path))
    body, styles = document.element.body, document.styles.element
    names = [p.style.name for p in document.paragraphs if p.style.name.startswith("Heading ")]
    levels = [int(name.removeprefix("Heading ")) for name in names]
    faults = ["its first heading is not of level 1"] if levels and levels[0] != 1 else []
    faults += [f"heading {b} follows {a}" for a, b in pairwise(levels) if b > a + 1]
    for place, table in enumerate(body.iter(qn("w:tbl")), start=1):
        first = table.find(qn("w:tr"))
        properties = first.find(qn("w:trPr"))
        if properties is None or properties.find(qn("w:tblHeader")) is None:
            faults.append(f"table {place} has no header row")
    faults += [
        f"drawing {place} has no alternative text"
        for place, drawing in enumerate(body.iter(qn("w:drawing")), start=1)
        if not any(p.get("descr") for p in drawing.iter(qn("wp:docPr")))
    ]
    languages = {lang.get(qn("w:val")) for lang in styles.iter(qn("w:lang"))}
    faults += [] if languages == {"en-GB"} else [f"its languages are {sorted(map(str, languages))}"]
    if not document.core_properties.title:
        faults.append("it has no title")
    return faults


def find_office() -> str | None:
    return shutil.which("soffice") or shutil.which("libreoffice")


def convert_with_office(path: Path, folder: Path) -> Path:
    """The PDF that LibreOffice makes of a Word file, in a profile of its own."""
    profile = (folder / "profile").resolve().as_uri()
    subprocess.run(
        [find_office(), "--headless", f"-env:UserInstallation={profile}", "--convert-to", "pdf", "--outdir",
         str(folder), str(path)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return folder / f"{path.stem}.pdf"
