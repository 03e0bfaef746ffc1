"""The simplex solver: optimal to rounding, on easy and on degenerate problems, whatever their order."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from evalkit.core.errors import ParameterError
from evalkit.estimators.area.simplex import compute_kkt_gap, solve_simplex, spread_ties


def make_problems(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Donor rows (J, n), targets (A, n) and allowed donors (A, J)."""
    size, width = int(rng.integers(3, 16)), int(rng.integers(1, 20))
    rows = rng.normal(size=(size, width))
    if kind == "collinear":
        rows[1], rows[-1] = rows[0], (rows[0] + rows[2]) / 2
    targets = rng.normal(size=(6, width)) * rng.choice([0.2, 1.0, 3.0])
    if kind == "inside":
        targets = rng.dirichlet(np.ones(size), 6) @ rows
    if kind == "levels":
        rows, targets = rows + 1e3, targets + 1e3
    allowed = rng.random((6, size)) < 0.8
    allowed[:, 0] = True
    return rows, targets, allowed


@pytest.mark.parametrize("kind", ["plain", "collinear", "inside", "levels"])
@pytest.mark.parametrize("penalty", [0.0, 0.3, 5.0])
def test_weights_meet_the_conditions_of_an_optimum(kind: str, penalty: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        rows, targets, allowed = make_problems(rng, kind)
        gram, linear = rows @ rows.T, targets @ rows.T
        found = solve_simplex(gram, linear, allowed, penalty=penalty)
        assert compute_kkt_gap(gram, linear, allowed, found, penalty=penalty).max() <= 1e-10
        spread = spread_ties(gram, linear, allowed, found, penalty=penalty)
        assert compute_kkt_gap(gram, linear, allowed, spread, penalty=penalty).max() <= 1e-9
        stacked = np.tile(gram, (6, 1, 1))
        np.testing.assert_allclose(solve_simplex(stacked, linear, allowed, penalty=penalty), found, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_no_general_solver_finds_a_lower_loss(penalty: float) -> None:
    rng = np.random.default_rng(2)
    for kind in ("plain", "collinear", "inside"):
        for _ in range(8):
            rows, targets, allowed = make_problems(rng, kind)
            found = solve_simplex(rows @ rows.T, targets @ rows.T, allowed, penalty=penalty)
            for target, own, weights in zip(targets, allowed, found, strict=True):
                donors = rows[own]

                def loss(w: np.ndarray, donors: np.ndarray = donors, target: np.ndarray = target) -> float:
                    return float(((target - w @ donors) ** 2).sum() + penalty * (w**2).sum())

                peer = optimize.minimize(
                    loss, np.full(len(donors), 1 / len(donors)), method="SLSQP", bounds=[(0, 1)] * len(donors),
                    constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, options={"ftol": 1e-14, "maxiter": 500},
                )  # fmt: skip
                assert loss(weights[own]) <= peer.fun + 1e-9 * (1 + peer.fun)
                if penalty and peer.success:
                    np.testing.assert_allclose(weights[own], peer.x, atol=1e-5)


def test_two_donors_by_hand() -> None:
    # min (1 - 4w)^2 + (2 - 0w)^2 over the share w of the first donor: w = 1/4.
    rows, target = np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 2.0]])
    found = solve_simplex(rows @ rows.T, target @ rows.T, np.ones((1, 2), bool))
    np.testing.assert_allclose(found, [[0.25, 0.75]], atol=1e-14)
    far = np.array([[9.0, 0.0]])
    np.testing.assert_allclose(solve_simplex(rows @ rows.T, far @ rows.T, np.ones((1, 2), bool)), [[1.0, 0.0]])


def test_one_donor_has_all_the_weight() -> None:
    allowed = np.array([[False, True, False]])
    np.testing.assert_array_equal(solve_simplex(np.eye(3), np.ones((1, 3)), allowed), [[0.0, 1.0, 0.0]])


def test_copies_share_alike() -> None:
    rows = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    target = np.array([[0.6, 0.4]])
    gram, linear, allowed = rows @ rows.T, target @ rows.T, np.ones((1, 4), bool)
    spread = spread_ties(gram, linear, allowed, solve_simplex(gram, linear, allowed))
    np.testing.assert_allclose(spread, [[0.2, 0.2, 0.2, 0.4]], atol=1e-10)


def test_a_target_inside_the_hull_gets_the_most_spread_weights() -> None:
    # The centre of a square: any mixture of the two diagonals meets it, the even one has the least norm.
    rows = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
    linear, allowed = np.zeros((1, 4)), np.ones((1, 4), bool)
    spread = spread_ties(rows @ rows.T, linear, allowed, solve_simplex(rows @ rows.T, linear, allowed))
    np.testing.assert_allclose(spread, np.full((1, 4), 0.25), atol=1e-10)


def test_ties_are_spread_as_a_general_solver_would() -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        rows = rng.normal(size=(9, 3))
        target = rng.dirichlet(np.ones(9), 1) @ rows
        gram, linear, allowed = rows @ rows.T, target @ rows.T, np.ones((1, 9), bool)
        spread = spread_ties(gram, linear, allowed, solve_simplex(gram, linear, allowed))[0]
        fixed = np.column_stack([rows, np.ones(9)])
        peer = optimize.minimize(
            lambda w: (w**2).sum(), np.full(9, 1 / 9), jac=lambda w: 2 * w, method="SLSQP", bounds=[(0, 1)] * 9,
            constraints={"type": "eq", "fun": lambda w, f=fixed, t=target: w @ f - np.append(t[0], 1.0)},
            options={"ftol": 1e-15, "maxiter": 1000},
        )  # fmt: skip
        np.testing.assert_allclose(spread @ rows, target[0], atol=1e-9)
        assert (spread**2).sum() <= peer.fun + 1e-8


@pytest.mark.parametrize("kind", ["plain", "collinear", "inside"])
def test_the_order_of_donors_does_not_matter(kind: str) -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        rows, targets, allowed = make_problems(rng, kind)
        order = rng.permutation(len(rows))
        answers = []
        for r, a in ((rows, allowed), (rows[order], allowed[:, order])):
            gram, linear = r @ r.T, targets @ r.T
            answers.append(spread_ties(gram, linear, a, solve_simplex(gram, linear, a)))
        np.testing.assert_allclose(answers[1], answers[0][:, order], atol=1e-6)


def test_a_start_nearby_leads_to_the_same_optimum() -> None:
    rng = np.random.default_rng(5)
    rows, targets, allowed = make_problems(rng, "plain")
    gram, linear = rows @ rows.T, targets @ rows.T
    cold = solve_simplex(gram, linear, allowed)
    nearby = (targets + 0.1) @ rows.T
    warm = solve_simplex(gram, linear, allowed, start=solve_simplex(gram, nearby, allowed))
    loss = [np.einsum("aj,jk,ak->a", w, gram, w) - 2 * (linear * w).sum(axis=1) for w in (cold, warm)]
    np.testing.assert_allclose(loss[1], loss[0], atol=1e-10)


def test_conditions_are_seen_to_fail() -> None:
    gram, linear, allowed = np.eye(2), np.array([[1.0, 0.0]]), np.array([[True, True]])
    best = solve_simplex(gram, linear, allowed)
    assert compute_kkt_gap(gram, linear, allowed, best)[0] <= 1e-12
    for wrong in ([0.5, 0.5], [1.2, -0.2], [0.9, 0.0]):
        assert compute_kkt_gap(gram, linear, allowed, np.array([wrong]))[0] > 0.05
    assert compute_kkt_gap(gram, linear, np.array([[False, True]]), best)[0] > 0.5


@pytest.mark.parametrize("spoil", ["gram", "linear", "allowed"])
def test_what_cannot_be_solved_is_refused(spoil: str) -> None:
    parts = {"gram": np.eye(2), "linear": np.ones((1, 2)), "allowed": np.ones((1, 2), bool)}
    parts[spoil] = np.zeros((1, 2), bool) if spoil == "allowed" else np.where(np.eye(2) > 0, np.nan, parts[spoil])
    with pytest.raises(ParameterError, match="missing or infinite"):
        solve_simplex(parts["gram"], parts["linear"][:1], parts["allowed"])
