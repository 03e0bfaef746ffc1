"""Entropy balancing: the weights nearest to equal ones that make the sides' means the same, exactly.

Source: Hainmueller 2012, Political Analysis 20:25 (dual: eq. 8; Newton with a line search: section 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Contrast
from evalkit.estimators.people.logistic import find_redundant

_TINY = 1e-14


@dataclass(frozen=True)
class EntropyOptions:
    """`moments` 1 balances means, 2 squares too; `tolerance` in standard deviations of the covariate."""

    moments: Literal[1, 2] = 1
    tolerance: float = 1e-10
    max_iterations: int = 200


def fit_entropy_weights(
    comparison: Comparison, *, contrast: Contrast = "ATT", options: EntropyOptions = EntropyOptions()
) -> np.ndarray:
    """Weights, shape (n,), whose mean on each side is 1 when they are multiplied by the sampling weights.

    For the ATT the comparison side is given the treated's means, for the ATC the other way round; for the ATE both
    sides are given those of all. Sampling weights are the base weights of the divergence and are not in the result.

    Raises
    ------
    ParameterError
        A contrast without a fixed target (ATO), or options out of range.
    NotEstimable
        No positive weights exist that balance: the target lies outside, or on the edge of, what a side covers. The
        covariates along which it does are named.
    """
    if contrast not in ("ATT", "ATC", "ATE"):
        raise ParameterError(
            Fault("estimand", "entropy balancing needs a population whose means are known", contrast, "ATT, ATC or ATE")
        )
    if options.moments not in (1, 2) or not 0 < options.tolerance < 1 or options.max_iterations < 1:
        got = f"moments {options.moments}, tolerance {options.tolerance}, max_iterations {options.max_iterations}"
        raise ParameterError(Fault("EntropyOptions", "out of range", got, "moments 1 or 2, tolerance in (0, 1)"))
    x, names = _moments(comparison, options.moments)
    s, treated = comparison.sampling, comparison.treated
    target = {"ATT": treated, "ATC": ~treated, "ATE": np.ones(len(s), dtype=bool)}[contrast]
    goal = np.average(x[target], axis=0, weights=s[target])
    weights = np.ones(len(s))
    for side in (treated, ~treated):
        if not np.array_equal(side, target):
            weights[side] = _solve_dual(x[side] - goal, s[side], names, options)
    return weights


def _moments(comparison: Comparison, order: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Standardised moments (n, k) that are not combinations of each other, and what they are called."""
    x, names = comparison.covariates, comparison.names
    spread = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if order == 2:
        z = np.concatenate([z, z * z], axis=1)
        names = (*names, *(f"{name} squared" for name in names))
    kept = ~find_redundant(np.column_stack([np.ones(len(z)), z]))[1:]
    return z[:, kept], tuple(name for name, keep in zip(names, kept, strict=True) if keep)


def _solve_dual(gaps: np.ndarray, base: np.ndarray, names: tuple[str, ...], options: EntropyOptions) -> np.ndarray:
    """Weights (m,) with sum(base w gaps) = 0 and weighted mean 1, for gaps (m, k) from the target."""
    share = base / base.sum()
    dual, step = np.zeros(gaps.shape[1]), np.zeros(gaps.shape[1])
    value, w = _dual(gaps, share, dual)
    for _ in range(options.max_iterations):
        imbalance = w @ gaps
        if np.abs(imbalance).max(initial=0.0) <= options.tolerance:
            return w / share
        curvature = (gaps * w[:, None]).T @ gaps - np.outer(imbalance, imbalance)
        step = np.linalg.lstsq(curvature, -imbalance, rcond=_TINY)[0]
        # Far steps, as where no weights exist, are cut: they would leave all weight with one person.
        length = min(1.0, 20.0 / max(np.abs(gaps @ step).max(), _TINY))
        slope = imbalance @ step
        for _ in range(40):
            tried, tried_w = _dual(gaps, share, dual + length * step)
            if tried <= value + 1e-4 * length * slope + _TINY * max(1.0, abs(value)):
                break
            length *= 0.5
        dual, value, w = dual + length * step, tried, tried_w
    raise _no_weights(gaps, np.abs(w @ gaps), np.abs(dual), names)


def _dual(gaps: np.ndarray, share: np.ndarray, dual: np.ndarray) -> tuple[float, np.ndarray]:
    """log sum(share exp(gaps dual)), which is convex, and the weights (m,), of sum 1, that it stands for."""
    power = gaps @ dual
    top = power.max()
    mass = share * np.exp(power - top)
    total = mass.sum()
    return float(np.log(total) + top), mass / total


def _no_weights(gaps: np.ndarray, imbalance: np.ndarray, dual: np.ndarray, names: tuple[str, ...]) -> NotEstimable:
    """The refusal, naming covariates that by themselves are out of reach, or else those that could not be evened."""
    near = 1e-9
    guilty = ((gaps >= -near).all(axis=0) | (gaps <= near).all(axis=0)) & (np.abs(gaps) > near).any(axis=0)
    if not guilty.any():
        guilty = np.maximum(imbalance / max(imbalance.max(), _TINY), dual / max(dual.max(), _TINY)) > 0.1
    named = ", ".join(name for name, yes in zip(names, guilty, strict=True) if yes)
    return NotEstimable(
        Fault(
            named,
            "no positive weights make the two sides alike: one side has nobody, or hardly anybody, like the other",
            next_step="Leave out people for whom there is no choice, join rare categories, or balance fewer covariates",
        )
    )
