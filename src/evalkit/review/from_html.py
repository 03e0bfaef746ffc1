"""Comments from the file that the page saves: a small HTML file that carries one JSON document. Nothing is run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from evalkit.core.errors import Fault, suggest_name
from evalkit.review.incoming import Incoming, Parsed, refuse_file

SCRIPT_ID = "evalkit-comments"
_SCRIPT = re.compile(r"<script\b([^>]{0,500})>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_KEYS = ("block", "kind", "text", "quote", "name", "consent", "reader", "after_results")
_TOP_KEYS = ("report", "version", "comments", "format")
_SAVE = 'In the report, press "Save my comments to a file" and give the file that it saves.'


def read_html(where: str, content: bytes) -> Parsed:
    """Read the comments of a file that the page saved.

    The JSON document is a list of comments with the report and version as attributes `data-report` and
    `data-version` of its script element, or an object with `report`, `version` and `comments`.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return refuse_file(where, "it is not text in UTF-8", _SAVE)
    found = [m for m in _SCRIPT.finditer(text) if _attributes(m).get("id") == SCRIPT_ID]
    if not found:
        return refuse_file(where, "it is a page without comments in it", _SAVE)
    if len(found) > 1:
        return refuse_file(where, "it holds more than one list of comments", _SAVE)
    end = text.lower().find("</script", found[0].end())
    try:
        loaded = json.loads(text[found[0].end() : end] if end >= 0 else "")
    except (ValueError, RecursionError):
        return refuse_file(where, "its list of comments is not JSON; the file was cut or changed", _SAVE)
    given = _attributes(found[0])
    about = {"report": given.get("data-report", ""), "version": given.get("data-version", "")}
    if isinstance(loaded, dict):
        unknown = [key for key in loaded if key not in _TOP_KEYS]
        if unknown:
            return refuse_file(where, "its list of comments holds entries that are not known", _SAVE,
                               got=_named(unknown), allowed=", ".join(_TOP_KEYS))  # fmt: skip
        about |= {key: loaded[key] for key in ("report", "version") if key in loaded}
        loaded = loaded.get("comments")
    if not isinstance(loaded, list):
        return refuse_file(where, "its list of comments is not a list", _SAVE)
    if not loaded:
        return refuse_file(where, "there are no comments in it", _SAVE)
    return _read_list(where, loaded, about)


def _read_list(where: str, loaded: list[Any], about: Mapping[str, Any]) -> Parsed:
    version = _version(about["version"])
    faults = []
    if about["report"] and not isinstance(about["report"], str):
        faults.append(Fault(where, "the name of the report is not text"))
    if version == -1:
        faults.append(Fault(where, "the version of the report is not a whole number of 0 or more"))
    comments = []
    for place, entry in enumerate(loaded, 1):
        here = f"{where}, comment {place}"
        wrong = _entry_faults(here, entry)
        faults += wrong
        if not wrong and not faults:
            comments.append(_incoming(here, entry, str(about["report"]), version))
    return Parsed(tuple(comments), faults=tuple(faults)) if not faults else Parsed(faults=tuple(faults))


def _entry_faults(here: str, entry: Any) -> list[Fault]:
    if not isinstance(entry, dict):
        return [Fault(here, "it is not an entry with block and text")]
    faults = [
        Fault(here, "it has an entry that is not known", got=_named([key]), allowed=", ".join(_KEYS),
              next_step=suggest_name(key, _KEYS))
        for key in entry if key not in _KEYS
    ]  # fmt: skip
    faults += [Fault(here, f'"{key}" is missing') for key in ("block", "text") if not entry.get(key)]
    faults += [
        Fault(here, f'"{key}" is not text', got=type(entry[key]).__name__)
        for key in ("block", "kind", "text", "quote", "name", "reader")
        if key in entry and entry[key] is not None and not isinstance(entry[key], str)
    ]  # fmt: skip
    faults += [
        Fault(here, f'"{key}" is neither true nor false', got=type(entry[key]).__name__)
        for key in ("consent", "after_results") if key in entry and not isinstance(entry[key], bool)
    ]  # fmt: skip
    return faults


def _incoming(here: str, entry: Mapping[str, Any], report: str, version: int | None) -> Incoming:
    texts = {key: entry.get(key) or "" for key in ("block", "kind", "text", "quote", "name", "reader")}
    return Incoming(here, "html", report=report, version=version, consent=entry.get("consent", False),
                    after_results=entry.get("after_results", True), **texts)  # fmt: skip


def _version(said: Any) -> int | None:
    """The version as a number, None if none is said, -1 if what is said is no version."""
    if said in ("", None):
        return None
    if isinstance(said, bool) or not re.fullmatch(r"\d{1,6}", str(said)):
        return -1
    return int(str(said))


def _attributes(match: re.Match[str]) -> dict[str, str]:
    return {name.lower(): double or single for name, double, single in _ATTRIBUTE.findall(match[1])}


def _named(keys: list[str]) -> str:
    return ", ".join(key if re.fullmatch(r"[A-Za-z_-]{1,30}", key) else "(not a name)" for key in keys[:5])
