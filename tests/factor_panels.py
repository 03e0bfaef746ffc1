"""Panels of factors and noise on which synthetic controls can be told right from wrong."""

from __future__ import annotations

import numpy as np

from evalkit.cohort.panel import Panel


def make_values(
    *, units: int = 16, periods: int = 20, first: int = 12, seed: int = 0, effect: float = 5.0
) -> np.ndarray:
    """Three factors and a little noise; unit 0 lies inside the others and moves by `effect` from `first` on."""
    rng = np.random.default_rng(seed)
    factors = np.cumsum(rng.normal(size=(3, periods)), axis=1)
    loadings = rng.dirichlet(np.ones(3), units)
    loadings[0] = loadings[1:6].mean(axis=0)
    values = 50 + 3 * loadings @ factors + rng.normal(0, 0.05, (units, periods))
    values[0, first:] += effect
    return values


def make_panel(values: np.ndarray, *, first: int = 12, treated: tuple[int, ...] = (0,), **more: np.ndarray) -> Panel:
    units, periods = values.shape
    adoption = np.where(np.isin(np.arange(units), treated), float(first), np.nan)
    names = np.array([f"area {i:02d}" for i in range(units)])
    parts = {"denominator": np.ones_like(values), "covariates": np.empty((units, periods, 0))} | more
    return Panel(names, np.arange(periods, dtype=float), values, adoption=adoption, **parts)


def one(values: np.ndarray, place: int = 0) -> dict[str, np.ndarray]:
    treated = (np.arange(values.shape[-2]) == place)[None]
    return {"treated": treated, "donors": ~treated}


def make_predictors(values: np.ndarray) -> np.ndarray:
    return np.column_stack([values[:, :4].mean(axis=1), values[:, 4:8].mean(axis=1), values[:, 8:12].std(axis=1)])
