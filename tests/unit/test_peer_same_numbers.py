"""One thing has one number: first page, bad news, claims and interactive page say the same of the kept worlds."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import pytest

from evalkit.disclose import Release, load_release
from evalkit.report import display, facts, peer, peer_limits, peer_outcomes, peer_value
from evalkit.report.claims import assess_claims
from evalkit.report.explore_data import GROUPS
from evalkit.report.explore_topics import build_topics
from evalkit.report.peer_harms import list_possible_losses, show_bad_news
from evalkit.report.peer_pathway import list_better, list_possible_returns, list_worse
from evalkit.report.peer_summary import _told, planned_findings, show_summary, summary_table
from tests.report_factory import ROOT

FOLDERS = {name: ROOT / "reports" / "worlds" / name for name in ("none", "harm", "little")}
WITH_NUMBERS = ("none", "harm")


@cache
def kept(world: str) -> Release:
    return load_release(FOLDERS[world])


def said(show, release: Release, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    seen: dict[str, str] = {}
    monkeypatch.setattr(display, "_png", lambda _: b"")
    monkeypatch.setattr(
        display, "display", lambda data, *, raw, metadata: seen.update({metadata["evalkit"]["id"]: data["text/plain"]})
    )
    show(release)
    return seen


@pytest.mark.parametrize("world", WITH_NUMBERS)
def test_a_harm_that_is_possible_has_one_number(world, monkeypatch) -> None:
    release = kept(world)
    bad = said(show_bad_news, release, monkeypatch)["text-bad-news"]
    table = summary_table(release, planned_findings(release)).to_numpy().tolist()
    going_back = next(t for t in build_topics(release) if t.key == "going-back")
    for outcome in release.protocol.outcomes_of("readmission"):
        page = going_back.answers["with-and-without", f"{outcome.horizon_days}-days"].worst
        cell = next(row[1] for row in table if row[0].lower() == outcome.plain.lower())
        most = re.search(r"(\d+) more(?: in 100 people)?\)$", cell)[1]
        assert f"{most} more out of 100 people" in page
        assert f"{outcome.plain}: with IPSA it could have been {most} more out of 100 people." in bad.replace(
            "Going", "going"
        )


@pytest.mark.parametrize("world", WITH_NUMBERS)
def test_people_and_what_was_expected_are_not_mixed_up(world, monkeypatch) -> None:
    release = kept(world)
    rows = {f.outcome.plain.lower(): f.outcome.scale for f in planned_findings(release)}
    for name, cell, _ in summary_table(release, planned_findings(release)).to_numpy().tolist():
        if name.lower() in rows:
            assert (" people" in cell) is (rows[name.lower()] == "risk_difference"), cell
    note = said(show_summary, release, monkeypatch)["tab-summary"]
    assert "Money is for each person every 3 months." in note
    assert '"In 100 people" means of 100 people who left hospital.' in note


def test_a_change_is_told_with_its_direction() -> None:
    found = next(f for f in planned_findings(kept("harm")) if f.outcome.key == "residential_entry")
    assert _told([found]) == "the figures suggest that this rose: moving into a care home."
    fell = replace(found, direction="lower", certainty="likely")
    assert _told([fell]) == "it is likely that this fell: moving into a care home."
    assert _told([found, fell]).startswith("it is likely that this fell: moving into a care home. The figures suggest")


@pytest.mark.parametrize("world", WITH_NUMBERS)
def test_bad_news_holds_every_harm_that_a_part_leaves_possible(world, monkeypatch) -> None:
    release = kept(world)
    bad = said(show_bad_news, release, monkeypatch)["text-bad-news"]
    returns, losses = list_possible_returns(release), list_possible_losses(release)
    assert len(returns) == 2
    assert len(losses) == sum(c.record != "none" for c in release.protocol.chosen)
    assert all(line in bad for line in [*returns, *losses])


def test_good_and_bad_news_of_places_are_told_alike() -> None:
    for world in WITH_NUMBERS:
        assert not set(list_better(kept(world))) & set(list_worse(kept(world)))
    assert list_better(kept("little")) == list_worse(kept("little")) == []


def test_too_little_is_not_soothed(monkeypatch) -> None:
    release = kept("little")
    bad = said(show_bad_news, release, monkeypatch)["text-bad-news"]
    assert "We found no clear harm" not in bad
    assert "We know too little to say if there was harm." in bad
    assert "In Lambeth, fewer than 10 people who left hospital died during the study." in bad
    first = said(show_summary, release, monkeypatch)["text-summary"]
    assert "Their number is not released." in first
    assert "it has no range of doubt" in said(show_summary, release, monkeypatch)["tab-summary"]


def test_deaths_stand_behind_their_note_alone(monkeypatch) -> None:
    shown = said(peer_outcomes.show_outcomes, kept("little"), monkeypatch)
    assert "Came back" in shown["tab-description"]
    assert not any(re.search(r"[Dd]eath|died", text) for text in shown.values())
    assert "Women" in shown["tab-description"]


@pytest.mark.parametrize("world", WITH_NUMBERS)
def test_a_claim_of_later_years_is_tested_in_those_years_and_beside_its_budget(world, monkeypatch) -> None:
    release = kept(world)
    claim = next(f for f in assess_claims(release) if f.claim.from_year == 2)
    share = facts.cell(release, "budget", "from_year_2", "estimated_share")
    assert (claim.found, claim.lower, claim.upper) == (-share["value"], -share["upper"], -share["lower"])
    met = facts.cell_value(release, "budget", "from_year_2", "claimed_share") >= 0.225
    assert "Beside the old budget, spending was" in claim.text
    assert ("as was said" in claim.text) is met
    money = said(peer_value.show_value, release, monkeypatch)["text-value-claim"]
    assert f"Beside the old budget, the promise was {'kept' if met else '**not** kept'}." in money
    assert ".." not in said(peer.show_claims, release, monkeypatch)["tab-claims"]


@pytest.mark.parametrize("world", tuple(FOLDERS))
def test_limits_say_nothing_that_the_report_contradicts(world, monkeypatch) -> None:
    release = kept(world)
    limits = said(peer_limits.show_limits, release, monkeypatch)["text-limits"]
    assert "everybody in the area" not in limits
    assert "It does not say what people wanted, how they felt" not in limits
    flow = said(peer_limits.show_missing, release, monkeypatch)
    assert "go-live" not in "".join(flow.values())


def test_the_page_does_not_say_that_people_chose_what_others_chose() -> None:
    assert "chose" not in GROUPS["chosen"]
    chosen = next(t for t in build_topics(kept("harm")) if t.group == "chosen")
    assert all("have not been asked yet" in a.planned for a in chosen.answers.values() if a.rows)
