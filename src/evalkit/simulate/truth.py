"""Counts by area and quarter, and the true value of every estimand for this very cohort."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalkit.simulate.effects import MAX_RISK, Effects, Shocks, rise_after_discharge, step_rates
from evalkit.simulate.events import (
    ACUTE_WARD,
    LIVING_24H,
    NURSING,
    PICU_WARD,
    PLANNED,
    REHAB_WARD,
    SECURE_WARD,
    SELF,
    TRANSFER,
    Lives,
    take,
)
from evalkit.simulate.money import days_within, public_cost
from evalkit.simulate.pathways import INSTITUTIONS, STATES
from evalkit.simulate.people import FAR, STEP_DAYS, Calendar, Draws, Floats, Ints, People, overlap_propensity, uniform
from evalkit.simulate.settings import WorldSettings

RATES = (
    "residential_entry", "rehab_admission", "residential_discharge", "acute_ward_days", "out_of_area_rehab",
    "rehab_ward_days", "supported_living_entry",
)  # fmt: skip
HORIZONS = (30, 90, 365)
MIN_AGE, MAX_AGE = 18, 75


@dataclass(frozen=True)
class Counts:
    """Events and person-days by rate outcome, area and quarter; both shape (len(RATES), n_areas, n_quarters)."""

    events: Ints
    days: Ints

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.events + other.events, self.days + other.days)

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.events - other.events, self.days - other.days)


def count_rates(settings: WorldSettings, people: People, lives: Lives) -> Counts:
    """The protocol's rate outcomes, by responsible borough on the day of the event."""
    calendar = Calendar(settings)
    stays, homes = lives.stays, lives.placements
    care = take(homes, homes.setting <= NURSING)
    rehab = take(stays, stays.ward == REHAB_WARD)
    away = take(stays, stays.out_of_area & ((stays.ward == REHAB_WARD) | (stays.ward == SECURE_WARD)))
    supported = take(homes, homes.setting == LIVING_24H)
    acute = take(stays, (stays.ward == ACUTE_WARD) | (stays.ward == PICU_WARD))

    def starts(rows) -> Ints:
        new = ~_follows(rows.person, rows.start, rows.end)
        return _events(settings, people, rows.person[new], rows.start[new])

    moved_on = np.zeros(len(care.person), dtype=bool)
    moved_on[:-1] = _follows(care.person, care.start, care.end)[1:]
    left = ~moved_on
    population = _person_days(settings, people, np.arange(people.size), people.entry_day, people.exit_day)
    residents = _person_days(settings, people, care.person, care.start, care.end)
    events = {
        "residential_entry": starts(care),
        "rehab_admission": starts(rehab),
        "residential_discharge": _events(settings, people, care.person[left], care.end[left]),
        "acute_ward_days": _person_days(settings, people, acute.person, acute.start, acute.end),
        "out_of_area_rehab": starts(away),
        "rehab_ward_days": _person_days(settings, people, rehab.person, rehab.start, rehab.end),
        "supported_living_entry": starts(supported),
    }
    days = [residents if name == "residential_discharge" else population for name in RATES]
    n_quarters = len(calendar.quarters) - 1
    shape = (len(RATES), len(settings.areas.people), n_quarters)
    return Counts(np.stack([events[name] for name in RATES]).reshape(shape), np.stack(days).reshape(shape))


def _follows(person: Ints, start: Ints, end: Ints) -> NDArray[np.bool_]:
    """Whether each row starts on the day on which the same person's row before it ends."""
    follows = np.zeros(len(person), dtype=bool)
    follows[1:] = (person[1:] == person[:-1]) & (start[1:] == end[:-1])
    return follows


def _events(settings: WorldSettings, people: People, person: Ints, day: Ints) -> Ints:
    quarters = Calendar(settings).quarters
    inside = (day >= quarters[0]) & (day < quarters[-1])
    # What ends on the last day of follow-up is a death or a move out of sight, not a discharge.
    inside &= (people.entry_day[person] <= day) & (day < people.exit_day[person])
    person, day = person[inside], day[inside]
    area = np.where(day < people.move_day[person], people.area[person], people.second_area[person])
    quarter = np.searchsorted(quarters, day, side="right") - 1
    n_areas, n_quarters = len(settings.areas.people), len(quarters) - 1
    return np.bincount(area * n_quarters + quarter, minlength=n_areas * n_quarters).reshape(n_areas, n_quarters)


def _person_days(settings: WorldSettings, people: People, person: Ints, start: Ints, end: Ints) -> Ints:
    quarters, n_areas = Calendar(settings).quarters, len(settings.areas.people)
    days = np.zeros((n_areas, len(quarters) - 1), dtype=np.int64)
    move = people.move_day[person]
    for area, first, last in (
        (people.area[person], start, np.minimum(end, move)),
        (people.second_area[person], np.maximum(start, move), end),
    ):
        for q in range(len(quarters) - 1):
            shared = days_within(first, last, quarters[q], quarters[q + 1])
            days[:, q] += np.bincount(area, shared, n_areas).astype(np.int64)
    return days


@dataclass(frozen=True)
class Discharges:
    """Ends of hospital spells, ward moves and transfers merged; `next_days` is FAR where none follows."""

    person: Ints
    admitted: Ints
    day: Ints
    next_days: Ints


def index_discharges(lives: Lives) -> Discharges:
    """Discharges that can be followed by a readmission: alive, not a transfer, not from a secure ward only."""
    stays = lives.stays
    joined = _follows(stays.person, stays.start, stays.end)
    joined[1:] &= stays.discharge[:-1] == TRANSFER
    first = np.flatnonzero(~joined)
    last = np.append(first[1:] - 1, len(stays.person) - 1)[: len(first)]
    person, start = stays.person[first], stays.start[first]
    end, method = stays.end[last], stays.discharge[last]
    other = np.add.reduceat((stays.ward != SECURE_WARD).astype(np.int64), first) if len(first) else first
    following = np.full(len(first), FAR)
    same = person[1:] == person[:-1]
    following[:-1] = np.where(same, start[1:] - end[:-1], FAR)
    kept = (end < FAR) & ((method == PLANNED) | (method == SELF)) & (other > 0)
    return Discharges(person[kept], start[kept], end[kept], following[kept])


def shadow_readmissions(
    settings: WorldSettings, people: People, draws: Draws, shocks: Shocks, discharges: Discharges
) -> Ints:
    """Days to readmission had the alliance been switched off for the person from that discharge on.

    The hospital process depends on the past only through the day of the last discharge, so the same
    draws are walked again under the hazards without the alliance. FAR where none follows in a year.
    """
    person, day = discharges.person, discharges.day
    key, exit_day = people.key[person], people.exit_day[person]
    n_weeks = draws.hospital.shape[0]
    steps = [step_rates(settings, people, draws, shocks, step) for step in range(draws.severity.shape[0])]
    acute = np.array([s.acute for s in steps])
    onward = np.array([s.rehab + s.secure for s in steps])
    rise = rise_after_discharge(settings)
    found = np.full(len(person), FAR)
    # The week of the admission itself has had its draw, even when the stay began and ended on its first day.
    first_week = np.maximum(-(-day // 7), discharges.admitted // 7 + 1)
    for offset in range(max(HORIZONS) // 7 + 2):
        week = first_week + offset
        rows = np.flatnonzero((found == FAR) & (week < n_weeks) & (week * 7 < exit_day))
        w, who = week[rows], person[rows]
        u = draws.hospital[w, who].astype(np.float64)
        step = w * 7 // STEP_DAYS
        low = np.minimum(acute[step, who] * rise[(w * 7 - day[rows]) // 7], MAX_RISK)
        event = (u < low) | (u >= 1 - onward[step, who])
        start = w * 7 + np.floor(7 * uniform(key[rows], w * 7, 1)).astype(np.int64)
        event &= start < exit_day[rows]
        found[rows[event]] = (start - day[rows])[event]
    return found


def true_readmissions(
    settings: WorldSettings, people: People, draws: Draws, shocks: Shocks, lives: Lives, effects: Effects
) -> dict[str, Floats]:
    """Per index discharge of the treated area after adoption: day, overlap weight, days to readmission."""
    calendar = Calendar(settings)
    d = index_discharges(lives)
    area = np.where(d.day < people.move_day[d.person], people.area[d.person], people.second_area[d.person])
    year = calendar.date(d.day).astype("datetime64[Y]").astype(np.int64) + 1970
    age = year - people.birth_year[d.person]
    kept = (area == effects.treated_area) & (d.day >= calendar.adoption) & (age >= MIN_AGE) & (age <= MAX_AGE)
    d = Discharges(d.person[kept], d.admitted[kept], d.day[kept], d.next_days[kept])
    return {
        "day": d.day,
        "weight": 1 - overlap_propensity(settings, people)[d.person],
        "with": d.next_days,
        "without": shadow_readmissions(settings, people, draws, shocks, d),
    }


def go_live_cohort(settings: WorldSettings, people: People, without: Lives, treated: int) -> Ints:
    """Rows of those whom the treated area answers for at adoption and who used a ward or home in the year before."""
    start = Calendar(settings).adoption
    used = np.zeros(people.size, dtype=bool)
    homes, stays = without.placements, without.stays
    care = homes.setting <= NURSING
    for person, first, last in (
        (stays.person, stays.start, stays.end),
        (homes.person[care], homes.start[care], homes.end[care]),
    ):
        used[person[days_within(first, last, start - 365, start) > 0]] = True
    age = settings.dates.adoption.year - people.birth_year
    used &= people.followed_on(start) & (people.area_on(start) == treated) & (age >= MIN_AGE) & (age <= MAX_AGE)
    return np.flatnonzero(used)


def true_costs(settings: WorldSettings, people: People, with_: Lives, without: Lives, cohort: Ints) -> Floats:
    """Cost in both worlds, GBP of `price_year` a person and quarter, shape (len(cohort), 4, 2).

    In order: all of it, placements at the prices paid and at unit prices, and what of all the NHS bears.
    """
    calendar = Calendar(settings)
    quarters = np.count_nonzero(calendar.quarters >= calendar.adoption) - 1
    worlds = ((with_, settings.money.treated_price_change), (without, 0.0))
    spent = [public_cost(settings, people, lives, start=calendar.adoption, end=calendar.end, fall=fall)
             for lives, fall in worlds]  # fmt: skip
    both = [np.stack([cost.total, cost.placements, cost.standard_placements, cost.nhs], axis=1) for cost in spent]
    return np.stack(both, axis=2)[cohort] / quarters


def summarise(
    settings: WorldSettings,
    with_: Counts,
    without: Counts,
    readmissions: dict[str, Floats],
    costs: Floats,
    state_days: Floats,
    home_days: dict[str, float],
) -> dict[str, float]:
    """The truth by estimand key; what is undefined in this cohort (no event, nobody) is left out."""
    calendar = Calendar(settings)
    treated = list(settings.areas.people).index(settings.areas.treated)
    after = calendar.quarters[:-1] >= calendar.adoption
    truth: dict[str, float] = {}
    for position, name in enumerate(RATES):
        rates = [c.events[position, treated, after].sum() / c.days[position, treated, after].sum()
                 for c in (with_, without)]  # fmt: skip
        truth[f"{name}.rate_ratio"] = rates[0] / rates[1] if rates[1] else float("nan")
    for horizon in HORIZONS:
        whole = readmissions["day"] + horizon <= calendar.end
        change = (readmissions["with"] < horizon).astype(float) - (readmissions["without"] < horizon)
        weight = readmissions["weight"]
        name = f"readmission_{horizon}d.risk_difference"
        truth[name] = _mean(change[whole], weight[whole])
        truth[f"{name}.att"] = _mean(change[whole], np.ones(int(whole.sum())))
    if len(costs):
        truth |= summarise_costs(costs.mean(axis=0))
        truth |= {f"valued_{key}.days_per_person_quarter": float(x) for key, x in home_days.items()}
    for name, days in zip(STATES, (state_days[..., 0] - state_days[..., 1]).T, strict=True):
        truth[f"pathway_{name}.days_per_person"] = _mean(days, np.ones(len(days)))
    truth["institution_days.days_per_person"] = sum(truth[f"pathway_{name}.days_per_person"] for name in INSTITUTIONS)
    return {key: float(f"{value:.10g}") for key, value in sorted(truth.items()) if np.isfinite(value)}


def summarise_costs(means: Floats) -> dict[str, float]:
    """Effects on cost from the means of `true_costs`, shape (4, 2), with the alliance and without it.

    Price is (r1 - r0)(S1 + S0) / 2 with r = paid / S, of placements alone, and use the rest (Bennet 1920).
    """
    (total, total_0), (paid, paid_0), (unit, unit_0), (nhs, nhs_0) = means
    price = (paid / unit - paid_0 / unit_0) * (unit + unit_0) / 2 if min(unit, unit_0) > 0 else 0.0
    effect = {"": total - total_0, "_use": total - total_0 - price, "_price": price, "_nhs": nhs - nhs_0}
    found = {f"public_cost{name}.gbp_per_person_quarter": float(value) for name, value in effect.items()}
    return found | {"public_cost.relative_change": float(total / total_0 - 1) if total_0 else float("nan")}


def _mean(values: Floats, weights: Floats) -> float:
    return float(np.sum(values * weights) / np.sum(weights)) if len(values) else float("nan")
