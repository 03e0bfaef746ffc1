"""What a reader of a ratio of recurrent events must know: how many, how they end, how the model reads them."""

from __future__ import annotations

import math

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.cohort.frames import FEW
from evalkit.core.result import Check
from evalkit.estimators.survival.cox import MIN_CLUSTERS, CoxFit
from evalkit.estimators.survival.cox_checks import check_proportional_hazards, find_term

TERMINAL_SHARE = 0.05
_LEVEL_OF_CHECK = 0.05
_READING = {
    "pwp_total": "compares people who have had equally many events: after the first, no longer the groups as formed",
    "pwp_gap": "compares people who have had equally many events: after the first, no longer the groups as formed",
    "wlw": "holds people at risk of a second event before they had a first; an effect on the first carries over",
}


def make_recurrent_checks(
    follow_up: FollowUp,
    arranged: FollowUp,
    fit: CoxFit,
    covariate: str,
    model: str,
    *,
    cause: int,
    pooled_from: int | None,
) -> tuple[Check, ...]:
    """Checks of one fit: `arranged` is what was made of `follow_up`; counts below 10 are not told."""
    checks = [
        _mean_events(follow_up, arranged, cause),
        _events_by_side(follow_up, covariate, cause),
        _terminal(follow_up, cause),
        _proportional(fit, arranged, covariate),
        Check("clusters", fit.n_clusters >= MIN_CLUSTERS, float(fit.n_clusters),
              f"Clustered errors are too small below about {MIN_CLUSTERS} clusters."),
    ]  # fmt: skip
    if model in _READING:
        checks += [_thin_strata(arranged, cause), Check("reading", None, math.nan, f"The model {_READING[model]}.")]
    if pooled_from is not None:
        text = f"Events from number {pooled_from} on are taken together."
        checks.append(Check("pooled_events", False, float(pooled_from), text))
    return tuple(checks)


def _mean_events(follow_up: FollowUp, arranged: FollowUp, cause: int) -> Check:
    used, all_events = arranged.n_events(cause), follow_up.n_events(cause)
    mean = used / arranged.n_people
    if used == all_events:
        return Check("mean_events", None, mean, f"People had {mean:.2f} events on average; all are used.")
    text = f"People had {mean:.2f} events on average that count; later ones and the time after are left out."
    return Check("mean_events", False, mean, text)


def _events_by_side(follow_up: FollowUp, covariate: str, cause: int) -> Check:
    x = follow_up.covariates[:, follow_up.names.index(covariate)]
    sides = np.unique(x)
    if len(sides) > 2:
        return Check("events_by_side", None, math.nan, "The covariate has no two sides.")
    least = min(int(((follow_up.event == cause) & (x == side)).sum()) for side in sides)
    if least < FEW:
        return Check("events_by_side", False, math.nan, f"One side has fewer than {FEW} events.")
    return Check("events_by_side", True, float(least), "Both sides have enough events.")


def _terminal(follow_up: FollowUp, cause: int) -> Check:
    ended = (follow_up.event != 0) & (follow_up.event != cause)
    count = int(ended.sum())
    if not count:
        text = "No event is recorded that ends follow-up; if deaths were taken as censoring, the ratio ignores them."
        return Check("terminal_event", None, 0.0, text)
    names = " or ".join(c for k, c in enumerate(follow_up.causes, 1) if k != cause)
    share = count / follow_up.n_people
    told = f"{share:.0%} of people" if count >= FEW else f"fewer than {FEW} people"
    text = (
        f"{names[:1].upper()}{names[1:]} ended follow-up of {told}. The ratio is among those still followed and takes "
        "no account of who is: read it beside the mean count with death (Ghosh and Lin)."
    )
    return Check("terminal_event", share < TERMINAL_SHARE, share if count >= FEW else math.nan, text)


def _proportional(fit: CoxFit, arranged: FollowUp, covariate: str) -> Check:
    test = check_proportional_hazards(fit, arranged)
    term = find_term(covariate)
    place = test.names.index(term) if term in test.names else len(test.names) - 1
    p = float(test.p_value[place])
    said = "no sign that" if p >= _LEVEL_OF_CHECK else "signs that"
    text = f"There is {said} the ratio changes over time (a test that takes rows as independent)."
    return Check("proportional", p >= _LEVEL_OF_CHECK, p, text)


def _thin_strata(arranged: FollowUp, cause: int) -> Check:
    events = np.bincount(arranged.stratum, weights=arranged.event == cause, minlength=int(arranged.stratum.max()) + 1)
    thin = int((events[np.unique(arranged.stratum)] < FEW).sum())
    text = (
        f"{thin} of {len(np.unique(arranged.stratum))} event numbers have fewer than {FEW} events; "
        "`max_events` leaves later ones out or, with `later_events`, pools them."
    )
    return Check("events_by_number", thin == 0, float(thin), text)
