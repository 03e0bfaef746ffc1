"""Attacks on two releases together: no change of fewer people than the threshold may be told more closely than that."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from counts_factory import (
    PROTOCOL,
    PROVENANCE,
    attrition,
    estimate,
    make_results,
    readmissions,
    table_one,
    under_profile,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from onlooker import additive_sets
from two_releases import changes, kept_range, refreshed, told_ranges, told_too_closely

from evalkit.core.protocol import Protocol
from evalkit.core.result import Cell, Results
from evalkit.disclose import Release, load_release, policy, release
from evalkit.disclose.earlier import WHY_DIFFERENCING, zone

STRICT = policy("strict")
OTHER = "9" * 64


def let_out(results: Results, *, earlier: Release | None = None, data: str = "0" * 64, profile: str = "strict",
            protocol: Protocol | None = None) -> Release:  # fmt: skip
    protocol = protocol or (PROTOCOL if profile == "strict" else under_profile(profile))
    exact = Results(results.frame.assign(protocol=protocol.digest))
    provenance = PROVENANCE | {"data_digest": data}
    return release(exact, policy=policy(profile), protocol=protocol, provenance=provenance, earlier=earlier)


def small_results(seed: int) -> Results:
    rng = np.random.default_rng(seed)
    sizes = {"Lambeth": int(rng.integers(60, 200)), "Comparators": int(rng.integers(200, 500))}
    return Results.concat([attrition(rng, sizes), table_one(rng, sizes)]).stamped(
        notebook="made_up", protocol=PROTOCOL.digest, data="0" * 64
    )


def counts_of(**values: int) -> Results:
    """Counts of one column; `all` is the total of the others."""
    cells = [Cell(k, "n", v, "count", totals=("all/n",) if k != "all" and "all" in values else ())
             for k, v in values.items()]  # fmt: skip
    return Results.from_cells("description.two", cells)


def rows(released: Release) -> pd.DataFrame:
    return released.results.frame.set_index("row")


@pytest.mark.parametrize(("least", "most", "seed"), [(0, 3, 0), (-3, 3, 1), (0, 25, 2)])
def test_no_change_of_a_few_is_told_by_two_releases(least: int, most: int, seed: int) -> None:
    exact = small_results(seed)
    later = refreshed(exact, np.random.default_rng(seed), most=most, least=least)
    before = let_out(exact)
    after = let_out(later, earlier=before, data=OTHER)
    found = changes(before, after, (exact, later), STRICT)
    assert sum(1 <= abs(c.true) <= 9 for c in found) > 5
    assert told_too_closely(found, STRICT) == []


def test_the_attack_does_recover_changes_where_releases_are_guarded_one_by_one() -> None:
    exact = small_results(0)
    later = refreshed(exact, np.random.default_rng(0), most=3)
    found = changes(let_out(exact), let_out(later, data=OTHER), (exact, later), STRICT)
    assert len(told_too_closely(found, STRICT)) > 5


@settings(max_examples=4, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), most=st.sampled_from([2, 8, 30]))
def test_no_change_is_told_by_two_releases_of_a_two_way_table(seed: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.choice([4, 12, 40], size=(2, 3)) + rng.integers(0, 6, size=(2, 3))
    tables = [_two_way(first), _two_way(first + rng.integers(0, most, size=(2, 3)))]
    before = let_out(tables[0])
    after = let_out(tables[1], earlier=before, data=OTHER)
    assert told_too_closely(changes(before, after, (tables[0], tables[1]), STRICT), STRICT) == []


def _two_way(counts: np.ndarray) -> Results:
    cells = [Cell("all", "all", int(counts.sum()), "count")]
    cells += [Cell(f"r{i}", "all", int(row.sum()), "count", totals=("all/all",)) for i, row in enumerate(counts)]
    cells += [Cell("all", f"c{j}", int(c.sum()), "count", totals=("all/all",)) for j, c in enumerate(counts.T)]
    cells += [Cell(f"r{i}", f"c{j}", int(n), "count", totals=(f"r{i}/all", f"all/c{j}"))
              for i, row in enumerate(counts) for j, n in enumerate(row)]  # fmt: skip
    return Results.from_cells("description.two_way", cells)


@pytest.mark.parametrize("first", [10, 12, 15, 18, 23, 47, 230])
def test_a_count_by_itself_never_tells_that_a_few_came_or_went(first: int) -> None:
    """Every count near by: what an onlooker learns of the change covers all of 1 to 9, or none of it."""
    counts = range(0, first + 45)
    before = let_out(counts_of(**{f"c{n}": first for n in counts}))
    low, high = STRICT.range_of(rows(before)["value"].iloc[0])
    after = let_out(counts_of(**{f"c{n}": n for n in counts}), earlier=before, data=OTHER).results.frame
    answers: dict[tuple, list[int]] = {}
    for count, row in zip(counts, after.to_dict("records"), strict=True):
        answers.setdefault((row["status"], str(row["value"]), row["reason"]), []).append(count)
    for same in answers.values():
        change = (min(same) - high, max(same) - low)
        for near, far in ((1, 9), (-9, -1)):
            met = max(change[0], near) <= min(change[1], far)
            assert not met or (change[0] <= near and change[1] >= far), (first, same)


@pytest.mark.parametrize("profile", ["strict", "opensafely", "mhsds_publication", "hes"])
def test_what_keeps_a_number_is_what_the_docs_say(profile: str) -> None:
    for shown in range(policy(profile).base, 300, policy(profile).base):
        if policy(profile).rounded(policy(profile).threshold) <= shown:
            found = kept_range(shown, policy(profile))
            assert zone(shown, policy(profile), policy(profile)) == (found.low, found.high), shown


def test_a_refresh_that_changes_nothing_by_enough_gives_the_same_numbers() -> None:
    exact = make_results(4)
    before = let_out(exact)
    after = let_out(refreshed(exact, np.random.default_rng(1), most=1), earlier=before, data=OTHER)
    columns = ["value", "lower", "upper", "se", "p_value", "n_people", "n_events", "status"]
    pd.testing.assert_frame_equal(after.results.frame[columns], before.results.frame[columns])
    kept = set(after.manifest["earlier"]["kept"])
    assert kept == set(before.results.frame.loc[before.results.frame["status"] == "shown", "id"])


def test_a_refresh_with_many_more_people_is_told_anew() -> None:
    before = let_out(counts_of(all=400, a=250, b=150))
    after = let_out(counts_of(all=520, a=330, b=190), earlier=before, data=OTHER)
    assert rows(after)["value"].tolist() == [520, 330, 190]
    assert after.manifest["earlier"]["kept"] == []


def test_a_count_that_was_few_comes_back_only_when_more_than_a_few_can_have_come() -> None:
    before = let_out(counts_of(a=6))
    told = {n: rows(let_out(counts_of(a=n), earlier=before, data=OTHER)).iloc[0] for n in (9, 10, 22, 23)}
    assert told[9]["reason"] == "fewer than 10"
    assert {told[10]["reason"], told[22]["reason"]} == {WHY_DIFFERENCING}
    assert (told[23]["status"], told[23]["value"]) == ("shown", 25)


def test_a_count_that_may_have_become_few_is_shown_as_it_was() -> None:
    before = let_out(counts_of(a=18))
    after = let_out(counts_of(a=7), earlier=before, data=OTHER)
    assert (rows(after)["status"].iloc[0], rows(after)["value"].iloc[0]) == ("shown", 20)
    assert rows(let_out(counts_of(a=7), earlier=let_out(counts_of(a=60)), data=OTHER))["reason"].iloc[0]


def _effect(**changes: float) -> Results:
    return Results.from_estimates([estimate(**changes)])


def test_an_estimate_stays_as_it_was_while_only_a_few_came_or_went() -> None:
    before = let_out(_effect())
    nearly = let_out(_effect(value=0.0222, n_people=815, n_events=146), earlier=before, data=OTHER).results.frame
    pd.testing.assert_frame_equal(nearly, before.results.frame)
    grown = let_out(_effect(value=0.0222, n_people=990, n_events=246), earlier=before, data=OTHER)
    more = grown.results.frame.iloc[0]
    assert (more["value"], more["n_people"], more["n_events"]) == (0.0222, 990, 245)


def test_that_events_have_become_few_is_not_told_by_withholding_an_estimate() -> None:
    before = let_out(_effect(n_events=12))
    after = let_out(_effect(value=0.0222, n_events=8), earlier=before, data=OTHER).results.frame
    pd.testing.assert_frame_equal(after, before.results.frame)


def test_a_mean_of_the_same_people_over_other_years_is_told_anew() -> None:
    cells = [Cell("a", "mean", 43.3, "mean", n_people=200)]
    before = let_out(Results.from_cells("description.mean", cells))
    later = Results.from_cells("description.mean", [Cell("a", "mean", 51.9, "mean", n_people=203)])
    same = let_out(later, earlier=before, data=OTHER).results.frame.iloc[0]
    assert (same["value"], same["n_people"]) == (43.3, 200)
    content = PROTOCOL.model_dump(mode="json")
    content["dates"]["end"] = "2018-10-01"
    longer = Protocol.model_validate_json(json.dumps(content))
    anew = let_out(later, earlier=before, data=OTHER, protocol=longer).results.frame.iloc[0]
    assert (anew["value"], anew["n_people"]) == (51.9, 200)


def test_a_percentage_and_a_rate_follow_the_counts_as_they_are_shown() -> None:
    def shares(top: int, whole: int) -> Results:
        cells = [
            Cell("whole", "n", whole, "count"),
            Cell("top", "n", top, "count"),
            Cell("rate", "n", top / 4.0, "rate", numerator="top/n"),
            Cell("share", "n", 100 * top / whole, "percent", numerator="top/n", denominator="whole/n"),
        ]
        return Results.from_cells("description.shares", cells)

    before = let_out(shares(40, 200))
    after = rows(let_out(shares(43, 260), earlier=before, data=OTHER))
    assert after["value"].tolist() == [260, 40, 10.0, pytest.approx(100 * 40 / 260, abs=0.05)]


@pytest.mark.parametrize(
    ("first", "second"),
    [("opensafely", "strict"), ("hes", "acro"), ("strict", "opensafely"), ("strict", "mhsds_publication")],
)
def test_the_same_data_under_other_rules_tell_no_more_of_a_count(first: str, second: str) -> None:
    for seed in range(1):
        exact = Results.concat([small_results(seed), readmissions(np.random.default_rng(seed))])
        before = let_out(exact, profile=first)
        after = let_out(exact, profile=second, earlier=before)
        names = sorted(exact.frame.loc[exact.frame["kind"] == "count", "id"])
        was = told_ranges(before, names, policy(first), earlier=None)
        now = told_ranges(after, names, policy(second), earlier=before)
        for name, old, new in zip(names, was, now, strict=True):
            assert (new.low <= old.low and new.high >= old.high) or new == old, name


def test_the_same_data_and_rules_give_the_same_release() -> None:
    exact = make_results(2)
    before = let_out(exact)
    after = let_out(exact, earlier=before)
    assert after.results.frame.equals(before.results.frame)
    assert after.manifest["suppressed"] == before.manifest["suppressed"]
    assert after.manifest["earlier"]["data"] == "the same"


def test_the_manifest_names_the_earlier_release_and_old_manifests_are_read(tmp_path: Path) -> None:
    exact = counts_of(all=230, a=200, b=30)
    let_out(exact).save(tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    for name in ("least_freedom", "most_of_two", "left_beside_two"):
        del manifest["profile"][name]
    del manifest["counts"]["differencing"]
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    old = load_release(tmp_path / "old")
    new = let_out(counts_of(all=232, a=201, b=31), earlier=old, data=OTHER)
    assert len(new.manifest["earlier"]["manifest"]) == 64
    assert new.manifest["earlier"]["data"] == "other"
    assert len(new.manifest["earlier"]["kept"]) == 3
    new.save(tmp_path / "new")
    assert load_release(tmp_path / "new").manifest == new.manifest


def test_numbers_of_rows_that_moved_by_too_few_are_told_as_they_were() -> None:
    exact = counts_of(a=50)
    before = let_out(exact)
    provenance = PROVENANCE | {"data_digest": OTHER, "tables": {"people": {"rows": 1210}, "budgets": 4}}
    after = release(exact, policy=STRICT, protocol=PROTOCOL, provenance=provenance, earlier=before)
    assert after.manifest["tables"]["people"]["rows"] == before.manifest["tables"]["people"]["rows"]


def test_the_sets_that_the_onlooker_knows_are_those_of_the_tables() -> None:
    assert len(additive_sets(small_results(0))) > 6
    assert all(math.isfinite(v) for v in small_results(0).frame["value"])
