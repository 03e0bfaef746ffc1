"""Errors of mean cost under censoring: influence values, the published formulas, and draws of clusters.

Influence values are weight times derivative of the estimate, K (and in Lin's estimator S) being estimated: what a
person adds by what they cost, and what they add by shaping K (`push_through_censoring`). Errors are the root of
the sum over clusters of squared cluster totals, as in `people.influence`.

The published formulas, of n people of one group with equal weights, are those of R's ccostr: with S Kaplan-Meier
survival, u the days of censoring and G(z, u) = sum over X >= u of D z / K(X), divided by n S(u),

    var BT = 1/n { mean of D (M - BT)^2 / K(X) + mean over all of (1 - D) / K(X)^2 [G(M^2, X) - G(M, X)^2] }
    var ZT = var BT - 2/n^2 sum of (1 - D) / K(X)^2 [G(M M(u), u) - G(M, u) G(M(u), u)] at u = X
                    + 1/n^2 sum of (1 - D) / K(X)^2 [mean of M(u)^2 - (mean of M(u))^2 of those at risk] at u = X

Source: Bang and Tsiatis 2000, Biometrika 87:329; Zhao and Tian 2001, Biometrics 57:1002.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from evalkit.estimators.costs.censored_means import (
    CostDesign,
    compute_gain,
    compute_lin_parts,
    compute_values,
    find_deaths,
    invert,
)
from evalkit.estimators.costs.censored_weights import (
    Paths,
    compute_paths,
    push_through_censoring,
    read_followed,
    sum_mass,
)

_BLOCK = 4_000_000  # numbers held at a time


def compute_influence(design: CostDesign) -> np.ndarray:
    """Influence values (n, G) of the means, or (n, p) of the coefficients; their sum over people is about 0."""
    weights = design.history.weights
    paths = compute_paths(design.observed, weights[None, :])
    values = compute_values(design, weights[None, :])[0]
    if design.options.estimator == "lin_2000":
        return _of_regression(design, paths, values)
    found = np.zeros((len(weights), design.n_groups))
    for arm, value in enumerate(values):
        rows = np.flatnonzero(design.history.group == arm)
        found[:, arm] = _of_mean(design, paths, rows, float(value))
    return found


def _of_mean(design: CostDesign, paths: Paths, rows: np.ndarray, value: float) -> np.ndarray:
    kind, w, known = design.options.estimator, design.history.weights, design.observed.known
    found = np.zeros(len(w))
    if kind == "available_sample":
        found[rows] = w[rows] * (design.total[rows] - value) / w[rows].sum()
        return found
    if kind == "complete_case":
        seen = rows[known[rows]]
        found[seen] = w[seen] * (design.total[seen] - value) / w[seen].sum()
        return found
    if kind == "lin_1997":
        return _of_lin(design, rows)
    here = np.zeros(len(w))
    here[rows] = w[rows]
    own = here * known * invert(read_followed(design.observed, paths, design.observed.place))[0]
    if kind == "bang_tsiatis_partitioned":
        return _of_partitioned(design, paths, rows, own, value)
    by_weights = design.options.divide_by == "weights"
    terms = own * (design.total - (value if by_weights else 0.0))
    bottom = own.sum() if by_weights else w[rows].sum()
    found = terms - (0.0 if by_weights else here * value)
    found += push_through_censoring(design.observed, paths, w, sum_mass(design.observed, design.observed.place, terms))
    if kind == "zhao_tian":
        found += _of_gain(design, paths, rows)
    return found / bottom


def _of_gain(design: CostDesign, paths: Paths, rows: np.ndarray) -> np.ndarray:
    """What people of a group add to Zhao and Tian's sum, shape (n,)."""
    observed, w = design.observed, design.history.weights
    found = np.zeros(len(w))
    mass = np.zeros(paths.followed.shape[1:])
    arm = design.history.group[rows[0]]
    for cell in design.cells:
        if design.history.group[cell.rows[0]] != arm:
            continue
        gain, means, at_risk = (part[0] for part in compute_gain(cell, paths, w[None, :]))
        mass[cell.layer, cell.days + 1] += gain
        followed = invert(paths.followed[0, cell.layer, cell.days + 1])
        share = np.divide(w[cell.rows] @ cell.lost, at_risk, out=np.zeros_like(at_risk), where=at_risk > 0)
        apart = cell.running - means * cell.there
        found[cell.rows] += w[cell.rows] * ((cell.lost * apart) @ followed - apart @ (share * followed))
    return found + push_through_censoring(observed, paths, w, mass)


def _of_partitioned(design: CostDesign, paths: Paths, rows: np.ndarray, own: np.ndarray, value: float) -> np.ndarray:
    observed, w, m = design.observed, design.history.weights, len(design.ends)
    through, parts = design.through[rows], design.parts[rows]
    if observed.table is None:
        each = invert(paths.followed[0][observed.layer[rows]][:, design.places])
    else:
        each = 1.0 / observed.table[rows][:, design.places]
    factor = w[rows][:, None] * through * each + own[rows][:, None] * ~through  # w D_k / K(X_k)
    if design.options.divide_by == "weights":
        seen = factor.sum(axis=0)
        terms = factor * (parts - (factor * parts).sum(axis=0) / seen) / seen
        constant = np.zeros(len(rows))
    else:
        terms = factor * parts / w[rows].sum()
        constant = w[rows] * value / w[rows].sum()
    found = np.zeros(len(w))
    found[rows] = terms.sum(axis=1) - constant
    beside = np.zeros(len(w))
    beside[rows] = (terms * ~through).sum(axis=1)
    mass = sum_mass(observed, observed.place, beside)
    for k in range(m):
        whole = np.bincount(observed.layer[rows], terms[:, k] * through[:, k], minlength=observed.n_layers)
        mass[:, design.places[k]] += whole
    return found + push_through_censoring(observed, paths, w, mass)


def _of_lin(design: CostDesign, rows: np.ndarray) -> np.ndarray:
    w = design.history.weights
    alive, means, size = (part[0] for part in compute_lin_parts(design, w[None, :], rows))
    starts = np.concatenate([[0.0], design.ends[:-1]])
    days, place, is_death = find_deaths(design, rows)
    there = design.observed.time[rows][:, None] > starts
    factor = np.divide(alive, size, out=np.zeros_like(size), where=size > 0)
    inside = w[rows] * (there * (design.parts[rows] - means) @ factor)
    # S(start of k) is a product over deaths up to it: what each day of death carries is all that comes after.
    carried = np.bincount(np.searchsorted(days, starts, side="right"), alive * means, minlength=len(days) + 1)
    later = np.cumsum(carried[::-1])[::-1][1:]
    at_risk = w[rows] @ (place[:, None] > np.arange(len(days)))
    deaths = np.bincount(place[is_death] - 1, w[rows][is_death], minlength=len(days)) if len(days) else np.zeros(0)
    left = at_risk - deaths
    loss = np.divide(later, left, out=np.zeros_like(later), where=left > 1e-12 * at_risk)
    gone = np.concatenate(
        [[0.0], np.cumsum(np.divide(loss * deaths, at_risk, out=np.zeros_like(loss), where=at_risk > 0))]
    )
    inside += w[rows] * gone[place]
    inside[is_death] -= (w[rows][is_death]) * loss[place[is_death] - 1]
    found = np.zeros(len(w))
    found[rows] = inside
    return found


def _of_regression(design: CostDesign, paths: Paths, beta: np.ndarray) -> np.ndarray:
    observed, w = design.observed, design.history.weights
    own = w * observed.known * invert(read_followed(observed, paths, observed.place))[0]
    scores = (own * (design.total - design.x @ beta))[:, None] * design.x
    moved = np.column_stack([
        push_through_censoring(observed, paths, w, sum_mass(observed, observed.place, column)) for column in scores.T
    ])  # fmt: skip
    return np.linalg.solve((design.x * own[:, None]).T @ design.x, (scores + moved).T).T


def sum_by_cluster(influence: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Influence values (n, k) summed by cluster, shape (clusters, k)."""
    code = np.unique(cluster, return_inverse=True)[1]
    share = sparse.csr_array((np.ones(len(code)), (code, np.arange(len(code)))))
    return share @ influence


def compute_published_variance(design: CostDesign) -> np.ndarray:
    """Variances of the means of the groups, shape (G,), by the formulas of the module's text."""
    ones = np.ones((1, len(design.total)))
    paths = compute_paths(design.observed, ones)
    values = compute_values(design, ones)[0]
    return np.array([_published(design, paths, np.flatnonzero(design.history.group == arm), float(value))
                     for arm, value in enumerate(values)])  # fmt: skip


def _published(design: CostDesign, paths: Paths, rows: np.ndarray, value: float) -> float:
    observed, n = design.observed, len(rows)
    cost, known, time = design.total[rows], observed.known[rows], observed.time[rows]
    if design.options.estimator in ("available_sample", "complete_case"):
        seen = cost if design.options.estimator == "available_sample" else cost[known]
        return float(seen.var(ddof=1) / len(seen)) if len(seen) > 1 else np.nan
    bt = float(value)
    own = known * invert(read_followed(observed, paths, observed.place))[0, rows]
    if design.options.estimator == "zhao_tian":
        bt = float(own @ cost) / n
    lost = np.flatnonzero(~known)
    survival = _survive(time, known, time[lost])
    later = (time[None, :] >= time[lost][:, None]) * own  # (censored, people)
    scale = np.divide(1.0, n * survival, out=np.zeros(len(lost)), where=survival > 0)
    square, mean = scale * (later @ cost**2), scale * (later @ cost)
    factor = invert(paths.followed[0, observed.layer[rows[lost]], observed.place[rows[lost]]]) ** 2
    variance = ((own @ (cost - bt) ** 2) / n + (factor @ (square - mean**2)) / n) / n
    if design.options.estimator == "bang_tsiatis":
        return float(variance)
    for cell in design.cells:
        if design.history.group[cell.rows[0]] != design.history.group[rows[0]]:
            continue
        at = np.searchsorted(observed.grid[cell.days], time[lost])
        running = cell.running[:, at].T  # of those at risk on the day of each censoring
        with_own, alone = scale * ((later * running) @ cost), scale * (later * running).sum(axis=1)
        size = cell.there[:, at].sum(axis=0)
        spread = (running**2).sum(axis=1) / size - (running.sum(axis=1) / size) ** 2
        variance += (factor @ (spread - 2 * (with_own - mean * alone))) / n**2
    return float(variance)


def _survive(time: np.ndarray, known: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Kaplan-Meier survival through each of `days`, the end of what is known counting as a death."""
    at, place = np.unique(time, return_inverse=True)
    at_risk = np.cumsum(np.bincount(place)[::-1])[::-1]
    survival = np.cumprod(1 - np.bincount(place[known], minlength=len(at)) / at_risk)
    return survival[np.searchsorted(at, days)]


def compute_draws(design: CostDesign, *, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Values (B, G) or (B, p) in draws of clusters with replacement, within groups where clusters lie within them.

    Weights of people are multiplied by how often their cluster was drawn, and K is estimated anew in each.
    """
    history = design.history
    cluster = np.unique(history.cluster, return_inverse=True)[1]
    side = np.full(int(cluster.max()) + 1, -1)
    side[cluster] = history.group
    nested = (side[cluster] == history.group).all()
    sides = [np.flatnonzero(side == arm) for arm in np.unique(side)] if nested else [np.arange(len(side))]
    size = max(1, min(replicates, _BLOCK // max(len(history), design.observed.n_layers * len(design.observed.grid))))
    found = []
    for at in range(0, replicates, size):
        counts = np.zeros((min(size, replicates - at), len(side)))
        for members in sides:
            counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), len(counts))
        found.append(compute_values(design, counts[:, cluster] * history.weights))
    return np.concatenate(found)
