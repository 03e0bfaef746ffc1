"""TRIPOD+AI points only at what the academic report of this very release shows, and claims nothing else."""

from __future__ import annotations

import re
from functools import cache

import pytest

from evalkit.core.result import Results
from evalkit.disclose import Release, policy, release
from evalkit.report import academic, display, tripod
from evalkit.report.checklist import NOT_REPORTED
from evalkit.report.model_card import render_model_card
from tests.report_factory import PROVENANCE, make_release
from tests.risk_factory import World, every_table, risk_protocol, risk_release, risk_results

IN_BRACKETS = re.compile(r"\(([a-z0-9, -]+)\)")
SHOWN = ("show_title", "show_background", "show_protocol", "show_methods", "show_participants", "show_risk",
         "show_checks", "show_limitations", "show_provenance")  # fmt: skip
TABLES = every_table()
NUMBERS = ["1", "2", "3a", "3b", "3c", "4", "5a", "5b", "6a", "6b", "6c", "7", "8a", "8b", "8c", "9a", "9b", "9c", "10",
           "11", "12a", "12b", "12c", "12d", "12e", "12f", "12g", "13", "14", "15", "16", "17", "18a", "18b", "18c",
           "18d", "18e", "18f", "19", "20a", "20b", "20c", "21", "22", "23a", "23b", "24", "25", "26", "27a", "27b",
           "27c"]  # fmt: skip


@cache
def made(world: World = "good", drop: tuple[str, ...] = ()) -> Release:
    return risk_release(world, drop=drop)


def shown_ids(found: Release, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every id that the academic report of a release shows."""
    seen: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.append(metadata["evalkit"]["id"]))
    monkeypatch.setattr(display, "_png", lambda figure: b"")
    for name in SHOWN:
        getattr(academic, name)(found)
    tripod.show_tripod(found)
    assert len(seen) == len(set(seen))
    return set(seen)


def pointed(found: Release) -> dict[str, set[str]]:
    """Ids that each item points at."""
    table = tripod.build_tripod(found)
    return {
        item.split(".")[0]: {i.strip() for ids in IN_BRACKETS.findall(where) for i in ids.split(",")}
        for item, where in zip(table["Item"], table["Where in this report"], strict=True)
    }


def test_there_are_27_items_in_52_parts() -> None:
    assert [item.number for item in tripod.ITEMS] == NUMBERS
    assert len(NUMBERS) == 52
    assert len({re.sub(r"[a-z]", "", n) for n in NUMBERS}) == tripod.N_ITEMS


@pytest.mark.parametrize("world", ["good", "refused"])
def test_every_pointer_leads_somewhere(world, monkeypatch) -> None:
    found = made(world)
    shown = shown_ids(found, monkeypatch)
    for number, ids in pointed(found).items():
        assert ids <= shown, number


def test_every_pointer_leads_somewhere_whatever_is_left_out(monkeypatch) -> None:
    for drop in (TABLES, ("risk_group", "calibration", "risk_size", "risk_threshold", "risk_instability_curve")):
        found = made("good", drop)
        shown = shown_ids(found, monkeypatch)
        assert set.union(*pointed(found).values()) <= shown, drop


def test_every_pointer_leads_somewhere_in_a_whole_report(monkeypatch) -> None:
    protocol = risk_protocol()
    base = make_release("benefit", drop=("risk_", "calibration.", "checks.risk"), protocol=protocol)
    frame = Results.concat([Results(base.results.frame), risk_results("good", protocol=protocol)])
    found = release(frame, policy=policy("strict"), protocol=protocol, provenance=PROVENANCE)
    ids = pointed(found)
    assert set.union(*ids.values()) <= shown_ids(found, monkeypatch)
    assert "fig-flow" in ids["20a"]
    assert "tab-one" in ids["20b"]


@pytest.mark.parametrize(
    ("table", "number"),
    [("risk_size", "10"), ("risk_missing", "11"), ("risk_imputed", "11"), ("risk_time", "12e"),
     ("risk_optimism", "12c"), ("risk_places", "12d"),
     ("risk_net_benefit", "12e"), ("risk_recalibration", "12f"), ("risk_groups", "14"), ("risk_threshold", "15"),
     ("risk_sample", "21"), ("risk_terms", "22"), ("risk_performance", "23a"), ("risk_places", "23b"),
     ("risk_drift", "24"), ("risk_instability", "26"), ("checks.risk", "7")],
)  # fmt: skip
def test_what_is_left_out_of_the_release_leaves_the_list(table, number) -> None:
    assert pointed(made())[number] - pointed(made("good", (table,)))[number]


def test_what_nobody_wrote_down_is_said_to_be_blank() -> None:
    table = tripod.build_tripod(made()).set_index("Item")
    missing = table.index[table["Where in this report"] == NOT_REPORTED]
    blank = ["1", "2", "3c", "6c", "8b", "8c", "9c", "17", "18a", "18b", "18d", "18e", "19", "27c"]
    assert [m.split(".")[0] for m in missing] == blank
    assert (table.loc[missing, "What is missing"] == "").all()


def test_refusals_are_not_results() -> None:
    ids = pointed(made("refused"))
    assert ids["23a"] == ids["24"] == ids["14"] == ids["22"] == set()
    assert ids["10"] == {"tab-risk-size", "tab-risk-size-validation"}


def test_the_model_card_is_pointed_at_by_sections_that_it_has() -> None:
    for world, number, there in (("good", "27a", True), ("refused", "27a", False), ("refused", "27b", True)):
        where = tripod.build_tripod(made(world)).set_index("Item")["Where in this report"]
        text = next(w for item, w in where.items() if item.startswith(f"{number}."))
        assert ("model_card.md" in text) is there
        card = render_model_card(made(world))
        for name in text.partition("report: ")[2].split(", ") if there else []:
            assert f"## {name}\n" in card


def test_imputation_and_competing_death_have_their_items() -> None:
    ids = pointed(made())
    assert "tab-risk-imputed" in ids["11"]
    assert "tab-risk-time" in ids["12e"] & ids["23a"]
    assert "tab-risk-decision-competing" in ids["12e"]


def test_a_title_that_says_so_is_found() -> None:
    protocol = risk_protocol()
    study = protocol.study.model_copy(update={"title": "Predicting readmission"})
    named = protocol.model_copy(update={"study": study})
    assert pointed(risk_release("refused", protocol=named))["1"] == {"document"}


def test_without_a_model_the_list_does_not_apply(monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.append(metadata["evalkit"]["id"]))
    tripod.show_tripod(make_release("none", drop=TABLES, protocol=risk_protocol(risk=False)))
    assert seen == ["text-no-tripod"]
