"""Lives: hospital spells, placements and programme episodes of a block of people in one world.

A life is a function of people, draws, shocks and effects only, so that living it twice with the same
draws and other effects gives the difference that the effects make and nothing else. The hospital
process does not depend on placements; placements change only while a person is out of hospital.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from evalkit.simulate.effects import (
    MAX_RISK,
    Effects,
    Shocks,
    StepRates,
    entry_after_rehab,
    front_door,
    rehab_after_acute,
    rise_after_discharge,
    severe,
    step_rates,
)
from evalkit.simulate.people import (
    FAR,
    STEP_WEEKS,
    Calendar,
    Draws,
    Ints,
    People,
    choose,
    normal,
    uniform,
)
from evalkit.simulate.settings import SETTINGS, WARDS, WorldSettings

COMPONENTS = ("community_recovery_service", "studio_flat", "floating_support", "personalised_support")
ACUTE_WARD, PICU_WARD, REHAB_WARD, SECURE_WARD = range(len(WARDS))
RES, NURSING, LIVING_24H, LIVING = range(4)  # positions in SETTINGS
ELECTIVE, EMERGENCY, BY_TRANSFER = range(3)
PLANNED, SELF, TRANSFER, DIED = range(4)
LONGEST_STAY = 1500


@dataclass(frozen=True)
class Stays:
    """Ward stays, one row each; `person` is the row in the block's people, days are FAR while open."""

    person: Ints
    spell: Ints  # counts a person's spells from 1
    ward: Ints
    start: Ints
    end: Ints
    out_of_area: NDArray[np.bool_]
    admission: Ints
    discharge: Ints


@dataclass(frozen=True)
class Placements:
    """Placements outside hospital, one row each."""

    person: Ints
    setting: Ints
    start: Ints
    end: Ints


@dataclass(frozen=True)
class Episodes:
    """Programme episodes, one row each; a person is in one component at a time."""

    person: Ints
    component: Ints
    start: Ints
    end: Ints


@dataclass(frozen=True)
class Lives:
    """What happened to a block of people in one world."""

    stays: Stays
    placements: Placements
    episodes: Episodes


Rows = TypeVar("Rows", Stays, Placements, Episodes)


def take(rows: Rows, keep: NDArray) -> Rows:
    """The chosen rows of a table of events."""
    return replace(rows, **{f.name: getattr(rows, f.name)[keep] for f in fields(rows)})


class _State:
    """Where everybody is; changed week by week."""

    def __init__(self, people: People, setting: Ints) -> None:
        n = people.size
        self.free = np.full(n, -FAR)  # end of the latest spell
        self.rehab_from = np.full(n, FAR)
        self.rehab_until = np.full(n, -FAR)
        self.spells = np.zeros(n, dtype=np.int64)
        self.setting = setting
        self.placed = people.entry_day.copy()  # start of the present placement
        self.enrolled_from = np.full(n, FAR)
        self.enrolled_until = np.full(n, -FAR)
        self.stays: list[tuple] = []
        self.placements: list[tuple] = []
        self.episodes: list[tuple] = []

    def enrolled(self, rows: Ints, day: int) -> NDArray[np.bool_]:
        return (self.enrolled_from[rows] <= day) & (day < self.enrolled_until[rows])

    def place(self, rows: Ints, setting: Ints, ends: Ints, starts: Ints) -> None:
        """Close the present placements on `ends` and open others on `starts`."""
        self.placements.append((rows, self.setting[rows], self.placed[rows], ends))
        self.setting[rows] = setting
        self.placed[rows] = starts


def live(settings: WorldSettings, people: People, draws: Draws, shocks: Shocks, effects: Effects) -> Lives:
    """Live every person's life from joining the register to death, leaving London or the end.

    Returns rows clipped to the time a person is followed; what is open at the end has `end` = FAR.
    """
    calendar = Calendar(settings)
    state = _State(people, _first_setting(settings, people))
    moment = _Moment(settings, people, draws, shocks, effects, state)
    there = np.flatnonzero((people.entry_day == 0) & (uniform(people.key, 0, 91) < settings.hospital.rehab_at_start))
    moment.admit_rehab(there, 0)
    rise = rise_after_discharge(settings)
    for week in range(calendar.weeks):
        step, first_week = divmod(week, STEP_WEEKS)
        if first_week == 0:
            rates = step_rates(settings, people, draws, shocks, step)
            top = rates.rehab + rates.secure
            low = rates.acute * rise.max()
            change = np.maximum(rates.entry, rates.discharge * max(1.0, effects.discharge))
            most_moves = np.array(max(settings.placements.moves_a_year.values()) * 7 / 365.25)
        moment.hospital_week(week * 7, rates, rise, severe(draws.hospital[week], low, top))
        moment.placement_week(week * 7, rates, severe(draws.placement[week], change, most_moves))
        if effects.enrol_a_week > 0 and week * 7 >= effects.start:
            moment.enrol_week(week * 7, draws.severity[step])
    everyone = np.arange(people.size)
    state.place(everyone, state.setting, np.full(people.size, FAR), state.placed)
    return _clipped(state, people, calendar.end)


def _first_setting(settings: WorldSettings, people: People) -> Ints:
    """Where people live when they join; those who join later come from outside a care home."""
    shares = np.zeros(len(SETTINGS))
    for name, share in settings.placements.at_start.items():
        shares[SETTINGS.index(name)] = share
    u = uniform(people.key, 0, 90)
    start = choose(u, list(shares))
    shares[[RES, NURSING]] = 0
    later = choose(u, list(shares / shares.sum()))
    return np.where(people.entry_day == 0, start, later)


class _Moment:
    """One week's events, applied to the state."""

    def __init__(
        self, settings: WorldSettings, people: People, draws: Draws, shocks: Shocks, effects: Effects, state: _State
    ) -> None:
        self.settings, self.people, self.draws = settings, people, draws
        self.shocks, self.effects, self.state = shocks, effects, state
        self.move_names = [list(settings.placements.moves_to[name]) for name in SETTINGS]
        self.move_shares = [list(settings.placements.moves_to[name].values()) for name in SETTINGS]
        self.move_rate = np.array([settings.placements.moves_a_year[name] for name in SETTINGS]) * 7 / 365.25

    def area_on(self, rows: Ints, day: Ints | int) -> Ints:
        p = self.people
        return np.where(np.asarray(day) < p.move_day[rows], p.area[rows], p.second_area[rows])

    def out_of_hospital(self, rows: Ints, day: int) -> Ints:
        p = self.people
        out = (p.entry_day[rows] <= day) & (day < p.exit_day[rows]) & (self.state.free[rows] <= day)
        return rows[out]

    def hospital_week(self, day: int, rates: StepRates, rise: np.ndarray, rows: Ints) -> None:
        rows = self.out_of_hospital(rows, day)
        if not len(rows):
            return
        u = self.draws.hospital[day // 7, rows].astype(np.float64)
        area = self.area_on(rows, day)
        since = day - self.state.free[rows]
        acute = rates.acute[rows] * rise[np.minimum(since // 7, len(rise) - 1)]
        acute *= front_door(self.settings, day, area, since, self.effects.treated_area)
        acute *= np.where(self.state.enrolled(rows, day) & (since <= 365), self.effects.readmission, 1.0)
        rehab = rates.rehab[rows] * self.effects.gate(self.effects.rehab, day, area)
        secure = rates.secure[rows]
        self.admit_acute(rows[u < np.minimum(acute, MAX_RISK)], day)
        self.admit_secure(rows[u >= 1 - secure], day)
        self.admit_rehab(rows[(u < 1 - secure) & (u >= 1 - secure - rehab)], day)

    def admit_acute(self, rows: Ints, day: int) -> None:
        s, h, state, key = self.settings, self.settings.hospital, self.state, self.people.key
        rows, start = self._admitted(rows, day)
        if not len(rows):
            return
        k = key[rows]
        length = h.acute_days_median * np.exp(h.acute_days_log_sd * normal(k, day, 2))
        length = np.clip(np.rint(length * self.effects.stay(start, self.area_on(rows, start))), 1, LONGEST_STAY)
        length = np.where(uniform(k, day, 3) < h.same_day, 0, length).astype(np.int64)
        end = start + length
        parts = length >= 6
        moves = parts & (uniform(k, day, 4) < h.changes_hospital)
        picu = parts & ~moves & (uniform(k, day, 5) < h.through_picu)
        cut = start + np.maximum(1, np.floor(length * (0.15 + 0.5 * uniform(k, day, 6)))).astype(np.int64)
        back = cut + np.maximum(1, (end - cut) * 2 // 5)
        risk = rehab_after_acute(s, self.people, self.draws, self.shocks, rows, end)
        risk *= self.effects.gate(self.effects.rehab, end, self.area_on(rows, end))
        onward = (uniform(k, day, 7) < risk) & (end < self.people.exit_day[rows])
        spell = state.spells[rows] + 1
        state.spells[rows] += 1 + moves
        last = _leaving(k, day)
        to_next = np.where(onward, TRANSFER, last)
        split = moves | picu
        self._stay(rows, spell, ACUTE_WARD, start, np.where(split, cut, end), EMERGENCY,
                   np.where(split, TRANSFER, to_next))  # fmt: skip
        self._stay(rows[picu], spell[picu], PICU_WARD, cut[picu], back[picu], BY_TRANSFER, TRANSFER)
        self._stay(rows[picu], spell[picu], ACUTE_WARD, back[picu], end[picu], BY_TRANSFER, to_next[picu])
        self._stay(rows[moves], spell[moves] + 1, ACUTE_WARD, cut[moves], end[moves], BY_TRANSFER, to_next[moves])
        state.free[rows] = end
        self._rehab_stay(rows[onward], (spell + moves)[onward], end[onward], day, BY_TRANSFER)

    def admit_rehab(self, rows: Ints, day: int) -> None:
        rows, start = self._admitted(rows, day)
        if len(rows):
            self.state.spells[rows] += 1
            self._rehab_stay(rows, self.state.spells[rows], start, day, ELECTIVE)

    def admit_secure(self, rows: Ints, day: int) -> None:
        rows, start = self._admitted(rows, day)
        if not len(rows):
            return
        h, k = self.settings.hospital, self.people.key[rows]
        self.state.spells[rows] += 1
        days = np.rint(h.secure_days_median * np.exp(0.6 * normal(k, day, 2))).clip(7, LONGEST_STAY)
        end = start + days.astype(np.int64)
        away = uniform(k, day, 8) < h.secure_out_of_area
        self._stay(rows, self.state.spells[rows], SECURE_WARD, start, end, ELECTIVE, _leaving(k, day), away)
        self._long_stay(rows, start, end, day)

    def _admitted(self, rows: Ints, day: int) -> tuple[Ints, Ints]:
        start = day + np.floor(7 * uniform(self.people.key[rows], day, 1)).astype(np.int64)
        there = (start < self.people.exit_day[rows]) & (start >= self.people.entry_day[rows])
        return rows[there], start[there]

    def _rehab_stay(self, rows: Ints, spell: Ints, start: Ints, day: int, admission: int) -> None:
        if not len(rows):
            return
        h, k = self.settings.hospital, self.people.key[rows]
        away = uniform(k, day, 8) < self.effects.out_of_area_share(start, self.area_on(rows, start))
        days = h.rehab_days_median * np.exp(h.rehab_days_log_sd * normal(k, day, 12))
        days = np.rint(days * np.where(away, h.out_of_area_days_factor, 1.0)).clip(7, LONGEST_STAY)
        end = start + days.astype(np.int64)
        self._stay(rows, spell, REHAB_WARD, start, end, admission, _leaving(k, day), away)
        self.state.rehab_from[rows], self.state.rehab_until[rows] = start, end
        self._long_stay(rows, start, end, day)

    def _long_stay(self, rows: Ints, start: Ints, end: Ints, day: int) -> None:
        """A long stay ends the placement; where the person goes afterwards is settled for the day it ends."""
        self.state.free[rows] = end
        given_up = start + self.settings.hospital.placement_kept_days
        lost = given_up < end
        rows, given_up, end = rows[lost], given_up[lost], end[lost]
        p, k, area = self.settings.placements, self.people.key[rows], self.area_on(rows, end)
        full = entry_after_rehab(self.settings, self.shocks, area, end)
        v = uniform(k, day, 10)
        other = np.array([SETTINGS.index(name) for name in p.after_rehab])
        to = other[choose(uniform(k, day, 11), list(p.after_rehab.values()))]
        to = np.where(v < full, self._diverted(k, day), to)
        enters = v < full * self.effects.gate(self.effects.entry, end, area)
        to = np.where(enters, self._home(k, day), to)
        self.state.place(rows, to, given_up, end)

    def _home(self, key: np.ndarray, day: int) -> Ints:
        return np.where(uniform(key, day, 13) < self.settings.placements.nursing_share, NURSING, RES)

    def _diverted(self, key: np.ndarray, day: int) -> Ints:
        return np.where(uniform(key, day, 14) < self.settings.alliance.diverted_to_24h, LIVING_24H, LIVING)

    def _stay(
        self, rows: Ints, spell: Ints, ward: int, start: Ints, end: Ints, admission: int, discharge: Ints | int,
        away: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        n = len(rows)
        if n:
            away = np.zeros(n, dtype=bool) if away is None else away
            self.state.stays.append((
                rows, spell, np.full(n, ward), start, end, away, np.full(n, admission),
                np.broadcast_to(np.asarray(discharge), n),
            ))  # fmt: skip

    def placement_week(self, day: int, rates: StepRates, rows: Ints) -> None:
        rows = self.out_of_hospital(rows, day)
        if not len(rows):
            return
        state, k = self.state, self.people.key[rows]
        u = self.draws.placement[day // 7, rows].astype(np.float64)
        area, now = self.area_on(rows, day), state.setting[rows]
        at_home = now <= NURSING
        full = np.where(at_home, 0.0, rates.entry[rows])
        let_in = full * self.effects.gate(self.effects.entry, day, area)
        leave = rates.discharge[rows] * np.where(state.enrolled(rows, day), self.effects.discharge, 1.0)
        out = at_home & (u < np.minimum(leave, MAX_RISK))
        moves = u >= 1 - self.move_rate[now]
        p = self.settings.placements
        away = np.array([SETTINGS.index(name) for name in p.discharged_to])
        to = np.where(u < full, self._diverted(k, day), now)
        to = np.where(u < let_in, self._home(k, day), to)
        to = np.where(out, away[choose(uniform(k, day, 15), list(p.discharged_to.values()))], to)
        to = np.where(moves, self._moved(now, uniform(k, day, 16)), to)
        # A move to another home keeps the setting and is still a new placement.
        changed = (to != now) | (moves & at_home)
        rows, to = rows[changed], to[changed]
        date = day + np.floor(7 * uniform(k[changed], day, 17)).astype(np.int64)
        date = np.maximum(date, state.placed[rows] + 1)
        state.place(rows, to, date, date)

    def _moved(self, now: Ints, u: np.ndarray) -> Ints:
        to = now.copy()
        for setting in np.unique(now):
            here = now == setting
            names = np.array([SETTINGS.index(name) for name in self.move_names[setting]])
            to[here] = names[choose(u[here], self.move_shares[setting])]
        return to

    def enrol_week(self, day: int, severity: np.ndarray) -> None:
        """Take people on: the sicker, those in rehabilitation or a home, and those just discharged, sooner."""
        a, state, p = self.settings.alliance, self.state, self.people
        treated = p.area_on(day) == self.effects.treated_area
        rows = np.flatnonzero(treated & p.followed_on(day) & (state.enrolled_until <= day))
        in_rehab = (state.rehab_from[rows] <= day) & (day < state.rehab_until[rows])
        since = day - state.free[rows]
        recent = (since >= 0) & (since < 7 * a.enrol_after_discharge_weeks)
        placed = in_rehab | (state.setting[rows] <= NURSING)
        hazard = self.effects.enrol_a_week * np.exp(a.enrol_severity * severity[rows])
        hazard *= np.where(placed, a.enrol_rehab_or_home, 1.0) * np.where(recent, a.enrol_after_discharge, 1.0)
        chosen = uniform(p.key[rows], day, 18) < np.minimum(hazard, MAX_RISK)
        rows, intensive = rows[chosen], (placed | recent)[chosen]
        if not len(rows):
            return
        k = p.key[rows]
        start = day + np.floor(7 * uniform(k, day, 19)).astype(np.int64)
        flat = uniform(k, day, 20) < 0.3
        first = np.where(intensive, np.where(flat, 1, 0), np.where(flat, 2, 3))
        # Six to nine months in the recovery service, eighteen in a studio flat: the service's own description.
        days = np.select([first == 0, first == 1], [180 + 90 * uniform(k, day, 21), 548.0], 270 + 270 * flat)
        middle = start + np.rint(days).astype(np.int64)
        state.episodes.append((rows, first, start, middle))
        follow = first <= 1
        end = middle + np.where(follow, 365, 0)
        state.episodes.append((rows[follow], np.where(flat, 3, 2)[follow], middle[follow], end[follow]))
        state.enrolled_from[rows], state.enrolled_until[rows] = start, end


def _leaving(key: np.ndarray, day: int) -> Ints:
    return np.where(uniform(key, day, 9) < 0.06, SELF, PLANNED)


def _clipped(state: _State, people: People, end: int) -> Lives:
    stays = Stays(*_joined(state.stays, 8))
    stays = _followed(replace(stays, out_of_area=stays.out_of_area.astype(bool)), people, end)
    # A stay cut short by death ends in it; one cut short by leaving London is taken over elsewhere.
    cut = (stays.end == people.exit_day[stays.person]) & (stays.end < FAR)
    dead = cut & (stays.end == people.death_day[stays.person])
    method = np.where(dead, DIED, np.where(cut, TRANSFER, stays.discharge))
    stays = replace(stays, discharge=method)
    placements = _followed(Placements(*_joined(state.placements, 4)), people, end)
    episodes = _followed(Episodes(*_joined(state.episodes, 4)), people, end)
    return Lives(_sorted(stays), _sorted(placements), _sorted(episodes))


def _joined(parts: list[tuple], n_columns: int) -> list[np.ndarray]:
    if not parts:
        return [np.zeros(0, dtype=np.int64) for _ in range(n_columns)]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _followed(rows: Rows, people: People, end: int) -> Rows:
    exit_day = people.exit_day[rows.person]
    rows = take(rows, (rows.start < exit_day) & (rows.start < end))
    last = np.minimum(rows.end, people.exit_day[rows.person])
    return replace(rows, end=np.where(last >= end, FAR, last))


def _sorted(rows: Rows) -> Rows:
    return take(rows, np.lexsort((rows.end, rows.start, rows.person)))
