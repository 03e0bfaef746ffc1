"""Mean cost up to a horizon where follow-up is cut short, and its difference between two groups."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evalkit.cohort.cost_history import CostHistory
from evalkit.cohort.follow_up import FollowUp
from evalkit.core.dates import DAYS_PER_YEAR
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.faults import choice_faults, is_finite, level_faults, refuse, rng_faults
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.costs.censored_errors import compute_draws, compute_influence, compute_published_variance
from evalkit.estimators.costs.censored_means import (
    NAIVE,
    CensoredCostOptions,
    CostDesign,
    build_design,
    compute_values,
)
from evalkit.estimators.costs.censored_weights import compute_paths, read_followed
from evalkit.estimators.inference import normal_estimate
from evalkit.estimators.people.influence import compute_clustered_error
from evalkit.estimators.survival.restricted_mean import (
    FREE,
    RestrictedMean,
    RestrictedMeanOptions,
    compute_restricted_means,
)

MIN_COMPLETE = 10
MIN_CLUSTERS = 20
_LARGEST = 10.0  # an inverse probability above this lets one person stand for more than ten
_LEAST_SHARE = 0.5  # of complete people that weights may leave as an effective number
_MOST_UNFITTED = 0.1  # of draws
_DAYS_PER_QUARTER = DAYS_PER_YEAR / 4
_LABELS = {
    "available_sample": "Mean of what was seen: censoring ignored, not evidence",
    "complete_case": "Mean of people seen to the end: censoring ignored, not evidence",
    "bang_tsiatis": "Bang and Tsiatis, weighted by the inverse probability of being followed",
    "bang_tsiatis_partitioned": "Bang and Tsiatis by interval, weighted by the inverse probability of being followed",
    "zhao_tian": "Zhao and Tian, weighted with the costs of the censored",
    "lin_1997": "Lin, mean cost by interval times survival",
    "lin_2000": "Lin, regression weighted by the inverse probability of being followed",
}


@dataclass(frozen=True)
class CensoredMean:
    """Mean cost of one group from day 0 to the horizon, GBP per person, with a normal interval.

    `largest_weight` is the largest inverse probability of being followed among people whose cost was seen to the end,
    `effective_size` their number as weights leave it (Kish).
    """

    group: object
    estimator: str
    value_gbp: float
    se_gbp: float
    lower_gbp: float
    upper_gbp: float
    level: float
    n_people: int
    n_complete: int
    largest_weight: float
    effective_size: float


def compute_censored_means(
    history: CostHistory,
    *,
    options: CensoredCostOptions,
    level: float = 0.95,
    rng: np.random.Generator | None = None,
) -> tuple[CensoredMean, ...]:
    """Mean cost to the horizon of each group in the history's order, however few people there are.

    Identified if, within a layer of `options.censoring` (or given covariates), those who are lost sight of would have
    cost as those who stay: censoring is independent of cost and survival to come.

    Raises
    ------
    ParameterError
        Options that do not fit each other or the history; lin_2000, which gives differences; draws without `rng`.
    NotEstimable
        Nobody is followed to the horizon in a layer; too many draws in which that is so.

    References
    ----------
    See `censored_means` and `censored_errors`.
    """
    refuse([*level_faults(level), *_rng_faults(options, rng)])
    if options.estimator == "lin_2000":
        step = "Use estimate_censored_cost_difference."
        raise ParameterError(Fault("estimator", "lin_2000 gives differences, not means", next_step=step))
    design = build_design(history, options)
    values = compute_values(design, history.weights[None, :])[0]
    if not np.isfinite(values).all():
        raise NotEstimable(Fault("groups", "a group has nobody whose cost was seen, or nobody at risk in an interval"))
    contrasts = np.eye(len(values))
    errors, _ = _compute_errors(design, contrasts, rng)
    half = stats.norm.ppf(0.5 + level / 2) * errors
    found = []
    for arm, (value, se) in enumerate(zip(values, errors, strict=True)):
        rows = history.group == arm
        largest, effective = _describe_weights(design, rows)
        found.append(CensoredMean(
            history.groups[arm] if history.groups else arm, options.estimator, float(value), float(se),
            float(value - half[arm]), float(value + half[arm]), level, int(rows.sum()),
            int((rows & design.observed.known).sum()), largest, effective,
        ))  # fmt: skip
    return tuple(found)


def compute_mean_survival(
    history: CostHistory, *, horizon_days: float, level: float = 0.95
) -> tuple[RestrictedMean, ...]:
    """Mean days alive up to the horizon of each group, in days: the area under Kaplan-Meier survival.

    Who is `complete` before the horizon died. Raises as `compute_restricted_means`.
    """
    if not (is_finite(horizon_days) and horizon_days > 0):
        raise ParameterError(Fault("horizon_days", "must be finite and positive", got=str(horizon_days)))
    n = len(history)
    died = history.complete & (history.follow_up_days < horizon_days)
    follow_up = FollowUp(
        np.zeros(n), np.minimum(history.follow_up_days, horizon_days), died.astype(np.int64), np.arange(n),
        history.cluster, history.group, history.weights, np.zeros(n), np.zeros((n, 0)), (), ("death",), history.groups,
    )  # fmt: skip
    options = RestrictedMeanOptions(float(horizon_days), level=level)
    return tuple(mean for mean in compute_restricted_means(follow_up, options=options) if mean.state == FREE)


def estimate_censored_cost_difference(
    history: CostHistory,
    estimand: Estimand,
    *,
    options: CensoredCostOptions,
    level: float = 0.95,
    role: Role = "primary",
    rng: np.random.Generator | None = None,
) -> Estimate:
    """Mean cost to the horizon of the second group less that of the first, in the order of `history.groups`.

    In GBP per person-quarter (the difference over the horizon's number of quarters) or, where the estimand's scale is
    "mean_difference", in GBP per person over the horizon. With balancing weights in the history it is the weighted
    contrast, and errors take those weights as known; lin_2000 adjusts for the covariates instead.

    Raises
    ------
    ParameterError
        As `compute_censored_means`; other than two groups; another scale; a naive estimator in the primary role.
    NotEstimable
        Fewer than `MIN_COMPLETE` people of a group seen to the end, or whatever `compute_censored_means` refuses.
    """
    faults = [*level_faults(level), *_rng_faults(options, rng)]
    faults += choice_faults("scale", estimand.scale, ("gbp_per_person_quarter", "mean_difference"))
    arms = np.unique(history.group)
    if len(arms) != 2 or list(arms) != [0, 1]:
        faults.append(Fault("group", "a difference is of two groups", got=str(len(arms)), allowed="2"))
    if options.estimator in NAIVE and role == "primary":
        step = 'Give role="naive".'
        faults.append(Fault("role", f"{options.estimator} ignores censoring", "primary", "naive", step))
    refuse(faults)
    design = build_design(history, options)
    known = design.observed.known
    if min((known & (history.group == arm)).sum() for arm in arms) < MIN_COMPLETE:
        what = f"fewer than {MIN_COMPLETE} people of one group were followed to the horizon or to their death"
        raise NotEstimable(Fault("complete", what, next_step="Take an earlier horizon."))
    if len(np.unique(history.cluster)) < 2:
        raise NotEstimable(Fault("clusters", "there is one alone, which has no error", allowed="2 or more"))
    values = compute_values(design, history.weights[None, :])[0]
    contrast = np.array([-1.0, 1.0]) if len(values) == 2 and not design.x.size else np.eye(len(values))[1]
    value = float(contrast @ values)
    if not math.isfinite(value):
        raise NotEstimable(Fault("intervals", "nobody of a group is at risk in an interval that some live to see"))
    errors, unfitted = _compute_errors(design, contrast[None, :], rng)
    unit = _DAYS_PER_QUARTER / options.horizon_days if estimand.scale == "gbp_per_person_quarter" else 1.0
    second, first = (history.groups[arm] if history.groups else arm for arm in (1, 0))
    return normal_estimate(
        estimand, options.estimator, role=role, value=value * unit, se=float(errors[0]) * unit, level=level,
        label=f"{_LABELS[options.estimator]}: {second} less {first}", n_people=float(len(history)),
        checks=_make_checks(design, unfitted),
    )  # fmt: skip


def _rng_faults(options: CensoredCostOptions, rng: object) -> list[Fault]:
    return rng_faults(rng) if options.errors == "bootstrap" else []


def _compute_errors(
    design: CostDesign, contrasts: np.ndarray, rng: np.random.Generator | None
) -> tuple[np.ndarray, float]:
    """Standard errors (k,) of contrasts (k, values), and the share of draws that could not be fitted."""
    if design.options.errors == "published":
        return np.sqrt(contrasts**2 @ compute_published_variance(design)), 0.0
    if design.options.errors == "influence":
        parts = compute_influence(design) @ contrasts.T
        touched = [np.isin(design.history.cluster, design.history.cluster[part != 0]) for part in parts.T]
        return np.array([
            compute_clustered_error(part[rows], design.history.cluster[rows], "clusters")
            if len(np.unique(design.history.cluster[rows])) > 1 else math.nan
            for part, rows in zip(parts.T, touched, strict=True)
        ]), 0.0  # fmt: skip
    draws = compute_draws(design, replicates=design.options.replicates, rng=rng) @ contrasts.T
    fitted = np.isfinite(draws).all(axis=1)
    unfitted = float(1 - fitted.mean())
    if unfitted > _MOST_UNFITTED:
        what = f"{unfitted:.0%} of the draws have a group of which nobody is followed to the horizon"
        raise NotEstimable(Fault("bootstrap", what, next_step="Take an earlier horizon."))
    return draws[fitted].std(axis=0, ddof=1), unfitted


def _describe_weights(design: CostDesign, rows: np.ndarray) -> tuple[float, float]:
    """Largest 1 / K and effective number of people among those of some rows who were seen to the end."""
    seen = rows & design.observed.known
    if design.options.estimator in NAIVE or not seen.any():
        w = design.history.weights[seen]
        return 1.0, float(w.sum() ** 2 / (w**2).sum()) if seen.any() else 0.0
    paths = compute_paths(design.observed, design.history.weights[None, :])
    inverse = 1 / read_followed(design.observed, paths, design.observed.place)[0, seen]
    each = design.history.weights[seen] * inverse
    return float(inverse.max()), float(each.sum() ** 2 / (each**2).sum())


def _make_checks(design: CostDesign, unfitted: float) -> tuple[Check, ...]:
    history, observed, options = design.history, design.observed, design.options
    sides = [history.group == arm for arm in range(2)]
    share = min(float(observed.known[rows].mean()) for rows in sides)
    checks = [
        Check("share_complete", None, share, "Share seen to the horizon or to their death, in the group with less.")
    ]
    if options.estimator in NAIVE:
        text = "Cost that was not seen counts as none." if options.estimator == "available_sample" else (
            "Only people seen to the end count: those who died early are too many among them.")  # fmt: skip
        checks.append(Check("censoring_ignored", bool(observed.known.all()), 1 - share, text))
    else:
        found = [_describe_weights(design, rows) for rows in sides]
        largest = max(weight for weight, _ in found)
        left = min(size / observed.known[rows].sum() for (_, size), rows in zip(found, sides, strict=True))
        checks += [
            Check("largest_weight", bool(largest <= _LARGEST), largest,
                  f"Largest inverse probability of being followed; above {_LARGEST:g} single people decide."),
            Check("effective_share", bool(left >= _LEAST_SHARE), float(left),
                  "Effective share of complete people, in the group with less, that weights leave."),
        ]  # fmt: skip
    if options.estimator in ("lin_1997", "bang_tsiatis_partitioned"):
        inside = float((~observed.known & ~np.isin(observed.time, design.ends)).mean())
        text = "Share censored inside an interval, not at its end"
        if options.estimator == "lin_1997":
            text += ": what they would have cost in the rest of it counts as none."
            checks.append(Check("censored_inside", inside == 0, inside, text))
        else:
            checks.append(Check("censored_inside", None, inside, f"{text}: their cost in it is not used."))
    if options.censoring.model != "kaplan_meier" and options.estimator not in NAIVE:
        text = "The model of censoring is taken as known, which makes the error too large on average."
        checks.append(Check("censoring_model", None, math.nan, text))
    if options.errors == "bootstrap":
        checks.append(Check("unfitted_draws", unfitted == 0, unfitted, "Share of draws left out of the error."))
    clusters = len(np.unique(history.cluster))
    if clusters < len(history):
        text = f"Clustered errors are too small below about {MIN_CLUSTERS} clusters."
        checks.append(Check("clusters", clusters >= MIN_CLUSTERS, float(clusters), text))
    return tuple(checks)
