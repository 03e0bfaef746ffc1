"""What may be wrong with numbers given to an economic evaluation, gathered so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evalkit.core.errors import Fault
from evalkit.core.faults import is_finite, refuse

LARGEST = 1e100  # squares of larger numbers overflow


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


def number_faults(where: str, value: object, *, least: float = -LARGEST) -> list[Fault]:
    """What is wrong with one finite number of `least` or more."""
    if is_finite(value) and least <= value <= LARGEST:
        return []
    allowed = "a finite number" if least == -LARGEST else f"a finite number, {least:g} or more"
    return [Fault(where, "out of range", str(value), allowed)]


def check_thresholds(thresholds_gbp: object) -> np.ndarray:
    """Thresholds as floats, shape (T,); raises ParameterError for missing, infinite and negative ones."""
    array, faults = as_array(np.atleast_1d(thresholds_gbp), "thresholds_gbp", ndim=1)
    if not faults and array.min() < 0:
        faults.append(Fault("thresholds_gbp", "below 0", f"{array.min():g}", "0 or more, in GBP per unit of effect"))
    refuse(faults)
    return array
