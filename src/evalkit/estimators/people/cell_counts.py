"""Mean number of events after a start in four cells, with death as their end, in many draws at once."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.faults import refuse
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.inference import NAIVE_LABEL, normal_estimate
from evalkit.estimators.people.cell_weights import CONTRAST, CellWeights
from evalkit.estimators.people.overlap import CELLS

MIN_EVENTS = 10


def compute_mean_counts(
    weights: np.ndarray, cell: np.ndarray, *, exit_days: np.ndarray, died: np.ndarray, row: np.ndarray, day: np.ndarray,
    horizon_days: int,
) -> np.ndarray:  # fmt: skip
    """Expected events per person by each day in each cell and draw, the dead having no more.

    mu(t) = sum over u <= t of S(u-) dN(u) / Y(u), with S the Kaplan-Meier survival (Ghosh and Lin 2000, Biometrics
    56:554, eq. 2.2), everything weighted.

    Parameters
    ----------
    weights : float array, shape (B, n); cell : int array, shape (n,)
    exit_days, died : shape (n,); days followed (1 or more) and whether death ended them
    row, day : int arrays, shape (m,), one an event: whose, and on which day from 0, before `exit_days`
    horizon_days : H

    Raises ParameterError for events of nobody, or on days on which the person was not followed, and for people who
    were followed for no day.

    Returns
    -------
    float array, shape (B, 4, H + 1); entry t counts events before day t.
    """
    refuse(_event_faults(np.asarray(exit_days), np.asarray(row), np.asarray(day), horizon_days))
    n, out = len(cell), np.zeros((len(weights), len(CELLS), horizon_days + 1))
    size = (n, horizon_days)
    leaves = np.minimum(exit_days, horizon_days).astype(np.int64)
    events = sparse.csr_matrix((np.ones(len(row)), (row, day)), shape=size)
    leaving = sparse.csr_matrix((np.ones(n), (np.arange(n), leaves - 1)), shape=size)
    dying = died & (exit_days <= horizon_days)
    deaths = sparse.csr_matrix((dying.astype(float), (np.arange(n), leaves - 1)), shape=size)
    for k in range(len(CELLS)):
        inside = np.flatnonzero(cell == k)
        w = weights[:, inside]
        gone = np.cumsum(_product(w, leaving[inside]), axis=1)
        at_risk = w.sum(axis=1, keepdims=True) - np.concatenate([np.zeros((len(w), 1)), gone[:, :-1]], axis=1)
        # Sums in another order leave a trace of weight on nobody.
        there = at_risk > 1e-9 * np.maximum(w.sum(axis=1, keepdims=True), 1e-300)
        share = np.where(there, 1 / np.where(there, at_risk, 1.0), 0.0)
        survival = np.cumprod(1 - _product(w, deaths[inside]) * share, axis=1)
        before = np.concatenate([np.ones((len(w), 1)), survival[:, :-1]], axis=1)
        out[:, k, 1:] = np.cumsum(before * _product(w, events[inside]) * share, axis=1)
    return out


def _event_faults(exit_days: np.ndarray, row: np.ndarray, day: np.ndarray, horizon_days: int) -> list[Fault]:
    none = ~(exit_days >= 1)
    if none.any():
        return [Fault("exit_days", f"{how_many(int(none.sum()))} are followed for no day", allowed="1 or more")]
    nobody = (row < 0) | (row >= len(exit_days))
    if nobody.any():
        return [Fault("row", f"{how_many(int(nobody.sum()))} are events of nobody")]
    outside = (day < 0) | (day >= np.minimum(exit_days[row], horizon_days))
    if outside.any():
        what = f"{how_many(int(outside.sum()))} are events on days on which their person was not followed"
        return [Fault("day", what, allowed="from 0, before the exit and the horizon")]
    return []


def _product(weights: np.ndarray, rows: sparse.csr_matrix) -> np.ndarray:
    return np.asarray((rows.T @ weights.T).T)


def estimate_mean_count_did(
    weights: CellWeights, estimand: Estimand, *, exit_days: np.ndarray, died: np.ndarray, row: np.ndarray,
    day: np.ndarray, horizon_days: int, level: float, n_people: int, role: Role = "sensitivity",
) -> list[Estimate]:  # fmt: skip
    """Effect on events per person by the horizon, and the treated group's own change (naive).

    (treated after - before) - (comparison after - before) of `compute_mean_counts`, the error from draws of people
    with weights fitted anew. Identified if the mean count would have moved in parallel among like people.

    Raises NotEstimable where a cell has fewer than `MIN_EVENTS` events or nobody is followed to the horizon.
    """
    events = np.bincount(weights.cell[row], minlength=len(CELLS))
    thin = [CELLS[k] for k in range(len(CELLS)) if events[k] < MIN_EVENTS]
    followed = [CELLS[k] for k in range(len(CELLS)) if (exit_days[weights.cell == k]).max() < horizon_days]
    if thin or followed:
        what = f"too few events: {', '.join(thin)}" if thin else f"nobody followed so long: {', '.join(followed)}"
        raise NotEstimable(Fault(estimand.outcome, what, allowed=f"{MIN_EVENTS} or more events in each cell"))
    given = {"exit_days": exit_days, "died": died, "row": row, "day": day, "horizon_days": horizon_days}
    means = compute_mean_counts(weights.all, weights.cell, **given)[:, :, -1]
    effect = means @ CONTRAST
    share = float(1 - means[0, 0] / (means[0, 0] - effect[0])) if means[0, 0] > effect[0] else float("nan")
    informs = Check(
        "relative_change", None, -share,
        f"The treated after had {means[0, 0]:.2f} a person; without the service {means[0, 0] - effect[0]:.2f}.",
    )  # fmt: skip
    raw = compute_mean_counts(weights.unweighted, weights.cell, **given)[:, :, -1]
    change = raw[:, 0] - raw[:, 1]
    shared = {"level": level, "n_people": float(n_people)}
    return [
        normal_estimate(
            estimand, "mean_count_did", role=role, value=effect[0], se=effect[1:].std(ddof=1),
            n_events=float(events.min()), label="Weighted mean count, difference-in-differences",
            checks=(*weights.checks, informs), **shared,
        ),
        normal_estimate(
            estimand, "before_after", role="naive", value=change[0], se=change[1:].std(ddof=1),
            n_events=float(events[:2].min()), label=NAIVE_LABEL, **shared,
        ),
    ]  # fmt: skip
