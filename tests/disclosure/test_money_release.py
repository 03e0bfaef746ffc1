"""What is released of money is attacked: numbers of people by division, costs of few by subtraction, sums by digits.

The onlooker holds the release, the prices and the code. Worlds: the default one; 24 people with the service and 26
without; few users of contacts and one person with most of the ward days; one person with most of the ward
days alone.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from counts_factory import PROTOCOL, PROVENANCE
from onlooker import every_text
from scipy.optimize import linprog

from evalkit.analysis.cost_few import find_withheld, is_thin
from evalkit.analysis.cost_study import CostStudy, build_cost_study, compute_means, total_shares, weigh_stay
from evalkit.analysis.costs import CostFindings, find_cost_effect
from evalkit.analysis.study import Study, is_held, open_study
from evalkit.analysis.worth import evaluate_findings
from evalkit.cohort.features import PERSON_FEATURES
from evalkit.core.dominance import is_dominated
from evalkit.core.errors import NotEstimable
from evalkit.core.result import Results
from evalkit.disclose import Release, policy, release
from evalkit.disclose.check_rows import is_count_check
from evalkit.disclose.money import GBP_OF_ALL, GBP_OF_ALL_ON_A_PATH, is_money, next_step, step_of_money
from evalkit.estimators.costs.cells import compute_proportional_effect

ROOT = Path(__file__).parents[2]
STRICT = policy("strict")
PARTS = ("wards", "placements", "contacts", "programme")
WHO = PROTOCOL.areas.treated_label
WARD_DAY = 420.0
NAMES = ("default", "tiny", "few", "few alone")
every_world = pytest.mark.parametrize("name", NAMES)


@dataclass(frozen=True)
class World:
    """Whose costs they are, every number exactly, and what was released."""

    found: CostStudy
    exact: Results
    released: Release

    @property
    def people(self) -> int:
        return int(self.found.treated.sum())

    def row(self, table: str, row: str, column: str) -> pd.Series:
        rows = self.released.table(table)
        return rows[(rows["row"] == row) & (rows["column"] == column)].iloc[0]

    def ends(self, table: str, row: str, column: str) -> tuple[float, float]:
        """Between which values a number shown must have been; everything where it is not shown."""
        cell = self.row(table, row, column)
        if cell["status"] != "shown":
            return (-math.inf, math.inf)
        exact = self.exact.frame.set_index("id").loc[cell["id"]]
        # The step depends on the exact number only through its first digit: an onlooker has it from what is shown.
        half = step_of_money(exact.to_dict(), STRICT) / 2
        return (cell["value"] - half, cell["value"] + half)


def let_out(study: Study, found: CostStudy) -> World:
    means = compute_means(study, found)
    findings = CostFindings(found, means, compute_proportional_effect(means.pick(total_shares(found))))
    estimates, tables, _ = evaluate_findings(study, findings)
    frame = Results.concat([Results.from_estimates(estimates), *tables]).frame
    frame = Results(frame).stamped(notebook="x", protocol=study.protocol.digest, data="0" * 64).frame
    exact = Results(frame[[not is_held(str(t)) for t in frame["table"]]])
    return World(found, exact, release(exact, policy=STRICT, protocol=study.protocol, provenance=PROVENANCE))


def keep(found: CostStudy, rows: np.ndarray) -> CostStudy:
    """Some of the people, alike in all but age, so that nothing separates so few."""
    c = found.costs
    costs = replace(c, person_id=c.person_id[rows], parts={k: v[rows] for k, v in c.parts.items()},
                    standard_placements=c.standard_placements[rows], nhs_placements=c.nhs_placements[rows],
                    housing=c.housing[rows])  # fmt: skip
    plain = {name: 0.0 for name in PERSON_FEATURES if name != "age_years"}
    people = found.people.iloc[rows].reset_index(drop=True).assign(**plain)
    return replace(found, costs=costs, people=people, valued={k: v[rows] for k, v in found.valued.items()})


def with_few(found: CostStudy, *, users: int) -> CostStudy:
    """So many of the treated have contacts, dear ones, all if 0; one has most of what they cost on wards."""
    parts = {name: cost.copy() for name, cost in found.costs.parts.items()}
    treated = np.flatnonzero(found.treated)
    if users:
        parts["contacts"][treated[users:]] = 0.0
        parts["contacts"][treated[:users]] = 9_000.0
    top = treated[parts["wards"][treated].sum(axis=1).argmax()]
    parts["wards"][top] *= 40.0
    return replace(found, costs=replace(found.costs, parts=parts))


@pytest.fixture(scope="module")
def study() -> Study:
    return open_study(ROOT / "protocols/ipsa.toml", ROOT / "data/synthetic/ipsa")


@pytest.fixture(scope="module")
def cohort(study) -> CostStudy:
    return build_cost_study(study, study.protocol.outcomes_of("cost")[0])


@pytest.fixture(scope="module")
def worlds(study, cohort) -> dict[str, World]:
    rng = np.random.default_rng(1)
    sizes = ((cohort.treated, 24), (~cohort.treated, 26))
    rows = np.concatenate([rng.choice(np.flatnonzero(side), n, replace=False) for side, n in sizes])
    shapes = {"default": cohort, "tiny": keep(cohort, rows), "few": with_few(cohort, users=6),
              "few alone": with_few(cohort, users=0)}  # fmt: skip
    return {name: let_out(study, shape) for name, shape in shapes.items()}


# ---- numbers of people, by division --------------------------------------------------------------


def between(top: tuple[float, float], bottom: tuple[float, float]) -> list[int]:
    return list(range(math.ceil(top[0] / bottom[1]), math.floor(top[1] / bottom[0]) + 1))


@every_world
def test_running_cost_over_cost_of_one_gives_the_rounded_number(worlds, name) -> None:
    world = worlds[name]
    for year in range(1, 6):
        running = world.ends("budget_impact", f"holds|{year}", "running")
        of_one = [world.ends("cost_parts", "programme", f"{WHO}|after")]
        of_one.append(tuple(x / 800 for x in world.ends("what_if", "another_borough", "programme")))
        low, high = max(x[0] for x in of_one), min(x[1] for x in of_one)
        found = between(running, (4 * low, 4 * high))
        assert STRICT.rounded(world.people) in found
        if world.people % STRICT.base:
            assert found != [world.people]


def test_the_exact_running_cost_would_have_told(worlds) -> None:
    world = worlds["default"]
    mean = world.found.costs.parts["programme"][world.found.treated][:, world.found.after].mean()
    running = float(f"{4 * mean * world.people:.3g}")
    assert between((running - 500, running + 500), (4 * (mean - 0.5), 4 * (mean + 0.5))) == [world.people]


def recorded_pairs(shown: float, share, whole: int, part: int) -> list[tuple[int, int]]:
    windows = [range(low, high + 1) for low, high in (STRICT.range_of(STRICT.rounded(n)) for n in (part, whole))]
    return [(a, b) for a, b in itertools.product(*windows) if abs(share(a, b) - shown) <= 0.5e-4]


def test_the_share_who_answered_leaves_every_number_open(worlds) -> None:
    world = worlds["default"]
    shown = float(world.row("checks.cea_plane", "dialog", "recorded")["value"])
    answered = int(world.exact.frame.set_index("id").loc["cea_plane/dialog/mean_cost", "n_people"])
    pairs = recorded_pairs(shown, lambda a, b: STRICT.rounded(a) / STRICT.rounded(b), world.people, answered)
    assert len(pairs) == STRICT.base**2
    assert (answered, world.people) in pairs
    exact = recorded_pairs(round(answered / world.people, 4), lambda a, b: a / b, world.people, answered)
    assert exact == [(answered, world.people)]


@every_world
def test_no_number_of_both_sides_stands_beside_that_of_one(worlds, name) -> None:
    world = worlds[name]
    effects = world.released.table("effects")
    shown = effects[effects["status"] == "shown"]
    assert len(shown) > 4
    assert set(shown["n_people"]) == {STRICT.rounded(world.people)}


@every_world
def test_weights_do_not_count_people(worlds, name) -> None:
    world = worlds[name]
    checks = world.released.table("checks.effects")
    assert not checks["column"].str.endswith("_treated").any()
    effective = checks[checks["column"].str.startswith("effective_")]
    assert len(effective) >= 2
    assert effective["value"].isna().all()  # beside its share, which the text gives, it would be the people
    assert effective["reason"].str.contains("%").all()
    largest = checks.loc[checks["column"].str.startswith("largest_weight"), "value"]
    assert (largest.round(2) == largest).all()


@pytest.mark.parametrize("value", [229.0, 228.99999999999997, 171.3])
def test_an_effective_number_of_people_is_a_count(value) -> None:
    assert is_count_check({"kind": "check", "column": "effective_sample_treated", "value": value})


def test_how_many_moved_away_is_not_told(worlds, cohort) -> None:
    """Fewer than ten did; the words are the same where nobody did."""
    left = ~cohort.people["complete"].to_numpy()
    assert 0 < left[cohort.treated].sum() < 10
    rows = worlds["default"].released.table("cost_variants")
    stayed = rows[rows["row"] == "stayed"]
    assert stayed["value"].isna().all()
    nobody = replace(cohort, people=cohort.people.assign(complete=True))
    assert weigh_stay(nobody)[1] == weigh_stay(cohort)[1] == stayed["reason"].iloc[0]


# ---- costs of few, by subtraction ----------------------------------------------------------------


def test_what_is_thin() -> None:
    assert is_thin(np.r_[np.ones(9), np.zeros(50)])
    assert not is_thin(np.ones(10))
    assert is_thin(np.r_[np.ones(50), 51.0])
    assert is_thin(np.r_[np.full(20, 0.001), 10.0, 9.9])  # whoever has the second most knows the most
    assert is_thin(np.zeros(30))
    # Two have nine tenths, each less than half and the rest more than a tenth of the larger (nk, 2 and 90%).
    assert is_thin(np.r_[np.full(20, 0.5), 48.0, 46.0])
    assert not is_thin(np.r_[np.full(20, 0.5), 40.0, 40.0])
    assert not is_dominated(np.zeros(30))


def test_parts_of_few_are_withheld_wherever_they_stand(worlds) -> None:
    world = worlds["few"]
    assert set(find_withheld(world.found, world.found.treated)) >= {"wards", "contacts"}
    rows = world.released.results.frame
    for part in ("wards", "contacts"):
        own = rows[(rows["row"] == part) & rows["column"].str.startswith(WHO)]
        others = rows[rows["row"].isin([f"part.{part}", f"prices.{part}.low", f"prices.{part}.high"])]
        assert len(own) == 6
        assert set(others["table"]) == {"cost_variants", "tornado"}
        assert own["value"].isna().all()
        assert others[["value", "lower", "upper"]].isna().all(axis=None)


def solve_part(world: World, part: str, period: str) -> tuple[float, float]:
    """Least and most that the mean of a part can be, from every table that holds a sum of parts."""
    names, matrix, bounds = [*PARTS, "of the NHS"], [], []

    def add(of: tuple[str, ...] | dict[str, float], ends: tuple[float, float]) -> None:
        if math.isfinite(ends[0]):
            mix = of if isinstance(of, dict) else dict.fromkeys(of, 1.0)
            matrix.append([mix.get(n, 0.0) for n in names])
            bounds.append(ends)

    for one in PARTS:
        for table in ("cost_parts", "cost_change"):
            add((one,), world.ends(table, one, f"{WHO}|{period}"))
    add(PARTS, world.ends("cost_change", "total", f"{WHO}|{period}"))
    if period == "after":
        add(PARTS, world.ends("cost_relative", world.found.outcome.key, "actual"))
        rows = world.released.table("cost_variants")
        sums = {"all": PARTS, "without_programme": PARTS[:-1]} | {f"part.{p}": (p,) for p in PARTS}
        share = PROTOCOL.economics.joint_nhs_share
        nhs = {"wards": 1.0, "contacts": 1.0, "of the NHS": 1.0, "programme": share}
        council = {"placements": 1.0, "of the NHS": -1.0, "programme": 1 - share}
        sums |= {"payer.nhs": nhs, "payer.local_authority": council}
        programme = world.ends("what_if", "another_borough", "programme")
        add(("programme",), (programme[0] / 800, programme[1] / 800))
        for row, of in sums.items():
            if ((rows["row"] == row) & (rows["column"] == "actual")).any():
                add(of, world.ends("cost_variants", row, "actual"))
    a, b = np.array(matrix), np.array(bounds)
    ends = []
    for sign in (1, -1):
        aim = [sign * float(n == part) for n in names]
        found = linprog(aim, A_ub=np.vstack([a, -a]), b_ub=np.concatenate([b[:, 1], -b[:, 0]]), bounds=[(0, None)] * 5)
        assert found.status == 0
        ends.append(sign * found.fun)
    return ends[0], ends[1]


@pytest.mark.parametrize("period", ["before", "after"])
@pytest.mark.parametrize(("name", "part"), [("few", "wards"), ("few", "contacts"), ("few alone", "wards")])
def test_totals_do_not_give_back_what_few_cost(worlds, name, part, period) -> None:
    """The range left is wider than what the one with most cost in it."""
    world = worlds[name]
    low, high = solve_part(world, part, period)
    when = getattr(world.found, period)
    cost = world.found.costs.parts[part][world.found.treated][:, when].mean(axis=1)
    assert low <= cost.mean() <= high
    assert (high - low) * world.people > cost.max()


def test_a_few_users_elsewhere_are_less_than_rounding(worlds) -> None:
    """Four of the comparison had the programme: their mean is withheld, and the total does not tell it from nought."""
    world = worlds["default"]
    rows = world.released.results.frame
    own = rows[(rows["row"] == "programme") & rows["column"].str.startswith("Comparators")]
    assert len(own) == 6
    assert own["value"].isna().all()
    parts = [world.ends("cost_change", p, "Comparators|after") for p in PARTS[:-1]]
    total = world.ends("cost_change", "total", "Comparators|after")
    true = world.found.costs.parts["programme"][~world.found.treated][:, world.found.after].mean()
    assert total[0] - sum(p[1] for p in parts) < 0
    assert total[1] - sum(p[0] for p in parts) > 10 * true


def test_the_cost_of_one_is_not_a_study(study, cohort) -> None:
    parts = {name: cost.copy() for name, cost in cohort.costs.parts.items()}
    parts["wards"][np.flatnonzero(cohort.treated)[0]] += 1e7
    one = replace(cohort, costs=replace(cohort.costs, parts=parts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evalkit.analysis.costs.build_cost_study", lambda *_: one)
        with pytest.raises(NotEstimable, match="one of them has most"):
            find_cost_effect(study, cohort.outcome)


# ---- sums, by digits -----------------------------------------------------------------------------


@every_world
def test_no_mean_tells_the_sum_of_all_finer_than_its_step(worlds, name) -> None:
    """Also near nought: a difference of plain means with digits without end would be everybody's sum."""
    rows = worlds[name].released.results.frame
    rows = rows[(rows["unit"] == "GBP per person-quarter") & (rows["status"] == "shown")]
    rows = rows[~rows["column"].isin(["evpi", "evppi"])]
    assert len(rows) > 100
    for row in rows.to_dict("records"):
        path = bool(re.fullmatch(r"\d{4}-\d{2}", row["row"]))
        step = next_step((GBP_OF_ALL_ON_A_PATH if path else GBP_OF_ALL) / row["n_people"])
        for column in ("value", "se", "lower", "upper"):
            if math.isfinite(row[column]):
                assert math.isclose(row[column] / step, round(row[column] / step), abs_tol=1e-6)


def test_a_quarter_in_a_care_home_is_within_a_step_of_the_path(worlds) -> None:
    world = worlds["tiny"]
    path = world.released.table("cost_trend")
    step = next_step(GBP_OF_ALL_ON_A_PATH / STRICT.rounded(world.people))
    assert step * world.people > 13 * 1250
    shown = path.loc[path["column"] == WHO, "value"].dropna()
    assert (shown % step == 0).all()


@every_world
def test_money_that_depends_on_people_ends_where_its_range_does(worlds, name) -> None:
    rows = worlds[name].released.results.frame
    rows = rows[(rows["unit"] == "GBP") & rows["lower"].notna()]
    assert len(rows) > 50
    for row in rows.to_dict("records"):
        largest = max(abs(row[c]) for c in ("value", "lower", "upper"))
        unit = 10.0 ** (math.floor(math.log10(largest)) - 2) if largest else 1.0
        assert min(row["value"] % unit, -row["value"] % unit) < 1e-6 * unit or row["value"] % (unit / 10) == 0


@every_world
def test_lines_of_net_benefit_do_not_sharpen_their_ends(worlds, name) -> None:
    """Slope and intercept of all that lies on one line, solved together: everybody's cost stays open by a ward day."""
    world = worlds[name]
    curve = world.released.table("ceac")
    for key in curve["row"].str.split("|").str[0].unique():
        rows = curve[curve["row"].str.startswith(f"{key}|") & (curve["column"] == "eib")]
        assert len(rows) == 11
        at = rows["row"].str.split("|").str[1].astype(float).to_numpy()
        a = np.column_stack([at, -np.ones(len(at))])
        ends = np.array([world.ends("ceac", r, "eib") for r in rows["row"]])
        box = [world.ends("cea_plane", key, c) for c in ("mean_effect", "mean_cost")]
        for place, least in ((0, 0.0), (1, WARD_DAY)):
            aim = np.eye(2)[place]
            low, high = (
                sign * linprog(sign * aim, A_ub=np.vstack([a, -a]), b_ub=np.r_[ends[:, 1], -ends[:, 0]], bounds=box).fun
                for sign in (1, -1)
            )
            assert (high - low) * rows["n_people"].iloc[0] > least


def test_no_check_tells_a_number_with_other_digits(worlds) -> None:
    for world in worlds.values():
        checks = world.released.table("checks.budget")
        assert checks.loc[checks["column"] == "saves_throughout", "value"].isna().all()


# ---- words ---------------------------------------------------------------------------------------


def test_no_text_counts_people_and_prices_are_prices(worlds) -> None:
    for world in worlds.values():
        told = [t for t in every_text(world.released) if re.search(r"\b\d+ (people|persons|rows|users)\b", t)]
        assert not [t for t in told if not re.search(r"[Ff]ewer than 10 ", t)]
        prices = world.released.table("price_list")
        assert not any(is_money(r) for r in prices.to_dict("records"))
        assert (prices["value"] % 5 == 0).all()


@every_world
def test_what_readers_need_is_there(worlds, name) -> None:
    rows = worlds[name].released.results.frame
    shown = rows[rows["status"] == "shown"]
    assert {"effects", "cost_relative", "cost_variants", "cost_trend", "cost_change", "tornado", "budget",
            "budget_impact", "what_if"} <= set(shown["table"])  # fmt: skip
    if name == "default":
        assert {"cea_plane", "ceac", "evppi", "budget_payer"} <= set(shown["table"])
        kept = set(shown.loc[shown["table"] == "cost_variants", "row"])
        assert {"payer.nhs", "payer.local_authority", "part.wards", "part.placements", "without_programme"} <= kept
