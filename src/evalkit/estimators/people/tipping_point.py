"""Tipping points: what missing outcomes, or what unmeasured confounder, would take the finding away."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import optimize, stats

from evalkit.cohort.frames import as_numbers, numbers, require_columns
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import NULL_VALUES, Scale
from evalkit.core.faults import level_faults, refuse, whole_faults
from evalkit.core.result import Estimate
from evalkit.estimators.people.rubin import estimate_with_imputation


@dataclass(frozen=True)
class OutcomeSide:
    """Outcomes of one side: how many are known, their mean (or risk) and standard deviation, how many are missing.

    For a yes/no outcome `sd` is sqrt(mean (1 - mean)); `missing` 0 is allowed.
    """

    known: int
    mean: float
    sd: float
    missing: int


@dataclass(frozen=True)
class TippingPoint:
    """`table` for a figure, one row a scenario, and the first scenario that takes the finding away.

    Attributes
    ----------
    table : value, lower, upper under each scenario, and `holds`: whether the interval still excludes the null
    at : the least departure (see the function) at which the interval reaches the null; 0 where it holds the null to
        begin with, NaN where no departure within reach does it
    """

    table: pd.DataFrame
    at: float


def compute_missing_tipping_point(
    treated: OutcomeSide,
    comparison: OutcomeSide,
    *,
    treated_shifts: Sequence[float],
    comparison_shifts: Sequence[float] = (0.0,),
    level: float = 0.95,
) -> TippingPoint:
    """Difference of means (or risks) if those missing differ from those known on their side by a shift.

    A side's mean is known mean + share missing * shift, its variance sd^2 / known + shift^2 share (1 - share) / n: what
    multiple imputation from a pattern-mixture model gives with ever more imputations, without drawing. `at` is the
    least shift of the treated side alone (the comparison's missing being like its known) at which the interval
    reaches the null.

    Parameters
    ----------
    treated_shifts, comparison_shifts : in units of the outcome; the table has every pair of them, with columns
        `treated_shift`, `comparison_shift`, `value`, `lower`, `upper`, `holds`

    Raises
    ------
    ParameterError
        Fewer than 2 known outcomes on a side, numbers that are not finite, a spread that is not positive, no shifts,
        or a shift that takes the missing people's risk outside 0 to 1 where the outcome is a risk (sd =
        sqrt(mean (1 - mean))).

    References
    ----------
    Rubin 1977, JASA 72:538; White, Carpenter and Horton 2018, Statistica Sinica 28:1985 (variance); Yan, Lee and Li
    2009, J Biopharmaceutical Statistics 19:1085 (tipping point).
    """
    shifts = as_numbers(treated_shifts, "treated_shifts"), as_numbers(comparison_shifts, "comparison_shifts")
    sides = _side_faults("treated", treated, shifts[0]) + _side_faults("comparison", comparison, shifts[1])
    refuse([*level_faults(level), *sides])
    grid = pd.MultiIndex.from_product(shifts, names=["treated_shift", "comparison_shift"]).to_frame(index=False)
    z = float(stats.norm.ppf(0.5 + level / 2))

    def difference(one: np.ndarray, nought: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (mean, variance), (other, other_variance) = _shifted(treated, one), _shifted(comparison, nought)
        return mean - other, np.sqrt(variance + other_variance)

    value, se = difference(grid["treated_shift"].to_numpy(), grid["comparison_shift"].to_numpy())
    table = _with_interval(grid, value, value - z * se, value + z * se, 0.0)

    def margin(shift: float) -> float:
        moved, error = difference(np.array([shift]), np.zeros(1))
        return float(moved[0] * (1.0 if start >= 0 else -1.0) - z * error[0])

    start = float(difference(np.zeros(1), np.zeros(1))[0][0])
    low, high = _reach(treated)
    return TippingPoint(table, _first_root(margin, low if start > 0 else high, treated.missing))


def compute_confounder_tipping_point(
    estimate: Estimate,
    *,
    effects: Sequence[float],
    prevalences: Sequence[float],
    comparison_prevalence: float,
) -> TippingPoint:
    """What a yes/no unmeasured confounder of some effect and imbalance would leave of an estimate.

    On ratio scales, the bias is (1 + (g - 1) p1) / (1 + (g - 1) p0), g being the confounder's ratio with the outcome;
    on difference scales it is g (p1 - p0), g being its difference. Odds and hazard ratios: for rare outcomes. The
    interval moves with the estimate: the confounder is given, not estimated. `at` is the least effect g that raises
    the outcome (above 1, or above 0 on difference scales) and with one of `prevalences` takes the interval to the
    null; NaN where there is none. For a confounder that lowers the outcome, exchange it with its absence.

    Parameters
    ----------
    effects : of the confounder on the outcome, on the estimate's scale
    prevalences : of the confounder among the treated, 0 to 1; `comparison_prevalence` among the others

    Returns
    -------
    TippingPoint
        Table with `effect`, `prevalence`, `prevalence_difference`, `value`, `lower`, `upper`, `holds`.

    References
    ----------
    Bross 1966, J Chronic Diseases 19:637; Lin, Psaty and Kronmal 1998, Biometrics 54:948; McGowan 2022, J Open
    Source Software 7:4495 (tipr).
    """
    _refuse_estimate(estimate)
    ratio = estimate.estimand.null_value == 1.0
    g, p1 = as_numbers(effects, "effects"), as_numbers(prevalences, "prevalences")
    refuse(_confounder_faults(g, p1, comparison_prevalence, ratio=ratio))
    grid = pd.MultiIndex.from_product([g, p1], names=["effect", "prevalence"]).to_frame(index=False)
    grid["prevalence_difference"] = grid["prevalence"] - comparison_prevalence
    bias = _bias(grid["effect"].to_numpy(), grid["prevalence"].to_numpy(), comparison_prevalence, ratio=ratio)
    ends = [v / bias if ratio else v - bias for v in (estimate.value, estimate.lower, estimate.upper)]
    table = _with_interval(grid, *ends, estimate.estimand.null_value)
    return TippingPoint(table, _tipping_effect(estimate, p1, comparison_prevalence, ratio=ratio))


def compute_tipping_effect(
    value: float, *, scale: Scale, prevalence: float, comparison_prevalence: float
) -> float:  # fmt: skip
    """Effect of a yes/no confounder that makes `value` (an estimate or an end of its interval) the null; NaN if none.

    Ratios: g = 1 + (v - 1) / (p1 - v p0), which must be positive; differences: g = v / (p1 - p0).

    Raises ParameterError for an unknown scale, a value that is not finite (or not positive, for a ratio) and
    prevalences outside 0 to 1.
    """
    faults = [] if scale in NULL_VALUES else [Fault("scale", "unknown", str(scale), ", ".join(NULL_VALUES))]
    if not math.isfinite(value) or (not faults and NULL_VALUES[scale] == 1.0 and value <= 0):
        faults.append(Fault("value", "must be finite, and above 0 for a ratio", str(value)))
    if not (0 <= prevalence <= 1 and 0 <= comparison_prevalence <= 1):
        faults.append(Fault("prevalence", "must be shares", allowed="0 to 1"))
    refuse(faults)
    ratio = NULL_VALUES[scale] == 1.0
    if ratio:
        slope = prevalence - value * comparison_prevalence
        effect = 1 + (value - 1) / slope if slope else math.nan
        return effect if effect > 0 else math.nan
    gap = prevalence - comparison_prevalence
    return value / gap if gap else math.nan


def estimate_delta_tipping_point(
    frames: Sequence[pd.DataFrame],
    estimate: Callable[[pd.DataFrame], Estimate],
    *,
    column: str,
    missing: np.ndarray,
    shifts: Sequence[float],
    complete_df: float | None = None,
) -> TippingPoint:
    """Any estimator on imputed frames whose imputed outcomes are shifted: delta-adjusted multiple imputation.

    Parameters
    ----------
    frames : from `impute_missing`, all with rows in one order
    column : the outcome, a number
    missing : bool array, shape (n,)
        Rows whose imputed `column` is shifted; say those missing and treated, to shift one side alone.
    shifts : in units of the outcome

    Returns
    -------
    TippingPoint
        Table with `shift`, `value`, `lower`, `upper`, `holds`; `at` is the listed shift of least size at which the
        interval holds the null.

    Raises
    ------
    ParameterError
        No frames or shifts, shifts that are not finite, a `column` that is absent, holds no numbers or has gaps, frames
        of different lengths, `missing` that is not yes/no, of another length or without any row.
    Whatever `estimate` raises is passed on.

    References
    ----------
    van Buuren 2018, Flexible Imputation of Missing Data, section 9.2.
    """
    faults = [] if len(frames) >= 2 and len(shifts) else [Fault("delta", "two or more frames and a shift are needed")]
    refuse(faults)
    _refuse_frames(frames, column, shifts)
    rows = np.asarray(missing)
    if rows.dtype != bool or rows.shape != (len(frames[0]),) or not rows.any():
        allowed = f"bool, ({len(frames[0])},), some True"
        refuse([Fault("missing", "must mark the rows that were imputed", f"{rows.dtype}, {rows.shape}", allowed)])
    found = []
    for shift in shifts:
        moved = [frame.assign(**{column: frame[column].to_numpy(dtype=np.float64) + shift * rows}) for frame in frames]
        found.append(estimate_with_imputation(moved, estimate, complete_df=complete_df))
    grid = pd.DataFrame({"shift": np.asarray(shifts, dtype=np.float64)})
    ends = [np.array([getattr(e, name) for e in found]) for name in ("value", "lower", "upper")]
    table = _with_interval(grid, *ends, found[0].estimand.null_value)
    tipped = table.loc[~table["holds"], "shift"]
    return TippingPoint(table, float(tipped.iloc[tipped.abs().argmin()]) if len(tipped) else math.nan)


def _refuse_frames(frames: Sequence[pd.DataFrame], column: str, shifts: Sequence[float]) -> None:
    for frame in frames:
        require_columns(frame, [column], where="delta")
    faults = [fault for frame in frames for fault in numbers(frame, column)[1]][:1]
    if len({len(frame) for frame in frames}) > 1:
        faults.append(Fault("frames", "they differ in their number of rows"))
    if not np.isfinite(as_numbers(shifts, "shifts")).all():
        faults.append(Fault("shifts", "must be finite numbers"))
    refuse(faults)


def _shifted(side: OutcomeSide, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    n = side.known + side.missing
    share = side.missing / n
    return side.mean + share * shift, side.sd**2 / side.known + shift**2 * share * (1 - share) / n


def _is_risk(side: OutcomeSide) -> bool:
    return 0 < side.mean < 1 and math.isclose(side.sd, math.sqrt(side.mean * (1 - side.mean)), rel_tol=1e-6)


def _reach(side: OutcomeSide) -> tuple[float, float]:
    """Least and greatest shift that are looked at: all of a risk's range, else a hundred standard deviations."""
    return (-side.mean, 1 - side.mean) if _is_risk(side) else (-100 * side.sd, 100 * side.sd)


def _first_root(margin: Callable[[float], float], furthest: float, missing: int) -> float:
    """The shift nearest 0, towards `furthest`, at which the margin is 0."""
    if margin(0.0) <= 0:
        return 0.0
    if not missing:
        return math.nan
    steps = furthest * np.linspace(0, 1, 2001)
    beyond = [k for k, shift in enumerate(steps) if margin(float(shift)) <= 0]
    if not beyond:
        return math.nan
    k = beyond[0]
    return float(optimize.brentq(margin, steps[k - 1], steps[k], xtol=1e-14, rtol=1e-12))


def _with_interval(
    grid: pd.DataFrame, value: np.ndarray, lower: np.ndarray, upper: np.ndarray, null: float
) -> pd.DataFrame:
    return grid.assign(value=value, lower=lower, upper=upper, holds=(lower > null) | (upper < null))


def _bias(g: np.ndarray, p1: np.ndarray, p0: float, *, ratio: bool) -> np.ndarray:
    return (1 + (g - 1) * p1) / (1 + (g - 1) * p0) if ratio else g * (p1 - p0)


def _tipping_effect(estimate: Estimate, p1: np.ndarray, p0: float, *, ratio: bool) -> float:
    null = estimate.estimand.null_value
    if estimate.lower <= null <= estimate.upper:
        return 1.0 if ratio else 0.0
    near = estimate.lower if estimate.lower > null else estimate.upper
    effects = [
        compute_tipping_effect(near, scale=estimate.estimand.scale, prevalence=float(p), comparison_prevalence=p0)
        for p in p1
    ]
    raising = [g for g in effects if g > null]
    return min(raising) if raising else math.nan


def _refuse_estimate(estimate: Estimate) -> None:
    if estimate.status != "shown" or not all(map(math.isfinite, (estimate.value, estimate.lower, estimate.upper))):
        raise NotEstimable(Fault("estimate", "it has no number or no interval to tip", next_step=estimate.reason))


def _side_faults(name: str, side: OutcomeSide, shifts: np.ndarray) -> list[Fault]:
    where = f"{name} side"
    faults = []
    if whole_faults(where, side.known, least=2) or whole_faults(where, side.missing, least=0):
        faults.append(Fault(where, "too few known outcomes, or fewer than none missing", allowed="2 or more known"))
    if not (math.isfinite(side.mean) and math.isfinite(side.sd) and side.sd > 0):
        faults.append(Fault(where, "mean and standard deviation must be finite, the latter above 0"))
    if not len(shifts) or not np.isfinite(shifts).all():
        faults.append(Fault(f"{name}_shifts", "one or more finite numbers are needed"))
    elif not faults and side.missing and _is_risk(side):
        low, high = _reach(side)
        if shifts.min() < low - 1e-12 or shifts.max() > high + 1e-12:
            got = f"{shifts.min():g} to {shifts.max():g}"
            what = "a shift takes the risk of those missing outside 0 to 1"
            faults.append(Fault(f"{name}_shifts", what, got, f"{low:.4g} to {high:.4g}"))
    return faults


def _confounder_faults(g: np.ndarray, p1: np.ndarray, p0: float, *, ratio: bool) -> list[Fault]:
    faults = []
    if not g.size or not np.isfinite(g).all() or (ratio and (g <= 0).any()):
        faults.append(Fault("effects", "one or more finite numbers are needed", allowed="above 0 for ratios"))
    if not p1.size or not ((p1 >= 0) & (p1 <= 1)).all() or not 0 <= p0 <= 1:
        faults.append(Fault("prevalences", "must be shares", allowed="0 to 1"))
    return faults
