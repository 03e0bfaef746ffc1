"""Every text in a rendered file, wherever it may hide: words, attributes, embedded data, properties, metadata."""

from __future__ import annotations

import base64
import binascii
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from evalkit.disclose.decode_pdf import read_pdf

# Where and how large a thing is drawn; no number in these is about people.
_GEOMETRY = {
    "d", "points", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry", "dx", "dy", "fx", "fy", "width",
    "height", "viewbox", "transform", "gradienttransform", "offset", "opacity", "style", "tabindex", "colspan",
    "rowspan", "class", "stroke-width", "stroke-dasharray", "font-size", "font-weight", "textlength",
    "preserveaspectratio",
}  # fmt: skip
_WORD_ATTRIBUTES = {"descr", "title", "name", "alt", "tooltip", "author", "initials", "comment", "anchor", "Target"}
# Of a document, not of people: Word's and pandoc's own counts of words, lines and minutes.
_STATISTICS = {
    "Words", "Lines", "Characters", "CharactersWithSpaces", "Paragraphs", "Pages", "TotalTime", "AppVersion",
    "DocSecurity", "Slides", "Notes", "HiddenSlides",
}  # fmt: skip
_DATA_URI = re.compile(r"data:([\w/+.-]*)((?:;[\w=.+-]+)*),([^\s\"'<>)]*)")
_FIXED_CLOCKS = {(1980, 1, 1, 0, 0, 0), (2000, 1, 1, 0, 0, 0)}
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_ENDINGS = {".txt", ".md", ".csv", ".css", ".js", ".bib", ".yaml", ".yml", ".toml"}


@dataclass(frozen=True)
class Piece:
    """A text, the place in the file where it stands, and whether it is a property of the file, not said in it."""

    place: str
    text: str
    is_property: bool = False


@dataclass(frozen=True)
class Unread:
    """Something in a file that no reader here understands, or that tells the clock."""

    place: str
    what: str


def decode_file(path: Path) -> tuple[list[Piece], list[Unread]]:
    """Every text of a file by its kind, and what could not be read; a kind that is not known is not read."""
    return _decode(path.read_bytes(), path.suffix.lower(), place="")


def _decode(content: bytes, ending: str, *, place: str) -> tuple[list[Piece], list[Unread]]:
    if content.startswith(_PNG):
        return _png(content, place)
    match ending:
        case ".html" | ".htm" | ".xhtml":
            return _html(_text(content), place)
        case ".svg" | ".xml" | ".rels":
            return _xml(content, place)
        case ".docx" | ".zip":
            return _archive(content, place)
        case ".pdf":
            found = read_pdf(content)
            return (
                [Piece(_join(place, at), text, not at.startswith("page")) for at, text in found.pieces],
                [Unread(place, what) for what in found.unread],
            )
        case ".json" | ".ipynb":
            return _json(_text(content), place)
        case _ if ending in _TEXT_ENDINGS:
            return _said(_join(place, "text"), _text(content))
        case _:
            return [], [Unread(place or "file", f'a file of the kind "{ending}" is not read')]


def _said(place: str, text: str, *, is_property: bool = False) -> tuple[list[Piece], list[Unread]]:
    """A text and what is embedded in it as data."""
    pieces, unread = [], []
    for match in _DATA_URI.finditer(text):
        kind, options, data = match[1], match[2], match[3]
        try:
            raw = (
                base64.b64decode(unquote_to_bytes(data), validate=False)
                if "base64" in options
                else unquote_to_bytes(data)
            )
        except (binascii.Error, ValueError):
            unread.append(Unread(place, "embedded data that cannot be decoded"))
            continue
        if kind.startswith("font/") or "font" in kind:
            continue
        more, blind = _decode(raw, _ending(kind), place=_join(place, "embedded data"))
        pieces += more
        unread += blind
    bare = _DATA_URI.sub(" ", text)
    if bare.strip():
        pieces.append(Piece(place, bare, is_property))
    return pieces, unread


def _ending(kind: str) -> str:
    known = {"image/svg+xml": ".svg", "application/json": ".json", "text/html": ".html", "application/pdf": ".pdf",
             "application/xml": ".xml", "": ".txt"}  # fmt: skip
    return known.get(kind, ".txt" if kind.startswith("text/") or kind == "application/javascript" else f".{kind}")


def _text(content: bytes) -> str:
    return content.decode("utf-8-sig", "replace")


def _join(*places: str) -> str:
    return ", ".join(place for place in places if place)


# ---- HTML ----------------------------------------------------------------------------------------


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str, str]] = []  # place, text, kind of script
        self.open: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag in ("script", "style"):
            self.open.append((tag, given.get("type", "")))
        for name, value in given.items():
            if value and name not in _GEOMETRY:
                self.found.append((f'attribute "{name}" of <{tag}>', value, ""))

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1][0] == tag:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if not data.strip():
            return
        if not self.open:
            self.found.append(("text", data, ""))
        else:
            tag, kind = self.open[-1]
            self.found.append((f"<{tag}>", data, "json" if "json" in kind else ""))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment in the code", data, ""))


def _html(text: str, place: str) -> tuple[list[Piece], list[Unread]]:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    pieces, unread = [], []
    for where, found, kind in reader.found:
        more, blind = _json(found, _join(place, where)) if kind == "json" else _said(_join(place, where), found)
        pieces += more
        unread += blind
    return pieces, unread


# ---- JSON ----------------------------------------------------------------------------------------


def _json(text: str, place: str) -> tuple[list[Piece], list[Unread]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return _said(_join(place, "JSON that cannot be parsed"), text)
    pieces, unread = [], []
    for where, leaf in _leaves(content, ""):
        more, blind = _said(_join(place, f"JSON entry {where or 'as a whole'}"), leaf)
        pieces += more
        unread += blind
    return pieces, unread


def _leaves(content: object, where: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield f"{where}, name", str(key)
            yield from _leaves(value, f"{where}.{key}".lstrip("."))
    elif isinstance(content, list):
        for value in content:
            yield from _leaves(value, f"{where}[]")
    elif content is not None and not isinstance(content, bool):
        yield where, str(content)


# ---- XML and archives ----------------------------------------------------------------------------


def _xml(content: bytes, place: str) -> tuple[list[Piece], list[Unread]]:
    """Texts by paragraph, and attributes: all of SVG but its shapes; of other XML those that hold words."""
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return [], [Unread(place, "XML that cannot be parsed")]
    svg = _bare(root.tag) == "svg"
    pieces, unread = [], []

    def say(where: str, text: str) -> None:
        more, blind = _said(_join(place, where), text, is_property="docProps" in place)
        pieces.extend(more)
        unread.extend(blind)

    for element in root.iter():
        name = _bare(element.tag)
        if name in ("p", "text"):
            say(f"<{name}>", "".join(element.itertext()))
        elif name not in _STATISTICS and element.text and element.text.strip() and name not in ("t", "tspan"):
            say(f"<{name}>", element.text)
        for key, value in element.attrib.items():
            bare = _bare(key)
            if (svg and bare.lower() not in _GEOMETRY) or bare in _WORD_ATTRIBUTES:
                say(f'attribute "{bare}" of <{name}>', value)
    return pieces, unread


def _bare(name: object) -> str:
    return str(name).rpartition("}")[2].rpartition(":")[2]


def _archive(content: bytes, place: str) -> tuple[list[Piece], list[Unread]]:
    pieces, unread = [], []
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if archive.comment:
                pieces.append(
                    Piece(_join(place, "comment of the archive"), archive.comment.decode("utf-8", "replace"), True)
                )
            for info in archive.infolist():
                where = _join(place, info.filename)
                if info.date_time not in _FIXED_CLOCKS:
                    unread.append(Unread(where, "the time at which it was written"))
                if info.is_dir() or Path(info.filename).suffix in (".odttf", ".ttf", ".otf"):
                    continue
                ending = Path(info.filename).suffix.lower() or Path(info.filename).name
                more, blind = _decode(archive.read(info), ending, place=where)
                pieces += more
                unread += blind
    except zipfile.BadZipFile:
        unread.append(Unread(place or "file", "an archive that cannot be opened"))
    return pieces, unread


# ---- pictures ------------------------------------------------------------------------------------


def _png(content: bytes, place: str) -> tuple[list[Piece], list[Unread]]:
    """Text chunks of a PNG (tEXt, zTXt, iTXt, eXIf) and what follows its end; not its pixels."""
    pieces, unread, at = [], [], len(_PNG)
    while at + 8 <= len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        data = content[at + 8 : at + 8 + length]
        at += 12 + length
        where = _join(place, f"PNG chunk {kind.decode('latin-1')}")
        if kind == b"tIME":
            unread.append(Unread(where, "the time at which it was written"))
        elif kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf"):
            pieces.append(Piece(where, _chunk(kind, data), True))
        elif kind == b"IEND":
            break
    if content[at:].strip(b"\0"):
        pieces.append(Piece(_join(place, "after the end of the PNG"), content[at:].decode("latin-1"), True))
    return pieces, unread


def _chunk(kind: bytes, data: bytes) -> str:
    word, _, rest = data.partition(b"\0")
    packed = rest[1:] if kind == b"zTXt" else rest
    if kind == b"iTXt":
        is_packed, packed = rest[:1] == b"\1", rest[2:].split(b"\0", 2)[-1]
    else:
        is_packed = kind == b"zTXt"
    if is_packed:
        try:
            packed = zlib.decompress(packed)
        except zlib.error:
            packed = rest
    return f"{word.decode('latin-1')} {packed.decode('utf-8', 'replace')}"
