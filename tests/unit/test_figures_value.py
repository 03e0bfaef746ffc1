"""Figures of value and budgets: whatever is released, all is said, nothing overlaps, and bars are what they say."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from evalkit.report import figures_budget, figures_value
from evalkit.report.figures_style import NARROW_INCHES
from evalkit.report.value_facts import PERSISTENCE, tornado, variants
from tests.unit.test_figures_pathway import SCREEN, boxes
from tests.value_factory import COST, WORLDS, value_release

PLANE = {"x": "Days in one's own place or with family, more per person and quarter",
         "y": "Pounds more, per person and quarter", "unit": "day", "threshold_gbp": 150.0}  # fmt: skip
CURVE = {"unit": "day", "with_text": "With IPSA", "without_text": "Without IPSA"}
X = "Difference, pounds per person and quarter"
NAMES = {"original": "The old budget", "actual": "What was spent",
         "counterfactual": "What we think would have been spent without IPSA"}  # fmt: skip
SHOWN = tuple(w for w in WORLDS if w != "refused")
LONG = "Residential and nursing care, supported living with staff day and night, and floating support"


def hidden(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """The same with a share of its numbers withheld."""
    gone = np.random.default_rng(len(rows)).random(len(rows)) < share
    rows = rows.copy()
    rows.loc[gone, ["value", "lower", "upper"]] = math.nan
    rows.loc[gone, "status"] = "suppressed"
    return rows


def inputs(world: str) -> dict[str, tuple[object, pd.DataFrame, dict[str, object]]]:
    """Module, rows and options by the name of the figure."""
    found = value_release(world)
    plane, curve = found.table("cea_plane"), found.table("ceac")
    differences = variants(found)
    differences = differences[(differences["column"] == "difference") & (differences["group"] != "Price")]
    return {
        "plane": (figures_value, plane[plane["row"] == "days_at_home"], PLANE),
        "acceptability": (figures_value, curve[curve["row"].str.startswith("days_at_home|")], CURVE),
        "tornado": (figures_value, tornado(found), {"base": COST[world], "x": X}),
        "variants": (figures_value, differences, {"x": X}),
        "change": (figures_budget, found.table("cost_change"), {"groups": ["Lambeth", "Comparators"]}),
        "budget": (figures_budget, found.table("budget"), {"names": NAMES}),
        "impact": (figures_budget, found.table("budget_impact"), {"names": PERSISTENCE}),
    }  # fmt: skip


MADE = {world: inputs(world) for world in SHOWN}
DRAWN = {f"{name}, {world}": (name, *MADE[world][name]) for world in SHOWN for name in MADE[world]}
for _name, (_module, _rows, _options) in MADE["saving"].items():
    DRAWN[f"{_name}, partly withheld"] = (_name, _module, hidden(_rows, 0.4), _options)
    DRAWN[f"{_name}, all withheld"] = (_name, _module, hidden(_rows, 1.1), _options)
for _name in ("tornado", "variants", "change"):
    _module, _rows, _options = MADE["saving"][_name]
    DRAWN[f"{_name}, long names"] = (_name, _module, _rows.assign(label=LONG), _options)
every_figure = pytest.mark.parametrize("key", DRAWN)


def draw(key: str) -> Figure:
    name, module, rows, options = DRAWN[key]
    return getattr(module, f"plot_{name}")(rows, **options)


def say(key: str) -> str:
    name, module, rows, options = DRAWN[key]
    return getattr(module, f"describe_{name}")(rows, **options)


@every_figure
def test_no_text_overlaps_another_or_leaves_the_picture_on_a_telephone(key) -> None:
    figure = draw(key)
    figure.set_dpi(SCREEN / NARROW_INCHES)
    figure.draw_without_rendering()
    found = boxes(figure)
    assert found
    for i, (one, a) in enumerate(found):
        for other, b in found[i + 1 :]:
            across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
            assert min(across, down) < 1.5, f"{one!r} runs into {other!r}"
        assert a.x0 > -2, f"{one!r} leaves the picture"
        assert a.x1 < SCREEN + 2, f"{one!r} leaves the picture"
    assert figure.get_size_inches()[0] == NARROW_INCHES


@every_figure
def test_alt_text_is_whole_and_tells_nothing_withheld(key) -> None:
    alt = say(key)
    assert len(alt.split()) >= 8
    assert not re.search(r"\b(nan|inf)\b|−£0(?![.\d])|not available", alt)
    if "all withheld" in key and not key.startswith("plane"):
        assert "£" not in re.sub(r"At £\S+|A dotted line.*|As planned: −£[\d,]+", "", alt)


@pytest.mark.parametrize("world", SHOWN)
def test_ellipses_hold_the_share_that_they_say(world) -> None:
    _, rows, _ = MADE[world]["plane"]
    n = figures_value.plane_numbers(rows)
    cov = n["correlation"] * n["sd_cost"] * n["sd_effect"]
    matrix = [[n["sd_effect"] ** 2, cov], [cov, n["sd_cost"] ** 2]]
    draws = np.random.default_rng(1).multivariate_normal([n["mean_effect"], n["mean_cost"]], matrix, size=40_000)
    for share in (0.5, 0.95):
        edge = figures_value.ellipse(n, share)
        assert edge.mean(axis=0) == pytest.approx([n["mean_effect"], n["mean_cost"]], abs=0.02 * n["sd_cost"])
        far = _mahalanobis(edge, n, matrix)
        assert far == pytest.approx(far[0])  # every point is as far from the middle as the others
        inside = (_mahalanobis(draws, n, matrix) <= far[0]).mean()
        assert inside == pytest.approx(share, abs=0.01)  # 4 standard errors of 40,000 draws


def _mahalanobis(points: np.ndarray, n: dict[str, float], matrix: list[list[float]]) -> np.ndarray:
    away = points - [n["mean_effect"], n["mean_cost"]]
    return np.einsum("bi,ij,bj->b", away, np.linalg.inv(matrix), away)


@pytest.mark.parametrize(
    ("world", "most"),
    [("saving", "costs less, does better 100%"), ("dearer", "costs more, does better 99%"),
     ("cheaper_and_worse", "costs less, does worse 99%")],
)  # fmt: skip
def test_the_plane_says_where_most_draws_are(world, most) -> None:
    alt = say(f"plane, {world}")
    assert most in alt
    assert "£150 a day: below it the effect is worth its cost" in alt
    drawn = " ".join(" ".join(text for text, _ in boxes(draw(f"plane, {world}"))).split())
    for words in ("Costs more, does worse", "Costs less, does better", "£150 a day", "95% of draws inside"):
        assert words in drawn


def test_without_a_correlation_no_ellipse_is_drawn() -> None:
    rows = MADE["saving"]["plane"][1]
    rows = rows.assign(value=rows["value"].where(rows["column"] != "correlation"))
    lines = figures_value.plot_plane(rows, **PLANE).axes[0].lines
    assert max(len(line.get_xdata()) for line in lines) <= 2
    assert "Standard deviations" not in figures_value.describe_plane(rows, **PLANE)


def test_acceptability_of_both_ways_adds_up_and_the_frontier_is_the_better() -> None:
    figure = draw("acceptability, dearer")
    frontier, one, other = (line.get_ydata() for line in figure.axes[0].lines[:3])
    assert np.asarray(one) + np.asarray(other) == pytest.approx(100)
    table = figures_value.acceptability_table(MADE["dearer"]["acceptability"][1])
    better = np.where(table["eib"] >= 0, one, other)
    assert frontier == pytest.approx(better)
    assert "without IPSA 0%" in say("acceptability, saving")
    assert "The better way at every value shown: with IPSA" in say("acceptability, saving")
    assert table["threshold"].is_monotonic_increasing


def test_where_the_better_way_changes_is_said() -> None:
    module, rows, options = MADE["dearer"]["acceptability"]
    signs = rows.copy()
    at = signs["row"].str.rsplit("|", n=1).str[1].astype(float)
    turn = (signs["column"] == "eib") & (at >= 150)
    signs.loc[signs["column"] == "eib", "value"] = -5.0
    signs.loc[turn, "value"] = 5.0
    assert "From £150 on the better way is with IPSA" in module.describe_acceptability(signs, **options)


def test_bars_of_the_tornado_end_where_they_say_and_the_widest_is_on_top() -> None:
    table = figures_value.tornado_table(MADE["saving"]["tornado"][1])
    width = (table["high"] - table["low"]).abs()
    assert width.is_monotonic_decreasing
    figure = draw("tornado, saving")
    bars = [p for p in figure.axes[0].patches if isinstance(p, Rectangle)]
    ends = sorted(bar.get_x() + bar.get_width() for bar in bars)
    assert ends == pytest.approx(sorted(table[["low", "high"]].to_numpy().ravel()))
    assert {bar.get_x() for bar in bars} == {COST["saving"]}


def test_every_variant_is_said_under_its_heading() -> None:
    rows, alt = MADE["dearer"]["variants"][1], say("variants, dearer")
    assert [alt.index(f"{g}: ") for g in rows["group"].unique()] == sorted(
        alt.index(f"{g}: ") for g in rows["group"].unique()
    )
    for row in rows.itertuples():
        assert str(row.label) in alt
    assert "NHS £1,960 (£1,330 to £2,590)" in alt
    assert "2015/16" in alt


def test_stacks_are_as_long_as_their_parts_and_a_withheld_part_is_dotted() -> None:
    _, rows, options = MADE["saving"]["change"]
    table = figures_budget.change_table(rows)
    ax = figures_budget.plot_change(rows, **options).axes[0]
    lengths: dict[float, float] = {}
    for bar in ax.patches:
        lengths[bar.get_y()] = lengths.get(bar.get_y(), 0.0) + bar.get_width()
    totals = table[table["part"] == "total"].set_index("group").loc[["Lambeth", "Comparators"], ["before", "after"]]
    assert [lengths[y] for y in sorted(lengths)] == pytest.approx(totals.to_numpy().ravel(), rel=0.01)
    gone = rows["row"].eq("placements") & rows["column"].eq("Lambeth|after")
    rows = rows.assign(value=rows["value"].mask(gone))
    ax = figures_budget.plot_change(rows, **options).axes[0]
    dotted = [bar for bar in ax.patches if bar.get_linestyle() == ":"]
    assert [round(bar.get_width()) for bar in dotted] == pytest.approx([8520], abs=60)
    assert "Placements £9,210 to not released" in figures_budget.describe_change(rows, **options)


def test_after_less_before_is_use_and_price() -> None:
    table = figures_budget.change_table(MADE["none"]["change"][1])
    moved = table["after"] - table["before"]
    assert moved.to_numpy() == pytest.approx((table["volume"] + table["price"]).to_numpy(), abs=110)


@pytest.mark.parametrize("world", SHOWN)
def test_budget_bars_and_their_interval(world) -> None:
    _, rows, _ = MADE[world]["budget"]
    table = figures_budget.budget_table(rows)
    assert list(table["year"]) == ["2015", "2016", "2017"]
    saving = rows[(rows["row"] == "2016") & (rows["column"] == "estimated_saving")].iloc[0]
    year = table[table["year"] == "2016"].iloc[0]
    assert year["upper"] - year["actual"] == pytest.approx(saving["upper"])
    assert year["lower"] < year["counterfactual"] < year["upper"]
    bars = [p.get_width() for p in draw(f"budget, {world}").axes[0].patches if isinstance(p, Rectangle)]
    assert sorted(bars) == pytest.approx(sorted(table[["original", "actual", "counterfactual"]].to_numpy().ravel()))
    assert say(f"budget, {world}").count("(from £") == 3


def test_an_interval_of_its_own_goes_before_that_of_the_saving() -> None:
    rows = MADE["saving"]["budget"][1].copy()
    own = (rows["column"] == "counterfactual") & (rows["row"] == "2015")
    rows.loc[own, ["lower", "upper"]] = [11e6, 13e6]
    first = figures_budget.budget_table(rows).iloc[0]
    assert (first["lower"], first["upper"]) == (11e6, 13e6)


def test_refused_counterfactuals_leave_the_other_bars() -> None:
    rows = value_release("refused").table("budget")
    alt = figures_budget.describe_budget(rows, names=NAMES)
    assert alt.count("What we think would have been spent without IPSA not released") == 3
    assert "The old budget £14.2m" in alt
    drawn = [text for text, _ in boxes(figures_budget.plot_budget(rows, names=NAMES))]
    assert sum("not released" in text for text in drawn) == 3


def test_impact_lines_end_where_they_say() -> None:
    figure, table = draw("impact, saving"), figures_budget.impact_table(MADE["saving"]["impact"][1])
    last = table[table["year"] == 5].set_index("persistence")["cumulative"]
    ends = [line.get_ydata()[-1] for line in figure.axes[1].lines if len(line.get_xdata()) == 5]
    assert ends == pytest.approx(last.loc[["holds", "fades", "stops"]].tolist())
    assert "The effect holds: year 1 −£" in say("impact, saving")
    assert "below nought is money saved" in say("impact, saving")
