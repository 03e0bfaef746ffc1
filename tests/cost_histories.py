"""Censored cost histories with a known mean, and small ones made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.cohort.cost_history import CostHistory

HORIZON = 1000.0
PERIOD = 50.0
QUARTERS = tuple(np.arange(250.0, HORIZON + 1, 250.0))


def build(
    follow_up: list[float], complete: list[int], records: list[tuple[int, float, float, float]], **people: list[object]
) -> CostHistory:
    """People numbered from 0, and records of (person, start, stop, cost)."""
    frame = pd.DataFrame({"person": range(len(follow_up)), "end": follow_up, "complete": complete, **people})
    rows = pd.DataFrame(records, columns=["person", "start", "stop", "cost"])
    named = {name: name for name in ("group", "stratum", "cluster", "weights") if name in people}
    return CostHistory.from_frames(
        frame, rows, person="person", follow_up="end", complete="complete", start="start", stop="stop", cost="cost",
        covariates=tuple(name for name in people if name.startswith("x")), **named,
    )  # fmt: skip


def draw(seed: int, *, n: int = 300, by_covariate: bool = False, saving: float = 0.2) -> CostHistory:
    """Two groups who die, cost more before death and by severity x, and are lost over time; group 1 costs less.

    With `by_covariate` the severe are lost sooner. Deaths and losses fall on whole days. Costs are of periods of 50
    days: a fixed part at the start, a part by severity, and a fixed one in the period of death.
    """
    rng = np.random.default_rng(seed)
    group = np.arange(n) % 2
    x = rng.normal(size=n)
    death = np.ceil(rng.exponential(1500 * np.exp(-0.5 * x)))
    lost = np.ceil(rng.exponential(1300 * np.exp(-0.8 * x) if by_covariate else 1300.0, n))
    end = np.minimum(np.minimum(death, lost), HORIZON)
    complete = (death <= lost) & (death < HORIZON) | (end >= HORIZON)
    starts = np.arange(0.0, HORIZON, PERIOD)
    level = np.exp(0.5 * x) * (1 - saving * group) * rng.gamma(2, 0.5, n)
    daily = level[:, None] * (10 + 20 * np.exp(-starts / 200))
    begun = np.clip(np.minimum(end[:, None], starts + PERIOD) - starts, 0, None)
    costs = daily * begun
    last = (death <= lost) & (death < HORIZON)
    costs[last, ((end[last] - 1) // PERIOD).astype(int)] += 1000.0
    people = pd.DataFrame({"end": end, "complete": complete, "group": group, "x": x})
    return CostHistory.from_periods(
        people, costs, bounds_days=np.append(starts, HORIZON), follow_up="end", complete="complete", group="group",
        covariates=("x",),
    )  # fmt: skip


def compute_truth(*, saving: float = 0.2, n: int = 400_000) -> np.ndarray:
    """Mean cost to the horizon of both groups with nobody lost, shape (2,), by many draws of the same people."""
    rng = np.random.default_rng(10**6)
    x = rng.normal(size=n)
    death = np.ceil(rng.exponential(1500 * np.exp(-0.5 * x)))
    end = np.minimum(death, HORIZON)
    starts = np.arange(0.0, HORIZON, PERIOD)
    level = np.exp(0.5 * x)
    daily = 10 + 20 * np.exp(-starts / 200)
    spent = sum(
        np.clip(np.minimum(end, start + PERIOD) - start, 0, None) * rate
        for start, rate in zip(starts, daily, strict=True)
    )
    usual = (level * spent).mean()
    last = 1000.0 * (death < HORIZON).mean()
    return np.array([usual + last, usual * (1 - saving) + last])
