"""Fine and Gray's model of the risk of one outcome where another can come first, with weights and clusters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import FEW, how_many, refuse
from evalkit.core.errors import Fault, NotEstimable, ParameterError, suggest_name
from evalkit.core.estimand import Estimand
from evalkit.core.result import Check, Estimate, Role
from evalkit.estimators.fine_gray_errors import compute_clustered_variance, compute_score_residuals
from evalkit.estimators.fine_gray_sums import RiskSets, Ties, build_risk_sets
from evalkit.estimators.fine_gray_weights import TiedCensoring, derive_ends, fit_group_weights

MIN_EVENTS = 10
MIN_SIDE = 2
_FAR = 12.0  # a coefficient per standard deviation beyond which a covariate is taken to separate
_HALVINGS = 25


@dataclass(frozen=True)
class FineGrayOptions:
    """How the subdistribution hazard is fitted.

    errors : "model" (inverse information), "robust" (clustered, weights over time taken as known, as R's
        `coxph` on `finegray`) or "robust_censoring" (clustered, with what their estimation adds; as `crr`).
    strata : what `FollowUp.stratum` is: the groups of the "censoring" distribution, of the "baseline" hazard, or "both".
    tied_censoring : "after_events" (an event and a censoring on one day: the event was first; R's `finegray`)
        or "with_events" (both count as at risk of censoring; `crr`).
    censoring_weights : whether case weights count in the censoring distribution ("case": frequency and sampling
        weights) or not ("unweighted", as in R: weights that balance a comparison).
    """

    ties: Ties = "efron"
    errors: Literal["model", "robust", "robust_censoring"] = "robust_censoring"
    strata: Literal["both", "baseline", "censoring"] = "both"
    tied_censoring: TiedCensoring = "after_events"
    censoring_weights: Literal["unweighted", "case"] = "unweighted"
    max_iterations: int = 50
    tolerance: float = 1e-9


@dataclass(frozen=True)
class FineGrayFit:
    """Log subdistribution hazard ratios, p of them, and the baseline.

    `variance` (p, p) is model based, `robust_variance` (p, p) what `options.errors` asks for (the same where that
    is "model"). `times`, `stratum` and `increments` (E,) are the steps of the baseline cumulative subdistribution
    hazard of somebody whose covariates are all 0.
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    variance: np.ndarray
    robust_variance: np.ndarray
    log_likelihood: float
    log_likelihood_null: float
    score: np.ndarray
    n_people: int
    n_events: int
    n_competing: int
    iterations: int
    times: np.ndarray
    stratum: np.ndarray
    increments: np.ndarray
    options: FineGrayOptions

    @property
    def se(self) -> np.ndarray:
        """Standard errors as `options.errors` asks, shape (p,)."""
        return np.sqrt(np.diag(self.robust_variance))


@dataclass(frozen=True)
class _Step:
    """The partial likelihood at one set of coefficients, with what its derivatives and residuals need."""

    log_likelihood: float
    score: np.ndarray
    information: np.ndarray
    relative: np.ndarray
    denominator: np.ndarray
    mean: np.ndarray


def fit_fine_gray(follow_up: FollowUp, *, cause: int = 1, options: FineGrayOptions | None = None) -> FineGrayFit:
    """Fit the proportional subdistribution hazards model to time to `causes[cause - 1]`.

    Whoever has another event first stays at risk, with a weight that falls as they would have been censored and
    rises as they would have entered: G(t-)H(t-) / G(T-)H(T-). Case weights multiply it. Nobody is written out once for
    every time, so that a fit takes time in proportion to rows + event times.

    Raises
    ------
    ParameterError
        No covariates; `cause` is not among the causes; rows of a person after their event.
    NotEstimable
        No event; covariates that are constant or follow from others; a covariate that separates; weights that
        cannot be had since nobody is left to learn censoring or entry from.

    References
    ----------
    Fine and Gray 1999, JASA 94:496; Geskus 2011, Biometrics 67:39 (delayed entry); Therneau, Crowson and Atkinson,
    "Multi-state models and competing risks" (tied times).
    """
    options = options or FineGrayOptions()
    _check_input(follow_up, cause)
    f, ends = follow_up, derive_ends(follow_up)
    one = np.zeros(len(f), dtype=np.int64)
    own = np.unique(f.stratum, return_inverse=True)[1]
    layer = one if options.strata == "censoring" else own
    group = one if options.strata == "baseline" else own
    mass = f.weights if options.censoring_weights == "case" else np.ones(len(f))
    weights = fit_group_weights(f, ends, group, mass, tied=options.tied_censoring)
    sets = build_risk_sets(f, cause=cause, layer=layer, group=group, weights=weights, ties=options.ties)
    centre, scale = _standard(f)
    z = (f.covariates - centre) / scale
    step, b, null, iterations = _maximise(sets, f, z, options)
    beta = b / scale
    inverse = np.linalg.inv(step.information)
    variance = inverse / np.outer(scale, scale)
    if options.errors == "model":
        robust = variance
    else:
        residuals = compute_score_residuals(
            sets, f, z, step.relative, step.denominator, step.mean,
            censoring=(weights, ends, mass, options.tied_censoring) if options.errors == "robust_censoring" else None,
        )  # fmt: skip
        robust = compute_clustered_variance(residuals @ inverse / scale, f.cluster)
    rises = sets.sum_terms((sets.mass / step.denominator)[:, None])[:, 0] * np.exp(-centre @ beta)
    codes = np.unique(f.stratum) if options.strata != "censoring" else np.zeros(1, dtype=np.int64)
    return FineGrayFit(
        f.names, beta, variance, robust, step.log_likelihood, null, step.score / scale, f.n_people, f.n_events(cause),
        int(((f.event != 0) & (f.event != cause)).sum()), iterations, sets.times, codes[sets.layer], rises, options,
    )  # fmt: skip


def compute_cumulative_incidence_at(
    fit: FineGrayFit, x: np.ndarray, times: np.ndarray, *, stratum: int | None = None
) -> np.ndarray:
    """Risk of the outcome by each time for people like `x`: 1 - exp(-baseline(t) exp(x b)), shape (m, T).

    Parameters
    ----------
    x : float array, shape (m, p) or (p,), in the units and order of `fit.names`
    times : float array, shape (T,)
    stratum : code of the baseline stratum; needed where there are several

    Raises
    ------
    ParameterError
        `x` has another number of columns; no such stratum, or none named among several.
    """
    rows = np.atleast_2d(np.asarray(x, dtype=np.float64))
    known = np.unique(fit.stratum)
    faults = []
    if rows.shape[1] != len(fit.names):
        faults.append(Fault("x", "it has another number of covariates", f"{rows.shape[1]}", f"{len(fit.names)}"))
    if (stratum is None and len(known) > 1) or (stratum is not None and stratum not in known):
        faults.append(Fault("stratum", "name the baseline stratum", got=f"{stratum}", allowed=f"{known.tolist()}"))
    refuse(faults)
    inside = fit.stratum == (known[0] if stratum is None else stratum)
    total = np.concatenate([[0.0], np.cumsum(fit.increments[inside])])
    at = total[np.searchsorted(fit.times[inside], np.asarray(times, dtype=np.float64), "right")]
    return -np.expm1(-np.exp(rows @ fit.coefficients)[:, None] * at[None, :])


def estimate_subdistribution_ratio(
    follow_up: FollowUp,
    estimand: Estimand,
    *,
    covariate: str,
    cause: int = 1,
    options: FineGrayOptions | None = None,
    level: float = 0.95,
    role: Role = "primary",
) -> Estimate:
    """Ratio of subdistribution hazards per unit of `covariate`, given the others, with a clustered interval.

    The interval is normal on the log scale and `se` is the error of the log. The ratio says in which direction
    and in what order the risk moves, not by how much: for that take differences of cumulative incidence.

    Raises
    ------
    ParameterError
        The estimand is not on the scale `hazard_ratio`; no such covariate; a level outside 0 to 1.
    NotEstimable
        Fewer than `MIN_EVENTS` events or `MIN_SIDE` people on a side, and what `fit_fine_gray` raises.
    """
    place = _covariate_place(follow_up, estimand, covariate, level)
    _refuse_thin(follow_up, cause, place)
    fit = fit_fine_gray(follow_up, cause=cause, options=options)
    b, se = float(fit.coefficients[place]), float(fit.se[place])
    half = stats.norm.ppf(0.5 + level / 2) * se
    return Estimate(
        estimand,
        "fine_gray",
        role,
        math.exp(b),
        math.exp(b - half),
        math.exp(b + half),
        level,
        n_people=fit.n_people,
        n_events=fit.n_events,
        se=se,
        p_value=float(2 * stats.norm.sf(abs(b) / se)),
        checks=_checks(fit),
        label="Fine and Gray's subdistribution hazard ratio",
    )


def _maximise(
    sets: RiskSets, f: FollowUp, z: np.ndarray, options: FineGrayOptions
) -> tuple[_Step, np.ndarray, float, int]:
    """Newton's steps from 0, halved where the likelihood falls; coefficients are per standard deviation."""
    b = np.zeros(z.shape[1])
    step = _step(sets, f, z, b)
    null = step.log_likelihood
    for iteration in range(1, options.max_iterations + 1):
        move = np.linalg.lstsq(step.information, step.score, rcond=None)[0]
        size = 1.0
        for _ in range(_HALVINGS):
            tried = _step(sets, f, z, b + size * move)
            if tried.log_likelihood >= step.log_likelihood - 1e-10 * abs(step.log_likelihood):
                break
            size /= 2
        b, step = b + size * move, tried
        if np.abs(b).max(initial=0.0) > _FAR:
            break
        if np.abs(size * move).max(initial=0.0) <= options.tolerance * max(1.0, np.abs(b).max(initial=0.0)):
            return step, b, null, iteration
    worst = f.names[int(np.abs(b).argmax())]
    if np.abs(b).max() > _FAR:
        text = f'"{worst}" separates those with the event from those without: its coefficient runs off to infinity'
        raise NotEstimable(Fault(worst, text, next_step="Leave it out, or join it with another category."))
    raise NotEstimable(Fault(worst, f"the fit did not converge in {options.max_iterations} steps"))


def _step(sets: RiskSets, f: FollowUp, z: np.ndarray, b: np.ndarray) -> _Step:
    """Log partial likelihood, score and information at `b`, with Efron's or Breslow's terms."""
    eta = z @ b + f.offset
    relative = f.weights * np.exp(eta)
    both = np.column_stack([relative, relative[:, None] * z])
    at_risk, dying = sets.sum_at_risk(both)[sets.place], sets.sum_events(both)[sets.place]
    left = at_risk - sets.fraction[:, None] * dying
    denominator, mean = left[:, 0], left[:, 1:] / left[:, :1]
    e, w = sets.event, f.weights[sets.event]
    hazard = sets.mass / denominator
    rises = sets.sum_terms(np.column_stack([hazard, hazard * sets.fraction]))
    gathered = sets.integrate(rises[:, :1])[:, 0]
    gathered[e] -= rises[sets.last[e] - 1, 1]
    information = (z * (relative * gathered)[:, None]).T @ z - (mean * sets.mass[:, None]).T @ mean
    value = float(w @ eta[e] - sets.mass @ np.log(denominator))
    score = w @ z[e] - sets.mass @ mean
    return _Step(value, score, information, np.exp(eta), denominator, mean)


def _standard(f: FollowUp) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale of the covariates, (p,) each; refuses those that are constant or follow from others."""
    centre = np.average(f.covariates, axis=0, weights=f.weights)
    scale = np.sqrt(np.average((f.covariates - centre) ** 2, axis=0, weights=f.weights))
    flat = scale <= 1e-10 * np.maximum(np.abs(centre), 1e-300)
    if flat.any():
        raise NotEstimable([
            Fault(name, "everybody has the same value, so it has no effect to be found")
            for name, same in zip(f.names, flat, strict=True) if same
        ])  # fmt: skip
    r = np.abs(np.diag(np.linalg.qr((f.covariates - centre) / scale, mode="r")))
    if (r <= 1e-8 * r.max(initial=0.0)).any():
        name = f.names[int(np.flatnonzero(r <= 1e-8 * r.max())[0])]
        raise NotEstimable(Fault(name, "it follows from the covariates before it", next_step="Leave one of them out."))
    return centre, scale


def _check_input(f: FollowUp, cause: int) -> None:
    if not 1 <= cause <= len(f.causes):
        raise ParameterError(Fault("cause", "there is no such cause", f"{cause}", f"1 to {len(f.causes)}"))
    if not f.covariates.shape[1]:
        raise ParameterError(Fault("covariates", "there are none", next_step="Name them in FollowUp.from_frame."))
    order = np.lexsort((f.exit, f.person))
    after = (f.person[order][1:] == f.person[order][:-1]) & (f.event[order][:-1] > 0)
    if after.any():
        raise ParameterError(Fault(
            "follow-up", f"{how_many(int(after.sum()))} come after an event of the same person",
            allowed="follow-up to the first event only",
            next_step="Leave out what follows a person's first event; see `build_recurrent` for all of them.",
        ))  # fmt: skip
    if not f.n_events(cause):
        raise NotEstimable(Fault(f.causes[cause - 1], "nobody had it"))


def _covariate_place(f: FollowUp, estimand: Estimand, covariate: str, level: float) -> int:
    faults = []
    if estimand.scale != "hazard_ratio":
        faults.append(Fault("estimand", "a subdistribution hazard ratio has one scale", estimand.scale, "hazard_ratio"))
    if covariate not in f.names:
        faults.append(Fault("covariate", f'there is no "{covariate}"', next_step=suggest_name(covariate, f.names)))
    if not 0 < level < 1:
        faults.append(Fault("level", "it must be between 0 and 1", got=f"{level}"))
    refuse(faults)
    return f.names.index(covariate)


def _refuse_thin(f: FollowUp, cause: int, place: int) -> None:
    if 1 <= cause <= len(f.causes) and f.n_events(cause) < MIN_EVENTS:
        raise NotEstimable(Fault(f.causes[cause - 1], "too few events", f"fewer than {MIN_EVENTS}", f"{MIN_EVENTS} or more"))
    x = f.covariates[:, place]
    if len(np.unique(x)) == 2 and min(len(np.unique(f.person[x == v])) for v in np.unique(x)) < MIN_SIDE:
        raise NotEstimable(Fault(f.names[place], "one side has one person only", allowed=f"{MIN_SIDE} or more"))


def _checks(fit: FineGrayFit) -> tuple[Check, ...]:
    share = fit.n_competing / fit.n_people if fit.n_competing >= FEW else math.nan
    told = f"{share:.0%} of people" if fit.n_competing >= FEW else f"fewer than {FEW} people"
    return (
        Check("competing", None, share, f"The other outcome came first for {told}; they stay in the risk set."),
    )
