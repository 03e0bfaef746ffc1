"""Reading `reviews/<study>/`: every file held to its schema, all faults at once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import yaml

from evalkit.core.errors import Fault, ReviewError, suggest_name
from evalkit.review.blocks import REPORTS
from evalkit.review.check import COMMENT_KEYS, comment_from, named
from evalkit.review.incoming import TEXT_LIMIT, text_faults
from evalkit.review.personal import ALWAYS_OUT, find_personal
from evalkit.review.record import Comment, Gripp2, Held, Involvement, Principle, Review, Route, Version

COMMENTS, HELD_FILE, INVOLVEMENT_FILE, VERSIONS = "comments", "held.yaml", "involvement.yaml", "versions"
OLD = f".{COMMENTS}-new-old"  # where the comments stand while new ones take their place
_SIZE_LIMIT = 200_000  # bytes of one file written by hand
_INVOLVEMENT_KEYS = ("four_pi", "gripp2", "people", "credits", "support")
_HELD_KEYS = ("key", "report", "block", "route", "found")


class _Loader(yaml.BaseLoader):
    """YAML as plain texts, lists and maps: no types of Python, no aliases, no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*) stands in it")
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError("a tag (!) stands in it")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002  (PyYAML's own signature)
        keys = [key.value for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.YAMLError(f"{named(twice[0])} stands in it twice")
        return super().construct_mapping(node, deep=deep)


def load_review(folder: Path | str) -> Review:
    """Everything that is recorded of a study's readers. A folder that does not exist, or "", is an empty record.

    Raises
    ------
    ReviewError
        With every fault of every file at once: unknown or missing entries, a status that lacks what it needs.
    """
    if not str(folder):
        return Review()
    folder = Path(folder)
    faults: list[Fault] = []
    comments = _load_comments(folder / COMMENTS, faults)
    held = _load_held(folder / COMMENTS / HELD_FILE, faults)
    involvement = _load_involvement(folder / INVOLVEMENT_FILE, faults)
    versions = _load_versions(folder / VERSIONS, faults)
    if faults:
        raise ReviewError(faults)
    return Review(comments, involvement, versions, held)


def _load_comments(folder: Path, faults: list[Fault]) -> tuple[Comment, ...]:
    comments = []
    if not folder.is_dir() and (folder.exists() or folder.with_name(OLD).exists()):
        step = f"Rename {OLD} to {COMMENTS}." if folder.with_name(OLD).exists() else "Put the folder back."
        faults.append(Fault(str(folder), "it is not there as a folder; a write was broken off", next_step=step))
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name == HELD_FILE or path.name.startswith(".") or path.name.endswith(("~", ".bak", ".orig")):
            continue
        if not re.fullmatch(r"c\d{4,}\.yaml", path.name):
            faults.append(Fault(str(path), "it is not read, so a comment could be lost", allowed="c0001.yaml and so on",
                                next_step="Give it such a name or move it away."))  # fmt: skip
            continue
        entries = read_yaml(path, faults)
        if entries is not None:
            comment = comment_from(str(path), path.stem, entries, faults)
            comments += [comment] if comment else []
    return tuple(sorted(comments, key=lambda comment: (len(comment.id), comment.id)))


def read_yaml(path: Path, faults: list[Fault]) -> dict[str, Any] | None:
    """The entries of one YAML file as texts, lists and maps; None, with a fault, where it has none."""
    where = str(path)
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            faults.append(Fault(where, "it is too large for a file written by hand", allowed=f"{_SIZE_LIMIT:,} bytes"))
            return None
        loaded = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Loader)
    except UnicodeDecodeError:
        faults.append(Fault(where, "it is not text in UTF-8", next_step="Save it as UTF-8."))
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        problem = getattr(error, "problem", None) or (str(error) if not mark else "")
        faults.append(
            Fault(where, f"it is not YAML{line}", got=problem, next_step="Put a text that holds a colon in quotes.")
        )
    except OSError as error:
        faults.append(Fault(where, f"it cannot be read ({error.strerror})"))
    else:
        if isinstance(loaded, dict):
            return loaded
        faults.append(Fault(where, "it holds no entries", allowed="lines such as `status: open`"))
    return None


def _load_held(path: Path, faults: list[Fault]) -> tuple[Held, ...]:
    if not path.is_file():
        return ()
    entries = read_yaml(path, faults)
    held = []
    for place, entry in enumerate(_listed(str(path), "held", (entries or {}).get("held"), faults, of=dict), 1):
        here = f"{path}, entry {place}"
        wrong = _key_faults(here, entry, _HELD_KEYS) + [
            Fault(here, f'"{key}" is missing') for key in _HELD_KEYS if not entry.get(key)
        ]
        if entry.get("report") not in REPORTS or entry.get("route") not in get_args(Route):
            wrong.append(Fault(here, "its report or route is unknown"))
        faults += wrong
        if not wrong:
            found = tuple(str(kind) for kind in entry["found"])
            held.append(Held(entry["key"], entry["report"], entry["block"], entry["route"], found))
    return tuple(held)


def _load_involvement(path: Path, faults: list[Fault]) -> Involvement:
    if not path.is_file():
        return Involvement()
    entries = read_yaml(path, faults)
    if entries is None:
        return Involvement()
    where = str(path)
    faults += _key_faults(where, entries, _INVOLVEMENT_KEYS)
    maps: dict[str, Mapping[Any, str]] = {}
    for name, allowed in (("four_pi", get_args(Principle)), ("gripp2", get_args(Gripp2))):
        given = entries.get(name) or {}
        if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
            faults.append(Fault(where, f"{name} does not hold texts", allowed=", ".join(allowed)))
            continue
        faults += _key_faults(f"{where}, {name}", given, allowed)
        maps[name] = MappingProxyType({key: text.strip() for key, text in given.items()})
        faults += [fault for key, text in given.items() for fault in _words_faults(where, named(key), text)]
    said = entries.get("people") or ""
    if not isinstance(said, str) or not re.fullmatch(r"\d{0,6}", said):
        faults.append(
            Fault(where, "people is not a whole number", allowed="a number, or nothing if nobody wrote it down")
        )
        said = ""
    lists = {name: _listed(where, name, entries.get(name), faults, of=str) for name in ("credits", "support")}
    faults += [f for text in lists["credits"] for f in _words_faults(where, "credits", text)]
    faults += [f for text in lists["support"] for f in text_faults(where, "support", text, limit=TEXT_LIMIT)]
    return Involvement(**maps, people=int(said) if said else None, **lists)


def _words_faults(where: str, name: str, text: str) -> list[Fault]:
    """What must not be printed of who took part. Contacts for support are numbers and addresses by intent."""
    return text_faults(where, name, text.strip(), limit=TEXT_LIMIT) + [
        Fault(where, f"{name} holds what looks like personal data", got=kind, next_step="Take it out.")
        for kind in dict.fromkeys(one.kind for one in find_personal(text) if one.kind in ALWAYS_OUT)
    ]


def _listed(where: str, name: str, given: Any, faults: list[Fault], *, of: type) -> tuple[Any, ...]:
    if given in (None, ""):
        return ()
    if isinstance(given, list) and all(isinstance(entry, of) for entry in given):
        return tuple(given)
    faults.append(Fault(where, f"{name} is not a list", allowed="one line each, led by a hyphen"))
    return ()


def _key_faults(where: str, entries: Mapping[str, Any], allowed: Sequence[str]) -> list[Fault]:
    return [
        Fault(where, f"{named(key)} is unknown", allowed=", ".join(allowed), next_step=suggest_name(str(key), allowed))
        for key in entries if key not in allowed
    ]  # fmt: skip


def _load_versions(folder: Path, faults: list[Fault]) -> tuple[Version, ...]:
    versions = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            faults.append(Fault(str(path), "it is not JSON"))
            continue
        blocks = entries.get("blocks") if isinstance(entries, dict) else None
        if (
            not isinstance(blocks, dict)
            or set(entries) != {"number", "manifest", "blocks"}
            or path.stem != str(entries["number"])
            or not isinstance(entries["number"], int)
            or not all(isinstance(text, str) for text in (entries["manifest"], *blocks.values()))
        ):
            faults.append(Fault(str(path), "it is not a version as `save_version` writes it"))
            continue
        versions.append(Version(entries["number"], entries["manifest"], MappingProxyType(blocks)))
    return tuple(sorted(versions, key=lambda version: version.number))


__all__ = ["COMMENTS", "COMMENT_KEYS", "HELD_FILE", "INVOLVEMENT_FILE", "VERSIONS", "load_review", "read_yaml"]
