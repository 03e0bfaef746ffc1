"""Net benefit of acting on a risk, against acting for all and for none, with intervals tied by person.

Net benefit weighs who is flagged rightly against who is flagged in vain, at the odds of the threshold: to flag at 10%
is to hold one discharge that comes back as dear as nine that do not (Vickers and Elkin 2006, Med Decis Making 26:565).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from evalkit.core.errors import Fault
from evalkit.core.faults import choice_faults, is_finite, level_faults, refuse
from evalkit.core.result import Check
from evalkit.risk.arrays import count_faults, refuse_few, risk_faults

Risks = np.ndarray | Mapping[str, np.ndarray]

ALONE = "model"  # what a model is called where risks are given without a name
ALL, NONE = "all", "none"
FEWEST_PEOPLE = 10
# A threshold of 0 has no odds to divide by and would flag a risk of exactly 0; R's dcurves puts this in its place.
_NUDGE = 1e-10


@dataclass(frozen=True, eq=False)
class NetBenefit:
    """Net benefit of M models at T thresholds in B replicates, a unit a discharge; of no one flagged it is 0.

    `net_benefit` (B, M, T), `treat_all` (B, T), `prevalence` (B,) the share with the outcome. Undefined is NaN.
    """

    models: tuple[str, ...]
    thresholds: np.ndarray
    net_benefit: np.ndarray
    treat_all: np.ndarray
    prevalence: np.ndarray

    @property
    def standardised(self) -> np.ndarray:
        """Net benefit over the prevalence, which is the most there can be, (B, M, T); NaN where that is 0."""
        share = np.where(self.prevalence > 0, self.prevalence, math.nan)  # none in a draw: undefined
        return self.net_benefit / share[:, None, None]

    @property
    def avoided_per_100(self) -> np.ndarray:
        """Interventions fewer than for all, net of those missed, in 100 discharges, (B, M, T); NaN at threshold 0."""
        odds = np.where(self.thresholds > 0, positive_odds(self.thresholds), math.nan)
        return 100 * (self.net_benefit - self.treat_all[:, None, :]) / odds


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefit of S = M + 1 strategies (models, then "all") at T thresholds, with what intervals need.

    `net_benefit` (S, T); `covariance` (T, S + 1, S + 1) of the strategies' net benefit and, last, of the
    prevalence; `flagged_people` (S, T) people with a discharge that is flagged. `n_events` counts discharges with the
    outcome.
    """

    strategies: tuple[str, ...]
    thresholds: np.ndarray
    net_benefit: np.ndarray
    covariance: np.ndarray
    prevalence: float
    flagged_people: np.ndarray
    level: float
    n_discharges: int
    n_people: int
    n_events: int
    checks: tuple[Check, ...]

    @property
    def frame(self) -> pd.DataFrame:
        """One row a strategy and threshold: net_benefit, standardised, avoided_per_100, gain_over_all, each with
        `_se`, `_lower` and `_upper`; no interval (NaN) where fewer than 10 people are flagged or nothing varies."""
        names, odds = (*self.strategies, "prevalence"), positive_odds(self.thresholds)
        parts = []
        for place, strategy in enumerate(self.strategies):
            value = self.net_benefit[place]
            own, over = _contrast(names, {strategy: 1.0}), _contrast(names, {strategy: 1.0}, {ALL: 1.0})
            per_event = np.tile(own / self.prevalence, (len(odds), 1))
            per_event[:, -1] = -value / self.prevalence**2
            gain = value - self.net_benefit[-1]
            kinds = {
                "net_benefit": (value, np.tile(own, (len(odds), 1))),
                "standardised": (value / self.prevalence, per_event),
                "avoided_per_100": (100 * gain / odds, 100 * over / odds[:, None]),
                "gain_over_all": (gain, np.tile(over, (len(odds), 1))),
            }
            columns = {"strategy": strategy, "threshold": self.thresholds}
            for kind, (found, weights) in kinds.items():
                columns |= _with_interval(kind, found, weights, self, self.flagged_people[place])
            parts.append(pd.DataFrame(columns))
        return pd.concat(parts, ignore_index=True)


def compute_net_benefit(
    risk: Risks,
    outcome: np.ndarray,
    *,
    thresholds: Sequence[float] | np.ndarray,
    prevalence: float | None = None,
    counts: np.ndarray | None = None,
) -> NetBenefit:
    """Net benefit of flagging every risk of `thresholds` or more, and of flagging all.

    Parameters
    ----------
    risk : (n,) probabilities, or several models' by name
    outcome : (n,) 0 or 1
    thresholds : (T,) risks from 0 to below 1, in order and each once; 0 counts as 1e-10, as in R's dcurves
    prevalence : share with the outcome where it is known from elsewhere, as for cases and controls sampled apart
    counts : (B, n) weights, such as how often each discharge was drawn; without them B is 1

    With N discharges, TP and FP of them flagged rightly and in vain, and w = pt / (1 - pt) the odds of the
    threshold: TP/N - w FP/N (Vickers and Elkin 2006). With a prevalence q it is
    q TP/cases - w (1 - q) FP/controls (Pfeiffer and Gail 2020, Biom J 62:764).

    Raises
    ------
    ParameterError
        Malformed arrays, risks outside 0 to 1, thresholds outside [0, 1), a prevalence outside (0, 1).
    NotEstimable
        Fewer than 10 discharges with the outcome, or without it.
    """
    risks, outcome = _check_arguments(risk, outcome, thresholds, prevalence, counts=counts)
    cuts = np.asarray(thresholds, dtype=np.float64)
    odds = positive_odds(cuts)
    weights = np.ones((1, len(outcome))) if counts is None else np.asarray(counts)
    keys = [2 * find_bins(values, cuts) + outcome for values in risks.values()]
    found = np.empty((len(weights), len(keys), len(cuts)))
    every = np.empty((len(weights), len(cuts)))
    share = np.empty(len(weights))
    for b, row in enumerate(weights):
        row = row.astype(np.float64)
        total, events = row.sum(), row @ outcome
        share[b] = _divide(events, total) if prevalence is None else prevalence
        # What one flagged discharge adds: with a prevalence, cases and controls are weighed back to it.
        per_case = _divide(1.0, total) if prevalence is None else _divide(prevalence, events)
        per_control = _divide(1.0, total) if prevalence is None else _divide(1 - prevalence, total - events)
        every[b] = share[b] - odds * (1 - share[b])
        for m, key in enumerate(keys):
            binned = np.bincount(key, row, minlength=2 * len(cuts) + 2).reshape(-1, 2)
            false, true = np.cumsum(binned[::-1], axis=0)[::-1][1:].T
            found[b, m] = per_case * true - odds * per_control * false
    return NetBenefit(tuple(risks), cuts, found, every, share)


def estimate_decision_curve(
    risk: Risks,
    outcome: np.ndarray,
    *,
    person: np.ndarray,
    thresholds: Sequence[float] | np.ndarray,
    prevalence: float | None = None,
    level: float = 0.95,
) -> DecisionCurve:
    """Net benefit with errors from influence values summed by `person` (n,), which ties their discharges together.

    Net benefit is a mean over discharges, so that a discharge's influence is its own share less the mean; strategies
    share their people, so that differences have the errors of pairs (`compute_difference`). With cases and controls
    apart the prevalence is taken as known. Fails as `compute_net_benefit`, and where `person` is missing or `level`
    is no level.
    """
    refuse([*_person_faults(person, outcome), *level_faults(level)])
    point = compute_net_benefit(risk, outcome, thresholds=thresholds, prevalence=prevalence)
    risks, outcome = as_risks(risk), np.asarray(outcome).astype(np.int64)
    cluster = pd.factorize(np.asarray(person))[0]
    bins = {name: find_bins(values, point.thresholds) for name, values in risks.items()}
    covariance = np.empty((len(point.thresholds), len(bins) + 2, len(bins) + 2))
    for t, odds in enumerate(positive_odds(point.thresholds)):
        flags = np.column_stack([*(place > t for place in bins.values()), np.ones(len(outcome), dtype=bool)])
        covariance[t] = sum_squares(_influence(flags, outcome, odds, prevalence), cluster)
    people = int(cluster.max()) + 1
    flagged = np.vstack([*(count_flagged(place, cluster, len(covariance)) for place in bins.values()),
                         np.full(len(covariance), people)])  # fmt: skip
    return DecisionCurve(
        (*point.models, ALL),
        point.thresholds,
        np.vstack([point.net_benefit[0], point.treat_all]),
        covariance,
        float(point.prevalence[0]),
        flagged,
        level,
        len(outcome),
        people,
        int(outcome.sum()),
        (check_flagged(flagged[:-1]),),
    )


def compute_difference(curve: DecisionCurve, first: str, second: str) -> pd.DataFrame:
    """Net benefit of strategy `first` less that of `second`: models, "all" or "none".

    Returns a DataFrame, one row a threshold: `threshold, difference, difference_se, difference_lower,
    difference_upper`, in net benefit a discharge. Fails with `ParameterError` for a strategy there is not.
    """
    allowed = (*curve.strategies, NONE)
    refuse([*choice_faults("first", first, allowed), *choice_faults("second", second, allowed)])
    names = (*curve.strategies, "prevalence")
    weights = _contrast(names, {first: 1.0}, {second: 1.0})
    value = weights[:-1] @ curve.net_benefit
    flagged = [curve.flagged_people[curve.strategies.index(name)] for name in (first, second) if name != NONE]
    enough = np.max(flagged, axis=0) if flagged else np.zeros(len(value))
    columns = _with_interval("difference", value, np.tile(weights, (len(value), 1)), curve, enough)
    return pd.DataFrame({"threshold": curve.thresholds, **columns})


# ---- shared with the survival and threshold modules ------------------------------------------------


def as_risks(risk: Risks) -> dict[str, np.ndarray]:
    """Risks by the name of their model."""
    named = risk if isinstance(risk, Mapping) else {ALONE: risk}
    return {str(name): np.asarray(values) for name, values in named.items()}


def positive_odds(thresholds: np.ndarray) -> np.ndarray:
    """Odds of thresholds (T,), that of 0 nudged up."""
    nudged = np.where(thresholds == 0, _NUDGE, thresholds)
    return nudged / (1 - nudged)


def find_bins(risk: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many of the thresholds (T,) each risk (n,) reaches: it is flagged at the k-th where that is above k."""
    nudged = np.where(thresholds == 0, _NUDGE, thresholds)
    return np.searchsorted(nudged, risk, side="right")


def count_flagged(bins: np.ndarray, cluster: np.ndarray, n_thresholds: int) -> np.ndarray:
    """People (codes `cluster` (n,)) with a discharge that is flagged, at each threshold, (T,)."""
    highest = np.zeros(int(cluster.max()) + 1, dtype=np.int64)
    np.maximum.at(highest, cluster, bins)
    return np.cumsum(np.bincount(highest, minlength=n_thresholds + 1)[::-1])[::-1][1:]


def check_flagged(flagged: np.ndarray) -> Check:
    """Whether at every threshold enough people are flagged for an interval, from counts (M, T)."""
    few = int((flagged < FEWEST_PEOPLE).any(axis=0).sum())
    said = f"Fewer than {FEWEST_PEOPLE} people are flagged at {few} of the thresholds: no interval there."
    return Check(
        "flagged_people", few == 0, float(few), said if few else "Enough people are flagged at every threshold."
    )


def threshold_faults(thresholds: object) -> list[Fault]:
    """What is wrong with thresholds, which are risks from 0 to below 1 in order."""
    cuts = np.asarray(thresholds)
    allowed = "risks from 0 to below 1, in order and each once"
    if cuts.ndim != 1 or not len(cuts) or cuts.dtype.kind not in "iuf":
        return [Fault("thresholds", "are no list of numbers", f"shape {cuts.shape}", allowed)]
    if not np.all((cuts >= 0) & (cuts < 1)):
        return [Fault("thresholds", "are missing, below 0, or 1 or above", allowed=allowed)]
    return [] if (np.diff(cuts) > 0).all() else [Fault("thresholds", "are not in order", allowed=allowed)]


def model_faults(risks: Mapping[str, np.ndarray]) -> list[Fault]:
    """What is wrong with the names of models."""
    if not risks:
        return [Fault("risk", "holds no model")]
    return [Fault("risk", f'a model cannot be called "{name}"') for name in (ALL, NONE) if name in risks]


def sum_squares(influence: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Covariance (k, k) of sums of influence values (n, k), which codes `cluster` (n,) tie; NaN for one cluster."""
    clusters = int(cluster.max()) + 1
    if clusters < 2:
        return np.full((influence.shape[1],) * 2, np.nan)
    if clusters < len(cluster):
        influence = np.column_stack([np.bincount(cluster, column, clusters) for column in influence.T])
    return clusters / (clusters - 1) * influence.T @ influence


# ---- parts ---------------------------------------------------------------------------------------


def _check_arguments(
    risk: Risks,
    outcome: np.ndarray,
    thresholds: object,
    prevalence: float | None,
    *,
    counts: np.ndarray | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    risks = as_risks(risk)
    faults = [*model_faults(risks), *threshold_faults(thresholds)]
    for name, values in risks.items():
        found = risk_faults(values, outcome)
        named = found if name == ALONE else [Fault(f'{f.where} of "{name}"', f.what, f.got, f.allowed) for f in found]
        faults += [fault for fault in named if fault not in faults]
    if prevalence is not None and not (is_finite(prevalence) and 0 < prevalence < 1):
        faults.append(Fault("prevalence", "is no share", str(prevalence), "above 0 and below 1"))
    if counts is not None:
        faults += count_faults(np.asarray(counts), len(np.atleast_1d(outcome)))
    refuse(faults)
    outcome = np.asarray(outcome).astype(np.int64)
    refuse_few(outcome)
    return risks, outcome


def _person_faults(person: np.ndarray, outcome: np.ndarray) -> list[Fault]:
    if np.shape(person) != np.shape(outcome):
        return [Fault("person", "does not match the outcome", str(np.shape(person)), str(np.shape(outcome)))]
    return [Fault("person", "is missing for some discharges")] if pd.isna(np.asarray(person)).any() else []


def _divide(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else math.nan


def _influence(flags: np.ndarray, outcome: np.ndarray, odds: float, prevalence: float | None) -> np.ndarray:
    """Influence of discharges on net benefit of strategies `flags` (n, S) and, last, on the prevalence, (n, S + 1)."""
    n = len(outcome)
    events = outcome.mean()
    case = (outcome / n)[:, None]
    control = ((1 - outcome) / n)[:, None]
    if prevalence is None:
        gained = flags * (case - odds * control)
        return np.column_stack([gained - gained.sum(axis=0) / n, (outcome - events) / n])
    case, control = case * prevalence / events, control * (1 - prevalence) / (1 - events)
    found = flags[outcome == 1].mean(axis=0), flags[outcome == 0].mean(axis=0)
    return np.column_stack([(flags - found[0]) * case - odds * (flags - found[1]) * control, np.zeros(n)])


def _contrast(names: Sequence[str], plus: Mapping[str, float], minus: Mapping[str, float] | None = None) -> np.ndarray:
    return np.array([plus.get(name, 0.0) - (minus or {}).get(name, 0.0) for name in names])


def _with_interval(
    kind: str, value: np.ndarray, weights: np.ndarray, curve: DecisionCurve, flagged: np.ndarray
) -> dict[str, np.ndarray]:
    """A normal interval of a combination (T, S + 1) of strategies at each threshold."""
    used = weights != 0
    covariance = np.where(used[:, :, None] & used[:, None, :], curve.covariance, 0.0)  # others may be undefined
    variance = np.einsum("ti,tij,tj->t", weights, covariance, weights)
    size = np.einsum("ti,tii->t", weights**2, covariance)
    # What is less than this is rounding: the two always flag the same.
    varies = (variance > 1e-12 * size) & (flagged >= FEWEST_PEOPLE)
    se = np.sqrt(variance, out=np.full(len(value), math.nan), where=varies)
    half = norm.ppf(0.5 + curve.level / 2) * se
    value = np.where(curve.thresholds == 0, math.nan, value) if kind == "avoided_per_100" else value
    return {kind: value, f"{kind}_se": se, f"{kind}_lower": value - half, f"{kind}_upper": value + half}
