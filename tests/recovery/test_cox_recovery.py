"""Coverage of Cox models in worlds with a known hazard ratio (Monte-Carlo error of 400 worlds at 95%: 1.1 points)."""

from __future__ import annotations

import numpy as np

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.cox import fit_cox

WORLDS, PEOPLE, EFFECT = 400, 200, 0.4


def make_world(rng: np.random.Generator, *, frailty: float) -> FollowUp:
    """People who enter within a year of time zero and have events at a rate that grows, until they are censored."""
    x = np.column_stack([rng.random(PEOPLE) < 0.5, rng.normal(size=PEOPLE)]).astype(float)
    own = rng.gamma(1 / frailty, frailty, PEOPLE) if frailty else np.ones(PEOPLE)
    enters, leaves = rng.uniform(0, 1, PEOPLE), rng.uniform(2, 4, PEOPLE)
    rate = 0.5 * own * np.exp(x @ [EFFECT, 0.3])
    counts = rng.poisson(rate * (leaves**1.5 - enters**1.5))
    person = np.repeat(np.arange(PEOPLE), counts)
    low, high = enters[person] ** 1.5, leaves[person] ** 1.5
    times = rng.uniform(low, high) ** (1 / 1.5)
    order = np.lexsort((times, person))
    person, times = person[order], times[order]
    # Each person's rows: from entry to the first event, from one to the next, from the last to leaving.
    who = np.concatenate([person, np.arange(PEOPLE)])
    ends = np.concatenate([times, leaves])
    events = np.concatenate([np.ones(len(times)), np.zeros(PEOPLE)]).astype(np.int64)
    order = np.lexsort((ends, who))
    who, ends, events = who[order], ends[order], events[order]
    begins = np.concatenate([[0.0], ends[:-1]])
    first = np.concatenate([[True], who[1:] != who[:-1]])
    begins[first] = enters[who[first]]
    n = len(who)
    zeros = np.zeros(n, dtype=np.int64)
    return FollowUp(begins, ends, events, who, who, zeros, np.ones(n), np.zeros(n), x[who], ("treated", "age"))


def coverage(frailty: float, seed: int) -> tuple[float, float, float]:
    """Mean estimate, and how often intervals of the clustered and of the model's errors hold the truth."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(WORLDS):
        fit = fit_cox(make_world(rng, frailty=frailty))
        off = abs(fit.coefficients[0] - EFFECT)
        robust, model = np.sqrt(fit.robust_variance[0, 0]), np.sqrt(fit.variance[0, 0])
        found.append((fit.coefficients[0], off < 1.96 * robust, off < 1.96 * model))
    mean, robust, model = np.mean(found, axis=0)
    return float(mean), float(robust), float(model)


def test_both_errors_cover_where_events_are_independent() -> None:
    mean, robust, model = coverage(0.0, 11)
    assert abs(mean - EFFECT) < 0.02
    assert 0.92 < robust < 0.98
    assert 0.92 < model < 0.98


def test_clustered_errors_alone_cover_where_people_differ() -> None:
    """With a frailty the rate ratio of the means is still exp(effect), and the model's errors are too small.

    Measured with 2,000 worlds: clustered 93.6%, model's 67%; with 600 people clustered 95.2%.
    """
    mean, robust, model = coverage(0.8, 12)
    assert abs(mean - EFFECT) < 0.03
    assert 0.90 < robust < 0.97
    assert model < 0.8
