"""Effect on public cost against what would have been spent, bootstrapped by person."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.inference import NAIVE_LABEL, normal_estimate
from evalkit.estimators.people.overlap import AREA_SHOCKS

MIN_PEOPLE = 20
_NEWTON_STEPS = 12


@dataclass(frozen=True)
class CostData:
    """Mean cost per quarter of each person before and after, and what the weights balance.

    `before, after` (n,) GBP per person-quarter; `treated` (n,) bool; `covariates` (n, p).
    """

    before: np.ndarray
    after: np.ndarray
    treated: np.ndarray
    covariates: pd.DataFrame


@dataclass(frozen=True)
class CostEffect:
    """Point values and bootstrap draws, GBP per person-quarter.

    `actual`, `counterfactual`: mean of the treated after, and what it would have been; `draws`
    (B, 2) the same in each replicate.
    """

    actual: float
    counterfactual: float
    draws: np.ndarray

    @property
    def difference(self) -> float:
        return self.actual - self.counterfactual

    @property
    def se(self) -> float:
        """Bootstrap standard error of the difference."""
        return float((self.draws[:, 0] - self.draws[:, 1]).std(ddof=1))

    def interval(self, level: float) -> tuple[float, float]:
        """Normal interval of the difference with the bootstrap error."""
        half = stats.norm.ppf(0.5 + level / 2) * self.se
        return self.difference - half, self.difference + half

    def relative(self, level: float) -> tuple[float, float, float]:
        """Difference as a share of the counterfactual, with an interval normal on the log scale."""
        ratio = math.log(self.actual / self.counterfactual)
        half = stats.norm.ppf(0.5 + level / 2) * np.log(self.draws[:, 0] / self.draws[:, 1]).std(ddof=1)
        return math.expm1(ratio), math.expm1(ratio - half), math.expm1(ratio + half)


def compute_cost_effect(data: CostData, *, replicates: int, rng: np.random.Generator) -> CostEffect:
    """Log-link difference-in-differences of mean cost, with people resampled within groups.

    The counterfactual mean is (treated before) x (comparison after / comparison before), the
    comparison weighted by the odds e(x)/(1-e(x)) of being treated given characteristics that the
    service cannot change. Earlier cost is left out of x: matching on it brings regression to the
    mean into the comparison (Daw and Hatfield 2018, Health Services Research 53:4138). The mean under
    a log link is what a Poisson or gamma quasi-likelihood with group and period effects solves.

    Raises NotEstimable with fewer than `MIN_PEOPLE` on either side or nothing spent before.
    """
    sizes = (int(data.treated.sum()), int((~data.treated).sum()))
    if min(sizes) < MIN_PEOPLE:
        raise NotEstimable(Fault("costs", "too few people on one side to compare", allowed=f"{MIN_PEOPLE} or more"))
    if data.before[data.treated].sum() <= 0 or data.before[~data.treated].sum() <= 0:
        raise NotEstimable(Fault("costs", "nothing was spent before on one side, so a ratio has no meaning"))
    if data.after[data.treated].sum() <= 0 or data.after[~data.treated].sum() <= 0:
        raise NotEstimable(Fault("costs", "nothing was spent after on one side, so a ratio has no meaning"))
    x = data.covariates.to_numpy(dtype=np.float64)
    spread = x.std(axis=0)
    z = np.column_stack([np.ones(len(x)), (x[:, spread > 0] - x[:, spread > 0].mean(axis=0)) / spread[spread > 0]])
    counts = np.vstack([np.ones((1, len(x))), _resample_counts(data.treated, replicates, rng)])
    means = np.array([_means(data, z, count) for count in counts])
    return CostEffect(float(means[0, 0]), float(means[0, 1]), means[1:])


def _resample_counts(treated: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each person is drawn, resampling within the treated and within the comparison; (B, n)."""
    counts = np.zeros((replicates, len(treated)))
    for side in (treated, ~treated):
        rows = np.flatnonzero(side)
        counts[:, rows] = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=replicates)
    return counts


def _means(data: CostData, z: np.ndarray, count: np.ndarray) -> tuple[float, float]:
    odds = np.exp(z @ _logistic(z, data.treated.astype(float), count))
    w = np.where(data.treated, count, count * odds)
    t, c = data.treated, ~data.treated
    actual = np.average(data.after[t], weights=w[t])
    before = np.average(data.before[t], weights=w[t])
    trend = np.average(data.after[c], weights=w[c]) / np.average(data.before[c], weights=w[c])
    return actual, before * trend


def _logistic(z: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted logistic coefficients by Newton's method with a whisper of ridge for separated draws."""
    beta = np.zeros(z.shape[1])
    ridge = 1e-6 * np.eye(z.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
        step = np.linalg.solve(
            (z * (weights * p * (1 - p))[:, None]).T @ z + ridge, z.T @ (weights * (y - p)) - 1e-6 * beta
        )
        beta = beta + step
        if np.abs(step).max() < 1e-8:
            break
    return beta


def estimate_cost_did(
    data: CostData,
    estimand: Estimand,
    *,
    replicates: int,
    level: float,
    rng: np.random.Generator,
    role: Role = "primary",
) -> tuple[Estimate, CostEffect]:
    """Actual less counterfactual cost per person and quarter, and the effect it was read from.

    Identified if, without the service, mean cost would have moved in proportion in both groups of
    like people. The interval resamples people, not areas; a check says so.
    """
    effect = compute_cost_effect(data, replicates=replicates, rng=rng)
    low, high = effect.interval(level)
    checks = (
        Check(
            "area_shocks",
            False,
            math.nan,
            AREA_SHOCKS,
        ),
    )
    estimate = Estimate(
        estimand,
        "log_link_did_bootstrap",
        role,
        effect.difference,
        low,
        high,
        level,
        n_people=float(data.treated.sum()),
        se=effect.se,
        checks=checks,
        label="Log-link difference-in-differences, bootstrap by person",
    )
    return estimate, effect


def estimate_additive_cost_did(
    data: CostData, estimand: Estimand, *, level: float, role: Role = "sensitivity"
) -> Estimate:
    """The same with change assumed equal in pounds rather than in proportion; unweighted, Welch error."""
    change = data.after - data.before
    value = change[data.treated].mean() - change[~data.treated].mean()
    se = math.sqrt(sum(change[side].var(ddof=1) / side.sum() for side in (data.treated, ~data.treated)))
    label = "Difference-in-differences in pounds, unweighted"
    return normal_estimate(
        estimand, "additive_did", role=role, value=value, se=se, level=level, label=label, n_people=data.treated.sum()
    )


def estimate_cost_before_after(data: CostData, estimand: Estimand, *, level: float) -> Estimate:
    """The treated group's own change: not evidence of effect."""
    change = (data.after - data.before)[data.treated]
    se = math.sqrt(change.var(ddof=1) / len(change))
    return normal_estimate(
        estimand,
        "before_after",
        role="naive",
        value=change.mean(),
        se=se,
        level=level,
        label=NAIVE_LABEL,
        n_people=len(change),
    )
