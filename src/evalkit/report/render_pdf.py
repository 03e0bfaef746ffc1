"""The report as a tagged PDF (PDF/UA-1), set by typst."""

from __future__ import annotations

import json
import re
from pathlib import Path

import typst

from evalkit.core.errors import Fault, OutputError
from evalkit.report.document import Block, Document, run_pandoc
from evalkit.report.tree import EPOCH, map_blocks, shared_arguments, titled, with_top_level

_FORMULA = re.compile(r"^\$\s*(.*?)\s*\$$", re.DOTALL)


def write_pdf(document: Document, media: Path, templates: Path) -> Path:
    blocks = map_blocks(with_top_level(document.tree["blocks"], 1), _for_typst)
    if document.report == "peer":
        blocks = _with_first_page(blocks)
    source = run_pandoc(
        titled(document, blocks), "typst", "json", "--standalone", f"--template={templates / 'report.typ'}",
        *shared_arguments(media),
    )  # fmt: skip
    written = media / "report.typ"
    written.write_text(source, encoding="utf-8")
    out = media / "report.pdf"
    try:
        typst.compile(
            str(written), output=str(out), root=str(media), ignore_system_fonts=True, pdf_standards=["ua-1"],
            timestamp=int(EPOCH.timestamp()),
        )  # fmt: skip
    except typst.TypstError as error:
        raise OutputError(Fault("typst", "it could not write the PDF", got=str(error)[:800])) from None
    return out


def _with_first_page(blocks: list[Block]) -> list[Block]:
    """The first section alone on the first page: peers are promised the whole in one page."""
    sections = [i for i, block in enumerate(blocks) if block["t"] == "Header" and block["c"][0] == 1]
    if len(sections) < 2:
        return blocks
    page_break = {"t": "RawBlock", "c": ["typst", "#pagebreak()"]}
    return [*blocks[: sections[1]], page_break, *blocks[sections[1] :]]


def _for_typst(node: Block) -> Block:
    """Figures and formulas as typst with alternative text, which pandoc leaves out and PDF/UA asks for."""
    if node.get("t") == "Figure":
        attributes, caption, ((plain),) = node["c"][0], node["c"][1], node["c"][2]
        image = plain["c"][0]
        alt, name, width = _text(image["c"][1]), image["c"][2][0], dict(image["c"][0][2])["width"]
        words = _text(caption[1][0]["c"])
        code = (
            f"#figure(image({_string(name)}, alt: {_string(alt)}, width: {width}), caption: [{_escaped(words)}])"
            f"\n<{attributes[0]}>"
        )
        return {"t": "RawBlock", "c": ["typst", code]}
    if node.get("t") == "Math":
        display = node["c"][0]["t"] == "DisplayMath"
        tex = node["c"][1]
        typed = run_pandoc(f"$${tex}$$" if display else f"${tex}$", "typst", "markdown").strip()
        inside = _FORMULA.match(typed)
        formula = inside.group(1) if inside else typed
        code = f"#math.equation(block: {'true' if display else 'false'}, alt: {_string(_spoken(tex))}, ${formula}$)"
        return {"t": "RawInline", "c": ["typst", code]}
    return node


def _text(parts: list[Block]) -> str:
    return "".join(" " if part["t"] in ("Space", "SoftBreak") else part.get("c", "") for part in parts)


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _escaped(text: str) -> str:
    return re.sub(r"([\\#$*_`<>@\[\]])", r"\\\1", text)


def _spoken(tex: str) -> str:
    """LaTeX with its marks taken out, as near to speech as a rule can bring it."""
    words = re.sub(r"\\(text|mathrm|operatorname)\{([^}]*)\}", r" \2 ", tex)
    words = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r" \1 over \2 ", words)
    words = words.replace("\\sum", " sum ").replace("_", " sub ").replace("^", " to the ").replace("&", " ")
    return " ".join(re.sub(r"[\\{}]", " ", words).split())
