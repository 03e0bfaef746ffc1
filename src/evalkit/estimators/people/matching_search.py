"""Greedy nearest-neighbour search, on one distance score or on many covariates.

Greedy matching takes one treated person after the other, so it is a loop by nature; on a score each step finds the
nearest person who is still free on either side in almost constant time (a union-find over the sorted scores), so
that no n x m matrix is made.

Source: the tie rules are MatchIt 4.7.0's: among equally near people the one below in the order of scores (within
equal scores, of the data) is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Search:
    """What a search needs: treated persons in the order they choose (m,), how many each, and how far at most."""

    chooser: np.ndarray
    ratio: int
    reach: float


def find_on_score(score: np.ndarray, treated: np.ndarray, search: Search) -> np.ndarray:
    """Pairs (k, 2) of treated and comparison places, without replacement, in `ratio` rounds; score (n,)."""
    controls, start = _sort_controls(score, treated)
    sorted_score = score[controls].tolist()
    count = len(controls)
    # Place i + 1 stands for control i; 0 and count + 1 are the ends. Each points to itself while it is free.
    below, above = list(range(count + 2)), list(range(count + 2))
    pairs: list[tuple[int, int]] = []
    for _ in range(search.ratio):
        for person in search.chooser.tolist():
            own = score[person]
            left, right = _free(below, start[person]), _free(above, start[person] + 1)
            gap_left = own - sorted_score[left - 1] if left > 0 else np.inf
            gap_right = sorted_score[right - 1] - own if right <= count else np.inf
            place = left if gap_left <= gap_right else right
            if min(gap_left, gap_right) > search.reach or not 0 < place <= count:
                continue
            pairs.append((person, int(controls[place - 1])))
            below[place], above[place] = place - 1, place + 1
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def find_on_score_again(score: np.ndarray, treated: np.ndarray, search: Search) -> np.ndarray:
    """Pairs (k, 2) with replacement: the `ratio` nearest of each treated person."""
    controls, start = _sort_controls(score, treated)
    values, k = score[controls], search.ratio
    begin = np.array([start[person] for person in search.chooser.tolist()], dtype=np.int64)
    # Candidates in turn: nearest below, nearest above, next below...; a stable sort keeps that order among equals.
    steps = np.repeat(np.arange(k), 2)
    places = begin[:, None] + np.where(np.arange(2 * k) % 2 == 0, -1 - steps, steps)
    inside = (places >= 0) & (places < len(controls))
    gap = np.abs(values[np.clip(places, 0, len(controls) - 1)] - score[search.chooser][:, None])
    gap = np.where(inside, gap, np.inf)
    best = np.argsort(gap, axis=1, kind="stable")[:, :k]
    near = np.take_along_axis(gap, best, axis=1)
    chosen = np.take_along_axis(places, best, axis=1)
    good = (near <= search.reach) & np.isfinite(near)
    people = np.broadcast_to(search.chooser[:, None], good.shape)
    return np.column_stack([people[good], controls[chosen[good]]])


def find_on_covariates(
    z: np.ndarray, score: np.ndarray, treated: np.ndarray, search: Search, *, reuse: bool
) -> np.ndarray:
    """Pairs (k, 2) nearest in the rows of z (n, p), Euclidean, among those within `reach` on the score (n,)."""
    controls = np.flatnonzero(~treated)
    others, other_scores = z[controls], score[controls]
    length = (others * others).sum(axis=1)
    closed = np.zeros(len(controls))  # infinite for those who are no longer free
    taken: dict[int, list[int]] = {}
    pairs: list[tuple[int, int]] = []
    for _ in range(search.ratio):
        for person in search.chooser.tolist():
            # |a - b|^2 less the part that is the same for all b.
            gap = length - 2.0 * (others @ z[person]) + closed
            if np.isfinite(search.reach):
                gap[np.abs(other_scores - score[person]) > search.reach] = np.inf
            gap[taken.get(person, [])] = np.inf
            place = int(gap.argmin()) if len(gap) else -1
            if place < 0 or gap[place] == np.inf:
                continue
            pairs.append((person, int(controls[place])))
            taken.setdefault(person, []).append(place)
            closed[place] = 0.0 if reuse else np.inf
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _sort_controls(score: np.ndarray, treated: np.ndarray) -> tuple[np.ndarray, dict[int, int]]:
    """Comparison places by score, and for each treated place how many of them stand before it."""
    order = np.argsort(score, kind="stable")
    before = np.cumsum(~treated[order])
    ours = treated[order]
    return order[~ours], dict(zip(order[ours].tolist(), before[ours].tolist(), strict=True))


def _free(links: list[int], place: int) -> int:
    """The nearest free place along the links, shortening the way for the next search."""
    while links[place] != place:
        links[place] = links[links[place]]
        place = links[place]
    return place
