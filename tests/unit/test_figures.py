"""Figures are drawn in every world, and their alt text is made from their numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from evalkit.core.errors import ParameterError
from evalkit.disclose import Release
from evalkit.report import display, facts, figures
from evalkit.report.figures_style import period_date, start_place, withheld_text
from tests.report_factory import World, make_release

WORLDS: tuple[World, ...] = ("benefit", "none", "harm", "thin")


@pytest.fixture(scope="module")
def releases() -> dict[str, Release]:
    return {world: make_release(world) for world in WORLDS}


def texts_of(figure: Figure) -> list[str]:
    figure.canvas.draw()
    return [t.get_text() for t in figure.findobj(lambda artist: hasattr(artist, "get_text")) if t.get_text()]


@pytest.mark.parametrize("world", WORLDS)
def test_trend_marks_its_start_and_what_is_withheld(releases, world) -> None:
    release = releases[world]
    rows, _ = facts.trend(release, release.protocol.outcome("rehab_admission"))
    options = {
        "groups": figures.trend_groups(rows),
        "y_label": "Admissions",
        "adoption": release.protocol.dates.adoption,
    }
    said = " ".join(texts_of(figures.plot_trend(rows, start_text="IPSA starts", **options)))
    assert "IPSA starts" in said
    withheld = (rows[rows["kind"] == "rate"]["status"] == "suppressed").any()
    assert ("not released" in said) is bool(withheld)
    alt = figures.describe_trend(rows, **options)
    assert "Lambeth" in alt
    assert "nan" not in alt


def test_alt_text_changes_with_the_numbers(releases) -> None:
    alts = {w: figures.describe_forest(facts.effects(r), labels={}) for w, r in releases.items()}
    assert len(set(alts.values())) == len(WORLDS)
    assert "0.61 (0.42 to 0.87)" in alts["benefit"]
    assert "1.65" in alts["harm"]
    assert all("not evidence of effect" in alt for alt in alts.values())


@pytest.mark.parametrize("world", WORLDS)
def test_forest_names_naive_estimates(releases, world) -> None:
    rows = facts.effects(releases[world])
    figure = figures.plot_forest(rows, labels={})
    figure.canvas.draw()
    ticks = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    said = " ".join(ticks).replace("\n", " ")
    assert said.count("not evidence of effect") == (rows["role"] == "naive").sum()
    assert "not estimable" in texts_of(figure)


@pytest.mark.parametrize("world", WORLDS)
def test_every_other_figure_is_drawn(releases, world) -> None:
    release = releases[world]
    curve, flow, balance = (release.table(t) for t in ("readmission_curve", "attrition", "balance"))
    cost = release.table("cost_trend")
    groups = ["Lambeth", "Comparators"]
    drawn = [
        (figures.plot_curve(curve, groups=groups), figures.describe_curve(curve, groups=groups)),
        (figures.plot_flow(flow), figures.describe_flow(flow)),
        (figures.plot_balance(balance), figures.describe_balance(balance)),
        (figures.plot_cost_trend(cost, groups=groups), figures.describe_cost_trend(cost, groups=groups)),
    ]
    for name in ("event_study.rehab_admission",):
        rows = release.table(name)
        drawn.append((figures.plot_event_study(rows), figures.describe_event_study(rows)))
    for figure, alt in drawn:
        figure.canvas.draw()
        assert len(alt.split()) > 8
        assert not re.search(r"\bnan\b", alt)


def test_placebo_ranks_the_treated_area(releases) -> None:
    rows = releases["benefit"].table("placebo.rehab_admission")
    alt = figures.describe_placebo(rows, treated=("Lambeth",))
    values = rows[rows["column"] == "studentised"].set_index("row")["value"].abs().sort_values(ascending=False)
    assert f"number {list(values.index).index('Lambeth') + 1} of {len(values)}" in alt


def markers(figure: Figure, panel: int, kind: str) -> int:
    return sum(len(line.get_xdata()) for line in figure.axes[panel].lines if line.get_marker() == kind)


def test_icons_count_what_they_say() -> None:
    options = {"without": (0.2, 0.15, 0.26), "seen": 0.14, "happened": "went back", "not_happened": "did not",
               "titles": ("Without", "With")}  # fmt: skip
    figure = figures.plot_risk_icons(**options)
    filled = [
        line for line in figure.axes[1].lines if line.get_marker() == "o" and line.get_markerfacecolor() != "white"
    ]
    assert sum(len(line.get_xdata()) for line in filled) == 14
    assert markers(figure, 0, "D") == 20 - 15  # our best answer
    assert markers(figure, 0, "^") == 26 - 20  # the top of the range
    alt = figures.describe_risk_icons(**options)
    assert "about 20" in alt
    assert "15 to 26" in alt
    ratio = {"ratio": (0.6, 0.4, 0.8), "unit": "entries", "titles": ("Expected", "Seen")}
    rows = figures.plot_ratio_icons(**ratio)
    assert markers(rows, 0, "D") == 6 - 4
    assert markers(rows, 0, "^") == 8 - 6
    assert markers(rows, 0, "o") == 10 + 4
    assert "could be 4 to 8" in figures.describe_ratio_icons(**ratio)


def test_the_flow_chart_keeps_what_is_withheld(releases) -> None:
    rows = releases["benefit"].table("attrition")
    assert (rows["status"] == "suppressed").any()
    said = " ".join(texts_of(figures.plot_flow(rows)))
    assert "fewer than 10" in said or "not released" in said
    assert "nan" not in said


def test_only_a_small_number_is_called_small() -> None:
    assert withheld_text("fewer than 10", threshold=10) == "fewer than 10"
    assert withheld_text("withheld so that another number cannot be worked out from it", threshold=10) == "not released"


@pytest.mark.parametrize(
    ("label", "date"), [("2012-04", "2012-04-01"), ("2012/13", "2012-04-01"), ("2000", "2000-01-01"), ("soon", None)]
)
def test_periods_of_every_form_have_a_date(label, date) -> None:
    found = period_date(label)
    assert (found is None) if date is None else (found == np.datetime64(date))


def test_the_start_lies_between_two_periods() -> None:
    assert start_place(["2014/15", "2015/16"], np.datetime64("2015-04-01")) == 0.5
    assert start_place(["2014/15", "2015/16"], None) is None


def test_a_figure_needs_a_name_a_caption_and_alt_text() -> None:
    with pytest.raises(ParameterError, match="alt"):
        display.show_figure(Figure(), id="fig-x", caption="A caption", alt=" ")
    with pytest.raises(ParameterError, match="id"):
        display.show_table(facts.pd.DataFrame({"a": ["b"]}), id="Fig 1", caption="A caption")
