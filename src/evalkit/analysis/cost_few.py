"""Costs that few people have, or one person most of: which numbers may not stand beside their total."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evalkit.analysis.cost_study import CostStudy
from evalkit.cohort.residence import COMPARATORS
from evalkit.core.dominance import is_thin
from evalkit.core.errors import Fault, NotEstimable

FEW = "fewer than 10 people have such a cost on one side, or one of them has most of it"
WHY_FEW = f"Not shown: {FEW}."
WHY_BESIDE = "Not shown, so that the cost of a few people cannot be had from it by subtraction."
WHY_ALL = "fewer than 10 people have any cost on one side, before or after, or one of them has most of it"


def is_thin_anywhere(found: CostStudy, cost: np.ndarray, *, unless_nobody: bool = False) -> bool:
    """`is_thin` of a cost, shape (n, T), before or after on either side; with `unless_nobody` not where all have none.

    Noughts throughout are how the data are made (no part is paid for otherwise than at its unit price), not what a few
    people did.
    """
    if unless_nobody and not cost.any():
        return False
    sums = [cost[:, when].sum(axis=1) for when in (found.before, found.after)]
    return any(is_thin(amounts[rows]) for amounts in sums for rows in (found.treated, ~found.treated))


def find_withheld(found: CostStudy, rows: np.ndarray) -> dict[str, str]:
    """Which parts may not be shown for these people, and why.

    Where what is withheld could be had from the total, the part that costs least is withheld beside it; the programme
    last, since years to come and other places rest on its cost.
    """
    parts = found.costs.parts
    after = {name: cost[rows][:, found.after] for name, cost in parts.items()}
    before = {name: cost[rows][:, found.before] for name, cost in parts.items()}
    withheld = {
        name: WHY_FEW for name in parts
        if is_thin(after[name].sum(axis=1)) or (name != "programme" and is_thin(before[name].sum(axis=1)))
    }  # fmt: skip
    others = [name for name in parts if name not in withheld]
    others.sort(key=lambda name: (name == "programme", float(after[name].mean())))
    while withheld and others and _can_be_had(withheld, before, after):
        withheld[others.pop(0)] = WHY_BESIDE
    return withheld


def shows_programme(found: CostStudy) -> bool:
    """Whether what differs by the cost of the programme alone may be shown."""
    if "programme" not in found.costs.parts:
        return True
    beside = find_withheld(found, ~found.treated)
    # Alone among what is withheld of the comparison, it was too small to be had from their total or from the effect.
    return "programme" not in find_withheld(found, found.treated) and (
        "programme" not in beside or WHY_BESIDE not in beside.values()
    )


def explain_withheld(found: CostStudy) -> dict[str, str]:
    """Why a way of looking at the effect may not be shown, by its key in `cost_variants` or `tornado`."""
    costs, reasons = found.costs, {}
    for rows in (found.treated, ~found.treated):
        for name, why in find_withheld(found, rows).items():
            if name != "programme":
                reasons |= dict.fromkeys((f"part.{name}", f"prices.{name}.low", f"prices.{name}.high"), why)
    if not shows_programme(found):
        names = ("part.programme", "without_programme", "prices.programme.low", "prices.programme.high")
        reasons |= dict.fromkeys(names, WHY_FEW)
    if hides_payers(found):
        reasons |= dict.fromkeys(("payer.nhs", "payer.local_authority"), WHY_FEW)
    if costs.housing is not None and is_thin_anywhere(found, costs.housing):
        reasons["public_sector"] = WHY_FEW
    if any(hides_own_prices(found, rows) for rows in (found.treated, ~found.treated)):
        reasons |= dict.fromkeys(("fixed_prices", "prices_alone"), WHY_FEW)
    if hides_years(found):
        reasons |= dict.fromkeys((f"year.{year}" for year in found.years_after()), WHY_FEW)
    return reasons


def hides_years(found: CostStudy) -> bool:
    """Whether in some financial year few people cost anything; then no year is told, since they make up the whole."""
    sums = [found.costs.total[:, within].sum(axis=1) for within in found.years_after().values()]
    return any(is_thin(amounts[rows]) for amounts in sums for rows in (found.treated, ~found.treated))


def refuse_few(found: CostStudy) -> None:
    """Raise NotEstimable where the cost of all is that of few people, or mostly of one."""
    if is_thin_anywhere(found, found.costs.total):
        raise NotEstimable(Fault("costs", WHY_ALL))


def hides_own_prices(found: CostStudy, rows: np.ndarray) -> bool:
    """Whether few of these people have placements at prices of their own, so that use and price stay together."""
    if "placements" not in found.costs.parts:
        return False
    own = np.abs(found.costs.parts["placements"] - found.costs.standard_placements).round(6)
    return bool(own.any()) and any(is_thin(own[rows][:, when].sum(axis=1)) for when in (found.before, found.after))


def hides_payers(found: CostStudy) -> bool:
    """Whether what one payer bears is the cost of few, as it stands or less the parts that are shown."""
    costs = found.costs
    if is_thin_anywhere(found, costs.nhs) or is_thin_anywhere(found, costs.local_authority):
        return True
    placed = costs.parts.get("placements", np.zeros_like(costs.nhs_placements))
    return any(
        is_thin_anywhere(found, share.round(6), unless_nobody=True)
        for share in (costs.nhs_placements, placed - costs.nhs_placements)
    )


def _can_be_had(withheld: Mapping[str, str], before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> bool:
    """Whether the sum of what is withheld is of few people and larger than the rounding of the totals beside it."""
    totals = [float(np.mean(sum(cells.values()))) for cells in (before, after)]
    steps = [10.0 ** (np.floor(np.log10(abs(t))) - 2) for t in (*totals, totals[1] - totals[0]) if t]
    for cells in (before, after):
        amounts = np.sum([cells[name] for name in withheld], axis=0)
        if amounts.any() and is_thin(amounts.sum(axis=1)) and float(amounts.mean()) > min(steps, default=0.0) / 2:
            return True
    return False


def groups_of(found: CostStudy, treated_label: str) -> dict[str, np.ndarray]:
    """Who is told of apart: the treated and the comparison."""
    return {treated_label: found.treated, COMPARATORS: ~found.treated}
