"""Small comparisons of people with known models, for tests of effects."""

from __future__ import annotations

import datetime as dt
from typing import Literal

import numpy as np
import pandas as pd
from scipy import special

from evalkit.cohort.comparison import Comparison
from evalkit.core.dates import Window
from evalkit.core.estimand import Contrast, Estimand, Scale

Kind = Literal["binary", "count", "mean"]
KIND: dict[str, Kind] = {
    "risk_difference": "binary", "risk_ratio": "binary", "odds_ratio": "binary", "rate_ratio": "count",
    "mean_difference": "mean",
}  # fmt: skip


def make_estimand(contrast: Contrast, scale: Scale) -> Estimand:
    return Estimand("outcome", contrast, "everybody", Window(dt.date(2020, 1, 1), dt.date(2021, 1, 1)), scale)


def make_frame(
    kind: Kind, *, people: int = 400, seed: int = 0, effect: float = 0.4, hidden: float = 0.0
) -> pd.DataFrame:
    """People with three covariates, four to a cluster, whose treatment and outcomes follow logistic or linear models.

    The effect is `effect` + 0.3 x1 on the scale of the linear predictor. What nobody sees, u, makes before and after
    of a person alike, and decides on treatment too where `hidden` is not nought.
    """
    rng = np.random.default_rng(seed)
    x, g, u = rng.normal(size=(people, 2)), rng.binomial(1, 0.4, people), 0.5 * rng.normal(size=people)
    treated = rng.random(people) < special.expit(_propensity(x, g) + hidden * u)
    before, nought, one = _predictors(x, g, u, effect)
    after = np.where(treated, one, nought)
    time = rng.uniform(0.3, 1.0, people)
    if kind == "binary":
        y, b = (rng.random(people) < special.expit(eta) for eta in (after, before))
    elif kind == "count":
        y, b = rng.poisson(np.exp(after) * time), rng.poisson(np.exp(before))
    else:
        y, b = (eta + rng.normal(size=people) for eta in (after, before))
    return pd.DataFrame({
        "treated": treated.astype(int), "x0": x[:, 0], "x1": x[:, 1], "g": g, "y": np.asarray(y, float),
        "b": np.asarray(b, float), "time": time, "sampling": rng.uniform(0.5, 2.0, people),
        "cluster": np.arange(people) // 4,
    })  # fmt: skip


def compute_truth(contrast: Contrast, scale: Scale, *, effect: float = 0.4, hidden: float = 0.0) -> float:
    """The effect in a million people of `make_frame`, whose risks and rates are known; Monte-Carlo error about 0.001.

    Each lives once on either side. Ratios are logarithms.
    """
    rng, people = np.random.default_rng(1), 1_000_000
    x, g, u = rng.normal(size=(people, 2)), rng.binomial(1, 0.4, people), 0.5 * rng.normal(size=people)
    e = special.expit(_propensity(x, g) + hidden * u)
    tilt = {"ATT": e, "ATC": 1 - e, "ATE": np.ones(people), "ATO": e * (1 - e)}[contrast]
    mean = {"binary": special.expit, "count": np.exp, "mean": lambda eta: eta}[KIND[scale]]
    nought, one = (np.average(mean(eta), weights=tilt) for eta in _predictors(x, g, u, effect)[1:])
    if scale == "odds_ratio":
        return float(special.logit(one) - special.logit(nought))
    return float(np.log(one / nought) if scale.endswith("ratio") else one - nought)


def _propensity(x: np.ndarray, g: np.ndarray) -> np.ndarray:
    return -0.3 + 0.6 * x[:, 0] - 0.4 * x[:, 1] + 0.3 * g


def _predictors(x: np.ndarray, g: np.ndarray, u: np.ndarray, effect: float) -> tuple[np.ndarray, ...]:
    """Before, and after without and with treatment."""
    nought = -0.5 + 0.5 * x[:, 0] + 0.3 * g + u
    return -0.4 + 0.4 * x[:, 0] + u, nought, nought + effect + 0.3 * x[:, 1]


def make_comparison(
    kind: Kind, frame: pd.DataFrame | None = None, *, covariates: tuple[str, ...] = ("x0", "x1", "g"), **columns: str
) -> Comparison:
    """A comparison of `make_frame`, with sampling weights and clusters unless `columns` says otherwise."""
    chosen = {"cluster": "cluster", "sampling": "sampling", "before": "b"} | columns
    chosen = {key: name for key, name in chosen.items() if name}
    if kind == "count":
        chosen.setdefault("person_time", "time")
    frame = make_frame(kind) if frame is None else frame
    return Comparison.from_frame(frame, treatment="treated", covariates=covariates, outcome="y", **chosen)
