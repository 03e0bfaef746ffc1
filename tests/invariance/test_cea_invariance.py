"""What must not change a comparison of costs and effects, and what must change it in a known way."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from evalkit.economics.draws import Psa
from evalkit.economics.evppi import EvppiOptions, compute_evppi
from evalkit.economics.frontier import compute_icer_interval, compute_icers
from evalkit.economics.markov import MarkovOptions, build_markov, compute_total
from evalkit.economics.net_benefit import (
    compute_acceptability,
    compute_break_even,
    compute_incremental_benefit,
    compute_plane,
)

GRID = np.array([0.0, 1000.0, 5000.0, 20_000.0])
MONEY = ("expected_net_benefit_gbp", "expected_loss_gbp", "evpi_gbp")


@pytest.fixture(scope="module")
def psa() -> Psa:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(600, 3))
    effects = 1 + 0.3 * x @ rng.normal(size=(3, 4)) + 0.1 * rng.normal(size=(600, 4)) + np.linspace(0, 0.3, 4)
    costs = rng.gamma(3, 500, size=(600, 4)) * np.linspace(1, 2, 4)
    return Psa(tuple("abcd"), costs, effects, "QALY", pd.DataFrame(x, columns=["x", "y", "z"]))


def changed(psa: Psa, costs: np.ndarray, effects: np.ndarray) -> Psa:
    return Psa(psa.strategies, costs, effects, psa.effect_unit, psa.parameters)


def take(psa: Psa, rows: np.ndarray, columns: np.ndarray) -> Psa:
    names = tuple(psa.strategies[j] for j in columns)
    parameters = psa.parameters.iloc[rows]
    return Psa(names, psa.costs_gbp[rows][:, columns], psa.effects[rows][:, columns], psa.effect_unit, parameters)


def test_scale_of_money(psa: Psa) -> None:
    one = compute_acceptability(psa, GRID)
    other = compute_acceptability(changed(psa, 7 * psa.costs_gbp, psa.effects), 7 * GRID)
    for field in fields(one):
        if field.name in MONEY:
            assert getattr(other, field.name) == pytest.approx(7 * getattr(one, field.name))
    assert other.probability == pytest.approx(one.probability)
    assert (other.optimal == one.optimal).all()


def test_unit_of_effect(psa: Psa) -> None:
    """Days for years: thresholds a day are a 365th, money is the same."""
    one = compute_acceptability(psa, GRID)
    other = compute_acceptability(changed(psa, psa.costs_gbp, 365 * psa.effects), GRID / 365)
    for name in (*MONEY, "probability"):
        assert getattr(other, name) == pytest.approx(getattr(one, name))


def test_what_all_strategies_share_drops_out(psa: Psa) -> None:
    rng = np.random.default_rng(1)
    cost, effect = rng.normal(0, 1000, (600, 1)), rng.normal(size=(600, 1))
    one, other = (
        compute_acceptability(p, GRID) for p in (psa, changed(psa, psa.costs_gbp + cost, psa.effects + effect))
    )
    for name in ("probability", "expected_loss_gbp", "evpi_gbp", "frontier_probability"):
        assert getattr(other, name) == pytest.approx(getattr(one, name))


def test_order_of_draws_and_of_strategies(psa: Psa) -> None:
    rng = np.random.default_rng(2)
    rows, columns = rng.permutation(600), rng.permutation(4)
    moved = take(psa, rows, columns)
    one, other = compute_acceptability(psa, GRID), compute_acceptability(moved, GRID)
    assert other.probability == pytest.approx(one.probability[:, columns])
    assert other.expected_loss_gbp == pytest.approx(one.expected_loss_gbp[:, columns])
    assert other.evpi_gbp == pytest.approx(one.evpi_gbp)
    assert compute_break_even(moved)["threshold_gbp"].to_numpy() == pytest.approx(
        compute_break_even(psa)["threshold_gbp"].to_numpy()
    )  # fmt: skip
    for names in (["x"], ["x", "y", "z"]):
        values = [compute_evppi(p, names, 5000, rng=np.random.default_rng(1)).value_gbp for p in (psa, moved)]
        assert values[1] == pytest.approx(values[0], rel=1e-6)


def test_draws_written_twice(psa: Psa) -> None:
    one = compute_acceptability(psa, GRID)
    other = compute_acceptability(take(psa, np.repeat(np.arange(600), 2), np.arange(4)), GRID)
    for name in (*MONEY, "probability"):
        assert getattr(other, name) == pytest.approx(getattr(one, name))


def test_a_strategy_that_is_always_dearer_and_worse_changes_nothing(psa: Psa) -> None:
    costs = np.column_stack([psa.costs_gbp, psa.costs_gbp.max(axis=1) + 1])
    effects = np.column_stack([psa.effects, psa.effects.min(axis=1) - 1])
    one, other = compute_acceptability(psa, GRID), compute_acceptability(Psa(tuple("abcde"), costs, effects, "u"), GRID)
    assert other.probability[:, :4] == pytest.approx(one.probability)
    assert (other.probability[:, 4] == 0).all()
    assert other.evpi_gbp == pytest.approx(one.evpi_gbp)
    tables = [compute_icers(list(names), c.mean(axis=0), e.mean(axis=0)).set_index("strategy")
              for names, c, e in (("abcd", psa.costs_gbp, psa.effects), ("abcde", costs, effects))]  # fmt: skip
    assert tables[1].loc["e", "status"] == "D"
    pd.testing.assert_frame_equal(tables[1].drop(index="e").drop(columns="reason"), tables[0].drop(columns="reason"))


def test_two_arms_as_differences(psa: Psa) -> None:
    pair = take(psa, np.arange(600), np.array([0, 3]))
    cost, effect = pair.differences("d", "a")
    alone = Psa.from_differences(cost, effect, effect_unit="QALY", names=("a", "d"), parameters=pair.parameters)
    one, other = compute_acceptability(pair, GRID), compute_acceptability(alone, GRID)
    for name in ("probability", "expected_loss_gbp", "evpi_gbp"):
        assert getattr(other, name) == pytest.approx(getattr(one, name))
    values = [compute_evppi(p, ["x", "y"], 5000, rng=np.random.default_rng(1)).value_gbp for p in (pair, alone)]
    assert values[0] == pytest.approx(values[1])
    planes = [compute_plane(p, target="d", reference="a") for p in (pair, alone)]
    assert planes[0].icer.value == pytest.approx(planes[1].icer.value, nan_ok=True)


def test_the_other_way_round(psa: Psa) -> None:
    one = compute_incremental_benefit(psa, GRID, target="d", reference="a")
    other = compute_incremental_benefit(psa, GRID, target="a", reference="d")
    assert other.value == pytest.approx(-one.value)
    assert other.lower == pytest.approx(-one.upper)
    assert other.probability == pytest.approx(1 - one.probability)
    planes = [compute_plane(psa, target=t, reference=r) for t, r in (("d", "a"), ("a", "d"))]
    assert planes[0].share_ne == planes[1].share_sw
    assert planes[0].share_se == planes[1].share_nw


@pytest.mark.parametrize("seed", range(20))
def test_frontier_under_order_and_scale(seed: int) -> None:
    rng = np.random.default_rng(seed)
    costs, effects = rng.uniform(0, 1e4, 25), rng.uniform(0, 3, 25)
    names = [f"s{j}" for j in range(25)]
    one = compute_icers(names, costs, effects)
    order = rng.permutation(25)
    other = compute_icers([names[j] for j in order], costs[order] * 1e-3 + 5, effects[order] * 365 - 2)
    assert list(other["strategy"]) == list(one["strategy"])
    assert list(other["status"]) == list(one["status"])
    assert other["icer"].to_numpy() == pytest.approx(one["icer"].to_numpy() * 1e-3 / 365, nan_ok=True)
    ratios = one["icer"].dropna().to_numpy()
    assert (np.diff(ratios) > 0).all()


@pytest.mark.parametrize("method", ["fieller", "percentile"])
def test_interval_of_a_ratio_under_scale(method: str) -> None:
    rng = np.random.default_rng(4)
    effect = rng.normal(1, 0.2, 3000)
    cost = 1000 * effect + rng.normal(0, 300, 3000)
    one = compute_icer_interval(cost, effect, method=method)
    other = compute_icer_interval(cost * 1e-6, effect * 1e6, method=method)
    turned = compute_icer_interval(-cost, -effect, method=method)
    for name in ("value", "lower", "upper"):
        assert getattr(other, name) == pytest.approx(getattr(one, name) * 1e-12)
        assert getattr(turned, name) == pytest.approx(getattr(one, name))
    assert one.reading != turned.reading


@pytest.mark.parametrize("method", ["splines", "gaussian_process"])
def test_information_under_units(psa: Psa, method: str) -> None:
    """Units of money scale it; units and origin of a parameter do nothing."""
    options = EvppiOptions(method=method)

    def value(p: Psa, threshold: float) -> float:
        rng = np.random.default_rng(1)
        return compute_evppi(p, ["x", "y"], threshold, rng=rng, options=options).value_gbp

    one = value(psa, 5000)
    assert value(changed(psa, 7 * psa.costs_gbp, psa.effects), 35_000) == pytest.approx(7 * one, rel=1e-6)
    other = Psa(psa.strategies, psa.costs_gbp, psa.effects, "QALY", psa.parameters * 1e4 - 3)
    assert value(other, 5000) == pytest.approx(one, rel=1e-6)


def test_a_state_split_in_two_and_a_cohort_of_more() -> None:
    options = MarkovOptions(discount_rate=0.035)
    one = build_markov(("well", "dead"), [[0.9, 0.1], [0, 1]], [1, 0], n_cycles=10)
    split = build_markov(
        ("new", "known", "dead"), [[0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0, 0, 1]], [1, 0, 0], n_cycles=10
    )  # fmt: skip
    total = compute_total(one, [100, 0], options=options)
    assert compute_total(split, [100, 100, 0], options=options) == pytest.approx(total)
    more = build_markov(("well", "dead"), [[0.9, 0.1], [0, 1]], [250, 0], n_cycles=10)
    assert compute_total(more, [100, 0], options=options) == pytest.approx(250 * total)
