"""Writing `reviews/<study>/`: one YAML file a comment, and what a released version held. All or nothing, each time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from evalkit.core.errors import Fault, ReviewError, suggest_name
from evalkit.core.files import cannot_write, swap_folder
from evalkit.review.blocks import Blocks, flat_blocks, part_of
from evalkit.review.check import LIMITS, answer_faults, personal_faults, place_faults
from evalkit.review.incoming import clean_text, text_faults
from evalkit.review.load import COMMENTS, HELD_FILE, OLD, VERSIONS, load_review
from evalkit.review.lock import only_writer
from evalkit.review.record import Comment, Held, Status, Version

_FINAL = ("changed", "declined")
_HELD_NOTE = (
    "# Comments that were read but not stored: something in them looks like personal data. The words are not here.\n"
    "# Import their file again with --blank-flags, or change the words. Delete an entry here only once its comment\n"
    "# is stored in other words.\n"
)


class _Dumper(yaml.SafeDumper):
    """YAML as a person would write it: several lines as a block, letters as they are, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  (PyYAML's own signature)
        return True


def _write_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _write_text)


def dump_yaml(entries: Mapping[str, Any]) -> str:
    """Entries as YAML in the order given; text that looks like YAML is quoted and stays text."""
    return yaml.dump(dict(entries), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def dump_comment(comment: Comment) -> str:
    """The file of one comment: every field, so that an answer can be written by hand."""
    return dump_yaml(asdict(comment) | {"changed": list(comment.changed)})


def save_comments(folder: Path | str, comments: Iterable[Comment], held: Iterable[Held]) -> None:
    """Write these comments, and the list of those held back, beside those that are there; all of it or nothing.

    Raises
    ------
    OutputError
        If the folder cannot be written; what was there is untouched.
    """
    target = Path(folder) / COMMENTS
    fresh = target.with_name(f".{COMMENTS}-new")
    kept = [asdict(entry) | {"found": list(entry.found)} for entry in held]
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        if target.is_dir():  # what a broken write left; `load_review` refuses where it is all there is
            shutil.rmtree(target.with_name(OLD), ignore_errors=True)
        if target.is_dir():
            shutil.copytree(target, fresh)
        else:
            fresh.mkdir(parents=True)
        for comment in comments:
            (fresh / f"{comment.id}.yaml").write_text(dump_comment(comment), encoding="utf-8")
        (fresh / HELD_FILE).unlink(missing_ok=True)
        if kept:
            (fresh / HELD_FILE).write_text(_HELD_NOTE + dump_yaml({"held": kept}), encoding="utf-8")
        swap_folder(fresh, target)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        raise cannot_write(target, error) from None


def save_version(folder: Path | str, *, manifest_digest: str, blocks: Blocks) -> Version:
    """Keep what a released version held, so that the next can say what changed. The same version twice is kept once.

    Raises
    ------
    ReviewError
        If the record that is there cannot be read.
    OutputError
        If it cannot be written.
    """
    with only_writer(folder):
        return _saved_version(Path(folder), manifest_digest, blocks)


def _saved_version(folder: Path, manifest_digest: str, blocks: Blocks) -> Version:
    review = load_review(folder)
    flat = flat_blocks(blocks)
    for known in review.versions:
        if known.manifest == manifest_digest and dict(known.blocks) == flat:
            return known
    version = Version(review.number, manifest_digest, flat)
    path = folder / VERSIONS / f"{version.number}.json"
    entries = {"number": version.number, "manifest": version.manifest, "blocks": flat}
    _write_beside(path, json.dumps(entries, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    return version


def answer_comment(
    folder: Path | str, id: str, *, status: Status, reply: str, by: str, reason: str = "", second: str = "",
    changed: Iterable[str] = (), analysis: str = "", blocks: Blocks | None = None,
) -> Comment:  # fmt: skip
    """Write the answer to one comment into its file; `blocks` are those of the report that has the change.

    Raises
    ------
    ReviewError
        If there is no such comment, it has a last answer already, the answer lacks what its status needs, names a
        block that is not in the report, or holds personal data.
    OutputError
        If the file cannot be written.
    """
    texts = {"reply": reply, "reason": reason, "analysis": analysis, "decided_by": by, "second": second}
    texts = {name: clean_text(text) for name, text in texts.items()}
    with only_writer(folder):
        return _answered(Path(folder), id, status, texts, tuple(changed), blocks)


def _answered(
    folder: Path, id: str, status: Status, texts: Mapping[str, str], changed: tuple[str, ...], blocks: Blocks | None
) -> Comment:
    found = {comment.id: comment for comment in load_review(folder).comments}
    where = f"{COMMENTS}/{id}.yaml"
    if id not in found:
        raise ReviewError(Fault("id", "there is no such comment", got=id[:20], allowed=_few(found),
                                next_step=suggest_name(id, list(found))))  # fmt: skip
    before = found[id]
    if before.status in _FINAL:
        raise ReviewError(Fault(where, f'it has its answer already ("{before.status}")',
                                next_step="Change the file by hand if that was wrong."))  # fmt: skip
    places = tuple(dict.fromkeys(name.removeprefix(f"{before.report}/") for name in changed))
    answered = replace(before, status=status, changed=places, **texts)
    faults = [fault for name, text in texts.items()
              for fault in text_faults(where, name, text, limit=LIMITS[name])]  # fmt: skip
    faults += [Fault(where, "an answer needs another status than open")] if status == "open" else []
    faults += answer_faults(where, answered) + personal_faults(where, answered)
    faults += place_faults(where, answered.changed) + _block_faults(where, answered, blocks)
    if faults:
        raise ReviewError(faults)
    _write_beside(folder / COMMENTS / f"{id}.yaml", dump_comment(answered))
    return answered


def _block_faults(where: str, answered: Comment, blocks: Blocks | None) -> list[Fault]:
    if blocks is None:
        return []
    there = blocks.get(answered.report, {})
    parts = {part_of(name) for name in there}  # which may be named as a whole, without a paragraph's number
    return [
        Fault(where, f"changed names a block that is not in the {answered.report} report", got=name[:80],
              next_step=suggest_name(name, sorted(there)))
        for name in answered.changed if name not in there and name not in parts
    ]  # fmt: skip


def _write_beside(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (f" to {listed[-1]}" if len(listed) > 3 else "") if listed else "none is stored yet"
