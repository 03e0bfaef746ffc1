"""What a service changes in where people are: differences of occupancy and of days in each state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.cohort.frames import as_numbers
from evalkit.cohort.history import EventHistory
from evalkit.cohort.pathway import CELLS
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import choice_faults, is_finite, is_whole, level_faults, refuse
from evalkit.estimators.survival.multistate_fit import (
    StateOptions,
    check_state_arguments,
    compute_expected_days,
    fit_states,
    list_strata,
    refuse_unseen,
    split_strata,
    walk_fit,
)
from evalkit.estimators.survival.multistate_replicates import (
    ReplicateStructure,
    build_replicate_structure,
    compute_replicates,
)

Reweight = Callable[[np.ndarray], np.ndarray]
Interval = Literal["percentile", "normal"]
_DEFAULT = StateOptions()
_DUST = 1e-9
_BLOCK = 20_000_000  # numbers held at a time


@dataclass(frozen=True)
class OccupancyDifference:
    """`first` less `second` stratum: occupancy at T times (T, K) and time in each state to the horizon (K,)."""

    first: object
    second: object
    states: tuple[str, ...]
    times: np.ndarray
    horizon: float
    difference: np.ndarray
    se: np.ndarray
    days: np.ndarray
    days_se: np.ndarray


@dataclass(frozen=True)
class OccupancyEffect:
    """Occupancy of the treated after the service began, what it would have been, and the difference.

    `observed`, `counterfactual`, `difference` (T, K) at `times` (T,); `days_*` (K,) up to `horizon`; `cells`
    (4, T, K) and `cell_days` (4, K) in the order of `CELLS`. `draws_*` hold B bootstrap replicates of the same,
    first axis. `outside_share` is the share of points (t, state) at which the additive counterfactual is below 0 or
    above 1, and `outside_most` how far at worst. `n_people` (4,) people of each cell.
    """

    states: tuple[str, ...]
    times: np.ndarray
    start: float
    horizon: float
    observed: np.ndarray
    difference: np.ndarray
    days_observed: np.ndarray
    days_difference: np.ndarray
    cells: np.ndarray
    cell_days: np.ndarray
    draws_observed: np.ndarray
    draws_difference: np.ndarray
    draws_days_observed: np.ndarray
    draws_days_difference: np.ndarray
    outside_share: float
    outside_most: float
    n_people: np.ndarray

    @property
    def counterfactual(self) -> np.ndarray:
        return self.observed - self.difference

    @property
    def days_counterfactual(self) -> np.ndarray:
        return self.days_observed - self.days_difference

    @property
    def draws_counterfactual(self) -> np.ndarray:
        return self.draws_observed - self.draws_difference

    @property
    def draws_days_counterfactual(self) -> np.ndarray:
        return self.draws_days_observed - self.draws_days_difference


def estimate_occupancy_difference(
    history: EventHistory,
    *,
    first: object,
    second: object,
    at: Sequence[float] | np.ndarray,
    horizon: float,
    start: float = 0.0,
    initial: str | Sequence[float] | np.ndarray | None = None,
    options: StateOptions = _DEFAULT,
) -> OccupancyDifference:
    """Occupancy and days in each state of one stratum less another's, with clustered jackknife errors.

    Clusters that are in both strata (a person seen before and after) count once: their influence on the two is
    subtracted before it is squared. Arguments and errors as in `multistate.estimate_state_probabilities`.

    Raises ParameterError for strata that do not exist, errors other than the jackknife's and times after the
    horizon; NotEstimable as there.
    """
    times = as_numbers(at, "at")
    known = [label for _, label in list_strata(history)]
    faults = check_state_arguments(history, start, times, initial, options)
    faults += [Fault("strata", "there is no such stratum", got=str(name), allowed=", ".join(map(str, known)))
               for name in (first, second) if name not in known]  # fmt: skip
    if options.errors != "infinitesimal_jackknife":
        faults.append(Fault("errors", "differences have the jackknife's errors only", got=options.errors))
    if not is_finite(horizon) or horizon < start or (times.size and times.max() > horizon):
        faults.append(Fault("horizon", "finite, and not before the start or any time", got=str(horizon)))
    refuse(faults)
    order = np.argsort(times, kind="stable")
    back = np.append(np.argsort(order, kind="stable"), len(times))
    codes, size = np.unique(history.cluster), len(history.states)
    total, influence = np.zeros((len(times) + 1, size)), np.zeros((len(times) + 1, len(codes), size))
    for part, label in split_strata(history, start, initial, options):
        sign = float(label == first) - float(label == second)
        if sign == 0:
            continue
        fit = fit_states(part, label, start=start, initial=initial)
        refuse_unseen(fit, horizon)
        own = np.searchsorted(codes, np.unique(part.cluster))
        for place, one in enumerate(walk_fit(fit, times[order], horizon)):
            influence[place, own] += sign * one
        total[:-1] += sign * fit.path[np.searchsorted(fit.counts.times, times, side="right")]
        total[-1] += sign * compute_expected_days(fit, horizon)
    se = np.sqrt((influence**2).sum(axis=1))[back]
    return OccupancyDifference(first, second, history.states, times, horizon, total[:-1], se[:-1], total[-1], se[-1])


def compute_occupancy_effect(
    history: EventHistory,
    *,
    horizon: float,
    replicates: int,
    rng: np.random.Generator,
    cell: tuple[object, object, object, object] = CELLS,
    at: Sequence[float] | np.ndarray | None = None,
    start: float = 0.0,
    reweight: Reweight | np.ndarray | None = None,
) -> OccupancyEffect:
    """Difference-in-differences of Aalen-Johansen occupancy over four cells, with a bootstrap of clusters.

    The counterfactual of the treated after is what is observed less (TA - TB) - (CA - CB), that is TB + CA - CB:
    it is right if, without the service, occupancy of each state at each time had moved in parallel (in
    probability), given what the weights balance, and if censoring is independent in each cell; no Markov property
    is needed. States still add up to 1, but a state may come out below 0 or above 1, which `outside_share` counts.

    Parameters
    ----------
    history : strata are the cells; weights balance them; clusters (people by default) are drawn with replacement
    cell : labels of the strata of treated after, treated before, comparison after, comparison before
    at : sorted times, shape (T,); by default every day from the start to the horizon
    reweight : weights of people fitted anew in each replicate, the times a person was drawn included: a function
        of the draws' counts (R, n) that gives weights (R, n), or these weights (B, n). People are in the order
        of their codes in `history.person`. They take the place of `history.weights`, which the point estimate uses
        and which count as they are where `reweight` is None.

    Raises
    ------
    ParameterError
        Strata that do not exist, people in several, times outside start to horizon, weights of another shape,
        negative, or above 0 for who was not drawn.
    NotEstimable
        A cell without people at the start or followed to the horizon, or left empty in a replicate.
    """
    _require_numbers(start, horizon, rng)
    times = np.arange(start, horizon + 1) if at is None else as_numbers(at, "at")
    people, place = np.unique(history.person, return_inverse=True)
    refuse(_effect_faults(history, cell, times, start, horizon, replicates, reweight, len(people)))
    labels = {label: code for code, label in list_strata(history)}
    parts = [history.stratum == labels[name] for name in cell]
    for rows, label in zip(parts, cell, strict=True):
        refuse_unseen(fit_states(history.select(rows), label, start=start, initial=None), horizon)

    own = _build(history, parts, place, history.weights, start, horizon)
    drawn = own if reweight is None else _build(history, parts, place, np.ones(len(history)), start, horizon)
    point = [compute_replicates(one, np.ones((len(people), 1)), times) for one in own]
    cells, cell_days = np.stack([o[:, :, 0] for o, _ in point]), np.stack([d[:, 0] for _, d in point])
    cluster = np.empty(len(people), dtype=np.int64)
    cluster[place] = history.cluster
    draws = _draw(drawn, cluster, times, replicates, rng, reweight)
    difference = _combine(cells)
    beyond = np.maximum(-(cells[0] - difference), (cells[0] - difference) - 1)
    return OccupancyEffect(
        history.states, times, start, horizon, cells[0], difference, cell_days[0], _combine(cell_days), cells,
        cell_days, *draws, float((beyond > _DUST).mean()), float(max(beyond.max(), 0.0)),
        np.array([len(np.unique(history.person[rows])) for rows in parts]),
    )  # fmt: skip


def _require_numbers(start: object, horizon: object, rng: object) -> None:
    if not (is_finite(start) and is_finite(horizon)):
        raise ParameterError(Fault("start, horizon", "they must be finite", got=f"{start}, {horizon}"))
    if not isinstance(rng, np.random.Generator):
        raise ParameterError(
            Fault("rng", "a numpy Generator is wanted", type(rng).__name__, "numpy.random.default_rng(seed)")
        )


def _build(
    history: EventHistory, parts: list[np.ndarray], place: np.ndarray, weights: np.ndarray, start: float, horizon: float
) -> list[ReplicateStructure]:
    """Each cell's moves, sorted once; `place` (n,) of the rows' people among all."""
    n = int(place.max()) + 1
    return [
        build_replicate_structure(history.select(rows), place[rows], weights[rows], n, start=start, horizon=horizon)
        for rows in parts
    ]


def _combine(cells: np.ndarray) -> np.ndarray:
    """(TA - TB) - (CA - CB) over the first axis."""
    return (cells[0] - cells[1]) - (cells[2] - cells[3])


def _draw(
    structures: list[ReplicateStructure],
    cluster: np.ndarray,
    times: np.ndarray,
    replicates: int,
    rng: np.random.Generator,
    reweight: Reweight | np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws of observed and difference, occupancy (B, T, K) and days (B, K), in blocks of replicates."""
    codes, group = np.unique(cluster, return_inverse=True)
    size, n = structures[0].size, len(cluster)
    widest = max(len(times), n // size + 1, *(len(one.times) + 1 for one in structures))
    block = max(1, min(replicates, _BLOCK // (4 * size * widest)))
    shape = (replicates, len(times), size)
    observed, difference = np.empty(shape), np.empty(shape)
    days, days_difference = np.empty((replicates, size)), np.empty((replicates, size))
    for at in range(0, replicates, block):
        here = slice(at, min(at + block, replicates))
        if isinstance(reweight, np.ndarray):
            weights = reweight[here]
        else:
            counts = rng.multinomial(len(codes), np.full(len(codes), 1 / len(codes)), size=here.stop - at)[:, group]
            weights = counts.astype(np.float64) if reweight is None else _reweighted(reweight, counts)
        by_person = np.ascontiguousarray(weights.T, dtype=np.float64)
        found = [compute_replicates(one, by_person, times) for one in structures]
        cells, cell_days = np.stack([o for o, _ in found]), np.stack([d for _, d in found])
        observed[here], days[here] = cells[0].transpose(2, 0, 1), cell_days[0].T
        difference[here], days_difference[here] = _combine(cells).transpose(2, 0, 1), _combine(cell_days).T
    if np.isnan(days_difference).any():
        raise NotEstimable(Fault(
            "replicates", "some leave a cell without anybody at the start",
            next_step="A cell is too thin to be resampled: join periods or widen the population.",
        ))  # fmt: skip
    return observed, difference, days, days_difference


def _reweighted(reweight: Reweight, counts: np.ndarray) -> np.ndarray:
    weights = np.asarray(reweight(counts), dtype=np.float64)
    faults = _weight_faults(weights, counts.shape)
    if not faults and (weights[counts == 0] != 0).any():
        faults.append(Fault(
            "reweight", "people who were not drawn have weight",
            next_step="Multiply fitted weights by the counts that the function is given.",
        ))  # fmt: skip
    refuse(faults)
    return weights


def _weight_faults(weights: np.ndarray, shape: tuple[int, int]) -> list[Fault]:
    if weights.shape != shape:
        return [Fault("reweight", "one weight a replicate and person", got=f"{weights.shape}", allowed=f"{shape}")]
    fine = np.isfinite(weights).all() and (weights >= 0).all()
    return [] if fine else [Fault("reweight", "weights are finite and not negative")]


def _effect_faults(
    history: EventHistory,
    cell: Sequence[object],
    times: np.ndarray,
    start: float,
    horizon: float,
    replicates: int,
    reweight: Reweight | np.ndarray | None,
    n_people: int,
) -> list[Fault]:
    known = [label for _, label in list_strata(history)]
    faults = [Fault("cell", "there is no such stratum", got=str(name), allowed=", ".join(map(str, known)))
              for name in cell if name not in known]  # fmt: skip
    if len(cell) != len(CELLS) or len(set(cell)) != len(cell):
        faults.append(Fault("cell", "four different strata are compared", allowed=", ".join(CELLS)))
    if len(np.unique(np.column_stack([history.person, history.stratum]), axis=0)) > n_people:
        faults.append(Fault(
            "stratum", "some people are in more than one",
            next_step="Give each person and period a code of its own, and the person as the cluster.",
        ))  # fmt: skip
    if len(np.unique(np.column_stack([history.person, history.cluster]), axis=0)) > n_people:
        faults.append(Fault("cluster", "some people are in more than one"))
    if not horizon > start:
        faults.append(Fault("horizon", "ends after the start", got=f"{horizon:g}", allowed=f"above {start:g}"))
    elif (
        times.ndim != 1
        or not times.size
        or not np.isfinite(times).all()
        or times.min() < start
        or times.max() > horizon
        or (np.diff(times) <= 0).any()
    ):
        faults.append(Fault("at", "times rise from the start to the horizon", allowed=f"{start:g} to {horizon:g}"))
    if not is_whole(replicates) or replicates < 2:
        faults.append(Fault("replicates", "two or more are needed", got=str(replicates)))
    if len(np.unique(history.cluster)) < 2:
        faults.append(Fault("cluster", "there is one alone, which cannot be resampled", allowed="2 or more"))
    if reweight is not None and not callable(reweight) and not isinstance(reweight, np.ndarray):
        faults.append(Fault("reweight", "a function or an array is wanted", got=type(reweight).__name__))
    if isinstance(reweight, np.ndarray):
        faults += _weight_faults(reweight, (replicates, n_people))
    return faults


def compute_occupancy_table(
    effect: OccupancyEffect, *, level: float = 0.95, interval: Interval = "percentile"
) -> pd.DataFrame:
    """Occupancy as a table: `quantity` (observed, counterfactual, difference), `time, state, value, se, lower, upper`.

    The error is the spread of the bootstrap draws; `interval` is of their percentiles, or normal around the value.
    """
    grid = pd.MultiIndex.from_product([effect.times, effect.states], names=["time", "state"]).to_frame(index=False)
    return _table(effect, "", grid, level, interval)


def compute_days_table(
    effect: OccupancyEffect, *, level: float = 0.95, interval: Interval = "percentile"
) -> pd.DataFrame:
    """Days in each state up to the horizon: `quantity, state, value, se, lower, upper`, as for occupancy."""
    return _table(effect, "days_", pd.DataFrame({"state": effect.states}), level, interval)


def _table(effect: OccupancyEffect, prefix: str, grid: pd.DataFrame, level: float, interval: Interval) -> pd.DataFrame:
    pieces = []
    for name in ("observed", "counterfactual", "difference"):
        value, draws = getattr(effect, f"{prefix}{name}"), getattr(effect, f"draws_{prefix}{name}")
        se, lower, upper = compute_bootstrap_interval(value, draws, level=level, interval=interval)
        numbers = {"value": value, "se": se, "lower": lower, "upper": upper}
        columns = {key: array.ravel() for key, array in numbers.items()}
        pieces.append(grid.assign(quantity=name, **columns))
    table = pd.concat(pieces, ignore_index=True)
    return table[["quantity", *grid.columns, "value", "se", "lower", "upper"]]


def compute_bootstrap_interval(
    value: np.ndarray, draws: np.ndarray, *, level: float, interval: Interval
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Standard error and ends of the interval from draws, first axis; each of the shape of `value`."""
    refuse([*level_faults(level), *choice_faults("interval", interval, ("percentile", "normal"))])
    se = draws.std(axis=0, ddof=1)
    if interval == "normal":
        half = stats.norm.ppf(0.5 + level / 2) * se
        return se, value - half, value + half
    lower, upper = np.quantile(draws, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return se, lower, upper
