"""Aalen-Johansen of one stratum with what its errors are made of, and the checks of what was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.frames import as_numbers
from evalkit.cohort.history import EventHistory
from evalkit.core.errors import Fault, NotEstimable, suggest_name
from evalkit.core.faults import choice_faults, is_finite
from evalkit.estimators.survival.multistate_moves import (
    MoveCounts,
    compute_path,
    count_moves,
    walk_influence,
)

_DUST = 1e-9


@dataclass(frozen=True)
class StateOptions:
    """How probabilities of states are estimated.

    errors : "infinitesimal_jackknife" clustered and right under weights (survival's survfit); "greenwood" and
        "aalen" for independent people without weights (mstate's probtrans).
    dependence : "markov" uses everybody at risk after the start; "landmark" only those who are in the initial
        state at the start (Putter and Spitoni 2018, Stat Methods Med Res 27:2081), which needs no Markov property.
    """

    errors: Literal["infinitesimal_jackknife", "greenwood", "aalen"] = "infinitesimal_jackknife"
    dependence: Literal["markov", "landmark"] = "markov"


@dataclass(frozen=True)
class StateFit:
    """One stratum: its history, counts, path (T + 1, K), and the initial distribution if it was estimated."""

    label: object
    history: EventHistory
    counts: MoveCounts
    path: np.ndarray
    estimated_initial: np.ndarray | None

    @property
    def n_moves(self) -> int:
        """Moves after the start."""
        return int(((self.history.to_state >= 0) & (self.history.stop > self.counts.start)).sum())


def list_strata(history: EventHistory) -> list[tuple[int, object]]:
    """Codes of strata that have rows, with their labels (None where there is only one without a name)."""
    names = history.strata
    return [(int(code), names[code] if code < len(names) else None) for code in np.unique(history.stratum)]


def split_strata(
    history: EventHistory, start: float, initial: str | Sequence[float] | np.ndarray | None, options: StateOptions
) -> Iterator[tuple[EventHistory, object]]:
    """Each stratum's history, and under landmarking only people who are in the initial state at the start.

    Raises NotEstimable where nobody is.
    """
    for code, label in list_strata(history):
        part = history.select(history.stratum == code)
        if options.dependence == "landmark" and isinstance(initial, str):
            here = _present(part, start) & (part.from_state == part.states.index(initial))
            part = part.select(np.isin(part.person, part.person[here]))
            if not len(part):
                what = f'nobody is in "{initial}" at {start:g}'
                raise NotEstimable(Fault(_name(label), what, next_step="Choose another start or state."))
        yield part, label


def refuse_one_cluster(history: EventHistory, options: StateOptions) -> None:
    """Raise NotEstimable where clustered errors would rest on one cluster alone, and so come to 0."""
    if options.errors == "infinitesimal_jackknife" and (history.cluster == history.cluster[0]).all():
        raise NotEstimable(Fault("clusters", "there is one alone, which has no error", allowed="2 or more"))


def fit_states(
    part: EventHistory, label: object, *, start: float, initial: str | Sequence[float] | np.ndarray | None
) -> StateFit:
    """Counts and path of one stratum. Raises NotEstimable where nobody is present at the start."""
    counts = count_moves(part, start=start)
    if initial is None:
        begin = _initial_shares(part, label, start)
        return StateFit(label, part, counts, compute_path(begin, counts.hazard), begin)
    if isinstance(initial, str):
        begin = np.zeros(len(part.states))
        begin[part.states.index(initial)] = 1.0
    else:
        begin = np.asarray(initial, dtype=np.float64)
    return StateFit(label, part, counts, compute_path(begin, counts.hazard), None)


def _present(part: EventHistory, at: float) -> np.ndarray:
    return (part.start <= at) & (part.stop > at)


def _initial_shares(part: EventHistory, label: object, start: float) -> np.ndarray:
    here = _present(part, start)
    if not here.any():
        raise NotEstimable(Fault(
            _name(label), f"nobody is under observation just after {start:g}",
            next_step="Choose a later start, or give the initial distribution.",
        ))  # fmt: skip
    mass = np.bincount(part.from_state[here], weights=part.weights[here], minlength=len(part.states))
    return mass / mass.sum()


def refuse_unseen(fit: StateFit, until: float) -> None:
    """Raise NotEstimable where nobody is followed to `until` and somebody could still move."""
    last = fit.history.stop.max()
    mass = fit.path[-1][find_leavable(fit.history)].sum()
    if until > last and mass > _DUST:
        raise NotEstimable(Fault(
            _name(fit.label), f"nobody is followed to {until:g}", got=f"follow-up to {last:g}",
            next_step="Shorten the horizon.",
        ))  # fmt: skip


def find_leavable(part: EventHistory) -> np.ndarray:
    """Which states people are followed in, shape (K,): the others hold whoever comes."""
    seen = np.bincount(part.from_state, minlength=len(part.states)) > 0
    return seen & np.array([state not in part.absorbing for state in part.states])


def count_at_risk(part: EventHistory, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows at risk in each state at each time (at the very start: present), and probability-free closed counts.

    Both (T, K): the first counts intervals `(start, stop]`, the second also those that begin at the time.
    """
    size = len(part.states)
    before, upto, closed = (np.zeros((len(times), size)) for _ in range(3))
    for state in range(size):
        rows = part.from_state == state
        begin, stop = np.sort(part.start[rows]), np.sort(part.stop[rows])
        left = np.searchsorted(stop, times, side="left")
        before[:, state] = np.searchsorted(begin, times, side="left") - left
        upto[:, state] = np.searchsorted(begin, times, side="right") - np.searchsorted(stop, times, side="right")
        closed[:, state] = np.searchsorted(begin, times, side="right") - left
    earliest = times <= part.start.min()
    return np.where(earliest[:, None], upto, before), closed


def walk_fit(fit: StateFit, times: np.ndarray, horizon: float | None) -> Iterator[np.ndarray]:
    """Influence of each cluster of the fit's history at sorted times, then on the time in states; `walk_influence`."""
    return walk_influence(
        fit.history, fit.counts, fit.path, times=times, horizon=horizon, initial=fit.estimated_initial
    )


def compute_jackknife_errors(fit: StateFit, times: np.ndarray, horizon: float | None = None) -> np.ndarray:
    """Roots of the sums of squared influence over clusters, shape (m, K), times in any order; the horizon's last.

    Without a small-sample factor, as in R.
    """
    order = np.argsort(times, kind="stable")
    back = np.append(np.argsort(order, kind="stable"), [] if horizon is None else len(times)).astype(np.int64)
    return np.sqrt(np.stack([np.einsum("ck,ck->k", one, one) for one in walk_fit(fit, times[order], horizon)])[back])


def compute_expected_days(fit: StateFit, horizon: float) -> np.ndarray:
    """Area under the path from the start to the horizon, shape (K,)."""
    inside = fit.counts.times < horizon
    clock = np.concatenate([[fit.counts.start], fit.counts.times[inside], [horizon]])
    return np.diff(clock) @ fit.path[: len(clock) - 1]


def compute_model_errors(fit: StateFit, errors: Literal["greenwood", "aalen"]) -> np.ndarray:
    """Errors of the path from the covariance of the hazards' increments, shape (T + 1, K).

    Cov(p(t)) = H' Cov(p(t-)) H + sum_j p_j^2 Cov(dA_j). Greenwood: a multinomial covariance and p just before;
    Aalen: a Poisson one, with mstate's p just after (de Wreede et al. 2010, eqs. 7 to 10).
    """
    size = len(fit.history.states)
    weight = fit.path[:-1] if errors == "greenwood" else fit.path[1:]
    covariance = np.zeros((size, size))
    if fit.estimated_initial is not None:
        p = fit.estimated_initial
        covariance = (np.diag(p) - np.outer(p, p)) / _present(fit.history, fit.counts.start).sum()
    variance = np.empty_like(fit.path)
    variance[0] = np.diag(covariance)
    place = np.arange(size)
    for t, step in enumerate(fit.counts.hazard):
        risk = fit.counts.at_risk[t]
        scale = np.where(risk > 0, weight[t] ** 2 / np.where(risk > 0, risk, 1.0), 0.0)
        if errors == "greenwood":
            jump = np.diag(scale @ step) - (step.T * scale) @ step
        else:
            out = step.copy()
            out[place, place] = 0.0
            flow = scale[:, None] * out
            jump = np.diag(flow.sum(axis=0) + flow.sum(axis=1)) - flow - flow.T
        covariance = step.T @ covariance @ step + jump
        variance[t + 1] = np.diag(covariance)
    return np.sqrt(np.maximum(variance, 0.0))


def check_state_arguments(
    history: EventHistory,
    start: float,
    at: np.ndarray | None,
    initial: str | Sequence[float] | np.ndarray | None,
    options: StateOptions,
) -> list[Fault]:
    """What is wrong with the arguments of an estimate of states, all at once."""
    faults = choice_faults("errors", options.errors, ("infinitesimal_jackknife", "greenwood", "aalen"))
    faults += choice_faults("dependence", options.dependence, ("markov", "landmark"))
    states = history.states
    if isinstance(initial, str):
        if initial not in states:
            hint = suggest_name(initial, list(states))
            faults.append(Fault("initial", "not a state", initial, ", ".join(states), hint))
    elif initial is not None:
        vector = as_numbers(initial, "initial")
        fine = vector.shape == (len(states),) and bool((vector >= 0).all()) and abs(vector.sum() - 1) < _DUST
        if not fine:
            faults.append(Fault("initial", "a distribution has one share a state, and adds up to 1"))
    if not is_finite(start):
        faults.append(Fault("start", "it must be finite", got=str(start)))
    elif at is not None and (at.ndim != 1 or not at.size or not np.isfinite(at).all() or at.min() < start):
        faults.append(Fault("at", "times are finite and not before the start", allowed=f"{start:g} or more"))
    if options.dependence == "landmark" and not isinstance(initial, str):
        faults.append(Fault("initial", "landmarking needs the state in which people are at the start"))
    if options.errors != "infinitesimal_jackknife" and _needs_jackknife(history):
        faults.append(Fault(
            "errors", "takes people one by one, without weights or clusters", options.errors,
            "infinitesimal_jackknife",
        ))  # fmt: skip
    return faults


def _needs_jackknife(history: EventHistory) -> bool:
    pairs = np.unique(np.column_stack([history.person, history.cluster]), axis=0)
    shared = len(np.unique(history.cluster)) < len(pairs)
    return shared or bool((history.weights != 1).any())


def _name(label: object) -> str:
    return "history" if label is None else f"stratum {label}"
