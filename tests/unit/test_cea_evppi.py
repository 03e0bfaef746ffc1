"""Value of partial information: closed forms, its bounds, and what it refuses.

For an incremental net benefit d normal with mean m, and s the standard deviation of what the parameters explain of it,
EVPPI = s phi(m / s) + m Phi(m / s) - max(m, 0); the whole of d gives EVPI.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.economics.draws import Psa
from evalkit.economics.evppi import Evppi, EvppiOptions, compute_evppi, compute_evppi_table

AUTO, GP = EvppiOptions(), EvppiOptions(method="gaussian_process")


def make_psa(function: Callable[[np.ndarray], np.ndarray], n: int, p: int, *, noise: float, seed: int = 5) -> Psa:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p))
    benefit = function(x) + noise * rng.normal(size=n)
    parameters = pd.DataFrame(x, columns=[f"p{j}" for j in range(p)])
    return Psa.from_differences(np.zeros(n), benefit, effect_unit="unit", parameters=parameters)


def linear(x: np.ndarray) -> np.ndarray:
    return 1.0 + 3 * x[:, 0] + 2 * x[:, 1] + x[:, 2]


def loss(mean: float, sd: float) -> float:
    return sd * stats.norm.pdf(mean / sd) + mean * stats.norm.cdf(mean / sd) - max(mean, 0)


def evppi(psa: Psa, names: Sequence[str], options: EvppiOptions = AUTO) -> Evppi:
    return compute_evppi(psa, names, 1.0, rng=np.random.default_rng(1), options=options)


@pytest.mark.parametrize(
    ("names", "sd"),
    [(["p0"], 3), (["p1"], 2), (["p0", "p1"], math.sqrt(13)), (["p0", "p1", "p2", "p3", "p4"], math.sqrt(14))],
)
def test_linear_gaussian_model(names: list[str], sd: float) -> None:
    found = evppi(make_psa(linear, 40_000, 5, noise=1.0), names)
    assert found.value_gbp == pytest.approx(loss(1.0, sd), abs=4 * math.hypot(found.se_gbp, found.sampling_se_gbp))
    assert found.value_gbp == pytest.approx(loss(1.0, sd), rel=0.04)
    assert all(check.passed for check in found.checks)


def test_of_all_parameters_is_evpi_and_of_noise_nothing() -> None:
    psa = make_psa(linear, 3000, 6, noise=0.0)
    every = evppi(psa, ["p0", "p1", "p2"])
    assert every.value_gbp == pytest.approx(every.evpi_gbp, rel=1e-6)
    assert every.share_of_evpi == pytest.approx(1, rel=1e-6)
    process = evppi(psa, [f"p{j}" for j in range(6)])
    assert process.value_gbp == pytest.approx(process.evpi_gbp, rel=1e-3)
    noise = evppi(psa, ["p3", "p4", "p5"])
    assert 0 <= noise.value_gbp < 0.01 * noise.evpi_gbp
    assert noise.value_gbp <= noise.bias_gbp + 3 * noise.se_gbp


@pytest.mark.parametrize("options", [EvppiOptions(method="splines"), GP], ids=["splines", "gaussian_process"])
@pytest.mark.parametrize(
    ("function", "true"),
    [
        # E max(x y, 0) = E|x| E|y| / 2 = 1 / pi
        (lambda x: x[:, 0] * x[:, 1], 1 / math.pi),
        # E max(x^2 - 1, 0) = 2 phi(1)
        (lambda x: x[:, 0] ** 2 - 1, 2 * stats.norm.pdf(1)),
    ],
    ids=["product", "square"],
)
def test_curves_and_products_are_found(function: Callable, true: float, options: EvppiOptions) -> None:
    found = evppi(make_psa(function, 4000, 2, noise=1.0), ["p0", "p1"], options)
    assert found.value_gbp == pytest.approx(true, abs=4 * math.hypot(found.se_gbp, found.sampling_se_gbp))
    alone = evppi(make_psa(lambda x: x[:, 0] * x[:, 1], 4000, 2, noise=1.0), ["p0"], options)
    assert alone.value_gbp < 0.02


def test_more_is_known_from_more_parameters_and_never_more_than_all() -> None:
    psa = make_psa(linear, 2000, 5, noise=2.0)
    values = [evppi(psa, [f"p{j}" for j in range(size)]).value_gbp for size in (1, 2, 3)]
    assert values == sorted(values)
    assert values[-1] < evppi(psa, ["p0"]).evpi_gbp


def test_standard_error_is_the_spread_over_new_regressions() -> None:
    """The same parameters with new noise each time: what is left is the error of the regression."""
    x = np.random.default_rng(0).normal(size=(800, 1))
    found = []
    for seed in range(60):
        benefit = 0.5 + x[:, 0] + 3 * np.random.default_rng(seed + 1).normal(size=800)
        psa = Psa.from_differences(0 * benefit, benefit, effect_unit="u", parameters=pd.DataFrame(x, columns=["p"]))
        found.append(evppi(psa, ["p"]))
    spread = np.std([one.value_gbp for one in found], ddof=1)
    assert np.mean([one.se_gbp for one in found]) == pytest.approx(spread, rel=0.3)


def test_several_strategies() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(6000, 2))
    effects = np.column_stack([0 * x[:, 0], x[:, 0], x[:, 1]]) + 0.5 * rng.normal(size=(6000, 3))
    parameters = pd.DataFrame(x, columns=["p0", "p1"])
    psa = Psa(("a", "b", "c"), np.zeros((6000, 3)), effects, "u", parameters)
    found = compute_evppi(psa, ["p0", "p1"], 1.0, rng=rng)
    best = np.maximum(0, x.max(axis=1)).mean() - max(0, *x.mean(axis=0))
    assert found.value_gbp == pytest.approx(best, abs=0.03)


def test_what_does_not_vary_is_left_out_and_said() -> None:
    psa = make_psa(linear, 1000, 3, noise=1.0)
    psa.parameters["fixed"] = 7.0
    with_fixed, without = evppi(psa, ["p0", "fixed"]), evppi(psa, ["p0"])
    assert with_fixed.value_gbp == without.value_gbp
    assert with_fixed.checks[0].passed is False
    assert "1 of 2 parameters do not vary" in with_fixed.checks[0].text
    assert evppi(psa, ["fixed"]).value_gbp == 0


def test_yes_no_and_repeated_parameters() -> None:
    psa = make_psa(lambda x: np.where(x[:, 0] > 0, 1.0, -1.0), 2000, 2, noise=0.5)
    psa.parameters["side"] = (psa.parameters["p0"] > 0).astype(float)
    psa.parameters["again"] = psa.parameters["side"]
    found = evppi(psa, ["side", "again"])
    share = psa.parameters["side"].mean()
    assert found.value_gbp == pytest.approx(share - max(2 * share - 1, 0), abs=0.03)


def test_nothing_to_gain() -> None:
    psa = make_psa(lambda x: 100 + 0.01 * x[:, 0], 500, 1, noise=0.01)
    found = evppi(psa, ["p0"])
    assert (found.value_gbp, found.evpi_gbp) == (0, 0)
    assert math.isnan(found.share_of_evpi)


def test_a_table_of_groups() -> None:
    psa = make_psa(linear, 1000, 3, noise=1.0)
    table = compute_evppi_table(psa, {"one": ["p0"], "rest": ["p1", "p2"]}, [1.0, 2.0], rng=np.random.default_rng(1))
    assert list(table["group"]) == ["one", "one", "rest", "rest"]
    assert table["evppi_gbp"].iloc[0] == evppi(psa, ["p0"]).value_gbp
    assert table["failed_checks"].eq("").all()


def test_faults_and_refusals() -> None:
    psa = make_psa(linear, 50, 3, noise=1.0)
    with pytest.raises(NotEstimable, match="too few to regress on"):
        evppi(psa, ["p0"])
    options = EvppiOptions(method="spline", knots=2, landmarks=1, error_draws=1)
    with pytest.raises(ParameterError) as caught:
        compute_evppi(psa, ["p0", "p0", "q1"], -1, rng=None, options=options)
    assert len(caught.value.faults) == 8
    bare = Psa(psa.strategies, psa.costs_gbp, psa.effects, "u")
    with pytest.raises(ParameterError, match="no draws of parameters"):
        evppi(bare, ["p0"])
