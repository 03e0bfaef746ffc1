"""Figures of risk models: whatever is released, all is said, nothing overlaps, and shapes say what colours say."""

from __future__ import annotations

import math
import re
from functools import cache

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from evalkit.disclose import Release
from evalkit.report import academic_risk, figures_risk, figures_risk_more, figures_risk_panels, risk_group_tables
from evalkit.report.figures_style import NARROW_INCHES
from tests.risk_factory import MODELS, World, risk_release
from tests.unit.test_figures_pathway import SCREEN, boxes

LONG = "Residential and nursing care, supported living with staff day and night, and floating support"
WORLDS: tuple[World, ...] = ("good", "unfair", "too_high")
ICONS = {"useful": {"right": (0.31, 0.24, 0.39), "found": (0.38, 0.32, 0.44)},
         "no range": {"right": (0.31, math.nan, math.nan), "found": (0.38, math.nan, math.nan)},
         "nobody": {"right": (0.0, 0.0, 0.02), "found": (0.0, 0.0, 0.01)}}  # fmt: skip


@cache
def made(world: World) -> Release:
    return risk_release(world)


def hidden(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """The same with a share of its numbers withheld."""
    gone = np.random.default_rng(len(rows)).random(len(rows)) < share
    rows = rows.copy()
    rows.loc[gone, ["value", "lower", "upper"]] = math.nan
    rows.loc[gone, "status"] = "suppressed"
    return rows


def inputs(world: World) -> dict[str, tuple[object, tuple[pd.DataFrame, ...], dict[str, object]]]:
    """Module, rows and options by the name of the figure."""
    table = made(world).table
    return {
        "calibration_curve": (figures_risk, (table("risk_curve.logistic"), table("calibration.logistic")), {}),
        "decision_curve": (figures_risk, (table("risk_net_benefit"),),
                           {"models": {m: MODELS[m] for m in ("logistic", "prior_admissions", "competing_risk")}}),
        "learning": (figures_risk_more, (table("risk_learning"),), {}),
        "drift": (figures_risk_more, (table("risk_drift"),), {}),
        "instability": (figures_risk_more, (table("risk_instability_curve"),), {}),
        "importance": (figures_risk_more, (table("risk_importance"),), {}),
    }  # fmt: skip


DRAWN = [(world, name, share) for world in WORLDS for name in inputs("good")
         for share in ((0.0,) if world != "good" else (0.0, 0.4, 1.1))]  # fmt: skip
every_figure = pytest.mark.parametrize(("world", "name", "share"), DRAWN)


def both(world: World, name: str, share: float) -> tuple[Figure, str]:
    module, rows, options = inputs(world)[name]
    rows = tuple(hidden(r, share) for r in rows) if share else rows
    return getattr(module, f"plot_{name}")(*rows, **options), getattr(module, f"describe_{name}")(*rows, **options)


def check_layout(figure: Figure) -> None:
    """No text overlaps another or leaves the picture on a telephone."""
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


def check_alt(alt: str) -> None:
    assert len(alt.split()) >= 8
    assert not re.search(r"\b(nan|inf)\b|not available", alt)


@every_figure
def test_figures_are_drawn_and_told_whole(world, name, share) -> None:
    figure, alt = both(world, name, share)
    check_layout(figure)
    check_alt(alt)
    if share > 1:
        assert any(words in alt for words in (figures_risk.NOTHING, figures_risk.NO_NUMBER, "not released"))
        assert not re.search(r"0\.\d\d", alt)


@pytest.mark.parametrize("name", ICONS)
def test_icons_say_what_they_show(name) -> None:
    ends = ICONS[name]
    figure, alt = figures_risk.plot_threshold_icons(**ends), figures_risk.describe_threshold_icons(**ends)
    check_layout(figure)
    check_alt(alt)
    assert f"about {round(100 * ends['right'][0])} came back" in alt
    assert f"it found about {round(100 * ends['found'][0])}" in alt
    assert ("could be" in alt) is (name != "no range")
    for ax, low in zip(figure.axes, (ends["right"][1], ends["found"][1]), strict=False):
        solid, best, top, empty = (len(line.get_xdata()) for line in ax.lines)
        assert solid + best + top + empty == 100  # circles, diamonds, triangles and rings: not colours alone
        assert [line.get_marker() for line in ax.lines] == ["o", "D", "^", "o"]
        if math.isfinite(low):
            assert solid == round(100 * low)


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("measure", ["auroc", "observed_expected"])
def test_forests_of_groups_name_every_level(measure, long) -> None:
    lines = academic_risk.group_lines(made("unfair"), measure)
    if long:
        lines = [figures_risk.Line(line.family, LONG, line.ends) for line in lines]
    options = {"x": "Measure within groups", "whole": 0.68, "null": 1.0 if measure != "auroc" else None}
    figure = figures_risk.plot_forest_of(lines, **options)
    check_layout(figure)
    alt = figures_risk.describe_forest_of(lines, **options)
    check_alt(alt)
    assert all(line.name in alt for line in lines)
    assert "the value in everybody" in alt
    texts = " ".join(t for t, _ in boxes(figure))
    assert "Ethnic group" in texts
    assert long or "Black" in texts


def test_a_forest_of_places_marks_the_pooled_and_a_further_area() -> None:
    lines = academic_risk._place_lines(made("good"))
    assert [line.look for line in lines] == [0, 0, 0, 1, 2]
    figure = figures_risk.plot_forest_of(lines, x="AUROC")
    check_layout(figure)
    markers = [line.get_marker() for line in figure.axes[0].lines if line.get_marker() != "None"]
    assert {"o", "D"} <= set(markers)
    assert "A further area" in figures_risk.describe_forest_of(lines, x="AUROC")


def test_the_alt_text_of_a_curve_follows_its_band() -> None:
    said = {w: both(w, "calibration_curve", 0.0)[1] for w in WORLDS}
    assert "holds the line of perfect prediction everywhere" in said["good"]
    assert "fewer came back than predicted" in said["too_high"]
    assert "more came back" not in said["too_high"]


def test_a_curve_without_tenths_and_tenths_without_a_curve_are_drawn() -> None:
    table = made("good").table
    curve, tenths = table("risk_curve.logistic"), table("calibration.logistic")
    for rows in ((curve, tenths.iloc[:0]), (curve.iloc[:0], tenths)):
        check_layout(figures_risk.plot_calibration_curve(*rows))
        check_alt(figures_risk.describe_calibration_curve(*rows))


def test_the_decision_curve_tells_models_apart_without_colour() -> None:
    figure, alt = both("good", "decision_curve", 0.0)
    drawn = [(line.get_linestyle(), line.get_marker()) for line in figure.axes[0].lines[:3]]
    assert len({marker for _, marker in drawn}) == 3
    assert "everybody" in alt
    assert alt.count("not released") == 2  # at 0.05, of the two models that are as good as each other


def test_alt_text_of_paths_tells_both_ends_and_what_is_hidden() -> None:
    rows = made("good").table("risk_drift")
    alt = figures_risk_more.describe_drift(rows)
    assert "in 2015" in alt
    assert "in 2017" in alt
    rows = rows.assign(value=rows["value"].mask(rows["row"] == "2016"))
    assert "1 not released" in figures_risk_more.describe_drift(rows)
    assert "with 4,010 discharges" in figures_risk_more.describe_learning(made("good").table("risk_learning"))


def test_small_changes_do_not_fill_the_picture() -> None:
    panels = academic_risk.dependence_panels(made("good"))
    assert figures_risk_panels.plot_dependence_panels(panels).axes[0].get_ylim()[0] == 0
    learning = made("good").table("risk_learning")
    flat = learning.assign(value=learning["value"].mask(learning["column"] == "auroc", 0.59), lower=math.nan,
                           upper=math.nan)  # fmt: skip
    low, high = figures_risk_more.plot_learning(flat).axes[0].get_ylim()
    assert high - low >= 0.1 - 1e-9


def panels_of(kind: str, world: World, share: float) -> list[tuple[str, pd.DataFrame]]:
    found = {"curve": risk_group_tables.curves_of, "dependence": academic_risk.dependence_panels}[kind](made(world))
    return [(name, hidden(rows, share) if share else rows) for name, rows in found]


@pytest.mark.parametrize("kind", ["curve", "dependence"])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.1])
def test_panels_are_drawn_and_told_whole(kind, share) -> None:
    panels = panels_of(kind, "unfair", share)
    check_layout(getattr(figures_risk_panels, f"plot_{kind}_panels")(panels))
    alt = getattr(figures_risk_panels, f"describe_{kind}_panels")(panels)
    check_alt(alt)
    if not share:
        assert all(name in alt for name, _ in panels)


@pytest.mark.parametrize("kind", ["curve", "dependence"])
@pytest.mark.parametrize("many", [0, 1, 4, 22])
def test_panels_bear_long_names_and_any_number_of_them(kind, many) -> None:
    one = panels_of(kind, "good", 0.0)[0][1]
    panels = [(LONG, one)] * many
    check_layout(getattr(figures_risk_panels, f"plot_{kind}_panels")(panels))
    check_alt(getattr(figures_risk_panels, f"describe_{kind}_panels")(panels))


def test_every_released_level_has_its_panel() -> None:
    names = [name for name, _ in panels_of("curve", "good", 0.0)]
    assert {"Sex: female", "Ethnic group: Black"} <= set(names)
    figure = figures_risk_panels.plot_curve_panels(panels_of("curve", "good", 0.0))
    assert sum(bool(ax.lines) for ax in figure.axes) == len(names)
