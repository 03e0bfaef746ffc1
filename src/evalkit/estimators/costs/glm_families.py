"""Families and links of generalised linear models: mean, variance, score, deviance and likelihood of each row.

With eta = x'b + offset, mu = h(eta) and Var(y) = phi V(mu), the quasi-score of a row is (y - mu) h'(eta) / V(mu) and
its expected information h'(eta)^2 / V(mu), times x and x x'. Only the mean must be right for the coefficients to be.

Source: McCullagh and Nelder 1989, Generalized Linear Models, 2nd ed., chapters 2 and 9 (quasi-likelihood).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import special

from evalkit.core.errors import Fault
from evalkit.core.faults import choice_faults

Family = Literal["gaussian", "gamma", "poisson", "inverse_gaussian", "binomial"]
Link = Literal["log", "identity", "sqrt", "logit", "probit"]
LINKS: dict[str, tuple[str, ...]] = {
    "gaussian": ("identity", "log", "sqrt"),
    "gamma": ("log", "identity", "sqrt"),
    "poisson": ("log", "identity", "sqrt"),
    "inverse_gaussian": ("log", "identity", "sqrt"),
    "binomial": ("logit", "probit"),
}
_LARGEST_LOG = 150.0  # of a mean: its fourth power and the inverse of that can still be written
_POWER = {"gaussian": 0, "poisson": 1, "gamma": 2, "inverse_gaussian": 3}  # of the mean, in the variance


@dataclass(frozen=True)
class Working:
    """Of each row, in the shape of the linear predictor: mean, quasi-score by the predictor, and information."""

    mean: np.ndarray
    score: np.ndarray
    information: np.ndarray


def pair_faults(family: str, link: str) -> list[Fault]:
    """What is wrong with a family and its link: unknown, or means outside what the family can have."""
    faults = choice_faults("family", family, LINKS)
    links = tuple(dict.fromkeys(name for names in LINKS.values() for name in names))
    faults += choice_faults("link", link, links)
    if not faults and link not in LINKS[family]:
        faults = [Fault("link", f'"{link}" does not go with the family "{family}"', link, ", ".join(LINKS[family]))]
    return faults


def outcome_faults(y: np.ndarray, family: Family, link: Link) -> list[Fault]:
    """What is wrong with finite outcomes: shares outside 0 to 1, negative costs, costs of nought where they cannot be.

    With a cost of nought the quasi-likelihood of the gamma still has its one maximum under a log link (eta + y e^-eta
    is convex); under others, and for the inverse Gaussian, it grows without end as that person's mean falls to nought.
    """
    if family == "binomial":
        outside = y.min() < 0 or y.max() > 1
        return [Fault("outcome", "values outside 0 to 1", allowed="0 and 1, or shares of 1")] if outside else []
    if family == "gaussian":
        return []
    if y.min() < 0:
        step = "Look for refunds and corrections, and net them within a person and period."
        return [Fault("outcome", f"some costs are negative, which the family {family} cannot have", next_step=step)]
    if y.min() == 0 and (family == "inverse_gaussian" or (family, link != "log") == ("gamma", True)):
        what = f"some costs are nought, where the family {family} with the link {link} has no maximum"
        step = 'Take a two-part model, link="log" with the gamma, or family="poisson".'
        return [Fault("outcome", what, next_step=step)]
    return []


def is_inside(eta: np.ndarray, family: Family, link: Link) -> np.ndarray:
    """Whether each linear predictor has a mean that the family can have, bool in the shape of eta."""
    if link == "sqrt" or (link == "identity" and family != "gaussian"):
        return eta > 0
    return np.abs(eta) <= _LARGEST_LOG if link == "log" else np.isfinite(eta)


def apply_link(mu: np.ndarray, link: Link) -> np.ndarray:
    """The linear predictor of a mean."""
    if link == "log":
        return np.log(mu)
    if link == "sqrt":
        return np.sqrt(mu)
    if link == "logit":
        return special.logit(mu)
    return special.ndtri(mu) if link == "probit" else mu


def invert_link(eta: np.ndarray, link: Link) -> np.ndarray:
    """The mean of a linear predictor."""
    if link == "log":
        return np.exp(np.clip(eta, -_LARGEST_LOG, _LARGEST_LOG))
    if link == "sqrt":
        return eta * eta
    if link == "logit":
        return special.expit(eta)
    return special.ndtr(eta) if link == "probit" else eta


def compute_slope(eta: np.ndarray, link: Link) -> np.ndarray:
    """First derivative of the mean by the linear predictor."""
    if link == "log":
        return invert_link(eta, link)
    if link == "sqrt":
        return 2 * eta
    if link == "logit":
        return special.expit(eta) * special.expit(-eta)
    return _normal_density(eta) if link == "probit" else np.ones_like(eta)


def compute_bend(eta: np.ndarray, link: Link) -> np.ndarray:
    """Second derivative of the mean by the linear predictor."""
    if link == "log":
        return invert_link(eta, link)
    if link == "sqrt":
        return np.full_like(eta, 2.0)
    if link == "logit":
        return compute_slope(eta, link) * (special.expit(-eta) - special.expit(eta))
    return -eta * _normal_density(eta) if link == "probit" else np.zeros_like(eta)


def compute_variance(mu: np.ndarray, family: Family) -> np.ndarray:
    """Variance function V(mu): 1, mu, mu^2, mu^3, or mu (1 - mu)."""
    return mu * (1 - mu) if family == "binomial" else mu ** _POWER[family]


def compute_working(y: np.ndarray, eta: np.ndarray, family: Family, link: Link) -> Working:
    """Mean, quasi-score and expected information of each row; closed forms where the general one loses digits."""
    if family == "binomial":
        return _working_binomial(y, eta, link)
    mu = invert_link(eta, link)
    if (family, link) == ("poisson", "log"):
        return Working(mu, y - mu, mu)
    if (family, link) == ("gamma", "log"):
        return Working(mu, y / mu - 1, np.ones_like(mu))
    slope = compute_slope(eta, link)
    share = slope / compute_variance(mu, family)
    return Working(mu, (y - mu) * share, slope * share)


def is_convex(family: Family, link: Link) -> bool:
    """Whether `compute_curvature` is nowhere negative, so that it can be stepped with from anywhere."""
    return family == "binomial" or (family, link) in (("gaussian", "identity"), ("poisson", "log"), ("gamma", "log"))


def compute_curvature(y: np.ndarray, eta: np.ndarray, family: Family, link: Link) -> tuple[np.ndarray, np.ndarray]:
    """Quasi-score of each row and minus its derivative by the linear predictor (the expected one for probit).

    That is h'^2 / V - (y - mu) (h'' / V - h'^2 V' / V^2), which for the gamma's log link is y / mu.
    """
    if (family, link) == ("gamma", "log"):
        ratio = np.clip(eta, -_LARGEST_LOG, _LARGEST_LOG)
        np.exp(np.negative(ratio, out=ratio), out=ratio)
        ratio *= y
        return ratio - 1, ratio
    working = compute_working(y, eta, family, link)
    if is_convex(family, link):
        return working.score, working.information
    variance, power = compute_variance(working.mean, family), _POWER[family]
    bend = compute_bend(eta, link) / variance - power * compute_slope(eta, link) ** 2 / (working.mean * variance)
    return working.score, working.information - (y - working.mean) * bend


def _working_binomial(y: np.ndarray, eta: np.ndarray, link: Link) -> Working:
    mu = invert_link(eta, link)
    if link == "logit":
        return Working(mu, y - mu, special.expit(eta) * special.expit(-eta))
    log_density = -0.5 * eta * eta - 0.5 * math.log(2 * math.pi)
    below, above = special.log_ndtr(eta), special.log_ndtr(-eta)
    score = y * np.exp(log_density - below) - (1 - y) * np.exp(log_density - above)
    return Working(mu, score, np.exp(2 * log_density - below - above))


def compute_objective(y: np.ndarray, eta: np.ndarray, family: Family, link: Link) -> np.ndarray:
    """Half the deviance of each row up to what does not depend on the mean; infinite where the mean is not allowed.

    It falls to its least at the estimate and is finite for costs of nought, where the gamma's deviance is not.
    """
    if family == "binomial":
        if link == "logit":
            return np.logaddexp(0.0, eta) - y * eta
        return -y * special.log_ndtr(eta) - (1 - y) * special.log_ndtr(-eta)
    inside = is_inside(eta, family, link)
    mu = np.where(inside, invert_link(eta, link), 1.0)
    if family == "gaussian":
        value = 0.5 * (y - mu) ** 2
    elif family == "poisson":
        value = mu - y * np.log(mu)
    elif family == "gamma":
        value = np.log(mu) + y / mu
    else:
        value = 0.5 * y / mu**2 - 1 / mu
    return np.where(inside, value, np.inf)


def compute_deviance(y: np.ndarray, mu: np.ndarray, weights: np.ndarray, family: Family) -> tuple[float, str]:
    """Deviance as R's glm has it, or NaN with the reason."""
    if family == "gamma" and (y[weights > 0] == 0).any():
        return math.nan, "the deviance of the gamma is infinite where a cost is nought"
    if family == "gaussian":
        rows = (y - mu) ** 2
    elif family == "poisson":
        rows = 2 * (special.xlogy(y, y) - special.xlogy(y, mu) - (y - mu))
    elif family == "gamma":
        ratio = np.where(y > 0, y, mu) / mu
        rows = 2 * (ratio - 1 - np.log(ratio))
    elif family == "inverse_gaussian":
        rows = (y - mu) ** 2 / (np.where(y > 0, y, 1.0) * mu**2)
    else:
        rows = 2 * (special.xlogy(y, y) - special.xlogy(y, mu))
        rows += 2 * (special.xlogy(1 - y, 1 - y) - special.xlog1py(1 - y, -mu))
    return float(weights @ rows), ""


def compute_log_likelihood(
    y: np.ndarray, mu: np.ndarray, weights: np.ndarray, family: Family, deviance: float
) -> tuple[float, str]:
    """Log-likelihood as R's logLik of a glm, dispersion at deviance / sum of weights; or NaN with the reason."""
    used = weights > 0
    y, mu, weights = y[used], mu[used], weights[used]
    if family == "poisson":
        return math.nan, "a quasi-likelihood with dispersion has no likelihood"
    if family == "binomial":
        if not np.isin(y, (0.0, 1.0)).all():
            return math.nan, "shares between 0 and 1 have a quasi-likelihood only"
        return float(weights @ (special.xlogy(y, mu) + special.xlog1py(1 - y, -mu))), ""
    if not math.isfinite(deviance) or deviance <= 0:
        reason = "there is no deviance" if math.isnan(deviance) else "the model fits everybody without error"
        return math.nan, f"{reason}, so no likelihood"
    phi = deviance / weights.sum()
    if family == "gaussian":
        n = len(y)
        return float(-0.5 * (n * (math.log(2 * math.pi * deviance / n) + 1) - np.log(weights).sum())), ""
    if family == "gamma":
        shape = 1 / phi
        rows = special.xlogy(shape - 1, y) - y * shape / mu - special.gammaln(shape) - shape * np.log(mu * phi)
        return float(weights @ rows), ""
    return float(-0.5 * (weights @ (np.log(2 * math.pi * phi) + 1 + 3 * np.log(y)))), ""


def _normal_density(eta: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * eta * eta) / math.sqrt(2 * math.pi)
