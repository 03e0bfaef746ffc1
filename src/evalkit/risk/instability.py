"""How much risks, calibration and who is flagged would differ had other people been there to develop the model on.

All from bootstrap models beside the model itself: Riley and Collins 2023, Biom J 65:2200302. Nothing is given of fewer
than 20 discharges of 10 people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import is_finite, level_faults, refuse, whole_faults
from evalkit.core.result import Check
from evalkit.risk.arrays import refuse_few, risk_faults
from evalkit.risk.calibration import fit_calibration_curve, predict_calibration
from evalkit.risk.refit import BLOCK, RefittedModels

FEWEST_DISCHARGES, FEWEST_PEOPLE = 20, 10
_FEWEST_DRAWS = 20
_POINTS = 25


@dataclass(frozen=True)
class InstabilityOptions:
    """`beyond` is the mean absolute difference of risk that counts as large; `level` that of the quantiles."""

    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3)
    beyond: float = 0.05
    bins: int = 20
    level: float = 0.95


@dataclass(frozen=True, eq=False)
class Instability:
    """Instability of a model over its bootstrap models.

    - `mape`: mean over discharges of the mean absolute difference between a bootstrap model's risk and the model's
      own; `share_beyond` (0 to 1) the share of discharges for which it is beyond `beyond`.
    - `curve`, one row a bin of the model's risk, ascending: `share` of discharges below its middle, n_discharges,
      n_people, `risk` (mean), `low` and `high` (means of the quantiles, at `level`, of a discharge's bootstrap
      risks), `mape`.
    - `calibration`, one row a predicted risk: `smooth` observed risk of the model, `low` and `high` the quantiles
      of the bootstrap models' curves, all against everybody's outcomes.
    - `classification`, one row a threshold: `changed`, the chance that a bootstrap model puts a discharge on the other
      side, `share_beyond` that of discharges for which that chance is above 0.1.
    """

    mape: float
    beyond: float
    share_beyond: float
    curve: pd.DataFrame
    calibration: pd.DataFrame
    classification: pd.DataFrame
    level: float
    checks: tuple[Check, ...]


class _Rows(NamedTuple):
    """Of each discharge: mean absolute difference (n,), quantiles (n,), and chances of the other side (T, n)."""

    mape: np.ndarray
    low: np.ndarray
    high: np.ndarray
    changed: np.ndarray


def estimate_instability(
    models: RefittedModels,
    outcome: np.ndarray,
    *,
    person: np.ndarray,
    options: InstabilityOptions = InstabilityOptions(),
) -> Instability:
    """Instability of the risks of `models` for the discharges of `outcome` (n,) and `person` (n,).

    The bins are of equal size in the model's risk; equal risks stay together, and a bin of fewer than 20 discharges or
    10 people joins the next. Calibration curves are the splines of `fit_calibration_curve`, at 25 risks between the
    1st and the 99th percentile of the model's.

    Fails with `ParameterError` for malformed arguments, and with `NotEstimable` below 20 bootstrap models or 20
    discharges of 10 people, or fewer than 10 discharges with the outcome, or without it.
    """
    outcome, fitted = _check(models, outcome, person, options), _find_fitted(models)
    rows = _measure_rows(models, fitted, options)
    codes = pd.factorize(np.asarray(person))[0]
    beyond, often = rows.mape > options.beyond, rows.changed > 0.1
    unfitted = len(models) - len(fitted)
    text = f"{unfitted} of {len(models)} bootstrap models could not be fitted."
    return Instability(
        mape=float(rows.mape.mean()),
        beyond=options.beyond,
        share_beyond=float(beyond.mean()),
        curve=_build_curve(models.original, rows, codes, options.bins),
        calibration=_build_calibration(models, fitted, outcome, options.level),
        classification=pd.DataFrame(
            {"threshold": options.thresholds, "changed": rows.changed.mean(axis=1), "share_beyond": often.mean(axis=1)}
        ),
        level=options.level,
        checks=(Check("bootstrap_models_fitted", passed=unfitted == 0, value=float(unfitted), text=text),),
    )


# ---- parts ---------------------------------------------------------------------------------------


def _check(models: RefittedModels, outcome: np.ndarray, person: np.ndarray, options: InstabilityOptions) -> np.ndarray:
    where = "estimate_instability"
    faults = [*risk_faults(models.original, outcome, person), *level_faults(options.level)]
    faults += whole_faults(f"{where} bins", options.bins, least=1)
    for name, values in (("thresholds", options.thresholds), ("beyond", (options.beyond,))):
        if not len(values) or not all(is_finite(value) and 0 < value < 1 for value in values):
            faults.append(Fault(f"{where} {name}", "out of range", str(values), "between 0 and 1"))
    refuse(faults)
    outcome = np.asarray(outcome, dtype=np.float64)
    if len(outcome) < FEWEST_DISCHARGES or len(pd.unique(np.asarray(person))) < FEWEST_PEOPLE:
        allowed = f"at least {FEWEST_DISCHARGES} discharges of at least {FEWEST_PEOPLE} people"
        raise NotEstimable(Fault("instability of risks", "too few discharges, or people", allowed=allowed))
    refuse_few(outcome)
    return outcome


def _find_fitted(models: RefittedModels) -> np.ndarray:
    fitted = np.flatnonzero([not reason for reason in models.reasons])
    if len(fitted) < _FEWEST_DRAWS:
        got = f"{len(fitted)} fitted"
        raise NotEstimable(Fault("instability of risks", "too few bootstrap models", got, f"{_FEWEST_DRAWS} or more"))
    return fitted


def _measure_rows(models: RefittedModels, fitted: np.ndarray, options: InstabilityOptions) -> _Rows:
    tail, size = (1 - options.level) / 2, max(1, BLOCK // len(models))
    parts = []
    for at in range(0, models.n_rows, size):
        rows = slice(at, min(at + size, models.n_rows))
        risk, own = models.predict(slice(None), rows)[fitted], models.original[rows]
        low, high = np.quantile(risk, [tail, 1 - tail], axis=0)
        changed = np.stack([((risk >= t) != (own >= t)).mean(axis=0) for t in options.thresholds])
        parts.append(_Rows(np.abs(risk - own).mean(axis=0), low, high, changed))
    return _Rows(*(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)))


def _build_curve(risk: np.ndarray, rows: _Rows, person: np.ndarray, bins: int) -> pd.DataFrame:
    frame = pd.DataFrame({"risk": risk, "low": rows.low, "high": rows.high, "mape": rows.mape, "person": person})
    groups = frame.groupby(_assign_bins(risk, person, bins), sort=True)
    curve = groups[["risk", "low", "high", "mape"]].mean()
    counts = groups.size().to_numpy()
    curve.insert(0, "share", (np.cumsum(counts) - counts / 2) / len(risk))
    curve.insert(1, "n_discharges", counts)
    curve.insert(2, "n_people", groups["person"].nunique().to_numpy())
    return curve.reset_index(drop=True)


def _assign_bins(risk: np.ndarray, person: np.ndarray, bins: int) -> np.ndarray:
    """Codes (n,) of bins of risk, ascending, none with fewer than 20 discharges or 10 people."""
    first = (rankdata(risk, method="min").astype(np.int64) - 1) * bins // len(risk)
    joined, held, code = np.zeros(bins, dtype=np.int64), np.zeros(0, dtype=np.int64), 0
    for one in range(bins):
        joined[one] = code
        held = np.concatenate([held, person[first == one]])
        if len(held) >= FEWEST_DISCHARGES and len(np.unique(held)) >= FEWEST_PEOPLE:
            held, code = held[:0], code + 1
    # What is left at the top joins the last bin that was full.
    return np.minimum(joined[first], max(code - 1, 0))


def _build_calibration(models: RefittedModels, fitted: np.ndarray, outcome: np.ndarray, level: float) -> pd.DataFrame:
    """Curves at 25 risks; of a bootstrap model only within its own risks; NaN where fewer than 95% of them reach."""
    grid = np.linspace(*np.quantile(models.original, [0.01, 0.99]), _POINTS)
    found = np.full((len(fitted), _POINTS), np.nan)
    for row, b in zip(found, fitted, strict=True):
        risk = models.predict(slice(b, b + 1), slice(None))[0]
        row[:] = _curve_at(risk, outcome, grid)
    tail, reached = 100 * (1 - level) / 2, np.isfinite(found).mean(axis=0) >= 0.95
    ends = np.full((2, _POINTS), np.nan)
    if reached.any():
        ends[:, reached] = np.nanpercentile(found[:, reached], [tail, 100 - tail], axis=0)
    smooth = _curve_at(models.original, outcome, grid)
    return pd.DataFrame({"predicted": grid, "smooth": smooth, "low": ends[0], "high": ends[1]})


def _curve_at(risk: np.ndarray, outcome: np.ndarray, grid: np.ndarray) -> np.ndarray:
    curve = predict_calibration(fit_calibration_curve(risk, outcome), grid)[0]
    return np.where((grid >= risk.min()) & (grid <= risk.max()), curve, np.nan)
