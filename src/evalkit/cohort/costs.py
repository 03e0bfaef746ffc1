"""Public cost of each person in each quarter: what was used, times what it cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.core.dates import as_days, overlap_days, period_ends, period_starts
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import CostOutcome
from evalkit.core.protocol import Protocol
from evalkit.data.tables import Tables

DAYS_PER_WEEK = 7.0
NHS_PARTS = ("wards", "contacts")
_FUNDERS = {
    "nhs": ("nhs", "joint"),
    "local_authority": ("local_authority", "joint"),
    "nhs_and_local_authority": ("nhs", "local_authority", "joint"),
}


@dataclass(frozen=True)
class PersonCosts:
    """Cost of people in periods, by part.

    `person_id` (n,), `starts` (T,) datetime64[D], `parts` name -> GBP array (n, T).
    """

    person_id: np.ndarray
    starts: np.ndarray
    parts: dict[str, np.ndarray]

    @property
    def total(self) -> np.ndarray:
        """GBP, shape (n, T)."""
        return np.sum(list(self.parts.values()), axis=0)


def build_costs(tables: Tables, protocol: Protocol, outcome: CostOutcome, person_id: pd.Series) -> PersonCosts:
    """Cost of each listed person in each period of the study; nothing is spent on the dead.

    Ward days at `ward_day.<type>` (`ward_day.out_of_area` when out of area and so priced), placements
    at their own weekly cost or else `placement_week.<setting>`, attended contacts at `contact`, the
    programme at `programme_week.<programme>`. Joint funding counts in full on either public side.

    Raises NotEstimable where `unit_costs` is absent or lacks a price that is needed (all are listed).
    """
    if not tables.has("unit_costs"):
        raise NotEstimable(Fault("tables", "there is no table unit_costs, so use cannot be priced"))
    nhs, council = outcome.perspective != "local_authority", outcome.perspective != "nhs"
    needed = [name for name, wanted in (("ward_stays", nhs), ("placements", council)) if wanted]
    absent = [name for name in needed if not tables.has(name)]
    if absent:
        raise NotEstimable([Fault("tables", f'there is no table "{name}", a part of this cost') for name in absent])
    prices = tables.read("unit_costs").set_index("resource")["price_gbp"].astype(float)
    starts = period_starts(protocol.dates.study, protocol.dates.period)
    ends = period_ends(starts, protocol.dates.period)
    people = pd.Index(person_id)
    deaths = tables.read("people", ["person_id", "death_date"]).set_index("person_id")["death_date"]
    death = as_days(deaths.reindex(people))
    parts: dict[str, np.ndarray] = {}
    if nhs and tables.has("ward_stays"):
        parts["wards"] = _spread(*_priced_stays(tables, prices), people, death, starts, ends)
    if tables.has("placements"):
        rows, daily = _priced_placements(tables, prices, _FUNDERS[outcome.perspective])
        parts["placements"] = _spread(rows, daily, people, death, starts, ends)
    if nhs and tables.has("contacts"):
        parts["contacts"] = _contacts(tables, prices, people, death, starts, ends)
    if outcome.include_programme and (nhs or council) and tables.has("programme_episodes"):
        rows, daily = _priced_programme(tables, prices)
        parts["programme"] = _spread(rows, daily, people, death, starts, ends)
    return PersonCosts(people.to_numpy(), starts, parts)


def _price(prices: pd.Series, resources: pd.Series) -> np.ndarray:
    lacking = sorted(set(resources.unique()) - set(prices.index))
    if lacking:
        raise NotEstimable([Fault("unit_costs", f'there is no price for "{name}"') for name in lacking])
    return resources.map(prices).to_numpy(dtype=np.float64)


def _priced_stays(tables: Tables, prices: pd.Series) -> tuple[pd.DataFrame, np.ndarray]:
    rows = tables.read("ward_stays", ["person_id", "ward_type", "start", "end", "out_of_area"])
    resource = "ward_day." + rows["ward_type"].astype(str)
    if "ward_day.out_of_area" in prices.index:
        resource = resource.mask(
            rows["out_of_area"].astype("boolean").fillna(False).astype(bool), "ward_day.out_of_area"
        )
    return rows, _price(prices, resource)


def _priced_placements(tables: Tables, prices: pd.Series, funders: tuple[str, ...]) -> tuple[pd.DataFrame, np.ndarray]:
    rows = tables.read("placements")
    rows = rows[rows["funder"].isin(funders)].reset_index(drop=True)
    weekly = rows["weekly_cost_gbp"].to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    unpriced = np.isnan(weekly)
    if unpriced.any():
        weekly[unpriced] = _price(prices, "placement_week." + rows.loc[unpriced, "setting"].astype(str))
    return rows, weekly / DAYS_PER_WEEK


def _priced_programme(tables: Tables, prices: pd.Series) -> tuple[pd.DataFrame, np.ndarray]:
    rows = tables.read("programme_episodes")
    return rows, _price(prices, "programme_week." + rows["programme"].astype(str)) / DAYS_PER_WEEK


def _spread(
    rows: pd.DataFrame,
    daily_gbp: np.ndarray,
    people: pd.Index,
    death: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
) -> np.ndarray:
    """Daily cost of each interval, up to death, laid on people and periods; shape (n_people, T)."""
    place = people.get_indexer(rows["person_id"])
    known = place >= 0
    place, daily = place[known], daily_gbp[known]
    began, ended = as_days(rows["start"])[known], as_days(rows["end"])[known]
    ended = np.fmin(np.where(np.isnat(ended), ends[-1], ended), death[place])
    return np.column_stack(
        [
            np.bincount(place, weights=overlap_days(began, ended, s, e) * daily, minlength=len(people))
            for s, e in zip(starts, ends, strict=True)
        ]
    )


def _contacts(
    tables: Tables, prices: pd.Series, people: pd.Index, death: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> np.ndarray:
    rows = tables.read("contacts", ["person_id", "date", "attended"])
    rows = rows[rows["attended"].astype("boolean").fillna(False)]
    price = float(_price(prices, pd.Series(["contact"]))[0])
    day, place = as_days(rows["date"]), people.get_indexer(rows["person_id"])
    period = np.searchsorted(starts, day, side="right") - 1
    inside = (place >= 0) & (period >= 0) & (day < ends[-1]) & ~(day > death[place])
    counts = np.zeros((len(people), len(starts)))
    np.add.at(counts, (place[inside], period[inside]), 1.0)
    return counts * price
