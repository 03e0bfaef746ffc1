"""Exact permutation of treatment over units, for any design: interval and p-value with few treated units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Scale
from evalkit.core.result import Check
from evalkit.estimators.area.contrasts import Counterfactual, Design, one_start

MIN_UNITS = 10
SEARCH_SPREADS = 40.0  # an end further from the estimate than so many spreads is taken as infinite
_FURTHEST_LOG_RATIO = 230.0  # a ratio of ten to the hundred either way: past it numbers overflow, and no effect lies
_TIE = 1e-12
SMALL = 1e-10  # of the largest outcome: what is less is rounding
_ROUNDING = 1e-10  # 1 - 0.9 is a little less than 0.1, which a p-value of 3/30 must not be above

Statistic = Literal["effect_over_fit", "rmspe_ratio", "effect"]
PlaceboDonors = Literal["all", "untreated"]


@dataclass(frozen=True)
class Interval:
    """Interval of a test turned round, and the test of no effect.

    Attributes
    ----------
    lower, upper : float
        On the scale asked for; NaN where no interval can be had, infinite where the test never rejects.
    level : float
        The level that is attained, which may be above the one asked for; NaN without an interval.
    p_value : float
        Of no effect.
    smallest_p : float
        The smallest p-value that could have come out.
    """

    lower: float
    upper: float
    level: float
    p_value: float
    smallest_p: float
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True)
class PermutationOptions:
    """Options of `permutation_inference`.

    `statistic`: "effect_over_fit" is the mean gap after adoption over the root mean squared gap before
    it, so that areas that fit badly or are small do not rule; "rmspe_ratio" is the ratio of root mean
    squared gaps after and before (Abadie, Diamond and Hainmueller 2010, JASA 105:493, section 3.4);
    "effect" is the mean gap itself. `placebo_donors`: "all" leaves the treated units among the donors
    of the placebos, with the effect taken off, which keeps the test exact; "untreated" drops them, as
    is the custom with synthetic controls. `draws` sets of units are drawn where several units are
    treated and the possible sets are more than that.
    """

    statistic: Statistic = "effect_over_fit"
    placebo_donors: PlaceboDonors = "all"
    draws: int = 999


def permutation_inference(
    panel: Panel,
    design: Design,
    *,
    scale: Scale,
    level: float,
    options: PermutationOptions = PermutationOptions(),
    rng: np.random.Generator | None = None,
) -> Interval:
    """Interval of a constant effect by giving treatment to every unit, or set of units, in turn.

    For each candidate the effect is taken off the treated outcomes of `panel.values` after adoption (less c
    with "mean_difference", over r with "rate_ratio"), the design is run with each unit in the treated
    one's place, and the candidate is kept while the true assignment is not among the most extreme. The
    test is exact where units are exchangeable without the service, whatever the serial correlation.
    It speaks to a constant effect; of one that varies it covers the average only roughly.

    `rng` is needed only where several treated units make more sets than `options.draws`.

    Raises
    ------
    ParameterError
        Another scale, negative values with "rate_ratio", a bad level or option, or no `rng` to draw sets by.
    NotEstimable
        Fewer than `MIN_UNITS` units, adoption at different times, every unit treated, nothing expected
        with "rate_ratio", a perfect fit before adoption, or placebo effects that are all alike.

    References
    ----------
    Abadie, Diamond and Hainmueller 2010, JASA 105:493; Firpo and Possebom 2018, J Causal Inference
    6(2) (tests turned into intervals).
    """
    check_scale_and_level(panel, scale, level)
    check_choices(options, statistic=get_args(Statistic), placebo_donors=get_args(PlaceboDonors))
    _refuse_thin(panel)
    first = one_start(panel.adoption, panel.periods)
    treated, how = build_assignments(panel.treated, draws=options.draws, rng=rng)
    donors = ~treated
    if options.placebo_donors == "untreated":
        donors[1:] &= ~panel.treated

    def run(values: np.ndarray) -> Counterfactual:
        return design(values, treated=treated, donors=donors, first=first)

    found = run(panel.values)
    small = compute_rounding(panel.values)
    _refuse_degenerate(found, options.statistic, small)
    value, spread = _estimate_and_spread(found, scale)
    gap_at = _gaps_by_candidate(panel, run, found.gap, first, scale, value, spread)

    def p_value(candidate: float) -> float:
        return _rank_share(_statistic(gap_at(candidate), first, options.statistic), options.statistic, small)

    no_effect = p_value(0.0 if scale == "mean_difference" else 1.0)
    lower, upper, attained, refusal = attained_interval(
        p_value, value, spread, len(treated), level, multiplicative=scale == "rate_ratio"
    )
    checks = (*_checks(len(treated), how, round(no_effect * len(treated))), *refusal)
    return Interval(lower, upper, attained, no_effect, 1 / len(treated), checks)


def build_assignments(treated: np.ndarray, *, draws: int, rng: np.random.Generator | None) -> tuple[np.ndarray, str]:
    """Sets of units that might have been treated, the true one first, bool, shape (A, J), and how they were had."""
    units, count = len(treated), int(treated.sum())
    real = tuple(np.flatnonzero(treated))
    if math.comb(units, count) <= max(draws + 1, units):
        sets = [real, *(s for s in itertools.combinations(range(units), count) if s != real)]
        rows = np.zeros((len(sets), units), bool)
        rows[np.arange(len(sets))[:, None], np.array(sets)] = True
        return rows, "every area in turn" if count == 1 else "every set of as many areas"
    if rng is None:
        raise ParameterError(
            Fault(
                "rng",
                "sets of treated units must be drawn, which needs a random generator",
                got=f"{math.comb(units, count):,} possible sets of {count}",
                next_step="Give rng=np.random.default_rng(seed).",
            )
        )
    return np.stack([treated, *(rng.permutation(treated) for _ in range(draws))]), "random sets of areas"


def attained_interval(
    p_value: Callable[[float], float],
    value: float,
    spread: float,
    count: int,
    level: float,
    *,
    multiplicative: bool,
    halvings: int = 30,
) -> tuple[float, float, float, tuple[Check, ...]]:
    """Ends of what a test with `count` ranks does not reject, its attained level, and a failed check if none.

    `spread` is the step of the search: an amount, or a log ratio if `multiplicative`.
    """
    nan, alpha = math.nan, 1 - level + _ROUNDING
    rejected_ranks = math.floor(alpha * count)
    if rejected_ranks == 0 or (multiplicative and value == 0):
        why = "no event after adoption"
        if rejected_ranks == 0:
            why = f"the smallest p-value is {1 / count:.3f}, too large for an interval at {level:.0%}"
        return nan, nan, nan, (Check("interval", False, nan, f"No interval is given: {why}."),)

    def candidate(shift: float) -> float:
        return value * math.exp(shift) if multiplicative else value + shift

    if not (math.isfinite(spread) and spread > 0):
        text = "No interval is given: there is no spread by which to search for its ends."
        return nan, nan, nan, (Check("interval", False, nan, text),)
    if p_value(value) <= alpha:
        text = "No interval is given: the test rejects every constant effect near the estimate."
        return nan, nan, nan, (Check("interval", False, nan, text),)
    down, up = (
        _search_outward(
            lambda shift: p_value(candidate(shift)), direction * spread, alpha, halvings,
            furthest=_FURTHEST_LOG_RATIO if multiplicative else math.inf,
        )
        for direction in (-1.0, 1.0)
    )  # fmt: skip
    lower = (0.0 if multiplicative else -math.inf) if math.isinf(down) else candidate(down)
    upper = math.inf if math.isinf(up) else candidate(up)
    return lower, upper, 1 - rejected_ranks / count, ()


def _search_outward(
    p_value: Callable[[float], float], step: float, alpha: float, halvings: int, *, furthest: float
) -> float:
    """The shift in the direction of `step` from which the test rejects; infinite where it does not up to `furthest`."""
    inside = 0.0
    while abs(inside + step) > furthest or p_value(inside + step) > alpha:
        inside += step
        if abs(inside) > min(SEARCH_SPREADS * abs(step), furthest):
            return math.copysign(math.inf, step)
    outside = inside + step
    for _ in range(halvings):
        middle = (inside + outside) / 2
        if p_value(middle) > alpha:
            inside = middle
        else:
            outside = middle
    return outside


def take_effect_off(values: np.ndarray, cells: np.ndarray, candidate: float, scale: Scale) -> np.ndarray:
    """Outcomes as they would have been without the candidate effect; `cells` bool, of the shape of `values`."""
    return np.where(cells, values - candidate if scale == "mean_difference" else values / candidate, values)


def compute_rounding(values: np.ndarray) -> float:
    """What no effect or gap of these values can be told from rounding below: 1e-10 of the largest."""
    return SMALL * float(np.abs(values).max())


def check_scale_and_level(panel: Panel, scale: Scale, level: float) -> None:
    """Raise ParameterError for a scale or level that a test turned round cannot serve."""
    faults = []
    if scale not in ("mean_difference", "rate_ratio"):
        faults.append(Fault("scale", "not one of this inference", got=scale, allowed="mean_difference, rate_ratio"))
    elif scale == "rate_ratio" and (panel.values < 0).any():
        faults.append(
            Fault("panel", "a ratio needs outcomes of 0 or more", next_step="Ask for the scale mean_difference.")
        )
    if not 0 < level < 1:
        faults.append(Fault("level", "it is no probability", got=str(level), allowed="between 0 and 1, such as 0.95"))
    if faults:
        raise ParameterError(faults)


def check_choices(options: object, **choices: tuple[str, ...]) -> None:
    """Raise ParameterError for each named option whose value is none of its choices."""
    faults = [
        Fault(f"options.{name}", "there is no such choice", str(getattr(options, name)), ", ".join(allowed))
        for name, allowed in choices.items()
        if getattr(options, name) not in allowed
    ]
    if faults:
        raise ParameterError(faults)


def _gaps_by_candidate(
    panel: Panel,
    run: Callable[[np.ndarray], Counterfactual],
    gap: np.ndarray,
    first: int,
    scale: Scale,
    value: float,
    spread: float,
) -> Callable[[float], np.ndarray]:
    """Gaps (A, T) as a function of the candidate effect.

    Where weights do not depend on treated outcomes after adoption, gaps are linear in what is taken off, and
    two runs of the design serve every candidate; this is tried out near and far before it is used.
    """
    cells = panel.treated[:, None] & (np.arange(len(panel.periods)) >= first)

    def by_design(candidate: float) -> np.ndarray:
        return run(take_effect_off(panel.values, cells, candidate, scale)).gap

    def amount(candidate: float) -> float:
        return candidate if scale == "mean_difference" else 1 - 1 / candidate

    if scale == "mean_difference":
        probes = [value + k * spread for k in (1.0, -SEARCH_SPREADS, 4.0, SEARCH_SPREADS)]
    else:
        probes = [math.exp(k) for k in (0.5, -3.0, -0.5, 3.0)]
    if amount(probes[0]) == 0:
        return by_design
    slope = (by_design(probes[0]) - gap) / amount(probes[0])
    tolerance = 1e-9 * float(np.abs(panel.values).max())
    linear = all(
        np.allclose(by_design(c), gap + amount(c) * slope, rtol=1e-7, atol=tolerance * max(1.0, abs(amount(c))))
        for c in probes[1:]
    )
    return (lambda candidate: gap + amount(candidate) * slope) if linear else by_design


def _statistic(gap: np.ndarray, first: int, statistic: Statistic) -> np.ndarray:
    before, after = gap[:, :first], gap[:, first:]
    if statistic == "effect":
        return np.abs(after.mean(axis=1))
    fit = np.sqrt((before**2).mean(axis=1))
    if statistic == "rmspe_ratio":
        return np.sqrt((after**2).mean(axis=1)) / fit
    return np.abs(after.mean(axis=1)) / fit


def _rank_share(extremes: np.ndarray, statistic: Statistic, small: float) -> float:
    """Share of assignments as extreme as the true one, the first."""
    # Mean gaps are in units of the outcome, whose rounding does not shrink as they come near 0.
    tie = small if statistic == "effect" else 0.0
    return float((extremes >= extremes[0] * (1 - _TIE) - tie).mean())


def _estimate_and_spread(found: Counterfactual, scale: Scale) -> tuple[float, float]:
    """The estimate of the true assignment, and a typical placebo effect, by which the search for the ends steps."""
    spread = max(float(np.median(np.abs(found.effect[1:]))), 1e-9 * float(np.abs(found.gap).max()))
    if scale == "mean_difference":
        return float(found.effect[0]), spread
    value, expected = float(found.ratio[0]), float(found.expected[0, found.first :].mean())
    if not (math.isfinite(value) and expected > 0):
        raise NotEstimable(Fault("design", "it expects nothing after adoption, so there is no ratio"))
    return value, spread / expected


def _refuse_thin(panel: Panel) -> None:
    faults = []
    if len(panel.units) < MIN_UNITS:
        faults.append(
            Fault(
                "areas",
                "too few for an honest permutation: the smallest p-value is one over their number",
                got=str(len(panel.units)),
                allowed=f"{MIN_UNITS} or more",
                next_step="Add areas to compare with, or use conformal inference, which permutes periods.",
            )
        )
    if panel.treated.all() or not panel.treated.any():
        faults.append(Fault("areas", "permutation needs both treated and untreated ones"))
    if faults:
        raise NotEstimable(faults)


def refuse_no_spread(effects: np.ndarray, small: float) -> None:
    """Raise NotEstimable where placebo effects (P,) differ by no more than `small`, which is what rounding makes."""
    if np.ptp(effects) <= small:
        raise NotEstimable(
            Fault(
                "placebo effects",
                "the untreated areas show no spread, so nothing tells how far an effect may be chance",
                next_step="Check that the areas are not copies of each other.",
            )
        )


def _refuse_degenerate(found: Counterfactual, statistic: Statistic, small: float) -> None:
    """Refuse what makes ranks of rounding: a perfect fit before adoption, or placebo effects that are all alike."""
    fit = found.pre_rmspe
    perfect = int((fit <= small).sum())
    if perfect and statistic != "effect":
        raise NotEstimable(
            Fault(
                "fit before adoption",
                "it is perfect, so effects cannot be measured against it",
                got=f"{perfect} of {len(fit)} assignments",
                next_step='Ask for statistic="effect", or give more periods before adoption.',
            )
        )
    refuse_no_spread(found.effect[1:], small)


def _checks(count: int, how: str, rank: int) -> tuple[Check, ...]:
    return (
        Check(
            "smallest_p",
            None,
            1 / count,
            f"Treatment was given to {how}; the smallest p-value that can come out is {1 / count:.3f}.",
        ),
        Check("assignments", count >= 20, count, "Assignments of treatment; 20 or more allow a 95% interval."),
        Check("rank", None, rank, f"The treated area ranks {rank} of {count} by size of change, 1 being the largest."),
    )
