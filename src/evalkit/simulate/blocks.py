"""The world block by block: everybody's life, and a second one for those whom the alliance could reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import numpy as np

from evalkit.simulate.effects import Shocks, alliance_effects, draw_shocks, no_effects
from evalkit.simulate.events import Lives, Rows, live, take
from evalkit.simulate.pathways import true_home_days, true_state_days
from evalkit.simulate.people import Draws, Floats, Ints, People, area_sizes, draw_chances, draw_people
from evalkit.simulate.settings import WorldSettings
from evalkit.simulate.truth import Counts, count_rates, go_live_cohort, true_costs, true_readmissions


@dataclass(frozen=True)
class Block:
    """What is kept of a block.

    `people`, `severity` and `lives` (as lived, with the alliance) are of those whose records are
    written; counts are of everybody; `readmissions`, `costs`, `state_days` and `home_days`
    hold both worlds for the treated area.
    """

    people: People
    severity: Floats
    lives: Lives
    counts: Counts
    treated_with: Counts
    treated_without: Counts
    readmissions: dict[str, Floats]
    costs: Floats
    state_days: Floats
    home_days: Floats


def simulate_blocks(settings: WorldSettings, *, seed: int) -> Iterator[Block]:
    """Live the world block by block; memory is bounded by `world.block_people`."""
    total = int(area_sizes(settings).sum())
    size = settings.world.block_people
    starts = range(0, total, size)
    streams = np.random.SeedSequence(seed).spawn(1 + len(starts))
    shocks = draw_shocks(settings, np.random.default_rng(streams[0]))
    for start, stream in zip(starts, streams[1:], strict=True):
        rng = np.random.Generator(np.random.SFC64(stream))
        people = draw_people(settings, np.arange(start, min(start + size, total)), seed=seed, rng=rng)
        yield live_block(settings, people, draw_chances(settings, people, rng), shocks)


def live_block(settings: WorldSettings, people: People, draws: Draws, shocks: Shocks) -> Block:
    """Live a block without the alliance, and again with it those who ever live in the treated area."""
    names = list(settings.areas.people)
    treated = names.index(settings.areas.treated)
    recorded = [names.index(name) for name in (settings.areas.treated, *settings.areas.comparators)]
    # Nobody else can differ between the worlds: neither hazards nor draws do.
    ever = (people.area == treated) | (people.second_area == treated)
    kept = np.isin(people.area, recorded) & ~ever
    reached, reached_draws = people.take(np.flatnonzero(ever)), draws.take(np.flatnonzero(ever))
    effects = alliance_effects(settings)
    all_without = live(settings, people, draws, shocks, no_effects(settings))
    without = lives_of(all_without, np.flatnonzero(ever), people.size)
    with_ = live(settings, reached, reached_draws, shocks, effects)
    treated_without, treated_with = count_rates(settings, reached, without), count_rates(settings, reached, with_)
    cohort = go_live_cohort(settings, reached, without, treated)
    order = np.concatenate([np.flatnonzero(ever), np.flatnonzero(kept)])
    return Block(
        people=people.take(order),
        severity=draws.severity[:, order],
        lives=_together(with_, lives_of(all_without, np.flatnonzero(kept), people.size), shift=reached.size),
        counts=count_rates(settings, people, all_without) - treated_without + treated_with,
        treated_with=treated_with,
        treated_without=treated_without,
        readmissions=true_readmissions(settings, reached, reached_draws, shocks, with_, effects),
        costs=true_costs(settings, reached, with_, without, cohort),
        state_days=true_state_days(settings, reached, with_, without, cohort),
        home_days=true_home_days(settings, reached, with_, without, cohort),
    )


def lives_of(lives: Lives, rows: Ints, n_people: int) -> Lives:
    """The lives of the people at `rows`, who are then numbered from 0 in that order."""
    number = np.full(n_people, -1)
    number[rows] = np.arange(len(rows))

    def of(table: Rows) -> Rows:
        kept = take(table, number[table.person] >= 0)
        return replace(kept, person=number[kept.person])

    return Lives(of(lives.stays), of(lives.placements), of(lives.episodes))


def _together(first: Lives, second: Lives, *, shift: int) -> Lives:
    def join(a: Rows, b: Rows) -> Rows:
        b = replace(b, person=b.person + shift)
        return replace(a, **{f.name: np.concatenate([getattr(a, f.name), getattr(b, f.name)]) for f in fields(a)})

    return Lives(
        join(first.stays, second.stays),
        join(first.placements, second.placements),
        join(first.episodes, second.episodes),
    )
