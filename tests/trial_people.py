"""People of a world with confounded starting of a programme, its effect and its truth, for tests of emulated trials."""

from __future__ import annotations

import numpy as np
import pandas as pd

GRACE, HORIZON = 90.0, 365.0
START_RATE, EVENT_RATE = 0.008, 0.0012
CONFOUNDING_START, CONFOUNDING_EVENT = 0.5, 0.9
EFFECT = 0.6  # hazard ratio from the start on


def draw_severity(n: int, rng: np.random.Generator) -> np.ndarray:
    # Bounded, so that everybody may start and may wait.
    return rng.uniform(-1.7, 1.7, n)


def draw_start(severity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.exponential(1 / (START_RATE * np.exp(CONFOUNDING_START * severity)))


def draw_event(
    severity: np.ndarray, start: np.ndarray, rng: np.random.Generator, *, effect: float = EFFECT
) -> np.ndarray:
    """Day of the event if the programme is started on `start`."""
    rate = EVENT_RATE * np.exp(CONFOUNDING_EVENT * severity)
    need = rng.exponential(size=len(severity))
    return np.where(need <= rate * start, need / rate, start + (need - rate * start) / (rate * effect))


def draw_people(n: int, rng: np.random.Generator, *, effect: float = EFFECT) -> pd.DataFrame:
    """What is recorded: whole days, losses to follow-up, no start after the end of follow-up."""
    severity = draw_severity(n, rng)
    start = np.ceil(draw_start(severity, rng))
    event = np.ceil(draw_event(severity, start, rng, effect=effect))
    lost = np.minimum(rng.uniform(200, 900, n).round(), HORIZON + 1)
    exit_ = np.minimum(event, lost)
    return pd.DataFrame({
        "person": np.arange(n), "start": np.where(start <= exit_, start, np.nan), "exit": exit_,
        "event": (event <= lost).astype(int), "severity": severity,
    })  # fmt: skip


def compute_truth(rng: np.random.Generator, *, n: int = 1_000_000, effect: float = EFFECT) -> tuple[float, float]:
    """Risks by the horizon if all start within the grace period when starters do, and if nobody starts within it."""
    severity = draw_severity(n, rng)
    start = draw_start(severity, rng)
    planned = rng.choice(start[start <= GRACE], n)
    late = GRACE + draw_start(severity, rng)
    risks = [(draw_event(severity, s, rng, effect=effect) <= HORIZON).mean() for s in (planned, late)]
    return float(risks[0]), float(risks[1])
