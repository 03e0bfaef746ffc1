"""Errors say what is wrong, all at once, and survive a trip between processes."""

from __future__ import annotations

import pickle

import pytest

from evalkit.core.errors import DataError, Fault, NotEstimable, suggest_name

FAULTS = (
    Fault("people.sex", "codes outside the list", got="3 cells", allowed="female, male", next_step="Map them."),
    Fault("areas", "Lambeth is absent"),
)


def test_the_message_numbers_every_fault_and_says_what_to_do():
    text = str(DataError(FAULTS))
    assert "(2 faults)" in text
    assert "1. people.sex: codes outside the list. Got 3 cells. Allowed: female, male. Map them." in text
    assert "2. areas: Lambeth is absent." in text


@pytest.mark.parametrize("kind", [DataError, NotEstimable])
def test_an_error_comes_whole_out_of_a_worker_process(kind):
    again = pickle.loads(pickle.dumps(kind(FAULTS)))  # our own bytes
    assert type(again) is kind
    assert again.faults == FAULTS


def test_the_nearest_name_is_suggested_only_if_it_is_near():
    assert suggest_name("beter", ["better", "label"]) == 'Did you mean "better"?'
    assert suggest_name("zzz", ["better", "label"]) == ""
