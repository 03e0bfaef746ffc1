"""Averages over people from one or several fitted models, with people's influence summed before it is squared.

Source: Stefanski and Boos 2002, American Statistician 56:29 (stacked M-estimation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.estimators.people.influence import sum_clusters

People = Literal["given", "sampled"]


@dataclass(frozen=True)
class Averages:
    """Averages over people: value (k,), covariance of their errors (k, k), influence of each row on them (n, k)."""

    names: tuple[str, ...]
    value: np.ndarray
    covariance: np.ndarray
    influence: np.ndarray

    @property
    def se(self) -> np.ndarray:
        """Standard errors, shape (k,)."""
        return np.sqrt(np.diag(self.covariance))


def compute_covariance(influence: np.ndarray, cluster: np.ndarray | None) -> np.ndarray:
    """Covariance (k, k) from influence values (n, k): HC0 without clusters, else CR0 times G / (G - 1)."""
    if cluster is None:
        return influence.T @ influence
    totals = sum_clusters(influence, cluster)
    return totals.T @ totals * (len(totals) / (len(totals) - 1))


def build_averages(
    names: tuple[str, ...],
    value: np.ndarray,
    gradient: np.ndarray,
    *,
    influence: np.ndarray,
    weights: np.ndarray,
    people: People,
    cluster: np.ndarray | None,
) -> Averages:
    """Weighted averages of values (m, k) with gradients (m, q, k) by coefficients whose influence is (n, q).

    With `people` "sampled" the rows averaged over are the rows of the fit (m = n), and their own spread is added.
    """
    share = weights / weights.sum()
    mean = share @ value
    moved = influence @ np.einsum("m,mqk->qk", share, gradient)
    if people == "sampled":
        moved = moved + share[:, None] * (value - mean)
    return Averages(names, mean, compute_covariance(moved, cluster), moved)
