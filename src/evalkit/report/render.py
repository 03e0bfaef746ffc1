"""One executed report notebook to self-contained HTML, DOCX and tagged PDF."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import typst

from evalkit.core.errors import Fault, OutputError
from evalkit.report.document import Block, Document, inlines, read_document, run_pandoc

LANGUAGE = "en-GB"
FORMATS = ("html", "docx", "pdf")
_EPOCH = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # no run's clock enters a file
_FORMULA = re.compile(r"^\$\s*(.*?)\s*\$$", re.DOTALL)


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
            _write_html(document, media, templates),
            _write_docx(document, media, templates),
            _write_pdf(document, media, templates),
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
    return replace(document, tree=_mapped(tree, _as_text))


def _as_text(node: Block) -> Block:
    # A citation that is resolved already must not be resolved again by a writer's own means.
    return {"t": "Span", "c": [["", [], []], node["c"][1]]} if node.get("t") == "Cite" else node


def _shared_arguments(media: Path) -> list[str]:
    return [f"--resource-path={media}", "--fail-if-warnings", f"--metadata=lang:{LANGUAGE}"]


def _titled(document: Document, blocks: list[Block]) -> str:
    """The tree as JSON with the title block as metadata."""
    tree = document.tree | {"blocks": blocks, "meta": {}}
    texts = {"title": document.title, "subtitle": document.subtitle, "banner": document.banner}
    tree["meta"] = {key: {"t": "MetaInlines", "c": inlines(text)} for key, text in texts.items() if text}
    tree["meta"]["pagetitle"] = {"t": "MetaString", "c": document.title}
    tree["meta"]["facts"] = {
        "t": "MetaList",
        "c": [
            {"t": "MetaMap", "c": {"name": {"t": "MetaString", "c": k}, "value": {"t": "MetaString", "c": v}}}
            for k, v in document.facts.items()
        ],
    }
    return json.dumps(tree)


def _write_html(document: Document, media: Path, templates: Path) -> Path:
    out = media / "report.html"
    source = _titled(document, _with_top_level(document.tree["blocks"], 2))
    run_pandoc(
        source, "html5", "json", "--standalone", "--embed-resources", "--mathml", "--toc", "--toc-depth=2",
        f"--template={templates / 'report.html'}", f"--css={templates / 'report.css'}",
        *_shared_arguments(media), out=out,
    )  # fmt: skip
    text = out.read_text(encoding="utf-8")
    out.write_text(_with_reachable_parts(text), encoding="utf-8")
    return out


def _with_reachable_parts(text: str) -> str:
    """Tables with the scopes that screen readers ask for; tables and formulas that scroll, reached by keyboard.

    Pandoc writes neither; a table made to scroll by itself would lose its meaning as a table.
    """
    for part, scope in (("thead", "col"), ("tbody", "row")):
        body = re.compile(rf"(<{part}>.*?</{part}>)", re.DOTALL)
        header = re.compile(r"<th(?=[ >])")
        text = body.sub(lambda m, h=header, s=scope: h.sub(f'<th scope="{s}"', m.group(1)), text)
    text = text.replace('<math display="block"', '<math display="block" tabindex="0"')
    text = re.sub(r"<table(?=[ >])", '<div class="scroll" tabindex="0"><table', text)
    return text.replace("</table>", "</table></div>")


def _write_docx(document: Document, media: Path, templates: Path) -> Path:
    out = media / "report.docx"
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = str(int(_EPOCH.timestamp()))
    front = []
    if document.banner:
        front.append({"t": "Para", "c": [{"t": "Strong", "c": inlines(document.banner)}]})
    front += [{"t": "Para", "c": inlines(f"{key}: {value}")} for key, value in document.facts.items()]
    try:
        run_pandoc(
            _titled(document, front + _with_top_level(document.tree["blocks"], 1)), "docx", "json", "--standalone",
            f"--reference-doc={templates / 'reference.docx'}", *_shared_arguments(media), out=out,
        )  # fmt: skip
    finally:
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]
        else:
            os.environ["SOURCE_DATE_EPOCH"] = before
    return out


def _write_pdf(document: Document, media: Path, templates: Path) -> Path:
    blocks = _mapped(_with_top_level(document.tree["blocks"], 1), _for_typst)
    if document.report == "peer":
        blocks = _with_first_page(blocks)
    source = run_pandoc(
        _titled(document, blocks), "typst", "json", "--standalone", f"--template={templates / 'report.typ'}",
        *_shared_arguments(media),
    )  # fmt: skip
    written = media / "report.typ"
    written.write_text(source, encoding="utf-8")
    out = media / "report.pdf"
    try:
        typst.compile(
            str(written), output=str(out), root=str(media), ignore_system_fonts=True, pdf_standards=["ua-1"],
            timestamp=int(_EPOCH.timestamp()),
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


def _with_top_level(blocks: list[Block], top: int) -> list[Block]:
    """A copy in which the highest heading has level `top`: HTML keeps level 1 for the title."""
    levels: list[int] = []

    def collect(node: Block) -> Block:
        if node.get("t") == "Header":
            levels.append(node["c"][0])
        return node

    _mapped(blocks, collect)
    shift = top - min(levels, default=top)

    def move(node: Block) -> Block:
        return node | {"c": [node["c"][0] + shift, *node["c"][1:]]} if node.get("t") == "Header" else node

    return _mapped(blocks, move)


def _mapped(node: Any, change: Callable[[Block], Block]) -> Any:
    """The tree with `change` applied to every element, innermost first."""
    if isinstance(node, list):
        return [_mapped(child, change) for child in node]
    if isinstance(node, dict):
        return change({key: _mapped(value, change) for key, value in node.items()})
    return node


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
