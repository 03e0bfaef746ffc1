"""Changes in outcomes that people chose, told as the released shares tell them.

A difference of percentages at four digits, or the width of its interval, would give the counts behind them. Here
changes, differences, bounds and all ends are worked out anew from the percentages and rounded counts that are released,
so that they tell nothing that these do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from scipy import stats

from evalkit.core.chosen import FILLED
from evalkit.disclose.policy import Policy

CHANGE, BOUNDS = "chosen_change", "chosen_bounds"
WHY_NO_SHARES = "worked out from a number that is withheld"
_DECIMALS = 1
_WIDER, _SLACK = 1.25, 1.1
_NAN = math.nan


@dataclass(frozen=True)
class FourShares:
    """Shares of service before and after and comparison before and after, 0 to 1, of so many people (rounded)."""

    shares: Sequence[float]
    people: Sequence[float]

    @property
    def value(self) -> float:
        before, after, other_before, other_after = self.shares
        return (after - before) - (other_after - other_before)

    def error(self, base: int) -> float:
        """Standard error were the years independent, with what rounding both counts to `base` adds."""
        rounding = (base**2 - 1) / 12
        return math.sqrt(sum(
            p * (1 - p) / n + (2 + p**2) * rounding / n**2 for p, n in zip(self.shares, self.people, strict=True)
        ))  # fmt: skip


def align_changes(frame: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """A released table with the rows of `chosen_change` and `chosen_bounds` worked out from its percentages.

    Ends take a person's two years to be independent, which is wider than the truth where people who had it before are
    likelier to have it after. Where the exact interval was wider by a tenth all the same, it is widened by quarters.

    Where one of the four percentages of an outcome is not shown, its rows are withheld. A share of people with a record
    that is withheld, because nearly everybody has one, is that of the rounded counts; for the ends of the bounds it is
    all but the most that "nearly" allows.
    """
    mine = frame["table"].isin([CHANGE, BOUNDS]) & (frame["status"] == "shown")
    if not mine.any():
        return frame
    rows = frame.set_index("id", drop=False)
    new = []
    for key, of_key in rows[mine.to_numpy()].groupby("row", sort=False):
        told = _told(rows, str(key), policy)
        new += [_aligned(row, told, policy) for row in of_key.to_dict("records")]
    by_id = {str(row["id"]): row for row in new}
    done = [by_id.get(str(row["id"]), row) for row in frame.to_dict("records")]
    return pd.DataFrame(done, columns=list(frame.columns))


def _told(rows: pd.DataFrame, key: str, policy: Policy) -> dict[str, FourShares]:
    """Of each column the four shares that it comes from, as the release tells them; NaN where it does not."""
    shares, answered, people, likely, fewest = [], [], [], [], []
    for column in ("change_service", "change_comparators"):
        for link in ("denominator", "numerator"):  # before, then after
            share = _link(rows, f"{CHANGE}/{key}/{column}", link)
            whose, _, period = share.rpartition("/")
            recorded = f"{whose}/recorded_{period}"
            shares.append(_shown(rows, share) / 100)
            answered.append(_shown(rows, _link(rows, share, "denominator")))
            people.append(_number(rows, recorded, "n_people"))
            shown = _shown(rows, recorded) / 100
            nearly = not math.isfinite(shown) and people[-1] > 0
            likely.append(min(answered[-1] / people[-1], 1.0) if nearly else shown)
            fewest.append(max(1 - (policy.threshold - 1) / people[-1], 0.0) if nearly else shown)
    told = {"difference": FourShares(shares, answered)}
    for name, fill in FILLED.items():
        known = fewest if name in ("least", "most") else likely
        told[name] = FourShares([p * r + f * (1 - r) for p, r, f in zip(shares, known, fill, strict=True)], people)
    nobody = (0.0, 0.0)
    told["change_service"] = FourShares([*shares[:2], *nobody], answered)
    told["change_comparators"] = FourShares([shares[2], shares[3], *nobody], answered)
    return told


def _number(rows: pd.DataFrame, name: str, column: str) -> float:
    return float(rows.loc[name, column]) if name in rows.index else _NAN


def _link(rows: pd.DataFrame, name: str, column: str) -> str:
    return str(rows.loc[name, column]) if name in rows.index else ""


def _shown(rows: pd.DataFrame, name: str) -> float:
    return _number(rows, name, "value") if _link(rows, name, "status") == "shown" else _NAN


def _aligned(row: dict[str, object], told: dict[str, FourShares], policy: Policy) -> dict[str, object]:
    four = told.get(str(row["column"]))
    value = 100 * four.value if four else _NAN
    empty = dict.fromkeys(("value", "se", "lower", "upper", "p_value"), _NAN)
    if four is None or not math.isfinite(value):
        return row | empty | {"level": _NAN, "status": "suppressed", "reason": WHY_NO_SHARES}
    value = round(value, _DECIMALS) + 0.0
    exact = (float(row["upper"]) - float(row["lower"])) / 2
    if not (math.isfinite(exact) and all(n > 1 for n in four.people)):
        return row | empty | {"value": value}
    half = 100 * four.error(policy.base) * float(stats.t.ppf(0.5 + float(row["level"]) / 2, min(four.people) - 1))
    while 0 < _SLACK * half < exact:
        half *= _WIDER
    return row | empty | {
        "value": value, "lower": round(value - half, _DECIMALS), "upper": round(value + half, _DECIMALS),
    }  # fmt: skip
