"""Penalised logistic regression of readmission: the penalty that predicts best, by cross-validation of people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, is_finite, refuse
from evalkit.core.result import Check
from evalkit.risk.folds import count_training, draw_folds
from evalkit.risk.ridge import RidgeDraws, RidgeOptions, fit_ridge, fit_ridge_draws, predict_ridge

__all__ = [
    "PENALTIES", "PenaltyChoice", "PenaltyOptions", "RidgeDraws", "RidgeOptions", "choose_penalty", "fit_ridge",
    "fit_ridge_draws", "predict_ridge",
]  # fmt: skip

PenaltyRule = Literal["least", "one_standard_error"]
# Two a decade, from next to none to slopes that are all but gone.
PENALTIES: tuple[float, ...] = tuple(float(penalty) for penalty in 10 ** np.linspace(-2, 5, 15))


@dataclass(frozen=True)
class PenaltyOptions:
    """`rule` "least" takes the least deviance; "one_standard_error" the greatest penalty within one error of it.

    The second shrinks more than predicts best, and its risks tend to be too close to the mean.
    """

    penalties: tuple[float, ...] = PENALTIES
    folds: int = 10
    repeats: int = 3
    rule: PenaltyRule = "least"


@dataclass(frozen=True, eq=False)
class PenaltyChoice:
    """The `penalty` chosen, and of each of `penalties`, ascending, the mean held-out `deviance` and its error `se`."""

    penalty: float
    penalties: np.ndarray
    deviance: np.ndarray
    se: np.ndarray
    rule: PenaltyRule
    checks: tuple[Check, ...]


def choose_penalty(
    x: np.ndarray,
    y: np.ndarray,
    *,
    person: np.ndarray,
    rng: np.random.Generator,
    options: PenaltyOptions = PenaltyOptions(),
) -> PenaltyChoice:
    """The ridge penalty with the least deviance in repeated cross-validation by person.

    x (n, p) are predictors without intercept, y (n,) 0 or 1, `person` (n,) identifiers. Deviance is -2 log-likelihood
    a held-out discharge, averaged over folds and repeats; its error is the standard deviation between the folds of a
    repeat over the root of their number, averaged (as squares) over repeats (Hastie, Tibshirani and Friedman 2009,
    section 7.10). The check `penalty_inside_grid` says whether the choice lies at an end of those tried.

    Fails as `draw_folds` and `fit_ridge_draws` do, and with `NotEstimable` where no penalty gives a fit in all folds.
    """
    _check_options(options)
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    held = draw_folds(person, y, folds=options.folds, repeats=options.repeats, rng=rng)
    counts = count_training(held)
    penalties = np.sort(np.array(options.penalties, dtype=np.float64))
    found = np.stack([
        _held_out_deviance(x, y, held, fit_ridge(x, y, penalty=penalty, counts=counts)) for penalty in penalties
    ])  # fmt: skip
    deviance = found.mean(axis=(1, 2))
    se = np.sqrt(found.var(axis=2, ddof=1).mean(axis=1) / options.folds)
    if np.isnan(deviance).all():
        raise NotEstimable(Fault("choose_penalty", "no penalty gives a fit in all folds"))
    least = int(np.nanargmin(deviance))
    chosen = least
    if options.rule == "one_standard_error":
        chosen = int(np.flatnonzero(deviance <= deviance[least] + se[least])[-1])
    inside = 0 < chosen < len(penalties) - 1 or len(penalties) == 1
    words = "lies between" if inside else "is one of"
    text = f"The penalty chosen, {penalties[chosen]:g}, {words} the ends of those tried."
    check = Check("penalty_inside_grid", passed=inside, value=float(penalties[chosen]), text=text)
    return PenaltyChoice(float(penalties[chosen]), penalties, deviance, se, options.rule, (check,))


def _check_options(options: PenaltyOptions) -> None:
    faults = choice_faults("choose_penalty rule", options.rule, ("least", "one_standard_error"))
    given = options.penalties
    if not given or not all(is_finite(one) and one >= 0 for one in given) or len(set(given)) < len(given):
        faults.append(Fault("choose_penalty penalties", "must be 0 or more, each once", allowed="at least one number"))
    refuse(faults)


def _held_out_deviance(x: np.ndarray, y: np.ndarray, held: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Mean deviance of each fold's discharges under the fit to the others, (repeats, folds)."""
    fits = coefficients.reshape(len(held), -1, coefficients.shape[1])
    deviance = np.empty(fits.shape[:2])
    for (repeat, fold), _ in np.ndenumerate(deviance):
        rows, fit = held[repeat] == fold, fits[repeat, fold]
        linear = fit[0] + x[rows] @ fit[1:]
        deviance[repeat, fold] = 2 * (np.logaddexp(0.0, linear) - y[rows] * linear).mean()
    return deviance
