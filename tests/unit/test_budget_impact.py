"""Budget impact against a plain count quarter by quarter, and plans that must be refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from evalkit.core.errors import ParameterError
from evalkit.economics.effects import YearEffect
from evalkit.economics.impact import BudgetImpact, ImpactPath, ImpactPlan, compute_budget_impact
from tests.effect_factory import Z, random_year, year

PLAN = ImpactPlan(people=100, years=5, set_up_gbp=500_000, running_gbp_per_year=200_000)


@pytest.fixture(scope="module")
def effects() -> list[YearEffect]:
    """1,000 less per person-quarter in year one, 2,000 in year two: 0.4m and 0.8m a year for 100 people."""
    return [year(2015, 9000, 10000), year(2016, 8000, 10000)]


def path(found: BudgetImpact, name: str) -> ImpactPath:
    return {p.persistence: p for p in found.paths}[name]


def check(found: BudgetImpact, name: str):
    return {c.name: c for c in found.checks}[name]


def test_five_years_by_hand(effects):
    found = compute_budget_impact(effects, PLAN, level=0.95)
    assert [p.persistence for p in found.paths] == ["holds", "fades", "stops"] and found.observed_years == 2
    holds, fades, stops = found.paths
    for p in found.paths:
        np.testing.assert_allclose(p.set_up_gbp, [5e5, 0, 0, 0, 0])
        np.testing.assert_allclose(p.running_gbp, np.full(5, 2e5))
    np.testing.assert_allclose(holds.other_services_gbp.value, [-4e5, -8e5, -8e5, -8e5, -8e5])
    np.testing.assert_allclose(fades.other_services_gbp.value, [-4e5, -8e5, -8e5 * 2 / 3, -8e5 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(stops.other_services_gbp.value, [-4e5, -8e5, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(holds.net_gbp.value, [3e5, -6e5, -6e5, -6e5, -6e5])
    np.testing.assert_allclose(holds.cumulative_gbp.value, [3e5, -3e5, -9e5, -15e5, -21e5])
    np.testing.assert_allclose(holds.net_discounted_gbp.value, holds.net_gbp.value / 1.035 ** np.arange(5))
    np.testing.assert_allclose(holds.cumulative_discounted_gbp.value, np.cumsum(holds.net_discounted_gbp.value))
    assert [p.break_even_year for p in found.paths] == [2, 2, 2]
    assert (holds.reason, fades.reason) == ("", "")
    # Stopped, it is 0.3m ahead after year two and pays 0.2m a year for three more.
    assert "later years cost more" in stops.reason
    assert check(found, "break_even_lasts").passed is False


def test_intervals_are_those_of_the_draws(effects):
    p = path(compute_budget_impact(effects, PLAN, level=0.95), "holds")
    d = [(e.draws[:, 0] - e.draws[:, 1]) * 400 for e in effects]
    for k, drawn in enumerate((d[0], d[1], d[1])):
        half = Z * drawn.std(ddof=1)
        assert p.net_gbp.upper[k] - p.net_gbp.value[k] == pytest.approx(half)
        assert p.other_services_gbp.value[k] - p.other_services_gbp.lower[k] == pytest.approx(half)
    half = Z * (d[0] + 2 * d[1]).std(ddof=1)
    assert p.cumulative_gbp.upper[2] - p.cumulative_gbp.value[2] == pytest.approx(half)
    half = Z * (d[0] + d[1] / 1.035 + d[1] / 1.035**2).std(ddof=1)
    assert p.cumulative_discounted_gbp.upper[2] - p.cumulative_discounted_gbp.value[2] == pytest.approx(half)


def count_quarters(effects: list[YearEffect], plan: ImpactPlan, name: str, draw: int | None) -> list[float]:
    """Net cost by year, one quarter after another, as a budget holder would count it by hand."""

    def change(e: YearEffect) -> float:
        return e.actual - e.counterfactual if draw is None else float(e.draws[draw, 0] - e.draws[draw, 1])

    n, m = plan.years, len(effects)
    whole = [e for e in effects if e.quarters == 4]
    carried = change(whole[-1] if whole else effects[-1])
    net = []
    for k in range(1, n + 1):
        total = plan.set_up_gbp if k == 1 else 0.0
        people = plan.people if np.ndim(plan.people) == 0 else plan.people[k - 1]
        running = (
            plan.running_gbp_per_year if np.ndim(plan.running_gbp_per_year) == 0 else plan.running_gbp_per_year[k - 1]
        )
        seen = effects[k - 1].quarters if k <= m else 0
        late_start = k == 1 and m > 1
        for quarter in range(4):
            if late_start and quarter < 4 - seen:
                continue
            total += running / 4
            if late_start or quarter < seen:
                total += people * change(effects[k - 1])
            elif name == "holds":
                total += people * carried
            elif name == "fades":
                total += people * carried * (n - k) / (n - m) if n > m else people * carried
        net.append(total)
    return net


@pytest.mark.parametrize("quarters", [(4, 4, 4), (4, 4, 1), (2, 4, 3), (3,), (4,), (1, 2)], ids=str)
@pytest.mark.parametrize("years", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", ["holds", "fades", "stops"])
def test_every_course_is_what_counting_quarter_by_quarter_gives(quarters, years, name):
    rng = np.random.default_rng(5)
    effects = [random_year(rng, 2015 + k, 8000 + 300 * k, 10000, quarters=q) for k, q in enumerate(quarters)]
    plan = ImpactPlan(np.linspace(80, 120, years), years, 300_000, np.linspace(1e5, 2e5, years), 0.035, (name,))
    found = compute_budget_impact(effects, plan, level=0.9).paths[0]
    np.testing.assert_allclose(found.net_gbp.value, count_quarters(effects, plan, name, None), rtol=1e-10)
    drawn = np.array([count_quarters(effects, plan, name, b) for b in range(len(effects[0].draws))])
    total = drawn.cumsum(axis=1)
    np.testing.assert_allclose(found.share_ahead, (total <= 0).mean(axis=0))
    np.testing.assert_allclose(found.share_broken_even, (np.minimum.accumulate(total, axis=1) <= 0).mean(axis=0))
    half = 1.6448536269514722 * total.std(axis=0, ddof=1)
    np.testing.assert_allclose(found.cumulative_gbp.upper - found.cumulative_gbp.value, half, rtol=1e-8)


def test_the_share_that_has_broken_even_never_falls_and_that_ahead_may():
    rng = np.random.default_rng(8)
    effects = [random_year(rng, 2015 + k, 9000 - 1000 * k, 10000, log_sd=0.03) for k in (0, 1)]
    p = path(compute_budget_impact(effects, PLAN, level=0.95), "stops")
    assert (np.diff(p.share_broken_even) >= 0).all()
    assert p.share_ahead[-1] < p.share_broken_even[-1]


def test_a_service_that_never_pays_for_itself_has_no_break_even_year_and_says_so():
    worse = [year(2015, 11000, 10000, log_sd=0.001)]
    p = path(compute_budget_impact(worse, PLAN, level=0.95), "holds")
    assert p.break_even_year is None and p.reason == "The service has not paid for itself by the end of year 5."
    assert (p.share_broken_even == 0).all()


def test_what_costs_nothing_has_nothing_to_pay_back(effects):
    free = replace(PLAN, set_up_gbp=0.0, running_gbp_per_year=0.0)
    p = path(compute_budget_impact(effects, free, level=0.95), "holds")
    assert p.break_even_year is None and "nothing to pay back" in p.reason


def test_years_observed_but_not_shown_fail_a_check(effects):
    short = compute_budget_impact(effects, replace(PLAN, years=1), level=0.95)
    assert check(short, "years_left_out").passed is False and short.observed_years == 1
    assert check(short, "years_assumed").passed is True
    np.testing.assert_allclose(short.paths[0].net_gbp.value, [3e5])


def test_years_assumed_and_years_in_part_are_said(effects):
    found = compute_budget_impact([*effects, year(2017, 8000, 10000, quarters=1)], PLAN, level=0.95)
    assert "2 of 5 years is assumed from that of 2016/17" in check(found, "years_assumed").text
    assert check(found, "years_assumed").passed is None
    assert check(found, "years_whole").passed is False
    assert "2017/18 (1 of 4 quarters)" in check(found, "years_whole").text
    assert check(compute_budget_impact(effects, PLAN, level=0.95), "years_whole").passed is True


def test_the_order_of_years_given_does_not_matter(effects):
    one = compute_budget_impact(effects, PLAN, level=0.95).paths[0]
    other = compute_budget_impact(effects[::-1], PLAN, level=0.95).paths[0]
    np.testing.assert_array_equal(one.net_gbp.value, other.net_gbp.value)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"people": 0}, "people: missing, infinite or too low. Allowed: more than 0"),
        ({"people": -5}, "people: missing"), ({"people": math.nan}, "people: missing"),
        ({"people": "100"}, "people: missing"), ({"people": None}, "people: missing"),
        ({"people": (1, 2)}, "one number a year is wanted, or one for all. Got 2. Allowed: 5"),
        ({"people": (1, 2, 3, 4, 0)}, "people: missing"),
        ({"set_up_gbp": -1}, "set_up_gbp"), ({"set_up_gbp": math.nan}, "set_up_gbp"),
        ({"set_up_gbp": None}, "set_up_gbp"),
        ({"running_gbp_per_year": -1}, "running_gbp_per_year: missing, infinite or too low. Allowed: 0 or more"),
        ({"running_gbp_per_year": (1, 2, 3, 4, math.inf)}, "running_gbp_per_year: missing"),
        ({"years": 0}, "years: out of range"), ({"years": 2.5}, "years: out of range"),
        ({"years": 99}, "too far ahead"),
        ({"years": None}, "years: out of range"),
        ({"discount_rate": 3.5}, "discount_rate: not a share a year"), ({"discount_rate": math.nan}, "discount_rate"),
        ({"persistence": ()}, "persistence: none is given"), ({"persistence": ("hold",)}, 'Did you mean "holds"'),
        ({"persistence": ("holds", "holds")}, "one is given twice"),
    ],
)  # fmt: skip
def test_a_plan_with_a_slip_is_refused_by_name(effects, change, match):
    with pytest.raises(ParameterError, match=match):
        compute_budget_impact(effects, replace(PLAN, **change), level=0.95)


@pytest.mark.parametrize(
    ("change", "match"),
    [({"actual": -1.0}, "a cost is missing, infinite or negative"), ({"counterfactual": math.nan}, "a cost is missing"),
     ({"year": 2018}, "years are missing between the first and the last. Got 2016/17, 2017/18"),
     ({"draws": np.full((200, 2), np.inf)}, "in 200 of 200 draws")],
)  # fmt: skip
def test_negative_or_missing_costs_and_years_left_out_are_refused(effects, change, match):
    with pytest.raises(ParameterError, match=match):
        compute_budget_impact([effects[0], replace(effects[1], **change)], PLAN, level=0.95)


def test_a_year_in_part_between_whole_ones_is_refused(effects):
    three = [effects[0], replace(effects[1], quarters=2), year(2017, 8000, 10000)]
    with pytest.raises(ParameterError, match=r"2016/17: lies only partly in the study"):
        compute_budget_impact(three, PLAN, level=0.95)


def test_all_faults_of_a_plan_are_said_at_once(effects):
    bad = ImpactPlan(0, 5, -1, -1, 2, ("hold", "holds"))
    with pytest.raises(ParameterError) as caught:
        compute_budget_impact(effects, bad, level=7)
    assert len(caught.value.faults) == 6
    with pytest.raises(ParameterError, match="there is no year in it"):
        compute_budget_impact([], PLAN, level=0.95)


def test_a_cost_of_nothing_is_no_fault_here():
    found = compute_budget_impact([year(2015, 0.0, 1000)], PLAN, level=0.95)
    assert found.paths[0].other_services_gbp.value[0] == pytest.approx(-4e5)
