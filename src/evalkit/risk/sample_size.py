"""Whether discharges can bear a model of their own, only a recalibration of one made elsewhere, or neither.

The verdict comes before any model: it sees outcomes and who they belong to, never predictors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.faults import is_finite, refuse, whole_faults
from evalkit.risk.sample_criteria import (
    DevelopmentTargets,
    SizeNeeded,
    ValidationTargets,
    compute_development_size,
    compute_validation_size,
)
from evalkit.risk.sample_spread import (
    build_odds_from_risk,
    compute_largest_r2,
    compute_r2_from_auroc,
    share_faults,
)

Verdict = Literal["develop", "recalibrate", "refuse"]
Recalibration = Literal["intercept", "slope"]  # as risk.recalibrate has them: "slope" updates both

# Where nothing is known of the model, Riley and others (2020, BMJ 368:m441) take 15% of the largest R2.
UNKNOWN_SHARE_OF_R2 = 0.15
LEAST_EVENTS = 10


@dataclass(frozen=True)
class SampleWorth:
    """What the discharges of one sample are worth as independent ones.

    `design_effect`: variance of the overall risk over what it would be with one discharge a person. `effective`:
    discharges over the design effect. `rarer`: discharges of the rarer outcome. `prevalence`: share readmitted.
    """

    discharges: int
    people: int
    rarer: int
    prevalence: float
    within_person: float
    design_effect: float
    effective: float


@dataclass(frozen=True)
class JudgedCriterion:
    """Discharges that a criterion needs, and the effective ones there are."""

    name: str
    label: str
    needed: int
    have: float
    met: bool


@dataclass(frozen=True)
class SampleVerdict:
    """What the discharges can bear and why.

    `method` is what may be recalibrated ("slope": intercept and slope), None unless the verdict is "recalibrate".
    `criteria` are those of developing with `parameters`; `recalibration` those of one coefficient. `r2` is the
    Cox-Snell R2 that was expected (NaN where there are too few events to ask). `reason` is for a reader and gives no
    exact count.
    """

    verdict: Verdict
    method: Recalibration | None
    reason: str
    parameters: int
    r2: float
    worth: SampleWorth
    criteria: tuple[JudgedCriterion, ...]
    recalibration: tuple[JudgedCriterion, ...]


def judge_sample(
    outcome: np.ndarray,
    person: np.ndarray,
    *,
    parameters: int,
    expected_auroc: float | None = None,
    targets: DevelopmentTargets | None = None,
) -> SampleVerdict:
    """What discharges with these outcomes (n,), 0 or 1, of these people (n,) can bear.

    Develop: every criterion of `compute_development_size` with `parameters` candidate parameters is met by the
    effective discharges. Recalibrate intercept and slope: every criterion is met for one parameter, the log odds of
    the model made elsewhere. Recalibrate the intercept: the overall risk is known to the margin. Refuse: not even
    that, or fewer than 10 discharges of either outcome. Without `expected_auroc`, R2 is 15% of the largest.

    Fails with `ParameterError` for malformed arrays or options.
    """
    _refuse_sample(outcome, person, parameters, expected_auroc)
    worth = estimate_sample_worth(outcome, person)
    if worth.rarer < LEAST_EVENTS:
        reason = f"Fewer than {LEAST_EVENTS} discharges of one of the two outcomes: nothing can be fitted."
        return SampleVerdict("refuse", None, reason, parameters, math.nan, worth, (), ())
    r2 = _expected_r2(worth.prevalence, expected_auroc)
    criteria, single = (
        _judge(compute_development_size(parameters=k, prevalence=worth.prevalence, r2=r2, targets=targets), worth)
        for k in (parameters, 1)
    )
    verdict, method = _decide(criteria, single)
    reason = _say(verdict, method, criteria if verdict != "refuse" else single, worth)
    return SampleVerdict(verdict, method, reason, parameters, r2, worth, criteria, single)


def judge_validation(
    outcome: np.ndarray,
    person: np.ndarray,
    *,
    expected_auroc: float,
    risk: np.ndarray | None = None,
    targets: ValidationTargets | None = None,
) -> tuple[JudgedCriterion, ...]:
    """Criteria of `compute_validation_size` against the effective discharges: O/E, slope and AUROC.

    `risk` (n,): risks that the model will predict, for the slope; without them they are taken as normal on the log
    odds with the expected AUROC. Fails with `ParameterError` for malformed arrays, with `NotEstimable` where there is
    one outcome class only.
    """
    _refuse_sample(outcome, person, 1, expected_auroc)
    worth = estimate_sample_worth(outcome, person)
    if worth.rarer == 0:
        raise NotEstimable(Fault("judge_validation outcome", "holds one class only", allowed="both 0 and 1"))
    odds = None if risk is None else build_odds_from_risk(risk)
    needed = compute_validation_size(auroc=expected_auroc, prevalence=worth.prevalence, odds=odds, targets=targets)
    return _judge(needed, worth)


def estimate_sample_worth(outcome: np.ndarray, person: np.ndarray) -> SampleWorth:
    """Effective discharges: discharges of one person tell less than as many of different people.

    Design effect 1 + (m - 1) r, with m = sum(n_i^2) / sum(n_i) discharges a person (Kish 1965, as the variance of a
    mean has it) and r the intra-person correlation of the outcome by analysis of variance, not below 0. Predictors
    that explain what a person's discharges share lower r: the effective number errs on the low side.
    """
    _refuse_sample(outcome, person, 1, None)
    codes, people = pd.factorize(np.asarray(person))
    outcome = np.asarray(outcome, dtype=float)
    size = np.bincount(codes).astype(float)
    n, k, mean = len(outcome), len(people), float(outcome.mean())
    within = _intra_person_correlation(np.bincount(codes, outcome) / size, size, mean) if 1 < k < n else 0.0
    effect = 1 + (float(np.sum(size**2)) / n - 1) * within
    rarer = int(min(outcome.sum(), n - outcome.sum()))
    return SampleWorth(n, k, rarer, mean, within, effect, n / effect)


# ---- parts ---------------------------------------------------------------------------------------


def _intra_person_correlation(means: np.ndarray, size: np.ndarray, mean: float) -> float:
    n, k = size.sum(), len(size)
    between = float(size @ (means - mean) ** 2) / (k - 1)
    # Of 0/1 outcomes the sum of squares within a person is n_i p_i (1 - p_i).
    within = float(size @ (means * (1 - means))) / (n - k)
    usual = (n - float(size @ size) / n) / (k - 1)
    total = between + (usual - 1) * within
    return float(min(max((between - within) / total, 0.0), 1.0)) if total > 0 else 0.0


def _expected_r2(prevalence: float, auroc: float | None) -> float:
    if auroc is None:
        return UNKNOWN_SHARE_OF_R2 * compute_largest_r2(prevalence)
    return compute_r2_from_auroc(auroc, prevalence=prevalence)


def _judge(needed: SizeNeeded, worth: SampleWorth) -> tuple[JudgedCriterion, ...]:
    return tuple(
        JudgedCriterion(c.name, c.label, c.needed, worth.effective, met=worth.effective >= c.needed)
        for c in needed.criteria
    )


def _decide(
    criteria: tuple[JudgedCriterion, ...], single: tuple[JudgedCriterion, ...]
) -> tuple[Verdict, Recalibration | None]:
    if all(c.met for c in criteria):
        return "develop", None
    if all(c.met for c in single):
        return "recalibrate", "slope"
    if all(c.met for c in single if c.name == "overall_risk"):
        return "recalibrate", "intercept"
    return "refuse", None


def _say(
    verdict: Verdict, method: Recalibration | None, criteria: tuple[JudgedCriterion, ...], worth: SampleWorth
) -> str:
    if verdict == "develop":
        tightest = min(criteria, key=lambda c: c.have / c.needed)
        text = f"Enough: {_share(tightest)} times what the hardest criterion asks for ({_inside(tightest.label)})."
    else:
        lacking = "; ".join(f"{_share(c)} of what is needed for {_inside(c.label)}" for c in criteria if not c.met)
        parts = {"intercept": "intercept", "slope": "intercept and slope"}
        allowed = (
            f"only the {parts[method]} of a model made elsewhere may be fitted" if method else "none may be fitted"
        )
        text = f"Too few independent discharges: {lacking}. So {allowed}."
    if worth.design_effect < 1.05:
        return text
    return f"{text} Discharges of the same people count for less: {worth.design_effect:.1f} of them for one."


def _share(criterion: JudgedCriterion) -> str:
    """What there is over what is needed, rounded down: a share tells no count, and one refused never reads as 1."""
    ratio = criterion.have / criterion.needed
    if ratio >= 1:
        return f"{math.floor(10 * ratio + 1e-9) / 10:,.1f}"
    step = 0.05 if ratio >= 0.1 else 0.01
    return f"{math.floor(ratio / step + 1e-9) * step:.2f}" if ratio >= 0.01 else "less than 0.01"


def _inside(label: str) -> str:
    """A label within a sentence."""
    return label[0].lower() + label[1:]


def _refuse_sample(outcome: np.ndarray, person: np.ndarray, parameters: int, auroc: float | None) -> None:
    where, values = "judge_sample", np.asarray(outcome)
    faults = whole_faults(f"{where} parameters", parameters, least=1)
    if values.ndim != 1 or len(values) == 0 or np.shape(person) != values.shape:
        faults.append(Fault(f"{where} outcome, person", "must be of one shape (n,), n above 0"))
        raise ParameterError(faults)
    if not np.all((values == 0) | (values == 1)):
        faults.append(Fault(f"{where} outcome", "is missing or holds other values", allowed="0 and 1"))
    if pd.isna(np.asarray(person)).any():
        faults.append(Fault(f"{where} person", "is missing for some discharges"))
    if auroc is not None:
        faults += share_faults(where, expected_auroc=auroc)
        if is_finite(auroc) and 0 < auroc <= 0.5:
            faults.append(Fault(f"{where} expected_auroc", "is no better than chance", str(auroc), "above 0.5"))
    refuse(faults)
