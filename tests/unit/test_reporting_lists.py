"""STROBE, RECORD, TARGET and GRIPP2 point only at what the academic report of this very release shows."""

from __future__ import annotations

import re
from functools import cache
from types import ModuleType

import pytest
from matplotlib.figure import Figure

from evalkit.core.protocol import load_protocol
from evalkit.core.result import Results
from evalkit.disclose import Release, load_release
from evalkit.disclose.release import _FROM_THE_GATE
from evalkit.report import (
    academic,
    academic_pathway,
    academic_value,
    display,
    figures,
    figures_budget,
    figures_value,
    gripp2,
    record_items,
    strobe,
    target,
)
from evalkit.report.checklist import NOT_REPORTED
from evalkit.review.record import Comment, Involvement, Review
from tests.report_factory import ROOT, make_release

IN_BRACKETS = re.compile(r"\(([a-z0-9, -]+)\)")
STROBE = ["1a", "1b", "2", "3", "4", "5", "6a", "6b", "7", "8", "9", "10", "11", "12a", "12b", "12c", "12d", "12e",
          "13a", "13b", "13c", "14a", "14b", "14c", "15", "16a", "16b", "16c", "17", "18", "19", "20", "21",
          "22"]  # fmt: skip
RECORD = ["1.1", "1.2", "1.3", "6.1", "6.2", "6.3", "7.1", "12.1", "12.2", "12.3", "13.1", "19.1", "22.1"]
LISTS: dict[str, ModuleType] = {"strobe": strobe, "record": record_items, "target": target}
SHOWN = ("show_title", "show_abstract", "show_background", "show_protocol", "show_methods", "show_participants",
         "show_balance", "show_results", "show_readmission", "show_rates", "show_designs", "show_limitations",
         "show_provenance")  # fmt: skip
DROPS = ((), ("effects", "table1", "trend.", "people_designs"), ("data_", "attrition", "designs.", "subgroups"),
         ("readmission_counts", "placebo_size.", "pathway.", "what_if"))  # fmt: skip


def build(name: str, found: Release):
    return getattr(LISTS[name], f"build_{name}")(found)


def shown_ids(found: Release, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every id that the academic report of a release shows, without drawing anything."""
    seen: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.append(metadata["evalkit"]["id"]))
    monkeypatch.setattr(display, "_png", lambda figure: b"")
    for module in (figures, figures_budget, figures_value):
        for plot in [name for name in vars(module) if name.startswith("plot_")]:
            monkeypatch.setattr(module, plot, lambda *rows, **options: Figure(figsize=(1, 1)))
    for name in SHOWN:
        getattr(academic, name)(found)
    for show in ("show_recurrence", "show_subgroups", "show_trial", "show_pathway", "show_people_designs"):
        getattr(academic_pathway, show)(found)
    academic_value.show_value(found)
    assert len(seen) == len(set(seen))
    return set(seen)


def pointed(name: str, found: Release) -> dict[str, set[str]]:
    table = build(name, found)
    return {
        item.split(". ")[0]: {i.strip() for ids in IN_BRACKETS.findall(where) for i in ids.split(",")}
        for item, where in zip(table["Item"], table["Where in this report"], strict=True)
    }


@cache
def real() -> Release:
    return load_release(ROOT / "reports" / "ipsa")


@cache
def without(drop: tuple[str, ...]) -> Release:
    """The committed release put through the gate again without some of its tables."""
    whole = real()
    frame = whole.results.frame
    kept = frame[[not str(t).startswith(drop) for t in frame["table"]]] if drop else frame
    return Release(Results(kept), whole.manifest_text, whole.protocol, made_by=_FROM_THE_GATE)


def test_the_items_are_all_there_in_order() -> None:
    assert [i.number for i in strobe.ITEMS] == STROBE
    assert len({re.sub(r"[a-z]", "", n) for n in STROBE}) == strobe.N_ITEMS == 22
    assert [i.number for i in record_items.ITEMS] == RECORD
    assert list(dict.fromkeys(re.sub(r"[a-z]", "", i.number) for i in target.ITEMS)) == [str(n) for n in range(1, 22)]
    assert [i.number for i in target.ITEMS if i.number.startswith(("6", "7"))] == [
        f"{n}{p}" for n in "67" for p in "abcdefgh"
    ]
    assert list(gripp2.ITEMS) == ["aim", "methods", "results", "discussion", "reflections"]


@pytest.mark.parametrize("drop", DROPS)
def test_every_pointer_leads_somewhere_whatever_is_left_out(drop, monkeypatch) -> None:
    found = without(drop)
    shown = shown_ids(found, monkeypatch)
    for name in LISTS:
        if name == "target" and target.why_not(found):
            continue
        for number, ids in pointed(name, found).items():
            assert ids <= shown, (name, number)


@pytest.mark.parametrize("world", ["benefit", "thin"])
def test_every_pointer_leads_somewhere_in_other_worlds(world, monkeypatch) -> None:
    found = make_release(world)
    shown = shown_ids(found, monkeypatch)
    for name in ("strobe", "record"):
        for number, ids in pointed(name, found).items():
            assert ids <= shown, (name, number)


@pytest.mark.parametrize(
    ("name", "number", "table", "block"),
    [("strobe", "13c", "attrition", "fig-flow"), ("strobe", "14a", "table1", "tab-one"),
     ("strobe", "16a", "effects", "tab-effects"), ("strobe", "12b", "subgroups", "text-subgroups"),
     ("strobe", "9", "placebo_size.", "tab-placebo-size"), ("strobe", "6b", "people_designs", "tab-people-designs"),
     ("strobe", "21", "what_if", "tab-value-what-if"), ("record", "13.1", "attrition", "fig-flow"),
     ("record", "12.2", "data_missing", "tab-missing"), ("target", "13", "pathway.days", "tab-pathway"),
     ("target", "12", "pathway.occupancy", "fig-occupancy")],
)  # fmt: skip
def test_what_is_left_out_of_the_release_leaves_the_list(name, number, table, block) -> None:
    assert block in pointed(name, real())[number]
    assert block not in pointed(name, without((table,)))[number]


def test_what_nobody_wrote_down_is_not_reported() -> None:
    blank = {
        name: [item.split(". ")[0] for item, where in zip(t["Item"], t["Where in this report"], strict=True)
               if where == NOT_REPORTED]
        for name in LISTS for t in [build(name, real())]
    }  # fmt: skip
    assert blank == {
        "strobe": ["10", "14c", "22"], "record": ["1.3", "6.2", "6.3", "12.1", "12.3"],
        "target": ["1a", "1b", "4", "10", "15", "17", "20", "21"],
    }  # fmt: skip


def test_target_applies_to_the_trial_of_people_alone(monkeypatch) -> None:
    seen: dict[str, str] = {}

    def keep(data, *, raw, metadata) -> None:
        seen[metadata["evalkit"]["id"]] = data["text/plain"]

    monkeypatch.setattr(display, "display", keep)
    target.show_target(without(("pathway.",)))
    assert list(seen) == ["text-no-target"]
    assert "no estimate" in seen["text-no-target"]
    areas = load_protocol(ROOT / "protocols" / "ipsa.toml").model_copy(update={"pathway": None})
    assert "no trial of people" in target.why_not(make_release("benefit", protocol=areas))
    assert not target.why_not(real())


def test_gripp2_says_what_was_written_and_nothing_else(monkeypatch) -> None:
    empty = gripp2.build_gripp2(Review())
    assert set(empty["What is recorded"]) == {gripp2.NOT_RECORDED}
    told = Involvement(gripp2={"aim": "To choose outcomes.", "methods": "  "}, people=3)
    comments = tuple(
        Comment(id=f"c{n}", report="peer", block="b", kind="unclear", text="t", reader=reader, status=status)
        for n, (reader, status) in enumerate([("peer", "changed"), ("carer", "open"), ("example", "declined")])
    )
    record = Review(comments=comments, involvement=told)
    table = gripp2.build_gripp2(record)
    assert list(table["What is recorded"]) == ["To choose outcomes.", *[gripp2.NOT_RECORDED] * 4]
    seen: dict[str, str] = {}
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.update(
        {metadata["evalkit"]["id"]: data["text/plain"]}))  # fmt: skip
    gripp2.show_gripp2(record)
    assert "3 people with lived experience took part" in seen["text-gripp2"]
    assert "Of 2 comments by readers 1 led to a change, 1 have no answer yet" in seen["text-gripp2"]


def test_wording_is_our_own_and_short() -> None:
    for name, module in LISTS.items():
        for item in module.ITEMS:
            assert len(item.asks.split()) <= 22, (name, item.number)
            assert not item.asks.endswith("."), (name, item.number)
