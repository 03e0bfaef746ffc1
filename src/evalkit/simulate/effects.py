"""Hazards of a world: the national trend, shocks by borough and quarter, and what the alliance changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.simulate.people import STEP_DAYS, Calendar, Draws, Floats, Ints, People
from evalkit.simulate.settings import WorldSettings

ACUTE, REHAB, ENTRY, DISCHARGE = range(4)  # rows of the shocks
WEEKS_PER_YEAR = 365.25 / 7
MAX_RISK = 0.6  # of any event in one week or at one decision


@dataclass(frozen=True)
class Shocks:
    """Log hazard by process, area and quarter; shape (4, n_areas, n_quarters)."""

    log: Floats
    quarter_of_step: Ints

    def at(self, process: int, area: Ints, step: Ints | int) -> Floats:
        return self.log[process, area, self.quarter_of_step[step]]


def draw_shocks(settings: WorldSettings, rng: np.random.Generator) -> Shocks:
    """AR(1) shocks, alike in distribution for all areas, plus a lasting difference of each area."""
    calendar, s = Calendar(settings), settings.national
    middle = np.minimum(np.arange(calendar.steps) * STEP_DAYS + STEP_DAYS // 2, calendar.end - 1)
    months = calendar.date(middle).astype("datetime64[M]").astype(np.int64)
    quarter = months // 3
    quarter -= quarter[0]
    z = rng.standard_normal((4, len(settings.areas.people), int(quarter[-1]) + 1))
    lasting = s.area_sd * rng.standard_normal((4, len(settings.areas.people), 1))
    for q in range(1, z.shape[2]):
        z[:, :, q] = s.shock_correlation * z[:, :, q - 1] + np.sqrt(1 - s.shock_correlation**2) * z[:, :, q]
    return Shocks(s.shock_sd * z + lasting, quarter)


@dataclass(frozen=True)
class Effects:
    """What the alliance changes in the treated area, as factors on hazards; 1 is no change."""

    treated_area: int
    start: int
    ramp_days: float
    closes: int
    rehab: float
    entry: float
    readmission: float
    discharge: float
    acute_stay: float
    out_of_area: float
    out_of_area_after: float
    enrol_a_week: float

    def gate(self, factor: float, day: Ints | int, area: Ints) -> Floats:
        """The factor as it stands on a day: 1 before the start and elsewhere, then ramped on the log scale."""
        run = (np.asarray(day) - self.start) / self.ramp_days if self.ramp_days else np.asarray(day) >= self.start
        ramp = np.clip(run, 0.0, 1.0)
        return np.exp(np.log(factor) * ramp * (area == self.treated_area))

    def stay(self, day: Ints, area: Ints) -> Floats:
        return np.where((area == self.treated_area) & (day >= self.closes), self.acute_stay, 1.0)

    def out_of_area_share(self, day: Ints, area: Ints) -> Floats:
        after = (area == self.treated_area) & (day >= self.closes)
        return np.where(after, self.out_of_area_after, self.out_of_area)


def alliance_effects(settings: WorldSettings) -> Effects:
    """The alliance as the settings have it."""
    calendar, a = Calendar(settings), settings.alliance
    return Effects(
        treated_area=list(settings.areas.people).index(settings.areas.treated),
        start=calendar.adoption,
        ramp_days=7 * a.ramp_weeks,
        closes=calendar.day(settings.dates.ward_closes),
        rehab=a.rehab_factor,
        entry=a.entry_factor,
        readmission=a.readmission_factor,
        discharge=a.discharge_factor,
        acute_stay=a.acute_stay_factor,
        out_of_area=settings.hospital.rehab_out_of_area,
        out_of_area_after=a.out_of_area_share,
        enrol_a_week=a.enrol_a_year / WEEKS_PER_YEAR,
    )


def no_effects(settings: WorldSettings) -> Effects:
    """The world without the alliance."""
    return alliance_effects(settings.without_alliance())


@dataclass(frozen=True)
class StepRates:
    """Weekly hazards of everybody during one four-week step, before the alliance; each shape (n_people,)."""

    acute: Floats  # before the rise after a discharge and the front door
    rehab: Floats
    secure: Floats
    entry: Floats
    discharge: Floats


def national_trend(settings: WorldSettings, step: Ints | int) -> Floats:
    """Factor on residential entry and rehabilitation admission; 1 at adoption."""
    day = np.asarray(step) * STEP_DAYS + STEP_DAYS // 2
    return (1 + settings.national.annual_change) ** ((day - Calendar(settings).adoption) / 365.25)


def step_rates(settings: WorldSettings, people: People, draws: Draws, shocks: Shocks, step: int) -> StepRates:
    """Hazards of one step. None depends on what happened to the person so far."""
    h, p = settings.hospital, settings.placements
    z, f = draws.severity[step], people.frailty
    area = people.area_on(step * STEP_DAYS)
    trend = float(national_trend(settings, step))
    week = 1 / WEEKS_PER_YEAR
    return StepRates(
        acute=h.acute_a_year * week * np.exp(h.acute_frailty * f + h.acute_severity * z + shocks.at(ACUTE, area, step)),
        rehab=h.rehab_a_year * week * trend
        * np.exp(h.rehab_frailty * f + h.rehab_severity * z + shocks.at(REHAB, area, step)),
        secure=h.secure_a_year * week * np.where(people.forensic, h.secure_forensic, 1.0),
        entry=p.entry_a_year * week * trend
        * np.exp(p.entry_frailty * f + p.entry_severity * z + shocks.at(ENTRY, area, step)),
        discharge=p.discharge_a_year * week * np.exp(p.discharge_severity * z + shocks.at(DISCHARGE, area, step)),
    )  # fmt: skip


def rehab_after_acute(
    settings: WorldSettings, people: People, draws: Draws, shocks: Shocks, rows: Ints, day: Ints
) -> Floats:
    """Risk of moving on to a rehabilitation ward when an acute stay ends on `day`, before the alliance."""
    step = np.minimum(day // STEP_DAYS, draws.severity.shape[0] - 1)
    area = np.where(day < people.move_day[rows], people.area[rows], people.second_area[rows])
    h = settings.hospital
    log = h.rehab_frailty * people.frailty[rows] + h.rehab_severity * draws.severity[step, rows]
    risk = h.rehab_after_acute * national_trend(settings, step) * np.exp(log + shocks.at(REHAB, area, step))
    return np.minimum(risk, MAX_RISK)


def entry_after_rehab(settings: WorldSettings, shocks: Shocks, area: Ints, day: Ints) -> Floats:
    """Risk of going to a care home when a rehabilitation stay ends on `day`, before the alliance."""
    step = np.minimum(day // STEP_DAYS, len(shocks.quarter_of_step) - 1)
    risk = settings.placements.entry_after_rehab * national_trend(settings, step)
    return np.minimum(risk * np.exp(shocks.at(ENTRY, area, step)), MAX_RISK)


def rise_after_discharge(settings: WorldSettings) -> Floats:
    """Factor on acute admission by whole weeks since the last discharge; the last entry stands for 'never'."""
    h = settings.hospital
    week = np.arange(157)
    early = h.after_discharge_peak * np.exp(-week / h.after_discharge_weeks)
    late = h.after_discharge_tail * np.exp(-week / h.after_discharge_tail_weeks)
    rise = 1 + early + late
    rise[-1] = 1.0
    return rise


def front_door(settings: WorldSettings, day: int, area: Ints, days_since: Ints, treated: int) -> Floats:
    """Factor of the concurrent front door on first admissions, in both worlds alike."""
    if day < Calendar(settings).day(settings.dates.front_door):
        return np.ones(len(area))
    first = (area == treated) & (days_since > 365)
    return np.where(first, settings.national.front_door_factor, 1.0)


def severe(u: NDArray[np.float32], low: Floats, high: Floats) -> Ints:
    """Rows whose draw might be an event: below `low` or above 1 - `high`; a little wide, so none is missed."""
    bottom = (low * 1.0001 + 1e-7).astype(np.float32)
    top = (1 - high * 1.0001 - 1e-6).astype(np.float32)
    return np.flatnonzero((u < bottom) | (u > top))
