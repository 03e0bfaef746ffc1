"""How far an effect by time from adoption holds when parallel trends fails by a stated amount.

Rambachan and Roth (2023), Review of Economic Studies 90:2555. Two restrictions on the violation:

- "relative_magnitude": no step of it after adoption is more than m times its largest step before (Delta^RM; the
  conditional least-favourable set "C-LF", see `honest_rm`);
- "smoothness": its slope changes by at most m from one period to the next (Delta^SD; the fixed-length confidence
  interval, see `honest_sd`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import special

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check
from evalkit.estimators.area.honest_rm import (
    build_relative_magnitude_test,
    compute_relative_magnitude_set,
    derive_first_differences,
)
from evalkit.estimators.area.honest_sd import build_frontier, compute_fixed_length_interval
from evalkit.estimators.area.paths import EventStudy

Restriction = Literal["smoothness", "relative_magnitude"]
Bounds = Callable[[float], tuple[float, float]]

_MULTIPLES = (0.0, 0.5, 1.0, 1.5, 2.0)
_DOUBLINGS = 60


@dataclass(frozen=True)
class HonestOptions:
    """Choices of a sensitivity curve.

    Attributes
    ----------
    restriction : which violations are allowed
    m : how large they may be, at least 0. None gives 0, 0.5, 1, 1.5, 2 for relative magnitudes, and for smoothness
        eleven values from 0 to the largest change of slope that the periods before adoption do not rule out
    target : "average" of the periods after adoption, the "first" of them, or a weight for each
    level : confidence level
    grid_points : values tested on each polyhedron before the ends are refined (relative magnitudes)
    tolerance : of the breakdown value, relative
    """

    restriction: Restriction = "relative_magnitude"
    m: tuple[float, ...] | None = None
    target: Literal["average", "first"] | tuple[float, ...] = "average"
    level: float = 0.95
    grid_points: int = 1000
    tolerance: float = 1e-4


@dataclass(frozen=True)
class SensitivityCurve:
    """Confidence sets of one effect as more violation of parallel trends is allowed.

    Attributes
    ----------
    restriction : "smoothness" or "relative_magnitude"
    m : float array, shape (L,)
        Allowed violation: a multiple of the largest step before adoption, or a change of slope per period in units of
        the effect.
    lower, upper : float arrays, shape (L,)
        Ends of the set at `level`. Both kinds of set are bounded, so that no grid cuts an end off.
    value : float
        The estimate of the effect under parallel trends.
    original : (float, float)
        Its ordinary interval at `level`, which has no room for any violation.
    breakdown : float
        Largest violation up to which every set leaves out nought; NaN where the set at m = 0 holds it already.
    weights : float array, shape (n_after,)
        l: the effect is the sum of the weights times the effects after adoption.
    """

    restriction: Restriction
    m: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    value: float
    original: tuple[float, float]
    breakdown: float
    weights: np.ndarray
    level: float
    checks: tuple[Check, ...] = ()
    estimand: Estimand | None = None
    estimator: str = ""


def compute_sensitivity_curve(event_study: EventStudy, *, options: HonestOptions = HonestOptions()) -> SensitivityCurve:
    """Confidence sets of an event study's effect under violations of parallel trends.

    The steps must run without a gap through the reference period, which must be the last before adoption (-1).
    Effects must be nought where there is none: differences, or logarithms of ratios.

    Raises
    ------
    NotEstimable : the reference is not -1, steps are missing or repeated, there is no period before or after adoption,
        an effect or its covariance is unknown (a refused standard error), or the covariance is not positive definite.
    ParameterError : an option is out of range.
    """
    steps = np.asarray(event_study.steps)
    where = f'event study "{event_study.estimator}"'
    faults = []
    if event_study.reference != -1:
        faults.append(
            Fault(
                where,
                "the reference is not the last period before adoption",
                f"reference {event_study.reference}",
                "-1",
                "Estimate it with step -1 as the one reference of every step (a universal base, no anticipation)",
            )
        )
    path = np.sort(np.append(steps, event_study.reference))
    if not np.array_equal(np.sort(steps), steps) or np.any(np.diff(path) != 1):
        faults.append(
            Fault(
                where,
                "the steps are not consecutive, so first differences of the violation are not known",
                ", ".join(str(step) for step in steps),
                "every step from the first to the last, in order, once, without the reference",
                "Keep a range of steps at which the effect is estimated",
            )
        )
    if faults:
        raise NotEstimable(faults)
    n_before = int((steps < 0).sum())
    curve = compute_honest_bounds(event_study.value, event_study.covariance, n_before=n_before, options=options)
    return replace(
        curve,
        estimand=event_study.estimand,
        estimator=event_study.estimator,
        checks=curve.checks + tuple(check for check in event_study.checks if check.passed is False),
    )


def compute_honest_bounds(
    value: np.ndarray, covariance: np.ndarray, *, n_before: int, options: HonestOptions = HonestOptions()
) -> SensitivityCurve:
    """`compute_sensitivity_curve` from arrays: effects by consecutive period, without the reference.

    Parameters
    ----------
    value : float array, shape (K,)
        The effects at steps -n_before - 1, ..., -2, then 0, 1, ...; nought at step -1.
    covariance : float array, shape (K, K)
    n_before : int
        How many of the K lie before adoption.

    Raises
    ------
    NotEstimable, ParameterError : as `compute_sensitivity_curve`.
    """
    value, covariance = np.asarray(value, dtype=float), np.asarray(covariance, dtype=float)
    _check_options(options, n_after=len(value) - n_before)
    _check_arrays(value, covariance, n_before)
    weights = _weights(options.target, len(value) - n_before)
    estimate = float(weights @ value[n_before:])
    se = math.sqrt(weights @ covariance[n_before:, n_before:] @ weights)
    half = float(special.ndtri((1 + options.level) / 2)) * se

    if options.restriction == "smoothness":
        frontier = build_frontier(covariance, n_before=n_before, weights=weights)
        largest, natural = _largest_bend(value, covariance, n_before, options.level)
        m = np.linspace(0.0, natural, 11) if options.m is None else np.array(options.m, dtype=float)

        def bounds(bound: float) -> tuple[float, float]:
            return compute_fixed_length_interval(frontier, value, bound=bound, level=options.level)
    else:
        largest = float(np.abs(derive_first_differences(n_before, 0) @ value[:n_before]).max())
        natural = 1.0
        m = np.array(_MULTIPLES if options.m is None else options.m, dtype=float)

        def bounds(bound: float) -> tuple[float, float]:
            test = build_relative_magnitude_test(
                covariance, n_before=n_before, weights=weights, mbar=bound, level=options.level
            )
            return compute_relative_magnitude_set(test, value, grid_points=options.grid_points)

    sets = {bound: bounds(bound) for bound in sorted({0.0, *m.tolist()})}
    breakdown = _breakdown(bounds, sets, start=natural, tolerance=options.tolerance)
    ends = np.array([sets[bound] for bound in m.tolist()])
    return SensitivityCurve(
        restriction=options.restriction,
        m=m,
        lower=ends[:, 0],
        upper=ends[:, 1],
        value=estimate,
        original=(estimate - half, estimate + half),
        breakdown=breakdown,
        weights=weights,
        level=options.level,
        checks=_checks(options, n_before=n_before, breakdown=breakdown, largest=largest),
    )


def _check_options(options: HonestOptions, *, n_after: int) -> None:
    faults = []
    if options.restriction not in ("smoothness", "relative_magnitude"):
        faults.append(
            Fault("restriction", "it is not known", repr(options.restriction), "smoothness or relative_magnitude")
        )
    if options.m is not None and not isinstance(options.m, (tuple, list, np.ndarray)):
        faults.append(
            Fault("m", "it is not a tuple of bounds", repr(options.m), "a tuple of numbers", "Write m=(1.0,) for one")
        )
    elif options.m is not None:
        wrong = [m for m in options.m if not (math.isfinite(m) and m >= 0)]
        if wrong or len(options.m) == 0:
            got = ", ".join(str(m) for m in wrong) or "none"
            faults.append(Fault("m", "a bound on the violation is a finite number of at least 0", got, "0 or more"))
    if not 0.5 < options.level < 1:
        faults.append(Fault("level", "it is not a confidence level", str(options.level), "above 0.5 and below 1"))
    if options.grid_points < 50:
        faults.append(
            Fault("grid_points", "too few to find the ends of a set", str(options.grid_points), "at least 50")
        )
    if not 0 < options.tolerance < 1:
        faults.append(Fault("tolerance", "it is not a relative tolerance", str(options.tolerance), "between 0 and 1"))
    if isinstance(options.target, str):
        if options.target not in ("average", "first"):
            faults.append(Fault("target", "it is not known", options.target, "average, first or a weight per period"))
    elif n_after > 0 and len(options.target) != n_after:
        faults.append(Fault("target", "one weight per period after adoption", f"{len(options.target)}", f"{n_after}"))
    elif not (np.isfinite(options.target).all() and np.any(options.target)):
        faults.append(Fault("target", "the weights are not finite or are all 0", str(options.target)))
    if faults:
        raise ParameterError(faults)


def _check_arrays(value: np.ndarray, covariance: np.ndarray, n_before: int) -> None:
    if value.ndim != 1 or covariance.shape != (len(value), len(value)) or not 0 <= n_before <= len(value):
        raise ParameterError(
            Fault(
                "honest bounds",
                "the shapes do not go together",
                f"value {value.shape}, covariance {covariance.shape}, n_before {n_before}",
                "(K,), (K, K) and 0 to K",
            )
        )
    where, faults = "honest bounds", []
    if n_before == 0:
        what = "no effect before adoption is estimated besides the reference, so nothing shows how trends differ"
        faults.append(Fault(where, what, "0 such periods", "at least 1", "Add periods before the reference"))
    if n_before == len(value):
        faults.append(Fault(where, "there is no period after adoption", "0 such periods", "at least 1"))
    if not np.isfinite(value).all():
        what = "effects are unknown at some steps"
        faults.append(Fault(where, what, f"{int((~np.isfinite(value)).sum())} of {len(value)}", "finite effects"))
    if not np.isfinite(covariance).all():
        what = "the covariance of the effects is unknown: standard errors were refused or could not be had"
        got = f"{int((~np.isfinite(np.diag(covariance))).sum())} of {len(value)} effects without one"
        step = "Keep the steps that have one, use a design with a credible covariance, or placebo evidence instead"
        faults.append(Fault(where, what, got, "finite covariances", step))
    elif len(value):
        faults += _covariance_faults(covariance)
    if faults:
        raise NotEstimable(faults)


def _covariance_faults(covariance: np.ndarray) -> list[Fault]:
    where, scale = "honest bounds", np.sqrt(np.clip(np.diag(covariance), 0, None))
    if not (scale > 0).all():
        return [Fault(where, "a variance is not above 0", str(float(np.diag(covariance).min())), "above 0")]
    correlation = covariance / np.outer(scale, scale)
    if np.abs(correlation - correlation.T).max() > 1e-6:
        return [Fault(where, "the covariance is not symmetric", "", "a symmetric matrix")]
    least = float(np.linalg.eigvalsh((correlation + correlation.T) / 2)[0])
    if least < 1e-10:
        return [
            Fault(
                where,
                "the covariance is not positive definite; that of fewer clusters than effects never is",
                f"least eigenvalue {least:.1e} of the correlations",
                "above 1e-10",
                "Estimate fewer steps, or use more clusters",
            )
        ]
    return []


def _weights(target: str | tuple[float, ...], n_after: int) -> np.ndarray:
    if target == "average":
        return np.full(n_after, 1 / n_after)
    if target == "first":
        return np.eye(n_after)[0]
    return np.array(target, dtype=float)


def _largest_bend(value: np.ndarray, covariance: np.ndarray, n_before: int, level: float) -> tuple[float, float]:
    """Largest change of slope before adoption, and the largest that a one-sided interval of each does not rule out."""
    if n_before == 1:
        return math.nan, math.sqrt(covariance[0, 0])
    bends = np.diff(derive_first_differences(n_before, 0), axis=0)
    seen = np.abs(bends @ value[:n_before])
    errors = np.sqrt(np.einsum("bk,kj,bj->b", bends, covariance[:n_before, :n_before], bends))
    return float(seen.max()), float((seen + special.ndtri(level) * errors).max())


def _breakdown(bounds: Bounds, sets: dict[float, tuple[float, float]], *, start: float, tolerance: float) -> float:
    """Where the set first holds nought: the first of the values tried at which it does, then bisection."""

    def holds(ends: tuple[float, float]) -> bool:
        return ends[0] <= 0 <= ends[1]

    if holds(sets[0.0]):
        return math.nan
    tried = sorted(sets)
    place = next((i for i, bound in enumerate(tried) if holds(sets[bound])), None)
    if place is not None:
        out, within = tried[place - 1], tried[place]
    else:
        out, within = tried[-1], max(2 * tried[-1], start)
        for _ in range(_DOUBLINGS):
            if holds(bounds(within)):
                break
            out, within = within, 2 * within
        else:
            return math.inf
    while within - out > tolerance * within:
        middle = (out + within) / 2
        if holds(bounds(middle)):
            within = middle
        else:
            out = middle
    return out


def _checks(options: HonestOptions, *, n_before: int, breakdown: float, largest: float) -> tuple[Check, ...]:
    step = "step" if options.restriction == "relative_magnitude" else "change of slope"
    if n_before > 1:
        seen = f"{n_before + 1} periods before adoption; the largest {step} among them was {largest:.3g}."
    elif options.restriction == "relative_magnitude":
        seen = "Two periods before adoption: the largest step before it is one difference, a poor measure of trends."
    else:
        seen = "Two periods before adoption show no change of slope, so nothing says which m is large."
    if math.isnan(breakdown):
        text = "The set holds nought with no violation at all, so there is no breakdown value."
    elif math.isinf(breakdown):
        text = "No violation that was tried made the set hold nought."
    elif options.restriction == "relative_magnitude":
        text = f"The effect stands until a step after adoption is {breakdown:.2f} times the largest before it."
    else:
        text = f"The effect stands until the slope of the violation changes by {breakdown:.3g} a period."
    return (
        Check("periods_before", n_before > 1, float(n_before), seen),
        Check("breakdown", None, breakdown, text),
    )
