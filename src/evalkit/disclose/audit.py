"""What an onlooker could work out: the feasible range of every count, given all that is shown.

Counts are non-negative integers tied by relations `sum(parts) = total`. An onlooker knows the
relations, the range behind every rounded count and the rule by which each missing one was withheld.
Everything here is numeric: no labels, no people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

_UNSOLVED = "the solver gave no answer"
_INFEASIBLE = 2  # status of scipy.optimize.milp


@dataclass(frozen=True)
class Relation:
    """`parts` add up to `total`; both are positions of counts."""

    total: int
    parts: tuple[int, ...]

    @property
    def members(self) -> tuple[int, ...]:
        return (self.total, *self.parts)


@dataclass(frozen=True)
class Demand:
    """How uncertain a count must stay: it may be as low as `low`, as high as `high`, with `width` values between."""

    low: float
    high: float
    width: int = 1


def connected(n_counts: int, relations: Sequence[Relation]) -> list[list[Relation]]:
    """Relations in groups that share no count, in order of their first relation."""
    parent = list(range(n_counts))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for relation in relations:
        for part in relation.parts:
            parent[root(part)] = root(relation.total)
    groups: dict[int, list[Relation]] = {}
    for relation in relations:
        groups.setdefault(root(relation.total), []).append(relation)
    return list(groups.values())


def propagate(lower: np.ndarray, upper: np.ndarray, relations: Sequence[Relation]) -> tuple[np.ndarray, np.ndarray]:
    """Ranges narrowed until no single relation narrows them further; shapes (n_counts,).

    Never narrower than the feasible ranges, and equal to them where the relations form no cycle.
    """
    low, high = lower.astype(float).copy(), upper.astype(float).copy()
    moved = True
    sweeps = 0
    while moved and sweeps < 100:
        moved, sweeps = False, sweeps + 1
        for relation in relations:
            members = np.array(relation.members)
            signs = np.array([-1.0] + [1.0] * len(relation.parts))
            # sum(signs * x) = 0, so each signed term lies within minus the range of the others.
            least = np.where(signs > 0, low[members], -high[members])
            most = np.where(signs > 0, high[members], -low[members])
            term_low = np.maximum(least, -(most.sum() - most))
            term_high = np.minimum(most, -(least.sum() - least))
            new_low = np.where(signs > 0, term_low, -term_high)
            new_high = np.where(signs > 0, term_high, -term_low)
            moved |= bool((new_low > low[members]).any() or (new_high < high[members]).any())
            low[members], high[members] = new_low, new_high
    return low, high


def has_cycle(relations: Sequence[Relation]) -> bool:
    """Whether two paths of relations join the same counts, so that one relation at a time is not enough."""
    members = [set(r.members) for r in relations]
    links = sum(len(m) for m in members)
    nodes = len(set().union(*members)) + len(relations)
    return links > nodes - len(connected(max(max(m) for m in members) + 1, relations))


@dataclass(frozen=True)
class Program:
    """The integer program behind a group of relations: the counts in it, and its two sides."""

    counts: np.ndarray
    matrix: csr_array

    def solve(self, direction: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """The feasible counts that make `direction @ counts` smallest; shape (len(counts),)."""
        found = milp(
            direction, constraints=LinearConstraint(self.matrix, 0, 0), integrality=np.ones(len(direction)),
            bounds=Bounds(lower[self.counts], upper[self.counts]),
        )  # fmt: skip
        if found.x is None:
            raise ArithmeticError(_UNSOLVED)
        return np.rint(found.x)

    def is_feasible(self, lower: np.ndarray, upper: np.ndarray) -> bool:
        """Whether any whole numbers fit."""
        found = milp(
            np.zeros(len(self.counts)), constraints=LinearConstraint(self.matrix, 0, 0),
            integrality=np.ones(len(self.counts)), bounds=Bounds(lower[self.counts], upper[self.counts]),
        )  # fmt: skip
        if found.status not in (0, _INFEASIBLE):
            raise ArithmeticError(_UNSOLVED)
        return found.status == 0


def build_program(relations: Sequence[Relation]) -> Program:
    counts = np.array(sorted({i for r in relations for i in r.members}))
    place = {count: at for at, count in enumerate(counts)}
    rows = [k for k, r in enumerate(relations) for _ in r.members]
    columns = [place[i] for r in relations for i in r.members]
    signs = [s for r in relations for s in (-1.0, *[1.0] * len(r.parts))]
    matrix = csr_array((signs, (rows, columns)), shape=(len(relations), len(counts)))
    return Program(counts, matrix)


class Seen:
    """The least and greatest value that each count took in a feasible table met so far.

    Suppressing more only widens what is feasible, so what was once met stays met.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.low = values.astype(float).copy()
        self.high = values.astype(float).copy()

    def meet(self, counts: np.ndarray, values: np.ndarray) -> None:
        self.low[counts] = np.minimum(self.low[counts], values)
        self.high[counts] = np.maximum(self.high[counts], values)

    def meets(self, count: int, demand: Demand) -> bool:
        return _meets(self.low[count], self.high[count], demand)


def _meets(low: float, high: float, demand: Demand) -> bool:
    return low <= demand.low and high >= demand.high and high - low + 1 >= demand.width


def find_exposed(
    lower: np.ndarray, upper: np.ndarray, relations: Sequence[Relation], demands: dict[int, Demand], seen: Seen
) -> int | None:
    """A count whose feasible range falls short of its demand, or None.

    `lower`, `upper`: what is known of each count by itself, finite, shape (n_counts,). Ranges are
    exact: by propagation where the relations form no cycle, by integer programming elsewhere.
    """
    low, high = propagate(lower, upper, relations)
    for count, demand in demands.items():
        if not _meets(low[count], high[count], demand):
            return count
    if not has_cycle(relations):
        return None
    program = build_program(relations)
    place = {count: at for at, count in enumerate(program.counts)}
    for sign in (1.0, -1.0):
        # One table that pushes all open counts the same way often settles most of them.
        direction = np.array([sign * (c in demands and not seen.meets(c, demands[c])) for c in program.counts])
        if direction.any():
            seen.meet(program.counts, program.solve(direction, lower, upper))
    for count, demand in demands.items():
        for sign in (1.0, -1.0):
            if not seen.meets(count, demand):
                direction = np.zeros(len(program.counts))
                direction[place[count]] = sign
                seen.meet(program.counts, program.solve(direction, lower, upper))
        if not seen.meets(count, demand):
            return count
    return None
