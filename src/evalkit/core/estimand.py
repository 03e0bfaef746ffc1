"""What is to be estimated, kept apart from how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evalkit.core.dates import Window

Contrast = Literal["ATT", "ATC", "ATE", "ATO"]
Scale = Literal[
    "risk_difference",
    "risk_ratio",
    "odds_ratio",
    "rate_ratio",
    "hazard_ratio",
    "events_per_person",
    "days_per_person",
    "gbp_per_person_quarter",
    "mean_difference",
    "level_change",
    "slope_change",
    "level_ratio",
    "slope_ratio",
]

UNITS: dict[Scale, str] = {
    "risk_difference": "risk (0 to 1)",
    "risk_ratio": "ratio",
    "odds_ratio": "ratio",
    "rate_ratio": "ratio",
    "hazard_ratio": "ratio",
    "events_per_person": "events per person",
    "days_per_person": "days per person",
    "gbp_per_person_quarter": "GBP per person-quarter",
    "mean_difference": "units of the outcome",
    "level_change": "units of the outcome",
    "slope_change": "units of the outcome per period",
    "level_ratio": "ratio",
    "slope_ratio": "ratio per period",
}

NULL_VALUES: dict[Scale, float] = {
    "risk_difference": 0.0,
    "risk_ratio": 1.0,
    "odds_ratio": 1.0,
    "rate_ratio": 1.0,
    "hazard_ratio": 1.0,
    "events_per_person": 0.0,
    "days_per_person": 0.0,
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

    `contrast` is ATT (effect on those treated), ATC (on those compared with), ATE (on all) or ATO (effect in
    the overlap population, people who might have been on either side; Li, Morgan and Zaslavsky 2018, JASA
    113:390). `events_per_person` and `days_per_person` are differences of means over the estimand's horizon.
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
