"""A comment as it comes out of a reader's file: checked word by word, before anything is stored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from evalkit.core.errors import Fault, suggest_name
from evalkit.review.record import KINDS, Kind, Reader, Route

TEXT_LIMIT, NAME_LIMIT, QUOTE_LIMIT = 4_000, 60, 200
COMMENTS_LIMIT = 5_000  # comments of a file
READERS: tuple[Reader, ...] = get_args(Reader)
SENDERS = tuple(reader for reader in READERS if reader != "example")  # an example is written by its makers, not sent
YES, NO = ("yes", "y", "true", "1", "x", "✓"), ("no", "n", "false", "0", "")
_KIND_WORDS: dict[str, Kind] = {
    **{kind: kind for kind in KINDS},
    **{label.lower(): kind for kind, label in KINDS.items()},
    "not clear": "unclear", "i do not understand": "unclear", "not right": "wrong", "is wrong": "wrong",
    "upset": "upsetting", "my experience": "experience", "new question": "question",
}  # fmt: skip
_LINE_END = re.compile("\r\n|[\r\v\f\u2028\u2029]")
_BLANKS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters by their class that show as nothing
_FIRST_WORD = re.compile(r"\s*([^\W\d][\w' ]{2,30}?)\s*(?:[:–—]|\s-)\s+", re.UNICODE)


@dataclass(frozen=True)
class Incoming:
    """One comment of one file. `where` names the place in that file; "" and None are what the file did not say."""

    where: str
    route: Route
    block: str
    text: str
    report: str = ""
    version: int | None = None
    kind: str = ""
    quote: str = ""
    name: str = ""
    reader: str = ""
    consent: bool = False
    after_results: bool = True


@dataclass(frozen=True)
class Parsed:
    """What one file held: its comments in their order, what the team should know, and what is wrong with it."""

    comments: tuple[Incoming, ...] = ()
    notes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


def refuse_file(where: str, what: str, step: str = "", *, got: str = "", allowed: str = "") -> Parsed:
    """A file of which nothing can be used, and why."""
    return Parsed(faults=(Fault(where, what, got=got, allowed=allowed, next_step=step),))


def clean_text(text: str) -> str:
    """One form of the same words: composed letters, one kind of line end, no invisible signs that turn text round."""
    text = unicodedata.normalize("NFC", _LINE_END.sub("\n", text).replace("\t", " "))
    text = "".join(c for c in text if not _invisible(c))
    lines = [line.rstrip() for line in text.split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _invisible(letter: str) -> bool:
    # Joiners (200C, 200D) are spelling in some scripts and in emoji; the rest only hides or reorders what is there.
    return letter in _BLANKS or (unicodedata.category(letter) == "Cf" and letter not in "\u200c\u200d")


def text_faults(where: str, what: str, text: str, *, limit: int) -> list[Fault]:
    """What is wrong with a cleaned text, told without any of its words."""
    faults = []
    bad = sorted({f"U+{ord(c):04X}" for c in text if c != "\n" and _unprintable(c)})
    if bad:
        allowed, step = "letters, signs and line ends", "Type it again as plain text."
        faults.append(Fault(where, f"{what} holds control or invisible characters", ", ".join(bad[:5]), allowed, step))
    if len(text) > limit:
        got, step = f"{len(text):,} characters", "Cut it into several comments."
        faults.append(Fault(where, f"{what} is too long", got, f"{limit:,}", step))
    return faults


def _unprintable(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs") or (ord(letter) & 0xFFFE) == 0xFFFE or _invisible(letter)


def shortened(text: str, limit: int = QUOTE_LIMIT) -> str:
    """The text in one line, cut at a word if it is longer than that."""
    text = " ".join(text.split())
    if len(text) <= limit:
        return text
    return text[: limit - 1].rsplit(" ", 1)[0] + "…"


def named_kind(text: str) -> tuple[Kind | None, str]:
    """The kind that a comment names first ("wrong: …"), and the rest of its words; None if it names none."""
    match = _FIRST_WORD.match(text)
    kind = _KIND_WORDS.get(match[1].lower()) if match else None
    rest = text[match.end() :].strip() if match and kind else ""
    return (kind, rest) if kind and rest else (None, text)


def guessed_kind(text: str) -> Kind:
    """The kind of a comment that names none: a question if it asks one, else that something is unclear."""
    return "question" if "?" in text else "unclear"


def known_kind(said: str) -> Kind | None:
    """The kind that a word or a label of the form stands for, whatever its case."""
    return _KIND_WORDS.get(" ".join(said.lower().split()).rstrip(".:"))


def choice_fault(where: str, what: str, allowed: Sequence[str], said: str) -> Fault:
    """That a choice is unknown. What was typed is repeated only where it is like a choice, and so no person's words."""
    hint = suggest_name(said.lower(), allowed)
    return Fault(where, f"{what} is unknown", allowed=", ".join(allowed), next_step=hint)
