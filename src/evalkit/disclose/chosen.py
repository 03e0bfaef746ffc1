"""Changes in outcomes that people chose, told as the released shares tell them.

A difference of percentages at four digits would give the counts behind them. Here every change, difference and bound is
worked out anew from the percentages that are released, so that it tells nothing that these do not; of the exact numbers
only the width of an interval is left, in steps of a percentage point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd

from evalkit.core.chosen import FILLED
from evalkit.disclose.policy import Policy

CHANGE, BOUNDS = "chosen_change", "chosen_bounds"
WHY_NO_SHARES = "worked out from a number that is withheld"
_DECIMALS = 1
_NAN = math.nan


def align_changes(frame: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """A released table with the rows of `chosen_change` and `chosen_bounds` worked out from its percentages.

    Where one of the four percentages of an outcome is not shown, its rows are withheld. A share of people with a record
    that is withheld because nearly everybody has one counts as all but the most that "nearly" allows.
    """
    mine = frame["table"].isin([CHANGE, BOUNDS]) & (frame["status"] == "shown")
    if not mine.any():
        return frame
    rows = frame.set_index("id", drop=False)
    new = []
    for key, of_key in rows[mine.to_numpy()].groupby("row", sort=False):
        told = _told(rows, str(key), policy)
        new += [_aligned(row, told) for row in of_key.to_dict("records")]
    by_id = {str(row["id"]): row for row in new}
    done = [by_id.get(str(row["id"]), row) for row in frame.to_dict("records")]
    return pd.DataFrame(done, columns=list(frame.columns))


def _told(rows: pd.DataFrame, key: str, policy: Policy) -> Mapping[str, float]:
    """Each column's value as the released percentages give it; NaN where they do not."""
    shares, recorded = [], []
    for column in ("change_service", "change_comparators"):
        name = f"{CHANGE}/{key}/{column}"
        for link in ("denominator", "numerator"):  # before, then after
            share = str(rows.loc[name, link]) if name in rows.index else ""
            shares.append(_shown(rows, share))
            whose, _, period = share.rpartition("/")
            recorded.append(_recorded(rows, f"{whose}/recorded_{period}", policy))
    changes = shares[1] - shares[0], shares[3] - shares[2]
    told = {"change_service": changes[0], "change_comparators": changes[1], "difference": changes[0] - changes[1]}
    for name, fill in FILLED.items():
        whole = [p * r + 100 * f * (1 - r) for p, r, f in zip(shares, recorded, fill, strict=True)]
        told[name] = whole[1] - whole[0] - (whole[3] - whole[2])
    return told


def _shown(rows: pd.DataFrame, name: str) -> float:
    return float(rows.loc[name, "value"]) if name in rows.index and rows.loc[name, "status"] == "shown" else _NAN


def _recorded(rows: pd.DataFrame, name: str, policy: Policy) -> float:
    """The share of people with a record, from 0 to 1."""
    shown = _shown(rows, name)
    if math.isfinite(shown) or name not in rows.index:
        return shown / 100
    people = float(rows.loc[name, "n_people"])
    return 1 - min((policy.threshold - 1) / people, 1.0) if people > 0 else _NAN


def _aligned(row: dict[str, object], told: Mapping[str, float]) -> dict[str, object]:
    value = told.get(str(row["column"]), _NAN)
    empty = dict.fromkeys(("value", "se", "lower", "upper", "p_value"), _NAN)
    if not math.isfinite(value):
        return row | empty | {"level": _NAN, "status": "suppressed", "reason": WHY_NO_SHARES}
    value = round(value, _DECIMALS) + 0.0
    lower, upper, moved = float(row["lower"]), float(row["upper"]), abs(value - float(row["value"]))
    if not math.isfinite(lower) or not math.isfinite(upper):
        return row | empty | {"value": value}
    # Wide enough to hold the interval of the exact numbers: rounding must not make a change look surer than it is.
    half = math.ceil((upper - lower) / 2 + moved - 1e-9)
    return row | empty | {
        "value": value, "lower": round(value - half, _DECIMALS), "upper": round(value + half, _DECIMALS),
    }  # fmt: skip
