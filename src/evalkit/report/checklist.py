"""A reporting checklist for one release: each item, and where in the report it stands, if it stands anywhere.

Whether something is there is looked up in the release and the protocol each time; nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report.display import show_table, show_text

if TYPE_CHECKING:
    from evalkit.disclose.release import Release

NOT_REPORTED = "not reported"
Where = Callable[["Release"], list[str]]


@dataclass(frozen=True)
class Item:
    """One item or part of one: `3a`, its name, what it asks in our own words, and the ids that answer it in a release.

    `where` gives places `Section (ids)`; an item whose answer is known to be partial says in `lacks` what is missing.
    """

    number: str
    name: str
    asks: str
    where: Where
    lacks: str = ""


def build_checklist(items: Sequence[Item], release: Release) -> pd.DataFrame:
    """One row an item: `Item`, `What it asks`, `Where in this report` (or "not reported"), `What is missing`."""
    rows = []
    for item in items:
        found = item.where(release)
        rows.append({
            "Item": f"{item.number}. {item.name}", "What it asks": item.asks,
            "Where in this report": "; ".join(found) if found else NOT_REPORTED,
            "What is missing": item.lacks if found else "",
        })  # fmt: skip
    return pd.DataFrame(rows)


def show_checklist(table: pd.DataFrame, *, name: str, key: str, what: str) -> None:
    """The checklist `name` as a table `tab-{key}`, led by how much of `what` it asks for is there."""
    missing = int((table["Where in this report"] == NOT_REPORTED).sum())
    text = (f"{what}, looked up in this release and its protocol: {len(table) - missing} have a place in this report, "
            f"in whole or in part, and {missing} are not reported. Whether what stands there is enough is for the "
            "reader to judge.")  # fmt: skip
    show_text(text, id=f"text-{key}")
    show_table(table, id=f"tab-{key}", caption=f"{name}: items and where they are reported",
               note="In brackets: the name of the paragraph, table or figure, which is its anchor in the HTML "
                    "report.")  # fmt: skip


def always(section: str, *ids: str) -> Where:
    """What stands in every report."""
    return lambda _: [place(section, *ids)]


def if_rows(table: str, section: str, *ids: str) -> Where:
    """What stands there where the release has a table, if only with its reasons."""
    return lambda release: [place(section, *ids)] if len(release.table(table)) else []


def if_numbers(table: str, section: str, *ids: str) -> Where:
    """What stands there where any number of a table is released."""
    return lambda release: [place(section, *ids)] if release.table(table)["value"].notna().any() else []


def all_of(*parts: Where) -> Where:
    return lambda release: list(dict.fromkeys(text for part in parts for text in part(release)))


def nowhere(_: Release) -> list[str]:
    """Neither the protocol nor a release has a field for it."""
    return []


def place(section: str, *ids: str) -> str:
    """`Costs and value (tab-value-prices, text-value-method)`."""
    return f"{section} ({', '.join(ids)})"
