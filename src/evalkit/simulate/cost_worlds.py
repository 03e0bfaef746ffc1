"""People of two sides whose costs before and after are known by design, and with them the effect of a service on cost.

As `simulate.person_worlds`, in pounds per person-quarter. Truth is of the population that people are drawn from, by
quadrature over everything that moves a mean: it has no error of chance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.polynomial.hermite_e import hermegauss
from scipy import optimize
from scipy.special import expit, gammaincinv, ndtr

from evalkit.simulate.person_worlds import Nonlinear, refuse_settings

Noise = Literal["gamma", "lognormal"]
Trends = Literal["ratio", "pounds"]
Recent = Literal["nobody", "everybody", "treated"]

COVARIATES = ("severity", "age", "dual_diagnosis", "forensic")
RESOURCES = ("wards", "placements")
WARD_SHARE = 0.6  # of the cost at prices of the first year
LEVEL_GBP = 4000.0  # mean cost per person-quarter of a person of mean severity who costs anything
AGE_OF_SEVERITY = 0.3
DUAL, FORENSIC = -0.4, 0.25  # log odds at mean severity; share
STAYING = 0.6  # correlation of the latent causes of costing anything before and after
RECENT_PULL = 1.0  # log odds of the service a standard deviation of recent use
MEAN_DAYS, DAYS_SD, DAYS_COST = 55.0, 14.0, -0.8  # days at home a quarter, and their correlation with cost
_TINY = 1e-12


@dataclass(frozen=True)
class CostSettings:
    """What `simulate_costs` draws from; the defaults are 600 people with a skewed cost, four in ten of them treated.

    `effect` is the log ratio of mean cost after, treated over not, and grows with severity by the share
    `heterogeneity`; `use_effect` is the log odds ratio of costing anything, where the share `zeros` costs nothing
    before; `days_effect` is in days at home a quarter. `selection` is how strongly the covariates draw people into the
    service, `nonlinear` adds squares and products of them to its log odds, to the trend of cost, or to both.

    Without the service cost moves in proportion (`trends` "ratio": by exp(`trend`), more for the severe by
    `severity_trend`) or by pounds (the same shares of `LEVEL_GBP`). `gap` is by how much the treated cost more for
    reasons that no covariate tells, before and after alike: in proportion, or in pounds as a share of `LEVEL_GBP`.
    Without it, both kinds of difference-in-differences that adjust for the covariates are right; with it, one.

    `trait` and `spread` are the squared coefficients of variation of a lasting and of a passing factor of cost, gamma
    or lognormal by `noise`. `inflation` raises all prices after by that share, `price_fall` lowers those of
    placements after for the treated alone. With `clusters`, people fall into that many of equal chance; cost after has
    a factor common to a cluster, with log standard deviation `cluster_sd`, and the log odds of the service have a shift
    of standard deviation `cluster_pull`. `recent` says who was chosen when their passing factor was high: everybody
    (above its median, so that all cost less later) or, more likely the higher it was, the treated.
    """

    people: int = 600
    effect: float = -0.25
    use_effect: float = 0.0
    days_effect: float = 0.0
    heterogeneity: float = 0.2
    selection: float = 0.8
    treated_share: float = 0.4
    nonlinear: Nonlinear = "none"
    trends: Trends = "ratio"
    trend: float = 0.15
    severity_trend: float = 0.0
    gap: float = 0.0
    noise: Noise = "gamma"
    trait: float = 0.4
    spread: float = 0.4
    zeros: float = 0.0
    inflation: float = 0.0
    price_fall: float = 0.0
    clusters: int = 0
    cluster_sd: float = 0.3
    cluster_pull: float = 1.5
    recent: Recent = "nobody"


def simulate_costs(settings: CostSettings, *, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, float]]:
    """Draw people and the true effects on the treated: one row a person.

    Columns `person`, `treated` (0/1), `COVARIATES`, `cluster`; `before`, `after` (GBP per person-quarter, at prices
    paid); `<resource>_before`, `<resource>_after` (the same by resource, at prices of the first year, so that their
    sum is the volume); `days_before`, `days_after` (days at home a quarter). Truth as `compute_cost_truth`.

    Raises ParameterError, all faults at once, for settings out of range.
    """
    _check_settings(settings)
    n = settings.people
    x = _draw_covariates(n, rng)
    lasting, passing_before, passing_after, days_noise, starts, stays = rng.normal(size=(6, n))
    passing_before = np.abs(passing_before) if settings.recent == "everybody" else passing_before
    cluster, shock, pull = _draw_clusters(settings, n, rng)
    if settings.recent == "treated":
        pull = RECENT_PULL * passing_before
    treated = rng.random(n) < expit(_log_odds(settings, x) + _intercept(_of_population(settings)) + pull)
    frame = pd.DataFrame({"person": np.arange(n), "treated": treated.astype(int), **x, "cluster": cluster})
    use = _use_chances(settings, x, treated.astype(float))
    stays = STAYING * starts + np.sqrt(1 - STAYING**2) * stays
    factor = _factor(settings, settings.trait, lasting)
    for k, (when, passing, chance) in enumerate((
        ("before", passing_before, ndtr(starts) < use[0]), ("after", passing_after, ndtr(stays) < use[1])
    )):  # fmt: skip
        mean = _means_of_users(settings, x, treated.astype(float), effect=1.0)[k]
        volume = mean * factor * _factor(settings, settings.spread, passing) * chance * (shock if k else 1.0)
        split = np.clip(WARD_SHARE + 0.2 * rng.uniform(-1, 1, n), 0, 1)
        paid = np.zeros(n)
        for name, part in (("wards", split), ("placements", 1 - split)):
            frame[f"{name}_{when}"] = volume * part
            fall = settings.price_fall * treated * (name == "placements")
            paid += volume * part * ((1 + settings.inflation) * (1 - fall) if k else 1.0)
        frame[when] = paid
        days = DAYS_COST * passing + np.sqrt(1 - DAYS_COST**2) * (days_noise if k else rng.normal(size=n))
        frame[f"days_{when}"] = _mean_days(settings, x, treated, after=k) + DAYS_SD * days
    return frame, compute_cost_truth(settings)


def compute_cost_truth(settings: CostSettings) -> dict[str, float]:
    """True effects on the treated, per person-quarter.

    `actual` and `counterfactual` (GBP at the prices that were paid, and would have been), `difference`, `ratio` of
    them and `proportion` (ratio - 1); `volume.difference`, `volume.ratio`, the same at prices of the first year;
    `use.difference` (share that costs anything), `days`, and `icer` (GBP a day at home, NaN where `days` is 0).
    Averages of expected costs weighed by the chance of the service, over Gauss-Hermite nodes of the two normal
    covariates, both values of the two others, and nodes of what else draws people in.
    """
    return dict(_population_truth(_of_population(settings)))


def _of_population(settings: CostSettings) -> CostSettings:
    """The settings that truth depends on, so that it is computed once for every number of people."""
    return replace(settings, people=1)


@lru_cache(maxsize=128)
def _population_truth(settings: CostSettings) -> tuple[tuple[str, float], ...]:
    x, mass, pull = _nodes(settings)
    e = mass * expit(_log_odds(settings, x) + _intercept(settings) + pull)
    e = e / e.sum()
    one = np.ones_like(e)
    use_with, use_without = (_use_chances(settings, x, one, effect=on)[1] for on in (1.0, 0.0))
    with_it = float(e @ (use_with * _means_of_users(settings, x, one, effect=1.0)[1]))
    without = float(e @ (use_without * _means_of_users(settings, x, one, effect=0.0)[1]))
    price = 1 + settings.inflation
    actual = with_it * price * (WARD_SHARE + (1 - WARD_SHARE) * (1 - settings.price_fall))
    counterfactual = without * price
    days = settings.days_effect
    truth = {
        "actual": actual, "counterfactual": counterfactual, "difference": actual - counterfactual,
        "ratio": actual / counterfactual, "proportion": actual / counterfactual - 1,
        "volume.difference": with_it - without, "volume.ratio": with_it / without,
        "use.difference": float(e @ (use_with - use_without)), "days": days,
        "icer": (actual - counterfactual) / days if days else np.nan,
    }  # fmt: skip
    return tuple(truth.items())


def _nodes(settings: CostSettings) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Nodes of the covariates, their mass, and the shift of the log odds by what no covariate tells; (m,) each."""
    sd = RECENT_PULL if settings.recent == "treated" else settings.cluster_pull * (settings.clusters > 0)
    nodes, mass = hermegauss(41)
    pulls, pull_mass = hermegauss(21 if sd else 1)
    grid = np.meshgrid(nodes, nodes, (0.0, 1.0), (0.0, 1.0), pulls, indexing="ij")
    severity, rest, dual, forensic, pull = (part.ravel() for part in grid)
    weights = np.meshgrid(mass, mass, (1.0, 1.0), (1.0, 1.0), pull_mass, indexing="ij")
    weight = np.prod([part.ravel() for part in weights], axis=0)
    chance = expit(DUAL + 0.5 * severity)
    weight = weight * np.where(dual == 1, chance, 1 - chance) * np.where(forensic == 1, FORENSIC, 1 - FORENSIC)
    age = AGE_OF_SEVERITY * severity + np.sqrt(1 - AGE_OF_SEVERITY**2) * rest
    x = dict(zip(COVARIATES, (severity, age, dual, forensic), strict=True))
    return x, weight / weight.sum(), sd * pull


def _draw_covariates(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    severity, rest = rng.normal(size=(2, n))
    dual = (rng.random(n) < expit(DUAL + 0.5 * severity)).astype(float)
    forensic = (rng.random(n) < FORENSIC).astype(float)
    age = AGE_OF_SEVERITY * severity + np.sqrt(1 - AGE_OF_SEVERITY**2) * rest
    return dict(zip(COVARIATES, (severity, age, dual, forensic), strict=True))


def _draw_clusters(
    settings: CostSettings, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each person's cluster, its factor of cost after (mean 1) and its shift of the log odds of the service."""
    if not settings.clusters:
        return np.arange(n), np.ones(n), np.zeros(n)
    cluster = rng.integers(settings.clusters, size=n)
    shock, pull = rng.normal(size=(2, settings.clusters))
    sd = settings.cluster_sd
    return cluster, np.exp(sd * shock - sd**2 / 2)[cluster], settings.cluster_pull * pull[cluster]


@lru_cache(maxsize=128)
def _intercept(settings: CostSettings) -> float:
    """Intercept of the log odds of the service at which its share in the population is `treated_share`."""
    x, mass, pull = _nodes(settings)
    log_odds = _log_odds(settings, x) + pull
    return float(optimize.brentq(lambda a: mass @ expit(log_odds + a) - settings.treated_share, -15, 15))


@lru_cache(maxsize=128)
def _use_intercept(zeros: float) -> float:
    """Intercept of the log odds of costing anything at which the share `zeros` costs nothing before."""
    x, mass, _ = _nodes(CostSettings(people=1))
    return float(optimize.brentq(lambda a: mass @ expit(0.5 * x["severity"] + a) - (1 - zeros), -15, 15))


def _curve(x: dict[str, np.ndarray]) -> np.ndarray:
    """What a model that is linear in the covariates misses."""
    return 0.5 * (x["severity"] ** 2 - 1) + 0.5 * x["severity"] * x["age"]


def _log_odds(settings: CostSettings, x: dict[str, np.ndarray]) -> np.ndarray:
    """Log odds of the service but for the intercept."""
    linear = 0.6 * x["severity"] + 0.3 * x["age"] + 0.4 * x["dual_diagnosis"] - 0.3 * x["forensic"]
    if settings.nonlinear in ("propensity", "both"):
        linear = linear + 0.8 * _curve(x)
    return settings.selection * linear


def _use_chances(
    settings: CostSettings, x: dict[str, np.ndarray], treated: np.ndarray, *, effect: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Chance of costing anything before and after, shape (n,) each; `effect` 0 takes that of the service away."""
    if not settings.zeros:
        return np.ones_like(treated), np.ones_like(treated)
    before = 0.5 * x["severity"] + _use_intercept(settings.zeros)
    return expit(before), expit(before + settings.trend + effect * settings.use_effect * treated)


def _means_of_users(
    settings: CostSettings, x: dict[str, np.ndarray], treated: np.ndarray, *, effect: float
) -> tuple[np.ndarray, np.ndarray]:
    """Expected cost of those who cost anything, before and after, GBP at prices of the first year, shape (n,) each."""
    log_level = 0.3 * x["severity"] + 0.1 * x["age"] + 0.2 * x["dual_diagnosis"] + 0.1 * x["forensic"]
    before = LEVEL_GBP * np.exp(log_level)
    trend = settings.trend + settings.severity_trend * x["severity"]
    if settings.nonlinear in ("outcome", "both"):
        trend = trend + 0.5 * np.tanh(_curve(x))
    if settings.trends == "ratio":
        before = before * np.exp(settings.gap * treated)
        after = before * np.exp(trend)
    else:
        before = before + LEVEL_GBP * settings.gap * treated
        # No cost is negative: the fall stops at a twentieth of the level, which hardly anybody reaches.
        after = np.maximum(before + LEVEL_GBP * trend, LEVEL_GBP / 20)
    own = effect * settings.effect * (1 + settings.heterogeneity * x["severity"])
    return before, after * np.exp(own * treated)


def _mean_days(settings: CostSettings, x: dict[str, np.ndarray], treated: np.ndarray, *, after: int) -> np.ndarray:
    """Expected days at home a quarter; not bounded, so that the effect is the same for all."""
    return MEAN_DAYS - 6.0 * x["severity"] + after * (2.0 - x["severity"] + settings.days_effect * treated)


def _factor(settings: CostSettings, squared_cv: float, z: np.ndarray) -> np.ndarray:
    """A factor with mean 1 and this squared coefficient of variation, from standard normals."""
    if not squared_cv:
        return np.ones_like(z)
    if settings.noise == "lognormal":
        variance = np.log1p(squared_cv)
        return np.exp(np.sqrt(variance) * z - variance / 2)
    return gammaincinv(1 / squared_cv, np.clip(ndtr(z), _TINY, 1 - _TINY)) * squared_cv


def _check_settings(settings: CostSettings) -> None:
    refuse_settings("cost settings", settings, [
        ("people", settings.people < 1, "1 or more"),
        ("treated_share", not 0.01 <= settings.treated_share <= 0.99, "0.01 to 0.99"),
        ("zeros", not 0 <= settings.zeros <= 0.9, "0 to 0.9"),
        ("price_fall", not 0 <= settings.price_fall < 1, "0 to below 1"),
        ("inflation", settings.inflation <= -1, "above -1"),
        ("clusters", settings.clusters < 0, "0 or more"),
        *((name, getattr(settings, name) not in get_args(kind), ", ".join(get_args(kind)))
          for name, kind in (("nonlinear", Nonlinear), ("trends", Trends), ("noise", Noise), ("recent", Recent))),
        *((name, getattr(settings, name) < 0, "0 or more")
          for name in ("selection", "trait", "spread", "cluster_sd", "cluster_pull")),
    ])  # fmt: skip
