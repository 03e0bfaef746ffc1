"""What may be wrong with an argument, whoever takes it, gathered so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np

from evalkit.core.errors import Fault, ParameterError, suggest_name


def refuse(faults: Iterable[Fault]) -> None:
    """Raise one ParameterError with all faults, if there are any."""
    found = list(faults)
    if found:
        raise ParameterError(found)


def choice_faults(where: str, got: object, allowed: Collection[str]) -> list[Fault]:
    """What is wrong with an option that is one of a few words: misspelt, it must not count as one of them."""
    if isinstance(got, str) and got in allowed:
        return []
    hint = suggest_name(got, list(allowed)) if isinstance(got, str) else ""
    return [Fault(where, "unknown", got=str(got), allowed=", ".join(allowed), next_step=hint)]


def level_faults(level: object) -> list[Fault]:
    """What is wrong with the level of an interval, which is a share such as 0.95."""
    if is_finite(level) and 0 < level < 1:
        return []
    return [Fault("level", "must lie between 0 and 1", got=str(level), allowed="a share, such as 0.95")]


def whole_faults(where: str, value: object, *, least: int) -> list[Fault]:
    """What is wrong with a whole number of `least` or more."""
    if is_finite(value) and value == int(value) and value >= least:
        return []
    return [Fault(where, "out of range", str(value), f"a whole number, {least} or more")]


def rng_faults(rng: object) -> list[Fault]:
    """What is wrong with a source of random numbers, which is never made up where none is given."""
    if isinstance(rng, np.random.Generator):
        return []
    return [Fault("rng", "random numbers are drawn", next_step="Give rng=np.random.default_rng(seed).")]


def is_whole(value: object) -> bool:
    """Whether it is a whole number."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_finite(value: object) -> bool:
    """Whether it is one finite number."""
    kinds = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool) and bool(np.isfinite(value))
