"""The effect on cost seen in other ways: by payer, part, year and price, all from one set of draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from evalkit.analysis.cost_few import explain_withheld
from evalkit.analysis.cost_study import (
    STRADDLE,
    CostStudy,
    council_shares,
    nhs_shares,
    total_shares,
    weigh_stay,
)
from evalkit.analysis.study import Study
from evalkit.core.errors import Fault, NotEstimable
from evalkit.estimators.costs.cells import CellMeans, MeanEffect, compute_proportional_effect

PART_LABELS = {
    "wards": "Wards", "placements": "Placements", "contacts": "Contacts with teams",
    "programme": "The programme itself", "housing": "Housing, paid by others",
}  # fmt: skip

STAYED = "Had nobody moved away (weighted for those who did)"
Sum = tuple[str, str, Mapping[str, float]]  # key, label, and the columns that are added up


@dataclass(frozen=True)
class Variant:
    """One way of looking at the effect: a mean effect, or why there is none.

    `split` marks those of which the difference alone is told: the two halves of the total, which have no counterfactual
    of their own, and other prices, whose means would be so many more equations in the means of the parts.
    """

    key: str
    label: str
    effect: MeanEffect | None
    reason: str = ""
    split: bool = False


def build_variants(study: Study, found: CostStudy, means: CellMeans, total: MeanEffect) -> list[Variant]:
    """All variants in the order in which tables show them."""
    split = _split_price(means, total) if "placements" in found.costs.parts else []
    variants = [Variant("all", "Everything, as planned", total), *split]
    sums = [*_payers(found, means), *_parts(found), *_sensitivities(study, found, means)]
    variants += [_variant(key, label, means, mix) for key, label, mix in sums]
    if "stayed" not in means.names:
        variants.append(Variant("stayed", STAYED, None, weigh_stay(found)[1]))
    others = [replace(_variant(key, label, means, mix), split=True) for key, label, mix in _prices(study, found)]
    years = [_variant(key, label, means, mix) for key, label, mix in _years(found)]
    if not years:
        years = [Variant("years", "By financial year", None, f"dates.study_start: {STRADDLE}.")]
    return _without_few(found, [*variants, *others, *years])


def _without_few(found: CostStudy, variants: list[Variant]) -> list[Variant]:
    """The same, with a reason instead of what would tell of few people."""
    why = explain_withheld(found)
    return [replace(v, effect=None, reason=why[v.key]) if v.key in why else v for v in variants]


def _payers(found: CostStudy, means: CellMeans) -> list[Sum]:
    """Who bears it: the two payers where both are looked at, and what others pay for housing."""
    sums: list[Sum] = []
    if found.outcome.perspective not in ("nhs", "local_authority"):
        sums = [("payer.nhs", "What the NHS bears", nhs_shares(found)),
                ("payer.local_authority", "What the council bears", council_shares(found))]  # fmt: skip
    if "housing" in means.names and found.outcome.perspective == "nhs_and_local_authority":
        text = "With housing, which others pay for"
        sums.append(("public_sector", text, total_shares(found) | {"housing": 1.0}))
    return sums


def _parts(found: CostStudy) -> list[Sum]:
    """Each kind of service; the programme has no cost before it and so no effect of its own."""
    names = [name for name in found.costs.parts if name != "programme"]
    return [(f"part.{name}", PART_LABELS[name], {f"part.{name}": 1.0}) for name in names]


def _sensitivities(study: Study, found: CostStudy, means: CellMeans) -> list[Sum]:
    sums: list[Sum] = []
    shares, rate = total_shares(found), study.protocol.economics.discount_rate
    if "programme" in found.costs.parts:
        rest = {name: 1.0 for name in shares if name != "part.programme"}
        sums.append(("without_programme", "Without the cost of the programme itself", rest))
    discounted = {f"discounted.{name}": 1.0 for name in found.costs.parts}
    sums.append(("discounted", f"Discounted at {100 * rate:g}% a year", discounted))
    return [*sums, ("stayed", STAYED, {"stayed": 1.0})] if "stayed" in means.names else sums


def _prices(study: Study, found: CostStudy) -> list[Sum]:
    """Each part's prices, and all of them, lower and higher by the share that the protocol names."""
    change, shares, sums = study.protocol.economics.price_change, total_shares(found), []
    for name in (*found.costs.parts, "all"):
        what = "All prices" if name == "all" else f"{PART_LABELS[name]}: prices"
        for end, word, factor in (("low", "down", 1 - change), ("high", "up", 1 + change)):
            mix = dict.fromkeys(shares, factor) if name == "all" else shares | {f"part.{name}": factor}
            sums.append((f"prices.{name}.{end}", f"{what} {word} by {100 * change:g}%", mix))
    return sums


def _years(found: CostStudy) -> list[Sum]:
    return [
        (f"year.{year}", f"In {year}/{(year + 1) % 100:02d}", {f"year.{year}": 1.0}) for year in found.years_after()
    ]


def _variant(key: str, label: str, means: CellMeans, shares: Mapping[str, float]) -> Variant:
    try:
        return Variant(key, label, compute_proportional_effect(means.pick(shares)))
    except NotEstimable as refusal:
        return Variant(key, label, None, refusal.reason)


def _split_price(means: CellMeans, total: MeanEffect) -> list[Variant]:
    """The effect as a change of use and a change of price, which add up to it in every draw.

    Only placements have prices of their own. With paid cost P, cost at unit prices S and r = P / S, of the treated as
    they were and as they would have been, price is (r1 - r0)(S1 + S0) / 2 and the rest of the effect is use (Bennet
    1920, Journal of the Royal Statistical Society 83:455).
    """
    try:
        paid = compute_proportional_effect(means.pick({"part.placements": 1.0}))
        unit = compute_proportional_effect(means.pick({"standard_placements": 1.0}))
        if not (unit.draws > 0).all():
            raise NotEstimable(Fault("placements", "in some draws there are none, so that they have no price"))
    except NotEstimable as refusal:
        return [Variant("fixed_prices", "Use alone", None, refusal.reason, split=True),
                Variant("prices_alone", "Prices alone", None, refusal.reason, split=True)]  # fmt: skip
    point = compute_price_change(
        np.array([paid.actual, paid.counterfactual]), np.array([unit.actual, unit.counterfactual])
    )
    draws = compute_price_change(paid.draws, unit.draws)
    price = MeanEffect(float(point), 0.0, np.column_stack([draws, np.zeros(len(draws))]))
    rest = total.difference_draws - draws
    use = MeanEffect(total.difference - float(point), 0.0, np.column_stack([rest, np.zeros(len(rest))]))
    return [Variant("fixed_prices", "Use alone, at the same prices", use, split=True),
            Variant("prices_alone", "Prices alone, for the same use", price, split=True)]  # fmt: skip


def compute_price_change(paid: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """How much of the cost paid at [..., 0] less that at [..., 1] is price: (r0 - r1)(S0 + S1) / 2, r = paid / unit."""
    ratio = paid / unit
    return (ratio[..., 0] - ratio[..., 1]) * (unit[..., 0] + unit[..., 1]) / 2
