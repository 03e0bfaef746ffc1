"""RECORD for this release: the 13 additions to STROBE for routinely collected records, and where each stands.

Benchimol and others (2015), PLoS Medicine 12:e1001885; what each item asks is told in our own words. Whether something
is there is looked up in the release and the protocol each time, and what is in neither is left blank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from evalkit.report.checklist import Item, all_of, always, build_checklist, if_rows, nowhere, place, show_checklist

if TYPE_CHECKING:
    from evalkit.disclose.release import Release


def show_record(release: Release) -> None:
    """The checklist as a table."""
    show_checklist(build_record(release), name="RECORD", key="record",
                   what=f"The {len(ITEMS)} additions of RECORD to STROBE [@benchimol2015]")  # fmt: skip


def build_record(release: Release) -> pd.DataFrame:
    """One row an item; see `build_checklist`."""
    return build_checklist(ITEMS, release)


def _people(release: Release) -> list[str]:
    """How a person comes into an analysis is in the methods where people, and not areas alone, are compared."""
    kinds = {o.kind for o in release.protocol.outcomes} & {"readmission", "cost"}
    told = [place("Protocol and estimands", "text-protocol")]
    return [*told, place("Methods", "text-methods")] if kinds else told


_ABSTRACT = always("Abstract", "text-abstract")

ITEMS = (
    Item("1.1", "Title and abstract", "What kind of records were used, with the names of the databases", _ABSTRACT,
         "The kind of records alone; databases are not named."),
    Item("1.2", "Title and abstract", "The place and the years that the records cover", _ABSTRACT),
    Item("1.3", "Title and abstract", "That databases were linked, if they were", nowhere),
    Item("6.1", "Participants", "How people were selected, with codes or algorithms", _people,
         "Codes are in the protocol and the code, named by their digests."),
    Item("6.2", "Participants", "Whether the way of selecting them was validated", nowhere),
    Item("6.3", "Participants", "If databases were linked: a diagram of it, with numbers at each stage", nowhere),
    Item("7.1", "Variables", "Every code or algorithm by which exposure, outcomes and confounders were classified",
         always("Protocol and estimands", "tab-definitions"),
         "Outcomes in words; codes are in the protocol and the code, named by their digests."),
    Item("12.1", "Statistical methods", "How far the authors had access to the population of the database", nowhere),
    Item("12.2", "Statistical methods", "How the data were cleaned",
         if_rows("data_missing", "Participants", "tab-missing"),
         "What is missing; the rules that tables are held to are in the data dictionary."),
    Item("12.3", "Statistical methods", "Whether and how records of people were linked, and how well", nowhere),
    Item("13.1", "Participants", "How people were chosen from the records, by quality, availability and linkage",
         if_rows("attrition", "Participants", "fig-flow")),
    Item("19.1", "Limitations", "What follows from records that were not made for this question",
         always("Limitations", "text-limitations")),
    Item("22.1", "Other information", "Where the protocol, data and code can be had",
         all_of(always("Protocol and estimands", "text-protocol"), always("Provenance", "tab-provenance")),
         "Each is named by its digest; where it can be had is not said."),
)  # fmt: skip
