"""What a synthetic control's reader must know before believing it, as checks."""

from __future__ import annotations

import math

import numpy as np

from evalkit.cohort.panel import Panel
from evalkit.core.result import Check
from evalkit.estimators.area.contrasts import Counterfactual

# Gaps larger than half the treated unit's own spread leave a quarter of its variance unexplained.
FIT_LIMIT = 0.5
MIN_EFFECTIVE_DONORS = 2.0
# With fewer periods a good fit is easily had by chance (Abadie 2021, J. Economic Literature 59:391, section 5).
COMFORTABLE_PERIODS = 10
_EXTREME = 1e-9


def check_fit(paths: Counterfactual, *, level_free: bool) -> Check:
    """Root mean squared gap before adoption over the standard deviation of the observed path before adoption.

    `level_free` takes the mean gap out first, for designs that do not claim to meet the level. The check
    fails above `FIT_LIMIT`, at which the design leaves a quarter of the variance unexplained.
    """
    gap, observed = paths.gap[0, : paths.first], paths.observed[0, : paths.first]
    gap = gap - gap.mean() if level_free else gap
    rmspe, own = float(np.sqrt((gap**2).mean())), float(observed.std())
    small = rmspe <= _EXTREME * max(float(np.abs(observed).max()), 1e-300)
    relative = 0.0 if small else (rmspe / own if own > 0 else math.inf)
    how = ", level aside," if level_free else ""
    text = (
        f"Before adoption the gap{how} has a root mean square of {rmspe:.3g}, {relative:.2f} times the standard "
        f"deviation of the treated path; above {FIT_LIMIT:g} the comparison does not follow the treated."
    )
    return Check("pre_period_fit", relative <= FIT_LIMIT, relative, text)


def check_rmspe(paths: Counterfactual) -> Check:
    """Root mean squared gap before adoption, in the outcome's units; it only informs."""
    rmspe = float(paths.pre_rmspe[0])
    return Check("pre_period_rmspe", None, rmspe, f"Root mean squared gap before adoption: {rmspe:.4g}.")


def check_donors(weights: np.ndarray, donors: np.ndarray, units: np.ndarray) -> tuple[Check, Check]:
    """Effective number of donors, (sum |w|)^2 / sum w^2, and the largest weight; `weights` (J,)."""
    size = np.abs(np.where(donors, weights, 0.0))
    effective = float(size.sum() ** 2 / (size**2).sum())
    largest = int(size.argmax())
    enough = effective >= min(MIN_EFFECTIVE_DONORS, int(donors.sum()))
    text = f"Weights are worth {effective:.1f} donors of equal weight, of {int(donors.sum())} that there are."
    if not enough:
        text += " The answer rests on little more than one of them."
    lead = f'The largest weight, {weights[largest]:.2f}, is that of "{units[largest]}".'
    return (
        Check("effective_donors", enough, effective, text),
        Check("largest_weight", None, float(weights[largest]), lead),
    )


def check_periods(first: int) -> Check:
    """Number of periods before adoption, by which weights are chosen; fails below `COMFORTABLE_PERIODS`."""
    text = f"Weights were chosen on {first} periods before adoption"
    enough = first >= COMFORTABLE_PERIODS
    text += "." if enough else f"; with fewer than {COMFORTABLE_PERIODS} a good fit is easily had by chance."
    return Check("pre_periods", enough, float(first), text)


def check_weights(panel: Panel) -> tuple[Check, ...]:
    """The failed check "weights" where the panel's weights differ, which this analysis does not use."""
    if np.ptp(panel.weights) == 0:
        return ()
    return (Check("weights", False, math.nan, "The panel's weights are not used: every area counts alike."),)


def check_within(value: float, lower: float, upper: float) -> tuple[Check, ...]:
    """The failed check "estimate_within_interval" where it is not.

    A conformal test fits weights on all periods, as if the effect were the candidate, the estimate on those before.
    """
    if not (value < lower or value > upper):
        return ()
    text = (
        "The estimate lies outside its own interval: the test chooses weights anew on all periods, and these "
        "foretell another effect than those chosen before adoption. Neither should be relied on alone."
    )
    return (Check("estimate_within_interval", False, value, text),)


def check_hull(target: np.ndarray, donors: np.ndarray, *, what: str) -> Check:
    """Share of the treated unit's values (n,) outside the range of its donors' (J, n): no mixture can meet them."""
    slack = _EXTREME * np.maximum(np.abs(target), 1e-300)
    outside = (target < donors.min(axis=0) - slack) | (target > donors.max(axis=0) + slack)
    share = float(outside.mean())
    text = f"{int(outside.sum())} of {len(target)} {what} of the treated lie outside the donors' range"
    text += "." if share == 0 else ", where no mixture of donors can reach; an intercept (synthetic DiD) might help."
    return Check("within_donors_range", share == 0, share, text)
