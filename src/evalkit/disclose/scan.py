"""Every rendered file searched for what must not leave: exact counts that are not released, and traces of the machine.

Only counts of three digits or more that nothing else printed can be searched for without an alarm on every page number.
"""

from __future__ import annotations

import getpass
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path

import pandas as pd

from evalkit.core.result import Results
from evalkit.disclose.decode import Piece, decode_file
from evalkit.disclose.release import MANIFEST_FILE, RESULTS_FILE, Release

LEAST = 100
_MOST = 1e9
_NOT_SEARCHED = {RESULTS_FILE, MANIFEST_FILE, ".DS_Store"}  # the release itself, which `load_release` checks
# A whole number that stands alone: no part of a decimal, a date, a range of pages, an address, a colour or a name.
_BEFORE, _THOUSAND = r"(?<![\w.,:/#&@%=+\u2013\u2212-])", r"[,\u00a0\u202f]\d{3}"
_ALONE = re.compile(
    rf"{_BEFORE}(?<!\d[ \u00a0\u202f])\d{{1,3}}(?:{_THOUSAND})+(?![\w,]|[.]\d)|{_BEFORE}\d{{3,9}}(?![\w%/:-]|[.,]\d)"
)
_PAGE_NUMBER = re.compile(r"\b[Pp]age \d{1,3}(?: of \d{1,3})?\b|(?:\. ){3,}\s*\d{1,3}\b")  # or after dots
_PICTURE = re.compile(r"Picture of (100|365|1,?000)[.:]")
_NUMBER = re.compile(r"\d{3,9}|\d{1,3}(?:,\d{3})+")
_PATH = re.compile(r"(?<![\w./])/(?:home|root|Users|tmp|var|work|mnt|opt|private|srv)/[\w.+-]+|\b[A-Z]:\\+\w|file://")
_CLOCK = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d|\bD:\d{12}|\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_FIXED = ("2000-01-01T00:00", "1980-01-01T00:00", "1970-01-01T00:00")
_NEXT = "Find where the report takes it from; nothing but the release may be printed."


@dataclass(frozen=True)
class Unreleased:
    """Exact counts that must be found nowhere, each with the ids of the numbers that it belongs to."""

    counts: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True)
class Leak:
    """Something found in a file that must not leave. `what` names it without telling it."""

    file: str
    place: str
    what: str
    next_step: str = _NEXT


def find_unreleased(exact: Results, released: Release, *, printed: Iterable[str] = ()) -> Unreleased:
    """The exact counts of a run that its release does not tell, of three digits or more.

    A number that is released, or that stands in the protocol, in evalkit's own texts or in one of the texts `printed`
    (readers' comments, say), would be an alarm everywhere and is left out.
    """
    frame = exact.frame
    counts: dict[int, list[str]] = {}
    for column in ("value", "n_people", "n_events"):
        rows = frame[frame["kind"].isin(["count", "check"])] if column == "value" else frame
        for name, number in zip(rows["id"], rows[column], strict=True):
            if math.isfinite(number) and number >= LEAST and float(number).is_integer():
                counts.setdefault(int(number), []).append(f"{name}" if column == "value" else f"{name} ({column})")
    known = _released_numbers(released)
    for text in (released.protocol.model_dump_json(), released.manifest_text, _own_texts(), *printed):
        known |= {int(found.replace(",", "")) for found in _NUMBER.findall(text)}
    return Unreleased({n: tuple(names) for n, names in sorted(counts.items()) if n not in known})


def scan_files(folder: Path | str, *, unreleased: Unreleased) -> tuple[Leak, ...]:
    """Search every file in a folder, not its subfolders, for unreleased counts and traces of the machine.

    Traces are paths, names of users and times of a clock. What cannot be read is reported too. Pixels are not read.
    """
    leaks: list[Leak] = []
    user = getpass.getuser() if _has_user() else ""
    for path in sorted(Path(folder).iterdir()):
        if not path.is_file() or path.name in _NOT_SEARCHED:
            continue
        pieces, unread = decode_file(path)
        leaks += [Leak(path.name, found.place or "file", found.what) for found in unread]
        pages = sum(piece.place.startswith("page object") for piece in pieces)
        for piece in pieces:
            leaks += _search(path.name, piece, unreleased, user, pages=pages)
    return tuple(dict.fromkeys(leaks))


def _search(file: str, piece: Piece, unreleased: Unreleased, user: str, *, pages: int) -> list[Leak]:
    leaks = []
    said_of_file = {pages} if piece.place == "metadata" else set()  # a PDF says there how many pages it has
    for found in _ALONE.findall("" if _is_of_a_whole(piece.text) else _PAGE_NUMBER.sub(" ", piece.text)):
        number = int(re.sub(r"\D", "", found))
        if number in unreleased.counts and number not in said_of_file:
            names = unreleased.counts[number]
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            leaks.append(Leak(file, piece.place, f"the exact count of {names[0]}{more}, which is not released"))
    if _PATH.search(piece.text):
        leaks.append(Leak(file, piece.place, "a path of the machine"))
    if any(not piece.text[m.start() :].startswith(_FIXED) for m in _CLOCK.finditer(piece.text)):
        leaks.append(Leak(file, piece.place, "the time of a clock"))
    if piece.is_property and len(user) > 3 and re.search(rf"\b{re.escape(user)}\b", piece.text):
        leaks.append(Leak(file, piece.place, "the name of a user"))
    return leaks


def _is_of_a_whole(text: str) -> bool:
    """Whether a text tells the parts of a picture of 100, of 365 days or of 1,000, and these make up the whole."""
    whole = _PICTURE.match(text)
    if whole is None:
        return False
    parts = re.findall(r"\d+(?:,\d{3})*", text[whole.end() :])
    return sum(int(found.replace(",", "")) for found in parts) == int(whole[1].replace(",", ""))


def _has_user() -> bool:
    try:
        return bool(getpass.getuser())
    except (KeyError, OSError):
        return False


def _released_numbers(released: Release) -> set[int]:
    """Whole numbers that a release may be printed as: its values, those in its texts, how many numbers it holds."""
    frame = released.results.frame
    numbers: set[int] = set()
    for column in ("value", "se", "lower", "upper", "n_people", "n_events"):
        for value in frame[column].dropna().abs():
            if LEAST <= value < _MOST:
                numbers |= {math.floor(value), math.ceil(value)}
    numbers |= _said_of_a_whole(frame)
    for column in ("row", "column", "label", "reason"):
        for text in frame[column].unique():
            numbers |= {int(found.replace(",", "")) for found in _NUMBER.findall(text)}
    # Values of predictors on a scale of logarithms are printed as what they stand for.
    for row in frame.loc[frame["row"].str.startswith("log_"), "row"].unique():
        at = row.rpartition("|")[2]
        if re.fullmatch(r"\d+(?:\.\d+)?", at):
            numbers.add(round(math.expm1(float(at))))
    for keys in (["table"], ["status"], ["table", "status"], ["kind"]):
        numbers |= set(frame.groupby(keys).size().astype(int))
    return numbers


def _said_of_a_whole(frame: pd.DataFrame) -> set[int]:
    """Ratios as so many for every 100."""
    numbers: set[int] = set()
    for column in ("value", "lower", "upper"):
        for ratio in frame.loc[frame["unit"] == "ratio", column].dropna():
            numbers |= {math.floor(100 * ratio), math.ceil(100 * ratio)} if ratio < _MOST else set()
    return numbers


def _own_texts() -> str:
    """What evalkit's reports say whatever the data are: templates, references, words, findings on other worlds."""
    root = package_files("evalkit")
    texts = []
    for part in ("report", "report/templates", "report/data"):
        for entry in root.joinpath(part).iterdir():
            if entry.name.endswith((".py", ".bib", ".html", ".css", ".js", ".typ", ".txt", ".csv")):
                texts.append(entry.read_text(encoding="utf-8"))
    return " ".join(texts)
