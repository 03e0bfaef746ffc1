"""Histories through states for tests: a tiny one by hand, and people followed day by day."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pandas as pd

from evalkit.cohort.history import EventHistory

# Ties, returns, late entry, censoring and moves on one day, made up.
_TINY = """person,weight,start,stop,origin,target
1,0.5,0,4,a,b
1,0.5,4,9,b,a
1,0.5,9,20,a,
2,1.5,0,4,a,b
2,1.5,4,12,b,d
3,2.0,0,7,b,c
3,2.0,7,12,c,a
3,2.0,12,15,a,d
4,1.0,2,9,a,c
4,1.0,9,18,c,
5,0.8,0,9,b,a
5,0.8,9,14,a,c
5,0.8,14,21,c,
6,1.2,3,7,b,d
7,0.7,0,5,a,
8,1.1,0,12,a,b
8,1.1,12,19,b,
9,0.9,1,7,a,c
9,0.9,7,9,c,b
9,0.9,9,16,b,c
9,0.9,16,20,c,
10,1.3,0,14,b,c
10,1.3,14,20,c,
"""
TINY_STATES = ("a", "b", "c", "d")
CELLS = ("treated after", "treated before", "comparison after", "comparison before")


def tiny_rows() -> pd.DataFrame:
    """23 intervals of 10 people in four states, of which d is never left; with a covariate."""
    rows = pd.read_csv(StringIO(_TINY), keep_default_na=False)
    return rows.assign(one=1.0, pair=(rows["person"] + 1) // 2, x=np.where(rows["person"] % 3 == 0, 1.0, 0.2))


def build(rows: pd.DataFrame, **columns: object) -> EventHistory:
    """An EventHistory of `tiny_rows` or rows like it."""
    settings = {"states": TINY_STATES, "absorbing": ("d",)} | columns
    return EventHistory.from_frame(
        rows, person="person", start="start", stop="stop", from_state="origin", to_state="target", **settings
    )


def draw_days(rng: np.random.Generator, n: int, horizon: int, *, leave: float = 0.02) -> np.ndarray:
    """States by day, shape (n, horizon + 1), places in TINY_STATES; the last is never left; nobody is lost."""
    days = np.empty((n, horizon + 1), dtype=np.int64)
    days[:, 0] = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])
    for day in range(1, horizon + 1):
        now = days[:, day - 1]
        goes = (rng.uniform(size=n) < leave) & (now != 3)
        step = rng.choice([1, 2, 3], size=n, p=[0.5, 0.45, 0.05])
        days[:, day] = np.where(goes, np.where(step == 3, 3, (now + step) % 3), now)
    return days


def rows_of_days(days: np.ndarray, *, first_person: int = 0) -> pd.DataFrame:
    """Intervals between moves: somebody in a state on day d and in another on d + 1 moved at time d + 1."""
    rows = []
    for person, path in enumerate(days, first_person):
        moves = np.flatnonzero(path[1:] != path[:-1]) + 1
        begins = np.concatenate([[0], moves])
        ends = np.concatenate([moves, [len(path) - 1]])
        for begin, end in zip(begins, ends, strict=True):
            if end > begin and path[begin] != 3:
                target = TINY_STATES[path[end]] if path[end] != path[begin] else ""
                rows.append((person, begin, end, TINY_STATES[path[begin]], target))
    return pd.DataFrame(rows, columns=["person", "start", "stop", "origin", "target"]).assign(one=1.0)


def four_cells(rng: np.random.Generator, n: int, horizon: int) -> tuple[EventHistory, list[np.ndarray]]:
    """A history of four cells of n people each and their states by day; nobody is lost before the horizon."""
    days = [draw_days(rng, n, horizon, leave=0.03 if k == 0 else 0.02) for k in range(4)]
    frames = [
        rows_of_days(one, first_person=k * n).assign(cell=name)
        for k, (one, name) in enumerate(zip(days, CELLS, strict=True))
    ]
    return build(pd.concat(frames, ignore_index=True), stratum="cell"), days
