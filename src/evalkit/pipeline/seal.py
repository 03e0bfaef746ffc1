"""What was rendered from which release: written by the pipeline, so that a bundle can hold the files to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from evalkit.core.errors import Fault
from evalkit.disclose.release import MANIFEST_FILE, RESULTS_FILE
from evalkit.pipeline.provenance import file_digest
from evalkit.pipeline.staging import WORKINGS
from evalkit.review.record import Review

SEAL_FILE = "rendered.json"
NOT_SEALED = {SEAL_FILE, MANIFEST_FILE, RESULTS_FILE, WORKINGS, ".DS_Store"}


def write_seal(folder: Path, *, review: Review) -> str:
    """Note in `rendered.json` the digest of every rendered file, of the manifest and of the review; its name.

    To be called last, when all files lie in `folder`.
    """
    content = {
        "manifest": file_digest(folder / MANIFEST_FILE),
        "review": review_digest(review),
        "files": {name: file_digest(folder / name) for name in rendered_names(folder)},
    }
    (folder / SEAL_FILE).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return SEAL_FILE


def rendered_names(folder: Path) -> list[str]:
    """Files of an output folder that readers get, in order."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.name not in NOT_SEALED)


def review_digest(review: Review) -> str:
    """SHA-256 of what the reports say of a review record; which versions were released is no part of it."""
    said = {"comments": [asdict(c) for c in review.comments], "involvement": _plain(vars(review.involvement))}
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def seal_faults(folder: Path, *, review: Review) -> list[Fault]:
    """Every way in which the files of an output folder are not those rendered from its release and this review."""
    path = folder / SEAL_FILE
    again = "Make the reports again with `evalkit evaluate`."
    try:
        seal = json.loads(path.read_text(encoding="utf-8"))
        files, manifest, said = dict(seal["files"]), seal["manifest"], seal["review"]
    except FileNotFoundError:
        return [Fault(str(folder), f"there is no {SEAL_FILE}, so nothing says what the reports were made from",
                      next_step=again)]  # fmt: skip
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        return [Fault(str(path), "it is not what the pipeline writes", next_step=again)]
    faults = []
    if not (folder / MANIFEST_FILE).is_file() or file_digest(folder / MANIFEST_FILE) != manifest:
        faults.append(Fault(str(folder), "the reports were made from another release", next_step=again))
    if said != review_digest(review):
        faults.append(Fault(str(folder), "the reports do not say what the review record says now", next_step=again))
    for name in sorted({*files, *rendered_names(folder)}):
        if name not in files:
            faults.append(Fault(name, "this file was not rendered with the reports", next_step="Move it elsewhere."))
        elif not (folder / name).is_file():
            faults.append(Fault(name, "this rendered file is missing", next_step=again))
        elif file_digest(folder / name) != files[name]:
            faults.append(Fault(name, "this file was changed after it was rendered", next_step=again))
    return faults


def _plain(entries: Mapping[str, object]) -> dict[str, object]:
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in entries.items()}
