"""The words of a PDF: those on its pages by each font's own table, and those in its properties, tags and metadata.

Written for what typst writes: objects one by one or in streams of objects, compressed with Flate or not at all. What
cannot be read is said, never passed over (ISO 32000-1, sections 7.3, 7.5 and 9.10).
"""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_OBJECT = re.compile(rb"(\d+)\s+\d+\s+obj\b")
_STREAM = re.compile(rb"stream\r?\n")
_LENGTH = re.compile(rb"/Length\s+(\d+)(\s+\d+\s+R)?")
_REFERENCE = re.compile(rb"(\d+)\s+\d+\s+R")
_TOKEN = re.compile(
    rb"\((?P<text>)|<(?P<hex>[0-9A-Fa-f\s]*)>(?!>)|(?P<name>/[^\s<>()\[\]/]*)|(?P<word>[^\s<>()\[\]/]+)"
)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f", b"(": b"(", b")": b")", b"\\": b"\\"}
_SHOWS = (b"Tj", b"TJ", b"'", b'"')


@dataclass(frozen=True)
class PdfText:
    """Pieces of text with where they stand, and what could not be read."""

    pieces: tuple[tuple[str, str], ...]
    unread: tuple[str, ...]


@dataclass(frozen=True)
class _Object:
    head: bytes
    body: bytes  # of its stream, decompressed; empty without one
    unread: bool = False


def read_pdf(content: bytes) -> PdfText:
    """Every text of a PDF."""
    objects = _objects(content)
    unread = [f"object {n} is compressed in a way that is not read" for n, o in objects.items() if o.unread]
    if b"/Encrypt" in content[-4096:]:
        unread.append("it is encrypted")
    pieces = []
    for number, found in objects.items():
        pieces += [(f"object {number}", text) for text in _strings(found.head)]
        if b"/XML" in found.head or b"/Metadata" in found.head:
            pieces.append(("metadata", re.sub(r"<[/?!]?[\w:]+|[<>]", " ", found.body.decode("utf-8", "replace"))))
    fonts_of = {number: _fonts(found.head, objects) for number, found in objects.items()}
    for number, found in objects.items():
        for stream in _content_streams(number, found, objects):
            text, blind = _page_text(objects[stream].body, fonts_of[number])
            pieces.append((f"page object {number}", text))
            unread += [f"text of page object {number} in a font without a table of its letters"] * blind
    return PdfText(tuple(pieces), tuple(dict.fromkeys(unread)))


# ---- objects -------------------------------------------------------------------------------------


def _objects(content: bytes) -> dict[int, _Object]:
    found: dict[int, _Object] = {}
    at = 0
    while match := _OBJECT.search(content, at):
        end = content.find(b"endobj", match.end())
        end = len(content) if end < 0 else end
        stream = _STREAM.search(content, match.end(), end)
        if stream is None:
            found[int(match[1])] = _Object(content[match.end() : end], b"")
            at = end
            continue
        head = content[match.end() : stream.start()]
        length = _LENGTH.search(head)
        stop = stream.end() + int(length[1]) if length and not length[2] else content.find(b"endstream", stream.end())
        found[int(match[1])] = _inflated(head, content[stream.end() : stop])
        at = stop
    for packed in [o for o in found.values() if b"/ObjStm" in o.head and o.body]:
        found |= _unpacked(packed)
    return found


def _inflated(head: bytes, raw: bytes) -> _Object:
    if b"/Subtype/Image" in head or b"/FontFile" in head or b"CIDFontType0C" in head:
        return _Object(head, b"")
    if b"/Filter" not in head:
        return _Object(head, raw)
    if re.search(rb"/Filter\s*\[?\s*/FlateDecode\s*\]?", head) is None:
        return _Object(head, b"", unread=True)
    try:
        return _Object(head, zlib.decompressobj().decompress(raw))
    except zlib.error:
        return _Object(head, b"", unread=True)


def _unpacked(packed: _Object) -> dict[int, _Object]:
    first = re.search(rb"/First\s+(\d+)", packed.head)
    start = int(first[1]) if first else 0
    numbers = [int(n) for n in packed.body[:start].split()]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    ends = [at for _, at in pairs[1:]] + [len(packed.body) - start]
    return {number: _Object(packed.body[start + at : start + end], b"")
            for (number, at), end in zip(pairs, ends, strict=True)}  # fmt: skip


def _entry(head: bytes, name: bytes, objects: Mapping[int, _Object]) -> bytes:
    """The dictionary behind an entry, whether it stands there or elsewhere."""
    match = re.search(name + rb"\s*(?:(\d+)\s+\d+\s+R|(<<))", head)
    if match is None:
        return b""
    if match[1]:
        return objects[int(match[1])].head if int(match[1]) in objects else b""
    depth, at = 0, match.start(2)
    for bracket in re.finditer(rb"<<|>>", head[at:]):
        depth += 1 if bracket[0] == b"<<" else -1
        if depth == 0:
            return head[at : at + bracket.end()]
    return head[at:]


def _fonts(head: bytes, objects: Mapping[int, _Object]) -> dict[bytes, Mapping[int, str] | None]:
    resources = _entry(head, rb"/Resources", objects)
    listed = _entry(resources, rb"/Font(?![A-Za-z])", objects)
    fonts: dict[bytes, Mapping[int, str] | None] = {}
    for name, number in re.findall(rb"(/[^\s<>()\[\]/]+)\s+(\d+)\s+\d+\s+R", listed):
        font = objects.get(int(number))
        table = re.search(rb"/ToUnicode\s+(\d+)", font.head) if font else None
        fonts[name] = _letters(objects[int(table[1])].body) if table and int(table[1]) in objects else None
    return fonts


def _content_streams(number: int, found: _Object, objects: Mapping[int, _Object]) -> list[int]:
    if b"/Subtype/Form" in found.head or b"/Subtype /Form" in found.head:
        return [number]
    if not re.search(rb"/Type\s*/Page(?![a-zA-Z])", found.head):
        return []
    listed = re.search(rb"/Contents\s*(\[[^\]]*\]|\d+\s+\d+\s+R)", found.head)
    numbers = [int(n) for n in _REFERENCE.findall(listed[1])] if listed else []
    if len(numbers) == 1 and numbers[0] in objects and objects[numbers[0]].head.strip().startswith(b"["):
        numbers = [int(n) for n in _REFERENCE.findall(objects[numbers[0]].head)]
    return [n for n in numbers if n in objects]


# ---- words ---------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=64)
def _letters(table: bytes) -> dict[int, str]:
    """What each glyph of a font stands for (a ToUnicode CMap)."""
    letters: dict[int, str] = {}
    for part in re.findall(rb"beginbfchar(.*?)endbfchar", table, re.DOTALL):
        for code, text in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f\s]+)>", part):
            letters[int(code, 16)] = bytes.fromhex(text.decode()).decode("utf-16-be", "replace")
    for part in re.findall(rb"beginbfrange(.*?)endbfrange", table, re.DOTALL):
        for low, high, text in re.findall(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>", part):
            start = int(text, 16)
            for place, code in enumerate(range(int(low, 16), int(high, 16) + 1)):
                letters[code] = chr(start + place)
    return letters


def _page_text(body: bytes, fonts: Mapping[bytes, Mapping[int, str] | None]) -> tuple[str, bool]:
    """The text of one stream in its own order, runs parted by spaces, and whether some of it cannot be read."""
    out: list[str] = []
    blind, font, name = False, None, b""
    held: list[bytes] = []
    for kind, token in _tokens(body):
        if kind == "string":
            held.append(token)
        elif kind == "name":
            name = token
        elif token == b"Tf":
            font = fonts.get(name)
        elif token in _SHOWS:
            blind |= font is None and any(held)
            out.append("".join(_glyphs(text, font or {}) for text in held))
            held = []
        elif not re.fullmatch(rb"[-+.\d]+", token):
            out += [_plain(text) for text in held]
            held = []
    return " ".join(out), blind


def _glyphs(text: bytes, letters: Mapping[int, str]) -> str:
    return "".join(letters.get(int.from_bytes(text[i : i + 2], "big"), "") for i in range(0, len(text) - 1, 2))


def _tokens(body: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while match := _TOKEN.search(body, at):
        at = match.end()
        if match["text"] is not None:
            text, at = _literal(body, at)
            yield "string", text
        elif match["hex"] is not None:
            yield "string", bytes.fromhex(_even(re.sub(rb"\s", b"", match["hex"])).decode())
        elif match["name"] is not None:
            yield "name", match["name"]
        else:
            yield "word", match["word"]


def _even(digits: bytes) -> bytes:
    return digits + b"0" * (len(digits) % 2)


def _literal(body: bytes, at: int) -> tuple[bytes, int]:
    """A string in parentheses that starts before `at`, unescaped, and where it ends."""
    out, depth = bytearray(), 1
    while at < len(body):
        char = body[at : at + 1]
        at += 1
        if char == b"\\":
            octal = re.match(rb"[0-7]{1,3}", body[at : at + 3])
            if octal:
                out.append(int(octal[0], 8) & 255)
                at += octal.end()
            else:
                out += _ESCAPES.get(body[at : at + 1], b"" if body[at : at + 1] in b"\r\n" else body[at : at + 1])
                at += 1
            continue
        depth += {b"(": 1, b")": -1}.get(char, 0)
        if depth == 0:
            break
        out += char
    return bytes(out), at


def _strings(head: bytes) -> list[str]:
    """Texts in an object: titles, alternative texts, annotations, names."""
    return [text for kind, token in _tokens(head) if kind == "string" and (text := _plain(token)).strip()]


def _plain(text: bytes) -> str:
    if text.startswith(b"\xfe\xff"):
        return text[2:].decode("utf-16-be", "replace")
    if text.startswith(b"\xef\xbb\xbf"):
        return text[3:].decode("utf-8", "replace")
    return text.decode("latin-1")
