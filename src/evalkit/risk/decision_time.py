"""Net benefit by a horizon where some are not followed so far, and where death competes.

Among those flagged at a threshold the risk by the horizon is Aalen and Johansen's estimate, which with one cause alone
is one less Kaplan and Meier's (Vickers, Cronin, Elkin and Gonen 2008, BMC Med Inform Decis Mak 8:53).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import Fault, NotEstimable
from evalkit.core.faults import is_finite, level_faults, refuse, rng_faults, whole_faults
from evalkit.core.result import Check
from evalkit.estimators.survival.cox_sums import compute_time_codes
from evalkit.risk.arrays import FEWEST_EVENTS, count_faults
from evalkit.risk.decision import (
    ALL,
    DecisionCurve,
    NetBenefit,
    Risks,
    as_risks,
    check_flagged,
    count_flagged,
    find_bins,
    model_faults,
    positive_odds,
    threshold_faults,
)
from evalkit.risk.resample import draw_person_counts

# A share of replicates without a number above which there is no interval.
_MOST_UNDEFINED = 0.05


@dataclass(frozen=True)
class SurvivalDecisionOptions:
    """`level` of the intervals, and how many times people are drawn for them."""

    level: float = 0.95
    replicates: int = 200


def compute_net_benefit_survival(
    risk: Risks,
    follow_up: FollowUp,
    *,
    horizon: float,
    thresholds: Sequence[float] | np.ndarray,
    counts: np.ndarray | None = None,
) -> NetBenefit:
    """Net benefit of flagging every risk of `thresholds` or more, of the follow-up's first cause by `horizon`.

    With P the weighted share flagged, F their risk by the horizon and w the odds of the threshold: P F - w P (1 - F),
    where whoever dies first counts as not having come back. `risk` (n,) are of the rows of `follow_up`, one row a
    discharge, all entering at one time; `counts` (B, n) multiply its weights.

    F is NaN where nobody flagged is followed to the horizon and some are left: a curve is not drawn on. Where nobody is
    flagged net benefit is 0.

    Raises
    ------
    ParameterError
        Risks outside 0 to 1 or of another length, thresholds outside [0, 1), a horizon before the start, rows that
        enter late, several strata.
    NotEstimable
        Fewer than 10 events of the first cause by the horizon, or fewer than 10 discharges without; nobody followed
        to the horizon.
    """
    risks = as_risks(risk)
    faults = [*model_faults(risks), *threshold_faults(thresholds)]
    for values in risks.values():
        faults += [fault for fault in risk_time_faults(values, follow_up, horizon) if fault not in faults]
    refuse(faults + (count_faults(np.asarray(counts), len(follow_up)) if counts is not None else []))
    refuse_few_by(follow_up, horizon)
    cuts = np.asarray(thresholds, dtype=np.float64)
    odds = positive_odds(cuts)
    steps = _find_steps(follow_up, horizon)
    bins = [find_bins(values, cuts) for values in risks.values()]
    weights = np.ones((1, len(follow_up))) if counts is None else np.asarray(counts)
    found = np.empty((len(weights), len(bins), len(cuts)))
    every, prevalence = np.empty((len(weights), len(cuts))), np.empty(len(weights))
    for b, row in enumerate(weights):
        row = row * follow_up.weights
        for m, place in enumerate(bins):
            share, by_horizon = _compute_risks(steps, place, row, len(cuts))
            found[b, m] = np.where(share[1:] > 0, share[1:] * (by_horizon[1:] - odds * (1 - by_horizon[1:])), 0.0)
        prevalence[b] = by_horizon[0]
        every[b] = by_horizon[0] - odds * (1 - by_horizon[0])
    return NetBenefit(tuple(risks), cuts, found, every, prevalence)


def estimate_decision_curve_survival(
    risk: Risks,
    follow_up: FollowUp,
    *,
    horizon: float,
    thresholds: Sequence[float] | np.ndarray,
    rng: np.random.Generator,
    options: SurvivalDecisionOptions | None = None,
) -> DecisionCurve:
    """`compute_net_benefit_survival` with errors from draws of people (`follow_up.cluster`), all strategies together.

    Intervals are normal with the errors of the draws. Where more than 5% of the draws have no number (nobody flagged is
    followed to the horizon) there is none. Fails as `compute_net_benefit_survival`, and for fewer than 50
    replicates, a level that is none, no generator.
    """
    options = options or SurvivalDecisionOptions()
    where = "replicates"
    refuse([*level_faults(options.level), *whole_faults(where, options.replicates, least=50), *rng_faults(rng)])
    arguments = {"horizon": horizon, "thresholds": thresholds}
    point = compute_net_benefit_survival(risk, follow_up, **arguments)
    cluster = np.unique(follow_up.cluster, return_inverse=True)[1]
    people, n_cuts = int(cluster.max()) + 1, len(point.thresholds)
    # People are drawn in the order of their codes, so that the order of rows changes nothing.
    counts = draw_person_counts(np.arange(people), replicates=options.replicates, rng=rng)[:, cluster]
    drawn = compute_net_benefit_survival(risk, follow_up, counts=counts, **arguments)
    bins = [find_bins(values, point.thresholds) for values in as_risks(risk).values()]
    flagged = np.vstack([*(count_flagged(place, cluster, n_cuts) for place in bins), np.full(n_cuts, people)])
    had = (follow_up.event == 1) & (follow_up.exit <= horizon)
    return DecisionCurve(
        (*point.models, ALL),
        point.thresholds,
        np.vstack([point.net_benefit[0], point.treat_all]),
        _spread(drawn),
        float(point.prevalence[0]),
        flagged,
        options.level,
        len(follow_up),
        people,
        int(had.sum()),
        (check_flagged(flagged[:-1]), check_followed(follow_up, horizon)),
    )


# ---- shared with the measures over time ------------------------------------------------------------


def risk_time_faults(risk: np.ndarray, follow_up: FollowUp, horizon: float) -> list[Fault]:
    """What is wrong with risks (n,) by a horizon for the rows of a follow-up."""
    faults = []
    values = np.asarray(risk)
    if values.shape != follow_up.exit.shape or values.dtype.kind not in "biuf":
        faults.append(Fault("risk", "has not one number a row", str(values.shape), f"({len(follow_up)},)"))
    elif not np.all((values >= 0) & (values <= 1)):
        faults.append(Fault("risk", "is missing, below 0 or above 1", allowed="probabilities"))
    entry = follow_up.entry
    if (entry != entry[0]).any():
        step = "Count time from each discharge."
        faults.append(Fault("follow-up", "rows enter at different times", allowed="one time of entry", next_step=step))
    if not (is_finite(horizon) and horizon > entry.min()):
        faults.append(Fault("horizon", "is not after the start", str(horizon)))
    if (follow_up.stratum != follow_up.stratum[0]).any():
        faults.append(Fault("follow-up", "has strata", next_step="Give one stratum at a time."))
    return faults


def refuse_few_by(follow_up: FollowUp, horizon: float) -> None:
    """Fail with `NotEstimable` for too few events of the first cause, or too few without, or nobody followed."""
    had = (follow_up.event == 1) & (follow_up.exit <= horizon)
    faults = []
    if min(had.sum(), (~had).sum()) < FEWEST_EVENTS:
        faults.append(
            Fault(
                "risks by a horizon",
                "too few with the event by then, or without it",
                got=f"fewer than {FEWEST_EVENTS}",
                allowed=f"{FEWEST_EVENTS} or more of each",
            )
        )
    if not (follow_up.exit >= horizon).any():
        faults.append(
            Fault("horizon", "nobody is followed so far", f"{horizon:g}", f"{follow_up.exit.max():g} or less")
        )
    if faults:
        raise NotEstimable(faults)


def check_followed(follow_up: FollowUp, horizon: float) -> Check:
    """Whether most are followed to the horizon or to an event before it."""
    known = float(((follow_up.event > 0) | (follow_up.exit >= horizon)).mean())
    near = round(known * 20) / 20
    return Check("followed", known >= 0.5, near, f"About {near:.0%} are followed to the horizon or to an event.")


# ---- parts -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Steps:
    """Rows by U times of events up to the horizon: at risk at the first `slot` (n,) of them; `kind` (n,) is 1 for
    the first cause and 2 for another at the last of those, else 0; `followed` (n,) to the horizon."""

    slot: np.ndarray
    kind: np.ndarray
    followed: np.ndarray
    n_times: int


def _find_steps(follow_up: FollowUp, horizon: float) -> _Steps:
    _, codes, times = compute_time_codes(follow_up)
    within = (follow_up.event > 0) & (times[codes] <= horizon)
    moments = np.unique(codes[within])
    slot = np.searchsorted(moments, codes, side="right")
    kind = np.where(within, np.where(follow_up.event == 1, 1, 2), 0)
    return _Steps(slot, kind, times[codes] >= horizon, len(moments))


def _compute_risks(steps: _Steps, bins: np.ndarray, weights: np.ndarray, n_cuts: int) -> tuple[np.ndarray, np.ndarray]:
    """Share flagged and their risk of the first cause by the horizon, both (n_cuts + 1,): first of all, then by cut."""
    shape = (n_cuts + 1, steps.n_times + 1, 3)
    key = (bins * shape[1] + steps.slot) * 3 + steps.kind
    cells = np.bincount(key, weights, minlength=math.prod(shape)).reshape(shape)
    cells = np.cumsum(cells[::-1], axis=0)[::-1]  # who is flagged at a cut is flagged at those below it
    leaving = cells.sum(axis=2)
    at_risk = np.cumsum(leaving[:, ::-1], axis=1)[:, ::-1][:, 1:]
    came_back, any_event = cells[:, 1:, 1], cells[:, 1:, 1] + cells[:, 1:, 2]
    there = at_risk > 0
    hazard = np.divide(any_event, at_risk, out=np.zeros_like(at_risk), where=there)
    after = np.cumprod(1 - np.minimum(hazard, 1.0), axis=1)
    before = np.column_stack([np.ones(len(after)), after[:, :-1]])
    risk = (before * np.divide(came_back, at_risk, out=np.zeros_like(at_risk), where=there)).sum(axis=1)
    to_horizon = np.bincount(bins, weights * steps.followed, minlength=n_cuts + 1)[::-1].cumsum()[::-1]
    total = leaving.sum(axis=1)
    known = (to_horizon > 0) | (after[:, -1] <= 1e-12)
    share = np.divide(total, total[0], out=np.zeros(len(total)), where=total[0] > 0)
    return share, np.where(known & (total > 0), risk, math.nan)


def _spread(drawn: NetBenefit) -> np.ndarray:
    """Covariance (T, S + 1, S + 1) of replicates; NaN where too many have no number."""
    columns = [drawn.net_benefit, drawn.treat_all[:, None, :]]
    columns.append(np.broadcast_to(drawn.prevalence[:, None, None], columns[1].shape))
    values = np.concatenate(columns, axis=1)
    found = np.full((values.shape[2], values.shape[1], values.shape[1]), math.nan)
    for t in range(len(found)):
        here = values[:, :, t]
        defined = np.isfinite(here)
        held = defined.mean(axis=0) >= 1 - _MOST_UNDEFINED
        whole = here[defined[:, held].all(axis=1)][:, held]
        if len(whole) > 1:
            found[t][np.ix_(held, held)] = np.atleast_2d(np.cov(whole, rowvar=False))
    return found
