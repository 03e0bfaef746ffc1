"""What goes to an output checker: the files, what was withheld and why, and the questions a checker asks."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evalkit.core.errors import EvalkitError, Fault
from evalkit.core.files import cannot_write, swap_folder
from evalkit.core.result import Results
from evalkit.disclose import Release, load_release
from evalkit.disclose.release import MANIFEST_FILE, RESULTS_FILE
from evalkit.disclose.scan import find_unreleased, scan_files
from evalkit.pipeline.checker import Answer, answer_questions, render_read_first
from evalkit.pipeline.provenance import file_digest
from evalkit.pipeline.seal import rendered_names, seal_faults
from evalkit.pipeline.staging import WORKINGS
from evalkit.review.blocks import load_blocks
from evalkit.review.record import Review, Version
from evalkit.review.save import save_version

FILES = "files"
BUNDLE_FILE, WITHHELD_FILE, SUMS_FILE, READ_FIRST = "bundle.json", "withheld.csv", "checksums.txt", "READ_FIRST.md"
_AGAIN = "Run `evalkit evaluate` again."


@dataclass(frozen=True)
class Bundle:
    """A folder for an output checker: where it is, what it holds, and the answers to a checker's questions."""

    folder: Path
    files: tuple[str, ...]
    answers: tuple[Answer, ...]


def make_bundle(out: Path | str, to: Path | str, *, review: Review, earlier: Release | None = None) -> Bundle:
    """Put what may leave into the folder `to`, in one step, or say everything that keeps it from leaving.

    Parameters
    ----------
    out
        The output of `evalkit evaluate` with its `workings/`, which are read to search for what must not leave and
        are never copied.
    to
        A folder that is not there yet, or an earlier bundle, which is replaced.
    review
        The record of comments (`load_review`). Each needs an answer, and the reports must say what it says.
    earlier
        The release that the same readers have, the same as given to `evaluate`.

    Raises
    ------
    EvalkitError
        With every reason at once: no release, a comment without an answer, a file that was not rendered from this
        release and review, an unreleased number or a trace of the machine in a file, an earlier release that this one
        was not compared with, a folder that cannot be written.
    """
    out, to = Path(out).resolve(), Path(to).resolve()
    faults = _place_faults(out, to) + _review_faults(review)
    released: Release | None = None
    try:
        released = load_release(out)
    except EvalkitError as error:
        faults += list(error.faults)
    if released is not None:
        faults += seal_faults(out, review=review)
        faults += _earlier_faults(released, review, earlier)
        faults += _scan_faults(out, released)
    if released is None or faults:
        raise EvalkitError(faults)
    names = (*rendered_names(out), MANIFEST_FILE, RESULTS_FILE)
    answers = answer_questions(released, files=names)
    _write(out, to, released, names, answers, review)
    return Bundle(to, names, answers)


def record_release(out: Path | str, reviews: Path | str) -> Version:
    """Record the version that was released in the review folder; the same one twice is recorded once.

    Raises
    ------
    EvalkitError
        If the output holds no release or no list of blocks, or the record cannot be read or written.
    """
    out = Path(out)
    digest = _manifest_digest(load_release(out))
    return save_version(reviews, manifest_digest=digest, blocks=load_blocks(out))


# ---- reasons to refuse ---------------------------------------------------------------------------


def _place_faults(out: Path, to: Path) -> list[Fault]:
    faults = []
    if to == out or out in to.parents or to in out.parents:
        faults.append(Fault(str(to), "a bundle cannot lie in the output, nor the output in it",
                            next_step="Name a folder beside it."))  # fmt: skip
    if to.exists() and not to.is_dir():
        faults.append(Fault(str(to), "this is a file", allowed="a folder", next_step="Name another."))
    elif to.is_dir() and any(to.iterdir()) and not (to / BUNDLE_FILE).is_file():
        faults.append(Fault(str(to), "this folder is not empty and not an earlier bundle", next_step="Name another."))
    return faults


def _review_faults(review: Review) -> list[Fault]:
    faults = [
        Fault(comment.id, "this comment has no answer", next_step=f"Give `evalkit review answer {comment.id}`.")
        for comment in review.unanswered
    ]
    faults += [
        Fault(f"comment on {entry.block}", "it was held back for personal data and is neither stored nor withdrawn",
              next_step="Import its file again with --blank-flags.")
        for entry in review.held
    ]  # fmt: skip
    return faults


def _earlier_faults(released: Release, review: Review, earlier: Release | None) -> list[Fault]:
    """A release that readers have must be the one that this was compared with."""
    manifest = released.manifest
    compared = str(manifest.get("earlier", {}).get("manifest", ""))
    step = "Run `evalkit evaluate` again with --earlier and the folder of the release that readers have."
    mine = _manifest_digest(released)
    last = max(review.versions, key=lambda version: version.number, default=None)
    faults = []
    if earlier is not None and _manifest_digest(earlier) not in (compared, mine):
        faults.append(Fault("earlier release", "this release was not compared with it", next_step=step))
    if last is not None and last.manifest not in (compared, mine):
        faults.append(Fault(f"version {last.number}", "it was released, and this release was not compared with it",
                            next_step=step))  # fmt: skip
    return faults


def _scan_faults(out: Path, released: Release) -> list[Fault]:
    folder = out / WORKINGS / "results"
    parts = sorted(folder.glob("*.parquet"))
    if not parts:
        what = "the numbers before disclosure control are not there to be searched for"
        return [Fault(str(folder), what, next_step=_AGAIN)]
    exact = Results.concat([Results.load(path) for path in parts])
    found = scan_files(out, unreleased=find_unreleased(exact, released))
    return [Fault(leak.file, f"{leak.what} in {leak.place}", next_step=leak.next_step) for leak in found]


# ---- writing -------------------------------------------------------------------------------------


def _write(out: Path, to: Path, released: Release, names: tuple[str, ...], answers: tuple[Answer, ...],
           review: Review) -> None:  # fmt: skip
    fresh = to.with_name(f".{to.name}.new")
    made_to = not to.exists()
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        (fresh / FILES).mkdir(parents=True)
        for name in names:
            shutil.copyfile(out / name, fresh / FILES / name)
        texts = {
            WITHHELD_FILE: _withheld_csv(released),
            READ_FIRST: render_read_first(released, answers, names, review),
        }
        sums = {f"{FILES}/{name}": file_digest(fresh / FILES / name) for name in names}
        sums |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
        texts[BUNDLE_FILE] = _bundle_json(released, sums, answers)
        sums[BUNDLE_FILE] = hashlib.sha256(texts[BUNDLE_FILE].encode()).hexdigest()
        texts[SUMS_FILE] = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
        for name, text in texts.items():
            (fresh / name).write_text(text, encoding="utf-8")
        swap_folder(fresh, to)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if made_to and to.is_dir() and not any(to.iterdir()):
            to.rmdir()
        raise cannot_write(to, error) from error


def _withheld_csv(released: Release) -> str:
    labels = dict(zip(released.results.frame["id"], released.results.frame["label"], strict=True))
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["id", "label", "rule", "why"])
    writer.writerows([s["id"], labels.get(s["id"], ""), s["rule"], s["why"]] for s in released.manifest["suppressed"])
    return lines.getvalue()


def _bundle_json(released: Release, sums: Mapping[str, str], answers: tuple[Answer, ...]) -> str:
    manifest = released.manifest
    content = {
        "release": _manifest_digest(released),
        "protocol_digest": manifest["protocol_digest"],
        "data_digest": manifest["data_digest"],
        "evalkit_version": manifest["evalkit_version"],
        "earlier": manifest.get("earlier", {}).get("manifest", ""),
        "files": dict(sums),
        "withheld": {name: manifest["counts"].get(name, 0) for name in
                     ("primary", "linked", "complementary", "differencing")},
        "questions": [{"question": a.question, "answer": a.text, "checked_by": a.checked_by} for a in answers],
    }  # fmt: skip
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _manifest_digest(released: Release) -> str:
    return hashlib.sha256(released.manifest_text.encode()).hexdigest()
