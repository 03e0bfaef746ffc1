"""The folder a run is built in, beside the output, and the one step in which it takes the output's place."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evalkit.core.errors import Fault, OutputError
from evalkit.pipeline.provenance import file_digest

Start = Literal["anew", "resume"]

WORKINGS = "workings"
FORMATS = ("html", "pdf", "docx")
_RELEASED = ("results.parquet", "manifest.json")
# What one run makes and another does not: the card where the protocol asks for a risk model, the rest by report.
_PERHAPS = (
    "model_card.md", "blocks.json", "rendered.json", "peer_explore.html", "peer_large_print.pdf", "peer.txt",
    "peer_easy_read.html", "peer_easy_read.docx",
)  # fmt: skip
_DISK_ERRORS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ENOTDIR,
    errno.EBUSY, errno.EXDEV,
}  # fmt: skip
_README = """\
WORKINGS: NOT RELEASED

These files must not leave the secure environment they were made in.

They are the executed notebooks and the numbers as they were before disclosure control. Small
numbers stand in them as they are. They are kept so that an evaluator can follow every figure of the
reports back to the cell that made it. What may leave stands one folder up: it was made from the
released numbers alone.
"""


@dataclass(frozen=True)
class Staging:
    """Where a run is built (`folder`), where it will stand (`out`), and what was finished before."""

    out: Path
    folder: Path
    inputs: Mapping[str, str]
    finished: dict[str, dict[str, str]]

    @property
    def workings(self) -> Path:
        return self.folder / WORKINGS

    def executed(self, notebook: str) -> Path:
        return self.workings / f"{notebook}.ipynb"

    def results(self, notebook: str) -> Path:
        return self.workings / "results" / f"{notebook}.parquet"


def output_names(stems: tuple[str, ...]) -> set[str]:
    """Every name that an output folder may hold."""
    forms = {f"{stem}.{ending}" for stem in stems for ending in FORMATS}
    return {WORKINGS, *_RELEASED, *forms, *_perhaps(stems)}


def _perhaps(stems: tuple[str, ...]) -> set[str]:
    return {*_PERHAPS, *(f"{stem}_comments.csv" for stem in stems)}


def check_output(out: Path, stems: tuple[str, ...]) -> list[Fault]:
    """Every reason why `out` could not be written or replaced; nothing is changed by asking."""
    parent = out.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    try:
        with tempfile.NamedTemporaryFile(dir=parent, prefix=".evalkit-"):
            pass
    except OSError as error:
        return [Fault(str(out), f"nothing can be written in {parent} ({error.strerror})", next_step="Choose another.")]
    if not out.exists():
        return []
    if not out.is_dir():
        return [Fault(str(out), "this is a file", allowed="a folder", next_step="Choose another.")]
    if out.is_mount():
        return [Fault(str(out), "this is a mount point, which cannot be replaced", next_step="Name a folder in it.")]
    names = {path.name for path in out.iterdir()} - {".DS_Store"}
    strange = sorted(names - output_names(stems))
    if names and "manifest.json" not in names:
        return [Fault(str(out), "this folder is not empty and not an earlier output", next_step="Choose another.")]
    if strange:
        return [
            Fault(str(out), "this earlier output also holds what evalkit did not make, which would be lost",
                  got=", ".join(strange[:10]), next_step="Move it elsewhere.")
        ]  # fmt: skip
    return []


@contextmanager
def open_staging(out: Path, inputs: Mapping[str, str], *, start: Start) -> Iterator[tuple[Staging, str]]:
    """The staging folder beside `out`, locked against a second run, and a sentence on where it starts.

    With `start="resume"` what an unfinished run left is kept if it was made from the same `inputs`;
    otherwise the folder is emptied. A disk that fills, or any other refusal to write, removes the
    folder and becomes an OutputError: the old output has not been touched.
    """
    folder = _sibling(out, "partial")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _recover(out)
        folder.mkdir(exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise _output_error(out, error) from error
    try:
        _lock(lock, out)
        try:
            yield _begin(out, folder, inputs, start=start)
        except OutputError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except OSError as error:
            if error.errno not in _DISK_ERRORS:
                raise
            shutil.rmtree(folder, ignore_errors=True)
            raise _output_error(out, error) from error
    finally:
        os.close(lock)


def record_finished(staging: Staging, notebook: str, source_digest: str) -> None:
    """Note that a notebook ran to its end, so that a later --resume need not run it again."""
    entry = {"source": source_digest}
    if staging.results(notebook).is_file():
        entry["results"] = file_digest(staging.results(notebook))
    staging.finished[notebook] = entry
    _write_state(staging)


def is_reusable(staging: Staging, notebook: str, source_digest: str) -> bool:
    """Whether a notebook finished earlier with this very source and its products are still whole."""
    entry = staging.finished.get(notebook)
    results = staging.results(notebook)
    return (
        entry is not None
        and entry["source"] == source_digest
        and staging.executed(notebook).is_file()
        and results.is_file()
        and entry.get("results") == file_digest(results)
    )


def publish(staging: Staging, stems: tuple[str, ...], *, more: tuple[str, ...] = ()) -> None:
    """Put the finished folder in the place of the old one; if that fails, the old one is back.

    `more` are files that this run must have made beside what every run makes, such as the model card.
    """
    there = {path.name for path in staging.folder.iterdir()}
    strange = sorted(there - output_names(stems))
    missing = sorted(output_names(stems) - _perhaps(stems) - there | set(more) - there)
    if strange or missing:
        raise OutputError(
            [Fault(name, "this file is no part of an output") for name in strange]
            + [Fault(name, "this file was not made") for name in missing]
        )
    old = _sibling(staging.out, "old")
    replacing = staging.out.exists()
    if replacing:
        staging.out.rename(old)
    try:
        staging.folder.rename(staging.out)
    except OSError:
        if replacing:
            old.rename(staging.out)
        raise
    # The new output stands: what cannot be deleted of the old one is swept away by the next run.
    shutil.rmtree(old, ignore_errors=True)


def _begin(out: Path, folder: Path, inputs: Mapping[str, str], *, start: Start) -> tuple[Staging, str]:
    finished: dict[str, dict[str, str]] = {}
    said = ""
    if start == "resume":
        finished, said = _earlier(folder, inputs)
    if not finished:
        _empty(folder)
    staging = Staging(out, folder, inputs, finished)
    (staging.workings / "results").mkdir(parents=True, exist_ok=True)
    (staging.workings / "README.txt").write_text(_README, encoding="utf-8")
    _write_state(staging)
    return staging, said


def _earlier(folder: Path, inputs: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], str]:
    try:
        state = json.loads((folder / WORKINGS / "state.json").read_text(encoding="utf-8"))
        before, finished = state["inputs"], state["finished"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return {}, "There is no unfinished run to resume: starting anew."
    changed = sorted(name for name in {*inputs, *before} if inputs.get(name) != before.get(name))
    if changed:
        verb = "has" if len(changed) == 1 else "have"
        return {}, f"The {' and the '.join(changed)} {verb} changed since the unfinished run: starting anew."
    if not finished:
        return {}, "The unfinished run had finished nothing: starting anew."
    return finished, "Resuming the unfinished run."


def _write_state(staging: Staging) -> None:
    path = staging.workings / "state.json"
    new = path.with_suffix(".new")
    content = {"inputs": dict(staging.inputs), "finished": staging.finished}
    new.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
    new.replace(path)


def _sibling(out: Path, what: str) -> Path:
    return out.with_name(f".{out.name}.{what}")


def _recover(out: Path) -> None:
    # A run that was killed between the two renames left the old output aside: put it back.
    old = _sibling(out, "old")
    if old.exists():
        if out.exists():
            shutil.rmtree(old)
        else:
            old.rename(out)


def _lock(lock: int, out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(Fault(str(out), "another run is writing this output", next_step="Wait for it.")) from None


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _output_error(out: Path, error: OSError) -> OutputError:
    return OutputError(
        Fault(str(out), f"{error.strerror or error}", next_step="Make room or choose another folder and run again.")
    )
