"""People of two sides whose effect is known: worse people get the service, and what that does is settable.

Stand-ins for a whole world, as `simulate.panels` is for areas. Truth is of the population that people are drawn from,
not of the people drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import optimize
from scipy.special import expit

from evalkit.core.errors import Fault, ParameterError

OutcomeKind = Literal["binary", "continuous", "count"]
Nonlinear = Literal["none", "propensity", "outcome", "both"]

POPULATION = 400_000  # people of whom each has both outcomes, for the truth
HOUSING = ("own tenancy", "supported", "unstable")
FIXED = ("severity", "age", "dual_diagnosis", "forensic", "housing")
MIN_COVARIATES, MAX_COVARIATES = len(FIXED), 40


@dataclass(frozen=True)
class PeopleSettings:
    """What `simulate_people` draws from; the defaults are 600 people like IPSA's, half a chance of being treated.

    `effect` is conditional on the covariates: a log odds ratio (binary), a difference in units of the outcome, whose
    residual standard deviation is 1 (continuous), or a log rate ratio (count); 0 for none. It grows with severity by
    the share `heterogeneity`, so that ATT, ATE, ATC and ATO differ. `selection` is how strongly severity and the other
    covariates draw people into the service: 0 for a trial, 1 like services, 3 for hardly any overlap. `nonlinear` adds
    squares and products of covariates to the log odds of the service, to the outcome, or to both.

    `hidden` is the standard deviation of a trait that is not in the frame, raises the chance of the service and moves
    the outcome before and after alike: only differences-in-differences are then right, on the difference scale for
    binary and continuous outcomes and on the ratio scale for counts. `before` correlates with the outcome through a
    trait of the person (`trait`, standard deviation) that has nothing to do with the service.

    With `clusters`, people fall into that many of equal chance, with effects of standard deviation `cluster_sd` on the
    outcome and, independently, on the chance of the service. `frailty` is the variance of a gamma factor of counts.
    `missing` is the share of severities that are empty, more often of the old and most of the treated who did badly: at
    random given what is seen, but not among complete people.
    """

    people: int = 600
    outcome: OutcomeKind = "binary"
    effect: float = 0.0
    heterogeneity: float = 0.3
    selection: float = 1.0
    treated_share: float = 0.5
    covariates: int = 5
    nonlinear: Nonlinear = "none"
    hidden: float = 0.0
    trait: float = 0.5
    clusters: int = 0
    cluster_sd: float = 0.4
    frailty: float = 0.5
    missing: float = 0.0


def covariate_names(settings: PeopleSettings) -> tuple[str, ...]:
    """Columns of the covariates: severity, age (standardised), two yes/no, housing as text, then noise."""
    return (*FIXED, *(f"noise_{k}" for k in range(1, settings.covariates - len(FIXED) + 1)))


def simulate_people(settings: PeopleSettings, *, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, float]]:
    """Draw people and their true effects: one row a person.

    Columns `person`, `treated` (0/1), the covariates of `covariate_names`, `before`, `outcome`, `cluster`, and
    `person_time` (years; 1 unless the outcome is a count; the same share of time before and after). Truth is keyed
    `contrast.scale`, such as `ATT.risk_difference`: binary outcomes have risk_difference, risk_ratio and odds_ratio
    (of marginal risks), continuous ones mean_difference, counts rate_ratio and events_per_person (a year).

    Raises ParameterError, all faults at once, for settings out of range.
    """
    _check_settings(settings)
    n = settings.people
    drawn = _draw_traits(settings, n, rng)
    treated = rng.random(n) < expit(_log_odds(settings, drawn) + _intercept(_of_population(settings)))
    effect = _conditional_effect(settings, drawn)
    before, after = _means(settings, drawn, np.where(treated, effect, 0.0))
    person_time = rng.uniform(0.5, 1.0, n) if settings.outcome == "count" else np.ones(n)
    frame = pd.DataFrame({"person": np.arange(n), "treated": treated.astype(int)})
    for name in covariate_names(settings):
        frame[name] = np.array(HOUSING)[drawn[name]] if name == "housing" else drawn[name]
    factor = _frailty(settings, n, rng)
    frame["before"] = _draw_outcome(settings, before * factor, person_time, rng)
    frame["outcome"] = _draw_outcome(settings, after * factor, person_time, rng)
    frame["cluster"] = drawn["cluster"]
    frame["person_time"] = person_time
    if settings.missing:
        badly = frame["outcome"] > frame["outcome"].median()
        pull = expit(-1.0 + 0.5 * frame["age"] + 2.5 * treated * badly)
        chance = np.clip(settings.missing * pull / pull.mean(), 0, 0.95)
        frame["severity"] = frame["severity"].where(rng.random(n) >= chance)
    return frame, compute_people_truth(settings)


def compute_people_truth(settings: PeopleSettings) -> dict[str, float]:
    """True effects of the population of `settings`, keyed `contrast.scale`.

    Averages of both expected outcomes over 400,000 people, each weighed by the true chance of treatment e (ATT), of
    none (ATC), by 1 (ATE) or by e(1 - e) (ATO; Li, Morgan and Zaslavsky 2018, JASA 113:390). Averaging expectations
    instead of outcomes leaves an error of about 0.0005 in a risk difference.
    """
    return dict(_population_truth(_of_population(settings)))


def _of_population(settings: PeopleSettings) -> PeopleSettings:
    """The settings that the population depends on, so that truth is computed once for every number of people."""
    return replace(settings, people=POPULATION, missing=0.0, frailty=0.0)


@lru_cache(maxsize=128)
def _population_truth(settings: PeopleSettings) -> tuple[tuple[str, float], ...]:
    drawn = _draw_traits(settings, POPULATION, np.random.default_rng(20_240_901))
    e = expit(_log_odds(settings, drawn) + _intercept(settings))
    _, untreated = _means(settings, drawn, np.zeros(POPULATION))
    _, treated = _means(settings, drawn, _conditional_effect(settings, drawn))
    truth: dict[str, float] = {}
    for contrast, weight in (("ATT", e), ("ATC", 1 - e), ("ATE", np.ones_like(e)), ("ATO", e * (1 - e))):
        one, none = np.average(treated, weights=weight), np.average(untreated, weights=weight)
        if settings.outcome == "continuous":
            truth[f"{contrast}.mean_difference"] = float(one - none)
            continue
        difference, ratio = ("events_per_person", "rate_ratio") if settings.outcome == "count" else (
            "risk_difference", "risk_ratio"
        )  # fmt: skip
        truth |= {f"{contrast}.{difference}": float(one - none), f"{contrast}.{ratio}": float(one / none)}
        if settings.outcome == "binary":
            truth[f"{contrast}.odds_ratio"] = float(one / (1 - one) * (1 - none) / none)
    return tuple(truth.items())


@lru_cache(maxsize=128)
def _intercept(settings: PeopleSettings) -> float:
    """Intercept of the log odds of the service at which its share in the population is `treated_share`."""
    drawn = _draw_traits(settings, POPULATION // 4, np.random.default_rng(7))
    log_odds = _log_odds(settings, drawn)
    return float(optimize.brentq(lambda a: expit(log_odds + a).mean() - settings.treated_share, -15, 15))


def _draw_traits(settings: PeopleSettings, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Everything a person is before the service, seen or not; arrays of shape (n,)."""
    severity = rng.normal(size=n)
    drawn = {
        "severity": severity,
        "age": 0.3 * severity + np.sqrt(1 - 0.3**2) * rng.normal(size=n),
        "dual_diagnosis": (rng.random(n) < expit(-0.4 + 0.5 * severity)).astype(int),
        "forensic": (rng.random(n) < 0.25).astype(int),
        "housing": rng.choice(3, size=n, p=(0.4, 0.35, 0.25)),
        "hidden": rng.normal(size=n),
        "trait": rng.normal(size=n),
    }
    for name in covariate_names(settings)[MIN_COVARIATES:]:
        drawn[name] = rng.normal(size=n)
    clusters = settings.clusters
    # In the population every person has a cluster of their own draw: clusters are as random as people.
    members = n if clusters and n == POPULATION else clusters
    drawn["cluster"] = rng.integers(clusters, size=n) if clusters and members == clusters else np.arange(n)
    size = max(members, 1) if clusters else 1
    outcome_shift, service_shift = rng.normal(0, settings.cluster_sd if clusters else 0.0, (2, size))
    drawn["outcome_shift"] = outcome_shift[drawn["cluster"]] if clusters else np.zeros(n)
    drawn["service_shift"] = service_shift[drawn["cluster"]] if clusters else np.zeros(n)
    return drawn


def _curve(drawn: dict[str, np.ndarray]) -> np.ndarray:
    """What a model that is linear in the covariates misses, mean near 0 and standard deviation near 1."""
    severity, age = drawn["severity"], drawn["age"]
    return 0.5 * (severity**2 - 1) + 0.5 * severity * age


def _log_odds(settings: PeopleSettings, drawn: dict[str, np.ndarray]) -> np.ndarray:
    """Log odds of the service but for the intercept."""
    linear = 0.6 * drawn["severity"] + 0.3 * drawn["age"] + 0.4 * drawn["dual_diagnosis"] - 0.3 * drawn["forensic"]
    linear = linear + 0.4 * (drawn["housing"] == HOUSING.index("unstable"))
    if settings.nonlinear in ("propensity", "both"):
        linear = linear + 0.8 * _curve(drawn)
    return settings.selection * linear + settings.hidden * drawn["hidden"] + drawn["service_shift"]


def _conditional_effect(settings: PeopleSettings, drawn: dict[str, np.ndarray]) -> np.ndarray:
    return settings.effect * (1 + settings.heterogeneity * drawn["severity"])


def _means(settings: PeopleSettings, drawn: dict[str, np.ndarray], effect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected outcome before (nobody treated) and after, shape (n,) each."""
    fixed = 0.6 * drawn["severity"] + 0.2 * drawn["age"] + 0.5 * drawn["dual_diagnosis"] + 0.3 * drawn["forensic"]
    fixed = fixed + 0.3 * (drawn["housing"] == HOUSING.index("unstable")) + drawn["outcome_shift"]
    if settings.nonlinear in ("outcome", "both"):
        fixed = fixed + 0.8 * _curve(drawn)
    shared = settings.hidden * drawn["hidden"] + settings.trait * drawn["trait"]
    if settings.outcome == "continuous":
        return fixed + shared, fixed + shared - 0.2 + effect
    if settings.outcome == "count":
        rate = np.exp(0.6 * fixed + shared)
        return rate, 0.9 * rate * np.exp(effect)
    if settings.hidden == 0:
        # The trait moves the outcome before alone, so that the outcome after is logistic in the covariates.
        return expit(fixed - 0.8 + shared), expit(fixed - 1.0 + effect)
    # Risks that move in parallel whatever the hidden trait is: bounded inside (0.15, 0.85), then the same fall for all.
    before = 0.15 + 0.7 * expit(fixed - 0.8 + shared)
    risk = before - 0.05
    return before, expit(np.log(risk / (1 - risk)) + effect)


def _frailty(settings: PeopleSettings, n: int, rng: np.random.Generator) -> np.ndarray:
    if settings.outcome != "count" or settings.frailty == 0:
        return np.ones(n)
    return rng.gamma(1 / settings.frailty, settings.frailty, n)


def _draw_outcome(
    settings: PeopleSettings, mean: np.ndarray, person_time: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    if settings.outcome == "continuous":
        return mean + rng.normal(size=len(mean))
    if settings.outcome == "count":
        return rng.poisson(mean * person_time).astype(float)
    return (rng.random(len(mean)) < mean).astype(int)


def refuse_settings(where: str, settings: object, wrong: list[tuple[str, bool, str]]) -> None:
    """Raise one ParameterError for all settings out of range, given as (name, is it wrong, what is allowed)."""
    faults = [
        Fault(where, f'"{name}" is out of range', got=str(getattr(settings, name)), allowed=allowed)
        for name, bad, allowed in wrong
        if bad
    ]
    if faults:
        raise ParameterError(faults)


def _check_settings(settings: PeopleSettings) -> None:
    covariates = settings.covariates
    refuse_settings("people settings", settings, [
        ("people", settings.people < 1, "1 or more"),
        ("outcome", settings.outcome not in get_args(OutcomeKind), ", ".join(get_args(OutcomeKind))),
        ("nonlinear", settings.nonlinear not in get_args(Nonlinear), ", ".join(get_args(Nonlinear))),
        ("treated_share", not 0.01 <= settings.treated_share <= 0.99, "0.01 to 0.99"),
        ("covariates", not MIN_COVARIATES <= covariates <= MAX_COVARIATES, f"{MIN_COVARIATES} to {MAX_COVARIATES}"),
        ("clusters", settings.clusters < 0, "0 or more"),
        ("missing", not 0 <= settings.missing <= 0.6, "0 to 0.6"),
        *((name, getattr(settings, name) < 0, "0 or more")
          for name in ("selection", "hidden", "trait", "cluster_sd", "frailty")),
    ])  # fmt: skip
