"""The saving claimed on a budget against the saving estimated from what would have been spent, and who bears it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault
from evalkit.core.faults import level_faults, refuse
from evalkit.core.prices import PriceIndex
from evalkit.core.result import Check
from evalkit.economics.budget_table import select_budgets
from evalkit.economics.effects import (
    QUARTERS_PER_YEAR,
    Ranged,
    YearEffect,
    draws_vary,
    list_years,
    log_spread,
    map_range,
    ratio_range,
    sort_years,
    year_label,
)

ClaimIs = Literal["below", "inside", "above", "not_compared"]
ALL_YEARS = "all"
_NAN = math.nan
_WORDS: dict[ClaimIs, str] = {
    "below": "The saving claimed is smaller than any in the range of the saving estimated.",
    "inside": "The saving claimed lies in the range of the saving estimated.",
    "above": "The saving claimed is larger than any in the range of the saving estimated.",
    "not_compared": "The saving claimed cannot be set against the saving estimated.",
}
SCOPE = (
    "The effect was estimated on the cost of the people studied. All that the budget paid for, the service "
    "itself included, is taken to have moved in the same proportion, which no table shows."
)
EXACT = "Budgets are taken as exact: the range holds only the uncertainty of the effect."
NOMINAL = (
    "In pounds as they were paid, prices that rose between the year in which a budget was set and the year in which it "
    "was spent are part of the difference."
)
NO_INDEX = "No price index is given, so money of different years cannot be put in money of one."


@dataclass(frozen=True)
class RealTerms:
    """How money of different years is put in money of `price_year`.

    `original_price_year` is the year in whose money every original budget was set; None where each is in money of the
    year that it is for.
    """

    index: PriceIndex
    price_year: int
    original_price_year: int | None = None


@dataclass(frozen=True)
class BudgetRow:
    """One financial year, or all years together (`key` "all"). GBP for the quarters studied, shares from 0 to 1.

    `claimed_*` is the original less the actual budget, and its share of the original; `estimated_*` the
    counterfactual less the actual, and its share of the counterfactual: above 0 is a saving. `gap_*` is claimed less
    estimated. `claimed_reason` and `estimated_reason` say why a number is not there, and are empty where it is.
    """

    key: str
    label: str
    quarters: float
    original_gbp: float
    actual_gbp: float
    claimed_saving_gbp: float
    claimed_share: float
    counterfactual_gbp: Ranged
    estimated_saving_gbp: Ranged
    estimated_share: Ranged
    gap_gbp: Ranged
    gap_share: Ranged
    claim_is: ClaimIs
    claimed_reason: str
    estimated_reason: str

    @property
    def text(self) -> str:
        """What the comparison found, in a sentence."""
        reasons = dict.fromkeys(r for r in (self.claimed_reason, self.estimated_reason) if r)
        return " ".join([_WORDS[self.claim_is], *reasons])


@dataclass(frozen=True)
class BudgetTerms:
    """Every year of the study in order, and all of them together, in one kind of money."""

    terms: Literal["nominal", "real"]
    years: tuple[BudgetRow, ...]
    overall: BudgetRow


@dataclass(frozen=True)
class BudgetComparison:
    """`nominal`: pounds as they were paid. `real`: in money of one year, or refused where that cannot be done."""

    nominal: BudgetTerms
    real: BudgetTerms
    level: float
    checks: tuple[Check, ...]


def compare_budgets(
    budgets: pd.DataFrame,
    effects: Sequence[YearEffect],
    *,
    level: float,
    programme: str | None = None,
    real_terms: RealTerms | None = None,
) -> BudgetComparison:
    """Original, actual and counterfactual budget, and the saving claimed against the saving estimated.

    The counterfactual is C = A r, with A what was spent and r = counterfactual / actual cost of the people studied in
    that year. Its interval is normal in log r with the spread of the draws, so a claim O - A lies inside the interval
    of C - A exactly if the original budget O lies inside that of C, in pounds as in shares. Over all years
    r = sum A r / sum A, draw by draw. Of a year with fewer than four quarters in the study the budget counts pro rata.

    Parameters
    ----------
    budgets : columns programme, year, original_gbp, actual_gbp, and currency where there is one
    effects : the years to be compared; every one needs a budget

    Raises
    ------
    ParameterError
        A budget table or draws that cannot be used (`select_budgets`, `sort_years`), a level outside 0 to 1, and a
        price year outside the index. An amount that is missing, zero or negative, a year without a budget and draws
        without a ratio are refused in their row, and in all years together.
    """
    refuse(level_faults(level))
    years = sort_years(effects)
    table = select_budgets(budgets, programme)
    ratios = _Ratios.of(years)
    rows = table.reindex(list(ratios.years))
    share = ratios.quarters / QUARTERS_PER_YEAR
    nominal = _terms("nominal", rows.to_numpy() * share[:, None], ratios, _reasons(rows), level)
    real = _real(rows, share, ratios, real_terms, level)
    return BudgetComparison(nominal, real, level, _checks(nominal, table, years, ratios))


@dataclass(frozen=True)
class _Ratios:
    """Counterfactual / actual by year: point (K,), draws (B, K), and a reason where a year has none."""

    years: tuple[int, ...]
    quarters: np.ndarray
    point: np.ndarray
    draws: np.ndarray
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, years: Sequence[YearEffect]) -> _Ratios:
        both = np.array([(e.actual, e.counterfactual) for e in years])
        draws = np.stack([e.draws for e in years], axis=1).astype(np.float64)
        reasons = tuple(_no_ratio(e) for e in years)
        usable = np.array([not r for r in reasons])
        point, drawn = np.full(len(years), _NAN), np.full(draws.shape[:2], _NAN)
        point[usable] = both[usable, 1] / both[usable, 0]
        drawn[:, usable] = draws[:, usable, 1] / draws[:, usable, 0]
        return cls(
            tuple(int(e.year) for e in years), np.array([e.quarters for e in years], float), point, drawn, reasons
        )


def _no_ratio(e: YearEffect) -> str:
    label = year_label(e.year)
    if min(e.actual, e.counterfactual) <= 0:
        return f"{label}: the people studied cost nothing, or would have, so a ratio has no meaning."
    empty = int((e.draws <= 0).any(axis=1).sum())
    if empty:
        return f"{label}: in {empty:,} of {len(e.draws):,} draws nothing was spent, so a ratio has no meaning."
    if not draws_vary(e.draws[:, 1] / e.draws[:, 0]):
        return f"{label}: the draws do not differ, so there is no range."
    return ""


def _reasons(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """By year: why the original, and why the actual budget cannot be used."""
    original, actual = ([_amount_reason(year, value, kind) for year, value in rows[column].items()]
                        for kind, column in (("original", "original_gbp"), ("actual", "actual_gbp")))  # fmt: skip
    return original, actual


def _amount_reason(year: int, value: float, kind: str) -> str:
    if math.isnan(value):
        return f"{year_label(year)}: no {kind} budget is given."
    if value > 0:
        return ""
    what = "is 0, so no share of it can be taken" if value == 0 else "is negative"
    return f"{year_label(year)}: the {kind} budget {what}."


def _real(
    rows: pd.DataFrame, share: np.ndarray, ratios: _Ratios, real_terms: RealTerms | None, level: float
) -> BudgetTerms:
    """The same in money of one year; a year that the index does not reach is refused, as are all years then."""
    original, actual = _reasons(rows)
    if real_terms is None:
        none = [NO_INDEX] * len(rows)
        return _terms("real", np.full(rows.shape, _NAN), ratios, (none, none), level)
    index = real_terms.index
    fixed = {"price_year": real_terms.price_year, "original_price_year": real_terms.original_price_year}
    refuse(
        Fault(where, "the price index does not reach this year", str(year),
              f"{index.years[0]} to {index.years[-1]}, each year listed")
        for where, year in fixed.items() if year is not None and year not in index.years
    )  # fmt: skip
    years = np.array(ratios.years)
    inside = np.isin(years, index.years)
    factor = np.full(rows.shape, _NAN)
    factor[inside] = index.factor(years[inside], real_terms.price_year)[:, None]
    if real_terms.original_price_year is not None:
        factor[:, 0] = index.factor(real_terms.original_price_year, real_terms.price_year)
    for k in np.flatnonzero(~inside):
        reason = f"{year_label(years[k])}: the price index does not reach this year."
        actual[k] = actual[k] or reason
        if real_terms.original_price_year is None:
            original[k] = original[k] or reason
    return _terms("real", rows.to_numpy() * factor * share[:, None], ratios, (original, actual), level)


def _terms(
    terms: Literal["nominal", "real"], amounts: np.ndarray, ratios: _Ratios, reasons: tuple[list[str], list[str]],
    level: float,
) -> BudgetTerms:  # fmt: skip
    """Rows from amounts (K, 2) of original and actual budgets, already pro rata and in one kind of money."""
    original, actual = reasons
    refused = np.array([[bool(r) for r in original], [bool(r) for r in actual]]).T
    amounts = np.where(refused, _NAN, amounts)
    rows = tuple(
        _row(str(year), year_label(year), float(ratios.quarters[k]), amounts[k], ratios.point[k], ratios.draws[:, k],
             _join(original[k], actual[k]), _join(actual[k], ratios.reasons[k]), level)
        for k, year in enumerate(ratios.years)
    )  # fmt: skip
    spent = amounts[:, 1]
    claimed, estimated = _join(*original, *actual), _join(*actual, *ratios.reasons)
    usable = not estimated
    point = spent @ ratios.point / spent.sum() if usable else _NAN
    draws = ratios.draws @ spent / spent.sum() if usable else ratios.draws[:, 0]
    overall = _row(ALL_YEARS, "All years", float(ratios.quarters.sum()), amounts.sum(axis=0), point, draws, claimed,
                   estimated, level)  # fmt: skip
    return BudgetTerms(terms, rows, overall)


def _join(*reasons: str) -> str:
    return " ".join(dict.fromkeys(r for r in reasons if r))


def _row(
    key: str, label: str, quarters: float, amounts: np.ndarray, ratio: float, draws: np.ndarray, claimed_reason: str,
    estimated_reason: str, level: float,
) -> BudgetRow:  # fmt: skip
    original, actual = float(amounts[0]), float(amounts[1])
    claimed, claimed_share = _NAN, _NAN
    counterfactual = saving = share = gap = gap_share = Ranged()
    if not claimed_reason:
        claimed, claimed_share = original - actual, 1 - actual / original
    if not estimated_reason:
        ranged = ratio_range(ratio, log_spread(draws), level)
        counterfactual, saving = map_range(ranged, actual, 0.0), map_range(ranged, actual, -actual)
        share = Ranged(1 - 1 / ranged.value, 1 - 1 / ranged.lower, 1 - 1 / ranged.upper)
    claim_is: ClaimIs = "not_compared"
    if not claimed_reason and not estimated_reason:
        gap, gap_share = map_range(saving, -1.0, claimed), map_range(share, -1.0, claimed_share)
        claim_is = "below" if original < counterfactual.lower else "inside"
        claim_is = "above" if original > counterfactual.upper else claim_is
    return BudgetRow(
        key, label, quarters, original, actual, claimed, claimed_share, counterfactual, saving, share, gap, gap_share,
        claim_is, claimed_reason, estimated_reason,
    )  # fmt: skip


def _checks(
    nominal: BudgetTerms, table: pd.DataFrame, years: Sequence[YearEffect], ratios: _Ratios
) -> tuple[Check, ...]:
    """What a reader must know before believing the comparison."""
    missing = sorted(set(ratios.years) - set(table.index))
    beyond = sorted(set(table.index) - set(ratios.years))
    part = [e for e in years if e.quarters < QUARTERS_PER_YEAR]
    of_year = ", ".join(f"{year_label(e.year)} ({e.quarters:g} of {QUARTERS_PER_YEAR} quarters)" for e in part)
    span = [(d.min(), d.max()) for d in ratios.draws.T]
    astray = [y for y, p, (low, high) in zip(ratios.years, ratios.point, span, strict=True) if not low <= p <= high]
    astray = [y for y in astray if not ratios.reasons[ratios.years.index(y)]]
    return (
        Check("claim", None, nominal.overall.claimed_share, nominal.overall.text),
        Check("budgets_cover_period", not missing, float(len(missing)),
              f"The table budgets has no row for {list_years(missing)}." if missing
              else "Every year of the study has a row in the table budgets."),
        Check("years_whole", not part, float(len(part)),
              f"Only part of these years is in the study, and of their budgets only that share counts, as if spending "
              f"were even over the year: {of_year}." if part else "Every year compared lies wholly in the study."),
        Check("budgets_beyond_period", None, float(len(beyond)),
              f"Budgets of years outside the study are left out: {list_years(beyond)}." if beyond
              else "No budget is of a year outside the study."),
        Check("estimate_among_draws", not astray, float(len(astray)),
              f"The estimate lies outside all of its draws, so they do not belong together: {list_years(astray)}."
              if astray else "Each estimate lies among its draws."),
        Check("same_scope", None, _NAN, SCOPE),
        Check("budgets_exact", None, _NAN, EXACT),
        Check("money_of_the_day", None, _NAN, NOMINAL),
    )  # fmt: skip


def spent_by_year(terms: BudgetTerms) -> dict[int, float]:
    """What was spent in each year's quarters studied, GBP, for `split_by_payer`.

    Raises ParameterError that lists the years whose actual budget cannot be used.
    """
    refuse(Fault("budgets", row.estimated_reason) for row in terms.years if row.estimated_reason)
    return {int(row.key): row.actual_gbp for row in terms.years}
