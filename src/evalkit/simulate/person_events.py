"""People followed over time whose truth is known: recurrent admissions, first readmission, deaths, late entry."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.polynomial.hermite_e import hermegauss
from scipy import optimize, stats
from scipy.special import expit

from evalkit.core.errors import Fault, ParameterError
from evalkit.simulate.person_worlds import refuse_settings

YEAR = 365.0
HORIZONS = (30.0, 90.0, 365.0)
Days = Literal["whole", "exact"]
Hazard = Literal["subdistribution", "cause_specific"]
_SPARE = 5  # people drawn for each who must still be there when late entry begins
_TIE = 0.25  # of a day between two events of one person on one day, so that no interval is empty


@dataclass(frozen=True)
class RecurrenceSettings:
    """What `simulate_recurrence` draws from; the defaults are 600 people with about 1.2 admissions a year.

    A person's rate of admission is `events_per_year` times a gamma frailty (mean 1, variance `frailty`) times
    `rate_ratio` if treated times exp(`severity_effect` x severity). Death has a rate of `deaths_per_year` times the
    frailty to the power `death_frailty` (0: uninformative, 1: those who are admitted often die early) times
    `death_ratio` if treated. `selection` is the log odds of treatment for one standard deviation of severity.

    Follow-up ends between `follow_up` days after time zero, evenly spread. The share `late_share` is seen from a day
    after time zero only, evenly spread over `late_days`, and only if alive then. `days` "whole" rounds up to days.
    """

    people: int = 600
    events_per_year: float = 1.2
    rate_ratio: float = 1.0
    frailty: float = 1.0
    deaths_per_year: float = 0.12
    death_frailty: float = 1.0
    death_ratio: float = 1.0
    severity_effect: float = 0.0
    selection: float = 0.0
    treated_share: float = 0.5
    follow_up: tuple[float, float] = (400.0, 800.0)
    late_share: float = 0.0
    late_days: float = 180.0
    days: Days = "whole"


@dataclass(frozen=True)
class CompetingSettings:
    """What `simulate_competing` draws from: first readmission (1), or death before it (2).

    `hazard` "subdistribution" is the world of Fine and Gray (1999, JASA 94:496, section 5): but for severity the share
    `share` is readmitted ever, by an exponential time of `readmission_days`; treatment multiplies the subdistribution
    hazard by `ratio`. "cause_specific" has constant hazards of 1/`readmission_days` and 1/`death_days`, which treatment
    multiplies by `ratio` and `death_ratio`. Severity multiplies the readmission hazard by exp(`severity_effect`) and,
    in the cause-specific world, the death hazard by exp(`death_severity`).
    """

    people: int = 600
    hazard: Hazard = "cause_specific"
    ratio: float = 1.0
    death_ratio: float = 1.0
    share: float = 0.6
    readmission_days: float = 400.0
    death_days: float = 900.0
    severity_effect: float = 0.4
    death_severity: float = 0.4
    selection: float = 0.0
    treated_share: float = 0.5
    follow_up: tuple[float, float] = (200.0, 800.0)
    late_share: float = 0.0
    late_days: float = 90.0
    days: Days = "whole"


def simulate_recurrence(
    settings: RecurrenceSettings, *, rng: np.random.Generator
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Draw recurrent admissions with death: one row a person and interval, and the truth by name.

    Columns `person`, `entry`, `exit` (days since time zero, at risk on (entry, exit]), `event` (0 censored, 1
    admission, 2 death), `episode` (1, 2, ...), `treated` (0/1), `severity`. Truth as in `compute_recurrence_truth`.

    Raises ParameterError, all faults at once, for settings out of range; or where hardly anybody enters in time.
    """
    _check_recurrence(settings)
    n = settings.people
    extra = _SPARE * n + 100 if settings.late_share else n
    severity = rng.normal(size=extra)
    treated = _treat(settings, severity, rng)
    frailty = rng.gamma(1 / settings.frailty, settings.frailty, extra) if settings.frailty else np.ones(extra)
    rate = settings.events_per_year / YEAR * frailty * np.exp(settings.severity_effect * severity)
    rate = rate * np.where(treated, settings.rate_ratio, 1.0)
    death_rate = settings.deaths_per_year / YEAR * frailty**settings.death_frailty
    death_rate = death_rate * np.where(treated, settings.death_ratio, 1.0)
    death = rng.exponential(size=extra) / np.maximum(death_rate, 1e-300)
    entry, last = _observation(settings, extra, rng)
    seen = _first_seen(np.minimum(death, last) > entry, n)
    entry, last, death, rate = entry[seen], last[seen], death[seen], rate[seen]
    counts = rng.poisson(rate * np.maximum(np.minimum(death, last) - entry, 0))
    who = np.repeat(np.arange(len(seen)), counts)
    times = entry[who] + rng.random(len(who)) * (np.minimum(death, last) - entry)[who]
    dies = death <= last
    frame = _counting_process(who, times, entry, np.where(dies, death, last), dies, settings.days)
    frame["treated"] = treated[seen].astype(int)[frame["person"]]
    frame["severity"] = severity[seen][frame["person"]]
    return frame, compute_recurrence_truth(settings)


def compute_recurrence_truth(settings: RecurrenceSettings) -> dict[str, float]:
    """The truth of a recurrence world over everybody (ATE), severity and frailty integrated by quadrature.

    `rate_ratio`: the limit of the coefficient of treatment in a marginal rate model of the living (Lin, Wei, Yang and
    Ying 2000, JRSS B 62:711), which is exactly the settings' ratio where death does not depend on treatment.
    `mean_count.<arm>.365`: admissions by day 365 with death ending them; `rmtl.<arm>.365`: days lost to death;
    `risk.<arm>.<day>`: readmitted by that day, death competing; `difference.…` and `ratio.…` of each.
    """
    return dict(_recurrence_truth(settings))


@lru_cache(maxsize=64)
def _recurrence_truth(settings: RecurrenceSettings) -> tuple[tuple[str, float], ...]:
    z, x, weight = _traits(settings.frailty)
    arms = {"treated": settings.rate_ratio, "comparison": 1.0}
    truth: dict[str, float] = {}
    for arm, ratio in arms.items():
        rate = settings.events_per_year / YEAR * z * np.exp(settings.severity_effect * x) * ratio
        death = settings.deaths_per_year / YEAR * z**settings.death_frailty
        death = death * (settings.death_ratio if arm == "treated" else 1.0)
        lived = _time_alive(death, YEAR)
        truth[f"mean_count.{arm}.365"] = float(weight @ (rate * lived))
        truth[f"rmtl.{arm}.365"] = float(YEAR - weight @ lived)
        for day in HORIZONS:
            both = rate + death
            truth[f"risk.{arm}.{day:.0f}"] = float(weight @ (rate * _time_alive(both, day)))
    truth["rate_ratio"] = settings.rate_ratio if settings.death_ratio == 1 else _marginal_ratio(settings, z, x, weight)
    return tuple((truth | _contrasts(truth)).items())


def _contrasts(truth: dict[str, float]) -> dict[str, float]:
    pairs = {name: name.replace(".treated.", ".comparison.") for name in truth if ".treated." in name}
    found = {}
    for one, none in pairs.items():
        measure = one.replace(".treated", "")
        found[f"difference.{measure}"] = truth[one] - truth[none]
        found[f"ratio.{measure}"] = truth[one] / truth[none] if truth[none] else float("nan")
    return found


def _time_alive(hazard: np.ndarray, horizon: float) -> np.ndarray:
    """Expected days before an exponential time within the horizon: (1 - exp(-h t)) / h."""
    return -np.expm1(-hazard * horizon) / np.maximum(hazard, 1e-300) * (hazard > 0) + horizon * (hazard == 0)


def _marginal_ratio(settings: RecurrenceSettings, z: np.ndarray, x: np.ndarray, weight: np.ndarray) -> float:
    """Root of the population score of the marginal rate model, treatment alone in it."""
    start, end = settings.follow_up
    t = (np.arange(2000) + 0.5) / 2000 * end
    still = stats.uniform.sf(t, start, max(end - start, 1e-9))
    late = 1 - settings.late_share + settings.late_share * np.clip(t / settings.late_days, 0, 1)
    chance = expit(settings.selection * x + np.log(settings.treated_share / (1 - settings.treated_share)))
    at_risk, rates = [], []
    for share, ratio, death_ratio in (
        (chance, settings.rate_ratio, settings.death_ratio), (1 - chance, 1.0, 1.0)
    ):  # fmt: skip
        death = settings.deaths_per_year / YEAR * z**settings.death_frailty * death_ratio
        alive = (weight * share)[:, None] * np.exp(-death[:, None] * t)
        rate = settings.events_per_year / YEAR * z * np.exp(settings.severity_effect * x) * ratio
        at_risk.append(alive.sum(axis=0) * still * late)
        rates.append((rate[:, None] * alive).sum(axis=0) * still * late)

    def score(log_ratio: float) -> float:
        treated = at_risk[0] * np.exp(log_ratio)
        return float((rates[0] - treated / (treated + at_risk[1]) * (rates[0] + rates[1])).sum())

    return float(np.exp(optimize.brentq(score, -5, 5)))


def _traits(frailty: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes of frailty and severity and their weights, flattened: 400 equally likely frailties x 21 severities."""
    z = np.ones(1)
    if frailty:
        edges = stats.gamma.ppf(np.linspace(0, 1, 401), 1 / frailty, scale=frailty)
        # The mean inside each slice, so that the mean of all is exactly 1.
        part = np.diff(stats.gamma.cdf(edges, 1 / frailty + 1, scale=frailty))
        z = part * 400
    nodes, mass = hermegauss(21)
    grid_z, grid_x = np.meshgrid(z, nodes, indexing="ij")
    return grid_z.ravel(), grid_x.ravel(), np.tile(mass / mass.sum(), len(z)) / len(z)


def _treat(
    settings: RecurrenceSettings | CompetingSettings, severity: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    base = np.log(settings.treated_share / (1 - settings.treated_share))
    return rng.random(len(severity)) < expit(base + settings.selection * severity)


def _observation(
    settings: RecurrenceSettings | CompetingSettings, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Day from which and until which each person is seen, shape (n,) each; whole days if times are."""
    late = rng.random(n) < settings.late_share
    entry = np.where(late, rng.uniform(0, settings.late_days, n), 0.0)
    last = rng.uniform(*settings.follow_up, n)
    return (np.floor(entry), np.ceil(last)) if settings.days == "whole" else (entry, last)


def _first_seen(there: np.ndarray, n: int) -> np.ndarray:
    """Places of the first n people who are there; refused where too few are."""
    seen = np.flatnonzero(there)[:n]
    if len(seen) < n:
        raise ParameterError(
            Fault("late_days", f"of {_SPARE} people drawn for each wanted, too few are still at risk when they enter")
        )
    return seen


def _counting_process(
    who: np.ndarray, times: np.ndarray, entry: np.ndarray, ends: np.ndarray, dies: np.ndarray, days: Days
) -> pd.DataFrame:
    """Rows of all people from their admissions and last days; `person` and `event` as integers."""
    people = np.arange(len(entry))
    person = np.concatenate([who, people])
    stop = np.concatenate([times, ends])
    event = np.concatenate([np.ones(len(who), dtype=int), np.where(dies, 2, 0)])
    order = np.lexsort((stop, person))
    person, stop, event = person[order], stop[order], event[order]
    if days == "whole":
        stop = np.ceil(stop)
        # Later events of one day follow a quarter of a day apart.
        same = np.r_[False, (person[1:] == person[:-1]) & (stop[1:] == stop[:-1])]
        place = np.arange(len(stop))
        stop = stop + _TIE * (place - np.maximum.accumulate(np.where(same, 0, place)))
    first = np.r_[True, person[1:] != person[:-1]]
    start = np.where(first, entry[person], np.r_[0.0, stop[:-1]])
    episode = np.arange(len(person)) - np.maximum.accumulate(np.where(first, np.arange(len(person)), 0)) + 1
    return pd.DataFrame({"person": person, "entry": start, "exit": stop, "event": event, "episode": episode})


def simulate_competing(
    settings: CompetingSettings, *, rng: np.random.Generator
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Draw first readmissions with death competing: one row a person, and the truth by name.

    Columns `person`, `entry`, `exit` (days), `event` (0 censored, 1 readmission, 2 death), `treated`, `severity`.
    Truth as in `compute_competing_truth`.

    Raises ParameterError, all faults at once, for settings out of range; or where hardly anybody enters in time.
    """
    _check_competing(settings)
    n = settings.people
    extra = _SPARE * n + 100 if settings.late_share else n
    severity = rng.normal(size=extra)
    treated = _treat(settings, severity, rng)
    times, cause = _first_event(settings, severity, treated, rng)
    entry, last = _observation(settings, extra, rng)
    if settings.days == "whole":
        times = np.ceil(times)
    seen = _first_seen(np.minimum(times, last) > entry, n)
    happened = times[seen] <= last[seen]
    frame = pd.DataFrame(
        {
            "person": np.arange(len(seen)),
            "entry": entry[seen],
            "exit": np.where(happened, times[seen], last[seen]),
            "event": np.where(happened, cause[seen], 0),
            "treated": treated[seen].astype(int),
            "severity": severity[seen],
        }
    )
    return frame, compute_competing_truth(settings)


def _first_event(
    settings: CompetingSettings, severity: np.ndarray, treated: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Time and cause of everybody's first event, shape (n,) each."""
    n = len(severity)
    ratio = np.where(treated, settings.ratio, 1.0) * np.exp(settings.severity_effect * severity)
    if settings.hazard == "subdistribution":
        # P(readmitted by t) = 1 - (1 - share (1 - exp(-t / days)))^ratio, inverted; the rest die.
        u = rng.random(n)
        ever = 1 - (1 - settings.share) ** ratio
        inside = (1 - (1 - np.minimum(u, ever)) ** (1 / ratio)) / settings.share
        readmission = -settings.readmission_days * np.log1p(-np.minimum(inside, 1 - 1e-12))
        death = rng.exponential(settings.death_days, n) / np.where(treated, settings.death_ratio, 1.0)
        cause = np.where(u < ever, 1, 2)
        return np.where(cause == 1, readmission, death), cause
    readmission = rng.exponential(settings.readmission_days, n) / ratio
    hazard = np.where(treated, settings.death_ratio, 1.0) * np.exp(settings.death_severity * severity)
    death = rng.exponential(settings.death_days, n) / hazard
    return np.minimum(readmission, death), np.where(readmission <= death, 1, 2)


def compute_competing_truth(settings: CompetingSettings) -> dict[str, float]:
    """The truth of a competing-risks world.

    `subdistribution_ratio` or `hazard_ratio` (and `death_hazard_ratio`), given severity: exactly the settings'. Over
    everybody (ATE), severity integrated: `risk.<arm>.<day>` and `death_risk.<arm>.<day>` for days 30, 90 and 365,
    `naive_risk.<arm>.<day>` (what Kaplan-Meier with deaths as censoring converges to; cause-specific world alone),
    and `difference.…` and `ratio.…` of each.
    """
    nodes, mass = hermegauss(41)
    mass = mass / mass.sum()
    truth: dict[str, float] = {}
    for arm, ratio, death_ratio in (("treated", settings.ratio, settings.death_ratio), ("comparison", 1.0, 1.0)):
        shift = ratio * np.exp(settings.severity_effect * nodes)
        for day in HORIZONS:
            if settings.hazard == "subdistribution":
                grown = settings.share * -np.expm1(-day / settings.readmission_days)
                risk = 1 - (1 - grown) ** shift
                died = (1 - settings.share) ** shift * -np.expm1(-day * death_ratio / settings.death_days)
            else:
                one = shift / settings.readmission_days
                two = death_ratio * np.exp(settings.death_severity * nodes) / settings.death_days
                lived = _time_alive(one + two, day)
                risk, died = one * lived, two * lived
            truth[f"risk.{arm}.{day:.0f}"] = float(mass @ risk)
            truth[f"death_risk.{arm}.{day:.0f}"] = float(mass @ died)
    truth |= _contrasts(truth)
    if settings.hazard == "subdistribution":
        return truth | {"subdistribution_ratio": settings.ratio}
    return truth | {"hazard_ratio": settings.ratio, "death_hazard_ratio": settings.death_ratio}


def _shared_checks(settings: RecurrenceSettings | CompetingSettings) -> list[tuple[str, bool, str]]:
    low, high = settings.follow_up
    return [
        ("people", settings.people < 1, "1 or more"),
        ("treated_share", not 0.01 <= settings.treated_share <= 0.99, "0.01 to 0.99"),
        ("death_ratio", settings.death_ratio <= 0, "above 0"),
        ("follow_up", not 0 < low <= high, "two numbers of days above 0, the smaller first"),
        ("late_share", not 0 <= settings.late_share <= 1, "0 to 1"),
        ("late_days", not 0 < settings.late_days < max(low, 1e-9), "above 0 and before follow-up ends"),
        ("days", settings.days not in get_args(Days), ", ".join(get_args(Days))),
    ]


def _check_recurrence(settings: RecurrenceSettings) -> None:
    above = ("events_per_year", "rate_ratio")
    not_below = ("frailty", "deaths_per_year", "death_frailty")
    refuse_settings("recurrence settings", settings, [
        *_shared_checks(settings),
        *((name, getattr(settings, name) <= 0, "above 0") for name in above),
        *((name, getattr(settings, name) < 0, "0 or more") for name in not_below),
    ])  # fmt: skip


def _check_competing(settings: CompetingSettings) -> None:
    refuse_settings("competing settings", settings, [
        *_shared_checks(settings),
        ("hazard", settings.hazard not in get_args(Hazard), ", ".join(get_args(Hazard))),
        ("share", not 0 < settings.share < 1, "between 0 and 1"),
        *((name, getattr(settings, name) <= 0, "above 0") for name in ("ratio", "readmission_days", "death_days")),
    ])  # fmt: skip
