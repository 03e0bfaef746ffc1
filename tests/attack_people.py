"""Made-up people, their histories and questions about them, for the tests that attack them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.history import EventHistory
from evalkit.core.estimand import Estimand, Scale
from evalkit.core.result import Estimate
from evalkit.estimators.survival.curve_contrasts import ContrastOptions, estimate_risk_difference
from tests.curve_people import draw_competing, follow
from tests.panels import ESTIMAND

STATES = ("ward", "home", "dead")


def asked(scale: Scale) -> Estimand:
    return replace(ESTIMAND, scale=scale)


def people(n: int = 200) -> pd.DataFrame:
    df, rng = draw_competing(n), np.random.default_rng(8)
    return df.assign(x=rng.normal(size=n), z=rng.integers(0, 2, n), kind=rng.choice(["p", "q", "r"], n))


def grouped(df: pd.DataFrame | None = None, **columns: str) -> FollowUp:
    named = {"stratum": "group", "covariates": ("x", "z")} | columns
    return follow(people() if df is None else df, **named)


def moves(n: int = 80) -> pd.DataFrame:
    """Ward and home in turn on whole days, some die; four cells of equal size."""
    rng, rows = np.random.default_rng(5), []
    for who in range(n):
        now, state, end = 0.0, 0, float(rng.integers(40, 80))
        while now < end and state < 2:
            stop, to = now + float(rng.integers(1, 30)), 2 if rng.random() < 0.1 else 1 - state
            rows.append((who, who % 4, now, min(stop, end), STATES[state], STATES[to] if stop < end else ""))
            now, state = stop, to
    df = pd.DataFrame(rows, columns=["who", "cell", "begin", "end", "from", "to"])
    return df.assign(age=rng.normal(size=n)[df["who"]], w=1.0)


def history(df: pd.DataFrame | None = None, **columns: object) -> EventHistory:
    named = {"person": "who", "start": "begin", "stop": "end", "from_state": "from", "to_state": "to",
             "states": STATES, "absorbing": ("dead",)} | columns  # fmt: skip
    return EventHistory.from_frame(moves() if df is None else df, **named)


def risk_difference(
    follow_up: FollowUp | None = None, *, at: object = 60.0, options: ContrastOptions | None = None
) -> Estimate:
    f = grouped() if follow_up is None else follow_up
    return estimate_risk_difference(f, asked("risk_difference"), at=at, options=options, role="primary")
