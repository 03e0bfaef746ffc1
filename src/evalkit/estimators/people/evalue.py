"""E-values: how strong an unmeasured confounder would have to be to explain a result away."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.core.errors import Fault
from evalkit.core.faults import is_finite, level_faults, refuse, whole_faults
from evalkit.core.result import Check, Estimate

EffectScale = Literal[
    "risk_ratio", "odds_ratio", "hazard_ratio", "rate_ratio", "mean_difference", "risk_difference"
]  # fmt: skip
Rarity = Literal["rare", "common"]
SMD_TO_LOG_RATIO = 0.91  # Chinn 2000, then VanderWeele 2017: log risk ratio of a standardised mean difference
_LARGEST = 1e30  # of a ratio: what is larger is no finding, and its powers leave the floating point
_SCALES = ("risk_ratio", "odds_ratio", "hazard_ratio", "rate_ratio", "mean_difference", "risk_difference")


@dataclass(frozen=True)
class EValue:
    """E-values of an estimate and of the end of its interval that is nearest the null.

    Attributes
    ----------
    point : least strength, as a risk ratio with the exposure and with the outcome both, that moves the estimate to
        `true`
    limit : the same for the interval; 1 where it holds `true` already
    ratio, lower, upper : the estimate and its interval as the (approximate) risk ratios that were used
    true : the risk ratio that it is moved to
    """

    point: float
    limit: float
    ratio: float
    lower: float
    upper: float
    true: float


def compute_e_value(
    value: float,
    lower: float,
    upper: float,
    *,
    scale: EffectScale,
    rare: Rarity = "rare",
    true: float = 1.0,
    sd: float | None = None,
    comparison_risk: float | None = None,
) -> EValue:
    """E-value of an estimate with interval, after it is put on the scale of a risk ratio.

    Odds ratios of a common outcome (15% or more) become their square root, hazard ratios of a common outcome
    (1 - 0.5^sqrt(h)) / (1 - 0.5^sqrt(1/h)); of a rare one both stand as they are. A mean difference becomes
    exp(0.91 value / sd). A risk difference becomes 1 + value / `comparison_risk`, that risk taken as known
    (`compute_e_value_of_counts` takes account of its error).

    Parameters
    ----------
    value, lower, upper : in the units of `scale`, `lower <= value <= upper`
    true : a risk ratio, to which the estimate is to be moved
    sd : standard deviation of the outcome, for a mean difference
    comparison_risk : 0 to 1, for a risk difference

    Raises
    ------
    ParameterError
        Numbers that are missing, not ordered or out of range; no `sd` or no `comparison_risk` where needed.

    References
    ----------
    VanderWeele and Ding 2017, Annals of Internal Medicine 167:268 (table 2 and appendix); `true` other than 1:
    VanderWeele, Ding and Mathur 2019, J Causal Inference 7:20180007.
    """
    refuse(_faults(value, lower, upper, scale, rare, true, sd, comparison_risk))
    ratio, low, high = (_as_risk_ratio(v, scale, rare, sd, comparison_risk) for v in (value, lower, upper))
    return _e_value(ratio, low, high, true)


def compute_estimate_e_value(
    estimate: Estimate, *, rare: Rarity = "rare", sd: float | None = None, comparison_risk: float | None = None
) -> EValue:
    """E-value of an `Estimate` on one of the scales of `compute_e_value`; ParameterError for other scales."""
    return compute_e_value(
        estimate.value,
        estimate.lower,
        estimate.upper,
        scale=estimate.estimand.scale,  # type: ignore[arg-type]
        rare=rare,
        sd=sd,
        comparison_risk=comparison_risk,
    )


def check_e_value(found: EValue, *, strongest_known: float) -> Check:
    """Check that fails where a confounder no stronger than the strongest one known would move the interval to the null.

    `strongest_known` is a risk ratio: how strongly the strongest measured covariate goes with both sides. Raises
    ParameterError where it is not finite and above 0.
    """
    if not (is_finite(strongest_known) and strongest_known > 0):
        refuse([Fault("strongest_known", "must be a risk ratio", str(strongest_known), "above 0")])
    passed = bool(found.limit > max(strongest_known, 1 / strongest_known))
    return Check(
        "e_value",
        passed,
        found.limit,
        f"A confounder would have to go with the treatment and the outcome both at a risk ratio of {found.point:.2f} "
        f"to explain the estimate away, of {found.limit:.2f} for its interval; the strongest one measured has "
        f"{strongest_known:.2f}.",
    )


def compute_e_value_of_counts(
    events_treated: int, people_treated: int, events_comparison: int, people_comparison: int, *, level: float = 0.95
) -> EValue:
    """E-value of a crude risk difference from its counts (people include those with the event).

    The interval is of the bias B that leaves p1 - B p0 at 0: {B: (p1 - B p0)^2 <= z^2 (v1 + B^2 v0)}, Fieller's, which
    is the bound of Ding and VanderWeele on the difference at the null, with the errors of both risks.

    Raises
    ------
    ParameterError
        Counts that are not whole, events above people, a side without events, a comparison risk too near to 0, a
        level outside 0 to 1.

    References
    ----------
    Ding and VanderWeele 2016, Epidemiology 27:368; Fieller 1954, JRSS B 16:175.
    """
    counts = {"treated": (events_treated, people_treated), "comparison": (events_comparison, people_comparison)}
    whole = {s: not any(whole_faults(s, count, least=1) for count in both) for s, both in counts.items()}
    refuse([
        *level_faults(level),
        *(Fault(f"{side} side", "counts must be whole, with 0 < events <= people")
          for side, (events, people) in counts.items() if not (whole[side] and events <= people)),
    ])  # fmt: skip
    p1, p0 = events_treated / people_treated, events_comparison / people_comparison
    square = float(stats.norm.ppf(0.5 + level / 2)) ** 2
    v1, v0 = p1 * (1 - p1) / people_treated, p0 * (1 - p0) / people_comparison
    a, b, c = p0**2 - square * v0, p1 * p0, p1**2 - square * v1
    refuse(
        [Fault("comparison side", "its risk is too near to 0 for an interval of the ratio")]
        if a <= 0
        else []
    )  # fmt: skip
    root = math.sqrt(b * b - a * c)
    return _e_value(p1 / p0, max((b - root) / a, 0.0), (b + root) / a, 1.0)


def compute_bias_factor(exposure_ratio: float, outcome_ratio: float) -> float:
    """Most that a confounder can multiply a risk ratio by: RR_EU RR_UD / (RR_EU + RR_UD - 1).

    `exposure_ratio` is how much commoner (1 or more) some level of it is on one side, `outcome_ratio` how much it
    raises the risk (1 or more). Source: Ding and VanderWeele 2016, Epidemiology 27:368.
    """
    refuse(
        Fault(name, "must be finite", f"{ratio:g}", "1 or more; take one over it where it is below 1")
        for name, ratio in (("exposure_ratio", exposure_ratio), ("outcome_ratio", outcome_ratio))
        if not (math.isfinite(ratio) and ratio >= 1)
    )
    return exposure_ratio * outcome_ratio / (exposure_ratio + outcome_ratio - 1)


def build_e_value_curve(found: EValue, *, points: int = 60, largest: float = 20.0) -> pd.DataFrame:
    """Pairs of strengths that just explain the estimate, or its interval, away: the lines of a figure.

    Columns `of` ("estimate" or "interval"), `exposure_ratio`, `outcome_ratio`; an interval that holds `true` has no
    rows. On a line B = e o / (e + o - 1), so o = B (e - 1) / (e - B). Raises ParameterError for fewer than 2 points.
    """
    refuse(whole_faults("points", points, least=2))
    parts = []
    for of, e_value, bound in (("estimate", found.point, _bias(found.ratio, found.true)), ("interval", *_limit(found))):
        if e_value <= 1:
            continue
        # From the strength at which the other one is `largest`, in equal steps of the log.
        least = bound * (largest - 1) / (largest - bound) if largest > bound else math.nan
        if not least < largest:
            continue
        exposure = np.geomspace(least, largest, points)
        frame = {"of": of, "exposure_ratio": exposure, "outcome_ratio": bound * (exposure - 1) / (exposure - bound)}
        parts.append(pd.DataFrame(frame))
    empty = pd.DataFrame({"of": [], "exposure_ratio": [], "outcome_ratio": []})
    return pd.concat(parts, ignore_index=True) if parts else empty


def _limit(found: EValue) -> tuple[float, float]:
    near = found.lower if found.lower > found.true else found.upper
    return found.limit, _bias(near, found.true)


def _bias(ratio: float, true: float) -> float:
    return max(ratio / true, true / ratio)


def _e_value(ratio: float, lower: float, upper: float, true: float) -> EValue:
    limit = 1.0 if lower <= true <= upper else _strength(lower if lower > true else upper, true)
    return EValue(_strength(ratio, true), limit, ratio, lower, upper, true)


def _strength(ratio: float, true: float) -> float:
    bias = _bias(ratio, true)
    return bias + math.sqrt(bias * (bias - 1))


def _as_risk_ratio(value: float, scale: EffectScale, rare: Rarity, sd: float | None, risk: float | None) -> float:
    if scale == "mean_difference" and sd is not None:
        return math.exp(SMD_TO_LOG_RATIO * value / sd)
    if scale == "risk_difference" and risk is not None:
        return 1 + value / risk
    if scale == "odds_ratio" and rare == "common":
        return math.sqrt(value)
    if scale == "hazard_ratio" and rare == "common":
        return (1 - 0.5 ** math.sqrt(value)) / (1 - 0.5 ** math.sqrt(1 / value))
    return value


def _log_ratio(lower: float, upper: float, sd: float) -> float:
    return SMD_TO_LOG_RATIO * max(abs(lower), abs(upper)) / sd


def _faults(
    value: float, lower: float, upper: float, scale: str, rare: str, true: float, sd: float | None, risk: float | None
) -> list[Fault]:
    if scale not in _SCALES:
        return [Fault("scale", "an E-value cannot be had on it", str(scale), " or ".join(_SCALES))]
    faults = []
    if rare not in ("rare", "common"):
        faults.append(Fault("rare", "unknown", str(rare), "rare or common (15% or more have the outcome)"))
    ends = (value, lower, upper)
    if not all(is_finite(v) for v in ends) or not lower <= value <= upper:
        faults.append(Fault("estimate", "must be three finite numbers in order", allowed="lower <= value <= upper"))
    elif scale.endswith("ratio") and lower <= 0:
        faults.append(Fault("lower", "a ratio must be positive", f"{lower:g}"))
    elif scale.endswith("ratio") and not (lower >= 1 / _LARGEST and upper <= _LARGEST):
        faults.append(Fault("estimate", "a ratio is beyond all sense", allowed=f"{1 / _LARGEST:g} to {_LARGEST:g}"))
    if not (is_finite(true) and true > 0):
        faults.append(Fault("true", "must be a risk ratio", str(true), "above 0"))
    if scale == "mean_difference" and not (sd is not None and math.isfinite(sd) and sd > 0):
        faults.append(Fault("sd", "a mean difference needs the outcome's standard deviation", allowed="above 0"))
    elif scale == "mean_difference" and not faults and _log_ratio(lower, upper, sd) > math.log(_LARGEST):
        faults.append(Fault("estimate", "it is beyond all sense in standard deviations of the outcome"))
    if scale == "risk_difference":
        if risk is None or not 0 < risk < 1:
            faults.append(Fault("comparison_risk", "a risk difference needs the comparison side's risk", allowed="0-1"))
        elif not faults and risk + value > 1:
            faults.append(Fault("estimate", "the difference takes the risk above 1"))
        elif not faults and risk + lower <= 0:
            faults.append(Fault("lower", "the difference takes the risk to 0 or below, where there is no ratio"))
    return faults
