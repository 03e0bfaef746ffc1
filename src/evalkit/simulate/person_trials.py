"""People who may start a service some days after time zero: where immortal time fools a comparison of who started."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import numpy as np
import pandas as pd
from numpy.polynomial.hermite_e import hermegauss

from evalkit.simulate.person_events import YEAR, Days
from evalkit.simulate.person_worlds import refuse_settings

HORIZONS = (90.0, 180.0, 365.0)


@dataclass(frozen=True)
class TrialSettings:
    """What `simulate_trial` draws from; the defaults are 600 people, about half of whom start within 60 days.

    The hazard of readmission is `events_per_year` times exp(`severity_effect` x severity), times `hazard_ratio` from
    the day the service starts (1 for none). Without readmission, the service starts at a rate such that the share
    `start_share` of people of mean severity would have started by `grace_days`, times exp(`selection` x severity), and
    nobody starts after `last_start` days. Follow-up ends between `follow_up` days. The share `excluded` is not eligible
    at time zero, and none of its rows counts. `days` "whole" rounds starts and events up to whole days: on one day the
    start came first.
    """

    people: int = 600
    events_per_year: float = 1.0
    hazard_ratio: float = 1.0
    severity_effect: float = 0.5
    selection: float = 0.6
    start_share: float = 0.5
    grace_days: float = 60.0
    last_start: float = 60.0
    follow_up: tuple[float, float] = (300.0, 700.0)
    excluded: float = 0.0
    days: Days = "whole"


def simulate_trial(settings: TrialSettings, *, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, float]]:
    """Draw people from time zero on: one row a person, and the truth by name.

    Columns `person`, `eligible` (0/1), `severity`, `age` (noise), `start` (day the service starts, NaN for never while
    followed), `exit` (day follow-up ends), `event` (1 readmission, 0 censored). Truth as in `compute_trial_truth`.

    Raises ParameterError, all faults at once, for settings out of range.
    """
    _check_settings(settings)
    n = settings.people
    severity, age = rng.normal(size=(2, n))
    hazard, starting = _hazards(settings, severity)
    start = rng.exponential(size=n) / starting
    joins = start <= settings.last_start
    # One unit-exponential clock, which runs at another pace once the service has started.
    clock = rng.exponential(size=n)
    before = clock / hazard
    slowed = start + (clock - hazard * start) / (hazard * settings.hazard_ratio)
    time = np.where((before <= start) | ~joins, before, slowed)
    last = rng.uniform(*settings.follow_up, n)
    if settings.days == "whole":
        last = np.ceil(last)
        rounded = np.ceil(time)
    else:
        rounded = time
    event = rounded <= last
    started = joins & (start < np.minimum(time, last))
    frame = pd.DataFrame(
        {
            "person": np.arange(n),
            "eligible": (rng.random(n) >= settings.excluded).astype(int),
            "severity": severity,
            "age": age,
            "start": np.where(started, np.ceil(start) if settings.days == "whole" else start, np.nan),
            "exit": np.where(event, rounded, last),
            "event": event.astype(int),
        }
    )
    return frame, compute_trial_truth(settings)


def compute_trial_truth(settings: TrialSettings) -> dict[str, float]:
    """Risks of readmission under two strategies, over everybody eligible, and their contrast.

    `risk.start.<day>`: start within the grace period as people do, and those who have not by its end start then (the
    hazard after starting does not depend on when it was, so that weighting up, at its end, those who have started gives
    the same risk); `risk.planned.<day>`: start within it at a day that is drawn alike for all, as starters do;
    `risk.never.<day>`: never start. `difference.…`, `ratio.…` of start and planned to never, such as
    `difference.start.365`, for days 90, 180 and 365. Closed form given severity, which is integrated by quadrature.

    """
    return dict(_trial_truth(settings))


@lru_cache(maxsize=64)
def _trial_truth(settings: TrialSettings) -> tuple[tuple[str, float], ...]:
    nodes, mass = hermegauss(61)
    mass = mass / mass.sum()
    hazard, starting = _hazards(settings, nodes)
    treated = hazard * settings.hazard_ratio
    grace = settings.grace_days
    # Not readmitted by the end of grace: not started by then, or started at some day before.
    leave = starting + hazard - treated
    waited = np.exp(-(starting + hazard) * grace)
    joined = starting * np.exp(-treated * grace) * -np.expm1(-leave * grace) / leave
    t, share = _planned_starts(hazard, starting, mass, grace)
    truth: dict[str, float] = {}
    for day in HORIZONS:
        start = float(mass @ (1 - (waited + joined) * np.exp(-treated * (day - grace))))
        alive = np.exp(-np.outer(hazard, t) - np.outer(treated, day - t))
        planned = float(1 - mass @ alive @ share)
        never = float(mass @ -np.expm1(-hazard * day))
        truth |= {f"risk.{name}.{day:.0f}": v for name, v in (("start", start), ("planned", planned), ("never", never))}
        for name, risk in (("start", start), ("planned", planned)):
            truth |= {f"difference.{name}.{day:.0f}": risk - never, f"ratio.{name}.{day:.0f}": risk / never}
    return tuple(truth.items())


def _planned_starts(
    hazard: np.ndarray, starting: np.ndarray, mass: np.ndarray, grace: float
) -> tuple[np.ndarray, np.ndarray]:
    """Days within the grace period and the share that starts on each, by the rate of starting of those who wait.

    The rate is that of everybody who neither started nor was readmitted, of whatever severity; shares are of those who
    would have started by the end of the grace period.
    """
    step = grace / 2000
    t = (np.arange(2000) + 0.5) * step
    waiting = mass[:, None] * np.exp(-np.outer(starting + hazard, t))
    rate = starting @ waiting / waiting.sum(axis=0)
    gone = np.cumsum(rate) * step
    share = rate * np.exp(-(gone - rate * step / 2))
    return t, share / share.sum()


def _hazards(settings: TrialSettings, severity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hazards a day of readmission without the service, and of starting it."""
    hazard = settings.events_per_year / YEAR * np.exp(settings.severity_effect * severity)
    starting = -np.log1p(-settings.start_share) / settings.grace_days * np.exp(settings.selection * severity)
    return hazard, starting


def _check_settings(settings: TrialSettings) -> None:
    low, high = settings.follow_up
    refuse_settings("trial settings", settings, [
        ("people", settings.people < 1, "1 or more"),
        ("events_per_year", settings.events_per_year <= 0, "above 0"),
        ("hazard_ratio", not 0 < settings.hazard_ratio <= 1.5, "above 0, at most 1.5"),
        ("start_share", not 0 < settings.start_share < 1, "between 0 and 1"),
        ("grace_days", not 0 < settings.grace_days <= HORIZONS[0], f"above 0, at most {HORIZONS[0]:.0f}"),
        ("last_start", settings.last_start < settings.grace_days, "no shorter than the grace period"),
        ("follow_up", not settings.grace_days < low <= high, "two numbers of days after the grace period"),
        ("excluded", not 0 <= settings.excluded < 1, "0 to below 1"),
        ("days", settings.days not in get_args(Days), ", ".join(get_args(Days))),
    ])  # fmt: skip
