"""Public cost of each person in each quarter: what was used, times what it cost, in money of one year."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evalkit.cohort.price_list import PriceList, build_price_list
from evalkit.core.dates import as_days, overlap_days, period_ends, period_starts
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.outcomes import CostOutcome
from evalkit.core.prices import financial_year
from evalkit.core.protocol import Protocol
from evalkit.data.codes import CODES
from evalkit.data.tables import Tables

DAYS_PER_WEEK = 7.0
PARTS = ("wards", "placements", "contacts", "programme", "housing")
NHS_PARTS = ("wards", "contacts")
FUNDERS = tuple(CODES["funder"])


@dataclass(frozen=True)
class PersonCosts:
    """Cost of people in periods, GBP of the protocol's price year, by part; arrays have shape (n, T).

    `person_id` (n,), `starts` and `ends` (T,) datetime64[D]. `parts` is at the prices paid. Only placements have
    prices of their own: `standard_placements` is the same weeks at unit prices, so that the difference is price and
    not use. `nhs_placements` is what of `parts["placements"]` the NHS bears, and `joint_nhs_share` its share of the
    programme. `housing`, where it is priced, is what others pay for where people live; it is a part from the public
    sector's side alone.
    """

    person_id: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    parts: Mapping[str, np.ndarray]
    standard_placements: np.ndarray
    nhs_placements: np.ndarray
    joint_nhs_share: float
    housing: np.ndarray | None = None

    def spread_over(self, quarters: float) -> PersonCosts:
        """The same per quarter, of periods that are so many quarters long."""
        housing = None if self.housing is None else self.housing / quarters
        return replace(
            self, parts={name: cost / quarters for name, cost in self.parts.items()}, housing=housing,
            standard_placements=self.standard_placements / quarters, nhs_placements=self.nhs_placements / quarters,
        )  # fmt: skip

    @property
    def total(self) -> np.ndarray:
        """GBP at the prices paid."""
        return np.sum(list(self.parts.values()), axis=0)

    @property
    def standard(self) -> np.ndarray:
        """GBP with everything at its unit price: this moves with use alone."""
        return self.total - self.parts.get("placements", 0.0) + self.standard_placements

    @property
    def nhs(self) -> np.ndarray:
        """GBP borne by the NHS at the prices paid."""
        own = sum((self.parts[name] for name in NHS_PARTS if name in self.parts), np.zeros_like(self.nhs_placements))
        return own + self.nhs_placements + self.joint_nhs_share * self.parts.get("programme", 0.0)

    @property
    def local_authority(self) -> np.ndarray:
        """GBP borne by the council at the prices paid."""
        return self.total - self.nhs - self.parts.get("housing", 0.0)


@dataclass(frozen=True)
class _Grid:
    """Whose cost is laid on which periods; `death` (n,) datetime64[D], NaT for the living."""

    people: pd.Index
    death: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


def build_costs(tables: Tables, protocol: Protocol, outcome: CostOutcome, person_id: pd.Series) -> PersonCosts:
    """Cost of each listed person in each period of the study; nothing is spent on the dead.

    Ward days at `ward_day.<type>` (`ward_day.out_of_area` when out of area and so priced); placements at their own
    weekly price, which is in money of the year in which they began, or else at `placement_week.<setting>`; attended
    contacts at `contact`; the programme at `programme_week.<programme>`; from the public sector's side also
    `housing_week.<setting>`. What is jointly funded is shared between the NHS and the council as the protocol says.

    Raises NotEstimable where `unit_costs` is absent or lacks a price that is needed (all are listed), where a price is
    missing or negative, where a year lies outside `price_index`, where nobody known pays for a placement, and where
    somebody stands in `people` twice.
    """
    nhs, council = outcome.perspective != "local_authority", outcome.perspective != "nhs"
    needed = [name for name, wanted in (("ward_stays", nhs), ("placements", council)) if wanted]
    absent = [name for name in needed if not tables.has(name)]
    if absent:
        raise NotEstimable([Fault("tables", f'there is no table "{name}", a part of this cost') for name in absent])
    prices, share = build_price_list(tables, protocol), protocol.economics.joint_nhs_share
    starts = period_starts(protocol.dates.study, protocol.dates.period)
    people = pd.Index(person_id)
    deaths = tables.read("people", ["person_id", "death_date"]).set_index("person_id")["death_date"]
    if deaths.index.has_duplicates:
        raise NotEstimable(Fault("people.person_id", "some people stand in the table twice"))
    grid = _Grid(people, as_days(deaths.reindex(people)), starts, period_ends(starts, protocol.dates.period))
    parts: dict[str, np.ndarray] = {}
    nothing = np.zeros((len(people), len(starts)))
    standard = of_nhs = nothing
    housing = None
    if nhs and tables.has("ward_stays"):
        parts["wards"] = _spread(*_priced_stays(tables, prices, grid), grid)
    if tables.has("placements"):
        rows = _of_the_grid(tables.read("placements"), grid)
        paid, unit = _priced_placements(rows, prices)
        nhs_share, council_share = _share_out(rows["funder"], share)
        nhs_share *= nhs
        borne = nhs_share + council_share * council
        parts["placements"] = _spread(rows, paid * borne, grid)
        standard, of_nhs = _spread(rows, unit * borne, grid), _spread(rows, paid * nhs_share, grid)
        if any(name.startswith("housing_week.") for name in prices.price):
            housing = _spread(rows, _priced_housing(rows, prices), grid)
    if nhs and tables.has("contacts"):
        parts["contacts"] = _contacts(tables, prices, grid)
    if outcome.include_programme and tables.has("programme_episodes"):
        rows = _of_the_grid(tables.read("programme_episodes"), grid)
        daily = prices.of("programme_week." + rows["programme"].astype(str)) / DAYS_PER_WEEK
        parts["programme"] = _spread(rows, daily * (share * nhs + (1 - share) * council), grid)
    if outcome.perspective == "public_sector":
        if housing is None:
            raise NotEstimable(
                Fault("unit_costs", "no price begins with housing_week, which the public sector's side needs",
                      next_step="Add them, or choose the perspective nhs_and_local_authority.")
            )  # fmt: skip
        parts["housing"] = housing
    own_share = {"nhs": 1.0, "local_authority": 0.0}.get(outcome.perspective, share)
    return PersonCosts(people.to_numpy(), starts, grid.ends, parts, standard, of_nhs, own_share, housing)


def _of_the_grid(rows: pd.DataFrame, grid: _Grid) -> pd.DataFrame:
    """What may lie on the grid: of other people, and of other times, no price is needed. A missing date stays in."""
    start, end = as_days(rows["start"]), as_days(rows["end"])
    near = ~(start >= grid.ends[-1]) & ~(end <= grid.starts[0])
    return rows[near & rows["person_id"].isin(grid.people).to_numpy()].reset_index(drop=True)


def _priced_stays(tables: Tables, prices: PriceList, grid: _Grid) -> tuple[pd.DataFrame, np.ndarray]:
    rows = tables.read("ward_stays", ["person_id", "ward_type", "start", "end", "out_of_area"])
    rows = _of_the_grid(rows, grid)
    return rows, prices.of(_name_ward_days(rows, prices))


def _name_ward_days(rows: pd.DataFrame, prices: PriceList) -> pd.Series:
    """The resource of each stay's days."""
    resource = "ward_day." + rows["ward_type"].astype(str)
    if prices.has("ward_day.out_of_area"):
        away = rows["out_of_area"].astype("boolean").fillna(False).astype(bool)
        resource = resource.mask(away, "ward_day.out_of_area")
    return resource


def _share_out(funder: pd.Series, joint_nhs_share: float) -> tuple[np.ndarray, np.ndarray]:
    """What of each placement the NHS and the council bear; nothing of what people pay for themselves."""
    if not funder.isin(FUNDERS).all():
        step = "Correct the table: what nobody known pays for would not be counted."
        raise NotEstimable(
            Fault("placements.funder", "some are missing or unknown", allowed=", ".join(FUNDERS), next_step=step)
        )
    joint = (funder == "joint").to_numpy(dtype=np.float64)
    nhs, council = ((funder == name).to_numpy(dtype=np.float64) for name in ("nhs", "local_authority"))
    return nhs + joint * joint_nhs_share, council + joint * (1 - joint_nhs_share)


def _priced_placements(rows: pd.DataFrame, prices: PriceList) -> tuple[np.ndarray, np.ndarray]:
    """Daily price paid and daily unit price of each placement.

    A placement whose setting has no unit price counts in both at its own.
    """
    weekly = rows["weekly_cost_gbp"].to_numpy(dtype=np.float64, na_value=np.nan)
    recorded = np.isfinite(weekly)
    if (weekly[recorded] < 0).any():
        raise NotEstimable(Fault("placements.weekly_cost_gbp", "some are below nought", allowed="0 or more"))
    paid = weekly.copy()
    if recorded.any():
        start = as_days(rows.loc[recorded, "start"])
        if np.isnat(start).any():
            raise NotEstimable(Fault("placements.start", "some are missing, and with them the year of their price"))
        paid[recorded] *= prices.factor(financial_year(start), where="placements.start")
    setting = "placement_week." + rows["setting"].astype(str)
    if not recorded.all():
        paid[~recorded] = prices.of(setting[~recorded])
    unit = setting.map(prices.price).to_numpy(dtype=np.float64)
    return paid / DAYS_PER_WEEK, np.where(np.isfinite(unit), unit, paid) / DAYS_PER_WEEK


def _priced_housing(rows: pd.DataFrame, prices: PriceList) -> np.ndarray:
    """Daily cost to others of living where one is placed; a setting without a price costs them nothing."""
    price = {name.removeprefix("housing_week."): x for name, x in prices.price.items() if name.startswith("housing_")}
    return rows["setting"].map(price).fillna(0.0).to_numpy(dtype=np.float64) / DAYS_PER_WEEK


def _spread(rows: pd.DataFrame, daily_gbp: np.ndarray, grid: _Grid) -> np.ndarray:
    """Daily cost of each interval, up to death, laid on people and periods; shape (n_people, T)."""
    place = grid.people.get_indexer(rows["person_id"])
    known = place >= 0
    place, daily = place[known], daily_gbp[known]
    began, ended = as_days(rows["start"])[known], as_days(rows["end"])[known]
    ended = np.fmin(np.where(np.isnat(ended), grid.ends[-1], ended), grid.death[place])
    return np.column_stack(
        [
            np.bincount(place, weights=overlap_days(began, ended, s, e) * daily, minlength=len(grid.people))
            for s, e in zip(grid.starts, grid.ends, strict=True)
        ]
    )


def _contacts(tables: Tables, prices: PriceList, grid: _Grid) -> np.ndarray:
    rows = tables.read("contacts", ["person_id", "date", "attended"])
    rows = rows[rows["attended"].astype("boolean").fillna(False)]
    price = float(prices.of(pd.Series(["contact"]))[0])
    day, place = as_days(rows["date"]), grid.people.get_indexer(rows["person_id"])
    period = np.searchsorted(grid.starts, day, side="right") - 1
    inside = (place >= 0) & (period >= 0) & (day < grid.ends[-1]) & ~(day > grid.death[place])
    counts = np.zeros((len(grid.people), len(grid.starts)))
    np.add.at(counts, (place[inside], period[inside]), 1.0)
    return counts * price
