"""Rank tests against sums written out by hand, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.survival.fine_gray import FineGrayOptions, fit_fine_gray
from evalkit.estimators.survival.gray import compute_gray_test
from evalkit.estimators.survival.log_rank import LogRankOptions, compute_log_rank


def draw(n: int = 90, *, seed: int = 4, **kwargs: str) -> tuple[FollowUp, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n)
    df = pd.DataFrame({
        "exit": np.ceil(rng.exponential(20 * np.exp(0.2 * group))), "event": rng.integers(0, 3, n),
        "area": rng.integers(0, 2, n), "w": rng.uniform(0.5, 2, n), "entry": 0.0,
    })  # fmt: skip
    df["entry"] = np.where(rng.random(n) < 0.4, np.floor(df["exit"] / 2), 0.0)
    return FollowUp.from_frame(df, exit="exit", event="event", causes=("in", "death"), **kwargs), group


def by_hand(f: FollowUp, group: np.ndarray, *, rho: float, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Observed less expected and its variance, one event time after the other."""
    size = group.max() + 1
    gap, variance = np.zeros(size), np.zeros((size, size))
    for stratum in np.unique(f.stratum):
        survival = 1.0
        for t in np.unique(f.exit[(f.event == 1) & (f.stratum == stratum)]):
            at_risk = (f.entry < t) & (f.exit >= t) & (f.stratum == stratum)
            dies = at_risk & (f.exit == t) & (f.event == 1)
            n, d = at_risk.sum(), dies.sum()
            each, died = np.bincount(group[at_risk], minlength=size), np.bincount(group[dies], minlength=size)
            w = survival**rho * (1 - survival) ** gamma
            gap += w * (died - d * each / n)
            if n > 1:
                share = each / n
                variance += w**2 * d * (n - d) / (n - 1) * (np.diag(share) - np.outer(share, share))
            survival *= 1 - d / n
    return gap, variance


@pytest.mark.parametrize(("rho", "gamma"), [(0, 0), (1, 0), (0, 1), (0.5, 2)])
@pytest.mark.parametrize("kwargs", [{}, {"stratum": "area"}, {"stratum": "area", "entry": "entry"}])
def test_equals_sums_written_out(rho: float, gamma: float, kwargs: dict[str, str]) -> None:
    people, group = draw(**kwargs)
    gap, variance = by_hand(people, group, rho=rho, gamma=gamma)
    found = compute_log_rank(people, group, options=LogRankOptions(rho=rho, gamma=gamma))
    assert found.observed - found.expected == pytest.approx(gap, abs=1e-10)
    assert found.variance == pytest.approx(variance, abs=1e-10)
    expected = gap[1:] @ np.linalg.solve(variance[1:, 1:], gap[1:])
    assert found.statistic == pytest.approx(expected, rel=1e-9)
    assert found.p_value == pytest.approx(stats.chi2.sf(expected, 2), rel=1e-9)
    assert (found.df, found.groups) == (2, (0, 1, 2))


def test_other_causes_are_censoring() -> None:
    people, group = draw()
    alone = replace(people, event=(people.event == 2).astype(int), causes=("death",))
    found = compute_log_rank(people, group, options=LogRankOptions(cause=2))
    assert found.statistic == pytest.approx(compute_log_rank(alone, group).statistic)


def test_robust_errors_take_weights_and_clusters() -> None:
    people, group = draw(weights="w")
    robust = LogRankOptions(errors="robust")
    once = compute_log_rank(people, group, options=robust)
    twice = people.select(np.repeat(np.arange(len(people)), 2)).with_weights(np.repeat(people.weights / 2, 2))
    assert compute_log_rank(twice, np.repeat(group, 2), options=robust).statistic == pytest.approx(once.statistic)
    apart = replace(twice, cluster=np.arange(len(twice)))
    assert compute_log_rank(apart, np.repeat(group, 2), options=robust).statistic > 1.5 * once.statistic


def test_groups_without_anybody_at_risk_do_not_count() -> None:
    people, group = draw()
    people = replace(people, entry=np.where(group == 2, people.exit.max(), 0.0),
                     exit=np.where(group == 2, people.exit.max() + 1, people.exit),
                     event=np.where(group == 2, 0, people.event))  # fmt: skip
    found = compute_log_rank(people, group)
    two = compute_log_rank(people.select(group < 2), group[group < 2])
    assert (found.df, found.statistic) == (1, pytest.approx(two.statistic))


def test_weights_need_robust_errors() -> None:
    people, group = draw(weights="w")
    with pytest.raises(ParameterError, match="robust"):
        compute_log_rank(people, group)
    with pytest.raises(ParameterError, match="other than 1"):
        compute_log_rank(people.with_weights(np.full(len(people), 2.0)), group)


def test_what_cannot_be_tested_is_refused() -> None:
    people, group = draw()
    for test in (compute_log_rank, compute_gray_test):
        with pytest.raises(ParameterError, match="one value a row"):
            test(people, group[:5])
        with pytest.raises(ParameterError, match="fewer than 10 rows have no group"):
            test(people, np.where(np.arange(len(group)) < 3, None, group.astype(object)))
        with pytest.raises(NotEstimable, match="only one group"):
            test(people, np.zeros(len(people)))
        with pytest.raises(NotEstimable, match="nobody had it"):
            test(people.select(people.event != 1), group[people.event != 1])
    with pytest.raises(ParameterError, match="3 faults"):
        compute_log_rank(people, group, options=LogRankOptions(rho=-1, errors="exact", cause=4))


def test_gray_without_competing_events_has_the_log_rank_numerator() -> None:
    """Where nothing competes, 1 - F is S and a group's share that of people at risk."""
    people, group = draw()
    people = replace(people, event=np.minimum(people.event, 1))
    gray, rank = compute_gray_test(people, group), compute_log_rank(people, group)
    assert gray.observed - gray.expected == pytest.approx(rank.observed - rank.expected, abs=1e-9)
    assert gray.statistic == pytest.approx(rank.statistic, rel=0.1)


def test_gray_is_nearly_the_score_of_the_fine_gray_model() -> None:
    rng = np.random.default_rng(8)
    side = np.arange(800) % 2
    first, other, end = rng.exponential(20 * np.exp(0.25 * side)), rng.exponential(30, 800), rng.uniform(5, 60, 800)
    df = pd.DataFrame({"exit": np.minimum(np.minimum(first, other), end), "side": side})
    df["event"] = np.select([end < np.minimum(first, other), first < other], [0, 1], 2)
    people = FollowUp.from_frame(df, exit="exit", event="event", covariates=("side",), causes=("in", "death"))
    fit = fit_fine_gray(people, options=FineGrayOptions(errors="model"))
    wald = (fit.coefficients[0] / fit.se[0]) ** 2
    assert compute_gray_test(people, side).statistic == pytest.approx(wald, rel=0.1)


def test_gray_refuses_what_its_variance_does_not_cover() -> None:
    people, group = draw(entry="entry", weights="w")
    shared = replace(people, person=people.person // 2)
    with pytest.raises(ParameterError, match="3 faults"):
        compute_gray_test(shared, group)
    with pytest.raises(ParameterError, match="no such cause"):
        compute_gray_test(draw()[0], group, cause=3)
