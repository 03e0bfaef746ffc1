"""The words follow the numbers: in every world, and where there is no number."""

from __future__ import annotations

import math
import re

import pytest

from evalkit.core.protocol import load_protocol
from evalkit.disclose import Release
from evalkit.report import display, facts, peer
from evalkit.report.claims import assess_claims
from evalkit.report.phrases import (
    confidence_sentences,
    effect_sentences,
    headline,
    money,
    number,
    percent_change,
    ratio_base,
    ratio_words,
    sentences_of,
    with_interval,
    worst_case,
)
from evalkit.report.plain import plain_reason
from evalkit.report.words import LADDER, LADDER_SHORT, certainty_of, share_beyond_null
from tests.report_factory import ROOT, World, make_release

WORLDS: tuple[World, ...] = ("benefit", "none", "harm", "thin")
BANNED = re.compile(r"significan|p-value|p =|\bpatients?\b|\bcases?\b|bed.blocker|non-complian|\bnan\b", re.IGNORECASE)
SHOWN = (
    "show_title", "show_summary", "show_content_note", "show_outcomes", "show_money", "show_displacement",
    "show_bad_news", "show_claims", "show_limits", "show_missing", "show_method", "show_glossary", "show_questions",
)  # fmt: skip
SERVICE = "IPSA"


@pytest.fixture(scope="module")
def releases() -> dict[str, Release]:
    return {world: make_release(world) for world in WORLDS}


def peer_outputs(release: Release, monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, dict]]:
    """Everything that the peer notebook shows: data and metadata of each output."""
    seen: list[tuple[dict, dict]] = []
    monkeypatch.setattr(display, "display", lambda data, *, raw, metadata: seen.append((data, metadata)))
    for name in SHOWN:
        getattr(peer, name)(release)
    return seen


def peer_text(outputs: list[tuple[dict, dict]]) -> str:
    return "\n\n".join(data["text/markdown"] for data, _ in outputs if "text/markdown" in data)


@pytest.mark.parametrize(
    ("value", "lower", "upper", "role", "status", "weak", "expected"),
    [
        (0.5, 0.35, 0.65, "primary", "shown", False, "strong"),
        (0.5, 0.3, 0.95, "primary", "shown", False, "likely"),
        (0.5, 0.3, 0.95, "primary", "shown", True, "suggests"),
        (0.5, 0.35, 0.65, "primary", "shown", True, "suggests"),
        (0.5, 0.3, 1.0, "primary", "shown", False, "too_uncertain"),
        (2.0, 1.6, 2.5, "primary", "shown", False, "strong"),
        (0.5, math.nan, math.nan, "primary", "shown", False, "too_uncertain"),
        (0.2, 0.1, 0.3, "naive", "shown", False, "not_evidence"),
        (math.nan, math.nan, math.nan, "primary", "suppressed", False, "not_released"),
        (math.nan, math.nan, math.nan, "primary", "not_estimable", False, "cannot_tell"),
        (math.nan, math.nan, math.nan, "naive", "refused", False, "cannot_tell"),
    ],
)
def test_the_rung_follows_the_interval(value, lower, upper, role, status, weak, expected) -> None:
    found = certainty_of(value, lower, upper, null=1.0, ratio=True, role=role, status=status, weak=weak)
    assert found == expected


def test_a_ratio_and_its_inverse_stand_on_the_same_rung() -> None:
    down = share_beyond_null(0.5, 0.3, 0.8, null=1.0, ratio=True)
    up = share_beyond_null(2.0, 1 / 0.8, 1 / 0.3, null=1.0, ratio=True)
    assert down == pytest.approx(up)
    assert share_beyond_null(0.5, 0.3, 1.2, null=1.0, ratio=True) == 0.0


def test_every_rung_has_its_words() -> None:
    assert set(LADDER) == set(LADDER_SHORT)
    assert all(len(s.split()) <= 20 for text in LADDER.values() for s in sentences_of(text))


@pytest.mark.parametrize(
    ("world", "direction", "valence", "clear"),
    [("benefit", "lower", "better", True), ("harm", "higher", "worse", True), ("none", "lower", "better", False),
     ("thin", "lower", "better", False)],
)  # fmt: skip
def test_a_world_is_told_as_it_is(releases, world, direction, valence, clear) -> None:
    protocol = releases[world].protocol
    finding = facts.finding(releases[world], protocol.outcome("rehab_admission"))
    assert (finding.direction, finding.valence) == (direction, valence)
    assert (finding.certainty in ("likely", "strong", "suggests")) is clear
    said = " ".join(confidence_sentences(finding, service=SERVICE)) + headline(finding, service=SERVICE)
    assert ("cannot tell" in said) is not clear
    assert ("for the worse" in said) is (world == "harm")
    assert ("for the better" in said) is (world == "benefit")


def test_more_is_better_for_moving_out(releases) -> None:
    protocol = releases["benefit"].protocol
    outcome = protocol.outcome("residential_discharge")
    assert facts.finding(releases["benefit"], outcome).valence == "better"
    assert facts.finding(releases["harm"], outcome).valence == "worse"
    assert facts.finding(releases["benefit"], protocol.outcome("acute_ward_days")).valence == "neither"


def test_a_failed_check_caps_the_words(releases) -> None:
    protocol = releases["benefit"].protocol
    weak = facts.finding(releases["benefit"], protocol.outcome("residential_entry"))
    sound = facts.finding(releases["benefit"], protocol.outcome("rehab_admission"))
    assert (weak.certainty, sound.certainty) == ("suggests", "likely")
    assert weak.weaknesses
    assert not sound.weaknesses


def test_bounds_that_break_down_early_cap_the_words(releases) -> None:
    protocol = releases["benefit"].protocol
    frail = facts.finding(releases["benefit"], protocol.outcome("rehab_ward_days"))
    assert frail.certainty == "suggests"
    assert any("drifted apart" in w for w in frail.weaknesses)
    bare = facts.finding(make_release("benefit", drop=("honest",)), protocol.outcome("rehab_ward_days"))
    assert bare.certainty == "likely"
    # Where the interval includes no change there is nothing to cap.
    unclear = facts.finding(releases["none"], protocol.outcome("rehab_ward_days"))
    assert not any("drifted apart" in w for w in unclear.weaknesses)


def test_an_estimate_that_could_not_be_made_says_why(releases) -> None:
    finding = facts.finding(releases["benefit"], releases["benefit"].protocol.outcome("out_of_area_rehab"))
    assert finding.certainty == "cannot_tell"
    assert effect_sentences(finding, service=SERVICE) == [
        "We could not work this out.", "There are too few areas to compare with.",
    ]  # fmt: skip
    assert worst_case(finding, service=SERVICE) == ""


def test_the_harm_that_cannot_be_ruled_out_is_told(releases) -> None:
    outcome = releases["none"].protocol.outcome("readmission_90d")
    assert "4 more out of 100" in worst_case(facts.finding(releases["none"], outcome), service=SERVICE)
    assert worst_case(facts.finding(releases["benefit"], outcome), service=SERVICE) == ""


def test_risks_share_one_denominator(releases) -> None:
    release = releases["benefit"]
    outcome = release.protocol.outcome("readmission_90d")
    said = effect_sentences(
        facts.finding(release, outcome), service=SERVICE, observed=facts.observed_risk(release, outcome)
    )
    assert [re.findall(r"(?:out|Out) of ([\d,]+)", s) for s in said] == [["100"], ["100"], ["100"]]


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize(
    "drop", [(), ("trend", "event", "placebo", "cost_"), ("readmission", "attrition", "data", "table1", "desc")]
)
def test_the_peer_report_reads_plainly(releases, world, drop, monkeypatch) -> None:
    release = make_release(world, drop=drop) if drop else releases[world]
    outputs = peer_outputs(release, monkeypatch)
    text = peer_text(outputs)
    lengths = [len(s.split()) for s in sentences_of(text)]
    assert sum(lengths) / len(lengths) <= 12
    assert max(lengths) <= 25
    everything = text + "\n".join(data["text/plain"] for data, _ in outputs)
    assert BANNED.findall(everything) == []
    names = [meta["evalkit"]["id"] for _, meta in outputs]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("world", WORLDS)
def test_bad_news_is_on_the_first_page(releases, world, monkeypatch) -> None:
    outputs = peer_outputs(releases[world], monkeypatch)
    first = next(data["text/markdown"] for data, meta in outputs if meta["evalkit"]["id"] == "text-summary")
    assert ("**For the worse:** it is likely for 6 things" in first) is (world == "harm")
    assert ("**For the better:** it is likely for 6 things" in first) is (world == "benefit")
    assert "**Deaths:**" in first
    assert "held under the Mental Health Act" in first
    assert "Simulated" in first
    bad = next(data["text/markdown"] for data, meta in outputs if meta["evalkit"]["id"] == "text-bad-news")
    assert ("These got worse" in bad) is (world == "harm")
    assert "Deaths" in bad


def test_claims_are_set_beside_the_range(releases) -> None:
    found = {f.claim.key: f for f in assess_claims(releases["benefit"])}
    assert found["rehab_admissions"].relation == "outside"
    assert found["halve_placements"].relation == "inside"
    assert found["savings_year_one"].relation == "cannot"
    assert found["ward_closed"].relation == "not_tested"
    assert found["savings_from_year_two"].found == pytest.approx(-640 / 9000, rel=0.01)
    harm = {f.claim.key: f for f in assess_claims(releases["harm"])}
    assert "other way" in harm["residential_entries"].text


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        (
            "protocol: a before-and-after comparison of areas needs exposure by area and one adoption date.",
            "no other place",
        ),
        ("areas: too few for an honest interval. Got 4. Allowed: 10 or more.", "too few areas"),
        ("costs: too few people on one side to compare. Allowed: 20 or more.", "too few people"),
        ('outcome "x": it needs the table placements', "records it needs"),
        ("something new", "do not allow it"),
    ],
)
def test_reasons_are_told_plainly(reason, part) -> None:
    assert part in plain_reason(reason)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (money(873.9), "£870"), (money(12_249), "£12,200"), (percent_change(0.9991), "less than 1% lower"),
        (percent_change(1.0), "no change"), (percent_change(0.4), "60% lower"),
        (ratio_words(0.5), "about half as many"),
        (ratio_words(0.61), "about 39% fewer"), (number(-0.0013), "−0.001"), (number(-2214, "GBP"), "−£2,210"),
        (with_interval(0.62, 0.41, 0.93, "ratio"), "0.62 (0.41 to 0.93)"), (number(math.nan), "not available"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_they_can_be_borne(found, expected) -> None:
    assert found == expected


def test_rounding_does_not_move_an_end_onto_no_change() -> None:
    assert ratio_base(0.6, 0.4, 0.97) == 100
    assert ratio_base(0.6, 0.4, 0.8) == 10


def test_the_protocol_of_the_study_speaks_plainly() -> None:
    protocol = load_protocol(ROOT / "protocols" / "ipsa.toml")
    assert not BANNED.search(" ".join([protocol.study.plain_question, *(o.plain for o in protocol.outcomes)]))
