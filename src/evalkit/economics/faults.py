"""What may be wrong with numbers given to an economic evaluation, gathered so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from evalkit.core.errors import Fault, ParameterError, suggest_name

LARGEST = 1e100  # squares of larger numbers overflow


def refuse(faults: Iterable[Fault]) -> None:
    """Raise one ParameterError with all faults, if there are any."""
    found = list(faults)
    if found:
        raise ParameterError(found)


def as_array(values: object, where: str, *, ndim: int) -> tuple[np.ndarray, list[Fault]]:
    """Numbers as a float array of `ndim` dimensions, and what is wrong with them; faulty ones come back empty."""
    empty = np.empty((0,) * ndim)
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return empty, [Fault(where, "numbers are wanted, in rows of one length", got=type(values).__name__)]
    if array.ndim != ndim:
        return empty, [Fault(where, "wrong shape", str(array.shape), f"{ndim} dimension{'s' if ndim > 1 else ''}")]
    return array, _value_faults(array, where)


def _value_faults(array: np.ndarray, where: str) -> list[Fault]:
    faults = []
    if not array.size:
        faults.append(Fault(where, "it is empty"))
    missing, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    if missing:
        faults.append(Fault(where, f"{missing:,} of {array.size:,} numbers are missing", allowed="finite numbers"))
    if infinite:
        faults.append(Fault(where, f"{infinite:,} of {array.size:,} numbers are infinite", allowed="finite numbers"))
    if not (missing or infinite) and array.size and np.abs(array).max() > LARGEST:
        step = "Measure it in another unit."
        faults.append(Fault(where, "too large to be squared", allowed=f"up to {LARGEST:g}", next_step=step))
    return faults


def name_faults(names: Sequence[object], where: str, *, least: int = 1) -> list[Fault]:
    """What is wrong with a list of names: too few, empty, not text, given twice."""
    faults = []
    if len(names) < least:
        faults.append(Fault(where, "too few", str(len(names)), f"{least} or more"))
    if any(not isinstance(name, str) or not name for name in names):
        faults.append(Fault(where, "some are empty or no text", allowed="a name for each, as text"))
    known = [name for name in names if isinstance(name, str) and name]
    twice = sorted({name for name in known if known.count(name) > 1})
    return faults + [Fault(where, f'"{name}" is given twice', next_step="Rename one.") for name in twice]


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


def number_faults(where: str, value: object, *, least: float = -LARGEST) -> list[Fault]:
    """What is wrong with one finite number of `least` or more."""
    if is_finite(value) and least <= value <= LARGEST:
        return []
    allowed = "a finite number" if least == -LARGEST else f"a finite number, {least:g} or more"
    return [Fault(where, "out of range", str(value), allowed)]


def rng_faults(rng: object) -> list[Fault]:
    """What is wrong with a source of random numbers, which is never made up where none is given."""
    if isinstance(rng, np.random.Generator):
        return []
    return [Fault("rng", "random numbers are drawn", next_step="Give rng=np.random.default_rng(seed).")]


def is_finite(value: object) -> bool:
    """Whether it is one finite number."""
    kinds = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool) and bool(np.isfinite(value))


def check_thresholds(thresholds_gbp: object) -> np.ndarray:
    """Thresholds as floats, shape (T,); raises ParameterError for missing, infinite and negative ones."""
    array, faults = as_array(np.atleast_1d(thresholds_gbp), "thresholds_gbp", ndim=1)
    if not faults and array.min() < 0:
        faults.append(Fault("thresholds_gbp", "below 0", f"{array.min():g}", "0 or more, in GBP per unit of effect"))
    refuse(faults)
    return array
