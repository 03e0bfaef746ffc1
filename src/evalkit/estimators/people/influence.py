"""From means of two sides and their influence values to a contrast and its clustered standard error.

Influence values here are of the sum, not of the mean: an estimate differs from the truth by about their sum, so that
the variance is the sum over clusters of squared cluster totals (CR0).

Source: Stefanski and Boos 2002, American Statistician 56:29 (M-estimation); Tsiatis 2006, Semiparametric Theory and
Missing Data, chapters 3 and 7.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy import stats

from evalkit.core.estimand import Estimand, Scale
from evalkit.core.result import Check, Estimate, Role

Correction = Literal["none", "clusters", "leverage", "jackknife"]
RATIOS = ("risk_ratio", "odds_ratio", "rate_ratio")


def compute_contrast(means: np.ndarray, scale: Scale) -> np.ndarray:
    """Contrast of means (..., 2), comparison then treated, or (..., 4) with both sides before, shape (...).

    Ratios are logarithms. With four means it is what happened to the treated less what happened to the comparison,
    as a difference or, for a rate ratio, as (treated after / before) / (comparison after / before).
    """
    if scale in RATIOS:
        means = np.log(means / (1 - means)) if scale == "odds_ratio" else np.log(means)
    change = means[..., 1] - means[..., 0]
    return change if means.shape[-1] == 2 else change - (means[..., 3] - means[..., 2])


def compute_gradient(means: np.ndarray, scale: Scale) -> np.ndarray:
    """Derivative of `compute_contrast` by each of the means (2,) or (4,)."""
    signs = np.array([-1.0, 1.0, 1.0, -1.0])[: len(means)]
    if scale == "odds_ratio":
        return signs / (means * (1 - means))
    return signs / means if scale in RATIOS else signs


def sum_clusters(values: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Totals of values (n,) or (n, k) by cluster code, shape (G,) or (G, k)."""
    _, group = np.unique(cluster, return_inverse=True)
    if values.ndim == 1:
        return np.bincount(group, weights=values)
    return np.column_stack([np.bincount(group, weights=column) for column in values.T])


def compute_clustered_error(
    influence: np.ndarray, cluster: np.ndarray, correction: Correction, left_out: np.ndarray | None = None
) -> float:
    """Standard error from influence values (n,) and `left_out` (n,), what leaving out a person's cluster takes away.

    With a_g and b_g their totals over G clusters the variance is sum a_g^2 (CR0, "none"), G / (G - 1) times that
    ("clusters"), sum a_g b_g ("leverage": HC2 and CR2 in linear models, unbiased where residuals are independent of
    one variance; never below CR0), or (G - 1) / G sum b_g^2 ("jackknife": HC3 and CR3, too large on average).

    Source: MacKinnon and White 1985, J Econometrics 29:305; Bell and McCaffrey 2002, Survey Methodology 28:169.
    """
    a = sum_clusters(influence, cluster)
    groups, plain = len(a), float(a @ a)
    if correction in ("none", "clusters"):
        return math.sqrt(plain * (groups / (groups - 1) if correction == "clusters" else 1.0))
    b = sum_clusters(left_out, cluster)
    return math.sqrt(max(plain, float(a @ b)) if correction == "leverage" else (groups - 1) / groups * float(b @ b))


def build_estimate(
    estimand: Estimand,
    estimator: str,
    *,
    role: Role,
    value: float,
    se: float,
    level: float,
    label: str,
    n_people: int,
    n_events: float,
    checks: tuple[Check, ...],
    degrees: float = math.inf,
) -> Estimate:
    """An estimate from a contrast and its error, both on the log scale for ratios.

    The interval of a ratio is exp(log value -/+ q se), q a quantile of t with `degrees` of freedom (normal by
    default); its `se` stays that of the logarithm.
    """
    half = stats.t.ppf(0.5 + level / 2, degrees) * se
    ends = np.array([value, value - half, value + half])
    shown = np.exp(ends) if estimand.scale in RATIOS else ends
    p_value = float(2 * stats.t.sf(abs(value) / se, degrees)) if se > 0 else math.nan
    return Estimate(
        estimand, estimator, role, float(shown[0]), float(shown[1]), float(shown[2]), level,
        n_people=float(n_people), n_events=float(n_events), se=float(se), p_value=p_value, checks=checks, label=label,
    )  # fmt: skip
