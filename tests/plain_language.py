"""Plain language, measured: the length of sentences, the reading age, and words that peers do not want.

Used by the tests of the peer report and by the report checks. A text has one block a line: a paragraph, a list
item, a caption or a cell of a table. The end of a line ends a sentence. What readers are quoted with (lines that
start with ">") is theirs: neither its words nor its sentences are judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import textstat

MOST_WORDS = 20  # in a sentence, on average
MOST_AGE = 11.0
_AGE_OF_GRADE = 5  # a pupil in grade 1 is 6
_LONG = 30


@dataclass(frozen=True)
class PlainLanguage:
    """What was measured. `reading_age` is the Flesch-Kincaid grade and five years; SMOG and Coleman-Liau are grades.

    `long` are sentences of more than 30 words; `banned` are pairs of the word found and the line it stands in.
    """

    words: int
    sentences: int
    mean_sentence: float
    reading_age: float
    smog: float
    coleman_liau: float
    long: tuple[str, ...]
    banned: tuple[tuple[str, str], ...]

    @property
    def plain(self) -> bool:
        return self.reading_age <= MOST_AGE and self.mean_sentence <= MOST_WORDS and not self.banned

    def describe(self) -> str:
        found = ", ".join(f'"{word}" in "{line[:80]}"' for word, line in self.banned) or "none"
        return (f"{self.words:,} words in {self.sentences:,} sentences of {self.mean_sentence:.1f} words; reading age "
                f"{self.reading_age:.1f}; SMOG grade {self.smog:.1f}; Coleman-Liau grade {self.coleman_liau:.1f}; "
                f"words not wanted: {found}")  # fmt: skip


@dataclass(frozen=True)
class ReportText:
    """The words of a report, a block a line: prose (headings, paragraphs, items, captions), cells, and alt text."""

    prose: str
    cells: str
    alt: str

    @property
    def whole(self) -> str:
        """What a reader reads: prose and the cells of tables that hold words."""
        return f"{self.prose}\n{self.cells}"


def measure_plain_language(text: str) -> PlainLanguage:
    """Measure Markdown or plain text that has one block a line."""
    lines = [line for line in map(_plain, text.splitlines()) if line]
    sentences = [s for line in lines for s in split_sentences(line)]
    counts = [len(words_of(s)) for s in sentences]
    # A point inside a number is no end of a sentence; the library takes every point for one.
    said = "\n".join(f"{re.sub(r'(?<=[0-9])[.](?=[0-9])', ',', s).rstrip('.!?:;,')}." for s in sentences)
    return PlainLanguage(
        words=sum(counts), sentences=len(sentences), mean_sentence=sum(counts) / max(len(sentences), 1),
        reading_age=textstat.flesch_kincaid_grade(said) + _AGE_OF_GRADE if said else 0.0,
        smog=textstat.smog_index(said) if said else 0.0,
        coleman_liau=textstat.coleman_liau_index(said) if said else 0.0,
        long=tuple(s for s, n in zip(sentences, counts, strict=True) if n > _LONG),
        banned=tuple(find_banned(lines)),
    )  # fmt: skip


def split_sentences(line: str) -> list[str]:
    """Sentences of one block: a point, a question mark or an exclamation mark ends one; a colon does not."""
    parts = re.split(r"(?<=[.!?])[\"')\]*]*\s+", line)
    return [p.strip() for p in parts if words_of(p)]


def words_of(sentence: str) -> list[str]:
    return re.findall(r"[^\W_][^\s]*", sentence)


def read_banned_words() -> dict[str, str]:
    """The words of `banned_words.txt`, each with what to say instead."""
    text = (files("evalkit.report") / "banned_words.txt").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            words, _, instead = line.partition(" = ")
            found |= {word.strip().lower(): instead.strip() for word in words.split(",")}
    return found


def find_banned(lines: Iterable[str], *, words: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Each unwanted word with the line in which it stands."""
    wanted = sorted(read_banned_words() if words is None else words, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, wanted))})(?![\w-])", re.IGNORECASE)
    return [(found.group(1).lower(), line) for line in lines for found in pattern.finditer(line)]


def _plain(line: str) -> str:
    """A line without its Markdown marks; "" for what is no prose (quotes of readers, fences, formulas, numbers)."""
    line = line.strip()
    if line.startswith((">", ":::", "$$", "<")):
        return ""
    line = re.sub(r"^(#+|[-*+]|\d+[.)])\s+", "", line)
    line = re.sub(r"\[([^\]]*)\]\([^)]*\)(\{[^}]*\})?", r"\1", line)
    line = re.sub(r"\*\*|[*`]|\{[#.][^}]*\}", "", line)
    return line if re.search(r"[A-Za-z]{2}", line) else ""


# ---- the words of a report --------------------------------------------------------------------------


def read_report_text(cells: Iterable[Any]) -> ReportText:
    """The words of an executed notebook's cells (`nbformat`), as a reader meets them."""
    prose: list[str] = []
    table: list[str] = []
    alt: list[str] = []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            prose += _blocks_of(cell["source"])
        for output in cell.get("outputs", []):
            block = output.get("metadata", {}).get("evalkit")
            if block is not None:
                _read_block(block, output["data"], prose, table, alt)
    return ReportText("\n".join(prose), "\n".join(table), "\n".join(alt))


def _read_block(block: Any, data: Any, prose: list[str], table: list[str], alt: list[str]) -> None:
    if block["kind"] == "text":
        prose += _blocks_of(data["text/markdown"])
        return
    if block["kind"] == "document":
        prose += [block["title"], block["subtitle"], block["banner"]]
        return
    prose.append(block["caption"])
    if block["kind"] == "figure":
        alt.append(block["alt"])
        return
    prose.append(block["note"])
    table += [cell for row in (block["columns"], *block["rows"]) for cell in row]


def _blocks_of(markdown: str) -> list[str]:
    """Paragraphs and items, each on a line of its own, however they were wrapped."""
    lines: list[str] = []
    fresh = True
    for line in markdown.splitlines():
        start = fresh or re.match(r"\s*([-*+>#:]|\d+[.)])", line)
        if not line.strip():
            fresh = True
            continue
        if start:
            lines.append(line.strip())
        else:
            lines[-1] += f" {line.strip()}"
        fresh = line.startswith("#")
    return lines
