"""Made-up discharges in groups, to test fairness on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from evalkit.risk.data import RiskData
from evalkit.risk.fairness import (
    build_group_sample,
)


def make_data(outcome: np.ndarray, groups: dict[str, object], *, person: np.ndarray | None = None) -> RiskData:
    n = len(outcome)
    return RiskData(
        features=pd.DataFrame({"x": np.arange(n) % 5}),
        outcome=outcome,
        person=np.arange(n) if person is None else person,
        time=np.full(n, np.datetime64("2014-01-01")),
        groups=pd.DataFrame(groups),
    )


def oracle_data() -> tuple[np.ndarray, RiskData]:
    """900 discharges by whole-number arithmetic, so that others' numbers can be had from the same ones."""
    i = np.arange(900)
    risk = (i * 37 % 97 + 1) / 99
    outcome = ((i * 53 % 101) / 101 < 0.15 + 0.5 * risk).astype(int)
    levels = np.array(["a", "b", "b", "c", "c", "c", None], dtype=object)[i * 11 % 7]
    return risk, make_data(outcome, {"kind": levels})


def random_data(rng: np.random.Generator, n: int = 3000, *, shift: float = 0.0) -> tuple[np.ndarray, RiskData]:
    person = rng.integers(0, n // 2, n)
    group = rng.choice(["one", "two", "three"], n // 2)[person]
    risk = expit(-1.5 + rng.normal(0, 0.8, n))
    odds = np.log(risk / (1 - risk)) + shift * (group == "two")
    return risk, make_data((rng.random(n) < expit(odds)).astype(int), {"group": group}, person=person)


def sample_of(risk: np.ndarray, data: RiskData, *, replicates: int = 50, seed: int = 1):
    return build_group_sample(risk, data, replicates=replicates, rng=np.random.default_rng(seed))
