"""Budgets, impact and what-if: what must not change them does not, and what must does so exactly."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest

from evalkit.core.economics import WhatIf
from evalkit.core.prices import PriceIndex
from evalkit.economics.budget import BudgetRow, RealTerms, compare_budgets, spent_by_year
from evalkit.economics.effects import PeriodEffect, Ranged, YearEffect
from evalkit.economics.impact import ImpactPath, ImpactPlan, compute_budget_impact
from evalkit.economics.payers import split_by_payer
from evalkit.economics.what_if import WhatIfOptions, estimate_what_if
from tests.effect_factory import random_year

K = 1000.0


@pytest.fixture(scope="module")
def effects() -> list[YearEffect]:
    rng = np.random.default_rng(4)
    return [random_year(rng, 2015 + k, 8000 + 400 * k, 10000, quarters=q) for k, q in enumerate((4, 4, 4, 1))]


@pytest.fixture(scope="module")
def budgets() -> pd.DataFrame:
    return pd.DataFrame({"programme": "ipsa", "year": [2015, 2016, 2017, 2018], "original_gbp": 12.2e6,
                         "actual_gbp": [10.2e6, 9.4e6, 9.5e6, 9.6e6]})  # fmt: skip


def numbers(row: object, *, money: float = 1.0) -> np.ndarray:
    """Every number of a row, a path or a result, those in pounds divided by `money`."""
    found = []
    for field in fields(row):
        value = getattr(row, field.name)
        parts = [value.value, value.lower, value.upper] if isinstance(value, Ranged) else [value]
        if not isinstance(parts[0], str | tuple | None):
            flat = np.concatenate([np.ravel(np.asarray(p, dtype=float)) for p in parts])
            found.append(flat / money if "gbp" in field.name else flat)
    return np.concatenate(found)


def scaled(e: YearEffect, by: float) -> YearEffect:
    return replace(e, actual=e.actual * by, counterfactual=e.counterfactual * by, draws=e.draws * by)


def rows(budgets: pd.DataFrame, effects: list[YearEffect], **more: object) -> list[BudgetRow]:
    found = compare_budgets(budgets, effects, level=0.95, **more)
    return [*found.nominal.years, found.nominal.overall]


def same(a: list[BudgetRow], b: list[BudgetRow], *, money: float = 1.0) -> bool:
    return all(
        x.claim_is == y.claim_is and np.allclose(numbers(x), numbers(y, money=money), rtol=1e-9, atol=1e-12)
        for x, y in zip(a, b, strict=True)
    )


def test_the_money_of_the_effect_does_not_matter_to_budgets(budgets, effects):
    assert same(rows(budgets, effects), rows(budgets, [scaled(e, 1 / K) for e in effects]))


def test_budgets_in_pence_give_pence_and_the_same_shares(budgets, effects):
    pence = budgets.assign(original_gbp=budgets["original_gbp"] * 100, actual_gbp=budgets["actual_gbp"] * 100)
    assert same(rows(budgets, effects), rows(pence, effects), money=100)


def test_the_order_of_rows_years_and_draws_does_not_matter(budgets, effects):
    order = np.random.default_rng(1).permutation(len(effects[0].draws))
    shuffled = [replace(e, draws=e.draws[order]) for e in effects[::-1]]
    assert same(rows(budgets, effects), rows(budgets.sample(frac=1, random_state=1), shuffled))


def test_draws_given_twice_widen_nothing_but_a_freedom(budgets, effects):
    n = len(effects[0].draws)
    twice = rows(budgets, [replace(e, draws=np.vstack([e.draws, e.draws])) for e in effects])
    once = rows(budgets, effects)
    log_width = [np.log(r[-1].counterfactual_gbp.upper / r[-1].counterfactual_gbp.lower) for r in (once, twice)]
    assert log_width[1] / log_width[0] == pytest.approx(np.sqrt((2 * (n - 1)) / (2 * n - 1)))


def test_other_programmes_and_years_in_the_table_do_not_matter(budgets, effects):
    early = pd.DataFrame({"programme": ["ipsa"], "year": [2012], "original_gbp": [-5.0], "actual_gbp": [0.0]})
    more = pd.concat([budgets, budgets.assign(programme="other", actual_gbp=1.0), early])
    assert same(rows(budgets, effects), rows(more, effects, programme="ipsa"))


def test_a_flat_index_leaves_real_terms_as_nominal_and_its_level_never_matters(budgets, effects):
    def real(level: list[float]) -> list[BudgetRow]:
        index = PriceIndex(np.array([2014, 2015, 2016, 2017, 2018]), np.array(level))
        found = compare_budgets(budgets, effects, level=0.95, real_terms=RealTerms(index, 2016, 2014)).real
        return [*found.years, found.overall]

    assert same(rows(budgets, effects), real([7.0] * 5))
    rising = [100.0, 102.0, 103.0, 107.0, 111.0]
    assert same(real(rising), real([v / 37 for v in rising]))


def test_the_year_that_money_is_put_in_changes_pounds_and_no_share(budgets, effects):
    index = PriceIndex(np.array([2015, 2016, 2017, 2018]), np.array([100.0, 103.0, 107.0, 111.0]))
    found = [compare_budgets(budgets, effects, level=0.95, real_terms=RealTerms(index, y)).real for y in (2015, 2018)]
    assert same([found[0].overall], [found[1].overall], money=1.11)


def test_two_equal_years_together_have_the_share_of_one(budgets, effects):
    one = effects[0]
    twin = [one, replace(one, year=2016)]
    both = rows(budgets.assign(actual_gbp=9e6), twin)
    assert both[-1].estimated_share.lower == pytest.approx(both[0].estimated_share.lower, rel=1e-9)
    assert both[-1].counterfactual_gbp.upper == pytest.approx(2 * both[0].counterfactual_gbp.upper, rel=1e-9)


def test_one_payer_who_pays_all_bears_all(budgets, effects):
    spent = spent_by_year(compare_budgets(budgets, effects, level=0.95).nominal)
    got = split_by_payer(spent, effects, {"all": effects}, level=0.95)
    assert got.payers[0].saving_gbp.value == pytest.approx(got.total_saving_gbp.value)
    assert abs(got.remainder_gbp.upper) < 1e-6 * got.total_saving_gbp.value
    assert got.payers[0].own_share.lower == pytest.approx(rows(budgets, effects)[-1].estimated_share.lower)


def test_joining_two_payers_adds_their_savings(budgets, effects):
    spent = spent_by_year(compare_budgets(budgets, effects, level=0.95).nominal)

    def part(a: float, c: float) -> list[YearEffect]:
        return [
            replace(e, actual=e.actual * a, counterfactual=e.counterfactual * c, draws=e.draws * [a, c])
            for e in effects
        ]

    three = split_by_payer(spent, effects, {"a": part(0.5, 0.4), "b": part(0.3, 0.3), "c": part(0.2, 0.2)}, level=0.95)
    two = split_by_payer(spent, effects, {"a": part(0.5, 0.4), "bc": part(0.5, 0.5)}, level=0.95)
    assert two.payers[1].saving_gbp.value == pytest.approx(sum(p.saving_gbp.value for p in three.payers[1:]))
    assert two.remainder_gbp.lower == pytest.approx(three.remainder_gbp.lower)


PLAN = ImpactPlan(people=500, years=6, set_up_gbp=1e6, running_gbp_per_year=2e6)


def paths(effects: list[YearEffect], plan: ImpactPlan) -> tuple[ImpactPath, ...]:
    return compute_budget_impact(effects, plan, level=0.95).paths


def test_impact_in_other_money_is_that_multiple(effects):
    pence = replace(PLAN, set_up_gbp=1e8, running_gbp_per_year=2e8)
    for a, b in zip(paths(effects, PLAN), paths([scaled(e, 100) for e in effects], pence), strict=True):
        np.testing.assert_allclose(numbers(b, money=100), numbers(a), rtol=1e-9, atol=1e-6)


def test_twice_the_people_at_half_the_effect_are_the_same_money(effects):
    for a, b in zip(
        paths(effects, PLAN), paths([scaled(e, 0.5) for e in effects], replace(PLAN, people=1000)), strict=True
    ):
        np.testing.assert_allclose(numbers(b), numbers(a), rtol=1e-9, atol=1e-6)


def test_a_constant_added_to_both_sides_of_an_effect_changes_no_impact(effects):
    moved = [
        replace(e, actual=e.actual + 5e3, counterfactual=e.counterfactual + 5e3, draws=e.draws + 5e3) for e in effects
    ]
    for a, b in zip(paths(effects, PLAN), paths(moved, PLAN), strict=True):
        np.testing.assert_allclose(numbers(b), numbers(a), rtol=1e-9, atol=1e-5)


def test_courses_part_only_after_the_last_quarter_observed(effects):
    holds, fades, stops = paths(effects, PLAN)
    for p in (fades, stops):
        np.testing.assert_array_equal(p.net_gbp.value[:3], holds.net_gbp.value[:3])
    assert (holds.cumulative_gbp.value <= fades.cumulative_gbp.value).all()
    assert (fades.cumulative_gbp.value <= stops.cumulative_gbp.value).all()


def test_without_discounting_the_two_sums_are_one(effects):
    for p in paths(effects, replace(PLAN, discount_rate=0.0)):
        np.testing.assert_array_equal(p.cumulative_gbp.value, p.cumulative_discounted_gbp.value)


def test_longer_horizons_do_not_change_years_already_shown_unless_the_effect_fades(effects):
    short, long = paths(effects, PLAN), paths(effects, replace(PLAN, years=10))
    for k in (0, 2):
        np.testing.assert_allclose(long[k].cumulative_gbp.lower[:6], short[k].cumulative_gbp.lower)


PLACE = WhatIf(key="a", label="A", people=300, set_up_gbp=2e5)
OPTIONS = WhatIfOptions(500.0, 0.1)


def test_what_if_in_other_money_is_that_multiple(effects):
    e = effects[0]
    here = PeriodEffect(e.actual, e.counterfactual, e.draws)
    pence = PeriodEffect(e.actual * 100, e.counterfactual * 100, e.draws * 100)
    a = estimate_what_if(PLACE, here, options=OPTIONS)
    b = estimate_what_if(PLACE.model_copy(update={"set_up_gbp": 2e7}), pence, options=WhatIfOptions(5e4, 0.1))
    np.testing.assert_allclose(numbers(b, money=100), numbers(a), rtol=1e-9)


def test_prices_twice_as_high_are_money_twice_as_much(effects):
    e = effects[0]
    here = PeriodEffect(e.actual, e.counterfactual, e.draws)
    a = estimate_what_if(PLACE, here, options=OPTIONS)
    b = estimate_what_if(PLACE.model_copy(update={"set_up_gbp": 4e5, "price_ratio": 2.0}), here, options=OPTIONS)
    np.testing.assert_allclose(numbers(b, money=2), numbers(a), rtol=1e-9)


def test_this_very_place_asked_about_saves_what_it_saved(effects):
    e = effects[0]
    here = PeriodEffect(e.actual, e.counterfactual, e.draws)
    a = estimate_what_if(PLACE, here, options=WhatIfOptions(0.0, 0.0))
    told = PLACE.model_copy(update={"cost_per_person_quarter_gbp": e.counterfactual})
    b = estimate_what_if(told, here, options=WhatIfOptions(0.0, 0.0))
    np.testing.assert_allclose(numbers(b), numbers(a), rtol=1e-12)
    plan = ImpactPlan(300, 1, 0.0, 0.0)
    impact = compute_budget_impact([e], plan, level=0.95).paths[0]
    assert a.saving_gbp_per_year.value == pytest.approx(-impact.net_gbp.value[0])
