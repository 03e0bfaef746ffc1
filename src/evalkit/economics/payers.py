"""Who bears a saving: each payer's part of what would have been spent less its part of what was."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.core.errors import Fault
from evalkit.core.faults import is_finite, level_faults, refuse
from evalkit.core.result import Check
from evalkit.economics.effects import (
    Ranged,
    YearEffect,
    list_years,
    log_spread,
    map_range,
    normal_range,
    ratio_range,
    sort_years,
)

_COVERED = 1e-6  # relative difference of the payers' costs from the whole that is arithmetic alone
REMAINDER = (
    "The payers' savings need not add up to the whole: what would have been spent is carried forward in proportion, "
    "for each payer by the trend of its own costs and for the whole by the trend of all. The remainder is stated, not "
    "shared out."
)
SHARE_OF_NIL = "The range of the whole saving holds none at all, and a share of what may be nothing has no meaning."
PAID_ALIKE = "The budget is taken to have been paid for by each payer in the proportions of the people's own cost."


@dataclass(frozen=True)
class PayerSaving:
    """What one payer saved, over all years; below 0 it paid more.

    `saving_gbp` with its interval; `own_share` as a share of what it would have paid; `share_of_saving` of the whole
    saving. `own_reason` and `share_reason` say why a share is not there.
    """

    payer: str
    saving_gbp: Ranged
    own_share: Ranged
    own_reason: str
    share_of_saving: float
    share_reason: str


@dataclass(frozen=True)
class PayerSplit:
    """`remainder_gbp` is the whole saving less that of the payers together; `uncovered_share` what they do not pay."""

    payers: tuple[PayerSaving, ...]
    total_saving_gbp: Ranged
    remainder_gbp: Ranged
    uncovered_share: float
    level: float
    checks: tuple[Check, ...]


def split_by_payer(
    spent_gbp: Mapping[int, float],
    total: Sequence[YearEffect],
    payers: Mapping[str, Sequence[YearEffect]],
    *,
    level: float,
) -> PayerSplit:
    """Savings by payer, sum over years of A (counterfactual of the payer - its actual) / actual of all payers.

    Draw by draw, with normal intervals from the spread of the draws; the whole has the interval of `compare_budgets`,
    normal in the logarithm. Under ratio trends the counterfactuals of the
    payers do not add up to that of the whole; the difference is returned with its interval.

    Parameters
    ----------
    spent_gbp : by financial year, what was spent in the quarters studied (`spent_by_year`), GBP
    total : cost per person-quarter of all payers together
    payers : the same by payer, for the same years and the same replicates; a payer may pay nothing

    Raises
    ------
    ParameterError
        Years that differ between `spent_gbp`, `total` and a payer; numbers of draws that differ; amounts that are
        missing, zero or negative; a total cost of nothing in a year or draw; no payer.
    """
    whole = sort_years(total, where="total")
    parts = {name: sort_years(effects, where=f"payer {name}") for name, effects in payers.items()}
    refuse([*level_faults(level), *_split_faults(spent_gbp, whole, parts)])
    spent = np.array([spent_gbp[e.year] for e in whole], dtype=np.float64)
    base, base_draws = _stack(whole)
    scale, scale_draws = spent / base[:, 0], spent / base_draws[:, :, 0]

    def sums(effects: Sequence[YearEffect]) -> tuple[np.ndarray, np.ndarray]:
        """Actual and counterfactual over all years in the budget's pounds, (2,) and (B, 2)."""
        point, draws = _stack(effects)
        return scale @ point, np.einsum("bk,bkc->bc", scale_draws, draws)

    paid = {"": sums(whole)} | {name: sums(effects) for name, effects in parts.items()}
    saved = {name: (float(p[1] - p[0]), d[:, 1] - d[:, 0]) for name, (p, d) in paid.items()}
    all_value, all_draws = saved[""]
    spent_sum = float(paid[""][0][0])
    ratio = ratio_range(paid[""][0][1] / spent_sum, log_spread(paid[""][1][:, 1]), level)
    all_range = map_range(ratio, spent_sum, -spent_sum)
    no_share = SHARE_OF_NIL if all_range.lower <= 0 <= all_range.upper else ""
    rows = []
    for name in parts:
        own_reason = _own_reason(name, *paid[name])
        rows.append(PayerSaving(
            name, normal_range(*saved[name], level),
            Ranged() if own_reason else _own_share(*paid[name], level), own_reason,
            math.nan if no_share else saved[name][0] / all_value, no_share,
        ))  # fmt: skip
    rest = all_value - sum(saved[name][0] for name in parts)
    rest_draws = all_draws - np.sum([saved[name][1] for name in parts], axis=0)
    uncovered = float(1 - sum(paid[name][0][0] for name in parts) / spent_sum)
    checks = _checks(uncovered, rest / all_value if all_value else math.nan)
    return PayerSplit(tuple(rows), all_range, normal_range(rest, rest_draws, level), uncovered, level, checks)


def _split_faults(
    spent_gbp: Mapping[int, float], whole: Sequence[YearEffect], parts: Mapping[str, Sequence[YearEffect]]
) -> list[Fault]:
    faults = [] if parts else [Fault("payers", "there is no payer in it")]
    years = {e.year for e in whole}
    for name, found in {
        "spent_gbp": set(spent_gbp),
        **{f"payer {n}": {e.year for e in p} for n, p in parts.items()},
    }.items():
        if found != years:
            faults.append(Fault(name, "its years are not those of the total", list_years(found), list_years(years)))
    for year, amount in spent_gbp.items():
        if not (is_finite(amount) and amount > 0):
            faults.append(Fault(f"spent_gbp, {year}", "missing, zero or negative", repr(amount), "more than 0, GBP"))
    draws = {len(e.draws) for effects in (whole, *parts.values()) for e in effects}
    if len(draws) > 1:
        got = ", ".join(map(str, sorted(draws)))
        faults.append(Fault("payers", "they have different numbers of draws, so they are not of one bootstrap", got))
    for e in whole:
        if min(e.actual, e.counterfactual, e.draws.min()) <= 0:
            what = "in it or in a draw nothing was spent, or would have been, so no part of it can be taken"
            faults.append(Fault(f"total, {e.year}", what))
    return faults


def _stack(effects: Sequence[YearEffect]) -> tuple[np.ndarray, np.ndarray]:
    """Actual and counterfactual by year, (K, 2) and (B, K, 2)."""
    point = np.array([(e.actual, e.counterfactual) for e in effects], dtype=np.float64)
    return point, np.stack([e.draws for e in effects], axis=1).astype(np.float64)


def _own_reason(name: str, point: np.ndarray, draws: np.ndarray) -> str:
    if point.min() > 0 and draws.min() > 0:
        return ""
    return f"{name}: in some draws it paid nothing, or would have, so a share of it has no meaning."


def _own_share(point: np.ndarray, draws: np.ndarray, level: float) -> Ranged:
    ratio = ratio_range(point[0] / point[1], log_spread(draws[:, 0] / draws[:, 1]), level)
    return Ranged(1 - ratio.value, 1 - ratio.upper, 1 - ratio.lower)


def _checks(uncovered: float, remainder_share: float) -> tuple[Check, ...]:
    covered = abs(uncovered) <= _COVERED
    return (
        Check("payers_pay_all", covered, uncovered,
              "The payers' actual costs add up to the whole." if covered else
              "The payers' actual costs do not add up to the whole: some is paid by others, or counted twice."),
        Check("remainder", None, remainder_share, REMAINDER),
        Check("paid_alike", None, math.nan, PAID_ALIKE),
    )  # fmt: skip
