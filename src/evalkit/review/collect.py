"""Readers' files into the record: every file is checked first, then all of it is stored or nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from evalkit.core.errors import Fault, ReviewError, suggest_name
from evalkit.core.faults import choice_faults, refuse
from evalkit.review.blocks import REPORTS, WHOLE_REPORT, Blocks, Known, build_known, safe_id, squeezed
from evalkit.review.from_csv import read_csv
from evalkit.review.from_docx import read_docx
from evalkit.review.from_html import read_html
from evalkit.review.incoming import (
    COMMENTS_LIMIT,
    NAME_LIMIT,
    QUOTE_LIMIT,
    SENDERS,
    TEXT_LIMIT,
    Incoming,
    Parsed,
    choice_fault,
    clean_text,
    guessed_kind,
    known_kind,
    named_kind,
    refuse_file,
    shortened,
    text_faults,
)  # fmt: skip
from evalkit.review.load import load_review
from evalkit.review.lock import only_writer
from evalkit.review.personal import ALWAYS_OUT, blank_personal, find_in_name, find_personal
from evalkit.review.record import KINDS, Comment, Held, Review
from evalkit.review.save import save_comments

SIZE_LIMIT = 50 * 2**20  # bytes of a file
TEXT_SIZE_LIMIT = 10 * 2**20  # bytes of one that is not zipped

Flags = Literal["hold", "blank", "accept"]
SameWords = Literal["repeated", "another"]


@dataclass(frozen=True)
class Repeated:
    """A comment that the record has already; `id` is the one that is kept, and its answer with it."""

    where: str
    id: str


@dataclass(frozen=True)
class Flagged:
    """A comment in which something looks like personal data: what and where, never the words."""

    where: str
    report: str
    block: str
    found: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """What became of each comment. `flagged` ones are not stored; `notes` are for the team to read."""

    added: tuple[Comment, ...] = ()
    repeated: tuple[Repeated, ...] = ()
    flagged: tuple[Flagged, ...] = ()
    notes: tuple[str, ...] = ()


def import_comments(
    files: Iterable[Path | str], folder: Path | str, *, blocks: Blocks, flags: Flags = "hold", reason: str = "",
    same_words: SameWords = "repeated", words: Mapping[str, str] | None = None,
) -> Imported:  # fmt: skip
    """Check readers' files and store their comments as `comments/c0001.yaml` and so on, in the order of the files.

    Parameters
    ----------
    blocks
        Ids and digests by report, of the report that was read (`load_blocks`).
    flags
        What to do where something looks like personal data: `hold` the comment back, `blank` those words and store the
        rest, or `accept` it as it is for a `reason`. What points at one person by itself is never accepted.
    same_words
        Whether a comment with the words, place, kind and name of a stored one is that one `repeated`, or `another`
        reader's.
    words
        The words of each report (`load_words`): a quote that is not among them is not kept. A reader can write anything
        into its place, and it is printed without being asked about. None keeps every quote.

    Raises
    ------
    ReviewError
        With every fault of every file at once; nothing is stored then.
    ParameterError
        If an option is unknown, or flags are accepted without a reason.
    OutputError
        If the record cannot be written, or another command is writing it.
    """
    _check_options(flags, reason, same_words)
    review = load_review(folder)
    known = build_known(review, blocks)
    parsed = [_read_file(Path(path), known) for path in files]
    faults = [fault for one in parsed for fault in one.faults]
    notes = [note for one in parsed for note in one.notes]
    ready = [comment for one in parsed for comment in _checked(one.comments, known, faults, notes)]
    if words is not None:
        ready = [(where, _with_true_quote(where, comment, words, notes)) for where, comment in ready]
    if faults:
        raise ReviewError(faults)
    with only_writer(folder):
        review = load_review(folder)  # as it is now: another command may have written since
        sorted_out, held = _sorted_out(ready, review, flags=flags, reason=clean_text(reason), same_words=same_words)
        if sorted_out.added or held != review.held:
            save_comments(folder, sorted_out.added, held)
    return replace(sorted_out, notes=(*notes, *sorted_out.notes))


def _check_options(flags: str, reason: str, same_words: str) -> None:
    faults = choice_faults("flags", flags, get_args(Flags)) + choice_faults(
        "same_words", same_words, get_args(SameWords)
    )
    if flags == "accept":
        if not reason.strip():
            faults.append(Fault("reason", "flags are accepted for a reason", next_step="Say why it is not personal."))
        faults += text_faults("reason", "it", clean_text(reason), limit=TEXT_LIMIT)
        faults += [Fault("reason", "it holds what looks like personal data", got=f.kind) for f in find_personal(reason)]
    refuse(faults)


# ---- what becomes of a comment ---------------------------------------------------------------------


def _sorted_out(
    ready: Sequence[tuple[str, Comment]], review: Review, *, flags: Flags, reason: str, same_words: SameWords
) -> tuple[Imported, tuple[Held, ...]]:
    """New, repeated or held back, each with the next free id."""
    stored = {_digest(comment): comment.id for comment in review.comments}
    held = {entry.key: entry for entry in review.held}
    number = max((int(comment.id[1:]) for comment in review.comments), default=0)
    added, repeated, flagged, notes = [], [], [], []
    for where, comment in ready:
        found = (*find_personal(comment.text), *find_in_name(comment.name))
        kinds = tuple(dict.fromkeys(one.kind for one in found))
        blanked = _blanked(comment)
        key = _digest(blanked)
        same = stored.get(_digest(comment), stored.get(key))
        if same and same_words == "repeated":
            repeated.append(Repeated(where, same))
            continue
        out = sorted(ALWAYS_OUT & set(kinds))
        if found and (flags == "hold" or (flags == "accept" and out)):
            if flags == "accept":
                notes.append(f"{where}: {' and '.join(out)} can never be accepted; blank it or change the text.")
            flagged.append(Flagged(where, comment.report, comment.block, kinds))
            held[key] = Held(key, comment.report, comment.block, comment.route, kinds)
            continue
        if found:
            comment = blanked if flags == "blank" else replace(comment, flags_accepted=reason)
        held.pop(key, None)
        number += 1
        added.append(replace(comment, id=f"c{number:04d}"))
        stored.setdefault(_digest(comment), added[-1].id)
    return Imported(tuple(added), tuple(repeated), tuple(flagged), tuple(notes)), tuple(held.values())


def _blanked(comment: Comment) -> Comment:
    text = blank_personal(comment.text, find_personal(comment.text))
    return replace(comment, text=text, name="" if find_in_name(comment.name) else comment.name)


def _with_true_quote(where: str, comment: Comment, words: Mapping[str, str], notes: list[str]) -> Comment:
    quoted = squeezed(comment.quote)
    if not comment.quote or (quoted and quoted in words.get(comment.report, "")):
        return comment
    notes.append(f"{where}: its quote is not in the {comment.report} report that was given, so it was not kept.")
    return replace(comment, quote="")


def _digest(comment: Comment) -> str:
    """What makes a comment the same one when it comes back: its place, kind, words and name."""
    words = " ".join(comment.text.split())
    whole = "\n".join((comment.report, comment.block, comment.kind, comment.name, words))
    return hashlib.sha256(whole.encode("utf-8")).hexdigest()[:16]


# ---- files and their comments ----------------------------------------------------------------------


def _read_file(path: Path, known: Known) -> Parsed:
    """One file by what is in it, whatever its name says."""
    where = path.name
    if not path.is_file():
        return refuse_file(str(path), "there is no such file")
    try:
        with path.open("rb") as opened:
            content = opened.read(SIZE_LIMIT + 1)
    except OSError as error:
        return refuse_file(where, f"it cannot be read ({error.strerror})")
    zipped = content.startswith(b"PK")
    limit = SIZE_LIMIT if zipped else TEXT_SIZE_LIMIT
    if len(content) > limit:
        return refuse_file(where, "it is too large for a file of comments", allowed=f"{limit // 2**20} MB")
    if not content.strip():
        return refuse_file(where, "it is empty")
    if content.startswith((b"\xd0\xcf\x11\xe0", b"%PDF", b"{\\rtf")):
        return refuse_file(where, "it is in another form (an old or locked Word file, PDF or RTF)",
                           "Save it as Word (.docx) without a password, or write the comments into the form.",
                           allowed="HTML saved by the page, Word (.docx), CSV")  # fmt: skip
    if zipped:
        parsed = read_docx(where, content, known)
    elif content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        parsed = read_html(where, content)
    else:
        parsed = read_csv(where, content)
    if len(parsed.comments) > COMMENTS_LIMIT:
        return refuse_file(where, "it holds too many comments", allowed=f"{COMMENTS_LIMIT:,}")
    report, faults = _report_of(path, parsed.comments, known)
    named = tuple(comment if comment.report else replace(comment, report=report) for comment in parsed.comments)
    return replace(parsed, comments=named, faults=(*parsed.faults, *faults))


def _report_of(path: Path, comments: Sequence[Incoming], known: Known) -> tuple[str, list[Fault]]:
    """The report that a file is about, where its comments do not say: by their blocks, then by the file's name."""
    blocks = {comment.block for comment in comments if not comment.report and comment.block != WHOLE_REPORT}
    if all(comment.report for comment in comments):
        return "", []
    counts = {report: len(blocks & known.blocks_of(report)) for report in REPORTS}
    best = [report for report in REPORTS if counts[report] == max(counts.values())]
    named = [report for report in best if report in path.stem.lower()]
    if len(best) > 1 and len(named) != 1:
        step = "Put the name of the report into the file's name, or add a column `report`."
        return "", [Fault(path.name, "it does not say which report it is about", "", ", ".join(REPORTS), step)]
    return (named if len(best) > 1 else best)[0], []


def _checked(
    comments: Sequence[Incoming], known: Known, faults: list[Fault], notes: list[str]
) -> list[tuple[str, Comment]]:
    ready = []
    for incoming in comments:
        text = clean_text(incoming.text)
        if not text:
            notes.append(f"{incoming.where}: it is empty and was left out.")
            continue
        name = " ".join(clean_text(incoming.name).split())
        wrong = text_faults(incoming.where, "the comment", text, limit=TEXT_LIMIT)
        wrong += text_faults(incoming.where, "the name", name, limit=NAME_LIMIT)
        wrong += _choice_faults(incoming) + _place_faults(incoming, known)
        faults += wrong
        if not wrong:
            ready.append((incoming.where, _comment(incoming, text, name, known, notes)))
    return ready


def _choice_faults(incoming: Incoming) -> list[Fault]:
    faults = []
    if incoming.kind and not known_kind(incoming.kind):
        faults.append(choice_fault(incoming.where, "its kind", tuple(KINDS), incoming.kind))
    if incoming.reader and incoming.reader not in SENDERS:
        faults.append(choice_fault(incoming.where, "who the reader is", SENDERS, incoming.reader))
    if incoming.report and incoming.report not in REPORTS:
        faults.append(choice_fault(incoming.where, "the report", REPORTS, incoming.report))
    return faults


def _place_faults(incoming: Incoming, known: Known) -> list[Fault]:
    where, said = incoming.where, incoming.version
    if incoming.report not in REPORTS:
        return []
    if said is not None and said > known.now:
        return [Fault(where, "it is about a version that the record does not know", got=str(said),
                      allowed=f"{known.now} or earlier", next_step="Is this the record of that report?")]  # fmt: skip
    if known.version_of(incoming.report, incoming.block, said=said) is None:
        near = suggest_name(incoming.block, sorted(known.blocks_of(incoming.report)))
        return [Fault(where, f"no version of the {incoming.report} report has its block", got=safe_id(incoming.block),
                      next_step=near or "Is this the report that was read?")]  # fmt: skip
    return []


def _comment(incoming: Incoming, text: str, name: str, known: Known, notes: list[str]) -> Comment:
    where = incoming.where
    version = known.version_of(incoming.report, incoming.block, said=incoming.version)
    if incoming.block not in known.now_blocks(incoming.report) and incoming.block != WHOLE_REPORT:
        notes.append(f"{where}: its block {safe_id(incoming.block)} is not in the report any more. Version {version} "
                     "has it, and the comment is kept with that version.")  # fmt: skip
    kind = known_kind(incoming.kind)
    if kind is None:
        kind, text = named_kind(text)
    if kind is None:
        kind = guessed_kind(text)
        notes.append(f'{where}: it names no kind, so it counts as "{KINDS[kind]}".')
    quote = shortened(clean_text(incoming.quote))
    if find_personal(quote) or text_faults(where, "the quote", quote, limit=QUOTE_LIMIT):
        quote = ""  # the report still has those words; a copy of them that may have been changed is not needed
    if name and not incoming.consent:
        name = ""
        notes.append(f"{where}: the name in it was not kept, since the reader does not want to be quoted.")
    return Comment(
        "", incoming.report, incoming.block, kind, text, version=version or 0, quote=quote, name=name,
        reader=incoming.reader or "other", consent_to_quote=incoming.consent, route=incoming.route,
        after_results=incoming.after_results,
    )  # fmt: skip
