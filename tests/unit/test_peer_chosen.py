"""What peers are told of outcomes that people chose follows the numbers, and a gap is said to be one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from evalkit.core.protocol import Protocol, load_protocol
from evalkit.core.result import GLOSSARY
from evalkit.report import display, peer_chosen
from evalkit.report.peer_harms import other_harms
from evalkit.report.peer_summary import changes
from tests.plain_language import measure_plain_language
from tests.report_factory import ROOT
from tests.unit.test_report_people import people_release

PROTOCOL = load_protocol(ROOT / "protocols" / "ipsa.toml")
KEYS = [item.key for item in PROTOCOL.chosen]
SILENT = "choice_control"


@dataclass(frozen=True)
class Tables:
    """What `show_chosen` asks of a release."""

    protocol: Protocol
    tables: dict[str, pd.DataFrame]

    def table(self, name: str) -> pd.DataFrame:
        return self.tables.get(name, pd.DataFrame(columns=list(GLOSSARY)))


def row(name: str, column: str, value: float, lower: float = math.nan, upper: float = math.nan, *,
        status: str = "shown", reason: str = "") -> dict[str, Any]:  # fmt: skip
    return {"row": name, "column": column, "value": value, "lower": lower, "upper": upper, "status": status,
            "reason": reason, "label": name, "unit": "percentage points", "role": "descriptive"}  # fmt: skip


def made(difference: float, half: float, *, status: str = "shown", reason: str = "", wide: float = 40.0) -> Tables:
    """Every outcome but choice and control with one difference; the missing could move it by `wide`."""
    shares, change, bounds = [], [], []
    for key in KEYS:
        if key == SILENT:
            change.append(row(key, "difference", math.nan, status="not_estimable",
                              reason="Nothing in these records asks about it."))  # fmt: skip
            continue
        value = difference if status == "shown" else math.nan
        change.append(row(key, "difference", value, value - half, value + half, status=status, reason=reason))
        if status != "shown":
            continue
        for group, after in (("Lambeth", 40 + difference), ("Comparators", 40.0)):
            shares += [
                row(f"{key}|{group}", "before", 40.0),
                row(f"{key}|{group}", "after", after),
                row(f"{key}|{group}", "recorded_before", 61.0),
                row(f"{key}|{group}", "recorded_after", 58.0),
            ]
        bounds += [row(key, "least", value - wide, value - wide - 2, value - wide + 2),
                   row(key, "most", value + wide, value + wide - 2, value + wide + 2)]  # fmt: skip
    found = {"chosen": shares, "chosen_change": change, "chosen_bounds": bounds}
    return Tables(PROTOCOL, {name: pd.DataFrame(rows, columns=list(row("", "", 0))) for name, rows in found.items()})


def said(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> str:
    seen: list[str] = []
    monkeypatch.setattr(display, "display", lambda data, **_: seen.append(data["text/plain"]))
    peer_chosen.show_chosen(tables)
    text = "\n\n".join(seen)
    found = measure_plain_language("\n".join(line for line in text.splitlines() if " | " not in line))
    assert found.plain, found.describe()
    return text


def test_a_benefit_a_harm_and_no_answer_are_told_as_such(monkeypatch) -> None:
    better, worse, unclear = (said(made(d, h), monkeypatch) for d, h in ((12.0, 6.0), (-12.0, 6.0), (2.0, 9.0)))
    assert better.count("That is for the better.") == 6
    assert "The figures suggest that IPSA raised this." in better
    assert "about 12 more out of 100 than we would have expected. It could be 6 more, or 18 more." in better
    assert worse.count("**That is for the worse.**") == 6
    assert "for the better" not in worse
    assert unclear.count("So we cannot tell if IPSA changed this.") == 6
    assert "suggest" not in unclear
    for text in (better, worse, unclear):
        assert "likely" not in text
        assert "strong" not in text


def test_both_places_are_told_out_of_one_hundred(monkeypatch) -> None:
    text = said(made(12.0, 6.0), monkeypatch)
    assert "Out of 100 people in Lambeth, 40 did before and 52 after." in text
    assert "Out of 100 people in the other places, 40 did before and 40 after." in text
    assert "61 then 58" in text


def test_the_missing_can_turn_an_answer_round_and_that_is_said(monkeypatch) -> None:
    assert said(made(12.0, 6.0), monkeypatch).count("So they could turn the answer round.") == 6
    assert "turn the answer round" not in said(made(12.0, 6.0, wide=5.0), monkeypatch)


def test_what_is_not_recorded_is_said_to_be_so(monkeypatch) -> None:
    text = said(made(2.0, 9.0), monkeypatch)
    assert "**People who had choice and control over their support:** **not recorded.**" in text
    few = said(
        made(0.0, 0.0, status="not_estimable", reason="It is recorded of fewer than 50% of people."), monkeypatch
    )
    assert few.count("**not recorded** for enough people") == 6
    hidden = said(made(0.0, 0.0, status="suppressed", reason="fewer than 10"), monkeypatch)
    assert hidden.count("not released. Too few people are behind it.") == 6
    absent = said(Tables(PROTOCOL, {}), monkeypatch)
    assert absent.count("**not recorded** in this release") == 6
    bare = Tables(PROTOCOL.model_copy(update={"chosen": ()}), {})
    assert "**not recorded** here: work and volunteering" in said(bare, monkeypatch)


def test_nobody_is_told_that_people_chose_what_others_chose(monkeypatch) -> None:
    text = said(made(2.0, 9.0), monkeypatch)
    assert "people who have used services have not been asked yet" in text


@pytest.mark.parametrize(
    ("difference", "words"), [(12.0, "for the better"), (-12.0, "for the worse"), (1.0, "cannot tell for 6")]
)
def test_the_first_page_has_it_in_one_line(difference, words) -> None:
    line = next(x for x in changes(made(difference, 6.0), [], "IPSA") if "What matters" in x)
    assert words in line
    assert "not recorded" in line


def test_a_change_for_the_worse_stands_among_the_harms() -> None:
    assert len([h for h in other_harms(made(-12.0, 6.0)) if h.startswith("fewer people who")]) == 6
    assert other_harms(made(12.0, 6.0)) == other_harms(made(1.0, 6.0)) == []
    places = other_harms(people_release("harm"))
    assert "more time in a care home" in places
    assert "more returns to hospital" in places
    assert other_harms(people_release("benefit")) == []
