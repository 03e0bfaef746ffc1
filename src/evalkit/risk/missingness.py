"""How much of each predictor is missing, and whether its being missing tells of the outcome."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.stats import norm

from evalkit.core.errors import Fault
from evalkit.core.faults import level_faults, refuse
from evalkit.core.result import Check
from evalkit.risk.arrays import FEWEST_EVENTS, risk_faults
from evalkit.risk.data import RiskData

_NAMED = 5  # predictors named in one sentence


def compute_missing(development: RiskData, validation: RiskData) -> pd.DataFrame:
    """Share missing, 0 to 1, by predictor (index) in `development` and `validation`; NaN where it is no predictor."""
    shares = {"development": development.features.isna().mean(), "validation": validation.features.isna().mean()}
    names = list(dict.fromkeys([*development.features, *validation.features]))
    return pd.DataFrame(shares).reindex(names).rename_axis("predictor")


def compute_missing_contrast(data: RiskData, *, risk: np.ndarray | None = None) -> pd.DataFrame:
    """For each predictor (index) with gaps, whether discharges without its value come back otherwise than others.

    Columns: `share` missing; `ratio`, observed over expected outcomes where it is missing, divided by the same where it
    is recorded; `p_value`. Expected is `risk` (n,), so that the question is what missingness tells beyond the model,
    or, where None, the mean: then the ratio is that of the two shares with the outcome. The p-value is of the score
    test of adding the indicator to a logistic model with the log-odds of `risk` as offset, summed by person:
    U = sum (m - M) e with e = y - q, q the risks p recalibrated in the large by one step, M the mean of m weighted by
    p (1 - p), and variance the sum of the squares of the G people's sums (Boos 1992, American Statistician 46:327),
    times G / (G - 1).
    NaN where fewer than 10 with the outcome, or without it, have it missing or have it recorded, or all are one person.

    Fails with `ParameterError` where `risk` does not match, or is 0, 1 or missing for some.
    """
    outcome = data.outcome.astype(np.float64)
    expected = np.full(len(data), outcome.mean()) if risk is None else np.asarray(risk)
    faults = risk_faults(expected, outcome)
    if not faults and not ((expected > 0) & (expected < 1)).all():
        faults.append(Fault("risk", "is 0 or 1 for some", allowed="risks between them"))
    refuse(faults)
    spread = expected * (1 - expected)
    expected = expected + spread * (outcome - expected).sum() / spread.sum()
    person = pd.factorize(data.person)[0]
    gaps = data.features.isna()
    rows = {
        name: _contrast(gaps[name].to_numpy(), outcome, expected, spread, person) for name in gaps if gaps[name].any()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["share", "ratio", "p_value"]).rename_axis("predictor")


def check_missingness(data: RiskData, *, risk: np.ndarray | None = None, level: float = 0.95) -> Check:
    """Whether missingness itself predicts the outcome: fails where it does for any predictor, by Holm at 1 - `level`.

    Imputation puts such discharges on a par with those recorded, and so throws away what their gap tells; an indicator
    of missingness keeps it (`add_missing_indicators`), as long as people go on recording as they do now. Where the
    outcome itself makes values go missing, neither helps (Sisk et al. 2023, Stat Methods Med Res 32:1461). The value is
    the number of predictors concerned. `risk` as in `compute_missing_contrast`.
    """
    refuse(level_faults(level))
    found = compute_missing_contrast(data, risk=risk)
    name = "missingness_tells_outcome"
    if found.empty:
        return Check(name, passed=True, value=0.0, text="No predictor has missing values.")
    tested = found.dropna(subset=["p_value"]).sort_values("p_value", kind="stable")
    if tested.empty:
        text = "Too few discharges with missing values, or without, to tell whether missingness predicts the outcome."
        return Check(name, passed=None, value=math.nan, text=text)
    allowed = (1 - level) / np.arange(len(tested), 0, -1)
    telling = tested[np.logical_and.accumulate(tested["p_value"].to_numpy() < allowed)]
    beyond = " beyond what the model says" if risk is not None else ""
    if telling.empty:
        return Check(name, passed=True, value=0.0, text=f"No predictor's missingness tells of the outcome{beyond}.")
    named = ", ".join(f"{p} ({ratio:.2f} times)" for p, ratio in telling["ratio"].head(_NAMED).items())
    more = f" and {len(telling) - _NAMED} more" if len(telling) > _NAMED else ""
    text = (
        f"Where a value is missing the outcome is more, or less, frequent than where it is recorded{beyond}: "
        f"{named}{more}. Imputation alone loses this; consider indicators of what was not recorded."
    )
    return Check(name, passed=False, value=float(len(telling)), text=text)


def _contrast(
    missing: np.ndarray, outcome: np.ndarray, expected: np.ndarray, spread: np.ndarray, person: np.ndarray
) -> tuple[float, float, float]:
    """Share missing, ratio and p-value."""
    with_gap, events = float(missing.sum()), float(outcome @ missing)
    others, other_events = len(missing) - with_gap, float(outcome.sum()) - events
    few = min(events, with_gap - events, other_events, others - other_events) < FEWEST_EVENTS
    if few or person.max() == 0:
        return float(missing.mean()), math.nan, math.nan
    ratio = events / float(expected @ missing) / (other_events / float(expected @ ~missing))
    centred = missing - float(spread @ missing) / spread.sum()
    sums = np.bincount(person, centred * (outcome - expected))
    variance = len(sums) / (len(sums) - 1) * float(sums @ sums)
    return float(missing.mean()), ratio, float(2 * norm.sf(abs(sums.sum()) / math.sqrt(variance)))
