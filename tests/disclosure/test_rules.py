"""The rules of the gate at their boundaries, one row at a time."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from counts_factory import PROTOCOL, PROVENANCE, estimate, make_results, under_profile

from evalkit.core.dominance import LEFT_BESIDE_TWO, MOST_OF_TWO
from evalkit.core.errors import DisclosureError, ParameterError
from evalkit.core.result import Cell, Check, Results, not_estimable
from evalkit.core.sections import DisclosureProfile
from evalkit.disclose import policy, release


def let_out(results: Results, profile: str = "strict") -> pd.DataFrame:
    protocol = under_profile(profile)
    done = release(results, policy=policy(profile), protocol=protocol, provenance=PROVENANCE)
    return done.results.frame


def one(cell: Cell, profile: str = "strict") -> pd.Series:
    return let_out(Results.from_cells("description.one", [cell]), profile).iloc[0]


@pytest.mark.parametrize(
    ("profile", "count", "shown"),
    [
        *[("strict", n, s) for n, s in [(0, None), (1, None), (9, None), (10, 10), (12, 10), (13, 15), (17, 15)]],
        *[("acro", n, s) for n, s in [(0, None), (9, None), (10, 10)]],
        *[("nhse_sde", n, s) for n, s in [(0, None), (9, None), (10, 10)]],
        *[("ons_srs", n, s) for n, s in [(0, None), (9, None), (10, 10)]],
        *[("nes", n, s) for n, s in [(0, 0), (1, None), (9, None), (10, 10)]],
        *[("opensafely", n, s) for n, s in [(0, None), (7, None), (8, 10), (12, 10)]],
        *[("mhsds_publication", n, s) for n, s in [(0, None), (4, None), (5, 5), (7, 5), (8, 10)]],
        *[("hes", n, s) for n, s in [(0, 0), (1, None), (7, None), (8, 10)]],
    ],
)
def test_a_count_is_withheld_below_the_threshold_and_rounded_above(profile: str, count: int, shown: int | None) -> None:
    row = one(Cell("a", "n", count, "count"), profile)
    if shown is None:
        assert row["status"] == "suppressed"
        assert math.isnan(row["value"])
        assert row["reason"] == f"fewer than {policy(profile).threshold}"
    else:
        assert (row["status"], row["value"], row["reason"]) == ("shown", shown, "")


def test_every_profile_of_the_protocol_has_a_policy_with_a_source_and_no_other_has() -> None:
    strict = policy("strict")
    for name in get_args(DisclosureProfile):
        one = policy(name)
        assert one.name == name
        assert len(one.source) > 20
        assert strict.threshold >= one.threshold
        assert strict.base >= one.base
        assert strict.least <= one.least
        assert strict.least_freedom >= one.least_freedom
        assert strict.most_of_two <= one.most_of_two
        assert strict.left_beside_two >= one.left_beside_two
    assert (strict.most_of_two, strict.left_beside_two) == (MOST_OF_TWO, LEFT_BESIDE_TWO)
    with pytest.raises(ParameterError, match='Did you mean "strict"'):
        policy("stict")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"n_events": 9}, "not released: fewer than 10 events behind it"),
        ({"n_people": 9}, "not released: fewer than 10 people behind it"),
        ({"n_events": 0}, "not released: fewer than 10 events behind it"),
        ({"n_people": math.nan, "n_events": math.nan}, "not released: the counts behind it are not given"),
    ],
)
def test_an_estimate_on_too_few_is_withheld_whole(changes: dict, why: str) -> None:
    row = let_out(Results.from_estimates([estimate(**changes)])).iloc[0]
    assert (row["status"], row["reason"]) == ("suppressed", why)
    assert row[["value", "se", "lower", "upper", "level", "p_value"]].isna().all()
    assert 9 not in row[["n_people", "n_events"]].tolist()


def test_an_estimate_is_shown_at_four_digits_and_a_naive_one_at_three() -> None:
    frame = let_out(Results.from_estimates([estimate(n_events=10), estimate(role="naive", estimator="before_after")]))
    first, naive = frame.iloc[0], frame.iloc[1]
    assert first[["value", "se", "lower", "upper"]].tolist() == [0.01235, 0.02346, -0.03457, 0.05912]
    assert first[["p_value", "level", "n_people", "n_events"]].tolist() == [0.123, 0.95, 810, 10]
    assert naive[["value", "lower", "upper"]].tolist() == [0.0123, -0.0346, 0.0591]
    few = let_out(Results.from_estimates([estimate(role="naive", n_events=36)])).iloc[0]
    # 36 events look like 25, whose interval would be wider by 1.2, the root of 36/25.
    assert few[["value", "lower", "upper"]].tolist() == [0.012, -0.045, 0.069]
    assert few[["se", "n_events"]].isna().all()


def test_what_is_not_estimable_passes_with_its_reason() -> None:
    none = not_estimable(estimate().estimand, "x", role="primary", reason="No comparison area is held.")
    row = let_out(Results.from_estimates([none])).iloc[0]
    assert (row["status"], row["reason"]) == ("not_estimable", "No comparison area is held.")


def test_checks_of_method_survive_and_checks_that_count_people_are_counts() -> None:
    checks = (
        Check("comparison_areas", True, 3.0, "Untreated areas."),
        Check("smallest_p", None, 0.25, "Floor of the test."),
        Check("n_people", None, 7.0, "In the smallest cell."),
        Check("events", None, 13.0, "In the smallest cell."),
        Check("events_per_predictor", True, 8.0, "Enough."),
    )
    frame = let_out(Results.from_estimates([estimate(checks=checks)])).set_index("column")
    assert frame.loc["comparison_areas", "value"] == 3
    assert frame.loc["smallest_p", "value"] == 0.25
    assert frame.loc["n_people", "status"] == "suppressed"
    assert frame.loc["events", "value"] == 15
    assert frame.loc["events_per_predictor", "value"] == 8


def _shares(top: int, whole: int) -> pd.DataFrame:
    cells = [
        Cell("a", "whole", whole, "count"),
        Cell("a", "top", top, "count"),
        Cell("a", "percent", 100 * top / whole, "percent", numerator="a/top", denominator="a/whole"),
        Cell("a", "rate", 3.2 * top, "rate", numerator="a/top", lower=1.0, upper=99.0, level=0.95),
        Cell("a", "mean", 12.3456, "mean", numerator="a/percent", denominator="a/whole", n_people=50),
    ]
    return let_out(Results.from_cells("description.linked", cells)).set_index("column")


def test_what_is_worked_out_from_a_withheld_count_is_withheld_through_every_link() -> None:
    frame = _shares(9, 200)
    for column in ("percent", "rate", "mean"):
        assert frame.loc[column, "reason"] == "worked out from a number that is withheld"
        assert frame.loc[column, ["value", "lower", "upper", "n_people", "n_events"]].isna().all()


def test_percentages_and_rates_follow_the_rounded_counts() -> None:
    frame = _shares(13, 202)
    assert frame.loc["percent", "value"] == 7.5  # 15 of 200, not 13 of 202
    assert frame.loc["rate", "value"] == pytest.approx(3.2 * 15)
    assert frame.loc["rate", "lower"] == pytest.approx(3.2 * 8.395, rel=0.01)  # Garwood 1936 for 15: 8.40 to 24.74
    assert frame.loc["rate", "upper"] == pytest.approx(3.2 * 24.74, rel=0.01)
    assert frame.loc["mean", "value"] == 12.3


def test_percentages_are_whole_numbers_under_the_publication_profile() -> None:
    cells = [
        Cell("a", "whole", 202, "count"),
        Cell("a", "top", 13, "count"),
        Cell("a", "percent", 6.4, "percent", numerator="a/top", denominator="a/whole"),
    ]
    assert let_out(Results.from_cells("description.p", cells), "mhsds_publication")["value"].iloc[2] == 8


@pytest.mark.parametrize("kind", ["percent", "rate", "mean"])
def test_a_number_without_the_counts_behind_it_is_withheld(kind: str) -> None:
    row = one(Cell("a", "x", 12.5, kind))
    assert row["reason"] == "not released: the counts behind it are not given"


@pytest.mark.parametrize(
    ("events", "people", "status"), [(9, 40, "suppressed"), (10, 40, "shown"), (31, 40, "suppressed")]
)
def test_a_step_of_a_risk_curve_needs_ten_with_and_ten_without(events: int, people: int, status: str) -> None:
    row = one(Cell("a|0", "risk", events / people, "statistic", n_people=people, n_events=events))
    assert row["status"] == status


def test_a_step_of_a_risk_curve_is_a_multiple_of_the_base_and_its_interval_goes_outwards() -> None:
    cell = Cell("a|0", "risk", 0.139, "statistic", lower=0.096, upper=0.182, n_people=201, n_events=28)
    row = one(cell)
    assert row[["value", "lower", "upper"]].tolist() == [0.15, 0.1, 0.2]
    assert one(cell, "opensafely")["value"] == pytest.approx(27 / 200)  # midpoint of 25 to 30


def test_a_risk_curve_starts_at_nought_whoever_is_followed() -> None:
    row = one(Cell("Lambeth|before|0", "risk", 0.0, "statistic", n_people=94))
    assert (row["status"], row["value"], row["n_people"]) == ("shown", 0.0, 95.0)
    assert one(Cell("Lambeth|before|30", "risk", 0.0, "statistic", n_people=94))["status"] == "suppressed"


@pytest.mark.parametrize(("events", "shown"), [(math.nan, 0.7123), (2000, 0.7123), (143, 0.712), (99, 0.71)])
def test_a_statistic_has_fewer_digits_the_fewer_events_it_rests_on(events: float, shown: float) -> None:
    assert one(Cell("logistic", "auroc", 0.712345, "statistic", n_people=9812, n_events=events))["value"] == shown


@pytest.mark.parametrize("column", ["min", "max", "age max", "Minimum", "oldest"])
def test_a_minimum_or_maximum_is_refused(column: str) -> None:
    with pytest.raises(DisclosureError, match="belongs to one person"):
        one(Cell("age", column, 71.0, "statistic", n_people=300))


def test_a_negative_count_and_a_total_that_is_no_count_are_refused() -> None:
    with pytest.raises(DisclosureError, match="negative"):
        one(Cell("a", "n", -3, "count"))
    cells = [Cell("a", "rate", 3.0, "rate"), Cell("b", "n", 20, "count", totals=("a/rate",))]
    with pytest.raises(DisclosureError, match="is not a count"):
        let_out(Results.from_cells("description.bad", cells))


def test_the_smallest_other_part_goes_with_a_withheld_one() -> None:
    counts = {"white": 120, "black": 90, "asian": 21, "mixed": 4}
    cells = [Cell("all", "n", 235, "count")]
    cells += [Cell(f"ethnic.{k}", "n", v, "count", totals=("all/n",)) for k, v in counts.items()]
    frame = let_out(Results.from_cells("description.smallest", cells)).set_index("row")
    # 235 - 120 - 90 - 20 leaves 5 give or take 8: from 0 to 13, so nothing more need go.
    assert frame["status"].eq("suppressed").sum() == 1
    counts |= {"asian": 18, "mixed": 2}
    cells = [Cell("all", "n", 228, "count")] + [
        Cell(f"ethnic.{k}", "n", v, "count", totals=("all/n",)) for k, v in counts.items() if k != "black"
    ] + [Cell("ethnic.black", "n", 88, "count", totals=("all/n",))]  # fmt: skip
    frame = let_out(Results.from_cells("description.smallest", cells)).set_index("row")
    # 230 - 120 - 90 - 20 leaves 0 give or take 8, never 9: the smallest other part goes too.
    assert frame.index[frame["status"] == "suppressed"].tolist() == ["ethnic.asian", "ethnic.mixed"]
    assert frame.loc["ethnic.asian", "reason"] == "withheld so that another number cannot be worked out from it"


def test_a_group_that_cannot_be_protected_otherwise_is_withheld_whole_without_saying_which_are_few() -> None:
    # With every cell withheld, "fewer than 10" in a row whose columns all reach 10 would still tell something.
    counts = np.array([[4, 4], [9, 9]])
    cells = [Cell("all", "all", 26, "count")]
    cells += [Cell(f"r{i}", "all", int(counts[i].sum()), "count", totals=("all/all",)) for i in range(2)]
    cells += [Cell("all", f"c{j}", int(counts[:, j].sum()), "count", totals=("all/all",)) for j in range(2)]
    cells += [
        Cell(f"r{i}", f"c{j}", int(counts[i, j]), "count", totals=(f"r{i}/all", f"all/c{j}"))
        for i in range(2) for j in range(2)
    ]  # fmt: skip
    frame = let_out(Results.from_cells("description.tight", cells))
    assert set(frame["reason"]) == {"withheld together with its whole group, so that none of them can be worked out"}


def test_rounding_and_withholding_leave_names_links_and_order_alone() -> None:
    exact = make_results(3)
    before = exact.frame
    after = release(exact, policy=policy("strict"), protocol=PROTOCOL, provenance=PROVENANCE).results.frame
    same = ["id", "table", "row", "column", "order", "kind", "numerator", "denominator", "totals", "label", "unit"]
    pd.testing.assert_frame_equal(before[same], after[same])
    counts = pd.concat([after.loc[after["kind"] == "count", "value"], after["n_people"], after["n_events"]]).dropna()
    assert (counts % 5 == 0).all()
    assert counts.min() >= 10


@pytest.mark.parametrize(
    ("profile", "freedom", "status"),
    [("strict", 9.0, "suppressed"), ("strict", 10.0, "shown"), ("acro", 9.0, "suppressed"), ("hes", 2.0, "shown")],
)
def test_an_estimate_with_few_residual_degrees_of_freedom_is_withheld(
    profile: str, freedom: float, status: str
) -> None:
    check = Check("residual_degrees_of_freedom", None, freedom, "People less parameters.")
    frame = let_out(Results.from_estimates([estimate(checks=(check,))]), profile)
    assert frame["status"].tolist() == [status, status]
