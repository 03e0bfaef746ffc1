"""Gaussian and Poisson panels put together by hand for tests of difference-in-differences."""

from __future__ import annotations

import numpy as np

from evalkit.cohort.panel import Panel


def autoregressive(rng: np.random.Generator, *, shape: tuple[int, ...], rho: float) -> np.ndarray:
    """Stationary AR(1) of variance 1 along the last axis."""
    noise = rng.standard_normal(shape)
    for t in range(1, shape[-1]):
        noise[..., t] = rho * noise[..., t - 1] + np.sqrt(1 - rho**2) * noise[..., t]
    return noise


def did_panel(
    rng: np.random.Generator,
    *,
    units: int = 33,
    periods: int = 25,
    before: int = 12,
    treated: int = 8,
    rho: float = 0.6,
    effect: float = 0.0,
    stagger: int = 0,
    family: str = "gaussian",
    covariates: int = 0,
) -> Panel:
    """The first units treated, each `stagger` periods after the one before; `effect` added, to logs with "poisson"."""
    noise = autoregressive(rng, shape=(units, periods), rho=rho)
    level = noise + rng.standard_normal((units, 1)) + rng.standard_normal((1, periods))
    starts = np.where(np.arange(units) < treated, before + stagger * np.arange(units), np.nan)
    exposed = np.arange(periods) >= starts[:, None]
    denominator = np.ones((units, periods))
    if family == "poisson":
        denominator = rng.uniform(50, 150, (units, 1)) * np.ones((1, periods))
        outcome = rng.poisson(denominator * np.exp(-2 + 0.1 * level + effect * exposed)).astype(float)
    else:
        outcome = level + effect * exposed
    extra = rng.standard_normal((units, periods, covariates))
    names = np.array([f"area {i:02d}" for i in range(units)])
    return Panel(
        names,
        np.arange(periods, dtype=float),
        outcome,
        denominator,
        starts.astype(float),
        extra,
        tuple(f"x{k}" for k in range(covariates)),
    )
