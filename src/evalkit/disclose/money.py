"""Money, and what it buys, per person: how finely it may be told, so that the sum over a few people is not.

A mean at three digits would be an equation in everybody's days and stays where it lies near nought, or where people are
few. So there are steps: one for each number, the same for its ends, never finer than one of `GBP_OF_ALL` pounds of
everybody together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from evalkit.disclose.policy import Policy

PER_PERSON = "per person-quarter"
# Pounds of all people together, in a quarter, that a mean must not tell apart: about two days on a ward; and for the
# mean of a single quarter, whose change from the one before may be one person's, a quarter in a care home.
GBP_OF_ALL = 1_000.0
GBP_OF_ALL_ON_A_PATH = 20_000.0
UNITS_OF_ALL = 1.0  # of what people gain: of all together, per quarter
SHARE_OF_ALL = 0.1  # of one person, in a change relative to the counterfactual
LEAST_SHARE = 0.001
PRICE_COLUMNS = ("set_up",)
EVPI_COLUMNS = ("evpi", "evppi")
_PERIOD = re.compile(r"\d{4}(?:[-/]\d{2})?")
_KINDS = ("mean", "estimate", "statistic")
_STEPS = (1, 2, 5, 10)


def is_money(row: Mapping[str, object]) -> bool:
    """Whether a number is of people's money, or of what they gained for it, or a share of these.

    Prices, budgets and other amounts that no people stand behind are not.
    """
    unit = str(row["unit"])
    if row["kind"] not in _KINDS or (not math.isfinite(row["n_people"]) and row["kind"] != "estimate"):
        return False
    return unit.startswith(("GBP", "share of ", "correlation")) or unit.endswith(PER_PERSON)


def step_of_money(row: Mapping[str, object], policy: Policy) -> float:
    """The step to which the value, error and ends of such a number go."""
    unit, people = str(row["unit"]), max(policy.rounded(float(row["n_people"])), 1.0)
    people = people if math.isfinite(people) else 1.0
    if unit == "share of draws":
        return LEAST_SHARE
    if unit.startswith("share of "):
        return max(LEAST_SHARE, next_step(SHARE_OF_ALL / people))
    if unit == "correlation":
        return 0.01
    if row["column"] in EVPI_COLUMNS:
        return _digit(row["value"], 2)
    ends = [abs(float(row[c])) for c in ("value", "lower", "upper") if math.isfinite(row[c])]
    step = _digit(max(ends), policy.descriptive_digits)
    if not unit.endswith(PER_PERSON):  # a mean times a number that is known
        sure = not float(row["upper"]) - float(row["lower"]) > 0.01 * ends[0]
        if row["kind"] == "mean" and row["column"] not in PRICE_COLUMNS and sure:
            step = _digit(row["value"], 2)
        return max(step, next_step(SHARE_OF_ALL / people * abs(float(row["value"]))) if row["value"] else step)
    if not unit.startswith("GBP"):
        return max(step, next_step(UNITS_OF_ALL / people))
    of_all = GBP_OF_ALL_ON_A_PATH if _PERIOD.fullmatch(str(row["row"])) else GBP_OF_ALL
    return max(step, next_step(of_all / people))


def coarsen_money(row: Mapping[str, object], policy: Policy) -> dict[str, float]:
    """Value, error and ends of a number of money in steps of `step_of_money`."""
    step = step_of_money(row, policy)
    shown = {c: _to_step(float(row[c]), step) for c in ("value", "se", "lower", "upper")}
    return shown | {"p_value": round(float(row["p_value"]), policy.p_decimals)}


def next_step(least: float) -> float:
    """The smallest of 1, 2 or 5 times a power of ten that is at least this."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(s * power for s in _STEPS if s * power >= least * (1 - 1e-9))


def _digit(number: float, digits: int) -> float:
    """What one unit of the last of so many significant digits is worth; of 0, nothing to speak of."""
    return 10.0 ** (math.floor(math.log10(abs(number))) - digits + 1) if number else 1e-6


def _to_step(number: float, step: float) -> float:
    if not math.isfinite(number):
        return number
    return float(f"{math.floor(number / step + 0.5) * step:.10g}") + 0.0
