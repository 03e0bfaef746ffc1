"""What two releases together tell of changes: the feasible range of every change of a count, by integer programming.

An onlooker holds both releases and knows that parts add up to their totals in each. Each count is three unknowns, what
it was, what it is, and the change; the last is solved for as it may be, and as it may be if nothing ever shrinks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from evalkit.disclose.audit import Program, Relation, build_program, propagate

Supposition = Literal["any change", "nothing shrinks"]


@dataclass
class Changes:
    """The least and greatest change of each count met so far, by supposition; withholding more only adds to them."""

    met: dict[tuple[Supposition, int], tuple[float, float]] = field(default_factory=dict)

    def meet(self, supposed: Supposition, counts: Sequence[int], values: np.ndarray) -> None:
        for count, value in zip(counts, values, strict=True):
            low, high = self.met.get((supposed, count), (np.inf, -np.inf))
            self.met[supposed, count] = (min(low, value), max(high, value))


def tells_few(low: float, high: float, few: int, *, most_lost: float) -> bool:
    """Whether a change known to lie from `low` to `high` tells more of 1 to `few` people than that they are few.

    Each direction by itself: it may be ruled out, or leave all of 1 to `few`; of a count of at most `most_lost` no more
    than these can have gone.
    """
    gained = low <= few and high >= 1 and not (low <= 1 and high >= few)
    lost = min(few, most_lost)
    return gained or (high >= -few and low <= -1 and not (high >= -1 and low <= -lost))


def find_told_change(
    relations: Sequence[Relation], lower: np.ndarray, upper: np.ndarray, before: Mapping[int, tuple[float, float]],
    few: int, seen: Changes,
) -> int | None:  # fmt: skip
    """A count of a connected group whose change both releases tell too closely, or None.

    `lower`, `upper`: what is known of each count now, shape (n_counts,), finite; `before`: what was known of those that
    an earlier release told of.
    """
    members = sorted({i for r in relations for i in r.members if i in before})
    if not members:
        return None
    for supposed in ("any change", "nothing shrinks"):
        ranges = _Ranges(relations, lower, upper, before, supposed)
        program = ranges.program()
        if program is None:
            continue
        found = _search(program, ranges, members, supposed, few, seen)
        if found is not None:
            return found
    return None


class _Ranges:
    """Bounds and relations of what was, what is and what changed, at places i + n, i and i + 2 n."""

    def __init__(self, relations: Sequence[Relation], lower: np.ndarray, upper: np.ndarray,
                 before: Mapping[int, tuple[float, float]], supposed: Supposition) -> None:  # fmt: skip
        n = len(lower)
        self.n, self.before = n, before
        members = {i for r in relations for i in r.members}
        finite = [high for i in members if i in before and np.isfinite(high := before[i][1])]
        cap = 2 * (sum(finite) + float(upper[sorted(members)].max()))
        self.lower, self.upper = (np.concatenate([a, np.zeros(2 * n)]) for a in (lower, upper))
        for i in members & set(before):
            self.lower[n + i], self.upper[n + i] = before[i][0], min(before[i][1], cap)
            self.lower[2 * n + i] = 0 if supposed == "nothing shrinks" else -cap
            self.upper[2 * n + i] = cap
        self.links = [Relation(i, (n + i, 2 * n + i)) for i in sorted(members & set(before))]
        self.now = list(relations)
        self.then = [Relation(r.total + n, tuple(p + n for p in r.parts)) for r in relations
                     if all(i in before for i in r.members)]  # fmt: skip

    def program(self) -> Program | None:
        """The program of both releases; without the sums of the earlier one if they cannot have been the same."""
        for then in (self.then, []):
            relations = [*self.now, *then, *self.links]
            low, high = propagate(self.lower, self.upper, relations)
            if (low <= high).all():
                program = build_program(relations)
                if program.is_feasible(low, high):
                    self.lower, self.upper = low, high
                    return program
        return None


def _search(program: Program, ranges: _Ranges, members: Sequence[int], supposed: Supposition, few: int,
            seen: Changes) -> int | None:  # fmt: skip
    place = {count: at for at, count in enumerate(program.counts)}
    changes = [place[2 * ranges.n + i] for i in members]

    def settled(i: int) -> bool:
        low, high = seen.met.get((supposed, i), (np.inf, -np.inf))
        lost = min(few, ranges.before[i][1]) if supposed == "any change" else -1
        return high >= few and low <= -lost

    def push(wanted: Sequence[int], sign: float) -> None:
        direction = np.zeros(len(program.counts))
        direction[[place[2 * ranges.n + i] for i in wanted]] = sign
        solved = program.solve(direction, ranges.lower, ranges.upper)
        seen.meet(supposed, members, solved[changes])

    for sign in (1.0, -1.0):
        # One pair of tables that pushes all open changes the same way often settles most of them.
        if wanted := [i for i in members if not settled(i)]:
            push(wanted, sign)
    for i in members:
        if settled(i):
            continue
        push([i], 1.0)
        push([i], -1.0)
        low, high = seen.met[supposed, i]
        if tells_few(low, high, few, most_lost=ranges.before[i][1]):
            return i
    return None
