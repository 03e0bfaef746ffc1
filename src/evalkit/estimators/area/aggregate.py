"""Effects by cohort and period drawn together: overall, by time from adoption, cohort or calendar, with bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check
from evalkit.estimators.area.cohort_errors import (
    Errors,
    NumberErrors,
    compute_analytic_errors,
    compute_small_sample_errors,
    compute_uniform_critical,
)
from evalkit.estimators.area.group_time import Aggregation, GroupTimeEffects, name_period
from evalkit.estimators.area.paths import EventStudy


@dataclass(frozen=True)
class Recipe:
    """Which cells make which numbers; C cells, K numbers, the last of which is the overall one.

    Attributes
    ----------
    at : array, shape (K - 1,)
        Steps, cohorts or periods that the numbers belong to.
    weights : float array, shape (C, K); columns add to 1
    """

    at: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class AggregatedEffects:
    """An overall effect and what it is made of; K numbers, J units.

    Attributes
    ----------
    kind : "simple", "dynamic", "group" or "calendar"
    at : array, shape (K,)
        Time from adoption, first treated period or period; empty for "simple".
    value, se, lower, upper : float arrays, shape (K,)
        `lower` and `upper` hold each number at `level`; NaN where its error cannot be known.
    covariance : float array, shape (K, K)
    band : float array, shape (K, 2)
        Ends of the band that holds all numbers at `level`; NaN without a generator.
    uniform : float
        Critical value that holds all of them with `se`; the largest where they differ, NaN without a generator.
    overall, overall_se, overall_lower, overall_upper : float
    overall_freedom : float
        Degrees of freedom of the overall interval; infinite for the normal.
    influence : float array, shape (J, K), and overall_influence : float array, shape (J,)
    """

    estimand: Estimand
    estimator: str
    kind: Aggregation
    at: np.ndarray
    value: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    covariance: np.ndarray
    band: np.ndarray
    uniform: float
    overall: float
    overall_se: float
    overall_lower: float
    overall_upper: float
    overall_freedom: float
    influence: np.ndarray
    overall_influence: np.ndarray
    level: float
    checks: tuple[Check, ...]


def aggregate_effects(
    effects: GroupTimeEffects,
    estimand: Estimand,
    *,
    kind: Aggregation,
    rng: np.random.Generator | None = None,
    errors: Errors = "small_sample",
    level: float = 0.95,
    draws: int = 999,
    balance: int | None = None,
) -> AggregatedEffects:
    """Average effects by cohort and period, with pointwise intervals and, given `rng`, a uniform band.

    "simple" averages all treated cells by size of cohort; "dynamic" does so at each time from adoption,
    and its overall is the plain mean over times from 0; "group" averages each cohort over its treated
    periods, then cohorts by size; "calendar" averages each period by size, then periods plainly.
    `balance` keeps, for "dynamic", cohorts seen at least that long after adoption, and times up to it.

    `errors="analytic"` are those of R's `did`, `fixest` or `didimputation`; "small_sample" scales them
    up for small cohorts and takes Student's t (`compute_small_sample_errors`). Callaway-Sant'Anna's
    count the estimation of cohort sizes; the other two methods take them as known. Cells that could not
    be estimated are left out, which a failed check of `effects` says.

    Raises ParameterError for a `balance` with another kind, and NotEstimable where no cell is left.

    References
    ----------
    Callaway and Sant'Anna 2021, J Econometrics 225:200, section 3.1, corollary 2 and algorithm 1.
    """
    usable = ~np.isnan(effects.value)
    sizes = _cohort_sizes(effects)
    recipe = build_recipe(effects, kind=kind, sizes=sizes, usable=usable, balance=balance)
    cell_value = np.where(usable, effects.value, 0.0)
    value = cell_value @ recipe.weights
    influence = effects.influence[:, usable] @ recipe.weights[usable]
    if effects.shares_estimated:
        influence += _share_influence(effects, cell_value, value, recipe, sizes, kind)
    cohort_weights = np.zeros((len(sizes), len(value)))
    np.add.at(cohort_weights, effects.cell_cohort, recipe.weights)
    if errors == "analytic":
        found = compute_analytic_errors(
            influence, factor=effects.factor, freedom=effects.freedom, nothing=effects.nothing
        )
    else:
        found = compute_small_sample_errors(
            influence, unit_cohort=effects.unit_cohort, cohort_weights=cohort_weights, nothing=effects.nothing
        )
    uniform = float("nan")
    varying = np.flatnonzero(~np.isnan(found.se[:-1]))
    if rng is not None and len(varying):
        uniform = compute_uniform_critical(influence[:, varying], rng=rng, level=level, draws=draws)
    return _bundle(effects, estimand, kind, recipe.at, value, influence, found, uniform, level)


def _bundle(
    effects: GroupTimeEffects,
    estimand: Estimand,
    kind: Aggregation,
    at: np.ndarray,
    value: np.ndarray,
    influence: np.ndarray,
    found: NumberErrors,
    uniform: float,
    level: float,
) -> AggregatedEffects:
    pointwise = found.critical(level)
    half = pointwise * found.se
    # The bootstrap's critical value is for normal errors: widen it as Student's does the pointwise one.
    widest = np.maximum(uniform * pointwise / stats.norm.ppf(0.5 + level / 2), pointwise)
    band = np.stack([value - widest * found.se, value + widest * found.se], axis=1)
    known = ~np.isnan(found.se[:-1]) & ~np.isnan(widest[:-1])
    return AggregatedEffects(
        estimand,
        effects.method,
        kind,
        at,
        value[:-1],
        found.se[:-1],
        value[:-1] - half[:-1],
        value[:-1] + half[:-1],
        found.covariance[:-1, :-1],
        band[:-1],
        float(widest[:-1][known].max()) if known.any() else float("nan"),
        float(value[-1]),
        float(found.se[-1]),
        float(value[-1] - half[-1]),
        float(value[-1] + half[-1]),
        float(found.freedom[-1]),
        influence[:, :-1],
        influence[:, -1],
        level,
        (*effects.checks, *_thin_checks(at, value, found)),
    )


def _thin_checks(at: np.ndarray, value: np.ndarray, found: NumberErrors) -> tuple[Check, ...]:
    """Failed checks of numbers that have no error though they are not nought by construction."""
    checks = []
    thin = np.isnan(found.se) & (value != 0)
    if thin[:-1].any():
        names = ", ".join(name_period(x) for x in at[thin[:-1]])
        text = f"No error is given where units show no variation to judge by, as in cohorts of one unit: {names}."
        checks.append(Check("thin_numbers", False, float(thin[:-1].sum()), text))
    if thin[-1]:
        text = (
            "No interval is given: units show no variation within cohorts to judge by, as where each is one unit. "
            "Use permutation inference, or join cohorts that adopted close together."
        )
        checks.append(Check("interval", False, float(thin.sum()), text))
    return tuple(checks)


def _cohort_sizes(effects: GroupTimeEffects) -> np.ndarray:
    """Sum of the weights of each cohort's units, shape (G,)."""
    inside = effects.unit_cohort >= 0
    return np.bincount(
        effects.unit_cohort[inside], effects.unit_weights[inside], minlength=int(effects.cell_cohort.max()) + 1
    )


def build_recipe(
    effects: GroupTimeEffects, *, kind: Aggregation, sizes: np.ndarray, usable: np.ndarray, balance: int | None = None
) -> Recipe:
    """Weights of cells in each number of a kind of aggregation; `sizes` (G,) by cohort, `usable` bool (C,)."""
    if balance is not None and kind != "dynamic":
        raise ParameterError(Fault("balance", 'it is for kind="dynamic" only', got=f'kind="{kind}"'))
    treated = usable & (effects.step >= 0)
    members = usable if kind == "dynamic" else treated
    if balance is not None:
        seen = np.array([effects.step[effects.cell_cohort == k].max(initial=-1) for k in range(len(sizes))])
        members = members & (seen[effects.cell_cohort] >= balance) & (effects.step <= balance)
        members &= effects.step > balance - len(np.unique(effects.period))
    if not (members & treated).any():
        raise NotEstimable(Fault("cohorts", "no effect by cohort and period is left to average"))
    mass = sizes[effects.cell_cohort]
    if kind == "simple":
        return Recipe(np.zeros(0), (members * mass / (members * mass).sum())[:, None])
    key = {"dynamic": effects.step, "group": effects.group, "calendar": effects.period}[kind]
    at = np.unique(key[members])
    inside = (key[:, None] == at[None, :]) & members[:, None]
    weights = inside * mass[:, None] / (inside * mass[:, None]).sum(axis=0)
    if kind == "group":
        by_cohort = np.array([mass[key == g][0] for g in at])
        overall = by_cohort / by_cohort.sum()
    else:
        counted = at >= 0 if kind == "dynamic" else np.ones(len(at), bool)
        overall = counted / counted.sum()
    return Recipe(at, np.column_stack([weights, weights @ overall]))


def _share_influence(
    effects: GroupTimeEffects,
    cell_value: np.ndarray,
    value: np.ndarray,
    recipe: Recipe,
    sizes: np.ndarray,
    kind: Aggregation,
) -> np.ndarray:
    """What estimating the cohorts' sizes adds to the influence, shape (J, K).

    With shares p_g / S over the members of one number (cells, or the cohorts of "group"), a unit of
    cohort g with weight w moves it by w (sum of its cohort's members less their count times the number) / S.
    """
    gap = np.zeros((len(sizes) + 1, len(value)))  # the last row is for units of no cohort
    if kind == "group":
        cohort = np.array([effects.cell_cohort[effects.group == g][0] for g in recipe.at])
        gap[cohort, -1] = (value[:-1] - value[-1]) / sizes[cohort].sum()
    else:
        inside = recipe.weights > 0
        if kind != "simple":
            inside[:, -1] = False
        mass = (inside * sizes[effects.cell_cohort][:, None]).sum(axis=0)
        np.add.at(gap, effects.cell_cohort, inside * (cell_value[:, None] - value) / np.where(mass > 0, mass, 1.0))
        if kind != "simple":
            # The overall is a plain mean of numbers, so its influence is the mean of theirs.
            counted = recipe.at >= 0 if kind == "dynamic" else np.ones(len(recipe.at), bool)
            gap[:, -1] = gap[:, :-1][:, counted].mean(axis=1)
    return len(effects.unit_cohort) * effects.unit_weights[:, None] * gap[effects.unit_cohort]


def build_event_study(effects: AggregatedEffects, *, reference: int) -> EventStudy:
    """The path of a "dynamic" aggregation, without its reference step."""
    if effects.kind != "dynamic":
        raise ParameterError(Fault("effects", 'a path needs kind="dynamic"', got=f'kind="{effects.kind}"'))
    kept = effects.at != reference
    return EventStudy(
        effects.estimand,
        effects.estimator,
        effects.at[kept].astype(np.int64),
        effects.value[kept],
        effects.se[kept],
        effects.lower[kept],
        effects.upper[kept],
        effects.covariance[np.ix_(kept, kept)],
        reference,
        effects.level,
        effects.uniform,
        effects.checks,
    )
