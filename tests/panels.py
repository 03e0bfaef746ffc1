"""Panels of known truth for tests."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd

from evalkit.cohort.panel import Panel
from evalkit.core.dates import Window
from evalkit.core.estimand import Estimand
from evalkit.simulate.panels import RATE_PANEL, PanelSettings, simulate_panel

WINDOW = Window(dt.date(2015, 4, 1), dt.date(2018, 7, 1))
ESTIMAND = Estimand("entry", "ATT", "people", WINDOW, "rate_ratio")
DIFFERENCE = Estimand("entry", "ATT", "people", WINDOW, "mean_difference")


def build_panel(frame: pd.DataFrame) -> Panel:
    """The checked panel of a frame that `simulate_panel` drew."""
    return Panel.from_frame(
        frame, unit="unit", period="period", outcome="outcome", adoption="adoption", denominator="person_time"
    )


# Errors that count areas as clusters, or take no account of them, are refused with few treated ones.
NEED_SEVERAL_TREATED = (
    "twfe_cluster", "twfe_newey_west", "twfe_driscoll_kraay", "callaway_santanna", "sun_abraham", "imputation",
)  # fmt: skip


def draw_panel(estimator: str, scale: str, *, seed: object, rho: float = 0.4) -> tuple[Panel, float]:
    """A panel like IPSA's with an effect, and its true parameter; 8 treated for those that need several."""
    start = PanelSettings(effect=0.7) if scale.endswith("ratio") else replace(RATE_PANEL, effect=-1.0)
    settings = replace(start, rho=rho, treated=8 if estimator in NEED_SEVERAL_TREATED else 1)
    frame, _ = simulate_panel(settings, rng=np.random.default_rng(seed))
    return build_panel(frame), settings.effect


def make_panel(
    rng: np.random.Generator,
    *,
    units: int = 33,
    periods: int = 17,
    adopted: int = 4,
    mean: float = 6.0,
    ratio: float = 1.0,
    shock: float = 0.1,
    rho: float = 0.5,
) -> tuple[Panel, float]:
    """One treated unit (the first), Poisson counts with AR(1) unit shocks and unequal sizes; truth realised.

    The effect thins the counts that would have been, so that the true ratio is that of the two counts.
    """
    settings = PanelSettings(
        comparators=units - 1, before=adopted, after=periods - adopted, rho=rho, effect=ratio, mean=mean,
        area_sd=0.0, shock=shock, common_shock=0.0, trend=-0.03,
    )  # fmt: skip
    frame, truth = simulate_panel(settings, rng=rng)
    return build_panel(frame), truth["realised_rate_ratio"]
