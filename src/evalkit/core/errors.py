"""Named errors that say what, where, what was got, what is allowed and what to do next.

An error never quotes a person's row: faults carry names, counts and allowed values only.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, in four parts; `text` joins those that are given."""

    where: str
    what: str
    got: str = ""
    allowed: str = ""
    next_step: str = ""

    @property
    def text(self) -> str:
        parts = [f"{self.where}: {self.what}"]
        if self.got:
            parts.append(f"Got {self.got}")
        if self.allowed:
            parts.append(f"Allowed: {self.allowed}")
        if self.next_step:
            parts.append(self.next_step)
        return " ".join(part if part.endswith((".", "?")) else f"{part}." for part in parts)


class EvalkitError(Exception):
    """Base of every error a user can cause. `exit_code` is what the command line exits with."""

    exit_code = 2
    headline = "evalkit cannot go on"

    def __init__(self, faults: Fault | Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__(self._message())

    def __reduce__(self) -> tuple[type[EvalkitError], tuple[tuple[Fault, ...]]]:
        # An error must come whole out of a worker process; by default it would be made anew from its text.
        return type(self), (self.faults,)

    def _message(self) -> str:
        count = len(self.faults)
        head = f"{self.headline} ({count} fault{'s' if count != 1 else ''})"
        return "\n".join([head, *(f"  {i}. {f.text}" for i, f in enumerate(self.faults, 1))])


class ProtocolError(EvalkitError):
    """The protocol file cannot be read, or holds unknown, missing or contradictory entries."""

    headline = "The protocol cannot be used"


class DataError(EvalkitError):
    """The tables break their contract in a way that makes them unusable."""

    headline = "The data cannot be used"


class ParameterError(EvalkitError):
    """A function, command or notebook was given a parameter it does not have or cannot use."""

    headline = "A parameter cannot be used"


class OutputError(EvalkitError):
    """The output cannot be written; whatever was there before is untouched."""

    headline = "The output cannot be written"


class DisclosureError(EvalkitError):
    """Something unreleased was about to leave the secure side."""

    headline = "Disclosure control refused"


class ReviewError(EvalkitError):
    """Comments of readers, or the record of them, cannot be used; nothing was stored."""

    headline = "The comments cannot be used"


class NotebookError(EvalkitError):
    """A notebook failed while it ran; its executed copy is kept with the error marked."""

    exit_code = 1
    headline = "A notebook failed"


class NotEstimable(EvalkitError):
    """The data cannot identify this estimand. Callers print the reason where the number would stand."""

    headline = "Not estimable"

    @property
    def reason(self) -> str:
        return " ".join(fault.text for fault in self.faults)


def suggest_name(name: str, allowed: Sequence[str]) -> str:
    """Return 'Did you mean "x"?' for the nearest allowed name, or an empty string."""
    near = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f'Did you mean "{near[0]}"?' if near else ""
