"""Whether an effect differs between kinds of people: interactions, drawn together by how much they vary."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.cohort.frames import how_many
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.estimand import Estimand
from evalkit.core.faults import level_faults, refuse
from evalkit.core.pathway import SUBGROUP_LABELS
from evalkit.core.result import Check, Estimate, Role, not_estimable
from evalkit.estimators.people.overlap import CELLS, OverlapEffect

MIN_EVENTS_PER_LEVEL = 5
WHY_THIN = f"fewer than {MIN_EVENTS_PER_LEVEL} readmissions in a cell of people with it, or of people without it"
_TAU_POINTS = 200
_TAU_REACH = 4.0  # the grid ends at so many prior scales


@dataclass(frozen=True)
class SubgroupOptions:
    """`prior_scale`: how much effects may differ between groups, as the scale of a half-normal prior on the standard
    deviation of interactions. On the risk scale 0.05 calls differences of more than ten points unlikely."""

    level: float = 0.95
    prior_scale: float = 0.05


@dataclass(frozen=True)
class Interactions:
    """Differences in effect between those with and without each of K characteristics.

    `raw` (K,) and `covariance` (K, K) as estimated; `shrunken`, `lower`, `upper` (K,) after shrinkage; `spread` the
    posterior mean of the standard deviation of true interactions. `with_`, `without` (K,) are shrunken effects in
    either level and `overall` the effect in all.
    """

    names: tuple[str, ...]
    raw: np.ndarray
    covariance: np.ndarray
    shrunken: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    p_same_sign: np.ndarray
    spread: float
    overall: float
    with_: np.ndarray
    without: np.ndarray


def shrink_interactions(
    raw: np.ndarray, covariance: np.ndarray, *, options: SubgroupOptions = SubgroupOptions()
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Posterior of interactions that vary about nought: raw ~ N(delta, V), delta ~ N(0, tau^2 I), tau half-normal.

    tau is integrated over on a grid, so that its being unknown is in the intervals and it cannot collapse to nought.

    Returns means (K,), lower and upper ends (K,), the posterior probability of the sign of each mean (K,), and the
    posterior mean of tau. Raises ParameterError for numbers that are not finite, and options out of range.

    References
    ----------
    Dixon and Simon 1991, Biometrics 47:871 (Bayesian subset analysis); Gelman 2006, Bayesian Analysis 1:515
    (half-normal scale); Jones et al. 2011, Clinical Trials 8:129.
    """
    faults = level_faults(options.level)
    if not (np.isfinite(options.prior_scale) and options.prior_scale > 0):
        faults.append(Fault("prior_scale", "out of range", str(options.prior_scale), "above 0"))
    if not (np.isfinite(raw).all() and np.isfinite(covariance).all()):
        faults.append(Fault("interactions", "a difference or its variance is missing or infinite"))
    refuse(faults)
    size = len(raw)
    grid = (np.arange(_TAU_POINTS) + 0.5) * _TAU_REACH * options.prior_scale / _TAU_POINTS
    log_weight = stats.norm.logpdf(grid, scale=options.prior_scale)
    means, variances = np.empty((_TAU_POINTS, size)), np.empty((_TAU_POINTS, size))
    for g, tau in enumerate(grid):
        total = covariance + tau**2 * np.eye(size)
        gain = tau**2 * np.linalg.inv(total)
        means[g] = gain @ raw
        variances[g] = tau**2 - tau**2 * np.diag(gain)
        log_weight[g] += stats.multivariate_normal.logpdf(raw, mean=np.zeros(size), cov=total)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = weight @ means
    spread = np.sqrt(np.maximum(variances, 0.0))
    tail = (1 - options.level) / 2
    lower, upper = (_mixture_quantile(q, weight, means, spread) for q in (tail, 1 - tail))
    sign = weight @ stats.norm.cdf(np.sign(mean) * means / np.maximum(spread, 1e-300))
    return mean, lower, upper, sign, float(weight @ grid)


def _mixture_quantile(q: float, weight: np.ndarray, means: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Quantile of each column's mixture of normals, by bisection, shape (K,)."""
    low, high = (means - 12 * spread).min(axis=0), (means + 12 * spread).max(axis=0)
    for _ in range(80):
        middle = (low + high) / 2
        below = weight @ stats.norm.cdf((middle - means) / np.maximum(spread, 1e-300)) < q
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def compute_interactions(
    effect: OverlapEffect, groups: pd.DataFrame, person: np.ndarray, *, options: SubgroupOptions = SubgroupOptions()
) -> Interactions:
    """Effects within levels of each characteristic, from one fit, their differences, and the differences shrunken.

    Weights and outcome model are those of all people; within a level the four augmented cell means are averaged
    over its own people. Errors and covariances are from the influence values summed by person, so that levels and
    characteristics that share people share their noise.

    Parameters
    ----------
    groups : DataFrame, shape (n, K), 0 or 1
    person : array, shape (n,)

    Raises NotEstimable for characteristics that `find_thin` names, ParameterError for groups that are missing or
    other than 0 and 1 (nobody is put on a side unasked), and lengths that differ.
    """
    _refuse_groups(effect, groups, person)
    thin = find_thin(effect, groups)
    if thin:
        raise NotEstimable([Fault(name, WHY_THIN, next_step="Leave this subgroup out.") for name in thin])
    values, influences, shares = [], [], []
    for name in groups.columns:
        inside = groups[name].to_numpy() == 1
        (one, of_one), (nought, of_nought) = effect.within(inside), effect.within(~inside)
        values.append(one - nought)
        influences.append(of_one - of_nought)
        shares.append(effect.fit.tilt[inside].sum() / effect.fit.tilt.sum())
    raw, share = np.array(values), np.array(shares)
    per_person = pd.DataFrame(np.column_stack(influences)).groupby(person).sum().to_numpy()
    people, n = len(per_person), len(person)
    covariance = per_person.T @ per_person * people / (people - 1) / n**2
    mean, lower, upper, sign, spread = shrink_interactions(raw, covariance, options=options)
    return Interactions(
        tuple(map(str, groups.columns)), raw, covariance, mean, lower, upper, sign, spread, effect.value,
        effect.value + (1 - share) * mean, effect.value - share * mean,
    )  # fmt: skip


def _refuse_groups(effect: OverlapEffect, groups: pd.DataFrame, person: np.ndarray) -> None:
    faults = []
    if not len(groups) == len(person) == len(effect.readmitted):
        got = f"{len(groups)}, {len(person)} and {len(effect.readmitted)} rows"
        faults.append(Fault("groups", "groups, people and the effect differ in length", got))
    for name in groups.columns:
        other = ~groups[name].isin([0, 1]).to_numpy()
        if other.any():
            faults.append(Fault(str(name), f"{how_many(int(other.sum()))} are missing or neither 0 nor 1"))
    if pd.isna(person).any():
        faults.append(Fault("person", f"{how_many(int(pd.isna(person).sum()))} are of nobody"))
    refuse(faults)


def find_thin(effect: OverlapEffect, groups: pd.DataFrame) -> tuple[str, ...]:
    """Characteristics with fewer than `MIN_EVENTS_PER_LEVEL` readmissions in a cell of either level."""
    return tuple(
        str(name) for name in groups.columns
        if any(_events(effect, groups[name].to_numpy() == g).min() < MIN_EVENTS_PER_LEVEL for g in (0, 1))
    )  # fmt: skip


def _events(effect: OverlapEffect, inside: np.ndarray) -> np.ndarray:
    return np.bincount(effect.fit.cell[inside], weights=effect.readmitted[inside], minlength=len(CELLS))


def estimate_subgroup_effects(
    effect: OverlapEffect,
    groups: pd.DataFrame,
    person: np.ndarray,
    estimand: Estimand,
    *,
    options: SubgroupOptions = SubgroupOptions(),
    role: Role = "sensitivity",
) -> tuple[list[Estimate], Interactions | None]:
    """One shrunken interaction a characteristic: the effect in those with it less that in those without.

    An interval is posterior, at `options.level`. Estimands are named `<characteristic>.<outcome>`. What is too thin
    stands with its reason; the others are estimated together, or nothing is where all are. Raises ParameterError as
    `compute_interactions`.
    """
    _refuse_groups(effect, groups, person)
    thin = find_thin(effect, groups)
    named = {name: replace(estimand, outcome=f"{name}.{estimand.outcome}") for name in groups.columns}
    labels = {name: SUBGROUP_LABELS.get(name, f"With {name}, less without") for name in groups.columns}
    refused = [
        not_estimable(named[name], "shrunken_interaction", role=role, reason=f"{WHY_THIN}.", label=labels[name])
        for name in thin
    ]
    kept = groups.drop(columns=list(thin))
    if not len(kept.columns):
        return refused, None
    found = compute_interactions(effect, kept, person, options=options)
    half = stats.norm.ppf(0.5 + options.level / 2) * np.sqrt(np.diag(found.covariance))
    estimates = []
    for k, name in enumerate(found.names):
        inside = groups[name].to_numpy() == 1
        smaller = inside if effect.readmitted[inside].sum() < effect.readmitted[~inside].sum() else ~inside
        checks = (
            Check("before_shrinkage", None, float(found.raw[k]),
                  f"By itself the difference is {found.raw[k]:+.3f} ({found.raw[k] - half[k]:+.3f} to "
                  f"{found.raw[k] + half[k]:+.3f})."),
            Check("sign", None, float(found.p_same_sign[k]),
                  f"The chance that the difference has this sign is {found.p_same_sign[k]:.2f}; a coin gives 0.5."),
        )  # fmt: skip
        estimates.append(Estimate(
            named[name], "shrunken_interaction", role,
            float(found.shrunken[k]), float(found.lower[k]), float(found.upper[k]), options.level,
            n_people=float(min(len(np.unique(person[inside])), len(np.unique(person[~inside])))),
            n_events=float(effect.readmitted[smaller].sum()), checks=checks, label=labels[name],
        ))  # fmt: skip
    return [*estimates, *refused], found
