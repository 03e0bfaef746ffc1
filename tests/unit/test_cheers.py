"""CHEERS 2022 points only at what the academic report of this very release shows, and claims nothing else."""

from __future__ import annotations

import re

import pytest

from evalkit.core.result import Results
from evalkit.disclose import Release, policy, release
from evalkit.report import academic, academic_pathway, academic_value, cheers, display
from evalkit.report.checklist import NOT_REPORTED
from tests.report_factory import PROVENANCE, make_release
from tests.value_factory import value_parts, value_protocol, value_release

IN_BRACKETS = re.compile(r"\(([a-z0-9, -]+)\)")
BEFORE_AND_AFTER = (
    "show_title", "show_abstract", "show_background", "show_protocol", "show_methods", "show_participants",
    "show_limitations", "show_provenance",
)  # fmt: skip
VALUE_TABLES = ("price_list", "budget", "cost_variants", "tornado", "ceac", "cea_plane", "what_if", "effects",
                "checks.effects", "cost_change", "evppi")  # fmt: skip


def shown_ids(found: Release, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Every id that the academic report of a release shows."""
    seen: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.append(metadata["evalkit"]["id"]))
    monkeypatch.setattr(display, "_png", lambda figure: b"")
    for name in BEFORE_AND_AFTER:
        getattr(academic, name)(found)
    academic_pathway.show_pathway(found)
    academic_pathway.show_subgroups(found)
    academic_value.show_value(found)
    cheers.show_cheers(found)
    assert len(seen) == len(set(seen))
    return set(seen)


def whole_release(world: str) -> Release:
    """The tables of value beside those of a benefit, so that people and outcomes are described too."""
    protocol = value_protocol()
    base = make_release("benefit", drop=("effects", "checks.effects", "cost_relative"), protocol=protocol)
    own = Results.concat(value_parts(protocol, world)).stamped(notebook="x", protocol=protocol.digest, data="0" * 64)
    kept = base.results.frame
    return release(Results.concat([Results(kept), own]), policy=policy("strict"), protocol=protocol,
                   provenance=PROVENANCE)  # fmt: skip


def pointed(found: Release) -> dict[int, set[str]]:
    """Ids that each item points at."""
    table = cheers.build_cheers(found)
    return {
        int(item.split(".")[0]): {i.strip() for ids in IN_BRACKETS.findall(where) for i in ids.split(",")}
        for item, where in zip(table["Item"], table["Where in this report"], strict=True)
    }


def test_there_are_28_items_in_order() -> None:
    assert [item.number for item in cheers.ITEMS] == [str(n) for n in range(1, 29)]
    assert len({item.name for item in cheers.ITEMS}) == 28


@pytest.mark.parametrize(
    ("world", "drop"),
    [*((w, d) for w in ("saving", "dearer", "refused") for d in ((), VALUE_TABLES)),
     *(("saving", (t,)) for t in VALUE_TABLES)],
)  # fmt: skip
def test_every_pointer_leads_somewhere(world, drop, monkeypatch) -> None:
    found = value_release(world, drop=drop)
    shown = shown_ids(found, monkeypatch)
    for number, ids in pointed(found).items():
        assert ids <= shown, number


def test_every_pointer_leads_somewhere_in_a_whole_report(monkeypatch) -> None:
    found = whole_release("saving")
    ids = pointed(found)
    assert set.union(*ids.values()) <= shown_ids(found, monkeypatch)
    assert "tab-one" in ids[5]


@pytest.mark.parametrize(
    ("table", "number"),
    [("price_list", 15), ("what_if", 26), ("budget", 26), ("tornado", 24), ("ceac", 24), ("cea_plane", 23),
     ("effects", 23), ("checks", 17), ("cost_variants", 19), ("budget_impact", 16)],
)  # fmt: skip
def test_what_is_left_out_of_the_release_leaves_the_list(table, number) -> None:
    whole, without = pointed(value_release("saving")), pointed(value_release("saving", drop=(table,)))
    assert without[number] < whole[number]


def test_what_nobody_wrote_down_is_not_reported() -> None:
    table = cheers.build_cheers(value_release("saving")).set_index("Item")
    missing = table.index[table["Where in this report"] == NOT_REPORTED]
    assert [int(m.split(".")[0]) for m in missing] == [1, 13, 18, 21, 25, 27, 28]
    assert (table.loc[missing, "What is missing"] == "").all()


def test_refusals_are_not_results() -> None:
    ids = pointed(value_release("refused"))
    assert ids[16] == ids[23] == ids[24] == ids[19] == set()
    assert "tab-value-prices" in ids[14]
    few = pointed(value_release("saving", few=True))
    assert few[23] == few[24] == set()


def test_a_title_that_says_so_is_found() -> None:
    protocol = value_protocol()
    study = protocol.study.model_copy(update={"title": "Economic evaluation of IPSA"})
    named = protocol.model_copy(update={"study": study})
    found = value_release("saving", protocol=named)
    assert pointed(found)[1] == {"document"}


def test_without_economics_the_list_does_not_apply(monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.append(metadata["evalkit"]["id"]))
    cheers.show_cheers(value_release("saving", protocol=value_protocol(economics=False)))
    assert seen == ["text-no-cheers"]


def test_the_sample_has_the_tables_that_are_asked_about() -> None:
    names = set(value_release("saving").results.frame["table"])
    assert set(VALUE_TABLES) <= names
