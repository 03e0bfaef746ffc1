"""What is released of people over time is attacked: places, moves, days, repeated admissions, kinds of people.

The onlooker holds the release and the code, and in some attacks knows how many people there are, exactly. The
equations are written down here anew, from what the tables mean, and not read from the links that the gate was given.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from counts_factory import PROTOCOL, PROVENANCE
from onlooker import FAR, Range, every_text, known_range
from scipy.optimize import Bounds, LinearConstraint, milp

from evalkit.analysis.after_discharge import estimate_from_discharges, estimate_subgroups
from evalkit.analysis.pathway import MIN_PEOPLE, WHY_ALONE, estimate_from_pathways
from evalkit.analysis.readmission import describe_recurrence
from evalkit.analysis.study import Study, is_held, open_study
from evalkit.cohort.after_discharge import AfterDischarge, build_after_discharge
from evalkit.cohort.features import PERSON_FEATURES
from evalkit.cohort.pathway import Pathways, build_pathways
from evalkit.core.pathway import PLACE_LABELS
from evalkit.core.protocol import Protocol
from evalkit.core.result import Results
from evalkit.data.tables import open_tables
from evalkit.disclose import Release, policy, release
from evalkit.estimators.people.overlap import compute_largest_smd

ROOT = Path(__file__).parents[2]
STRICT = policy("strict")
SPEC = PROTOCOL.pathway
STATES, GROUPS = SPEC.state_keys, dict(zip(SPEC.state_keys, SPEC.groups, strict=True))
WHO = PROTOCOL.areas.treated_label
HORIZON = SPEC.horizon_days
DAYS = list(range(0, HORIZON, SPEC.show_every_days))


def quick() -> Protocol:
    content = PROTOCOL.model_dump(mode="json")
    content["inference"]["bootstrap_replicates"] = 100
    return Protocol.model_validate_json(json.dumps(content))


QUICK = quick()


@dataclass(frozen=True)
class World:
    """Exact numbers of a run, what was released of them, and the lives behind both."""

    exact: Results
    released: Release
    pathways: Pathways | None = None
    after: AfterDischarge | None = None

    def rows(self, table: str) -> pd.DataFrame:
        return self.released.table(table)


def let_out(parts: list[Results], **lives: object) -> World:
    frame = Results.concat(parts).stamped(notebook="x", protocol=QUICK.digest, data="0" * 64).frame
    exact = Results(frame[[not is_held(str(t)) for t in frame["table"]]])
    released = release(exact, policy=STRICT, protocol=QUICK, provenance=PROVENANCE)
    return World(exact, released, **lives)


# ---- made-up lives -------------------------------------------------------------------------------


def people_of(rng: np.random.Generator, sizes: tuple[int, ...]) -> pd.DataFrame:
    cell = np.repeat(np.arange(4), sizes)
    n = len(cell)
    people = pd.DataFrame({"person_id": [f"p{i}" for i in range(n)], "cell": cell})
    people["treated"], people["period"] = cell < 2, np.where(cell % 2 == 0, "after", "before")
    for name in PERSON_FEATURES:
        people[name] = (
            rng.random(n).round(1) * 50 if name in ("age_years", "imd_decile") else rng.integers(0, 2, n) * 1.0
        )
    return people


def lives(rng: np.random.Generator, sizes: tuple[int, ...], begin: dict[str, int], *, move: float) -> Pathways:
    """People of the treated-after cell begin in exactly `begin`; of the others in like shares. `move`: a year's odds.

    Parts of the programme hold nobody but the treated after.
    """
    people = people_of(rng, sizes)
    keys = [k for k in STATES if k != "dead"]
    parts = {s.key for s in SPEC.states if s.components}
    days = np.zeros((len(people), HORIZON), dtype=np.int8)
    for c, size in enumerate(sizes):
        own = {k: v for k, v in begin.items() if c == 0 or k not in parts}
        if c == 0:
            first = np.repeat([STATES.index(k) for k in own], list(own.values()))
        else:
            share = np.array(list(own.values())) / sum(own.values())
            first = rng.choice([STATES.index(k) for k in own], size, p=share)
        allowed = [STATES.index(k) for k in keys if k in own]
        for i, at in zip(np.flatnonzero(people["cell"] == c), first, strict=True):
            days[i] = at
            if rng.random() < move:
                days[i, rng.integers(1, HORIZON) :] = rng.choice(allowed)
    return Pathways(people, days, STATES)


COMMON = {"hospital": 30, "rehab_ward": 14, "care_home": 60, "supported_living": 40, "own_tenancy": 25}
SHAPES: dict[str, tuple[tuple[int, ...], dict[str, int], float]] = {
    "small": ((40, 45, 60, 60), {"hospital": 12, "care_home": 16, "supported_living": 12}, 0.5),
    "states of 0, 1, 9, 10, 11": (
        (200, 210, 400, 420),
        COMMON | {"studio_flat": 1, "floating_support": 9, "unsettled": 10, "community_recovery": 11}, 0.35,
    ),
    "one large cell": ((180, 190, 300, 300), {"care_home": 168, "hospital": 12}, 0.06),
    "nobody moves": ((150, 150, 300, 300), {"hospital": 12, "care_home": 98, "own_tenancy": 29, "rehab_ward": 11}, 0.0),
    "one small state": ((230, 220, 300, 310), {"hospital": 80, "care_home": 141, "studio_flat": 9}, 0.4),
}  # fmt: skip


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    found = {}
    for name, (sizes, begin, move) in SHAPES.items():
        made = lives(np.random.default_rng([11, len(name)]), sizes, begin, move=move)
        found[name] = let_out(estimate_from_pathways(Study(QUICK, None), made), pathways=made)
    study = Study(QUICK, open_tables(ROOT / "data/synthetic/ipsa"))
    made, after = build_pathways(study.tables, QUICK), build_after_discharge(study.tables, QUICK)
    parts = [*estimate_from_pathways(study, made), *estimate_from_discharges(study, after), *estimate_subgroups(study)]
    return found | {"default": let_out(parts, pathways=made, after=after)}


NAMES = (*SHAPES, "default")
every_world = pytest.mark.parametrize("name", NAMES)


# ---- places and moves: integer programming -------------------------------------------------------


def place_equations(exact: Results) -> list[dict[str, int]]:
    """What must be 0: coefficients by id of a count, ids that are in no table standing for what is left out."""
    ids = set(exact.frame["id"])
    places, moves = exact.table("pathway.occupancy"), exact.table("pathway.flow")
    blocks = places[(places["kind"] == "count") & places["column"].str.endswith(" people")]
    group = blocks["column"].str.removesuffix(" people").str.split("+").str[0].map(GROUPS)
    everybody = "pathway.occupancy/day 0/everybody"
    found = [{everybody: -1} | dict.fromkeys(rows["id"], 1) for _, rows in blocks.groupby("row")]
    for who in (WHO, "Comparators"):
        for start in PLACE_LABELS:
            begun = f"pathway.flow/{who}|{start}/started"
            ends = [f"pathway.flow/{who}|{start}/{end} people" for end in PLACE_LABELS]
            if set(ends) <= ids:
                found.append({begun: -1} | dict.fromkeys(ends, 1))
    assert set(moves["row"].str.split("|").str[0]) == {WHO, "Comparators"}
    for day, of in ((0, "{g}/started"), (DAYS[-1], None)):
        for g in PLACE_LABELS:
            mine = blocks.loc[(blocks["row"] == f"day {day}") & (group == g), "id"]
            if of:
                found.append({f"pathway.flow/{WHO}|{g}/started": -1} | dict.fromkeys(mine, 1))
            else:
                into = [f"pathway.flow/{WHO}|{start}/{g} people" for start in PLACE_LABELS]
                found.append(dict.fromkeys(into, -1) | dict.fromkeys(mine, 1))
            whole = f"pathway.occupancy/day {day}/{g} in all"
            if whole in ids:
                found.append({whole: -1} | dict.fromkeys(mine, 1))
    for day in DAYS[1:-1]:
        for g in PLACE_LABELS:
            whole = f"pathway.occupancy/day {day}/{g} in all"
            if whole in ids:
                mine = blocks.loc[(blocks["row"] == f"day {day}") & (group == g), "id"]
                found.append({whole: -1} | dict.fromkeys(mine, 1))
    return found


def solve(world: World, **known: Range) -> dict[str, Range]:
    """The feasible range of every count of places and moves, by integer programming; `known` by the last of an id."""
    rows = {r["id"]: r for r in world.released.results.frame.to_dict("records")}
    why = {s["id"]: (s["rule"], s["why"]) for s in world.released.manifest["suppressed"]}
    equations = place_equations(world.exact)
    names = sorted({n for e in equations for n in e})
    at = {n: i for i, n in enumerate(names)}
    matrix = np.zeros((len(equations), len(names)))
    for k, equation in enumerate(equations):
        for n, sign in equation.items():
            matrix[k, at[n]] = sign
    own = [known_range(rows[n], *why.get(n, ("", "")), STRICT) if n in rows else Range(0, FAR) for n in names]
    own = [known.get(n.rsplit("/", 1)[-1], r) for n, r in zip(names, own, strict=True)]
    bounds = Bounds([r.low for r in own], [r.high for r in own])
    found = {}
    for i, n in enumerate(names):
        if n not in rows:
            continue
        ends = []
        for sign in (1, -1):
            direction = np.zeros(len(names))
            direction[i] = sign
            done = milp(direction, constraints=LinearConstraint(matrix, 0, 0), integrality=np.ones(len(names)),
                        bounds=bounds)  # fmt: skip
            assert done.status == 0, "the exact counts must be among the feasible ones"
            ends.append(round(sign * done.fun))
        found[n] = Range(ends[0], ends[1])
    return found


def exact_values(world: World) -> dict[str, float]:
    return dict(zip(world.exact.frame["id"], world.exact.frame["value"], strict=True))


@every_world
def test_no_number_of_people_in_a_place_or_on_a_move_can_be_solved_for(worlds, name) -> None:
    world = worlds[name]
    value, ranges = exact_values(world), solve(world)
    assert len(ranges) > 20
    assert [n for n, r in ranges.items() if not r.low <= value[n] <= r.high] == []
    assert [n for n, r in ranges.items() if r.width == 1] == []
    few = [n for n in ranges if value[n] < STRICT.threshold]
    assert [n for n in few if ranges[n].low > 1 or ranges[n].high < STRICT.threshold - 1] == []


@every_world
def test_who_knows_how_many_people_there_are_still_solves_for_none(worlds, name) -> None:
    world = worlds[name]
    value = exact_values(world)
    n = value["pathway.occupancy/day 0/everybody"]
    ranges = solve(world, everybody=Range(n, n))
    pinned = [k for k, r in ranges.items() if r.width == 1 and not k.endswith("everybody")]
    assert pinned == []


def test_the_attack_works_where_tables_are_not_tied_together(worlds) -> None:
    """Places on the one hand and moves on the other, each guarded by itself: what one withholds the other tells."""
    world = worlds["one large cell"]
    frame = world.exact.frame
    other = {"pathway.flow": "pathway.occupancy", "pathway.occupancy": "pathway.flow"}
    frame["totals"] = [
        ";".join(t for t in totals.split(";") if not t.startswith(other.get(table, "?")))
        for table, totals in zip(frame["table"], frame["totals"], strict=True)
    ]
    naive = World(world.exact, release(Results(frame), policy=STRICT, protocol=QUICK, provenance=PROVENANCE))
    value, ranges = exact_values(naive), solve(naive)
    exposed = [n for n, r in ranges.items() if value[n] < 10 and (r.low > 1 or r.high < 9)]
    assert exposed


@every_world
def test_shares_come_from_rounded_counts_and_tell_no_more(worlds, name) -> None:
    world = worlds[name]
    rows = world.rows("pathway.occupancy")
    shown = {r.id: r.value for r in rows.itertuples()}
    people = shown["pathway.occupancy/day 0/everybody"]
    unit = 100 * STRICT.base / people
    for r in rows[rows["kind"].isin(["percent", "statistic"]) & rows["value"].notna()].itertuples():
        if r.kind == "percent":
            assert r.value == pytest.approx(100 * shown[r.numerator] / people, abs=0.051)
        # What is worked out stands in the same steps: on the first day it is nearly the share of those there.
        assert r.value / unit == pytest.approx(round(r.value / unit), abs=0.06 / unit)


# ---- days in places ------------------------------------------------------------------------------


def total_days(mean: float, decimals: int, n: int) -> np.ndarray:
    """Days of everybody together that would be shown as this mean, n being known."""
    half = 0.5 * 10.0**-decimals
    return np.arange(math.ceil((mean - half) * n - 1e-6), math.floor((mean + half) * n + 1e-6) + 1)


def ever_and_moved(world: World, state: str) -> tuple[int, int]:
    """People of the treated after ever in a state, and those who came or went."""
    k, cell = STATES.index(state), world.pathways.people["cell"].to_numpy()
    there = (world.pathways.days == k)[cell == 0]
    followed = (world.pathways.days >= 0)[cell == 0]
    return int(there.any(axis=1).sum()), int((there.any(axis=1) & (there != followed).any(axis=1)).sum())


@every_world
def test_means_of_days_fit_several_totals_even_if_the_people_are_known(worlds, name) -> None:
    world = worlds[name]
    n = int((world.pathways.people["cell"] == 0).sum())
    means = world.rows("pathway.means")
    for r in means[means["column"] == "with"].itertuples():
        decimals = 1 if r.value < 100 else 0
        assert r.value == round(r.value, decimals)
        assert len(total_days(r.value, decimals, n)) >= 3


@every_world
def test_days_are_not_people_times_the_year(worlds, name) -> None:
    """Who stays all year gives a mean that is a number of people: such means, and what equals them, are not shown."""
    world = worlds[name]
    means = world.rows("pathway.means")
    for state in means["row"].unique():
        ever, moved = ever_and_moved(world, state)
        assert ever >= MIN_PEOPLE
        assert moved >= MIN_PEOPLE
    days = world.rows("pathway.days")
    parts = {s.key for s in SPEC.states if s.components}
    shown = days[days["value"].notna()]
    for r in shown.itertuples():
        state = r.outcome.removeprefix("pathway_")
        if r.role == "naive" or state in parts:
            assert ever_and_moved(world, state)[0] >= MIN_PEOPLE
        if state in parts and r.role != "naive":
            assert ever_and_moved(world, state)[1] >= MIN_PEOPLE
    if name == "nobody moves":
        assert means.empty
        assert not (shown["role"] == "naive").any()


@every_world
def test_no_state_stands_alone_behind_the_sum_of_the_others(worlds, name) -> None:
    """Days add up to the year: 365 less the means shown is what is left for those that are not."""
    world = worlds[name]
    means, days = world.rows("pathway.means"), world.rows("pathway.days")
    for column in ("with", "without"):
        left = set(STATES) - set(means.loc[means["column"] == column, "row"])
        assert len(left) != 1
    planned = days[days["role"] != "naive"]
    refused = set(planned.loc[planned["value"].isna(), "outcome"].str.removeprefix("pathway_"))
    parts = {s.key for s in SPEC.states if s.components}
    assert not (len(refused) == 1 and refused & parts)


def test_a_state_that_would_stand_alone_takes_another_with_it() -> None:
    """All but one state have many people who come and go; the one is a part of the programme with 9."""
    rng = np.random.default_rng(5)
    sizes, keys = (400, 400, 400, 400), [k for k in STATES if k != "studio_flat"]
    people = people_of(rng, sizes)
    days = np.zeros((sum(sizes), HORIZON), dtype=np.int8)
    for i, c in enumerate(people["cell"]):
        first, then = rng.choice([k for k in keys if k not in ("dead", "community_recovery")], 2, replace=False)
        days[i] = STATES.index(first)
        if c == 0 and i % 6 == 0:
            then = "community_recovery"
        days[i, rng.integers(20, HORIZON - 20) :] = STATES.index("dead" if i % 13 == 0 else str(then))
    for i in range(1, 10):
        days[i, 200:] = STATES.index("studio_flat")
    made = Pathways(people, days, STATES)
    world = let_out(estimate_from_pathways(Study(QUICK, None), made), pathways=made)
    means, found = world.rows("pathway.means"), world.rows("pathway.days")
    assert len(set(STATES) - set(means["row"])) == 2
    gone = found[found["value"].isna() & (found["role"] != "naive")]
    assert len(gone) == 2
    assert WHY_ALONE in set(gone["reason"])


@every_world
def test_differences_have_no_more_decimals_than_means(worlds, name) -> None:
    frame = worlds[name].released.results.frame
    days = frame[(frame["unit"] == "days per person") & frame["value"].notna()]
    for column in ("value", "lower", "upper"):
        numbers = days[column].dropna()
        assert (numbers.round(1) == numbers).all()
    naive = days[(days["role"] == "naive") & days["n_events"].isna()]
    assert (naive["value"].round(0) == naive["value"]).all()


# ---- after discharge -----------------------------------------------------------------------------


def discharges(rng: np.random.Generator, sizes: tuple[int, ...], *, rate: float) -> AfterDischarge:
    """Nobody dies or leaves, so that the mean count is admissions over people, and no more."""
    people = people_of(rng, sizes).assign(exit_days=365, died=False)
    row = np.repeat(np.arange(len(people)), rng.poisson(rate, len(people)))
    # The last day of the table is 360: all admissions are before it, so that day 360 tells those of the year.
    admissions = pd.DataFrame({"row": row, "day": rng.integers(0, 359, len(row))}).drop_duplicates()
    stays = admissions.rename(columns={"day": "start"}).assign(
        end=lambda s: s["start"] + 1 + rng.integers(0, 5, len(s))
    )
    return AfterDischarge(people, admissions, stays, 365)


@pytest.mark.parametrize("seed", range(8))
def test_admissions_cannot_be_had_from_mean_counts_and_differences(seed) -> None:
    """Every pair of numbers of admissions (treated after, before) that agrees with all that is shown."""
    rng = np.random.default_rng(seed)
    sizes = (int(rng.integers(25, 60)), int(rng.integers(25, 60)), 150, 160)
    after = discharges(rng, sizes, rate=float(rng.uniform(0.6, 1.5)))
    world = let_out(estimate_from_discharges(Study(QUICK, None), after), after=after)
    cell = after.people["cell"].to_numpy()[after.admissions["row"]]
    true = np.bincount(cell, minlength=4)
    curve = world.rows("mean_count").set_index("row")
    assert curve["n_events"].isna().all()
    seen = curve.loc["treated after|360"]
    steps = seen["value"] * STRICT.rounded(sizes[0]) / STRICT.base
    assert steps == pytest.approx(round(steps), abs=0.02)
    fits = [c for c in range(10, 400) if STRICT.rounded(c) == STRICT.base * round(steps)]
    assert true[0] in fits
    table = world.rows("after_discharge")
    naive = table[(table["role"] == "naive") & (table["unit"] == "events per person")].iloc[0]
    half = 0.055 if true[:2].min() < 100 else 0.0055  # digits first and decimals then: rounded twice
    pairs = [(a, b) for a, b in product(fits, range(10, 400))
             if abs(a / sizes[0] - b / sizes[1] - naive["value"]) <= half + 1e-9]  # fmt: skip
    assert (true[0], true[1]) in pairs
    assert len({a for a, _ in pairs}) >= 3
    assert len({b for _, b in pairs}) >= 3


@every_world
def test_increments_of_the_mean_count_pin_nothing(worlds, name) -> None:
    rows = worlds[name].rows("mean_count")
    shown = rows[rows["value"].notna()]
    for r in shown.itertuples():
        step = STRICT.base / r.n_people
        for number in (r.value, r.lower, r.upper):
            assert number / step == pytest.approx(round(number / step), abs=0.03)
    assert shown["n_events"].isna().all()


def test_texts_and_values_of_checks_give_no_total(worlds) -> None:
    world = worlds["default"]
    checks = world.rows("checks.after_discharge")
    assert "relative_change" not in set(checks["column"])
    told = checks[checks["column"] == "days_with_and_without"].iloc[0]
    n = int((world.after.people["cell"] == 0).sum())
    numbers = [float(x) for x in re.findall(r"\d+\.?\d*", told["reason"])]
    assert len(numbers) == 2
    assert told["value"] == numbers[0]
    assert len(total_days(numbers[0], 1, n)) >= 10
    assert not [t for t in every_text(world.released) if re.search(r"\d\.\d+ a person", t)]


def test_days_in_hospital_of_few_people_are_refused_with_all_that_tells_of_them() -> None:
    rng = np.random.default_rng(3)
    after = discharges(rng, (60, 60, 150, 160), rate=1.0)
    back = after.stays["row"].to_numpy()
    few = np.flatnonzero(after.people["cell"] == 0)[:4]
    kept = np.isin(back, few) | (after.people["cell"].to_numpy()[back] != 0)
    thin = AfterDischarge(after.people, after.admissions, after.stays[kept], 365)
    world = let_out(estimate_from_discharges(Study(QUICK, None), thin), after=thin)
    table = world.rows("after_discharge").set_index("estimator")
    assert table.loc["mean_days_did", "status"] == "not_estimable"
    assert "days_with_and_without" not in set(world.rows("checks.after_discharge")["column"])


def test_checks_go_with_the_estimate_that_the_gate_withholds(worlds) -> None:
    exact = worlds["default"].exact.frame
    hit = exact["estimator"].eq("lwyy_did") & (exact["kind"] == "estimate")
    exact.loc[hit, "n_events"] = 7.0
    thin = release(Results(exact), policy=STRICT, protocol=QUICK, provenance=PROVENANCE).table("checks.after_discharge")
    own = thin[thin["estimator"] == "lwyy_did"]
    assert len(own) > 2
    assert (own["status"] == "suppressed").all()
    assert own["value"].isna().all()
    assert not own["reason"].str.contains(r"\d", regex=True).any()
    assert (thin.loc[thin["estimator"] == "mean_count_did", "status"] == "shown").all()


# ---- balance and kinds of people -----------------------------------------------------------------


def smd(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """`compute_largest_smd` of a characteristic from its numbers; shapes (..., 4)."""
    share = counts / sizes
    return (share.max(axis=-1) - share.min(axis=-1)) / np.sqrt((share * (1 - share)).mean(axis=-1))


def smd_step(people: float, having: float) -> float:
    """The step by which the gate rounds, as docs/disclosure.md gives it."""
    steps = (0.05, 0.1, 0.2, 0.5)
    return next((s for s in steps if s >= STRICT.base / math.sqrt(people * having) - 1e-9), steps[-1])


@every_world
def test_balance_tells_no_number_of_people(worlds, name) -> None:
    """Sizes of cells known, and each number to within rounding: every number can still be one of several."""
    world = worlds[name]
    people = world.pathways.people
    cell = people["cell"].to_numpy()
    sizes = np.bincount(cell, minlength=4)
    rows = world.rows("balance.pathway").set_index(["row", "column"])
    for covariate in ("female", "black", "dual_diagnosis", "forensic_history", "starts_hospital", "starts_own_tenancy"):
        if (covariate, "unweighted") not in rows.index:
            continue
        if covariate.startswith("starts_"):
            one = world.pathways.first_state == STATES.index(covariate.removeprefix("starts_"))
        else:
            one = people[covariate].to_numpy() == 1
        true = np.bincount(cell[one], minlength=4)
        assert compute_largest_smd(one[:, None] * 1.0, cell, np.ones(len(cell)))[0] == pytest.approx(smd(true, sizes))
        shown = rows.loc[(covariate, "unweighted")]
        if min(true.min(), (sizes - true).min()) < STRICT.threshold:
            assert shown["status"] == "suppressed"
            continue
        window = [range(low, high + 1) for low, high in (STRICT.range_of(STRICT.rounded(t)) for t in true)]
        grid = np.array(list(product(*window)))
        # The gate may hide the number that sets the step; the onlooker is given it.
        step = smd_step(STRICT.rounded(sizes.min()), STRICT.rounded(min(true.min(), (sizes - true).min())))
        fits = grid[np.abs(smd(grid, sizes) - shown["value"]) <= step / 2 + 1e-9]
        assert len(fits)
        assert min(len(set(fits[:, k])) for k in range(4)) >= 2


def test_balance_at_four_digits_would_have_told(worlds) -> None:
    world = worlds["default"]
    cell = world.pathways.people["cell"].to_numpy()
    sizes = np.bincount(cell, minlength=4)
    one = world.pathways.people["forensic_history"].to_numpy() == 1
    true = np.bincount(cell[one], minlength=4)
    grid = np.array(list(product(*[range(t - 2, t + 3) for t in true])))
    fits = grid[np.abs(smd(grid, sizes) - float(f"{smd(true, sizes):.4g}")) <= 0.5e-4]
    assert min(len(set(fits[:, k])) for k in range(4)) == 1


def test_kinds_of_people_do_not_add_up_to_an_exact_number(worlds) -> None:
    """With and without a characteristic make up everybody, four times over: each number keeps several values."""
    effects = worlds["default"].rows("subgroup_effects")
    assert len(effects) >= 4
    for column in ("n_people", "n_events"):
        wide = effects.pivot(index="row", columns="column", values=column)
        possible = set(range(10, 5000))
        ends = {}
        for name, r in wide.iterrows():
            low = [STRICT.range_of(r[c]) for c in ("with", "without")]
            ends[name] = low
            possible &= set(range(sum(x[0] for x in low), sum(x[1] for x in low) + 1))
        assert len(possible) >= 2
        for (a, b), (c, d) in ends.values():
            fits = [x for x in range(a, b + 1) if any(c <= whole - x <= d for whole in possible)]
            assert len(fits) >= 2


def test_nothing_held_is_released_and_no_text_counts(worlds) -> None:
    for world in worlds.values():
        tables = set(world.released.results.frame["table"])
        assert not tables & {"occupancy", "transitions"}
        assert not [t for t in every_text(world.released) if re.search(r"\b\d+ (people|persons|events)\b", t)
                    and not re.search(r"[Ff]ewer than 10 ", t)]  # fmt: skip


def test_numbers_of_returns_by_area_and_by_sex_both_say_what_they_add_up_to() -> None:
    """Undeclared, 25 of everybody less 15 elsewhere told that a withheld count of the service area is 6 to 9."""
    study = open_study(ROOT / "protocols/ipsa.toml", ROOT / "data/synthetic/ipsa")
    (found,) = describe_recurrence(study)
    counts = found.frame[found.frame["kind"] == "count"]
    parts = counts[counts["row"] != "all"]
    assert {row.split(".")[0] for row in parts["row"]} == {"group", "sex"}
    expected = [f"description.recurrence/all/{column}" for column in parts["column"]]
    assert parts["totals"].tolist() == expected
