"""Where people are over time: counts of moves, and probabilities of states without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.cohort.frames import as_numbers
from evalkit.cohort.history import EventHistory
from evalkit.core.errors import Fault, ParameterError
from evalkit.core.faults import is_finite, refuse
from evalkit.estimators.survival.multistate_fit import (
    StateOptions,
    check_state_arguments,
    compute_expected_days,
    compute_jackknife_errors,
    compute_model_errors,
    count_at_risk,
    find_leavable,
    fit_states,
    list_strata,
    refuse_one_cluster,
    refuse_unseen,
    split_strata,
)
from evalkit.estimators.survival.multistate_moves import in_order

_DAYS = 1_000
_DEFAULT = StateOptions()


@dataclass(frozen=True)
class StateProbabilities:
    """Probability of each of K states at T times in one stratum, with standard errors, both (T, K).

    `at_risk` (T, K): people under observation in each state at the time (whose interval holds it); `unseen` (T,) is
    the probability that lies in states that can be left but hold nobody, so that what comes next is not known.
    """

    stratum: object
    states: tuple[str, ...]
    start: float
    times: np.ndarray
    probability: np.ndarray
    se: np.ndarray
    at_risk: np.ndarray
    unseen: np.ndarray
    n_people: int
    n_moves: int


@dataclass(frozen=True)
class ExpectedTime:
    """Expected time in each of K states from `start` to `horizon` in one stratum, with errors, both (K,)."""

    stratum: object
    states: tuple[str, ...]
    start: float
    horizon: float
    time: np.ndarray
    se: np.ndarray
    n_people: int
    n_moves: int


def count_transitions(history: EventHistory) -> pd.DataFrame:
    """Moves from state to state, stays that ended unmoved, people and time at risk, by stratum.

    Rows of one person that follow each other in one state are one stay. Counts are of stays and moves without
    weights. As in mstate's `events`, an absorbing state has its entrants in the row "no event".

    Returns
    -------
    DataFrame, one row a stratum, state and state after it, and for each state the rows "no event" and "total
    entering": `stratum, from_state, to_state, count, people, person_time, rate_per_1000_days`. `people` are those
    who made the move (who were ever there in the two last rows), `person_time` is all time in `from_state`, in the
    unit of the history; the rate is of moves per 1,000 of it.
    """
    history = in_order(history)
    ended = history.to_state < 0
    same = np.append((history.person[1:] == history.person[:-1]) & (history.start[1:] == history.stop[:-1]), False)
    going_on = ended & same
    pieces = [_count_stratum(history.select(history.stratum == code), going_on[history.stratum == code], label)
              for code, label in list_strata(history)]  # fmt: skip
    return pd.concat(pieces, ignore_index=True)


def _count_stratum(history: EventHistory, going_on: np.ndarray, label: object) -> pd.DataFrame:
    rows = []
    length = history.stop - history.start
    for j, state in enumerate(history.states):
        here = history.from_state == j
        time = float(length[here].sum())
        for k, other in enumerate(history.states):
            moved = here & (history.to_state == k)
            count, people = int(moved.sum()), len(np.unique(history.person[moved]))
            rate = _DAYS * count / time if time > 0 else np.nan
            rows.append((label, state, other, count, people, time, rate))
        entered = history.to_state == j
        final = entered if state in history.absorbing else here & (history.to_state < 0) & ~going_on
        ever = entered | here if state in history.absorbing else here
        total = int(final.sum() + (here & (history.to_state >= 0)).sum())
        for name, count, who in (("no event", int(final.sum()), final), ("total entering", total, ever)):
            rows.append((label, state, name, count, len(np.unique(history.person[who])), time, np.nan))
    names = ["stratum", "from_state", "to_state", "count", "people", "person_time", "rate_per_1000_days"]
    return pd.DataFrame(rows, columns=names)


def estimate_state_probabilities(
    history: EventHistory,
    *,
    start: float = 0.0,
    at: Sequence[float] | np.ndarray | None = None,
    initial: str | Sequence[float] | np.ndarray | None = None,
    options: StateOptions = _DEFAULT,
) -> tuple[StateProbabilities, ...]:
    """Aalen-Johansen probabilities of being in each state, p(t) = p(s) prod (I + dA(u)), by stratum.

    Occupancy (with `initial` None) is consistent whenever censoring is independent, whether or not moves depend on
    the past (Datta and Satten 2001, Stat Probab Lett 55:403). Given a state at a start, it needs the Markov
    property, or `dependence="landmark"`.

    Parameters
    ----------
    start : where the clock starts; moves after it count
    at : times, shape (T,), at or after `start`; None for the start and every time somebody moves
    initial : a state, a distribution (K,), or None for the weighted shares of those present just after `start`,
        whose own error is then in the errors

    Raises
    ------
    ParameterError
        A state that is not listed, a distribution that does not add up to 1, times before the start, errors that
        take no weights with weights, landmarking without a state.
    NotEstimable
        Nobody is present at the start, or nobody is followed to a time at which people can still move; one cluster;
        weights that spread so widely that sums over those at risk lose their digits.

    References
    ----------
    Aalen and Johansen 1978, Scand J Stat 5:141; Andersen, Borgan, Gill and Keiding 1993, section IV.4; de Wreede,
    Fiocco and Putter 2010, Comput Methods Programs Biomed 99:261 (errors); Therneau, survival 3.5 (jackknife).
    """
    times = None if at is None else as_numbers(at, "at")
    refuse(check_state_arguments(history, start, times, initial, options))
    refuse_one_cluster(history, options)
    found = []
    for part, label in split_strata(history, start, initial, options):
        fit = fit_states(part, label, start=start, initial=initial)
        own = np.concatenate([[start], fit.counts.times]) if times is None else times
        refuse_unseen(fit, own.max())
        places = np.searchsorted(fit.counts.times, own, side="right")
        if options.errors == "infinitesimal_jackknife":
            se = compute_jackknife_errors(fit, own)
        else:
            se = compute_model_errors(fit, options.errors)[places]
        here, closed = count_at_risk(part, own)
        unseen = (fit.path[places] * (find_leavable(part) & (closed == 0))).sum(axis=1)
        found.append(StateProbabilities(
            label, part.states, start, own, fit.path[places], se, here, unseen, part.n_people, fit.n_moves
        ))  # fmt: skip
    return tuple(found)


def compute_expected_time(
    history: EventHistory,
    *,
    horizon: float,
    start: float = 0.0,
    initial: str | Sequence[float] | np.ndarray | None = None,
    options: StateOptions = _DEFAULT,
) -> tuple[ExpectedTime, ...]:
    """Expected time in each state between `start` and `horizon`, the area under its probability, by stratum.

    Times add up to `horizon - start`. Arguments and errors as in `estimate_state_probabilities`; standard errors
    are by the infinitesimal jackknife only.
    """
    if not is_finite(horizon):
        raise ParameterError(Fault("horizon", "it must be finite", got=str(horizon)))
    faults = check_state_arguments(history, start, np.array([horizon]), initial, options)
    if options.errors != "infinitesimal_jackknife":
        faults.append(Fault("errors", "expected time has the jackknife's errors only", got=options.errors))
    refuse(faults)
    refuse_one_cluster(history, options)
    found = []
    for part, label in split_strata(history, start, initial, options):
        fit = fit_states(part, label, start=start, initial=initial)
        refuse_unseen(fit, horizon)
        time, se = compute_expected_days(fit, horizon), compute_jackknife_errors(fit, np.empty(0), horizon)[0]
        found.append(ExpectedTime(label, part.states, start, horizon, time, se, part.n_people, fit.n_moves))
    return tuple(found)
