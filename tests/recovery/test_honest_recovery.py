"""Coverage of the bounds where the violation of parallel trends lies on the edge of what is allowed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from evalkit.estimators.area.honest_rm import accept_values, build_relative_magnitude_test, derive_first_differences
from evalkit.estimators.area.honest_sd import build_frontier, compute_fixed_length_interval

DRAWS = 4000
N_BEFORE, N_AFTER = 4, 3


def make_covariance(sd: float) -> np.ndarray:
    """Effects against one reference period: independent errors of each period, less the reference's."""
    size = N_BEFORE + N_AFTER
    return sd**2 * (np.eye(size) + np.ones((size, size))) / 2


def violation(steps_before: list[float], step_after: float) -> np.ndarray:
    """A path through nought at the reference from its first differences."""
    differences = derive_first_differences(N_BEFORE, N_AFTER)
    return np.linalg.solve(differences, np.array([*steps_before, *[step_after] * N_AFTER]))


def margin(level: float) -> float:
    return 3 * np.sqrt(level * (1 - level) / DRAWS)


@pytest.mark.parametrize("target", ["first", "average"])
@pytest.mark.parametrize("mbar", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "steps",
    [[0, 0, 1, 0], [1, -1, 1, -1], [0.2, 0.5, -0.5, -1.0], [0, 0, 0, 0], [5, 0, 0, 0]],
    ids=["one step", "tied steps", "last step", "none", "large"],
)
def test_c_lf_covers_on_the_edge_of_relative_magnitudes(steps, mbar, target):
    """Every step after adoption is Mbar times the largest before: 95% less 3 Monte-Carlo errors, at least."""
    covariance = make_covariance(0.5)
    weights = np.eye(N_AFTER)[0] if target == "first" else np.full(N_AFTER, 1 / N_AFTER)
    truth = violation(steps, mbar * max(abs(step) for step in steps))
    draws = np.random.default_rng(1).multivariate_normal(truth, covariance, size=DRAWS).T
    test = build_relative_magnitude_test(covariance, n_before=N_BEFORE, weights=weights, mbar=mbar, level=0.95)
    assert accept_values(test, draws, np.zeros(DRAWS)).mean() >= 0.95 - margin(0.95)


def test_c_lf_is_not_wider_than_it_need_be():
    """One step far larger than all else: the set's end is that of a one-sided test, whose coverage is 95%."""
    covariance = make_covariance(0.1)
    truth = violation([0, 3.0, 0, 0], 3.0)
    draws = np.random.default_rng(2).multivariate_normal(truth, covariance, size=DRAWS).T
    test = build_relative_magnitude_test(
        covariance, n_before=N_BEFORE, weights=np.full(N_AFTER, 1 / N_AFTER), mbar=1.0, level=0.95
    )
    assert accept_values(test, draws, np.zeros(DRAWS)).mean() == pytest.approx(0.95, abs=margin(0.95) + 0.005)


def test_the_ordinary_interval_and_a_smaller_mbar_do_not_cover():
    """The same draws, so that the tests above are seen to be able to fail."""
    covariance = make_covariance(0.1)
    weights = np.full(N_AFTER, 1 / N_AFTER)
    draws = np.random.default_rng(2).multivariate_normal(violation([0, 3.0, 0, 0], 3.0), covariance, size=DRAWS).T
    smaller = build_relative_magnitude_test(covariance, n_before=N_BEFORE, weights=weights, mbar=0.8, level=0.95)
    assert accept_values(smaller, draws, np.zeros(DRAWS)).mean() < 0.2
    se = np.sqrt(weights @ covariance[N_BEFORE:, N_BEFORE:] @ weights)
    assert (np.abs(weights @ draws[N_BEFORE:]) < 1.96 * se).mean() < 0.01


@pytest.mark.parametrize("target", ["first", "average"])
@pytest.mark.parametrize("bound", [0.0, 0.1, 1.0])
def test_flci_covers_at_its_worst_violation(bound, target):
    """The path within Delta^SD that biases the chosen estimator most: coverage is the level itself."""
    covariance = make_covariance(0.5)
    weights = np.eye(N_AFTER)[0] if target == "first" else np.full(N_AFTER, 1 / N_AFTER)
    frontier = build_frontier(covariance, n_before=N_BEFORE, weights=weights)

    def centre_and_half(value: np.ndarray) -> tuple[float, float]:
        low, high = compute_fixed_length_interval(frontier, value, bound=bound, level=0.95)
        return (low + high) / 2, (high - low) / 2

    size = N_BEFORE + N_AFTER
    estimator = np.array([centre_and_half(unit)[0] for unit in np.eye(size)])
    half = centre_and_half(np.zeros(size))[1]
    bends = np.diff(derive_first_differences(N_BEFORE, N_AFTER), axis=0)
    worst = optimize.linprog(
        -estimator, A_ub=np.concatenate([bends, -bends]), b_ub=np.full(2 * len(bends), bound),
        A_eq=derive_first_differences(N_BEFORE, N_AFTER)[:1], b_eq=[0.0], bounds=[(None, None)] * size,
    ).x  # fmt: skip
    trend = 0.4 * np.array([-4, -3, -2, -1, 1, 2, 3])
    draws = np.random.default_rng(3).multivariate_normal(worst + trend, covariance, size=DRAWS)
    assert (np.abs(draws @ estimator) <= half).mean() == pytest.approx(0.95, abs=margin(0.95))
    sd = np.sqrt(estimator @ covariance @ estimator)
    bias = worst @ estimator
    assert stats.norm.cdf((half - bias) / sd) - stats.norm.cdf((-half - bias) / sd) == pytest.approx(0.95, abs=1e-6)
