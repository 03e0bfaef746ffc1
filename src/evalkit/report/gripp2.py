"""GRIPP2, short form, for one study: five items, in the words of those who were there, from the review record.

Staniszewska and others (2017), Research Involvement and Engagement 3:13; what each item asks is in our own words.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import pandas as pd

from evalkit.report.display import show_table, show_text
from evalkit.review.record import Gripp2, Review

NOT_RECORDED = "not recorded"
ITEMS: Mapping[Gripp2, tuple[str, str]] = MappingProxyType({
    "aim": ("1. Aim", "What involving people was meant to do for the study"),
    "methods": ("2. Methods", "How people were involved"),
    "results": ("3. Study results", "What came of it, good and bad"),
    "discussion": ("4. Discussion and conclusions", "How far it changed the study as a whole"),
    "reflections": ("5. Reflections", "What went well, what did not, and what others can learn"),
})  # fmt: skip


def show_gripp2(review: Review) -> None:
    """The five items as a table, led by who took part and what became of their comments."""
    show_text(f"{_who(review)} {_comments(review)} The five items of the short form of GRIPP2 [@staniszewska2017] "
              "follow in the words of those who were there.", id="text-gripp2")  # fmt: skip
    show_table(build_gripp2(review), id="tab-gripp2", caption="GRIPP2, short form",
               note="What nobody wrote down is not recorded, and is not filled in.")  # fmt: skip


def build_gripp2(review: Review) -> pd.DataFrame:
    """One row an item: `Item`, `What it asks`, `What is recorded`."""
    said = review.involvement.gripp2
    rows = [
        {"Item": name, "What it asks": asks, "What is recorded": str(said.get(key, "")).strip() or NOT_RECORDED}
        for key, (name, asks) in ITEMS.items()
    ]
    return pd.DataFrame(rows)


def _who(review: Review) -> str:
    match review.involvement.people:
        case None:
            return "Nobody wrote down whether people with lived experience took part."
        case 0:
            return "Nobody with lived experience has taken part so far."
        case 1:
            return "One person with lived experience took part."
        case n:
            return f"{n} people with lived experience took part."


def _comments(review: Review) -> str:
    """How many comments came and what became of them; examples by the makers of evalkit do not count."""
    real = review.counted
    if not real:
        return "No reader has commented on either report yet."
    states = {"changed": "led to a change", "accepted": "were agreed with", "declined": "were declined, with a reason",
              "needs_analysis": "ask for new work", "open": "have no answer yet"}  # fmt: skip
    told = [f"{n} {words}" for status, words in states.items() if (n := sum(c.status == status for c in real))]
    return f"Of {len(real)} comment{'s' if len(real) > 1 else ''} by readers {', '.join(told)}."
