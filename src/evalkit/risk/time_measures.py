"""How well risks by a horizon fit what followed, where some are not followed so far and death may come first.

The follow-up has a row a discharge, each on its own clock from its discharge; `cluster` ties those of a person, and
its first cause is the outcome. Where other causes compete, whoever dies first has not come back and never will.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import rankdata

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import choice_faults, refuse
from evalkit.estimators.survival.cox_concordance import sum_below
from evalkit.estimators.survival.cox_sums import compute_time_codes
from evalkit.estimators.survival.curve_sums import build_risk_sets, compute_path, compute_value_influence
from evalkit.estimators.survival.kaplan_meier import compute_censoring_weights
from evalkit.risk.decision import sum_squares
from evalkit.risk.decision_time import refuse_few_by, risk_time_faults

Weighting = Literal["harrell", "uno"]
Controls = Literal["not_case", "event_free"]


@dataclass(frozen=True)
class TimeMeasure:
    """A measure and its standard error, which sums what discharges of one person add; NaN for one person."""

    value: float
    se: float


def compute_time_concordance(
    risk: np.ndarray, follow_up: FollowUp, *, horizon: float, weighting: Weighting = "harrell"
) -> TimeMeasure:
    """Share of pairs in which who came back first, by the horizon, had the higher risk; ties of risk count half.

    "harrell" counts every pair alike and depends on censoring; "uno" weighs a pair by 1/G(t-)^2, with G the
    Kaplan-Meier probability of being followed at the event's time, and does not (R's `concordance`, `timewt="n/G2"`).
    The error is R's infinitesimal jackknife, which takes G as known. Where other causes compete, "harrell" keeps
    whoever had one first among those who did not come back (Wolbers et al. 2009, Epidemiology 20:555), and "uno" is
    refused: see `compute_time_auroc`.

    Raises
    ------
    ParameterError
        Malformed risks, a horizon before the start, rows that enter late, strata; "uno" with competing causes.
    NotEstimable
        Fewer than 10 events by the horizon, or 10 discharges without; nobody followed to it.

    References
    ----------
    Harrell et al. 1982, JAMA 247:2543; Uno et al. 2011, Stat Med 30:1105; Therneau and Watson 2017, Mayo report 85.
    """
    faults = [*risk_time_faults(risk, follow_up, horizon), *choice_faults("weighting", weighting, ("harrell", "uno"))]
    if weighting == "uno" and (follow_up.event > 1).any():
        step = "Use compute_time_auroc, which has competing causes."
        faults.append(Fault("weighting", "Uno's weights have no competing causes", "uno", "harrell", step))
    refuse(faults)
    refuse_few_by(follow_up, horizon)
    w = follow_up.weights
    part = np.ones(len(w))
    if weighting == "uno":
        part = compute_censoring_weights(follow_up, horizon=float(follow_up.exit.max())) ** 2
    _, exit_, times = compute_time_codes(follow_up)
    event = (follow_up.event == 1) & (times[exit_] <= horizon)
    # Whoever has a competing event is still there, without the outcome, at every later time.
    leave = np.where(follow_up.event > 1, len(times), exit_)
    higher, lower, tied = _count_pairs(np.unique(risk, return_inverse=True)[1], leave, event, w, part)
    pairs = (w * (higher + lower + tied)).sum() / 2
    if not pairs > 0:
        raise NotEstimable(Fault("concordance", "no row is at risk when another has an event"))
    somers = (w * (higher - lower)).sum() / 2 / pairs
    influence = w * (higher - lower - somers * (higher + lower + tied)) / pairs / 2
    return TimeMeasure(float((somers + 1) / 2), _error(influence, follow_up, "jackknife"))


def compute_ipcw_brier(risk: np.ndarray, follow_up: FollowUp, *, horizon: float) -> dict[str, TimeMeasure]:
    """`brier`, `null_brier` (everybody at the observed risk) and `ipa` = 1 - brier / null_brier, by the horizon.

    Mean of W (y - risk)^2, where y says whether the outcome came by the horizon, and W is one over the Kaplan-Meier
    probability of being followed to an event of any cause or to the horizon, 0 for those censored before (Graf et al.
    1999, Stat Med 18:2529; with competing causes Schoop et al. 2011, Biom J 53:88; index of prediction accuracy: Kattan
    and Gerds 2018, Diagn Progn Res 2:7). Errors have a term for the estimation of W. Raises as
    `compute_time_concordance`.
    """
    refuse(risk_time_faults(risk, follow_up, horizon))
    refuse_few_by(follow_up, horizon)
    y, inverse = _outcomes(follow_up, horizon), compute_censoring_weights(follow_up, horizon=horizon)
    observed = _mean(inverse * y, follow_up) / _mean(inverse, follow_up)
    own, null = (y - risk) ** 2, (y - observed) ** 2
    brier, worst = _mean(inverse * own, follow_up), _mean(inverse * null, follow_up)
    gain = -own / worst + brier * null / worst**2
    squares = {"brier": (brier, own), "null_brier": (worst, null), "ipa": (1 - brier / worst, gain)}
    found = {}
    for name, (value, terms) in squares.items():
        direct = (inverse * terms - _mean(inverse * terms, follow_up)) / follow_up.weights.sum()
        through = inverse * terms / follow_up.weights.sum()
        influence = follow_up.weights * (direct + _compute_censoring_influence(through, follow_up, horizon))
        found[name] = TimeMeasure(float(value), _error(influence, follow_up))
    return found


def compute_time_auroc(
    risk: np.ndarray, follow_up: FollowUp, *, horizon: float, controls: Controls = "not_case"
) -> TimeMeasure:
    """Area under the ROC curve at the horizon: who comes back by then against who does not, each weighed by 1/G.

    Cumulative cases, dynamic controls (Uno et al. 2007, JASA 102:527). With competing causes controls are all who
    have not come back by then, also those who died ("not_case": Blanche, Dartigues and Jacqmin-Gadda 2013, Stat Med
    32:5381, their definition of controls with I(T > t) or another cause by t, which timeROC calls AUC_2), or only those
    free of any event ("event_free", AUC_1). Errors have a term for the estimation of G. Raises as
    `compute_time_concordance`.
    """
    refuse([*risk_time_faults(risk, follow_up, horizon),
            *choice_faults("controls", controls, ("not_case", "event_free"))])  # fmt: skip
    refuse_few_by(follow_up, horizon)
    inverse = compute_censoring_weights(follow_up, horizon=horizon)
    case = _outcomes(follow_up, horizon) == 1
    other = (follow_up.event > 1) & (follow_up.exit <= horizon)
    control = ~case & (inverse > 0) & (True if controls == "not_case" else ~other)
    mass = follow_up.weights * inverse
    of_cases = _compute_placements(risk, case, control, mass)
    of_controls = _compute_placements(-np.asarray(risk), control, case, mass)
    cases, rest = mass[case].sum(), mass[control].sum()
    area = float(mass[case] @ of_cases / cases)
    direct = np.zeros(len(mass))
    direct[case] = inverse[case] * (of_cases - area) / cases
    direct[control] = inverse[control] * (of_controls - area) / rest
    through = _compute_censoring_influence(direct, follow_up, horizon)
    return TimeMeasure(area, _error(follow_up.weights * (direct + through), follow_up))


def compute_time_observed_expected(risk: np.ndarray, follow_up: FollowUp, *, horizon: float) -> TimeMeasure:
    """Observed risk by the horizon (Aalen-Johansen; with one cause one less Kaplan-Meier) over the mean risk.

    `se` is the ratio times that of its logarithm. Raises as `compute_time_concordance`.
    """
    refuse(risk_time_faults(risk, follow_up, horizon))
    refuse_few_by(follow_up, horizon)
    w = follow_up.weights
    observed, of_observed = compute_observed_risk(follow_up, horizon=horizon)
    expected = _mean(risk, follow_up)
    influence = of_observed / observed - w * (risk - expected) / w.sum() / expected
    ratio = observed / expected
    return TimeMeasure(ratio, ratio * _error(influence, follow_up))


def compute_observed_risk(follow_up: FollowUp, *, horizon: float) -> tuple[float, np.ndarray]:
    """Aalen-Johansen risk of the first cause by the horizon, and each row's weighted influence on it, (n,)."""
    any_event = follow_up.event > 0
    sets = build_risk_sets(follow_up.entry, follow_up.exit, follow_up.weights, follow_up.cluster, any_event)
    path = compute_path(sets, follow_up.event == 1, any_event)
    place = int(np.searchsorted(sets.time, horizon, side="right"))
    value = float(path.value[place - 1]) if place else 0.0
    return value, compute_value_influence(sets, path, np.array([place]))[:, 0]


# ---- parts -----------------------------------------------------------------------------------------


def _outcomes(follow_up: FollowUp, horizon: float) -> np.ndarray:
    return ((follow_up.event == 1) & (follow_up.exit <= horizon)).astype(np.float64)


def _mean(values: np.ndarray, follow_up: FollowUp) -> float:
    return float(follow_up.weights @ values / follow_up.weights.sum())


def _error(influence: np.ndarray, follow_up: FollowUp, factor: Literal["clusters", "jackknife"] = "clusters") -> float:
    """Error of influence values (n,) summed by person; "jackknife" without the factor of G / (G - 1), as R's."""
    cluster = np.unique(follow_up.cluster, return_inverse=True)[1]
    people = int(cluster.max()) + 1
    variance = float(sum_squares(influence[:, None], cluster)[0, 0])
    return math.sqrt(variance * ((people - 1) / people if factor == "jackknife" else 1.0))


def _count_pairs(
    rank: np.ndarray, leave: np.ndarray, event: np.ndarray, weights: np.ndarray, part: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight of each row's pairs in which the earlier event had the higher, lower and same risk, three of (n,).

    A row is paired with those who leave after its event, or unseen at its time, and with the events before it leaves.
    Every pair weighs the `weights` of the other and the `part` of its event. O(n log n).
    """
    key = 2 * leave + ~event
    order = np.argsort(key, kind="stable")
    at = np.flatnonzero(event)
    bounds = np.concatenate([rank, rank + 1])
    found = np.zeros((3, len(rank)))

    def add(
        to: np.ndarray, below: np.ndarray, upto: np.ndarray, total: np.ndarray, times: np.ndarray, sign: int
    ) -> None:
        found[0, to] += times * (below if sign > 0 else total - upto)
        found[1, to] += times * (total - upto if sign > 0 else below)
        found[2, to] += times * (upto - below)

    later = np.searchsorted(key[order], 2 * leave[at] + 1)
    ends = np.full(2 * len(at), len(rank))
    sums = sum_below(rank[order], weights[order], np.tile(later, 2), ends, np.concatenate([rank[at], rank[at] + 1]))
    remaining = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)[later]
    add(at, sums[: len(at)], sums[len(at) :], remaining, part[at], 1)

    events = order[event[order]]
    earlier = np.searchsorted(2 * leave[events] + 1, key, side="right")
    mass = (weights * part)[events]
    sums = sum_below(rank[events], mass, np.zeros(2 * len(rank), dtype=np.int64), np.tile(earlier, 2), bounds)
    before = np.append(0.0, np.cumsum(mass))[earlier]
    everyone = np.arange(len(rank))
    add(everyone, sums[: len(rank)], sums[len(rank) :], before, np.ones(len(rank)), -1)
    return found[0], found[1], found[2]


def _compute_placements(risk: np.ndarray, own: np.ndarray, other: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """For each `own` row the share of the `other` rows' mass with a lower risk, ties half."""
    values = rankdata(risk, method="dense")
    total = np.append(0.0, np.cumsum(np.bincount(values[other], mass[other], minlength=values.max() + 1)))
    return (total[values[own]] + total[values[own] + 1]) / 2 / total[-1]


def _compute_censoring_influence(through: np.ndarray, follow_up: FollowUp, horizon: float) -> np.ndarray:
    """What each row adds by moving G, a unit of its weight, (n,): `through` (n,) is what a relative change of the
    row's own 1/G would add, a unit of its weight.

    The derivative of log G(t-) in a row's weight is the sum over censoring times u < t of
    -(censored at u - at risk at u c/Y) / (Y - c), with c of Y at risk censored.
    """
    w, known = follow_up.weights, (follow_up.event > 0) | (follow_up.exit >= horizon)
    times = np.unique(follow_up.exit[~known])
    # Who has an event at a time of censoring has left before it; who is censored there is at risk of it.
    leave = np.where(known, np.searchsorted(times, follow_up.exit), np.searchsorted(times, follow_up.exit, "right"))

    def after(values: np.ndarray) -> np.ndarray:
        return np.cumsum(np.bincount(leave, values, minlength=len(times) + 1)[::-1])[::-1][1:]

    there, moved = after(w), after(np.where(known, w * through, 0.0))
    gone = np.bincount(leave[~known] - 1, w[~known], minlength=len(times))
    left = np.where(moved != 0, there - gone, np.inf)  # where all are censored nothing later is weighed
    step = moved / left
    found = -np.append(0.0, np.cumsum(step * gone / there))[leave]
    found[~known] += step[leave[~known] - 1]
    return found
