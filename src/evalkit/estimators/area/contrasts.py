"""What would have been: observed and expected paths of treated units, whatever design foretold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from evalkit.core.errors import Fault, NotEstimable


@dataclass(frozen=True)
class Counterfactual:
    """Paths of the treated and of what stands for them without treatment, for A assignments of treatment.

    Attributes
    ----------
    observed, expected : float arrays, shape (A, T)
        Mean outcome of the assigned units, and what the design expects of them untreated.
    first : int
        Place of the first treated period; `[0, first)` is before.
    unit_weights : float array, shape (A, J), or None where the design has none
    time_weights : float array, shape (A, first), or None
        Weights of the periods before; each row adds to 1, or to 0 where levels are not differenced.
    """

    observed: np.ndarray
    expected: np.ndarray
    first: int
    unit_weights: np.ndarray | None = None
    time_weights: np.ndarray | None = None

    @property
    def gap(self) -> np.ndarray:
        """Observed less expected, shape (A, T)."""
        return self.observed - self.expected

    @property
    def effect(self) -> np.ndarray:
        """Mean gap after adoption, shape (A,): the average effect on the treated."""
        return self.gap[:, self.first :].mean(axis=1)

    @property
    def ratio(self) -> np.ndarray:
        """Observed over expected after adoption, shape (A,); NaN where nothing was expected."""
        expected = self.expected[:, self.first :].sum(axis=1)
        observed = self.observed[:, self.first :].sum(axis=1)
        return np.divide(observed, expected, out=np.full_like(observed, np.nan), where=expected > 0)

    @property
    def pre_rmspe(self) -> np.ndarray:
        """Root mean squared gap before adoption, shape (A,)."""
        return np.sqrt((self.gap[:, : self.first] ** 2).mean(axis=1))

    @property
    def post_rmspe(self) -> np.ndarray:
        """Root mean squared gap after adoption, shape (A,)."""
        return np.sqrt((self.gap[:, self.first :] ** 2).mean(axis=1))


class Design(Protocol):
    """A way to foretell treated outcomes, for all assignments of treatment at once.

    Shapes: `values` (J, T) or (A, J, T); `treated` and `donors` bool (A, J); `first` the place of the
    first treated period. A treated set is averaged over its units. Must not read `values` of units
    that are neither treated nor donors, nor choose weights by treated values at or after `first`.
    """

    def __call__(
        self, values: np.ndarray, *, treated: np.ndarray, donors: np.ndarray, first: int
    ) -> Counterfactual: ...


def shared_start(adoption: np.ndarray, periods: np.ndarray) -> int:
    """Place of the first period that begins at or after the one adoption that all treated units share.

    Raises NotEstimable where treated units start at different times, or nothing lies before or after.
    """
    starts = adoption[~np.isnan(adoption) if adoption.dtype.kind == "f" else ~np.isnat(adoption)]
    if len(np.unique(starts)) != 1:
        raise NotEstimable(
            Fault(
                "panel",
                "this design needs one adoption period shared by all treated units",
                got=f"{len(np.unique(starts))} different ones",
                next_step="Use a staggered design, or analyse one adoption period at a time.",
            )
        )
    first = int(np.searchsorted(periods, starts[0]))
    if not 0 < first < len(periods):
        raise NotEstimable(Fault("panel", "adoption leaves no period before it or none after it"))
    return first


def one_start(adoption: np.ndarray, periods: np.ndarray) -> int:
    """As `shared_start`, and refuses an adoption inside a period: half treated, it is neither before nor after.

    Raises NotEstimable as `shared_start`, and where a period of the panel holds the adoption within it.
    """
    first = shared_start(adoption, periods)
    start = adoption[~np.isnan(adoption) if adoption.dtype.kind == "f" else ~np.isnat(adoption)][0]
    # The shortest step is the length of a period, though some may have been left out.
    if periods[first - 1] < start < periods[first - 1] + np.diff(periods).min():
        raise NotEstimable(
            Fault(
                "panel",
                "adoption falls inside a period, which is then neither before nor after",
                next_step="Leave that period out: panel.without(its start, the start of the next).",
            )
        )
    return first
