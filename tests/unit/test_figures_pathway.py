"""Figures of places, moves, differences and admissions: whatever is released, all is said and nothing overlaps."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.text import Text

from evalkit.core.pathway import PLACE_LABELS
from evalkit.report import figures
from evalkit.report.figures_pathway import moves_table, places_table
from evalkit.report.figures_style import NARROW_INCHES

NAN = math.nan
SIDES = {"with_text": "With IPSA", "without_text": "Without IPSA"}
LONG = "In their own place with visiting support from somebody of the service at least twice a week"
CELLS = {"treated after": "Lambeth, after", "treated before": "Lambeth, before",
         "comparison after": "Comparators, after", "comparison before": "Comparators, before"}  # fmt: skip
SCREEN = 320


def rows_of(records: list[dict[str, object]]) -> pd.DataFrame:
    blank = {"kind": "statistic", "role": "", "value": NAN, "lower": NAN, "upper": NAN, "unit": "", "label": "",
             "status": "shown", "n_people": 230.0}  # fmt: skip
    frame = pd.DataFrame([blank | r for r in records])
    frame.loc[frame["value"].isna() & (frame["status"] == "shown"), "status"] = "suppressed"
    return frame


def places(n: int, *, hide: float = 0.0, harm: float = 0.0, long: bool = False, days: int = 5) -> pd.DataFrame:
    """`n` places on each day; `hide` the share of numbers withheld; `harm` moves people into the first place."""
    rng = np.random.default_rng(n + days)
    records = []
    for day in range(0, 91 * days, 91):
        base = rng.dirichlet(np.full(n, 3.0)) * 100
        moved = base * (1 - harm) + 100 * harm * (np.arange(n) == 0)
        gone = rng.random(n) < hide
        for k in range(n):
            label = f"{LONG}, number {k}" if long else f"Place {k}"
            for side, share in (("with", moved[k]), ("without", base[k])):
                records.append({"row": f"day {day}", "column": f"p{k} {side}", "label": label,
                                "value": NAN if gone[k] else round(share, 1)})  # fmt: skip
        records.append({"row": "day 0", "column": "everybody", "value": 230.0, "kind": "count"} if day == 0 else
                       {"row": f"day {day}", "column": "p0 people", "value": 100.0, "kind": "count"})  # fmt: skip
    return rows_of(records)


def moves(*, groups: tuple[str, ...] = ("Lambeth", "Comparators"), hide: float = 0.0, stay: float = 0.6,
          hide_started: tuple[str, ...] = ()) -> pd.DataFrame:  # fmt: skip
    rng = np.random.default_rng(len(groups))
    records, keys = [], list(PLACE_LABELS)
    for who in groups:
        for at, start in enumerate(keys):
            begun = int(rng.integers(40, 150)) // 5 * 5
            share = np.full(len(keys), (1 - stay) / (len(keys) - 1))
            share[at] = stay
            count = np.round(begun * share / 5) * 5
            gone = start in hide_started
            records.append({"row": f"{who}|{start}", "column": "started", "kind": "count",
                            "value": NAN if gone else begun})  # fmt: skip
            for k, end in enumerate(keys):
                lost = gone or (k != at and rng.random() < hide) or hide >= 1
                records.append({"row": f"{who}|{start}", "column": f"{end} people", "kind": "count",
                                "value": NAN if lost else count[k]})  # fmt: skip
    return rows_of(records)


def differences(values: list[tuple[float, float, float]], *, unit: str = "days per person",
                long: bool = False) -> pd.DataFrame:  # fmt: skip
    records = [
        {"row": f"s{k}", "column": "sensitivity.x", "kind": "estimate", "role": "sensitivity", "value": v, "lower": low,
         "upper": high, "unit": unit, "label": f"{LONG} {k}" if long else f"State {k}",
         "status": ("shown", "not_estimable", "suppressed")[0 if math.isfinite(v) else 1 + k % 2]}
        for k, (v, low, high) in enumerate(values)
    ]  # fmt: skip
    naive = {"row": "s0", "column": "naive.x", "kind": "estimate", "role": "naive", "value": 77.7, "unit": unit}
    return rows_of([*records, naive])


def mean_counts(*, hide: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    records = []
    for c, cell in enumerate(CELLS):
        for day in range(30, 361, 30):
            value = 0.0014 * day * (1 + 0.2 * c)
            gone = rng.random() < hide
            records.append({"row": f"{cell}|{day}", "column": "mean_count", "unit": "admissions per person",
                            "value": NAN if gone else value, "lower": NAN if gone else value * 0.7,
                            "upper": NAN if gone else value * 1.3})  # fmt: skip
    return rows_of(records)


SOME = [(-5.1, -13.8, 3.6), (NAN, NAN, NAN), (14.2, 7.8, 20.6), (NAN, NAN, NAN), (0.6, -19.2, 20.5)]
HARM = [(25.0, 12.0, 38.0), (18.0, 4.0, 32.0)]
NOTHING = [(NAN, NAN, NAN)] * 4
DRAWN: dict[str, tuple[str, pd.DataFrame, dict[str, object]]] = {
    "places, all shown": ("places", places(5), SIDES),
    "places, partly withheld": ("places", places(6, hide=0.4), SIDES),
    "places, all withheld": ("places", places(4, hide=2.0), SIDES),
    "places, one": ("places", places(1), SIDES),
    "places, twelve": ("places", places(12), SIDES),
    "places, long names": ("places", places(5, long=True), SIDES),
    "places, harm": ("places", places(4, harm=0.4), SIDES),
    "places, one day": ("places", places(3, days=1), SIDES),
    "moves, all shown": ("moves", moves(), {"labels": PLACE_LABELS}),
    "moves, partly withheld": ("moves", moves(hide=0.5), {"labels": PLACE_LABELS}),
    "moves, a start withheld": ("moves", moves(hide_started=("ward", "elsewhere")), {"labels": PLACE_LABELS}),
    "moves, all withheld": ("moves", moves(hide=1.0), {"labels": PLACE_LABELS}),
    "moves, one group": ("moves", moves(groups=("Lambeth",)), {"labels": PLACE_LABELS}),
    "moves, nobody moves": ("moves", moves(stay=1.0), {"labels": PLACE_LABELS}),
    "moves, long names": ("moves", moves(), {"labels": {k: f"{v}: {LONG}" for k, v in PLACE_LABELS.items()}}),
    "differences, some": ("differences", differences(SOME), {"x": "Days: with the service, less without it"}),
    "differences, harm": ("differences", differences(HARM), {"x": "Days"}),
    "differences, none shown": ("differences", differences(NOTHING), {"x": "Days"}),
    "differences, one": ("differences", differences(SOME[:1]), {"x": "Days"}),
    "differences, twelve long": ("differences", differences(SOME * 3, long=True)[:13], {"x": "Days"}),
    "admissions, all shown": ("mean_count", mean_counts(), {"cells": CELLS, "y": "Admissions per person"}),
    "admissions, partly": ("mean_count", mean_counts(hide=0.5), {"cells": CELLS, "y": "Admissions per person"}),
    "admissions, none": ("mean_count", mean_counts(hide=2.0), {"cells": CELLS, "y": "Admissions per person"}),
}  # fmt: skip
every_figure = pytest.mark.parametrize("name", DRAWN)


def draw(name: str) -> Figure:
    kind, rows, options = DRAWN[name]
    return getattr(figures, f"plot_{kind}")(rows, **options)


def say(name: str) -> str:
    kind, rows, options = DRAWN[name]
    return getattr(figures, f"describe_{kind}")(rows, **options)


def boxes(figure: Figure) -> list[tuple[str, object]]:
    """Every text that is drawn, with its box in pixels; legends and ticks too."""
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    for ax in figure.axes:
        hidden = set()
        if not ax.axison:
            hidden |= {*ax.get_xticklabels(), *ax.get_yticklabels()}
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low - 1e-9 <= tick.get_loc() <= high + 1e-9:
                    hidden |= {tick.label1, tick.label2}
        texts = [t for t in texts if t not in hidden]
    return [(t.get_text(), t.get_window_extent()) for t in dict.fromkeys(texts)]


@every_figure
def test_no_text_overlaps_another_or_leaves_the_picture_on_a_telephone(name) -> None:
    figure = draw(name)
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


@every_figure
def test_alt_text_is_whole_and_tells_nothing_withheld(name) -> None:
    alt = say(name)
    assert len(alt.split()) >= 6
    assert not re.search(r"\b(nan|inf)\b|-0\b", alt)


def shown_numbers(rows: pd.DataFrame) -> list[str]:
    return [f"{v:.0f}" for v in rows["value"].dropna()]


@pytest.mark.parametrize("name", [n for n in DRAWN if n.startswith("places")])
def test_every_share_of_every_day_is_said(name) -> None:
    table, alt = places_table(DRAWN[name][1]), say(name)
    told = [float(x) for x in re.findall(r" (\d+)(?=[,.])", alt)]
    expected = table[["with", "without"]].to_numpy(dtype=float)
    assert len(told) >= np.isfinite(expected).sum()
    assert alt.count("not released") == np.isnan(expected).sum()
    for value in expected[np.isfinite(expected)]:
        assert float(f"{value:.0f}") in told


def bar_widths(figure: Figure) -> dict[float, float]:
    """Width of all pieces of each bar, by its height."""
    found: dict[float, float] = {}
    for patch in figure.axes[0].patches:
        if isinstance(patch, Rectangle):
            at = round(patch.get_y(), 3)
            found[at] = found.get(at, 0.0) + patch.get_width()
    return found


@pytest.mark.parametrize("name", [n for n in DRAWN if n.startswith("places")])
def test_every_bar_is_a_hundred_people(name) -> None:
    widths = bar_widths(draw(name))
    assert len(widths) == 2 * DRAWN[name][1].query("column == 'p0 with'")["row"].nunique()
    assert all(w == pytest.approx(100, abs=0.6) for w in widths.values())


def test_rounding_beyond_a_hundred_stays_in_the_bar_and_keeps_its_numbers() -> None:
    rows = rows_of([{"row": "day 0", "column": f"p{k} {side}", "label": f"Place {k}", "value": v}
                    for k, v in enumerate((56.5, 47.8)) for side in ("with", "without")])  # fmt: skip
    figure = figures.plot_places(rows, **SIDES)
    assert all(w == pytest.approx(100) for w in bar_widths(figure).values())
    said = [t.get_text() for t in figure.axes[0].texts]
    assert said.count("56") == 2  # as it was released, and not its share of what is drawn
    assert said.count("48") == 2


def test_less_than_nobody_is_nobody() -> None:
    rows = rows_of([{"row": "day 0", "column": f"p0 {side}", "label": "Place", "value": v}
                    for side, v in (("with", 4.0), ("without", -2.2))])  # fmt: skip
    assert places_table(rows)["without"].tolist() == [0.0]
    assert "without IPSA. Place 0." in figures.describe_places(rows, **SIDES)


@pytest.mark.parametrize("name", [n for n in DRAWN if n.startswith("moves")])
def test_bands_are_as_wide_as_the_moves_and_all_who_begin_end_somewhere(name) -> None:
    _, rows, options = DRAWN[name]
    table = moves_table(rows)
    figure = draw(name)
    assert len(figure.axes) == table["who"].nunique()
    for ax, (_, own) in zip(figure.axes, table.groupby("who", sort=False), strict=True):
        bands = [p.get_path().vertices for p in ax.patches if isinstance(p, PathPatch)]
        width = sum(v[8, 1] - v[0, 1] if len(v) == 9 and v[8, 1] != v[0, 1] else v[7, 1] - v[8, 1] for v in bands)
        begun = own.drop_duplicates("start")["started"].sum()
        assert width == pytest.approx(begun, abs=0.5)
    alt = say(name)
    for move in table[table["share"].notna()].itertuples():
        place = options["labels"][move.target]
        assert f", then {place[:1].lower()}{place[1:]}: {move.share:.0f}" in alt


def test_a_move_withheld_of_one_group_is_told_of_neither() -> None:
    rows = moves()
    hit = (rows["row"] == "Lambeth|ward") & (rows["column"] == "care_home people")
    rows.loc[hit, ["value", "status"]] = [NAN, "suppressed"]
    alt = figures.describe_moves(rows, labels=PLACE_LABELS)
    assert "On a ward, then in a care home" not in alt
    assert "On a ward, then on a ward" in alt


@pytest.mark.parametrize("name", [n for n in DRAWN if n.startswith("differences")])
def test_every_difference_is_said_with_its_range_and_no_naive_one(name) -> None:
    rows, alt = DRAWN[name][1], say(name)
    drawn = " ".join(" ".join(t for t, _ in boxes(draw(name))).split())
    assert "77.7" not in alt + drawn
    for row in rows[rows["role"] != "naive"].itertuples():
        if math.isfinite(row.value):
            assert f"({row.lower:.3g}".replace("-", "−")[:4] in alt
        else:
            words = "not released" if row.status == "suppressed" else "too few to tell"
            assert f"{row.label}: {words}" in alt
            assert words in drawn


def test_the_last_mean_of_every_line_is_said_and_a_hidden_line_named() -> None:
    alt = say("admissions, all shown")
    assert [f"{w}: 0." in alt for w in CELLS.values()] == [True] * 4
    assert say("admissions, none").count("not released") == 4


def test_twelve_places_have_twelve_looks() -> None:
    figure = draw("places, twelve")
    handles = figure.legends[0].legend_handles
    assert len({(h.get_facecolor(), h.get_hatch()) for h in handles}) == 12


def test_nothing_of_the_moves_is_cut_off_at_the_foot() -> None:
    for name in ("moves, all withheld", "moves, partly withheld", "moves, all shown"):
        for ax in draw(name).axes:
            low, high = sorted(ax.get_ylim())
            for patch in ax.patches:
                if isinstance(patch, Rectangle):
                    assert low <= patch.get_y() <= patch.get_y() + patch.get_height() <= high + 1e-9
