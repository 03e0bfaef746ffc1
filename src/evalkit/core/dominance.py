"""Sums over people that tell of one or two of them: whoever adds up money asks here first.

Pure functions of one amount a person. The limits are those of AI-SDC/ACRO (`acro/default.yaml`: nk with n = 2 and
k = 90%, p-ratio 10%) and a half for one person; Hundepool et al. 2012, Statistical Disclosure Control, section 4.2.
"""

from __future__ import annotations

import numpy as np

FEWEST = 10
MOST_OF_ONE = 0.5
MOST_OF_TWO = 0.9
LEFT_BESIDE_TWO = 0.1


def is_dominated(amounts: np.ndarray) -> bool:
    """Whether one or two people make up too much of a sum over people, shape (n,); of nothing at all, no.

    One has more than `MOST_OF_ONE`; two have `MOST_OF_TWO` or more (the nk rule); or, for whoever has the second most,
    the rest is less than `LEFT_BESIDE_TWO` of the most (the p% rule).

    >>> is_dominated(np.array([80.0, 15.0, 3.0, 2.0])), is_dominated(np.full(12, 5.0))
    (True, False)
    """
    sizes = np.sort(np.abs(np.asarray(amounts, dtype=float)))[::-1]
    total = sizes.sum()
    if not total > 0:
        return False
    two = sizes[:2].sum()
    # Shares of floats: a sum that is just at a limit counts as beyond it.
    rest = total - two
    return bool(
        sizes[0] > MOST_OF_ONE * total or two >= (MOST_OF_TWO - 1e-9) * total or rest < LEFT_BESIDE_TWO * sizes[0]
    )


def is_thin(amounts: np.ndarray, *, fewest: int = FEWEST) -> bool:
    """Whether a sum over people, shape (n,), tells of few: fewer than `fewest` have any of it, or it is dominated."""
    return bool((np.abs(np.asarray(amounts, dtype=float)) > 0).sum() < fewest) or is_dominated(amounts)
