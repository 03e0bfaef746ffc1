"""Small made-up follow-ups for the tests of curves."""

from __future__ import annotations

import numpy as np
import pandas as pd

from evalkit.cohort.follow_up import FollowUp


def draw_competing(n: int = 300, *, seed: int = 1, whole_days: bool = True) -> pd.DataFrame:
    """Late entries, ties, two causes, weights, clusters of about five: one row a person."""
    rng = np.random.default_rng(seed)
    times = np.stack([rng.exponential(scale, n) for scale in (60, 90, 70)])
    entry = rng.exponential(10, n) * (rng.random(n) < 0.5)
    length = times.min(axis=0) + 0.5
    if whole_days:
        entry, length = np.floor(entry), np.ceil(length)
    return pd.DataFrame(
        {
            "person": np.arange(n),
            "cluster": rng.integers(0, n // 5, n),
            "group": np.where(rng.random(n) < 0.5, "alliance", "usual"),
            "entry": entry,
            "exit": entry + length,
            "event": np.choose(times.argmin(axis=0), [1, 2, 0]),
            "weight": rng.uniform(0.3, 3.0, n),
        }
    )


def draw_recurrent(n: int = 120, *, seed: int = 2) -> pd.DataFrame:
    """Admissions with a frailty, ended by death or censoring; one row an interval, whole days."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(n):
        frailty, now = rng.gamma(2.0, 0.5), 0.0
        end, died = min((np.ceil(rng.exponential(150)), 2), (np.ceil(rng.uniform(60, 200)), 0))
        weight, group = rng.uniform(0.5, 2.0), ["usual", "alliance"][person % 2]
        while now < end:
            after = now + np.ceil(rng.exponential(50 / frailty))
            stop, event = (after, 1) if after < end else (end, died)
            rows.append((person, person // 3, group, now, stop, event, weight))
            now = stop
    return pd.DataFrame(rows, columns=["person", "cluster", "group", "entry", "exit", "event", "weight"])


def follow(df: pd.DataFrame, **columns: object) -> FollowUp:
    """Follow-up with entries and two causes; other columns as named."""
    named = {"entry": "entry", "person": "person", "causes": ("readmission", "death")} | columns
    return FollowUp.from_frame(df, exit="exit", event="event", **named)
