"""An onlooker who has the release, the rules of the profile and an integer-programming solver.

Written apart from the gate's own audit, so that the one can catch a mistake of the other. The
onlooker is given more than a reader would have: which cells add up exactly, and the rule that
withheld each cell, from the manifest.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from evalkit.core.result import Results
from evalkit.disclose import Policy, Release

FAR = 100_000


@dataclass(frozen=True)
class Range:
    """The counts that a cell may hold, as far as the onlooker can tell."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low + 1


def additive_sets(exact: Results) -> list[tuple[str, list[str]]]:
    """(total, parts) that add up exactly: all parts, those of one column or row, or those of one variable."""
    frame = exact.frame
    frame = frame[frame["kind"] == "count"]
    value = dict(zip(frame["id"], frame["value"], strict=True))
    parts: dict[str, list[tuple[str, str, str]]] = {}
    for name, row, column, totals in zip(frame["id"], frame["row"], frame["column"], frame["totals"], strict=True):
        for total in filter(None, totals.split(";")):
            parts.setdefault(total, []).append((name, row, column))
    found = []
    for total, members in parts.items():
        keys = [lambda m: 0, lambda m: m[1], lambda m: m[2], lambda m: (m[1].split(".")[0], m[2])]
        sets = {frozenset(m[0] for m in members if key(m) == key(first)) for key in keys for first in members}
        adds_up = [s for s in sets if sum(value[n] for n in s) == value[total]]
        if value[total] == 0:
            splits = [s for s in adds_up if 1 < len(s) < len(members)]
            adds_up = splits if len(frozenset().union(*splits)) == len(members) else [frozenset(m[0] for m in members)]
        found += [(total, sorted(s)) for s in adds_up if not any(s < other for other in adds_up)]
    return found


def known_range(row: dict, rule: str, why: str, policy: Policy) -> Range:
    """What a cell tells by itself."""
    if row["status"] == "shown":
        fits = [n for n in range(max(0, int(row["value"]) - 10), int(row["value"]) + 11)
                if policy.rounded(n) == row["value"] and not policy.too_few(n)]  # fmt: skip
        return Range(min(fits), max(fits))
    if rule == "primary":
        fits = [n for n in range(FAR // 100) if policy.too_few(n)]
        return Range(min(fits), max(fits))
    if "whole group" in why:
        return Range(0, FAR)
    return Range(policy.threshold, FAR)


def feasible_ranges(released: Release, exact: Results, policy: Policy) -> dict[str, Range]:
    """The exact feasible range of every count that is tied to another, by integer programming."""
    frame = released.results.frame
    rows = {r["id"]: r for r in frame[frame["kind"] == "count"].to_dict("records")}
    rulings = {s["id"]: (s["rule"], s["why"]) for s in released.manifest["suppressed"]}
    sets = additive_sets(exact)
    names = sorted({n for total, parts in sets for n in (total, *parts)})
    if not names:
        return {}
    place = {n: i for i, n in enumerate(names)}
    matrix = np.zeros((len(sets), len(names)))
    for k, (total, parts) in enumerate(sets):
        matrix[k, place[total]] -= 1
        for part in parts:
            matrix[k, place[part]] += 1
    known = [known_range(rows[n], *rulings.get(n, ("", "")), policy) for n in names]
    bounds = Bounds([k.low for k in known], [k.high for k in known])
    ranges = {}
    for i, name in enumerate(names):
        ends = []
        for sign in (1, -1):
            direction = np.zeros(len(names))
            direction[i] = sign
            found = milp(direction, constraints=LinearConstraint(matrix, 0, 0), integrality=np.ones(len(names)),
                         bounds=bounds)  # fmt: skip
            assert found.status == 0, "the exact table must be among the feasible ones"
            ends.append(sign * found.fun)
        ranges[name] = Range(round(ends[0]), round(ends[1]))
    return ranges


def recovered(ranges: dict[str, Range], exact: Results, policy: Policy) -> list[str]:
    """Counts (0 apart, where it is shown) that the onlooker can pin down."""
    value = dict(zip(exact.frame["id"], exact.frame["value"], strict=True))
    return [n for n, r in ranges.items() if r.width == 1 and (value[n] > 0 or policy.too_few(0))]


def too_narrow(ranges: dict[str, Range], exact: Results, released: Release, policy: Policy) -> list[str]:
    """Counts below the threshold that are known more closely than 'fewer than the threshold'; 0 may be ruled out."""
    value = dict(zip(exact.frame["id"], exact.frame["value"], strict=True))
    return [
        n for n, r in ranges.items()
        if policy.too_few(value[n]) and not (r.low <= 1 and r.high >= policy.threshold - 1)
    ]  # fmt: skip


def subtractions(released: Release, exact: Results, policy: Policy) -> dict[str, Range]:
    """Ranges by plain subtraction: a total less the parts that are shown, where one part is missing."""
    frame = released.results.frame
    rows = {r["id"]: r for r in frame.to_dict("records")}
    found = {}
    for total, parts in additive_sets(exact):
        missing = [p for p in parts if rows[p]["status"] != "shown"]
        if len(missing) == 1 and rows[total]["status"] == "shown":
            shown = [known_range(rows[p], "", "", policy) for p in parts if p not in missing]
            whole = known_range(rows[total], "", "", policy)
            found[missing[0]] = Range(whole.low - sum(s.high for s in shown), whole.high - sum(s.low for s in shown))
    return found


def neighbours(count: float, policy: Policy) -> list[int]:
    """Other counts that the gate treats as it treats this one."""
    near = range(max(0, int(count) - 10), int(count) + 11)
    return [
        n for n in near
        if n != count and policy.too_few(n) == policy.too_few(count)
        and (policy.too_few(n) or policy.rounded(n) == policy.rounded(count))
    ]  # fmt: skip


def every_text(released: Release) -> list[str]:
    """Each distinct text of a release, ids and links included."""
    frame = released.results.frame
    texts = itertools.chain.from_iterable(frame[c].unique() for c in frame.columns if frame[c].dtype.kind not in "fi")
    return [t for t in texts if isinstance(t, str) and t] + [s["why"] for s in released.manifest["suppressed"]]


def is_nan(number: float) -> bool:
    return math.isnan(number)
