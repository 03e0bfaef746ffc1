"""Optimal pair matching and optimal full matching, both as assignment problems.

A full matching without limits on its sets is a cheapest edge cover: everybody has at least one partner, and in a
cheapest cover sets are stars (one treated with many, or one comparison person with many). Let each person's
cheapest distance be what it costs alone; a pair that shares an edge saves the two cheapest less the edge. The
savings are a maximum-weight bipartite matching (Schrijver 2003, Combinatorial Optimization, theorem 19.1 and its
weighted form, section 27.3), which scipy solves exactly.

Source: Rosenbaum 1991, JRSS B 53:597; Hansen 2004, JASA 99:609.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from evalkit.core.errors import Fault, NotEstimable

MAX_CELLS = 60_000_000  # of the distance matrix: half a gigabyte


def find_optimal_pairs(gaps: np.ndarray, ratio: int) -> np.ndarray:
    """Pairs (k, 2) of rows and columns of the distances (m, c), of least total distance; infinite ones are barred.

    Where not everybody can have `ratio` partners within the caliper, as many pairs as can be are made.
    """
    if min(gaps.shape) == 0:
        return np.empty((0, 2), dtype=np.int64)
    cost = np.repeat(gaps, ratio, axis=0)
    finite = np.isfinite(cost)
    # One barred edge costs more than all others together, so that as many pairs as can be are made.
    barrier = (np.max(cost, where=finite, initial=0.0) + 1.0) * (min(cost.shape) + 1)
    rows, columns = linear_sum_assignment(np.where(finite, cost, barrier))
    made = finite[rows, columns]
    return np.column_stack([rows[made] // ratio, columns[made]])


def find_full_sets(gaps: np.ndarray) -> np.ndarray:
    """Pairs (k, 2), the edges of a cheapest cover of rows and columns of the distances (m, c).

    Rows or columns without any finite distance are left out.
    """
    row_best = gaps.min(axis=1, initial=np.inf)
    column_best = gaps.min(axis=0, initial=np.inf)
    rows, columns = np.flatnonzero(np.isfinite(row_best)), np.flatnonzero(np.isfinite(column_best))
    if not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    part = gaps[np.ix_(rows, columns)]
    saving = np.where(np.isfinite(part), row_best[rows][:, None] + column_best[columns] - part, 0.0)
    saving = np.maximum(saving, 0.0)
    r, c = linear_sum_assignment(saving, maximize=True)
    used = saving[r, c] > 0
    paired = np.column_stack([rows[r[used]], columns[c[used]]])
    lone_rows = np.setdiff1d(rows, paired[:, 0])
    lone_columns = np.setdiff1d(columns, paired[:, 1])
    edges = [
        paired,
        np.column_stack([lone_rows, gaps[lone_rows].argmin(axis=1)]),
        np.column_stack([gaps[:, lone_columns].argmin(axis=0), lone_columns]),
    ]
    return np.unique(np.concatenate(edges), axis=0)


def refuse_large(shape: tuple[int, int]) -> None:
    """Refuse distance matrices that would not fit."""
    if shape[0] * shape[1] > MAX_CELLS:
        raise NotEstimable(
            Fault(
                "method",
                "optimal and full matching hold every distance, and there are too many",
                f"{shape[0] * shape[1]:,} pairs of people",
                f"{MAX_CELLS:,}",
                'Match exactly on a field, or use method="nearest" or weights.',
            )
        )
