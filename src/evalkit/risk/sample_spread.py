"""Cox-Snell R2 and the spread of predicted risk that an AUROC and a prevalence imply, without simulation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, expit, log_expit, logit
from scipy.stats import norm

from evalkit.core.errors import Fault
from evalkit.core.faults import is_finite, refuse

_NODES = 20_001


@dataclass(frozen=True, eq=False)
class OddsDistribution:
    """Predicted log odds (k,) among discharges and the weight (k,) of each, summing to 1."""

    log_odds: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Flagging:
    """What is expected of flagging at or above `threshold`, for the size that net benefit needs."""

    threshold: float
    sensitivity: float
    specificity: float


# ---- Cox-Snell R2 --------------------------------------------------------------------------------


def compute_largest_r2(prevalence: float) -> float:
    """The largest Cox-Snell R2 a model of a binary outcome can have (Riley 2019, Stat Med 38:1276, equation 23).

    >>> round(compute_largest_r2(0.174), 4)
    0.6032
    """
    refuse(share_faults("compute_largest_r2", prevalence=prevalence))
    return -math.expm1(2 * _null_likelihood(prevalence))


def compute_largest_survival_r2(*, rate: float, mean_follow_up: float) -> float:
    """The largest Cox-Snell R2 of a time-to-event model, by an exponential model without predictors.

    `rate`: events per person and unit of time. `mean_follow_up`: in the same unit. (Riley 2019, equation 23.)
    """
    where = "compute_largest_survival_r2"
    refuse(positive_faults(where, rate=rate, mean_follow_up=mean_follow_up))
    expected = rate * mean_follow_up
    if expected > 1:
        refuse([Fault(where, "more events than people", f"{expected:.3g} a person", "rate x mean_follow_up up to 1")])
    return -math.expm1(2 * expected * (math.log(expected) - 1))


def compute_r2_from_auroc(auroc: float, *, prevalence: float) -> float:
    """Cox-Snell R2 of a model with this AUROC whose log odds are normal in each class with one variance.

    Riley, Van Calster and Collins 2021 (Stat Med 40:859) draw a million people from that world and fit a logistic
    regression; its limit is had here by quadrature, without chance. Fails with `ParameterError` unless the AUROC is
    above 0.5 and below 1 and the prevalence between 0 and 1.

    >>> round(compute_r2_from_auroc(0.65, prevalence=0.2), 4)
    0.0453
    """
    odds = build_odds_from_auroc(auroc, prevalence=prevalence)
    risk = expit(odds.log_odds)
    inside = risk * log_expit(odds.log_odds) + (1 - risk) * log_expit(-odds.log_odds)
    return -math.expm1(-2 * (float(odds.weight @ inside) - _null_likelihood(prevalence)))


# ---- distributions of predicted risk ---------------------------------------------------------------


def build_odds_from_auroc(auroc: float, *, prevalence: float) -> OddsDistribution:
    """Log odds of a calibrated model with this AUROC: normal in each class with variance s^2 = 2 probit(AUROC)^2.

    Calibration sets the means at logit(prevalence) -/+ s^2/2, so no search is needed.
    """
    where = "build_odds_from_auroc"
    faults = share_faults(where, auroc=auroc, prevalence=prevalence)
    if not faults and auroc <= 0.5:
        faults = [Fault(f"{where} auroc", "is no better than chance", str(auroc), "above 0.5")]
    refuse(faults)
    s = math.sqrt(2) * norm.ppf(auroc)
    middle = float(logit(prevalence))
    odds = np.linspace(middle - s**2 / 2 - 12 * s, middle + s**2 / 2 + 12 * s, _NODES)
    others, events = norm.pdf(odds, middle - s**2 / 2, s), norm.pdf(odds, middle + s**2 / 2, s)
    return _as_distribution(odds, (1 - prevalence) * others + prevalence * events)


def build_normal_odds(*, mean: float, sd: float) -> OddsDistribution:
    """Normal log odds, such as those published with a model."""
    refuse([*_finite_faults("build_normal_odds", mean=mean), *positive_faults("build_normal_odds", sd=sd)])
    odds = mean + sd * np.linspace(-12, 12, _NODES)
    return _as_distribution(odds, norm.pdf(odds, mean, sd))


def build_beta_odds(*, alpha: float, beta: float) -> OddsDistribution:
    """Log odds of risks that follow a beta distribution, such as one read off a calibration plot."""
    refuse(positive_faults("build_beta_odds", alpha=alpha, beta=beta))
    odds = np.linspace(-40 / alpha, 40 / beta, 2 * _NODES)
    return _as_distribution(odds, np.exp(alpha * log_expit(odds) + beta * log_expit(-odds) - betaln(alpha, beta)))


def build_odds_from_risk(risk: np.ndarray) -> OddsDistribution:
    """Log odds of predicted risks (n,), each between 0 and 1 and neither: the model's own."""
    risk = np.asarray(risk, dtype=float)
    if risk.ndim != 1 or len(risk) < 2 or not np.all((risk > 0) & (risk < 1)) or np.ptp(risk) == 0:
        refuse([Fault("build_odds_from_risk risk", "is not a spread of risks", allowed="(n,) between 0 and 1")])
    return OddsDistribution(logit(risk), np.full(len(risk), 1 / len(risk)))


def compute_flagging(odds: OddsDistribution, *, threshold: float) -> Flagging:
    """Sensitivity and specificity of flagging at or above `threshold` where the risks are calibrated."""
    refuse(share_faults("compute_flagging", threshold=threshold))
    risk = expit(odds.log_odds)
    flagged = odds.log_odds >= logit(threshold)
    events = odds.weight * risk
    others = odds.weight * (1 - risk)
    return Flagging(
        threshold, float(events[flagged].sum() / events.sum()), float(others[~flagged].sum() / others.sum())
    )


# ---- parts ---------------------------------------------------------------------------------------


def share_faults(where: str, **values: float) -> list[Fault]:
    return [
        Fault(f"{where} {name}", "is out of range", str(value), "between 0 and 1")
        for name, value in values.items() if not (is_finite(value) and 0 < value < 1)
    ]  # fmt: skip


def positive_faults(where: str, **values: float) -> list[Fault]:
    return [
        Fault(f"{where} {name}", "is out of range", str(value), "above 0")
        for name, value in values.items() if not (is_finite(value) and value > 0)
    ]  # fmt: skip


def _finite_faults(where: str, **values: float) -> list[Fault]:
    return [
        Fault(f"{where} {name}", "is no number", str(value)) for name, value in values.items() if not is_finite(value)
    ]


def _null_likelihood(prevalence: float) -> float:
    return prevalence * math.log(prevalence) + (1 - prevalence) * math.log1p(-prevalence)


def _as_distribution(odds: np.ndarray, density: np.ndarray) -> OddsDistribution:
    # Equal steps far into both tails: for smooth densities this sum errs by less than rounding does.
    return OddsDistribution(odds, density / density.sum())
