"""Numbers at so many significant digits."""

from __future__ import annotations

import math


def significant(number: float, digits: int) -> float:
    """`number` at so many significant digits; what is not finite stays as it is."""
    return float(f"{number:.{digits}g}") if math.isfinite(number) else number


def outwards(number: float, direction: int, digits: int) -> float:
    """The next number of so many significant digits below (`direction` -1) or above (1)."""
    if number == 0 or not math.isfinite(number):
        return number
    unit = 10.0 ** (math.floor(math.log10(abs(number))) - digits + 1)
    return significant(direction * math.ceil(direction * number / unit - 1e-9) * unit, digits + 1)
