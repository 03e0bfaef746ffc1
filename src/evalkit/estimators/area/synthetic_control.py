"""Synthetic control, its augmented and differenced forms, and DiD, as weights of one estimator."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from scipy import stats

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.area.conformal import conformal_inference
from evalkit.estimators.area.contrasts import Counterfactual, Design, one_start
from evalkit.estimators.area.predictors import (
    Importance,
    align_predictors,
    average_predictors,
    build_predictor_design,
)
from evalkit.estimators.area.randomisation import (
    SMALL,
    Interval,
    check_scale_and_level,
    compute_rounding,
    permutation_inference,
    refuse_no_spread,
)
from evalkit.estimators.area.synthetic_checks import (
    check_donors,
    check_fit,
    check_hull,
    check_periods,
    check_rmspe,
    check_weights,
    check_within,
)
from evalkit.estimators.area.synthetic_weights import (
    build_ridge_augmented,
    difference_in_differences,
    ridge_augmented,
    synthetic_control,
    synthetic_did,
)

__all__ = [
    "Inference", "Method", "SyntheticControlOptions", "average_predictors", "build_design", "compute_paths",
    "compute_placebo_paths", "compute_rmspe_ranks", "describe_weights", "difference_in_differences",
    "estimate_synthetic_control", "ridge_augmented", "synthetic_control", "synthetic_did",
]  # fmt: skip

Method = Literal["did", "synthetic_control", "ridge_augmented", "synthetic_did"]
Inference = Literal["permutation", "conformal", "placebo_sd", "none"]

LABELS: dict[Method, str] = {
    "did": "Difference-in-differences",
    "synthetic_control": "Synthetic control",
    "ridge_augmented": "Ridge-augmented synthetic control",
    "synthetic_did": "Synthetic difference-in-differences",
}
MIN_PLACEBOS = 10
_MAX_SETS = 500
_MIN_PERIODS: dict[Method, int] = {"did": 1, "synthetic_control": 2, "ridge_augmented": 3, "synthetic_did": 2}
_SCALES = ("mean_difference", "rate_ratio")


@dataclass(frozen=True)
class SyntheticControlOptions:
    """Options of `estimate_synthetic_control` and of what draws its paths.

    `inference`: "permutation" gives treatment to every unit in turn, "conformal" permutes periods,
    "placebo_sd" takes the standard deviation of the untreated units' placebo effects for a standard
    error (Arkhangelsky et al. 2021, algorithm 4), "none" gives no interval. `predictors`, one row a unit
    and one column a predictor, are for "synthetic_control" alone: weights then match them in place of
    the outcomes before adoption, with `importance` as in `predictors.build_predictor_design`. `ridge` fixes
    the penalty of "ridge_augmented", which is otherwise cross-validated.
    """

    method: Method = "synthetic_control"
    inference: Inference = "permutation"
    level: float = 0.95
    predictors: pd.DataFrame | None = None
    importance: Importance | tuple[float, ...] = "optimised"
    ridge: float | None = None


def estimate_synthetic_control(
    panel: Panel,
    estimand: Estimand,
    *,
    options: SyntheticControlOptions = SyntheticControlOptions(),
    rng: np.random.Generator | None = None,
    role: Role = "sensitivity",
) -> Estimate:
    """Average effect on the treated from a weighted mean of untreated units.

    On the scale "mean_difference" the mean gap of `panel.values` after adoption; on "rate_ratio" the
    treated units' values after adoption over those expected. Several treated units with one start
    are averaged. Every estimate carries checks of fit before adoption, number of periods and donors,
    and whether the treated lies within the donors' range. Where the interval asked for cannot be had
    the value stands alone, with the failed check "interval" that says why. `rng` is needed only
    where several treated units make more sets than can be gone through.

    Raises
    ------
    ParameterError
        Another scale, negative values with "rate_ratio", options that do not exist or do not go together,
        predictors that do not fit.
    NotEstimable
        No untreated unit, adoption at different times, too few periods before adoption for weights
        (two; three for the cross-validated ridge), or nothing expected on the scale "rate_ratio".
    """
    _check_options(options, estimand)
    check_scale_and_level(panel, estimand.scale, options.level)
    design, first = build_design(panel, options=options), one_start(panel.adoption, panel.periods)
    paths = _run(design, panel, panel.treated[None], ~panel.treated[None], first)
    value = float(_effects(paths, estimand)[0])
    if not math.isfinite(value):
        raise NotEstimable(Fault("design", "it expects nothing after adoption, so there is no ratio"))
    found, se = _infer(panel, design, value, estimand, options, rng)
    return Estimate(
        estimand,
        options.method if options.inference in ("permutation", "none") else f"{options.method}_{options.inference}",
        role,
        value,
        found.lower,
        found.upper,
        found.level,
        se=se,
        p_value=found.p_value,
        checks=(*_checks(panel, paths, options), *found.checks, *check_within(value, found.lower, found.upper)),
        label=LABELS[options.method],
    )


def build_design(panel: Panel, *, options: SyntheticControlOptions = SyntheticControlOptions()) -> Design:
    """The design that options name, for this panel's units in their order.

    Raises ParameterError for predictors that do not fit, NotEstimable where the panel has no untreated
    unit or too few periods before adoption.
    """
    _check_options(options, None)
    first = one_start(panel.adoption, panel.periods)
    faults = []
    if panel.treated.all():
        faults.append(Fault("panel", "every unit is treated; none is left to compare with"))
    least = 2 if options.method == "ridge_augmented" and options.ridge is not None else _MIN_PERIODS[options.method]
    if first < least:
        faults.append(
            Fault(
                "panel",
                "there are too few periods before adoption to choose weights by",
                got=str(first),
                allowed=f"{least} or more",
                next_step='Begin the panel earlier, or use method="did".',
            )
        )
    if faults:
        raise NotEstimable(faults)
    if options.predictors is not None:
        return build_predictor_design(align_predictors(options.predictors, panel.units), importance=options.importance)
    if options.method == "ridge_augmented":
        return build_ridge_augmented(options.ridge)
    plain: dict[str, Design] = {
        "did": difference_in_differences,
        "synthetic_control": synthetic_control,
        "synthetic_did": synthetic_did,
    }
    return plain[options.method]


def compute_paths(panel: Panel, *, options: SyntheticControlOptions = SyntheticControlOptions()) -> Counterfactual:
    """Observed and expected path of the treated units' mean, one row; raises as `build_design`."""
    first = one_start(panel.adoption, panel.periods)
    return _run(build_design(panel, options=options), panel, panel.treated[None], ~panel.treated[None], first)


def compute_placebo_paths(
    panel: Panel, *, options: SyntheticControlOptions = SyntheticControlOptions()
) -> Counterfactual:
    """Paths of every untreated unit in the treated one's place, the treated left out; rows in the order of units.

    Abadie, Diamond and Hainmueller 2010, section 3.4. Raises as `build_design`, and NotEstimable with fewer
    than two untreated units.
    """
    design, first = build_design(panel, options=options), one_start(panel.adoption, panel.periods)
    untreated = np.flatnonzero(~panel.treated)
    if len(untreated) < 2:
        raise NotEstimable(Fault("panel", "a placebo needs two untreated units or more", got=str(len(untreated))))
    placed = np.zeros((len(untreated), len(panel.units)), dtype=bool)
    placed[np.arange(len(untreated)), untreated] = True
    return _run(design, panel, placed, ~placed & ~panel.treated, first)


def compute_rmspe_ranks(panel: Panel, *, options: SyntheticControlOptions = SyntheticControlOptions()) -> pd.DataFrame:
    """Gaps before and after adoption of the treated and of every placebo, by the ratio of the two, largest first.

    Columns `unit` ("treated" for the treated units' mean), `effect`, `pre_rmspe`, `post_rmspe`, `ratio`
    (infinite where the fit before is perfect but for rounding) and `p_value`, the share of rows with as large a
    ratio: that of the treated is the p-value of Abadie, Diamond and Hainmueller 2010, section 3.4.
    """
    own, others = compute_paths(panel, options=options), compute_placebo_paths(panel, options=options)
    before = np.concatenate([own.pre_rmspe, others.pre_rmspe])
    after = np.concatenate([own.post_rmspe, others.post_rmspe])
    small = compute_rounding(panel.values)
    ratio = np.divide(after, before, out=np.full_like(after, np.inf), where=before > small)
    frame = pd.DataFrame(
        {
            "unit": ["treated", *panel.units[~panel.treated]],
            "effect": np.concatenate([own.effect, others.effect]),
            "pre_rmspe": before,
            "post_rmspe": after,
            "ratio": ratio,
            "p_value": (ratio[None, :] >= ratio[:, None]).mean(axis=1),
        }
    )
    return frame.sort_values("ratio", ascending=False, kind="stable", ignore_index=True)


def describe_weights(panel: Panel, *, options: SyntheticControlOptions = SyntheticControlOptions()) -> pd.DataFrame:
    """Weights of untreated units and of periods before adoption: columns `kind` (unit, period), `name`, `weight`."""
    paths = compute_paths(panel, options=options)
    donors = ~panel.treated
    names = [*panel.units[donors], *panel.periods[: paths.first]]
    return pd.DataFrame(
        {
            "kind": ["unit"] * int(donors.sum()) + ["period"] * paths.first,
            "name": pd.Series(names, dtype=object),
            "weight": np.concatenate([paths.unit_weights[0, donors], paths.time_weights[0]]),
        }
    )


def _run(design: Design, panel: Panel, treated: np.ndarray, donors: np.ndarray, first: int) -> Counterfactual:
    return design(panel.values, treated=treated, donors=donors, first=first)


def _effects(paths: Counterfactual, estimand: Estimand) -> np.ndarray:
    return paths.effect if estimand.scale == "mean_difference" else paths.ratio


def _infer(
    panel: Panel,
    design: Design,
    value: float,
    estimand: Estimand,
    options: SyntheticControlOptions,
    rng: np.random.Generator | None,
) -> tuple[Interval, float]:
    """Interval and standard error; an interval that is refused comes back as a failed check."""
    nan = math.nan
    ways: dict[str, Callable[[], tuple[Interval, float]]] = {
        "permutation": lambda: (
            permutation_inference(panel, design, scale=estimand.scale, level=options.level, rng=rng),
            nan,
        ),
        "conformal": lambda: (conformal_inference(panel, design, scale=estimand.scale, level=options.level), nan),
        "placebo_sd": lambda: _placebo_interval(panel, design, value, estimand, options, rng),
        "none": lambda: (
            Interval(nan, nan, nan, nan, nan, (Check("interval", None, nan, "None was asked for."),)),
            nan,
        ),
    }
    try:
        return ways[options.inference]()
    except NotEstimable as refusal:
        check = Check("interval", False, nan, f"No interval is given: {refusal.reason}")
        return Interval(nan, nan, nan, nan, nan, (check,)), nan


def _placebo_interval(
    panel: Panel,
    design: Design,
    value: float,
    estimand: Estimand,
    options: SyntheticControlOptions,
    rng: np.random.Generator | None,
) -> tuple[Interval, float]:
    """Interval from the standard deviation of placebo effects; the ratio's is symmetric on the log scale.

    Every untreated unit (or set of as many as are treated) is a placebo, where R's synthdid draws 200; the
    deviation has n - 1 below and Student's t stands for the normal, since the placebos are few. It holds where
    the treated unit's gaps vary as the placebos' do.
    """
    placed = _placebo_sets(panel.treated, rng)
    donors = ~placed & ~panel.treated
    if len(placed) < MIN_PLACEBOS or not donors.any(axis=1).all():
        fault = Fault(
            "placebos",
            "too few untreated units for a standard deviation of placebo effects",
            got=f"{len(placed)} placebos",
            allowed=f"{MIN_PLACEBOS} or more",
            next_step='Add areas to compare with, or use inference="conformal".',
        )
        raise NotEstimable(fault)
    paths = _run(design, panel, placed, donors, one_start(panel.adoption, panel.periods))
    refuse_no_spread(paths.effect, compute_rounding(panel.values))
    effects = _effects(paths, estimand)
    ratio = estimand.scale == "rate_ratio"
    if ratio and not (np.isfinite(effects).all() and (effects > 0).all() and value > 0):
        raise NotEstimable(Fault("placebos", "a ratio is 0, negative or undefined, so that it has no logarithm"))
    spread = float(np.std(np.log(effects) if ratio else effects, ddof=1))
    if ratio and spread <= SMALL:
        raise NotEstimable(Fault("placebos", "their ratios are all the same, so that their spread says nothing"))
    freedom = len(placed) - 1
    half = float(stats.t.ppf(0.5 + options.level / 2, freedom)) * spread
    centre = math.log(value) if ratio else value
    ends = (centre - half, centre + half)
    lower, upper = (math.exp(ends[0]), math.exp(ends[1])) if ratio else ends
    p_value = float(2 * stats.t.sf(abs(centre) / spread, freedom))
    text = f"Standard deviation of {len(placed)} placebo effects{' on the log scale' if ratio else ''}: {spread:.4g}."
    check = Check("placebo_sd", None, spread, text)
    return Interval(lower, upper, options.level, p_value, 0.0, (check,)), math.nan if ratio else spread


def _placebo_sets(treated: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """Sets of as many untreated units as are treated, bool (P, J): all of them, or 500 drawn where there are more."""
    untreated, count = np.flatnonzero(~treated), int(treated.sum())
    if math.comb(len(untreated), count) <= _MAX_SETS:
        sets = list(itertools.combinations(untreated, count))
    elif rng is None:
        raise ParameterError(
            Fault("rng", "sets of placebo units must be drawn", next_step="Give rng=np.random.default_rng(seed).")
        )
    else:
        sets = [tuple(rng.choice(untreated, count, replace=False)) for _ in range(_MAX_SETS)]
    rows = np.zeros((len(sets), len(treated)), dtype=bool)
    for row, members in zip(rows, sets, strict=True):
        row[list(members)] = True
    return rows


def _checks(panel: Panel, paths: Counterfactual, options: SyntheticControlOptions) -> tuple[Check, ...]:
    donors, first = ~panel.treated, paths.first
    level_free = options.method in ("did", "synthetic_did")
    checks = [check_fit(paths, level_free=level_free), check_rmspe(paths)]
    if options.method != "did":
        checks += [*check_donors(paths.unit_weights[0], donors, panel.units), check_periods(first)]
    if options.method == "synthetic_control":
        target = paths.observed[0, :first]
        checks.append(check_hull(target, panel.values[donors, :first], what="outcomes before adoption"))
        if options.predictors is not None:
            rows = align_predictors(options.predictors, panel.units)
            # The name sets it apart from the same check of outcomes.
            found = check_hull(rows[panel.treated].mean(axis=0), rows[donors], what="predictors")
            checks.append(Check("predictors_within_donors_range", found.passed, found.value, found.text))
    checks += check_weights(panel)
    if panel.covariate_names:
        names = ", ".join(panel.covariate_names)
        checks.append(Check("covariates", None, math.nan, f"Not used: the panel's covariates {names}."))
    return tuple(checks)


def _check_options(options: SyntheticControlOptions, estimand: Estimand | None) -> None:
    faults = []
    for name, choices in (("method", get_args(Method)), ("inference", get_args(Inference))):
        if getattr(options, name) not in choices:
            faults.append(Fault(name, "there is no such choice", str(getattr(options, name)), ", ".join(choices)))
    if not 0 < options.level < 1:
        faults.append(Fault("level", "it is no probability", str(options.level), "between 0 and 1, such as 0.95"))
    if estimand is not None and estimand.scale not in _SCALES:
        faults.append(Fault("estimand", "synthetic controls do not know its scale", estimand.scale, ", ".join(_SCALES)))
    if options.predictors is not None and options.method != "synthetic_control":
        faults.append(Fault("predictors", "only synthetic_control takes them", options.method))
    if options.predictors is None and options.importance != "optimised":
        faults.append(Fault("importance", "there are no predictors for it to weigh"))
    if isinstance(options.importance, str) and options.importance not in get_args(Importance):
        allowed = "optimised, regression, or one number a predictor"
        faults.append(Fault("importance", "there is no such choice", options.importance, allowed))
    if options.ridge is not None and options.method != "ridge_augmented":
        faults.append(Fault("ridge", "only ridge_augmented takes it", options.method))
    if options.ridge is not None and not (math.isfinite(options.ridge) and options.ridge > 0):
        faults.append(Fault("ridge", "it is not above 0 and finite", str(options.ridge)))
    if options.inference == "conformal" and options.method == "synthetic_did":
        next_step = 'Use inference="permutation" or "placebo_sd".'
        what = "conformal inference takes all periods as before, and synthetic DiD then has no time weights"
        faults.append(Fault("inference", what, next_step=next_step))
    if faults:
        raise ParameterError(faults)
