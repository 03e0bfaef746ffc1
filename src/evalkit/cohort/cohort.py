"""A cohort that remembers why each person is not in it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from evalkit.cohort.residence import area_on, derive_area_group, derive_residence
from evalkit.core.dates import as_days
from evalkit.core.protocol import Protocol
from evalkit.core.result import Cell
from evalkit.data.tables import Tables

RESIDENTIAL = ("residential_care", "nursing_care")


@dataclass(frozen=True)
class Exclusion:
    """People left out by one rule, in the order in which rules were applied."""

    key: str
    reason: str
    n_people: int


@dataclass(frozen=True)
class Cohort:
    """People who are studied, one row each, and the exclusions that led to them. Holds no outcome."""

    people: pd.DataFrame
    n_start: int
    exclusions: tuple[Exclusion, ...] = field(default=())

    @classmethod
    def of(cls, people: pd.DataFrame) -> Cohort:
        """Start from everybody in the tables."""
        return cls(people.reset_index(drop=True), len(people))

    def require(self, keep: pd.Series | np.ndarray, *, key: str, reason: str) -> Cohort:
        """Keep the people for whom `keep` (bool, shape (n,)) is true; null counts as false."""
        kept = pd.Series(np.asarray(keep), index=self.people.index).fillna(False).astype(bool)
        exclusion = Exclusion(key, reason, int((~kept).sum()))
        return replace(self, people=self.people[kept].reset_index(drop=True), exclusions=(*self.exclusions, exclusion))

    def cells(self, group: pd.Series) -> list[Cell]:
        """The attrition table: start, each exclusion, included, and how the included divide by `group`."""
        count = "count"
        rows = [Cell("start", "people", self.n_start, count, label="People in the tables")]
        rows += [
            Cell(f"excluded.{e.key}", "people", e.n_people, count, totals=("start/people",), label=e.reason)
            for e in self.exclusions
        ]
        rows.append(
            Cell("included", "people", len(self.people), count, totals=("start/people",), label="People included")
        )
        rows += [
            Cell(f"group.{name}", "people", int(n), count, totals=("included/people",), label=str(name))
            for name, n in group.value_counts().sort_index().items()
        ]
        return rows


def build_cohort(tables: Tables, protocol: Protocol) -> Cohort:
    """People alive, of age and answered for by a study area at go-live who had recent use of services.

    Recent use is a day on a ward or in a care home in the `eligible_use_days` before go-live, whoever
    later met the programme: intention to treat. Each rule's exclusions are counted in order.
    """
    if protocol.dates.adoption is None:
        raise ValueError("a cohort at go-live needs a single adoption date")
    return build_cohort_on(tables, protocol, protocol.dates.adoption, called="go-live")


def build_cohort_on(tables: Tables, protocol: Protocol, date: dt.date, *, called: str) -> Cohort:
    """The same cohort on any day, such as one a year before go-live; `called` names the day in words.

    `people` has the columns of the table people, `area_then`, `group` (the treated areas' label or Comparators)
    and `age_years`.
    """
    day = np.datetime64(date, "D")
    people = tables.read("people")
    residence = derive_residence(tables, protocol)
    people["area_then"] = area_on(residence, people["person_id"], np.full(len(people), day)).to_numpy()
    people["group"] = derive_area_group(people["area_then"], protocol)
    population = protocol.population
    cohort = Cohort.of(people.assign(age_years=date.year - people["birth_year"]))
    death = as_days(cohort.people["death_date"])
    cohort = cohort.require(np.isnat(death) | (death > day), key="died", reason=f"Died before {called}")
    cohort = cohort.require(
        cohort.people["group"].notna(), key="elsewhere", reason=f"Not answered for by a study area at {called}"
    )
    cohort = cohort.require(
        cohort.people["age_years"].between(population.min_age_years, population.max_age_years),
        key="age",
        reason=f"Not {population.min_age_years} to {population.max_age_years} years old at {called}",
    )
    return cohort.require(
        cohort.people["person_id"].isin(_recent_use(tables, day - population.eligible_use_days, day)),
        key="no_recent_use",
        reason=f"No day on a ward or in a care home in the {population.eligible_use_days} days before {called}",
    )


def _recent_use(tables: Tables, start: np.datetime64, end: np.datetime64) -> set[str]:
    """People with a ward or care-home day inside `[start, end)`."""
    found: set[str] = set()
    for name in ("ward_stays", "placements"):
        if not tables.has(name):
            continue
        rows = tables.read(name)
        if name == "placements":
            rows = rows[rows["setting"].isin(RESIDENTIAL)]
        began, ended = as_days(rows["start"]), as_days(rows["end"])
        touches = (began < end) & (np.isnat(ended) | (ended > start)) & ~(ended <= began)
        found |= set(rows["person_id"][touches])
    return found
