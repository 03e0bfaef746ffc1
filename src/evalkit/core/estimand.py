"""What is to be estimated, kept apart from how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evalkit.core.dates import Window

Contrast = Literal["ATT", "ATO"]
Scale = Literal[
    "risk_difference",
    "rate_ratio",
    "gbp_per_person_quarter",
    "mean_difference",
    "level_change",
    "slope_change",
    "level_ratio",
    "slope_ratio",
]

UNITS: dict[Scale, str] = {
    "risk_difference": "risk (0 to 1)",
    "rate_ratio": "ratio",
    "gbp_per_person_quarter": "GBP per person-quarter",
    "mean_difference": "units of the outcome",
    "level_change": "units of the outcome",
    "slope_change": "units of the outcome per period",
    "level_ratio": "ratio",
    "slope_ratio": "ratio per period",
}

NULL_VALUES: dict[Scale, float] = {
    "risk_difference": 0.0,
    "rate_ratio": 1.0,
    "gbp_per_person_quarter": 0.0,
    "mean_difference": 0.0,
    "level_change": 0.0,
    "slope_change": 0.0,
    "level_ratio": 1.0,
    "slope_ratio": 1.0,
}


@dataclass(frozen=True)
class Estimand:
    """A contrast of an outcome in a population over a window, on a scale.

    `contrast` is ATT (effect on those treated) or ATO (effect in the overlap population, people who
    might have been in either area; Li, Morgan and Zaslavsky 2018, JASA 113:390).
    """

    outcome: str
    contrast: Contrast
    population: str
    window: Window
    scale: Scale

    @property
    def key(self) -> str:
        """The name shared by results and truth: `outcome.scale`."""
        return f"{self.outcome}.{self.scale}"

    @property
    def unit(self) -> str:
        return UNITS[self.scale]

    @property
    def null_value(self) -> float:
        """The value that means 'no effect'."""
        return NULL_VALUES[self.scale]
