"""How many discharges a risk model needs before it may be developed, and how many to validate one.

Sizes are the least that meet every criterion of Riley and others; an independent discharge is meant. What discharges
of the same people are worth is in `risk.sample_size`. Where the published software steps or rounds on the way
(a standard error in steps of 0.0001, the largest R2 to two digits), nothing is rounded here but the last number, up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from scipy.special import expit

from evalkit.core.errors import Fault
from evalkit.core.faults import is_finite, refuse, whole_faults
from evalkit.risk.sample_spread import (
    Flagging,
    OddsDistribution,
    build_odds_from_auroc,
    compute_largest_r2,
    compute_largest_survival_r2,
    positive_faults,
    share_faults,
)

# The papers and their software compute with 1.96, not with the quantile; their examples are met only with it.
Z95 = 1.96


@dataclass(frozen=True)
class SizeCriterion:
    """One criterion and the discharges it needs."""

    name: str
    needed: int
    label: str


@dataclass(frozen=True)
class SizeNeeded:
    """The criteria, and the discharges and events that meet all of them."""

    criteria: tuple[SizeCriterion, ...]
    discharges: int
    events: float


@dataclass(frozen=True)
class DevelopmentTargets:
    """What a new model must reach: expected shrinkage, the gap of apparent and adjusted R2, the overall risk.

    `shrinkage`: least expected shrinkage factor. `r2_difference`: largest difference of apparent and adjusted
    Nagelkerke R2. `risk_margin`: half the width of the 95% interval of the overall risk.
    """

    shrinkage: float = 0.9
    r2_difference: float = 0.05
    risk_margin: float = 0.05


@dataclass(frozen=True)
class ValidationTargets:
    """Widths of 95% intervals that a validation must reach, and the O/E that is expected.

    The widths are those of Riley and others (2021): 0.2 of O/E, of the slope and of the standardised net benefit,
    0.1 of the AUROC.
    """

    observed_expected_width: float = 0.2
    slope_width: float = 0.2
    auroc_width: float = 0.1
    net_benefit_width: float = 0.2
    observed_expected: float = 1.0


# ---- development ---------------------------------------------------------------------------------


def compute_development_size(
    *, parameters: int, prevalence: float, r2: float, targets: DevelopmentTargets | None = None
) -> SizeNeeded:
    """Discharges needed to develop a model of a binary outcome.

    `parameters`: candidate predictor parameters, not predictors: a category of four levels has three. `r2`: Cox-Snell
    R2 that is expected, such as `compute_r2_from_auroc` of published AUROCs. Riley 2019 (Stat Med 38:1276): shrinkage
    S needs parameters / ((S - 1) log(1 - R2 / S)), equation 11, and the R2 difference d needs that of the shrinkage
    R2 / (R2 + d largest R2); the overall risk that of the interval of a share.

    >>> compute_development_size(parameters=24, prevalence=0.174, r2=0.288).discharges
    662
    """
    targets, where = targets or DevelopmentTargets(), "compute_development_size"
    faults = [*share_faults(where, prevalence=prevalence), *_development_faults(where, parameters, targets)]
    refuse(faults)
    largest = compute_largest_r2(prevalence)
    refuse(_r2_faults(where, r2, largest, targets))
    needed = {
        "shrinkage": _needed_for_shrinkage(parameters, r2, targets.shrinkage),
        "r2_difference": _needed_for_shrinkage(parameters, r2, r2 / (r2 + targets.r2_difference * largest)),
        "overall_risk": _up((Z95 / targets.risk_margin) ** 2 * prevalence * (1 - prevalence)),
    }
    return _as_needed(needed, _development_labels(targets), prevalence)


def compute_survival_development_size(
    *,
    parameters: int,
    rate: float,
    horizon: float,
    mean_follow_up: float,
    r2: float,
    targets: DevelopmentTargets | None = None,
) -> SizeNeeded:
    """Discharges needed to develop a model of time to an event.

    `rate`: events per person and unit of time. `horizon`, `mean_follow_up`: in the same unit. Shrinkage and R2 as for
    a binary outcome with the largest R2 of `compute_largest_survival_r2` (Riley 2019). The overall risk at the
    horizon is that of an exponential model, rate +/- 1.96 sqrt(rate / person-time), and its size is solved for; the
    published software only prints the interval at the size that the other two need.

    >>> compute_survival_development_size(
    ...     parameters=30, rate=0.065, horizon=2, mean_follow_up=2.07, r2=0.051
    ... ).discharges
    5143
    """
    targets, where = targets or DevelopmentTargets(), "compute_survival_development_size"
    given = {"rate": rate, "horizon": horizon, "mean_follow_up": mean_follow_up}
    refuse([*positive_faults(where, **given), *_development_faults(where, parameters, targets)])
    largest = compute_largest_survival_r2(rate=rate, mean_follow_up=mean_follow_up)
    refuse(_r2_faults(where, r2, largest, targets))
    survival, margin = math.exp(-rate * horizon), targets.risk_margin
    # The lower risk is the further: survival exp(d h) - survival = margin, d = 1.96 sqrt(rate / person-time).
    widest = math.log1p(margin / survival) / horizon
    needed = {
        "shrinkage": _needed_for_shrinkage(parameters, r2, targets.shrinkage),
        "r2_difference": _needed_for_shrinkage(parameters, r2, r2 / (r2 + targets.r2_difference * largest)),
        "overall_risk": _up(rate * (Z95 / widest) ** 2 / mean_follow_up),
    }
    return _as_needed(needed, _development_labels(targets), rate * mean_follow_up)


# ---- validation ----------------------------------------------------------------------------------


def compute_validation_size(
    *,
    auroc: float,
    prevalence: float,
    odds: OddsDistribution | None = None,
    flagging: Flagging | None = None,
    targets: ValidationTargets | None = None,
) -> SizeNeeded:
    """Discharges needed to validate a model of a binary outcome (Riley 2021, Stat Med 40:4230).

    `auroc`: expected. `odds`: the log odds the model will predict; without it, those of `build_odds_from_auroc`. With
    `flagging`, net benefit is a criterion too. Slope and net benefit suppose that the model is calibrated.

    >>> [criterion.needed for criterion in compute_validation_size(auroc=0.8, prevalence=0.43).criteria]
    [511, 1942, 308]
    """
    targets, where = targets or ValidationTargets(), "compute_validation_size"
    widths = {field.name: getattr(targets, field.name) for field in fields(targets)}
    faults = [*share_faults(where, auroc=auroc, prevalence=prevalence), *positive_faults(where, **widths)]
    if flagging is not None:
        faults += share_faults(where, **{field.name: getattr(flagging, field.name) for field in fields(flagging)})
    refuse(faults)
    odds = build_odds_from_auroc(auroc, prevalence=prevalence) if odds is None else odds
    # exp(log O/E +/- 1.96 se) is 2 O/E sinh(1.96 se) wide.
    se = math.asinh(targets.observed_expected_width / (2 * targets.observed_expected)) / Z95
    needed = {
        "observed_expected": needed_for_observed_expected(se, prevalence=prevalence),
        "slope": needed_for_slope(targets.slope_width / (2 * Z95), odds=odds),
        "auroc": needed_for_auroc(targets.auroc_width / (2 * Z95), auroc=auroc, prevalence=prevalence),
    }
    labels = {
        "observed_expected": f"Observed over expected readmissions to within {targets.observed_expected_width:g}",
        "slope": f"Calibration slope to within {targets.slope_width:g}",
        "auroc": f"AUROC to within {targets.auroc_width:g}",
        "net_benefit": f"Standardised net benefit to within {targets.net_benefit_width:g}",
    }
    if flagging is not None:
        se = targets.net_benefit_width / (2 * Z95)
        needed["net_benefit"] = needed_for_net_benefit(se, prevalence=prevalence, flagging=flagging)
    return _as_needed(needed, {name: f"{text} (95% interval)" for name, text in labels.items()}, prevalence)


def needed_for_observed_expected(se: float, *, prevalence: float) -> int:
    """Discharges at which log O/E has standard error `se`: (1 - prevalence) / (prevalence n) is its variance."""
    return _up((1 - prevalence) / (prevalence * se**2))


def needed_for_slope(se: float, *, odds: OddsDistribution) -> int:
    """Discharges at which the calibration slope has standard error `se`, by the information of one discharge."""
    spread = odds.weight * expit(odds.log_odds) * expit(-odds.log_odds)
    # Centred, so that i00 i11 - i01^2 loses no digits.
    mean = float(spread @ odds.log_odds / spread.sum())
    return _up(1 / (se**2 * float(spread @ (odds.log_odds - mean) ** 2)))


def needed_for_auroc(se: float, *, auroc: float, prevalence: float) -> int:
    """Discharges at which the AUROC has standard error `se` by Newcombe 2006 (Stat Med 25:559, method 4).

    The variance is c (1 - c) (1 + (n/2 - 1) ((1 - c)/(2 - c) + c/(1 + c))) / (n^2 f (1 - f)), f the prevalence;
    n is the larger root of a quadratic.
    """
    spread = auroc * (1 - auroc) / (prevalence * (1 - prevalence) * se**2)
    pairs = (1 - auroc) / (2 - auroc) + auroc / (1 + auroc)
    half = spread * pairs / 2
    return _up((half + math.sqrt(half**2 + 4 * spread * (1 - pairs))) / 2)


def needed_for_net_benefit(se: float, *, prevalence: float, flagging: Flagging) -> int:
    """Discharges at which standardised net benefit has standard error `se` (Marsh, Janes and Pepe 2020)."""
    hit, right = flagging.sensitivity, flagging.specificity
    odds = (1 - prevalence) / prevalence * flagging.threshold / (1 - flagging.threshold)
    of_events = hit * (1 - hit) / prevalence
    of_others = odds**2 * right * (1 - right) / (1 - prevalence)
    of_share = odds**2 * (1 - right) ** 2 / (prevalence * (1 - prevalence))
    return _up((of_events + of_others + of_share) / se**2)


# ---- parts ---------------------------------------------------------------------------------------


def _needed_for_shrinkage(parameters: int, r2: float, shrinkage: float) -> int:
    return _up(parameters / ((shrinkage - 1) * math.log1p(-r2 / shrinkage)))


def _up(size: float) -> int:
    """The next whole number, not one further where rounding put a whole number just above itself."""
    return math.ceil(size * (1 - 1e-12))


def _as_needed(needed: dict[str, int], labels: dict[str, str], events_per_discharge: float) -> SizeNeeded:
    most = max(needed.values())
    criteria = tuple(SizeCriterion(name, size, labels[name]) for name, size in needed.items())
    return SizeNeeded(criteria, most, most * events_per_discharge)


def _development_labels(targets: DevelopmentTargets) -> dict[str, str]:
    return {
        "shrinkage": f"Expected shrinkage of coefficients at least {targets.shrinkage:g}",
        "r2_difference": f"Apparent and adjusted Nagelkerke R2 no further apart than {targets.r2_difference:g}",
        "overall_risk": f"Overall risk to within {targets.risk_margin:g} either way",
    }


def _development_faults(where: str, parameters: int, targets: DevelopmentTargets) -> list[Fault]:
    shares = {field.name: getattr(targets, field.name) for field in fields(targets)}
    return [*whole_faults(f"{where} parameters", parameters, least=1), *share_faults(where, **shares)]


def _r2_faults(where: str, r2: float, largest: float, targets: DevelopmentTargets) -> list[Fault]:
    top = min(largest, targets.shrinkage)
    if is_finite(r2) and 0 < r2 < top:
        return []
    return [Fault(f"{where} r2", "is out of range", str(r2), f"above 0 and below {top:.3g}")]
