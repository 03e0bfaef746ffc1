"""Designs that differ only in how they weigh units and periods; each meets the `Design` protocol.

All are weights of one estimator (Arkhangelsky et al. 2021, AER 111(12):4088, eq. 1 and table 2):

    effect = mean_post(y_tr - sum_j w_j y_j) - sum_t l_t (y_tr - sum_j w_j y_j)_t over t before adoption

difference-in-differences has w = 1/J and l = 1/T0, synthetic control has l = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.estimators.area.contrasts import Counterfactual, Design
from evalkit.estimators.area.simplex import solve_simplex, spread_ties

_TIME_PENALTY = 1e-6  # of the noise level; Arkhangelsky et al. 2021, section 2, and R's synthdid
_RIDGE_STEPS, _RIDGE_LEAST = 20, 1e-8  # the grid of R's augsynth
_FLAT = 1e-20  # of the largest square of an outcome: below it donors differ by rounding alone


@dataclass(frozen=True)
class Outcomes:
    """Values ready for A assignments: units no assignment uses are 0, so that nothing is read of them.

    Attributes
    ----------
    values : (J, T) or (A, J, T)
    shares : (A, J)
        1/n for each of the n treated units, else 0.
    donors : bool (A, J)
    """

    values: np.ndarray
    shares: np.ndarray
    donors: np.ndarray

    def mix(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Weighted sums over units, (A, J) and (J, T) or (A, J, T) to (A, T)."""
        return weights @ values if values.ndim == 2 else (weights[:, None, :] @ values)[:, 0, :]


def read_outcomes(values: np.ndarray, *, treated: np.ndarray, donors: np.ndarray, first: int) -> Outcomes:
    """Check the shapes of a design's arguments and blank what it may not read.

    Raises ParameterError where shapes do not agree, an assignment has no treated unit or no donor, a
    unit is both, nothing lies before `first`, or a value that is needed is missing or infinite.
    """
    periods = values.shape[-1]
    if treated.ndim != 2 or treated.shape != donors.shape or values.shape[-2:-1] != treated.shape[1:]:
        got = f"values {values.shape}, treated {treated.shape}, donors {donors.shape}"
        raise ParameterError(Fault("design", "its arrays do not fit", got=got, allowed="(J, T), (A, J), (A, J)"))
    used = treated | donors
    blank = np.where(used.any(axis=0)[:, None] if values.ndim == 2 else used[:, :, None], values, 0.0)
    wrong = {
        "an assignment has no treated unit": not treated.any(axis=1).all(),
        "an assignment has no donor": not donors.any(axis=1).all(),
        "a unit is both treated and a donor": bool((treated & donors).any()),
        f"the first treated period must lie within 1 to {periods}": not 1 <= first <= periods,
        "values that are needed are missing or infinite": not np.isfinite(blank).all(),
    }
    if any(wrong.values()):
        raise ParameterError([Fault("design", text) for text, holds in wrong.items() if holds])
    return Outcomes(blank, treated / treated.sum(axis=1, keepdims=True), donors)


def build_counterfactual(
    outcomes: Outcomes, *, first: int, unit_weights: np.ndarray, time_weights: np.ndarray
) -> Counterfactual:
    """The one estimator: paths from unit weights (A, J) and weights of the periods before (A, first)."""
    observed = outcomes.mix(outcomes.shares, outcomes.values)
    expected = outcomes.mix(unit_weights, outcomes.values)
    shift = ((observed - expected)[:, :first] * time_weights).sum(axis=1, keepdims=True)
    return Counterfactual(observed, expected + shift, first, unit_weights, time_weights)


def difference_in_differences(
    values: np.ndarray, *, treated: np.ndarray, donors: np.ndarray, first: int
) -> Counterfactual:
    """All donors and all periods before count alike."""
    outcomes = read_outcomes(values, treated=treated, donors=donors, first=first)
    even = donors / donors.sum(axis=1, keepdims=True)
    return build_counterfactual(
        outcomes, first=first, unit_weights=even, time_weights=np.full((len(donors), first), 1 / first)
    )


def synthetic_control(values: np.ndarray, *, treated: np.ndarray, donors: np.ndarray, first: int) -> Counterfactual:
    """Weights on the simplex that come nearest to the treated path before adoption, no predictors, no intercept.

    Abadie, Diamond and Hainmueller 2010, JASA 105:493, with every outcome before adoption as a
    predictor of equal importance. Of tied optima the one with the least sum of squares.
    """
    outcomes = read_outcomes(values, treated=treated, donors=donors, first=first)
    weights = _fit_units(outcomes, _centre_periods(outcomes.values[..., :first], donors | treated), penalty=0.0)
    return build_counterfactual(
        outcomes, first=first, unit_weights=weights, time_weights=np.zeros((len(donors), first))
    )


def synthetic_did(values: np.ndarray, *, treated: np.ndarray, donors: np.ndarray, first: int) -> Counterfactual:
    """Synthetic difference-in-differences: unit and time weights, each with an intercept.

    Arkhangelsky et al. 2021, eqs. 4 to 6: the unit weights carry the penalty zeta^2 T0 ||w||^2 with
    zeta = (N_tr T_post)^(1/4) times the standard deviation of the donors' first differences before adoption; the
    time weights 1e-6 of that. Both optima are exact; R's synthdid stops short of them. Levels of units and
    a straight trend common to all change nothing; other common shocks before adoption add to the noise
    level, and so to the penalty.

    Raises NotEstimable where fewer than two periods lie before, or none after.
    """
    outcomes = read_outcomes(values, treated=treated, donors=donors, first=first)
    after = values.shape[-1] - first
    if first < 2 or after < 1:
        got = f"{first} before and {after} after"
        raise NotEstimable(Fault("design", "synthetic DiD needs two periods before adoption and one after", got))
    noise = compute_noise_level(outcomes, first)
    zeta = (treated.sum(axis=1) * after) ** 0.25 * noise
    before = outcomes.values[..., :first]
    level = outcomes.values - before.mean(axis=-1, keepdims=True)
    rows = _centre_periods(level[..., :first], donors | treated)
    weights = _fit_units(outcomes, rows - rows.mean(axis=-1, keepdims=True), penalty=zeta**2 * first)
    spread = _donor_moments(np.concatenate([level[..., :first], _last_mean(level, first)], axis=-1), donors)
    gram, linear = spread[:, :first, :first], spread[:, :first, first]
    penalty = (_TIME_PENALTY * noise) ** 2 * donors.sum(axis=1)
    every = np.ones(linear.shape, dtype=bool)
    times = solve_simplex(gram, linear, every, penalty=penalty)
    times = spread_ties(gram, linear, every, times, penalty=penalty)
    return build_counterfactual(outcomes, first=first, unit_weights=weights, time_weights=times)


def compute_noise_level(outcomes: Outcomes, first: int) -> np.ndarray:
    """Standard deviation of the donors' first differences before adoption, shape (A,); n - 1 below, as in R.

    Arkhangelsky et al. 2021, section 2 (sigma hat).
    """
    steps = np.diff(outcomes.values[..., :first], axis=-1)
    donors = outcomes.donors.astype(np.float64)
    count = donors.sum(axis=1) * (first - 1)
    mean = outcomes.mix(donors, steps).sum(axis=1) / count
    apart = steps - mean[:, None, None]
    return np.sqrt((donors[:, :, None] * apart**2).sum(axis=(1, 2)) / np.maximum(count - 1, 1))


def build_ridge_augmented(ridge: float | None = None) -> Design:
    """The design `ridge_augmented` with its penalty given, or chosen by cross-validation where None."""

    def design(values: np.ndarray, *, treated: np.ndarray, donors: np.ndarray, first: int) -> Counterfactual:
        outcomes = read_outcomes(values, treated=treated, donors=donors, first=first)
        if first < (3 if ridge is None else 2):
            what = "a ridge penalty needs periods before adoption to be chosen and fitted by"
            raise NotEstimable(Fault("design", what, str(first), "3 or more, or 2 where the penalty is given"))
        rows = _centre_periods(outcomes.values[..., :first], donors | treated)
        weights = _fit_units(outcomes, rows, penalty=0.0)
        apart = _from_donor_mean(rows, donors)
        rest = outcomes.mix(outcomes.shares - weights, rows)
        chosen = np.full(len(donors), ridge) if ridge is not None else choose_ridge(outcomes, rows, weights, apart)
        added = _ridge_weights(apart, rest, chosen[:, None])[:, 0]
        return build_counterfactual(
            outcomes, first=first, unit_weights=weights + added, time_weights=np.zeros((len(donors), first))
        )

    return design


def ridge_augmented(values: np.ndarray, *, treated: np.ndarray, donors: np.ndarray, first: int) -> Counterfactual:
    """Synthetic control whose remaining imbalance is taken up by a ridge regression on the outcomes before.

    Ben-Michael, Feller and Rothstein 2021, JASA 116:1789, eqs. 9 and 13. Weights add to 1 but may be
    negative. The penalty is chosen by leave-one-period-out, as in R's augsynth (`choose_ridge`).

    Raises NotEstimable where fewer than three periods lie before.
    """
    return build_ridge_augmented()(values, treated=treated, donors=donors, first=first)


def choose_ridge(outcomes: Outcomes, rows: np.ndarray, weights: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Ridge penalty for each assignment, shape (A,), by leave-one-period-out.

    As R's augsynth does it: 21 penalties from the largest eigenvalue of the donors' centred cross-product
    down to 1e-8 of it; every period before but the last is left out in turn and foretold; the largest
    penalty within one standard error of the least error is taken. It is infinite, so that nothing is added
    to the synthetic control, where donors do not differ: one alone, or copies. `rows` (J, T0) or (A, J, T0) are
    the outcomes before, `weights` (A, J) the synthetic control, `apart` (A, J, T0) the donors' rows less their mean.
    """
    first = apart.shape[-1]
    largest = np.linalg.eigvalsh(_smaller_gram(apart))[:, -1]
    flat = largest <= _FLAT * float(np.abs(outcomes.values).max()) ** 2
    grid = np.where(flat, np.inf, largest)[:, None] * _RIDGE_LEAST ** (np.arange(_RIDGE_STEPS + 1) / _RIDGE_STEPS)
    errors = np.empty((first - 1, *grid.shape))
    for out in range(first - 1):
        kept = np.delete(np.arange(first), out)
        refit = _fit_units(outcomes, rows[..., kept], penalty=0.0, start=weights)
        rest = outcomes.mix(outcomes.shares - refit, rows)
        added = _ridge_weights(apart[..., kept], rest[:, kept], grid)
        errors[out] = (rest[:, out, None] - (added @ apart[:, :, out, None])[:, :, 0]) ** 2
    mean, se = errors.mean(axis=0), errors.std(axis=0, ddof=1) / np.sqrt(first - 1)
    best = mean.argmin(axis=1)[:, None]
    limit = np.take_along_axis(mean, best, axis=1) + np.take_along_axis(se, best, axis=1)
    return np.where(mean <= limit, grid, 0.0).max(axis=1)


def _ridge_weights(apart: np.ndarray, rest: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Weights that take up `rest` (A, n) by ridge regression, shape (A, L, J), for penalties (A, L).

    D (D'D + p I)^-1 r = (D D' + p I)^-1 D r, with D = `apart` (A, J, n): by the smaller of the two.
    """
    values, vectors = np.linalg.eigh(_smaller_gram(apart))
    shrunk = np.maximum(values, 0)[:, None, :] + penalties[:, :, None]
    by_donor = apart.shape[1] <= apart.shape[2]
    right = apart @ rest[:, :, None] if by_donor else rest[:, :, None]
    solved = ((np.swapaxes(vectors, 1, 2) @ right)[:, None, :, 0] / shrunk) @ np.swapaxes(vectors, 1, 2)
    return solved if by_donor else solved @ np.swapaxes(apart, 1, 2)


def _smaller_gram(apart: np.ndarray) -> np.ndarray:
    """D D' or D'D, whichever has the fewer rows; of D (A, J, n)."""
    turned = np.swapaxes(apart, 1, 2)
    return apart @ turned if apart.shape[1] <= apart.shape[2] else turned @ apart


def _fit_units(
    outcomes: Outcomes, rows: np.ndarray, *, penalty: np.ndarray | float, start: np.ndarray | None = None
) -> np.ndarray:
    """Simplex weights (A, J) of donors whose rows (J, n) or (A, J, n) come nearest to the treated mean's."""
    gram = rows @ np.swapaxes(rows, -1, -2)
    linear = outcomes.mix(outcomes.shares, gram)
    weights = solve_simplex(gram, linear, outcomes.donors, penalty=penalty, start=start)
    return spread_ties(gram, linear, outcomes.donors, weights, penalty=penalty)


def _centre_periods(values: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Values less their mean over units in each period; weights that add to 1 do not see it, rounding does."""
    shown = used.any(axis=0)[:, None] if values.ndim == 2 else used[:, :, None]
    centre = np.where(shown, values, 0.0).sum(axis=-2, keepdims=True) / shown.sum(axis=-2, keepdims=True)
    return np.where(shown, values - centre, 0.0)


def _last_mean(values: np.ndarray, first: int) -> np.ndarray:
    return values[..., first:].mean(axis=-1, keepdims=True)


def _from_donor_mean(rows: np.ndarray, donors: np.ndarray) -> np.ndarray:
    """Donors' rows less the donors' mean, shape (A, J, n); 0 for the others."""
    even = donors / donors.sum(axis=1, keepdims=True)
    mean = even @ rows if rows.ndim == 2 else (even[:, None, :] @ rows)[:, 0]
    return np.where(donors[:, :, None], rows - mean[:, None, :], 0.0)


def _donor_moments(rows: np.ndarray, donors: np.ndarray) -> np.ndarray:
    """Cross-products over donors of rows less the donors' mean, shape (A, n, n)."""
    apart = _from_donor_mean(rows, donors)
    return np.swapaxes(apart, -1, -2) @ apart
