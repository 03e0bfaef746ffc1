"""What a comment's record must hold, whoever wrote it: a command, or somebody by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_args

from evalkit.core.errors import Fault, suggest_name
from evalkit.review.blocks import REPORTS, is_id, safe_id
from evalkit.review.incoming import NAME_LIMIT, QUOTE_LIMIT, READERS, TEXT_LIMIT, text_faults
from evalkit.review.personal import ALWAYS_OUT, find_in_name, find_personal
from evalkit.review.record import KINDS, STATUSES, Comment, Route

COMMENT_KEYS = tuple(field.name for field in fields(Comment))
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "report": REPORTS, "kind": tuple(KINDS), "reader": READERS, "route": get_args(Route), "status": tuple(STATUSES),
}  # fmt: skip
_WHO_LIMIT = 100
LIMITS = {"text": TEXT_LIMIT, "name": NAME_LIMIT, "quote": QUOTE_LIMIT, "reply": TEXT_LIMIT, "reason": TEXT_LIMIT,
           "analysis": TEXT_LIMIT, "flags_accepted": TEXT_LIMIT, "decided_by": _WHO_LIMIT,
           "second": _WHO_LIMIT}  # fmt: skip
_READERS_OWN = ("text", "name")
_PERSONAL_STEP = {
    False: "Say it in other words.",
    True: "Take it out. If it is no personal data, say why in `flags_accepted`.",
}
_TRUTH = {"true": True, "yes": True, "false": False, "no": False, "": False}


def comment_from(where: str, name: str, entries: Mapping[str, Any], faults: list[Fault]) -> Comment | None:
    """The comment that a file holds as texts; None, with faults, where it breaks the schema."""
    wrong = [
        Fault(where, f"{named(key)} is unknown", allowed=", ".join(COMMENT_KEYS),
              next_step=suggest_name(str(key), COMMENT_KEYS))
        for key in entries if key not in COMMENT_KEYS
    ]  # fmt: skip
    wrong += [
        Fault(where, f'"{key}" is missing') for key in ("id", "report", "block", "kind", "text") if not entries.get(key)
    ]
    values: dict[str, Any] = {}
    for key in COMMENT_KEYS:
        if key in entries:
            values[key] = _value(where, key, entries[key], wrong)
    if entries.get("id") and entries["id"] != name:
        wrong.append(Fault(where, "its id is not that of its file name", got=named(entries["id"]), allowed=name))
    if wrong:
        faults += wrong
        return None
    comment = Comment(**values)
    wrong = answer_faults(where, comment) + personal_faults(where, comment)
    faults += wrong
    return None if wrong else comment


def _value(where: str, key: str, given: Any, wrong: list[Fault]) -> Any:
    if key == "changed":
        listed = [] if given in ("", None) else given
        if not isinstance(listed, list) or not all(isinstance(block, str) for block in listed):
            wrong.append(Fault(where, "changed is not a list of ids", allowed="one line each, led by a hyphen"))
            return ()
        wrong += place_faults(where, listed)
        return tuple(dict.fromkeys(listed))
    if not isinstance(given, str):
        wrong.append(Fault(where, f"{key} is not text", next_step="Put it in quotes or after `|`."))
        return ""
    if key == "version":
        if not re.fullmatch(r"\d{1,6}", given):
            wrong.append(Fault(where, "version is not a whole number of 0 or more"))
            return 0
        return int(given)
    if key in ("consent_to_quote", "after_results"):
        if given.lower() not in _TRUTH:
            wrong.append(Fault(where, f"{key} is neither yes nor no", allowed="true, false"))
        return _TRUTH.get(given.lower(), False)
    if key in _CHOICES and given not in _CHOICES[key]:
        wrong.append(Fault(where, f"{key} is unknown", got=named(given), allowed=", ".join(_CHOICES[key]),
                           next_step=suggest_name(given, _CHOICES[key])))  # fmt: skip
    wrong += text_faults(where, key, given, limit=LIMITS.get(key, QUOTE_LIMIT))
    return given.strip()


def named(said: object) -> str:
    """What was typed in the place of a name, if it looks like one: it may be a line of somebody's words."""
    return f'"{said}"' if re.fullmatch(r"[\w.-]{1,30}", str(said)) else "(not a name)"


def place_faults(where: str, places: Iterable[str]) -> list[Fault]:
    """What in `changed` can be the id of no part of a report."""
    return [
        Fault(where, "changed names what is no id", got=safe_id(place), allowed="ids, such as text-summary-2")
        for place in places if not is_id(place)
    ]  # fmt: skip


def personal_faults(where: str, comment: Comment) -> list[Fault]:
    """What must not stand in the record: never what points at one person, and the rest only for a reason.

    Who decided may be a name, and a quote is the report's own words.
    """
    found = [(key, one.kind) for key in ("reply", "reason", "analysis") for one in find_personal(getattr(comment, key))]
    found += [("text", one.kind) for one in find_personal(comment.text)
              if one.kind in ALWAYS_OUT or not comment.flags_accepted]  # fmt: skip
    found += [("name", one.kind) for one in find_in_name(comment.name)
              if one.kind in ALWAYS_OUT or not comment.flags_accepted]  # fmt: skip
    found += [(key, one.kind) for key in ("quote", "decided_by", "second", "flags_accepted")
              for one in find_personal(getattr(comment, key)) if one.kind in ALWAYS_OUT]  # fmt: skip
    return [
        Fault(where, f"{key} holds what looks like personal data", kind, next_step=_PERSONAL_STEP[key in _READERS_OWN])
        for key, kind in dict.fromkeys(found)
    ]  # fmt: skip


def answer_faults(where: str, comment: Comment) -> list[Fault]:
    """What an answer lacks: every one a reply and who decided, some more."""
    if comment.status == "open":
        return []
    faults = []
    if not comment.reply:
        faults.append(Fault(where, f'status is "{comment.status}" and there is no reply', next_step="Write one."))
    if not comment.decided_by:
        faults.append(
            Fault(where, f'status is "{comment.status}" and decided_by is empty', next_step="Say who decided.")
        )
    if comment.status == "declined":
        if not comment.reason:
            faults.append(Fault(where, "it is declined without a reason", next_step="Write why in `reason`."))
        if not comment.second:
            faults.append(
                Fault(where, "it is declined by one person alone", next_step="Write who else agreed in `second`.")
            )
        elif comment.second.casefold() == comment.decided_by.casefold():
            faults.append(
                Fault(where, "it is declined by the same name twice", next_step="`second` is another person.")
            )
    if comment.status == "changed" and not comment.changed:
        faults.append(Fault(where, "it is changed and names no place", next_step="List the ids in `changed`."))
    return faults
