"""Attacks on what is released of risk models, by somebody who holds the release, the code and the exact totals.

Levels of a characteristic are solved together by integer programming. Where a number is arithmetic on counts, two
samples that differ by people within one class of rounding must be released alike: nothing then tells them apart.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from evalkit.core.result import Cell, Results
from evalkit.disclose import Policy, Release, policy, release
from evalkit.risk.sample_criteria import compute_development_size
from evalkit.risk.sample_spread import compute_r2_from_auroc
from tests.report_factory import PROVENANCE
from tests.risk_factory import risk_protocol

STRICT = policy("strict")
HIDDEN_CELLS = {"found": "sensitivity", "missed": "false_negative_rate", "alarms": "false_positive_rate",
                "spared": "npv"}  # fmt: skip
FAR = 10_000


def let_out(tables: dict[str, list[Cell]], profile: str = "strict") -> Release:
    protocol = risk_protocol()
    protocol = protocol.model_copy(update={"disclosure": protocol.disclosure.model_copy(update={"profile": profile})})
    parts = [Results.from_cells(name, cells) for name, cells in tables.items()]
    frame = Results.concat(parts).stamped(notebook="x", protocol=protocol.digest, data="0" * 64)
    return release(frame, policy=policy(profile), protocol=protocol, provenance=PROVENANCE)


def stat(row: str, column: str, value: float, people: float, events: float, *, half: float = math.nan) -> Cell:
    level = 0.95 if math.isfinite(half) else math.nan
    return Cell(row, column, value, "statistic", lower=value - half, upper=value + half, level=level, n_people=people,
                n_events=events)  # fmt: skip


def sample(discharges: int, events: int, *, part: str = "validation", people: float = 300) -> list[Cell]:
    row = f"90|{part}"
    return [Cell(row, "discharges", discharges, "count", n_people=people, n_events=events),
            Cell(row, "readmitted", events, "count", n_people=min(people, events), n_events=events,
                 totals=(f"{row}/discharges",))]  # fmt: skip


def told(found: Release, table: str) -> dict[str, tuple[float, float, float]]:
    rows = found.table(table)
    numbers = zip(rows["value"], rows["lower"], rows["upper"], strict=True)
    return dict(zip(rows["row"] + "/" + rows["column"], numbers, strict=True))


def alike(one: Release, other: Release, table: str) -> bool:
    left, right = told(one, table), told(other, table)
    return left.keys() == right.keys() and all(np.allclose(left[k], right[k], equal_nan=True) for k in left)


# ---- levels ----------------------------------------------------------------------------------------


def level_cells(name: str, four: dict[str, int]) -> tuple[list[Cell], list[Cell], list[Cell]]:
    """`risk_groups`, `risk_group_threshold` and `risk_group_conflict` of a level, as the analysis lays them out."""
    found, missed, alarms, spared = (four[c] for c in HIDDEN_CELLS)
    n, events, flagged = sum(four.values()), found + missed, found + alarms
    people = max(round(0.7 * n), 1)
    if events < 10 or n - events < 10 or people < 10:
        why = {"status": "not_estimable", "reason": "too few discharges with the outcome (fewer than 10)."}
    else:
        why = {}
    shares = {"flagged_per_100": (100 * flagged, n, flagged), "sensitivity": (found, events, found),
              "false_negative_rate": (missed, events, missed), "false_positive_rate": (alarms, n - events, alarms),
              "ppv": (found, flagged, found), "npv": (spared, n - flagged, spared)}  # fmt: skip
    groups = [
        Cell(name, "discharges", math.nan if why else n, "count", n_people=people, n_events=events, **why),
        Cell(name, "auroc", math.nan if why else 0.7, "statistic", n_people=people, n_events=events, **why),
    ]
    rates = []
    for column, (top, below, tally) in shares.items():
        few = why or ({} if 0.7 * below >= 10 else {"status": "not_estimable", "reason": "fewer than 10 people."})
        value = math.nan if few or not below else top / below
        rates.append(Cell(name, column, value, "statistic", n_people=max(round(0.7 * below), 1), n_events=tally, **few))
    base = [] if why else [stat(name, "base_rate", events / n, people, events)]
    return groups, rates, base


def world(levels: dict[str, dict[str, int]], *, more: dict[str, list[Cell]] | None = None) -> dict[str, list[Cell]]:
    parts = [level_cells(f"area|{name}", four) for name, four in levels.items()]
    total = {c: sum(four[c] for four in levels.values()) for c in HIDDEN_CELLS}
    groups, rates, base = ([cell for part in parts for cell in part[i]] for i in range(3))
    return {"risk_sample": sample(sum(total.values()), total["found"] + total["missed"]), "risk_groups": groups,
            "risk_group_threshold": rates, "risk_group_conflict": base} | (more or {})  # fmt: skip


def random_world(rng: np.random.Generator) -> dict[str, dict[str, int]]:
    """Levels of uneven size, some of hardly anybody, and a threshold that points at about a tenth."""
    sizes = np.round(rng.lognormal(4.7, 1.0, size=rng.integers(3, 6))).astype(int) + 12
    return {f"Area {i}": dict(zip(HIDDEN_CELLS, map(int, rng.multinomial(n, [0.04, 0.15, 0.08, 0.73])), strict=True))
            for i, n in enumerate(sizes)}  # fmt: skip


def ranges(released: Release, levels: dict[str, dict[str, int]], rules: Policy, *, peek: pd.DataFrame | None = None):
    """The range of every cell below the threshold, all levels solved together; `peek` adds numbers of people."""
    names = [(f"area|{name}", cell) for name in levels for cell in HIDDEN_CELLS]
    place = {name: i for i, name in enumerate(names)}
    matrix, least, most = [], [], []

    def know(members: list[tuple[str, str]], low: float, high: float) -> None:
        matrix.append(np.isin(np.arange(len(names)), [place[m] for m in members]).astype(float))
        least.append(low)
        most.append(high)

    for cell in HIDDEN_CELLS:  # the whole is known exactly, cell by cell
        whole = sum(four[cell] for four in levels.values())
        know([(f"area|{name}", cell) for name in levels], whole, whole)
    groups, rates = released.table("risk_groups"), released.table("risk_group_threshold")
    high = np.full(len(names), float(FAR))
    for name, four in levels.items():
        row = f"area|{name}"
        own = groups[groups["row"] == row].set_index("column")
        if math.isfinite(own.loc["discharges", "value"]):
            know([(row, c) for c in HIDDEN_CELLS], *rules.range_of(own.loc["discharges", "value"]))
        if math.isfinite(own.loc["auroc", "n_events"]):
            know([(row, "found"), (row, "missed")], *rules.range_of(own.loc["auroc", "n_events"]))
        for source in (rates, peek) if peek is not None else (rates,):
            tallies = source[source["row"] == row].set_index("column")["n_events"]
            for column, cells in (
                {"flagged_per_100": ("found", "alarms")} | {v: (k,) for k, v in HIDDEN_CELLS.items()}
            ).items():
                if math.isfinite(tallies[column]) and not rules.too_few(tallies[column]):
                    know([(row, c) for c in cells], *rules.range_of(rules.rounded(tallies[column])))
        for cell, n in four.items():
            if rules.too_few(n):  # the reasons tell which are few
                high[place[row, cell]] = rules.threshold - 1
    limits, found = LinearConstraint(np.array(matrix), least, most), {}
    for name, i in place.items():
        n = levels[name[0].removeprefix("area|")][name[1]]
        if rules.too_few(n):
            ends = []
            for sign in (1, -1):
                solved = milp(sign * np.eye(len(names))[i], constraints=limits, integrality=np.ones(len(names)),
                              bounds=Bounds(0, high))  # fmt: skip
                assert solved.status == 0, "the exact table must be among the feasible ones"
                ends.append(round(sign * solved.fun))
            found[name] = (n, *ends)
    return found


def narrowed(found: dict[tuple[str, str], tuple[int, int, int]], rules: Policy) -> list[tuple[str, str]]:
    return [name for name, (_, low, high) in found.items() if low > 1 or high < rules.threshold - 1]


@pytest.mark.parametrize("profile", ["strict", "opensafely", "mhsds_publication", "hes"])
def test_no_cell_of_a_level_is_known_more_closely_than_that_it_is_few(profile) -> None:
    rng, rules, tried = np.random.default_rng(20), policy(profile), 0
    for _ in range(4):
        levels = random_world(rng)
        found = ranges(let_out(world(levels), profile), levels, rules)
        assert narrowed(found, rules) == []
        tried += len(found)
    assert tried > 5


def test_numbers_of_rows_without_a_number_would_narrow_what_is_withheld() -> None:
    """Pointed at 30, of them 20 wrongly: nine were found, or six at the least."""
    levels = {"Ash": {"found": 9, "missed": 39, "alarms": 22, "spared": 266},
              "Birch": {"found": 6, "missed": 39, "alarms": 19, "spared": 226},
              "Cedar": {"found": 25, "missed": 80, "alarms": 45, "spared": 430}}  # fmt: skip
    tables = world(levels)
    out = let_out(tables)
    exact = Results.from_cells("risk_group_threshold", tables["risk_group_threshold"]).frame
    assert narrowed(ranges(out, levels, STRICT), STRICT) == []
    assert len(narrowed(ranges(out, levels, STRICT, peek=exact), STRICT)) > 1
    rows = out.table("risk_group_threshold")
    assert rows[rows["status"] != "shown"][["n_people", "n_events"]].isna().all().all()


def test_a_level_withheld_in_one_table_is_in_the_next() -> None:
    levels = {"Ash": {"found": 2, "missed": 4, "alarms": 3, "spared": 40},
              "Birch": {"found": 30, "missed": 30, "alarms": 30, "spared": 60},
              "Cedar": {"found": 30, "missed": 60, "alarms": 45, "spared": 430}}  # fmt: skip
    out = let_out(world(levels))
    for table in ("risk_groups", "risk_group_threshold", "risk_group_conflict"):
        rows = out.table(table)
        assert rows[rows["row"] == "area|Birch"]["value"].isna().all(), table
    assert out.table("risk_groups").query("row == 'area|Cedar'")["value"].notna().all()


def test_an_area_told_by_its_recalibration_hides_no_other() -> None:
    levels = {"Ash": {"found": 2, "missed": 4, "alarms": 3, "spared": 40},
              "Birch": {"found": 30, "missed": 30, "alarms": 30, "spared": 60},
              "Cedar": {"found": 30, "missed": 60, "alarms": 45, "spared": 430}}  # fmt: skip
    own = {"risk_recalibration": [stat("Birch|none", "auroc", 0.7, 105, 60)]}
    rows = let_out(world(levels, more=own)).table("risk_groups")
    assert rows[rows["row"] == "area|Cedar"]["value"].isna().all()


# ---- counts from numbers that are arithmetic on them -----------------------------------------------


def test_base_rates_of_one_class_are_released_alike() -> None:
    def out(n: int, events: int) -> Release:
        odds = events / (n - events)
        numbers = {"base_rate": events / n, "fpr_needed": 0.4 * odds, "others_needed": 0.8 * odds}
        cells = [stat("sex|male", column, value, 86, events) for column, value in numbers.items()]
        groups = [Cell("sex|male", "discharges", n, "count", n_people=86, n_events=events),
                  stat("sex|male", "auroc", 0.6, 86, events)]  # fmt: skip
        return let_out({"risk_groups": groups, "risk_group_conflict": cells})

    assert all(alike(out(138, 23), out(n, e), "risk_group_conflict") for n, e in ((138, 27), (140, 25), (142, 23)))
    assert not alike(out(138, 23), out(138, 30), "risk_group_conflict")
    exact = {e for n in range(138, 143) for e in range(23, 28) if round(e / n, 2) == 0.16}
    assert exact == {23}  # what two decimals of the exact share gave


def test_mean_risks_with_observed_over_expected_leave_the_events_open() -> None:
    n, people, ratio = 140, 86, 0.85

    def out(events: int, among_others: float) -> Release:
        cells = [stat("sex|male", "mean_risk_events", 0.2131, people, events),
                 stat("sex|male", "mean_risk_others", among_others, people, events)]  # fmt: skip
        groups = [Cell("sex|male", "discharges", n, "count", n_people=people, n_events=events),
                  stat("sex|male", "observed_expected", ratio, people, events)]  # fmt: skip
        return let_out({"risk_groups": groups, "risk_group_conflict": cells})

    others = {e: (e / ratio - e * 0.2131) / (n - e) for e in range(23, 28)}  # what each would need for this O/E
    assert max(others.values()) - min(others.values()) > 0.03  # two decimals would tell which it was
    for table in ("risk_groups", "risk_group_conflict"):
        assert all(alike(out(23, others[23]), out(e, risk), table) for e, risk in others.items() if e < 27), table


def test_gaps_between_shares_follow_from_the_shares() -> None:
    def out(found: int, alarms: int) -> Release:
        levels = {"Ash": {"found": found, "missed": 40, "alarms": alarms, "spared": 300},
                  "Birch": {"found": 50, "missed": 60, "alarms": 45, "spared": 430}}  # fmt: skip
        share = {name: four["found"] / (four["found"] + four["missed"]) for name, four in levels.items()}
        gap = [stat("area", "sensitivity", abs(share["Ash"] - share["Birch"]), 100, 40, half=0.05)]
        return let_out(world(levels, more={"risk_group_gap": gap}))

    same = [out(found, alarms) for found in (19, 20, 21) for alarms in (24, 26)]
    assert all(alike(same[0], other, "risk_group_gap") for other in same[1:])
    shares = same[0].table("risk_group_threshold").query("column == 'sensitivity'")["value"]
    gap = same[0].table("risk_group_gap")["value"].iloc[0]
    assert gap == pytest.approx(shares.max() - shares.min(), abs=0.006)


def test_sample_sizes_needed_are_those_of_the_rounded_share() -> None:
    def out(n: int, events: int) -> Release:
        share = events / n
        cells = []
        for parameters in (1, 6, 60):
            r2 = compute_r2_from_auroc(risk_protocol().risk_model.expected_auroc, prevalence=share)
            for c in compute_development_size(parameters=parameters, prevalence=share, r2=r2).criteria:
                cells.append(stat(f"90|model {parameters}|{c.name}", "needed", c.needed, 860, events))
        return let_out({"risk_sample": sample(n, events, part="development", people=860), "risk_size": cells})

    same = {(n, e): out(n, e) for n in (1308, 1312) for e in range(223, 228)}
    for true in same:
        fits = [pair for pair, other in same.items() if alike(same[true], other, "risk_size")]
        assert len({events for _, events in fits}) >= 3, true
    assert not alike(same[1308, 225], out(1308, 250), "risk_size")


def test_discharges_whose_risk_would_change_are_not_counted() -> None:
    cells = [stat("logistic", "share_beyond_0.05", n / 1309, 858, 226) for n in (45,)]
    shown = let_out({"risk_instability": cells}).table("risk_instability")["value"].iloc[0]
    fits = [k for k in range(100) if abs(k / 1309 - shown) <= 2.5 / 860]
    assert 45 in fits
    assert len(fits) >= 5
    assert [k for k in range(100) if float(f"{k / 1309:.3g}") == 0.0344] == [45]  # what three digits gave
    few = [replace(cells[0], value=3 / 1309)]
    assert let_out({"risk_instability": few}).table("risk_instability")["status"].tolist() == ["suppressed"]


def test_shares_of_all_people_do_not_give_all_people() -> None:
    cells = [stat(f"logistic|{s:g}", "auroc", 0.6, round(s * 870), round(s * 226)) for s in (0.25, 0.5, 0.75, 1.0)]
    exact = [n for n in range(868, 873) if [STRICT.rounded(round(s * n)) for s in (0.25, 0.5, 0.75)] == [220, 435, 650]]
    assert exact == [870]
    assert let_out({"risk_learning": cells}).table("risk_learning")[["n_people", "n_events"]].isna().all().all()


@pytest.mark.parametrize("behind", [1, 2, 3])
def test_draws_that_fail_do_not_tell_how_few_hold_a_level(behind) -> None:
    failed = round(200 * math.exp(-behind))
    cells = [Cell("90|logistic", "bootstrap_models_fitted", failed, "check", unit="failed", reason=f"{failed} of 200.")]
    row = let_out({"checks.risk": cells}).table("checks.risk").iloc[0]
    assert round(-math.log(failed / 200)) == behind
    assert math.isnan(row["value"])
    assert str(failed) not in row["reason"]
    assert row["unit"] == "failed"  # that some did is told


def test_values_that_few_have_do_not_follow_from_the_share_of_the_others() -> None:
    cells = [stat("left|False", "share", 1 - 6 / 1300, 800, 220), stat("left|False", "risk", 0.2, 800, 220)]
    rows = let_out({"risk_dependence": cells}).table("risk_dependence").set_index("column")
    assert rows.loc["share", "status"] == "suppressed"
    assert rows.loc["risk", "status"] == "shown"
    whole = [stat("left|False", "share", 0.9, 800, 220), stat("left|True", "share", 0.1, 800, 220)]
    assert (let_out({"risk_dependence": whole}).table("risk_dependence")["status"] == "shown").all()


def test_what_few_have_or_have_not_is_not_told() -> None:
    cells = [Cell("imd", part, share, "statistic", unit="share", n_people=800, n_events=790)
             for part, share in (("development", 1 - 4 / 800), ("validation", 0.5))]  # fmt: skip
    rows = let_out({"risk_missing": cells}).table("risk_missing").set_index("column")["status"]
    assert rows.to_dict() == {"development": "suppressed", "validation": "shown"}
    terms = [stat("left|True", "odds_ratio", 1.4, 855, 200), stat("age", "odds_ratio", 1.4, 858, 226)]
    tables = {"risk_sample": sample(1309, 226, part="development", people=858), "risk_terms": terms}
    rows = let_out(tables).table("risk_terms").set_index("row")["status"]
    assert rows.to_dict() == {"left|True": "suppressed", "age": "shown"}


def test_one_person_who_comes_back_often_is_no_sample() -> None:
    tables = {
        "risk_sample": sample(400, 24, people=250),
        "risk_performance": [stat("90|logistic", "auroc", 0.8, 250, 24)],
    }
    assert let_out(tables).table("risk_performance")["status"].tolist() == ["shown"]
    tables["risk_sample"][1] = replace(tables["risk_sample"][1], n_people=3)
    out = let_out(tables)
    assert out.table("risk_performance")["value"].isna().all()
    assert 25 not in set(out.results.frame["value"]) | set(out.table("risk_performance")["n_events"])


# ---- one person's risk -----------------------------------------------------------------------------


def curve(last: int, *, first: int = 16) -> dict[str, list[Cell]]:
    points = [stat(str(i + 1), column, factor * at / 200, 800, 220) for i, at in enumerate(range(first, last + 1, 3))
              for column, factor in (("predicted", 1), ("smooth", 0.9))]  # fmt: skip
    tenths = [Cell(str(i + 1), "predicted", 0.11 + 0.035 * i, "statistic", n_people=80, n_events=22) for i in range(10)]
    return {"calibration.logistic": tenths, "risk_curve.logistic": points}


def test_how_far_a_curve_reaches_is_not_told() -> None:
    """The first point of both lies in the same place; one goes on to a risk of 0.5 and one to 0.8."""
    one, other, third = let_out(curve(100)), let_out(curve(160)), let_out(curve(160, first=10))
    frames = [out.table("risk_curve.logistic") for out in (one, other, third)]
    assert len(frames[0]) > 10
    assert frames[0]["value"].notna().all()
    for frame in frames[1:]:
        pd.testing.assert_frame_equal(frames[0], frame)
    withheld = {entry["id"] for out in (one, other, third) for entry in out.manifest["suppressed"]}
    assert not any(name.startswith("risk_curve") for name in withheld)


def test_a_curve_within_a_small_level_ends_at_a_coarse_place() -> None:
    def out(first: int, people: int) -> pd.DataFrame:
        cells = [stat(f"sex|male|{i + 1}", c, at / 200, people, 20) for i, at in enumerate(range(first, 50, 2))
                 for c in ("predicted", "smooth")]  # fmt: skip
        return let_out({"risk_group_curve": cells}).table("risk_group_curve")

    pd.testing.assert_frame_equal(out(22, 55), out(26, 55))
    assert out(22, 55)["value"].min() == pytest.approx(0.15)
    assert out(22, 400)["value"].min() == pytest.approx(0.11)


def test_the_largest_distance_leaves_the_largest_risk_open() -> None:
    """Beyond the curve's end its log-odds go on in a straight line, so that the distance would give the risk."""

    def out(largest: float) -> Release:
        distance = largest - 1 / (1 + math.exp(-0.6 * math.log(largest / (1 - largest))))
        return let_out({"risk_performance": [stat("90|logistic", "emax", distance, 800, 220)]})

    assert alike(out(0.74), out(0.82), "risk_performance")
    assert not alike(out(0.6), out(0.82), "risk_performance")
