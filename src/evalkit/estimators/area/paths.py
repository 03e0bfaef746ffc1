"""Effects by time from adoption, with what a sensitivity analysis needs of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evalkit.core.estimand import Estimand
from evalkit.core.result import Check


@dataclass(frozen=True)
class EventStudy:
    """Effects at each time from adoption; 0 is the first treated period.

    Attributes
    ----------
    steps : int array, shape (K,)
        Times from adoption, in order, without `reference`.
    value, se, lower, upper : float arrays, shape (K,)
        `lower` and `upper` are pointwise at `level`; NaN where no interval is credible.
    covariance : float array, shape (K, K)
        Of `value`; NaN where the standard error was refused.
    reference : int
        The time from adoption at which the effect is nought by construction.
    uniform : float
        Critical value of a band that holds the whole path at `level`; NaN where none was asked for.
    """

    estimand: Estimand
    estimator: str
    steps: np.ndarray
    value: np.ndarray
    se: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    covariance: np.ndarray
    reference: int
    level: float
    uniform: float = float("nan")
    checks: tuple[Check, ...] = ()

    @property
    def before(self) -> np.ndarray:
        """Which steps lie before adoption, bool, shape (K,)."""
        return self.steps < 0
