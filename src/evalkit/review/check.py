"""What a comment's record must hold, whoever wrote it: a command, or somebody by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from evalkit.core.errors import Fault, suggest_name
from evalkit.review.blocks import REPORTS
from evalkit.review.incoming import NAME_LIMIT, QUOTE_LIMIT, READERS, TEXT_LIMIT, text_faults
from evalkit.review.record import KINDS, STATUSES, Comment, Route

COMMENT_KEYS = tuple(field.name for field in fields(Comment))
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "report": REPORTS, "kind": tuple(KINDS), "reader": READERS, "route": get_args(Route), "status": tuple(STATUSES),
}  # fmt: skip
_WHO_LIMIT = 100
_LIMITS = {"text": TEXT_LIMIT, "name": NAME_LIMIT, "quote": QUOTE_LIMIT, "reply": TEXT_LIMIT, "reason": TEXT_LIMIT,
           "analysis": TEXT_LIMIT, "flags_accepted": TEXT_LIMIT, "decided_by": _WHO_LIMIT,
           "second": _WHO_LIMIT}  # fmt: skip
_TRUTH = {"true": True, "yes": True, "false": False, "no": False, "": False}


def comment_from(where: str, name: str, entries: Mapping[str, Any], faults: list[Fault]) -> Comment | None:
    """The comment that a file holds as texts; None, with faults, where it breaks the schema."""
    wrong = [
        Fault(where, f'"{key}" is unknown', allowed=", ".join(COMMENT_KEYS),
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
        wrong.append(Fault(where, "its id is not that of its file name", got=str(entries["id"])[:20], allowed=name))
    if wrong:
        faults += wrong
        return None
    comment = Comment(**values)
    wrong = answer_faults(where, comment)
    faults += wrong
    return None if wrong else comment


def _value(where: str, key: str, given: Any, wrong: list[Fault]) -> Any:
    if key == "changed":
        listed = [] if given in ("", None) else given
        if not isinstance(listed, list) or not all(isinstance(block, str) for block in listed):
            wrong.append(Fault(where, "changed is not a list of ids", allowed="one line each, led by a hyphen"))
            return ()
        return tuple(listed)
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
        wrong.append(Fault(where, f"{key} is unknown", got=given[:30], allowed=", ".join(_CHOICES[key]),
                           next_step=suggest_name(given, _CHOICES[key])))  # fmt: skip
    wrong += text_faults(where, key, given, limit=_LIMITS.get(key, QUOTE_LIMIT))
    return given.strip()


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
