"""Fitted models without one cluster, in one Newton step: what makes sandwich errors right in small samples.

Left out, a cluster moves coefficients by (A - A_g)^-1 s_g, with A the information of all, A_g and s_g the cluster's own
information and score; with clusters of one that is the residual over 1 - leverage. The sum of squares of what an
estimate moves by is the jackknife: exact for linear models (HC3, CR3), its first step for others.

Source: MacKinnon and White 1985, J Econometrics 29:305 (HC3, jackknife); Bell and McCaffrey 2002, Survey Methodology
28:169 (clusters).
"""

from __future__ import annotations

import numpy as np

Parts = list[tuple[np.ndarray, np.ndarray]]  # derivatives by each person's linear predictor, and factors, (n,) each
_BLOCK = 4_000_000  # numbers held at a time
_ALONE = 1e-8  # what is left of the information in a direction of which only one cluster tells


def compute_total_without(mass: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Total of `mass` (n,) over all clusters but each person's own, shape (n,); infinite where that has all of it."""
    _, group = np.unique(cluster, return_inverse=True)
    left = mass.sum() - np.bincount(group, weights=mass)[group]
    return np.where(left > _ALONE * mass.sum(), left, np.inf)


def compute_gradient_without(design: np.ndarray, parts: Parts, cluster: np.ndarray) -> np.ndarray:
    """Sum over `parts` of factor_i times the total of by_j design_j over all j but i's own cluster, shape (n, q)."""
    _, group = np.unique(cluster, return_inverse=True)
    gradient = np.zeros(design.shape)
    for by, factor in parts:
        for k, column in enumerate((design * by[:, None]).T):
            gradient[:, k] += factor * (column.sum() - np.bincount(group, weights=column)[group])
    return gradient


def solve_without(x: np.ndarray, curvature: np.ndarray, cluster: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x_i' (A - A_g)^-1 right_i of each row i, g its cluster, shape (m,).

    Directions of which only one cluster tells have no information without it; they are left out there.

    Parameters
    ----------
    x : float array, shape (m, q), of full rank where `curvature` (m,) is positive
    right : float array, shape (m, q), the same within a cluster
    """
    root = np.sqrt(curvature)[:, None]
    scale = np.sqrt(((x * root) ** 2).sum(axis=0))
    r = np.linalg.qr(x / scale * root, mode="r")
    z = np.linalg.solve(r.T, (x / scale).T).T
    b = np.linalg.solve(r.T, (right / scale).T).T
    _, group, size = np.unique(cluster, return_inverse=True, return_counts=True)
    values = np.einsum("ij,ij->i", z, b)
    alone = size[group] == 1
    left = 1 - curvature[alone] * (z[alone] ** 2).sum(axis=1)
    values[alone] /= np.where(left > _ALONE, left, 1.0)  # who has a parameter of their own has no residual
    more = np.flatnonzero(size > 1)
    step = max(1, _BLOCK // z.shape[1] ** 2)
    for at in range(0, len(more), step):
        place = np.full(len(size), -1)
        place[more[at : at + step]] = np.arange(len(more[at : at + step]))
        rows = np.flatnonzero(place[group] >= 0)
        values[rows] = _solve_groups(z[rows], curvature[rows], place[group[rows]], b[rows])
    return values


def _solve_groups(z: np.ndarray, curvature: np.ndarray, group: np.ndarray, b: np.ndarray) -> np.ndarray:
    """z_i' (I - L_g)^-1 b_i with L_g the sum of curvature z z' over each group (codes from 0)."""
    groups, q = int(group.max()) + 1, z.shape[1]
    own = np.empty((groups, q, q))
    for j in range(q):
        for k in range(j + 1):
            own[:, j, k] = own[:, k, j] = np.bincount(group, weights=curvature * z[:, j] * z[:, k], minlength=groups)
    share, vectors = np.linalg.eigh(own)
    left = 1 - share
    inverse = np.where(left > _ALONE, 1 / np.where(left > _ALONE, left, 1.0), 0.0)
    right = np.empty((groups, q))
    right[group] = b
    direction = np.einsum("gij,gj,gkj,gk->gi", vectors, inverse, vectors, right, optimize=True)
    return np.einsum("ij,ij->i", z, direction[group])
