"""Conformal interval for an average effect by permuting periods: for one treated unit and few comparators."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.estimand import Scale
from evalkit.core.result import Check
from evalkit.estimators.area.contrasts import Design, one_start
from evalkit.estimators.area.randomisation import (
    Interval,
    attained_interval,
    check_choices,
    check_scale_and_level,
    compute_rounding,
    take_effect_off,
)

MIN_COMPARATORS = 3
Permutation = Literal["moving_block", "iid"]
Whiten = Literal["ar1", "none"]

_RHO_GRID = np.linspace(-0.6, 0.98, 80)
_TIE = 1e-9
_HALVINGS = 20  # each is a run of the design
# Without whitening, the correlation above which coverage at nominal 95% was measured under 90% (docs/methods.md).
_LARGEST_RHO: dict[Permutation, float] = {"moving_block": 0.6, "iid": 0.1}


@dataclass(frozen=True)
class ConformalOptions:
    """Options of `conformal_inference`.

    `permutation`: "moving_block" shifts all residuals in a circle (T of them, no chance); "iid" draws
    `draws` orders at random, which needs `rng` and finds smaller effects, but is refused
    for "rate_ratio" and for designs whose weights are fitted. `whiten`: "ar1" takes
    first-order serial correlation out of the residuals before they are permuted; "none" is the test
    as published, which is refused where residuals are too correlated for it.
    """

    permutation: Permutation = "moving_block"
    whiten: Whiten = "ar1"
    draws: int = 999


def conformal_inference(
    panel: Panel,
    design: Design,
    *,
    scale: Scale,
    level: float,
    options: ConformalOptions = ConformalOptions(),
    rng: np.random.Generator | None = None,
) -> Interval:
    """Interval of a constant effect from permutations of the treated unit's residuals over time.

    For each candidate the effect is taken off, the design is run anew with *all* periods as periods before
    (`first` = T), and the candidate is kept unless the mean residual after adoption is among the
    largest of all orders of the residuals. Exact where residuals are exchangeable in time; with
    "ar1" where they are an autoregression of first order, whose coefficient is estimated from the
    gaps of the comparators and the treated by restricted maximum likelihood. Needs no area to be
    like another, so it serves with few comparators.

    Raises
    ------
    ParameterError
        Another scale, negative values with "rate_ratio", a bad level or option, or "iid" without `rng`.
    NotEstimable
        Fewer than `MIN_COMPARATORS` untreated units, adoption at different times, a design that gives no finite
        residuals when all periods come before, or gaps that do not vary but for rounding.

    References
    ----------
    Chernozhukov, Wuthrich and Zhu 2021, JASA 116:1849, section 2 (moving block and iid permutations of
    residuals under the null); Harville 1977, JASA 72:320 (restricted likelihood).
    """
    check_scale_and_level(panel, scale, level)
    check_choices(options, permutation=get_args(Permutation), whiten=get_args(Whiten))
    _refuse(panel, options, rng)
    first, treated = one_start(panel.adoption, panel.periods), panel.treated[None]
    real = design(panel.values, treated=treated, donors=~treated, first=first)
    _refuse_no_spread(panel, real.gap[0], first)
    rho = _serial_correlation(panel, design, real.gap[0], first)
    orders = _orders(len(panel.periods) - (options.whiten == "ar1"), options, rng)
    p_value = _build_test(panel, design, first, scale, orders, rho if options.whiten == "ar1" else None)
    smallest = 1 / len(orders)
    checks = _checks(smallest, rho, options, consecutive=panel.consecutive)
    why = _why_refused(rho, scale, real.unit_weights, options)
    if why:
        refusal = Check("interval", False, rho, f"No interval is given: {why}")
        return Interval(math.nan, math.nan, math.nan, math.nan, smallest, (*checks, refusal))
    value, spread = _centre(real.gap[0], real.expected[0], first, rho, scale, p_value)
    no_effect = p_value(0.0 if scale == "mean_difference" else 1.0)
    lower, upper, attained, refusals = attained_interval(
        p_value, value, spread, len(orders), level, multiplicative=scale == "rate_ratio", halvings=_HALVINGS
    )
    return Interval(lower, upper, attained, no_effect, smallest, (*checks, *refusals))


def _build_test(
    panel: Panel, design: Design, first: int, scale: Scale, orders: np.ndarray, rho: float | None
) -> Callable[[float], float]:
    """P-value of a candidate effect; residuals are whitened and centred where `rho` is given."""
    treated, periods = panel.treated[None], len(panel.periods)
    cells = panel.treated[:, None] & (np.arange(periods) >= first)
    after = orders[:, first - periods :]
    small = compute_rounding(panel.values)

    def p_value(candidate: float) -> float:
        adjusted = take_effect_off(panel.values, cells, candidate, scale)
        residual = _finite_gap(design(adjusted, treated=treated, donors=~treated, first=periods).gap)[0]
        if rho is not None:
            residual = residual[1:] - rho * residual[:-1]
            residual = residual - residual.mean()
        means = np.abs(residual[after].mean(axis=1))
        return float((means >= means[0] - max(_TIE * np.abs(residual).max(), small)).mean())

    return p_value


def _refuse(panel: Panel, options: ConformalOptions, rng: np.random.Generator | None) -> None:
    if options.permutation == "iid" and rng is None:
        raise ParameterError(
            Fault("rng", 'permutation="iid" draws orders', next_step="Give rng=np.random.default_rng(seed).")
        )
    untreated = int((~panel.treated).sum())
    if untreated < MIN_COMPARATORS:
        raise NotEstimable(
            Fault(
                "areas",
                "too few to compare with: their gaps tell how far residuals are correlated over time",
                got=str(untreated),
                allowed=f"{MIN_COMPARATORS} or more untreated",
                next_step="Add areas to compare with, or use an interrupted time series.",
            )
        )


def _refuse_no_spread(panel: Panel, gap: np.ndarray, first: int) -> None:
    """Refuse gaps (T,) that are constant before and after adoption: shifting what does not vary tests nothing."""
    largest = max(float(np.ptp(gap[:first])), float(np.ptp(gap[first:])))
    if largest <= compute_rounding(panel.values):
        what = "gaps of the treated area do not vary but for rounding, so that no order of periods is unlike another"
        raise NotEstimable(Fault("residuals", what, next_step="Check that the outcome was not made by a formula."))


def _orders(count: int, options: ConformalOptions, rng: np.random.Generator | None) -> np.ndarray:
    """Orders of the residuals, the true one first, int, shape (P, count)."""
    place = np.arange(count)
    if options.permutation == "moving_block":
        return (place[:, None] + place[None, :]) % count
    return np.vstack([place[None], np.argsort(rng.random((options.draws, count)), axis=1)])


def _serial_correlation(panel: Panel, design: Design, gap: np.ndarray, first: int) -> float:
    """First-order correlation of gaps: of the treated with a step taken out, and of each comparator against the rest.

    One coefficient for all series, each with its own level and variance; the restricted likelihood makes up for
    the levels that were fitted, which would pull the estimate towards nought in series this short.
    """
    untreated = np.flatnonzero(~panel.treated)
    own = np.zeros((len(untreated), len(panel.units)), bool)
    own[np.arange(len(untreated)), untreated] = True
    rest = ~own & ~panel.treated
    periods = len(panel.periods)
    others = _finite_gap(design(panel.values, treated=own, donors=rest, first=periods).gap)
    # A comparator that the rest foretell exactly has no correlation; its likelihood would run to the grid's end.
    others = others[np.ptp(others, axis=1) > compute_rounding(panel.values)]
    if not len(others):
        what = "the untreated areas show no spread, so nothing tells how far residuals are correlated over time"
        raise NotEstimable(Fault("areas", what, next_step="Check that the areas are not copies of each other."))
    level = np.ones((periods, 1))
    step = np.column_stack([level, np.arange(periods) >= first]).astype(float)
    likelihood = _restricted_likelihood(_finite_gap(gap[None]), step) + _restricted_likelihood(others, level)
    return float(_RHO_GRID[likelihood.argmax()])


def _restricted_likelihood(series: np.ndarray, regressors: np.ndarray) -> np.ndarray:
    """Restricted log-likelihood, up to a constant, over `_RHO_GRID` summed over series (S, T); shape (G,)."""
    periods, width = regressors.shape
    floor = 1e-20 * max(float((series**2).max()), 1e-300)
    out = np.empty(len(_RHO_GRID))
    for place, rho in enumerate(_RHO_GRID):
        start = math.sqrt(1 - rho**2)
        x = np.vstack([start * regressors[:1], regressors[1:] - rho * regressors[:-1]])
        y = np.vstack([start * series.T[:1], series.T[1:] - rho * series.T[:-1]])
        q, r = np.linalg.qr(x)
        squares = np.maximum((y**2).sum(axis=0) - ((q.T @ y) ** 2).sum(axis=0), floor)
        each = math.log(start) - np.log(np.abs(np.diag(r))).sum()
        out[place] = len(series) * each - (periods - width) / 2 * np.log(squares).sum()
    return out


def _centre(
    gap: np.ndarray,
    expected: np.ndarray,
    first: int,
    rho: float,
    scale: Scale,
    p_value: Callable[[float], float],
) -> tuple[float, float]:
    """The candidate near the estimate that the test finds likeliest, and the step of the search."""
    periods = len(gap)
    effect = float(gap[first:].mean())
    within = np.concatenate([gap[:first] - gap[:first].mean(), gap[first:] - effect])
    long_run = math.sqrt((1 + max(rho, 0.0)) / (1 - max(rho, 0.0)))
    error = math.sqrt(float((within**2).sum()) / max(periods - 2, 1)) * math.sqrt(1 / first + 1 / (periods - first))
    spread = max(error * long_run, 1e-9 * float(np.abs(gap).max()), 1e-300)
    if scale == "mean_difference":
        near = effect + spread * np.linspace(-3, 3, 25)
    else:
        mean = float(expected[first:].mean())
        if not mean > 0:
            raise NotEstimable(Fault("design", "it expects nothing after adoption, so there is no ratio"))
        if mean + effect <= 0:
            return 0.0, spread / mean
        spread = spread / mean
        near = (mean + effect) / mean * np.exp(spread * np.linspace(-3, 3, 25))
    # Nearest the estimate first, so that ties leave it where it is.
    near = near[np.argsort(np.abs(np.arange(25) - 12), kind="stable")]
    return float(near[np.argmax([p_value(float(c)) for c in near])]), spread


def _finite_gap(gap: np.ndarray) -> np.ndarray:
    if not np.isfinite(gap).all():
        raise NotEstimable(
            Fault(
                "design",
                "it gives no finite residuals when every period comes before adoption, as this test needs",
                next_step="Use difference-in-differences or a synthetic control, or permute units.",
            )
        )
    return gap


def _why_refused(rho: float, scale: Scale, weights: np.ndarray | None, options: ConformalOptions) -> str:
    """Why the test asked for was measured to cover less than 90%, or nothing where it covers."""
    largest = _LARGEST_RHO[options.permutation]
    if options.whiten == "none" and rho > largest:
        return (
            f"residuals are correlated over time ({rho:.2f}), and above {largest} this test covers less than it "
            'says; use whiten="ar1".'
        )
    if options.permutation == "iid" and scale == "rate_ratio":
        return (
            "random orders of periods cover less than they say for rates of counts, whose areas do not move in "
            'parallel; use permutation="moving_block".'
        )
    if options.permutation == "iid" and weights is not None and np.ptp(weights[weights != 0]) > _TIE:
        return (
            "random orders of periods cover less than they say where weights were fitted to the treated area; "
            'use permutation="moving_block".'
        )
    return ""


def _checks(smallest: float, rho: float, options: ConformalOptions, *, consecutive: bool) -> tuple[Check, ...]:
    how = "shifted in a circle" if options.permutation == "moving_block" else "put in random orders"
    text = "taken out before residuals were permuted." if options.whiten == "ar1" else "left in the residuals."
    checks = (
        Check(
            "smallest_p",
            None,
            smallest,
            f"Residuals of the treated area were {how}; the smallest p-value that can come out is {smallest:.3f}.",
        ),
        Check("serial_correlation", None, rho, f"Correlation of residuals between periods: {rho:.2f}; {text}"),
    )
    if consecutive:
        return checks
    gap = "Periods are missing in between, across which residuals were taken for neighbours in time."
    return (*checks, Check("consecutive_periods", False, 0.0, gap))
