"""Shared gamma frailty: what it finds in made data, what may not change it, what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.survival.cox import fit_cox
from evalkit.estimators.survival.cox_frailty import fit_shared_frailty


def make_rows(theta: float, *, people: int = 250, seed: int = 3) -> FollowUp:
    """Recurrent events of a Poisson process over 3 years, its rate times exp(0.7 x) and a frailty of variance theta."""
    rng = np.random.default_rng(seed)
    x = (rng.random(people) < 0.5).astype(float)
    frailty = rng.gamma(1 / theta, theta, people) if theta else np.ones(people)
    rows = []
    for i in range(people):
        times = np.sort(rng.uniform(0, 3, rng.poisson(3 * 0.7 * frailty[i] * np.exp(0.7 * x[i]))))
        ends = [*times, 3.0]
        rows += [(i, a, b, float(b < 3)) for a, b in zip([0.0, *times], ends, strict=True)]
    person, entry, end, event = np.array(rows).T
    codes = person.astype(np.int64)
    n = len(codes)
    return FollowUp(
        entry, end, event.astype(np.int64), codes, codes, np.zeros(n, dtype=np.int64), np.ones(n), np.zeros(n),
        x[codes][:, None], ("x",),
    )  # fmt: skip


def test_frailty_and_effect_are_found():
    fit = fit_shared_frailty(make_rows(0.8))
    assert 0.5 < fit.theta < 1.2
    assert fit.coefficients[0] == pytest.approx(0.7, abs=3 * fit.standard_errors[0])
    assert fit.p_value < 1e-6
    # Within people, whose frailty varies, the model's errors are far too small without it.
    rows = make_rows(0.8)
    without = fit_cox(rows)
    assert fit.standard_errors[0] == pytest.approx(without.standard_errors[0], rel=0.15)
    assert fit.standard_errors[0] > 1.3 * np.sqrt(without.variance[0, 0])


def test_no_frailty_is_found_where_there_is_none():
    rows = make_rows(0.0, seed=5)
    fit = fit_shared_frailty(rows)
    assert fit.theta < 0.1
    assert fit.p_value > 0.05
    if fit.theta == 0:
        assert fit.coefficients == pytest.approx(fit_cox(rows).coefficients)


def test_labels_order_and_units_change_nothing():
    rows = make_rows(0.8, people=80)
    one = fit_shared_frailty(rows)
    mixed = rows.select(np.random.default_rng(1).permutation(len(rows)))
    mixed = dataclasses.replace(mixed, cluster=997 - mixed.cluster, covariates=mixed.covariates * 1000)
    other = fit_shared_frailty(mixed)
    assert other.theta == pytest.approx(one.theta, rel=1e-5)
    assert other.coefficients * 1000 == pytest.approx(one.coefficients, rel=1e-6)
    assert other.standard_errors * 1000 == pytest.approx(one.standard_errors, rel=1e-4)
    assert other.log_likelihood == pytest.approx(one.log_likelihood, rel=1e-10)


def test_what_cannot_be_fitted_is_refused():
    rows = make_rows(0.8, people=40)
    with pytest.raises(ParameterError, match="weights"):
        fit_shared_frailty(rows.with_weights(np.full(len(rows), 2.0)))
    with pytest.raises(NotEstimable, match="no cluster has two events"):
        fit_shared_frailty(dataclasses.replace(rows, cluster=np.arange(len(rows))))
