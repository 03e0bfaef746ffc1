"""Lives as canonical tables. Details are drawn by `uniform`, so a record that is in both worlds is the same in both."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

from evalkit.core.prices import financial_year
from evalkit.simulate.blocks import Block
from evalkit.simulate.events import ACUTE_WARD, COMPONENTS, DIED, REHAB_WARD, SECURE_WARD, TRANSFER, Lives
from evalkit.simulate.money import draw_contacts, index_level, living_at, placement_prices
from evalkit.simulate.people import FAR, STEP_DAYS, Calendar, Floats, Ints, People, area_sizes, choose, normal, uniform
from evalkit.simulate.settings import ETHNIC_GROUPS, SETTINGS, WARDS, WorldSettings
from evalkit.simulate.truth import RATES, Counts

DIALOG = {
    # How far the mean of each item lies from the scale: job lowest, meetings highest (verified); the rest assumed.
    "mental_health": -0.4, "physical_health": -0.1, "job_situation": -0.75, "accommodation": 0.0,
    "leisure_activities": -0.2, "family_relationships": 0.1, "friendships": -0.1, "personal_safety": 0.3,
    "medication": 0.2, "practical_help": 0.25, "meetings_with_professionals": 0.7,
}  # fmt: skip
ADMISSIONS = ("elective", "emergency", "transfer")
DISCHARGES = ("planned", "self", "transfer", "died")
DESTINATIONS = ("own_home", "placement", "hospital", "other", "died")
LEGAL = ("informal", "section_2", "section_3", "forensic")
TEAMS = ("community_recovery", "crisis_resolution", "primary_care_liaison")
KINDS = ("face_to_face", "telephone")


def person_tables(settings: WorldSettings, block: Block) -> dict[str, pa.Table]:
    """The canonical tables of one block's people, by name."""
    ids = person_ids(block.people)
    assessments, activities, checks = _reviews(settings, block, ids)
    return {
        "people": _people(settings, block.people, ids),
        "residence": _residence(settings, block.people, ids),
        "ward_stays": _ward_stays(settings, block.people, block.lives, ids),
        "placements": _placements(settings, block.people, block.lives, ids),
        "programme_episodes": _episodes(settings, block.lives, ids),
        "contacts": _contacts(settings, block.people, block.lives, ids),
        "assessments": assessments,
        "activities": activities,
        "health_checks": checks,
    }


def world_tables(settings: WorldSettings, counts: Counts) -> dict[str, pa.Table]:
    """The tables that name no person."""
    areas, money, calendar = list(settings.areas.people), settings.money, Calendar(settings)
    events, days = counts.events.ravel(), counts.days.ravel()
    n_quarters = len(calendar.quarters) - 1
    outcome, area, quarter = (a.ravel() for a in np.indices(counts.days.shape))
    some = days > 0
    starts = calendar.quarters[:-1]
    years = {int(year): factor for year, factor in money.budget_actual.items()}
    original = round(money.budget_per_person_gbp * int(area_sizes(settings)[areas.index(settings.areas.treated)]), 2)
    adopted = [settings.dates.adoption if name == settings.areas.treated else None for name in areas]
    costs = money.unit_costs
    last = financial_year(np.array([settings.dates.end], dtype="datetime64[D]"))[0]
    index_years = list(
        range(min(settings.dates.history_start.year, money.price_year) - 25, max(int(last), money.price_year) + 1)
    )
    return {
        "unit_costs": pa.table({
            "resource": list(costs), "unit": [c.unit for c in costs.values()],
            "price_gbp": [c.price_gbp for c in costs.values()],
            "price_year": [money.price_year] * len(costs), "source": [c.source for c in costs.values()],
            "verified": [c.verified for c in costs.values()],
        }),
        "price_index": pa.table({
            "year": index_years, "level": [round(float(x), 6) for x in index_level(settings, np.array(index_years))],
            "source": [f"Simulated: {100 * money.inflation_a_year:g}% a year"] * len(index_years),
            "verified": [False] * len(index_years),
        }),
        "budgets": pa.table({
            "programme": ["ipsa"] * len(years), "year": list(years), "original_gbp": [original] * len(years),
            "actual_gbp": [round(original * factor, 2) for factor in years.values()],
        }),
        "areas": pa.table({
            "area": areas, "population": area_sizes(settings), "adoption_date": pa.array(adopted, pa.date32()),
        }),
        "area_counts": pa.table({
            "area": _coded(areas, area[some]),
            "period_start": _dates(settings, starts[quarter % n_quarters][some]),
            "outcome": _coded(RATES, outcome[some]),
            "count": events[some].astype(np.float64),
            "person_time": np.round(days[some] / 365.25, 6),
        }),
    }  # fmt: skip


def person_ids(people: People) -> pa.Array:
    """Opaque ids: a one-to-one scrambling of a person's position (32 bits), which shows neither area nor order."""
    x = people.number.astype(np.uint64) & np.uint64(0xFFFFFFFF)
    for factor in (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35):
        x = (x * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
        x ^= x >> np.uint64(15)
    return pa.array([f"{value:08x}" for value in x.tolist()])


def _people(settings: WorldSettings, people: People, ids: pa.Array) -> pa.Table:
    missing = settings.records.covariate_missing
    return pa.table({
        "person_id": ids,
        "birth_year": people.birth_year,
        "sex": _coded(("female", "male"), people.male.astype(np.int64)),
        "ethnic_group": _coded(ETHNIC_GROUPS, people.ethnic),
        "area": _coded(settings.areas.people, people.area),
        "imd_decile": pa.array(people.imd, mask=uniform(people.key, 0, 50) < missing),
        "primary_diagnosis": _coded(settings.people.diagnosis, people.diagnosis),
        "dual_diagnosis": pa.array(people.dual, mask=uniform(people.key, 0, 51) < missing),
        "forensic_history": people.forensic,
        "death_date": _dates(settings, people.death_day),
    })  # fmt: skip


def _residence(settings: WorldSettings, people: People, ids: pa.Array) -> pa.Table:
    end = people.exit_day
    moved = np.flatnonzero(people.move_day < np.minimum(end, Calendar(settings).end))
    person = np.concatenate([np.arange(people.size), moved])
    first_end = end.copy()
    first_end[moved] = people.move_day[moved]
    return pa.table({
        "person_id": ids.take(pa.array(person)),
        "area": _coded(settings.areas.people, np.concatenate([people.area, people.second_area[moved]])),
        "start": _dates(settings, np.concatenate([people.entry_day, people.move_day[moved]])),
        "end": _dates(settings, np.concatenate([first_end, end[moved]])),
    })  # fmt: skip


def _ward_stays(settings: WorldSettings, people: People, lives: Lives, ids: pa.Array) -> pa.Table:
    stays = lives.stays
    key, still_in = people.key[stays.person], stays.end == FAR
    codes = ids.take(pa.array(stays.person)).to_pylist()
    nth = _counter(stays.person)
    home = living_at(lives.placements, stays.person, np.where(still_in, 0, stays.end))
    own, nowhere = SETTINGS.index("own_tenancy"), SETTINGS.index("homeless")
    goes_to = np.select([home == nowhere, home >= own], [3, 0], 1)
    goes_to = np.select([stays.discharge == DIED, stays.discharge == TRANSFER], [4, 2], goes_to)
    length = stays.end - stays.start
    waits = np.floor(14 + 100 * uniform(key, stays.start, 61)).astype(np.int64)
    share = np.select([stays.ward == REHAB_WARD, stays.ward == ACUTE_WARD], [0.35, 0.08], 0.0)
    delayed = (uniform(key, stays.start, 62) < share) & (waits < length) & ~still_in
    return pa.table({
        "stay_id": [f"{code}-w{n}" for code, n in zip(codes, nth.tolist(), strict=True)],
        "person_id": pa.array(codes),
        "spell_id": [f"{code}-s{n}" for code, n in zip(codes, stays.spell.tolist(), strict=True)],
        "ward_type": _coded(WARDS, stays.ward),
        "site": _sites(settings, people, lives),
        "start": _dates(settings, stays.start),
        "end": _dates(settings, stays.end),
        "admission_method": _coded(ADMISSIONS, stays.admission),
        "discharge_method": _coded(DISCHARGES, stays.discharge, mask=still_in),
        "discharge_destination": _coded(DESTINATIONS, goes_to, mask=still_in),
        "legal_status": _coded(LEGAL, _legal(stays.ward, uniform(key, stays.start, 63))),
        "ready_date": _dates(settings, np.where(delayed, stays.end - waits, FAR)),
        "out_of_area": stays.out_of_area,
    })  # fmt: skip


def _sites(settings: WorldSettings, people: People, lives: Lives) -> pa.Array:
    """Each area's wards by type, a second rehabilitation ward until it closes, and five independent providers."""
    stays, areas = lives.stays, list(settings.areas.people)
    key = people.key[stays.person]
    at = np.where(stays.start < people.move_day[stays.person], people.area[stays.person],
                  people.second_area[stays.person])  # fmt: skip
    closed = (at == areas.index(settings.areas.treated)) & (
        stays.start >= Calendar(settings).day(settings.dates.ward_closes)
    )
    second = (stays.ward == REHAB_WARD) & (uniform(key, stays.start, 64) < 0.5) & ~closed
    names = [f"{area} {ward} {letter}" for area in areas for ward in WARDS for letter in "AB"]
    names += [f"Independent provider {n}" for n in range(1, 6)]
    away = 8 * len(areas) + np.floor(5 * uniform(key, stays.start, 65)).astype(np.int64)
    return _coded(names, np.where(stays.out_of_area, away, 8 * at + 2 * stays.ward + second))


def _legal(ward: Ints, u: Floats) -> Ints:
    acute = choose(u, [0.55, 0.28, 0.17])
    return np.select([ward == SECURE_WARD, ward == REHAB_WARD], [3, np.where(u < 0.4, 0, 2)], acute)


def _placements(settings: WorldSettings, people: People, lives: Lives, ids: pa.Array) -> pa.Table:
    homes = lives.placements
    prices = placement_prices(settings, people, homes)
    codes = ids.take(pa.array(homes.person)).to_pylist()
    providers = [f"Provider {n:02d}" for n in range(1, 31)]
    drawn = np.floor(30 * uniform(people.key[homes.person], homes.start, 66)).astype(np.int64)
    unpaid = homes.setting >= SETTINGS.index("own_tenancy")
    return pa.table({
        "placement_id": [f"{code}-p{n}" for code, n in zip(codes, _counter(homes.person).tolist(), strict=True)],
        "person_id": pa.array(codes),
        "setting": _coded(SETTINGS, homes.setting),
        "start": _dates(settings, homes.start),
        "end": _dates(settings, homes.end),
        "weekly_cost_gbp": pa.array(prices.weekly, mask=np.isnan(prices.weekly)),
        "funder": _coded(settings.money.funder, prices.funder),
        "provider": _coded(providers, drawn, mask=unpaid),
    })  # fmt: skip


def _episodes(settings: WorldSettings, lives: Lives, ids: pa.Array) -> pa.Table:
    episodes = lives.episodes
    return pa.table({
        "person_id": ids.take(pa.array(episodes.person)),
        "programme": pa.array(["ipsa"] * len(episodes.person), pa.string()),
        "component": _coded(COMPONENTS, episodes.component),
        "start": _dates(settings, episodes.start),
        "end": _dates(settings, episodes.end),
    })  # fmt: skip


def _contacts(settings: WorldSettings, people: People, lives: Lives, ids: pa.Array) -> pa.Table:
    contacts = draw_contacts(settings, people, lives)
    key = people.key[contacts.person]
    return pa.table({
        "person_id": ids.take(pa.array(contacts.person)),
        "date": _dates(settings, contacts.day),
        "team": _coded(TEAMS, choose(uniform(key, contacts.day, 67), [0.75, 0.1, 0.15])),
        "kind": _coded(KINDS, choose(uniform(key, contacts.day, 68), [0.7, 0.3])),
        "attended": contacts.attended,
    })  # fmt: skip


def _reviews(settings: WorldSettings, block: Block, ids: pa.Array) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Assessments every so often, missing more often when a person is worse; activities and checks once a year."""
    r, people, calendar = settings.records, block.people, Calendar(settings)
    opens = calendar.day(settings.dates.study_start)
    person, day = _review_days(settings, people, opens)
    z = block.severity[np.minimum(day // STEP_DAYS, len(block.severity) - 1), person]
    odds = r.assessment_missing / (1 - r.assessment_missing) * np.exp(r.assessment_missing_severity * z)
    done = uniform(people.key[person], day, 71) >= odds / (1 + odds)
    who, when, severity = np.repeat(person[done], 11), np.repeat(day[done], 11), np.repeat(z[done], 11)
    item = np.tile(np.arange(11), int(done.sum()))
    key = people.key[who] + item.astype(np.uint64)
    own = 0.5 * normal(people.key[who], 0, 72)
    score = r.dialog_mean + np.array(list(DIALOG.values()))[item] + own + r.dialog_severity * severity
    score = np.clip(np.rint(score + 0.75 * r.dialog_sd * normal(key, when, 73)), 1, 7)
    assessments = pa.table({
        "person_id": ids.take(pa.array(who)), "date": _dates(settings, when),
        "instrument": _coded(("DIALOG",), np.zeros_like(who)), "item": _coded(DIALOG, item),
        "score": pa.array(score, mask=uniform(key, when, 74) < r.item_missing),
    })  # fmt: skip
    years = np.arange(opens, calendar.end, 365)
    who, which = (a.ravel() for a in np.indices((people.size, len(years))))
    when = years[which] + np.floor(365 * uniform(people.key[who], years[which], 75)).astype(np.int64)
    kept = (when >= people.entry_day[who]) & (when < np.minimum(people.exit_day[who], calendar.end))
    who, when = who[kept], when[kept]
    return assessments, *_yearly(settings, people, ids, who, when)


def _yearly(settings: WorldSettings, people: People, ids: pa.Array, who: Ints, when: Ints) -> tuple[pa.Table, pa.Table]:
    tables = []
    for what, shares, purpose in (
        ("activity", settings.records.activity, 76), ("check", settings.records.health_check_done, 86),
    ):  # fmt: skip
        person, day = np.repeat(who, len(shares)), np.repeat(when, len(shares))
        which = np.tile(np.arange(len(shares)), len(who))
        key = people.key[person] + which.astype(np.uint64)
        # Half of the chance belongs to the person, so that the same people are active from year to year.
        u = np.where(uniform(key, day, purpose) < 0.5, uniform(key, 0, purpose + 1), uniform(key, day, purpose + 2))
        yes = u < np.array(list(shares.values()))[which]
        last = (
            {"status": _coded(("not_taking_part", "taking_part"), yes.astype(np.int64))}
            if what == "activity" else {"done": pa.array(yes)}
        )  # fmt: skip
        tables.append(pa.table({
            "person_id": ids.take(pa.array(person)), "date": _dates(settings, day), what: _coded(shares, which), **last,
        }))  # fmt: skip
    return tables[0], tables[1]


def _review_days(settings: WorldSettings, people: People, opens: int) -> tuple[Ints, Ints]:
    calendar, gap = Calendar(settings), 7 * settings.records.assessment_gap_weeks
    day = np.maximum(people.entry_day, opens) + np.floor(gap * uniform(people.key, 0, 69)).astype(np.int64)
    everyone, days = [], []
    for turn in range(int((calendar.end - opens) / (0.65 * gap)) + 2):
        kept = np.flatnonzero(day < np.minimum(people.exit_day, calendar.end))
        everyone.append(kept)
        days.append(day[kept])
        day = day + np.rint(gap * (0.65 + 0.7 * uniform(people.key, turn, 70))).astype(np.int64)
    person, day = np.concatenate(everyone), np.concatenate(days)
    order = np.lexsort((day, person))
    return person[order], day[order]


def _counter(person: Ints) -> Ints:
    """1, 2, 3 ... within each person, whose rows stand together."""
    first = np.flatnonzero(np.append(True, person[1:] != person[:-1])) if len(person) else person
    return np.arange(len(person)) - np.repeat(first, np.diff(np.append(first, len(person)))) + 1


def _coded(names: object, codes: Ints, *, mask: np.ndarray | None = None) -> pa.Array:
    dictionary = pa.array(list(names), pa.string())  # type: ignore[call-overload]
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=mask), dictionary).cast(pa.string())


def _dates(settings: WorldSettings, days: Ints) -> pa.Array:
    """Days as dates; a day that never comes is null."""
    origin = (settings.dates.history_start - dt.date(1970, 1, 1)).days
    never = days >= FAR
    return pa.array(np.where(never, 0, days + origin).astype(np.int32), pa.int32(), mask=never).cast(pa.date32())
