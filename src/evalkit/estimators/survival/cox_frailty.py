"""Cox model with a gamma frailty that people (or clusters) share over their rows."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
from scipy import linalg, optimize, special, stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.estimators.survival.cox import CoxOptions, fit_cox
from evalkit.estimators.survival.cox_sums import (
    Moments,
    RiskSets,
    build_risk_sets,
    compute_information,
    compute_moments,
    own_share,
    sum_over_follow_up,
)

_SMALLEST, _LARGEST = 1e-5, 50.0  # variances looked at; what is best at the smallest is taken for 0
_STILL = 1e-10  # change of coefficients and log frailties at which a variance's own optimum is reached
_ROUNDS = 2000
_STEP = 1e-3  # of coefficients, in errors of the model without frailty, in numerical derivatives


@dataclass(frozen=True)
class FrailtyFit:
    """A Cox model with gamma frailties of mean 1 and variance `theta` by cluster, without any person's row.

    `coefficients` (p,) log hazard ratios within a cluster; `variance` (p, p) the inverse of the curvature of the
    marginal log-likelihood with baseline and `theta` maximised out. `likelihood_ratio_test` and `p_value` are
    of `theta` = 0, on the boundary: half of the chi-square with 1 degree of freedom.
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    variance: np.ndarray
    theta: float
    log_likelihood: float
    log_likelihood_without: float
    n_clusters: int
    n_events: int
    options: CoxOptions

    @property
    def standard_errors(self) -> np.ndarray:
        return np.sqrt(np.diag(self.variance))

    @property
    def likelihood_ratio_test(self) -> float:
        return max(0.0, 2 * (self.log_likelihood - self.log_likelihood_without))

    @property
    def p_value(self) -> float:
        return float(stats.chi2.sf(self.likelihood_ratio_test, 1) / 2) if self.theta > 0 else 1.0


@dataclass(frozen=True)
class _Frailty:
    """What does not change: `sets` with its own `offset`, each row's `group`, events by group `dead` (g,)."""

    sets: RiskSets
    group: np.ndarray
    dead: np.ndarray


@dataclass(frozen=True)
class _State:
    beta: np.ndarray
    log_frailty: np.ndarray
    moments: Moments
    sets: RiskSets
    log_likelihood: float


def fit_shared_frailty(follow_up: FollowUp, *, options: CoxOptions | None = None) -> FrailtyFit:
    """Fit a Cox model whose hazards are multiplied by a gamma frailty shared by rows of one `follow_up.cluster`.

    For each variance, coefficients, baseline and expected frailties z = (1/theta + events) / (1/theta + cumulative
    hazard) are iterated to their joint optimum (the EM of Nielsen, Gill, Andersen and Sorensen 1992, Scandinavian
    Journal of Statistics 19:25; R's `coxph(frailty())` has the same optimum: Therneau, Grambsch and Pankratz 2003,
    JCGS 12:156); the marginal log-likelihood is then maximised over the variance. Ties enter as in `fit_cox`, as in R.
    Errors count the variance's own uncertainty, as R's do not (Murphy and van der Vaart 2000, JASA 95:449).

    Raises
    ------
    ParameterError
        Weights other than 1; what `fit_cox` refuses.
    NotEstimable
        No cluster with two events or more, no convergence, and what `fit_cox` refuses.
    """
    options = options or CoxOptions()
    if not (follow_up.weights == 1).all():
        raise ParameterError(Fault("weights", "a frailty model takes rows without weights", allowed="1 for all rows"))
    without = fit_cox(follow_up, options=options)
    sets = build_risk_sets(follow_up, cause=options.cause, ties=options.ties)
    groups, group = np.unique(follow_up.cluster[sets.rows], return_inverse=True)
    model = _Frailty(sets, group, np.bincount(group[sets.dead], minlength=len(groups)).astype(float))
    if model.dead.max() < 2:
        raise NotEstimable(Fault("frailty", "no cluster has two events, so that nothing tells how alike they are"))
    start = without.coefficients * sets.scale
    theta, best = _maximise_theta(model, start, free=True)
    if best.log_likelihood <= without.log_likelihood + 1e-7 or theta < 2 * _SMALLEST:
        return FrailtyFit(
            without.names, without.coefficients, without.variance, 0.0, without.log_likelihood,
            without.log_likelihood, len(groups), without.n_events, options,
        )  # fmt: skip
    curvature = _profile_curvature(model, best.beta, np.sqrt(np.diag(without.variance)) * sets.scale)
    variance = linalg.inv(curvature) / np.outer(sets.scale, sets.scale)
    return FrailtyFit(
        without.names, best.beta / sets.scale, variance, theta, best.log_likelihood,
        without.log_likelihood, len(groups), without.n_events, options,
    )  # fmt: skip


def _maximise_theta(model: _Frailty, beta: np.ndarray, *, free: bool) -> tuple[float, _State]:
    """The best variance and what goes with it; coefficients are maximised too where `free`."""
    reached: dict[float, _State] = {}
    log_frailty = np.zeros(len(model.dead))

    def cost(log_theta: float) -> float:
        nonlocal log_frailty
        state = _maximise_given(model, math.exp(log_theta), beta, log_frailty, free=free)
        log_frailty = state.log_frailty
        reached[log_theta] = state
        return -state.log_likelihood

    found = optimize.minimize_scalar(
        cost, bounds=(math.log(_SMALLEST), math.log(_LARGEST)), method="bounded", options={"xatol": 1e-7}
    )
    return math.exp(found.x), reached[float(found.x)]


def _maximise_given(model: _Frailty, theta: float, beta: np.ndarray, log_frailty: np.ndarray, *, free: bool) -> _State:
    """Coefficients (where `free`), baseline and frailties for one variance."""
    nu, dead = 1 / theta, model.dead
    for _ in range(_ROUNDS):
        sets = dataclasses.replace(model.sets, offset=model.sets.offset + log_frailty[model.group])
        moments = compute_moments(sets, beta)
        if moments is None:
            break
        step = np.zeros_like(beta)
        if free:
            step = linalg.solve(compute_information(sets, moments), moments.score, assume_a="pos")
        increment = sets.term_weight / moments.denominator
        own = moments.risk * (sum_over_follow_up(sets, increment) - own_share(sets, increment))
        expected = np.bincount(model.group, own, minlength=len(dead)) * np.exp(-log_frailty)
        frailty = (nu + dead) / (nu + expected)
        # At the optimum their mean is 1; the baseline takes up whatever it is before, which is slow to mend.
        new = np.log(frailty / frailty.mean())
        change = max(np.abs(new - log_frailty).max(), np.abs(step).max())
        if change < _STILL:
            return _State(beta, log_frailty, moments, sets, _marginal(moments, log_frailty, expected, nu, dead))
        beta, log_frailty = beta + step, new
    raise NotEstimable(Fault("frailty", f"no convergence at a variance of {theta:.3g}"))


def _marginal(moments: Moments, log_frailty: np.ndarray, expected: np.ndarray, nu: float, dead: np.ndarray) -> float:
    """Marginal log-likelihood with R's constants: with a variance of 0 it is the partial log-likelihood."""
    partial = moments.log_likelihood - dead @ log_frailty
    gamma = special.gammaln(nu + dead) - special.gammaln(nu) - dead * math.log(nu)
    return float(partial + np.sum(gamma - (nu + dead) * np.log1p(expected / nu)) + dead.sum())


def _profile_curvature(model: _Frailty, beta: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Minus the second derivative of the profile log-likelihood, (p, p), from differences of its exact gradient."""
    rows = []
    for j, error in enumerate(errors):
        shift = np.zeros_like(beta)
        shift[j] = _STEP * error
        above, below = (_maximise_theta(model, beta + side * shift, free=False)[1] for side in (1, -1))
        rows.append((below.moments.score - above.moments.score) / (2 * shift[j]))
    curvature = np.array(rows)
    return (curvature + curvature.T) / 2
