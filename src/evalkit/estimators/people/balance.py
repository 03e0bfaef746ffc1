"""Whether two sides are alike, before and after weighting or matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd

from evalkit.cohort.comparison import Comparison
from evalkit.cohort.frames import FEW
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.core.result import Check
from evalkit.estimators.people.matching import Matching
from evalkit.estimators.people.weighting import BalancingWeights, compute_effective_size

Spread = Literal["estimand", "treated", "comparison", "pooled"]
RATIO_LIMITS = (0.5, 2.0)
MAX_SHARE_OUTSIDE = 0.05


@dataclass(frozen=True)
class BalanceOptions:
    """`scale` names whose unweighted standard deviation differences are put on ("estimand": the treated's for the
    ATT and matching, the comparison side's for the ATC, pooled for ATE and ATO); `limit` is what a standardised
    difference may be; `bins` of the propensity's histogram."""

    scale: Spread = "estimand"
    limit: float = 0.1
    bins: int = 20


@dataclass(frozen=True)
class Balance:
    """How alike the sides are.

    Attributes
    ----------
    table : DataFrame, one row a covariate
        `covariate`, `kind` (binary or continuous), `scale` (the standard deviation that differences are put on), and
        with the ending `_before` and `_after`: `mean_treated`, `mean_comparison`, `difference` (raw), `smd`,
        `variance_ratio` (NaN for binary covariates), `ks` (Kolmogorov and Smirnov's greatest distance of the two
        weighted distributions).
    sides : DataFrame, one row a side: `side`, `people`, `effective_before`, `effective_after` (Kish)
    """

    table: pd.DataFrame
    sides: pd.DataFrame
    checks: tuple[Check, ...]


def assess_balance(
    comparison: Comparison, balanced: BalancingWeights | Matching, *, options: BalanceOptions = BalanceOptions()
) -> Balance:
    """Balance of every covariate before and after, with cobalt's definitions.

    Before is with sampling weights alone, after with balancing weights too. The scale of a standardised difference
    is the same before and after: n - 1 in a continuous covariate's variance, p (1 - p) in a binary one's; where the
    side named does not vary, the pooled one is used. Weighted variances are sum w (x - m)^2 W / (W^2 - sum w^2).

    Raises ParameterError for weights of other people or options out of range.

    References
    ----------
    Austin 2009, Stat Med 28:3083; Austin and Stuart 2015, Stat Med 34:3661 (weighted KS); Greifer, cobalt.
    """
    _check(comparison, balanced, options)
    before = comparison.sampling
    after = balanced.weights * before
    x, treated = comparison.covariates, comparison.treated
    binary = np.array([np.isin(column, (0.0, 1.0)).all() for column in x.T], dtype=bool)
    scale = _scale(comparison, balanced, binary, options)
    columns: dict[str, object] = {
        "covariate": list(comparison.names), "kind": np.where(binary, "binary", "continuous"), "scale": scale,
    }  # fmt: skip
    for when, w in (("before", before), ("after", after)):
        (mean1, var1), (mean0, var0) = (_moments(x[side], w[side], binary) for side in (treated, ~treated))
        columns[f"mean_treated_{when}"], columns[f"mean_comparison_{when}"] = mean1, mean0
        columns[f"difference_{when}"] = mean1 - mean0
        columns[f"smd_{when}"] = np.divide(mean1 - mean0, scale, out=np.zeros(len(scale)), where=scale > 0)
        known = ~binary & (var0 > 0)
        columns[f"variance_ratio_{when}"] = np.divide(var1, var0, out=np.full(len(var1), np.nan), where=known)
    columns["ks_before"], columns["ks_after"] = compute_ks(x, treated, np.stack([before, after]))
    table, sides = pd.DataFrame(columns), _sides(treated, before, after)
    return Balance(table, sides, _checks(table, sides, options) + _overlap_checks(comparison, balanced, options))


def compute_ks(x: np.ndarray, treated: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Greatest distance between the sides' distribution functions, shape (k, p).

    Of the columns of x (n, p), under each of k sets of weights (k, n).
    """
    one, nought = (weights[:, side].sum(axis=1, keepdims=True) for side in (treated, ~treated))
    signed = np.where(treated, weights / one, -weights / nought)
    greatest = np.zeros((len(weights), x.shape[1]))
    for j, column in enumerate(x.T):
        order = np.argsort(column, kind="stable")
        value = column[order]
        last = np.append(value[1:] != value[:-1], True)
        greatest[:, j] = np.abs(np.cumsum(signed[:, order], axis=1)[:, last]).max(axis=1)
    return greatest


def compute_propensity_overlap(
    comparison: Comparison, balanced: BalancingWeights | Matching, *, options: BalanceOptions = BalanceOptions()
) -> pd.DataFrame:
    """The propensity's distribution on each side, for a figure: one row a bin and side.

    Columns `lower`, `upper` (bin), `side`, `people`, `share` (with sampling weights), `weighted_share`. Counts are
    of people and below ten in places: a figure must pass disclosure control.

    Raises NotEstimable where no propensity was fitted (entropy balancing, exact matching, given subclasses).
    """
    _check(comparison, balanced, options)
    if not np.isfinite(balanced.propensity).all():
        raise NotEstimable(Fault("propensity", "this way of balancing fits none, so there is none to show"))
    edges = np.linspace(0.0, 1.0, options.bins + 1)
    place = np.minimum((balanced.propensity * options.bins).astype(np.int64), options.bins - 1)
    parts = []
    for name, side in (("treated", comparison.treated), ("comparison", ~comparison.treated)):
        shares = []
        for w in (comparison.sampling, comparison.sampling * balanced.weights):
            mass = np.bincount(place[side], weights=w[side], minlength=options.bins)
            shares.append(mass / mass.sum())
        people = np.bincount(place[side], minlength=options.bins)
        parts.append(
            pd.DataFrame({"lower": edges[:-1], "upper": edges[1:], "side": name, "people": people,
                          "share": shares[0], "weighted_share": shares[1]})
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def _check(comparison: Comparison, balanced: BalancingWeights | Matching, options: BalanceOptions) -> None:
    faults = []
    if len(balanced.weights) != len(comparison):
        got = f"{len(balanced.weights):,} weights, {len(comparison):,} people"
        faults.append(Fault("balance", "the weights are of other people", got))
    if options.scale not in get_args(Spread):
        faults.append(Fault("scale", "this choice is not known", str(options.scale), ", ".join(get_args(Spread))))
    if not options.limit > 0 or options.bins < 1:
        faults.append(Fault("BalanceOptions", "limit and bins must be positive"))
    if faults:
        raise ParameterError(faults)


def _moments(x: np.ndarray, w: np.ndarray, binary: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means and variances, both (p,)."""
    total = w.sum()
    mean = w @ x / total
    square = w @ (x - mean) ** 2
    loss = total**2 - (w**2).sum()
    variance = square * total / loss if loss > 0 else np.zeros(len(mean))
    return mean, np.where(binary, mean * (1 - mean), variance)


def _scale(
    comparison: Comparison, balanced: BalancingWeights | Matching, binary: np.ndarray, options: BalanceOptions
) -> np.ndarray:
    x, treated, s = comparison.covariates, comparison.treated, comparison.sampling
    one, nought = (_moments(x[side], s[side], binary)[1] for side in (treated, ~treated))
    pooled = np.sqrt((one + nought) / 2)
    estimand = balanced.options.estimand if isinstance(balanced, BalancingWeights) else "ATT"
    by_estimand: dict[str, Spread] = {"ATT": "treated", "ATC": "comparison"}
    named = by_estimand.get(estimand, "pooled") if options.scale == "estimand" else options.scale
    scale = {"treated": np.sqrt(one), "comparison": np.sqrt(nought), "pooled": pooled}[named]
    return np.where(scale > 0, scale, pooled)


def _sides(treated: np.ndarray, before: np.ndarray, after: np.ndarray) -> pd.DataFrame:
    rows = [
        (name, int(side.sum()), compute_effective_size(before[side]), compute_effective_size(after[side]))
        for name, side in (("treated", treated), ("comparison", ~treated))
    ]
    return pd.DataFrame(rows, columns=["side", "people", "effective_before", "effective_after"])


def _checks(table: pd.DataFrame, sides: pd.DataFrame, options: BalanceOptions) -> tuple[Check, ...]:
    checks = []
    if len(table):
        size = table["smd_after"].abs()
        worst, name = float(size.max()), table["covariate"][int(size.to_numpy().argmax())]
        text = f"The largest standardised difference left is {worst:.3f} ({name}); {options.limit:g} or less is wanted."
        checks.append(Check("balance", worst <= options.limit, worst, text))
        ratio = table["variance_ratio_after"].dropna().to_numpy()
        if len(ratio):
            far = float(ratio[np.argmax(np.abs(np.log(np.maximum(ratio, 1e-300))))])
            low, high = RATIO_LIMITS
            text = f"The variance ratio furthest from 1 is {far:.2f}; {low:g} to {high:g} is wanted."
            checks.append(Check("variance_ratio", low <= far <= high, far, text))
        worst = float(table["ks_after"].max())
        text = f"The greatest distance between the two sides' distributions of a covariate is {worst:.3f}."
        checks.append(Check("ks", None, worst, text))
    for row in sides.itertuples():
        few, share = row.effective_after < FEW, row.effective_after / row.people
        size = f"that of fewer than {FEW}" if few else f"{share:.0%} of its people"
        text = f"The effective sample of the {row.side} side is {size} after balancing."
        checks.append(Check(f"effective_{row.side}", None, np.nan if few else row.effective_after, text))
    return tuple(checks)


def _overlap_checks(
    comparison: Comparison, balanced: BalancingWeights | Matching, options: BalanceOptions
) -> tuple[Check, ...]:
    """Overlap coefficient (Weitzman's, over bins) and the share of people beyond the other side's propensities."""
    e, treated = balanced.propensity, comparison.treated
    if not np.isfinite(e).all():
        return ()
    shares = compute_propensity_overlap(comparison, balanced, options=options)
    one, nought = (shares.loc[shares["side"] == side, "share"].to_numpy() for side in ("treated", "comparison"))
    coefficient = float(np.minimum(one, nought).sum())
    low, high = max(e[treated].min(), e[~treated].min()), min(e[treated].max(), e[~treated].max())
    outside = (e < low) | (e > high)
    count, share = int(outside.sum()), float(outside.mean())
    told = f"fewer than {FEW} people" if 0 < count < FEW else f"{share:.1%}"
    return (
        Check("overlap_coefficient", None, coefficient,
              f"The sides' distributions of the propensity share {coefficient:.0%} of their area."),
        Check("outside_common_support", share <= MAX_SHARE_OUTSIDE, np.nan if 0 < count < FEW else share,
              f"Outside the range of propensities that both sides have: {told}; "
              f"at most {MAX_SHARE_OUTSIDE:.0%} is wanted."),
    )  # fmt: skip
