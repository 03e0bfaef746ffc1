"""One Cox engine: weighted, counting-process, with delayed entry, strata, ties and clustered errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import linalg

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import cause_faults
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.estimand import Estimand
from evalkit.core.faults import choice_faults, is_finite, is_whole, level_faults
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.inference import log_ratio_estimate
from evalkit.estimators.survival.cox_checks import (
    check_proportional_hazards,
    find_term,
    require_finite_maximum,
    require_full_rank,
)
from evalkit.estimators.survival.cox_residuals import sum_score_residuals
from evalkit.estimators.survival.cox_sums import (
    Moments,
    RiskSets,
    Ties,
    build_risk_sets,
    compute_information,
    compute_moments,
)

MIN_EVENTS = 10
MIN_CLUSTERS = 20
_LEVEL_OF_CHECK = 0.05
_SMALL_STEP = 1e-6  # in standard errors: the next Newton step would be its square
_SMALL_MOVE = 1e-4  # of any row's linear predictor


@dataclass(frozen=True)
class CoxOptions:
    """How a Cox model is fitted.

    `ties`: Efron's (the default, as R's) or Breslow's approximation. `errors`: which variance
    `CoxFit.standard_errors` uses; both are always computed. `cause`: events of other causes are censoring.
    `tolerance`: relative change of the log-likelihood below which coefficients that still move are taken to be
    on their way to infinity.
    """

    ties: Ties = "efron"
    errors: Literal["model", "robust"] = "robust"
    cause: int = 1
    max_iterations: int = 50
    tolerance: float = 1e-9


@dataclass(frozen=True)
class CoxFit:
    """A fitted Cox model, without any person's row.

    `coefficients` (p,) log hazard ratios a unit of each covariate; `variance` (p, p) the inverse of the observed
    information; `robust_variance` (p, p) the sum over clusters of outer products of weighted dfbetas (Lin and
    Wei 1989; Lee, Wei and Amato 1992), without any small-sample factor. Log-likelihoods are partial ones;
    `score_test` is the chi-square statistic of the score test on p degrees of freedom, from the model's variance.
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    variance: np.ndarray
    robust_variance: np.ndarray
    log_likelihood: float
    log_likelihood_null: float
    score_test: float
    n: int
    n_events: int
    n_people: int
    n_clusters: int
    iterations: int
    options: CoxOptions

    @property
    def standard_errors(self) -> np.ndarray:
        """Errors of the coefficients, shape (p,), of the kind `options.errors`."""
        chosen = self.variance if self.options.errors == "model" else self.robust_variance
        return np.sqrt(np.diag(chosen))

    @property
    def likelihood_ratio_test(self) -> float:
        """Twice the gain in log-likelihood: chi-square on p degrees of freedom (not valid with clustered rows)."""
        return 2 * (self.log_likelihood - self.log_likelihood_null)

    @property
    def wald_test(self) -> float:
        """Wald's chi-square on p degrees of freedom, of the variance that `options.errors` names.

        NaN with as many covariates as clusters or more, which leave no robust variance of all of them at once.
        """
        chosen = self.variance if self.options.errors == "model" else self.robust_variance
        if self.options.errors == "robust" and self.n_clusters <= len(self.names):
            return math.nan
        return float(self.coefficients @ np.linalg.solve(chosen, self.coefficients))


def fit_cox(follow_up: FollowUp, *, options: CoxOptions | None = None) -> CoxFit:
    """Fit a Cox model by maximum partial likelihood.

    Newton's method with step-halving on centred and scaled covariates; sums over risk sets are running sums over
    event times (see `RiskSets`), so that a million rows are sorted once and each step is linear in them. With
    R's conventions: case weights multiply a row's contribution to all sums, Efron's terms weigh the mean weight of
    their tie, the robust variance sums weight times dfbeta within `follow_up.cluster`. There is no limit from
    below on the number of events: estimates that are published go through `estimate_hazard_ratio`.

    Raises
    ------
    ParameterError
        No covariates, or options out of range.
    NotEstimable
        No events; a covariate that does not vary within risk sets, or is a sum of others; a coefficient that goes
        to infinity (a covariate that separates events from those at risk); no convergence.

    References
    ----------
    Cox 1972, JRSS B 34:187; Efron 1977, JASA 72:557; Andersen and Gill 1982, Annals of Statistics 10:1100;
    Therneau and Grambsch 2000, Modeling Survival Data, ch. 3 and 7.
    """
    options = options or CoxOptions()
    _require_usable(follow_up, options)
    sets = build_risk_sets(follow_up, cause=options.cause, ties=options.ties)
    found = _maximise(sets, follow_up.names, options)
    variance = linalg.inv(found.information)
    variance = (variance + variance.T) / 2
    by_cluster = sum_score_residuals(sets, found.moments, follow_up.cluster)
    influence = by_cluster @ variance
    size = np.outer(sets.scale, sets.scale)
    return CoxFit(
        follow_up.names,
        found.beta / sets.scale,
        variance / size,
        influence.T @ influence / size,
        found.moments.log_likelihood,
        found.null,
        found.score_test,
        len(follow_up),
        follow_up.n_events(options.cause),
        follow_up.n_people,
        len(by_cluster),
        found.iterations,
        options,
    )


@dataclass(frozen=True)
class _Maximum:
    beta: np.ndarray
    moments: Moments
    information: np.ndarray
    null: float
    score_test: float
    iterations: int


def _require_usable(follow_up: FollowUp, options: CoxOptions) -> None:
    faults = []
    if not follow_up.covariates.shape[1]:
        faults.append(Fault("covariates", "a Cox model needs at least one"))
    faults += cause_faults(options.cause, follow_up.causes)
    faults += choice_faults("ties", options.ties, ("efron", "breslow"))
    faults += choice_faults("errors", options.errors, ("model", "robust"))
    counts = is_whole(options.max_iterations) and options.max_iterations >= 1
    if not (counts and is_finite(options.tolerance) and options.tolerance > 0):
        faults.append(Fault("options", "max_iterations and tolerance must be positive"))
    if faults:
        raise ParameterError(faults)


def _maximise(sets: RiskSets, names: tuple[str, ...], options: CoxOptions) -> _Maximum:
    """Newton's method from 0, each step halved until the log-likelihood does not fall."""
    beta = np.zeros(len(names))
    now = compute_moments(sets, beta)
    if now is None:
        raise NotEstimable(
            Fault("offset", "it or the weights spread so widely that sums over risk sets lose their digits")
        )
    information = compute_information(sets, now)
    require_full_rank(information, sets, names)
    null, score_test = now.log_likelihood, float(now.score @ linalg.solve(information, now.score, assume_a="pos"))
    reach = np.ptp(sets.x, axis=0)
    mean_weight = sets.term_weight.mean()
    drifting = blocked = 0
    for iteration in range(1, options.max_iterations + 1):
        step = _newton_step(information, now.score, sets, names)
        taken, then, summable = _halve_until_higher(sets, beta, step, now)
        gain = then.log_likelihood - now.log_likelihood
        beta, now = beta + taken, then
        information = compute_information(sets, now)
        move = np.abs(taken) * reach
        in_errors = np.abs(step) * np.sqrt(np.maximum(np.diag(information), 0.0) / mean_weight)
        if move.max() < _SMALL_MOVE and in_errors.max() < _SMALL_STEP:
            return _Maximum(beta, now, information, null, score_test, iteration)
        # A coefficient on its way to infinity goes on at a steady pace while the log-likelihood has stopped, or
        # to where hazards are so unlike that a full step cannot be summed.
        drifting = drifting + 1 if gain <= options.tolerance * abs(now.log_likelihood) and move.max() > 0.1 else 0
        blocked = 0 if summable else blocked + 1
        if drifting > 1 or blocked > 4:
            require_finite_maximum(np.abs(step) * reach, names)
    raise NotEstimable(
        Fault(
            "Cox model",
            f"no convergence in {options.max_iterations} steps",
            next_step=f"Look at {names[int(np.argmax(move))]}, which moves most, and at outlying values.",
        )
    )


def _newton_step(information: np.ndarray, score: np.ndarray, sets: RiskSets, names: tuple[str, ...]) -> np.ndarray:
    try:
        return linalg.cho_solve(linalg.cho_factor(information), score)
    except linalg.LinAlgError:
        # It was of full rank at 0, so the steps have led to where the likelihood is flat: towards infinity.
        flat = np.abs(linalg.eigh(information)[1][:, 0]) * np.ptp(sets.x, axis=0)
        require_finite_maximum(flat, names)
        raise


def _halve_until_higher(
    sets: RiskSets, beta: np.ndarray, step: np.ndarray, now: Moments
) -> tuple[np.ndarray, Moments, bool]:
    """The step taken, the moments there, and whether those of the whole step can be summed."""
    slack = 1e-12 * max(abs(now.log_likelihood), 1.0)
    summable = True
    for halved in range(40):
        then = compute_moments(sets, beta + step)
        if then is not None and then.log_likelihood >= now.log_likelihood - slack:
            return step, then, summable
        summable = summable and not (halved == 0 and then is None)
        step = step / 2
    return np.zeros_like(step), now, summable


def estimate_hazard_ratio(
    follow_up: FollowUp,
    estimand: Estimand,
    *,
    covariate: str,
    options: CoxOptions | None = None,
    level: float = 0.95,
    role: Role = "primary",
) -> Estimate:
    """Hazard ratio of one covariate, adjusted for the others, with the tests of what it assumes.

    The interval is symmetric on the log scale and `se` is the error of the log hazard ratio, of the kind that
    `options.errors` names. A ratio of hazards that is not constant is an average over the follow-up that depends
    on censoring: the check `proportional_hazards` fails where the data speak against it.

    Raises
    ------
    ParameterError
        An unknown covariate, a level outside (0, 1), an estimand that is not a hazard ratio.
    NotEstimable
        Fewer than `MIN_EVENTS` events, clustered errors of one cluster, and whatever `fit_cox` refuses.
    """
    options = options or CoxOptions()
    _require_answerable(follow_up, estimand, covariate, level)
    _require_usable(follow_up, options)
    if follow_up.n_events(options.cause) < MIN_EVENTS:
        raise NotEstimable(
            Fault("events", f"too few for a hazard ratio: fewer than {MIN_EVENTS}", allowed=f"{MIN_EVENTS} or more")
        )
    fit = fit_cox(follow_up, options=options)
    if options.errors == "robust" and fit.n_clusters < 2:
        raise NotEstimable(Fault("clusters", "there is one alone, which has no error", allowed="2 or more"))
    place = follow_up.names.index(covariate)
    value, se = float(fit.coefficients[place]), float(fit.standard_errors[place])
    return log_ratio_estimate(
        estimand, "cox", role=role, log_value=value, se=se, level=level, n_people=fit.n_people, n_events=fit.n_events,
        checks=_make_checks(fit, follow_up, covariate), label=f"Cox model, hazard ratio of {covariate}",
    )  # fmt: skip


def _require_answerable(follow_up: FollowUp, estimand: Estimand, covariate: str, level: float) -> None:
    faults = []
    if covariate not in follow_up.names:
        hint = suggest_name(covariate, follow_up.names)
        faults.append(
            Fault("covariate", f'there is no "{covariate}"', allowed=", ".join(follow_up.names), next_step=hint)
        )
    faults += level_faults(level)
    if estimand.scale != "hazard_ratio":
        faults.append(Fault("estimand", "a Cox model gives a hazard ratio", estimand.scale, "hazard_ratio"))
    if faults:
        raise ParameterError(faults)


def _make_checks(fit: CoxFit, follow_up: FollowUp, covariate: str) -> tuple[Check, ...]:
    test = check_proportional_hazards(fit, follow_up)
    p_one = float(test.p_value[test.names.index(find_term(covariate))])
    p_all = float(test.p_value[-1])
    checks = []
    for name, p, of in [
        ("proportional_hazards", p_one, covariate),
        ("proportional_hazards_all", p_all, "all covariates"),
    ]:
        passed = p >= _LEVEL_OF_CHECK if math.isfinite(p) else None
        said = {True: "no sign", False: "signs", None: "too few event times to tell"}[passed]
        checks.append(Check(name, passed, p, f"Score test that the hazard ratio of {of} changes over time: {said}."))
    each = fit.n_events / len(fit.names)
    checks.append(Check("events_per_covariate", each >= MIN_EVENTS, each, f"{MIN_EVENTS} or more are wanted."))
    if fit.options.errors == "robust":
        text = f"Clustered errors are too small below about {MIN_CLUSTERS} clusters."
        checks.append(Check("clusters", fit.n_clusters >= MIN_CLUSTERS, float(fit.n_clusters), text))
    return tuple(checks)
