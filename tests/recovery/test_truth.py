"""The truth of a simulated world: exact where it must be, and told by a world that misleads as it should."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.area_counts import derive_area_counts
from evalkit.cohort.cohort import build_cohort
from evalkit.cohort.costs import build_costs
from evalkit.cohort.discharges import build_discharges
from evalkit.cohort.pathway import CELLS, build_pathways
from evalkit.core.pathway import INSTITUTION_DAYS
from evalkit.core.protocol import load_protocol
from evalkit.data.tables import open_tables
from evalkit.simulate import load_settings, simulate_world, write_world
from evalkit.simulate.blocks import simulate_blocks
from evalkit.simulate.effects import alliance_effects, draw_shocks, no_effects
from evalkit.simulate.events import live
from evalkit.simulate.pathways import STATES
from evalkit.simulate.people import STEP_DAYS, Calendar, draw_chances, draw_people, overlap_propensity
from evalkit.simulate.tables import person_ids
from evalkit.simulate.truth import HORIZONS, RATES, count_rates, summarise_costs

ROOT = Path(__file__).parents[2]
PROTOCOL = load_protocol(ROOT / "protocols" / "ipsa.toml")


@pytest.fixture(scope="module")
def settings():
    return load_settings(ROOT / "data" / "synthetic" / "settings" / "ipsa.toml")


@pytest.fixture(scope="module")
def written(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    write_world(settings, folder, seed=11)
    return open_tables(folder)


@pytest.fixture(scope="module")
def block(settings):
    (only,) = simulate_blocks(settings, seed=11)
    return only


def drawn(settings, *, seed=5, people=4000):
    rng = np.random.default_rng(seed)
    who = draw_people(settings, np.arange(people), seed=seed, rng=rng)
    return who, draw_chances(settings, who, rng), draw_shocks(settings, rng)


def same(a, b) -> bool:
    return all(
        np.array_equal(getattr(getattr(a, table.name), f.name), getattr(getattr(b, table.name), f.name))
        for table in fields(a)
        for f in fields(getattr(a, table.name))
    )


# Effects on cost by use, price and payer, and on days that people value: `cost_variants` and `cea_plane` estimate them.
OF_MONEY = {
    "public_cost_use.gbp_per_person_quarter", "public_cost_price.gbp_per_person_quarter",
    "public_cost_nhs.gbp_per_person_quarter", "public_cost.relative_change",
    *(f"valued_{v.key}.days_per_person_quarter" for v in PROTOCOL.economics.valued if v.kind == "days"),
}  # fmt: skip


def test_the_truth_names_the_protocols_estimands(settings):
    truth = simulate_world(settings, seed=1).truth
    keys = {PROTOCOL.estimand(outcome).key for outcome in PROTOCOL.outcomes}
    keys |= {PROTOCOL.pathway_estimand(state).key for state in PROTOCOL.pathway.state_keys}
    keys |= {f"{INSTITUTION_DAYS}.days_per_person", *OF_MONEY}
    assert {key for key in truth if not key.endswith(".att")} == keys
    assert {key.removesuffix(".att") for key in truth} == keys


def test_without_effects_every_truth_is_exactly_null(settings):
    truth = simulate_world(settings.without_alliance(), seed=3).truth
    nulls = {PROTOCOL.estimand(o).key: PROTOCOL.estimand(o).null_value for o in PROTOCOL.outcomes}
    nulls |= {PROTOCOL.pathway_estimand(state).key: 0.0 for state in PROTOCOL.pathway.state_keys}
    nulls[f"{INSTITUTION_DAYS}.days_per_person"] = 0.0
    nulls |= dict.fromkeys(OF_MONEY, 0.0)
    assert truth == {key: nulls[key.removesuffix(".att")] for key in truth}


def test_people_out_of_reach_live_the_same_life_in_both_worlds(settings):
    people, draws, shocks = drawn(settings)
    never = np.flatnonzero((people.area != 0) & (people.second_area != 0))
    who, chances = people.take(never), draws.take(never)
    worlds = [live(settings, who, chances, shocks, e) for e in (no_effects(settings), alliance_effects(settings))]
    assert same(*worlds)
    reached = np.flatnonzero(people.area == 0)
    who, chances = people.take(reached), draws.take(reached)
    worlds = [live(settings, who, chances, shocks, e) for e in (no_effects(settings), alliance_effects(settings))]
    assert not same(*worlds)
    before = [count_rates(settings, who, w).events[:, :, :12] for w in worlds]
    assert np.array_equal(*before)


def test_a_shadow_without_effects_is_the_life_that_was_lived(settings):
    people = {name: 6000 if name == "Lambeth" else 1 for name in settings.areas.people}
    # Many stays of one day: the least usual way to leave is where the two could part.
    many = settings.without_alliance().changed(areas={"people": people}, hospital={"same_day": 0.1})
    (block,) = simulate_blocks(many, seed=8)
    lived, shadow = block.readmissions["with"], block.readmissions["without"]
    near = (np.minimum(lived, shadow) < max(HORIZONS)) & (block.readmissions["day"] + 365 <= Calendar(settings).end)
    assert near.sum() > 500
    assert np.array_equal(lived[near], shadow[near])


def test_the_alliance_never_brings_a_person_back_sooner(block):
    sooner = block.readmissions["with"] < np.minimum(block.readmissions["without"], max(HORIZONS))
    assert not sooner.any()


def test_counts_agree_with_people_and_protocol(written):
    published = written.read("area_counts").set_index(["outcome", "area", "period_start"]).sort_index()
    for outcome in PROTOCOL.outcomes_of("rate"):
        derived = derive_area_counts(written, PROTOCOL, outcome).set_index(["area", "period_start"]).sort_index()
        ours = published.loc[outcome.key].reindex(derived.index)
        assert np.array_equal(ours["count"], derived["count"]), outcome.key
        assert np.allclose(ours["person_time"], derived["person_time"], atol=1e-6), outcome.key
    assert set(published.index.levels[0]) == set(RATES)


def test_rate_truth_by_hand_from_the_counts(settings, written, block):
    after = written.read("area_counts").query("area == 'Lambeth' and period_start >= '2015-04-01'")
    with_ = after.groupby("outcome")["count"].sum()
    quarters = Calendar(settings).quarters[:-1] >= Calendar(settings).adoption
    without = block.treated_without.events[:, 0, quarters].sum(axis=1)
    truth = simulate_world(settings, seed=11).truth
    for name, count in zip(RATES, without, strict=True):
        if name != "residential_discharge":  # the only one whose person-time differs between the worlds
            assert truth[f"{name}.rate_ratio"] == pytest.approx(with_[name] / count, rel=1e-9)


def test_discharges_agree_with_the_cohorts_rule(written, block):
    rows = build_discharges(written, PROTOCOL, index_ward_types=("acute", "picu", "rehab"))
    mine = rows[(rows["group"] == "Lambeth") & (rows["discharge"] >= "2015-04-01")]
    assert len(mine) == len(block.readmissions["day"]) > 100
    days = (mine["next_admission"] - mine["discharge"]).dt.days
    for horizon in HORIZONS:
        assert (days < horizon).sum() == (block.readmissions["with"] < horizon).sum()


def test_costs_agree_with_the_cohorts_rule(written, block):
    people = build_cohort(written, PROTOCOL).people
    mine = people.loc[people["group"] == "Lambeth", "person_id"]
    costs = build_costs(written, PROTOCOL, PROTOCOL.outcome("public_cost"), mine)
    after = costs.total[:, costs.starts >= np.datetime64("2015-04-01")]
    assert np.allclose(np.sort(after.mean(axis=1)), np.sort(block.costs[:, 0, 0]), rtol=1e-6)


def test_days_in_each_state_agree_with_the_cohorts_rule(written, block):
    found = build_pathways(written, PROTOCOL)
    mine = found.days[found.people["cell"] == CELLS.index("treated after")]
    seen = (mine >= 0).sum(axis=1)
    days = np.stack([(mine == k).sum(axis=1) for k in range(len(found.states))], axis=1) * (365 / seen)[:, None]
    assert found.states == STATES
    assert np.allclose(np.sort(days, axis=0), np.sort(block.state_days[..., 0], axis=0), rtol=1e-9)


def test_overlap_propensity_is_the_share_that_lives_there(settings):
    people, *_ = drawn(settings.changed(world={"scale": 20.0}), people=40_800)
    risk = overlap_propensity(settings, people)
    band = np.digitize(risk, np.quantile(risk, [0.2, 0.4, 0.6, 0.8]))
    for b in range(5):
        rows = band == b
        here, said = (people.area[rows] == 0).mean(), risk[rows].mean()
        assert abs(here - said) < 4 * np.sqrt(said * (1 - said) / rows.sum())
    assert risk.max() - risk.min() > 0.3


def test_people_who_used_most_fall_back_without_any_cause(settings):
    """Regression to the mean, with neither effect nor trend: this is what a before-and-after would claim."""
    still = settings.without_alliance().changed(
        national={"annual_change": 0.0, "front_door_factor": 1.0}, world={"scale": 4.0, "block_people": 200_000}
    )
    (block,) = simulate_blocks(still, seed=4)
    calendar, stays = Calendar(still), block.lives.stays
    acute = stays.ward <= 1
    person, start = stays.person[acute], stays.start[acute]
    cut = calendar.adoption
    followed = block.people.exit_day > cut + 365
    counts = [
        np.bincount(person[(start >= first) & (start < first + 365)], minlength=block.people.size)
        for first in (cut - 365, cut)
    ]
    users = (counts[0] > 0) & followed
    assert counts[1][users].sum() < 0.6 * counts[0][users].sum()
    assert counts[1][followed].sum() == pytest.approx(counts[0][followed].sum(), rel=0.15)


def test_people_join_in_a_bad_period_and_get_better(settings):
    still = settings.without_alliance().changed(national={"annual_change": 0.0, "front_door_factor": 1.0})
    first, later = 0, 0
    for seed in (1, 2, 3, 4):
        (block,) = simulate_blocks(still, seed=seed)
        people, stays = block.people, block.lives.stays
        joined = (people.entry_day > 0) & (people.exit_day > people.entry_day + 4 * 365)
        since = (stays.start - people.entry_day[stays.person])[joined[stays.person] & (stays.ward == 0)]
        first += np.sum(since < 365)
        later += np.sum((since >= 3 * 365) & (since < 4 * 365))
    assert later < 0.9 * first


def test_those_enrolled_are_sicker(block, settings):
    episodes, people = block.lives.episodes, block.people
    calendar = Calendar(settings)
    step = calendar.adoption // STEP_DAYS
    there = np.flatnonzero((people.area == 0) & people.followed_on(calendar.adoption))
    enrolled = np.isin(there, episodes.person)
    z = block.severity[step, there]
    assert z[enrolled].mean() > z[~enrolled].mean() + 0.1
    stays = block.lives.stays
    before = np.bincount(stays.person[stays.start < calendar.adoption], minlength=people.size)[there]
    assert before[enrolled].mean() > 1.3 * before[~enrolled].mean()


def test_assessments_are_missing_more_often_when_people_are_worse(settings, written, block):
    scores = written.read("assessments")
    assert scores["score"].mean() == pytest.approx(4.8, abs=0.25)  # with the worse under-represented
    assert scores["score"].std() == pytest.approx(1.1, abs=0.25)
    reviews = scores.drop_duplicates(["person_id", "date"])
    position = pd.Series(np.arange(block.people.size), index=person_ids(block.people).to_pylist())
    who = reviews["person_id"].map(position).to_numpy()
    step = (reviews["date"] - pd.Timestamp(settings.dates.history_start)).dt.days.to_numpy() // STEP_DAYS
    day = np.arange(13, block.severity.shape[0])[:, None] * STEP_DAYS
    followed = (block.people.entry_day <= day) & (day < block.people.exit_day)
    assert block.severity[step, who].mean() < block.severity[13:][followed].mean() - 0.1


def test_the_world_is_calibrated(written):
    people, residence = written.read("people"), written.read("residence")
    end = residence["end"].fillna(pd.Timestamp("2018-07-01"))
    years = (end - residence["start"]).dt.days.sum() / 365.25
    assert 12 <= 1000 * people["death_date"].notna().sum() / years <= 20
    rows = build_discharges(written, PROTOCOL, index_ward_types=("acute", "picu", "rehab"))
    whole = rows[rows["discharge"] < "2017-06-30"]
    days = (whole["next_admission"] - whole["discharge"]).dt.days
    for horizon, low, high in ((30, 0.06, 0.10), (90, 0.12, 0.18), (365, 0.28, 0.40)):
        assert low < (days < horizon).mean() < high
    stays = written.read("ward_stays").dropna(subset=["end"])
    length = (stays["end"] - stays["start"]).dt.days.groupby(stays["ward_type"]).median()
    assert 20 <= length["acute"] <= 40
    assert 230 <= length["rehab"] <= 444
    counts = written.read("area_counts").query("area == 'Lambeth' and '2013-04-01' <= period_start < '2015-04-01'")
    a_year = counts.groupby("outcome")["count"].sum() / 2
    assert 20 <= a_year["residential_entry"] <= 45
    assert 15 <= a_year["rehab_admission"] <= 40
    assert 20 <= a_year["residential_discharge"] <= 45


@pytest.mark.slow
def test_trends_are_parallel_without_the_alliance_and_the_truth_is_what_differs(settings):
    """Over a world twenty times the size the two-way contrast finds the truth, for each rate."""
    large = settings.changed(world={"scale": 20.0}, national={"shock_sd": 0.0, "front_door_factor": 1.0})
    calendar = Calendar(large)
    with_, without, everybody = None, None, None
    for block in simulate_blocks(large, seed=2):
        three = (block.treated_with, block.treated_without, block.counts)
        with_, without, everybody = three if with_ is None else (
            with_ + three[0], without + three[1], everybody + three[2],
        )  # fmt: skip
    quarters = calendar.quarters[:-1]
    before = (quarters >= 1000) & (quarters < calendar.adoption)
    after = quarters >= calendar.adoption
    for position, name in enumerate(RATES[:3]):

        def rate(counts, areas, period, position=position):
            return counts.events[position, areas][..., period].sum() / counts.days[position, areas][..., period].sum()

        others = np.arange(1, 33)
        change = np.log(rate(everybody, others, after) / rate(everybody, others, before))
        null = np.log(rate(without, 0, after) / rate(without, 0, before)) - change
        se = np.sqrt(1 / without.events[position, 0][before].sum() + 1 / without.events[position, 0][after].sum())
        assert abs(null) < 3 * se + 0.02, name
        found = np.log(rate(with_, 0, after) / rate(with_, 0, before)) - change
        truth = np.log(rate(with_, 0, after) / rate(without, 0, after))
        assert abs(found - truth) < 3 * se + 0.02, name
    assert truth > 0  # residential discharges rise


def test_use_and_price_add_up_to_the_effect_on_cost():
    """Weeks fall by a tenth and their price by a twentieth; wards do not change."""
    paid, unit = np.array([90 * 0.95, 100.0]), np.array([90.0, 100.0])
    found = summarise_costs(np.array([paid + 50, paid, unit, 0.5 * paid + 50]))
    key = "public_cost{}.gbp_per_person_quarter"
    assert found[key.format("")] == pytest.approx(-14.5)
    assert found[key.format("_price")] == pytest.approx(-0.05 * 95)
    assert found[key.format("_use")] == pytest.approx(-10 * 0.975)
    assert found[key.format("_nhs")] == pytest.approx(-7.25)
    assert found["public_cost.relative_change"] == pytest.approx(-14.5 / 150)


def test_a_fall_in_price_alone_is_no_fall_in_use(settings):
    off = settings.without_alliance()
    truth = simulate_world(off.changed(money={"treated_price_change": -0.3}), seed=3).truth
    price = truth["public_cost_price.gbp_per_person_quarter"]
    assert price < -50
    assert truth["public_cost.gbp_per_person_quarter"] == pytest.approx(price)
    assert truth["public_cost_use.gbp_per_person_quarter"] == pytest.approx(0, abs=1e-6)
    assert truth["valued_days_at_home.days_per_person_quarter"] == 0
