"""Accelerated failure time models: closed forms, derivatives, what may not change them, what they refuse."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import optimize, stats

from evalkit.cohort.follow_up import FollowUp
from evalkit.core.errors import NotEstimable, ParameterError
from evalkit.estimators.survival.parametric import ParametricOptions, fit_parametric

KINDS = pytest.mark.parametrize("kind", ["weibull", "exponential", "lognormal", "loglogistic"])
EXPONENTIAL = ParametricOptions(distribution="exponential")


def make_rows(n: int = 200, *, late: bool = False) -> FollowUp:
    """People with two covariates, weights and an offset; some enter late, who lived to enter."""
    rng = np.random.default_rng(6)
    x = np.column_stack([rng.random(n) < 0.5, rng.normal(5, 2, n)]).astype(float)
    time = np.exp(1 + 0.5 * x[:, 0] - 0.1 * x[:, 1] + 0.7 * np.log(rng.exponential(size=n)))
    entry = np.where(rng.random(n) < 0.5, rng.uniform(0, 0.8, n) * time, 0.0) if late else np.zeros(n)
    censored = entry + rng.exponential(3, n)
    zeros = np.zeros(n, dtype=np.int64)
    return FollowUp(
        entry, np.minimum(time, censored), (time <= censored).astype(np.int64), np.arange(n), np.arange(n) // 2, zeros,
        rng.choice([0.5, 1.0, 2.0], n), rng.normal(scale=0.2, size=n), x, ("treated", "age"),
    )  # fmt: skip


def log_likelihood(rows: FollowUp, theta: np.ndarray, kind: str) -> float:
    """From scipy's distributions of time, one row at a time."""
    eta = theta[0] + rows.covariates @ theta[1:3] + rows.offset
    scale = math.exp(theta[3]) if kind != "exponential" else 1.0
    made = {
        "weibull": lambda m: stats.weibull_min(1 / scale, scale=math.exp(m)),
        "exponential": lambda m: stats.expon(scale=math.exp(m)),
        "lognormal": lambda m: stats.lognorm(scale, scale=math.exp(m)),
        "loglogistic": lambda m: stats.fisk(1 / scale, scale=math.exp(m)),
    }[kind]
    total = 0.0
    for m, a, b, e, w in zip(eta, rows.entry, rows.exit, rows.event, rows.weights, strict=True):
        total += w * ((made(m).logpdf(b) if e else made(m).logsf(b)) - made(m).logsf(a))
    return total


@KINDS
def test_the_maximum_of_the_likelihood_of_scipys_distributions_with_late_entry(kind):
    rows = make_rows(60, late=True)
    fit = fit_parametric(rows, options=ParametricOptions(distribution=kind))
    theta = np.append(fit.coefficients, math.log(fit.scale))[: len(fit.variance)]
    assert fit.log_likelihood == pytest.approx(log_likelihood(rows, theta, kind), rel=1e-10)
    slope = optimize.approx_fprime(theta, lambda t: log_likelihood(rows, t, kind), 1e-6)
    assert slope * np.sqrt(np.diag(fit.variance)) == pytest.approx(np.zeros(len(theta)), abs=1e-4)


def test_an_exponential_rate_is_events_over_time_at_risk():
    rows = make_rows(late=True)
    group = rows.covariates[:, :1]
    rows = dataclasses.replace(rows, covariates=group, names=("treated",), offset=np.zeros(len(rows)))
    fit = fit_parametric(rows, options=EXPONENTIAL)
    time = rows.exit - rows.entry
    rates = []
    for g in (0, 1):
        w = rows.weights * (group[:, 0] == g)
        rates.append((w @ rows.event) / (w @ time))
    assert fit.coefficients == pytest.approx([-math.log(rates[0]), math.log(rates[0] / rates[1])], rel=1e-8)
    assert fit.variance[1, 1] == pytest.approx(
        sum(1 / (rows.weights * (group[:, 0] == g) @ rows.event) for g in (0, 1)), rel=1e-8
    )


@KINDS
def test_units_of_covariates_and_time_and_splitting_rows(kind):
    options = ParametricOptions(distribution=kind)
    rows = make_rows(late=True)
    one = fit_parametric(rows, options=options)
    other = fit_parametric(dataclasses.replace(rows, covariates=rows.covariates * 1e5 + 3), options=options)
    assert other.coefficients[1:] * 1e5 == pytest.approx(one.coefficients[1:], rel=1e-7)
    assert other.robust_variance[1, 1] * 1e10 == pytest.approx(one.robust_variance[1, 1], rel=1e-7)
    days = fit_parametric(dataclasses.replace(rows, entry=rows.entry * 365, exit=rows.exit * 365), options=options)
    assert days.coefficients[0] == pytest.approx(one.coefficients[0] + math.log(365), rel=1e-7)
    assert days.variance == pytest.approx(one.variance, rel=1e-6)
    cut = (rows.entry + rows.exit) / 2
    head, tail = dataclasses.replace(rows, exit=cut, event=0 * rows.event), dataclasses.replace(rows, entry=cut)
    arrays = ("entry", "exit", "event", "person", "cluster", "stratum", "weights", "offset", "covariates")
    split = dataclasses.replace(
        rows, **{name: np.concatenate([getattr(head, name), getattr(tail, name)]) for name in arrays}
    )
    again = fit_parametric(split, options=options)
    assert again.coefficients == pytest.approx(one.coefficients, rel=1e-7)
    assert again.log_likelihood == pytest.approx(one.log_likelihood, rel=1e-9)
    assert again.robust_variance == pytest.approx(one.robust_variance, rel=1e-6)


def test_what_cannot_be_fitted_is_named():
    rows = make_rows()
    with pytest.raises(ParameterError) as caught:
        fit_parametric(
            dataclasses.replace(rows, entry=rows.entry - 1, stratum=np.arange(len(rows)) % 2),
            options=ParametricOptions(distribution="gamma", cause=3),
        )
    assert [fault.where for fault in caught.value.faults] == ["distribution", "cause", "entry", "stratum"]
    with pytest.raises(NotEstimable, match="events: there are none"):
        fit_parametric(dataclasses.replace(rows, event=0 * rows.event))
    design = np.column_stack([rows.covariates, rows.covariates.sum(axis=1)])
    with pytest.raises(NotEstimable, match="both: it is made up of treated, age"):
        fit_parametric(dataclasses.replace(rows, covariates=design, names=("treated", "age", "both")))
    with pytest.raises(NotEstimable, match="age: it does not vary"):
        fit_parametric(
            dataclasses.replace(rows, covariates=np.column_stack([rows.covariates[:, 0], np.full(200, 3.1)]))
        )


@KINDS
def test_a_group_without_events_is_named(kind):
    rows = make_rows()
    rows = dataclasses.replace(rows, event=rows.event * (rows.covariates[:, 0] == 0))
    with pytest.raises(NotEstimable, match="treated"):
        fit_parametric(rows, options=ParametricOptions(distribution=kind))
