"""Cohort Markov models: how many are in each state at the end of each cycle, and what that costs and brings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault
from evalkit.core.faults import choice_faults, refuse, whole_faults
from evalkit.core.prices import discount_factors
from evalkit.economics.faults import as_array, name_faults, number_faults

Counting = Literal["start", "end", "half_cycle"]
DiscountFrom = Literal["first_cycle", "second_cycle"]
_ROUNDING = 1e-9  # rows of a transition matrix must sum to 1 within this


@dataclass(frozen=True)
class MarkovOptions:
    """How a trace is counted and discounted.

    Attributes
    ----------
    counting : who is in a state during a cycle: those there at its `start`, at its `end`, or the mean of the two
        (`half_cycle`, the life-table method)
    discount_rate : per year; 0 for none
    discount_from : whether the `first_cycle` is discounted by its whole length or stands as it is and the
        `second_cycle` is the first discounted
    cycle_years : length of a cycle; whole years that have passed are discounted, as everywhere in evalkit
    """

    counting: Counting = "half_cycle"
    discount_rate: float = 0.035
    discount_from: DiscountFrom = "second_cycle"
    cycle_years: float = 1.0


@dataclass(frozen=True, eq=False)
class MarkovModel:
    """States and the chances of going from one to another.

    Attributes
    ----------
    states : M names
    transitions : float array, shape (C, M, M): [t, i, j] is the chance of going from i to j in cycle t
    start : float array, shape (M,), the cohort at the start, in people or shares
    """

    states: tuple[str, ...]
    transitions: np.ndarray
    start: np.ndarray

    @property
    def n_cycles(self) -> int:
        return len(self.transitions)


def build_markov(
    states: Sequence[str], transitions: np.ndarray, start: np.ndarray, *, n_cycles: int | None = None
) -> MarkovModel:
    """A checked model from one matrix (M, M), the same in each of `n_cycles`, or one a cycle (C, M, M).

    Raises ParameterError that lists all of it: names given twice, shapes that do not fit, chances below 0 or rows that
    do not sum to 1 (with the cycle and the state), a cohort that is empty or below 0.
    """
    names = tuple(states)
    faults = name_faults(names, "states", least=2)
    matrix, wrong = as_array(transitions, "transitions", ndim=3 if np.ndim(transitions) == 3 else 2)
    cohort, worse = as_array(start, "start", ndim=1)
    faults += wrong + worse
    if matrix.size and matrix.ndim == 2:
        faults += whole_faults("n_cycles", n_cycles, least=1)
    elif matrix.size and n_cycles not in (None, len(matrix)):
        faults.append(Fault("n_cycles", "it is not the number of matrices", str(n_cycles), f"{len(matrix)}, or none"))
    if matrix.size and matrix.shape[-2:] != (len(names), len(names)):
        allowed = f"{len(names)} by {len(names)}, one row and column a state"
        faults.append(Fault("transitions", "wrong shape", str(matrix.shape), allowed))
    elif matrix.size and not wrong:
        faults += _chance_faults(matrix, names)
    if cohort.size and len(cohort) != len(names):
        faults.append(Fault("start", "wrong length", str(len(cohort)), f"{len(names)}, one a state"))
    elif cohort.size and not worse and (cohort.min() < 0 or cohort.sum() <= 0):
        faults.append(Fault("start", "nobody, or less than nobody, is in a state", allowed="0 or more, not all 0"))
    refuse(faults)
    if matrix.ndim == 2:
        matrix = np.broadcast_to(matrix, (int(n_cycles), *matrix.shape))
    return MarkovModel(names, matrix, cohort)


def _chance_faults(matrix: np.ndarray, names: tuple[str, ...]) -> list[Fault]:
    by_cycle = matrix[None] if matrix.ndim == 2 else matrix
    faults = []
    for what, bad in (
        ("a chance is below 0", (by_cycle < 0).any(axis=2)),
        ("chances of leaving and staying do not sum to 1", np.abs(by_cycle.sum(axis=2) - 1) > _ROUNDING),
    ):
        if bad.any():
            cycle, state = (int(v) for v in np.argwhere(bad)[0])
            where = f'transitions, cycle {cycle + 1}, from "{names[state]}"'
            more = f"{int(bad.sum()):,} rows in all" if bad.sum() > 1 else ""
            faults.append(Fault(where, what, more, "chances of 0 or more that sum to 1"))
    return faults


def scale_transitions(transitions: np.ndarray, relative_risk: float) -> np.ndarray:
    """Chances of leaving each state times a relative risk, the rest staying; shape as given, (..., M, M).

    Raises ParameterError for a relative risk below 0, and where more than all would leave a state.
    """
    refuse(number_faults("relative_risk", relative_risk, least=0))
    array = np.asarray(transitions, dtype=np.float64)
    stay = np.eye(array.shape[-1], dtype=bool)
    leaving = np.where(stay, 0.0, array * relative_risk)
    left = 1 - leaving.sum(axis=-1)
    if left.min() < -_ROUNDING:
        got = f"{relative_risk:g}"
        refuse([Fault("relative_risk", "more than all would leave a state", got, "chances that stay within 1")])
    return np.where(stay, np.maximum(left, 0.0)[..., None], leaving)


def compute_trace(model: MarkovModel) -> np.ndarray:
    """The cohort in each state at the start and at the end of each cycle, shape (C + 1, M)."""
    trace = np.empty((model.n_cycles + 1, len(model.states)))
    trace[0] = model.start
    for t in range(model.n_cycles):
        trace[t + 1] = trace[t] @ model.transitions[t]
    return trace


def compute_cycle_values(
    model: MarkovModel, per_cycle: np.ndarray, *, options: MarkovOptions = MarkovOptions()
) -> np.ndarray:
    """What each cycle costs or brings, discounted, shape (C,): people in states times `per_cycle`.

    Parameters
    ----------
    per_cycle : shape (M,), the same in each cycle, or (C, M): GBP, life-years or QALYs for one in the state a cycle

    Raises ParameterError for shapes that do not fit and options that cannot be.
    """
    refuse(_option_faults(options))
    values, faults = as_array(per_cycle, "per_cycle", ndim=2 if np.ndim(per_cycle) == 2 else 1)
    wanted = (model.n_cycles, len(model.states))
    if not faults and values.shape not in (wanted, wanted[1:]):
        faults.append(Fault("per_cycle", "wrong shape", str(values.shape), f"{wanted[1:]} or {wanted}"))
    refuse(faults)
    trace = compute_trace(model)
    inside = {"start": trace[:-1], "end": trace[1:], "half_cycle": (trace[:-1] + trace[1:]) / 2}[options.counting]
    passed = np.arange(model.n_cycles) + (1 if options.discount_from == "first_cycle" else 0)
    return (inside * values).sum(axis=1) * discount_factors(passed * options.cycle_years, options.discount_rate)


def compute_total(model: MarkovModel, per_cycle: np.ndarray, *, options: MarkovOptions = MarkovOptions()) -> float:
    """The sum over cycles of `compute_cycle_values`."""
    return float(compute_cycle_values(model, per_cycle, options=options).sum())


def describe_trace(model: MarkovModel) -> pd.DataFrame:
    """The trace as a frame: `cycle` from 0 (the start) and one column a state."""
    frame = pd.DataFrame(compute_trace(model), columns=list(model.states))
    frame.insert(0, "cycle", np.arange(len(frame)))
    return frame


def _option_faults(options: MarkovOptions) -> list[Fault]:
    faults = choice_faults("counting", options.counting, ("start", "end", "half_cycle"))
    faults += choice_faults("discount_from", options.discount_from, ("first_cycle", "second_cycle"))
    faults += number_faults("discount_rate", options.discount_rate, least=0)
    if number_faults("cycle_years", options.cycle_years, least=0) or options.cycle_years == 0:
        faults.append(Fault("cycle_years", "out of range", str(options.cycle_years), "above 0"))
    return faults
