"""What both reports say of costs and value follows the numbers, whichever way they fall, and where there are none."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from evalkit.core.economics import ValuedScore
from evalkit.disclose import Release
from evalkit.report import academic_value, display, peer_value, value_tables
from evalkit.report.claims import RELATION_WORDS
from evalkit.report.peer_budget import _yardstick_words
from evalkit.report.phrases import sentences_of
from evalkit.report.value_facts import (
    ABSENT,
    Amount,
    budget_claim,
    budget_relation,
    change_range,
    percent,
    plain_pounds,
    pounds,
    pounds_range,
    read_plane,
    slug,
    unit_words,
    variant_words,
    year_words,
)
from tests.unit.test_words import BANNED
from tests.value_factory import WORLDS, value_protocol, value_release

TABLES = ("cost_change", "cost_variants", "price_list", "cea_plane", "ceac", "evppi", "tornado", "budget",
          "budget_payer", "budget_impact", "what_if", "effects")  # fmt: skip
# Every world whole and bare, and each table left out of one.
LEFT_OUT = [*((w, d) for w in WORLDS for d in ((), TABLES)), *(("saving", (name,)) for name in TABLES)]
JARGON = re.compile(
    r"counterfactual|incremental|threshold|ICER|EVPI|acceptab|perspective|discount|sensitivity|confidence|estimand|"
    r"difference-in|interval|ratio\b|net benefit|person-quarter|\binf\b|baseline|cohort|probab",
    re.IGNORECASE,
)
Shown = dict[str, tuple[dict[str, str], dict[str, object]]]
NAN = math.nan


def shown_by(module: object, found: Release, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """Data and metadata of everything shown, by id."""
    seen: Shown = {}

    def keep(data: dict[str, str], *, raw: bool, metadata: dict[str, dict[str, object]]) -> None:
        name = str(metadata["evalkit"]["id"])
        assert name not in seen
        seen[name] = (data, metadata["evalkit"])

    monkeypatch.setattr(display, "display", keep)
    monkeypatch.setattr(display, "_png", lambda figure: b"")  # pictures are looked at in test_figures_value
    module.show_value(found)
    return seen


def texts(seen: Shown) -> str:
    return "\n\n".join(data["text/markdown"] for data, _ in seen.values() if "text/markdown" in data)


def everything(seen: Shown) -> str:
    return texts(seen) + "".join(str(data.get("text/plain", "")) + str(meta) for data, meta in seen.values())


def peer(world: str, monkeypatch: pytest.MonkeyPatch, **options: object) -> Shown:
    return shown_by(peer_value, value_release(world, **options), monkeypatch)


def referee(world: str, monkeypatch: pytest.MonkeyPatch, **options: object) -> Shown:
    return shown_by(academic_value, value_release(world, **options), monkeypatch)


def said(seen: Shown, name: str) -> str:
    return " ".join(seen[name][0]["text/markdown"].split())


# ---- the peer report -----------------------------------------------------------------------------


def syllables(word: str) -> int:
    """Groups of vowels, without a mute e at the end."""
    word = re.sub(r"[^a-z]", "", word.lower())
    groups = len(re.findall(r"[aeiouy]+", word))
    return max(groups - (word.endswith("e") and not word.endswith("le") and groups > 1), 1)


def grade(text: str) -> float:
    """School grade by Kincaid and others (1975): 0.39 words a sentence + 11.8 syllables a word - 15.59."""
    lines = sentences_of(text)
    words = [w for s in lines for w in s.split() if re.search(r"[A-Za-z]", w)]
    return 0.39 * len(words) / len(lines) + 11.8 * sum(map(syllables, words)) / len(words) - 15.59


@pytest.mark.parametrize(("world", "drop"), LEFT_OUT)
def test_peers_are_told_in_plain_and_short_sentences(world, drop, monkeypatch) -> None:
    seen = peer(world, monkeypatch, drop=drop)
    lengths = {s: len(s.split()) for s in sentences_of(texts(seen))}
    assert max(lengths.values()) <= 20, max(lengths, key=lengths.get)
    assert sum(lengths.values()) / len(lengths) <= 12
    assert grade(texts(seen)) <= 6  # the sixth grade is eleven years old
    assert BANNED.findall(everything(seen)) == []
    assert JARGON.findall(everything(seen)) == []


@pytest.mark.parametrize("world", WORLDS)
def test_too_few_people_are_no_numbers(world, monkeypatch) -> None:
    seen = peer(world, monkeypatch, few=True)
    assert not [name for name in seen if name.startswith("fig-")]
    told = re.sub(r"23% \(about £2.8m a year\)|200 people|year two|a tenth", "", texts(seen))
    assert set(re.findall(r"£[\d,.]+", told)) == set()
    assert "Too few people are behind it." in told or world == "refused"


def test_a_saving_is_told_with_who_bears_it(monkeypatch) -> None:
    who = said(peer("saving", monkeypatch), "text-value-who")
    assert "**The NHS:** about £2,870 less. It could be £3,500 less, or £2,240 less." in who
    assert "**The council:** about £820 more." in who
    assert "So it seems that the NHS saved and the council paid more." in who
    assert "Only a few areas are compared" in who
    assert "50 out of 100 pounds" in who


@pytest.mark.parametrize(
    ("world", "end"),
    [("none", "So we cannot tell who saved and who paid."),
     ("dearer", "So it seems that the NHS paid more. For the council we cannot tell."),
     ("refused", "We could not work this out. There are too few people to compare.")],
)  # fmt: skip
def test_who_saved_follows_the_numbers(world, end, monkeypatch) -> None:
    who = said(peer(world, monkeypatch), "text-value-who")
    assert end in who
    assert "saved and" not in who.replace("who saved and who paid", "").replace("Who saved and who paid", "")


def test_use_and_price_are_told_apart(monkeypatch) -> None:
    use = said(peer("saving", monkeypatch), "text-value-use")
    assert "So it seems that people used less help. It is not a matter of price alone." in use
    assert "So it seems" not in said(peer("none", monkeypatch), "text-value-use")
    assert "people used more help" in said(peer("dearer", monkeypatch), "text-value-use")
    gone = said(peer("saving", monkeypatch, drop=("cost_variants",)), "text-value-use")
    assert "The two were not told apart here." in gone


@pytest.mark.parametrize(
    ("world", "told", "never"),
    [("saving", "one more day cost nothing extra", "each day lost"),
     ("none", "We cannot tell if IPSA changed this, or what it cost. So no price of one day can be given.", "suggest"),
     ("dearer", "people gained and more was spent. Each day more cost about £340.", "lost"),
     ("cheaper_and_worse", "people **lost**. About £430 was saved for each day lost.", "people gained"),
     ("refused", "We could not work this out. There are too few people to compare.", "Our best answer")],
)  # fmt: skip
def test_what_a_day_cost_follows_the_numbers(world, told, never, monkeypatch) -> None:
    gains = said(peer(world, monkeypatch), "text-value-gains")
    first = gains.split("**Days in their own home or with family, without visiting support.**")[0]
    assert told in first
    assert never not in first


def test_a_clear_cost_without_a_clear_effect_gives_no_price_of_a_day(monkeypatch) -> None:
    found = value_release("saving")
    plane = read_plane(found, found.protocol.economics.valued[0])
    plane = replace(plane, cost=ABSENT, effect=ABSENT)  # so that ranges follow the standard deviations
    wide = replace(plane, sd_effect=20.0)
    words = " ".join(peer_value._price_words(wide, wide.spread("cost"), wide.spread("effect"), "IPSA"))
    assert "The figures suggest that less was spent." in words
    assert "no price of one day" in words
    dear = replace(plane, sd_cost=9000.0)
    words = " ".join(peer_value._price_words(dear, dear.spread("cost"), dear.spread("effect"), "IPSA"))
    assert "a change for the better" in words
    assert "cannot tell if it cost more or less" in words
    worse = replace(plane, mean_cost=3000.0, mean_effect=-9.0)
    words = " ".join(peer_value._price_words(worse, worse.spread("cost"), worse.spread("effect"), "IPSA"))
    assert "more was spent and people **lost**. That is for the worse." in words


@pytest.mark.parametrize(
    ("world", "end"),
    [("saving", "The promise lies outside the range of doubt. The figures suggest a saving, but a smaller one."),
     ("none", "No saving at all lies inside it. So we cannot tell if anything was saved."),
     ("dearer", "The figures suggest that **more** was spent, not less."),
     ("refused", "So the promise cannot be checked here.")],
)  # fmt: skip
def test_the_promise_is_set_beside_what_was_found(world, end, monkeypatch) -> None:
    claim = said(peer(world, monkeypatch), "text-value-claim")
    assert claim.endswith(end)
    assert "This was said: 23% (about £2.8m a year) would be saved on the original budget from year two." in claim
    assert "An old budget is what somebody meant to spend." in claim
    assert "We took all the years from year 2 on together." in claim  # as the claim says
    assert ("the fall below the old budget seems to have come anyway" in claim) is (world != "refused")


def test_an_end_that_rounding_puts_on_the_promise_says_on_which_side_it_lies(monkeypatch) -> None:
    claim = said(peer("saving", monkeypatch), "text-value-claim")
    assert "or just under 23 pounds saved." in claim  # 22.5 of 100, and 23 were promised


@pytest.mark.parametrize(
    ("original", "actual", "counter", "words"),
    [(10.0, 8.0, 9.0, "So part of the fall"), (10.0, 9.0, 8.0, "So all of the fall"),
     (10.0, 11.0, 9.0, "makes any extra spending look smaller"), (10.0, 9.0, 12.0, "hide part of any saving"),
     (10.0, 11.0, 12.0, "too low to compare"), (10.0, NAN, 12.0, "")],
)  # fmt: skip
def test_what_the_old_budget_hides(original, actual, counter, words) -> None:
    told = _yardstick_words(original, actual, counter)
    assert words in told
    assert bool(told) is bool(words)


def test_what_is_not_counted_and_prices_not_seen_are_told(monkeypatch) -> None:
    told = said(peer("saving", monkeypatch), "text-value-not-counted")
    assert "Help from family and friends." in told
    assert "We worked with 4 prices. For 2 of them we have not seen the source." in told
    assert "prices" not in said(peer("saving", monkeypatch, drop=("price_list",)), "text-value-not-counted")


@pytest.mark.parametrize(
    ("world", "told", "sure"),
    [("saving", "£1.6 million less. The range goes from £2.4 million less to £920,000 less.", True),
     ("dearer", "£1.1 million more. The range goes from £400,000 more to £1.8 million more.", True),
     ("none", "£72,000 less. The range goes from £792,000 less to £648,000 more.", False)],
)  # fmt: skip
def test_elsewhere_follows_the_numbers_and_is_only_a_sum(world, told, sure, monkeypatch) -> None:
    words = said(peer(world, monkeypatch), "text-value-elsewhere")
    assert told in words
    assert ("So we cannot tell if anything would be saved." in words) is not sure
    assert "What happened in one place may not happen in another." in words


def test_peers_see_pictures_only_of_what_is_there(monkeypatch) -> None:
    assert {"fig-value-change", "fig-value-budget"} <= set(peer("saving", monkeypatch))
    assert "fig-value-budget" not in peer("saving", monkeypatch, drop=("budget",))
    assert "fig-value-change" not in peer("saving", monkeypatch, drop=("cost_change",))
    none = shown_by(peer_value, value_release(protocol=value_protocol(economics=False)), monkeypatch)
    assert list(none) == ["text-no-value"]


def numbers_in(text: str) -> set[float]:
    return {float(n.replace(",", "")) for n in re.findall(r"£(\d[\d,]*)(?![\d,.]*\d| million|m)", text)}


@pytest.mark.parametrize("world", [w for w in WORLDS if w != "refused"])
def test_every_pound_that_peers_read_is_in_the_release(world, monkeypatch) -> None:
    found = value_release(world)
    frame = found.results.frame
    known = np.abs(frame[["value", "lower", "upper"]].to_numpy(dtype=float).ravel())
    known = known[np.isfinite(known)]
    seen = shown_by(peer_value, found, monkeypatch)
    for number in numbers_in(texts(seen)):
        step = 1 if number < 100 else 10 if number < 10_000 else 100
        assert np.abs(known - number).min() <= step / 2 + 1e-6 * number, number


# ---- the academic report -------------------------------------------------------------------------


@pytest.mark.parametrize(("world", "drop"), LEFT_OUT)
def test_referees_are_shown_numbers_or_reasons(world, drop, monkeypatch) -> None:
    seen = referee(world, monkeypatch, drop=drop)
    told = everything(seen)
    assert BANNED.findall(told.replace("p = 0.011", "")) == []
    assert not re.search(r"\bnan\b|\binf\b|not_estimable|−£0(?![.\d])", told)
    for name in drop:
        if name not in ("effects", "cea_plane", "ceac"):
            assert re.search(r"The release holds no ", texts(seen))
    for data, meta in seen.values():
        assert meta["kind"] != "figure" or len(meta["alt"].split()) > 8
        assert meta["kind"] != "table" or meta["rows"]
        assert data


def test_everything_is_shown_where_it_is_released(monkeypatch) -> None:
    seen = referee("dearer", monkeypatch)
    wanted = {
        "text-value-method", "tab-value-change", "fig-value-change", "tab-value-payers", "tab-value-years",
        "tab-value-variants", "fig-value-variants", "tab-value-designs", "tab-value-specification",
        "tab-value-of-days-at-home", "fig-value-plane-days-at-home", "fig-value-ceac-days-at-home",
        "fig-value-plane-dialog", "tab-value-evppi", "fig-value-tornado", "tab-value-budget", "fig-value-budget",
        "text-value-claim", "tab-value-bearers", "fig-value-impact", "tab-value-impact", "tab-value-what-if",
        "tab-value-prices",
    }  # fmt: skip
    assert wanted <= set(seen)
    assert not [name for name in seen if name.startswith("text-no-")]


def test_the_ratio_is_given_or_its_refusal_is_stated(monkeypatch) -> None:
    dear = said(referee("dearer", monkeypatch), "text-value-of-days-at-home")
    assert "Incremental cost-effectiveness ratio: £340 (£140 to £550) spent per day gained." in dear
    lost = said(referee("cheaper_and_worse", monkeypatch), "text-value-of-days-at-home")
    assert "saved per day given up" in lost
    dominates = said(referee("saving", monkeypatch), "text-value-of-days-at-home")
    assert "No incremental cost-effectiveness ratio is given: One side is better and cheaper" in dominates
    nothing = said(referee("none", monkeypatch), "text-value-of-days-at-home")
    assert "the effect may be nought" in nothing.lower()
    none = said(referee("refused", monkeypatch), "text-value-of-days-at-home")
    assert "No number stands here: Too few people on one side" in none


@pytest.mark.parametrize(
    ("world", "relation", "zero"),
    [("saving", "outside", "No saving at all lies outside it."),
     ("none", "outside", "No saving at all lies inside it."),
     ("dearer", "outside", "No saving at all lies outside it.")],
)  # fmt: skip
def test_the_claim_on_the_budget_is_tested(world, relation, zero, monkeypatch) -> None:
    claim = said(referee(world, monkeypatch), "text-value-claim")
    assert f"{RELATION_WORDS[relation]}. {zero}" in claim
    assert claim.count(" from year 2 on: ") == 2
    assert "23% (about £2.8m a year)" in claim


@pytest.mark.parametrize(
    ("lower", "upper", "relation"),
    [(0.1, 0.3, "inside"), (0.1, 0.2, "outside"), (0.25, 0.4, "outside"), (NAN, NAN, "cannot")],
)
def test_a_claim_lies_inside_or_outside_the_range(lower, upper, relation) -> None:
    claim = budget_claim(value_release())
    assert claim.relative_change == -0.23
    assert budget_relation(claim, Amount(0.2, lower, upper, "share", "", "shown", "")) == relation
    assert budget_relation(claim, ABSENT) == "cannot"


def test_tables_hold_every_row_of_the_release() -> None:
    found = value_release("saving")
    assert len(value_tables.change_numbers(found)) == 10
    assert len(value_tables.budget_numbers(found)) == 6
    assert len(value_tables.impact_numbers(found)) == 15
    assert list(value_tables.payer_table(found)["Payer"]) == ["NHS", "Council", "What the two do not add up to"]
    prices = value_tables.price_table(found)
    assert list(prices["Verified"]) == ["yes", "yes", "no", "no"]
    assert set(prices["Price year"]) == {"2015", "2016"}
    assert prices["Source"].iloc[0] == "National cost collection 2015/16"
    curve = value_tables.curve_table(found, "days_at_home")
    assert (curve["One unit is worth"].iloc[0], curve["One unit is worth"].iloc[-1]) == ("£0", "£300")
    years = value_tables.variant_table(found, ("Financial year",))
    assert list(years["What"]) == ["2015/16", "2016/17", "2017/18"]


def test_halves_of_a_difference_have_no_counterfactual_and_none_is_made_up() -> None:
    table = value_tables.variant_table(value_release("saving"), ("Price basis",))
    assert table[["Spent", "Would have been spent", "Relative"]].to_numpy().ravel().tolist() == [""] * 6
    assert table["Difference"].iloc[0] == "−£2,150 (−£3,050 to −£1,250)"
    assert value_tables.told(ABSENT) == "not in this release"


@pytest.mark.parametrize(
    ("label", "expected"),
    [("A; B; price year 2015; verified", ("A; B", "2015", "yes")),
     ("A; price of 2016; not verified", ("A", "2016", "no")),
     ("A", ("A", "not stated", "not stated")), ("", ("not stated", "not stated", "not stated"))],
)  # fmt: skip
def test_what_a_price_rests_on_is_read_or_said_to_be_missing(label, expected) -> None:
    assert value_tables._source(label) == expected


# ---- helpers -------------------------------------------------------------------------------------


def test_money_is_written_with_the_figures_that_it_can_bear() -> None:
    assert [pounds(x) for x in (12.4, -640.0, 12_345.0, 2.812e6, -3e6, NAN)] == [
        "£12", "−£640", "£12,300", "£2.81m", "−£3.00m", "not available",
    ]  # fmt: skip
    assert pounds_range(Amount(0.8e6, -0.2e6, 1.8e6, "GBP", "", "shown", "")) == "£0.80m (−£0.20m to £1.80m)"
    assert plain_pounds(-2.81e6) == "£2.8 million"
    assert [percent(x) for x in (0.157, -0.067, -0.0001, NAN)] == ["15.7%", "−6.7%", "0.0%", "not available"]
    assert change_range(Amount(0.128, -0.03, 0.227, "", "", "shown", "")) == "+12.8% (−3.0% to +22.7%)"


def test_a_saving_is_the_difference_turned_round() -> None:
    turned = Amount(-10.0, -15.0, 2.0, "GBP", "", "shown", "").turned()
    assert (turned.value, turned.lower, turned.upper) == (10.0, -2.0, 15.0)


@pytest.mark.parametrize(
    ("value", "lower", "upper", "status", "rung"),
    [(-5.0, -9.0, -1.0, "shown", "suggests"), (-5.0, -9.0, 1.0, "shown", "too_uncertain"),
     (-5.0, NAN, NAN, "shown", "too_uncertain"), (NAN, NAN, NAN, "suppressed", "not_released"),
     (NAN, NAN, NAN, "refused", "cannot_tell"), (NAN, NAN, NAN, "absent", "cannot_tell")],
)  # fmt: skip
def test_no_number_of_this_part_is_more_than_a_suggestion(value, lower, upper, status, rung) -> None:
    assert Amount(value, lower, upper, "", "", status, "").certainty() == rung


def test_variants_keep_the_name_that_the_analysis_gave_them() -> None:
    economics = value_protocol().economics
    assert variant_words("payer.nhs", "What the NHS bears", economics) == "What the NHS bears"
    assert variant_words("payer.nhs", "payer.nhs", economics) == "NHS"
    assert variant_words("prices.wards.low", "", economics) == "Prices of hospital wards down by 20%"
    assert [year_words(y) for y in ("2015", "2099", "all", "2015/16 (2 quarters)")] == [
        "2015/16", "2099/00", "All years", "2015/16 (2 quarters)",
    ]  # fmt: skip
    assert slug("days_at.Home ") == "days-at-home"


def test_a_mapping_makes_the_unit_a_qaly() -> None:
    mapped = ValuedScore(kind="score", key="dialog", label="DIALOG", plain="how people rate their lives",
                         instrument="DIALOG", utility_per_point=0.1, utility_at_zero=0.1,
                         mapping_source="somebody")  # fmt: skip
    assert (unit_words(mapped, 1), unit_words(mapped, 2)) == ("QALY", "QALYs")
    assert peer_value._gained(0.021, mapped) == "0.02 years in full health more"
    assert "mapped by somebody" in academic_value._valued_words(mapped)
