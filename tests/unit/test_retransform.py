"""The way back from log cost to mean cost, against a jackknife and group means, and moments of cost."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.costs.cost_moments import compute_welch_difference, describe_costs
from evalkit.estimators.costs.retransform import (
    compute_retransformed_difference,
    compute_retransformed_mean,
    fit_log_ols,
)
from tests.unit.test_glm import NAMES, costs


def log_costs(n: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A design, costs whose logarithm spreads more among the treated, and the same design with all treated."""
    rng = np.random.default_rng(5)
    x, _ = costs(n=n)
    y = np.exp(x @ np.array([6, 0.2, 0.3, 0.1]) + rng.normal(0, np.where(x[:, 1] == 1, 1.1, 0.5)))
    return x, y, np.column_stack([x[:, 0], np.ones(n), x[:, 2:]])


@pytest.mark.parametrize("method", ["naive", "normal", "duan"])
@pytest.mark.parametrize("by", ["all", "group"])
def test_errors_of_retransformed_effects_are_those_of_a_jackknife(method: str, by: str) -> None:
    x, y, one = log_costs()
    nought = np.column_stack([x[:, 0], np.zeros(len(x)), x[:, 2:]])

    def effect(rows: np.ndarray) -> tuple[float, float]:
        grouped = {"groups": x[rows, 1], "target_groups": (one[:, 1], nought[:, 1])} if by == "group" else {}
        found = compute_retransformed_difference(fit_log_ols(x[rows], y[rows]), one, nought, method=method, **grouped)
        return found.value, found.se

    everybody = np.ones(len(y), dtype=bool)
    left_out = np.array([effect(everybody & (np.arange(len(y)) != i))[0] for i in range(len(y))])
    jackknife = math.sqrt((len(y) - 1) / len(y) * ((left_out - left_out.mean()) ** 2).sum())
    assert effect(everybody)[1] == pytest.approx(jackknife, rel=0.08)


def test_smearing_by_group_takes_each_groups_own_factor() -> None:
    x, y, one = log_costs()
    fit = fit_log_ols(x, y, names=NAMES)
    raised = np.exp(fit.residuals)
    wanted = [raised[x[:, 1] == side].mean() for side in (0, 1)]
    found = compute_retransformed_mean(fit, x, groups=x[:, 1], target_groups=x[:, 1])
    assert found.factors == pytest.approx(wanted)
    assert found.value == pytest.approx(
        (np.exp(x @ fit.model.coefficients) * np.array(wanted)[x[:, 1].astype(int)]).mean()
    )
    # With one column a group, a mean by group is the group's mean whatever the spread.
    plain = fit_log_ols(x[:, :2], y)
    treated = compute_retransformed_mean(plain, one[:1, :2], groups=x[:, 1], target_groups=np.ones(1))
    assert treated.value == pytest.approx(y[x[:, 1] == 1].mean())


def test_retransformation_refuses_what_has_no_logarithm_and_groups_without_a_factor() -> None:
    x, y, _ = log_costs()
    fit = fit_log_ols(x, y)
    with pytest.raises(ParameterError, match="method: unknown"):
        compute_retransformed_mean(fit, x, method="smear")
    with pytest.raises(ParameterError, match="groups and target_groups, or neither"):
        compute_retransformed_mean(fit, x, groups=x[:, 1])
    with pytest.raises(ParameterError, match="nobody in the fit"):
        compute_retransformed_mean(fit, x, groups=x[:, 1], target_groups=x[:, 1] + 1)
    with pytest.raises(ParameterError, match="does not fit the model"):
        compute_retransformed_mean(fit, x[:, 1:])
    with pytest.raises(NotEstimable, match="too large to be written"):
        compute_retransformed_mean(fit, 1e4 * x)
    y[:3] = 0.0
    with pytest.raises(ParameterError, match="fewer than 10 rows have no cost, so no logarithm"):
        fit_log_ols(x, y)
    y[:3] = np.nan
    with pytest.raises(ParameterError, match="missing"):
        fit_log_ols(x, y)
    with pytest.raises(NotEstimable, match="does not vary"):
        fit_log_ols(x, np.full(150, 7.0))


def test_moments_and_welch_refuse_what_they_cannot_tell() -> None:
    cost = np.array([0.0, 10.0, 20.0, 90.0])
    found = describe_costs(cost)
    assert (found.n, found.n_positive, found.mean, found.median, found.largest) == (4, 3, 30.0, 15.0, 90.0)
    assert math.isnan(describe_costs(np.full(3, 7.0)).skewness)
    assert math.isnan(describe_costs(np.zeros(3)).log_skewness)
    for bad, words in (([1.0, -1.0], "negative"), ([1.0, np.nan], "missing")):
        with pytest.raises(ParameterError, match=words):
            describe_costs(np.array(bad))
    with pytest.raises(NotEstimable, match="fewer than two people"):
        compute_welch_difference(cost, np.array([True, False, False, False]))
    with pytest.raises(NotEstimable, match="do not differ within either side"):
        compute_welch_difference(np.array([1.0, 1.0, 2.0, 2.0]), np.array([True, True, False, False]))
    with pytest.raises(ParameterError, match="shapes"):
        compute_welch_difference(cost, np.array([True, False]))
