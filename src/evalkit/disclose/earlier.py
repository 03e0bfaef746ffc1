"""An earlier release beside this one: what it told of each number, and how far a number must move to be told again.

The difference of two counts of people is a count of people. One that moved by too few keeps the number that the earlier
release showed, so that nothing new is told of it; see `docs/disclosure.md`, section 12.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from evalkit.core.protocol import Protocol
from evalkit.disclose.policy import Policy

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

WHY_DIFFERENCING = "withheld so that what changed since an earlier release cannot be worked out"
# What says whom a number is of, and when: where this differs, so does the question, though the name may be the same.
_WHO_AND_WHEN = ("areas", "dates", "exposure", "population", "outcomes")
FAR = math.inf
Row = Mapping[str, object]
Fate = Literal["kept", "held"]


@dataclass(frozen=True)
class Told:
    """What becomes of a count beside its earlier self: `kept` at what was shown, or `held` back.

    `low` and `high` bound the counts that would have met the same fate: all that an onlooker learns.
    """

    fate: Fate
    low: float
    high: float
    shown: float = math.nan
    why: str = WHY_DIFFERENCING
    rule: str = "differencing"


@dataclass(frozen=True)
class Past:
    """An earlier release as the gate heeds it.

    `ranges` holds, for each count, the least and greatest value that fits what was told of it; `kept` those of its
    numbers that were older still. `same` is whether data and question are the same, so that only rules can differ.
    """

    rows: Mapping[str, Row]
    policy: Policy
    withheld: Mapping[str, tuple[str, str]]
    kept: frozenset[str]
    ranges: Mapping[str, tuple[float, float]]
    tables: Mapping[str, object]
    digest: str
    same: bool
    same_question: bool


def read_past(earlier: Release, *, protocol: Protocol, data_digest: str) -> Past:
    """What the gate needs of an earlier release; manifests of older versions are read too."""
    manifest = earlier.manifest
    known = {f.name for f in fields(Policy)}
    old = Policy(**{k: v for k, v in manifest["profile"].items() if k in known})
    rows = {str(r["id"]): r for r in earlier.results.frame.to_dict("records")}
    withheld = {s["id"]: (s["rule"], s["why"]) for s in manifest["suppressed"]}
    kept = frozenset(manifest.get("earlier", {}).get("kept", ()))
    one, other = (p.model_dump(mode="json") for p in (protocol, earlier.protocol))
    same_question = all(one.get(part) == other.get(part) for part in _WHO_AND_WHEN)
    ranges = {
        name: _range_told(row, withheld.get(name), old, is_kept=name in kept)
        for name, row in rows.items() if row["kind"] == "count" and row["status"] in ("shown", "suppressed")
    }  # fmt: skip
    return Past(
        rows, old, withheld, kept, ranges, manifest["tables"],
        digest=hashlib.sha256(earlier.manifest_text.encode()).hexdigest(),
        same=same_question and manifest["data_digest"] == data_digest, same_question=same_question,
    )  # fmt: skip


def _range_told(row: Row, ruling: tuple[str, str] | None, policy: Policy, *, is_kept: bool) -> tuple[float, float]:
    """The counts that fit what one cell of a release tells."""
    if row["status"] == "shown":
        shown = float(row["value"])
        return zone(shown, policy, policy) if is_kept else policy.range_of(shown)
    rule, why = ruling or ("", "")
    if rule == "primary" and why == f"fewer than {policy.threshold}":
        return policy.least, policy.threshold - 1
    if rule == "complementary" and "group" not in why:
        return policy.threshold, FAR
    return 0, FAR


# ---- how far is far enough -----------------------------------------------------------------------


def zone(shown: float, old: Policy, new: Policy) -> tuple[float, float]:
    """The counts that keep an earlier number: no other could have been had from it by too few people.

    Whole steps of rounding, so that what is just outside is not told by being there; from nought if it would otherwise
    begin among counts that are withheld.
    """
    low, high = old.range_of(shown)
    few = max(old.threshold, new.threshold) - 1
    bottom, top = low - few, high + few
    bottom = 0 if bottom < new.threshold else new.range_of(new.rounded(bottom))[0]
    return bottom, new.range_of(new.rounded(top))[1]


def reach_of_few(old: Policy, new: Policy, *, high: float) -> float:
    """The greatest count that one of at most `high` may have grown to by too few people, up to a step of rounding."""
    few = max(old.threshold, new.threshold) - 1
    return new.range_of(new.rounded(high + few))[1]


def keeps(count: float, shown: float, old: Policy, new: Policy) -> bool:
    """Whether a count that was shown as `shown` is shown as that again, because it moved by too few."""
    if not (math.isfinite(count) and math.isfinite(shown)) or shown < new.threshold:
        return False
    low, high = zone(shown, old, new)
    return low <= count <= high


# ---- counts one by one ---------------------------------------------------------------------------


def tell_counts(frame: pd.DataFrame, past: Past, policy: Policy) -> dict[str, Told]:
    """The fate of each count of a results table beside its earlier self; one that is not named is told anew."""
    shown = frame[(frame["kind"] == "count") & (frame["status"] == "shown") & np.isfinite(frame["value"])]
    values = {str(n): float(v) for n, v in zip(shown["id"], shown["value"], strict=True) if n in past.ranges}
    told = {}
    for name, value in values.items():
        found = _tell_same(name, value, past, policy) if past.same else _tell_other(name, value, past, policy)
        if found is not None:
            told[name] = found
    return told if past.same else told | _still_beside(values, told, past, policy)


def _tell_same(name: str, value: float, past: Past, policy: Policy) -> Told | None:
    """The same data under other rules: nothing of a count may be told that its earlier cell did not tell."""
    low, high = past.ranges[name]
    if past.rows[name]["status"] != "shown":
        rule, why = past.withheld.get(name, ("differencing", WHY_DIFFERENCING))
        return Told("held", low, high, why=why, rule=rule)
    if not low <= value <= high:  # the code counts otherwise, so that the difference is of people again
        return _tell_other(name, value, past, policy)
    now = _own_range(value, policy)
    if now[0] <= low and high <= now[1]:
        return None
    return Told("held", low, high)


def _tell_other(name: str, value: float, past: Past, policy: Policy) -> Told | None:
    row = past.rows[name]
    if row["status"] == "shown":
        shown = float(row["value"])
        if shown == 0:  # that nobody was there is exact: what there is now is guarded as it is
            return None
        if shown < policy.threshold:
            top = reach_of_few(past.policy, policy, high=past.ranges[name][1])
            return Told("held", 0, top) if value <= top else None
        if keeps(value, shown, past.policy, policy):
            return Told("kept", *zone(shown, past.policy, policy), shown)
        return None
    if past.withheld.get(name, ("", ""))[0] not in ("primary", "differencing"):
        return None  # seen to by `_still_beside`
    alike = past.policy.threshold == policy.threshold and past.policy.least == policy.least
    if alike and policy.too_few(value):
        return None
    top = reach_of_few(past.policy, policy, high=past.policy.threshold - 1)
    return Told("held", policy.threshold if alike else 0, top) if value <= top else None


def _own_range(value: float, policy: Policy) -> tuple[float, float]:
    if policy.too_few(value):
        return policy.least, policy.threshold - 1
    return policy.range_of(policy.rounded(value))


def _still_beside(values: Mapping[str, float], told: Mapping[str, Told], past: Past,
                  policy: Policy) -> dict[str, Told]:  # fmt: skip
    """Counts that were withheld beside a few: shown now, they would all but tell what they guarded then."""
    few = {n for n, v in values.items() if past.withheld.get(n, ("", ""))[0] == "primary"
           and (policy.too_few(v) or n in told)}  # fmt: skip
    new = {}
    for family in _families(past.rows.values()):
        if not any(n in few or n not in values for n in family if past.withheld.get(n, ("",))[0] == "primary"):
            continue
        for name in family:
            beside = past.withheld.get(name, ("", ""))[0] == "complementary"
            if beside and name in values and not policy.too_few(values[name]):
                new[name] = Told("held", policy.threshold, FAR, why=past.withheld[name][1])
    return new


def _families(rows: Iterable[Row]) -> list[list[str]]:
    """Names of counts that sums connect, each family in order."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    for row in rows:
        if row["kind"] == "count":
            for total in filter(None, str(row["totals"]).split(";")):
                parent[root(str(row["id"]))] = root(total)
    found: dict[str, list[str]] = {}
    for name in sorted(parent):
        found.setdefault(root(name), []).append(name)
    return list(found.values())
