"""A fixed ladder of confidence: what an estimate says, and how far it can be trusted.

Nothing here is free text about a result: each rung is chosen by the interval, the null value, the outcome's
`better`, the role of the estimate and its known weaknesses. So a benefit, no change, a harm, a suppressed
number and one that could not be worked out all come out right. `phrases` turns a rung into sentences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from evalkit.core.estimand import NULL_VALUES
from evalkit.core.outcomes import Outcome

Certainty = Literal["strong", "likely", "suggests", "too_uncertain", "not_evidence", "cannot_tell", "not_released"]
Direction = Literal["lower", "higher", "same"]
Valence = Literal["better", "worse", "neither"]

# Below this share of the distance to no change an interval only just leaves it out.
NEAR_MISS = 0.1
LADDER: dict[Certainty, str] = {
    "strong": "Strong evidence. Even the end of the range nearest to no change is a clear change.",
    "likely": "Likely. The whole range of doubt is on one side of no change.",
    "suggests": "Suggests. The range is on one side of no change, but the comparison has a known weakness.",
    "too_uncertain": "Too uncertain to tell. The range of doubt includes no change, or there is no range.",
    "not_evidence": "Not evidence of effect. A before and after comparison with nothing to compare with.",
    "cannot_tell": "Cannot be worked out from these records.",
    "not_released": "Not released, because too few people are behind the number.",
}
LADDER_SHORT: dict[Certainty, str] = {
    "strong": "strong evidence", "likely": "likely", "suggests": "suggests", "too_uncertain": "too uncertain to tell",
    "not_evidence": "not evidence of effect", "cannot_tell": "cannot be worked out", "not_released": "not released",
}  # fmt: skip


class Told:
    """What has a `value` and the ends of its range, NaN where there are none."""

    value: float
    lower: float
    upper: float

    @property
    def has_number(self) -> bool:
        return math.isfinite(self.value)

    @property
    def has_range(self) -> bool:
        return math.isfinite(self.lower) and math.isfinite(self.upper)


@dataclass(frozen=True)
class Finding(Told):
    """One estimate read with its outcome: what it says, and how far it can be trusted."""

    outcome: Outcome
    role: str
    value: float
    lower: float
    upper: float
    level: float
    null: float
    certainty: Certainty
    direction: Direction
    valence: Valence
    weaknesses: tuple[str, ...]
    reason: str


def read_finding(
    row: pd.Series, outcome: Outcome, *, weaknesses: Sequence[str] = (), asked_level: float = 0.95
) -> Finding:
    """Read one row of the effects table.

    Parameters
    ----------
    row : a row in the columns of the results glossary (`value`, `lower`, `upper`, `level`, `role`, `status`).
    weaknesses : one sentence each; any of them caps the words at "suggests".
    asked_level : the level that the protocol asks for; an interval that attains less is capped likewise.
    """
    null = NULL_VALUES[outcome.scale]
    value, lower, upper, level = (float(row[c]) for c in ("value", "lower", "upper", "level"))
    weak = list(weaknesses)
    if math.isfinite(level) and level < asked_level - 0.005:
        weak.append(f"The range is right only about {round(100 * level)} times out of 100.")
    if row["role"] == "exploratory":
        weak.append("This comparison was not planned before the data were seen.")
    ratio = outcome.scale == "rate_ratio"
    share = share_beyond_null(value, lower, upper, null=null, ratio=ratio)
    if row["role"] != "naive" and 0 < share < NEAR_MISS:
        weak.append("The range only just leaves out no change.")
    certainty = certainty_of(
        value, lower, upper, null=null, ratio=ratio, role=str(row["role"]),
        status=str(row["status"]), weak=bool(weak),
    )  # fmt: skip
    direction = direction_of(value, null)
    return Finding(
        outcome, str(row["role"]), value, lower, upper, level, null, certainty, direction,
        valence_of(direction, outcome), tuple(weak), str(row["reason"]),
    )  # fmt: skip


def certainty_of(
    value: float, lower: float, upper: float, *, null: float, ratio: bool, role: str, status: str, weak: bool
) -> Certainty:
    """The rung of the ladder. An interval that touches the null value includes it.

    "strong" asks that the near end of the interval lies at least half as far from the null value as the
    estimate does (for a normal estimate: about four standard errors); ratios are judged on the log scale.
    """
    if status == "suppressed":
        return "not_released"
    if status != "shown" or not math.isfinite(value):
        return "cannot_tell"
    if role == "naive":
        return "not_evidence"
    if not (math.isfinite(lower) and math.isfinite(upper)) or lower <= null <= upper:
        return "too_uncertain"
    if weak:
        return "suggests"
    return "strong" if share_beyond_null(value, lower, upper, null=null, ratio=ratio) >= 0.5 else "likely"


def share_beyond_null(value: float, lower: float, upper: float, *, null: float, ratio: bool) -> float:
    """How far the end of the interval nearest to the null value lies from it, as a share of the estimate's distance.

    0 where the interval holds the null value or there is none; ratios are judged on the log scale.
    """
    if not all(math.isfinite(x) for x in (value, lower, upper)) or lower <= null <= upper or value == null:
        return 0.0
    near = lower if lower > null else upper
    if ratio and min(value, near) > 0:
        return math.log(near / null) / math.log(value / null)
    return (near - null) / (value - null)


def direction_of(value: float, null: float) -> Direction:
    if not math.isfinite(value) or value == null:
        return "same"
    return "lower" if value < null else "higher"


def valence_of(direction: Direction, outcome: Outcome) -> Valence:
    if direction == "same" or outcome.better == "neither":
        return "neither"
    return "better" if direction == outcome.better else "worse"
