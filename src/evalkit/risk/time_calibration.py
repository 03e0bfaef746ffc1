"""Calibration of risks by a horizon: slope and smooth curve by a Cox model or, where death competes, Fine and Gray's.

Both stand on the complementary log-log of the risk, log(-log(1 - risk)), in which a Cox model's risks are a straight
line of its linear predictor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import refuse
from evalkit.estimators.survival.cox import CoxFit, fit_cox
from evalkit.estimators.survival.cox_residuals import compute_baseline_hazard
from evalkit.estimators.survival.fine_gray import FineGrayOptions, compute_cumulative_incidence_at, fit_fine_gray
from evalkit.risk.arrays import count_faults
from evalkit.risk.calibration import build_spline
from evalkit.risk.decision_time import refuse_few_by, risk_time_faults

ERRORS = ("ici", "e50", "e90", "emax")
# Quantiles at which three knots stand (Harrell 2015, Regression Modeling Strategies, table 2.3).
_KNOT_SHARES = (0.1, 0.5, 0.9)
# Weights say how often a row was drawn, so that they count in the censoring distribution too.
_DRAWN = FineGrayOptions(censoring_weights="case")


@dataclass(frozen=True)
class TimeSlope:
    """Calibration slope with the model's standard error and that by person; 1 where risks spread as they should."""

    value: float
    model_se: float
    se: float


def compute_time_calibration_slope(risk: np.ndarray, follow_up: FollowUp, *, horizon: float) -> TimeSlope:
    """Coefficient of the complementary log-log of the risk, in a model of the first cause up to the horizon.

    A Cox model (van Houwelingen 2000, Stat Med 19:3401) or, where other causes compete, Fine and Gray's (van Geloven
    et al. 2022, BMJ 377:e069249). For risks of a Cox model it is the slope on its linear predictor.

    Raises
    ------
    ParameterError
        Malformed risks, a horizon before the start, rows that enter late, strata.
    NotEstimable
        Too few events, risks of exactly 0 or 1 or all the same, and whatever the model refuses.
    """
    part, x = _prepare(risk, follow_up, horizon)
    part = replace(part, covariates=x[:, None], names=("log_log_risk",))
    if (part.event > 1).any():
        fit = fit_fine_gray(part, options=_DRAWN)
        return TimeSlope(float(fit.coefficients[0]), float(np.sqrt(fit.variance[0, 0])), float(fit.se[0]))
    fit = fit_cox(part)
    robust = float(np.sqrt(fit.robust_variance[0, 0]))
    return TimeSlope(float(fit.coefficients[0]), float(np.sqrt(fit.variance[0, 0])), robust)


def compute_smooth_risk(
    risk: np.ndarray, follow_up: FollowUp, *, horizon: float, at: np.ndarray | None = None
) -> np.ndarray:
    """Observed risk by the horizon of those with each predicted risk, smoothed, at `at` (g,), else at `risk` (n,).

    A restricted cubic spline of three knots (quantiles 0.1, 0.5 and 0.9) of the complementary log-log of the risk, in
    a Cox model (Austin, Harrell and van Klaveren 2020, Stat Med 39:2714) or Fine and Gray's (Austin et al. 2022, Diagn
    Progn Res 6:2). Raises as `compute_time_calibration_slope`.
    """
    part, x = _prepare(risk, follow_up, horizon)
    where = x if at is None else _to_log_log(np.asarray(at, dtype=np.float64))
    return _predict(part, x, where, _place_knots(x), horizon)


def compute_time_calibration_errors(
    risk: np.ndarray, follow_up: FollowUp, *, horizon: float, counts: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """`ici`, `e50`, `e90`, `emax`: mean, median, 90th percentile and greatest distance of predicted from smooth risk.

    Each (B,), of the rows of `counts` (B, n), whole numbers, else of all rows once; the knots stay where all rows put
    them. A draw whose model cannot be fitted is NaN. Raises as `compute_time_calibration_slope`, and `ParameterError`
    for rows that weigh unequally.
    """
    faults = count_faults(np.asarray(counts), len(follow_up)) if counts is not None else []
    if (follow_up.weights != 1).any():
        faults.append(Fault("follow-up", "quantiles are of rows that weigh alike", allowed="weights of 1"))
    refuse(faults)
    part, x = _prepare(risk, follow_up, horizon)
    knots = _place_knots(x)
    if counts is None:
        return _summarise([np.abs(risk - _predict(part, x, x, knots, horizon))])
    distances = []
    for row in np.asarray(counts).astype(np.int64):
        drawn = row > 0
        own = replace(part.select(drawn), weights=row[drawn].astype(np.float64))
        try:
            smooth = _predict(own, x[drawn], x[drawn], knots, horizon)
        except NotEstimable:
            distances.append(np.array([np.nan]))
            continue
        distances.append(np.repeat(np.abs(np.asarray(risk)[drawn] - smooth), row[drawn]))
    return _summarise(distances)


def end_at(follow_up: FollowUp, horizon: float) -> FollowUp:
    """The same follow-up, ended at the horizon: what comes after it is not seen."""
    return replace(
        follow_up,
        exit=np.minimum(follow_up.exit, horizon),
        event=np.where(follow_up.exit > horizon, 0, follow_up.event),
    )


# ---- parts -----------------------------------------------------------------------------------------


def _prepare(risk: np.ndarray, follow_up: FollowUp, horizon: float) -> tuple[FollowUp, np.ndarray]:
    refuse(risk_time_faults(risk, follow_up, horizon))
    refuse_few_by(follow_up, horizon)
    return end_at(follow_up, horizon), _to_log_log(np.asarray(risk, dtype=np.float64))


def _to_log_log(risk: np.ndarray) -> np.ndarray:
    if not np.all((risk > 0) & (risk < 1)):
        raise NotEstimable(
            Fault(
                "calibration", "some risks are exactly 0 or 1, which no curve or slope can take", allowed="0 < risk < 1"
            )
        )
    return np.log(-np.log1p(-risk))


def _place_knots(x: np.ndarray) -> np.ndarray:
    return np.unique(np.quantile(x, _KNOT_SHARES))


def _predict(part: FollowUp, x: np.ndarray, at: np.ndarray, knots: np.ndarray, horizon: float) -> np.ndarray:
    """Risk by the horizon at `at` (g,), from a model on the spline of `x` (n,) of the rows of `part`."""
    design, where = build_spline(x, knots)[:, 1:], build_spline(at, knots)[:, 1:]
    part = replace(part, covariates=design, names=tuple(f"spline_{k}" for k in range(design.shape[1])))
    if (part.event > 1).any():
        fit = fit_fine_gray(part, options=_DRAWN)
        return compute_cumulative_incidence_at(fit, where, np.array([horizon]))[:, 0]
    fit = fit_cox(part)
    centre = design.mean(axis=0)
    return -np.expm1(-_sum_hazard(fit, part, centre) * np.exp((where - centre) @ fit.coefficients))


def _sum_hazard(fit: CoxFit, part: FollowUp, centre: np.ndarray) -> float:
    return float(compute_baseline_hazard(fit, part, at=centre)[0].hazard.sum())


def _summarise(distances: list[np.ndarray]) -> dict[str, np.ndarray]:
    kinds = (np.mean, np.median, lambda values: np.quantile(values, 0.9), np.max)
    return {
        name: np.array([float(kind(values)) for values in distances]) for name, kind in zip(ERRORS, kinds, strict=True)
    }
