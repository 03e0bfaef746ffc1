"""Who is on the register: fixed traits, dates of joining and leaving, severity over time, and the draws.

Days are whole numbers counted from `dates.history_start`; weeks and four-week steps from the same day.
Dense draws come from one generator a block; details of rare events from `uniform`, a counter-based
draw named by person, day and purpose, so that both worlds see the same number for the same event.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from evalkit.simulate.settings import ETHNIC_GROUPS, WorldSettings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FAR = 10**6  # a day that never comes
STEP_WEEKS = 4
STEP_DAYS = 7 * STEP_WEEKS
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Calendar:
    """The settings' dates as days from `history_start`."""

    settings: WorldSettings

    def day(self, date: dt.date) -> int:
        return (date - self.settings.dates.history_start).days

    def date(self, days: Ints) -> NDArray[np.datetime64]:
        return np.datetime64(self.settings.dates.history_start, "D") + np.asarray(days).astype("timedelta64[D]")

    @cached_property
    def end(self) -> int:
        return self.day(self.settings.dates.end)

    @cached_property
    def adoption(self) -> int:
        return self.day(self.settings.dates.adoption)

    @cached_property
    def weeks(self) -> int:
        return -(-self.end // 7)

    @cached_property
    def steps(self) -> int:
        return -(-self.weeks // STEP_WEEKS)

    @cached_property
    def quarters(self) -> Ints:
        """First days of the study's quarters and the end of the last, shape (n_quarters + 1,)."""
        dates = self.settings.dates
        months = np.arange(np.datetime64(dates.study_start, "M"), np.datetime64(dates.end, "M") + 1, 3)
        start = np.datetime64(dates.history_start, "D")
        return (months.astype("datetime64[D]") - start).astype(np.int64)


@dataclass(frozen=True)
class People:
    """One row a person; every array has shape (n_people,). Areas are positions in `settings.areas.people`."""

    number: Ints  # position in the whole world
    key: NDArray[np.uint64]  # names the person's counter-based draws
    area: Ints  # responsible borough when joining the register
    second_area: Ints  # and from `move_day`
    move_day: Ints  # FAR where nobody moves
    entry_day: Ints
    death_day: Ints  # FAR where it comes after the end
    leave_day: Ints  # the day a person leaves London; FAR where they stay
    birth_year: Ints
    male: NDArray[np.bool_]
    ethnic: Ints
    imd: Ints
    diagnosis: Ints
    dual: NDArray[np.bool_]
    forensic: NDArray[np.bool_]
    frailty: Floats  # log scale, mean about 0

    @property
    def size(self) -> int:
        return len(self.number)

    @property
    def exit_day(self) -> Ints:
        return np.minimum(self.death_day, self.leave_day)

    def area_on(self, day: Ints | int) -> Ints:
        """Responsible borough on a day, whether or not the person is followed then."""
        return np.where(np.asarray(day) < self.move_day, self.area, self.second_area)

    def followed_on(self, day: Ints | int) -> NDArray[np.bool_]:
        return (self.entry_day <= day) & (np.asarray(day) < self.exit_day)

    def take(self, rows: NDArray) -> People:
        return People(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True)
class Draws:
    """The chances of a block, the same in both worlds.

    `hospital` and `placement` are uniforms, shape (n_weeks, n_people); `severity` is z,
    shape (n_steps, n_people), undefined before a person joins.
    """

    hospital: NDArray[np.float32]
    placement: NDArray[np.float32]
    severity: Floats

    def take(self, rows: NDArray) -> Draws:
        return Draws(*(np.ascontiguousarray(a[:, rows]) for a in (self.hospital, self.placement, self.severity)))


def uniform(key: NDArray[np.uint64], moment: Ints | int, purpose: int) -> Floats:
    """A uniform in (0, 1) fixed by person, moment and purpose (SplitMix64's finaliser, Steele 2014)."""
    at = np.asarray(moment, dtype=np.int64).astype(np.uint64)
    x = key + at * np.uint64(0x9E3779B97F4A7C15) + np.uint64((purpose * 0xD1B54A32D192ED03) & _MASK)
    for _ in range(2):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return ((x >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def choose(u: Floats, shares: tuple[float, ...] | list[float]) -> Ints:
    """Positions drawn from `shares` by the uniforms `u`."""
    edges = np.cumsum(shares)[:-1]
    return np.searchsorted(edges, u, side="right").astype(np.int64)


def area_sizes(settings: WorldSettings) -> Ints:
    """People on the register at any time, by area in the settings' order."""
    return np.array([max(1, round(n * settings.world.scale)) for n in settings.areas.people.values()])


def draw_people(settings: WorldSettings, numbers: Ints, *, seed: int, rng: np.random.Generator) -> People:
    """Draw the people whose positions in the world are `numbers`."""
    s, n = settings, len(numbers)
    area = np.searchsorted(np.cumsum(area_sizes(s)), numbers, side="right").astype(np.int64)
    world_key = np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    key = uniform_key(numbers, world_key)
    age = s.people.age_mean + s.people.age_sd * _truncated_normal(s, rng.random(n))
    male = rng.random(n) < s.people.male
    ethnic, imd, dual = _draw_mix(s, area, rng)
    forensic = rng.random(n) < np.where(male, s.people.forensic_male, s.people.forensic_female)
    diagnosis = choose(rng.random(n), list(s.people.diagnosis.values()))
    frailty = _frailty(s, dual, forensic, imd, diagnosis) + s.people.frailty_sd * rng.standard_normal(n)
    start, joiner, when = 0, rng.random(n) >= s.people.at_start, rng.random(n)
    last = Calendar(s).day(s.dates.register_closes)
    entry = np.where(joiner, 1 + np.floor(when * (last - 1)), start).astype(np.int64)
    second, move_day = _draw_moves(s, area, entry, rng)
    leave = entry + np.floor(-np.log1p(-rng.random(n)) / max(s.people.leaves_a_year, 1e-12) * 365.25)
    death = entry + _draw_death(s, age, entry, frailty, rng.random(n))
    end = Calendar(s).end
    birth_year = np.floor(s.dates.history_start.year - age).astype(np.int64)
    return People(
        number=numbers, key=key, area=area, second_area=second, move_day=move_day, entry_day=entry,
        # Nobody hears of a death after a person has left London.
        death_day=_or_never(np.where(death <= leave, death, FAR), end),
        leave_day=_or_never(np.where(leave < death, leave, FAR), end),
        birth_year=birth_year, male=male, ethnic=ethnic, imd=imd, diagnosis=diagnosis, dual=dual,
        forensic=forensic, frailty=frailty,
    )  # fmt: skip


def uniform_key(numbers: Ints, world_key: np.uint64) -> NDArray[np.uint64]:
    """A 64-bit name for each person that differs between worlds of different seeds."""
    base = numbers.astype(np.uint64) + world_key
    return (uniform(base, 0, 1) * 2.0**53).astype(np.uint64) ^ (base << np.uint64(20))


def draw_chances(settings: WorldSettings, people: People, rng: np.random.Generator) -> Draws:
    """Draw a block's uniforms and its severity, which is an AR(1) in four-week steps."""
    calendar, n = Calendar(settings), people.size
    hospital = rng.random((calendar.weeks, n), dtype=np.float32)
    placement = rng.random((calendar.weeks, n), dtype=np.float32)
    severity = rng.standard_normal((calendar.steps, n))
    s = settings.severity
    phi = 0.5 ** (STEP_WEEKS / s.half_life_weeks)
    spread = np.sqrt(1 - phi**2)
    entry_step = people.entry_day // STEP_DAYS
    started = people.entry_day == 0
    # A person there at the start is past the worst; one who joins later is in the middle of it.
    opening = np.where(started, s.mean_at_start, s.mean_at_joining)
    scale = np.where(started, 1.0, s.sd_at_joining)
    severity[0] = opening + scale * severity[0]
    for step in range(1, calendar.steps):
        going_on = phi * severity[step - 1] + spread * severity[step]
        severity[step] = np.where(entry_step == step, opening + scale * severity[step], going_on)
    return Draws(hospital, placement, severity)


def overlap_propensity(settings: WorldSettings, people: People) -> Floats:
    """True probability of the treated area among those with people's records, given observed covariates.

    Exact by Bayes: covariates whose distribution differs between areas are ethnic group, deprivation
    and dual diagnosis, drawn independently within an area. Shape (n_people,).
    """
    names = (settings.areas.treated, *settings.areas.comparators)
    sizes = dict(zip(settings.areas.people, area_sizes(settings), strict=True))
    likelihood = []
    for name in names:
        mix = settings.mix[settings.areas.mix.get(name, settings.areas.usual_mix)]
        ethnic = np.array([mix.ethnic_group[g] for g in ETHNIC_GROUPS])[people.ethnic]
        imd = np.array(mix.imd_decile)[people.imd - 1]
        dual = np.where(people.dual, mix.dual_diagnosis, 1 - mix.dual_diagnosis)
        likelihood.append(sizes[name] * ethnic * imd * dual)
    return likelihood[0] / np.sum(likelihood, axis=0)


def _or_never(day: Floats, end: int) -> Ints:
    return np.where(day < end, np.minimum(day, FAR), FAR).astype(np.int64)


def _truncated_normal(s: WorldSettings, u: Floats) -> Floats:
    # Normal ages cut off at the limits, by inversion within them.
    grid = np.linspace(s.people.age_min - 0.0, s.people.age_max + 1.0, 2001)
    z = (grid - s.people.age_mean) / s.people.age_sd
    weight = np.cumsum(np.exp(-(z**2) / 2))
    return np.interp(u * weight[-1], weight, z)


def _draw_mix(s: WorldSettings, area: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    u = rng.random((3, len(area)))
    ethnic, imd = np.zeros_like(area), np.zeros_like(area)
    dual = np.zeros(len(area), dtype=bool)
    for position, name in enumerate(s.areas.people):
        rows = np.flatnonzero(area == position)
        mix = s.mix[s.areas.mix.get(name, s.areas.usual_mix)]
        ethnic[rows] = choose(u[0, rows], list(mix.ethnic_group.values()))
        imd[rows] = 1 + choose(u[1, rows], list(mix.imd_decile))
        dual[rows] = u[2, rows] < mix.dual_diagnosis
    return ethnic, imd, dual


def _frailty(
    s: WorldSettings, dual: NDArray[np.bool_], forensic: NDArray[np.bool_], imd: Ints, diagnosis: Ints
) -> Floats:
    p = s.people
    by_diagnosis = np.array([p.frailty_diagnosis.get(name, 0.0) for name in p.diagnosis])
    explained = p.frailty_dual * dual + p.frailty_forensic * forensic
    return explained + p.frailty_imd_decile * (imd - 5) + by_diagnosis[diagnosis]


def _draw_moves(s: WorldSettings, area: Ints, entry: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Some people move once between the areas with people's records, at the start of a four-week step."""
    names = list(s.areas.people)
    with_records = np.array([names.index(n) for n in (s.areas.treated, *s.areas.comparators)])
    u = rng.random((3, len(area)))
    moves = (u[0] < s.people.moves_area) & np.isin(area, with_records) & (len(with_records) > 1)
    first = entry // STEP_DAYS + 1
    step = first + np.floor(u[1] * (Calendar(s).steps - first))
    own = np.argmax(area[:, None] == with_records, axis=1)
    others = max(len(with_records) - 1, 1)
    other = with_records[(own + 1 + np.floor(u[2] * others).astype(np.int64)) % len(with_records)]
    return np.where(moves, other, area), np.where(moves, step * STEP_DAYS, FAR).astype(np.int64)


def _draw_death(s: WorldSettings, age: Floats, entry: Ints, frailty: Floats, u: Floats) -> Floats:
    """Days from joining to death under a Gompertz hazard, by inversion."""
    b = s.people.death_log_per_year
    at_entry = np.exp(b * (age + entry / 365.25 - 45) + s.people.death_log_frailty * frailty)
    hazard = np.maximum(s.people.death_a_year_at_45 * at_entry, 1e-12)
    return 1 + np.floor(np.log1p(-b * np.log1p(-u) / hazard) / b * 365.25)


def normal(key: NDArray[np.uint64], moment: Ints | int, purpose: int) -> Floats:
    """A standard normal draw named like `uniform`."""
    return ndtri(uniform(key, moment, purpose))
