"""What can be wrong with a Cox model: covariates that say the same, that separate, and hazards not proportional."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import linalg, stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable, ParameterError
from evalkit.estimators.survival.cox_residuals import rebuild
from evalkit.estimators.survival.cox_sums import RiskSets, compute_information

if TYPE_CHECKING:
    from evalkit.estimators.survival.cox import CoxFit

Transform = Literal["km", "rank", "identity", "log"]
_SINGULAR = 1e-10  # share of a covariate's information left when the others are known


def require_full_rank(information: np.ndarray, sets: RiskSets, names: Sequence[str]) -> None:
    """Refuse covariates that do not vary within risk sets, or that others make up; all are named.

    `information`, shape (p, p), is that of scaled covariates at coefficients 0.
    """
    events = sets.term_weight.sum()
    diagonal = np.diag(information)
    flat = diagonal <= _SINGULAR * events
    faults = [
        Fault(names[j], "it does not vary among people at risk at the same time", next_step="Leave it out.")
        for j in np.flatnonzero(flat)
    ]
    kept = np.flatnonzero(~flat)
    sizes = np.sqrt(diagonal[kept])
    correlation = information[np.ix_(kept, kept)] / np.outer(sizes, sizes)
    used: list[int] = []
    for j in range(len(kept)):
        cross = correlation[used, j]
        made_of = linalg.solve(correlation[np.ix_(used, used)], cross, assume_a="pos") if used else cross
        if 1 - cross @ made_of > _SINGULAR:
            used.append(j)
            continue
        others = ", ".join(names[kept[used[k]]] for k in np.flatnonzero(np.abs(made_of) > 1e-6))
        faults.append(Fault(names[kept[j]], f"it is made up of {others}", next_step="Leave one of them out."))
    if faults:
        raise NotEstimable(faults)


def require_finite_maximum(move: np.ndarray, names: Sequence[str]) -> None:
    """Refuse a likelihood without a maximum, naming the covariates, shape (p,) of moves, that still move."""
    guilty = np.flatnonzero(move > 0.1 * move.max())
    raise NotEstimable([
        Fault(
            names[j], "its coefficient goes to infinity: it separates those with events from those at risk",
            next_step="Look for a group without events (or in which all have one), or a value far from all others.",
        )
        for j in guilty
    ])  # fmt: skip


@dataclass(frozen=True)
class ProportionalHazardsTest:
    """Score tests that coefficients do not change over time, by term, with all at once ("GLOBAL") last.

    `names`, and `chi_square`, `df`, `p_value` of shape (terms + 1,). Indicators `a=x`, `a=y` are one term `a`. NaN
    where event times are too few to tell.
    """

    names: tuple[str, ...]
    chi_square: np.ndarray
    df: np.ndarray
    p_value: np.ndarray


def check_proportional_hazards(
    fit: CoxFit, follow_up: FollowUp, *, transform: Transform = "km"
) -> ProportionalHazardsTest:
    """Test proportional hazards, as R's `cox.zph` does since survival 3.0.

    The score test of adding each covariate times g(time), g centred at its mean over events: "km" is one less the
    unweighted Kaplan-Meier curve of all rows just before the time, "rank" the rank of the time among all exits.
    It uses the model's variance: with clustered rows its p-value is too small or too large, as R's is.

    Raises ParameterError for an unknown transform, logs of times that are not positive, another follow-up.

    References
    ----------
    Grambsch and Therneau 1994, Biometrika 81:515; Therneau and Grambsch 2000, ch. 6.
    """
    sets, moments = rebuild(fit, follow_up)
    g = _transform_times(sets, follow_up, fit.options.cause, transform)
    p = len(fit.names)
    own = np.bincount(sets.slot[sets.dead], minlength=len(sets.time))
    g = g - (own @ g) / own.sum()
    dead = sets.dead
    # Of scaled covariates: the statistics do not depend on scale.
    late = (sets.weights[dead] * g[sets.slot[dead]]) @ sets.x[dead]
    late -= (sets.term_weight * g[sets.term_slot]) @ moments.mean
    cross = compute_information(sets, moments, g)
    late_variance = compute_information(sets, moments, g * g)
    left = late_variance - cross @ linalg.solve(compute_information(sets, moments), cross, assume_a="pos")
    terms = list(dict.fromkeys(find_term(name) for name in fit.names))
    members = [[j for j, name in enumerate(fit.names) if find_term(name) == term] for term in terms]
    chi_square, df = [], []
    for columns in [*members, list(range(p))]:
        chi_square.append(_quadratic(late[columns], left[np.ix_(columns, columns)], np.diag(late_variance)[columns]))
        df.append(len(columns))
    statistic = np.array(chi_square)
    return ProportionalHazardsTest((*terms, "GLOBAL"), statistic, np.array(df), stats.chi2.sf(statistic, df))


def find_term(name: str) -> str:
    """The covariate that an indicator `covariate=category` belongs to; others, and such as `age>=65`, are their own."""
    term, _, _ = name.partition("=")
    return name if term.endswith(("<", ">", "!")) else term


def _quadratic(score: np.ndarray, variance: np.ndarray, whole: np.ndarray) -> float:
    """score' variance^-1 score; NaN where nothing is left of the `whole` variance, as with all events at one time."""
    size = np.sqrt(whole)
    if not (size > 0).all() or linalg.eigvalsh(variance / np.outer(size, size)).min() < _SINGULAR:
        return float("nan")
    return float(score @ linalg.solve(variance, score, assume_a="pos"))


def _transform_times(sets: RiskSets, follow_up: FollowUp, cause: int, transform: Transform) -> np.ndarray:
    """g of the time of each slot, shape (slots,), 0 in empty ones."""
    real = np.isfinite(sets.time)
    times = sets.time[real]
    if transform == "identity":
        found = times
    elif transform == "log":
        if times.min() <= 0:
            raise ParameterError(
                Fault("transform", "times of 0 or less have no logarithm", "log", "km, rank, identity")
            )
        found = np.log(times)
    elif transform == "rank":
        exits = np.sort(follow_up.exit)
        below, upto = np.searchsorted(exits, times), np.searchsorted(exits, times, side="right")
        found = (below + 1 + upto) / 2
    elif transform == "km":
        found = _one_less_survival(follow_up, cause, times)
    else:
        raise ParameterError(Fault("transform", "unknown", str(transform), "km, rank, identity, log"))
    g = np.zeros(len(real))
    g[real] = found
    return g


def _one_less_survival(follow_up: FollowUp, cause: int, at: np.ndarray) -> np.ndarray:
    """One less the Kaplan-Meier curve of all rows, unweighted and without strata, just before each time."""
    times, deaths = np.unique(follow_up.exit[follow_up.event == cause], return_counts=True)
    entered = np.searchsorted(np.sort(follow_up.entry), times)
    gone = np.searchsorted(np.sort(follow_up.exit), times)
    survival = np.concatenate([[1.0], np.cumprod(1 - deaths / (entered - gone))])
    return 1 - survival[np.searchsorted(times, at)]
