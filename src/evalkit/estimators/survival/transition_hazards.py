"""Hazards of moves, from counts or from a Cox model of every move, and the probabilities they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.frames import as_numbers
from evalkit.cohort.history import EventHistory
from evalkit.core.errors import Fault, ParameterError
from evalkit.core.faults import choice_faults, is_finite, refuse
from evalkit.core.result import Check
from evalkit.estimators.survival.cox import CoxFit
from evalkit.estimators.survival.cox_residuals import rebuild
from evalkit.estimators.survival.cox_sums import compute_ratio_at
from evalkit.estimators.survival.multistate_fit import list_strata
from evalkit.estimators.survival.multistate_moves import count_moves
from evalkit.estimators.survival.multistate_rows import TransitionRows

Errors = Literal["aalen", "greenwood"]
_DUST = 1e-9


@dataclass(frozen=True)
class TransitionHazards:
    """Cumulative hazards of M moves at T times, (T, M), with their covariances (T, M, M).

    `moves` (M, 2) are pairs of places in `states`. Nobody moves before `start`.
    """

    states: tuple[str, ...]
    moves: np.ndarray
    start: float
    times: np.ndarray
    cumulative: np.ndarray
    covariance: np.ndarray

    @property
    def increments(self) -> np.ndarray:
        return np.diff(self.cumulative, axis=0, prepend=np.zeros((1, len(self.moves))))


@dataclass(frozen=True)
class TransitionProbabilities:
    """P(start, t) at T times, (T, K, K): row the state at the start, column the state at t; errors alike.

    `checks`: whether every matrix of steps holds probabilities (a hazard step above 1 makes one negative, as far from
    the data's covariates or with few at risk).
    """

    states: tuple[str, ...]
    start: float
    times: np.ndarray
    probability: np.ndarray
    se: np.ndarray
    checks: tuple[Check, ...]


def estimate_transition_hazards(
    history: EventHistory, *, start: float = 0.0, errors: Errors = "aalen"
) -> TransitionHazards:
    """Nelson-Aalen hazards of the moves that were made after `start`, of a history of one stratum.

    Covariances are between moves out of one state: Aalen's dN_k / Y^2 on the diagonal only, Greenwood's
    dN_k (delta_kl Y - dN_l) / Y^3 (de Wreede, Fiocco and Putter 2010, eqs. 4 and 5).

    Raises ParameterError for several strata, weights, unknown errors, or a history without moves.
    """
    faults = choice_faults("errors", errors, ("aalen", "greenwood"))
    if len(list_strata(history)) > 1:
        faults.append(Fault("history", "one stratum at a time", next_step="Select its rows."))
    if (history.weights != 1).any():
        faults.append(Fault("weights", "these errors take no weights", next_step="Use estimate_state_probabilities."))
    refuse(faults)
    counts = count_moves(history, start=start)
    if not len(counts.times):
        raise ParameterError(Fault("history", f"nobody moves after {start:g}"))
    moves = np.argwhere(counts.moved.sum(axis=0) > 0)
    origin, target = moves.T
    risk = counts.at_risk[:, origin]
    steps = np.where(risk > 0, counts.moved[:, origin, target] / np.where(risk > 0, risk, 1.0), 0.0)
    weight = np.where(risk > 0, 1 / np.where(risk > 0, risk, 1.0), 0.0)
    jump = (steps * weight)[:, :, None] * np.eye(len(moves))
    if errors == "greenwood":
        same = origin[:, None] == origin
        jump = jump - np.where(same, steps[:, :, None] * steps[:, None, :] * weight[:, :, None], 0.0)
    return TransitionHazards(
        history.states, moves, start, counts.times, np.cumsum(steps, axis=0), np.cumsum(jump, axis=0)
    )


def compute_transition_hazards(fit: CoxFit, rows: TransitionRows, x: np.ndarray) -> TransitionHazards:
    """Cumulative hazards of every move for one person's covariates, with covariances between moves (mstate's msfit).

    Cov(A_m, A_l)(t) = 1{one baseline} r_m r_l sum dN / S0^2 + q_m(t)' V q_l(t), where r_m = exp(x_m'b) and
    q_m(t) = sum (x_m - E(u)) dA_m(u): Aalen's variance, plus what the coefficients share. V is the variance that
    `fit.options.errors` names. Ties as in the fit.

    Parameters
    ----------
    x : array, shape (M, p), of `build_transition_design`

    Raises
    ------
    ParameterError
        A fit of other rows, x of another shape or too far from the data, weights (bootstrap instead).

    References
    ----------
    Andersen, Borgan, Gill and Keiding 1993, section VII.2.2; de Wreede, Fiocco and Putter 2010, eq. 6.
    """
    x = as_numbers(x, "x")
    wanted = (len(rows.moves), len(fit.names))
    faults = []
    if x.shape != wanted or not np.isfinite(x).all():
        faults.append(Fault("x", "one row a move and one finite number a coefficient", f"{x.shape}", f"{wanted}"))
    if np.ptp(rows.follow_up.weights) > 0:
        faults.append(Fault("weights", "errors of weighted hazards are not known", next_step="Bootstrap people."))
    refuse(faults)
    sets, moments = rebuild(fit, rows.follow_up)
    layer, time = sets.stratum[sets.term_slot], sets.time[sets.term_slot]
    times, place = np.unique(time, return_inverse=True)
    # Risk sets are summed with covariates and offset less their stratum's centre.
    of_stratum = {int(sets.stratum[begin]): k for k, begin in enumerate(sets.starts[:-1])}
    _refuse_without_events(rows, of_stratum)
    segment = np.array([of_stratum[int(one)] for one in rows.layer])
    ratio = compute_ratio_at((x - sets.centre[segment]) @ fit.coefficients - sets.offset_centre[segment])
    step = sets.term_weight / moments.denominator
    noise = step / moments.denominator
    count = len(rows.moves)
    cumulative, q = np.zeros((len(times), count)), np.zeros((len(times), count, len(fit.names)))
    shared = np.zeros((len(times), count, count))
    for m in range(count):
        mine = layer == rows.layer[m]
        mean = moments.mean[mine] * sets.scale + sets.centre[segment[m]]
        at, own = place[mine], ratio[m] * step[mine]
        cumulative[:, m] = np.bincount(at, own, minlength=len(times))
        np.add.at(q[:, m], at, (x[m] - mean) * own[:, None])
        spread = np.bincount(at, noise[mine], minlength=len(times)) * ratio[m]
        alike = rows.layer == rows.layer[m]
        shared[:, m, alike] = spread[:, None] * ratio[alike]
    q = np.cumsum(q, axis=0)
    variance = fit.variance if fit.options.errors == "model" else fit.robust_variance
    covariance = np.cumsum(shared, axis=0) + q @ variance @ q.transpose(0, 2, 1)
    return TransitionHazards(rows.states, rows.moves, -np.inf, times, np.cumsum(cumulative, axis=0), covariance)


def _refuse_without_events(rows: TransitionRows, known: dict[int, int]) -> None:
    silent = [name for name, layer in zip(rows.move_names, rows.layer, strict=True) if int(layer) not in known]
    refuse([Fault("moves", f"nobody moves from {name}", next_step="Leave the move out.") for name in silent])


def compute_transition_probabilities(
    hazards: TransitionHazards,
    *,
    start: float = 0.0,
    at: Sequence[float] | np.ndarray,
    errors: Errors = "aalen",
) -> TransitionProbabilities:
    """P(s, t) = prod (I + dA(u)) over s < u <= t, with errors from the hazards' covariances (mstate's probtrans).

    The covariance of row h runs as C(u) = H' C(u-) H + sum_ml p_hj p_hj' dV_ml d_m d_l', d_m what a move from j to k
    takes and gives; "aalen" takes p just after u, "greenwood" just before (de Wreede, Fiocco and Putter 2010, eqs. 7
    to 10). It holds for clock-forward hazards; after a reset of the clock a state's hazard depends on its arrival.

    Raises ParameterError for times before the start, a start before the hazards' own, and unknown errors.
    """
    wanted = as_numbers(at, "at")
    faults = choice_faults("errors", errors, ("aalen", "greenwood"))
    if wanted.ndim != 1 or not wanted.size or not np.isfinite(wanted).all() or wanted.min() < start:
        faults.append(Fault("at", "finite times that are not before the start", allowed=f"{start:g} or more"))
    if not is_finite(start) or start < hazards.start:
        faults.append(Fault("start", "before the start of the hazards", got=f"{start:g}", allowed=f"{hazards.start:g}"))
    refuse(faults)
    size, count = len(hazards.states), len(hazards.moves)
    origin, target = hazards.moves.T
    steps = hazards.increments
    jumps = np.diff(hazards.covariance, axis=0, prepend=np.zeros((1, count, count)))
    direction = np.zeros((count, size))
    direction[np.arange(count), target] = 1.0
    direction[np.arange(count), origin] -= 1.0
    inside = np.flatnonzero((hazards.times > start) & (hazards.times <= wanted.max()))
    path, variance = np.empty((len(inside) + 1, size, size)), np.zeros((len(inside) + 1, size, size))
    path[0], covariance, lowest = np.eye(size), np.zeros((size, size, size)), 1.0
    for place, t in enumerate(inside):
        step = np.eye(size)
        np.add.at(step, origin, steps[t][:, None] * direction)
        lowest = min(lowest, float(step.diagonal().min()))
        path[place + 1] = path[place] @ step
        weight = path[place + 1] if errors == "aalen" else path[place]
        leave = weight[:, origin, None] * direction
        covariance = step.T @ covariance @ step + leave.transpose(0, 2, 1) @ jumps[t] @ leave
        variance[place + 1] = np.diagonal(covariance, axis1=1, axis2=2)
    places = np.searchsorted(hazards.times[inside], wanted, side="right")
    check = Check(
        "steps_are_probabilities", lowest >= -_DUST, lowest,
        f"The smallest probability of staying over one time is {lowest:.3f}; below 0 the hazards are not to be used.",
    )  # fmt: skip
    return TransitionProbabilities(
        hazards.states, start, wanted, path[places], np.sqrt(np.maximum(variance[places], 0.0)), (check,)
    )
