"""Panels of areas by quarters whose effect is known: a quick stand-in for a whole world."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from evalkit.core.errors import Fault, ParameterError

Kind = Literal["counts", "rates"]


@dataclass(frozen=True)
class PanelSettings:
    """What `simulate_panel` draws from; the defaults are a panel like IPSA's.

    `kind` "counts" draws Poisson events with person-time; "rates" draws Gaussian rates. For counts
    `area_sd`, `shock` and `common_shock` are standard deviations of log rates, `trend` is the change
    of the log rate a quarter and `effect` a ratio (1 for none); for rates they are all in units of the
    rate, and `effect` is a difference (0 for none).

    `mean` is the events a quarter of an area of size 1, or the mean rate. Areas differ in size by the
    factors of `sizes` and in level by `area_sd`. Area shocks are stationary AR(1) with coefficient
    `rho` and standard deviation `shock`; all areas share the trend and independent common shocks.
    The first of the `treated` areas adopts after `before` quarters, each further one `stagger`
    quarters later. Treated areas are drawn as the others are, so that areas are exchangeable.
    """

    kind: Kind = "counts"
    treated: int = 1
    comparators: int = 30
    before: int = 12
    after: int = 13
    stagger: int = 0
    rho: float = 0.4
    effect: float = 1.0
    mean: float = 12.0
    sizes: tuple[float, float] = (0.5, 1.8)
    area_sd: float = 0.2
    shock: float = 0.15
    common_shock: float = 0.1
    trend: float = -0.02


RATE_PANEL = PanelSettings(
    kind="rates", effect=0.0, mean=20.0, area_sd=3.0, shock=1.0, common_shock=0.5, trend=-0.1
)  # rates in which one shock of an area is one unit


def simulate_panel(settings: PanelSettings, *, rng: np.random.Generator) -> tuple[pd.DataFrame, dict[str, float]]:
    """Draw one panel: one row a unit and quarter, and the true effect by name.

    Columns `unit` (treated first), `period` (0, 1, ...), `outcome`, `person_time`, `adoption` (NaN for
    never). For rates `outcome` is rate times person-time, so that outcome over person-time is the rate.

    The truth under the name of a scale is the parameter: for counts `rate_ratio`, the ratio of expected
    events with and without the service; for rates `mean_difference`. Counts also have
    `realised_rate_ratio`: treated events after adoption over those that the same areas would have had.
    A ratio below 1 thins what would have been and one above 1 adds to it, so that both are Poisson.

    Raises ParameterError, all faults at once, for settings out of range.
    """
    _check_settings(settings)
    units, periods = settings.treated + settings.comparators, settings.before + settings.after
    # The effect is drawn last, so that panels of one seed are alike but for it.
    size = rng.uniform(*settings.sizes, units)
    level = rng.normal(0, settings.area_sd, units)
    common = rng.normal(0, settings.common_shock, periods) + settings.trend * np.arange(periods)
    predictor = level[:, None] + common + _shocks(settings, units, periods, rng)
    adoption = np.full(units, np.nan)
    adoption[: settings.treated] = settings.before + settings.stagger * np.arange(settings.treated)
    after = np.arange(periods) >= np.where(np.isnan(adoption), np.inf, adoption)[:, None]
    person_time = np.tile(size[:, None] * 100, periods)
    if settings.kind == "counts":
        expected = settings.mean * size[:, None] * np.exp(predictor)
        untreated = rng.poisson(expected).astype(float)
        outcome = _with_ratio(untreated, expected, after, settings.effect, rng)
        truth = {
            "rate_ratio": settings.effect,
            "realised_rate_ratio": float(outcome[after].sum() / max(untreated[after].sum(), 1)),
        }
    else:
        outcome = (settings.mean + predictor + settings.effect * after) * person_time
        truth = {"mean_difference": settings.effect}
    width = max(2, len(str(units - 1)))
    frame = pd.DataFrame(
        {
            "unit": np.repeat([f"area {i:0{width}d}" for i in range(units)], periods),
            "period": np.tile(np.arange(periods, dtype=float), units),
            "outcome": outcome.ravel(),
            "person_time": person_time.ravel(),
            "adoption": np.repeat(adoption, periods),
        }
    )
    return frame, truth


def _shocks(settings: PanelSettings, units: int, periods: int, rng: np.random.Generator) -> np.ndarray:
    """Stationary AR(1) shocks, shape (units, periods)."""
    shocks = rng.normal(0, settings.shock, (units, periods))
    shocks[:, 1:] *= np.sqrt(1 - settings.rho**2)
    for t in range(1, periods):
        shocks[:, t] += settings.rho * shocks[:, t - 1]
    return shocks


def _with_ratio(
    untreated: np.ndarray, expected: np.ndarray, after: np.ndarray, ratio: float, rng: np.random.Generator
) -> np.ndarray:
    outcome = untreated.copy()
    if ratio <= 1:
        outcome[after] = rng.binomial(untreated[after].astype(int), ratio)
    else:
        outcome[after] += rng.poisson(expected[after] * (ratio - 1))
    return outcome


def _check_settings(settings: PanelSettings) -> None:
    periods = settings.before + settings.after
    last = settings.before + settings.stagger * (settings.treated - 1)
    wrong = [
        ("kind", settings.kind not in ("counts", "rates"), "counts or rates"),
        ("treated", settings.treated < 1, "1 or more"),
        ("comparators", settings.comparators < 0, "0 or more"),
        ("before", settings.before < 1, "1 or more"),
        ("after", settings.after < 1, "1 or more"),
        ("stagger", settings.stagger < 0 or last >= periods, "0 or more, with every adoption inside the panel"),
        ("rho", not -1 < settings.rho < 1, "above -1 and below 1"),
        ("effect", settings.kind == "counts" and settings.effect < 0, "0 or more for counts"),
        ("mean", settings.kind == "counts" and settings.mean <= 0, "above 0 for counts"),
        ("sizes", not 0 < settings.sizes[0] <= settings.sizes[1], "two sizes above 0, the smaller first"),
        *((name, getattr(settings, name) < 0, "0 or more") for name in ("area_sd", "shock", "common_shock")),
    ]
    faults = [
        Fault("panel settings", f'"{name}" is out of range', got=str(getattr(settings, name)), allowed=allowed)
        for name, bad, allowed in wrong
        if bad
    ]
    if faults:
        raise ParameterError(faults)
