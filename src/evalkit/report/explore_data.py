"""What the interactive page can show: topics, for each of them whom and when, and an answer to every choice.

Every answer is made here, in Python, from the released rows alone; the page only shows and hides.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import pandas as pd

from evalkit.report import facts
from evalkit.report.phrases import full_stop, service_short
from evalkit.report.plain import plain_reason
from evalkit.report.words import Certainty

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

Standing = Literal["effect", "seen", "not_released", "cannot_tell", "not_asked"]
Group = Literal["hospital", "homes", "harms", "money", "chosen"]
GROUPS: Mapping[Group, str] = {
    "hospital": "Hospital",
    "homes": "Where people live",
    "harms": "Harms, and where use may have moved",
    "money": "Money",
    "chosen": "What matters to people",
}
STANDINGS: Mapping[Standing, str] = {
    "effect": "Worked out by comparing",
    "seen": "Seen. It shows no cause",
    "not_released": "Not released",
    "cannot_tell": "Could not be worked out",
    "not_asked": "Not asked",
}
# What stands behind a choice that has no number, so that nobody has to open it to know.
SHORT: Mapping[Standing, str] = {
    "effect": "", "seen": "", "not_released": "not released", "cannot_tell": "could not be worked out",
    "not_asked": "not asked",
}  # fmt: skip


@dataclass(frozen=True)
class Array:
    """A picture of people or events: `full` at the least, `best` more in our best answer, `maybe` more at the most,
    and `none` that it did not happen to.
    """

    title: str
    words: str
    full: int
    best: int = 0
    maybe: int = 0
    none: int = 0

    @property
    def whole(self) -> int:
        return self.full + self.best + self.maybe + self.none


@dataclass(frozen=True)
class Pair:
    """Arrays side by side with the same denominator, and what each mark means."""

    arrays: tuple[Array, ...]
    full: str
    none: str = ""
    best: str = "in our best answer"
    maybe: str = "could be as many"


@dataclass(frozen=True)
class Span:
    """A range of doubt on a line; `log` for ratios. The words are of the low end, the best answer and the high end."""

    low: float
    value: float
    high: float
    null: float
    words: tuple[str, str, str]
    log: bool = False
    level: float = math.nan
    none: str = "no change"


@dataclass(frozen=True)
class Line:
    """One group over time: a value for each period, NaN where it is not released."""

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Trend:
    """Lines over the same periods; `start` is the place of the first period with the service, None if not inside."""

    title: str
    periods: tuple[str, ...]
    lines: tuple[Line, ...]
    start: int | None
    start_words: str


@dataclass(frozen=True)
class Row:
    """A line of the table: the number and its range in words, with the id and the value that the release has."""

    what: str
    number: str
    spread: str = ""
    id: str = ""
    value: float = math.nan


@dataclass(frozen=True)
class Answer:
    """What is said to one choice; `limits` is what the number cannot tell, `planned` its place in the plan."""

    who: str
    when: str
    standing: Standing
    sentences: tuple[str, ...]
    pair: Pair | None = None
    span: Span | None = None
    trend: Trend | None = None
    certainty: Certainty | None = None
    sure: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()
    worst: str = ""
    limits: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    planned: str = ""


@dataclass(frozen=True)
class Choice:
    key: str
    label: str


@dataclass(frozen=True)
class Who:
    """For whom or where, with the times that can be chosen for them."""

    choice: Choice
    whens: tuple[Choice, ...]


@dataclass(frozen=True)
class Topic:
    """One thing to look at; `answers` holds one for every who and when."""

    key: str
    label: str
    group: Group
    whos: tuple[Who, ...]
    answers: Mapping[tuple[str, str], Answer] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Names:
    """Words that are the same all over one page."""

    service: str
    treated: str
    with_without: str
    side_by_side: str


def read_names(release: Release) -> Names:
    """The names of the service and its area as the page says them."""
    service, treated = service_short(release.protocol.study), facts.treated_group(release.protocol)
    return Names(service, treated, f"{treated}, with and without {service}",
                 f"{treated} and other areas, side by side")  # fmt: skip


def key_of(text: str) -> str:
    """A part of an address: lower case letters, figures and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "all"


def build_topic(key: str, label: str, group: Group, found: list[tuple[Choice, Choice, Answer]],
                *, note: str = "") -> Topic:  # fmt: skip
    """A topic from answers with whom and when they are for, in order of appearance."""
    whos: dict[str, tuple[Choice, dict[str, Choice]]] = {}
    answers = {}
    for who, when, answer in found:
        whos.setdefault(who.key, (who, {}))[1][when.key] = when
        answers[who.key, when.key] = replace(answer, who=who.label, when=when.label)
    listed = tuple(Who(who, tuple(whens.values())) for who, whens in whos.values())
    return Topic(key, label, group, listed, answers, note)


def answer_without(row: pd.Series | None, *, asked: str = "", limits: tuple[str, ...] = ()) -> Answer:
    """An answer without a number: not released, not worked out, or (`row` None) not asked, with the reason."""
    if row is None:
        return Answer("", "", "not_asked", ("The plan did not ask this.", asked) if asked else
                      ("The plan did not ask this.",),
                      limits=limits or ("Nobody has worked it out. So nothing is hidden here.",))  # fmt: skip
    if row["status"] == "suppressed":
        return Answer("", "", "not_released", ("This number is not released.", plain_withheld(str(row["reason"]))),
                      limits=("Whether the number is high or low.", "Whether anything changed."))  # fmt: skip
    return Answer("", "", "cannot_tell", ("We could not work this out.", full_stop(plain_reason(str(row["reason"])))),
                  limits=limits or ("Whether anything changed. It may have, and it may not.",))  # fmt: skip


def plain_withheld(reason: str) -> str:
    """Why a number is held back, for everybody."""
    if "fewer than" in reason:
        return "Too few people are behind it. It could point at one person."
    if "worked out from" in reason:
        return "It is made from a number that is held back."
    return "Somebody could work out another small number from it."


def range_array(title: str, words: str, *, low: int, value: int, high: int, whole: int = 0) -> Array:
    """An array that shows a best answer within its range; what is left of `whole` did not happen."""
    low, value, high = min(low, value), value, max(high, value)
    return Array(title, words, low, value - low, high - value, max(whole - high, 0))


def cells_of(release: Release, table: str) -> dict[tuple[str, str], pd.Series]:
    """The rows of a table by row and column."""
    return by_cell(release.table(table))


def by_cell(rows: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    return {(str(row["row"]), str(row["column"])): row for _, row in rows.iterrows()}


def harm_words(sentence: str, *, standing: Literal["possible", "found"]) -> str:
    """The worst end of a range with what it is; empty where there is none."""
    lead = {"possible": "A harm that we cannot rule out.", "found": "How bad it could be."}[standing]
    return f"**{lead}** {sentence}" if sentence else ""


def people_behind(row: pd.Series) -> tuple[Row, ...]:
    """How many people stand behind a number, where that is released."""
    count = float(row["n_people"])
    return (Row("People behind this number", f"{count:,.0f}"),) if math.isfinite(count) else ()


def shown(row: pd.Series | None) -> bool:
    """Whether there is a number to tell."""
    return row is not None and row["status"] == "shown" and math.isfinite(row["value"])
