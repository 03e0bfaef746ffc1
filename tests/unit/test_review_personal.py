"""Patterns of personal data: each kind is found in the ways people write it, and plain words are left alone."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit.review.personal import ALWAYS_OUT, blank_personal, find_in_name, find_personal, is_nhs_number


def kinds(text: str) -> list[str]:
    return [one.kind for one in find_personal(text)]


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("NHS number", ["943 476 5919", "9434765919", "943-476-5919", "9 4 3 4 7 6 5 9 1 9", "９４３４７６５９１９",
                        "943\n476\n5919",
                        "943, 476, 5919", "943_476_5919", "943 — 476 — 5919", "943‑476‑5919", "٩٤٣٤٧٦٥٩١٩",
                        "9\u034f434765919", "9434765919/07700900123"]),
        ("telephone number", ["07700 900123", "+44 7700 900123", "+44 (0)20 7946 0958", "0044 20 7946 0958",
                              "(020) 7946 0958", "077\u200b00900123", "+353 87 123 4567", "07700\n900\n123"]),
        ("e-mail address", ["a.b@c.org", "anna [at] mail (dot) com", "x+y@nhs.net",
                            "anna at mail dot com", "x (at) mail dot org"]),
        ("postcode", ["SE5 8AZ", "se58az", "EC1A 1BB", "W1A  0AX"]),
        ("National Insurance number", ["AB 12 34 56 C", "ab123456c"]),
        ("date of birth", ["born in 1984", "DOB 1/2/80", "born on 3 May 1970", "my birthday is 3 May"]),
        ("date", ["on 3 May 2016", "3rd of May", "May 3rd, 2016", "2016-05-03", "03/05/16", "3.5.2016",
                  "June 12", "3/5/\n2016"]),
        ("name of a person", ["Nurse Joy said", "Dr Smith", "dr smith", "Ms. Patel", "my name is anna",
                              "my brother Tom",
                              "my key worker, Sam Jones", "I'm called Anna", "a nurse called Joy", "Regards, Anna",
                              "Mr Österberg", "nurse Émilie"]),
        ("web address", ["https://example.org/x", "www.example.org", "see example.co.uk/me"]),
        ("handle of an account", ["I am @someone there"]),
        ("street address", ["12 Camberwell Road", "at 7a Acre Lane"]),
        ("long number", ["hospital number 1234567"]),
        ("small number of people",
         ["two people died", "3 women", "there were three of us", "one young man", "9 residents",
          "two of my mates", "both of us", "a couple of the clients"]),
    ],
)  # fmt: skip
def test_each_kind_is_found(kind: str, texts: list[str]) -> None:
    for text in texts:
        found = find_personal(f"Well, {text}, and so on.")
        assert [one.kind for one in found] == [kind], text
        blanked = blank_personal(f"Well, {text}, and so on.", found)
        assert f"[{kind} removed]" in blanked
        assert blanked.endswith("and so on.")
        assert kinds(blanked) == []


@pytest.mark.parametrize(
    "text",
    [
        "About 15 of 100 people came back.", "1 in 100 people", "5 people out of 100", "one in four people",
        "It cost £12,000,000 or £12000000.", "From 2012 to 2018, and 2015-16 and 2016-17.", "Over 5,000 people.",
        "Table 12 and Figure 3 disagree.", "It may 5 times be so.", "The nurse was kind. The doctor said no.",
        "I am Black and I am Welsh.", "My doctor. The ward.", "Is 3.5 in 2014/15 right?", "my brother was there",
        "They called the police.", "Mr and Mrs were words for us.", "NHS, GP and IPSA", "the name is not on the list",
        "12 people", "in May 2016", "more than 10 people", "Why 7 days and not 30?", "p. 12, line 3",
        "12, 15, 18, 20, 25 and 30", "3 of the 5 measures", "both staff and carers", "I was at home dot dot dot",
    ],
)  # fmt: skip
def test_plain_words_are_left_alone(text: str) -> None:
    assert kinds(text) == []


def test_an_nhs_number_is_told_by_its_check_digit() -> None:
    # Numbers that are given everywhere as examples of valid ones.
    assert is_nhs_number("9434765919")
    assert is_nhs_number("4010232137")
    assert not is_nhs_number("9434765918")
    assert not is_nhs_number("1111111111")
    assert not is_nhs_number("943476591")
    assert kinds("943 476 5918") == ["long number"]


def test_check_digits_agree_with_the_definition() -> None:
    """For each stem, the digit that makes the weighted sum a multiple of 11; none where that would be 10."""
    for stem in ("943476591", "401023213", "987654321", "100000000", "123456789", "450557710"):
        good = [
            d for d in range(10) if (sum(int(c) * w for c, w in zip(stem, range(10, 1, -1), strict=True)) + d) % 11 == 0
        ]
        assert [d for d in range(10) if is_nhs_number(f"{stem}{d}")] == good


def test_the_threshold_is_that_of_the_profile() -> None:
    assert kinds("8 people came") == ["small number of people"]
    assert [f.kind for f in find_personal("8 people came", threshold=8)] == []


def test_several_findings_keep_their_places() -> None:
    text = "Ask Dr Foster (a@b.org) on 3 May 2016, SE5 8AZ."
    assert kinds(text) == ["name of a person", "e-mail address", "date", "postcode"]
    assert blank_personal(text, find_personal(text)) == (
        "Ask [name of a person removed] ([e-mail address removed]) on [date removed], [postcode removed]."
    )
    assert {"NHS number", "e-mail address"} <= ALWAYS_OUT


@pytest.mark.parametrize("text", ["943 476 5919 12 months later", "1 943 476 5919", "943 476 5919 943 476 5919"])
def test_a_number_beside_an_nhs_number_does_not_hide_it(text: str) -> None:
    assert "NHS number" in kinds(text)
    assert not any(letter in "0123456789" for letter in blank_personal(text, find_personal(text))[:20])


@pytest.mark.parametrize(
    "name", ["J. Smith", "Émilie Dubois", "JANE SMITH", "Jane van der Berg", "Smith, Jane", "jane smith",
             "Anna-Lena Österberg", "Jane Smith (peer)", "李 小龍", "Ｊａｎｅ Ｓｍｉｔｈ"],
)  # fmt: skip
def test_a_full_name_is_told_however_it_is_written(name: str) -> None:
    assert [f.kind for f in find_in_name(name)] == ["name of a person"]


@pytest.mark.parametrize(
    "name", ["A Peer Researcher", "somebody from Leeds", "Carer in Lambeth", "Élodie", "the tall one"]
)
def test_a_name_that_names_nobody_is_left_alone(name: str) -> None:
    assert find_in_name(name) == ()


def test_a_name_to_be_shown_may_be_one_word_or_made_up() -> None:
    assert find_in_name("Sam") == ()
    assert find_in_name("peer reviewer") == ()
    assert [f.kind for f in find_in_name("Sam Smith")] == ["name of a person"]
    assert [f.kind for f in find_in_name("Dr Smith")] == ["name of a person"]
    assert [f.kind for f in find_in_name("sam@b.org")] == ["e-mail address"]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=200))
def test_any_text_can_be_searched_and_blanking_ends(text: str) -> None:
    found = find_personal(text)
    assert all(0 <= one.start < one.end <= len(text) for one in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))
    blank_personal(text, found)


@pytest.mark.parametrize(
    "unit", ["a", "a.", "1 ", "1", "@", "my ", "A ", "12 Aa ", "-", " ", "a-a.", "born ", "one a "]
)
def test_no_text_takes_long(unit: str) -> None:
    started = time.process_time()
    find_personal((unit * 4_000)[:4_000])
    assert time.process_time() - started < 1.5
