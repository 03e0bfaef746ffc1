"""Smooth calibration curves: a restricted cubic spline on the log-odds, or lowess, of many replicates at once.

How far a curve lies from the diagonal is summed up by the integrated calibration index and its kin (Austin and
Steyerberg 2019, Stat Med 38:4051). Replicates are rows of weights, as `risk.resample` draws them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import norm

from evalkit.core.errors import NotEstimable
from evalkit.core.faults import choice_faults, level_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.estimators.people.logistic import fit_logistic, fit_logistic_draws
from evalkit.risk.arrays import check_risks, risk_faults
from evalkit.risk.quick_fit import fit_few
from evalkit.risk.resample import draw_person_counts

Smoother = Literal["spline", "loess"]
SMOOTHERS = ("spline", "loess")
# Quantiles of the log-odds at which knots stand (Harrell 2015, Regression Modeling Strategies, table 2.3).
KNOT_SHARES = (0.05, 0.35, 0.65, 0.95)
BLOCK = 2_000_000  # numbers held at a time
# Too few defined replicates, and there is no interval.
LEAST_DEFINED = 0.9
_BINS = 2048
_FEW = 4  # weightings up to which plain Newton steps are quicker than the batched solver
_MOST_POINTS = 1000
_SPAN = 2 / 3


GRID_STEP = 0.005


@dataclass(frozen=True, eq=False)
class SmoothCurve:
    """Observed against predicted risk, of B replicates.

    `observed` (B, g) at the predicted risks `at` (g,), NaN where a replicate has no curve. A spline is also given
    by its `knots` on the log-odds and its `coefficients` (B, p), of `build_spline`'s columns.
    """

    smoother: Smoother
    at: np.ndarray
    observed: np.ndarray
    knots: np.ndarray
    coefficients: np.ndarray


@dataclass(frozen=True)
class BandOptions:
    """At most `points` at which the curve is given, multiples of `GRID_STEP`; `replicates` of people for the band."""

    smoother: Smoother = "spline"
    replicates: int = 200
    level: float = 0.95
    points: int = 50


@dataclass(frozen=True, eq=False)
class CalibrationBand:
    """The smooth curve with its pointwise band, arrays (g,) of risks; NaN where there is none."""

    predicted: np.ndarray
    smooth: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    level: float
    checks: tuple[Check, ...]


def place_grid(low: float, high: float, points: int) -> np.ndarray:
    """At most `points` risks from `low` to `high`, strictly between 0 and 1, each a multiple of `GRID_STEP`."""
    first, last = math.ceil(low / GRID_STEP - 1e-9), math.floor(high / GRID_STEP + 1e-9)
    every = max(1, math.ceil((last - first + 1) / points))
    at = np.arange(first, last + 1, every) * GRID_STEP
    return at[(at > 0) & (at < 1)]


def place_knots(risk: np.ndarray) -> np.ndarray:
    """Knots on the log-odds of `risk` (n,) within 0 to 1: quantiles that are values of the data, each once."""
    inside = risk[(risk > 0) & (risk < 1)]
    if not len(inside):
        return np.zeros(0)
    return np.unique(np.quantile(logit(inside), KNOT_SHARES, method="inverted_cdf"))


def build_spline(log_odds: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Design (n, p) of a restricted cubic spline: a constant, the log-odds, and a column for each knot but two.

    Harrell 2015, section 2.4.5; a straight line with fewer than three knots.
    """
    columns = [np.ones_like(log_odds), log_odds]
    if len(knots) > 2:
        last, before = knots[-1], knots[-2]
        scale = (last - knots[0]) ** 2

        def cube(knot: float) -> np.ndarray:
            return np.maximum(log_odds - knot, 0.0) ** 3

        ends = cube(before), cube(last)
        columns += [
            (cube(knot) - ends[0] * (last - knot) / (last - before) + ends[1] * (before - knot) / (last - before))
            / scale
            for knot in knots[:-2]
        ]
    return np.column_stack(columns)


def fit_draws(x: np.ndarray, y: np.ndarray, counts: np.ndarray, *, offset: np.ndarray | None = None) -> np.ndarray:
    """Logistic coefficients (B, p) of replicates `counts` (B, n), NaN where no finite maximum exists."""
    coefficients = np.full((len(counts), x.shape[1]), np.nan)
    event = y == 1
    fit = counts[:, event].any(axis=1) & counts[:, ~event].any(axis=1)
    if not fit.any():
        return coefficients
    if len(counts) <= _FEW and fit.all():  # from where a good model lies: no intercept, slope 1 on the log-odds
        start = np.zeros(x.shape[1])
        start[1:2] = 1.0
        quick = fit_few(x, y, counts, offset=offset, start=start)
        if np.isfinite(quick).all():
            return quick
    try:
        if len(counts) == 1 and counts.all():
            return fit_logistic(x, y, weights=counts, offset=offset)
        coefficients[fit] = fit_logistic_draws(x, y, counts if fit.all() else counts[fit], offset=offset).coefficients
    except NotEstimable:
        return coefficients  # what all rows cannot bear, no draw of them can
    return coefficients


def fit_calibration_curve(
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    counts: np.ndarray | None = None,
    smoother: Smoother = "spline",
    knots: np.ndarray | None = None,
) -> SmoothCurve:
    """Smooth curve of outcome (n,) on risk (n,), for each row of weights `counts` (B, n).

    - "spline": logistic regression on a restricted cubic spline of the log-odds of the risk, its knots at the 5th,
      35th, 65th and 95th percentile of the rows given, each counted once, or at `knots` (log-odds). Fewer knots
      where percentiles coincide. Replicates that hold a risk of exactly 0 or 1 have no curve.
    - "loess": a local straight line on the risks, tricube weights over the nearest two thirds of the weight, without
      robustness steps (Cleveland 1979, JASA 74:829; R's `lowess(iter = 0)`, as in the package rms).

    `at` are the distinct risks, or 101 quantiles of them where there are more than 1,000. Fails as `check_risks`, and
    with `ParameterError` for an unknown smoother.
    """
    refuse(choice_faults("fit_calibration_curve smoother", smoother, SMOOTHERS))
    risk, outcome, counts = check_risks(risk, outcome, counts=counts)
    at = np.unique(risk)
    if len(at) > _MOST_POINTS:
        at = np.unique(np.quantile(risk, np.linspace(0, 1, 101), method="inverted_cdf"))
    if smoother == "loess":
        observed = np.clip(_fit_loess(risk, outcome, counts, at), 0.0, 1.0)
        return SmoothCurve(smoother, at, observed, np.zeros(0), np.zeros((len(counts), 0)))
    knots = place_knots(risk) if knots is None else np.asarray(knots, dtype=np.float64)
    coefficients = fit_spline_draws(risk, outcome, counts, knots)
    curve = SmoothCurve(smoother, at, np.zeros(0), knots, coefficients)
    return replace(curve, observed=predict_calibration(curve, at))


def compute_calibration_band(
    risk: np.ndarray,
    outcome: np.ndarray,
    *,
    person: np.ndarray,
    rng: np.random.Generator,
    options: BandOptions = BandOptions(),
) -> CalibrationBand:
    """The smooth curve of `fit_calibration_curve` and a pointwise band from a bootstrap of people.

    Points are multiples of `GRID_STEP` (or of as few of them as `points` asks), so that their places tell no person's
    risk, between the tenth smallest and the tenth largest risk, or the 1st and 99th percentile where those lie
    further in: beyond them a curve stands on hardly anybody. The band is the curve, plus and minus
    the normal quantile times the standard deviation of the replicates, on the log-odds for a spline, on the risk, cut
    to 0 and 1, for lowess; none where more than a tenth of the replicates have no curve.

    Fails with `ParameterError` for malformed arrays or options and with `NotEstimable` below 10 discharges with the
    outcome, or without it.
    """
    where = "compute_calibration_band"
    faults = [*risk_faults(risk, outcome, person), *level_faults(options.level), *rng_faults(rng)]
    faults += choice_faults(f"{where} smoother", options.smoother, SMOOTHERS)
    faults += whole_faults(f"{where} replicates", options.replicates, least=2)
    refuse([*faults, *whole_faults(f"{where} points", options.points, least=2)])
    codes, people = pd.factorize(np.asarray(person), sort=True)
    drawn = np.take(draw_person_counts(np.arange(len(people)), replicates=options.replicates, rng=rng), codes, axis=1)
    counts = np.concatenate([np.ones_like(drawn[:1]), drawn])
    ranked, inner = np.sort(np.asarray(risk, dtype=np.float64)), max(9, len(risk) // 100)
    grid = place_grid(ranked[inner], ranked[-1 - inner], options.points) if len(risk) > 2 * inner else ranked[:0]
    curve = fit_calibration_curve(risk, outcome, counts=counts, smoother=options.smoother)
    heights = predict_calibration(curve, grid)
    smooth, spread = heights[0], heights[1:]
    on_log_odds = options.smoother == "spline"
    spread = logit(spread) if on_log_odds else spread
    defined = np.isfinite(spread).all(axis=1)
    share, z = float(defined.mean()), norm.ppf(0.5 + options.level / 2)
    half = z * spread[defined].std(axis=0, ddof=1) if share >= LEAST_DEFINED else np.full(len(grid), np.nan)
    middle = logit(smooth) if on_log_odds else smooth
    ends = (expit(end) if on_log_odds else np.clip(end, 0.0, 1.0) for end in (middle - half, middle + half))
    said = f"The curve is defined in {math.floor(share * 100)}% of the bootstrap draws of people."
    check = Check("curve_replicates_defined", passed=share == 1, value=share, text=said)
    return CalibrationBand(grid, smooth, *ends, options.level, (check,))


def compute_hosmer_lemeshow(risk: np.ndarray, outcome: np.ndarray, *, groups: int = 10) -> float:
    """Hosmer and Lemeshow's statistic over `groups` of equal size of risk, parted at quantiles (R's type 7).

    For comparison with published numbers only: with many discharges it finds any model wrong. Fails as `check_risks`,
    and with `ParameterError` for fewer than 3 groups.

    >>> y, risk = np.tile([0, 1], 30), np.repeat([0.4, 0.5, 0.6], 20)
    >>> round(compute_hosmer_lemeshow(risk, y, groups=3), 6)  # 2 x 20 x 0.1 ** 2 / 0.24
    1.666667
    """
    refuse(whole_faults("compute_hosmer_lemeshow groups", groups, least=3))
    risk, outcome, _ = check_risks(risk, outcome)
    breaks = np.unique(np.quantile(risk, np.arange(1, groups) / groups))
    group = np.searchsorted(breaks, risk, side="left")
    n, observed, expected = (np.bincount(group, weights) for weights in (np.ones_like(risk), outcome, risk))
    n, observed, expected = n[n > 0], observed[n > 0], expected[n > 0]
    variance = expected * (1 - expected / n)
    # A group that is certain to stay out, or to come back, adds nothing where it did, and no number else.
    sure = variance <= 0
    if (sure & (observed != expected)).any():
        return math.nan
    return float(np.sum((observed - expected)[~sure] ** 2 / variance[~sure]))


def fit_spline_draws(risk: np.ndarray, outcome: np.ndarray, counts: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Coefficients (B, p) of `build_spline`; a constant alone where all risks are one. NaN where undefined."""
    sure = (risk <= 0) | (risk >= 1)
    if sure.all():
        return np.full((len(counts), 1), np.nan)
    kept = slice(None) if not sure.any() else ~sure
    x = build_spline(logit(risk[kept]), knots)
    x = x if np.ptp(x[:, 1]) > 0 else x[:, :1]
    coefficients = fit_draws(x, outcome[kept], counts[:, kept])
    if sure.any():
        coefficients[counts[:, sure].any(axis=1)] = np.nan
    return coefficients


def predict_calibration(curve: SmoothCurve, risk: np.ndarray) -> np.ndarray:
    """Smoothed observed risk (B, m) at predicted risks (m,); lowess is joined up by straight lines."""
    if curve.smoother == "loess":
        return np.stack([np.interp(risk, curve.at, row) for row in curve.observed])
    inside = (risk > 0) & (risk < 1)
    out = np.full((len(curve.coefficients), len(risk)), np.nan)
    design = build_spline(logit(risk[inside]), curve.knots)[:, : curve.coefficients.shape[1]]
    out[:, inside] = expit(curve.coefficients @ design.T)
    return out


def compute_distances(
    risk: np.ndarray, counts: np.ndarray, knots: np.ndarray, coefficients: np.ndarray
) -> dict[str, np.ndarray]:
    """How far the spline's curve lies from the diagonal, each (B,): mean `ici`, median `e50`, `e90`, largest `emax`.

    Over the discharges of each replicate, |smoothed - predicted|; quantiles are the least distance at or below which
    that share of the weight lies.
    """
    found = {name: np.full(len(counts), np.nan) for name in ("ici", "e50", "e90", "emax")}
    inside = (risk > 0) & (risk < 1)
    fit = np.flatnonzero(np.isfinite(coefficients).all(axis=1))
    risk, kept = risk[inside], slice(None) if inside.all() else inside
    design = build_spline(logit(risk), knots)[:, : coefficients.shape[1]].T
    step = max(1, BLOCK // max(len(risk), 1))
    for rows in (fit[at : at + step] for at in range(0, len(fit), step)):
        away = coefficients[rows] @ design
        away *= 0.5
        np.tanh(away, out=away)  # expit, in the form that numpy has vectorised
        away *= 0.5
        away += 0.5 - risk
        np.abs(away, out=away)
        weight = counts[rows][:, kept].astype(np.float64)
        found["ici"][rows] = np.einsum("bn,bn->b", weight, away) / weight.sum(axis=1)
        for row, distance, here in zip(rows, away, weight, strict=True):
            found["e50"][row], found["e90"][row], found["emax"][row] = _weighted_quantiles(distance, here)
    return found


def _weighted_quantiles(values: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """Median, 90th percentile and maximum of values (n,) from 0; exact: only the bin that holds each is sorted."""
    top = float(values.max(where=weights > 0, initial=0.0))
    if top == 0:
        return 0.0, 0.0, 0.0
    bins = np.minimum(values * (_BINS / top), _BINS).astype(np.int32)
    upto = np.cumsum(np.bincount(bins, weights, _BINS + 1))
    found = []
    for share in (0.5, 0.9):
        wanted = share * upto[-1] * (1 - 1e-12)
        place = int(np.searchsorted(upto, wanted))
        inside = np.flatnonzero(bins == place)
        inside = inside[np.argsort(values[inside])]
        before = upto[place - 1] if place else 0.0
        held = before + np.cumsum(weights[inside])
        found.append(float(values[inside[min(np.searchsorted(held, wanted), len(inside) - 1)]]))
    return found[0], found[1], top


def _fit_loess(risk: np.ndarray, outcome: np.ndarray, counts: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Local straight lines (B, g) at `at` (g,), unclipped."""
    found = np.full((len(counts), len(at)), np.nan)
    step = max(1, BLOCK // len(risk))
    for start in range(0, len(counts), step):
        weights = counts[start : start + step].astype(np.float64)
        total = weights.sum(axis=1)
        drawn = total > 0
        if not drawn.all():
            weights, total = weights[drawn], total[drawn]
        for j, point in enumerate(at):
            if len(weights):
                found[np.flatnonzero(drawn) + start, j] = _local_line(risk - point, outcome, weights, total)
    return found


def _local_line(away: np.ndarray, outcome: np.ndarray, weights: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Height (b,) at 0 of the local line of outcome (n,) on `away` (n,), weights (b, n)."""
    distance = np.abs(away)
    order = np.argsort(distance, kind="stable")
    ranked = distance[order]
    wanted = np.maximum(np.floor(_SPAN * total + 1e-10), 1.0)
    held = np.cumsum(np.take(weights, order, axis=1), axis=1)
    radius = ranked[(held < wanted[:, None]).sum(axis=1).clip(max=len(ranked) - 1)]
    width = np.where(radius > 0, radius, 1.0)[:, None]
    kernel = weights * np.maximum(1 - (distance / width) ** 3, 0.0) ** 3
    kernel = np.where((radius > 0)[:, None], kernel, weights * (distance == 0))
    mass = kernel.sum(axis=1)
    kernel = kernel / np.where(mass > 0, mass, np.nan)[:, None]
    mean, height = kernel @ away, kernel @ outcome
    spread = kernel @ away**2 - mean**2
    sloped = np.sqrt(np.maximum(spread, 0.0)) > 1e-3 * np.ptp(away)
    slope = (kernel @ (away * outcome) - mean * height) / np.where(sloped, spread, np.nan)
    return height - np.where(sloped, slope * mean, 0.0)
