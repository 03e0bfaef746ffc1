"""Accelerated failure time models against R's `survreg`, survival 3.5-3, to 1e-6 relative.

Real data: `surv_basics` (aml, lung). A table of our own, with weights, an offset and clusters, is written out with
R's numbers (`survreg(Surv(b, e) ~ x + offset(o), weights = w, dist = ...)`, to convergence). R's robust variance is
met without weights: with weights R sums dfbetas that are not weighted, and we weigh them, as its coxph does.
"""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
import pytest

from evalkit.cohort.follow_up import FollowUp
from evalkit.estimators.survival.parametric import ParametricFit, ParametricOptions, fit_parametric
from tests.shared_data import reference, shared

EXACT = 1e-6
KINDS = ("weibull", "exponential", "lognormal", "loglogistic")
KEYS = [k for k in reference("surv_basics") if k.split(".")[1] in KINDS] or ["absent"]

SMALL = pd.DataFrame(
    [
        (1, 4.0, 1, 0.5, 0.1, 1.0),
        (1, 7.5, 1, 0.8, 0.1, 1.0),
        (2, 9.0, 0, 1.1, 0.1, 1.0),
        (2, 0.4, 1, -0.3, 0.0, 2.0),
        (3, 6.0, 1, -0.1, 0.0, 2.0),
        (3, 2.2, 1, 1.4, 0.3, 0.5),
        (4, 8.0, 0, 1.2, 0.3, 0.5),
        (4, 7.0, 1, 0.2, -0.2, 1.5),
        (5, 9.0, 0, -1.0, 0.0, 1.0),
        (6, 1.5, 1, -0.6, 0.2, 1.0),
    ],
    columns=["id", "b", "e", "x", "o", "w"],
)
SMALL_R: dict[str, dict] = {
    "weibull": {
        "fit": [1.835370294, 0.2041615384, 0.9333622226, -25.90839448],
        "se": [0.3146836053, 0.4426110151, 0.295200923],
        "se_clustered": [0.3511909644, 0.5731084877, 0.370875424],
    },
    "exponential": {
        "fit": [1.831646078, 0.2224788168, 1.0, -25.93504564],
        "se": [0.3366068356, 0.4683001856],
        "se_clustered": [0.3826649463, 0.5910985302],
    },
    "lognormal": {
        "fit": [1.302645525, 0.6410112033, 1.290570396, -26.10531673],
        "se": [0.4021236096, 0.616176568, 0.2438267813],
        "se_clustered": [0.4668645374, 0.7695721159, 0.2810418788],
    },
    "loglogistic": {
        "fit": [1.335909195, 0.7133249084, 0.7579540492, -26.22982498],
        "se": [0.4225240714, 0.6958266002, 0.2774652878],
        "se_clustered": [0.5914605818, 1.031929065, 0.316366563],
    },
}


@functools.cache
def fit(data: str, kind: str) -> ParametricFit:
    frame = pd.read_csv(shared("surv_basics") / f"{data}.csv")
    options = ParametricOptions(distribution=kind)
    if data == "aml":
        return fit_parametric(
            FollowUp.from_frame(frame, exit="time", event="status", covariates=("x",)), options=options
        )
    frame = frame.assign(dead=frame["status"] == 2)
    return fit_parametric(
        FollowUp.from_frame(frame, exit="time", event="dead", covariates=("age", "sex")), options=options
    )


@pytest.mark.parametrize("key", KEYS)
def test_teaching_data(key):
    shared("surv_basics")
    data, kind, part = key.split(".")
    found = fit(data, kind)
    values = {"scale": found.scale, "loglik": found.log_likelihood, "aic": found.akaike}
    values |= dict(zip([name.split("=")[0] for name in found.names], found.coefficients, strict=True))
    assert values[part] == pytest.approx(reference("surv_basics")[key], rel=EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_table_with_weights_and_an_offset(kind):
    rows = FollowUp.from_frame(SMALL, exit="b", event="e", cluster="id", weights="w", offset="o", covariates=("x",))
    found, expected = fit_parametric(rows, options=ParametricOptions(distribution=kind)), SMALL_R[kind]
    assert [*found.coefficients, found.scale, found.log_likelihood] == pytest.approx(expected["fit"], rel=EXACT)
    assert np.sqrt(np.diag(found.variance)) == pytest.approx(expected["se"], rel=EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_clustered_errors_without_weights(kind):
    rows = FollowUp.from_frame(SMALL, exit="b", event="e", cluster="id", offset="o", covariates=("x",))
    found = fit_parametric(rows, options=ParametricOptions(distribution=kind))
    assert np.sqrt(np.diag(found.robust_variance)) == pytest.approx(SMALL_R[kind]["se_clustered"], rel=EXACT)
