"""Net benefit, acceptability, the plane and the value of information, against definitions written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import evalkit.economics.net_benefit as module
from evalkit.core.errors import ParameterError
from evalkit.economics.draws import Psa
from evalkit.economics.net_benefit import (
    compute_acceptability,
    compute_break_even,
    compute_incremental_benefit,
    compute_net_benefit,
    compute_plane,
    compute_population_evpi,
    describe_acceptability,
)

GRID = np.array([0.0, 500.0, 1000.0, 20_000.0])


@pytest.fixture
def psa() -> Psa:
    rng = np.random.default_rng(1)
    return Psa(("a", "b", "c"), rng.gamma(2, 500, (700, 3)), rng.normal(1, 0.5, (700, 3)), "QALY")


def test_net_benefit_by_definition(psa: Psa) -> None:
    money, health = (compute_net_benefit(psa, 800.0, scale=s) for s in ("monetary", "health"))
    assert money == pytest.approx(800 * psa.effects - psa.costs_gbp)
    assert health == pytest.approx(money / 800)
    with pytest.raises(ParameterError, match="divides by it"):
        compute_net_benefit(psa, 0, scale="health")
    with pytest.raises(ParameterError, match="out of range"):
        compute_net_benefit(psa, -1)


@pytest.mark.parametrize("block", [1, 64, 999, 1 << 20])
def test_acceptability_by_definition_in_any_blocks(psa: Psa, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    found = compute_acceptability(psa, GRID)
    for row, k in enumerate(GRID):
        benefit = k * psa.effects - psa.costs_gbp
        best = benefit.argmax(axis=1)
        assert found.probability[row] == pytest.approx([(best == j).mean() for j in range(3)])
        assert found.expected_net_benefit_gbp[row] == pytest.approx(benefit.mean(axis=0))
        loss = (benefit.max(axis=1)[:, None] - benefit).mean(axis=0)
        assert found.expected_loss_gbp[row] == pytest.approx(loss)
        assert found.evpi_gbp[row] == pytest.approx(loss.min())
        assert found.optimal[row] == benefit.mean(axis=0).argmax()
        assert found.frontier_probability[row] == found.probability[row, found.optimal[row]]
    assert found.probability.sum(axis=1) == pytest.approx(np.ones(4))
    frame = describe_acceptability(found)
    assert len(frame) == 12
    assert frame.groupby("threshold_gbp")["is_optimal"].sum().eq(1).all()


def test_ties_are_shared() -> None:
    costs = np.array([[1.0, 1.0, 5.0], [1.0, 2.0, 0.0], [3.0, 3.0, 3.0], [4.0, 1.0, 1.0]])
    found = compute_acceptability(Psa(("a", "b", "c"), costs, np.zeros((4, 3)), "QALY"), [0.0])
    assert found.probability[0] == pytest.approx(
        [(1 / 2 + 1 / 3) / 4, (1 / 2 + 1 / 3 + 1 / 2) / 4, (1 + 1 / 3 + 1 / 2) / 4]
    )


def test_evpi_of_a_normal_difference_is_the_unit_normal_loss() -> None:
    """EVPI = s phi(m / s) - |m| Phi(-|m| / s)."""
    mean, sd, n = 300.0, 900.0, 400_000
    draws = mean + sd * stats.norm.ppf((np.arange(n) + 0.5) / n)
    found = compute_acceptability(Psa.from_differences(-draws, np.zeros(n), effect_unit="QALY"), [0.0])
    assert found.evpi_gbp[0] == pytest.approx(
        sd * stats.norm.pdf(mean / sd) - mean * stats.norm.cdf(-mean / sd), rel=1e-4
    )  # fmt: skip
    assert found.probability[0, 1] == pytest.approx(stats.norm.cdf(mean / sd), abs=1e-5)


def test_incremental_benefit(psa: Psa) -> None:
    found = compute_incremental_benefit(psa, GRID, target="c", reference="a", level=0.9)
    for row, k in enumerate(GRID):
        benefit = k * (psa.effects[:, 2] - psa.effects[:, 0]) - (psa.costs_gbp[:, 2] - psa.costs_gbp[:, 0])
        assert found.value[row] == pytest.approx(benefit.mean())
        assert found.sd[row] == pytest.approx(benefit.std(ddof=1))
        assert (found.lower[row], found.upper[row]) == pytest.approx(tuple(np.quantile(benefit, [0.05, 0.95])))
        assert found.probability[row] == (benefit > 0).mean()


def test_plane_and_its_ellipses() -> None:
    rng = np.random.default_rng(3)
    both = rng.multivariate_normal([0.02, 400], [[1e-4, 0.5], [0.5, 10_000]], size=100_000)
    psa = Psa.from_differences(both[:, 1], both[:, 0], effect_unit="QALY")
    plane = compute_plane(psa, target="with", reference="without")
    assert plane.correlation == pytest.approx(0.5, abs=0.01)
    assert plane.share_ne + plane.share_se + plane.share_sw + plane.share_nw + plane.share_axis == pytest.approx(1)
    assert plane.icer.value == pytest.approx(plane.mean_cost_gbp / plane.mean_effect)
    spread = np.linalg.inv(np.cov(both.T))
    far = np.einsum("ij,jk,ik->i", both - both.mean(axis=0), spread, both - both.mean(axis=0))
    for ellipse in plane.ellipses:
        t = np.linspace(0, 2 * np.pi, 50)[:, None]
        outline = np.cos(t) * ellipse.axes[0] + np.sin(t) * ellipse.axes[1]
        distance = np.einsum("ij,jk,ik->i", outline, spread, outline)
        assert distance == pytest.approx(np.full(50, stats.chi2.ppf(ellipse.level, 2)))
        assert (far < distance[0]).mean() == pytest.approx(ellipse.level, abs=0.01)


def test_a_plane_without_effect_has_no_ratio_and_no_ellipse() -> None:
    psa = Psa.from_differences([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], effect_unit="QALY")
    plane = compute_plane(psa, target="with", reference="without")
    assert math.isnan(plane.icer.value)
    assert "nothing to divide by" in plane.icer.reason
    assert math.isnan(plane.correlation)
    assert plane.ellipses == ()
    assert plane.share_axis == 1


def test_break_even_is_where_expected_benefit_crosses(psa: Psa) -> None:
    table = compute_break_even(psa)
    mean_cost, mean_effect = psa.costs_gbp.mean(axis=0), psa.effects.mean(axis=0)
    for row in table.itertuples(index=False):
        one, other = psa.place(row[1]), psa.place(row[2])
        benefit = row[0] * mean_effect - mean_cost
        assert benefit[one] == pytest.approx(benefit[other])
        assert benefit[one] == pytest.approx(benefit.max())
    always = compute_break_even(Psa.from_differences([-1.0, -1.0], [1.0, 2.0], effect_unit="QALY"))
    assert len(always) == 0


def test_population_evpi_discounts_from_the_second_year() -> None:
    found = compute_population_evpi([2.0, 3.0], [100, 100, 50], discount_rate=0.035)
    people = 100 + 100 / 1.035 + 50 / 1.035**2
    assert found == pytest.approx([2 * people, 3 * people])
    with pytest.raises(ParameterError) as caught:
        compute_population_evpi(-1.0, [100, math.nan])
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize("bad", [[-1.0], [math.nan], [math.inf], []])
def test_thresholds_that_cannot_be(psa: Psa, bad: list[float]) -> None:
    with pytest.raises(ParameterError, match="thresholds_gbp"):
        compute_acceptability(psa, bad)
