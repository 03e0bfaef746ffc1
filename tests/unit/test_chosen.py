"""Outcomes that people chose: the difference and its bounds, their tables, the gate and the academic report."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from evalkit.analysis.chosen import estimate_chosen
from evalkit.analysis.study import Study
from evalkit.core.errors import ParameterError
from evalkit.core.protocol import load_protocol
from evalkit.core.result import Cell, Results
from evalkit.data.tables import open_tables
from evalkit.disclose import Release, policy, release
from evalkit.estimators.people.recorded_change import compute_recorded_change
from evalkit.report import academic_chosen, display
from evalkit.report.chosen_facts import read_chosen
from evalkit.report.figures_chosen import describe_chosen, told
from tests.chosen_people import activities, chosen_protocol, draw_people, write_people
from tests.report_factory import PROVENANCE, ROOT

NAN = math.nan


def drawn(rng: np.random.Generator, n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    treated = np.arange(n) < n // 3
    had = (rng.random((n, 2)) < 0.5).astype(float)
    had[rng.random((n, 2)) < 0.3] = NAN
    return had, rng.random((n, 2)) < 0.95, treated


# ---- the estimator -------------------------------------------------------------------------------


def test_the_difference_is_that_of_a_regression_clustered_by_person():
    had, asked, treated = drawn(np.random.default_rng(1))
    found = compute_recorded_change(had, asked, treated)
    y = np.where(asked, had, NAN)
    person, period = np.nonzero(np.isfinite(y))
    errors = []
    for rows in (treated, ~treated):
        kept = rows[person]
        design = sm.add_constant(period[kept].astype(float))
        fit = sm.OLS(y[person[kept], period[kept]], design).fit(
            cov_type="cluster", cov_kwds={"groups": person[kept], "use_correction": False}
        )
        groups = len(np.unique(person[kept]))
        errors.append((fit.params[1], fit.bse[1] * math.sqrt(groups / (groups - 1))))
    assert found.observed.changes == pytest.approx([e[0] for e in errors], abs=1e-12)
    assert found.observed.errors == pytest.approx([e[1] for e in errors], abs=1e-12)
    assert found.observed.value == pytest.approx(errors[0][0] - errors[1][0])
    assert found.observed.se == pytest.approx(math.hypot(errors[0][1], errors[1][1]))


def test_any_answers_of_the_missing_lie_within_the_bounds_and_the_furthest_reach_them():
    rng = np.random.default_rng(2)
    had, asked, treated = drawn(rng)
    found = compute_recorded_change(had, asked, treated)
    low, high = found.scenarios["least"].value, found.scenarios["most"].value
    assert low < found.observed.value < high
    missing = np.isnan(had) & asked
    for _ in range(50):
        filled = np.where(missing, rng.random(had.shape) < rng.random(2), had)
        value = compute_recorded_change(filled, asked, treated).observed.value
        assert low - 1e-12 <= value <= high + 1e-12
    furthest = np.where(missing, np.where(treated[:, None], [0.0, 1.0], [1.0, 0.0]), had)
    assert compute_recorded_change(furthest, asked, treated).observed.value == pytest.approx(high)


def test_without_missing_answers_the_bounds_are_the_difference():
    had = (np.random.default_rng(3).random((60, 2)) < 0.4).astype(float)
    asked, treated = np.ones((60, 2), dtype=bool), np.arange(60) < 25
    found = compute_recorded_change(had, asked, treated)
    assert {f.value for f in found.scenarios.values()} == {found.observed.value}
    assert (found.recorded == 1).all()


@pytest.mark.parametrize(
    ("had", "asked", "treated", "words"),
    [
        (np.zeros(4), np.ones(4, bool), np.ones(4, bool), "one row a person"),
        (np.zeros((4, 2)), np.ones((4, 2)), np.ones(4, bool), "asked"),
        (np.zeros((4, 2)), np.ones((4, 2), bool), np.ones(3, bool), "treated"),
        (np.full((4, 2), 0.5), np.ones((4, 2), bool), np.ones(4, bool), "only 0, 1 and NaN"),
        (np.full((4, 2), np.inf), np.ones((4, 2), bool), np.ones(4, bool), "only 0, 1 and NaN"),
        (np.zeros((4, 2)), np.ones((4, 2), bool), np.ones(4, bool), "fewer than two people"),
        (np.full((4, 2), NAN), np.ones((4, 2), bool), np.arange(4) < 2, "fewer than two people"),
    ],
)
def test_what_is_no_record_is_refused(had, asked, treated, words):
    with pytest.raises(ParameterError, match=words):
        compute_recorded_change(had, asked, treated)


# ---- tables --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = draw_people(tmp_path_factory.mktemp("chosen"), np.random.default_rng(4), treated=90, others=150,
                         effect=0.4, unasked=0.15)  # fmt: skip
    return Study(chosen_protocol(), open_tables(folder))


@pytest.fixture(scope="module")
def results(study) -> Results:
    return Results.concat(estimate_chosen(study))


def gate(study: Study, results: Results) -> Release:
    return release(results, policy=policy("strict"), protocol=study.protocol, provenance=PROVENANCE)


def test_the_tables_hold_what_was_drawn(results):
    shares = results.table("chosen").pivot(index="row", columns="column", values="value")
    assert list(shares.index) == ["work|Comparators", "work|Lambeth"]
    assert shares.loc["work|Lambeth", "recorded_after"] == pytest.approx(85, abs=10)
    change = results.table("chosen_change").set_index(["row", "column"])["value"]
    own = shares.loc["work|Lambeth", "after"] - shares.loc["work|Lambeth", "before"]
    assert change["work", "change_service"] == pytest.approx(own)
    assert change["work", "difference"] == pytest.approx(own - change["work", "change_comparators"])
    row = results.table("chosen_change").query("row == 'work' and column == 'difference'").iloc[0]
    assert row["lower"] < 40 < row["upper"]
    assert row["lower"] > 0
    bounds = results.table("chosen_bounds").set_index("column")["value"]
    assert bounds["least"] < row["value"] < bounds["most"]


def test_what_is_not_recorded_has_one_row_with_the_reason(results):
    rows = results.table("chosen_change").query("row != 'work'")
    assert list(rows["row"]) == ["check", "friends", "choice"]
    assert set(rows["status"]) == {"not_estimable"}
    assert rows["value"].isna().all()
    assert list(rows["reason"]) == [
        "There is no table health_checks.", "There is no table assessments.",
        "Nothing in these records asks about it.",
    ]  # fmt: skip


def test_each_difference_says_that_it_does_not_see_shocks_to_an_area(results):
    found = results.table("checks.chosen_change").set_index("column")["unit"]
    assert found["area_shocks"] == "failed"
    assert set(found.index) == {
        "area_shocks", "recording_alike", "missing_alike", "missing_worst", "change_before", "one_of_several",
    }  # fmt: skip
    assert found["change_before"] == "passed"


def test_fewer_records_than_the_protocol_asks_for_are_no_result(tmp_path):
    folder = draw_people(tmp_path, np.random.default_rng(5), treated=60, others=60, unasked=0.6)
    found = Results.concat(estimate_chosen(Study(chosen_protocol(), open_tables(folder))))
    row = found.table("chosen_change").iloc[0]
    assert row["status"] == "not_estimable"
    assert "fewer than 50% of people" in row["reason"]
    assert set(found.table("chosen")["column"]) == {"recorded_before", "recorded_after"}


def test_few_who_had_it_are_no_difference(tmp_path):
    rows = [
        (f"p{i}", day, work, "taking_part" if i in (0, 1, 30, 31) else "not_taking_part")
        for i in range(60) for day in ("2014-06-01", "2015-06-01") for work in ("employment", "volunteering")
    ]  # fmt: skip
    folder = write_people(tmp_path, ["Lambeth"] * 30 + ["Croydon"] * 30, activities=activities(rows))
    study = Study(chosen_protocol(), open_tables(folder))
    found = Results.concat(estimate_chosen(study))
    assert "Fewer than 10 people" in found.table("chosen_change").iloc[0]["reason"]
    told_shares = gate(study, found).table("chosen").query("column in ('before', 'after')")
    assert set(told_shares["status"]) == {"suppressed"}


def test_nothing_is_made_where_nothing_was_chosen_and_reasons_where_nobody_is_there(study, tmp_path):
    assert estimate_chosen(Study(chosen_protocol(""), study.tables)) == []
    bare = open_tables(write_people(tmp_path, ["Lambeth", "Croydon"], people=None, residence=None, ward_stays=None,
                                    activities=activities([])))  # fmt: skip
    (found,) = estimate_chosen(Study(chosen_protocol(), bare))
    assert list(found.frame["row"]) == ["work", "check", "friends", "choice"]
    assert set(found.frame["status"]) == {"not_estimable"}


# ---- the gate ------------------------------------------------------------------------------------


def test_released_changes_are_those_of_the_released_shares_and_no_surer_than_the_exact_ones(study, results):
    out = gate(study, results)
    shares = out.table("chosen").set_index(["row", "column"])["value"]
    (fact, *_) = read_chosen(out)
    own = shares["work|Lambeth", "after"] - shares["work|Lambeth", "before"]
    assert fact.change_service == pytest.approx(own, abs=0.051)
    assert fact.value == pytest.approx(fact.change_service - fact.change_comparators, abs=0.11)
    exact = results.table("chosen_change").query("row == 'work' and column == 'difference'").iloc[0]
    assert 0.9 < (fact.upper - fact.lower) / (exact["upper"] - exact["lower"]) < 1.3
    assert fact.least <= fact.value <= fact.most
    assert fact.certainty == "suggests"


def test_a_change_tells_no_more_than_the_rounded_shares():
    """People swapped so that no rounded count changes: not one released number of the change moves."""
    told_now = [_released_change((before, after)) for before, after in ((31, 52), (32, 48), (29, 50), (28, 51))]
    assert np.isfinite(told_now[0]["value"]).all()
    assert np.isfinite(told_now[0].loc[told_now[0]["column"] == "difference", "lower"]).all()
    for other in told_now[1:]:
        pd.testing.assert_frame_equal(other, told_now[0])


def test_years_that_go_against_each_other_widen_the_interval():
    """The exact interval of people who never have it twice is wider than that of independent years."""
    plain = _released_change((31, 52)).query("column == 'difference'").iloc[0]
    wide = _released_change((31, 52), half=30.0).query("column == 'difference'").iloc[0]
    assert wide["upper"] - wide["lower"] > 1.2 * (plain["upper"] - plain["lower"])


def test_a_change_whose_share_is_withheld_is_withheld_with_its_checks_and_bounds(study, results):
    frame = results.frame
    frame.loc[frame["id"] == "chosen_counts/work|Lambeth/had_before", "value"] = 4.0
    out = gate(study, Results(frame))
    for table in ("chosen_change", "chosen_bounds", "checks.chosen_change"):
        rows = out.table(table).query("row == 'work'")
        kept = rows[rows["column"] != "change_comparators"]
        assert set(kept["status"]) == {"suppressed"}, table
        assert kept["value"].isna().all()
    fact = read_chosen(out)[0]
    assert fact.status == "not_released"
    assert fact.certainty == "not_released"


def _released_change(had: tuple[int, int], *, half: float = 12.3) -> pd.DataFrame:
    """`chosen_change` as released where so many of 100 had it before and after, and 40 and 45 of 100 elsewhere."""
    shares, change, cells = [], (had[1] - had[0]) - (45 - 40), []
    for group, (before, after) in (("Lambeth", had), ("Comparators", (40, 45))):
        for period, n in (("before", before), ("after", after)):
            whole = f"work|{group}/answered_{period}"
            cells += [Cell(f"work|{group}", f"answered_{period}", 100.0, "count"),
                      Cell(f"work|{group}", f"had_{period}", float(n), "count", totals=(whole,))]  # fmt: skip
            shares += [Cell(f"work|{group}", period, float(n), "percent", unit="%"),
                       Cell(f"work|{group}", f"recorded_{period}", 80.0, "percent", unit="%", n_people=125.0,
                            n_events=100.0)]  # fmt: skip
    frame, counts = Results.from_cells("chosen", shares).frame, Results.from_cells("chosen_counts", cells).frame
    for place in frame.index[frame["column"].isin(["before", "after"])]:
        row, period = frame.loc[place, "row"], frame.loc[place, "column"]
        frame.loc[place, ["numerator", "denominator"]] = [f"chosen_counts/{row}/{c}_{period}" for c in
                                                          ("had", "answered")]  # fmt: skip
    rows = [Cell("work", name, float(value), "statistic", unit="percentage points", n_people=125.0, lower=low, upper=up,
                 level=0.95)
            for name, value, low, up in (("change_service", had[1] - had[0], NAN, NAN),
                                         ("change_comparators", 5, NAN, NAN),
                                         ("difference", change, change - half, change + half))]  # fmt: skip
    changes = Results.from_cells("chosen_change", rows).frame
    links = {"change_service": "chosen/work|Lambeth", "change_comparators": "chosen/work|Comparators"}
    for place in changes.index:
        link = links.get(changes.loc[place, "column"])
        if link:
            changes.loc[place, ["numerator", "denominator"]] = [f"{link}/after", f"{link}/before"]
    everything = Results(pd.concat([frame, counts, changes], ignore_index=True))
    protocol = chosen_protocol()
    return release(everything, policy=policy("strict"), protocol=protocol, provenance=PROVENANCE).table("chosen_change")


# ---- the academic report -------------------------------------------------------------------------


@pytest.fixture
def shown(monkeypatch) -> list[dict]:
    blocks: list[dict] = []

    def keep(data: dict, *, metadata: dict, **_) -> None:
        blocks.append(metadata["evalkit"] | {"text": data["text/plain"]})

    monkeypatch.setattr(display, "display", keep)
    monkeypatch.setattr(display, "_png", lambda figure: b"")
    return blocks


def test_the_academic_report_says_who_chose_what_is_recorded_and_what_is_not(study, results, shown):
    academic_chosen.show_chosen(gate(study, results))
    ids = [block["id"] for block in shown]
    assert ids == ["text-chosen", "text-chosen-missing", "tab-chosen-items", "tab-chosen-shares", "tab-chosen-change",
                   "fig-chosen", "text-chosen-checks"]  # fmt: skip
    words = "\n".join(block["text"] for block in shown)
    assert "Nothing in these records asks about it." in words
    assert "have not been asked yet" in words
    assert "people who have used services" in words
    assert "nan" not in words


def test_a_protocol_or_a_release_without_them_says_so(study, shown):
    academic_chosen.show_chosen(gate(Study(chosen_protocol(""), study.tables), Results.concat([])))
    assert "names none" in shown[0]["text"]
    facts = read_chosen(gate(study, Results.concat([])))
    assert {fact.status for fact in facts} == {"not_recorded"}
    assert {fact.certainty for fact in facts} == {"cannot_tell"}
    assert "not recorded" in describe_chosen(facts)
    assert told(facts[0]) == "not recorded"


def test_the_default_protocol_names_what_peers_asked_for_and_says_who_chose_it():
    chosen = {item.key: item for item in load_protocol(ROOT / "protocols" / "ipsa.toml").chosen}
    assert {"work_volunteering", "connections", "health_check", "choice_control", "staying_well"} <= set(chosen)
    assert chosen["choice_control"].record == "none"
    assert {item.chosen_by for item in chosen.values()} == {"evaluators"}
