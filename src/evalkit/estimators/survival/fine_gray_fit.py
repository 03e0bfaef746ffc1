"""The partial likelihood of the Fine-Gray model and its maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable
from evalkit.estimators.survival.cox_checks import require_finite_maximum
from evalkit.estimators.survival.fine_gray_sums import RiskSets

_HALVINGS = 40
_SMALL_STEP = 1e-6  # in standard errors: the next step would be its square
_SMALL_MOVE = 1e-4  # of any row's linear predictor
_SINGULAR = 1e-10
_MAX_SPREAD = 300.0  # of the linear predictor: beyond it a step is a step too far


@dataclass(frozen=True)
class Step:
    """The likelihood at one set of coefficients, with what its derivatives and residuals need.

    `score` (p,), `information` (p, p); `relative` (n,) hazards relative to that of the mean; `denominator` (M,) and
    `mean` (M, p), the sum and the mean over the risk set at each term.
    """

    log_likelihood: float
    score: np.ndarray
    information: np.ndarray
    relative: np.ndarray
    denominator: np.ndarray
    mean: np.ndarray


@dataclass(frozen=True)
class Maximum:
    """`coefficients` (p,) per standard deviation, the likelihood there and, `null`, at 0."""

    coefficients: np.ndarray
    step: Step
    null: float
    iterations: int


def compute_scales(follow_up: FollowUp) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and standard deviation of the covariates, (p,) each; 1 for what is constant."""
    centre = np.average(follow_up.covariates, axis=0, weights=follow_up.weights)
    scale = np.sqrt(np.average((follow_up.covariates - centre) ** 2, axis=0, weights=follow_up.weights))
    size = np.abs(follow_up.covariates).max(axis=0)
    return centre, np.where(scale > _SINGULAR * size, scale, 1.0)


def maximise(sets: RiskSets, follow_up: FollowUp, z: np.ndarray, *, max_iterations: int, tolerance: float) -> Maximum:
    """Newton's method from 0 on scaled covariates `z` (n, p), each step halved until the likelihood does not fall.

    Raises NotEstimable, with the covariates' names, where one does not vary within risk sets, follows from others
    or separates, and where it does not converge.
    """
    names, reach = follow_up.names, np.ptp(z, axis=0)
    b = np.zeros(z.shape[1])
    step = compute_step(sets, follow_up, z, b)
    if step is None:
        raise NotEstimable(Fault("offset", "it spreads so widely that relative hazards overflow"))
    _require_full_rank(step.information, sets.mass.sum(), names)
    null, drifting = step.log_likelihood, 0
    for iteration in range(1, max_iterations + 1):
        move = _newton_move(step, reach, names)
        taken, then = _halve_until_higher(sets, follow_up, z, b, move, step)
        gain = then.log_likelihood - step.log_likelihood
        b, step = b + taken, then
        shift = np.abs(taken) * reach
        in_errors = np.abs(move) * np.sqrt(np.maximum(np.diag(step.information), 0.0) / sets.mass.mean())
        if shift.max() < _SMALL_MOVE and in_errors.max() < _SMALL_STEP:
            return Maximum(b, step, null, iteration)
        # A coefficient on its way to infinity goes on at a steady pace while the likelihood has stopped.
        drifting = drifting + 1 if gain <= tolerance * abs(step.log_likelihood) and shift.max() > 0.1 else 0
        if drifting > 1:
            require_finite_maximum(shift, names)
    raise NotEstimable(Fault(
        "Fine-Gray model", f"no convergence in {max_iterations} steps",
        next_step=f"Look at {names[int(shift.argmax())]}, which moves most, and at outlying values.",
    ))  # fmt: skip


def compute_step(sets: RiskSets, follow_up: FollowUp, z: np.ndarray, b: np.ndarray) -> Step | None:
    """Log partial likelihood, score and information at `b`, or None where relative hazards would overflow."""
    eta = z @ b + (follow_up.offset - follow_up.offset.mean())
    if np.ptp(eta) > _MAX_SPREAD:
        return None
    hazards = np.exp(eta)
    relative = follow_up.weights * hazards
    both = np.column_stack([relative, relative[:, None] * z])
    at_risk, dying = sets.sum_at_risk(both)[sets.place], sets.sum_events(both)[sets.place]
    left = at_risk - sets.fraction[:, None] * dying
    if not (left[:, 0] > 0).all():
        return None  # lost in the rounding of larger hazards
    denominator, mean = left[:, 0], left[:, 1:] / left[:, :1]
    e, w = sets.event, follow_up.weights[sets.event]
    rise = sets.mass / denominator
    rises = sets.sum_terms(np.column_stack([rise, rise * sets.fraction]))
    gathered = sets.integrate(rises[:, :1])[:, 0]
    gathered[e] -= rises[sets.last[e] - 1, 1]
    information = (z * (relative * gathered)[:, None]).T @ z - (mean * sets.mass[:, None]).T @ mean
    value = float(w @ eta[e] - sets.mass @ np.log(denominator))
    return Step(value, w @ z[e] - sets.mass @ mean, information, hazards, denominator, mean)


def _newton_move(step: Step, reach: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    try:
        return linalg.cho_solve(linalg.cho_factor(step.information), step.score)
    except linalg.LinAlgError:
        # It was of full rank at 0, so the steps have led to where the likelihood is flat: towards infinity.
        require_finite_maximum(np.abs(linalg.eigh(step.information)[1][:, 0]) * reach, names)
        raise


def _halve_until_higher(
    sets: RiskSets, follow_up: FollowUp, z: np.ndarray, b: np.ndarray, move: np.ndarray, step: Step
) -> tuple[np.ndarray, Step]:
    slack = 1e-12 * max(abs(step.log_likelihood), 1.0)
    for _ in range(_HALVINGS):
        then = compute_step(sets, follow_up, z, b + move)
        if then is not None and then.log_likelihood >= step.log_likelihood - slack:
            return move, then
        move = move / 2
    return np.zeros_like(move), step


def _require_full_rank(information: np.ndarray, events: float, names: tuple[str, ...]) -> None:
    """Refuse covariates that do not vary among people at risk together, or of which one follows from others."""
    variances = np.diag(information)
    flat = variances <= _SINGULAR * events
    if flat.any():
        raise NotEstimable([
            Fault(names[k], "it does not vary among people at risk at the same time", next_step="Leave it out.")
            for k in np.flatnonzero(flat)
        ])  # fmt: skip
    size = np.sqrt(variances)
    values, vectors = linalg.eigh(information / np.outer(size, size))
    if values[0] <= _SINGULAR * values[-1]:
        involved = np.flatnonzero(np.abs(vectors[:, 0]) > 1e-6 * np.abs(vectors[:, 0]).max())
        told = ", ".join(names[k] for k in involved)
        raise NotEstimable(
            Fault("covariates", f"one of them is made up of the others: {told}", next_step="Leave one of them out.")
        )
