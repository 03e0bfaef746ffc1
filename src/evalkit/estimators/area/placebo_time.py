"""Placebos in time: adoption dated back, and effects by step with errors had from the untreated units."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check
from evalkit.estimators.area.contrasts import Design, one_start, shared_start
from evalkit.estimators.area.paths import EventStudy
from evalkit.estimators.area.randomisation import MIN_UNITS, PermutationOptions, Statistic, permutation_inference
from evalkit.estimators.area.synthetic_checks import check_weights

Noise = Literal["poisson", "size"]

MIN_COMPARATORS = 20
_CORRECTION = 0.5  # keeps the log rate finite where a unit had no event in a step


@dataclass(frozen=True)
class PlaceboTimeOptions:
    """Options of `estimate_placebo_in_time`: fewest periods before and after a placebo date; the statistic."""

    min_before: int = 2
    min_after: int = 1
    statistic: Statistic = "effect_over_fit"


@dataclass(frozen=True)
class PlaceboEventStudyOptions:
    """Options of `estimate_placebo_event_study`.

    `periods_per_step` makes steps of whole years out of quarters (4), so that seasons do not speak.
    `noise` is the part of a unit's variance that goes with its size: "poisson" for events, or "size" for
    anything (bed days, spending): one over events or denominator, times a factor had from the others.
    """

    level: float = 0.95
    periods_per_step: int = 1
    noise: Noise = "size"


def estimate_placebo_in_time(
    panel: Panel,
    design: Design,
    *,
    options: PlaceboTimeOptions = PlaceboTimeOptions(),
    rng: np.random.Generator | None = None,
) -> pd.DataFrame:
    """What the design finds when adoption is dated back into the time before it, where there is nothing to find.

    Only periods before the real adoption are used. One row a placebo date: `adoption`, `periods_before`
    and `periods_after` (in the shortened panel), `effect` (mean gap), `ratio` (NaN where nothing was
    expected), `pre_rmspe`, `p_value` (units permuted; NaN where the panel has under 10 units or the
    fit before is perfect) and `smallest_p`. Dates overlap in what they use, so rows are not independent.

    Raises NotEstimable where adoption differs between units or too few periods lie before it
    (Abadie, Diamond and Hainmueller 2015, AJPS 59:495, section on placebo studies in time).
    """
    if options.min_before < 1 or options.min_after < 1:
        raise ParameterError(Fault("options", "min_before and min_after must be 1 or more"))
    shared_start(panel.adoption, panel.periods)
    # A period in which adoption falls is not wholly before it.
    first = int(np.searchsorted(panel.ends, panel.adoption[panel.treated][0], side="right"))
    if first < options.min_before + options.min_after:
        raise NotEstimable(
            Fault(
                "periods",
                "too few lie before adoption to date it back",
                got=str(first),
                allowed=f"{options.min_before + options.min_after} or more",
            )
        )
    early = panel.between(panel.periods[0], panel.ends[first - 1])
    treated = panel.treated[None]
    rows = []
    for place in range(options.min_before, first - options.min_after + 1):
        found = design(early.values, treated=treated, donors=~treated, first=place)
        dated = replace(early, adoption=_adoption_at(panel, panel.periods[place]))
        p_value, smallest = _rank_over_units(dated, design, options, rng)
        numbers = (found.effect[0], found.ratio[0], found.pre_rmspe[0], p_value, smallest)
        rows.append((panel.periods[place], place, first - place, *numbers))
    names = ["adoption", "periods_before", "periods_after", "effect", "ratio", "pre_rmspe", "p_value", "smallest_p"]
    return pd.DataFrame(rows, columns=names)


def estimate_placebo_event_study(
    panel: Panel, estimand: Estimand, *, options: PlaceboEventStudyOptions = PlaceboEventStudyOptions()
) -> EventStudy:
    """Effects by step from adoption against the mean of untreated units, with errors had from those units.

    Step 0 is the first after adoption, step -1 the reference. With scale "rate_ratio" values are
    *log* rate ratios: log((events + 0.5) / denominator) of each step; with "mean_difference"
    differences of the mean of `panel.values`. Steps that are not whole are left out, and named in a
    check. The covariance is that of the untreated units' own changes from the reference, each
    against the rest, with the part that goes with size exchanged for the treated unit's own.
    Intervals are pointwise, from Student's t with one degree of freedom less than untreated units.
    They hold if the treated unit's changes, but for size, vary as those of the others do, and need
    no independence over time.

    Raises
    ------
    ParameterError
        Another scale, a bad level or step, or negative outcomes with "rate_ratio".
    NotEstimable
        Adoption at different times, no whole step on either side, fewer than 20 untreated units, or
        fewer than three a step: below that the covariance of all steps is not known well enough for
        bounds that use it.

    References
    ----------
    Conley and Taber 2011, REStat 93:113 (errors of few treated groups from the many untreated);
    Ferman and Pinto 2019, REStat 101:452 (differing sizes).
    """
    _refuse_event_study(panel, estimand, options)
    first = one_start(panel.adoption, panel.periods)
    offset = (np.arange(len(panel.periods)) - first) // options.periods_per_step
    found, sizes = np.unique(offset, return_counts=True)
    whole = found[sizes == options.periods_per_step]
    untreated = int((~panel.treated).sum())
    if -1 not in whole or 0 not in whole:
        raise NotEstimable(Fault("periods", "no whole step lies before adoption, or none after it"))
    steps = whole[whole != -1]
    if untreated < max(MIN_COMPARATORS, 3 * len(steps)):
        raise NotEstimable(_too_few(untreated, len(steps)))
    by_step = [offset == s for s in whole]
    log = estimand.scale == "rate_ratio"
    path = _log_rates(panel, by_step) if log else np.stack([panel.values[:, c].mean(axis=1) for c in by_step], 1)
    reference = int(np.flatnonzero(whole == -1)[0])
    change = np.delete(path - path[:, [reference]], reference, axis=1)
    value = change[panel.treated].mean(axis=0) - change[~panel.treated].mean(axis=0)
    noise = _noise_covariances(panel, by_step, reference, log=log, noise=options.noise)
    if options.noise == "size":
        noise = noise * _noise_factor(change[~panel.treated], noise[~panel.treated])
    covariance = _covariance(change, noise, panel.treated)
    se = np.sqrt(np.diag(covariance))
    half = stats.t.ppf(0.5 + options.level / 2, untreated - 1) * se
    checks = _event_checks(panel, found, whole, untreated)
    return EventStudy(
        estimand, "placebo_event_study", steps, value, se, value - half, value + half, covariance, -1, options.level,
        checks=checks,
    )  # fmt: skip


def _rank_over_units(
    panel: Panel, design: Design, options: PlaceboTimeOptions, rng: np.random.Generator | None
) -> tuple[float, float]:
    if len(panel.units) < MIN_UNITS:
        return math.nan, math.nan
    try:
        found = permutation_inference(
            panel, design, scale="mean_difference", level=0.95, options=PermutationOptions(options.statistic), rng=rng
        )
    except NotEstimable:
        return math.nan, math.nan
    return found.p_value, found.smallest_p


def _adoption_at(panel: Panel, when: object) -> np.ndarray:
    moved = panel.adoption.copy()
    moved[panel.treated] = when
    return moved


def _log_rates(panel: Panel, by_step: list[np.ndarray]) -> np.ndarray:
    """Log rate of each unit and step, shape (J, S)."""
    return np.stack(
        [
            np.log((panel.outcome[:, c].sum(axis=1) + _CORRECTION) / panel.denominator[:, c].sum(axis=1))
            for c in by_step
        ],
        axis=1,
    )


def _noise_covariances(
    panel: Panel, by_step: list[np.ndarray], reference: int, *, log: bool, noise: Noise
) -> np.ndarray:
    """Covariance of each unit's changes from the reference step that goes with its size, shape (J, K, K).

    Of log rates 1/events; of mean rates events/denominator^2 ("poisson") or 1/denominator ("size").
    """

    def variance(cells: np.ndarray) -> np.ndarray:
        if log:
            return 1 / (panel.outcome[:, cells].sum(axis=1) + _CORRECTION)
        top = panel.outcome[:, cells] if noise == "poisson" else panel.denominator[:, cells]
        return (top / panel.denominator[:, cells] ** 2).sum(axis=1) / cells.sum() ** 2

    by_unit = np.stack([variance(c) for c in by_step], axis=1)
    others = np.delete(by_unit, reference, axis=1)
    return others[:, :, None] * np.eye(others.shape[1]) + by_unit[:, [reference], None]


def _noise_factor(change: np.ndarray, noise: np.ndarray) -> float:
    """By how much `noise` must be multiplied: slope of squared deviations on it, all steps; at most what leaves none.

    Untreated units only: `change` (J0, K), `noise` (J0, K, K).
    """
    squared = (change - change.mean(axis=0)) ** 2 * len(change) / (len(change) - 1)
    size = np.diagonal(noise, axis1=1, axis2=2)
    centred = size - size.mean(axis=0)
    spread = float((centred**2).sum())
    if spread <= 1e-12 * float((size**2).sum()):
        return 0.0  # all are of one size, so what goes with it cannot be told from the rest
    slope = float((centred * squared).sum()) / spread
    return min(max(slope, 0.0), float(squared.sum() / size.sum()))


def _covariance(change: np.ndarray, noise: np.ndarray, treated: np.ndarray) -> np.ndarray:
    """Covariance of the mean change of the treated less that of the others.

    `change` (J, K), `noise` (J, K, K) the part of each unit's covariance that goes with its size. What
    varies beyond noise is had from the untreated and is not let fall below nought.
    """
    others = change[~treated]
    total = np.cov(others, rowvar=False, ddof=1).reshape(change.shape[1], change.shape[1])
    beyond = total - noise[~treated].mean(axis=0)
    values, vectors = np.linalg.eigh(beyond)
    beyond = (vectors * np.maximum(values, 0)) @ vectors.T
    own = beyond + noise[treated].mean(axis=0)
    return own / int(treated.sum()) + total / len(others)


def _refuse_event_study(panel: Panel, estimand: Estimand, options: PlaceboEventStudyOptions) -> None:
    faults = []
    if estimand.scale not in ("rate_ratio", "mean_difference"):
        faults.append(Fault("scale", "not one of this path", estimand.scale, "rate_ratio, mean_difference"))
    if (estimand.scale == "rate_ratio" or options.noise == "poisson") and (panel.outcome < 0).any():
        faults.append(
            Fault(
                "panel",
                "log rates and Poisson noise need outcomes of 0 or more",
                next_step='Ask for the scale mean_difference with noise="size".',
            )
        )
    if options.noise not in get_args(Noise):
        faults.append(Fault("options.noise", "there is no such choice", str(options.noise), ", ".join(get_args(Noise))))
    step = options.periods_per_step
    if not isinstance(step, (int, np.integer)) or step < 1:
        faults.append(Fault("options.periods_per_step", "no number of periods", str(step), "a whole number from 1"))
    if not 0 < options.level < 1:
        faults.append(Fault("options.level", "it is no probability", str(options.level), "between 0 and 1"))
    if faults:
        raise ParameterError(faults)


def _too_few(untreated: int, steps: int) -> Fault:
    return Fault(
        "areas",
        "too few untreated ones to tell how effects at all steps vary together",
        got=f"{untreated} for {steps} steps",
        allowed=f"{MIN_COMPARATORS} or more, and three or more a step",
        next_step="Add areas to compare with, or make steps longer.",
    )


def _event_checks(panel: Panel, found: np.ndarray, whole: np.ndarray, untreated: int) -> tuple[Check, ...]:
    left_out = sorted(set(found.tolist()) - set(whole.tolist()))
    names = ", ".join(str(s) for s in left_out) or "none"
    return (
        Check("comparison_areas", True, untreated, "Untreated areas whose own paths give the errors."),
        Check("treated_areas", None, int(panel.treated.sum()), "Treated areas."),
        Check(
            "whole_steps",
            not left_out,
            len(left_out),
            f"Steps left out because they are not whole: {names}.",
        ),
        *check_weights(panel),
    )
