"""Negative controls: the same analysis where there can be no effect, so that what it finds is bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from scipy import optimize, stats

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Scale
from evalkit.core.faults import refuse
from evalkit.core.result import Check, Estimate

ControlKind = Literal["outcome", "period", "exposure"]
_KINDS = {
    "outcome": "an outcome that the programme cannot change",
    "period": "a time before the programme",
    "exposure": "an exposure that cannot change the outcome",
}
MIN_CONTROLS = 5

Data = TypeVar("Data")


@dataclass(frozen=True)
class ErrorModel:
    """Systematic error of `controls` negative controls: normal with `mean` and `sd`, logs for ratios.

    `scale` is that of the controls; where it is given, only estimates on it can be calibrated.
    """

    mean: float
    sd: float
    controls: int
    scale: Scale | None = None


def estimate_negative_control(
    estimate: Callable[[Data], Estimate],
    control: Data,
    *,
    kind: ControlKind,
    name: str,
    main: Estimate | None = None,
) -> Estimate:
    """Run the study's own estimator on a negative control and judge what it finds.

    Parameters
    ----------
    estimate : the estimator as it is used in the study, all but its data fixed
    control : its data, with the control's outcome, period or exposure in place of the real one
    name : of the control in words, for the check's sentence
    main : the study's estimate on the same scale; a second check then says whether the control could have shown bias
        as large as the effect

    Returns
    -------
    Estimate
        As `estimate` gave it, with role "sensitivity" and the check `negative_control`, which fails where the interval
        excludes the null; with `main` also `negative_control_power`, which fails where the interval holds `main.value`:
        then the control, null or not, cannot speak for the result.

    Raises
    ------
    ParameterError
        Unknown `kind`; a `main` on another scale.
    NotEstimable
        The control, or `main`, has no number or interval.

    References
    ----------
    Lipsitch, Tchetgen Tchetgen and Cohen 2010, Epidemiology 21:383.
    """
    _refuse_kind(kind)
    found = estimate(control)
    if main is not None and main.estimand.scale != found.estimand.scale:
        got = f"{found.estimand.scale} and {main.estimand.scale}"
        refuse([Fault("main", "control and study must be on one scale", got)])
    checks = [check_negative_control(found, kind=kind, name=name)]
    if main is not None:
        _refuse_empty(main, "the study's estimate")
        checks.append(_power_check(found, main, name))
    return replace(found, role="sensitivity", checks=(*found.checks, *checks))


def check_negative_control(found: Estimate, *, kind: ControlKind, name: str) -> Check:
    """The check `negative_control` of an estimate of no effect: failed where its interval excludes the null.

    Put it on the study's own estimate too, so that a failed control is seen beside the result.
    """
    _refuse_kind(kind)
    _refuse_empty(found, name)
    null = found.estimand.null_value
    passed = bool(found.lower <= null <= found.upper)
    verdict = "none is found" if passed else "one is found, which is bias"
    return Check(
        "negative_control",
        passed,
        found.value,
        f"In {name}, {_KINDS[kind]}, there should be no effect: {verdict} "
        f"({found.value:.3g}, {found.level:.0%} interval {found.lower:.3g} to {found.upper:.3g}).",
    )


def _refuse_kind(kind: str) -> None:
    refuse([] if kind in _KINDS else [Fault("kind", "unknown", str(kind), " or ".join(_KINDS))])


def fit_systematic_error(controls: Sequence[Estimate]) -> ErrorModel:
    """Distribution of systematic error over negative controls, by maximum likelihood.

    Control i finds theta_i ~ N(mean, sd^2 + se_i^2); ratios as logs, their `se` being that of the log.

    Raises
    ------
    ParameterError
        Controls on different scales.
    NotEstimable
        Fewer than `MIN_CONTROLS`, or one without a number or an error.

    References
    ----------
    Schuemie et al. 2014, Statistics in Medicine 33:209.
    """
    if len(controls) < MIN_CONTROLS:
        got = f"{len(controls)}"
        raise NotEstimable(
            Fault("negative controls", "too few to learn the error from", got, f"{MIN_CONTROLS} or more")
        )
    for control in controls:
        _refuse_empty(control, control.estimand.outcome)
    if len({c.estimand.scale for c in controls}) > 1:
        refuse([Fault("negative controls", "they are on different scales")])
    theta = np.array([_linear(c, c.value) for c in controls])
    variance = np.array([c.se for c in controls]) ** 2
    if not (np.isfinite(variance) & (variance > 0)).all():
        raise NotEstimable(Fault("negative controls", "one has no standard error"))

    def mean_at(square: np.ndarray) -> np.ndarray:
        weights = 1 / (variance + square[:, None])
        return (weights @ theta) / weights.sum(axis=1)

    def height(square: np.ndarray) -> np.ndarray:
        total = variance + square[:, None]
        return 0.5 * (np.log(total) + (theta - mean_at(square)[:, None]) ** 2 / total).sum(axis=1)

    most = float(np.var(theta)) * 10 + float(variance.max())
    # The profile may have its top at 0 and a lower one inside: look at all of it before going into one.
    grid = np.r_[0.0, np.geomspace(most * 1e-10, most, 400)]
    best = int(np.argmin(height(grid)))
    square = np.zeros(1)
    if best:
        bounds = (grid[best - 1], grid[min(best + 1, len(grid) - 1)])
        within = optimize.minimize_scalar(
            lambda s: float(height(np.array([s]))[0]), bounds=bounds, method="bounded", options={"xatol": 1e-14}
        )
        square = np.array([within.x])
    return ErrorModel(float(mean_at(square)[0]), math.sqrt(square[0]), len(controls), controls[0].estimand.scale)


def calibrate_estimate(estimate: Estimate, error: ErrorModel) -> Estimate:
    """Shift an estimate by the mean systematic error and widen its interval by the error's spread.

    value - mean with variance se^2 + sd^2 (logs for ratios); assumes that the error of the real outcome is drawn like
    those of the controls, whatever the effect. Mean and spread of the error are taken as known: with five controls
    they hardly are. Source: Schuemie et al. 2018, PNAS 115:2571.

    Raises ParameterError where the controls were on another scale, NotEstimable where the estimate has no number or
    no error.
    """
    _refuse_empty(estimate, estimate.estimand.outcome)
    if error.scale not in (None, estimate.estimand.scale):
        refuse([Fault("error", "the controls were on another scale", str(error.scale), estimate.estimand.scale)])
    if not (math.isfinite(estimate.se) and estimate.se > 0):
        raise NotEstimable(Fault(estimate.estimand.outcome, "the estimate has no standard error to widen"))
    ratio = estimate.estimand.null_value == 1.0
    value, se = _linear(estimate, estimate.value) - error.mean, math.hypot(estimate.se, error.sd)
    half = float(stats.norm.ppf(0.5 + estimate.level / 2)) * se
    ends = [math.exp(v) if ratio else v for v in (value, value - half, value + half)]
    check = Check(
        "systematic_error",
        None,
        error.sd,
        f"{error.controls} negative controls are off by {error.mean:.3g} on average, with a spread of {error.sd:.3g}"
        f"{' (logs of ratios)' if ratio else ''}; the estimate is shifted and its interval widened by these.",
    )
    return replace(
        estimate,
        value=ends[0],
        lower=ends[1],
        upper=ends[2],
        se=se,
        p_value=float(2 * stats.norm.sf(abs(value) / se)),
        estimator=f"{estimate.estimator}_calibrated",
        role="sensitivity",
        checks=(*estimate.checks, check),
        label=f"{estimate.label or estimate.estimator}, calibrated by negative controls",
    )


def _linear(estimate: Estimate, value: float) -> float:
    return math.log(value) if estimate.estimand.null_value == 1.0 else value


def _power_check(found: Estimate, main: Estimate, name: str) -> Check:
    blind = found.lower <= main.value <= found.upper
    text = (
        f"The interval of {name} holds the study's estimate too: bias as large as the effect cannot be ruled out by it."
        if blind
        else f"The interval of {name} leaves out the study's estimate: bias as large as the effect would have shown."
    )
    return Check("negative_control_power", not blind, found.upper - found.lower, text)


def _refuse_empty(found: Estimate, name: str) -> None:
    if found.status != "shown" or not all(map(math.isfinite, (found.value, found.lower, found.upper))):
        raise NotEstimable(Fault(name, "the control has no number or no interval", next_step=found.reason))
