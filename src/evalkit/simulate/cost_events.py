"""Costs that accumulate until death or the horizon, of people some of whom move away before: the truth is theirs too.

Moving away is more common on one side and has nothing to do with cost; but those who are lost early are those who cost
little so far (Lin and others 1997, Biometrics 53:419), so that leaving it out is no small matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.polynomial.hermite_e import hermegauss
from scipy import optimize
from scipy.special import expit

from evalkit.simulate.person_events import YEAR
from evalkit.simulate.person_worlds import refuse_settings

QUARTER = YEAR / 4


@dataclass(frozen=True)
class CensoredCostSettings:
    """What `simulate_censored_costs` draws from; the defaults are 600 people, half treated as in a trial.

    Up to `horizon_days` people cost `running_gbp` a quarter, times exp(`severity_cost` x severity), a lasting gamma
    factor of variance `trait` and a passing one of variance `spread` a period of `period_days`; `entry_gbp`
    at entry and `death_gbp` at death. The service multiplies the running cost by
    exp(`effect`). People die at `deaths_per_year` times exp(`severity_death` x severity), of either side alike, and all
    deaths are known. Before that they move away, at `moves_comparison` or `moves_treated` a year times
    exp(`severity_moves` x severity); what they cost elsewhere is not seen. `selection` is the log odds of the service a
    standard deviation of severity.
    """

    people: int = 600
    effect: float = -0.25
    selection: float = 0.0
    treated_share: float = 0.5
    horizon_days: float = 730.0
    period_days: float = 30.0
    entry_gbp: float = 2000.0
    running_gbp: float = 4000.0
    death_gbp: float = 8000.0
    severity_cost: float = 0.3
    trait: float = 0.3
    spread: float = 0.5
    deaths_per_year: float = 0.35
    severity_death: float = 0.4
    moves_comparison: float = 0.15
    moves_treated: float = 0.8
    severity_moves: float = 0.0


def simulate_censored_costs(
    settings: CensoredCostSettings, *, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Draw people, what they cost and when, and the truth.

    People: `person`, `treated` (0/1), `severity`, `exit` (days from entry: death, moving away or the horizon, whichever
    is first) and `complete` (1 unless the person moved away). Records: `person`, `start`, `stop` (days), `cost` (GBP),
    in the order of people and time, up to `exit`; what is spent in a moment starts and stops then. Truth as
    `compute_censored_cost_truth`.

    Raises ParameterError, all faults at once, for settings out of range.
    """
    _check_settings(settings)
    n, horizon = settings.people, settings.horizon_days
    severity = rng.normal(size=n)
    treated = rng.random(n) < expit(settings.selection * severity + _intercept(replace(settings, people=1)))
    death = rng.exponential(size=n) * YEAR / _deaths(settings, severity)
    moves = np.where(treated, settings.moves_treated, settings.moves_comparison)
    hazard = moves * np.exp(settings.severity_moves * severity) / YEAR
    away = np.where(hazard > 0, rng.exponential(size=n) / np.where(hazard > 0, hazard, 1.0), np.inf)
    last = np.minimum(death, horizon)
    end = np.minimum(last, away)
    people = pd.DataFrame({
        "person": np.arange(n), "treated": treated.astype(int), "severity": severity, "exit": end,
        "complete": (last <= away).astype(int),
    })  # fmt: skip
    width = settings.period_days
    periods = int(np.ceil(horizon / width - 1e-9))
    start = np.arange(periods) * width
    stop = np.minimum(start + width, horizon)
    rate = _running(settings, severity) * np.exp(settings.effect * treated) / QUARTER
    rate = rate * _gamma(settings.trait, n, rng)
    passing = _gamma(settings.spread, (n, periods), rng)
    days = np.clip(end[:, None] - start, 0, stop - start)
    cost = rate[:, None] * passing * days
    entry = settings.entry_gbp * _gamma(settings.spread, n, rng)
    died = np.flatnonzero((death < horizon) & (death <= away))
    last_days = settings.death_gbp * _gamma(settings.spread, len(died), rng)
    person, place = np.nonzero(days > 0)
    records = pd.DataFrame({
        "person": np.concatenate([np.arange(n), person, died]),
        "start": np.concatenate([np.zeros(n), start[place], end[died]]),
        "stop": np.concatenate([np.zeros(n), np.minimum(stop[place], end[person]), end[died]]),
        "cost": np.concatenate([entry, cost[person, place], last_days]),
    })  # fmt: skip
    records = records.sort_values(["person", "start", "stop"], ignore_index=True)
    return people, records, compute_censored_cost_truth(settings)


def compute_censored_cost_truth(settings: CensoredCostSettings) -> dict[str, float]:
    """Mean cost to the horizon had nobody moved away, GBP a person, by Gauss-Hermite quadrature over severity.

    `mean.treated` and `mean.comparison` of the two sides as they are, and `raw.difference`; `ATT.difference` and
    `ATE.difference`, of the same people with the service and without it, and `ATT.ratio`, `ATE.ratio`. With hazard h,
    a life lasts (1 - exp(-h L)) / h days of L on average and ends before L with chance 1 - exp(-h L).
    """
    return dict(_truth(replace(settings, people=1, moves_comparison=0.0, moves_treated=0.0)))


@lru_cache(maxsize=64)
def _truth(settings: CensoredCostSettings) -> tuple[tuple[str, float], ...]:
    severity, mass = hermegauss(61)
    mass = mass / mass.sum()
    hazard = _deaths(settings, severity) / YEAR
    dead = -np.expm1(-hazard * settings.horizon_days)
    fixed = settings.entry_gbp + settings.death_gbp * dead
    running = _running(settings, severity) / QUARTER * dead / hazard
    with_it, without = fixed + running * np.exp(settings.effect), fixed + running
    e = expit(settings.selection * severity + _intercept(settings))
    truth = {
        "mean.treated": float(np.average(with_it, weights=mass * e)),
        "mean.comparison": float(np.average(without, weights=mass * (1 - e))),
    }
    truth["raw.difference"] = truth["mean.treated"] - truth["mean.comparison"]
    for contrast, weights in (("ATT", mass * e), ("ATE", mass)):
        one, none = (float(np.average(mean, weights=weights)) for mean in (with_it, without))
        truth |= {f"{contrast}.difference": one - none, f"{contrast}.ratio": one / none}
    return tuple(truth.items())


@lru_cache(maxsize=64)
def _intercept(settings: CensoredCostSettings) -> float:
    """Intercept of the log odds of the service at which its share in the population is `treated_share`."""
    nodes, mass = hermegauss(61)
    mass = mass / mass.sum()
    return float(
        optimize.brentq(lambda a: mass @ expit(settings.selection * nodes + a) - settings.treated_share, -15, 15)
    )


def _deaths(settings: CensoredCostSettings, severity: np.ndarray) -> np.ndarray:
    """Deaths a year."""
    return settings.deaths_per_year * np.exp(settings.severity_death * severity)


def _running(settings: CensoredCostSettings, severity: np.ndarray) -> np.ndarray:
    """Expected running cost without the service, GBP a quarter."""
    return settings.running_gbp * np.exp(settings.severity_cost * severity)


def _gamma(variance: float, shape: int | tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Gamma factors with mean 1."""
    return rng.gamma(1 / variance, variance, shape) if variance else np.ones(shape)


def _check_settings(settings: CensoredCostSettings) -> None:
    refuse_settings("censored cost settings", settings, [
        ("people", settings.people < 1, "1 or more"),
        ("treated_share", not 0.01 <= settings.treated_share <= 0.99, "0.01 to 0.99"),
        ("horizon_days", settings.horizon_days <= 0, "above 0"),
        ("period_days", not 1 <= settings.period_days <= settings.horizon_days, "1 to the horizon"),
        ("deaths_per_year", settings.deaths_per_year <= 0, "above 0"),
        *((name, getattr(settings, name) < 0, "0 or more")
          for name in ("entry_gbp", "running_gbp", "death_gbp", "trait", "spread", "moves_comparison",
                       "moves_treated")),
    ])  # fmt: skip
