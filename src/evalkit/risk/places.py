"""Internal-external validation: develop on all places but one, validate on that one, in turn; then pool.

Source: Steyerberg and Harrell 2016, J Clin Epidemiol 69:245; Debray et al. 2013, Stat Med 32:3158; scales of pooling
as Debray et al. 2017, BMJ 356:i6460.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from evalkit.core.errors import Fault
from evalkit.core.faults import level_faults, refuse
from evalkit.core.result import Check
from evalkit.risk.arrays import risk_faults
from evalkit.risk.folds import few_faults
from evalkit.risk.pooling import PooledValue, PoolingInterval, pool_places
from evalkit.risk.refit import RefittedModels
from evalkit.risk.validate import compute_auroc, fit_logistic

PLACE_MEASURES = ("auroc", "observed_expected", "calibration_intercept", "calibration_slope")
UNDEFINED = "The measure, or its error, is undefined here."


class LeftOut(NamedTuple):
    """Names of the G places, sorted, and weights (G, n): 0 for the discharges of the place left out, else 1."""

    places: tuple[str, ...]
    counts: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class PlaceValidation:
    """Measures (G, K) of `names` at the places left out, with intervals; the pooled value of each measure (K).

    `lower`, `upper` (G, K) as `values`. `pooled` holds (value, lower, upper, prediction_lower, prediction_upper) on the
    measure's own scale, (K, 5), NaN below 2 places (prediction: 3). `tau2` (K,) is the variance between places on the
    scale of pooling. Where a number is NaN, `reasons` (G, K) says why; other entries are "".
    """

    names: tuple[str, ...]
    places: tuple[str, ...]
    n_discharges: tuple[int, ...]
    n_people: tuple[int, ...]
    n_events: tuple[int, ...]
    values: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    reasons: np.ndarray
    pooled: np.ndarray
    tau2: np.ndarray
    level: float
    checks: tuple[Check, ...]


def count_left_out(place: np.ndarray) -> LeftOut:
    """Weightings that leave out one place (n,) of text or numbers each. Fails with `ParameterError` if any is missing,
    or there are fewer than 2."""
    place = np.asarray(place)
    if place.ndim != 1 or pd.isna(place).any() or len(pd.unique(place)) < 2:
        refuse([Fault("count_left_out place", "is missing for some, or there are fewer than 2 places")])
    text = pd.Series(place).astype(str).to_numpy()
    names = np.unique(text)
    return LeftOut(tuple(str(name) for name in names), (text[None, :] != names[:, None]).astype(np.uint8))


def estimate_places(
    models: RefittedModels,
    outcome: np.ndarray,
    left_out: LeftOut,
    *,
    person: np.ndarray,
    level: float = 0.95,
    interval: PoolingInterval = "hartung_knapp",
) -> PlaceValidation:
    """Validate at each place the model developed on the others, and pool over places by random effects.

    `models` are fitted to `left_out.counts` and predict for the n discharges of `outcome` (n,) and `person` (n,).
    AUROC is pooled on the logit scale, observed over expected on the log scale, intercept and slope as they are;
    errors are robust to repeats of a person (Obuchowski for AUROC, sandwich for the others, risks taken as given).

    A place with fewer than 10 discharges with the outcome, or without it, is refused by name: its numbers are NaN with
    the reason, the pooled value is over the others, and the check `places_validated` fails. The check
    `people_in_one_place` gives the share of people with discharges in several: they are on both sides of a split.

    Fails with `ParameterError` for malformed arguments.
    """
    outcome, faults = np.asarray(outcome, dtype=np.float64), level_faults(level)
    if models.counts.shape != left_out.counts.shape or models.n_rows != left_out.counts.shape[1]:
        faults.append(Fault("estimate_places", "the models are not those of these places"))
    refuse([*faults, *risk_faults(models.original, outcome, person)])
    rows = [np.flatnonzero(row == 0) for row in left_out.counts]
    shape, z = (len(rows), len(PLACE_MEASURES)), norm.ppf(0.5 + level / 2)
    scaled, errors, reasons = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, "", dtype=object)
    for g, (name, at) in enumerate(zip(left_out.places, rows, strict=True)):
        few = few_faults([(f'place "{name}"', outcome[at])])
        reason = few[0].text if few else models.reasons[g] and f'place "{name}": {models.reasons[g]}.'
        if reason:
            reasons[g] = reason
            continue
        risk = models.predict(slice(g, g + 1), at)[0]
        scaled[g], errors[g] = _measure(risk, outcome[at], pd.factorize(np.asarray(person)[at])[0])
        reasons[g, ~(errors[g] > 0)] = UNDEFINED
    ends = [_back(scaled + side * z * errors) for side in (0, -1, 1)]
    pooled, tau2 = _pool(scaled, errors, level, interval)
    return PlaceValidation(
        PLACE_MEASURES, left_out.places, tuple(len(at) for at in rows),
        tuple(len(pd.unique(np.asarray(person)[at])) for at in rows), tuple(int(outcome[at].sum()) for at in rows),
        *ends, reasons, pooled, tau2, level,
        (*_checks(left_out.places, reasons), _check_people(left_out, np.asarray(person))),
    )  # fmt: skip


# ---- parts ---------------------------------------------------------------------------------------

_SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {"auroc": expit, "observed_expected": np.exp}


def _back(scaled: np.ndarray) -> np.ndarray:
    """From the scales of pooling, (.., K), to those of the measures."""
    parts = [_SCALES.get(name, np.positive)(scaled[..., k]) for k, name in enumerate(PLACE_MEASURES)]
    return np.stack(parts, axis=-1)


def _measure(risk: np.ndarray, outcome: np.ndarray, cluster: np.ndarray) -> tuple[list[float], list[float]]:
    """Values (K) on the scales of pooling, and their errors; NaN where undefined."""
    undefined = (math.nan, math.nan)
    area, area_se = compute_auroc(risk, outcome, cluster=cluster)
    found = [(float(logit(area)), area_se / (area * (1 - area))) if 0 < area < 1 else undefined]
    observed, expected, clusters = outcome.sum(), risk.sum(), int(cluster.max()) + 1
    if expected > 0 and clusters > 1:
        sums = np.bincount(cluster, outcome / observed - risk / expected)
        error = math.sqrt(clusters / (clusters - 1) * float(sums @ sums))
        found.append((math.log(observed / expected), error))
    else:
        found.append(undefined)
    if risk.min() <= 0 or risk.max() >= 1:
        found += [undefined, undefined]
    else:
        odds, ones = logit(risk), np.ones((len(risk), 1))
        for design, offset in ((ones, odds), (np.column_stack([ones, odds]), 0.0)):
            fit = fit_logistic(design, outcome, cluster=cluster, offset=offset)
            found.append(undefined if fit is None else (float(fit.coefficients[-1]), math.sqrt(fit.robust[-1, -1])))
    return [value for value, _ in found], [error for _, error in found]


def _pool(
    scaled: np.ndarray, errors: np.ndarray, level: float, interval: PoolingInterval
) -> tuple[np.ndarray, np.ndarray]:
    pooled, tau2 = np.full((scaled.shape[1], 5), np.nan), np.full(scaled.shape[1], np.nan)
    for k in range(scaled.shape[1]):
        known = errors[:, k] > 0
        if known.sum() >= 2:
            one: PooledValue = pool_places(scaled[known, k], errors[known, k], level=level, interval=interval)
            pooled[k] = one.value, one.lower, one.upper, one.prediction_lower, one.prediction_upper
            tau2[k] = one.tau2
    return _back(pooled.T).T, tau2


def _checks(places: tuple[str, ...], reasons: np.ndarray) -> tuple[Check, ...]:
    refused = [place for place, row in zip(places, reasons, strict=True) if all(row)]
    partly = [place for place, row in zip(places, reasons, strict=True) if any(row) and not all(row)]
    text = f"{len(refused)} of {len(places)} places are refused"
    text += f" and left out of the pooled values: {', '.join(refused)}." if refused else "."
    checks = [Check("places_validated", passed=not refused, value=float(len(refused)), text=text)]
    text = f"Measures are undefined at: {', '.join(partly)}." if partly else "Every measure is defined where validated."
    return (*checks, Check("place_measures_defined", passed=not partly, value=float(len(partly)), text=text))


def _check_people(left_out: LeftOut, person: np.ndarray) -> Check:
    """A share to the nearest 5%: an exact one would give away a count of people."""
    place = np.argmin(left_out.counts, axis=0)
    several = float((pd.Series(place).groupby(person).nunique() > 1).mean())
    near = round(several * 20) / 20
    words = "None" if several == 0 else "Fewer than 5%" if several < 0.05 else f"About {near:.0%}"
    text = f"{words} of the people have discharges in more than one place."
    return Check("people_in_one_place", passed=several < 0.05, value=near, text=text)
