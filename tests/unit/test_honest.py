"""Bounds under violations of parallel trends: against brute force, at their limits, and refused where they must be."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import optimize, stats

from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.core.result import Check
from evalkit.estimators.area.honest import HonestOptions, compute_honest_bounds, compute_sensitivity_curve
from evalkit.estimators.area.honest_rm import (
    accept_values,
    build_relative_magnitude_test,
    compute_relative_magnitude_set,
    derive_first_differences,
)
from evalkit.estimators.area.honest_sd import build_frontier, compute_fixed_length_interval, compute_folded_quantile
from evalkit.estimators.area.moments import accept_hybrid, compute_least_favourable_values
from evalkit.estimators.area.paths import EventStudy
from tests.panels import DIFFERENCE


def make_case(seed: int, n_before: int, n_after: int) -> tuple[np.ndarray, np.ndarray]:
    """Effects and a covariance of consecutive periods, both of order one."""
    rng = np.random.default_rng([seed, n_before, n_after])
    size = n_before + n_after
    root = rng.normal(size=(size, size)) * 0.4 + np.eye(size)
    covariance = root @ root.T
    value = rng.multivariate_normal(np.zeros(size), covariance)
    value[n_before:] += 4
    return value, covariance


def make_study(value, covariance, steps, **changes) -> EventStudy:
    se = np.sqrt(np.diag(covariance))
    fields = {
        "estimand": DIFFERENCE, "estimator": "did", "steps": np.asarray(steps), "value": value, "se": se,
        "lower": value - 2 * se, "upper": value + 2 * se, "covariance": covariance, "reference": -1, "level": 0.95,
    }  # fmt: skip
    return EventStudy(**(fields | changes))


# Relative magnitudes against the algorithm of the paper with a generic search over bases.


def generic_problem(covariance, n_before, weights, mbar, place, sign):
    """Moments after adoption, theta's column and the nuisance columns, from a generic basis with l in its first row."""
    differences = derive_first_differences(n_before, len(weights))
    reference = sign * differences[place]
    after = differences[n_before:]
    moments = np.concatenate([after - mbar * reference, -after - mbar * reference])
    drop = int(np.abs(weights).argmax())
    basis = np.concatenate([weights[None], np.delete(np.eye(len(weights)), drop, axis=0)])
    columns = moments[:, n_before:] @ np.linalg.inv(basis)
    return moments, columns[:, 0], columns[:, 1:], np.sqrt(np.diag(moments @ covariance @ moments.T))


def generic_vertices(nuisance, sd):
    """Every vertex of {g >= 0, g'nuisance = 0, g'sd = 1}, by trying all bases."""
    across = np.column_stack([sd, nuisance]).T
    found = []
    for basis in combinations(range(len(sd)), across.shape[0]):
        square = across[:, basis]
        if abs(np.linalg.det(square)) < 1e-10:
            continue
        part = np.linalg.solve(square, np.eye(len(square))[0])
        if (part >= -1e-10).all():
            vertex = np.zeros(len(sd))
            vertex[list(basis)] = part
            if not any(np.allclose(vertex, other) for other in found):
                found.append(vertex)
    return np.array(found)


def slow_accepts(moments_at, spread, vertices, critical, level, kappa):
    """One null value by scipy's truncated normal, bounds one vertex at a time."""
    scores = vertices @ moments_at
    star = vertices[scores.argmax()]
    eta = scores.max()
    if eta > critical:
        return False
    sd = np.sqrt(star @ spread @ star)
    along = spread @ star / sd**2
    rest = moments_at - along * eta
    low, high = -np.inf, critical
    for vertex in vertices:
        slope = 1 - vertex @ along
        if slope > 1e-9:
            low = max(low, vertex @ rest / slope)
        elif slope < -1e-9:
            high = min(high, vertex @ rest / slope)
    size = (1 - level - kappa) / (1 - kappa)
    return eta <= max(0.0, sd * stats.truncnorm.ppf(1 - size, low / sd, high / sd))


@pytest.mark.parametrize(
    "weights", [(1.0,), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1 / 3, 1 / 3, 1 / 3), (1.0, -2.0, 0.5), (-1.0, 0.0, 1.0)]
)
@pytest.mark.parametrize("mbar", [0.3, 1.0, 2.5])
def test_known_vertices_give_the_test_of_the_paper(weights, mbar):
    """Greatest moment equals the linear programme's, and acceptance equals that from all bases, null by null."""
    weights, n_after, answers = np.array(weights), len(weights), []
    value, covariance = make_case(3, 2, n_after)
    value[2:] -= 3.0
    test = build_relative_magnitude_test(covariance, n_before=2, weights=weights, mbar=mbar, level=0.95)
    polyhedra = [(place, sign) for place in range(2) for sign in (1.0, -1.0)]
    for p, (place, sign) in enumerate(polyhedra):
        moments, on_theta, nuisance, sd = generic_problem(covariance, 2, weights, mbar, place, sign)
        vertices = generic_vertices(nuisance, sd)
        spread = moments @ covariance @ moments.T
        for theta in np.linspace(-9, 9, 37):
            at = moments @ value - on_theta * theta
            solved = optimize.linprog(
                np.eye(n_after)[0],
                A_ub=-np.column_stack([sd, nuisance]),
                b_ub=-at,
                bounds=[(None, None)] * n_after,
            )
            ours = test.on_value[p] @ value + test.on_theta[p] * theta
            assert ours.max() == pytest.approx(solved.fun, abs=1e-8)
            critical = test.critical[p]
            fast = accept_hybrid(
                ours[None, :, None],
                test.covariance[[p]],
                critical=test.critical[[p]],
                level=0.95,
                first_size=test.first_size,
            )[0, 0]
            assert fast == slow_accepts(at, spread, vertices, critical, 0.95, test.first_size)
            answers.append(fast)
    assert 0 < np.mean(answers) < 1


@pytest.mark.parametrize("size", [0.005, 0.01])
def test_least_favourable_value_is_the_quantile_of_the_greatest(size):
    """Against 400,000 draws: within 4 Monte-Carlo errors of the probability; for two equal tails, the normal table."""
    rng = np.random.default_rng(5)
    factors = rng.normal(size=(6, 4, 2)) * np.array([1e-6, 1e-2, 1, 1, 1, 1e5])[:, None, None]
    values = compute_least_favourable_values(factors, size=size)
    draws = rng.normal(size=(400_000, 2))
    for factor, value in zip(factors, values, strict=True):
        beyond = ((draws @ factor.T).max(axis=1) > value).mean()
        assert abs(beyond - size) < 4 * np.sqrt(size / 400_000)
    both = compute_least_favourable_values(np.array([[[1.0, 0.0], [-1.0, 0.0]]]), size=size)
    assert both[0] == pytest.approx(stats.norm.isf(size / 2), rel=1e-7)


def test_hybrid_test_holds_far_in_the_tail():
    """Truncation 30 standard errors out, where distribution functions are 0 or 1: the answer is the log-scale one."""
    accepted = accept_hybrid(
        np.array([[[30.5, 30.01], [30.0, 30.0]]]),
        np.eye(2)[None],
        critical=np.array([40.0]),
        level=0.95,
        first_size=0.005,
    )
    # P(Z > 30.5 | Z > 30) = exp(-15.1) is below any size; P(Z > 30.01 | Z > 30) = 0.74 is not.
    assert accepted.tolist() == [[False, True]]


def test_set_is_the_part_of_a_fine_grid_that_is_accepted():
    value, covariance = make_case(5, 3, 4)
    test = build_relative_magnitude_test(covariance, n_before=3, weights=np.full(4, 0.25), mbar=0.7, level=0.95)
    low, high = compute_relative_magnitude_set(test, value, grid_points=500)
    grid = np.linspace(low - 2, high + 2, 20_001)
    accepted = grid[accept_values(test, value, grid)]
    step = grid[1] - grid[0]
    assert 0 <= accepted[0] - low < step
    assert 0 <= high - accepted[-1] < step


@pytest.mark.parametrize("n_before", [1, 4])
@pytest.mark.parametrize("target", ["first", "average", (0.5, -1.0, 2.0), (3.0,)])
def test_no_violation_after_adoption_gives_the_ordinary_interval(n_before, target):
    """Mbar = 0 is parallel trends after adoption: the hybrid test is then the two-sided normal test, exactly."""
    value, covariance = make_case(1, n_before, len(target) if isinstance(target, tuple) else 3)
    curve = compute_honest_bounds(value, covariance, n_before=n_before, options=HonestOptions(m=(0.0,), target=target))
    assert [curve.lower[0], curve.upper[0]] == pytest.approx(curve.original, abs=1e-6)


# Smoothness.


def test_folded_quantile_inverts_its_distribution():
    mean = np.array([0.0, 0.01, 0.5, 1, 3, 10, 1e4, 1e8])
    quantile = compute_folded_quantile(mean, 0.9)
    assert stats.norm.cdf(quantile - mean) - stats.norm.cdf(-quantile - mean) == pytest.approx(0.9, abs=1e-8)
    assert quantile[0] == pytest.approx(stats.norm.ppf(0.95))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n_before", "n_after"), [(1, 2), (2, 1), (4, 3), (12, 5)])
def test_path_of_estimators_is_optimal(seed, n_before, n_after):
    """From least bias to least variance; at each knot the gradient meets the conditions of optimality."""
    _, covariance = make_case(seed, n_before, n_after)
    frontier = build_frontier(covariance, n_before=n_before, weights=np.full(n_after, 1 / n_after))
    assert not frontier.cumulated[0].any()
    if n_before > 1:
        least = -np.linalg.solve(frontier.quadratic, frontier.linear)
        assert frontier.cumulated[-1] == pytest.approx(least, abs=1e-8)
    for u in frontier.cumulated[1:]:
        gradient = frontier.quadratic @ u + frontier.linear
        penalty = np.abs(gradient).max()
        active = np.abs(u) > 1e-9
        assert gradient[active] == pytest.approx(-penalty * np.sign(u[active]), abs=1e-8)
    for u in frontier.cumulated:
        before = frontier.to_weights @ u + frontier.offset
        times = np.concatenate([np.arange(-n_before, 0), np.arange(1, n_after + 1)])
        assert np.concatenate([before, frontier.weights]) @ times == pytest.approx(0, abs=1e-8)  # no linear trend


@pytest.mark.parametrize("bound", [0.0, 0.05, 0.4, 5.0])
def test_interval_is_the_shortest_and_its_bias_the_worst(bound):
    """Half-length against a direct search over weights, worst-case bias against a linear programme."""
    value, covariance = make_case(8, 3, 2)
    weights = np.array([0.5, 0.5])
    frontier = build_frontier(covariance, n_before=3, weights=weights)
    low, high = compute_fixed_length_interval(frontier, value, bound=bound, level=0.95)
    bends = np.diff(derive_first_differences(3, 2), axis=0)
    slope = derive_first_differences(3, 2)[0]

    def half(u: np.ndarray) -> float:
        full = np.concatenate([frontier.to_weights @ u + frontier.offset, weights])
        worst = optimize.linprog(
            -full, A_ub=np.concatenate([bends, -bends]), b_ub=np.full(8, bound), A_eq=slope[None], b_eq=[0],
            bounds=[(None, None)] * 5,
        )  # fmt: skip
        sd = np.sqrt(full @ covariance @ full)
        return float(sd * compute_folded_quantile(-worst.fun / sd, 0.95))

    found = optimize.minimize(
        half, frontier.cumulated[-1], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-9}
    )
    assert (high - low) / 2 == pytest.approx(found.fun, rel=1e-5)


# The curve.


@pytest.mark.parametrize("restriction", ["smoothness", "relative_magnitude"])
def test_sets_grow_with_the_violation_and_break_down_once(restriction):
    value, covariance = make_case(11, 4, 3)
    covariance = covariance / 4
    curve = compute_honest_bounds(value, covariance, n_before=4, options=HonestOptions(restriction=restriction))
    lengths = curve.upper - curve.lower
    assert (np.diff(lengths) > 0).all()
    at = HonestOptions(restriction=restriction, m=(curve.breakdown, curve.breakdown * 1.001))
    around = compute_honest_bounds(value, covariance, n_before=4, options=at)
    assert around.lower[0] > 0 >= around.lower[1]
    assert {check.name for check in curve.checks} == {"periods_before", "breakdown"}


@pytest.mark.parametrize("restriction", ["smoothness", "relative_magnitude"])
def test_no_breakdown_value_where_nought_is_never_left_out(restriction):
    value, covariance = make_case(1, 3, 2)
    value[3:] = 0.01
    curve = compute_honest_bounds(value, covariance, n_before=3, options=HonestOptions(restriction=restriction))
    assert np.isnan(curve.breakdown)
    assert "no breakdown value" in curve.checks[-1].text


def test_event_study_and_arrays_agree_and_failed_checks_are_carried():
    value, covariance = make_case(4, 3, 2)
    failed, passed = Check("overlap", False, 0.0, "poor"), Check("fit", True, 1.0, "good")
    study = make_study(value, covariance, [-4, -3, -2, 0, 1], checks=(failed, passed))
    curve = compute_sensitivity_curve(study)
    plain = compute_honest_bounds(value, covariance, n_before=3)
    assert (curve.lower == plain.lower).all()
    assert (curve.upper == plain.upper).all()
    assert curve.estimand is DIFFERENCE
    assert failed in curve.checks
    assert passed not in curve.checks


@pytest.mark.parametrize("restriction", ["smoothness", "relative_magnitude"])
def test_one_period_before_adoption_is_a_visible_downgrade(restriction):
    value, covariance = make_case(4, 1, 2)
    curve = compute_honest_bounds(value, covariance, n_before=1, options=HonestOptions(restriction=restriction))
    assert np.isfinite([curve.lower, curve.upper]).all()
    check = next(check for check in curve.checks if check.name == "periods_before")
    assert check.passed is False


@pytest.mark.parametrize(
    ("steps", "reference", "words"),
    [
        ([-4, -3, -1, 0, 1], -2, "not the last period before adoption"),
        ([-5, -3, -2, 0, 1], -1, "not consecutive"),
        ([-4, -3, -2, 1, 2], -1, "not consecutive"),
        ([-3, -4, -2, 0, 1], -1, "not consecutive"),
        ([-4, -3, -2, -1, 0], -1, "not consecutive"),
        ([-6, -5, -4, -3, -2], -1, "no period after adoption"),
        ([0, 1, 2, 3, 4], -1, "no effect before adoption"),
    ],
)
def test_event_studies_that_cannot_be_bounded_are_refused(steps, reference, words):
    value, covariance = make_case(4, 3, 2)
    with pytest.raises(NotEstimable, match=words):
        compute_sensitivity_curve(make_study(value, covariance, steps, reference=reference))


def test_covariances_that_are_unknown_or_impossible_are_refused():
    value, covariance = make_case(4, 3, 2)
    indefinite = covariance - 2 * np.linalg.eigvalsh(covariance)[0] * np.eye(5)
    lopsided = covariance + np.triu(np.ones((5, 5)), 1)
    few = np.random.default_rng(0).normal(size=(5, 3))
    for wrong, words in [
        (np.full((5, 5), np.nan), "standard errors were refused"),
        (indefinite, "positive definite"),
        (few @ few.T, "fewer clusters than effects"),
        (lopsided, "not symmetric"),
        (np.zeros((5, 5)), "not above 0"),
    ]:
        with pytest.raises(NotEstimable, match=words):
            compute_honest_bounds(value, wrong, n_before=3)
    with pytest.raises(NotEstimable, match="unknown at some steps"):
        compute_honest_bounds(np.append(value[:-1], np.nan), covariance, n_before=3)
    with pytest.raises(ParameterError, match="shapes"):
        compute_honest_bounds(value, covariance[:4, :4], n_before=3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"m": (-0.1, 1.0)}, "at least 0"),
        ({"m": (np.inf,)}, "finite"),
        ({"m": ()}, "none"),
        ({"level": 0.3}, "level"),
        ({"grid_points": 5}, "grid_points"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"target": "last"}, "average, first"),
        ({"target": (1.0,)}, "one weight per period"),
        ({"target": (0.0, 0.0)}, "all 0"),
        ({"restriction": "sd"}, "smoothness or relative_magnitude"),
    ],
)
def test_options_out_of_range_are_refused(changes, words):
    value, covariance = make_case(4, 3, 2)
    with pytest.raises(ParameterError, match=words):
        compute_honest_bounds(value, covariance, n_before=3, options=HonestOptions(**changes))


def test_all_faults_are_named_at_once():
    value, covariance = make_case(4, 3, 2)
    with pytest.raises(ParameterError) as caught:
        compute_honest_bounds(value, covariance, n_before=3, options=HonestOptions(m=(-1.0,), level=2.0))
    assert len(caught.value.faults) == 2
