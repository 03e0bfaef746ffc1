"""Where the treated area's cohort is on each day of the year after adoption, in both worlds."""

from __future__ import annotations

import numpy as np

from evalkit.simulate.events import COMPONENTS, REHAB_WARD, Lives
from evalkit.simulate.people import Calendar, Floats, Ints, People
from evalkit.simulate.settings import SETTINGS, WARDS, WorldSettings

HORIZON_DAYS = 365
# The states of `protocols/ipsa.toml` in its order; where two hold on one day the first counts.
STATES = (
    "hospital", "rehab_ward", "care_home", "community_recovery", "studio_flat", "supported_living",
    "floating_support", "own_tenancy", "unsettled", "not_recorded", "dead",
)  # fmt: skip
INSTITUTIONS = ("hospital", "rehab_ward", "care_home")
_OF_WARD = {name: "rehab_ward" if k == REHAB_WARD else "hospital" for k, name in enumerate(WARDS)}
_OF_SETTING = {
    "residential_care": "care_home", "nursing_care": "care_home", "supported_living_24h": "supported_living",
    "supported_living": "supported_living", "floating_support": "floating_support", "own_tenancy": "own_tenancy",
    "family": "own_tenancy", "homeless": "unsettled", "prison": "unsettled",
}  # fmt: skip
_OF_COMPONENT = {"community_recovery_service": "community_recovery", "studio_flat": "studio_flat"}


def count_state_days(people: People, lives: Lives, cohort: Ints, *, start: int) -> Floats:
    """Days of each person of `cohort` in each state in the year from `start`; shape (len(cohort), len(STATES)).

    Who leaves London is followed no longer: their days are scaled up to the year.
    """
    days = lay_out_states(people, lives, cohort, start=start, horizon=HORIZON_DAYS)
    seen = (days >= 0).sum(axis=1, keepdims=True)
    counts = np.stack([(days == k).sum(axis=1) for k in range(len(STATES))], axis=1)
    return counts * (HORIZON_DAYS / np.maximum(seen, 1))


def lay_out_states(people: People, lives: Lives, cohort: Ints, *, start: int, horizon: int) -> Ints:
    """The state of each person of `cohort` on each day, places in `STATES`, -1 once gone; (len(cohort), horizon)."""
    n = len(cohort)
    number = np.full(people.size, -1)
    number[cohort] = np.arange(n)
    days = np.full((n, horizon), STATES.index("not_recorded"), dtype=np.int8)
    sources = [
        (lives.stays.person, _places(WARDS, _OF_WARD)[lives.stays.ward], lives.stays),
        (lives.placements.person, _places(SETTINGS, _OF_SETTING)[lives.placements.setting], lives.placements),
        (lives.episodes.person, _places(COMPONENTS, _OF_COMPONENT)[lives.episodes.component], lives.episodes),
    ]
    for state in range(len(STATES) - 3, -1, -1):
        for person, places, rows in sources:
            of = (places == state) & (number[person] >= 0)
            begin = np.clip(rows.start[of] - start, 0, horizon)
            end = np.clip(rows.end[of] - start, 0, horizon)
            edges = np.zeros((n, horizon + 1), dtype=np.int16)
            np.add.at(edges, (number[person[of]], begin), 1)
            np.add.at(edges, (number[person[of]], end), -1)
            days[np.cumsum(edges, axis=1)[:, :horizon] > 0] = state
    day = start + np.arange(horizon)
    days[day >= people.death_day[cohort][:, None]] = STATES.index("dead")
    left = (day >= people.leave_day[cohort][:, None]) & (people.death_day[cohort] > people.leave_day[cohort])[:, None]
    days[left] = -1
    return days


def _places(names: tuple[str, ...], of: dict[str, str]) -> Ints:
    """The place in `STATES` of each code, -1 where it is none."""
    return np.array([STATES.index(of[name]) if name in of else -1 for name in names])


def true_state_days(settings: WorldSettings, people: People, with_: Lives, without: Lives, cohort: Ints) -> Floats:
    """Days in each state with the alliance and without it, shape (len(cohort), len(STATES), 2)."""
    start = Calendar(settings).adoption
    return np.stack([count_state_days(people, lives, cohort, start=start) for lives in (with_, without)], 2)


# What people value, as in `protocols/ipsa.toml`: days in these states.
VALUED = {"days_at_home": ("floating_support", "own_tenancy"), "days_in_own_tenancy": ("own_tenancy",)}


def true_home_days(settings: WorldSettings, people: People, with_: Lives, without: Lives, cohort: Ints) -> Floats:
    """Valued days a quarter after adoption in both worlds, shape (len(cohort), len(VALUED), 2); none once gone."""
    calendar = Calendar(settings)
    quarters = np.count_nonzero(calendar.quarters >= calendar.adoption) - 1
    horizon = int(calendar.end - calendar.adoption)
    found = []
    for lives in (with_, without):
        days = lay_out_states(people, lives, cohort, start=calendar.adoption, horizon=horizon)
        found.append([np.isin(days, [STATES.index(s) for s in states]).sum(axis=1) for states in VALUED.values()])
    return np.transpose(np.array(found, dtype=np.float64), (2, 1, 0)) / quarters
