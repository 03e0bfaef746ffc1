"""Discharges whose risk of readmission is known: what every measure of a model should be is known with it.

The risk is logistic in the predictors. Discharges of one person go together through a normal copula, which leaves the
risk of each as it is, so that slope 1 and intercept 0 remain the truth however strongly a person's discharges agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import optimize
from scipy.special import expit, logit
from scipy.stats import norm

from evalkit.simulate.person_worlds import refuse_settings

POPULATION = 200_000  # discharges of whom each has a known risk, for the truth
START = np.datetime64("2012-01-01")
HORIZON_DAYS = 90
DIAGNOSES = ("mood", "personality", "psychosis")
GROUPS = ("first", "second", "third")
_GROUP_SHARES = (0.6, 0.25, 0.15)
_NUMBERS = {"age_years": -0.015, "prior_admissions": 0.35, "stay_days": -0.006, "score": 0.4}
_MALE, _DIAGNOSIS = 0.15, (0.0, 0.5, 0.3)


@dataclass(frozen=True)
class RiskSettings:
    """What `simulate_risk` draws from; the defaults are people with one discharge and an AUROC near 0.68.

    `most_discharges`: a person has 1 to this many, each number as likely. `shared`: correlation, in the copula, of the
    outcomes of a person's discharges. `prevalence`: mean risk where nothing below shifts it. `signal`: standard
    deviation of the log odds. `noise`: predictors without effect.

    `group_shift` is added to the log odds of the second group and `group_slope` stretches those of the third about
    the overall log odds; the group is no predictor. `area_sd`: spread of fixed effects of `areas` areas; `drift`: added
    to the log odds a year, over `years`. All three are unknown to the stated model, whose log odds are
    `stated_intercept` + `stated_slope` x those of the predictors.

    `deaths`: share of those not readmitted who die within the horizon. `missing`: share of `score` that is empty, more
    often with more prior admissions, which are seen.
    """

    people: int = 2000
    most_discharges: int = 1
    shared: float = 0.0
    prevalence: float = 0.2
    signal: float = 0.7
    noise: int = 0
    group_shift: float = 0.0
    group_slope: float = 1.0
    areas: int = 5
    area_sd: float = 0.0
    years: float = 4.0
    drift: float = 0.0
    stated_intercept: float = 0.0
    stated_slope: float = 1.0
    deaths: float = 0.0
    missing: float = 0.0


@dataclass(frozen=True, eq=False)
class RiskWorld:
    """Simulated discharges: what an evaluator sees and, beside it, what is true.

    `features` (n, p); `outcome`, `event` (0 nothing, 1 readmitted, 2 died first), `event_days`, `person`, `time` (n,);
    `groups` (n, 2) with columns group and area. True: `risk` (n,) of readmission within the horizon given everything;
    `stated` (n,): the risk by a model made elsewhere, which knows the predictors alone.
    """

    features: pd.DataFrame
    outcome: np.ndarray
    person: np.ndarray
    time: np.ndarray
    event: np.ndarray
    event_days: np.ndarray
    groups: pd.DataFrame
    risk: np.ndarray
    stated: np.ndarray


def simulate_risk(settings: RiskSettings, *, rng: np.random.Generator) -> RiskWorld:
    """Draw discharges with known risk. Fails with `ParameterError`, all faults at once, for settings out of range."""
    _check_settings(settings)
    each = rng.integers(1, settings.most_discharges + 1, settings.people)
    person = np.repeat(np.arange(settings.people), each)
    features, groups, time = _draw_features(settings, person, rng)
    log_odds = _known_log_odds(settings, features)
    risk = expit(_true_log_odds(settings, log_odds, groups, time))
    agree = rng.normal(size=settings.people)[person]
    latent = np.sqrt(settings.shared) * agree + np.sqrt(1 - settings.shared) * rng.normal(size=len(person))
    outcome = (norm.cdf(latent) < risk).astype(np.int64)
    event, event_days = _draw_events(settings, outcome, rng)
    stated = expit(settings.stated_intercept + settings.stated_slope * log_odds)
    if settings.missing:
        pull = expit(-0.5 + 0.6 * features["prior_admissions"].to_numpy())
        empty = rng.random(len(person)) < np.clip(settings.missing * pull / pull.mean(), 0, 0.95)
        features["score"] = features["score"].mask(empty)
    return RiskWorld(features, outcome, person, time, event, event_days, groups, risk, stated)


def compute_risk_truth(
    settings: RiskSettings, *, thresholds: tuple[float, ...] = (), group: str | None = None
) -> dict[str, float]:
    """What the measures of the stated model are in the population of `settings`, or in one of its `GROUPS`.

    Keys: auroc, auprc, brier, scaled_brier, log_loss, observed_expected, calibration_intercept, calibration_slope, and
    by threshold `net_benefit|0.2`, `flagged_per_100|0.2`, `came_back_of_100_flagged|0.2`, `found_of_100|0.2`, also
    `sensitivity|0.2`, `false_positive_rate|0.2`. Expectations over the known risks of 200,000 discharges, not over
    outcomes drawn from them.
    """
    return dict(_population_truth(_of_population(settings), tuple(thresholds), group))


def compute_truth_of_risks(
    stated: np.ndarray, risk: np.ndarray, *, thresholds: tuple[float, ...] = ()
) -> dict[str, float]:
    """Expected measures of stated risks (n,) of discharges whose true risks are `risk` (n,); keys as above."""
    order = np.argsort(stated, kind="stable")
    stated, risk = stated[order], risk[order]
    share, brier = float(risk.mean()), float(np.mean((stated - risk) ** 2 + risk * (1 - risk)))
    events, others = np.cumsum(risk), np.cumsum(1 - risk)
    # A discharge is compared with those below it and half with itself; ties of a million are too few to tell.
    below = others - (1 - risk) / 2
    rows = np.arange(len(risk), 0, -1)
    flagged_events = events[-1] - events + risk
    intercept = _solve_logistic(np.ones((len(risk), 1)), risk, logit(stated))[0]
    slope = _solve_logistic(np.column_stack([np.ones(len(risk)), logit(stated)]), risk, 0.0)[1]
    truth = {
        "auroc": float(risk @ below / (events[-1] * others[-1])),
        "auprc": float(risk @ (flagged_events / rows) / events[-1]),
        "brier": brier,
        "scaled_brier": 1 - brier / (share * (1 - share)),
        "log_loss": float(-np.mean(risk * np.log(stated) + (1 - risk) * np.log1p(-stated))),
        "observed_expected": share / float(stated.mean()),
        "calibration_intercept": float(intercept),
        "calibration_slope": float(slope),
    }
    for threshold in thresholds:
        flagged = stated >= threshold
        hit, alarm = float(np.mean(risk * flagged)), float(np.mean((1 - risk) * flagged))
        truth |= {
            f"net_benefit|{threshold:g}": hit - alarm * threshold / (1 - threshold),
            f"flagged_per_100|{threshold:g}": 100 * (hit + alarm),
            f"came_back_of_100_flagged|{threshold:g}": 100 * hit / (hit + alarm),
            f"found_of_100|{threshold:g}": 100 * hit / share,
            f"sensitivity|{threshold:g}": hit / share,
            f"false_positive_rate|{threshold:g}": alarm / (1 - share),
            f"alarms_per_found|{threshold:g}": alarm / hit,
        }
    return truth


def draw_population(settings: RiskSettings) -> RiskWorld:
    """The 200,000 discharges that the truth is taken from, to apply another model to."""
    return _population(_of_population(settings))


# ---- parts ---------------------------------------------------------------------------------------


def _draw_features(
    settings: RiskSettings, person: np.ndarray, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    people, n = settings.people, len(person)
    worse = rng.normal(size=people)
    frame = pd.DataFrame({
        "age_years": np.clip(45 + 12 * rng.normal(size=people), 18, 95)[person],
        "prior_admissions": rng.poisson(np.exp(0.5 * worse - 0.2)[person]),
        "stay_days": np.ceil(rng.gamma(1.5, 20, n)),
        "score": 0.4 * worse[person] + np.sqrt(1 - 0.4**2) * rng.normal(size=n),
        "sex": np.array(["female", "male"])[(rng.random(people) < 0.5).astype(int)][person],
        "diagnosis": np.array(DIAGNOSES)[rng.choice(3, people, p=(0.4, 0.25, 0.35))][person],
    })  # fmt: skip
    for k in range(settings.noise):
        frame[f"noise_{k + 1}"] = rng.normal(size=n)
    groups = pd.DataFrame({
        "group": np.array(GROUPS)[rng.choice(3, people, p=_GROUP_SHARES)][person],
        "area": np.array([f"area {k + 1}" for k in range(settings.areas)])[rng.integers(settings.areas, size=people)][
            person
        ],
    })  # fmt: skip
    time = START + (rng.random(n) * settings.years * 365.25).astype("timedelta64[D]")
    return frame, groups, time


def _raw(features: pd.DataFrame) -> np.ndarray:
    raw = sum(slope * features[name].to_numpy(dtype=float) for name, slope in _NUMBERS.items())
    levels = pd.Categorical(features["diagnosis"], DIAGNOSES).codes
    return raw + _MALE * (features["sex"] == "male").to_numpy() + np.array(_DIAGNOSIS)[levels]


def _known_log_odds(settings: RiskSettings, features: pd.DataFrame) -> np.ndarray:
    """Log odds by the predictors alone, of standard deviation `signal` and mean risk `prevalence`."""
    middle, spread = _standard()
    return _intercept(settings.signal, settings.prevalence) + settings.signal * (_raw(features) - middle) / spread


@lru_cache(maxsize=1)
def _standard() -> tuple[float, float]:
    raw = _raw(_draw_features(RiskSettings(people=50_000), np.arange(50_000), np.random.default_rng(11))[0])
    return float(raw.mean()), float(raw.std())


@lru_cache(maxsize=64)
def _intercept(signal: float, prevalence: float) -> float:
    settings = RiskSettings(people=POPULATION)
    middle, spread = _standard()
    raw = _raw(_draw_features(settings, np.arange(settings.people), np.random.default_rng(12))[0])
    score = signal * (raw - middle) / spread
    return float(optimize.brentq(lambda a: expit(a + score).mean() - prevalence, -15, 15))


def _true_log_odds(settings: RiskSettings, log_odds: np.ndarray, groups: pd.DataFrame, time: np.ndarray) -> np.ndarray:
    group = groups["group"].to_numpy()
    middle = logit(settings.prevalence)
    out = np.where(group == GROUPS[2], middle + settings.group_slope * (log_odds - middle), log_odds)
    out = out + settings.group_shift * (group == GROUPS[1])
    shifts = settings.area_sd * norm.ppf((np.arange(settings.areas) + 0.5) / settings.areas)
    area = groups["area"].str.removeprefix("area ").astype(int).to_numpy() - 1
    return out + shifts[area] + settings.drift * (time - START).astype(float) / 365.25


def _draw_events(
    settings: RiskSettings, outcome: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Readmissions come early in the horizon, deaths evenly over it; day 1 is the first."""
    n = len(outcome)
    died = (outcome == 0) & (rng.random(n) < settings.deaths)
    early = -np.log1p(-rng.random(n) * -np.expm1(-3.0)) / 3.0
    days = np.where(outcome == 1, early, np.where(died, rng.random(n), 1.0)) * HORIZON_DAYS
    return np.where(died, 2, outcome), np.maximum(np.ceil(days), 1.0)


def _of_population(settings: RiskSettings) -> RiskSettings:
    """The settings that the truth depends on, so that it is computed once for every number of people."""
    _check_settings(settings)
    return replace(settings, people=POPULATION, most_discharges=1, shared=0.0, deaths=0.0, missing=0.0)


@lru_cache(maxsize=8)
def _population(settings: RiskSettings) -> RiskWorld:
    return simulate_risk(settings, rng=np.random.default_rng(20_240_902))


@lru_cache(maxsize=64)
def _population_truth(
    settings: RiskSettings, thresholds: tuple[float, ...], group: str | None
) -> tuple[tuple[str, float], ...]:
    drawn = _population(settings)
    rows = np.ones(len(drawn.risk), dtype=bool) if group is None else (drawn.groups["group"] == group).to_numpy()
    return tuple(compute_truth_of_risks(drawn.stated[rows], drawn.risk[rows], thresholds=thresholds).items())


def _solve_logistic(design: np.ndarray, share: np.ndarray, offset: np.ndarray | float) -> np.ndarray:
    """Coefficients that make the expected score of a logistic model zero where outcomes have chances `share`."""
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        fitted = expit(design @ beta + offset)
        step = np.linalg.solve(design.T @ (design * (fitted * (1 - fitted))[:, None]), design.T @ (share - fitted))
        beta = beta + step
        if np.abs(step).max() < 1e-10:
            break
    return beta


def _check_settings(settings: RiskSettings) -> None:
    refuse_settings("risk settings", settings, [
        ("people", settings.people < 1, "1 or more"),
        ("most_discharges", settings.most_discharges < 1, "1 or more"),
        ("areas", settings.areas < 1, "1 or more"),
        ("noise", settings.noise < 0, "0 or more"),
        ("years", settings.years <= 0, "above 0"),
        ("prevalence", not 0 < settings.prevalence < 1, "between 0 and 1"),
        *((name, not 0 <= getattr(settings, name) < 1, "0 to below 1") for name in ("shared", "deaths", "missing")),
        *((name, getattr(settings, name) < 0, "0 or more") for name in ("signal", "area_sd")),
    ])  # fmt: skip
