"""Which counts are withheld: those below the threshold, and those that would give them away."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import DisclosureError, Fault
from evalkit.disclose.audit import Demand, Relation, Seen, connected, find_exposed
from evalkit.disclose.earlier import Past, Told
from evalkit.disclose.earlier_audit import Changes, find_told_change
from evalkit.disclose.policy import Policy

Rule = Literal["primary", "linked", "complementary", "differencing"]
# `hidden` counts stand in no table but follow from one (a total less its parts); `grouped` ones are
# withheld with their whole group, without saying which of them are below the threshold. Beside an earlier
# release `kept` ones are shown as they were then, and `held` ones withheld.
State = Literal["shown", "primary", "complementary", "grouped", "hidden", "kept", "held"]

WHY_GROUPED = "withheld together with its whole group, so that none of them can be worked out"
WHY_COMPLEMENTARY = "withheld so that another number cannot be worked out from it"


@dataclass(frozen=True)
class Ruling:
    """What happens to a row: the rule that withholds it and why, in words without the number."""

    rule: Rule
    why: str


@dataclass
class _Counts:
    """Counts under scrutiny: exact values, states and relations; twins share one position.

    `relations` and `otherwise` are two readings of what adds up: they differ where the parts of a
    total, taken together and by variable, both happen to add up to it. Each reading is guarded.
    `told` is what the same fate beside an earlier release tells of a count, by position, and `before` the range
    that the earlier release left; with `same` data that is a range of the same number.
    """

    position: dict[str, int] = field(default_factory=dict)
    values: list[int] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    otherwise: list[Relation] = field(default_factory=list)
    told: dict[int, Told] = field(default_factory=dict)
    before: dict[int, tuple[float, float]] = field(default_factory=dict)
    same: bool = False

    def add(self, value: float, state: State) -> int:
        self.values.append(round(value))
        self.states.append(state)
        return len(self.values) - 1


def suppress_counts(
    frame: pd.DataFrame, policy: Policy, *, groups: Sequence[str] = (), past: Past | None = None,
    told: Mapping[str, Told] = MappingProxyType({}),
) -> dict[str, Ruling]:  # fmt: skip
    """Rulings on the counts of a results table, by id; a count that is not named is shown, rounded.

    `frame` has the columns of the glossary. `groups` are names of groups of people: counts of two
    tables that name the same groups and have the same value are taken to be the same quantity. `told` holds the
    fate of counts beside the earlier release `past` (`earlier.tell_counts`); kept ones are named only if withheld.

    Raises
    ------
    DisclosureError
        If a count is negative or a total is not a count.
    """
    shown = frame[(frame["kind"] == "count") & (frame["status"] == "shown") & np.isfinite(frame["value"])]
    _check_counts(frame, shown)
    counts = _collect(frame, shown, policy, groups, told)
    if past is not None:
        counts.before = {at: past.ranges[name] for name, at in counts.position.items() if name in past.ranges}
        counts.same = past.same
    # Withholding more only widens what is feasible, so the second reading cannot undo the first.
    for reading in (counts.relations, counts.otherwise):
        for relations in connected(len(counts.values), reading):
            _protect(counts, relations, policy)
            if past is not None and not past.same:
                _protect_changes(counts, relations, policy, past.policy)
    words: dict[State, Ruling] = {
        "primary": Ruling("primary", f"fewer than {policy.threshold}"),
        "complementary": Ruling("complementary", WHY_COMPLEMENTARY),
        "grouped": Ruling("complementary", WHY_GROUPED),
    }
    held = {at: Ruling(found.rule, found.why) for at, found in counts.told.items() if counts.states[at] == "held"}
    return {
        name: held.get(at) or words[counts.states[at]] for name, at in counts.position.items()
        if at in held or counts.states[at] in words
    }  # fmt: skip


def _check_counts(frame: pd.DataFrame, shown: pd.DataFrame) -> None:
    faults = [Fault(name, "a count cannot be negative") for name in shown["id"][shown["value"] < 0]]
    kinds = dict(zip(frame["id"], frame["kind"], strict=True))
    for name, totals in zip(frame["id"], frame["totals"], strict=True):
        for total in filter(None, totals.split(";")):
            if kinds.get(total) != "count":
                faults.append(Fault(name, f'its total "{total}" is not a count of these results'))
    if faults:
        raise DisclosureError(faults)


# ---- relations -----------------------------------------------------------------------------------


def _collect(frame: pd.DataFrame, shown: pd.DataFrame, policy: Policy, groups: Sequence[str],
             told: Mapping[str, Told]) -> _Counts:  # fmt: skip
    parts: dict[str, list[str]] = {}
    for name, totals in zip(shown["id"], shown["totals"], strict=True):
        for total in filter(None, totals.split(";")):
            parts.setdefault(total, []).append(name)
    counts = _Counts()
    twins = _twins(shown, policy, groups, totals=set(parts))
    for name, value in zip(shown["id"], shown["value"], strict=True):
        same = twins.get(name, name)
        counts.position[name] = (
            counts.position[same] if same in counts.position and same != name
            else counts.add(value, "primary" if policy.too_few(value) else "shown")
        )  # fmt: skip
        if name in told and counts.position[name] not in counts.told:
            counts.told[counts.position[name]] = told[name]
            counts.states[counts.position[name]] = told[name].fate
    rows = dict(zip(shown["id"], zip(shown["row"], shown["column"], strict=True), strict=True))
    for total, names in parts.items():
        if total in counts.position:
            _relate(counts, total, names, rows)
    _relate_complements(counts, frame, policy)
    return counts


def _relate(counts: _Counts, total: str, names: list[str], rows: dict[str, tuple[str, str]]) -> None:
    """Add the relations of one total. Parts may split it in several ways at once (by sex, by age ...)."""
    whole = counts.values[counts.position[total]]
    families = _grouped(names, lambda name: (rows[name][0].split(".")[0], rows[name][1]))
    by_row, by_column = (_grouped(names, lambda name, i=i: rows[name][i]) for i in (0, 1))
    sets = {tuple(s) for s in (names, *families, *by_row, *by_column)}
    exact = sorted(s for s in sets if _sum(counts, s) == whole)
    if whole == 0:  # then everything adds up, so the parts are read as two splits where they can be
        splits = [s for s in exact if 1 < len(s) < len(names)]
        exact = splits if {name for s in splits for name in s} == set(names) else [tuple(names)]
    broad = [s for s in exact if not any(set(s) < set(other) for other in exact)]
    narrow = [s for s in exact if not any(set(s) > set(other) for other in exact)]
    covered = {name for s in broad for name in s}
    loose = [r for m in families if not covered.issuperset(m) for r in _relation(counts, total, m)]
    counts.relations += [r for s in broad for r in _relation(counts, total, s)] + loose
    counts.otherwise += [r for s in narrow for r in _relation(counts, total, s)] + loose


def _grouped(names: list[str], key: Callable[[str], object]) -> list[list[str]]:
    groups: dict[object, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return list(groups.values())


def _sum(counts: _Counts, names: Sequence[str]) -> int:
    return sum(counts.values[counts.position[n]] for n in names)


def _relation(counts: _Counts, total: str, names: Sequence[str]) -> list[Relation]:
    """`names` as parts of `total`, with a hidden part for what they leave; singly if they overlap."""
    at = counts.position[total]
    members = list(dict.fromkeys(counts.position[n] for n in names))
    if at in members:  # a part that is the same quantity as its total
        return []
    rest = counts.values[at] - sum(counts.values[m] for m in members)
    if rest < 0:
        return [r for name in names if len(names) > 1 for r in _relation(counts, total, [name])]
    if rest > 0:
        members.append(counts.add(rest, "hidden"))
    return [Relation(at, tuple(members))]


def _relate_complements(counts: _Counts, frame: pd.DataFrame, policy: Policy) -> None:
    """Where nearly everybody is in the numerator of a percentage, the few who are not are a count too."""
    known = {(r.total, part) for r in counts.relations + counts.otherwise for part in r.parts}
    percents = frame[frame["kind"] == "percent"]
    for top, bottom in zip(percents["numerator"], percents["denominator"], strict=True):
        if top not in counts.position or bottom not in counts.position:
            continue
        a, b = counts.position[top], counts.position[bottom]
        rest = counts.values[b] - counts.values[a]
        if a != b and (b, a) not in known and 0 <= rest < policy.threshold and counts.values[b] >= policy.threshold:
            known.add((b, a))
            relation = Relation(b, (a, counts.add(rest, "hidden")))
            counts.relations.append(relation)
            counts.otherwise.append(relation)


def _twins(shown: pd.DataFrame, policy: Policy, groups: Sequence[str], *, totals: set[str]) -> dict[str, str]:
    """For a count that another table holds too, the id of the one that stands for both."""
    same: dict[tuple[int, frozenset[str]], list[tuple[str, str]]] = {}
    for name, table, row, column, value in zip(
        shown["id"], shown["table"], shown["row"], shown["column"], shown["value"], strict=True
    ):
        if value >= policy.threshold:
            words = {piece.strip() for piece in re.split(r"[|.]", f"{row}|{column}")}
            words |= {piece.removesuffix(" count").removesuffix(" people") for piece in words}
            same.setdefault((round(value), frozenset(words & set(groups))), []).append((name, table))
    found: dict[str, str] = {}
    for members in same.values():
        for (first, one), (second, other) in combinations(members, 2):
            if one != other and (first in totals or second in totals):
                found.setdefault(second, found.get(first, first))
    return found


# ---- protection ----------------------------------------------------------------------------------


def _protect(counts: _Counts, relations: list[Relation], policy: Policy) -> None:
    """Withhold more counts of a connected group until nothing withheld can be had from what is shown."""
    members = sorted({i for r in relations for i in r.members})
    cap = 2 * sum(counts.values[i] for i in members) + 100 * policy.threshold
    seen = Seen(np.array(counts.values))
    while True:
        lower, upper = _known(counts, members, policy, cap)
        exposed = find_exposed(lower, upper, relations, _demands(counts, members, policy), seen)
        if exposed is None:
            return
        victim = _next_to_withhold(counts, relations, members, exposed)
        if victim is None:
            break
        _withhold(counts, victim, policy, earlier=False)
    _withhold_all(counts, members)


def _protect_changes(counts: _Counts, relations: list[Relation], policy: Policy, old: Policy) -> None:
    """Withhold more counts until no change since an earlier release is told more closely than as that of a few."""
    members = sorted({i for r in relations for i in r.members})
    cap = 2 * sum(counts.values[i] for i in members) + 100 * policy.threshold
    # A count that no cell shows may have been anything before.
    before = {i: (0.0, np.inf) for i in members if counts.states[i] == "hidden"}
    before |= {i: counts.before[i] for i in members if i in counts.before}
    few = max(p.threshold - 1 - p.least for p in (policy, old))
    seen, hushed = Changes(), False
    while True:
        exposed = find_told_change(relations, *_known(counts, members, policy, cap), before, few, seen)
        if exposed is None:
            return
        if not hushed:  # that a number is few, or is not, is often all that tells too much
            hushed = True
            for i in members:
                if counts.states[i] in ("primary", "complementary", "held"):
                    counts.states[i], counts.told[i] = "held", Told("held", 0, np.inf)
            continue
        victim = _next_to_withhold(counts, relations, members, exposed)
        if victim is None:
            _withhold_all(counts, members)
            return
        _withhold(counts, victim, policy, earlier=True)


def _withhold(counts: _Counts, victim: int, policy: Policy, *, earlier: bool) -> None:
    if counts.states[victim] == "kept" or earlier:
        least = 0 if counts.states[victim] == "kept" else policy.threshold
        counts.told[victim] = Told("held", least, np.inf)
        counts.states[victim] = "held"
    else:
        counts.states[victim] = "complementary"


def _withhold_all(counts: _Counts, members: Sequence[int]) -> None:
    for i in members:
        if counts.states[i] != "hidden":
            counts.states[i] = "grouped"


def _known(counts: _Counts, members: list[int], policy: Policy, cap: int) -> tuple[np.ndarray, np.ndarray]:
    """What is known of each count of the group from its own cell: two arrays, shape (n_counts,)."""
    ranges = np.zeros((len(counts.values), 2))
    for i in members:
        match counts.states[i]:
            case "primary":
                ranges[i] = policy.least, policy.threshold - 1
            case "complementary":
                ranges[i] = policy.threshold, cap
            case "shown":
                ranges[i] = policy.range_of(policy.rounded(counts.values[i]))
            case "kept" | "held":
                ranges[i] = counts.told[i].low, min(counts.told[i].high, cap)
            case _:
                ranges[i] = 0, cap
        low, high = _left(counts, i)
        ranges[i] = max(ranges[i, 0], low), min(ranges[i, 1], high)
    return ranges[:, 0], ranges[:, 1]


def _demands(counts: _Counts, members: list[int], policy: Policy) -> dict[int, Demand]:
    """A count below the threshold may be anything below it (0 apart); any other, never one value alone."""
    demands = {}
    for i in members:
        value, state = counts.values[i], counts.states[i]
        low, high = _left(counts, i)
        if value < policy.threshold and state in ("primary", "hidden", "kept", "held"):
            demands[i] = Demand(low=max(1, low), high=min(policy.threshold - 1, high))
        elif state != "hidden" and value > 0:
            width = 2 if state in ("shown", "kept") else 3
            demands[i] = Demand(low=np.inf, high=-np.inf, width=min(width, high - low + 1))
    return demands


def _left(counts: _Counts, i: int) -> tuple[float, float]:
    """What an earlier release of the same data left of a count; nothing more can be asked of this one."""
    if counts.same and i in counts.before and counts.before[i][0] <= counts.values[i] <= counts.before[i][1]:
        return counts.before[i]
    return 0, np.inf


def _next_to_withhold(counts: _Counts, relations: list[Relation], members: list[int], exposed: int) -> int | None:
    """The smallest shown part beside the exposed count, else a total beside it, else any of the group."""
    totals = {r.total for r in relations}
    beside = [r for r in relations if exposed in r.members]

    def smallest(of: set[int]) -> int | None:
        # A count of 0 hides nothing, and a part that is itself a total is missed more than a plain one.
        able = [i for i in of if counts.states[i] in ("shown", "kept") and counts.values[i] > 0]
        return min(able, key=lambda i: (i in totals, counts.values[i], i), default=None)

    tries = (
        {p for r in beside for p in r.parts} - {exposed},
        {i for r in beside for i in r.members},
        set(members),
    )
    return next((found for found in map(smallest, tries) if found is not None), None)
