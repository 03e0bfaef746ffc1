"""What each resource costs, in money of the protocol's price year."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.prices import PriceIndex
from evalkit.core.protocol import Protocol
from evalkit.data.codes import PRICE_UNITS
from evalkit.data.tables import Tables


@dataclass(frozen=True)
class PriceList:
    """Unit prices by resource, GBP of `price_year`; `rows` is the table `unit_costs` with them as `real_gbp`.

    `index` is None where the tables hold no `price_index`: then only money of `price_year` can be used.
    """

    price: Mapping[str, float]
    price_year: int
    index: PriceIndex | None
    rows: pd.DataFrame

    def has(self, resource: str) -> bool:
        return resource in self.price

    def of(self, resources: pd.Series) -> np.ndarray:
        """The price of each resource named, shape (n,); raises NotEstimable that lists all which have none."""
        lacking = sorted(set(resources.unique()) - set(self.price))
        if lacking:
            raise NotEstimable([
                Fault("unit_costs", f'there is no price for "{name}"', next_step="Add it, with its source.")
                for name in lacking
            ])  # fmt: skip
        return resources.map(self.price).to_numpy(dtype=np.float64)

    def factor(self, years: np.ndarray, *, where: str) -> np.ndarray:
        """What money of `years` is multiplied by; raises NotEstimable for years that no index reaches."""
        return _factor(self.index, years, self.price_year, where)


def build_price_list(tables: Tables, protocol: Protocol) -> PriceList:
    """The prices of `unit_costs`, uprated by `price_index` to `economics.price_year`.

    A price of which it is not known whether it was seen counts as not verified.

    Raises NotEstimable where there is no table `unit_costs`; a price is missing, negative, given twice or for another
    unit than its resource names; a year lies outside the index; or there is no index though it is needed. All faults of
    `unit_costs` are told at once.
    """
    if not tables.has("unit_costs"):
        raise NotEstimable(Fault("tables", "there is no table unit_costs, so use cannot be priced"))
    if protocol.economics is None:
        raise NotEstimable(Fault("protocol", "it has no [economics] section, so that the year of prices is not known"))
    rows, year = tables.read("unit_costs"), protocol.economics.price_year
    faults = _price_faults(rows)
    if faults:
        raise NotEstimable(faults)
    index = None
    try:
        if tables.has("price_index"):
            index = PriceIndex.from_frame(tables.read("price_index", ["year", "level"]))
    except ParameterError as error:
        raise NotEstimable(list(error.faults)) from None
    factor = _factor(index, rows["price_year"].to_numpy(dtype=np.int64), year, "unit_costs.price_year")
    rows = rows.assign(
        real_gbp=rows["price_gbp"].to_numpy(dtype=np.float64) * factor,
        verified=rows["verified"].astype("boolean").fillna(False).astype(bool),
    )
    return PriceList(dict(zip(rows["resource"], rows["real_gbp"], strict=True)), year, index, rows)


def _price_faults(rows: pd.DataFrame) -> list[Fault]:
    """What is wrong with rows of `unit_costs`, whatever their year."""
    price, named = rows["price_gbp"].astype("float64"), rows["resource"].notna()
    faults = [] if named.all() else [Fault("unit_costs.resource", "a price is for nothing that is named")]
    bad = rows.loc[named & ~(np.isfinite(price) & (price >= 0)), "resource"]
    faults += [Fault("unit_costs", f'the price of "{n}" is missing or negative', allowed="0 or more") for n in bad]
    twice = sorted(set(rows.loc[named & rows["resource"].duplicated(), "resource"]))
    faults += [Fault("unit_costs", f'"{name}" has more than one price') for name in twice]
    unknown = sorted(rows.loc[named & rows["price_year"].isna(), "resource"])
    faults += [Fault("unit_costs", f'the year of the price of "{name}" is missing') for name in unknown]
    for name, unit in zip(rows.loc[named, "resource"], rows.loc[named, "unit"], strict=True):
        wanted = PRICE_UNITS.get(str(name).partition(".")[0])
        if wanted and str(unit) != wanted:
            faults.append(Fault("unit_costs.unit", f'the price of "{name}" is for another unit', allowed=wanted))
    return faults


def _factor(index: PriceIndex | None, years: np.ndarray, price_year: int, where: str) -> np.ndarray:
    if index is None:
        others = np.unique(years[years != price_year])
        if len(others):
            raise NotEstimable(
                Fault(where, f"money of other years than {price_year} cannot be compared without a table price_index",
                      ", ".join(map(str, others)), next_step="Add the table: year, level, source, verified.")
            )  # fmt: skip
        return np.ones(len(years))
    try:
        return index.factor(years, price_year, where=where)
    except ParameterError as error:
        raise NotEstimable(list(error.faults)) from None
