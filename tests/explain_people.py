"""Made-up discharges and a model with known coefficients, to test explanation on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit

from evalkit.risk.data import RiskData
from evalkit.risk.resample import draw_person_counts


def make_data(n: int = 2000, *, seed: int = 3, people: int | None = None) -> RiskData:
    rng = np.random.default_rng(seed)
    age, prior = rng.normal(45, 12, n).round(), rng.poisson(1.0, n)
    sex = rng.choice(["female", "male"], n, p=[0.55, 0.45])
    noise = rng.normal(size=n)
    risk = expit(-2.2 + 0.03 * (age - 45) + 0.5 * prior + 0.4 * (sex == "male"))
    return RiskData(
        features=pd.DataFrame({"age": age, "prior": prior, "sex": sex, "noise": noise}),
        outcome=(rng.random(n) < risk).astype(int),
        person=rng.integers(0, people or n, n),
        time=np.full(n, np.datetime64("2014-01-01")),
    )


def with_features(data: RiskData, **columns: object) -> RiskData:
    return data.with_features(data.features.assign(**columns))


def true_risk(features: pd.DataFrame) -> np.ndarray:
    """A model that leans on prior and sex alone."""
    return expit(-2.0 + 0.6 * features["prior"].to_numpy(float) + 0.5 * (features["sex"] == "male").to_numpy())


def counts_of(data: RiskData, replicates: int = 100) -> np.ndarray:
    return draw_person_counts(data.person, replicates=replicates, rng=np.random.default_rng(8))
