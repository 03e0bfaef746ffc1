"""Figures of designs, series and checks draw what their rows hold, and say it in their alt text."""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand
from evalkit.core.result import Cell, Estimate, Results, not_estimable
from evalkit.report import figures
from evalkit.report.display import DPI

ESTIMAND = Estimand("entry", "ATT", "people", Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1)), "rate_ratio")
QUARTERS = [f"{y}-{m:02d}" for y in range(2013, 2017) for m in (1, 4, 7, 10)]
START = dt.date(2015, 1, 1)
NAN = math.nan


def texts_of(figure: Figure) -> list[str]:
    figure.canvas.draw()
    return [t.get_text() for t in figure.findobj(lambda artist: hasattr(artist, "get_text")) if t.get_text()]


def said(figure: Figure) -> str:
    return " ".join(" ".join(texts_of(figure)).split())


def table(name: str, cells: list[Cell]) -> pd.DataFrame:
    return Results.from_cells(name, cells).table(name)


@pytest.fixture(scope="module")
def designs() -> pd.DataFrame:
    gate = 'errors="cluster", cluster_by="unit": a cluster-robust error is far too small. Got 1 treated cluster.'
    found = [
        Estimate(ESTIMAND, "a", "sensitivity", 0.58, 0.31, 1.30, 0.97, label="Synthetic control, permutation interval"),
        Estimate(ESTIMAND, "b", "sensitivity", 0.71, NAN, NAN, NAN, label="Interrupted time series"),
        Estimate(ESTIMAND, "c", "sensitivity", 0.66, 0.40, math.inf, 0.95, label="Wild bootstrap"),
        not_estimable(ESTIMAND, "d", role="sensitivity", reason=gate, label="Two-way fixed effects"),
        Estimate(ESTIMAND, "e", "primary", 0.61, 0.42, 0.87, 0.97, label="Poisson difference-in-differences"),
    ]
    return Results.from_estimates(found, table="designs.entry").table("designs.entry")


def test_the_primary_design_stands_first_and_each_says_what_it_found(designs) -> None:
    figure = figures.plot_designs(designs)
    words = said(figure)
    order = [words.index(name) for name in ("Primary", "Synthetic control", "Interrupted time series", "Two-way fixed")]
    assert order == sorted(order)
    for number in ("0.61 (0.42 to 0.87)", "0.58 (0.31 to 1.30)", "0.71, no honest interval", "0.40 or more"):
        assert number in words
    assert "a cluster-robust error is far too small" in words
    assert "cluster_by" not in words
    assert "95.0% level" in words  # the one that differs from the rest


def test_no_text_of_the_forest_runs_into_another(designs) -> None:
    figure = figures.plot_designs(designs)
    figure.set_dpi(DPI)
    figure.draw_without_rendering()
    (ax,) = figure.axes
    boxes = [t.get_window_extent() for t in ax.texts if t.get_text().strip()]
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            down = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert min(across, down) < 3


def test_alt_text_of_designs_has_every_number_and_reason(designs) -> None:
    alt = figures.describe_designs(designs)
    assert "5 designs" in alt
    assert "4 of them with a number" in alt
    assert "0.58 (0.31 to 1.30)" in alt
    assert "far too small" in alt
    assert "nan" not in alt.lower().replace("nance", "")


@pytest.fixture(scope="module")
def gaps() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    cells = []
    for place, quarter in enumerate(QUARTERS):
        cells.append(Cell(quarter, "Lambeth", -3.0 if place >= 8 else 0.1, "statistic"))
        cells += [Cell(quarter, f"Area {k}", float(rng.normal(0, 0.5)), "statistic") for k in range(5)]
    return table("gap.entry", cells)


def test_gap_draws_every_area_and_names_the_treated(gaps) -> None:
    figure = figures.plot_gap(gaps, treated=["Lambeth"], adoption=START)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == len(QUARTERS)]
    assert len(lines) == 6
    assert "Lambeth" in said(figure)
    assert "5 other areas" in said(figure)
    assert "1" in figures.describe_gap(gaps, treated=["Lambeth"], adoption=START)


def test_a_withheld_period_is_said(gaps) -> None:
    held = gaps.copy()
    hit = (held["row"] == QUARTERS[9]) & (held["column"] == "Lambeth")
    held.loc[hit, ["value", "status"]] = [NAN, "suppressed"]
    assert "not released" in said(figures.plot_gap(held, treated=["Lambeth"], adoption=START))
    assert "not released" in figures.describe_gap(held, treated=["Lambeth"], adoption=START)


def series(**columns) -> pd.DataFrame:
    cells = [Cell(q, name, float(v[i]), "statistic") for i, q in enumerate(QUARTERS) for name, v in columns.items()]
    return table("its.entry", cells)


def test_synthetic_path_ends_are_told() -> None:
    seen, expected = np.linspace(10, 4, 16), np.linspace(10, 8, 16)
    rows = series(observed=seen, expected=expected)
    assert "seen" in said(figures.plot_synthetic(rows, adoption=START))
    alt = figures.describe_synthetic(rows, adoption=START)
    assert "4" in alt
    assert "8" in alt


def test_interrupted_series_draws_its_band() -> None:
    level = np.full(16, 9.0)
    cells = [Cell(q, "observed", 8.0 + i % 3, "statistic") for i, q in enumerate(QUARTERS)]
    cells += [Cell(q, "fitted", v, "statistic") for q, v in zip(QUARTERS, level, strict=True)]
    for i, q in enumerate(QUARTERS):
        ends = {"lower": 7.0, "upper": 13.0} if i >= 8 else {}
        cells.append(Cell(q, "counterfactual", 10.0, "statistic", **ends))
    rows = table("its.entry", cells)
    figure = figures.plot_its(rows, adoption=START)
    (band,) = [c for c in figure.axes[0].collections if c.get_paths() and len(c.get_paths()[0].vertices) > 8][:1]
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(7)
    assert heights.max() == pytest.approx(13)
    assert "expected without it" in said(figure)
    assert "10" in figures.describe_its(rows, adoption=START)


def test_control_chart_tells_kinds_apart_by_shape_and_words() -> None:
    value = np.r_[np.tile([10.0, 11.0], 4), np.full(8, 5.0)]
    flag = np.r_[np.zeros(8), np.ones(8)]
    cells = []
    for i, q in enumerate(QUARTERS):
        for name, number in (("value", value[i]), ("mean", 10.5), ("lower", 8.0), ("upper", 13.0)):
            cells.append(Cell(q, name, number, "statistic"))
        cells.append(Cell(q, "flag", flag[i], "statistic", label="improvement" if flag[i] else "common cause"))
    rows = table("xmr.entry", cells)
    figure = figures.plot_xmr(rows, adoption=START)
    markers = {line.get_marker() for line in figure.axes[0].lines} - {"None", None, ""}
    assert len(markers) >= 2
    assert "improvement" in said(figure)
    assert "improvement" in figures.describe_xmr(rows, adoption=START)


def test_a_control_chart_with_no_flagged_period_says_so() -> None:
    cells = []
    for quarter in QUARTERS:
        for name, number in (("value", 10.0), ("mean", 10.5), ("lower", 8.0), ("upper", 13.0), ("flag", 0.0)):
            cells.append(Cell(quarter, name, number, "statistic", label="common cause" if name == "flag" else ""))
    told = figures.describe_xmr(table("xmr.entry", cells), adoption=START)
    assert "0 points of improvement" in told
    assert "0 points of concern" in told


def test_weights_below_a_hundredth_are_left_out_and_counted() -> None:
    cells = [
        Cell(a, "synthetic_control", w, "statistic") for a, w in (("Brent", 0.6), ("Ealing", 0.4), ("Barnet", 0.004))
    ]
    rows = table("weights.entry", cells)
    words = said(figures.plot_weights(rows))
    assert "Brent" in words
    assert "0.60" in words
    assert "Barnet" not in words
    assert "1 other area" in words
    assert "Ealing" in figures.describe_weights(rows)


def honest(breakdown: float) -> pd.DataFrame:
    shared = {"kind": "statistic", "unit": "ratio"}
    column = "relative_magnitude"
    cells = [Cell("original", column, 0.6, lower=0.5, upper=0.72, **shared)]
    cells += [Cell(f"{m:g}", column, NAN, lower=0.5 - m / 5, upper=0.8 + m / 2, **shared) for m in (0, 0.5, 1)]
    cells.append(Cell("breakdown", column, breakdown, "statistic", unit="M"))
    return table("honest.entry", cells)


@pytest.mark.parametrize(
    ("breakdown", "words"),
    [
        (0.4, "From M = 0.4"),
        (0.0, "even if the trends were exactly parallel"),
        (math.inf, "stays ruled out up to M = 1"),
    ],
)
def test_bounds_say_where_they_break_down(breakdown, words) -> None:
    assert words in said(figures.plot_sensitivity_curve(honest(breakdown)))
    alt = figures.describe_sensitivity_curve(honest(breakdown))
    assert words in alt
    assert "M = 0.5: 0.40 to 1.05" in alt


def test_an_area_without_which_the_answer_changes_is_marked() -> None:
    cells = [Cell("none", "effect", 0.7, "statistic", unit="ratio", lower=0.5, upper=0.95)]
    cells += [
        Cell(a, "effect", 0.7, "statistic", unit="ratio", lower=0.5, upper=u)
        for a, u in (("Brent", 0.94), ("Ealing", 1.2))
    ]
    rows = table("drop_one.entry", cells)
    assert "the answer changes" in said(figures.plot_drop_one(rows))
    assert "The answer changes without Ealing" in figures.describe_drop_one(rows)
    assert "No area alone" in figures.describe_drop_one(rows[rows["row"] != "Ealing"])


def test_displacement_sets_days_apart_from_events() -> None:
    shared = {"kind": "statistic", "column": "change"}
    cells = [
        Cell("entry", value=-9.0, lower=-17.0, upper=-3.0, unit="entries a year", label="Entry", **shared),
        Cell("acute", value=60.0, lower=-20.0, upper=140.0, unit="days a year", label="Acute days", **shared),
    ]
    rows = table("displacement.entry", cells)
    figure = figures.plot_displacement(rows)
    assert len(figure.axes) == 2
    assert "9.0 fewer entries a year (3.0 to 17 fewer)" in said(figure)
    assert "60 more days a year (20 fewer to 140 more)" in figures.describe_displacement(rows)


def test_false_dates_without_intervals_are_drawn_as_points() -> None:
    cells = [Cell(q, "effect", 1.0 + i / 20, "statistic", unit="ratio") for i, q in enumerate(QUARTERS[:4])]
    rows = table("placebo_time.entry", cells)
    figures.plot_placebo_time(rows).canvas.draw()
    assert "2013-04: 1.05" in figures.describe_placebo_time(rows)
