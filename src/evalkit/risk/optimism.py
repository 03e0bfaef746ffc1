"""How much better a model looks on the discharges it was developed on than it is: Harrell's bootstrap optimism.

Each bootstrap model is measured on its own draw and on everybody; the mean difference is the optimism, which is taken
off the apparent value (Harrell, Lee and Mark 1996, Stat Med 15:361; Efron and Gong 1983, Am Stat 37:36).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, level_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.risk.arrays import refuse_few, risk_faults
from evalkit.risk.measures import MEASURES, compute_measures
from evalkit.risk.refit import RefittedModels

# Fitting holds these near one value in every draw, whatever the model is worth: their spread says nothing.
HELD_BY_FITTING = frozenset(
    {"observed_expected", "calibration_intercept", "calibration_slope", "ici", "e50", "e90", "emax"}
)
HELD_REASON = (
    "Fitting holds the apparent value still in every draw, so that its spread gives no interval; see the interval on "
    "later discharges, or that of the two-stage bootstrap."
)
OptimismInterval = Literal["centred", "location_shift"]
_ENOUGH = 0.95  # share of draws in which a measure must be defined
_FEWEST_DRAWS = 20


@dataclass(frozen=True, eq=False)
class Optimism:
    """Of each of `names` (K): `apparent`, `optimism`, `corrected` = apparent - optimism, and its interval, all (K,).

    Undefined is NaN, with the reason in `reasons` (K; "" where value and interval stand). `drawn` (B, K) are the
    bootstrap models on their own draws, `tested` (B, K) on everybody.
    """

    names: tuple[str, ...]
    apparent: np.ndarray
    optimism: np.ndarray
    corrected: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    reasons: tuple[str, ...]
    level: float
    drawn: np.ndarray
    tested: np.ndarray
    checks: tuple[Check, ...]

    def value(self, name: str) -> float:
        """The corrected value of one measure."""
        return float(self.corrected[self.names.index(name)])


def estimate_optimism(
    models: RefittedModels,
    outcome: np.ndarray,
    *,
    level: float = 0.95,
    names: Sequence[str] = MEASURES,
    interval: OptimismInterval = "centred",
) -> Optimism:
    """Apparent and optimism-corrected measures of a model, from its refits to bootstrap draws of people.

    `models` predict for the development discharges, of `outcome` (n,) 0 or 1; their `counts` (B, n) are the draws
    (`risk.resample.draw_person_counts`). On its draw a model is measured with the counts as weights, which is the
    same as on the repeated rows, but that the knots of the smooth curve are placed by everybody's risks.

    The interval holds the quantiles of the measure of the bootstrap models on their own draws. "location_shift" takes
    the optimism off them (Noma et al. 2021, Stat Med 40:5691, the location-shifted bootstrap). Those models look yet
    better on their draws than the model does on the data, by about as much again, so that it lies too high in small
    samples; "centred" moves the quantiles so that the mean of the draws falls on the corrected value. Both leave out
    that the optimism is itself uncertain, and are too short with a few events a predictor. For measures that fitting
    holds still (`HELD_BY_FITTING`) they would have next to no width and are refused; `estimate_two_stage` gives one. A
    measure undefined in more than 5% of the draws is refused.

    Fails with `ParameterError` for malformed arguments or rows other than the development discharges, and with
    `NotEstimable` below 10 discharges with the outcome, or without it, or 20 draws.
    """
    refuse(choice_faults("estimate_optimism interval", interval, ("centred", "location_shift")))
    outcome = _check(models, outcome, level, names)
    apparent = _as_row(compute_measures(models.original, outcome, names=names), names)
    drawn, tested = measure_draws(models, outcome, np.ones(len(outcome)), names)
    optimism, reasons = _average(drawn - tested, apparent)
    corrected, tail = apparent - optimism, 100 * (1 - level) / 2
    ends = np.full((2, len(names)), np.nan)
    for k, name in enumerate(names):
        if not reasons[k] and name in HELD_BY_FITTING:
            reasons[k] = HELD_REASON
        elif not reasons[k]:
            center = apparent[k] if interval == "location_shift" else np.nanmean(drawn[:, k])
            ends[:, k] = corrected[k] + np.nanpercentile(drawn[:, k], [tail, 100 - tail]) - center
    checks = _checks(models, drawn - tested)
    return Optimism(
        tuple(names), apparent, optimism, corrected, ends[0], ends[1], tuple(reasons), level, drawn, tested, checks
    )


@dataclass(frozen=True, eq=False)
class TwoStageInterval:
    """Interval (K,) of each of `names` from the optimism-corrected values (R, K) of outer draws."""

    names: tuple[str, ...]
    lower: np.ndarray
    upper: np.ndarray
    corrected: np.ndarray
    level: float


def estimate_two_stage(
    refit: Callable[[np.ndarray, np.ndarray], RefittedModels],
    outcome: np.ndarray,
    *,
    outer: np.ndarray,
    inner: Callable[[np.ndarray], np.ndarray],
    level: float = 0.95,
    names: Sequence[str] = MEASURES,
) -> TwoStageInterval:
    """The two-stage bootstrap of Noma et al. 2021: the optimism is corrected anew in each of R outer draws.

    `outer` (R, n) are draws of people; `inner(row)` gives draws (B, n) out of one of them (`draw_inner_counts`);
    `refit(row, inner)` develops the model on the outer draw, its `original`, and on the inner ones, as
    `refit_ridge(..., base=row, counts=inner)` does. The interval lies between quantiles of the corrected values. It
    holds what the interval of `estimate_optimism` leaves out, for R x B fits. With a measure undefined in more than 5%
    of the outer draws it is NaN. Fails as `estimate_optimism`.
    """
    names, corrected = tuple(names), np.full((len(outer), len(names)), np.nan)
    for row, found in zip(outer, corrected, strict=True):
        models = refit(row, inner(row))
        checked = _check(models, outcome, level, names)
        apparent = _as_row(compute_measures(models.original, checked, counts=row[None, :], names=names), names)
        drawn, tested = measure_draws(models, checked, row, names)
        found[:] = apparent - _average(drawn - tested, apparent)[0]
    enough = np.isfinite(corrected).mean(axis=0) >= _ENOUGH
    tail = 100 * (1 - level) / 2
    ends = np.full((2, len(names)), np.nan)
    if enough.any():
        ends[:, enough] = np.nanpercentile(corrected[:, enough], [tail, 100 - tail], axis=0)
    return TwoStageInterval(names, ends[0], ends[1], corrected, level)


def draw_inner_counts(
    counts: np.ndarray, person: np.ndarray, *, replicates: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws of people out of one draw, `counts` (n,) of `draw_person_counts`, as counts (replicates, n) uint16.

    Whoever was drawn twice counts as two people. Fails with `ParameterError` for shapes that do not fit, a person
    whose discharges differ in their count, or without a generator.
    """
    faults = [*whole_faults("draw_inner_counts replicates", replicates, least=1), *rng_faults(rng)]
    codes, names = pd.factorize(np.asarray(person))
    times = np.zeros(len(names), dtype=np.int64)
    if np.shape(counts) == codes.shape:
        times[codes] = counts
    if np.shape(counts) != codes.shape or not np.array_equal(times[codes], counts) or not times.any():
        faults.append(Fault("draw_inner_counts counts", "are no draw of these people"))
    refuse(faults)
    return rng.multinomial(times.sum(), times / times.sum(), size=replicates).astype(np.uint16)[:, codes]


def measure_draws(
    models: RefittedModels, outcome: np.ndarray, everybody: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Measures of each refitted model on its own draw, and on `everybody` (n,) as weights; both (B, K)."""
    found = np.full((2, len(models), len(names)), np.nan)
    weights = np.empty((2, len(outcome)), dtype=np.result_type(models.counts, np.uint16))
    weights[1] = everybody
    for block in models.blocks():
        for b, risk in zip(range(block.start, block.stop), models.predict(block, slice(None)), strict=True):
            if models.reasons[b]:
                continue
            weights[0] = models.counts[b]
            found[:, b] = np.stack(list(compute_measures(risk, outcome, counts=weights, names=names).values()), axis=1)
    return found[0], found[1]


# ---- parts ---------------------------------------------------------------------------------------


def _check(models: RefittedModels, outcome: np.ndarray, level: float, names: Sequence[str]) -> np.ndarray:
    faults = [*risk_faults(models.original, outcome), *level_faults(level)]
    for name in names:
        faults += choice_faults("estimate_optimism names", name, MEASURES)
    if models.counts.shape[1] != models.n_rows:
        got = f"{models.counts.shape[1]} developed on, {models.n_rows} predicted"
        faults.append(Fault("estimate_optimism models", "must predict for the discharges they were developed on", got))
    refuse(faults)
    if len(models) < _FEWEST_DRAWS:
        raise NotEstimable(Fault("bootstrap optimism", "too few draws", str(len(models)), f"{_FEWEST_DRAWS} or more"))
    outcome = np.asarray(outcome, dtype=np.float64)
    refuse_few(outcome)
    return outcome


def _as_row(found: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.array([found[name][0] for name in names])


def _average(differences: np.ndarray, apparent: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Mean over the draws in which it is defined, NaN with a reason where those are too few, or apparent is NaN."""
    defined = np.isfinite(differences)
    optimism, reasons = np.full(differences.shape[1], math.nan), []
    for k in range(differences.shape[1]):
        if math.isnan(apparent[k]):
            reasons.append("The measure is undefined for these risks.")
        elif defined[:, k].mean() < _ENOUGH:
            reasons.append("The measure is undefined in more than 5% of the bootstrap draws.")
        else:
            optimism[k] = differences[defined[:, k], k].mean()
            reasons.append("")
    return optimism, reasons


def _checks(models: RefittedModels, differences: np.ndarray) -> tuple[Check, ...]:
    unfitted = sum(bool(reason) for reason in models.reasons)
    undefined = int((~np.isfinite(differences)).any(axis=1).sum())
    kinds = "; ".join(sorted({reason for reason in models.reasons if reason}))
    return (
        Check(
            "bootstrap_models_fitted", passed=unfitted == 0, value=float(unfitted),
            text=f"{unfitted} of {len(models)} bootstrap models could not be fitted{': ' + kinds if kinds else ''}.",
        ),
        Check(
            "bootstrap_measures_defined", passed=undefined == 0, value=float(undefined),
            text=f"In {undefined} of {len(models)} draws a measure was undefined; its mean leaves them out.",
        ),
    )  # fmt: skip
