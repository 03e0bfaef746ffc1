"""Every way of comparing balanced people under one name, with what it can estimate, so that one test runs over all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

from evalkit.cohort.comparison import Comparison
from evalkit.core.errors import Fault, ParameterError, suggest_name
from evalkit.core.estimand import Contrast, Estimand, Scale
from evalkit.core.faults import level_faults
from evalkit.core.pathway import PeopleDesign
from evalkit.core.result import Estimate, Role
from evalkit.estimators.people.effect_checks import check_outcome
from evalkit.estimators.people.matching import MatchOptions, match
from evalkit.estimators.people.matching_effect import estimate_matched_effect
from evalkit.estimators.people.person_effects import EffectOptions, Method, estimate_effect
from evalkit.estimators.people.weighting import WeightOptions

CALIPER = 0.2  # standard deviations of the propensity's logit (Austin 2011, Pharmaceutical Statistics 10:150)
_DIFFERENCES: tuple[Scale, ...] = ("risk_difference", "mean_difference", "events_per_person", "days_per_person")
_RATIOS: tuple[Scale, ...] = ("risk_ratio", "odds_ratio", "rate_ratio")
_ALL: tuple[Contrast, ...] = ("ATT", "ATC", "ATE", "ATO")


@dataclass(frozen=True)
class _Asked:
    """What a design is run with: `bounds` are those of the outcome, which TMLE alone needs."""

    level: float
    bounds: tuple[float, float] | None
    role: Role


@dataclass(frozen=True)
class PeopleEstimator:
    """One design: its `label`, the contrasts and scales it supports, and whether it compares people's own change."""

    name: PeopleDesign
    label: str
    contrasts: tuple[Contrast, ...]
    scales: tuple[Scale, ...]
    of_change: bool
    run: Callable[[Comparison, Estimand, _Asked], Estimate]


def _by_method(method: Method, weights: WeightOptions) -> Callable[[Comparison, Estimand, _Asked], Estimate]:
    def run(comparison: Comparison, estimand: Estimand, asked: _Asked) -> Estimate:
        options = EffectOptions(method=method, weights=weights, level=asked.level, bounds=asked.bounds)
        return estimate_effect(comparison, estimand, options=options, role=asked.role)

    return run


def _matched(comparison: Comparison, estimand: Estimand, asked: _Asked) -> Estimate:
    """Each treated person beside the nearest other within the caliper, their own change compared."""
    if comparison.outcome is None or comparison.before is None:
        raise ParameterError(Fault("comparison", "an outcome and the same before are needed"))
    check_outcome(comparison, estimand, EffectOptions(method="did_ipw", level=asked.level))  # few events, one cluster
    pairs = match(comparison, options=MatchOptions(distance="linear_propensity", caliper=CALIPER))
    change = replace(comparison, outcome=comparison.outcome - comparison.before, before=None)
    return estimate_matched_effect(change, pairs, estimand, level=asked.level, role=asked.role)


_PROPENSITY, _ENTROPY = WeightOptions(), WeightOptions(method="entropy")
_DID = "Difference-in-differences"
PEOPLE_REGISTRY: dict[PeopleDesign, PeopleEstimator] = {
    e.name: e
    for e in (
        PeopleEstimator("did_aipw", f"{_DID}, doubly robust", ("ATT",), (*_DIFFERENCES, "rate_ratio"), True,
                        _by_method("did_aipw", _PROPENSITY)),
        PeopleEstimator("did_ipw", f"{_DID}, weighting", ("ATT",), (*_DIFFERENCES, "rate_ratio"), True,
                        _by_method("did_ipw", _PROPENSITY)),
        PeopleEstimator("did_gcomp", f"{_DID}, outcome regression", ("ATT",), (*_DIFFERENCES, "rate_ratio"), True,
                        _by_method("did_gcomp", _PROPENSITY)),
        PeopleEstimator("entropy_did", f"{_DID}, entropy balancing", ("ATT",), (*_DIFFERENCES, "rate_ratio"), True,
                        _by_method("did_ipw", _ENTROPY)),
        PeopleEstimator("matched_did", f"{_DID}, matched pairs", ("ATT",), _DIFFERENCES, True, _matched),
        PeopleEstimator("aipw", "Augmented weighting (doubly robust)", _ALL, (*_DIFFERENCES, *_RATIOS), False,
                        _by_method("aipw", _PROPENSITY)),
        PeopleEstimator("ipw", "Weighting", _ALL, (*_DIFFERENCES, *_RATIOS), False, _by_method("ipw", _PROPENSITY)),
        PeopleEstimator("gcomp", "G-computation", _ALL, (*_DIFFERENCES, *_RATIOS), False,
                        _by_method("gcomp", _PROPENSITY)),
        PeopleEstimator("tmle", "Targeted maximum likelihood", ("ATT", "ATC", "ATE"),
                        (*_DIFFERENCES, "risk_ratio", "odds_ratio"), False, _by_method("tmle", _PROPENSITY)),
    )
}  # fmt: skip


def estimate_by_design(
    comparison: Comparison,
    estimand: Estimand,
    *,
    design: PeopleDesign,
    level: float = 0.95,
    bounds: tuple[float, float] | None = None,
    role: Role = "sensitivity",
) -> Estimate:
    """The estimate of one design of the registry, under the design's name and label.

    Parameters
    ----------
    bounds : lowest and highest possible value of the outcome, which TMLE of one that is not 0/1 uses

    Raises
    ------
    ParameterError
        A design that is not in the registry, a contrast or scale that it does not support, no outcome before; a level
        outside 0 to 1, bounds the wrong way round.
    NotEstimable
        As the design's own estimator.
    """
    if design not in PEOPLE_REGISTRY:
        known = get_args(PeopleDesign)
        raise ParameterError(Fault("design", f'there is no design "{design}"', allowed=", ".join(known),
                                   next_step=suggest_name(design, known)))  # fmt: skip
    entry = PEOPLE_REGISTRY[design]
    faults = []
    if estimand.contrast not in entry.contrasts:
        faults.append(
            Fault(design, "it does not estimate this contrast", estimand.contrast, ", ".join(entry.contrasts))
        )
    if estimand.scale not in entry.scales:
        faults.append(Fault(design, "it has not this scale", estimand.scale, ", ".join(entry.scales)))
    faults += level_faults(level)
    if bounds is not None and not bounds[0] < bounds[1]:
        faults.append(Fault("bounds", "the lowest value must be below the highest", str(bounds)))
    if faults:
        raise ParameterError(faults)
    found = entry.run(comparison, estimand, _Asked(level, bounds, role))
    return replace(found, estimator=design, label=entry.label)
