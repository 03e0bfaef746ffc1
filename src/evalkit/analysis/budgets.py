"""The budget: what was claimed to be saved, what was, who bore it, what it means in years to come and elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from evalkit.analysis.cost_few import FEW, hides_payers, hides_years, shows_programme
from evalkit.analysis.cost_study import QUARTERS, ROUNDED_TO, STRADDLE, total_shares
from evalkit.analysis.costs import CostFindings
from evalkit.analysis.study import Study
from evalkit.cohort.price_list import build_price_list
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.economics.budget import BudgetComparison, RealTerms, compare_budgets, spent_by_year
from evalkit.economics.effects import PeriodEffect, YearEffect
from evalkit.economics.impact import BudgetImpact, ImpactPlan, compute_budget_impact
from evalkit.economics.payers import PayerSplit, split_by_payer
from evalkit.economics.what_if import WhatIfOptions, WhatIfResult, estimate_what_if
from evalkit.estimators.costs.cells import MeanEffect, compute_proportional_effect


def year_effects(study: Study, findings: CostFindings, kind: str) -> list[YearEffect]:
    """The effect on one kind of cost (`year`, `year_nhs`, `year_rest` or `year_council`) in each financial year.

    Raises NotEstimable as `compute_proportional_effect`, and where periods straddle financial years.
    """
    found, effects = findings.found, []
    if not found.years_after():
        raise NotEstimable(
            Fault("dates.study_start", STRADDLE, allowed="1 April, or for quarters also 1 January, July and October")
        )  # fmt: skip
    for year, within in found.years_after().items():
        effect = compute_proportional_effect(findings.means.pick({f"{kind}.{year}": 1.0}))
        quarters = float(within.sum()) * QUARTERS[study.protocol.dates.period]
        effects.append(YearEffect(year, quarters, effect.actual, effect.counterfactual, effect.draws))
    return effects


def compare_study_budgets(study: Study, findings: CostFindings, *, from_year: int = 1) -> BudgetComparison:
    """The budgets of the protocol's programme against what would have been spent; see `compare_budgets`.

    `from_year` leaves out the years of the service before it. Raises NotEstimable where there is no table budgets, they
    cannot be used, or no year is left.
    """
    if hides_years(findings.found):
        raise NotEstimable(Fault("budget", FEW))
    if not study.tables.has("budgets"):
        raise NotEstimable(Fault("tables", "there is no table budgets, so no claim on the budget can be checked"))
    prices, economics = build_price_list(study.tables, study.protocol), study.protocol.economics
    real = RealTerms(prices.index, prices.price_year, economics.budget_price_year) if prices.index is not None else None
    try:
        return compare_budgets(
            study.tables.read("budgets"), year_effects(study, findings, "year")[from_year - 1 :], level=study.level,
            programme=_programme(study), real_terms=real,
        )  # fmt: skip
    except ParameterError as error:
        raise NotEstimable(error.faults) from None


def split_study_payers(study: Study, findings: CostFindings, budgets: BudgetComparison) -> PayerSplit:
    """Which of the NHS and the council bore the saving; see `split_by_payer`.

    Raises NotEstimable where one payer bears all by the perspective chosen, or the budgets cannot be used.
    """
    if findings.found.outcome.perspective in ("nhs", "local_authority"):
        raise NotEstimable(Fault("outcome.perspective", "one payer alone is looked at, so there is nothing to split"))
    if hides_payers(findings.found):
        raise NotEstimable(Fault("payers", FEW))
    payers = {"nhs": "year_nhs", "local_authority": "year_council"}
    try:
        return split_by_payer(
            spent_by_year(budgets.nominal), year_effects(study, findings, "year"),
            {name: year_effects(study, findings, kind) for name, kind in payers.items()}, level=study.level,
        )  # fmt: skip
    except ParameterError as error:
        raise NotEstimable(error.faults) from None


def project_impact(study: Study, findings: CostFindings) -> BudgetImpact:
    """What the service costs over years to come, under each persistence; see `compute_budget_impact`.

    It is of the treated to the nearest five: over the cost of one, that of all would tell how many they are.

    Raises NotEstimable where the years observed cannot be carried on.
    """
    economics = study.protocol.economics
    people = round(int(findings.found.treated.sum()) / ROUNDED_TO) * ROUNDED_TO
    if hides_years(findings.found) or not shows_programme(findings.found):
        raise NotEstimable(Fault("programme", FEW))
    running = programme_cost(findings) * 4 * people
    plan = ImpactPlan(people, economics.impact_years, set_up_cost(study), running, economics.discount_rate,
                      economics.persistence)  # fmt: skip
    try:
        return compute_budget_impact(year_effects(study, findings, "year_rest"), plan, level=study.level)
    except ParameterError as error:
        raise NotEstimable(error.faults) from None


def ask_what_if(study: Study, findings: CostFindings) -> list[WhatIfResult]:
    """The same service in each place that the protocol asks about; see `estimate_what_if`.

    Raises NotEstimable as it does.
    """
    economics = study.protocol.economics
    if not economics.what_if:
        return []
    if not shows_programme(findings.found):
        raise NotEstimable(Fault("programme", FEW))
    effect = rest_effect(findings)
    options = WhatIfOptions(programme_cost(findings), economics.between_place_sd, study.level)
    period = PeriodEffect(effect.actual, effect.counterfactual, effect.draws)
    try:
        return [estimate_what_if(place, period, options=options) for place in economics.what_if]
    except ParameterError as error:
        raise NotEstimable(error.faults) from None


def rest_effect(findings: CostFindings) -> MeanEffect:
    """The effect on everything but the cost of the programme itself."""
    shares = {name: share for name, share in total_shares(findings.found).items() if name != "part.programme"}
    return compute_proportional_effect(findings.means.pick(shares))


def programme_cost(findings: CostFindings) -> float:
    """What the programme itself cost, GBP per person-quarter of the treated.

    Raises NotEstimable where it is not counted.
    """
    found = findings.found
    if "programme" not in found.costs.parts:
        raise NotEstimable(Fault("programme", "its own cost is not counted, so what it takes to run it is not known",
                                 next_step="Give programme_episodes, and count it in the outcome."))  # fmt: skip
    return float(found.costs.parts["programme"][found.treated][:, found.after].mean())


def set_up_cost(study: Study) -> float:
    """What it cost once to start the programme, GBP of the price year; 0 where no price is given.

    Raises NotEstimable where a price is given and the programme is not named.
    """
    prices, programme = build_price_list(study.tables, study.protocol), _programme(study)
    if not programme and any(name.startswith("programme_set_up.") for name in prices.price):
        raise NotEstimable(Fault("programme", "nothing names it, so that the cost of setting it up is not known",
                                 next_step="Name it in [pathway]."))  # fmt: skip
    return float(prices.price.get(f"programme_set_up.{programme}", 0.0))


def _programme(study: Study) -> str:
    protocol = study.protocol
    named = protocol.exposure.programme or (protocol.pathway.programme if protocol.pathway else "")
    if named or not study.tables.has("budgets"):
        return named
    known: Sequence[str] = sorted(set(study.tables.read("budgets", ["programme"])["programme"].dropna()))
    return known[0] if len(known) == 1 else ""
