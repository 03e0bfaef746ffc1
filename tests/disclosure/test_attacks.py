"""Attacks on releases: nothing withheld may be had back. Counts recovered must be 0."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from counts_factory import GROUPS, PROTOCOL, PROVENANCE, estimate, make_results, rate_cell, under_profile
from hypothesis import given, settings
from hypothesis import strategies as st
from onlooker import every_text, feasible_ranges, neighbours, recovered, subtractions, too_narrow
from scipy import stats

from evalkit.core.result import Cell, Results
from evalkit.disclose import Release, policy, release

STRICT = policy("strict")


def let_out(results: Results, profile: str = "strict") -> Release:
    protocol = PROTOCOL if profile == "strict" else under_profile(profile)
    frame = results.frame.assign(protocol=protocol.digest)
    return release(Results(frame), policy=policy(profile), protocol=protocol, provenance=PROVENANCE)


def two_way(counts: np.ndarray) -> Results:
    """A table with its margins and grand total, each cell a part of its row's and its column's total."""
    rows, columns = counts.shape
    cells = [Cell("all", "all", int(counts.sum()), "count")]
    cells += [Cell(f"r{i}", "all", int(counts[i].sum()), "count", totals=("all/all",)) for i in range(rows)]
    cells += [Cell("all", f"c{j}", int(counts[:, j].sum()), "count", totals=("all/all",)) for j in range(columns)]
    cells += [
        Cell(f"r{i}", f"c{j}", int(counts[i, j]), "count", totals=(f"r{i}/all", f"all/c{j}"))
        for i in range(rows) for j in range(columns)
    ]  # fmt: skip
    return Results.from_cells("description.two_way", cells)


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_recovered_from_a_realistic_run(seed: int) -> None:
    exact = make_results(seed)
    released = let_out(exact)
    ranges = feasible_ranges(released, exact, STRICT)
    assert len(ranges) > 20
    assert recovered(ranges, exact, STRICT) == []
    assert too_narrow(ranges, exact, released, STRICT) == []


@pytest.mark.parametrize("profile", ["acro", "nhse_sde", "opensafely", "mhsds_publication", "hes"])
def test_no_profile_lets_a_count_be_recovered(profile: str) -> None:
    exact = make_results(11)
    released = let_out(exact, profile)
    ranges = feasible_ranges(released, exact, policy(profile))
    assert recovered(ranges, exact, policy(profile)) == []
    assert too_narrow(ranges, exact, released, policy(profile)) == []


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    counts=st.integers(2, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.one_of(st.integers(0, 14), st.integers(0, 90)), min_size=columns, max_size=columns),
            min_size=2, max_size=4,
        )
    )
)  # fmt: skip
def test_nothing_is_recovered_from_two_way_tables(counts: list[list[int]]) -> None:
    exact = two_way(np.array(counts))
    released = let_out(exact)
    ranges = feasible_ranges(released, exact, STRICT)
    assert recovered(ranges, exact, STRICT) == []
    assert too_narrow(ranges, exact, released, STRICT) == []


def test_counts_are_not_pinned_down_by_rounding_alone() -> None:
    # Four times 12 is shown as 10 and the total 48 as 50: only 12 each would fit.
    exact = Results.from_cells(
        "description.twelves",
        [Cell("all", "n", 48, "count"), *[Cell(f"p{i}", "n", 12, "count", totals=("all/n",)) for i in range(4)]],
    )
    released = let_out(exact)
    assert released.manifest["counts"]["complementary"] >= 1
    assert recovered(feasible_ranges(released, exact, STRICT), exact, STRICT) == []


def test_the_onlooker_does_recover_from_primary_suppression_alone() -> None:
    """The attack itself can succeed: without complementary suppression 9 + 9 under 18 is given away."""
    exact = Results.from_cells(
        "description.nines",
        [Cell("all", "n", 18, "count"), *[Cell(f"p{i}", "n", 9, "count", totals=("all/n",)) for i in range(2)]],
    )
    released = let_out(exact)
    naive = exact.frame.assign(status=["shown", "suppressed", "suppressed"], value=[20, np.nan, np.nan])

    rulings = [{"id": f"description.nines/p{i}/n", "rule": "primary", "why": ""} for i in range(2)]
    leaky = SimpleNamespace(results=Results(naive), manifest={"suppressed": rulings})
    assert len(recovered(feasible_ranges(leaky, exact, STRICT), exact, STRICT)) == 3
    assert recovered(feasible_ranges(released, exact, STRICT), exact, STRICT) == []


def test_a_variable_that_adds_up_by_itself_is_guarded_beside_one_that_is_all_zero() -> None:
    levels = {"sex.female": 57, "sex.male": 43, "sex.other": 0, "ethnic_group.white": 0, "ethnic_group.black": 0}
    cells = [Cell("all", "n", 100, "count"), *[Cell(k, "n", v, "count", totals=("all/n",)) for k, v in levels.items()]]
    frame = let_out(Results.from_cells("description.mixed", cells)).results.frame.set_index("row")
    # Female 55, male 45 and all 100 would leave at most 6 for "other".
    assert frame.loc["sex.male", "status"] == "suppressed"


@pytest.mark.parametrize("seed", range(3))
def test_subtraction_leaves_the_whole_range(seed: int) -> None:
    exact = make_results(seed)
    for name, found in subtractions(let_out(exact), exact, STRICT).items():
        assert found.width >= STRICT.threshold - 1, name


def _percent(top: int, whole: int) -> Results:
    low, high = stats.binomtest(top, whole).proportion_ci(0.95, "wilson")
    return Results.from_cells(
        "description.share",
        [
            Cell("a", "whole", whole, "count"),
            Cell("a", "top", top, "count"),
            Cell("a", "percent", 100 * top / whole, "percent", lower=100 * low, upper=100 * high, level=0.95,
                 numerator="a/top", denominator="a/whole"),
        ],
    )  # fmt: skip


@pytest.mark.parametrize(("top", "whole"), [(3, 80), (11, 80), (37, 111), (58, 98), (10, 43)])
def test_a_percentage_tells_no_more_than_its_rounded_counts(top: int, whole: int) -> None:
    shown = let_out(_percent(top, whole)).results.frame
    for other in neighbours(top, STRICT):
        for size in (whole, *neighbours(whole, STRICT)):
            assert let_out(_percent(other, size)).results.frame.equals(shown), (other, size)


@pytest.mark.parametrize("count", [4, 10, 12, 13, 41])
def test_a_rate_and_its_interval_tell_no_more_than_the_rounded_count(count: int) -> None:
    def shown(n: int) -> Release:
        return let_out(Results.from_cells("trend.x", rate_cell("2015/16", "Lambeth", n, 210.4)))

    for other in neighbours(count, STRICT):
        assert shown(other).results.frame.equals(shown(count).results.frame), other


def test_multiplying_a_risk_back_gives_a_multiple_of_the_base() -> None:
    for seed in range(4):
        frame = let_out(make_results(seed)).results.frame
        risks = frame[frame["column"].isin(["risk", "observed"]) & (frame["status"] == "shown")]
        assert len(risks) > 5
        for column in ("value", "lower", "upper"):
            events = risks[column] * risks["n_people"]
            whole = (risks[column] == 1) | np.isclose(events % 5, 0, atol=0.05) | np.isclose(events % 5, 5, atol=0.05)
            assert whole.all()


def test_a_mean_fits_more_than_one_number_of_people() -> None:
    """43.27 years over 10, 11 or 12 people fits 11 alone, if ages are whole years; 43.3 fits all."""
    for people, years in ((10, 433), (11, 476), (12, 519)):
        cells = [Cell("age.mean", "Lambeth", years / people, "mean", unit="years", n_people=people)]
        row = let_out(Results.from_cells("description.age", cells)).results.frame.iloc[0]
        fits = [n for n in range(10, 13) if any(abs(total / n - row["value"]) <= 0.05 for total in range(300, 700))]
        assert row["n_people"] == 10
        assert fits == [10, 11, 12]


def _before_after(pairs: list[tuple[int, int, float]]) -> list[tuple[float, ...]]:
    """What is shown of before/after ratios with Wald intervals: counts after and before, ratio of person-time."""
    made = []
    for i, (after, before, time_ratio) in enumerate(pairs):
        ratio, half = time_ratio * after / before, 1.96 * np.sqrt(1 / after + 1 / before)
        one = estimate(ratio, role="naive", n_events=min(after, before), estimator=f"e{i}", p_value=np.nan)
        estimand = replace(one.estimand, scale="rate_ratio")
        made.append(replace(one, lower=ratio * np.exp(-half), upper=ratio * np.exp(half), estimand=estimand))
    frame = let_out(Results.from_estimates(made)).results.frame
    assert frame[["se", "n_events"]].isna().all(axis=None)
    return list(frame[["value", "lower", "upper"]].itertuples(index=False, name=None))


def test_a_naive_ratio_and_its_interval_do_not_give_both_counts() -> None:
    """Ratio and width are two equations in two counts; person-time is taken to be known within one percent."""
    pairs = [(a, b, 1.0) for a in range(10, 40) for b in range(10, 40)]
    guesses = [(a, b, t) for a in range(10, 100) for b in range(10, 50) for t in (0.99, 0.995, 1.0, 1.005, 1.01)]
    fits: dict[tuple[float, ...], list[tuple[int, int, float]]] = {}
    for guess, shown in zip(guesses, _before_after(guesses), strict=True):
        fits.setdefault(shown, []).append(guess)
    for pair, shown in zip(pairs, _before_after(pairs), strict=True):
        assert len({a for a, _, _ in fits[shown]}) > 1, pair
        assert len({b for _, b, _ in fits[shown]}) > 1, pair


def test_a_quantity_in_two_tables_is_shown_alike_in_both() -> None:
    for seed in range(6):
        exact = make_results(seed)
        frame = let_out(exact).results.frame.set_index("id")
        for group in GROUPS:
            one, other = frame.loc[f"attrition/group.{group}/people"], frame.loc[f"table1/all/{group}"]
            assert one["status"] == other["status"]
            assert one["value"] == other["value"] or (np.isnan(one["value"]) and np.isnan(other["value"]))


def test_a_count_withheld_in_one_table_is_withheld_in_its_twin_and_as_n_people() -> None:
    first = Results.from_cells(
        "description.a",
        [
            Cell("all", "n", 60, "count"),
            Cell("x.yes", "n", 57, "count", totals=("all/n",)),
            Cell("x.no", "n", 3, "count", totals=("all/n",)),
        ],
    )
    second = Results.from_cells(
        "description.b",
        [
            Cell("all", "m", 57, "count"),
            *[Cell(f"y.{i}", "m", 19, "count", totals=("all/m",)) for i in range(3)],
            Cell("age", "m", 44.44, "mean", n_people=57),
        ],
    )
    frame = let_out(Results.concat([first, second])).results.frame.set_index("id")
    assert frame.loc["description.a/x.yes/n", "status"] == "suppressed"
    assert frame.loc["description.b/all/m", "status"] == "suppressed"
    assert np.isnan(frame.loc["description.b/age/m", "n_people"])


def test_n_people_near_a_count_differ_only_by_the_base() -> None:
    """An estimate on 812 people beside a table of 815 shows 810 and 815; the 3 left out cannot be told from 1 or 9."""
    exact = Results.from_cells(
        "description.near", [Cell("all", "n", 815, "count"), Cell("m", "n", 3.3, "mean", n_people=812)]
    )
    frame = let_out(exact).results.frame
    assert set(frame["value"].iloc[:1]) | set(frame["n_people"].dropna()) == {815.0, 810.0}


def test_no_text_or_id_of_a_release_tells_an_exact_count() -> None:
    for seed in range(3):
        exact = make_results(seed)
        counts = exact.frame.loc[exact.frame["kind"] == "count", "value"]
        unreleased = {str(int(n)) for n in counts if n >= 100 and n % 5}
        for text in every_text(let_out(exact)):
            assert not unreleased & set(text.split()), text


def test_nearly_everybody_in_a_percentage_is_not_given_away() -> None:
    frame = let_out(_percent(99, 100)).results.frame.set_index("column")
    assert frame.loc["percent", "status"] == "suppressed"


def test_five_thousand_rows_pass_quickly() -> None:
    parts = [make_results(seed).frame.assign(table=lambda f, s=seed: f"w{s}." + f["table"]) for seed in range(20)]
    for seed, part in enumerate(parts):
        for column in ("id", "numerator", "denominator"):
            part[column] = part[column].where(part[column] == "", f"w{seed}." + part[column])
        part["totals"] = [";".join(f"w{seed}.{t}" for t in filter(None, x.split(";"))) for x in part["totals"]]
    results = Results.concat([Results(part) for part in parts])
    assert len(results) > 4_000
    start = time.perf_counter()
    let_out(results)
    assert time.perf_counter() - start < 20  # under 5 s alone on one core; room for a busy machine
