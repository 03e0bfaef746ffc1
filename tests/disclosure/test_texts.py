"""Counts must not leave in words."""

from __future__ import annotations

import pytest
from counts_factory import PROTOCOL, PROVENANCE, estimate

from evalkit.core.errors import DisclosureError
from evalkit.core.result import Cell, Check, Results
from evalkit.disclose import policy, release
from evalkit.disclose.texts import counts_in_text, without_counts

STRICT = policy("strict")


@pytest.mark.parametrize(
    "text",
    [
        "Only 12 people were left.", "There were 4 events.", "The smallest cell has 45 discharges", "n = 13", "n=7",
        "n_events = 120", "Three people died.", "1,204 people in the tables", "7 young women", "3 readmissions",
        "fewer than 13 people", "of 8 people", "out of 17 people", "143 deaths", "2 stays overlapped",
    ],
)  # fmt: skip
def test_a_text_that_counts_people_or_events_is_caught(text: str) -> None:
    assert counts_in_text(text, STRICT)


@pytest.mark.parametrize(
    "text",
    [
        "Readmission within 30 days", "fewer than 10 events", "At least 10 events per predictor are needed.",
        "Out of 100 people", "events per 100 person-years", "1 in 10 people", "Aged 18 to 64 years", "30 areas",
        "In 2015 people moved", "Not estimable: no comparison area", "95% interval", "999 permutations",
        "The treated area ranks 3 of 33 by size of change", "12.5 people-quarters", "at least 100 events",
        "GBP per person-quarter", "People in the tables", "2015-04", "8 events per predictor parameter, 10 needed.",
    ],
)  # fmt: skip
def test_a_text_about_rules_methods_or_dates_passes(text: str) -> None:
    assert not counts_in_text(text, STRICT)


@pytest.mark.parametrize("field", ["row", "column", "label", "reason", "unit"])
def test_the_gate_refuses_a_counting_text_in_any_field_and_does_not_repeat_it(field: str) -> None:
    cell = {"row": "a", "column": "n", "value": 30, "kind": "count"} | {field: "only 13 people"}
    results = Results.from_cells("description.words", [Cell(**cell)])
    with pytest.raises(DisclosureError, match=f'the text in "{field}" counts people'):
        release(results, policy=STRICT, protocol=PROTOCOL, provenance=PROVENANCE)


def test_an_exact_count_that_stands_alone_in_a_checks_text_is_taken_out() -> None:
    check = Check("spread", None, 0.4, "The spread over all 812 was moderate; 812 days and 8120 are other numbers.")
    results = Results.from_estimates([estimate(n_people=812, checks=(check,))])
    frame = release(results, policy=STRICT, protocol=PROTOCOL, provenance=PROVENANCE).results.frame
    said = frame.loc[frame["kind"] == "check", "reason"].item()
    assert said == "The spread over all (withheld) was moderate; 812 days and 8120 are other numbers."


def test_numbers_inside_others_are_left_alone() -> None:
    assert without_counts("812, 1.812, 812%, 2812 and 812", [812]) == "(withheld), 1.812, 812%, 2812 and (withheld)"
    assert without_counts("nothing to hide", []) == "nothing to hide"
