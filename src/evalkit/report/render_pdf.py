"""The report as a tagged PDF (PDF/UA-1), set by typst."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Literal

import matplotlib
import typst

from evalkit.core.errors import Fault, OutputError
from evalkit.report.blocks import plain_text
from evalkit.report.document import Block, Document, run_pandoc
from evalkit.report.tree import (
    EPOCH,
    LEAD_CHARACTERS,
    is_lead,
    map_blocks,
    shared_arguments,
    titled,
    with_top_level,
)

Look = Literal["standard", "large_print"]
Fit = Literal["as_it_is", "page_wide", "shared_page"]
# Heights in inches: what fits (two or three to a page, with captions) and up to what height a picture is made to fit.
_PARTS_OF_A_PAGE = ((2.8, 3.3), (4.35, 5.9))
_LARGE_WIDTH, _LARGE_HEIGHT = 6.85, 8.9
_FORMULA = re.compile(r"^\$\s*(.*?)\s*\$$", re.DOTALL)


def write_pdf(document: Document, media: Path, templates: Path, *, look: Look = "standard") -> Path:
    """A tagged PDF: A4; large print is 18 points throughout, with the pictures as wide as the page.

    Raises
    ------
    OutputError
        Where the document cannot be set, with typst's own words.
    """
    peer = document.report == "peer"
    blocks = _flat(with_top_level(document.tree["blocks"], 1))
    fit: Fit = "page_wide" if look == "large_print" else "as_it_is" if peer else "shared_page"
    blocks = map_blocks(blocks, partial(_resized, fit=fit, media=media))
    if look == "large_print":
        blocks = _with_pictures_in_words(blocks)
    blocks = _with_leads(map_blocks(blocks, _for_typst))
    if not peer:
        blocks = _with_floats(blocks)
    blocks = _with_contents(blocks, first=1 if peer else 0, depth=1 if peer or look == "large_print" else 2)
    meta = {"base": "18" if look == "large_print" else "10"}
    meta |= {"large": "yes"} if look == "large_print" else {}
    meta |= {} if peer or look == "large_print" else {"serif": "yes"}
    source = run_pandoc(
        titled(document, blocks), "typst", "json", "--standalone", f"--template={templates / 'report.typ'}",
        *(f"--variable={name}:{value}" for name, value in meta.items()), *shared_arguments(media),
    )  # fmt: skip
    written = media / f"{look}.typ"
    written.write_text(source, encoding="utf-8")
    out = media / f"{look}.pdf"
    try:
        typst.compile(
            str(written), output=str(out), root=str(media), ignore_system_fonts=True, font_paths=[_sans()],
            pdf_standards=["ua-1"], timestamp=int(EPOCH.timestamp()),
        )  # fmt: skip
    except typst.TypstError as error:
        raise OutputError(Fault("typst", "it could not write the PDF", got=str(error)[:800])) from None
    return out


def _sans() -> str:
    """Where the typeface of the figures lies: the words of a report are set in it too."""
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")


def _flat(blocks: list[Block]) -> list[Block]:
    """No nested blocks: a heading inside one would not keep with the picture after it. Ids stay as labels."""
    out: list[Block] = []
    for block in blocks:
        if block["t"] != "Div" or block["c"][0][0] == "refs":
            out.append(block)
            continue
        (name, classes, _), inside = block["c"]
        if name:
            out.append(_typst(f"#metadata(none) <{name}>"))
        if "note" in classes:
            inside = [_wrapped(part, "#block(above: -0.6em, below: 1.8em)[#par[#text(size: 0.88em)[", "]]]")
                      for part in inside]  # fmt: skip
        out += _flat(inside)
    return out


def _with_pictures_in_words(blocks: list[Block]) -> list[Block]:
    """Below each picture what it shows: the words inside a picture stay smaller than large print."""
    out = []
    for block in blocks:
        out.append(block)
        if block["t"] == "Figure":
            words = block["c"][2][0]["c"][0]["c"][1]
            lead = [{"t": "Strong", "c": [{"t": "Str", "c": "In"}, {"t": "Space"}, {"t": "Str", "c": "words:"}]}]
            out.append({"t": "Para", "c": [*lead, {"t": "Space"}, *words]})
    return out


def _with_leads(blocks: list[Block]) -> list[Block]:
    """Short words that lead to what follows stay on its page: "Fewer is better.", "Why we are not sure:"."""
    out = []
    for place, block in enumerate(blocks):
        before = next((b for b in reversed(blocks[:place]) if not _is_label(b)), {"t": ""})
        after = next((b for b in blocks[place + 1 :] if not _is_label(b)), {"t": ""})
        follows = "Figure" if _is_figure(after) else after["t"]
        # A note belongs to what stands above it; and a block within a block within a paragraph is left out by typst.
        sticky = not _is_wrapped(block) and is_lead(block, before=before["t"], after=follows)
        out.append(_wrapped(block, "#block(sticky: true)[#par[", "]]") if sticky else block)
    return out


def _with_floats(blocks: list[Block]) -> list[Block]:
    """A picture before a table or a long paragraph may go to the next page and let them fill this one.

    Others stay where they are, and none passes another.
    """
    out = []
    for place, block in enumerate(blocks):
        after = next((b for b in blocks[place + 1 :] if not _is_label(b)), {"t": ""})
        if not _is_figure(block):
            out += [_typst("#place.flush()")] if block["t"] == "Header" else []
            out.append(block)
        elif after["t"] == "Table" or len(plain_text(after)) > LEAD_CHARACTERS:
            out.append(_typst(block["c"][1].replace("#figure(", "#figure(placement: auto, ", 1)))
        else:
            out += [_typst("#place.flush()"), block]
    return out


def _with_contents(blocks: list[Block], *, first: int, depth: int) -> list[Block]:
    """The contents, with `first` sections alone on the page before: peers are promised the whole in one page."""
    sections = [i for i, block in enumerate(blocks) if block["t"] == "Header" and block["c"][0] == 1]
    outline = f"outline(title: [Contents], depth: {depth}, indent: 1.2em)"
    contents = _typst(f"#{outline}" if depth == 1 else f"#columns(2, gutter: 1.1cm, {outline})")
    if len(sections) < 2:
        return blocks
    turn = _typst("#pagebreak()")
    if not first:
        return [contents, turn, *blocks]
    return [*blocks[: sections[first]], turn, contents, turn, *blocks[sections[first] :]]


def _typst(code: str) -> Block:
    return {"t": "RawBlock", "c": ["typst", code]}


def _is_label(block: Block) -> bool:
    return block["t"] == "RawBlock" and block["c"][1].startswith("#metadata(")


def _is_figure(block: Block) -> bool:
    return block["t"] == "RawBlock" and block["c"][1].startswith("#figure(")


def _is_wrapped(block: Block) -> bool:
    return block["t"] == "Para" and bool(block["c"]) and block["c"][0]["t"] == "RawInline"


def _wrapped(block: Block, before: str, after: str) -> Block:
    """A paragraph between two pieces of typst; anything else as it is."""
    if block["t"] not in ("Para", "Plain"):
        return block
    ends = ({"t": "RawInline", "c": ["typst", code]} for code in (before, after))
    return {"t": "Para", "c": [next(ends), *block["c"], next(ends)]}


def _resized(node: Block, *, fit: Fit, media: Path) -> Block:
    """A picture with the width it takes on the page."""
    if node.get("t") != "Image":
        return node
    attributes, words, target = node["c"]
    header = (media / target[0]).read_bytes()[16:24]  # of every PNG: across and down
    across, down = (int.from_bytes(part, "big") for part in (header[:4], header[4:]))
    width = _width(float(dict(attributes[2])["width"].removesuffix("in")), down / across, fit)
    return node | {"c": [[attributes[0], attributes[1], [["width", f"{width:.2f}in"]]], words, target]}


def _width(width: float, shape: float, fit: Fit) -> float:
    """Inches that a picture of this shape (height over width) takes."""
    if fit == "as_it_is":
        return width
    if fit == "page_wide":
        return min(_LARGE_WIDTH, _LARGE_HEIGHT / shape)
    height = width * shape
    return next((part for part, most in _PARTS_OF_A_PAGE if part < height <= most), height) / shape


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
        return _typst(code)
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
