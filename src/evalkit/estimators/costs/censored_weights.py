"""The probability of still being followed, by Kaplan-Meier for many weightings at once or from a model of censoring.

People leave a layer (a group or stratum) at the end of their follow-up, known (the person died or reached the horizon)
or censored. With C distinct days of censoring u and weights w, in each layer

    K(after c days) = product over the first c of (1 - dC(u) / r(u)),

dC the weight of those censored at u and r that of those at risk of it. "events_first": who dies on a day of censoring
is no longer at risk on it and is weighed by K before it. "together": is still at risk and weighed by K after it, as in
R's ccostr, where a K of 0 is raised to the least that is not.

Source: Kaplan and Meier 1958, JASA 53:457; Bang and Tsiatis 2000, Biometrika 87:329; Robins and Rotnitzky 1992.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import sparse

from evalkit.cohort.cost_history import CostHistory
from evalkit.cohort.frames import as_numbers, how_many
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, refuse
from evalkit.estimators.costs.censored_models import compute_followed_table

Model = Literal["kaplan_meier", "cox", "logistic"]
By = Literal["group", "stratum", "group_and_stratum", "nothing"]
Ties = Literal["events_first", "together"]


@dataclass(frozen=True)
class CensoringOptions:
    """How the probability K of still being followed is estimated.

    `model`: "kaplan_meier"; or, where people leave for reasons that covariates tell of, "cox" or, from one period to
    the next, "logistic". `by`: apart within each group, stratum or both, or for all together (in the logistic model
    layers differ by a constant). `ties` is explained in the module's text.
    """

    model: Model = "kaplan_meier"
    by: By = "group"
    ties: Ties = "events_first"


@dataclass(frozen=True)
class Observed:
    """Follow-up cut at the horizon, laid against the distinct days of censoring `grid` (C,).

    `time` (n,) days; `known` (n,) whether all cost up to the horizon was seen; `layer` (n,) codes from 0 to `n_layers`
    - 1; `place` (n,) how many days of the grid a person was at risk of censoring on: at their end K is `followed` at
    that place. `table` (n, C + 1) is K of each person by a model of censoring, None with Kaplan-Meier.
    """

    time: np.ndarray
    known: np.ndarray
    layer: np.ndarray
    place: np.ndarray
    grid: np.ndarray
    n_layers: int
    ties: Ties
    table: np.ndarray | None = None


@dataclass(frozen=True)
class Paths:
    """Kaplan-Meier of B weightings in S layers: `at_risk`, `censored` (B, S, C) weights, `followed` (B, S, C + 1)."""

    at_risk: np.ndarray
    censored: np.ndarray
    followed: np.ndarray


@dataclass(frozen=True)
class StayWeights:
    """Inverse probability of still being followed, of people in T periods.

    `weights` (n, T), 0 where a person's cost in the period was not seen in full; `effective_size` (T,) and `largest`
    (T,), Kish's effective number of people and the largest weight of each period.
    """

    weights: np.ndarray
    effective_size: np.ndarray
    largest: np.ndarray


def censoring_faults(options: CensoringOptions, history: CostHistory) -> list[Fault]:
    """What is wrong with the options, or with a history for them."""
    faults = choice_faults("model", options.model, ("kaplan_meier", "cox", "logistic"))
    faults += choice_faults("by", options.by, ("group", "stratum", "group_and_stratum", "nothing"))
    faults += choice_faults("ties", options.ties, ("events_first", "together"))
    if options.model != "kaplan_meier" and not history.covariates.shape[1]:
        faults.append(Fault("model", "a model of censoring needs covariates", got=str(options.model)))
    if options.model != "kaplan_meier" and options.ties != "events_first":
        faults.append(Fault("ties", "a model of censoring takes events first", str(options.ties), "events_first"))
    return faults


def find_layers(history: CostHistory, by: By) -> np.ndarray:
    """Codes (n,) from 0 of who shares a curve of censoring."""
    parts = {"group": [history.group], "stratum": [history.stratum], "nothing": [np.zeros(len(history), int)]}
    columns = parts.get(by, [history.group, history.stratum])
    return np.unique(np.column_stack(columns), axis=0, return_inverse=True)[1].ravel()


def build_observed(
    history: CostHistory, *, horizon: float, options: CensoringOptions, ends: np.ndarray
) -> tuple[Observed, np.ndarray]:
    """Follow-up cut at the horizon, and the places (m,) at which K is read for those followed to each of `ends`."""
    time = np.minimum(history.follow_up_days, horizon)
    known = history.complete | (history.follow_up_days >= horizon)
    layer = find_layers(history, options.by)
    if options.model == "logistic":
        # On the scale of periods: censored within a period, or dead in it and so not at risk of that.
        grid = np.arange(len(ends), dtype=np.float64)
        place = np.searchsorted(ends, time, side="right") + ~known
        places = np.arange(1, len(ends) + 1)
    else:
        grid = np.unique(time[~known])
        side = "left" if options.ties == "events_first" else "right"
        place = np.where(known, np.searchsorted(grid, time, side), np.searchsorted(grid, time, "right"))
        places = np.searchsorted(grid, ends, "left")
    found = Observed(time, known, layer, place, grid, int(layer.max()) + 1, options.ties)
    if options.model == "kaplan_meier":
        return found, places
    table = compute_followed_table(
        history, known=known, time=time, layer=layer, place=place, grid=grid, model=options.model
    )
    return Observed(time, known, layer, place, grid, found.n_layers, options.ties, table), places


def compute_paths(observed: Observed, weights: np.ndarray) -> Paths:
    """Kaplan-Meier of censoring for weightings (B, n), in every layer at once."""
    n, width = len(observed.time), len(observed.grid) + 1
    cell = observed.layer * width + observed.place
    shape = (observed.n_layers * width, n)
    leaves = sparse.csr_array((np.ones(n), (cell, np.arange(n))), shape=shape)
    lost = sparse.csr_array(((~observed.known).astype(np.float64), (cell, np.arange(n))), shape=shape)

    def lay(matrix: sparse.csr_array) -> np.ndarray:
        return (matrix @ weights.T).T.reshape(len(weights), observed.n_layers, width)[:, :, 1:]

    censored = lay(lost)
    at_risk = np.cumsum(lay(leaves)[:, :, ::-1], axis=2)[:, :, ::-1]
    left = at_risk - censored
    left = np.where(left > 1e-12 * at_risk, left, 0.0)  # the difference of two sums of the same people must be 0
    steps = np.divide(left, at_risk, out=np.ones_like(left), where=at_risk > 0)
    followed = np.concatenate([np.ones((*steps.shape[:2], 1)), np.cumprod(steps, axis=2)], axis=2)
    if observed.ties == "together":
        least = np.where(followed > 0, followed, np.inf).min(axis=2, keepdims=True)
        followed = np.maximum(followed, least)
    return Paths(at_risk, censored, followed)


def read_followed(observed: Observed, paths: Paths, places: np.ndarray) -> np.ndarray:
    """K of each person at places (n,), shape (B, n)."""
    if observed.table is not None:
        return observed.table[np.arange(len(places)), places][None, :]
    return paths.followed[:, observed.layer, places]


def require_followed(observed: Observed) -> None:
    """Refuse where a layer's last who were followed were censored before the horizon: nobody tells what comes after."""
    for layer in range(observed.n_layers):
        here = observed.layer == layer
        known = here & observed.known
        last = observed.place[known].max() if known.any() else -1
        if (observed.place[here & ~observed.known] > last).any():
            raise NotEstimable(Fault(
                "horizon", "nobody is followed that long in one group or more: who was left was lost before it",
                next_step="Take an earlier horizon.",
            ))  # fmt: skip


def push_through_censoring(observed: Observed, paths: Paths, weights: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """What people add to a sum by shaping K, shape (n,): weight times derivative.

    `mass` (S, C + 1) is the sum of terms that are divided by K at each layer and place; weights (n,), paths of those.
    Of a sum of terms t / K the derivative by w_i is the sum over days u of t's mass after u, times
    1{censored at u} / (r - dC) - 1{at risk at u} dC / (r (r - dC)).
    """
    if observed.table is not None:
        return np.zeros(len(weights))
    later = np.cumsum(mass[:, ::-1], axis=1)[:, ::-1][:, 1:]
    at_risk, censored = paths.at_risk[0], paths.censored[0]
    left = at_risk - censored
    sound = left > 1e-12 * at_risk
    gain = np.divide(later, left, out=np.zeros_like(left), where=sound)
    drift = np.divide(gain * censored, at_risk, out=np.zeros_like(left), where=sound)
    gone = np.concatenate([np.zeros((observed.n_layers, 1)), np.cumsum(drift, axis=1)], axis=1)
    found = -gone[observed.layer, observed.place]
    lost = np.flatnonzero(~observed.known)
    found[lost] += gain[observed.layer[lost], observed.place[lost] - 1]
    return weights * found


def sum_mass(observed: Observed, places: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Terms (n,) that are divided by K at places (n,), summed by layer and place, shape (S, C + 1)."""
    width = len(observed.grid) + 1
    cell = observed.layer * width + places
    return np.bincount(cell, terms, minlength=observed.n_layers * width).reshape(observed.n_layers, width)


def compute_stay_weights(
    history: CostHistory, *, bounds_days: Sequence[float], options: CensoringOptions | None = None
) -> StayWeights:
    """For each person and period one over the probability of still being followed, or 0 where unseen.

    Period k runs from `bounds_days[k]` to `bounds_days[k + 1]`. It was seen of those followed to its end, weighed by K
    there, and of those who died before, weighed by K at their death (who died in an earlier period costs a known 0).
    Costs of a period times these weights add up to Bang and Tsiatis's partitioned estimator. The history's weights
    shape K and are not multiplied in; costs are not looked at.

    Raises
    ------
    ParameterError
        Options or bounds that do not fit.
    NotEstimable
        A layer in which nobody is followed to the last bound; what the model of censoring refuses.

    References
    ----------
    Bang and Tsiatis 2000, Biometrika 87:329, the partitioned estimator.
    """
    options = options or CensoringOptions()
    bounds = as_numbers(bounds_days, "bounds_days")
    faults = censoring_faults(options, history)
    if bounds.ndim != 1 or len(bounds) < 2 or not np.isfinite(bounds).all() or (np.diff(bounds) <= 0).any():
        faults.append(Fault("bounds_days", "they must be two or more days that rise"))
    elif bounds[0] < 0:
        faults.append(
            Fault("bounds_days", "they begin before follow-up does", got=f"{bounds[0]:g}", allowed="0 or more")
        )
    refuse(faults)
    ends = bounds[1:]
    observed, places = build_observed(history, horizon=float(ends[-1]), options=options, ends=ends)
    require_followed(observed)
    paths = compute_paths(observed, history.weights[None, :])
    own = read_followed(observed, paths, observed.place)[0]
    there = np.column_stack([
        read_followed(observed, paths, np.full(len(history), place))[0] for place in places
    ])  # fmt: skip
    through = observed.time[:, None] >= ends
    followed = np.where(through, there, own[:, None])
    seen = through | observed.known[:, None]
    weights = np.divide(1.0, followed, out=np.zeros_like(followed), where=seen)
    each = history.weights[:, None] * weights
    if not (each.sum(axis=0) > 0).all():
        raise NotEstimable(Fault("periods", f"a period was seen of nobody ({how_many(0)})"))
    return StayWeights(weights, each.sum(axis=0) ** 2 / (each**2).sum(axis=0), weights.max(axis=0))
