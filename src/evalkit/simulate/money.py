"""What stays, placements, contacts and the programme cost, as the records have it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.core.prices import financial_year
from evalkit.simulate.events import Lives, Placements
from evalkit.simulate.people import FAR, Calendar, Floats, Ints, People, choose, normal, uniform
from evalkit.simulate.settings import SETTINGS, WARDS, WorldSettings


@dataclass(frozen=True)
class Prices:
    """Weekly cost (NaN where not recorded, GBP) and funder (position in `money.funder`) of each placement.

    `weekly` is in money of the financial year in which the placement starts; `real` is the same in money of
    `price_year`, and `standard` what the setting costs at its unit price.
    """

    weekly: Floats
    real: Floats
    standard: Floats
    funder: Ints


@dataclass(frozen=True)
class Contacts:
    """Contacts with community teams, sorted by person and day."""

    person: Ints
    day: Ints
    attended: NDArray[np.bool_]


@dataclass(frozen=True)
class Cost:
    """Cost of each person over some days, GBP of `price_year`, shapes (n,).

    `total` at the prices paid; `placements` of it, and the same at unit prices (`standard_placements`); `nhs` of the
    total, half of what is joint among it.
    """

    total: Floats
    placements: Floats
    standard_placements: Floats
    nhs: Floats


JOINT_NHS_SHARE = 0.5


def index_level(settings: WorldSettings, year: Ints) -> Floats:
    """What things cost in financial years, 1 in `price_year`."""
    return (1 + settings.money.inflation_a_year) ** (np.asarray(year) - settings.money.price_year).astype(np.float64)


def placement_prices(
    settings: WorldSettings, people: People, placements: Placements, *, fall: float | None = None
) -> Prices:
    """A price around the unit cost of the setting, in the prices of the year the placement starts in.

    `fall` is the change of price in the treated area from adoption on; by default that of the settings.
    """
    m, key, calendar = settings.money, people.key[placements.person], Calendar(settings)
    standard = np.array([m.unit_costs[f"placement_week.{name}"].price_gbp for name in SETTINGS])[placements.setting]
    noise = np.exp(m.price_log_sd * normal(key, placements.start, 40) - m.price_log_sd**2 / 2)
    treated = list(settings.areas.people).index(settings.areas.treated)
    area = np.where(placements.start < people.move_day[placements.person], people.area[placements.person],
                    people.second_area[placements.person])  # fmt: skip
    bought = (area == treated) & (placements.start >= calendar.adoption)
    change = m.treated_price_change if fall is None else fall
    level = index_level(settings, financial_year(calendar.date(placements.start)))
    weekly = np.round(standard * noise * np.where(bought, 1 + change, 1.0) * level, 2)
    unknown = (standard == 0) | (uniform(key, placements.start, 41) < m.price_missing)
    funder = choose(uniform(key, placements.start, 42), list(m.funder.values()))
    return Prices(np.where(unknown, np.nan, weekly), np.where(unknown, standard, weekly / level), standard, funder)


def draw_contacts(settings: WorldSettings, people: People, lives: Lives) -> Contacts:
    """Contacts on days on which a person is followed and out of hospital."""
    calendar, r = Calendar(settings), settings.records
    found = []
    for first in range(0, calendar.weeks, 26):  # half a year at a time bounds memory
        weeks = np.arange(first, min(first + 26, calendar.weeks))
        u = uniform(people.key[None, :], weeks[:, None] * 7, 30)
        week, person = np.nonzero(u < r.contacts_a_year * 7 / 365.25)
        found.append((weeks[week], person))
    week, person = (np.concatenate(part) for part in zip(*found, strict=True))
    key = people.key[person]
    day = week * 7 + np.floor(7 * uniform(key, week * 7, 31)).astype(np.int64)
    kept = (day >= people.entry_day[person]) & (day < people.exit_day[person]) & (day < calendar.end)
    kept &= ~in_hospital(lives, person, day)
    person, day = person[kept], day[kept]
    order = np.lexsort((day, person))
    person, day = person[order], day[order]
    return Contacts(person, day, uniform(people.key[person], day, 32) < r.contact_attended)


def in_hospital(lives: Lives, person: Ints, day: Ints) -> NDArray[np.bool_]:
    """Whether a person is on a ward on a day."""
    stays = lives.stays
    if not len(stays.person):
        return np.zeros(len(person), dtype=bool)
    last = np.searchsorted(_place(stays.person, stays.start), _place(person, day), side="right") - 1
    return (last >= 0) & (stays.person[last] == person) & (day < stays.end[last])


def living_at(placements: Placements, person: Ints, day: Ints) -> Ints:
    """Setting of the placement that is open, or was the last to start, on a day; -1 where there is none."""
    last = np.searchsorted(_place(placements.person, placements.start), _place(person, day), side="right") - 1
    found = (last >= 0) & (placements.person[last] == person)
    return np.where(found, placements.setting[last], -1)


def _place(person: Ints, day: Ints) -> Ints:
    return person * (4 * FAR) + day + FAR


def public_cost(
    settings: WorldSettings, people: People, lives: Lives, *, start: int, end: int, fall: float | None = None
) -> Cost:
    """Cost to the NHS and the council between two days, in money of `price_year`.

    Ward days, placements not paid by the person, contacts attended and weeks in the programme. A
    placement without a price counts at the unit cost of its setting.
    """
    unit = {name: cost.price_gbp for name, cost in settings.money.unit_costs.items()}
    n, stays, homes, episodes = people.size, lives.stays, lives.placements, lives.episodes
    per_day = np.array([unit[f"ward_day.{w}"] for w in WARDS])[stays.ward]
    per_day = np.where(stays.out_of_area, unit["ward_day.out_of_area"], per_day)
    care = np.bincount(stays.person, per_day * days_within(stays.start, stays.end, start, end), n).astype(np.float64)
    contacts = draw_contacts(settings, people, lives)
    paid = contacts.attended & (contacts.day >= start) & (contacts.day < end)
    care += np.bincount(contacts.person[paid], minlength=n) * unit["contact"]
    weeks = days_within(episodes.start, episodes.end, start, end) / 7
    programme = np.bincount(episodes.person, weeks, n) * unit["programme_week.ipsa"]
    prices = placement_prices(settings, people, homes, fall=fall)
    weeks = days_within(homes.start, homes.end, start, end) / 7
    shares = {"self": 0.0, "nhs": 1.0, "local_authority": 0.0, "joint": JOINT_NHS_SHARE}
    public = np.array([float(name != "self") for name in settings.money.funder])[prices.funder]
    of_nhs = np.array([shares[name] for name in settings.money.funder])[prices.funder]
    places, standard, nhs = (
        np.bincount(homes.person, weeks * price * share, n)
        for price, share in ((prices.real, public), (prices.standard, public), (prices.real, of_nhs))
    )
    return Cost(
        total=care + places + programme,
        placements=places,
        standard_placements=standard,
        nhs=care + nhs + JOINT_NHS_SHARE * programme,
    )


def days_within(first: Ints, last: Ints, start: int, end: int) -> Ints:
    """Days that `[first, last)` shares with `[start, end)`."""
    return np.maximum(np.minimum(last, end) - np.maximum(first, start), 0)
