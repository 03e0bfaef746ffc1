"""What a PDF library finds in a tagged PDF: what PDF/UA asks for, and headings left alone at the foot of a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pikepdf

_SEEN = ("Figure", "Formula")
_FEW, _LINE = 3, 60  # pieces of content, and glyphs
HEADINGS = ("H1", "H2", "H3", "H4", "H5", "H6")


@dataclass(frozen=True)
class Leaf:
    """A piece of content: the tags above it, outermost first, its page from 1, and its mark there."""

    tags: tuple[str, ...]
    page: int
    mark: int


def find_pdf_faults(path: Path) -> list[str]:
    """What PDF/UA-1 asks for and this file lacks, in words; none for a good file."""
    with pikepdf.open(path) as pdf:
        root = pdf.Root
        faults = []
        if not bool(root.get("/MarkInfo", {}).get("/Marked", False)):
            faults.append("it is not marked as tagged")
        if str(root.get("/Lang", "")) != "en-GB":
            faults.append(f"its language is {root.get('/Lang', '')}")
        if "pdfuaid" not in bytes(root["/Metadata"].read_bytes()).decode("utf-8"):
            faults.append("it does not declare PDF/UA")
        if not bool(root.get("/ViewerPreferences", {}).get("/DisplayDocTitle", False)):
            faults.append("its title is not shown")
        if "/StructTreeRoot" not in root:
            return [*faults, "it has no structure"]
        elements = list(_elements(root["/StructTreeRoot"]))
    faults += [
        f"a {tag} has no alternative text" for tag, alt, _ in elements if tag in ("Figure", "Formula") and not alt
    ]
    faults += ["a table has no header cell" for tag, _, inside in elements if tag == "Table" and "TH" not in inside]
    levels = [int(tag[1]) for tag, *_ in elements if tag in HEADINGS]
    faults += ["its first heading is not of level 1"] if levels and levels[0] != 1 else []
    faults += [f"heading {b} follows {a}" for a, b in pairwise(levels) if b > a + 1]
    return faults


def find_lone_headings(path: Path) -> list[str]:
    """Headings with less than a line of other words, and no picture, between them and the end of their page."""
    leaves = read_leaves(path)
    lone = []
    with pikepdf.open(path) as pdf:
        for place, leaf in enumerate(leaves):
            if not _is_heading(leaf):
                continue
            after = []
            for other in leaves[place + 1 :]:
                if other.page != leaf.page or len(after) > _FEW:
                    break
                after += [] if _is_heading(other) else [other]
            if len(after) > _FEW or any("Figure" in other.tags for other in after):
                continue
            glyphs = _count_glyphs(pdf.pages[leaf.page - 1])
            if sum(glyphs.get(other.mark, 0) for other in after) < _LINE and place + 1 < len(leaves):
                lone.append(f"a heading at the foot of page {leaf.page}")
    return lone


def _is_heading(leaf: Leaf) -> bool:
    return any(tag in HEADINGS for tag in leaf.tags)


def _count_glyphs(page: pikepdf.Page) -> dict[int, int]:
    """How many glyphs are set under each mark of a page: two bytes name a glyph."""
    counts: dict[int, int] = {}
    marks: list[int] = []
    for operands, operator in pikepdf.parse_content_stream(page):
        name = str(operator)
        if name in ("BDC", "BMC"):
            properties = operands[1] if name == "BDC" else {}
            inner = marks[-1] if marks else -1
            marks.append(int(properties.get("/MCID", inner)) if isinstance(properties, pikepdf.Dictionary) else inner)
        elif name == "EMC":
            marks.pop()
        elif name in ("Tj", "TJ") and marks:
            parts = operands[0] if name == "TJ" else [operands[0]]
            size = sum(len(bytes(part)) for part in parts if isinstance(part, pikepdf.String))
            counts[marks[-1]] = counts.get(marks[-1], 0) + size // 2
    return counts


def read_leaves(path: Path) -> list[Leaf]:
    """The content in reading order; links and other annotations are left out."""
    with pikepdf.open(path) as pdf:
        pages = {page.objgen: place for place, page in enumerate(pdf.pages, start=1)}
        return list(_leaves(pdf.Root["/StructTreeRoot"], (), 0, pages))


def _leaves(node: pikepdf.Object, tags: tuple[str, ...], page: int, pages: dict) -> Iterator[Leaf]:
    if "/Pg" in node:
        page = pages[node["/Pg"].objgen]
    if "/S" in node:
        tags = (*tags, str(node["/S"]).lstrip("/"))
    inside = node.get("/K", [])
    for child in inside if isinstance(inside, pikepdf.Array) else [inside]:
        if isinstance(child, int):
            yield Leaf(tags, page, child)
        elif str(child.get("/Type", "")) == "/MCR":
            yield Leaf(tags, pages[child["/Pg"].objgen] if "/Pg" in child else page, int(child["/MCID"]))
        elif str(child.get("/Type", "")) != "/OBJR":
            yield from _leaves(child, tags, page, pages)


def _elements(node: pikepdf.Object) -> Iterator[tuple[str, str, set[str]]]:
    """Each element's tag, alternative text and the tags under it."""
    inside = node.get("/K", [])
    for child in inside if isinstance(inside, pikepdf.Array) else [inside]:
        if isinstance(child, pikepdf.Dictionary) and "/S" in child:
            under = list(_elements(child))
            yield str(child["/S"]).lstrip("/"), str(child.get("/Alt", "")), {tag for tag, *_ in under}
            yield from under
