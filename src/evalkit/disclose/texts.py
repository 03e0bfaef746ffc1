"""Words that would carry a count past the gate."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from evalkit.core.errors import DisclosureError, Fault
from evalkit.disclose.policy import Policy

TEXT_COLUMNS = ("row", "column", "label", "reason", "unit", "estimator", "outcome", "estimand", "notebook")

_NOUN = (
    r"(?:people|persons?|events?|re-?admissions?|admissions?|discharges?|entr(?:y|ies)|stays?|spells?|deaths?|"
    r"placements?|residents?|patients?|participants?|individuals?|women|men|wom[ae]n|females?|males?|adults?)"
)
_NOT_BETWEEN = (
    r"(?!(?:days?|weeks?|months?|quarters?|years?|hours?|areas?|boroughs?|periods?|models?|and|or|to|of|per|in|for|"
    r"from|by|with|percent|times?|digits?|draws?|permutations?|replicates?|tables?|rows?|levels?)\b)"
)
_NUMBER = r"(?<![\w.,/:-])(?P<number>\d{1,3}(?:,\d{3})+|\d+)(?![\d.,]\d|[\w%/:])"
_COUNTED = re.compile(rf"{_NUMBER}\s+(?:{_NOT_BETWEEN}[a-z-]+\s+)?{_NOUN}(?![\w-]|\s+per predictor)", re.IGNORECASE)
_N_EQUALS = re.compile(r"\bn(?:_people|_events)?\s*=\s*\d", re.IGNORECASE)
_SPELT = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine)\s+(?:people|persons?|women|wom[ae]n|men|deaths?)(?![\w-])",
    re.IGNORECASE,
)
# "fewer than 10 events" states a rule and "out of 100 people" a denominator; neither counts anybody.
_RULE_BEFORE = re.compile(r"(?:fewer than|less than|at least|at most|below|under|needs?|than|least)\s+$", re.IGNORECASE)
_PER_BEFORE = re.compile(r"(?:out of|of|per|in|every|each)\s+$", re.IGNORECASE)
_YEAR_BEFORE = re.compile(
    r"(?:in|since|from|until|before|after|by|during|january|february|march|april|may|june|july|august|september|"
    r"october|november|december)\s+$",
    re.IGNORECASE,
)
_UNIT_AFTER = r"(?!\s*(?:%|days?|weeks?|months?|quarters?|years?|areas?|permutations?|replicates?|draws?)\b)"


def counts_in_text(text: str, policy: Policy) -> bool:
    """Whether a text tells how many people or events there were: '12 people', 'n = 12', 'three deaths'."""
    if _N_EQUALS.search(text) or _SPELT.search(text):
        return True
    return any(not _harmless(text, match, policy) for match in _COUNTED.finditer(text))


def _harmless(text: str, match: re.Match[str], policy: Policy) -> bool:
    before, number = text[: match.start()], int(match["number"].replace(",", ""))
    if _RULE_BEFORE.search(before):
        return number <= policy.threshold or number % policy.base == 0
    if 1900 <= number <= 2100 and "," not in match["number"] and _YEAR_BEFORE.search(before):
        return True
    return bool(_PER_BEFORE.search(before)) and number in (1, 10, 100, 1_000, 10_000, 100_000)


def check_texts(frame: pd.DataFrame, policy: Policy) -> None:
    """Refuse results whose texts count people or events.

    Raises
    ------
    DisclosureError
        Naming each row and field, never the number.
    """
    faults = []
    for column in TEXT_COLUMNS:
        guilty = {text for text in frame[column].unique() if text and counts_in_text(text, policy)}
        faults += [
            Fault(str(name), f'the text in "{column}" counts people or events',
                  next_step="Put the number into a count of its own, where the gate can see it, or leave it out.")
            for name in frame["id"][frame[column].isin(guilty)]
        ]  # fmt: skip
    if faults:
        raise DisclosureError(faults)


def without_counts(text: str, counts: Iterable[int]) -> str:
    """The text with each of these exact counts, where it stands alone, replaced by '(withheld)'."""
    alone = "|".join(str(count) for count in sorted(set(counts), reverse=True))
    if not alone:
        return text
    return re.sub(rf"(?<![\w.,:/-])(?:{alone})(?![\d.,]\d|[\w%:/-]){_UNIT_AFTER}", "(withheld)", text)
