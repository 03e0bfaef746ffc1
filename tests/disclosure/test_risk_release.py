"""What is released of risk models is attacked: counts from shares, single people's risks from curves, levels by others.

The onlooker holds the release and the code. The strongest attack on a share is answered by showing two samples that
differ by people and are released alike: nothing that the onlooker could do would tell them apart.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from evalkit.core.errors import DisclosureError
from evalkit.core.result import Cell, Results
from evalkit.disclose import Release, policy, release
from evalkit.disclose.risk import GRID, coarsen_risk
from evalkit.disclose.risk_cells import Cells, gather_cells
from tests.report_factory import PROVENANCE
from tests.risk_factory import (
    DEVELOPED,
    DISCHARGES,
    EVENTS,
    HORIZON,
    PEOPLE,
    calibration,
    every_table,
    refused,
    risk_protocol,
    risk_release,
    risk_results,
    stat,
    threshold_cells,
)

STRICT = policy("strict")
PROTOCOL = risk_protocol()
AT = 0.2
ODDS = AT / (1 - AT)


def let_out(tables: dict[str, list[Cell]]) -> Release:
    parts = [Results.from_cells(name, cells) for name, cells in tables.items()]
    frame = Results.concat(parts).stamped(notebook="x", protocol=PROTOCOL.digest, data="0" * 64)
    return release(frame, policy=STRICT, protocol=PROTOCOL, provenance=PROVENANCE)


def of_threshold(pointed: int, found: int, *, total: int = DISCHARGES, events: int = EVENTS) -> Release:
    """One threshold with the net benefit there, and the sample that both are of."""
    every = events / total - ODDS * (total - events) / total
    value = found / total - ODDS * (pointed - found) / total
    sample = [Cell(f"{HORIZON}|validation", c, n, "count") for c, n in (("discharges", total), ("readmitted", events))]
    return let_out({
        "risk_sample": sample,
        "risk_threshold": threshold_cells(f"risk|{AT}", pointed, found, events=events, total=total),
        "risk_net_benefit": [
            stat(f"logistic|{AT}", "net_benefit", value, 0.012, events=events),
            stat(f"logistic|{AT}", "avoided_per_100", 100 * (value - every) / ODDS, 5.0, events=events),
            stat(f"all|{AT}", "net_benefit", every, 0.012, events=events),
        ],
    })  # fmt: skip


def values(found: Release, table: str) -> dict[str, float]:
    rows = found.table(table)
    return dict(zip(rows["row"] + "/" + rows["column"], rows["value"], strict=True))


# ---- counts from shares ----------------------------------------------------------------------------


def test_exact_shares_would_give_every_count_back() -> None:
    shares = {c.column: float(f"{c.value:.4g}") for c in threshold_cells("risk|0.2", 663, 184)}
    fits = [
        (total, pointed, found) for total in range(DISCHARGES - 2, DISCHARGES + 3)
        for pointed in range(640, 680) for found in range(170, 200)
        if math.isclose(100 * pointed / total, shares["flagged_per_100"], abs_tol=0.005)
        and math.isclose(100 * found / pointed, shares["came_back_of_100_flagged"], abs_tol=0.005)
    ]  # fmt: skip
    assert {found for _, _, found in fits} == {184}


@pytest.mark.parametrize("change", [(1, 0), (0, 1), (-1, -1), (1, 1)])
def test_samples_that_differ_by_a_person_are_released_alike(change) -> None:
    pointed, found = 665, 185
    one, other = of_threshold(pointed, found), of_threshold(pointed + change[0], found + change[1])
    for table in ("risk_threshold", "risk_net_benefit"):
        assert values(one, table) == pytest.approx(values(other, table), nan_ok=True)
    # Three more are in the next class, so that the comparison can fail.
    assert values(one, "risk_threshold") != pytest.approx(values(of_threshold(668, found), "risk_threshold"))


def test_ends_of_intervals_lie_whole_steps_from_the_value() -> None:
    rows = of_threshold(663, 185).table("risk_threshold").set_index("column")
    unit = 100 * STRICT.base / STRICT.rounded(663)
    row = rows.loc["came_back_of_100_flagged"]
    for end in ("lower", "upper"):
        assert abs(row[end] - row["value"]) / unit == pytest.approx(
            round(abs(row[end] - row["value"]) / unit), abs=0.15
        )


def test_every_share_follows_from_rounded_counts() -> None:
    rows = of_threshold(663, 184).table("risk_threshold").set_index("column")["value"]
    near = Cells(1895, 330, 665, 185)
    assert rows["flagged_per_100"] == pytest.approx(100 * near.flagged / near.total, abs=0.05)
    assert rows["came_back_of_100_flagged"] == pytest.approx(100 * near.found / near.flagged, abs=0.05)
    assert rows["found_of_100"] == pytest.approx(100 * near.found / near.events, abs=0.05)
    benefit = values(of_threshold(663, 184), "risk_net_benefit")
    exact = (near.found - ODDS * near["alarms"]) / near.total
    assert benefit[f"logistic|{AT}/net_benefit"] == pytest.approx(exact, abs=6e-5)


@pytest.mark.parametrize(
    ("pointed", "found"),
    [(13, 4), (185, 180), (1885, 326), (1400, EVENTS - 5), (9, 5)],
    ids=["few found", "few false alarms", "few spared", "few missed", "few pointed at"],
)  # fmt: skip
def test_a_small_cell_takes_its_threshold_and_its_net_benefit_with_it(pointed, found) -> None:
    out = of_threshold(pointed, found)
    assert (out.table("risk_threshold")["status"] == "suppressed").all()
    benefit = out.table("risk_net_benefit").set_index(["row", "column"])["status"]
    assert benefit[(f"logistic|{AT}", "net_benefit")] == "suppressed"
    assert benefit[(f"all|{AT}", "net_benefit")] == "shown"


def test_acting_for_all_does_not_tell_how_many_came_back() -> None:
    told = set()
    for events in range(328, 333):  # all are shown as 330
        shown = values(of_threshold(663, 185, events=events), "risk_net_benefit")[f"all|{AT}/net_benefit"]
        told.add(shown)
    assert len(told) == 1


def test_shares_whose_cells_cannot_be_rebuilt_are_not_released() -> None:
    cells = [c for c in threshold_cells("risk|0.2", 663, 184) if c.column != "came_back_of_100_flagged"]
    cells.append(refused("risk|0.2", "came_back_of_100_flagged"))
    out = let_out({"risk_threshold": cells}).table("risk_threshold")
    assert set(out["status"]) == {"suppressed", "not_estimable"}
    assert out["value"].isna().all()


def test_brier_with_its_scaled_form_leaves_the_share_that_came_back_open() -> None:
    total, events = 500, 50
    risk = events / total
    brier = 0.94 * risk * (1 - risk)
    cells = [stat("90|logistic", "brier", brier, people=total, events=events),
             stat("90|logistic", "scaled_brier", 0.06, people=total, events=events)]  # fmt: skip
    shown = values(let_out({"risk_performance": cells}), "risk_performance")
    half = 0.005  # half a step of 5 in 500
    fits = [n for n in range(1, total // 2)
            if abs((1 - shown["90|logistic/scaled_brier"]) * n / total * (1 - n / total)
                   - shown["90|logistic/brier"]) <= half]  # fmt: skip
    assert events in fits
    assert len(fits) >= STRICT.base
    exact = [n for n in range(1, total // 2) if abs(0.94 * n / total * (1 - n / total) - round(brier, 4)) <= 5e-5]
    assert exact == [events]


def test_sample_sizes_are_coarse() -> None:
    rows = risk_release("good").table("risk_size")
    rows = rows[rows["column"].isin(["needed", "have"])]
    for row in rows.itertuples():
        assert row.value % (STRICT.base if row.column == "have" else 10) == 0
    assert DEVELOPED[0] not in set(rows["value"])


# ---- single people's risks -------------------------------------------------------------------------


def test_curves_end_within_the_tenths() -> None:
    found = risk_release("good")
    means = found.table("calibration.logistic").query("column == 'predicted'")["value"]
    curve = found.table("risk_curve.logistic").query("column == 'predicted'")["value"]
    before = calibration("logistic", "good")["risk_curve.logistic"]
    assert 1 < len(curve) < sum(c.column == "predicted" for c in before)
    assert curve.min() >= means.min() - 0.005
    assert curve.max() <= means.max() + 0.005


@pytest.mark.parametrize("away", [0.0, 0.0013])
def test_a_curve_whose_points_follow_the_risks_is_not_released(away) -> None:
    tables = calibration("logistic", "good")
    moved = [Cell(**{**vars(c), "value": c.value + away}) if c.column == "predicted" else c
             for c in tables["risk_curve.logistic"]]  # fmt: skip
    shown = let_out(tables | {"risk_curve.logistic": moved}).table("risk_curve.logistic")["value"].notna().any()
    assert shown == (away == 0.0)
    assert all(abs(GRID * c.value - round(GRID * c.value)) < 1e-6 for c in tables["risk_curve.logistic"]
               if c.column == "predicted")  # fmt: skip


def test_without_tenths_there_is_no_curve() -> None:
    tables = calibration("logistic", "good")
    out = let_out({"risk_curve.logistic": tables["risk_curve.logistic"]}).table("risk_curve.logistic")
    assert out["value"].isna().all()


def test_bins_of_few_people_are_withheld() -> None:
    rows = risk_release("good").table("risk_instability_curve")
    assert set(rows[rows["row"] == "0.950"]["status"]) == {"suppressed"}
    assert set(rows[rows["row"] == "0.850"]["status"]) == {"shown"}


def test_a_value_that_few_people_have_is_refused_and_not_told() -> None:
    cells = [stat("age|93", "risk", 0.3), stat("age|93", "share", 4 / PEOPLE)]
    with pytest.raises(DisclosureError) as caught:
        let_out({"risk_dependence": cells})
    assert "age" in str(caught.value)
    assert "93" not in str(caught.value)


def test_few_missing_values_are_not_counted() -> None:
    cells = [stat("imd", part, n / 500, people=500, events=math.nan) for part, n in
             (("development", 6), ("validation", 42))]  # fmt: skip
    rows = let_out({"risk_missing": cells}).table("risk_missing").set_index("column")
    assert rows.loc["development", "status"] == "suppressed"
    assert rows.loc["validation", "value"] == pytest.approx(0.08)


# ---- levels ----------------------------------------------------------------------------------------


def levels(sizes: dict[str, int], *, table: str = "risk_groups") -> dict[str, list[Cell]]:
    cells = []
    for name, n in sizes.items():
        counts = {"people": n, "events": n // 3}
        cells += [stat(f"sex|{name}", m, v, 0.05, **counts) for m, v in (("auroc", 0.7), ("observed_expected", 1.1))]
        cells.append(Cell(f"sex|{name}", "discharges", 2 * n, "count", n_people=n))
    gap = [stat("sex", "auroc", 0.04), stat("sex", "sensitivity", 0.1234)]
    return {table: cells, "risk_group_gap": gap}


def test_one_small_level_takes_a_second_and_the_gap_with_it() -> None:
    out = let_out(levels({"female": 240, "male": 310, "other": 7}))
    status = out.table("risk_groups").groupby("row")["status"].agg(set)
    assert status["sex|other"] == status["sex|female"] == {"suppressed"}
    assert status["sex|male"] == {"shown"}
    gaps = out.table("risk_group_gap").set_index("column")
    assert gaps.loc["auroc", "status"] == "suppressed"
    assert out.table("risk_groups").query("row == 'sex|female'")[["n_people", "n_events"]].isna().all().all()


def test_a_refused_level_takes_a_second_with_it_too() -> None:
    tables = levels({"female": 240, "male": 310})
    why = {"n_people": 22.0, "n_events": 4.0, "status": "not_estimable", "reason": "Fewer than 10 events."}
    tables["risk_groups"] += [Cell("sex|other", m, math.nan, "statistic", **why) for m in ("auroc", "brier")]
    status = let_out(tables).table("risk_groups").groupby("row")["status"].agg(set)
    assert status["sex|female"] == {"suppressed"}
    assert status["sex|male"] == {"shown"}


def test_levels_that_are_all_large_stay_and_gaps_in_shares_are_coarse() -> None:
    out = let_out(levels({"female": 240, "male": 310}))
    assert (out.table("risk_groups")["status"] == "shown").all()
    assert values(out, "risk_group_gap")["sex/sensitivity"] == pytest.approx(0.1)


def test_what_equal_rates_would_need_tells_no_share_exactly() -> None:
    rows = risk_release("good").table("risk_group_conflict").query("column == 'base_rate' and status == 'shown'")
    assert len(rows)
    for row in rows.itertuples():
        assert row.value * 100 == pytest.approx(round(row.value * 100), abs=1e-6)


# ---- everything ------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["good", "unfair"])
def test_no_exact_count_stands_in_any_table(world) -> None:
    exact = {float(DISCHARGES), float(EVENTS), *map(float, DEVELOPED), float(PEOPLE)}
    frame = risk_release(world).results.frame
    for column in ("value", "lower", "upper", "n_people", "n_events"):
        assert not exact & set(frame[column])


def test_cells_are_rebuilt_exactly() -> None:
    frame = risk_results("good").frame
    cells = gather_cells(frame)
    for (table, row), found in cells.items():
        whole = [found.total, found.events, found.flagged, found.found]
        assert np.allclose(whole, np.round(whole), atol=1e-6), (table, row)
    assert cells["risk_group_threshold", "sex|female"].total == round(DISCHARGES * 0.46)


def test_what_is_withheld_has_no_number_anywhere() -> None:
    frame = risk_release("unfair").results.frame
    gone = frame[frame["status"] == "suppressed"]
    assert len(gone)
    assert gone[["value", "se", "lower", "upper", "p_value"]].isna().all().all()


def test_results_without_risk_tables_pass_untouched() -> None:
    empty = pd.DataFrame(columns=risk_results("good").frame.columns).assign(value=pd.Series(dtype=float))
    assert coarsen_risk(Results(empty).frame, STRICT) == {}


def test_the_sample_has_every_table_that_has_a_rule() -> None:
    named = ("risk_threshold", "risk_group_threshold", "risk_net_benefit", "risk_net_benefit_competing", "risk_groups",
             "risk_group_gap", "risk_group_equality", "risk_group_conflict", "risk_group_curve", "risk_missing",
             "risk_places", "risk_drift", "risk_instability_curve", "risk_size", "risk_dependence")  # fmt: skip
    assert set(named) <= set(every_table())
