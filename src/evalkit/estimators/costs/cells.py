"""Weighted means of costs and of what they bought, before and after on both sides, in many draws of people at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse
from evalkit.estimators.people.logistic import add_intercept, fit_logistic, fit_logistic_draws

CELLS = ("treated after", "treated before", "comparison after", "comparison before")
MIN_PEOPLE = 20
MAX_SHARE_LOST = 0.05
MIN_DEGREES = 4.0  # below this an interval says nothing, and the estimate should not stand
_BLOCK = 2_000_000  # numbers held at a time
_ROUNDING = 1e-9  # relative: draws nearer to each other than this are the same
_LARGE = 700.0  # beyond this the exponential overflows


@dataclass(frozen=True)
class CostColumns:
    """What is compared, a column a quantity: costs by part, year or payer, days at home.

    `before`, `after` (n, K) per person and quarter, alive or dead; `names` (K,); `treated` (n,) bool; `covariates`
    (n, p), which the weights balance.
    """

    before: np.ndarray
    after: np.ndarray
    names: tuple[str, ...]
    treated: np.ndarray
    covariates: pd.DataFrame


@dataclass(frozen=True)
class CellMeans:
    """Means of every column in the four `CELLS`, shape (1 + B, 4, K): of everybody first, then of each draw.

    `columns` and `weights` (n,), adding up to 1 on each side, are what the first row is the mean of.
    """

    values: np.ndarray
    names: tuple[str, ...]
    columns: CostColumns
    weights: np.ndarray

    def pick(self, shares: Mapping[str, float]) -> np.ndarray:
        """The means of a sum of columns, each times its share, shape (1 + B, 4), draws widened by `measure_skew`."""
        found = np.tensordot(self.values, self._mix(shares), axes=(2, 0))
        return found[0] + self.measure_skew(shares) * (found - found[0])

    def measure_skew(self, shares: Mapping[str, float]) -> float:
        """How much wider draws of a sum of columns are made so that a normal interval from them has the width of t.

        t(0.975) / z(0.975) with min(n - 1, 2n / (k - 1)) degrees, k the kurtosis of people's influences on the log of
        actual over counterfactual (on the difference, where a mean is not positive): where few people carry the
        spread, a bootstrap of them comes out short. The degrees match the variance of a variance, 2 s^4 / d.
        """
        mix, one = self._mix(shares), self.columns.treated
        after, before = self.columns.after @ mix, self.columns.before @ mix
        cells = self.values[0] @ mix
        scale = cells if (cells > 0).all() else np.ones(4)
        side = np.where(one[:, None], [[0, 1]], [[2, 3]])
        moved = (after - cells[side[:, 0]]) / scale[side[:, 0]] - (before - cells[side[:, 1]]) / scale[side[:, 1]]
        squares = (self.weights * moved) ** 2
        if not squares.sum() > 0:
            return 1.0
        n = len(squares)
        kurtosis = n * float(squares @ squares) / float(squares.sum()) ** 2
        degrees = min(n - 1.0, 2 * n / max(kurtosis - 1, 1e-9))
        return float(stats.t.ppf(0.975, max(degrees, MIN_DEGREES)) / stats.norm.ppf(0.975))

    def _mix(self, shares: Mapping[str, float]) -> np.ndarray:
        mix = np.zeros(len(self.names))
        for name, share in shares.items():
            mix[self.names.index(name)] += share
        return mix


@dataclass(frozen=True)
class MeanEffect:
    """Point values and bootstrap draws of the treated after adoption, per person and quarter.

    `actual` is their mean and `counterfactual` what it would have been; `draws` (B, 2) are the same in each replicate.
    """

    actual: float
    counterfactual: float
    draws: np.ndarray

    @property
    def difference(self) -> float:
        return self.actual - self.counterfactual

    @property
    def difference_draws(self) -> np.ndarray:
        return self.draws[:, 0] - self.draws[:, 1]

    @property
    def se(self) -> float:
        """Bootstrap standard error of the difference."""
        return float(self.difference_draws.std(ddof=1))

    def interval(self, level: float) -> tuple[float, float]:
        """Normal interval of the difference with the bootstrap error."""
        half = stats.norm.ppf(0.5 + level / 2) * self.se
        return self.difference - half, self.difference + half

    def interval_of(self, column: int, level: float) -> tuple[float, float]:
        """The same of the mean itself: column 0 is the actual one, 1 the counterfactual."""
        half = stats.norm.ppf(0.5 + level / 2) * self.draws[:, column].std(ddof=1)
        value = (self.actual, self.counterfactual)[column]
        return value - half, value + half

    @property
    def varies(self) -> bool:
        """Whether the draws differ by more than rounding: without that there is no error to tell."""
        return bool(np.ptp(self.draws, axis=0).max() > _ROUNDING * np.abs(self.draws).max())

    def relative(self, level: float) -> tuple[float, float, float]:
        """Difference as a share of the counterfactual, with an interval normal on the log scale.

        Raises NotEstimable where a mean is not positive, in all or in some draws: there is no logarithm.
        """
        if not (min(self.actual, self.counterfactual) > 0 and (self.draws > 0).all()):
            raise NotEstimable(
                Fault("costs", "a mean is nought or below in some draws, so that a share has no meaning")
            )
        ratio = math.log(self.actual / self.counterfactual)
        half = stats.norm.ppf(0.5 + level / 2) * np.log(self.draws[:, 0] / self.draws[:, 1]).std(ddof=1)
        return math.expm1(ratio), math.expm1(ratio - half), math.expm1(ratio + half)


def draw_people(treated: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each person is drawn, resampling within the treated and within the comparison; shape (B, n)."""
    counts = np.zeros((replicates, len(treated)))
    for side in (treated, ~treated):
        rows = np.flatnonzero(side)
        counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=replicates)
    return counts


def compute_cell_means(columns: CostColumns, *, replicates: int, rng: np.random.Generator) -> CellMeans:
    """Means of every column in the four cells, of everybody and of `replicates` draws of people.

    The comparison is weighted by the odds e(x)/(1-e(x)) of being treated given characteristics that the service cannot
    change, fitted anew in each draw. Earlier cost is left out of x: matching on it brings regression to the mean into
    the comparison (Daw and Hatfield 2018, Health Services Research 53:4138). All columns share their draws, so that
    sums, shares and differences of columns have the intervals that belong to them.

    Raises
    ------
    ParameterError
        Shapes that do not fit, or a number that is missing.
    NotEstimable
        Fewer than `MIN_PEOPLE` on either side; a covariate that separates them; more than `MAX_SHARE_LOST` of the draws
        lost to separation.
    """
    _check(columns)
    sizes = (int(columns.treated.sum()), int((~columns.treated).sum()))
    if min(sizes) < MIN_PEOPLE:
        raise NotEstimable(Fault("costs", "too few people on one side to compare", allowed=f"{MIN_PEOPLE} or more"))
    x = columns.covariates.to_numpy(dtype=np.float64)
    spread = x.std(axis=0)
    kept = spread > 0
    z = add_intercept((x[:, kept] - x[:, kept].mean(axis=0)) / spread[kept])
    names = ("intercept", *columns.covariates.columns[kept].astype(str))
    point = fit_logistic(z, columns.treated.astype(np.float64), names=names)
    one, nought = np.flatnonzero(columns.treated), np.flatnonzero(~columns.treated)
    values = np.full((1 + replicates, 4, len(columns.names)), np.nan)
    size = max(1, min(256, _BLOCK // len(x)))
    for first in range(0, 1 + replicates, size):
        wanted = min(size, 1 + replicates - first)
        counts = draw_people(columns.treated, wanted, rng) if first else np.ones((1, len(x)))
        if not first:
            counts = np.vstack([counts, draw_people(columns.treated, wanted - 1, rng)])
        fit = fit_logistic_draws(z, columns.treated.astype(np.float64), counts)
        odds = np.exp(np.minimum(np.where(fit.fitted[:, None], fit.coefficients, 0.0) @ z[nought].T, _LARGE))
        weights = (counts[:, one], counts[:, nought] * odds)
        for place, (rows, weight) in enumerate(((one, weights[0]), (nought, weights[1]))):
            total = weight.sum(axis=1, keepdims=True)
            for when, side in enumerate((columns.after, columns.before)):
                values[first : first + wanted, 2 * place + when] = weight @ side[rows] / total
        values[first : first + wanted][~fit.fitted] = np.nan
    odds = np.exp(np.minimum(z @ point, _LARGE))
    weights = np.where(columns.treated, 1.0, odds)
    for side in (one, nought):
        weights[side] /= weights[side].sum()
    return CellMeans(_drop_lost(values), columns.names, columns, weights)


def compute_proportional_effect(cells: np.ndarray) -> MeanEffect:
    """Log-link difference-in-differences of means, shape (1 + B, 4) as in `CELLS`.

    The counterfactual mean is (treated before) x (comparison after / comparison before): what a Poisson or gamma
    quasi-likelihood with group and period effects solves, skewed or not, noughts among it or not.

    Raises NotEstimable where nothing was spent before, or after, on a side.
    """
    for side, (after, before) in (("treated", (0, 1)), ("comparison", (2, 3))):
        for when, place in (("before", before), ("after", after)):
            if cells[0, place] <= 0:
                text = f"nothing was spent {when} on the {side} side, so a ratio has no meaning"
                raise NotEstimable(Fault("costs", text))
    if (cells[:, 3] <= 0).any():
        raise NotEstimable(Fault("costs", "too few people on the comparison side had any cost of this kind before"))
    counterfactual = cells[:, 1] * cells[:, 2] / cells[:, 3]
    return MeanEffect(float(cells[0, 0]), float(counterfactual[0]), np.column_stack([cells[1:, 0], counterfactual[1:]]))


def compute_additive_effect(cells: np.ndarray) -> MeanEffect:
    """Difference-in-differences of means: the treated would have moved by as much as the comparison did."""
    counterfactual = cells[:, 1] + cells[:, 2] - cells[:, 3]
    return MeanEffect(float(cells[0, 0]), float(counterfactual[0]), np.column_stack([cells[1:, 0], counterfactual[1:]]))


def _drop_lost(values: np.ndarray) -> np.ndarray:
    fitted = np.isfinite(values).all(axis=(1, 2))
    lost = 1 - fitted.mean()
    if not fitted[0] or lost > MAX_SHARE_LOST:
        raise NotEstimable(
            Fault("bootstrap", "too many draws cannot be estimated: a covariate separates the sides in them",
                  f"{lost:.0%}", f"at most {MAX_SHARE_LOST:.0%}", "Use fewer covariates, or join rare categories.")
        )  # fmt: skip
    return values[fitted]


def _check(columns: CostColumns) -> None:
    n, faults = len(columns.treated), []
    wanted = (n, len(columns.names))
    for name, side in (("before", columns.before), ("after", columns.after)):
        if side.shape != wanted:
            faults.append(Fault(name, "not one row a person and one column a name", f"{side.shape}", f"{wanted}"))
        elif not np.isfinite(side).all():
            faults.append(Fault(name, "some numbers are missing or not finite"))
    if len(columns.covariates) != n:
        faults.append(Fault("covariates", "not one row a person", f"{len(columns.covariates)}", f"{n}"))
    elif not np.isfinite(columns.covariates.to_numpy(dtype=np.float64)).all():
        faults.append(Fault("covariates", "some numbers are missing or not finite"))
    if len(set(columns.names)) < len(columns.names):
        faults.append(Fault("names", "a column is named twice"))
    if columns.treated.dtype != bool:
        faults.append(Fault("treated", "not true or false", f"{columns.treated.dtype}", "bool"))
    refuse(faults)
